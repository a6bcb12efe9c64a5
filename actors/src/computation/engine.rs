//! Where runs are computed: the threads, the table of jobs, and the way of an outcome into the
//! log. It outlives the incarnations of the actor, which only tells it what became durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use hindcast_causal::LabError;
use hindcast_log::{CommitError, Log, Pinned, Receipt, SubmitError};
use hindcast_model::event::{Event, Outcome, OutcomeObserved};
use hindcast_model::state::OpenRun;
use hindcast_model::{Command, Digest, KeyId, Name16, RunId};
use tokio::sync::Notify;

use super::cache::DatasetCache;
use super::jobs::{CHEAP_RUNNING_MAX, Finished, Job, Jobs, Taken};
use super::outcome::{
    Ending, asked_by, closed, completed, failed, internal, panicked, reused, unreadable, withheld,
};
use super::{Computation, ComputationOptions, Request};
use crate::Environment;
use crate::component::{Slot, panic_text};
use crate::lock::lock;
use crate::operation::{Computed, Lane, Operation, SPEC_SCHEMA, digest};
use crate::results::{Kept, Lead, ResultCache, ResultKey, Start, Tags};
use crate::trace::{self, Open};

/// First wait of an outcome that the log had no room for; it doubles up to `BACKOFF_MICROS_MAX`.
const BACKOFF_MICROS: u64 = 10_000;
const BACKOFF_MICROS_MAX: u64 = 2_000_000;

pub(crate) struct Engine {
    log: Log,
    environment: Environment,
    /// For what takes long.
    pool: rayon::ThreadPool,
    /// For what takes microseconds, whatever the others are at.
    cheap_pool: rayon::ThreadPool,
    pub(crate) cache: DatasetCache,
    pub(crate) jobs: Mutex<Jobs>,
    /// Something was recorded or has ended.
    pub(crate) moved: Notify,
    slot: Arc<Slot<Computation>>,
    results: Arc<ResultCache>,
}

/// How much less of a processor the threads of long runs get than those that answer requests.
const NICENESS: i32 = 5;

fn threads(name: &'static str, count: usize) -> std::io::Result<rayon::ThreadPool> {
    let builder = rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(move |index| format!("{name}-{index}"))
        .start_handler(move |_| {
            // On Linux this is the priority of the calling thread alone.
            if name == "compute"
                && let Err(error) = rustix::process::setpriority_process(None, NICENESS)
            {
                tracing::debug!(%error, "long runs compete with requests for the processors");
            }
        })
        // Labs are caught before this; without a handler rayon would end the process.
        .panic_handler(|panic| {
            let reason = panic_text(&*panic);
            tracing::error!(reason, "a computing thread panicked outside of a lab");
        });
    builder.build().map_err(std::io::Error::other)
}

/// The failure's code.
fn code_of(outcome: &Outcome) -> String {
    if let Outcome::Failed { code, .. } = outcome {
        code.clone()
    } else {
        String::new()
    }
}

/// Microseconds that a run waited and was computed.
#[derive(Clone, Copy, Default)]
struct Timing {
    queued: u64,
    computed: u64,
}

