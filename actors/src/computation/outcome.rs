//! How a computation ended, as the log says it.

use std::sync::Arc;

use hindcast_causal::{LabError, Stop};
use hindcast_log::{PayloadError, VaultError};
use hindcast_model::event::Outcome;
use hindcast_model::state::OpenRun;
use hindcast_model::{KeyId, Payload, RunId};

use crate::operation::Computed;
use crate::results::Kept;

/// A result, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    Computed(Arc<Computed>),
    /// The result of an earlier run.
    Reused {
        original: RunId,
        computed: Arc<Computed>,
    },
    Failed(Outcome),
}

impl From<Kept> for Ending {
    fn from(Kept { original, computed }: Kept) -> Self {
        Self::Reused { original, computed }
    }
}

/// The outcome of a run that was answered with the result of an earlier one.
pub(crate) fn reused(original: RunId, computed: &Computed) -> Outcome {
    Outcome::Reused {
        original,
        result_hash: computed.hash,
        schema: computed.schema,
        algorithm_version: computed.algorithm_version.clone(),
    }
}

/// The outcome of a run whose result is stored as `result`.
pub(crate) fn completed(result: Payload, computed: &Computed) -> Outcome {
    Outcome::Completed {
        result,
        result_hash: computed.hash,
        schema: computed.schema,
        algorithm_version: computed.algorithm_version.clone(),
    }
}

/// What the hint of an outcome with the code `too_large` begins with; the limit follows.
pub const LIMIT_HINT: &str = "at most ";

/// The stable word for a lab's error.
pub(crate) const fn code(error: &LabError) -> &'static str {
    match error {
        LabError::Invalid { .. } => "invalid",
        LabError::TooLarge { .. } => "too_large",
        LabError::Stopped(Stop::DeadlineExceeded) => "deadline_exceeded",
        LabError::FailedVerification { .. } => "failed_verification",
        LabError::Stopped(Stop::Cancelled) | LabError::Internal(_) => "internal",
    }
}

/// The outcome of a lab's error.
pub(crate) fn failed(error: &LabError) -> Outcome {
    let (field, message, hint) = match error {
        LabError::Invalid {
            field,
            message,
            hint,
        } => (Some(field.clone()), message.clone(), hint.clone()),
        LabError::TooLarge { field, limit, .. } => (
            Some(field.clone()),
            error.to_string(),
            Some(format!("{LIMIT_HINT}{limit}")),
        ),
        LabError::Stopped(Stop::DeadlineExceeded) => {
            (None, "the deadline has passed".to_owned(), None)
        }
        LabError::Stopped(Stop::Cancelled) => (None, "stopped without a reason".to_owned(), None),
        LabError::FailedVerification { .. } => (None, error.to_string(), None),
        LabError::Internal(message) => (None, message.clone(), None),
    };
    Outcome::Failed {
        code: code(error).to_owned(),
        field,
        message,
        hint,
    }
}

/// The outcome of a defect that unwound.
pub(crate) fn panicked(message: &str) -> Outcome {
    fault("panicked", message.to_owned())
}

/// A failure that is ours and not the request's.
pub(crate) fn internal(message: String) -> Outcome {
    fault("internal", message)
}

/// The outcome of a run whose spec cannot be read.
pub(crate) fn unreadable(error: &PayloadError) -> Outcome {
    let code = match error {
        PayloadError::Sealed(_) => "sealed",
        PayloadError::Blob(_) | PayloadError::NotText => "internal",
    };
    fault(code, format!("the spec cannot be read: {error}"))
}

/// The outcome of a run whose dataset cannot be read any more.
pub(crate) fn closed(error: &VaultError) -> Outcome {
    fault("sealed", format!("the dataset cannot be read: {error}"))
}

/// What a lab says of a sealed request, as it may stand readable in the log: its message may quote
/// the request.
pub(crate) fn withheld(mut outcome: Outcome, key: KeyId) -> Outcome {
    if let Outcome::Failed {
        code,
        message,
        hint,
        ..
    } = &mut outcome
        && key != KeyId(0)
        && code != "deadline_exceeded"
    {
        "the message is not recorded: it may quote the sealed request".clone_into(message);
        *hint = None;
    }
    outcome
}

fn fault(code: &str, message: String) -> Outcome {
    Outcome::Failed {
        code: code.to_owned(),
        field: None,
        message,
        hint: None,
    }
}

/// The record that asked for a run, and the trace of the request that it belongs to.
pub(crate) fn asked_by(open: &OpenRun) -> (u64, String) {
    let trace = u128::from_be_bytes(open.requested.correlation.bytes());
    (open.requested.seq.0, format!("{trace:032x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_ones_of_the_log() {
        let code = |error: &LabError| match failed(error) {
            Outcome::Failed { code, .. } => code,
            Outcome::Completed { .. } | Outcome::Reused { .. } => "completed".to_owned(),
        };
        assert_eq!(code(&LabError::invalid("data[0]", "is wrong")), "invalid");
        let large = LabError::TooLarge {
            field: "rows".to_owned(),
            actual: 3,
            limit: 2,
        };
        assert_eq!(code(&large), "too_large");
        assert_eq!(code(&Stop::DeadlineExceeded.into()), "deadline_exceeded");
        assert_eq!(code(&LabError::Internal(String::new())), "internal");
        let wrong = LabError::FailedVerification {
            max_error: 0.25,
            tolerance: 1e-6,
            method: "random_binary_models".to_owned(),
        };
        assert_eq!(code(&wrong), "failed_verification");
    }
}
