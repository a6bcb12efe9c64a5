//! `hindcast snapshot`: the folded state in a file, so that the next start is quick.

use std::path::Path;

use hindcast_log::{Checkpoint, Reader};
use serde_json::{Value, json};

use super::arguments::Global;
use super::client::{Client, print};
use super::directory;
use super::output::{Failure, Output};
use crate::clock;

pub(crate) fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    if let Some(url) = &global.server {
        let reply = Client::to(url, global)?.post("/-/snapshot", "application/json", b"{}")?;
        return print(output, &reply, told);
    }
    let data_dir = directory::existing(global)?;
    let bytes_max = global.configuration()?.log.snapshots_bytes_max;
    let answer = take(&data_dir, bytes_max)?;
    output.either(&answer.to_string(), || Ok(told(&answer)))
}

fn told(answer: &Value) -> String {
    format!(
        "snapshot of sequence {}, {} bytes, in {} ms: {}",
        answer["seq"],
        answer["bytes"],
        answer["milliseconds"],
        answer["file"].as_str().unwrap_or("")
    )
}

/// Folds the files of a data directory that no server has open, and writes the state.
fn take(data_dir: &Path, bytes_max: u64) -> Result<Value, Failure> {
    if hindcast_log::is_open(data_dir) {
        return Err(Failure::Failed {
            message: format!("a server has {} open", data_dir.display()),
            field: None,
            hint: Some("let it take the snapshot: hindcast snapshot --server URL".to_owned()),
        });
    }
    let begun = clock::monotonic_micros();
    let reader = Reader::open(data_dir)?;
    let no_log = || Failure::failed(format!("there is no log in {}", data_dir.display()));
    let head = reader.head()?.ok_or_else(no_log)?;
    let moment = hindcast_snapshots::at(&reader, head.seq)?;
    if let Some(unknown) = moment.unknown {
        let message = format!("the log has `{unknown}` events, which this version does not know");
        return Err(Failure::failed(message));
    }
    let checkpoint = Checkpoint {
        log: head.log,
        epoch: moment.epoch,
        chain: moment.chain,
        state: moment.state,
    };
    let taken = hindcast_snapshots::take(data_dir, &checkpoint, bytes_max)
        .map_err(|error| Failure::failed(format!("{}: {error}", data_dir.display())))?;
    let name = taken.path.file_name().unwrap_or_default();
    Ok(json!({
        "seq": taken.seq.0,
        "bytes": taken.bytes,
        "file": format!("snapshots/{}", name.to_string_lossy()),
        "milliseconds": clock::monotonic_micros().saturating_sub(begun) / 1_000,
    }))
}
