//! What can be asked of discovery: the request as it is written in JSON. What it becomes once it is
//! checked is in `options`.

use serde::{Deserialize, Serialize};

use super::handling::{Handling, Missing};
use super::knowledge::Background;
use super::options::{
    Algorithm, BossOptions, ConstraintOptions, CorrelationOptions, DagmaOptions, DiscoverOptions,
    EqvarOptions, GesOptions, GraspOptions, LingamOptions, NotearsOptions, TestChoice,
};
use super::rendering::Rendering;
use super::scoring::{PENALTY_DISCOUNT_DEFAULT, ScoreChoice, ScoreOptions};
use crate::data::{Dataset, Limits};
use crate::error::LabError;

const DEPTH_DEFAULT: u32 = 3;
const LAMBDA1_DEFAULT: f64 = 0.1;
const THRESHOLD_DEFAULT: f64 = 0.3;
const MAX_ITER_DEFAULT: u32 = 100;

const DAGMA_LAMBDA1_DEFAULT: f64 = 0.03;
const ALPHA_DEFAULT: f64 = 0.01;
/// The number of sets rises with the power of their size, and the possible-d-sep step draws from
/// more than neighbours.
const FCI_COND_SIZE_DEFAULT: u32 = 4;

const ALPHA_MIN: f64 = 1e-12;
const ALPHA_MAX: f64 = 0.5;
const COND_SIZE_MAX: u32 = 500;
const PENALTY_DISCOUNT_MAX: f64 = 1000.0;
const EQUIVALENT_SAMPLE_SIZE_MAX: f64 = 1e6;
const STRUCTURE_PRIOR_MAX: f64 = 1000.0;
const RESTARTS_MAX: u32 = 1000;
const DEPTH_MAX: u32 = 10;
const LAMBDA1_MAX: f64 = 1000.0;
const THRESHOLD_MAX: f64 = 1000.0;
const MAX_ITER_MAX: u32 = 10_000;
const BOOTSTRAP_MAX: u32 = 1000;

