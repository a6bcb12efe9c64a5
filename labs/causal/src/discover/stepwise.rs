//! Parents of each variable along a known order, from the regressions on all predecessors.
//!
//! Unlike growing from nothing this finds parents whose effects cancel unless both are there; it
//! needs more rows than variables.

use hindcast_stats::Cholesky;

use super::knowledge::Knowledge;
use super::regression::{Bic, Regression, SINGULAR};

/// For each place of the order, the predecessors that matter given all others. One factorisation
/// in that order holds the regressions of every variable on all its predecessors: row k of the
/// inverse factor are the coefficients, and the sums of squares of its columns down to row k - 1
/// are the diagonal of the inverse of the predecessors' correlations. `None` when those are
/// linearly dependent.
pub(super) fn significant_parents(bic: &Bic<'_>, order: &[usize]) -> Option<Vec<Vec<usize>>> {
    let factor = Cholesky::new(&bic.correlation.principal(order), SINGULAR / 10.0)?;
    let inverse = factor.lower_inverse();
    let mut diagonal = vec![0.0; order.len()];
    let mut chosen = Vec::with_capacity(order.len());
    for place in 0..order.len() {
        let row = &inverse.row(place)[..=place];
        let residual = 1.0 / (row[place] * row[place]);
        let mut parents = Vec::new();
        for k in 0..place {
            let coefficient = row[k] / row[place];
            let loss = coefficient * coefficient / diagonal[k];
            if loss / (residual + loss) >= bic.least_r2 {
                parents.push(order[k]);
            }
        }
        for (sum, x) in diagonal.iter_mut().zip(row) {
            *sum += x * x;
        }
        chosen.push(parents);
    }
    Some(chosen)
}

/// Adds and drops parents one at a time while that improves BIC. Required parents stay, and those
/// that may not be parents are not tried.
pub(super) fn refine(
    bic: &Bic<'_>,
    knowledge: &Knowledge,
    head: usize,
    start: &[usize],
    before: &[usize],
) -> Option<Regression> {
    let required = knowledge.required_parents(head);
    let chosen = start
        .iter()
        .filter(|&&v| knowledge.allows(v, head) && !required.contains(&v));
    let start: Vec<usize> = required.iter().chain(chosen).copied().collect();
    let before: Vec<usize> = before
        .iter()
        .copied()
        .filter(|&v| knowledge.allows(v, head))
        .collect();
    let mut fit = bic.shrink(head, &start, required.len())?;
    loop {
        let mut score = bic.of(fit.residual, fit.parents.len());
        let mut better = None;
        for &candidate in before.iter().filter(|v| !fit.parents.contains(v)) {
            if fit.parents.len() >= bic.parents_max || !fit.gains_from(bic, head, candidate) {
                continue;
            }
            let more = [&fit.parents[..], &[candidate]].concat();
            let Some(next) = bic.shrink(head, &more, required.len()) else {
                continue;
            };
            let next_score = bic.of(next.residual, next.parents.len());
            if next_score > score + 1e-6 {
                (score, better) = (next_score, Some(next));
            }
        }
        match better {
            Some(next) => fit = next,
            None => return Some(fit),
        }
    }
}
