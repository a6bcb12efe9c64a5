//! The range of every number in the configuration. A number without a row here would be taken
//! however absurd it is, so a test asks for one for each key.

use toml::{Table, Value};

use super::ConfigError;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Key, least and greatest value.
const RANGES: &[(&str, u64, u64)] = &[
    ("server.workers", 0, 1_024),
    ("server.stop_grace_ms", 0, HOUR_MS),
    ("supervision.actor_restarts_max", 0, 1_000),
    ("supervision.actor_restarts_window_ms", 1, DAY_MS),
    ("supervision.process_restarts_max", 0, 1_000),
    ("supervision.process_restarts_window_ms", 1, 30 * DAY_MS),
    ("access.attempts_per_minute_max", 1, 100_000),
    ("http.body_bytes_max", KIB, 4 * GIB),
    ("http.json_depth_max", 4, 128),
    ("http.header_bytes_max", KIB, MIB),
    ("http.connections_max", 1, 1_000_000),
    ("http.keep_alive_ms", 0, DAY_MS),
    // It is counted from a clock that ticks twice a second.
    ("http.head_timeout_ms", SECOND_MS, HOUR_MS),
    ("http.body_timeout_ms", 1, DAY_MS),
    ("http.write_timeout_ms", 100, HOUR_MS),
    ("http.wait_default_ms", 0, HOUR_MS),
    ("http.wait_max_ms", 0, HOUR_MS),
    ("http.idempotency_key_bytes_max", 1, 4 * KIB),
    ("http.page_items_default", 1, 10_000),
    ("http.page_items_max", 1, 10_000),
    ("http.streams_max", 0, 100_000),
    ("http.history_max", 1, 1_024),
    ("http.stream_heartbeat_ms", 10, HOUR_MS),
    ("log.segment_bytes", 64 * KIB, GIB),
    ("log.queue_max", 1, 1_000_000),
    ("log.lag_events_max", 1, 10_000_000),
    ("log.cache_bytes", MIB, 64 * GIB),
    ("log.snapshot_events", 1, 1_000_000_000),
    ("log.snapshot_bytes", KIB, 1_024 * GIB),
    ("log.snapshot_every_ms", 0, 30 * DAY_MS),
    ("log.snapshots_bytes_max", 0, 1_024 * GIB),
    ("scrub.pause_ms", 0, 30 * DAY_MS),
    ("scrub.bytes_per_second_max", KIB, 64 * GIB),
    ("retention.log_age_ms", 0, 3_650 * DAY_MS),
    ("retention.log_bytes", 0, 1_024 * KIB * GIB),
    ("runs.in_flight_max", 1, 1_000_000),
    ("runs.threads", 0, 1_024),
    ("runs.deadline_ms", 0, 30 * DAY_MS),
    ("runs.idempotency_ttl_ms", 0, 365 * DAY_MS),
    ("runs.idempotency_entries_max", 0, 100_000_000),
    ("overload.cheap_waiting_max", 1, 1_000_000),
    ("overload.cheap_concurrency_max", 4, 100_000),
    ("overload.heavy_waiting_max", 1, 1_000_000),
    ("overload.heavy_concurrency_max", 1, 100_000),
    ("overload.heavy_runs_max", 1, 1_000_000),
    ("overload.waiting_ms_max", 1, HOUR_MS),
    ("overload.retry_percent_max", 0, 100),
    ("overload.requests_per_second", 0, 1_000_000),
    ("overload.requests_burst", 0, 1_000_000),
    ("cache.results_bytes_max", 0, 64 * GIB),
    ("cache.results_age_max_ms", 0, 365 * DAY_MS),
    ("cache.results_idle_max_ms", 0, 365 * DAY_MS),
    ("cache.results_entries_max", 0, 100_000_000),
    ("cache.results_disk_bytes_max", 0, 64 * GIB),
    ("cache.results_disk_age_max_ms", 0, 365 * DAY_MS),
    ("cache.datasets_bytes_max", 0, 64 * GIB),
    ("backup.keep_daily", 0, 1_000),
    ("backup.keep_weekly", 0, 1_000),
    ("backup.keep_monthly", 0, 1_000),
    ("backup.attempts_max", 1, 100),
    ("backup.ship_ms", 50, HOUR_MS),
    ("vaults.bytes_max", 64 * KIB, 1_024 * KIB * GIB),
    ("vaults.object_bytes_max", KIB, 2 * GIB),
    ("vaults.put_ms_max", 1, DAY_MS),
    ("breakers.window_calls", 1, 1_000),
    ("breakers.window_ms", 0, DAY_MS),
    ("breakers.minimum_calls", 1, 1_000),
    ("breakers.failure_percent", 0, 100),
    ("breakers.slow_ms", 0, DAY_MS),
    ("breakers.slow_percent", 0, 100),
    ("breakers.consecutive_failures", 0, 1_000),
    ("breakers.open_ms", 1, DAY_MS),
    ("breakers.open_ms_max", 1, DAY_MS),
    ("breakers.backoff_percent", 100, 1_000),
    ("breakers.jitter_percent", 0, 100),
    ("breakers.half_open_permits", 1, 1_000),
    ("breakers.permit_ms", 1, DAY_MS),
    ("breakers.half_open_ms_max", 0, DAY_MS),
    ("disk.reserve_bytes", 0, 16 * KIB * GIB),
    ("whatif.at_once_max", 0, 1_024),
    ("whatif.time_ms_max", 1, DAY_MS),
    ("whatif.recomputed_max", 0, 1_000_000),
    ("whatif.compute_ms_max", 1, DAY_MS),
    ("metrics.series_max", 10, 1_000_000),
    ("metrics.sample_interval_ms", 0, DAY_MS),
    ("telemetry.log_file_bytes_max", KIB, GIB),
    ("telemetry.log_file_age_max_ms", 1_000, 365 * DAY_MS),
    ("telemetry.log_keep_ms", 0, 3_650 * DAY_MS),
    ("telemetry.log_keep_bytes_max", 0, 1_024 * GIB),
    ("telemetry.slow_ms", 0, DAY_MS),
    ("telemetry.traces_max", 0, 1_000_000),
    ("telemetry.traces_bytes_max", 0, GIB),
    ("otlp.sample_percent", 0, 100),
    ("otlp.batch_ms", 10, HOUR_MS),
    ("otlp.metrics_interval_ms", 100, DAY_MS),
    ("otlp.timeout_ms", 1, HOUR_MS),
    ("otlp.queue_bytes_max", KIB, GIB),
    ("slo.freeze_below_percent", 0, 100),
    ("slo.thaw_at_percent", 0, 100),
    ("slo.bad_minimum", 1, 1_000_000),
];

