//! From loose names and pairs to a graph that is known to be sound: every refusal names the
//! field, and limits are checked while the graph grows, so work stays bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::admg::{Admg, Edges};
use super::node_set::bits;
use super::projection::project;
use crate::LabError;
use crate::control::{Control, Uncontrolled};

/// What a graph may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphLimits {
    /// Nodes, latent ones included.
    pub nodes_max: usize,
    /// Edges of both kinds together.
    pub edges_max: usize,
    /// UTF-8 bytes of one node name.
    pub name_bytes_max: usize,
    /// UTF-8 bytes of a graph text.
    pub text_bytes_max: usize,
}

impl Default for GraphLimits {
    fn default() -> Self {
        Self {
            nodes_max: 2_000,
            edges_max: 100_000,
            name_bytes_max: 128,
            text_bytes_max: 1 << 20,
        }
    }
}

/// Edges read between two questions whether to stop: well under a millisecond.
const EDGES_PER_CHECK: usize = 1_024;

/// A graph in the making. Indices are in the order in which nodes were first named.
pub(crate) struct Draft<'a> {
    limits: GraphLimits,
    control: &'a dyn Control,
    names: Vec<String>,
    index: BTreeMap<String, usize>,
    directed: BTreeSet<(usize, usize)>,
    bidirected: BTreeSet<(usize, usize)>,
    latent: BTreeSet<usize>,
}

pub(crate) fn over_limit(field: &str, actual: usize, limit: usize) -> LabError {
    LabError::TooLarge {
        field: field.to_owned(),
        actual: actual as u64,
        limit: limit as u64,
    }
}

/// The name closest to `wanted`, if one is close enough to be a misspelling of it.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + wanted.chars().count() / 4;
    let scored = names.map(|name| (edit_distance(wanted, name), name));
    scored
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance with letter case ignored.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// "unknown node 'q'", with a hint when another name is close.
pub(crate) fn unknown_node<'a>(
    field: String,
    name: &str,
    names: impl Iterator<Item = &'a str>,
) -> LabError {
    let shown: String = name.chars().take(64).collect();
    let message = format!("unknown node '{shown}'");
    match nearest(&shown, names.take(2_000)) {
        Some(near) => {
            LabError::invalid_with_hint(field, message, format!("did you mean '{near}'?"))
        }
        None => LabError::invalid(field, message),
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(limits: GraphLimits, control: &'a dyn Control) -> Self {
        Self {
            limits,
            control,
            names: Vec::new(),
            index: BTreeMap::new(),
            directed: BTreeSet::new(),
            bidirected: BTreeSet::new(),
            latent: BTreeSet::new(),
        }
    }

    pub(crate) fn limits(&self) -> GraphLimits {
        self.limits
    }

    pub(crate) fn nodes(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        &self.names[node]
    }

    /// The node of that name, made if there is none.
    pub(crate) fn node(&mut self, name: &str, field: &str) -> Result<usize, LabError> {
        if let Some(&known) = self.index.get(name) {
            return Ok(known);
        }
        if name.is_empty() {
            return Err(LabError::invalid(field, "a node name is empty"));
        }
        if name.len() > self.limits.name_bytes_max {
            return Err(over_limit(field, name.len(), self.limits.name_bytes_max));
        }
        if name.chars().any(char::is_control) {
            return Err(LabError::invalid(
                field,
                "a node name holds a control character",
            ));
        }
        if self.names.len() >= self.limits.nodes_max {
            return Err(over_limit(
                "graph.nodes",
                self.names.len() + 1,
                self.limits.nodes_max,
            ));
        }
        let node = self.names.len();
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), node);
        Ok(node)
    }

    pub(crate) fn is_known(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    pub(crate) fn find(&self, name: &str, field: impl Fn() -> String) -> Result<usize, LabError> {
        let known = self.index.get(name).copied();
        known.ok_or_else(|| unknown_node(field(), name, self.names.iter().map(String::as_str)))
    }

    pub(crate) fn set_latent(&mut self, node: usize) {
        self.latent.insert(node);
    }

    fn room_for_edge(&self) -> Result<(), LabError> {
        let count = self.directed.len() + self.bidirected.len() + 1;
        if count > self.limits.edges_max {
            return Err(over_limit("graph.edges", count, self.limits.edges_max));
        }
        if count.is_multiple_of(EDGES_PER_CHECK) {
            self.control.check()?;
        }
        Ok(())
    }

    /// `true` if the edge is new. A duplicate is the caller's to judge.
    pub(crate) fn directed(
        &mut self,
        from: usize,
        to: usize,
        field: impl Fn() -> String,
    ) -> Result<bool, LabError> {
        if from == to {
            let message = format!("'{}' points to itself", self.names[from]);
            return Err(LabError::invalid(field(), message));
        }
        self.room_for_edge()?;
        Ok(self.directed.insert((from, to)))
    }

    /// `true` if the edge is new.
    pub(crate) fn bidirected(
        &mut self,
        a: usize,
        b: usize,
        field: impl Fn() -> String,
    ) -> Result<bool, LabError> {
        if a == b {
            let message = format!("'{}' is joined to itself", self.names[a]);
            return Err(LabError::invalid(field(), message));
        }
        self.room_for_edge()?;
        Ok(self.bidirected.insert((a.min(b), a.max(b))))
    }

    /// The refusal of an edge that is already there.
    pub(crate) fn duplicate(&self, a: usize, b: usize, arrow: &str, field: String) -> LabError {
        let message = format!(
            "the edge '{}' {arrow} '{}' is given twice",
            self.names[a], self.names[b]
        );
        LabError::invalid(field, message)
    }

    /// The graph over the nodes that are not latent, nodes in the order of their names.
    pub(crate) fn finish(self, field: &str) -> Result<Admg, LabError> {
        let mut by_name: Vec<usize> = (0..self.names.len()).collect();
        by_name.sort_by(|&a, &b| self.names[a].cmp(&self.names[b]));
        let mut place = vec![0; by_name.len()];
        for (sorted, &original) in by_name.iter().enumerate() {
            place[original] = sorted;
        }
        let names: Vec<String> = by_name
            .iter()
            .map(|&node| self.names[node].clone())
            .collect();
        let mut edges = Edges::new(names.len());
        for &(from, to) in &self.directed {
            edges.add_directed(place[from], place[to]);
        }
        for &(a, b) in &self.bidirected {
            edges.add_bidirected(place[a], place[b]);
        }
        let order = topological(&edges).map_err(|cycle| {
            let path: Vec<&str> = cycle.iter().map(|&node| names[node].as_str()).collect();
            let message = format!("the directed edges have a cycle: {}", path.join(" -> "));
            LabError::invalid(field, message)
        })?;
        if self.latent.is_empty() {
            return Ok(Admg::assemble(names, edges, order));
        }
        let latent: Vec<usize> = self.latent.iter().map(|&node| place[node]).collect();
        let (names, edges) = project(names, edges, &latent);
        let order = topological(&edges)
            .map_err(|_| LabError::Internal("a latent projection has a cycle".into()))?;
        Ok(Admg::assemble(names, edges, order))
    }
}

