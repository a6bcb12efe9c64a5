//! One breaker as a pure machine: `record` and `change` fold, `judge` and `elapse` say what follows,
//! `admit` whether a call passes. It knows only the times that it is told.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::settings::{BreakerSettings, ConfiguredBreaker, Fallback};
use super::word::{BreakerCause, BreakerState};
use crate::event::BreakerChanged;
use crate::ids::{Name16, UnixMicros};
use crate::limits::FALLBACKS_REMEMBERED_MAX;

/// Who holds a permit: the bytes of a run's or backup's id.
pub(crate) type Holder = u128;

/// Where a breaker is, whatever somebody has asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Closed,
    Open {
        until: UnixMicros,
    },
    HalfOpen {
        since: UnixMicros,
        /// Permits out, and when each ends by itself.
        permits: BTreeMap<Holder, UnixMicros>,
        succeeded: u32,
        failed: bool,
    },
}

/// What somebody asked for, which counts more than the phase as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// `ForcedOpen`, `Disabled` or `MetricsOnly`.
    pub state: BreakerState,
    pub since: UnixMicros,
    /// When it ends by itself.
    pub until: Option<UnixMicros>,
    pub reason: String,
    pub by: Name16,
}

/// A call that has ended, in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) at: UnixMicros,
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// The last call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    pub at: UnixMicros,
    /// Such as `deadline_exceeded`.
    pub code: String,
}

/// Calls since the log began to know the breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallTotals {
    pub success: u64,
    pub failure: u64,
    /// Calls that worked and were slow.
    pub slow: u64,
    /// Withdrawn, wrong or answered without a computation.
    pub ignored: u64,
    /// Not let pass by a decision, and answered with nothing in their place.
    pub rejected: u64,
}

/// How a call ended, for a breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Success,
    Failure {
        code: String,
    },
    /// It says nothing about the service.
    Ignored,
}

/// The code of a run that ended because the time passed that its caller gave it, which was less than
/// the service allows.
pub const CALLER_DEADLINE: &str = "caller_deadline";
/// The code of a run that took longer than it may.
pub const DEADLINE_EXCEEDED: &str = "deadline_exceeded";

/// The code of a run whose time passed while no server ran.
pub const DEADLINE_UNSERVED: &str = "deadline_unserved";

/// Whether a failure with this code is the service's: a request that is wrong, too large or
/// unreadable is not, nor is one whose caller did not wait, or that nobody worked on.
#[must_use]
pub fn is_failure(code: &str) -> bool {
    !matches!(
        code,
        "invalid" | "too_large" | "sealed" | CALLER_DEADLINE | DEADLINE_UNSERVED
    )
}

/// Whether a call passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Pass,
    /// It passes with a permit, which it holds until it ends.
    Permit,
    Refuse {
        state: BreakerState,
        /// When to try again, if that is known.
        until: Option<UnixMicros>,
    },
}

/// One breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    pub(super) settings: BreakerSettings,
    pub(super) fallbacks: Vec<Fallback>,
    pub(super) phase: Phase,
    pub(super) overlay: Option<Overlay>,
    pub(super) window: VecDeque<Call>,
    pub(super) consecutive: u32,
    /// How often it opened since it was last closed.
    pub(super) streak: u32,
    pub(super) openings: u64,
    pub(super) changed_at: Option<UnixMicros>,
    pub(super) last_failure: Option<LastFailure>,
    pub(super) totals: CallTotals,
    /// Changes by where they led from and to.
    pub(super) changes: BTreeMap<(BreakerState, BreakerState), u64>,
    /// Fallbacks by the state that led to them.
    pub(super) fallbacks_taken: BTreeMap<BreakerState, u64>,
    /// When the last ones were.
    pub(super) fallbacks_at: VecDeque<UnixMicros>,
}

impl Breaker {
    pub(crate) fn new(configured: &ConfiguredBreaker) -> Self {
        Self {
            settings: configured.settings,
            fallbacks: configured.fallbacks.clone(),
            phase: Phase::Closed,
            overlay: None,
            window: VecDeque::new(),
            consecutive: 0,
            streak: 0,
            openings: 0,
            changed_at: None,
            last_failure: None,
            totals: CallTotals::default(),
            changes: BTreeMap::new(),
            fallbacks_taken: BTreeMap::new(),
            fallbacks_at: VecDeque::new(),
        }
    }

