//! Paths against the definition written out by brute force, and on graphs with more paths than
//! could ever be listed.

use std::path::Path;

use hindcast_causal::graph::{Admg, GraphInput, GraphLimits, NodeSet};
use hindcast_causal::paths::{PathKind, PathView, PathsAnswer, PathsRequest, paths};
use hindcast_causal::{LabError, Uncontrolled};
use proptest::prelude::*;
use serde_json::{Value, json};

fn request(value: Value) -> PathsRequest {
    serde_json::from_value(value).unwrap()
}

fn ask(value: Value) -> PathsAnswer {
    paths(&request(value), &GraphLimits::default(), &Uncontrolled).unwrap()
}

fn facts() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data/causal/ident/graph_facts.json");
    let all: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all.into_iter()
        .filter(|fact| fact["kind"] == "large")
        .collect()
}

#[test]
fn counts_of_the_large_graphs_are_those_known() {
    for fact in facts() {
        let graph = json!({"nodes": fact["nodes"], "directed": fact["directed"]});
        let mut queries = fact["queries"].as_array().unwrap().clone();
        queries.push(fact["longest_pair"].clone());
        for query in queries {
            let given = query.get("z").cloned().unwrap_or_else(|| json!([]));
            let answer = ask(json!({
                "graph": graph, "treatment": query["x"], "outcome": query["y"], "given": given,
                "kind": "directed", "limit": 5, "shortest": 3,
            }));
            assert_eq!(
                answer.count.value,
                query["n_directed_paths"].as_str().unwrap()
            );
            assert!(answer.count.exact);
            if let Some(separated) = query.get("separated") {
                assert_eq!(answer.separated, separated.as_bool().unwrap(), "{query}");
            }
            assert_eq!(answer.active_path.is_none(), answer.separated);
            assert!(answer.active_path.iter().all(|path| path.open));
        }
    }
}

/// A ladder of `rungs` diamonds: 2^rungs directed paths.
fn ladder(rungs: usize) -> String {
    let mut text = String::from("dag { ");
    for rung in 0..rungs {
        text.push_str(&format!(
            "s{rung} -> {{a{rung} b{rung}}} -> s{}; ",
            rung + 1
        ));
    }
    text + "}"
}

#[test]
fn more_paths_than_128_bits_can_count_are_counted_and_paged() {
    let rungs = 200;
    let question = |cursor: Option<String>| {
        json!({
            "graph": ladder(rungs), "treatment": "s0", "outcome": format!("s{rungs}"),
            "kind": "directed", "limit": 3, "cursor": cursor, "shortest": 2,
        })
    };
    let first = ask(question(None));
    let expected = num_bigint::BigUint::from(2_u8).pow(200).to_string();
    assert_eq!(first.count.value, expected);
    assert_eq!(first.directed_count, first.count);
    let half = num_bigint::BigUint::from(2_u8).pow(199).to_string();
    let of = |name: &str| {
        let found = first
            .mediators
            .iter()
            .find(|mediator| mediator.node == name);
        found.unwrap().paths.clone()
    };
    assert_eq!((of("a7"), of("s7")), (half, expected));
    let second = ask(question(first.next_cursor.clone()));
    assert_eq!((first.paths.len(), second.paths.len()), (3, 3));
    assert!(second.paths.iter().all(|path| !first.paths.contains(path)));
    assert_eq!(first.shortest[0].nodes.len(), 401);
}

#[test]
fn paths_against_arrows_are_counted_up_to_a_budget_that_is_told() {
    let graph = facts().pop().unwrap();
    let answer = ask(json!({
        "graph": {"nodes": graph["nodes"], "directed": graph["directed"]},
        "treatment": "v40", "outcome": "v60", "kind": "back_door", "limit": 2, "shortest": 5,
    }));
    assert!(!answer.count.exact && answer.count.value.parse::<u64>().unwrap() > 100);
    assert!(answer.warnings[0].starts_with("there are at least"));
    assert_eq!((answer.paths.len(), answer.shortest.len()), (2, 5));
    assert!(answer.next_cursor.is_some());
    for path in answer.paths.iter().chain(&answer.shortest) {
        assert_eq!(path.edges[0], "<-");
    }
}