impl Admg {
    /// A graph from names and edges, checked like every other input.
    pub fn from_edges(
        nodes: &[&str],
        directed: &[(&str, &str)],
        bidirected: &[(&str, &str)],
    ) -> Result<Self, LabError> {
        let pair = |&(a, b): &(&str, &str)| vec![a.to_owned(), b.to_owned()];
        let object = super::GraphObject {
            kind: None,
            nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
            directed: Some(directed.iter().map(pair).collect()),
            bidirected: Some(bidirected.iter().map(pair).collect()),
            edges: None,
        };
        Ok(super::GraphInput::Object(object)
            .parse(&GraphLimits::default(), &Uncontrolled)?
            .graph)
    }
}

/// A topological order with ties by index, or the nodes of a cycle (the first repeated last).
fn topological(edges: &Edges) -> Result<Vec<usize>, Vec<usize>> {
    let count = edges.nodes();
    let mut waiting: Vec<usize> = (0..count)
        .map(|node| bits(edges.parents(node)).count())
        .collect();
    let mut ready: BTreeSet<usize> = (0..count).filter(|&node| waiting[node] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(node) = ready.pop_first() {
        order.push(node);
        for child in bits(edges.children(node)) {
            waiting[child] -= 1;
            if waiting[child] == 0 {
                ready.insert(child);
            }
        }
    }
    let Some(start) = (0..count).find(|&node| waiting[node] > 0) else {
        return Ok(order);
    };
    Err(cycle_before(edges, start, &waiting))
}

/// Walks back from a node that waits for ever; each such node has a parent that does too.
fn cycle_before(edges: &Edges, start: usize, waiting: &[usize]) -> Vec<usize> {
    let mut path = vec![start];
    let mut seen_at = BTreeMap::from([(start, 0_usize)]);
    let mut node = start;
    loop {
        node = bits(edges.parents(node))
            .find(|&parent| waiting[parent] > 0)
            .expect("a node that cannot be ordered has a parent that cannot");
        if let Some(&at) = seen_at.get(&node) {
            let mut cycle = path.split_off(at);
            cycle.reverse();
            let least = cycle
                .iter()
                .enumerate()
                .min_by_key(|&(_, &node)| node)
                .map_or(0, |m| m.0);
            cycle.rotate_left(least);
            cycle.push(cycle[0]);
            return cycle;
        }
        seen_at.insert(node, path.len());
        path.push(node);
    }
}
