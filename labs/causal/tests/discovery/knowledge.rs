//! Background knowledge: what is stated holds in the answer, whatever the data say.

use hindcast_causal::Uncontrolled;
use hindcast_causal::data::Dataset;
use hindcast_causal::discover::{Algorithm, DiscoverRequest, Discovery, EdgeType, discover};
use hindcast_stats::Philox;

use crate::support::graph_marks;
use crate::{from_columns, noise, sem};

const USERS: [Algorithm; 3] = [Algorithm::Boss, Algorithm::Eqvar, Algorithm::Notears];

fn pair(from: &str, to: &str) -> [String; 2] {
    [from.to_owned(), to.to_owned()]
}

fn name(i: usize) -> String {
    format!("x{i}")
}

fn answer(data: &Dataset, request: &DiscoverRequest) -> Discovery {
    discover(data, &request.options().unwrap(), 3, &Uncontrolled).unwrap()
}

fn edge<'a>(found: &'a Discovery, a: &str, b: &str) -> Option<&'a hindcast_causal::discover::Edge> {
    let ends = |e: &&hindcast_causal::discover::Edge| {
        (e.from == a && e.to == b) || (e.from == b && e.to == a)
    };
    found.graph.edges.iter().find(ends)
}

/// 0 -> 1 -> 2, of which nothing is directed by the data.
fn chain() -> Dataset {
    let (a, e, f) = (noise(2000, 0), noise(2000, 1), noise(2000, 2));
    let b: Vec<f64> = a.iter().zip(&e).map(|(x, e)| 0.8 * x + e).collect();
    let c: Vec<f64> = b.iter().zip(&f).map(|(x, e)| 0.8 * x + e).collect();
    from_columns(&[a, b, c])
}

#[test]
fn one_required_edge_directs_the_rest_of_a_chain() {
    let request = DiscoverRequest {
        required: vec![pair("x1", "x0")],
        ..Default::default()
    };
    let found = answer(&chain(), &request);
    let directed: Vec<(&str, &str)> = found
        .graph
        .edges
        .iter()
        .filter(|e| e.kind == EdgeType::Directed)
        .map(|e| (e.from.as_str(), e.to.as_str()))
        .collect();
    assert_eq!(directed, [("x1", "x0")], "x1 - x2 is left open");
    assert_eq!(found.graph.edges.len(), 2);
    let request = DiscoverRequest {
        required: vec![pair("x0", "x1")],
        ..Default::default()
    };
    let found = answer(&chain(), &request);
    let all_directed = found
        .graph
        .edges
        .iter()
        .all(|e| e.kind == EdgeType::Directed);
    assert!(all_directed && found.graph.edges.len() == 2);
    assert_eq!(found.parameters.required, [pair("x0", "x1")]);
}

#[test]
fn a_required_edge_is_there_although_the_data_deny_it() {
    let data = from_columns(&[noise(500, 0), noise(500, 1), noise(500, 2)]);
    for algorithm in [Algorithm::Boss, Algorithm::Eqvar] {
        let request = DiscoverRequest {
            algorithm,
            required: vec![pair("x2", "x0")],
            ..Default::default()
        };
        let found = answer(&data, &request);
        let edge = edge(&found, "x0", "x2").expect("the required edge");
        assert_eq!((edge.from.as_str(), edge.kind), ("x2", EdgeType::Directed));
        assert_eq!(found.graph.edges.len(), 1);
    }
}

#[test]
fn a_forbidden_pair_and_tiers_hold_in_every_answer() {
    let (data, _) = sem("er2_gauss_d10_s1");
    for stream in 0..4 {
        let mut rng = Philox::new(5, stream);
        let order = rng.permutation(10);
        let tiers: Vec<Vec<String>> = order[..8]
            .chunks(3)
            .map(|tier| tier.iter().map(|&v| name(v)).collect())
            .collect();
        let (a, b) = (order[8], order[9]);
        let forbidden = vec![
            pair(&name(a), &name(b)),
            pair(&name(b), &name(a)),
            pair(&name(order[0]), &name(a)),
        ];
        for algorithm in USERS {
            let request = DiscoverRequest {
                algorithm,
                forbidden: forbidden.clone(),
                tiers: tiers.clone(),
                ..Default::default()
            };
            let found = answer(&data, &request);
            let marks = graph_marks(&found.graph);
            assert!(!marks[a][b] && !marks[b][a], "{algorithm:?}");
            assert!(!marks[order[0]][a], "{algorithm:?}");
            for (i, &earlier) in order[..8].iter().enumerate() {
                for &later in &order[(i / 3 + 1) * 3..8.max((i / 3 + 1) * 3)] {
                    assert!(!marks[later][earlier], "{algorithm:?}");
                }
            }
            assert_eq!(found.parameters.tiers, tiers);
        }
    }
}