#[test]
fn each_path_says_what_blocks_it() {
    let graph = "dag { x <- z -> y; x -> c <- y; c -> d; x -> m -> y; x <-> y }";
    let answer = ask(json!({
        "graph": graph, "treatment": "x", "outcome": "y", "given": ["z", "d"],
    }));
    let said: Vec<(&str, bool)> = answer
        .paths
        .iter()
        .map(|path| (path.text.as_str(), path.open))
        .collect();
    assert_eq!(
        said,
        [
            ("x -> c <- y", true),
            ("x -> m -> y", true),
            ("x <-> y", true),
            ("x <- z -> y", false),
        ]
    );
    assert_eq!(answer.paths[0].opened_by[0].given, "d");
    let blocked = &answer.paths[3].blocked_by[0];
    assert_eq!(
        (blocked.node.as_str(), blocked.reason.as_str()),
        ("z", "it is given")
    );
    let answer = ask(json!({"graph": graph, "treatment": "x", "outcome": "y"}));
    assert_eq!(
        answer.paths[0].blocked_by[0].reason,
        "neither it nor a descendant of it is given"
    );
    assert_eq!(answer.count.value, "4");
    assert_eq!(answer.active_path.unwrap().text, "x <-> y");
}

#[test]
fn paths_over_a_named_node_are_those_that_pass_it() {
    let graph = "dag { x -> a -> b -> y; x -> b; a -> y; x -> y; c -> y; x -> d }";
    let of = |via: Value| {
        let answer = ask(json!({
            "graph": graph, "treatment": "x", "outcome": "y", "kind": "mediating", "via": via,
            "shortest": 9,
        }));
        let texts = |list: &[PathView]| -> Vec<String> {
            list.iter().map(|path| path.text.clone()).collect()
        };
        assert_eq!(answer.count.value, answer.paths.len().to_string());
        let mut shortest = texts(&answer.shortest);
        shortest.sort();
        let mut listed = texts(&answer.paths);
        listed.sort();
        assert_eq!(shortest, listed);
        (texts(&answer.paths), answer.mediators.len())
    };
    assert_eq!(of(json!("b")).0, ["x -> a -> b -> y", "x -> b -> y"]);
    let all = ["x -> a -> b -> y", "x -> a -> y", "x -> b -> y"].map(str::to_owned);
    assert_eq!(of(Value::Null), (all.to_vec(), 2));
    for off in ["c", "d"] {
        assert!(of(json!(off)).0.is_empty());
    }
}

#[test]
fn a_wrong_question_is_refused_at_its_field() {
    let good = json!({"graph": "dag { x -> m -> y; z }", "treatment": "x", "outcome": "y"});
    let cases = [
        (
            "treatment",
            json!(["x", "m"]),
            "treatment",
            "a path has one node at each end, 2 are named",
        ),
        (
            "outcome",
            json!([]),
            "outcome",
            "a path has one node at each end, 0 are named",
        ),
        (
            "outcome",
            json!("x"),
            "outcome[0]",
            "the node 'x' is already in 'treatment'",
        ),
        ("given", json!(["q"]), "given[0]", "unknown node 'q'"),
        ("via", json!("m"), "via", "belongs to the kind mediating"),
        (
            "cursor",
            json!("00"),
            "cursor",
            "is not a cursor of this question",
        ),
        (
            "cursor",
            json!("\u{e9}000"),
            "cursor",
            "is not a cursor of this question",
        ),
        (
            "cursor",
            json!("00000000000000000000"),
            "cursor",
            "is not a cursor of this question",
        ),
    ];
    for (key, value, field, message) in cases {
        let mut wrong = good.clone();
        wrong[key] = value;
        match paths(&request(wrong), &GraphLimits::default(), &Uncontrolled) {
            Err(LabError::Invalid {
                field: at,
                message: said,
                ..
            }) => assert_eq!((at.as_str(), said.as_str()), (field, message)),
            other => panic!("{other:?}"),
        }
    }
    let mut wrong = good;
    wrong["limit"] = json!(1_001);
    let refused = paths(&request(wrong), &GraphLimits::default(), &Uncontrolled);
    assert!(matches!(
        refused,
        Err(LabError::TooLarge { limit: 1_000, .. })
    ));
}

