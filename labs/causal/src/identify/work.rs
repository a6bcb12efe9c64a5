//! One validation from its checked request to its answer: the criteria first, then the simplest
//! formula that applies, then its check.

use super::adjustment::{Adjustment, back_door_sets, on_causal_paths};
use super::answer::{Instrument, Method, Validation, Verified};
use super::expression::{Arena, ExprId};
use super::id::{HedgeSets, Query};
use super::request::{Checked, Limits};
use super::separators::Listing;
use super::{check, front_door, gaussian, id, implications, instruments};
use crate::LabError;
use crate::control::Control;
use crate::data::Dataset;
use crate::graph::{Admg, NodeSet};

pub(super) struct Work<'a> {
    pub(super) checked: Checked,
    pub(super) limits: &'a Limits,
    control: &'a dyn Control,
    pub(super) criterion: Adjustment,
    pub(super) adjustment: Listing,
    pub(super) back_door: Listing,
    pub(super) front_door: Listing,
    pub(super) arena: Arena,
}

/// An estimand in the work's arena, or a hedge.
enum Found {
    Estimand(Method, ExprId),
    Hedge(HedgeSets),
}

impl<'a> Work<'a> {
    pub(super) fn start(
        checked: Checked,
        limits: &'a Limits,
        control: &'a dyn Control,
    ) -> Result<Self, LabError> {
        let Query {
            treatment: x,
            outcome: y,
            ..
        } = &checked.query;
        let (edges, sets) = (checked.parsed.graph.edges(), checked.sets);
        control.check()?;
        let criterion = Adjustment::new(edges, x, y);
        let adjustment = criterion.minimal_sets(x, y, sets, control)?;
        control.check()?;
        let back_door = back_door_sets(edges, x, y, sets, control)?;
        control.check()?;
        let front_door = front_door::front_door_sets(edges, x, y, sets, control)?;
        let arena = Arena::default();
        Ok(Self {
            checked,
            limits,
            control,
            criterion,
            adjustment,
            back_door,
            front_door,
            arena,
        })
    }

    pub(super) fn graph(&self) -> &Admg {
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

    pub(super) fn has_directed_path(&self) -> bool {
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

    pub(super) fn finish(
        mut self,
        with_check: bool,
        data: Option<&Dataset>,
    ) -> Result<Validation, LabError> {
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
        self.extras(&mut answer, data)?;
        self.warn(&mut answer);
        Ok(answer)
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
            check::Outcome::Compared(max_error) => Err(LabError::FailedVerification {
                max_error,
                tolerance: check::TOLERANCE,
                method: method.to_owned(),
            }),
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

    /// What is worked out besides the verdict.
    fn extras(&self, answer: &mut Validation, data: Option<&Dataset>) -> Result<(), LabError> {
        let (graph, extras) = (self.graph(), self.checked.extras);
        let Query {
            treatment: x,
            outcome: y,
            ..
        } = &self.checked.query;
        if extras.instruments && x.len() == 1 && y.len() == 1 {
            let found = if answer.facts.directed_path_exists {
                instruments::instruments(&self.criterion, x, y, self.control)?
            } else {
                Vec::new()
            };
            let named = found.iter().map(|found| Instrument {
                instrument: graph.name(found.instrument).to_owned(),
                given: graph.names_of(&found.given),
            });
            answer.instruments = Some(named.collect());
        }
        if extras.implications {
            let how = (extras.all_sets, self.checked.sets);
            let (mut list, scope) = implications::implications(graph, how, self.control)?;
            if let Some(data) = data {
                let untested = implications::test(&mut list, data, self.control)?;
                answer.warnings.extend(untested);
            }
            answer.implications = Some(list);
            answer.implications_scope = Some(scope);
        }
        Ok(())
    }
}
