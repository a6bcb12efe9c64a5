//! The elastic net of one variable by its active set: feature-sign search (Lee, Battle, Raina and
//! Ng, NeurIPS 2006). While the signs of the weights are known the penalty is linear, and the best
//! weights follow from the inverse of the moments of the variables in use. A weight that would
//! change its sign leaves; when none would, the variable that lowers the objective most comes in.
//! Every step lowers the objective, so no set comes twice. The inverse is kept up to date, which
//! costs its size for each change.

use hindcast_stats::axpy;

use super::coordinate::Net;
use super::regression::SINGULAR;

/// Changes of the set, for each variable there is, before coordinate descent takes over: far more
/// than was ever needed.
const STEPS_MAX: usize = 20;
/// What a variable has to gain to come in, and what rounding may leave to be gained by the others:
/// the root of twice the gain, in units of the standard deviation of the head.
const GAIN_MIN: f64 = 1e-9;

/// The variables in use, and what of them can serve the next, similar problem.
#[derive(Clone, Default)]
pub(super) struct ActiveSet {
    /// Whether the rest is in keeping with the weights.
    known: bool,
    tails: Vec<usize>,
    /// Signs of their weights.
    signs: Vec<f64>,
    /// Their best weights while the signs stay.
    solution: Vec<f64>,
    /// Inverse of their moments, with the ridge on the diagonal, row after row.
    inverse: Vec<f64>,
}

/// Room for what a change of a set needs.
#[derive(Default)]
pub(super) struct Room {
    column: Vec<f64>,
    next: Vec<f64>,
}

/// The moments are singular, or nearly.
pub(super) struct Singular;

impl ActiveSet {
    /// Makes the next problem start from its weights alone: the ridge has changed.
    pub(super) fn forget(&mut self) {
        self.known = false;
    }

    /// Solves `net` for `head`, from its weights; those of infinite ridge become 0. After an error
    /// the weights are lower in the objective, and no more.
    pub(super) fn solve(
        &mut self,
        net: &mut Net<'_>,
        head: usize,
        room: &mut Room,
    ) -> Result<(), Singular> {
        let begun = if self.known {
            self.restrict(net, room);
            Ok(())
        } else {
            self.begin(net, head, room)
        };
        let result = begun.and_then(|()| self.search(net, head, room));
        self.known = result.is_ok();
        if result.is_err() {
            net.refresh(head, 0..net.weights.len());
        }
        result
    }

    /// The set of the variables that have a weight.
    fn begin(&mut self, net: &mut Net<'_>, head: usize, room: &mut Room) -> Result<(), Singular> {
        self.tails.clear();
        self.signs.clear();
        self.solution.clear();
        self.inverse.clear();
        for tail in 0..net.weights.len() {
            if net.ridge[tail].is_infinite() {
                net.weights[tail] = 0.0;
            }
        }
        for tail in 0..net.weights.len() {
            let weight = net.weights[tail];
            if weight.abs() > 0.0 {
                self.enter(net, head, (tail, weight.signum()), room)?;
            }
        }
        Ok(())
    }

    /// Leaves out the variables that may not be in use now.
    fn restrict(&mut self, net: &mut Net<'_>, room: &mut Room) {
        for at in (0..self.tails.len()).rev() {
            if net.ridge[self.tails[at]].is_infinite() {
                net.weights[self.tails[at]] = 0.0;
                self.leave(at, room);
            }
        }
    }

    fn search(&mut self, net: &mut Net<'_>, head: usize, room: &mut Room) -> Result<(), Singular> {
        for _ in 0..STEPS_MAX * (net.weights.len() + 1) {
            if let Some(at) = self.advance(net) {
                self.leave(at, room);
                continue;
            }
            net.refresh(head, self.tails.iter().copied());
            if self.refine(net, head) {
                continue;
            }
            let Some(entry) = best_entry(net, head) else {
                return Ok(());
            };
            self.enter(net, head, entry, room)?;
        }
        Err(Singular)
    }

