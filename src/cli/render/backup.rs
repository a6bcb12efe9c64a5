//! Backups and restores as text.

use serde_json::Value;

use super::{line, list, number, text};

/// One backup.
pub(crate) fn backup(value: &Value) -> String {
    let mut out = String::new();
    let (id, target) = (text(value, "/id"), text(value, "/target"));
    let (from, to) = (number(value, "/from_seq"), number(value, "/to_seq"));
    line(&mut out, &format!("backup {id} in {target}"));
    line(
        &mut out,
        &format!(
            "{}, events {from} to {to}, {} bytes, {} of them sent",
            text(value, "/kind"),
            number(value, "/bytes"),
            number(value, "/sent_bytes"),
        ),
    );
    line(
        &mut out,
        &format!("state    {}", text(value, "/state_hash")),
    );
    if let Some(first) = value["first_seq"].as_u64().filter(|first| *first > 1) {
        line(
            &mut out,
            &format!("begins   with event {first}: what was before had been removed and is lost"),
        );
    }
    let verified = match value["verified_at"].as_str() {
        Some(at) => format!("verified {at}"),
        None => "not verified".to_owned(),
    };
    line(&mut out, &verified);
    out.trim_end().to_owned()
}

/// Backups of targets, one a line.
pub(crate) fn backups(page: &Value) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{:<36}  {:<27}  {:>12}  {:>9}  {:>9}  {:<27}  {:<9}  {:<6}  target",
            "id", "time", "bytes", "from", "to", "verified", "encrypted", "signed"
        ),
    );
    for item in list(page, "/items") {
        let encrypted = match item["encrypted"].as_bool() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let signed = match text(item, "/signed_by") {
            "" => "no",
            _ => "yes",
        };
        let verified = match text(item, "/verified_at") {
            "" => "no",
            at => at,
        };
        line(
            &mut out,
            &format!(
                "{:<36}  {:<27}  {:>12}  {:>9}  {:>9}  {verified:<27}  {encrypted:<9}  {signed:<6}  {}",
                text(item, "/id"),
                text(item, "/created_at"),
                number(item, "/bytes"),
                number(item, "/from_seq"),
                number(item, "/to_seq"),
                text(item, "/target"),
            ),
        );
    }
    for gone in list(page, "/unreachable") {
        let (target, error) = (text(gone, "/target"), text(gone, "/error"));
        line(&mut out, &format!("{target} cannot be listed: {error}"));
    }
    out.trim_end().to_owned()
}

/// What a pruning did, or would do.
pub(crate) fn pruned(value: &Value) -> String {
    let would = match value["dry_run"].as_bool() {
        Some(true) => "would be removed",
        Some(false) | None => "removed",
    };
    format!(
        "{} backups kept, {} {would}, with {} objects of {} bytes",
        list(value, "/kept").len(),
        list(value, "/removed").len(),
        number(value, "/objects"),
        number(value, "/bytes"),
    )
}

/// What a restore would do.
pub(crate) fn restore_plan(value: &Value) -> String {
    let mut out = String::new();
    line(&mut out, &format!("from     {}", text(value, "/source")));
    if let Some(backup) = value["backup"].as_str() {
        let verified = match text(value, "/backup_verified_at") {
            "" => "never verified".to_owned(),
            at => format!("verified {at}"),
        };
        line(&mut out, &format!("backup   {backup}, {verified}"));
    }
    let certain = match value["last_certain_seq"].as_u64() {
        None | Some(0) => "no event is certain".to_owned(),
        Some(seq) => format!("event {seq} is certain"),
    };
    line(
        &mut out,
        &format!("up to    {}; {certain}", text(value, "/cut")),
    );
    line(
        &mut out,
        &format!(
            "reads    {} objects of the log with {} bytes, {} behind the backup, up to {} blobs, \
             {} keys",
            number(value, "/objects"),
            number(value, "/bytes"),
            number(value, "/onward"),
            number(value, "/blobs"),
            number(value, "/keys"),
        ),
    );
    for warning in list(value, "/warnings") {
        line(
            &mut out,
            &format!("warning: {}", warning.as_str().unwrap_or("")),
        );
    }
    line(&mut out, "nothing was changed");
    out.trim_end().to_owned()
}

/// What was restored.
pub(crate) fn restored(value: &Value) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "restored {} events up to {}, {} blobs, {} keys, in {} ms",
            number(value, "/to_seq"),
            text(value, "/to_time"),
            number(value, "/blobs"),
            number(value, "/keys"),
            number(value, "/milliseconds"),
        ),
    );
    if value["decided_to"] != value["to_seq"] {
        let last = number(value, "/decided_to");
        line(
            &mut out,
            &format!("         and what was decided from the last, up to {last}"),
        );
    }
    let compared = match value["compared_with_backup"].as_bool() {
        Some(true) => "equal to the backup's",
        Some(false) | None => "by replay; the backup does not end here",
    };
    line(
        &mut out,
        &format!("state    {} ({compared})", text(value, "/state_hash")),
    );
    line(
        &mut out,
        &format!(
            "epoch    {} after {}: cursors of before are refused",
            number(value, "/epoch"),
            number(value, "/previous_epoch")
        ),
    );
    line(&mut out, &format!("in       {}", text(value, "/data_dir")));
    if let Some(kept) = value["kept"].as_str() {
        line(&mut out, &format!("before   {kept}"));
    }
    if let Some(backups) = value["backups_kept"].as_str() {
        let told =
            format!("backups  those that were here are of another log, and stay in {backups}");
        line(&mut out, &told);
    }
    out.trim_end().to_owned()
}
