//! The ID and IDC algorithms. ID follows Shpitser and Pearl (AAAI 2006) in the c-factor form of
//! Tian and Pearl (AAAI 2002) and Huang and Valtorta (UAI 2006): the effect is a sum over the
//! product of the c-factors `Q[D]` of the districts of the ancestors of the outcome once the
//! treatment is taken out, and each `Q[D]` is worked out from the observed distribution by
//! turns of marginalising to ancestors and cutting to a district. Each turn works on the
//! distribution that the turn before it left (line 7 of ID), never on the observed one again.

use super::expression::{Arena, ExprId};
use crate::LabError;
use crate::control::Control;
use crate::graph::{Admg, Edges, NodeSet};

/// Two C-forests with the same roots, the larger of which meets the treatment (Shpitser and Pearl
/// 2006). That alone is no proof (Shpitser 2023, arXiv 2307.03750); here the smaller one is in
/// addition a district of the causes of the outcome once the treatment is taken out, and the
/// larger one is where every turn of the algorithm ends, so its c-factor is out of reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HedgeSets {
    pub(crate) forest: NodeSet,
    pub(crate) subforest: NodeSet,
    pub(crate) roots: NodeSet,
    /// The interventions and outcomes of the effect that the hedge is for; with `given` these
    /// are what IDC made of the query.
    pub(crate) treatment: NodeSet,
    pub(crate) outcome: NodeSet,
}

/// What was asked: `P(outcome | do(treatment), given)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) treatment: NodeSet,
    pub(crate) outcome: NodeSet,
    pub(crate) given: NodeSet,
}

/// An expression for the effect, or the hedge that rules one out.
pub(crate) type Verdict = Result<ExprId, HedgeSets>;

/// A distribution over a set of nodes that the algorithm keeps beside it.
enum Distribution {
    /// The observed distribution, marginalised.
    Observed,
    /// A chain: each node's probability given some nodes before it or outside the set.
    Chain(Vec<Link>),
    /// Any other expression.
    Expression(ExprId),
}

#[derive(Clone)]
struct Link {
    node: usize,
    given: NodeSet,
}

/// Decides the query and builds its estimand in `arena`.
pub(crate) fn identify(
    graph: &Admg,
    query: &Query,
    arena: &mut Arena,
    control: &dyn Control,
) -> Result<Verdict, LabError> {
    let mut search = Search {
        graph,
        edges: graph.edges(),
        arena,
        control,
    };
    if query.given.is_empty() {
        return search.effect(&query.outcome, &query.treatment);
    }
    search.conditional_effect(query)
}

struct Search<'a> {
    graph: &'a Admg,
    edges: &'a Edges,
    arena: &'a mut Arena,
    control: &'a dyn Control,
}

