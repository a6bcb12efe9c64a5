//! A file as typed columns. CSV: header of names, commas, decimal points.
//!
//! A column is numeric when every cell that is not missing is a finite number. Missing cells are
//! empty or `NA`, `N/A`, `NaN`, `null` in any case. Rows count from 1 after the header.

use std::io::Read;

use super::dataset::{Text, too_few_complete};
use super::{Dataset, Format, Limits, check_names};
use super::{codes, columnar};
use crate::LabError;

const MISSING: [&str; 5] = ["", "na", "n/a", "nan", "null"];
const CELL_TEXT_SHOWN_MAX: usize = 40;

/// A parsed file.
#[derive(Debug, Clone)]
pub struct Table {
    rows: usize,
    columns: Vec<Column>,
}

/// One column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub cells: Cells,
}

/// What a column holds; `None` is a missing cell.
#[derive(Debug, Clone)]
pub enum Cells {
    Numbers(Vec<Option<f64>>),
    /// At least one cell, in row `first_bad` (from 0), is neither missing nor a finite number.
    Text {
        values: Vec<Option<String>>,
        first_bad: usize,
    },
}

impl Table {
    /// Reads a whole file of any [`Format`].
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, LabError> {
        let columns = match Format::of(bytes) {
            Format::Csv => return Self::parse_csv(bytes, limits),
            Format::Parquet => columnar::parquet(bytes, limits)?,
            Format::ArrowFile => columnar::arrow_file(bytes, limits)?,
            Format::ArrowStream => columnar::arrow_stream(bytes, limits)?,
        };
        let rows = columns.first().map_or(0, |column| match &column.cells {
            Cells::Numbers(values) => values.len(),
            Cells::Text { values, .. } => values.len(),
        });
        Ok(Self { rows, columns })
    }

    /// Reads a whole CSV file. Errors name the row and the column.
    pub fn parse_csv(bytes: impl Read, limits: &Limits) -> Result<Self, LabError> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(bytes);
        let mut record = csv::StringRecord::new();
        if !read(&mut reader, &mut record, 0)? {
            return Err(LabError::invalid("csv", "empty: there is no header row"));
        }
        let names = header(&record)?;
        limits.check(0, names.len())?;
        let mut builders: Vec<Builder> = names.iter().map(|_| Builder::default()).collect();
        let mut rows = 0;
        while read(&mut reader, &mut record, rows + 1)? {
            if record.len() != names.len() {
                return Err(LabError::invalid(
                    "csv",
                    format!(
                        "row {}: has {} values, expected {}",
                        rows + 1,
                        record.len(),
                        names.len()
                    ),
                ));
            }
            for (builder, cell) in builders.iter_mut().zip(&record) {
                builder.push(cell);
            }
            rows += 1;
            limits.check(rows, names.len())?;
        }
        if rows == 0 {
            return Err(LabError::invalid("csv", "there is a header but no row"));
        }
        let columns = names
            .into_iter()
            .zip(builders)
            .map(|(name, builder)| Column {
                name,
                cells: builder.finish(),
            })
            .collect();
        Ok(Self { rows, columns })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The matrix for discovery, text coded by its sorted labels. Rows with a missing cell are
    /// left out; how many is kept with the dataset.
    pub fn dataset(&self) -> Result<Dataset, LabError> {
        let present = |column: &Column, row: usize| match &column.cells {
            Cells::Numbers(values) => values[row].is_some(),
            Cells::Text { values, .. } => values[row].is_some(),
        };
        let complete: Vec<usize> = (0..self.rows)
            .filter(|&row| self.columns.iter().all(|c| present(c, row)))
            .collect();
        let dropped = self.rows - complete.len();
        if complete.len() < 2 {
            return Err(too_few_complete("csv", complete.len(), self.rows));
        }
        let (mut columns, mut texts) = (Vec::new(), Vec::new());
        for column in &self.columns {
            match &column.cells {
                Cells::Numbers(values) => {
                    columns.push(complete.iter().filter_map(|&row| values[row]).collect());
                    texts.push(None);
                }
                Cells::Text { values, first_bad } => {
                    let cells = complete.iter().filter_map(|&row| values[row].as_deref());
                    let (labels, codes) = codes::encode(&cells.collect::<Vec<_>>());
                    columns.push(codes);
                    texts.push(Some(Text {
                        labels,
                        not_a_number: not_a_number(&column.name, values, *first_bad),
                    }));
                }
            }
        }
        let names = self.columns.iter().map(|c| c.name.clone()).collect();
        let dataset = Dataset::from_columns(names, columns, texts, dropped);
        Ok(dataset.with_incomplete(self.incomplete(&complete)))
    }

