//! Best order score search (Andrews et al., NeurIPS 2023): a local search over orders of the
//! variables, each scored by the best parents among those that come earlier.
//!
//! One sweep takes each variable out and puts it back where the score is best, all places being
//! valued in one pass. Sweeps end when none improves. The search then starts again from the best
//! order with a few variables moved at random, until `restarts` such searches in a row bring
//! nothing; the caches are shared, so these cost much less than the first. The result is polished
//! by backward equivalence search and answered as the class of graphs that the data cannot tell
//! apart.

use hindcast_stats::Philox;

use super::cpdag::Cpdag;
use super::equivalence;
use super::knowledge::Knowledge;
use super::regression::{Bic, Regression};
use super::request::BossOptions;
use super::result::{Convergence, IndexedEdge, Outcome, ScoreName};
use super::trees::Trees;
use crate::control::Control;
use crate::data::{Covariance, Dataset};
use crate::error::LabError;

/// A move has to improve the score by more than rounding can.
const IMPROVEMENT_MIN: f64 = 1e-6;
/// Sweeps of one search; far above what any search was seen to need.
const SWEEPS_MAX: u64 = 1000;
/// Targets between two looks at the control.
const CHECK_EVERY: usize = 32;

pub(super) fn run(
    data: &Dataset,
    options: &BossOptions,
    knowledge: &Knowledge,
    seed: u64,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    let covariance = data.covariance();
    let bic = Bic::new(
        covariance.correlation(),
        covariance.rows(),
        options.penalty_discount,
    );
    refuse_dependent(&bic, knowledge, data)?;
    let mut order = first_order(covariance);
    knowledge.arrange(&mut order);
    let mut search = Search::new(bic, knowledge, control, order);
    let found = search.iterate(options.restarts, seed)?;
    let mut dag = found.parents;
    if let Some(better) = equivalence::backward(&bic, knowledge, &dag, control)? {
        dag = better;
    }
    let score = dag
        .iter()
        .enumerate()
        .map(|(v, parents)| bic.local(v, parents))
        .sum();
    let convergence = Convergence {
        converged: !found.cut,
        reason: if found.cut {
            "sweep limit"
        } else {
            "no move improves the score"
        }
        .into(),
        searches: Some(found.searches),
        ..Convergence::default()
    };
    Ok(Outcome {
        edges: weighted(&bic, knowledge, &dag)?,
        score: Some((ScoreName::Bic, score)),
        iterations: found.sweeps,
        convergence,
        warnings: Vec::new(),
    })
}

/// A regression on the required parents has to exist.
fn refuse_dependent(bic: &Bic<'_>, knowledge: &Knowledge, data: &Dataset) -> Result<(), LabError> {
    for (head, parents) in knowledge.required().iter().enumerate() {
        if Regression::new(bic.correlation, head, parents).is_none() {
            let head = &data.names()[head];
            return Err(LabError::invalid_with_hint(
                "required",
                format!("the required parents of '{head}' are linearly dependent"),
                "leave out the columns that the profile calls collinear",
            ));
        }
    }
    Ok(())
}

/// Variables that the others explain least come first. The sum of squared correlations does not
/// depend on units, and unlike the inverse it exists for every dataset.
fn first_order(covariance: &Covariance) -> Vec<usize> {
    let correlation = covariance.correlation();
    let explained: Vec<f64> = (0..covariance.width())
        .map(|v| hindcast_stats::dot(correlation.row(v), correlation.row(v)))
        .collect();
    let mut order: Vec<usize> = (0..covariance.width()).collect();
    order.sort_by(|&a, &b| explained[a].total_cmp(&explained[b]).then(a.cmp(&b)));
    order
}

