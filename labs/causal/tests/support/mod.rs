//! Known graphs and the distance to them; shared by the tests and the table of results.

use std::path::{Path, PathBuf};

use hindcast_causal::data::{Dataset, Limits, Table};
use hindcast_causal::discover::{EdgeType, Graph};

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
