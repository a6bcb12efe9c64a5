//! GRaSP, greedy relaxations of the sparsest permutation (Lam, Andrews and Ramsey, UAI 2022): a
//! depth-first search over orders of the variables by tucks.
//!
//! A tuck takes an edge `x -> y` of the graph that an order stands for and moves y, with its
//! ancestors between the two, to before x. A tuck of a covered edge leads to a graph the data
//! cannot tell apart, so the score stays and the search goes on from there, `depth` tucks deep at
//! most; other edges are tucked at the first level only. The first tuck that improves the score is
//! kept and the search begins again. The graph of an order comes from grow-shrink trees, as in
//! boss.

use std::collections::BTreeSet;

use hindcast_stats::Philox;

use super::boss::perturb;
use super::score::{IMPROVEMENT_MIN, LocalScore, Task};
use super::search::Found;
use super::trees::Trees;
use crate::control::Stop;
use crate::graph::NodeSet;

/// The first search, from `order`, and then perturbed ones, until `restarts` of them in a row
/// bring nothing.
pub(super) fn search<S: LocalScore>(
    task: Task<'_, S>,
    order: Vec<usize>,
    (restarts, depth): (u32, u32),
    seed: u64,
) -> Result<Found, Stop> {
    let mut search = Search::new(task, order)?;
    let mut rng = Philox::new(seed, 1);
    search.climb(depth, &mut rng)?;
    let (mut best_score, mut best) = (search.score(), search.order.clone());
    let (mut searches, mut in_vain) = (1, 0);
    while in_vain < restarts {
        task.control.progress("grasp searches", searches, 0);
        let mut order = best.clone();
        perturb(&mut order, &mut rng);
        task.knowledge.arrange(&mut order);
        search.restart(order)?;
        search.climb(depth, &mut rng)?;
        searches += 1;
        in_vain += 1;
        if search.score() > best_score + IMPROVEMENT_MIN {
            (best_score, best) = (search.score(), search.order.clone());
            in_vain = 0;
        }
    }
    search.restart(best)?;
    Ok(Found {
        dag: search.dag,
        searches: Some(searches),
        iterations: search.tucks,
        cut: false,
    })
}

/// Edges turned since the last improvement, each as a pair of the lesser and the greater column.
type Turned = BTreeSet<(usize, usize)>;

struct Search<'a, S: LocalScore> {
    task: Task<'a, S>,
    trees: Trees<'a, S>,
    order: Vec<usize>,
    position: Vec<usize>,
    /// Parents, term of the score, and whose coming or going would change them.
    dag: Vec<Vec<usize>>,
    scores: Vec<f64>,
    touching: Vec<NodeSet>,
    tucks: u64,
}

/// What a tuck changed.
struct Before {
    first: usize,
    order: Vec<usize>,
    terms: Vec<(usize, Vec<usize>, f64, NodeSet)>,
}

impl<'a, S: LocalScore> Search<'a, S> {
    fn new(task: Task<'a, S>, order: Vec<usize>) -> Result<Self, Stop> {
        let d = order.len();
        let mut search = Self {
            task,
            trees: Trees::new(task),
            order: Vec::new(),
            position: vec![0; d],
            dag: vec![Vec::new(); d],
            scores: vec![0.0; d],
            touching: vec![NodeSet::empty(d); d],
            tucks: 0,
        };
        search.restart(order)?;
        Ok(search)
    }

    fn restart(&mut self, order: Vec<usize>) -> Result<(), Stop> {
        self.order = order;
        for (place, &v) in self.order.iter().enumerate() {
            self.position[v] = place;
        }
        for v in 0..self.order.len() {
            self.task.control.check()?;
            self.refresh(v)?;
        }
        Ok(())
    }

    fn score(&self) -> f64 {
        self.order.iter().fold(0.0, |sum, &v| sum + self.scores[v])
    }

    fn climb(&mut self, depth: u32, rng: &mut Philox) -> Result<(), Stop> {
        while self.descend(depth, &Turned::new(), &mut Vec::new(), rng)? {
            self.trees.keep_within_memory();
        }
        Ok(())
    }

