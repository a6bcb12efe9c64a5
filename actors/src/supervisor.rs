//! Supervision: builds every actor by its factory, builds it anew when it panics or falls silent,
//! and says so in an event, a metric and the health report.
//!
//! It runs on a thread of its own, under no actor framework and no async runtime, so that it sees
//! an arbiter that is stuck. It knows nothing about what an actor does. It never patches: a dead
//! actor is replaced by what the factory makes of the log.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix_rt::{Arbiter, System};
use hindcast_log::Log;
use hindcast_model::event::{ActorRestarted, Event};
use hindcast_model::{Command, KeyId, Name16};
use metrics::{Counter, Gauge};
use tokio::sync::watch;

use crate::Environment;
use crate::budget::{Budget, RestartPolicy, Verdict, micros};
use crate::component::{Component, Death, Notice, Slot, Vitals};
use crate::lock::lock;
use crate::restarts::{Restart, Restarts, cut};
use crate::standing::{Phase, Record, SupervisionHandle};
use crate::{panics, threads};

/// How long the thread sleeps when nothing happens.
const PASS: Duration = Duration::from_millis(100);

/// When an actor counts as stuck, and how often it may be built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupervisionOptions {
    pub restart: RestartPolicy,
    /// How often a heartbeat is sent through every mailbox.
    pub beat_every: Duration,
    /// The age of the last heartbeat at which it is written down what every thread does.
    pub beat_age_noticed: Duration,
    /// The age of the last heartbeat at which an actor is replaced.
    pub beat_age_max: Duration,
    /// Keep the calls that led to a panic.
    pub trace_panics: bool,
}

impl Default for SupervisionOptions {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::default(),
            beat_every: Duration::from_millis(500),
            beat_age_noticed: Duration::from_millis(1_500),
            beat_age_max: Duration::from_secs(3),
            trace_panics: true,
        }
    }
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
    /// What every thread did when its silence was noticed.
    evidence: Option<String>,
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
    children: Vec<Child>,
    notices: mpsc::Receiver<Notice>,
    notify: mpsc::Sender<Notice>,
    restarts: Arc<Restarts>,
    given_up: watch::Sender<Option<String>>,
}

impl Supervisor {
    pub(crate) fn new(log: Log, options: SupervisionOptions, environment: Environment) -> Self {
        let (notify, notices) = mpsc::channel();
        if options.trace_panics {
            panics::watch();
        }
        Self {
            options,
            restarts: Restarts::new(log, environment.clone()),
            environment,
            children: Vec::new(),
            notices,
            notify,
            given_up: watch::Sender::default(),
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
            evidence: Arc::new(Mutex::new("".into())),
        };
        self.children.push(Child {
            actor: Box::new(factory),
            vitals: Arc::clone(&slot.vitals),
            record: Arc::new(Mutex::new(record)),
            arbiter,
            budget: Budget::default(),
            due: None,
            evidence: None,
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
            given_up: self.given_up.subscribe(),
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
                    death,
                }) => {
                    self.bury(actor, generation, death);
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
            self.restarts.record();
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

    fn bury(&mut self, actor: usize, generation: u64, death: Death) {
        let child = &self.children[actor];
        if child.vitals.generation() != generation || child.due.is_some() {
            return;
        }
        child.panics_total.increment(1);
        self.schedule(actor, death);
    }

    /// Evidence is taken first, while there is something to see; a silence that lasts ends the
    /// actor.
    fn replace_silent(&mut self, now: u64) {
        let (noticed, limit) = (self.options.beat_age_noticed, self.options.beat_age_max);
        for actor in 0..self.children.len() {
            let child = &mut self.children[actor];
            let age = child.vitals.beat_age_micros(now);
            if child.due.is_some() || age <= micros(noticed) {
                child.evidence = None;
                continue;
            }
            let handling = child.vitals.handling(now);
            if child.evidence.is_none() {
                let threads = threads::table();
                let name = child.vitals.name;
                let handling = handling.map_or("nothing", |(kind, _)| kind);
                tracing::warn!(actor = name, age_micros = age, handling, threads, "silent");
                child.evidence = Some(threads);
            }
            if age <= micros(limit) {
                continue;
            }
            child.stalls_total.increment(1);
            // The thread may never come back: it is left to end by itself.
            child.arbiter.stop();
            match Arbiter::try_new() {
                Ok(arbiter) => child.arbiter = arbiter,
                Err(error) => tracing::error!(actor = child.vitals.name, %error, "no thread"),
            }
            let during = handling.map_or(String::new(), |(kind, micros)| {
                format!(", {} ms in {kind}", micros / 1_000)
            });
            self.schedule(
                actor,
                Death {
                    reason: format!("no heartbeat for {} ms{during}", age / 1_000),
                    traced: None,
                },
            );
        }
    }

    fn schedule(&mut self, actor: usize, Death { reason, traced }: Death) {
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
            phase = phase.word(),
            "actor will be rebuilt"
        );
        let evidence = cut(child.evidence.take().unwrap_or_default());
        let (restarts, shown) = {
            let mut record = lock(&child.record);
            record.phase = phase;
            record.restarts += 1;
            record.last_reason = Some(reason.clone());
            *lock(&record.evidence) = evidence.as_str().into();
            (record.restarts, Arc::clone(&record.evidence))
        };
        if phase == Phase::Failed {
            let told = format!("actor {name} failed: {reason}");
            self.given_up.send_if_modified(|given_up| {
                given_up.is_none() && given_up.replace(told).is_none()
            });
        }
        self.restarts.push(Restart {
            event: ActorRestarted {
                actor: name.to_owned(),
                reason,
                restarts,
                backoff_micros: wait,
                evidence,
            },
            traced: traced.filter(|_| self.options.trace_panics),
            shown,
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
