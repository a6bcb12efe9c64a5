//! Instruments and implications: textbook graphs, the definitions tried on every set, data with
//! known answers, and the key under which an answer may be kept.

use hindcast_causal::graph::{Admg, NodeSet};
use hindcast_causal::identify::{Limits, Prepared, ValidateRequest, Validation};
use hindcast_causal::{LabError, Uncontrolled};
use hindcast_stats::Philox;
use serde_json::{Value, json};

use super::cases::{ask, data, set_of};
use super::estimand::names;
use super::random::{Dice, graph};

fn instruments(graph: Value) -> Vec<(String, Vec<String>)> {
    let answer = ask(json!({"graph": graph, "treatment": "x", "outcome": "y"}));
    let list = answer.instruments.unwrap().into_iter();
    list.map(|found| (found.instrument, found.given)).collect()
}

fn given(list: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    list.iter()
        .map(|(name, set)| {
            let set = set.iter().map(|&name| name.to_owned()).collect();
            ((*name).to_owned(), set)
        })
        .collect()
}

#[test]
fn instruments_of_known_graphs_are_found() {
    for fact in data("graph_facts.json") {
        if fact["kind"] == "instrument" {
            let graph = json!({
                "nodes": fact["nodes"], "directed": fact["directed"],
                "bidirected": fact["bidirected"],
            });
            let answer = ask(json!({
                "graph": graph, "treatment": fact["x"], "outcome": fact["y"],
                "include": ["instruments"],
            }));
            let found = answer.instruments.unwrap();
            for known in fact["instruments"].as_array().unwrap() {
                let entry = found
                    .iter()
                    .find(|found| known["z"] == found.instrument.as_str());
                assert_eq!(entry.unwrap().given, names(&known["given"]));
            }
        }
    }
    assert_eq!(
        instruments(json!("dag { z -> x -> y; x <-> y }")),
        given(&[("z", &[])])
    );
    // An instrument that a covariate confounds (Brito and Pearl 2002).
    assert_eq!(
        instruments(json!("dag { z -> x -> y; x <-> y; z <- w -> y }")),
        given(&[("z", &["w"])])
    );
    // A proxy of an instrument is one; a mediator and what is below it are none.
    assert_eq!(
        instruments(json!("dag { p <- z -> x -> m -> y; x <-> y; m -> d }")),
        given(&[("p", &[]), ("z", &[])])
    );
    assert!(instruments(json!("dag { z -> x -> y; x <-> y; z -> y }")).is_empty());
    assert!(instruments(json!("dag { z -> x; x <-> y; w -> y }")).is_empty());
}

/// Every set tried, by the definition.
fn is_instrument(
    graph: &Admg,
    cut: &hindcast_causal::graph::Edges,
    z: usize,
    set: &NodeSet,
    ends: [usize; 2],
) -> bool {
    let count = graph.nodes();
    let [x, y, z] = [ends[0], ends[1], z].map(|node| NodeSet::of(count, &[node]));
    cut.separated(&z, &y, set) && !cut.separated(&z, &x, set)
}

/// The graph without the first edges of the causal paths, and the nodes on and below these.
fn mutilated(graph: &Admg, [x, y]: [usize; 2]) -> (Admg, NodeSet) {
    let everything = NodeSet::full(graph.nodes());
    let one = |node: usize| NodeSet::of(graph.nodes(), &[node]);
    let edges = graph.edges();
    let below = edges.descendants(&one(x), &everything);
    let mut causal = below.intersection(&edges.ancestors(&one(y), &everything));
    causal.remove(x);
    let kept: Vec<[String; 2]> = graph
        .directed()
        .into_iter()
        .filter(|[from, to]| *from != graph.name(x) || !causal.contains(graph.index(to).unwrap()))
        .collect();
    let nodes: Vec<&str> = graph.names().iter().map(String::as_str).collect();
    let bidirected = graph.bidirected();
    let pairs = |list: &'static [[String; 2]]| -> Vec<(&str, &str)> {
        list.iter().map(|[a, b]| (a.as_str(), b.as_str())).collect()
    };
    let cut = Admg::from_edges(&nodes, &pairs(kept.leak()), &pairs(bidirected.leak())).unwrap();
    (cut, edges.descendants(&causal, &everything))
}

