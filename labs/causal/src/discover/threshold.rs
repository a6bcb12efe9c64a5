//! From the weights of a continuous method to edges: small weights are dropped, and if what is left
//! has a cycle the threshold rises until it has none.

use super::result::{IndexedEdge, Warning, WarningCode};
use crate::graph::{EdgeType, NodeSet};

/// Edges whose weights (row-major, from row to column) reach the threshold, and a warning when it
/// had to rise.
pub(super) fn acyclic_edges(
    weights: &[f64],
    d: usize,
    asked: f64,
) -> (Vec<IndexedEdge>, Option<Warning>) {
    let (cut, raised) = acyclic_threshold(weights, d, asked);
    let kept = weights.iter().enumerate();
    let kept = kept.filter(|(_, weight)| weight.abs() >= cut && weight.abs() > 0.0);
    let edges = kept.map(|(at, &weight)| IndexedEdge {
        from: at / d,
        to: at % d,
        kind: EdgeType::Directed,
        weight,
    });
    let warning = raised.then(|| {
        let message =
            format!("weights of {asked} and more hold a cycle; the threshold was raised to {cut}");
        Warning::new(WarningCode::ThresholdRaised, Some(cut), message)
    });
    (edges.collect(), warning)
}

/// An order that the weights agree with, the largest first: each is taken as an edge unless that
/// closes a cycle, and tails come before heads.
pub(super) fn causal_order(weights: &[f64], d: usize) -> Vec<usize> {
    let mut edges: Vec<(f64, usize)> = weights
        .iter()
        .enumerate()
        .map(|(at, weight)| (weight.abs(), at))
        .filter(|(size, _)| *size > 0.0)
        .collect();
    edges.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    // Each variable, and those that lead to it.
    let mut ancestors: Vec<NodeSet> = (0..d).map(|v| NodeSet::of(d, &[v])).collect();
    for (_, at) in edges {
        let (tail, head) = (at / d, at % d);
        if ancestors[tail].contains(head) || ancestors[head].contains(tail) {
            continue;
        }
        let more = ancestors[tail].clone();
        for set in ancestors.iter_mut().filter(|set| set.contains(head)) {
            set.add(&more);
        }
    }
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by_key(|&v| ancestors[v].len());
    order
}

/// The threshold asked for, or the least weight above it without which the rest is acyclic.
fn acyclic_threshold(weights: &[f64], d: usize, asked: f64) -> (f64, bool) {
    let mut sizes: Vec<f64> = weights
        .iter()
        .map(|w| w.abs())
        .filter(|w| *w >= asked && *w > 0.0)
        .collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.dedup_by(|a, b| a.total_cmp(b).is_eq());
    let acyclic_from = |cut: f64| is_acyclic(d, |i, j| weights[i * d + j].abs() >= cut);
    match sizes.first() {
        None => (asked, false),
        Some(&least) if acyclic_from(least) => (asked, false),
        Some(_) => {
            let at = sizes.partition_point(|&cut| !acyclic_from(cut));
            // Above the largest weight nothing is left, and nothing is acyclic.
            let largest = sizes[sizes.len() - 1];
            (sizes.get(at).copied().unwrap_or(largest.next_up()), true)
        }
    }
}

fn is_acyclic(d: usize, edge: impl Fn(usize, usize) -> bool) -> bool {
    let mut left: Vec<usize> = (0..d).collect();
    loop {
        let before = left.len();
        let inner: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&j| left.iter().any(|&i| edge(i, j)))
            .collect();
        if inner.is_empty() {
            return true;
        }
        if inner.len() == before {
            return false;
        }
        left = inner;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_follows_the_largest_weights_that_close_no_cycle() {
        let mut weights = vec![0.0; 16];
        // 3 -> 1 -> 2 -> 0; the lesser 0 -> 3 would close a cycle, and 2 -> 3 too.
        (weights[12 + 1], weights[4 + 2], weights[8]) = (0.9, -0.8, 0.5);
        (weights[3], weights[8 + 3]) = (0.4, 0.7);
        assert_eq!(causal_order(&weights, 4), [3, 1, 2, 0]);
    }

    #[test]
    fn threshold_rises_until_no_cycle_is_left() {
        let mut weights = vec![0.0; 9];
        (weights[1], weights[3 + 2], weights[6]) = (0.9, 0.8, 0.5);
        assert_eq!(acyclic_threshold(&weights, 3, 0.3), (0.8, true));
        assert_eq!(acyclic_threshold(&weights, 3, 0.6), (0.6, false));
        (weights[5], weights[6]) = (0.9, 0.9);
        assert_eq!(
            acyclic_threshold(&weights, 3, 0.3),
            (0.9_f64.next_up(), true)
        );
    }
}