/// Every simple path, by trying every edge; shares no code with the lab.
fn every_path(
    graph: &Admg,
    at: usize,
    to: usize,
    path: &mut Vec<(usize, char)>,
    found: &mut Vec<String>,
) {
    if at == to {
        let text = path
            .iter()
            .fold(String::new(), |text, &(node, sign)| match sign {
                '.' => graph.name(node).to_owned(),
                '>' => format!("{text} -> {}", graph.name(node)),
                '<' => format!("{text} <- {}", graph.name(node)),
                _ => format!("{text} <-> {}", graph.name(node)),
            });
        found.push(text);
        return;
    }
    for next in 0..graph.nodes() {
        if path.iter().any(|&(node, _)| node == next) {
            continue;
        }
        let edges = graph.edges();
        for (is_there, sign) in [
            (edges.has_directed(at, next), '>'),
            (edges.has_directed(next, at), '<'),
            (edges.has_bidirected(at, next), '='),
        ] {
            if is_there {
                path.push((next, sign));
                every_path(graph, next, to, path, found);
                path.pop();
            }
        }
    }
}

fn text_of(edges: &[(usize, usize, u8)]) -> String {
    let mut text = String::from("strict digraph { v0; v1; v2; v3; v4; v5; ");
    for &(a, b, kind) in edges {
        let (from, to) = (a.min(b), a.max(b));
        if from < to {
            let mark = if kind == 0 { " [dir=both]" } else { "" };
            text.push_str(&format!("v{from} -> v{to}{mark}; "));
        }
    }
    text + "}"
}

/// All pages of one question, one path to a page.
fn paged(question: &Value) -> Vec<PathView> {
    let mut question = question.clone();
    question["limit"] = json!(1);
    let mut found = Vec::new();
    loop {
        let answer = ask(question.clone());
        found.extend(answer.paths);
        match answer.next_cursor {
            Some(cursor) => question["cursor"] = json!(cursor),
            None => return found,
        }
    }
}

proptest! {
    #[test]
    fn listings_counts_and_verdicts_agree_with_every_path_tried(
        edges in prop::collection::vec((0..6_usize, 0..6_usize, 0..3_u8), 0..14),
        ends in (0..6_usize, 0..6_usize),
        given in prop::collection::btree_set(0..6_usize, 0..3),
    ) {
        prop_assume!(ends.0 != ends.1);
        let text = text_of(&edges);
        let parsed = GraphInput::Text(text.clone()).parse(&GraphLimits::default(), &Uncontrolled);
        let graph = parsed.unwrap().graph;
        let (x, y) = (format!("v{}", ends.0), format!("v{}", ends.1));
        let given: Vec<usize> = given.into_iter().filter(|&node| node != ends.0 && node != ends.1).collect();
        let mut all = Vec::new();
        every_path(&graph, ends.0, ends.1, &mut vec![(ends.0, '.')], &mut all);
        all.sort();
        for kind in [PathKind::All, PathKind::BackDoor, PathKind::Directed, PathKind::Mediating] {
            let expected: Vec<String> = all.iter().filter(|path| match kind {
                PathKind::All => true,
                PathKind::BackDoor => path[x.len()..].starts_with(" <"),
                PathKind::Directed => !path.contains('<'),
                PathKind::Mediating => !path.contains('<') && path.matches('>').count() > 1,
            }).cloned().collect();
            let question = json!({
                "graph": text, "treatment": x, "outcome": y, "kind": kind,
                "given": given.iter().map(|node| format!("v{node}")).collect::<Vec<_>>(),
                "limit": 1_000, "shortest": 100,
            });
            let answer = ask(question.clone());
            let texts = |list: &[PathView]| -> Vec<String> {
                let mut texts: Vec<String> = list.iter().map(|path| path.text.clone()).collect();
                texts.sort();
                texts
            };
            prop_assert_eq!(texts(&answer.paths), expected.clone());
            prop_assert_eq!(answer.count.value.parse::<usize>().unwrap(), expected.len());
            prop_assert!(answer.count.exact && answer.next_cursor.is_none());
            prop_assert_eq!(paged(&question), answer.paths.clone());
            let lengths: Vec<usize> = answer.shortest.iter().map(|path| path.edges.len()).collect();
            prop_assert!(lengths.is_sorted());
            let mut sizes: Vec<usize> = answer.paths.iter().map(|path| path.edges.len()).collect();
            sizes.sort_unstable();
            sizes.truncate(100);
            prop_assert_eq!(lengths, sizes);
            let [from, to] = [ends.0, ends.1].map(|node| NodeSet::of(6, &[node]));
            let separated = graph.edges().separated(&from, &to, &NodeSet::of(6, &given));
            prop_assert_eq!(answer.separated, separated);
            if kind == PathKind::All {
                prop_assert_eq!(answer.paths.iter().any(|path| path.open), !separated);
            }
            let Some(active) = answer.active_path else { continue };
            prop_assert!(active.open && all.contains(&active.text), "{}", active.text);
        }
    }
}
