//! Prints how far discovery is from known graphs, and how long the search takes.
//!
//! `cargo run --release -p hindcast-causal --example discovery_table -- tests/data/causal/sem`
//! takes each `NAME.csv` with a `NAME.W.csv` in the folder, raw and standardised. In a folder of
//! `NAME_ROWS.csv` with `NAME.edges.csv` the columns are categories, and the two columns of results
//! are those of the scores bdeu and discrete_bic. `--made 200,1000` in place of a folder makes
//! linear Gaussian data of so many variables, two edges for each, 1000 rows. Names of algorithms
//! after that choose among them. `--peers PYTHON:SCRIPT` also runs another program's BOSS, GRaSP
//! and GES on the raw data, by a script that takes `--algo` and `--csv` and prints JSON with `shd`
//! and `cpu_s`.

#[expect(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hindcast_causal::Uncontrolled;
use hindcast_causal::data::{Dataset, Limits};
use hindcast_causal::discover::{Algorithm, DiscoverRequest, ScoreChoice, discover};
use hindcast_stats::Philox;
use support::{Marks, dataset, distance, edges_marks, graph_marks, weights_marks};

const SEED: u64 = 1;
const RUNS_MAX: u32 = 10;
/// Runs longer than this are not repeated.
const SHORT_SECONDS: f64 = 0.5;
/// Algorithms whose time grows with a high power of the variables are left out above.
const SLOW_VARIABLES_MAX: usize = 100;
const MADE_ROWS: usize = 1000;

const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::Boss,
    Algorithm::Grasp,
    Algorithm::Ges,
    Algorithm::Eqvar,
    Algorithm::Notears,
    Algorithm::Correlation,
    Algorithm::Pc,
    Algorithm::DirectLingam,
    Algorithm::Dagma,
];

