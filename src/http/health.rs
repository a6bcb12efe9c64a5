//! How the server is. Answers come from what was measured in the last second, so that they never
//! wait for a busy actor, the disk or the log.

use std::sync::{Arc, PoisonError};

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, RETRY_AFTER, VARY};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::{ActorStatus, Phase, thread_table, views};
use hindcast_log::Stats;
use metrics::gauge;
use serde::Serialize;
use utoipa::ToSchema;

use super::workers::WorkersHealth;
use super::{App, Running, guard};
use crate::metrics::text::Format;
use crate::stall::Found;
use crate::{clock, disk, telemetry};

/// How the server is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Ok,
    /// It works, but something needs attention.
    Degraded,
    /// The log is being recovered.
    Starting,
    Stopping,
}

/// How the server and its parts are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    pub(crate) status: Status,
    /// What is not as it should be, one sentence each.
    pub(crate) reasons: Vec<String>,
    /// Of the build.
    pub(crate) version: Option<&'static str>,
    pub(crate) components: Option<Components>,
    /// How far recovery is, while it lasts.
    pub(crate) recovery: Option<String>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Components {
    pub(crate) log: LogHealth,
    pub(crate) store: StoreHealth,
    pub(crate) actors: Vec<ActorHealth>,
    pub(crate) runs: RunsHealth,
    pub(crate) disk: Option<DiskHealth>,
    /// Files that are damaged, the first ones.
    pub(crate) damaged: Vec<DamageHealth>,
    pub(crate) slo: SloHealth,
    /// The threads that answer requests.
    pub(crate) http_workers: WorkersHealth,
    /// Whether `telemetry.log_file` does not take lines.
    pub(crate) log_lines_lost: bool,
    /// When it was measured.
    #[serde(skip)]
    measured_micros: u64,
}

impl Components {
    /// For how many seconds nothing could be measured, when that is too long: who measures may
    /// hang on what it measures.
    fn stale_seconds(&self) -> Option<u64> {
        let age = clock::monotonic_micros().saturating_sub(self.measured_micros);
        (age > MEASURED_AGE_MICROS_MAX).then_some(age / 1_000_000)
    }

    /// Whether work is taken.
    fn take_work(&self) -> bool {
        let has_room = self.log.wants_room.is_none() && !self.runs.intake_paused;
        self.log.records() && has_room && self.stale_seconds().is_none()
    }
}

/// Error budgets. A frozen one does not make the server unhealthy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SloHealth {
    /// Whether one is frozen.
    pub(crate) frozen: bool,
    pub(crate) reasons: Vec<String>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LogHealth {
    /// The cursor of the last durable event.
    pub(crate) head: String,
    pub(crate) sequence: u64,
    /// Submissions that wait for the committer.
    pub(crate) queued: u64,
    /// Why nothing can be written, when that is so.
    pub(crate) read_only: Option<String>,
    /// What waits for room on the disk, when something does.
    pub(crate) wants_room: Option<String>,
    /// Milliseconds for which something waits to be recorded and nothing is answered; absent when
    /// that is no more than usual.
    pub(crate) stalled_ms: Option<u64>,
}

impl LogHealth {
    fn of(app: &App, running: &Running, stats: &Stats) -> Self {
        let stall = app.stall.lock();
        let found = stall
            .unwrap_or_else(PoisonError::into_inner)
            .look(stats, clock::monotonic_micros());
        if let Found::Stalled { is_news: true, .. } = found {
            let threads = thread_table();
            tracing::error!(threads, "the log does not answer: the disk may hang");
        }
        Self {
            head: running.log.head().to_string(),
            sequence: running.log.head().seq.0,
            queued: stats.queued as u64,
            read_only: running.log.read_only().map(str::to_owned),
            wants_room: running.log.wants_room().map(str::to_owned),
            stalled_ms: match found {
                Found::Answers => None,
                Found::Stalled { micros, .. } => Some(micros / 1_000),
            },
        }
    }

