//! Graphs to be shown or handed on: every kind of edge that discovery can answer, written as
//! dagitty, DOT, GML or SVG. Each text is read back to the same graph by [`super::read_drawn`].
//! No conclusion is drawn here, and a cycle is nobody's mistake.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::admg::Admg;
use super::build::{GraphLimits, over_limit, unknown_node};
use super::input::EdgeType;
use crate::LabError;

/// A graph to draw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DrawnGraph {
    /// Names, in the order in which they are written.
    pub nodes: Vec<String>,
    /// Edges, in the order in which they are written.
    #[serde(default)]
    pub edges: Vec<DrawnEdge>,
}

/// An edge to draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DrawnEdge {
    /// The cause, or one end.
    pub from: String,
    /// The effect, or the other end.
    pub to: String,
    /// What joins them.
    #[serde(rename = "type")]
    pub kind: EdgeType,
    /// Written beside the edge, such as a weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A language to write a graph in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum GraphFormat {
    /// `dag { "a" -> "b" }`; `pdag` or `pag` where directions are open.
    Dagitty,
    /// Graphviz.
    Dot,
    /// As networkx reads it.
    Gml,
    /// A picture.
    Svg,
}

impl GraphFormat {
    /// The media type of the text.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Dagitty => "text/plain; charset=utf-8",
            Self::Dot => "text/vnd.graphviz; charset=utf-8",
            Self::Gml => "text/plain; charset=us-ascii",
            Self::Svg => "image/svg+xml",
        }
    }
}

impl From<&Admg> for DrawnGraph {
    fn from(graph: &Admg) -> Self {
        let edges = |pairs: Vec<[String; 2]>, kind| {
            pairs.into_iter().map(move |[from, to]| DrawnEdge {
                from,
                to,
                kind,
                label: None,
            })
        };
        let directed = edges(graph.directed(), EdgeType::Directed);
        Self {
            nodes: graph.names().to_vec(),
            edges: directed
                .chain(edges(graph.bidirected(), EdgeType::Bidirected))
                .collect(),
        }
    }
}

impl DrawnGraph {
    /// Writes the graph. Names that no language holds, edges to unknown nodes and graphs over the
    /// default limits are refused.
    pub fn write(&self, format: GraphFormat) -> Result<String, LabError> {
        let ends = self.checked()?;
        Ok(match format {
            GraphFormat::Dagitty => self.dagitty(),
            GraphFormat::Dot => self.dot(),
            GraphFormat::Gml => self.gml(&ends),
            GraphFormat::Svg => super::svg::picture(self, &ends),
        })
    }

    /// The places of both ends of each edge.
    fn checked(&self) -> Result<Vec<(usize, usize)>, LabError> {
        let limits = GraphLimits::default();
        for (field, actual, limit) in [
            ("graph.nodes", self.nodes.len(), limits.nodes_max),
            ("graph.edges", self.edges.len(), limits.edges_max),
        ] {
            if actual > limit {
                return Err(over_limit(field, actual, limit));
            }
        }
        let mut place = BTreeMap::new();
        for (position, name) in self.nodes.iter().enumerate() {
            let field = format!("graph.nodes[{position}]");
            if name.is_empty() || name.chars().any(char::is_control) {
                let message = "a node name is empty or holds a control character";
                return Err(LabError::invalid(field, message));
            }
            if name.len() > limits.name_bytes_max {
                return Err(over_limit(&field, name.len(), limits.name_bytes_max));
            }
            if place.insert(name.as_str(), position).is_some() {
                let message = format!("the node '{name}' is given twice");
                return Err(LabError::invalid(field, message));
            }
        }
        let mut ends = Vec::with_capacity(self.edges.len());
        for (position, edge) in self.edges.iter().enumerate() {
            let find = |name: &str, key: &str| {
                place.get(name).copied().ok_or_else(|| {
                    let field = format!("graph.edges[{position}].{key}");
                    unknown_node(field, name, self.nodes.iter().map(String::as_str))
                })
            };
            let (from, to) = (find(&edge.from, "from")?, find(&edge.to, "to")?);
            let field = format!("graph.edges[{position}]");
            if from == to {
                let message = format!("'{}' is joined to itself", edge.from);
                return Err(LabError::invalid(field, message));
            }
            if edge
                .label
                .iter()
                .any(|label| label.chars().any(char::is_control))
            {
                return Err(LabError::invalid(
                    field,
                    "a label holds a control character",
                ));
            }
            ends.push((from, to));
        }
        Ok(ends)
    }

