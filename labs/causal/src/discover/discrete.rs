//! Scores of discrete data from counts: BDeu (Heckerman, Geiger and Chickering, Machine Learning
//! 20, 1995: Dirichlet priors of one equivalent sample size, and a prior of the graph) and BIC.
//!
//! Terms are remembered by variable and set of parents. What is not known is counted, the
//! candidates of one variable on all threads; each count is whole, so that the number of threads
//! cannot show. Equal rows are counted once with their weight.

use std::collections::BTreeMap;

use rayon::prelude::*;

use hindcast_stats::{ln, ln_gamma};

use super::score::{IMPROVEMENT_MIN, LocalScore};
use super::scoring::{ScoreChoice, ScoreOptions};
use crate::control::{Control, Stop};
use crate::data::{Codes, Groups};
use crate::error::LabError;

/// Terms that are remembered before all are forgotten: bounds the memory at about 100 MB.
const TERMS_MAX: usize = 1_000_000;
/// Rows between two looks at the control.
const CHECK_EVERY_ROWS: usize = 1 << 16;
/// Cells of a table of counts; with more the combinations that occur are numbered first.
const CELLS_MAX: usize = 1 << 20;

/// Categorical columns and how a family is scored.
pub(super) struct Discrete<'a> {
    columns: Vec<Vec<u8>>,
    weights: Vec<u32>,
    levels: Vec<usize>,
    kind: Kind,
    structure: StructurePrior,
    control: &'a dyn Control,
}

/// Prior of a graph: every variable is a parent of another with the same chance, each for itself.
#[derive(Debug, Clone, Copy, Default)]
struct StructurePrior {
    others: f64,
    /// Logarithms of the chance of an edge and of its absence; both 0 where all graphs weigh the
    /// same.
    edge: f64,
    no_edge: f64,
}

impl StructurePrior {
    /// With so many parents of a variable expected. An edge is never likelier than its absence.
    fn new(parents: f64, width: usize) -> Self {
        if parents <= 0.0 || width < 2 {
            return Self::default();
        }
        let others = width as f64 - 1.0;
        let chance = (parents / others).min(0.5);
        Self {
            others,
            edge: ln(chance),
            no_edge: ln(1.0 - chance),
        }
    }

    fn ln(self, parents: usize) -> f64 {
        let parents = parents as f64;
        parents * self.edge + (self.others - parents) * self.no_edge
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Bdeu {
        equivalent_sample_size: f64,
    },
    /// Cost of one free probability.
    Bic {
        cost: f64,
    },
}

/// Terms by variable and rising parents.
pub(super) struct Work {
    terms: Vec<BTreeMap<Box<[usize]>, f64>>,
    known: usize,
}

impl<'a> Discrete<'a> {
    pub(super) fn new(
        codes: &Codes,
        score: &ScoreOptions,
        control: &'a dyn Control,
    ) -> Result<Self, LabError> {
        let (rows, weights) = codes.distinct_rows(control)?;
        let columns = (0..codes.width())
            .map(|v| rows.iter().map(|&row| codes.column(v)[row]).collect())
            .collect();
        let kind = match score.choice {
            ScoreChoice::DiscreteBic => Kind::Bic {
                cost: score.discount() * ln(codes.rows() as f64),
            },
            ScoreChoice::Auto | ScoreChoice::Bic | ScoreChoice::Bdeu => Kind::Bdeu {
                equivalent_sample_size: score.sample_size(),
            },
        };
        let structure = StructurePrior::new(score.structure_prior(), codes.width());
        Ok(Self {
            columns,
            weights,
            structure,
            levels: (0..codes.width()).map(|v| codes.levels(v)).collect(),
            kind,
            control,
        })
    }

    /// Number of combinations of values of the parents, whether they occur or not.
    fn combinations(&self, parents: &[usize]) -> f64 {
        parents.iter().fold(1.0, |q, &p| q * self.levels[p] as f64)
    }

    fn group(&self, parents: &[usize]) -> Result<Groups, Stop> {
        let mut groups = Groups::one(self.weights.len());
        for &parent in parents {
            self.control.check()?;
            groups.split(&self.columns[parent], self.levels[parent]);
        }
        Ok(groups)
    }

