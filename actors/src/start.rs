//! Starting and stopping all actors.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hindcast_log::Log;
use hindcast_model::Seq;

use crate::Environment;
use crate::backup::{self, Backup, BackupHandle, BackupOptions, Desk};
use crate::circuit_breaker::services::COLLECTOR;
use crate::circuit_breaker::{self, CircuitBreaker, DependencyBreaker, Gates};
use crate::computation::engine::Engine;
use crate::computation::{Computation, ComputationHandle, ComputationOptions};
use crate::experiment::edge::Edge;
use crate::experiment::{Experiment, ExperimentOptions};
use crate::handle::ExperimentHandle;
use crate::metrics::{self, Metrics};
use crate::results::{ResultCache, ResultCacheOptions};
use crate::scrub::{self, ScrubHandle, ScrubOptions, Scrubber};
use crate::standing::SupervisionHandle;
use crate::supervisor::{SupervisionOptions, Supervisor};

/// Every setting of the actors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActorOptions {
    pub supervision: SupervisionOptions,
    pub experiment: ExperimentOptions,
    pub computation: ComputationOptions,
    pub results: ResultCacheOptions,
    pub scrub: ScrubOptions,
    /// Events after this one are counted by kind: those of this process. From here on when absent.
    pub counted_after: Option<Seq>,
}

/// The running actors.
pub struct Actors {
    pub experiment: ExperimentHandle,
    pub computation: ComputationHandle,
    pub scrub: ScrubHandle,
    pub backup: BackupHandle,
    pub supervision: SupervisionHandle,
    /// The breaker of the collector that telemetry is sent to.
    pub collector: Arc<DependencyBreaker>,
    desk: Arc<Desk>,
    pub(crate) results: Arc<ResultCache>,
    stop_wait_max: Duration,
}

impl Actors {
    /// Starts every actor on a thread of its own, and dispatches what is pending in the log. Must
    /// be called within an actix system. Fails when the system has no thread to give.
    pub fn start(
        log: &Log,
        (options, backups): (ActorOptions, BackupOptions),
        environment: &Environment,
    ) -> std::io::Result<Self> {
        let mut supervisor = Supervisor::new(log.clone(), options.supervision, environment.clone());

        start_metrics(&mut supervisor, log, options.counted_after);

        let results = ResultCache::start(options.results, log.clone(), environment.clone())?;
        let slot = supervisor.slot::<Computation>(1, options.computation.mailbox_max);
        let engine = Engine::new(
            log.clone(),
            environment.clone(),
            (Arc::clone(&slot), Arc::clone(&results)),
            &options.computation,
        )?;
        let computation = ComputationHandle::new(Arc::clone(&engine));
        let lookout = computation.lookout(Arc::clone(&slot));
        log.subscribe(Box::new(move |batch| lookout.see(batch)));
        supervisor.start(&slot, move || Computation::new(Arc::clone(&engine)));

        let gates = Gates::new(log.clone(), Arc::clone(&environment.clock));
        let slot = supervisor.slot::<Experiment>(2, options.experiment.mailbox_max);
        let edge = Arc::new(Edge::default());
        let experiment = ExperimentHandle::new(
            Arc::clone(&slot),
            log.clone(),
            Arc::clone(&edge),
            (
                computation.clone(),
                Arc::clone(&results),
                Arc::clone(&gates),
            ),
            (environment.clone(), options.experiment),
        );
        let (gateway_log, gateway_environment) = (log.clone(), environment.clone());
        supervisor.start(&slot, move || {
            let (log, environment) = (gateway_log.clone(), gateway_environment.clone());
            Experiment::new(log, Arc::clone(&edge), environment, &options.experiment)
        });

        let scrub = start_scrub(&mut supervisor, log, options.scrub, environment);
        let desk = start_backup(&mut supervisor, log, backups, environment)?;
        let backup = BackupHandle::new(Arc::clone(&desk));
        start_breakers(&mut supervisor, log, &gates);
        let known = (log.clone(), environment.clone());
        let collector = DependencyBreaker::new(COLLECTOR, gates, known);

        let supervision = supervisor.watch()?;
        let stop_wait_max = options.computation.stop_wait_max;
        Ok(Self {
            experiment,
            computation,
            scrub,
            backup,
            supervision,
            collector: Arc::new(collector),
            desk,
            results,
            stop_wait_max,
        })
    }

