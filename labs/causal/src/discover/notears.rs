//! NOTEARS (Zheng, Aragam, Ravikumar and Xing, NeurIPS 2018), linear, least squares: minimises
//! the loss plus an L1 penalty over all weight matrices, under the constraint that
//! `h(W) = tr exp(W o W) - d` is 0, by the multiplier of that constraint.
//!
//! The loss is taken from the second moments, so its cost does not depend on the number of rows.
//! The published augmented Lagrangian with penalty rho and multiplier alpha has its minimum where
//! the loss plus `c h` is stationary with `c = alpha + rho h`, and its rounds raise c. Here c itself
//! is raised until h is near enough to 0; without the square of h the problem of a round is better
//! conditioned. It is solved by proximal Newton steps. A point whose exponential overflows has an
//! infinite objective, and the step is halved.
//!
//! The problem is not convex, and the end of the path need not be the least acyclic point near it:
//! the orders of the points on the path are starts of a descent over orders. Its end is exactly
//! acyclic, which is more than the constraint asks for; if the path ended lower than that, a last
//! part of the path goes on from there. The end with the least objective is answered, and all are
//! reported. The method finds the order by the scale of the variables.

use hindcast_stats::{Matrix, sum_of_magnitudes};

use super::coordinate::{self, Nets, SquaredWeights};
use super::exponential::Exponential;
use super::knowledge::Knowledge;
use super::least_squares::LeastSquares;
use super::options::NotearsOptions;
use super::order_descent::OrderDescent;
use super::orthant::{Ending, Smooth};
use super::result::{Convergence, Outcome, ScoreName, StartObjective};
use super::threshold;
use crate::control::{Control, Stop};
use crate::data::Dataset;
use crate::error::LabError;

/// The path ends at this distance from acyclic.
const H_TOLERANCE: f64 = 1e-8;
const MULTIPLIER_FIRST: f64 = 1.0;
const MULTIPLIER_MAX: f64 = 1e16;
/// By which factor the multiplier rises, and at least. Near the end of the path h falls with its
/// square, or more slowly: the last factors are those that the square asks for.
const GROWTH: f64 = 10.0;
const GROWTH_MIN: f64 = 1.2;
/// By which the multiplier falls for the part of the path that goes on from the descent over orders.
const SLACK: f64 = 10.0;

/// A round does not have to end in its minimum: the next goes on from where it ends.
const WAYPOINT: Ending = Ending {
    steps_max: 15_000,
    gradient: 1e-5,
    decrease: 1e-4,
};
/// Of the rounds from which the tolerance is in reach.
const ENDING: Ending = Ending {
    decrease: 1e-5,
    ..WAYPOINT
};

pub(super) fn run(
    data: &Dataset,
    options: &NotearsOptions,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    let moments = data.covariance().covariance();
    let mut problem = Problem::new(moments, options.lambda1, knowledge, control);
    let d = data.width();
    let path = problem.follow(options.max_iter)?;
    let (reason, iterations) = (path.end.reason, path.end.rounds);
    let mut objectives = vec![StartObjective::new(
        "augmented_lagrangian",
        path.end.objective,
    )];
    let mut best = path.end;
    if reason.is_success() {
        let free = problem.free.clone();
        let mut descent = OrderDescent::new(moments, options.lambda1, &free, control);
        let (weights, objective) = descent.descend(&path.orders)?;
        objectives.push(StartObjective::new("order_descent", objective));
        if objective < best.objective {
            best = End {
                weights,
                objective,
                h: 0.0,
                ..best
            };
        } else {
            let multiplier = best.multiplier / SLACK;
            let relaxed = problem.rounds(weights, multiplier, options.max_iter, |_| {})?;
            let name = "relaxed_order_descent";
            objectives.push(StartObjective::new(name, relaxed.objective));
            if relaxed.reason.is_success() && relaxed.objective < best.objective {
                best = relaxed;
            }
        }
    }
    let (edges, warning) = threshold::acyclic_edges(&best.weights, d, options.threshold);
    Ok(Outcome {
        edges,
        score: Some((ScoreName::Objective, best.objective)),
        iterations,
        convergence: Convergence {
            converged: reason.is_success(),
            reason: reason.text().into(),
            h: Some(best.h),
            evaluations: Some(problem.evaluations),
            objectives: Some(objectives),
            ..Convergence::default()
        },
        warnings: warning.into_iter().collect(),
        ..Outcome::default()
    })
}

