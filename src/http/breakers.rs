//! Circuit breakers and the services behind them: looked at, commanded, tried with other settings.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::circuit_breaker::simulate::{self as simulation, SimulateError, Simulation};
use hindcast_actors::history::Source;
use hindcast_actors::views::{self, BreakerEvent, BreakerView, ServiceStatus, ServiceView};
use hindcast_model::breaker::BreakerAction;
use hindcast_model::event::{BreakerCommanded, Event};
use hindcast_model::limits::BREAKER_REASON_CHARS_MAX;
use hindcast_model::{Seq, Stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::history::Live;
use super::parameters::{self, Query};
use super::{App, Running, blocking, body, identity};
use crate::clock;

/// The longest time after which a wish may end by itself.
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Every breaker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BreakerList {
    items: Vec<BreakerView>,
}

/// Every service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceList {
    /// The worst of all.
    status: ServiceStatus,
    /// Somebody has to act on one of them.
    action_needed: bool,
    services: Vec<ServiceView>,
}

/// The changes of a breaker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BreakerHistory {
    name: String,
    /// Oldest first.
    items: Vec<BreakerEvent>,
}

/// What somebody wants of a breaker.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BreakerCommand {
    /// `reset` closes it and forgets the calls that it counted; `force_open`, `disable` and
    /// `metrics_only` hold it until `enable` or the end of `ttl`.
    action: Action,
    /// Why, in at most 256 characters. It stays readable in the log.
    #[serde(default)]
    #[schema(max_length = 256)]
    reason: String,
    /// How long it holds, such as 90s, 15m or 6h; up to 30d. It lasts if this is left out.
    #[serde(default)]
    ttl: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Reset,
    ForceOpen,
    Disable,
    Enable,
    MetricsOnly,
}

impl From<Action> for BreakerAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Reset => Self::Reset,
            Action::ForceOpen => Self::ForceOpen,
            Action::Disable => Self::Disable,
            Action::Enable => Self::Enable,
            Action::MetricsOnly => Self::MetricsOnly,
        }
    }
}

/// Characters of a sequence or a time.
const SINCE_CHARS_MAX: usize = 64;

/// Which settings to try on recorded calls.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SimulationRequest {
    /// Keys of `[breakers]` and their values, such as `{"failure_percent": 30}`.
    set: BTreeMap<String, u64>,
    /// The event after which calls are looked at, or a time; the beginning if left out.
    #[schema(max_length = 64)]
    since: Option<String>,
}

fn no_store(body: impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body)
}

fn all(running: &Running) -> Vec<BreakerView> {
    let now = clock::wall();
    running
        .log
        .state(|state| views::breakers(state.breakers(), now))
}

fn one(running: &Running, name: &str) -> Result<BreakerView, Problem> {
    let now = clock::wall();
    let found = running.log.state(|state| {
        let breaker = state.breakers().get(name)?;
        Some(views::breaker(name, breaker, now))
    });
    found.ok_or_else(|| unknown(running, name))
}

