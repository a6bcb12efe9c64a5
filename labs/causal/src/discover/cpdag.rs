//! The graph of an equivalence class: directed where all members agree, undirected where not.
//! With background knowledge the class is the smaller one of the members that honour it.

use crate::graph::NodeSet;

/// No variable.
pub(super) const NOWHERE: usize = usize::MAX;

/// Marks between variables; `i -> j` is a mark at (i, j) only, `i - j` one at both. Kept by row
/// and by column, so that parents, children and neighbours are a few word operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cpdag {
    outgoing: Vec<NodeSet>,
    incoming: Vec<NodeSet>,
}

impl Cpdag {
    /// No edges.
    pub(super) fn empty(width: usize) -> Self {
        Self {
            outgoing: vec![NodeSet::empty(width); width],
            incoming: vec![NodeSet::empty(width); width],
        }
    }

    /// The class of a graph given by the parents of each variable: colliders keep their
    /// direction, then the rules 1 to 3 of Meek (UAI 1995).
    pub(super) fn of(dag: &[Vec<usize>]) -> Self {
        let mut class = Self::empty(dag.len());
        for (head, parents) in dag.iter().enumerate() {
            for &tail in parents {
                class.join(tail, head);
            }
        }
        let mut colliders = Vec::new();
        for (head, parents) in dag.iter().enumerate() {
            for &tail in parents {
                if parents
                    .iter()
                    .any(|&p| p != tail && !class.adjacent(p, tail))
                {
                    colliders.push((tail, head));
                }
            }
        }
        let mut touched = Vec::with_capacity(2 * colliders.len());
        for (tail, head) in colliders {
            class.direct(tail, head);
            touched.extend([tail, head]);
        }
        class.close(touched, false);
        class
    }

    pub(super) fn width(&self) -> usize {
        self.outgoing.len()
    }

    pub(super) fn directed(&self, from: usize, to: usize) -> bool {
        self.has(from, to) && !self.has(to, from)
    }

    pub(super) fn undirected(&self, a: usize, b: usize) -> bool {
        self.has(a, b) && self.has(b, a)
    }

    pub(super) fn adjacent(&self, a: usize, b: usize) -> bool {
        self.has(a, b) || self.has(b, a)
    }

    /// Variables with an undirected edge to `v`, ascending.
    pub(super) fn neighbours(&self, v: usize) -> Vec<usize> {
        self.outgoing[v]
            .intersection(&self.incoming[v])
            .iter()
            .collect()
    }

    /// Variables with an edge into `v`, ascending.
    pub(super) fn parents(&self, v: usize) -> Vec<usize> {
        self.incoming[v].minus(&self.outgoing[v]).iter().collect()
    }

    /// Variables with any edge to `v`.
    pub(super) fn adjacents(&self, v: usize) -> NodeSet {
        self.outgoing[v].union(&self.incoming[v])
    }

    /// Variables that a step along an edge, not against its direction, leads to from `v`.
    pub(super) fn reachable_in_one(&self, v: usize) -> &NodeSet {
        &self.outgoing[v]
    }

    /// For each variable that a path leads to from `start`, never against an edge and around
    /// `closed`, the one before it on a shortest path; `NOWHERE` for the others.
    pub(super) fn reach(&self, start: usize, closed: &[usize]) -> Vec<usize> {
        let mut open = NodeSet::full(self.width());
        for &v in closed.iter().chain([&start]) {
            open.remove(v);
        }
        let mut whence = vec![NOWHERE; self.width()];
        let mut queue = vec![start];
        let mut next = 0;
        while let Some(&v) = queue.get(next) {
            next += 1;
            for w in self.outgoing[v].intersection(&open).iter() {
                open.remove(w);
                whence[w] = v;
                queue.push(w);
            }
        }
        whence
    }

    /// Whether a path of directed edges leads from `from` to `to`.
    pub(super) fn leads(&self, from: usize, to: usize) -> bool {
        let mut open = NodeSet::full(self.width());
        let mut stack = vec![from];
        while let Some(v) = stack.pop() {
            if v == to {
                return true;
            }
            let next = self.outgoing[v].minus(&self.incoming[v]);
            for w in next.intersection(&open).iter() {
                open.remove(w);
                stack.push(w);
            }
        }
        false
    }

    /// Whether all edges at `v` are the same in both.
    pub(super) fn same_at(&self, other: &Self, v: usize) -> bool {
        self.outgoing[v] == other.outgoing[v] && self.incoming[v] == other.incoming[v]
    }

    /// Makes `a - b`.
    pub(super) fn join(&mut self, a: usize, b: usize) {
        self.set(a, b, true);
        self.set(b, a, true);
    }

    /// Makes `a -> b`.
    pub(super) fn direct(&mut self, from: usize, to: usize) {
        self.set(from, to, true);
        self.set(to, from, false);
    }

