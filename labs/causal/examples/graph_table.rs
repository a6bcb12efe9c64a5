//! Prints what questions about graphs cost, as tables of microseconds (the least of several
//! medians, one thread).
//!
//! `cargo run --release -p hindcast-causal --example graph_table -- tests/data/causal/ident`
//! takes, after the folder, the path of a Python that has networkx (and y0, if it is to be
//! measured) and puts its figures for the same graphs beside ours.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hindcast_causal::Uncontrolled;
use hindcast_causal::graph::{Admg, GraphLimits, NodeSet};
use hindcast_causal::identify::{Limits, ValidateRequest, identify, validate, validate_unchecked};
use hindcast_causal::paths::{PathsRequest, paths};
use hindcast_stats::Philox;
use serde_json::{Value, json};

/// Runs of one measurement; the median of a batch, the least over the batches.
const BATCHES: usize = 7;

#[expect(
    clippy::disallowed_methods,
    reason = "times a run; no result depends on the clock"
)]
fn micros<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut once = || {
        let start = std::time::Instant::now();
        std::hint::black_box(work());
        start.elapsed().as_secs_f64() * 1e6
    };
    let first = once();
    let runs = if first > 20_000.0 { 1 } else { 31 };
    let batches = if first > 20_000.0 { 1 } else { BATCHES };
    let median = |_| {
        let mut times: Vec<f64> = (0..runs).map(|_| once()).collect();
        times.sort_by(f64::total_cmp);
        times[runs / 2]
    };
    (0..batches).map(median).fold(f64::INFINITY, f64::min)
}

struct Question {
    name: String,
    graph: Admg,
    x: NodeSet,
    y: NodeSet,
    z: NodeSet,
}

impl Question {
    fn object(&self) -> Value {
        json!({
            "nodes": self.graph.names(),
            "directed": self.graph.directed(),
            "bidirected": self.graph.bidirected(),
        })
    }

    fn request(&self) -> Value {
        json!({
            "graph": self.object(),
            "treatment": self.graph.names_of(&self.x),
            "outcome": self.graph.names_of(&self.y),
            "given": self.graph.names_of(&self.z),
        })
    }
}

fn read(folder: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(file)).expect("the first argument is a folder");
    serde_json::from_str(&text).expect("the file holds a list")
}

fn names(value: &Value) -> Vec<String> {
    match value.as_str() {
        Some(name) => vec![name.to_owned()],
        None => serde_json::from_value(value.clone()).unwrap_or_default(),
    }
}

fn question(name: &str, case: &Value, ends: [&Value; 3]) -> Question {
    let nodes = names(&case["nodes"]);
    let pairs = |key: &str| -> Vec<(String, String)> {
        serde_json::from_value(case[key].clone()).unwrap_or_default()
    };
    let (directed, bidirected) = (pairs("directed"), pairs("bidirected"));
    let graph = graph(&nodes, &directed, &bidirected);
    let set = |value: &Value| set_of(&graph, &names(value));
    let [x, y, z] = ends.map(set);
    Question {
        name: name.to_owned(),
        graph,
        x,
        y,
        z,
    }
}

fn graph(nodes: &[String], directed: &[(String, String)], both: &[(String, String)]) -> Admg {
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let borrow = |list: &'_ [(String, String)]| -> Vec<(String, String)> { list.to_vec() };
    let (directed, both) = (borrow(directed), borrow(both));
    let pairs = |list: &'static [(String, String)]| -> Vec<(&str, &str)> {
        list.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect()
    };
    Admg::from_edges(&nodes, &pairs(directed.leak()), &pairs(both.leak())).expect("a sound graph")
}

fn set_of(graph: &Admg, list: &[String]) -> NodeSet {
    let nodes: Vec<usize> = list.iter().filter_map(|name| graph.index(name)).collect();
    NodeSet::of(graph.nodes(), &nodes)
}

