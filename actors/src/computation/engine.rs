//! Where runs are computed: the threads, the table of jobs, and the way of an outcome into the
//! log. It outlives the incarnations of the actor, which only tells it what became durable.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use hindcast_causal::LabError;
use hindcast_log::{CommitError, Log, Pinned, Receipt, SubmitError};
use hindcast_model::event::{Event, Outcome, OutcomeObserved};
use hindcast_model::state::OpenRun;
use hindcast_model::{Command, KeyId, Name16, RunId};
use tokio::sync::Notify;

use super::cache::DatasetCache;
use super::jobs::{Finished, Job, Jobs, Taken};
use super::outcome::{Ending, failed, internal, panicked, unreadable, withheld};
use super::{Computation, ComputationOptions, Request};
use crate::Environment;
use crate::component::{Slot, panic_text};
use crate::lock::lock;
use crate::operation::{Computed, Operation, SPEC_SCHEMA};

/// First wait of an outcome that the log had no room for; it doubles up to `BACKOFF_MICROS_MAX`.
const BACKOFF_MICROS: u64 = 10_000;
const BACKOFF_MICROS_MAX: u64 = 2_000_000;

pub(crate) struct Engine {
    log: Log,
    environment: Environment,
    pool: rayon::ThreadPool,
    pub(crate) cache: DatasetCache,
    pub(crate) jobs: Mutex<Jobs>,
    /// Something was recorded or has ended.
    pub(crate) moved: Notify,
    slot: Arc<Slot<Computation>>,
}

