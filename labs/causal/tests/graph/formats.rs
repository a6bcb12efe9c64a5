//! Every language is read, and what is written is read back to the same graph.

use hindcast_causal::graph::{
    BifNetwork, BifVariable, DrawnEdge, DrawnGraph, EdgeType, GraphFormat, GraphInput, GraphLimits,
    ParsedGraph, read_bif, read_drawn, write_bif,
};
use hindcast_causal::{LabError, Uncontrolled};
use proptest::prelude::*;

const KINDS: [EdgeType; 5] = [
    EdgeType::Directed,
    EdgeType::Undirected,
    EdgeType::Bidirected,
    EdgeType::PartiallyDirected,
    EdgeType::Nondirected,
];
const TEXTS: [GraphFormat; 3] = [GraphFormat::Dagitty, GraphFormat::Dot, GraphFormat::Gml];

fn parse(text: &str) -> Result<ParsedGraph, LabError> {
    GraphInput::Text(text.to_owned()).parse(&GraphLimits::default(), &Uncontrolled)
}

fn drawn(text: &str) -> Result<DrawnGraph, LabError> {
    read_drawn(text, &GraphLimits::default(), &Uncontrolled)
}

fn graph(nodes: &[&str], edges: &[(&str, &str, EdgeType)]) -> DrawnGraph {
    DrawnGraph {
        nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
        edges: edges
            .iter()
            .map(|&(from, to, kind)| DrawnEdge {
                from: from.to_owned(),
                to: to.to_owned(),
                kind,
                label: None,
            })
            .collect(),
    }
}

#[test]
fn the_same_graph_in_every_language_is_the_same_graph() {
    let texts = [
        "dag { smoke -> tar -> cancer; smoke <-> cancer }",
        "digraph { smoke -> tar -> cancer; smoke -> cancer [dir=both] }",
        "graph [ directed 1 node [ id 0 label \"smoke\" ] node [ id 1 label \"tar\" ] node [ id 2 \
         label \"cancer\" ] node [ id 3 label \"u\" observed \"no\" ] edge [ source 0 target 1 ] \
         edge [ source 1 target 2 ] edge [ source 3 target 0 ] edge [ source 3 target 2 ] ]",
        "{\"nodes\": [\"tar\", \"smoke\", \"cancer\"], \"directed\": [[\"smoke\", \"tar\"], \
         [\"tar\", \"cancer\"]], \"bidirected\": [[\"smoke\", \"cancer\"]]}",
        "{\"nodes\": [\"tar\", \"smoke\", \"cancer\"], \"edges\": [{\"from\": \"smoke\", \"to\": \
         \"tar\", \"type\": \"directed\", \"weight\": 0.5}, {\"from\": \"tar\", \"to\": \
         \"cancer\", \"type\": \"directed\"}, {\"from\": \"smoke\", \"to\": \"cancer\", \"type\": \
         \"bidirected\"}]}",
    ];
    let first = parse(texts[0]).unwrap().graph;
    for text in &texts[1..] {
        assert_eq!(parse(text).unwrap().graph, first, "{text}");
    }
}

/// The network of Lauritzen and Spiegelhalter (1988), as bnlearn writes it.
const ASIA: &str = "network unknown {\n}\nvariable asia {\n  type discrete [ 2 ] { yes, no };\n}\n\
    variable tub { type discrete [ 2 ] { yes, no }; property \"position = (1, 2)\" ; }\n\
    variable smoke { type discrete [ 2 ] { yes, no }; }\nvariable lung { type discrete [2] { yes, no }; }\n\
    variable either { type discrete [ 2 ] { yes, no }; }\n\
    probability ( asia ) { table 0.01, 0.99; }\n\
    probability ( tub | asia ) {\n  (yes) 0.05, 0.95;\n  (no) 0.01, 0.99;\n}\n\
    probability ( smoke ) { table 0.5 0.5; }\n\
    probability ( lung | smoke ) { table 0.1, 0.01, 0.9, 0.99; }\n\
    probability ( either | lung, tub ) { (no, no) 0.0, 1.0; default 1.0, 0.0; }\n";

