//! `hindcast trace`: traces of requests that a running server keeps.

use clap::Subcommand;
use serde_json::Value;

use super::arguments::Global;
use super::client::Client;
use super::output::{Failure, Output};

#[derive(Debug, Subcommand)]
pub(crate) enum Trace {
    /// Show the last requests that were slow or failed, with what each of them spent its time on.
    #[command(after_help = "Examples:\n  hindcast trace slow\n  \
        hindcast trace slow --at-least-ms 5000 --limit 3 --server http://127.0.0.1:8080\n  \
        hindcast trace slow --failed --json")]
    Slow {
        /// Only those that took so long, in milliseconds.
        #[arg(long, value_name = "MS", default_value_t = 0)]
        at_least_ms: u64,
        /// Only those in which something failed.
        #[arg(long)]
        failed: bool,
        /// How many.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=500))]
        limit: u64,
    },
}

pub(crate) fn run(global: &Global, verb: &Trace, output: &Output) -> Result<(), Failure> {
    let Trace::Slow {
        at_least_ms,
        failed,
        limit,
    } = verb;
    let url = match &global.server {
        Some(url) => url.clone(),
        None => format!("http://{}", global.configuration()?.server.listen),
    };
    let path = format!("/debug/traces?slow={at_least_ms}&failed={failed}&limit={limit}");
    let reply = Client::new(&url)?.get(&path);
    let reply = reply.map_err(|failure| failure.blaming(&["query"]))?;
    let found = reply.value()?;
    output.either(&found.to_string(), || Ok(text(&found)))
}

fn text(found: &Value) -> String {
    let items = found["items"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines = Vec::new();
    for trace in items {
        let word = |name: &str| trace[name].as_str().unwrap_or("?");
        let failed = if trace["failed"] == true {
            "  failed"
        } else {
            ""
        };
        lines.push(format!(
            "{}  {}  {} ms{failed}",
            word("at"),
            word("trace_id"),
            trace["duration_ms"]
        ));
        for span in trace["spans"].as_array().into_iter().flatten() {
            let attributes = span["attributes"].as_object().into_iter().flatten();
            let facts: Vec<String> = attributes
                .map(|(name, value)| {
                    format!(
                        "{name}={}",
                        value.as_str().map_or(value.to_string(), str::to_owned)
                    )
                })
                .collect();
            let error = span["error"]
                .as_str()
                .map(|error| format!("  error: {error}"));
            lines.push(format!(
                "  {:>10.3} ms after {:>10.3} ms  {:<14} {}{}",
                span["duration_ms"].as_f64().unwrap_or_default(),
                span["offset_ms"].as_f64().unwrap_or_default(),
                span["name"].as_str().unwrap_or("?"),
                facts.join(" "),
                error.unwrap_or_default()
            ));
        }
    }
    if lines.is_empty() {
        lines.push("no slow or failed request is kept".to_owned());
    }
    lines.join("\n")
}
