//! What a state holds of backups, as facts.

use std::collections::BTreeMap;

use hindcast_model::BackupId;
use hindcast_model::parts::Parts;
use hindcast_model::state::{OpenBackup, VerifiedBackup};
use serde_json::{Value, json};

use super::facts::{Sink, entries, time};

/// What is known of backups.
pub(super) fn backed_up(
    sink: &mut dyn Sink,
    b: Option<&Parts<'_>>,
    (open, verified): (
        &BTreeMap<BackupId, OpenBackup>,
        &BTreeMap<String, VerifiedBackup>,
    ),
) {
    let pairs = (b.map(|b| b.backups_open), open);
    entries(
        sink,
        "backups_open",
        pairs,
        ToString::to_string,
        open_backup,
    );
    let pairs = (b.map(|b| b.backups), verified);
    entries(sink, "backups", pairs, Clone::clone, verified_backup);
}

fn open_backup(open: &OpenBackup) -> Value {
    let OpenBackup {
        target,
        kind,
        requested_at,
    } = open;
    json!({ "target": target, "kind": kind.word(), "requested_at": time(*requested_at) })
}

fn verified_backup(verified: &VerifiedBackup) -> Value {
    let VerifiedBackup {
        backup,
        from_seq,
        to_seq,
        verified_at,
        state_hash,
    } = verified;
    json!({
        "backup": backup.to_string(),
        "from_seq": from_seq.0,
        "to_seq": to_seq.0,
        "verified_at": time(*verified_at),
        "state_hash": state_hash.to_string(),
    })
}
