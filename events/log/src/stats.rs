//! Figures about an open log.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_model::Seq;

use crate::error::CommitError;
use crate::log::{Log, Receipt, Reply};
use crate::shared::Shared;

/// Figures about the log since it was opened, and its sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub head: Seq,
    /// Every event up to here is in a chunk of the lookup store.
    pub applied: Seq,
    /// Every event up to here was taken by the lookup store: it is in a chunk, or gathered for the next.
    pub taken: Seq,
    pub queued: usize,
    /// Submissions that were taken and have no answer yet.
    pub unanswered: usize,
    /// Submissions that were answered.
    pub answered: u64,
    pub frames: u64,
    pub events: u64,
    pub frame_bytes: u64,
    /// Microseconds spent in write and fdatasync.
    pub sync_micros: u64,
    pub sync_micros_max: u64,
    pub segments_sealed: u64,
    pub store_bytes: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
}

impl Stats {
    /// Durable events that the lookup store has not taken yet; none when nothing happens.
    #[must_use]
    pub const fn lag_events(&self) -> u64 {
        self.head.0.saturating_sub(self.taken.0)
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) answered: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) frame_bytes: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
    pub(crate) sync_micros_max: AtomicU64,
    pub(crate) sync_observer: OnceLock<SyncObserver>,
}

/// Is told the microseconds of every write and fdatasync of a frame, on the committer's thread: it
/// may neither wait nor panic.
pub type SyncObserver = Box<dyn Fn(u64) + Send + Sync>;

impl Shared {
    /// A submission is queued.
    pub(crate) fn taken(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a submission its answer.
    pub(crate) fn answer(&self, reply: Reply, result: Result<Receipt, CommitError>) {
        self.counters.answered.fetch_add(1, Ordering::Relaxed);
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        reply(result);
    }
}

impl Log {
    /// Adds the one observer of syncs; a second one is not taken.
    pub fn observe_syncs(&self, observer: SyncObserver) {
        drop(self.shared().counters.sync_observer.set(observer));
    }

    /// Figures for metrics and health.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Shared {
            counters,
            store,
            blobs,
            ..
        } = self.shared();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (blobs, blob_bytes) = blobs.size();
        Stats {
            head: Seq(self.shared().head.load(Ordering::Acquire)),
            applied: store.applied(),
            taken: store.taken(),
            queued: self.shared().queued.load(Ordering::Relaxed),
            unanswered: self.shared().unanswered.load(Ordering::Relaxed),
            answered: load(&counters.answered),
            frames: load(&counters.frames),
            events: load(&counters.events),
            frame_bytes: load(&counters.frame_bytes),
            sync_micros: load(&counters.sync_micros),
            sync_micros_max: load(&counters.sync_micros_max),
            segments_sealed: store.sealed_count(),
            store_bytes: store.size().0,
            blobs,
            blob_bytes,
        }
    }
}
