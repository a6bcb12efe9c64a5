//! The matrix that discovery works on: finite numbers, and text coded as numbers.

use std::sync::{Arc, OnceLock};

use super::{Codes, Covariance, Limits, check_names};
use crate::control::{Control, Stop, Uncontrolled};
use crate::error::LabError;

/// Columns of finite numbers with unique names; immutable, so what is computed from it once stays
/// right.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(super) names: Vec<String>,
    pub(super) columns: Arc<Vec<Vec<f64>>>,
    texts: Vec<Option<Text>>,
    rows_dropped: usize,
    /// Columns of the rows that were dropped, NaN where a value is missing.
    pub(super) incomplete: Option<Arc<Vec<Vec<f64>>>>,
    pub(super) covariance: Arc<OnceLock<Covariance>>,
    pub(super) least_pairwise_rows: Option<usize>,
    pub(super) codes: Arc<OnceLock<Codes>>,
}

/// What a column of text holds besides its codes.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// The text of each code, sorted.
    pub labels: Vec<String>,
    /// Why the column is no column of numbers: the first cell that is none.
    pub not_a_number: LabError,
}

impl Dataset {
    /// From rows as they come in JSON, `None` where a value is missing: such rows are left out, and
    /// kept beside as those of a file are. Without names the columns are called `x0`, `x1`, ...
    pub fn from_rows<T: Copy + Into<Option<f64>>>(
        rows: &[Vec<T>],
        names: Option<&[String]>,
        limits: &Limits,
    ) -> Result<Self, LabError> {
        let Some(first) = rows.first() else {
            return Err(LabError::invalid("data", "there is no row"));
        };
        let width = names.map_or(first.len(), <[String]>::len);
        if width == 0 {
            return Err(LabError::invalid("data", "there is no column"));
        }
        limits.check(rows.len(), width)?;
        if rows.len() < 2 {
            return Err(LabError::invalid("data", "has 1 row; 2 are needed"));
        }
        let (mut complete, mut incomplete) = (Vec::with_capacity(rows.len()), Vec::new());
        for (i, row) in rows.iter().enumerate() {
            if row.len() != width {
                return Err(LabError::invalid(
                    format!("data[{i}]"),
                    format!("has {} values, expected {width}", row.len()),
                ));
            }
            let cells = || row.iter().map(|&cell| cell.into());
            let odd = |cell: Option<f64>| cell.is_some_and(|x| !x.is_finite());
            if let Some(j) = cells().position(odd) {
                return Err(LabError::invalid(format!("data[{i}][{j}]"), "not finite"));
            }
            if cells().any(|cell| cell.is_none()) {
                incomplete.push(i);
            } else {
                complete.push(i);
            }
        }
        if complete.len() < 2 {
            return Err(too_few_complete("data", complete.len(), rows.len()));
        }
        let names = match names {
            Some(names) => names.to_vec(),
            None => (0..width).map(|i| format!("x{i}")).collect(),
        };
        check_names(&names, |i| format!("variable_names[{i}]"))?;
        let columns = |of: &[usize]| {
            let value = |i: usize, j: usize| rows[i][j].into().map_or(f64::NAN, |x| x + 0.0);
            let column = |j| of.iter().map(|&i| value(i, j)).collect();
            (0..width).map(column).collect::<Vec<Vec<f64>>>()
        };
        let texts = vec![None; width];
        let dataset = Self::from_columns(names, columns(&complete), texts, incomplete.len());
        Ok(dataset.with_incomplete(columns(&incomplete)))
    }

    /// The caller has checked that names are unique, lengths equal and values finite, and that a
    /// column with text holds the codes of its labels.
    pub(super) fn from_columns(
        names: Vec<String>,
        mut columns: Vec<Vec<f64>>,
        texts: Vec<Option<Text>>,
        rows_dropped: usize,
    ) -> Self {
        // Minus zero would make equal data hash differently.
        for x in columns.iter_mut().flatten() {
            *x += 0.0;
        }
        Self {
            names,
            columns: Arc::new(columns),
            texts,
            rows_dropped,
            incomplete: None,
            covariance: Arc::new(OnceLock::new()),
            least_pairwise_rows: None,
            codes: Arc::new(OnceLock::new()),
        }
    }

