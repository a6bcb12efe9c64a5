//! Service level objectives: how much of what was measured was good enough, how much of the error
//! budget is left, and how fast it goes.
//!
//! What is measured is the recorded batches of figures and nothing else, so that budgets are a fold
//! of the log: they survive restarts, can be asked for at any moment, and what-if tells how they would
//! have been. Counts are kept in rings of buckets, so that memory is bounded.

mod book;
mod budget;
mod measure;
mod plan;
mod rings;

pub use book::{Slo, SloFreeze, Slos};
pub use budget::{BURN_PAIRS, BurnPair, BurnWindow, SloReading};
pub use plan::{PPM, SloBound, SloCondition, SloMeasure, SloObjective, SloPer, SloPlan, SloPolicy};
pub use rings::Counted;
