//! The answer as JSON, the same for REST and the command line.

use std::collections::BTreeMap;

use hindcast_log::{Recorded, state_hash};
use hindcast_model::Seq;
use hindcast_model::event::Tally;
use hindcast_whatif::{
    Answer, Basis, Difference, Drift, List, Minimal, OperationTotals, PointOfNoReturn, Quantiles,
    RunEnd, RunPair, Side,
};
use serde::Serialize;
use serde_json::Value;

use super::{Prepared, WhatIfFailure};
use crate::views::{self, Changes};

/// Facts of the state that are listed.
const FACTS_MAX: usize = 1_000;

/// What would have been otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WhatIf {
    pub at: u64,
    /// The last event that was replayed.
    pub to: u64,
    /// Recorded events that were replayed.
    pub events: u64,
    pub edits: u32,
    /// Of everything that was drawn.
    pub seed: u64,
    /// The first sequence of the log that would have been another event; null when none would.
    pub divergence: Option<u64>,
    pub vanished: EventList,
    pub appeared: EventList,
    pub changed: EventList,
    pub runs: RunList,
    /// Operations in both histories, from the fork on.
    pub operations: Vec<OperationView>,
    /// What the state at the end would have been otherwise.
    pub state: Changes,
    pub state_hash: StateHashes,
    pub basis: BasisCounts,
    /// Where these rules decide otherwise than is recorded, without any edit; null when nowhere.
    pub baseline_drift: Option<DriftView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub minimal: Option<MinimalView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub point_of_no_return: Option<PointView>,
}

/// Differences of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventList {
    pub total: u64,
    /// How many of each type.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub types: BTreeMap<&'static str, u64>,
    /// The first of them.
    pub first: Vec<EventDifference>,
}

/// An event that is in one history alone, or otherwise in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventDifference {
    /// Where it is in the log, or before which of its events it would have come.
    pub position: u64,
    /// `exact`: recorded, or decided from what is recorded. `edited`: the question says so.
    /// `recomputed`: computed again, at a time that is drawn. `modelled`: drawn.
    pub basis: &'static str,
    /// Without the edit; null where it is not.
    pub baseline: Option<ForkEvent>,
    /// With the edit; null where it is not.
    pub fork: Option<ForkEvent>,
}

/// An event of one of both histories.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ForkEvent {
    /// Its sequence in that history.
    pub seq: u64,
    pub at: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub stream: String,
    pub event_id: String,
    pub causation: String,
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub data: Value,
}

/// Runs that would have ended otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunList {
    pub total: u64,
    /// The first of them, by id.
    pub first: Vec<RunDifference>,
}

/// One run in both histories.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunDifference {
    #[cfg_attr(feature = "schema", schema(format = "uuid"))]
    pub run_id: String,
    pub operation: Option<String>,
    /// Null where it was not asked for, or is as it was.
    pub baseline: Option<RunEndView>,
    pub fork: Option<RunEndView>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunEndView {
    /// `open`, `completed`, `failed`, `cancelled`, `refused` or `deduplicated`.
    pub status: &'static str,
    /// Null without a result, and when it is modelled: then nobody knows it.
    pub result_hash: Option<String>,
    /// Why it failed or was refused.
    pub reason: Option<String>,
    /// From its request to its end.
    pub latency_ms: Option<f64>,
    pub basis: &'static str,
}

/// One operation in both histories.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationView {
    pub operation: String,
    pub baseline: SideView,
    pub fork: SideView,
}

/// One operation in one history.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SideView {
    pub requested: u64,
    #[serde(flatten)]
    #[cfg_attr(feature = "schema", schema(value_type = views::TallySchema))]
    pub tally: Tally,
    pub queued_ms: QuantilesView,
    pub computed_ms: QuantilesView,
}

/// Quantiles in milliseconds, each off by a thirty-second part at most; null of nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct QuantilesView {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// Hashes of both states at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StateHashes {
    pub baseline: String,
    pub fork: String,
}

