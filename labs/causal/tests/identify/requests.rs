//! Requests: what is refused and where, what does not matter, and traps for the criteria.

use hindcast_causal::control::Stop;
use hindcast_causal::graph::{GraphInput, GraphLimits};
use hindcast_causal::identify::{Limits, ValidateRequest, validate, validate_unchecked};
use hindcast_causal::{Control, LabError, Uncontrolled};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::cases::ask;

fn refused(request: Value) -> (String, String, Option<String>) {
    let request: ValidateRequest = serde_json::from_value(request).unwrap();
    match validate(&request, &Limits::default(), &Uncontrolled) {
        Err(LabError::Invalid {
            field,
            message,
            hint,
        }) => (field, message, hint),
        other => panic!("expected a refusal: {other:?}"),
    }
}

fn xy(graph: Value) -> Value {
    json!({"graph": graph, "treatment": ["x"], "outcome": ["y"]})
}

/// An object, the field that is wrong, and what is said of it.
const WRONG_OBJECTS: [(&str, &str, &str); 12] = [
    (
        r#"{"nodes": ["x", "y"], "directed": [["x", "y"], ["x", "yy"]]}"#,
        "graph.directed[1][1]",
        "unknown node 'yy'",
    ),
    (
        r#"{"nodes": ["x", "y"], "bidirected": [["x", "x"]]}"#,
        "graph.bidirected[0]",
        "'x' is joined to itself",
    ),
    (
        r#"{"nodes": ["x", "y"], "directed": [["x", "x"]]}"#,
        "graph.directed[0]",
        "'x' points to itself",
    ),
    (
        r#"{"nodes": ["x", "y", "x"]}"#,
        "graph.nodes[2]",
        "the node 'x' is given twice",
    ),
    (
        r#"{"nodes": ["x", "y", ""]}"#,
        "graph.nodes[2]",
        "a node name is empty",
    ),
    (
        r#"{"nodes": []}"#,
        "graph.nodes",
        "a graph needs at least one node",
    ),
    (
        r#"{"nodes": ["x", "y"], "directed": [["x", "y"], ["x", "y"]]}"#,
        "graph.directed[1]",
        "the edge 'x' -> 'y' is given twice",
    ),
    (
        r#"{"nodes": ["x", "y"], "bidirected": [["x", "y"], ["y", "x"]]}"#,
        "graph.bidirected[1]",
        "the edge 'y' <-> 'x' is given twice",
    ),
    (
        r#"{"nodes": ["x", "y"], "directed": [["x"]]}"#,
        "graph.directed[0]",
        "an edge is a pair of names, this has 1",
    ),
    (
        r#"{"nodes": ["z", "y", "x"], "directed": [["x", "y"], ["y", "z"], ["z", "x"]]}"#,
        "graph.directed",
        "the directed edges have a cycle: x -> y -> z -> x",
    ),
    (
        r#"{"nodes": ["x", "y"], "edges": [{"from": "x", "to": "y", "type": "undirected"}]}"#,
        "graph.edges[0].type",
        "the direction between 'x' and 'y' is open, so this graph stands for several causal graphs",
    ),
    (
        r#"{"nodes": ["x", "y"], "edges": [], "directed": []}"#,
        "graph.edges",
        "give either `edges` or `directed` and `bidirected`, not both",
    ),
];

