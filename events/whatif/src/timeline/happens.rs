//! Whether a recorded event happens in another history as well.

use std::borrow::Cow;

use hindcast_log::Recorded;
use hindcast_model::event::{ConfigurationLoaded, Outcome, OutcomeObserved};
use hindcast_model::{Event, RunId, Stream};

use super::{Basis, Timeline};
use crate::samples::{Kind, Samples};
use crate::slot::Slot;
use crate::world::Task;

/// Why a recorded event does not happen.
pub(super) enum Absence {
    /// It is dropped, or was caused by what is: what it caused does not happen either.
    Gone,
    /// Its cause is not there.
    Causeless,
}

/// What happens in place of a recorded event, and what that rests on.
pub(super) type Verdict<'e> = Result<(Cow<'e, Event>, Basis), Absence>;

impl Timeline<'_> {
    pub(super) fn verdict<'e>(
        &mut self,
        slot: Slot<'e>,
        event: &'e Event,
        samples: &Samples,
    ) -> Verdict<'e> {
        let edits = self.rules.edits;
        let Recorded {
            context, causation, ..
        } = slot.observed;
        if edits.drop.contains(&context.seq) || self.gone.contains(causation) {
            return Err(Absence::Gone);
        }
        // What is replaced by itself stays what it was.
        let edited = edits.replace.get(&context.seq);
        if let Some(event) = edited.filter(|edited| *edited != event) {
            return Ok((Cow::Owned(event.clone()), Basis::Edited));
        }
        if *causation != context.event_id && self.turned_away == Some(*causation) {
            return Err(Absence::Causeless);
        }
        let unclaimed = slot.observed.stream == Stream::system("unclaimed");
        let open = |run: RunId| self.state.run(run).is_some();
        let happens = if let Event::OutcomeObserved(outcome) = event {
            return self.outcome(event, outcome, unclaimed, samples);
        } else if let Event::CancelRequested(request) = event {
            // A cancel of a run that is not open is answered and not recorded.
            open(request.run) || unclaimed
        } else if let Event::TimeReached(_) = event {
            let due = self.state.next_timer();
            due.is_some_and(|due| due <= self.time(context.at))
        } else if let Event::ConfigurationLoaded(loaded) = event
            && !edits.settings.is_empty()
        {
            let settings = edits.settings_over(loaded.settings);
            let breakers = loaded.breakers.as_ref();
            let loaded = ConfigurationLoaded {
                settings,
                breakers: breakers.map(|plan| edits.breakers_over(plan)),
                ..loaded.clone()
            };
            let event = Event::ConfigurationLoaded(loaded);
            return Ok((Cow::Owned(event), Basis::Edited));
        } else {
            true
        };
        match happens {
            true => Ok((Cow::Borrowed(event), Basis::Exact)),
            false => Err(Absence::Causeless),
        }
    }

    /// A recorded outcome happens where its run is open and was asked for as it is recorded.
    pub(super) fn outcome<'e>(
        &mut self,
        event: &'e Event,
        observed: &'e OutcomeObserved,
        unclaimed: bool,
        samples: &Samples,
    ) -> Verdict<'e> {
        let run = observed.run;
        let Some(open) = self.state.run(run) else {
            return match unclaimed && !self.never.contains(&run) {
                true => Ok((Cow::Borrowed(event), Basis::Exact)),
                false => Err(Absence::Causeless),
            };
        };
        if self.uncoupled.contains(&run) {
            return Err(Absence::Causeless);
        }
        self.plan.remove(run);
        let exact = Ok((Cow::Borrowed(event), Basis::Exact));
        let Outcome::Reused { original, .. } = &observed.outcome else {
            return exact;
        };
        if !self.astray.contains(original) {
            return exact;
        }
        let open = open.clone();
        let kind = Kind::computed(&self.state, run, &open.operation);
        let drawn = (&kind, open.spec.is_none());
        let sample = samples.draw(drawn, (self.rules.seed, run), 0).cloned();
        let diversion = self.state.breakers().diversion(run).cloned();
        let task = open.spec.as_ref().map(|spec| Task {
            run,
            instead: diversion.as_ref().map(|diversion| diversion.to.as_str()),
            operation: &open.operation,
            schema: open.schema,
            spec,
            key: open.requested.key,
            seed: open.seed,
            datasets: &open.datasets,
        });
        match self.made(task, sample.as_ref()) {
            Some((outcome, basis)) => {
                let observed = OutcomeObserved {
                    outcome,
                    ..observed.clone()
                };
                Ok((Cow::Owned(Event::OutcomeObserved(observed)), basis))
            }
            None => Err(Absence::Causeless),
        }
    }
}