    fn records(&self) -> bool {
        self.read_only.is_none() && self.stalled_ms.is_none()
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct StoreHealth {
    /// The last event of its last chunk. Those after it are gathered for the next.
    pub(crate) applied_sequence: u64,
    /// Durable events that the lookup store has not taken yet.
    pub(crate) lag_events: u64,
    pub(crate) bytes: u64,
    pub(crate) blobs: u64,
    pub(crate) blob_bytes: u64,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ActorHealth {
    pub(crate) name: &'static str,
    /// starting, running, restarting, failed or stopped.
    #[schema(value_type = String)]
    pub(crate) phase: Phase,
    pub(crate) heartbeat_age_ms: u64,
    /// In this process.
    pub(crate) restarts: u32,
    pub(crate) mailbox_depth: u64,
    pub(crate) mailbox_max: u64,
    pub(crate) last_reason: Option<String>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RunsHealth {
    pub(crate) in_flight: u32,
    pub(crate) in_flight_max: u32,
    /// Work is refused because the disk is nearly full.
    pub(crate) intake_paused: bool,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DamageHealth {
    /// Below the data directory.
    pub(crate) file: String,
    /// The first sequence that is concerned; 0 when the file holds no events.
    pub(crate) sequence: u64,
    pub(crate) what: String,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DiskHealth {
    pub(crate) free_bytes: u64,
    pub(crate) size_bytes: u64,
    pub(crate) reserve_bytes: u64,
}

/// Milliseconds without a heartbeat after which the supervisor builds an actor anew.
const HEARTBEAT_AGE_MS_MAX: u64 = 3_000;

/// Microseconds after which what was measured says nothing any more.
const MEASURED_AGE_MICROS_MAX: u64 = 5_000_000;

/// Damaged files in one answer.
const DAMAGED_SHOWN: usize = 10;

/// What was measured last.
pub(crate) type Measured = Arc<Components>;

/// Measures everything, for health and for metrics. It may block for a moment.
pub(crate) fn measure(app: &App, running: &Running) -> Measured {
    let stats = running.log.stats();
    let (in_flight, settings, intake_paused) = running
        .log
        .state(|state| (state.in_flight(), state.settings(), state.intake_paused()));
    let damaged = running.log.state(|state| {
        let first = state.damaged().take(DAMAGED_SHOWN);
        let shown = first.map(|(file, damage)| DamageHealth {
            file: file.to_owned(),
            sequence: damage.seq.0,
            what: damage.what.clone(),
        });
        shown.collect()
    });
    let freezes = running.log.state(|state| views::slo_freezes(state.slos()));
    let statuses = running.supervision.statuses();
    let space = disk::space(&app.config.server.data_dir);
    let lag_events = stats.lag_events();
    gauge!("log_head_sequence").set(stats.head.0 as f64);
    gauge!("log_lag_events").set(lag_events as f64);
    gauge!("log_queue_depth").set(stats.queued as f64);
    if let Some((free, size)) = space {
        gauge!("disk_free_bytes").set(free as f64);
        gauge!("disk_size_bytes").set(size as f64);
    }
    app.metrics.file_systems(&app.config.server.data_dir);
    let actors: Vec<ActorHealth> = statuses.into_iter().map(ActorHealth::from).collect();
    let log = LogHealth::of(app, running, &stats);
    let up = if log.records() { 1.0 } else { 0.0 };
    gauge!("up", "job" => "hindcast", "instance" => "log").set(up);
    // It is the supervisor who says that an actor is up; it may be silent itself.
    for actor in &actors {
        if actor.phase == Phase::Running {
            let up = if actor.is_silent() { 0.0 } else { 1.0 };
            gauge!("up", "job" => "hindcast", "instance" => actor.name).set(up);
        }
    }
    Arc::new(Components {
        log,
        store: StoreHealth {
            applied_sequence: stats.applied.0,
            lag_events,
            bytes: stats.store_bytes,
            blobs: stats.blobs,
            blob_bytes: stats.blob_bytes,
        },
        actors,
        runs: RunsHealth {
            in_flight,
            in_flight_max: settings.runs_in_flight_max,
            intake_paused,
        },
        disk: space.map(|(free_bytes, size_bytes)| DiskHealth {
            free_bytes,
            size_bytes,
            reserve_bytes: settings.disk_reserve_bytes,
        }),
        damaged,
        slo: SloHealth {
            frozen: !freezes.is_empty(),
            reasons: freezes,
        },
        http_workers: app.workers.look(clock::monotonic_micros()),
        log_lines_lost: telemetry::loses_lines(),
        measured_micros: clock::monotonic_micros(),
    })
}

impl ActorHealth {
    /// Whether it has said nothing for so long that it should have been built anew.
    fn is_silent(&self) -> bool {
        let lives = matches!(self.phase, Phase::Running | Phase::Starting);
        lives && self.heartbeat_age_ms > HEARTBEAT_AGE_MS_MAX
    }
}

impl From<ActorStatus> for ActorHealth {
    fn from(actor: ActorStatus) -> Self {
        Self {
            name: actor.name,
            phase: actor.phase,
            heartbeat_age_ms: actor.heartbeat_age_micros / 1_000,
            restarts: actor.restarts,
            mailbox_depth: actor.mailbox_depth as u64,
            mailbox_max: actor.mailbox_max as u64,
            last_reason: actor.last_reason,
        }
    }
}

impl Health {
    fn of(app: &App) -> Self {
        let components = app.measured();
        let mut reasons = Vec::new();
        if let Some(found) = &components {
            reasons.extend(reasons_of(found));
        }
        let status = match &components {
            _ if app.is_stopping() => Status::Stopping,
            None => Status::Starting,
            Some(_) if reasons.is_empty() => Status::Ok,
            Some(_) => Status::Degraded,
        };
        let recovery = (status == Status::Starting).then(|| app.recovery_text());
        Self {
            status,
            reasons,
            version: Some(env!("CARGO_PKG_VERSION")),
            components: components.map(|found| (*found).clone()),
            recovery,
        }
    }

    /// Without what is of no concern to somebody who has not proved who they are.
    fn told_to(self, request: &HttpRequest) -> Self {
        match guard::principal(request) {
            Some(_) => self,
            None => Self {
                reasons: Vec::new(),
                version: None,
                components: None,
                recovery: None,
                ..self
            },
        }
    }

    fn respond(&self, good: bool) -> HttpResponse {
        let mut builder = match good {
            true => HttpResponse::Ok(),
            false => {
                let mut builder = HttpResponse::ServiceUnavailable();
                builder.insert_header((RETRY_AFTER, "1"));
                builder
            }
        };
        builder
            .insert_header((CACHE_CONTROL, "no-store"))
            .json(self)
    }
}

fn reasons_of(found: &Components) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(seconds) = found.stale_seconds() {
        reasons.push(format!("nothing could be measured for {seconds} s"));
    }
    if let Some(what) = &found.log.wants_room {
        reasons.push(format!("the disk is full: {what}"));
    }
    if let Some(why) = &found.log.read_only {
        reasons.push(format!("the log is read-only: {why}"));
    }
    if let Some(ms) = found.log.stalled_ms {
        let seconds = ms / 1_000;
        reasons.push(format!(
            "the log answers nothing for {seconds} s: the disk may hang"
        ));
    }
    let workers = &found.http_workers;
    if workers.silent > 0 {
        let WorkersHealth {
            count,
            silent,
            heartbeat_age_ms,
        } = workers;
        let seconds = heartbeat_age_ms / 1_000;
        reasons.push(format!(
            "{silent} of {count} threads that answer requests say nothing for {seconds} s"
        ));
    }
    for actor in &found.actors {
        if !matches!(actor.phase, Phase::Running | Phase::Starting) {
            let why = actor.last_reason.as_deref().unwrap_or("no reason is known");
            reasons.push(format!("the {} actor is not running: {why}", actor.name));
        } else if actor.is_silent() {
            let seconds = actor.heartbeat_age_ms / 1_000;
            let name = actor.name;
            reasons.push(format!("the {name} actor says nothing for {seconds} s"));
        }
    }
    for DamageHealth { file, what, .. } in &found.damaged {
        reasons.push(format!(
            "{file} is damaged ({what}): hindcast repair --plan"
        ));
    }
    if found.log_lines_lost {
        reasons.push("log lines are lost: telemetry.log_file takes none".to_owned());
    }
    if found.runs.intake_paused {
        reasons.push("work is refused because disk space is low".to_owned());
    }
    reasons
}

/// How the server and its parts are.
#[utoipa::path(get, path = "/health", tag = "health", operation_id = "health", responses(
    (status = 200, description = "Everything is as it should be", body = Health),
    (status = 503, description = "Something is not, and `reasons` says what", body = Health),
))]
pub(crate) async fn health(app: Data<App>) -> HttpResponse {
    let health = Health::of(&app);
    health.respond(health.status == Status::Ok)
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "live", responses(
    (status = 200, description = "It does", body = Probe),
))]
pub(crate) async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(Probe { status: Status::Ok })
}

