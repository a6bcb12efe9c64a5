//! Lowers the L1-penalised least squares loss over acyclic weights by moving variables in an order.
//!
//! Given an order the best weights are one lasso for each variable on those before it, which is
//! convex. A variable is carried past its neighbours in the order one by one, and left where the
//! objective was least. Passing changes nothing unless one of the two uses the other or would, so
//! most steps are a comparison. It ends in weights that are acyclic to the last bit; that no other
//! order is better is not promised.

use hindcast_stats::Matrix;

use super::coordinate::Net;
use crate::control::{Control, Stop};

const SWEEPS_MAX: u32 = 4;
/// Improvement, of the objective where that is above 1, that is worth a move.
const IMPROVEMENT_MIN: f64 = 1e-7;

/// One variable: the weights of the edges into it, and what they leave.
#[derive(Clone)]
struct Node {
    weights: Vec<f64>,
    left: Vec<f64>,
    cost: f64,
}

pub(super) struct OrderDescent<'a> {
    moments: &'a Matrix,
    lambda: f64,
    /// Which weights may differ from 0, row-major from tail to head.
    free: &'a [bool],
    control: &'a dyn Control,
    order: Vec<usize>,
    nodes: Vec<Node>,
}

impl<'a> OrderDescent<'a> {
    pub(super) fn new(
        moments: &'a Matrix,
        lambda: f64,
        free: &'a [bool],
        control: &'a dyn Control,
    ) -> Self {
        Self {
            moments,
            lambda,
            free,
            control,
            order: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Weights (row-major) and their objective, from `order` downwards.
    pub(super) fn descend(&mut self, order: &[usize]) -> Result<(Vec<f64>, f64), Stop> {
        let d = order.len();
        self.order = order.to_vec();
        self.nodes = (0..d)
            .map(|head| Node {
                weights: vec![0.0; d],
                left: self.moments.row(head).to_vec(),
                cost: 0.5 * self.moments[(head, head)],
            })
            .collect();
        for place in 0..d {
            self.control.check()?;
            self.nodes[order[place]] = self.solved(order[place], &order[..place]);
        }
        for _ in 0..SWEEPS_MAX {
            let before = self.total();
            for variable in 0..d {
                self.carry(variable, false)?;
                self.carry(variable, true)?;
            }
            if before - self.total() <= IMPROVEMENT_MIN * before.max(1.0) {
                break;
            }
        }
        let mut weights = vec![0.0; d * d];
        for (head, node) in self.nodes.iter().enumerate() {
            for (tail, weight) in node.weights.iter().enumerate() {
                weights[tail * d + head] = *weight;
            }
        }
        Ok((weights, self.total()))
    }

    fn total(&self) -> f64 {
        self.nodes.iter().fold(0.0, |sum, node| sum + node.cost)
    }

    /// Moves a variable to the end or the start of the order and back to the best place on the way.
    fn carry(&mut self, variable: usize, later: bool) -> Result<(), Stop> {
        let from = self.order.iter().position(|&v| v == variable);
        let mut place = from.expect("every variable has a place");
        let mut undo: Vec<(usize, usize, Node, Node)> = Vec::new();
        let (mut gain, mut best, mut kept) = (0.0, 0.0, 0);
        let least = IMPROVEMENT_MIN * self.total().max(1.0);
        while if later {
            place + 1 < self.order.len()
        } else {
            place > 0
        } {
            self.control.check()?;
            let first = if later { place } else { place - 1 };
            let (a, b) = (self.order[first], self.order[first + 1]);
            undo.push((first, a, self.nodes[a].clone(), self.nodes[b].clone()));
            let before = self.nodes[a].cost + self.nodes[b].cost;
            self.swap(first);
            gain += before - (self.nodes[a].cost + self.nodes[b].cost);
            place = if later { place + 1 } else { place - 1 };
            if gain > best + least {
                (best, kept) = (gain, undo.len());
            }
        }
        for (first, a, node_a, node_b) in undo.drain(kept..).rev() {
            let b = self.order[first];
            self.order.swap(first, first + 1);
            (self.nodes[a], self.nodes[b]) = (node_a, node_b);
        }
        Ok(())
    }

    /// Lets two neighbours in the order pass each other.
    fn swap(&mut self, first: usize) {
        let (a, b) = (self.order[first], self.order[first + 1]);
        self.order.swap(first, first + 1);
        let d = self.order.len();
        if self.nodes[b].weights[a].abs() > 0.0 {
            self.nodes[b] = self.solved(b, &self.order[..first]);
        }
        if self.free[b * d + a] && self.nodes[a].left[b].abs() > self.lambda {
            self.nodes[a] = self.solved(a, &self.order[..=first]);
        }
    }

    /// The lasso of `head` on those `before` it, started from its present weights.
    fn solved(&self, head: usize, before: &[usize]) -> Node {
        let d = self.order.len();
        let mut ridge = vec![f64::INFINITY; d];
        for &tail in before.iter().filter(|&&tail| self.free[tail * d + head]) {
            ridge[tail] = 0.0;
        }
        let mut weights = vec![0.0; d];
        let mut left = self.moments.row(head).to_vec();
        for (tail, weight) in self.nodes[head].weights.iter().enumerate() {
            if weight.abs() > 0.0 && ridge[tail].is_finite() {
                weights[tail] = *weight;
                hindcast_stats::axpy(-weight, self.moments.row(tail), &mut left);
            }
        }
        let mut net = Net {
            moments: self.moments,
            left,
            weights: &mut weights,
            ridge: &ridge,
            lambda: self.lambda,
        };
        net.solve_fully(head);
        let left = net.left;
        let parts = weights.iter().zip(&left);
        let (fit, size) = parts.fold((left[head], 0.0), |(fit, size), (w, l)| {
            (fit - w * l, size + w.abs())
        });
        Node {
            cost: 0.5 * fit + self.lambda * size,
            weights,
            left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use hindcast_stats::Philox;

    /// Against all orders of five variables.
    #[test]
    fn objective_is_near_the_least_over_all_orders() {
        let mut rng = Philox::new(12, 0);
        let d = 5;
        let mut rows = Matrix::zeros(200, d);
        for i in 0..200 {
            for j in 0..d {
                let before = if j > 0 { rows[(i, j - 1)] } else { 0.0 };
                rows[(i, j)] = 1.2 * before + rng.normal();
            }
        }
        let mut moments = rows.cross_product();
        moments.scale(1.0 / 200.0);
        let free: Vec<bool> = (0..d * d).map(|at| at / d != at % d).collect();
        let mut least = f64::INFINITY;
        for _ in 0..400 {
            let order = rng.permutation(d);
            let mut fixed = OrderDescent::new(&moments, 0.1, &free, &Uncontrolled);
            fixed.order = order.clone();
            fixed.nodes = (0..d)
                .map(|head| Node {
                    weights: vec![0.0; d],
                    left: moments.row(head).to_vec(),
                    cost: 0.0,
                })
                .collect();
            let total = (0..d)
                .map(|p| fixed.solved(order[p], &order[..p]).cost)
                .sum();
            least = least.min(total);
        }
        let mut descent = OrderDescent::new(&moments, 0.1, &free, &Uncontrolled);
        let (weights, objective) = descent.descend(&[4, 2, 0, 3, 1]).unwrap();
        assert!(objective < least + 1e-6, "{objective} {least}");
        let mut fit = super::super::least_squares::LeastSquares::new(&moments);
        let size = super::super::orthant::sum_of_magnitudes(&weights);
        assert!((fit.loss(&weights) + 0.1 * size - objective).abs() < 1e-10);
    }
}
