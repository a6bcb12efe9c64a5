//! The exponential of a non-negative matrix of which most is 0, by balancing and its series.
//!
//! No term of the series cancels another, so that it needs no scaling while the norm is small, and
//! by Horner's rule a term costs one pass through the entries that are not 0. Balancing (Osborne
//! 1960: a diagonal similarity with powers of 2, which costs no digit) brings the norm near the
//! spectral radius. For weights that are almost acyclic that is almost 0, and a few terms are
//! enough.

use hindcast_stats::Matrix;

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
const EXPONENT_MAX: i64 = 300;
const LONE_SUM: f64 = 1.0 / 1_048_576.0;

/// Columns of a product that are summed side by side.
const LANES: usize = 8;

/// Work space for exponentials of one size.
pub(super) struct Exponential {
    /// The entries of the balanced matrix that are not 0, row after row; the vectors have room for
    /// all cells.
    columns: Vec<usize>,
    values: Vec<f64>,
    /// Where each row starts in them, and the last one ends.
    starts: Vec<usize>,
    /// For each column where its entries are, downwards, and how many.
    places: Vec<usize>,
    counts: Vec<usize>,
    factors: Vec<f64>,
    sum: Matrix,
    product: Matrix,
    /// Exponents of the balancing; kept from call to call, since arguments follow each other
    /// closely.
    exponents: Vec<i64>,
}

