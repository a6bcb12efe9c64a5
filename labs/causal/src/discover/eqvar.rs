//! Top-down ordering for equal error variances (Chen, Drton and Wang, Biometrika 106, 2019,
//! algorithm 1): the next variable in the order is the one with the least variance given those
//! already in it.
//!
//! It reads the order off the units of the data: on standardised data it has nothing to go by.
//! Parents are then those predecessors that pay for themselves under BIC.

use hindcast_stats::{Matrix, ln};

use super::knowledge::Knowledge;
use super::options::EqvarOptions;
use super::regression::{Bic, SINGULAR};
use super::result::{Convergence, IndexedEdge, Outcome, ScoreName, Warning, WarningCode};
use super::stepwise;
use crate::control::{Control, Stop};
use crate::data::Dataset;
use crate::error::LabError;
use crate::graph::EdgeType;

/// Ratio of the largest to the smallest error variance above which the assumption is in doubt.
const VARIANCE_RATIO_MAX: f64 = 2.0;

pub(super) fn run(
    data: &Dataset,
    options: &EqvarOptions,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    let moments = data.covariance();
    stepwise::refuse_few_rows(moments, "eqvar")?;
    let order = top_down_order(moments.covariance(), knowledge, control)?
        .ok_or_else(stepwise::collinear)?;
    let bic = Bic::new(
        moments.correlation(),
        moments.rows(),
        options.penalty_discount,
    );
    let mut outcome = Outcome {
        iterations: 1,
        ..Outcome::default()
    };
    let mut residuals = Vec::new();
    for (head, fit) in stepwise::along_order(&bic, knowledge, &order, control)? {
        let sd = moments.sd(head);
        residuals.push(fit.residual * sd * sd);
        for (&tail, coefficient) in fit.parents.iter().zip(&fit.coefficients) {
            let weight = coefficient * sd / moments.sd(tail);
            outcome.edges.push(IndexedEdge {
                from: tail,
                to: head,
                kind: EdgeType::Directed,
                weight,
            });
        }
    }
    outcome.order = Some(order);
    let mean = hindcast_stats::sum(&residuals) / residuals.len() as f64;
    let likelihood = -bic.rows * residuals.len() as f64 * ln(mean);
    let score = likelihood - bic.cost * outcome.edges.len() as f64;
    outcome.score = Some((ScoreName::EqualVarianceBic, score));
    outcome.warnings.extend(unequal(&residuals));
    outcome.convergence = Convergence {
        converged: true,
        reason: "closed form".into(),
        ..Convergence::default()
    };
    Ok(outcome)
}

/// Each step takes the variable with the least variance left and partials it out of the others,
/// one column of a Cholesky factor at a time. A variable waits for those that are known to come
/// before it. `None` when a variance is used up.
pub(super) fn top_down_order(
    covariance: &Matrix,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Option<Vec<usize>>, Stop> {
    let predecessors = knowledge.predecessors();
    let mut placed = vec![false; covariance.rows()];
    let d = covariance.rows();
    let mut left: Vec<f64> = (0..d).map(|i| covariance[(i, i)]).collect();
    let mut free: Vec<usize> = (0..d).collect();
    let mut factors = Matrix::zeros(d, d);
    let mut order = Vec::with_capacity(d);
    for depth in 0..d {
        control.check()?;
        let open = (0..free.len()).filter(|&i| predecessors[free[i]].iter().all(|&p| placed[p]));
        let at = open.reduce(|best, i| {
            if left[free[i]] < left[free[best]] {
                i
            } else {
                best
            }
        });
        let Some(at) = at else { break };
        let next = free.remove(at);
        if left[next] <= SINGULAR * covariance[(next, next)] {
            return Ok(None);
        }
        let mut column = covariance.row(next).to_vec();
        for earlier in 0..depth {
            let row = factors.row(earlier);
            hindcast_stats::axpy(-row[next], row, &mut column);
        }
        let scale = 1.0 / left[next].sqrt();
        for (x, variance) in column.iter_mut().zip(&mut left) {
            *x *= scale;
            *variance -= *x * *x;
        }
        factors.row_mut(depth).copy_from_slice(&column);
        placed[next] = true;
        order.push(next);
    }
    Ok(Some(order))
}

fn unequal(residuals: &[f64]) -> Option<Warning> {
    let largest = residuals.iter().copied().fold(0.0, f64::max);
    let smallest = residuals.iter().copied().fold(f64::INFINITY, f64::min);
    let ratio = largest / smallest;
    (ratio > VARIANCE_RATIO_MAX && ratio.is_finite()).then(|| {
        Warning::new(
            WarningCode::UnequalVariances,
            Some(ratio),
            "the largest error variance is this many times the smallest; eqvar supposes them equal",
        )
    })
}
