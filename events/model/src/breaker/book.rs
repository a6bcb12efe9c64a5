//! All breakers with the calls that are under way: the part of the state that is about them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::backup_breaker;
use super::machine::{Admission, Breaker, CALLER_DEADLINE, DEADLINE_EXCEEDED, Ended, is_failure};
use super::settings::BreakerPlan;
use crate::event::{
    BackupEnded, BackupRequested, BreakerChanged, BreakerCommanded, DependencyCalled,
    FallbackTaken, Instead, Outcome, OutcomeObserved, Service,
};
use crate::ids::{Name16, RunId, UnixMicros};
use crate::limits::ALIKE_CALLS_MAX;
use crate::refusal::Refusal;

/// A call that was let through and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// The breaker that it goes by.
    pub breaker: String,
    pub since: UnixMicros,
    /// When the half-open phase began in which it tries the service; none for other calls.
    pub probe: Option<UnixMicros>,
}

/// What an open run computes in place of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diversion {
    /// Such as `boss`.
    pub to: String,
    /// The breaker that did not let it pass.
    pub breaker: String,
}

/// A wish about a breaker, between its observed event and the decision about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wish {
    reason: String,
    by: Name16,
}

/// A request between its observed event and the decision about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    run: RunId,
    breaker: String,
}

/// See the module. Empty in a log that never configured a breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breakers {
    all: BTreeMap<String, Breaker>,
    calls: BTreeMap<RunId, OpenCall>,
    diversions: BTreeMap<RunId, Diversion>,
    asked: Option<Asked>,
    wish: Option<Wish>,
}

/// Which way a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// As it was asked for.
    Straight,
    /// Something is answered in its place.
    Instead(FallbackTaken),
    No(Refusal),
}

/// Calls to what is not run here hold no permit: they are made one after the other.
const NOBODY: u128 = 0;

fn holder(run: RunId) -> u128 {
    u128::from_be_bytes(run.bytes())
}

impl Breakers {
    /// Whether nothing was ever configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every breaker, by name.
    pub fn all(&self) -> impl ExactSizeIterator<Item = (&str, &Breaker)> {
        self.all
            .iter()
            .map(|(name, breaker)| (name.as_str(), breaker))
    }

