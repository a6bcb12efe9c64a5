//! Waiting for the end of a run. Only runs that somebody watches have an entry here; the result
//! itself is read from the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hindcast_log::{Batch, Body, Log};
use hindcast_model::RunId;
use hindcast_model::event::Event;
use tokio::sync::watch;

use crate::computation::ComputationHandle;
use crate::computation::control::Progress;
use crate::lock::lock;

/// Who waits for which run.
#[derive(Debug)]
pub(crate) struct Hub {
    entries: Mutex<BTreeMap<RunId, Watched>>,
    /// Watches, so that nobody takes the lock when there are none.
    watches: AtomicUsize,
    watches_max: usize,
}

#[derive(Debug)]
struct Watched {
    over: watch::Sender<bool>,
    watches: usize,
}

impl Hub {
    pub(crate) fn new(watches_max: usize) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            watches: AtomicUsize::new(0),
            watches_max,
        })
    }

    /// Tells the watchers of the runs that ended in this batch.
    pub(crate) fn see(&self, batch: &Batch) {
        if self.watches.load(Ordering::Acquire) == 0 {
            return;
        }
        let ended = batch
            .events
            .iter()
            .filter_map(|recorded| match &recorded.body {
                Body::Known(event) => ended_run(event),
                Body::Unknown { .. } => None,
            });
        let entries = lock(&self.entries);
        for run in ended {
            if let Some(watched) = entries.get(&run) {
                watched.over.send_replace(true);
            }
        }
    }

    /// `None` when there are too many watches.
    pub(crate) fn watch(
        self: &Arc<Self>,
        run: RunId,
        log: &Log,
        computation: ComputationHandle,
    ) -> Option<RunWatch> {
        let over = {
            let mut entries = lock(&self.entries);
            if self.watches.load(Ordering::Acquire) >= self.watches_max {
                return None;
            }
            self.watches.fetch_add(1, Ordering::AcqRel);
            let fresh = || Watched {
                over: watch::Sender::new(false),
                watches: 0,
            };
            let watched = entries.entry(run).or_insert_with(fresh);
            watched.watches += 1;
            watched.over.subscribe()
        };
        // Looked at after the entry is there: the end comes before this or is told to the entry.
        let over_before = log.state(|state| state.run(run).is_none());
        Some(RunWatch {
            run,
            over,
            over_before,
            hub: Arc::clone(self),
            computation,
        })
    }

    fn leave(&self, run: RunId) {
        let mut entries = lock(&self.entries);
        self.watches.fetch_sub(1, Ordering::AcqRel);
        if let Some(watched) = entries.get_mut(&run) {
            watched.watches -= 1;
            if watched.watches == 0 {
                entries.remove(&run);
            }
        }
    }
}

/// The run that this event ends.
pub(crate) const fn ended_run(event: &Event) -> Option<RunId> {
    match event {
        Event::RunCompleted(e) => Some(e.run),
        Event::RunFailed(e) => Some(e.run),
        Event::RunCancelled(e) => Some(e.run),
        Event::RunRefused(e) => Some(e.run),
        Event::RunDeduplicated(e) => Some(e.run),
        Event::ServerStarted(_)
        | Event::ServerStopped(_)
        | Event::ConfigurationLoaded(_)
        | Event::ClockStepped(_)
        | Event::TimeReached(_)
        | Event::RunRequested(_)
        | Event::OutcomeObserved(_)
        | Event::CancelRequested(_)
        | Event::DatasetUploaded(_)
        | Event::ExperimentRequested(_)
        | Event::ActorRestarted(_)
        | Event::StoreRebuilt(_)
        | Event::TornTailCut(_)
        | Event::DiskSampled(_)
        | Event::DamageFound(_)
        | Event::DamageGone(_)
        | Event::SubjectRedacted(_)
        | Event::SegmentsPruned(_)
        | Event::BreakerCommanded(_)
        | Event::DependencyCalled(_)
        | Event::BreakerChanged(_)
        | Event::FallbackTaken(_)
        | Event::Audited(_)
        | Event::MetricsSampled(_)
        | Event::ObjectivesConfigured(_)
        | Event::SloBudgetChanged(_)
        | Event::SloBurnChanged(_)
        | Event::CacheCommanded(_)
        | Event::CapacityMeasured(_)
        | Event::RequestsShed(_)
        | Event::WhatIfAsked(_)
        | Event::BackupEnded(_)
        | Event::Restored(_)
        | Event::BackupRequested(_)
        | Event::DrillEnded(_)
        | Event::AnswerKept(_)
        | Event::RunAdmitted(_)
        | Event::DatasetRegistered(_)
        | Event::DatasetRefused(_)
        | Event::ExperimentAdmitted(_)
        | Event::ExperimentRefused(_)
        | Event::ExperimentCompleted(_)
        | Event::IntakePaused(_)
        | Event::IntakeResumed(_) => None,
    }
}

/// One watch of one run, from its admission to its end.
#[derive(Debug)]
pub struct RunWatch {
    run: RunId,
    over: watch::Receiver<bool>,
    over_before: bool,
    hub: Arc<Hub>,
    computation: ComputationHandle,
}

impl RunWatch {
    /// The run that is watched.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }

    /// How far the computation is; `None` before it starts and after it ends.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.computation.progress(self.run)
    }

    /// Whether the run has ended, or was never there.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over_before || *self.over.borrow()
    }

    /// Returns once the run has ended. What became of it stands in its stream.
    pub async fn over(&mut self) {
        if !self.over_before && self.over.wait_for(|over| *over).await.is_err() {
            tracing::debug!(run = %self.run, "the watch was dropped by its hub");
        }
    }
}

impl Drop for RunWatch {
    fn drop(&mut self) {
        self.hub.leave(self.run);
    }
}