    /// Tucks, and covered tucks from there; true when the score is better than it was, and the
    /// order is then the one that made it so. Otherwise the order is what it was.
    fn descend(
        &mut self,
        depth: u32,
        turned: &Turned,
        seen: &mut Vec<Turned>,
        rng: &mut Philox,
    ) -> Result<bool, Stop> {
        let mut heads = self.order.clone();
        rng.shuffle(&mut heads);
        for y in heads {
            let mut tails = self.dag[y].clone();
            rng.shuffle(&mut tails);
            for x in tails {
                let covered = self.is_covered(x, y);
                if !covered && !seen.is_empty() {
                    continue;
                }
                self.task.control.check()?;
                let Some((before, gain)) = self.tuck(x, y)? else {
                    continue;
                };
                if gain > IMPROVEMENT_MIN {
                    return Ok(true);
                }
                if covered && depth > 1 && gain > -IMPROVEMENT_MIN {
                    let mut further = turned.clone();
                    let pair = (x.min(y), x.max(y));
                    if !further.remove(&pair) {
                        further.insert(pair);
                    }
                    if !further.is_empty() && !seen.contains(&further) {
                        seen.push(further.clone());
                        if self.descend(depth - 1, &further, seen, rng)? {
                            return Ok(true);
                        }
                        seen.pop();
                    }
                }
                self.undo(before);
            }
        }
        Ok(false)
    }

    /// Whether the parents of y are x and the parents of x.
    fn is_covered(&self, x: usize, y: usize) -> bool {
        let (of_x, of_y) = (&self.dag[x], &self.dag[y]);
        of_y.len() == of_x.len() + 1 && of_x.iter().all(|v| of_y.contains(v))
    }

    /// Moves y and those of its ancestors that come after x to before x. What was there before and
    /// how much the score gained; `None` when a required edge stands against it.
    fn tuck(&mut self, x: usize, y: usize) -> Result<Option<(Before, f64)>, Stop> {
        let (first, last) = (self.position[x], self.position[y]);
        let mut moved = NodeSet::empty(self.order.len());
        moved.insert(y);
        for place in (first + 1..=last).rev() {
            let v = self.order[place];
            if moved.contains(v) {
                for &parent in &self.dag[v] {
                    moved.insert(parent);
                }
            }
        }
        moved.remove(x);
        let segment = self.order[first..=last].to_vec();
        let (front, back): (Vec<usize>, Vec<usize>) =
            segment.iter().copied().partition(|&v| moved.contains(v));
        let knowledge = self.task.knowledge;
        let required = |v: usize| knowledge.required_parents(v).iter();
        if front.iter().any(|&v| required(v).any(|p| back.contains(p))) {
            return Ok(None);
        }
        self.place(first, &[front, back.clone()].concat());
        let mut before = Before {
            first,
            order: segment,
            terms: Vec::new(),
        };
        let members_back = NodeSet::of(self.order.len(), &back);
        let mut gain = 0.0;
        for i in 0..before.order.len() {
            let v = before.order[i];
            // Only variables of the other part changed sides.
            let crossed = if moved.contains(v) {
                &members_back
            } else {
                &moved
            };
            if !self.touching[v].intersects(crossed) {
                continue;
            }
            let parents = std::mem::take(&mut self.dag[v]);
            let touching = self.touching[v].clone();
            let old = self.scores[v];
            before.terms.push((v, parents, old, touching));
            self.refresh(v)?;
            gain += self.scores[v] - old;
        }
        self.tucks += 1;
        Ok(Some((before, gain)))
    }

    fn undo(&mut self, before: Before) {
        self.place(before.first, &before.order);
        for (v, parents, score, touching) in before.terms {
            self.dag[v] = parents;
            self.scores[v] = score;
            self.touching[v] = touching;
        }
    }

    fn place(&mut self, first: usize, variables: &[usize]) {
        for (place, &v) in (first..).zip(variables) {
            self.order[place] = v;
            self.position[v] = place;
        }
    }

    fn refresh(&mut self, v: usize) -> Result<(), Stop> {
        let before = NodeSet::of(self.order.len(), &self.order[..self.position[v]]);
        let touching = &mut self.touching[v];
        touching.clear();
        let parents = self.trees.parents(v, &before, Some(touching))?;
        self.dag[v].clear();
        self.dag[v].extend_from_slice(parents);
        self.dag[v].sort_unstable();
        self.scores[v] = self.trees.score(v, &before, None)?;
        Ok(())
    }
}
