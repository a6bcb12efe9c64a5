//! Grow-shrink trees (Andrews et al., "Fast scalable and accurate discovery of DAGs using the best
//! order score search and grow-shrink trees", NeurIPS 2023, section 4): for each variable a cache
//! of every greedy choice of parents that an order search has asked for.
//!
//! A node of a tree is a set of parents in the order they were taken. Its branches are the
//! variables that would improve the score, best first; which one is taken depends only on who
//! comes earlier in the order, so one tree serves all orders. A trace that meets known nodes costs
//! a look at the bits of each, and a scan of branches where one is taken; it needs no arithmetic.

use super::score::{Candidate, LocalScore, Task};
use crate::control::Stop;
use crate::graph::NodeSet;

/// Branches and nodes of all trees together before they are dropped and grown again: bounds the
/// memory at about 200 MB.
const ENTRIES_MAX: usize = 12_000_000;

/// One tree for each variable, and the work space they share.
pub(super) struct Trees<'a, S: LocalScore> {
    task: Task<'a, S>,
    trees: Vec<Tree>,
    /// Words of a set of variables.
    words: usize,
    entries: usize,
    pub work: S::Work,
    candidates: Vec<Candidate>,
    path: Vec<usize>,
}

struct Tree {
    nodes: Vec<Node>,
    /// For each node the set of the variables of its branches.
    masks: Vec<u64>,
    branches: Vec<Branch>,
    /// What shrinking left, for the nodes it was asked for.
    parents: Vec<Box<[usize]>>,
}

#[derive(Clone, Copy)]
struct Node {
    /// Its branches are `first..end`; `UNKNOWN` until they are looked for.
    first: u32,
    end: u32,
    /// Place in `parents`; `UNKNOWN` until it is asked for.
    shrunk: u32,
    /// Score after shrinking; NaN until it is asked for.
    score: f64,
}

#[derive(Clone, Copy)]
struct Branch {
    variable: u16,
    /// 0 until the branch is followed: the root is nobody's child.
    child: u32,
}

const UNKNOWN: u32 = u32::MAX;
const NEW_NODE: Node = Node {
    first: UNKNOWN,
    end: UNKNOWN,
    shrunk: UNKNOWN,
    score: f64::NAN,
};

impl<'a, S: LocalScore> Trees<'a, S> {
    pub(super) fn new(task: Task<'a, S>) -> Self {
        let d = task.score.width();
        let words = NodeSet::empty(d).words().len();
        Self {
            task,
            trees: (0..d).map(|_| Tree::new(words)).collect(),
            words,
            entries: d,
            work: task.score.work(),
            candidates: Vec::new(),
            path: Vec::new(),
        }
    }

    /// Score of `target` when exactly the variables in `before` come before it. Adds to `touching`
    /// every variable whose coming or going could change the answer: the parents taken, and those
    /// that would have been preferred had they come before.
    pub(super) fn score(
        &mut self,
        target: usize,
        before: &NodeSet,
        touching: Option<&mut NodeSet>,
    ) -> Result<f64, Stop> {
        let node = self.trace(target, before, touching)?;
        let known = self.trees[target].nodes[node].score;
        if !known.is_nan() {
            return Ok(known);
        }
        let (_, score) = self.shrink(target)?;
        self.trees[target].nodes[node].score = score;
        Ok(score)
    }

    /// The parents behind `score`, in no particular order.
    pub(super) fn parents(
        &mut self,
        target: usize,
        before: &NodeSet,
        touching: Option<&mut NodeSet>,
    ) -> Result<&[usize], Stop> {
        let node = self.trace(target, before, touching)?;
        let mut at = self.trees[target].nodes[node].shrunk;
        if at == UNKNOWN {
            let (parents, score) = self.shrink(target)?;
            self.entries += 4 + parents.len();
            let tree = &mut self.trees[target];
            at = small(tree.parents.len());
            tree.parents.push(parents.into());
            (tree.nodes[node].shrunk, tree.nodes[node].score) = (at, score);
        }
        Ok(&self.trees[target].parents[at as usize])
    }

