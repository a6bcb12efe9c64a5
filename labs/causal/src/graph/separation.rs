//! m-separation (d-separation when there is no bidirected edge), by reachability: each node is
//! visited at most twice, once through an arrowhead and once through a tail (the ball of Shachter
//! 1998, with arrowheads instead of arrows).

use super::admg::Edges;
use super::node_set::NodeSet;

/// A search in progress. Sets are rows of words in one buffer, so a search allocates twice.
struct Search<'a> {
    edges: &'a Edges,
    words: usize,
    /// Rows: nodes that are given or cause one that is; nodes come to through an arrowhead;
    /// through a tail; nodes whose children have been visited; whose parents and siblings have.
    sets: Vec<u64>,
    stack: Vec<(u32, bool)>,
}

impl<'a> Search<'a> {
    fn new(edges: &'a Edges, from: &NodeSet, given: &NodeSet) -> Self {
        let words = from.words().len();
        let mut search = Self {
            edges,
            words,
            sets: vec![0; words * 5],
            stack: Vec::with_capacity(edges.nodes().min(256)),
        };
        search.sets[..words].copy_from_slice(given.words());
        for node in given.iter() {
            search.stack.push((short(node), false));
        }
        while let Some((node, _)) = search.stack.pop() {
            search.visit(edges.parents(node as usize), 0, false);
        }
        search.sets[2 * words..3 * words].copy_from_slice(from.words());
        for node in from.iter() {
            search.stack.push((short(node), false));
        }
        search
    }

    /// Adds the members of a row that the set lacks, and puts them on the stack.
    fn visit(&mut self, row: &[u64], set: usize, head: bool) {
        let seen = &mut self.sets[set * self.words..(set + 1) * self.words];
        for (index, (&word, seen)) in row.iter().zip(seen).enumerate() {
            let mut fresh = word & !*seen;
            *seen |= fresh;
            while fresh != 0 {
                let node = index * 64 + fresh.trailing_zeros() as usize;
                self.stack.push((short(node), head));
                fresh &= fresh - 1;
            }
        }
    }

    /// Goes on until every open path is followed or one meets `target`.
    fn run(&mut self, given: &NodeSet, target: Option<&NodeSet>) -> bool {
        let edges = self.edges;
        while let Some((node, head)) = self.stack.pop() {
            let node = node as usize;
            if target.is_some_and(|target| target.contains(node)) {
                return true;
            }
            let passes = !given.contains(node);
            let opens = self.sets[node / 64] >> (node % 64) & 1 == 1;
            if passes && self.is_first(node, 3) {
                self.visit(edges.children(node), 1, true);
            }
            if (if head { opens } else { passes }) && self.is_first(node, 4) {
                self.visit(edges.parents(node), 2, false);
                if edges.met_bidirected() {
                    self.visit(edges.siblings(node), 1, true);
                }
            }
        }
        false
    }

    /// Adds the node to the set; whether it was not in it.
    fn is_first(&mut self, node: usize, set: usize) -> bool {
        let word = &mut self.sets[set * self.words + node / 64];
        let bit = 1 << (node % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

fn short(node: usize) -> u32 {
    u32::try_from(node).expect("a graph has fewer nodes than that")
}

impl Edges {
    /// The nodes that an open path joins to a member of `from` given `given`, with `from` itself.
    /// Members of `given` may be in the result: an open path can end at one.
    #[must_use]
    pub fn connected(&self, from: &NodeSet, given: &NodeSet) -> NodeSet {
        let mut search = Search::new(self, from, given);
        search.run(given, None);
        let words = search.words;
        let mut reached = from.clone();
        reached.add_words(&search.sets[words..2 * words]);
        reached.add_words(&search.sets[2 * words..3 * words]);
        reached
    }

    /// Whether every path between `a` and `b` is blocked by `given`. The three sets are disjoint.
    #[must_use]
    pub fn separated(&self, a: &NodeSet, b: &NodeSet, given: &NodeSet) -> bool {
        !Search::new(self, a, given).run(given, Some(b))
    }
}
