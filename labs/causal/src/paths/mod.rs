//! The paths between two nodes of a causal graph: whether they are open given some nodes and
//! what blocks them, how many there are, which are shortest, and all of them page by page.
//!
//! Nothing here is exponential before its first answer. Directed paths are counted by dynamic
//! programming, however many there are. Paths that go against arrows cannot be counted in
//! polynomial time (Valiant 1979), so these are counted up to a budget of work, and the answer
//! says when that was not enough. No data is read.

mod answer;
mod count;
mod explain;
mod network;
mod request;
mod shortest;
mod walk;

pub use answer::{
    ALGORITHM_VERSION, BlockedBy, Mediator, NodeRole, OpenedBy, PathCount, PathView, PathsAnswer,
};
use explain::Explainer;
use network::{Network, Route};
use request::Checked;
pub use request::{LIMIT_DEFAULT, LIMIT_MAX, PathKind, PathsRequest, SHORTEST_MAX};
use walk::Walk;

use crate::LabError;
use crate::control::Control;
use crate::graph::GraphLimits;

/// Answers a question about paths.
pub fn paths(
    request: &PathsRequest,
    limits: &GraphLimits,
    control: &dyn Control,
) -> Result<PathsAnswer, LabError> {
    control.check()?;
    let checked = request.checked(limits, control)?;
    let graph = &checked.parsed.graph;
    let network = Network::new(graph.edges());
    let explainer = Explainer::new(graph, &checked.given);
    let route = checked.route(&network);
    control.check()?;
    let directed = count::Directed::new(graph, &checked.pair, control)?;
    let (page, next_cursor) = page(&checked, &route, control)?;
    let shortest = shortest::shortest(&route, checked.shortest, control)?;
    let count = match checked.kind {
        PathKind::Directed => directed.total(),
        PathKind::Mediating => directed.through(checked.via),
        PathKind::BackDoor | PathKind::All => {
            let seen = page.len() + usize::from(next_cursor.is_some());
            let counted = count::up_to_budget(&route, control)?;
            counted.at_least(seen.max(shortest.len()))
        }
    };
    let active = explainer.active_path(&network, checked.pair);
    let show = |list: &[Vec<network::Step>]| -> Vec<PathView> {
        let source = checked.pair.0;
        list.iter()
            .map(|steps| explainer.view(source, steps))
            .collect()
    };
    let mut answer = PathsAnswer {
        algorithm_version: ALGORITHM_VERSION,
        treatment: graph.name(checked.pair.0).to_owned(),
        outcome: graph.name(checked.pair.1).to_owned(),
        given: graph.names_of(&checked.given),
        kind: checked.kind,
        via: checked.via.map(|node| graph.name(node).to_owned()),
        separated: active.is_none(),
        active_path: active.map(|steps| explainer.view(checked.pair.0, &steps)),
        count,
        directed_count: directed.total(),
        mediators: directed.mediators(graph),
        shortest: show(&shortest),
        paths: show(&page),
        next_cursor,
        warnings: Vec::new(),
    };
    warn(&checked, &mut answer);
    Ok(answer)
}

/// Refuses what [`paths`] refuses before it looks for any.
///
/// # Errors
/// The graph, or what is asked of it, makes no sense.
pub fn check(
    request: &PathsRequest,
    limits: &GraphLimits,
    control: &dyn Control,
) -> Result<(), LabError> {
    request.checked(limits, control).map(|_| ())
}

fn page(
    checked: &Checked,
    route: &Route<'_>,
    control: &dyn Control,
) -> Result<(Vec<Vec<network::Step>>, Option<String>), LabError> {
    let mut walk = match &checked.after {
        Some(places) => Walk::resume(route, places)?,
        None => Walk::start(route),
    };
    let mut page = Vec::new();
    let mut last = None;
    while page.len() < checked.limit {
        if !walk.advance(control)? {
            return Ok((page, None));
        }
        page.push(walk.path());
        last = Some(walk.places());
    }
    let Some(last) = last else {
        return Ok((page, None));
    };
    let more = walk.advance(control)?;
    Ok((page, more.then(|| checked.cursor(&last))))
}

fn warn(checked: &Checked, answer: &mut PathsAnswer) {
    let latents = &checked.parsed.latents;
    if !latents.is_empty() {
        answer.warnings.push(format!(
            "latent nodes are projected out: {}",
            latents.join(", ")
        ));
    }
    if !answer.count.exact {
        answer.warnings.push(format!(
            "there are at least {} paths of this kind; counting them all is out of bounds",
            answer.count.value
        ));
    }
}
