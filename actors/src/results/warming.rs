//! Warming: recorded results are read back, those first that were asked for most often. It takes
//! room that is free and no more, and ends by itself.

use std::collections::{BTreeMap, VecDeque};

use hindcast_model::event::{Event, Outcome};
use hindcast_model::{RunId, Seq};
use serde::Serialize;

use super::ResultCache;
use super::recorded::read_back;
use crate::lock::lock;

/// Events that one step looks at.
const EVENTS_AT_ONCE: usize = 1_000;
/// Events that are looked at, the newest first.
const EVENTS_MAX: u64 = 200_000;
/// Results that one step reads.
const RUNS_AT_ONCE: usize = 20;

/// How the last warming went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WarmStats {
    pub runs_max: u64,
    /// Events looked at so far.
    pub events: u64,
    /// Runs with a result, found in them.
    pub found: u64,
    /// Results that are in memory since.
    pub warmed: u64,
    /// Results that were there, that cannot be read back, or for which there was no room.
    pub passed_over: u64,
    pub ended: bool,
}

/// A warming, as whoever works on it holds it.
pub(super) struct Warming {
    runs_max: u64,
    before: Seq,
    events: u64,
    /// How often each result was asked for again, and when it was last spoken of.
    found: BTreeMap<RunId, (u64, Seq)>,
    chosen: Option<VecDeque<RunId>>,
}

impl Warming {
    pub(super) fn new(head: Seq, runs_max: u64) -> Self {
        Self {
            runs_max,
            before: head.next(),
            events: 0,
            found: BTreeMap::new(),
            chosen: None,
        }
    }

    /// Goes on for a moment. `true` when it has ended.
    pub(super) fn step(&mut self, cache: &ResultCache) -> bool {
        let Some(chosen) = &mut self.chosen else {
            let all = self.look(cache);
            let (events, found) = (self.events, self.found.len() as u64);
            cache.warm_stats(|stats| {
                stats.events = events;
                stats.found = found;
            });
            if all {
                self.chosen = Some(self.choose());
            }
            return false;
        };
        let (mut warmed, mut passed_over) = (0, 0);
        for run in chosen.drain(..RUNS_AT_ONCE.min(chosen.len())) {
            match warm(cache, run) {
                true => warmed += 1,
                false => passed_over += 1,
            }
        }
        let ended = chosen.is_empty();
        cache.show();
        cache.warm_stats(|stats| {
            stats.warmed += warmed;
            stats.passed_over += passed_over;
            stats.ended = ended;
        });
        ended
    }

    /// Looks at the events before those that were looked at. `true` when that was all.
    fn look(&mut self, cache: &ResultCache) -> bool {
        let log = &cache.disk.log;
        // What is pruned cannot be read back either.
        let Ok(events) = log.read_back(self.before, EVENTS_AT_ONCE) else {
            return true;
        };
        let Some(last) = events.last() else {
            return true;
        };
        self.before = last.seq();
        self.events += events.len() as u64;
        let old = cache.disk.is_old(last.context.at);
        for recorded in &events {
            let Some(Event::OutcomeObserved(observed)) = recorded.event() else {
                continue;
            };
            let (run, again) = match &observed.outcome {
                Outcome::Completed { .. } => (observed.run, 0),
                Outcome::Reused { original, .. } => (*original, 1),
                Outcome::Failed { .. } => continue,
            };
            let (asked, _) = self.found.entry(run).or_insert((0, recorded.seq()));
            *asked += again;
        }
        old || self.events >= EVENTS_MAX
    }

    fn choose(&mut self) -> VecDeque<RunId> {
        let mut runs: Vec<(RunId, (u64, Seq))> =
            std::mem::take(&mut self.found).into_iter().collect();
        // Those spoken of last first, among those asked for equally often.
        runs.sort_by_key(|(_, asked)| std::cmp::Reverse(*asked));
        runs.truncate(usize::try_from(self.runs_max).unwrap_or(usize::MAX));
        runs.into_iter().map(|(run, _)| run).collect()
    }
}

/// Reads one result back, into memory and onto the disk.
fn warm(cache: &ResultCache, run: RunId) -> bool {
    let disk = &cache.disk;
    if lock(&cache.inner).is_full() {
        return false;
    }
    let Some(found) = read_back(&disk.log, &disk.environment, run) else {
        return false;
    };
    let pointer = found.pointer();
    if disk.is_old(found.at) || disk.is_invalidated(found.key, &pointer) {
        return false;
    }
    disk.put(found.key, &pointer);
    let now = disk.environment.clock.monotonic();
    let inner = &mut *lock(&cache.inner);
    let what = (found.tags, found.kept, found.at);
    inner.memory.add(found.key, what, now, &inner.bounds)
}
