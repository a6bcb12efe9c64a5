//! One history, driven forward: a state, what is under way, and the rules of what happens in it.
//!
//! As long as it is the recorded one, what is recorded happens. From the first difference on,
//! every recorded event is asked whether it happens here as well.

mod edited;
mod follow;
mod happens;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use hindcast_log::Recorded;
use hindcast_model::event::{ExperimentAdmitted, RunAdmitted, TimeReached};
use hindcast_model::state::Context;
use hindcast_model::{
    Digest, Event, EventId, KeyId, Name16, RunId, Seq, State, Stream, UnixMicros,
};

use crate::edit::{Edits, derived};
use crate::plan::Plan;
use crate::runs::{Ended, Tallies};
use crate::samples::Samples;
use crate::slot::{Slot, begins_process, computed_instead, ending, expired, timed_breakers};
use crate::world::World;
use happens::Absence;

/// The rules that decide: the state, what a record says beside its payload, the observed event.
pub type Decide = dyn Fn(&State, &Context, &Event) -> Vec<Event> + Sync;

/// What an event rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// It is recorded, or decided by the same rules from what is recorded.
    Exact,
    /// The question says so.
    Edited,
    /// It was never recorded and is computed again; only when it came is drawn.
    Recomputed,
    /// It was never recorded and is drawn from recorded outcomes of the same operation.
    Modelled,
}

/// What was made up for want of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times at which a run ends that were drawn, whether or not it came to that.
    pub planned: u64,
    /// Outcomes that were computed again.
    pub recomputed: u64,
    /// Outcomes that were drawn.
    pub modelled: u64,
    /// Outcomes that were drawn only because the limit of computations was reached.
    pub over_limit: u64,
    /// Runs that stay open: they cannot be computed, and nothing is recorded to draw from.
    pub unresolved: u64,
    /// Experiments whose runs cannot be told from their spec.
    pub unreadable: u64,
}

/// One event of a history.
pub(crate) struct Emission<'e> {
    pub(crate) context: Context,
    pub(crate) causation: EventId,
    pub(crate) stream: Stream,
    pub(crate) version: u64,
    pub(crate) event: Cow<'e, Event>,
    pub(crate) basis: Basis,
    /// The run that it ends.
    pub(crate) ended: Option<Box<Ended>>,
}

/// What drives a history.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'w> {
    pub(crate) decide: &'w Decide,
    pub(crate) world: &'w dyn World,
    pub(crate) edits: &'w Edits,
    pub(crate) seed: u64,
    /// Outcomes that may be computed.
    pub(crate) recompute_max: u64,
}

/// One history.
#[derive(Clone)]
pub(crate) struct Timeline<'w> {
    rules: Rules<'w>,
    pub(crate) state: State,
    next: Seq,
    /// Nothing has differed from the record yet.
    pub(crate) synced: bool,
    /// The server is not at work.
    stopped: bool,
    /// Dropped events and what they caused.
    gone: BTreeSet<EventId>,
    /// The last request that ended its submission.
    turned_away: Option<EventId>,
    /// Runs that are admitted in the record and not here.
    never: BTreeSet<RunId>,
    /// Open runs whose recorded outcome, if there is one, is not theirs.
    uncoupled: BTreeSet<RunId>,
    /// Open runs whose outcome was dropped.
    lost: BTreeSet<RunId>,
    /// Runs whose recorded result is not theirs here.
    astray: BTreeSet<RunId>,
    /// Results that were computed here.
    inserted: BTreeMap<RunId, Digest>,
    plan: Plan,
    pub(crate) counts: Counts,
    pub(crate) tallies: Tallies,
    pub(crate) first_modelled: Option<Seq>,
}

impl<'w> Timeline<'w> {
    pub(crate) fn new(rules: Rules<'w>, state: State) -> Self {
        Self {
            rules,
            next: state.seq().next(),
            stopped: state.server().starts > 0 && !state.server().running,
            state,
            synced: true,
            gone: BTreeSet::new(),
            turned_away: None,
            never: BTreeSet::new(),
            uncoupled: BTreeSet::new(),
            lost: BTreeSet::new(),
            astray: BTreeSet::new(),
            inserted: BTreeMap::new(),
            plan: Plan::default(),
            counts: Counts::default(),
            tallies: Tallies::default(),
            first_modelled: None,
        }
    }

    /// A history that goes on from here under other rules.
    pub(crate) fn fork(&self, rules: Rules<'w>) -> Self {
        Self {
            rules,
            synced: false,
            ..self.clone()
        }
    }

    /// The sequence of the next event here.
    pub(crate) const fn next(&self) -> Seq {
        self.next
    }

