//! All that the outside world may call: the experiment actor's handle, which finds the living
//! actor anew for every request.
//!
//! A cheap run is computed here, on the caller's thread, and then recorded together with its
//! outcome in one frame. Every other run is recorded first.

mod answer;
mod dataset;
mod experiment;
pub(crate) mod request;
mod run;
mod seals;

use std::sync::Arc;

use hindcast_causal::LabError;
use hindcast_log::{Log, LogError, Receipt};
use hindcast_model::event::{CancelRequested, Event, SubjectRedacted};
use hindcast_model::{KeyId, Name16, RunId, Seq, State, Submission};
use tokio::sync::{Semaphore, oneshot};

use crate::Environment;
use crate::circuit_breaker::Gates;
use crate::component::{Rejected, Slot};
use crate::computation::ComputationHandle;
use crate::experiment::edge::Edge;
use crate::experiment::watch::{Hub, RunWatch};
use crate::experiment::{Entry, Experiment, ExperimentOptions, Request};
use crate::operation::{Lane, Operation};
use crate::results::report::{self, CacheableReport, CacheableRequest};
use crate::results::{Invalidated, Resize, ResultCache, ResultCacheStats, Selector, WarmStats};
use request::{
    Admission, CancelAnswer, DatasetAnswer, DoneAnswer, ExperimentAnswer, ExperimentRequest,
    Identity, NOBODY, Redacted, RunRequest, SEALED_NAME, SubmitFailure, Upload,
};

/// The experiment actor, whichever incarnation lives.
#[derive(Clone)]
pub struct ExperimentHandle {
    door: Arc<Door>,
}

struct Door {
    slot: Arc<Slot<Experiment>>,
    log: Log,
    edge: Arc<Edge>,
    hub: Arc<Hub>,
    computation: ComputationHandle,
    environment: Environment,
    options: ExperimentOptions,
    blob_writers: Arc<Semaphore>,
    results: Arc<ResultCache>,
    gates: Arc<Gates>,
    seals: seals::Seals,
}

impl ExperimentHandle {
    pub(crate) fn new(
        slot: Arc<Slot<Experiment>>,
        log: Log,
        edge: Arc<Edge>,
        (computation, results, gates): (ComputationHandle, Arc<ResultCache>, Arc<Gates>),
        settings: (Environment, ExperimentOptions),
    ) -> Self {
        let (environment, options) = settings;
        let hub = Hub::new(options.watches_max);
        let weak = Arc::downgrade(&hub);
        log.subscribe(Box::new(move |batch| {
            weak.upgrade().is_some_and(|hub| {
                hub.see(batch);
                true
            })
        }));
        let blob_writers = Arc::new(Semaphore::new(options.blob_writers_max));
        let door = Door {
            slot,
            log,
            edge,
            hub,
            computation,
            environment,
            options,
            blob_writers,
            results,
            gates,
            seals: seals::Seals::default(),
        };
        Self {
            door: Arc::new(door),
        }
    }

    /// Asks for a run.
    pub async fn request_run(&self, request: RunRequest) -> Result<Admission, SubmitFailure> {
        run::request(&self.door, request).await
    }

    /// Asks for a named series of runs, recorded in one frame.
    pub async fn request_experiment(
        &self,
        request: ExperimentRequest,
    ) -> Result<ExperimentAnswer, SubmitFailure> {
        experiment::request(&self.door, request).await
    }

    /// Ends a run before its result. Durable first; then the computation is stopped.
    pub async fn cancel(
        &self,
        run: RunId,
        identity: Identity,
        reason: String,
    ) -> Result<CancelAnswer, SubmitFailure> {
        if self.door.log.state(|state| state.run(run).is_none()) {
            return Ok(CancelAnswer::NotOpen { run });
        }
        let reason = match identity.subject {
            Some(_) => SEALED_NAME.to_owned(),
            None => reason,
        };
        let event = Event::CancelRequested(CancelRequested { run, reason });
        let receipt = self.submit(identity.command(event).into()).await?;
        let cancelled = |event: &Event| matches!(event, Event::RunCancelled(e) if e.run == run);
        Ok(match receipt.decided.iter().any(cancelled) {
            true => CancelAnswer::Cancelled {
                run,
                seq: receipt.first,
            },
            false => CancelAnswer::NotOpen { run },
        })
    }