    /// A closed breaker that has seen nothing, for simulations.
    #[must_use]
    pub fn fresh(settings: BreakerSettings) -> Self {
        Self::new(&ConfiguredBreaker {
            name: String::new(),
            settings,
            fallbacks: Vec::new(),
        })
    }

    /// Takes over other settings and keeps everything else.
    pub fn configure(&mut self, settings: BreakerSettings, fallbacks: &[Fallback]) {
        self.settings = settings;
        self.fallbacks = fallbacks.to_vec();
        self.shorten(UnixMicros(0));
    }

    /// Whether a call passes at `at`.
    #[must_use]
    pub fn admit(&self, at: UnixMicros) -> Admission {
        let refuse = |until| Admission::Refuse {
            state: self.state(),
            until,
        };
        match (&self.overlay, &self.phase) {
            (Some(overlay), _) if overlay.state == BreakerState::ForcedOpen => {
                refuse(overlay.until)
            }
            (Some(_), _) | (None, Phase::Closed) => Admission::Pass,
            (None, Phase::Open { until }) => refuse(Some(*until)),
            (None, Phase::HalfOpen { permits, .. }) => match self.permits_free(at) {
                0 => refuse(permits.values().filter(|until| **until > at).min().copied()),
                _ => Admission::Permit,
            },
        }
    }

    /// Gives the caller a permit, which it holds until it gives it back or its time has passed.
    pub fn lend(&mut self, at: UnixMicros, holder: u128) {
        let until = at.plus(self.settings.permit_micros);
        if let (None, Phase::HalfOpen { permits, .. }) = (&self.overlay, &mut self.phase) {
            permits.retain(|_, until| *until > at);
            permits.insert(holder, until);
        }
    }

    /// The permit is back; what became of the call is not known, or says nothing.
    pub fn give_back(&mut self, holder: u128) {
        if let Phase::HalfOpen { permits, .. } = &mut self.phase {
            permits.remove(&holder);
        }
    }

    pub(crate) const fn count_rejected(&mut self) {
        self.totals.rejected += 1;
    }

    pub(crate) fn count_fallback(&mut self, at: UnixMicros) {
        *self.fallbacks_taken.entry(self.state()).or_default() += 1;
        self.fallbacks_at.push_back(at);
        if self.fallbacks_at.len() > FALLBACKS_REMEMBERED_MAX {
            self.fallbacks_at.pop_front();
        }
    }

    /// A call ended at `at` after `micros`. `probe` is when the half-open phase began in which it
    /// was let through to try the service.
    pub fn record(
        &mut self,
        at: UnixMicros,
        (holder, probe): (u128, Option<UnixMicros>),
        ended: (&Ended, u64),
    ) {
        self.record_alike(at, (holder, probe), ended, 1);
    }

    /// As [`Self::record`], for `count` calls that ended alike.
    pub(super) fn record_alike(
        &mut self,
        at: UnixMicros,
        (holder, probe): (u128, Option<UnixMicros>),
        (ended, micros): (&Ended, u64),
        count: u32,
    ) {
        self.give_back(holder);
        if count == 0 || self.state() == BreakerState::Disabled {
            return;
        }
        let slow = self.settings.slow_micros > 0 && micros > self.settings.slow_micros;
        let calls = u64::from(count);
        let failed = match ended {
            Ended::Ignored => return self.totals.ignored += calls,
            Ended::Success if slow => {
                self.totals.slow += calls;
                false
            }
            Ended::Success => {
                self.totals.success += calls;
                false
            }
            Ended::Failure { code } => {
                self.totals.failure += calls;
                let code = code.clone();
                self.last_failure = Some(LastFailure { at, code });
                true
            }
        };
        match &mut self.phase {
            Phase::Closed => {
                self.consecutive = match failed {
                    true => self.consecutive.saturating_add(count),
                    false => 0,
                };
                // More of them than are looked at push each other out.
                for _ in 0..count.min(self.settings.window_calls) {
                    self.window.push_back(Call { at, failed, slow });
                }
                self.shorten(at);
            }
            Phase::HalfOpen {
                since,
                succeeded,
                failed: any_failed,
                ..
            } if probe == Some(*since) => match failed || slow {
                true => *any_failed = true,
                false => *succeeded = succeeded.saturating_add(count),
            },
            // It was let through before, and tells nothing about the service of today.
            Phase::HalfOpen { .. } | Phase::Open { .. } => {}
        }
    }

