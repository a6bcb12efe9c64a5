//! What followed from a dataset or a run: who read it, whose result it is as well. No index holds
//! this, so that the log is read from where the thing came to be; one answer reads a bounded
//! number of events and says where it stopped.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use hindcast_log::Recorded;
use hindcast_model::event::{Event, Outcome, RunRequested};
use hindcast_model::{RunId, Seq, Stream};
use serde::Serialize;

use super::provenance::{Tracer, dataset_id, run_id};
use super::{HistoryError, Relation};

/// Events read for one answer.
pub const SCAN_EVENTS_MAX: u64 = 1_000_000;

/// The types of `run_requested`, `outcome_observed` and `run_deduplicated`.
const WANTED: [&str; 3] = ["run_requested", "outcome_observed", "run_deduplicated"];

/// How the log was searched for what followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Forward {
    /// `scan`: no index holds what followed, so the log was read. `stream`: its own events tell.
    pub how: &'static str,
    /// The first and last event that were read.
    pub from_seq: u64,
    pub to_seq: u64,
    /// Runs found.
    pub found: u64,
    /// Whether the log was read to its end.
    pub complete: bool,
    /// What to give as `after` to read on; absent when the log was read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub next: Option<u64>,
}

/// What is followed.
#[derive(Debug, Default)]
pub(super) struct Roots {
    pub(super) dataset: Option<Stream>,
    /// Grows with every run that is found, so that what followed from these is found as well.
    pub(super) runs: BTreeSet<RunId>,
}

impl Roots {
    /// Whether there is nothing that the rest of the log could name.
    pub(super) fn is_empty(&self) -> bool {
        self.dataset.is_none() && self.runs.is_empty()
    }

    /// What this event makes of it: the run that is found, what led to it and how.
    fn follows(&self, event: &Event) -> Option<(RunId, String, Relation)> {
        if let Event::RunRequested(request) = event {
            let read = |stream: Stream| {
                let mut datasets = request.datasets.iter();
                datasets.any(|digest| Stream::dataset(*digest) == stream)
            };
            let stream = self.dataset.filter(|stream| read(*stream))?;
            return Some((request.run, dataset_id(stream), Relation::Data));
        }
        let (run, original) = if let Event::RunDeduplicated(repeated) = event {
            (repeated.run, repeated.original)
        } else if let Event::OutcomeObserved(observed) = event
            && let Outcome::Reused { original, .. } = observed.outcome
        {
            (observed.run, original)
        } else {
            return None;
        };
        // A run of another page led here as well as one of this page.
        let known = self.runs.contains(&original) || self.runs.contains(&run);
        known.then(|| (run, run_id(original), Relation::Original))
    }
}

/// What is told of a thing whose own events say what followed from it.
pub(super) fn told(first: Seq, head: Seq, found: usize) -> Forward {
    Forward {
        how: "stream",
        from_seq: first.0,
        to_seq: head.0,
        found: found as u64,
        complete: true,
        next: None,
    }
}

/// Reads the log after `after` for up to `limit` runs that follow from `roots`.
pub(super) fn follow(
    tracer: &mut Tracer<'_>,
    mut roots: Roots,
    after: Seq,
    limit: usize,
) -> Result<Forward, HistoryError> {
    let head = tracer.source.head();
    let last = Seq(head.0.min(after.0.saturating_add(SCAN_EVENTS_MAX)));
    let kinds = Event::KINDS
        .iter()
        .filter(|kind| WANTED.contains(&kind.name));
    let numbers: Vec<u16> = kinds.map(|kind| kind.number).collect();
    let mut found: BTreeSet<RunId> = BTreeSet::new();
    let mut hits: Vec<(Recorded, RunId, String, Relation)> = Vec::new();
    let mut reached = last;
    let reader = tracer.source.reader();
    reader.select((after.next(), last), &numbers, |recorded| {
        let Some((run, from, relation)) = recorded.event().and_then(|event| roots.follows(event))
        else {
            return ControlFlow::Continue(());
        };
        if found.len() == limit && !found.contains(&run) {
            reached = Seq(recorded.seq().0 - 1);
            return ControlFlow::Break(());
        }
        found.insert(run);
        roots.runs.insert(run);
        hits.push((recorded, run, from, relation));
        ControlFlow::Continue(())
    })?;
    for (recorded, run, from, relation) in hits {
        let to = match recorded.event() {
            Some(Event::RunRequested(request)) => tracer.asked_run(&recorded, request),
            Some(_) | None => tracer.named_run(run),
        };
        if relation == Relation::Original && !tracer.graph.has(&from) {
            let original = from.trim_start_matches("run/").parse();
            original.map(|original| tracer.named_run(original)).ok();
        }
        tracer.graph.edge(&from, relation, &to);
    }
    Ok(Forward {
        how: "scan",
        from_seq: after.0 + 1,
        to_seq: reached.0,
        found: found.len() as u64,
        complete: reached == head,
        next: (reached < head).then_some(reached.0),
    })
}

/// The facts of a run that its request tells.
pub(super) fn request_facts(
    recorded: &Recorded,
    request: &RunRequested,
) -> [(&'static str, serde_json::Value); 5] {
    [
        ("operation", request.operation.clone().into()),
        ("seed", request.seed.into()),
        ("spec_hash", request.spec_hash.to_string().into()),
        ("requested_seq", recorded.seq().0.into()),
        (
            "requested_at",
            crate::views::rfc3339(recorded.context.at).into(),
        ),
    ]
}
