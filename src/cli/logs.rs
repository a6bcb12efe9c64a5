//! `hindcast logs`: the file of log lines begins anew, and older ones are removed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::arguments::Global;
use super::client::{Client, print};
use super::output::{Failure, Output};
use crate::telemetry::files;

#[derive(Debug, Subcommand)]
pub(crate) enum Logs {
    /// Have a running server begin a new log file.
    #[command(after_help = "Examples:\n  hindcast logs rotate\n  \
        hindcast logs rotate --server http://127.0.0.1:8080 --json")]
    Rotate,
    /// Remove older log files, here and without a server; the one that is written to stays.
    #[command(
        after_help = "The file is that of telemetry.log_file.\n\nExamples:\n  \
        hindcast logs prune --config /etc/hindcast.toml\n  \
        hindcast logs prune --older 30d --set telemetry.log_file=/var/log/hindcast/hindcast.log"
    )]
    Prune {
        /// Those last written longer ago than this, such as 12h or 7d.
        #[arg(long, value_name = "SPAN", default_value = "7d")]
        older: String,
    },
}

pub(crate) fn run(global: &Global, verb: &Logs, output: &Output) -> Result<(), Failure> {
    match verb {
        Logs::Rotate => {
            let url = match &global.server {
                Some(url) => url.clone(),
                None => format!("http://{}", global.configuration()?.server.listen),
            };
            let client = Client::to(&url, global)?;
            let reply = client.post("/-/logs/rotate", "application/json", b"{}")?;
            print(output, &reply, rotated)
        }
        Logs::Prune { older } => prune(global, older, output),
    }
}

fn rotated(answer: &Value) -> String {
    match answer["older"].as_str() {
        Some(older) => format!("{} bytes lie in {older}", answer["bytes"]),
        None => "nothing was written since the file began".to_owned(),
    }
}

fn prune(global: &Global, older: &str, output: &Output) -> Result<(), Failure> {
    let age = hindcast_actors::whatif::span_ms(older)
        .and_then(|ms| u64::try_from(ms).ok())
        .map(Duration::from_millis)
        .ok_or_else(|| {
            let message = format!("--older: `{older}` is no span such as 12h or 7d");
            Failure::Usage(message)
        })?;
    let file: PathBuf = global.configuration()?.telemetry.log_file;
    if file.as_os_str().is_empty() {
        let hint = "it is empty: log lines go to standard error, and nothing is left behind";
        return Err(Failure::Failed {
            message: "there is no log file".to_owned(),
            field: Some("telemetry.log_file".to_owned()),
            hint: Some(hint.to_owned()),
        });
    }
    let pruned = files::prune(&file, age)
        .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    let answer = json!({
        "file": file.display().to_string(),
        "removed": pruned.removed,
        "removed_bytes": pruned.removed_bytes,
        "kept": pruned.kept,
        "kept_bytes": pruned.kept_bytes,
    });
    output.either(&answer.to_string(), || {
        Ok(format!(
            "{} older files removed, {} bytes; {} left, {} bytes",
            pruned.removed, pruned.removed_bytes, pruned.kept, pruned.kept_bytes
        ))
    })
}
