//! The two-loop recursion of limited-memory BFGS (Nocedal and Wright, algorithm 7.4). It keeps the
//! last steps and gradients; the line search and what is minimised are the caller's.

use crate::{axpy, dot};

/// The last `capacity` pairs of step and change of gradient.
#[derive(Debug, Clone)]
pub struct History {
    capacity: usize,
    steps: Vec<Vec<f64>>,
    changes: Vec<Vec<f64>>,
    /// Diagonal of a first guess at the inverse Hessian, up to a factor; empty for the identity.
    diagonal: Vec<f64>,
}

impl History {
    pub fn new(capacity: usize) -> Self {
        Self::with_diagonal(capacity, Vec::new())
    }

    /// The approximation starts from a multiple of this diagonal and not of the identity.
    pub fn with_diagonal(capacity: usize, diagonal: Vec<f64>) -> Self {
        Self {
            capacity,
            steps: Vec::new(),
            changes: Vec::new(),
            diagonal,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn clear(&mut self) {
        self.steps.clear();
        self.changes.clear();
    }

    /// Takes a pair, unless its curvature is not clearly positive: that would make the
    /// approximation indefinite.
    pub fn push(&mut self, step: Vec<f64>, change: Vec<f64>) {
        if dot(&step, &change) <= 1e-10 * dot(&change, &change) {
            return;
        }
        if self.steps.len() == self.capacity {
            self.steps.remove(0);
            self.changes.remove(0);
        }
        self.steps.push(step);
        self.changes.push(change);
    }

    /// Multiplies `vector` by the approximate inverse Hessian, in place.
    pub fn apply_inverse(&self, vector: &mut [f64]) {
        let mut alphas = vec![0.0; self.steps.len()];
        for i in (0..self.steps.len()).rev() {
            alphas[i] = dot(&self.steps[i], vector) / dot(&self.steps[i], &self.changes[i]);
            axpy(-alphas[i], &self.changes[i], vector);
        }
        if let (Some(step), Some(change)) = (self.steps.last(), self.changes.last()) {
            let mut scaled = change.clone();
            self.times_diagonal(&mut scaled);
            let scale = dot(step, change) / dot(change, &scaled);
            for x in vector.iter_mut() {
                *x *= scale;
            }
        }
        self.times_diagonal(vector);
        for ((step, change), alpha) in self.steps.iter().zip(&self.changes).zip(alphas) {
            let beta = dot(change, vector) / dot(step, change);
            axpy(alpha - beta, step, vector);
        }
    }

    fn times_diagonal(&self, vector: &mut [f64]) {
        for (x, d) in vector.iter_mut().zip(&self.diagonal) {
            *x *= d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_pair_satisfies_the_secant_equation() {
        let mut history = History::new(3);
        for k in 1..=5 {
            let k = f64::from(k);
            history.push(vec![1.0, k, -k], vec![2.0, 3.0 * k, -4.0 * k]);
        }
        let mut vector = vec![2.0, 15.0, -20.0];
        history.apply_inverse(&mut vector);
        for (got, expected) in vector.iter().zip([1.0, 5.0, -5.0]) {
            assert!((got - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn negative_curvature_is_not_kept() {
        let mut history = History::new(3);
        history.push(vec![1.0], vec![-1.0]);
        assert!(history.is_empty());
    }
}
