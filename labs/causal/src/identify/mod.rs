//! From a graph to a verdict: is an effect identifiable from what is observed, by which
//! estimand, with which covariates, and if it is not, what stands in the way.
//!
//! The verdict rests on the theorems named in each file. An estimand that leaves here has in
//! addition been compared with the truth on random models of the graph, unless they are too
//! large, and then the answer says so. No data is read and nothing is estimated.

mod adjustment;
mod answer;
mod check;
mod expression;
mod factor;
mod front_door;
mod gaussian;
mod id;
mod implications;
mod instruments;
mod render;
mod report;
mod request;
mod separators;
mod work;

pub use answer::{
    ALGORITHM_VERSION, CanonicalGraph, Criterion, Facts, Hedge, Instrument, MarkedAdjustment,
    Method, SetList, Validation, Verified,
};
use expression::Arena;
use id::Query;
pub use implications::{IMPLICATIONS_MAX, Implication, ImplicationTest, ImplicationsScope};
pub use render::Estimand;
use render::tree;
use request::Checked;
pub use request::{INCLUDED_NODES_MAX, Include, Limits, Names, SETS_DEFAULT, ValidateRequest};
pub(crate) use request::{members, or_marked};
use work::Work;

use crate::LabError;
use crate::control::Control;
use crate::data::Dataset;
use crate::graph::{Admg, NodeSet};

/// Levels of an estimand that is returned. JSON readers commonly refuse more than 128 levels,
/// and one level of an estimand takes up to two of JSON.
pub const ESTIMAND_DEPTH_MAX: u64 = 50;

/// A request whose graph has been read and whose names are known.
pub struct Prepared<'a> {
    request: &'a ValidateRequest,
    limits: &'a Limits,
    checked: Checked,
    data: Option<Dataset>,
}

impl<'a> Prepared<'a> {
    /// Reads the graph and checks the query.
    pub fn new(
        request: &'a ValidateRequest,
        limits: &'a Limits,
        control: &dyn Control,
    ) -> Result<Self, LabError> {
        control.check()?;
        let checked = request.checked(limits, control)?;
        let data = request.inline_dataset(&crate::data::Limits::default())?;
        Ok(Self {
            request,
            limits,
            checked,
            data,
        })
    }

    /// A hash of everything but the seed that the answer depends on, and of nothing else that the
    /// request says: with one seed, equal keys have equal answers to the byte, however the graphs
    /// are written. For a stored dataset it stands for the digest that the request names.
    pub fn canonical_key(&self, control: &dyn Control) -> Result<[u8; 32], LabError> {
        let Checked {
            parsed,
            query,
            seed: _,
            sets,
            extras,
        } = &self.checked;
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("hindcast validate {ALGORITHM_VERSION}\n").as_bytes());
        parsed.graph.hash_into(&mut hasher);
        for set in [&query.treatment, &query.outcome, &query.given] {
            for word in set.words() {
                hasher.update(&word.to_le_bytes());
            }
        }
        let data = match &self.data {
            Some(data) => Some(data.digest_within(control)?),
            None => None,
        };
        let rest = format!(
            "{:?}",
            (
                sets,
                extras,
                &parsed.latents,
                &parsed.adjusted,
                data,
                self.request
                    .dataset
                    .as_ref()
                    .map(|digest| digest.to_lowercase()),
                self.limits.estimand_nodes_max,
            )
        );
        hasher.update(rest.as_bytes());
        Ok(hasher.finalize().into())
    }

    /// Answers. `stored` is the dataset whose digest the request names.
    pub fn validate(
        self,
        stored: Option<&Dataset>,
        control: &dyn Control,
    ) -> Result<Validation, LabError> {
        self.answer(stored, true, control)
    }

    fn answer(
        self,
        stored: Option<&Dataset>,
        with_check: bool,
        control: &dyn Control,
    ) -> Result<Validation, LabError> {
        let data = match (&self.data, &self.request.dataset) {
            (Some(inline), _) => Some(inline),
            (None, Some(_)) => Some(stored.ok_or_else(|| {
                LabError::Internal("the stored dataset was not handed in".to_owned())
            })?),
            (None, None) => None,
        };
        Work::start(self.checked, self.limits, control)?.finish(with_check, data)
    }
}

/// Validates the effect and checks its estimand on random models. A request that names a stored
/// dataset is for [`Prepared::validate`].
pub fn validate(
    request: &ValidateRequest,
    limits: &Limits,
    control: &dyn Control,
) -> Result<Validation, LabError> {
    Prepared::new(request, limits, control)?.validate(None, control)
}

/// The same without the numeric check: `verified` is null.
pub fn validate_unchecked(
    request: &ValidateRequest,
    limits: &Limits,
    control: &dyn Control,
) -> Result<Validation, LabError> {
    Prepared::new(request, limits, control)?.answer(None, false, control)
}

/// What ID, or IDC when `given` is not empty, says by itself, without looking for a simpler
/// formula first. `None` means that the effect is not identifiable.
pub fn identify(
    graph: &Admg,
    treatment: &NodeSet,
    outcome: &NodeSet,
    given: &NodeSet,
    control: &dyn Control,
) -> Result<Option<Estimand>, LabError> {
    let query = Query {
        treatment: treatment.clone(),
        outcome: outcome.clone(),
        given: given.clone(),
    };
    let mut arena = Arena::default();
    let verdict = id::identify(graph, &query, &mut arena, control)?;
    let Ok(id) = verdict else {
        return Ok(None);
    };
    let sizes = [
        (
            "estimand",
            arena.size(id),
            Limits::default().estimand_nodes_max,
        ),
        ("estimand depth", arena.depth(id), ESTIMAND_DEPTH_MAX),
    ];
    for (field, actual, limit) in sizes {
        if actual > limit {
            return Err(LabError::TooLarge {
                field: field.to_owned(),
                actual,
                limit,
            });
        }
    }
    Ok(Some(tree(graph, &arena, id)))
}
