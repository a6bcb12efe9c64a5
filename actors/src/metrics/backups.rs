//! What the ends of backups say, by target: when the last one succeeded, when the last one was
//! verified, how large it is and how long it took.

use std::time::Duration;

use hindcast_log::Recorded;
use hindcast_model::event::{BackupEnded, BackupKind, DrillEnded, Event};
use hindcast_model::{State, UnixMicros};

use crate::supervisor::as_f64;

/// Targets with series of their own; further ones share the last.
const TARGETS_MAX: usize = 32;

/// What the names of breakers of targets begin with.
const BREAKER_PREFIX: &str = "backup_";

#[derive(Default)]
pub(super) struct BackupMetrics {
    targets: Vec<String>,
}

impl BackupMetrics {
    /// What was verified before this process began.
    pub(super) fn begin(&mut self, state: &State) {
        let known: Vec<(String, UnixMicros)> = state
            .backups()
            .map(|(target, known)| (target.to_owned(), known.verified_at))
            .collect();
        // Each target has a breaker: these are all that are configured.
        let targets = state.breakers().all().filter_map(|(name, _)| {
            let target = name.strip_prefix(BREAKER_PREFIX)?;
            Some(target.to_owned())
        });
        for target in targets.collect::<Vec<_>>() {
            let target = self.label(&target);
            // From the start, so that the first failure is seen as a rise.
            for kind in BackupKind::ALL {
                let labels = [("kind", kind.word().to_owned()), ("target", target.clone())];
                metrics::counter!("backup_failures_total", &labels).increment(0);
            }
        }
        for (target, at) in known {
            let target = self.label(&target);
            metrics::gauge!("backup_last_verified_timestamp_seconds", "target" => target)
                .set(seconds_of(at));
        }
    }

    /// What the last ends that were recorded before this process began say of the present.
    pub(super) fn remember(&mut self, before: &[Recorded]) {
        for recorded in before {
            let at = recorded.context.at;
            if let Some(Event::BackupEnded(ended)) = recorded.event() {
                self.show(at, ended);
            }
            if let Some(Event::DrillEnded(drill)) = recorded.event() {
                self.show_drill(at, drill);
            }
        }
    }

    pub(super) fn ended(&mut self, at: UnixMicros, ended: &BackupEnded) {
        if ended.error.is_some() {
            let target = self.label(&ended.target);
            let labels = [("kind", ended.kind.word().to_owned()), ("target", target)];
            metrics::counter!("backup_failures_total", &labels).increment(1);
        }
        self.show(at, ended);
    }

    fn show(&mut self, at: UnixMicros, ended: &BackupEnded) {
        if ended.error.is_some() || ended.kind == BackupKind::Shipping {
            return;
        }
        let target = self.label(&ended.target);
        let labels = [
            ("kind", ended.kind.word().to_owned()),
            ("target", target.clone()),
        ];
        if ended.kind != BackupKind::Verification {
            metrics::gauge!("backup_last_success_timestamp_seconds", &labels).set(seconds_of(at));
            metrics::gauge!("backup_size_bytes", &labels).set(as_f64(ended.bytes));
            metrics::gauge!("backup_duration_seconds", &labels).set(seconds(ended.copied_micros));
        }
        if ended.verified {
            metrics::gauge!("backup_last_verified_timestamp_seconds", "target" => target.clone())
                .set(seconds_of(at));
            metrics::gauge!("restore_test_duration_seconds", "target" => target)
                .set(seconds(ended.verified_micros));
        }
    }

    pub(super) fn drilled(&mut self, at: UnixMicros, drill: &DrillEnded) {
        if has_failed(drill) {
            let labels = [("target", self.label(&drill.target))];
            metrics::counter!("drill_failures_total", &labels).increment(1);
        }
        self.show_drill(at, drill);
    }

    fn show_drill(&mut self, at: UnixMicros, drill: &DrillEnded) {
        if has_failed(drill) {
            return;
        }
        let labels = [("target", self.label(&drill.target))];
        metrics::gauge!("drill_last_success_timestamp_seconds", &labels).set(seconds_of(at));
        metrics::gauge!("drill_lost_seconds", &labels).set(seconds(drill.lost_micros));
        metrics::gauge!("drill_ready_seconds", &labels).set(seconds(drill.ready_micros));
    }

    fn label(&mut self, target: &str) -> String {
        if self.targets.iter().any(|known| known == target) {
            return target.to_owned();
        }
        if self.targets.len() >= TARGETS_MAX {
            return "other".to_owned();
        }
        self.targets.push(target.to_owned());
        target.to_owned()
    }
}

const fn has_failed(drill: &DrillEnded) -> bool {
    drill.error.is_some() || !drill.state_equal
}

fn seconds_of(at: UnixMicros) -> f64 {
    seconds(at.0)
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}
