//! Minimal separators with polynomial delay (van der Zander, Liskiewicz and Textor 2014, on
//! Takata 2010): the augmented graph of the ancestors, with the nodes that may not be used
//! folded away, then one branch per choice of which side of the separator a node falls on.

use crate::LabError;
use crate::control::Control;
use crate::graph::{Edges, NodeSet};

/// Some or all of the sets asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    /// By size, then by names.
    pub(crate) sets: Vec<NodeSet>,
    /// Whether there are no others.
    pub(crate) complete: bool,
}

impl Listing {
    pub(crate) fn sorted(mut sets: Vec<NodeSet>, complete: bool) -> Self {
        sets.sort_by_key(|set| (set.len(), set.iter().collect::<Vec<_>>()));
        Self { sets, complete }
    }
}

/// An undirected graph in which two sets of nodes are to be kept apart.
pub(crate) struct Undirected {
    words: usize,
    /// Neighbours of each node, the node itself and nodes taken away among them.
    rows: Vec<u64>,
    nodes: NodeSet,
}

impl Undirected {
    /// Nodes are neighbours if an inducing collider path joins them: the members of a district
    /// and their parents are all neighbours of one another.
    pub(crate) fn augmented(edges: &Edges, within: &NodeSet) -> Self {
        let words = within.words().len();
        let mut graph = Self {
            words,
            rows: vec![0; edges.nodes() * words],
            nodes: within.clone(),
        };
        for district in edges.districts(within) {
            // Every parent of an ancestor is an ancestor.
            let clique = edges.with_parents(&district);
            graph.join(&clique);
        }
        graph
    }

    /// Makes the members neighbours of one another.
    fn join(&mut self, clique: &NodeSet) {
        for node in clique.iter() {
            let row = &mut self.rows[node * self.words..(node + 1) * self.words];
            for (word, more) in row.iter_mut().zip(clique.words()) {
                *word |= more;
            }
        }
    }

    pub(crate) fn neighbours(&self, of: &NodeSet) -> NodeSet {
        let mut result = NodeSet::empty(of.words().len() * 64);
        for node in of.iter() {
            result.add_words(&self.rows[node * self.words..(node + 1) * self.words]);
        }
        result.intersect(&self.nodes);
        result.subtract(of);
        result
    }

    /// The nodes joined to `start` without touching `removed`.
    pub(crate) fn component(&self, start: &NodeSet, removed: &NodeSet) -> NodeSet {
        let mut left = self.nodes.minus(removed);
        let mut reached = start.intersection(&left);
        left.subtract(&reached);
        let mut stack = reached.clone();
        while let Some(node) = stack.first() {
            stack.remove(node);
            let row = &self.rows[node * self.words..(node + 1) * self.words];
            left.move_to(row, &mut reached, &mut stack);
        }
        reached
    }

    /// Takes the nodes away and joins what was joined through them.
    fn fold(&mut self, away: &NodeSet) {
        let mut rest = away.clone();
        let kept = self.nodes.minus(away);
        while let Some(node) = rest.first() {
            let alone = NodeSet::of(self.words * 64, &[node]);
            let component = self.component(&alone, &kept);
            let rim = self.neighbours(&component);
            self.join(&rim);
            rest.subtract(&component);
        }
        self.nodes = kept;
    }

    /// The set around `side` that a minimal separator near `far` leaves on this side; `None` if
    /// `side` touches `far`.
    fn closure(&self, side: &NodeSet, far: &NodeSet) -> Option<NodeSet> {
        let mut rim = self.neighbours(side);
        if rim.intersects(far) {
            return None;
        }
        rim.add(side);
        let beyond = self.component(far, &rim);
        Some(self.component(side, &self.neighbours(&beyond)))
    }
}

/// Lists the minimal sets inside `allowed` that separate `a` and `b`, up to `limit` of them.
pub(crate) fn minimal_separators(
    edges: &Edges,
    ends: (&NodeSet, &NodeSet),
    allowed: &NodeSet,
    limit: usize,
    control: &dyn Control,
) -> Result<Listing, LabError> {
    let (a, b) = ends;
    let everything = NodeSet::full(edges.nodes());
    let ancestors = edges.ancestors(&a.union(b), &everything);
    let mut graph = Undirected::augmented(edges, &ancestors);
    graph.fold(&ancestors.minus(allowed).minus(a).minus(b));
    let Some(start) = graph.closure(a, b) else {
        return Ok(Listing {
            sets: Vec::new(),
            complete: true,
        });
    };
    let mut sets = Vec::new();
    let mut stack = vec![(start, NodeSet::empty(edges.nodes()))];
    while let Some((side, fixed)) = stack.pop() {
        control.check()?;
        let rim = graph.neighbours(&side);
        let Some(node) = rim.minus(&fixed).first() else {
            if sets.len() == limit {
                return Ok(Listing::sorted(sets, false));
            }
            sets.push(rim);
            continue;
        };
        let mut with_node = side.clone();
        with_node.insert(node);
        if let Some(wider) = graph.closure(&with_node, b)
            && !wider.intersects(&fixed)
        {
            stack.push((wider, fixed.clone()));
        }
        let mut held = fixed;
        held.insert(node);
        stack.push((side, held));
    }
    Ok(Listing::sorted(sets, true))
}
