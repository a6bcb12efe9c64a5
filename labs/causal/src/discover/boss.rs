//! Best order score search (Andrews et al., NeurIPS 2023): a local search over orders of the
//! variables, each scored by the best parents among those that come earlier.
//!
//! One sweep takes each variable out and puts it back where the score is best, all places being
//! valued in one pass. Sweeps end when none improves. The search then starts again from the best
//! order with a few variables moved at random, until `restarts` such searches in a row bring
//! nothing; the caches are shared, so these cost much less than the first. It knows no class of
//! graphs: what is answered is one graph that fits the best order.

use hindcast_stats::Philox;

use super::ceiling::Ceilings;
use super::score::{IMPROVEMENT_MIN, LocalScore, Task};
use super::search::Found;
use super::trees::Trees;
use crate::control::Stop;
use crate::graph::NodeSet;

/// Sweeps of one search; far above what any search was seen to need.
const SWEEPS_MAX: u64 = 1000;
/// Targets between two looks at the control.
const CHECK_EVERY: usize = 32;

/// The first search, from `order`, and then perturbed ones, until `restarts` of them in a row
/// bring nothing.
pub(super) fn search<S: LocalScore>(
    task: Task<'_, S>,
    order: Vec<usize>,
    restarts: u32,
    seed: u64,
) -> Result<Found, Stop> {
    Search::new(task, order)?.iterate(restarts, seed)
}

/// Moves a few variables to random places: sometimes two, to search near the best order, sometimes
/// a fifth of all, to leave it.
pub(super) fn perturb(order: &mut Vec<usize>, rng: &mut Philox) {
    let moves = 2 + rng.index_below(3 + order.len() / 5);
    for _ in 0..moves {
        let variable = order.remove(rng.index_below(order.len()));
        order.insert(rng.index_below(order.len() + 1), variable);
    }
}

struct Search<'a, S: LocalScore> {
    task: Task<'a, S>,
    trees: Trees<'a, S>,
    /// For each variable the heads of its required edges.
    required_children: Vec<Vec<usize>>,
    order: Vec<usize>,
    position: Vec<usize>,
    /// For each variable its score in the order, and the variables whose coming before it or
    /// going would change that score. With these most questions need no look at the trees.
    scores: Vec<f64>,
    touching: Vec<NodeSet>,
    /// For each place: what moving the variable to it gains over putting it first.
    gains: Vec<f64>,
    /// Of the variable that is looked at what is left of its variance at each place, at least.
    variances: Vec<f64>,
    ceilings: Option<Ceilings<'a>>,
    /// Those that come before the one that is looked at.
    earlier: NodeSet,
    sweeps: u64,
    cut: bool,
}

impl<'a, S: LocalScore> Search<'a, S> {
    fn new(task: Task<'a, S>, order: Vec<usize>) -> Result<Self, Stop> {
        let d = order.len();
        let mut required_children = vec![Vec::new(); d];
        for (head, tails) in task.knowledge.required().iter().enumerate() {
            for &tail in tails {
                required_children[tail].push(head);
            }
        }
        let ceilings = match task.score.correlations() {
            Some((matrix, rows)) => Ceilings::new(matrix, rows, task.control)?,
            None => None,
        };
        Ok(Self {
            task,
            trees: Trees::new(task),
            required_children,
            order,
            position: vec![0; d],
            scores: vec![0.0; d],
            touching: vec![NodeSet::empty(d); d],
            gains: vec![0.0; d],
            variances: vec![0.0; d],
            ceilings,
            earlier: NodeSet::empty(d),
            sweeps: 0,
            cut: false,
        })
    }

