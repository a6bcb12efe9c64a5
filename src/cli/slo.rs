//! `hindcast slo`: error budgets, of a server or of the files of a data directory.

use hindcast_actors::history;
use serde_json::Value;

use super::arguments::{Global, Slo, SloAt};
use super::client::Client;
use super::history::{Files, encoded, failed, parsed};
use super::output::{Failure, Output};
use super::render;

pub(crate) fn run(global: &Global, verb: &Slo, output: &Output) -> Result<(), Failure> {
    match verb {
        Slo::Status { at, check } => {
            let found = read(global, at)?;
            output.either(&found.to_string(), || Ok(render::slo_status(&found)))?;
            match *check && found["frozen"] == true {
                true => Err(Failure::failed("an error budget is frozen")),
                false => Ok(()),
            }
        }
        Slo::List { at } => {
            let found = read(global, at)?;
            output.either(&found.to_string(), || Ok(render::slo_list(&found)))
        }
        Slo::Show { name, at } => {
            let found = read(global, at)?;
            let items = found["items"].as_array().map_or(&[][..], Vec::as_slice);
            match items.iter().find(|item| item["name"] == name.as_str()) {
                Some(item) => output.either(&item.to_string(), || Ok(render::slo(item))),
                None => Err(unknown(name, items)),
            }
        }
    }
}

fn read(global: &Global, SloAt { at }: &SloAt) -> Result<Value, Failure> {
    if let Some(url) = &global.server {
        let at = at.as_ref().map(|at| format!("?at={}", encoded(at)));
        let path = format!("/api/v1/slo{}", at.unwrap_or_default());
        let reply = Client::to(url, global)?.get(&path);
        return reply
            .map_err(|failure| failure.blaming(&["query"]))?
            .value();
    }
    let when = match at {
        Some(at) => parsed("--at", at)?,
        None => history::When::Head,
    };
    let files = Files::open(global)?;
    let found = history::slos(&files, when).map_err(failed)?;
    Ok(serde_json::to_value(found)?)
}

fn unknown(name: &str, items: &[Value]) -> Failure {
    let names: Vec<&str> = items
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect();
    let hint = match names.is_empty() {
        true => "no objectives are configured: see [slo]".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    Failure::failed(format!("there is no objective '{name}'")).with_hint(Some(hint))
}
