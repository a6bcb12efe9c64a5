//! Means and second moments of a dataset: all that Gaussian methods read, so that after this one
//! pass their cost does not depend on the number of rows.

use hindcast_stats::{Matrix, PivotedCholesky, dot, sum};

use crate::control::Stop;

/// Rows that are summed before they are added to the total: bounds the rounding error and the memory
/// for centred values.
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
    /// `check` is asked every few rows.
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
            let cross = centred.cross_product_within(&check)?;
            for (total, part) in covariance.values_mut().iter_mut().zip(cross.values()) {
                *total += part;
            }
        }
        check()?;
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

    /// The same with every row counted as often as `counts` says.
    pub(super) fn weighted(
        columns: &[Vec<f64>],
        counts: &[u32],
        check: impl Fn() -> Result<(), Stop>,
    ) -> Result<Self, Stop> {
        let d = columns.len();
        let used: Vec<usize> = (0..counts.len()).filter(|&i| counts[i] > 0).collect();
        let rows: usize = counts.iter().map(|&count| count as usize).sum();
        let weights: Vec<f64> = used.iter().map(|&i| f64::from(counts[i])).collect();
        let (mut means, mut constant) = (Vec::with_capacity(d), Vec::with_capacity(d));
        let mut drawn = Vec::with_capacity(used.len());
        for column in columns {
            check()?;
            drawn.clear();
            drawn.extend(used.iter().map(|&i| column[i]));
            means.push(dot(&drawn, &weights) / rows as f64);
            constant.push(is_constant(&drawn));
        }
        let mut covariance = Matrix::zeros(d, d);
        for (rows, weights) in used.chunks(BLOCK_ROWS).zip(weights.chunks(BLOCK_ROWS)) {
            check()?;
            let mut centred = Matrix::zeros(rows.len(), d);
            for (k, (&i, weight)) in rows.iter().zip(weights).enumerate() {
                let root = weight.sqrt();
                for (j, out) in centred.row_mut(k).iter_mut().enumerate() {
                    if !constant[j] {
                        *out = (columns[j][i] - means[j]) * root;
                    }
                }
            }
            let cross = centred.cross_product_within(&check)?;
            for (total, part) in covariance.values_mut().iter_mut().zip(cross.values()) {
                *total += part;
            }
        }
        check()?;
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

    /// Moments of columns with missing values (NaN): means and variances over what a column has,
    /// correlations over what two columns have in common.
    pub(super) fn pairwise(
        columns: &[Vec<f64>],
        check: impl Fn() -> Result<(), Stop>,
    ) -> Result<Pairwise, Stop> {
        let d = columns.len();
        let (mut means, mut sds, mut constant) = (vec![0.0; d], vec![0.0; d], vec![false; d]);
        for (j, column) in columns.iter().enumerate() {
            check()?;
            let known: Vec<f64> = column.iter().copied().filter(|x| !x.is_nan()).collect();
            constant[j] = is_constant(&known);
            means[j] = sum(&known) / known.len() as f64;
            let squares: Vec<f64> = known.iter().map(|x| (x - means[j]).powi(2)).collect();
            sds[j] = (sum(&squares) / known.len() as f64).sqrt();
        }
        let sums = common_sums(columns, &means, &sds, &check)?;
        let count = |i: usize, j: usize| sums[(d + i, d + j)];
        let mut least_pair = (0, 0);
        let correlation = Matrix::from_fn(d, d, |i, j| {
            if i == j {
                return 1.0;
            }
            let n = count(i, j);
            let (x, y) = (sums[(i, d + j)] / n, sums[(j, d + i)] / n);
            let variance =
                |i: usize, j: usize, mean: f64| sums[(2 * d + i, d + j)] / n - mean * mean;
            let product = variance(i, j, x) * variance(j, i, y);
            let r = (sums[(i, j)] / n - x * y) / product.sqrt();
            if r.is_finite() {
                r.clamp(-1.0, 1.0)
            } else {
                0.0
            }
        });
        check()?;
        for i in 0..d {
            for j in 0..i {
                if least_pair == (0, 0) || count(j, i) < count(least_pair.0, least_pair.1) {
                    least_pair = (j, i);
                }
            }
        }
        let covariance = Matrix::from_fn(d, d, |i, j| correlation[(i, j)] * sds[i] * sds[j]);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of rows"
        )]
        let rows = count(least_pair.0, least_pair.1) as usize;
        Ok(Pairwise {
            least_pair,
            moments: Self {
                rows,
                means,
                covariance,
                correlation,
                constant,
            },
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
    ///
    /// # Errors
    /// What `check` ends it with.
    pub fn collinear_groups(
        &self,
        check: impl Fn() -> Result<(), Stop>,
    ) -> Result<Vec<Vec<usize>>, Stop> {
        let live: Vec<usize> = (0..self.width()).filter(|&j| !self.constant[j]).collect();
        check()?;
        let matrix = self.correlation.principal(&live);
        let found = PivotedCholesky::new_within(&matrix, COLLINEAR_TOLERANCE, &check)?;
        if found.dependent.is_empty() {
            return Ok(Vec::new());
        }
        let basis = matrix.principal(&found.taken);
        let floor = COLLINEAR_TOLERANCE / 10.0;
        let Some(factor) = hindcast_stats::Cholesky::new_within(&basis, floor, &check)? else {
            return Ok(vec![live]);
        };
        found
            .dependent
            .iter()
            .map(|&column| {
                check()?;
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
                Ok(group)
            })
            .collect()
    }
}

/// Moments over different rows, and the two columns with the fewest rows in common.
pub(super) struct Pairwise {
    pub moments: Covariance,
    pub least_pair: (usize, usize),
}

/// Sums of products of standardised values (0 where missing), marks of what is there, and squared
/// values, in this order of columns.
fn common_sums(
    columns: &[Vec<f64>],
    means: &[f64],
    sds: &[f64],
    check: impl Fn() -> Result<(), Stop>,
) -> Result<Matrix, Stop> {
    let d = columns.len();
    let rows = columns.first().map_or(0, Vec::len);
    let mut sums = Matrix::zeros(3 * d, 3 * d);
    for start in (0..rows).step_by(BLOCK_ROWS) {
        check()?;
        let end = (start + BLOCK_ROWS).min(rows);
        let mut block = Matrix::zeros(end - start, 3 * d);
        for (j, column) in columns.iter().enumerate() {
            let scale = if sds[j] > 0.0 { 1.0 / sds[j] } else { 0.0 };
            for (k, x) in column[start..end].iter().enumerate() {
                if !x.is_nan() {
                    let value = (x - means[j]) * scale;
                    let row = block.row_mut(k);
                    (row[j], row[d + j], row[2 * d + j]) = (value, 1.0, value * value);
                }
            }
        }
        let cross = block.cross_product_within(&check)?;
        for (total, part) in sums.values_mut().iter_mut().zip(cross.values()) {
            *total += part;
        }
    }
    Ok(sums)
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
        let groups = moments(&[a, c, b, total])
            .collinear_groups(|| Ok(()))
            .expect("nobody says stop");
        assert_eq!(groups, [[0, 2, 3]]);
    }
}
