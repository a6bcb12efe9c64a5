//! What a breaker would have done with the recorded calls under other settings: the calls of the
//! log are folded through two machines side by side, one with the settings that held and one with
//! the others.
//!
//! A call that was not let through has no outcome to fold: it is counted as unknown where a machine
//! would have let it through. Calls that were turned away before they were recorded are not there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use hindcast_log::{LogError, Reader, Recorded};
use hindcast_model::breaker::{
    Admission, Breaker, BreakerSettings, BreakerState, Ended, backup_breaker,
};
use hindcast_model::event::{
    BackupEnded, BreakerChanged, DependencyCalled, Event, FallbackTaken, Instead, RunRequested,
};
use hindcast_model::settings::BadSetting;
use hindcast_model::{Refusal, RunId, Seq, UnixMicros};
use serde::Serialize;

use crate::history::{BadMoment, Source, When};
use crate::views::rfc3339;

/// Transitions that are listed on each side.
pub const TRANSITIONS_MAX: usize = 1_000;

/// A change that a machine went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Transition {
    pub at: String,
    pub from: &'static str,
    pub to: &'static str,
    pub cause: &'static str,
    pub detail: String,
}

/// What one machine did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Side {
    pub transitions: Vec<Transition>,
    /// With those that are not listed.
    pub transitions_total: u64,
    pub openings: u64,
    /// Calls that it let through and that have an outcome.
    pub calls: u64,
    /// Calls that it would not have let pass, whether or not something is answered in their place.
    pub rejected: u64,
    /// Calls that it would have let through and whose outcome nobody knows.
    pub unknown: u64,
}

