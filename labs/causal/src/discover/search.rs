//! What the searches by score have in common: the score they read, the graph they found turned
//! into the class that the data cannot tell it from, and the weights of its edges.

use super::boss;
use super::cpdag::Cpdag;
use super::discrete::Discrete;
use super::ges;
use super::grasp;
use super::knowledge::Knowledge;
use super::regression::{Bic, Regression};
use super::result::{Convergence, IndexedEdge, Outcome, ScoreName};
use super::score::{LocalScore, Task};
use super::scoring::{ScoreChoice, ScoreOptions};
use crate::control::Control;
use crate::data::{Covariance, Dataset};
use crate::error::LabError;
use crate::graph::EdgeType;

/// Which search, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    Boss { restarts: u32 },
    Grasp { restarts: u32, depth: u32 },
    Ges { turning: bool },
}

/// The graph that a search ended at, by the parents of each variable.
pub(super) struct Found {
    pub dag: Vec<Vec<usize>>,
    pub searches: Option<u64>,
    pub iterations: u64,
    pub cut: bool,
}

/// What a search reads besides its plan.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub data: &'a Dataset,
    pub knowledge: &'a Knowledge,
    pub seed: u64,
    pub control: &'a dyn Control,
}

/// The score has been chosen and its parameters filled in.
pub(super) fn run(
    setting: Setting<'_>,
    score: &ScoreOptions,
    plan: Plan,
) -> Result<Outcome, LabError> {
    if score.choice == ScoreChoice::Bic {
        return gaussian(setting, score.discount(), plan);
    }
    let codes = setting.data.codes_within(setting.control)?;
    let local = Discrete::new(codes, score, setting.control)?;
    let task = task(setting, &local);
    let mut work = local.work();
    let order = match plan {
        Plan::Ges { .. } => Vec::new(),
        Plan::Boss { .. } | Plan::Grasp { .. } => order_by_gains(&local, &mut work)?,
    };
    let found = learn(task, plan, order, setting.seed)?;
    let mut class = Cpdag::of(&found.dag);
    setting.knowledge.orient(&mut class);
    let mut edges = Vec::new();
    for (head, parents) in found.dag.iter().enumerate() {
        let full = local.local(&mut work, head, parents)?;
        for &tail in parents {
            let mut rest = parents.clone();
            rest.retain(|&v| v != tail);
            let strength = full - local.local(&mut work, head, &rest)?;
            edges.push(edge(&class, tail, head, strength, strength));
        }
    }
    let name = match score.choice {
        ScoreChoice::DiscreteBic => ScoreName::DiscreteBic,
        ScoreChoice::Auto | ScoreChoice::Bic | ScoreChoice::Bdeu => ScoreName::Bdeu,
    };
    let total = local.total(&mut work, &found.dag)?;
    Ok(outcome(found, edges, (name, total)))
}

fn gaussian(setting: Setting<'_>, discount: f64, plan: Plan) -> Result<Outcome, LabError> {
    let covariance = setting.data.covariance();
    let bic = Bic::new(covariance.correlation(), covariance.rows(), discount);
    refuse_dependent(&bic, setting)?;
    let found = learn(
        task(setting, &bic),
        plan,
        first_order(covariance),
        setting.seed,
    )?;
    let edges = weighted(&bic, setting.knowledge, &found.dag)?;
    let total = bic.total(&mut bic.work(), &found.dag)?;
    Ok(outcome(found, edges, (ScoreName::Bic, total)))
}

fn task<'a, S>(setting: Setting<'a>, score: &'a S) -> Task<'a, S> {
    Task {
        score,
        knowledge: setting.knowledge,
        control: setting.control,
    }
}

