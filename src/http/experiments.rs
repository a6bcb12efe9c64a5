//! Named series of runs, and the totals of everything.

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::views::{self, ExperimentView, Stats};
use hindcast_actors::{ExperimentAnswer, ExperimentRequest, Identity, RunRequest};
use hindcast_model::{Event, ExperimentId, RunId, Stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::causal::{REPLAYED, deadline, divert};
use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::{App, Running, blocking, body, identity, runs, scan, subject};
use crate::ids;
use crate::series::Series;

/// An experiment in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExperimentSummary {
    #[schema(format = "uuid")]
    pub(crate) experiment_id: String,
    pub(crate) name: String,
    /// running, completed, refused or deduplicated.
    pub(crate) status: &'static str,
    pub(crate) runs: u64,
    pub(crate) remaining: u64,
    pub(crate) requested_at: String,
    pub(crate) finished_at: Option<String>,
}

/// A page of experiments, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExperimentPage {
    pub(crate) items: Vec<ExperimentSummary>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next: Option<String>,
}

/// Run a named series of operations; all of it is recorded at once, or nothing.
#[utoipa::path(
    post, path = "/api/v1/experiments", tag = "experiments", operation_id = "run_experiment",
    request_body = Series,
    params(super::openapi::PostHeaders),
    responses(
        (status = 202, description = "It is recorded and its runs will be computed", body = ExperimentView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn create(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let http = &app.config.http;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    body::require_json(&request)?;
    let key = parameters::idempotency_key(&request, http)?;
    let body = body::read(&request, payload, &app.memory, http).await?;
    body::check_depth(&body.bytes, http.json_depth_max)?;
    let series: Series = body::typed(&body.bytes)?;
    let idempotency =
        key.map(|key| body::idempotency(&key, "experiments", &[&body.bytes, subject(&request)]));
    drop(body);
    let own = identity(&request)?;
    let deadline = deadline(&app);
    let divert = divert(&app, &request)?;
    let runs = series
        .runs()?
        .into_iter()
        .map(|(question, seed)| RunRequest {
            divert,
            run: ids::run(),
            identity: Identity {
                event_id: ids::event(),
                ..own
            },
            question,
            seed,
            deadline,
            caller_deadline: false,
            idempotency: None,
        });
    let answer = running
        .experiment
        .request_experiment(ExperimentRequest {
            experiment: ids::experiment(),
            identity: own,
            name: series.name.clone(),
            spec: serde_json::to_value(&series).map_err(error::malformed_json)?,
            runs: runs.collect(),
            idempotency,
        })
        .await?;
    let (experiment, replayed) = match answer {
        ExperimentAnswer::Admitted { experiment, .. } => (experiment, false),
        ExperimentAnswer::Deduplicated { original, .. } => (original, true),
        ExperimentAnswer::Refused { refusal, .. } => return Err(refusal.into()),
    };
    let view = blocking(&app, move |running| view(running, experiment)).await?;
    let mut builder = HttpResponse::Accepted();
    builder.insert_header((LOCATION, format!("/api/v1/experiments/{experiment}")));
    if replayed {
        builder.insert_header((REPLAYED, "true"));
    }
    Ok(builder.json(view))
}

fn view(running: &Running, experiment: ExperimentId) -> Result<ExperimentView, Problem> {
    let events = running.log.read_stream(Stream::experiment(experiment))?;
    let read = |key, payload: &_| running.read(key, payload);
    let view = running
        .log
        .state(|state| views::experiment(&events, state, &read));
    view.ok_or_else(|| {
        Problem::new(
            &error::NOT_FOUND,
            format!("there is no experiment {experiment}"),
        )
        .field("path.id")
    })
}

fn experiment_id(text: &str) -> Result<ExperimentId, Problem> {
    text.parse().map_err(|_| {
        Problem::new(&error::NOT_FOUND, "an experiment's id is a UUID").field("path.id")
    })
}

/// Experiments, newest first.
#[utoipa::path(
    get, path = "/api/v1/experiments", tag = "experiments", operation_id = "experiments",
    params(super::openapi::PageParameters),
    responses(
        (status = 200, description = "A page; it may be short or empty and still have a next", body = ExperimentPage),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    let query = Query::read(&request, &["limit", "cursor"])?;
    parameters::require_json_accepted(&request)?;
    let limit = query.limit(&app.config.http)?;
    let cursor = parameters::cursor(&app, &query)?;
    let page = blocking(&app, move |running| {
        let found = scan::back(&running.log, cursor, limit, |recorded| {
            let Some(Event::ExperimentRequested(requested)) = recorded.event() else {
                return Ok(None);
            };
            view(running, requested.experiment).map(|view| Some(summary(view)))
        })?;
        Ok(ExperimentPage {
            items: found.items,
            next: found.next.map(|seq| running.log.position(seq).to_string()),
        })
    })
    .await?;
    Ok(HttpResponse::Ok().json(page))
}

fn summary(view: ExperimentView) -> ExperimentSummary {
    ExperimentSummary {
        experiment_id: view.experiment_id,
        name: view.name,
        status: view.status,
        runs: view.runs.len() as u64,
        remaining: view.remaining,
        requested_at: view.requested_at,
        finished_at: view.finished_at,
    }
}

/// One experiment and its runs.
#[utoipa::path(
    get, path = "/api/v1/experiments/{id}", tag = "experiments", operation_id = "experiment",
    params(("id" = String, Path, description = "The experiment's id", format = "uuid")),
    responses(
        (status = 200, description = "The experiment", body = ExperimentView),
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
    let experiment = experiment_id(&id)?;
    let view = blocking(&app, move |running| view(running, experiment)).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// What became of a request to cancel an experiment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExperimentCancelled {
    #[schema(format = "uuid")]
    pub(crate) experiment_id: String,
    /// The runs that are withdrawn, by this request or before; the others ended otherwise.
    pub(crate) cancelled: Vec<String>,
}

/// Withdraw the runs of an experiment that have not ended.
#[utoipa::path(
    post, path = "/api/v1/experiments/{id}/cancel", tag = "experiments",
    operation_id = "cancel_experiment",
    params(
        ("id" = String, Path, description = "The experiment's id", format = "uuid"),
        super::openapi::PostHeaders,
    ),
    request_body(content = Option<runs::Cancellation>, content_type = "application/json"),
    responses(
        (status = 200, description = "It is recorded", body = ExperimentCancelled),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn cancel(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let cancellation = runs::cancellation(&app, &request, payload).await?;
    let experiment = experiment_id(&id)?;
    blocking(&app, move |running| view(running, experiment)).await?;
    let open: Vec<RunId> = running.log.state(|state| {
        let experiment = state.experiment(experiment);
        let runs = experiment.into_iter().flat_map(|open| open.runs.iter());
        runs.filter(|run| state.run(**run).is_some())
            .copied()
            .collect()
    });
    let own = identity(&request)?;
    for run in open {
        let identity = Identity {
            event_id: ids::event(),
            ..own
        };
        let reason = cancellation.reason.clone();
        // A run that ended meanwhile stays as it is.
        running.experiment.cancel(run, identity, reason).await?;
    }
    let cancelled = blocking(&app, move |running| withdrawn(running, experiment)).await?;
    Ok(HttpResponse::Ok().json(ExperimentCancelled {
        experiment_id: experiment.to_string(),
        cancelled,
    }))
}

fn withdrawn(running: &Running, experiment: ExperimentId) -> Result<Vec<String>, Problem> {
    let mut cancelled = Vec::new();
    for text in view(running, experiment)?.runs {
        let Ok(run) = text.parse::<RunId>() else {
            continue;
        };
        let events = running.log.read_stream(Stream::run(run))?;
        if runs::cancellation_of(&events).is_some() {
            cancelled.push(text);
        }
    }
    Ok(cancelled)
}

/// Totals since the log began: runs by operation and outcome, experiments, datasets.
#[utoipa::path(
    get, path = "/api/v1/experiments/stats", tag = "experiments", operation_id = "stats",
    responses(
        (status = 200, description = "The totals", body = Stats),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn stats(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let stats = running.log.state(views::stats);
    Ok(HttpResponse::Ok().json(stats))
}

/// The same as `/api/v1/experiments/stats`.
#[utoipa::path(
    get, path = "/api/experiments/stats", tag = "experiments", operation_id = "unversioned_stats",
    responses(
        (status = 200, description = "The totals", body = Stats),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn unversioned_stats(
    app: Data<App>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    stats(app, request).await
}
