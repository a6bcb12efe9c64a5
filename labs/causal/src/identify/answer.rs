//! The answer to a validation, as it is serialised: no ids, times or host facts, every list in
//! a fixed order.

use serde::{Deserialize, Serialize};

use super::implications::{Implication, ImplicationsScope};
use super::render::Estimand;

/// The version of what the answer says; it changes when the same request may give other bytes.
pub const ALGORITHM_VERSION: u32 = 3;

/// What a graph says about an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Validation {
    /// See [`ALGORITHM_VERSION`].
    pub algorithm_version: u32,
    /// The seed of the numeric check.
    pub seed: u64,
    /// The graph over the observed nodes, everything sorted.
    pub graph: CanonicalGraph,
    /// The nodes that are set.
    pub treatment: Vec<String>,
    /// The nodes that are looked at.
    pub outcome: Vec<String>,
    /// The nodes that are conditioned on.
    pub given: Vec<String>,
    /// Whether the observed distribution and the graph determine the effect.
    pub identifiable: bool,
    /// Where the estimand came from; null when there is none.
    pub method: Option<Method>,
    /// The effect as a functional of the observed distribution; sums bind lexically.
    pub estimand: Option<Estimand>,
    /// The estimand on one line.
    pub estimand_text: Option<String>,
    /// The estimand as LaTeX mathematics.
    pub estimand_latex: Option<String>,
    /// Variables left in the estimand that the query does not name: each may be held at any
    /// value, and the result is the same.
    pub free_variables: Vec<String>,
    /// The witness when the effect is not identifiable.
    pub hedge: Option<Hedge>,
    /// The verdict in words.
    pub reasons: Vec<String>,
    /// Minimal adjustment sets by the complete criterion, for the effect without `given`.
    pub adjustment_sets: SetList,
    /// Minimal sets by the back-door criterion, for the effect without `given`.
    pub back_door_sets: SetList,
    /// Minimal sets by the front-door criterion, for the effect without `given`.
    pub front_door_sets: SetList,
    /// The adjustment set with the least asymptotic variance; null when that is not known.
    pub optimal_adjustment_set: Option<Vec<String>>,
    /// The set that a dagitty text marks as adjusted, and whether it is right.
    pub marked_adjustment: Option<MarkedAdjustment>,
    /// Instruments for the effect without `given`; null unless there is one treatment and one
    /// outcome, or if they were not looked for.
    pub instruments: Option<Vec<Instrument>>,
    /// Independencies that data can contradict, with their test if the request has data; null if
    /// they were not looked for.
    pub implications: Option<Vec<Implication>>,
    /// What the list of implications leaves out; null with it.
    pub implications_scope: Option<ImplicationsScope>,
    /// What the graph says about treatment and outcome.
    pub facts: Facts,
    /// The numeric check of the estimand; null when none was made.
    pub verified: Option<Verified>,
    /// What a reader should know besides.
    pub warnings: Vec<String>,
}

/// A graph with nodes and edges sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CanonicalGraph {
    /// Observed nodes.
    pub nodes: Vec<String>,
    /// Pairs `[cause, effect]`.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<Vec<String>>))]
    pub directed: Vec<[String; 2]>,
    /// Pairs with a latent common cause.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<Vec<String>>))]
    pub bidirected: Vec<[String; 2]>,
}

/// How an estimand was found; the first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Method {
    /// No treatment causes an outcome.
    NoEffect,
    /// The smallest adjustment set of those listed.
    Adjustment,
    /// The smallest front-door set of those listed.
    FrontDoor,
    /// The ID algorithm.
    Id,
    /// The IDC algorithm, whenever `given` is not empty.
    Idc,
}

/// A criterion for sets of covariates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Criterion {
    /// Shpitser, VanderWeele and Robins: necessary and sufficient for adjustment.
    Complete,
    /// Pearl's back-door criterion.
    BackDoor,
    /// Pearl's front-door criterion.
    FrontDoor,
}

/// Sets that satisfy a criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SetList {
    /// The criterion.
    pub criterion: Criterion,
    /// The sets, by size and then by names.
    pub sets: Vec<Vec<String>>,
    /// Every set is minimal: none of its proper subsets satisfies the criterion.
    pub minimal: bool,
    /// Whether these are all of them.
    pub complete_list: bool,
}

/// The set that a text marked as adjusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MarkedAdjustment {
    /// Its members.
    pub set: Vec<String>,
    /// Whether it satisfies the complete criterion.
    pub valid: bool,
}

/// A conditional instrument: in a linear model the effect is
/// `cov(instrument, outcome | given) / cov(instrument, treatment | given)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Instrument {
    /// Its name.
    pub instrument: String,
    /// What has to be conditioned on.
    pub given: Vec<String>,
}

/// Why an effect is not identifiable: two C-forests with the same roots, of which only the
/// larger one meets the treatment. The smaller one is a district of the causes of the outcome
/// once the treatment is taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Hedge {
    /// F: the nodes of the larger forest.
    pub forest: Vec<String>,
    /// F': the nodes of the smaller forest.
    pub subforest: Vec<String>,
    /// The roots of both.
    pub roots: Vec<String>,
    /// The treatment of the effect that the hedge is for; IDC may have widened it.
    pub treatment: Vec<String>,
    /// The outcome of the effect that the hedge is for.
    pub outcome: Vec<String>,
}

/// Separation and reachability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Facts {
    /// A directed path leads from a treatment to an outcome.
    pub directed_path_exists: bool,
    /// Treatment and outcome are m-separated by nothing.
    pub treatment_outcome_d_separated: bool,
    /// Treatment and outcome are m-separated by `given`.
    pub treatment_outcome_d_separated_given: bool,
}

/// The numeric check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Verified {
    /// What was done.
    pub method: String,
    /// The largest difference between the estimand and the interventional truth.
    pub max_error: f64,
    /// How many random models.
    pub models: u32,
}

#[cfg(all(test, feature = "schema"))]
mod tests {
    use utoipa::ToSchema;

    use super::Validation;
    use crate::identify::ValidateRequest;

    #[test]
    fn schemas_of_request_and_answer_end() {
        let mut schemas = Vec::new();
        Validation::schemas(&mut schemas);
        ValidateRequest::schemas(&mut schemas);
        let names: Vec<&str> = schemas.iter().map(|(name, _)| name.as_str()).collect();
        for wanted in ["Estimand", "SetList", "GraphInput", "EdgeType"] {
            assert!(names.contains(&wanted), "{names:?}");
        }
    }
}