/// An order search is polished by backward equivalence search: it rarely finds anything, and
/// guards against edges that are only needed for the order the search ended at.
fn learn<S: LocalScore>(
    task: Task<'_, S>,
    plan: Plan,
    mut order: Vec<usize>,
    seed: u64,
) -> Result<Found, LabError> {
    task.knowledge.arrange(&mut order);
    let mut found = match plan {
        Plan::Boss { restarts } => boss::search(task, order, restarts, seed)?,
        Plan::Grasp { restarts, depth } => grasp::search(task, order, (restarts, depth), seed)?,
        Plan::Ges { turning } => {
            let reached = ges::search(task, turning)?;
            return Ok(Found {
                dag: reached.dag,
                searches: None,
                iterations: reached.steps,
                cut: false,
            });
        }
    };
    found.dag = ges::backward(task, found.dag)?.dag;
    Ok(found)
}

fn outcome(found: Found, edges: Vec<IndexedEdge>, score: (ScoreName, f64)) -> Outcome {
    let reason = if found.cut {
        "sweep limit"
    } else {
        "no move improves the score"
    };
    Outcome {
        edges,
        score: Some(score),
        iterations: found.iterations,
        convergence: Convergence {
            converged: !found.cut,
            reason: reason.into(),
            searches: found.searches,
            ..Convergence::default()
        },
        warnings: Vec::new(),
        ..Outcome::default()
    }
}

/// A regression on the required parents has to exist.
fn refuse_dependent(bic: &Bic<'_>, setting: Setting<'_>) -> Result<(), LabError> {
    for (head, parents) in setting.knowledge.required().iter().enumerate() {
        if Regression::new(bic.correlation, head, parents).is_none() {
            let head = &setting.data.names()[head];
            return Err(LabError::invalid_with_hint(
                "required",
                format!("the required parents of '{head}' are linearly dependent"),
                "leave out the columns that the profile calls collinear",
            ));
        }
    }
    Ok(())
}

/// Variables that the others explain least come first. The sum of squared correlations does not
/// depend on units, and unlike the inverse it exists for every dataset.
fn first_order(covariance: &Covariance) -> Vec<usize> {
    let correlation = covariance.correlation();
    let explained: Vec<f64> = (0..covariance.width())
        .map(|v| hindcast_stats::dot(correlation.row(v), correlation.row(v)))
        .collect();
    by_rising(&explained)
}

/// The same for any score: by what single parents would gain.
fn order_by_gains<S: LocalScore>(score: &S, work: &mut S::Work) -> Result<Vec<usize>, LabError> {
    let mut explained = Vec::with_capacity(score.width());
    let mut gains = Vec::new();
    for v in 0..score.width() {
        gains.clear();
        score.gains(work, v, &[], &mut gains)?;
        explained.push(gains.iter().fold(0.0, |sum, (_, gain)| sum + gain));
    }
    Ok(by_rising(&explained))
}

fn by_rising(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
    order
}

/// Directed edges carry the standardised coefficient in the regression of the head on its parents;
/// undirected ones the partial correlation given the head's other parents in one graph of the
/// class.
fn weighted(
    bic: &Bic<'_>,
    knowledge: &Knowledge,
    dag: &[Vec<usize>],
) -> Result<Vec<IndexedEdge>, LabError> {
    let mut class = Cpdag::of(dag);
    knowledge.orient(&mut class);
    let mut edges = Vec::new();
    for (head, parents) in dag.iter().enumerate() {
        let Some(fit) = Regression::new(bic.correlation, head, parents) else {
            return Err(LabError::Internal(
                "the search chose dependent parents".into(),
            ));
        };
        for (i, &tail) in parents.iter().enumerate() {
            let (directed, undirected) = (fit.coefficients[i], fit.partial_correlation(i));
            edges.push(edge(&class, tail, head, directed, undirected));
        }
    }
    Ok(edges)
}

/// An edge of the class; an undirected one is written from the lesser column.
fn edge(class: &Cpdag, tail: usize, head: usize, if_directed: f64, if_not: f64) -> IndexedEdge {
    if class.undirected(tail, head) {
        IndexedEdge {
            from: tail.min(head),
            to: tail.max(head),
            kind: EdgeType::Undirected,
            weight: if_not,
        }
    } else {
        IndexedEdge {
            from: tail,
            to: head,
            kind: EdgeType::Directed,
            weight: if_directed,
        }
    }
}
