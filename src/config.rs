//! The configuration: every key, its type, unit and default, and which combinations are refused.
//! Where values come from (file, environment, command line) is `load.rs`. What a key does is
//! explained in `config/default.toml`, and a test keeps the two equal.

mod access;
mod backup;
mod breakers;
mod limits;
mod live;
mod load;
mod overload;
mod slo;
mod telemetry;
mod vaults;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use access::AccessConfig;
pub use backup::{BackupConfig, TargetConfig};
pub use breakers::{BreakersConfig, FallbackDefault, OwnBreaker};
pub use live::{Change, LIVE, LiveConfig, change};
pub use load::{ConfigError, Overrides, load, misnamed};
pub use overload::OverloadConfig;
pub use slo::{ObjectiveConfig, SloConfig};
pub use telemetry::{LogFormat, MetricsConfig, OtlpConfig, TelemetryConfig};
pub use vaults::VaultsConfig;

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: ServerConfig,
    pub supervision: SupervisionConfig,
    pub access: AccessConfig,
    pub http: HttpConfig,
    pub log: LogConfig,
    pub scrub: ScrubConfig,
    pub retention: RetentionConfig,
    pub runs: RunsConfig,
    pub overload: OverloadConfig,
    pub cache: CacheConfig,
    pub backup: BackupConfig,
    pub vaults: VaultsConfig,
    pub breakers: BreakersConfig,
    pub disk: DiskConfig,
    pub whatif: WhatIfConfig,
    pub privacy: PrivacyConfig,
    pub metrics: MetricsConfig,
    pub telemetry: TelemetryConfig,
    pub otlp: OtlpConfig,
    pub slo: SloConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub allow_unauthenticated: bool,
    /// Empty: plain HTTP.
    pub tls_certificate_file: PathBuf,
    pub tls_key_file: PathBuf,
    pub workers: usize,
    pub stop_grace_ms: u64,
    /// Empty is the ordinary mode.
    pub safe_mode: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisionConfig {
    pub actor_restarts_max: u32,
    pub actor_restarts_window_ms: u64,
    pub process_restarts_max: u32,
    pub process_restarts_window_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    pub body_bytes_max: u64,
    pub json_depth_max: usize,
    pub header_bytes_max: usize,
    pub connections_max: usize,
    pub keep_alive_ms: u64,
    pub head_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub write_timeout_ms: u64,
    pub wait_default_ms: u64,
    pub wait_max_ms: u64,
    pub idempotency_key_bytes_max: usize,
    pub page_items_default: usize,
    pub page_items_max: usize,
    pub streams_max: usize,
    pub history_max: usize,
    pub stream_heartbeat_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub segment_bytes: u64,
    pub queue_max: usize,
    pub lag_events_max: u64,
    pub cache_bytes: u64,
    pub snapshot_events: u64,
    pub snapshot_bytes: u64,
    pub snapshot_every_ms: u64,
    pub snapshots_bytes_max: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunsConfig {
    pub in_flight_max: u32,
    pub threads: usize,
    pub deadline_ms: u64,
    pub idempotency_ttl_ms: u64,
    pub idempotency_entries_max: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrubConfig {
    pub pause_ms: u64,
    pub bytes_per_second_max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    pub log_age_ms: u64,
    pub log_bytes: u64,
    pub without_backup: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    pub results_bytes_max: u64,
    pub results_entries_max: u64,
    pub results_age_max_ms: u64,
    pub results_idle_max_ms: u64,
    pub results_disk_bytes_max: u64,
    pub results_disk_age_max_ms: u64,
    pub datasets_bytes_max: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    pub reserve_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhatIfConfig {
    pub at_once_max: usize,
    pub time_ms_max: u64,
    pub recomputed_max: u64,
    pub compute_ms_max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyConfig {
    pub seal_payloads: bool,
    /// Empty leaves the data keys readable.
    pub master_key_file: PathBuf,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("./data"),
            allow_unauthenticated: false,
            tls_certificate_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
            workers: 0,
            stop_grace_ms: 10_000,
            safe_mode: String::new(),
        }
    }
}

impl Default for SupervisionConfig {
    fn default() -> Self {
        Self {
            actor_restarts_max: 5,
            actor_restarts_window_ms: 60_000,
            process_restarts_max: 3,
            process_restarts_window_ms: 600_000,
        }
    }
}

/// Whether a URL names a user, and perhaps a password: every value of the configuration can be read by
/// who may look at the server, and stands in the log.
pub(crate) fn names_a_user(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or("");
    authority.contains('@')
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024 * 1024,
            json_depth_max: 32,
            header_bytes_max: 32 * 1024,
            connections_max: 4_096,
            keep_alive_ms: 75_000,
            head_timeout_ms: 10_000,
            body_timeout_ms: 60_000,
            write_timeout_ms: 30_000,
            wait_default_ms: 30_000,
            wait_max_ms: 300_000,
            idempotency_key_bytes_max: 255,
            page_items_default: 50,
            page_items_max: 500,
            streams_max: 256,
            history_max: 2,
            stream_heartbeat_ms: 15_000,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            queue_max: 8_192,
            lag_events_max: 100_000,
            cache_bytes: 16 * 1024 * 1024,
            snapshot_events: 50_000,
            snapshot_bytes: 64 * 1024 * 1024,
            snapshot_every_ms: 300_000,
            snapshots_bytes_max: 256 * 1024 * 1024,
        }
    }
}

impl Default for ScrubConfig {
    fn default() -> Self {
        Self {
            pause_ms: 30_000,
            bytes_per_second_max: 64 * 1024 * 1024,
        }
    }
}

