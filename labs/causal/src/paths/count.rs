//! How many paths there are: exactly by dynamic programming along the arrows, whatever the
//! number; up to a budget of work for the others.

use num_bigint::BigUint;

use super::answer::{Mediator, PathCount};
use super::network::Route;
use super::walk::Walk;
use crate::LabError;
use crate::control::Control;
use crate::graph::{Admg, NodeSet, bits};

/// What a count may cost, in units of about a nanosecond.
const COST_MAX: u64 = 8_000_000;
/// What a search for extensions costs whatever the size of the graph.
const COST_PER_SEARCH: u64 = 250;

/// Directed paths from the source to each node and from each node to the target.
pub(super) struct Directed {
    from_source: Vec<BigUint>,
    to_target: Vec<BigUint>,
    between: NodeSet,
    is_direct: bool,
    source: usize,
    target: usize,
}

impl Directed {
    pub(super) fn new(
        graph: &Admg,
        &(source, target): &(usize, usize),
        control: &dyn Control,
    ) -> Result<Self, LabError> {
        let (edges, count) = (graph.edges(), graph.nodes());
        let everything = NodeSet::full(count);
        let below = edges.descendants(&NodeSet::of(count, &[source]), &everything);
        let above = edges.ancestors(&NodeSet::of(count, &[target]), &everything);
        let between = below.intersection(&above);
        let mut from_source = vec![BigUint::ZERO; count];
        let mut to_target = from_source.clone();
        let on_way: Vec<usize> = graph
            .order()
            .iter()
            .copied()
            .filter(|&node| between.contains(node))
            .collect();
        if between.contains(source) {
            from_source[source] = BigUint::from(1_u8);
            to_target[target] = BigUint::from(1_u8);
        }
        for &node in &on_way {
            control.check()?;
            let mut sum = std::mem::take(&mut from_source[node]);
            for parent in bits(edges.parents(node)).filter(|&parent| between.contains(parent)) {
                sum += &from_source[parent];
            }
            from_source[node] = sum;
        }
        for &node in on_way.iter().rev() {
            control.check()?;
            let mut sum = std::mem::take(&mut to_target[node]);
            for child in bits(edges.children(node)).filter(|&child| between.contains(child)) {
                sum += &to_target[child];
            }
            to_target[node] = sum;
        }
        Ok(Self {
            from_source,
            to_target,
            between,
            is_direct: edges.has_directed(source, target),
            source,
            target,
        })
    }

    pub(super) fn total(&self) -> PathCount {
        PathCount::exact(&self.from_source[self.target])
    }

    fn over(&self, node: usize) -> BigUint {
        &self.from_source[node] * &self.to_target[node]
    }

    /// Paths over `via`, or over any node between.
    pub(super) fn through(&self, via: Option<usize>) -> PathCount {
        match via {
            Some(via) => PathCount::exact(&self.over(via)),
            None => {
                let all = &self.from_source[self.target];
                PathCount::exact(&(all - u8::from(self.is_direct)))
            }
        }
    }

    pub(super) fn mediators(&self, graph: &Admg) -> Vec<Mediator> {
        let inner = self.between.iter();
        inner
            .filter(|&node| node != self.source && node != self.target)
            .map(|node| Mediator {
                node: graph.name(node).to_owned(),
                paths: self.over(node).to_string(),
            })
            .collect()
    }
}

/// Paths counted one by one.
pub(super) struct Counted {
    found: u64,
    exact: bool,
}

impl Counted {
    /// The count, when `seen` different paths are known besides.
    pub(super) fn at_least(self, seen: usize) -> PathCount {
        PathCount {
            value: self.found.max(seen as u64).to_string(),
            exact: self.exact,
        }
    }
}

/// Counts paths one by one until the budget is spent.
pub(super) fn up_to_budget(route: &Route<'_>, control: &dyn Control) -> Result<Counted, LabError> {
    let mut walk = Walk::start(route);
    let nodes = route.network.nodes as u64;
    let cost = COST_PER_SEARCH + nodes * nodes.div_ceil(64) / 3;
    let mut found = 0_u64;
    loop {
        if walk.searches.saturating_mul(cost) > COST_MAX {
            return Ok(Counted {
                found,
                exact: false,
            });
        }
        if !walk.advance(control)? {
            return Ok(Counted { found, exact: true });
        }
        found += 1;
    }
}
