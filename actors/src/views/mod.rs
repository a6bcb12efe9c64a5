//! What is shown to the outside: pure functions from events and state to JSON, the same for REST
//! and the command line. Nothing here reads a log or a clock.

mod backup;
mod backup_facts;
mod breaker;
mod breaker_facts;
mod difference;
mod drill;
mod event;
mod experiment;
mod facts;
mod run;
mod slo;
mod time;

pub use backup::{BackupView, RestorePlanView, backup, listed_backup, restore_plan};
pub use breaker::{
    BreakerEvent, BreakerView, CallFailure, Forced, ServiceStatus, ServiceView, breaker,
    breaker_history, breakers, service, services,
};
pub use difference::{Change, Changes, Fact, documents, states};
pub use drill::{DrillView, drills};
pub use event::{CloudEvent, EventView, cloud_event, event};
pub use experiment::{
    DatasetView, ExperimentView, OperationStats, Stats, dataset, datasets, experiment, stats,
};
pub use facts::state;
pub(crate) use facts::{damage, process, pruned_range, set};
pub use run::{Cause, Durations, FallbackView, RunError, RunStatus, RunView, open_run, run};
pub use slo::{
    SloBudget, SloBurn, SloBurning, SloFrozen, SloList, SloView, slo, slo_freezes, slo_list,
};
pub use time::{moment, rfc3339};

use hindcast_model::{KeyId, Payload};
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
    /// RFC 3339.
    pub started_at: String,
}

/// Fetches the text of a payload that does not stand readable in the log, by the key that the
/// record's header names.
pub type Read<'a> = dyn Fn(KeyId, &Payload) -> Option<String> + 'a;

/// A payload as JSON. What `read` does not fetch is shown as a reference.
#[must_use]
pub fn payload(key: KeyId, payload: &Payload, read: &Read<'_>) -> Value {
    readable(key, payload, read).unwrap_or_else(|| reference(key, payload))
}

fn readable(key: KeyId, payload: &Payload, read: &Read<'_>) -> Option<Value> {
    match payload {
        Payload::Inline(text) => {
            let value = serde_json::from_str(text);
            Some(value.unwrap_or_else(|_| Value::String(text.clone())))
        }
        Payload::Blob { .. } | Payload::Sealed { .. } => {
            serde_json::from_str(&read(key, payload)?).ok()
        }
    }
}

/// What is shown of a payload that cannot be read: where it is, or that it is sealed.
#[must_use]
pub fn reference(key: KeyId, payload: &Payload) -> Value {
    let sealed = |bytes: u64| json!({ "sealed": true, "key": key.0, "bytes": bytes });
    match payload {
        Payload::Inline(text) => Value::String(text.clone()),
        Payload::Blob { digest, bytes } if key == KeyId(0) => {
            json!({ "blob": digest.to_string(), "bytes": bytes })
        }
        Payload::Blob { bytes, .. } => sealed(*bytes),
        Payload::Sealed { ciphertext, .. } => sealed(ciphertext.len() as u64),
    }
}

/// Fetches nothing.
#[must_use]
pub fn unread(_: KeyId, _: &Payload) -> Option<String> {
    None
}

#[cfg(test)]
mod tests;
