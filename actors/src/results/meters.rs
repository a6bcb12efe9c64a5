//! The metrics of the cache.

use metrics::{Counter, Gauge};

pub(super) fn requests(cache: &'static str, result: &'static str) -> Counter {
    metrics::counter!("cache_requests_total", "cache" => cache, "result" => result)
}

pub(super) fn evictions(cache: &'static str, cause: &'static str) -> Counter {
    metrics::counter!("cache_evictions_total", "cache" => cache, "cause" => cause)
}

/// What is counted of the results in memory, and of what is invalidated in both places.
pub(super) struct Meters {
    pub(super) hit: Counter,
    pub(super) miss: Counter,
    pub(super) not_cacheable: Counter,
    pub(super) by_size: Counter,
    pub(super) by_age: Counter,
    /// In memory, and on disk.
    pub(super) explicit: [Counter; 2],
    pub(super) invalidated: [Counter; 2],
    pub(super) bytes: Gauge,
    pub(super) entries: Gauge,
}

impl Meters {
    pub(super) fn new() -> Self {
        const CACHE: &str = "results";
        let both = |cause| [CACHE, "results_disk"].map(|cache| evictions(cache, cause));
        Self {
            hit: requests(CACHE, "hit"),
            miss: requests(CACHE, "miss"),
            not_cacheable: requests(CACHE, "not_cacheable"),
            by_size: evictions(CACHE, "size"),
            by_age: evictions(CACHE, "ttl"),
            explicit: both("explicit"),
            invalidated: both("invalidated"),
            bytes: metrics::gauge!("cache_size_bytes", "cache" => CACHE),
            entries: metrics::gauge!("cache_entries", "cache" => CACHE),
        }
    }
}
