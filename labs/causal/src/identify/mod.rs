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
mod render;
mod request;
mod separators;

use adjustment::{Adjustment, back_door_sets, on_causal_paths, optimal_set};
pub use answer::{
    ALGORITHM_VERSION, CanonicalGraph, Criterion, Facts, Hedge, MarkedAdjustment, Method, SetList,
    Validation, Verified,
};
use expression::{Arena, ExprId};
use id::{HedgeSets, Query};
pub use render::Estimand;
use render::{Style, line, tree};
use request::Checked;
pub use request::{Limits, Names, SETS_DEFAULT, ValidateRequest};
use separators::Listing;

use crate::LabError;
use crate::control::Control;
use crate::graph::{Admg, NodeSet};

/// Levels of an estimand that is returned. JSON readers commonly refuse more than 128 levels,
/// and one level of an estimand takes up to two of JSON.
pub const ESTIMAND_DEPTH_MAX: u64 = 50;

/// Validates the effect and checks its estimand on random models.
pub fn validate(
    request: &ValidateRequest,
    limits: &Limits,
    control: &dyn Control,
) -> Result<Validation, LabError> {
    Work::start(request, limits, control)?.finish(true)
}

/// The same without the numeric check: `verified` is null.
pub fn validate_unchecked(
    request: &ValidateRequest,
    limits: &Limits,
    control: &dyn Control,
) -> Result<Validation, LabError> {
    Work::start(request, limits, control)?.finish(false)
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

struct Work<'a> {
    checked: Checked,
    limits: &'a Limits,
    control: &'a dyn Control,
    adjustment: Listing,
    back_door: Listing,
    front_door: Listing,
    arena: Arena,
}

/// An estimand in the work's arena, or a hedge.
enum Found {
    Estimand(Method, ExprId),
    Hedge(HedgeSets),
}

impl<'a> Work<'a> {
    fn start(
        request: &ValidateRequest,
        limits: &'a Limits,
        control: &'a dyn Control,
    ) -> Result<Self, LabError> {
        control.check()?;
        let checked = request.checked(limits, control)?;
        let Query {
            treatment: x,
            outcome: y,
            ..
        } = &checked.query;
        let (edges, sets) = (checked.parsed.graph.edges(), checked.sets);
        control.check()?;
        let adjustment = Adjustment::new(edges, x, y).minimal_sets(x, y, sets, control)?;
        control.check()?;
        let back_door = back_door_sets(edges, x, y, sets, control)?;
        control.check()?;
        let front_door = front_door::front_door_sets(edges, x, y, sets, control)?;
        let arena = Arena::default();
        Ok(Self {
            checked,
            limits,
            control,
            adjustment,
            back_door,
            front_door,
            arena,
        })
    }

    fn graph(&self) -> &Admg {
        &self.checked.parsed.graph
    }

    /// The simplest formula first: each is sound by itself, ID is complete.
    fn find(&mut self) -> Result<Found, LabError> {
        let query = self.checked.query.clone();
        let Query {
            treatment: x,
            outcome: y,
            given,
        } = &query;
        let nothing = NodeSet::empty(self.graph().nodes());
        if given.is_empty() {
            if !self.has_directed_path() {
                let id = self.arena.conditional(y.clone(), nothing);
                return Ok(Found::Estimand(Method::NoEffect, id));
            }
            if let Some(set) = self.adjustment.sets.first().cloned() {
                return Ok(Found::Estimand(
                    Method::Adjustment,
                    self.adjusted(x, y, &set),
                ));
            }
            if let Some(set) = self.front_door.sets.first().cloned() {
                return Ok(Found::Estimand(Method::FrontDoor, self.through(x, y, &set)));
            }
        }
        let method = if given.is_empty() {
            Method::Id
        } else {
            Method::Idc
        };
        let graph = &self.checked.parsed.graph;
        Ok(
            match id::identify(graph, &query, &mut self.arena, self.control)? {
                Ok(id) => Found::Estimand(method, id),
                Err(hedge) => Found::Hedge(hedge),
            },
        )
    }

    fn has_directed_path(&self) -> bool {
        let Query {
            treatment, outcome, ..
        } = &self.checked.query;
        !on_causal_paths(self.graph().edges(), treatment, outcome).is_empty()
    }

    /// `sum_z P(y | x, z) P(z)`.
    fn adjusted(&mut self, x: &NodeSet, y: &NodeSet, z: &NodeSet) -> ExprId {
        let effect = self.arena.conditional(y.clone(), x.union(z));
        if z.is_empty() {
            return effect;
        }
        let weight = self
            .arena
            .conditional(z.clone(), NodeSet::empty(self.graph().nodes()));
        let product = self.arena.product(&[effect, weight]);
        self.arena.sum(z, product)
    }

