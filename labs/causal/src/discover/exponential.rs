//! The exponential of a non-negative matrix of which most is 0, by balancing and its series.
//!
//! No term of the series cancels another, so that it needs no scaling while the norm is small, and
//! by Horner's rule a term costs one pass through the entries that are not 0. Balancing (Osborne
//! 1960: a diagonal similarity with powers of 2, which costs no digit) brings the norm near the
//! spectral radius. For weights that are almost acyclic that is almost 0, and a few terms are
//! enough.

use hindcast_stats::{Matrix, axpy};

use crate::control::{Control, Stop};

/// Norm above which the exponential is taken to be infinite: e^600 is still a number, but its
/// square is not, and whoever asks is far from any solution.
pub(super) const NORM_MAX: f64 = 600.0;
/// The series is summed at norms up to this: what is larger is halved first and squared after.
const SERIES_NORM_MAX: f64 = 4.0;
/// Terms are summed until the first that is left out is below this part of the quadratic one.
const TRUNCATION: f64 = 1e-14;
/// Largest exponent of 2 in the balancing, and where a row or column that has no counterpart is
/// brought.
const EXPONENT_MAX: i32 = 300;
const LONE_SUM: f64 = 1.0 / 1_048_576.0;

/// Work space for exponentials of one size.
pub(super) struct Exponential {
    balanced: Matrix,
    /// The entries of `balanced` that are not 0, column and value, row after row.
    entries: Vec<(usize, f64)>,
    /// Where in `entries` each row ends.
    row_ends: Vec<usize>,
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
            balanced: zeros(),
            entries: Vec::new(),
            row_ends: Vec::new(),
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
        let norm = self.balanced.infinity_norm();
        if norm.is_nan() || norm > NORM_MAX {
            return Ok(None);
        }
        let (mut squarings, mut scale) = (0, 1.0);
        while norm * scale > SERIES_NORM_MAX {
            squarings += 1;
            scale *= 0.5;
        }
        self.list_entries();
        self.sum.values_mut().fill(0.0);
        for i in 0..self.sum.rows() {
            self.sum[(i, i)] = 1.0;
        }
        for term in (1..=terms(norm * scale)).rev() {
            control.check()?;
            self.nest(scale / f64::from(term));
        }
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

    fn list_entries(&mut self) {
        self.entries.clear();
        self.row_ends.clear();
        for i in 0..self.balanced.rows() {
            let row = self.balanced.row(i).iter().copied().enumerate();
            self.entries.extend(row.filter(|(_, x)| *x != 0.0));
            self.row_ends.push(self.entries.len());
        }
    }

    /// One step of Horner's rule: the sum becomes 1 and `factor` times the balanced matrix times
    /// the sum.
    fn nest(&mut self, factor: f64) {
        let mut start = 0;
        for (i, &end) in self.row_ends.iter().enumerate() {
            let target = self.product.row_mut(i);
            target.fill(0.0);
            let groups = self.entries[start..end].chunks_exact(4);
            for &(j, x) in groups.remainder() {
                axpy(factor * x, self.sum.row(j), target);
            }
            for group in groups {
                let [a, b, c, d] = [0, 1, 2, 3].map(|k| factor * group[k].1);
                let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|k| self.sum.row(group[k].0));
                for ((((t, x0), x1), x2), x3) in target.iter_mut().zip(r0).zip(r1).zip(r2).zip(r3) {
                    *t += (a * x0 + b * x1) + (c * x2 + d * x3);
                }
            }
            target[i] += 1.0;
            start = end;
        }
        std::mem::swap(&mut self.sum, &mut self.product);
    }

    /// One sweep: row and column of each index are brought to the same sum.
    fn balance(&mut self, matrix: &Matrix) {
        let size = matrix.rows();
        let balanced = &mut self.balanced;
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
}

/// How many terms of the series count for a matrix of this norm.
fn terms(norm: f64) -> u32 {
    let (mut last, mut left_out) = (2, norm / 3.0);
    while left_out > TRUNCATION {
        last += 1;
        left_out *= norm / f64::from(last + 1);
    }
    last
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
