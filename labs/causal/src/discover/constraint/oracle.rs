//! PC and FCI against what can be known of a graph: tests are answered by d-separation in a DAG,
//! part of which is hidden, and the right PAG is found by going through all graphs.

use hindcast_stats::Philox;

use super::independence::Independence;
use super::pag::{End, Pag};
use super::skeleton::Skeleton;
use super::{fci, pc};
use crate::control::Uncontrolled;
use crate::discover::cpdag::Cpdag;
use crate::discover::knowledge::{Background, Knowledge};

use crate::graph::{EdgeType, Edges, NodeSet};

type Arrows = [(usize, usize)];

/// The first `observed` nodes of a graph, the others hidden.
struct Oracle {
    edges: Edges,
    observed: usize,
}

impl Oracle {
    fn of(nodes: usize, observed: usize, arrows: &[(usize, usize)]) -> Self {
        let mut edges = Edges::new(nodes);
        for &(a, b) in arrows {
            edges.add_directed(a, b);
        }
        Self { edges, observed }
    }

    fn is_ancestor(&self, a: usize, b: usize) -> bool {
        let n = self.edges.nodes();
        self.edges
            .ancestors(&NodeSet::of(n, &[b]), &NodeSet::full(n))
            .contains(a)
    }
}

impl Independence for Oracle {
    fn width(&self) -> usize {
        self.observed
    }

    fn size_max(&self) -> usize {
        self.observed
    }

    fn independent(&self, x: usize, y: usize, given: &[usize]) -> bool {
        let n = self.edges.nodes();
        let set = |members: &[usize]| NodeSet::of(n, members);
        self.edges.separated(&set(&[x]), &set(&[y]), &set(given))
    }
}

fn subsets(of: &[usize]) -> Vec<Vec<usize>> {
    (0..1_u32 << of.len())
        .map(|bits| {
            let picked = (0..of.len()).filter(|i| bits >> i & 1 == 1);
            picked.map(|i| of[i]).collect()
        })
        .collect()
}

/// Verdicts on all pairs and sets, in a fixed order.
fn verdicts(test: &dyn Independence) -> Vec<bool> {
    let mut all = Vec::new();
    for x in 0..test.width() {
        for y in 0..x {
            let others: Vec<usize> = (0..test.width()).filter(|&v| v != x && v != y).collect();
            for given in subsets(&others) {
                all.push(test.independent(x, y, &given));
            }
        }
    }
    all
}

fn is_ancestral(edges: &Edges) -> bool {
    let n = edges.nodes();
    (0..n).all(|v| {
        let mut above = edges.ancestors(&NodeSet::of(n, &[v]), &NodeSet::full(n));
        above.remove(v);
        let cyclic = above.iter().any(|a| edges.has_directed(v, a));
        let almost = above.iter().any(|a| edges.has_bidirected(v, a));
        !cyclic && !almost
    })
}

/// The PAG by definition: of all ancestral graphs over the observed nodes with the same
/// separations, the ends on which all agree. Adjacent are pairs that no set separates.
fn true_pag(oracle: &Oracle) -> Vec<Option<End>> {
    let n = oracle.observed;
    let wanted = verdicts(oracle);
    let pairs: Vec<(usize, usize)> = (0..n)
        .flat_map(|x| (0..x).map(move |y| (y, x)))
        .filter(|&(y, x)| {
            let others: Vec<usize> = (0..n).filter(|&v| v != x && v != y).collect();
            !subsets(&others).iter().any(|s| oracle.independent(x, y, s))
        })
        .collect();
    let mut ends: Vec<Option<End>> = vec![None; n * n];
    let mut members = 0;
    for code in 0..3_usize.pow(u32::try_from(pairs.len()).unwrap()) {
        let mut edges = Edges::new(n);
        let mut rest = code;
        for &(a, b) in &pairs {
            match rest % 3 {
                0 => edges.add_directed(a, b),
                1 => edges.add_directed(b, a),
                _ => edges.add_bidirected(a, b),
            }
            rest /= 3;
        }
        let candidate = Oracle { edges, observed: n };
        if !is_ancestral(&candidate.edges) || verdicts(&candidate) != wanted {
            continue;
        }
        members += 1;
        for &(a, b) in &pairs {
            for (from, to) in [(a, b), (b, a)] {
                let here = if candidate.edges.has_directed(to, from) {
                    End::Tail
                } else {
                    End::Arrow
                };
                let known = &mut ends[from * n + to];
                *known = match *known {
                    None => Some(here),
                    Some(end) if end == here => Some(end),
                    Some(_) => Some(End::Circle),
                };
            }
        }
    }
    assert!(members > 0, "the graph's own projection is in the class");
    ends
}