/// The answer of a probe.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Probe {
    pub(crate) status: Status,
}

/// Whether requests for work are taken.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "ready", responses(
    (status = 200, description = "They are", body = Health),
    (status = 503, description = "They are not", body = Health),
))]
pub(crate) async fn ready(app: Data<App>, request: HttpRequest) -> HttpResponse {
    let health = Health::of(&app);
    let serving = matches!(health.status, Status::Ok | Status::Degraded);
    let takes_work = health
        .components
        .as_ref()
        .is_some_and(Components::take_work);
    let good = serving && takes_work;
    health.told_to(&request).respond(good)
}

/// Whether recovery is done, and how far it is. Answers from the first moment of the process.
#[utoipa::path(get, path = "/health/startup", tag = "health", operation_id = "startup", responses(
    (status = 200, description = "It is done", body = Health),
    (status = 503, description = "It is going on", body = Health),
))]
pub(crate) async fn startup(app: Data<App>, request: HttpRequest) -> HttpResponse {
    let health = Health::of(&app);
    let good = health.status != Status::Starting;
    health.told_to(&request).respond(good)
}

/// Figures for Prometheus, as text of version 0.0.4, or as OpenMetrics 1.0 where the client
/// prefers it; the latter names a trace beside the buckets of histograms.
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics", responses(
    (status = 200, description = "The figures", content(
        (String = "text/plain"), (String = "application/openmetrics-text"),
    )),
))]
pub(crate) async fn metrics(app: Data<App>, request: HttpRequest) -> HttpResponse {
    let format = metrics_format(&request);
    figures(format, app.metrics.render(format))
}

/// The figures of computations and models alone, in the formats of `/metrics`.
#[utoipa::path(
    get, path = "/model-metrics", tag = "health", operation_id = "model_metrics",
    responses((status = 200, description = "The figures", content(
        (String = "text/plain"), (String = "application/openmetrics-text"),
    ))),
)]
pub(crate) async fn model_metrics(app: Data<App>, request: HttpRequest) -> HttpResponse {
    let format = metrics_format(&request);
    figures(format, app.metrics.render_models(format))
}

fn metrics_format(request: &HttpRequest) -> Format {
    let accept = request.headers().get_all(ACCEPT);
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    Format::preferred(&accept.join(","))
}

fn figures(format: Format, text: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(format.content_type())
        .insert_header((VARY, "accept, accept-encoding"))
        .body(text)
}
