//! NOTEARS (Zheng, Aragam, Ravikumar and Xing, NeurIPS 2018), linear, least squares: minimises
//! the loss plus an L1 penalty over all weight matrices, under the constraint that
//! `h(W) = tr exp(W o W) - d` is 0, by an augmented Lagrangian.
//!
//! The loss is taken from the second moments, so its cost does not depend on the number of rows.
//! The inner problems are solved by orthant-wise L-BFGS. A point whose exponential overflows has an
//! infinite objective and the line search steps back from it. The problem is not convex, and the end of
//! the path need not be the least acyclic point near it: its order is the start of a descent over
//! orders, whose end is answered when its objective is lesser. Both objectives are reported. The method finds the order by the scale of the variables.

use hindcast_stats::{Matrix, sum_of_magnitudes};

use super::coordinate::{self, SquaredWeights};
use super::exponential::Exponential;
use super::knowledge::Knowledge;
use super::least_squares::LeastSquares;
use super::options::NotearsOptions;
use super::order_descent::OrderDescent;
use super::orthant::{self, Ending, Shape, Smooth};
use super::result::{Convergence, Outcome, ScoreName, StartObjective};
use super::threshold;
use crate::control::{Control, Stop};
use crate::data::Dataset;
use crate::error::LabError;

/// The outer loop ends at this distance from acyclic.
const H_TOLERANCE: f64 = 1e-8;
const RHO_MAX: f64 = 1e16;
/// The penalty grows until h falls to this part of what it was.
const H_PROGRESS: f64 = 0.25;

/// Steps and gradient are those of the original. A round does not have to end in its minimum: the
/// next goes on from where it ends, and the descent over orders from the last.
const ENDING: Ending = Ending {
    steps_max: 15_000,
    gradient: 1e-5,
    decrease: 1e-5,
};

