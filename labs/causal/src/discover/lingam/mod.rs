//! DirectLiNGAM (Shimizu et al., JMLR 12, 2011) with the pairwise measure of Hyvarinen and Smith
//! (JMLR 14, 2013): linear effects and errors of which at most one is Gaussian.
//!
//! A variable counts against another when the pair fits better the other way round. The next in
//! the order is the one with the least sum of squares of what counts against it; its effect is
//! then taken out of the others. The sums only grow while pairs are looked at, so the variable
//! with the least sum so far is looked at first, and the step ends when all its pairs are known:
//! the others can only be worse. The order is that of the full search.
//!
//! Parents along the order are chosen as in `eqvar`, by regression and BIC, which does not depend
//! on units; the published pruning, an adaptive lasso with its penalty by BIC, aims at the same.

mod entropy;

use hindcast_stats::{Matrix, dot, sum};
use rayon::prelude::*;

use super::knowledge::Knowledge;
use super::options::LingamOptions;
use super::regression::{Bic, Regression};
use super::result::{Convergence, IndexedEdge, Outcome, Warning, WarningCode};
use super::stepwise;
use crate::control::{Control, Stop};
use crate::data::{Covariance, Dataset};
use crate::error::LabError;
use crate::graph::EdgeType;
use entropy::{entropy, entropy_of_residual};

/// Pairs that are looked at together; fixed, so that the order of looking does not depend on
/// threads.
const BATCH: usize = 4;
/// Rows times pairs that are worth a thread.
const PARALLEL_ROWS: usize = 2000;
/// The 5 % level of the Jarque-Bera statistic, chi-square with 2 degrees of freedom.
const JARQUE_BERA_LEVEL: f64 = 5.991;

pub(super) fn run(
    data: &Dataset,
    options: &LingamOptions,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    let moments = data.covariance_within(control)?;
    stepwise::refuse_few_rows(moments, "direct_lingam")?;
    let bic = Bic::new(
        moments.correlation(),
        moments.rows(),
        options.penalty_discount,
    );
    let columns: Vec<usize> = (0..data.width()).collect();
    if stepwise::significant_parents(&bic, &columns, control)?.is_none() {
        return Err(stepwise::collinear());
    }
    let order = Search::new(data, moments, knowledge, control)?.order()?;
    let fits = stepwise::along_order(&bic, knowledge, &order, control)?;
    let mut edges = Vec::new();
    let mut statistics = Vec::new();
    for (head, fit) in &fits {
        control.check()?;
        statistics.push(jarque_bera(&residual(data, moments, *head, fit)));
        for (&tail, coefficient) in fit.parents.iter().zip(&fit.coefficients) {
            edges.push(IndexedEdge {
                from: tail,
                to: *head,
                kind: EdgeType::Directed,
                weight: coefficient * moments.sd(*head) / moments.sd(tail),
            });
        }
    }
    Ok(Outcome {
        edges,
        order: Some(order),
        iterations: 1,
        convergence: Convergence {
            converged: true,
            reason: "closed form".into(),
            ..Convergence::default()
        },
        warnings: gaussian(&statistics).into_iter().collect(),
        ..Outcome::default()
    })
}

/// What counts against a variable so far.
#[derive(Clone)]
struct Candidate {
    against: f64,
    /// The sum of the last step: a guess at who is worth looking at first.
    last: f64,
    known: Vec<bool>,
}

struct Search<'a> {
    control: &'a dyn Control,
    /// Variables with mean 0 and variance 1, net of those already in the order.
    columns: Vec<Vec<f64>>,
    correlation: Matrix,
    entropies: Vec<f64>,
    left: Vec<usize>,
    /// For each variable those that are known to come before it.
    predecessors: Vec<Vec<usize>>,
    candidates: Vec<Candidate>,
}

impl<'a> Search<'a> {
    fn new(
        data: &Dataset,
        moments: &Covariance,
        knowledge: &Knowledge,
        control: &'a dyn Control,
    ) -> Result<Self, LabError> {
        let d = data.width();
        let mut columns = Vec::with_capacity(d);
        for j in 0..d {
            control.check()?;
            let (mean, scale) = (moments.means()[j], 1.0 / moments.sd(j));
            columns.push(data.column(j).iter().map(|x| (x - mean) * scale).collect());
        }
        let fresh = Candidate {
            against: 0.0,
            last: 0.0,
            known: vec![false; d],
        };
        Ok(Self {
            control,
            columns,
            correlation: moments.correlation().clone(),
            entropies: vec![0.0; d],
            left: (0..d).collect(),
            predecessors: knowledge.predecessors(),
            candidates: vec![fresh; d],
        })
    }