impl Engine {
    pub(crate) fn new(
        log: Log,
        environment: Environment,
        slot: Arc<Slot<Computation>>,
        options: &ComputationOptions,
    ) -> std::io::Result<Arc<Self>> {
        let threads = options.threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("compute-{index}"))
            // Labs are caught before this; without a handler rayon would end the process.
            .panic_handler(|panic| {
                let reason = panic_text(&*panic);
                tracing::error!(reason, "a computing thread panicked outside of a lab");
            })
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Arc::new(Self {
            log,
            environment,
            pool,
            cache: DatasetCache::new(options.cache_bytes_max),
            jobs: Mutex::new(Jobs::new(options.queue_max, options.running_max)),
            moved: Notify::new(),
            slot,
        }))
    }

    /// Takes in runs that became durable.
    pub(crate) fn admit(self: &Arc<Self>, runs: &[RunId]) {
        for run in runs {
            let open = self.log.state(|state| state.run(*run).cloned());
            if let Some(open) = open.filter(|open| open.spec.is_some()) {
                self.insert(*run, open);
            }
        }
        self.pump();
    }

    /// Takes in every pending run that is not known here, as far as there is room.
    pub(crate) fn rescan(self: &Arc<Self>) {
        lock(&self.jobs).behind = false;
        let missing: Vec<RunId> = self.log.state(|state| {
            let jobs = lock(&self.jobs);
            let pending = state.pending().map(|(run, _)| run);
            pending.filter(|run| !jobs.contains(*run)).collect()
        });
        for run in missing {
            let open = self.log.state(|state| state.run(run).cloned());
            if let Some(open) = open
                && self.insert(run, open) == Taken::NoRoom
            {
                break;
            }
        }
        self.pump();
    }

    fn insert(&self, run: RunId, open: OpenRun) -> Taken {
        let job = Job::new(run, open, Arc::clone(&self.environment.clock));
        let taken = lock(&self.jobs).insert(job);
        // It may have ended between the look at the state and the entry into the table.
        if taken == Taken::Queued && self.log.state(|state| state.run(run).is_none()) {
            self.stop(run);
        }
        taken
    }

    /// The run has ended in the log.
    pub(crate) fn stop(&self, run: RunId) {
        lock(&self.jobs).stop(run);
    }

    /// Gives every free thread its next run.
    fn pump(self: &Arc<Self>) {
        loop {
            let Some(job) = lock(&self.jobs).begin() else {
                return;
            };
            let engine = Arc::clone(self);
            self.pool.spawn(move || engine.compute(&job));
        }
    }

    fn compute(self: &Arc<Self>, job: &Job) {
        let clock = &*self.environment.clock;
        job.control.start();
        let started_at = clock.wall();
        let started = clock.monotonic();
        let result = catch_unwind(AssertUnwindSafe(|| self.ending(job)));
        let computed_micros = clock.monotonic().saturating_sub(started);
        let queued_micros = started_at.since(job.open.requested.at);
        let finished = if job.control.is_stopped() {
            // The run has ended without this result, or the server is closing.
            None
        } else {
            let asked_key = job.open.requested.key;
            let (outcome, key, pinned) = match result {
                Ok(Ending::Computed(computed)) => self.completed(asked_key, computed),
                Ok(Ending::Failed(outcome)) => (outcome, KeyId(0), None),
                Err(panic) => {
                    let outcome = panicked(&panic_text(&*panic));
                    (withheld(outcome, asked_key), KeyId(0), None)
                }
            };
            if let Outcome::Failed { code, message, .. } = &outcome {
                tracing::info!(run = %job.run, code, message, "run failed");
            }
            let micros = (queued_micros, computed_micros);
            let command = self.observed(job, (outcome, key), micros);
            let due = Some(clock.monotonic());
            Some(Finished {
                command,
                pinned,
                attempts: 0,
                due,
                replaced: false,
            })
        };
        lock(&self.jobs).end(job.run, finished);
        self.offer(job.run);
        self.moved();
        self.pump();
    }

    fn ending(&self, job: &Job) -> Ending {
        let Some(spec) = &job.open.spec else {
            return Ending::Failed(internal("the run has no spec to compute".to_owned()));
        };
        let key = job.open.requested.key;
        let text = self.environment.vault.text(self.log.blobs(), key, spec);
        match text {
            Err(error) => Ending::Failed(unreadable(&error)),
            Ok(text) => match self.execute(job, text) {
                Ok(computed) => Ending::Computed(computed),
                Err(error) => Ending::Failed(withheld(failed(&error), key)),
            },
        }
    }

    fn execute(&self, job: &Job, text: Cow<'_, str>) -> Result<Computed, LabError> {
        let OpenRun {
            operation,
            schema,
            seed,
            datasets,
            ..
        } = &job.open;
        if *schema != SPEC_SCHEMA {
            let message = format!("spec schema {schema} is not known to this version");
            return Err(LabError::Internal(message));
        }
        let body = serde_json::from_str(&text)
            .map_err(|error| LabError::Internal(format!("the spec is no JSON: {error}")))?;
        drop(text);
        let operation = Operation::parse(operation, body)?;
        let dataset = match datasets.first() {
            Some(digest) => Some(self.cache.get(&self.log, *digest)?),
            None => None,
        };
        operation.execute(dataset.as_deref(), *seed, &job.control)
    }

    /// The outcome, and the key that its record names.
    fn completed(
        &self,
        asked_key: KeyId,
        computed: Computed,
    ) -> (Outcome, KeyId, Option<Arc<Pinned>>) {
        let Computed {
            json,
            hash,
            schema,
            algorithm_version,
        } = computed;
        // The result of a sealed request is sealed, whatever the setting has become.
        let key = match asked_key {
            KeyId(0) => self.environment.seal_key,
            asked => asked,
        };
        let Environment { vault, .. } = &self.environment;
        match vault.keep(self.log.blobs(), self.environment.seal(key), json) {
            Ok((result, pinned)) => {
                let outcome = Outcome::Completed {
                    result,
                    result_hash: hash,
                    schema,
                    algorithm_version,
                };
                (outcome, key, pinned.map(Arc::new))
            }
            Err(error) => {
                let outcome = internal(format!("the result could not be stored: {error}"));
                (outcome, KeyId(0), None)
            }
        }
    }

    fn observed(&self, job: &Job, (outcome, key): (Outcome, KeyId), micros: (u64, u64)) -> Command {
        let requested = &job.open.requested;
        let (queued_micros, computed_micros) = micros;
        Command {
            event_id: (self.environment.event_id)(),
            causation: requested.event_id,
            correlation: requested.correlation,
            principal: Name16::new("computation"),
            tenant: requested.tenant,
            key,
            expect: None,
            event: Event::OutcomeObserved(OutcomeObserved {
                run: job.run,
                outcome,
                numeric_profile: self.environment.numeric_profile.to_string(),
                queued_micros,
                computed_micros,
            }),
        }
    }

    /// Offers an outcome to the log. What the log has no room for is offered again by `tick`.
    fn offer(self: &Arc<Self>, run: RunId) {
        let Some(command) = lock(&self.jobs).offer(run) else {
            return;
        };
        let engine = Arc::clone(self);
        let reply = Box::new(move |result: Result<Receipt, CommitError>| {
            engine.recorded(run, result);
        });
        match self.log.submit(command.into(), reply) {
            Ok(()) => {}
            Err(SubmitError::Full { .. }) => self.offer_later(run),
            Err(SubmitError::Closed) => lock(&self.jobs).remove(run),
        }
    }

    fn offer_later(&self, run: RunId) {
        let now = self.environment.clock.monotonic();
        lock(&self.jobs).offer_again(run, now, |attempts| {
            (BACKOFF_MICROS << attempts.min(10)).min(BACKOFF_MICROS_MAX)
        });
    }

    fn recorded(&self, run: RunId, result: Result<Receipt, CommitError>) {
        match result {
            Ok(_) | Err(CommitError::Closed) => lock(&self.jobs).remove(run),
            Err(CommitError::ReadOnly(_) | CommitError::NoRoom(_)) => self.offer_later(run),
            Err(
                error @ (CommitError::Panicked(_)
                | CommitError::TooLarge { .. }
                | CommitError::VersionConflict { .. }),
            ) => {
                tracing::error!(%run, %error, "the outcome could not be recorded");
                let now = self.environment.clock.monotonic();
                let instead = internal(format!("the outcome could not be recorded: {error}"));
                let mut jobs = lock(&self.jobs);
                if !jobs.replace(run, now, instead) {
                    jobs.remove(run);
                }
            }
        }
        self.moved();
    }

    /// There may be room for a run that was left in the log.
    fn moved(&self) {
        self.moved.notify_waiters();
        let behind = lock(&self.jobs).behind;
        if behind && self.slot.send(Request::Rescan).is_err() {
            tracing::debug!("the computation actor looks for runs at its next tick");
        }
    }

    /// Offers what is due again, and looks for runs that were left in the log.
    pub(crate) fn tick(self: &Arc<Self>) {
        let due = lock(&self.jobs).due(self.environment.clock.monotonic());
        for run in due {
            self.offer(run);
        }
        let (behind, room) = {
            let jobs = lock(&self.jobs);
            (jobs.behind, jobs.has_room())
        };
        if behind && room {
            self.rescan();
        }
    }
}