    /// The rows that are not among the `complete` ones (ascending), by column, NaN where a value is
    /// missing; nothing for a column of text.
    fn incomplete(&self, complete: &[usize]) -> Vec<Vec<f64>> {
        let rows: Vec<usize> = (0..self.rows)
            .filter(|row| complete.binary_search(row).is_err())
            .collect();
        let cells = |column: &Column| match &column.cells {
            Cells::Numbers(values) => {
                let values = rows
                    .iter()
                    .map(|&row| values[row].map_or(f64::NAN, |x| x + 0.0));
                values.collect()
            }
            Cells::Text { .. } => Vec::new(),
        };
        self.columns.iter().map(cells).collect()
    }
}

fn read(
    reader: &mut csv::Reader<impl Read>,
    record: &mut csv::StringRecord,
    row: usize,
) -> Result<bool, LabError> {
    reader.read_record(record).map_err(|error| {
        if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
            return LabError::invalid("csv", format!("row {row}: not UTF-8"));
        }
        LabError::invalid("csv", format!("row {row}: {error}"))
    })
}

fn header(record: &csv::StringRecord) -> Result<Vec<String>, LabError> {
    let names: Vec<String> = record
        .iter()
        .enumerate()
        .map(|(i, name)| {
            if i == 0 {
                name.trim_start_matches('\u{feff}')
            } else {
                name
            }
        })
        .map(|name| name.trim().to_owned())
        .collect();
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        return Err(LabError::invalid_with_hint(
            "csv",
            "the first row holds only numbers",
            "the first row has to be a header of column names",
        ));
    }
    check_names(&names, |i| format!("header[{i}]"))?;
    Ok(names)
}

/// Collects a column as numbers until a cell is none, from then on as text. Numbers before that
/// cell become text in their shortest form.
#[derive(Default)]
struct Builder {
    numbers: Vec<Option<f64>>,
    texts: Vec<Option<String>>,
    first_bad: Option<usize>,
}

impl Builder {
    fn push(&mut self, cell: &str) {
        let missing = MISSING.iter().any(|token| cell.eq_ignore_ascii_case(token));
        if self.first_bad.is_some() {
            self.texts.push((!missing).then(|| cell.to_owned()));
            return;
        }
        match cell.parse::<f64>() {
            _ if missing => self.numbers.push(None),
            Ok(x) if x.is_finite() && !is_rounded(cell, x) => self.numbers.push(Some(x)),
            Ok(_) | Err(_) => {
                self.first_bad = Some(self.numbers.len());
                let numbers = std::mem::take(&mut self.numbers);
                self.texts = numbers
                    .into_iter()
                    .map(|x| x.map(|x| x.to_string()))
                    .collect();
                self.texts.push(Some(cell.to_owned()));
            }
        }
    }

    fn finish(self) -> Cells {
        match self.first_bad {
            None => Cells::Numbers(self.numbers),
            Some(first_bad) => Cells::Text {
                values: self.texts,
                first_bad,
            },
        }
    }
}

/// Whether the cell is a whole number, all digits written out, and `x` is another one: beyond 2^53
/// two of them may have the same double, and then they are names rather than quantities.
fn is_rounded(cell: &str, x: f64) -> bool {
    const EXACT_DIGITS: usize = 15;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "beyond it the number is another"
    )]
    let differs = |written: i128| x as i128 != written;
    cell.len() > EXACT_DIGITS && cell.parse().is_ok_and(differs)
}