    /// The breaker of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Breaker> {
        self.all.get(name)
    }

    /// What an open run computes in place of what was asked for.
    #[must_use]
    pub fn diversion(&self, run: RunId) -> Option<&Diversion> {
        self.diversions.get(&run)
    }

    /// What open runs compute in place of what was asked for.
    pub fn diversions(&self) -> impl ExactSizeIterator<Item = (RunId, &Diversion)> {
        self.diversions
            .iter()
            .map(|(run, diversion)| (*run, diversion))
    }

    /// The call of an open run.
    #[must_use]
    pub fn call(&self, run: RunId) -> Option<&OpenCall> {
        self.calls.get(&run)
    }

    /// Calls that are under way.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = (RunId, &OpenCall)> {
        self.calls.iter().map(|(run, call)| (*run, call))
    }

    /// The breakers as they are configured.
    #[must_use]
    pub fn plan(&self) -> BreakerPlan {
        let breakers = self.all.iter();
        let configured = breakers.map(|(name, breaker)| super::ConfiguredBreaker {
            name: name.clone(),
            settings: *breaker.settings(),
            fallbacks: breaker.fallbacks().to_vec(),
        });
        BreakerPlan {
            breakers: configured.collect(),
        }
    }

    /// When the first of them changes by itself.
    #[must_use]
    pub(crate) fn due(&self) -> Option<UnixMicros> {
        self.all.values().filter_map(Breaker::due).min()
    }

    /// What time alone brings about by `at`, `most` changes at most.
    pub(crate) fn elapsed(&self, at: UnixMicros, most: usize) -> Vec<BreakerChanged> {
        let due = self
            .all
            .iter()
            .filter_map(|(name, breaker)| breaker.elapse(name, at));
        due.take(most).collect()
    }

    /// Which way a request goes. A result that is at hand needs no computation, and is told as a
    /// fallback when there would have been none.
    pub(crate) fn route(&self, run: RunId, at: UnixMicros, service: &Service) -> Route {
        let Some(breaker) = self.all.get(&service.breaker) else {
            return Route::Straight;
        };
        let Admission::Refuse { state, until } = breaker.admit(at) else {
            return Route::Straight;
        };
        let instead = |instead| {
            let breaker = service.breaker.clone();
            Route::Instead(FallbackTaken {
                run,
                breaker,
                state,
                instead,
            })
        };
        if service.cached {
            return instead(Instead::Cached);
        }
        let passes = |name: &str| {
            let other = self.all.get(name);
            other.is_none_or(|other| !matches!(other.admit(at), Admission::Refuse { .. }))
        };
        let mut tried = breaker.fallbacks().iter().filter(|_| service.divert);
        match tried.find(|fallback| passes(&fallback.breaker)) {
            Some(fallback) => instead(Instead::Computed {
                to: fallback.to.clone(),
                breaker: fallback.breaker.clone(),
            }),
            None => Route::No(Refusal::BreakerOpen {
                breaker: service.breaker.clone(),
                state,
                retry_micros: until.map_or(0, |until| until.since(at).max(1)),
            }),
        }
    }

    /// What follows from the end of an open call, if it changes its breaker.
    pub(crate) fn after(
        &self,
        run: RunId,
        at: UnixMicros,
        (ended, micros): (&Ended, Option<u64>),
    ) -> Option<BreakerChanged> {
        let call = self.calls.get(&run)?;
        let mut breaker = self.all.get(&call.breaker)?.clone();
        let micros = micros.unwrap_or_else(|| at.since(call.since));
        breaker.record(at, (holder(run), call.probe), (ended, micros));
        breaker.judge(&call.breaker, at)
    }

    /// As [`Self::after`], for an attempt at a backup.
    pub(crate) fn after_backup(
        &self,
        at: UnixMicros,
        ended: &BackupEnded,
    ) -> Option<BreakerChanged> {
        let name = backup_breaker(&ended.target);
        let mut breaker = self.all.get(&name)?.clone();
        breaker.record_backup(at, ended);
        breaker.judge(&name, at)
    }

    /// As [`Self::after`], for calls to something that is not run here.
    pub(crate) fn after_dependency(
        &self,
        at: UnixMicros,
        called: &DependencyCalled,
    ) -> Option<BreakerChanged> {
        let mut breaker = self.all.get(&called.breaker)?.clone();
        breaker.record_dependency(at, called);
        breaker.judge(&called.breaker, at)
    }

    pub(crate) fn after_wish(
        &self,
        at: UnixMicros,
        wish: &BreakerCommanded,
    ) -> Option<BreakerChanged> {
        let breaker = self.all.get(&wish.name)?;
        Some(breaker.ask(&wish.name, at, (wish.action, wish.ttl_micros)))
    }

    // What follows folds, and cannot refuse.

    /// Takes over a configuration: breakers that it does not name are gone with what they knew.
    pub(crate) fn configure(&mut self, plan: &BreakerPlan) {
        let mut before = std::mem::take(&mut self.all);
        for configured in plan.bounded() {
            let known = before.remove(&configured.name);
            let mut breaker = known.unwrap_or_else(|| Breaker::new(configured));
            breaker.configure(configured.settings, &configured.fallbacks);
            self.all.insert(configured.name.clone(), breaker);
        }
        let all = &self.all;
        self.calls.retain(|_, call| all.contains_key(&call.breaker));
    }

    pub(crate) fn propose(&mut self, run: RunId, service: Option<&Service>) {
        let counted = service.filter(|service| !service.cached && !self.all.is_empty());
        self.asked = counted.map(|service| Asked {
            run,
            breaker: service.breaker.clone(),
        });
    }

    /// The run is admitted: its call begins.
    pub(crate) fn begin(&mut self, run: RunId, at: UnixMicros) {
        if let Some(asked) = self.asked.take().filter(|asked| asked.run == run) {
            self.enter(run, asked.breaker, at);
        }
    }

    fn enter(&mut self, run: RunId, name: String, at: UnixMicros) {
        let Some(breaker) = self.all.get_mut(&name) else {
            return;
        };
        let mut probe = None;
        if breaker.admit(at) == Admission::Permit {
            breaker.lend(at, holder(run));
            probe = breaker.half_open_since();
        }
        let call = OpenCall {
            breaker: name,
            since: at,
            probe,
        };
        self.calls.insert(run, call);
    }

    /// The run that was just admitted does not make the call that it asked for.
    pub(crate) fn take_fallback(&mut self, at: UnixMicros, taken: &FallbackTaken) {
        if let Some(breaker) = self.all.get_mut(&taken.breaker) {
            breaker.count_fallback(at);
        }
        self.calls.remove(&taken.run);
        if let Instead::Computed { to, breaker } = &taken.instead {
            let diversion = Diversion {
                to: to.clone(),
                breaker: taken.breaker.clone(),
            };
            self.diversions.insert(taken.run, diversion);
            self.enter(taken.run, breaker.clone(), at);
        }
    }

    /// The run is turned away.
    pub(crate) fn drop_asked(&mut self, refusal: Option<&Refusal>) {
        self.asked = None;
        if let Some(Refusal::BreakerOpen { breaker, .. }) = refusal
            && let Some(breaker) = self.all.get_mut(breaker)
        {
            breaker.count_rejected();
        }
    }

    /// A call ended. Only its first end counts.
    pub(crate) fn end(
        &mut self,
        run: RunId,
        at: UnixMicros,
        (ended, micros): (&Ended, Option<u64>),
    ) {
        let Some(call) = self.calls.remove(&run) else {
            return;
        };
        if let Some(breaker) = self.all.get_mut(&call.breaker) {
            let micros = micros.unwrap_or_else(|| at.since(call.since));
            breaker.record(at, (holder(run), call.probe), (ended, micros));
        }
    }

    /// The run is closed, whatever became of it.
    pub(crate) fn forget(&mut self, run: RunId) {
        self.diversions.remove(&run);
    }

    /// A backup that is asked for while its target is tried holds a permit.
    pub(crate) fn begin_backup(&mut self, at: UnixMicros, request: &BackupRequested) {
        if let Some(breaker) = self.all.get_mut(&backup_breaker(&request.target))
            && breaker.admit(at) == Admission::Permit
        {
            breaker.lend(at, u128::from_be_bytes(request.backup.bytes()));
        }
    }

    pub(crate) fn end_backup(&mut self, at: UnixMicros, ended: &BackupEnded) {
        if let Some(breaker) = self.all.get_mut(&backup_breaker(&ended.target)) {
            breaker.record_backup(at, ended);
        }
    }

    pub(crate) fn end_dependency(&mut self, at: UnixMicros, called: &DependencyCalled) {
        if let Some(breaker) = self.all.get_mut(&called.breaker) {
            breaker.record_dependency(at, called);
        }
    }

    pub(crate) fn wish(&mut self, wish: &BreakerCommanded, by: Name16) {
        self.wish = self.all.contains_key(&wish.name).then(|| Wish {
            reason: wish.reason.clone(),
            by,
        });
    }

    pub(crate) fn change(&mut self, at: UnixMicros, changed: &BreakerChanged) {
        let wish = self.wish.take();
        let (reason, by) = wish.map_or_else(Default::default, |wish| (wish.reason, wish.by));
        if let Some(breaker) = self.all.get_mut(&changed.name) {
            breaker.change(at, changed, (&reason, by));
        }
    }

    /// A line for each fact.
    pub(crate) fn dump(&self, text: &mut String) {
        let Self {
            all,
            calls,
            diversions,
            asked,
            wish,
        } = self;
        let mut line = |fact: String| writeln!(text, "{fact}").expect("text takes any line");
        all.iter()
            .for_each(|(name, breaker)| line(format!("breaker {name} {breaker:?}")));
        calls
            .iter()
            .for_each(|(run, call)| line(format!("call {run} {call:?}")));
        diversions
            .iter()
            .for_each(|(run, diversion)| line(format!("diversion {run} {diversion:?}")));
        if let Some(asked) = asked {
            line(format!("asked {asked:?}"));
        }
        if let Some(wish) = wish {
            line(format!("wish {wish:?}"));
        }
    }
}