    /// Moves the weights towards the solution until one is 0: which.
    fn advance(&self, net: &mut Net<'_>) -> Option<usize> {
        let (mut length, mut first) = (1.0, None);
        for (at, &tail) in self.tails.iter().enumerate() {
            if self.solution[at] * self.signs[at] <= 0.0 {
                let weight = net.weights[tail];
                // One that has just come in, or has an opposite that rounding moved, does not move.
                let zero = if weight.abs() > 0.0 {
                    weight / (weight - self.solution[at])
                } else {
                    0.0
                };
                if first.is_none() || zero < length {
                    (length, first) = (zero, Some(at));
                }
            }
        }
        for (&tail, &to) in self.tails.iter().zip(&self.solution) {
            let weight = &mut net.weights[tail];
            *weight = if first.is_some() {
                *weight + length * (to - *weight)
            } else {
                to
            };
        }
        if let Some(at) = first {
            net.weights[self.tails[at]] = 0.0;
        }
        first
    }

    /// Corrects the solution where rounding has moved it; whether it had to.
    fn refine(&mut self, net: &Net<'_>, head: usize) -> bool {
        let size = self.tails.len();
        let bound = GAIN_MIN * GAIN_MIN * net.moments[(head, head)];
        let rest = |at: usize, tail: usize, sign: f64| {
            (
                at,
                net.left[tail] - net.ridge[tail] * net.weights[tail] - net.lambda * sign,
            )
        };
        let tails = self.tails.iter().zip(&self.signs).enumerate();
        let rests = tails.map(|(at, (&tail, &sign))| rest(at, tail, sign));
        let is_wrong = rests.clone().any(|(at, rest)| {
            let tail = self.tails[at];
            rest * rest > bound * (net.moments[(tail, tail)] + net.ridge[tail])
        });
        if is_wrong {
            for (at, rest) in rests {
                let row = &self.inverse[at * size..][..size];
                axpy(rest, row, &mut self.solution);
            }
        }
        is_wrong
    }

    /// One variable more: the inverse is bordered.
    fn enter(
        &mut self,
        net: &Net<'_>,
        head: usize,
        (tail, sign): (usize, f64),
        room: &mut Room,
    ) -> Result<(), Singular> {
        let size = self.tails.len();
        let moments = net.moments.row(tail);
        let Room { column, next } = room;
        column.clear();
        column.resize(size, 0.0);
        let mut side = moments[head] - net.lambda * sign;
        for (at, &other) in self.tails.iter().enumerate() {
            axpy(moments[other], &self.inverse[at * size..][..size], column);
            side -= moments[other] * self.solution[at];
        }
        let whole = moments[tail] + net.ridge[tail];
        let known = self.tails.iter().zip(&*column);
        let pivot = known.fold(whole, |left, (&other, x)| left - moments[other] * x);
        if pivot.is_nan() || pivot <= SINGULAR * whole {
            return Err(Singular);
        }
        next.clear();
        for (at, &x) in column.iter().enumerate() {
            let factor = x / pivot;
            let row = &self.inverse[at * size..][..size];
            next.extend(row.iter().zip(&*column).map(|(h, y)| h + factor * y));
            next.push(-factor);
        }
        next.extend(column.iter().map(|x| -x / pivot));
        next.push(1.0 / pivot);
        std::mem::swap(&mut self.inverse, next);
        let weight = side / pivot;
        axpy(-weight, column, &mut self.solution);
        self.solution.push(weight);
        self.tails.push(tail);
        self.signs.push(sign);
        Ok(())
    }

    /// One variable less.
    fn leave(&mut self, at: usize, room: &mut Room) {
        let size = self.tails.len();
        let next = &mut room.next;
        next.clear();
        let (above, rest) = self.inverse.split_at(at * size);
        let (row, below) = rest.split_at(size);
        let pivot = row[at];
        for other in above.chunks_exact(size).chain(below.chunks_exact(size)) {
            let factor = other[at] / pivot;
            let cells = |from: usize, to: usize| {
                let pairs = other[from..to].iter().zip(&row[from..to]);
                pairs.map(move |(h, x)| h - factor * x)
            };
            next.extend(cells(0, at));
            next.extend(cells(at + 1, size));
        }
        axpy(-self.solution[at] / pivot, row, &mut self.solution);
        std::mem::swap(&mut self.inverse, next);
        self.solution.remove(at);
        self.tails.remove(at);
        self.signs.remove(at);
    }
}

