//! A graph of what led to what, for people and programs. Every edge runs from the cause to what
//! follows from it, so that a picture reads downwards in time.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_causal::LabError;
use hindcast_causal::graph::{DrawnEdge, DrawnGraph, EdgeType, GraphFormat};
use serde::Serialize;
use serde_json::Value;

/// Bytes of a node's name in a drawing.
const NAME_BYTES_MAX: usize = 96;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    Run,
    Event,
    Dataset,
    Experiment,
    /// An algorithm and its version.
    Algorithm,
    /// What numbers were computed with.
    NumericProfile,
    Seed,
    /// The configuration that was in force.
    Configuration,
    /// A start of the server, with its version.
    Binary,
}

/// What the cause is to what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The event led to the event.
    Cause,
    /// The event asked for it.
    Request,
    /// The event holds what the computation gave.
    Outcome,
    /// The event ended it.
    End,
    /// The run read the data.
    Data,
    /// The event made the dataset known.
    Registration,
    Algorithm,
    NumericProfile,
    Seed,
    /// It was in force.
    Configuration,
    /// It was at work.
    Binary,
    /// The result is that of the other run.
    Original,
    /// The run belongs to the experiment.
    Experiment,
}

impl Relation {
    const fn word(self) -> &'static str {
        match self {
            Self::Cause => "cause",
            Self::Request => "request",
            Self::Outcome => "outcome",
            Self::End => "end",
            Self::Data => "data",
            Self::Registration => "registration",
            Self::Algorithm => "algorithm",
            Self::NumericProfile => "numeric profile",
            Self::Seed => "seed",
            Self::Configuration => "configuration",
            Self::Binary => "binary",
            Self::Original => "original",
            Self::Experiment => "experiment",
        }
    }
}

/// A thing that is a cause or has one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Node {
    /// Such as `run/ID`, `event/SEQUENCE` or `dataset/DIGEST`.
    pub id: String,
    pub kind: NodeKind,
    /// A short name for a picture.
    pub label: String,
    /// What is known of it.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub facts: BTreeMap<&'static str, Value>,
}

/// What led to what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Edge {
    /// The node of the cause.
    pub from: String,
    /// The node of what follows from it.
    pub to: String,
    pub relation: Relation,
}

/// Nodes in the order in which they were found, and edges between them, each once.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    #[serde(skip)]
    known: BTreeSet<String>,
    #[serde(skip)]
    joined: BTreeSet<Edge>,
}

impl Graph {
    /// Whether a node is there.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.known.contains(id)
    }

    /// Adds a node, unless it is there.
    pub(super) fn node(
        &mut self,
        kind: NodeKind,
        (id, label): (String, String),
        facts: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> String {
        if self.known.insert(id.clone()) {
            let facts = facts.into_iter().filter(|(_, value)| !value.is_null());
            self.nodes.push(Node {
                id: id.clone(),
                kind,
                label,
                facts: facts.collect(),
            });
        }
        id
    }

    /// Joins two nodes, unless they are joined so already.
    pub(super) fn edge(&mut self, from: &str, relation: Relation, to: &str) {
        let edge = Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            relation,
        };
        if from != to && self.joined.insert(edge.clone()) {
            self.edges.push(edge);
        }
    }

    /// The graph as DOT or as a picture.
    pub fn draw(&self, format: GraphFormat) -> Result<String, LabError> {
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for node in &self.nodes {
            let plain = name(&node.label);
            let mut unique = plain.clone();
            for n in 2_u32.. {
                if taken.insert(unique.clone()) {
                    break;
                }
                unique = format!("{plain} ({n})");
            }
            names.insert(&node.id, unique);
        }
        let named = |id: &String| names.get(id.as_str()).cloned().unwrap_or_default();
        let drawn = DrawnGraph {
            nodes: self.nodes.iter().map(|node| named(&node.id)).collect(),
            edges: self
                .edges
                .iter()
                .filter(|edge| self.has(&edge.from) && self.has(&edge.to))
                .map(|edge| DrawnEdge {
                    from: named(&edge.from),
                    to: named(&edge.to),
                    kind: EdgeType::Directed,
                    label: Some(edge.relation.word().to_owned()),
                })
                .collect(),
        };
        drawn.write(format)
    }
}

/// A label as a name that every drawing takes.
fn name(label: &str) -> String {
    let mut name = String::new();
    for c in label.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if name.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        name.push(c);
    }
    match name.is_empty() {
        true => "-".to_owned(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_any_kind_are_drawn() {
        let mut graph = Graph::default();
        for (id, label) in [
            ("a", "x\n\"y\""),
            ("b", "x\n\"y\""),
            ("c", ""),
            ("d", &"\u{e9}".repeat(99)),
        ] {
            graph.node(NodeKind::Event, (id.to_owned(), label.to_owned()), []);
        }
        graph.edge("a", Relation::Cause, "b");
        graph.edge("a", Relation::Cause, "b");
        graph.edge("a", Relation::Cause, "a");
        graph.edge("b", Relation::NumericProfile, "c");
        assert_eq!(graph.edges.len(), 2);
        let dot = graph.draw(GraphFormat::Dot).expect("drawn");
        assert!(
            dot.contains("numeric profile") && dot.contains("(2)"),
            "{dot}"
        );
        let svg = graph.draw(GraphFormat::Svg).expect("drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }
}
