//! Parquet and Arrow IPC files as typed columns. Nothing is converted that would lose its value: a
//! column of a type that is neither number nor text is refused by name.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, types};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::table::{Cells, Column};
use super::{Limits, arrow_bounds, check_names};
use crate::LabError;

/// Whole numbers up to here are exact as floating point.
const EXACT_MAX: u128 = 1 << 53;

/// Reads a whole Parquet file.
pub(super) fn parquet(bytes: &[u8], limits: &Limits) -> Result<Vec<Column>, LabError> {
    guarded("parquet", || {
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        let broken = |error: parquet::errors::ParquetError| unreadable("parquet", &error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(broken)?;
        let metadata = builder.metadata().file_metadata();
        let rows = usize::try_from(metadata.num_rows()).unwrap_or(usize::MAX);
        limits.check(rows, builder.schema().fields().len())?;
        let schema = builder.schema().clone();
        let batches = builder.build().map_err(broken)?;
        columns(&schema, batches, limits, "parquet")
    })
}

/// Reads a whole Arrow IPC file.
pub(super) fn arrow_file(bytes: &[u8], limits: &Limits) -> Result<Vec<Column>, LabError> {
    guarded("arrow", || {
        arrow_bounds::check_file(bytes).map_err(|what| unreadable("arrow", &what))?;
        let reader = FileReader::try_new(Cursor::new(bytes), None);
        let reader = reader.map_err(|error| unreadable("arrow", &error))?;
        let schema = reader.schema();
        columns(&schema, reader, limits, "arrow")
    })
}

/// Reads a whole Arrow IPC stream.
pub(super) fn arrow_stream(bytes: &[u8], limits: &Limits) -> Result<Vec<Column>, LabError> {
    guarded("arrow", || {
        arrow_bounds::check_stream(bytes).map_err(|what| unreadable("arrow", &what))?;
        let reader = StreamReader::try_new(Cursor::new(bytes), None);
        let reader = reader.map_err(|error| unreadable("arrow", &error))?;
        let schema = reader.schema();
        columns(&schema, reader, limits, "arrow")
    })
}

/// The readers index into what a file says of itself, and a file may say anything.
fn guarded<T>(format: &str, read: impl FnOnce() -> Result<T, LabError>) -> Result<T, LabError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(LabError::invalid(
            "file",
            format!("is no {format} file that can be read"),
        ))
    })
}

fn unreadable(format: &str, error: &dyn std::fmt::Display) -> LabError {
    let first_line = error.to_string();
    let first_line = first_line.lines().next().unwrap_or_default();
    LabError::invalid("file", format!("cannot be read as {format}: {first_line}"))
}

