//! What is shown to the outside: pure functions from events and state to JSON, the same for REST
//! and the command line. Nothing here reads a log or a clock.

mod event;
mod experiment;
mod run;
mod time;

pub use event::{CloudEvent, EventView, cloud_event, event};
pub use experiment::{
    DatasetView, ExperimentView, OperationStats, Stats, dataset, datasets, experiment, stats,
};
pub use run::{Cause, Durations, RunError, RunStatus, RunView, open_run, run};
pub use time::rfc3339;

use hindcast_model::Payload;
use serde_json::{Value, json};

/// How runs ended, in numbers.
#[cfg(feature = "schema")]
#[derive(utoipa::ToSchema)]
#[schema(as = Tally)]
pub struct TallySchema {
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub refused: u64,
    pub deduplicated: u64,
}

/// How far a computation is.
#[cfg(feature = "schema")]
#[derive(utoipa::ToSchema)]
#[schema(as = Progress)]
pub struct ProgressSchema {
    pub stage: String,
    pub done: u64,
    /// 0 when it is not known.
    pub total: u64,
    /// Microseconds since 1970.
    pub started_at: u64,
}

/// A payload as JSON. What does not stand in the log is shown as a reference, unless `blob` can
/// fetch it.
#[must_use]
pub fn payload(
    payload: &Payload,
    blob: &dyn Fn(hindcast_model::Digest) -> Option<Vec<u8>>,
) -> Value {
    match payload {
        Payload::Inline(text) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        }
        Payload::Blob { digest, bytes } => blob(*digest)
            .and_then(|content| serde_json::from_slice(&content).ok())
            .unwrap_or_else(|| json!({ "blob": digest.to_string(), "bytes": bytes })),
        Payload::Sealed { ciphertext, .. } => {
            json!({ "sealed": true, "bytes": ciphertext.len() })
        }
    }
}

/// Fetches no blob.
#[must_use]
pub fn no_blobs(_: hindcast_model::Digest) -> Option<Vec<u8>> {
    None
}

#[cfg(test)]
mod tests;
