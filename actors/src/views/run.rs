//! One run, from its request to its end.

use hindcast_log::{Body, Recorded};
use hindcast_model::breaker::{CALLER_DEADLINE, DEADLINE_EXCEEDED, DEADLINE_UNSERVED};
use hindcast_model::event::{
    Event, FallbackTaken, Instead, Outcome, OutcomeObserved, RunRequested,
};
use hindcast_model::state::OpenRun;
use hindcast_model::{KeyId, Payload, RunId};
use serde::Serialize;
use serde_json::Value;

use super::Read;
use super::event::kind;
use super::time::rfc3339;
use crate::computation::control::Progress;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
    Refused,
    Deduplicated,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunError {
    pub code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub field: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub hint: Option<String>,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Durations {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub queued_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub computed_ms: Option<f64>,
    /// From the request to the end, as the log saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub total_ms: Option<f64>,
}

/// One event that the run consists of, and what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cause {
    pub seq: u64,
    pub event_id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub causation: String,
}

/// What was answered in place of what a circuit breaker did not let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FallbackView {
    /// `cached` or `approximate`.
    pub quality: String,
    /// The breaker that did not let it pass, and what it was then.
    pub breaker: String,
    pub breaker_state: String,
    /// The algorithm that was computed instead; none when the result was at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub computed: Option<String>,
    pub reason: String,
}

