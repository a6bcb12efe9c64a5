//! The life of a server: bind the port, open the log, start the actors, serve, stop. The port
//! answers for health from the first moment; everything else is answered once recovery is done.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use actix_web::{HttpServer, rt};
use hindcast_actors::{Actors, operation};
use hindcast_log::{Log, LogError, Recovery, VaultError};
use hindcast_model::event::{ConfigurationLoaded, Event, ServerStarted, ServerStopped, Settings};
use hindcast_model::limits::INLINE_BYTES_MAX;
use hindcast_model::{Command, DECIDER_VERSION, KeyId, Name16, Payload, Submission};
use rustix::net::sockopt;
use tokio::sync::oneshot;

use crate::access::{Access, KeyFileError};
use crate::backups::{self, TargetProblem};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use crate::http::{self, App, ConfigSource, Running};
use crate::metrics::{RecorderTaken, sampler};
use crate::tls::{Certificate, TlsError};
use crate::{
    breakers, clock, descriptors, hangup, ids, metrics, overload, retention, slo, snapshots,
    telemetry,
};

mod options;

use options::{actor_options, environment, log_options, newest_snapshot};

/// Why a server did not start, or did not stop in good order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot create the data directory {}: {source}", path.display())]
    DataDir {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the log did not take an event of the start or the stop: {0}")]
    Record(String),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Backup(#[from] TargetProblem),
    #[error(transparent)]
    Access(#[from] KeyFileError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("https: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("metrics: {0}")]
    Metrics(#[from] RecorderTaken),
    #[error("serving: {0}")]
    Io(#[from] std::io::Error),
    #[error("the start was interrupted: {0}")]
    Interrupted(String),
}

impl ServeError {
    /// What to do about it, when that is not plain from the message.
    #[must_use]
    pub fn advice(&self, data_dir: &Path) -> Option<String> {
        let Self::Log(LogError::Corrupt { .. }) = self else {
            return None;
        };
        let dir = data_dir.display();
        Some(format!(
            "nothing was changed; copy {dir} before anything else, then \
             `hindcast verify --data-dir {dir}` names everything that is damaged, and \
             `hindcast repair --plan --data-dir {dir}` what of it can be healed"
        ))
    }
}

/// A moment in the life of a server that its owner wants to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The port is bound and answers for health; recovery begins.
    Bound(SocketAddr),
    /// Work is taken.
    Ready(SocketAddr),
}

/// How a server ended in good order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Somebody asked for it.
    Stopped,
    /// An actor failed for good: the process should begin anew.
    ActorFailed(String),
}

/// Runs a server until `stop` ends or an actor fails for good, and returns after everything is
/// closed in good order. A reload reads the configuration from `source`; without one it stays as it is.
pub async fn serve(
    (config, source): (Config, Option<ConfigSource>),
    tell: impl Fn(Moment),
    stop: impl Future<Output = &'static str>,
) -> Result<Ended, ServeError> {
    config.check()?;
    config.check_exposure()?;
    let metrics = metrics::process_metrics()?;
    overload::describe();
    metrics.recorder().limit(config.metrics.series_max);
    let config = Arc::new(config);
    let listener = bind(config.server.listen)?;
    let address = listener.local_addr()?;
    let access = Access::open(&config)?;
    let certificate = Certificate::open(&config)?;
    access.warn_if_plain(&config);
    let from = (&*config, source);
    let app = Data::new(App::new(from, metrics, (address, access, certificate)));
    let server = http_server(app.clone(), listener)?;
    let handle = server.handle();
    let serving = rt::spawn(server);
    tell(Moment::Bound(address));
    tracing::info!(%address, data_dir = %config.server.data_dir.display(), "port bound");

    let mut stop = std::pin::pin!(stop);
    let started = tokio::select! {
        started = recover(&app) => started,
        reason = &mut stop => {
            app.begin_stop();
            stop_http(&handle, &config).await;
            return Err(ServeError::Interrupted(reason.to_owned()));
        }
    };
    let (log, actors) = match started {
        Ok(running) => running,
        Err(error) => {
            let advice = error.advice(&config.server.data_dir);
            tracing::error!(%error, advice, "the server does not start");
            stop_http(&handle, &config).await;
            return Err(error);
        }
    };
    let sample_every = Duration::from_millis(config.metrics.sample_interval_ms);
    let recorder = metrics.recorder();
    let chores = [
        rt::spawn(http::chores(app.clone())),
        rt::spawn(snapshots::take_snapshots(log.clone(), config.clone())),
        rt::spawn(retention::retain(log.clone(), config.clone())),
        rt::spawn(sampler::sample(log.clone(), recorder, sample_every)),
        rt::spawn(hangup::reload_on_hangup(app.clone())),
    ];
    tracing::info!(%address, head = %log.head(), "ready");
    tell(Moment::Ready(address));
    let (ended, reason) = tokio::select! {
        reason = &mut stop => (Ended::Stopped, reason.to_owned()),
        () = app.asked_to_quit() => (Ended::Stopped, "asked to quit".to_owned()),
        reason = failed(&config, &actors) => (Ended::ActorFailed(reason.clone()), reason),
        ended = serving => {
            let error = ended.map_or_else(|error| Some(error.to_string()), failure);
            tracing::error!(error, "the HTTP server ended by itself");
            (Ended::Stopped, "http server ended".to_owned())
        }
    };
    tracing::info!(reason, "stopping");
    app.begin_stop();
    stop_http(&handle, &config).await;
    chores.iter().for_each(rt::task::JoinHandle::abort);
    close(log, actors, &config, &reason).await?;
    Ok(ended)
}

fn failure(ended: std::io::Result<()>) -> Option<String> {
    ended.err().map(|error| error.to_string())
}

/// Waits until an actor has failed for good, where the process is to begin anew then. In safe mode
/// it has come as far as it can.
async fn failed(config: &Config, actors: &Actors) -> String {
    let given_up = actors.supervision.given_up();
    match config.supervision.process_restarts_max == 0 || !config.server.safe_mode.is_empty() {
        true => std::future::pending().await,
        false => given_up.await,
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|source| ServeError::Bind { address, source })
}

fn http_server(
    app: Data<App>,
    listener: TcpListener,
) -> Result<actix_web::dev::Server, ServeError> {
    let config = app.config.clone();
    let workers = match config.server.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        workers => workers,
    };
    let http = &config.http;
    let connections = app.clone();
    let tls = app.certificate.clone();
    let connections_max = descriptors::make_room(http.connections_max);
    let server = HttpServer::new(move || {
        // It is made on the thread that uses it.
        if let Err(error) = rustix::thread::set_name(c"http-worker") {
            tracing::debug!(%error, "the thread has no name");
        }
        app.workers.join();
        http::application(app.clone())
    })
    .workers(workers)
    .max_connections(connections_max.div_ceil(workers))
    .keep_alive(Duration::from_millis(http.keep_alive_ms))
    .client_request_timeout(Duration::from_millis(http.head_timeout_ms))
    .client_disconnect_timeout(Duration::from_millis(1_000))
    // Who closes its side has gone: work that only it waits for can end.
    .h1_allow_half_closed(false)
    .shutdown_timeout(config.server.stop_grace_ms.div_ceil(1_000))
    .disable_signals()
    .on_connect(move |_, extensions| {
        extensions.insert(connections.metrics.connection());
        extensions.insert(http::ComesAgain::default());
    })
    .tls_handshake_timeout(Duration::from_millis(http.head_timeout_ms));
    // Every connection has what is set here.
    let write_timeout_ms = u32::try_from(http.write_timeout_ms).unwrap_or(u32::MAX);
    if let Err(error) = sockopt::set_tcp_user_timeout(&listener, write_timeout_ms) {
        tracing::warn!(%error, "clients that take no answers are not cut off");
    }
    let server = match tls {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.server_config()?)?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

/// Opens the log, records the start, and starts the actors, which dispatch what is pending.
async fn recover(app: &Data<App>) -> Result<(Log, Actors), ServeError> {
    let config = app.config.clone();
    let data_dir = config.server.data_dir.clone();
    let looks_only = config.looks_only();
    if !looks_only {
        std::fs::create_dir_all(&data_dir).map_err(|source| ServeError::DataDir {
            path: data_dir.clone(),
            source,
        })?;
        backups::clear_scratch(&data_dir);
    }
    let watched = app.clone();
    let mut options = log_options(&config);
    let opening = rt::task::spawn_blocking(move || {
        options.checkpoint = newest_snapshot(&options.data_dir, looks_only);
        Log::open(options, Arc::new(SystemClock), ids::uuid(), &|progress| {
            watched.recovering(progress.to_string());
        })
    });
    let (log, recovery) = opening
        .await
        .map_err(|error| ServeError::Interrupted(error.to_string()))??;
    tell_repairs(&recovery);
    let opened_at = log.head().seq;
    record_start(&log, &recovery, &config).await?;
    let environment = environment(&config, log.state(|state| state.shredded().collect()))?;
    let mut options = (actor_options(&config), backups::options(&config)?);
    options.0.counted_after = Some(opened_at);
    let actors = Actors::start(&log, options, &environment)?;
    telemetry::guard(Arc::clone(&actors.collector));
    metrics::server_started(&app.address.to_string(), clock::wall());
    app.ready(Running {
        log: log.clone(),
        vault: environment.vault,
        experiment: actors.experiment.clone(),
        computation: actors.computation.clone(),
        backup: actors.backup.clone(),
        supervision: actors.supervision.clone(),
    });
    Ok((log, actors))
}

/// Whoever runs the server hears what opening the log found and repaired.
fn tell_repairs(recovery: &Recovery) {
    let events = recovery.events;
    if !recovery.clean && !recovery.fresh {
        tracing::warn!(events, "the last process did not stop in good order");
    }
    if let Some(torn) = &recovery.torn {
        let (segment, kept_in) = (&torn.segment, &torn.kept_in);
        let (offset, bytes) = (torn.offset, torn.bytes);
        tracing::warn!(%segment, offset, bytes, %kept_in, "torn tail of the log cut");
    }
    if let Some(rebuilt) = &recovery.rebuilt {
        let (reason, moved_to) = (&rebuilt.reason, &rebuilt.moved_to);
        let written = rebuilt.events;
        tracing::warn!(%reason, %moved_to, written, "lookup store rebuilt from the log");
    }
    if let Some(why) = &recovery.unlocked {
        tracing::warn!(%why, "the directory is not locked: no other server may run on it");
    }
    if let Some(why) = &recovery.read_only {
        tracing::error!(%why, events, "the log is read-only: nothing is recorded");
    }
}

/// What results are computed with: two machines with the same profile give the same bytes.
#[must_use]
pub fn numeric_profile() -> String {
    format!(
        "{}; libm 0.2; hindcast {}",
        std::env::consts::ARCH,
        env!("CARGO_PKG_VERSION")
    )
}

/// What decisions read of the configuration.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    let values: [(&str, u64); Settings::KEYS.len()] = [
        ("runs.in_flight_max", config.runs.in_flight_max.into()),
        ("runs.idempotency_ttl_ms", config.runs.idempotency_ttl_ms),
        (
            "runs.idempotency_entries_max",
            config.runs.idempotency_entries_max,
        ),
        ("disk.reserve_bytes", config.disk.reserve_bytes),
    ];
    let mut settings = Settings::default();
    for (key, value) in values {
        settings
            .set(key, value)
            .expect("decisions read this key, and the configuration was checked");
    }
    settings
}

