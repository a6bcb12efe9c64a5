//! Minimises a least squares loss plus an L1 penalty plus a function of the squared weights, by
//! proximal Newton steps.
//!
//! In the squares the function is taken to first order, which makes it a ridge penalty with a
//! weight of its own for each edge. What is left falls apart into one elastic net for each
//! variable; these are solved from the second moments by their active sets, or approached by
//! coordinate descent, which needs no regular moments. The step to their solution descends, since the model has the gradient of the objective and is convex; it is
//! halved until the objective, which may be infinite, has fallen enough.

use hindcast_stats::{Matrix, axpy, sum_of_magnitudes};

use super::active_set::{ActiveSet, Room};
use super::least_squares::LeastSquares;
use super::orthant::{Ending, Smooth};
use crate::control::Stop;

const SWEEPS_MAX: u32 = 5;
const SWEEPS_FULL_MAX: u32 = 50;
const ROUNDS_MAX: u32 = 30;
/// Change of a weight, in units of its curvature, at which coordinate descent ends.
const CHANGE_MIN: f64 = 1e-7;
/// The same for a lasso that is solved for its own sake: its square is the error of the objective.
const CHANGE_FULL: f64 = 1e-5;
const HALVINGS_MAX: u32 = 40;
const SUFFICIENT_DECREASE: f64 = 1e-3;

/// A smooth objective of this form. Both methods speak of the point that `value` was last asked at.
pub(super) trait SquaredWeights: Smooth {
    fn fit(&self) -> &LeastSquares<'_>;

    /// Asks whether to stop.
    fn check(&self) -> Result<(), Stop>;

    /// The derivative of the function in the square of the weight from `tail` to `head`; infinite
    /// for an edge that may not be.
    fn ridge(&self, tail: usize, head: usize) -> f64;
}

/// How the elastic nets of a step are solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nets {
    /// To the end, by their active sets.
    Solved,
    /// By a few rounds of coordinate descent.
    Approached,
}

/// A minimiser reached from `x`, or a point near one: steps end when one lowers the objective by
/// too little.
pub(super) fn descend(
    function: &mut dyn SquaredWeights,
    mut x: Vec<f64>,
    lambda: f64,
    nets: Nets,
    ending: Ending,
) -> Result<Vec<f64>, Stop> {
    let mut total = function.value(&x)? + lambda * sum_of_magnitudes(&x);
    for _ in 0..ending.steps_max {
        let model = model_minimiser(function, &x, lambda, nets)?;
        let magnitudes = lambda * (sum_of_magnitudes(&model) - sum_of_magnitudes(&x));
        let steps = model.iter().zip(&x).zip(function.gradient());
        let slope = steps.fold(magnitudes, |sum, ((to, from), g)| sum + g * (to - from));
        if slope >= 0.0 {
            return Ok(x);
        }
        let Some((next, next_total)) = search(function, &x, &model, lambda, (total, slope))? else {
            function.value(&x)?;
            return Ok(x);
        };
        let fallen = total - next_total;
        (x, total) = (next, next_total);
        if fallen <= ending.decrease * total.abs().max(1.0) {
            break;
        }
    }
    Ok(x)
}

fn search(
    function: &mut dyn SquaredWeights,
    x: &[f64],
    model: &[f64],
    lambda: f64,
    (total, slope): (f64, f64),
) -> Result<Option<(Vec<f64>, f64)>, Stop> {
    let mut length = 1.0;
    for halving in 0..HALVINGS_MAX {
        let next: Vec<f64> = if halving == 0 {
            model.to_vec()
        } else {
            let pairs = x.iter().zip(model);
            pairs
                .map(|(from, to)| from + length * (to - from))
                .collect()
        };
        let reached = function.value(&next)? + lambda * sum_of_magnitudes(&next);
        if reached <= total + SUFFICIENT_DECREASE * length * slope {
            return Ok(Some((next, reached)));
        }
        length *= 0.5;
    }
    Ok(None)
}