impl Breaker {
    /// An attempt at a backup ended at `at`. Every one counts, and any of them tries the target
    /// while it is half-open.
    pub fn record_backup(&mut self, at: UnixMicros, ended: &BackupEnded) {
        let how = match &ended.error {
            None => Ended::Success,
            Some(_) => Ended::Failure {
                code: "backup_failed".to_owned(),
            },
        };
        let holder = u128::from_be_bytes(ended.backup.bytes());
        let probe = self.half_open_since();
        self.record(at, (holder, probe), (&how, ended.copied_micros));
    }
}

impl Breaker {
    /// Calls to something that is not run here ended by `at`. Every one counts, and any of them tries
    /// it while the breaker is half-open.
    pub fn record_dependency(&mut self, at: UnixMicros, called: &DependencyCalled) {
        for alike in called.calls.iter().take(ALIKE_CALLS_MAX) {
            let how = match &alike.error {
                None => Ended::Success,
                Some(code) => Ended::Failure { code: code.clone() },
            };
            let probe = self.half_open_since();
            let ended = (&how, alike.longest_micros);
            self.record_alike(at, (NOBODY, probe), ended, alike.count);
        }
    }
}

impl Ended {
    /// What an outcome says of the service. `caller_deadline` as in
    /// [`State::caller_deadline`](crate::State::caller_deadline).
    #[must_use]
    pub fn of(observed: &OutcomeObserved, caller_deadline: bool) -> Self {
        match &observed.outcome {
            Outcome::Completed { .. } => Self::Success,
            Outcome::Reused { .. } => Self::Ignored,
            Outcome::Failed { code, .. } => Self::failed(whose(code, caller_deadline)),
        }
    }

    /// What a failure with this code says of the service.
    #[must_use]
    pub fn failed(code: &str) -> Self {
        match is_failure(code) {
            true => Self::Failure {
                code: code.to_owned(),
            },
            false => Self::Ignored,
        }
    }
}

/// The code under which a run has failed whose outcome says `code`: a deadline that passed may be
/// its caller's own.
#[must_use]
pub fn whose(code: &str, caller_deadline: bool) -> &str {
    match caller_deadline && code == DEADLINE_EXCEEDED {
        true => CALLER_DEADLINE,
        false => code,
    }
}
