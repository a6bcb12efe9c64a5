//! Counterfactual replay as it is asked from outside: a question in JSON, checked against the log,
//! and its answer in JSON. The one code path of server and command line. Nothing is written.

mod event;
mod question;
mod view;
mod world;

use std::time::Duration;

use hindcast_log::Clock;
use hindcast_model::state::Context;
use hindcast_model::{Digest, Event, Seq, State};
use hindcast_whatif::{Edits, Outcome, Question, WhatIfError, ask, minimise, point_of_no_return};

use crate::history::{HistoryError, Source};
use crate::operation::{self, LabError};
use world::Laboratory;

pub use question::{ClockEdit, Edit, Injection, OutcomeSpec, WhatIfRequest, span_ms};
pub use view::{
    BasisCounts, DriftExample, DriftView, EventDifference, EventList, ForkEvent, MinimalView,
    OperationView, PointView, QuantilesView, RunDifference, RunEndView, RunList, SideView,
    StateHashes, WhatIf,
};

/// Differences that are listed if the question does not say.
pub const DIFFERENCES_DEFAULT: u32 = 100;
/// Differences that are listed at most.
pub const DIFFERENCES_MAX: u32 = 1_000;
/// Edits of one question.
pub const EDITS_MAX: usize = 1_000;
/// Drives of one search for the smallest set of events.
pub const REPLAYS_MAX: u64 = 512;
/// The seed of everything that is drawn, if the question names none.
pub const SEED_DEFAULT: u64 = 0;

/// How much a question may take.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    pub clock: &'a dyn Clock,
    /// For the whole answer.
    pub time_max: Duration,
    /// Results that are computed again.
    pub recomputed_max: u64,
    /// For each of them.
    pub compute_max: Duration,
    /// Whether nobody waits for the answer any more.
    pub gone: &'a (dyn Fn() -> bool + Sync),
}

/// When to stop.
#[derive(Clone, Copy)]
struct Until<'a> {
    clock: &'a dyn Clock,
    /// Microseconds of the monotonic clock.
    until: u64,
    gone: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Until<'a> {
    fn over(&self) -> bool {
        (self.gone)() || self.clock.monotonic() > self.until
    }

    /// The same, but after `span` at the latest.
    fn within(&self, span: Duration) -> Self {
        let until = self.clock.monotonic() + crate::budget::micros(span);
        Self {
            until: until.min(self.until),
            ..*self
        }
    }
}

/// Reads the operations of an experiment's spec, with their seeds; those that it does not name are
/// drawn by the function.
pub type Series =
    dyn Fn(&str, &mut dyn FnMut() -> u64) -> Option<Vec<(operation::Question, u64)>> + Sync;

/// What a result is computed with where it was never recorded.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    pub series: &'a Series,
    pub numeric_profile: &'a str,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfFailure {
    /// The question is wrong.
    #[error("{message}")]
    Bad {
        /// Its JSON path in the question.
        field: String,
        message: String,
        hint: Option<String>,
        limit: Option<u64>,
    },
    /// It took longer than it may.
    #[error("the answer takes longer than {limit_ms} ms; {events} events were replayed")]
    TooLong { limit_ms: u64, events: u64 },
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl WhatIfFailure {
    fn bad(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Bad {
            field: field.into(),
            message: message.into(),
            hint: None,
            limit: None,
        }
    }

    fn hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Bad {
                field,
                message,
                limit,
                ..
            } => Self::Bad {
                field,
                message,
                limit,
                hint: Some(text.into()),
            },
            other @ (Self::TooLong { .. } | Self::History(_)) => other,
        }
    }

    fn limit(self, most: u64) -> Self {
        match self {
            Self::Bad {
                field,
                message,
                hint,
                ..
            } => Self::Bad {
                field,
                message,
                hint,
                limit: Some(most),
            },
            other @ (Self::TooLong { .. } | Self::History(_)) => other,
        }
    }

    /// What is wrong with an operation below `at`.
    fn lab(at: &str, error: &LabError) -> Self {
        let below = |field: &str| match field {
            "" | "body" => at.to_owned(),
            field => format!("{at}.{field}"),
        };
        match error {
            LabError::Invalid {
                field,
                message,
                hint,
            } => Self::Bad {
                field: below(field),
                message: message.clone(),
                hint: hint.clone(),
                limit: None,
            },
            LabError::TooLarge { field, limit, .. } => {
                Self::bad(below(field), error.to_string()).limit(*limit)
            }
            LabError::Stopped(_) | LabError::FailedVerification { .. } | LabError::Internal(_) => {
                Self::bad(at, error.to_string())
            }
        }
    }
}

