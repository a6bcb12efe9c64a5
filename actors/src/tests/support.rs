//! A log, its actors, and ways to wait for what they do.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hindcast_log::{Body, Clock, Log, Options, Recorded, Vault};
use hindcast_model::breaker::{BreakerPlan, BreakerSettings, ConfiguredBreaker, Fallback};
use hindcast_model::event::{ConfigurationLoaded, Event, Settings};
use hindcast_model::{
    Digest, EventId, KeyId, Name16, Payload, RunId, Seq, State, Stream, UnixMicros,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::{Fault, FaultRequest};
use crate::backup::BackupOptions;
use crate::supervisor::system_command;
use crate::views::{self, RunView};
use crate::{
    ActorOptions, ActorStatus, Actors, Admission, Environment, Identity, Operation, Phase,
    RestartPolicy, RunRequest, SupervisionOptions,
};

/// The machine's clocks.
pub(crate) struct RealClock(std::time::Instant);

impl RealClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests have no binary to read the clock"
    )]
    pub(crate) fn new() -> Self {
        Self(std::time::Instant::now())
    }
}

impl Clock for RealClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests have no binary to read the clock"
    )]
    fn wall(&self) -> UnixMicros {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        UnixMicros(u64::try_from(since.as_micros()).unwrap())
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

/// Ids that differ across all worlds of the process.
static IDS: AtomicU64 = AtomicU64::new(1);

pub(crate) fn fresh_id() -> Uuid {
    // Decided events take the ids right after their observed one.
    Uuid::from_u128(u128::from(IDS.fetch_add(1, Ordering::Relaxed)) << 32)
}

/// A log with actors.
pub(crate) struct World {
    _close: Close,
    pub(crate) log: Log,
    pub(crate) vault: Arc<Vault>,
    pub(crate) actors: Actors,
    pub(crate) free: Arc<AtomicU64>,
    options: ActorOptions,
    seal_key: KeyId,
    dir: TempDir,
}

/// Closes the log of a failed test before its directory goes.
struct Close(Log);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Fast restarts and an eager watchdog.
pub(crate) fn options() -> ActorOptions {
    let restart = RestartPolicy {
        restarts_max: 20,
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        ..RestartPolicy::default()
    };
    let supervision = SupervisionOptions {
        restart,
        beat_every: Duration::from_millis(20),
        beat_age_noticed: Duration::from_millis(1_500),
        beat_age_max: Duration::from_secs(3),
        trace_panics: false,
    };
    let mut options = ActorOptions {
        supervision,
        ..ActorOptions::default()
    };
    options.computation.threads = 2;
    options.computation.running_max = 2;
    // Unoptimised code on a busy machine is not cheap.
    options.experiment.cheap_budget = Duration::from_secs(10);
    options
}

/// Runs a test in an actix system, and not for ever.
pub(crate) fn in_system<F: Future<Output = ()>>(test: F) {
    actix_rt::System::new().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("the test ends in time");
    });
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        let mut pause = tokio::time::interval(Duration::from_millis(1));
        while !condition() {
            pause.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(waited.is_ok(), "waited in vain for: {what}");
}

impl World {
    pub(crate) fn new(options: ActorOptions) -> Self {
        Self::open(tempfile::tempdir().unwrap(), options, KeyId(0))
    }

