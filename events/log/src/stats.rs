//! Figures about an open log.

use std::sync::atomic::AtomicU64;

use hindcast_model::Seq;

/// Figures about the log since it was opened, and its sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub head: Seq,
    /// Every event up to here is in the lookup store.
    pub applied: Seq,
    pub queued: usize,
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

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) frames: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) frame_bytes: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
    pub(crate) sync_micros_max: AtomicU64,
}