/// What was made up for want of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BasisCounts {
    /// Ends of runs that are not recorded, so that their times are drawn, whether or not it came
    /// to them.
    pub planned: u64,
    /// Outcomes that were computed again; only when they came is drawn.
    pub recomputed: u64,
    /// Outcomes that were drawn from the recorded ones of their operation.
    pub modelled: u64,
    /// Of these, the ones over the limit of computations.
    pub over_limit: u64,
    /// Runs that stay open, because they cannot be computed and nothing is recorded to draw from.
    pub unresolved: u64,
    /// Experiments whose runs cannot be told, because their spec cannot be read.
    pub unreadable_experiments: u64,
    /// The first modelled event, by its sequence in the fork; null when there is none.
    pub first_modelled: Option<u64>,
}

/// Where the rules decide otherwise than is recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DriftView {
    pub first_seq: u64,
    /// Observed events about which other decisions are made.
    pub events: u64,
    pub examples: Vec<DriftExample>,
}

/// One observed event with its decisions, as recorded and as these rules make them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DriftExample {
    pub recorded: Vec<ForkEvent>,
    pub decided: Vec<ForkEvent>,
}

/// A set of events none of which can be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MinimalView {
    /// Where the outcome is recorded.
    pub outcome: u64,
    /// Without all other observed events from the fork on, it still occurs; without any one of
    /// these as well, it does not.
    pub events: Vec<u64>,
    /// Those without which alone it does not occur, all else being as recorded.
    pub but_for: Vec<u64>,
    pub candidates: u64,
    pub replays: u64,
    /// Whether the search came to its end; otherwise the set may be too large.
    pub complete: bool,
}

/// When it was too late.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PointView {
    /// Where the outcome is recorded.
    pub outcome: u64,
    /// The last event before which the edits prevent it; null when they do so nowhere.
    pub last: Option<u64>,
    /// The event before which they no longer do; null when they always do.
    pub too_late: Option<u64>,
    /// The share of the replays at `last`, with different seeds, that prevent it.
    pub share: f64,
    pub seeds: u64,
    /// Places that were looked at and do not fit: prevented after `last`, or not before it.
    pub exceptions: Vec<u64>,
    pub replays: u64,
}

