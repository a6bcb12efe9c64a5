//! The sections of metrics and telemetry: what is measured, recorded, logged and sent.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    pub series_max: usize,
    pub sample_interval_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    pub filter: String,
    pub format: LogFormat,
    /// Empty stands for standard error.
    pub log_file: PathBuf,
    pub log_file_bytes_max: u64,
    pub log_file_age_max_ms: u64,
    pub log_keep_ms: u64,
    pub log_keep_bytes_max: u64,
    pub slow_ms: u64,
    pub traces_max: usize,
    pub traces_bytes_max: usize,
}

/// Where telemetry is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// Empty sends nothing.
    pub endpoint: String,
    pub headers_file: PathBuf,
    pub ca_file: PathBuf,
    pub traces: bool,
    pub logs: bool,
    pub metrics: bool,
    pub sample_percent: u32,
    pub batch_ms: u64,
    pub metrics_interval_ms: u64,
    pub timeout_ms: u64,
    pub queue_bytes_max: usize,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Json,
    Text,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            series_max: 1_000,
            sample_interval_ms: 15_000,
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Json,
            log_file: PathBuf::new(),
            log_file_bytes_max: 64 * 1024 * 1024,
            log_file_age_max_ms: 24 * 3_600 * 1_000,
            log_keep_ms: 30 * 24 * 3_600 * 1_000,
            log_keep_bytes_max: 1024 * 1024 * 1024,
            slow_ms: 1_000,
            traces_max: 10_000,
            traces_bytes_max: 16 * 1024 * 1024,
        }
    }
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            headers_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            traces: true,
            logs: true,
            metrics: true,
            sample_percent: 100,
            batch_ms: 1_000,
            metrics_interval_ms: 60_000,
            timeout_ms: 10_000,
            queue_bytes_max: 8 * 1024 * 1024,
        }
    }
}
