//! What is done with rows before and around a search: rows that miss a value, and the bootstrap.

use serde::{Deserialize, Serialize};

use super::options::{DiscoverOptions, TestChoice};
use super::scoring::ScoreChoice;
use crate::control::Control;
use crate::data::Dataset;
use crate::error::LabError;

/// What is done with rows that miss a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// They are left out.
    #[default]
    Listwise,
    /// Every covariance is taken over the rows that have both values.
    Pairwise,
    /// They are an error.
    Refuse,
}

/// What a request asks to be done with the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handling {
    /// Replicates of the bootstrap; none when 0.
    pub bootstrap: u32,
    pub missing: Missing,
}

impl Handling {
    /// The dataset with other moments, where `missing` asks for that.
    pub(super) fn moments(
        self,
        data: &Dataset,
        options: &DiscoverOptions,
        control: &dyn Control,
    ) -> Result<Option<Dataset>, LabError> {
        match self.missing {
            Missing::Listwise => Ok(None),
            Missing::Refuse if data.rows_dropped() == 0 => Ok(None),
            Missing::Refuse => {
                let message = format!("{} rows miss a value", data.rows_dropped());
                let hint = "fill them in, or use missing: listwise or pairwise";
                Err(LabError::invalid_with_hint("data", message, hint))
            }
            Missing::Pairwise if reads_rows(options) => Err(LabError::invalid_with_hint(
                "missing",
                format!(
                    "{} reads whole rows, not covariances",
                    options.algorithm().name()
                ),
                "use missing: listwise",
            )),
            Missing::Pairwise if self.bootstrap > 0 => Err(LabError::invalid_with_hint(
                "missing",
                "the bootstrap draws whole rows",
                "use missing: listwise, or bootstrap: 0",
            )),
            Missing::Pairwise if data.rows_dropped() == 0 => Ok(None),
            Missing::Pairwise => data.pairwise(control).map(Some),
        }
    }
}

/// Whether the algorithm needs more of the data than the second moments.
pub(super) fn reads_rows(options: &DiscoverOptions) -> bool {
    match options {
        DiscoverOptions::DirectLingam(_) => true,
        DiscoverOptions::Pc(options) | DiscoverOptions::Fci(options) => {
            options.test == TestChoice::GSquare
        }
        DiscoverOptions::Boss(_) | DiscoverOptions::Grasp(_) | DiscoverOptions::Ges(_) => {
            let choice = options.score().map(|score| score.choice);
            choice != Some(ScoreChoice::Bic)
        }
        DiscoverOptions::Eqvar(_)
        | DiscoverOptions::Notears(_)
        | DiscoverOptions::Dagma(_)
        | DiscoverOptions::Correlation(_) => false,
    }
}
