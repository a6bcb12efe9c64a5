//! The matrix exponential, by scaling, a Taylor polynomial of degree 15 and squaring.
//!
//! It is meant for non-negative matrices, where no term of the series cancels another, so that the
//! polynomial is as accurate as a rational approximation and needs no linear system.

use hindcast_stats::Matrix;

use crate::control::{Control, Stop};

/// Norm above which the exponential is taken to be infinite: e^600 is still a number, but its
/// square is not, and whoever asks is far from any solution.
pub(super) const NORM_MAX: f64 = 600.0;
/// The polynomial is used at norms up to this: 0.5^16 / 16! is below 1e-18.
const POLYNOMIAL_NORM_MAX: f64 = 0.5;
/// 1/k! for k = 0 to 15.
const COEFFICIENTS: [f64; 16] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
    1.0 / 87_178_291_200.0,
    1.0 / 1_307_674_368_000.0,
];

/// Work space for exponentials of one size.
pub(super) struct Exponential {
    powers: [Matrix; 4],
    sum: Matrix,
    product: Matrix,
}

impl Exponential {
    pub(super) fn new(size: usize) -> Self {
        let zeros = || Matrix::zeros(size, size);
        Self {
            powers: [zeros(), zeros(), zeros(), zeros()],
            sum: zeros(),
            product: zeros(),
        }
    }

    /// e to the power of `matrix`, or `None` when its norm is over `NORM_MAX` or no number.
    pub(super) fn of(
        &mut self,
        matrix: &Matrix,
        control: &dyn Control,
    ) -> Result<Option<&Matrix>, Stop> {
        let norm = matrix.infinity_norm();
        if norm.is_nan() || norm > NORM_MAX {
            return Ok(None);
        }
        let (mut squarings, mut scale) = (0, 1.0);
        while norm * scale > POLYNOMIAL_NORM_MAX {
            squarings += 1;
            scale *= 0.5;
        }
        self.powers[0].values_mut().copy_from_slice(matrix.values());
        self.powers[0].scale(scale);
        for i in 1..4 {
            let (known, rest) = self.powers.split_at_mut(i);
            known[0].times_into(&known[i - 1], &mut rest[0]);
            control.check()?;
        }
        self.polynomial(control)?;
        for _ in 0..squarings {
            self.sum.times_into(&self.sum, &mut self.product);
            std::mem::swap(&mut self.sum, &mut self.product);
            control.check()?;
        }
        Ok(self
            .sum
            .values()
            .iter()
            .all(|x| x.is_finite())
            .then_some(&self.sum))
    }

    /// Horner's rule in the fourth power; the coefficients in between are matrices of degree 3
    /// (Paterson and Stockmeyer).
    fn polynomial(&mut self, control: &dyn Control) -> Result<(), Stop> {
        for block in (0..4).rev() {
            if block == 3 {
                self.product.values_mut().fill(0.0);
            } else {
                self.sum.times_into(&self.powers[3], &mut self.product);
                control.check()?;
            }
            std::mem::swap(&mut self.sum, &mut self.product);
            let terms = &COEFFICIENTS[4 * block..4 * block + 4];
            let [first, second, third, _] = &self.powers;
            let sources = first
                .values()
                .iter()
                .zip(second.values())
                .zip(third.values());
            for (out, ((a, b), c)) in self.sum.values_mut().iter_mut().zip(sources) {
                *out += terms[1] * a + (terms[2] * b + terms[3] * c);
            }
            for i in 0..self.sum.rows() {
                self.sum[(i, i)] += terms[0];
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;

    #[test]
    fn nilpotent_matrix_gives_its_finite_series() {
        let matrix = Matrix::from_vec(3, 3, vec![0.0, 3.0, 5.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0]);
        let mut work = Exponential::new(3);
        let found = work.of(&matrix, &Uncontrolled).unwrap().unwrap();
        let expected = [1.0, 3.0, 11.0, 0.0, 1.0, 4.0, 0.0, 0.0, 1.0];
        for (a, b) in found.values().iter().zip(expected) {
            assert!((a - b).abs() < 1e-13);
        }
    }

    #[test]
    fn two_cycle_gives_hyperbolic_functions() {
        for x in [0.01, 0.7, 3.0, 40.0] {
            let matrix = Matrix::from_vec(2, 2, vec![0.0, x, x, 0.0]);
            let mut work = Exponential::new(2);
            let found = work.of(&matrix, &Uncontrolled).unwrap().unwrap();
            assert!((found[(0, 0)] / libm_cosh(x) - 1.0).abs() < 1e-12);
        }
    }

    fn libm_cosh(x: f64) -> f64 {
        (hindcast_stats::exp(x) + hindcast_stats::exp(-x)) / 2.0
    }

    #[test]
    fn overflow_is_said_and_not_computed() {
        let mut work = Exponential::new(2);
        for x in [1e3, f64::INFINITY, f64::NAN] {
            let matrix = Matrix::from_vec(2, 2, vec![0.0, x, x, 0.0]);
            assert!(work.of(&matrix, &Uncontrolled).unwrap().is_none());
        }
    }
}
