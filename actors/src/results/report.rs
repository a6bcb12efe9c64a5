//! Why requests are answered from the cache or not: over the newest events of the log, and for one
//! request that nobody has sent.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_causal::LabError;
use hindcast_log::{Log, LogError, Recorded};
use hindcast_model::event::{Event, Instead, Outcome, OutcomeObserved, RunRequested};
use hindcast_model::{Digest, KeyId, Payload, RunId};
use serde::Serialize;

use super::stats::ResultCacheStats;
use super::{ENTRY_BYTES, ResultCache};
use crate::Environment;
use crate::lock::lock;
use crate::operation::{Operation, digest};
use crate::supervisor::as_f64;

/// Events that are read at once.
const EVENTS_AT_ONCE: usize = 1_000;
/// A seed is recorded without whether it was named. One that was drawn has 53 random bits, and one in
/// two million of those is below this; who names one names a small number.
const DRAWN_FROM: u64 = 1 << 32;

/// What became of a request, as far as the cache goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Answered with the result, or the refusal, of an equal request.
    Hit,
    /// Computed, and kept for the next.
    Kept,
    /// Computed although an equal request had been computed within the events looked at: its result
    /// had gone.
    Repeated,
    /// The operation is random. It is kept under its seed, and found by who names that seed.
    Random,
    /// Sealed under a subject's own key: kept in memory alone, and for that subject alone.
    Subject,
    /// A breaker had something else computed, which is kept as what it is.
    Fallback,
    /// The result takes more than the whole cache may.
    TooLarge,
    /// It failed; what a lab refuses is found out again.
    Failed,
    /// Ended by somebody.
    Cancelled,
    /// Not admitted.
    Refused,
    /// The repetition of an idempotency key.
    Deduplicated,
    /// Not ended within the events looked at.
    Open,
}

impl Verdict {
    /// What it means, and what to do about it.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Hit => "answered from the cache",
            Self::Kept => "computed and kept: an equal request is answered from the cache",
            Self::Repeated => {
                "computed again although an equal request was computed before: make the cache larger \
                 or let it keep results for longer"
            }
            Self::Random => {
                "the operation is random: name a `seed`, and equal requests have one answer"
            }
            Self::Subject => {
                "a subject's data: kept in memory for that subject alone, never on disk"
            }
            Self::Fallback => {
                "something else was computed in its place: see `hindcast breaker list`"
            }
            Self::TooLarge => "the result is larger than cache.results_bytes_max",
            Self::Failed => "it failed: nothing to keep",
            Self::Cancelled => "it was cancelled: nothing to keep",
            Self::Refused => "it was not admitted: nothing to keep",
            Self::Deduplicated => "the same idempotency key as before: answered with that run",
            Self::Open => "it has not ended",
        }
    }
}

/// One verdict with its share.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VerdictCount {
    pub verdict: Verdict,
    pub requests: u64,
    /// Of all requests, from 0 to 1.
    pub share: f64,
    pub meaning: &'static str,
}

/// Why requests of one kind were answered as they were.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationVerdicts {
    pub operation: String,
    pub requests: u64,
    /// The most frequent first.
    pub verdicts: Vec<VerdictCount>,
    /// Since this server began: random requests that named no seed.
    pub unseeded: u64,
}

/// Why requests were answered from the cache or not.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CacheableReport {
    /// The events looked at; 0 when there are none.
    pub from_sequence: u64,
    pub to_sequence: u64,
    pub requests: u64,
    /// The most frequent first.
    pub verdicts: Vec<VerdictCount>,
    pub operations: Vec<OperationVerdicts>,
}

/// Whether one request would be answered from the cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CacheableRequest {
    pub operation: String,
    pub algorithm: String,
    /// An equal request would be answered with its result.
    pub cacheable: bool,
    /// Why, or why not.
    pub reason: &'static str,
    /// What its result is kept under; null when it is not, or belongs to a subject.
    pub key: Option<String>,
    /// The seed that counts; null when a fresh one is drawn for each request.
    pub seed: Option<u64>,
    /// Whether it is in memory; null without a server.
    pub in_memory: Option<bool>,
    /// Whether it can be read back from the log; null without a server.
    pub on_disk: Option<bool>,
}

