//! Datasets made from a dataset: rows drawn again, moments under weights, and moments from rows
//! that miss values.

use std::sync::{Arc, OnceLock};

use super::{Covariance, Dataset};
use crate::control::{Control, Stop};
use crate::error::LabError;

/// Rows that two columns need in common before their covariance says anything.
const PAIRWISE_ROWS_MIN: usize = 5;
/// Part of a variance below which pairwise correlations count as not positive definite.
const DEFINITE: f64 = 1e-9;

impl Dataset {
    /// Every row as often as its count says.
    pub(crate) fn drawn(&self, counts: &[u32], control: &dyn Control) -> Result<Self, LabError> {
        let rows: Vec<usize> = counts
            .iter()
            .enumerate()
            .flat_map(|(row, &count)| std::iter::repeat_n(row, count as usize))
            .collect();
        let mut columns = Vec::with_capacity(self.width());
        for column in self.columns.iter() {
            control.check()?;
            columns.push(rows.iter().map(|&row| column[row]).collect());
        }
        let mut drawn = self.clone();
        drawn.columns = Arc::new(columns);
        drawn.covariance = Arc::new(OnceLock::new());
        drawn.codes = Arc::new(OnceLock::new());
        // The labels of categories stay, also of those that were not drawn.
        if let Some(codes) = self.codes.get() {
            drawn.codes = Arc::new(OnceLock::from(codes.drawn(&rows)));
        }
        Ok(drawn)
    }

    /// The same rows with moments in which each counts as often as its count says. Only the
    /// moments may be read.
    pub(crate) fn reweighted(&self, counts: &[u32], control: &dyn Control) -> Result<Self, Stop> {
        let moments = Covariance::weighted(&self.columns, counts, || control.check())?;
        let mut reweighted = self.clone();
        reweighted.covariance = Arc::new(OnceLock::from(moments));
        Ok(reweighted)
    }

    /// The same dataset with moments over the rows that each two columns have in common. Refused
    /// when those do not go together.
    pub(crate) fn pairwise(&self, control: &dyn Control) -> Result<Self, LabError> {
        self.require_numbers()?;
        let Some(incomplete) = &self.incomplete else {
            return Ok(self.clone());
        };
        let joined: Vec<Vec<f64>> = self
            .columns
            .iter()
            .zip(incomplete.iter())
            .map(|(complete, rest)| [complete.as_slice(), rest].concat())
            .collect();
        let found = Covariance::pairwise(&joined, || control.check())?;
        let least = found.moments.rows();
        if least < PAIRWISE_ROWS_MIN {
            let (a, b) = found.least_pair;
            let message = format!(
                "columns '{}' and '{}' have {least} rows in common; {PAIRWISE_ROWS_MIN} are needed",
                self.names[a], self.names[b]
            );
            let hint = "leave out one of the two columns";
            return Err(LabError::invalid_with_hint("missing", message, hint));
        }
        let correlation = found.moments.correlation();
        let check = || control.check();
        if hindcast_stats::Cholesky::new_within(correlation, DEFINITE, check)?.is_none() {
            return Err(LabError::invalid_with_hint(
                "missing",
                format!(
                    "the correlations over different rows contradict each other (not positive \
                     definite; two columns have as few as {least} rows in common)"
                ),
                "use missing: listwise, or leave out the columns that miss most values",
            ));
        }
        let mut pairwise = self.clone();
        pairwise.covariance = Arc::new(OnceLock::from(found.moments));
        pairwise.least_pairwise_rows = Some(least);
        Ok(pairwise)
    }

    /// With moments over different rows: the least number of rows behind one of them.
    pub(crate) fn least_pairwise_rows(&self) -> Option<usize> {
        self.least_pairwise_rows
    }