    /// Stops in good order: the threads of backups and computations first, then the actors. What was admitted and not
    /// finished is dispatched again at the next start.
    pub async fn stop(self) {
        self.desk.stop(self.stop_wait_max).await;
        self.computation.stop(self.stop_wait_max).await;
        self.results.close();
        self.supervision.stop().await;
    }
}

/// The gates follow what is durable from the log's own thread, before callers are answered.
fn start_metrics(supervisor: &mut Supervisor, log: &Log, after: Option<Seq>) {
    let slot = supervisor.slot::<Metrics>(0, metrics::MAILBOX_MAX);
    let weak = Arc::downgrade(&slot);
    let from = log.subscribe(Box::new(move |batch| {
        let Some(slot) = weak.upgrade() else {
            return false;
        };
        // A frame that is not taken is read from the log with the next one.
        let _ = slot.send(metrics::Request::Durable(Arc::clone(batch)));
        true
    }));
    let seen = Arc::new(AtomicU64::new(after.unwrap_or(from.seq).0));
    metrics::observe_syncs(log);
    let log = log.clone();
    supervisor.start(&slot, move || Metrics::new(log.clone(), Arc::clone(&seen)));
}

fn start_breakers(supervisor: &mut Supervisor, log: &Log, gates: &Arc<Gates>) {
    let slot = supervisor.slot::<CircuitBreaker>(5, circuit_breaker::MAILBOX_MAX);
    let (weak, weak_gates) = (Arc::downgrade(&slot), Arc::downgrade(gates));
    log.subscribe(Box::new(move |batch| {
        let (Some(slot), Some(gates)) = (weak.upgrade(), weak_gates.upgrade()) else {
            return false;
        };
        if gates.concerns(batch) {
            gates.refresh();
            // A message that is not taken is made up for by the next tick.
            let _ = slot.send(circuit_breaker::Request::Changed);
        }
        true
    }));
    gates.refresh();
    let (log, gates) = (log.clone(), Arc::clone(gates));
    supervisor.start(&slot, move || {
        CircuitBreaker::new(log.clone(), Arc::clone(&gates))
    });
}

fn start_scrub(
    supervisor: &mut Supervisor,
    log: &Log,
    options: ScrubOptions,
    environment: &Environment,
) -> ScrubHandle {
    let slot = supervisor.slot::<Scrubber>(3, scrub::MAILBOX_MAX);
    let (log, environment) = (log.clone(), environment.clone());
    supervisor.start(&slot, move || {
        Scrubber::new(log.clone(), environment.clone(), options)
    });
    ScrubHandle(slot)
}

/// The actor and the threads of backups, which are told of what became durable before the actor
/// looks at the state.
fn start_backup(
    supervisor: &mut Supervisor,
    log: &Log,
    options: BackupOptions,
    environment: &Environment,
) -> std::io::Result<Arc<Desk>> {
    let slot = supervisor.slot::<Backup>(4, options.mailbox_max);
    let desk = Desk::start(log, options, environment)?;
    let (weak, weak_desk) = (Arc::downgrade(&slot), Arc::downgrade(&desk));
    log.subscribe(Box::new(move |batch| {
        let (Some(slot), Some(desk)) = (weak.upgrade(), weak_desk.upgrade()) else {
            return false;
        };
        if desk.see(batch) {
            // A message that is not taken is made up for by the next tick.
            let _ = slot.send(backup::Request::Look);
        }
        true
    }));
    let factory_desk = Arc::clone(&desk);
    supervisor.start(&slot, move || Backup::new(Arc::clone(&factory_desk)));
    Ok(desk)
}

impl Drop for Actors {
    /// For whoever did not `stop`: nothing is waited for.
    fn drop(&mut self) {
        self.desk.close();
        self.computation.close();
        self.results.close();
        self.supervision.close();
    }
}
