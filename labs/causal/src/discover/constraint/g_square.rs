//! The likelihood ratio test of independence on counts (Spirtes, Glymour and Scheines, 2000,
//! section 5.5), for categories.
//!
//! The degrees of freedom are counted in each stratum of the conditioning variables from the rows
//! and columns that are not empty there. Without any the test says nothing, and the edge stays.

use hindcast_stats::{ln, tail};

use super::independence::Independence;
use crate::control::{Control, Stop};
use crate::data::{Codes, Groups};

pub(in crate::discover) struct GSquare<'a> {
    codes: &'a Codes,
    /// Codes of the distinct rows, by variable, and how many rows are equal to each.
    columns: Vec<Vec<u8>>,
    weights: Vec<u32>,
    alpha: f64,
}

impl<'a> GSquare<'a> {
    pub(in crate::discover) fn new(
        codes: &'a Codes,
        alpha: f64,
        control: &dyn Control,
    ) -> Result<Self, Stop> {
        let (rows, weights) = codes.distinct_rows(control)?;
        let pick = |v: usize| rows.iter().map(|&row| codes.column(v)[row]).collect();
        Ok(Self {
            codes,
            columns: (0..codes.width()).map(pick).collect(),
            weights,
            alpha,
        })
    }

    /// Cramer's V of two variables: the chi-square statistic of their table brought to 0 to 1.
    pub(in crate::discover) fn association(&self, x: usize, y: usize) -> f64 {
        let (wide, high) = (self.codes.levels(y), self.codes.levels(x));
        let table = self.tables(x, y, &[]);
        let (rows, columns) = margins(&table, high, wide);
        let total = self.codes.rows() as f64;
        let mut sum = 0.0;
        for (i, row) in rows.iter().enumerate() {
            for (j, column) in columns.iter().enumerate() {
                let expected = row * column / total;
                if expected > 0.0 {
                    let off = f64::from(table[i * wide + j]) - expected;
                    sum += off * off / expected;
                }
            }
        }
        let filled = |m: &[f64]| m.iter().filter(|&&n| n > 0.0).count();
        let least = filled(&rows).min(filled(&columns)).saturating_sub(1).max(1);
        (sum / (total * least as f64)).min(1.0).sqrt()
    }

    /// Counts of x by y, one table after the other for each stratum.
    fn tables(&self, x: usize, y: usize, given: &[usize]) -> Vec<u32> {
        let mut groups = Groups::one(self.weights.len());
        for &variable in given {
            groups.split(&self.columns[variable], self.codes.levels(variable));
        }
        let (high, wide) = (self.codes.levels(x), self.codes.levels(y));
        groups.close_up(high * wide);
        let mut tables = vec![0; groups.bound * high * wide];
        let pairs = self.columns[x].iter().zip(&self.columns[y]);
        for ((&group, (&a, &b)), &weight) in groups.of_row.iter().zip(pairs).zip(&self.weights) {
            let at = (group as usize * high + usize::from(a)) * wide + usize::from(b);
            tables[at] += weight;
        }
        tables
    }

    /// The statistic and its degrees of freedom.
    fn statistic(&self, x: usize, y: usize, given: &[usize]) -> (f64, usize) {
        let (high, wide) = (self.codes.levels(x), self.codes.levels(y));
        let (mut sum, mut freedom) = (0.0, 0);
        for table in self.tables(x, y, given).chunks_exact(high * wide) {
            let (rows, columns) = margins(table, high, wide);
            let total = rows.iter().fold(0.0, |a, b| a + b);
            for (i, row) in rows.iter().enumerate() {
                for (j, column) in columns.iter().enumerate() {
                    let count = f64::from(table[i * wide + j]);
                    if count > 0.0 {
                        sum += count * ln(count * total / (row * column));
                    }
                }
            }
            let filled = |m: &[f64]| m.iter().filter(|&&n| n > 0.0).count();
            freedom += filled(&rows).saturating_sub(1) * filled(&columns).saturating_sub(1);
        }
        (2.0 * sum, freedom)
    }
}

