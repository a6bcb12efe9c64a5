//! Requests for series of runs, as one submission to the log.

use hindcast_log::Receipt;
use hindcast_model::event::{
    Event, ExperimentAdmitted, ExperimentRefused, ExperimentRequested, RunRefused,
};
use hindcast_model::{Command, ExperimentId, Refusal, RunId, Submission};

use super::Door;
use super::request::{ExperimentAnswer, ExperimentRequest, SEALED_NAME, SubmitFailure};
use super::run::{Manner, Stored, keep, requested, sealed};
use crate::operation::canonical;
use crate::trace;

/// Asks for a named series of runs, recorded in one frame.
pub(super) async fn request(
    door: &Door,
    request: ExperimentRequest,
) -> Result<ExperimentAnswer, SubmitFailure> {
    door.check_disk()?;
    let experiment = request.experiment;
    let runs: Vec<RunId> = request.runs.iter().map(|run| run.run).collect();
    let spec = canonical(&request.spec).map_err(SubmitFailure::Invalid)?;
    let datasets = request
        .runs
        .iter()
        .flat_map(|run| run.operation().datasets());
    door.check_datasets(&request.identity, datasets.collect())
        .await?;
    let seal = door.key_for(&request.identity).await?;
    let Stored { payload, pinned } = keep(door, seal, spec).await?;
    let mut pins = vec![pinned];
    let event = Event::ExperimentRequested(ExperimentRequested {
        experiment,
        name: match request.identity.subject {
            Some(_) => SEALED_NAME.to_owned(),
            None => request.name,
        },
        spec: payload,
        runs: runs.clone(),
        idempotency: request.idempotency,
    });
    let mut commands = vec![sealed(seal, request.identity.command(event))];
    for run in &request.runs {
        let spec = run.question.spec().to_owned();
        let Stored { payload, pinned } = keep(door, seal, spec).await?;
        pins.push(pinned);
        let event = requested(run, payload, Manner::Later, Some(experiment));
        let causation = request.identity.event_id;
        commands.push(Command {
            causation,
            ..sealed(seal, run.identity.command(event))
        });
    }
    for run in &runs {
        trace::park(*run);
    }
    let asked = runs.clone();
    let receipt = door.submit(Submission { commands }).await;
    drop(pins);
    let answer = receipt.map(|receipt| experiment_answer(experiment, runs, &receipt));
    // Nothing will be computed that could take these.
    let idle = match &answer {
        Ok(ExperimentAnswer::Admitted { refused, .. }) => {
            refused.iter().map(|(run, _)| *run).collect()
        }
        Ok(ExperimentAnswer::Deduplicated { .. } | ExperimentAnswer::Refused { .. }) | Err(_) => {
            asked
        }
    };
    for run in idle {
        drop(trace::take(run));
    }
    answer
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
