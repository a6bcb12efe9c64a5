//! The forms in which a request may write a graph: an object with lists of edges, an object as a
//! discovery result has it, or a text.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::admg::Admg;
use super::build::{Draft, GraphLimits, over_limit};
use super::format::read_text;
use crate::LabError;
use crate::control::Control;

/// A graph as a request has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum GraphInput {
    /// dagitty (`dag { x -> y }`), DOT (`digraph { x -> y }`), GML (`graph [ .. ]`), BIF
    /// (`network name { .. }`) or one of the objects as a JSON text; told apart by how it starts.
    Text(String),
    /// Lists of nodes and edges.
    Object(GraphObject),
}

/// A graph as an object: either `directed` and `bidirected`, or `edges`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GraphObject {
    /// Names of the observed nodes.
    pub nodes: Vec<String>,
    /// Pairs `[cause, effect]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directed: Option<Vec<Vec<String>>>,
    /// Pairs with a latent common cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bidirected: Option<Vec<Vec<String>>>,
    /// What a discovery result says its edges stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<GraphKind>,
    /// Edges as a discovery result lists them, instead of the two lists above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<Vec<EdgeObject>>,
}

/// One edge of a discovery result. What else the result says of the edge (weight, stability) is
/// not read: identification depends on the structure alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EdgeObject {
    /// The cause, or one end.
    pub from: String,
    /// The effect, or the other end.
    pub to: String,
    /// What joins them.
    #[serde(rename = "type")]
    pub kind: EdgeType,
}

/// The kinds of edge that discovery answers. A question about effects takes the directed and the
/// bidirected ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum EdgeType {
    /// `from --> to`: a direct cause; in a PAG `from` is an ancestor of `to`.
    Directed,
    /// `from --- to`: either direction fits the data equally well, or none was sought.
    Undirected,
    /// `from <-> to`: a latent common cause; in a PAG neither is an ancestor of the other.
    Bidirected,
    /// `from o-> to`: `to` is no ancestor of `from`; the reverse is open.
    PartiallyDirected,
    /// `from o-o to`: nothing is known of the ends.
    Nondirected,
}

impl EdgeType {
    /// As it stands between two names in a message.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Directed => "->",
            Self::Undirected => "--",
            Self::Bidirected => "<->",
            Self::PartiallyDirected => "o->",
            Self::Nondirected => "o-o",
        }
    }
}

/// What the edges of a graph stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum GraphKind {
    /// One directed acyclic graph.
    Dag,
    /// The class of directed acyclic graphs that the data cannot tell apart.
    Cpdag,
    /// The class of graphs with hidden common causes that the data cannot tell apart.
    Pag,
    /// Adjacencies alone.
    Skeleton,
}