/// A text and what is said of it.
const WRONG_TEXTS: [(&str, &str); 15] = [
    (
        "x -> y",
        "line 1, column 1: a graph text starts with 'dag' or 'digraph'",
    ),
    (
        "dag { x -> y\n y -- z }",
        "line 2, column 4: an undirected edge leaves the causal graph open",
    ),
    (
        "dag { x -> y\n x -> y }",
        "line 2, column 4: the edge 'x' -> 'y' is given twice",
    ),
    (
        "dag { x -> y; x -> x }",
        "line 1, column 17: 'x' points to itself",
    ),
    (
        "digraph { x <-> y }",
        "line 1, column 13: DOT knows only '->'",
    ),
    (
        "digraph { x:p -> y }",
        "line 1, column 12: ports are not read; quote a name with a ':'",
    ),
    (
        "dag { x -> y; y -> x }",
        "the directed edges have a cycle: x -> y -> x",
    ),
    ("dag { x -> }", "line 1, column 12: expected a node or '{'"),
    ("dag { x -> y", "line 1, column 5: this '{' has no '}'"),
    (
        "dag { x -> y } z",
        "line 1, column 16: text after the end of the graph",
    ),
    (
        "dag { \"x -> y }",
        "line 1, column 7: this quoted name has no end",
    ),
    ("dag { x [pos=1", "line 1, column 9: this '[' has no ']'"),
    (
        "graph { x -- y }",
        "line 1, column 1: only fully directed graphs and bidirected edges can be validated",
    ),
    (
        "digraph { edge [dir=both]; x -> y }",
        "line 1, column 11: a default for 'dir' is not read",
    ),
    (
        "dag { x [latent,exposure] }",
        "line 1, column 7: 'x' is latent, so it has no role as a measured node",
    ),
];

#[test]
fn a_wrong_graph_is_refused_at_its_field() {
    for (graph, field, message) in WRONG_OBJECTS {
        let (at, said, _) = refused(xy(serde_json::from_str(graph).unwrap()));
        assert_eq!((at.as_str(), said.as_str()), (field, message), "{graph}");
    }
}

#[test]
fn a_wrong_text_is_refused_at_its_line() {
    for (text, message) in WRONG_TEXTS {
        let (at, said, _) = refused(xy(json!(text)));
        assert_eq!((at.as_str(), said.as_str()), ("graph", message), "{text}");
    }
    let deep = format!(
        "dag {{ {} x {} }}",
        "{".repeat(100_000),
        "}".repeat(100_000)
    );
    let (_, said, _) = refused(xy(json!(deep)));
    assert_eq!(said, "line 1, column 39: braces are nested deeper than 32");
}

#[test]
fn a_wrong_query_is_refused_at_its_field() {
    let graph = "dag { x -> m -> y; u [latent]; u -> x }";
    let cases = [
        (
            json!({"treatment": [], "outcome": ["y"]}),
            "treatment",
            "name at least one node",
        ),
        (
            json!({"treatment": ["x"], "outcome": []}),
            "outcome",
            "name at least one node",
        ),
        (
            json!({"treatment": ["q"], "outcome": ["y"]}),
            "treatment[0]",
            "unknown node 'q'",
        ),
        (
            json!({"treatment": ["x"], "outcome": ["x"]}),
            "outcome[0]",
            "the node 'x' is already in 'treatment'",
        ),
        (
            json!({"treatment": ["x"], "outcome": ["y"], "given": ["m", "y"]}),
            "given[1]",
            "the node 'y' is already in 'outcome'",
        ),
        (
            json!({"treatment": ["x", "x"], "outcome": ["y"]}),
            "treatment[1]",
            "the node 'x' is given twice",
        ),
        (
            json!({"treatment": ["u"], "outcome": ["y"]}),
            "treatment[0]",
            "'u' is latent, so it has no observed values",
        ),
        (
            json!({"treatment": ["x"], "outcome": ["y"], "limit": 0}),
            "limit",
            "has to be at least 1",
        ),
    ];
    for (mut request, field, message) in cases {
        request["graph"] = json!(graph);
        let (at, said, _) = refused(request);
        assert_eq!((at.as_str(), said.as_str()), (field, message));
    }
    let named = json!({"nodes": ["price", "sales"], "directed": [["price", "sales"]]});
    let (_, _, hint) = refused(json!({"graph": named, "treatment": "prise", "outcome": "sales"}));
    assert_eq!(hint.unwrap(), "did you mean 'price'?");
}

