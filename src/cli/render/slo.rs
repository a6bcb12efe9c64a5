//! Service level objectives as text.

use serde_json::Value;

use super::{line, list, number, text};

fn percent(value: &Value, path: &str, decimals: usize) -> String {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.map_or_else(
        || "no data".to_owned(),
        |share| format!("{:.decimals$} %", share * 100.0),
    )
}

fn rate(burn: &Value) -> String {
    let found = burn["rate"].as_f64();
    let rate = found.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let counted = burn["counted_seconds"].as_f64().unwrap_or_default();
    format!("{} {rate} ({counted:.0} s counted)", text(burn, "/window"))
}

fn standing(item: &Value) -> &'static str {
    match (&item["frozen"], &item["met"]) {
        (Value::Bool(true), _) => "frozen",
        (_, Value::Bool(false)) => "missed",
        (_, Value::Bool(true)) if !list(item, "/burning").is_empty() => "burning",
        (_, Value::Bool(true)) => "met",
        (_, _) => "no data",
    }
}

/// Budgets, one a line, and why any is frozen.
pub(crate) fn slo_status(page: &Value) -> String {
    let mut out = String::new();
    let items = list(page, "/items");
    if items.is_empty() {
        return "no objectives are configured: see [slo]".to_owned();
    }
    line(
        &mut out,
        &format!(
            "{:<16} {:<8} {:>8} {:>6} {:>10} {:>12} {:>8}  burn",
            "name", "state", "target", "window", "measured", "budget left", "covered"
        ),
    );
    for item in items {
        let burn: Vec<String> = list(item, "/burn").iter().map(rate).collect();
        line(
            &mut out,
            &format!(
                "{:<16} {:<8} {:>8} {:>6} {:>10} {:>12} {:>8}  {}",
                text(item, "/name"),
                standing(item),
                percent(item, "/target", 2),
                text(item, "/window"),
                percent(item, "/sli", 3),
                percent(item, "/budget/remaining_ratio", 1),
                percent(item, "/covered", 0),
                burn.join(", "),
            ),
        );
    }
    for reason in list(page, "/reasons") {
        line(&mut out, reason.as_str().unwrap_or(""));
    }
    out.trim_end().to_owned()
}

/// Objectives, one a line.
pub(crate) fn slo_list(page: &Value) -> String {
    let mut out = String::new();
    for item in list(page, "/items") {
        let freezes = if item["freezes"] == true {
            "freezes"
        } else {
            ""
        };
        line(
            &mut out,
            &format!(
                "{:<16} {:>8} {:>5} {freezes:<8} {}",
                text(item, "/name"),
                percent(item, "/target", 2),
                text(item, "/window"),
                text(item, "/measure"),
            ),
        );
    }
    match out.is_empty() {
        true => "no objectives are configured: see [slo]".to_owned(),
        false => out.trim_end().to_owned(),
    }
}

/// One objective.
pub(crate) fn slo(item: &Value) -> String {
    let mut out = String::new();
    let (name, window) = (text(item, "/name"), text(item, "/window"));
    let target = percent(item, "/target", 4);
    line(&mut out, &format!("{name} is {}", standing(item)));
    line(&mut out, &format!("objective  {target} over {window}"));
    line(&mut out, &format!("measure    {}", text(item, "/measure")));
    line(
        &mut out,
        &format!(
            "counted    {} of {} were good ({}), {} of the window was measured",
            number(item, "/good"),
            number(item, "/valid"),
            percent(item, "/sli", 3),
            percent(item, "/covered", 1),
        ),
    );
    line(
        &mut out,
        &format!(
            "budget     {} left: {} of {} events, {} of {} minutes",
            percent(item, "/budget/remaining_ratio", 1),
            tenth(item, "/budget/remaining_events"),
            tenth(item, "/budget/allowed_events"),
            tenth(item, "/budget/remaining_minutes"),
            tenth(item, "/budget/allowed_minutes"),
        ),
    );
    let burn: Vec<String> = list(item, "/burn").iter().map(rate).collect();
    line(&mut out, &format!("burn       {}", burn.join(", ")));
    for burning in list(item, "/burning") {
        line(
            &mut out,
            &format!(
                "burning    {} times or more over {} and {}, since {}",
                number(burning, "/rate"),
                text(burning, "/long"),
                text(burning, "/short"),
                text(burning, "/since"),
            ),
        );
    }
    if item["freeze"].is_object() {
        line(&mut out, text(item, "/freeze/reason"));
    }
    out.trim_end().to_owned()
}

fn tenth(value: &Value, path: &str) -> String {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.map_or_else(|| "-".to_owned(), |number| format!("{number:.1}"))
}
