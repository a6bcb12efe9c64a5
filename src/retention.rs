//! Retention of the event log: which of its oldest segments go, and when they may.

use std::sync::Arc;
use std::time::Duration;

use hindcast_log::{Log, LogError, Prune, Sealed, background};
use hindcast_model::{Seq, State, UnixMicros};
use tokio::sync::oneshot;

use crate::clock;
use crate::config::Config;

/// How often is looked whether something is to be removed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The last sequence up to which a verified backup holds every event, with the id of that backup,
/// which its own retention then keeps.
///
/// Every backup names the whole log but what is lost, what was removed here included, and the newest
/// of a target always stays.
fn held_to(state: &State) -> Option<(Seq, String)> {
    let backups = state.backups().map(|(_, backup)| backup);
    let furthest = backups.max_by_key(|backup| (backup.to_seq, backup.backup));
    furthest.map(|backup| (backup.to_seq, backup.backup.to_string()))
}

/// When events may go. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
struct Policy {
    /// 0 keeps them for ever.
    age: u64,
    /// 0 sets no limit.
    bytes: u64,
    without_backup: bool,
    /// Answers may refer to what is younger.
    age_least: u64,
}

impl Policy {
    fn of(config: &Config) -> Self {
        let retention = &config.retention;
        let referred = config.runs.idempotency_ttl_ms;
        let cache = &config.cache;
        // A result is read back for so long, and is then in memory for so long.
        let cached = cache.results_age_max_ms + cache.results_disk_age_max_ms;
        let referred = referred.max(cached);
        Self {
            age: retention.log_age_ms.saturating_mul(1_000),
            bytes: retention.log_bytes,
            without_backup: retention.without_backup,
            age_least: referred.saturating_mul(1_000),
        }
    }

    const fn keeps_all(&self) -> bool {
        self.age == 0 && self.bytes == 0
    }

    /// Why the oldest segment, of `bytes` in all, may go; none when it is to be kept.
    fn reason(&self, oldest: &Sealed, bytes: u64, now: UnixMicros) -> Option<String> {
        let age = now.since(oldest.newest_at);
        if age < self.age_least {
            return None;
        }
        if self.age > 0 && age >= self.age {
            let limit = self.age / 1_000;
            return Some(format!("older than retention.log_age_ms = {limit}"));
        }
        let over = self.bytes > 0 && bytes > self.bytes;
        over.then(|| format!("over retention.log_bytes = {}", self.bytes))
    }

    /// What of the sealed segments, oldest first, is to be removed next. Events from `needed` on are
    /// kept.
    fn due(
        &self,
        sealed: &[Sealed],
        needed: Seq,
        held: Option<(Seq, String)>,
        now: UnixMicros,
    ) -> Option<Prune> {
        let mut bytes: u64 = sealed.iter().map(|segment| segment.bytes).sum();
        let held_to = held.as_ref().map_or(Seq(0), |(seq, _)| *seq);
        let mut due: Option<Prune> = None;
        for segment in sealed.iter().take_while(|segment| segment.last < needed) {
            let Some(reason) = self.reason(segment, bytes, now) else {
                break;
            };
            // What a backup holds goes first and by itself, so that each event says what is true
            // of its whole range.
            let backup = match &held {
                Some((_, id)) if segment.last <= held_to => Some(id.clone()),
                Some(_) | None if !self.without_backup => break,
                Some(_) | None => None,
            };
            if due.as_ref().is_some_and(|due| due.backup != backup) {
                break;
            }
            bytes -= segment.bytes;
            due = Some(Prune {
                to: segment.last,
                backup,
                reason,
            });
        }
        due
    }
}

/// The first sequence that open runs need.
fn needed(state: &State) -> Seq {
    let requested = state.runs().map(|(_, run)| run.requested.seq);
    requested.min().unwrap_or(Seq(u64::MAX))
}

