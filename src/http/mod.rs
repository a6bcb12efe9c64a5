//! HTTP: the only code that knows actix-web. A handler reads parameters, calls an actor and
//! writes an answer; what all of them need is here once.

mod audit;
mod backups;
mod body;
mod breakers;
mod cache;
mod cacheable;
mod capacity;
mod causal;
mod datasets;
mod debug;
mod drills;
mod early;
mod error;
mod events;
mod experiments;
mod guard;
mod health;
mod hints;
mod history;
mod keys;
mod lifecycle;
mod observe;
mod openapi;
mod outcome;
mod pages;
mod parameters;
mod privacy;
mod profile;
mod rate;
mod repeated;
mod roles;
mod routes;
mod runs;
mod scan;
mod site;
mod slo;
mod snapshots;
mod stream;
mod unended;
mod unique;
mod vaults;
mod whatif;
mod workers;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::Data;
use hindcast_actors::operation::Questions;
use hindcast_actors::{
    BackupHandle, ComputationHandle, ExperimentHandle, Identity, SupervisionHandle,
};
use hindcast_log::{Log, Recorded, Vault};
use hindcast_model::{KeyId, Name16, Payload, Seq};
use tokio::sync::{Notify, Semaphore, watch};

use crate::access::{ANONYMOUS, Access};
use crate::config::{Config, LiveConfig};
use crate::metrics::Metrics;
use crate::overload::{Gate, GateOptions};
use crate::stall::Stall;
use crate::tls::Certificate;
use crate::{clock, ids};
use body::BodyMemory;
use error::Problem;
use health::Measured;
use workers::Workers;

pub(crate) use backups::wanted;
pub use early::ComesAgain;
pub use lifecycle::ConfigSource;
pub use openapi::document as openapi_document;
pub(crate) use parameters::{FALLBACK, SUBJECT};
pub use routes::application;

/// How often what was turned away is recorded, and figures are refreshed.
const CHORES_EVERY: Duration = Duration::from_secs(1);

/// What every handler sees.
pub struct App {
    pub config: LiveConfig,
    pub metrics: &'static Metrics,
    pub address: SocketAddr,
    pub access: Access,
    pub certificate: Option<Certificate>,
    /// Where a reload reads the configuration.
    source: Option<ConfigSource>,
    renewing: tokio::sync::Mutex<()>,
    turns: repeated::Turns,
    quit: Notify,
    rates: Option<rate::Rates>,
    /// Validations and questions about paths.
    cheap: Arc<Gate>,
    /// Discoveries.
    heavy: Arc<Gate>,
    denials: audit::Denials,
    capacity: crate::capacity::Watch,
    keeper: vaults::Keeper,
    openapi: String,
    memory: BodyMemory,
    questions: Questions,
    streams: Arc<Semaphore>,
    history: Arc<Semaphore>,
    whatif: Arc<Semaphore>,
    running: OnceLock<Running>,
    recovering: Mutex<String>,
    measured: RwLock<Option<Measured>>,
    stall: Mutex<Stall>,
    pub workers: Workers,
    head: OnceLock<watch::Receiver<Seq>>,
    stopping: AtomicBool,
}

/// What is there once recovery is done.
pub struct Running {
    pub log: Log,
    pub vault: Arc<Vault>,
    pub experiment: ExperimentHandle,
    pub computation: ComputationHandle,
    pub backup: BackupHandle,
    pub supervision: SupervisionHandle,
}

impl Running {
    /// The text of a payload, for views; none when it is not there or its key is not.
    fn read(&self, key: KeyId, payload: &Payload) -> Option<String> {
        let text = self.vault.text(self.log.blobs(), key, payload);
        text.ok().map(Cow::into_owned)
    }
}

impl App {
    #[must_use]
    pub fn new(
        (config, source): (&Config, Option<ConfigSource>),
        metrics: &'static Metrics,
        (address, access, certificate): (SocketAddr, Access, Option<Certificate>),
    ) -> Self {
        Self {
            openapi: openapi::document(),
            memory: BodyMemory::new(&config.http),
            questions: Questions::default(),
            streams: Arc::new(Semaphore::new(config.http.streams_max)),
            history: Arc::new(Semaphore::new(config.http.history_max)),
            whatif: Arc::new(Semaphore::new(config.whatif.at_once_max)),
            running: OnceLock::new(),
            recovering: Mutex::default(),
            measured: RwLock::default(),
            stall: Mutex::default(),
            workers: Workers::default(),
            head: OnceLock::new(),
            stopping: AtomicBool::new(false),
            config: LiveConfig::new(config.clone()),
            metrics,
            address,
            access,
            certificate,
            source,
            renewing: tokio::sync::Mutex::default(),
            turns: repeated::Turns::default(),
            quit: Notify::new(),
            rates: rate::Rates::new(config),
            cheap: gate("cheap", config),
            heavy: gate("heavy", config),
            denials: audit::Denials::new(),
            capacity: crate::capacity::Watch::default(),
            keeper: vaults::Keeper::new(config),
        }
    }

