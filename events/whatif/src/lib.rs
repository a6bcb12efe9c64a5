//! Counterfactual replay: the log as it would have been, had one thing been otherwise.
//!
//! A history is forked before a sequence. What came from outside (requests, uploads, cancels,
//! samples, starts) happens again as it is recorded, unless it is edited; what was decided is
//! decided again; and what followed from a decision (an outcome of a run, the runs of an
//! experiment) happens only where its cause does. The history with the edit and the one without
//! are driven side by side, and what differs is kept.
//!
//! Nothing here writes. An outcome that was never recorded is asked of a [`World`], or drawn from
//! the recorded ones of its operation; every event says which.

mod compare;
mod drive;
mod edit;
mod minimise;
mod plan;
mod point;
mod runs;
mod samples;
mod slot;
mod timeline;
mod world;

pub use compare::{Difference, Differences, Drift, List};
pub use drive::{Answer, Question, Source, ask, history};
pub use edit::{BadEdit, Edits};
pub use minimise::{Minimal, Outcome, minimise};
pub use point::{PointOfNoReturn, point_of_no_return};
pub use runs::{OperationTotals, Quantiles, RunEnd, RunPair, Side};
pub use timeline::{Basis, Counts, Decide};
pub use world::{Alone, Computed, Task, World};

use hindcast_log::LogError;
use hindcast_model::Seq;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    /// The question does not fit the log.
    #[error("{message}")]
    Bad {
        /// Its JSON path in the question.
        field: String,
        message: String,
        hint: Option<String>,
    },
    /// The log holds what these rules do not know, so that it cannot be decided again.
    #[error("sequence {seq} is of a type that this version does not know")]
    Unknown { seq: Seq },
    /// The caller asked to stop, or the time that it may take is over.
    #[error("stopped after {events} events")]
    Stopped { events: u64 },
    #[error(transparent)]
    Log(#[from] LogError),
}

impl WhatIfError {
    pub(crate) fn bad(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Bad {
            field: field.into(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Bad { field, message, .. } => Self::Bad {
                field,
                message,
                hint: Some(hint.into()),
            },
            other @ (Self::Unknown { .. } | Self::Stopped { .. } | Self::Log(_)) => other,
        }
    }
}