fn not_a_number(name: &str, values: &[Option<String>], row: usize) -> LabError {
    let cell = values[row].as_deref().unwrap_or("");
    let what = match cell.parse::<f64>() {
        Ok(x) if x.is_finite() => "a whole number that has no exact double",
        Ok(_) => "non-finite",
        Err(_) => "not a number",
    };
    let shown: String = cell.chars().take(CELL_TEXT_SHOWN_MAX).collect();
    LabError::invalid_with_hint(
        "csv",
        format!("row {}, column '{name}': '{shown}' is {what}", row + 1),
        "this needs numbers: leave the column out, or use score bdeu or discrete_bic",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Table, LabError> {
        Table::parse_csv(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn whole_numbers_that_no_double_holds_are_not_made_equal() {
        let ids = "id,x\n9007199254740992,1\n9007199254740993,2\n-9007199254740994,3\n";
        let table = parse(ids).expect("read");
        let profile = serde_json::to_value(table.profile()).expect("json");
        let told = message(ids);
        assert!(
            told.contains("row 2, column 'id': '9007199254740993'"),
            "{told}"
        );
        assert!(told.contains("no exact double"), "{told}");
        assert!(profile.to_string().contains("\"distinct\":3"), "{profile}");
        // Exact ones, and those that are not written out, are numbers.
        for x in [
            "9007199254740994",
            "-9007199254740994",
            "9007199254740993.0",
            "1e300",
        ] {
            let dataset = parse(&format!("id\n{x}\n1\n")).and_then(|table| table.dataset());
            dataset.and_then(|d| d.require_numbers()).expect(x);
        }
    }

    fn message(text: &str) -> String {
        parse(text)
            .and_then(|table| table.dataset()?.require_numbers())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn numbers_and_quoted_names_are_read() {
        let table = parse("\u{feff}a ,\"b, c\"\r\n1,2e3\r\n-0.5,+4\r\n").unwrap();
        let data = table.dataset().unwrap();
        assert_eq!(data.names(), ["a", "b, c"]);
        assert_eq!(data.column(1), [2000.0, 4.0]);
    }

    #[test]
    fn what_is_wrong_is_named_by_row_and_column() {
        let cases = [
            ("", "csv: empty: there is no header row"),
            ("a,b\n", "csv: there is a header but no row"),
            ("a,a\n1,2\n", "header[1]: duplicate name 'a'"),
            ("a,\n1,2\n", "header[1]: empty name"),
            ("1,2\n3,4\n", "csv: the first row holds only numbers"),
            ("a,b\n1,2\n3\n", "csv: row 2: has 1 values, expected 2"),
            (
                "a,mek\n1,2\n3,abc\n",
                "csv: row 2, column 'mek': 'abc' is not a number",
            ),
            (
                "a,b\n1,2\n3,inf\n",
                "csv: row 2, column 'b': 'inf' is non-finite",
            ),
            (
                "a,b\n1,2\n3,1e999\n",
                "csv: row 2, column 'b': '1e999' is non-finite",
            ),
            (
                "a,b\n1,2\n3,1_000\n",
                "csv: row 2, column 'b': '1_000' is not a number",
            ),
            (
                "a,b\n1,x\n3,NA\n",
                "csv: 1 of 2 rows have no missing value; 2 are needed",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(message(text), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let error = Table::parse_csv(&b"a,b\n1,\xff\n"[..], &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "csv: row 1: not UTF-8");
    }

    #[test]
    fn rows_with_missing_values_are_dropped_and_counted() {
        let data = parse("a,b\n1,2\nNaN,3\n4,\n5,6\n7,na\n")
            .unwrap()
            .dataset()
            .unwrap();
        assert_eq!((data.rows(), data.rows_dropped()), (2, 3));
        assert_eq!(data.column(0), [1.0, 5.0]);
    }

    #[test]
    fn each_limit_is_enforced_and_named() {
        let limits = Limits {
            rows_max: 2,
            columns_max: 2,
            cells_max: 3,
        };
        let error = |text: &str| Table::parse_csv(text.as_bytes(), &limits).unwrap_err();
        assert_eq!(
            error("a,b,c\n1,2,3\n").to_string(),
            "columns: 3 is over the limit of 2"
        );
        assert_eq!(
            error("a\n1\n2\n3\n").to_string(),
            "rows: 3 is over the limit of 2"
        );
        assert_eq!(
            error("a,b\n1,2\n3,4\n").to_string(),
            "cells: 4 is over the limit of 3"
        );
    }
}
