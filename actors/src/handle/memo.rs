//! Results of cheap operations that were computed a short while ago. A result is a function of the
//! operation, its spec and its seed, so that the remembered bytes are those that computing it
//! again would give; the run is recorded as every other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use hindcast_model::Digest;

use crate::lock::lock;
use crate::operation::Computed;

/// Bytes of results that are remembered; the oldest go first.
const BYTES_MAX: usize = 4 << 20;
/// What an entry takes beside its text, roughly.
const ENTRY_BYTES: usize = 256;

/// Operation, hash of the spec, seed.
type Key = (&'static str, Digest, u64);

#[derive(Default)]
pub(super) struct Memo(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    results: BTreeMap<Key, Arc<Computed>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Memo {
    pub(super) fn get(&self, key: Key) -> Option<Arc<Computed>> {
        lock(&self.0).results.get(&key).cloned()
    }

    pub(super) fn put(&self, key: Key, computed: &Arc<Computed>) {
        let mut entries = lock(&self.0);
        if entries.results.insert(key, Arc::clone(computed)).is_some() {
            return;
        }
        entries.order.push_back(key);
        entries.bytes += computed.json.len() + ENTRY_BYTES;
        while entries.bytes > BYTES_MAX {
            let Some(oldest) = entries.order.pop_front() else {
                break;
            };
            if let Some(gone) = entries.results.remove(&oldest) {
                entries.bytes -= gone.json.len() + ENTRY_BYTES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn computed(bytes: usize) -> Arc<Computed> {
        Arc::new(Computed {
            json: "x".repeat(bytes),
            hash: Digest::default(),
            schema: 1,
            algorithm_version: "test 1".to_owned(),
        })
    }

    #[test]
    fn operation_spec_and_seed_all_count() {
        let memo = Memo::default();
        memo.put(("a", Digest([1; 32]), 7), &computed(3));
        assert!(memo.get(("a", Digest([1; 32]), 7)).is_some());
        assert!(memo.get(("b", Digest([1; 32]), 7)).is_none());
        assert!(memo.get(("a", Digest([2; 32]), 7)).is_none());
        assert!(memo.get(("a", Digest([1; 32]), 8)).is_none());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let memo = Memo::default();
        for seed in 0..10_000 {
            memo.put(("a", Digest::default(), seed), &computed(10_000));
        }
        assert!(lock(&memo.0).bytes <= BYTES_MAX);
        assert!(memo.get(("a", Digest::default(), 0)).is_none());
        assert!(memo.get(("a", Digest::default(), 9_999)).is_some());
        let entries = lock(&memo.0);
        assert_eq!(entries.results.len(), entries.order.len());
    }
}