/// A request for discovery, the same for HTTP and the command line. Data is either inline
/// (`data`, with or without `variable_names`) or named by its digest (`dataset`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DiscoverRequest {
    #[serde(default)]
    pub algorithm: Algorithm,
    /// notears: most outer iterations, 1 to 10000, default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_iter: Option<u32>,
    /// notears, dagma: weights below it are dropped, default 0.3; correlation: least |r| of an edge,
    /// default 0.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// boss, grasp, ges: what is maximised, default auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<ScoreChoice>,
    /// boss, grasp, ges, eqvar, direct_lingam: factor of the BIC penalty; default 2, with score
    /// discrete_bic 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty_discount: Option<f64>,
    /// Score bdeu: rows that the prior is worth, default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equivalent_sample_size: Option<f64>,
    /// Score bdeu: parents of a variable expected before the data are seen, 0 to 1000; with 0 all
    /// graphs weigh the same; default 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structure_prior: Option<f64>,
    /// grasp: tucks in a row, 1 to 10, default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// ges: whether edges are turned too, default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turning: Option<bool>,
    /// boss, grasp: perturbed searches without improvement before it ends, 0 to 1000; default 20,
    /// with more than 30 variables 8; of grasp 5, with more than 200 variables 1000 over their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// notears, dagma: weight of the L1 penalty, default 0.1 and 0.03.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda1: Option<f64>,
    /// Edges `[from, to]` that have to be in the graph (all but notears, dagma, correlation).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<[String; 2]>,
    /// Edges `[from, to]` that may not be in the graph (all but fci, correlation).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<[String; 2]>,
    /// Lists of variables, such as those of one time: no edge leads from a later list to an
    /// earlier one (all but correlation). A variable in no list is free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Vec<String>>,
    /// pc, fci: level of the independence tests, default 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// pc, fci: the independence test, default auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestChoice>,
    /// pc, fci: most variables conditioned on, 0 to 500; default no limit (pc) and 4 (fci).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cond_size: Option<u32>,
    /// Replicates of the bootstrap that says how stable the graph is, 0 to 1000, default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<u32>,
    /// What is done with rows that miss a value, default listwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// Languages and pictures that the answer shall hold the graph in besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<Rendering>,
    /// Rows of numbers, null where a value is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<Vec<Option<f64>>>>,
    /// Names of the columns of `data`; `x0`, `x1`, ... when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable_names: Option<Vec<String>>,
    /// Digest (64 lowercase hexadecimal digits) of a stored dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Seed of the search; chosen by the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl DiscoverRequest {
    /// Whether the answer depends on the seed.
    #[must_use]
    pub fn draws(&self) -> bool {
        if self.bootstrap.is_some_and(|replicates| replicates > 0) {
            return true;
        }
        match self.algorithm {
            Algorithm::Boss => self.restarts != Some(0),
            Algorithm::Grasp => true,
            Algorithm::Ges
            | Algorithm::Eqvar
            | Algorithm::Notears
            | Algorithm::Correlation
            | Algorithm::Pc
            | Algorithm::Fci
            | Algorithm::DirectLingam
            | Algorithm::Dagma => false,
        }
    }

    /// The parameters with defaults filled in. A parameter out of range, or of another algorithm,
    /// is an error that names it.
    pub fn options(&self) -> Result<DiscoverOptions, LabError> {
        self.refuse_foreign_parameters()?;
        let background = self.background()?;
        let restarts = self
            .restarts
            .map(|value| whole("restarts", value, 0, RESTARTS_MAX))
            .transpose()?;
        let lambda1 = |default| {
            let value = self.lambda1.unwrap_or(default);
            at_least_zero("lambda1", value, LAMBDA1_MAX)
        };
        let threshold = |max| {
            let value = self.threshold.unwrap_or(THRESHOLD_DEFAULT);
            at_least_zero("threshold", value, max)
        };
        Ok(match self.algorithm {
            Algorithm::Boss => DiscoverOptions::Boss(BossOptions {
                score: self.score_options()?,
                restarts,
                background,
            }),
            Algorithm::Grasp => DiscoverOptions::Grasp(GraspOptions {
                score: self.score_options()?,
                restarts,
                depth: whole("depth", self.depth.unwrap_or(DEPTH_DEFAULT), 1, DEPTH_MAX)?,
                background,
            }),
            Algorithm::Ges => DiscoverOptions::Ges(GesOptions {
                score: self.score_options()?,
                turning: self.turning.unwrap_or(true),
                background,
            }),
            Algorithm::Eqvar => DiscoverOptions::Eqvar(EqvarOptions {
                penalty_discount: self.penalty_discount()?.unwrap_or(PENALTY_DISCOUNT_DEFAULT),
                background,
            }),
            Algorithm::Notears => DiscoverOptions::Notears(NotearsOptions {
                lambda1: lambda1(LAMBDA1_DEFAULT)?,
                threshold: threshold(THRESHOLD_MAX)?,
                max_iter: whole(
                    "max_iter",
                    self.max_iter.unwrap_or(MAX_ITER_DEFAULT),
                    1,
                    MAX_ITER_MAX,
                )?,
                background,
            }),
            Algorithm::Correlation => DiscoverOptions::Correlation(CorrelationOptions {
                threshold: threshold(1.0)?,
            }),
            Algorithm::Pc => DiscoverOptions::Pc(self.constraint(None, background)?),
            Algorithm::Fci => {
                let size = Some(FCI_COND_SIZE_DEFAULT);
                DiscoverOptions::Fci(self.constraint(size, background)?)
            }
            Algorithm::DirectLingam => DiscoverOptions::DirectLingam(LingamOptions {
                penalty_discount: self.penalty_discount()?.unwrap_or(PENALTY_DISCOUNT_DEFAULT),
                background,
            }),
            Algorithm::Dagma => DiscoverOptions::Dagma(DagmaOptions {
                lambda1: lambda1(DAGMA_LAMBDA1_DEFAULT)?,
                threshold: threshold(THRESHOLD_MAX)?,
                background,
            }),
        })
    }

    /// The inline data, or `None` when the request names a stored dataset. Exactly one of the two
    /// has to be there.
    pub fn inline_dataset(&self, limits: &Limits) -> Result<Option<Dataset>, LabError> {
        match (&self.data, &self.dataset) {
            (Some(_), Some(_)) => Err(LabError::invalid(
                "dataset",
                "give either data or dataset, not both",
            )),
            (None, None) => Err(LabError::invalid_with_hint(
                "data",
                "missing",
                "give data (rows of numbers) or dataset (the digest of a stored dataset)",
            )),
            (None, Some(_)) if self.variable_names.is_some() => Err(LabError::invalid(
                "variable_names",
                "a stored dataset brings its own names",
            )),
            (None, Some(digest)) => {
                let hex = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
                if hex {
                    Ok(None)
                } else {
                    Err(LabError::invalid(
                        "dataset",
                        "is not a digest of 64 hexadecimal digits",
                    ))
                }
            }
            (Some(rows), None) => {
                if self.missing == Some(Missing::Refuse) {
                    refuse_missing(rows)?;
                }
                Dataset::from_rows(rows, self.variable_names.as_deref(), limits).map(Some)
            }
        }
    }

    fn penalty_discount(&self) -> Result<Option<f64>, LabError> {
        let check = |value| above_zero("penalty_discount", value, PENALTY_DISCOUNT_MAX);
        self.penalty_discount.map(check).transpose()
    }

    /// The score as stated; what it is, and which parameters it has, may depend on the data.
    fn score_options(&self) -> Result<ScoreOptions, LabError> {
        let check = |value| {
            let field = "equivalent_sample_size";
            above_zero(field, value, EQUIVALENT_SAMPLE_SIZE_MAX)
        };
        let options = ScoreOptions {
            choice: self.score.unwrap_or_default(),
            penalty_discount: self.penalty_discount()?,
            equivalent_sample_size: self.equivalent_sample_size.map(check).transpose()?,
            structure_prior: self
                .structure_prior
                .map(|value| at_least_zero("structure_prior", value, STRUCTURE_PRIOR_MAX))
                .transpose()?,
        };
        if options.choice != ScoreChoice::Auto {
            options.refuse_foreign_parameters()?;
        }
        Ok(options)
    }

    /// The background knowledge as stated; names are looked up once there are data.
    fn background(&self) -> Result<Background, LabError> {
        let background = Background {
            required: self.required.clone(),
            forbidden: self.forbidden.clone(),
            tiers: self.tiers.clone(),
        };
        background.check_shape()?;
        Ok(background)
    }

    /// What is asked to be done with the rows.
    pub fn handling(&self) -> Result<Handling, LabError> {
        Ok(Handling {
            bootstrap: whole("bootstrap", self.bootstrap.unwrap_or(0), 0, BOOTSTRAP_MAX)?,
            missing: self.missing.unwrap_or_default(),
        })
    }

    fn constraint(
        &self,
        size_default: Option<u32>,
        background: Background,
    ) -> Result<ConstraintOptions, LabError> {
        let alpha = self.alpha.unwrap_or(ALPHA_DEFAULT);
        if !(ALPHA_MIN..=ALPHA_MAX).contains(&alpha) {
            return Err(LabError::invalid(
                "alpha",
                format!("has to be from {ALPHA_MIN:e} to {ALPHA_MAX}, is {alpha}"),
            ));
        }
        let max_cond_size = match self.max_cond_size {
            Some(size) => Some(whole("max_cond_size", size, 0, COND_SIZE_MAX)?),
            None => size_default,
        };
        Ok(ConstraintOptions {
            alpha,
            max_cond_size,
            test: self.test.unwrap_or_default(),
            background,
        })
    }

    fn refuse_foreign_parameters(&self) -> Result<(), LabError> {
        use Algorithm::{
            Boss, Correlation, Dagma, DirectLingam, Eqvar, Fci, Ges, Grasp, Notears, Pc,
        };
        // The first honour every kind of knowledge.
        let directed: &[Algorithm] = &[Boss, Grasp, Ges, Eqvar, Pc, DirectLingam, Notears, Dagma];
        let scored = &directed[..3];
        let required = [&directed[..6], &[Fci]].concat();
        let tiered = [directed, &[Fci]].concat();
        let given: [(&str, bool, &[Algorithm]); 16] = [
            ("required", !self.required.is_empty(), &required),
            ("forbidden", !self.forbidden.is_empty(), directed),
            ("tiers", !self.tiers.is_empty(), &tiered),
            ("max_iter", self.max_iter.is_some(), &[Notears]),
            (
                "threshold",
                self.threshold.is_some(),
                &[Notears, Dagma, Correlation],
            ),
            ("score", self.score.is_some(), scored),
            (
                "penalty_discount",
                self.penalty_discount.is_some(),
                &[Boss, Grasp, Ges, Eqvar, DirectLingam],
            ),
            (
                "equivalent_sample_size",
                self.equivalent_sample_size.is_some(),
                scored,
            ),
            ("structure_prior", self.structure_prior.is_some(), scored),
            ("restarts", self.restarts.is_some(), &[Boss, Grasp]),
            ("depth", self.depth.is_some(), &[Grasp]),
            ("turning", self.turning.is_some(), &[Ges]),
            ("lambda1", self.lambda1.is_some(), &[Notears, Dagma]),
            ("alpha", self.alpha.is_some(), &[Pc, Fci]),
            ("max_cond_size", self.max_cond_size.is_some(), &[Pc, Fci]),
            ("test", self.test.is_some(), &[Pc, Fci]),
        ];
        for (field, is_given, owners) in given {
            if is_given && !owners.contains(&self.algorithm) {
                let owners: Vec<&str> = owners.iter().map(|a| a.name()).collect();
                return Err(LabError::invalid_with_hint(
                    field,
                    format!("is not a parameter of {}", self.algorithm.name()),
                    format!("it belongs to {}", owners.join(" and ")),
                ));
            }
        }
        Ok(())
    }
}

