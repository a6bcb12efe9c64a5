//! Requests for runs, as submissions to the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hindcast_causal::{Control, LabError, Stop};
use hindcast_log::{Clock, PayloadError, Pinned, Receipt};
use hindcast_model::event::{
    Event, Outcome, OutcomeObserved, RunDeduplicated, RunRefused, RunRequested, Service,
};
use hindcast_model::limits::INLINE_BYTES_MAX;
use hindcast_model::{Command, ExperimentId, KeyId, Payload, Refusal, RunId, Submission};
use tokio::sync::oneshot;

use super::Door;
use super::request::{Admission, RunRequest, SubmitFailure};
use crate::budget::micros;
use crate::circuit_breaker::{Guarded, Refused, Ticket};
use crate::component::panic_text;
use crate::computation::outcome::{Ending, completed, failed, panicked, reused, withheld};
use crate::results::{Kept, Lead, ResultKey, Start, Tags};
use crate::trace;

/// A payload with what keeps its blob until it is recorded.
pub(super) struct Stored {
    pub(super) payload: Payload,
    pub(super) pinned: Option<Pinned>,
}

/// A request on its way into the log.
struct Asked<'a> {
    request: &'a RunRequest,
    /// The data key that its payloads are sealed under; 0 leaves them readable.
    seal: KeyId,
}

pub(super) async fn request(door: &Door, request: RunRequest) -> Result<Admission, SubmitFailure> {
    door.check_disk()?;
    let operation = request.operation();
    let cheap = operation.is_cheap(request.question.spec().len());
    door.check_datasets(&request.identity, operation.datasets())
        .await?;
    let seal = door.key_for(&request.identity).await?;
    let asked = Asked {
        request: &request,
        seal,
    };
    let Some(key) = request.question.cache_key(seal) else {
        door.results.count_not_cacheable(operation.name());
        let guard = door.guard(&request);
        let _ticket = pass(door, guard.as_ref())?;
        return match cheap
            .then(|| compute(door, &request))
            .transpose()?
            .flatten()
        {
            Some(ended) => record_ended(door, asked, ended).await,
            None => {
                door.check_lane(operation.name())?;
                record_first(door, asked).await
            }
        };
    };
    if !cheap {
        let found = match door.results.find(key, operation.name()) {
            None => read_back(door, key, operation.name()).await,
            found => found,
        };
        return match found {
            Some(kept) => record_ended(door, asked, (kept.into(), 0)).await,
            None => {
                let guard = door.guard(&request);
                let _ticket = pass(door, guard.as_ref())?;
                door.check_lane(operation.name())?;
                record_first(door, asked).await
            }
        };
    }
    // What is cheap is computed in less time than it takes to read it.
    let tags = Tags::of(operation, None, false);
    loop {
        match door.results.begin(key, &tags) {
            Start::Known(kept) => {
                return record_ended(door, asked, (kept.into(), 0)).await;
            }
            Start::Lead(lead) => {
                let guard = door.guard(&request);
                let _ticket = pass(door, guard.as_ref())?;
                let Some(ended) = compute(door, &request)? else {
                    drop(lead);
                    return record_first(door, asked).await;
                };
                return lead_cheap(door, asked, (ended, lead)).await;
            }
            Start::Busy => lead_ended(door, key).await,
        }
    }
}

/// Waits for the one who computes the same.
async fn lead_ended(door: &Door, key: ResultKey) {
    let (wake, woken) = oneshot::channel();
    if door.results.wait(key, move || {
        let _ = wake.send(());
    }) {
        // A lost sender is a lead that has ended as well.
        drop(woken.await);
    }
}

/// A result that is not in memory and stands in the log. A thread that may read files looks for it.
async fn read_back(door: &Door, key: ResultKey, operation: &'static str) -> Option<Kept> {
    if !door.results.may_read_back() {
        return None;
    }
    let results = Arc::clone(&door.results);
    let looked = tokio::task::spawn_blocking(move || results.read_back(key, operation));
    looked.await.ok().flatten()
}

/// A breaker that the request goes by, as the door sees it.
pub(super) struct Guard {
    name: String,
    guarded: Guarded,
    /// Something else may be computed in its place: the log decides.
    diverts: bool,
}

/// The right to have a request recorded, unless its breaker is known to refuse it.
fn pass<'g>(door: &Door, guard: Option<&'g Guard>) -> Result<Option<Ticket<'g>>, SubmitFailure> {
    let Some(guard) = guard.filter(|guard| !guard.diverts) else {
        return Ok(None);
    };
    let now = || door.environment.clock.wall().0;
    guard.guarded.gate.enter(now).map(Some).map_err(|refused| {
        door.edge.count_overloaded();
        let Refused(until) = refused;
        let retry = until.map_or(0, |until| until.saturating_sub(now()).max(1));
        SubmitFailure::Refused(Refusal::BreakerOpen {
            breaker: guard.name.clone(),
            state: guard.guarded.state,
            retry_micros: retry,
        })
    })
}

