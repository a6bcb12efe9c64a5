//! `hindcast cache`. A cache lives in a server: the one that `--server` names, or one that is started
//! here for as long as the verb runs, which has the results on disk and what the log tells.

use hindcast_actors::{Operation, cacheable_without_a_server};
use serde_json::{Map, Value, json};

use super::arguments::{Cache, Global, Invalidate, Meant, ResizeCache};
use super::causal::{lab_failure, read};
use super::client::{Reply, print};
use super::local::Session;
use super::output::{Failure, Output};
use super::render;

/// Fields of the requests that the command line gives.
const GIVEN: &[&str] = &[
    "select",
    "per_second",
    "reason",
    "runs_max",
    "bytes_max",
    "entries_max",
    "age_max_ms",
    "idle_max_ms",
    "disk_bytes_max",
    "disk_age_max_ms",
    "query",
    "operation",
    "request",
];

pub(crate) fn run(global: &Global, verb: Cache, output: &Output) -> Result<(), Failure> {
    match verb {
        Cache::Stats => {
            let reply = look(global, "/cache/stats")?;
            print(output, &reply, render::caches)
        }
        Cache::Invalidate(wish) => invalidate(global, &wish, output),
        Cache::Warm { runs_max, reason } => {
            let mut body = json!({ "reason": reason });
            set(&mut body, "runs_max", runs_max);
            let reply = post(global, "/cache/results/warm", &body)?;
            print(output, &reply, render::warmed)
        }
        Cache::Resize(wish) => resize(global, &wish, output),
        Cache::CacheableReport {
            operation: Some(operation),
            request: Some(file),
            ..
        } => one(global, (&operation, &read(&file)?), output),
        Cache::CacheableReport { events, .. } => {
            let path = match events {
                Some(events) => format!("/cache/cacheable-report?events={events}"),
                None => "/cache/cacheable-report".to_owned(),
            };
            let reply = look(global, &path)?;
            print(output, &reply, render::cacheable)
        }
    }
}

/// Asks a server for what changes nothing.
fn look(global: &Global, path: &str) -> Result<Reply, Failure> {
    let session = Session::look(global)?;
    let reply = session.client.get(path);
    session.close()?;
    reply.map_err(|failure| failure.blaming(GIVEN))
}

/// Does something with a server, and ends the one that was started for it.
fn within(
    global: &Global,
    ask: impl FnOnce(&Session) -> Result<Reply, Failure>,
) -> Result<Reply, Failure> {
    let session = Session::open(global)?;
    let reply = ask(&session);
    session.close()?;
    reply.map_err(|failure| failure.blaming(GIVEN))
}

fn post(global: &Global, path: &str, body: &Value) -> Result<Reply, Failure> {
    let body = body.to_string();
    within(global, |session| {
        session
            .client
            .post(path, "application/json", body.as_bytes())
    })
}

fn set(body: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body[field] = value.into();
    }
}

fn invalidate(global: &Global, wish: &Invalidate, output: &Output) -> Result<(), Failure> {
    let mut body = json!({ "select": select(&wish.meant), "reason": wish.reason });
    set(&mut body, "per_second", wish.per_second);
    let path = format!("/cache/{}/invalidate", wish.cache);
    let reply = post(global, &path, &body)?;
    print(output, &reply, render::invalidated)
}

fn select(meant: &Meant) -> Value {
    let mut select = json!({});
    set(&mut select, "all", meant.all.then_some(true));
    set(&mut select, "prefix", meant.prefix.as_deref());
    set(&mut select, "operation", meant.operation.as_deref());
    set(&mut select, "algorithm", meant.algorithm.as_deref());
    set(&mut select, "dataset", meant.dataset.as_deref());
    set(&mut select, "experiment", meant.experiment.as_deref());
    select
}

fn resize(global: &Global, wish: &ResizeCache, output: &Output) -> Result<(), Failure> {
    let mut body = json!({ "reason": wish.reason });
    set(&mut body, "bytes_max", wish.bytes_max);
    set(&mut body, "entries_max", wish.entries_max);
    set(&mut body, "age_max_ms", wish.age_max_ms);
    set(&mut body, "idle_max_ms", wish.idle_max_ms);
    set(&mut body, "disk_bytes_max", wish.disk_bytes_max);
    set(&mut body, "disk_age_max_ms", wish.disk_age_max_ms);
    let path = format!("/cache/{}", wish.cache);
    let reply = within(global, |session| session.client.patch(&path, &body))?;
    print(output, &reply, render::caches)
}

/// Whether one request would be answered from the cache. A server also says whether it is.
fn one(
    global: &Global,
    (operation, request): (&str, &[u8]),
    output: &Output,
) -> Result<(), Failure> {
    let operation = match operation.contains('.') {
        true => operation.to_owned(),
        false => format!("causal.{operation}"),
    };
    let request: Map<String, Value> = serde_json::from_slice(request)
        .map_err(|error| Failure::failed(format!("the request is not a JSON object: {error}")))?;
    let request = Value::Object(request);
    if global.server.is_some() {
        let body = json!({ "operation": operation, "request": request });
        let reply = post(global, "/cache/cacheable-report", &body)?;
        return print(output, &reply, render::cacheable_request);
    }
    let read = Operation::parse(&operation, request);
    let found = read.and_then(|operation| cacheable_without_a_server(&operation));
    let found = found.map_err(lab_failure)?;
    super::history::print(output, &found, render::cacheable_request)
}
