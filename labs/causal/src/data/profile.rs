//! What a table looks like, before anything is inferred from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Cells, Column, Covariance, Table};

/// Summary of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Profile {
    pub rows: u64,
    /// Rows without a missing value in any column.
    pub rows_complete: u64,
    pub columns: Vec<ColumnProfile>,
    /// Names of columns with an exact linear relation, one list for each redundant column.
    pub collinear: Vec<Vec<String>>,
    /// Names of columns with the same content.
    pub duplicates: Vec<Vec<String>>,
}

/// Summary of a column; the numbers are absent for text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ColumnProfile {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnType,
    pub missing: u64,
    pub distinct: u64,
    pub constant: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation with divisor n - 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
}

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    Number,
    Integer,
    Category,
    /// Every cell is missing.
    Empty,
}

impl Table {
    /// Summarises every column. Collinearity is judged on the complete rows of numeric columns.
    pub fn profile(&self) -> Profile {
        let columns: Vec<ColumnProfile> = self.columns().iter().map(column_profile).collect();
        let complete = self.complete_rows(self.columns().iter().collect());
        Profile {
            rows: self.rows() as u64,
            rows_complete: complete.len() as u64,
            columns,
            collinear: self.collinear(),
            duplicates: duplicates(self.columns()),
        }
    }

    fn complete_rows(&self, columns: Vec<&Column>) -> Vec<usize> {
        let present = |column: &Column, row: usize| match &column.cells {
            Cells::Numbers(values) => values[row].is_some(),
            Cells::Text { values, .. } => values[row].is_some(),
        };
        (0..self.rows())
            .filter(|&row| columns.iter().all(|c| present(c, row)))
            .collect()
    }

    fn collinear(&self) -> Vec<Vec<String>> {
        let numeric: Vec<&Column> = self
            .columns()
            .iter()
            .filter(|c| matches!(&c.cells, Cells::Numbers(v) if v.iter().any(Option::is_some)))
            .collect();
        let rows = self.complete_rows(numeric.clone());
        // With no more rows than columns a linear relation says nothing about the columns.
        if rows.len() <= numeric.len() {
            return Vec::new();
        }
        let values: Vec<Vec<f64>> = numeric
            .iter()
            .map(|column| match &column.cells {
                Cells::Numbers(v) => rows.iter().filter_map(|&row| v[row]).collect(),
                Cells::Text { .. } => Vec::new(),
            })
            .collect();
        let name = |i: &usize| numeric[*i].name.clone();
        let moments = Covariance::new(&values, || Ok(())).expect("nobody says stop");
        let groups = moments
            .collinear_groups(|| Ok(()))
            .expect("nobody says stop");
        groups
            .iter()
            .map(|group| group.iter().map(name).collect())
            .collect()
    }
}

fn column_profile(column: &Column) -> ColumnProfile {
    match &column.cells {
        Cells::Numbers(cells) => number_profile(&column.name, cells),
        Cells::Text { values, .. } => {
            let distinct: BTreeSet<&String> = values.iter().flatten().collect();
            ColumnProfile {
                name: column.name.clone(),
                kind: ColumnType::Category,
                missing: values.iter().filter(|v| v.is_none()).count() as u64,
                distinct: distinct.len() as u64,
                constant: distinct.len() <= 1,
                min: None,
                max: None,
                mean: None,
                sd: None,
            }
        }
    }
}

