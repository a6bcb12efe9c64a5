//! The graph of an equivalence class: directed where all members agree, undirected where not.

/// Marks between variables; `i -> j` is a mark at (i, j) only, `i - j` one at both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cpdag {
    width: usize,
    marks: Vec<bool>,
}

impl Cpdag {
    /// The class of a graph given by the parents of each variable: colliders keep their
    /// direction, then the rules 1 to 3 of Meek (UAI 1995).
    pub(super) fn of(dag: &[Vec<usize>]) -> Self {
        let width = dag.len();
        let mut adjacent = Self {
            width,
            marks: vec![false; width * width],
        };
        for (head, parents) in dag.iter().enumerate() {
            for &tail in parents {
                adjacent.set(tail, head, true);
                adjacent.set(head, tail, true);
            }
        }
        let mut class = adjacent.clone();
        for (head, parents) in dag.iter().enumerate() {
            for &tail in parents {
                let collider = parents.iter().any(|&p| p != tail && !adjacent.has(p, tail));
                if collider {
                    class.set(head, tail, false);
                }
            }
        }
        let edges: Vec<(usize, usize)> = dag
            .iter()
            .enumerate()
            .flat_map(|(head, parents)| parents.iter().map(move |&tail| (tail, head)))
            .collect();
        let mut changed = true;
        while changed {
            changed = false;
            for &(tail, head) in &edges {
                for (a, b) in [(tail, head), (head, tail)] {
                    if class.undirected(a, b) && class.is_forced(a, b, &adjacent) {
                        class.set(b, a, false);
                        changed = true;
                    }
                }
            }
        }
        class
    }

    pub(super) fn width(&self) -> usize {
        self.width
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

    pub(super) fn set(&mut self, from: usize, to: usize, mark: bool) {
        self.marks[from * self.width + to] = mark;
    }

    /// Parents of each variable in one graph of the class (Dor and Tarsi 1992), or `None` when
    /// there is none.
    pub(super) fn extend(&self) -> Option<Vec<Vec<usize>>> {
        let mut rest = self.clone();
        let mut dag = vec![Vec::new(); self.width];
        let mut left: Vec<usize> = (0..self.width).collect();
        while !left.is_empty() {
            let at = left
                .iter()
                .position(|&v| rest.is_removable_sink(v, &left))?;
            let sink = left.remove(at);
            for &other in &left {
                if rest.adjacent(other, sink) {
                    dag[sink].push(other);
                    rest.set(other, sink, false);
                    rest.set(sink, other, false);
                }
            }
        }
        Some(dag)
    }

    fn has(&self, from: usize, to: usize) -> bool {
        self.marks[from * self.width + to]
    }

    /// Whether the undirected `a - b` has to be `a -> b`.
    fn is_forced(&self, a: usize, b: usize, adjacent: &Self) -> bool {
        let others = (0..self.width).filter(|&c| c != a && c != b);
        let mut through = Vec::new();
        for c in others {
            let away_from_b = self.directed(c, a) && !adjacent.has(c, b);
            let around = self.directed(a, c) && self.directed(c, b);
            if away_from_b || around {
                return true;
            }
            if self.undirected(a, c) && self.directed(c, b) {
                through.push(c);
            }
        }
        through
            .iter()
            .enumerate()
            .any(|(i, &c)| through[..i].iter().any(|&e| !adjacent.has(c, e)))
    }

    /// Nothing leaves `v`, and each undirected neighbour is adjacent to all other neighbours.
    fn is_removable_sink(&self, v: usize, left: &[usize]) -> bool {
        if left.iter().any(|&w| self.directed(v, w)) {
            return false;
        }
        let around: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&w| self.adjacent(v, w))
            .collect();
        around
            .iter()
            .filter(|&&w| self.undirected(v, w))
            .all(|&w| around.iter().all(|&u| u == w || self.adjacent(u, w)))
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

    #[test]
    fn extension_belongs_to_the_class() {
        let dag = [vec![], vec![0], vec![0, 1], vec![2], vec![2, 3]];
        let class = Cpdag::of(&dag);
        assert_eq!(Cpdag::of(&class.extend().unwrap()), class);
    }

    #[test]
    fn undirected_square_without_chord_has_no_extension() {
        let mut square = Cpdag {
            width: 4,
            marks: vec![false; 16],
        };
        for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
            square.set(a, b, true);
            square.set(b, a, true);
        }
        assert_eq!(square.extend(), None);
    }
}
