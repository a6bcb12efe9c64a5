//! The algorithms and their checked parameters.

use serde::{Deserialize, Serialize};

use super::knowledge::Background;
use super::scoring::ScoreOptions;
use crate::data::Dataset;
use crate::error::LabError;
use crate::graph::GraphKind;

/// Searches of boss that may bring nothing. With more than 30 variables that are numbers the graph is
/// the same after 8 as after 40 in made data of degree 4 to 8, and restarts are most of the time; with
/// categories it is not.
const BOSS_RESTARTS_DEFAULT: u32 = 20;
const BOSS_RESTARTS_OF_MANY_VARIABLES: u32 = 8;
const BOSS_VARIABLES_OF_ALL_RESTARTS: usize = 30;
/// A search of grasp costs much more with many variables: 5 restarts, with more than 200
/// variables as many as a thousand of them over their number.
const GRASP_RESTARTS_DEFAULT: u32 = 5;
const GRASP_VARIABLES_OF_ALL_RESTARTS: usize = 1000;

/// The algorithms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Best order score search; scale-invariant.
    #[default]
    Boss,
    /// Greedy relaxations of the sparsest permutation; scale-invariant.
    Grasp,
    /// Greedy equivalence search; scale-invariant.
    Ges,
    /// Top-down ordering for equal error variances; raw scale only.
    Eqvar,
    /// Continuous optimisation with an acyclicity constraint; raw scale only.
    Notears,
    /// Marginal correlations, undirected: a floor to compare with.
    Correlation,
    /// Tests of conditional independence; scale-invariant.
    Pc,
    /// The same, with hidden common causes allowed.
    Fci,
    /// An order by pairwise measures of non-Gaussianity; linear.
    DirectLingam,
    /// Continuous optimisation with a log-determinant barrier; raw scale only.
    Dagma,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Self::Boss => "boss",
            Self::Grasp => "grasp",
            Self::Ges => "ges",
            Self::Eqvar => "eqvar",
            Self::Notears => "notears",
            Self::Correlation => "correlation",
            Self::Pc => "pc",
            Self::Fci => "fci",
            Self::DirectLingam => "direct_lingam",
            Self::Dagma => "dagma",
        }
    }
}

/// Checked parameters of one algorithm.
#[derive(Debug, Clone, PartialEq)]
pub enum DiscoverOptions {
    Boss(BossOptions),
    Grasp(GraspOptions),
    Ges(GesOptions),
    Eqvar(EqvarOptions),
    Notears(NotearsOptions),
    Correlation(CorrelationOptions),
    Pc(ConstraintOptions),
    Fci(ConstraintOptions),
    DirectLingam(LingamOptions),
    Dagma(DagmaOptions),
}

