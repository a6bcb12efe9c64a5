//! Minimises a smooth function plus an L1 penalty by orthant-wise L-BFGS (Andrew and Gao, ICML
//! 2007). It is the bound-constrained form of NOTEARS with the two halves of a weight folded
//! together, and exact zeros stay exact.
//!
//! The function may be infinite: the line search steps back from there.

use hindcast_stats::{History, dot, sum_of_magnitudes};

use crate::control::Stop;

const HISTORY: usize = 10;
const HALVINGS_MAX: u32 = 60;
const SUFFICIENT_DECREASE: f64 = 1e-4;

/// A function with a gradient. `value` leaves the gradient where `gradient` finds it.
pub(super) trait Smooth {
    fn value(&mut self, x: &[f64]) -> Result<f64, Stop>;
    fn gradient(&self) -> &[f64];
}

/// When to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub steps_max: u32,
    /// Largest component of the gradient.
    pub gradient: f64,
    /// Decrease in one step, of the objective where that is above 1.
    pub decrease: f64,
}

/// Weight of the L1 penalty, and for each variable a guess at its curvature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    pub lambda: f64,
    pub curvature: &'a [f64],
}

/// Where a line search starts: the objective there is `total`, its descent is against `steepest`.
struct Point<'a> {
    x: &'a [f64],
    steepest: &'a [f64],
    total: f64,
}

/// A minimiser reached from `x`.
pub(super) fn minimise(
    function: &mut dyn Smooth,
    mut x: Vec<f64>,
    shape: Shape<'_>,
    ending: Ending,
) -> Result<Vec<f64>, Stop> {
    let inverse = shape.curvature.iter().map(|c| 1.0 / c).collect();
    let mut history = History::with_diagonal(HISTORY, inverse);
    let mut value = function.value(&x)?;
    let mut gradient = function.gradient().to_vec();
    for _ in 0..ending.steps_max {
        let total = value + shape.lambda * sum_of_magnitudes(&x);
        let steepest = pseudo_gradient(&x, &gradient, shape.lambda);
        if steepest.iter().fold(0.0, |m: f64, g| m.max(g.abs())) <= ending.gradient {
            break;
        }
        let point = Point {
            x: &x,
            steepest: &steepest,
            total,
        };
        let Some((next, next_value)) = search(function, &point, &history, shape)? else {
            if history.is_empty() {
                break;
            }
            history.clear();
            continue;
        };
        let next_gradient = function.gradient().to_vec();
        let step = next.iter().zip(&x).map(|(a, b)| a - b).collect();
        let change = next_gradient.iter().zip(&gradient);
        history.push(step, change.map(|(a, b)| a - b).collect());
        let next_total = next_value + shape.lambda * sum_of_magnitudes(&next);
        let scale = total.abs().max(next_total.abs()).max(1.0);
        (x, value, gradient) = (next, next_value, next_gradient);
        if total - next_total <= ending.decrease * scale {
            break;
        }
    }
    Ok(x)
}

/// A step along the quasi-Newton direction that stays in its orthant and lowers the objective,
/// halved until it does; `None` when no step does.
fn search(
    function: &mut dyn Smooth,
    from: &Point<'_>,
    history: &History,
    shape: Shape<'_>,
) -> Result<Option<(Vec<f64>, f64)>, Stop> {
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
        let moved = x.iter().zip(steepest).zip(&direction);
        let next: Vec<f64> = moved
            .map(|((&x, g), step)| {
                let orthant = if x.abs() > 0.0 { x } else { -g };
                let moved = x + length * step;
                if moved * orthant > 0.0 { moved } else { 0.0 }
            })
            .collect();
        let value = function.value(&next)?;
        let decrease = steepest.iter().zip(next.iter().zip(x));
        let decrease = decrease.fold(0.0, |sum, (g, (to, from))| sum + g * (to - from));
        let reached = value + shape.lambda * sum_of_magnitudes(&next);
        if decrease < 0.0 && reached <= total + SUFFICIENT_DECREASE * decrease {
            return Ok(Some((next, value)));
        }
        length *= 0.5;
    }
    Ok(None)
}

/// The subgradient of least length; 0 where staying at 0 is best.
fn pseudo_gradient(x: &[f64], gradient: &[f64], lambda: f64) -> Vec<f64> {
    let pairs = x.iter().zip(gradient);
    pairs
        .map(|(&x, &g)| {
            if x > 0.0 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// sum of c_i (x_i - t_i)^2 / 2, infinite beyond 5.
    struct Bowl {
        centre: Vec<f64>,
        curvature: Vec<f64>,
        gradient: Vec<f64>,
    }

    impl Smooth for Bowl {
        fn value(&mut self, x: &[f64]) -> Result<f64, Stop> {
            let mut value = 0.0;
            for (i, x) in x.iter().enumerate() {
                let away = x - self.centre[i];
                self.gradient[i] = self.curvature[i] * away;
                value += 0.5 * self.curvature[i] * away * away;
            }
            Ok(if x.iter().any(|x| x.abs() > 5.0) {
                f64::INFINITY
            } else {
                value
            })
        }

        fn gradient(&self) -> &[f64] {
            &self.gradient
        }
    }

    /// Soft thresholding: the minimiser is the centre moved towards 0 by lambda / curvature.
    #[test]
    fn minimiser_is_the_soft_threshold() {
        let mut bowl = Bowl {
            centre: vec![3.0, -2.0, 0.05, 4.0],
            curvature: vec![1.0, 50.0, 2.0, 0.3],
            gradient: vec![0.0; 4],
        };
        let ending = Ending {
            steps_max: 1000,
            gradient: 1e-10,
            decrease: 0.0,
        };
        for curvature in [vec![1.0; 4], bowl.curvature.clone()] {
            let shape = Shape {
                lambda: 0.6,
                curvature: &curvature,
            };
            let x = minimise(&mut bowl, vec![0.0; 4], shape, ending).unwrap();
            for (found, expected) in x.iter().zip([2.4, -1.988, 0.0, 2.0]) {
                assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }
    }
}
