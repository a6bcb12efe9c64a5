//! Supervision: builds every actor by its factory, builds it anew when it panics or falls silent,
//! and says so in an event, a metric and the health report.
//!
//! It runs on a thread of its own, under no actor framework and no async runtime, so that it sees
//! an arbiter that is stuck. It knows nothing about what an actor does. It never patches: a dead
//! actor is replaced by what the factory makes of the log.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix_rt::{Arbiter, System};
use hindcast_log::{CommitError, Log, SubmitError};
use hindcast_model::event::{ActorRestarted, Event};
use hindcast_model::{Command, KeyId, Name16};
use metrics::{Counter, Gauge};
use tokio::sync::oneshot;

use crate::Environment;
use crate::budget::{Budget, RestartPolicy, Verdict, micros};
use crate::component::{Component, Notice, Slot, Vitals};
use crate::lock::lock;

/// How long the thread sleeps when nothing happens.
const PASS: Duration = Duration::from_millis(100);
/// Restart events kept while the log takes none; the oldest goes first, and is logged.
const EVENTS_KEPT_MAX: usize = 256;

/// When an actor counts as stuck, and how often it may be built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupervisionOptions {
    pub restart: RestartPolicy,
    /// How often a heartbeat is sent through every mailbox.
    pub beat_every: Duration,
    /// The age of the last heartbeat at which an actor is replaced.
    pub beat_age_max: Duration,
}

impl Default for SupervisionOptions {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::default(),
            beat_every: Duration::from_millis(500),
            beat_age_max: Duration::from_secs(3),
        }
    }
}

/// Where an actor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Built, and no heartbeat has come back yet.
    Starting,
    Running,
    /// Waits for its next incarnation.
    Restarting,
    /// The restart budget is spent; it is tried again, rarely.
    Failed,
    Stopped,
}

/// One actor, as health reports show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ActorStatus {
    pub name: &'static str,
    pub phase: Phase,
    /// In this process.
    pub restarts: u32,
    pub last_reason: Option<String>,
    pub heartbeat_age_micros: u64,
    pub mailbox_depth: usize,
    pub mailbox_max: usize,
}

/// Where the supervisor thread leaves what it knows.
#[derive(Clone)]
pub struct SupervisionHandle {
    actors: Arc<Vec<Known>>,
    environment: Environment,
    notices: mpsc::Sender<Notice>,
}

impl SupervisionHandle {
    /// Every actor, in the order of their start.
    #[must_use]
    pub fn statuses(&self) -> Vec<ActorStatus> {
        let now = self.environment.clock.monotonic();
        let status = |(vitals, record): &Known| {
            let record = lock(record);
            ActorStatus {
                name: vitals.name,
                phase: record.phase,
                restarts: record.restarts,
                last_reason: record.last_reason.clone(),
                heartbeat_age_micros: vitals.beat_age_micros(now),
                mailbox_depth: vitals.depth(),
                mailbox_max: vitals.mailbox_max,
            }
        };
        self.actors.iter().map(status).collect()
    }

    /// Whether every actor lives and beats.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.statuses().iter().all(|status| match status.phase {
            Phase::Starting | Phase::Running => true,
            Phase::Restarting | Phase::Failed | Phase::Stopped => false,
        })
    }

    /// Ends every actor in good order, last started first, and the thread.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.notices.send(Notice::Stop { done }).is_ok() && stopped.await.is_err() {
            tracing::error!("the supervisor thread ended without a word");
        }
    }

    /// The same without waiting.
    pub(crate) fn close(&self) {
        let (done, _) = oneshot::channel();
        // After `stop` the thread has gone.
        let _ = self.notices.send(Notice::Stop { done });
    }

    #[cfg(test)]
    pub(crate) fn vitals(&self, name: &str) -> Arc<Vitals> {
        let found = self.actors.iter().find(|(vitals, _)| vitals.name == name);
        Arc::clone(&found.expect("an actor of this name").0)
    }
}

type Known = (Arc<Vitals>, Arc<Mutex<Record>>);

struct Record {
    phase: Phase,
    restarts: u32,
    last_reason: Option<String>,
}

/// One kind of actor, with its type erased.
trait Supervised: Send {
    fn build(&self, arbiter: &Arbiter);
    fn beat(&self);
    fn close(&self);
    fn halt(&self);
}

struct Factory<C: Component> {
    slot: Arc<Slot<C>>,
    make: Arc<dyn Fn() -> C + Send + Sync>,
}

impl<C: Component> Supervised for Factory<C> {
    fn build(&self, arbiter: &Arbiter) {
        self.slot.build(&arbiter.handle(), Arc::clone(&self.make));
    }

    fn beat(&self) {
        self.slot.beat();
    }

    fn close(&self) {
        self.slot.close();
    }

    fn halt(&self) {
        self.slot.halt();
    }
}

