//! What the log says of drills.

use hindcast_log::Recorded;
use hindcast_model::Event;
use serde::Serialize;

use super::time::rfc3339;

/// One practised restore.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DrillView {
    /// The sequence of the event that tells it.
    pub seq: u64,
    pub drill: &'static str,
    pub target: String,
    pub ended_at: String,
    /// Something was restored, and it is this log.
    pub passed: bool,
    /// The last event when the loss was assumed.
    pub head_seq: u64,
    /// The last event that came back.
    pub to_seq: u64,
    /// The recovery point: from the oldest event that did not come back to the loss.
    pub rpo_seconds: f64,
    /// The recovery time: until the restored log took work.
    pub rto_seconds: f64,
    /// The state after `to_seq`, as it was restored.
    pub state_hash: Option<String>,
    /// The log that was not lost has that state there.
    pub state_equal: bool,
    /// Why nothing was restored.
    pub error: Option<String>,
}

/// The drills among these events, newest first.
#[must_use]
pub fn drills(events: &[Recorded], most: usize) -> Vec<DrillView> {
    let ended = events.iter().rev().filter_map(|recorded| {
        let Some(Event::DrillEnded(ended)) = recorded.event() else {
            return None;
        };
        Some(DrillView {
            seq: recorded.seq().0,
            drill: "restore",
            target: ended.target.clone(),
            ended_at: rfc3339(recorded.context.at),
            passed: ended.error.is_none() && ended.state_equal,
            head_seq: ended.head.0,
            to_seq: ended.to_seq.0,
            rpo_seconds: seconds(ended.lost_micros),
            rto_seconds: seconds(ended.ready_micros),
            state_hash: ended.state_hash.map(|hash| hash.to_string()),
            state_equal: ended.state_equal,
            error: ended.error.clone(),
        })
    });
    ended.take(most).collect()
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
