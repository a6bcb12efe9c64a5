//! The check for graphs whose binary models are too large: random linear Gaussian models, with
//! every expression a quadratic form in its free variables (the canonical form of Lauritzen
//! 1992, without means). It needs cubic instead of exponential work. It is weaker
//! than the binary check: an estimand that is wrong only off the linear models passes.

use super::check::{MODELS, Outcome, Random, random, reachable};
use super::expression::{Arena, Expr, ExprId};
use super::id::Query;
use crate::LabError;
use crate::control::Control;
use crate::graph::{Edges, NodeSet, bits};

/// Multiplications before the check gives up.
const WORK_MAX: u64 = 40_000_000;

/// `scale (2 pi)^(-turns / 2) exp(-v' K v / 2)` over the nodes `v`.
#[derive(Clone)]
struct Form {
    nodes: Vec<usize>,
    k: Vec<f64>,
    scale: f64,
    turns: i64,
}

/// No value: too much work, or a form that cannot be integrated.
struct NoForm;

struct Model {
    nodes: Vec<usize>,
    /// Structural coefficients, row = effect.
    weights: Vec<f64>,
    noise: Vec<f64>,
    /// Covariance of all nodes.
    covariance: Vec<f64>,
    work_left: u64,
}

/// Compares the estimand with the truth on [`MODELS`] random linear models.
pub(crate) fn verify(
    edges: &Edges,
    query: &Query,
    (arena, id): (&Arena, ExprId),
    seed: u64,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    let parts = reachable(arena, id);
    let mut mentioned = query.outcome.union(&query.treatment).union(&query.given);
    for &part in &parts {
        mentioned.add(arena.free(part));
    }
    let relevant = edges.ancestors(&mentioned, &NodeSet::full(edges.nodes()));
    let cubed = (relevant.len() as u64)
        .saturating_pow(3)
        .saturating_mul(u64::from(MODELS) * 4);
    if cubed > WORK_MAX {
        return Ok(Outcome::TooLarge);
    }
    let mut worst = 0.0_f64;
    for number in 0..MODELS {
        let mut model = Model::draw(edges, &relevant, random(seed, number));
        let mut done: Vec<Option<Form>> = vec![None; arena.len()];
        for &part in &parts {
            control.check()?;
            let Ok(form) = model.evaluate(arena, part, &done) else {
                return Ok(Outcome::TooLarge);
            };
            done[part] = Some(form);
        }
        let (Ok(truth), Some(estimate)) = (model.truth(query), done[id].take()) else {
            return Ok(Outcome::TooLarge);
        };
        worst = worst.max(difference(&truth, &estimate));
    }
    Ok(Outcome::Compared(worst))
}

/// The largest difference of two coefficients, or of the scales relative to each other;
/// infinite if one is not a number.
fn difference(truth: &Form, estimate: &Form) -> f64 {
    if truth.turns != estimate.turns {
        return f64::INFINITY;
    }
    let apart = truth.combined(estimate, -1.0);
    let scales = (estimate.scale / truth.scale - 1.0).abs();
    let worst = apart.k.iter().fold(scales, |worst, value| {
        if value.abs() > worst || value.is_nan() {
            value.abs()
        } else {
            worst
        }
    });
    if worst.is_nan() { f64::INFINITY } else { worst }
}

/// The lower Cholesky factor of a symmetric matrix of `size` rows, if it is positive definite.
fn cholesky(matrix: &[f64], size: usize) -> Result<Vec<f64>, NoForm> {
    let mut lower = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..=row {
            let (a, b) = (&lower[row * size..], &lower[column * size..]);
            let dot: f64 = a[..column]
                .iter()
                .zip(&b[..column])
                .map(|(x, y)| x * y)
                .sum();
            let rest = matrix[row * size + column] - dot;
            if row == column {
                if rest.is_nan() || rest <= 1e-12 {
                    return Err(NoForm);
                }
                lower[row * size + row] = rest.sqrt();
            } else {
                lower[row * size + column] = rest / lower[column * size + column];
            }
        }
    }
    Ok(lower)
}