pub(super) fn run(
    data: &Dataset,
    options: &NotearsOptions,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    let moments = data.covariance().covariance();
    let mut problem = Problem::new(moments, options.lambda1, knowledge, control);
    let solved = problem.augmented_lagrangian(options.max_iter)?;
    let d = data.width();
    let mut objectives = vec![StartObjective::new(
        "augmented_lagrangian",
        solved.objective,
    )];
    let (mut weights, mut objective, mut h) = (solved.weights, solved.objective, solved.h);
    if solved.reason.is_success() {
        let order = threshold::causal_order(&weights, d);
        let mut descent = OrderDescent::new(moments, options.lambda1, &problem.free, control);
        let (other, reached) = descent.descend(&order)?;
        objectives.push(StartObjective::new("order_descent", reached));
        if reached < objective {
            (weights, objective, h) = (other, reached, 0.0);
        }
    }
    let (edges, warning) = threshold::acyclic_edges(&weights, d, options.threshold);
    Ok(Outcome {
        edges,
        score: Some((ScoreName::Objective, objective)),
        iterations: solved.iterations,
        convergence: Convergence {
            converged: solved.reason.is_success(),
            reason: solved.reason.text().into(),
            h: Some(h),
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
    PenaltyLimit,
    IterationLimit,
}

impl Reason {
    fn is_success(self) -> bool {
        matches!(self, Self::Acyclic)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Acyclic => "h is within 1e-8",
            Self::PenaltyLimit => "the penalty reached 1e16 before h was within 1e-8",
            Self::IterationLimit => "max_iter reached before h was within 1e-8",
        }
    }
}

struct Solved {
    weights: Vec<f64>,
    objective: f64,
    h: f64,
    iterations: u64,
    reason: Reason,
}

struct Problem<'a> {
    fit: LeastSquares<'a>,
    lambda1: f64,
    /// Weights that may differ from 0: not the diagonal, and no forbidden edge.
    free: Vec<bool>,
    control: &'a dyn Control,
    exponential: Exponential,
    squares: Matrix,
    /// Derivatives of the penalty in the squared weights.
    ridge: Matrix,
    gradient: Matrix,
    evaluations: u64,
}

/// Smooth part of the objective at a point; infinite where the exponential overflows.
#[derive(Clone, Copy)]
struct Value {
    smooth: f64,
    loss: f64,
    h: f64,
}

#[derive(Clone, Copy)]
struct Penalty {
    alpha: f64,
    rho: f64,
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
            exponential: Exponential::new(d),
            squares: zeros(),
            ridge: Matrix::from_fn(d, d, |_, _| f64::INFINITY),
            gradient: zeros(),
            evaluations: 0,
        }
    }

    fn augmented_lagrangian(&mut self, max_iter: u32) -> Result<Solved, LabError> {
        let d = self.fit.moments().rows();
        let mut weights = vec![0.0; d * d];
        let mut penalty = Penalty {
            alpha: 0.0,
            rho: 1.0,
        };
        let (mut h, mut iterations) = (f64::INFINITY, 0);
        let mut reason = Reason::IterationLimit;
        while iterations < u64::from(max_iter) {
            iterations += 1;
            self.control
                .progress("notears outer iterations", iterations, u64::from(max_iter));
            let mut next = (weights.clone(), h);
            while penalty.rho < RHO_MAX {
                next = self.minimise(weights.clone(), penalty)?;
                if next.1 > H_PROGRESS * h {
                    penalty.rho *= 10.0;
                } else {
                    break;
                }
            }
            (weights, h) = next;
            penalty.alpha += penalty.rho * h;
            if h <= H_TOLERANCE {
                reason = Reason::Acyclic;
                break;
            }
            if penalty.rho >= RHO_MAX {
                reason = Reason::PenaltyLimit;
                break;
            }
        }
        let value = self.evaluate(&weights, penalty)?;
        let objective = value.loss + self.lambda1 * sum_of_magnitudes(&weights);
        Ok(Solved {
            weights,
            objective,
            h: value.h.max(0.0),
            iterations,
            reason,
        })
    }

    /// The minimiser reached from `x`, and its h.
    fn minimise(&mut self, x: Vec<f64>, penalty: Penalty) -> Result<(Vec<f64>, f64), Stop> {
        let curvature = self.fit.curvature();
        let shape = Shape {
            lambda: self.lambda1,
            curvature: &curvature,
        };
        let mut penalised = Penalised {
            problem: self,
            penalty,
        };
        let x = coordinate::descend(&mut penalised, x, shape.lambda, ENDING)?;
        // Newton steps end where their model is poor; quasi-Newton steps may go on from there.
        let x = orthant::minimise(&mut penalised, x, shape, ENDING)?;
        let h = self.evaluate(&x, penalty)?.h;
        Ok((x, h))
    }

    /// Loss, h and the gradient of the smooth part, which is left in `self.gradient`. What is not
    /// free is no variable: its gradient is 0.
    fn evaluate(&mut self, x: &[f64], penalty: Penalty) -> Result<Value, Stop> {
        self.evaluations += 1;
        self.control.check()?;
        let d = self.fit.moments().rows();
        for (square, w) in self.squares.values_mut().iter_mut().zip(x) {
            *square = w * w;
        }
        let infinite = Value {
            smooth: f64::INFINITY,
            loss: f64::INFINITY,
            h: f64::INFINITY,
        };
        let Some(exponential) = self.exponential.of(&self.squares, self.control)? else {
            return Ok(infinite);
        };
        let h = exponential.trace() - d as f64;
        let loss = self.fit.loss(x);
        let factor = penalty.rho * h + penalty.alpha;
        for i in 0..d {
            for j in 0..d {
                if self.free[i * d + j] {
                    let ridge = factor * exponential[(j, i)];
                    self.ridge[(i, j)] = ridge;
                    self.gradient[(i, j)] = 2.0 * ridge * x[i * d + j] - self.fit.left[(j, i)];
                }
            }
        }
        let smooth = loss + (0.5 * penalty.rho * h + penalty.alpha) * h;
        Ok(if smooth.is_finite() {
            Value { smooth, loss, h }
        } else {
            infinite
        })
    }
}

/// The problem at one setting of the penalty.
struct Penalised<'p, 'a> {
    problem: &'p mut Problem<'a>,
    penalty: Penalty,
}

impl SquaredWeights for Penalised<'_, '_> {
    fn fit(&self) -> &LeastSquares<'_> {
        &self.problem.fit
    }

    fn check(&self) -> Result<(), Stop> {
        self.problem.control.check()
    }

    fn ridge(&self, tail: usize, head: usize) -> f64 {
        self.problem.ridge[(tail, head)]
    }
}

impl Smooth for Penalised<'_, '_> {
    fn value(&mut self, x: &[f64]) -> Result<f64, Stop> {
        Ok(self.problem.evaluate(x, self.penalty)?.smooth)
    }

    fn gradient(&self) -> &[f64] {
        self.problem.gradient.values()
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
        let penalty = Penalty {
            alpha: 0.7,
            rho: 3.0,
        };
        let mut x: Vec<f64> = (0..d * d)
            .map(|i| {
                if i % (d + 1) == 0 {
                    0.0
                } else {
                    0.5 * rng.normal()
                }
            })
            .collect();
        problem.evaluate(&x, penalty).unwrap();
        let gradient = problem.gradient.values().to_vec();
        for i in (0..d * d).filter(|i| i % (d + 1) != 0) {
            let at = x[i];
            // The error of the central difference is of the order of its step squared.
            x[i] = at + 1e-5;
            let above = problem.evaluate(&x, penalty).unwrap().smooth;
            x[i] = at - 1e-5;
            let below = problem.evaluate(&x, penalty).unwrap().smooth;
            x[i] = at;
            let difference = (above - below) / 2e-5;
            assert!((difference - gradient[i]).abs() < 1e-5 * (1.0 + gradient[i].abs()));
        }
    }
}
