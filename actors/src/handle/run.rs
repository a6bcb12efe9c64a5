//! Requests for runs, as submissions to the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hindcast_causal::{Control, LabError, Stop};
use hindcast_log::{Clock, PayloadError, Pinned, Receipt};
use hindcast_model::event::{
    Event, ExperimentAdmitted, ExperimentRefused, ExperimentRequested, Outcome, OutcomeObserved,
    RunDeduplicated, RunRefused, RunRequested,
};
use hindcast_model::limits::INLINE_BYTES_MAX;
use hindcast_model::{Command, Digest, ExperimentId, KeyId, Payload, Refusal, RunId, Submission};

use super::Door;
use super::request::{Admission, ExperimentAnswer, ExperimentRequest, RunRequest, SubmitFailure};
use crate::budget::micros;
use crate::component::panic_text;
use crate::computation::outcome::{Ending, failed, panicked, withheld};
use crate::operation::{Computed, canonical, digest};

/// A payload with what keeps its blob until it is recorded.
struct Kept {
    payload: Payload,
    pinned: Option<Pinned>,
}

pub(super) async fn request(door: &Door, request: RunRequest) -> Result<Admission, SubmitFailure> {
    let spec = request.operation.spec().map_err(SubmitFailure::Invalid)?;
    let hash = digest(spec.as_bytes());
    if request.operation.is_cheap(spec.len())
        && let Some(ended) = remember_or_compute(door, &request, hash)?
    {
        return record_cheap(door, &request, (spec, hash), ended).await;
    }
    let Kept { payload, pinned } = keep(door, spec).await?;
    let event = requested(&request, (payload, hash), false, None);
    let command = sealed(door, request.identity.command(event));
    let receipt = door.submit(command.into()).await;
    drop(pinned);
    Ok(admission(request.run, &receipt?))
}

fn remember_or_compute(
    door: &Door,
    request: &RunRequest,
    spec: Digest,
) -> Result<Option<(Ending, u64)>, SubmitFailure> {
    let started = door.environment.clock.monotonic();
    let key = (request.operation.name(), spec, request.seed);
    if let Some(known) = door.memo.get(key) {
        let took = door.environment.clock.monotonic().saturating_sub(started);
        return Ok(Some((Ending::Computed(Computed::clone(&known)), took)));
    }
    let ended = compute(door, request)?;
    if let Some((Ending::Computed(computed), _)) = &ended {
        door.memo.put(key, &Arc::new(computed.clone()));
    }
    Ok(ended)
}

/// A command whose payload was kept: its record names the key.
fn sealed(door: &Door, command: Command) -> Command {
    let key = door.environment.seal_key;
    Command { key, ..command }
}

