//! The computation actor: sees which runs became durable, and has them computed on threads of
//! their own. It knows nothing about a result but its bytes and its hash.
//!
//! Its table of jobs is rebuilt from the log's pending runs, at the start and after every
//! restart. A run that ends in the log before its result (cancelled, or past its deadline) is
//! stopped from the log's own thread, so that this does not wait for the actor.

pub(crate) mod cache;
pub(crate) mod control;
pub(crate) mod engine;
mod jobs;
pub(crate) mod outcome;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hindcast_log::{Batch, Body};
use hindcast_model::RunId;
use hindcast_model::event::Event;

use crate::component::{Component, Slot};
use crate::lock::lock;
use cache::CacheStats;
use control::Progress;
use engine::Engine;

/// Limits of the computations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComputationOptions {
    /// Threads that compute.
    pub threads: usize,
    /// Runs computed at the same time; they share the threads.
    pub running_max: usize,
    /// Runs in memory that wait; further ones wait in the log.
    pub queue_max: usize,
    /// Bytes of parsed datasets kept.
    pub cache_bytes_max: u64,
    /// Messages waiting for the actor.
    pub mailbox_max: usize,
    /// How long `stop` waits for computations to notice.
    pub stop_wait_max: Duration,
}

impl Default for ComputationOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            threads,
            running_max: threads,
            queue_max: 1_024,
            cache_bytes_max: 256 * 1024 * 1024,
            mailbox_max: 1_024,
            stop_wait_max: Duration::from_secs(5),
        }
    }
}

/// What the computations are at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ComputationStats {
    pub queued: usize,
    pub running: usize,
    /// Computed, and not recorded yet.
    pub unrecorded: usize,
    pub cache: CacheStats,
}

pub(crate) enum Request {
    /// These runs became durable.
    Admitted(Vec<RunId>),
    /// Look for pending runs that are not known here.
    Rescan,
}

/// The actor's name.
pub(crate) const NAME: &str = "computation";

/// The actor's body.
pub(crate) struct Computation {
    engine: Arc<Engine>,
}

impl Computation {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

impl Component for Computation {
    type Message = Request;
    const NAME: &'static str = NAME;
    const KINDS: &'static [&'static str] = &["admitted", "rescan"];
    const TICK: Duration = Duration::from_millis(100);

    fn kind(message: &Request) -> usize {
        match message {
            Request::Admitted(_) => 0,
            Request::Rescan => 1,
        }
    }

    fn started(&mut self) {
        self.engine.rescan();
    }

    fn handle(&mut self, message: Request) {
        match message {
            Request::Admitted(runs) => self.engine.admit(&runs),
            Request::Rescan => self.engine.rescan(),
        }
    }

    fn tick(&mut self) {
        self.engine.tick();
    }
}

/// What looks at every durable frame for the computations, on the log's thread.
pub(crate) struct Lookout {
    /// The log holds this, and the engine holds the log.
    engine: Weak<Engine>,
    slot: Arc<Slot<Computation>>,
    closed: Arc<AtomicBool>,
}

impl Lookout {
    /// `false` when it looks no longer.
    pub(crate) fn see(&self, batch: &Batch) -> bool {
        let Some(engine) = self
            .engine
            .upgrade()
            .filter(|_| !self.closed.load(Ordering::Acquire))
        else {
            return false;
        };
        let mut admitted = Vec::new();
        for recorded in &batch.events {
            let Body::Known(event) = &recorded.body else {
                continue;
            };
            if let Event::RunRequested(request) = event {
                if !request.immediate {
                    admitted.push(request.run);
                }
            } else if let Event::RunFailed(ended) = event {
                engine.stop(ended.run);
            } else if let Event::RunCancelled(ended) = event {
                engine.stop(ended.run);
            }
        }
        // The actor looks which of them were admitted. When it cannot take the message, it finds
        // them among the pending runs at its next tick or after its restart.
        if !admitted.is_empty() && self.slot.send(Request::Admitted(admitted)).is_err() {
            lock(&engine.jobs).behind = true;
        }
        true
    }
}

/// The computations, seen from outside.
#[derive(Clone)]
pub struct ComputationHandle {
    engine: Arc<Engine>,
    closed: Arc<AtomicBool>,
}

impl std::fmt::Debug for ComputationHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComputationHandle").finish_non_exhaustive()
    }
}

impl ComputationHandle {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            closed: Arc::default(),
        }
    }

    pub(crate) fn lookout(&self, slot: Arc<Slot<Computation>>) -> Lookout {
        Lookout {
            engine: Arc::downgrade(&self.engine),
            slot,
            closed: Arc::clone(&self.closed),
        }
    }

    /// Long runs that wait for a thread.
    pub(crate) fn heavy_queued(&self) -> usize {
        lock(&self.engine.jobs).heavy_queued()
    }

    /// Forgets the datasets that were read, or those whose digest begins with these hexadecimal
    /// digits, and says how many there were.
    #[must_use = "how many there were"]
    pub fn forget_datasets(&self, prefix: Option<&str>) -> u64 {
        self.engine.cache.forget(prefix)
    }

    /// Holds so many bytes of parsed datasets from here on, until the process ends.
    pub fn resize_datasets(&self, bytes_max: u64) {
        self.engine.cache.resize(bytes_max);
    }

    /// How many runs are where.
    #[must_use]
    pub fn stats(&self) -> ComputationStats {
        let (queued, running, unrecorded) = lock(&self.engine.jobs).counts();
        ComputationStats {
            queued,
            running,
            unrecorded,
            cache: self.engine.cache.stats(),
        }
    }

    /// How far a run is that is being computed.
    #[must_use]
    pub fn progress(&self, run: RunId) -> Option<Progress> {
        lock(&self.engine.jobs)
            .running(run)
            .and_then(|job| job.control.seen())
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Begins nothing more, and tells what runs to stop.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.engine.jobs).close();
    }

    /// Stops computing. What was not recorded is pending in the log, and is computed again at the
    /// next start.
    pub(crate) async fn stop(&self, wait_max: Duration) {
        self.close();
        let idle = async {
            loop {
                let moved = self.engine.moved.notified();
                let mut moved = std::pin::pin!(moved);
                moved.as_mut().enable();
                let (_, running, unrecorded) = lock(&self.engine.jobs).counts();
                if running == 0 && unrecorded == 0 {
                    return;
                }
                moved.await;
            }
        };
        if tokio::time::timeout(wait_max, idle).await.is_err() {
            tracing::warn!("computations did not stop in time");
        }
    }
}