    /// The term of `target` when its parents part the rows as `groups` and then `last` do.
    fn term(
        &self,
        target: usize,
        groups: &Groups,
        last: Option<usize>,
        combinations: f64,
    ) -> Result<f64, Stop> {
        let width = self.levels[target];
        let family = Family::new(self.kind, width, combinations);
        let split = last.map_or(1, |last| self.levels[last]);
        if groups.bound * split * width <= CELLS_MAX {
            let counts = self.table(target, groups, last)?;
            let rows = counts.chunks_exact(width);
            return Ok(rows.fold(0.0, |sum, row| sum + family.of(row)) - family.cost);
        }
        let mut finer = groups.clone();
        if let Some(last) = last {
            finer.split(&self.columns[last], self.levels[last]);
        }
        let mut by_group: Vec<(u32, u32)> =
            (0..).zip(&finer.of_row).map(|(r, &g)| (g, r)).collect();
        by_group.sort_unstable();
        let mut total = 0.0;
        let mut row = vec![0_u32; width];
        for members in by_group.chunk_by(|a, b| a.0 == b.0) {
            row.fill(0);
            for &(_, r) in members {
                row[usize::from(self.columns[target][r as usize])] += self.weights[r as usize];
            }
            total += family.of(&row);
        }
        Ok(total - family.cost)
    }

    /// For each combination of values of the parents, how often each value of `target` occurs.
    fn table(&self, target: usize, groups: &Groups, last: Option<usize>) -> Result<Vec<u32>, Stop> {
        let width = self.levels[target];
        let split = last.map_or(1, |last| self.levels[last]);
        let mut counts = vec![0_u32; groups.bound * split * width];
        let own = &self.columns[target];
        for start in (0..own.len()).step_by(CHECK_EVERY_ROWS) {
            self.control.check()?;
            let end = own.len().min(start + CHECK_EVERY_ROWS);
            let rows = groups.of_row[start..end].iter().zip(&own[start..end]);
            let rows = rows.zip(&self.weights[start..end]);
            match last {
                None => rows.for_each(|((&group, &code), &weight)| {
                    counts[group as usize * width + usize::from(code)] += weight;
                }),
                Some(last) => rows.zip(&self.columns[last][start..end]).for_each(
                    |(((&group, &code), &weight), &also)| {
                        let group = group as usize * split + usize::from(also);
                        counts[group * width + usize::from(code)] += weight;
                    },
                ),
            }
        }
        Ok(counts)
    }

    fn known_or_counted(
        &self,
        work: &mut Work,
        target: usize,
        parents: &[usize],
    ) -> Result<f64, Stop> {
        if let Some(&term) = work.terms[target].get(parents) {
            return Ok(term);
        }
        let groups = self.group(parents)?;
        let data = self.term(target, &groups, None, self.combinations(parents))?;
        let term = data + self.structure.ln(parents.len());
        work.remember(target, parents.into(), term);
        Ok(term)
    }
}

/// What the counts for one combination of values of the parents add to a term.
#[derive(Clone, Copy)]
struct Family {
    /// Prior weight of one combination and of one value in it; 0 for BIC.
    each: f64,
    cell: f64,
    each_ln_gamma: f64,
    cell_ln_gamma: f64,
    /// Penalty of the whole table.
    cost: f64,
}

impl Family {
    fn new(kind: Kind, width: usize, combinations: f64) -> Self {
        match kind {
            Kind::Bdeu {
                equivalent_sample_size,
            } => {
                let each = equivalent_sample_size / combinations;
                let cell = each / width as f64;
                Self {
                    each,
                    cell,
                    each_ln_gamma: ln_gamma(each),
                    cell_ln_gamma: ln_gamma(cell),
                    cost: 0.0,
                }
            }
            Kind::Bic { cost } => Self {
                each: 0.0,
                cell: 0.0,
                each_ln_gamma: 0.0,
                cell_ln_gamma: 0.0,
                cost: cost * combinations * (width as f64 - 1.0),
            },
        }
    }

