//! Parents of each variable along a known order, from the regressions on all predecessors.
//!
//! Unlike growing from nothing this finds parents whose effects cancel unless both are there; it
//! needs more rows than variables.

use hindcast_stats::Cholesky;

use super::knowledge::Knowledge;
use super::regression::{Bic, Regression, SINGULAR};
use crate::control::{Control, Stop};
use crate::data::Covariance;
use crate::error::LabError;

/// Regressions on all predecessors need more rows than variables.
pub(super) fn refuse_few_rows(moments: &Covariance, name: &str) -> Result<(), LabError> {
    let (rows, d) = (moments.rows(), moments.width());
    if rows > d + 1 {
        return Ok(());
    }
    let message = format!(
        "{name} needs at least {} rows for {d} variables, has {rows}",
        d + 2
    );
    let hint = "boss works with fewer rows than variables";
    Err(LabError::invalid_with_hint("data", message, hint))
}

pub(super) fn collinear() -> LabError {
    LabError::invalid_with_hint(
        "data",
        "a column is a linear combination of others, so its variance given them is 0",
        "leave out the columns that the profile calls collinear",
    )
}

/// The parents of every variable, none of which comes after it in `order`, in that order.
pub(super) fn along_order(
    bic: &Bic<'_>,
    knowledge: &Knowledge,
    order: &[usize],
    control: &dyn Control,
) -> Result<Vec<(usize, Regression)>, LabError> {
    let starts = significant_parents(bic, order, control)?
        .ok_or_else(|| LabError::Internal("an order without ties has a singular factor".into()))?;
    let mut fits = Vec::with_capacity(order.len());
    for (place, &head) in order.iter().enumerate() {
        control.check()?;
        let fit = refine(bic, knowledge, head, &starts[place], &order[..place])
            .ok_or_else(|| LabError::Internal("chosen parents are linearly dependent".into()))?;
        fits.push((head, fit));
    }
    Ok(fits)
}

/// For each place of the order, the predecessors that matter given all others. One factorisation
/// in that order holds the regressions of every variable on all its predecessors: row k of the
/// inverse factor are the coefficients, and the sums of squares of its columns down to row k - 1
/// are the diagonal of the inverse of the predecessors' correlations. `None` when those are
/// linearly dependent.
pub(super) fn significant_parents(
    bic: &Bic<'_>,
    order: &[usize],
    control: &dyn Control,
) -> Result<Option<Vec<Vec<usize>>>, Stop> {
    let (correlation, check) = (bic.correlation.principal(order), || control.check());
    let Some(factor) = Cholesky::new_within(&correlation, SINGULAR / 10.0, check)? else {
        return Ok(None);
    };
    let inverse = factor.lower_inverse_within(check)?;
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
    Ok(Some(chosen))
}

/// Adds and drops parents one at a time while that improves BIC. Required parents stay, and those
/// that may not be parents are not tried.
fn refine(
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
