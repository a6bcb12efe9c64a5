//! Which keys of the configuration decisions read, and how. Everything that turns a configuration
//! into what decisions read of it comes through here: the server's start and the edits of a what-if.

use crate::event::Settings;

/// A key of the configuration that decisions read.
#[derive(Clone, Copy)]
pub struct Key {
    /// As in the configuration, such as `runs.in_flight_max`.
    pub name: &'static str,
    pub least: u64,
    /// The greatest value.
    pub most: u64,
    set: fn(&mut Settings, u64),
}

/// Why a setting was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    #[error("no decision reads it; those that are read are {}", names())]
    NotRead,
    #[error("{value} is over the limit of {most}")]
    TooLarge { value: u64, most: u64 },
    #[error("{value} is below {least}")]
    TooSmall { value: u64, least: u64 },
    #[error("there is no such breaker")]
    NoBreaker,
}

const MICROS_PER_MS: u64 = 1_000;

impl Settings {
    /// Every key that decisions read.
    pub const KEYS: [Key; 4] = [
        Key {
            name: "runs.in_flight_max",
            least: 1,
            most: 1_000_000,
            set: |settings, value| {
                settings.runs_in_flight_max = u32::try_from(value).unwrap_or(u32::MAX);
            },
        },
        Key {
            name: "runs.idempotency_ttl_ms",
            least: 0,
            most: 365 * 24 * 3_600_000,
            set: |settings, value| {
                settings.idempotency_ttl_micros = value.saturating_mul(MICROS_PER_MS);
            },
        },
        Key {
            name: "runs.idempotency_entries_max",
            least: 0,
            most: 100_000_000,
            set: |settings, value| settings.idempotency_entries_max = value,
        },
        Key {
            name: "disk.reserve_bytes",
            least: 0,
            most: 1 << 44,
            set: |settings, value| settings.disk_reserve_bytes = value,
        },
    ];

    /// Sets what the configuration says under `name`.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), BadSetting> {
        let known = Self::KEYS.iter().find(|key| key.name == name);
        let Key {
            least, most, set, ..
        } = known.ok_or(BadSetting::NotRead)?;
        if value < *least {
            let least = *least;
            return Err(BadSetting::TooSmall { value, least });
        }
        if value > *most {
            return Err(BadSetting::TooLarge { value, most: *most });
        }
        set(self, value);
        Ok(())
    }
}

fn names() -> String {
    let breakers = "breakers.KEY and breakers.NAME.KEY";
    let keys = Settings::KEYS.map(|key| key.name).join(", ");
    format!("{keys}, {breakers}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_sets_something_of_its_own() {
        let mut seen = vec![Settings::default()];
        for key in Settings::KEYS {
            let mut settings = Settings::default();
            assert_eq!(settings.set(key.name, 3), Ok(()));
            assert!(!seen.contains(&settings), "{}", key.name);
            seen.push(settings);
        }
        let mut settings = Settings::default();
        assert_eq!(settings.set("runs.idempotency_ttl_ms", 3), Ok(()));
        assert_eq!(settings.idempotency_ttl_micros, 3_000);
    }

    #[test]
    fn other_keys_and_values_are_refused_with_what_is_possible() {
        let mut settings = Settings::default();
        let refused = settings.set("http.streams_max", 3).expect_err("not read");
        assert!(
            refused.to_string().contains("runs.in_flight_max"),
            "{refused}"
        );
        let refused = settings
            .set("runs.in_flight_max", 1 << 40)
            .expect_err("too large");
        assert!(refused.to_string().contains("1000000"), "{refused}");
        let refused = settings
            .set("runs.in_flight_max", 0)
            .expect_err("too small");
        assert_eq!(refused.to_string(), "0 is below 1");
        assert_eq!(settings, Settings::default());
    }
}
