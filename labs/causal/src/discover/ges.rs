//! Greedy equivalence search (Chickering, JMLR 3, 2002): from the empty class of graphs the best
//! insertion of an edge, while one improves the score, then the best deletion, while one does;
//! both again until a round deletes nothing. With `turning` a third phase reverses edges (after
//! Hauser and Buehlmann, JMLR 13, 2012) before the two begin again.
//!
//! The operators of a head depend on its neighbours and parents and on what is adjacent to its
//! neighbours, so that after a step only those of a few variables are looked for again. All tails
//! of a head are scored at once, for each clique among its neighbours.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use super::cpdag::{Cpdag, NOWHERE};
use super::score::{IMPROVEMENT_MIN, LocalScore, Task};
use crate::control::Stop;
use crate::error::LabError;
use crate::graph::NodeSet;

/// Cliques among the neighbours of one variable that are tried; far above what a sparse graph has.
const CLIQUES_MAX: usize = 4096;
/// Heads between two looks at the control.
const CHECK_EVERY: usize = 8;

/// The parents of each variable.
pub(super) type Dag = Vec<Vec<usize>>;

/// A graph of the class that was reached, and how many steps led there.
pub(super) struct Reached {
    pub dag: Dag,
    pub steps: u64,
}

/// All phases, from the graph of the required edges.
pub(super) fn search<S: LocalScore>(task: Task<'_, S>, turning: bool) -> Result<Reached, LabError> {
    let mut search = Search::new(task, task.knowledge.required().to_vec());
    loop {
        search.run(Phase::Forward)?;
        let mut steps = search.run(Phase::Backward)?;
        if turning {
            steps += search.run(Phase::Turning)?;
        }
        if steps == 0 {
            return Ok(search.reached);
        }
    }
}

/// Only deletions, from the class of a graph that honours what is known.
pub(super) fn backward<S: LocalScore>(task: Task<'_, S>, dag: Dag) -> Result<Reached, LabError> {
    let mut search = Search::new(task, dag);
    search.run(Phase::Backward)?;
    Ok(search.reached)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Forward,
    Backward,
    Turning,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Forward => "insertions",
            Self::Backward => "deletions",
            Self::Turning => "reversals",
        }
    }
}

/// A step to another class. `clique` are the neighbours of the head that become or stay its
/// parents.
#[derive(Debug, Clone)]
struct Operator {
    gain: f64,
    tail: usize,
    head: usize,
    clique: Rc<[usize]>,
}

struct Search<'a, S: LocalScore> {
    task: Task<'a, S>,
    work: S::Work,
    class: Cpdag,
    reached: Reached,
    gains: Vec<(usize, f64)>,
    /// For steps from one variable to another the heads with an insertion that a path over them
    /// stands against.
    watchers: BTreeMap<(usize, usize), NodeSet>,
}

impl<'a, S: LocalScore> Search<'a, S> {
    fn new(task: Task<'a, S>, dag: Dag) -> Self {
        Self {
            task,
            work: task.score.work(),
            class: Cpdag::of(&dag),
            reached: Reached { dag, steps: 0 },
            gains: Vec::new(),
            watchers: BTreeMap::new(),
        }
    }

    /// Steps of one kind until none improves the score; how many.
    fn run(&mut self, phase: Phase) -> Result<u64, LabError> {
        let d = self.class.width();
        let mut operators: Vec<Vec<Operator>> = vec![Vec::new(); d];
        let mut stale = NodeSet::full(d);
        let mut steps = 0;
        self.watchers.clear();
        loop {
            for (i, head) in stale.iter().enumerate() {
                if i % CHECK_EVERY == 0 {
                    self.task.control.check()?;
                }
                let mut found = match phase {
                    Phase::Forward => self.insertions(head)?,
                    Phase::Backward => self.deletions(head)?,
                    Phase::Turning => self.reversals(head)?,
                };
                found.sort_unstable_by(|a, b| {
                    let by_gain = a.gain.total_cmp(&b.gain);
                    by_gain
                        .then(b.tail.cmp(&a.tail))
                        .then(b.clique.cmp(&a.clique))
                });
                operators[head] = found;
            }
            let Some((operator, dag)) = self.best(phase, &mut operators)? else {
                return Ok(steps);
            };
            steps += 1;
            self.reached.steps += 1;
            let control = self.task.control;
            control.progress(phase.name(), self.reached.steps, 0);
            let next = Cpdag::of(&dag);
            stale = self.touched(&operator, &next);
            (self.class, self.reached.dag) = (next, dag);
        }
    }

