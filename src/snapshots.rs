//! When the server takes snapshots: by events, bytes and time, and never at the cost of the writers.

use std::sync::Arc;
use std::time::Duration;

use hindcast_log::{Log, background};
use hindcast_snapshots::Taken;
use tokio::sync::{Mutex, oneshot};

use crate::clock;
use crate::config::{Config, LogConfig};

/// At most so small a share of the time goes to snapshots: one in ten.
const SHARE: u64 = 10;
/// How often is looked whether a snapshot is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Takes a snapshot now and then, so that the next start is quick and every moment of the past is
/// near one. A state that has become large is written no more often than the log itself grows by
/// as much, so that snapshots never write more than the log does.
pub(crate) async fn take_snapshots(log: Log, config: Arc<Config>) {
    let (mut taken, mut bytes, mut took) = (log.head().seq, 0, 0);
    let (mut written, mut at) = (log.frame_bytes(), clock::monotonic_micros());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (head, now) = (log.head().seq, clock::monotonic_micros());
        let since = Since {
            events: head.0 - taken.0,
            bytes: log.frame_bytes() - written,
            micros: now.saturating_sub(at),
        };
        if since.is_due(&config.log) && since.bytes >= bytes && since.micros >= SHARE * took {
            (taken, at) = (head, now);
            written += since.bytes;
            let taken = take_snapshot(&log, &config).await;
            bytes = taken.map_or(bytes, |taken| taken.bytes);
            took = clock::monotonic_micros().saturating_sub(now);
        }
    }
}

/// What came since the last snapshot.
struct Since {
    events: u64,
    bytes: u64,
    micros: u64,
}

impl Since {
    fn is_due(&self, policy: &LogConfig) -> bool {
        let every = policy.snapshot_every_ms.saturating_mul(1_000);
        self.events >= policy.snapshot_events
            || self.bytes >= policy.snapshot_bytes
            || (every > 0 && self.events > 0 && self.micros >= every)
    }
}

/// Snapshots are taken one at a time: each removes what an earlier process left half written.
static ONE: Mutex<()> = Mutex::const_new(());

/// Takes a snapshot. An error says why there is none.
pub(crate) async fn take_snapshot(log: &Log, config: &Config) -> Result<Taken, String> {
    let _one = ONE.lock().await;
    let (log, data_dir) = (log.clone(), config.server.data_dir.clone());
    let bytes_max = config.log.snapshots_bytes_max;
    let (send, taken) = oneshot::channel();
    let taking = background("snapshot", move || {
        let taken = hindcast_snapshots::take(&data_dir, &log.checkpoint(), bytes_max);
        // Nobody waits any more when the server stops.
        drop(send.send(taken));
    });
    let taken = match taking {
        Ok(_) => taken.await,
        Err(error) => Ok(Err(error)),
    };
    match taken {
        Ok(Ok(taken)) => {
            tracing::debug!(seq = taken.seq.0, bytes = taken.bytes, "snapshot taken");
            Ok(taken)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "no snapshot was taken");
            Err(format!("no snapshot was taken: {error}"))
        }
        Err(_) => {
            tracing::error!("taking a snapshot panicked");
            Err("taking a snapshot panicked".to_owned())
        }
    }
}
