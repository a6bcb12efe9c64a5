//! Small random graphs against definitions written out: m-separation by enumerating paths,
//! criteria by trying every set, estimands by random models with a latent per bidirected edge.

use hindcast_causal::Uncontrolled;
use hindcast_causal::graph::{Admg, NodeSet};
use hindcast_causal::identify::{Limits, ValidateRequest, Validation, identify, validate};
use serde_json::json;

use super::cases::{assert_hedge, set_of};
use super::estimand::{Joint, assignments, free_variables};
use super::random::{Dice, Model, graph};

/// One step of a path: where it goes and whether there is an arrowhead at either end.
#[derive(Clone, Copy)]
struct Step {
    to: usize,
    head_here: bool,
    head_there: bool,
}

fn steps(graph: &Admg, node: usize) -> Vec<Step> {
    let edges = graph.edges();
    let mut steps = Vec::new();
    for to in 0..graph.nodes() {
        let mut add = |head_here, head_there| {
            steps.push(Step {
                to,
                head_here,
                head_there,
            })
        };
        if edges.has_directed(node, to) {
            add(false, true);
        }
        if edges.has_directed(to, node) {
            add(true, false);
        }
        if edges.has_bidirected(node, to) {
            add(true, true);
        }
    }
    steps
}

fn ancestors(graph: &Admg, of: &[usize]) -> Vec<usize> {
    let mut found = of.to_vec();
    let mut next = 0;
    while next < found.len() {
        for parent in 0..graph.nodes() {
            if graph.edges().has_directed(parent, found[next]) && !found.contains(&parent) {
                found.push(parent);
            }
        }
        next += 1;
    }
    found
}

fn descendants(graph: &Admg, of: usize) -> Vec<usize> {
    (0..graph.nodes())
        .filter(|&node| ancestors(graph, &[node]).contains(&of))
        .collect()
}

/// Every path (no node twice) from `from` to `to`, as its steps.
fn paths(graph: &Admg, from: usize, to: usize) -> Vec<Vec<Step>> {
    fn walk(
        graph: &Admg,
        to: usize,
        seen: &mut Vec<usize>,
        path: &mut Vec<Step>,
        all: &mut Vec<Vec<Step>>,
    ) {
        let here = *seen.last().unwrap();
        if here == to {
            all.push(path.clone());
            return;
        }
        for step in steps(graph, here) {
            if !seen.contains(&step.to) {
                seen.push(step.to);
                path.push(step);
                walk(graph, to, seen, path, all);
                path.pop();
                seen.pop();
            }
        }
    }
    let mut all = Vec::new();
    walk(graph, to, &mut vec![from], &mut Vec::new(), &mut all);
    all
}

fn is_open(graph: &Admg, path: &[Step], given: &[usize]) -> bool {
    let openable = ancestors(graph, given);
    path.windows(2).all(|pair| {
        let collider = pair[0].head_there && pair[1].head_here;
        let node = pair[0].to;
        if collider {
            openable.contains(&node)
        } else {
            !given.contains(&node)
        }
    })
}

fn is_causal(path: &[Step]) -> bool {
    path.iter().all(|step| !step.head_here && step.head_there)
}

fn subsets(of: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..1_usize << of.len()).map(|number| {
        (0..of.len())
            .filter(|place| number >> place & 1 == 1)
            .map(|place| of[place])
            .collect()
    })
}

/// The sets of the family none of whose proper subsets is in it, as the lab sorts them.
fn minimal(graph: &Admg, valid: &[Vec<usize>]) -> Vec<Vec<String>> {
    let smaller = |set: &[usize], other: &[usize]| {
        other.len() < set.len() && other.iter().all(|node| set.contains(node))
    };
    let mut sets: Vec<Vec<String>> = valid
        .iter()
        .filter(|set| !valid.iter().any(|other| smaller(set, other)))
        .map(|set| graph.names_of(&NodeSet::of(graph.nodes(), set)))
        .collect();
    sets.sort_by_key(|set| (set.len(), set.clone()));
    sets
}

