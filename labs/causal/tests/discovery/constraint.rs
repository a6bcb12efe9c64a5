//! PC and FCI on data: against another program, and the traps. What they do with perfect tests is
//! tested beside the code.

use hindcast_causal::Uncontrolled;
use hindcast_causal::data::Dataset;
use hindcast_causal::discover::{
    Algorithm, DiscoverRequest, Discovery, EdgeType, GraphKind, TestChoice, WarningCode, discover,
};
use hindcast_causal::graph::{GraphInput, GraphLimits};
use hindcast_stats::Philox;

use crate::support::{data_folder, dataset};
use crate::{from_columns, has, noise, options, run, sem};

/// Edges by number of column: `0>8` directed, `0-9` not.
fn written(found: &Discovery) -> String {
    let at = |name: &str| found.graph.nodes.iter().position(|n| n == name).unwrap();
    let mut edges: Vec<(usize, usize, char)> = found
        .graph
        .edges
        .iter()
        .map(|e| {
            let sign = match e.kind {
                EdgeType::Directed => '>',
                EdgeType::Undirected => '-',
                EdgeType::Bidirected | EdgeType::PartiallyDirected | EdgeType::Nondirected => '?',
            };
            (at(&e.from), at(&e.to), sign)
        })
        .collect();
    edges.sort_unstable();
    let edges: Vec<String> = edges
        .iter()
        .map(|(a, b, sign)| format!("{a}{sign}{b}"))
        .collect();
    edges.join(" ")
}

/// The answers of causal-learn 0.1.4.8 (`pc` with its defaults, alpha 0.01), which runs PC-stable
/// and takes the same unshielded triples in the same order.
#[test]
fn pc_agrees_with_another_program_edge_by_edge() {
    let numbers = [
        (
            "er2_gauss_d10_s1",
            "0>8 0-9 3>1 3>2 3>4 4>2 4>5 5>1 6>8 7>1 7>4 7>5 8>2 9>8",
        ),
        (
            "er2_gauss_d20_s2",
            "1-14 1-17 2-18 3>7 3-8 3>10 3>19 6>5 6-9 9>0 10>0 11>10 11>15 12>7 12-16 12-17 \
             13>10 13-14 14>4 14>5 14-18 15>4 16>0 16>19 17>15",
        ),
    ];
    for (name, expected) in numbers {
        let (raw, _) = sem(name);
        for data in [raw.standardised(), raw] {
            let found = run(&data, Algorithm::Pc);
            assert_eq!(written(&found), expected, "{name}");
            assert_eq!(found.graph.kind, GraphKind::Cpdag);
            assert!(has(&found, WarningCode::Conflicts));
        }
    }
    let categories = [
        (
            "sachs_2000",
            "0>1 0>7 1>3 3>8 5-6 5-9 6-9 7>1 7>2 7>3 7>4 7>8 8>2 8>4 10>3 10>7 10>8",
        ),
        (
            "child_2000",
            "1-15 2>8 3-9 3-17 4>10 5>12 6-14 7>2 11-13 11-14 11-15 11-16 11-17 11-18 11-19 13-19 \
             16>2 17>4 17>5 18>4 19>5",
        ),
    ];
    for (name, expected) in categories {
        let data = dataset(&data_folder().join(format!("discrete/{name}.csv")));
        let request = DiscoverRequest {
            algorithm: Algorithm::Pc,
            test: Some(TestChoice::GSquare),
            ..Default::default()
        };
        let found = discover(&data, &request.options().unwrap(), 1, &Uncontrolled).unwrap();
        assert_eq!(written(&found), expected, "{name}");
        assert!(
            found
                .graph
                .edges
                .iter()
                .all(|e| (0.0..=1.0).contains(&e.weight))
        );
    }
}

