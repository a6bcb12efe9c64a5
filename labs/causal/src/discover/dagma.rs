//! DAGMA (Bello, Aragam and Ravikumar, NeurIPS 2022), linear, least squares: follows the minimisers
//! of `mu (loss + lambda1 |W|_1) + h(W)` with `h = -log det(s I - W o W) + d log s` as mu falls.
//!
//! The schedules of mu and s are the authors'; each stage is solved by orthant-wise L-BFGS in place
//! of Adam, on the objective divided by mu. Points outside the domain of M-matrices have an
//! infinite objective. The path starts from no edge, as published. A second start, the regressions
//! along the equal-variance order, is already acyclic and enters at the last stage; of the two ends the one
//! with the lesser objective of that stage is answered, and both are reported.

use hindcast_stats::{Matrix, axpy, ln, sum_of_magnitudes};

use super::coordinate::{self, Nets, SquaredWeights};
use super::knowledge::Knowledge;
use super::least_squares::LeastSquares;
use super::options::DagmaOptions;
use super::orthant::{self, Ending, Shape, Smooth};
use super::regression::Bic;
use super::result::{Convergence, Outcome, ScoreName, StartObjective};
use super::{eqvar, stepwise, threshold};
use crate::control::{Control, Stop};
use crate::data::Dataset;
use crate::error::LabError;

/// mu and s of each stage.
const STAGES: [(f64, f64); 5] = [
    (1.0, 1.0),
    (0.1, 0.9),
    (0.01, 0.8),
    (0.001, 0.7),
    (0.0001, 0.6),
];
/// By how much s rises while the start of a stage lies outside its domain.
const S_STEP: f64 = 0.1;
const ENDING: Ending = Ending {
    steps_max: 5000,
    gradient: 1e-5,
    decrease: 1e-9,
};
/// Of the stages before the last, which are only on the way; the authors' tolerance.
const WAYPOINT: Ending = Ending {
    decrease: 1e-6,
    ..ENDING
};
/// Penalty for the parents of the second start, the default of eqvar.
const START_PENALTY_DISCOUNT: f64 = 2.0;

pub(super) fn run(
    data: &Dataset,
    options: &DagmaOptions,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    let moments = data.covariance().covariance();
    let d = data.width();
    let mut path = Path::new(moments, options.lambda1, knowledge, control);
    let mut best = path.follow()?;
    let mut objectives = vec![StartObjective::new("zero", best.objective)];
    if let Some(start) = equal_variance_start(data, knowledge, control)? {
        let other = path.stage(start, STAGES.len() - 1)?;
        objectives.push(StartObjective::new("eqvar", other.objective));
        if other.objective < best.objective {
            best = other;
        }
    }
    let loss = path.barrier.fit.loss(&best.weights);
    let score = loss + options.lambda1 * sum_of_magnitudes(&best.weights);
    let (edges, warning) = threshold::acyclic_edges(&best.weights, d, options.threshold);
    Ok(Outcome {
        edges,
        score: Some((ScoreName::Objective, score)),
        iterations: STAGES.len() as u64,
        convergence: Convergence {
            converged: true,
            reason: "the last stage of the path ended".into(),
            h: Some(best.h.max(0.0)),
            evaluations: Some(path.barrier.evaluations),
            objectives: Some(objectives),
            ..Convergence::default()
        },
        warnings: warning.into_iter().collect(),
        ..Outcome::default()
    })
}

/// Regressions along the order of `eqvar`; `None` where that has no order.
fn equal_variance_start(
    data: &Dataset,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Option<Vec<f64>>, LabError> {
    let moments = data.covariance();
    let d = moments.width();
    if moments.rows() <= d + 1 {
        return Ok(None);
    }
    let Some(order) = eqvar::top_down_order(moments.covariance(), knowledge, control)? else {
        return Ok(None);
    };
    let rows = moments.rows();
    let bic = Bic::new(moments.correlation(), rows, START_PENALTY_DISCOUNT);
    let mut weights = vec![0.0; d * d];
    for (head, fit) in stepwise::along_order(&bic, knowledge, &order, control)? {
        for (&tail, coefficient) in fit.parents.iter().zip(&fit.coefficients) {
            weights[tail * d + head] = coefficient * moments.sd(head) / moments.sd(tail);
        }
    }
    Ok(Some(weights))
}

struct Reached {
    weights: Vec<f64>,
    /// Loss and penalty and h / mu of the stage.
    objective: f64,
    h: f64,
}

struct Path<'a> {
    barrier: Barrier<'a>,
    lambda1: f64,
    curvature: Vec<f64>,
}

