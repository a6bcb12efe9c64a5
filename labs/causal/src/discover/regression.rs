//! Linear regression of one variable on others, from their correlations alone, and the BIC that
//! follows from it.

use hindcast_stats::{Matrix, dot, ln};

/// Part of a variable's variance below which it counts as a linear combination of others.
pub(super) const SINGULAR: f64 = 1e-9;

/// How fit and number of parents are weighed: 2 ln L - penalty_discount * parents * ln n.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bic<'a> {
    pub correlation: &'a Matrix,
    pub rows: f64,
    /// Cost of one parent.
    pub cost: f64,
    /// A parent pays for itself exactly when its squared partial correlation is above this.
    pub least_r2: f64,
    /// With more parents than this the residual variance says nothing.
    pub parents_max: usize,
}

impl<'a> Bic<'a> {
    pub(super) fn new(correlation: &'a Matrix, rows: usize, penalty_discount: f64) -> Self {
        let n = rows as f64;
        let cost = penalty_discount * ln(n) + ln(correlation.rows() as f64);
        let least_r2 = 1.0 - hindcast_stats::exp(-cost / n);
        let parents_max = (rows.saturating_sub(1) / 2).min(correlation.rows().saturating_sub(1));
        Self {
            correlation,
            rows: n,
            cost,
            least_r2,
            parents_max,
        }
    }

    /// Score of a variable with this residual variance (1 without parents).
    pub(super) fn of(&self, residual: f64, parents: usize) -> f64 {
        -self.rows * ln(residual.max(SINGULAR)) - self.cost * parents as f64
    }

    /// Score of `target` given `parents`, none of which is dropped.
    pub(super) fn local(&self, target: usize, parents: &[usize]) -> f64 {
        match Regression::new(self.correlation, target, parents) {
            Some(fit) => self.of(fit.residual, parents.len()),
            None => f64::NEG_INFINITY,
        }
    }

    /// Drops parents that do not pay for themselves, worst first; the first `kept` stay.
    pub(super) fn shrink(
        &self,
        target: usize,
        parents: &[usize],
        kept: usize,
    ) -> Option<Regression> {
        let fit = Regression::new(self.correlation, target, parents)?;
        Some(self.drop_unpaid(fit, kept))
    }

    /// The same from the regression on all of them.
    pub(super) fn drop_unpaid(&self, mut fit: Regression, kept: usize) -> Regression {
        loop {
            let worst = (kept..fit.parents.len())
                .map(|i| (i, fit.loss(i)))
                .reduce(|best, next| if next.1 < best.1 { next } else { best });
            match worst {
                Some((i, loss)) if loss / (fit.residual + loss) < self.least_r2 => fit.remove(i),
                _ => return fit,
            }
        }
    }
}

/// Coefficients of one variable on others, standardised.
#[derive(Debug, Clone)]
pub(super) struct Regression {
    pub parents: Vec<usize>,
    pub coefficients: Vec<f64>,
    /// Variance left, of 1.
    pub residual: f64,
    /// Inverse of the parents' correlations.
    inverse: Matrix,
}

impl Regression {
    /// `None` when the parents are linearly dependent.
    pub(super) fn new(correlation: &Matrix, target: usize, parents: &[usize]) -> Option<Self> {
        let factor = hindcast_stats::Cholesky::of_principal(correlation, parents, SINGULAR)?;
        let inverse = factor.inverse();
        let with_target: Vec<f64> = parents.iter().map(|&p| correlation[(p, target)]).collect();
        let coefficients: Vec<f64> = (0..parents.len())
            .map(|i| dot(inverse.row(i), &with_target))
            .collect();
        let residual = (1.0 - dot(&coefficients, &with_target)).max(0.0);
        Some(Self {
            parents: parents.to_vec(),
            coefficients,
            residual,
            inverse,
        })
    }

    /// From the inverse of the parents' Cholesky factor, row after row of a triangle, the row of the
    /// target in the factor, and what is left of its variance.
    pub(super) fn of_factor(
        parents: &[usize],
        triangle: &[f64],
        of_target: &[f64],
        residual: f64,
    ) -> Self {
        let count = parents.len();
        let mut inverse = Matrix::zeros(count, count);
        let mut coefficients = vec![0.0; count];
        let mut rest = triangle;
        for (i, &y) in of_target.iter().enumerate() {
            let (row, below) = rest.split_at(i + 1);
            rest = below;
            for (j, &x) in row.iter().enumerate() {
                coefficients[j] += x * y;
                hindcast_stats::axpy(x, row, &mut inverse.row_mut(j)[..=i]);
            }
        }
        Self {
            parents: parents.to_vec(),
            coefficients,
            residual,
            inverse,
        }
    }