impl Engine {
    pub(crate) fn new(
        log: Log,
        environment: Environment,
        (slot, results): (Arc<Slot<Computation>>, Arc<ResultCache>),
        options: &ComputationOptions,
    ) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            log,
            environment,
            pool: threads("compute", options.threads.max(1))?,
            cheap_pool: threads("cheap", CHEAP_RUNNING_MAX)?,
            cache: DatasetCache::new(options.cache_bytes_max),
            jobs: Mutex::new(Jobs::new(options.queue_max, options.running_max)),
            moved: Notify::new(),
            slot,
            results,
        }))
    }

    /// Takes in runs that became durable.
    pub(crate) fn admit(self: &Arc<Self>, runs: &[RunId]) {
        for run in runs {
            let open = self.open(*run);
            if let Some(open) = open.filter(|(open, _)| open.spec.is_some()) {
                self.insert(*run, open);
            }
        }
        self.pump();
    }

    /// Takes in every pending run that is not known here, as far as there is room.
    pub(crate) fn rescan(self: &Arc<Self>) {
        lock(&self.jobs).behind = false;
        if self.log.read_only().is_some() {
            // No outcome could be recorded.
            return;
        }
        let missing: Vec<RunId> = self.log.state(|state| {
            let jobs = lock(&self.jobs);
            let pending = state.pending().map(|(run, _)| run);
            pending.filter(|run| !jobs.contains(*run)).collect()
        });
        for run in missing {
            if let Some(open) = self.open(run)
                && self.insert(run, open) == Taken::NoRoom
                && !self.has_room()
            {
                break;
            }
        }
        self.pump();
    }

    /// Whether there is room in some lane.
    fn has_room(&self) -> bool {
        let jobs = lock(&self.jobs);
        jobs.has_room(Lane::Cheap) || jobs.has_room(Lane::Heavy)
    }

    /// An open run, and what is computed in place of what it asked for.
    fn open(&self, run: RunId) -> Option<(OpenRun, Option<String>)> {
        self.log.state(|state| {
            let open = state.run(run)?.clone();
            let diversion = state.breakers().diversion(run);
            Some((open, diversion.map(|diversion| diversion.to.clone())))
        })
    }

    fn insert(&self, run: RunId, open: (OpenRun, Option<String>)) -> Taken {
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
        // One that was left in the log takes its place in the trace no more.
        drop(trace::take(run));
        lock(&self.jobs).stop(run);
    }

    /// Gives every free thread its next run.
    fn pump(self: &Arc<Self>) {
        loop {
            let Some((job, threads)) = lock(&self.jobs).begin() else {
                return;
            };
            let engine = Arc::clone(self);
            let pool = match threads {
                Lane::Cheap => &self.cheap_pool,
                Lane::Heavy => &self.pool,
            };
            pool.spawn(move || {
                trace::as_actor(super::NAME, || {
                    trace::within(job.place.as_ref(), || engine.compute(&job));
                });
            });
        }
    }

    fn compute(self: &Arc<Self>, job: &Job) {
        let prepared = catch_unwind(AssertUnwindSafe(|| self.prepare(job)));
        let operation = match prepared {
            Ok(Ok(operation)) => operation,
            Ok(Err(ending)) => return self.finish(job, Timing::default(), (ending, None)),
            Err(panic) => {
                let ending = Ending::Failed(panicked(&panic_text(&*panic)));
                return self.finish(job, Timing::default(), (ending, None));
            }
        };
        let key = match Self::key(job, &operation) {
            Ok(key) => key,
            Err(ending) => return self.finish(job, Timing::default(), (ending, None)),
        };
        let asked_key = job.open.requested.key;
        let shelved = asked_key == KeyId(0) || asked_key == self.environment.seal_key;
        let tags = Tags::of(&operation, job.open.experiment, shelved);
        match self.results.begin(key, &tags) {
            Start::Known(kept) => self.finish(job, self.timing(job), (kept.into(), None)),
            Start::Lead(lead) => {
                // What came by itself was looked for before it was recorded.
                let looked_for = job.open.experiment.is_none() && job.instead.is_none();
                if let Some(kept) = (!looked_for).then(|| lead.read_back()).flatten() {
                    drop(lead);
                    return self.finish(job, self.timing(job), (kept.into(), None));
                }
                job.control.start();
                let mut timing = self.timing(job);
                let started = self.environment.clock.monotonic();
                let mut span = job.place.as_ref().map(|place| place.child("computation"));
                let place = span.as_ref().map(Open::place);
                let ending = trace::within(place, || self.ending(job, &operation));
                timing.computed = self.environment.clock.monotonic().saturating_sub(started);
                if let Some(span) = &mut span {
                    span.set("operation", operation.name());
                    span.set("run_id", job.run.to_string());
                    span.set("queued_micros", timing.queued);
                    if let Ending::Failed(outcome) = &ending {
                        span.fail(code_of(outcome));
                    }
                }
                drop(span);
                self.finish(job, timing, (ending, Some(lead)));
            }
            Start::Busy => self.park(job.run, key),
        }
    }

    /// Leaves the thread to others until the equal run has ended.
    fn park(self: &Arc<Self>, run: RunId, key: ResultKey) {
        lock(&self.jobs).park(run);
        let engine = Arc::clone(self);
        let wake = move || {
            lock(&engine.jobs).unpark(run);
            engine.pump();
        };
        // It may have ended in between.
        if !self.results.wait(key, wake) {
            lock(&self.jobs).unpark(run);
        }
        self.pump();
    }

    fn timing(&self, job: &Job) -> Timing {
        let queued = self.environment.clock.wall().since(job.open.requested.at);
        Timing {
            queued,
            computed: 0,
        }
    }

    /// Brings how a run ended on its way into the log.
    fn finish(self: &Arc<Self>, job: &Job, timing: Timing, (ending, lead): (Ending, Option<Lead>)) {
        let finished = if job.control.is_stopped() {
            // The run has ended without this result, or the server is closing.
            None
        } else {
            Some(self.finished(job, timing, (ending, lead)))
        };
        lock(&self.jobs).end(job.run, finished);
        self.offer(job.run);
        self.moved();
        self.pump();
    }

    fn finished(
        &self,
        job: &Job,
        timing: Timing,
        (ending, lead): (Ending, Option<Lead>),
    ) -> Finished {
        let asked_key = job.open.requested.key;
        let (outcome, key, pinned) = match &ending {
            Ending::Computed(computed) => self.completed(asked_key, computed),
            Ending::Reused { original, computed } => (reused(*original, computed), KeyId(0), None),
            Ending::Failed(outcome) => (withheld(outcome.clone(), asked_key), KeyId(0), None),
        };
        if let Outcome::Failed { code, message, .. } = &outcome {
            let (seq, trace_id) = asked_by(&job.open);
            tracing::info!(run = %job.run, seq, trace_id, code, message, "run failed");
        }
        let kept = match (&outcome, ending) {
            (Outcome::Completed { .. }, Ending::Computed(computed)) => Some(Kept {
                original: job.run,
                computed,
            }),
            (_, _) => None,
        };
        Finished {
            command: self.observed(job, (outcome, key), timing),
            pinned,
            attempts: 0,
            due: Some(self.environment.clock.monotonic()),
            replaced: false,
            lead: lead.zip(kept),
        }
    }

    /// Reads what is to be computed.
    fn prepare(&self, job: &Job) -> Result<Operation, Ending> {
        let open = &job.open;
        let broken = |message: String| Ending::Failed(internal(message));
        let Some(spec) = &open.spec else {
            return Err(broken("the run has no spec to compute".to_owned()));
        };
        if open.schema != SPEC_SCHEMA {
            let schema = open.schema;
            return Err(broken(format!(
                "spec schema {schema} is not known to this version"
            )));
        }
        let key = open.requested.key;
        let text = self.environment.vault.text(self.log.blobs(), key, spec);
        let text = text.map_err(|error| Ending::Failed(unreadable(&error)))?;
        let body = serde_json::from_str(&text)
            .map_err(|error| broken(format!("the spec is no JSON: {error}")))?;
        let asked = Operation::parse(&open.operation, body);
        let asked = asked.map_err(|error| Ending::Failed(failed(&error)))?;
        match &job.instead {
            None => Ok(asked),
            Some(to) => asked.instead(to).ok_or_else(|| {
                broken(format!(
                    "{to} cannot be computed in place of {}",
                    asked.name()
                ))
            }),
        }
    }

    /// What the result is kept under. What is computed in place of something else is kept as what
    /// it is, and never as what was asked for.
    fn key(job: &Job, operation: &Operation) -> Result<ResultKey, Ending> {
        let spec = match &job.instead {
            None => job.open.spec_hash,
            Some(_) => {
                let spec = operation.spec();
                let spec = spec.map_err(|error| Ending::Failed(failed(&error)))?;
                digest(spec.as_bytes())
            }
        };
        Ok(operation.key(spec, job.open.seed, job.open.requested.key))
    }

    fn ending(&self, job: &Job, operation: &Operation) -> Ending {
        let vault = &self.environment.vault;
        if let Some(error) = vault.closes_any(self.log.blobs(), &job.open.datasets) {
            return Ending::Failed(closed(&error));
        }
        match catch_unwind(AssertUnwindSafe(|| self.execute(job, operation))) {
            Ok(Ok(computed)) => Ending::Computed(Arc::new(computed)),
            Ok(Err(error)) => Ending::Failed(failed(&error)),
            Err(panic) => Ending::Failed(panicked(&panic_text(&*panic))),
        }
    }

    fn execute(&self, job: &Job, operation: &Operation) -> Result<Computed, LabError> {
        let files = (self.log.blobs(), &*self.environment.vault);
        let read = |digest: &Digest| self.cache.get(files, *digest);
        let dataset = job.open.datasets.first().map(read).transpose()?;
        operation.execute(dataset.as_deref(), job.open.seed, &job.control)
    }

    /// The outcome, and the key that its record names.
    fn completed(
        &self,
        asked_key: KeyId,
        computed: &Computed,
    ) -> (Outcome, KeyId, Option<Arc<Pinned>>) {
        // The result of a sealed request is sealed, whatever the setting has become.
        let key = match asked_key {
            KeyId(0) => self.environment.seal_key,
            asked => asked,
        };
        let Environment { vault, .. } = &self.environment;
        let seal = self.environment.seal(key);
        match vault.keep(self.log.blobs(), seal, computed.json.to_string()) {
            Ok((result, pinned)) => (completed(result, computed), key, pinned.map(Arc::new)),
            Err(error) => {
                let outcome = internal(format!("the result could not be stored: {error}"));
                (outcome, KeyId(0), None)
            }
        }
    }

    fn observed(&self, job: &Job, (outcome, key): (Outcome, KeyId), timing: Timing) -> Command {
        let requested = &job.open.requested;
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
                queued_micros: timing.queued,
                computed_micros: timing.computed,
            }),
        }
    }

    /// Offers an outcome to the log. What the log has no room for is offered again by `tick`.
    fn offer(self: &Arc<Self>, run: RunId) {
        let Some(command) = lock(&self.jobs).offer(run) else {
            return;
        };
        let engine = Arc::clone(self);
        let place = lock(&self.jobs).place(run);
        let mut span = place.map(|place| place.child("log.commit"));
        let reply = Box::new(move |result: Result<Receipt, CommitError>| {
            if let (Some(span), Err(error)) = (&mut span, &result) {
                span.fail(error.to_string());
            }
            drop(span);
            engine.recorded(run, result);
        });
        match self.log.submit(command.into(), reply) {
            Ok(()) => {}
            Err(SubmitError::Full { .. }) => self.offer_later(run),
            Err(SubmitError::Closed) => self.recorded(run, Err(CommitError::Closed)),
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
            Ok(_) => {
                let lead = lock(&self.jobs).take_lead(run);
                lock(&self.jobs).remove(run);
                if let Some((lead, kept)) = lead {
                    lead.finish(kept);
                }
            }
            Err(CommitError::Closed) => {
                let lead = lock(&self.jobs).take_lead(run);
                lock(&self.jobs).remove(run);
                drop(lead);
            }
            Err(CommitError::ReadOnly(_) | CommitError::NoRoom(_)) => self.offer_later(run),
            Err(
                error @ (CommitError::Panicked(_)
                | CommitError::TooLarge { .. }
                | CommitError::VersionConflict { .. }),
            ) => {
                let asked = self.log.state(|state| state.run(run).map(asked_by));
                let (seq, trace_id) = asked.unzip();
                let actor = super::NAME;
                tracing::error!(%run, seq, trace_id, actor, %error, "the outcome could not be recorded");
                let now = self.environment.clock.monotonic();
                let instead = internal(format!("the outcome could not be recorded: {error}"));
                drop(lock(&self.jobs).take_lead(run));
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
        let behind = lock(&self.jobs).behind;
        if behind && self.has_room() {
            self.rescan();
        }
    }
}