fn model_minimiser(
    function: &dyn SquaredWeights,
    x: &[f64],
    lambda: f64,
    nets: Nets,
) -> Result<Vec<f64>, Stop> {
    let fit = function.fit();
    let d = fit.moments().rows();
    let mut next = x.to_vec();
    let mut column = vec![0.0; d];
    let mut ridge = vec![0.0; d];
    let (mut set, mut room) = (ActiveSet::default(), Room::default());
    for head in 0..d {
        function.check()?;
        for tail in 0..d {
            column[tail] = x[tail * d + head];
            ridge[tail] = 2.0 * function.ridge(tail, head);
        }
        let mut net = Net {
            moments: fit.moments(),
            left: fit.left.row(head).to_vec(),
            weights: &mut column,
            ridge: &ridge,
            lambda,
        };
        set.forget();
        let is_solved = nets == Nets::Solved && set.solve(&mut net, head, &mut room).is_ok();
        if !is_solved {
            net.solve(head);
        }
        for tail in 0..d {
            next[tail * d + head] = column[tail];
        }
    }
    Ok(next)
}

/// One elastic net: the weights of the edges into one variable.
pub(super) struct Net<'a> {
    pub moments: &'a Matrix,
    /// Covariances of all variables with what the weights leave of this one.
    pub left: Vec<f64>,
    pub weights: &'a mut [f64],
    pub ridge: &'a [f64],
    pub lambda: f64,
}

impl Net<'_> {
    /// Brings `left` to the weights, of which only those of `tails` differ from 0.
    pub(super) fn refresh(&mut self, head: usize, tails: impl Iterator<Item = usize>) {
        self.left.copy_from_slice(self.moments.row(head));
        for tail in tails {
            axpy(-self.weights[tail], self.moments.row(tail), &mut self.left);
        }
    }

    /// One round through all weights and a few through those that are not 0: a Newton step is not
    /// worth more, as its model changes with the next.
    fn solve(&mut self, head: usize) {
        self.round(head, SWEEPS_MAX, CHANGE_MIN);
    }

    pub(super) fn solve_fully(&mut self, head: usize) {
        for _ in 0..ROUNDS_MAX {
            if self.round(head, SWEEPS_FULL_MAX, CHANGE_FULL) <= CHANGE_FULL {
                return;
            }
        }
    }

    /// The largest change of the sweep through all weights.
    fn round(&mut self, head: usize, sweeps_max: u32, change_min: f64) -> f64 {
        let others = (0..self.weights.len()).filter(|&tail| tail != head);
        let largest = self.sweep(others);
        if largest > change_min {
            let mut active: Vec<usize> = (0..self.weights.len()).collect();
            for _ in 0..sweeps_max {
                // A weight that is 0 stays out until the next sweep through all.
                active.retain(|&tail| self.weights[tail].abs() > 0.0);
                if self.sweep(active.iter().copied()) <= change_min {
                    break;
                }
            }
        }
        largest
    }

    /// The best value of each weight in turn, the others held; the largest change.
    fn sweep(&mut self, tails: impl Iterator<Item = usize>) -> f64 {
        let mut largest = 0.0_f64;
        for tail in tails {
            let variance = self.moments[(tail, tail)];
            let curvature = variance + self.ridge[tail];
            let weight = self.weights[tail];
            let pull = self.left[tail] + variance * weight;
            let next = if pull > self.lambda {
                (pull - self.lambda) / curvature
            } else if pull < -self.lambda {
                (pull + self.lambda) / curvature
            } else {
                0.0
            };
            let change = next - weight;
            if change.abs() > 0.0 {
                self.weights[tail] = next;
                axpy(-change, self.moments.row(tail), &mut self.left);
                largest = largest.max(change * change * curvature);
            }
        }
        largest.sqrt()
    }
}
