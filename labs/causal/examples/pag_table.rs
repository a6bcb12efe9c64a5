//! Prints how the answers of FCI on data agree, pair by pair, with those of causal-learn on the same
//! rows, with the same test and level and no limit on the sets that are conditioned on.
//!
//! `cargo run --release -p hindcast-causal --example pag_table -- FILE.csv ... --python PYTHON`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hindcast_causal::Uncontrolled;
use hindcast_causal::data::{Limits, Table};
use hindcast_causal::discover::{Algorithm, DiscoverRequest, EdgeType, discover};
use serde_json::Value;

/// As many as the largest of these files has variables.
const COND_SIZE: u32 = 20;

/// For each adjacent pair of columns, the lesser first, the marks at its ends.
type Pag = BTreeMap<(usize, usize), [char; 2]>;

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn main() {
    let mut arguments: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let flag = arguments.iter().position(|a| a.as_os_str() == "--python");
    let python = flag.map(|at| {
        arguments.remove(at);
        arguments.remove(at)
    });
    println!(
        "| data | pairs joined by ours | by theirs | by both | of these the same marks | different \
         pairs (ours, theirs) | seconds | theirs |\n|---|---|---|---|---|---|---|---|"
    );
    for path in arguments {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let (ours, seconds) = ours(&path);
        let theirs = python.as_deref().and_then(|python| theirs(python, &path));
        let Some((theirs, their_seconds)) = theirs else {
            println!(
                "| {name} | {} | - | - | - | - | {seconds:.4} | - |",
                ours.len()
            );
            continue;
        };
        let both = ours.keys().filter(|pair| theirs.contains_key(pair));
        let same = both.clone().filter(|pair| ours[pair] == theirs[pair]);
        let pairs: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        let different = pairs
            .iter()
            .filter(|pair| ours.get(pair) != theirs.get(pair));
        let different: Vec<String> = different
            .map(|pair| {
                let show = |pag: &Pag| {
                    pag.get(pair)
                        .map_or("none".to_owned(), |&[a, b]| sign(a, b))
                };
                let (a, b) = pair;
                format!("{a}, {b}: {}, {}", show(&ours), show(&theirs))
            })
            .collect();
        println!(
            "| {name} | {} | {} | {} | {} | {} | {seconds:.4} | {their_seconds:.3} |",
            ours.len(),
            theirs.len(),
            both.count(),
            same.count(),
            different.join("; ")
        );
    }
}

/// An edge as it is written between two columns.
fn sign(a: char, b: char) -> String {
    let left = if a == '>' { '<' } else { a };
    format!("`{left}-{b}`")
}

#[expect(
    clippy::disallowed_methods,
    reason = "times a run; no result depends on the clock"
)]
fn ours(path: &Path) -> (Pag, f64) {
    let bytes = std::fs::read(path).expect("the file is there");
    let table = Table::parse(&bytes, &Limits::default()).expect("a table");
    let data = table.dataset().expect("complete rows");
    let request = DiscoverRequest {
        algorithm: Algorithm::Fci,
        max_cond_size: Some(COND_SIZE),
        ..DiscoverRequest::default()
    };
    let options = request.options().expect("a valid request");
    data.covariance();
    let start = std::time::Instant::now();
    let found = discover(&data, &options, 1, &Uncontrolled).expect("an answer");
    let seconds = start.elapsed().as_secs_f64();
    let at = |name: &str| {
        data.names()
            .iter()
            .position(|n| n == name)
            .expect("a column")
    };
    let edges = found.graph.edges.iter().map(|edge| {
        let marks = match edge.kind {
            EdgeType::Directed => ['-', '>'],
            EdgeType::Undirected => ['-', '-'],
            EdgeType::Bidirected => ['>', '>'],
            EdgeType::PartiallyDirected => ['o', '>'],
            EdgeType::Nondirected => ['o', 'o'],
        };
        let (from, to) = (at(&edge.from), at(&edge.to));
        if from < to {
            ((from, to), marks)
        } else {
            ((to, from), [marks[1], marks[0]])
        }
    });
    (edges.collect(), seconds)
}

fn theirs(python: &Path, path: &Path) -> Option<(Pag, f64)> {
    let run = Command::new(python)
        .args(["-c", PEER])
        .arg(path)
        .env("OMP_NUM_THREADS", "1")
        .stderr(Stdio::null())
        .output()
        .expect("--python takes a Python");
    let found: Value = serde_json::from_slice(&run.stdout).ok()?;
    let mut pag = Pag::new();
    for edge in found["edges"].as_array()? {
        let end = |at: usize| usize::try_from(edge[at].as_u64()?).ok();
        let mark = |at: usize| edge[at].as_str()?.chars().next();
        pag.insert((end(0)?, end(1)?), [mark(2)?, mark(3)?]);
    }
    Some((pag, found["seconds"].as_f64()?))
}

/// `graph[i, j]` is the mark at i of the edge between i and j.
const PEER: &str = "
import contextlib, json, signal, sys, time, warnings
import numpy as np
from causallearn.search.ConstraintBased.FCI import fci
warnings.filterwarnings('ignore'); signal.alarm(120)
rows = np.loadtxt(sys.argv[1], delimiter=',', skiprows=1)
t = time.process_time()
with contextlib.redirect_stdout(sys.stderr):
    g = fci(rows, 'fisherz', 0.01, verbose=False, show_progress=False)[0].graph
t = time.process_time() - t
mark = {-1: '-', 1: '>', 2: 'o'}
pairs = [(i, j) for i in range(len(g)) for j in range(i + 1, len(g)) if g[i, j] or g[j, i]]
print(json.dumps({'seconds': t, 'edges': [[i, j, mark[int(g[i, j])], mark[int(g[j, i])]] for i, j in pairs]}))
";