/// Directed edges carry the standardised coefficient in the regression of the head on its parents;
/// undirected ones the partial correlation given the head's other parents in one graph of the
/// class.
fn weighted(
    bic: &Bic<'_>,
    knowledge: &Knowledge,
    dag: &[Vec<usize>],
) -> Result<Vec<IndexedEdge>, LabError> {
    let mut class = Cpdag::of(dag);
    knowledge.orient(&mut class);
    let mut edges = Vec::new();
    for (head, parents) in dag.iter().enumerate() {
        let Some(fit) = Regression::new(bic.correlation, head, parents) else {
            return Err(LabError::Internal(
                "the search chose dependent parents".into(),
            ));
        };
        for (i, &tail) in parents.iter().enumerate() {
            edges.push(if class.undirected(tail, head) {
                let weight = fit.partial_correlation(i);
                let (from, to) = (tail.min(head), tail.max(head));
                IndexedEdge {
                    from,
                    to,
                    directed: false,
                    weight,
                }
            } else {
                let weight = fit.coefficients[i];
                IndexedEdge {
                    from: tail,
                    to: head,
                    directed: true,
                    weight,
                }
            });
        }
    }
    Ok(edges)
}

struct Found {
    parents: Vec<Vec<usize>>,
    searches: u64,
    sweeps: u64,
    cut: bool,
}

struct Search<'a> {
    trees: Trees<'a>,
    knowledge: &'a Knowledge,
    /// For each variable the heads of its required edges.
    required_children: Vec<Vec<usize>>,
    control: &'a dyn Control,
    order: Vec<usize>,
    position: Vec<usize>,
    /// For each variable its score in the order, and the variables whose coming before it or
    /// going would change that score. With these most questions need no look at the trees.
    scores: Vec<f64>,
    touching: Vec<Bits>,
    /// For each place: what moving the variable to it gains over putting it first.
    gains: Vec<f64>,
    sweeps: u64,
    cut: bool,
}

impl<'a> Search<'a> {
    fn new(
        bic: Bic<'a>,
        knowledge: &'a Knowledge,
        control: &'a dyn Control,
        order: Vec<usize>,
    ) -> Self {
        let d = order.len();
        let mut required_children = vec![Vec::new(); d];
        for (head, tails) in knowledge.required().iter().enumerate() {
            for &tail in tails {
                required_children[tail].push(head);
            }
        }
        Self {
            trees: Trees::new(bic, knowledge),
            knowledge,
            required_children,
            control,
            order,
            position: vec![0; d],
            scores: vec![0.0; d],
            touching: vec![Bits::new(d); d],
            gains: vec![0.0; d],
            sweeps: 0,
            cut: false,
        }
    }

    /// The first search and then perturbed ones, until `patience` of them in a row bring nothing.
    fn iterate(&mut self, patience: u32, seed: u64) -> Result<Found, LabError> {
        let mut rng = Philox::new(seed, 0);
        let mut best_score = self.climb()?;
        let mut best = self.order.clone();
        let (mut searches, mut in_vain) = (1, 0);
        while in_vain < patience {
            self.control.progress("boss searches", searches, 0);
            self.order.clone_from(&best);
            perturb(&mut self.order, &mut rng);
            self.knowledge.arrange(&mut self.order);
            let score = self.climb()?;
            searches += 1;
            in_vain += 1;
            if score > best_score + IMPROVEMENT_MIN {
                best_score = score;
                best.clone_from(&self.order);
                in_vain = 0;
            }
        }
        self.order = best;
        self.place_all()?;
        let position = &self.position;
        let parents = (0..self.order.len())
            .map(|v| {
                let mut parents = self.trees.parents(v, |w| position[w] < position[v]);
                parents.sort_unstable();
                parents
            })
            .collect();
        Ok(Found {
            parents,
            searches,
            sweeps: self.sweeps,
            cut: self.cut,
        })
    }

    /// Sweeps until none improves; the score of the order it ends at.
    fn climb(&mut self) -> Result<f64, LabError> {
        self.place_all()?;
        let start = self.sweeps;
        loop {
            self.sweeps += 1;
            let mut improved = false;
            for variable in self.order.clone() {
                improved |= self.move_best(variable)?;
                self.trees.keep_within_memory();
            }
            if !improved {
                break;
            }
            if self.sweeps - start >= SWEEPS_MAX {
                self.cut = true;
                break;
            }
        }
        Ok(self.order.iter().fold(0.0, |sum, &v| sum + self.scores[v]))
    }