/// What is remembered of a run until its end.
struct Asked {
    operation: String,
    identity: (Digest, u64, KeyId),
    private: bool,
    random: bool,
    cached: bool,
    fallback: bool,
    verdict: Verdict,
}

#[derive(Default)]
struct Pass {
    runs: BTreeMap<RunId, Asked>,
    computed: BTreeSet<(Digest, u64, KeyId)>,
}

/// The report over the newest `events_max` events.
pub(crate) fn of(
    log: &Log,
    environment: &Environment,
    results: &ResultCacheStats,
    events_max: u64,
) -> Result<CacheableReport, LogError> {
    let head = log.head().seq;
    let mut next = head
        .0
        .saturating_sub(events_max.saturating_sub(1))
        .max(log.oldest().0);
    let from = if head.0 == 0 { 0 } else { next };
    let mut pass = Pass::default();
    while next <= head.0 {
        let left = usize::try_from(head.0 - next + 1).unwrap_or(usize::MAX);
        let events = log.read(hindcast_model::Seq(next), EVENTS_AT_ONCE.min(left))?;
        for recorded in &events {
            pass.see(recorded, environment, (log, results.bytes_max));
        }
        match events.last() {
            Some(last) => next = last.seq().0 + 1,
            None => break,
        }
    }
    Ok(pass.report((from, head.0), results))
}

impl Pass {
    fn see(
        &mut self,
        recorded: &Recorded,
        environment: &Environment,
        (log, bytes_max): (&Log, u64),
    ) {
        let key = recorded.context.key;
        let Some(event) = recorded.event() else {
            return;
        };
        if let Event::RunRequested(request) = event {
            let asked = asked(request, key, (log, environment));
            self.runs.entry(request.run).or_insert(asked);
        } else if let Event::FallbackTaken(taken) = event {
            if let Some(asked) = self.runs.get_mut(&taken.run) {
                asked.fallback = matches!(taken.instead, Instead::Computed { .. });
            }
        } else if let Event::OutcomeObserved(observed) = event {
            self.ended(observed, bytes_max);
        } else if let Event::RunCancelled(e) = event {
            self.settle(e.run, Verdict::Cancelled);
        } else if let Event::RunRefused(e) = event {
            self.settle(e.run, Verdict::Refused);
        } else if let Event::RunDeduplicated(e) = event {
            self.settle(e.run, Verdict::Deduplicated);
        } else if let Event::RunFailed(e) = event
            && let Some(asked) = self.runs.get_mut(&e.run)
            && asked.verdict == Verdict::Open
        {
            asked.verdict = Verdict::Failed;
        }
    }

    fn settle(&mut self, run: RunId, verdict: Verdict) {
        if let Some(asked) = self.runs.get_mut(&run) {
            asked.verdict = verdict;
        }
    }

    fn ended(&mut self, observed: &OutcomeObserved, bytes_max: u64) {
        // The request may lie before the events that are looked at.
        let Some(asked) = self.runs.get_mut(&observed.run) else {
            return;
        };
        if asked.verdict != Verdict::Open {
            return;
        }
        asked.verdict = match &observed.outcome {
            Outcome::Reused { .. } => Verdict::Hit,
            Outcome::Failed { .. } if asked.cached => Verdict::Hit,
            Outcome::Failed { .. } => Verdict::Failed,
            Outcome::Completed { result, .. } => {
                let known = !self.computed.insert(asked.identity);
                if length(result) + ENTRY_BYTES > bytes_max {
                    Verdict::TooLarge
                } else if asked.fallback {
                    Verdict::Fallback
                } else if asked.private {
                    Verdict::Subject
                } else if known {
                    Verdict::Repeated
                } else if asked.random {
                    Verdict::Random
                } else {
                    Verdict::Kept
                }
            }
        };
    }