#[derive(Clone, Copy)]
enum Reason {
    Acyclic,
    MultiplierLimit,
    IterationLimit,
}

impl Reason {
    fn is_success(self) -> bool {
        matches!(self, Self::Acyclic)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Acyclic => "h is within 1e-8",
            Self::MultiplierLimit => "the multiplier reached 1e16 before h was within 1e-8",
            Self::IterationLimit => "max_iter reached before h was within 1e-8",
        }
    }
}

/// Where a path ended.
struct End {
    weights: Vec<f64>,
    objective: f64,
    h: f64,
    multiplier: f64,
    rounds: u64,
    reason: Reason,
}

struct Path {
    end: End,
    /// Those of the points on the way, and of the end; none comes twice in a row.
    orders: Vec<Vec<usize>>,
}

struct Problem<'a> {
    fit: LeastSquares<'a>,
    lambda1: f64,
    /// Weights that may differ from 0: not the diagonal, and no forbidden edge.
    free: Vec<bool>,
    control: &'a dyn Control,
    /// Weight of h in the objective.
    multiplier: f64,
    exponential: Exponential,
    squares: Matrix,
    /// Derivatives of the weighted h in the squared weights.
    ridge: Matrix,
    gradient: Matrix,
    evaluations: u64,
}

/// Smooth part of the objective at a point; infinite where the exponential overflows.
#[derive(Clone, Copy)]
struct Value {
    smooth: f64,
    h: f64,
}

impl<'a> Problem<'a> {
    fn new(
        moments: &'a Matrix,
        lambda1: f64,
        knowledge: &Knowledge,
        control: &'a dyn Control,
    ) -> Self {
        let d = moments.rows();
        let zeros = || Matrix::zeros(d, d);
        Self {
            fit: LeastSquares::new(moments),
            lambda1,
            free: (0..d * d)
                .map(|cell| cell / d != cell % d && knowledge.allows(cell / d, cell % d))
                .collect(),
            control,
            multiplier: MULTIPLIER_FIRST,
            exponential: Exponential::new(d),
            squares: zeros(),
            ridge: Matrix::from_fn(d, d, |_, _| f64::INFINITY),
            gradient: zeros(),
            evaluations: 0,
        }
    }

    /// The path from no edge.
    fn follow(&mut self, max_iter: u32) -> Result<Path, LabError> {
        let d = self.fit.moments().rows();
        let mut orders: Vec<Vec<usize>> = Vec::new();
        let end = self.rounds(vec![0.0; d * d], MULTIPLIER_FIRST, max_iter, |weights| {
            let order = threshold::causal_order(weights, d);
            if orders.last() != Some(&order) {
                orders.push(order);
            }
        })?;
        Ok(Path { end, orders })
    }

    /// Raises the multiplier from where it is told to begin; `visit` sees where each round ends.
    fn rounds(
        &mut self,
        mut weights: Vec<f64>,
        multiplier: f64,
        max_iter: u32,
        mut visit: impl FnMut(&[f64]),
    ) -> Result<End, LabError> {
        self.multiplier = multiplier;
        let mut ending = WAYPOINT;
        let (mut h, mut rounds) = (f64::INFINITY, 0);
        let mut reason = Reason::IterationLimit;
        while rounds < u64::from(max_iter) {
            rounds += 1;
            self.control
                .progress("notears outer iterations", rounds, u64::from(max_iter));
            let lambda = self.lambda1;
            weights = coordinate::descend(self, weights, lambda, Nets::Solved, ending)?;
            h = self.evaluate(&weights)?.h;
            visit(&weights);
            if h <= H_TOLERANCE {
                reason = Reason::Acyclic;
                break;
            }
            if self.multiplier >= MULTIPLIER_MAX {
                reason = Reason::MultiplierLimit;
                break;
            }
            let growth = (h / H_TOLERANCE).sqrt().max(GROWTH_MIN);
            ending = if growth < GROWTH { ENDING } else { WAYPOINT };
            self.multiplier *= growth.min(GROWTH);
        }
        let loss = self.fit.loss(&weights);
        Ok(End {
            objective: loss + self.lambda1 * sum_of_magnitudes(&weights),
            weights,
            h: h.max(0.0),
            multiplier: self.multiplier,
            rounds,
            reason,
        })
    }

