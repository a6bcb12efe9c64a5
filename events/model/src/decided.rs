//! What the core decided: the payloads of decided events. A released struct is never edited; a new
//! schema is a new struct, and the old one is read through `From`.

use serde::{Deserialize, Serialize};

use crate::breaker::{BreakerCause, BreakerState};
use crate::ids::{Digest, ExperimentId, RunId, UnixMicros};
use crate::refusal::Refusal;
use crate::slo::BurnPair;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAdmitted {
    pub run: RunId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRefused {
    pub run: RunId,
    pub refusal: Refusal,
}

/// The request repeats an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDeduplicated {
    pub run: RunId,
    pub original: RunId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCompleted {
    pub run: RunId,
    pub result_hash: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailed {
    pub run: RunId,
    pub code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCancelled {
    pub run: RunId,
}

/// The dataset can be used; `known` when it could be before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRegistered {
    pub digest: Digest,
    pub known: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRefused {
    pub digest: Digest,
    pub refusal: Refusal,
}

/// The experiment's runs may follow; `original` names the earlier experiment that an idempotency
/// key stands for, and then nothing follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentAdmitted {
    pub experiment: ExperimentId,
    pub original: Option<ExperimentId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentRefused {
    pub experiment: ExperimentId,
    pub refusal: Refusal,
}

/// The last run of the experiment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentCompleted {
    pub experiment: ExperimentId,
    pub tally: Tally,
}

/// How runs ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub refused: u64,
    pub deduplicated: u64,
}

/// No work is admitted until `IntakeResumed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakePaused {
    pub free_bytes: u64,
    pub reserve_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeResumed {}

/// A breaker does something else with calls from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerChanged {
    pub name: String,
    pub from: BreakerState,
    pub to: BreakerState,
    pub cause: BreakerCause,
    /// When it changes again by itself, if nothing else happens.
    pub until: Option<UnixMicros>,
}

/// A breaker did not let a run pass, and something is answered in place of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackTaken {
    pub run: RunId,
    /// The breaker that did not let it pass.
    pub breaker: String,
    pub state: BreakerState,
    pub instead: Instead,
}

/// What is answered. Variants are appended only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instead {
    /// The result of an equal run: it is exact.
    Cached,
    /// Something else is computed: it is approximate.
    Computed {
        /// Such as `boss`.
        to: String,
        /// The breaker that it goes by.
        breaker: String,
    },
}

/// An error budget is frozen from here on, or is not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloBudgetChanged {
    pub objective: String,
    pub frozen: bool,
    /// What was counted over the objective's window.
    pub good: u64,
    pub valid: u64,
    /// Thousandths of the budget that are left, negative when it is overdrawn; none when nothing was
    /// counted.
    pub remaining_permille: Option<i64>,
}

/// An error budget burns too fast from here on, or does not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloBurnChanged {
    pub objective: String,
    pub pair: BurnPair,
    pub burning: bool,
    /// Thousandths of the rate at which the budget lasts for its window, over the long and over the
    /// short window of the pair; none when nothing was counted.
    pub long_milli: Option<u64>,
    pub short_milli: Option<u64>,
}
