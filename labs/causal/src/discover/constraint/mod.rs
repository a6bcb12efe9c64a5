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

use hindcast_stats::Matrix;

use super::knowledge::Knowledge;
use super::options::{ConstraintOptions, TestChoice};
use super::regression::Regression;
use super::result::{Convergence, IndexedEdge, Outcome, Warning, WarningCode};
use crate::control::Control;
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
        return Ok(found.outcome(&test, |_, from, to| test.association(from, to)));
    }
    let moments = data.covariance_within(control)?;
    if moments.rows() < ROWS_MIN {
        let message = format!("needs at least {ROWS_MIN} rows, has {}", moments.rows());
        return Err(LabError::invalid("data", message));
    }
    let correlation = moments.correlation();
    let test = FisherZ::new(correlation, moments.rows(), options.alpha);
    let found = learn(&test, options, knowledge, method, control)?;
    Ok(found.outcome(&test, |edges, from, to| {
        partial_correlation(correlation, edges, from, to)
    }))
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
    fn outcome(
        self,
        test: &dyn Independence,
        weight: impl Fn(&[Ends], usize, usize) -> f64,
    ) -> Outcome {
        let weighted = self.edges.iter().map(|&(from, to, kind)| IndexedEdge {
            from,
            to,
            kind,
            weight: weight(&self.edges, from, to),
        });
        Outcome {
            edges: weighted.collect(),
            iterations: self.skeleton.levels,
            convergence: Convergence {
                converged: true,
                reason: "all sets up to the limit were tested".into(),
                ..Convergence::default()
            },
            warnings: self.warnings(test),
            ..Outcome::default()
        }
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
fn partial_correlation(correlation: &Matrix, edges: &[Ends], from: usize, to: usize) -> f64 {
    let mut with: Vec<usize> = edges
        .iter()
        .filter(|e| e.2 == EdgeType::Directed && (e.1 == from || e.1 == to))
        .map(|e| e.0)
        .filter(|&v| v != from && v != to)
        .collect();
    with.sort_unstable();
    with.dedup();
    with.insert(0, from);
    Regression::new(correlation, to, &with)
        .map_or(correlation[(from, to)], |fit| fit.partial_correlation(0))
}
