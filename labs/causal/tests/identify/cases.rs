//! Every case of `tests/data/causal/ident/id_cases.json`: the verdict, and the number that the
//! estimand gives.

use std::path::Path;

use hindcast_causal::Uncontrolled;
use hindcast_causal::graph::{Admg, NodeSet};
use hindcast_causal::identify::{Limits, ValidateRequest, Validation, identify, validate};
use serde_json::{Value, json};

use super::estimand::{Joint, free_variables, names};

pub(crate) fn data(file: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/causal/ident");
    let text = std::fs::read_to_string(root.join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn ask(request: Value) -> Validation {
    let request: ValidateRequest = serde_json::from_value(request).unwrap();
    validate(&request, &Limits::default(), &Uncontrolled).unwrap()
}

fn request(case: &Value) -> Value {
    json!({
        "graph": {
            "nodes": case["nodes"],
            "directed": case["directed"],
            "bidirected": case["bidirected"],
        },
        "treatment": case["x"],
        "outcome": case["y"],
        "given": case["z"],
    })
}

pub(crate) fn pairs(value: &Value) -> Vec<(&str, &str)> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect()
}

pub(crate) fn graph_of(case: &Value) -> Admg {
    let nodes: Vec<&str> = case["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    Admg::from_edges(
        &nodes,
        &pairs(&case["directed"]),
        &pairs(&case["bidirected"]),
    )
    .unwrap()
}

pub(crate) fn set_of(graph: &Admg, list: &[String]) -> NodeSet {
    let nodes: Vec<usize> = list.iter().map(|name| graph.index(name).unwrap()).collect();
    NodeSet::of(graph.nodes(), &nodes)
}

fn floats(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

/// The error of an estimand on the case's own numbers.
fn error_of(case: &Value, estimand: &Value) -> f64 {
    let nodes = names(&case["nodes"]);
    let table = floats(&case["numeric"]["joint"]);
    let axes = names(&case["numeric"]["truth_axes"]);
    let truth = floats(&case["numeric"]["truth"]);
    let free: Vec<String> = free_variables(estimand)
        .into_iter()
        .filter(|name| !axes.contains(name))
        .collect();
    Joint {
        nodes: &nodes,
        table: &table,
    }
    .worst_error(estimand, &free, (&axes, &truth))
}

#[test]
fn every_case_has_the_right_verdict_and_number() {
    let cases = data("id_cases.json");
    let (mut identifiable, mut worst) = (0, 0.0_f64);
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let answer = ask(request(case));
        assert_eq!(
            answer.identifiable,
            case["identifiable"].as_bool().unwrap(),
            "{id}"
        );
        assert_eq!(answer.hedge.is_none(), answer.identifiable, "{id}");
        assert_eq!(answer.estimand.is_some(), answer.identifiable, "{id}");
        let Some(estimand) = &answer.estimand else {
            continue;
        };
        let error = error_of(case, &serde_json::to_value(estimand).unwrap());
        assert!(error < 1e-6, "{id}: {error}");
        assert!(answer.verified.is_some(), "{id}");
        identifiable += 1;
        worst = worst.max(error);
    }
    println!(
        "{} verdicts, {identifiable} estimands, largest error {worst:e}",
        cases.len()
    );
    assert_eq!((cases.len(), identifiable), (81, 61));
}

#[test]
fn id_alone_is_right_on_every_case() {
    for case in data("id_cases.json") {
        let id = case["id"].as_str().unwrap();
        let graph = graph_of(&case);
        let [x, y, z] = ["x", "y", "z"].map(|key| set_of(&graph, &names(&case[key])));
        let estimand = identify(&graph, &x, &y, &z, &Uncontrolled).unwrap();
        assert_eq!(
            estimand.is_some(),
            case["identifiable"].as_bool().unwrap(),
            "{id}"
        );
        if let Some(estimand) = estimand {
            let error = error_of(&case, &serde_json::to_value(&estimand).unwrap());
            assert!(error < 1e-6, "{id}: {error} in {estimand:?}");
        }
    }
}

/// Checks a hedge by its definition (Shpitser and Pearl 2006), and by the condition without which
/// one can stand in a graph whose effect is identifiable (Shpitser 2023, arXiv 2307.03750): the
/// smaller forest is a district of the causes of the outcome once the treatment is out.
pub(crate) fn assert_hedge(graph: &Admg, answer: &Validation) {
    let hedge = answer.hedge.as_ref().unwrap();
    let [forest, subforest, roots, treatment, outcome] = [
        &hedge.forest,
        &hedge.subforest,
        &hedge.roots,
        &hedge.treatment,
        &hedge.outcome,
    ]
    .map(|list| set_of(graph, list));
    let edges = graph.edges();
    assert!(subforest.is_subset(&forest) && subforest != forest);
    assert!(forest.intersects(&treatment) && !subforest.intersects(&treatment));
    assert!(roots.is_subset(&subforest) && !roots.is_empty());
    for part in [&forest, &subforest] {
        assert_eq!(
            edges.district(part.first().unwrap(), part),
            *part,
            "one district"
        );
        assert_eq!(
            edges.ancestors(&roots, part),
            *part,
            "every node leads to a root"
        );
    }
    let everything = NodeSet::full(graph.nodes());
    let causes = edges
        .without_incoming(&treatment)
        .ancestors(&outcome, &everything);
    assert!(roots.is_subset(&causes), "the roots cause the outcome");
    let untreated = everything.minus(&treatment);
    let districts = edges.districts(&edges.ancestors(&outcome, &untreated));
    assert!(districts.contains(&subforest), "a district of the effect");
}

#[test]
fn every_hedge_is_one() {
    let mut hedges = 0;
    for case in data("id_cases.json") {
        let answer = ask(request(&case));
        if !answer.identifiable {
            assert_hedge(&graph_of(&case), &answer);
            assert!(answer.adjustment_sets.sets.is_empty(), "{}", case["id"]);
            assert!(answer.front_door_sets.sets.is_empty(), "{}", case["id"]);
            hedges += 1;
        }
    }
    assert_eq!(hedges, 20);
}

#[test]
fn an_effect_given_a_mediator_is_identifiable_where_the_effect_is_not() {
    let graph = json!({
        "nodes": ["X", "Y", "Z"], "directed": [["X", "Z"], ["Z", "Y"]], "bidirected": [["X", "Z"]],
    });
    let plain = ask(json!({"graph": graph, "treatment": "X", "outcome": "Y"}));
    assert!(!plain.identifiable);
    let given = ask(json!({"graph": graph, "treatment": "X", "outcome": "Y", "given": ["Z"]}));
    assert!(given.identifiable);
    assert!(given.verified.unwrap().max_error < 1e-12);
}

#[test]
fn the_napkin_has_a_free_variable_that_does_not_matter() {
    let answer = ask(json!({
        "graph": "dag { W -> R -> X -> Y; W <-> X; W <-> Y }", "treatment": "X", "outcome": "Y",
    }));
    assert_eq!(answer.free_variables, ["R"]);
    assert_eq!(
        answer.estimand_text.unwrap(),
        "{sum_{W} P(W) P(X | R, W) P(Y | R, W, X)} / {sum_{W} P(W) P(X | R, W)}"
    );
    assert!(answer.verified.unwrap().max_error < 1e-12);
}

#[test]
fn the_front_door_formula_hides_the_treatment() {
    let answer = ask(json!({
        "graph": "dag { x -> m -> y; x <-> y }", "treatment": "x", "outcome": "y",
    }));
    assert_eq!(
        answer.estimand_text.unwrap(),
        "sum_{m} P(m | x) [sum_{x'} P(y | m, x') P(x')]"
    );
    assert_eq!(
        answer.estimand_latex.unwrap(),
        "\\sum_{m} P(m \\mid x) \\left[\\sum_{x'} P(y \\mid m, x') P(x')\\right]"
    );
    assert_eq!(answer.front_door_sets.sets, [["m"]]);
}

#[test]
fn the_bow_has_the_smallest_hedge() {
    let answer = ask(json!({
        "graph": "dag { x -> y; x <-> y }", "treatment": "x", "outcome": "y",
    }));
    let hedge = answer.hedge.as_ref().unwrap();
    assert_eq!(
        (hedge.forest.len(), hedge.subforest.as_slice()),
        (2, &["y".to_owned()][..])
    );
    assert!(answer.reasons[0].starts_with("{x, y} and {y} form a hedge for P(y | do(x))"));
}
