//! What has to be known about the data before a graph learned from it is believed: refusals, and
//! warnings that go with the answer.

use std::collections::BTreeMap;

use super::bootstrap::Stability;
use super::options::{DiscoverOptions, TestChoice};
use super::regression::SINGULAR;
use super::result::{IndexedEdge, Outcome, Warning, WarningCode};
use super::scoring::ScoreOptions;
use super::{NOTEARS_VARIABLES_MAX, VARIABLES_MAX};
use crate::control::{Control, Stop};
use crate::data::Dataset;
use crate::error::LabError;
use crate::graph::{EdgeType, GraphKind, NodeSet};

/// Varsortability above which the order may be read off the units; by chance it is 0.5.
const VARSORTABILITY_MAX: f64 = 0.8;
/// Whole numbers with at most this many values may be codes of categories.
const CODED_LEVELS_MAX: usize = 10;
/// Variances that agree to this part are taken for standardised.
const SAME_VARIANCE: f64 = 1e-3;
/// Equal columns have a correlation of 1 up to rounding.
const SAME_CORRELATION: f64 = 1e-9;
const NAMES_SHOWN_MAX: usize = 10;

/// Refuses data that no algorithm can use, and warns of data that misleads.
pub(super) fn check(
    data: &Dataset,
    options: &DiscoverOptions,
    control: &dyn Control,
) -> Result<Vec<Warning>, LabError> {
    let d = data.width();
    refuse_width(d, options)?;
    let mut warnings = sizes(data);
    if reads_categories(options) {
        warnings.extend(check_categories(data, control)?);
        return Ok(warnings);
    }
    data.require_numbers()?;
    let moments = data.covariance_within(control)?;
    refuse_constant_and_huge(data)?;
    warnings.extend(warn_of_duplicates(data, &duplicates(data)));
    // With as few rows every column is a combination of the others.
    if data.rows() > d + 1 {
        let groups = moments.collinear_groups(|| control.check())?;
        if !groups.is_empty() {
            let message = format!(
                "columns with an exact linear relation: {}",
                list_groups(data, &groups)
            );
            let value = Some(groups.len() as f64);
            warnings.push(Warning::new(WarningCode::Collinear, value, message));
        }
    }
    control.check()?;
    warnings.extend(coded(data));
    warnings.extend(standardised(data, options));
    Ok(warnings)
}

/// What there is to say of the number of rows.
fn sizes(data: &Dataset) -> Vec<Warning> {
    let d = data.width();
    let mut warnings = Vec::new();
    if let Some(least) = data.least_pairwise_rows() {
        let message = format!(
            "each covariance is over the rows that have both values; {least} is the least number \
             of such rows, and tests and penalties go by it"
        );
        let value = Some(least as f64);
        warnings.push(Warning::new(WarningCode::PairwiseDeletion, value, message));
    } else if data.rows_dropped() > 0 {
        let message = format!(
            "{} rows with a missing value were left out, {} are used",
            data.rows_dropped(),
            data.rows()
        );
        let value = Some(data.rows_dropped() as f64);
        warnings.push(Warning::new(WarningCode::ListwiseDeletion, value, message));
    }
    if data.rows_behind_moments() < d {
        let message = format!(
            "{} rows for {d} variables: expect a poor graph",
            data.rows_behind_moments()
        );
        warnings.push(Warning::new(
            WarningCode::NBelowD,
            Some(data.rows_behind_moments() as f64),
            message,
        ));
    }
    warnings
}

fn reads_categories(options: &DiscoverOptions) -> bool {
    if let DiscoverOptions::Pc(options) | DiscoverOptions::Fci(options) = options {
        return options.test == TestChoice::GSquare;
    }
    options.score().is_some_and(ScoreOptions::reads_categories)
}

fn check_categories(data: &Dataset, control: &dyn Control) -> Result<Option<Warning>, LabError> {
    let codes = data.codes_within(control)?;
    if let Some(j) = (0..data.width()).find(|&j| codes.levels(j) < 2) {
        return Err(constant(&data.names()[j]));
    }
    control.check()?;
    let mut groups: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for j in 0..data.width() {
        groups.entry(codes.column(j)).or_default().push(j);
    }
    let mut twins: Vec<Vec<usize>> = groups.into_values().filter(|g| g.len() > 1).collect();
    twins.sort();
    Ok(warn_of_duplicates(data, &twins))
}

fn warn_of_duplicates(data: &Dataset, twins: &[Vec<usize>]) -> Option<Warning> {
    (!twins.is_empty()).then(|| {
        let message = format!(
            "columns with the same content: {}",
            list_groups(data, twins)
        );
        let value = Some(twins.len() as f64);
        Warning::new(WarningCode::DuplicateColumns, value, message)
    })
}

