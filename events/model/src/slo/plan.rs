//! What is to be reached, as decisions know it. Which series an objective is about is resolved before
//! it is recorded: decisions read numbers of series and no names.

use serde::{Deserialize, Serialize};

use crate::limits::{
    SLO_NAME_CHARS_MAX, SLO_OBJECTIVES_MAX, SLO_SERIES_MAX, SLO_WINDOW_MICROS_MAX,
    SLO_WINDOW_MICROS_MIN,
};

/// Targets are in parts per million.
pub const PPM: u32 = 1_000_000;

/// Every objective, and the lines at which budgets freeze.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloPlan {
    pub policy: SloPolicy,
    pub objectives: Vec<SloObjective>,
}

/// When a budget freezes and thaws.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloPolicy {
    /// It freezes when less than this is left of it.
    pub freeze_below_permille: u32,
    /// It thaws when at least this is left again.
    pub thaw_at_permille: u32,
    /// Bad events below which nothing is judged.
    pub bad_minimum: u64,
}

/// One objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloObjective {
    pub name: String,
    pub measure: SloMeasure,
    /// Parts per million that have to be good; below a million, so that there is a budget.
    pub target_ppm: u32,
    /// Microseconds that are looked back.
    pub window_micros: u64,
    /// Whether its budget freezes.
    pub freezes: bool,
}

/// What is counted. Variants are appended only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SloMeasure {
    /// What was added to some series, of what was added to others, by their numbers.
    Ratio { good: Vec<u16>, valid: Vec<u16> },
    /// Batches in which a figure is within a bound, of those in which it is known.
    Bound(SloBound),
}

/// A bound of a figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloBound {
    /// The sum of these series.
    pub value: Vec<u16>,
    /// What it is divided by.
    pub per: SloPer,
    /// Whether it may be at most, and not at least, what follows.
    pub at_most: bool,
    /// Millionths of the base unit.
    pub bound_millionths: u64,
    /// Batches that do not meet it are not looked at.
    pub when: Option<SloCondition>,
}

/// What a figure is divided by. Variants are appended only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SloPer {
    One,
    /// The span of the batch.
    Second,
    /// The sum of other series.
    Series(Vec<u16>),
}

/// The sum of series is at least this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloCondition {
    pub series: Vec<u16>,
    /// Millionths of the base unit.
    pub at_least_millionths: u64,
}

impl SloObjective {
    /// Parts per million that may be bad.
    #[must_use]
    pub fn budget_ppm(&self) -> u32 {
        PPM - self.target_ppm.min(PPM - 1)
    }

    fn within_limits(&self) -> bool {
        let named = !self.name.is_empty() && self.name.chars().count() <= SLO_NAME_CHARS_MAX;
        let window = (SLO_WINDOW_MICROS_MIN..=SLO_WINDOW_MICROS_MAX).contains(&self.window_micros);
        named && window && self.target_ppm < PPM && self.measure.within_limits()
    }
}

impl SloMeasure {
    fn within_limits(&self) -> bool {
        let fits = |series: &Vec<u16>| series.len() <= SLO_SERIES_MAX;
        match self {
            Self::Ratio { good, valid } => fits(good) && fits(valid),
            Self::Bound(bound) => {
                let per = match &bound.per {
                    SloPer::One | SloPer::Second => true,
                    SloPer::Series(series) => fits(series),
                };
                let when = bound.when.as_ref().is_none_or(|when| fits(&when.series));
                fits(&bound.value) && per && when
            }
        }
    }
}

impl SloPlan {
    /// The objectives that are within the limits; others of a foreign log are not looked at.
    pub fn bounded(&self) -> impl Iterator<Item = &SloObjective> {
        let fitting = self.objectives.iter().filter(|it| it.within_limits());
        fitting.take(SLO_OBJECTIVES_MAX)
    }
}
