//! What differs between two histories. Events are compared by what they are about and what they
//! say, never by their place: after one event less every later one has another sequence.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_log::{Body, Recorded};
use hindcast_model::{Event, EventId, ExperimentId, RunId, Seq, State, Stream};

use crate::runs::{RunEnd, RunPair};
use crate::slot::ending;
use crate::timeline::{Basis, Emission};

/// What an event is, so that it is found again in another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// An observed event.
    Event(EventId),
    /// The outcome of an open run, whoever observed it.
    Outcome(RunId),
    /// The end of an admitted run, whatever ended it.
    Ending(RunId),
    /// The end of an experiment.
    Experiment(ExperimentId),
    /// A decision about an observed event: the first, the second.
    Decision(EventId, u16),
}

impl Identity {
    fn of(emission: &Emission<'_>, number: u16) -> Self {
        let event = &*emission.event;
        let claimed = emission.stream != Stream::system("unclaimed");
        if let (Event::OutcomeObserved(e), true) = (event, claimed) {
            return Self::Outcome(e.run);
        }
        if let Event::ExperimentCompleted(e) = event {
            return Self::Experiment(e.experiment);
        }
        match ending(event) {
            Some(run) => Self::Ending(run),
            None if event.kind().observed => Self::Event(emission.context.event_id),
            None => Self::Decision(emission.causation, number),
        }
    }

    /// Whether a history with this state may still bring the same.
    fn may_come(self, state: &State) -> bool {
        match self {
            Self::Event(_) | Self::Decision(..) => false,
            Self::Outcome(run) | Self::Ending(run) => state.run(run).is_some(),
            Self::Experiment(experiment) => state.experiment(experiment).is_some(),
        }
    }
}

/// An event that is in one history and not, or otherwise, in the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where it is in the recorded history, or before what it comes there.
    pub position: Seq,
    /// As it is without the edit.
    pub baseline: Option<Recorded>,
    /// As it is with it.
    pub fork: Option<Recorded>,
    /// What the event of the fork rests on; of one that vanished, `Exact`.
    pub basis: Basis,
}

/// The first differences of a kind, and how many there are of each type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct List {
    pub first: Vec<Difference>,
    pub total: u64,
    pub types: BTreeMap<&'static str, u64>,
}

/// Everything that differs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    /// The first sequence of the recorded history that differs.
    pub divergence: Option<Seq>,
    pub vanished: List,
    pub appeared: List,
    pub changed: List,
    /// Runs that ended otherwise, the first of them.
    pub runs: BTreeMap<RunId, RunPair>,
    pub runs_total: u64,
}

/// Where the rules decide otherwise than is recorded, without any edit.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    pub first: Seq,
    pub events: u64,
    /// The first of them, as recorded and as decided.
    pub examples: Vec<(Vec<Recorded>, Vec<Recorded>)>,
}

struct Kept {
    recorded: Recorded,
    basis: Basis,
    position: Seq,
    end: Option<(RunId, RunEnd)>,
    operation: Option<String>,
}

/// Keeps what differs, up to a limit.
pub(crate) struct Compare {
    limit: usize,
    pub(crate) found: Differences,
    /// Events of one history that the other may still bring.
    left: [BTreeMap<Identity, Kept>; 2],
    runs: BTreeSet<RunId>,
}

