//! The test of partial correlations by Fisher's z, for Gaussian data.
//!
//! `sqrt(n - |S| - 3) atanh r` is compared with the normal quantile; the comparison is made once
//! for each size of set, as a bound on the square of r. The subsets are walked as a tree: along a
//! branch the correlations of the variables in question are kept net of the set so far, so that a
//! test costs a few multiplications whatever the size of its set.

use hindcast_stats::{Matrix, tail};

use super::independence::{Independence, Question};
use crate::control::{Control, Stop};
use crate::discover::regression::{Regression, SINGULAR};

/// Numbers computed between two looks at the control.
const WORK_BETWEEN_CHECKS: usize = 1 << 20;

pub(in crate::discover) struct FisherZ<'a> {
    correlation: &'a Matrix,
    rows: usize,
    quantile: f64,
}

impl<'a> FisherZ<'a> {
    pub(in crate::discover) fn new(correlation: &'a Matrix, rows: usize, alpha: f64) -> Self {
        Self {
            correlation,
            rows,
            quantile: tail::normal_two_sided(alpha),
        }
    }

    /// Squared partial correlations up to this pass for 0.
    fn bound(&self, size: usize) -> f64 {
        let freedom = self.rows as f64 - size as f64 - 3.0;
        let r = (self.quantile / freedom.sqrt()).min(40.0);
        // tanh from the exponential, the same bits everywhere.
        let power = hindcast_stats::exp(-2.0 * r);
        let r = (1.0 - power) / (1.0 + power);
        r * r
    }
}

impl Independence for FisherZ<'_> {
    fn width(&self) -> usize {
        self.correlation.rows()
    }

    fn size_max(&self) -> usize {
        self.rows.saturating_sub(4)
    }

    fn independent(&self, x: usize, y: usize, given: &[usize]) -> bool {
        let with: Vec<usize> = std::iter::once(y).chain(given.iter().copied()).collect();
        // Dependent regressors, or nothing left of x: the correlation is not defined.
        let Some(fit) = Regression::new(self.correlation, x, &with) else {
            return false;
        };
        let r = fit.partial_correlation(0);
        fit.residual > SINGULAR && r * r <= self.bound(given.len())
    }

    fn separations(
        &self,
        question: Question<'_>,
        control: &dyn Control,
        found: &mut dyn FnMut(usize, &[usize]),
    ) -> Result<(), Stop> {
        control.check()?;
        if question.size > question.pool.len() {
            return Ok(());
        }
        if question.size == 0 {
            let (bound, of) = (self.bound(0), self.correlation.row(question.of));
            for &target in question.targets {
                if of[target] * of[target] <= bound {
                    found(target, &[]);
                }
            }
            return Ok(());
        }
        let mut walk = Walk::new(self, question, control);
        walk.descend(0, 0, found)
    }
}

/// The walk through the subsets of one question. Variables have local numbers: targets, then
/// members of the pool that are none, then the variable itself.
struct Walk<'a> {
    question: Question<'a>,
    control: &'a dyn Control,
    bound: f64,
    width: usize,
    targets: usize,
    /// Local number of each member of the pool.
    place: Vec<usize>,
    /// For each depth the correlations net of the set so far.
    levels: Vec<Vec<f64>>,
    given: Vec<usize>,
    work: usize,
}

impl<'a> Walk<'a> {
    fn new(test: &FisherZ<'a>, question: Question<'a>, control: &'a dyn Control) -> Self {
        let mut names = question.targets.to_vec();
        let mut place = Vec::with_capacity(question.pool.len());
        for &member in question.pool {
            place.push(match question.targets.binary_search(&member) {
                Ok(at) => at,
                Err(_) => {
                    names.push(member);
                    names.len() - 1
                }
            });
        }
        names.push(question.of);
        let first = test.correlation.principal(&names).values().to_vec();
        let mut levels = vec![vec![0.0; first.len()]; question.size];
        levels[0] = first;
        Self {
            question,
            control,
            bound: test.bound(question.size),
            width: names.len(),
            targets: question.targets.len(),
            place,
            levels,
            given: Vec::with_capacity(question.size),
            work: 0,
        }
    }

    fn descend(
        &mut self,
        depth: usize,
        from: usize,
        found: &mut dyn FnMut(usize, &[usize]),
    ) -> Result<(), Stop> {
        let left = self.question.size - depth;
        if left <= 1 {
            return self.last(depth, from, found);
        }
        for at in from..=self.place.len() - left {
            if !self.condition(depth, self.place[at]) {
                continue;
            }
            self.work += self.width * self.width;
            self.look()?;
            self.given.push(self.question.pool[at]);
            self.descend(depth + 1, at + 1, found)?;
            self.given.pop();
        }
        Ok(())
    }