fn refuse_width(d: usize, options: &DiscoverOptions) -> Result<(), LabError> {
    if d < 2 {
        return Err(LabError::invalid("data", "has 1 column; a graph needs 2"));
    }
    let limit = match options {
        DiscoverOptions::Notears(_) | DiscoverOptions::Dagma(_) => NOTEARS_VARIABLES_MAX,
        DiscoverOptions::Boss(_)
        | DiscoverOptions::Grasp(_)
        | DiscoverOptions::Ges(_)
        | DiscoverOptions::Eqvar(_)
        | DiscoverOptions::Correlation(_)
        | DiscoverOptions::Pc(_)
        | DiscoverOptions::Fci(_)
        | DiscoverOptions::DirectLingam(_) => VARIABLES_MAX,
    };
    if d > limit {
        let (actual, limit) = (d as u64, limit as u64);
        return Err(LabError::TooLarge {
            field: "columns".into(),
            actual,
            limit,
        });
    }
    Ok(())
}

/// What can only be said once there is a graph.
pub(super) fn judge(
    data: &Dataset,
    options: &DiscoverOptions,
    outcome: &Outcome,
    control: &dyn Control,
) -> Result<Vec<Warning>, Stop> {
    let mut warnings = outcome.warnings.clone();
    if !outcome.convergence.converged {
        let message = format!("the search ended early: {}", outcome.convergence.reason);
        warnings.push(Warning::new(WarningCode::NotConverged, None, message));
    }
    if matches!(
        options,
        DiscoverOptions::Notears(_) | DiscoverOptions::Eqvar(_) | DiscoverOptions::Dagma(_)
    ) {
        let sorted = varsortability(data, &outcome.edges, control)?;
        if let Some(value) = sorted.filter(|value| *value >= VARSORTABILITY_MAX) {
            let message = "variances rise along the edges: the order may come from the units of \
                           measurement; compare with boss, which does not see them";
            warnings.push(Warning::new(
                WarningCode::Varsortability,
                Some(value),
                message,
            ));
        }
    }
    if options.graph_kind() == GraphKind::Dag {
        let sorted = r2_sortability(data, &outcome.edges, control)?;
        if let Some(value) = sorted.filter(|value| *value >= VARSORTABILITY_MAX) {
            let message = "what the others explain of a variable rises along the edges, whatever \
                           the units: the order may come from that alone, as in many simulations";
            let code = WarningCode::R2Sortability;
            warnings.push(Warning::new(code, Some(value), message));
        }
    }
    Ok(warnings)
}

/// What the bootstrap says of replicates that gave no graph.
pub(super) fn failed_replicates(stability: &Stability) -> Option<Warning> {
    (stability.failed > 0).then(|| {
        let message = "this many replicates of the bootstrap gave no graph (a constant or collinear \
                       column in the rows drawn) and are not counted";
        let value = Some(stability.failed as f64);
        Warning::new(WarningCode::ReplicatesFailed, value, message)
    })
}

fn refuse_constant_and_huge(data: &Dataset) -> Result<(), LabError> {
    let moments = data.covariance();
    for (j, name) in data.names().iter().enumerate() {
        if moments.is_constant(j) {
            return Err(constant(name));
        }
        let variance = moments.covariance()[(j, j)];
        if !variance.is_normal() {
            return Err(LabError::invalid_with_hint(
                "data",
                format!("column '{name}' has a variance outside the range of numbers"),
                "use other units",
            ));
        }
    }
    Ok(())
}

fn constant(name: &str) -> LabError {
    LabError::invalid_with_hint(
        "data",
        format!("column '{name}' is constant"),
        "leave it out: it can be neither cause nor effect here",
    )
}

/// Groups of columns with equal values. Only those with correlation 1 are compared.
fn duplicates(data: &Dataset) -> Vec<Vec<usize>> {
    let correlation = data.covariance().correlation();
    let mut seen = vec![false; data.width()];
    let mut groups = Vec::new();
    for first in 0..data.width() {
        let twins = (first + 1..data.width()).filter(|&j| {
            !seen[j]
                && correlation[(first, j)] > 1.0 - SAME_CORRELATION
                && data.column(first) == data.column(j)
        });
        let twins: Vec<usize> = twins.collect();
        if twins.is_empty() {
            continue;
        }
        for &j in &twins {
            seen[j] = true;
        }
        groups.push([vec![first], twins].concat());
    }
    groups
}

fn coded(data: &Dataset) -> Option<Warning> {
    let columns: Vec<usize> = (0..data.width())
        .filter(|&j| {
            let mut levels: Vec<f64> = Vec::new();
            for &x in data.column(j) {
                if x.fract().abs() >= f64::MIN_POSITIVE {
                    return false;
                }
                if let Err(at) = levels.binary_search_by(|level| level.total_cmp(&x)) {
                    levels.insert(at, x);
                }
                if levels.len() > CODED_LEVELS_MAX {
                    return false;
                }
            }
            data.rows() > 2 * levels.len()
        })
        .collect();
    (!columns.is_empty()).then(|| {
        let message = format!(
            "whole numbers with few values, treated as quantities although they may be codes of \
             categories: {}",
            list_names(data, &columns)
        );
        Warning::new(
            WarningCode::CategoricalCoded,
            Some(columns.len() as f64),
            message,
        )
    })
}