    /// Keeps a file as a dataset: parsed and profiled, its bytes durable, then recorded.
    pub async fn upload(&self, upload: Upload) -> Result<DatasetAnswer, SubmitFailure> {
        dataset::upload(&self.door, upload).await
    }

    /// Makes everything that was kept for `subject` unreadable, for ever: recorded first, so that
    /// a crash in between cannot undo it, then the keys are shredded. `None` when there is nothing.
    pub async fn redact(
        &self,
        subject: Name16,
        identity: Identity,
        reason: String,
    ) -> Result<Option<Redacted>, SubmitFailure> {
        let vault = Arc::clone(&self.door.environment.vault);
        let Some(key) = vault.find(&subject.to_string()) else {
            return Ok(None);
        };
        let event = Event::SubjectRedacted(SubjectRedacted {
            subject,
            keys: vec![key],
            reason,
        });
        let receipt = self.submit(identity.command(event).into()).await?;
        dataset::blocking(&self.door, move || {
            vault.shred(key).map_err(|error| {
                let detail = format!("the data key is not shredded before the next start: {error}");
                SubmitFailure::Unavailable(detail)
            })
        })
        .await?;
        // What was read before the key was gone.
        self.door.results.clear();
        let _datasets = self.door.computation.forget_datasets(None);
        Ok(Some(Redacted {
            seq: receipt.first,
            keys: vec![key],
        }))
    }

    /// Keeps the answer of a request with an idempotency key; durable when this returns. Where it
    /// stands. Of one that is larger than `ANSWER_BYTES_MAX` only the key is kept.
    ///
    /// # Errors
    /// It could not be stored or recorded: the request may be done again.
    pub async fn keep_answer(
        &self,
        identity: Identity,
        answer: DoneAnswer,
    ) -> Result<Seq, SubmitFailure> {
        answer::record(&self.door, identity, answer).await
    }

    /// Hands any submission to the log and waits until it is durable.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, SubmitFailure> {
        self.door.submit(submission).await
    }

    /// Watches a run that was admitted. What ended before the call is not missed.
    pub fn watch(&self, run: RunId) -> Result<RunWatch, SubmitFailure> {
        let Door {
            hub,
            log,
            computation,
            ..
        } = &*self.door;
        hub.watch(run, log, computation.clone())
            .ok_or_else(|| self.door.busy("the run watches"))
    }

    /// What the cache of results holds and did.
    #[must_use]
    pub fn results(&self) -> ResultCacheStats {
        self.door.results.stats()
    }

    /// Begins to remove the results that are meant, `per_second` of them a second, and keeps none
    /// that is being computed. `None` when too many invalidations are under way.
    #[must_use]
    pub fn invalidate_results(&self, selector: Selector, per_second: u32) -> Option<Invalidated> {
        self.door.results.invalidate(selector, per_second)
    }

    /// Begins to read up to `runs_max` recorded results back into memory, those first that were
    /// asked for most often. `None` when too much is to be done.
    #[must_use]
    pub fn warm_results(&self, runs_max: u64) -> Option<WarmStats> {
        self.door.results.warm(runs_max)
    }

    /// Gives the cache of results other bounds, until the process ends.
    pub fn resize_results(&self, resize: Resize) {
        self.door.results.resize(resize);
    }

    /// Why the newest `events_max` events hold requests that were not answered from the cache.
    /// It reads files.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn cacheable_report(&self, events_max: u64) -> Result<CacheableReport, LogError> {
        let results = self.results();
        report::of(&self.door.log, &self.door.environment, &results, events_max)
    }

    /// Whether a request would be answered from the cache, and under which key.
    ///
    /// # Errors
    /// The request makes no sense.
    pub fn cacheable(
        &self,
        operation: &Operation,
        subject: bool,
    ) -> Result<CacheableRequest, LabError> {
        let Door {
            results,
            environment,
            ..
        } = &*self.door;
        report::one(operation, subject, environment.seal_key, Some(results))
    }

    /// A request was turned away because it made no sense.
    pub fn count_malformed(&self) {
        self.door.edge.count_malformed();
    }

    /// A request was turned away because nobody knows who sent it.
    pub fn count_unauthenticated(&self) {
        self.door.edge.count_unauthenticated();
    }

    /// A request was turned away because there was too much to do.
    pub fn count_overloaded(&self) {
        self.door.edge.count_overloaded();
    }

    /// The log behind the actor, to read from.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.door.log
    }
}

