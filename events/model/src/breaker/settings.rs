//! How a breaker judges, as the configuration says it. Everything that turns configuration keys
//! into settings comes through the table here: the server's start, what-if and simulation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::{BREAKER_NAME_CHARS_MAX, BREAKERS_MAX, WINDOW_CALLS_MAX};
use crate::settings::BadSetting;

const MICROS_PER_MS: u64 = 1_000;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// When a breaker opens, for how long, and how it closes again. A limit of 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerSettings {
    /// The last calls that are looked at.
    pub window_calls: u32,
    /// Calls older than this are not looked at; 0 looks at the number alone.
    pub window_micros: u64,
    /// Rates count from so many calls on.
    pub minimum_calls: u32,
    /// Per cent of failed calls that open it.
    pub failure_percent: u32,
    /// A call that was computed for longer is slow.
    pub slow_micros: u64,
    /// Per cent of slow calls that open it.
    pub slow_percent: u32,
    /// Failed calls in a row that open it.
    pub consecutive_failures: u32,
    /// How long it is open the first time.
    pub open_micros: u64,
    /// How long it is open at most.
    pub open_micros_max: u64,
    /// What the time is multiplied with whenever it opens again without having closed, in per cent.
    pub backoff_percent: u32,
    /// By how much the time differs at most, in per cent.
    pub jitter_percent: u32,
    /// Calls that may be under way while it is half-open, and that have to succeed to close it.
    pub half_open_permits: u32,
    /// How long a call holds its permit at most.
    pub permit_micros: u64,
    /// How long it is half-open at most before it opens again.
    pub half_open_micros_max: u64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window_calls: 50,
            window_micros: 0,
            minimum_calls: 10,
            failure_percent: 50,
            slow_micros: 0,
            slow_percent: 80,
            consecutive_failures: 5,
            open_micros: 30_000_000,
            open_micros_max: 600_000_000,
            backoff_percent: 200,
            jitter_percent: 20,
            half_open_permits: 2,
            permit_micros: 60_000_000,
            half_open_micros_max: 0,
        }
    }
}

/// A key of `[breakers]`, and of a breaker's own table there.
#[derive(Clone, Copy)]
pub struct BreakerKey {
    pub name: &'static str,
    pub least: u64,
    pub most: u64,
    get: fn(&BreakerSettings) -> u64,
    set: fn(&mut BreakerSettings, u64),
}

fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

macro_rules! keys {
    ($($name:literal $least:literal $most:expr, $field:ident $unit:ident;)*) => {
        &[$(BreakerKey {
            name: $name,
            least: $least,
            most: $most,
            get: |settings| keys!(@get $unit settings.$field),
            set: |settings, value| settings.$field = keys!(@set $unit value),
        }),*]
    };
    (@get number $field:expr) => { u64::from($field) };
    (@get ms $field:expr) => { $field / MICROS_PER_MS };
    (@set number $value:expr) => { small($value) };
    (@set ms $value:expr) => { $value.saturating_mul(MICROS_PER_MS) };
}

impl BreakerSettings {
    /// Every key.
    pub const KEYS: &'static [BreakerKey] = keys! {
        "window_calls" 1 WINDOW_CALLS_MAX as u64, window_calls number;
        "window_ms" 0 DAY_MS, window_micros ms;
        "minimum_calls" 1 WINDOW_CALLS_MAX as u64, minimum_calls number;
        "failure_percent" 0 100, failure_percent number;
        "slow_ms" 0 DAY_MS, slow_micros ms;
        "slow_percent" 0 100, slow_percent number;
        "consecutive_failures" 0 WINDOW_CALLS_MAX as u64, consecutive_failures number;
        "open_ms" 1 DAY_MS, open_micros ms;
        "open_ms_max" 1 DAY_MS, open_micros_max ms;
        "backoff_percent" 100 1_000, backoff_percent number;
        "jitter_percent" 0 100, jitter_percent number;
        "half_open_permits" 1 1_000, half_open_permits number;
        "permit_ms" 1 DAY_MS, permit_micros ms;
        "half_open_ms_max" 0 DAY_MS, half_open_micros_max ms;
    };

    /// Sets one key. Fails when there is none of this name, or the value is out of its range.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), BadSetting> {
        let known = Self::KEYS.iter().find(|key| key.name == name);
        let key = known.ok_or(BadSetting::NotRead)?;
        let (least, most) = (key.least, key.most);
        if value < least {
            return Err(BadSetting::TooSmall { value, least });
        }
        if value > most {
            return Err(BadSetting::TooLarge { value, most });
        }
        (key.set)(self, value);
        Ok(())
    }

    /// These with the keys of `set`, whose values were checked.
    #[must_use]
    pub fn with(mut self, set: &BTreeMap<String, u64>) -> Self {
        for (key, value) in set {
            let _ = self.set(key, *value);
        }
        self
    }

    /// The key whose value makes no sense beside another, and why.
    #[must_use]
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        if self.open_micros_max < self.open_micros {
            let open = self.open_micros / MICROS_PER_MS;
            return Some((
                "open_ms_max",
                format!("it is below open_ms, which is {open}"),
            ));
        }
        let counts_rates = self.failure_percent > 0 || self.slow_micros > 0;
        (counts_rates && self.minimum_calls > self.window_calls).then(|| {
            let window = self.window_calls;
            let why = format!(
                "it is over window_calls, which is {window}, so that no rate would ever open it"
            );
            ("minimum_calls", why)
        })
    }

    /// Every key with its value.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let settings = *self;
        Self::KEYS
            .iter()
            .map(move |key| (key.name, (key.get)(&settings)))
    }
}

