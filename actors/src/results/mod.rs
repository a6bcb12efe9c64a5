//! The cache of results. A result is a function of the operation, its spec (with the data or its
//! digest), the algorithm's version and the seed, so that what is kept under the hash of these is
//! what computing it again would give, byte for byte. It never becomes wrong; it only becomes old
//! and goes, by size, age or idleness, or because somebody wants it.
//!
//! Only what stands durable in the log comes in, so that a run may point to the one that it was
//! taken from. Equal requests at the same time are computed once: one leads, the others are called
//! when it has ended. Behind the memory stands the log, which has every result; what is on disk
//! beside it says only where.

mod command;
mod disk;
mod gone;
mod keeper;
mod memory;
mod meters;
mod recorded;
pub(crate) mod report;
mod stats;
mod sweep;
mod tags;
mod warming;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hindcast_log::Log;
use hindcast_model::{Digest, KeyId, RunId};

pub use command::{Invalidated, Resize};
pub use disk::{DiskOptions, DiskStats, DiskStatus};
pub use stats::{Lookups, ResultCacheStats, TopKey};
pub use sweep::SweepStats;
pub use tags::Selector;
pub(crate) use tags::Tags;
pub use warming::WarmStats;

use crate::Environment;
use crate::budget::micros;
use crate::lock::lock;
use crate::operation::Computed;
use crate::supervisor::as_f64;
use disk::{Disk, Looked};
use keeper::{Keeper, Work};
use memory::{Bounds, Entry, Found, Gone, Memory};
use meters::Meters;

/// What an entry takes beside its text, roughly.
const ENTRY_BYTES: u64 = 512;
/// Keys that the statistics name.
const TOP_KEYS: usize = 10;

/// How long results are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultCacheOptions {
    /// Bytes of results in memory, never exceeded; 0 keeps none.
    pub bytes_max: u64,
    /// Results in memory; 0 sets no limit.
    pub entries_max: u64,
    /// In memory, from its computation on, or from when it was read back.
    pub age_max: Duration,
    /// In memory, from its last use on.
    pub idle_max: Duration,
    pub disk: DiskOptions,
}

impl Default for ResultCacheOptions {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            entries_max: 0,
            age_max: Duration::from_secs(24 * 3_600),
            idle_max: Duration::from_secs(3_600),
            disk: DiskOptions::default(),
        }
    }
}

impl ResultCacheOptions {
    fn bounds(&self) -> Bounds {
        Bounds {
            bytes_max: self.bytes_max,
            entries_max: self.entries_max,
            age_max: micros(self.age_max),
            idle_max: micros(self.idle_max),
        }
    }
}

/// The hash of everything that a result depends on.
pub type ResultKey = Digest;

/// The key of an operation's result.
pub(crate) fn key(
    (operation, algorithm_version): (&str, &str),
    spec: Digest,
    seed: u64,
    sealed: KeyId,
) -> ResultKey {
    let mut hasher = blake3::Hasher::new();
    for part in [operation.as_bytes(), algorithm_version.as_bytes(), &spec.0] {
        // With its length, no part can be taken for the beginning of the next.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(&seed.to_le_bytes());
    hasher.update(&sealed.0.to_le_bytes());
    Digest(*hasher.finalize().as_bytes())
}

/// A result that others may be answered with. What a lab refuses is not kept: it is found out again
/// at once, and its record could not point to the first run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The run that the result was computed for.
    pub(crate) original: RunId,
    pub(crate) computed: Arc<Computed>,
}

impl Kept {
    fn bytes(&self) -> u64 {
        ENTRY_BYTES + self.computed.json.len() as u64
    }
}

/// What to do about a request.
pub(crate) enum Start {
    Known(Kept),
    /// Nobody else computes it.
    Lead(Lead),
    /// Somebody computes it: `ResultCache::wait`.
    Busy,
}

/// The right to compute a result. When it is dropped, whoever waits looks again.
pub(crate) struct Lead {
    cache: Arc<ResultCache>,
    key: ResultKey,
    tags: Tags,
}

impl Lead {
    /// The result as the log has it from an earlier run. It reads files.
    pub(crate) fn read_back(&self) -> Option<Kept> {
        self.cache.read_back(self.key, self.tags.operation)
    }

    /// Keeps what had to be computed, which the log holds. What failed or was refused by a lab is no
    /// miss: there is nothing that could have been kept.
    pub(crate) fn finish(self, kept: Kept) {
        self.cache.meters.miss.increment(1);
        lock(&self.cache.inner)
            .looked_up(self.tags.operation)
            .misses += 1;
        self.cache.keep(self.key, &self.tags, kept);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let flight = lock(&self.cache.inner).flights.remove(&self.key);
        for wake in flight.into_iter().flat_map(|flight| flight.waiting) {
            wake();
        }
    }
}

