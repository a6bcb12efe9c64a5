//! FCI (Spirtes, Glymour and Scheines, 2000, section 6.7; Zhang, Artificial Intelligence 172,
//! 2008): discovery that allows for hidden common causes. No selection bias is supposed.
//!
//! The skeleton of PC-stable may keep edges that only sets outside the neighbourhood separate;
//! the possible-d-sep step looks for those, again with everything held fixed while sets of one
//! size are tested.

use rayon::prelude::*;

use super::independence::{Independence, Question};
use super::pag::{End, Pag};
use super::skeleton::{self, Known as _, Skeleton, gather};
use crate::control::{Control, Stop};
use crate::discover::knowledge::Knowledge;
use crate::error::LabError;

pub(in crate::discover) struct Learned {
    pub pag: Pag,
    pub skeleton: Skeleton,
}

/// What is known of the order, which is what an arrowhead can say; a single edge that may not be
/// leaves open whether its tail is an ancestor by another way.
pub(in crate::discover) struct Known<'a> {
    knowledge: &'a Knowledge,
    /// Of each variable, ascending.
    predecessors: Vec<Vec<usize>>,
}

impl<'a> Known<'a> {
    pub(in crate::discover) fn new(knowledge: &'a Knowledge) -> Self {
        Self {
            knowledge,
            predecessors: knowledge.predecessors(),
        }
    }

    fn required(&self, tail: usize, head: usize) -> bool {
        self.knowledge.required_parents(head).contains(&tail)
    }
}

impl skeleton::Known for Known<'_> {
    fn barred(&self, a: usize, b: usize) -> bool {
        self.predecessors[a].binary_search(&b).is_ok()
    }

    fn joined(&self, a: usize, b: usize) -> bool {
        self.required(a, b) || self.required(b, a)
    }

    /// A hidden cause may join variables neither of which causes the other.
    fn parts(&self) -> bool {
        false
    }
}

/// `size_max` limits the sets that are conditioned on.
pub(in crate::discover) fn learn(
    test: &dyn Independence,
    size_max: Option<usize>,
    known: &Known<'_>,
    control: &dyn Control,
) -> Result<Learned, LabError> {
    let mut skeleton = Skeleton::learn(test, size_max, known, control)?;
    possible_d_sep(&mut skeleton, test, size_max, (known, control))?;
    let mut pag = Pag::circles(&skeleton);
    for a in 0..skeleton.width() {
        for b in skeleton.neighbours(a) {
            if known.barred(a, b) {
                pag.place(b, a, End::Arrow);
            }
            if known.required(a, b) {
                pag.direct(a, b);
            }
        }
    }
    pag.colliders(&skeleton, control)?;
    pag.close(&skeleton, control)?;
    Ok(Learned { pag, skeleton })
}

fn possible_d_sep(
    skeleton: &mut Skeleton,
    test: &dyn Independence,
    size_max: Option<usize>,
    (known, control): (&Known<'_>, &dyn Control),
) -> Result<(), LabError> {
    let width = skeleton.width();
    let first = Pag::with_colliders(skeleton, control)?;
    let pools = (0..width).map(|x| first.possible_separators(x, control));
    let pools = pools.collect::<Result<Vec<_>, Stop>>()?;
    // Where the pool is the neighbourhood every subset was tested already.
    let wider: Vec<usize> = (0..width)
        .filter(|&x| pools[x].len() > skeleton.neighbours(x).len())
        .collect();
    let longest = wider.iter().map(|&x| pools[x].len()).max().unwrap_or(0);
    let limit = test.size_max().min(size_max.unwrap_or(usize::MAX));
    skeleton.cut |= longest > limit + 1;
    for size in 1..longest.min(limit + 1) {
        control.progress("sizes of possible-d-sep set", size as u64, longest as u64);
        let found = wider
            .par_iter()
            .map(|&of| {
                let mut targets = skeleton.neighbours(of);
                targets.retain(|&target| !known.joined(of, target));
                let question = Question {
                    of,
                    targets: &targets,
                    pool: &pools[of],
                    size,
                };
                Ok((of, gather(test, question, width, control)?))
            })
            .collect::<Result<Vec<_>, LabError>>()?;
        skeleton.largest = skeleton.largest.max(size);
        for (of, separated) in found {
            control.check()?;
            for (target, members) in separated {
                skeleton.separate(of, target, &members);
            }
        }
    }
    Ok(())
}
