//! Circuit breakers and services as text.

use serde_json::Value;

use super::{line, list, names, number, text};

fn rate(value: &Value, path: &str) -> String {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1} %"))
}

/// Breakers, one a line.
pub(crate) fn breakers(page: &Value) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{:<26}  {:<12}  {:>6}  {:>8}  {:>8}  next probe",
            "name", "state", "calls", "failed", "slow"
        ),
    );
    for item in list(page, "/items") {
        line(
            &mut out,
            &format!(
                "{:<26}  {:<12}  {:>6}  {:>8}  {:>8}  {}",
                text(item, "/name"),
                text(item, "/state"),
                number(item, "/calls"),
                rate(item, "/failure_rate_percent"),
                rate(item, "/slow_rate_percent"),
                item["next_probe_at"].as_str().unwrap_or("-"),
            ),
        );
    }
    out.trim_end().to_owned()
}

/// One breaker.
pub(crate) fn breaker(item: &Value) -> String {
    let mut out = String::new();
    let (name, state) = (text(item, "/name"), text(item, "/state"));
    line(&mut out, &format!("{name} is {state}"));
    line(
        &mut out,
        &format!(
            "calls      {} looked at, {} failed, {} slow, {} failed in a row",
            number(item, "/calls"),
            number(item, "/failures"),
            number(item, "/slow"),
            number(item, "/consecutive_failures"),
        ),
    );
    line(
        &mut out,
        &format!(
            "in all     {} succeeded, {} failed, {} slow, {} refused, {} ignored; opened {} times",
            number(item, "/totals/success"),
            number(item, "/totals/failure"),
            number(item, "/totals/slow"),
            number(item, "/totals/rejected"),
            number(item, "/totals/ignored"),
            number(item, "/openings"),
        ),
    );
    if item["last_failure"].is_object() {
        let (at, code) = (
            text(item, "/last_failure/at"),
            text(item, "/last_failure/code"),
        );
        line(&mut out, &format!("last       {code} at {at}"));
    }
    if let Some(at) = item["next_probe_at"].as_str() {
        line(&mut out, &format!("next probe {at}"));
    }
    if item["forced"].is_object() {
        let until = item["forced"]["until"]
            .as_str()
            .unwrap_or("somebody says otherwise");
        let (by, reason) = (text(item, "/forced/by"), text(item, "/forced/reason"));
        let reason = match reason {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        line(
            &mut out,
            &format!("held       by {by} until {until}{reason}"),
        );
    }
    let fallbacks = names(item, "/fallbacks");
    if !fallbacks.is_empty() {
        line(&mut out, &format!("instead    {fallbacks}"));
    }
    let settings = item["settings"].as_object().into_iter().flatten();
    let settings: Vec<String> = settings
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    line(&mut out, &format!("settings   {}", settings.join(" ")));
    out.trim_end().to_owned()
}

/// The changes of a breaker, one a line.
pub(crate) fn breaker_history(page: &Value) -> String {
    let mut out = String::new();
    for item in list(page, "/items") {
        let by = match item["by"].as_str() {
            Some(by) => format!(" (by {by}: {})", text(item, "/reason")),
            None => String::new(),
        };
        line(
            &mut out,
            &format!(
                "{:>8}  {}  {} -> {}  {}{by}",
                number(item, "/sequence"),
                text(item, "/at"),
                text(item, "/from"),
                text(item, "/to"),
                text(item, "/detail"),
            ),
        );
    }
    match out.is_empty() {
        true => format!("{} never changed", text(page, "/name")),
        false => out.trim_end().to_owned(),
    }
}

/// Services, one a line.
pub(crate) fn services(page: &Value) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{:<26}  {:<8}  {:>8}  {:>9}  {:<6}  reason",
            "service", "status", "success", "fallbacks", "action"
        ),
    );
    for item in list(page, "/services") {
        let action = match item["action_needed"].as_bool() {
            Some(true) => "needed",
            Some(false) | None => "-",
        };
        line(
            &mut out,
            &format!(
                "{:<26}  {:<8}  {:>8}  {:>9}  {action:<6}  {}",
                text(item, "/service"),
                text(item, "/status"),
                rate(item, "/success_rate_percent"),
                number(item, "/fallbacks"),
                text(item, "/reason"),
            ),
        );
    }
    out.trim_end().to_owned()
}

/// One service.
pub(crate) fn service(item: &Value) -> String {
    let mut out = String::new();
    let (name, status) = (text(item, "/service"), text(item, "/status"));
    line(
        &mut out,
        &format!("{name} is {status}: {}", text(item, "/reason")),
    );
    if item["last_error"].is_object() {
        let (at, code) = (text(item, "/last_error/at"), text(item, "/last_error/code"));
        line(&mut out, &format!("last error {code} at {at}"));
    }
    line(
        &mut out,
        &format!(
            "fallbacks  {} in all, {} in the last minute",
            number(item, "/fallbacks"),
            number(item, "/fallbacks_last_minute"),
        ),
    );
    out.trim_end().to_owned()
}

/// Two histories of a breaker, side by side.
pub(crate) fn simulation(found: &Value) -> String {
    let mut out = String::new();
    let set = found["set"].as_object().into_iter().flatten();
    let set: Vec<String> = set.map(|(key, value)| format!("{key}={value}")).collect();
    line(
        &mut out,
        &format!(
            "{} over events {} to {}, with {}",
            text(found, "/name"),
            number(found, "/from_sequence"),
            number(found, "/to_sequence"),
            match set.is_empty() {
                true => "nothing changed".to_owned(),
                false => set.join(" "),
            },
        ),
    );
    line(
        &mut out,
        &format!("{:<10}  {:>12}  {:>12}", "", "as it was", "otherwise"),
    );
    for (name, field) in [
        ("openings", "openings"),
        ("calls", "calls"),
        ("refused", "rejected"),
        ("unknown", "unknown"),
    ] {
        let of = |side: &str| number(found, &format!("/{side}/{field}"));
        line(
            &mut out,
            &format!("{name:<10}  {:>12}  {:>12}", of("own"), of("other")),
        );
    }
    for (title, side) in [("as it was", "own"), ("otherwise", "other")] {
        line(&mut out, &format!("{title}:"));
        for item in list(found, &format!("/{side}/transitions")) {
            line(
                &mut out,
                &format!(
                    "  {}  {} -> {}  {}",
                    text(item, "/at"),
                    text(item, "/from"),
                    text(item, "/to"),
                    text(item, "/detail"),
                ),
            );
        }
    }
    let agrees = found["agrees"].as_bool() == Some(true);
    line(
        &mut out,
        match agrees {
            true => "the settings that held give what the log holds",
            false => "the settings that held do not give what the log holds: see docs/breakers.md",
        },
    );
    out.trim_end().to_owned()
}
