//! Grow-shrink trees (Andrews et al., "Fast scalable and accurate discovery of DAGs using the best
//! order score search and grow-shrink trees", NeurIPS 2023, section 4): for each variable a cache
//! of every greedy choice of parents that an order search has asked for.
//!
//! A node of a tree is a set of parents in the order they were taken. Its branches are the
//! variables that would improve the score, best first; which one is taken depends only on who
//! comes earlier in the order, so one tree serves all orders. A trace that meets known nodes costs
//! a scan of branches and no arithmetic.

use hindcast_stats::axpy;

use super::knowledge::Knowledge;
use super::regression::{Bic, SINGULAR};

/// Branches and nodes of all trees together before they are dropped and grown again: bounds the
/// memory at about 200 MB.
const ENTRIES_MAX: usize = 12_000_000;
/// No variable.
const NOWHERE: usize = usize::MAX;

/// One tree for each variable, and the work space they share.
pub(super) struct Trees<'a> {
    bic: Bic<'a>,
    knowledge: &'a Knowledge,
    trees: Vec<Tree>,
    entries: usize,
    work: Work,
    candidates: Vec<Candidate>,
    path: Vec<u16>,
}

#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    branches: Vec<Branch>,
}

#[derive(Clone, Copy)]
struct Node {
    /// Its branches are `first..end`; `UNGROWN` until they are looked for.
    first: u32,
    end: u32,
    /// Score after shrinking; NaN until it is asked for.
    score: f64,
}

#[derive(Clone, Copy)]
struct Branch {
    variable: u16,
    /// 0 until the branch is followed: the root is nobody's child.
    child: u32,
}

/// A variable and how much it explains, packed so that sorting compares whole numbers: the bits of
/// a positive number rise with it, and its last eleven, about 5e-13 of it, make room for the
/// variable. Of two that explain the same the first column is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u64);

impl Candidate {
    const VARIABLE: u64 = (1 << 11) - 1;

    fn new(explained: f64, variable: usize) -> Self {
        Self(explained.to_bits() & !Self::VARIABLE | (Self::VARIABLE - variable as u64))
    }

    fn variable(self) -> u16 {
        u16::try_from(Self::VARIABLE - (self.0 & Self::VARIABLE)).expect("eleven bits")
    }
}

const UNGROWN: u32 = u32::MAX;
const NEW_NODE: Node = Node {
    first: UNGROWN,
    end: UNGROWN,
    score: f64::NAN,
};

impl<'a> Trees<'a> {
    pub(super) fn new(bic: Bic<'a>, knowledge: &'a Knowledge) -> Self {
        let d = bic.correlation.rows();
        Self {
            bic,
            knowledge,
            trees: (0..d)
                .map(|_| Tree {
                    nodes: vec![NEW_NODE],
                    branches: Vec::new(),
                })
                .collect(),
            entries: d,
            work: Work::new(d),
            candidates: Vec::new(),
            path: Vec::new(),
        }
    }

    /// Score of `target` when exactly the variables for which `before` holds come before it.
    /// Tells `touch` of every variable whose coming or going could change the answer: the parents
    /// taken, and those that would have been preferred had they come before.
    pub(super) fn score(
        &mut self,
        target: usize,
        before: impl Fn(usize) -> bool,
        mut touch: impl FnMut(usize),
    ) -> f64 {
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        let required = self.knowledge.required_parents(target);
        path.extend(required.iter().map(|&v| narrow(v)));
        let mut node = 0;
        loop {
            let (first, end) = self.grown(target, node, &path);
            let branches = &self.trees[target].branches[first..end];
            let taken = branches.iter().position(|branch| {
                let variable = usize::from(branch.variable);
                touch(variable);
                before(variable)
            });
            let Some(offset) = taken else { break };
            path.push(branches[offset].variable);
            node = self.follow(target, first + offset);
        }
        let score = self.terminal_score(target, node, &path);
        self.path = path;
        score
    }

    /// The parents behind `score`.
    pub(super) fn parents(&mut self, target: usize, before: impl Fn(usize) -> bool) -> Vec<usize> {
        self.score(target, before, |_| {});
        let parents: Vec<usize> = self.path.iter().map(|&v| usize::from(v)).collect();
        let kept = self.knowledge.required_parents(target).len();
        self.bic
            .shrink(target, &parents, kept)
            .map_or_else(Vec::new, |fit| fit.parents)
    }

    /// Forgets everything when the cache has become too large; scores do not change by it.
    pub(super) fn keep_within_memory(&mut self) {
        if self.entries > ENTRIES_MAX {
            for tree in &mut self.trees {
                *tree = Tree {
                    nodes: vec![NEW_NODE],
                    branches: Vec::new(),
                };
            }
            self.entries = self.trees.len();
        }
    }

