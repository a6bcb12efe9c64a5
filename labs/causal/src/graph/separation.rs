//! m-separation (d-separation when there is no bidirected edge), by reachability: each node is
//! visited at most twice, once through an arrowhead and once through a tail.

use super::admg::Edges;
use super::node_set::{NodeSet, bits};

impl Edges {
    /// The nodes that an open path joins to a member of `from` given `given`, with `from` itself.
    /// Members of `given` may be in the result: an open path can end at one.
    #[must_use]
    pub fn connected(&self, from: &NodeSet, given: &NodeSet) -> NodeSet {
        let everything = NodeSet::full(self.nodes());
        let openable = self.ancestors(given, &everything);
        let mut by_head = NodeSet::empty(self.nodes());
        let mut by_tail = from.clone();
        let mut stack: Vec<(usize, bool)> = from.iter().map(|node| (node, false)).collect();
        while let Some((node, head)) = stack.pop() {
            let passes = !given.contains(node);
            let collides = if head {
                openable.contains(node)
            } else {
                passes
            };
            if passes {
                visit(self.children(node), &mut by_head, &mut stack, true);
            }
            if collides {
                visit(self.parents(node), &mut by_tail, &mut stack, false);
                visit(self.siblings(node), &mut by_head, &mut stack, true);
            }
        }
        by_head.union(&by_tail)
    }

    /// Whether every path between `a` and `b` is blocked by `given`. The three sets are disjoint.
    #[must_use]
    pub fn separated(&self, a: &NodeSet, b: &NodeSet, given: &NodeSet) -> bool {
        !self.connected(a, given).intersects(b)
    }
}

fn visit(row: &[u64], seen: &mut NodeSet, stack: &mut Vec<(usize, bool)>, head: bool) {
    for node in bits(row) {
        if !seen.contains(node) {
            seen.insert(node);
            stack.push((node, head));
        }
    }
}
