//! `hindcast restore`: makes a data directory from a backup or from its own earlier self. No server
//! may have it open.

use hindcast_actors::views;
use hindcast_backup::{BackupError, Plan, Restore as To, Wanted, Work, plan, plan_local, restore};
use serde_json::{Value, json};

use super::arguments::{Global, Restore};
use super::backup::named;
use super::output::{Failure, Output, note};
use super::render;
use crate::backups;
use crate::clock::SystemClock;
use crate::http::wanted;

pub(crate) fn run(global: &Global, options: &Restore, output: &Output) -> Result<(), Failure> {
    if global.server.is_some() {
        let message = "restore works on the files of a data directory, whose server is stopped; \
                       name it with --data-dir";
        return Err(Failure::Usage(message.to_owned()));
    }
    let config = global.configuration()?;
    let data_dir = &config.server.data_dir;
    let wanted = what(options)?;
    let plan = match &options.from {
        Some(from) => {
            let target = named(&config, from, &options.with)?;
            plan(&backups::repository(&target)?, wanted)?
        }
        None => plan_local(data_dir, wanted)?,
    };
    let shown = views::restore_plan(&plan);
    if options.dry_run {
        let value = serde_json::to_value(&shown)?;
        return output.either(&value.to_string(), || Ok(render::restore_plan(&value)));
    }
    for warning in &shown.warnings {
        note(&format!("warning: {warning}"));
    }
    let document = carry_out(&plan, data_dir, config.log.segment_bytes).map_err(|error| {
        let damaged = matches!(
            error,
            BackupError::Damaged { .. } | BackupError::OtherHistory { .. }
        );
        let advice = damaged.then(|| {
            "take an earlier moment with --to, or another backup with --backup; `hindcast backup \
             list` shows them"
                .to_owned()
        });
        Failure::from(error).with_hint(advice)
    })?;
    output.either(&document.to_string(), || Ok(render::restored(&document)))
}

fn what(options: &Restore) -> Result<Wanted, Failure> {
    if let Some(id) = &options.backup {
        let parsed = id.parse().map(Wanted::Backup);
        let refuse = |_| Failure::Usage(format!("--backup: `{id}` is no id, which is a UUID"));
        return parsed.map_err(refuse);
    }
    let to = options.to.as_deref().unwrap_or("latest");
    wanted(to).ok_or_else(|| {
        let expected = "a sequence, a time in RFC 3339, latest or latest-verified is expected";
        Failure::Usage(format!("--to: `{to}`: {expected}"))
    })
}

fn carry_out(
    plan: &Plan,
    data_dir: &std::path::Path,
    segment_bytes: u64,
) -> Result<Value, BackupError> {
    let to = To {
        data_dir,
        segment_bytes,
    };
    let restored = restore(plan, &to, &Work::new(&SystemClock))?;
    for passed in &restored.passed_over {
        note(&format!("note: passed over: {passed}"));
    }
    for blob in &restored.lost_blobs {
        note(&format!(
            "note: blob {blob} was lost before and is not there; `hindcast verify` names the \
             sequence that wants it"
        ));
    }
    if let Some(backups) = &restored.backups_kept {
        let backups = backups.display();
        note(&format!(
            "warning: the local backups that were here are of another log, and stay in {backups}"
        ));
    }
    Ok(json!({
        "state_hash": restored.state_hash.to_string(),
        "compared_with_backup": restored.compared,
        "source": plan.source.title(),
        "backup": restored.backup.map(|id| id.to_string()),
        "log": restored.log.to_string(),
        "to_seq": restored.to_seq.0,
        "decided_to": restored.decided_to.0,
        "to_time": views::rfc3339(restored.at),
        "epoch": restored.epoch,
        "previous_epoch": restored.previous_epoch,
        "blobs": restored.blobs,
        "keys": restored.keys,
        "data_dir": restored.data_dir.display().to_string(),
        "kept": restored.kept.map(|path| path.display().to_string()),
        "backups_kept": restored.backups_kept.map(|path| path.display().to_string()),
        "passed_over": restored.passed_over,
        "lost_blobs": restored.lost_blobs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "milliseconds": restored.micros / 1_000,
    }))
}