#[test]
fn skeleton_of_pc_does_not_depend_on_the_order_of_columns() {
    let (data, _) = sem("er2_gauss_d20_s1");
    let pairs = |data: &Dataset, names: &[String]| {
        let found = run(data, Algorithm::Pc);
        let name = |text: &str| names[text[1..].parse::<usize>().unwrap()].clone();
        let mut pairs: Vec<[String; 2]> = found
            .graph
            .edges
            .iter()
            .map(|e| {
                let mut pair = [name(&e.from), name(&e.to)];
                pair.sort();
                pair
            })
            .collect();
        pairs.sort();
        pairs
    };
    let expected = pairs(&data, data.names());
    let mut rng = Philox::new(5, 0);
    for _ in 0..3 {
        let order = rng.permutation(data.width());
        let columns: Vec<Vec<f64>> = order.iter().map(|&j| data.column(j).to_vec()).collect();
        let names: Vec<String> = order.iter().map(|&j| data.names()[j].clone()).collect();
        assert_eq!(pairs(&from_columns(&columns), &names), expected);
    }
}

/// 0 -> 1 <- hidden -> 2 <- 3, 4000 rows: 0 o-> 1 <-> 2 <-o 3.
#[test]
fn fci_shows_a_hidden_common_cause_and_the_answer_is_no_causal_graph() {
    let [a, hidden, d] = [0, 1, 2].map(|stream| noise(4000, stream));
    let sum = |x: &[f64], stream: u64| -> Vec<f64> {
        let parts = x.iter().zip(&hidden).zip(noise(4000, stream));
        parts.map(|((x, h), e)| x + h + e).collect()
    };
    let (b, c) = (sum(&a, 3), sum(&d, 4));
    let data = from_columns(&[a, b, c, d]);
    let found = run(&data, Algorithm::Fci);
    let edges: Vec<(&str, &str, EdgeType)> = found
        .graph
        .edges
        .iter()
        .map(|e| (e.from.as_str(), e.to.as_str(), e.kind))
        .collect();
    assert_eq!(
        edges,
        [
            ("x0", "x1", EdgeType::PartiallyDirected),
            ("x1", "x2", EdgeType::Bidirected),
            ("x3", "x2", EdgeType::PartiallyDirected),
        ]
    );
    assert_eq!(found.graph.kind, GraphKind::Pag);
    // No edge is directed for certain, so the weight is the plain correlation: a third.
    let weight = found.graph.edges[1].weight;
    assert!((weight - 1.0 / 3.0).abs() < 0.06, "{weight}");
    let mut text = serde_json::to_value(&found.graph).unwrap();
    let refused = |text: &serde_json::Value| {
        let input: GraphInput = serde_json::from_value(text.clone()).unwrap();
        let error = input.parse(&GraphLimits::default(), &Uncontrolled);
        error.unwrap_err().to_string()
    };
    assert!(refused(&text).starts_with("graph.kind: a PAG stands for many"));
    text.as_object_mut().unwrap().remove("kind");
    assert!(refused(&text).starts_with("graph.edges[0].type: the direction between 'x0' and 'x1'"));
}

#[test]
fn limits_of_the_sets_are_said() {
    let (data, _) = sem("er2_gauss_d10_s0");
    let request = DiscoverRequest {
        algorithm: Algorithm::Pc,
        max_cond_size: Some(0),
        ..Default::default()
    };
    let found = discover(&data, &request.options().unwrap(), 1, &Uncontrolled).unwrap();
    let warning = found
        .warnings
        .iter()
        .find(|w| w.code == WarningCode::CondSizeLimit)
        .unwrap();
    assert_eq!(warning.value.unwrap().to_bits(), 0.0_f64.to_bits());
    assert_eq!(found.iterations, 1);
    assert!(!has(&run(&data, Algorithm::Pc), WarningCode::CondSizeLimit));
}