/// A random graph with a topological order v0, v1, ..
fn random(nodes: usize, directed: f64, bidirected: f64, given: usize) -> Question {
    let mut dice = Philox::new(7, nodes as u64);
    let list: Vec<String> = (0..nodes).map(|node| format!("v{node}")).collect();
    let (mut arrows, mut arcs) = (Vec::new(), Vec::new());
    for (place, to) in list.iter().enumerate() {
        for from in &list[..place] {
            if dice.uniform() < directed {
                arrows.push((from.clone(), to.clone()));
            }
            if dice.uniform() < bidirected {
                arcs.push((from.clone(), to.clone()));
            }
        }
    }
    let graph = graph(&list, &arrows, &arcs);
    let one = |node: usize| set_of(&graph, &list[node..=node]);
    let (x, y) = (one(nodes / 3), one(nodes - 1));
    let mut z = NodeSet::empty(nodes);
    while z.len() < given {
        let node = dice.index_below(nodes - 1);
        if node != nodes / 3 {
            z.insert(graph.index(&list[node]).expect("a node of the graph"));
        }
    }
    Question {
        name: format!("{nodes} nodes, {} and {} edges", arrows.len(), arcs.len()),
        graph,
        x,
        y,
        z,
    }
}

/// Runs the questions through a Python program that prints one figure for each.
fn peer(python: Option<&Path>, program: &str, questions: &[&Question]) -> Vec<String> {
    let none = || vec!["-".to_owned(); questions.len()];
    let Some(python) = python else { return none() };
    let asked: Vec<Value> = questions
        .iter()
        .map(|question| question.request())
        .collect();
    let child = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("the second argument is a Python");
    let mut pipe = child.stdin.take().expect("its input is a pipe");
    pipe.write_all(json!(asked).to_string().as_bytes())
        .expect("it reads its input");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    let figures: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    if figures.len() == questions.len() {
        figures
    } else {
        none()
    }
}

const SEPARATION: &str = "
import json, sys, time
import networkx as nx
for q in json.load(sys.stdin):
    g = nx.DiGraph(); g.add_nodes_from(q['graph']['nodes']); g.add_edges_from(q['graph']['directed'])
    x, y, z = (set(q[k]) for k in ('treatment', 'outcome', 'given'))
    times = []
    for _ in range(15):
        t = time.perf_counter(); nx.is_d_separator(g, x, y, z); times.append(time.perf_counter() - t)
    print(f'{sorted(times)[7] * 1e6:.0f}')
";

const IDENTIFICATION: &str = "
import json, sys, time
from y0.graph import NxMixedGraph
from y0.dsl import Variable, P
from y0.algorithm.identify import Identification, identify, Unidentifiable
for q in json.load(sys.stdin):
    v = Variable
    g = NxMixedGraph.from_edges(
        directed=[(v(a), v(b)) for a, b in q['graph']['directed']],
        undirected=[(v(a), v(b)) for a, b in q['graph']['bidirected']])
    for n in q['graph']['nodes']: g.add_node(v(n))
    x, y = ({v(n) for n in q[k]} for k in ('treatment', 'outcome'))
    times = []
    for _ in range(5):
        t = time.perf_counter()
        try: identify(Identification.from_parts(outcomes=y, treatments=x, graph=g))
        except Unidentifiable: pass
        times.append(time.perf_counter() - t)
    print(f'{sorted(times)[2] * 1e6:.0f}')
";

#[expect(
    clippy::print_stdout,
    reason = "the tables are what the program is for"
)]
fn separations(python: Option<&Path>) {
    println!("\n| m-separation | us | networkx us |\n|---|---|---|");
    let questions = [
        random(100, 0.04, 0.0, 5),
        random(100, 0.3, 0.0, 20),
        random(500, 0.01, 0.0, 20),
        random(500, 0.04, 0.0, 50),
        random(100, 0.1, 0.02, 10),
        random(2_000, 0.005, 0.0, 50),
    ];
    let theirs = peer(python, SEPARATION, &questions.iter().collect::<Vec<_>>());
    for (question, theirs) in questions.iter().zip(theirs) {
        let Question { graph, x, y, z, .. } = question;
        let edges = graph.edges();
        let ours = micros(|| (0..100).filter(|_| edges.separated(x, y, z)).count()) / 100.0;
        let theirs = if edges.nodes() > 0 && !graph.bidirected().is_empty() {
            "-"
        } else {
            &theirs
        };
        println!(
            "| {}, {} given | {ours:.2} | {theirs} |",
            question.name,
            z.len()
        );
    }
}

