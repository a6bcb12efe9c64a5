//! The skeleton of PC-stable (Colombo and Maathuis, JMLR 15, 2014, section 4.1): the neighbours
//! that sets are drawn from stay fixed while sets of one size are tested, so that the answer does
//! not depend on the order of the columns.
//!
//! All sets of the size at which two variables come apart are looked at, and what is kept is the
//! union of those that separate them. With that a collider is one that is in none of them, which
//! does not depend on the order of the columns either.

use rayon::prelude::*;

use super::independence::{Independence, Question};
use crate::control::{Control, Stop};
use crate::error::LabError;
use crate::graph::NodeSet;

/// What is known of edges before the data are seen.
pub(in crate::discover) trait Known: Sync {
    /// Whether `a` is known not to be a cause of `b`.
    fn barred(&self, a: usize, b: usize) -> bool;

    /// Whether there is known to be an edge, so that no test may remove it.
    fn joined(&self, a: usize, b: usize) -> bool;

    /// Whether two variables that do not cause each other are not adjacent.
    fn parts(&self) -> bool;
}

/// Adjacent pairs, and for every other pair the variables that were in a set that separates them.
pub(in crate::discover) struct Skeleton {
    width: usize,
    adjacent: Vec<NodeSet>,
    /// Of each pair once, with the larger first, in order.
    separators: Vec<Option<Vec<usize>>>,
    /// Sizes of set that were tried.
    pub levels: u64,
    /// Larger sets could have been tried but for a limit.
    pub cut: bool,
    /// The size of the largest set that was conditioned on.
    pub largest: usize,
}

impl Skeleton {
    pub(in crate::discover) fn learn(
        test: &dyn Independence,
        size_max: Option<usize>,
        known: &dyn Known,
        control: &dyn Control,
    ) -> Result<Self, LabError> {
        let width = test.width();
        let mut skeleton = Self {
            width,
            adjacent: (0..width)
                .map(|v| {
                    let mut all = NodeSet::full(width);
                    all.remove(v);
                    all
                })
                .collect(),
            separators: vec![None; pair(width, 0)],
            levels: 0,
            cut: false,
            largest: 0,
        };
        for x in 0..width {
            for y in 0..x {
                if known.parts() && known.barred(x, y) && known.barred(y, x) {
                    skeleton.separate(x, y, &[]);
                }
            }
        }
        let limit = test.size_max().min(size_max.unwrap_or(usize::MAX));
        for size in 0.. {
            if skeleton.adjacent.iter().all(|around| around.len() <= size) {
                break;
            }
            if size > limit {
                skeleton.cut = true;
                break;
            }
            control.progress("sizes of conditioning set", size as u64, 0);
            skeleton.level(test, size, known, control)?;
            skeleton.largest = size;
        }
        Ok(skeleton)
    }

    fn level(
        &mut self,
        test: &dyn Independence,
        size: usize,
        known: &dyn Known,
        control: &dyn Control,
    ) -> Result<(), LabError> {
        let found = (0..self.width)
            .into_par_iter()
            .map(|of| {
                let around: Vec<usize> = self.adjacent[of].iter().collect();
                let targets: Vec<usize> = around
                    .iter()
                    .copied()
                    .filter(|&target| !known.joined(of, target))
                    .collect();
                let question = Question {
                    of,
                    targets: &targets,
                    pool: &around,
                    size,
                };
                gather(test, question, self.width, control)
            })
            .collect::<Result<Vec<_>, _>>()?;
        for (of, separated) in found.into_iter().enumerate() {
            control.check()?;
            for (target, members) in separated {
                self.separate(of, target, &members);
            }
        }
        self.levels += 1;
        Ok(())
    }

    /// Removes an edge, or adds to what is known of a removed one.
    pub(in crate::discover) fn separate(&mut self, x: usize, y: usize, members: &[usize]) {
        self.adjacent[x].remove(y);
        self.adjacent[y].remove(x);
        let known = self.separators[pair(x, y)].get_or_insert_default();
        for &member in members {
            if let Err(at) = known.binary_search(&member) {
                known.insert(at, member);
            }
        }
    }

    pub(in crate::discover) fn width(&self) -> usize {
        self.width
    }

    pub(in crate::discover) fn adjacent(&self, x: usize, y: usize) -> bool {
        self.adjacent[x].contains(y)
    }

    pub(in crate::discover) fn neighbours(&self, x: usize) -> Vec<usize> {
        self.adjacent[x].iter().collect()
    }

    /// Whether `z` is in a set that separates `x` and `y`.
    pub(in crate::discover) fn separates(&self, z: usize, x: usize, y: usize) -> bool {
        self.separators[pair(x, y)]
            .as_ref()
            .is_some_and(|members| members.binary_search(&z).is_ok())
    }

    /// The triples x - y - z with x and z apart, in order of z.
    pub(in crate::discover) fn unshielded(
        &self,
        x: usize,
        y: usize,
    ) -> impl Iterator<Item = usize> + '_ {
        let ends = self.adjacent[y].iter();
        ends.filter(move |&z| z != x && !self.adjacent(x, z))
    }

    /// Calls `each` with every unshielded triple x - y - z, x < z, that no separator of x and z has
    /// y in: the colliders, in order of y, x, z.
    pub(in crate::discover) fn colliders(
        &self,
        control: &dyn Control,
        mut each: impl FnMut([usize; 3]),
    ) -> Result<(), Stop> {
        for y in 0..self.width {
            for x in self.adjacent[y].iter() {
                control.check()?;
                let ends = self.unshielded(x, y).filter(|&z| z > x);
                for z in ends.filter(|&z| !self.separates(y, x, z)) {
                    each([x, y, z]);
                }
            }
        }
        Ok(())
    }
}

/// The place of a pair of different variables among all.
fn pair(x: usize, y: usize) -> usize {
    let (low, high) = (x.min(y), x.max(y));
    high * high.saturating_sub(1) / 2 + low
}

/// The targets that some subset separates, with the members of all those subsets in order.
pub(in crate::discover) fn gather(
    test: &dyn Independence,
    question: Question<'_>,
    width: usize,
    control: &dyn Control,
) -> Result<Vec<(usize, Vec<usize>)>, LabError> {
    let mut found: Vec<Option<NodeSet>> = vec![None; question.targets.len()];
    test.separations(question, control, &mut |target, given| {
        let at = question.targets.binary_search(&target);
        let at = at.expect("tests are made on targets only");
        let members = found[at].get_or_insert_with(|| NodeSet::empty(width));
        for &member in given {
            members.insert(member);
        }
    })?;
    let pairs = question.targets.iter().copied().zip(found);
    let pairs = pairs.filter_map(|(target, members)| Some((target, members?.iter().collect())));
    Ok(pairs.collect())
}
