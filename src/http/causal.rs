//! The causal lab's operations. Each is one line; what they share is [`lab`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ContentType, HeaderName, HeaderValue, LOCATION};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::operation::Question;
use hindcast_actors::views::FallbackView;
use hindcast_actors::{Admission, Computed, Lane, Operation, RunRequest};
use hindcast_model::RunId;
use hindcast_model::event::{Idempotency, Outcome};
use serde::Serialize;
use utoipa::ToSchema;

use super::early;
use super::error::{self, Problem};
use super::parameters::{self, Query, Wait};
use super::{App, FALLBACK, Running, body, identity, outcome, subject};
use crate::answer::{Answer, CacheNote, Durations};
use crate::config::FallbackDefault;
use crate::overload::{Gate, Permit, Shed};
use crate::{clock, ids};

/// Says that an answer is that of an earlier request with the same idempotency key.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// `exact`, `cached` or `approx`.
const QUALITY: HeaderName = HeaderName::from_static("x-hindcast-quality");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Find a causal graph in data.
#[utoipa::path(
    post, path = "/api/v1/causal/discover", tag = "causal", operation_id = "discover",
    request_body = hindcast_actors::operation::DiscoverRequest,
    params(super::openapi::LabHeaders),
    responses(
        (status = 200, description = "The graph", body = Answer<'static>),
        (status = 202, description = "It is being computed", body = Accepted),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn discover(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    lab(&app, &request, payload, "causal.discover").await
}

/// Judge whether an effect can be known from observation in a graph, and by which formula.
#[utoipa::path(
    post, path = "/api/v1/causal/validate", tag = "causal", operation_id = "validate",
    request_body = hindcast_actors::operation::ValidateRequest,
    params(super::openapi::LabHeaders),
    responses(
        (status = 200, description = "The verdict", body = Answer<'static>),
        (status = 202, description = "It is being computed", body = Accepted),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn validate(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    lab(&app, &request, payload, "causal.validate").await
}

/// Count, list and explain the paths between two nodes of a graph.
#[utoipa::path(
    post, path = "/api/v1/causal/paths", tag = "causal", operation_id = "paths",
    request_body = hindcast_actors::operation::PathsRequest,
    params(super::openapi::LabHeaders),
    responses(
        (status = 200, description = "The paths", body = Answer<'static>),
        (status = 202, description = "They are being computed", body = Accepted),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn paths(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    lab(&app, &request, payload, "causal.paths").await
}

/// A run that is recorded and has not ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    #[schema(format = "uuid")]
    pub(crate) run_id: String,
    /// `queued` or `running`.
    pub(crate) status: &'static str,
    /// The seed of everything random.
    pub(crate) seed: u64,
    /// Where to ask for the run.
    pub(crate) status_url: String,
    /// Where to follow its progress as server-sent events.
    pub(crate) events_url: String,
}

async fn lab(
    app: &App,
    request: &HttpRequest,
    payload: Payload,
    name: &'static str,
) -> Result<HttpResponse, Problem> {
    let arrived = clock::monotonic_micros();
    let running = app.running()?;
    let http = &app.config.http;
    of_json(request)?;
    let key = parameters::idempotency_key(request, http)?;
    let wait = parameters::wait(request, http);
    let patience = Patience::of(request, arrived)?;
    early::hold(request, gate(app, name), patience.left()).await?;
    let body = body::read(request, payload, &app.memory, http).await?;
    body::check_depth(&body.bytes, http.json_depth_max)?;
    let permit = enter(app, request, (name, &patience)).await?;
    let question = question(app, name, &body.bytes)?;
    let idempotency = key.map(|key| repeated(request, (&key, name), &body.bytes));
    drop(body);
    let run = ids::run();
    let named = question.operation().seed();
    let (seeded, seed) = (named.is_some(), named.unwrap_or_else(ids::seed));
    let (deadline, caller_deadline) = patience.deadline(app)?;
    let admission = running
        .experiment
        .request_run(RunRequest {
            run,
            identity: identity(request)?,
            question,
            seed,
            deadline,
            caller_deadline,
            idempotency,
            divert: divert(app, request)?,
        })
        .await?;
    // What is waited for from here on takes nobody's place.
    drop(permit);
    match admission {
        Admission::Completed {
            result,
            original,
            computed_micros,
            fallback,
            ..
        } => {
            let total = clock::monotonic_micros()
                .saturating_sub(arrived)
                .max(computed_micros);
            let durations = Durations::from_micros(0, computed_micros, total);
            let note = original.map_or_else(|| CacheNote::computed(seeded), CacheNote::hit);
            let quality = outcome::quality(fallback.as_ref().map(FallbackView::of).as_ref());
            immediate((run, name, seed), result, (durations, note, quality))
        }
        // Who does not want to wait is not answered with a result, however quick it was.
        Admission::Admitted { .. } if wait == Wait::Never => {
            Ok(accepted(run, "queued", seed, wait))
        }
        Admission::Admitted { .. } => Box::pin(wait_for(app, running, (run, seeded), wait)).await,
        Admission::Deduplicated { original, .. } => {
            let answered = Box::pin(wait_for(app, running, (original, seeded), wait)).await;
            let mut response = answered.map_err(Problem::replayed)?;
            let replayed = HeaderValue::from_static("true");
            response.headers_mut().insert(REPLAYED, replayed);
            Ok(response)
        }
        Admission::Refused { refusal, .. } => Err(refusal.into()),
    }
}

/// What is asked, which is not read again when it was asked before.
fn question(app: &App, name: &str, body: &[u8]) -> Result<Question, Problem> {
    app.questions.of((name, body), || {
        Ok(Question::new(Operation::parse(name, body::object(body)?)?)?)
    })
}

/// Nothing is asked in the query, and both sides speak JSON.
fn of_json(request: &HttpRequest) -> Result<(), Problem> {
    Query::read(request, &[])?;
    parameters::require_json_accepted(request)?;
    body::require_json(request)
}

/// What an idempotency key stands for: the body, whose data it is, and whether a fallback was spoken of.
fn repeated(request: &HttpRequest, (key, name): (&str, &str), body: &[u8]) -> Idempotency {
    let mut parts = vec![body, subject(request)];
    // A request that does not speak of it stands for what it always did.
    parts.extend(request.headers().get(&FALLBACK).map(HeaderValue::as_bytes));
    body::idempotency(key, name, &parts)
}

/// How long the caller has use for the answer.
struct Patience {
    arrived: u64,
    whole: Option<Duration>,
}

impl Patience {
    fn of(request: &HttpRequest, arrived: u64) -> Result<Self, Problem> {
        let whole = parameters::deadline(request)?;
        Ok(Self { arrived, whole })
    }

    /// What is left of it.
    fn left(&self) -> Option<Duration> {
        let gone = clock::monotonic_micros().saturating_sub(self.arrived);
        let whole = self.whole?;
        Some(whole.saturating_sub(Duration::from_micros(gone)))
    }

    /// How long the run may take from here on, and whether the caller allows it less than is allowed here.
    fn deadline(&self, app: &App) -> Result<(Option<Duration>, bool), Problem> {
        match (self.left(), deadline(app)) {
            (Some(left), _) if left.is_zero() => Err(late()),
            (Some(left), Some(limit)) if limit <= left => Ok((Some(limit), false)),
            (Some(left), _) => Ok((Some(left), true)),
            (None, limit) => Ok((limit, false)),
        }
    }
}

fn late() -> Problem {
    Problem::new(
        &error::CALLER_DEADLINE,
        "the deadline passed before the run was recorded",
    )
    .field("header.hindcast-deadline")
}

/// Whether a request with this idempotency key was recorded before: it is sent again, whatever it
/// says of itself.
fn was_recorded(app: &App, request: &HttpRequest) -> bool {
    let key = request.headers().get(&parameters::IDEMPOTENCY_KEY);
    let Some(key) = key.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let (Ok(running), Ok(own)) = (app.running(), identity(request)) else {
        return false;
    };
    let short = body::idempotency(key, "", &[]).key;
    running
        .log
        .state(|state| state.knows_key(own.principal, short))
}

/// Waits until there is room for one more of this kind.
async fn enter(
    app: &App,
    request: &HttpRequest,
    (name, patience): (&str, &Patience),
) -> Result<Permit, Problem> {
    let left = patience.left();
    let again = parameters::is_retry(request)? || was_recorded(app, request);
    let entered = gate(app, name).enter(again, left).await;
    entered.map_err(|shed| {
        if patience.left().is_some_and(|left| left.is_zero()) {
            return late();
        }
        let detail = match shed {
            Shed::NoRoom => "more came than can wait here",
            Shed::WaitedTooLong => "it waited as long as it may",
            Shed::TooManyRetries => "too many requests were sent again",
        };
        early::turn_away(request, detail)
    })
}

/// The door of this kind of work.
fn gate<'a>(app: &'a App, name: &str) -> &'a Arc<Gate> {
    match Lane::of(name) {
        Lane::Cheap => &app.cheap,
        Lane::Heavy => &app.heavy,
    }
}

/// How long a run may take.
pub(crate) fn deadline(app: &App) -> Option<Duration> {
    let limit = app.config.runs.deadline_ms;
    (limit > 0).then(|| Duration::from_millis(limit))
}

/// Whether something else may be computed in place of what a breaker does not let pass.
pub(crate) fn divert(app: &App, request: &HttpRequest) -> Result<bool, Problem> {
    let default = app.config.breakers.fallback == FallbackDefault::Allow;
    Ok(parameters::fallback(request)?.unwrap_or(default))
}

/// The answer of a run that was computed before it was recorded.
fn immediate(
    (run, operation, seed): (RunId, &'static str, u64),
    result: Result<Arc<Computed>, Box<Outcome>>,
    (durations, note, quality): (Durations, CacheNote, (String, Option<String>)),
) -> Result<HttpResponse, Problem> {
    match result.map_err(|failure| *failure) {
        Ok(computed) => Ok(completed(&Answer {
            run_id: Some(run.to_string()),
            status: "completed",
            operation: operation.to_owned(),
            seed,
            durations,
            result_hash: computed.hash.to_string(),
            algorithm_version: computed.algorithm_version.clone(),
            quality: quality.0,
            quality_reason: quality.1,
            cache: Some(note),
            result: Cow::Borrowed(computed.json.raw()),
        })),
        Err(Outcome::Failed {
            code,
            field,
            message,
            hint,
        }) => Err(outcome::failure(&code, field, message, hint).run(run)),
        Err(Outcome::Completed { .. } | Outcome::Reused { .. }) => {
            Err(Problem::new(&error::INTERNAL, "a result was told as a failure").run(run))
        }
    }
}

fn completed(answer: &Answer<'_>) -> HttpResponse {
    let location = format!("/api/v1/runs/{}", answer.run_id.as_deref().unwrap_or(""));
    let quality = match answer.quality.as_str() {
        "approximate" => "approx",
        other => other,
    };
    HttpResponse::Ok()
        .insert_header((actix_web::http::header::CONTENT_LOCATION, location))
        .insert_header((QUALITY, quality))
        .content_type(ContentType::json())
        .body(answer.to_json())
}

/// The run's answer if it ends in time, else where to look for it. It is boxed where it is awaited,
/// so that what is answered at once takes less room.
async fn wait_for(
    app: &App,
    running: &Running,
    (run, seeded): (RunId, bool),
    wait: Wait,
) -> Result<HttpResponse, Problem> {
    let answer = || {
        let mut answer = outcome::answer(running, run)?;
        answer
            .cache
            .get_or_insert_with(|| CacheNote::computed(seeded));
        Ok(completed(&answer))
    };
    let patience = match wait {
        Wait::Never => Duration::ZERO,
        Wait::UpTo(patience) => patience,
    };
    let mut watch = running.experiment.watch(run)?;
    if !watch.is_over() && !patience.is_zero() {
        // Both ends are looked at below: the wait may also end because the server stops.
        tokio::select! {
            () = watch.over() => {}
            () = app.stopped() => {}
            () = tokio::time::sleep(patience) => {}
        }
    }
    if watch.is_over() {
        return answer();
    }
    let status = match watch.progress() {
        Some(_) => "running",
        None => "queued",
    };
    let seed = running
        .log
        .state(|state| state.run(run).map(|open| open.seed));
    let Some(seed) = seed else {
        return answer();
    };
    Ok(accepted(run, status, seed, wait))
}

fn accepted(run: RunId, status: &'static str, seed: u64, wait: Wait) -> HttpResponse {
    let accepted = Accepted {
        run_id: run.to_string(),
        status,
        seed,
        status_url: format!("/api/v1/runs/{run}"),
        events_url: format!("/api/v1/runs/{run}/events"),
    };
    let mut builder = HttpResponse::Accepted();
    builder.insert_header((LOCATION, accepted.status_url.as_str()));
    if wait == Wait::Never {
        builder.insert_header((PREFERENCE_APPLIED, "respond-async"));
    }
    builder.json(accepted)
}
