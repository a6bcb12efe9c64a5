//! A small dense matrix, row by row in one vector, with products whose summation order is fixed.

use std::convert::Infallible;
use std::ops::{Index, IndexMut};

/// Rows of a cross product that are summed before they are added to the total.
const CROSS_BLOCK_ROWS: usize = 128;
/// Products of a cross product between two looks at whether to go on.
const CROSS_PRODUCTS_BETWEEN_CHECKS: usize = 1 << 22;

/// `rows` x `columns` numbers, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            values: vec![0.0; rows * columns],
        }
    }

    pub fn identity(size: usize) -> Self {
        let mut matrix = Self::zeros(size, size);
        for i in 0..size {
            matrix[(i, i)] = 1.0;
        }
        matrix
    }

    /// # Panics
    /// When there are not `rows * columns` values.
    pub fn from_vec(rows: usize, columns: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), rows * columns, "as many values as cells");
        Self {
            rows,
            columns,
            values,
        }
    }

    pub fn from_fn(rows: usize, columns: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        let mut matrix = Self::zeros(rows, columns);
        for i in 0..rows {
            for j in 0..columns {
                matrix[(i, j)] = f(i, j);
            }
        }
        matrix
    }

    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    #[inline]
    pub fn columns(&self) -> usize {
        self.columns
    }

    #[inline]
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }

    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.columns..(i + 1) * self.columns]
    }

    /// All values, row by row.
    #[inline]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    #[inline]
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// Rows and columns `keep`, in that order.
    pub fn principal(&self, keep: &[usize]) -> Self {
        Self::from_fn(keep.len(), keep.len(), |i, j| self[(keep[i], keep[j])])
    }

    pub fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows, |i, j| self[(j, i)])
    }

    pub fn trace(&self) -> f64 {
        (0..self.rows.min(self.columns)).fold(0.0, |sum, i| sum + self[(i, i)])
    }

    /// The largest sum of magnitudes of a row.
    pub fn infinity_norm(&self) -> f64 {
        (0..self.rows)
            .map(|i| self.row(i).iter().fold(0.0, |sum, x| sum + x.abs()))
            .fold(0.0, f64::max)
    }

    pub fn scale(&mut self, factor: f64) {
        for x in &mut self.values {
            *x *= factor;
        }
    }

    /// `self * other`.
    pub fn times(&self, other: &Self) -> Self {
        let mut out = Self::zeros(self.rows, other.columns);
        self.times_into(other, &mut out);
        out
    }

    /// `out = self * other`, without allocation. Each cell is summed over the inner index in
    /// groups of four, in rising order.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn times_into(&self, other: &Self, out: &mut Self) {
        assert!(
            self.columns == other.rows && (out.rows, out.columns) == (self.rows, other.columns),
            "shapes of a product"
        );
        let width = other.columns;
        out.values.fill(0.0);
        if width == 0 {
            return;
        }
        for (pair, targets) in out.values.chunks_mut(2 * width).enumerate() {
            let (first, second) = targets.split_at_mut(width);
            if second.is_empty() {
                accumulate(first, self.row(2 * pair), &other.values);
            } else {
                let factors = (self.row(2 * pair), self.row(2 * pair + 1));
                accumulate_two((first, second), factors, &other.values);
            }
        }
    }

    /// The symmetric cross product of `self` with itself, `self^T self`: blocks of rows are
    /// summed one by one and then added up, which bounds the rounding error.
    pub fn cross_product(&self) -> Self {
        let Ok(total) = self.cross_product_within(|| Ok::<(), Infallible>(()));
        total
    }

    /// The same for a large matrix: `check` is asked at least every 2^22 products or four rows, and
    /// ends it with its error.
    pub fn cross_product_within<E>(&self, check: impl Fn() -> Result<(), E>) -> Result<Self, E> {
        let d = self.columns;
        self.crossed(|_| d, check)
    }

    /// The same for a lower triangular matrix, without the products that are 0.
    pub(crate) fn lower_cross_product(&self) -> Self {
        let Ok(total) = self.crossed(|row| row + 1, || Ok::<(), Infallible>(()));
        total
    }

    /// The cross product, given before which column the values of a row are that may differ from
    /// 0; it does not fall with the rows.
    fn crossed<E>(
        &self,
        width: impl Fn(usize) -> usize,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Self, E> {
        let d = self.columns;
        let mut total = Self::zeros(d, d);
        if self.rows <= CROSS_BLOCK_ROWS {
            cross_block((&self.values, d), &width, &mut total.values, &check)?;
        } else {
            let mut block = Self::zeros(d, d);
            for start in (0..self.rows).step_by(CROSS_BLOCK_ROWS) {
                block.values.fill(0.0);
                let end = (start + CROSS_BLOCK_ROWS).min(self.rows);
                let rows = &self.values[start * d..end * d];
                let width = |row| width(start + row);
                cross_block((rows, d), width, &mut block.values, &check)?;
                for (sum, part) in total.values.iter_mut().zip(&block.values) {
                    *sum += part;
                }
            }
        }
        for i in 0..d {
            for j in 0..i {
                total.values[i * d + j] = total.values[j * d + i];
            }
        }
        Ok(total)
    }
}