impl Exponential {
    pub(super) fn new(size: usize) -> Self {
        let zeros = || Matrix::zeros(size, size);
        Self {
            columns: vec![0; size * size],
            values: vec![0.0; size * size],
            starts: vec![0; size + 1],
            places: vec![0; size * size],
            counts: vec![0; size],
            factors: Vec::new(),
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
        self.list_entries(matrix);
        self.balance();
        let norm = self.norm();
        if norm.is_nan() || norm > NORM_MAX {
            return Ok(None);
        }
        let (mut squarings, mut scale) = (0, 1.0);
        while norm * scale > SERIES_NORM_MAX {
            squarings += 1;
            scale *= 0.5;
        }
        let last = terms(norm * scale);
        self.start(scale / f64::from(last));
        for term in (1..last).rev() {
            control.check()?;
            self.nest(scale / f64::from(term));
        }
        for _ in 0..squarings {
            self.sum.times_into(&self.sum, &mut self.product);
            std::mem::swap(&mut self.sum, &mut self.product);
            control.check()?;
        }
        let mut finite = true;
        for (i, &row) in self.exponents.iter().enumerate() {
            let values = self.sum.row_mut(i).iter_mut();
            for (x, &column) in values.zip(&self.exponents) {
                *x *= power_of_two(column - row);
                finite &= x.is_finite();
            }
        }
        Ok(finite.then_some(&self.sum))
    }

    /// Lists what is not 0, balanced as the last argument was. Every cell is written and counted
    /// if it is not 0: which ones are is hard to foresee.
    fn list_entries(&mut self, matrix: &Matrix) {
        let size = matrix.rows();
        let mut end = 0;
        self.counts.fill(0);
        for i in 0..size {
            for (j, &x) in matrix.row(i).iter().enumerate() {
                let scaled = x * power_of_two(self.exponents[i] - self.exponents[j]);
                let is_entry = usize::from(scaled != 0.0);
                (self.columns[end], self.values[end]) = (j, scaled);
                self.places[j * size + self.counts[j]] = end;
                end += is_entry;
                self.counts[j] += is_entry;
            }
            self.starts[i + 1] = end;
        }
    }

    /// The largest sum of a row.
    fn norm(&self) -> f64 {
        let ends = self.starts.windows(2);
        ends.map(|ends| {
            self.values[ends[0]..ends[1]]
                .iter()
                .fold(0.0, |sum, x| sum + x)
        })
        .fold(0.0, f64::max)
    }

    /// The first step of Horner's rule, from the sum that is 1.
    fn start(&mut self, factor: f64) {
        self.sum.values_mut().fill(0.0);
        for i in 0..self.sum.rows() {
            let row = self.sum.row_mut(i);
            for at in self.starts[i]..self.starts[i + 1] {
                row[self.columns[at]] = factor * self.values[at];
            }
            row[i] += 1.0;
        }
    }

    /// One step of Horner's rule: the sum becomes 1 and `factor` times the balanced matrix times
    /// the sum.
    fn nest(&mut self, factor: f64) {
        let size = self.sum.rows();
        let values = self.values[..self.starts[size]].iter();
        self.factors.clear();
        self.factors.extend(values.map(|x| factor * x));
        for i in 0..size {
            let entries = self.starts[i]..self.starts[i + 1];
            let row = Row {
                columns: &self.columns[entries.clone()],
                factors: &self.factors[entries],
                sum: &self.sum,
            };
            let target = self.product.row_mut(i);
            let mut blocks = target.chunks_exact_mut(LANES);
            let mut start = 0;
            for block in &mut blocks {
                block.copy_from_slice(&row.times::<LANES>(start));
                start += LANES;
            }
            let mut pairs = blocks.into_remainder().chunks_exact_mut(2);
            for pair in &mut pairs {
                pair.copy_from_slice(&row.times::<2>(start));
                start += 2;
            }
            if let [last] = pairs.into_remainder() {
                [*last] = row.times::<1>(start);
            }
            target[i] += 1.0;
        }
        std::mem::swap(&mut self.sum, &mut self.product);
    }

    /// One sweep: row and column of each index are brought to the same sum.
    fn balance(&mut self) {
        let size = self.counts.len();
        for i in 0..size {
            let entries = self.starts[i]..self.starts[i + 1];
            let places = &self.places[i * size..][..self.counts[i]];
            let (mut row, mut column) = (0.0, 0.0);
            for at in entries.clone().filter(|&at| self.columns[at] != i) {
                row += self.values[at];
            }
            // What is on the diagonal is in the row, and in no other.
            let others = places.iter().filter(|at| !entries.contains(at));
            for &at in others.clone() {
                column += self.values[at];
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
            for at in entries.clone().filter(|&at| self.columns[at] != i) {
                self.values[at] *= up;
            }
            for &at in others {
                self.values[at] *= down;
            }
        }
    }
}

/// One row of the balanced matrix, times a factor, and the matrix it is multiplied with.
struct Row<'a> {
    columns: &'a [usize],
    factors: &'a [f64],
    sum: &'a Matrix,
}

impl Row<'_> {
    /// `N` cells of the product, from column `start` on.
    #[inline]
    fn times<const N: usize>(&self, start: usize) -> [f64; N] {
        let (values, width) = (self.sum.values(), self.sum.columns());
        let block = |column: usize| -> &[f64; N] {
            let block = values[column * width + start..].first_chunk();
            block.expect("a block lies within its row")
        };
        let mut cells = [0.0; N];
        let columns = self.columns.chunks_exact(4);
        let factors = self.factors.chunks_exact(4);
        for (&column, factor) in columns.remainder().iter().zip(factors.remainder()) {
            for (cell, x) in cells.iter_mut().zip(block(column)) {
                *cell += factor * x;
            }
        }
        for (column, factor) in columns.zip(factors) {
            let (x0, x1) = (block(column[0]), block(column[1]));
            let (x2, x3) = (block(column[2]), block(column[3]));
            let (a, b, c, d) = (factor[0], factor[1], factor[2], factor[3]);
            for (k, cell) in cells.iter_mut().enumerate() {
                *cell += (a * x0[k] + b * x1[k]) + (c * x2[k] + d * x3[k]);
            }
        }
        cells
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
fn step(row: f64, column: f64) -> Option<i64> {
    let ratio = match (row > 0.0, column > 0.0) {
        (true, true) => (column / row).sqrt(),
        (true, false) if row > LONE_SUM => LONE_SUM / row,
        (false, true) if column > LONE_SUM => column / LONE_SUM,
        _ => return None,
    };
    if !ratio.is_normal() {
        return None;
    }
    let exponent = i64::from(i16::try_from(ratio.to_bits() >> 52).ok()?) - 1023;
    // The nearest power of 2 and not the one below.
    let near = exponent + i64::from(ratio > 1.5 * power_of_two(exponent));
    (near != 0).then_some(near)
}

/// Exact for exponents from -1022 to 1023; the balancing stays within: exponents are at most 600
/// apart.
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits((exponent + 1023).cast_unsigned() << 52)
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
