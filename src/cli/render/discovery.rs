//! A discovered graph as text.

use serde_json::Value;

use super::{foot, line, list, number, text};
use crate::cli::output::Failure;

/// What stands between the two ends of an edge, with the marks of a PAG.
fn arrow(edge: &Value) -> &str {
    match text(edge, "/type") {
        "directed" => "->",
        "undirected" => "--",
        "bidirected" => "<->",
        "partially_directed" => "o->",
        "nondirected" => "o-o",
        other => other,
    }
}

/// How often the replicates of a bootstrap had an edge there, and how often this one.
fn stability(edge: &Value) -> String {
    let part = |path: &str| edge.pointer(path).and_then(Value::as_f64);
    match (part("/stability/edge"), part("/stability/orientation")) {
        (Some(any), Some(same)) => {
            format!("  in {any:.2} of the replicates, with these ends in {same:.2}")
        }
        _ => String::new(),
    }
}

/// A discovery: the edges, then what one has to know about them.
pub(crate) fn discovery(answer: &Value) -> Result<String, Failure> {
    let result = answer
        .get("result")
        .ok_or_else(|| Failure::failed("the answer has no result"))?;
    let mut out = String::new();
    let edges = list(result, "/graph/edges");
    line(
        &mut out,
        &format!(
            "{} nodes, {} edges, by {} with seed {}",
            list(result, "/graph/nodes").len(),
            edges.len(),
            text(result, "/algorithm"),
            number(answer, "/seed"),
        ),
    );
    let widest = |part: &dyn Fn(&Value) -> usize| edges.iter().map(part).max().unwrap_or(0);
    let width = widest(&|edge| text(edge, "/from").chars().count());
    let marks = widest(&|edge| arrow(edge).len());
    for edge in edges {
        let arrow = format!("{:>marks$}", arrow(edge));
        let weight = edge["weight"].as_f64().unwrap_or(0.0);
        let (from, to) = (text(edge, "/from"), text(edge, "/to"));
        let stable = stability(edge);
        line(
            &mut out,
            &format!("  {from:>width$} {arrow} {to:<width$} {weight:>+9.3}{stable}"),
        );
    }
    for warning in list(result, "/warnings") {
        line(&mut out, &format!("note: {}", text(warning, "/message")));
    }
    line(&mut out, &foot(answer));
    Ok(out.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_mark_of_an_edge_is_shown() {
        let edge = |kind: &str| json!({ "from": "a", "to": "b", "type": kind });
        let kinds = [
            "directed",
            "undirected",
            "bidirected",
            "partially_directed",
            "nondirected",
        ];
        let edges: Vec<Value> = kinds.into_iter().map(edge).collect();
        let result =
            json!({ "algorithm": "fci", "graph": { "nodes": ["a", "b"], "edges": edges } });
        let shown = discovery(&json!({ "result": result, "seed": 1 })).expect("a text");
        for marks in ["a  -> b", "a  -- b", "a <-> b", "a o-> b", "a o-o b"] {
            assert!(shown.contains(marks), "{marks}: {shown}");
        }
    }
}