impl FallbackView {
    /// As a decision says it.
    #[must_use]
    pub fn of(taken: &FallbackTaken) -> Self {
        let (breaker, state) = (&taken.breaker, taken.state);
        let (quality, computed, what) = match &taken.instead {
            Instead::Cached => (
                "cached",
                None,
                "this is the exact result of an equal run".to_owned(),
            ),
            Instead::Computed { to, .. } => (
                "approximate",
                Some(to.clone()),
                format!("{to} was computed in place of what was asked for"),
            ),
        };
        Self {
            quality: quality.to_owned(),
            breaker: breaker.clone(),
            breaker_state: state.word().to_owned(),
            computed,
            reason: format!("the breaker {breaker} is {state}: {what}"),
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunView {
    pub run_id: String,
    pub operation: String,
    pub status: RunStatus,
    /// As it was asked for, with the seed that was used.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub request: Value,
    pub seed: u64,
    pub spec_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Object, nullable = false))]
    pub result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub result_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub error: Option<RunError>,
    /// What was answered in place of what a circuit breaker did not let pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub fallback: Option<FallbackView>,
    /// The run whose answer stands for this one: its result was reused, or this repeats it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub original: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = super::ProgressSchema, nullable = false))]
    pub progress: Option<Progress>,
    pub durations: Durations,
    pub requested_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub numeric_profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub algorithm_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub experiment: Option<String>,
    pub correlation: String,
    pub principal: String,
    /// Computed before it was recorded, in the same frame.
    pub immediate: bool,
    pub causation: Vec<Cause>,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// The view of a run from its stream, in order. `None` when the stream holds no request. A run
/// that is open is `running` when it has progress.
#[must_use]
pub fn run(events: &[Recorded], progress: Option<Progress>, read: &Read<'_>) -> Option<RunView> {
    let (first, request) = events.iter().find_map(|recorded| match &recorded.body {
        Body::Known(Event::RunRequested(request)) => Some((recorded, request)),
        Body::Known(_) | Body::Unknown { .. } => None,
    })?;
    let mut view = requested(first, request, read);
    for recorded in events {
        view.last_seq = recorded.seq().0;
        view.causation.push(Cause {
            seq: recorded.seq().0,
            event_id: recorded.context.event_id.to_string(),
            kind: kind(&recorded.body),
            causation: recorded.causation.to_string(),
        });
        if let Body::Known(event) = &recorded.body {
            fold(&mut view, (recorded.context.key, event), read);
            if view.status != RunStatus::Queued && view.finished_at.is_none() {
                view.finished_at = Some(rfc3339(recorded.context.at));
                let total = millis(recorded.context.at.since(first.context.at));
                // What is cheap was computed before the log saw the request.
                let computed = view.durations.computed_ms.unwrap_or(0.0);
                view.durations.total_ms = Some(total.max(computed));
            }
        }
    }
    if view.status == RunStatus::Queued && progress.is_some() {
        view.status = RunStatus::Running;
        view.progress = progress;
    }
    Some(view)
}

/// The view of a run that has not ended, from the state alone: for lists.
#[must_use]
pub fn open_run(id: RunId, open: &OpenRun, progress: Option<Progress>) -> RunView {
    let at = &open.requested;
    RunView {
        run_id: id.to_string(),
        operation: open.operation.clone(),
        status: if progress.is_some() {
            RunStatus::Running
        } else {
            RunStatus::Queued
        },
        request: open.spec.as_ref().map_or(Value::Null, |spec| {
            seeded((open.requested.key, spec), open.seed, &super::unread)
        }),
        seed: open.seed,
        spec_hash: open.spec_hash.to_string(),
        result: None,
        result_hash: None,
        error: None,
        fallback: None,
        original: None,
        progress,
        durations: Durations::default(),
        requested_at: rfc3339(at.at),
        finished_at: None,
        numeric_profile: None,
        algorithm_version: None,
        experiment: open.experiment.map(|id| id.to_string()),
        correlation: at.correlation.to_string(),
        principal: at.principal.to_string(),
        immediate: open.spec.is_none(),
        causation: Vec::new(),
        first_seq: at.seq.0,
        last_seq: at.seq.0,
    }
}

fn requested(first: &Recorded, request: &RunRequested, read: &Read<'_>) -> RunView {
    RunView {
        run_id: request.run.to_string(),
        operation: request.operation.clone(),
        status: RunStatus::Queued,
        request: seeded((first.context.key, &request.spec), request.seed, read),
        seed: request.seed,
        spec_hash: request.spec_hash.to_string(),
        result: None,
        result_hash: None,
        error: None,
        fallback: None,
        original: None,
        progress: None,
        durations: Durations::default(),
        requested_at: rfc3339(first.context.at),
        finished_at: None,
        numeric_profile: None,
        algorithm_version: None,
        experiment: request.experiment.map(|id| id.to_string()),
        correlation: first.context.correlation.to_string(),
        principal: first.context.principal.to_string(),
        immediate: request.immediate,
        causation: Vec::new(),
        first_seq: first.seq().0,
        last_seq: first.seq().0,
    }
}

fn seeded((key, spec): (KeyId, &Payload), seed: u64, read: &Read<'_>) -> Value {
    let Some(mut request) = super::readable(key, spec, read) else {
        return super::reference(key, spec);
    };
    if let Value::Object(fields) = &mut request {
        fields.insert("seed".to_owned(), Value::from(seed));
    }
    request
}

fn fold(view: &mut RunView, (key, event): (KeyId, &Event), read: &Read<'_>) {
    if let Event::FallbackTaken(taken) = event {
        view.fallback = Some(FallbackView::of(taken));
    } else if let Event::OutcomeObserved(observed) = event {
        outcome(view, (key, observed), read);
    } else if let Event::RunCompleted(_) = event {
        view.status = RunStatus::Completed;
    } else if let Event::RunFailed(failed) = event {
        view.status = RunStatus::Failed;
        // A deadline passes without an outcome.
        let error = view.error.get_or_insert_with(|| RunError {
            code: failed.code.clone(),
            field: None,
            message: match failed.code.as_str() {
                DEADLINE_EXCEEDED => "the deadline has passed".to_owned(),
                DEADLINE_UNSERVED => "the deadline passed while no server ran".to_owned(),
                other => other.to_owned(),
            },
            hint: None,
        });
        // The outcome does not know whose deadline it was.
        if failed.code == CALLER_DEADLINE {
            error.code.clone_from(&failed.code);
            error.message = "the deadline that the caller gave has passed".to_owned();
        }
    } else if let Event::RunCancelled(_) = event {
        view.status = RunStatus::Cancelled;
    } else if let Event::RunRefused(refused) = event {
        view.status = RunStatus::Refused;
        view.error = Some(RunError {
            code: "refused".to_owned(),
            field: None,
            message: refused.refusal.to_string(),
            hint: None,
        });
    } else if let Event::RunDeduplicated(repeated) = event {
        view.status = RunStatus::Deduplicated;
        view.original = Some(repeated.original.to_string());
    }
}

fn outcome(view: &mut RunView, (key, observed): (KeyId, &OutcomeObserved), read: &Read<'_>) {
    view.numeric_profile = Some(observed.numeric_profile.clone());
    view.durations.queued_ms = Some(millis(observed.queued_micros));
    view.durations.computed_ms = Some(millis(observed.computed_micros));
    match &observed.outcome {
        Outcome::Completed {
            result,
            result_hash,
            algorithm_version,
            ..
        } => {
            view.result = Some(super::payload(key, result, read));
            view.result_hash = Some(result_hash.to_string());
            view.algorithm_version = Some(algorithm_version.clone());
        }
        Outcome::Reused {
            original,
            result_hash,
            algorithm_version,
            ..
        } => {
            view.original = Some(original.to_string());
            view.result_hash = Some(result_hash.to_string());
            view.algorithm_version = Some(algorithm_version.clone());
        }
        Outcome::Failed {
            code,
            field,
            message,
            hint,
        } => {
            view.error = Some(RunError {
                code: code.clone(),
                field: field.clone(),
                message: message.clone(),
                hint: hint.clone(),
            });
        }
    }
}

fn millis(micros: u64) -> f64 {
    crate::supervisor::as_f64(micros) / 1e3
}