    fn of(&self, counts: &[u32]) -> f64 {
        let total = counts.iter().fold(0.0, |sum, &n| sum + f64::from(n));
        if total <= 0.0 {
            return 0.0;
        }
        let seen = counts.iter().filter(|&&n| n > 0).map(|&n| f64::from(n));
        if self.each > 0.0 {
            let cells = seen.fold(0.0, |sum, n| {
                sum + (ln_gamma(self.cell + n) - self.cell_ln_gamma)
            });
            cells + (self.each_ln_gamma - ln_gamma(self.each + total))
        } else {
            2.0 * seen.fold(0.0, |sum, n| sum + n * ln(n / total))
        }
    }
}

impl LocalScore for Discrete<'_> {
    type Work = Work;

    fn work(&self) -> Work {
        Work {
            terms: vec![BTreeMap::new(); self.levels.len()],
            known: 0,
        }
    }

    fn width(&self) -> usize {
        self.levels.len()
    }

    fn local(&self, work: &mut Work, target: usize, parents: &[usize]) -> Result<f64, Stop> {
        let mut parents = parents.to_vec();
        parents.sort_unstable();
        self.known_or_counted(work, target, &parents)
    }

    fn shrink(
        &self,
        work: &mut Work,
        target: usize,
        parents: &[usize],
        kept: usize,
    ) -> Result<(Vec<usize>, f64), Stop> {
        let mut left = parents.to_vec();
        let mut score = self.local(work, target, &left)?;
        loop {
            let mut best = None;
            for i in kept..left.len() {
                let mut fewer = left.clone();
                fewer.remove(i);
                let without = self.local(work, target, &fewer)?;
                if without > score + IMPROVEMENT_MIN {
                    (score, best) = (without, Some(fewer));
                }
            }
            match best {
                Some(fewer) => left = fewer,
                None => return Ok((left, score)),
            }
        }
    }

    fn gains(
        &self,
        work: &mut Work,
        target: usize,
        parents: &[usize],
        out: &mut Vec<(usize, f64)>,
    ) -> Result<(), Stop> {
        let mut parents = parents.to_vec();
        parents.sort_unstable();
        let before = self.known_or_counted(work, target, &parents)?;
        let with = |v: usize| {
            let mut more = parents.clone();
            more.insert(parents.partition_point(|&p| p < v), v);
            more
        };
        let candidates = (0..self.width()).filter(|v| *v != target && !parents.contains(v));
        let known: Vec<(usize, Option<f64>)> = candidates
            .map(|v| (v, work.terms[target].get(with(v).as_slice()).copied()))
            .collect();
        let unknown: Vec<usize> = known
            .iter()
            .filter(|(_, term)| term.is_none())
            .map(|(v, _)| *v)
            .collect();
        let mut counted = Vec::new();
        if !unknown.is_empty() {
            let groups = self.group(&parents)?;
            let combinations = self.combinations(&parents);
            let structure = self.structure.ln(parents.len() + 1);
            counted = unknown
                .par_iter()
                .map(|&v| {
                    let combinations = combinations * self.levels[v] as f64;
                    let data = self.term(target, &groups, Some(v), combinations)?;
                    Ok(data + structure)
                })
                .collect::<Result<Vec<f64>, Stop>>()?;
            for (&v, &term) in unknown.iter().zip(&counted) {
                work.remember(target, with(v).into(), term);
            }
        }
        let mut counted = counted.into_iter();
        for (v, term) in known {
            let Some(term) = term.or_else(|| counted.next()) else {
                break;
            };
            if term > before + IMPROVEMENT_MIN {
                out.push((v, term - before));
            }
        }
        Ok(())
    }
}

