//! The section of circuit breakers: when they open, and what is answered in place of what they do
//! not let pass.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_actors::circuit_breaker::services;
use hindcast_model::breaker::BreakerSettings;
use hindcast_model::settings::BadSetting;
use serde::{Deserialize, Serialize};

use super::{BackupConfig, ConfigError};
use crate::breakers::{merged, pair_of, targets};
use crate::nearest;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakersConfig {
    pub fallback: FallbackDefault,
    pub fallbacks: Vec<String>,
    pub own: Vec<OwnBreaker>,
    pub window_calls: u64,
    pub window_ms: u64,
    pub minimum_calls: u64,
    pub failure_percent: u64,
    pub slow_ms: u64,
    pub slow_percent: u64,
    pub consecutive_failures: u64,
    pub open_ms: u64,
    pub open_ms_max: u64,
    pub backoff_percent: u64,
    pub jitter_percent: u64,
    pub half_open_permits: u64,
    pub permit_ms: u64,
    pub half_open_ms_max: u64,
}

/// Whether something else may be computed when a request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackDefault {
    Allow,
    Never,
}

/// Settings of one breaker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnBreaker {
    pub name: String,
    #[serde(flatten)]
    pub keys: BTreeMap<String, u64>,
}

impl Default for BreakersConfig {
    fn default() -> Self {
        Self {
            fallback: FallbackDefault::Allow,
            fallbacks: vec!["notears=boss".to_owned(), "dagma=boss".to_owned()],
            own: Vec::new(),
            window_calls: 50,
            window_ms: 0,
            minimum_calls: 10,
            failure_percent: 50,
            slow_ms: 0,
            slow_percent: 80,
            consecutive_failures: 5,
            open_ms: 30_000,
            open_ms_max: 600_000,
            backoff_percent: 200,
            jitter_percent: 20,
            half_open_permits: 2,
            permit_ms: 60_000,
            half_open_ms_max: 0,
        }
    }
}

impl BreakersConfig {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self, backup: &BackupConfig) -> Result<(), ConfigError> {
        for pair in &self.fallbacks {
            if let Err(message) = pair_of(pair) {
                return Err(ConfigError::value("breakers.fallbacks", message));
            }
        }
        if let Some((key, why)) = merged(self, None).contradiction() {
            return Err(ConfigError::value(&format!("breakers.{key}"), why));
        }
        // Where telemetry is sent to may stand in the environment of the server alone.
        let names = services::names(&targets(backup), true);
        let mut seen = BTreeSet::new();
        for (index, own) in self.own.iter().enumerate() {
            let refuse = |field: &str, message: String| {
                let key = format!("breakers.own[{index}].{field}");
                Err(ConfigError::value(&key, message))
            };
            if !names.contains(&own.name) {
                let known = names.join(", ");
                let message = format!("there is no breaker `{}`; there are {known}", own.name);
                return refuse("name", message);
            }
            if !seen.insert(&own.name) {
                return refuse("name", format!("`{}` is given more than once", own.name));
            }
            for (key, value) in &own.keys {
                match BreakerSettings::default().set(key, *value) {
                    Ok(()) => {}
                    Err(BadSetting::NotRead) => {
                        let known = BreakerSettings::KEYS.iter().map(|key| key.name);
                        let near = nearest::name(key, known).unwrap_or("open_ms");
                        return refuse(key, format!("unknown key; did you mean `{near}`?"));
                    }
                    Err(error) => return refuse(key, error.to_string()),
                }
            }
            if let Some((key, why)) = merged(self, Some(own)).contradiction() {
                return refuse(key, why);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut BreakersConfig)) -> String {
        let mut config = BreakersConfig::default();
        change(&mut config);
        let checked = config.check(&BackupConfig::default());
        checked.expect_err("refused").to_string()
    }

    #[test]
    fn defaults_are_those_of_decisions() {
        let plan = crate::breakers::plan(&crate::config::Config::default());
        assert_eq!(plan.breakers.len(), 14);
        for breaker in &plan.breakers {
            assert_eq!(breaker.settings, BreakerSettings::default());
        }
        let find = |name: &str| {
            let found = plan.breakers.iter().find(|breaker| breaker.name == name);
            found.expect("a breaker").fallbacks.clone()
        };
        assert_eq!(find("notears_discovery")[0].breaker, "discovery_boss");
        assert_eq!(find("discovery_direct_lingam"), []);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let own = |name: &str, key: &str, value: u64| OwnBreaker {
            name: name.to_owned(),
            keys: [(key.to_owned(), value)].into(),
        };
        for (fallback, part) in [
            ("notears", "asked=answered"),
            ("best=boss", "no algorithm"),
            ("notears=fci", "cannot take"),
            ("boss=boss", "was asked for"),
        ] {
            let message = refused(|config| config.fallbacks = vec![fallback.to_owned()]);
            assert!(message.starts_with("breakers.fallbacks"), "{message}");
            assert!(message.contains(part), "{message}");
        }
        let message = refused(|config| config.own = vec![own("nobody", "open_ms", 1)]);
        assert!(message.starts_with("breakers.own[0].name"), "{message}");
        assert!(message.contains("path_analysis"), "{message}");
        for (key, value, named) in [
            ("open_ms", 700_000, "open_ms_max: it is below open_ms"),
            ("window_calls", 5, "minimum_calls: it is over window_calls"),
        ] {
            let message = refused(|config| config.own = vec![own("path_analysis", key, value)]);
            let start = format!("breakers.own[0].{named}");
            assert!(message.starts_with(&start), "{message}");
        }
        let message = refused(|config| config.own = vec![own("path_analysis", "slow", 3)]);
        assert!(message.contains("did you mean `slow_ms`?"), "{message}");
        let message = refused(|config| config.minimum_calls = 100);
        assert!(message.starts_with("breakers.minimum_calls"), "{message}");
        let message = refused(|config| config.own = vec![own("path_analysis", "open_ms", 0)]);
        assert!(message.starts_with("breakers.own[0].open_ms"), "{message}");
        let twice = || vec![own("path_analysis", "open_ms", 1); 2];
        let message = refused(|config| config.own = twice());
        assert!(message.contains("more than once"), "{message}");
    }
}
