//! What can be wrong with a request to the lab. Every variant that a user can cause names the
//! field and, where there is one, the limit.

use crate::control::Stop;

/// Why the lab gave no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LabError {
    /// A field of the request is wrong; `field` is a JSON path such as `data[3][1]`.
    #[error("{field}: {message}")]
    Invalid {
        field: String,
        message: String,
        hint: Option<String>,
    },
    /// A limit of the server or the method; `limit` is the largest value allowed.
    #[error("{field}: {actual} is over the limit of {limit}")]
    TooLarge {
        field: String,
        actual: u64,
        limit: u64,
    },
    /// The caller stopped the computation.
    #[error("stopped: {0:?}")]
    Stopped(Stop),
    /// A defect of ours that an operator has to hear of: an estimand differs from the truth on a
    /// random model of its own graph. No answer is given.
    #[error(
        "the estimand differs from the truth by {max_error:e} on {method}; {tolerance:e} is \
         allowed"
    )]
    FailedVerification {
        /// The largest difference; infinite if the estimand had no value.
        max_error: f64,
        /// What counts as rounding.
        tolerance: f64,
        /// The random models that it was compared on.
        method: String,
    },
    /// A defect of ours: an internal check failed, so there is no answer to give.
    #[error("internal check failed: {0}")]
    Internal(String),
}

impl LabError {
    /// A wrong field, without a hint.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// A wrong field and what to do about it.
    pub fn invalid_with_hint(
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field: field.into(),
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

impl From<Stop> for LabError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}
