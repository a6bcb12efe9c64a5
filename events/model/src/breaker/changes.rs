//! How a breaker changes: by time, by a wish, by what `judge` found; and what a change does to it.

use std::collections::BTreeMap;

use super::machine::{Breaker, Overlay, Phase};
use super::word::{BreakerAction, BreakerCause, BreakerState};
use crate::event::BreakerChanged;
use crate::ids::{Name16, UnixMicros};
use crate::limits::BREAKER_CHANGE_KINDS_MAX;

impl Breaker {
    /// When it changes by itself, if nothing else happens.
    #[must_use]
    pub fn due(&self) -> Option<UnixMicros> {
        if let Some(overlay) = &self.overlay {
            return overlay.until;
        }
        let longest = self.settings.half_open_micros_max;
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen { since, .. } => (longest > 0).then(|| since.plus(longest)),
        }
    }

    /// What time alone brings about by `at`.
    #[must_use]
    pub fn elapse(&self, name: &str, at: UnixMicros) -> Option<BreakerChanged> {
        if self.due().is_none_or(|due| due > at) {
            return None;
        }
        if self.overlay.is_some() {
            let change = (BreakerCause::TtlEnded, None);
            return Some(self.to(name, self.phase_state(), change));
        }
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { .. } => {
                let change = (BreakerCause::OpenLongEnough, None);
                Some(self.to(name, BreakerState::HalfOpen, change))
            }
            Phase::HalfOpen { .. } => Some(self.opening(name, at, BreakerCause::HalfOpenTooLong)),
        }
    }

    /// What somebody's wish brings about.
    #[must_use]
    pub fn ask(
        &self,
        name: &str,
        at: UnixMicros,
        (action, ttl_micros): (BreakerAction, u64),
    ) -> BreakerChanged {
        let until = (ttl_micros > 0).then(|| at.plus(ttl_micros));
        let (to, until) = match action {
            BreakerAction::Reset => (BreakerState::Closed, None),
            BreakerAction::Enable => (self.phase_state(), None),
            BreakerAction::ForceOpen => (BreakerState::ForcedOpen, until),
            BreakerAction::Disable => (BreakerState::Disabled, until),
            BreakerAction::MetricsOnly => (BreakerState::MetricsOnly, until),
        };
        self.to(name, to, (BreakerCause::Asked { action }, until))
    }

    /// Folds a change in.
    pub fn change(
        &mut self,
        at: UnixMicros,
        changed: &BreakerChanged,
        (reason, by): (&str, Name16),
    ) {
        self.changed_at = Some(at);
        if self.changes.len() < BREAKER_CHANGE_KINDS_MAX {
            *self.changes.entry((changed.from, changed.to)).or_default() += 1;
        }
        match changed.to {
            BreakerState::ForcedOpen | BreakerState::Disabled | BreakerState::MetricsOnly => {
                self.overlay = Some(Overlay {
                    state: changed.to,
                    since: at,
                    until: changed.until,
                    reason: reason.to_owned(),
                    by,
                });
            }
            BreakerState::Closed | BreakerState::HalfOpen | BreakerState::Open => {
                let lifted = self.overlay.take().is_some();
                let reset = changed.cause
                    == BreakerCause::Asked {
                        action: BreakerAction::Reset,
                    };
                // What lay over the phase is gone, and the phase goes on.
                if reset || !(lifted || is_enable(changed.cause)) {
                    self.enter(at, changed);
                }
            }
        }
    }

    fn enter(&mut self, at: UnixMicros, changed: &BreakerChanged) {
        match changed.to {
            BreakerState::Open => {
                self.phase = Phase::Open {
                    until: changed.until.unwrap_or(at),
                };
                self.openings += 1;
                self.streak = self.streak.saturating_add(1);
                self.consecutive = 0;
            }
            BreakerState::HalfOpen => {
                self.phase = Phase::HalfOpen {
                    since: at,
                    permits: BTreeMap::new(),
                    succeeded: 0,
                    failed: false,
                };
            }
            BreakerState::Closed
            | BreakerState::ForcedOpen
            | BreakerState::Disabled
            | BreakerState::MetricsOnly => {
                self.phase = Phase::Closed;
                self.window.clear();
                self.consecutive = 0;
                self.streak = 0;
            }
        }
    }
}

fn is_enable(cause: BreakerCause) -> bool {
    let action = BreakerAction::Enable;
    cause == BreakerCause::Asked { action }
}
