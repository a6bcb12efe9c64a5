//! Results as text for people. What is shown here is a selection; `--json` has everything.

mod backup;
mod breaker;
mod cache;
mod discovery;
mod slo;
mod validation;

use std::fmt::Write;

use serde_json::Value;

use super::output::Failure;
pub(crate) use backup::{backup, backups, pruned, restore_plan, restored};
pub(crate) use breaker::{breaker, breaker_history, breakers, service, services, simulation};
pub(crate) use cache::{cacheable, cacheable_request, caches, invalidated, warmed};
pub(crate) use discovery::discovery;
pub(crate) use slo::{slo, slo_list, slo_status};
pub(crate) use validation::validation;

/// Text at a path of a document; empty when there is none.
fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

fn number(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(real)) => format!("{real:.4}"),
            (None, None) => number.to_string(),
        },
        _ => "-".to_owned(),
    }
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    let found = value.pointer(path).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

fn names(value: &Value, path: &str) -> String {
    let names: Vec<&str> = list(value, path).iter().filter_map(Value::as_str).collect();
    names.join(", ")
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// The graph of a discovery in one language.
pub(crate) fn graph_text(answer: &Value, format: &str) -> Result<String, Failure> {
    let written = answer.pointer(&format!("/result/formats/{format}"));
    let written = written.and_then(Value::as_str);
    let missing = || Failure::failed(format!("the answer has no graph as {format}"));
    Ok(written.ok_or_else(missing)?.trim_end().to_owned())
}

/// The paths between two nodes.
pub(crate) fn paths(answer: &Value) -> Result<String, Failure> {
    let result = answer
        .get("result")
        .ok_or_else(|| Failure::failed("the answer has no result"))?;
    let mut out = String::new();
    let given = match names(result, "/given").as_str() {
        "" => String::new(),
        given => format!(" given {given}"),
    };
    let verdict = match result["separated"].as_bool() {
        Some(true) => "separated",
        _ => "connected",
    };
    let (from, to) = (text(result, "/treatment"), text(result, "/outcome"));
    line(&mut out, &format!("{from} and {to} are {verdict}{given}"));
    let at_least = match result.pointer("/count/exact").and_then(Value::as_bool) {
        Some(true) => "",
        _ => "at least ",
    };
    let (count, kind) = (text(result, "/count/value"), text(result, "/kind"));
    line(
        &mut out,
        &format!("{at_least}{count} paths ({})", kind.replace('_', "-")),
    );
    for (title, path) in [("shortest: ", "/shortest"), ("", "/paths")] {
        for shown in list(result, path) {
            line(
                &mut out,
                &format!("  {title}{}{}", text(shown, "/text"), why(shown)),
            );
        }
    }
    if !text(result, "/next_cursor").is_empty() {
        let cursor = text(result, "/next_cursor");
        line(&mut out, &format!("there are more: --cursor {cursor}"));
    }
    for warning in list(result, "/warnings") {
        let warning = warning.as_str().unwrap_or("");
        line(&mut out, &format!("note: {warning}"));
    }
    line(&mut out, &foot(answer));
    Ok(out.trim_end().to_owned())
}

/// What opens or blocks a path.
fn why(path: &Value) -> String {
    if path["open"] == true {
        return "  (open)".to_owned();
    }
    let blocking = list(path, "/blocked_by").iter();
    let blocking: Vec<&str> = blocking.map(|node| text(node, "/node")).collect();
    format!("  (blocked at {})", blocking.join(", "))
}

fn foot(answer: &Value) -> String {
    let run = match text(answer, "/run_id") {
        "" => String::new(),
        run => format!(", run {run}"),
    };
    let computed = answer
        .pointer("/durations/computed_ms")
        .and_then(Value::as_f64);
    format!("computed in {:.1} ms{run}", computed.unwrap_or(0.0))
}

/// A table: rows, columns, and what is remarkable about them.
pub(crate) fn dataset(value: &Value) -> String {
    let mut out = String::new();
    if !text(value, "/digest").is_empty() {
        line(
            &mut out,
            &format!("{} {}", text(value, "/name"), text(value, "/digest")),
        );
    }
    line(
        &mut out,
        &format!(
            "{} rows, {} of them complete, {} columns",
            number(value, "/profile/rows"),
            number(value, "/profile/rows_complete"),
            list(value, "/profile/columns").len(),
        ),
    );
    for column in list(value, "/profile/columns") {
        let constant = match column["constant"].as_bool() {
            Some(true) => "  constant",
            _ => "",
        };
        line(
            &mut out,
            &format!(
                "  {:<16} {:<9} missing {:<6} min {:<10} mean {:<10} max {:<10} sd {}{constant}",
                text(column, "/name"),
                text(column, "/type"),
                number(column, "/missing"),
                number(column, "/min"),
                number(column, "/mean"),
                number(column, "/max"),
                number(column, "/sd"),
            ),
        );
    }
    for group in list(value, "/profile/duplicates") {
        line(&mut out, &format!("the same content: {}", names(group, "")));
    }
    out.trim_end().to_owned()
}

/// What is stored.
pub(crate) fn datasets(value: &Value) -> String {
    let mut out = String::new();
    for dataset in list(value, "/items") {
        let size = format!(
            "{} x {}",
            number(dataset, "/rows"),
            number(dataset, "/columns")
        );
        let (digest, name) = (text(dataset, "/digest"), text(dataset, "/name"));
        line(&mut out, &format!("{digest}  {size:>12}  {name}"));
    }
    match out.as_str() {
        "" => "nothing is stored".to_owned(),
        out => out.trim_end().to_owned(),
    }
}

/// One experiment.
pub(crate) fn experiment(value: &Value) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{} {} ({})",
            text(value, "/experiment_id"),
            text(value, "/name"),
            text(value, "/status"),
        ),
    );
    line(&mut out, &format!("  {}", tally(value, "/tally")));
    for run in list(value, "/runs") {
        line(&mut out, &format!("  run {}", run.as_str().unwrap_or("")));
    }
    out.trim_end().to_owned()
}

