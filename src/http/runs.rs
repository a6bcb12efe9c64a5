//! Runs: one, many, their progress, and their end.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::operation::Operation;
use hindcast_actors::views::{self, RunStatus, RunView};
use hindcast_actors::{CancelAnswer, Progress, RunWatch};
use hindcast_log::{PayloadError, Recorded};
use hindcast_model::event::Event;
use hindcast_model::limits::NAME_CHARS_MAX;
use hindcast_model::{RunId, Seq, Stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Duration;
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::outcome::{Stored, answered, stored_result, text};
use super::parameters::{self, Query};
use super::{App, Running, blocking, body, identity, scan, stream};

/// How often the progress of a run is looked at for a stream.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A run with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunDocument {
    #[serde(flatten)]
    view: RunView,
    /// The result as it was computed, in canonical JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    result: Option<Box<RawValue>>,
}

/// A run in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunSummary {
    pub(crate) run_id: String,
    pub(crate) operation: String,
    #[schema(inline)]
    pub(crate) status: RunStatus,
    pub(crate) seed: u64,
    pub(crate) durations: views::Durations,
    pub(crate) requested_at: String,
    pub(crate) finished_at: Option<String>,
    pub(crate) experiment: Option<String>,
    pub(crate) result_hash: Option<String>,
    /// Why there is no result.
    pub(crate) error: Option<views::RunError>,
}

/// A page of runs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunPage {
    pub(crate) items: Vec<RunSummary>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next: Option<String>,
}

pub(super) fn unknown(run: RunId) -> Problem {
    Problem::new(&error::NOT_FOUND, format!("there is no run {run}")).field("path.id")
}

fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse()
        .map_err(|_| Problem::new(&error::NOT_FOUND, "a run's id is a UUID").field("path.id"))
}

/// One run: state, request, result, timings and what led to what.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}", tag = "runs", operation_id = "run",
    params(("id" = String, Path, description = "The run's id", format = "uuid")),
    responses(
        (status = 200, description = "The run", body = RunDocument),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn show(
    app: Data<App>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let run = run_id(&id)?;
    let document = blocking(&app, move |running| document(running, run)).await?;
    Ok(HttpResponse::Ok().json(document))
}

fn document(running: &Running, run: RunId) -> Result<RunDocument, Problem> {
    let progress = running.computation.progress(run);
    let events = running.log.read_stream(Stream::run(run))?;
    let read = |key, payload: &_| running.read(key, payload);
    let mut view = views::run(&events, progress, &read).ok_or_else(|| unknown(run))?;
    view.result = None;
    let stored = match view.status == RunStatus::Completed {
        true => stored_result(running, &events)?,
        false => None,
    };
    let result = stored.map(|Stored { key, result, .. }| {
        answered(match text(running, key, result.clone()) {
            Err(PayloadError::Sealed(_)) => Ok(views::reference(key, &result).to_string()),
            text => text,
        })
    });
    let result = result.transpose()?;
    Ok(RunDocument { view, result })
}

/// Runs, newest first.
#[utoipa::path(
    get, path = "/api/v1/runs", tag = "runs", operation_id = "runs",
    params(
        ("status" = Option<String>, Query, description = "queued, running, completed, failed, \
            cancelled, refused or deduplicated"),
        ("operation" = Option<String>, Query, description = "causal.discover, causal.validate or \
            causal.paths"),
        super::openapi::PageParameters,
    ),
    responses(
        (status = 200, description = "A page; it may be short or empty and still have a next", body = RunPage),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    let query = Query::read(&request, &["status", "operation", "limit", "cursor"])?;
    parameters::require_json_accepted(&request)?;
    let limit = query.limit(&app.config.http)?;
    let status = query.get("status").map(status_of).transpose()?;
    let operation = query.get("operation").map(operation_of).transpose()?;
    let cursor = parameters::cursor(&app, &query)?;
    let keep = move |summary: &RunSummary| {
        status.is_none_or(|status| summary.status == status)
            && operation.is_none_or(|name| summary.operation == name)
    };
    let page = blocking(&app, move |running| {
        let found = scan::back(&running.log, cursor, limit, |recorded| {
            let Some(Event::RunRequested(requested)) = recorded.event() else {
                return Ok(None);
            };
            Ok(summary(running, requested.run)?.filter(&keep))
        })?;
        Ok(RunPage {
            items: found.items,
            next: found.next.map(|seq| running.log.position(seq).to_string()),
        })
    })
    .await?;
    Ok(HttpResponse::Ok().json(page))
}

fn operation_of(text: &str) -> Result<&'static str, Problem> {
    let known = Operation::NAMES.into_iter().find(|name| *name == text);
    known.ok_or_else(|| parameters::wrong("operation", &Operation::NAMES.join(", ")))
}

fn status_of(text: &str) -> Result<RunStatus, Problem> {
    Ok(match text {
        "queued" => RunStatus::Queued,
        "running" => RunStatus::Running,
        "completed" => RunStatus::Completed,
        "failed" => RunStatus::Failed,
        "cancelled" => RunStatus::Cancelled,
        "refused" => RunStatus::Refused,
        "deduplicated" => RunStatus::Deduplicated,
        _ => {
            let expected = "queued, running, completed, failed, cancelled, refused or deduplicated";
            return Err(parameters::wrong("status", expected));
        }
    })
}

fn summary(running: &Running, run: RunId) -> Result<Option<RunSummary>, Problem> {
    let progress = running.computation.progress(run);
    let open = running.log.state(|state| {
        state
            .run(run)
            .map(|open| views::open_run(run, open, progress))
    });
    let view = match open {
        Some(view) => Some(view),
        None => {
            let events = running.log.read_stream(Stream::run(run))?;
            views::run(&events, progress, &views::unread)
        }
    };
    Ok(view.map(|view| RunSummary {
        run_id: view.run_id,
        operation: view.operation,
        status: view.status,
        seed: view.seed,
        durations: view.durations,
        requested_at: view.requested_at,
        finished_at: view.finished_at,
        experiment: view.experiment,
        result_hash: view.result_hash,
        error: view.error,
    }))
}