/// What is computed in place of what a breaker does not let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Such as `boss`.
    pub to: String,
    /// The breaker that it goes by itself.
    pub breaker: String,
}

/// One breaker as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredBreaker {
    pub name: String,
    pub settings: BreakerSettings,
    /// In the order in which they are tried.
    pub fallbacks: Vec<Fallback>,
}

/// All breakers as they are configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerPlan {
    pub breakers: Vec<ConfiguredBreaker>,
}

/// What the keys of breakers begin with.
const PREFIX: &str = "breakers.";

impl BreakerPlan {
    /// The breakers that count: the first so many, with names that are not too long.
    pub(crate) fn bounded(&self) -> impl Iterator<Item = &ConfiguredBreaker> {
        let short =
            |breaker: &&ConfiguredBreaker| breaker.name.chars().count() <= BREAKER_NAME_CHARS_MAX;
        self.breakers.iter().filter(short).take(BREAKERS_MAX)
    }

    /// Whether a key of the configuration is about breakers.
    #[must_use]
    pub fn is_about(key: &str) -> bool {
        key.starts_with(PREFIX)
    }

    /// Sets `breakers.KEY` of every breaker, or `breakers.NAME.KEY` of one. Fails when there is no
    /// such breaker or key, or the value is out of its range.
    pub fn set(&mut self, key: &str, value: u64) -> Result<(), BadSetting> {
        let rest = key.strip_prefix(PREFIX).ok_or(BadSetting::NotRead)?;
        let Some((name, key)) = rest.rsplit_once('.') else {
            // Checked even when there is no breaker.
            BreakerSettings::default().set(rest, value)?;
            let mut all = self.breakers.iter_mut();
            return all.try_for_each(|breaker| breaker.settings.set(rest, value));
        };
        let found = self.breakers.iter_mut().find(|found| found.name == name);
        found.ok_or(BadSetting::NoBreaker)?.settings.set(key, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_sets_what_it_shows_and_refuses_what_is_out_of_range() {
        for key in BreakerSettings::KEYS {
            let mut settings = BreakerSettings::default();
            let value = key.least.max(3).min(key.most);
            let value = value.max(key.least);
            assert_eq!(settings.set(key.name, value), Ok(()));
            assert_eq!((key.get)(&settings), value, "{}", key.name);
            assert!(settings.set(key.name, key.most + 1).is_err());
            if key.least > 0 {
                assert!(settings.set(key.name, key.least - 1).is_err());
            }
        }
        assert_eq!(
            BreakerSettings::default().set("colour", 1),
            Err(BadSetting::NotRead)
        );
    }

    #[test]
    fn keys_are_of_all_breakers_or_of_one() {
        let of = |name: &str| ConfiguredBreaker {
            name: name.to_owned(),
            settings: BreakerSettings::default(),
            fallbacks: Vec::new(),
        };
        let mut plan = BreakerPlan {
            breakers: vec![of("a"), of("b")],
        };
        assert_eq!(plan.set("breakers.minimum_calls", 3), Ok(()));
        assert_eq!(plan.set("breakers.b.minimum_calls", 4), Ok(()));
        let minimum = |index: usize| plan.breakers[index].settings.minimum_calls;
        assert_eq!((minimum(0), minimum(1)), (3, 4));
        assert_eq!(
            plan.set("breakers.c.minimum_calls", 4),
            Err(BadSetting::NoBreaker)
        );
        assert_eq!(plan.set("runs.in_flight_max", 4), Err(BadSetting::NotRead));
    }
}
