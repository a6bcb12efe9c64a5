//! `hindcast whatif`. Without a server the files of the data directory are read, without taking its
//! lock, and nothing is written: then it is not recorded either that this was asked.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use hindcast_actors::whatif::{
    ClockEdit, Edit, Injection, OutcomeSpec, WhatIfFailure, WhatIfRequest,
};
use serde_json::Value;

use super::arguments::Global;
use super::client::{self, Client};
use super::history::{self, Files};
use super::output::{Failure, Output, note};
use crate::clock::SystemClock;
use crate::startup::numeric_profile;
use crate::whatif::{bounds, means};

/// What is to be otherwise.
#[derive(Debug, Args)]
#[command(
    after_help = "FILE holds an event as `hindcast events show SEQ --json` prints it: its `type` \
    and `data`. What\nfollows from the rest, such as hashes, is filled in.\n\n\
    Examples:\n  hindcast whatif --at 5 --drop 5\n  \
    hindcast whatif --at 5 --setting runs.in_flight_max=1 --json\n  \
    hindcast whatif --at 5 --replace 5=event.json --inject 8=event.json\n  \
    hindcast whatif --at 5 --minimise run_refused@run/ID\n  \
    hindcast whatif --at 5 --setting runs.in_flight_max=9 --point-of-no-return 12"
)]
pub(crate) struct WhatIf {
    /// The observed event before which the history is forked.
    #[arg(long, value_name = "SEQ")]
    at: u64,
    /// The last event to replay; the end of the log if left out.
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// This observed event does not happen, nor what it caused; may be repeated.
    #[arg(long, value_name = "SEQ")]
    drop: Vec<u64>,
    /// Something else happens in its place; may be repeated.
    #[arg(long, value_name = "SEQ=FILE")]
    replace: Vec<String>,
    /// This happens as well, after an event; may be repeated.
    #[arg(long, value_name = "AFTER=FILE")]
    inject: Vec<String>,
    /// A key of the server's configuration has another value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    setting: Vec<String>,
    /// Seed of everything that is drawn.
    #[arg(long)]
    seed: Option<u64>,
    /// Everything happens later by this span, such as 5m, or earlier, such as -90s.
    #[arg(long, value_name = "SPAN", allow_hyphen_values = true)]
    clock_shift: Option<String>,
    /// Find the smallest set of events that still brings this: a sequence, an event's id, or
    /// TYPE@STREAM.
    #[arg(long, value_name = "EVENT")]
    minimise: Option<String>,
    /// Find the last place at which the edits would still prevent this.
    #[arg(long, value_name = "EVENT")]
    point_of_no_return: Option<String>,
    /// How many differences of each kind are listed.
    #[arg(long)]
    limit: Option<u32>,
}

/// The two sides of `NAME=VALUE`.
fn pair<'t>(flag: &str, text: &'t str) -> Result<(&'t str, &'t str), Failure> {
    let sides = text.split_once('=');
    sides.ok_or_else(|| Failure::Usage(format!("{flag}: `{text}` has no `=`")))
}

fn seq(flag: &str, text: &str) -> Result<u64, Failure> {
    let seq = text.parse();
    seq.map_err(|_| Failure::Usage(format!("{flag}: `{text}` is no sequence")))
}

