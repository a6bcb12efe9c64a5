//! Times, printed by `cargo test -p hindcast-causal --release --test identify -- --ignored
//! --nocapture times`. The bound that is asserted always is far above what is measured.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hindcast_causal::control::Stop;
use hindcast_causal::graph::NodeSet;
use hindcast_causal::identify::{Limits, ValidateRequest, identify, validate, validate_unchecked};
use hindcast_causal::{Control, Uncontrolled};
use serde_json::{Value, json};

use super::cases::{data, graph_of, set_of};
use super::estimand::names;
use super::random::{Dice, graph};

#[expect(
    clippy::disallowed_methods,
    reason = "a test of how long something takes reads a clock"
)]
fn time<T>(work: impl Fn() -> T) -> Duration {
    let repeat = |times: u32| {
        let start = Instant::now();
        for _ in 0..times {
            std::hint::black_box(work());
        }
        start.elapsed() / times
    };
    repeat(3);
    (0..5).map(|_| repeat(10)).min().unwrap()
}

fn request(graph: Value, treatment: Value, outcome: Value, given: Value) -> ValidateRequest {
    let request =
        json!({"graph": graph, "treatment": treatment, "outcome": outcome, "given": given});
    serde_json::from_value(request).unwrap()
}

/// A random graph and the effect, along a path of at least two arrows if there is one, of its
/// first node on its last.
fn large(nodes: usize, directed: u64, bidirected: u64) -> ValidateRequest {
    let graph = graph(&mut Dice(5), nodes, directed, bidirected);
    let edges = graph.edges();
    let last = graph.order()[nodes - 1];
    let everything = NodeSet::full(nodes);
    let above = edges.ancestors(&NodeSet::of(nodes, &[last]), &everything);
    let far =
        |&&node: &&usize| node != last && above.contains(node) && !edges.has_directed(node, last);
    let middle = &graph.order()[nodes / 4..];
    let first = middle.iter().find(far).copied().unwrap_or(graph.order()[0]);
    let object = json!({
        "nodes": graph.names(), "directed": graph.directed(), "bidirected": graph.bidirected(),
    });
    request(
        object,
        json!(graph.name(first)),
        json!(graph.name(last)),
        json!([]),
    )
}

fn both(request: &ValidateRequest) -> [Duration; 2] {
    let limits = Limits::default();
    [
        time(|| validate_unchecked(request, &limits, &Uncontrolled).unwrap()),
        time(|| validate(request, &limits, &Uncontrolled).unwrap()),
    ]
}

#[test]
#[ignore = "prints times; run it alone in a release build"]
fn times_of_cases_and_of_large_graphs() {
    let mut rows = Vec::new();
    for case in data("id_cases.json") {
        let object = json!({
            "nodes": case["nodes"], "directed": case["directed"], "bidirected": case["bidirected"],
        });
        let request = request(
            object,
            case["x"].clone(),
            case["y"].clone(),
            case["z"].clone(),
        );
        let graph = graph_of(&case);
        let [x, y, z] = ["x", "y", "z"].map(|key| set_of(&graph, &names(&case[key])));
        let alone = time(|| identify(&graph, &x, &y, &z, &Uncontrolled).unwrap());
        let [unchecked, checked] = both(&request);
        rows.push([alone, unchecked, checked]);
    }
    for (column, label) in ["ID alone", "validate_unchecked", "validate"]
        .iter()
        .enumerate()
    {
        let mut times: Vec<Duration> = rows.iter().map(|row| row[column]).collect();
        times.sort();
        println!(
            "81 cases, {label}: median {:?}, largest {:?}",
            times[40], times[80]
        );
    }
    for (nodes, directed, bidirected) in [
        (100, 2, 0),
        (100, 2, 1),
        (100, 4, 2),
        (100, 30, 0),
        (100, 30, 5),
        (1_000, 1, 0),
        (2_000, 1, 1),
    ] {
        let request = large(nodes, directed, bidirected);
        let [unchecked, checked] = both(&request);
        let answer = validate(&request, &Limits::default(), &Uncontrolled).unwrap();
        println!(
            "{nodes} nodes, {} directed, {} bidirected: unchecked {unchecked:?}, checked \
             {checked:?}, {:?}, verified {}",
            answer.graph.directed.len(),
            answer.graph.bidirected.len(),
            answer.method,
            answer.verified.is_some()
        );
    }
}

#[test]
fn a_hundred_nodes_validate_quickly() {
    for (directed, bidirected) in [(4, 0), (4, 2), (30, 0), (30, 5)] {
        let request = large(100, directed, bidirected);
        let elapsed = time(|| validate(&request, &Limits::default(), &Uncontrolled).unwrap());
        assert!(elapsed < Duration::from_millis(250), "{elapsed:?}");
    }
}

/// Measures the longest stretch of work without a question whether to stop.
struct Stretch {
    last: Mutex<Instant>,
    longest: Mutex<Duration>,
}

impl Control for Stretch {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test of how long something takes reads a clock"
    )]
    fn check(&self) -> Result<(), Stop> {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap();
        let mut longest = self.longest.lock().unwrap();
        *longest = (*longest).max(now - *last);
        *last = now;
        Ok(())
    }

    fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}
}

#[test]
#[ignore = "prints times; run it alone in a release build"]
#[expect(
    clippy::disallowed_methods,
    reason = "a test of how long something takes reads a clock"
)]
fn times_between_checks_of_the_largest_graphs() {
    for (nodes, directed, bidirected) in [(500, 20, 2), (1_000, 5, 5), (2_000, 1, 1), (2_000, 4, 0)]
    {
        let request = large(nodes, directed, bidirected);
        let start = Instant::now();
        let control = Stretch {
            last: Mutex::new(start),
            longest: Mutex::new(Duration::ZERO),
        };
        let limits = Limits::default();
        let answer = validate(&request, &limits, &control).unwrap();
        control.check().unwrap();
        println!(
            "{nodes} nodes, {} edges: longest stretch {:?} of {:?}, {:?}",
            answer.graph.directed.len() + answer.graph.bidirected.len(),
            control.longest.lock().unwrap(),
            start.elapsed(),
            answer.method
        );
    }
    // One district that holds everything, and an outcome that only ID reaches.
    let (nodes, mut text) = (
        1_500,
        String::from("dag { w -> r -> x -> y; w <-> x; w <-> y; "),
    );
    for node in 0..nodes {
        text.push_str(&format!(
            "n{node} -> n{}; n{node} <-> n{}; ",
            node + 1,
            node + 2
        ));
    }
    text.push_str(&format!(
        "n{} <-> w; n{} <-> w; n{nodes} -> r }}",
        nodes / 2,
        nodes
    ));
    let request = request(json!(text), json!("x"), json!("y"), json!([]));
    let start = Instant::now();
    let control = Stretch {
        last: Mutex::new(start),
        longest: Mutex::new(Duration::ZERO),
    };
    let answer = validate(&request, &Limits::default(), &control).unwrap();
    control.check().unwrap();
    println!(
        "one district: longest stretch {:?} of {:?}, {:?}, warnings {:?}",
        control.longest.lock().unwrap(),
        start.elapsed(),
        answer.method,
        answer.warnings
    );
}
