//! A dataset as categories: every value a small code, and counts of the combinations that occur.
//! All that methods for discrete data read. What is counted is what was observed: a value that
//! never occurs in the rows has no code.

use std::collections::BTreeMap;

use super::Dataset;
use crate::control::{Control, Stop};
use crate::error::LabError;

/// Values of a column that is read as categories.
pub const LEVELS_MAX: usize = 256;
/// Combinations that are counted in a table with a place for each, even for a few rows.
const SMALL_TABLE: usize = 1 << 14;
const CHECK_EVERY_ROWS: usize = 1 << 16;
const CELL_TEXT_SHOWN_MAX: usize = 40;

/// Columns of codes, 0 for the first label of the column and so on. Labels are sorted: text by
/// its bytes, numbers by value.
#[derive(Debug, Clone)]
pub struct Codes {
    rows: usize,
    columns: Vec<Vec<u8>>,
    labels: Vec<Vec<String>>,
}

impl Codes {
    /// Refuses a column that holds fractions or more than [`LEVELS_MAX`] values.
    pub(super) fn new(data: &Dataset, control: &dyn Control) -> Result<Self, LabError> {
        let (mut columns, mut labels) = (Vec::new(), Vec::new());
        for (j, name) in data.names().iter().enumerate() {
            control.check()?;
            let levels = levels(data.column(j), control)?
                .ok_or_else(|| too_fine(name, data.column(j), data.labels(j).is_some()))?;
            let mut codes = Vec::with_capacity(data.rows());
            for block in data.column(j).chunks(CHECK_EVERY_ROWS) {
                control.check()?;
                codes.extend(block.iter().map(|x| {
                    let at = levels.binary_search_by(|level| level.total_cmp(x));
                    u8::try_from(at.expect("a level of the column")).expect("at most 256 levels")
                }));
            }
            columns.push(codes);
            labels.push(match data.labels(j) {
                Some(texts) => texts.to_vec(),
                None => levels.iter().map(f64::to_string).collect(),
            });
        }
        Ok(Self {
            rows: data.rows(),
            columns,
            labels,
        })
    }

    /// The given rows, with all labels.
    pub(super) fn drawn(&self, rows: &[usize]) -> Self {
        let pick = |column: &Vec<u8>| rows.iter().map(|&row| column[row]).collect();
        Self {
            rows: rows.len(),
            columns: self.columns.iter().map(pick).collect(),
            labels: self.labels.clone(),
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of variables.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Number of values of a variable.
    pub fn levels(&self, variable: usize) -> usize {
        self.labels[variable].len()
    }

    /// What the codes of a variable stand for.
    pub fn labels(&self, variable: usize) -> &[String] {
        &self.labels[variable]
    }

    /// The code of each row.
    pub fn column(&self, variable: usize) -> &[u8] {
        &self.columns[variable]
    }

    /// How often each combination of values of `variables` occurs; those that do not are left
    /// out. Without variables it is one empty combination for all rows.
    pub fn counts(&self, variables: &[usize]) -> Counts {
        let mut groups = self.group(variables);
        groups.close_up(1);
        let mut counts = vec![0_u32; groups.bound];
        let mut example = vec![0; groups.bound];
        for (row, &group) in groups.of_row.iter().enumerate() {
            counts[group as usize] += 1;
            example[group as usize] = row;
        }
        let mut found = Counts {
            width: variables.len(),
            values: Vec::new(),
            counts: Vec::new(),
        };
        for (&count, &row) in counts.iter().zip(&example).filter(|(count, _)| **count > 0) {
            found.counts.push(count);
            found
                .values
                .extend(variables.iter().map(|&v| self.columns[v][row]));
        }
        found
    }

    /// One row for each combination of all values, and how many rows are equal to it; every row
    /// once when most differ.
    pub(crate) fn distinct_rows(
        &self,
        control: &dyn Control,
    ) -> Result<(Vec<usize>, Vec<u32>), Stop> {
        let mut groups = Groups::one(self.rows);
        for variable in 0..self.width() {
            control.check()?;
            groups.split(&self.columns[variable], self.levels(variable));
            if groups.bound > self.rows / 2 {
                groups.renumber();
            }
            if groups.bound > self.rows / 2 {
                return Ok(((0..self.rows).collect(), vec![1; self.rows]));
            }
        }
        groups.renumber();
        let (mut rows, mut weights) = (vec![0; groups.bound], vec![0; groups.bound]);
        for (row, &group) in groups.of_row.iter().enumerate() {
            rows[group as usize] = row;
            weights[group as usize] += 1;
        }
        Ok((rows, weights))
    }

    /// Numbers the combinations of values of `variables` so that the numbers rise with the values,
    /// the first variable weighing most.
    fn group(&self, variables: &[usize]) -> Groups {
        let mut groups = Groups::one(self.rows);
        for &variable in variables {
            groups.split(&self.columns[variable], self.levels(variable));
        }
        groups
    }
}

/// A partition of the rows: the group of each row, all below `bound`. Some may be empty.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    pub of_row: Vec<u32>,
    pub bound: usize,
}

impl Groups {
    /// All rows together.
    pub(crate) fn one(rows: usize) -> Self {
        Self {
            of_row: vec![0; rows],
            bound: 1,
        }
    }

