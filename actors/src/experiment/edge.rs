//! Requests turned away before they could be recorded, counted until the log is told their sums.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shed;
use crate::lock::lock;

/// No request was turned away.
pub(crate) const NOTHING: Shed = Shed {
    overloaded: 0,
    malformed: 0,
    unauthenticated: 0,
};

/// The counters at the edge.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    overloaded: AtomicU64,
    malformed: AtomicU64,
    unauthenticated: AtomicU64,
    unstored: Mutex<Option<(u64, String)>>,
}

impl Edge {
    /// A payload could not be stored, so that nothing was recorded of its request.
    pub(crate) fn count_unstored(&self, why: &str) {
        let mut unstored = lock(&self.unstored);
        let (count, last) = unstored.get_or_insert_default();
        *count += 1;
        why.clone_into(last);
    }

    /// How many payloads could not be stored since the last call, and why the last one.
    pub(crate) fn take_unstored(&self) -> Option<(u64, String)> {
        lock(&self.unstored).take()
    }

    pub(crate) fn count_overloaded(&self) {
        self.overloaded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_unauthenticated(&self) {
        self.unauthenticated.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts since the last call.
    pub(crate) fn take(&self) -> Shed {
        Shed {
            overloaded: self.overloaded.swap(0, Ordering::Relaxed),
            malformed: self.malformed.swap(0, Ordering::Relaxed),
            unauthenticated: self.unauthenticated.swap(0, Ordering::Relaxed),
        }
    }

    /// Counts again what could not be recorded.
    pub(crate) fn give_back(&self, shed: &Shed) {
        self.overloaded
            .fetch_add(shed.overloaded, Ordering::Relaxed);
        self.malformed.fetch_add(shed.malformed, Ordering::Relaxed);
        self.unauthenticated
            .fetch_add(shed.unauthenticated, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_once_and_can_be_given_back() {
        let edge = Edge::default();
        edge.count_overloaded();
        edge.count_malformed();
        edge.count_malformed();
        edge.count_unauthenticated();
        let taken = edge.take();
        assert_eq!(
            taken,
            Shed {
                overloaded: 1,
                malformed: 2,
                unauthenticated: 1
            }
        );
        assert_eq!(edge.take(), NOTHING);
        edge.give_back(&taken);
        assert_eq!(edge.take(), taken);
    }
}
