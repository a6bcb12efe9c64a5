//! Every fact of `tests/data/causal/ident/graph_facts.json`.

use hindcast_causal::graph::{Admg, NodeSet};
use serde_json::{Value, json};

use super::cases::{ask, data, graph_of, set_of};
use super::estimand::names;

fn of_kind(kind: &str) -> Vec<Value> {
    data("graph_facts.json")
        .into_iter()
        .filter(|fact| fact["kind"] == kind)
        .collect()
}

/// The graph as a DOT text in which what is not observed is latent.
fn as_text(fact: &Value, observed: &[String]) -> String {
    let mut text = String::from("digraph {\n");
    for node in names(&fact["nodes"]) {
        let mark = if observed.contains(&node) {
            ""
        } else {
            " [observed=no]"
        };
        text.push_str(&format!("  \"{node}\"{mark};\n"));
    }
    for pair in fact["directed"].as_array().unwrap() {
        text.push_str(&format!("  {} -> {};\n", pair[0], pair[1]));
    }
    text + "}"
}

fn sorted(value: &Value) -> Vec<Vec<String>> {
    let mut sets: Vec<Vec<String>> = value
        .as_array()
        .unwrap()
        .iter()
        .map(|set| {
            let mut set = names(set);
            set.sort();
            set
        })
        .collect();
    sets.sort_by_key(|set| (set.len(), set.clone()));
    sets
}

#[test]
fn minimal_adjustment_sets_are_those_known() {
    for fact in of_kind("adjustment") {
        let text = as_text(&fact, &names(&fact["observed"]));
        let mut request =
            json!({"graph": text, "treatment": fact["x"], "outcome": fact["y"], "limit": 100});
        let answer = ask(request.clone());
        let expected = sorted(&fact["all_minimal_valid_sets"]);
        assert_eq!(answer.adjustment_sets.sets, expected, "{}", fact["id"]);
        assert!(answer.adjustment_sets.complete_list);
        assert_eq!(!expected.is_empty(), fact["adjustable"].as_bool().unwrap());
        for (key, valid) in [
            ("source_biased", false),
            ("source_minimal", true),
            ("source_maximal", true),
        ] {
            for set in sorted(&fact[key]).into_iter().filter(|set| !set.is_empty()) {
                let marks = set
                    .iter()
                    .map(|name| format!("{name} [adjusted];"))
                    .collect::<String>();
                request["graph"] = json!(text.replace('}', &format!("{marks}}}")));
                let marked = ask(request.clone()).marked_adjustment.unwrap();
                assert_eq!((marked.set, marked.valid), (set, valid), "{}", fact["id"]);
            }
        }
    }
}

#[test]
fn front_door_sets_are_those_known() {
    for fact in of_kind("frontdoor") {
        let text = as_text(&fact, &names(&fact["observed"]));
        let answer = ask(json!({"graph": text, "treatment": fact["x"], "outcome": fact["y"]}));
        assert_eq!(
            answer.front_door_sets.sets,
            sorted(&fact["all_valid_sets"]),
            "{}",
            fact["id"]
        );
    }
}

#[test]
fn separations_are_those_known() {
    for fact in of_kind("dsep") {
        let graph = graph_of(&fact);
        let [x, y, z] = ["x", "y", "z"].map(|key| set_of(&graph, &names(&fact[key])));
        let expected = fact["separated"].as_bool().unwrap();
        assert_eq!(
            graph.edges().separated(&x, &y, &z),
            expected,
            "{}",
            fact["id"]
        );
        let answer = ask(json!({
            "graph": {
                "nodes": fact["nodes"],
                "directed": fact["directed"],
                "bidirected": fact["bidirected"],
            },
            "treatment": fact["x"], "outcome": fact["y"], "given": fact["z"],
        }));
        assert_eq!(
            answer.facts.treatment_outcome_d_separated_given, expected,
            "{}",
            fact["id"]
        );
    }
}

#[test]
fn instruments_are_those_known() {
    for fact in of_kind("instrument") {
        let graph = graph_of(&fact);
        let one = |name: &Value| set_of(&graph, &[name.as_str().unwrap().to_owned()]);
        let (x, y) = (one(&fact["x"]), one(&fact["y"]));
        for instrument in fact["instruments"].as_array().unwrap() {
            let z = one(&instrument["z"]);
            let given = set_of(&graph, &names(&instrument["given"]));
            let without_effect = graph.edges().without_outgoing(&x);
            assert!(!graph.edges().separated(&z, &x, &given));
            assert!(without_effect.separated(&z, &y, &given));
        }
    }
}

fn count_paths(graph: &Admg, from: usize, to: usize) -> u64 {
    let mut counts = vec![0_u64; graph.nodes()];
    counts[from] = 1;
    for &node in graph.order() {
        for child in 0..graph.nodes() {
            if graph.edges().has_directed(node, child) {
                counts[child] += counts[node];
            }
        }
    }
    counts[to]
}

#[test]
fn large_graphs_are_read_and_separated_as_known() {
    let facts = of_kind("large");
    assert!(!facts.is_empty());
    for fact in facts {
        let graph = graph_of(&fact);
        let one = |name: &Value| graph.index(name.as_str().unwrap()).unwrap();
        let single = |name: &Value| NodeSet::of(graph.nodes(), &[one(name)]);
        let paths = |query: &Value| count_paths(&graph, one(&query["x"]), one(&query["y"]));
        for query in fact["queries"].as_array().unwrap() {
            let given = set_of(&graph, &names(&query["z"]));
            let (x, y) = (single(&query["x"]), single(&query["y"]));
            let separated = graph.edges().separated(&x, &y, &given);
            assert_eq!(separated, query["separated"].as_bool().unwrap(), "{query}");
            assert_eq!(
                paths(query).to_string(),
                query["n_directed_paths"].as_str().unwrap()
            );
        }
        let longest = &fact["longest_pair"];
        assert_eq!(
            paths(longest).to_string(),
            longest["n_directed_paths"].as_str().unwrap()
        );
    }
}