    /// The branches of a node, found if they are not known.
    fn grown(&mut self, target: usize, node: usize, path: &[u16]) -> (usize, usize) {
        let Node { first, end, .. } = self.trees[target].nodes[node];
        if first != UNGROWN {
            return (first as usize, end as usize);
        }
        self.candidates.clear();
        if path.len() < self.bic.parents_max {
            self.work
                .candidates(&self.bic, target, path, &mut self.candidates);
            if !self.knowledge.is_empty() {
                let allowed = |c: &Candidate| self.knowledge.allows(c.variable().into(), target);
                self.candidates.retain(allowed);
            }
        }
        let tree = &mut self.trees[target];
        let first = tree.branches.len();
        let found = self.candidates.iter().map(|c| Branch {
            variable: c.variable(),
            child: 0,
        });
        tree.branches.extend(found);
        let end = tree.branches.len();
        let node = &mut tree.nodes[node];
        (node.first, node.end) = (small(first), small(end));
        self.entries += end - first;
        (first, end)
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
        self.entries += 1;
        node
    }

    fn terminal_score(&mut self, target: usize, node: usize, path: &[u16]) -> f64 {
        let known = self.trees[target].nodes[node].score;
        if !known.is_nan() {
            return known;
        }
        let parents: Vec<usize> = path.iter().map(|&v| usize::from(v)).collect();
        let kept = self.knowledge.required_parents(target).len();
        let score = match self.bic.shrink(target, &parents, kept) {
            Some(fit) => self.bic.of(fit.residual, fit.parents.len()),
            // Growing takes no dependent parent, so this is only a matter of rounding.
            None => self.bic.of(1.0, 0),
        };
        self.trees[target].nodes[node].score = score;
        score
    }
}

fn narrow(variable: usize) -> u16 {
    u16::try_from(variable).expect("there are at most 2047 variables")
}

fn small(index: usize) -> u32 {
    u32::try_from(index).expect("the cache is dropped long before 2^32 entries")
}

/// Cholesky columns of the path last asked for, so that a longer path costs one column more.
struct Work {
    width: usize,
    target: usize,
    path: Vec<u16>,
    /// For each depth: the column that the last parent adds to the factor, `width` values.
    columns: Vec<f64>,
    /// For each depth, from none: what is left of each variable's variance and of its covariance
    /// with the target.
    variances: Vec<f64>,
    covariances: Vec<f64>,
}

impl Work {
    fn new(width: usize) -> Self {
        Self {
            width,
            target: NOWHERE,
            path: Vec::new(),
            columns: Vec::new(),
            variances: Vec::new(),
            covariances: Vec::new(),
        }
    }

    /// Variables that improve the score of `target` beyond the parents in `path`, best first.
    fn candidates(&mut self, bic: &Bic<'_>, target: usize, path: &[u16], out: &mut Vec<Candidate>) {
        self.reach(bic, target, path);
        let start = path.len() * self.width;
        let variances = &self.variances[start..start + self.width];
        let covariances = &self.covariances[start..start + self.width];
        let own = variances[target];
        if own <= SINGULAR {
            return;
        }
        let floor = bic.least_r2 * own;
        for (v, (&variance, &covariance)) in variances.iter().zip(covariances).enumerate() {
            let square = covariance * covariance;
            if square > floor * variance && variance > SINGULAR && v != target {
                out.push(Candidate::new(square / variance, v));
            }
        }
        out.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Brings the work space to `path`, keeping what it has in common with the last one.
    fn reach(&mut self, bic: &Bic<'_>, target: usize, path: &[u16]) {
        let d = self.width;
        let common = if self.target == target {
            self.path
                .iter()
                .zip(path)
                .take_while(|(a, b)| a == b)
                .count()
        } else {
            self.variances.clear();
            self.variances.resize(d, 1.0);
            self.covariances.clear();
            self.covariances
                .extend_from_slice(bic.correlation.row(target));
            0
        };
        self.target = target;
        self.path.truncate(common);
        self.columns.truncate(common * d);
        self.variances.truncate((common + 1) * d);
        self.covariances.truncate((common + 1) * d);
        for (depth, &parent) in path.iter().enumerate().skip(common) {
            let p = usize::from(parent);
            self.columns.extend_from_slice(bic.correlation.row(p));
            let (known, column) = self.columns.split_at_mut(depth * d);
            for earlier in known.chunks_exact(d) {
                axpy(-earlier[p], earlier, column);
            }
            let scale = 1.0 / self.variances[depth * d + p].sqrt();
            for x in column.iter_mut() {
                *x *= scale;
            }
            let to_target = column[target];
            self.variances.resize((depth + 2) * d, 0.0);
            let (known, left) = self.variances.split_at_mut((depth + 1) * d);
            for ((left, last), x) in left.iter_mut().zip(&known[depth * d..]).zip(&*column) {
                *left = last - x * x;
            }
            self.covariances.resize((depth + 2) * d, 0.0);
            let (known, left) = self.covariances.split_at_mut((depth + 1) * d);
            for ((left, last), x) in left.iter_mut().zip(&known[depth * d..]).zip(&*column) {
                *left = last - x * to_target;
            }
            self.path.push(parent);
        }
    }
}