    /// The operator of highest gain that is valid, and a graph of the class that it leads to. An
    /// insertion that would close a cycle is dropped; its head is looked at again when the path
    /// that stood against it is lost.
    fn best(
        &mut self,
        phase: Phase,
        operators: &mut [Vec<Operator>],
    ) -> Result<Option<(Operator, Dag)>, LabError> {
        // Gains are positive, so that their bits sort as they do.
        let key = |head: usize, list: &[Operator]| {
            let operator = list.last()?;
            Some((operator.gain.to_bits(), Reverse(head)))
        };
        let lists = operators.iter().enumerate();
        let mut heads: BinaryHeap<_> = lists.filter_map(|(h, list)| key(h, list)).collect();
        let mut reached: BTreeMap<(usize, Rc<[usize]>), Vec<usize>> = BTreeMap::new();
        let mut refused = Vec::new();
        let mut best = None;
        let mut pops = 0;
        while let Some((_, Reverse(head))) = heads.pop() {
            if pops % CHECK_EVERY == 0 {
                self.task.control.check()?;
            }
            pops += 1;
            let operator = operators[head].pop().expect("a head with an operator");
            heads.extend(key(head, &operators[head]));
            if phase == Phase::Forward {
                let whence = reached
                    .entry((head, Rc::clone(&operator.clique)))
                    .or_insert_with(|| self.class.reach(head, &operator.clique));
                if whence[operator.tail] != NOWHERE {
                    watch(&mut self.watchers, whence, &operator);
                    continue;
                }
            }
            match self.apply(phase, &operator) {
                Some(dag) => {
                    best = Some((operator, dag));
                    break;
                }
                None if phase == Phase::Turning || !self.task.knowledge.is_empty() => {
                    refused.push(operator);
                }
                None => return Err(LabError::Internal("a valid step left no graph".into())),
            }
        }
        // What is known stood against these, and may not do so after the step.
        for operator in refused.into_iter().rev() {
            operators[operator.head].push(operator);
        }
        Ok(best)
    }

    /// A graph of the class that the operator leads to, or `None` when there is none that honours
    /// what is known.
    fn apply(&self, phase: Phase, operator: &Operator) -> Option<Dag> {
        let Operator { tail, head, .. } = *operator;
        let mut class = self.class.clone();
        match phase {
            Phase::Forward => {
                class.direct(tail, head);
                for &v in operator.clique.iter() {
                    class.direct(v, head);
                }
            }
            Phase::Backward => {
                let mut detached = class.neighbours(head);
                detached.retain(|&v| {
                    v != tail && class.adjacent(v, tail) && !operator.clique.contains(&v)
                });
                class.part(tail, head);
                for v in detached {
                    class.direct(head, v);
                    if class.undirected(tail, v) {
                        class.direct(tail, v);
                    }
                }
            }
            Phase::Turning => {
                let mut dag = self.with_parents(head, &operator.clique)?;
                reverse(&mut dag, tail, head);
                class = Cpdag::of(&dag);
            }
        }
        let dag = class.extend()?;
        let knowledge = self.task.knowledge;
        if knowledge.is_empty() {
            return Some(dag);
        }
        // Directing what is known may make a collider that the class does not have: that graph
        // belongs to another class, with another score.
        let class = Cpdag::of(&dag);
        let mut directed = class.clone();
        knowledge.orient(&mut directed);
        let dag = directed.extend()?;
        (knowledge.holds_in(&dag) && Cpdag::of(&dag) == class).then_some(dag)
    }

