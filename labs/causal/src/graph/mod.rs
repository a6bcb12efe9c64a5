//! Causal graphs: acyclic directed mixed graphs, the texts and JSON they are written in, and the
//! questions about them that need no data (ancestors, districts, m-separation).
//!
//! It draws no conclusion about effects; that is `identify`. It enumerates no paths: every
//! question is answered by reachability on bitsets.

mod admg;
mod build;
mod input;
mod lexer;
mod node_set;
mod projection;
mod separation;
mod text;

pub use admg::{Admg, Edges};
pub use build::GraphLimits;
pub(crate) use build::unknown_node;
pub use input::{EdgeObject, EdgeType, GraphInput, GraphObject, ParsedGraph};
pub use node_set::NodeSet;
pub(crate) use node_set::bits;
