//! The section of service level objectives.

use serde::{Deserialize, Serialize};

use super::ConfigError;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloConfig {
    pub enabled: bool,
    pub freeze_below_percent: u64,
    pub thaw_at_percent: u64,
    pub bad_minimum: u64,
    pub objectives: Vec<ObjectiveConfig>,
}

/// One objective, or what is other of a built-in one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_hours: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_at_least: Option<String>,
}

impl Default for SloConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            freeze_below_percent: 10,
            thaw_at_percent: 20,
            bad_minimum: 10,
            objectives: Vec::new(),
        }
    }
}

impl ObjectiveConfig {
    /// What is given here, and for the rest what is known. Of another kind of measure nothing stays.
    pub(crate) fn over(&self, known: Self) -> Self {
        let own = self.clone();
        let ratio = own.good.is_some() || own.valid.is_some();
        let bound = own.value.is_some();
        let known_ratio = |it: Option<Vec<String>>| it.filter(|_| !bound);
        let known_bound = |it: Option<Vec<String>>| it.filter(|_| !ratio);
        let known_number = |it: Option<String>| it.filter(|_| !ratio);
        Self {
            name: own.name,
            enabled: own.enabled.or(known.enabled),
            target: own.target.or(known.target),
            window_hours: own.window_hours.or(known.window_hours),
            freeze: own.freeze.or(known.freeze),
            good: own.good.or_else(|| known_ratio(known.good)),
            valid: own.valid.or_else(|| known_ratio(known.valid)),
            value: own.value.or_else(|| known_bound(known.value)),
            per: own.per.or_else(|| known_bound(known.per)),
            at_most: own.at_most.or_else(|| known_number(known.at_most)),
            at_least: own.at_least.or_else(|| known_number(known.at_least)),
            when: own.when.or_else(|| known_bound(known.when)),
            when_at_least: own
                .when_at_least
                .or_else(|| known_number(known.when_at_least)),
        }
    }
}

impl SloConfig {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.thaw_at_percent < self.freeze_below_percent {
            let message = format!(
                "is below slo.freeze_below_percent, {}",
                self.freeze_below_percent
            );
            return Err(ConfigError::value("slo.thaw_at_percent", message));
        }
        match crate::slo::plan(self) {
            Ok(_) => Ok(()),
            Err(wrong) => {
                let key = format!("slo.{}", wrong.key);
                Err(ConfigError::value(&key, wrong.message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_named() {
        let config = SloConfig {
            thaw_at_percent: 5,
            ..SloConfig::default()
        };
        let message = config.check().expect_err("refused").to_string();
        assert!(
            message.starts_with("slo.thaw_at_percent: is below"),
            "{message}"
        );
        let config = SloConfig {
            objectives: vec![ObjectiveConfig::default()],
            ..SloConfig::default()
        };
        let message = config.check().expect_err("refused").to_string();
        assert!(message.starts_with("slo.objectives[0].name: "), "{message}");
        assert_eq!(SloConfig::default().check(), Ok(()));
    }
}
