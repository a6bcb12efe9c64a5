//! Means and second moments of a dataset: all that Gaussian methods read, so that after this one
//! pass their cost does not depend on the number of rows.

use hindcast_stats::{Matrix, PivotedCholesky, sum};

use crate::control::Stop;

/// Rows that are summed before they are added to the total: bounds the rounding error, the memory
/// for centred values, and the time between two looks at the control.
const BLOCK_ROWS: usize = 128;
/// A spread below this fraction of the largest magnitude is rounding, not variation.
const CONSTANT_TOLERANCE: f64 = 1e-13;
/// Part of a standardised column's variance that may be left when it counts as a linear
/// combination of others.
const COLLINEAR_TOLERANCE: f64 = 1e-9;

/// Sufficient statistics of a Gaussian model.
#[derive(Debug, Clone)]
pub struct Covariance {
    rows: usize,
    means: Vec<f64>,
    covariance: Matrix,
    correlation: Matrix,
    constant: Vec<bool>,
}

impl Covariance {
    /// `check` is asked after every block of rows.
    pub(super) fn new(
        columns: &[Vec<f64>],
        check: impl Fn() -> Result<(), Stop>,
    ) -> Result<Self, Stop> {
        let (rows, d) = (columns.first().map_or(0, Vec::len), columns.len());
        let (mut means, mut constant) = (Vec::with_capacity(d), Vec::with_capacity(d));
        for column in columns {
            check()?;
            means.push(sum(column) / rows as f64);
            constant.push(is_constant(column));
        }
        let mut covariance = Matrix::zeros(d, d);
        let mut centred = Matrix::zeros(BLOCK_ROWS.min(rows), d);
        for start in (0..rows).step_by(BLOCK_ROWS) {
            check()?;
            let block = BLOCK_ROWS.min(rows - start);
            if block < centred.rows() {
                centred = Matrix::zeros(block, d);
            }
            for (j, column) in columns.iter().enumerate().filter(|(j, _)| !constant[*j]) {
                for (i, x) in column[start..start + block].iter().enumerate() {
                    centred[(i, j)] = x - means[j];
                }
            }
            let cross = centred.cross_product();
            for (total, part) in covariance.values_mut().iter_mut().zip(cross.values()) {
                *total += part;
            }
        }
        covariance.scale(1.0 / rows as f64);
        let correlation = correlation_of(&covariance, &constant);
        Ok(Self {
            rows,
            means,
            covariance,
            correlation,
            constant,
        })
    }

    /// Rows the moments were taken over.
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.means.len()
    }

    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// Second moments about the mean, divided by the number of rows.
    pub fn covariance(&self) -> &Matrix {
        &self.covariance
    }

    /// Correlations; the row and column of a constant variable are 0 off the diagonal.
    pub fn correlation(&self) -> &Matrix {
        &self.correlation
    }

    /// Standard deviation, divided by the number of rows.
    pub fn sd(&self, index: usize) -> f64 {
        self.covariance[(index, index)].sqrt()
    }

    pub fn is_constant(&self, index: usize) -> bool {
        self.constant[index]
    }

    /// Sets of columns with an exact linear relation: for each redundant column itself and those
    /// that it is a combination of. Constant columns are not counted.
    pub fn collinear_groups(&self) -> Vec<Vec<usize>> {
        let live: Vec<usize> = (0..self.width()).filter(|&j| !self.constant[j]).collect();
        let matrix = self.correlation.principal(&live);
        let found = PivotedCholesky::new(&matrix, COLLINEAR_TOLERANCE);
        if found.dependent.is_empty() {
            return Vec::new();
        }
        let basis = matrix.principal(&found.taken);
        let Some(factor) = hindcast_stats::Cholesky::new(&basis, COLLINEAR_TOLERANCE / 10.0) else {
            return vec![live];
        };
        found
            .dependent
            .iter()
            .map(|&column| {
                let mut weights: Vec<f64> =
                    found.taken.iter().map(|&t| matrix[(column, t)]).collect();
                factor.solve(&mut weights);
                let used = found
                    .taken
                    .iter()
                    .zip(&weights)
                    .filter(|(_, w)| w.abs() > 1e-6);
                let mut group: Vec<usize> = used.map(|(&t, _)| live[t]).collect();
                group.push(live[column]);
                group.sort_unstable();
                group
            })
            .collect()
    }
}

fn is_constant(column: &[f64]) -> bool {
    let low = column.iter().copied().fold(f64::INFINITY, f64::min);
    let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    high - low <= CONSTANT_TOLERANCE * low.abs().max(high.abs())
}

fn correlation_of(covariance: &Matrix, constant: &[bool]) -> Matrix {
    let d = constant.len();
    let scales: Vec<f64> = (0..d)
        .map(|j| {
            if constant[j] {
                0.0
            } else {
                1.0 / covariance[(j, j)].sqrt()
            }
        })
        .collect();
    Matrix::from_fn(d, d, |i, j| {
        if i == j {
            1.0
        } else {
            (covariance[(i, j)] * (scales[i] * scales[j])).clamp(-1.0, 1.0)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindcast_stats::Philox;

    fn moments(columns: &[Vec<f64>]) -> Covariance {
        Covariance::new(columns, || Ok(())).unwrap()
    }

    fn noise(rows: usize, stream: u64) -> Vec<f64> {
        let mut rng = Philox::new(1, stream);
        (0..rows).map(|_| rng.normal()).collect()
    }

    #[test]
    fn moments_agree_with_the_definition() {
        let (a, b) = (noise(301, 0), noise(301, 1));
        let found = moments(&[a.clone(), b.clone()]);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / 301.0;
        let expected = a
            .iter()
            .zip(&b)
            .map(|(x, y)| (x - mean(&a)) * (y - mean(&b)))
            .sum::<f64>()
            / 301.0;
        assert!((found.covariance()[(0, 1)] - expected).abs() < 1e-14);
        assert!(
            (found.correlation()[(0, 1)] - expected / (found.sd(0) * found.sd(1))).abs() < 1e-14
        );
    }

    #[test]
    fn a_large_offset_costs_no_digits_of_the_correlation() {
        let (a, b) = (noise(500, 0), noise(500, 1));
        let plain = moments(&[a.clone(), b.clone()]);
        let shifted: Vec<f64> = a.iter().map(|x| x + 1e6).collect();
        let moved = moments(&[shifted, b]);
        assert!((plain.correlation()[(0, 1)] - moved.correlation()[(0, 1)]).abs() < 1e-9);
    }

    #[test]
    fn constant_column_is_seen_even_when_its_mean_rounds() {
        let found = moments(&[vec![0.1; 1000], noise(1000, 0)]);
        assert!(found.is_constant(0) && !found.is_constant(1));
        assert_eq!(found.correlation()[(0, 1)].to_bits(), 0);
    }

    #[test]
    fn collinear_group_holds_exactly_the_columns_of_the_relation() {
        let (a, b, c) = (noise(200, 0), noise(200, 1), noise(200, 2));
        let total: Vec<f64> = a.iter().zip(&b).map(|(x, y)| 2.0 * x - y).collect();
        let groups = moments(&[a, c, b, total]).collinear_groups();
        assert_eq!(groups, [[0, 2, 3]]);
    }
}