fn tally(value: &Value, path: &str) -> String {
    let mut out = String::new();
    for name in [
        "completed",
        "failed",
        "cancelled",
        "refused",
        "deduplicated",
    ] {
        let count = number(value, &format!("{path}/{name}"));
        if !matches!(count.as_str(), "0" | "-") {
            let comma = if out.is_empty() { "" } else { ", " };
            write!(out, "{comma}{count} {name}").expect("text takes any line");
        }
    }
    match out.as_str() {
        "" => "nothing has ended".to_owned(),
        _ => out,
    }
}

/// Many experiments.
pub(crate) fn experiments(value: &Value) -> String {
    let mut out = String::new();
    for item in list(value, "/items") {
        line(
            &mut out,
            &format!(
                "{}  {:<12} {:>4} runs  {}",
                text(item, "/experiment_id"),
                text(item, "/status"),
                number(item, "/runs"),
                text(item, "/name"),
            ),
        );
    }
    match out.as_str() {
        "" => "there is no experiment".to_owned(),
        out => out.trim_end().to_owned(),
    }
}

/// Which runs were withdrawn.
pub(crate) fn cancelled(value: &Value) -> String {
    let runs = list(value, "/cancelled").len();
    format!(
        "{runs} runs withdrawn from {}",
        text(value, "/experiment_id")
    )
}

/// Totals.
pub(crate) fn stats(value: &Value) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{} events, {} datasets, {} experiments, {} runs in flight",
            number(value, "/seq"),
            number(value, "/datasets"),
            number(value, "/experiments_total"),
            number(value, "/runs_in_flight"),
        ),
    );
    let operations = value.get("operations").and_then(Value::as_object);
    for (name, totals) in operations.into_iter().flatten() {
        line(
            &mut out,
            &format!(
                "  {name}: {} requested; {}; {} ms on average",
                number(totals, "/requested"),
                tally(totals, ""),
                number(totals, "/computed_ms_mean"),
            ),
        );
    }
    out.trim_end().to_owned()
}

