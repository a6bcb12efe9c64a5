//! Events of a question: what `hindcast events show --json` prints under `type` and `data`, with
//! everything that follows from the rest filled in.

use hindcast_log::LogError;
use hindcast_model::limits::{EVENT_BYTES_MAX, INLINE_BYTES_MAX};
use hindcast_model::{Digest, Event, Payload, RunId, Stream};
use hindcast_whatif::Edits;
use serde::de::value::MapDeserializer;
use serde_json::{Map, Value, json};

use super::WhatIfFailure;
use super::question::refused;
use crate::operation::{LabError, Operation, SPEC_SCHEMA, canonical, digest};

/// Fetches the text of a payload that is not in the question.
pub(super) type Fetch<'a> = dyn Fn(&Payload) -> Option<String> + 'a;

/// Reads an event that happens at `place`, below the JSON path `path`.
pub(super) fn parse(
    path: &str,
    value: &Value,
    place: (u64, u64),
    fetch: &Fetch<'_>,
) -> Result<Event, WhatIfFailure> {
    let (kind, mut data) = parts(path, value)?;
    if let Some(known) = Event::KINDS.iter().find(|known| known.name == kind) {
        if !known.observed {
            let error = hindcast_whatif::BadEdit::Decided { name: known.name };
            return Err(refused(&format!("{path}.type"), &error));
        }
    } else {
        let known = Event::KINDS.iter().filter(|kind| kind.observed);
        let known: Vec<_> = known.map(|kind| kind.name).collect();
        let message = format!("`{kind}` is no type of event");
        let error = WhatIfFailure::bad(format!("{path}.type"), message);
        return Err(error.hint(format!("one of {}", known.join(", "))));
    }
    let below = format!("{path}.data");
    let payload = match kind {
        "run_requested" => Some(request(&below, &mut data, (place, fetch))?),
        "experiment_requested" => {
            let spec = data.insert("spec".to_owned(), inline());
            Some(payload(&format!("{below}.spec"), spec, fetch)?.1)
        }
        "outcome_observed" => outcome(&below, &mut data, fetch)?,
        "answer_kept" => answer(&below, &mut data, fetch)?,
        _ => None,
    };
    let pairs = [("type", Value::from(kind)), ("data", Value::Object(data))];
    // The type goes first, so that the path to what is wrong below `data` is known.
    let pairs = MapDeserializer::<_, serde_json::Error>::new(pairs.into_iter());
    let mut event: Event = serde_path_to_error::deserialize(pairs).map_err(|error| {
        let inner = error.path().to_string();
        let field = match inner.as_str() {
            "." | "?" => below.clone(),
            inner => format!("{path}.{inner}"),
        };
        WhatIfFailure::bad(field, error.into_inner().to_string())
    })?;
    Edits::may(&event).map_err(|error| refused(&format!("{path}.type"), &error))?;
    if let (Some(place), Some(payload)) = (event.payload_mut(), payload) {
        *place = payload;
    }
    let bytes = serde_json::to_vec(&event).map_or(usize::MAX, |bytes| bytes.len());
    if bytes > EVENT_BYTES_MAX {
        let message = format!("{bytes} bytes are over the limit of {EVENT_BYTES_MAX}");
        return Err(WhatIfFailure::bad(path, message).limit(EVENT_BYTES_MAX as u64));
    }
    Ok(event)
}

/// Gives a request that is added ids of its own where the log has those that it names: what is
/// added is one more of its kind, and not the same again.
pub(super) fn renew(
    value: &mut Value,
    (after, number): (u64, u64),
    exists: &dyn Fn(Stream) -> Result<bool, LogError>,
) -> Result<(), LogError> {
    let field = match value.get("type").and_then(Value::as_str) {
        Some("run_requested") => "run",
        Some("experiment_requested") => "experiment",
        _ => return Ok(()),
    };
    let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let named = data.get(field).and_then(Value::as_str);
    let stream = named.and_then(|id| format!("{field}/{id}").parse::<Stream>().ok());
    let Some(stream) = stream else {
        return Ok(());
    };
    if !exists(stream)? {
        return Ok(());
    }
    if field == "run" {
        // One is made for it.
        data.remove(field);
        return Ok(());
    }
    let made = |of: &str| json!(made_id(&format!("{of} {after} {number}")).to_string());
    data.insert(field.to_owned(), made(field));
    let runs = data.get_mut("runs").and_then(Value::as_array_mut);
    for (at, run) in runs.into_iter().flatten().enumerate() {
        *run = made(&format!("run {at} of"));
    }
    Ok(())
}

/// An id that follows from what it is for.
fn made_id(purpose: &str) -> RunId {
    let mut id = [0; 16];
    id.copy_from_slice(&digest(purpose.as_bytes()).0[..16]);
    RunId::from_bytes(id)
}

fn parts<'v>(path: &str, value: &'v Value) -> Result<(&'v str, Map<String, Value>), WhatIfFailure> {
    let object = value.as_object();
    let kind = object.and_then(|object| object.get("type")?.as_str());
    let Some(kind) = kind else {
        let message = "an event has a `type` and its `data`";
        return Err(WhatIfFailure::bad(format!("{path}.type"), message));
    };
    let data = object.and_then(|object| object.get("data"));
    match data {
        None => Ok((kind, Map::new())),
        Some(Value::Object(data)) => Ok((kind, data.clone())),
        Some(_) => Err(WhatIfFailure::bad(
            format!("{path}.data"),
            "expected an object",
        )),
    }
}