/// The truth stated as tiers can only help: all edges of the answer get their direction.
#[test]
fn true_tiers_direct_every_edge() {
    let (data, truth) = sem("er2_gauss_d20_s1");
    let mut left: Vec<usize> = (0..20).collect();
    let mut tiers = Vec::new();
    while !left.is_empty() {
        let source = |v: &usize| left.iter().all(|&w| !truth[w][*v]);
        let at = left.iter().position(source).unwrap();
        tiers.push(vec![name(left.remove(at))]);
    }
    let request = DiscoverRequest {
        tiers,
        ..Default::default()
    };
    let found = answer(&data, &request);
    assert!(
        found
            .graph
            .edges
            .iter()
            .all(|e| e.kind == EdgeType::Directed)
    );
    assert!(crate::support::distance(&truth, &graph_marks(&found.graph)) <= 1);
}

#[test]
fn dependent_required_parents_are_refused() {
    let (a, c) = (noise(200, 0), noise(200, 1));
    let data = from_columns(&[a.clone(), a, c]);
    let request = DiscoverRequest {
        required: vec![pair("x0", "x2"), pair("x1", "x2")],
        ..Default::default()
    };
    let error = discover(&data, &request.options().unwrap(), 1, &Uncontrolled).unwrap_err();
    let expected = "required: the required parents of 'x2' are linearly dependent";
    assert_eq!(error.to_string(), expected);
}

/// Random tables of few rows, tests that let much pass, and knowledge that the data contradict.
#[test]
fn no_answer_of_tests_has_a_directed_cycle_or_goes_against_what_is_known() {
    for round in 0..200 {
        let mut rng = Philox::new(17, round);
        let (d, rows) = (5 + rng.index_below(4), 20 + rng.index_below(100));
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for j in 0..d {
            let value = |i: usize, own: f64| {
                let above = columns.iter().enumerate().filter(|(k, _)| (j + k) % 3 > 0);
                0.6 * above.map(|(_, column)| column[i]).sum::<f64>() + own
            };
            columns.push((0..rows).map(|i| value(i, rng.normal())).collect());
        }
        let data = from_columns(&columns);
        let mut forbidden = Vec::new();
        for a in 0..d {
            for b in (0..d).filter(|&b| b != a) {
                if rng.below(5) == 0 {
                    forbidden.push([name(a), name(b)]);
                }
            }
        }
        // FCI takes no knowledge of single edges.
        let asked = [
            (Algorithm::Pc, Vec::new()),
            (Algorithm::Pc, forbidden),
            (Algorithm::Fci, Vec::new()),
        ];
        for (algorithm, forbidden) in asked {
            let request = DiscoverRequest {
                algorithm,
                alpha: Some(0.3),
                forbidden: forbidden.clone(),
                ..Default::default()
            };
            let found = answer(&data, &request);
            let directed = found
                .graph
                .edges
                .iter()
                .filter(|e| e.kind == EdgeType::Directed);
            let mut left: Vec<(&String, &String)> = directed.map(|e| (&e.from, &e.to)).collect();
            if algorithm == Algorithm::Pc {
                let against =
                    |(a, b): &(&String, &String)| forbidden.iter().any(|[x, y]| x == *a && y == *b);
                assert!(!left.iter().any(against), "round {round}");
            }
            // Edges out of what nothing leads to go, until none does.
            while !left.is_empty() {
                let heads: Vec<&String> = left.iter().map(|edge| edge.1).collect();
                let before = left.len();
                left.retain(|edge| heads.contains(&edge.0));
                assert!(left.len() < before, "round {round}: {algorithm:?} {left:?}");
            }
        }
    }
}