/// Why a run is withdrawn.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancellation {
    /// Recorded with the request.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub(crate) reason: String,
}

/// What became of a request to cancel.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cancelled {
    #[schema(format = "uuid")]
    pub(crate) run_id: String,
    pub(crate) status: &'static str,
    /// Where the request stands in the log.
    pub(crate) sequence: u64,
}

/// Withdraw a run that has not ended.
#[utoipa::path(
    post, path = "/api/v1/runs/{id}/cancel", tag = "runs", operation_id = "cancel_run",
    params(
        ("id" = String, Path, description = "The run's id", format = "uuid"),
        super::openapi::PostHeaders,
    ),
    request_body(content = Option<Cancellation>, content_type = "application/json"),
    responses(
        (status = 200, description = "It is recorded, and the computation stops", body = Cancelled),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn cancel(
    app: Data<App>,
    request: HttpRequest,
    payload: actix_web::web::Payload,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let cancellation = cancellation(&app, &request, payload).await?;
    let run = run_id(&id)?;
    match running
        .experiment
        .cancel(run, identity(&request)?, cancellation.reason)
        .await?
    {
        CancelAnswer::Cancelled { run, seq } => Ok(HttpResponse::Ok().json(Cancelled {
            run_id: run.to_string(),
            status: "cancelled",
            sequence: seq.0,
        })),
        CancelAnswer::NotOpen { run } => {
            let before = blocking(&app, move |running| cancelled_before(running, run)).await?;
            Ok(HttpResponse::Ok().json(before))
        }
    }
}

/// The answer of the request that cancelled the run; a run that ended otherwise stays as it is.
fn cancelled_before(running: &Running, run: RunId) -> Result<Cancelled, Problem> {
    let events = running.log.read_stream(Stream::run(run))?;
    let view = views::run(&events, None, &views::unread).ok_or_else(|| unknown(run))?;
    match cancellation_of(&events) {
        Some(seq) => Ok(Cancelled {
            run_id: run.to_string(),
            status: "cancelled",
            sequence: seq.0,
        }),
        None => {
            let detail = format!("the run has ended: {:?}", view.status).to_lowercase();
            let problem = Problem::new(&error::CONFLICT, detail).field("path.id");
            let hint = format!("what has ended stays as it is; GET /api/v1/runs/{run} shows it");
            Err(problem.hint(hint).run(run))
        }
    }
}

/// Where the request stands that cancelled the run; none when it was not cancelled.
pub(crate) fn cancellation_of(events: &[Recorded]) -> Option<Seq> {
    let end = events
        .iter()
        .position(|recorded| matches!(recorded.event(), Some(Event::RunCancelled(_))))?;
    let request = events[..end]
        .iter()
        .rfind(|recorded| matches!(recorded.event(), Some(Event::CancelRequested(_))));
    request.map(Recorded::seq)
}

/// The body of a cancellation, which may be empty.
pub(crate) async fn cancellation(
    app: &App,
    request: &HttpRequest,
    payload: actix_web::web::Payload,
) -> Result<Cancellation, Problem> {
    let body = body::read(request, payload, &app.memory, &app.config.http).await?;
    if body.bytes.is_empty() {
        return Ok(Cancellation::default());
    }
    body::require_json(request)?;
    body::check_depth(&body.bytes, app.config.http.json_depth_max)?;
    let cancellation: Cancellation = body::typed(&body.bytes)?;
    parameters::check_reason(&cancellation.reason, NAME_CHARS_MAX)?;
    Ok(cancellation)
}

/// The progress of a run as server-sent events, until it ends.
///
/// `progress` events carry the stage and how much of it is done; the last event is `end`, with
/// the run as `GET /api/v1/runs/{id}` shows it.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}/events", tag = "runs", operation_id = "run_events",
    params(("id" = String, Path, description = "The run's id", format = "uuid")),
    responses(
        (status = 200, description = "The stream", body = stream::StreamEvent, content_type = "text/event-stream"),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn progress(
    app: Data<App>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    if !parameters::accepts(&request, &["text/event-stream"]) {
        let problem = Problem::new(&error::NOT_ACCEPTABLE, "answers are text/event-stream");
        return Err(problem.field("header.accept"));
    }
    let run = run_id(&id)?;
    blocking(&app, move |running| document(running, run)).await?;
    let permit = stream::admit(&app)?;
    let source = RunSource {
        watch: running.experiment.watch(run)?,
        app: app.clone(),
        told: None,
        ended: false,
    };
    Ok(stream::respond((app, &request), permit, source))
}

struct RunSource {
    watch: RunWatch,
    app: Data<App>,
    told: Option<Progress>,
    ended: bool,
}

impl stream::Source for RunSource {
    async fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        while !self.watch.is_over() {
            let progress = self.watch.progress();
            if progress.is_some() && progress != self.told {
                self.told = progress;
                return Some(stream::event("progress", None, &progress));
            }
            tokio::select! {
                () = self.watch.over() => {}
                () = tokio::time::sleep(PROGRESS_EVERY) => {}
            }
        }
        let run = self.watch.run();
        let found = blocking(&self.app, move |running| document(running, run)).await;
        self.ended = true;
        match found {
            Ok(document) => Some(stream::event("end", None, &document)),
            Err(problem) => Some(stream::event("error", None, &problem.to_string())),
        }
    }
}
