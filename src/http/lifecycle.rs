//! Reload and quit, and the two probes that go with them, under the names that Prometheus uses.

use std::sync::Arc;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::Identity;
use hindcast_model::event::AuditOutcome;
use hindcast_model::{Command, Submission};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::{App, audit, health, identity};
use crate::access::Keys;
use crate::config::{Change, Config, ConfigError, change};
use crate::{ids, slo, startup, telemetry};

/// Where a configuration comes from; it may wait for the disk.
pub type ConfigSource = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// What a reload did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reloaded {
    /// Configurations that this log has seen, with this one.
    generation: u64,
    /// Keys that have another value from here on.
    changed: Vec<String>,
    /// Keys that differ in the file, and stay as they are until a restart.
    needs_restart: Vec<String>,
}

/// A stop that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Quitting {
    status: &'static str,
}

/// What is read before anything is changed.
struct Fresh {
    change: Change,
    keys: Keys,
    certificate: Option<crate::tls::Pair>,
}

impl From<ConfigError> for Problem {
    fn from(wrong: ConfigError) -> Self {
        let detail = wrong.to_string();
        let problem = Self::new(&error::INVALID, detail);
        match wrong {
            ConfigError::UnknownKey { key, nearest, .. } => problem
                .field(key)
                .hint(format!("did you mean `{nearest}`?")),
            ConfigError::Value { key, .. } => problem.field(key),
            ConfigError::Exposed(_) => problem.field("server.listen"),
            ConfigError::Unreadable { .. } | ConfigError::Syntax { .. } => {
                problem.field("configuration")
            }
        }
    }
}

fn fresh(app: &App) -> Result<Fresh, Problem> {
    let new = match &app.source {
        Some(source) => source()?,
        None => Config::clone(&app.config),
    };
    new.check()?;
    new.check_exposure()?;
    let keys = app.access.read().map_err(|error| {
        Problem::new(&error::INVALID, error.to_string()).field("access.keys_file")
    })?;
    let now = crate::clock::wall();
    if app.access.is_needed() && app.access.keys().has_admin(now) && !keys.has_admin(now) {
        let detail = "it holds no live key of an admin: nobody could change anything any more";
        return Err(Problem::new(&error::INVALID, detail).field("access.keys_file"));
    }
    let certificate = app.certificate.as_ref().map(crate::tls::Certificate::read);
    let certificate = certificate
        .transpose()
        .map_err(|error| Problem::new(&error::INVALID, error.message.clone()).field(error.key))?;
    Ok(Fresh {
        change: change(&app.config, &new)?,
        keys,
        certificate,
    })
}

/// Reads everything again, records what holds from here on, and puts it in force. On an error
/// everything stays as it was.
pub(crate) async fn renew(app: &Data<App>, identity: Identity) -> Result<Reloaded, Problem> {
    let running = app.running()?;
    let _alone = app.renewing.lock().await;
    let reader = app.clone();
    let read = actix_web::web::block(move || fresh(&reader)).await;
    let read = read.map_err(|error| Problem::new(&error::INTERNAL, error.to_string()))?;
    let read = read.inspect_err(|_| crate::metrics::reload_refused());
    let Fresh {
        change,
        keys,
        certificate,
    } = read?;
    let event = startup::configuration_event(&running.log, &change.config)
        .map_err(|message| Problem::new(&error::INVALID, message).field("configuration"))?;
    let generation = event.0;
    let objectives = slo::event(&running.log, &change.config)
        .map_err(|message| Problem::new(&error::INVALID, message).field("slo"))?;
    let loaded = identity.command(event.1);
    let objectives = objectives.map(|event| Command {
        event_id: ids::event(),
        event,
        ..loaded.clone()
    });
    let commands = [loaded].into_iter().chain(objectives).collect();
    running.experiment.submit(Submission { commands }).await?;
    app.access.replace(keys);
    if let (Some(shown), Some(pair)) = (&app.certificate, certificate) {
        shown.show(pair);
    }
    app.config.replace(change.config);
    let (changed, needs_restart) = (change.changed, change.needs_restart);
    tracing::info!(
        generation,
        changed = changed.join(", "),
        needs_restart = needs_restart.join(", "),
        "configuration read again"
    );
    Ok(Reloaded {
        generation,
        changed,
        needs_restart,
    })
}

