//! What can be read off a breaker.

use super::machine::{Breaker, Call, CallTotals, LastFailure, Overlay, Phase};
use super::settings::{BreakerSettings, Fallback};
use super::word::BreakerState;
use crate::ids::UnixMicros;

impl Breaker {
    #[must_use]
    pub const fn settings(&self) -> &BreakerSettings {
        &self.settings
    }

    #[must_use]
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }

    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    #[must_use]
    pub const fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    #[must_use]
    pub const fn totals(&self) -> &CallTotals {
        &self.totals
    }

    #[must_use]
    pub const fn last_failure(&self) -> Option<&LastFailure> {
        self.last_failure.as_ref()
    }

    #[must_use]
    pub const fn openings(&self) -> u64 {
        self.openings
    }

    #[must_use]
    pub const fn consecutive(&self) -> u32 {
        self.consecutive
    }

    /// How often it opened since it was last closed.
    #[must_use]
    pub const fn streak(&self) -> u32 {
        self.streak
    }

    /// The calls that it holds, oldest first: when they ended, whether they failed, whether they
    /// were slow.
    pub fn window(&self) -> impl ExactSizeIterator<Item = (UnixMicros, bool, bool)> {
        self.window
            .iter()
            .map(|call| (call.at, call.failed, call.slow))
    }

    /// When it last changed.
    #[must_use]
    pub const fn changed_at(&self) -> Option<UnixMicros> {
        self.changed_at
    }

    /// How often it changed, by where from and where to.
    pub fn changes(&self) -> impl Iterator<Item = (BreakerState, BreakerState, u64)> {
        self.changes
            .iter()
            .map(|((from, to), count)| (*from, *to, *count))
    }

    /// How often something was answered in place of its service, by the state that led to it.
    pub fn fallbacks_taken(&self) -> impl Iterator<Item = (BreakerState, u64)> {
        self.fallbacks_taken
            .iter()
            .map(|(state, count)| (*state, *count))
    }

    /// Calls that it did not let pass, whether or not something was answered in their place.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        let fallbacks = self.fallbacks_taken.values().sum::<u64>();
        self.totals.rejected.saturating_add(fallbacks)
    }

    /// When the last fallbacks were, oldest first.
    pub fn fallbacks_at(&self) -> impl DoubleEndedIterator<Item = UnixMicros> {
        self.fallbacks_at.iter().copied()
    }

    /// What it does with calls.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match &self.overlay {
            Some(overlay) => overlay.state,
            None => self.phase_state(),
        }
    }

    pub(super) const fn phase_state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When the half-open phase began that it is in.
    #[must_use]
    pub const fn half_open_since(&self) -> Option<UnixMicros> {
        match self.phase {
            Phase::HalfOpen { since, .. } => Some(since),
            Phase::Closed | Phase::Open { .. } => None,
        }
    }

    /// Calls in the window at `at`: all, failed, slow.
    #[must_use]
    pub fn counts(&self, at: UnixMicros) -> (u32, u32, u32) {
        let mut counts = (0, 0, 0);
        for call in self.window.iter().filter(|call| self.is_young(call, at)) {
            counts.0 += 1;
            counts.1 += u32::from(call.failed);
            counts.2 += u32::from(call.slow);
        }
        counts
    }

    const fn is_young(&self, call: &Call, at: UnixMicros) -> bool {
        self.settings.window_micros == 0 || at.since(call.at) < self.settings.window_micros
    }

    /// Permits that are out at `at`; none unless it is half-open.
    #[must_use]
    pub fn permits_out(&self, at: UnixMicros) -> u32 {
        let Phase::HalfOpen { permits, .. } = &self.phase else {
            return 0;
        };
        let live = permits.values().filter(|until| **until > at).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// Calls that may still begin while it is half-open at `at`.
    #[must_use]
    pub fn permits_free(&self, at: UnixMicros) -> u32 {
        let Phase::HalfOpen {
            succeeded, failed, ..
        } = &self.phase
        else {
            return 0;
        };
        let left = self.settings.half_open_permits.max(1);
        match failed {
            true => 0,
            false => left.saturating_sub(self.permits_out(at) + succeeded),
        }
    }
}