const fn word(basis: Basis) -> &'static str {
    match basis {
        Basis::Exact => "exact",
        Basis::Edited => "edited",
        Basis::Recomputed => "recomputed",
        Basis::Modelled => "modelled",
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

fn event(recorded: &Recorded) -> ForkEvent {
    let view = views::event(recorded, String::new(), &views::unread);
    ForkEvent {
        seq: view.seq,
        at: view.at,
        kind: view.kind,
        stream: view.stream,
        event_id: view.event_id,
        causation: view.causation,
        data: view.data,
    }
}

/// A result that was never computed has no hash: the zeros that stand in for it are not shown.
fn without_results(data: &mut Value) {
    for (name, value) in data.as_object_mut().into_iter().flatten() {
        match name.as_str() {
            "result_hash" => *value = Value::Null,
            _ => without_results(value),
        }
    }
}

fn difference(difference: &Difference) -> EventDifference {
    let mut fork = difference.fork.as_ref().map(event);
    if difference.basis == Basis::Modelled
        && let Some(fork) = &mut fork
    {
        without_results(&mut fork.data);
    }
    EventDifference {
        position: difference.position.0,
        basis: word(difference.basis),
        baseline: difference.baseline.as_ref().map(event),
        fork,
    }
}

fn list(list: &List) -> EventList {
    EventList {
        total: list.total,
        types: list.types.clone(),
        first: list.first.iter().map(difference).collect(),
    }
}

fn end(end: &RunEnd) -> RunEndView {
    RunEndView {
        status: match end.kind {
            "run_admitted" => "open",
            kind => kind.strip_prefix("run_").unwrap_or(kind),
        },
        result_hash: end.result_hash.map(|hash| hash.to_string()),
        reason: end.reason.clone(),
        latency_ms: end.latency_micros.map(ms),
        basis: word(end.basis),
    }
}

fn run((run, pair): (&hindcast_model::RunId, &RunPair)) -> RunDifference {
    RunDifference {
        run_id: run.to_string(),
        operation: pair.operation.clone(),
        baseline: pair.baseline.as_ref().map(end),
        fork: pair.fork.as_ref().map(end),
    }
}

fn quantiles(quantiles: &Quantiles) -> QuantilesView {
    QuantilesView {
        p50: quantiles.p50_micros.map(ms),
        p95: quantiles.p95_micros.map(ms),
        p99: quantiles.p99_micros.map(ms),
    }
}

fn side(side: &Side) -> SideView {
    SideView {
        requested: side.requested,
        tally: side.tally,
        queued_ms: quantiles(&side.queued),
        computed_ms: quantiles(&side.computed),
    }
}

fn operation(totals: &OperationTotals) -> OperationView {
    OperationView {
        operation: totals.operation.clone(),
        baseline: side(&totals.baseline),
        fork: side(&totals.fork),
    }
}

fn drift(drift: &Drift) -> DriftView {
    let examples = drift
        .examples
        .iter()
        .map(|(recorded, decided)| DriftExample {
            recorded: recorded.iter().map(event).collect(),
            decided: decided.iter().map(event).collect(),
        });
    DriftView {
        first_seq: drift.first.0,
        events: drift.events,
        examples: examples.collect(),
    }
}

fn minimal(found: Minimal) -> MinimalView {
    let seqs = |seqs: Vec<Seq>| seqs.into_iter().map(|seq| seq.0).collect();
    MinimalView {
        outcome: found.outcome.0,
        events: seqs(found.events),
        but_for: seqs(found.but_for),
        candidates: found.candidates,
        replays: found.replays,
        complete: found.complete,
    }
}

fn point(found: PointOfNoReturn) -> PointView {
    PointView {
        outcome: found.outcome.0,
        last: found.last.map(|seq| seq.0),
        too_late: found.too_late.map(|seq| seq.0),
        share: found.share,
        seeds: found.seeds,
        exceptions: found.exceptions.into_iter().map(|seq| seq.0).collect(),
        replays: found.replays,
    }
}

/// The answer to a question.
pub(super) fn view(
    prepared: &Prepared,
    answer: Answer,
    (smallest, last): (Option<Minimal>, Option<PointOfNoReturn>),
) -> Result<WhatIf, WhatIfFailure> {
    let found = &answer.differences;
    let counts = answer.counts;
    Ok(WhatIf {
        at: prepared.at.0,
        to: answer.last.0,
        events: answer.events,
        edits: prepared.edits(),
        seed: prepared.seed,
        divergence: found.divergence.map(|seq| seq.0),
        vanished: list(&found.vanished),
        appeared: list(&found.appeared),
        changed: list(&found.changed),
        runs: RunList {
            total: found.runs_total,
            first: found.runs.iter().map(run).collect(),
        },
        operations: answer.operations.iter().map(operation).collect(),
        state: views::states(&answer.baseline, &answer.fork, FACTS_MAX),
        state_hash: StateHashes {
            baseline: state_hash(&answer.baseline)?.to_string(),
            fork: state_hash(&answer.fork)?.to_string(),
        },
        basis: BasisCounts {
            planned: counts.planned,
            recomputed: counts.recomputed,
            modelled: counts.modelled,
            over_limit: counts.over_limit,
            unresolved: counts.unresolved,
            unreadable_experiments: counts.unreadable,
            first_modelled: answer.first_modelled.map(|seq| seq.0),
        },
        baseline_drift: answer.drift.as_ref().map(drift),
        minimal: smallest.map(minimal),
        point_of_no_return: last.map(point),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_that_stand_for_no_result_are_not_shown() {
        let zeros = "0".repeat(64);
        let mut data = json!({ "run": "r", "result_hash": zeros,
            "outcome": { "completed": { "result": null, "result_hash": zeros, "schema": 1 } } });
        without_results(&mut data);
        let expected = json!({ "run": "r", "result_hash": null,
            "outcome": { "completed": { "result": null, "result_hash": null, "schema": 1 } } });
        assert_eq!(data, expected);
    }
}