    /// Splits every group by one more variable. Numbers stay below 2^32: a group more than there
    /// are rows is closed up first, and tables have at most a million rows.
    pub(crate) fn split(&mut self, codes: &[u8], levels: usize) {
        self.close_up(levels);
        let wide = u32::try_from(levels).expect("at most 256 levels");
        for (group, &code) in self.of_row.iter_mut().zip(codes) {
            *group = *group * wide + u32::from(code);
        }
        self.bound *= levels;
    }

    /// Leaves out empty groups when a table with `each` places for a group would be much larger
    /// than the rows are.
    pub(crate) fn close_up(&mut self, each: usize) {
        let limit = (2 * self.of_row.len()).max(SMALL_TABLE);
        if self.bound * each > limit {
            self.renumber();
        }
    }

    /// Leaves out empty groups.
    fn renumber(&mut self) {
        let mut used: Vec<u32> = self.of_row.clone();
        used.sort_unstable();
        used.dedup();
        if used.len() == self.bound {
            return;
        }
        for group in &mut self.of_row {
            let at = used.binary_search(group).expect("a group of some row");
            *group = u32::try_from(at).expect("no more groups than rows");
        }
        self.bound = used.len();
    }
}

/// Combinations of values in rising order, with their counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    width: usize,
    values: Vec<u8>,
    counts: Vec<u32>,
}

impl Counts {
    /// Number of combinations that occur.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Each combination, as codes in the order the variables were asked for, and its count.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        let values = (0..self.len()).map(|i| &self.values[i * self.width..(i + 1) * self.width]);
        values.zip(self.counts.iter().copied())
    }
}

/// The values of a column, rising; `None` when they are no categories.
fn levels(column: &[f64], control: &dyn Control) -> Result<Option<Vec<f64>>, LabError> {
    let mut levels: Vec<f64> = Vec::new();
    for block in column.chunks(CHECK_EVERY_ROWS) {
        control.check()?;
        for x in block {
            if let Err(at) = levels.binary_search_by(|level| level.total_cmp(x)) {
                if levels.len() == LEVELS_MAX || x.fract().abs() >= f64::MIN_POSITIVE {
                    return Ok(None);
                }
                levels.insert(at, *x);
            }
        }
    }
    Ok(Some(levels))
}

fn too_fine(name: &str, column: &[f64], is_text: bool) -> LabError {
    let fraction = column.iter().find(|x| x.fract().abs() >= f64::MIN_POSITIVE);
    let message = match fraction {
        Some(x) if !is_text => {
            let shown: String = x.to_string().chars().take(CELL_TEXT_SHOWN_MAX).collect();
            format!("column '{name}' holds fractions such as {shown}, which are no categories")
        }
        Some(_) | None => {
            format!("column '{name}' has more than {LEVELS_MAX} different values")
        }
    };
    LabError::invalid_with_hint(
        "data",
        message,
        "leave the column out, or join its values into fewer categories",
    )
}

