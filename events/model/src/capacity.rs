//! What a server was measured to bear.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// A load run ended, and somebody reported what it measured. What the build and the machine are, the
/// server says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityMeasured {
    /// Such as `sustained`.
    pub scenario: String,
    /// Which requests, such as `cached`.
    pub mix: String,
    pub binary_version: String,
    /// blake3 of the program's file; none when it could not be read.
    pub binary: Option<Digest>,
    /// Processors that the server may use.
    pub cores: u32,
    /// Memory that it may use; 0 when the system does not say.
    pub memory_bytes: u64,
    /// The load came from the same machine, and took its share of it.
    pub beside: bool,
    /// The most users at once.
    pub users: u32,
    pub span_micros: u64,
    pub requests: u64,
    pub failures: u64,
    /// Answered with 429 or 503.
    pub turned_away: u64,
    /// Answered requests in a thousand seconds.
    pub rate_milli: u64,
    pub p50_micros: u64,
    pub p95_micros: u64,
    pub p99_micros: u64,
    /// Where it broke; none when it held.
    pub breaking: Option<BreakingPoint>,
}

/// The first sign that a server breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakingPoint {
    /// Such as `latency`.
    pub rule: String,
    pub users: u32,
    /// Since the start of the run.
    pub after_micros: u64,
}
