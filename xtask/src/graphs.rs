//! `cargo xtask graphs`: the tables of docs/methods on causal graphs, made again in one go. What the
//! numbers mean is said there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

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

/// One example run, and where its output stands.
struct Table {
    /// Its place: between `<!-- graphs NAME -->` and `<!-- end -->` on the page.
    name: &'static str,
    page: &'static str,
    example: &'static str,
    arguments: &'static [&'static str],
    peers: Peers,
}

const DISCOVERY: &str = "docs/methods/causal-graphs.md";
const IDENTIFICATION: &str = "docs/methods/causal-identification.md";

const TABLES: [Table; 7] = [
    Table {
        name: "costs",
        page: IDENTIFICATION,
        example: "graph_table",
        arguments: &["tests/data/causal/ident"],
        peers: Peers::Last,
    },
    Table {
        name: "categories",
        page: DISCOVERY,
        example: "discovery_table",
        arguments: &["tests/data/causal/discrete"],
        peers: Peers::None,
    },
    Table {
        name: "pag",
        page: DISCOVERY,
        example: "pag_table",
        arguments: &PAG_FILES,
        peers: Peers::Python("--python"),
    },
    Table {
        name: "networks",
        page: DISCOVERY,
        example: "network_table",
        arguments: &["1000,5000", "15"],
        peers: Peers::None,
    },
    Table {
        name: "made",
        page: DISCOVERY,
        example: "discovery_table",
        arguments: &["--made", "200,1000", "boss", "ges", "eqvar", "pc"],
        peers: Peers::None,
    },
    Table {
        name: "numbers",
        page: DISCOVERY,
        example: "discovery_table",
        arguments: &["tests/data/causal/sem"],
        peers: Peers::Script("--peers"),
    },
    Table {
        name: "network peers",
        page: DISCOVERY,
        example: "network_table",
        arguments: &["1000", "5"],
        peers: Peers::Python("--python"),
    },
];

/// Prints the tables, and with `write` puts each in its place. `peers`, PYTHON:SCRIPT, also runs the
/// programs that the script knows, and those that the interpreter can import.
pub(crate) fn run(session: &Session, peers: Option<&str>, write: bool) -> anyhow::Result<()> {
    for table in &TABLES {
        println!("\n{} {}\n", table.example, table.arguments.join(" "));
        let made = make(session, table, peers)?;
        if write {
            put(session, table, &made)?;
        }
    }
    Ok(())
}

/// Runs the example, prints what it says as it says it, and returns it.
fn make(session: &Session, table: &Table, peers: Option<&str>) -> anyhow::Result<String> {
    let example = table.example;
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
    command.args(table.arguments).stdout(Stdio::piped());
    if let Some(peers) = peers {
        let python = peers.split(':').next().unwrap_or(peers);
        match table.peers {
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
    let mut running = command.spawn().context("cannot start cargo")?;
    let output = running.stdout.take().context("its output is a pipe")?;
    let mut made = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.context("the example's output")?;
        println!("{line}");
        made.push_str(&line);
        made.push('\n');
    }
    let status = running.wait().context("cannot wait for cargo")?;
    ensure!(status.success(), "{example}: {status}");
    Ok(made)
}

/// Puts what an example said in its place on the page.
fn put(session: &Session, table: &Table, made: &str) -> anyhow::Result<()> {
    let Table { name, page, .. } = table;
    let path = session.root.join(page);
    let text = fs::read_to_string(&path).with_context(|| format!("read {page}"))?;
    let begin = format!("<!-- graphs {name} -->\n");
    let place = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once("<!-- end -->")?;
        Some((before, after))
    });
    let (before, after) = place.with_context(|| format!("{page} has no place for {name}"))?;
    let text = format!("{before}{begin}\n{}\n\n<!-- end -->{after}", made.trim());
    fs::write(&path, text).with_context(|| format!("write {page}"))
}