fn unknown(running: &Running, name: &str) -> Problem {
    let names: Vec<String> = all(running).into_iter().map(|view| view.name).collect();
    let detail = format!("there is no breaker '{name}'");
    let hint = match names.is_empty() {
        true => "the log was never written by a server that has breakers".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    Problem::new(&error::NOT_FOUND, detail)
        .field("path.name")
        .hint(hint)
}

/// The circuit breakers: state, counts, last failure, next probe.
#[utoipa::path(
    get, path = "/health/circuit-breakers", tag = "health", operation_id = "circuit_breakers",
    responses(
        (status = 200, description = "All breakers, by name", body = BreakerList),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn health(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    list(app, request).await
}

/// The circuit breakers: state, counts, last failure, next probe.
#[utoipa::path(
    get, path = "/api/v1/breakers", tag = "operations", operation_id = "list_breakers",
    responses(
        (status = 200, description = "All breakers, by name", body = BreakerList),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    Ok(no_store(BreakerList {
        items: all(running),
    }))
}

/// How the services behind the breakers do, and whether somebody has to act.
#[utoipa::path(
    get, path = "/health/services", tag = "health", operation_id = "services",
    responses(
        (status = 200, description = "All services, by name", body = ServiceList),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn services(
    app: Data<App>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let now = clock::wall();
    let services = running.log.state(|state| views::services(state, now));
    Ok(no_store(listed(services)))
}

/// The list of services with what holds for all of them.
fn listed(services: Vec<ServiceView>) -> ServiceList {
    let is = |status| services.iter().any(|service| service.status == status);
    let status = if is(ServiceStatus::Failing) {
        ServiceStatus::Failing
    } else if is(ServiceStatus::Degraded) {
        ServiceStatus::Degraded
    } else {
        ServiceStatus::Healthy
    };
    ServiceList {
        status,
        action_needed: services.iter().any(|service| service.action_needed),
        services,
    }
}

/// One circuit breaker.
#[utoipa::path(
    get, path = "/api/v1/breakers/{name}", tag = "operations", operation_id = "show_breaker",
    params(("name" = String, Path, description = "The breaker's name")),
    responses(
        (status = 200, description = "The breaker", body = BreakerView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn show(
    app: Data<App>,
    request: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    Ok(no_store(one(running, &name)?))
}

/// Reset a circuit breaker, hold it open, switch it off, or let it go again.
///
/// The wish and what followed from it are events.
#[utoipa::path(
    post, path = "/health/circuit-breakers/{name}", tag = "health",
    operation_id = "command_breaker",
    params(
        ("name" = String, Path, description = "The breaker's name"),
        super::openapi::PostHeaders,
    ),
    request_body = BreakerCommand,
    responses(
        (status = 200, description = "The breaker as it is then", body = BreakerView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn command(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let wish: BreakerCommand = body::asked(&app, &request, payload).await?;
    one(running, &name)?;
    parameters::check_reason(&wish.reason, BREAKER_REASON_CHARS_MAX)?;
    let action = BreakerAction::from(wish.action);
    let ttl_micros = match &wish.ttl {
        None => 0,
        Some(_) if !action.takes_ttl() => {
            let message = format!("{} does not end by itself", action.word());
            return Err(Problem::new(&error::INVALID, message).field("ttl"));
        }
        Some(text) => ttl(text)?,
    };
    let event = Event::BreakerCommanded(BreakerCommanded {
        name: name.to_string(),
        action,
        reason: wish.reason,
        ttl_micros,
    });
    let command = identity(&request)?.command(event);
    running.experiment.submit(command.into()).await?;
    Ok(no_store(one(running, &name)?))
}

/// Microseconds of a span such as `15m`.
fn ttl(text: &str) -> Result<u64, Problem> {
    let wrong = |message: &str| {
        Problem::new(&error::INVALID, message)
            .field("ttl")
            .hint("a whole number of ms, s, m, h or d, such as 15m".to_owned())
    };
    let ms = hindcast_actors::whatif::span_ms(text)
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| *ms > 0)
        .ok_or_else(|| wrong("is no span above 0"))?;
    let most = TTL_MAX.as_secs() * 1_000;
    if ms > most {
        let message = "lasts for more than 30 days";
        return Err(Problem::new(&error::OVER_LIMIT, message)
            .field("ttl")
            .limit(most));
    }
    Ok(ms * 1_000)
}

/// How a circuit breaker came to be what it is: every change with its cause, oldest first.
#[utoipa::path(
    get, path = "/api/v1/breakers/{name}/history", tag = "operations",
    operation_id = "breaker_history",
    params(("name" = String, Path, description = "The breaker's name")),
    responses(
        (status = 200, description = "The changes that the log holds", body = BreakerHistory),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn history(
    app: Data<App>,
    request: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    one(running, &name)?;
    let found = blocking(&app, move |running| {
        let events = running.log.read_stream(Stream::system("breakers"))?;
        Ok(BreakerHistory {
            items: views::breaker_history(&name, &events),
            name: name.into_inner(),
        })
    });
    Ok(no_store(found.await?))
}

impl From<SimulateError> for Problem {
    fn from(error: SimulateError) -> Self {
        let detail = error.to_string();
        match error {
            SimulateError::UnknownBreaker { .. } => {
                Self::new(&error::NOT_FOUND, detail).field("path.name")
            }
            SimulateError::Nothing { .. } => Self::new(&error::INVALID, detail).field("since"),
            SimulateError::Setting { key, error } => {
                Self::new(&error::INVALID, error.to_string()).field(format!("set.{key}"))
            }
            SimulateError::Contradiction { key, why } => {
                Self::new(&error::INVALID, why).field(format!("set.{key}"))
            }
            SimulateError::Log(error) => error.into(),
        }
    }
}

/// What a circuit breaker would have done with the recorded calls under other settings.
///
/// Nothing is recorded and nothing changes.
#[utoipa::path(
    post, path = "/api/v1/breakers/{name}/simulate", tag = "operations",
    operation_id = "simulate_breaker",
    params(
        ("name" = String, Path, description = "The breaker's name"),
        super::openapi::PostHeaders,
    ),
    request_body = SimulationRequest,
    responses(
        (status = 200, description = "Both sides", body = Simulation),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn simulate(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    parameters::subject(&request)?;
    let asked: SimulationRequest = body::asked(&app, &request, payload).await?;
    let since_chars = asked.since.as_ref().map_or(0, |text| text.chars().count());
    if since_chars > SINCE_CHARS_MAX {
        let long = format!("it is longer than {SINCE_CHARS_MAX} characters");
        let problem = Problem::new(&error::INVALID, long).field("since");
        return Err(problem.limit(SINCE_CHARS_MAX as u64));
    }
    one(running, &name)?;
    let permit = super::history::admit(&app)?;
    let found = blocking(&app, move |running| {
        let _permit = permit;
        let live = Live::open(running)?;
        let since = match &asked.since {
            None => Seq(0),
            Some(text) => simulation::since(&live, text)?.ok_or_else(|| {
                let message = "is no sequence of an event and no time in RFC 3339";
                Problem::new(&error::INVALID, message).field("since")
            })?,
        };
        let range = (since, live.head());
        Ok(simulation::simulate(
            live.reader(),
            (&name, &asked.set),
            range,
        )?)
    });
    Ok(no_store(found.await?))
}