/// `target += sum_k factors[k] * rows[k]`, four rows at a time.
fn accumulate(target: &mut [f64], factors: &[f64], rows: &[f64]) {
    let width = target.len();
    let mut k = 0;
    while k + 4 <= factors.len() {
        let [a, b, c, d] = [factors[k], factors[k + 1], factors[k + 2], factors[k + 3]];
        let (r0, rest) = rows[k * width..(k + 4) * width].split_at(width);
        let (r1, rest) = rest.split_at(width);
        let (r2, r3) = rest.split_at(width);
        for ((((t, x0), x1), x2), x3) in target.iter_mut().zip(r0).zip(r1).zip(r2).zip(r3) {
            *t += (a * x0 + b * x1) + (c * x2 + d * x3);
        }
        k += 4;
    }
    for k in k..factors.len() {
        crate::axpy(factors[k], &rows[k * width..(k + 1) * width], target);
    }
}

/// `accumulate` for two targets at once, so that each row is read once for both. Every cell is
/// summed in the same order as there.
fn accumulate_two(
    (upper, lower): (&mut [f64], &mut [f64]),
    (above, below): (&[f64], &[f64]),
    rows: &[f64],
) {
    let width = upper.len();
    let whole = above.len() / 4 * 4;
    for k in (0..whole).step_by(4) {
        let [a, b, c, d] = [above[k], above[k + 1], above[k + 2], above[k + 3]];
        let [e, f, g, h] = [below[k], below[k + 1], below[k + 2], below[k + 3]];
        let (r0, rest) = rows[k * width..(k + 4) * width].split_at(width);
        let (r1, rest) = rest.split_at(width);
        let (r2, r3) = rest.split_at(width);
        let sources = r0.iter().zip(r1).zip(r2).zip(r3);
        for ((t, u), (((x0, x1), x2), x3)) in upper.iter_mut().zip(&mut *lower).zip(sources) {
            *t += (a * x0 + b * x1) + (c * x2 + d * x3);
            *u += (e * x0 + f * x1) + (g * x2 + h * x3);
        }
    }
    accumulate(upper, &above[whole..], &rows[whole * width..]);
    accumulate(lower, &below[whole..], &rows[whole * width..]);
}

/// Adds the upper triangle of the cross product of `rows` (each of `d` values, of which those from
/// `width` on are 0) to `sums`.
fn cross_block<E>(
    (rows, d): (&[f64], usize),
    width: impl Fn(usize) -> usize,
    sums: &mut [f64],
    check: impl Fn() -> Result<(), E>,
) -> Result<(), E> {
    if d == 0 {
        return Ok(());
    }
    let check_every = (CROSS_PRODUCTS_BETWEEN_CHECKS / (4 * d * d)).max(1);
    let whole = rows.len() / d / 4 * 4;
    let (groups, rest) = rows.split_at(whole * d);
    for (number, group) in groups.chunks_exact(4 * d).enumerate() {
        if number % check_every == 0 {
            check()?;
        }
        let width = width(4 * number + 3).min(d);
        let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|row| &group[row * d..][..width]);
        for i in 0..width {
            let [a, b, c, e] = [r0[i], r1[i], r2[i], r3[i]];
            let target = &mut sums[i * d + i..i * d + width];
            let sources = r0[i..].iter().zip(&r1[i..]).zip(&r2[i..]).zip(&r3[i..]);
            for (t, (((x0, x1), x2), x3)) in target.iter_mut().zip(sources) {
                *t += (a * x0 + b * x1) + (c * x2 + e * x3);
            }
        }
    }
    for (number, row) in rest.chunks_exact(d).enumerate() {
        let width = width(whole + number).min(d);
        for i in 0..width {
            crate::axpy(row[i], &row[i..width], &mut sums[i * d + i..i * d + width]);
        }
    }
    Ok(())
}

impl Index<(usize, usize)> for Matrix {
    type Output = f64;

    #[inline]
    fn index(&self, (i, j): (usize, usize)) -> &f64 {
        &self.values[i * self.columns + j]
    }
}

impl IndexMut<(usize, usize)> for Matrix {
    #[inline]
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut f64 {
        &mut self.values[i * self.columns + j]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Philox;

    fn random(rows: usize, columns: usize, stream: u64) -> Matrix {
        let mut rng = Philox::new(11, stream);
        let values = (0..rows * columns).map(|_| rng.normal()).collect();
        Matrix::from_vec(rows, columns, values)
    }

    fn naive(a: &Matrix, b: &Matrix) -> Matrix {
        Matrix::from_fn(a.rows(), b.columns(), |i, j| {
            (0..a.columns()).map(|k| a[(i, k)] * b[(k, j)]).sum()
        })
    }

    fn largest_gap(a: &Matrix, b: &Matrix) -> f64 {
        a.values()
            .iter()
            .zip(b.values())
            .map(|(x, y)| (x - y).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn product_agrees_with_the_definition_for_every_remainder() {
        for inner in 1..10 {
            for rows in [4, 5] {
                let (a, b) = (random(rows, inner, 1), random(inner, 7, 2));
                assert!(largest_gap(&a.times(&b), &naive(&a, &b)) < 1e-13);
            }
        }
    }

    #[test]
    fn cross_product_agrees_with_the_definition_for_every_remainder() {
        for rows in [1, 2, 3, 4, 5, 127, 128, 129, 261] {
            let a = random(rows, 6, 3);
            let expected = naive(&a.transposed(), &a);
            assert!(largest_gap(&a.cross_product(), &expected) < 1e-12);
        }
    }
}