/// ID alone, and the whole answer without its check, with it, and with instruments and
/// implications.
fn identification(question: &Question) -> [f64; 4] {
    let Question { graph, x, y, z, .. } = question;
    let limits = Limits::default();
    let read =
        |value: Value| -> ValidateRequest { serde_json::from_value(value).expect("a request") };
    let request = read(question.request());
    let mut bare = question.request();
    bare["include"] = json!([]);
    let bare = read(bare);
    [
        micros(|| identify(graph, x, y, z, &Uncontrolled)),
        micros(|| validate_unchecked(&bare, &limits, &Uncontrolled)),
        micros(|| validate(&bare, &limits, &Uncontrolled)),
        micros(|| validate(&request, &limits, &Uncontrolled)),
    ]
}

#[expect(
    clippy::print_stdout,
    reason = "the tables are what the program is for"
)]
fn identifications(folder: &Path, python: Option<&Path>) {
    let mut questions: Vec<Question> = read(folder, "id_cases.json")
        .iter()
        .map(|case| {
            let name = case["id"].as_str().unwrap_or_default();
            question(name, case, [&case["x"], &case["y"], &case["z"]])
        })
        .collect();
    let cases = questions.len();
    for (nodes, directed, bidirected) in [
        (20, 0.15, 0.05),
        (50, 0.06, 0.02),
        (100, 0.03, 0.0),
        (100, 0.03, 0.01),
        (100, 0.3, 0.05),
    ] {
        questions.push(random(nodes, directed, bidirected, 0));
    }
    let theirs = peer(
        python,
        IDENTIFICATION,
        &questions.iter().collect::<Vec<_>>(),
    );
    let rows: Vec<[f64; 4]> = questions.iter().map(identification).collect();
    println!(
        "\n| identification | ID us | no check us | with check us | with extras us | y0 ID us |"
    );
    println!("|---|---|---|---|---|---|");
    for (label, place) in [("median", cases / 2), ("largest", cases - 1)] {
        let at = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times
                .get(place)
                .map_or("-".to_owned(), |time| format!("{time:.1}"))
        };
        let column = |column: usize| at(rows[..cases].iter().map(|row| row[column]).collect());
        let peers = at(theirs[..cases]
            .iter()
            .filter_map(|t| t.parse().ok())
            .collect());
        let [id, unchecked, checked, extras] = [0, 1, 2, 3].map(column);
        println!(
            "| {cases} cases, {label} | {id} | {unchecked} | {checked} | {extras} | {peers} |"
        );
    }
    for ((question, row), theirs) in questions.iter().zip(&rows).zip(&theirs).skip(cases) {
        let [id, unchecked, checked, extras] = row;
        println!(
            "| {} | {id:.1} | {unchecked:.1} | {checked:.1} | {extras:.1} | {theirs} |",
            question.name
        );
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the tables are what the program is for"
)]
fn counts(folder: &Path) {
    println!("\n| paths | kind | how many | us |\n|---|---|---|---|");
    for fact in read(folder, "graph_facts.json") {
        if fact["kind"] != "large" {
            continue;
        }
        let pair = &fact["longest_pair"];
        let graph = json!({"nodes": fact["nodes"], "directed": fact["directed"]});
        for kind in ["directed", "back_door", "all"] {
            let request: PathsRequest = serde_json::from_value(json!({
                "graph": graph, "treatment": pair["x"], "outcome": pair["y"], "kind": kind,
                "limit": 20, "shortest": 10,
            }))
            .expect("a question");
            let ask =
                || paths(&request, &GraphLimits::default(), &Uncontrolled).expect("an answer");
            let (count, time) = (ask().count, micros(ask));
            let sign = if count.exact { "" } else { "at least " };
            println!(
                "| {} | {kind} | {sign}{} | {time:.0} |",
                fact["id"], count.value
            );
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let folder = arguments.next().expect("the first argument is a folder");
    let python = arguments.next();
    separations(python.as_deref());
    identifications(&folder, python.as_deref());
    counts(&folder);
}