    /// Loss, h and the gradient of the smooth part, which is left in `self.gradient`. What is not
    /// free is no variable: its gradient is 0.
    fn evaluate(&mut self, x: &[f64]) -> Result<Value, Stop> {
        self.evaluations += 1;
        self.control.check()?;
        let d = self.fit.moments().rows();
        for (square, w) in self.squares.values_mut().iter_mut().zip(x) {
            *square = w * w;
        }
        let infinite = Value {
            smooth: f64::INFINITY,
            h: f64::INFINITY,
        };
        let Some(exponential) = self.exponential.of(&self.squares, self.control)? else {
            return Ok(infinite);
        };
        let h = exponential.trace() - d as f64;
        let loss = self.fit.loss(x);
        for i in 0..d {
            for j in 0..d {
                if self.free[i * d + j] {
                    let ridge = self.multiplier * exponential[(j, i)];
                    self.ridge[(i, j)] = ridge;
                    self.gradient[(i, j)] = 2.0 * ridge * x[i * d + j] - self.fit.left[(j, i)];
                }
            }
        }
        let smooth = loss + self.multiplier * h;
        Ok(if smooth.is_finite() {
            Value { smooth, h }
        } else {
            infinite
        })
    }
}

impl SquaredWeights for Problem<'_> {
    fn fit(&self) -> &LeastSquares<'_> {
        &self.fit
    }

    fn check(&self) -> Result<(), Stop> {
        self.control.check()
    }

    fn ridge(&self, tail: usize, head: usize) -> f64 {
        self.ridge[(tail, head)]
    }
}

impl Smooth for Problem<'_> {
    fn value(&mut self, x: &[f64]) -> Result<f64, Stop> {
        Ok(self.evaluate(x)?.smooth)
    }

    fn gradient(&self) -> &[f64] {
        self.gradient.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use crate::discover::Background;
    use hindcast_stats::Philox;

    #[test]
    fn gradient_agrees_with_differences() {
        let d = 5;
        let mut rng = Philox::new(4, 0);
        let rows = Matrix::from_vec(30, d, (0..30 * d).map(|_| rng.normal()).collect());
        let mut moments = rows.cross_product();
        moments.scale(1.0 / 30.0);
        let names: Vec<String> = (0..d).map(|i| format!("x{i}")).collect();
        let nothing = Knowledge::new(&Background::default(), &names).unwrap();
        let mut problem = Problem::new(&moments, 0.1, &nothing, &Uncontrolled);
        problem.multiplier = 3.7;
        let mut x: Vec<f64> = (0..d * d)
            .map(|i| {
                if i % (d + 1) == 0 {
                    0.0
                } else {
                    0.5 * rng.normal()
                }
            })
            .collect();
        problem.evaluate(&x).unwrap();
        let gradient = problem.gradient.values().to_vec();
        for i in (0..d * d).filter(|i| i % (d + 1) != 0) {
            let at = x[i];
            // The error of the central difference is of the order of its step squared.
            x[i] = at + 1e-5;
            let above = problem.evaluate(&x).unwrap().smooth;
            x[i] = at - 1e-5;
            let below = problem.evaluate(&x).unwrap().smooth;
            x[i] = at;
            let difference = (above - below) / 2e-5;
            assert!((difference - gradient[i]).abs() < 1e-5 * (1.0 + gradient[i].abs()));
        }
    }
}