/// Both machines, and what the log holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Simulation {
    pub name: String,
    /// The first and the last event looked at.
    pub from_sequence: u64,
    pub to_sequence: u64,
    /// Keys and values that differ from the settings that held.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub set: BTreeMap<String, u64>,
    /// With the settings that held.
    pub own: Side,
    pub other: Side,
    /// Changes that the log holds.
    pub recorded: u64,
    /// The machine with the settings that held went through the recorded changes and no others.
    pub agrees: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("there is no breaker {name}; there are {known}")]
    UnknownBreaker { name: String, known: String },
    #[error("there is no event after {since}; the last one is {head}")]
    Nothing { since: u64, head: u64 },
    #[error("{key}: {error}")]
    Setting { key: String, error: BadSetting },
    #[error("{key}: {why}")]
    Contradiction { key: &'static str, why: String },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Folds the calls of breaker `name` from the event after `since` on up to `to`, through the
/// settings that held and through those with the keys of `set`.
pub fn simulate(
    reader: &Reader,
    (name, set): (&str, &BTreeMap<String, u64>),
    (since, to): (Seq, Seq),
) -> Result<Simulation, SimulateError> {
    let known = hindcast_snapshots::at(reader, to)?.state;
    let Some(breaker) = known.breakers().get(name) else {
        let known: Vec<&str> = known.breakers().all().map(|(name, _)| name).collect();
        let known = match known.is_empty() {
            true => "none".to_owned(),
            false => known.join(", "),
        };
        let name = name.to_owned();
        return Err(SimulateError::UnknownBreaker { name, known });
    };
    for (key, value) in set {
        let checked = BreakerSettings::default().set(key, *value);
        let key = key.clone();
        checked.map_err(|error| SimulateError::Setting { key, error })?;
    }
    let held = breaker.settings();
    let wrong = held.with(set).contradiction();
    if let Some((key, why)) = wrong.filter(|_| held.contradiction().is_none()) {
        return Err(SimulateError::Contradiction { key, why });
    }
    if since >= to && since > Seq(0) {
        return Err(SimulateError::Nothing {
            since: since.0,
            head: to.0,
        });
    }
    let start = match since {
        Seq(0) => None,
        since => hindcast_snapshots::at(reader, since)?
            .state
            .breakers()
            .get(name)
            .cloned(),
    };
    let mut pass = Pass::new(name, set, start);
    let numbers: Vec<u16> = Event::KINDS
        .iter()
        .filter(|kind| KINDS.contains(&kind.name))
        .map(|kind| kind.number)
        .collect();
    let range = (since.next().max(reader.oldest()), to);
    reader.select(range, &numbers, |recorded| {
        pass.see(&recorded);
        ControlFlow::Continue(())
    })?;
    pass.settle();
    let end = known.at();
    pass.own.pass_time(name, end);
    pass.other.pass_time(name, end);
    let recorded = pass.recorded.len() as u64;
    let agrees = pass.own.changes == pass.recorded;
    Ok(Simulation {
        name: name.to_owned(),
        from_sequence: range.0.0,
        to_sequence: to.0,
        set: set.clone(),
        own: pass.own.side(),
        other: pass.other.side(),
        recorded,
        agrees,
    })
}

/// The event after which calls are looked at: by its sequence, or the last one at a time. `None` when
/// the text is neither.
pub fn since(source: &dyn Source, text: &str) -> Result<Option<Seq>, LogError> {
    Ok(match text.parse() {
        Ok(When::Head) => Some(source.head()),
        Ok(When::Seq(seq)) => Some(seq),
        Ok(When::Time(at)) => Some(source.cut(at)?),
        Err(BadMoment) => None,
    })
}

const KINDS: [&str; 15] = [
    "configuration_loaded",
    "time_reached",
    "run_requested",
    "run_admitted",
    "run_refused",
    "run_deduplicated",
    "fallback_taken",
    "outcome_observed",
    "run_failed",
    "run_cancelled",
    "backup_requested",
    "backup_ended",
    "dependency_called",
    "breaker_commanded",
    "breaker_changed",
];

/// What a change is compared by: its time is the log's own.
type Change = (&'static str, &'static str, &'static str);

fn change_of(changed: &BreakerChanged) -> Change {
    (changed.from.word(), changed.to.word(), changed.cause.word())
}

/// One breaker that is driven by recorded calls.
struct Machine {
    breaker: Breaker,
    /// Calls that it let through: when, and as a probe of which half-open phase.
    calls: BTreeMap<u128, (UnixMicros, Option<UnixMicros>)>,
    changes: Vec<Change>,
    done: Side,
}

impl Machine {
    fn new(breaker: Breaker) -> Self {
        Self {
            breaker,
            calls: BTreeMap::new(),
            changes: Vec::new(),
            done: Side::default(),
        }
    }

    fn fold(&mut self, at: UnixMicros, changed: &BreakerChanged) {
        self.breaker.change(at, changed, ("", Default::default()));
        self.changes.push(change_of(changed));
        self.done.transitions_total += 1;
        if changed.cause.opens() {
            self.done.openings += 1;
        }
        if self.done.transitions.len() < TRANSITIONS_MAX {
            self.done.transitions.push(Transition {
                at: rfc3339(at),
                from: changed.from.word(),
                to: changed.to.word(),
                cause: changed.cause.word(),
                detail: changed.cause.to_string(),
            });
        }
    }

    /// Brings the machine to `at`, as the log's timer would.
    fn pass_time(&mut self, name: &str, at: UnixMicros) {
        while let Some(due) = self.breaker.due().filter(|due| *due <= at) {
            let Some(changed) = self.breaker.elapse(name, due) else {
                return;
            };
            self.fold(due, &changed);
        }
    }

    /// A call is asked for. `outcome` is whether the record holds how it ended.
    fn ask(&mut self, at: UnixMicros, holder: u128, outcome: bool) {
        let admission = self.breaker.admit(at);
        if let Admission::Refuse { .. } = admission {
            self.done.rejected += 1;
            return;
        }
        if !outcome {
            self.done.unknown += 1;
            return;
        }
        let mut probe = None;
        if admission == Admission::Permit {
            self.breaker.lend(at, holder);
            probe = self.breaker.half_open_since();
        }
        self.done.calls += 1;
        self.calls.insert(holder, (at, probe));
    }

    /// Something is answered without a call, which is told when none would have passed.
    fn pass_by(&mut self, at: UnixMicros) {
        if let Admission::Refuse { .. } = self.breaker.admit(at) {
            self.done.rejected += 1;
        }
    }

    fn end(
        &mut self,
        name: &str,
        at: UnixMicros,
        holder: u128,
        (ended, micros): (&Ended, Option<u64>),
    ) {
        let Some((since, probe)) = self.calls.remove(&holder) else {
            return;
        };
        let micros = micros.unwrap_or_else(|| at.since(since));
        self.breaker.record(at, (holder, probe), (ended, micros));
        if let Some(changed) = self.breaker.judge(name, at) {
            self.fold(at, &changed);
        }
    }

    /// Calls that would not have been made while it is open are counted as turned away.
    fn dependency(&mut self, name: &str, at: UnixMicros, called: &DependencyCalled) {
        let calls = called.calls.iter().map(|alike| u64::from(alike.count));
        let calls = calls.sum::<u64>();
        if self.breaker.state() == BreakerState::Open {
            self.done.rejected += calls;
            return;
        }
        self.done.calls += calls;
        self.breaker.record_dependency(at, called);
        if let Some(changed) = self.breaker.judge(name, at) {
            self.fold(at, &changed);
        }
    }

    fn attempt(&mut self, name: &str, at: UnixMicros, ended: &BackupEnded) {
        self.done.calls += 1;
        self.breaker.record_backup(at, ended);
        if let Some(changed) = self.breaker.judge(name, at) {
            self.fold(at, &changed);
        }
    }

    fn side(self) -> Side {
        self.done
    }
}

struct Pass<'a> {
    name: &'a str,
    set: &'a BTreeMap<String, u64>,
    own: Machine,
    other: Machine,
    recorded: Vec<Change>,
    /// Requests that are not decided yet: whether they go by this breaker, and whether they were
    /// diverted to it or from it.
    asked: BTreeMap<RunId, Way>,
    /// Runs whose deadline is their caller's own.
    hurried: BTreeSet<RunId>,
    /// The run that was admitted last: whether it is diverted is said next.
    admitted: Option<(RunId, UnixMicros, Way)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By this breaker.
    Here,
    /// By this breaker, which did not let it pass.
    Diverted,
    /// By this breaker, with the result at hand: a call only where it is not let pass.
    AtHand,
    /// By another one.
    Elsewhere,
}

impl<'a> Pass<'a> {
    fn new(name: &'a str, set: &'a BTreeMap<String, u64>, start: Option<Breaker>) -> Self {
        let own = start.unwrap_or_else(|| Breaker::fresh(BreakerSettings::default()));
        let mut other = own.clone();
        other.configure(own.settings().with(set), &[]);
        Self {
            name,
            set,
            own: Machine::new(own),
            other: Machine::new(other),
            recorded: Vec::new(),
            asked: BTreeMap::new(),
            hurried: BTreeSet::new(),
            admitted: None,
        }
    }

    fn both(&mut self, mut each: impl FnMut(&str, &mut Machine)) {
        each(self.name, &mut self.own);
        each(self.name, &mut self.other);
    }

    fn see(&mut self, recorded: &Recorded) {
        let at = recorded.context.at;
        let Some(event) = recorded.event() else {
            return;
        };
        if let Event::FallbackTaken(taken) = event {
            self.fallback(taken);
        }
        self.settle();
        self.both(|name, machine| machine.pass_time(name, at));
        if let Event::ConfigurationLoaded(loaded) = event {
            let plan = loaded.breakers.iter().flat_map(|plan| &plan.breakers);
            for configured in plan.filter(|found| found.name == self.name) {
                let settings = configured.settings;
                self.own.breaker.configure(settings, &[]);
                let settings = settings.with(self.set);
                self.other.breaker.configure(settings, &[]);
            }
        } else if let Event::BreakerChanged(changed) = event {
            if changed.name == self.name {
                self.recorded.push(change_of(changed));
            }
        } else if let Event::BreakerCommanded(wish) = event {
            if wish.name == self.name {
                self.both(|name, machine| {
                    let changed = machine
                        .breaker
                        .ask(name, at, (wish.action, wish.ttl_micros));
                    machine.fold(at, &changed);
                });
            }
        } else if let Event::BackupRequested(request) = event {
            if backup_breaker(&request.target) == self.name {
                let holder = u128::from_be_bytes(request.backup.bytes());
                self.both(|_, machine| {
                    if machine.breaker.admit(at) == Admission::Permit {
                        machine.breaker.lend(at, holder);
                    }
                });
            }
        } else if let Event::BackupEnded(ended) = event {
            if backup_breaker(&ended.target) == self.name {
                self.both(|name, machine| machine.attempt(name, at, ended));
            }
        } else if let Event::DependencyCalled(called) = event {
            if called.breaker == self.name {
                self.both(|name, machine| machine.dependency(name, at, called));
            }
        } else {
            self.run(at, event);
        }
    }

    fn run(&mut self, at: UnixMicros, event: &Event) {
        if let Event::RunRequested(request) = event {
            self.request(request);
        } else if let Event::RunAdmitted(admitted) = event {
            let way = self.asked.remove(&admitted.run);
            self.admitted = way.map(|way| (admitted.run, at, way));
        } else if let Event::RunRefused(refused) = event {
            let way = self.asked.remove(&refused.run);
            self.hurried.remove(&refused.run);
            let by_breaker = matches!(refused.refusal, Refusal::BreakerOpen { .. });
            if by_breaker && way == Some(Way::Here) {
                let holder = u128::from_be_bytes(refused.run.bytes());
                self.both(|_, machine| machine.ask(at, holder, false));
            }
        } else if let Event::RunDeduplicated(repeated) = event {
            self.asked.remove(&repeated.run);
            self.hurried.remove(&repeated.run);
        } else if let Event::OutcomeObserved(observed) = event {
            let callers = self.hurried.contains(&observed.run);
            let ended = Ended::of(observed, callers);
            let micros = Some(observed.computed_micros);
            self.end(observed.run, at, (&ended, micros));
        } else if let Event::RunFailed(failed) = event {
            let ended = Ended::failed(&failed.code);
            self.end(failed.run, at, (&ended, None));
        } else if let Event::RunCancelled(cancelled) = event {
            self.end(cancelled.run, at, (&Ended::Ignored, None));
        }
    }

    fn request(&mut self, request: &RunRequested) {
        if let Some(service) = &request.service {
            let way = match service.breaker == self.name {
                true if service.cached => Way::AtHand,
                true => Way::Here,
                false => Way::Elsewhere,
            };
            self.asked.insert(request.run, way);
            if service.caller_deadline {
                self.hurried.insert(request.run);
            }
        }
    }

    fn fallback(&mut self, taken: &FallbackTaken) {
        let Some((run, _, way)) = &mut self.admitted else {
            return;
        };
        if let Instead::Computed { breaker, .. } = &taken.instead
            && *run == taken.run
        {
            if breaker == self.name {
                *way = Way::Here;
            } else if *way == Way::Here {
                *way = Way::Diverted;
            }
        }
    }

    /// What the run that was admitted last asks of the machines.
    fn settle(&mut self) {
        let Some((run, at, way)) = self.admitted.take() else {
            return;
        };
        let holder = u128::from_be_bytes(run.bytes());
        match way {
            Way::Here => self.both(|_, machine| machine.ask(at, holder, true)),
            Way::Diverted => self.both(|_, machine| machine.ask(at, holder, false)),
            Way::AtHand => self.both(|_, machine| machine.pass_by(at)),
            Way::Elsewhere => {}
        }
    }

    fn end(&mut self, run: RunId, at: UnixMicros, ended: (&Ended, Option<u64>)) {
        self.hurried.remove(&run);
        let holder = u128::from_be_bytes(run.bytes());
        self.both(|name, machine| machine.end(name, at, holder, ended));
    }
}
