//! The breaker of something that is not run here, for whoever calls it from one thread.
//!
//! Whether a call passes is read off the gate, without the log. How calls ended is told to the log
//! only where it may matter: at once when it changes the breaker or the service is being tried, else
//! at most once a minute while calls fail or those that did are still looked at. While all is well
//! nothing is recorded. What was not told is told together with the next that is.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hindcast_log::Log;
use hindcast_model::UnixMicros;
use hindcast_model::breaker::{Breaker, BreakerState};
use hindcast_model::event::{AlikeCalls, DependencyCalled, Event};
use hindcast_model::limits::ALIKE_CALLS_MAX;

use super::Gates;
use crate::Environment;
use crate::lock::lock;
use crate::supervisor::system_command;

/// Calls that change nothing are told no more often than this.
const TOLD_EVERY_MICROS: u64 = 60_000_000;
/// How long the caller waits until what it told is durable, so that its next call knows of it.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);

/// How a call ended, for its breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    Success,
    /// With a code such as `unreachable`.
    Failure(&'static str),
    /// It says nothing about the service.
    Ignored,
}

/// See the module.
pub struct DependencyBreaker {
    name: String,
    gates: Arc<Gates>,
    log: Log,
    environment: Environment,
    untold: Mutex<Untold>,
}

/// Calls that the log was not told of.
#[derive(Default)]
struct Untold {
    /// Whether they were slow.
    calls: VecDeque<(AlikeCalls, bool)>,
    /// When the breaker had last changed before they were made.
    after: Option<UnixMicros>,
    /// Monotonic.
    told_at: Option<u64>,
    /// What was told last is not durable yet.
    answer: Option<Receiver<()>>,
    /// The log is being closed.
    parted: bool,
}

impl DependencyBreaker {
    pub(crate) fn new(
        name: &str,
        gates: Arc<Gates>,
        (log, environment): (Log, Environment),
    ) -> Self {
        Self {
            name: name.to_owned(),
            gates,
            log,
            environment,
            untold: Mutex::default(),
        }
    }

    /// Makes a call, unless its breaker is known to be open. One that there is no breaker for is made.
    pub fn call<R>(&self, call: impl FnOnce() -> R, end: impl FnOnce(&R) -> CallEnd) -> Option<R> {
        let Some(guarded) = self.gates.get(&self.name) else {
            return Some(call());
        };
        let ticket = guarded.gate.enter(|| self.gates.now().0).ok()?;
        let before = self.environment.clock.monotonic();
        let answer = call();
        let micros = self.environment.clock.monotonic().saturating_sub(before);
        match end(&answer) {
            CallEnd::Success => self.ended(None, micros),
            CallEnd::Failure(code) => self.ended(Some(code), micros),
            CallEnd::Ignored => {}
        }
        drop(ticket);
        Some(answer)
    }

    /// Tells the log nothing any more, because it is being closed.
    pub fn part(&self) {
        lock(&self.untold).parted = true;
    }

    /// Whether calls are turned away at this moment, as far as is known.
    #[must_use]
    pub fn turns_away(&self) -> bool {
        let guarded = self.gates.get(&self.name);
        guarded.is_some_and(|guarded| guarded.gate.decide(|| self.gates.now().0).is_err())
    }

    fn ended(&self, error: Option<&str>, micros: u64) {
        let now = self.environment.clock.monotonic();
        let mut untold = lock(&self.untold);
        let tells = self.log.state(|state| {
            let Some(breaker) = state.breakers().get(&self.name) else {
                return false;
            };
            untold.add(breaker, error, micros);
            untold.matters(&self.name, breaker, (self.gates.now(), now))
        });
        if tells {
            self.tell(&mut untold, now);
        }
    }