#[derive(Debug, Clone, PartialEq)]
pub struct BossOptions {
    pub score: ScoreOptions,
    /// By the number of variables when it is absent.
    pub restarts: Option<u32>,
    pub background: Background,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GraspOptions {
    pub score: ScoreOptions,
    /// By the number of variables when it is absent.
    pub restarts: Option<u32>,
    pub depth: u32,
    pub background: Background,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GesOptions {
    pub score: ScoreOptions,
    pub turning: bool,
    pub background: Background,
}

#[derive(Debug, Clone, PartialEq)]
pub struct EqvarOptions {
    pub penalty_discount: f64,
    pub background: Background,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NotearsOptions {
    pub lambda1: f64,
    pub threshold: f64,
    pub max_iter: u32,
    pub background: Background,
}

/// The independence test of pc and fci.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TestChoice {
    /// fisher_z for numbers, g_square when every column is text.
    #[default]
    Auto,
    /// Partial correlations: Gaussian data.
    FisherZ,
    /// The likelihood ratio test on counts: categories.
    GSquare,
}

impl TestChoice {
    /// Columns of text and columns of numbers together have no test.
    fn resolved(self, data: &Dataset) -> Result<Self, LabError> {
        match self {
            Self::FisherZ | Self::GSquare => Ok(self),
            Self::Auto if (0..data.width()).all(|j| data.labels(j).is_some()) => Ok(Self::GSquare),
            Self::Auto => {
                data.require_numbers()?;
                Ok(Self::FisherZ)
            }
        }
    }
}

/// Of pc and fci.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstraintOptions {
    pub alpha: f64,
    /// No limit but that of the rows when absent.
    pub max_cond_size: Option<u32>,
    pub test: TestChoice,
    pub background: Background,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LingamOptions {
    pub penalty_discount: f64,
    pub background: Background,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DagmaOptions {
    pub lambda1: f64,
    pub threshold: f64,
    pub background: Background,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CorrelationOptions {
    pub threshold: f64,
}

impl Default for DiscoverOptions {
    fn default() -> Self {
        Self::Boss(BossOptions {
            score: ScoreOptions::default(),
            restarts: None,
            background: Background::default(),
        })
    }
}

impl DiscoverOptions {
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Boss(_) => Algorithm::Boss,
            Self::Grasp(_) => Algorithm::Grasp,
            Self::Ges(_) => Algorithm::Ges,
            Self::Eqvar(_) => Algorithm::Eqvar,
            Self::Notears(_) => Algorithm::Notears,
            Self::Correlation(_) => Algorithm::Correlation,
            Self::Pc(_) => Algorithm::Pc,
            Self::Fci(_) => Algorithm::Fci,
            Self::DirectLingam(_) => Algorithm::DirectLingam,
            Self::Dagma(_) => Algorithm::Dagma,
        }
    }

    pub(super) fn graph_kind(&self) -> GraphKind {
        match self {
            Self::Boss(_) | Self::Grasp(_) | Self::Ges(_) | Self::Pc(_) => GraphKind::Cpdag,
            Self::Eqvar(_) | Self::Notears(_) | Self::DirectLingam(_) | Self::Dagma(_) => {
                GraphKind::Dag
            }
            Self::Fci(_) => GraphKind::Pag,
            Self::Correlation(_) => GraphKind::Skeleton,
        }
    }

    /// The score of a search by score.
    pub fn score(&self) -> Option<&ScoreOptions> {
        match self {
            Self::Boss(options) => Some(&options.score),
            Self::Grasp(options) => Some(&options.score),
            Self::Ges(options) => Some(&options.score),
            Self::Eqvar(_)
            | Self::Notears(_)
            | Self::Correlation(_)
            | Self::Pc(_)
            | Self::Fci(_)
            | Self::DirectLingam(_)
            | Self::Dagma(_) => None,
        }
    }

    /// With what depends on the data filled in, where it was left open.
    pub(super) fn resolved(&self, data: &Dataset) -> Result<Self, LabError> {
        let mut options = self.clone();
        match &mut options {
            Self::Boss(boss) => {
                boss.score = boss.score.resolved(data)?;
                boss.restarts = Some(boss.restarts_for(data.width()));
            }
            Self::Ges(ges) => ges.score = ges.score.resolved(data)?,
            Self::Grasp(grasp) => {
                grasp.score = grasp.score.resolved(data)?;
                grasp.restarts = Some(grasp.restarts_for(data.width()));
            }
            Self::Pc(options) | Self::Fci(options) => options.test = options.test.resolved(data)?,
            Self::Eqvar(_)
            | Self::Notears(_)
            | Self::Correlation(_)
            | Self::DirectLingam(_)
            | Self::Dagma(_) => {}
        }
        Ok(options)
    }

    /// What is known beforehand; `None` for an algorithm that cannot use it.
    pub fn background(&self) -> Option<&Background> {
        match self {
            Self::Boss(options) => Some(&options.background),
            Self::Grasp(options) => Some(&options.background),
            Self::Ges(options) => Some(&options.background),
            Self::Eqvar(options) => Some(&options.background),
            Self::Notears(options) => Some(&options.background),
            Self::Pc(options) | Self::Fci(options) => Some(&options.background),
            Self::DirectLingam(options) => Some(&options.background),
            Self::Dagma(options) => Some(&options.background),
            Self::Correlation(_) => None,
        }
    }
}

impl BossOptions {
    /// Restarts, for data of so many variables; the score is resolved.
    pub(super) fn restarts_for(&self, width: usize) -> u32 {
        let all = self.score.reads_categories() || width <= BOSS_VARIABLES_OF_ALL_RESTARTS;
        self.restarts.unwrap_or(match all {
            true => BOSS_RESTARTS_DEFAULT,
            false => BOSS_RESTARTS_OF_MANY_VARIABLES,
        })
    }
}

impl GraspOptions {
    /// Restarts, for data of so many variables.
    pub(super) fn restarts_for(&self, width: usize) -> u32 {
        let few = u32::try_from(GRASP_VARIABLES_OF_ALL_RESTARTS / width.max(1));
        self.restarts
            .unwrap_or(few.unwrap_or(u32::MAX).min(GRASP_RESTARTS_DEFAULT))
    }
}
