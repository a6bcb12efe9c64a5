//! The check that every estimand passes before it is returned: on random structural models of
//! the graph, all variables binary, the estimand read off the observed distribution has to equal
//! the interventional distribution of the model, for every value of every free variable.
//!
//! Bidirected edges become latent binary causes, one for each clique of a cover of them. The
//! check finds a wrong estimand; it is no proof of a verdict.

use super::expression::{Arena, Expr, ExprId};
use super::factor::{Budget, Factor, TooMuchWork, bit, eliminate};
use super::id::Query;
use crate::LabError;
use crate::control::Control;
use crate::graph::{Edges, NodeSet};

/// Random models tried for each estimand.
pub(crate) const MODELS: u32 = 3;
/// Largest difference that counts as rounding.
pub(crate) const TOLERANCE: f64 = 1e-6;
/// Table entries written before the check gives up.
const WORK_MAX: u64 = 3_000_000;
/// With at most this many relevant nodes the observed distribution is one table.
const JOINT_NODES_MAX: usize = 12;
/// Variables of a model, latent ones included: the bits of a mask.
const VARIABLES_MAX: usize = 128;

/// What the check says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// The largest difference seen.
    Compared(f64),
    /// The models of this graph have too many states.
    TooLarge,
}

struct Shape<'a> {
    edges: &'a Edges,
    relevant: NodeSet,
    /// The relevant nodes in the order of their variables.
    nodes: Vec<usize>,
    variable: Vec<usize>,
    /// Members of each latent's clique; the latent's variable follows those of the nodes.
    latents: Vec<NodeSet>,
}

struct Model<'a> {
    shape: &'a Shape<'a>,
    mechanisms: Vec<Factor>,
    priors: Vec<Factor>,
    joint: Option<Factor>,
}

/// Compares the estimand with the truth on [`MODELS`] random models.
pub(crate) fn verify(
    edges: &Edges,
    query: &Query,
    (arena, id): (&Arena, ExprId),
    seed: u64,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    let parts = reachable(arena, id);
    let Some(shape) = Shape::new(edges, query, arena, &parts) else {
        return Ok(Outcome::TooLarge);
    };
    let mut worst = 0.0_f64;
    let mut budget = Budget { left: WORK_MAX };
    for number in 0..MODELS {
        control.check()?;
        match shape.compare(query, (arena, &parts), random(seed, number), &mut budget) {
            Ok(error) if error.is_finite() => worst = worst.max(error),
            Ok(_) => return Ok(Outcome::Compared(f64::INFINITY)),
            Err(TooMuchWork) => return Ok(Outcome::TooLarge),
        }
    }
    Ok(Outcome::Compared(worst))
}

/// splitmix64, keyed by the seed and the number of the model.
pub(crate) struct Random(u64);

pub(crate) fn random(seed: u64, number: u32) -> Random {
    let mut random = Random(seed ^ 0x6869_6e64_6361_7374);
    let key = random.next().wrapping_add(u64::from(number));
    Random(key)
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A probability that is far from zero and one, so that no quotient loses precision.
    fn probability(&mut self) -> f64 {
        let upper = u32::try_from(self.next() >> 32).expect("32 bits are left");
        0.1 + 0.8 * f64::from(upper) / 4_294_967_296.0
    }

    /// A number between 0.3 and 0.7 in size, of either sign.
    pub(crate) fn signed(&mut self) -> f64 {
        let size = 0.25 + self.probability() / 2.0;
        if self.next() >> 63 == 0 { size } else { -size }
    }
}

impl<'a> Shape<'a> {
    fn new(edges: &'a Edges, query: &Query, arena: &Arena, parts: &[ExprId]) -> Option<Self> {
        let mut mentioned = query.outcome.union(&query.treatment).union(&query.given);
        for &part in parts {
            mentioned.add(arena.free(part));
        }
        let everything = NodeSet::full(edges.nodes());
        let relevant = edges.ancestors(&mentioned, &everything);
        let nodes: Vec<usize> = relevant.iter().collect();
        let mut variable = vec![usize::MAX; edges.nodes()];
        for (place, &node) in nodes.iter().enumerate() {
            variable[node] = place;
        }
        if nodes.len() > VARIABLES_MAX {
            return None;
        }
        let latents = cliques(edges, &relevant);
        (nodes.len() + latents.len() <= VARIABLES_MAX).then_some(Self {
            edges,
            relevant,
            nodes,
            variable,
            latents,
        })
    }

    fn mask(&self, set: &NodeSet) -> u128 {
        set.iter()
            .fold(0, |mask, node| mask | bit(self.variable[node]))
    }