/// `L^-1 B` for a lower triangle and a matrix of `columns` columns.
fn solve_lower(lower: &[f64], size: usize, mut b: Vec<f64>, columns: usize) -> Vec<f64> {
    for row in 0..size {
        let (above, here) = b.split_at_mut(row * columns);
        let here = &mut here[..columns];
        for (earlier, line) in above.chunks_exact(columns.max(1)).enumerate() {
            let factor = lower[row * size + earlier];
            for (value, other) in here.iter_mut().zip(line) {
                *value -= factor * other;
            }
        }
        for value in here {
            *value /= lower[row * size + row];
        }
    }
    b
}

/// `B' B` of a matrix of `columns` columns.
fn gram(b: &[f64], columns: usize) -> Vec<f64> {
    let mut result = vec![0.0; columns * columns];
    for line in b.chunks_exact(columns.max(1)) {
        for (row, &left) in line.iter().enumerate().filter(|(_, left)| **left != 0.0) {
            let target = &mut result[row * columns..(row + 1) * columns];
            for (value, &right) in target.iter_mut().zip(line) {
                *value += left * right;
            }
        }
    }
    result
}

fn identity(size: usize) -> Vec<f64> {
    let mut result = vec![0.0; size * size];
    for row in 0..size {
        result[row * size + row] = 1.0;
    }
    result
}

fn diagonal_product(lower: &[f64], size: usize) -> f64 {
    (0..size).map(|row| lower[row * size + row]).product()
}

impl Form {
    /// The product with `other`, or the quotient if `sign` is -1.
    fn combined(&self, other: &Self, sign: f64) -> Self {
        let mut nodes = self.nodes.clone();
        nodes.extend(other.nodes.iter().filter(|node| !self.nodes.contains(node)));
        nodes.sort_unstable();
        let size = nodes.len();
        let mut k = vec![0.0; size * size];
        for (form, factor) in [(self, 1.0), (other, sign)] {
            let at: Vec<usize> = form
                .nodes
                .iter()
                .map(|node| nodes.binary_search(node).expect("the union has every node"))
                .collect();
            for (row, &row_at) in at.iter().enumerate() {
                for (column, &column_at) in at.iter().enumerate() {
                    let value = form.k[row * form.nodes.len() + column];
                    k[row_at * size + column_at] += factor * value;
                }
            }
        }
        let (scale, turns) = if sign > 0.0 {
            (self.scale * other.scale, self.turns + other.turns)
        } else {
            (self.scale / other.scale, self.turns - other.turns)
        };
        Self {
            nodes,
            k,
            scale,
            turns,
        }
    }

    /// The integral over `over`; none unless the form has every member and falls off in it.
    fn integrated(&self, over: &NodeSet) -> Result<Self, NoForm> {
        let size = self.nodes.len();
        let place = |inside: bool| -> Vec<usize> {
            (0..size)
                .filter(|&place| over.contains(self.nodes[place]) == inside)
                .collect()
        };
        let (out, kept) = (place(true), place(false));
        if out.len() != over.len() {
            return Err(NoForm);
        }
        let block = |rows: &[usize], columns: &[usize]| -> Vec<f64> {
            let entry = |row: usize| {
                columns
                    .iter()
                    .map(move |&column| self.k[row * size + column])
            };
            rows.iter().flat_map(|&row| entry(row)).collect()
        };
        let lower = cholesky(&block(&out, &out), out.len())?;
        let half = solve_lower(&lower, out.len(), block(&out, &kept), kept.len());
        let explained = gram(&half, kept.len());
        let k = block(&kept, &kept)
            .iter()
            .zip(&explained)
            .map(|(a, b)| a - b)
            .collect();
        let gone = i64::try_from(out.len()).map_err(|_| NoForm)?;
        Ok(Self {
            nodes: kept.iter().map(|&place| self.nodes[place]).collect(),
            k,
            scale: self.scale / diagonal_product(&lower, out.len()),
            turns: self.turns - gone,
        })
    }
}