fn learned_pag(oracle: &Oracle) -> Pag {
    let learned = fci::learn(
        oracle,
        None,
        &fci::Known::new(&nothing(oracle.observed)),
        &Uncontrolled,
    )
    .unwrap();
    assert_eq!(
        learned.pag.conflicts, 0,
        "an oracle does not contradict itself"
    );
    learned.pag
}

fn ends_of(pag: &Pag, n: usize) -> Vec<Option<End>> {
    (0..n * n).map(|i| pag.end(i / n, i % n)).collect()
}

/// A random DAG whose hidden nodes have no parents and at least two children.
fn random(rng: &mut Philox, observed: usize, hidden: usize, density: f64) -> Oracle {
    let mut arrows = Vec::new();
    let order = rng.permutation(observed);
    for (i, &b) in order.iter().enumerate() {
        for &a in &order[..i] {
            if rng.uniform() < density {
                arrows.push((a, b));
            }
        }
    }
    for latent in observed..observed + hidden {
        let children = rng.permutation(observed);
        for &child in &children[..2 + rng.index_below(2)] {
            arrows.push((latent, child));
        }
    }
    Oracle::of(observed + hidden, observed, &arrows)
}

#[test]
fn fci_finds_the_pag_of_textbook_cases() {
    // a -> b <- c with a hidden cause of b and d, c -> d: d-separation, bidirected edges.
    let cases: [(usize, usize, &Arrows); 5] = [
        (5, 4, &[(0, 1), (2, 1), (4, 1), (4, 3), (2, 3)]),
        // Y structure: 0 -> 2 <- 1, 2 -> 3.
        (4, 4, &[(0, 2), (1, 2), (2, 3)]),
        // Instrument with hidden confounding: 0 -> 1 -> 2, 3 hidden cause of 1 and 2.
        (4, 3, &[(0, 1), (1, 2), (3, 1), (3, 2)]),
        // M structure.
        (5, 3, &[(3, 0), (3, 1), (4, 1), (4, 2)]),
        // Discriminating path 0 -> 1 <-> 2 -> 3 with 1 -> 3.
        (5, 4, &[(0, 1), (4, 1), (4, 2), (1, 3), (2, 3)]),
    ];
    for (nodes, observed, arrows) in cases {
        let oracle = Oracle::of(nodes, observed, arrows);
        let pag = learned_pag(&oracle);
        assert_eq!(ends_of(&pag, observed), true_pag(&oracle), "{arrows:?}");
    }
}

#[test]
fn discriminating_path_gives_tail_or_arrow() {
    let with = |last: (usize, usize)| {
        let arrows = [(0, 1), (4, 1), (4, 2), (1, 3), last];
        learned_pag(&Oracle::of(6, 4, &arrows))
    };
    assert!(with((2, 3)).directed(2, 3));
    let arrows = [(0, 1), (4, 1), (4, 2), (1, 3), (5, 2), (5, 3)];
    let pag = learned_pag(&Oracle::of(6, 4, &arrows));
    assert_eq!(
        (pag.end(2, 3), pag.end(3, 2)),
        (Some(End::Arrow), Some(End::Arrow))
    );
}

/// Every rule is needed for some of these; 4 to 5 observed nodes with up to 3 hidden ones.
#[test]
fn fci_finds_the_pag_by_definition_on_random_graphs() {
    let mut rng = Philox::new(41, 0);
    for round in 0..150 {
        let observed = if round % 5 == 0 { 5 } else { 4 };
        let hidden = rng.index_below(3);
        let oracle = random(&mut rng, observed, hidden, 0.35);
        let pag = learned_pag(&oracle);
        assert_eq!(ends_of(&pag, observed), true_pag(&oracle), "round {round}");
    }
}

