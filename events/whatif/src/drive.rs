//! Drives two histories side by side over the recorded one: without the edits, and with them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hindcast_log::{LogError, Reader, Recorded};
use hindcast_model::event::Instead;
use hindcast_model::{Event, RunId, Seq, State, UnixMicros};

use crate::WhatIfError;
use crate::compare::{Compare, Differences, Drift};
use crate::edit::Edits;
use crate::runs::{OperationTotals, operations};
use crate::samples::{Kind, Samples};
use crate::slot::{Slot, slots};
use crate::timeline::{Counts, Decide, Emission, Rules, Timeline, alike};
use crate::world::World;

/// Events before the fork, and from it on, whose outcomes are drawn from.
const LOOK_AROUND_EVENTS: u64 = 65_536;
/// Places shown at which the rules decide otherwise than is recorded.
const DRIFT_EXAMPLES_MAX: usize = 10;
/// Events between two looks at whether to go on.
const EVENTS_PER_LOOK: u64 = 1_024;

/// Where the recorded history is read from.
pub trait Source {
    /// Calls `visit` with each frame from one sequence to another, until it breaks.
    fn frames(
        &self,
        bounds: (Seq, Seq),
        visit: &mut dyn FnMut(Vec<Recorded>) -> ControlFlow<()>,
    ) -> Result<(), LogError>;
}

impl Source for Reader {
    fn frames(
        &self,
        bounds: (Seq, Seq),
        visit: &mut dyn FnMut(Vec<Recorded>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        self.frames(bounds, visit)
    }
}

/// What would have been.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The first event that may be otherwise.
    pub at: Seq,
    /// The last recorded event to drive to.
    pub to: Seq,
    pub edits: &'a Edits,
    /// Where keys of the configuration and the clock are changed: `at`, or later.
    pub from: Seq,
    /// Of everything that is drawn.
    pub seed: u64,
    /// Differences kept of each kind.
    pub limit: usize,
    /// Outcomes that may be computed.
    pub recompute_max: u64,
    /// The rules that decide.
    pub decide: &'a Decide,
    pub world: &'a dyn World,
    /// Whether to stop before the end.
    pub stop: &'a dyn Fn() -> bool,
}

/// What would have been otherwise.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Recorded events that were driven through.
    pub events: u64,
    /// The last of them.
    pub last: Seq,
    pub differences: Differences,
    pub operations: Vec<OperationTotals>,
    pub counts: Counts,
    /// The first event of the fork that is modelled, by its sequence there.
    pub first_modelled: Option<Seq>,
    pub drift: Option<Drift>,
    /// The end of both histories.
    pub baseline: State,
    pub fork: State,
}

/// Drives both histories from `start`, the state before `question.at`.
pub fn ask(
    source: &dyn Source,
    start: State,
    question: &Question<'_>,
) -> Result<Answer, WhatIfError> {
    let samples = look_around(source, question)?;
    let mut drive = Drive::new(start, samples, question);
    drive.run(source, question, &mut |_| ControlFlow::Continue(()))?;
    Ok(drive.answer())
}

/// Shows every event of the history with the edits, as it would stand in the log.
pub fn history(
    source: &dyn Source,
    start: State,
    question: &Question<'_>,
    visit: &mut dyn FnMut(Recorded),
) -> Result<(), WhatIfError> {
    let samples = look_around(source, question)?;
    let mut drive = Drive::new(start, samples, question);
    drive.run(source, question, &mut |emission| {
        visit(emission.recorded());
        ControlFlow::Continue(())
    })
}