impl Model {
    fn draw(edges: &Edges, relevant: &NodeSet, mut random: Random) -> Self {
        let nodes: Vec<usize> = relevant.iter().collect();
        let size = nodes.len();
        let at = |node: usize| nodes.binary_search(&node).ok();
        let (mut weights, mut noise) = (vec![0.0; size * size], identity(size));
        for (row, &node) in nodes.iter().enumerate() {
            // Scaled so that variances stay of order one, whatever the number of causes.
            let causes = bits(edges.parents(node)).filter_map(at).collect::<Vec<_>>();
            let spread = 1.0 / f64::from(u32::try_from(causes.len()).unwrap_or(u32::MAX)).sqrt();
            for column in causes {
                weights[row * size + column] = random.signed() * spread;
            }
            for column in bits(edges.siblings(node))
                .filter_map(at)
                .filter(|&other| other < row)
            {
                let shared = random.signed();
                noise[row * size + column] = shared;
                noise[column * size + row] = shared;
                noise[row * size + row] += shared.abs();
                noise[column * size + column] += shared.abs();
            }
        }
        let mut model = Self {
            nodes,
            weights,
            noise,
            covariance: Vec::new(),
            work_left: WORK_MAX,
        };
        model.covariance = model.all_covariances(edges, relevant);
        model
    }

    /// `(I - B)^-1 Omega (I - B)^-T`, row by row in a topological order.
    fn all_covariances(&self, edges: &Edges, relevant: &NodeSet) -> Vec<f64> {
        let size = self.nodes.len();
        let mut mixing = identity(size);
        let mut done = NodeSet::empty(edges.nodes());
        while done != *relevant {
            for (row, &node) in self.nodes.iter().enumerate() {
                let waits = bits(edges.parents(node))
                    .any(|parent| relevant.contains(parent) && !done.contains(parent));
                if done.contains(node) || waits {
                    continue;
                }
                for column in 0..size {
                    let weight = self.weights[row * size + column];
                    for place in 0..size {
                        mixing[row * size + place] += weight * mixing[column * size + place];
                    }
                }
                done.insert(node);
            }
        }
        let lower =
            cholesky(&self.noise, size).unwrap_or_else(|NoForm| vec![f64::NAN; size * size]);
        let mut half = vec![0.0; size * size];
        for row in 0..size {
            for middle in 0..size {
                let factor = mixing[row * size + middle];
                for column in 0..=middle {
                    // Transposed, so that the Gram matrix of the columns is the covariance.
                    half[column * size + row] += factor * lower[middle * size + column];
                }
            }
        }
        gram(&half, size)
    }

    fn spend(&mut self, size: usize) -> Result<(), NoForm> {
        let cubed = (size as u64).saturating_pow(3);
        self.work_left = self.work_left.checked_sub(cubed).ok_or(NoForm)?;
        Ok(())
    }

    fn density(&mut self, of: &NodeSet) -> Result<Form, NoForm> {
        self.spend(of.len())?;
        let places: Vec<usize> = (0..self.nodes.len())
            .filter(|&place| of.contains(self.nodes[place]))
            .collect();
        let mut block = Vec::with_capacity(places.len() * places.len());
        for &row in &places {
            let entry = |&column: &usize| self.covariance[row * self.nodes.len() + column];
            block.extend(places.iter().map(entry));
        }
        let size = places.len();
        let lower = cholesky(&block, size)?;
        let inverse = solve_lower(&lower, size, identity(size), size);
        Ok(Form {
            nodes: places.iter().map(|&place| self.nodes[place]).collect(),
            k: gram(&inverse, size),
            scale: 1.0 / diagonal_product(&lower, size),
            turns: i64::try_from(size).map_err(|_| NoForm)?,
        })
    }

    /// The density of outcome and condition as a function of the treatment that is set.
    fn truth(&self, query: &Query) -> Result<Form, NoForm> {
        let size = self.nodes.len();
        let left: Vec<usize> = (0..size)
            .filter(|&place| !query.treatment.contains(self.nodes[place]))
            .collect();
        let mut residuals = Vec::with_capacity(left.len() * size);
        let mut noise = Vec::with_capacity(left.len() * left.len());
        for &row in &left {
            let own = |column: usize| if column == row { 1.0 } else { 0.0 };
            residuals
                .extend((0..size).map(|column| own(column) - self.weights[row * size + column]));
            noise.extend(left.iter().map(|&column| self.noise[row * size + column]));
        }
        let lower = cholesky(&noise, left.len())?;
        let whitened = solve_lower(&lower, left.len(), residuals, size);
        let all = Form {
            nodes: self.nodes.clone(),
            k: gram(&whitened, size),
            scale: 1.0 / diagonal_product(&lower, left.len()),
            turns: i64::try_from(left.len()).map_err(|_| NoForm)?,
        };
        let mut away = NodeSet::empty(query.outcome.words().len() * 64);
        for &place in &left {
            away.insert(self.nodes[place]);
        }
        away.subtract(&query.outcome);
        away.subtract(&query.given);
        let joint = all.integrated(&away)?;
        if query.given.is_empty() {
            return Ok(joint);
        }
        let evidence = joint.integrated(&query.outcome)?;
        Ok(joint.combined(&evidence, -1.0))
    }