impl From<hindcast_log::LogError> for WhatIfFailure {
    fn from(error: hindcast_log::LogError) -> Self {
        Self::History(HistoryError::Log(error))
    }
}

/// A question that fits the log.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(crate) at: Seq,
    pub(crate) to: Seq,
    pub(crate) edits: Edits,
    pub(crate) seed: u64,
    limit: usize,
    minimise: Option<Outcome>,
    point: Option<Outcome>,
    hash: Digest,
}

impl Prepared {
    /// The first event that may be otherwise.
    #[must_use]
    pub const fn at(&self) -> Seq {
        self.at
    }

    /// How many edits there are.
    #[must_use]
    pub fn edits(&self) -> u32 {
        u32::try_from(self.edits.count()).unwrap_or(u32::MAX)
    }

    /// Over the canonical JSON of the question.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// What would have been.
    pub fn answer(
        &self,
        source: &dyn Source,
        (means, bounds): (Means<'_>, Bounds<'_>),
    ) -> Result<WhatIf, WhatIfFailure> {
        let until = Until {
            clock: bounds.clock,
            until: u64::MAX,
            gone: bounds.gone,
        };
        let until = until.within(bounds.time_max);
        let laboratory = Laboratory::new(source, means, (until, bounds.compute_max), self.at);
        let start = match self.at.0 {
            1 => State::default(),
            at => {
                let moment = hindcast_snapshots::at(source.reader(), Seq(at - 1))?;
                if let Some(what) = moment.unknown {
                    let message = format!("{what}, which this version does not know");
                    return Err(WhatIfFailure::bad("at", message));
                }
                moment.state
            }
        };
        let question = Question {
            at: self.at,
            to: self.to,
            edits: &self.edits,
            from: self.at,
            seed: self.seed,
            limit: self.limit,
            recompute_max: bounds.recomputed_max,
            decide: &decide,
            world: &laboratory,
            stop: &|| until.over(),
        };
        let failed = |error| failure(error, bounds.time_max);
        let reader = source.reader();
        let answer = ask(reader, start.clone(), &question).map_err(failed)?;
        let minimal = self
            .minimise
            .as_ref()
            .map(|outcome| minimise(reader, start.clone(), &question, outcome, REPLAYS_MAX));
        let point = self
            .point
            .as_ref()
            .map(|outcome| point_of_no_return(reader, start.clone(), &question, outcome));
        let minimal = minimal.transpose().map_err(failed)?;
        let point = point.transpose().map_err(failed)?;
        view::view(self, answer, (minimal, point))
    }
}

fn decide(state: &State, context: &Context, event: &Event) -> Vec<Event> {
    state.decide(context, event)
}

fn failure(error: WhatIfError, time_max: Duration) -> WhatIfFailure {
    match error {
        WhatIfError::Bad {
            field,
            message,
            hint,
        } => WhatIfFailure::Bad {
            field,
            message,
            hint,
            limit: None,
        },
        WhatIfError::Unknown { seq } => WhatIfFailure::bad(
            "at",
            format!("sequence {seq} is of a type that this version does not know"),
        )
        .hint("a newer version wrote it, and can tell"),
        WhatIfError::Stopped { events } => WhatIfFailure::TooLong {
            limit_ms: u64::try_from(time_max.as_millis()).unwrap_or(u64::MAX),
            events,
        },
        WhatIfError::Log(error) => error.into(),
    }
}