    /// Says how far recovery is.
    pub fn recovering(&self, progress: String) {
        *self
            .recovering
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = progress;
    }

    fn recovery_text(&self) -> String {
        let text = self.recovering.lock();
        text.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn measured(&self) -> Option<Measured> {
        let measured = self.measured.read();
        measured.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the server for work.
    pub fn ready(&self, running: Running) {
        let (send, receive) = watch::channel(running.log.head().seq);
        running.log.subscribe(Box::new(move |batch| {
            let last = batch.events.last().map(Recorded::seq);
            last.is_none_or(|last| send.send(last).is_ok())
        }));
        assert!(self.head.set(receive).is_ok(), "a server gets ready once");
        self.measure(&running);
        assert!(
            self.running.set(running).is_ok(),
            "a server gets ready once"
        );
    }

    fn measure(&self, running: &Running) {
        let measured = health::measure(self, running);
        let mut place = self
            .measured
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(measured);
    }

    /// Ends when somebody who may asked the server to stop.
    pub async fn asked_to_quit(&self) {
        self.quit.notified().await;
    }

    /// Refuses further work.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Ends when the server begins to stop.
    async fn stopped(&self) {
        while !self.is_stopping() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// What handlers work with, or the answer that the server is starting or stopping.
    fn running(&self) -> Result<&Running, Problem> {
        if self.is_stopping() {
            let problem = Problem::new(&error::UNAVAILABLE, "the server is stopping");
            return Err(problem.retry_after(5).closing());
        }
        self.running.get().ok_or_else(|| {
            let problem = Problem::new(&error::STARTING, "the log is being recovered");
            problem
                .hint("ask /health/startup how far it is".to_owned())
                .retry_after(1)
        })
    }
}

/// Requests of each lane that are always worked on at once.
const CONCURRENCY_MIN: usize = 2;

fn gate(lane: &'static str, config: &Config) -> Arc<Gate> {
    let overload = &config.overload;
    let (waiting_max, concurrency_max) = match lane {
        "cheap" => (overload.cheap_waiting_max, overload.cheap_concurrency_max),
        _ => (overload.heavy_waiting_max, overload.heavy_concurrency_max),
    };
    let options = GateOptions {
        concurrency_min: CONCURRENCY_MIN.min(concurrency_max),
        concurrency_max,
        waiting_max,
        wait_max: Duration::from_millis(overload.waiting_ms_max),
        retry_percent_max: overload.retry_percent_max,
    };
    Gate::new(lane, &options)
}

/// Runs `work` where it may read the disk.
async fn blocking<R: Send + 'static>(
    app: &Data<App>,
    work: impl FnOnce(&Running) -> Result<R, Problem> + Send + 'static,
) -> Result<R, Problem> {
    let app = app.clone();
    let done = actix_web::web::block(move || work(app.running()?)).await;
    done.unwrap_or_else(|error| Err(Problem::new(&error::INTERNAL, error.to_string())))
}

/// The subject as it was written, for what an idempotency key stands for.
fn subject(request: &HttpRequest) -> &[u8] {
    let value = request.headers().get(&SUBJECT);
    value.map_or(&[], |value| value.as_bytes())
}

/// Who asks, and whose data these are.
fn identity(request: &HttpRequest) -> Result<Identity, Problem> {
    Ok(Identity {
        event_id: ids::event(),
        correlation: observe::trace(request).correlation(),
        principal: guard::principal(request)
            .map_or_else(|| Name16::new(ANONYMOUS), |known| known.name),
        subject: parameters::subject(request)?,
    })
}

/// Reads the configuration, the keys and the certificate again, in the server's own name.
pub async fn reload(app: &Data<App>) {
    let id = ids::event();
    let own = Identity {
        event_id: id,
        correlation: id,
        principal: Name16::new("server"),
        subject: None,
    };
    if let Err(problem) = lifecycle::renew(app, own).await {
        tracing::error!(%problem, "the configuration was not read again; the one before holds");
    }
}

/// What has to be done every now and then while a server runs.
pub async fn chores(app: Data<App>) {
    let mut tick = tokio::time::interval(CHORES_EVERY);
    loop {
        tick.tick().await;
        app.cheap.show();
        app.heavy.show();
        if let Some(running) = app.running.get() {
            app.measure(running);
        }
        app.metrics.derive(clock::monotonic_micros());
        app.capacity
            .look(app.metrics.recorder(), clock::monotonic_micros());
    }
}