    /// `sum_z P(z | x) sum_x' P(y | x', z) P(x')`.
    fn through(&mut self, x: &NodeSet, y: &NodeSet, z: &NodeSet) -> ExprId {
        let inner = self.arena.conditional(y.clone(), x.union(z));
        let weight = self
            .arena
            .conditional(x.clone(), NodeSet::empty(self.graph().nodes()));
        let averaged = self.arena.product(&[inner, weight]);
        let averaged = self.arena.sum(x, averaged);
        let mediator = self.arena.conditional(z.clone(), x.clone());
        let product = self.arena.product(&[mediator, averaged]);
        self.arena.sum(z, product)
    }

    fn finish(mut self, with_check: bool) -> Result<Validation, LabError> {
        let found = self.find()?;
        self.control.check()?;
        let mut answer = self.frame();
        match found {
            Found::Hedge(hedge) => self.not_identifiable(&mut answer, &hedge),
            Found::Estimand(method, id) => {
                self.identifiable(&mut answer, method, id);
                if with_check {
                    self.check(&mut answer, id)?;
                }
            }
        }
        self.warn(&mut answer);
        Ok(answer)
    }

    /// The answer with everything that does not depend on the verdict.
    fn frame(&self) -> Validation {
        let graph = self.graph();
        let Query {
            treatment: x,
            outcome: y,
            given,
        } = &self.checked.query;
        let nothing = NodeSet::empty(graph.nodes());
        let list = |criterion, listing: &Listing| SetList {
            criterion,
            sets: listing.sets.iter().map(|set| graph.names_of(set)).collect(),
            minimal: true,
            complete_list: listing.complete,
        };
        let best = optimal_set(graph.edges(), x, y).map(|set| graph.names_of(&set));
        Validation {
            algorithm_version: ALGORITHM_VERSION,
            seed: self.checked.seed,
            graph: CanonicalGraph {
                nodes: graph.names().to_vec(),
                directed: graph.directed(),
                bidirected: graph.bidirected(),
            },
            treatment: graph.names_of(x),
            outcome: graph.names_of(y),
            given: graph.names_of(given),
            identifiable: false,
            method: None,
            estimand: None,
            estimand_text: None,
            estimand_latex: None,
            free_variables: Vec::new(),
            hedge: None,
            reasons: Vec::new(),
            adjustment_sets: list(Criterion::Complete, &self.adjustment),
            back_door_sets: list(Criterion::BackDoor, &self.back_door),
            front_door_sets: list(Criterion::FrontDoor, &self.front_door),
            optimal_adjustment_set: best,
            marked_adjustment: self.marked(),
            facts: Facts {
                directed_path_exists: self.has_directed_path(),
                treatment_outcome_d_separated: graph.edges().separated(x, y, &nothing),
                treatment_outcome_d_separated_given: graph.edges().separated(x, y, given),
            },
            verified: None,
            warnings: Vec::new(),
        }
    }

    fn marked(&self) -> Option<MarkedAdjustment> {
        let graph = self.graph();
        let marked = &self.checked.parsed.adjusted;
        if marked.is_empty() {
            return None;
        }
        let Query {
            treatment: x,
            outcome: y,
            ..
        } = &self.checked.query;
        let nodes: Vec<usize> = marked.iter().filter_map(|name| graph.index(name)).collect();
        let set = NodeSet::of(graph.nodes(), &nodes);
        let valid = Adjustment::new(graph.edges(), x, y).admits(x, y, &set);
        Some(MarkedAdjustment {
            set: graph.names_of(&set),
            valid,
        })
    }

    fn identifiable(&self, answer: &mut Validation, method: Method, id: ExprId) {
        let graph = self.graph();
        let Query {
            treatment,
            outcome,
            given,
        } = &self.checked.query;
        answer.identifiable = true;
        answer.method = Some(method);
        answer.reasons.push(self.reason(method));
        let asked = treatment.union(outcome).union(given);
        let (size, depth) = (self.arena.size(id), self.arena.depth(id));
        if size > self.limits.estimand_nodes_max || depth > ESTIMAND_DEPTH_MAX {
            answer.warnings.push(format!(
                "the estimand has {size} nodes and names in {depth} levels; up to {} in \
                 {ESTIMAND_DEPTH_MAX} are returned",
                self.limits.estimand_nodes_max
            ));
            return;
        }
        answer.free_variables = graph.names_of(&self.arena.free(id).minus(&asked));
        answer.estimand = Some(tree(graph, &self.arena, id));
        answer.estimand_text = Some(line(graph, &self.arena, id, &asked, Style::Text));
        answer.estimand_latex = Some(line(graph, &self.arena, id, &asked, Style::Latex));
    }