/// Labels of a text column and the code of each cell.
pub(super) fn encode(cells: &[&str]) -> (Vec<String>, Vec<f64>) {
    let mut codes: BTreeMap<&str, usize> = cells.iter().map(|&cell| (cell, 0)).collect();
    for (code, slot) in codes.values_mut().enumerate() {
        *slot = code;
    }
    let column = cells.iter().map(|cell| codes[cell] as f64).collect();
    (
        codes.keys().map(|&label| label.to_owned()).collect(),
        column,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Limits, Table};
    use hindcast_stats::Philox;

    fn dataset(text: &str) -> Dataset {
        Table::parse_csv(text.as_bytes(), &Limits::default())
            .unwrap()
            .dataset()
            .unwrap()
    }

    #[test]
    fn text_and_whole_numbers_become_codes_in_rising_order() {
        let data = dataset("a,b,c\nyes,10,x\nno,-2,x\nyes,3,y\n");
        let codes = data.codes().unwrap();
        assert_eq!(codes.labels(0), ["no", "yes"]);
        assert_eq!(codes.labels(1), ["-2", "3", "10"]);
        assert_eq!(codes.column(0), [1, 0, 1]);
        assert_eq!(codes.column(1), [2, 0, 1]);
        let counts = codes.counts(&[2, 0]);
        let found: Vec<(Vec<u8>, u32)> = counts.iter().map(|(v, n)| (v.to_vec(), n)).collect();
        assert_eq!(found, [(vec![0, 0], 1), (vec![0, 1], 1), (vec![1, 1], 1)]);
        let all: Vec<(Vec<u8>, u32)> = codes
            .counts(&[])
            .iter()
            .map(|(v, n)| (v.to_vec(), n))
            .collect();
        assert_eq!(all, [(vec![], 3)]);
    }

    #[test]
    fn fractions_and_many_values_are_refused_by_name() {
        let error = |text: &str| dataset(text).codes().unwrap_err().to_string();
        assert_eq!(
            error("a,b\n1,0.5\n2,1\n"),
            "data: column 'b' holds fractions such as 0.5, which are no categories"
        );
        let ids: String = (0..300).map(|i| format!("u{i},1\n")).collect();
        assert_eq!(
            error(&format!("id,b\n{ids}")),
            "data: column 'id' has more than 256 different values"
        );
    }

    #[test]
    fn labels_are_part_of_the_data_hash() {
        let digests = ["a\nx\ny\n", "a\nx\nz\n", "a\n0\n1\n"].map(|text| dataset(text).digest());
        assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
    }

    /// Ten variables of seven values have far more combinations than there are rows, so that the
    /// numbering is closed up on the way.
    #[test]
    fn counts_agree_with_a_map_of_combinations() {
        let mut rng = Philox::new(1, 0);
        let mut text = (0..10)
            .map(|j| format!("v{j}"))
            .collect::<Vec<_>>()
            .join(",");
        for _ in 0..500 {
            let row: Vec<String> = (0..10).map(|_| rng.index_below(7).to_string()).collect();
            text.push('\n');
            text.push_str(&row.join(","));
        }
        let data = dataset(&text);
        let codes = data.codes().unwrap();
        for variables in [
            vec![3],
            vec![9, 0],
            (0..10).collect(),
            vec![4, 2, 7, 1, 0, 5, 9],
        ] {
            let mut expected: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            for row in 0..500 {
                let key = variables.iter().map(|&v| codes.column(v)[row]).collect();
                *expected.entry(key).or_default() += 1;
            }
            let found = codes.counts(&variables);
            let found: Vec<(Vec<u8>, u32)> = found.iter().map(|(v, n)| (v.to_vec(), n)).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
