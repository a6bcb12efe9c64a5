//! The request for a validation, and its checks: afterwards every name is a node.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::id::Query;
use crate::LabError;
use crate::control::Control;
use crate::data::{self, Dataset};
use crate::graph::{GraphInput, GraphLimits, NodeSet, ParsedGraph, unknown_node};

/// Sets listed for each criterion when the request does not say.
pub const SETS_DEFAULT: usize = 16;

/// What a validation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What the graph may hold.
    pub graph: GraphLimits,
    /// Sets listed for each criterion.
    pub sets_max: usize,
    /// Nodes and names of an estimand; a larger one is not returned.
    pub estimand_nodes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            graph: GraphLimits::default(),
            sets_max: 256,
            estimand_nodes_max: 50_000,
        }
    }
}

/// Names of nodes; a request may write a single one without the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Names(pub Vec<String>);

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a node name or a list of node names")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Names, E> {
        Ok(Names(vec![name.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        Ok(Names(names))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

/// Is `P(outcome | do(treatment), given)` identifiable in this graph, and how?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ValidateRequest {
    /// An object, or a dagitty or DOT text.
    pub graph: GraphInput,
    /// The nodes that are set. May be left out if a dagitty text marks them as exposure.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub treatment: Names,
    /// The nodes that are looked at. May be left out if a dagitty text marks them as outcome.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub outcome: Names,
    /// The nodes that are conditioned on after the intervention.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub given: Names,
    /// Picks the random models of the numeric check; 0 if left out.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Sets listed for each criterion; 16 if left out.
    #[serde(default)]
    pub limit: Option<usize>,
    /// What to work out besides. If left out, instruments and implications of graphs of up to 20
    /// nodes; an empty list means neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<Include>>,
    /// Rows of numbers to test the implications on; a row with a null, a missing value, is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<Vec<Option<f64>>>>,
    /// Names of the columns of `data`; `x0`, `x1`, ... when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable_names: Option<Vec<String>>,
    /// Digest (64 lowercase hexadecimal digits) of a stored dataset to test the implications on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
}

/// A part of the answer that may take longer than the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Include {
    /// Conditional instruments.
    Instruments,
    /// One smallest separating set for each pair of nodes without an edge.
    Implications,
    /// Every minimal separating set for each such pair, up to `limit` for each.
    AllImplications,
}

/// Largest graph whose instruments and implications are worked out without being asked for.
pub const INCLUDED_NODES_MAX: usize = 20;

/// What is worked out besides the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) instruments: bool,
    pub(crate) implications: bool,
    pub(crate) all_sets: bool,
}

/// A request that has passed its checks.
pub(crate) struct Checked {
    pub(crate) parsed: ParsedGraph,
    pub(crate) query: Query,
    pub(crate) seed: u64,
    pub(crate) sets: usize,
    pub(crate) extras: Extras,
}

impl ValidateRequest {
    /// The inline data, or `None` when there is none or the request names a stored dataset.
    pub fn inline_dataset(&self, limits: &data::Limits) -> Result<Option<Dataset>, LabError> {
        match (&self.data, &self.dataset) {
            (Some(_), Some(_)) => Err(LabError::invalid(
                "dataset",
                "give either data or dataset, not both",
            )),
            (Some(rows), None) => {
                Dataset::from_rows(rows, self.variable_names.as_deref(), limits).map(Some)
            }
            (None, _) if self.variable_names.is_some() => Err(LabError::invalid(
                "variable_names",
                "name the columns of data, and there is no data",
            )),
            (None, Some(digest)) if !is_digest(digest) => Err(LabError::invalid(
                "dataset",
                "is not a digest of 64 hexadecimal digits",
            )),
            (None, _) => Ok(None),
        }
    }

    fn extras(&self, nodes: usize) -> Extras {
        let has_data = self.data.is_some() || self.dataset.is_some();
        let is_small = nodes <= INCLUDED_NODES_MAX;
        let asked = |part: Include| self.include.as_ref().map(|list| list.contains(&part));
        let all_sets = asked(Include::AllImplications).unwrap_or(false);
        Extras {
            instruments: asked(Include::Instruments).unwrap_or(is_small),
            implications: asked(Include::Implications).unwrap_or(is_small) || all_sets || has_data,
            all_sets,
        }
    }

    pub(crate) fn checked(
        &self,
        limits: &Limits,
        control: &dyn Control,
    ) -> Result<Checked, LabError> {
        let sets = self.limit.unwrap_or(SETS_DEFAULT.min(limits.sets_max));
        if sets == 0 {
            return Err(LabError::invalid("limit", "has to be at least 1"));
        }
        if sets > limits.sets_max {
            let (actual, limit) = (sets as u64, limits.sets_max as u64);
            return Err(LabError::TooLarge {
                field: "limit".into(),
                actual,
                limit,
            });
        }
        let parsed = self.graph.parse(&limits.graph, control)?;
        let treatment = or_marked(&self.treatment, &parsed.exposures);
        let outcome = or_marked(&self.outcome, &parsed.outcomes);
        for (field, names) in [("treatment", treatment), ("outcome", outcome)] {
            if names.is_empty() {
                return Err(LabError::invalid(field, "name at least one node"));
            }
        }
        let mut taken: Vec<(&str, NodeSet)> = Vec::with_capacity(3);
        for (field, names) in [
            ("treatment", treatment),
            ("outcome", outcome),
            ("given", self.given.0.as_slice()),
        ] {
            let set = members(&parsed, field, names, &taken)?;
            taken.push((field, set));
        }
        let mut sets_of = taken.into_iter().map(|(_, set)| set);
        let mut next = || sets_of.next().expect("three lists were read");
        let query = Query {
            treatment: next(),
            outcome: next(),
            given: next(),
        };
        Ok(Checked {
            extras: self.extras(parsed.graph.nodes()),
            query,
            seed: self.seed.unwrap_or(0),
            sets,
            parsed,
        })
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(crate) fn or_marked<'a>(asked: &'a Names, marked: &'a [String]) -> &'a [String] {
    if asked.0.is_empty() { marked } else { &asked.0 }
}

pub(crate) fn members(
    parsed: &ParsedGraph,
    field: &str,
    names: &[String],
    taken: &[(&str, NodeSet)],
) -> Result<NodeSet, LabError> {
    let graph = &parsed.graph;
    let mut set = NodeSet::empty(graph.nodes());
    for (position, name) in names.iter().enumerate() {
        let path = || format!("{field}[{position}]");
        if parsed.latents.contains(name) {
            let message = format!("'{name}' is latent, so it has no observed values");
            return Err(LabError::invalid(path(), message));
        }
        let Some(node) = graph.index(name) else {
            return Err(unknown_node(
                path(),
                name,
                graph.names().iter().map(String::as_str),
            ));
        };
        if set.contains(node) {
            return Err(LabError::invalid(
                path(),
                format!("the node '{name}' is given twice"),
            ));
        }
        if let Some((other, _)) = taken.iter().find(|(_, taken)| taken.contains(node)) {
            let message = format!("the node '{name}' is already in '{other}'");
            return Err(LabError::invalid(path(), message));
        }
        set.insert(node);
    }
    Ok(set)
}
