//! An acyclic directed mixed graph (ADMG): directed edges for direct causes, bidirected edges
//! for latent common causes. Nodes are kept in the order of their names, so nothing that is
//! computed from a graph depends on the order in which it was written down.

use super::node_set::{NodeSet, bits, words_for};

/// The edges alone, as bitset rows: what the graph algorithms work on. Removing edges gives
/// another `Edges` over the same nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edges {
    nodes: usize,
    words: usize,
    parents: Vec<u64>,
    children: Vec<u64>,
    siblings: Vec<u64>,
    /// Whether a bidirected edge was ever there; if not, no search looks for one.
    met_bidirected: bool,
}

/// A named acyclic directed mixed graph. Made by [`super::ParsedGraph`] or
/// [`Admg::from_edges`], which refuse cycles, loops and duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admg {
    names: Vec<String>,
    edges: Edges,
    order: Vec<usize>,
}

impl Edges {
    pub(crate) fn new(nodes: usize) -> Self {
        let words = words_for(nodes);
        let rows = vec![0; nodes * words];
        Self {
            nodes,
            words,
            parents: rows.clone(),
            children: rows.clone(),
            siblings: rows,
            met_bidirected: false,
        }
    }

    /// How many nodes the rows are for.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    pub(crate) fn parents(&self, node: usize) -> &[u64] {
        &self.parents[node * self.words..(node + 1) * self.words]
    }

    pub(crate) fn children(&self, node: usize) -> &[u64] {
        &self.children[node * self.words..(node + 1) * self.words]
    }

    pub(crate) fn siblings(&self, node: usize) -> &[u64] {
        &self.siblings[node * self.words..(node + 1) * self.words]
    }

    /// Whether `from -> to`.
    #[must_use]
    pub fn has_directed(&self, from: usize, to: usize) -> bool {
        self.children(from)[to / 64] >> (to % 64) & 1 == 1
    }

    /// Whether `a <-> b`.
    #[must_use]
    pub fn has_bidirected(&self, a: usize, b: usize) -> bool {
        self.siblings(a)[b / 64] >> (b % 64) & 1 == 1
    }

    /// Whether any edge joins the two.
    pub(crate) fn are_adjacent(&self, a: usize, b: usize) -> bool {
        self.has_directed(a, b) || self.has_directed(b, a) || self.has_bidirected(a, b)
    }

    pub(crate) fn met_bidirected(&self) -> bool {
        self.met_bidirected
    }

    pub(crate) fn has_any_bidirected(&self) -> bool {
        self.met_bidirected && self.siblings.iter().any(|&word| word != 0)
    }

    pub(crate) fn add_directed(&mut self, from: usize, to: usize) {
        self.children[from * self.words + to / 64] |= 1 << (to % 64);
        self.parents[to * self.words + from / 64] |= 1 << (from % 64);
    }

    pub(crate) fn remove_directed(&mut self, from: usize, to: usize) {
        self.children[from * self.words + to / 64] &= !(1 << (to % 64));
        self.parents[to * self.words + from / 64] &= !(1 << (from % 64));
    }

    pub(crate) fn add_bidirected(&mut self, a: usize, b: usize) {
        self.met_bidirected = true;
        self.siblings[a * self.words + b / 64] |= 1 << (b % 64);
        self.siblings[b * self.words + a / 64] |= 1 << (a % 64);
    }

    fn remove_bidirected(&mut self, a: usize, b: usize) {
        self.siblings[a * self.words + b / 64] &= !(1 << (b % 64));
        self.siblings[b * self.words + a / 64] &= !(1 << (a % 64));
    }

    /// Takes every edge at `node` away.
    pub(crate) fn isolate(&mut self, node: usize) {
        for parent in bits(self.parents(node)).collect::<Vec<_>>() {
            self.remove_directed(parent, node);
        }
        for child in bits(self.children(node)).collect::<Vec<_>>() {
            self.remove_directed(node, child);
        }
        for sibling in bits(self.siblings(node)).collect::<Vec<_>>() {
            self.remove_bidirected(node, sibling);
        }
    }

    /// Takes a latent node out: its parents become parents of its children, and its children
    /// and siblings share what it passed on.
    pub(crate) fn eliminate(&mut self, node: usize) {
        let [parents, children, siblings] =
            [self.parents(node), self.children(node), self.siblings(node)].map(<[u64]>::to_vec);
        self.met_bidirected = true;
        let shared: Vec<u64> = children.iter().zip(&siblings).map(|(a, b)| a | b).collect();
        let words = self.words;
        for child in bits(&children) {
            add_to_row(&mut self.parents[child * words..], &parents);
            add_to_row(&mut self.siblings[child * words..], &shared);
            self.siblings[child * words + child / 64] &= !(1 << (child % 64));
        }
        for parent in bits(&parents) {
            add_to_row(&mut self.children[parent * words..], &children);
        }
        for sibling in bits(&siblings) {
            add_to_row(&mut self.siblings[sibling * words..], &children);
            self.siblings[sibling * words + sibling / 64] &= !(1 << (sibling % 64));
        }
        self.isolate(node);
    }

    /// Without every edge that has an arrowhead at a member of `cut`.
    #[must_use]
    pub fn without_incoming(&self, cut: &NodeSet) -> Self {
        let mut result = self.clone();
        for node in cut.iter() {
            for parent in bits(self.parents(node)) {
                result.remove_directed(parent, node);
            }
            for sibling in bits(self.siblings(node)) {
                result.remove_bidirected(node, sibling);
            }
        }
        result
    }

    /// Without the directed edges that leave a member of `cut`.
    #[must_use]
    pub fn without_outgoing(&self, cut: &NodeSet) -> Self {
        let mut result = self.clone();
        for node in cut.iter() {
            for child in bits(self.children(node)) {
                result.remove_directed(node, child);
            }
        }
        result
    }

    fn closure<'a>(
        &'a self,
        start: &NodeSet,
        within: &NodeSet,
        row: impl Fn(&'a Self, usize) -> &'a [u64],
    ) -> NodeSet {
        let mut reached = start.intersection(within);
        let mut stack: Vec<usize> = reached.iter().collect();
        while let Some(node) = stack.pop() {
            for (index, &word) in row(self, node).iter().enumerate() {
                let fresh = word & within.words()[index] & !reached.words()[index];
                if fresh != 0 {
                    stack.extend(bits(&[fresh]).map(|bit| index * 64 + bit));
                    let mut rest = fresh;
                    while rest != 0 {
                        reached.insert(index * 64 + rest.trailing_zeros() as usize);
                        rest &= rest - 1;
                    }
                }
            }
        }
        reached
    }

    /// The ancestors of `of` in the subgraph over `within`, members of `of` included.
    #[must_use]
    pub fn ancestors(&self, of: &NodeSet, within: &NodeSet) -> NodeSet {
        self.closure(of, within, Self::parents)
    }

    /// The descendants of `of` in the subgraph over `within`, members of `of` included.
    #[must_use]
    pub fn descendants(&self, of: &NodeSet, within: &NodeSet) -> NodeSet {
        self.closure(of, within, Self::children)
    }

    /// The district (c-component) of `node` in the subgraph over `within`.
    #[must_use]
    pub fn district(&self, node: usize, within: &NodeSet) -> NodeSet {
        self.closure(&NodeSet::of(self.nodes, &[node]), within, Self::siblings)
    }

    /// The districts of the subgraph over `within`, by their smallest member.
    #[must_use]
    pub fn districts(&self, within: &NodeSet) -> Vec<NodeSet> {
        let mut rest = within.clone();
        let mut districts = Vec::new();
        while let Some(node) = rest.first() {
            let district = self.district(node, &rest);
            rest.subtract(&district);
            districts.push(district);
        }
        districts
    }

    /// `of` and the parents of its members.
    pub(crate) fn with_parents(&self, of: &NodeSet) -> NodeSet {
        let mut result = of.clone();
        for node in of.iter() {
            result.add_words(self.parents(node));
        }
        result
    }
}

