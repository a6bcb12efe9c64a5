//! Backups, as they are shown: by what the log says of them, or by what a target lists.

use hindcast_backup::{Listed, Plan, Protection};
use hindcast_log::{Cut, Recorded};
use hindcast_model::event::{BackupEnded, BackupKind, BackupRequested};
use hindcast_model::{BackupId, Event, Seq};
use serde::Serialize;

use super::time::rfc3339;

/// A backup.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BackupView {
    #[cfg_attr(feature = "schema", schema(format = "uuid"))]
    pub id: String,
    /// The target's name, or its URL.
    pub target: String,
    /// pending, completed or failed.
    pub status: &'static str,
    /// full, incremental or verification.
    pub kind: &'static str,
    /// When it was asked for, or begun.
    pub created_at: String,
    /// The first event that it holds: 1, unless the log had been pruned before without a backup; not
    /// known from the log alone.
    pub first_seq: Option<u64>,
    /// The first event that no backup of this target had before.
    pub from_seq: Option<u64>,
    /// The last event in it.
    pub to_seq: Option<u64>,
    /// Bytes that it takes in the target; those it shares with others are counted.
    pub bytes: Option<u64>,
    /// Bytes that were sent for it.
    pub sent_bytes: Option<u64>,
    /// It was restored into a scratch directory, replayed, and its state hash was that of the log.
    pub verified: bool,
    pub verified_at: Option<String>,
    /// The state after `to_seq`.
    pub state_hash: Option<String>,
    /// Whether the target is encrypted; not known from the log alone.
    pub encrypted: Option<bool>,
    /// The public key of who signed it; not known from the log alone.
    pub signed_by: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// What the stream of backups says of one; none when it is not in it.
#[must_use]
pub fn backup(events: &[Recorded], backup: BackupId) -> Option<BackupView> {
    let mut view: Option<BackupView> = None;
    for recorded in events {
        let event = recorded.event();
        if let Some(Event::BackupRequested(request)) = event
            && request.backup == backup
        {
            requested(&mut view, recorded, request);
        } else if let Some(Event::BackupEnded(end)) = event
            && end.backup == backup
        {
            ended(
                view.get_or_insert_with(|| begun(recorded, end)),
                recorded,
                end,
            );
        }
    }
    view
}

/// A verification of a backup that is there leaves what is known of the backup.
fn requested(view: &mut Option<BackupView>, recorded: &Recorded, request: &BackupRequested) {
    match view {
        Some(view) => {
            view.status = "pending";
            view.error = None;
        }
        None => {
            *view = Some(blank(
                recorded,
                (request.backup, &request.target),
                request.kind,
            ))
        }
    }
}

fn begun(recorded: &Recorded, ended: &BackupEnded) -> BackupView {
    blank(recorded, (ended.backup, &ended.target), ended.kind)
}

fn blank(recorded: &Recorded, (id, target): (BackupId, &str), kind: BackupKind) -> BackupView {
    BackupView {
        id: id.to_string(),
        target: target.to_owned(),
        status: "pending",
        kind: kind.word(),
        created_at: rfc3339(recorded.context.at),
        first_seq: None,
        from_seq: None,
        to_seq: None,
        bytes: None,
        sent_bytes: None,
        verified: false,
        verified_at: None,
        state_hash: None,
        encrypted: None,
        signed_by: None,
        attempts: 0,
        error: None,
    }
}

fn ended(view: &mut BackupView, recorded: &Recorded, ended: &BackupEnded) {
    view.attempts = ended.attempt;
    view.status = match (&ended.error, ended.retried) {
        (None, _) => "completed",
        (Some(_), true) => "pending",
        (Some(_), false) => "failed",
    };
    view.error.clone_from(&ended.error);
    if let Some(hash) = &ended.state_hash {
        if ended.kind != BackupKind::Verification {
            view.kind = ended.kind.word();
        }
        view.from_seq = Some(ended.from_seq.0);
        view.to_seq = Some(ended.to_seq.0);
        view.bytes = Some(ended.bytes);
        view.sent_bytes = Some(ended.sent_bytes);
        view.state_hash = Some(hash.to_string());
    }
    view.verified = ended.verified;
    if ended.verified {
        view.verified_at = Some(rfc3339(recorded.context.at));
    }
}

/// A backup that a target lists.
#[must_use]
pub fn listed_backup(listed: &Listed, target: &str, protection: Protection) -> BackupView {
    let Listed { manifest, verified } = listed;
    BackupView {
        id: manifest.id.to_string(),
        target: target.to_owned(),
        status: "completed",
        kind: manifest.kind.word(),
        created_at: rfc3339(manifest.created_at),
        first_seq: Some(manifest.first_seq().0),
        from_seq: Some(manifest.from_seq.0),
        to_seq: Some(manifest.to_seq.0),
        bytes: Some(manifest.stored_bytes()),
        sent_bytes: Some(manifest.sent_bytes),
        verified: verified.is_some(),
        verified_at: verified.as_ref().map(|verified| rfc3339(verified.at)),
        state_hash: Some(manifest.state_hash.to_string()),
        encrypted: Some(protection.encrypted),
        signed_by: protection.signed_by.map(|signer| signer.to_string()),
        attempts: 1,
        error: None,
    }
}

/// What a restore would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RestorePlanView {
    pub dry_run: bool,
    /// The target, or the data directory that is read.
    pub source: String,
    /// The backup that is begun with; none when a data directory is read.
    pub backup: Option<String>,
    pub backup_verified_at: Option<String>,
    /// Where the restored log ends: a sequence, a time, or `end`.
    pub cut: String,
    /// The first event that is restored: 1, unless the log had been pruned before the backup.
    pub first_seq: u64,
    /// The last event that is certain to be restored; what was shipped after it comes besides.
    pub last_certain_seq: u64,
    /// Objects of the log that are read, and their bytes in the target.
    pub objects: usize,
    pub bytes: u64,
    /// Objects behind the backup that are tried.
    pub onward: usize,
    pub blobs: usize,
    pub keys: usize,
    /// What the restore will not bring back, or what it cannot promise.
    pub warnings: Vec<String>,
}

/// A plan, as it is shown.
#[must_use]
pub fn restore_plan(plan: &Plan) -> RestorePlanView {
    let mut warnings = Vec::new();
    if plan.without_keys {
        warnings.push(
            "the target is not encrypted and holds no data keys: payloads that were sealed \
             cannot be read after the restore, unless keys/ is put back by hand"
                .to_owned(),
        );
    }
    if plan.first > Seq(1) {
        warnings.push(format!(
            "the backup begins with event {}: what was before had been removed from the log, and the \
             state there is all that is left of it",
            plan.first
        ));
    }
    if let Some((_, None)) = plan.backup {
        warnings.push("the backup was never verified".to_owned());
    }
    let passed = plan.passed_over.iter();
    warnings.extend(passed.map(|what| format!("passed over: {what}")));
    RestorePlanView {
        dry_run: true,
        source: plan.source.title(),
        backup: plan.backup.map(|(id, _)| id.to_string()),
        backup_verified_at: plan.backup.and_then(|(_, at)| at).map(rfc3339),
        cut: match plan.cut {
            Cut::Seq(seq) => seq.to_string(),
            Cut::Time(at) => rfc3339(at),
            Cut::End => "end".to_owned(),
        },
        first_seq: plan.first.0,
        last_certain_seq: plan.last.0,
        objects: plan.objects,
        bytes: plan.bytes,
        onward: plan.onward,
        blobs: plan.blobs,
        keys: plan.keys,
        warnings,
    }
}