impl Door {
    /// The breaker that a request goes by, if there is one.
    fn guard(&self, request: &RunRequest) -> Option<Guard> {
        let name = request.operation().breaker();
        let guarded = self.gates.get(&name)?;
        Some(Guard {
            diverts: request.divert && guarded.has_fallback,
            name,
            guarded,
        })
    }
}

/// Records what the lead has computed, and keeps it once it is durable.
async fn lead_cheap(
    door: &Door,
    asked: Asked<'_>,
    (ended, lead): ((Ending, u64), Lead),
) -> Result<Admission, SubmitFailure> {
    let computed = match &ended.0 {
        Ending::Computed(computed) => Some(Arc::clone(computed)),
        Ending::Reused { .. } | Ending::Failed(_) => None,
    };
    let admission = record_ended(door, asked, ended).await?;
    if let (Admission::Completed { run, .. }, Some(computed)) = (&admission, computed) {
        lead.finish(Kept {
            original: *run,
            computed,
        });
    }
    Ok(admission)
}

/// Records a request that is computed afterwards.
async fn record_first(door: &Door, asked: Asked<'_>) -> Result<Admission, SubmitFailure> {
    let Asked { request, seal } = asked;
    let Stored { payload, pinned } = keep(door, seal, request.question.spec().to_owned()).await?;
    let event = requested(request, payload, Manner::Later, None);
    let command = sealed(seal, request.identity.command(event));
    trace::park(request.run);
    let receipt = door.submit(command.into()).await;
    drop(pinned);
    let admission = receipt.map(|receipt| admission(request.run, &receipt));
    if !matches!(admission, Ok(Admission::Admitted { .. })) {
        // Nothing will be computed that could take it.
        drop(trace::take(request.run));
    }
    admission
}

/// A command whose payload was kept: its record names the key.
pub(super) fn sealed(key: KeyId, command: Command) -> Command {
    Command { key, ..command }
}

/// Computes a cheap run on this thread. `None` when it is not so cheap after all.
fn compute(door: &Door, request: &RunRequest) -> Result<Option<(Ending, u64)>, SubmitFailure> {
    let mut span = trace::span("computation");
    if let Some(span) = &mut span {
        span.set("operation", request.operation().name());
    }
    let clock = &*door.environment.clock;
    let started = clock.monotonic();
    let budget = door.options.cheap_budget;
    let budget = request.deadline.map_or(budget, |left| left.min(budget));
    let budget = Budget {
        clock,
        until: started + micros(budget),
    };
    let execute = || request.operation().execute(None, request.seed, &budget);
    let ended = match catch_unwind(AssertUnwindSafe(execute)) {
        Ok(Ok(computed)) => Ending::Computed(Arc::new(computed)),
        Ok(Err(LabError::Stopped(_))) => return Ok(None),
        Ok(Err(error @ (LabError::Internal(_) | LabError::FailedVerification { .. }))) => {
            Ending::Failed(failed(&error))
        }
        Ok(Err(error)) => return Err(SubmitFailure::Invalid(error)),
        Err(panic) => Ending::Failed(panicked(&panic_text(&*panic))),
    };
    Ok(Some((ended, clock.monotonic().saturating_sub(started))))
}

/// Ends a computation that takes too long for the caller's thread.
struct Budget<'a> {
    clock: &'a dyn Clock,
    until: u64,
}

impl Control for Budget<'_> {
    fn check(&self) -> Result<(), Stop> {
        match self.clock.monotonic() > self.until {
            true => Err(Stop::DeadlineExceeded),
            false => Ok(()),
        }
    }

    fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}
}