/// What stands in the place of a payload until it is put there.
fn inline() -> Value {
    json!({ "Inline": "" })
}

/// A payload, and its canonical JSON: what stands in the question, or the blob that it names.
fn payload(
    field: &str,
    value: Option<Value>,
    fetch: &Fetch<'_>,
) -> Result<(String, Payload), WhatIfFailure> {
    let value = value.ok_or_else(|| WhatIfFailure::bad(field, "is missing"))?;
    if value.get("sealed").is_some() {
        let message = "a sealed payload cannot be read";
        return Err(WhatIfFailure::bad(field, message).hint("give the payload itself"));
    }
    let blob = value.get("blob").and_then(Value::as_str);
    if let Some(digest) = blob.and_then(|text| text.parse().ok()) {
        let bytes = value.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        let payload = Payload::Blob { digest, bytes };
        let text = fetch(&payload).ok_or_else(|| {
            let message = format!("the blob {digest} cannot be read");
            WhatIfFailure::bad(field, message).hint("give the payload itself")
        })?;
        return Ok((text, payload));
    }
    let text = canonical(&value).map_err(|error| WhatIfFailure::lab(field, &error))?;
    if text.len() > INLINE_BYTES_MAX {
        let message = format!(
            "{} bytes are over the limit of {INLINE_BYTES_MAX}",
            text.len()
        );
        return Err(WhatIfFailure::bad(field, message).limit(INLINE_BYTES_MAX as u64));
    }
    Ok((text.clone(), Payload::Inline(text)))
}

/// Whatever of a request follows from its operation and spec; the spec as it is kept.
fn request(
    below: &str,
    data: &mut Map<String, Value>,
    ((after, number), fetch): ((u64, u64), &Fetch<'_>),
) -> Result<Payload, WhatIfFailure> {
    let field = format!("{below}.operation");
    let name = data.get("operation").and_then(Value::as_str);
    let name = name
        .ok_or_else(|| WhatIfFailure::bad(&field, "is missing"))?
        .to_owned();
    let spec = data.insert("spec".to_owned(), inline());
    let at = format!("{below}.spec");
    let (text, kept) = payload(&at, spec, fetch)?;
    let body = serde_json::from_str(&text);
    let body = body.map_err(|error| WhatIfFailure::bad(&at, error.to_string()))?;
    let operation = Operation::parse(&name, body).map_err(|error| {
        let named = matches!(&error, LabError::Invalid { field, .. } if field == "operation");
        WhatIfFailure::lab(if named { below } else { &at }, &error)
    })?;
    let spec = operation
        .spec()
        .map_err(|error| WhatIfFailure::lab(&at, &error))?;
    let hash = digest(spec.as_bytes());
    let datasets: Vec<String> = operation.datasets().iter().map(Digest::to_string).collect();
    data.insert("spec_hash".to_owned(), hash.to_string().into());
    data.insert("schema".to_owned(), SPEC_SCHEMA.into());
    data.insert("datasets".to_owned(), datasets.into());
    let run = made_id(&format!("run {after} {number}")).to_string();
    let seed = operation.seed().unwrap_or(0);
    for (name, value) in [
        ("run", json!(run)),
        ("seed", json!(seed)),
        ("deadline_micros", json!(0)),
        ("immediate", json!(false)),
        ("experiment", Value::Null),
        ("idempotency", Value::Null),
    ] {
        data.entry(name).or_insert(value);
    }
    Ok(match kept {
        Payload::Inline(_) => Payload::Inline(spec),
        blob @ (Payload::Blob { .. } | Payload::Sealed { .. }) => blob,
    })
}

/// The answer of a request, where it is not too large to be kept.
fn answer(
    below: &str,
    data: &mut Map<String, Value>,
    fetch: &Fetch<'_>,
) -> Result<Option<Payload>, WhatIfFailure> {
    let given = data.get("answer").is_some_and(|value| !value.is_null());
    if !given {
        return Ok(None);
    }
    let answer = data.insert("answer".to_owned(), inline());
    Ok(Some(payload(&format!("{below}.answer"), answer, fetch)?.1))
}

/// Whatever of an outcome follows from its result.
fn outcome(
    below: &str,
    data: &mut Map<String, Value>,
    fetch: &Fetch<'_>,
) -> Result<Option<Payload>, WhatIfFailure> {
    for (name, value) in [
        ("numeric_profile", json!("")),
        ("queued_micros", json!(0)),
        ("computed_micros", json!(0)),
    ] {
        data.entry(name).or_insert(value);
    }
    let completed = data
        .get_mut("outcome")
        .and_then(|outcome| outcome.get_mut("completed"));
    let Some(completed) = completed.and_then(Value::as_object_mut) else {
        return Ok(None);
    };
    let result = completed.insert("result".to_owned(), inline());
    let field = format!("{below}.outcome.completed.result");
    let (text, kept) = payload(&field, result, fetch)?;
    completed.insert(
        "result_hash".to_owned(),
        digest(text.as_bytes()).to_string().into(),
    );
    for (name, value) in [("schema", json!(1)), ("algorithm_version", json!(""))] {
        completed.entry(name).or_insert(value);
    }
    Ok(Some(kept))
}