fn add_to_row(row: &mut [u64], more: &[u64]) {
    for (word, more) in row.iter_mut().zip(more) {
        *word |= more;
    }
}

impl Admg {
    pub(crate) fn assemble(names: Vec<String>, edges: Edges, order: Vec<usize>) -> Self {
        Self {
            names,
            edges,
            order,
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.names.len()
    }

    /// The names, sorted; a node's index is its place here.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of one node.
    #[must_use]
    pub fn name(&self, node: usize) -> &str {
        &self.names[node]
    }

    /// The index of a name.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.names
            .binary_search_by(|known| known.as_str().cmp(name))
            .ok()
    }

    /// Feeds names and edges to a hash; equal graphs feed equal bytes, and no others do.
    pub(crate) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.names.len() as u64).to_le_bytes());
        for name in &self.names {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
        }
        for rows in [&self.edges.children, &self.edges.siblings] {
            for word in rows {
                hasher.update(&word.to_le_bytes());
            }
        }
    }

    /// The edges.
    #[must_use]
    pub fn edges(&self) -> &Edges {
        &self.edges
    }

    /// A topological order: each node after its parents, ties by name.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The names of a set's members, sorted.
    #[must_use]
    pub fn names_of(&self, set: &NodeSet) -> Vec<String> {
        set.iter().map(|node| self.names[node].clone()).collect()
    }

    /// Every directed edge as a pair of names, sorted.
    #[must_use]
    pub fn directed(&self) -> Vec<[String; 2]> {
        let pairs = |from: usize| {
            bits(self.edges.children(from))
                .map(move |to| [self.names[from].clone(), self.names[to].clone()])
        };
        (0..self.nodes()).flat_map(pairs).collect()
    }

    /// Every bidirected edge once, as a sorted pair of names.
    #[must_use]
    pub fn bidirected(&self) -> Vec<[String; 2]> {
        let pairs = |a: usize| {
            bits(self.edges.siblings(a))
                .filter(move |&b| a < b)
                .map(move |b| [self.names[a].clone(), self.names[b].clone()])
        };
        (0..self.nodes()).flat_map(pairs).collect()
    }
}