struct Child {
    actor: Box<dyn Supervised>,
    vitals: Arc<Vitals>,
    record: Arc<Mutex<Record>>,
    arbiter: Arbiter,
    budget: Budget,
    /// When to build it, monotonic; `None` while it lives.
    due: Option<u64>,
    restarts_total: Counter,
    panics_total: Counter,
    stalls_total: Counter,
    up: Gauge,
    depth: Gauge,
    beat_age: Gauge,
}

impl Child {
    fn set_phase(&self, phase: Phase) {
        lock(&self.record).phase = phase;
    }

    fn phase(&self) -> Phase {
        lock(&self.record).phase
    }
}

/// Collects the actors, then watches them.
pub(crate) struct Supervisor {
    options: SupervisionOptions,
    environment: Environment,
    log: Log,
    children: Vec<Child>,
    notices: mpsc::Receiver<Notice>,
    notify: mpsc::Sender<Notice>,
    unrecorded: Arc<Mutex<Vec<ActorRestarted>>>,
}

impl Supervisor {
    pub(crate) fn new(log: Log, options: SupervisionOptions, environment: Environment) -> Self {
        let (notify, notices) = mpsc::channel();
        Self {
            options,
            environment,
            log,
            children: Vec::new(),
            notices,
            notify,
            unrecorded: Arc::default(),
        }
    }

    /// Where the actor's handles will find it.
    pub(crate) fn slot<C: Component>(&self, index: usize, mailbox_max: usize) -> Arc<Slot<C>> {
        let clock = Arc::clone(&self.environment.clock);
        Slot::new(Vitals::new::<C>(
            index,
            mailbox_max,
            clock,
            self.notify.clone(),
        ))
    }

    /// Builds the actor on an arbiter of its own. The slot's index is its place in the order of
    /// starts. Panics outside of an actix system.
    pub(crate) fn start<C: Component>(
        &mut self,
        slot: &Arc<Slot<C>>,
        make: impl Fn() -> C + Send + Sync + 'static,
    ) {
        assert_eq!(
            slot.vitals.index,
            self.children.len(),
            "slots are started in order"
        );
        let arbiter = Arbiter::new();
        let factory = Factory {
            slot: Arc::clone(slot),
            make: Arc::new(make),
        };
        factory.build(&arbiter);
        let restarts = |cause: &'static str| metrics::counter!("component_restarts_total", "actor" => C::NAME, "cause" => cause);
        let record = Record {
            phase: Phase::Starting,
            restarts: 0,
            last_reason: None,
        };
        self.children.push(Child {
            actor: Box::new(factory),
            vitals: Arc::clone(&slot.vitals),
            record: Arc::new(Mutex::new(record)),
            arbiter,
            budget: Budget::default(),
            due: None,
            restarts_total: metrics::counter!("actor_restarts_total", "actor" => C::NAME),
            panics_total: restarts("panic"),
            stalls_total: restarts("stall"),
            up: metrics::gauge!("up", "job" => "hindcast", "instance" => C::NAME),
            depth: metrics::gauge!("actor_mailbox_depth", "actor" => C::NAME),
            beat_age: metrics::gauge!("actor_heartbeat_age_seconds", "actor" => C::NAME),
        });
    }