/// One event on one line.
pub(crate) fn event(value: &Value) -> String {
    let seen = if value["observed"].as_bool() == Some(true) {
        "<"
    } else {
        ">"
    };
    format!(
        "{:>8} {} {seen} {:<22} {}",
        number(value, "/seq"),
        text(value, "/at"),
        text(value, "/type"),
        text(value, "/stream"),
    )
}

/// A state of the past: where it stands, then the state.
pub(crate) fn state(found: &Value) -> String {
    let from = match found["from_snapshot"].as_u64() {
        Some(seq) => format!("the snapshot at {seq}"),
        None => "the beginning".to_owned(),
    };
    let mut out = format!(
        "{} at sequence {}, {}\nstate {} ({} events folded from {from})\n",
        text(found, "/stream"),
        number(found, "/at_seq"),
        text(found, "/at"),
        text(found, "/state_hash"),
        number(found, "/folded_events"),
    );
    line(&mut out, &format!("{:#}", found["state"]));
    if let Some(omitted) = found["omitted"].as_object() {
        for (path, count) in omitted {
            line(&mut out, &format!("note: {count} more entries of {path}"));
        }
    }
    out.trim_end().to_owned()
}

/// What changed: one line for each fact, then the events between.
pub(crate) fn difference(found: &Value) -> String {
    let mut out = format!(
        "{} from sequence {} to {}\n",
        text(found, "/stream"),
        number(found, "/from/seq"),
        number(found, "/to/seq"),
    );
    for (sign, name) in [("+", "/added"), ("-", "/removed")] {
        for fact in list(found, name) {
            let path = text(fact, "/path");
            line(&mut out, &format!("{sign} {path}  {}", fact["value"]));
        }
    }
    for change in list(found, "/changed") {
        let (path, before, after) = (text(change, "/path"), &change["before"], &change["after"]);
        line(&mut out, &format!("~ {path}  {before} -> {after}"));
    }
    match found["omitted"].as_u64() {
        None | Some(0) => {}
        Some(omitted) => line(&mut out, &format!("note: {omitted} more entries differ")),
    }
    let types = found["events"]["types"].as_object();
    let types: Vec<String> = types
        .into_iter()
        .flatten()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let count = number(found, "/events/count");
    line(
        &mut out,
        &format!("{count} events between: {}", types.join(", ")),
    );
    out.trim_end().to_owned()
}

/// What led to what: the nodes, then the edges.
pub(crate) fn provenance(found: &Value) -> String {
    let mut out = format!("{}\n", text(found, "/id"));
    for node in list(found, "/nodes") {
        let facts = node["facts"].as_object().into_iter().flatten();
        let facts: Vec<String> = facts
            .filter(|(name, _)| !matches!(name.as_str(), "event_id" | "causation" | "correlation"))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        line(
            &mut out,
            &format!("  {}  {}", text(node, "/id"), facts.join(" ")),
        );
    }
    for edge in list(found, "/edges") {
        let (from, to) = (text(edge, "/from"), text(edge, "/to"));
        let relation = text(edge, "/relation").replace('_', " ");
        line(&mut out, &format!("{from} is the {relation} of {to}"));
    }
    if let Some(forward) = found.get("forward") {
        let (from, to) = (number(forward, "/from_seq"), number(forward, "/to_seq"));
        let runs = number(forward, "/found");
        line(
            &mut out,
            &format!("{runs} runs followed in events {from} to {to}"),
        );
        if let Some(next) = forward["next"].as_u64() {
            line(
                &mut out,
                &format!("note: the log goes on; --after {next} reads on"),
            );
        }
    }
    out.trim_end().to_owned()
}
