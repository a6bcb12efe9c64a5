//! The answer of discovery. It holds no times, ids or facts about the host, and no NaN.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bootstrap::{EdgeStability, Stability};
use super::handling::{Handling, Missing};
use super::options::{Algorithm, DiscoverOptions, TestChoice};
use super::rendering::Rendering;
use super::scoring::ScoreChoice;
use crate::data::Dataset;
use crate::error::LabError;
use crate::graph::{EdgeType, GraphKind};

/// Raised when a change alters what an algorithm answers.
pub const ALGORITHM_VERSION: u32 = 7;

/// A learned graph and how it came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Discovery {
    pub graph: Graph,
    /// What was optimised, see `score_name`; absent for correlation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_name: Option<ScoreName>,
    /// direct_lingam, eqvar: the causal order that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<String>>,
    /// Sweeps over all variables (boss), tucks (grasp), steps (ges), outer iterations (notears),
    /// sizes of conditioning set (pc, fci) or stages (dagma); 1 for the others.
    pub iterations: u64,
    pub convergence: Convergence,
    pub seed: u64,
    /// BLAKE3 of names and values, hexadecimal.
    pub data_hash: String,
    pub rows_used: u64,
    /// Rows left out because a value was missing.
    pub rows_dropped: u64,
    /// How often the replicates of the bootstrap agree; absent without a bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability: Option<Stability>,
    /// The graph in the languages that were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub formats: BTreeMap<Rendering, String>,
    pub algorithm: Algorithm,
    pub algorithm_version: u32,
    pub parameters: Parameters,
    pub warnings: Vec<Warning>,
}

/// Nodes in the order of the columns, edges sorted by their ends in that order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Graph {
    pub kind: GraphKind,
    pub nodes: Vec<String>,
    pub edges: Vec<Edge>,
}

/// An edge. The weight of boss, grasp and ges is a standardised regression coefficient when
/// directed, a partial correlation when undirected; with a score for discrete data it is what the
/// score loses without the edge, in one graph of the class. Of eqvar and notears a coefficient in the data's own units; of
/// correlation the correlation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Edge {
    pub from: String,
    pub to: String,
    #[serde(rename = "type")]
    pub kind: EdgeType,
    pub weight: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability: Option<EdgeStability>,
}

/// What `score` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScoreName {
    /// 2 ln L - penalty_discount * edges * ln n, standardised data, constants left out; higher is
    /// better.
    Bic,
    /// ln P(data | graph) with Dirichlet priors, discrete data; higher is better.
    Bdeu,
    /// 2 ln L - penalty_discount * free probabilities * ln n, discrete data; higher is better.
    DiscreteBic,
    /// The same as bic with one error variance for all variables, raw data.
    EqualVarianceBic,
    /// Least squares loss plus L1 penalty; lower is better.
    Objective,
}

/// Whether and why the algorithm ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Convergence {
    pub converged: bool,
    pub reason: String,
    /// boss, grasp: searches run, the first included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searches: Option<u64>,
    /// notears, dagma: how far from acyclic the weights are before the threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h: Option<f64>,
    /// notears, dagma: evaluations of the objective and its gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<u64>,
    /// notears, dagma: the objective where each part of the search ended; the least is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Vec<StartObjective>>,
}

/// The objective that one part of a search reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StartObjective {
    /// notears: `augmented_lagrangian` (the path), `order_descent`, and if that was higher
    /// `relaxed_order_descent`; dagma: `zero` (the path from no edge, as published), `eqvar`.
    pub start: String,
    pub objective: f64,
}

impl StartObjective {
    pub(super) fn new(start: &str, objective: f64) -> Self {
        Self {
            start: start.into(),
            objective,
        }
    }
}

/// Parameters of the chosen algorithm, defaults filled in; those of other algorithms are absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Parameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<ScoreChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty_discount: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equivalent_sample_size: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structure_prior: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turning: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda1: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cond_size: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_iter: Option<u32>,
    /// Background knowledge, as it was stated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<[String; 2]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<[String; 2]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<u32>,
    /// Absent for listwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
}

/// Something the reader of the graph has to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Warning {
    pub code: WarningCode,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// Variances rise along the edges: the order may be read off the units.
    Varsortability,
    /// All variances are equal, and the method needs them.
    StandardisedData,
    /// The residual variances differ although the method supposes them equal.
    UnequalVariances,
    /// The weights were not acyclic at the threshold asked for.
    ThresholdRaised,
    /// Fewer rows than variables.
    NBelowD,
    /// Columns with an exact linear relation.
    Collinear,
    /// Columns with the same content.
    DuplicateColumns,
    /// Rows with missing values were left out.
    ListwiseDeletion,
    /// The algorithm ended before its own criterion was met.
    NotConverged,
    /// Whole numbers with few values: perhaps categories coded as numbers.
    CategoricalCoded,
    /// Tests contradict each other, so orientations were left out.
    Conflicts,
    /// Larger sets were not conditioned on.
    CondSizeLimit,
    /// Residuals look Gaussian, and the method lives on their not being so.
    GaussianResiduals,
    /// The part of a variable's variance that the others explain rises along the edges.
    R2Sortability,
    /// Covariances were taken over the rows that two columns have in common.
    PairwiseDeletion,
    /// Some replicates of the bootstrap gave no answer.
    ReplicatesFailed,
}