    /// Variables whose operators may have changed by a step. For reversals these are only the
    /// likely ones; the next round of phases looks at all again before the search ends.
    fn touched(&mut self, operator: &Operator, next: &Cpdag) -> NodeSet {
        let d = next.width();
        let changed: Vec<usize> = (0..d).filter(|&v| !self.class.same_at(next, v)).collect();
        let mut touched = NodeSet::of(d, &changed);
        for &v in &changed {
            let lost = self
                .class
                .reachable_in_one(v)
                .minus(next.reachable_in_one(v));
            for w in lost.iter() {
                if let Some(heads) = self.watchers.remove(&(v, w)) {
                    touched.add(&heads);
                }
            }
        }
        for end in [operator.tail, operator.head] {
            for class in [&self.class, next] {
                touched.add(&NodeSet::of(d, &class.neighbours(end)));
            }
        }
        touched
    }

    /// Insertions of `tail -> head` (Chickering, theorem 15): the neighbours of the head that are
    /// adjacent to the tail, and any others, together a clique, become or stay parents.
    fn insertions(&mut self, head: usize) -> Result<Vec<Operator>, Stop> {
        let knowledge = self.task.knowledge;
        let neighbours = self.class.neighbours(head);
        let adjacent = self.class.adjacents(head);
        let parents = self.class.parents(head);
        let mut found = Vec::new();
        for clique in cliques(&self.class, &neighbours) {
            let given = [&parents[..], &clique].concat();
            self.gains.clear();
            let score = self.task.score;
            score.gains(&mut self.work, head, &given, &mut self.gains)?;
            // The tail may be adjacent to none of the neighbours that stay undirected.
            let mut barred = adjacent.clone();
            for &v in neighbours.iter().filter(|v| !clique.contains(v)) {
                barred.add(&self.class.adjacents(v));
            }
            let clique: Rc<[usize]> = clique.into();
            for &(tail, gain) in &self.gains {
                let possible = gain > IMPROVEMENT_MIN
                    && !barred.contains(tail)
                    && (knowledge.allows(tail, head) || knowledge.allows(head, tail));
                if possible {
                    let clique = Rc::clone(&clique);
                    found.push(Operator {
                        gain,
                        tail,
                        head,
                        clique,
                    });
                }
            }
        }
        Ok(found)
    }

    /// Deletions of an edge into or at `head` (Chickering, theorem 17): of the neighbours of the
    /// head that are adjacent to the tail a clique stays, the others become children.
    fn deletions(&mut self, head: usize) -> Result<Vec<Operator>, Stop> {
        let neighbours = self.class.neighbours(head);
        let parents = self.class.parents(head);
        let knowledge = self.task.knowledge;
        let mut found = Vec::new();
        for &tail in parents.iter().chain(&neighbours) {
            if knowledge.required_parents(head).contains(&tail)
                || knowledge.required_parents(tail).contains(&head)
            {
                continue;
            }
            let mut shared = neighbours.clone();
            shared.retain(|&v| v != tail && self.class.adjacent(v, tail));
            for clique in cliques(&self.class, &shared) {
                let mut given = parents.clone();
                given.retain(|&v| v != tail);
                given.extend_from_slice(&clique);
                let without = self.task.score.local(&mut self.work, head, &given)?;
                given.push(tail);
                let gain = without - self.task.score.local(&mut self.work, head, &given)?;
                if gain > IMPROVEMENT_MIN {
                    found.push(Operator {
                        gain,
                        tail,
                        head,
                        clique: clique.into(),
                    });
                }
            }
        }
        Ok(found)
    }

    /// Reversals that end in `tail -> head`: for each clique of neighbours as further parents of
    /// the head, the edge is turned in one graph of the class.
    fn reversals(&mut self, head: usize) -> Result<Vec<Operator>, Stop> {
        let neighbours = self.class.neighbours(head);
        let tails: Vec<usize> = (0..self.class.width())
            .filter(|&v| self.class.adjacent(v, head) && !self.class.directed(v, head))
            .collect();
        let mut found = Vec::new();
        for clique in cliques(&self.class, &neighbours) {
            self.task.control.check()?;
            let Some(dag) = self.with_parents(head, &clique) else {
                continue;
            };
            for &tail in tails.iter().filter(|&&v| dag[v].contains(&head)) {
                let mut turned = dag.clone();
                reverse(&mut turned, tail, head);
                if !is_acyclic(&turned, tail) {
                    continue;
                }
                let mut gain = 0.0;
                for v in [tail, head] {
                    gain += self.task.score.local(&mut self.work, v, &turned[v])?;
                    gain -= self.task.score.local(&mut self.work, v, &dag[v])?;
                }
                if gain > IMPROVEMENT_MIN {
                    let clique = clique.as_slice().into();
                    found.push(Operator {
                        gain,
                        tail,
                        head,
                        clique,
                    });
                }
            }
        }
        Ok(found)
    }

