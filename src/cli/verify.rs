//! `hindcast verify`: reads the log from its files, without taking its lock.

use hindcast_log::{Problem, Report, StoreCheck, verify};
use hindcast_model::Seq;
use serde_json::{Value, json};

use super::arguments::Global;
use super::client::Progress;
use super::output::{Failure, Output};

pub(crate) fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    if global.server.is_some() {
        let message = "verify reads the files of a data directory; name it with --data-dir";
        return Err(Failure::Usage(message.to_owned()));
    }
    let data_dir = global.configuration()?.server.data_dir;
    let mut bad = Vec::new();
    let snapshots = hindcast_snapshots::all(&data_dir)
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
    let mut report = verify(&data_dir, &mut checkpoints, &|progress| {
        let (done, total) = (progress.segments as u64, progress.segments_total as u64);
        bar.set("verifying", done, total);
    })?;
    drop(bar);
    drop(checkpoints);
    for what in bad {
        report.problems_total += 1;
        report.problems.push(Problem { seq: Seq(0), what });
    }
    let json = document(&report);
    output.either(&json.to_string(), || Ok(text(&report)))?;
    match report.holds() {
        true => Ok(()),
        false => Err(Failure::failed(format!(
            "the log in {} does not hold: {} problems",
            data_dir.display(),
            report.problems_total
        ))),
    }
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
        "chain": report.chain.map(|chain| chain.to_string()),
        "state_hash": report.state_hash.to_string(),
        "decided_again": report.decided_again,
        "decided_elsewhere": report.decided_elsewhere,
        "blobs": report.blobs,
        "store": store(report.store),
        "snapshots": report.checkpoints.iter().map(|seq| seq.0).collect::<Vec<_>>(),
        "torn_bytes": report.torn_bytes,
        "problems": problems,
        "problems_total": report.problems_total,
    })
}

fn store(check: StoreCheck) -> String {
    match check {
        StoreCheck::Absent => "absent: the next start writes it again".to_owned(),
        StoreCheck::InUse => {
            "not compared: a process has it open, or it may not be written to".to_owned()
        }
        StoreCheck::Unreadable => "unreadable".to_owned(),
        StoreCheck::Compared(records) => format!("{records} records compared"),
    }
}

fn text(report: &Report) -> String {
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
    ];
    if report.decided_elsewhere > 0 {
        let count = report.decided_elsewhere;
        lines.push(format!(
            "elsewhere   {count} events of another decider version"
        ));
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
