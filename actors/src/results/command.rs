//! What somebody may ask of the cache.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::keeper::{Work, sweeps_max};
use super::sweep::{Sweep, SweepStats};
use super::warming::WarmStats;
use super::{DiskOptions, ResultCache, Selector};
use crate::budget::micros;
use crate::lock::lock;

/// Other bounds; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resize {
    /// Bytes of results in memory.
    pub bytes_max: Option<u64>,
    /// Results in memory; 0 sets no limit.
    pub entries_max: Option<u64>,
    pub age_max: Option<Duration>,
    pub idle_max: Option<Duration>,
    /// Bytes of entries on disk.
    pub disk_bytes_max: Option<u64>,
    pub disk_age_max: Option<Duration>,
}

/// An invalidation that has begun.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Invalidated {
    /// Found in `invalidations` of `/cache/stats`.
    pub id: u64,
    /// Results in memory that are meant. Those on disk are listed next.
    pub selected: u64,
    /// Computations under way whose result will not be kept.
    pub in_flight: u64,
    pub per_second: u32,
}

impl ResultCache {
    /// Begins to remove what is meant, `per_second` results a second, and keeps nothing of what is
    /// being computed of it. `None` when too many invalidations are under way.
    pub(crate) fn invalidate(&self, selector: Selector, per_second: u32) -> Option<Invalidated> {
        let until = self.disk.environment.clock.wall();
        let inner = &mut *lock(&self.inner);
        let open = inner.sweeps.iter().filter(|sweep| !sweep.ended);
        if open.count() >= sweeps_max() {
            return None;
        }
        let mut in_flight = 0;
        for (key, flight) in &mut inner.flights {
            if selector.holds(*key, &flight.tags) {
                flight.discard = true;
                in_flight += 1;
            }
        }
        let keys: VecDeque<_> = inner.memory.select(&selector).into();
        let begun = Invalidated {
            id: inner.sweeps_begun + 1,
            selected: keys.len() as u64,
            in_flight,
            per_second,
        };
        let sweep = Sweep {
            id: begun.id,
            selector: selector.clone(),
            per_second,
            until,
            keys,
            listed: false,
            credit: 0,
        };
        if !self.send(Work::Sweep(Box::new(sweep))) {
            return None;
        }
        self.disk.invalidated(selector.clone(), until);
        inner.sweeps_begun = begun.id;
        // Those that have ended make room.
        while inner.sweeps.len() >= 2 * sweeps_max() {
            inner.sweeps.pop_front();
        }
        let stats = SweepStats {
            id: begun.id,
            selector,
            per_second,
            selected: begun.selected,
            done: 0,
            in_flight,
            ended: false,
        };
        inner.sweeps.push_back(stats);
        Some(begun)
    }

    pub(super) fn sweep_stats(&self, id: u64, change: impl FnOnce(&mut SweepStats)) {
        let inner = &mut *lock(&self.inner);
        if let Some(stats) = inner.sweeps.iter_mut().find(|sweep| sweep.id == id) {
            change(stats);
        }
    }

    /// Begins to read up to `runs_max` results back that were asked for before. `None` when too
    /// much is to be done.
    pub(crate) fn warm(&self, runs_max: u64) -> Option<WarmStats> {
        let stats = WarmStats {
            runs_max,
            ..WarmStats::default()
        };
        lock(&self.inner).warming = Some(stats);
        self.send(Work::Warm(runs_max)).then_some(stats)
    }

    pub(super) fn warm_stats(&self, change: impl FnOnce(&mut WarmStats)) {
        if let Some(stats) = &mut lock(&self.inner).warming {
            change(stats);
        }
    }

    /// Holds other bounds from here on, until the process ends. What is over them goes at once.
    pub(crate) fn resize(&self, resize: Resize) {
        let now = self.now();
        let held = self.disk.options();
        self.disk.resize(DiskOptions {
            bytes_max: resize.disk_bytes_max.unwrap_or(held.bytes_max),
            age_max: resize.disk_age_max.unwrap_or(held.age_max),
        });
        let inner = &mut *lock(&self.inner);
        let bounds = &mut inner.bounds;
        bounds.bytes_max = resize.bytes_max.unwrap_or(bounds.bytes_max);
        bounds.entries_max = resize.entries_max.unwrap_or(bounds.entries_max);
        bounds.age_max = resize.age_max.map_or(bounds.age_max, micros);
        bounds.idle_max = resize.idle_max.map_or(bounds.idle_max, micros);
        inner.resized = true;
        let bounds = inner.bounds;
        let gone = inner.memory.trim(0, now, &bounds);
        self.count(inner, gone);
        // When it cannot be told, the thread sees it at its next look.
        self.send(Work::Resized);
    }
}