    fn tell(&self, untold: &mut Untold, now: u64) {
        let waits = |answer: &Receiver<()>| answer.try_recv() == Err(TryRecvError::Empty);
        if untold.parted || untold.answer.as_ref().is_some_and(waits) {
            return;
        }
        if self.log.read_only().is_some() {
            untold.calls.clear();
            return;
        }
        let (send, receive) = sync_channel(1);
        let event = Event::DependencyCalled(untold.called(&self.name));
        let command = system_command((self.environment.event_id)(), event);
        let reply = move |result| {
            if let Err(error) = result {
                tracing::warn!(%error, "the end of calls was not recorded");
            }
            // Who does not wait any more need not be told.
            let _ = send.try_send(());
        };
        if let Err(error) = self.log.submit(command.into(), Box::new(reply)) {
            tracing::debug!(%error, "the end of calls is told later");
            return;
        }
        untold.calls.clear();
        untold.told_at = Some(now);
        let answer = receive.recv_timeout(ANSWER_WAIT_MAX);
        untold.answer = (answer == Err(RecvTimeoutError::Timeout)).then_some(receive);
    }
}

impl Untold {
    fn add(&mut self, breaker: &Breaker, error: Option<&str>, micros: u64) {
        if self.after != breaker.changed_at() {
            // They tell nothing about the service of today.
            self.calls.clear();
            self.after = breaker.changed_at();
        }
        let slow_micros = breaker.settings().slow_micros;
        let slow = slow_micros > 0 && micros > slow_micros;
        if let Some((last, its)) = self.calls.back_mut()
            && *its == slow
            && last.error.as_deref() == error
        {
            last.count = last.count.saturating_add(1);
            last.longest_micros = last.longest_micros.max(micros);
            return;
        }
        let alike = AlikeCalls {
            count: 1,
            error: error.map(str::to_owned),
            longest_micros: micros,
        };
        self.calls.push_back((alike, slow));
        if self.calls.len() > ALIKE_CALLS_MAX {
            self.calls.pop_front();
        }
    }

    /// Whether the log is to be told.
    fn matters(&mut self, name: &str, breaker: &Breaker, (at, now): (UnixMicros, u64)) -> bool {
        match breaker.state() {
            // Calls are not counted.
            BreakerState::Disabled | BreakerState::Open => {
                self.calls.clear();
                return false;
            }
            BreakerState::HalfOpen => return true,
            BreakerState::Closed | BreakerState::ForcedOpen | BreakerState::MetricsOnly => {}
        }
        let (_, failed, slow) = breaker.counts(at);
        let bad = |(alike, slow): &(AlikeCalls, bool)| *slow || alike.error.is_some();
        let known = failed > 0 || slow > 0 || breaker.consecutive() > 0;
        if !known && !self.calls.iter().any(bad) {
            return false;
        }
        let every = |told: u64| now.saturating_sub(told) >= TOLD_EVERY_MICROS;
        if self.told_at.is_none_or(every) {
            return true;
        }
        let mut breaker = breaker.clone();
        breaker.record_dependency(at, &self.called(name));
        breaker.judge(name, at).is_some()
    }