impl Identity {
    /// A command in this identity's name.
    #[must_use]
    pub fn command(self, event: Event) -> hindcast_model::Command {
        hindcast_model::Command {
            event_id: self.event_id,
            causation: self.event_id,
            correlation: self.correlation,
            principal: self.principal,
            tenant: self.subject.unwrap_or_else(|| Name16::new(NOBODY)),
            key: KeyId(0),
            expect: None,
            event,
        }
    }
}

impl Door {
    /// The data key that this identity's payloads are sealed under.
    async fn key_for(&self, identity: &Identity) -> Result<KeyId, SubmitFailure> {
        let failed = |error: hindcast_log::VaultError| {
            SubmitFailure::Unavailable(format!("the data key could not be made: {error}"))
        };
        let known = match identity.subject {
            None => true,
            Some(subject) => self.environment.vault.find(&subject.to_string()).is_some(),
        };
        let subject = identity.subject;
        if known {
            return self.environment.key_for(subject).map_err(failed);
        }
        let environment = self.environment.clone();
        dataset::blocking(self, move || environment.key_for(subject).map_err(failed)).await
    }

    async fn submit(&self, submission: Submission) -> Result<Receipt, SubmitFailure> {
        let (answer, answered) = oneshot::channel();
        let entry = Entry { submission, answer };
        self.slot
            .send(Request::Submit(Box::new(entry)))
            .map_err(|rejected| match rejected {
                Rejected::Full => self.busy("the experiment actor's mailbox"),
                Rejected::Restarting => SubmitFailure::Unavailable(
                    "the experiment actor is being rebuilt; nothing was recorded".to_owned(),
                ),
            })?;
        match tokio::time::timeout(self.options.reply_wait_max, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SubmitFailure::Unavailable(
                "the experiment actor was rebuilt before it answered".to_owned(),
            )),
            Err(_) => Err(SubmitFailure::Unavailable(
                "the log did not answer in time; it may be recorded yet".to_owned(),
            )),
        }
    }

    /// Long runs leave room for others among all that are in flight.
    fn check_lane(&self, operation: &str) -> Result<(), SubmitFailure> {
        let waiting = self.computation.heavy_queued();
        match Lane::of(operation) {
            Lane::Heavy if waiting >= self.options.heavy_runs_max => {
                Err(self.busy("the queue of long runs"))
            }
            Lane::Cheap | Lane::Heavy => Ok(()),
        }
    }

    /// While disk space is low, what is left of it is not spent on records of refusals.
    fn check_disk(&self) -> Result<(), SubmitFailure> {
        let Some(refusal) = self.log.state(State::refuse_for_disk) else {
            return Ok(());
        };
        self.edge.count_overloaded();
        Err(SubmitFailure::Refused(refusal))
    }

    fn busy(&self, what: &'static str) -> SubmitFailure {
        self.edge.count_overloaded();
        SubmitFailure::Busy {
            retry_after: self.options.retry_after,
            what,
        }
    }
}