    /// A graph of the class in which the neighbours `clique` of `head`, and no others, are its
    /// parents.
    fn with_parents(&self, head: usize, clique: &[usize]) -> Option<Dag> {
        let mut class = self.class.clone();
        for v in class.neighbours(head) {
            if clique.contains(&v) {
                class.direct(v, head);
            } else {
                class.direct(head, v);
            }
        }
        class.extend()
    }
}

/// Notes that the path to the tail of an insertion stands against it.
fn watch(watchers: &mut BTreeMap<(usize, usize), NodeSet>, whence: &[usize], operator: &Operator) {
    let mut at = operator.tail;
    while at != operator.head {
        let before = whence[at];
        let heads = watchers.entry((before, at));
        let heads = heads.or_insert_with(|| NodeSet::empty(whence.len()));
        heads.insert(operator.head);
        at = before;
    }
}

/// Turns `head -> tail` into `tail -> head`.
fn reverse(dag: &mut [Vec<usize>], tail: usize, head: usize) {
    dag[tail].retain(|&v| v != head);
    dag[head].push(tail);
    dag[head].sort_unstable();
}

/// Whether no path against the edges leads from `start` back to it.
fn is_acyclic(dag: &[Vec<usize>], start: usize) -> bool {
    let mut seen = NodeSet::empty(dag.len());
    let mut stack = dag[start].clone();
    while let Some(v) = stack.pop() {
        if v == start {
            return false;
        }
        if !seen.contains(v) {
            seen.insert(v);
            stack.extend_from_slice(&dag[v]);
        }
    }
    true
}

/// All cliques among `variables`, each after those it begins with, the empty one first.
fn cliques(class: &Cpdag, variables: &[usize]) -> Vec<Vec<usize>> {
    let mut found = vec![Vec::new()];
    extend_cliques(class, variables, &mut Vec::new(), &mut found);
    found
}

