//! `cargo xtask graphs`: the tables of docs/methods on causal graphs, made again in one go. What the
//! numbers mean is said there.

use anyhow::{Context, ensure};

use crate::session::Session;

/// How an example is told of other programs.
enum Peers {
    None,
    /// PYTHON:SCRIPT after the flag.
    Script(&'static str),
    /// The interpreter after the flag.
    Python(&'static str),
    /// The interpreter as last argument.
    Last,
}

const PAG_FILES: [&str; 5] = [
    "tests/data/causal/sem/er2_gauss_d10_s0.csv",
    "tests/data/causal/sem/er2_gauss_d10_s1.csv",
    "tests/data/causal/sem/er2_gauss_d10_s2.csv",
    "tests/data/causal/sem/er2_gauss_d20_s0.csv",
    "tests/data/causal/sachs/sachs_obs853.csv",
];

/// Example, its arguments, and how it runs other programs beside ours.
const TABLES: [(&str, &[&str], Peers); 7] = [
    ("graph_table", &["tests/data/causal/ident"], Peers::Last),
    (
        "discovery_table",
        &["tests/data/causal/discrete"],
        Peers::None,
    ),
    ("pag_table", &PAG_FILES, Peers::Python("--python")),
    ("network_table", &["1000,5000", "15"], Peers::None),
    (
        "discovery_table",
        &["--made", "200,1000", "boss", "ges", "eqvar", "pc"],
        Peers::None,
    ),
    (
        "discovery_table",
        &["tests/data/causal/sem"],
        Peers::Script("--peers"),
    ),
    ("network_table", &["1000", "5"], Peers::Python("--python")),
];

/// Prints the tables. `peers`, PYTHON:SCRIPT, also runs the programs that the script knows, and
/// those for identification that the interpreter can import.
pub(crate) fn run(session: &Session, peers: Option<&str>) -> anyhow::Result<()> {
    for (example, arguments, kind) in TABLES {
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
        if let Some(peers) = peers {
            let python = peers.split(':').next().unwrap_or(peers);
            match kind {
                Peers::None => {}
                Peers::Script(flag) => {
                    command.args([flag, peers]);
                }
                Peers::Python(flag) => {
                    command.args([flag, python]);
                }
                Peers::Last => {
                    command.arg(python);
                }
            }
        }
        let status = command.status().context("cannot start cargo")?;
        ensure!(status.success(), "{example}: {status}");
    }
    Ok(())
}