/// On larger graphs going through all graphs is out of reach, but every end that FCI marks has to
/// be true: no arrowhead at an ancestor, a tail only at one, and adjacent are exactly the pairs
/// that no set separates.
#[test]
fn every_mark_of_fci_is_true_on_larger_graphs() {
    let mut rng = Philox::new(42, 0);
    for round in 0..60 {
        let oracle = random(&mut rng, 7, 3, 0.3);
        let pag = learned_pag(&oracle);
        for x in 0..7 {
            for y in (0..7).filter(|&y| y != x) {
                let others: Vec<usize> = (0..7).filter(|&v| v != x && v != y).collect();
                let apart = subsets(&others).iter().any(|s| oracle.independent(x, y, s));
                assert_eq!(pag.adjacent(x, y), !apart, "round {round}: {x} {y}");
                match pag.end(x, y) {
                    Some(End::Arrow) => assert!(!oracle.is_ancestor(y, x), "round {round}"),
                    Some(End::Tail) => assert!(oracle.is_ancestor(y, x), "round {round}"),
                    Some(End::Circle) | None => {}
                }
            }
        }
    }
}

#[test]
fn pc_finds_the_class_of_random_dags() {
    let mut rng = Philox::new(43, 0);
    for round in 0..60 {
        let oracle = random(&mut rng, 8, 0, 0.35);
        let known = nothing(8);
        let skeleton = Skeleton::learn(&oracle, None, &pc::Known(&known), &Uncontrolled).unwrap();
        let found = pc::orient(&skeleton, &pc::Known(&known), &Uncontrolled).unwrap();
        let dag: Vec<Vec<usize>> = (0..8)
            .map(|b| {
                (0..8)
                    .filter(|&a| oracle.edges.has_directed(a, b))
                    .collect()
            })
            .collect();
        assert_eq!(found.class, Cpdag::of(&dag), "round {round}");
        assert_eq!(found.conflicts, 0);
    }
}

fn names(d: usize) -> Vec<String> {
    (0..d).map(|i| format!("x{i}")).collect()
}

fn nothing(d: usize) -> Knowledge {
    Knowledge::new(&Background::default(), &names(d)).unwrap()
}

fn stated(json: &str, d: usize) -> Knowledge {
    Knowledge::new(&serde_json::from_str(json).unwrap(), &names(d)).unwrap()
}

#[test]
fn what_is_known_beforehand_directs_removes_and_keeps() {
    // The chain 0 -> 1 -> 2 -> 3 is undirected from data; that 1 causes not 0 directs all of it.
    let chain = Oracle::of(4, 4, &[(0, 1), (1, 2), (2, 3)]);
    let run = |knowledge: &Knowledge| {
        let known = pc::Known(knowledge);
        let skeleton = Skeleton::learn(&chain, None, &known, &Uncontrolled).unwrap();
        pc::orient(&skeleton, &known, &Uncontrolled)
            .unwrap()
            .edges()
    };
    let directed = |a, b| (a, b, EdgeType::Directed);
    let no_return = stated(
        r#"{"required": [], "forbidden": [["x1", "x0"]], "tiers": []}"#,
        4,
    );
    assert_eq!(
        run(&no_return),
        [directed(0, 1), directed(1, 2), directed(2, 3)]
    );
    let apart = stated(
        r#"{"required": [["x0", "x3"]], "forbidden": [["x0", "x1"], ["x1", "x0"]], "tiers": []}"#,
        4,
    );
    let found = run(&apart);
    assert!(found.contains(&directed(0, 3)));
    assert!(
        !found
            .iter()
            .any(|e| (e.0, e.1) == (0, 1) || (e.0, e.1) == (1, 0))
    );
}

/// 0 and 1 with a hidden common cause: tiers give the arrowhead at 1 but never a tail, and a
/// required edge both.
#[test]
fn fci_takes_tiers_for_arrowheads_and_required_edges_for_both_ends() {
    let oracle = Oracle::of(3, 2, &[(2, 0), (2, 1)]);
    let run = |knowledge: &Knowledge| {
        let known = fci::Known::new(knowledge);
        fci::learn(&oracle, None, &known, &Uncontrolled)
            .unwrap()
            .pag
            .edges()
    };
    let tiers = stated(
        r#"{"required": [], "forbidden": [], "tiers": [["x0"], ["x1"]]}"#,
        2,
    );
    assert_eq!(run(&tiers), [(0, 1, EdgeType::PartiallyDirected)]);
    let required = stated(
        r#"{"required": [["x0", "x1"]], "forbidden": [], "tiers": []}"#,
        2,
    );
    assert_eq!(run(&required), [(0, 1, EdgeType::Directed)]);
}
