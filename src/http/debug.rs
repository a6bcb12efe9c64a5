//! A look inside: the actors, the memory, the configuration. Nothing here changes anything, and no
//! secret is in it.

use std::fs;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::ActorStatus;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::health::ActorHealth;
use super::parameters::{self, Query};
use super::{App, blocking};
use crate::telemetry;
use crate::telemetry::traces::{Ring, Traces};

/// The actors as they are at this moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Actors {
    pub(crate) actors: Vec<ActorDetail>,
}

/// One actor, with what it does and why it was last built anew.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActorDetail {
    #[serde(flatten)]
    pub(crate) health: ActorHealth,
    /// The kind of message that it is in; null between two.
    pub(crate) handling: Option<&'static str>,
    pub(crate) handling_ms: Option<u64>,
    /// Of the last restart: the calls that led to the panic, or what every thread did when its
    /// silence was noticed.
    pub(crate) last_evidence: Option<String>,
}

impl From<ActorStatus> for ActorDetail {
    fn from(actor: ActorStatus) -> Self {
        let handling = actor.handling;
        let evidence = (*actor.last_evidence).to_owned();
        Self {
            handling: handling.map(|(kind, _)| kind),
            handling_ms: handling.map(|(_, micros)| micros / 1_000),
            last_evidence: Some(evidence).filter(|evidence| !evidence.is_empty()),
            health: actor.into(),
        }
    }
}

/// What takes memory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Memory {
    /// Of the process; null where the system does not say.
    pub(crate) resident_bytes: Option<u64>,
    /// The most that it ever was.
    pub(crate) resident_peak_bytes: Option<u64>,
    /// Results kept to answer equal requests.
    pub(crate) results_bytes: u64,
    pub(crate) results_bytes_max: u64,
    /// Parsed datasets.
    pub(crate) datasets_bytes: u64,
    pub(crate) datasets_bytes_max: u64,
    /// Submissions that wait for the committer.
    pub(crate) log_queued: u64,
    /// Durable events that the lookup store does not hold yet.
    pub(crate) log_lag_events: u64,
    /// Traces of slow and failed requests.
    pub(crate) traces_bytes: u64,
    pub(crate) traces_bytes_max: u64,
    /// What waits to be sent to a collector.
    pub(crate) telemetry_queue_bytes: u64,
    /// Entries of the folded state, which is in memory as a whole.
    pub(crate) state: StateSize,
}

/// Entries of the folded state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StateSize {
    pub(crate) runs_open: u64,
    pub(crate) experiments_open: u64,
    pub(crate) datasets: u64,
    pub(crate) idempotency_keys: u64,
}

/// The actors as they are at this moment: phase, heartbeat, mailbox, restarts.
#[utoipa::path(
    get, path = "/debug/actors", tag = "debug", operation_id = "debug_actors",
    responses(
        (status = 200, description = "The actors", body = Actors),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn actors(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let statuses = running.supervision.statuses();
    let actors = statuses.into_iter().map(ActorDetail::from).collect();
    Ok(HttpResponse::Ok().json(Actors { actors }))
}

/// What takes memory: caches, queues, the folded state, the process as a whole.
#[utoipa::path(
    get, path = "/debug/memory", tag = "debug", operation_id = "debug_memory",
    responses(
        (status = 200, description = "The memory", body = Memory),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn memory(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let traces_bytes_max = app.config.telemetry.traces_bytes_max;
    let memory = blocking(&app, move |running| {
        let (results, datasets) = (
            running.experiment.results(),
            running.computation.stats().cache,
        );
        let stats = running.log.stats();
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let state = running.log.state(|state| StateSize {
            runs_open: state.runs().count() as u64,
            experiments_open: state.experiments().len() as u64,
            datasets: state.datasets().len() as u64,
            idempotency_keys: state.idempotency_entries() as u64,
        });
        Ok(Memory {
            resident_bytes: bytes(&text, "VmRSS:"),
            resident_peak_bytes: bytes(&text, "VmHWM:"),
            results_bytes: results.bytes,
            results_bytes_max: results.bytes_max,
            datasets_bytes: datasets.bytes,
            datasets_bytes_max: datasets.bytes_max,
            traces_bytes: kept_traces(),
            traces_bytes_max: traces_bytes_max as u64,
            telemetry_queue_bytes: telemetry::waiting_bytes() as u64,
            log_queued: stats.queued as u64,
            log_lag_events: stats.lag_events(),
            state,
        })
    });
    Ok(HttpResponse::Ok().json(memory.await?))
}

fn kept_traces() -> u64 {
    telemetry::traces().map_or(0, |ring| ring.newest(0, false, 0).kept_bytes)
}

/// No request takes longer.
const SLOW_MS_MAX: u64 = 86_400_000;

/// Parameters of the list of traces.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes the parameters")]
pub(crate) struct TraceParameters {
    /// Only those that took so many milliseconds.
    #[param(maximum = 86_400_000)]
    slow: Option<u64>,
    /// Only those in which something failed.
    failed: Option<bool>,
    /// How many items; 50 if left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Traces of requests that were slow or failed, newest first: each with its spans, from the request
/// through messages, the log and computations. They are kept in memory, within a bound.
#[utoipa::path(
    get, path = "/debug/traces", tag = "debug", operation_id = "debug_traces",
    params(TraceParameters),
    responses(
        (status = 200, description = "The traces", body = Traces),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn traces(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["slow", "failed", "limit"])?;
    parameters::require_json_accepted(&request)?;
    let limit = query.limit(&app.config.http)?;
    let slow = query.parse("slow", "a number of milliseconds")?;
    if slow > Some(SLOW_MS_MAX) {
        return Err(parameters::wrong("slow", "at most a day").limit(SLOW_MS_MAX));
    }
    let failed = query.parse("failed", "true or false")?;
    let none = || Ring::new(0, 0, 0).newest(0, false, 0);
    let (slow, failed) = (slow.unwrap_or(0), failed.unwrap_or(false));
    let found = telemetry::traces().map(|ring| ring.newest(slow, failed, limit));
    Ok(HttpResponse::Ok().json(found.unwrap_or_else(none)))
}

/// A field of `/proc/self/status`, which counts in KiB.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// The configuration that holds, every key of it. Secrets are never part of it: they are named by
/// the files that hold them.
#[utoipa::path(
    get, path = "/debug/config", tag = "debug", operation_id = "debug_config",
    responses(
        (status = 200, description = "The configuration", body = Object),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn config(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .body(app.config.document()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_process_are_read_in_bytes() {
        let text = "Name:\thindcast\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(bytes(text, "VmRSS:"), Some(1 << 20));
        assert_eq!(bytes(text, "VmHWM:"), Some(2 << 20));
        assert_eq!(bytes(text, "VmSwap:"), None);
    }
}