impl<'a> Path<'a> {
    fn new(
        moments: &'a Matrix,
        lambda1: f64,
        knowledge: &Knowledge,
        control: &'a dyn Control,
    ) -> Self {
        let d = moments.rows();
        let free = (0..d * d).map(|at| at / d != at % d && knowledge.allows(at / d, at % d));
        let barrier = Barrier::new(moments, free.collect(), control);
        let curvature = barrier.fit.curvature();
        Self {
            barrier,
            lambda1,
            curvature,
        }
    }

    fn follow(&mut self) -> Result<Reached, Stop> {
        let d = self.barrier.fit.moments().rows();
        let mut reached = self.stage(vec![0.0; d * d], 0)?;
        for stage in 1..STAGES.len() {
            reached = self.stage(reached.weights, stage)?;
        }
        Ok(reached)
    }

    fn stage(&mut self, start: Vec<f64>, stage: usize) -> Result<Reached, Stop> {
        let total = STAGES.len() as u64;
        self.barrier
            .control
            .progress("dagma stages", stage as u64, total);
        (self.barrier.mu, self.barrier.s) = STAGES[stage];
        while !self.barrier.value(&start)?.is_finite() {
            self.barrier.s += S_STEP;
        }
        let shape = Shape {
            lambda: self.lambda1,
            curvature: &self.curvature,
        };
        let ending = if stage + 1 < STAGES.len() {
            WAYPOINT
        } else {
            ENDING
        };
        let near = coordinate::descend(
            &mut self.barrier,
            start,
            self.lambda1,
            Nets::Approached,
            ending,
        )?;
        let weights = orthant::minimise(&mut self.barrier, near, shape, ending)?;
        // The objectives of two starts are compared, so both take s of the schedule.
        self.barrier.s = STAGES[stage].1;
        let smooth = self.barrier.value(&weights)?;
        Ok(Reached {
            objective: smooth + self.lambda1 * sum_of_magnitudes(&weights),
            h: self.barrier.h,
            weights,
        })
    }
}

/// `loss + h / mu`.
struct Barrier<'a> {
    fit: LeastSquares<'a>,
    /// Which weights may differ from 0.
    free: Vec<bool>,
    control: &'a dyn Control,
    mu: f64,
    s: f64,
    h: f64,
    work: Matrix,
    gradient: Matrix,
    evaluations: u64,
}

impl<'a> Barrier<'a> {
    fn new(moments: &'a Matrix, free: Vec<bool>, control: &'a dyn Control) -> Self {
        let d = moments.rows();
        Self {
            fit: LeastSquares::new(moments),
            free,
            control,
            mu: 1.0,
            s: 1.0,
            h: 0.0,
            work: Matrix::zeros(d, d),
            gradient: Matrix::zeros(d, d),
            evaluations: 0,
        }
    }
}

impl SquaredWeights for Barrier<'_> {
    fn fit(&self) -> &LeastSquares<'_> {
        &self.fit
    }

    fn check(&self) -> Result<(), Stop> {
        self.control.check()
    }

    fn ridge(&self, tail: usize, head: usize) -> f64 {
        if self.free[tail * self.work.rows() + head] {
            self.work[(head, tail)] / self.mu
        } else {
            f64::INFINITY
        }
    }
}

impl Smooth for Barrier<'_> {
    fn value(&mut self, x: &[f64]) -> Result<f64, Stop> {
        self.evaluations += 1;
        self.control.check()?;
        let d = self.fit.moments().rows();
        for (square, w) in self.work.values_mut().iter_mut().zip(x) {
            *square = -w * w;
        }
        for i in 0..d {
            self.work[(i, i)] += self.s;
        }
        let Some(log_determinant) = invert_m_matrix(&mut self.work, self.control)? else {
            self.h = f64::INFINITY;
            return Ok(f64::INFINITY);
        };
        self.h = d as f64 * ln(self.s) - log_determinant;
        let loss = self.fit.loss(x);
        for i in 0..d {
            for j in 0..d {
                let slope = 2.0 * x[i * d + j] * self.work[(j, i)] / self.mu;
                let slope = slope - self.fit.left[(j, i)];
                self.gradient[(i, j)] = if self.free[i * d + j] { slope } else { 0.0 };
            }
        }
        let value = loss + self.h / self.mu;
        Ok(if value.is_finite() {
            value
        } else {
            f64::INFINITY
        })
    }

    fn gradient(&self) -> &[f64] {
        self.gradient.values()
    }
}