    /// Correlation of the target with parent `i` given the other parents.
    pub(super) fn partial_correlation(&self, i: usize) -> f64 {
        let loss = self.loss(i);
        let share = loss / (self.residual + loss).max(f64::MIN_POSITIVE);
        share.min(1.0).sqrt().copysign(self.coefficients[i])
    }

    /// Whether `candidate` as one more parent would pay for itself.
    pub(super) fn gains_from(&self, bic: &Bic<'_>, target: usize, candidate: usize) -> bool {
        let matrix = bic.correlation;
        let with: Vec<f64> = self
            .parents
            .iter()
            .map(|&p| matrix[(p, candidate)])
            .collect();
        let covariance = matrix[(target, candidate)] - dot(&self.coefficients, &with);
        let explained: f64 = (0..with.len())
            .map(|i| with[i] * dot(self.inverse.row(i), &with))
            .fold(0.0, |a, b| a + b);
        let variance = 1.0 - explained;
        variance > SINGULAR && covariance * covariance > bic.least_r2 * variance * self.residual
    }

    /// By how much the residual variance rises without parent `i`.
    fn loss(&self, i: usize) -> f64 {
        self.coefficients[i] * self.coefficients[i] / self.inverse[(i, i)]
    }

    fn remove(&mut self, i: usize) {
        self.residual += self.loss(i);
        let pivot = self.inverse[(i, i)];
        let row: Vec<f64> = self.inverse.row(i).iter().map(|x| x / pivot).collect();
        let kept: Vec<usize> = (0..self.parents.len()).filter(|&j| j != i).collect();
        let coefficient = self.coefficients[i];
        self.inverse = Matrix::from_fn(kept.len(), kept.len(), |a, b| {
            self.inverse[(kept[a], kept[b])] - row[kept[a]] * row[kept[b]] * pivot
        });
        self.coefficients = kept
            .iter()
            .map(|&j| self.coefficients[j] - coefficient * row[j])
            .collect();
        self.parents.remove(i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindcast_stats::Philox;

    fn correlation() -> Matrix {
        let mut rng = Philox::new(9, 0);
        let values = (0..40 * 5).map(|_| rng.normal()).collect();
        let cross = Matrix::from_vec(40, 5, values).cross_product();
        Matrix::from_fn(5, 5, |i, j| {
            cross[(i, j)] / (cross[(i, i)] * cross[(j, j)]).sqrt()
        })
    }

    #[test]
    fn removing_a_parent_equals_fitting_without_it() {
        let matrix = correlation();
        let mut fit = Regression::new(&matrix, 0, &[1, 2, 3, 4]).unwrap();
        fit.remove(1);
        let direct = Regression::new(&matrix, 0, &[1, 3, 4]).unwrap();
        assert_eq!(fit.parents, direct.parents);
        assert!((fit.residual - direct.residual).abs() < 1e-12);
        for (a, b) in fit.coefficients.iter().zip(&direct.coefficients) {
            assert!((a - b).abs() < 1e-12);
        }
    }

    #[test]
    fn regression_from_a_factor_is_that_from_correlations() {
        let matrix = correlation();
        let parents = [3, 1, 4];
        let factor = hindcast_stats::Cholesky::of_principal(&matrix, &[3, 1, 4, 0], SINGULAR);
        let lower = factor.unwrap().lower_inverse();
        let fit = Regression::new(&matrix, 0, &parents).unwrap();
        let triangle: Vec<f64> = (0..3).flat_map(|i| lower.row(i)[..=i].to_vec()).collect();
        // The last row of the factor, from that of its inverse.
        let of_target: Vec<f64> = (0..3)
            .map(|i| (0..=i).fold(0.0, |sum, j| sum + lower[(i, j)] * matrix[(parents[j], 0)]))
            .collect();
        let other = Regression::of_factor(&parents, &triangle, &of_target, fit.residual);
        for i in 0..3 {
            assert!((other.coefficients[i] - fit.coefficients[i]).abs() < 1e-12);
            assert!((other.loss(i) - fit.loss(i)).abs() < 1e-12);
        }
    }

    #[test]
    fn shrinking_ends_where_no_single_removal_improves_the_score() {
        let matrix = correlation();
        let bic = Bic::new(&matrix, 40, 0.5);
        let fit = bic.shrink(0, &[1, 2, 3, 4], 0).unwrap();
        let score = bic.local(0, &fit.parents);
        for i in 0..fit.parents.len() {
            let mut fewer = fit.parents.clone();
            fewer.remove(i);
            assert!(bic.local(0, &fewer) <= score);
        }
    }

    #[test]
    fn dependent_parents_have_no_regression() {
        let matrix = Matrix::from_fn(3, 3, |i, j| if i == j || i + j == 3 { 1.0 } else { 0.2 });
        assert!(Regression::new(&matrix, 0, &[1, 2]).is_none());
    }
}
