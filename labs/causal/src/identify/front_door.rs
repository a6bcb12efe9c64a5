//! Minimal front-door sets (Pearl 2009, definition 3.3.3). Whether a set with a given bound
//! exists is answered by the largest candidate inside the bound (Jeong, Tian and Bareinboim
//! 2022; Wienobst, van der Zander and Liskiewicz 2024); taking one node at a time out of the
//! bound gives a minimal set, and a hitting-set tree (Reiter 1987) gives all of them.

use std::collections::{BTreeSet, VecDeque};

use super::separators::Listing;
use crate::LabError;
use crate::control::{Control, Stop};
use crate::graph::{Edges, NodeSet};

/// Reachability searches per node of the graph before the listing stops as incomplete.
const SEARCHES_MAX: usize = 4_000;

struct FrontDoor<'a> {
    edges: &'a Edges,
    x: &'a NodeSet,
    y: &'a NodeSet,
    searches_left: usize,
    control: &'a dyn Control,
}

/// Why a search ends without an answer.
enum Halt {
    OutOfSearches,
    Stopped(Stop),
}

/// Minimal front-door sets, up to `limit`; not complete if there are more, or if the work for
/// finding them all is out of bounds.
pub(crate) fn front_door_sets(
    edges: &Edges,
    x: &NodeSet,
    y: &NodeSet,
    limit: usize,
    control: &dyn Control,
) -> Result<Listing, LabError> {
    let searches_left = (SEARCHES_MAX * 16 / edges.nodes().max(16)).max(64);
    let mut search = FrontDoor {
        edges,
        x,
        y,
        searches_left,
        control,
    };
    let mut sets: Vec<NodeSet> = Vec::new();
    let candidates = search.candidates();
    let mut queue = VecDeque::from([NodeSet::empty(edges.nodes())]);
    let mut seen = BTreeSet::new();
    while let Some(excluded) = queue.pop_front() {
        control.check()?;
        let known = sets.iter().find(|set| !set.intersects(&excluded)).cloned();
        let found = match known {
            Some(set) => Some(set),
            None => match search.minimal(&candidates.minus(&excluded)) {
                Ok(found) => found,
                Err(Halt::OutOfSearches) => return Ok(Listing::sorted(sets, false)),
                Err(Halt::Stopped(stop)) => return Err(stop.into()),
            },
        };
        let Some(found) = found else { continue };
        if !sets.contains(&found) {
            if sets.len() == limit {
                return Ok(Listing::sorted(sets, false));
            }
            sets.push(found.clone());
        }
        for node in found.iter() {
            let mut wider = excluded.clone();
            wider.insert(node);
            if seen.insert(wider.clone()) {
                queue.push_back(wider);
            }
        }
        if seen.len() > SEARCHES_MAX {
            return Ok(Listing::sorted(sets, false));
        }
    }
    Ok(Listing::sorted(sets, true))
}

impl FrontDoor<'_> {
    /// Ancestors of the outcome that no back-door path joins to a treatment. A front-door set
    /// stays one without its nodes that do not cause the outcome.
    fn candidates(&self) -> NodeSet {
        let everything = NodeSet::full(self.edges.nodes());
        let nothing = NodeSet::empty(self.edges.nodes());
        let joined = self
            .edges
            .without_outgoing(self.x)
            .connected(self.x, &nothing);
        let causes = self.edges.ancestors(self.y, &everything);
        causes.minus(&joined).minus(self.x).minus(self.y)
    }

    /// The largest set inside `bound` whose back-door paths to the outcome the treatment blocks,
    /// if it intercepts every directed path. Dropping a node opens paths, so what is joined to
    /// the outcome under a larger set cannot be part of a smaller one.
    fn largest(&mut self, bound: &NodeSet) -> Result<Option<NodeSet>, Halt> {
        let mut set = bound.clone();
        loop {
            if self.searches_left == 0 {
                return Err(Halt::OutOfSearches);
            }
            self.control.check().map_err(Halt::Stopped)?;
            self.searches_left -= 1;
            let joined = self.edges.without_outgoing(&set).connected(self.y, self.x);
            if !joined.intersects(&set) {
                break;
            }
            set.subtract(&joined);
        }
        let around = NodeSet::full(self.edges.nodes()).minus(&set);
        let reached = self.edges.descendants(self.x, &around);
        Ok(if reached.intersects(self.y) {
            None
        } else {
            Some(set)
        })
    }

    fn minimal(&mut self, bound: &NodeSet) -> Result<Option<NodeSet>, Halt> {
        let Some(mut set) = self.largest(bound)? else {
            return Ok(None);
        };
        for node in bound.iter() {
            if set.contains(node) {
                let mut smaller = set.clone();
                smaller.remove(node);
                if let Some(found) = self.largest(&smaller)? {
                    set = found;
                }
            }
        }
        Ok(Some(set))
    }
}