    /// Takes the edge away.
    pub(super) fn part(&mut self, a: usize, b: usize) {
        self.set(a, b, false);
        self.set(b, a, false);
    }

    /// Directs what follows, by the rules of Meek (UAI 1995), from edges that were directed at the
    /// variables `touched`. Rule 4 is needed only when directions came from outside the data.
    pub(super) fn close(&mut self, mut touched: Vec<usize>, rule_4: bool) {
        while let Some(v) = touched.pop() {
            for w in self.neighbours(v) {
                for (a, b) in [(v, w), (w, v)] {
                    if self.undirected(a, b) && self.is_forced(a, b, rule_4) {
                        self.direct(a, b);
                        touched.extend([a, b]);
                        if rule_4 {
                            // `a -> b -> child` may be the chain of rule 4 for an edge at `child`.
                            touched.extend(self.outgoing[b].minus(&self.incoming[b]).iter());
                        }
                    }
                }
            }
        }
    }

    /// Parents of each variable in one graph of the class (Dor and Tarsi 1992), or `None` when
    /// there is none.
    pub(super) fn extend(&self) -> Option<Vec<Vec<usize>>> {
        let width = self.width();
        let mut dag = vec![Vec::new(); width];
        let mut left = NodeSet::full(width);
        let mut ready = NodeSet::empty(width);
        for v in (0..width).filter(|&v| self.is_removable_sink(v, &left)) {
            ready.insert(v);
        }
        for _ in 0..width {
            let sink = ready.first()?;
            ready.remove(sink);
            left.remove(sink);
            dag[sink] = self.adjacents(sink).intersection(&left).iter().collect();
            for &v in &dag[sink] {
                if self.is_removable_sink(v, &left) {
                    ready.insert(v);
                }
            }
        }
        Some(dag)
    }

    fn set(&mut self, from: usize, to: usize, mark: bool) {
        if mark {
            self.outgoing[from].insert(to);
            self.incoming[to].insert(from);
        } else {
            self.outgoing[from].remove(to);
            self.incoming[to].remove(from);
        }
    }

    fn has(&self, from: usize, to: usize) -> bool {
        self.outgoing[from].contains(to)
    }

    /// Whether the undirected `a - b` has to be `a -> b`.
    fn is_forced(&self, a: usize, b: usize, rule_4: bool) -> bool {
        let (out_a, in_a) = (self.outgoing[a].words(), self.incoming[a].words());
        let (out_b, in_b) = (self.outgoing[b].words(), self.incoming[b].words());
        let mut through = false;
        for i in 0..out_a.len() {
            let parents_b = in_b[i] & !out_b[i];
            // Rule 1: a parent of a that is apart from b. Rule 2: a -> c -> b.
            if in_a[i] & !out_a[i] & !(in_b[i] | out_b[i]) != 0
                || out_a[i] & !in_a[i] & parents_b != 0
            {
                return true;
            }
            through |= out_a[i] & in_a[i] & parents_b != 0;
        }
        through && self.is_forced_by_two(a, b) || rule_4 && self.is_forced_by_chain(a, b)
    }

    /// Rule 3: a - c -> b and a - e -> b with c and e apart.
    fn is_forced_by_two(&self, a: usize, b: usize) -> bool {
        let between = self.outgoing[a]
            .intersection(&self.incoming[a])
            .intersection(&self.incoming[b].minus(&self.outgoing[b]));
        let between: Vec<usize> = between.iter().collect();
        between
            .iter()
            .enumerate()
            .any(|(i, &c)| between[..i].iter().any(|&e| !self.adjacent(c, e)))
    }

    /// Rule 4: a - c -> d -> b with c and b apart, a and d adjacent.
    fn is_forced_by_chain(&self, a: usize, b: usize) -> bool {
        let last = self.incoming[b]
            .minus(&self.outgoing[b])
            .intersection(&self.adjacents(a));
        let first = self.outgoing[a]
            .intersection(&self.incoming[a])
            .minus(&self.adjacents(b));
        last.iter().any(|d| {
            let parents = self.incoming[d].minus(&self.outgoing[d]);
            first.iter().any(|c| c != b && parents.contains(c))
        })
    }

