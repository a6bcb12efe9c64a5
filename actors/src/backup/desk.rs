//! What the actor, its threads and the handles share: who works on what, and who waits for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hindcast_log::{Batch, Log};
use hindcast_model::breaker::{Admission, backup_breaker};
use hindcast_model::event::{BackupKind, BackupRequested};
use hindcast_model::{BackupId, Event, Seq, Stream, UnixMicros};
use metrics::Gauge;
use tokio::sync::oneshot;

use super::options::BackupOptions;
use crate::Environment;
use crate::budget::micros;
use crate::component::panic_text;
use crate::lock::lock;
use crate::supervisor::{as_f64, system_command};

/// The worker of targets that are no configured ones.
const OTHERS: &str = "";

/// How often is looked whether the threads have ended.
const JOIN_EVERY: Duration = Duration::from_millis(2);

/// A piece of work for one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) backup: BackupId,
    pub(super) target: String,
    pub(super) kind: BackupKind,
}

/// What a worker is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Backup(Job),
    /// To practise a restore.
    Drill {
        target: String,
        /// Somebody asked for it, and is told when there is nothing to practise with.
        asked: bool,
    },
}

/// A backup of this epoch, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) backup: BackupId,
    pub(super) to: Seq,
}

/// How far shipping to a target is.
#[derive(Debug, Clone, Default)]
pub(super) struct Shipping {
    /// The backup that is there, so that what is shipped can be restored.
    pub(super) base: Option<Base>,
    /// When it was last seen there, monotonic.
    pub(super) seen_at: u64,
    /// How often it was gone. What was sent before is not believed to be there.
    pub(super) times_lost: u64,
    pub(super) to: Seq,
    /// When the target last had everything, monotonic.
    pub(super) level_at: u64,
    pub(super) error: Option<String>,
}

/// The backup that shipping begins with, as far as it cannot be had.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First {
    /// How often it was asked for.
    pub(super) asked: u32,
    /// Until when it is not asked for again, monotonic.
    pub(super) not_before: u64,
}

/// One target at work.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) queue: Mutex<VecDeque<Task>>,
    pub(super) wake: Condvar,
    pub(super) shipping: Mutex<Shipping>,
    pub(super) first: Mutex<First>,
    /// Shredded keys that the target knows of.
    pub(super) redacted: AtomicUsize,
    lag: Option<Gauge>,
    failing: Option<Gauge>,
}

impl Place {
    fn new(name: &str, continuous: bool) -> Arc<Self> {
        let gauge = |gauge: &'static str| {
            continuous.then(|| metrics::gauge!(gauge, "target" => name.to_owned()))
        };
        Arc::new(Self {
            name: name.to_owned(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            shipping: Mutex::default(),
            first: Mutex::default(),
            redacted: AtomicUsize::new(0),
            lag: gauge("backup_ship_lag_seconds"),
            failing: gauge("backup_ship_failing"),
        })
    }
}

type Waiters = BTreeMap<BackupId, Vec<oneshot::Sender<()>>>;