    fn evaluate(
        &mut self,
        arena: &Arena,
        part: ExprId,
        done: &[Option<Form>],
    ) -> Result<Form, NoForm> {
        self.spend(arena.free(part).len())?;
        let value = |id: ExprId| done[id].as_ref().ok_or(NoForm);
        let product = |terms: &[ExprId]| -> Result<Form, NoForm> {
            let mut result = value(terms[0])?.clone();
            for &term in &terms[1..] {
                result = result.combined(value(term)?, 1.0);
            }
            Ok(result)
        };
        match arena.get(part) {
            Expr::Conditional { of, given } => {
                let joint = self.density(&of.union(given))?;
                if given.is_empty() {
                    return Ok(joint);
                }
                Ok(joint.combined(&self.density(given)?, -1.0))
            }
            Expr::Product(terms) => product(terms),
            Expr::Fraction {
                numerator,
                denominator,
            } => Ok(value(*numerator)?.combined(value(*denominator)?, -1.0)),
            Expr::Sum { over, of } => {
                let body = match arena.get(*of) {
                    Expr::Product(terms) => product(terms)?,
                    Expr::Sum { .. } | Expr::Fraction { .. } | Expr::Conditional { .. } => {
                        value(*of)?.clone()
                    }
                };
                self.spend(body.nodes.len())?;
                body.integrated(over)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Uncontrolled;
    use crate::graph::Admg;
    use crate::identify::check::TOLERANCE;
    use crate::identify::id::identify;

    fn query(graph: &Admg, given: &[&str]) -> Query {
        let set = |names: &[&str]| {
            let nodes: Vec<usize> = names
                .iter()
                .map(|name| graph.index(name).unwrap())
                .collect();
            NodeSet::of(graph.nodes(), &nodes)
        };
        Query {
            treatment: set(&["x"]),
            outcome: set(&["y"]),
            given: set(given),
        }
    }

    fn error(graph: &Admg, query: &Query, arena: &Arena, id: ExprId) -> f64 {
        match verify(graph.edges(), query, (arena, id), 0, &Uncontrolled).unwrap() {
            Outcome::Compared(error) => error,
            Outcome::TooLarge => panic!("too large"),
        }
    }

    #[test]
    fn id_passes_and_conditioning_fails_on_the_napkin_and_the_front_door() {
        let napkin = Admg::from_edges(
            &["w", "r", "x", "y"],
            &[("w", "r"), ("r", "x"), ("x", "y")],
            &[("w", "x"), ("w", "y")],
        );
        let front_door =
            Admg::from_edges(&["x", "m", "y"], &[("x", "m"), ("m", "y")], &[("x", "y")]);
        for graph in [napkin.unwrap(), front_door.unwrap()] {
            let query = query(&graph, &[]);
            let mut arena = Arena::default();
            let id = identify(&graph, &query, &mut arena, &Uncontrolled)
                .unwrap()
                .unwrap();
            assert!(error(&graph, &query, &arena, id) < 1e-9);
            let wrong = arena.conditional(query.outcome.clone(), query.treatment.clone());
            assert!(error(&graph, &query, &arena, wrong) > TOLERANCE);
        }
    }

    #[test]
    fn a_conditional_effect_passes() {
        let graph =
            Admg::from_edges(&["x", "y", "z"], &[("x", "z"), ("z", "y")], &[("x", "z")]).unwrap();
        let query = query(&graph, &["z"]);
        let mut arena = Arena::default();
        let id = identify(&graph, &query, &mut arena, &Uncontrolled)
            .unwrap()
            .unwrap();
        assert!(error(&graph, &query, &arena, id) < 1e-9);
    }
}
