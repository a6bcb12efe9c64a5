//! The k shortest paths, ties in lexicographic order: best-first search in which the bound of a
//! beginning is the exact length of its shortest completion (the deviations of Yen 1971 and
//! Lawler 1972). Every beginning that is looked at is one of some path that is answered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::network::{Course, Network, Route, Sign, Step};
use crate::LabError;
use crate::control::Control;
use crate::graph::NodeSet;

/// Farther than any node.
const UNREACHED: usize = usize::MAX;

/// Steps from each node to `target`, over `allowed` steps and not through `avoided` nodes.
fn distances(
    network: &Network,
    target: usize,
    avoided: Option<&NodeSet>,
    allowed: impl Fn(Step) -> bool,
) -> Vec<usize> {
    let mut distance = vec![UNREACHED; network.nodes];
    distance[target] = 0;
    let mut queue = vec![target];
    let mut next = 0;
    while let Some(&node) = queue.get(next) {
        next += 1;
        for &step in network.steps(node) {
            let is_new = distance[step.node] == UNREACHED;
            let is_free = avoided.is_none_or(|avoided| !avoided.contains(step.node));
            if is_new && is_free && allowed(step) {
                distance[step.node] = distance[node] + 1;
                queue.push(step.node);
            }
        }
    }
    distance
}

pub(super) fn shortest(
    route: &Route<'_>,
    wanted: usize,
    control: &dyn Control,
) -> Result<Vec<Vec<Step>>, LabError> {
    let mut found = Vec::new();
    if wanted == 0 {
        return Ok(found);
    }
    let bounds = Bounds::new(route);
    let mut heap = BinaryHeap::from([Reverse((0_usize, Vec::<Step>::new()))]);
    while let Some(Reverse((_, path))) = heap.pop() {
        control.check()?;
        let last = path.last().map_or(route.source, |step| step.node);
        if last == route.target {
            found.push(path);
            if found.len() == wanted {
                break;
            }
            continue;
        }
        let left = bounds.after(&path);
        for &step in route.network.steps(last) {
            if path.is_empty() && !route.may_start(step) {
                continue;
            }
            if let Some(rest) = bounds.rest(&left, &path, step) {
                let mut longer = Vec::with_capacity(path.len() + 1);
                longer.extend_from_slice(&path);
                longer.push(step);
                heap.push(Reverse((longer.len() + rest, longer)));
            }
        }
    }
    Ok(found)
}

/// Lengths of shortest completions.
struct Bounds<'a> {
    route: &'a Route<'a>,
    to_target: Vec<usize>,
    to_via: Vec<usize>,
}

impl<'a> Bounds<'a> {
    fn new(route: &'a Route<'a>) -> Self {
        let backwards = |step: Step| step.sign == Sign::Backward;
        let network = route.network;
        let (to_target, to_via) = match route.course {
            Course::Simple { .. } => (Vec::new(), Vec::new()),
            Course::Directed { via, .. } => (
                distances(network, route.target, None, backwards),
                via.map_or_else(Vec::new, |via| distances(network, via, None, backwards)),
            ),
        };
        Self {
            route,
            to_target,
            to_via,
        }
    }

    /// Distances to the target without the path, where they depend on it.
    fn after(&self, path: &[Step]) -> Vec<usize> {
        match self.route.course {
            Course::Directed { .. } => Vec::new(),
            Course::Simple { .. } => {
                let mut avoided = NodeSet::of(self.route.network.nodes, &[self.route.source]);
                for step in path {
                    avoided.insert(step.node);
                }
                distances(
                    self.route.network,
                    self.route.target,
                    Some(&avoided),
                    |_| true,
                )
            }
        }
    }

    fn rest(&self, left: &[usize], path: &[Step], step: Step) -> Option<usize> {
        let rest = match self.route.course {
            Course::Simple { .. } => left[step.node],
            Course::Directed { .. } if step.sign != Sign::Forward => UNREACHED,
            Course::Directed { via: Some(via), .. }
                if step.node != via && path.iter().all(|earlier| earlier.node != via) =>
            {
                self.to_via[step.node].saturating_add(self.to_target[via])
            }
            Course::Directed { .. } => self.to_target[step.node],
        };
        (rest != UNREACHED).then_some(rest)
    }
}
