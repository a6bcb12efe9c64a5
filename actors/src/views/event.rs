//! Events as JSON: our own form, and CloudEvents 1.0.

use hindcast_log::{Body, Recorded};
use hindcast_model::{Event, KeyId, Payload};
use serde::Serialize;
use serde_json::{Value, json};

use super::Read;
use super::time::rfc3339;

/// One event of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventView {
    pub seq: u64,
    pub cursor: String,
    pub at: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub stream: String,
    pub version: u64,
    pub event_id: String,
    pub causation: String,
    pub correlation: String,
    pub principal: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// It came from outside; otherwise it was decided.
    pub observed: bool,
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub data: Value,
}

/// The view of a recorded event. `cursor` is what a client continues after; `read` is asked for
/// what is sealed, and blobs stay references.
#[must_use]
pub fn event(recorded: &Recorded, cursor: String, read: &Read<'_>) -> EventView {
    EventView {
        seq: recorded.seq().0,
        cursor,
        at: rfc3339(recorded.context.at),
        kind: kind(&recorded.body),
        stream: recorded.stream.to_string(),
        version: recorded.version,
        event_id: recorded.context.event_id.to_string(),
        causation: recorded.causation.to_string(),
        correlation: recorded.context.correlation.to_string(),
        principal: recorded.context.principal.to_string(),
        tenant: recorded.context.tenant.to_string(),
        observed: recorded.observed,
        data: data(recorded, read),
    }
}

/// A CloudEvents 1.0 envelope; extension attributes are lower case without separators.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CloudEvent {
    pub specversion: &'static str,
    pub id: String,
    pub source: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub subject: String,
    pub time: String,
    pub datacontenttype: &'static str,
    /// The position in the log, padded so that it sorts as text.
    pub sequence: String,
    pub causationid: String,
    pub correlationid: String,
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub data: Value,
}

/// The envelope of a recorded event; `source` names the log, such as `/hindcast/{log id}`.
#[must_use]
pub fn cloud_event(recorded: &Recorded, source: &str, read: &Read<'_>) -> CloudEvent {
    CloudEvent {
        specversion: "1.0",
        id: recorded.context.event_id.to_string(),
        source: source.to_owned(),
        kind: format!("hindcast.{}", kind(&recorded.body)),
        subject: recorded.stream.to_string(),
        time: rfc3339(recorded.context.at),
        datacontenttype: "application/json",
        sequence: format!("{:020}", recorded.seq().0),
        causationid: recorded.causation.to_string(),
        correlationid: recorded.context.correlation.to_string(),
        data: data(recorded, read),
    }
}

pub(super) fn kind(body: &Body) -> String {
    match body {
        Body::Known(event) => event.kind().name.to_owned(),
        Body::Unknown { number, schema, .. } => format!("unknown_{number}_{schema}"),
    }
}

fn data(recorded: &Recorded, read: &Read<'_>) -> Value {
    match &recorded.body {
        Body::Known(event) => known(event.clone(), recorded.context.key, read),
        Body::Unknown { payload, .. } => json!({ "bytes": payload.len() }),
    }
}

fn plain(event: &Event) -> Value {
    match serde_json::to_value(event) {
        Ok(Value::Object(mut tagged)) => tagged.remove("data").unwrap_or(Value::Null),
        Ok(other) => other,
        Err(error) => json!({ "unreadable": error.to_string() }),
    }
}

/// The data of an event, with its payload as the JSON that it is.
fn known(mut event: Event, key: KeyId, read: &Read<'_>) -> Value {
    let Some(payload) = event.payload_mut() else {
        return plain(&event);
    };
    let shown = match payload {
        // Where it is says nothing of whether it can be read.
        Payload::Blob { .. } => super::reference(KeyId(0), payload),
        Payload::Inline(_) | Payload::Sealed { .. } => super::payload(key, payload, read),
    };
    // Nobody reads a payload as text in text, or ciphertext as a list of numbers.
    *payload = Payload::Inline(String::new());
    let mut data = plain(&event);
    for place in ["/spec", "/outcome/completed/result", "/answer"] {
        if let Some(place) = data.pointer_mut(place) {
            place.clone_from(&shown);
        }
    }
    data
}