    fn order(mut self) -> Result<Vec<usize>, LabError> {
        let mut order = Vec::with_capacity(self.columns.len());
        let total = self.columns.len() as u64;
        while self.left.len() > 1 {
            self.control
                .progress("direct_lingam order", order.len() as u64, total);
            let first = self.most_exogenous()?;
            self.left.retain(|&v| v != first);
            self.take_out(first)?;
            order.push(first);
        }
        order.append(&mut self.left);
        Ok(order)
    }

    fn most_exogenous(&mut self) -> Result<usize, Stop> {
        let (columns, control) = (&self.columns, self.control);
        let found = self
            .left
            .par_iter()
            .map(|&v| {
                control.check()?;
                Ok(entropy(&columns[v]))
            })
            .collect::<Result<Vec<f64>, Stop>>()?;
        for (&v, value) in self.left.iter().zip(found) {
            self.entropies[v] = value;
            let candidate = &mut self.candidates[v];
            candidate.last = candidate.against;
            candidate.against = 0.0;
            candidate.known.fill(false);
        }
        loop {
            let rank = |v: usize| (self.candidates[v].against, self.candidates[v].last);
            let mut by_rank = self.left.clone();
            by_rank.sort_by(|&a, &b| {
                let ((x, y), (p, q)) = (rank(a), rank(b));
                x.total_cmp(&p).then(y.total_cmp(&q)).then(a.cmp(&b))
            });
            let ready = |v: usize| self.predecessors[v].iter().all(|p| !self.left.contains(p));
            let best = by_rank.iter().copied().find(|&v| ready(v));
            let best = best.expect("what is known of the order holds no cycle");
            let open = by_rank.iter().copied();
            let pairs: Vec<usize> = open
                .filter(|&v| v != best && !self.candidates[best].known[v])
                .take(BATCH)
                .collect();
            if pairs.is_empty() {
                return Ok(best);
            }
            self.look_at(best, &pairs)?;
        }
    }

    /// Compares both directions of each pair and counts the result against the one it speaks
    /// against.
    fn look_at(&mut self, a: usize, others: &[usize]) -> Result<(), Stop> {
        let this = &*self;
        let compare = |&b: &usize| {
            this.control.check()?;
            let (x, y) = (&this.columns[a], &this.columns[b]);
            let r = this.correlation[(a, b)];
            let scale = 1.0 / (1.0 - r * r).sqrt();
            let forward = this.entropies[a] + entropy_of_residual(y, x, r, scale);
            let backward = this.entropies[b] + entropy_of_residual(x, y, r, scale);
            Ok(backward - forward)
        };
        let found: Vec<f64> = if self.columns[a].len() >= PARALLEL_ROWS {
            others
                .par_iter()
                .map(compare)
                .collect::<Result<_, Stop>>()?
        } else {
            others.iter().map(compare).collect::<Result<_, Stop>>()?
        };
        for (&b, difference) in others.iter().zip(found) {
            let worse = if difference < 0.0 { a } else { b };
            self.candidates[worse].against += difference * difference;
            self.candidates[a].known[b] = true;
            self.candidates[b].known[a] = true;
        }
        Ok(())
    }

    /// Leaves of the others what `first` does not explain, again with variance 1.
    fn take_out(&mut self, first: usize) -> Result<(), Stop> {
        let cause = std::mem::take(&mut self.columns[first]);
        let row: Vec<f64> = self.correlation.row(first).to_vec();
        let scale: Vec<f64> = row.iter().map(|r| 1.0 / (1.0 - r * r).sqrt()).collect();
        for &v in &self.left {
            self.control.check()?;
            for (x, c) in self.columns[v].iter_mut().zip(&cause) {
                *x = (*x - row[v] * c) * scale[v];
            }
        }
        for &v in &self.left {
            for &w in self.left.iter().filter(|&&w| w != v) {
                let net = self.correlation[(v, w)] - row[v] * row[w];
                self.correlation[(v, w)] = (net * (scale[v] * scale[w])).clamp(-1.0, 1.0);
            }
        }
        Ok(())
    }
}