/// Read the configuration, the access keys and the certificate again.
///
/// What can change without a restart is in force when this answers, and an event says so. When
/// anything is wrong, nothing changes.
#[utoipa::path(
    post, path = "/-/reload", tag = "lifecycle", operation_id = "reload",
    params(super::openapi::PostHeaders),
    responses(
        (status = 200, description = "It holds", body = Reloaded),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn reload(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    match renew(&app, identity(&request)?).await {
        Ok(reloaded) => Ok(HttpResponse::Ok().json(reloaded)),
        Err(problem) => {
            let failed = (AuditOutcome::Failed, problem.detail());
            audit::record(&app, &request, ("reload", ""), failed).await?;
            Err(problem)
        }
    }
}

/// Stop the server in good order.
#[utoipa::path(
    post, path = "/-/quit", tag = "lifecycle", operation_id = "quit",
    params(super::openapi::PostHeaders),
    responses(
        (status = 202, description = "It stops", body = Quitting),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn quit(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let told = audit::record(&app, &request, ("quit", ""), (AuditOutcome::Done, "")).await;
    if let Err(problem) = told {
        // A log that cannot be written must not keep a server from being stopped.
        if app.running()?.log.read_only().is_none() {
            return Err(problem);
        }
        tracing::warn!(%problem, "the log does not tell who asked to quit");
    }
    app.quit.notify_one();
    Ok(HttpResponse::Accepted().json(Quitting { status: "stopping" }))
}

/// A log file that begins anew.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rotated {
    /// Where the lines before lie; null when none was written since the file began.
    older: Option<String>,
    bytes: u64,
}

/// Begin a new log file.
///
/// Files begin anew by themselves when they are large or old; this is for who takes them away.
#[utoipa::path(
    post, path = "/-/logs/rotate", tag = "lifecycle", operation_id = "rotate_logs",
    params(super::openapi::PostHeaders),
    responses(
        (status = 200, description = "It has begun", body = Rotated),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn rotate_logs(
    app: Data<App>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let files = telemetry::log_file().ok_or_else(|| {
        let detail = "log lines go to standard error: there is no file to begin anew";
        Problem::new(&error::CONFLICT, detail).field("telemetry.log_file")
    })?;
    audit::record(
        &app,
        &request,
        ("logs.rotate", ""),
        (AuditOutcome::Done, ""),
    )
    .await?;
    let rotated = actix_web::web::block(move || files.rotate()).await;
    let rotated = rotated.map_err(|error| Problem::new(&error::INTERNAL, error.to_string()))?;
    let rotated = rotated.map_err(|error| {
        let path = app.config.telemetry.log_file.display();
        Problem::new(&error::UNAVAILABLE, format!("{path}: {error}")).field("telemetry.log_file")
    })?;
    let (older, bytes) = rotated.unzip();
    Ok(HttpResponse::Ok().json(Rotated {
        older: older.map(|path| path.display().to_string()),
        bytes: bytes.unwrap_or(0),
    }))
}

/// Whether the process answers at all: `/health/live` under another name.
#[utoipa::path(get, path = "/-/healthy", tag = "lifecycle", operation_id = "healthy", responses(
    (status = 200, description = "It does", body = health::Probe),
))]
pub(crate) async fn healthy() -> HttpResponse {
    health::live().await
}

/// Whether requests for work are taken: `/health/ready` under another name.
#[utoipa::path(get, path = "/-/ready", tag = "lifecycle", operation_id = "is_ready", responses(
    (status = 200, description = "They are", body = health::Health),
    (status = 503, description = "They are not", body = health::Health),
))]
pub(crate) async fn ready(app: Data<App>, request: HttpRequest) -> HttpResponse {
    health::ready(app, request).await
}
