//! `hindcast experiment`.

use std::path::Path;

use hindcast_actors::views::{self, ExperimentView};
use hindcast_model::StreamKind;
use hindcast_model::{ExperimentId, Stream};
use serde::Serialize;
use serde_json::{Value, json};

use super::arguments::{Experiment, Global};
use super::causal::{lab_failure, read};
use super::client::{Client, Reply, print, text};
use super::directory::Directory;
use super::local::Session;
use super::output::{Failure, Output};
use super::render;
use crate::series::Series;

const JSON: &str = "application/json";

/// Experiments in a list that does not say how many.
const LIST_DEFAULT: usize = 50;

/// An experiment in a list.
#[derive(Serialize)]
struct Summary {
    experiment_id: String,
    name: String,
    status: &'static str,
    runs: usize,
    remaining: u64,
    requested_at: String,
    finished_at: Option<String>,
}

pub(crate) fn run(global: &Global, verb: Experiment, output: &Output) -> Result<(), Failure> {
    match verb {
        Experiment::Run { file, no_wait } => series(global, &file, no_wait, output),
        Experiment::Cancel { id, reason } => {
            let session = Session::open(global)?;
            let body = json!({ "reason": reason }).to_string();
            let path = format!("/api/v1/experiments/{id}/cancel");
            let reply = session.client.post(&path, JSON, body.as_bytes());
            session.close()?;
            print(output, &reply?, render::cancelled)
        }
        Experiment::Show { id } => {
            if let Some(url) = &global.server {
                let reply = Client::to(url, global)?.get(&format!("/api/v1/experiments/{id}"))?;
                return print(output, &reply, render::experiment);
            }
            let view = show(&Directory::open(global)?, &id)?;
            text_or_json(output, &view, render::experiment)
        }
        Experiment::List { limit } => {
            if let Some(url) = &global.server {
                let limit = limit.map_or_else(String::new, |limit| format!("?limit={limit}"));
                let reply = Client::to(url, global)?.get(&format!("/api/v1/experiments{limit}"))?;
                return print(output, &reply, render::experiments);
            }
            let items = list(&Directory::open(global)?, limit.unwrap_or(LIST_DEFAULT))?;
            text_or_json(output, &json!({ "items": items }), render::experiments)
        }
        Experiment::Stats => {
            if let Some(url) = &global.server {
                let reply = Client::to(url, global)?.get("/api/v1/experiments/stats")?;
                return print(output, &reply, render::stats);
            }
            let state = Directory::open(global)?.reader.state()?;
            text_or_json(output, &views::stats(&state), render::stats)
        }
    }
}

fn text_or_json<T: Serialize>(
    output: &Output,
    value: &T,
    text: fn(&Value) -> String,
) -> Result<(), Failure> {
    let json = serde_json::to_string(value)?;
    output.either(&json, || Ok(text(&serde_json::to_value(value)?)))
}

fn show(directory: &Directory, id: &str) -> Result<ExperimentView, Failure> {
    let id: ExperimentId = id
        .parse()
        .map_err(|_| Failure::Usage(format!("an experiment's id is a UUID, not `{id}`")))?;
    let events = directory.reader.read_stream(Stream::experiment(id))?;
    let state = directory.reader.state()?;
    let view = views::experiment(&events, &state, &|key, payload| {
        directory.text(key, payload)
    });
    view.ok_or_else(|| Failure::failed(format!("there is no experiment {id}")))
}

/// The newest experiments.
fn list(directory: &Directory, limit: usize) -> Result<Vec<Summary>, Failure> {
    let state = directory.reader.state()?;
    let streams = directory.streams(StreamKind::Experiment)?;
    let views = streams.iter().filter_map(|events| {
        // Requests are not listed, so nothing sealed has to be read.
        views::experiment(events, &state, &views::unread)
    });
    let mut views: Vec<ExperimentView> = views.collect();
    views.sort_by_key(|view| std::cmp::Reverse(view.first_seq));
    let newest = views.into_iter().take(limit).map(|view| Summary {
        experiment_id: view.experiment_id,
        name: view.name,
        status: view.status,
        runs: view.runs.len(),
        remaining: view.remaining,
        requested_at: view.requested_at,
        finished_at: view.finished_at,
    });
    Ok(newest.collect())
}

fn series(global: &Global, file: &Path, no_wait: bool, output: &Output) -> Result<(), Failure> {
    let bytes = read(file)?;
    let series = parse(&bytes)?;
    // What is wrong is said before a server is started for it.
    series.runs().map_err(lab_failure)?;
    let session = Session::open(global)?;
    if no_wait && !session.is_remote() {
        let message = "--no-wait needs --server: without one, nothing goes on after the verb";
        return Err(Failure::Usage(message.to_owned()));
    }
    let reply = submit(&session.client, &series, no_wait);
    session.close()?;
    let reply = reply?;
    print(output, &reply, render::experiment)?;
    match no_wait {
        true => Ok(()),
        false => all_completed(&reply.value()?),
    }
}

/// A series is done when every run has a result.
fn all_completed(view: &Value) -> Result<(), Failure> {
    let mut without = Vec::new();
    for how in ["failed", "refused", "cancelled"] {
        let count = view["tally"][how].as_u64().unwrap_or(0);
        if count > 0 {
            without.push(format!("{count} {how}"));
        }
    }
    if without.is_empty() {
        return Ok(());
    }
    let total = view["runs"].as_array().map_or(0, Vec::len);
    let message = format!("of {total} runs, {}", without.join(", "));
    let hint = "`hindcast events list --stream run/ID --json` says why, for each run";
    Err(Failure::failed(message).with_hint(Some(hint.to_owned())))
}

fn submit(client: &Client, series: &Series, no_wait: bool) -> Result<Reply, Failure> {
    let body = serde_json::to_vec(series)?;
    let accepted = client.post("/api/v1/experiments", JSON, &body)?;
    let view = accepted.value()?;
    if no_wait {
        return Ok(accepted);
    }
    let id = text(&view, "experiment_id")?;
    let sequence = view["first_seq"].as_u64().unwrap_or(1);
    let path = format!("/api/v1/events?stream=experiment/{id}&from={sequence}");
    client.stream(&path, |event, _| Ok(event != "experiment_completed"))?;
    client.get(&format!("/api/v1/experiments/{id}"))
}

/// TOML or JSON: whichever it is.
fn parse(bytes: &[u8]) -> Result<Series, Failure> {
    let text = std::str::from_utf8(bytes)?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text)
            .map_err(|error| Failure::failed(format!("the series is not right: {error}")));
    }
    toml::from_str(text).map_err(|error| {
        Failure::failed(format!(
            "the series is not right: {}",
            error.to_string().trim_end()
        ))
    })
}