    fn shorten(&mut self, at: UnixMicros) {
        while self.window.len() > self.settings.window_calls as usize {
            self.window.pop_front();
        }
        let window = self.settings.window_micros;
        while window > 0
            && self
                .window
                .front()
                .is_some_and(|call| at.since(call.at) >= window)
        {
            self.window.pop_front();
        }
    }

    /// What follows from the calls that ended, at `at`: where to, why, and until when.
    #[must_use]
    pub fn judge(&self, name: &str, at: UnixMicros) -> Option<BreakerChanged> {
        if self.overlay.is_some() {
            return None;
        }
        match &self.phase {
            Phase::Closed => {
                let cause = self.bad(at)?;
                Some(self.opening(name, at, cause))
            }
            Phase::HalfOpen { failed: true, .. } => {
                Some(self.opening(name, at, BreakerCause::ProbeFailed))
            }
            Phase::HalfOpen { succeeded, .. }
                if *succeeded >= self.settings.half_open_permits.max(1) =>
            {
                let succeeded = *succeeded;
                let cause = BreakerCause::ProbesSucceeded { succeeded };
                Some(self.to(name, BreakerState::Closed, (cause, None)))
            }
            Phase::HalfOpen { .. } | Phase::Open { .. } => None,
        }
    }

    fn bad(&self, at: UnixMicros) -> Option<BreakerCause> {
        let settings = &self.settings;
        let failed = self.consecutive;
        if settings.consecutive_failures > 0 && failed >= settings.consecutive_failures {
            return Some(BreakerCause::ConsecutiveFailures { failed });
        }
        let (of, failed, slow) = self.counts(at);
        let reaches = |count: u32, percent: u32| {
            percent > 0 && u64::from(count) * 100 >= u64::from(percent) * u64::from(of)
        };
        if of < settings.minimum_calls.max(1) {
            return None;
        }
        if failed > 0 && reaches(failed, settings.failure_percent) {
            return Some(BreakerCause::FailureRate { failed, of });
        }
        let slow_counts = settings.slow_micros > 0 && slow > 0;
        (slow_counts && reaches(slow, settings.slow_percent))
            .then_some(BreakerCause::SlowRate { slow, of })
    }

    pub(super) fn to(
        &self,
        name: &str,
        to: BreakerState,
        (cause, until): (BreakerCause, Option<UnixMicros>),
    ) -> BreakerChanged {
        BreakerChanged {
            name: name.to_owned(),
            from: self.state(),
            to,
            cause,
            until,
        }
    }

    pub(super) fn opening(
        &self,
        name: &str,
        at: UnixMicros,
        cause: BreakerCause,
    ) -> BreakerChanged {
        let until = at.plus(self.open_micros(name));
        self.to(name, BreakerState::Open, (cause, Some(until)))
    }

    /// How long it would be open: longer each time, and jittered by a number that follows from the
    /// name and how often it opened.
    fn open_micros(&self, name: &str) -> u64 {
        let settings = &self.settings;
        let most = settings.open_micros_max.max(settings.open_micros);
        let mut micros = settings.open_micros;
        for _ in 0..self.streak.min(64) {
            let grown = u128::from(micros) * u128::from(settings.backoff_percent.max(100)) / 100;
            micros = u64::try_from(grown).unwrap_or(u64::MAX).min(most);
            if micros == most {
                break;
            }
        }
        let span = u128::from(micros) * u128::from(settings.jitter_percent.min(100)) / 100;
        let span = u64::try_from(span).unwrap_or(0);
        let drawn = spread(name, self.openings) % (2 * span + 1);
        (micros - span).saturating_add(drawn).clamp(1, most.max(1))
    }
}

/// A number that follows from a name and a count: FNV-1a over both, then the mixing of splitmix64.
fn spread(name: &str, count: u64) -> u64 {
    let bytes = name.bytes().chain(count.to_le_bytes());
    let folded = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (folded ^ (folded >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