impl Search<'_> {
    /// IDC: moves to the intervention every condition that acts like one (rule 2 of the
    /// do-calculus), then conditions the joint effect on what is left.
    fn conditional_effect(&mut self, query: &Query) -> Result<Verdict, LabError> {
        let mut treatment = query.treatment.clone();
        let mut given = query.given.clone();
        while let Some(node) = self.exchangeable(&query.outcome, &treatment, &given) {
            self.control.check()?;
            given.remove(node);
            treatment.insert(node);
        }
        let joint = match self.effect(&query.outcome.union(&given), &treatment)? {
            Ok(joint) => joint,
            Err(hedge) => return Ok(Err(hedge)),
        };
        if given.is_empty() {
            return Ok(Ok(joint));
        }
        let evidence = self.arena.sum(&query.outcome, joint);
        Ok(Ok(self.arena.fraction(joint, evidence)))
    }

    fn exchangeable(
        &self,
        outcome: &NodeSet,
        treatment: &NodeSet,
        given: &NodeSet,
    ) -> Option<usize> {
        let cut = self.edges.without_incoming(treatment);
        given.iter().find(|&node| {
            let alone = NodeSet::of(self.edges.nodes(), &[node]);
            let rest = treatment.union(given).minus(&alone);
            cut.without_outgoing(&alone)
                .separated(outcome, &alone, &rest)
        })
    }

    fn effect(&mut self, outcome: &NodeSet, treatment: &NodeSet) -> Result<Verdict, LabError> {
        let everything = NodeSet::full(self.edges.nodes());
        let relevant = self.edges.ancestors(outcome, &everything);
        let within = relevant.minus(treatment);
        let needed = self.edges.ancestors(outcome, &within);
        let mut terms = Vec::new();
        for district in self.edges.districts(&needed) {
            self.control.check()?;
            match self.c_factor(&district, &relevant)? {
                Ok(term) => terms.push(term),
                Err(forest) => {
                    let roots = self.roots(&district);
                    return Ok(Err(HedgeSets {
                        forest,
                        subforest: district,
                        roots,
                        treatment: treatment.clone(),
                        outcome: outcome.clone(),
                    }));
                }
            }
        }
        let product = self.arena.product(&terms);
        Ok(Ok(self.arena.sum(&needed.minus(outcome), product)))
    }

    /// The nodes without a child inside the set.
    fn roots(&self, set: &NodeSet) -> NodeSet {
        let mut roots = set.clone();
        for node in set.iter() {
            let alone = NodeSet::of(self.edges.nodes(), &[node]);
            if self.edges.descendants(&alone, set).len() > 1 {
                roots.remove(node);
            }
        }
        roots
    }

    /// `Q[wanted]` from the observed distribution over the ancestral set `start`, or the larger
    /// C-forest of a hedge.
    fn c_factor(
        &mut self,
        wanted: &NodeSet,
        start: &NodeSet,
    ) -> Result<Result<ExprId, NodeSet>, LabError> {
        let member = wanted.first().expect("a district has a member");
        let mut set = start.clone();
        let mut distribution = Distribution::Observed;
        loop {
            self.control.check()?;
            let ancestral = self.edges.ancestors(wanted, &set);
            if ancestral != set {
                distribution = self.marginal(distribution, &set, &ancestral);
                set = ancestral;
            }
            if set == *wanted {
                return Ok(Ok(self.expression(&distribution, &set)));
            }
            let district = self.edges.district(member, &set);
            if district == set {
                return Ok(Err(set));
            }
            distribution = self.cut(distribution, &set, &district)?;
            set = district;
        }
    }

    fn expression(&mut self, distribution: &Distribution, set: &NodeSet) -> ExprId {
        match distribution {
            Distribution::Observed => self
                .arena
                .conditional(set.clone(), NodeSet::empty(self.edges.nodes())),
            Distribution::Chain(links) => self.chain(links),
            Distribution::Expression(id) => *id,
        }
    }

    fn chain(&mut self, links: &[Link]) -> ExprId {
        let nodes = self.edges.nodes();
        let terms: Vec<ExprId> = links
            .iter()
            .map(|link| {
                self.arena
                    .conditional(NodeSet::of(nodes, &[link.node]), link.given.clone())
            })
            .collect();
        self.arena.product(&terms)
    }

    fn marginal(&mut self, from: Distribution, set: &NodeSet, to: &NodeSet) -> Distribution {
        match from {
            Distribution::Observed => Distribution::Observed,
            Distribution::Expression(id) => {
                Distribution::Expression(self.arena.sum(&set.minus(to), id))
            }
            Distribution::Chain(links) => {
                let links = self.without_complete_links(links, to);
                let mut over = NodeSet::empty(self.edges.nodes());
                for link in links.iter().filter(|link| !to.contains(link.node)) {
                    over.insert(link.node);
                }
                if over.is_empty() {
                    return Distribution::Chain(links);
                }
                let product = self.chain(&links);
                Distribution::Expression(self.arena.sum(&over, product))
            }
        }
    }

    /// Leaves out each link of a node that is not in `to` and that no link left is conditioned
    /// on: it sums to one. Links are conditioned only on nodes before them, so one pass from the
    /// end finds them all.
    fn without_complete_links(&self, links: Vec<Link>, to: &NodeSet) -> Vec<Link> {
        let mut used = NodeSet::empty(self.edges.nodes());
        let mut kept = Vec::with_capacity(links.len());
        for link in links.into_iter().rev() {
            if to.contains(link.node) || used.contains(link.node) {
                used.add(&link.given);
                kept.push(link);
            }
        }
        kept.reverse();
        kept
    }

    /// The c-factor of a district of the subgraph over `set`, from the distribution over `set`.
    fn cut(
        &mut self,
        from: Distribution,
        set: &NodeSet,
        district: &NodeSet,
    ) -> Result<Distribution, LabError> {
        Ok(match from {
            Distribution::Observed => Distribution::Chain(self.observed_links(set, district)?),
            Distribution::Chain(mut links) => {
                links.retain(|link| district.contains(link.node));
                Distribution::Chain(links)
            }
            Distribution::Expression(id) => {
                Distribution::Expression(self.cut_expression(id, set, district)?)
            }
        })
    }

    /// Each node of the district given its district among the nodes up to it and the parents of
    /// that (Tian and Pearl 2002): all that its predecessors say about it.
    fn observed_links(&self, set: &NodeSet, district: &NodeSet) -> Result<Vec<Link>, LabError> {
        let mut before = NodeSet::empty(self.edges.nodes());
        let mut links = Vec::new();
        for &node in self
            .graph
            .order()
            .iter()
            .filter(|&&node| set.contains(node))
        {
            before.insert(node);
            if district.contains(node) {
                self.control.check()?;
                let near = self.edges.district(node, &before);
                let mut given = self.edges.with_parents(&near).intersection(&before);
                given.remove(node);
                links.push(Link { node, given });
            }
        }
        Ok(links)
    }

    /// The product of `q(node | nodes before it)` over the district. Each run of neighbours in
    /// the order is one quotient of two marginals of `q`.
    fn cut_expression(
        &mut self,
        q: ExprId,
        set: &NodeSet,
        district: &NodeSet,
    ) -> Result<ExprId, LabError> {
        let order: Vec<usize> = self
            .graph
            .order()
            .iter()
            .copied()
            .filter(|&node| set.contains(node))
            .collect();
        let mut terms = Vec::new();
        let mut before = NodeSet::empty(self.edges.nodes());
        let mut position = 0;
        while position < order.len() {
            if !district.contains(order[position]) {
                before.insert(order[position]);
                position += 1;
                continue;
            }
            self.control.check()?;
            let start = before.clone();
            while position < order.len() && district.contains(order[position]) {
                before.insert(order[position]);
                position += 1;
            }
            let numerator = self.arena.sum(&set.minus(&before), q);
            if start.is_empty() {
                terms.push(numerator);
            } else {
                let denominator = self.arena.sum(&set.minus(&start), q);
                terms.push(self.arena.fraction(numerator, denominator));
            }
        }
        Ok(self.arena.product(&terms))
    }
}
