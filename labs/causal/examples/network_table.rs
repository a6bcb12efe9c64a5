//! Prints how far searches by score for categories end from known networks, as means over samples:
//! pairs whose mark differs from that of the true class (SHD-CPDAG), and CPU seconds of one thread.
//!
//! `cargo run --release -p hindcast-causal --example network_table -- 1000,5000 10` draws 10
//! samples of 1000 and of 5000 rows from each network. `--bdeu 10:0,1:1` lists pairs of equivalent
//! sample size and structure prior; `--networks asia,sachs` chooses among the networks. `--python PATH` of a
//! Python that has causal-learn and pgmpy puts them beside ours, on the same rows with their
//! defaults; a sample that takes more than a minute ends that program's turn at the network.

#[expect(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use hindcast_causal::Uncontrolled;
use hindcast_causal::data::Dataset;
use hindcast_causal::discover::{Algorithm, DiscoverRequest, ScoreChoice, discover};
use serde_json::{Value, json};
use support::{
    Marks, class_distance, class_of, graph_marks, known_network, network_marks, sampled,
};

const NETWORKS: &str = "asia,sachs,child,alarm";
/// Added to the number of a sample. Seeds below it were looked at when defaults were chosen.
const FIRST_SEED: u64 = 1_000;

struct Samples {
    label: String,
    class: Marks,
    data: Vec<Dataset>,
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let networks = take_flag(&mut arguments, "--networks").unwrap_or(NETWORKS.to_owned());
    let bdeu = take_flag(&mut arguments, "--bdeu");
    let first = take_flag(&mut arguments, "--first-seed");
    let first = first.map_or(FIRST_SEED, |text| text.parse().expect("a seed"));
    let python = take_flag(&mut arguments, "--python");
    let [rows, count] = arguments.as_slice() else {
        panic!("rows and the number of samples are needed");
    };
    let seeds = first..first + count.parse::<u64>().expect("a number of samples");
    let requests = requests(bdeu.as_deref());
    println!("| samples | search | score | SHD-CPDAG | seconds |\n|---|---|---|---|---|");
    for name in networks.split(',') {
        let network = known_network(name);
        for rows in rows.split(',') {
            let count = rows.parse().expect("a number of rows");
            let samples = Samples {
                label: format!("{name}, {rows} rows"),
                class: class_of(&network_marks(&network)),
                data: seeds.clone().map(|s| sampled(&network, count, s)).collect(),
            };
            for (score, request) in &requests {
                print(
                    &samples,
                    request.algorithm.name(),
                    score,
                    &ours(&samples, request),
                );
            }
            if let Some(python) = &python {
                for (search, score, program) in PEERS {
                    print(&samples, search, score, &peer(&samples, python, program));
                }
            }
        }
    }
}

fn take_flag(arguments: &mut Vec<String>, flag: &str) -> Option<String> {
    let at = arguments.iter().position(|a| a == flag)?;
    arguments.remove(at);
    Some(arguments.remove(at))
}

/// What is asked of ours: both searches under each score.
fn requests(bdeu: Option<&str>) -> Vec<(String, DiscoverRequest)> {
    let mut scores = vec![("discrete_bic".to_owned(), ScoreChoice::DiscreteBic, None)];
    match bdeu {
        None => scores.push(("bdeu".to_owned(), ScoreChoice::Bdeu, None)),
        Some(pairs) => scores.extend(pairs.split(',').map(|pair| {
            let (size, prior) = pair.split_once(':').expect("--bdeu takes SIZE:PRIOR");
            let [size, prior] = [size, prior].map(|text| text.parse().expect("a number"));
            (
                format!("bdeu {pair}"),
                ScoreChoice::Bdeu,
                Some((size, prior)),
            )
        })),
    }
    let all = scores.into_iter().flat_map(|(label, score, parameters)| {
        [Algorithm::Boss, Algorithm::Ges].map(|algorithm| {
            let request = DiscoverRequest {
                algorithm,
                score: Some(score),
                equivalent_sample_size: parameters.map(|(size, _)| size),
                structure_prior: parameters.map(|(_, prior)| prior),
                ..DiscoverRequest::default()
            };
            (label.clone(), request)
        })
    });
    all.collect()
}

