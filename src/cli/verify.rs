//! `hindcast verify`: reads the log from its files, without taking its lock.

use std::path::Path;

use hindcast_actors::history::{Archive, Recomputed, recompute};
use hindcast_log::{
    Blobs, FirstSealed, LogError, MasterKey, PayloadError, Problem, Progress as Proved, Reader,
    Report, StoreCheck, Vault, VaultError, verify, verify_opening,
};
use hindcast_model::Seq;
use serde_json::{Value, json};

use super::arguments::Global;
use super::client::Progress;
use super::directory;
use super::output::{Failure, Output};
use crate::privacy::master_key;
use crate::startup::numeric_profile;

/// What is proved.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Compute every deterministic result again as well and compare its hash.
    #[arg(long)]
    recompute: bool,
}

pub(crate) fn run(global: &Global, options: &Options, output: &Output) -> Result<(), Failure> {
    if global.server.is_some() {
        let message = "verify reads the files of a data directory; name it with --data-dir";
        return Err(Failure::Usage(message.to_owned()));
    }
    let config = global.configuration()?;
    let master = master_key(&config).map_err(Failure::configuration)?;
    let data_dir = config.server.data_dir;
    directory::check(&data_dir)?;
    let vault = vault(&data_dir, master.as_ref())?;
    let mut report = prove(&data_dir, vault.as_ref())?;
    let keys = data_keys(&data_dir, master.as_ref(), &mut report)?;
    // What is damaged cannot be computed again, and is told.
    let recomputed = match options.recompute && report.holds() {
        true => Some(results(&data_dir, master.as_ref(), &mut report)?),
        false => None,
    };
    let mut json = document(&report);
    json["recomputed"] = recomputed.as_ref().map_or(Value::Null, counts);
    let of = |count: fn(&Opened) -> u64| keys.as_ref().map_or(Value::Null, |it| count(it).into());
    json["data_keys"] = of(|it| it.keys);
    json["sealed_payloads"] = of(|it| it.payloads);
    json["sealed_datasets"] = of(|it| it.datasets);
    json["redacted_datasets"] = of(|it| it.redacted);
    output.either(&json.to_string(), || {
        Ok(text(&report, keys.as_ref(), recomputed.as_ref()))
    })?;
    match report.holds() {
        true => Ok(()),
        false => Err(Failure::failed(format!(
            "the log in {} does not hold: {} problems",
            data_dir.display(),
            report.problems_total
        ))
        .with_hint(Some(format!(
            "hindcast repair --plan --data-dir {} says what can be healed",
            data_dir.display()
        )))),
    }
}

