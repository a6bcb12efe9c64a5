//! A learned graph in the languages of other programs, and as a picture. What a language cannot
//! say is an error that names it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cpdag::Cpdag;
use super::result::Graph;
use crate::control::Control;
use crate::data::{Codes, Dataset};
use crate::error::LabError;
use crate::graph::{
    BifNetwork, BifVariable, DrawnEdge, DrawnGraph, EdgeType, GraphFormat, GraphKind, write_bif,
};

/// Probabilities in a network that is written as BIF.
const TABLE_CELLS_MAX: usize = 1_000_000;

/// A language for a learned graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Rendering {
    /// `dag { a -> b }`; `pdag` or `pag` where directions are open.
    Dagitty,
    /// Graphviz.
    Dot,
    /// As networkx reads it.
    Gml,
    /// A Bayesian network with its probabilities; for categories, and for a graph that stands for
    /// directed ones. Of a class of graphs it holds one member.
    Bif,
    /// A picture.
    Svg,
}

/// Writes the graph in each of the languages.
pub fn render(
    graph: &Graph,
    wanted: &[Rendering],
    data: &Dataset,
    control: &dyn Control,
) -> Result<BTreeMap<Rendering, String>, LabError> {
    let mut texts = BTreeMap::new();
    for (position, rendering) in wanted.iter().enumerate() {
        control.check()?;
        let format = match rendering {
            Rendering::Dagitty => GraphFormat::Dagitty,
            Rendering::Dot => GraphFormat::Dot,
            Rendering::Gml => GraphFormat::Gml,
            Rendering::Svg => GraphFormat::Svg,
            Rendering::Bif => {
                texts.insert(
                    *rendering,
                    bif(graph, data, &format!("formats[{position}]"))?,
                );
                continue;
            }
        };
        texts.insert(*rendering, drawn(graph).write(format)?);
    }
    Ok(texts)
}

fn drawn(graph: &Graph) -> DrawnGraph {
    let edges = graph.edges.iter().map(|edge| DrawnEdge {
        from: edge.from.clone(),
        to: edge.to.clone(),
        kind: edge.kind,
        label: Some(format!("{:.2}", edge.weight)),
    });
    DrawnGraph {
        nodes: graph.nodes.clone(),
        edges: edges.collect(),
    }
}

/// The network over the categories of the data. Probabilities are posterior means under a uniform
/// prior worth one row in all (BDeu with an equivalent sample size of 1), so that none is 0.
fn bif(graph: &Graph, data: &Dataset, field: &str) -> Result<String, LabError> {
    let codes = data.codes().map_err(|error| {
        let message = format!("bif needs categories: {error}");
        LabError::invalid(field, message)
    })?;
    let parents = parents(graph).ok_or_else(|| {
        let message = "bif needs directed edges, and this graph does not stand for any";
        LabError::invalid_with_hint(field, message, "boss, grasp, ges and pc answer such graphs")
    })?;
    let cells = |variable: usize| {
        let levels = parents[variable]
            .iter()
            .chain([&variable])
            .map(|v| codes.levels(*v));
        levels.fold(1_usize, usize::saturating_mul)
    };
    let total = (0..parents.len()).map(cells).fold(0, usize::saturating_add);
    if total > TABLE_CELLS_MAX {
        return Err(LabError::TooLarge {
            field: field.to_owned(),
            actual: total as u64,
            limit: TABLE_CELLS_MAX as u64,
        });
    }
    let variables = parents
        .iter()
        .enumerate()
        .map(|(variable, parents)| BifVariable {
            name: graph.nodes[variable].clone(),
            states: codes.labels(variable).to_vec(),
            parents: parents.clone(),
            table: Some(table(codes, variable, parents)),
        });
    write_bif(&BifNetwork {
        name: "discovered".to_owned(),
        variables: variables.collect(),
    })
}

/// The parents of each variable in a directed graph that the learned one stands for.
fn parents(graph: &Graph) -> Option<Vec<Vec<usize>>> {
    let place = |name: &String| graph.nodes.iter().position(|node| node == name);
    let mut class = Cpdag::empty(graph.nodes.len());
    for edge in &graph.edges {
        let (from, to) = (place(&edge.from)?, place(&edge.to)?);
        class.join(from, to);
        match edge.kind {
            EdgeType::Directed => class.direct(from, to),
            EdgeType::Undirected => {}
            EdgeType::Bidirected | EdgeType::PartiallyDirected | EdgeType::Nondirected => {
                return None;
            }
        }
    }
    match graph.kind {
        GraphKind::Dag | GraphKind::Cpdag => class.extend(),
        GraphKind::Pag | GraphKind::Skeleton => None,
    }
}

/// Probabilities of the states by configuration of the parents, the first parent slowest.
fn table(codes: &Codes, variable: usize, parents: &[usize]) -> Vec<f64> {
    let states = codes.levels(variable);
    let configurations: usize = parents.iter().map(|p| codes.levels(*p)).product();
    let prior = 1.0 / (configurations * states) as f64;
    let mut table = vec![prior; configurations * states];
    let all: Vec<usize> = parents.iter().copied().chain([variable]).collect();
    for (values, count) in codes.counts(&all).iter() {
        let cell = values.iter().zip(&all).fold(0, |cell, (value, v)| {
            cell * codes.levels(*v) + usize::from(*value)
        });
        table[cell] += f64::from(count);
    }
    for row in table.chunks_mut(states) {
        let total: f64 = row.iter().sum();
        row.iter_mut().for_each(|cell| *cell /= total);
    }
    table
}