#[test]
fn unknown_fields_and_kinds_are_refused_by_serde() {
    for (request, said) in [
        (
            json!({"graph": {"nodes": [], "biderected": []}}),
            "unknown field `biderected`",
        ),
        (
            json!({"graph": "dag{}", "treatmnt": "x"}),
            "unknown field `treatmnt`",
        ),
        (
            json!({"graph": 3}),
            "expected a graph object or a graph text",
        ),
    ] {
        let error = serde_json::from_value::<ValidateRequest>(request).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn limits_hold() {
    let limits = Limits {
        graph: GraphLimits {
            nodes_max: 3,
            edges_max: 2,
            name_bytes_max: 4,
            text_bytes_max: 60,
        },
        ..Limits::default()
    };
    for (graph, field) in [
        (json!("dag { x -> y; a; b }"), "graph.nodes"),
        (json!("dag { x -> y; x <-> y; a -> y }"), "graph.edges"),
        (json!("dag { x -> y; longer }"), "graph"),
        (
            json!(format!("dag {{ x -> y }} {}", " ".repeat(60))),
            "graph",
        ),
        (json!({"nodes": ["x", "y", "a", "b"]}), "graph.nodes"),
        (json!({"nodes": ["x", "longer"]}), "graph.nodes[1]"),
    ] {
        let request: ValidateRequest = serde_json::from_value(xy(graph)).unwrap();
        match validate(&request, &limits, &Uncontrolled) {
            Err(LabError::TooLarge {
                field: at,
                actual,
                limit,
            }) => {
                assert_eq!(at, field);
                assert!(actual > limit);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_way_to_write_a_graph_gives_the_same_answer() {
    let texts = [
        json!({"nodes": ["y", "x", "m"], "directed": [["m", "y"], ["x", "m"]], "bidirected": [["y", "x"]]}),
        json!({"nodes": ["x", "m", "y"], "edges": [
            {"from": "x", "to": "m", "type": "directed", "weight": 0.5},
            {"from": "m", "to": "y", "type": "directed"},
            {"from": "x", "to": "y", "type": "bidirected"},
        ]}),
        json!("dag { x -> m -> y\n y <-> x }"),
        json!(
            "dag {\nbb=\"0,0,1,1\"\n y [outcome,pos=\"-0.5,1\"]\n x [exposure,pos=\"0,-1\"] # note\n\"m\" <- x; m -> {y}; x <-> y }"
        ),
        json!(
            "digraph G { rankdir=LR; node [shape=box]; x -> m -> y; x -> y [dir=both, style=dashed]; }"
        ),
        json!(
            "strict digraph { /* twice */ x -> m; x -> m; subgraph s { m } -> y; y -> x [dir=\"both\"] // end\n }"
        ),
    ];
    let bytes: Vec<String> = texts
        .into_iter()
        .map(|graph| serde_json::to_string(&ask(xy(graph))).unwrap())
        .collect();
    for other in &bytes[1..] {
        assert_eq!(&bytes[0], other);
    }
}

#[test]
fn marks_in_a_text_are_the_default_query() {
    let answer = ask(json!({"graph": "dag { x [e]; y [o]; z [a]; z -> x -> y; z -> y }"}));
    assert_eq!(
        (answer.treatment, answer.outcome),
        (vec!["x".to_owned()], vec!["y".to_owned()])
    );
    assert!(answer.marked_adjustment.unwrap().valid);
}

#[test]
fn latent_nodes_become_bidirected_edges() {
    let answer = ask(xy(json!(
        "dag { l [latent] k [latent] w [latent]; l -> k -> {x y}; l -> a; x -> w -> y }"
    )));
    assert_eq!(answer.graph.nodes, ["a", "x", "y"]);
    assert_eq!(answer.graph.directed, [["x", "y"]]);
    let pair = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
    assert_eq!(
        answer.graph.bidirected,
        [pair("a", "x"), pair("a", "y"), pair("x", "y")]
    );
    assert_eq!(
        answer.warnings[0],
        "latent nodes are projected out: k, l, w"
    );
}

#[test]
fn m_bias_adjusts_for_nothing() {
    let answer = ask(xy(json!("dag { x -> y; m <-> x; m <-> y; m [adjusted] }")));
    assert_eq!(answer.adjustment_sets.sets, [Vec::<String>::new()]);
    assert!(!answer.marked_adjustment.unwrap().valid);
    assert_eq!(answer.estimand_text.unwrap(), "P(y | x)");
}

#[test]
fn a_descendant_of_the_treatment_off_the_causal_path_adjusts_but_is_no_back_door() {
    let graph = "dag { x -> y; x -> z; z <-> y; x <-> w; w -> z; z [adjusted] }";
    let answer = ask(xy(json!(graph)));
    assert_eq!(answer.adjustment_sets.sets, [Vec::<String>::new()]);
    let graph = "dag { x -> z; u -> z; x -> y; u -> y; z [adjusted] }";
    assert!(!ask(xy(json!(graph))).marked_adjustment.unwrap().valid);
    let graph = "dag { x1 -> z; z -> x2; x1 -> y; x2 -> y; z <-> x2; z -> y }";
    let two = ask(json!({"graph": graph, "treatment": ["x1", "x2"], "outcome": "y"}));
    assert!(two.identifiable && two.back_door_sets.sets.is_empty());
    let graph = "dag { x -> z; x -> y; z -> w; w <-> y; z [adjusted] }";
    let answer = ask(xy(json!(graph)));
    assert!(answer.marked_adjustment.unwrap().valid);
    assert_eq!(answer.back_door_sets.sets, [Vec::<String>::new()]);
}

#[test]
fn no_directed_path_means_no_effect() {
    let answer = ask(xy(json!("dag { y -> x; x <-> y }")));
    assert_eq!(answer.estimand_text.unwrap(), "P(y)");
    assert!(!answer.facts.directed_path_exists);
}

#[test]
fn the_same_request_gives_the_same_bytes_and_a_seed_only_moves_the_check() {
    let request = |seed: u64| json!({"graph": "dag { w -> r -> x -> y; w <-> x; w <-> y }", "treatment": "x", "outcome": "y", "seed": seed});
    let bytes = |seed| serde_json::to_string(&ask(request(seed))).unwrap();
    assert_eq!(bytes(7), bytes(7));
    assert_eq!(ask(request(7)).estimand, ask(request(8)).estimand);
}

/// The JSON blocks of the method's page: a request and its answer.
#[test]
fn the_documented_example_is_what_the_lab_answers() {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/methods/causal-identification.md"
    );
    let page = std::fs::read_to_string(page).unwrap();
    let mut blocks = page
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str::<Value>(rest.split("```").next().unwrap()).unwrap());
    let mut answer = serde_json::to_value(ask(blocks.next().unwrap())).unwrap();
    let mut shown = blocks.next().unwrap();
    println!("{}", serde_json::to_string_pretty(&answer).unwrap());
    // Which of several roundings comes out is not part of the page's claim.
    for value in [&mut answer, &mut shown] {
        let error = value["verified"]["max_error"].take();
        assert!(error.as_f64().unwrap() < 1e-12);
    }
    assert_eq!(answer, shown);
}

struct Stopped;

impl Control for Stopped {
    fn check(&self) -> Result<(), Stop> {
        Err(Stop::Cancelled)
    }

    fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}
}

#[test]
fn a_stopped_request_stops() {
    let request: ValidateRequest = serde_json::from_value(xy(json!("dag { x -> y }"))).unwrap();
    let stopped = validate(&request, &Limits::default(), &Stopped);
    assert_eq!(stopped.unwrap_err(), LabError::Stopped(Stop::Cancelled));
}

/// Henckel, Perkovic and Maathuis 2022: parents of the causal nodes, not what predicts the
/// treatment alone; for two treatments jointly as well.
#[test]
fn the_optimal_set_predicts_the_outcome_and_not_the_treatment() {
    let graph = "dag { i -> x -> m -> y; c -> x; c -> y; p -> y; q -> m; x -> d; y -> e }";
    let answer = ask(xy(json!(graph)));
    assert_eq!(answer.optimal_adjustment_set.unwrap(), ["c", "p", "q"]);
    let graph = "dag { x1 -> x2 -> y; x1 -> y; c -> x2; c -> y; p -> y }";
    let two = ask(json!({"graph": graph, "treatment": ["x1", "x2"], "outcome": "y"}));
    assert_eq!(two.optimal_adjustment_set.unwrap(), ["c", "p"]);
    let graph = "dag { x1 -> z -> x2 -> y; z -> y; u -> z; u -> y }";
    let two = ask(json!({"graph": graph, "treatment": ["x1", "x2"], "outcome": "y"}));
    assert!(two.adjustment_sets.sets.is_empty() && two.optimal_adjustment_set.is_none());
    assert!(
        ask(xy(json!("dag { x -> y; c <-> y }")))
            .optimal_adjustment_set
            .is_none()
    );
    assert!(
        ask(xy(json!("dag { x; c -> y }")))
            .optimal_adjustment_set
            .is_none()
    );
}

/// Ten layers of thirty nodes between treatment and outcome, against the arrows: 2^60 ways
/// through, and the first separators at once.
#[test]
fn the_first_adjustment_sets_of_a_large_graph_come_at_once() {
    let (layers, width) = (10, 30);
    let mut text = String::from("dag { x -> y; ");
    for layer in 0..layers {
        for place in 0..width {
            let from = format!("n{layer}_{place}");
            if layer == 0 {
                text.push_str(&format!("{from} -> x; "));
            } else {
                for other in [place, (place + 1) % width] {
                    text.push_str(&format!("{from} -> n{}_{other}; ", layer - 1));
                }
            }
            if layer == layers - 1 {
                text.push_str(&format!("{from} -> y; "));
            }
        }
    }
    let mut request = xy(json!(text + "}"));
    request["limit"] = json!(256);
    let answer = ask(request);
    assert_eq!(answer.adjustment_sets.sets.len(), 256);
    assert!(!answer.adjustment_sets.complete_list);
    assert!(
        answer
            .adjustment_sets
            .sets
            .iter()
            .all(|set| set.len() >= width)
    );
}

#[test]
fn a_list_that_is_cut_says_so() {
    let mut text = String::from("dag { x -> y; ");
    for chain in 0..6 {
        text.push_str(&format!("x <- a{chain} -> b{chain} -> y; "));
    }
    let answer = ask(xy(json!(text + "}")));
    assert_eq!(answer.adjustment_sets.sets.len(), 16);
    assert!(!answer.adjustment_sets.complete_list);
    assert!(
        answer
            .warnings
            .iter()
            .any(|warning| warning.starts_with("adjustment_sets stops"))
    );
    assert!(
        answer.verified.is_some(),
        "14 nodes are checked by elimination"
    );
}

fn parses(text: &str) {
    let limits = GraphLimits {
        nodes_max: 50,
        edges_max: 200,
        ..GraphLimits::default()
    };
    let _ = GraphInput::Text(text.to_owned()).parse(&limits, &Uncontrolled);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        parses(&text);
        parses(&format!("dag {{ {text} }}"));
    }

    #[test]
    fn any_tokens_are_read_or_refused(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "a", "b", "c", "\"d e\"", "->", "<-", "<->", "--", "{", "}", "[", "]", "=", ",", ";",
            ":", "latent", "exposure", "dir", "both", "subgraph", "edge", "node", "\n", "#", "//",
            "/*", "*/", "\"", "-1.5", "dag", "digraph", "strict",
        ]), 0..40),
    ) {
        let text = tokens.join(" ");
        parses(&text);
        parses(&format!("dag {{ {text} }}"));
        parses(&format!("digraph {{ {text} }}"));
    }

    #[test]
    fn any_graph_that_is_read_is_answered(
        edges in prop::collection::vec((0..7_usize, 0..7_usize, prop::bool::weighted(0.3)), 0..14),
    ) {
        let mut text = String::from("strict digraph { v0; v1; ");
        for (a, b, both) in edges {
            let (from, to) = (a.min(b), a.max(b));
            if from < to {
                let mark = if both { " [dir=both]" } else { "" };
                text.push_str(&format!("v{from} -> v{to}{mark}; "));
            }
        }
        let request = json!({"graph": text + "}", "treatment": "v0", "outcome": "v1"});
        let request: ValidateRequest = serde_json::from_value(request).unwrap();
        let checked = validate(&request, &Limits::default(), &Uncontrolled).unwrap();
        let unchecked = validate_unchecked(&request, &Limits::default(), &Uncontrolled).unwrap();
        prop_assert_eq!(checked.verified.is_some(), checked.identifiable);
        prop_assert_eq!(checked.estimand, unchecked.estimand);
    }
}