    /// Starts the thread.
    pub(crate) fn watch(self) -> std::io::Result<SupervisionHandle> {
        let known = |child: &Child| (Arc::clone(&child.vitals), Arc::clone(&child.record));
        let handle = SupervisionHandle {
            actors: Arc::new(self.children.iter().map(known).collect()),
            environment: self.environment.clone(),
            notices: self.notify.clone(),
        };
        let system = System::current();
        std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || {
                System::set_current(system);
                self.run();
            })?;
        Ok(handle)
    }

    fn run(mut self) {
        let mut last_pass = self.now();
        let mut last_beat = last_pass;
        loop {
            match self.notices.recv_timeout(self.nap()) {
                Ok(Notice::Died {
                    actor,
                    generation,
                    reason,
                }) => {
                    self.bury(actor, generation, reason);
                }
                Ok(Notice::Stop { done }) => {
                    self.stop();
                    // Nobody may be waiting any more.
                    let _ = done.send(());
                    return;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let now = self.now();
            // Whoever stopped this thread for so long stopped the actors too.
            if now.saturating_sub(last_pass) > micros(PASS).saturating_mul(10) {
                self.children
                    .iter()
                    .for_each(|child| child.vitals.forgive(now));
            }
            last_pass = now;
            if now.saturating_sub(last_beat) >= micros(self.options.beat_every) {
                last_beat = now;
                self.children.iter().for_each(|child| child.actor.beat());
            }
            self.replace_silent(now);
            self.build_due(now);
            self.show(now);
            self.record_restarts();
        }
    }

    fn now(&self) -> u64 {
        self.environment.clock.monotonic()
    }

    fn nap(&self) -> Duration {
        let now = self.now();
        let next = self.children.iter().filter_map(|child| child.due).min();
        let wait = next.map_or(PASS, |due| Duration::from_micros(due.saturating_sub(now)));
        wait.min(PASS).min(self.options.beat_every)
    }

    fn bury(&mut self, actor: usize, generation: u64, reason: String) {
        let child = &self.children[actor];
        if child.vitals.generation() != generation || child.due.is_some() {
            return;
        }
        child.panics_total.increment(1);
        self.schedule(actor, reason);
    }

    fn replace_silent(&mut self, now: u64) {
        let limit = micros(self.options.beat_age_max);
        for actor in 0..self.children.len() {
            let child = &mut self.children[actor];
            let age = child.vitals.beat_age_micros(now);
            if child.due.is_some() || age <= limit {
                continue;
            }
            child.stalls_total.increment(1);
            // The thread may never come back: it is left to end by itself.
            child.arbiter.stop();
            match Arbiter::try_new() {
                Ok(arbiter) => child.arbiter = arbiter,
                Err(error) => tracing::error!(actor = child.vitals.name, %error, "no thread"),
            }
            self.schedule(actor, format!("no heartbeat for {} ms", age / 1_000));
        }
    }

    fn schedule(&mut self, actor: usize, reason: String) {
        let now = self.now();
        let child = &mut self.children[actor];
        child.actor.close();
        let (phase, wait) = match child.budget.spend(now, &self.options.restart) {
            Verdict::Restart { after_micros } => (Phase::Restarting, after_micros),
            Verdict::Failed { after_micros } => (Phase::Failed, after_micros),
        };
        child.due = Some(now.saturating_add(wait));
        child.restarts_total.increment(1);
        let name = child.vitals.name;
        tracing::warn!(
            actor = name,
            reason,
            backoff_micros = wait,
            ?phase,
            "actor will be rebuilt"
        );
        let restarts = {
            let mut record = lock(&child.record);
            record.phase = phase;
            record.restarts += 1;
            record.last_reason = Some(reason.clone());
            record.restarts
        };
        let mut unrecorded = lock(&self.unrecorded);
        if unrecorded.len() >= EVENTS_KEPT_MAX {
            let lost = unrecorded.remove(0);
            tracing::error!(
                actor = lost.actor,
                reason = lost.reason,
                "restart is not recorded"
            );
        }
        let actor = name.to_owned();
        unrecorded.push(ActorRestarted {
            actor,
            reason,
            restarts,
            backoff_micros: wait,
        });
    }

    fn build_due(&mut self, now: u64) {
        for child in &mut self.children {
            if child.due.is_some_and(|due| due <= now) {
                child.due = None;
                child.actor.build(&child.arbiter);
                if child.phase() != Phase::Failed {
                    child.set_phase(Phase::Starting);
                }
            }
        }
    }

    fn show(&self, now: u64) {
        for child in &self.children {
            if child.due.is_none() && child.vitals.beats() > 0 {
                child.set_phase(Phase::Running);
            }
            child.up.set(if child.phase() == Phase::Running {
                1.0
            } else {
                0.0
            });
            child.depth.set(as_f64(child.vitals.depth() as u64));
            child
                .beat_age
                .set(as_f64(child.vitals.beat_age_micros(now)) / 1e6);
        }
    }

    /// Hands the restarts to the log; what it has no room for is offered again at the next pass.
    fn record_restarts(&self) {
        for restart in std::mem::take(&mut *lock(&self.unrecorded)) {
            let kept = Arc::clone(&self.unrecorded);
            let again = restart.clone();
            let id = (self.environment.event_id)();
            let command = system_command(id, Event::ActorRestarted(restart.clone()));
            let reply = Box::new(move |result: Result<_, CommitError>| {
                if let Err(error) = result {
                    tracing::error!(actor = again.actor, %error, "restart is not recorded");
                }
            });
            match self.log.submit(command.into(), reply) {
                Ok(()) => {}
                Err(SubmitError::Full { .. }) => lock(&kept).push(restart),
                Err(SubmitError::Closed) => {
                    tracing::warn!(actor = restart.actor, "the log is closed");
                }
            }
        }
    }

    fn stop(&mut self) {
        let now = self.now();
        let limit = micros(self.options.beat_age_max);
        for child in self.children.drain(..).rev() {
            child.actor.halt();
            child.set_phase(Phase::Stopped);
            child.up.set(0.0);
            child.arbiter.stop();
            // A stuck thread is not waited for.
            if child.vitals.beat_age_micros(now) <= limit && child.arbiter.join().is_err() {
                tracing::error!(actor = child.vitals.name, "the arbiter's thread panicked");
            }
        }
    }
}

/// A command that the server itself is the author of.
pub(crate) fn system_command(event_id: hindcast_model::EventId, event: Event) -> Command {
    Command {
        event_id,
        causation: event_id,
        correlation: event_id,
        principal: Name16::new("system"),
        tenant: Name16::default(),
        key: KeyId(0),
        expect: None,
        event,
    }
}

/// Counts far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}