    /// Forgets everything when the cache has become too large; scores do not change by it.
    pub(super) fn keep_within_memory(&mut self) {
        if self.entries > ENTRIES_MAX {
            let words = self.words;
            self.trees.fill_with(|| Tree::new(words));
            self.entries = self.trees.len();
        }
    }

    /// Grows the parents of `target`; the node they end at. They are left in `path`.
    fn trace(
        &mut self,
        target: usize,
        before: &NodeSet,
        mut touching: Option<&mut NodeSet>,
    ) -> Result<usize, Stop> {
        self.path.clear();
        let required = self.task.knowledge.required_parents(target);
        self.path.extend_from_slice(required);
        let mut node = 0;
        loop {
            let (first, end) = self.grown(target, node)?;
            let tree = &self.trees[target];
            let mask = &tree.masks[node * self.words..][..self.words];
            let known = mask.iter().zip(before.words());
            if known.fold(0, |open, (branches, before)| open | (branches & before)) == 0 {
                if let Some(touching) = touching {
                    touching.add_words(mask);
                }
                return Ok(node);
            }
            let mut branch = first;
            for candidate in &tree.branches[first..end] {
                let variable = usize::from(candidate.variable);
                if let Some(touching) = &mut touching {
                    touching.insert(variable);
                }
                if before.contains(variable) {
                    self.path.push(variable);
                    break;
                }
                branch += 1;
            }
            node = self.follow(target, branch);
        }
    }

    /// The branches of the node at the end of `path`, found if they are not known.
    fn grown(&mut self, target: usize, node: usize) -> Result<(usize, usize), Stop> {
        let Node { first, end, .. } = self.trees[target].nodes[node];
        if first != UNKNOWN {
            return Ok((first as usize, end as usize));
        }
        let Task {
            score, knowledge, ..
        } = self.task;
        self.candidates.clear();
        score.rank(&mut self.work, target, &self.path, &mut self.candidates)?;
        if !knowledge.is_empty() {
            let allowed = |c: &Candidate| knowledge.allows(c.variable().into(), target);
            self.candidates.retain(allowed);
        }
        let tree = &mut self.trees[target];
        let first = tree.branches.len();
        let mask = &mut tree.masks[node * self.words..][..self.words];
        for candidate in &self.candidates {
            let variable = candidate.variable();
            mask[usize::from(variable) / 64] |= 1 << (variable % 64);
            tree.branches.push(Branch { variable, child: 0 });
        }
        let end = tree.branches.len();
        let node = &mut tree.nodes[node];
        (node.first, node.end) = (small(first), small(end));
        self.entries += end - first;
        Ok((first, end))
    }

    /// The node at the end of a branch, made if it is not there.
    fn follow(&mut self, target: usize, branch: usize) -> usize {
        let child = self.trees[target].branches[branch].child;
        if child != 0 {
            return child as usize;
        }
        let tree = &mut self.trees[target];
        let node = tree.nodes.len();
        tree.nodes.push(NEW_NODE);
        tree.branches[branch].child = small(node);
        tree.masks.resize((node + 1) * self.words, 0);
        self.entries += 1;
        node
    }

    fn shrink(&mut self, target: usize) -> Result<(Vec<usize>, f64), Stop> {
        let kept = self.task.knowledge.required_parents(target).len();
        self.task
            .score
            .shrink(&mut self.work, target, &self.path, kept)
    }
}

impl Tree {
    fn new(words: usize) -> Self {
        Self {
            nodes: vec![NEW_NODE],
            masks: vec![0; words],
            branches: Vec::new(),
            parents: Vec::new(),
        }
    }
}

fn small(index: usize) -> u32 {
    u32::try_from(index).expect("the cache is dropped long before 2^32 entries")
}
