//! The cache of results. A result is a function of the operation, its spec (with the data or its
//! digest), the algorithm's version and the seed, so that what is kept under the hash of these is
//! what computing it again would give, byte for byte. It never becomes wrong; it only becomes old
//! and goes, by size, age or idleness.
//!
//! Only what stands durable in the log comes in, so that a run may point to the one that it was
//! taken from. Equal requests at the same time are computed once: one leads, the others are called
//! when it has ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hindcast_log::Clock;
use hindcast_model::event::Outcome;
use hindcast_model::{Digest, KeyId, RunId};
use metrics::{Counter, Gauge};
use serde::Serialize;

use crate::budget::micros;
use crate::lock::lock;
use crate::operation::Computed;
use crate::supervisor::as_f64;

/// What an entry takes beside its text, roughly.
const ENTRY_BYTES: u64 = 512;
/// Keys that the statistics name.
const TOP_KEYS: usize = 10;

/// How long results are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultCacheOptions {
    /// Bytes of results, never exceeded; 0 keeps none.
    pub bytes_max: u64,
    /// From its computation on.
    pub age_max: Duration,
    /// From its last use on.
    pub idle_max: Duration,
}

impl Default for ResultCacheOptions {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            age_max: Duration::from_secs(24 * 3_600),
            idle_max: Duration::from_secs(3_600),
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

/// How a run ended that others may be answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    Computed {
        /// The run that the result was computed for.
        original: RunId,
        computed: Arc<Computed>,
    },
    /// The lab refused the request, and would again.
    Refused(Outcome),
}

impl Kept {
    fn bytes(&self) -> u64 {
        ENTRY_BYTES
            + match self {
                Self::Computed { computed, .. } => computed.json.len() as u64,
                Self::Refused(_) => 0,
            }
    }

    /// A failure that depends on nothing but the request.
    pub(crate) fn refusal(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Failed { code, .. } if code == "invalid" || code == "too_large" => {
                Some(Self::Refused(outcome.clone()))
            }
            Outcome::Failed { .. } | Outcome::Completed { .. } | Outcome::Reused { .. } => None,
        }
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
    operation: &'static str,
}

impl Lead {
    /// Keeps how it ended, which the log holds.
    pub(crate) fn finish(self, kept: Kept) {
        self.cache.insert(self.key, self.operation, kept);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let waiting = lock(&self.cache.entries).flights.remove(&self.key);
        for wake in waiting.into_iter().flatten() {
            wake();
        }
    }
}

type Wake = Box<dyn FnOnce() + Send>;

struct Entry {
    kept: Kept,
    operation: &'static str,
    bytes: u64,
    made: u64,
    used: u64,
    /// Its place in the order of use.
    place: u64,
    hits: u64,
}

/// Lookups of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lookups {
    pub hits: u64,
    pub misses: u64,
    /// Waited for an equal request that was being computed.
    pub waited: u64,
    /// Not looked up: the operation is random, and the request names no seed.
    pub not_cacheable: u64,
}

#[derive(Default)]
struct Entries {
    by_key: BTreeMap<ResultKey, Entry>,
    by_use: BTreeMap<u64, ResultKey>,
    places: u64,
    bytes: u64,
    evictions: u64,
    flights: BTreeMap<ResultKey, Vec<Wake>>,
    lookups: BTreeMap<&'static str, Lookups>,
}

/// What the cache holds and did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ResultCacheStats {
    pub entries: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub age_max_ms: u64,
    pub idle_max_ms: u64,
    /// Of all lookups so far; null before the first.
    pub hit_ratio: Option<f64>,
    pub evictions: u64,
    /// Results being computed that others may wait for.
    pub in_flight: u64,
    /// By operation.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub operations: BTreeMap<&'static str, Lookups>,
    /// The entries used most.
    pub top: Vec<TopKey>,
}

/// An entry of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TopKey {
    pub key: String,
    pub operation: &'static str,
    /// The run that it was computed for; null for a kept refusal.
    pub original: Option<String>,
    pub hits: u64,
    pub bytes: u64,
}

/// The cache.
pub(crate) struct ResultCache {
    entries: Mutex<Entries>,
    options: ResultCacheOptions,
    clock: Arc<dyn Clock>,
    meters: Meters,
}

struct Meters {
    hit: Counter,
    miss: Counter,
    not_cacheable: Counter,
    by_size: Counter,
    by_age: Counter,
    bytes: Gauge,
    entries: Gauge,
}

impl Meters {
    fn new() -> Self {
        let requests = |result: &'static str| metrics::counter!("cache_requests_total", "cache" => "results", "result" => result);
        let evictions = |cause: &'static str| metrics::counter!("cache_evictions_total", "cache" => "results", "cause" => cause);
        Self {
            hit: requests("hit"),
            miss: requests("miss"),
            not_cacheable: requests("not_cacheable"),
            by_size: evictions("size"),
            by_age: evictions("age"),
            bytes: metrics::gauge!("cache_size_bytes", "cache" => "results"),
            entries: metrics::gauge!("cache_entries", "cache" => "results"),
        }
    }
}

