//! Lowers the L1-penalised least squares loss over acyclic weights by moving variables in an order.
//!
//! Given an order the best weights are one lasso for each variable on those before it, which is
//! convex. A variable is carried past its neighbours in the order one by one, and left where the
//! objective was least. Passing changes nothing unless one of the two uses the other or would, so
//! most steps are a comparison. From where it ends it starts again with a few variables moved at random,
//! some times. It ends in weights that are acyclic to the last bit; that no other
//! order is better is not promised.

use hindcast_stats::{Matrix, Philox};

use super::active_set::{ActiveSet, Room};
use super::boss;
use super::coordinate::Net;
use crate::control::{Control, Stop};

const SWEEPS_MAX: u32 = 4;
/// Descents from the end of the first with a few variables moved: at most so many, and fewer with many
/// variables, where one costs more: so many over their square.
const PERTURBED_MAX: usize = 20;
const PERTURBED_SQUARE: usize = 8_000;
/// Where they are moved to is random, the same for all data.
const PERTURBATION_KEY: u64 = 2;
/// Improvement, of the objective where that is above 1, that is worth a move.
const IMPROVEMENT_MIN: f64 = 1e-7;

/// One variable: the weights of the edges into it, and what they leave.
#[derive(Clone)]
struct Node {
    weights: Vec<f64>,
    left: Vec<f64>,
    cost: f64,
    /// The solution in a form that the next one can start from.
    set: ActiveSet,
}

