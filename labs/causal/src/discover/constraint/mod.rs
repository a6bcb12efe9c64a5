//! Discovery by tests of conditional independence: PC and FCI.
//!
//! Both are written against [`independence::Independence`]; which test answers is decided here,
//! and nowhere else is data looked at.

mod fci;
mod fisher;
mod g_square;
mod independence;
#[cfg(test)]
mod oracle;
mod pag;
mod pc;
mod skeleton;

use hindcast_stats::{Cholesky, Matrix, dot};

use super::knowledge::Knowledge;
use super::options::{ConstraintOptions, TestChoice};
use super::regression::SINGULAR;
use super::result::{Convergence, IndexedEdge, Outcome, Warning, WarningCode};
use crate::control::{Control, Stop};
use crate::data::Dataset;
use crate::error::LabError;
use crate::graph::EdgeType;
use fisher::FisherZ;
use g_square::GSquare;
use independence::Independence;
use skeleton::Skeleton;

/// With fewer rows Fisher's z has no degree of freedom even for the empty set.
const ROWS_MIN: usize = 5;

#[derive(Clone, Copy)]
enum Method {
    Pc,
    Fci,
}

pub(super) fn run_pc(
    data: &Dataset,
    options: &ConstraintOptions,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    run(data, options, knowledge, Method::Pc, control)
}

pub(super) fn run_fci(
    data: &Dataset,
    options: &ConstraintOptions,
    knowledge: &Knowledge,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    run(data, options, knowledge, Method::Fci, control)
}

fn run(
    data: &Dataset,
    options: &ConstraintOptions,
    knowledge: &Knowledge,
    method: Method,
    control: &dyn Control,
) -> Result<Outcome, LabError> {
    if options.test == TestChoice::GSquare {
        let codes = data.codes_within(control)?;
        let test = GSquare::new(codes, options.alpha, control)?;
        let found = learn(&test, options, knowledge, method, control)?;
        return found.outcome(&test, control, |_, from, to| Ok(test.association(from, to)));
    }
    let moments = data.covariance_within(control)?;
    if moments.rows() < ROWS_MIN {
        let message = format!("needs at least {ROWS_MIN} rows, has {}", moments.rows());
        return Err(LabError::invalid("data", message));
    }
    let correlation = moments.correlation();
    let test = FisherZ::new(correlation, moments.rows(), options.alpha);
    let found = learn(&test, options, knowledge, method, control)?;
    found.outcome(&test, control, |parents, from, to| {
        partial_correlation(correlation, parents, (from, to), control)
    })
}

type Ends = (usize, usize, EdgeType);

/// What either method found.
struct Found {
    edges: Vec<Ends>,
    skeleton: Skeleton,
    conflicts: usize,
}

fn learn(
    test: &dyn Independence,
    options: &ConstraintOptions,
    knowledge: &Knowledge,
    method: Method,
    control: &dyn Control,
) -> Result<Found, LabError> {
    let size_max = options.max_cond_size.map(|size| size as usize);
    match method {
        Method::Pc => {
            let skeleton = Skeleton::learn(test, size_max, &pc::Known(knowledge), control)?;
            let oriented = pc::orient(&skeleton, &pc::Known(knowledge), control)?;
            Ok(Found {
                edges: oriented.edges(),
                conflicts: oriented.conflicts,
                skeleton,
            })
        }
        Method::Fci => {
            let known = fci::Known::new(knowledge);
            let learned = fci::learn(test, size_max, &known, control)?;
            Ok(Found {
                edges: learned.pag.edges(),
                conflicts: learned.pag.conflicts,
                skeleton: learned.skeleton,
            })
        }
    }
}

impl Found {
    /// `weight` gets the parents of every variable and two variables.
    fn outcome(
        self,
        test: &dyn Independence,
        control: &dyn Control,
        weight: impl Fn(&[Vec<usize>], usize, usize) -> Result<f64, Stop>,
    ) -> Result<Outcome, LabError> {
        let mut parents = vec![Vec::new(); test.width()];
        for &(from, to, kind) in &self.edges {
            if kind == EdgeType::Directed {
                parents[to].push(from);
            }
        }
        let weighted = self.edges.iter().map(|&(from, to, kind)| {
            control.check()?;
            let weight = weight(&parents, from, to)?;
            Ok(IndexedEdge {
                from,
                to,
                kind,
                weight,
            })
        });
        Ok(Outcome {
            edges: weighted.collect::<Result<_, Stop>>()?,
            iterations: self.skeleton.levels,
            convergence: Convergence {
                converged: true,
                reason: "all sets up to the limit were tested".into(),
                ..Convergence::default()
            },
            warnings: self.warnings(test),
            ..Outcome::default()
        })
    }

    fn warnings(&self, test: &dyn Independence) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.conflicts > 0 {
            let message = "the tests contradict each other: this many orientations were left out; \
                           the first in the order of the columns was kept";
            let value = Some(self.conflicts as f64);
            warnings.push(Warning::new(WarningCode::Conflicts, value, message));
        }
        if self.skeleton.cut {
            let largest = self.skeleton.largest;
            let message = format!(
                "larger sets than {largest} were not conditioned on, so edges may be left that \
                 larger sets would remove; these rows allow {}",
                test.size_max()
            );
            let value = Some(largest as f64);
            warnings.push(Warning::new(WarningCode::CondSizeLimit, value, message));
        }
        warnings
    }
}

/// Of two variables given the other parents of either; the plain correlation where that is not
/// defined.
fn partial_correlation(
    correlation: &Matrix,
    parents: &[Vec<usize>],
    (from, to): (usize, usize),
    control: &dyn Control,
) -> Result<f64, Stop> {
    let both = parents[from].iter().chain(&parents[to]).copied();
    let mut with: Vec<usize> = both.filter(|&v| v != from && v != to).collect();
    with.sort_unstable();
    with.dedup();
    with.push(from);
    let factor = Cholesky::of_principal_within(correlation, &with, SINGULAR, || control.check())?;
    let Some(factor) = factor else {
        return Ok(correlation[(from, to)]);
    };
    let mut of_target: Vec<f64> = with.iter().map(|&v| correlation[(v, to)]).collect();
    factor.solve_lower(&mut of_target);
    let residual = (1.0 - dot(&of_target, &of_target)).max(0.0);
    // What `from` explains of the target after the others.
    let own = of_target[with.len() - 1];
    Ok(own / (residual + own * own).sqrt().max(f64::MIN_POSITIVE))
}
