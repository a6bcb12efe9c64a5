//! `hindcast experiment`.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{Experiment, Global};
use super::causal::{lab_failure, read};
use super::client::{Client, Reply, print};
use super::local::Session;
use super::output::{Failure, Output};
use super::render;
use crate::series::Series;

pub(crate) fn run(global: &Global, verb: Experiment, output: &Output) -> Result<(), Failure> {
    if let Experiment::Run { file, no_wait } = verb {
        return series(global, &file, no_wait, output);
    }
    let session = Session::open(global)?;
    let (reply, text) = ask(&session.client, verb);
    session.close()?;
    print(output, &reply?, text)
}

type Text = fn(&Value) -> String;

fn ask(client: &Client, verb: Experiment) -> (Result<Reply, Failure>, Text) {
    match verb {
        Experiment::Show { id } => (
            client.get(&format!("/api/v1/experiments/{id}")),
            render::experiment,
        ),
        Experiment::List { limit } => {
            let limit = limit.map_or_else(String::new, |limit| format!("?limit={limit}"));
            let reply = client.get(&format!("/api/v1/experiments{limit}"));
            (reply, render::experiments)
        }
        Experiment::Cancel { id, reason } => {
            let body = json!({ "reason": reason }).to_string();
            let path = format!("/api/v1/experiments/{id}/cancel");
            (
                client.post(&path, "application/json", body.as_bytes()),
                render::cancelled,
            )
        }
        Experiment::Stats | Experiment::Run { .. } => {
            (client.get("/api/v1/experiments/stats"), render::stats)
        }
    }
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
    print(output, &reply?, render::experiment)
}

fn submit(client: &Client, series: &Series, no_wait: bool) -> Result<Reply, Failure> {
    let body = serde_json::to_vec(series)?;
    let accepted = client.post("/api/v1/experiments", "application/json", &body)?;
    let view = accepted.value()?;
    if no_wait {
        return Ok(accepted);
    }
    let id = view["experiment_id"].as_str().unwrap_or_default();
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
