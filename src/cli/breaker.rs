//! `hindcast breaker` and `hindcast service`. What only reads works on the files of a data directory
//! as well; a wish about a breaker is an event, and needs a server.

use std::collections::BTreeMap;

use hindcast_actors::circuit_breaker::simulate::{SimulateError, simulate, since};
use hindcast_actors::history::Source;
use hindcast_actors::views::{self, BreakerView};
use hindcast_model::{Seq, State, Stream};
use serde_json::{Value, json};

use super::arguments::{Breaker, Global, LastingWish, Service, Wish};
use super::client::{Client, Reply, print};
use super::directory::Directory;
use super::history::Files;
use super::local::Session;
use super::output::{Failure, Output};
use super::render;
use crate::clock;

pub(crate) fn run(global: &Global, verb: Breaker, output: &Output) -> Result<(), Failure> {
    match verb {
        Breaker::List => {
            if let Some(url) = &global.server {
                let reply = Client::new(url)?.get("/api/v1/breakers")?;
                return print(output, &reply, render::breakers);
            }
            let state = Directory::open(global)?.reader.state()?;
            let page = json!({ "items": views::breakers(state.breakers(), clock::wall()) });
            output.either(&page.to_string(), || Ok(render::breakers(&page)))
        }
        Breaker::Show { name } => {
            if let Some(url) = &global.server {
                let reply = Client::new(url)?.get(&format!("/api/v1/breakers/{name}"))?;
                return print(output, &reply, render::breaker);
            }
            let view = find(&Directory::open(global)?.reader.state()?, &name)?;
            super::history::print(output, &view, render::breaker)
        }
        Breaker::History { name } => history(global, &name, output),
        Breaker::Reset(wish) => ask(global, ("reset", &wish, None), output),
        Breaker::Enable(wish) => ask(global, ("enable", &wish, None), output),
        Breaker::ForceOpen(wish) => ask_for_a_while(global, "force_open", &wish, output),
        Breaker::Disable(wish) => ask_for_a_while(global, "disable", &wish, output),
        Breaker::MetricsOnly(wish) => ask_for_a_while(global, "metrics_only", &wish, output),
        Breaker::Simulate { name, since } => simulated(global, (&name, since.as_deref()), output),
    }
}

pub(crate) fn service(global: &Global, verb: Service, output: &Output) -> Result<(), Failure> {
    let page: Value = match &global.server {
        Some(url) => Client::new(url)?.get("/health/services")?.value()?,
        None => {
            let state = Directory::open(global)?.reader.state()?;
            let services = views::services(&state, clock::wall());
            let needed = services.iter().any(|service| service.action_needed);
            json!({ "action_needed": needed, "services": services })
        }
    };
    match verb {
        Service::List => output.either(&page.to_string(), || Ok(render::services(&page))),
        Service::Show { name } => {
            let mut all = page["services"].as_array().into_iter().flatten();
            let Some(found) = all.find(|service| service["service"] == name.as_str()) else {
                return Err(unknown(&name, &names_of(&page["services"], "service")));
            };
            output.either(&found.to_string(), || Ok(render::service(found)))
        }
    }
}

fn names_of(items: &Value, field: &str) -> Vec<String> {
    let items = items.as_array().into_iter().flatten();
    let names = items.filter_map(|item| item[field].as_str().map(str::to_owned));
    names.collect()
}

fn unknown(name: &str, known: &[String]) -> Failure {
    let hint = match known.is_empty() {
        true => "the log was never written by a server that has breakers".to_owned(),
        false => format!("there are {}", known.join(", ")),
    };
    Failure::failed(format!("there is no breaker '{name}'")).with_hint(Some(hint))
}

fn find(state: &State, name: &str) -> Result<BreakerView, Failure> {
    let breakers = state.breakers();
    match breakers.get(name) {
        Some(breaker) => Ok(views::breaker(name, breaker, clock::wall())),
        None => {
            let known: Vec<String> = breakers.all().map(|(name, _)| name.to_owned()).collect();
            Err(unknown(name, &known))
        }
    }
}

fn history(global: &Global, name: &str, output: &Output) -> Result<(), Failure> {
    if let Some(url) = &global.server {
        let reply = Client::new(url)?.get(&format!("/api/v1/breakers/{name}/history"))?;
        return print(output, &reply, render::breaker_history);
    }
    let files = Files::open(global)?;
    find(&files.reader().state()?, name)?;
    let events = files.stream(Stream::system("breakers"))?;
    let page = json!({ "name": name, "items": views::breaker_history(name, &events) });
    output.either(&page.to_string(), || Ok(render::breaker_history(&page)))
}

fn ask_for_a_while(
    global: &Global,
    action: &str,
    wish: &LastingWish,
    output: &Output,
) -> Result<(), Failure> {
    ask(global, (action, &wish.wish, wish.ttl.as_deref()), output)
}

fn ask(
    global: &Global,
    (action, wish, ttl): (&str, &Wish, Option<&str>),
    output: &Output,
) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let mut body = json!({ "action": action, "reason": wish.reason });
    if let Some(ttl) = ttl {
        body["ttl"] = json!(ttl);
    }
    let path = format!("/health/circuit-breakers/{}", wish.name);
    let body = body.to_string();
    let reply = session
        .client
        .post(&path, "application/json", body.as_bytes());
    session.close()?;
    let reply: Reply = reply.map_err(|failure| failure.blaming(&["ttl", "reason"]))?;
    print(output, &reply, render::breaker)
}

fn simulated(
    global: &Global,
    (name, from): (&str, Option<&str>),
    output: &Output,
) -> Result<(), Failure> {
    let set = settings(&global.set)?;
    if let Some(url) = &global.server {
        let mut body = json!({ "set": set });
        if let Some(from) = from {
            body["since"] = json!(from);
        }
        let path = format!("/api/v1/breakers/{name}/simulate");
        let body = body.to_string();
        let reply = Client::new(url)?.post(&path, "application/json", body.as_bytes());
        let reply = reply.map_err(|failure| failure.blaming(&["set", "since"]))?;
        return print(output, &reply, render::simulation);
    }
    // What `--set` says is about the simulation, and not about where the log is.
    let files = Files::open(&Global {
        set: Vec::new(),
        ..global.clone()
    })?;
    let from = match from {
        None => Seq(0),
        Some(text) => since(&files, text)?.ok_or_else(|| {
            let message = format!("--since: `{text}` is no sequence of an event and no time");
            Failure::Usage(message)
        })?,
    };
    let found = simulate(files.reader(), (name, &set), (from, files.head()));
    let found = found.map_err(|error| {
        match matches!(
            error,
            SimulateError::Setting { .. } | SimulateError::Contradiction { .. }
        ) {
            true => Failure::Usage(format!("--set: {error}")),
            false => error.into(),
        }
    })?;
    super::history::print(output, &found, render::simulation)
}

/// `key=value`, as the simulation takes them.
fn settings(given: &[String]) -> Result<BTreeMap<String, u64>, Failure> {
    let pair = |text: &String| {
        let wrong = || Failure::Usage(format!("--set: `{text}` is not KEY=NUMBER"));
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let key = key.strip_prefix("breakers.").unwrap_or(key);
        Ok((key.to_owned(), value.parse().map_err(|_| wrong())?))
    };
    given.iter().map(pair).collect()
}
