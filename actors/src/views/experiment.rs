//! Experiments, datasets, and the totals of the whole log.

use std::collections::BTreeMap;

use hindcast_log::{Body, Recorded};
use hindcast_model::event::{Event, Tally};
use hindcast_model::state::DatasetMeta;
use hindcast_model::{Digest, State};
use serde::Serialize;
use serde_json::Value;

use super::time::rfc3339;

/// A named series of runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExperimentView {
    pub experiment_id: String,
    pub name: String,
    /// `running`, `completed`, `refused` or `deduplicated`.
    pub status: &'static str,
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub request: Value,
    pub runs: Vec<String>,
    pub remaining: u64,
    #[cfg_attr(feature = "schema", schema(value_type = super::TallySchema))]
    pub tally: Tally,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub original: Option<String>,
    pub requested_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub finished_at: Option<String>,
    pub correlation: String,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// The view of an experiment from its stream, in order, and from the state while it is open.
/// `None` when the stream holds no request.
#[must_use]
pub fn experiment(
    events: &[Recorded],
    state: &State,
    read: &super::Read<'_>,
) -> Option<ExperimentView> {
    let (first, request) = events.iter().find_map(|recorded| match &recorded.body {
        Body::Known(Event::ExperimentRequested(request)) => Some((recorded, request)),
        Body::Known(_) | Body::Unknown { .. } => None,
    })?;
    let open = state.experiment(request.experiment);
    let mut view = ExperimentView {
        experiment_id: request.experiment.to_string(),
        name: request.name.clone(),
        status: "running",
        request: super::payload(first.context.key, &request.spec, read),
        runs: request.runs.iter().map(ToString::to_string).collect(),
        remaining: open.map_or(0, |open| open.remaining),
        tally: open.map_or_else(Tally::default, |open| open.tally),
        refusal: None,
        original: None,
        requested_at: rfc3339(first.context.at),
        finished_at: None,
        correlation: first.context.correlation.to_string(),
        first_seq: first.seq().0,
        last_seq: first.seq().0,
    };
    for recorded in events {
        view.last_seq = recorded.seq().0;
        let Body::Known(event) = &recorded.body else {
            continue;
        };
        if let Event::ExperimentCompleted(completed) = event {
            view.status = "completed";
            view.tally = completed.tally;
        } else if let Event::ExperimentRefused(refused) = event {
            view.status = "refused";
            view.refusal = Some(refused.refusal.to_string());
        } else if let Event::ExperimentAdmitted(admitted) = event
            && let Some(original) = admitted.original
        {
            view.status = "deduplicated";
            view.original = Some(original.to_string());
        }
        if view.status != "running" && view.finished_at.is_none() {
            view.finished_at = Some(rfc3339(recorded.context.at));
        }
    }
    Some(view)
}

/// A dataset, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DatasetView {
    pub digest: String,
    pub name: String,
    pub format: String,
    pub bytes: u64,
    pub rows: u64,
    pub columns: u32,
    pub registered_at: String,
}

/// The view of one dataset.
#[must_use]
pub fn dataset(digest: Digest, meta: &DatasetMeta) -> DatasetView {
    DatasetView {
        digest: digest.to_string(),
        name: meta.name.clone(),
        format: meta.format.clone(),
        bytes: meta.bytes,
        rows: meta.rows,
        columns: meta.columns,
        registered_at: rfc3339(meta.registered_at),
    }
}

/// A page of datasets in the order of their digests, after `after`.
#[must_use]
pub fn datasets(state: &State, after: Option<Digest>, max: usize) -> Vec<DatasetView> {
    let rest = state
        .datasets()
        .filter(|(digest, _)| after.is_none_or(|after| *digest > after));
    rest.take(max)
        .map(|(digest, meta)| dataset(digest, meta))
        .collect()
}

/// Totals of one operation since the log began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationStats {
    pub requested: u64,
    #[serde(flatten)]
    #[cfg_attr(feature = "schema", schema(value_type = super::TallySchema))]
    pub tally: Tally,
    /// Over the runs whose outcome was observed.
    pub queued_ms_mean: Option<f64>,
    pub computed_ms_mean: Option<f64>,
}

/// Totals of the whole log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Stats {
    pub seq: u64,
    pub at: String,
    pub experiments_total: u64,
    pub experiments_open: usize,
    pub datasets: usize,
    pub runs_in_flight: u32,
    pub requests_shed: u64,
    pub intake_paused: bool,
    pub actor_restarts: BTreeMap<String, u32>,
    pub operations: BTreeMap<String, OperationStats>,
}

/// The totals in a state.
#[must_use]
pub fn stats(state: &State) -> Stats {
    let operations = state.totals().map(|(name, totals)| {
        let Tally {
            completed, failed, ..
        } = totals.tally;
        let outcomes = completed + failed;
        let mean = |micros: u64| {
            let as_f64 = crate::supervisor::as_f64;
            (outcomes > 0).then(|| as_f64(micros) / 1e3 / as_f64(outcomes))
        };
        let stats = OperationStats {
            requested: totals.requested,
            tally: totals.tally,
            queued_ms_mean: mean(totals.queued_micros),
            computed_ms_mean: mean(totals.computed_micros),
        };
        (name.to_owned(), stats)
    });
    Stats {
        seq: state.seq().0,
        at: rfc3339(state.at()),
        experiments_total: state.experiments_total(),
        experiments_open: state.experiments().len(),
        datasets: state.datasets().len(),
        runs_in_flight: state.in_flight(),
        requests_shed: state.shed(),
        intake_paused: state.intake_paused(),
        actor_restarts: state
            .actor_restarts()
            .map(|(a, n)| (a.to_owned(), n))
            .collect(),
        operations: operations.collect(),
    }
}