/// The keys under `data_dir`; none when they are kept elsewhere, or are wrapped and no master key is named.
fn vault(data_dir: &Path, master: Option<&MasterKey>) -> Result<Option<Vault>, Failure> {
    if !data_dir.join("keys").exists() {
        return Ok(None);
    }
    match Vault::open(data_dir, master) {
        Err(VaultError::Wrapped(_)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// Proves the log under `data_dir` and its snapshots, and that the keys of `vault` open what they sealed.
pub(crate) fn prove(data_dir: &Path, vault: Option<&Vault>) -> Result<Report, Failure> {
    let mut bad = Vec::new();
    let snapshots = hindcast_snapshots::all(data_dir)
        .map_err(|error| Failure::failed(format!("the snapshots cannot be read: {error}")))?;
    // One after another, as the log reaches them: there may be many.
    let mut checkpoints = snapshots.filter_map(|read| match read {
        Ok((_, Ok(checkpoint))) => Some(checkpoint),
        // Rules of another version are no damage: such a snapshot is passed over at start.
        Ok((_, Err(hindcast_snapshots::Bad::OtherRules { .. }))) => None,
        Ok((path, Err(why))) => {
            bad.push(format!("{}: {why}", path.display()));
            None
        }
        Err(error) => {
            bad.push(format!("a snapshot cannot be read: {error}"));
            None
        }
    });
    let bar = Progress::new();
    let told = |progress: Proved| {
        let (done, total) = (progress.segments as u64, progress.segments_total as u64);
        bar.set("verifying", done, total);
    };
    let verified = match vault {
        Some(vault) => verify_opening(data_dir, vault, &mut checkpoints, &told),
        None => verify(data_dir, &mut checkpoints, &told),
    };
    let mut report = match verified {
        // A server has removed segments since they were listed.
        Err(LogError::Pruned(_)) => return prove(data_dir, vault),
        verified => verified?,
    };
    drop(bar);
    drop(checkpoints);
    for what in bad {
        report.problem(Seq(0), what);
    }
    Ok(report)
}

/// What data keys open.
#[derive(Debug, Default)]
struct Opened {
    /// Keys that open something.
    keys: u64,
    /// What they open: payloads of events.
    payloads: u64,
    /// Sealed datasets that were opened, and are what was sealed.
    datasets: u64,
    /// Sealed datasets that nobody can open any more.
    redacted: u64,
}

/// Counts what the data keys opened, and opens every sealed dataset. None when the keys are kept
/// elsewhere, or are wrapped and no master key is named.
fn data_keys(
    data_dir: &Path,
    master: Option<&MasterKey>,
    report: &mut Report,
) -> Result<Option<Opened>, Failure> {
    // Read again: a server may have made keys since the log was proved with those of before.
    let Some(vault) = vault(data_dir, master)? else {
        return Ok(None);
    };
    let blobs = Reader::open(data_dir)?.blobs();
    let mut damaged = vault.damaged();
    let mut opened = Opened {
        keys: report.opened.len() as u64,
        payloads: report.opened.values().sum(),
        ..Opened::default()
    };
    for FirstSealed { key, seq, payload } in std::mem::take(&mut report.sealed) {
        damaged.retain(|damaged| *damaged != key);
        // Redacted after this log ends, which a restore honours.
        if vault.is_shredded(key) {
            continue;
        }
        match vault.text(&blobs, key, &payload) {
            Ok(_) => {
                opened.keys += 1;
                opened.payloads += 1;
            }
            // A blob that is missing or damaged is named for itself.
            Err(PayloadError::Blob(_)) => {}
            Err(error @ (PayloadError::Sealed(_) | PayloadError::NotText)) => {
                let what = format!("{error}: what is sealed under it from here on is not readable");
                report.problem(seq, what);
            }
        }
    }
    for key in damaged {
        report.problem(Seq(0), VaultError::Damaged(key).to_string());
    }
    datasets(&vault, &blobs, (report, &mut opened))?;
    Ok(Some(opened))
}

/// Opens every sealed dataset. A key authenticates what it opens.
fn datasets(
    vault: &Vault,
    blobs: &Blobs,
    (report, opened): (&mut Report, &mut Opened),
) -> Result<(), Failure> {
    for (digest, seq) in std::mem::take(&mut report.sealed_datasets) {
        let key = Vault::seals(blobs, digest)?;
        if key.is_some_and(|key| vault.is_shredded(key)) {
            opened.redacted += 1;
            continue;
        }
        match vault.dataset(blobs, digest) {
            Ok(_) => opened.datasets += 1,
            Err(error) => report.problem(seq, format!("dataset {digest}: {error}")),
        }
    }
    Ok(())
}

/// Computes the results of the log again; those that differ become problems of the report.
fn results(
    data_dir: &Path,
    master: Option<&MasterKey>,
    report: &mut Report,
) -> Result<Recomputed, Failure> {
    let bar = Progress::new();
    let reader = Reader::open(data_dir)?;
    let (blobs, vault) = (reader.blobs(), Vault::open(data_dir, master)?);
    let archive = Archive {
        reader: &reader,
        blobs: &blobs,
        vault: &vault,
    };
    let total = report.events;
    let recomputed = recompute(archive, &numeric_profile(), &|seq| {
        bar.set("computing again", seq.0, total);
    })?;
    report.problems_total += recomputed.differing_total;
    for differing in &recomputed.differing {
        let what = format!("run {}: {}", differing.run, differing.what);
        report.problems.push(Problem {
            seq: differing.seq,
            what,
        });
    }
    Ok(recomputed)
}

fn counts(recomputed: &Recomputed) -> Value {
    json!({
        "compared": recomputed.compared,
        "computations": recomputed.computations,
        "elsewhere": recomputed.elsewhere,
        "sealed": recomputed.sealed,
        "undetermined": recomputed.undetermined,
        "differing": recomputed.differing_total,
    })
}

fn document(report: &Report) -> Value {
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|problem| json!({ "seq": problem.seq.0, "what": problem.what }))
        .collect();
    json!({
        "holds": report.holds(),
        "log": report.log.map(|log| log.to_string()),
        "epoch": report.epoch,
        "events": report.events,
        "segments": report.segments,
        "pruned": report.pruned.iter().map(|gap| json!({
            "from": gap.from.0,
            "to": gap.to.0,
            "backup": gap.backup,
        })).collect::<Vec<_>>(),
        "chain": report.chain.map(|chain| chain.to_string()),
        "state_hash": report.state_hash.to_string(),
        "decided_again": report.decided_again,
        "decided_elsewhere": report.decided_elsewhere,
        "blobs": report.blobs,
        "store": store(report.store),
        "snapshots": report.checkpoints.iter().map(|seq| seq.0).collect::<Vec<_>>(),
        "snapshots_abandoned": report.checkpoints_abandoned.iter().map(|seq| seq.0).collect::<Vec<_>>(),
        "torn_bytes": report.torn_bytes,
        "problems": problems,
        "problems_total": report.problems_total,
    })
}

fn store(check: StoreCheck) -> String {
    match check {
        StoreCheck::Absent => "absent: the next start writes it again".to_owned(),
        StoreCheck::InUse => {
            "not compared: a process has it open, or the lock cannot be looked at".to_owned()
        }
        StoreCheck::NotCopied => {
            let into = std::env::temp_dir();
            let into = into.display();
            format!(
                "not compared: {into} has no room for a copy of it (TMPDIR names another place)"
            )
        }
        StoreCheck::Unreadable => "unreadable".to_owned(),
        StoreCheck::Compared(records) => format!("{records} records compared"),
    }
}

/// What is no part of the log any more.
fn not_there(report: &Report) -> Vec<String> {
    let abandoned = report.checkpoints_abandoned.iter().map(|seq| {
        let what = "is of a history that a restore abandoned: no start takes it";
        format!("abandoned   the snapshot at {seq} {what}")
    });
    let pruned = report.pruned.iter();
    let pruned = pruned.map(|gap| format!("pruned      {gap}"));
    abandoned.chain(pruned).collect()
}

fn text(report: &Report, keys: Option<&Opened>, recomputed: Option<&Recomputed>) -> String {
    let mut lines = vec![
        format!("{} events in {} segments", report.events, report.segments),
        match report.chain {
            Some(chain) => format!("chain       {chain}"),
            None => "chain       broken".to_owned(),
        },
        format!("state       {}", report.state_hash),
        format!(
            "decided     {} observed events again, to the same bytes",
            report.decided_again
        ),
        format!("blobs       {}", report.blobs),
        format!("snapshots   {}", report.checkpoints.len()),
        format!("store       {}", store(report.store)),
        match keys {
            Some(Opened {
                keys,
                payloads,
                datasets,
                redacted,
            }) => format!(
                "data keys   {keys} open {payloads} payloads and {datasets} datasets that they sealed; \
                 {redacted} datasets are redacted"
            ),
            None => "data keys   not checked: none are here, or no master key is named".to_owned(),
        },
    ];
    lines.extend(not_there(report));
    if report.decided_elsewhere > 0 {
        let count = report.decided_elsewhere;
        lines.push(format!(
            "elsewhere   {count} events of another decider version"
        ));
    }
    if let Some(recomputed) = recomputed {
        let Recomputed {
            compared,
            computations,
            elsewhere,
            sealed,
            undetermined,
            ..
        } = recomputed;
        lines.push(format!(
            "results     {compared} compared with {computations} computations"
        ));
        let skipped = [
            (elsewhere, "of another algorithm version or machine"),
            (sealed, "whose data key is not here"),
            (undetermined, "failures that depend on the moment"),
        ];
        let told = skipped.iter().filter(|(count, _)| **count > 0);
        lines.extend(told.map(|(count, what)| format!("not compared {count} {what}")));
    }
    if report.torn_bytes > 0 {
        let bytes = report.torn_bytes;
        lines.push(format!(
            "tail        {bytes} bytes that the next start cuts"
        ));
    }
    for problem in &report.problems {
        lines.push(format!("PROBLEM at {}: {}", problem.seq, problem.what));
    }
    lines.push(match report.holds() {
        true => "everything holds".to_owned(),
        false => format!("{} problems", report.problems_total),
    });
    lines.join("\n")
}