#[test]
fn collinear_columns_keep_their_edges_and_are_warned_of() {
    let (a, b) = (noise(300, 0), noise(300, 1));
    let total: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x + y).collect();
    let data = from_columns(&[a.clone(), b, total, a]);
    for algorithm in [Algorithm::Pc, Algorithm::Fci] {
        let found = run(&data, algorithm);
        assert!(has(&found, WarningCode::Collinear) && has(&found, WarningCode::DuplicateColumns));
        let copies = |e: &&hindcast_causal::discover::Edge| {
            [e.from.as_str(), e.to.as_str()] == ["x0", "x3"]
                || [e.from.as_str(), e.to.as_str()] == ["x3", "x0"]
        };
        assert!(
            found.graph.edges.iter().any(|e| copies(&e)),
            "{algorithm:?}"
        );
    }
}

#[test]
fn too_few_rows_and_wild_parameters_are_refused() {
    let few = from_columns(&[vec![1.0, 2.0, 4.0], vec![2.0, 1.0, 3.0]]);
    let error = discover(&few, &options(Algorithm::Pc), 1, &Uncontrolled).unwrap_err();
    assert_eq!(error.to_string(), "data: needs at least 5 rows, has 3");
    let error = |json: &str| {
        let request: DiscoverRequest = serde_json::from_str(json).unwrap();
        request.options().unwrap_err().to_string()
    };
    assert_eq!(
        error(r#"{"algorithm": "pc", "alpha": 0}"#),
        "alpha: has to be from 1e-12 to 0.5, is 0"
    );
    assert_eq!(
        error(r#"{"alpha": 0.05}"#),
        "alpha: is not a parameter of boss"
    );
    assert_eq!(
        error(r#"{"algorithm": "fci", "forbidden": [["a", "b"]]}"#),
        "forbidden: is not a parameter of fci"
    );
}

/// Text and numbers together have no test; text alone has one.
#[test]
fn text_and_numbers_have_tests_of_their_own() {
    let mut rng = Philox::new(6, 0);
    let mut text = String::from("a,b,c\n");
    for _ in 0..400 {
        let a = rng.index_below(2);
        let b = if rng.uniform() < 0.8 { a } else { 1 - a };
        let c = if rng.uniform() < 0.8 { b } else { 1 - b };
        text.push_str(&format!("u{a},v{b},w{c}\n"));
    }
    let read = |text: &str| {
        let limits = hindcast_causal::data::Limits::default();
        let table = hindcast_causal::data::Table::parse_csv(text.as_bytes(), &limits).unwrap();
        table.dataset().unwrap()
    };
    let found = run(&read(&text), Algorithm::Pc);
    assert_eq!(written(&found), "0-1 1-2");
    assert_eq!(found.parameters.test, Some(TestChoice::GSquare));
    let mixed = text.replace(",w", ",");
    assert!(discover(&read(&mixed), &options(Algorithm::Pc), 1, &Uncontrolled).is_err());
}

/// causal-learn 0.1.4.8 with Fisher's z at level 0.01 and no limit on sets, pair by pair.
#[test]
fn fci_on_the_sachs_rows_agrees_with_causal_learn() {
    let data = dataset(&data_folder().join("sachs/sachs_obs853.csv"));
    let found = run(&data, Algorithm::Fci);
    let edges = found.graph.edges.iter();
    let mut edges: Vec<(&str, &str, EdgeType)> = edges
        .map(|e| (e.from.as_str(), e.to.as_str(), e.kind))
        .collect();
    edges.sort_by_key(|(from, to, _)| [*from, *to].concat());
    let open = EdgeType::Nondirected;
    let into = EdgeType::PartiallyDirected;
    assert_eq!(
        edges,
        [
            ("akt", "pka", open),
            ("erk", "akt", open),
            ("erk", "pka", open),
            ("jnk", "pkc", into),
            ("p38", "pkc", into),
            ("pip2", "pip3", open),
            ("plc", "pip3", open),
            ("raf", "mek", open),
        ]
    );
}