fn columns(
    schema: &Schema,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    limits: &Limits,
    format: &str,
) -> Result<Vec<Column>, LabError> {
    let fields = schema.fields();
    let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    limits.check(0, names.len())?;
    check_names(&names, |i| format!("file.columns[{i}]"))?;
    let mut gathered = fields
        .iter()
        .map(|field| Gathered::new(field.name(), field.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows = 0;
    for batch in batches {
        let batch = batch.map_err(|error| unreadable(format, &error))?;
        limits.check(rows + batch.num_rows(), names.len())?;
        for ((gathered, array), name) in gathered.iter_mut().zip(batch.columns()).zip(&names) {
            gathered.take(array.as_ref(), name, rows)?;
        }
        rows += batch.num_rows();
    }
    if rows == 0 {
        return Err(LabError::invalid("file", "there is no row"));
    }
    let cells = gathered.into_iter().map(Gathered::finish);
    Ok(names
        .into_iter()
        .zip(cells)
        .map(|(name, cells)| Column { name, cells })
        .collect())
}

/// A column as far as it has been read.
enum Gathered {
    Numbers(Vec<Option<f64>>),
    Texts(Vec<Option<String>>),
}

impl Gathered {
    fn new(name: &str, kind: &DataType) -> Result<Self, LabError> {
        let mut value = kind;
        if let DataType::Dictionary(_, inner) = kind {
            value = inner.as_ref();
        }
        let decimal = matches!(
            value,
            DataType::Decimal32(..)
                | DataType::Decimal64(..)
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
        );
        if value.is_numeric() && !decimal || matches!(value, DataType::Boolean) {
            return Ok(Self::Numbers(Vec::new()));
        }
        if matches!(
            value,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ) {
            return Ok(Self::Texts(Vec::new()));
        }
        Err(LabError::invalid_with_hint(
            "file",
            format!("column '{name}': type {kind} is neither numbers nor text"),
            "numbers are whole, floating-point or true and false; leave the column out or convert it",
        ))
    }

    fn take(&mut self, array: &dyn Array, name: &str, row: usize) -> Result<(), LabError> {
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            let mut values = match self {
                Self::Numbers(_) => Self::Numbers(Vec::new()),
                Self::Texts(_) => Self::Texts(Vec::new()),
            };
            values.take(dictionary.values().as_ref(), name, row)?;
            let keys = dictionary.normalized_keys();
            let of = |at: usize| (!dictionary.keys().is_null(at)).then(|| keys[at]);
            match (self, &values) {
                (Self::Numbers(all), Self::Numbers(values)) => {
                    all.extend((0..keys.len()).map(|at| values[of(at)?]));
                }
                (Self::Texts(all), Self::Texts(values)) => {
                    all.extend((0..keys.len()).map(|at| values[of(at)?].clone()));
                }
                (Self::Numbers(_) | Self::Texts(_), _) => {}
            }
            return Ok(());
        }
        match self {
            Self::Numbers(all) => {
                for (at, x) in numbers(array).into_iter().enumerate() {
                    all.push(finite(x).map_err(|what| {
                        let is_whole = array.data_type().is_integer();
                        let what = match is_whole {
                            true => "a whole number beyond 2^53 has no exact double".to_owned(),
                            false => what,
                        };
                        let row = row + at + 1;
                        LabError::invalid("file", format!("row {row}, column '{name}': {what}"))
                    })?);
                }
            }
            Self::Texts(all) => all.extend(texts(array)),
        }
        Ok(())
    }

    fn finish(self) -> Cells {
        match self {
            Self::Numbers(values) => Cells::Numbers(values),
            Self::Texts(values) => {
                let first = values.iter().position(Option::is_some);
                match first {
                    Some(first_bad) => Cells::Text { values, first_bad },
                    // Nothing says what the column would hold.
                    None => Cells::Numbers(vec![None; values.len()]),
                }
            }
        }
    }
}

/// NaN is how many programs write a missing number.
fn finite(x: Option<f64>) -> Result<Option<f64>, String> {
    match x {
        None => Ok(None),
        Some(x) if x.is_nan() => Ok(None),
        Some(x) if x.is_infinite() => Err(format!("{x} is non-finite")),
        Some(x) => Ok(Some(x)),
    }
}

macro_rules! widened {
    ($array:expr, $($kind:pat => $primitive:ty),* $(,)?) => {
        match $array.data_type() {
            $($kind => $array
                .as_primitive::<$primitive>()
                .iter()
                .map(|x| x.map(f64::from))
                .collect(),)*
            DataType::Int64 => whole($array.as_primitive::<types::Int64Type>().iter().map(|x| x.map(i128::from))),
            DataType::UInt64 => whole($array.as_primitive::<types::UInt64Type>().iter().map(|x| x.map(i128::from))),
            DataType::Boolean => $array.as_boolean().iter().map(|x| x.map(f64::from)).collect(),
            _ => vec![None; $array.len()],
        }
    };
}

fn numbers(array: &dyn Array) -> Vec<Option<f64>> {
    widened!(array,
        DataType::Int8 => types::Int8Type,
        DataType::Int16 => types::Int16Type,
        DataType::Int32 => types::Int32Type,
        DataType::UInt8 => types::UInt8Type,
        DataType::UInt16 => types::UInt16Type,
        DataType::UInt32 => types::UInt32Type,
        DataType::Float16 => types::Float16Type,
        DataType::Float32 => types::Float32Type,
        DataType::Float64 => types::Float64Type,
    )
}

/// What a double cannot hold exactly becomes infinite, and is refused as such.
fn whole(values: impl Iterator<Item = Option<i128>>) -> Vec<Option<f64>> {
    #[expect(clippy::cast_precision_loss, reason = "what is lost is refused")]
    let exact = |x: i128| match x.unsigned_abs() <= EXACT_MAX {
        true => x as f64,
        false => f64::INFINITY.copysign(x as f64),
    };
    values.map(|x| x.map(exact)).collect()
}

fn texts(array: &dyn Array) -> Vec<Option<String>> {
    let owned = |x: Option<&str>| x.map(str::to_owned);
    if let Some(array) = array.as_string_opt::<i32>() {
        array.iter().map(owned).collect()
    } else if let Some(array) = array.as_string_opt::<i64>() {
        array.iter().map(owned).collect()
    } else {
        array.as_string_view().iter().map(owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_beyond_2_to_the_53_is_no_double() {
        let end = 1_i128 << 53;
        let doubles = whole(
            [end, -end, end + 1, -end - 1, end + 2]
                .map(Some)
                .into_iter(),
        );
        let (kept, lost) = (9_007_199_254_740_992.0, f64::INFINITY);
        assert_eq!(doubles, [kept, -kept, lost, -lost, lost].map(Some));
    }
}