    /// Nets the next level of `member`; `false` when nothing is left of it.
    fn condition(&mut self, depth: usize, member: usize) -> bool {
        let w = self.width;
        let (known, next) = self.levels.split_at_mut(depth + 1);
        let (known, next) = (&known[depth], &mut next[0]);
        let row = &known[member * w..(member + 1) * w];
        if row[member] <= SINGULAR {
            return false;
        }
        let rows = known.chunks_exact(w).zip(next.chunks_exact_mut(w));
        for ((old, new), share) in rows.zip(row) {
            let factor = share / row[member];
            for ((out, x), y) in new.iter_mut().zip(old).zip(row) {
                *out = x - factor * y;
            }
        }
        true
    }

    /// The last member of the set: here the tests are made.
    fn last(
        &mut self,
        depth: usize,
        from: usize,
        found: &mut dyn FnMut(usize, &[usize]),
    ) -> Result<(), Stop> {
        let (w, own) = (self.width, self.width - 1);
        let level = &self.levels[depth];
        let of = &level[own * w..];
        let variances: Vec<f64> = (0..self.targets).map(|t| level[t * w + t]).collect();
        for at in from..self.place.len() {
            let member = self.place[at];
            let row = &level[member * w..(member + 1) * w];
            let variance = row[member];
            if variance <= SINGULAR {
                continue;
            }
            let factor = of[member] / variance;
            let left = of[own] - factor * of[member];
            if left <= SINGULAR {
                continue;
            }
            let (scale, limit) = (1.0 / variance, self.bound * left);
            let parts = of[..self.targets].iter().zip(&row[..self.targets]);
            for (target, ((r, share), before)) in parts.zip(&variances).enumerate() {
                let rest = before - share * share * scale;
                let covariance = r - factor * share;
                // A member of the set has nothing left, and passes for no target.
                if covariance * covariance <= limit * rest && rest > SINGULAR {
                    self.given.push(self.question.pool[at]);
                    found(self.question.targets[target], &self.given);
                    self.given.pop();
                }
            }
        }
        self.work += (self.place.len() - from) * self.targets;
        self.look()
    }

    fn look(&mut self) -> Result<(), Stop> {
        if self.work >= WORK_BETWEEN_CHECKS {
            self.work = 0;
            self.control.check()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use hindcast_stats::Philox;

    /// The walk against one regression for each test, on data where about half of the tests pass.
    #[test]
    fn walk_finds_what_single_tests_find() {
        let mut rng = Philox::new(3, 0);
        let (rows, d) = (60, 7);
        let mut data = Matrix::zeros(rows, d);
        for i in 0..rows {
            for j in 0..d {
                let before = if j > 0 { data[(i, j - 1)] } else { 0.0 };
                data[(i, j)] = 0.4 * before + rng.normal();
            }
        }
        let cross = data.cross_product();
        let correlation = Matrix::from_fn(d, d, |i, j| {
            cross[(i, j)] / (cross[(i, i)] * cross[(j, j)]).sqrt()
        });
        let test = FisherZ::new(&correlation, rows, 0.1);
        let (targets, pool) = ([1, 3, 4, 6], [0, 1, 4, 5, 6]);
        for size in 0..5 {
            let question = Question {
                of: 2,
                targets: &targets,
                pool: &pool,
                size,
            };
            let (mut fast, mut slow) = (Vec::new(), Vec::new());
            test.separations(question, &Uncontrolled, &mut |t, s| {
                fast.push((t, s.to_vec()));
            })
            .unwrap();
            for bits in 0..1_u32 << pool.len() {
                let given: Vec<usize> = (0..pool.len())
                    .filter(|i| bits >> i & 1 == 1)
                    .map(|i| pool[i])
                    .collect();
                for &t in targets.iter().filter(|t| !given.contains(t)) {
                    if given.len() == size && test.independent(2, t, &given) {
                        slow.push((t, given.clone()));
                    }
                }
            }
            fast.sort();
            slow.sort();
            assert_eq!(fast, slow, "size {size}");
        }
    }

    /// r = 0.2 with 100 rows: z = 1.9967, p = 0.0459.
    #[test]
    fn bound_is_the_level_of_fishers_test() {
        let correlation = Matrix::from_vec(2, 2, vec![1.0, 0.2, 0.2, 1.0]);
        assert!(!FisherZ::new(&correlation, 100, 0.0460).independent(0, 1, &[]));
        assert!(FisherZ::new(&correlation, 100, 0.0458).independent(0, 1, &[]));
    }
}
