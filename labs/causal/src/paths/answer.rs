//! The answer about paths, as it is serialised: no ids, times or host facts, a fixed order.

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use super::request::PathKind;

/// The version of what the answer says; it changes when the same request may give other bytes.
pub const ALGORITHM_VERSION: u32 = 2;

/// What is known of the paths between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PathsAnswer {
    /// See [`ALGORITHM_VERSION`].
    pub algorithm_version: u32,
    /// Where the paths start.
    pub treatment: String,
    /// Where they end.
    pub outcome: String,
    /// What is conditioned on.
    pub given: Vec<String>,
    /// The paths that are counted and listed.
    pub kind: PathKind,
    /// The node that they pass, if one was named.
    pub via: Option<String>,
    /// Whether `given` blocks every path between the two, of any kind: d-separation, or
    /// m-separation where there are latent common causes.
    pub separated: bool,
    /// A shortest open path, of any kind; null if there is none.
    pub active_path: Option<PathView>,
    /// How many paths of the kind there are.
    pub count: PathCount,
    /// How many directed paths lead from treatment to outcome.
    pub directed_count: PathCount,
    /// The nodes between on directed paths.
    pub mediators: Vec<Mediator>,
    /// The shortest paths of the kind, as many as were asked for.
    pub shortest: Vec<PathView>,
    /// One page of the paths of the kind.
    pub paths: Vec<PathView>,
    /// Asks for the page after this one; null if there is none.
    pub next_cursor: Option<String>,
    /// What a reader should know besides.
    pub warnings: Vec<String>,
}

/// A number of paths. It may have more digits than JSON readers keep, so it is a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PathCount {
    /// Decimal digits.
    pub value: String,
    /// Whether there are exactly so many; if not, at least so many.
    pub exact: bool,
}

impl PathCount {
    pub(super) fn exact(count: &BigUint) -> Self {
        Self {
            value: count.to_string(),
            exact: true,
        }
    }
}

/// A node on directed paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Mediator {
    /// Its name.
    pub node: String,
    /// How many of the directed paths pass it, in decimal digits.
    pub paths: String,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PathView {
    /// Such as `x <- z -> y`.
    pub text: String,
    /// Its nodes, in order.
    pub nodes: Vec<String>,
    /// What joins each node to the next: `->`, `<-` or `<->`.
    pub edges: Vec<String>,
    /// Whether it is open given `given`.
    pub open: bool,
    /// The nodes that block it.
    pub blocked_by: Vec<BlockedBy>,
    /// Its colliders that `given` opens.
    pub opened_by: Vec<OpenedBy>,
}

/// A node that blocks a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BlockedBy {
    /// Its name.
    pub node: String,
    /// What it is on this path.
    pub role: NodeRole,
    /// Why it blocks.
    pub reason: String,
}

/// What a node is on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum NodeRole {
    /// Two arrowheads meet: blocks unless it or a descendant is given.
    Collider,
    /// A chain or a fork: blocks if it is given.
    NonCollider,
}

/// A collider that does not block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpenedBy {
    /// The collider.
    pub node: String,
    /// The given node that opens it: itself or a descendant.
    pub given: String,
}