fn ask(graph: &Admg, treatment: &[usize], outcome: &[usize], given: &[usize]) -> Validation {
    let names = |list: &[usize]| graph.names_of(&NodeSet::of(graph.nodes(), list));
    let request: ValidateRequest = serde_json::from_value(json!({
        "graph": {
            "nodes": graph.names(),
            "directed": graph.directed(),
            "bidirected": graph.bidirected(),
        },
        "treatment": names(treatment), "outcome": names(outcome), "given": names(given),
        "limit": 256,
    }))
    .unwrap();
    validate(&request, &Limits::default(), &Uncontrolled).unwrap()
}

#[test]
fn separation_agrees_with_enumerated_paths() {
    let mut dice = Dice(11);
    let mut separated = 0;
    for _ in 0..300 {
        let graph = graph(&mut dice, 6, 30, 15);
        let all = paths(&graph, 0, 1);
        for given in subsets(&[2, 3, 4, 5]) {
            let expected = !all.iter().any(|path| is_open(&graph, path, &given));
            let [a, b, z] = [&[0][..], &[1], &given].map(|list| NodeSet::of(6, list));
            assert_eq!(
                graph.edges().separated(&a, &b, &z),
                expected,
                "{graph:?} {given:?}"
            );
            separated += usize::from(expected);
        }
    }
    assert!(separated > 500, "both answers have to occur: {separated}");
}

/// Shpitser, VanderWeele and Robins 2010, read for sets: no member descends, without the
/// arrows into the treatments, from a node on a proper causal path, and every other proper path
/// is blocked.
fn adjusts(graph: &Admg, x: &[usize], y: &[usize], set: &[usize]) -> bool {
    let proper: Vec<Vec<Step>> = x
        .iter()
        .flat_map(|&from| y.iter().flat_map(move |&to| paths(graph, from, to)))
        .filter(|path| path.iter().all(|step| !x.contains(&step.to)))
        .collect();
    let mut forbidden = Vec::new();
    for step in proper.iter().filter(|path| is_causal(path)).flatten() {
        forbidden.extend(descendants(graph, step.to));
    }
    !set.iter().any(|node| forbidden.contains(node))
        && !proper
            .iter()
            .any(|path| !is_causal(path) && is_open(graph, path, set))
}

#[test]
fn adjustment_sets_agree_with_the_definition_tried_on_every_set() {
    let mut dice = Dice(23);
    let mut several = 0;
    for round in 0..1_500 {
        let graph = graph(&mut dice, 6, 35, 12);
        let x: &[usize] = if round % 3 == 0 { &[0, 2] } else { &[0] };
        let y: &[usize] = if round % 5 == 0 { &[1, 3] } else { &[1] };
        let rest: Vec<usize> = (0..6)
            .filter(|node| !x.contains(node) && !y.contains(node))
            .collect();
        let valid: Vec<_> = subsets(&rest)
            .filter(|set| adjusts(&graph, x, y, set))
            .collect();
        let answer = ask(&graph, x, y, &[]);
        assert_eq!(
            answer.adjustment_sets.sets,
            minimal(&graph, &valid),
            "{graph:?} {x:?} {y:?}"
        );
        assert!(answer.adjustment_sets.complete_list);
        several += usize::from(answer.adjustment_sets.sets.len() > 1);
    }
    assert!(several > 10, "{several}");
}

