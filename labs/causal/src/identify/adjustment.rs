//! Covariate adjustment: the complete criterion (Shpitser, VanderWeele and Robins 2010) in its
//! constructive form (van der Zander, Liskiewicz and Textor 2014, 2019), Pearl's back-door
//! criterion, and the asymptotically best set of Henckel, Perkovic and Maathuis (2022).

use super::separators::{Listing, minimal_separators};
use crate::LabError;
use crate::control::Control;
use crate::graph::{Edges, NodeSet};

/// The proper back-door graph and the nodes that may be adjusted for in it.
pub(crate) struct Adjustment {
    pub(crate) backdoor: Edges,
    pub(crate) allowed: NodeSet,
}

/// Nodes other than treatments on proper causal paths: from a treatment to an outcome through
/// no other treatment.
pub(crate) fn on_causal_paths(edges: &Edges, x: &NodeSet, y: &NodeSet) -> NodeSet {
    let untreated = NodeSet::full(edges.nodes()).minus(x);
    let towards = edges.ancestors(y, &untreated);
    let mut first = NodeSet::empty(edges.nodes());
    for node in x.iter() {
        first.add_words(edges.children(node));
    }
    edges.descendants(&first, &untreated).intersection(&towards)
}

impl Adjustment {
    pub(crate) fn new(edges: &Edges, x: &NodeSet, y: &NodeSet) -> Self {
        let everything = NodeSet::full(edges.nodes());
        let causal = on_causal_paths(edges, x, y);
        let forbidden = edges.descendants(&causal, &everything);
        let mut backdoor = edges.clone();
        for from in x.iter() {
            for to in causal.iter().filter(|&to| edges.has_directed(from, to)) {
                backdoor.remove_directed(from, to);
            }
        }
        let allowed = everything.minus(&forbidden).minus(x).minus(y);
        Self { backdoor, allowed }
    }

    /// Whether `set` satisfies the complete adjustment criterion.
    pub(crate) fn admits(&self, x: &NodeSet, y: &NodeSet, set: &NodeSet) -> bool {
        set.is_subset(&self.allowed) && self.backdoor.separated(x, y, set)
    }

    pub(crate) fn minimal_sets(
        &self,
        x: &NodeSet,
        y: &NodeSet,
        limit: usize,
        control: &dyn Control,
    ) -> Result<Listing, LabError> {
        minimal_separators(&self.backdoor, (x, y), &self.allowed, limit, control)
    }
}

/// Minimal sets of nodes that no treatment causes and that block every back-door path (Pearl
/// 2009, definition 3.3.1; for several treatments as rule 2 of the do-calculus reads it).
pub(crate) fn back_door_sets(
    edges: &Edges,
    x: &NodeSet,
    y: &NodeSet,
    limit: usize,
    control: &dyn Control,
) -> Result<Listing, LabError> {
    let everything = NodeSet::full(edges.nodes());
    let allowed = everything
        .minus(&edges.descendants(x, &everything))
        .minus(y);
    minimal_separators(&edges.without_outgoing(x), (x, y), &allowed, limit, control)
}

/// The parents of the causal nodes that are not forbidden. `None` if there are latent common
/// causes, if a treatment has no effect on an outcome, or if several treatments or outcomes are
/// such that this set, and with it every set, fails the criterion.
pub(crate) fn optimal_set(
    criterion: &Adjustment,
    edges: &Edges,
    x: &NodeSet,
    y: &NodeSet,
) -> Option<NodeSet> {
    let everything = NodeSet::full(edges.nodes());
    let causal = on_causal_paths(edges, x, y);
    if edges.has_any_bidirected() || !y.is_subset(&causal) {
        return None;
    }
    let forbidden = edges.descendants(&causal, &everything).union(x);
    let best = edges.with_parents(&causal).minus(&forbidden);
    criterion.admits(x, y, &best).then_some(best)
}
