//! `cargo xtask graphs`: the tables of docs/methods/causal-graphs.md, made again in one go. What the
//! numbers mean is said there.

use anyhow::{Context, ensure};

use crate::session::Session;

/// Example, its arguments, and whether it can run other programs beside ours.
const TABLES: [(&str, &[&str], Option<&str>); 4] = [
    (
        "discovery_table",
        &["tests/data/causal/sem"],
        Some("--peers"),
    ),
    ("discovery_table", &["tests/data/causal/discrete"], None),
    (
        "discovery_table",
        &["--made", "200,1000", "boss", "ges", "eqvar", "pc"],
        None,
    ),
    ("graph_table", &["tests/data/causal/ident"], None),
];

/// Prints the tables. `peers`, PYTHON:SCRIPT, also runs the programs that the script knows, and
/// those for identification that the interpreter can import.
pub(crate) fn run(session: &Session, peers: Option<&str>) -> anyhow::Result<()> {
    for (example, arguments, flag) in TABLES {
        println!("\n{example} {}\n", arguments.join(" "));
        let mut command = session.cargo(&[
            "run",
            "--release",
            "--quiet",
            "--package",
            "hindcast-causal",
            "--example",
            example,
            "--",
        ]);
        command.args(arguments);
        match (peers, flag) {
            (Some(peers), Some(flag)) => {
                command.args([flag, peers]);
            }
            (Some(peers), None) if example == "graph_table" => {
                command.arg(peers.split(':').next().unwrap_or(peers));
            }
            (_, _) => {}
        }
        let status = command.status().context("cannot start cargo")?;
        ensure!(status.success(), "{example}: {status}");
    }
    Ok(())
}