pub(super) struct OrderDescent<'a> {
    moments: &'a Matrix,
    lambda: f64,
    /// Which weights may differ from 0, row-major from tail to head.
    free: &'a [bool],
    control: &'a dyn Control,
    order: Vec<usize>,
    nodes: Vec<Node>,
    /// What each variable costs with all others before it.
    floors: Vec<f64>,
    ridge: Vec<f64>,
    room: Room,
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
            floors: Vec::new(),
            ridge: vec![0.0; moments.rows()],
            room: Room::default(),
        }
    }

    /// Weights (row-major) and their objective: downwards from the least of the `orders`, of which
    /// there is one at least, and then from perturbed ends.
    pub(super) fn descend(&mut self, orders: &[Vec<usize>]) -> Result<(Vec<f64>, f64), Stop> {
        let d = self.moments.rows();
        self.nodes = self.unexplained();
        self.order = (0..d).collect();
        for head in 0..d {
            self.control.check()?;
            let cost = self.solved(head, d).cost;
            self.floors.push(cost);
        }
        let mut least = f64::INFINITY;
        let mut best = (Vec::new(), Vec::new());
        for order in orders {
            self.nodes = self.unexplained();
            self.place(order.clone())?;
            self.keep_least(&mut least, &mut best);
        }
        (self.order, self.nodes) = best.clone();
        self.sweep()?;
        self.keep_least(&mut least, &mut best);
        let mut rng = Philox::new(PERTURBATION_KEY, 0);
        let perturbed = PERTURBED_SQUARE.checked_div(d * d).unwrap_or(0);
        for _ in 0..perturbed.min(PERTURBED_MAX) {
            let mut order = best.0.clone();
            boss::perturb(&mut order, &mut rng);
            self.nodes.clone_from(&best.1);
            self.place(order)?;
            self.sweep()?;
            self.keep_least(&mut least, &mut best);
        }
        let mut weights = vec![0.0; d * d];
        for (head, node) in best.1.iter().enumerate() {
            for (tail, weight) in node.weights.iter().enumerate() {
                weights[tail * d + head] = *weight;
            }
        }
        Ok((weights, least))
    }

    /// Brings the variables into an order.
    fn place(&mut self, order: Vec<usize>) -> Result<(), Stop> {
        self.order = order;
        for place in 0..self.order.len() {
            self.control.check()?;
            let head = self.order[place];
            self.nodes[head] = self.solved(head, place);
        }
        Ok(())
    }

    fn keep_least(&self, least: &mut f64, best: &mut (Vec<usize>, Vec<Node>)) {
        if self.total() < *least {
            *least = self.total();
            best.0.clone_from(&self.order);
            best.1.clone_from(&self.nodes);
        }
    }

    /// Every variable without an edge into it.
    fn unexplained(&self) -> Vec<Node> {
        let d = self.moments.rows();
        let node = |head| Node {
            weights: vec![0.0; d],
            left: self.moments.row(head).to_vec(),
            cost: 0.5 * self.moments[(head, head)],
            set: ActiveSet::default(),
        };
        (0..d).map(node).collect()
    }

    /// Carries every variable both ways until that brings nothing.
    fn sweep(&mut self) -> Result<(), Stop> {
        for _ in 0..SWEEPS_MAX {
            let before = self.total();
            for variable in 0..self.order.len() {
                self.carry(variable, false)?;
                self.carry(variable, true)?;
            }
            if before - self.total() <= IMPROVEMENT_MIN * before.max(1.0) {
                break;
            }
        }
        Ok(())
    }

    fn total(&self) -> f64 {
        self.nodes.iter().fold(0.0, |sum, node| sum + node.cost)
    }

    /// Moves a variable towards the end or the start of the order, as far as that can still pay, and
    /// back to the best place on the way.
    fn carry(&mut self, variable: usize, later: bool) -> Result<(), Stop> {
        let from = self.order.iter().position(|&v| v == variable);
        let mut place = from.expect("every variable has a place");
        let mut undo: Vec<(usize, Node)> = Vec::new();
        let (mut gain, mut best) = (0.0, 0.0);
        let (mut kept, mut kept_place) = (0, place);
        let least = IMPROVEMENT_MIN * self.total().max(1.0);
        let mut hope = self.hope(variable, place, later);
        while if later {
            place + 1 < self.order.len()
        } else {
            place > 0
        } {
            // What is to be won ahead, less what the moved ones have lost for good.
            if gain + hope <= best + least {
                break;
            }
            self.control.check()?;
            let first = if later { place } else { place - 1 };
            let passed = self.order[if later { place + 1 } else { place - 1 }];
            hope -= if later {
                0.0
            } else {
                self.hope_of(passed, variable)
            };
            let before = self.nodes[variable].cost + self.nodes[passed].cost;
            let own = self.nodes[variable].cost;
            self.swap(first, &mut undo);
            gain += before - (self.nodes[variable].cost + self.nodes[passed].cost);
            hope -= if later {
                own - self.nodes[variable].cost
            } else {
                0.0
            };
            place = if later { place + 1 } else { place - 1 };
            if gain > best + least {
                (best, kept, kept_place) = (gain, undo.len(), place);
            }
        }
        for (node, before) in undo.drain(kept..).rev() {
            self.nodes[node] = before;
        }
        self.order.remove(place);
        self.order.insert(kept_place, variable);
        Ok(())
    }

    /// No move of the variable gains more than this: only the one that is passed by another, which
    /// it may then use, can gain by that, and no variable costs less than with all others before it.
    fn hope(&self, variable: usize, place: usize, later: bool) -> f64 {
        if later {
            return self.nodes[variable].cost - self.floors[variable];
        }
        let passed = self.order[..place].iter();
        passed.fold(0.0, |sum, &v| sum + self.hope_of(v, variable))
    }

    /// What one variable can gain when `tail` comes before it.
    fn hope_of(&self, variable: usize, tail: usize) -> f64 {
        if self.would_use(variable, tail) {
            self.nodes[variable].cost - self.floors[variable]
        } else {
            0.0
        }
    }

    /// Whether the lasso of `head` changes when `tail` is offered to it.
    fn would_use(&self, head: usize, tail: usize) -> bool {
        let free = self.free[tail * self.order.len() + head];
        free && self.nodes[head].left[tail].abs() > self.lambda
    }

    /// Lets two neighbours in the order pass each other, and keeps what changes in `undo`.
    fn swap(&mut self, first: usize, undo: &mut Vec<(usize, Node)>) {
        let (a, b) = (self.order[first], self.order[first + 1]);
        self.order.swap(first, first + 1);
        if self.nodes[b].weights[a].abs() > 0.0 {
            let node = self.solved(b, first);
            undo.push((b, std::mem::replace(&mut self.nodes[b], node)));
        }
        if self.would_use(a, b) {
            let node = self.solved(a, first + 1);
            undo.push((a, std::mem::replace(&mut self.nodes[a], node)));
        }
    }

    /// The lasso of `head` on those in the first `places`, started from its present weights.
    fn solved(&mut self, head: usize, places: usize) -> Node {
        let d = self.order.len();
        self.ridge.fill(f64::INFINITY);
        for &tail in &self.order[..places] {
            if self.free[tail * d + head] {
                self.ridge[tail] = 0.0;
            }
        }
        let mut node = self.nodes[head].clone();
        let mut net = Net {
            moments: self.moments,
            left: std::mem::take(&mut node.left),
            weights: &mut node.weights,
            ridge: &self.ridge,
            lambda: self.lambda,
        };
        if node.set.solve(&mut net, head, &mut self.room).is_err() {
            net.solve_fully(head);
        }
        node.left = net.left;
        let parts = node.weights.iter().zip(&node.left);
        let (fit, size) = parts.fold((node.left[head], 0.0), |(fit, size), (w, l)| {
            (fit - w * l, size + w.abs())
        });
        node.cost = 0.5 * fit + self.lambda * size;
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;

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
        let mut fixed = OrderDescent::new(&moments, 0.1, &free, &Uncontrolled);
        for _ in 0..400 {
            fixed.order = rng.permutation(d);
            fixed.nodes = fixed.unexplained();
            let costs = (0..d).map(|place| fixed.solved(fixed.order[place], place).cost);
            least = least.min(costs.sum());
        }
        let mut descent = OrderDescent::new(&moments, 0.1, &free, &Uncontrolled);
        let orders = [vec![4, 2, 0, 3, 1], vec![1, 0, 2, 3, 4]];
        let (weights, objective) = descent.descend(&orders).unwrap();
        assert!(objective < least + 1e-6, "{objective} {least}");
        let mut fit = super::super::least_squares::LeastSquares::new(&moments);
        let size = hindcast_stats::sum_of_magnitudes(&weights);
        assert!((fit.loss(&weights) + 0.1 * size - objective).abs() < 1e-10);
    }
}