    /// Puts `variable` at the best place of the order, all others staying as they are.
    fn move_best(&mut self, variable: usize) -> Result<bool, LabError> {
        let from = self.position[variable];
        self.value_places(variable, from)?;
        let mut to = from;
        let (first, last) = self.open_places(variable, from);
        for place in first..=last {
            let gain = self.gains[place];
            if gain > self.gains[to] + IMPROVEMENT_MIN {
                to = place;
            }
        }
        if to == from {
            return Ok(false);
        }
        self.order.remove(from);
        self.order.insert(to, variable);
        let (first, last) = (from.min(to), from.max(to));
        for place in first..=last {
            self.position[self.order[place]] = place;
        }
        for place in first..=last {
            let other = self.order[place];
            if other == variable || self.touching[other].has(variable) {
                self.refresh(other);
            }
        }
        Ok(true)
    }

    /// The places that required edges leave to `variable`: after its required parents, before its
    /// required children, places counted without itself.
    fn open_places(&self, variable: usize, from: usize) -> (usize, usize) {
        let place = |v: usize| self.position[v] - usize::from(self.position[v] > from);
        let required = self.knowledge.required_parents(variable);
        let first = required.iter().map(|&v| place(v) + 1).max().unwrap_or(0);
        let children = self.required_children[variable].iter();
        let last = children.map(|&v| place(v)).min();
        (first, last.unwrap_or(self.order.len() - 1))
    }

    /// Fills `gains`: place `p` means that `p` of the others come before `variable`.
    fn value_places(&mut self, variable: usize, from: usize) -> Result<(), LabError> {
        let mut own = Bits::new(self.order.len());
        let mut own_score = f64::NAN;
        let mut before = 0.0;
        let mut place = 0;
        let mut last = None;
        for at in 0..=self.order.len() {
            if at % CHECK_EVERY == 0 {
                self.control.check()?;
            }
            if at == from {
                continue;
            }
            if last.is_none_or(|last| own.has(last)) {
                own.clear();
                let position = &self.position;
                own_score = self
                    .trees
                    .score(variable, |w| position[w] < at, |w| own.set(w));
            }
            self.gains[place] = before + own_score;
            place += 1;
            let Some(&other) = self.order.get(at) else {
                break;
            };
            last = Some(other);
            if self.touching[other].has(variable) {
                let position = &self.position;
                let joins = at < from;
                let changed = self.trees.score(
                    other,
                    |w| {
                        if w == variable {
                            joins
                        } else {
                            position[w] < at
                        }
                    },
                    |_| {},
                );
                before += if joins {
                    self.scores[other] - changed
                } else {
                    changed - self.scores[other]
                };
            }
        }
        Ok(())
    }

    fn place_all(&mut self) -> Result<(), LabError> {
        for (place, &variable) in self.order.iter().enumerate() {
            self.position[variable] = place;
        }
        for variable in 0..self.order.len() {
            if variable % CHECK_EVERY == 0 {
                self.control.check()?;
            }
            self.refresh(variable);
        }
        Ok(())
    }

    fn refresh(&mut self, variable: usize) {
        let (position, touching) = (&self.position, &mut self.touching[variable]);
        touching.clear();
        let limit = position[variable];
        self.scores[variable] =
            self.trees
                .score(variable, |w| position[w] < limit, |w| touching.set(w));
    }
}

/// A set of variables.
#[derive(Debug, Clone)]
struct Bits {
    words: Vec<u64>,
}

impl Bits {
    fn new(width: usize) -> Self {
        Self {
            words: vec![0; width.div_ceil(64)],
        }
    }

    fn clear(&mut self) {
        self.words.fill(0);
    }

    fn set(&mut self, variable: usize) {
        self.words[variable / 64] |= 1 << (variable % 64);
    }

    fn has(&self, variable: usize) -> bool {
        self.words[variable / 64] >> (variable % 64) & 1 == 1
    }
}

/// Moves a few variables to random places: sometimes two, to search near the best order, sometimes
/// a fifth of all, to leave it.
fn perturb(order: &mut Vec<usize>, rng: &mut Philox) {
    let moves = 2 + rng.index_below(3 + order.len() / 5);
    for _ in 0..moves {
        let variable = order.remove(rng.index_below(order.len()));
        order.insert(rng.index_below(order.len() + 1), variable);
    }
}