impl Work {
    fn remember(&mut self, target: usize, parents: Box<[usize]>, term: f64) {
        if self.known >= TERMS_MAX {
            self.terms.iter_mut().for_each(BTreeMap::clear);
            self.known = 0;
        }
        self.terms[target].insert(parents, term);
        self.known += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Uncontrolled;
    use crate::data::{Dataset, Limits};
    use crate::discover::cpdag::Cpdag;
    use crate::discover::regression::Bic;
    use hindcast_stats::Philox;

    const WIDTH: usize = 6;

    /// Six dependent columns of two to four values.
    fn dataset() -> Dataset {
        let mut rng = Philox::new(4, 0);
        let rows: Vec<Vec<f64>> = (0..300)
            .map(|_| {
                let mut last = 0;
                let cells = (0..WIDTH).map(|j| {
                    let levels = 2 + j % 3;
                    let fresh = rng.index_below(levels);
                    last = if rng.uniform() < 0.4 {
                        fresh
                    } else {
                        last % levels
                    };
                    last as f64
                });
                cells.collect()
            })
            .collect();
        Dataset::from_rows(&rows, None, &Limits::default()).unwrap()
    }

    fn scores(codes: &Codes) -> [Discrete<'static>; 2] {
        [ScoreChoice::Bdeu, ScoreChoice::DiscreteBic].map(|choice| {
            let options = ScoreOptions {
                choice,
                ..Default::default()
            };
            Discrete::new(codes, &options, &Uncontrolled).unwrap()
        })
    }

    fn random_dag(rng: &mut Philox) -> Vec<Vec<usize>> {
        let order = rng.permutation(WIDTH);
        let mut dag = vec![Vec::new(); WIDTH];
        for (place, &head) in order.iter().enumerate() {
            let parents = order[..place].iter().filter(|_| rng.uniform() < 0.5);
            dag[head] = parents.copied().collect();
        }
        dag
    }

    /// Relative rounding of sums of some hundred logarithms.
    fn assert_same(a: f64, b: f64) {
        assert!(
            (a - b).abs() < 1e-10 * a.abs().max(b.abs()).max(1.0),
            "{a} {b}"
        );
    }

    /// Members of one class other than the graph itself come from its extension.
    #[test]
    fn equivalent_graphs_have_the_same_total() {
        let data = dataset();
        let scores = scores(data.codes().unwrap());
        let bic = Bic::new(data.covariance().correlation(), data.rows(), 1.0);
        let mut rng = Philox::new(5, 0);
        let mut others = 0;
        for _ in 0..200 {
            let dag = random_dag(&mut rng);
            let mut other = Cpdag::of(&dag).extend().unwrap();
            others += usize::from({
                let mut sorted = dag.clone();
                sorted
                    .iter_mut()
                    .for_each(|parents| parents.sort_unstable());
                other.iter_mut().for_each(|parents| parents.sort_unstable());
                sorted != other
            });
            for score in &scores {
                let mut work = score.work();
                let totals = [&dag, &other].map(|dag| score.total(&mut work, dag).unwrap());
                assert_same(totals[0], totals[1]);
            }
            let totals = [&dag, &other].map(|dag| bic.total(&mut bic.work(), dag).unwrap());
            assert_same(totals[0], totals[1]);
        }
        assert!(
            others > 50,
            "{others} graphs differed from the extension of their class"
        );
    }

    #[test]
    fn gains_are_differences_of_the_score() {
        let data = dataset();
        for score in scores(data.codes().unwrap()) {
            for parents in [vec![], vec![5], vec![4, 2], vec![1, 3, 5]] {
                let mut gains = Vec::new();
                score
                    .gains(&mut score.work(), 0, &parents, &mut gains)
                    .unwrap();
                let local = |parents: &[usize]| score.local(&mut score.work(), 0, parents).unwrap();
                for v in (1..WIDTH).filter(|v| !parents.contains(v)) {
                    let gain = local(&[&parents[..], &[v]].concat()) - local(&parents);
                    match gains.iter().find(|(w, _)| *w == v) {
                        Some((_, found)) => assert!((found - gain).abs() < 1e-9),
                        None => assert!(gain <= IMPROVEMENT_MIN + 1e-9),
                    }
                }
            }
        }
    }

    /// With one row for each of two values: Gamma(a) / Gamma(a + 2) times (Gamma(a/2 + 1) /
    /// Gamma(a/2))^2 for a sample size of a, which is a / (4 (a + 1)).
    #[test]
    fn bdeu_of_two_rows_is_the_closed_form() {
        let rows = [vec![0.0], vec![1.0]];
        let data = Dataset::from_rows(&rows, None, &Limits::default()).unwrap();
        let [bdeu, _] = scores(data.codes().unwrap());
        let found = bdeu.local(&mut bdeu.work(), 0, &[]).unwrap();
        assert!((found - ln(10.0 / 44.0)).abs() < 1e-12);
    }
}
