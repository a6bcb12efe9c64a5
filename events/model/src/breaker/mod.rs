//! Circuit breakers: whether a service is let work, judged by how its last calls ended.
//!
//! A breaker is a pure machine: it is told the time and how calls ended, and says what follows. All
//! of them together, with the calls that are under way, are a part of the state. Nothing here
//! computes, waits or draws: the jitter follows from the breaker's name and how often it opened.

mod book;
mod changes;
mod machine;
mod readings;
mod settings;
mod word;

pub(crate) use book::Route;
pub use book::{Breakers, Diversion, OpenCall, whose};
pub use machine::{
    Admission, Breaker, CALLER_DEADLINE, CallTotals, DEADLINE_EXCEEDED, DEADLINE_UNSERVED, Ended,
    LastFailure, Overlay, Phase, is_failure,
};
pub use settings::{BreakerKey, BreakerPlan, BreakerSettings, ConfiguredBreaker, Fallback};
pub use word::{BreakerAction, BreakerCause, BreakerState};

/// The breaker that backups to a target go by.
#[must_use]
pub fn backup_breaker(target: &str) -> String {
    format!("backup_{target}")
}
