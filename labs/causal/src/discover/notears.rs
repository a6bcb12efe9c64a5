//! NOTEARS (Zheng, Aragam, Ravikumar and Xing, NeurIPS 2018), linear, least squares: minimises
//! the loss plus an L1 penalty over all weight matrices, under the constraint that
//! `h(W) = tr exp(W o W) - d` is 0, by an augmented Lagrangian.
//!
//! The loss is taken from the second moments, so its cost does not depend on the number of rows.
//! The inner problems are solved by orthant-wise L-BFGS (Andrew and Gao, ICML 2007), which is the
//! bound-constrained form of the original with the two halves of a weight folded together. A
//! point whose exponential overflows has an infinite objective and the line search steps back
//! from it. The method finds the order by the scale of the variables.

use hindcast_stats::{History, Matrix, dot, sum};

use super::exponential::Exponential;
use super::knowledge::Knowledge;
use super::request::NotearsOptions;
use super::result::{Convergence, IndexedEdge, Outcome, ScoreName, Warning, WarningCode};
use crate::control::{Control, Stop};
use crate::data::Dataset;
use crate::error::LabError;

/// The outer loop ends at this distance from acyclic.
const H_TOLERANCE: f64 = 1e-8;
const RHO_MAX: f64 = 1e16;
/// The penalty grows until h falls to this part of what it was.
const H_PROGRESS: f64 = 0.25;

const HISTORY: usize = 10;
const INNER_STEPS_MAX: u32 = 15_000;
const INNER_GRADIENT_TOLERANCE: f64 = 1e-5;
const INNER_DECREASE_TOLERANCE: f64 = 2.2e-9;
const HALVINGS_MAX: u32 = 60;
const SUFFICIENT_DECREASE: f64 = 1e-4;

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
    let (cut, raised) = acyclic_threshold(&solved.weights, d, options.threshold);
    let mut edges = Vec::new();
    for from in 0..d {
        for to in 0..d {
            let weight = solved.weights[from * d + to];
            if weight.abs() >= cut && weight.abs() > 0.0 {
                edges.push(IndexedEdge {
                    from,
                    to,
                    directed: true,
                    weight,
                });
            }
        }
    }
    let warnings = raised
        .then(|| {
            let message = format!(
                "weights of {} and more hold a cycle; the threshold was raised to {cut}",
                options.threshold
            );
            Warning::new(WarningCode::ThresholdRaised, Some(cut), message)
        })
        .into_iter()
        .collect();
    Ok(Outcome {
        edges,
        score: Some((ScoreName::Objective, solved.objective)),
        iterations: solved.iterations,
        convergence: Convergence {
            converged: solved.reason.is_success(),
            reason: solved.reason.text().into(),
            h: Some(solved.h),
            evaluations: Some(problem.evaluations),
            ..Convergence::default()
        },
        warnings,
    })
}

/// The threshold asked for, or the least weight above it without which the rest is acyclic.
fn acyclic_threshold(weights: &[f64], d: usize, asked: f64) -> (f64, bool) {
    let mut sizes: Vec<f64> = weights
        .iter()
        .map(|w| w.abs())
        .filter(|w| *w >= asked && *w > 0.0)
        .collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.dedup_by(|a, b| a.total_cmp(b).is_eq());
    let acyclic_from = |cut: f64| is_acyclic(d, |i, j| weights[i * d + j].abs() >= cut);
    match sizes.first() {
        None => (asked, false),
        Some(&least) if acyclic_from(least) => (asked, false),
        Some(_) => {
            let at = sizes.partition_point(|&cut| !acyclic_from(cut));
            // Above the largest weight nothing is left, and nothing is acyclic.
            let largest = sizes[sizes.len() - 1];
            (sizes.get(at).copied().unwrap_or(largest.next_up()), true)
        }
    }
}

fn is_acyclic(d: usize, edge: impl Fn(usize, usize) -> bool) -> bool {
    let mut left: Vec<usize> = (0..d).collect();
    loop {
        let before = left.len();
        let inner: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&j| left.iter().any(|&i| edge(i, j)))
            .collect();
        if inner.is_empty() {
            return true;
        }
        if inner.len() == before {
            return false;
        }
        left = inner;
    }
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
    moments: &'a Matrix,
    lambda1: f64,
    /// Weights that may differ from 0: not the diagonal, and no forbidden edge.
    free: Vec<bool>,
    control: &'a dyn Control,
    exponential: Exponential,
    squares: Matrix,
    rest: Matrix,
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

