//! `hindcast top`: a live view of a running server, from its metrics, its actors and its circuit
//! breakers. Rates are what counters grew by between two looks.

mod text;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::arguments::Global;
use super::client::Client;
use super::connection::pause;
use super::load::span;
use super::output::{Failure, Output};
use super::target;
use crate::clock;
use crate::metrics::read::Scrape;
use view::{Page, View};

/// The longest time between two looks.
const INTERVAL_MAX: Duration = Duration::from_secs(3_600);
/// Clears the terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// How a server is looked at.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Time between two looks, such as 2s or 500ms.
    #[arg(long, value_name = "SPAN", default_value = "2s")]
    interval: String,
    /// Print one view and end; it takes one interval.
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(global: &Global, options: &Options, output: &Output) -> Result<(), Failure> {
    let interval = span("--interval", &options.interval, INTERVAL_MAX)?;
    let url = target::url(global)?;
    let client = Client::to(&url, global)?;
    let clears = !options.once && !output.json && std::io::stdout().is_terminal();
    let mut before = look(&client)?;
    loop {
        pause(interval);
        let now = look(&client)?;
        let view = View::between(&before, &now);
        match output.json {
            true => output.value(&view)?,
            false => {
                let text = text::of(&view, &url);
                let text = match clears {
                    true => format!("{CLEAR}{text}"),
                    false => text,
                };
                output.text(&text)?;
            }
        }
        if options.once {
            return Ok(());
        }
        if !output.json && !clears {
            output.text("")?;
        }
        before = now;
    }
}

fn look(client: &Client) -> Result<Page, Failure> {
    let metrics = client.get("/metrics")?;
    let at_micros = clock::monotonic_micros();
    Ok(Page {
        at_micros,
        wall_micros: clock::wall().0,
        metrics: Scrape::parse(&metrics.body, |_| true),
        actors: list(client, "/debug/actors", "actors")?,
        breakers: list(client, "/health/circuit-breakers", "items")?,
    })
}

fn list(client: &Client, path: &str, name: &str) -> Result<Vec<Value>, Failure> {
    let mut found = client.get(path)?.value()?;
    let items = found[name].as_array_mut().map(std::mem::take);
    Ok(items.unwrap_or_default())
}