#[test]
fn back_door_and_front_door_sets_agree_with_their_definitions() {
    let mut dice = Dice(37);
    let mut front_doors = 0;
    for _ in 0..1_000 {
        let graph = graph(&mut dice, 6, 35, 12);
        let (x, y) = (0, 1);
        let backdoor_open = |from: usize, to: usize, given: &[usize]| {
            let all = paths(&graph, from, to);
            all.iter()
                .any(|path| path[0].head_here && is_open(&graph, path, given))
        };
        let below = descendants(&graph, x);
        let back: Vec<_> = subsets(&[2, 3, 4, 5])
            .filter(|set| !set.iter().any(|node| below.contains(node)) && !backdoor_open(x, y, set))
            .collect();
        let directed: Vec<_> = paths(&graph, x, y)
            .into_iter()
            .filter(|path| is_causal(path))
            .collect();
        let front: Vec<_> = subsets(&[2, 3, 4, 5])
            .filter(|set| {
                directed
                    .iter()
                    .all(|path| path.iter().any(|step| set.contains(&step.to)))
                    && set.iter().all(|&node| !backdoor_open(x, node, &[]))
                    && front_door_closed(&graph, set, y, x)
            })
            .collect();
        let answer = ask(&graph, &[x], &[y], &[]);
        assert_eq!(
            answer.back_door_sets.sets,
            minimal(&graph, &back),
            "{graph:?}"
        );
        assert_eq!(
            answer.front_door_sets.sets,
            minimal(&graph, &front),
            "{graph:?}"
        );
        assert!(answer.back_door_sets.complete_list && answer.front_door_sets.complete_list);
        front_doors += usize::from(!front.is_empty() && answer.facts.directed_path_exists);
    }
    assert!(front_doors > 10, "{front_doors}");
}

/// Every back-door path from the set to `y` is blocked by `x`; a path that leaves another
/// member of the set by an arrow out of it is not one of the set's.
fn front_door_closed(graph: &Admg, set: &[usize], y: usize, x: usize) -> bool {
    set.iter().all(|&from| {
        paths(graph, from, y).iter().all(|path| {
            let mut here = from;
            let leaves = path.iter().any(|step| {
                let tail_here = !step.head_here && set.contains(&here);
                let tail_there = !step.head_there && set.contains(&step.to);
                here = step.to;
                tail_here || tail_there
            });
            leaves || !is_open_without(graph, path, x, set)
        })
    })
}

/// Open given `x` in the graph without the arrows out of `cut`.
fn is_open_without(graph: &Admg, path: &[Step], x: usize, cut: &[usize]) -> bool {
    let mut above = vec![x];
    let mut next = 0;
    while next < above.len() {
        for parent in 0..graph.nodes() {
            let joined = graph.edges().has_directed(parent, above[next]) && !cut.contains(&parent);
            if joined && !above.contains(&parent) {
                above.push(parent);
            }
        }
        next += 1;
    }
    path.windows(2).all(|pair| {
        let collider = pair[0].head_there && pair[1].head_here;
        if collider {
            above.contains(&pair[0].to)
        } else {
            pair[0].to != x
        }
    })
}

/// P(y | do(x), z) of the model, in C order over x, y, z.
fn truth(graph: &Admg, model: &Model, axes: [&[usize]; 3]) -> (Vec<String>, Vec<f64>) {
    let count = graph.nodes();
    let [x, y, z] = axes;
    let all = [x, y, z].concat();
    let names: Vec<String> = all
        .iter()
        .map(|&node| graph.name(node).to_owned())
        .collect();
    let mut values = Vec::new();
    for assignment in assignments(&names) {
        let value = |node: usize| assignment[graph.name(node)];
        let fixed: Vec<(usize, usize)> = x.iter().map(|&node| (node, value(node))).collect();
        let joint = model.joint(&fixed);
        let sum = |list: &[usize]| -> f64 {
            let agrees = |state: usize| {
                list.iter()
                    .all(|&n| state >> (count - 1 - n) & 1 == value(n))
            };
            (0..joint.len())
                .filter(|&state| agrees(state))
                .map(|state| joint[state])
                .sum()
        };
        values.push(sum(&[y, z].concat()) / sum(z));
    }
    (names, values)
}

