//! `hindcast top`: a live view of a running server, from its metrics, its actors and its circuit
//! breakers. Rates are what counters grew by between two looks.

mod slow;
mod text;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::arguments::Global;
use super::client::Client;
use super::connection::pause;
use super::load::span;
use super::output::{Failure, Output};
use super::target;
use crate::clock;
use crate::metrics::read::Scrape;
pub(crate) use slow::By;
use slow::Slow;
use view::{Page, View};

/// The longest time between two looks.
const INTERVAL_MAX: Duration = Duration::from_secs(3_600);
/// Clears the terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Time between two looks, when nothing else is said.
const INTERVAL: &str = "2s";

/// What is looked at in place of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The routes that take the time, once: since the server began, or over --interval.
    Slow,
}

/// How a server is looked at.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What is looked at in place of everything.
    #[arg(value_enum)]
    what: Option<What>,
    /// What the slowest routes are the slowest by.
    #[arg(long, value_enum, default_value_t = By::P95)]
    by: By,
    /// Time between two looks, such as 500ms; 2s if left out.
    #[arg(long, value_name = "SPAN")]
    interval: Option<String>,
    /// Print one view and end; it takes one interval.
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(global: &Global, options: &Options, output: &Output) -> Result<(), Failure> {
    let given = options.interval.as_deref();
    let interval = span("--interval", given.unwrap_or(INTERVAL), INTERVAL_MAX)?;
    let url = target::url(global)?;
    let client = Client::to(&url, global)?;
    if options.what == Some(What::Slow) {
        return slowest(&client, (options.by, given.map(|_| interval)), output);
    }
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

/// The routes that take the time: since the server began, or over an interval.
fn slowest(
    client: &Client,
    (by, interval): (By, Option<Duration>),
    output: &Output,
) -> Result<(), Failure> {
    let before = match interval {
        None => None,
        Some(interval) => {
            let page = scrape(client)?;
            pause(interval);
            Some(page)
        }
    };
    let (now, at_micros) = scrape(client)?;
    let before = before.as_ref().map(|(page, then)| {
        let micros = at_micros.saturating_sub(*then);
        (page, micros as f64 / 1e6)
    });
    let found = Slow::between(before, &now, by);
    match output.json {
        true => output.value(&found),
        false => output.text(&found.text()),
    }
}

fn look(client: &Client) -> Result<Page, Failure> {
    let (metrics, at_micros) = scrape(client)?;
    Ok(Page {
        at_micros,
        wall_micros: clock::wall().0,
        metrics,
        actors: list(client, "/debug/actors", "actors")?,
        breakers: list(client, "/health/circuit-breakers", "items")?,
    })
}

/// The metrics, and when they were read.
fn scrape(client: &Client) -> Result<(Scrape, u64), Failure> {
    let page = client.get("/metrics")?;
    let at_micros = clock::monotonic_micros();
    Ok((Scrape::parse(&page.body, |_| true), at_micros))
}

fn list(client: &Client, path: &str, name: &str) -> Result<Vec<Value>, Failure> {
    let mut found = client.get(path)?.value()?;
    let items = found[name].as_array_mut().map(std::mem::take);
    Ok(items.unwrap_or_default())
}