impl Default for RunsConfig {
    fn default() -> Self {
        Self {
            in_flight_max: 1_024,
            threads: 0,
            deadline_ms: 600_000,
            idempotency_ttl_ms: 24 * 3_600 * 1_000,
            idempotency_entries_max: 1_000_000,
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            results_bytes_max: 64 * 1024 * 1024,
            results_entries_max: 0,
            results_age_max_ms: 24 * 3_600 * 1_000,
            results_idle_max_ms: 3_600 * 1_000,
            results_disk_bytes_max: 16 * 1024 * 1024,
            results_disk_age_max_ms: 7 * 24 * 3_600 * 1_000,
            datasets_bytes_max: 256 * 1024 * 1024,
        }
    }
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            reserve_bytes: 256 * 1024 * 1024,
        }
    }
}

impl Default for WhatIfConfig {
    fn default() -> Self {
        Self {
            at_once_max: 1,
            time_ms_max: 60_000,
            recomputed_max: 64,
            compute_ms_max: 5_000,
        }
    }
}

impl Config {
    /// Refuses values that no server could run with, naming the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        limits::check(&toml::Table::try_from(self).map_err(|error| {
            // TOML has no numbers beyond 63 bits.
            ConfigError::value("configuration", error.to_string())
        })?)?;
        if self.server.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::value("server.data_dir", "names no directory"));
        }
        let http = &self.http;
        if http.page_items_default > http.page_items_max {
            let message = format!("is over http.page_items_max, {}", http.page_items_max);
            return Err(ConfigError::value("http.page_items_default", message));
        }
        if http.wait_default_ms > http.wait_max_ms {
            let message = format!("is over http.wait_max_ms, {}", http.wait_max_ms);
            return Err(ConfigError::value("http.wait_default_ms", message));
        }
        self.backup.check()?;
        self.vaults.check()?;
        self.breakers.check(&self.backup)?;
        self.slo.check()?;
        crate::telemetry::filter(&self.telemetry.filter)
            .map_err(|error| ConfigError::value("telemetry.filter", error.to_string()))?;
        Ok(())
    }

    /// Whether nothing may be written, so that no file of the data directory changes.
    #[must_use]
    pub const fn looks_only(&self) -> bool {
        !self.server.safe_mode.is_empty()
    }

    /// Refuses to offer a server to a network that nobody could prove who they are to.
    pub fn check_exposure(&self) -> Result<(), ConfigError> {
        if self.server.listen.ip().is_loopback() || self.server.allow_unauthenticated {
            return Ok(());
        }
        let file = crate::access::file(self);
        match crate::access::has_admin(&file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ConfigError::Exposed(self.server.listen)),
            Err(error) => Err(ConfigError::value("access.keys_file", error.to_string())),
        }
    }

    /// The whole of it as canonical JSON, as the log records it. It holds no secrets: there is no
    /// key for one.
    #[must_use]
    pub fn document(&self) -> String {
        let value = serde_json::to_value(self).expect("a configuration is plain data");
        // Keys of a `Value` object are sorted, and no number here has a fraction.
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = include_str!("../config/default.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        load::from_text(text, "a file", &[], &[])
    }

    #[test]
    fn the_documented_defaults_are_the_built_in_ones() {
        let documented: toml::Table = DEFAULT.parse().expect("default.toml is TOML");
        let built_in = toml::Table::try_from(Config::default()).expect("plain data");
        assert_eq!(documented, built_in);
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn every_shipped_file_is_accepted() {
        for text in [
            DEFAULT,
            include_str!("../config/dev.toml"),
            include_str!("../config/test.toml"),
            include_str!("../config/objectives.toml"),
        ] {
            let config = parse(text).expect("a shipped file is right");
            assert_eq!(config.check(), Ok(()));
        }
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let refused = |text: &str| {
            let checked = parse(text).and_then(|config| config.check());
            checked.expect_err("out of range").to_string()
        };
        assert!(refused("http.body_bytes_max = 3").starts_with("http.body_bytes_max: 3 is below"));
        assert!(refused("http.wait_default_ms = 900000").starts_with("http.wait_default_ms"));
        let mut config = Config::default();
        config.runs.threads = 1_000_000;
        let message = config.check().expect_err("out of range").to_string();
        assert_eq!(message, "runs.threads: 1000000 is over the limit of 1024");
        assert!(refused("telemetry.filter = 'a=b=c'").starts_with("telemetry.filter"));
        assert!(refused("server.data_dir = ''").starts_with("server.data_dir: names no"));
        let nul = refused("access.keys_file = \"a\\u0000b\"");
        assert!(nul.starts_with("access.keys_file: the character NUL has no place here"));
    }

    #[test]
    fn an_open_port_needs_the_explicit_flag() {
        let mut config = Config::default();
        assert_eq!(config.check_exposure(), Ok(()));
        config.server.listen = "0.0.0.0:80".parse().expect("an address");
        let message = config.check_exposure().expect_err("exposed").to_string();
        assert!(message.contains("--allow-unauthenticated"), "{message}");
        config.server.allow_unauthenticated = true;
        assert_eq!(config.check_exposure(), Ok(()));
    }

    #[test]
    fn the_recorded_document_is_canonical() {
        let text = Config::default().document();
        assert!(
            text.starts_with(
                r#"{"access":{"attempts_per_minute_max":30,"keys_file":"","required_on_loopback":false},"#
            ),
            "{text}"
        );
        assert!(
            text.contains(
                r#""backup":{"attempts_max":5,"drill_schedule":"every 168h","keep_daily":7,"keep_monthly":12,"keep_weekly":5,"#
            ),
            "{text}"
        );
        let again: Config = serde_json::from_str(&text).expect("it reads back");
        assert_eq!(again, Config::default());
    }
}
