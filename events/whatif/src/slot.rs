//! What the log holds, in pieces: an observed event with what was decided about it.

use hindcast_log::{Body, Recorded};
use hindcast_model::event::{
    FallbackTaken, Instead, RunAdmitted, RunCancelled, RunCompleted, RunFailed,
};
use hindcast_model::{Event, RunId};

/// An observed event as it is recorded, and the decisions about it.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'f> {
    pub(crate) observed: &'f Recorded,
    pub(crate) decided: &'f [Recorded],
}

/// The pieces of a frame, in order.
pub(crate) fn slots(frame: &[Recorded]) -> impl Iterator<Item = Slot<'_>> {
    let mut rest = frame;
    std::iter::from_fn(move || {
        let (observed, after) = rest.split_first()?;
        let decided = after
            .iter()
            .take_while(|recorded| !recorded.observed)
            .count();
        let (decided, next) = after.split_at(decided);
        rest = next;
        Some(Slot { observed, decided })
    })
}

impl<'f> Slot<'f> {
    /// The observed event; `None` when its type is not known here.
    pub(crate) const fn event(&self) -> Option<&'f Event> {
        match &self.observed.body {
            Body::Known(event) => Some(event),
            Body::Unknown { .. } => None,
        }
    }

    fn decisions(&self) -> impl Iterator<Item = &'f Event> + use<'f> {
        self.decided.iter().filter_map(Recorded::event)
    }

    /// Whether the run was admitted.
    pub(crate) fn admits(&self, run: RunId) -> bool {
        self.decisions()
            .any(|event| matches!(event, Event::RunAdmitted(RunAdmitted { run: admitted }) if *admitted == run))
    }

    /// What a breaker had computed in place of what the run asked for.
    pub(crate) fn instead(&self, run: RunId) -> Option<&'f str> {
        self.decisions()
            .find_map(|event| computed_instead(event, run))
    }

    /// The runs that ended.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (RunId, &'f Event)> + use<'f> {
        self.decisions()
            .filter_map(|event| ending(event).map(|run| (run, event)))
    }
}

/// The run that was admitted and is ended by this decision.
pub(crate) const fn ending(event: &Event) -> Option<RunId> {
    if let Event::RunCompleted(RunCompleted { run, .. })
    | Event::RunFailed(RunFailed { run, .. })
    | Event::RunCancelled(RunCancelled { run }) = event
    {
        Some(*run)
    } else {
        None
    }
}

/// What this decision has computed in place of what the run asked for.
pub(crate) fn computed_instead(event: &Event, run: RunId) -> Option<&str> {
    if let Event::FallbackTaken(FallbackTaken {
        run: diverted,
        instead: Instead::Computed { to, .. },
        ..
    }) = event
        && *diverted == run
    {
        return Some(to);
    }
    None
}

/// The breakers that a recorded timer of this frame has changed.
pub(crate) fn timed_breakers(frame: &[Recorded]) -> Vec<&str> {
    let timers = slots(frame).filter(|slot| matches!(slot.event(), Some(Event::TimeReached(_))));
    let decisions = timers.flat_map(|slot| slot.decided.iter().filter_map(Recorded::event));
    let changed = decisions.filter_map(|event| {
        if let Event::BreakerChanged(changed) = event {
            return Some(changed.name.as_str());
        }
        None
    });
    changed.collect()
}

/// Whether a process begins here: whatever was under way before had been cut off.
pub(crate) fn begins_process(frame: &[Recorded]) -> bool {
    frame.iter().any(|recorded| {
        matches!(
            recorded.event(),
            Some(Event::ServerStarted(_) | Event::TornTailCut(_) | Event::StoreRebuilt(_))
        )
    })
}

/// The runs whose deadlines a recorded timer of this frame has ended.
pub(crate) fn expired(frame: &[Recorded]) -> Vec<RunId> {
    let timers = slots(frame).filter(|slot| matches!(slot.event(), Some(Event::TimeReached(_))));
    timers
        .flat_map(|slot| slot.ends().map(|(run, _)| run).collect::<Vec<_>>())
        .collect()
}