fn extend_cliques(
    class: &Cpdag,
    rest: &[usize],
    clique: &mut Vec<usize>,
    found: &mut Vec<Vec<usize>>,
) {
    for (i, &v) in rest.iter().enumerate() {
        if found.len() == CLIQUES_MAX {
            return;
        }
        clique.push(v);
        found.push(clique.clone());
        let mut fitting = rest[i + 1..].to_vec();
        fitting.retain(|&w| class.adjacent(v, w));
        extend_cliques(class, &fitting, clique, found);
        clique.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use crate::data::{Dataset, Limits, Table};
    use crate::discover::Background;
    use crate::discover::discrete::Discrete;
    use crate::discover::knowledge::Knowledge;
    use crate::discover::regression::Bic;
    use crate::discover::scoring::{ScoreChoice, ScoreOptions};
    use hindcast_stats::Philox;

    const WIDTH: usize = 5;

    /// Rows of a random dense graph; whole numbers so that they are categories as well.
    fn dataset(seed: u64, rows: usize) -> Dataset {
        let mut rng = Philox::new(seed, 0);
        let mut weights = [[0.0; WIDTH]; WIDTH];
        for (head, row) in weights.iter_mut().enumerate() {
            for weight in &mut row[..head] {
                *weight = if rng.uniform() < 0.7 {
                    rng.normal()
                } else {
                    0.0
                };
            }
        }
        let rows: Vec<Vec<f64>> = (0..rows)
            .map(|_| {
                let mut row = Vec::new();
                for weights in &weights {
                    let sum = weights
                        .iter()
                        .zip(&row)
                        .fold(rng.normal(), |s, (w, x)| s + w * x);
                    row.push(sum.round().clamp(-1.0, 1.0));
                }
                row
            })
            .collect();
        Dataset::from_rows(&rows, None, &Limits::default()).unwrap()
    }

    /// Every graph of the class: each way to direct its undirected edges that has the same class.
    fn members(dag: &Dag) -> Vec<Dag> {
        let class = Cpdag::of(dag);
        let pairs: Vec<(usize, usize)> = (0..dag.len())
            .flat_map(|head| dag[head].iter().map(move |&tail| (tail, head)))
            .filter(|&(tail, head)| class.undirected(tail, head))
            .collect();
        let turned = |pattern: u32| {
            let mut other = dag.clone();
            for (i, &(tail, head)) in pairs.iter().enumerate() {
                if pattern >> i & 1 == 1 {
                    reverse(&mut other, head, tail);
                }
            }
            other
        };
        let all = (0..1_u32 << pairs.len()).map(turned);
        all.filter(|dag| has_no_cycle(dag) && Cpdag::of(dag) == class)
            .collect()
    }

    fn has_no_cycle(dag: &Dag) -> bool {
        (0..dag.len()).all(|v| is_acyclic(dag, v))
    }

    /// Graphs with one edge more, less or turned.
    fn neighbours(dag: &Dag) -> Vec<(Phase, Dag)> {
        let mut found = Vec::new();
        let d = dag.len();
        for (tail, head) in (0..d).flat_map(|a| (0..d).map(move |b| (a, b))) {
            let mut other = dag.clone();
            if dag[head].contains(&tail) {
                other[head].retain(|&v| v != tail);
                found.push((Phase::Backward, other.clone()));
                other[tail].push(head);
                found.push((Phase::Turning, other));
            } else if tail != head && !dag[tail].contains(&head) {
                other[head].push(tail);
                found.push((Phase::Forward, other));
            }
        }
        found.retain(|(_, dag)| has_no_cycle(dag));
        found
    }

    fn no_neighbour_is_better<S: LocalScore>(score: &S, label: &str) {
        let names: Vec<String> = (0..score.width()).map(|i| format!("x{i}")).collect();
        let nothing = Knowledge::new(&Background::default(), &names).unwrap();
        let task = Task {
            score,
            knowledge: &nothing,
            control: &Uncontrolled,
        };
        for turning in [false, true] {
            let end = search(task, turning).unwrap().dag;
            let mut work = score.work();
            let reached = score.total(&mut work, &end).unwrap();
            for member in members(&end) {
                for (phase, other) in neighbours(&member) {
                    if phase == Phase::Turning && !turning {
                        continue;
                    }
                    let total = score.total(&mut work, &other).unwrap();
                    assert!(
                        total <= reached + 2.0 * IMPROVEMENT_MIN,
                        "{label} {turning} {phase:?}: {total} {reached}\n{end:?}\n{other:?}"
                    );
                }
            }
        }
    }

    /// Every neighbour of every member of the last class, against what the phases try.
    #[test]
    fn search_ends_where_no_single_step_improves_the_score() {
        for seed in 0..60 {
            let data = dataset(seed, 60 + 40 * usize::try_from(seed % 7).unwrap());
            let bic = Bic::new(data.covariance().correlation(), data.rows(), 1.0);
            no_neighbour_is_better(&bic, &format!("bic {seed}"));
            for choice in [ScoreChoice::Bdeu, ScoreChoice::DiscreteBic] {
                let options = ScoreOptions {
                    choice,
                    ..ScoreOptions::default()
                };
                let codes = data.codes().unwrap();
                let score = Discrete::new(codes, &options, &Uncontrolled).unwrap();
                no_neighbour_is_better(&score, &format!("{choice:?} {seed}"));
            }
        }
    }

    /// Where the search ends below the score of the true graph it is no mistake of a step.
    #[test]
    fn end_below_the_true_graph_is_a_local_optimum() {
        let path = "../../tests/data/causal/discrete/sachs_2000.csv";
        let file = std::fs::read(path).expect("a file of the repository");
        let table = Table::parse(&file, &Limits::default()).unwrap();
        let data = table.dataset().unwrap();
        let options = ScoreOptions {
            choice: ScoreChoice::DiscreteBic,
            ..ScoreOptions::default()
        };
        let score = Discrete::new(data.codes().unwrap(), &options, &Uncontrolled).unwrap();
        no_neighbour_is_better(&score, "sachs");
    }
}
