//! The least squares loss of a linear model, `tr((I - W)' S (I - W)) / 2`, from the second moments
//! S: what NOTEARS and DAGMA fit. Its cost rises with the number of weights that are not 0.

use hindcast_stats::{Matrix, axpy};

pub(super) struct LeastSquares<'a> {
    moments: &'a Matrix,
    /// Row j: the covariances of all variables with what is left of variable j. The derivative of
    /// the loss in the weight of i -> j is minus the value at (j, i).
    pub left: Matrix,
    /// For each head its weights that are not 0, with their tails, and how many there are.
    weights: Vec<(usize, f64)>,
    counts: Vec<usize>,
}

impl<'a> LeastSquares<'a> {
    pub(super) fn new(moments: &'a Matrix) -> Self {
        let d = moments.rows();
        Self {
            moments,
            left: Matrix::zeros(d, d),
            weights: vec![(0, 0.0); d * d],
            counts: vec![0; d],
        }
    }

    pub(super) fn moments(&self) -> &'a Matrix {
        self.moments
    }

    /// The loss at the weights `w` (row-major, from row to column), with `left` brought up to date.
    pub(super) fn loss(&mut self, w: &[f64]) -> f64 {
        let d = self.moments.rows();
        if d == 0 {
            return 0.0;
        }
        self.list_weights(w);
        let mut loss = 0.0;
        for (j, weights) in self.weights.chunks_exact(d).enumerate() {
            let weights = &weights[..self.counts[j]];
            let row = self.left.row_mut(j);
            row.copy_from_slice(self.moments.row(j));
            for &(i, weight) in weights {
                axpy(-weight, self.moments.row(i), row);
            }
            loss += weights
                .iter()
                .fold(row[j], |sum, &(i, weight)| sum - weight * row[i]);
        }
        0.5 * loss
    }

    /// Every weight is written, and counted if it is not 0: which ones are is hard to foresee.
    fn list_weights(&mut self, w: &[f64]) {
        let d = self.counts.len();
        self.counts.fill(0);
        for (i, row) in w.chunks_exact(d).enumerate() {
            for (j, (&weight, count)) in row.iter().zip(&mut self.counts).enumerate() {
                self.weights[j * d + *count] = (i, weight);
                *count += usize::from(weight.abs() > 0.0);
            }
        }
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
