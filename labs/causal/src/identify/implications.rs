//! What a graph says that data can contradict: for each pair of nodes without an edge the
//! minimal sets that m-separate it (Pearl 2009, section 1.2.3; the list of dagitty's
//! `impliedConditionalIndependencies`), and the test of each against a dataset.
//!
//! Not listed are constraints that are no independencies between observed nodes, such as Verma
//! and Pearl's (1990) of a graph with latent common causes. The test is for linear Gaussian
//! models: Fisher's z of the partial correlation, adjusted by Holm (1979).

use hindcast_stats::Cholesky;
use serde::{Deserialize, Serialize};

use super::separators::minimal_separators;
use crate::LabError;
use crate::control::Control;
use crate::data::Dataset;
use crate::graph::{Admg, NodeSet};

/// Independencies that are listed at most.
pub const IMPLICATIONS_MAX: usize = 1_000;
/// Pairs that no set separates that are listed at most.
const INSEPARABLE_MAX: usize = 1_000;
/// Separators of a pair that are looked through for a smallest one.
const SEARCHED: usize = 16;
/// A pivot below this part of its variance counts as an exact linear relation.
const SINGULAR: f64 = 1e-10;

/// `a` and `b` are independent given `given` in every distribution of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Implication {
    /// The one node.
    pub a: String,
    /// The other, later in the order of names.
    pub b: String,
    /// A minimal set that separates them.
    pub given: Vec<String>,
    /// The test against the data of the request; null without data, or if the data cannot say.
    pub test: Option<ImplicationTest>,
}

/// A test of one independence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ImplicationTest {
    /// Rows used.
    pub n: u64,
    /// The partial correlation of `a` and `b` given `given`.
    pub r: f64,
    /// Of Fisher's z, two-sided.
    pub p_value: f64,
    /// The same adjusted for all tests of this answer (Holm): below 0.05 the data speak against
    /// the graph at that level.
    pub p_adjusted: f64,
}

/// What the list of implications leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ImplicationsScope {
    /// Whether every minimal set of each pair is listed, or one smallest found for each.
    pub all_sets: bool,
    /// Whether nothing of that is missing.
    pub complete_list: bool,
    /// Pairs without an edge that no set of observed nodes separates.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<Vec<String>>))]
    pub inseparable: Vec<[String; 2]>,
    /// What a list of independencies cannot say of this graph.
    pub note: Option<String>,
}

/// The implications of a graph: one for each pair, or up to `sets` for each with `all_sets`.
pub(crate) fn implications(
    graph: &Admg,
    (all_sets, sets): (bool, usize),
    control: &dyn Control,
) -> Result<(Vec<Implication>, ImplicationsScope), LabError> {
    let (edges, count) = (graph.edges(), graph.nodes());
    let everything = NodeSet::full(count);
    let mut list = Vec::new();
    let mut scope = ImplicationsScope {
        all_sets,
        complete_list: true,
        inseparable: Vec::new(),
        note: None,
    };
    'pairs: for a in 0..count {
        for b in a + 1..count {
            if edges.are_adjacent(a, b) {
                continue;
            }
            control.check()?;
            let [one, other] = [a, b].map(|node| NodeSet::of(count, &[node]));
            let allowed = everything.minus(&one).minus(&other);
            let wanted = if all_sets { sets } else { SEARCHED };
            let found = minimal_separators(edges, (&one, &other), &allowed, wanted, control)?;
            scope.complete_list &= found.complete || !all_sets;
            if found.sets.is_empty() {
                scope
                    .inseparable
                    .push([a, b].map(|node| graph.name(node).to_owned()));
            }
            let kept = if all_sets { found.sets.len() } else { 1 };
            for set in found.sets.iter().take(kept) {
                list.push(Implication {
                    a: graph.name(a).to_owned(),
                    b: graph.name(b).to_owned(),
                    given: graph.names_of(set),
                    test: None,
                });
            }
            if list.len() > IMPLICATIONS_MAX || scope.inseparable.len() > INSEPARABLE_MAX {
                list.truncate(IMPLICATIONS_MAX);
                scope.inseparable.truncate(INSEPARABLE_MAX);
                scope.complete_list = false;
                break 'pairs;
            }
        }
    }
    if edges.has_any_bidirected() {
        scope.note = Some(
            "latent common causes can imply constraints that are no independencies (Verma and \
             Pearl 1990); these are not listed and not tested"
                .to_owned(),
        );
    }
    Ok((list, scope))
}

/// Tests what can be tested; answers how many could not be and why, and what was left out.
pub(crate) fn test(
    list: &mut [Implication],
    data: &Dataset,
    control: &dyn Control,
) -> Result<Vec<String>, LabError> {
    let covariance = data.covariance_within(control)?;
    let rows = data.rows();
    let (mut unknown, mut singular, mut few) = (0_usize, 0_usize, 0_usize);
    for implication in list.iter_mut() {
        control.check()?;
        let names = implication.given.iter();
        let names = names.chain([&implication.a, &implication.b]);
        let columns: Option<Vec<usize>> = names
            .map(|name| data.names().iter().position(|column| column == name))
            .collect();
        let Some(columns) = columns else {
            unknown += 1;
            continue;
        };
        let given = implication.given.len();
        if rows <= given + 3 {
            few += 1;
            continue;
        }
        let is_constant = columns.iter().any(|&column| covariance.is_constant(column));
        let block = covariance.correlation().principal(&columns);
        let factor = Cholesky::new(&block, SINGULAR).filter(|_| !is_constant);
        let Some(factor) = factor else {
            singular += 1;
            continue;
        };
        let lower = factor.lower();
        let (cross, own) = (lower[(given + 1, given)], lower[(given + 1, given + 1)]);
        let r = cross / libm::sqrt(cross * cross + own * own) + 0.0;
        let freedom = f64::from(u32::try_from(rows - given - 3).unwrap_or(u32::MAX));
        let z = libm::atanh(r) * libm::sqrt(freedom);
        let p_value = libm::erfc(z.abs() / std::f64::consts::SQRT_2) + 0.0;
        implication.test = Some(ImplicationTest {
            n: rows as u64,
            r,
            p_value,
            p_adjusted: p_value,
        });
    }
    adjust(list);
    let why = [
        (unknown, "name a node that is no column of the data"),
        (few, "have too few rows"),
        (
            singular,
            "meet a constant column or an exact linear relation",
        ),
    ];
    let dropped = data.rows_dropped();
    let left_out = format!("{dropped} rows miss a value and are left out of the tests");
    Ok(why
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{count} implications are not tested: they {reason}"))
        .chain((dropped > 0).then_some(left_out))
        .collect())
}

/// Holm's step-down adjustment.
fn adjust(list: &mut [Implication]) {
    let mut tests: Vec<&mut ImplicationTest> = list
        .iter_mut()
        .filter_map(|implication| implication.test.as_mut())
        .collect();
    tests.sort_by(|a, b| a.p_value.total_cmp(&b.p_value));
    let mut left = f64::from(u32::try_from(tests.len()).unwrap_or(u32::MAX));
    let mut largest = 0.0_f64;
    for test in tests {
        largest = largest.max((test.p_value * left).min(1.0));
        test.p_adjusted = largest;
        left -= 1.0;
    }
}