/// Errors of the regression of `head` on its parents, in standard deviations of `head`.
fn residual(data: &Dataset, moments: &Covariance, head: usize, fit: &Regression) -> Vec<f64> {
    let standard = |j: usize| {
        let (mean, scale) = (moments.means()[j], 1.0 / moments.sd(j));
        data.column(j).iter().map(move |x| (x - mean) * scale)
    };
    let mut rest: Vec<f64> = standard(head).collect();
    for (&tail, coefficient) in fit.parents.iter().zip(&fit.coefficients) {
        for (out, x) in rest.iter_mut().zip(standard(tail)) {
            *out -= coefficient * x;
        }
    }
    rest
}

/// The statistic of Jarque and Bera (1987) from skewness and kurtosis; values have mean 0.
fn jarque_bera(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let squares: Vec<f64> = values.iter().map(|x| x * x).collect();
    let variance = sum(&squares) / n;
    if variance <= 0.0 {
        return 0.0;
    }
    let skewness = dot(&squares, values) / n / (variance * variance.sqrt());
    let excess = dot(&squares, &squares) / n / (variance * variance) - 3.0;
    n / 6.0 * (skewness * skewness + 0.25 * excess * excess)
}

/// The method allows one Gaussian error; the second least statistic decides.
fn gaussian(statistics: &[f64]) -> Option<Warning> {
    let mut sorted = statistics.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let second = *sorted.get(1)?;
    let passing = sorted.partition_point(|&value| value < JARQUE_BERA_LEVEL);
    (passing > 1).then(|| {
        let message = format!(
            "{passing} of {} residuals pass for Gaussian (Jarque-Bera below {JARQUE_BERA_LEVEL}, \
             the value is the second least); the method allows one, so directions between them \
             are arbitrary",
            sorted.len()
        );
        Warning::new(WarningCode::GaussianResiduals, Some(second), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use crate::data::Limits;
    use hindcast_stats::Philox;

    /// x0 -> x1 -> ... with exponential errors, columns in reverse.
    fn chain(d: usize, rows: usize, seed: u64) -> Dataset {
        let mut rng = Philox::new(seed, 0);
        let rows: Vec<Vec<f64>> = (0..rows)
            .map(|_| {
                let mut row: Vec<f64> = Vec::new();
                for j in 0..d {
                    let before = if j > 0 { row[j - 1] } else { 0.0 };
                    row.push(0.8 * before - hindcast_stats::ln(1.0 - rng.uniform()));
                }
                row.reverse();
                row
            })
            .collect();
        Dataset::from_rows(&rows, None, &Limits::default()).unwrap()
    }

    fn search_of(data: &Dataset) -> Result<Search<'static>, LabError> {
        let knowledge = Knowledge::new(&Default::default(), data.names())?;
        Search::new(data, data.covariance(), &knowledge, &Uncontrolled)
    }

    /// Every pair of every step, as published.
    fn full_order(data: &Dataset) -> Vec<usize> {
        let mut search = search_of(data).unwrap();
        let mut order = Vec::new();
        while search.left.len() > 1 {
            let left = search.left.clone();
            for &v in &left {
                search.entropies[v] = entropy(&search.columns[v]);
                search.candidates[v].against = 0.0;
            }
            for (i, &a) in left.iter().enumerate() {
                search.look_at(a, &left[i + 1..]).unwrap();
            }
            let least = left.iter().copied().reduce(|best, v| {
                let better = search.candidates[v].against < search.candidates[best].against;
                if better { v } else { best }
            });
            let first = least.unwrap();
            search.left.retain(|&v| v != first);
            search.take_out(first).unwrap();
            order.push(first);
        }
        order.append(&mut search.left);
        order
    }

    #[test]
    fn looking_at_the_best_first_gives_the_order_of_the_full_search() {
        for seed in 0..3 {
            let data = chain(9, 300, seed);
            let search = search_of(&data).unwrap();
            assert_eq!(search.order().unwrap(), full_order(&data));
        }
    }

    #[test]
    fn chain_is_ordered_from_its_start() {
        let data = chain(6, 2000, 5);
        let search = search_of(&data).unwrap();
        assert_eq!(search.order().unwrap(), [5, 4, 3, 2, 1, 0]);
    }

    /// Skewness 0 and kurtosis 1 for two points: n/6 * (2^2)/4.
    #[test]
    fn jarque_bera_of_two_points() {
        let values: Vec<f64> = (0..60)
            .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        assert!((jarque_bera(&values) - 10.0).abs() < 1e-12);
    }
}