fn margins(table: &[u32], high: usize, wide: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut rows, mut columns) = (vec![0.0; high], vec![0.0; wide]);
    for (i, row) in table.chunks_exact(wide).enumerate() {
        for (j, &count) in row.iter().enumerate() {
            rows[i] += f64::from(count);
            columns[j] += f64::from(count);
        }
    }
    (rows, columns)
}

impl Independence for GSquare<'_> {
    fn width(&self) -> usize {
        self.codes.width()
    }

    fn size_max(&self) -> usize {
        self.codes.width()
    }

    fn independent(&self, x: usize, y: usize, given: &[usize]) -> bool {
        let (statistic, freedom) = self.statistic(x, y, given);
        freedom > 0 && tail::chi_square_tail(statistic, freedom as f64) > self.alpha
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use crate::data::{Dataset, Limits};

    fn dataset(cells: &[([f64; 3], usize)]) -> Dataset {
        let rows: Vec<Vec<f64>> = cells
            .iter()
            .flat_map(|(row, count)| vec![row.to_vec(); *count])
            .collect();
        Dataset::from_rows(&rows, None, &Limits::default()).unwrap()
    }

    /// A 2 by 2 table by hand: counts 30, 10, 15, 25 have
    /// G^2 = 2 (30 ln(30/22.5) + 10 ln(10/17.5) + 15 ln(15/22.5) + 25 ln(25/17.5)) = 11.7408.
    #[test]
    fn statistic_agrees_with_a_table_by_hand() {
        let data = dataset(&[
            ([0.0, 0.0, 0.0], 30),
            ([0.0, 1.0, 1.0], 10),
            ([1.0, 0.0, 0.0], 15),
            ([1.0, 1.0, 1.0], 25),
        ]);
        let test = GSquare::new(data.codes().unwrap(), 0.01, &Uncontrolled).unwrap();
        let (statistic, freedom) = test.statistic(0, 1, &[]);
        let by_hand = [(30.0, 22.5), (10.0, 17.5), (15.0, 22.5), (25.0, 17.5)]
            .iter()
            .map(|(n, e)| 2.0 * n * ln(n / e))
            .sum::<f64>();
        assert!((statistic - by_hand).abs() < 1e-10 && freedom == 1);
        assert!(!test.independent(0, 1, &[]));
        // The third variable is a copy of the second: given it nothing is left to test.
        assert_eq!(test.statistic(0, 1, &[2]).1, 0);
        assert!(!test.independent(0, 1, &[2]));
        // chi-square = 80 * (30 * 25 - 10 * 15)^2 / (40 * 40 * 45 * 35); V is its root over 80.
        let v = (600.0_f64 * 600.0 / (40.0 * 40.0 * 45.0 * 35.0)).sqrt();
        assert!((test.association(0, 1) - v).abs() < 1e-12);
    }

    /// Independent in each stratum, dependent when they are put together.
    #[test]
    fn strata_are_tested_apart() {
        let data = dataset(&[
            ([0.0, 0.0, 0.0], 64),
            ([0.0, 1.0, 0.0], 16),
            ([1.0, 0.0, 0.0], 16),
            ([1.0, 1.0, 0.0], 4),
            ([0.0, 0.0, 1.0], 4),
            ([0.0, 1.0, 1.0], 16),
            ([1.0, 0.0, 1.0], 16),
            ([1.0, 1.0, 1.0], 64),
        ]);
        let test = GSquare::new(data.codes().unwrap(), 0.01, &Uncontrolled).unwrap();
        assert!(!test.independent(0, 1, &[]) && test.independent(0, 1, &[2]));
        let (statistic, freedom) = test.statistic(0, 1, &[2]);
        assert!(statistic.abs() < 1e-10 && freedom == 2);
    }
}
