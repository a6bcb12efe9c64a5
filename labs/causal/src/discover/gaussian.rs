//! The Gaussian score for searches: BIC of linear regressions, read from correlations. Growing a
//! set of parents costs one column of a Cholesky factor for each parent and reads no row of data.

use hindcast_stats::{Matrix, ln};

use super::regression::{Bic, Regression, SINGULAR};
use super::score::{Candidate, LocalScore};
use crate::control::Stop;

/// Targets whose columns are kept: a search comes back to the variable it moves between looks at
/// others. More of them would not stay in the nearest caches.
const SLOTS: usize = 4;
/// Variables of a column that are worked out side by side.
const LANES: usize = 8;

impl LocalScore for Bic<'_> {
    type Work = Work;

    fn work(&self) -> Work {
        Work::new(self.correlation.rows())
    }

    fn width(&self) -> usize {
        self.correlation.rows()
    }

    fn correlations(&self) -> Option<(&Matrix, f64)> {
        Some((self.correlation, self.rows))
    }

    fn local(&self, _work: &mut Work, target: usize, parents: &[usize]) -> Result<f64, Stop> {
        Ok(Bic::local(self, target, parents))
    }

    fn shrink(
        &self,
        work: &mut Work,
        target: usize,
        parents: &[usize],
        kept: usize,
    ) -> Result<(Vec<usize>, f64), Stop> {
        let fit = match work.shrunk(self, target, parents, kept) {
            Some(Shrunk::Nothing(residual)) => {
                return Ok((parents.to_vec(), self.of(residual, parents.len())));
            }
            Some(Shrunk::To(fit)) => Some(fit),
            None => Bic::shrink(self, target, parents, kept),
        };
        Ok(match fit {
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

/// For the targets last asked for the Cholesky columns of their parents, so that one parent more
/// costs one column more.
pub(super) struct Work {
    width: usize,
    /// The one used last comes first.
    slots: Vec<Slot>,
    chosen: Vec<usize>,
    /// A triangle, row after row.
    inverse: Vec<f64>,
}

enum Shrunk {
    /// All parents stay, and leave this of the variance.
    Nothing(f64),
    To(Regression),
}

/// The parents of one target, level by level from none. A level has three numbers for each
/// variable: the column that its parent adds to the factor (nothing at the first level), and what
/// is left of the variable's variance and of its covariance with the target.
struct Slot {
    target: usize,
    path: Vec<usize>,
    /// With room for levels that are no longer or not yet in use.
    levels: Vec<f64>,
    factors: Vec<f64>,
}

impl Work {
    fn new(width: usize) -> Self {
        Self {
            width,
            slots: Vec::with_capacity(SLOTS),
            chosen: vec![0; width],
            inverse: Vec::new(),
        }
    }

    /// Drops parents that do not pay for themselves; `None` when their columns are not at hand.
    fn shrunk(
        &mut self,
        bic: &Bic<'_>,
        target: usize,
        parents: &[usize],
        kept: usize,
    ) -> Option<Shrunk> {
        let slot = self.slots.first()?;
        if slot.target != target || !slot.path.starts_with(parents) {
            return None;
        }
        let size = 3 * self.width;
        // Of the factor the row of a parent, and of the target.
        let cell = |level: usize, variable: usize| slot.levels[(level + 1) * size + variable];
        let start = |row: usize| row * (row + 1) / 2;
        let count = parents.len();
        self.inverse.clear();
        self.inverse.resize(start(count), 0.0);
        for (i, &parent) in parents.iter().enumerate() {
            let (above, row) = self.inverse.split_at_mut(start(i));
            for k in 0..i {
                let factor = cell(k, parent);
                for (x, y) in row.iter_mut().zip(&above[start(k)..][..=k]) {
                    *x -= factor * y;
                }
            }
            row[i] = 1.0;
            let scale = 1.0 / cell(i, parent);
            for x in &mut row[..=i] {
                *x *= scale;
            }
        }
        let residual = slot.levels[count * size + self.width + target];
        let pays = |parent: usize| {
            let (mut coefficient, mut square) = (0.0, 0.0);
            for i in parent..count {
                let x = self.inverse[start(i) + parent];
                coefficient += x * cell(i, target);
                square += x * x;
            }
            let loss = coefficient * coefficient / square;
            loss >= bic.least_r2 * (residual + loss)
        };
        if (kept..count).all(pays) {
            return Some(Shrunk::Nothing(residual));
        }
        let of_target: Vec<f64> = (0..count).map(|i| cell(i, target)).collect();
        let fit = Regression::of_factor(parents, &self.inverse, &of_target, residual);
        Some(Shrunk::To(bic.drop_unpaid(fit, kept)))
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
        let d = self.width;
        let slot = slot_of(&mut self.slots, bic, target);
        slot.reach(bic, parents);
        let level = &slot.levels[parents.len() * 3 * d..][d..3 * d];
        let (variances, covariances) = level.split_at(d);
        let own = variances[target];
        if own <= SINGULAR {
            return;
        }
        let floor = bic.least_r2 * own;
        // Which variables are chosen is hard to foresee, so this has no branch.
        let mut count = 0;
        for (v, (&variance, &covariance)) in variances.iter().zip(covariances).enumerate() {
            let square = covariance * covariance;
            let is_better = square > floor * variance;
            self.chosen[count] = v;
            count += usize::from(is_better & (variance > SINGULAR) & (v != target));
        }
        for &v in &self.chosen[..count] {
            visit(v, covariances[v] * covariances[v] / variances[v], own);
        }
    }
}

/// The slot of a target, made from the one that was not used for longest if there is none.
fn slot_of<'a>(slots: &'a mut Vec<Slot>, bic: &Bic<'_>, target: usize) -> &'a mut Slot {
    let known = slots.iter().position(|slot| slot.target == target);
    let at = known.unwrap_or_else(|| {
        if slots.len() < SLOTS {
            slots.push(Slot {
                target,
                path: Vec::new(),
                levels: Vec::new(),
                factors: Vec::new(),
            });
        }
        let last = slots.len() - 1;
        slots[last].begin(bic, target);
        last
    });
    slots[..=at].rotate_right(1);
    &mut slots[0]
}

impl Slot {
    fn begin(&mut self, bic: &Bic<'_>, target: usize) {
        let d = bic.correlation.rows();
        self.target = target;
        self.path.clear();
        if self.levels.is_empty() {
            self.levels.resize(3 * d, 1.0);
        }
        self.levels[2 * d..3 * d].copy_from_slice(bic.correlation.row(target));
    }

    /// Brings the levels to `path`, keeping what it has in common with the last one.
    fn reach(&mut self, bic: &Bic<'_>, path: &[usize]) {
        let pairs = self.path.iter().zip(path);
        let common = pairs.take_while(|(a, b)| a == b).count();
        // The levels of a longer path with the same start stay.
        if common < path.len() {
            self.path.truncate(common);
            for &parent in &path[common..] {
                self.add(bic, parent);
            }
        }
    }

    fn add(&mut self, bic: &Bic<'_>, parent: usize) {
        let row = bic.correlation.row(parent);
        let d = row.len();
        let size = 3 * d;
        let depth = self.path.len();
        if self.levels.len() < (depth + 2) * size {
            self.levels.resize((depth + 2) * size, 0.0);
        }
        let (known, level) = self.levels.split_at_mut((depth + 1) * size);
        let known = &*known;
        let (last_variances, last_covariances) = known[depth * size + d..].split_at(d);
        let scale = 1.0 / last_variances[parent].max(SINGULAR).sqrt();
        let factors = &mut self.factors;
        factors.clear();
        factors.extend((1..=depth).map(|level| known[level * size + parent]));
        let (column, left) = level[..size].split_at_mut(d);
        let (variances, covariances) = left.split_at_mut(d);
        let mut blocks = column.chunks_exact_mut(LANES);
        let mut start = 0;
        for block in &mut blocks {
            block.copy_from_slice(&lanes::<LANES>(row, (known, size), factors, start));
            start += LANES;
        }
        let mut pairs = blocks.into_remainder().chunks_exact_mut(2);
        for pair in &mut pairs {
            pair.copy_from_slice(&lanes::<2>(row, (known, size), factors, start));
            start += 2;
        }
        if let [last] = pairs.into_remainder() {
            [*last] = lanes::<1>(row, (known, size), factors, start);
        }
        for x in column.iter_mut() {
            *x *= scale;
        }
        let to_target = column[self.target];
        for ((left, last), x) in variances.iter_mut().zip(last_variances).zip(&*column) {
            *left = last - x * x;
        }
        for ((left, last), x) in covariances.iter_mut().zip(last_covariances).zip(&*column) {
            *left = last - x * to_target;
        }
        self.path.push(parent);
    }
}

/// What `factors` times the columns of the levels leave of the row, for `N` variables from `start`
/// on. The first level has no column.
#[inline]
fn lanes<const N: usize>(
    row: &[f64],
    (levels, size): (&[f64], usize),
    factors: &[f64],
    start: usize,
) -> [f64; N] {
    let at = |values: &[f64]| -> [f64; N] {
        *values[start..]
            .first_chunk()
            .expect("lanes lie within a row")
    };
    let mut left = at(row);
    for (level, factor) in levels.chunks_exact(size).skip(1).zip(factors) {
        let (column, factor) = (at(level), -factor);
        for (left, x) in left.iter_mut().zip(column) {
            *left += factor * x;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindcast_stats::Philox;

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
