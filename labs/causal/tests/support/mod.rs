//! Known graphs and the distance to them; shared by the tests and the table of results.

use std::path::{Path, PathBuf};

use hindcast_causal::data::{Dataset, Limits, Table};
use hindcast_causal::discover::{EdgeType, Graph};
use hindcast_causal::graph::{BifNetwork, read_bif};
use hindcast_stats::Philox;

/// Where the test data lie.
pub(crate) fn data_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/causal")
}

/// Reads a file of numbers with a header of names.
pub(crate) fn dataset(path: &Path) -> Dataset {
    let file = std::fs::File::open(path).expect("the data file is there");
    let table = Table::parse_csv(file, &Limits::default()).expect("the data file is a table");
    table.dataset().expect("the data file holds numbers")
}

/// Marks of a graph: `true` at (i, j) for i -> j, at both for i - j.
pub(crate) type Marks = Vec<Vec<bool>>;

/// The true graph of a file of weights.
pub(crate) fn weights_marks(path: &Path) -> Marks {
    let weights = dataset(path);
    let rows = 0..weights.rows();
    rows.map(|i| {
        (0..weights.width())
            .map(|j| weights.column(j)[i].abs() > 0.0)
            .collect()
    })
    .collect()
}

/// The true graph of an edge list `from,to`.
pub(crate) fn edges_marks(path: &Path, nodes: &[String]) -> Marks {
    let text = std::fs::read_to_string(path).expect("the edge list is there");
    let at = |name: &str| {
        nodes
            .iter()
            .position(|n| n == name)
            .expect("a node of the data")
    };
    let mut marks = vec![vec![false; nodes.len()]; nodes.len()];
    for line in text.lines().skip(1) {
        let (from, to) = line.trim().split_once(',').expect("two names");
        marks[at(from)][at(to)] = true;
    }
    marks
}

pub(crate) fn graph_marks(graph: &Graph) -> Marks {
    let at = |name: &str| {
        graph
            .nodes
            .iter()
            .position(|n| n == name)
            .expect("a node of the graph")
    };
    let mut marks = vec![vec![false; graph.nodes.len()]; graph.nodes.len()];
    for edge in &graph.edges {
        let (from, to) = (at(&edge.from), at(&edge.to));
        marks[from][to] = true;
        marks[to][from] |= edge.kind == EdgeType::Undirected;
    }
    marks
}

/// Structural Hamming distance as NOTEARS counts it: extra, missing and reversed edges, a reversal
/// once; an undirected edge on a true adjacency is right.
pub(crate) fn distance(truth: &Marks, estimate: &Marks) -> usize {
    let mut wrong = 0;
    for i in 0..truth.len() {
        for j in 0..i {
            let (t, e) = ([truth[i][j], truth[j][i]], [estimate[i][j], estimate[j][i]]);
            let (any_t, any_e) = (t[0] || t[1], e[0] || e[1]);
            let right = any_t == any_e && (!any_e || (e[0] && e[1]) || e == t);
            wrong += usize::from(!right);
        }
    }
    wrong
}

/// The same with every pair counted whose mark differs: both are classes of graphs.
pub(crate) fn class_distance(truth: &Marks, estimate: &Marks) -> usize {
    let pairs = (0..truth.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs
        .filter(|&(i, j)| (truth[i][j], truth[j][i]) != (estimate[i][j], estimate[j][i]))
        .count()
}

/// The class of a directed acyclic graph: its colliders stay directed, and what follows from them
/// by Meek's rules 1 to 3.
pub(crate) fn class_of(dag: &Marks) -> Marks {
    let d = dag.len();
    let joined = |a: usize, b: usize| dag[a][b] || dag[b][a];
    let mut class: Marks = (0..d)
        .map(|a| (0..d).map(|b| joined(a, b)).collect())
        .collect();
    for (a, b) in (0..d).flat_map(|a| (0..d).map(move |b| (a, b))) {
        if dag[a][b] && (0..d).any(|c| c != a && dag[c][b] && !joined(a, c)) {
            class[b][a] = false;
        }
    }
    loop {
        let directed = |a: usize, b: usize| class[a][b] && !class[b][a];
        let open = |a: usize, b: usize| class[a][b] && class[b][a];
        let follows = |a: usize, b: usize| {
            (0..d).any(|c| {
                directed(c, a) && !joined(c, b)
                    || directed(a, c) && directed(c, b)
                    || open(a, c)
                        && directed(c, b)
                        && (0..d).any(|e| e != c && open(a, e) && directed(e, b) && !joined(c, e))
            })
        };
        let pairs = (0..d).flat_map(|a| (0..d).map(move |b| (a, b)));
        let next: Vec<(usize, usize)> = pairs
            .filter(|&(a, b)| open(a, b) && follows(a, b))
            .collect();
        if next.is_empty() {
            return class;
        }
        for (a, b) in next {
            class[b][a] = false;
        }
    }
}

/// A known network.
pub(crate) fn known_network(name: &str) -> BifNetwork {
    let path = data_folder().join("bif").join(format!("{name}.bif"));
    let text = std::fs::read_to_string(path).expect("the network is there");
    read_bif(&text).expect("the network can be read")
}

/// The true graph of a network.
pub(crate) fn network_marks(network: &BifNetwork) -> Marks {
    let d = network.variables.len();
    let mut marks = vec![vec![false; d]; d];
    for (head, variable) in network.variables.iter().enumerate() {
        for &tail in &variable.parents {
            marks[tail][head] = true;
        }
    }
    marks
}

/// Rows drawn from a network, the states by their numbers.
pub(crate) fn sampled(network: &BifNetwork, rows: usize, seed: u64) -> Dataset {
    let variables = &network.variables;
    let mut order: Vec<usize> = Vec::new();
    while order.len() < variables.len() {
        let ready = |v: &usize| variables[*v].parents.iter().all(|p| order.contains(p));
        let next = (0..variables.len()).find(|v| !order.contains(v) && ready(v));
        order.push(next.expect("a network has no cycle"));
    }
    let mut rng = Philox::new(seed, 0);
    let mut table = Vec::new();
    for _ in 0..rows {
        let mut row = vec![0; variables.len()];
        for &v in &order {
            let variable = &variables[v];
            let parents = variable.parents.iter();
            let at = parents.fold(0, |at, &p| at * variables[p].states.len() + row[p]);
            let width = variable.states.len();
            let all = variable.table.as_ref().expect("a network with tables");
            let mut left = rng.uniform();
            row[v] = (0..width - 1)
                .find(|&state| {
                    left -= all[at * width + state];
                    left < 0.0
                })
                .unwrap_or(width - 1);
        }
        table.push(row.iter().map(|&state| state as f64).collect());
    }
    let names: Vec<String> = variables.iter().map(|v| v.name.clone()).collect();
    Dataset::from_rows(&table, Some(&names), &Limits::default()).expect("within limits")
}
