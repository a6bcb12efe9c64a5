//! What the outside world asks of the experiment actor, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use hindcast_causal::LabError;
use hindcast_causal::data::Profile;
use hindcast_log::CommitError;
use hindcast_model::event::{FallbackTaken, Idempotency, Outcome};
use hindcast_model::{Digest, EventId, ExperimentId, KeyId, Name16, Refusal, RunId, Seq};

use crate::operation::{Computed, Operation, Question};

/// Who asks, on whose behalf, and under which ids the log will know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The id that the observed event will have.
    pub event_id: EventId,
    /// Shared by everything that one request led to.
    pub correlation: EventId,
    pub principal: Name16,
    /// Whose data these are: they are sealed under a key of this subject's own, which a redaction
    /// shreds. The records name it as the tenant.
    pub subject: Option<Name16>,
}

/// The tenant of what is nobody's in particular.
pub(crate) const NOBODY: &str = "default";
/// What is recorded instead of a name that a caller chose for a subject's data.
pub(crate) const SEALED_NAME: &str = "sealed";

/// What a redaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    pub seq: Seq,
    /// The data keys that are gone.
    pub keys: Vec<KeyId>,
}

/// What a request with an idempotency key was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneAnswer {
    pub idempotency: Idempotency,
    /// Method and path.
    pub request: String,
    pub status: u16,
    /// The media type of the answer.
    pub media: String,
    /// The body of the answer as it is to be repeated; none when it cannot be kept.
    pub text: Option<String>,
}

/// One computation to run.
#[derive(Debug, Clone)]
pub struct RunRequest {
    pub run: RunId,
    pub identity: Identity,
    pub question: Question,
    pub seed: u64,
    /// From the moment it is recorded.
    pub deadline: Option<Duration>,
    /// The deadline is the caller's own, and sooner than the service allows.
    pub caller_deadline: bool,
    pub idempotency: Option<Idempotency>,
    /// Something else may be computed in its place when its breaker does not let it pass.
    pub divert: bool,
}

impl RunRequest {
    /// What is to be computed.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        self.question.operation()
    }
}

/// What became of a request for a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// It is recorded and will be computed.
    Admitted {
        run: RunId,
        seq: Seq,
    },
    /// It was cheap: it is recorded together with how it ended.
    Completed {
        run: RunId,
        seq: Seq,
        /// The result, or the failure as it is recorded.
        result: Result<Arc<Computed>, Box<Outcome>>,
        /// The run whose result it is, when it was not computed.
        original: Option<RunId>,
        computed_micros: u64,
        /// Answered in place of a computation that a breaker did not let pass.
        fallback: Option<FallbackTaken>,
    },
    /// It repeats an earlier request.
    Deduplicated {
        run: RunId,
        original: RunId,
    },
    Refused {
        run: RunId,
        refusal: Refusal,
    },
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubmitFailure {
    /// Too much is waiting; nothing was recorded.
    #[error("{what} is full; try again in {} s", retry_after.as_secs())]
    Busy {
        retry_after: Duration,
        what: &'static str,
    },
    /// What the log would refuse, and is known to: an open breaker, a disk that is nearly full.
    /// Nothing was recorded.
    #[error("{0}; nothing was recorded")]
    Refused(Refusal),
    /// The actor is being rebuilt, or the log takes nothing. Unless the text says otherwise it is
    /// not known whether the request was recorded.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// What the request reads was redacted; nothing was recorded.
    #[error("what is stored is sealed: {0}")]
    Sealed(String),
    #[error(transparent)]
    Log(CommitError),
    /// The request is wrong; nothing was recorded.
    #[error(transparent)]
    Invalid(LabError),
}

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAnswer {
    Cancelled {
        run: RunId,
        seq: Seq,
    },
    /// There is no such run, or it has ended.
    NotOpen {
        run: RunId,
    },
}

/// A file to keep as a dataset.
#[derive(Debug, Clone)]
pub struct Upload {
    pub bytes: Vec<u8>,
    pub name: String,
    pub identity: Identity,
    pub idempotency: Option<Idempotency>,
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq)]
pub enum DatasetAnswer {
    Registered {
        digest: Digest,
        seq: Seq,
        /// The same bytes were there before; of a replay, before its first request.
        known: bool,
        /// The same request came before with the same idempotency key.
        replayed: bool,
        bytes: u64,
        profile: Box<Profile>,
    },
    Refused {
        digest: Digest,
        refusal: Refusal,
    },
}

/// A named series of runs, recorded in one frame.
#[derive(Debug, Clone)]
pub struct ExperimentRequest {
    pub experiment: ExperimentId,
    pub identity: Identity,
    pub name: String,
    /// The request as the caller wrote it.
    pub spec: serde_json::Value,
    pub runs: Vec<RunRequest>,
    pub idempotency: Option<Idempotency>,
}

/// What became of a request for an experiment.
#[derive(Debug, Clone, PartialEq)]
pub enum ExperimentAnswer {
    /// `refused` are runs that will not be computed; the others will.
    Admitted {
        experiment: ExperimentId,
        seq: Seq,
        runs: Vec<RunId>,
        refused: Vec<(RunId, Refusal)>,
    },
    Deduplicated {
        experiment: ExperimentId,
        original: ExperimentId,
    },
    Refused {
        experiment: ExperimentId,
        refusal: Refusal,
    },
}