    /// Rows that the moments speak for.
    pub(crate) fn rows_behind_moments(&self) -> usize {
        self.least_pairwise_rows.unwrap_or_else(|| self.rows())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use crate::data::{Limits, Table};
    use hindcast_stats::Philox;

    #[test]
    fn weighted_moments_are_those_of_the_drawn_rows() {
        let mut rng = Philox::new(3, 0);
        let rows: Vec<Vec<f64>> = (0..300)
            .map(|_| (0..4).map(|_| rng.normal() + 7.0).collect())
            .collect();
        let data = Dataset::from_rows(&rows, None, &Limits::default()).unwrap();
        let mut counts = vec![0; 300];
        for _ in 0..300 {
            counts[rng.index_below(300)] += 1;
        }
        let drawn = data.drawn(&counts, &Uncontrolled).unwrap();
        let weighted = data.reweighted(&counts, &Uncontrolled).unwrap();
        assert_eq!(drawn.rows(), 300);
        let pairs = drawn.covariance().covariance().values().iter();
        for (a, b) in pairs.zip(weighted.covariance().covariance().values()) {
            assert!((a - b).abs() < 1e-13);
        }
        assert_eq!(weighted.covariance().rows(), 300);
    }

    fn table(rows: &[[Option<f64>; 3]]) -> Dataset {
        let mut text = String::from("a,b,c\n");
        for row in rows {
            let cells = row.map(|x| x.map_or_else(String::new, |x| x.to_string()));
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        let table = Table::parse_csv(text.as_bytes(), &Limits::default()).unwrap();
        table.dataset().unwrap()
    }

    /// Against the definition, pair by pair.
    #[test]
    fn pairwise_moments_are_those_of_the_common_rows() {
        let mut rng = Philox::new(4, 0);
        let rows: Vec<[Option<f64>; 3]> = (0..200)
            .map(|_| {
                let a = rng.normal();
                let row = [a, a + rng.normal(), rng.normal() - a];
                row.map(|x| (rng.uniform() > 0.2).then_some(x))
            })
            .collect();
        let data = table(&rows);
        let pairwise = data.pairwise(&Uncontrolled).unwrap();
        let mut least = usize::MAX;
        for i in 0..3 {
            for j in 0..i {
                let common: Vec<(f64, f64)> =
                    rows.iter().filter_map(|r| Some((r[i]?, r[j]?))).collect();
                least = least.min(common.len());
                let n = common.len() as f64;
                let (x, y) = common
                    .iter()
                    .fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
                let (x, y) = (x / n, y / n);
                let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                    common.iter().map(|p| f(p.0 - x, p.1 - y)).sum()
                };
                let r = sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
                let found = pairwise.covariance().correlation()[(i, j)];
                assert!((found - r).abs() < 1e-12, "{i} {j}: {found} {r}");
            }
        }
        assert_eq!(pairwise.least_pairwise_rows(), Some(least));
        assert!(data.rows() < least && data.digest() != pairwise.digest());
    }

    /// a = b and b = c where they meet, but a = -c.
    #[test]
    fn contradicting_correlations_are_refused() {
        let mut rows = vec![
            [Some(0.1), Some(0.2), Some(0.1)],
            [Some(0.2), Some(0.1), Some(0.1)],
        ];
        for i in 0..20 {
            let x = Some(f64::from(i) - 9.5);
            let minus = x.map(|x| -x);
            rows.push([x, x, None]);
            rows.push([None, x, x]);
            rows.push([x, None, minus]);
        }
        let error = table(&rows)
            .pairwise(&Uncontrolled)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("not positive definite") && error.contains("22 rows"),
            "{error}"
        );
    }

    #[test]
    fn too_few_common_rows_are_refused_by_name() {
        let mut rows = vec![
            [Some(0.1), Some(0.2), Some(0.1)],
            [Some(0.2), Some(0.1), Some(0.3)],
        ];
        for i in 0..20 {
            let x = Some(f64::from(i % 7));
            rows.push([x, Some(f64::from(i * i % 11)), None]);
            rows.push([None, x, Some(f64::from(i * i % 5))]);
        }
        let error = table(&rows)
            .pairwise(&Uncontrolled)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("'a' and 'c' have 2 rows in common"),
            "{error}"
        );
    }
}