/// See the module.
pub(crate) struct Desk {
    pub(super) log: Log,
    pub(super) environment: Environment,
    pub(super) options: BackupOptions,
    pub(super) places: Vec<Arc<Place>>,
    pub(super) stopping: AtomicBool,
    /// Backups that a worker has or had.
    taken: Mutex<BTreeSet<BackupId>>,
    waiters: Mutex<Waiters>,
    /// When a backup of each target was last asked for.
    asked: Mutex<BTreeMap<String, UnixMicros>>,
    /// When a restore from each target was last practised.
    drilled: Mutex<BTreeMap<String, UnixMicros>>,
    started_at: UnixMicros,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Desk {
    /// Starts the threads.
    pub(crate) fn start(
        log: &Log,
        options: BackupOptions,
        environment: &Environment,
    ) -> std::io::Result<Arc<Self>> {
        let targets = options.targets.iter();
        let places = targets.map(|target| Place::new(&target.name, target.continuous));
        let places = places.chain([Place::new(OTHERS, false)]).collect();
        let desk = Arc::new(Self {
            log: log.clone(),
            environment: environment.clone(),
            options,
            places,
            stopping: AtomicBool::new(false),
            taken: Mutex::default(),
            waiters: Mutex::default(),
            asked: Mutex::new(last_asked(log)),
            drilled: Mutex::new(last_drilled(log)),
            started_at: environment.clock.wall(),
            threads: Mutex::default(),
        });
        // Where nothing is written, what is asked for waits for the next start.
        let works = log.read_only().is_none();
        for place in desk.places.clone().iter().filter(|_| works) {
            let continuous = desk
                .options
                .targets
                .iter()
                .any(|target| target.name == place.name && target.continuous);
            if continuous {
                desk.spawn("ship", place, super::shipping::run)?;
            }
            desk.spawn("backup", place, super::worker::run)?;
        }
        Ok(desk)
    }

    fn spawn(
        self: &Arc<Self>,
        what: &str,
        place: &Arc<Place>,
        body: fn(&Self, &Place),
    ) -> std::io::Result<()> {
        let (desk, place) = (Arc::clone(self), Arc::clone(place));
        let thread = std::thread::Builder::new()
            .name(format!("hindcast-{what}"))
            .spawn(move || body(&desk, &place))?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Tells the threads to end as soon as the object at hand is sent. What was not finished is taken
    /// up again at the next start.
    pub(crate) fn close(&self) {
        self.stopping.store(true, Ordering::Release);
        for place in &self.places {
            let _queue = lock(&place.queue);
            place.wake.notify_all();
        }
    }

    /// Ends the threads and joins each, so that none of them holds the log any more; but one that
    /// waits for its target is left to itself after `wait_max`. Returns how many were.
    pub(crate) async fn stop(&self, wait_max: Duration) -> usize {
        self.close();
        let begun = self.environment.clock.monotonic();
        let late = |now: u64| now.saturating_sub(begun) > micros(wait_max);
        let mut left = std::mem::take(&mut *lock(&self.threads));
        loop {
            let (ended, at_work): (Vec<_>, Vec<_>) =
                left.into_iter().partition(JoinHandle::is_finished);
            for thread in ended {
                let name = thread.thread().name().unwrap_or_default().to_owned();
                if let Err(panic) = thread.join() {
                    let error = panic_text(&*panic);
                    tracing::error!(name, error, "a thread of backups panicked");
                }
            }
            left = at_work;
            if left.is_empty() || late(self.environment.clock.monotonic()) {
                break;
            }
            tokio::time::sleep(JOIN_EVERY).await;
        }
        for thread in &left {
            let name = thread.thread().name().unwrap_or_default();
            tracing::warn!(name, "a thread of backups still waits for its target");
        }
        left.len()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until there may be something to do for this place.
    pub(super) fn rest(&self, place: &Place, longest: Duration, until_job: bool) {
        let queue = lock(&place.queue);
        if self.is_stopping() || (until_job && !queue.is_empty()) {
            return;
        }
        // A poisoned lock is a panic elsewhere, which was told.
        drop(place.wake.wait_timeout(queue, longest));
    }

    /// Hands every open backup to its worker, once.
    pub(crate) fn take_up(&self) {
        // Held while the state is read, so that no backup that has just ended is taken up again.
        let mut taken = lock(&self.taken);
        let open: Vec<Job> = self.log.state(|state| {
            let open = state.backups_open();
            open.map(|(backup, open)| Job {
                backup,
                target: open.target.clone(),
                kind: open.kind,
            })
            .collect()
        });
        taken.retain(|backup| open.iter().any(|job| job.backup == *backup));
        for job in open {
            if !taken.insert(job.backup) {
                continue;
            }
            let own = self.places.iter().find(|place| place.name == job.target);
            let Some(place) = own.or(self.places.last()) else {
                continue;
            };
            lock(&place.queue).push_back(Task::Backup(job));
            place.wake.notify_all();
        }
    }

    /// Asks for the drills that are due: of targets that have a backup to practise with.
    pub(crate) fn drill_by_schedule(&self) {
        if self.log.read_only().is_some() {
            return;
        }
        let now = self.environment.clock.wall();
        for target in &self.options.targets {
            let last = lock(&self.drilled).get(&target.name).copied();
            // A server that has just begun has nothing to practise with.
            let last = last.unwrap_or(self.started_at);
            if self
                .options
                .drill_schedule
                .is_due((Some(last), self.started_at), now)
            {
                self.drill(&target.name, false);
            }
        }
    }

    /// Has a restore from this target practised, unless it will be already.
    pub(super) fn drill(&self, target: &str, asked: bool) {
        lock(&self.drilled).insert(target.to_owned(), self.environment.clock.wall());
        let own = self.places.iter().find(|place| place.name == target);
        let Some(place) = own.or(self.places.last()) else {
            return;
        };
        let task = Task::Drill {
            target: target.to_owned(),
            asked,
        };
        let mut queue = lock(&place.queue);
        if !queue.contains(&task) {
            queue.push_back(task);
        }
        place.wake.notify_all();
    }

    /// Asks for the backups that are due.
    pub(crate) fn ask_by_schedule(&self) {
        let now = self.environment.clock.wall();
        for target in &self.options.targets {
            let last = lock(&self.asked).get(&target.name).copied();
            let schedule = self.options.schedule;
            if schedule.is_due((last, self.started_at), now) && self.lets_pass(&target.name, now) {
                self.ask(&target.name);
            }
        }
    }

    /// A target that fails is left alone until its breaker lets a backup try it. Who asks by hand
    /// still gets an attempt.
    pub(super) fn lets_pass(&self, target: &str, now: UnixMicros) -> bool {
        let name = backup_breaker(target);
        self.log.state(|state| {
            let breaker = state.breakers().get(&name);
            breaker.is_none_or(|breaker| !matches!(breaker.admit(now), Admission::Refuse { .. }))
        })
    }

    /// Asks for an incremental backup of a target, unless one is asked for already. Returns whether
    /// it was.
    pub(super) fn ask(&self, target: &str) -> bool {
        let open = self.log.state(|state| {
            let mut open = state.backups_open();
            open.any(|(_, open)| open.target == target)
        });
        // Where nothing is written, nothing can be asked for.
        if open || self.log.read_only().is_some() {
            return false;
        }
        let now = self.environment.clock.wall();
        lock(&self.asked).insert(target.to_owned(), now);
        let id = (self.environment.event_id)();
        let event = Event::BackupRequested(BackupRequested {
            // Unique as the event is.
            backup: BackupId(id.0),
            target: target.to_owned(),
            kind: BackupKind::Incremental,
            idempotency: None,
        });
        let submitted = self
            .log
            .submit(system_command(id, event).into(), Box::new(drop));
        if let Err(error) = &submitted {
            tracing::warn!(%error, target, "a backup was not asked for");
            lock(&self.asked).remove(target);
        }
        submitted.is_ok()
    }

    /// Records an event and waits until it is durable.
    pub(super) fn record(&self, event: Event) {
        let command = system_command((self.environment.event_id)(), event);
        if let Err(error) = self.log.submit_and_wait(command.into()) {
            tracing::warn!(%error, "the end of a backup was not recorded");
        }
    }

    /// Tells those who wait for backups that ended. Runs on the log's thread.
    pub(crate) fn see(&self, batch: &Batch) -> bool {
        let mut concerned = false;
        for event in batch.events.iter().filter_map(|recorded| recorded.event()) {
            if let Event::BackupEnded(ended) = event
                && !ended.retried
            {
                let waiting = lock(&self.waiters).remove(&ended.backup);
                for waiter in waiting.into_iter().flatten() {
                    // Who does not wait any more need not be told.
                    let _ = waiter.send(());
                }
            }
            if let Event::BackupRequested(_) = event {
                concerned = true;
            }
        }
        concerned
    }

    /// Ends when the backup has ended, if it has not yet.
    pub(super) fn watch(&self, backup: BackupId) -> oneshot::Receiver<()> {
        let (send, receive) = oneshot::channel();
        let mut waiters = lock(&self.waiters);
        let open = self
            .log
            .state(|state| state.backups_open().any(|(open, _)| open == backup));
        if open {
            waiters.entry(backup).or_default().push(send);
        }
        receive
    }

    /// Shows how far shipping is.
    pub(crate) fn show(&self) {
        let now = self.environment.clock.monotonic();
        let head = self.log.head().seq;
        for place in &self.places {
            let shipping = lock(&place.shipping).clone();
            if let (Some(lag), Some(failing)) = (&place.lag, &place.failing) {
                let behind = match shipping.to >= head {
                    true => 0,
                    false => now.saturating_sub(shipping.level_at),
                };
                lag.set(as_f64(behind) / 1e6);
                failing.set(f64::from(u8::from(shipping.error.is_some())));
            }
        }
    }
}

/// When a restore from each target was last practised, by the log.
fn last_drilled(log: &Log) -> BTreeMap<String, UnixMicros> {
    let events = log.read_stream(Stream::system("drills"));
    let events = events.unwrap_or_else(|error| {
        tracing::warn!(%error, "earlier drills could not be read");
        Vec::new()
    });
    let ended = events.iter().filter_map(|recorded| match recorded.event() {
        Some(Event::DrillEnded(ended)) => Some((ended.target.clone(), recorded.context.at)),
        Some(_) | None => None,
    });
    ended.collect()
}

/// When a backup of each target was last asked for, by the log.
fn last_asked(log: &Log) -> BTreeMap<String, UnixMicros> {
    let events = log.read_stream(Stream::system("backups"));
    let events = events.unwrap_or_else(|error| {
        tracing::warn!(%error, "earlier backups could not be read");
        Vec::new()
    });
    let mut asked = BTreeMap::new();
    for recorded in events {
        if let Some(Event::BackupRequested(request)) = recorded.event()
            && request.kind != BackupKind::Verification
        {
            asked.insert(request.target.clone(), recorded.context.at);
        }
    }
    asked
}