#[test]
fn instruments_agree_with_every_set_tried() {
    let mut dice = Dice(77);
    let (mut with, mut without) = (0, 0);
    for round in 0..400_u64 {
        let graph = graph(&mut dice, 6, 25 + round % 3 * 15, 10 + round % 4 * 8);
        let ends = [graph.order()[1], graph.order()[5]];
        let (cut, forbidden) = mutilated(&graph, ends);
        let free: Vec<usize> = (0..6)
            .filter(|node| !ends.contains(node) && !forbidden.contains(*node))
            .collect();
        let has_effect = !forbidden.is_empty();
        let found = ask(json!({
            "graph": {
                "nodes": graph.names(), "directed": graph.directed(),
                "bidirected": graph.bidirected(),
            },
            "treatment": graph.name(ends[0]), "outcome": graph.name(ends[1]),
        }))
        .instruments
        .unwrap();
        for entry in &found {
            let (z, set) = (
                graph.index(&entry.instrument).unwrap(),
                set_of(&graph, &entry.given),
            );
            assert!(free.contains(&z) && set.iter().all(|node| free.contains(&node) && node != z));
            assert!(
                is_instrument(&graph, cut.edges(), z, &set, ends),
                "{entry:?}"
            );
        }
        let any = free.iter().any(|&z| {
            (0..1_u32 << free.len()).any(|mask| {
                let members: Vec<usize> = (0..free.len())
                    .filter(|&place| mask >> place & 1 == 1)
                    .map(|place| free[place])
                    .collect();
                let set = NodeSet::of(6, &members);
                !set.contains(z) && is_instrument(&graph, cut.edges(), z, &set, ends)
            })
        });
        assert_eq!(!found.is_empty(), any && has_effect, "{graph:?}");
        with += usize::from(!found.is_empty());
        without += usize::from(found.is_empty());
    }
    assert!(with > 50 && without > 50, "{with} {without}");
}

fn implications(answer: &Validation) -> Vec<String> {
    let list = answer.implications.as_ref().unwrap();
    list.iter()
        .map(|found| format!("{} {} | {}", found.a, found.b, found.given.join(" ")))
        .collect()
}

#[test]
fn implications_of_known_graphs_are_listed() {
    let ask_all = |graph: &str| {
        ask(json!({
            "graph": graph, "treatment": "x", "outcome": "y", "include": ["all_implications"],
        }))
    };
    let chain = ask_all("dag { x -> a -> b -> y }");
    assert_eq!(
        implications(&chain),
        ["a y | b", "b x | a", "x y | a", "x y | b"]
    );
    assert!(chain.implications_scope.unwrap().note.is_none());
    let plain = ask(json!({"graph": "dag { x -> a -> b -> y }", "treatment": "x", "outcome": "y"}));
    assert_eq!(implications(&plain), ["a y | b", "b x | a", "x y | a"]);
    let collider = ask_all("dag { x -> c <- y; c -> d }");
    assert_eq!(implications(&collider), ["d x | c", "d y | c", "x y | "]);
    // Verma and Pearl's graph: a and d have no edge, and no set separates them.
    let verma = ask_all("dag { x -> b -> c -> y; b <-> y; x -> c }");
    assert!(
        implications(&verma)
            .iter()
            .all(|text| !text.starts_with("x y"))
    );
    let scope = verma.implications_scope.unwrap();
    assert_eq!(scope.inseparable, [["x".to_owned(), "y".to_owned()]]);
    assert!(scope.note.unwrap().contains("Verma"));
}

