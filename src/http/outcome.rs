//! The answer of a run that has ended: its result, wherever that stands, or the problem that it
//! ended with.

use std::borrow::Cow;

use hindcast_actors::views::{self, FallbackView, RunStatus};
use hindcast_log::{PayloadError, Recorded};
use hindcast_model::breaker::{CALLER_DEADLINE, DEADLINE_EXCEEDED, DEADLINE_UNSERVED};
use hindcast_model::event::{Event, Outcome};
use hindcast_model::{Digest, KeyId, Payload, RunId, Stream};
use serde_json::value::RawValue;

use super::Running;
use super::error::{self, Problem};
use super::runs::unknown;
use crate::answer::{Answer, CacheNote, Durations, EXACT, raw};

/// The answer of a run that has ended, or the problem that it ended with.
pub(crate) fn answer(running: &Running, run: RunId) -> Result<Answer<'static>, Problem> {
    let events = running.log.read_stream(Stream::run(run))?;
    let view = views::run(&events, None, &views::unread).ok_or_else(|| unknown(run))?;
    let stored = match view.status == RunStatus::Completed {
        true => stored_result(running, &events)?,
        false => None,
    };
    let quality = quality(view.fallback.as_ref());
    match (view.status, stored) {
        (RunStatus::Completed, Some(stored)) => Ok(Answer {
            run_id: Some(run.to_string()),
            status: "completed",
            operation: view.operation,
            seed: view.seed,
            durations: Durations {
                queued_ms: view.durations.queued_ms.unwrap_or(0.0),
                computed_ms: view.durations.computed_ms.unwrap_or(0.0),
                total_ms: view.durations.total_ms.unwrap_or(0.0),
            },
            result_hash: stored.hash.to_string(),
            algorithm_version: stored.algorithm_version,
            quality: quality.0,
            quality_reason: quality.1,
            cache: stored.original.map(CacheNote::hit),
            result: Cow::Owned(answered(text(running, stored.key, stored.result))?),
        }),
        (RunStatus::Cancelled, _) => Err(Problem::new(&error::CANCELLED, "the run was cancelled")
            .run(run)
            .counted()),
        (_, _) => {
            let problem = match view.error {
                Some(e) => failure(&e.code, e.field, e.message, e.hint),
                None => Problem::new(&error::INTERNAL, "the run has no outcome"),
            };
            Err(problem.run(run))
        }
    }
}

/// The quality of an answer, and why it is not simply exact.
pub(super) fn quality(fallback: Option<&FallbackView>) -> (String, Option<String>) {
    match fallback {
        Some(fallback) => (fallback.quality.clone(), Some(fallback.reason.clone())),
        None => (EXACT.to_owned(), None),
    }
}

/// The result of a run as an outcome holds it: its own, or that of the run it was taken from.
pub(super) struct Stored {
    /// The key that its record names.
    pub(super) key: KeyId,
    pub(super) result: Payload,
    hash: Digest,
    algorithm_version: String,
    /// The run that it was taken from.
    original: Option<RunId>,
}

/// `None` when the run has no result.
pub(super) fn stored_result(
    running: &Running,
    events: &[Recorded],
) -> Result<Option<Stored>, Problem> {
    let Some((_, Outcome::Reused { original, .. })) = outcome(events) else {
        return Ok(own_result(events));
    };
    let there = running.log.read_stream(Stream::run(*original))?;
    let Some(stored) = own_result(&there) else {
        let message = format!("the run {original}, whose result this is, has none");
        return Err(Problem::new(&error::INTERNAL, message));
    };
    Ok(Some(Stored {
        original: Some(*original),
        ..stored
    }))
}

fn own_result(events: &[Recorded]) -> Option<Stored> {
    let (key, outcome) = outcome(events)?;
    let Outcome::Completed {
        result,
        result_hash,
        algorithm_version,
        ..
    } = outcome
    else {
        return None;
    };
    Some(Stored {
        key,
        result: result.clone(),
        hash: *result_hash,
        algorithm_version: algorithm_version.clone(),
        original: None,
    })
}

fn outcome(events: &[Recorded]) -> Option<(KeyId, &Outcome)> {
    events.iter().find_map(|recorded| {
        let Event::OutcomeObserved(observed) = recorded.event()? else {
            return None;
        };
        Some((recorded.context.key, &observed.outcome))
    })
}

pub(super) fn text(running: &Running, key: KeyId, stored: Payload) -> Result<String, PayloadError> {
    match stored {
        Payload::Inline(text) => Ok(text),
        stored @ (Payload::Blob { .. } | Payload::Sealed { .. }) => {
            let text = running.vault.text(running.log.blobs(), key, &stored)?;
            Ok(text.into_owned())
        }
    }
}

/// A result as it goes into an answer.
pub(crate) fn raw_result(text: String) -> Result<Box<RawValue>, Problem> {
    raw(text).map_err(|wrong| Problem::new(&error::INTERNAL, wrong.to_string()))
}

pub(super) fn answered(text: Result<String, PayloadError>) -> Result<Box<RawValue>, Problem> {
    match text {
        Ok(text) => raw_result(text),
        Err(error) => Err(error.into()),
    }
}

/// The limit that a recorded outcome of the code `too_large` names in its hint.
fn limit_in(hint: &str) -> Option<u64> {
    hint.strip_prefix(hindcast_actors::LIMIT_HINT)?.parse().ok()
}

/// The problem of a run that failed with this code.
pub(crate) fn failure(
    code: &str,
    field: Option<String>,
    message: String,
    hint: Option<String>,
) -> Problem {
    let mut problem = match (code, field) {
        ("invalid", Some(field)) => error::invalid(field, message, hint),
        ("invalid", None) => Problem::new(&error::INVALID, message).hint(hint),
        ("too_large", field) => {
            let limit = hint.as_deref().and_then(limit_in);
            let mut problem = Problem::new(&error::OVER_LIMIT, message).hint(hint);
            if let Some(field) = field {
                problem = problem.field(field);
            }
            match limit {
                Some(limit) => problem.limit(limit),
                None => problem,
            }
        }
        (DEADLINE_EXCEEDED | DEADLINE_UNSERVED, _) => {
            Problem::new(&error::DEADLINE, message).hint(hint)
        }
        (CALLER_DEADLINE, _) => {
            let problem = Problem::new(&error::CALLER_DEADLINE, message);
            problem.field("header.hindcast-deadline").hint(hint)
        }
        ("sealed", _) => Problem::new(&error::GONE, message).hint(hint),
        (_, _) => Problem::new(&error::INTERNAL, message).hint(hint),
    };
    problem = problem.counted();
    problem
}