    fn dagitty(&self) -> String {
        let has = |wanted: &[EdgeType]| self.edges.iter().any(|edge| wanted.contains(&edge.kind));
        let header = if has(&[EdgeType::PartiallyDirected, EdgeType::Nondirected]) {
            "pag"
        } else if has(&[EdgeType::Undirected]) {
            "pdag"
        } else {
            "dag"
        };
        let mut out = format!("{header} {{\n");
        for name in &self.nodes {
            line(&mut out, format_args!("  {}\n", quoted(name)));
        }
        for edge in &self.edges {
            let sign = match edge.kind {
                EdgeType::Directed => "->",
                EdgeType::Undirected => "--",
                EdgeType::Bidirected => "<->",
                EdgeType::PartiallyDirected => "@->",
                EdgeType::Nondirected => "@-@",
            };
            let (from, to) = (quoted(&edge.from), quoted(&edge.to));
            line(&mut out, format_args!("  {from} {sign} {to}"));
            if let Some(label) = &edge.label {
                line(&mut out, format_args!(" [label={}]", quoted(label)));
            }
            out.push('\n');
        }
        out.push_str("}\n");
        out
    }

    fn dot(&self) -> String {
        let mut out = String::from("digraph {\n");
        for name in &self.nodes {
            line(&mut out, format_args!("  {};\n", quoted(name)));
        }
        for edge in &self.edges {
            let marks = match edge.kind {
                EdgeType::Directed => "",
                EdgeType::Undirected => "dir=none",
                EdgeType::Bidirected => "dir=both",
                EdgeType::PartiallyDirected => "dir=both, arrowtail=odot",
                EdgeType::Nondirected => "dir=both, arrowtail=odot, arrowhead=odot",
            };
            let label = edge
                .label
                .as_ref()
                .map(|label| format!("label={}", quoted(label)));
            let parts: Vec<&str> = [marks, label.as_deref().unwrap_or("")]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect();
            let (from, to) = (quoted(&edge.from), quoted(&edge.to));
            line(&mut out, format_args!("  {from} -> {to}"));
            if !parts.is_empty() {
                line(&mut out, format_args!(" [{}]", parts.join(", ")));
            }
            out.push_str(";\n");
        }
        out.push_str("}\n");
        out
    }

    fn gml(&self, ends: &[(usize, usize)]) -> String {
        let mut out = String::from("graph [\n  directed 1\n");
        for (id, name) in self.nodes.iter().enumerate() {
            let label = entities(name);
            line(
                &mut out,
                format_args!("  node [\n    id {id}\n    label \"{label}\"\n  ]\n"),
            );
        }
        for (edge, (from, to)) in self.edges.iter().zip(ends) {
            line(
                &mut out,
                format_args!("  edge [\n    source {from}\n    target {to}\n"),
            );
            let kind = match edge.kind {
                EdgeType::Directed => None,
                EdgeType::Undirected => Some("undirected"),
                EdgeType::Bidirected => Some("bidirected"),
                EdgeType::PartiallyDirected => Some("partially_directed"),
                EdgeType::Nondirected => Some("nondirected"),
            };
            if let Some(kind) = kind {
                line(&mut out, format_args!("    type \"{kind}\"\n"));
            }
            if let Some(label) = &edge.label {
                line(
                    &mut out,
                    format_args!("    label \"{}\"\n", entities(label)),
                );
            }
            out.push_str("  ]\n");
        }
        out.push_str("]\n");
        out
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a string cannot fail");
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// GML is ASCII; everything else is a character entity.
fn entities(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => result.push_str("&amp;"),
            '"' => result.push_str("&quot;"),
            letter if letter.is_ascii() => result.push(letter),
            letter => line(&mut result, format_args!("&#{};", u32::from(letter))),
        }
    }
    result
}
