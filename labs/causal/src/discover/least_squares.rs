//! The least squares loss of a linear model, `tr((I - W)' S (I - W)) / 2`, from the second moments
//! S: what NOTEARS and DAGMA fit. Its cost rises with the number of weights that are not 0.

use hindcast_stats::{Matrix, axpy};

pub(super) struct LeastSquares<'a> {
    moments: &'a Matrix,
    /// Row j: the covariances of all variables with what is left of variable j. The derivative of
    /// the loss in the weight of i -> j is minus the value at (j, i).
    pub left: Matrix,
}

impl<'a> LeastSquares<'a> {
    pub(super) fn new(moments: &'a Matrix) -> Self {
        Self {
            moments,
            left: Matrix::zeros(moments.rows(), moments.rows()),
        }
    }

    pub(super) fn moments(&self) -> &'a Matrix {
        self.moments
    }

    /// The loss at the weights `w` (row-major, from row to column), with `left` brought up to date.
    pub(super) fn loss(&mut self, w: &[f64]) -> f64 {
        let d = self.moments.rows();
        let mut loss = 0.0;
        for j in 0..d {
            let row = self.left.row_mut(j);
            row.copy_from_slice(self.moments.row(j));
            let weights = (0..d).map(|i| (i, w[i * d + j]));
            let weights = weights.filter(|(_, weight)| weight.abs() > 0.0);
            for (i, weight) in weights.clone() {
                axpy(-weight, self.moments.row(i), row);
            }
            loss += weights.fold(row[j], |sum, (i, weight)| sum - weight * row[i]);
        }
        0.5 * loss
    }

    /// For each weight the second derivative of the loss: the variance of its tail.
    pub(super) fn curvature(&self) -> Vec<f64> {
        let d = self.moments.rows();
        let cells = 0..d * d;
        cells.map(|at| self.moments[(at / d, at / d)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindcast_stats::Philox;

    #[test]
    fn loss_and_derivatives_agree_with_the_definition() {
        let mut rng = Philox::new(4, 1);
        let rows = Matrix::from_vec(9, 4, (0..36).map(|_| rng.normal()).collect());
        let moments = rows.cross_product();
        let w: Vec<f64> = (0..16)
            .map(|i| if i % 3 == 0 { 0.0 } else { rng.normal() })
            .collect();
        let rest = Matrix::from_fn(4, 4, |i, j| f64::from(u8::from(i == j)) - w[i * 4 + j]);
        let left = moments.times(&rest);
        let expected = 0.5 * rest.transposed().times(&left).trace();
        let mut fit = LeastSquares::new(&moments);
        assert!((fit.loss(&w) - expected).abs() < 1e-12 * expected);
        for i in 0..4 {
            for j in 0..4 {
                assert!((fit.left[(j, i)] - left[(i, j)]).abs() < 1e-11);
            }
        }
    }
}