    fn report(self, (from, to): (u64, u64), results: &ResultCacheStats) -> CacheableReport {
        let mut all: BTreeMap<Verdict, u64> = BTreeMap::new();
        let mut by: BTreeMap<String, BTreeMap<Verdict, u64>> = BTreeMap::new();
        for asked in self.runs.into_values() {
            *all.entry(asked.verdict).or_default() += 1;
            let of = by.entry(asked.operation).or_default();
            *of.entry(asked.verdict).or_default() += 1;
        }
        let operations = by.into_iter().map(|(operation, of)| OperationVerdicts {
            requests: of.values().sum(),
            verdicts: shares(&of),
            unseeded: results
                .operations
                .get(operation.as_str())
                .map_or(0, |lookups| lookups.not_cacheable),
            operation,
        });
        CacheableReport {
            from_sequence: from,
            to_sequence: to,
            requests: all.values().sum(),
            verdicts: shares(&all),
            operations: operations.collect(),
        }
    }
}

fn asked(request: &RunRequested, key: KeyId, (log, environment): (&Log, &Environment)) -> Asked {
    let private = key != KeyId(0) && key != environment.seal_key;
    // What cannot be read is told by something else than its seed.
    let spec = (!private)
        .then(|| environment.vault.text(log.blobs(), key, &request.spec).ok())
        .flatten();
    let operation = spec
        .and_then(|text| serde_json::from_str(&text).ok())
        .and_then(|body| Operation::parse(&request.operation, body).ok());
    Asked {
        operation: request.operation.clone(),
        identity: (request.spec_hash, request.seed, key),
        private,
        random: request.seed >= DRAWN_FROM
            && operation.is_some_and(|operation| operation.seed().is_none()),
        cached: request
            .service
            .as_ref()
            .is_some_and(|service| service.cached),
        fallback: false,
        verdict: Verdict::Open,
    }
}

fn length(result: &Payload) -> u64 {
    match result {
        Payload::Inline(text) => text.len() as u64,
        Payload::Blob { bytes, .. } => *bytes,
        Payload::Sealed { ciphertext, .. } => ciphertext.len() as u64,
    }
}

fn shares(counts: &BTreeMap<Verdict, u64>) -> Vec<VerdictCount> {
    let all: u64 = counts.values().sum();
    let mut shares: Vec<VerdictCount> = counts
        .iter()
        .map(|(verdict, requests)| VerdictCount {
            verdict: *verdict,
            requests: *requests,
            share: as_f64(*requests) / as_f64(all),
            meaning: verdict.meaning(),
        })
        .collect();
    shares.sort_by_key(|count| std::cmp::Reverse(count.requests));
    shares
}

/// Whether a request would be answered from the cache. `results` is that of a server.
pub(crate) fn one(
    operation: &Operation,
    subject: bool,
    seal_key: KeyId,
    results: Option<&ResultCache>,
) -> Result<CacheableRequest, LabError> {
    operation.check()?;
    let spec = operation.spec()?;
    let seed = operation.seed();
    let key = seed
        .filter(|_| !subject)
        .map(|seed| operation.key(digest(spec.as_bytes()), seed, seal_key));
    let reason = match (seed, subject) {
        (None, _) => Verdict::Random.meaning(),
        (Some(_), true) => Verdict::Subject.meaning(),
        (Some(_), false) => Verdict::Kept.meaning(),
    };
    let held = |looked: &dyn Fn(&ResultCache, super::ResultKey) -> bool| {
        let results = results?;
        Some(key.is_some_and(|key| looked(results, key)))
    };
    Ok(CacheableRequest {
        operation: operation.name().to_owned(),
        algorithm: operation.algorithm_version(),
        cacheable: seed.is_some(),
        reason,
        key: key.map(|key| key.to_string()),
        seed,
        in_memory: held(&|results, key| lock(&results.inner).memory.contains(key)),
        on_disk: held(&|results, key| results.disk.holds(key)),
    })
}

/// Whether a request would be answered from the cache of a server that seals nothing. Nobody is
/// asked.
///
/// # Errors
/// The request makes no sense.
pub fn without_a_server(operation: &Operation) -> Result<CacheableRequest, LabError> {
    one(operation, false, KeyId(0), None)
}