    fn reason(&self, method: Method) -> String {
        let braced = |set: &NodeSet| format!("{{{}}}", self.graph().names_of(set).join(", "));
        let first = |listing: &Listing| listing.sets.first().map(braced).unwrap_or_default();
        match method {
            Method::NoEffect => "no directed path leads from a treatment to an outcome".to_owned(),
            Method::Adjustment => {
                format!(
                    "adjusting for {} satisfies the complete criterion",
                    first(&self.adjustment)
                )
            }
            Method::FrontDoor => {
                format!(
                    "{} satisfies the front-door criterion",
                    first(&self.front_door)
                )
            }
            Method::Id => "no adjustment set exists and no front-door set was found, but every \
                           c-factor of the effect is identifiable"
                .to_owned(),
            Method::Idc => "every c-factor of the joint effect is identifiable".to_owned(),
        }
    }

    fn not_identifiable(&self, answer: &mut Validation, hedge: &HedgeSets) {
        let names = |set: &NodeSet| self.graph().names_of(set);
        let comma = |set: &NodeSet| names(set).join(", ");
        answer.reasons.push(format!(
            "{{{}}} and {{{}}} form a hedge for P({} | do({})): latent common causes join each \
             of them, both have the roots {{{}}}, only the first meets the treatment, and the second \
             is a district of what causes the outcome once the treatment is taken out",
            comma(&hedge.forest),
            comma(&hedge.subforest),
            comma(&hedge.outcome),
            comma(&hedge.treatment),
            comma(&hedge.roots),
        ));
        if self.checked.query.given.is_empty() {
            answer
                .reasons
                .push("no adjustment set and no front-door set exists".to_owned());
        }
        answer.hedge = Some(Hedge {
            forest: names(&hedge.forest),
            subforest: names(&hedge.subforest),
            roots: names(&hedge.roots),
            treatment: names(&hedge.treatment),
            outcome: names(&hedge.outcome),
        });
    }

    /// Binary models, or linear Gaussian ones where those are too large.
    fn check(&self, answer: &mut Validation, id: ExprId) -> Result<(), LabError> {
        let edges = self.graph().edges();
        let Checked { query, seed, .. } = &self.checked;
        let what = (&self.arena, id);
        let mut method = "random_binary_models";
        let mut outcome = check::verify(edges, query, what, *seed, self.control)?;
        if outcome == check::Outcome::TooLarge {
            method = "random_linear_gaussian_models";
            outcome = gaussian::verify(edges, query, what, *seed, self.control)?;
        }
        match outcome {
            check::Outcome::Compared(max_error) if max_error <= check::TOLERANCE => {
                let method = method.to_owned();
                answer.verified = Some(Verified {
                    method,
                    max_error,
                    models: check::MODELS,
                });
                Ok(())
            }
            check::Outcome::Compared(max_error) => Err(LabError::Internal(format!(
                "the estimand differs from the truth by {max_error:e} on {method}"
            ))),
            check::Outcome::TooLarge => {
                answer.warnings.push(
                    "the estimand was not checked numerically: random models of this graph are \
                     too large"
                        .to_owned(),
                );
                Ok(())
            }
        }
    }

    fn warn(&self, answer: &mut Validation) {
        let latents = &self.checked.parsed.latents;
        if !latents.is_empty() {
            answer.warnings.push(format!(
                "latent nodes are projected out: {}",
                latents.join(", ")
            ));
        }
        if !answer.free_variables.is_empty() {
            answer.warnings.push(
                "the estimand has variables outside the query, listed as free_variables: each may \
                 be held at any value, and the result is the same"
                    .to_owned(),
            );
        }
        if !answer.given.is_empty() {
            answer.warnings.push(
                "adjustment, back-door and front-door sets are for the effect without `given`"
                    .to_owned(),
            );
        }
        for (name, list) in [
            ("adjustment_sets", &answer.adjustment_sets),
            ("back_door_sets", &answer.back_door_sets),
            ("front_door_sets", &answer.front_door_sets),
        ] {
            if !list.complete_list {
                let count = list.sets.len();
                answer
                    .warnings
                    .push(format!("{name} stops after {count}; there may be more"));
            }
        }
    }
}