/// An error that names the first cell without a value.
fn refuse_missing(rows: &[Vec<Option<f64>>]) -> Result<(), LabError> {
    for (i, row) in rows.iter().enumerate() {
        if let Some(j) = row.iter().position(Option::is_none) {
            return Err(LabError::invalid_with_hint(
                format!("data[{i}][{j}]"),
                "misses a value",
                "fill it in, or use missing: listwise or pairwise",
            ));
        }
    }
    Ok(())
}

fn above_zero(field: &str, value: f64, max: f64) -> Result<f64, LabError> {
    if value > 0.0 && value <= max {
        return Ok(value);
    }
    Err(LabError::invalid(
        field,
        format!("has to be above 0 and at most {max}, is {value}"),
    ))
}

fn at_least_zero(field: &str, value: f64, max: f64) -> Result<f64, LabError> {
    if (0.0..=max).contains(&value) {
        // Adding 0 turns -0 into 0.
        return Ok(value + 0.0);
    }
    Err(LabError::invalid(
        field,
        format!("has to be from 0 to {max}, is {value}"),
    ))
}

fn whole(field: &str, value: u32, min: u32, max: u32) -> Result<u32, LabError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(LabError::invalid(
        field,
        format!("has to be from {min} to {max}, is {value}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Result<DiscoverOptions, LabError> {
        serde_json::from_str::<DiscoverRequest>(json)
            .unwrap()
            .options()
    }

    #[test]
    fn empty_request_is_boss_with_defaults() {
        assert_eq!(options("{}"), Ok(DiscoverOptions::default()));
    }

    #[test]
    fn defaults_of_notears_are_those_of_its_authors() {
        assert_eq!(
            options(r#"{"algorithm": "notears"}"#),
            Ok(DiscoverOptions::Notears(NotearsOptions {
                lambda1: 0.1,
                threshold: 0.3,
                max_iter: 100,
                background: Background::default(),
            }))
        );
    }

    #[test]
    fn unknown_fields_and_algorithms_are_refused() {
        assert!(serde_json::from_str::<DiscoverRequest>(r#"{"treshold": 1}"#).is_err());
        assert!(serde_json::from_str::<DiscoverRequest>(r#"{"algorithm": "pcc"}"#).is_err());
    }

    #[test]
    fn foreign_and_wild_parameters_are_named() {
        let cases = [
            (
                r#"{"threshold": 0.3}"#,
                "threshold: is not a parameter of boss",
            ),
            (
                r#"{"algorithm": "eqvar", "max_iter": 3}"#,
                "max_iter: is not a parameter of eqvar",
            ),
            (
                r#"{"algorithm": "notears", "restarts": 3}"#,
                "restarts: is not a parameter of notears",
            ),
            (
                r#"{"algorithm": "notears", "required": [["a", "b"]]}"#,
                "required: is not a parameter of notears",
            ),
            (
                r#"{"algorithm": "correlation", "tiers": [["a"]]}"#,
                "tiers: is not a parameter of correlation",
            ),
            (
                r#"{"forbidden": [["a", "b"], ["a", "a"]]}"#,
                "forbidden[1]: 'a' cannot be its own cause",
            ),
            (
                r#"{"score": "bdeu", "penalty_discount": 1}"#,
                "penalty_discount: is not a parameter of score bdeu",
            ),
            (
                r#"{"algorithm": "ges", "score": "bic", "equivalent_sample_size": 1}"#,
                "equivalent_sample_size: is not a parameter of score bic",
            ),
            (
                r#"{"algorithm": "ges", "depth": 2}"#,
                "depth: is not a parameter of ges",
            ),
            (
                r#"{"algorithm": "grasp", "depth": 0}"#,
                "depth: has to be from 1 to 10, is 0",
            ),
            (
                r#"{"penalty_discount": 0}"#,
                "penalty_discount: has to be above 0 and at most 1000, is 0",
            ),
            (
                r#"{"restarts": 1001}"#,
                "restarts: has to be from 0 to 1000, is 1001",
            ),
            (
                r#"{"algorithm": "correlation", "threshold": 1.5}"#,
                "threshold: has to be from 0 to 1, is 1.5",
            ),
            (
                r#"{"algorithm": "notears", "lambda1": -1}"#,
                "lambda1: has to be from 0 to 1000, is -1",
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(options(json).unwrap_err().to_string(), expected);
        }
        let request = DiscoverRequest {
            penalty_discount: Some(f64::NAN),
            ..Default::default()
        };
        assert!(request.options().is_err());
    }

    #[test]
    fn exactly_one_source_of_data_is_needed() {
        let error = |json: &str| {
            let request: DiscoverRequest = serde_json::from_str(json).unwrap();
            request
                .inline_dataset(&Limits::default())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error("{}"), "data: missing");
        assert_eq!(
            error(r#"{"data": [[1]], "dataset": "ab"}"#),
            "dataset: give either data or dataset, not both"
        );
        assert_eq!(
            error(r#"{"dataset": "ab"}"#),
            "dataset: is not a digest of 64 hexadecimal digits"
        );
    }
}
