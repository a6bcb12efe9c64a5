//! Which score a search maximises, as it is asked for and as the columns decide when it is left
//! open. How a score is computed is not known here.

use serde::{Deserialize, Serialize};

use super::checks::list_names;
use crate::data::Dataset;
use crate::error::LabError;

pub(super) const PENALTY_DISCOUNT_DEFAULT: f64 = 2.0;
const DISCRETE_PENALTY_DISCOUNT_DEFAULT: f64 = 1.0;
const EQUIVALENT_SAMPLE_SIZE_DEFAULT: f64 = 10.0;
/// Chosen on samples of known networks (docs/methods/causal-graphs.md): without a prior of the graph
/// many a wrong edge pays for itself.
const STRUCTURE_PRIOR_DEFAULT: f64 = 0.1;

/// What the searches by score maximise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScoreChoice {
    /// bic when all columns are numbers, bdeu when all are text; anything else is refused.
    #[default]
    Auto,
    /// Gaussian, for numbers.
    Bic,
    /// Bayesian Dirichlet, for categories: text and whole numbers.
    Bdeu,
    /// Multinomial, for categories.
    DiscreteBic,
}

impl ScoreChoice {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bic => "bic",
            Self::Bdeu => "bdeu",
            Self::DiscreteBic => "discrete_bic",
        }
    }
}

/// A score and its parameters; once it is resolved, exactly those it has are there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScoreOptions {
    pub choice: ScoreChoice,
    pub penalty_discount: Option<f64>,
    pub equivalent_sample_size: Option<f64>,
    pub structure_prior: Option<f64>,
}

impl ScoreOptions {
    /// Whether it counts categories.
    pub(super) fn reads_categories(&self) -> bool {
        match self.choice {
            ScoreChoice::Bdeu | ScoreChoice::DiscreteBic => true,
            ScoreChoice::Auto | ScoreChoice::Bic => false,
        }
    }

    /// The score that fits the data, its parameters filled in.
    pub(super) fn resolved(&self, data: &Dataset) -> Result<Self, LabError> {
        let mut options = self.clone();
        if options.choice == ScoreChoice::Auto {
            options.choice = choice_for(data)?;
            options.refuse_foreign_parameters()?;
        }
        match options.choice {
            ScoreChoice::Bdeu => {
                options.equivalent_sample_size = Some(options.sample_size());
                options.structure_prior = Some(options.structure_prior());
            }
            ScoreChoice::Auto | ScoreChoice::Bic | ScoreChoice::DiscreteBic => {
                options.penalty_discount = Some(options.discount());
            }
        }
        Ok(options)
    }

    /// The factor of the penalty of BIC.
    pub(super) fn discount(&self) -> f64 {
        self.penalty_discount.unwrap_or(match self.choice {
            ScoreChoice::DiscreteBic => DISCRETE_PENALTY_DISCOUNT_DEFAULT,
            ScoreChoice::Auto | ScoreChoice::Bic | ScoreChoice::Bdeu => PENALTY_DISCOUNT_DEFAULT,
        })
    }

    /// Rows that the prior of BDeu is worth.
    pub(super) fn sample_size(&self) -> f64 {
        self.equivalent_sample_size
            .unwrap_or(EQUIVALENT_SAMPLE_SIZE_DEFAULT)
    }

    /// Parents of a variable that BDeu expects before it sees data; with 0 all graphs weigh the
    /// same. The other scores have no such prior.
    pub(super) fn structure_prior(&self) -> f64 {
        match self.choice {
            ScoreChoice::Bdeu => self.structure_prior.unwrap_or(STRUCTURE_PRIOR_DEFAULT),
            ScoreChoice::Auto | ScoreChoice::Bic | ScoreChoice::DiscreteBic => 0.0,
        }
    }

    pub(super) fn refuse_foreign_parameters(&self) -> Result<(), LabError> {
        let (field, owners) = match self.choice {
            ScoreChoice::Bdeu if self.penalty_discount.is_some() => {
                ("penalty_discount", "bic and discrete_bic")
            }
            ScoreChoice::Bic | ScoreChoice::DiscreteBic
                if self.equivalent_sample_size.is_some() =>
            {
                ("equivalent_sample_size", "bdeu")
            }
            ScoreChoice::Bic | ScoreChoice::DiscreteBic if self.structure_prior.is_some() => {
                ("structure_prior", "bdeu")
            }
            ScoreChoice::Auto | ScoreChoice::Bic | ScoreChoice::Bdeu | ScoreChoice::DiscreteBic => {
                return Ok(());
            }
        };
        Err(LabError::invalid_with_hint(
            field,
            format!("is not a parameter of score {}", self.choice.name()),
            format!("it belongs to {owners}"),
        ))
    }
}

/// By the types of the columns: numbers or text, not both.
fn choice_for(data: &Dataset) -> Result<ScoreChoice, LabError> {
    let is_text = |j: usize| data.labels(j).is_some();
    let (text, numbers): (Vec<usize>, Vec<usize>) = (0..data.width()).partition(|&j| is_text(j));
    if text.is_empty() {
        return Ok(ScoreChoice::Bic);
    }
    if numbers.is_empty() {
        return Ok(ScoreChoice::Bdeu);
    }
    let list = |columns: &[usize]| list_names(data, columns);
    let first = data.require_numbers().err();
    let first = first.map_or_else(String::new, |error| format!("; {error}"));
    Err(LabError::invalid_with_hint(
        "score",
        format!(
            "no score fits columns of both text ({}) and numbers ({}){first}",
            list(&text),
            list(&numbers)
        ),
        "with bdeu or discrete_bic whole numbers are categories too; or leave out the columns of \
         one type",
    ))
}