impl Compare {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            found: Differences::default(),
            left: Default::default(),
            runs: BTreeSet::new(),
        }
    }

    /// Takes what both histories bring at the same recorded place.
    pub(crate) fn pair(
        &mut self,
        (baseline, fork): (&[Emission<'_>], &[Emission<'_>]),
        states: (&State, &State),
        next: Seq,
    ) {
        let equal = |(one, other): (&Emission<'_>, &Emission<'_>)| {
            one.context.event_id == other.context.event_id && one.event == other.event
        };
        if baseline.len() == fork.len() && baseline.iter().zip(fork).all(equal) {
            return;
        }
        let position = baseline.first().map_or(next, |first| first.context.seq);
        let other = numbered(fork);
        let mut unmatched: BTreeMap<Identity, &Emission<'_>> = other.iter().copied().collect();
        for (identity, emission) in numbered(baseline) {
            let at = emission.context.seq;
            match unmatched.remove(&identity) {
                Some(same) => self.both(keep(emission, at), keep(same, at)),
                None => self.one(0, identity, keep(emission, at), states.1),
            }
        }
        for (identity, emission) in other {
            if unmatched.remove(&identity).is_some() {
                self.one(1, identity, keep(emission, position), states.0);
            }
        }
    }

    /// An event that only one history brings here; `state` is the other's.
    fn one(&mut self, side: usize, identity: Identity, kept: Kept, state: &State) {
        if let Some(other) = self.left[1 - side].remove(&identity) {
            return match side {
                0 => self.both(kept, other),
                _ => self.both(other, kept),
            };
        }
        match identity.may_come(state) {
            true => drop(self.left[side].insert(identity, kept)),
            false => self.alone(side, kept),
        }
    }

    fn parts(&mut self, position: Seq) {
        let known = self.found.divergence;
        self.found.divergence = Some(known.map_or(position, |known| known.min(position)));
    }

    fn both(&mut self, baseline: Kept, fork: Kept) {
        if baseline.recorded.body == fork.recorded.body {
            return;
        }
        let position = baseline.position.min(fork.position);
        self.run(Some(&baseline), Some(&fork));
        let difference = Difference {
            position,
            basis: fork.basis,
            baseline: Some(baseline.recorded),
            fork: Some(fork.recorded),
        };
        self.parts(position);
        add(&mut self.found.changed, self.limit, difference);
    }

    fn alone(&mut self, side: usize, kept: Kept) {
        let position = kept.position;
        self.parts(position);
        match side {
            0 => self.run(Some(&kept), None),
            _ => self.run(None, Some(&kept)),
        }
        let (list, baseline, fork) = match side {
            0 => (&mut self.found.vanished, Some(kept.recorded), None),
            _ => (&mut self.found.appeared, None, Some(kept.recorded)),
        };
        let difference = Difference {
            position,
            baseline,
            fork,
            basis: kept.basis,
        };
        add(list, self.limit, difference);
    }

    /// Keeps how the run of a difference went in both histories.
    fn run(&mut self, baseline: Option<&Kept>, fork: Option<&Kept>) {
        let end = |kept: Option<&Kept>| kept.and_then(|kept| kept.end.clone());
        let (was, is) = (end(baseline), end(fork));
        let Some(run) = was.as_ref().or(is.as_ref()).map(|(run, _)| *run) else {
            return;
        };
        self.runs.insert(run);
        if self.found.runs.len() >= self.limit && !self.found.runs.contains_key(&run) {
            return;
        }
        let pair = self.found.runs.entry(run).or_default();
        let operation = [baseline, fork].into_iter().flatten();
        let operation = operation.filter_map(|kept| kept.operation.clone()).next();
        pair.operation = pair.operation.take().or(operation);
        if let Some((_, end)) = was {
            pair.baseline = Some(end);
        }
        if let Some((_, end)) = is {
            pair.fork = Some(end);
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish(mut self) -> Differences {
        for side in [0, 1] {
            for kept in std::mem::take(&mut self.left[side]).into_values() {
                self.alone(side, kept);
            }
        }
        let mut found = self.found;
        for list in [&mut found.vanished, &mut found.appeared, &mut found.changed] {
            list.first.sort_by_key(|difference| difference.position);
        }
        found.runs_total = self.runs.len() as u64;
        found
    }
}

fn add(list: &mut List, limit: usize, difference: Difference) {
    let shown = difference.fork.as_ref().or(difference.baseline.as_ref());
    if let Some(Body::Known(event)) = shown.map(|recorded| &recorded.body) {
        *list.types.entry(event.kind().name).or_default() += 1;
    }
    list.total += 1;
    if list.first.len() < limit {
        list.first.push(difference);
    }
}

/// The events by what they are; of decisions, which of its cause's it is.
fn numbered<'a, 'e>(emissions: &'a [Emission<'e>]) -> Vec<(Identity, &'a Emission<'e>)> {
    let mut number = 0;
    let mut cause = None;
    let identities = emissions.iter().map(|emission| {
        number = match cause == Some(emission.causation) {
            true => number + 1,
            false => 0,
        };
        cause = Some(emission.causation);
        (Identity::of(emission, number), emission)
    });
    identities.collect()
}

fn keep(emission: &Emission<'_>, position: Seq) -> Kept {
    let ended = emission.ended.as_deref();
    let latency = ended.map(|ended| emission.context.at.since(ended.requested_at));
    let operation = if let Event::RunRequested(request) = &*emission.event {
        Some(request.operation.clone())
    } else {
        ended.map(|ended| ended.operation.clone())
    };
    Kept {
        end: RunEnd::of(&emission.event, latency, emission.basis),
        recorded: emission.recorded(),
        basis: emission.basis,
        position,
        operation,
    }
}

impl Emission<'_> {
    /// As it would stand in the log.
    pub(crate) fn recorded(&self) -> Recorded {
        let kind = self.event.kind();
        Recorded {
            context: self.context,
            causation: self.causation,
            stream: self.stream,
            version: self.version,
            observed: kind.observed,
            ignorable: kind.ignorable,
            body: Body::Known((*self.event).clone()),
        }
    }
}