/// A dataset in two versions, and the graph behind it.
struct Case {
    name: String,
    path: Option<PathBuf>,
    versions: [(Dataset, Option<ScoreChoice>); 2],
    truth: Marks,
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn main() {
    let mut chosen: Vec<String> = std::env::args().skip(1).collect();
    let made = take_flag(&mut chosen, "--made");
    let peers = take_flag(&mut chosen, "--peers");
    let cases = match made {
        Some(sizes) => sizes
            .split(',')
            .map(|size| make(size.parse().expect("--made takes numbers")))
            .collect(),
        None => cases(Path::new(&chosen.remove(0))),
    };
    let more = if peers.is_some() {
        " peer SHD | seconds |"
    } else {
        ""
    };
    let scored = cases
        .first()
        .is_some_and(|case| case.versions[0].1.is_some());
    let (first, second) = match scored {
        true => ("bdeu", "discrete_bic"),
        false => ("raw", "standardised"),
    };
    println!("| data | algorithm | SHD {first} | {second} | seconds {first} | {second} |{more}");
    println!(
        "|---|---|---|---|---|---|{}",
        if peers.is_some() { "---|---|" } else { "" }
    );
    for case in &cases {
        for algorithm in ALGORITHMS {
            let label = algorithm.name();
            let wanted = chosen.is_empty() || chosen.iter().any(|c| c == label);
            if !wanted || !fits(case, algorithm, &chosen) {
                continue;
            }
            let [a, b] = [0, 1].map(|i| measure(&case.versions[i], &case.truth, algorithm));
            let peer = match (&peers, &case.path) {
                (Some(peers), Some(path)) => peer(peers, path, algorithm),
                (Some(_), None) => " - | - |".to_owned(),
                (None, _) => String::new(),
            };
            let name = &case.name;
            println!(
                "| {name} | {label} | {} | {} | {:.4} | {:.4} |{peer}",
                a.0, b.0, a.1, b.1
            );
        }
    }
}

fn take_flag(arguments: &mut Vec<String>, flag: &str) -> Option<String> {
    let at = arguments.iter().position(|a| a == flag)?;
    arguments.remove(at);
    Some(arguments.remove(at))
}

fn fits(case: &Case, algorithm: Algorithm, chosen: &[String]) -> bool {
    let scored = matches!(
        algorithm,
        Algorithm::Boss | Algorithm::Grasp | Algorithm::Ges
    );
    let large = case.truth.len() > SLOW_VARIABLES_MAX && chosen.is_empty();
    let slow = matches!(
        algorithm,
        Algorithm::Notears | Algorithm::Dagma | Algorithm::DirectLingam | Algorithm::Grasp
    );
    // These need more rows than variables.
    let full = matches!(algorithm, Algorithm::Eqvar | Algorithm::DirectLingam);
    let short = full && case.versions[0].0.rows() <= case.truth.len() + 1;
    (scored || case.versions[0].1.is_none()) && !(slow && large) && !short
}

fn cases(folder: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).expect("the first argument is a folder");
    let mut found: Vec<Case> = entries
        .filter_map(|entry| {
            let path = entry.expect("the folder can be listed").path();
            let name = path.file_name()?.to_str()?.strip_suffix(".csv")?.to_owned();
            let weights = folder.join(format!("{name}.W.csv"));
            let network = name.split('_').next().unwrap_or(&name);
            let edges = folder.join(format!("{network}.edges.csv"));
            let (versions, truth) = if weights.exists() {
                let raw = dataset(&path);
                let standardised = raw.standardised();
                let versions = [(raw, None), (standardised, None)];
                (versions, weights_marks(&weights))
            } else if edges.exists() && name.contains('_') {
                let data = dataset(&path);
                let truth = edges_marks(&edges, data.names());
                let scores = [ScoreChoice::Bdeu, ScoreChoice::DiscreteBic];
                (scores.map(|score| (data.clone(), Some(score))), truth)
            } else {
                return None;
            };
            Some(Case {
                name,
                path: Some(path),
                versions,
                truth,
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Every later variable in a random order has each earlier one as a parent with the same chance;
/// weights and noise as in the data folder.
fn make(size: usize) -> Case {
    let order = Philox::new(SEED, 0).permutation(size);
    let mut rng = Philox::new(SEED, 1);
    let mut truth = vec![vec![false; size]; size];
    let mut columns = vec![Vec::new(); size];
    for (place, &head) in order.iter().enumerate() {
        let mut noise = Philox::new(SEED, 2 + head as u64);
        let mut column: Vec<f64> = (0..MADE_ROWS).map(|_| noise.normal()).collect();
        for &tail in &order[..place] {
            if rng.uniform() * (size as f64 - 1.0) < 4.0 {
                let sign = if rng.uniform() < 0.5 { -1.0 } else { 1.0 };
                let weight = sign * (0.5 + 1.5 * rng.uniform());
                truth[tail][head] = true;
                hindcast_stats::axpy(weight, &columns[tail], &mut column);
            }
        }
        columns[head] = column;
    }
    let rows: Vec<Vec<f64>> = (0..MADE_ROWS)
        .map(|i| columns.iter().map(|c| c[i]).collect())
        .collect();
    let raw = Dataset::from_rows(&rows, None, &Limits::default()).expect("made within limits");
    let standardised = raw.standardised();
    Case {
        name: format!("made_d{size}"),
        path: None,
        versions: [(raw, None), (standardised, None)],
        truth,
    }
}

/// Distance and seconds, the least of several runs when they are short; second moments and codes
/// are computed before, once for all algorithms.
#[expect(
    clippy::disallowed_methods,
    reason = "times a run; no result depends on the clock"
)]
fn measure(
    (data, score): &(Dataset, Option<ScoreChoice>),
    truth: &Marks,
    algorithm: Algorithm,
) -> (usize, f64) {
    let request = DiscoverRequest {
        algorithm,
        score: *score,
        ..Default::default()
    };
    let options = request.options().expect("defaults are valid");
    data.covariance();
    if score.is_some() {
        data.codes().expect("columns of categories");
    }
    let (mut least, mut runs, mut wrong) = (f64::INFINITY, 0, 0);
    while runs == 0 || (runs < RUNS_MAX && least < SHORT_SECONDS) {
        let start = std::time::Instant::now();
        let found = discover(data, &options, SEED, &Uncontrolled).expect("these data are valid");
        least = least.min(start.elapsed().as_secs_f64());
        wrong = distance(truth, &graph_marks(&found.graph));
        runs += 1;
    }
    (wrong, least)
}

/// The longest that another program is waited for.
const PEER_SECONDS_MAX: u64 = 120;

/// Two cells: what another program got, or dashes where it has no such algorithm, failed or took too long.
#[expect(clippy::disallowed_methods, reason = "waits for another program")]
fn peer(peers: &str, data: &Path, algorithm: Algorithm) -> String {
    let none = " - | - |".to_owned();
    let name = match algorithm {
        Algorithm::Boss => "andrey_boss",
        Algorithm::Grasp => "causal-learn_grasp",
        Algorithm::Ges => "andrey_ges",
        Algorithm::Pc => "andrey_pc",
        Algorithm::DirectLingam => "lingam",
        Algorithm::Dagma => "dagma",
        Algorithm::Eqvar => "eqvar",
        Algorithm::Notears => "antecedent_notears",
        Algorithm::Correlation | Algorithm::Fci => return none,
    };
    let (python, script) = peers.split_once(':').expect("--peers takes PYTHON:SCRIPT");
    let data = data.canonicalize().expect("the file was read");
    let run = Command::new(python)
        .args([script, "--algo", name, "--csv"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn();
    let mut run = run.expect("the interpreter can be run");
    for _ in 0..PEER_SECONDS_MAX * 10 {
        if run.try_wait().expect("it is ours").is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    if run.try_wait().expect("it is ours").is_none() {
        run.kill().expect("it runs");
        run.wait().expect("it is ours");
        return format!(" - | > {PEER_SECONDS_MAX} |");
    }
    // Its one line is short enough for the pipe to hold.
    let output = run.wait_with_output().expect("it has ended");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match (found["shd"].as_u64(), found["cpu_s"].as_f64()) {
        (Some(shd), Some(seconds)) => format!(" {shd} | {seconds:.4} |"),
        (_, _) => none,
    }
}
