//! The Gaussian score for searches: BIC of linear regressions, read from correlations. Growing a
//! set of parents costs one column of a Cholesky factor for each parent and reads no row of data.

use hindcast_stats::{axpy, ln};

use super::regression::{Bic, SINGULAR};
use super::score::{Candidate, LocalScore};
use crate::control::Stop;

/// No variable.
const NOWHERE: usize = usize::MAX;

impl LocalScore for Bic<'_> {
    type Work = Work;

    fn work(&self) -> Work {
        Work::new(self.correlation.rows())
    }

    fn width(&self) -> usize {
        self.correlation.rows()
    }

    fn local(&self, _work: &mut Work, target: usize, parents: &[usize]) -> Result<f64, Stop> {
        Ok(Bic::local(self, target, parents))
    }

    fn shrink(
        &self,
        _work: &mut Work,
        target: usize,
        parents: &[usize],
        kept: usize,
    ) -> Result<(Vec<usize>, f64), Stop> {
        Ok(match Bic::shrink(self, target, parents, kept) {
            Some(fit) => {
                let score = self.of(fit.residual, fit.parents.len());
                (fit.parents, score)
            }
            // Growing takes no dependent parent, so this is only a matter of rounding.
            None => {
                let parents = parents[..kept].to_vec();
                let score = Bic::local(self, target, &parents);
                (parents, score)
            }
        })
    }

    fn gains(
        &self,
        work: &mut Work,
        target: usize,
        parents: &[usize],
        out: &mut Vec<(usize, f64)>,
    ) -> Result<(), Stop> {
        work.each(self, target, parents, |v, explained, own| {
            let left = ((own - explained) / own).max(SINGULAR);
            out.push((v, -self.rows * ln(left) - self.cost));
        });
        Ok(())
    }

    fn rank(
        &self,
        work: &mut Work,
        target: usize,
        parents: &[usize],
        out: &mut Vec<Candidate>,
    ) -> Result<(), Stop> {
        // What a variable explains ranks as its gain does, and needs no logarithm.
        work.each(self, target, parents, |v, explained, _| {
            out.push(Candidate::new(explained, v));
        });
        out.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }
}

/// Cholesky columns of the parents last asked for, so that one parent more costs one column more.
pub(super) struct Work {
    width: usize,
    target: usize,
    path: Vec<usize>,
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

    /// Calls `visit` with each variable that improves the score of `target` beyond `parents`, how
    /// much of the variance it explains, and the variance left without it.
    fn each(
        &mut self,
        bic: &Bic<'_>,
        target: usize,
        parents: &[usize],
        mut visit: impl FnMut(usize, f64, f64),
    ) {
        if parents.len() >= bic.parents_max {
            return;
        }
        self.reach(bic, target, parents);
        let start = parents.len() * self.width;
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
                visit(v, square / variance, own);
            }
        }
    }

    /// Brings the work space to `path`, keeping what it has in common with the last one.
    fn reach(&mut self, bic: &Bic<'_>, target: usize, path: &[usize]) {
        let d = self.width;
        let common = if self.target == target {
            let pairs = self.path.iter().zip(path);
            pairs.take_while(|(a, b)| a == b).count()
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
        for (depth, &p) in path.iter().enumerate().skip(common) {
            self.columns.extend_from_slice(bic.correlation.row(p));
            let (known, column) = self.columns.split_at_mut(depth * d);
            for earlier in known.chunks_exact(d) {
                axpy(-earlier[p], earlier, column);
            }
            let scale = 1.0 / self.variances[depth * d + p].max(SINGULAR).sqrt();
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
            self.path.push(p);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindcast_stats::{Matrix, Philox};

    /// The rounding of two ways to one residual variance, times the number of rows.
    const TOLERANCE: f64 = 1e-9;

    #[test]
    fn gains_are_differences_of_the_score() {
        let mut rng = Philox::new(9, 0);
        let values = (0..60 * 6).map(|_| rng.normal()).collect();
        let cross = Matrix::from_vec(60, 6, values).cross_product();
        let correlation = Matrix::from_fn(6, 6, |i, j| {
            cross[(i, j)] / (cross[(i, i)] * cross[(j, j)]).sqrt()
        });
        let bic = Bic::new(&correlation, 60, 0.1);
        let mut work = bic.work();
        for parents in [vec![], vec![3], vec![3, 5], vec![1, 3]] {
            let mut gains = Vec::new();
            bic.gains(&mut work, 0, &parents, &mut gains).unwrap();
            let before = Bic::local(&bic, 0, &parents);
            for v in (1..6).filter(|v| !parents.contains(v)) {
                let gain = Bic::local(&bic, 0, &[&parents[..], &[v]].concat()) - before;
                match gains.iter().find(|(w, _)| *w == v) {
                    Some((_, found)) => assert!((found - gain).abs() < TOLERANCE),
                    None => assert!(gain < TOLERANCE),
                }
            }
        }
    }
}