/// Distance and seconds of each sample.
#[expect(
    clippy::disallowed_methods,
    reason = "times a run; no result depends on the clock"
)]
fn ours(samples: &Samples, request: &DiscoverRequest) -> Vec<(usize, f64)> {
    let options = request.options().expect("a valid request");
    let run = |data: &Dataset| {
        data.codes().expect("categories");
        let start = std::time::Instant::now();
        let found = discover(data, &options, 1, &Uncontrolled).expect("an answer");
        let seconds = start.elapsed().as_secs_f64();
        let marks = graph_marks(&found.graph);
        (class_distance(&samples.class, &marks), seconds)
    };
    samples.data.iter().map(run).collect()
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print(samples: &Samples, search: &str, score: &str, found: &[(usize, f64)]) {
    let wanted = samples.data.len();
    let label = &samples.label;
    if found.len() < wanted {
        println!("| {label} | {search} | {score} | - | - |");
        return;
    }
    let mean =
        |of: &dyn Fn(&(usize, f64)) -> f64| found.iter().map(of).sum::<f64>() / wanted as f64;
    let (wrong, seconds) = (mean(&|f| f.0 as f64), mean(&|f| f.1));
    println!("| {label} | {search} | {score} | {wrong:.1} | {seconds:.4} |");
}

/// The same of another program; fewer where it failed or took too long.
fn peer(samples: &Samples, python: &str, program: &str) -> Vec<(usize, f64)> {
    let asked: Vec<Value> = samples
        .data
        .iter()
        .map(|data| {
            let columns = (0..data.width()).map(|j| data.column(j));
            json!({"names": data.names(), "columns": columns.collect::<Vec<_>>()})
        })
        .collect();
    let child = Command::new(python)
        .args(["-c", &format!("{PEER_FRAME}\n{program}\nmain()")])
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.expect("--python takes a Python");
    let mut pipe = child.stdin.take().expect("its input is a pipe");
    // A program that cannot be imported ends before it reads: it has no answers.
    let written = pipe.write_all(json!(asked).to_string().as_bytes());
    drop((written, pipe));
    let output = child.wait_with_output().expect("it ends");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = lines.lines().filter_map(|line| {
        let found: Value = serde_json::from_str(line).ok()?;
        let mut marks = vec![vec![false; samples.class.len()]; samples.class.len()];
        for edge in found["edges"].as_array()? {
            let end = |at: usize| usize::try_from(edge[at].as_u64()?).ok();
            marks[end(0)?][end(1)?] = true;
        }
        let marks = match found["dag"].as_bool()? {
            true => class_of(&marks),
            false => marks,
        };
        Some((
            class_distance(&samples.class, &marks),
            found["seconds"].as_f64()?,
        ))
    });
    read.collect()
}

/// Reads samples, answers each with a line: edges as pairs of columns, both ways where undirected.
const PEER_FRAME: &str = "
import json, logging, signal, sys, time, warnings
import numpy as np, pandas as pd
warnings.filterwarnings('ignore'); logging.disable(logging.CRITICAL)
def main():
    asked, out = json.load(sys.stdin), sys.stdout
    sys.stdout = sys.stderr
    for q in asked:
        signal.alarm(60)
        edges, dag, seconds = learn(np.array(q['columns'], dtype=int).T, q['names'])
        pairs = [[int(a), int(b)] for a, b in edges]
        print(json.dumps({'edges': pairs, 'dag': dag, 'seconds': seconds}), file=out, flush=True)
";

const PEERS: [(&str, &str, &str); 3] = [
    (
        "causal-learn ges",
        "bdeu",
        "
from causallearn.search.ScoreBased.GES import ges
def learn(rows, names):
    t = time.process_time(); g = ges(rows, score_func='local_score_BDeu')['G'].graph
    t = time.process_time() - t
    marks = ((g == -1) & (g.T != 0)) | ((g == 1) & (g.T == 1))
    return list(zip(*np.nonzero(marks))), False, t
",
    ),
    (
        "pgmpy ges",
        "bdeu",
        "
from pgmpy.estimators import GES
def learn(rows, names):
    data = pd.DataFrame(rows, columns=range(len(names))).astype('category')
    t = time.process_time(); g = GES(data).estimate(scoring_method='bdeu')
    return list(g.edges()), False, time.process_time() - t
",
    ),
    (
        "pgmpy hill climbing",
        "bdeu",
        "
from pgmpy.estimators import HillClimbSearch
def learn(rows, names):
    data = pd.DataFrame(rows, columns=range(len(names))).astype('category')
    t = time.process_time()
    g = HillClimbSearch(data).estimate(scoring_method='bdeu', show_progress=False)
    return list(g.edges()), True, time.process_time() - t
",
    ),
];
