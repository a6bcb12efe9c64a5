//! `[overload]`: what is done when more comes than can be done.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverloadConfig {
    pub cheap_waiting_max: usize,
    pub cheap_concurrency_max: usize,
    pub heavy_waiting_max: usize,
    pub heavy_concurrency_max: usize,
    pub heavy_runs_max: usize,
    pub waiting_ms_max: u64,
    pub retry_percent_max: u64,
    pub requests_per_second: u32,
    pub requests_burst: u32,
    pub limited_on_loopback: bool,
}

impl Default for OverloadConfig {
    fn default() -> Self {
        Self {
            cheap_waiting_max: 1_024,
            cheap_concurrency_max: 256,
            heavy_waiting_max: 1_024,
            heavy_concurrency_max: 256,
            heavy_runs_max: 512,
            waiting_ms_max: 10_000,
            retry_percent_max: 20,
            requests_per_second: 200,
            requests_burst: 400,
            limited_on_loopback: false,
        }
    }
}
