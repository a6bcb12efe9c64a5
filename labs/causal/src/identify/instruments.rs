//! Conditional instruments for the total effect of one treatment on one outcome (van der Zander,
//! Textor and Liskiewicz, IJCAI 2015): `Z` given `W` such that, once the first edges of the
//! causal paths are taken out, `W` separates `Z` from the outcome but not from the treatment, and
//! neither `Z` nor `W` lies below a causal path. In a linear model the effect is then
//! `cov(Z, Y | W) / cov(Z, X | W)`.
//!
//! Whether a given node is an instrument is NP-complete; searched are ancestral instruments, whose
//! `W` are ancestors of `Z` and outcome, by one separator each: the one nearest to the outcome.
//! Where there is any instrument there is an ancestral one.

use super::adjustment::Adjustment;
use super::separators::Undirected;
use crate::LabError;
use crate::control::Control;
use crate::graph::{Edges, NodeSet};

/// An instrument and what it is conditioned on.
pub(crate) struct Found {
    pub(crate) instrument: usize,
    pub(crate) given: NodeSet,
}

/// The ancestral instruments, by name. `x` and `y` have one member each.
pub(crate) fn instruments(
    adjustment: &Adjustment,
    x: &NodeSet,
    y: &NodeSet,
    control: &dyn Control,
) -> Result<Vec<Found>, LabError> {
    let cut = &adjustment.backdoor;
    let mut found = Vec::new();
    for node in adjustment.allowed.iter() {
        control.check()?;
        let z = NodeSet::of(cut.nodes(), &[node]);
        let usable = adjustment.allowed.minus(&z);
        let Some(given) = nearest_separator(cut, &z, y, &usable) else {
            continue;
        };
        if !cut.separated(&z, x, &given) {
            found.push(Found {
                instrument: node,
                given,
            });
        }
    }
    Ok(found)
}

/// The separator of `z` and `y` inside `usable` that leaves open the most paths to `z`: usable
/// nodes that are met first from `y`, as far as they are joined to `z`.
fn nearest_separator(edges: &Edges, z: &NodeSet, y: &NodeSet, usable: &NodeSet) -> Option<NodeSet> {
    let everything = NodeSet::full(edges.nodes());
    let ancestors = edges.ancestors(&y.union(z), &everything);
    let graph = Undirected::augmented(edges, &ancestors);
    let around = graph.component(y, &usable.union(z));
    let rim = graph.neighbours(&around);
    if rim.intersects(z) {
        return None;
    }
    Some(graph.neighbours(&graph.component(z, &rim)))
}
