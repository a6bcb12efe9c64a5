//! How high the Gaussian term of a variable can be at a place of an order: no parents leave less of
//! its variance than all that come before it do. What those leave is in the Cholesky factor of the
//! correlations in that order, which a move changes by rotations. A place whose ceiling is too low
//! need not be looked at.

use hindcast_stats::{Matrix, exp};

use super::regression::SINGULAR;
use crate::control::{Control, Stop};

pub(super) struct Ceilings<'a> {
    correlation: &'a Matrix,
    rows: f64,
    order: Vec<usize>,
    /// Lower triangular; rows and columns are places.
    factor: Matrix,
    /// What all others leave of each variable.
    least: Vec<f64>,
}

impl<'a> Ceilings<'a> {
    /// `None` where the correlations are singular: then nothing is left of some variable.
    pub(super) fn new(
        correlation: &'a Matrix,
        rows: f64,
        control: &dyn Control,
    ) -> Result<Option<Self>, Stop> {
        let d = correlation.rows();
        let mut new = Self {
            correlation,
            rows,
            order: Vec::new(),
            factor: Matrix::zeros(d, d),
            least: vec![0.0; d],
        };
        let all: Vec<usize> = (0..d).collect();
        new.arrange(&all, control)?;
        let of = |i: usize| new.factor[(i, i)] * new.factor[(i, i)];
        if !all.iter().all(|&i| of(i) > SINGULAR) {
            return Ok(None);
        }
        new.least = least(&new.factor, control)?;
        Ok(Some(new))
    }

    /// The factor of another order, from the first place that has changed.
    pub(super) fn arrange(&mut self, order: &[usize], control: &dyn Control) -> Result<(), Stop> {
        let pairs = self.order.iter().zip(order);
        let first = pairs.take_while(|(a, b)| a == b).count();
        self.order.clear();
        self.order.extend_from_slice(order);
        let d = order.len();
        for i in first..d {
            control.check()?;
            let correlations = self.correlation.row(order[i]);
            let (known, rest) = self.factor.values_mut().split_at_mut(i * d);
            let row = &mut rest[..d];
            row.fill(0.0);
            let mut left = 1.0;
            for (j, other) in known.chunks_exact(d).enumerate() {
                let sum = hindcast_stats::dot(&row[..j], &other[..j]);
                row[j] = (correlations[order[j]] - sum) / other[j];
                left -= row[j] * row[j];
            }
            row[i] = left.max(SINGULAR).sqrt();
        }
        Ok(())
    }

    /// The variable at one place goes to another, past those between.
    pub(super) fn shift(&mut self, from: usize, to: usize) {
        if from < to {
            (from..to).for_each(|place| self.swap(place));
        } else {
            (to..from).rev().for_each(|place| self.swap(place));
        }
    }

    /// Two neighbours pass each other; a rotation of two columns makes the factor triangular again.
    fn swap(&mut self, place: usize) {
        let d = self.order.len();
        self.order.swap(place, place + 1);
        let (above, below) = self.factor.values_mut().split_at_mut((place + 1) * d);
        above[place * d..].swap_with_slice(&mut below[..d]);
        let (x, y) = (above[place * d + place], above[place * d + place + 1]);
        let length = (x * x + y * y).sqrt();
        let (cosine, sine) = (x / length, y / length);
        above[place * d + place] = length;
        above[place * d + place + 1] = 0.0;
        for row in below.chunks_exact_mut(d) {
            let (a, b) = (row[place], row[place + 1]);
            row[place] = cosine * a + sine * b;
            row[place + 1] = sine * a - cosine * b;
        }
    }

    /// Writes for each place, counted without the variable at `from` itself, at most what is left of
    /// it there: exactly up to `from`, and after that what all others leave.
    pub(super) fn variances(&self, from: usize, out: &mut [f64]) {
        let mut left = 1.0;
        for (out, x) in out[..=from].iter_mut().zip(self.factor.row(from)) {
            *out = left;
            left -= x * x;
        }
        out[from + 1..].fill(self.least[self.order[from]]);
    }

    /// A term that is to be above `term` needs a variance below this.
    pub(super) fn variance_for(&self, term: f64) -> f64 {
        // Twice what rounding can do.
        exp(-term / self.rows) * (1.0 + 1e-9) + 2.0 * SINGULAR
    }
}

/// What all others leave of each variable: one over the diagonal of the inverse, which is the sum of
/// the squares of the columns of the factor's inverse.
fn least(factor: &Matrix, control: &dyn Control) -> Result<Vec<f64>, Stop> {
    let d = factor.rows();
    let mut inverse = Matrix::zeros(d, d);
    let mut sums = vec![0.0; d];
    for i in 0..d {
        control.check()?;
        let (known, rest) = inverse.values_mut().split_at_mut(i * d);
        let row = &mut rest[..=i];
        row[i] = 1.0;
        for (j, other) in known.chunks_exact(d).enumerate() {
            hindcast_stats::axpy(-factor[(i, j)], &other[..=j], &mut row[..=j]);
        }
        for (sum, x) in sums.iter_mut().zip(row) {
            *x /= factor[(i, i)];
            *sum += *x * *x;
        }
    }
    Ok(sums.into_iter().map(|sum| 1.0 / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use hindcast_stats::Philox;

    #[test]
    fn moves_lead_to_the_factor_of_the_new_order() {
        let d = 7;
        let mut rng = Philox::new(3, 0);
        let values = (0..50 * d).map(|_| rng.normal()).collect();
        let cross = Matrix::from_vec(50, d, values).cross_product();
        let correlation = Matrix::from_fn(d, d, |i, j| {
            cross[(i, j)] / (cross[(i, i)] * cross[(j, j)]).sqrt()
        });
        let mut moved = Ceilings::new(&correlation, 50.0, &Uncontrolled)
            .unwrap()
            .unwrap();
        let mut order: Vec<usize> = (0..d).collect();
        moved.arrange(&order, &Uncontrolled).unwrap();
        for _ in 0..40 {
            let (from, to) = (rng.index_below(d), rng.index_below(d));
            let variable = order.remove(from);
            order.insert(to, variable);
            moved.shift(from, to);
            let mut fresh = Ceilings::new(&correlation, 50.0, &Uncontrolled)
                .unwrap()
                .unwrap();
            fresh.arrange(&order, &Uncontrolled).unwrap();
            for (a, b) in moved.factor.values().iter().zip(fresh.factor.values()) {
                assert!((a - b).abs() < 1e-12);
            }
            let mut variances = vec![0.0; d];
            moved.variances(to, &mut variances);
            let given: Vec<usize> = order[..to].to_vec();
            let fit = super::super::regression::Regression::new(&correlation, variable, &given);
            assert!((variances[to] - fit.unwrap().residual).abs() < 1e-12);
            assert!(variances.windows(2).all(|pair| pair[1] <= pair[0] + 1e-12));
        }
    }
}