/// The event that this configuration holds from here on, and its generation.
pub(crate) fn configuration_event(log: &Log, config: &Config) -> Result<(u64, Event), String> {
    let document = config.document();
    if document.len() > INLINE_BYTES_MAX {
        return Err("the configuration is too long".to_owned());
    }
    let generation = log.state(|state| state.server().configuration_generation) + 1;
    let event = Event::ConfigurationLoaded(ConfigurationLoaded {
        generation,
        hash: operation::digest(document.as_bytes()),
        document: Payload::Inline(document),
        settings: settings(config),
        breakers: Some(breakers::plan(config)),
    });
    Ok((generation, event))
}

async fn record_start(log: &Log, recovery: &Recovery, config: &Config) -> Result<(), ServeError> {
    if log.read_only().is_some() {
        return Ok(());
    }
    let (_, loaded) = configuration_event(log, config).map_err(ServeError::Record)?;
    let started = Event::ServerStarted(ServerStarted {
        binary_version: env!("CARGO_PKG_VERSION").to_owned(),
        decider_version: DECIDER_VERSION,
        numeric_profile: numeric_profile(),
        clean: recovery.clean,
    });
    let objectives = slo::event(log, config).map_err(ServeError::Record)?;
    let events = [started, loaded].into_iter().chain(objectives);
    let commands = events.map(own_command).collect();
    record(log, Submission { commands }).await
}

