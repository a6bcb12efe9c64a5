//! What is identified, as text.

use serde_json::Value;

use super::{foot, line, list, names, text};
use crate::cli::output::Failure;

/// A validation: the verdict, the formula, the reasons.
pub(crate) fn validation(answer: &Value) -> Result<String, Failure> {
    let result = answer
        .get("result")
        .ok_or_else(|| Failure::failed("the answer has no result"))?;
    let mut out = String::new();
    let verdict = match result["identifiable"].as_bool() {
        Some(true) => "identifiable",
        _ => "not identifiable",
    };
    let (outcome, treatment) = (names(result, "/outcome"), names(result, "/treatment"));
    let given = names(result, "/given");
    let given = match given.as_str() {
        "" => String::new(),
        given => format!(", {given}"),
    };
    line(
        &mut out,
        &format!("P({outcome} | do({treatment}){given}) is {verdict}"),
    );
    if !text(result, "/estimand_text").is_empty() {
        line(&mut out, &format!("  = {}", text(result, "/estimand_text")));
    }
    for reason in list(result, "/reasons") {
        line(
            &mut out,
            &format!("because {}", reason.as_str().unwrap_or("")),
        );
    }
    for (title, path) in [
        ("adjust for", "/adjustment_sets/sets"),
        ("front door", "/front_door_sets/sets"),
    ] {
        for set in list(result, path) {
            line(&mut out, &format!("{title}: {{{}}}", names(set, "")));
        }
    }
    for found in list(result, "/instruments") {
        let given = conditions(found);
        line(
            &mut out,
            &format!("instrument: {}{given}", text(found, "/instrument")),
        );
    }
    implications(&mut out, list(result, "/implications"));
    for warning in list(result, "/warnings") {
        line(
            &mut out,
            &format!("note: {}", warning.as_str().unwrap_or("")),
        );
    }
    line(&mut out, &foot(answer));
    Ok(out.trim_end().to_owned())
}

/// ` given a, b`, or nothing.
fn conditions(value: &Value) -> String {
    match names(value, "/given").as_str() {
        "" => String::new(),
        given => format!(" given {given}"),
    }
}

/// Independences shown at most; `--json` has all.
const IMPLICATIONS_SHOWN_MAX: usize = 10;
/// An implication whose adjusted p-value is below this is said to be contradicted.
const SIGNIFICANCE: f64 = 0.05;

/// The independences that the graph implies, and what the data say of them: first those that they
/// contradict.
fn implications(out: &mut String, all: &[Value]) {
    let adjusted = |one: &Value| one.pointer("/test/p_adjusted").and_then(Value::as_f64);
    let contradicted = |one: &Value| adjusted(one).is_some_and(|p| p < SIGNIFICANCE);
    let tested = all.iter().filter(|one| adjusted(one).is_some()).count();
    if tested > 0 {
        let against = all.iter().filter(|one| contradicted(one)).count();
        line(
            out,
            &format!("the data contradict {against} of {tested} tested implications of the graph"),
        );
    }
    let mut shown: Vec<&Value> = all.iter().collect();
    shown.sort_by_key(|one| !contradicted(one));
    for one in shown.iter().take(IMPLICATIONS_SHOWN_MAX) {
        let (a, b, given) = (text(one, "/a"), text(one, "/b"), conditions(one));
        let said = match adjusted(one) {
            Some(p) => {
                let verdict = match contradicted(one) {
                    true => "contradicted",
                    false => "fits",
                };
                let r = one
                    .pointer("/test/r")
                    .and_then(Value::as_f64)
                    .unwrap_or(0.0);
                format!(": {verdict} (adjusted p = {p:.2e}, partial r = {r:+.3})")
            }
            None => String::new(),
        };
        line(
            out,
            &format!("implies: {a} independent of {b}{given}{said}"),
        );
    }
    let more = all.len().saturating_sub(IMPLICATIONS_SHOWN_MAX);
    if more > 0 {
        line(
            out,
            &format!("and {more} implications more: --json has all"),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_data_say_of_the_graph_comes_first() {
        let test = |p: f64| json!({ "n": 200, "r": 0.1, "p_value": p, "p_adjusted": p });
        let mut implications: Vec<Value> = (0..11)
            .map(|n| json!({ "a": format!("a{n}"), "b": "b", "given": [], "test": test(0.5) }))
            .collect();
        implications.push(json!({ "a": "x", "b": "y", "given": ["z", "w"], "test": test(1e-9) }));
        let result = json!({
            "identifiable": false, "treatment": ["x"], "outcome": ["y"],
            "implications": implications,
            "instruments": [{ "instrument": "i", "given": ["z"] }],
        });
        let shown = validation(&json!({ "result": result })).expect("a text");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], "instrument: i given z");
        let said = "the data contradict 1 of 12 tested implications of the graph";
        assert_eq!(lines[2], said);
        let first = "implies: x independent of y given z, w: contradicted (adjusted p = 1.00e-9";
        assert!(lines[3].starts_with(first), "{shown}");
        assert!(shown.contains("and 2 implications more"), "{shown}");
    }
}