    /// When what is recorded at `at` happens here. Time never runs backwards.
    fn time(&self, at: UnixMicros) -> UnixMicros {
        self.rules.edits.time(at).max(self.state.at())
    }

    /// What happens here before the recorded frame that is next: deadlines, and outcomes that are
    /// not recorded.
    pub(crate) fn catch_up<'e>(&mut self, frame: &'e [Recorded], out: &mut Vec<Emission<'e>>) {
        let Some(first) = frame.first().filter(|_| !self.synced) else {
            return;
        };
        let until = self.time(first.context.at);
        let starts = begins_process(frame);
        // No timer goes before a server that follows another one has said that it started, nor in
        // the frame in which it says so, of which this may be the rest.
        let server = self.state.server();
        let waits = server.starts > 0 && (starts || server.started_at == until);
        if !waits && (starts || !self.stopped) {
            let recorded = (&expired(frame)[..], &timed_breakers(frame)[..]);
            self.fire(until, recorded, starts, out);
        }
    }

    /// Fires what is due up to `until`. What a recorded timer is about to end is left to it.
    fn fire<'e>(
        &mut self,
        until: UnixMicros,
        recorded: (&[RunId], &[&str]),
        down: bool,
        out: &mut Vec<Emission<'e>>,
    ) {
        loop {
            let timer = self.timer(until, recorded);
            // While no process is at work nothing arrives; what is under way is begun anew.
            let planned = self.plan.first().filter(|due| *due < until && !down);
            let at = match (timer, planned) {
                (Some(timer), Some(due)) if due < timer => None,
                (Some(timer), _) => Some(if down {
                    until
                } else {
                    timer.max(self.state.at())
                }),
                (None, Some(_)) => None,
                (None, None) => return,
            };
            match at {
                Some(at) if !self.reach(at, out) => return,
                Some(_) => {}
                None => self.end_planned(out),
            }
        }
    }

    /// The first deadline or change of a breaker up to `until` that no recorded timer is about to
    /// bring.
    fn timer(
        &self,
        until: UnixMicros,
        (expired, changed): (&[RunId], &[&str]),
    ) -> Option<UnixMicros> {
        let first = self.state.parts().deadlines.first();
        let deadline = first.filter(|(_, run)| !expired.contains(run));
        let breakers = self.state.breakers().all();
        let breakers = breakers.filter(|(name, _)| !changed.contains(name));
        let breaker = breakers.filter_map(|(_, breaker)| breaker.due()).min();
        let due = deadline.map(|(due, _)| *due).into_iter().chain(breaker);
        due.min().filter(|due| *due <= until)
    }

    /// What the next timers are.
    fn timers(&self) -> (Option<(UnixMicros, RunId)>, Option<UnixMicros>) {
        let first = self.state.parts().deadlines.first().copied();
        let breakers = self.state.breakers().all();
        (
            first,
            breakers.filter_map(|(_, breaker)| breaker.due()).min(),
        )
    }

    /// A timer that the record does not hold. `false` when these rules end nothing by it.
    fn reach(&mut self, at: UnixMicros, out: &mut Vec<Emission<'_>>) -> bool {
        let before = self.timers();
        let id = match before {
            (Some((due, run)), breaker) if breaker.is_none_or(|breaker| due <= breaker) => {
                derived("timer", EventId::from_bytes(run.bytes()), due.0)
            }
            (_, breaker) => {
                let place = EventId::from_bytes(u128::from(self.next.0).to_be_bytes());
                derived("breaker timer", place, breaker.unwrap_or_default().0)
            }
        };
        let context = Context {
            seq: self.next,
            at,
            event_id: id,
            correlation: id,
            principal: Name16::new("hindcast"),
            tenant: Name16::default(),
            key: KeyId(0),
        };
        let event = Cow::Owned(Event::TimeReached(TimeReached {}));
        self.feed(context, id, (event, Basis::Exact), out);
        self.timers() != before
    }

    /// What is recorded next, as it happens here.
    pub(crate) fn observe<'e>(
        &mut self,
        slot: Slot<'e>,
        samples: &Samples,
        out: &mut Vec<Emission<'e>>,
    ) {
        let Some(event) = slot.event() else {
            return self.carry(slot.observed);
        };
        let start = out.len();
        if self.synced {
            self.replay(slot, Cow::Borrowed(event), Basis::Exact, out);
            self.synced = same(slot, &out[start..]);
            if self.synced {
                return self.follow(event);
            }
        } else {
            match self.verdict(slot, event, samples) {
                Ok((event, basis)) => self.replay(slot, event, basis, out),
                Err(Absence::Gone) => {
                    self.gone.insert(slot.observed.context.event_id);
                    if let Event::OutcomeObserved(outcome) = event {
                        self.lost.insert(outcome.run);
                    }
                }
                Err(Absence::Causeless) => {}
            }
        }
        self.settle(slot, start, samples, out);
    }

    /// Holds the place of an event of a kind that is not known here.
    fn carry(&mut self, recorded: &Recorded) {
        let version = match self.synced {
            true => recorded.version,
            false => self.state.version(recorded.stream) + 1,
        };
        let at = self.time(recorded.context.at);
        let context = Context {
            seq: self.next,
            at,
            ..recorded.context
        };
        self.state.carry(&context, (recorded.stream, version));
        self.next = self.next.next();
    }

    fn replay<'e>(
        &mut self,
        slot: Slot<'e>,
        event: Cow<'e, Event>,
        basis: Basis,
        out: &mut Vec<Emission<'e>>,
    ) {
        let Recorded {
            context, causation, ..
        } = slot.observed;
        let mut context = *context;
        context.at = self.time(context.at);
        if basis == Basis::Edited {
            // What stands in a question is readable.
            context.key = KeyId(0);
        }
        self.feed(context, *causation, (event, basis), out);
    }

    /// Decides an observed event and folds both, as the committer does.
    fn feed<'e>(
        &mut self,
        context: Context,
        causation: EventId,
        (event, basis): (Cow<'e, Event>, Basis),
        out: &mut Vec<Emission<'e>>,
    ) {
        let context = Context {
            seq: self.next,
            ..context
        };
        let decided = (self.rules.decide)(&self.state, &context, &event);
        if basis == Basis::Modelled && self.first_modelled.is_none() {
            self.first_modelled = Some(self.next);
        }
        let inherited = match basis {
            Basis::Edited => Basis::Exact,
            other @ (Basis::Exact | Basis::Recomputed | Basis::Modelled) => other,
        };
        self.record(context, causation, (event, basis), out);
        for (index, event) in (0_u16..).zip(decided) {
            let of = Context {
                seq: self.next,
                event_id: context.event_id.decided(index),
                key: KeyId(0),
                ..context
            };
            let event = (Cow::Owned(event), inherited);
            self.record(of, context.event_id, event, out);
        }
    }

    fn record<'e>(
        &mut self,
        context: Context,
        causation: EventId,
        (event, basis): (Cow<'e, Event>, Basis),
        out: &mut Vec<Emission<'e>>,
    ) {
        let mut ended = None;
        if let Event::OutcomeObserved(outcome) = &*event {
            self.tallies.outcome(&self.state, outcome);
        } else if let Some(run) = ending(&event) {
            ended = self.state.run(run).map(|open| Box::new(Ended::of(open)));
            if !self.synced {
                self.uncoupled.remove(&run);
                self.lost.remove(&run);
                self.plan.remove(run);
            }
        }
        let (stream, version) = self.state.apply(&context, &event);
        self.next = context.seq.next();
        out.push(Emission {
            context,
            causation,
            stream,
            version,
            event,
            basis,
            ended,
        });
    }
}