/// Computes a cheap run on this thread. `None` when it is not so cheap after all.
fn compute(door: &Door, request: &RunRequest) -> Result<Option<(Ending, u64)>, SubmitFailure> {
    let clock = &*door.environment.clock;
    let started = clock.monotonic();
    let budget = Budget {
        clock,
        until: started + micros(door.options.cheap_budget),
    };
    let execute = || request.operation.execute(None, request.seed, &budget);
    let ending = match catch_unwind(AssertUnwindSafe(execute)) {
        Ok(Ok(computed)) => Ending::Computed(computed),
        Ok(Err(LabError::Stopped(_))) => return Ok(None),
        Ok(Err(error @ LabError::Internal(_))) => Ending::Failed(failed(&error)),
        Ok(Err(error)) => return Err(SubmitFailure::Invalid(error)),
        Err(panic) => Ending::Failed(panicked(&panic_text(&*panic))),
    };
    Ok(Some((ending, clock.monotonic().saturating_sub(started))))
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
async fn record_cheap(
    door: &Door,
    request: &RunRequest,
    (spec, hash): (String, Digest),
    (ending, computed_micros): (Ending, u64),
) -> Result<Admission, SubmitFailure> {
    let run = request.run;
    let Kept {
        payload: spec,
        pinned: spec_pinned,
    } = keep(door, spec).await?;
    let key = door.environment.seal_key;
    let (outcome, key, pinned) = match ending {
        Ending::Failed(outcome) => (withheld(outcome, key), KeyId(0), None),
        Ending::Computed(computed) => {
            let Kept { payload, pinned } = keep(door, computed.json).await?;
            let outcome = Outcome::Completed {
                result: payload,
                result_hash: computed.hash,
                schema: computed.schema,
                algorithm_version: computed.algorithm_version,
            };
            (outcome, key, pinned)
        }
    };
    let observed = Event::OutcomeObserved(OutcomeObserved {
        run,
        outcome: outcome.clone(),
        numeric_profile: door.environment.numeric_profile.to_string(),
        queued_micros: 0,
        computed_micros,
    });
    let request_event = requested(request, (spec, hash), true, None);
    let outcome_command = Command {
        event_id: (door.environment.event_id)(),
        causation: request.identity.event_id,
        key,
        ..request.identity.command(observed)
    };
    let request_command = sealed(door, request.identity.command(request_event));
    let commands = vec![request_command, outcome_command];
    let receipt = door.submit(Submission { commands }).await;
    drop((spec_pinned, pinned));
    let receipt = receipt?;
    let mut answer = admission(run, &receipt);
    if let Admission::Admitted { run, seq } = answer {
        answer = Admission::Completed {
            run,
            seq,
            outcome: Box::new(outcome),
            key,
            computed_micros,
        };
    }
    Ok(answer)
}

pub(super) async fn request_experiment(
    door: &Door,
    request: ExperimentRequest,
) -> Result<ExperimentAnswer, SubmitFailure> {
    let experiment = request.experiment;
    let runs: Vec<RunId> = request.runs.iter().map(|run| run.run).collect();
    let spec = canonical(&request.spec).map_err(SubmitFailure::Invalid)?;
    let Kept { payload, pinned } = keep(door, spec).await?;
    let mut pins = vec![pinned];
    let event = Event::ExperimentRequested(ExperimentRequested {
        experiment,
        name: request.name,
        spec: payload,
        runs: runs.clone(),
        idempotency: request.idempotency,
    });
    let mut commands = vec![sealed(door, request.identity.command(event))];
    for run in &request.runs {
        let spec = run.operation.spec().map_err(SubmitFailure::Invalid)?;
        let hash = digest(spec.as_bytes());
        let Kept { payload, pinned } = keep(door, spec).await?;
        pins.push(pinned);
        let event = requested(run, (payload, hash), false, Some(experiment));
        let causation = request.identity.event_id;
        commands.push(Command {
            causation,
            ..sealed(door, run.identity.command(event))
        });
    }
    let receipt = door.submit(Submission { commands }).await;
    drop(pins);
    Ok(experiment_answer(experiment, runs, &receipt?))
}

/// A run of an experiment has no idempotency key of its own: the experiment has one.
fn requested(
    request: &RunRequest,
    (spec, spec_hash): (Payload, Digest),
    immediate: bool,
    experiment: Option<ExperimentId>,
) -> Event {
    Event::RunRequested(RunRequested {
        run: request.run,
        operation: request.operation.name().to_owned(),
        schema: request.operation.schema(),
        spec,
        spec_hash,
        seed: request.seed,
        datasets: request.operation.datasets(),
        deadline_micros: request
            .deadline
            .map_or(0, |deadline| micros(deadline).max(1)),
        immediate,
        experiment,
        idempotency: request.idempotency.filter(|_| experiment.is_none()),
    })
}

/// Large text becomes a blob before it is spoken of in the log.
async fn keep(door: &Door, text: String) -> Result<Kept, SubmitFailure> {
    let environment = &door.environment;
    let seal = environment.seal(environment.seal_key);
    if text.len() <= INLINE_BYTES_MAX {
        return kept(environment.vault.keep(door.log.blobs(), seal, text));
    }
    let (log, vault) = (door.log.clone(), Arc::clone(&environment.vault));
    super::dataset::blocking(door, move || kept(vault.keep(log.blobs(), seal, text))).await
}

fn kept(stored: Result<(Payload, Option<Pinned>), PayloadError>) -> Result<Kept, SubmitFailure> {
    match stored {
        Ok((payload, pinned)) => Ok(Kept { payload, pinned }),
        Err(error) => Err(SubmitFailure::Unavailable(format!(
            "the payload could not be stored: {error}"
        ))),
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

fn experiment_answer(
    experiment: ExperimentId,
    runs: Vec<RunId>,
    receipt: &Receipt,
) -> ExperimentAnswer {
    let mut refused: Vec<(RunId, Refusal)> = Vec::new();
    for event in &receipt.decided {
        if let Event::ExperimentRefused(ExperimentRefused { refusal, .. }) = event {
            return ExperimentAnswer::Refused {
                experiment,
                refusal: refusal.clone(),
            };
        } else if let Event::ExperimentAdmitted(ExperimentAdmitted { original, .. }) = event {
            if let Some(original) = *original {
                return ExperimentAnswer::Deduplicated {
                    experiment,
                    original,
                };
            }
        } else if let Event::RunRefused(RunRefused { run, refusal }) = event {
            refused.push((*run, refusal.clone()));
        }
    }
    ExperimentAnswer::Admitted {
        experiment,
        seq: receipt.first,
        runs,
        refused,
    }
}