/// Where a line search starts: the objective there is `total`, its descent is against `steepest`.
struct Point<'a> {
    x: &'a [f64],
    steepest: &'a [f64],
    total: f64,
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
            moments,
            lambda1,
            free: (0..d * d)
                .map(|cell| cell / d != cell % d && knowledge.allows(cell / d, cell % d))
                .collect(),
            control,
            exponential: Exponential::new(d),
            squares: zeros(),
            rest: zeros(),
            gradient: zeros(),
            evaluations: 0,
        }
    }

    fn augmented_lagrangian(&mut self, max_iter: u32) -> Result<Solved, LabError> {
        let d = self.moments.rows();
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

    /// Orthant-wise L-BFGS from `x`; the minimiser and its h.
    fn minimise(&mut self, mut x: Vec<f64>, penalty: Penalty) -> Result<(Vec<f64>, f64), Stop> {
        let mut history = History::new(HISTORY);
        let mut value = self.evaluate(&x, penalty)?;
        let mut gradient = self.gradient.values().to_vec();
        for _ in 0..INNER_STEPS_MAX {
            let total = value.smooth + self.lambda1 * sum_of_magnitudes(&x);
            let steepest = self.pseudo_gradient(&x, &gradient);
            if steepest.iter().fold(0.0, |m: f64, g| m.max(g.abs())) <= INNER_GRADIENT_TOLERANCE {
                break;
            }
            let point = Point {
                x: &x,
                steepest: &steepest,
                total,
            };
            let Some((next, next_value)) = self.search(&point, &history, penalty)? else {
                if history.is_empty() {
                    break;
                }
                history.clear();
                continue;
            };
            let next_gradient = self.gradient.values().to_vec();
            let step = next.iter().zip(&x).map(|(a, b)| a - b).collect();
            let change = next_gradient
                .iter()
                .zip(&gradient)
                .map(|(a, b)| a - b)
                .collect();
            history.push(step, change);
            let next_total = next_value.smooth + self.lambda1 * sum_of_magnitudes(&next);
            let scale = total.abs().max(next_total.abs()).max(1.0);
            (x, value, gradient) = (next, next_value, next_gradient);
            if total - next_total <= INNER_DECREASE_TOLERANCE * scale {
                break;
            }
        }
        Ok((x, value.h))
    }

    /// A step along the quasi-Newton direction that stays in its orthant and lowers the
    /// objective, halved until it does; `None` when no step does.
    fn search(
        &mut self,
        from: &Point<'_>,
        history: &History,
        penalty: Penalty,
    ) -> Result<Option<(Vec<f64>, Value)>, Stop> {
        let Point { x, steepest, total } = *from;
        let mut direction: Vec<f64> = steepest.iter().map(|g| -g).collect();
        history.apply_inverse(&mut direction);
        for (step, g) in direction.iter_mut().zip(steepest) {
            if *step * g >= 0.0 {
                *step = 0.0;
            }
        }
        let mut length = if history.is_empty() {
            1.0 / dot(steepest, steepest).sqrt().max(1.0)
        } else {
            1.0
        };
        for _ in 0..HALVINGS_MAX {
            let next: Vec<f64> = (0..x.len())
                .map(|i| {
                    let orthant = if x[i].abs() > 0.0 { x[i] } else { -steepest[i] };
                    let moved = x[i] + length * direction[i];
                    if moved * orthant > 0.0 { moved } else { 0.0 }
                })
                .collect();
            let value = self.evaluate(&next, penalty)?;
            let decrease: f64 = (0..x.len())
                .map(|i| steepest[i] * (next[i] - x[i]))
                .fold(0.0, |a, b| a + b);
            let reached = value.smooth + self.lambda1 * sum_of_magnitudes(&next);
            if decrease < 0.0 && reached <= total + SUFFICIENT_DECREASE * decrease {
                return Ok(Some((next, value)));
            }
            length *= 0.5;
        }
        Ok(None)
    }

    /// The subgradient of least length; 0 where staying at 0 is best, or is all that is allowed.
    fn pseudo_gradient(&self, x: &[f64], gradient: &[f64]) -> Vec<f64> {
        let lambda = self.lambda1;
        x.iter()
            .zip(gradient)
            .zip(&self.free)
            .map(|((&x, &g), &free)| {
                if !free {
                    0.0
                } else if x > 0.0 {
                    g + lambda
                } else if x < 0.0 {
                    g - lambda
                } else if g + lambda < 0.0 {
                    g + lambda
                } else if g - lambda > 0.0 {
                    g - lambda
                } else {
                    0.0
                }
            })
            .collect()
    }

    /// Loss, h and the gradient of the smooth part, which is left in `self.gradient`. What is not
    /// free is no variable: its gradient is 0.
    fn evaluate(&mut self, x: &[f64], penalty: Penalty) -> Result<Value, Stop> {
        self.evaluations += 1;
        self.control.check()?;
        let d = self.moments.rows();
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
        for (i, row) in x.chunks_exact(d).enumerate() {
            for (j, (rest, w)) in self.rest.row_mut(i).iter_mut().zip(row).enumerate() {
                *rest = f64::from(u8::from(i == j)) - w;
            }
        }
        self.moments.times_into(&self.rest, &mut self.gradient);
        let loss = 0.5 * dot(self.rest.values(), self.gradient.values());
        let factor = 2.0 * (penalty.rho * h + penalty.alpha);
        for i in 0..d {
            for j in 0..d {
                let slope = factor * exponential[(j, i)] * x[i * d + j] - self.gradient[(i, j)];
                self.gradient[(i, j)] = if self.free[i * d + j] { slope } else { 0.0 };
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

fn sum_of_magnitudes(x: &[f64]) -> f64 {
    sum(&x.iter().map(|w| w.abs()).collect::<Vec<_>>())
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

    #[test]
    fn threshold_rises_until_no_cycle_is_left() {
        let mut weights = vec![0.0; 9];
        (weights[1], weights[3 + 2], weights[6]) = (0.9, 0.8, 0.5);
        assert_eq!(acyclic_threshold(&weights, 3, 0.3), (0.8, true));
        assert_eq!(acyclic_threshold(&weights, 3, 0.6), (0.6, false));
        (weights[5], weights[6]) = (0.9, 0.9);
        assert_eq!(
            acyclic_threshold(&weights, 3, 0.3),
            (0.9_f64.next_up(), true)
        );
    }
}
