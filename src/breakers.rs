//! The circuit breakers that a configuration gives.

use hindcast_actors::LOCAL;
use hindcast_actors::circuit_breaker::services::{self, ALGORITHMS, Algorithm, SUBSTITUTES};
use hindcast_model::breaker::{BreakerPlan, BreakerSettings};

use crate::config::{BackupConfig, BreakersConfig, Config, OwnBreaker};
use crate::telemetry::otlp::Settings;

/// The breakers as decisions know them. The configuration was checked.
#[must_use]
pub(crate) fn plan(config: &Config) -> BreakerPlan {
    let (breakers, backup) = (&config.breakers, &config.backup);
    let settings = |name: &str| {
        let own = breakers.own.iter().find(|own| own.name == name);
        merged(breakers, own)
    };
    let pairs: Vec<(Algorithm, Algorithm)> = breakers
        .fallbacks
        .iter()
        .filter_map(|pair| pair_of(pair).ok())
        .collect();
    let names = services::names(&targets(backup), Settings::sends(&config.otlp));
    services::plan(names, settings, &pairs)
}

/// The settings of a breaker with these of its own. Their ranges were checked.
pub(crate) fn merged(breakers: &BreakersConfig, own: Option<&OwnBreaker>) -> BreakerSettings {
    let own = own.into_iter().flat_map(|own| &own.keys);
    let own = own.map(|(key, value)| (key.as_str(), *value));
    let mut settings = BreakerSettings::default();
    for (key, value) in values(breakers).into_iter().chain(own) {
        settings
            .set(key, value)
            .expect("the configuration was checked");
    }
    settings
}

/// Every key with its value, as decisions know them.
fn values(config: &BreakersConfig) -> [(&'static str, u64); BreakerSettings::KEYS.len()] {
    [
        ("window_calls", config.window_calls),
        ("window_ms", config.window_ms),
        ("minimum_calls", config.minimum_calls),
        ("failure_percent", config.failure_percent),
        ("slow_ms", config.slow_ms),
        ("slow_percent", config.slow_percent),
        ("consecutive_failures", config.consecutive_failures),
        ("open_ms", config.open_ms),
        ("open_ms_max", config.open_ms_max),
        ("backoff_percent", config.backoff_percent),
        ("jitter_percent", config.jitter_percent),
        ("half_open_permits", config.half_open_permits),
        ("permit_ms", config.permit_ms),
        ("half_open_ms_max", config.half_open_ms_max),
    ]
}

/// The names of the targets of backups.
pub(crate) fn targets(backup: &BackupConfig) -> Vec<String> {
    let named = backup.targets.iter().map(|target| target.name.clone());
    let mut all: Vec<String> = named.collect();
    if !all.iter().any(|name| name == LOCAL) {
        all.push(LOCAL.to_owned());
    }
    all
}

/// `asked=answered`, both algorithms.
pub(crate) fn pair_of(text: &str) -> Result<(Algorithm, Algorithm), String> {
    let names = |all: &[Algorithm]| {
        let names: Vec<&str> = all.iter().map(|known| known.name()).collect();
        names.join(", ")
    };
    let Some((from, to)) = text.split_once('=') else {
        return Err(format!(
            "`{text}` is not `asked=answered`, such as `notears=boss`"
        ));
    };
    let Some(from) = services::algorithm(from) else {
        let known = names(&ALGORITHMS);
        return Err(format!("`{from}` is no algorithm; there are {known}"));
    };
    match SUBSTITUTES.into_iter().find(|known| known.name() == to) {
        Some(to) if to == from => Err(format!("`{text}` answers with what was asked for")),
        Some(to) => Ok((from, to)),
        None => {
            let known = names(&SUBSTITUTES);
            Err(format!(
                "`{to}` cannot take another's place; these can: {known}"
            ))
        }
    }
}
