//! The configuration that holds at this moment, and which keys of it can change while the server
//! runs.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use toml::{Table, Value};

use super::{Config, ConfigError};

/// Keys that change at a reload; every other one needs a restart. Access keys and the certificate
/// are read again whatever stands here.
pub const LIVE: &[&str] = &[
    "http.json_depth_max",
    "http.header_bytes_max",
    "http.body_timeout_ms",
    "http.wait_default_ms",
    "http.wait_max_ms",
    "http.idempotency_key_bytes_max",
    "http.page_items_default",
    "http.page_items_max",
    "http.stream_heartbeat_ms",
    "runs.in_flight_max",
    "runs.deadline_ms",
    "runs.idempotency_ttl_ms",
    "runs.idempotency_entries_max",
    "disk.reserve_bytes",
    "slo.enabled",
    "slo.freeze_below_percent",
    "slo.thaw_at_percent",
    "slo.bad_minimum",
    "slo.objectives",
];

/// The configuration that holds. Each one that held before stays in memory to the end of the
/// process, a few kilobytes, so that whoever reads it needs no lock for longer than a look.
#[derive(Clone)]
pub struct LiveConfig(Arc<RwLock<&'static Config>>);

impl LiveConfig {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Box::leak(Box::new(config)))))
    }

    /// This one holds from here on.
    pub fn replace(&self, config: Config) {
        if **self == config {
            return;
        }
        let config: &'static Config = Box::leak(Box::new(config));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

impl Deref for LiveConfig {
    type Target = Config;

    fn deref(&self) -> &Config {
        let held: &'static Config = *self.0.read().unwrap_or_else(PoisonError::into_inner);
        held
    }
}

impl fmt::Debug for LiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveConfig")
    }
}

/// What a new configuration changes in one that holds.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// The one that holds from here on.
    pub config: Config,
    /// Keys that have changed.
    pub changed: Vec<String>,
    /// Keys that differ and stay as they are until a restart.
    pub needs_restart: Vec<String>,
}

/// Takes over what can change of `new`.
pub fn change(held: &Config, new: &Config) -> Result<Change, ConfigError> {
    let table = |config: &Config| {
        Table::try_from(config)
            .map_err(|error| ConfigError::value("configuration", error.to_string()))
    };
    let (mut merged, new) = (table(held)?, table(new)?);
    let (mut changed, mut needs_restart) = (Vec::new(), Vec::new());
    for (section, values) in &mut merged {
        let Value::Table(values) = values else {
            continue;
        };
        for (name, value) in values {
            let wanted = new.get(section).and_then(|wanted| wanted.get(name));
            let Some(wanted) = wanted.filter(|wanted| *wanted != value) else {
                continue;
            };
            let key = format!("{section}.{name}");
            if LIVE.contains(&key.as_str()) {
                *value = wanted.clone();
                changed.push(key);
            } else {
                needs_restart.push(key);
            }
        }
    }
    let config = Value::Table(merged)
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::value("configuration", error.message()))?;
    Ok(Change {
        config,
        changed,
        needs_restart,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_change_changes() {
        let held = Config::default();
        let mut new = held.clone();
        new.runs.deadline_ms = 7;
        new.server.workers = 9;
        let change = change(&held, &new).expect("plain data");
        assert_eq!(change.changed, ["runs.deadline_ms"]);
        assert_eq!(change.needs_restart, ["server.workers"]);
        assert_eq!(change.config.runs.deadline_ms, 7);
        assert_eq!(change.config.server, held.server);
        let live = LiveConfig::new(held);
        let other = live.clone();
        live.replace(change.config);
        assert_eq!(other.runs.deadline_ms, 7);
    }

    #[test]
    fn every_live_key_is_a_key() {
        let all = Table::try_from(Config::default()).expect("plain data");
        for key in LIVE {
            let (section, name) = key.split_once('.').expect("a section");
            assert!(all[section].get(name).is_some(), "{key}");
        }
    }
}