/// The variable without a weight that lowers the objective most, and the sign its weight would have.
fn best_entry(net: &Net<'_>, head: usize) -> Option<(usize, f64)> {
    let mut most = GAIN_MIN * GAIN_MIN * net.moments[(head, head)];
    let mut best = None;
    for (tail, left) in net.left.iter().enumerate() {
        let over = left.abs() - net.lambda;
        if over <= 0.0 || tail == head || net.weights[tail].abs() > 0.0 {
            continue;
        }
        // With an infinite ridge there is no gain.
        let gain = over * over / (net.moments[(tail, tail)] + net.ridge[tail]);
        if gain > most {
            (most, best) = (gain, Some((tail, left.signum())));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindcast_stats::{Matrix, Philox};

    fn correlated(d: usize, stream: u64) -> Matrix {
        let mut rng = Philox::new(17, stream);
        let mut rows = Matrix::zeros(60, d);
        for i in 0..60 {
            let common = rng.normal();
            for j in 0..d {
                rows[(i, j)] = common + rng.normal() * (1.0 + j as f64);
            }
        }
        let mut moments = rows.cross_product();
        moments.scale(1.0 / 60.0);
        moments
    }

    fn net<'a>(
        moments: &'a Matrix,
        head: usize,
        weights: &'a mut [f64],
        ridge: &'a [f64],
    ) -> Net<'a> {
        Net {
            moments,
            left: moments.row(head).to_vec(),
            weights,
            ridge,
            lambda: 0.3,
        }
    }

    /// The conditions of the minimum, checked from the definition.
    fn check(moments: &Matrix, head: usize, weights: &[f64], ridge: &[f64]) {
        for tail in (0..weights.len()).filter(|&tail| tail != head) {
            let sum = (0..weights.len()).fold(moments[(head, tail)], |sum, other| {
                sum - weights[other] * moments[(other, tail)]
            });
            if ridge[tail].is_infinite() {
                assert_eq!(weights[tail].to_bits(), 0);
            } else if weights[tail].abs() > 0.0 {
                let slope = sum - ridge[tail] * weights[tail] - 0.3 * weights[tail].signum();
                assert!(slope.abs() < 1e-8, "{slope}");
            } else {
                assert!(sum.abs() < 0.3 + 1e-8, "{sum}");
            }
        }
    }

    /// One set serves problems that allow more and fewer variables, from any weights.
    #[test]
    fn solutions_satisfy_the_conditions_of_the_minimum() {
        let d = 9;
        for stream in 0..20 {
            let moments = correlated(d, stream);
            let mut rng = Philox::new(18, stream);
            let head = rng.index_below(d);
            let (mut set, mut room) = (ActiveSet::default(), Room::default());
            let mut weights: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
            weights[head] = 0.0;
            for round in 0..6 {
                let ridge: Vec<f64> = (0..d)
                    .map(|tail| {
                        if tail == head || rng.uniform() < 0.3 {
                            f64::INFINITY
                        } else if round < 3 {
                            0.0
                        } else {
                            rng.uniform()
                        }
                    })
                    .collect();
                if round >= 3 {
                    set.forget();
                }
                let mut net = net(&moments, head, &mut weights, &ridge);
                assert!(set.solve(&mut net, head, &mut room).is_ok());
                check(&moments, head, &weights, &ridge);
            }
        }
    }

    #[test]
    fn twins_with_weights_are_said_to_be_singular() {
        let moments = Matrix::from_fn(3, 3, |i, j| if i + j == 3 || i == j { 2.0 } else { 1.0 });
        let mut weights = vec![0.0, 0.2, 0.1];
        let ridge = [f64::INFINITY, 0.0, 0.0];
        let mut net = net(&moments, 0, &mut weights, &ridge);
        let mut set = ActiveSet::default();
        assert!(set.solve(&mut net, 0, &mut Room::default()).is_err());
        net.solve_fully(0);
        let explained = weights[1] + weights[2];
        assert!((explained - 0.35).abs() < 1e-4, "{explained}");
    }
}