#[test]
fn a_network_is_read_with_its_tables_and_written_again() {
    let network = read_bif(ASIA).unwrap();
    let either = &network.variables[4];
    assert_eq!(either.parents, [3, 1]);
    assert_eq!(
        either.table.as_deref().unwrap(),
        [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    );
    // `table` lists the child's own state slowest.
    assert_eq!(
        network.variables[3].table.as_deref().unwrap(),
        [0.1, 0.9, 0.01, 0.99]
    );
    let text = write_bif(&network).unwrap();
    assert_eq!(read_bif(&text).unwrap(), network);
    let graph = parse(ASIA).unwrap().graph;
    assert_eq!(graph.nodes(), 5);
    assert_eq!(graph.directed().len(), 4);
    assert!(
        graph
            .directed()
            .contains(&["tub".to_owned(), "either".to_owned()])
    );
}

#[test]
fn a_wrong_network_is_refused_at_its_place() {
    let cases = [
        ("network a {", "line 1, column 11: this '{' has no '}'"),
        (
            "variable a { type discrete [ 3 ] { x, y }; }",
            "line 1, column 30: '3' states are announced, 2 are named",
        ),
        (
            "variable a { type continuous; }",
            "line 1, column 19: only discrete variables are read",
        ),
        (
            "variable a { type discrete [1] {x}; }\nvariable a {",
            "line 2, column 10: the variable 'a' is given twice",
        ),
        (
            "variable a { type discrete [1] {x}; }\nprobability ( b ) { }",
            "line 2, column 15: unknown node 'b'",
        ),
        (
            "variable a { type discrete [2] {x, y}; }\nprobability ( a ) { table 0.5; }",
            "line 2, column 21: expected 2 probabilities",
        ),
        (
            "variable a { type discrete [2] {x, y}; }\nprobability ( a ) { table 0.5, 0.2; }",
            "line 2, column 19: a distribution of 'a' is missing or does not add up to 1",
        ),
        (
            "variable a { type discrete [2] {x, y}; }\nprobability ( a ) { table 0.5, NaN; }",
            "line 2, column 32: 'NaN' is no probability",
        ),
        (
            "variable a { type discrete [1] {x}; }\nprobability ( a | a ) { }",
            "line 2, column 13: a parent is given twice or is the variable",
        ),
        (
            "variable a { type discrete [1] {x}; }\nprobability ( a ) { (x) 1.0; }",
            "line 2, column 21: a variable without parents has one 'table'",
        ),
        ("nonsense", "expected"),
    ];
    for (text, message) in cases {
        match read_bif(text) {
            Err(LabError::Invalid { message: said, .. }) => {
                assert!(said.contains(message), "{text}: {said}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    // A table that would not fit in memory is refused before it is made.
    let mut huge = String::from("network n { }\n");
    for name in 0..12 {
        huge.push_str(&format!("variable v{name} {{ type discrete [ 9 ] {{ "));
        huge.push_str("a, b, c, d, e, f, g, h, i }; }\n");
    }
    huge.push_str("probability ( v0 | v1");
    (2..12).for_each(|name| huge.push_str(&format!(", v{name}")));
    huge.push_str(" ) { default 1, 0, 0, 0, 0, 0, 0, 0, 0; }");
    assert!(matches!(read_bif(&huge), Err(LabError::TooLarge { .. })));
}

#[test]
fn a_network_that_no_file_can_hold_is_not_written() {
    let variable = |name: &str, table: Vec<f64>| BifVariable {
        name: name.to_owned(),
        states: vec!["a b".to_owned(), "<5".to_owned()],
        parents: Vec::new(),
        table: Some(table),
    };
    let network = |variable| BifNetwork {
        name: "n".to_owned(),
        variables: vec![variable],
    };
    let good = network(variable("x y", vec![0.25, 0.75]));
    assert_eq!(read_bif(&write_bif(&good).unwrap()).unwrap(), good);
    for bad in [
        network(variable("\"", vec![0.25, 0.75])),
        network(variable("x", vec![0.25])),
        network(BifVariable {
            parents: vec![7],
            ..variable("x", vec![0.25, 0.75])
        }),
    ] {
        assert!(write_bif(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn open_edges_are_drawn_and_not_validated() {
    for (text, kind) in [
        ("pdag { a -- b }", EdgeType::Undirected),
        ("pag { a @-> b }", EdgeType::PartiallyDirected),
        ("pag { b <-@ a }", EdgeType::PartiallyDirected),
        ("pag { a @-@ b }", EdgeType::Nondirected),
        ("graph { a -- b }", EdgeType::Undirected),
        ("digraph { a -> b [dir=none] }", EdgeType::Undirected),
        (
            "digraph { b -> a [dir=both, arrowhead=odot] }",
            EdgeType::PartiallyDirected,
        ),
        (
            "{\"nodes\": [\"a\", \"b\"], \"edges\": [{\"from\": \"a\", \"to\": \"b\", \"type\": \
             \"nondirected\"}]}",
            EdgeType::Nondirected,
        ),
        (
            "graph [ node [ id 1 label \"a\" ] node [ id 2 label \"b\" ] edge [ source 1 target 2 \
             ] ]",
            EdgeType::Undirected,
        ),
    ] {
        let read = drawn(text).unwrap();
        let edge = &read.edges[0];
        assert_eq!(
            (edge.from.as_str(), edge.to.as_str(), edge.kind),
            ("a", "b", kind),
            "{text}"
        );
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_picture_shows_every_name_escaped_and_is_always_the_same() {
    let graph = graph(
        &["<script>", "x & y", "z", "alone"],
        &[
            ("<script>", "x & y", EdgeType::Directed),
            ("x & y", "z", EdgeType::Undirected),
            ("z", "<script>", EdgeType::Bidirected),
            ("z", "alone", EdgeType::PartiallyDirected),
            ("alone", "x & y", EdgeType::Nondirected),
        ],
    );
    let picture = graph.write(GraphFormat::Svg).unwrap();
    assert!(!picture.contains("<script>") && picture.contains("&lt;script&gt;"));
    assert!(picture.contains("x &amp; y") && picture.contains(">alone<"));
    assert_eq!(picture.matches("<g>").count(), 4);
    assert!(picture.matches("<circle").count() == 3 && picture.contains("stroke-dasharray"));
    assert!(!picture.contains("NaN") && !picture.contains("inf"));
    assert_eq!(picture, graph.write(GraphFormat::Svg).unwrap());
}

/// Boxes of the picture: left, top, width.
fn boxes(picture: &str) -> Vec<(f64, f64, f64)> {
    let number = |text: &str, key: &str| -> f64 {
        let start = text.find(key).unwrap() + key.len();
        text[start..].split('"').next().unwrap().parse().unwrap()
    };
    let of_node = |part: &str| {
        (
            number(part, " x=\""),
            number(part, " y=\""),
            number(part, "width=\""),
        )
    };
    picture
        .split("</title><rect")
        .skip(1)
        .map(of_node)
        .collect()
}

#[test]
fn no_two_boxes_of_a_picture_overlap_and_causes_stand_above() {
    let names: Vec<String> = (0..50).map(|node| format!("variable_{node}")).collect();
    let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut edges = Vec::new();
    for from in 0..50 {
        for step in [1, 7, 19] {
            if from + step < 50 && (from * step) % 3 != 1 {
                edges.push((nodes[from], nodes[from + step], EdgeType::Directed));
            }
        }
    }
    let picture = graph(&nodes, &edges).write(GraphFormat::Svg).unwrap();
    let boxes = boxes(&picture);
    assert_eq!(boxes.len(), 50);
    for (first, a) in boxes.iter().enumerate() {
        for b in &boxes[first + 1..] {
            let apart = a.0 + a.2 <= b.0 + 0.2 || b.0 + b.2 <= a.0 + 0.2;
            assert!((a.1 - b.1).abs() > 30.0 || apart, "{a:?} {b:?}");
        }
    }
    for (from, to, _) in &edges {
        let at = |name: &str| nodes.iter().position(|node| *node == name).unwrap();
        assert!(boxes[at(from)].1 < boxes[at(to)].1);
    }
}

/// Every pair of three hundred nodes joined: some 45,000 edges over up to 299 layers.
#[test]
fn the_picture_of_a_crowded_graph_is_drawn_all_the_same() {
    let names: Vec<String> = (0..300).map(|node| format!("n{node}")).collect();
    let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut edges = Vec::new();
    for to in 1..300 {
        edges.extend((0..to).map(|from| (nodes[from], nodes[to], EdgeType::Directed)));
    }
    let picture = graph(&nodes, &edges).write(GraphFormat::Svg).unwrap();
    assert_eq!(picture.matches("<g>").count(), 300);
    assert!(picture.matches("<path").count() > 80_000);
}

#[test]
fn a_graph_that_cannot_be_written_is_refused() {
    let one = |kind| graph(&["a", "b"], &[("a", "b", kind)]);
    let mut cases = vec![
        graph(&["a", "a"], &[]),
        graph(&["a", "b"], &[("a", "c", EdgeType::Directed)]),
        graph(&["a"], &[("a", "a", EdgeType::Directed)]),
        graph(&["a\nb"], &[]),
        graph(&[""], &[]),
    ];
    let names: Vec<String> = (0..2_001).map(|node| node.to_string()).collect();
    cases.push(DrawnGraph {
        nodes: names,
        edges: Vec::new(),
    });
    for format in [
        GraphFormat::Dagitty,
        GraphFormat::Dot,
        GraphFormat::Gml,
        GraphFormat::Svg,
    ] {
        assert!(one(EdgeType::Directed).write(format).is_ok());
        for case in &cases {
            assert!(case.write(format).is_err());
        }
    }
}

#[test]
fn ten_thousand_nodes_are_refused_in_every_language() {
    let nodes = 0..10_000;
    let list: Vec<String> = nodes.clone().map(|node| format!("\"n{node}\"")).collect();
    let gml: String = nodes.map(|node| format!("node [ id {node} ] ")).collect();
    for text in [
        format!("dag {{ {} }}", list.join(" ")),
        format!("digraph {{ {} }}", list.join("; ")),
        format!("graph [ {gml} ]"),
        format!("{{\"nodes\": [{}]}}", list.join(", ")),
    ] {
        match parse(&text) {
            Err(LabError::TooLarge { field, limit, .. }) => {
                assert_eq!((field.as_str(), limit), ("graph.nodes", 2_000));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_broken_json_text_is_refused_at_its_place() {
    let Err(LabError::Invalid { message, .. }) = parse("{\"nodes\": [\"a\",\n }") else {
        panic!("it is broken");
    };
    assert!(message.starts_with("line 2, column 2: "), "{message}");
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,6}", "[ -~]{1,8}", "\\PC{1,5}"]
        .prop_filter("a name has no control character", |name| {
            !name.chars().any(char::is_control)
        })
}

fn any_graph() -> impl Strategy<Value = DrawnGraph> {
    let names = prop::collection::btree_set(name(), 1..7);
    let edge = (0..7_usize, 0..7_usize, 0..5_usize, prop::option::of(name()));
    (names, prop::collection::vec(edge, 0..10)).prop_map(|(names, edges)| {
        let nodes: Vec<String> = names.into_iter().rev().collect();
        let count = nodes.len();
        let edges = edges
            .into_iter()
            .filter(|(from, to, _, _)| from % count != to % count)
            .map(|(from, to, kind, label)| DrawnEdge {
                from: nodes[from % count].clone(),
                to: nodes[to % count].clone(),
                kind: KINDS[kind],
                label,
            })
            .collect();
        DrawnGraph { nodes, edges }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(graph in any_graph()) {
        for format in TEXTS {
            let text = graph.write(format).unwrap();
            let read = drawn(&text);
            prop_assert_eq!(read.as_ref(), Ok(&graph), "{}", text);
        }
        let picture = graph.write(GraphFormat::Svg).unwrap();
        prop_assert!(!picture.contains("NaN"));
        prop_assert_eq!(picture.matches("<g>").count(), graph.nodes.len());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for start in ["", "dag {", "pag { a @", "digraph {", "graph [ ", "network n { } ", "{\"nodes\":"] {
            let _ = drawn(&format!("{start}{text}"));
            let _ = parse(&format!("{start}{text}"));
        }
    }

    #[test]
    fn any_tokens_of_gml_and_bif_are_read_or_refused(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "graph", "[", "]", "node", "edge", "id", "label", "source", "target", "0", "1", "\"a\"",
            "\"", "type", "directed", "network", "variable", "probability", "{", "}", "(", ")", "|",
            ",", ";", "discrete", "table", "default", "a", "b", "0.5", "property", "//", "\n", "#",
            "&#0;", "&#x110000;", "1e999",
        ]), 0..50),
    ) {
        let text = tokens.join(" ");
        for start in ["graph [", "variable a { type discrete [ 2 ] { x, y }; } probability ( a ) {"] {
            let text = format!("{start} {text}");
            let _ = drawn(&text);
            let _ = parse(&text);
        }
    }

    #[test]
    fn any_cut_of_a_network_is_read_or_refused(cut in 0..ASIA.len()) {
        if ASIA.is_char_boundary(cut) {
            let _ = read_bif(&ASIA[..cut]);
            let _ = read_bif(&ASIA[cut..]);
        }
    }
}
