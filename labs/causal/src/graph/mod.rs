//! Causal graphs: acyclic directed mixed graphs, the texts and JSON they are read from and
//! written in, and the questions about them that need no data (ancestors, districts,
//! m-separation).
//!
//! It draws no conclusion about effects; that is `identify`. It enumerates no paths: every
//! question is answered by reachability on bitsets.

mod admg;
mod bif;
mod bif_text;
mod build;
mod draw;
mod format;
mod gml;
mod input;
mod layout;
mod lexer;
mod node_set;
mod projection;
mod separation;
mod sketch;
mod svg;
mod text;

pub use admg::{Admg, Edges};
pub use bif::{BifNetwork, BifVariable, read_bif};
pub use bif_text::write_bif;
pub use build::GraphLimits;
pub(crate) use build::unknown_node;
pub use draw::{DrawnEdge, DrawnGraph, GraphFormat};
pub use format::read_drawn;
pub use input::{EdgeObject, EdgeType, GraphInput, GraphKind, GraphObject, ParsedGraph};
pub use node_set::NodeSet;
pub(crate) use node_set::bits;
