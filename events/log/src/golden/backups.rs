//! Samples of what is recorded of backups and restores.

use hindcast_model::event::*;
use hindcast_model::{BackupId, Event, Seq};

use super::samples::{digest, keyed};

pub(super) fn samples() -> Vec<(&'static str, Event)> {
    let backup = BackupId::from_bytes([0xba; 16]);
    let ended = BackupEnded {
        backup,
        target: "offsite".to_owned(),
        kind: BackupKind::Incremental,
        attempt: 2,
        retried: false,
        from_seq: Seq(7),
        to_seq: Seq(40),
        bytes: 9_000,
        sent_bytes: 700,
        verified: true,
        state_hash: Some(digest(6)),
        error: None,
        copied_micros: 1_500,
        verified_micros: 2_500,
    };
    vec![
        (
            "record_17_1_backup_ended.bin",
            Event::BackupEnded(ended.clone()),
        ),
        (
            "record_17_1_backup_ended_failed.bin",
            Event::BackupEnded(BackupEnded {
                kind: BackupKind::Shipping,
                retried: true,
                verified: false,
                state_hash: None,
                error: Some("the target is full".to_owned()),
                ..ended
            }),
        ),
        (
            "record_18_1_restored.bin",
            Event::Restored(Restored {
                source: "offsite".to_owned(),
                backup: Some(backup),
                cut: Seq(40),
                previous_epoch: 1,
                epoch: 1_800_000_000,
                state_hash: digest(6),
            }),
        ),
        (
            "record_19_1_backup_requested_full.bin",
            Event::BackupRequested(BackupRequested {
                backup,
                target: "offsite".to_owned(),
                kind: BackupKind::Full,
                idempotency: keyed(),
            }),
        ),
        (
            "record_19_1_backup_requested_verification.bin",
            Event::BackupRequested(BackupRequested {
                backup,
                target: "offsite".to_owned(),
                kind: BackupKind::Verification,
                idempotency: None,
            }),
        ),
        drill(),
    ]
}

fn drill() -> (&'static str, Event) {
    (
        "record_68_1_drill_ended.bin",
        Event::DrillEnded(DrillEnded {
            target: "offsite".to_owned(),
            head: Seq(44),
            to_seq: Seq(40),
            lost_micros: 300_000,
            ready_micros: 900_000,
            state_hash: Some(digest(6)),
            state_equal: true,
            error: None,
        }),
    )
}