    /// The first search and then perturbed ones, until `patience` of them in a row bring nothing.
    fn iterate(&mut self, patience: u32, seed: u64) -> Result<Found, Stop> {
        let mut rng = Philox::new(seed, 0);
        let mut best_score = self.climb()?;
        let mut best = self.order.clone();
        let (mut searches, mut in_vain) = (1, 0);
        while in_vain < patience {
            self.task.control.progress("boss searches", searches, 0);
            self.order.clone_from(&best);
            perturb(&mut self.order, &mut rng);
            self.task.knowledge.arrange(&mut self.order);
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
        let mut dag = vec![Vec::new(); self.order.len()];
        self.earlier.clear();
        for &v in &self.order {
            let mut parents = self.trees.parents(v, &self.earlier, None)?.to_vec();
            parents.sort_unstable();
            dag[v] = parents;
            self.earlier.insert(v);
        }
        Ok(Found {
            dag,
            searches: Some(searches),
            iterations: self.sweeps,
            cut: self.cut,
        })
    }

    /// Sweeps until none improves; the score of the order it ends at.
    fn climb(&mut self) -> Result<f64, Stop> {
        self.place_all()?;
        let start = self.sweeps;
        // Looked at since the order was last changed: another look would find the same.
        let mut settled = NodeSet::empty(self.order.len());
        loop {
            self.sweeps += 1;
            let mut improved = false;
            for variable in self.order.clone() {
                if settled.contains(variable) {
                    continue;
                }
                if self.move_best(variable)? {
                    improved = true;
                    settled.clear();
                } else {
                    settled.insert(variable);
                }
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
    fn move_best(&mut self, variable: usize) -> Result<bool, Stop> {
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
        if let Some(ceilings) = &mut self.ceilings {
            ceilings.shift(from, to);
        }
        let (first, last) = (from.min(to), from.max(to));
        for place in first..=last {
            self.position[self.order[place]] = place;
        }
        self.earlier.clear();
        for &other in &self.order[..first] {
            self.earlier.insert(other);
        }
        for place in first..=last {
            let other = self.order[place];
            if other == variable || self.touching[other].contains(variable) {
                self.refresh(other)?;
            }
            self.earlier.insert(other);
        }
        Ok(true)
    }

    /// The places that required edges leave to `variable`: after its required parents, before its
    /// required children, places counted without itself.
    fn open_places(&self, variable: usize, from: usize) -> (usize, usize) {
        let place = |v: usize| self.position[v] - usize::from(self.position[v] > from);
        let required = self.task.knowledge.required_parents(variable);
        let first = required.iter().map(|&v| place(v) + 1).max().unwrap_or(0);
        let children = self.required_children[variable].iter();
        let last = children.map(|&v| place(v)).min();
        (first, last.unwrap_or(self.order.len() - 1))
    }

    /// Fills `gains`: place `p` means that `p` of the others come before `variable`. Places that
    /// cannot be better than the present one have a gain of minus infinity.
    fn value_places(&mut self, variable: usize, from: usize) -> Result<(), Stop> {
        self.value_others(variable, from)?;
        match &self.ceilings {
            Some(ceilings) => ceilings.variances(from, &mut self.variances),
            None => self.variances.fill(0.0),
        }
        let present = self.gains[from] + self.scores[variable];
        let mut own = NodeSet::empty(self.order.len());
        let (mut own_score, mut is_known) = (f64::NAN, false);
        let (mut others, mut least) = (f64::NAN, f64::INFINITY);
        self.earlier.clear();
        let mut next = 0;
        for place in 0..self.order.len() {
            let gain = self.gains[place];
            if let Some(ceilings) = &self.ceilings
                && others.to_bits() != gain.to_bits()
            {
                others = gain;
                least = ceilings.variance_for(present - others);
            }
            if place == from {
                self.gains[place] = present;
                continue;
            }
            if self.variances[place] >= least {
                self.gains[place] = f64::NEG_INFINITY;
                continue;
            }
            for &other in &self.order[next..place + usize::from(place > from)] {
                if other != variable {
                    is_known &= !own.contains(other);
                    self.earlier.insert(other);
                }
            }
            next = place + usize::from(place > from);
            if !is_known {
                own.clear();
                let touching = Some(&mut own);
                own_score = self.trees.score(variable, &self.earlier, touching)?;
                is_known = true;
            }
            self.gains[place] += own_score;
        }
        Ok(())
    }

    /// What the others gain when `variable` is at each place, over its coming first.
    fn value_others(&mut self, variable: usize, from: usize) -> Result<(), Stop> {
        let mut gain = 0.0;
        self.gains[0] = 0.0;
        self.earlier.clear();
        for at in 0..self.order.len() {
            if at % CHECK_EVERY == 0 {
                self.task.control.check()?;
            }
            if at == from {
                continue;
            }
            let other = self.order[at];
            let joins = at < from;
            if self.touching[other].contains(variable) {
                if joins {
                    self.earlier.insert(variable);
                }
                let changed = self.trees.score(other, &self.earlier, None)?;
                self.earlier.remove(variable);
                gain += if joins {
                    self.scores[other] - changed
                } else {
                    changed - self.scores[other]
                };
            }
            self.earlier.insert(other);
            self.gains[at + usize::from(joins)] = gain;
        }
        Ok(())
    }

    fn place_all(&mut self) -> Result<(), Stop> {
        for (place, &variable) in self.order.iter().enumerate() {
            self.position[variable] = place;
        }
        if let Some(ceilings) = &mut self.ceilings {
            ceilings.arrange(&self.order, self.task.control)?;
        }
        self.earlier.clear();
        for place in 0..self.order.len() {
            if place % CHECK_EVERY == 0 {
                self.task.control.check()?;
            }
            let variable = self.order[place];
            self.refresh(variable)?;
            self.earlier.insert(variable);
        }
        Ok(())
    }

    /// Brings what is known of a variable up to date; those in `earlier` come before it.
    fn refresh(&mut self, variable: usize) -> Result<(), Stop> {
        let touching = &mut self.touching[variable];
        touching.clear();
        self.scores[variable] = self.trees.score(variable, &self.earlier, Some(touching))?;
        Ok(())
    }
}
