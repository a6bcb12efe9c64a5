//! Why a request was not admitted. A refusal is expected: an event and a clear answer, no fault.

use serde::{Deserialize, Serialize};

use crate::breaker::BreakerState;
use crate::ids::{Digest, RunId};

/// Why a request was not admitted. Variants are appended only: the log holds their position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("run {0} exists already")]
    RunExists(RunId),
    #[error("{in_flight} runs are in flight and the limit is {limit}")]
    QueueFull { in_flight: u32, limit: u32 },
    #[error("the idempotency key was used with another body")]
    IdempotencyKeyReused,
    #[error("there is no dataset {0}")]
    UnknownDataset(Digest),
    #[error("disk space is low: {free_bytes} bytes are free and {reserve_bytes} are reserved")]
    DiskLow { free_bytes: u64, reserve_bytes: u64 },
    #[error("{count} is over the limit of {limit} {what}")]
    TooMany {
        what: String,
        count: u64,
        limit: u64,
    },
    #[error("the breaker {breaker} is {state}{}", retry(*.retry_micros))]
    BreakerOpen {
        breaker: String,
        state: BreakerState,
        /// Microseconds after which a try may pass; 0 when that is not known.
        retry_micros: u64,
    },
}

fn retry(micros: u64) -> String {
    match micros {
        0 => String::new(),
        micros => format!("; try again in {} s", micros.div_ceil(1_000_000)),
    }
}