    /// With the rows that were dropped, by column, NaN where a value is missing.
    pub(super) fn with_incomplete(mut self, columns: Vec<Vec<f64>>) -> Self {
        if self.rows_dropped > 0 {
            self.incomplete = Some(Arc::new(columns));
        }
        self
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of variables.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Number of rows, those dropped for missing values not counted.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// Rows of the source that are not here because a value was missing.
    pub fn rows_dropped(&self) -> usize {
        self.rows_dropped
    }

    /// Numbers, or the codes of a column of text.
    pub fn column(&self, index: usize) -> &[f64] {
        &self.columns[index]
    }

    /// What the codes of a column of text stand for; `None` for a column of numbers.
    pub fn labels(&self, index: usize) -> Option<&[String]> {
        self.texts[index]
            .as_ref()
            .map(|text| text.labels.as_slice())
    }

    /// Refuses text, by the first cell that is no number.
    pub fn require_numbers(&self) -> Result<(), LabError> {
        match self.texts.iter().flatten().next() {
            Some(text) => Err(text.not_a_number.clone()),
            None => Ok(()),
        }
    }

    /// Every column as categories, computed at the first call. Refuses a column that holds
    /// fractions or too many values.
    pub fn codes(&self) -> Result<&Codes, LabError> {
        self.codes_within(&Uncontrolled)
    }

    /// The same for a caller that may stop it; nothing is kept of a stopped computation.
    pub fn codes_within(&self, control: &dyn Control) -> Result<&Codes, LabError> {
        if let Some(known) = self.codes.get() {
            return Ok(known);
        }
        let computed = Codes::new(self, control)?;
        Ok(self.codes.get_or_init(|| computed))
    }

    /// Means and second moments, computed at the first call.
    pub fn covariance(&self) -> &Covariance {
        self.covariance_within(&Uncontrolled)
            .expect("a computation without control never stops")
    }

    /// The same for a caller that may stop it; nothing is kept of a stopped computation.
    pub fn covariance_within(&self, control: &dyn Control) -> Result<&Covariance, Stop> {
        if let Some(known) = self.covariance.get() {
            return Ok(known);
        }
        let computed = Covariance::new(&self.columns, || control.check())?;
        Ok(self.covariance.get_or_init(|| computed))
    }

    /// Every column with mean 0 and variance 1; a constant column becomes 0.
    pub fn standardised(&self) -> Self {
        let covariance = self.covariance();
        let columns = (0..self.width())
            .map(|j| {
                let (mean, sd) = (covariance.means()[j], covariance.sd(j));
                let scale = if covariance.is_constant(j) {
                    0.0
                } else {
                    1.0 / sd
                };
                self.columns[j].iter().map(|x| (x - mean) * scale).collect()
            })
            .collect();
        let texts = vec![None; self.width()];
        Self::from_columns(self.names.clone(), columns, texts, self.rows_dropped)
    }

    /// The data hash: BLAKE3 over a canonical encoding (a tag; the counts of columns and rows; for
    /// each column its name with its length, then its values), numbers little-endian. With text
    /// among the columns the tag is another, and the labels of a column come before its codes. It
    /// does not depend on the file the data came from.
    pub fn digest(&self) -> [u8; 32] {
        self.digest_within(&Uncontrolled)
            .expect("a computation without control never stops")
    }

    pub(crate) fn digest_within(&self, control: &dyn Control) -> Result<[u8; 32], Stop> {
        let mut hasher = blake3::Hasher::new();
        let has_text = self.texts.iter().any(Option::is_some);
        hasher.update(if has_text {
            b"hindcast dataset 2\n"
        } else {
            b"hindcast dataset 1\n"
        });
        hasher.update(&(self.width() as u64).to_le_bytes());
        hasher.update(&(self.rows() as u64).to_le_bytes());
        let mut bytes = Vec::with_capacity(self.rows() * 8);
        for (j, (name, column)) in self.names.iter().zip(self.columns.iter()).enumerate() {
            control.check()?;
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            if has_text {
                let labels = self.labels(j).unwrap_or_default();
                hasher.update(&(labels.len() as u64).to_le_bytes());
                for label in labels {
                    hasher.update(&(label.len() as u64).to_le_bytes());
                    hasher.update(label.as_bytes());
                }
            }
            bytes.clear();
            bytes.extend(column.iter().flat_map(|x| x.to_le_bytes()));
            hasher.update(&bytes);
        }
        // Where the incomplete rows were read they are data too.
        let read = self.least_pairwise_rows.and(self.incomplete.as_ref());
        for column in read.iter().flat_map(|columns| columns.iter()) {
            control.check()?;
            bytes.clear();
            bytes.extend(column.iter().flat_map(|x| x.to_le_bytes()));
            hasher.update(&bytes);
        }
        Ok(hasher.finalize().into())
    }
}

/// Too many rows miss a value.
pub(super) fn too_few_complete(field: &str, complete: usize, rows: usize) -> LabError {
    LabError::invalid_with_hint(
        field,
        format!("{complete} of {rows} rows have no missing value; 2 are needed"),
        "drop the columns that are mostly missing, or fill them in",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    fn message(rows: &[Vec<f64>], list: &[&str]) -> String {
        Dataset::from_rows(rows, Some(&names(list)), &Limits::default())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn wrong_rows_are_named_by_json_path() {
        let nan = f64::NAN;
        assert_eq!(message(&[], &["a"]), "data: there is no row");
        assert_eq!(message(&[vec![], vec![]], &[]), "data: there is no column");
        assert_eq!(
            message(&[vec![1.0]], &["a"]),
            "data: has 1 row; 2 are needed"
        );
        assert_eq!(
            message(&[vec![1.0, 2.0], vec![1.0]], &["a", "b"]),
            "data[1]: has 1 values, expected 2"
        );
        assert_eq!(
            message(&[vec![1.0], vec![nan]], &["a"]),
            "data[1][0]: not finite"
        );
        assert_eq!(
            message(&[vec![1.0, 2.0], vec![3.0, 4.0]], &["a", "a"]),
            "variable_names[1]: duplicate name 'a'"
        );
    }

    #[test]
    fn rows_that_miss_a_value_are_left_out_and_kept_beside() {
        let rows = [
            vec![Some(1.0), Some(2.0)],
            vec![None, Some(3.0)],
            vec![Some(4.0), Some(-0.0)],
        ];
        let read = |rows: &[Vec<Option<f64>>]| Dataset::from_rows(rows, None, &Limits::default());
        let data = read(&rows).unwrap();
        assert_eq!((data.rows(), data.rows_dropped()), (2, 1));
        let beside = data.incomplete.as_ref().unwrap();
        assert!(beside[0][0].is_nan() && beside[1] == [3.0]);
        let complete = [vec![1.0, 2.0], vec![4.0, 0.0]];
        let same = Dataset::from_rows(&complete, None, &Limits::default()).unwrap();
        assert_eq!(data.digest(), same.digest());
        assert_eq!(
            read(&rows[..2]).unwrap_err().to_string(),
            "data: 1 of 2 rows have no missing value; 2 are needed"
        );
        let infinite = [vec![None, Some(f64::INFINITY)], vec![Some(1.0), Some(1.0)]];
        assert_eq!(
            read(&infinite).unwrap_err().to_string(),
            "data[0][1]: not finite"
        );
    }

    #[test]
    fn digest_depends_on_names_and_values_only() {
        let rows = [vec![1.0, 0.0], vec![2.0, 3.0]];
        let negative_zero = [vec![1.0, -0.0], vec![2.0, 3.0]];
        let build = |rows: &[Vec<f64>], list: &[&str]| {
            Dataset::from_rows(rows, Some(&names(list)), &Limits::default())
                .unwrap()
                .digest()
        };
        let digest = build(&rows, &["a", "b"]);
        assert_eq!(digest, build(&negative_zero, &["a", "b"]));
        assert_ne!(digest, build(&rows, &["a", "c"]));
        assert_ne!(
            digest,
            build(&[vec![1.0, 0.0], vec![2.0, 4.0]], &["a", "b"])
        );
        assert_ne!(build(&rows, &["ab", "c"]), build(&rows, &["a", "bc"]));
    }
}
