//! Calls to what is not run here, as its breaker is told of them.

use serde::{Deserialize, Serialize};

/// Calls to something that is not run here have ended. Those that cannot change its breaker are told
/// together with the next that may, or not at all, so that the log does not grow with every call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DependencyCalled {
    /// The breaker that they go by.
    pub breaker: String,
    /// In the order in which they ended.
    pub calls: Vec<AlikeCalls>,
}

/// Calls in a row that ended alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlikeCalls {
    pub count: u32,
    /// Such as `unreachable`; none when they worked.
    pub error: Option<String>,
    /// Of the longest of them.
    pub longest_micros: u64,
}