    /// The largest difference on one model; the estimand is the last of `parts`.
    fn compare(
        &self,
        query: &Query,
        (arena, parts): (&Arena, &[ExprId]),
        mut random: Random,
        budget: &mut Budget,
    ) -> Result<f64, TooMuchWork> {
        let mut model = self.draw(&mut random, budget)?;
        if self.nodes.len() <= JOINT_NODES_MAX {
            model.joint = Some(model.distribution(&self.relevant, None, budget)?);
        }
        let wanted = query.outcome.union(&query.given);
        let mut truth = model.distribution(&wanted, Some(&query.treatment), budget)?;
        if !query.given.is_empty() {
            let evidence = truth.sum_out(self.mask(&query.outcome));
            truth = truth.over(&evidence, budget)?;
        }
        let mut done: Vec<Option<Factor>> = vec![None; arena.len()];
        for &part in parts {
            done[part] = Some(model.evaluate(arena, part, &done, budget)?);
        }
        let estimate = parts.last().and_then(|&id| done[id].take());
        match estimate {
            Some(estimate) => truth.distance(&estimate, budget),
            None => Ok(f64::NAN),
        }
    }

    fn draw(&'a self, random: &mut Random, budget: &mut Budget) -> Result<Model<'a>, TooMuchWork> {
        let mut mechanisms = Vec::with_capacity(self.nodes.len());
        for (place, &node) in self.nodes.iter().enumerate() {
            let mut mask = bit(place);
            for parent in crate::graph::bits(self.edges.parents(node)) {
                mask |= bit(self.variable[parent]);
            }
            for (number, clique) in self.latents.iter().enumerate() {
                if clique.contains(node) {
                    mask |= bit(self.nodes.len() + number);
                }
            }
            mechanisms.push(mechanism(bit(place), mask, random, budget)?);
        }
        let first = self.nodes.len();
        let priors = (first..first + self.latents.len())
            .map(|latent| mechanism(bit(latent), bit(latent), random, budget))
            .collect::<Result<_, _>>()?;
        Ok(Model {
            shape: self,
            mechanisms,
            priors,
            joint: None,
        })
    }
}

/// A random conditional distribution of `own` given the rest of `mask`.
fn mechanism(
    own: u128,
    mask: u128,
    random: &mut Random,
    budget: &mut Budget,
) -> Result<Factor, TooMuchWork> {
    let states = budget.spend(mask)?;
    let step = 1_usize << (mask & (own - 1)).count_ones();
    let mut values = vec![0.0; states];
    for index in (0..states).filter(|index| index & step == 0) {
        let chance = random.probability();
        values[index] = 1.0 - chance;
        values[index | step] = chance;
    }
    Ok(Factor { mask, values })
}

/// A cover of the bidirected edges by cliques, greedily, so that few latents are needed.
fn cliques(edges: &Edges, within: &NodeSet) -> Vec<NodeSet> {
    let mut covered = Vec::new();
    for a in within.iter() {
        for b in crate::graph::bits(edges.siblings(a)) {
            let is_covered = covered
                .iter()
                .any(|set: &NodeSet| set.contains(a) && set.contains(b));
            if b < a || !within.contains(b) || is_covered {
                continue;
            }
            let mut clique = NodeSet::of(edges.nodes(), &[a, b]);
            for other in within.iter() {
                let joins = |member: usize| edges.has_bidirected(member, other);
                if !clique.contains(other) && clique.iter().all(joins) {
                    clique.insert(other);
                }
            }
            covered.push(clique);
        }
    }
    covered
}

/// The parts of an expression whose values are needed, each after its own parts. A product
/// under a sum is not one of them: its terms are summed without ever writing it out.
pub(crate) fn reachable(arena: &Arena, id: ExprId) -> Vec<ExprId> {
    let mut seen = vec![false; arena.len()];
    let mut stack = vec![id];
    while let Some(part) = stack.pop() {
        if std::mem::replace(&mut seen[part], true) {
            continue;
        }
        match arena.get(part) {
            Expr::Sum { of, .. } => match arena.get(*of) {
                Expr::Product(terms) => stack.extend_from_slice(terms),
                Expr::Sum { .. } | Expr::Fraction { .. } | Expr::Conditional { .. } => {
                    stack.push(*of);
                }
            },
            Expr::Product(terms) => stack.extend_from_slice(terms),
            Expr::Fraction {
                numerator,
                denominator,
            } => {
                stack.extend_from_slice(&[*numerator, *denominator]);
            }
            Expr::Conditional { .. } => {}
        }
    }
    (0..=id).filter(|&part| seen[part]).collect()
}

impl Model<'_> {
    /// The distribution of `wanted`; under an intervention, for each value of the treatment.
    fn distribution(
        &self,
        wanted: &NodeSet,
        intervention: Option<&NodeSet>,
        budget: &mut Budget,
    ) -> Result<Factor, TooMuchWork> {
        let shape = self.shape;
        if let (Some(joint), None) = (&self.joint, intervention) {
            budget.left = budget
                .left
                .checked_sub(joint.values.len() as u64)
                .ok_or(TooMuchWork)?;
            return Ok(joint.sum_out(joint.mask & !shape.mask(wanted)));
        }
        let mut free = shape.relevant.clone();
        if let Some(treatment) = intervention {
            free.subtract(treatment);
        }
        let needed = shape.edges.ancestors(wanted, &free);
        let mut factors: Vec<&Factor> = needed
            .iter()
            .map(|node| &self.mechanisms[shape.variable[node]])
            .collect();
        let mut away = shape.mask(&needed.minus(wanted));
        let mentioned = factors.iter().fold(0, |mask, factor| mask | factor.mask);
        for prior in self
            .priors
            .iter()
            .filter(|prior| prior.mask & mentioned != 0)
        {
            away |= prior.mask;
            factors.push(prior);
        }
        eliminate(&factors, away, budget)
    }