/// Records request and outcome in one frame.
async fn record_ended(
    door: &Door,
    asked: Asked<'_>,
    (ended, computed_micros): (Ending, u64),
) -> Result<Admission, SubmitFailure> {
    let Asked { request, seal } = asked;
    let run = request.run;
    let spec = keep(door, seal, request.question.spec().to_owned()).await?;
    let (outcome, key, pinned) = outcome(door, seal, &ended).await?;
    let manner = match &outcome {
        Outcome::Completed { .. } => Manner::Computed,
        Outcome::Failed { .. } => Manner::Computed,
        Outcome::Reused { .. } => Manner::Cached,
    };
    let (result, original) = match ended {
        Ending::Computed(computed) => (Ok(computed), None),
        Ending::Reused { original, computed } => (Ok(computed), Some(original)),
        Ending::Failed(_) => (Err(Box::new(outcome.clone())), None),
    };
    let observed = Event::OutcomeObserved(OutcomeObserved {
        run,
        outcome,
        numeric_profile: door.environment.numeric_profile.to_string(),
        queued_micros: 0,
        computed_micros,
    });
    let request_event = requested(request, spec.payload, manner, None);
    let outcome_command = Command {
        event_id: (door.environment.event_id)(),
        causation: request.identity.event_id,
        key,
        ..request.identity.command(observed)
    };
    let request_command = sealed(seal, request.identity.command(request_event));
    let commands = vec![request_command, outcome_command];
    let receipt = door.submit(Submission { commands }).await;
    drop((spec.pinned, pinned));
    let receipt = receipt?;
    let answer = admission(run, &receipt);
    let fallback = receipt.decided.iter().find_map(|event| {
        if let Event::FallbackTaken(taken) = event {
            return Some(taken.clone());
        }
        None
    });
    let Admission::Admitted { run, seq } = answer else {
        return Ok(answer);
    };
    Ok(Admission::Completed {
        run,
        seq,
        result,
        original,
        computed_micros,
        fallback,
    })
}

/// The outcome as the log will hold it, the key that its record names, and what keeps its blob.
async fn outcome(
    door: &Door,
    key: KeyId,
    ending: &Ending,
) -> Result<(Outcome, KeyId, Option<Pinned>), SubmitFailure> {
    Ok(match ending {
        Ending::Failed(outcome) => (withheld(outcome.clone(), key), KeyId(0), None),
        Ending::Reused { original, computed } => (reused(*original, computed), KeyId(0), None),
        Ending::Computed(computed) => {
            let Stored { payload, pinned } = keep(door, key, computed.json.to_string()).await?;
            (completed(payload, computed), key, pinned)
        }
    })
}

/// How a run comes by its result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It is computed once it is recorded.
    Later,
    /// It was computed, and is recorded with the request.
    Computed,
    /// It is at hand, and is recorded with the request.
    Cached,
}

/// A run of an experiment has no idempotency key of its own: the experiment has one.
pub(super) fn requested(
    request: &RunRequest,
    spec: Payload,
    manner: Manner,
    experiment: Option<ExperimentId>,
) -> Event {
    Event::RunRequested(RunRequested {
        run: request.run,
        operation: request.operation().name().to_owned(),
        schema: request.operation().schema(),
        spec,
        spec_hash: request.question.hash(),
        seed: request.seed,
        datasets: request.operation().datasets(),
        deadline_micros: request
            .deadline
            .map_or(0, |deadline| micros(deadline).max(1)),
        immediate: manner != Manner::Later,
        experiment,
        idempotency: request.idempotency.filter(|_| experiment.is_none()),
        service: Some(Service {
            breaker: request.operation().breaker(),
            divert: request.divert,
            cached: manner == Manner::Cached,
            caller_deadline: request.caller_deadline && request.deadline.is_some(),
        }),
    })
}

/// Large text becomes a blob before it is spoken of in the log.
pub(super) async fn keep(door: &Door, key: KeyId, text: String) -> Result<Stored, SubmitFailure> {
    let environment = &door.environment;
    let seal = environment.seal(key);
    if text.len() <= INLINE_BYTES_MAX {
        return kept(door, environment.vault.keep(door.log.blobs(), seal, text));
    }
    let (log, vault) = (door.log.clone(), Arc::clone(&environment.vault));
    let stored = super::dataset::blocking(door, move || Ok(vault.keep(log.blobs(), seal, text)));
    kept(door, stored.await?)
}

fn kept(
    door: &Door,
    stored: Result<(Payload, Option<Pinned>), PayloadError>,
) -> Result<Stored, SubmitFailure> {
    match stored {
        Ok((payload, pinned)) => Ok(Stored { payload, pinned }),
        Err(error) => {
            door.edge.count_unstored(&error.to_string());
            Err(SubmitFailure::Unavailable(format!(
                "the payload could not be stored: {error}"
            )))
        }
    }
}

fn admission(run: RunId, receipt: &Receipt) -> Admission {
    receipt
        .decided
        .iter()
        .find_map(|event| {
            if let Event::RunRefused(RunRefused { refusal, .. }) = event {
                Some(Admission::Refused {
                    run,
                    refusal: refusal.clone(),
                })
            } else if let Event::RunDeduplicated(RunDeduplicated { original, .. }) = event {
                Some(Admission::Deduplicated {
                    run,
                    original: *original,
                })
            } else {
                None
            }
        })
        .unwrap_or(Admission::Admitted {
            run,
            seq: receipt.first,
        })
}