/// What is wrong with this value of this key, if it is a number or holds a character that no name of a
/// file and no variable can have.
pub(super) fn complaint(key: &str, value: &Value) -> Option<String> {
    if has_nul(value) {
        return Some("the character NUL has no place here".to_owned());
    }
    let number = value.as_integer()?;
    let (_, least, most) = RANGES.iter().find(|(name, ..)| *name == key)?;
    match u64::try_from(number) {
        Err(_) => Some(format!("{number} must not be negative")),
        Ok(number) if number < *least => Some(format!("{number} is below {least}")),
        Ok(number) if number > *most => Some(format!("{number} is over the limit of {most}")),
        Ok(_) => None,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Table(entries) => entries
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => false,
    }
}

/// Refuses the first number that is out of its range, and text that nothing can be called by.
pub(super) fn check(all: &Table) -> Result<(), ConfigError> {
    for (section, values) in all {
        for (name, value) in values.as_table().into_iter().flatten() {
            let key = format!("{section}.{name}");
            if let Some(message) = complaint(&key, value) {
                return Err(ConfigError::value(&key, message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};

    use super::*;

    #[test]
    fn what_if_takes_what_the_configuration_takes() {
        for key in hindcast_model::event::Settings::KEYS {
            assert!(
                RANGES.contains(&(key.name, key.least, key.most)),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn every_number_has_a_range_and_refuses_the_absurd() {
        let all = Table::try_from(Config::default()).expect("plain data");
        let mut numbers = 0;
        for (section, values) in &all {
            for (name, value) in values.as_table().expect("a section") {
                if !value.is_integer() {
                    continue;
                }
                numbers += 1;
                let key = format!("{section}.{name}");
                let row = RANGES.iter().find(|(known, ..)| *known == key);
                let (_, least, most) = row.unwrap_or_else(|| panic!("{key} has no range"));
                let refused = |value: i128| {
                    let settings = [format!("{key}={value}")];
                    let refusal = load::from_text("", "x", &[], &settings).err();
                    refusal.map(|error| error.to_string())
                };
                assert_eq!(refused(i128::from(*least)), None, "{key}");
                if !key.starts_with("http.page_items_d") && key != "http.wait_default_ms" {
                    assert_eq!(refused(i128::from(*most)), None, "{key}");
                }
                for absurd in [i128::from(*most) + 1, 1 << 62, -1] {
                    let message = refused(absurd).unwrap_or_else(|| panic!("{key}={absurd}"));
                    assert!(message.starts_with(&key), "{message}");
                    assert!(message.contains(&absurd.to_string()), "{message}");
                }
                if *least > 0 {
                    assert!(refused(0).is_some(), "{key}");
                }
            }
        }
        assert_eq!(numbers, RANGES.len());
    }
}
