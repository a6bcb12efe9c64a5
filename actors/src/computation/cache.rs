//! Parsed datasets, so that a series of runs over one file reads it once. Bounded by bytes; the
//! one used longest ago goes first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hindcast_causal::LabError;
use hindcast_causal::data::{Dataset, Limits, Table};
use hindcast_log::{Blobs, Vault};
use hindcast_model::Digest;
use metrics::{Counter, Gauge};

use crate::lock::lock;
use crate::supervisor::as_f64;

/// What the cache did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CacheStats {
    pub entries: usize,
    pub bytes: u64,
    pub bytes_max: u64,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
}

struct Entry {
    dataset: Arc<Dataset>,
    bytes: u64,
    used: u64,
}

#[derive(Default)]
struct Entries {
    by_digest: BTreeMap<Digest, Entry>,
    uses: u64,
    stats: CacheStats,
}

/// The cache of parsed datasets.
pub(crate) struct DatasetCache {
    entries: Mutex<Entries>,
    bytes_max: AtomicU64,
    hits: Counter,
    misses: Counter,
    evictions: Counter,
    explicit: Counter,
    invalidated: Counter,
    bytes: Gauge,
    count: Gauge,
}

impl DatasetCache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let requests = |result: &'static str| metrics::counter!("cache_requests_total", "cache" => "datasets", "result" => result);
        let evictions = |cause: &'static str| metrics::counter!("cache_evictions_total", "cache" => "datasets", "cause" => cause);
        Self {
            entries: Mutex::default(),
            bytes_max: AtomicU64::new(bytes_max),
            hits: requests("hit"),
            misses: requests("miss"),
            evictions: evictions("size"),
            explicit: evictions("explicit"),
            invalidated: evictions("invalidated"),
            bytes: metrics::gauge!("cache_size_bytes", "cache" => "datasets"),
            count: metrics::gauge!("cache_entries", "cache" => "datasets"),
        }
    }

    /// The dataset with this digest, read and parsed when it is not here. Two callers at once may
    /// both parse it: neither waits for the other, because they compute on the same few threads.
    pub(crate) fn get(
        &self,
        (blobs, vault): (&Blobs, &Vault),
        digest: Digest,
    ) -> Result<Arc<Dataset>, LabError> {
        if let Some(found) = self.find(digest) {
            self.hits.increment(1);
            return Ok(found);
        }
        self.misses.increment(1);
        let bytes = vault
            .dataset(blobs, digest)
            .map_err(|error| LabError::Internal(format!("dataset {digest}: {error}")))?;
        let dataset = Table::parse(&bytes, &Limits::default())?.dataset()?;
        // Computed before it is shared: nobody ever waits for another's first use.
        dataset.covariance();
        let dataset = Arc::new(dataset);
        self.insert(digest, &dataset);
        Ok(dataset)
    }

    /// Forgets every dataset, or those whose digest begins with these hexadecimal digits, and says
    /// how many there were.
    pub(crate) fn forget(&self, prefix: Option<&str>) -> u64 {
        let entries = &mut *lock(&self.entries);
        let meant = |digest: &Digest| match prefix {
            None => true,
            Some(prefix) => digest.to_string().starts_with(prefix),
        };
        let before = entries.by_digest.len();
        entries.by_digest.retain(|digest, _| !meant(digest));
        let gone = (before - entries.by_digest.len()) as u64;
        let bytes = entries.by_digest.values().map(|entry| entry.bytes).sum();
        entries.stats.bytes = bytes;
        entries.stats.evictions += gone;
        match prefix {
            None => self.explicit.increment(gone),
            Some(_) => self.invalidated.increment(gone),
        }
        self.show(entries);
        gone
    }

    /// Holds so many bytes from here on, until the process ends.
    pub(crate) fn resize(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.trim(&mut lock(&self.entries));
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let entries = lock(&self.entries);
        CacheStats {
            entries: entries.by_digest.len(),
            bytes_max: self.bytes_max.load(Ordering::Relaxed),
            ..entries.stats
        }
    }

    fn find(&self, digest: Digest) -> Option<Arc<Dataset>> {
        let entries = &mut *lock(&self.entries);
        entries.uses += 1;
        let found = entries.by_digest.get_mut(&digest).map(|entry| {
            entry.used = entries.uses;
            Arc::clone(&entry.dataset)
        });
        match found {
            Some(_) => entries.stats.hits += 1,
            None => entries.stats.misses += 1,
        }
        found
    }

    fn insert(&self, digest: Digest, dataset: &Arc<Dataset>) {
        let bytes = size(dataset);
        if bytes > self.bytes_max.load(Ordering::Relaxed) {
            return;
        }
        let entries = &mut *lock(&self.entries);
        let entry = Entry {
            dataset: Arc::clone(dataset),
            bytes,
            used: entries.uses,
        };
        if let Some(same) = entries.by_digest.insert(digest, entry) {
            entries.stats.bytes -= same.bytes;
        }
        entries.stats.bytes += bytes;
        self.trim(entries);
    }

    fn trim(&self, entries: &mut Entries) {
        while entries.stats.bytes > self.bytes_max.load(Ordering::Relaxed) {
            let oldest = entries.by_digest.iter().min_by_key(|(_, entry)| entry.used);
            let Some(digest) = oldest.map(|(digest, _)| *digest) else {
                break;
            };
            if let Some(gone) = entries.by_digest.remove(&digest) {
                entries.stats.bytes -= gone.bytes;
                entries.stats.evictions += 1;
                self.evictions.increment(1);
            }
        }
        self.show(entries);
    }

    fn show(&self, entries: &Entries) {
        self.bytes.set(as_f64(entries.stats.bytes));
        self.count.set(as_f64(entries.by_digest.len() as u64));
    }
}

