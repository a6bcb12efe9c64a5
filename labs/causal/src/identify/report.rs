//! The answer of a validation in words and lists.

use super::ESTIMAND_DEPTH_MAX;
use super::adjustment::optimal_set;
use super::answer::{
    ALGORITHM_VERSION, CanonicalGraph, Criterion, Facts, Hedge, MarkedAdjustment, Method, SetList,
    Validation,
};
use super::expression::ExprId;
use super::id::{HedgeSets, Query};
use super::render::{Style, line, tree};
use super::separators::Listing;
use super::work::Work;
use crate::graph::NodeSet;

impl Work<'_> {
    /// The answer with everything that does not depend on the verdict.
    pub(super) fn frame(&self) -> Validation {
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
        let best =
            optimal_set(&self.criterion, graph.edges(), x, y).map(|set| graph.names_of(&set));
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
            instruments: None,
            implications: None,
            implications_scope: None,
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
        let valid = self.criterion.admits(x, y, &set);
        Some(MarkedAdjustment {
            set: graph.names_of(&set),
            valid,
        })
    }

    pub(super) fn identifiable(&self, answer: &mut Validation, method: Method, id: ExprId) {
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

    pub(super) fn not_identifiable(&self, answer: &mut Validation, hedge: &HedgeSets) {
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

    pub(super) fn warn(&self, answer: &mut Validation) {
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
        if let Some(scope) = &answer.implications_scope
            && !scope.complete_list
        {
            let count = answer.implications.as_ref().map_or(0, Vec::len);
            answer.warnings.push(format!(
                "implications stop after {count}; there may be more"
            ));
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
