//! `hindcast repair`: heals what `verify` finds, from the lookup store and from copies, and says
//! what nothing at hand can heal.

use std::path::{Path, PathBuf};

use hindcast_backup::Copies;
use hindcast_log::{Lost, NoSpares, Remedy, Repair, Spares, repair};
use hindcast_snapshots::Bad;
use serde_json::{Value, json};

use super::arguments::{Global, Target};
use super::backup::named;
use super::directory::existing;
use super::output::{Failure, Output};
use super::verify::prove;
use crate::backups;

/// What is done.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Say what would be healed, and change nothing.
    #[arg(long)]
    plan: bool,
    /// Take what is not here from the newest backup in this target: a name of the configuration, a
    /// directory, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "TARGET")]
    from: Option<String>,
    #[command(flatten)]
    with: Target,
}

pub(crate) fn run(global: &Global, options: &Options, output: &Output) -> Result<(), Failure> {
    if global.server.is_some() {
        let message = "repair works on the files of a data directory whose server is stopped; \
                       name it with --data-dir";
        return Err(Failure::Usage(message.to_owned()));
    }
    let data_dir = existing(global)?;
    let copies = match &options.from {
        Some(from) => {
            let target = named(&global.configuration()?, from, &options.with)?;
            Some(Copies::open(&backups::repository(&target)?)?)
        }
        None => None,
    };
    let spares: &dyn Spares = match &copies {
        Some(copies) => copies,
        None => &NoSpares,
    };
    let found = repair(&data_dir, spares, !options.plan)?;
    let mut snapshots = unreadable(&data_dir)?;
    let mut holds = None;
    if !options.plan {
        let report = prove(&data_dir, None)?;
        snapshots.extend(report.checkpoints_differing.iter().map(|seq| {
            let why = "it is not what the log folds to".to_owned();
            (hindcast_snapshots::path(&data_dir, *seq), why)
        }));
        for (path, _) in &snapshots {
            hindcast_snapshots::set_aside(path)?;
        }
        let report = match snapshots.is_empty() {
            true => report,
            false => prove(&data_dir, None)?,
        };
        holds = Some(report.holds());
    }
    let document = document(&found, &snapshots, holds);
    output.either(&document.to_string(), || {
        Ok(text(&found, &snapshots, options.plan))
    })?;
    match (found.lost.len(), holds) {
        (0, None | Some(true)) => Ok(()),
        (0, Some(false)) => Err(Failure::failed(
            "the log does not hold yet: hindcast verify says why",
        )),
        (lost, _) => {
            let hint = match copies {
                None => "take what is missing from a backup with --from TARGET, or restore one",
                Some(_) => "the copy has it neither: hindcast restore begins anew with what it has",
            };
            let things = if lost == 1 { "thing" } else { "things" };
            let message = format!("{lost} {things} cannot be healed from what is at hand");
            Err(Failure::failed(message).with_hint(Some(hint.to_owned())))
        }
    }
}

/// The snapshots that are damaged, each with what is wrong. Those of other rules are whole.
fn unreadable(data_dir: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut found = Vec::new();
    for read in hindcast_snapshots::all(data_dir)? {
        if let (path, Err(why)) = read?
            && !matches!(why, Bad::OtherRules { .. })
        {
            found.push((path, why.to_string()));
        }
    }
    Ok(found)
}

fn document(found: &Repair, snapshots: &[(PathBuf, String)], holds: Option<bool>) -> Value {
    let remedies = found.remedies.iter().map(|remedy| match remedy {
        Remedy::Segment {
            first,
            path,
            healed,
            moved,
            spare,
            store,
            stray,
        } => json!({
            "kind": "segment",
            "stray_bytes": stray,
            "first": first.0,
            "path": path.display().to_string(),
            "sequences": healed.iter().map(|(from, to)| json!([from.0, to.0])).collect::<Vec<_>>(),
            "frames": { "moved": moved, "from_copy": spare, "from_store": store },
        }),
        Remedy::Blob { digest, seq } => json!({
            "kind": "blob",
            "digest": digest.to_string(),
            "seq": seq.0,
        }),
        Remedy::Store { why } => json!({ "kind": "store", "why": why }),
    });
    let aside = snapshots.iter().map(
        |(path, why)| json!({ "kind": "snapshot", "path": path.display().to_string(), "why": why }),
    );
    let lost = |lost: &Lost| json!({ "seq": lost.seq.0, "to": lost.to.0, "what": lost.what });
    json!({
        "applied": holds.is_some(),
        "holds": holds,
        "remedies": remedies.chain(aside).collect::<Vec<_>>(),
        "lost": found.lost.iter().map(lost).collect::<Vec<_>>(),
        "whole_to": found.whole_to.0,
    })
}

fn text(found: &Repair, snapshots: &[(PathBuf, String)], plan: bool) -> String {
    let mut lines = Vec::new();
    for remedy in &found.remedies {
        lines.push(match remedy {
            Remedy::Segment {
                path,
                healed,
                moved,
                spare,
                store,
                stray,
                ..
            } => {
                let ranges: Vec<String> = healed
                    .iter()
                    .map(|(from, to)| format!("{from} to {to}"))
                    .collect();
                let path = path.display();
                let ranges = ranges.join(", ");
                let healed = format!(
                    "sequences {ranges} ({store} frames from the lookup \
                     store, {spare} from the copy, {moved} moved)"
                );
                let what = match stray {
                    0 => healed,
                    _ => format!("{stray} bytes behind its last frame are of no event"),
                };
                format!("segment     {path}: {what}; the damaged file stays beside it")
            }
            Remedy::Blob { digest, seq } => {
                format!("blob        {digest}, which event {seq} names, from the copy")
            }
            Remedy::Store { why } => {
                format!("store       moved aside, and written again by the next start: {why}")
            }
        });
    }
    for (path, why) in snapshots {
        lines.push(format!("snapshot    {} set aside: {why}", path.display()));
    }
    let healed = !lines.is_empty();
    for lost in &found.lost {
        lines.push(format!("LOST at {}: {}", lost.seq, lost.what));
    }
    let told = match (lines.len(), plan, found.lost.is_empty()) {
        (0, ..) => "there is nothing to heal",
        (_, true, _) => "this is the plan; nothing was changed",
        (_, false, true) => "healed",
        (_, false, false) if healed => "healed but for what is lost",
        (_, false, false) => "nothing of it could be healed",
    };
    lines.push(told.to_owned());
    lines.join("\n")
}
