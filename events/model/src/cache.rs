//! What somebody asked of a cache. A result is a function of its request, so that no decision reads
//! what a cache holds; the event is there so that the log tells who emptied it, and when.

use serde::{Deserialize, Serialize};

/// Somebody had a cache invalidated, warmed or resized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCommanded {
    /// `results` or `datasets`.
    pub cache: String,
    pub verb: CacheVerb,
    /// What exactly, as canonical JSON of at most `CACHE_DETAIL_BYTES_MAX` bytes.
    pub detail: String,
    pub reason: String,
}

/// What is to be done with a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheVerb {
    Invalidate,
    Warm,
    Resize,
}