/// A command of the server itself.
pub(crate) fn own_command(event: Event) -> Command {
    let id = ids::event();
    Command {
        event_id: id,
        causation: id,
        correlation: id,
        principal: Name16::new("server"),
        tenant: Name16::new("system"),
        key: KeyId(0),
        expect: None,
        event,
    }
}

async fn record(log: &Log, submission: Submission) -> Result<(), ServeError> {
    let (send, receive) = oneshot::channel();
    let reply = Box::new(move |result| {
        // Nobody waits any more when the start was interrupted.
        drop(send.send(result));
    });
    log.submit(submission, reply)
        .map_err(|error| ServeError::Record(error.to_string()))?;
    let result = receive
        .await
        .map_err(|_| ServeError::Record("the log closed".to_owned()))?;
    result
        .map(|_| ())
        .map_err(|error| ServeError::Record(error.to_string()))
}

async fn stop_http(handle: &ServerHandle, config: &Config) {
    // Event streams never end by themselves, so the grace has an end here too.
    let grace = Duration::from_millis(config.server.stop_grace_ms);
    if tokio::time::timeout(grace, handle.stop(true))
        .await
        .is_err()
    {
        tracing::warn!("requests in flight were cut off at the end of the grace");
        handle.stop(false).await;
    }
}

async fn close(log: Log, actors: Actors, config: &Config, reason: &str) -> Result<(), ServeError> {
    telemetry::unguard();
    actors.stop().await;
    let writable = log.read_only().is_none();
    let stopped = Event::ServerStopped(ServerStopped {
        reason: reason.to_owned(),
    });
    let mut recorded = Ok(());
    if writable {
        recorded = record(&log, own_command(stopped).into()).await;
        // It says itself why there is none.
        drop(snapshots::take_snapshot(&log, config).await);
    }
    let closing = rt::task::spawn_blocking(move || log.close());
    closing
        .await
        .map_err(|error| ServeError::Interrupted(error.to_string()))?;
    recorded?;
    tracing::info!("stopped");
    Ok(())
}

/// Ends with the name of the signal that asks the process to stop.
pub async fn stop_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be heard; only a kill ends this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