type Wake = Box<dyn FnOnce() + Send>;

/// A computation that others may wait for.
struct Flight {
    tags: Tags,
    /// It was invalidated while it was under way: its result is not kept.
    discard: bool,
    waiting: Vec<Wake>,
}

struct Inner {
    memory: Memory,
    bounds: Bounds,
    resized: bool,
    evictions: u64,
    flights: BTreeMap<ResultKey, Flight>,
    lookups: BTreeMap<&'static str, Lookups>,
    /// The last invalidations of this process.
    sweeps: VecDeque<SweepStats>,
    sweeps_begun: u64,
    warming: Option<WarmStats>,
}

impl Inner {
    fn looked_up(&mut self, operation: &'static str) -> &mut Lookups {
        self.lookups.entry(operation).or_default()
    }

    /// No further result fits that is no larger than most.
    fn is_full(&self) -> bool {
        !self.memory.has_room(2 * ENTRY_BYTES, &self.bounds)
    }
}

/// The cache.
pub(crate) struct ResultCache {
    inner: Mutex<Inner>,
    disk: Disk,
    keeper: OnceLock<Keeper>,
    meters: Meters,
}

impl ResultCache {
    /// A cache over the results of `log`, with a thread of its own.
    pub(crate) fn start(
        options: ResultCacheOptions,
        log: Log,
        environment: Environment,
    ) -> std::io::Result<Arc<Self>> {
        let inner = Inner {
            memory: Memory::default(),
            bounds: options.bounds(),
            resized: false,
            evictions: 0,
            flights: BTreeMap::new(),
            lookups: BTreeMap::new(),
            sweeps: VecDeque::new(),
            sweeps_begun: 0,
            warming: None,
        };
        let cache = Arc::new(Self {
            inner: Mutex::new(inner),
            disk: Disk::new(log, environment, options.disk),
            keeper: OnceLock::new(),
            meters: Meters::new(),
        });
        let keeper = Keeper::start(Arc::downgrade(&cache))?;
        drop(cache.keeper.set(keeper));
        Ok(cache)
    }

