//! The exponential of a non-negative matrix, by balancing, a Taylor polynomial and squaring.
//!
//! No term of the series cancels another, so that the polynomial is as accurate as a rational
//! approximation and needs no linear system. Balancing (Osborne 1960: a diagonal similarity with
//! powers of 2, which costs no digit) brings the norm near the spectral radius. For weights that
//! are almost acyclic that is almost 0, and a few products are enough.

use hindcast_stats::Matrix;

use crate::control::{Control, Stop};

/// Norm above which the exponential is taken to be infinite: e^600 is still a number, but its
/// square is not, and whoever asks is far from any solution.
pub(super) const NORM_MAX: f64 = 600.0;
/// The polynomial is used at norms up to this: 0.5^16 / 16! is below 1e-18.
const POLYNOMIAL_NORM_MAX: f64 = 0.5;
/// Norms up to which fewer than four coefficients of degree 3 do: what is left out is less than
/// 1e-13 of the quadratic term.
const SHORTER: [f64; 3] = [1e-6, 0.04, 0.35];
/// Largest exponent of 2 in the balancing, and where a row or column that has no counterpart is
/// brought.
const EXPONENT_MAX: i32 = 300;
const LONE_SUM: f64 = 1.0 / 1_048_576.0;
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
    /// Exponents of the balancing; kept from call to call, since arguments follow each other
    /// closely.
    exponents: Vec<i32>,
}

impl Exponential {
    pub(super) fn new(size: usize) -> Self {
        let zeros = || Matrix::zeros(size, size);
        Self {
            powers: [zeros(), zeros(), zeros(), zeros()],
            sum: zeros(),
            product: zeros(),
            exponents: vec![0; size],
        }
    }

    /// e to the power of `matrix`, or `None` when its norm is over `NORM_MAX` or no number.
    pub(super) fn of(
        &mut self,
        matrix: &Matrix,
        control: &dyn Control,
    ) -> Result<Option<&Matrix>, Stop> {
        self.balance(matrix);
        let norm = self.powers[0].infinity_norm();
        if norm.is_nan() || norm > NORM_MAX {
            return Ok(None);
        }
        let (mut squarings, mut scale) = (0, 1.0);
        while norm * scale > POLYNOMIAL_NORM_MAX {
            squarings += 1;
            scale *= 0.5;
        }
        self.powers[0].scale(scale);
        let blocks = 1 + SHORTER.iter().filter(|&&least| norm > least).count();
        for i in 1..if blocks == 1 { 3 } else { 4 } {
            let (known, rest) = self.powers.split_at_mut(i);
            known[0].times_into(&known[i - 1], &mut rest[0]);
            control.check()?;
        }
        self.polynomial(blocks, control)?;
        for _ in 0..squarings {
            self.sum.times_into(&self.sum, &mut self.product);
            std::mem::swap(&mut self.sum, &mut self.product);
            control.check()?;
        }
        for (i, &row) in self.exponents.iter().enumerate() {
            let values = self.sum.row_mut(i).iter_mut();
            for (x, &column) in values.zip(&self.exponents) {
                *x *= power_of_two(column - row);
            }
        }
        Ok(self
            .sum
            .values()
            .iter()
            .all(|x| x.is_finite())
            .then_some(&self.sum))
    }

    /// Leaves the balanced matrix in the first power. One sweep: row and column of each index are
    /// brought to the same sum.
    fn balance(&mut self, matrix: &Matrix) {
        let size = matrix.rows();
        let balanced = &mut self.powers[0];
        for i in 0..size {
            let values = balanced.row_mut(i).iter_mut().zip(matrix.row(i));
            for ((out, x), &column) in values.zip(&self.exponents) {
                *out = x * power_of_two(self.exponents[i] - column);
            }
        }
        for i in 0..size {
            let (mut row, mut column) = (0.0, 0.0);
            for j in (0..size).filter(|&j| j != i) {
                row += balanced[(i, j)];
                column += balanced[(j, i)];
            }
            let Some(step) = step(row, column) else {
                continue;
            };
            let to = (self.exponents[i] + step).clamp(-EXPONENT_MAX, EXPONENT_MAX);
            let (up, down) = (
                power_of_two(to - self.exponents[i]),
                power_of_two(self.exponents[i] - to),
            );
            self.exponents[i] = to;
            for j in (0..size).filter(|&j| j != i) {
                balanced[(i, j)] *= up;
                balanced[(j, i)] *= down;
            }
        }
    }

    /// Horner's rule in the fourth power; the coefficients in between are matrices of degree 3
    /// (Paterson and Stockmeyer).
    fn polynomial(&mut self, blocks: usize, control: &dyn Control) -> Result<(), Stop> {
        for block in (0..blocks).rev() {
            if block == blocks - 1 {
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

/// By which power of 2 to multiply a row and divide the column; `None` where nothing is gained.
fn step(row: f64, column: f64) -> Option<i32> {
    let ratio = match (row > 0.0, column > 0.0) {
        (true, true) => (column / row).sqrt(),
        (true, false) if row > LONE_SUM => LONE_SUM / row,
        (false, true) if column > LONE_SUM => column / LONE_SUM,
        _ => return None,
    };
    if !ratio.is_normal() {
        return None;
    }
    let exponent = i32::from(i16::try_from(ratio.to_bits() >> 52).ok()?) - 1023;
    // The nearest power of 2 and not the one below.
    let near = exponent + i32::from(ratio > 1.5 * power_of_two(exponent));
    (near != 0).then_some(near)
}

/// Exact for exponents from -1022 to 1023; the balancing stays within.
fn power_of_two(exponent: i32) -> f64 {
    let biased = u64::try_from(exponent + 1023).expect("exponents are at most 600 apart");
    f64::from_bits(biased << 52)
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

    /// Against the plain series, on random matrices from nearly acyclic to dense, each argument
    /// three times so that the balancing of one serves the next.
    #[test]
    fn balanced_exponential_agrees_with_the_series() {
        let mut rng = hindcast_stats::Philox::new(5, 0);
        let mut work = Exponential::new(7);
        for round in 0..30 {
            let below = [0.0, 1e-9, 1e-4, 1.0][round % 4];
            let values = (0..49).map(|at| {
                let (i, j) = (at / 7, at % 7);
                let size = rng.uniform() * 2.0;
                if i < j {
                    size
                } else if i > j {
                    size * below
                } else {
                    0.0
                }
            });
            let matrix = Matrix::from_vec(7, 7, values.collect());
            let (mut expected, mut term) = (Matrix::identity(7), Matrix::identity(7));
            for k in 1..120 {
                term = term.times(&matrix);
                term.scale(1.0 / f64::from(k));
                for (sum, x) in expected.values_mut().iter_mut().zip(term.values()) {
                    *sum += x;
                }
            }
            for _ in 0..3 {
                let found = work.of(&matrix, &Uncontrolled).unwrap().unwrap();
                for (a, b) in found.values().iter().zip(expected.values()) {
                    assert!((a - b).abs() <= 1e-12 * b.max(1e-3), "{round}: {a} {b}");
                }
            }
        }
    }
}