fn standardised(data: &Dataset, options: &DiscoverOptions) -> Option<Warning> {
    match options {
        DiscoverOptions::Boss(_)
        | DiscoverOptions::Grasp(_)
        | DiscoverOptions::Ges(_)
        | DiscoverOptions::Correlation(_)
        | DiscoverOptions::Pc(_)
        | DiscoverOptions::Fci(_)
        | DiscoverOptions::DirectLingam(_) => return None,
        DiscoverOptions::Eqvar(_) | DiscoverOptions::Notears(_) | DiscoverOptions::Dagma(_) => {}
    }
    let variances = (0..data.width()).map(|j| data.covariance().covariance()[(j, j)]);
    let (low, high) = variances.fold((f64::INFINITY, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
    (high <= low * (1.0 + SAME_VARIANCE)).then(|| {
        Warning::new(
            WarningCode::StandardisedData,
            None,
            "all variances are equal, but this method finds the order by them; use boss",
        )
    })
}

/// Part of the pairs (ancestor, descendant), counted once for each length of path between them,
/// whose variance rises; ties count half (Reisach, Seiler and Weichwald, NeurIPS 2021). `None`
/// without an edge.
fn varsortability(
    data: &Dataset,
    edges: &[IndexedEdge],
    control: &dyn Control,
) -> Result<Option<f64>, Stop> {
    let moments = data.covariance().covariance();
    let variances: Vec<f64> = (0..data.width()).map(|j| moments[(j, j)]).collect();
    sortability(&variances, edges, control)
}

/// The same with the part of each variable's variance that all others explain (Reisach, Tami, Seiler,
/// Chambaz and Weichwald, NeurIPS 2023), which does not depend on units. `None` when the others
/// cannot be told apart.
fn r2_sortability(
    data: &Dataset,
    edges: &[IndexedEdge],
    control: &dyn Control,
) -> Result<Option<f64>, Stop> {
    let (moments, check) = (data.covariance(), || control.check());
    if moments.rows() <= moments.width() + 1 {
        return Ok(None);
    }
    let correlation = moments.correlation();
    let Some(factor) = hindcast_stats::Cholesky::new_within(correlation, SINGULAR, check)? else {
        return Ok(None);
    };
    let root = factor.lower_inverse_within(check)?;
    let mut diagonal = vec![0.0; data.width()];
    for i in 0..data.width() {
        for (sum, x) in diagonal.iter_mut().zip(&root.row(i)[..=i]) {
            *sum += x * x;
        }
    }
    let explained: Vec<f64> = diagonal.iter().map(|x| 1.0 - 1.0 / x).collect();
    sortability(&explained, edges, control)
}

fn sortability(
    values: &[f64],
    edges: &[IndexedEdge],
    control: &dyn Control,
) -> Result<Option<f64>, Stop> {
    let d = values.len();
    let variance = |j: usize| values[j];
    let mut children = vec![NodeSet::empty(d); d];
    for edge in edges.iter().filter(|e| e.kind == EdgeType::Directed) {
        children[edge.from].insert(edge.to);
    }
    let (mut rising, mut all) = (0.0, 0.0);
    for start in 0..d {
        let mut reached = NodeSet::empty(d);
        reached.insert(start);
        // No path of an acyclic graph is longer than this.
        for _ in 1..d {
            control.check()?;
            let mut next = NodeSet::empty(d);
            for node in reached.iter() {
                next.add(&children[node]);
            }
            if next.is_empty() {
                break;
            }
            for end in next.iter() {
                let ratio = variance(end) / variance(start);
                let tie = (ratio - 1.0).abs() < 1e-9;
                rising += if tie {
                    0.5
                } else {
                    f64::from(u8::from(ratio > 1.0))
                };
                all += 1.0;
            }
            reached = next;
        }
    }
    Ok((all > 0.0).then(|| rising / all))
}

fn list_groups(data: &Dataset, groups: &[Vec<usize>]) -> String {
    let shown: Vec<String> = groups
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|g| format!("({})", list_names(data, g)))
        .collect();
    let more = if groups.len() > NAMES_SHOWN_MAX {
        ", ..."
    } else {
        ""
    };
    format!("{}{more}", shown.join(", "))
}

pub(super) fn list_names(data: &Dataset, columns: &[usize]) -> String {
    let names: Vec<&str> = columns
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|&j| data.names()[j].as_str())
        .collect();
    let more = if columns.len() > NAMES_SHOWN_MAX {
        ", ..."
    } else {
        ""
    };
    format!("{}{more}", names.join(", "))
}