/// Replaces a matrix with no positive number off its diagonal by its inverse; its log-determinant,
/// or `None` when it is no M-matrix. Such a matrix is one exactly when elimination in the given
/// order meets positive pivots alone, so none has to be searched for, and all sums are of numbers
/// of one sign.
fn invert_m_matrix(matrix: &mut Matrix, control: &dyn Control) -> Result<Option<f64>, Stop> {
    let d = matrix.rows();
    let mut log_determinant = 0.0;
    let mut pivot_row = vec![0.0; d];
    for k in 0..d {
        if k % 32 == 0 {
            control.check()?;
        }
        let pivot = matrix[(k, k)];
        if !pivot.is_normal() || pivot < 0.0 {
            return Ok(None);
        }
        log_determinant += ln(pivot);
        matrix[(k, k)] = 1.0;
        for x in matrix.row_mut(k) {
            *x /= pivot;
        }
        pivot_row.copy_from_slice(matrix.row(k));
        for i in (0..d).filter(|&i| i != k) {
            let row = matrix.row_mut(i);
            let factor = row[k];
            if factor.abs() > 0.0 {
                row[k] = 0.0;
                axpy(-factor, &pivot_row, row);
            }
        }
    }
    Ok(Some(log_determinant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use hindcast_stats::Philox;

    #[test]
    fn inverse_and_determinant_of_an_m_matrix() {
        let mut rng = Philox::new(6, 0);
        let matrix = Matrix::from_fn(6, 6, |i, j| if i == j { 1.0 } else { 0.0 });
        let mut matrix = matrix;
        for i in 0..6 {
            for j in (0..6).filter(|&j| j != i) {
                matrix[(i, j)] = -0.15 * rng.uniform();
            }
        }
        let mut inverse = matrix.clone();
        let log_determinant = invert_m_matrix(&mut inverse, &Uncontrolled)
            .unwrap()
            .unwrap();
        let product = matrix.times(&inverse);
        for i in 0..6 {
            for j in 0..6 {
                assert!((product[(i, j)] - f64::from(u8::from(i == j))).abs() < 1e-14);
                assert!(inverse[(i, j)] >= 0.0);
            }
        }
        // By the product of pivots of the leading minors of a 2 x 2 corner.
        let mut corner = Matrix::from_vec(2, 2, vec![0.8, -0.5, -0.4, 0.9]);
        let two = invert_m_matrix(&mut corner, &Uncontrolled)
            .unwrap()
            .unwrap();
        assert!((two - ln(0.8 * 0.9 - 0.2)).abs() < 1e-14 && log_determinant < 0.0);
    }

    #[test]
    fn other_matrices_are_outside_the_domain() {
        let mut cycle = Matrix::from_vec(2, 2, vec![1.0, -1.1, -1.0, 1.0]);
        assert!(
            invert_m_matrix(&mut cycle, &Uncontrolled)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let d = 5;
        let mut rng = Philox::new(4, 0);
        let rows = Matrix::from_vec(30, d, (0..30 * d).map(|_| rng.normal()).collect());
        let mut moments = rows.cross_product();
        moments.scale(1.0 / 30.0);
        let mut barrier = Barrier::new(&moments, vec![true; d * d], &Uncontrolled);
        (barrier.mu, barrier.s) = (0.1, 0.9);
        let draw = |i: usize| {
            if i.is_multiple_of(d + 1) {
                0.0
            } else {
                0.25 * rng.normal()
            }
        };
        let mut x: Vec<f64> = (0..d * d).map(draw).collect();
        barrier.value(&x).unwrap();
        let gradient = barrier.gradient().to_vec();
        for i in (0..d * d).filter(|i| i % (d + 1) != 0) {
            let at = x[i];
            // The error of the central difference is of the order of its step squared.
            x[i] = at + 1e-5;
            let above = barrier.value(&x).unwrap();
            x[i] = at - 1e-5;
            let below = barrier.value(&x).unwrap();
            x[i] = at;
            let difference = (above - below) / 2e-5;
            assert!((difference - gradient[i]).abs() < 1e-5 * (1.0 + gradient[i].abs()));
        }
    }
}
