//! The question about paths, and its checks: afterwards every name is a node.

use serde::{Deserialize, Serialize};

use super::network::{Course, Network, Route};
use crate::LabError;
use crate::control::Control;
use crate::graph::{GraphInput, GraphLimits, NodeSet, ParsedGraph};
use crate::identify::{Names, members, or_marked};

/// Paths on a page when the request does not say.
pub const LIMIT_DEFAULT: usize = 20;
/// Most paths on a page.
pub const LIMIT_MAX: usize = 1_000;
/// Most shortest paths.
pub const SHORTEST_MAX: usize = 100;
/// Bytes of the part of a cursor that says which question it belongs to.
const KEY_BYTES: usize = 8;

/// Which paths lie between two nodes, and are they open?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PathsRequest {
    /// An object or a text.
    pub graph: GraphInput,
    /// Where the paths start: one node. May be left out if a dagitty text marks it as exposure.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub treatment: Names,
    /// Where they end: one node. May be left out if a dagitty text marks it as outcome.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub outcome: Names,
    /// The nodes that are conditioned on.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub given: Names,
    /// The paths that are counted and listed.
    #[serde(default)]
    pub kind: PathKind,
    /// mediating: the node that the paths pass; any node between if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Paths on a page, 0 to 1000; 20 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the page starts: the `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many of the shortest paths to list besides, 0 to 100; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortest: Option<usize>,
    /// Taken as every operation takes it; the answer does not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A kind of path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum PathKind {
    /// Along the arrows.
    Directed,
    /// Any path whose first edge points at the treatment.
    BackDoor,
    /// Along the arrows, over `via` or over any node between.
    Mediating,
    /// Any path, whichever way its arrows point.
    #[default]
    All,
}

/// A question that has passed its checks.
pub(super) struct Checked {
    pub(super) parsed: ParsedGraph,
    pub(super) pair: (usize, usize),
    pub(super) given: NodeSet,
    pub(super) kind: PathKind,
    pub(super) via: Option<usize>,
    pub(super) limit: usize,
    pub(super) shortest: usize,
    /// The places of the last path of the page before.
    pub(super) after: Option<Vec<usize>>,
    key: [u8; KEY_BYTES],
}

impl PathsRequest {
    pub(super) fn checked(
        &self,
        limits: &GraphLimits,
        control: &dyn Control,
    ) -> Result<Checked, LabError> {
        let limit = at_most("limit", self.limit.unwrap_or(LIMIT_DEFAULT), LIMIT_MAX)?;
        let shortest = at_most("shortest", self.shortest.unwrap_or(0), SHORTEST_MAX)?;
        let parsed = self.graph.parse(limits, control)?;
        let treatment = or_marked(&self.treatment, &parsed.exposures);
        let outcome = or_marked(&self.outcome, &parsed.outcomes);
        let x = members(&parsed, "treatment", treatment, &[])?;
        let taken = [("treatment", x.clone())];
        let y = members(&parsed, "outcome", outcome, &taken)?;
        let pair = (one("treatment", &x)?, one("outcome", &y)?);
        let taken = [("treatment", x), ("outcome", y)];
        let given = members(&parsed, "given", &self.given.0, &taken)?;
        let via = match &self.via {
            None => None,
            Some(_) if self.kind != PathKind::Mediating => {
                let hint = "leave it out or set kind to mediating";
                let message = "belongs to the kind mediating";
                return Err(LabError::invalid_with_hint("via", message, hint));
            }
            Some(name) => members(&parsed, "via", std::slice::from_ref(name), &taken)?.first(),
        };
        let key = key(&parsed, pair, self.kind, via);
        let after = self.cursor.as_deref().map(|text| read(text, key));
        Ok(Checked {
            parsed,
            pair,
            given,
            kind: self.kind,
            via,
            limit,
            shortest,
            after: after.transpose()?,
            key,
        })
    }
}

impl Checked {
    pub(super) fn route<'a>(&self, network: &'a Network) -> Route<'a> {
        let edges = self.parsed.graph.edges();
        let everything = NodeSet::full(network.nodes);
        let above = |node: usize| {
            let alone = NodeSet::of(network.nodes, &[node]);
            edges.ancestors(&alone, &everything)
        };
        let course = match self.kind {
            PathKind::Directed => Course::Directed {
                via: None,
                mediated: false,
            },
            PathKind::Mediating => Course::Directed {
                via: self.via,
                mediated: true,
            },
            PathKind::BackDoor => Course::Simple { back_door: true },
            PathKind::All => Course::Simple { back_door: false },
        };
        let towards_target = above(self.pair.1);
        // A node that does not cause the outcome is on no path to it.
        let passable = self.via.filter(|&via| towards_target.contains(via));
        let towards_via = passable.map_or_else(|| NodeSet::empty(network.nodes), above);
        Route {
            network,
            source: self.pair.0,
            target: self.pair.1,
            course,
            towards_target,
            towards_via,
        }
    }

    /// Where the next page starts.
    pub(super) fn cursor(&self, places: &[usize]) -> String {
        let mut bytes = self.key.to_vec();
        for &place in places {
            let place = u16::try_from(place).expect("a node has fewer edges than that");
            bytes.extend_from_slice(&place.to_le_bytes());
        }
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn at_most(field: &str, asked: usize, limit: usize) -> Result<usize, LabError> {
    if asked <= limit {
        return Ok(asked);
    }
    Err(LabError::TooLarge {
        field: field.to_owned(),
        actual: asked as u64,
        limit: limit as u64,
    })
}

fn one(field: &str, set: &NodeSet) -> Result<usize, LabError> {
    match (set.first(), set.len()) {
        (Some(node), 1) => Ok(node),
        (_, count) => Err(LabError::invalid(
            field,
            format!("a path has one node at each end, {count} are named"),
        )),
    }
}

/// What a cursor belongs to: the graph, the two nodes and the kind.
fn key(
    parsed: &ParsedGraph,
    pair: (usize, usize),
    kind: PathKind,
    via: Option<usize>,
) -> [u8; KEY_BYTES] {
    let mut hasher = blake3::Hasher::new();
    parsed.graph.hash_into(&mut hasher);
    hasher.update(format!("{pair:?} {kind:?} {via:?}").as_bytes());
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..KEY_BYTES]);
    key
}

fn read(text: &str, key: [u8; KEY_BYTES]) -> Result<Vec<usize>, LabError> {
    let wrong = || {
        LabError::invalid_with_hint(
            "cursor",
            "is not a cursor of this question",
            "send back the `next_cursor` of an answer to the same graph, nodes and kind",
        )
    };
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(4) || !text.is_ascii() {
        return Err(wrong());
    }
    let bytes: Option<Vec<u8>> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok())
        .collect();
    let bytes = bytes.ok_or_else(wrong)?;
    let Some(places) = bytes.strip_prefix(&key) else {
        return Err(wrong());
    };
    let place = |pair: &[u8]| usize::from(u16::from_le_bytes([pair[0], pair[1]]));
    Ok(places.chunks_exact(2).map(place).collect())
}