/// What an algorithm hands back: edges by index of column.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub edges: Vec<IndexedEdge>,
    pub score: Option<(ScoreName, f64)>,
    pub order: Option<Vec<usize>>,
    pub iterations: u64,
    pub convergence: Convergence,
    pub warnings: Vec<Warning>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct IndexedEdge {
    pub from: usize,
    pub to: usize,
    pub kind: EdgeType,
    pub weight: f64,
}

/// What an answer can be made again from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provenance {
    pub seed: u64,
    pub digest: [u8; 32],
    pub handling: Handling,
}

impl Warning {
    pub(super) fn new(code: WarningCode, value: Option<f64>, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            value,
        }
    }
}

/// Names, sorts and checks what an algorithm answered.
pub(super) fn assemble(
    data: &Dataset,
    options: &DiscoverOptions,
    provenance: Provenance,
    (outcome, stability): (Outcome, Option<Stability>),
    warnings: Vec<Warning>,
) -> Result<Discovery, LabError> {
    let mut indexed = outcome.edges;
    indexed.sort_by_key(|edge| (edge.from, edge.to));
    let name = |i: usize| data.names()[i].clone();
    let edges = indexed
        .iter()
        .map(|edge| Edge {
            from: name(edge.from),
            to: name(edge.to),
            kind: edge.kind,
            weight: edge.weight + 0.0,
            stability: None,
        })
        .map(|edge| Edge {
            stability: stability.as_ref().map(|s| s.of(&edge)),
            ..edge
        })
        .collect();
    let mut discovery = Discovery {
        graph: Graph {
            kind: options.graph_kind(),
            nodes: data.names().to_vec(),
            edges,
        },
        score: outcome.score.map(|(_, score)| score + 0.0),
        score_name: outcome.score.map(|(name, _)| name),
        order: outcome
            .order
            .map(|order| order.into_iter().map(name).collect()),
        iterations: outcome.iterations,
        convergence: outcome.convergence,
        seed: provenance.seed,
        data_hash: blake3::Hash::from_bytes(provenance.digest)
            .to_hex()
            .to_string(),
        rows_used: data.rows_behind_moments() as u64,
        rows_dropped: data.rows_dropped() as u64,
        stability,
        formats: BTreeMap::new(),
        algorithm: options.algorithm(),
        algorithm_version: ALGORITHM_VERSION,
        parameters: Parameters {
            bootstrap: (provenance.handling.bootstrap > 0).then_some(provenance.handling.bootstrap),
            missing: (provenance.handling.missing != Missing::Listwise)
                .then_some(provenance.handling.missing),
            ..parameters(options)
        },
        warnings,
    };
    discovery.warnings.sort_by_key(|warning| warning.code);
    check_finite(&discovery)?;
    Ok(discovery)
}

fn parameters(options: &DiscoverOptions) -> Parameters {
    let known = options.background().cloned().unwrap_or_default();
    let mut parameters = own_parameters(options);
    (parameters.required, parameters.forbidden) = (known.required, known.forbidden);
    parameters.tiers = known.tiers;
    if let Some(score) = options.score() {
        parameters.score = Some(score.choice);
        parameters.penalty_discount = score.penalty_discount;
        parameters.equivalent_sample_size = score.equivalent_sample_size;
        parameters.structure_prior = score.structure_prior;
    }
    parameters
}

fn own_parameters(options: &DiscoverOptions) -> Parameters {
    match options {
        DiscoverOptions::Boss(o) => Parameters {
            restarts: o.restarts,
            ..Parameters::default()
        },
        DiscoverOptions::Grasp(o) => Parameters {
            restarts: o.restarts,
            depth: Some(o.depth),
            ..Parameters::default()
        },
        DiscoverOptions::Ges(o) => Parameters {
            turning: Some(o.turning),
            ..Parameters::default()
        },
        DiscoverOptions::Eqvar(o) => Parameters {
            penalty_discount: Some(o.penalty_discount),
            ..Parameters::default()
        },
        DiscoverOptions::Notears(o) => Parameters {
            lambda1: Some(o.lambda1),
            threshold: Some(o.threshold),
            max_iter: Some(o.max_iter),
            ..Parameters::default()
        },
        DiscoverOptions::Correlation(o) => Parameters {
            threshold: Some(o.threshold),
            ..Parameters::default()
        },
        DiscoverOptions::Pc(o) | DiscoverOptions::Fci(o) => Parameters {
            alpha: Some(o.alpha),
            max_cond_size: o.max_cond_size,
            test: Some(o.test),
            ..Parameters::default()
        },
        DiscoverOptions::DirectLingam(o) => Parameters {
            penalty_discount: Some(o.penalty_discount),
            ..Parameters::default()
        },
        DiscoverOptions::Dagma(o) => Parameters {
            lambda1: Some(o.lambda1),
            threshold: Some(o.threshold),
            ..Parameters::default()
        },
    }
}

/// JSON has no NaN; one here would be a defect of an algorithm.
fn check_finite(discovery: &Discovery) -> Result<(), LabError> {
    let numbers = discovery.graph.edges.iter().map(|edge| edge.weight);
    let numbers = numbers
        .chain(discovery.score)
        .chain(discovery.convergence.h);
    let mut numbers = numbers.chain(discovery.warnings.iter().filter_map(|w| w.value));
    match numbers.find(|x| !x.is_finite()) {
        None => Ok(()),
        Some(x) => Err(LabError::Internal(format!(
            "the answer of discovery holds {x}"
        ))),
    }
}