fn number_profile(name: &str, cells: &[Option<f64>]) -> ColumnProfile {
    let values: Vec<f64> = cells.iter().flatten().map(|x| x + 0.0).collect();
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let distinct = count_distinct(&sorted);
    let n = values.len() as f64;
    // Halved and doubled again, so that values near the largest finite number do not overflow.
    let mean = hindcast_stats::sum(&values.iter().map(|x| x / n).collect::<Vec<_>>());
    let scale = sorted
        .first()
        .zip(sorted.last())
        .map_or(0.0, |(l, h)| (h / 2.0 - l / 2.0) * 2.0);
    let squares: Vec<f64> = values
        .iter()
        .map(|x| ((x - mean) / scale).powi(2))
        .collect();
    let sd = scale * (hindcast_stats::sum(&squares) / (n - 1.0)).sqrt();
    let constant = distinct <= 1;
    let kind = if values.is_empty() {
        ColumnType::Empty
    } else if values.iter().all(|x| x.fract().abs() < f64::MIN_POSITIVE) {
        ColumnType::Integer
    } else {
        ColumnType::Number
    };
    let sd = if constant && !values.is_empty() {
        0.0
    } else {
        sd
    };
    ColumnProfile {
        name: name.to_owned(),
        kind,
        missing: (cells.len() - values.len()) as u64,
        distinct,
        constant,
        min: sorted.first().copied(),
        max: sorted.last().copied(),
        mean: Some(mean).filter(|m| m.is_finite() && !values.is_empty()),
        sd: Some(sd).filter(|s| s.is_finite()),
    }
}

/// Number of different values in a sorted list.
pub(crate) fn count_distinct(sorted: &[f64]) -> u64 {
    let changes = sorted
        .windows(2)
        .filter(|pair| pair[0].total_cmp(&pair[1]).is_ne())
        .count();
    (changes + usize::from(!sorted.is_empty())) as u64
}

fn duplicates(columns: &[Column]) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<[u8; 32], Vec<String>> = BTreeMap::new();
    for column in columns {
        let mut hasher = blake3::Hasher::new();
        match &column.cells {
            Cells::Numbers(values) => {
                for value in values {
                    // NaN stands for a missing cell: no number in a table is one.
                    hasher.update(&value.map_or(f64::NAN, |x| x + 0.0).to_le_bytes());
                }
            }
            Cells::Text { values, .. } => {
                for value in values {
                    let text = value.as_deref().unwrap_or("");
                    hasher.update(&(text.len() as u64).to_le_bytes());
                    hasher.update(text.as_bytes());
                }
            }
        }
        groups
            .entry(hasher.finalize().into())
            .or_default()
            .push(column.name.clone());
    }
    let mut found: Vec<Vec<String>> = groups.into_values().filter(|g| g.len() > 1).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Limits;

    fn profile(text: &str) -> Profile {
        Table::parse_csv(text.as_bytes(), &Limits::default())
            .unwrap()
            .profile()
    }

    #[test]
    fn every_type_is_recognised() {
        let found = profile("n,i,c,e,k\n1.5,1,x,,7\n2.5,2,y,NA,7\n,2,x,,7\n");
        let kinds: Vec<ColumnType> = found.columns.iter().map(|c| c.kind).collect();
        let expected = [
            ColumnType::Number,
            ColumnType::Integer,
            ColumnType::Category,
            ColumnType::Empty,
            ColumnType::Integer,
        ];
        assert_eq!(kinds, expected);
        assert_eq!((found.rows, found.rows_complete), (3, 0));
        let n = &found.columns[0];
        assert_eq!((n.missing, n.distinct, n.constant), (1, 2, false));
        assert_eq!((n.min, n.max, n.mean), (Some(1.5), Some(2.5), Some(2.0)));
        assert!((n.sd.unwrap() - 0.5_f64.sqrt()).abs() < 1e-15);
        assert!(found.columns[4].constant && found.columns[4].sd == Some(0.0));
        assert_eq!(found.columns[3].mean, None);
    }

    #[test]
    fn collinear_and_duplicate_columns_are_named() {
        let found = profile("a,b,c,d\n1,2,3,1\n2,5,7,2\n3,1,4,3\n4,4,8,4\n9,2,11,9\n");
        assert_eq!(found.collinear.len(), 2);
        assert_eq!(found.duplicates, [["a", "d"]]);
    }

    #[test]
    fn profile_survives_json_and_extreme_values() {
        let found = profile("a,b\n1e308,1\n-1e308,2\n1e308,4\n");
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains("null"), "{text}");
        assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), found);
    }
}
