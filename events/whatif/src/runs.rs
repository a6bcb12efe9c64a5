//! How runs ended, and how long operations took, in one history.

use std::collections::BTreeMap;

use hindcast_model::event::{OutcomeObserved, RunAdmitted, RunCancelled, RunDeduplicated, Tally};
use hindcast_model::state::{OpenRun, Totals};
use hindcast_model::{Digest, Event, RunId, State, UnixMicros};

use crate::timeline::Basis;

/// A run that is about to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) operation: String,
    pub(crate) requested_at: UnixMicros,
}

impl Ended {
    pub(crate) fn of(open: &OpenRun) -> Self {
        Self {
            operation: open.operation.clone(),
            requested_at: open.requested.at,
        }
    }
}

/// How a run ended in one history, or that it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// As the type of the event: `run_admitted` while it is open.
    pub kind: &'static str,
    /// Of its result; `None` without one, and when the outcome is modelled.
    pub result_hash: Option<Digest>,
    /// Why it failed or was refused.
    pub reason: Option<String>,
    /// Microseconds from its request to its end.
    pub latency_micros: Option<u64>,
    pub basis: Basis,
}

impl RunEnd {
    /// What this decision makes of a run; `None` when it is about none.
    pub(crate) fn of(
        event: &Event,
        latency_micros: Option<u64>,
        basis: Basis,
    ) -> Option<(RunId, Self)> {
        let (run, result_hash, reason) = if let Event::RunCompleted(e) = event {
            let known = basis != Basis::Modelled;
            (e.run, known.then_some(e.result_hash), None)
        } else if let Event::RunFailed(e) = event {
            (e.run, None, Some(e.code.clone()))
        } else if let Event::RunRefused(e) = event {
            (e.run, None, Some(e.refusal.to_string()))
        } else if let Event::RunDeduplicated(RunDeduplicated { run, .. })
        | Event::RunCancelled(RunCancelled { run })
        | Event::RunAdmitted(RunAdmitted { run }) = event
        {
            (*run, None, None)
        } else {
            return None;
        };
        let kind = event.kind().name;
        Some((
            run,
            Self {
                kind,
                result_hash,
                reason,
                latency_micros,
                basis,
            },
        ))
    }
}

/// How a run ended in both histories; `None` where it was not asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunPair {
    pub operation: Option<String>,
    pub baseline: Option<RunEnd>,
    pub fork: Option<RunEnd>,
}

/// Bins of one doubling: a quantile is off by 1/32 at most.
const STEPS: u64 = 16;

/// How often microseconds were in which range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Histogram {
    bins: BTreeMap<u64, u64>,
    count: u64,
}

impl Histogram {
    fn add(&mut self, micros: u64) {
        *self.bins.entry(bin(micros)).or_default() += 1;
        self.count += 1;
    }

    fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.bins.iter().find_map(|(bin, count)| {
            seen += count;
            (seen >= rank).then(|| middle(*bin))
        })
    }

    fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.count,
            p50_micros: self.quantile(50),
            p95_micros: self.quantile(95),
            p99_micros: self.quantile(99),
        }
    }
}

const fn bin(micros: u64) -> u64 {
    if micros < STEPS {
        return micros;
    }
    let shift = micros.ilog2() - STEPS.ilog2();
    STEPS * shift as u64 + (micros >> shift)
}

const fn middle(bin: u64) -> u64 {
    if bin < 2 * STEPS {
        return bin;
    }
    let shift = bin / STEPS - 1;
    ((bin - STEPS * shift) << shift) + (1 << (shift - 1))
}

/// Quantiles of spans in microseconds, each off by a thirty-second part at most; `None` when
/// nothing was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    pub count: u64,
    pub p50_micros: Option<u64>,
    pub p95_micros: Option<u64>,
    pub p99_micros: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Spans {
    queued: Histogram,
    computed: Histogram,
}

/// What one history counts on the way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tallies(BTreeMap<String, Spans>);

impl Tallies {
    /// Counts the outcome of a run that is open in `state`.
    pub(crate) fn outcome(&mut self, state: &State, observed: &OutcomeObserved) {
        let Some(open) = state.run(observed.run) else {
            return;
        };
        if !self.0.contains_key(&open.operation) {
            self.0.insert(open.operation.clone(), Spans::default());
        }
        if let Some(spans) = self.0.get_mut(&open.operation) {
            spans.queued.add(observed.queued_micros);
            spans.computed.add(observed.computed_micros);
        }
    }
}

/// One operation in one history, from the fork on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Side {
    pub requested: u64,
    pub tally: Tally,
    pub queued: Quantiles,
    pub computed: Quantiles,
}

/// One operation in both histories, from the fork on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationTotals {
    pub operation: String,
    pub baseline: Side,
    pub fork: Side,
}

fn side(
    (start, end): (&BTreeMap<String, Totals>, &State),
    tallies: &Tallies,
    operation: &str,
) -> Side {
    let before = start.get(operation).copied().unwrap_or_default();
    let after = end
        .parts()
        .totals
        .get(operation)
        .copied()
        .unwrap_or_default();
    let spans = tallies.0.get(operation).cloned().unwrap_or_default();
    let (old, new) = (before.tally, after.tally);
    Side {
        requested: after.requested - before.requested,
        tally: Tally {
            completed: new.completed - old.completed,
            failed: new.failed - old.failed,
            cancelled: new.cancelled - old.cancelled,
            refused: new.refused - old.refused,
            deduplicated: new.deduplicated - old.deduplicated,
        },
        queued: spans.queued.quantiles(),
        computed: spans.computed.quantiles(),
    }
}

/// Every operation that either history asked for.
pub(crate) fn operations(
    start: &BTreeMap<String, Totals>,
    baseline: (&State, &Tallies),
    fork: (&State, &Tallies),
) -> Vec<OperationTotals> {
    let names = baseline.0.parts().totals.keys();
    let mut names: Vec<&String> = names.chain(fork.0.parts().totals.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let both = names.into_iter().map(|name| OperationTotals {
        operation: name.clone(),
        baseline: side((start, baseline.0), baseline.1, name),
        fork: side((start, fork.0), fork.1, name),
    });
    both.filter(|both| both.baseline != Side::default() || both.fork != Side::default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_rise_and_their_middles_are_near() {
        let mut last = 0;
        for micros in (0..4_096).chain([10_000, 1 << 20, 123_456_789, u64::MAX / 3]) {
            let bin = bin(micros);
            assert!(bin >= last, "{micros}");
            last = bin;
            let off = middle(bin).abs_diff(micros);
            assert!(
                off <= micros / 32 + 1,
                "{micros} is shown as {}",
                middle(bin)
            );
        }
        let mut histogram = Histogram::default();
        (1..=100).for_each(|micros| histogram.add(micros * 10));
        let found = histogram.quantiles();
        assert_eq!(found.count, 100);
        assert!(found.p50_micros.is_some_and(|p| p.abs_diff(500) <= 16));
        assert!(found.p99_micros.is_some_and(|p| p.abs_diff(990) <= 31));
        assert_eq!(Histogram::default().quantiles().p50_micros, None);
    }
}
