//! Backward equivalence search (Chickering, JMLR 3, 2002): deletes edges from a class of graphs as
//! long as that improves the score. After an order search it rarely finds anything; it guards
//! against edges that are only needed for the order the search ended at.

use super::cpdag::Cpdag;
use super::knowledge::Knowledge;
use super::regression::Bic;
use crate::control::Control;
use crate::error::LabError;

/// Undirected neighbours whose subsets are tried; beyond it only the first are.
const SUBSET_BASE_MAX: usize = 10;
const IMPROVEMENT_MIN: f64 = 1e-6;

struct Deletion {
    gain: f64,
    tail: usize,
    head: usize,
    detached: Vec<usize>,
}

/// A better graph, or `None` when no deletion improves the score.
pub(super) fn backward(
    bic: &Bic<'_>,
    knowledge: &Knowledge,
    dag: &[Vec<usize>],
    control: &dyn Control,
) -> Result<Option<Vec<Vec<usize>>>, LabError> {
    let mut current = dag.to_vec();
    let mut improved = false;
    loop {
        let class = Cpdag::of(&current);
        let Some(deletion) = best_deletion(bic, knowledge, &class, control)? else {
            return Ok(improved.then_some(current));
        };
        let Some(next) = member(apply(class, &deletion), knowledge) else {
            return Err(LabError::Internal("a valid deletion left no graph".into()));
        };
        current = next;
        improved = true;
    }
}

/// A graph of the class that honours what is known.
fn member(mut class: Cpdag, knowledge: &Knowledge) -> Option<Vec<Vec<usize>>> {
    knowledge.orient(&mut class);
    class.extend().filter(|dag| knowledge.holds_in(dag))
}

fn best_deletion(
    bic: &Bic<'_>,
    knowledge: &Knowledge,
    class: &Cpdag,
    control: &dyn Control,
) -> Result<Option<Deletion>, LabError> {
    let mut best: Option<Deletion> = None;
    for head in 0..class.width() {
        control.check()?;
        for tail in 0..class.width() {
            let deletable = class.directed(tail, head) || class.undirected(tail, head);
            if !deletable {
                continue;
            }
            let found = deletion(bic, class, tail, head);
            let least = best
                .as_ref()
                .map_or(IMPROVEMENT_MIN, |b| b.gain + IMPROVEMENT_MIN);
            let Some(found) = found.filter(|found| found.gain > least) else {
                continue;
            };
            if knowledge.is_empty() || member(apply(class.clone(), &found), knowledge).is_some() {
                best = Some(found);
            }
        }
    }
    Ok(best)
}

/// The best way of deleting one edge: which of the head's undirected neighbours that are adjacent
/// to the tail become its children.
fn deletion(bic: &Bic<'_>, class: &Cpdag, tail: usize, head: usize) -> Option<Deletion> {
    let mut shared = class.neighbours(head);
    shared.retain(|&v| v != tail && class.adjacent(v, tail));
    shared.truncate(SUBSET_BASE_MAX);
    let mut parents = class.parents(head);
    parents.retain(|&v| v != tail);
    let mut best: Option<Deletion> = None;
    for subset in 0..1_u32 << shared.len() {
        let (mut kept, mut detached) = (Vec::new(), Vec::new());
        for (bit, &v) in shared.iter().enumerate() {
            if subset >> bit & 1 == 1 {
                detached.push(v)
            } else {
                kept.push(v)
            }
        }
        let clique = kept
            .iter()
            .enumerate()
            .all(|(i, &a)| kept[..i].iter().all(|&b| class.adjacent(a, b)));
        if !clique {
            continue;
        }
        let mut without = [kept, parents.clone()].concat();
        let score = bic.local(head, &without);
        without.push(tail);
        let gain = score - bic.local(head, &without);
        if gain.is_finite()
            && best
                .as_ref()
                .is_none_or(|b| gain > b.gain + IMPROVEMENT_MIN)
        {
            best = Some(Deletion {
                gain,
                tail,
                head,
                detached,
            });
        }
    }
    best
}

fn apply(mut class: Cpdag, deletion: &Deletion) -> Cpdag {
    let Deletion { tail, head, .. } = *deletion;
    class.part(tail, head);
    for &v in &deletion.detached {
        class.direct(head, v);
        if class.undirected(v, tail) {
            class.direct(tail, v);
        }
    }
    class
}
