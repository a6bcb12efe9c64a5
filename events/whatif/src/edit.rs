//! What is to be otherwise.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_model::breaker::BreakerPlan;
use hindcast_model::event::{Settings, TimeReached};
use hindcast_model::settings::BadSetting;
use hindcast_model::{Event, EventId, Seq, UnixMicros};

/// Edits of a history. All of them hold from `Question::at` on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Edits {
    /// Observed events that do not happen, nor what they caused.
    pub drop: BTreeSet<Seq>,
    /// What happens in their place.
    pub replace: BTreeMap<Seq, Event>,
    /// What happens after these.
    pub inject: BTreeMap<Seq, Vec<Event>>,
    /// Keys of the configuration and their values.
    pub settings: BTreeMap<String, u64>,
    /// Microseconds by which everything happens later, or earlier when negative.
    pub shift_micros: i64,
}

/// Why an event may not be edited so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEdit {
    #[error("{name} is decided, and follows from an observed event")]
    Decided { name: &'static str },
    #[error("time_reached is the log's own: it happens when a deadline has come")]
    Timer,
    #[error("the configuration key {key}: {error}")]
    Setting { key: String, error: BadSetting },
}

impl Edits {
    /// How many edits there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let injected: usize = self.inject.values().map(Vec::len).sum();
        let clock = usize::from(self.shift_micros != 0);
        self.drop.len() + self.replace.len() + injected + self.settings.len() + clock
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether an event of this kind may be edited.
    pub const fn may(event: &Event) -> Result<(), BadEdit> {
        if !event.kind().observed {
            let name = event.kind().name;
            return Err(BadEdit::Decided { name });
        }
        if let Event::TimeReached(TimeReached {}) = event {
            return Err(BadEdit::Timer);
        }
        Ok(())
    }

    /// The settings with the edits of configuration keys.
    pub fn over(&self, mut settings: Settings) -> Result<Settings, BadEdit> {
        let edits = self.settings.iter();
        for (key, value) in edits.filter(|(key, _)| !BreakerPlan::is_about(key)) {
            settings.set(key, *value).map_err(|error| {
                let key = key.clone();
                BadEdit::Setting { key, error }
            })?;
        }
        Ok(settings)
    }

    /// The breakers with the edits of their keys.
    pub fn over_breakers(&self, mut plan: BreakerPlan) -> Result<BreakerPlan, BadEdit> {
        let edits = self.settings.iter();
        for (key, value) in edits.filter(|(key, _)| BreakerPlan::is_about(key)) {
            plan.set(key, *value).map_err(|error| {
                let key = key.clone();
                BadEdit::Setting { key, error }
            })?;
        }
        Ok(plan)
    }

    /// The edited breakers, once they were checked.
    pub(crate) fn breakers_over(&self, plan: &BreakerPlan) -> BreakerPlan {
        let edited = self.over_breakers(plan.clone());
        edited.unwrap_or_else(|_| plan.clone())
    }

    /// The edited settings, once they were checked.
    pub(crate) fn settings_over(&self, settings: Settings) -> Settings {
        self.over(settings).unwrap_or(settings)
    }

    /// The edits of configuration keys as canonical JSON.
    pub(crate) fn document(&self) -> String {
        let pairs: Vec<String> = self
            .settings
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{\"overrides\":{{{}}}}}", pairs.join(","))
    }

    /// When what is recorded at `at` happens.
    pub(crate) const fn time(&self, at: UnixMicros) -> UnixMicros {
        UnixMicros(at.0.saturating_add_signed(self.shift_micros))
    }
}

/// An id that follows from what it is for, so that no entropy is needed.
pub(crate) fn derived(purpose: &str, of: EventId, number: u64) -> EventId {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(purpose.as_bytes())
        .update(&of.bytes())
        .update(&number.to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    EventId::from_bytes(id)
}

/// A number that follows from a seed and what it is drawn for: independent of the order of draws.
pub(crate) fn draw(seed: u64, purpose: &str, of: [u8; 16]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .update(purpose.as_bytes())
        .update(&of);
    let mut number = [0; 8];
    number.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_and_purpose_and_on_nothing_else() {
        assert_eq!(draw(1, "a", [0; 16]), draw(1, "a", [0; 16]));
        assert_ne!(draw(1, "a", [0; 16]), draw(2, "a", [0; 16]));
        assert_ne!(draw(1, "a", [0; 16]), draw(1, "b", [0; 16]));
        assert_ne!(draw(1, "a", [0; 16]), draw(1, "a", [1; 16]));
    }

    #[test]
    fn keys_that_no_decision_reads_are_refused() {
        let mut edits = Edits::default();
        edits.settings.insert("http.streams_max".to_owned(), 3);
        let refused = edits.over(Settings::default()).expect_err("not read");
        assert!(
            refused.to_string().contains("runs.in_flight_max"),
            "{refused}"
        );
    }
}
