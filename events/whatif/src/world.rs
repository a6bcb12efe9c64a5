//! What a history that was not recorded needs from outside: results that were never computed.

use hindcast_model::event::{ExperimentRequested, Outcome, RunRequested};
use hindcast_model::{Digest, KeyId, Payload, RunId};

/// A computation that the recorded history does not hold.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    pub run: RunId,
    pub operation: &'a str,
    /// What a breaker has computed in place of what the spec asks for, such as `boss`.
    pub instead: Option<&'a str>,
    /// The version of the spec.
    pub schema: u16,
    pub spec: &'a Payload,
    /// The data key that seals the spec; 0 when it is readable.
    pub key: KeyId,
    pub seed: u64,
    pub datasets: &'a [Digest],
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Computed {
    /// How the run ends, as the server would have recorded it.
    Outcome(Outcome),
    /// It cannot be computed here: the spec is sealed, the operation is not deterministic, it
    /// takes too long.
    Not,
}

/// Where results come from. Whatever it answers has to follow from what it is asked, or the same
/// question would have two answers.
pub trait World {
    /// Computes a run.
    fn compute(&self, task: &Task<'_>) -> Computed;

    /// The requests for the runs of an experiment, in the order of its ids; `None` when its spec
    /// cannot be read. A seed that the spec does not name is drawn from `seed`.
    fn series(
        &self,
        request: &ExperimentRequested,
        key: KeyId,
        seed: u64,
    ) -> Option<Vec<RunRequested>>;

    /// What results are computed with.
    fn numeric_profile(&self) -> &str;
}

/// Computes nothing: every outcome that was not recorded is drawn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl World for Alone {
    fn compute(&self, _task: &Task<'_>) -> Computed {
        Computed::Not
    }

    fn series(
        &self,
        _request: &ExperimentRequested,
        _key: KeyId,
        _seed: u64,
    ) -> Option<Vec<RunRequested>> {
        None
    }

    fn numeric_profile(&self) -> &str {
        ""
    }
}
