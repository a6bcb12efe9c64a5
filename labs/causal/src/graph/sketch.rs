//! What a text says before it is known to be a causal graph: names, edges of every kind, roles,
//! and where each edge stands. It becomes a graph to reason about ([`Sketch::into_parsed`], which
//! refuses edges whose direction is open) or one to draw ([`Sketch::into_drawn`]).

use std::collections::BTreeSet;

use super::build::{Draft, GraphLimits, over_limit};
use super::draw::{DrawnEdge, DrawnGraph};
use super::input::{EdgeType, ParsedGraph};
use super::lexer::{Position, wrong, wrong_with_hint};
use crate::LabError;
use crate::control::Control;

/// Edges read between two questions whether to stop.
const EDGES_PER_CHECK: usize = 1_024;

/// What a text can say about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Latent,
    Exposure,
    Outcome,
    Adjusted,
}

struct SketchEdge {
    ends: (usize, usize),
    kind: EdgeType,
    at: Position,
    label: Option<String>,
}

pub(crate) struct Sketch<'a> {
    draft: Draft<'a>,
    control: &'a dyn Control,
    edges: Vec<SketchEdge>,
    /// Edges so far.
    pub(crate) joined: usize,
    /// The header of a kind of graph whose directions are open.
    pub(crate) open: Option<Position>,
    /// An edge may be said twice.
    pub(crate) repeats: bool,
    latents: BTreeSet<String>,
    exposures: BTreeSet<String>,
    outcomes: BTreeSet<String>,
    adjusted: BTreeSet<String>,
}

impl<'a> Sketch<'a> {
    pub(crate) fn new(limits: GraphLimits, control: &'a dyn Control) -> Self {
        Self {
            draft: Draft::new(limits, control),
            control,
            edges: Vec::new(),
            joined: 0,
            open: None,
            repeats: false,
            latents: BTreeSet::new(),
            exposures: BTreeSet::new(),
            outcomes: BTreeSet::new(),
            adjusted: BTreeSet::new(),
        }
    }

    pub(crate) fn limits(&self) -> GraphLimits {
        self.draft.limits()
    }

    /// The node of that name, made if there is none.
    pub(crate) fn node(&mut self, name: &str, at: Position) -> Result<usize, LabError> {
        self.draft
            .node(name, "graph")
            .map_err(|error| located(error, at))
    }

    /// A node that is named for the first time.
    pub(crate) fn fresh_node(&mut self, name: &str, at: Position) -> Result<usize, LabError> {
        if self.draft.is_known(name) {
            return Err(wrong(at, format!("the node '{name}' is given twice")));
        }
        self.node(name, at)
    }

    /// A node that has been named before.
    pub(crate) fn known(&self, name: &str, at: Position) -> Result<usize, LabError> {
        let found = self.draft.find(name, || "graph".to_owned());
        found.map_err(|error| located(error, at))
    }

    pub(crate) fn edge(
        &mut self,
        ends: (usize, usize),
        kind: EdgeType,
        at: Position,
        label: Option<String>,
    ) -> Result<(), LabError> {
        self.joined += 1;
        let edges_max = self.limits().edges_max;
        if self.joined > edges_max {
            return Err(over_limit("graph.edges", self.joined, edges_max));
        }
        if self.joined.is_multiple_of(EDGES_PER_CHECK) {
            self.control.check()?;
        }
        self.edges.push(SketchEdge {
            ends,
            kind,
            at,
            label,
        });
        Ok(())
    }

    pub(crate) fn mark(&mut self, node: usize, role: Role, at: Position) -> Result<(), LabError> {
        let name = self.draft.name(node).to_owned();
        let set = match role {
            Role::Latent => &mut self.latents,
            Role::Exposure => &mut self.exposures,
            Role::Outcome => &mut self.outcomes,
            Role::Adjusted => &mut self.adjusted,
        };
        set.insert(name.clone());
        if !self.latents.contains(&name) {
            return Ok(());
        }
        let used = [&self.exposures, &self.outcomes, &self.adjusted];
        if used.iter().any(|set| set.contains(&name)) {
            let message = format!("'{name}' is latent, so it has no role as a measured node");
            return Err(wrong(at, message));
        }
        self.draft.set_latent(node);
        Ok(())
    }

    /// A graph to reason about.
    pub(crate) fn into_parsed(mut self) -> Result<ParsedGraph, LabError> {
        if let Some(at) = self.open {
            return Err(wrong_with_hint(
                at,
                "only fully directed graphs and bidirected edges can be validated",
                "write 'dag { x -> y }' or 'digraph { x -> y }'",
            ));
        }
        let field = || "graph".to_owned();
        for edge in &self.edges {
            let ((a, b), at) = (edge.ends, edge.at);
            let fresh = match edge.kind {
                EdgeType::Directed => self.draft.directed(a, b, field),
                EdgeType::Bidirected => self.draft.bidirected(a, b, field),
                EdgeType::Undirected | EdgeType::PartiallyDirected | EdgeType::Nondirected => {
                    return Err(wrong_with_hint(
                        at,
                        "an undirected edge leaves the causal graph open",
                        "orient it as '->' or '<-', or write '<->' for a latent common cause",
                    ));
                }
            };
            if !fresh.map_err(|error| located(error, at))? && !self.repeats {
                let sign = edge.kind.sign();
                return Err(located(self.draft.duplicate(a, b, sign, field()), at));
            }
        }
        let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        let graph = self.draft.finish("graph")?;
        if graph.nodes() == 0 {
            return Err(LabError::invalid(
                "graph",
                "a graph needs at least one observed node",
            ));
        }
        Ok(ParsedGraph {
            graph,
            exposures: list(self.exposures),
            outcomes: list(self.outcomes),
            adjusted: list(self.adjusted),
            latents: list(self.latents),
        })
    }

    /// A graph to draw: every kind of edge, in the order of the text.
    pub(crate) fn into_drawn(self) -> Result<DrawnGraph, LabError> {
        let name = |node: usize| self.draft.name(node).to_owned();
        let mut edges = Vec::with_capacity(self.edges.len());
        for edge in &self.edges {
            let (from, to) = (name(edge.ends.0), name(edge.ends.1));
            if from == to {
                return Err(wrong(edge.at, format!("'{from}' is joined to itself")));
            }
            edges.push(DrawnEdge {
                from,
                to,
                kind: edge.kind,
                label: edge.label.clone(),
            });
        }
        let nodes = (0..self.draft.nodes()).map(name).collect();
        Ok(DrawnGraph { nodes, edges })
    }
}

/// The same refusal with the place in the text in front of its message.
pub(crate) fn located(error: LabError, at: Position) -> LabError {
    match error {
        LabError::Invalid {
            field,
            message,
            hint,
        } => {
            let Position { line, column } = at;
            LabError::Invalid {
                field,
                message: format!("line {line}, column {column}: {message}"),
                hint,
            }
        }
        other @ (LabError::TooLarge { .. }
        | LabError::Stopped(_)
        | LabError::FailedVerification { .. }
        | LabError::Internal(_)) => other,
    }
}