    fn called(&self, name: &str) -> DependencyCalled {
        DependencyCalled {
            breaker: name.to_owned(),
            calls: self.calls.iter().map(|(alike, _)| alike.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hindcast_model::breaker::{Admission, BreakerSettings};

    use super::*;

    const NAME: &str = "otlp_collector";
    const SECOND: u64 = 1_000_000;

    /// A breaker with what was told of its calls, one a second.
    struct Day {
        breaker: Breaker,
        untold: Untold,
        second: u64,
        /// Calls, reports, changes.
        counts: (u32, u32, u32),
    }

    impl Day {
        fn new(settings: BreakerSettings) -> Self {
            Self {
                breaker: Breaker::fresh(settings),
                untold: Untold::default(),
                second: 1,
                counts: (0, 0, 0),
            }
        }

        fn change(&mut self, changed: Option<hindcast_model::event::BreakerChanged>) {
            if let Some(changed) = changed {
                let at = UnixMicros(self.second * SECOND);
                self.breaker.change(at, &changed, ("", Default::default()));
                self.counts.2 += 1;
            }
        }

        fn go(&mut self, seconds: u64, fails: impl Fn(u64) -> bool) {
            for _ in 0..seconds {
                self.second += 1;
                let at = UnixMicros(self.second * SECOND);
                self.change(self.breaker.elapse(NAME, at));
                if let Admission::Refuse { .. } = self.breaker.admit(at) {
                    continue;
                }
                self.counts.0 += 1;
                let error = fails(self.second).then_some("unreachable");
                self.untold.add(&self.breaker, error, 1_000);
                if self.untold.matters(NAME, &self.breaker, (at, at.0)) {
                    let called = self.untold.called(NAME);
                    self.untold.calls.clear();
                    self.untold.told_at = Some(at.0);
                    self.counts.1 += 1;
                    self.breaker.record_dependency(at, &called);
                    self.change(self.breaker.judge(NAME, at));
                }
            }
        }
    }

    #[test]
    fn nothing_is_told_while_all_is_well_and_little_of_an_hour_without_the_service() {
        let mut day = Day::new(BreakerSettings::default());
        day.go(3_600, |_| false);
        assert_eq!(day.counts, (3_600, 0, 0));
        day.counts = (0, 0, 0);
        day.go(3_600, |_| true);
        let (calls, reports, changes) = day.counts;
        // It opens for 30 s first, and for ten minutes in the end.
        assert!((5..20).contains(&calls), "{calls}");
        assert!(reports <= calls && changes < 25, "{reports} {changes}");
        assert_eq!(day.breaker.openings(), u64::from(calls) - 4);
        day.counts = (0, 0, 0);
        day.go(3_600, |_| false);
        assert_eq!(day.breaker.state(), BreakerState::Closed);
        let (_, reports, changes) = day.counts;
        assert_eq!((reports, changes), (2, 2), "two tries close it");
    }

    #[test]
    fn now_and_then_a_failure_is_told_once_a_minute_with_all_calls() {
        let mut day = Day::new(BreakerSettings::default());
        day.go(3_600, |second| second % 10 == 0);
        let (calls, reports, changes) = day.counts;
        assert_eq!((calls, changes), (3_600, 0));
        assert!((59..=61).contains(&reports), "{reports}");
        let totals = day.breaker.totals();
        let counted = totals.success + totals.failure;
        assert!((3_540..=3_600).contains(&counted), "{counted}");
        let (all, failed, _) = day.breaker.counts(UnixMicros(day.second * SECOND));
        assert_eq!((all, failed), (50, 5));
        // Once the failures are out of the window nothing is told any more.
        day.go(120, |_| false);
        let reports = day.counts.1;
        day.go(3_600, |_| false);
        assert_eq!(day.counts.1, reports);
    }

    #[test]
    fn half_of_the_calls_failing_opens_it_and_slow_ones_do() {
        let mut day = Day::new(BreakerSettings::default());
        day.go(30, |second| second % 2 == 0);
        assert_eq!(day.breaker.state(), BreakerState::Open);
        assert_eq!(day.counts.0, 10);
        let mut day = Day::new(BreakerSettings {
            slow_micros: 999,
            ..BreakerSettings::default()
        });
        day.go(10, |_| false);
        assert_eq!(day.breaker.state(), BreakerState::Open);
    }

    #[test]
    fn what_is_not_told_takes_little_memory() {
        let mut day = Day::new(BreakerSettings {
            failure_percent: 0,
            consecutive_failures: 0,
            ..BreakerSettings::default()
        });
        day.go(1, |_| true);
        for second in 0..1_000 {
            let error = (second % 2 == 0).then_some("timeout");
            day.untold.add(&day.breaker, error, 1);
        }
        assert_eq!(day.untold.calls.len(), ALIKE_CALLS_MAX);
    }
}