/// Whether what happened is what is recorded, wherever both stand.
pub(crate) fn alike(slot: Slot<'_>, here: &[Emission<'_>]) -> bool {
    let recorded = std::iter::once(slot.observed).chain(slot.decided);
    here.len() == 1 + slot.decided.len()
        && recorded.zip(here).all(|(recorded, emission)| {
            recorded.context.event_id == emission.context.event_id
                && recorded.event() == Some(&*emission.event)
        })
}

/// Whether what happened is what is recorded, in every byte.
pub(crate) fn same(slot: Slot<'_>, here: &[Emission<'_>]) -> bool {
    let recorded = std::iter::once(slot.observed).chain(slot.decided);
    here.len() == 1 + slot.decided.len()
        && recorded.zip(here).all(|(recorded, emission)| {
            recorded.context == emission.context
                && recorded.causation == emission.causation
                && (recorded.stream, recorded.version) == (emission.stream, emission.version)
                && (recorded.observed || recorded.event() == Some(&*emission.event))
        })
}

fn admitted(here: &[Emission<'_>], run: RunId) -> bool {
    here.iter().any(
        |emission| matches!(&*emission.event, Event::RunAdmitted(RunAdmitted { run: admitted }) if *admitted == run),
    )
}

/// What a breaker has computed here in place of what the run asked for.
fn instead<'o>(here: &'o [Emission<'_>], run: RunId) -> Option<&'o str> {
    here.iter()
        .find_map(|emission| computed_instead(&emission.event, run))
}

/// Whether an experiment's runs may follow.
const fn opens(event: &Event) -> bool {
    matches!(
        event,
        Event::ExperimentAdmitted(ExperimentAdmitted { original: None, .. })
    )
}