    /// Nothing that is left leaves from `v`, and each undirected neighbour is adjacent to all
    /// other neighbours.
    fn is_removable_sink(&self, v: usize, left: &NodeSet) -> bool {
        let (out, into) = (&self.outgoing[v], &self.incoming[v]);
        if out.minus(into).intersects(left) {
            return false;
        }
        let around = into.intersection(left);
        let neighbours = out.intersection(&around);
        neighbours.iter().all(|w| {
            let mut others = around.minus(&self.adjacents(w));
            others.remove(w);
            others.is_empty()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_is_undirected_and_collider_is_not() {
        let chain = Cpdag::of(&[vec![], vec![0], vec![1]]);
        assert!(chain.undirected(0, 1) && chain.undirected(1, 2));
        let collider = Cpdag::of(&[vec![], vec![0, 2], vec![]]);
        assert!(collider.directed(0, 1) && collider.directed(2, 1));
    }

    #[test]
    fn direction_spreads_from_a_collider() {
        // 0 -> 2 <- 1 and 2 -> 3: rule 1. 0 -> 3 would need 0 and 3 adjacent.
        let class = Cpdag::of(&[vec![], vec![], vec![0, 1], vec![2]]);
        assert!(class.directed(2, 3));
        // The kite of rule 3: 1 -> 3 <- 2, 0 next to all, 1 and 2 apart.
        let kite = Cpdag::of(&[vec![], vec![0], vec![0], vec![0, 1, 2]]);
        assert!(kite.directed(0, 3) && kite.undirected(0, 1) && kite.undirected(0, 2));
    }

    /// The figure of rule 4: 0 - 1, 0 - 2, 0 - 3, 2 -> 3 -> 1, 1 and 2 apart.
    #[test]
    fn rule_4_directs_only_when_asked_for() {
        let mut class = Cpdag::empty(4);
        for v in [1, 2, 3] {
            class.join(0, v);
        }
        class.direct(2, 3);
        class.direct(3, 1);
        let mut without = class.clone();
        without.close(vec![1, 2, 3], false);
        assert!(without.undirected(0, 1));
        class.close(vec![1, 2, 3], true);
        assert!(class.directed(0, 1) && class.undirected(0, 2));
    }

    #[test]
    fn extension_belongs_to_the_class() {
        let dag = [vec![], vec![0], vec![0, 1], vec![2], vec![2, 3]];
        let class = Cpdag::of(&dag);
        assert_eq!(Cpdag::of(&class.extend().unwrap()), class);
    }

    #[test]
    fn undirected_square_without_chord_has_no_extension() {
        let mut square = Cpdag::empty(4);
        for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
            square.join(a, b);
        }
        assert_eq!(square.extend(), None);
    }

    /// Every graph of four variables: the class holds the graph itself, and its directed edges are
    /// those that all graphs with the same adjacencies and colliders share.
    #[test]
    fn class_agrees_with_the_enumeration_of_its_members() {
        let graphs = all_graphs(4);
        assert_eq!(graphs.len(), 543);
        let classes: Vec<Cpdag> = graphs.iter().map(|dag| Cpdag::of(dag)).collect();
        for (dag, class) in graphs.iter().zip(&classes).step_by(7) {
            let members: Vec<&Vec<Vec<usize>>> = graphs
                .iter()
                .filter(|other| shape(other) == shape(dag))
                .collect();
            for head in 0..4 {
                for &tail in &dag[head] {
                    let everywhere = members.iter().all(|m| m[head].contains(&tail));
                    assert_eq!(class.directed(tail, head), everywhere, "{dag:?}");
                }
            }
            let extended = class.extend().unwrap();
            assert_eq!(shape(&extended), shape(dag));
        }
    }

    fn all_graphs(width: usize) -> Vec<Vec<Vec<usize>>> {
        let pairs: Vec<(usize, usize)> = (0..width)
            .flat_map(|b| (0..b).map(move |a| (a, b)))
            .collect();
        let kinds = u32::try_from(pairs.len()).unwrap();
        (0..3_usize.pow(kinds))
            .filter_map(|mut code| {
                let mut dag = vec![Vec::new(); width];
                for &(a, b) in &pairs {
                    match code % 3 {
                        1 => dag[b].push(a),
                        2 => dag[a].push(b),
                        _ => {}
                    }
                    code /= 3;
                }
                let mut left: Vec<usize> = (0..width).collect();
                while !left.is_empty() {
                    let at = left
                        .iter()
                        .position(|v| dag[*v].iter().all(|p| !left.contains(p)))?;
                    left.remove(at);
                }
                Some(dag)
            })
            .collect()
    }

    type Shape = (Vec<(usize, usize)>, Vec<(usize, usize, usize)>);

    /// Adjacencies and colliders.
    fn shape(dag: &[Vec<usize>]) -> Shape {
        let adjacent = |a: usize, b: usize| dag[a].contains(&b) || dag[b].contains(&a);
        let mut edges = Vec::new();
        let mut colliders = Vec::new();
        for (head, parents) in dag.iter().enumerate() {
            for &p in parents {
                edges.push((p.min(head), p.max(head)));
                let rest = parents.iter().filter(|&&q| q > p && !adjacent(p, q));
                colliders.extend(rest.map(|&q| (head, p, q)));
            }
        }
        edges.sort_unstable();
        colliders.sort_unstable();
        (edges, colliders)
    }
}