/// A graph and what its text said besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedGraph {
    /// The graph over the observed nodes.
    pub graph: Admg,
    /// Nodes marked as treatment in the text.
    pub exposures: Vec<String>,
    /// Nodes marked as outcome in the text.
    pub outcomes: Vec<String>,
    /// Nodes marked as adjusted in the text.
    pub adjusted: Vec<String>,
    /// Nodes marked as latent: projected out, so they are not in the graph.
    pub latents: Vec<String>,
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = GraphInput;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a graph object or a graph text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GraphInput, E> {
        Ok(GraphInput::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GraphInput, A::Error> {
        GraphObject::deserialize(MapAccessDeserializer::new(map)).map(GraphInput::Object)
    }
}

impl<'de> Deserialize<'de> for GraphInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

impl GraphInput {
    /// The graph, or the first thing wrong with it under a path that starts with `graph`.
    pub fn parse(
        &self,
        limits: &GraphLimits,
        control: &dyn Control,
    ) -> Result<ParsedGraph, LabError> {
        match self {
            Self::Text(text) => read_text(text, limits, control)?.into_parsed(),
            Self::Object(object) => {
                let graph = from_object(object, limits, control)?;
                Ok(ParsedGraph {
                    graph,
                    exposures: Vec::new(),
                    outcomes: Vec::new(),
                    adjusted: Vec::new(),
                    latents: Vec::new(),
                })
            }
        }
    }
}

fn from_object(
    object: &GraphObject,
    limits: &GraphLimits,
    control: &dyn Control,
) -> Result<Admg, LabError> {
    if object.nodes.is_empty() {
        return Err(LabError::invalid(
            "graph.nodes",
            "a graph needs at least one node",
        ));
    }
    if object.nodes.len() > limits.nodes_max {
        return Err(over_limit(
            "graph.nodes",
            object.nodes.len(),
            limits.nodes_max,
        ));
    }
    if object.kind == Some(GraphKind::Pag) {
        return Err(LabError::invalid_with_hint(
            "graph.kind",
            "a PAG stands for many causal graphs: its directed edges tell ancestors, not direct \
             causes, and may be confounded besides",
            "write the causal graph you hold to be right, with its bidirected edges",
        ));
    }
    let mut draft = Draft::new(*limits, control);
    for (position, name) in object.nodes.iter().enumerate() {
        let field = format!("graph.nodes[{position}]");
        if draft.is_known(name) {
            let message = format!("the node '{name}' is given twice");
            return Err(LabError::invalid(field, message));
        }
        draft.node(name, &field)?;
    }
    match (&object.edges, &object.directed, &object.bidirected) {
        (Some(edges), None, None) => {
            typed_edges(&mut draft, edges)?;
            draft.finish("graph.edges")
        }
        (Some(_), _, _) => Err(LabError::invalid(
            "graph.edges",
            "give either `edges` or `directed` and `bidirected`, not both",
        )),
        (None, directed, bidirected) => {
            pairs(&mut draft, directed.as_deref().unwrap_or(&[]), "directed")?;
            pairs(
                &mut draft,
                bidirected.as_deref().unwrap_or(&[]),
                "bidirected",
            )?;
            draft.finish("graph.directed")
        }
    }
}

fn pairs(draft: &mut Draft<'_>, list: &[Vec<String>], key: &str) -> Result<(), LabError> {
    for (position, pair) in list.iter().enumerate() {
        let [first, second] = pair.as_slice() else {
            let message = format!("an edge is a pair of names, this has {}", pair.len());
            return Err(LabError::invalid(
                format!("graph.{key}[{position}]"),
                message,
            ));
        };
        let a = draft.find(first, || format!("graph.{key}[{position}][0]"))?;
        let b = draft.find(second, || format!("graph.{key}[{position}][1]"))?;
        let field = || format!("graph.{key}[{position}]");
        let directed = key == "directed";
        let fresh = if directed {
            draft.directed(a, b, field)?
        } else {
            draft.bidirected(a, b, field)?
        };
        if !fresh {
            return Err(draft.duplicate(a, b, if directed { "->" } else { "<->" }, field()));
        }
    }
    Ok(())
}

fn typed_edges(draft: &mut Draft<'_>, list: &[EdgeObject]) -> Result<(), LabError> {
    for (position, edge) in list.iter().enumerate() {
        let a = draft.find(&edge.from, || format!("graph.edges[{position}].from"))?;
        let b = draft.find(&edge.to, || format!("graph.edges[{position}].to"))?;
        let field = || format!("graph.edges[{position}]");
        let (fresh, arrow) = match edge.kind {
            EdgeType::Directed => (draft.directed(a, b, field)?, "->"),
            EdgeType::Bidirected => (draft.bidirected(a, b, field)?, "<->"),
            EdgeType::Undirected | EdgeType::PartiallyDirected | EdgeType::Nondirected => {
                return Err(open_ended(edge, position));
            }
        };
        if !fresh {
            return Err(draft.duplicate(a, b, arrow, field()));
        }
    }
    Ok(())
}

fn open_ended(edge: &EdgeObject, position: usize) -> LabError {
    LabError::invalid_with_hint(
        format!("graph.edges[{position}].type"),
        format!(
            "the direction between '{}' and '{}' is open, so this graph stands for several \
             causal graphs",
            edge.from, edge.to
        ),
        "orient every edge that is undirected, partially_directed or nondirected from subject \
         knowledge, then validate each orientation that remains",
    )
}