/// Values, second moments, codes and names, in bytes.
fn size(dataset: &Dataset) -> u64 {
    let width = dataset.width() as u64;
    let names: u64 = dataset
        .names()
        .iter()
        .map(|name| name.len() as u64 + 24)
        .sum();
    9 * width * dataset.rows() as u64 + 16 * width * width + names + 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(rows: usize) -> Arc<Dataset> {
        let rows: Vec<Vec<f64>> = (0..rows).map(|i| vec![i as f64]).collect();
        Arc::new(Dataset::from_rows(&rows, None, &Limits::default()).unwrap())
    }

    #[test]
    fn the_dataset_used_longest_ago_goes_first() {
        let one = size(&dataset(100));
        let cache = DatasetCache::new(2 * one);
        let digests: Vec<Digest> = (0..3).map(|i| Digest([i; 32])).collect();
        cache.insert(digests[0], &dataset(100));
        assert!(cache.find(digests[0]).is_some());
        cache.insert(digests[1], &dataset(100));
        assert!(cache.find(digests[1]).is_some());
        assert!(cache.find(digests[0]).is_some());
        cache.insert(digests[2], &dataset(100));
        let held: Vec<bool> = digests
            .iter()
            .map(|digest| cache.find(*digest).is_some())
            .collect();
        assert_eq!(held, [true, false, true]);
        let stats = cache.stats();
        assert_eq!(
            (stats.entries, stats.bytes, stats.evictions),
            (2, 2 * one, 1)
        );
    }

    #[test]
    fn some_or_all_are_forgotten_and_a_smaller_cache_holds_less() {
        let one = size(&dataset(10));
        let cache = DatasetCache::new(8 * one);
        for i in 0..5 {
            cache.insert(Digest([i; 32]), &dataset(10));
        }
        assert_eq!(cache.forget(Some("03")), 1);
        assert_eq!(cache.stats().bytes, 4 * one);
        cache.resize(2 * one);
        let stats = cache.stats();
        assert_eq!(
            (stats.entries, stats.bytes, stats.bytes_max),
            (2, 2 * one, 2 * one)
        );
        assert_eq!(cache.forget(None), 2);
        assert_eq!(cache.stats().bytes, 0);
    }

    #[test]
    fn a_dataset_over_the_limit_is_not_kept() {
        let cache = DatasetCache::new(100);
        cache.insert(Digest::default(), &dataset(100));
        assert_eq!(cache.stats().entries, 0);
    }
}