fn event(path: &str) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(Path::new(path))
        .map_err(|error| Failure::failed(format!("{path}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| Failure::failed(format!("{path}: {error}")))
}

fn outcome(text: &Option<String>) -> Option<OutcomeSpec> {
    // A text of any form names something.
    text.as_ref().and_then(|text| text.parse().ok())
}

impl WhatIf {
    fn request(&self) -> Result<WhatIfRequest, Failure> {
        let mut edits: Vec<Edit> = self
            .drop
            .iter()
            .map(|seq| Edit {
                drop: Some(*seq),
                ..Edit::default()
            })
            .collect();
        for text in &self.replace {
            let (of, file) = pair("--replace", text)?;
            edits.push(Edit {
                replace: Some(seq("--replace", of)?),
                event: Some(event(file)?),
                ..Edit::default()
            });
        }
        for text in &self.inject {
            let (after, file) = pair("--inject", text)?;
            let (after, event) = (seq("--inject", after)?, event(file)?);
            edits.push(Edit {
                inject: Some(Injection { after, event }),
                ..Edit::default()
            });
        }
        let mut keys = BTreeMap::new();
        for text in &self.setting {
            let (key, value) = pair("--setting", text)?;
            // What is no JSON is no number either, and is refused by its key.
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            keys.insert(key.to_owned(), value);
        }
        edits.extend((!keys.is_empty()).then(|| Edit {
            config: Some(keys),
            ..Edit::default()
        }));
        edits.extend(self.seed.map(|seed| Edit {
            seed: Some(seed),
            ..Edit::default()
        }));
        edits.extend(self.clock_shift.clone().map(|shift| Edit {
            clock: Some(ClockEdit {
                shift: Some(shift),
                shift_ms: None,
            }),
            ..Edit::default()
        }));
        Ok(WhatIfRequest {
            at: self.at,
            edits,
            to: self.to,
            limit: self.limit,
            minimise: outcome(&self.minimise),
            point_of_no_return: outcome(&self.point_of_no_return),
        })
    }
}

fn failed(failure: WhatIfFailure) -> Failure {
    let message = failure.to_string();
    match failure {
        WhatIfFailure::Bad {
            field, hint, limit, ..
        } => Failure::Misused {
            message: match limit {
                Some(limit) => format!("{message} (limit {limit})"),
                None => message,
            },
            field: Some(field),
            hint,
        },
        WhatIfFailure::TooLong { .. } => Failure::failed(message).with_hint(Some(
            "fork later, end earlier, or --set whatif.time_ms_max".to_owned(),
        )),
        WhatIfFailure::History(error) => history::failed(error),
    }
}

pub(crate) fn run(global: &Global, options: &WhatIf, output: &Output) -> Result<(), Failure> {
    let request = options.request()?;
    if let Some(url) = &global.server {
        let body = serde_json::to_vec(&request)?;
        let reply = Client::to(url, global)?.post("/api/v1/whatif", "application/json", &body)?;
        return client::print(output, &reply, report);
    }
    let config = global.configuration()?;
    let files = Files::open(global)?;
    let prepared = request.prepare(&files).map_err(failed)?;
    let profile = numeric_profile();
    let bounds = bounds(&config.whatif, &SystemClock, &|| false);
    let found = prepared
        .answer(&files, (means(&profile), bounds))
        .map_err(failed)?;
    note("the files were only read: that this was asked is recorded by a server alone");
    history::print(output, &found, report)
}

/// The answer for people.
fn report(found: &Value) -> String {
    let mut out = Vec::new();
    let (at, to, events) = (&found["at"], &found["to"], &found["events"]);
    out.push(format!(
        "forked before sequence {at}, replayed to {to}: {events} events, with and without the edits"
    ));
    match found["divergence"].as_u64() {
        None => out.push("nothing would have been otherwise".to_owned()),
        Some(first) => out.push(format!("first difference at sequence {first}")),
    }
    for (sign, name, side) in [
        ("-", "vanished", "baseline"),
        ("+", "appeared", "fork"),
        ("~", "changed", "fork"),
    ] {
        differences(found, (sign, name, side), &mut out);
    }
    runs(found, &mut out);
    operations(found, &mut out);
    notes(found, &mut out);
    searches(found, &mut out);
    out.join("\n")
}

fn differences(found: &Value, (sign, name, side): (&str, &str, &str), out: &mut Vec<String>) {
    let list = &found[name];
    let total = list["total"].as_u64().unwrap_or(0);
    if total == 0 {
        return;
    }
    let types = list["types"].as_object().into_iter().flatten();
    let types: Vec<String> = types
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    out.push(format!("{name}: {total} ({})", types.join(", ")));
    let first = list["first"].as_array().map_or(&[][..], Vec::as_slice);
    for difference in first {
        let event = &difference[side];
        let (kind, stream) = (word(&event["type"]), word(&event["stream"]));
        let was = match difference["baseline"]["type"].as_str() {
            Some(was) if name == "changed" && was != kind => format!(" instead of {was}"),
            _ => String::new(),
        };
        let basis = match word(&difference["basis"]) {
            "exact" => String::new(),
            basis => format!("  [{basis}]"),
        };
        let position = &difference["position"];
        out.push(format!("  {sign} {position}  {kind}{was}  {stream}{basis}"));
    }
    if (first.len() as u64) < total {
        out.push(format!("  ... {} more", total - first.len() as u64));
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn ended(end: &Value) -> String {
    let Some(status) = end["status"].as_str() else {
        return "nothing".to_owned();
    };
    let latency = end["latency_ms"].as_f64();
    let latency = latency.map(|ms| format!(" after {ms} ms"));
    let reason = end["reason"].as_str().map(|reason| format!(" ({reason})"));
    format!(
        "{status}{}{}",
        latency.unwrap_or_default(),
        reason.unwrap_or_default()
    )
}

fn runs(found: &Value, out: &mut Vec<String>) {
    let total = found["runs"]["total"].as_u64().unwrap_or(0);
    if total == 0 {
        return;
    }
    out.push(format!("runs that would have ended otherwise: {total}"));
    for run in found["runs"]["first"].as_array().into_iter().flatten() {
        let (id, operation) = (
            word(&run["run_id"]),
            run["operation"].as_str().unwrap_or(""),
        );
        let (was, is) = (ended(&run["baseline"]), ended(&run["fork"]));
        out.push(format!("  {id} {operation}: {is} instead of {was}"));
    }
}

fn operations(found: &Value, out: &mut Vec<String>) {
    for both in found["operations"].as_array().into_iter().flatten() {
        let (was, is) = (&both["baseline"], &both["fork"]);
        if was == is {
            continue;
        }
        let counts = |side: &Value| {
            let names = ["requested", "completed", "failed", "cancelled", "refused"];
            let parts = names.map(|name| format!("{} {name}", side[name]));
            let p95 = side["computed_ms"]["p95"].as_f64();
            let p95 = p95.map_or(String::new(), |ms| format!(", p95 {ms} ms"));
            format!("{}{p95}", parts.join(", "))
        };
        let operation = word(&both["operation"]);
        out.push(format!("{operation}: {}", counts(is)));
        out.push(format!("  instead of: {}", counts(was)));
    }
}

fn notes(found: &Value, out: &mut Vec<String>) {
    for (name, what) in [
        (
            "recomputed",
            "outcomes were computed again; only when they came is drawn",
        ),
        (
            "modelled",
            "outcomes are drawn from recorded ones: their results are not known",
        ),
        ("over_limit", "outcomes were over the limit of computations"),
        (
            "unresolved",
            "runs stay open: they cannot be computed, and nothing is recorded to draw from",
        ),
        ("unreadable_experiments", "experiments cannot be read"),
    ] {
        let count = found["basis"][name].as_u64().unwrap_or(0);
        if count > 0 {
            out.push(format!("note: {count} {what}"));
        }
    }
    if let Some(first) = found["baseline_drift"]["first_seq"].as_u64() {
        let events = &found["baseline_drift"]["events"];
        out.push(format!(
            "note: without any edit this version decides otherwise than is recorded, about {events} events from sequence {first} on"
        ));
    }
}

fn searches(found: &Value, out: &mut Vec<String>) {
    if let Some(minimal) = found.get("minimal") {
        let (outcome, events) = (&minimal["outcome"], &minimal["events"]);
        out.push(format!(
            "sequence {outcome} needs no more than {events}, and each of these"
        ));
        out.push(format!(
            "  without any of {} alone it does not happen",
            minimal["but_for"]
        ));
        if minimal["complete"] == false {
            out.push("note: the search was cut off, so that the set may be too large".to_owned());
        }
    }
    if let Some(point) = found.get("point_of_no_return") {
        let outcome = &point["outcome"];
        out.push(match point["last"].as_u64() {
            Some(last) => {
                format!("the edits prevent sequence {outcome} up to before sequence {last}")
            }
            None => format!("the edits do not prevent sequence {outcome}"),
        });
        if point["exceptions"]
            .as_array()
            .is_some_and(|places| !places.is_empty())
        {
            out.push(format!(
                "note: that is not so before {}",
                point["exceptions"]
            ));
        }
    }
}
