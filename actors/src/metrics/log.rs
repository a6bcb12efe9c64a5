//! The log's own figures, as metrics.

use std::time::Duration;

use hindcast_log::{Log, Stats};
use metrics::{Counter, Gauge};

use crate::supervisor::as_f64;

pub(super) struct LogFigures {
    head: Gauge,
    queued: Gauge,
    frames: Counter,
    frame_bytes: Counter,
    sync_seconds: Gauge,
    sync_seconds_max: Gauge,
    store_bytes: Gauge,
    pending: Gauge,
    segments: Gauge,
    blobs: Gauge,
    blob_bytes: Gauge,
}

/// From this many microseconds on, a sync is slow.
const SLOW_SYNC_MICROS: u64 = 100_000;

/// Measures every sync of the log from here on.
pub(crate) fn observe_syncs(log: &Log) {
    let duration = metrics::histogram!("db_flush_duration_seconds");
    let slow = metrics::counter!("db_slow_operations_total", "operation" => "sync");
    log.observe_syncs(Box::new(move |micros| {
        duration.record(Duration::from_micros(micros).as_secs_f64());
        if micros >= SLOW_SYNC_MICROS {
            slow.increment(1);
        }
    }));
}

impl LogFigures {
    pub(super) fn new() -> Self {
        Self {
            head: metrics::gauge!("log_head_sequence"),
            queued: metrics::gauge!("log_queue_depth"),
            frames: metrics::counter!("log_frames_total"),
            frame_bytes: metrics::counter!("log_frame_bytes_total"),
            sync_seconds: metrics::gauge!("log_sync_seconds_total"),
            sync_seconds_max: metrics::gauge!("log_sync_seconds_max"),
            store_bytes: metrics::gauge!("db_size_bytes"),
            pending: metrics::gauge!("db_pending_writes"),
            segments: metrics::gauge!("log_segments_sealed"),
            blobs: metrics::gauge!("blobs"),
            blob_bytes: metrics::gauge!("blob_bytes"),
        }
    }

    pub(super) fn show(&self, stats: &Stats) {
        let seconds = |micros| Duration::from_micros(micros).as_secs_f64();
        self.head.set(as_f64(stats.head.0));
        self.queued.set(as_f64(stats.queued as u64));
        self.frames.absolute(stats.frames);
        self.frame_bytes.absolute(stats.frame_bytes);
        self.sync_seconds.set(seconds(stats.sync_micros));
        self.sync_seconds_max.set(seconds(stats.sync_micros_max));
        self.store_bytes.set(as_f64(stats.store_bytes));
        self.pending.set(as_f64(stats.lag_events()));
        self.segments.set(as_f64(stats.segments_sealed));
        self.blobs.set(as_f64(stats.blobs));
        self.blob_bytes.set(as_f64(stats.blob_bytes));
    }
}