    /// Ends the thread, with what is on disk on the medium.
    pub(crate) fn close(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.close();
        }
    }

    fn send(&self, work: Work) -> bool {
        self.keeper.get().is_some_and(|keeper| keeper.send(work))
    }

    fn now(&self) -> u64 {
        self.disk.environment.clock.monotonic()
    }

    /// A result that is in memory.
    pub(crate) fn find(&self, key: ResultKey, operation: &'static str) -> Option<Kept> {
        self.known(&mut lock(&self.inner), key, operation)
    }

    /// Whether a result that is not in memory may be found in the log.
    pub(crate) fn may_read_back(&self) -> bool {
        self.disk.is_ready()
    }

    /// A result that the log has from an earlier run. It reads files.
    pub(crate) fn read_back(&self, key: ResultKey, operation: &'static str) -> Option<Kept> {
        let found = match self.disk.find(key) {
            Looked::Nothing => return None,
            Looked::Refuted => {
                self.send(Work::Forget(key));
                return None;
            }
            Looked::Here(found) => found,
        };
        let now = self.now();
        let inner = &mut *lock(&self.inner);
        let lookups = inner.looked_up(operation);
        lookups.hits += 1;
        lookups.hits_on_disk += 1;
        self.meters.hit.increment(1);
        // What is on its way out is as right as it was, but does not come in again.
        let leaves = self.disk.is_invalidated(key, &found.pointer());
        let kept = found.kept.clone();
        if !leaves {
            let what = (found.tags, found.kept, found.at);
            let gone = inner.memory.insert(key, what, now, &inner.bounds);
            self.count(inner, gone);
        }
        Some(kept)
    }

    /// Looks a result up, and takes the lead when it is neither here nor being computed.
    pub(crate) fn begin(self: &Arc<Self>, key: ResultKey, tags: &Tags) -> Start {
        let inner = &mut *lock(&self.inner);
        if let Some(kept) = self.known(inner, key, tags.operation) {
            return Start::Known(kept);
        }
        if inner.flights.contains_key(&key) {
            inner.looked_up(tags.operation).waited += 1;
            return Start::Busy;
        }
        let flight = Flight {
            tags: tags.clone(),
            discard: false,
            waiting: Vec::new(),
        };
        inner.flights.insert(key, flight);
        Start::Lead(Lead {
            cache: Arc::clone(self),
            key,
            tags: tags.clone(),
        })
    }

    /// Has `wake` called, from any thread, once the computation has ended. `false` when none is
    /// under way (any more): then it is not called.
    pub(crate) fn wait(&self, key: ResultKey, wake: impl FnOnce() + Send + 'static) -> bool {
        match lock(&self.inner).flights.get_mut(&key) {
            Some(flight) => {
                flight.waiting.push(Box::new(wake));
                true
            }
            None => false,
        }
    }

    /// Forgets every result in memory, and those that are being computed. What is on disk is
    /// nobody's in particular.
    pub(crate) fn clear(&self) {
        let inner = &mut *lock(&self.inner);
        let gone = inner.memory.clear();
        inner.evictions += gone;
        self.meters.explicit[0].increment(gone);
        for flight in inner.flights.values_mut() {
            flight.discard = true;
        }
        self.show_in(inner);
    }

    pub(crate) fn count_not_cacheable(&self, operation: &'static str) {
        self.meters.not_cacheable.increment(1);
        lock(&self.inner).looked_up(operation).not_cacheable += 1;
    }

    fn known(&self, inner: &mut Inner, key: ResultKey, operation: &'static str) -> Option<Kept> {
        match inner.memory.find(key, self.now(), &inner.bounds) {
            Found::Nothing => None,
            Found::Old => {
                let gone = Gone {
                    by_age: 1,
                    by_size: 0,
                };
                self.count(inner, gone);
                None
            }
            Found::Here(kept) => {
                inner.looked_up(operation).hits += 1;
                self.meters.hit.increment(1);
                Some(kept)
            }
        }
    }

    fn keep(&self, key: ResultKey, tags: &Tags, kept: Kept) {
        let clock = &self.disk.environment.clock;
        let (now, wall) = (clock.monotonic(), clock.wall());
        let inner = &mut *lock(&self.inner);
        if inner.flights.get(&key).is_some_and(|flight| flight.discard) {
            return;
        }
        if let Kept { original, .. } = &kept
            && tags.shelved
            && self.disk.is_ready()
        {
            let pointer = Box::new(tags.pointer(*original, wall));
            // It is found in memory; whoever asks after it is gone computes it again.
            if !self.send(Work::Put(key, pointer)) {
                self.disk.count_dropped();
            }
        }
        let what = (tags.clone(), kept, wall);
        let gone = inner.memory.insert(key, what, now, &inner.bounds);
        self.count(inner, gone);
    }

    fn count(&self, inner: &mut Inner, gone: Gone) {
        inner.evictions += gone.by_age + gone.by_size;
        self.meters.by_age.increment(gone.by_age);
        self.meters.by_size.increment(gone.by_size);
        self.show_in(inner);
    }

    fn count_invalidated(&self, explicit: bool, (in_memory, on_disk): (bool, bool)) {
        let [memory, disk] = match explicit {
            true => &self.meters.explicit,
            false => &self.meters.invalidated,
        };
        memory.increment(u64::from(in_memory));
        disk.increment(u64::from(on_disk));
        lock(&self.inner).evictions += u64::from(in_memory);
    }

    fn show(&self) {
        self.show_in(&lock(&self.inner));
    }

    fn show_in(&self, inner: &Inner) {
        self.meters.bytes.set(as_f64(inner.memory.bytes()));
        self.meters.entries.set(as_f64(inner.memory.len()));
    }

    pub(crate) fn stats(&self) -> ResultCacheStats {
        let disk = self.disk.stats();
        let inner = &*lock(&self.inner);
        let ratio = |hits: u64, misses: u64| {
            let all = hits + misses;
            (all > 0).then(|| as_f64(hits) / as_f64(all))
        };
        let (hits, misses) = inner.lookups.values().fold((0, 0), |(hits, misses), of| {
            (hits + of.hits, misses + of.misses)
        });
        let operations = inner.lookups.iter().map(|(name, of)| {
            let hit_ratio = ratio(of.hits, of.misses);
            (*name, Lookups { hit_ratio, ..*of })
        });
        let mut top: Vec<(&ResultKey, &Entry)> = inner.memory.entries().collect();
        top.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.hits));
        top.truncate(TOP_KEYS);
        ResultCacheStats {
            entries: inner.memory.len(),
            entries_max: inner.bounds.entries_max,
            bytes: inner.memory.bytes(),
            bytes_max: inner.bounds.bytes_max,
            age_max_ms: inner.bounds.age_max / 1_000,
            idle_max_ms: inner.bounds.idle_max / 1_000,
            resized: inner.resized,
            hit_ratio: ratio(hits, misses),
            evictions: inner.evictions,
            in_flight: inner.flights.len() as u64,
            disk,
            operations: operations.collect(),
            top: top
                .into_iter()
                .map(|(key, entry)| named(key, entry))
                .collect(),
            invalidations: inner.sweeps.iter().cloned().collect(),
            warming: inner.warming,
        }
    }
}

fn named(key: &ResultKey, entry: &Entry) -> TopKey {
    TopKey {
        key: key.to_string(),
        operation: entry.tags.operation,
        algorithm: entry.tags.algorithm.clone(),
        original: Some(entry.kept.original.to_string()),
        hits: entry.hits,
        bytes: entry.bytes,
    }
}