/// How runs ended around the fork, for draws.
pub(crate) fn look_around(
    source: &dyn Source,
    question: &Question<'_>,
) -> Result<Samples, WhatIfError> {
    let mut samples = Samples::default();
    let at = question.at.0;
    let from = Seq(at.saturating_sub(LOOK_AROUND_EVENTS).max(1));
    let to = Seq(at.saturating_add(LOOK_AROUND_EVENTS)).min(question.to);
    if to < from {
        return Ok(samples);
    }
    let mut open: BTreeMap<RunId, (Kind, bool)> = BTreeMap::new();
    source.frames((from, to), &mut |frame| {
        for event in frame.iter().filter_map(Recorded::event) {
            if let Event::RunRequested(request) = event {
                open.insert(request.run, (Kind::of(request), request.immediate));
            } else if let Event::FallbackTaken(taken) = event
                && let Instead::Computed { breaker, .. } = &taken.instead
                && let Some((kind, _)) = open.get_mut(&taken.run)
            {
                kind.breaker = Some(breaker.clone());
            } else if let Event::OutcomeObserved(observed) = event
                && let Some((kind, immediate)) = open.remove(&observed.run)
            {
                samples.add(kind, immediate, observed);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(samples)
}

/// Told of what happens in the fork; it may end the drive.
pub(crate) type Watch<'a> = dyn FnMut(&Emission<'_>) -> ControlFlow<()> + 'a;

/// Both histories at one place of the recorded one.
pub(crate) struct Drive<'w> {
    baseline: Timeline<'w>,
    fork: Option<Timeline<'w>>,
    with_edits: Rules<'w>,
    samples: Samples,
    compare: Compare,
    drift: Option<Drift>,
    /// The rules have decided what is recorded so far.
    synced: bool,
    totals: BTreeMap<String, hindcast_model::state::Totals>,
    /// The first sequence at which the histories may part.
    parting: Option<Seq>,
    events: u64,
    last: Seq,
    at: UnixMicros,
}

static NOTHING: Edits = Edits {
    drop: std::collections::BTreeSet::new(),
    replace: BTreeMap::new(),
    inject: BTreeMap::new(),
    settings: BTreeMap::new(),
    shift_micros: 0,
};

impl<'w> Drive<'w> {
    pub(crate) fn new(start: State, samples: Samples, question: &Question<'w>) -> Self {
        let with_edits = Rules {
            decide: question.decide,
            world: question.world,
            edits: question.edits,
            seed: question.seed,
            recompute_max: question.recompute_max,
        };
        let without = Rules {
            edits: &NOTHING,
            ..with_edits
        };
        Self {
            totals: start.parts().totals.clone(),
            at: start.at(),
            baseline: Timeline::new(without, start),
            fork: None,
            with_edits,
            samples,
            compare: Compare::new(question.limit),
            drift: None,
            synced: true,
            parting: parting(question),
            events: 0,
            last: Seq(question.at.0.saturating_sub(1)),
        }
    }

    /// Drives on to the end.
    pub(crate) fn run(
        &mut self,
        source: &dyn Source,
        question: &Question<'w>,
        watch: &mut Watch<'_>,
    ) -> Result<(), WhatIfError> {
        if (question.stop)() {
            return Err(WhatIfError::Stopped { events: 0 });
        }
        let mut failed = None;
        source.frames((question.at, question.to), &mut |frame| match self
            .frame(&frame, question, watch)
        {
            Ok(flow) => flow,
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        // What was cut short rests on how fast this machine is.
        let events = self.events;
        let stopped = (question.stop)().then_some(WhatIfError::Stopped { events });
        failed.or(stopped).map_or(Ok(()), Err)
    }

    fn frame(
        &mut self,
        frame: &[Recorded],
        question: &Question<'w>,
        watch: &mut Watch<'_>,
    ) -> Result<ControlFlow<()>, WhatIfError> {
        let looks = self.events / EVENTS_PER_LOOK;
        let mut out = Outs::default();
        if let Some(first) = frame.first() {
            self.part(first.seq(), &mut out);
            self.baseline.catch_up(frame, &mut out.baseline);
            if let Some(fork) = &mut self.fork {
                fork.catch_up(frame, &mut out.fork);
            }
            if self.compare(&mut out, watch).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for slot in slots(frame) {
            if slot.event().is_none() && !slot.observed.ignorable {
                let seq = slot.observed.seq();
                return Err(WhatIfError::Unknown { seq });
            }
            if self.slot(slot, &mut out, watch).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if self.events / EVENTS_PER_LOOK > looks && (question.stop)() {
            let events = self.events;
            return Err(WhatIfError::Stopped { events });
        }
        Ok(ControlFlow::Continue(()))
    }

    fn slot<'e>(
        &mut self,
        slot: Slot<'e>,
        out: &mut Outs<'e>,
        watch: &mut Watch<'_>,
    ) -> ControlFlow<()> {
        self.part(slot.observed.seq(), out);
        let start = out.baseline.len();
        self.baseline
            .observe(slot, &self.samples, &mut out.baseline);
        let synced = std::mem::replace(&mut self.synced, self.baseline.synced);
        let told = synced != self.synced || !alike(slot, &out.baseline[start..]);
        if !self.synced && told && slot.event().is_some() {
            self.drifted(slot, &out.baseline[start..]);
        }
        if let Some(fork) = &mut self.fork {
            fork.observe(slot, &self.samples, &mut out.fork);
        }
        self.events += 1 + slot.decided.len() as u64;
        self.last = Seq(slot.observed.seq().0 + slot.decided.len() as u64);
        self.at = slot.observed.context.at;
        self.inject(slot.observed.seq(), self.last, out);
        self.compare(out, watch)
    }

    /// Forks, if this is where the histories part.
    fn part(&mut self, seq: Seq, out: &mut Outs<'_>) {
        if self.fork.is_some() || self.parting.is_none_or(|parting| seq < parting) {
            return;
        }
        let mut fork = self.baseline.fork(self.with_edits);
        fork.reconfigure(&mut out.fork);
        self.fork = Some(fork);
        self.inject(Seq(0), Seq(seq.0.saturating_sub(1)), out);
    }

    /// What the question adds after one of these events.
    fn inject(&mut self, first: Seq, last: Seq, out: &mut Outs<'_>) {
        let Some(fork) = &mut self.fork else {
            return;
        };
        for (after, events) in self.with_edits.edits.inject.range(first..=last) {
            for (number, event) in (0..).zip(events) {
                fork.inject(
                    (event, *after, number),
                    self.at,
                    &self.samples,
                    &mut out.fork,
                );
            }
        }
    }

    fn compare(&mut self, out: &mut Outs<'_>, watch: &mut Watch<'_>) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        if let Some(fork) = &self.fork {
            let states = (&self.baseline.state, &fork.state);
            let next = self.baseline.next();
            self.compare.pair((&out.baseline, &out.fork), states, next);
        }
        let lived = match self.fork {
            Some(_) => &out.fork,
            None => &out.baseline,
        };
        for emission in lived {
            if flow.is_continue() {
                flow = watch(emission);
            }
        }
        out.baseline.clear();
        out.fork.clear();
        flow
    }

    fn drifted(&mut self, slot: Slot<'_>, here: &[Emission<'_>]) {
        let seq = slot.observed.seq();
        let drift = self.drift.get_or_insert_with(|| Drift {
            first: seq,
            events: 0,
            examples: Vec::new(),
        });
        drift.events += 1;
        if drift.examples.len() < DRIFT_EXAMPLES_MAX {
            let recorded = std::iter::once(slot.observed).chain(slot.decided);
            let here = here.iter().map(Emission::recorded).collect();
            drift.examples.push((recorded.cloned().collect(), here));
        }
    }

    pub(crate) fn answer(self) -> Answer {
        let baseline = self.baseline;
        let fork = self.fork.unwrap_or_else(|| baseline.clone());
        Answer {
            events: self.events,
            last: self.last,
            differences: self.compare.finish(),
            operations: operations(
                &self.totals,
                (&baseline.state, &baseline.tallies),
                (&fork.state, &fork.tallies),
            ),
            counts: fork.counts,
            first_modelled: fork.first_modelled,
            drift: self.drift,
            baseline: baseline.state,
            fork: fork.state,
        }
    }

    /// What was made up in the fork.
    pub(crate) fn counts(&self) -> Counts {
        self.fork
            .as_ref()
            .map_or_else(Counts::default, |fork| fork.counts)
    }
}

/// What both histories bring at one recorded place.
#[derive(Default)]
struct Outs<'e> {
    baseline: Vec<Emission<'e>>,
    fork: Vec<Emission<'e>>,
}

/// Where the first edit takes effect; `None` without edits.
fn parting(question: &Question<'_>) -> Option<Seq> {
    let edits = question.edits;
    let whole = !edits.settings.is_empty() || edits.shift_micros != 0;
    [
        whole.then_some(question.from),
        edits.drop.first().copied(),
        edits.replace.keys().next().copied(),
        edits.inject.keys().next().map(|after| after.next()),
    ]
    .into_iter()
    .flatten()
    .min()
    .map(|first| first.max(question.at))
}
