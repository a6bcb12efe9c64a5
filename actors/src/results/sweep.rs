//! An invalidation under way. Results go a few at a time, those used longest ago first, so that the
//! requests that would be answered with them do not all have to be computed at once. What has not
//! gone yet is still answered with: it is as right as it was.

use std::collections::{BTreeSet, VecDeque};

use hindcast_model::UnixMicros;
use serde::Serialize;

use super::{ResultCache, ResultKey, Selector};
use crate::lock::lock;

/// How an invalidation goes on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SweepStats {
    /// Counts from 1 in each process.
    pub id: u64,
    pub selector: Selector,
    pub per_second: u32,
    /// Results that were meant when it was asked for: in memory at first, and on disk as well once
    /// those are listed.
    pub selected: u64,
    /// Of these, those that have gone, or were gone when their turn came.
    pub done: u64,
    /// Computations that were under way and whose result is not kept.
    pub in_flight: u64,
    pub ended: bool,
}

/// An invalidation, as whoever works on it holds it.
pub(super) struct Sweep {
    pub(super) id: u64,
    pub(super) selector: Selector,
    pub(super) per_second: u32,
    /// What is computed later stays.
    pub(super) until: UnixMicros,
    pub(super) keys: VecDeque<ResultKey>,
    /// Whether those on disk are among them.
    pub(super) listed: bool,
    /// Millionths of a result that may go.
    pub(super) credit: u64,
}

impl Sweep {
    /// Goes on after `elapsed` microseconds. `true` when it has ended.
    pub(super) fn step(&mut self, cache: &ResultCache, elapsed: u64) -> bool {
        if !self.listed {
            self.listed = true;
            self.list(cache);
        }
        let credit = elapsed.saturating_mul(u64::from(self.per_second));
        self.credit = self.credit.saturating_add(credit);
        let mut done = 0;
        while self.credit >= 1_000_000
            && let Some(key) = self.keys.pop_front()
        {
            self.credit -= 1_000_000;
            done += 1;
            let in_memory = lock(&cache.inner).memory.remove_until(key, self.until);
            let on_disk = cache.disk.remove_until(key, self.until);
            cache.count_invalidated(self.selector.all, (in_memory, on_disk));
        }
        let ended = self.keys.is_empty();
        if done > 0 || ended {
            cache.show();
            cache.sweep_stats(self.id, |stats| {
                stats.done += done;
                stats.ended = ended;
            });
        }
        ended
    }

    /// Adds what is meant on disk and not in memory.
    fn list(&mut self, cache: &ResultCache) {
        let known: BTreeSet<ResultKey> = self.keys.iter().copied().collect();
        let mut found = Vec::new();
        cache.disk.try_on(|shelf| {
            shelf.each(|key, pointer| {
                let meant = pointer.at <= self.until && self.selector.points(key, pointer);
                if meant && !known.contains(&key) {
                    found.push(key);
                }
            })
        });
        // Nobody has asked for these lately: they go first.
        for key in found {
            self.keys.push_front(key);
        }
        let selected = self.keys.len() as u64;
        cache.sweep_stats(self.id, |stats| stats.selected = selected);
    }
}