impl ResultCache {
    pub(crate) fn new(options: ResultCacheOptions, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            options,
            clock,
            meters: Meters::new(),
        })
    }

    /// A result that is here.
    pub(crate) fn find(&self, key: ResultKey, operation: &'static str) -> Option<Kept> {
        self.known(&mut lock(&self.entries), key, operation)
    }

    /// Looks a result up, and takes the lead when it is neither here nor being computed.
    pub(crate) fn begin(self: &Arc<Self>, key: ResultKey, operation: &'static str) -> Start {
        let entries = &mut *lock(&self.entries);
        if let Some(kept) = self.known(entries, key, operation) {
            return Start::Known(kept);
        }
        let lookups = entries.lookups.entry(operation).or_default();
        if entries.flights.contains_key(&key) {
            lookups.waited += 1;
            return Start::Busy;
        }
        lookups.misses += 1;
        self.meters.miss.increment(1);
        entries.flights.insert(key, Vec::new());
        Start::Lead(Lead {
            cache: Arc::clone(self),
            key,
            operation,
        })
    }

    /// Has `wake` called, from any thread, once the computation has ended. `false` when none is
    /// under way (any more): then it is not called.
    pub(crate) fn wait(&self, key: ResultKey, wake: impl FnOnce() + Send + 'static) -> bool {
        let entries = &mut *lock(&self.entries);
        match entries.flights.get_mut(&key) {
            Some(waiting) => {
                waiting.push(Box::new(wake));
                true
            }
            None => false,
        }
    }

    /// Forgets every result.
    pub(crate) fn clear(&self) {
        let entries = &mut *lock(&self.entries);
        entries.by_key.clear();
        entries.by_use.clear();
        entries.bytes = 0;
        self.show(entries);
    }

    pub(crate) fn count_not_cacheable(&self, operation: &'static str) {
        self.meters.not_cacheable.increment(1);
        let entries = &mut *lock(&self.entries);
        entries.lookups.entry(operation).or_default().not_cacheable += 1;
    }

    fn known(
        &self,
        entries: &mut Entries,
        key: ResultKey,
        operation: &'static str,
    ) -> Option<Kept> {
        let now = self.clock.monotonic();
        if entries
            .by_key
            .get(&key)
            .is_some_and(|entry| self.is_old(entry, now))
        {
            entries.remove(key);
            self.meters.by_age.increment(1);
            self.show(entries);
        }
        let Entries {
            by_key,
            by_use,
            places,
            lookups,
            ..
        } = entries;
        let entry = by_key.get_mut(&key)?;
        by_use.remove(&entry.place);
        *places += 1;
        entry.place = *places;
        by_use.insert(entry.place, key);
        entry.used = now;
        entry.hits += 1;
        lookups.entry(operation).or_default().hits += 1;
        self.meters.hit.increment(1);
        Some(entry.kept.clone())
    }

    fn is_old(&self, entry: &Entry, now: u64) -> bool {
        let since = |then: u64| now.saturating_sub(then);
        since(entry.made) > micros(self.options.age_max)
            || since(entry.used) > micros(self.options.idle_max)
    }

    fn insert(&self, key: ResultKey, operation: &'static str, kept: Kept) {
        let bytes = kept.bytes();
        if bytes > self.options.bytes_max {
            return;
        }
        let now = self.clock.monotonic();
        let entries = &mut *lock(&self.entries);
        entries.remove(key);
        // What was used longest ago goes first, and whatever is old at that end of the order.
        while let Some((_, oldest)) = entries.by_use.first_key_value() {
            let oldest = *oldest;
            let full = entries.bytes + bytes > self.options.bytes_max;
            let old = entries
                .by_key
                .get(&oldest)
                .is_some_and(|entry| self.is_old(entry, now));
            if !full && !old {
                break;
            }
            entries.remove(oldest);
            match old {
                true => self.meters.by_age.increment(1),
                false => self.meters.by_size.increment(1),
            }
        }
        entries.places += 1;
        let place = entries.places;
        entries.by_use.insert(place, key);
        entries.bytes += bytes;
        let entry = Entry {
            kept,
            operation,
            bytes,
            made: now,
            used: now,
            place,
            hits: 0,
        };
        entries.by_key.insert(key, entry);
        self.show(entries);
    }

    fn show(&self, entries: &Entries) {
        self.meters.bytes.set(as_f64(entries.bytes));
        self.meters.entries.set(as_f64(entries.by_key.len() as u64));
    }

    pub(crate) fn stats(&self) -> ResultCacheStats {
        let entries = &*lock(&self.entries);
        let all = entries.lookups.values().fold((0, 0), |(hits, looked), of| {
            (hits + of.hits, looked + of.hits + of.misses)
        });
        let mut top: Vec<(&ResultKey, &Entry)> = entries.by_key.iter().collect();
        top.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.hits));
        top.truncate(TOP_KEYS);
        let millis = |time: Duration| micros(time) / 1_000;
        ResultCacheStats {
            entries: entries.by_key.len() as u64,
            bytes: entries.bytes,
            bytes_max: self.options.bytes_max,
            age_max_ms: millis(self.options.age_max),
            idle_max_ms: millis(self.options.idle_max),
            hit_ratio: (all.1 > 0).then(|| as_f64(all.0) / as_f64(all.1)),
            evictions: entries.evictions,
            in_flight: entries.flights.len() as u64,
            operations: entries.lookups.clone(),
            top: top
                .into_iter()
                .map(|(key, entry)| named(key, entry))
                .collect(),
        }
    }
}

fn named(key: &ResultKey, entry: &Entry) -> TopKey {
    TopKey {
        key: key.to_string(),
        operation: entry.operation,
        original: match &entry.kept {
            Kept::Computed { original, .. } => Some(original.to_string()),
            Kept::Refused(_) => None,
        },
        hits: entry.hits,
        bytes: entry.bytes,
    }
}

impl Entries {
    fn remove(&mut self, key: ResultKey) {
        if let Some(gone) = self.by_key.remove(&key) {
            self.by_use.remove(&gone.place);
            self.bytes -= gone.bytes;
            self.evictions += 1;
        }
    }
}
