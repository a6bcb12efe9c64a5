//! Prints how far discovery is from known graphs, for each `NAME.csv` with a `NAME.W.csv` in a
//! folder: raw and standardised, with the time of the search on one thread.
//!
//! `cargo run --release -p hindcast-causal --example discovery_table -- tests/data/causal/sem`
//! takes the names of algorithms after the folder; without any it runs all.

#[expect(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use hindcast_causal::Uncontrolled;
use hindcast_causal::data::Dataset;
use hindcast_causal::discover::{Algorithm, DiscoverRequest, discover};
use support::{Marks, dataset, distance, graph_marks, weights_marks};

const SEED: u64 = 1;
const RUNS_MAX: u32 = 10;
/// Runs longer than this are not repeated.
const SHORT_SECONDS: f64 = 0.5;

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("the first argument is a folder"));
    let chosen: Vec<String> = arguments.collect();
    println!("| data | algorithm | SHD raw | SHD standardised | seconds raw | standardised |");
    println!("|---|---|---|---|---|---|");
    for (name, path) in files(&folder) {
        let raw = dataset(&path);
        let truth = weights_marks(&folder.join(format!("{name}.W.csv")));
        let standardised = raw.standardised();
        for algorithm in [
            Algorithm::Boss,
            Algorithm::Grasp,
            Algorithm::Ges,
            Algorithm::Eqvar,
            Algorithm::Notears,
            Algorithm::Correlation,
        ] {
            if !chosen.is_empty() && !chosen.iter().any(|c| c == algorithm.name()) {
                continue;
            }
            let [a, b] = [&raw, &standardised].map(|data| measure(data, &truth, algorithm));
            let label = algorithm.name();
            println!(
                "| {name} | {label} | {} | {} | {:.4} | {:.4} |",
                a.0, b.0, a.1, b.1
            );
        }
    }
}

fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).expect("the first argument is a folder");
    let mut found: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.expect("the folder can be listed").path();
            let name = path.file_name()?.to_str()?.strip_suffix(".csv")?.to_owned();
            folder
                .join(format!("{name}.W.csv"))
                .exists()
                .then_some((name, path))
        })
        .collect();
    found.sort();
    found
}

/// Distance and seconds, the least of several runs when they are short; the second moments are
/// computed before, once for all algorithms.
#[expect(
    clippy::disallowed_methods,
    reason = "times a run; no result depends on the clock"
)]
fn measure(data: &Dataset, truth: &Marks, algorithm: Algorithm) -> (usize, f64) {
    let request = DiscoverRequest {
        algorithm,
        ..Default::default()
    };
    let options = request.options().expect("defaults are valid");
    data.covariance();
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