    /// A world that seals under this key, unless it is 0.
    pub(crate) fn open(dir: TempDir, options: ActorOptions, seal_key: KeyId) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let mut log_options = Options::new(dir.path());
        log_options.segment_bytes = 4 << 20;
        let (log, _) =
            Log::open(log_options, Arc::clone(&clock), fresh_id(), &|_| {}).expect("the log opens");
        let free = Arc::new(AtomicU64::new(1 << 40));
        let shown = Arc::clone(&free);
        let vault = Arc::new(Vault::open(dir.path(), None).expect("the vault opens"));
        if seal_key != KeyId(0) {
            vault.add(seal_key, [5; 32]).expect("a key");
        }
        let environment = Environment {
            clock,
            event_id: Arc::new(|| EventId(fresh_id())),
            free_bytes: Arc::new(move || Some(shown.load(Ordering::Relaxed))),
            numeric_profile: Arc::from("test-profile"),
            vault: Arc::clone(&vault),
            seal_key,
            fresh_key: Arc::new(|| {
                let mut key = [0; 32];
                key[..16].copy_from_slice(fresh_id().as_bytes());
                key
            }),
            nonce: Arc::new(|| {
                let mut nonce = [0; 24];
                nonce[..16].copy_from_slice(fresh_id().as_bytes());
                nonce
            }),
        };
        let actors = Actors::start(&log, (options, BackupOptions::default()), &environment)
            .expect("the actors start");
        Self {
            _close: Close(log.clone()),
            vault,
            dir,
            log,
            actors,
            free,
            options,
            seal_key,
        }
    }

    /// Stops everything in good order.
    pub(crate) async fn stop(self) -> TempDir {
        self.actors.stop().await;
        self.log.close();
        self.dir
    }

    /// Stops everything in good order, and waits until the directory can be opened again: a thread that
    /// has told its outcome may hold the log for a moment more.
    pub(crate) async fn let_go(self) -> TempDir {
        let dir = self.stop().await;
        until("the log is let go", || !hindcast_log::is_open(dir.path())).await;
        dir
    }

    /// Stops and starts again over the same directory.
    pub(crate) async fn restart(self) -> Self {
        let (options, seal_key) = (self.options, self.seal_key);
        let dir = self.let_go().await;
        Self::open(dir, options, seal_key)
    }

    pub(crate) async fn configure(&self, settings: Settings) {
        let event = Event::ConfigurationLoaded(ConfigurationLoaded {
            generation: 1,
            hash: Digest::default(),
            document: Payload::Inline("{}".to_owned()),
            settings,
            breakers: None,
        });
        let command = system_command(EventId(fresh_id()), event);
        self.actors.experiment.submit(command.into()).await.unwrap();
    }

    /// Configures the breakers `fragile` and `spare`, which takes the place of the other.
    pub(crate) async fn guard(&self, settings: BreakerSettings) {
        let of = |name: &str, fallbacks: Vec<Fallback>| ConfiguredBreaker {
            name: name.to_owned(),
            settings,
            fallbacks,
        };
        let spare = Fallback {
            to: "answer".to_owned(),
            breaker: "spare".to_owned(),
        };
        let event = Event::ConfigurationLoaded(ConfigurationLoaded {
            generation: 1,
            hash: Digest::default(),
            document: Payload::Inline("{}".to_owned()),
            settings: Settings::default(),
            breakers: Some(BreakerPlan {
                breakers: vec![of("fragile", vec![spare]), of("spare", Vec::new())],
            }),
        });
        let command = system_command(EventId(fresh_id()), event);
        self.actors.experiment.submit(command.into()).await.unwrap();
    }

    pub(crate) async fn ask(&self, request: RunRequest) -> RunId {
        let run = request.run;
        let admission = self.actors.experiment.request_run(request).await.unwrap();
        assert!(
            matches!(admission, Admission::Admitted { .. }),
            "{admission:?}"
        );
        run
    }

    pub(crate) async fn cancel(&self, run: RunId) {
        let experiment = &self.actors.experiment;
        let cancelled = experiment
            .cancel(run, identity(), "a test".to_owned())
            .await;
        cancelled.expect("it is recorded");
    }

    /// Waits for the end of a run and shows it.
    pub(crate) async fn end(&self, run: RunId) -> RunView {
        let mut watch = self.actors.experiment.watch(run).unwrap();
        let over = tokio::time::timeout(Duration::from_secs(20), watch.over()).await;
        assert!(
            over.is_ok(),
            "run {run} does not end: {:?}",
            self.actors.computation.stats()
        );
        self.view(run)
    }

    pub(crate) fn view(&self, run: RunId) -> RunView {
        let events = self.log.read_stream(Stream::run(run)).unwrap();
        let read = |key, payload: &_| self.read(key, payload);
        let view = views::run(&events, self.actors.computation.progress(run), &read);
        let view = view.expect("a run");
        match &view.original {
            // What is reused stands with the run that it was computed for.
            Some(original) if view.result.is_none() && view.result_hash.is_some() => RunView {
                result: self.view(original.parse().expect("an id")).result,
                ..view
            },
            _ => view,
        }
    }

    pub(crate) fn read(&self, key: KeyId, payload: &Payload) -> Option<String> {
        let text = self.vault.text(self.log.blobs(), key, payload);
        text.ok().map(Cow::into_owned)
    }

    pub(crate) async fn running(&self, run: RunId) {
        until("the run runs", || {
            self.actors.computation.progress(run).is_some()
        })
        .await;
    }

    pub(crate) fn status(&self, actor: &str) -> ActorStatus {
        let statuses = self.actors.supervision.statuses();
        statuses
            .into_iter()
            .find(|status| status.name == actor)
            .expect("an actor")
    }

    pub(crate) fn inject(&self, actor: &str, kind: &'static str, fault: Fault) {
        let vitals = self.actors.supervision.vitals(actor);
        crate::lock::lock(&vitals.faults).push((kind, fault));
    }

    /// The actor was rebuilt for the `restarts`-th time, lives, and the log says so.
    pub(crate) async fn rebuilt(&self, actor: &str, restarts: u32) {
        until(&format!("{actor} is rebuilt {restarts} times"), || {
            let status = self.status(actor);
            let recorded = self.log.state(|state| restarts_of(state, actor));
            status.phase == Phase::Running && status.restarts == restarts && recorded == restarts
        })
        .await;
    }

    pub(crate) fn events(&self) -> Vec<Recorded> {
        self.log.read(Seq(1), 100_000).unwrap()
    }

    pub(crate) fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        let known = |recorded: &Recorded| match &recorded.body {
            Body::Known(event) => matches(event),
            Body::Unknown { .. } => false,
        };
        self.events()
            .iter()
            .filter(|recorded| known(recorded))
            .count()
    }
}

fn restarts_of(state: &State, actor: &str) -> u32 {
    state
        .actor_restarts()
        .find(|(name, _)| *name == actor)
        .map_or(0, |(_, count)| count)
}

pub(crate) fn identity() -> Identity {
    let id = EventId(fresh_id());
    Identity {
        event_id: id,
        correlation: id,
        principal: Name16::new("tester"),
        subject: None,
    }
}

pub(crate) fn request(operation: Operation) -> RunRequest {
    RunRequest {
        run: RunId(fresh_id()),
        identity: identity(),
        question: crate::operation::Question::new(operation).unwrap(),
        seed: 42,
        deadline: None,
        caller_deadline: false,
        idempotency: None,
        divert: true,
    }
}

/// No two have the same seed, so that none is answered with the result of another.
pub(crate) fn fault(fault: FaultRequest) -> RunRequest {
    let seed = fault
        .seed
        .unwrap_or_else(|| (1 << 52) + IDS.fetch_add(1, Ordering::Relaxed));
    RunRequest {
        seed,
        ..request(Operation::Fault(fault))
    }
}

pub(crate) fn validate() -> RunRequest {
    let body = serde_json::json!({
        "graph": "dag { x -> m -> y; z -> x; z -> y }", "treatment": "x", "outcome": "y"
    });
    request(Operation::parse("causal.validate", body).unwrap())
}
