//! Tables and what is computed from them once.
//!
//! A [`Table`] is a parsed file (CSV, Parquet, Arrow IPC) with typed columns and missing values; a [`Dataset`] is the
//! complete matrix that discovery works on, text coded as numbers; its [`Covariance`] is computed
//! once and is all that Gaussian methods read, and so are its [`Codes`] for methods that read
//! categories. Where a file is stored is not known here.

mod arrow_bounds;
mod codes;
mod columnar;
mod covariance;
mod dataset;
mod format;
mod profile;
mod redrawn;
mod table;

pub(crate) use codes::Groups;
pub use codes::{Codes, Counts, LEVELS_MAX};
pub use covariance::Covariance;
pub use dataset::Dataset;
pub use format::Format;
pub use profile::{ColumnProfile, ColumnType, Profile};
pub use table::{Cells, Column, Table};

/// What a table may hold at most; larger input is refused, never cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub rows_max: usize,
    pub columns_max: usize,
    pub cells_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows_max: 1_000_000,
            columns_max: 2_000,
            cells_max: 50_000_000,
        }
    }
}

impl Limits {
    /// Refuses a table of `rows` and `columns`, or one that would become so.
    pub(crate) fn check(&self, rows: usize, columns: usize) -> Result<(), crate::LabError> {
        let cells = rows.saturating_mul(columns);
        for (field, actual, limit) in [
            ("columns", columns, self.columns_max),
            ("rows", rows, self.rows_max),
            ("cells", cells, self.cells_max),
        ] {
            if actual > limit {
                return Err(crate::LabError::TooLarge {
                    field: field.into(),
                    actual: actual as u64,
                    limit: limit as u64,
                });
            }
        }
        Ok(())
    }
}

/// Names have to be non-empty and unique; `field` names the offending one.
pub(crate) fn check_names(
    names: &[String],
    field: impl Fn(usize) -> String,
) -> Result<(), crate::LabError> {
    let mut seen = std::collections::BTreeSet::new();
    for (i, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(crate::LabError::invalid(field(i), "empty name"));
        }
        if name.chars().any(char::is_control) {
            return Err(crate::LabError::invalid(
                field(i),
                "a name may not hold control characters",
            ));
        }
        if !seen.insert(name) {
            return Err(crate::LabError::invalid(
                field(i),
                format!("duplicate name '{name}'"),
            ));
        }
    }
    Ok(())
}
