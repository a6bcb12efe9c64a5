//! What the cache tells of itself.

use std::collections::BTreeMap;

use serde::Serialize;

use super::disk::DiskStats;
use super::sweep::SweepStats;
use super::warming::WarmStats;

/// Lookups of one operation, by whatever route they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lookups {
    pub hits: u64,
    /// Of these, those that were read back from the log.
    pub hits_on_disk: u64,
    pub misses: u64,
    /// Waited for an equal request that was being computed.
    pub waited: u64,
    /// Not looked up: the operation is random, and the request names no seed.
    pub not_cacheable: u64,
    /// Of hits and misses; null before the first.
    pub hit_ratio: Option<f64>,
}

/// What the cache holds and did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ResultCacheStats {
    pub entries: u64,
    /// 0 sets no limit.
    pub entries_max: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub age_max_ms: u64,
    pub idle_max_ms: u64,
    /// The bounds are not those of the configuration; they hold until the server ends.
    pub resized: bool,
    /// Of all lookups so far; null before the first.
    pub hit_ratio: Option<f64>,
    /// Results that left the memory, for whatever cause.
    pub evictions: u64,
    /// Results being computed that others may wait for.
    pub in_flight: u64,
    /// Where recorded results are found again that are not in memory.
    pub disk: DiskStats,
    /// By operation.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub operations: BTreeMap<&'static str, Lookups>,
    /// The entries used most.
    pub top: Vec<TopKey>,
    /// The last invalidations, oldest first.
    pub invalidations: Vec<SweepStats>,
    /// The last warming; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub warming: Option<WarmStats>,
}

/// An entry of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TopKey {
    pub key: String,
    pub operation: &'static str,
    /// Such as `boss/3`.
    pub algorithm: String,
    /// The run that it was computed for; null for a kept refusal.
    pub original: Option<String>,
    pub hits: u64,
    pub bytes: u64,
}