/// Removes what is due, now and then.
pub(crate) async fn retain(log: Log, config: Arc<Config>) {
    let policy = Policy::of(&config);
    if policy.keeps_all() || config.looks_only() {
        return;
    }
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        let log = log.clone();
        let (send, done) = oneshot::channel();
        let removing = background("retention", move || {
            // Nobody waits any more when the server stops.
            drop(send.send(remove(&log, &policy)));
        });
        if let Err(error) = removing {
            tracing::error!(%error, "retention of the log");
            continue;
        }
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "retention of the log"),
            Err(_) => tracing::error!("retention of the log panicked"),
        }
    }
}

fn remove(log: &Log, policy: &Policy) -> Result<(), LogError> {
    let mut removed = false;
    loop {
        let (needed, held) = log.state(|state| (needed(state), held_to(state)));
        let Some(ask) = policy.due(&log.sealed(), needed, held, clock::wall()) else {
            break;
        };
        let Some(pruned) = log.prune(&ask, &mut |_| {})? else {
            break;
        };
        let (first, last, backup) = (pruned.first, pruned.last, &pruned.backup);
        tracing::warn!(%first, %last, backup, reason = pruned.reason, "segments pruned");
        removed = true;
    }
    if !removed {
        return Ok(());
    }
    let blobs = log.sweep_blobs()?;
    let snapshots = hindcast_snapshots::forget(log.data_dir(), log.oldest());
    let snapshots = snapshots.map_err(|source| LogError::Io {
        action: "remove the snapshots before what was pruned in",
        path: log.data_dir().to_owned(),
        source,
    })?;
    tracing::info!(blobs, snapshots, "what only pruned events named is removed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000;

    fn segments() -> Vec<Sealed> {
        let of = |n: u64| Sealed {
            first: Seq(n * 100 + 1),
            last: Seq(n * 100 + 100),
            bytes: 1_000,
            newest_at: UnixMicros((n + 1) * HOUR),
        };
        (0..4).map(of).collect()
    }

    const FREE: Policy = Policy {
        age: 0,
        bytes: 0,
        without_backup: true,
        age_least: 0,
    };

    fn due(policy: Policy, needed: u64, held: Option<u64>) -> Option<(u64, Option<String>)> {
        let held = held.map(|seq| (Seq(seq), "B".to_owned()));
        let due = policy.due(&segments(), Seq(needed), held, UnixMicros(10 * HOUR));
        due.map(|due| (due.to.0, due.backup))
    }

    #[test]
    fn age_and_bytes_say_what_is_due() {
        let all = u64::MAX;
        assert_eq!(due(FREE, all, None), None);
        let aged = |hours| Policy {
            age: hours * HOUR,
            ..FREE
        };
        assert_eq!(due(aged(10), all, None), None);
        assert_eq!(due(aged(8), all, None), Some((200, None)));
        let sized = |bytes| Policy { bytes, ..FREE };
        assert_eq!(due(sized(4_000), all, None), None);
        assert_eq!(due(sized(3_999), all, None), Some((100, None)));
        assert_eq!(due(sized(1), all, None), Some((400, None)));
        // What open runs need, and what answers may refer to.
        assert_eq!(due(sized(1), 250, None), Some((200, None)));
        assert_eq!(due(sized(1), 100, None), None);
        let young = Policy {
            age_least: 9 * HOUR,
            ..sized(1)
        };
        assert_eq!(due(young, all, None), Some((100, None)));
    }

    #[test]
    fn nothing_goes_that_no_backup_holds_unless_that_is_allowed() {
        let all = u64::MAX;
        let strict = Policy {
            bytes: 1,
            without_backup: false,
            ..FREE
        };
        let held = Some("B".to_owned());
        assert_eq!(due(strict, all, None), None);
        assert_eq!(due(strict, all, Some(99)), None);
        assert_eq!(due(strict, all, Some(250)), Some((200, held.clone())));
        // Each removal says what is true of its whole range.
        let loose = Policy { bytes: 1, ..FREE };
        assert_eq!(due(loose, all, Some(250)), Some((200, held)));
        assert_eq!(due(loose, all, Some(50)), Some((400, None)));
    }
}
