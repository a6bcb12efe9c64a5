//! A graph as paths see it: the edges at each node in a fixed order, whichever way they point.

use crate::graph::{Edges, NodeSet, bits};

/// How an edge lies on a path that is walked from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// `->`
    Forward,
    /// `<-`
    Backward,
    /// `<->`
    Both,
}

impl Sign {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Forward => "->",
            Self::Backward => "<-",
            Self::Both => "<->",
        }
    }

    /// Whether it has an arrowhead at its left end.
    pub(super) const fn heads_left(self) -> bool {
        !matches!(self, Self::Forward)
    }

    /// Whether it has an arrowhead at its right end.
    pub(super) const fn heads_right(self) -> bool {
        !matches!(self, Self::Backward)
    }
}

/// One edge of a path and the node it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    pub(super) node: usize,
    pub(super) sign: Sign,
}

pub(super) struct Network {
    pub(super) nodes: usize,
    first: Vec<usize>,
    steps: Vec<Step>,
    /// Neighbours of any kind, one row of words for each node.
    rows: Vec<NodeSet>,
}

impl Network {
    pub(super) fn new(edges: &Edges) -> Self {
        let nodes = edges.nodes();
        let mut network = Self {
            nodes,
            first: vec![0],
            steps: Vec::new(),
            rows: Vec::with_capacity(nodes),
        };
        for node in 0..nodes {
            let start = network.steps.len();
            let mut row = NodeSet::empty(nodes);
            for (words, sign) in [
                (edges.children(node), Sign::Forward),
                (edges.parents(node), Sign::Backward),
                (edges.siblings(node), Sign::Both),
            ] {
                row.add_words(words);
                network
                    .steps
                    .extend(bits(words).map(|node| Step { node, sign }));
            }
            network.steps[start..].sort_unstable();
            network.rows.push(row);
            network.first.push(network.steps.len());
        }
        network
    }

    /// The edges at a node: by the other end, then by how they lie.
    pub(super) fn steps(&self, node: usize) -> &[Step] {
        &self.steps[self.first[node]..self.first[node + 1]]
    }

    pub(super) fn row(&self, node: usize) -> &NodeSet {
        &self.rows[node]
    }
}

/// Which paths are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Along the arrows, over `via` if there is one, or over some node between if `mediated`.
    Directed { via: Option<usize>, mediated: bool },
    /// Either way; `back_door`: the first edge points at the source.
    Simple { back_door: bool },
}

/// The paths of one course between two nodes.
pub(super) struct Route<'a> {
    pub(super) network: &'a Network,
    pub(super) source: usize,
    pub(super) target: usize,
    pub(super) course: Course,
    /// Nodes from which the arrows lead to the target, itself included.
    pub(super) towards_target: NodeSet,
    /// The same for the node to be passed.
    pub(super) towards_via: NodeSet,
}

impl Route<'_> {
    /// Whether the first step may be taken, apart from whether it leads anywhere.
    pub(super) fn may_start(&self, step: Step) -> bool {
        match self.course {
            Course::Directed { mediated, .. } => {
                step.sign == Sign::Forward && !(mediated && step.node == self.target)
            }
            Course::Simple { back_door } => !back_door || step.sign.heads_left(),
        }
    }
}
