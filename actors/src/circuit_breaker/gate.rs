//! A breaker as a caller sees it: two words that are read without a lock and without a clock while
//! all is well.
//!
//! `until` says what is done with calls: 0 lets them pass, `PROBE` as many as there are tickets,
//! anything else none before that moment. `tickets` holds how many calls may try the service and how
//! many do. What is published comes with the sequence that it was read at, so that an older state
//! never replaces a newer one. `actors/tests/gate.rs` runs this file under loom.

use super::sync::{AtomicU64, Mutex, Ordering, PoisonError};

/// In `until`: look at the tickets.
const PROBE: u64 = u64::MAX - 1;
/// In `until`: no call passes, and nobody knows until when.
const FOR_EVER: u64 = u64::MAX;
/// `tickets` holds the limit above and the calls under way below.
const LIMIT_SHIFT: u32 = 32;
const UNDER_WAY: u64 = (1 << LIMIT_SHIFT) - 1;

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Pass,
    /// No call before this moment, in microseconds since 1970; none at all if it is not known.
    RefuseUntil(Option<u64>),
    /// So many calls at once.
    Probe(u32),
}

/// Why a call is turned away: when to try again, in microseconds since 1970, if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Option<u64>);

/// A gate. See the module.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    until: AtomicU64,
    tickets: AtomicU64,
    passed: AtomicU64,
    refused: AtomicU64,
    published: Mutex<u64>,
}

/// The right to make one call. A probe gives its ticket back when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket<'g> {
    probe: Option<&'g Gate>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.probe {
            gate.tickets.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Gate {
    /// Whether a call passes, as far as is known here. `now` is asked only when it matters.
    ///
    /// # Errors
    /// The call is turned away.
    #[inline]
    pub(crate) fn decide(&self, now: impl FnOnce() -> u64) -> Result<Ticket<'_>, Refused> {
        let until = self.until.load(Ordering::Acquire);
        if until == 0 {
            return Ok(Ticket { probe: None });
        }
        self.decide_otherwise(until, now)
    }

    #[cold]
    fn decide_otherwise(
        &self,
        until: u64,
        now: impl FnOnce() -> u64,
    ) -> Result<Ticket<'_>, Refused> {
        match until {
            FOR_EVER => Err(Refused(None)),
            PROBE => self.try_probe().ok_or(Refused(None)),
            until if until > now() => Err(Refused(Some(until))),
            _ => Ok(Ticket { probe: None }),
        }
    }

    /// As [`Self::decide`], and counts what became of it.
    ///
    /// # Errors
    /// The call is turned away.
    #[inline]
    pub(crate) fn enter(&self, now: impl FnOnce() -> u64) -> Result<Ticket<'_>, Refused> {
        let decided = self.decide(now);
        let counter = match decided {
            Ok(_) => &self.passed,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        decided
    }

    fn try_probe(&self) -> Option<Ticket<'_>> {
        let mut seen = self.tickets.load(Ordering::Acquire);
        loop {
            if seen & UNDER_WAY >= seen >> LIMIT_SHIFT {
                return None;
            }
            let taken = self.tickets.compare_exchange_weak(
                seen,
                seen + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match taken {
                Ok(_) => return Some(Ticket { probe: Some(self) }),
                Err(other) => seen = other,
            }
        }
    }

    /// Shows what the breaker says after the event `seq`. What is older than what is shown already
    /// changes nothing.
    pub(crate) fn publish(&self, seq: u64, signal: Signal) {
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if seq < *published {
            return;
        }
        *published = seq;
        if let Signal::Probe(limit) = signal {
            self.limit(limit);
        }
        let until = match signal {
            Signal::Pass => 0,
            Signal::Probe(_) => PROBE,
            Signal::RefuseUntil(None) => FOR_EVER,
            Signal::RefuseUntil(Some(at)) => at.clamp(1, PROBE - 1),
        };
        self.until.store(until, Ordering::Release);
    }

    /// Calls under way keep their tickets.
    fn limit(&self, limit: u32) {
        let mut seen = self.tickets.load(Ordering::Acquire);
        loop {
            let wanted = (u64::from(limit) << LIMIT_SHIFT) | (seen & UNDER_WAY);
            let set = self.tickets.compare_exchange_weak(
                seen,
                wanted,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match set {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    /// Calls that passed and calls that were turned away here, since the start.
    #[must_use]
    pub(crate) fn counts(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.passed), load(&self.refused))
    }
}