#[test]
fn implications_agree_with_every_set_tried() {
    let mut dice = Dice(5);
    for round in 0..150_u64 {
        let graph = graph(&mut dice, 6, 30 + round % 3 * 15, round % 4 * 8);
        let answer = ask(json!({
            "graph": {
                "nodes": graph.names(), "directed": graph.directed(),
                "bidirected": graph.bidirected(),
            },
            "treatment": graph.name(0), "outcome": graph.name(1), "limit": 200,
            "include": ["all_implications"],
        }));
        let mut expected = Vec::new();
        for a in 0..6 {
            for b in a + 1..6 {
                let [one, other] = [a, b].map(|node| NodeSet::of(6, &[node]));
                let separating: Vec<u32> = (0..64_u32)
                    .filter(|mask| mask >> a & 1 == 0 && mask >> b & 1 == 0)
                    .filter(|mask| {
                        let members: Vec<usize> =
                            (0..6).filter(|node| mask >> node & 1 == 1).collect();
                        graph
                            .edges()
                            .separated(&one, &other, &NodeSet::of(6, &members))
                    })
                    .collect();
                let minimal = separating.iter().filter(|&&set| {
                    separating
                        .iter()
                        .all(|&other| other == set || other & set != other)
                });
                for set in minimal {
                    let given: Vec<String> = (0..6)
                        .filter(|node| set >> node & 1 == 1)
                        .map(|node| graph.name(node).to_owned())
                        .collect();
                    expected.push(format!(
                        "{} {} | {}",
                        graph.name(a),
                        graph.name(b),
                        given.join(" ")
                    ));
                }
            }
        }
        let mut found = implications(&answer);
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}

/// Rows of a linear Gaussian chain a -> b -> c with an effect of `direct` from a on c.
fn chain(rows: usize, direct: f64) -> Value {
    let mut random = Philox::new(3, 0);
    let rows: Vec<Vec<f64>> = (0..rows)
        .map(|_| {
            let a = random.normal();
            let b = 0.8 * a + random.normal();
            let c = 0.8 * b + direct * a + random.normal();
            vec![a, b, c]
        })
        .collect();
    json!(rows)
}

#[test]
fn data_speak_against_a_missing_edge_and_not_against_a_right_graph() {
    let tested = |direct: f64| {
        let answer = ask(json!({
            "graph": "dag { a -> b -> c }", "treatment": "a", "outcome": "c",
            "data": chain(500, direct), "variable_names": ["a", "b", "c"],
        }));
        answer.implications.unwrap()[0].test.clone().unwrap()
    };
    let right = tested(0.0);
    assert_eq!(right.n, 500);
    assert!(right.p_value > 0.01 && right.r.abs() < 0.12, "{right:?}");
    let wrong = tested(0.8);
    assert!(wrong.p_adjusted < 1e-6 && wrong.r > 0.3, "{wrong:?}");
}

/// Partial correlation, its p value and Holm's adjustment by another way: first-order recursion
/// on a table small enough to be followed by hand.
#[test]
fn the_test_is_fishers_z_of_the_partial_correlation() {
    let rows = [
        [1.0, 2.0, 1.5],
        [2.0, 1.0, 2.5],
        [3.0, 4.0, 2.0],
        [4.0, 3.0, 5.0],
        [5.0, 6.0, 4.0],
        [6.0, 5.0, 7.0],
        [7.0, 8.5, 6.0],
        [8.0, 7.0, 7.5],
        [9.0, 9.0, 9.5],
        [10.0, 11.0, 8.0],
    ];
    let answer = ask(json!({
        "graph": "dag { a -> b; b -> c }", "treatment": "a", "outcome": "c",
        "data": rows, "variable_names": ["a", "b", "c"],
    }));
    let test = answer.implications.unwrap()[0].test.clone().unwrap();
    let r = |i: usize, j: usize| {
        let mean = |k: usize| rows.iter().map(|row| row[k]).sum::<f64>() / 10.0;
        let sum = |k: usize, l: usize| {
            rows.iter()
                .map(|row| (row[k] - mean(k)) * (row[l] - mean(l)))
                .sum::<f64>()
        };
        sum(i, j) / (sum(i, i) * sum(j, j)).sqrt()
    };
    let partial =
        (r(0, 2) - r(0, 1) * r(1, 2)) / ((1.0 - r(0, 1).powi(2)) * (1.0 - r(1, 2).powi(2))).sqrt();
    assert!((test.r - partial).abs() < 1e-12);
    // The normal tail by Simpson's rule on the density.
    let z = partial.atanh().abs() * 6.0_f64.sqrt();
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let (steps, width) = (4_000, (12.0 - z) / 4_000.0);
    let tail: f64 = (0..=steps)
        .map(|step| {
            let weight = if step == 0 || step == steps {
                1.0
            } else if step % 2 == 1 {
                4.0
            } else {
                2.0
            };
            weight * density(z + f64::from(step) * width)
        })
        .sum::<f64>()
        * width
        / 3.0;
    assert!(
        (test.p_value - 2.0 * tail).abs() < 1e-9,
        "{} {}",
        test.p_value,
        2.0 * tail
    );
    assert_eq!(test.p_adjusted.to_bits(), test.p_value.to_bits());
}

#[test]
fn holm_adjusts_in_order_and_never_down() {
    let mut random = Philox::new(9, 0);
    let rows: Vec<Vec<f64>> = (0..60)
        .map(|_| (0..5).map(|_| random.normal()).collect())
        .collect();
    let answer = ask(json!({
        "graph": "dag { a; b; c; d; e }", "treatment": "a", "outcome": "b",
        "data": rows, "variable_names": ["a", "b", "c", "d", "e"],
    }));
    let mut tests: Vec<(f64, f64)> = answer
        .implications
        .unwrap()
        .iter()
        .map(|found| {
            let test = found.test.as_ref().unwrap();
            (test.p_value, test.p_adjusted)
        })
        .collect();
    assert_eq!(tests.len(), 10);
    tests.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!((tests[0].1 - (tests[0].0 * 10.0).min(1.0)).abs() < 1e-15);
    for pair in tests.windows(2) {
        assert!(pair[0].1 <= pair[1].1 && pair[1].0 <= pair[1].1);
    }
}

#[test]
fn what_data_cannot_say_is_told() {
    let answer = ask(json!({
        "graph": "dag { a -> b -> c; d }", "treatment": "a", "outcome": "c",
        "data": [[1.0, 2.0, 1.0], [2.0, 2.0, 3.0], [4.0, 2.0, 3.5], [3.0, 2.0, 2.0], [0.0, 2.0, 1.0]],
        "variable_names": ["a", "b", "c"],
    }));
    assert!(
        answer
            .implications
            .unwrap()
            .iter()
            .all(|found| found.test.is_none())
    );
    assert_eq!(
        answer.warnings,
        [
            "3 implications are not tested: they name a node that is no column of the data",
            "1 implications are not tested: they meet a constant column or an exact linear relation",
        ]
    );
    for (fields, message) in [
        (
            json!({"data": [[1.0]], "dataset": "00"}),
            "give either data or dataset, not both",
        ),
        (
            json!({"variable_names": ["a"]}),
            "name the columns of data, and there is no data",
        ),
        (
            json!({"dataset": "00"}),
            "is not a digest of 64 hexadecimal digits",
        ),
        (json!({"data": [[1.0], []]}), "has 0 values, expected 1"),
    ] {
        let mut request = json!({"graph": "dag { a -> c }", "treatment": "a", "outcome": "c"});
        for (key, value) in fields.as_object().unwrap() {
            request[key] = value.clone();
        }
        let request: ValidateRequest = serde_json::from_value(request).unwrap();
        match Prepared::new(&request, &Limits::default(), &Uncontrolled).err() {
            Some(LabError::Invalid { message: said, .. }) => assert_eq!(said, message),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn large_graphs_have_extras_only_when_asked() {
    let names: Vec<String> = (0..40).map(|node| format!("v{node}")).collect();
    let pairs: Vec<[&String; 2]> = names.windows(2).map(|pair| [&pair[0], &pair[1]]).collect();
    let mut request = json!({
        "graph": {"nodes": names, "directed": pairs}, "treatment": "v3", "outcome": "v30",
    });
    let plain = ask(request.clone());
    assert!(plain.instruments.is_none() && plain.implications.is_none());
    request["include"] = json!(["instruments", "implications"]);
    let full = ask(request.clone());
    assert_eq!(full.instruments.unwrap().len(), 3);
    assert_eq!(full.implications.unwrap().len(), 39 * 38 / 2);
    request["include"] = json!(["all_implications"]);
    request["limit"] = json!(256);
    let all = ask(request);
    assert!(!all.implications_scope.unwrap().complete_list);
    assert_eq!(all.implications.unwrap().len(), 1_000);
    assert!(
        all.warnings
            .iter()
            .any(|said| said.starts_with("implications stop after 1000"))
    );
    let none = ask(json!({
        "graph": "dag { z -> x -> y }", "treatment": "x", "outcome": "y", "include": [],
    }));
    assert!(none.instruments.is_none() && none.implications.is_none());
}

#[test]
fn equal_questions_have_equal_keys_and_others_do_not() {
    let key = |request: &Value| {
        let request: ValidateRequest = serde_json::from_value(request.clone()).unwrap();
        let limits = Limits::default();
        let prepared = Prepared::new(&request, &limits, &Uncontrolled).unwrap();
        let key = prepared.canonical_key(&Uncontrolled).unwrap();
        let answer = prepared.validate(None, &Uncontrolled).unwrap();
        (key, serde_json::to_string(&answer).unwrap())
    };
    let same = [
        json!({"graph": "dag { x -> m -> y; x <-> y }", "treatment": "x", "outcome": ["y"]}),
        json!({"graph": "dag { y <-> x; m <- x; m -> y; x [e]; y [o] }", "seed": 0, "limit": 16}),
        json!({
            "graph": {"nodes": ["y", "x", "m"], "directed": [["m", "y"], ["x", "m"]],
                "bidirected": [["y", "x"]]},
            "treatment": ["x"], "outcome": "y", "given": [],
        }),
    ];
    let first = key(&same[0]);
    for request in &same[1..] {
        assert_eq!(key(request), first, "{request}");
    }
    let mut keys = vec![first.0];
    for (field, value) in [
        ("limit", json!(3)),
        ("given", json!(["m"])),
        ("include", json!([])),
        ("data", chain(5, 0.0)),
        ("data", chain(6, 0.0)),
        ("graph", json!("dag { x -> m -> y; x <-> y; m [adjusted] }")),
        (
            "graph",
            json!("dag { x -> m -> y; u [latent] u -> x; u -> y }"),
        ),
        ("graph", json!("dag { x -> m -> y }")),
        ("graph", json!("dag { x -> M -> y; x <-> y }")),
        ("treatment", json!("m")),
    ] {
        let mut other = same[0].clone();
        other[field] = value;
        let (key, _) = key(&other);
        assert!(!keys.contains(&key), "{other}");
        keys.push(key);
    }
}