    fn evaluate(
        &self,
        arena: &Arena,
        part: ExprId,
        done: &[Option<Factor>],
        budget: &mut Budget,
    ) -> Result<Factor, TooMuchWork> {
        let value = |id: ExprId| {
            done[id]
                .as_ref()
                .expect("parts come before what is made of them")
        };
        match arena.get(part) {
            Expr::Conditional { of, given } => {
                let joint = self.distribution(&of.union(given), None, budget)?;
                if given.is_empty() {
                    return Ok(joint);
                }
                let evidence = joint.sum_out(self.shape.mask(of));
                joint.over(&evidence, budget)
            }
            Expr::Product(terms) => {
                let factors: Vec<&Factor> = terms.iter().map(|&term| value(term)).collect();
                eliminate(&factors, 0, budget)
            }
            Expr::Fraction {
                numerator,
                denominator,
            } => value(*numerator).over(value(*denominator), budget),
            Expr::Sum { over, of } => {
                let away = self.shape.mask(over);
                if let Expr::Product(terms) = arena.get(*of) {
                    let factors: Vec<&Factor> = terms.iter().map(|&term| value(term)).collect();
                    return eliminate(&factors, away, budget);
                }
                Ok(value(*of).sum_out(away))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Uncontrolled;
    use crate::graph::Admg;

    fn outcome(graph: &Admg, of: &[&str], given: &[&str], arena: &mut Arena) -> Outcome {
        let set = |names: &[&str]| {
            let nodes: Vec<usize> = names
                .iter()
                .map(|name| graph.index(name).unwrap())
                .collect();
            NodeSet::of(graph.nodes(), &nodes)
        };
        let query = Query {
            treatment: set(&["x"]),
            outcome: set(&["y"]),
            given: set(&[]),
        };
        let id = arena.conditional(set(of), set(given));
        verify(graph.edges(), &query, (arena, id), 0, &Uncontrolled).unwrap()
    }

    fn error(graph: &Admg, of: &[&str], given: &[&str]) -> f64 {
        match outcome(graph, of, given, &mut Arena::default()) {
            Outcome::Compared(error) => error,
            Outcome::TooLarge => panic!("too large"),
        }
    }

    #[test]
    fn a_right_estimand_passes_and_a_wrong_one_fails() {
        let free = Admg::from_edges(&["x", "y"], &[("x", "y")], &[]).unwrap();
        assert!(error(&free, &["y"], &["x"]) < 1e-12);
        assert!(error(&free, &["y"], &[]) > TOLERANCE);
        let bow = Admg::from_edges(&["x", "y"], &[("x", "y")], &[("x", "y")]).unwrap();
        assert!(error(&bow, &["y"], &["x"]) > TOLERANCE);
    }

    #[test]
    fn the_formula_that_is_wrong_for_the_napkin_fails() {
        let directed = [("w", "r"), ("r", "x"), ("x", "y")];
        let napkin =
            Admg::from_edges(&["w", "r", "x", "y"], &directed, &[("w", "x"), ("w", "y")]).unwrap();
        assert!(error(&napkin, &["y"], &["x"]) > TOLERANCE);
    }

    #[test]
    fn a_free_variable_that_matters_fails() {
        let directed = [("z", "x"), ("z", "y"), ("x", "y")];
        let graph = Admg::from_edges(&["x", "y", "z"], &directed, &[]).unwrap();
        assert!(error(&graph, &["y"], &["x", "z"]) > TOLERANCE);
    }

    #[test]
    fn a_node_with_too_many_causes_is_not_checked() {
        let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
        let mut nodes: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut directed: Vec<(&str, &str)> = nodes.iter().map(|&cause| (cause, "y")).collect();
        directed.push(("x", "y"));
        nodes.extend(["x", "y"]);
        let graph = Admg::from_edges(&nodes, &directed, &[]).unwrap();
        assert_eq!(
            outcome(&graph, &["y"], &["x"], &mut Arena::default()),
            Outcome::TooLarge
        );
    }
}