#[test]
fn verdicts_and_estimands_agree_with_random_models() {
    let mut dice = Dice(41);
    let (mut identifiable, mut hedges) = (0, 0);
    for round in 0..600 {
        let graph = graph(&mut dice, 5, 45, 35);
        if graph.bidirected().len() > 6 {
            continue;
        }
        let axes: [&[usize]; 3] = match round % 4 {
            0 => [&[0, 2], &[1], &[]],
            1 => [&[0], &[1], &[2]],
            2 => [&[0], &[1, 3], &[]],
            _ => [&[0], &[1], &[]],
        };
        let answer = ask(&graph, axes[0], axes[1], axes[2]);
        let sets = axes.map(|list| NodeSet::of(5, list));
        let by_id = identify(&graph, &sets[0], &sets[1], &sets[2], &Uncontrolled).unwrap();
        assert_eq!(by_id.is_some(), answer.identifiable, "{graph:?} {axes:?}");
        let (Some(shown), Some(by_id)) = (answer.estimand.as_ref(), by_id) else {
            assert_hedge(&graph, &answer);
            hedges += 1;
            continue;
        };
        identifiable += 1;
        let model = Model::draw(&graph, &mut dice);
        let table = model.joint(&[]);
        let (names, expected) = truth(&graph, &model, axes);
        for estimand in [shown, &by_id] {
            let tree = serde_json::to_value(estimand).unwrap();
            let free: Vec<String> = free_variables(&tree)
                .into_iter()
                .filter(|name| !names.contains(name))
                .collect();
            let joint = Joint {
                nodes: graph.names(),
                table: &table,
            };
            let error = joint.worst_error(&tree, &free, (&names, &expected));
            assert!(error < 1e-9, "{error} {graph:?} {axes:?} {tree}");
        }
    }
    println!("{identifiable} identifiable, {hedges} hedges");
    assert!(identifiable > 80 && hedges > 30, "{identifiable} {hedges}");
}

#[test]
fn the_optimal_set_adjusts() {
    let mut dice = Dice(43);
    let mut found = 0;
    for _ in 0..200 {
        let graph = graph(&mut dice, 6, 40, 0);
        let answer = ask(&graph, &[0], &[1], &[]);
        assert_eq!(
            answer.optimal_adjustment_set.is_some(),
            answer.facts.directed_path_exists
        );
        if let Some(set) = answer.optimal_adjustment_set {
            let nodes: Vec<usize> = set_of(&graph, &set).iter().collect();
            assert!(adjusts(&graph, &[0], &[1], &nodes), "{graph:?} {set:?}");
            found += 1;
        }
    }
    assert!(found > 50);
}

/// No right estimand may fail its check, whichever models it is made on.
#[test]
fn estimands_of_larger_random_graphs_pass_their_check() {
    let mut dice = Dice(47);
    let (mut binary, mut gaussian, mut worst) = (0, 0, 0.0_f64);
    for round in 0..300 {
        let nodes = 12 + usize::try_from(dice.roll() % 50).unwrap();
        let graph = graph(&mut dice, nodes, 100 / 12 + round % 30, round % 4);
        let order = graph.order();
        let (x, y, z) = (order[nodes / 4], order[nodes - 1], order[nodes / 2]);
        let other = order[nodes / 3];
        let answer = match round % 3 {
            0 => ask(&graph, &[x], &[y], &[]),
            1 => ask(&graph, &[x, other], &[y], &[]),
            _ => ask(&graph, &[x], &[y], &[z]),
        };
        let Some(verified) = answer.verified else {
            continue;
        };
        worst = worst.max(verified.max_error);
        if verified.method == "random_binary_models" {
            binary += 1;
        } else {
            gaussian += 1;
        }
    }
    println!("{binary} on binary, {gaussian} on Gaussian models, largest error {worst:e}");
    assert!(binary > 20 && gaussian > 20, "{binary} {gaussian}");
    assert!(worst < 1e-8, "{worst}");
}
