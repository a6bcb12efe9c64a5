//! The causal lab: from a table of numbers to a graph, and from a graph to a verdict.
//!
//! It knows no actor, event, clock or HTTP. The caller hands in data, options, a seed and a
//! [`Control`] that says when to stop; the lab hands back a serialisable result that holds no
//! ids, times or host facts, so that the same request gives the same bytes on every machine of
//! one numeric profile and with any number of threads.

pub mod control;
pub mod data;
pub mod discover;
pub mod error;
pub mod graph;
pub mod identify;
pub mod paths;

pub use control::{Control, Stop, Uncontrolled};
pub use error::LabError;
