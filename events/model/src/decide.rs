//! Decisions: the state and one observed event give the decided events. Total: every observed
//! event gets an answer, if only that nothing follows.

use crate::breaker::{
    Breakers, CALLER_DEADLINE, DEADLINE_EXCEEDED, DEADLINE_UNSERVED, Ended, Route, whose,
};
use crate::event::{
    BreakerChanged, CancelRequested, DatasetRefused, DatasetRegistered, DatasetUploaded,
    DiskSampled, Event, ExperimentAdmitted, ExperimentCompleted, ExperimentRefused,
    ExperimentRequested, Idempotency, IntakePaused, IntakeResumed, Outcome, OutcomeObserved,
    RunAdmitted, RunCancelled, RunCompleted, RunDeduplicated, RunFailed, RunRefused, RunRequested,
    Tally,
};
use crate::ids::{ExperimentId, RunId, UnixMicros};
use crate::limits::{
    BREAKER_TIMERS_MAX, DATASETS_MAX, EXPERIMENT_RUNS_MAX, EXPERIMENTS_OPEN_MAX, TIMERS_MAX,
};
use crate::refusal::Refusal;
use crate::state::{Context, Count, State, Subject};

/// What an idempotency key says about a request.
enum Repeat {
    No,
    Same(Subject),
    OtherBody,
}

fn changed_breaker(event: &Event) -> Option<String> {
    if let Event::BreakerChanged(changed) = event {
        return Some(changed.name.clone());
    }
    None
}

impl State {
    /// The events that follow from `observed`, in order. Changes nothing.
    #[must_use]
    pub fn decide(&self, context: &Context, observed: &Event) -> Vec<Event> {
        match observed {
            Event::RunRequested(request) => self.decide_run(context, request),
            Event::OutcomeObserved(outcome) => self.decide_outcome(context, outcome),
            Event::CancelRequested(request) => self.decide_cancel(context, request),
            Event::DatasetUploaded(upload) => self.decide_dataset(context, upload),
            Event::ExperimentRequested(request) => self.decide_experiment(context, request),
            Event::TimeReached(_) => {
                let mut events = self.decide_deadlines(context);
                let changed: Vec<String> = events.iter().filter_map(changed_breaker).collect();
                let due = self.breakers.elapsed(context.at, BREAKER_TIMERS_MAX);
                // What has just changed is looked at again by the next timer.
                let due = due.into_iter().filter(|due| !changed.contains(&due.name));
                events.extend(due.map(Event::BreakerChanged));
                events
            }
            Event::DiskSampled(sample) => self.decide_disk(sample),
            Event::BackupEnded(ended) => {
                let changed = self.breakers.after_backup(context.at, ended);
                changed.into_iter().map(Event::BreakerChanged).collect()
            }
            Event::DependencyCalled(called) => {
                let changed = self.breakers.after_dependency(context.at, called);
                changed.into_iter().map(Event::BreakerChanged).collect()
            }
            Event::BreakerCommanded(wish) => {
                let changed = self.breakers.after_wish(context.at, wish);
                changed.into_iter().map(Event::BreakerChanged).collect()
            }
            Event::MetricsSampled(batch) => self.slos.after(context.at, batch),
            Event::ServerStarted(_)
            | Event::ServerStopped(_)
            | Event::ConfigurationLoaded(_)
            | Event::ObjectivesConfigured(_)
            | Event::ClockStepped(_)
            | Event::ActorRestarted(_)
            | Event::StoreRebuilt(_)
            | Event::TornTailCut(_)
            | Event::RequestsShed(_)
            | Event::WhatIfAsked(_)
            | Event::Restored(_)
            | Event::BackupRequested(_)
            | Event::DrillEnded(_)
            | Event::AnswerKept(_)
            | Event::DamageFound(_)
            | Event::DamageGone(_)
            | Event::SubjectRedacted(_)
            | Event::SegmentsPruned(_)
            | Event::Audited(_)
            | Event::CacheCommanded(_)
            | Event::CapacityMeasured(_)
            | Event::RunAdmitted(_)
            | Event::RunRefused(_)
            | Event::RunDeduplicated(_)
            | Event::RunCompleted(_)
            | Event::RunFailed(_)
            | Event::RunCancelled(_)
            | Event::DatasetRegistered(_)
            | Event::DatasetRefused(_)
            | Event::ExperimentAdmitted(_)
            | Event::ExperimentRefused(_)
            | Event::ExperimentCompleted(_)
            | Event::IntakePaused(_)
            | Event::IntakeResumed(_)
            | Event::BreakerChanged(_)
            | Event::FallbackTaken(_)
            | Event::SloBudgetChanged(_)
            | Event::SloBurnChanged(_) => Vec::new(),
        }
    }

    fn decide_run(&self, context: &Context, request: &RunRequested) -> Vec<Event> {
        let run = request.run;
        let refused = |refusal| Event::RunRefused(RunRefused { run, refusal });
        let (event, count): (Event, Count) = match self.repeat(context, request.idempotency) {
            Repeat::Same(Subject::Run(original)) => {
                let event = Event::RunDeduplicated(RunDeduplicated { run, original });
                (event, |tally| tally.deduplicated += 1)
            }
            Repeat::Same(_) | Repeat::OtherBody => {
                let event = refused(Refusal::IdempotencyKeyReused);
                (event, |tally| tally.refused += 1)
            }
            Repeat::No => match self.route_run(context, request) {
                Route::Straight => return vec![Event::RunAdmitted(RunAdmitted { run })],
                Route::Instead(taken) => {
                    let taken = Event::FallbackTaken(taken);
                    return vec![Event::RunAdmitted(RunAdmitted { run }), taken];
                }
                Route::No(refusal) => (refused(refusal), |tally| tally.refused += 1),
            },
        };
        let mut events = vec![event];
        // A request for a run that is open has no share in the experiment: the open run has it.
        if let Some(experiment) = self.membership(request)
            && !self.runs.contains_key(&run)
        {
            events.extend(self.completed_experiment(experiment, count));
        }
        events
    }

    /// The open experiment that the requested run is a part of.
    pub(crate) fn membership(&self, request: &RunRequested) -> Option<ExperimentId> {
        let lists_it = |id: &ExperimentId| {
            let open = self.experiments.get(id);
            open.is_some_and(|open| open.runs.contains(&request.run))
        };
        request.experiment.filter(lists_it)
    }

    /// Breakers are asked last: what is refused for another reason is none of their calls.
    fn route_run(&self, context: &Context, request: &RunRequested) -> Route {
        if let Some(refusal) = self.refuse_run(request) {
            return Route::No(refusal);
        }
        let route = |service| self.breakers.route(request.run, context.at, service);
        request.service.as_ref().map_or(Route::Straight, route)
    }

    fn refuse_run(&self, request: &RunRequested) -> Option<Refusal> {
        if self.runs.contains_key(&request.run) {
            return Some(Refusal::RunExists(request.run));
        }
        let limit = self.settings.runs_in_flight_max;
        // An experiment's runs were counted when it was admitted.
        let counted = request.immediate || self.membership(request).is_some();
        if !counted && self.in_flight >= limit {
            return Some(Refusal::QueueFull {
                in_flight: self.in_flight,
                limit,
            });
        }
        let unknown = request
            .datasets
            .iter()
            .find(|digest| !self.datasets.contains_key(digest));
        if let Some(digest) = unknown {
            return Some(Refusal::UnknownDataset(*digest));
        }
        self.refuse_for_disk()
    }

    /// Why work is refused while disk space is low.
    #[must_use]
    pub fn refuse_for_disk(&self) -> Option<Refusal> {
        let reserve_bytes = self.settings.disk_reserve_bytes;
        self.paused.map(|free_bytes| Refusal::DiskLow {
            free_bytes,
            reserve_bytes,
        })
    }

    fn repeat(&self, context: &Context, idempotency: Option<Idempotency>) -> Repeat {
        let Some(Idempotency { key, body }) = idempotency else {
            return Repeat::No;
        };
        // A key may have aged out since the last event was folded: nobody has looked in between.
        let ttl = self.settings.idempotency_ttl_micros;
        let known = self.idempotency.get(&(context.principal, key));
        match known.filter(|known| context.at.since(known.at) < ttl) {
            Some(known) if known.body == body => Repeat::Same(known.subject),
            Some(_) => Repeat::OtherBody,
            None => Repeat::No,
        }
    }

    fn decide_outcome(&self, context: &Context, observed: &OutcomeObserved) -> Vec<Event> {
        let run = observed.run;
        if !self.runs.contains_key(&run) {
            // A late duplicate: the run has ended.
            return Vec::new();
        }
        let callers = self.caller_deadline(run);
        let ended = Ended::of(observed, callers);
        let ended = (&ended, Some(observed.computed_micros));
        let changed = self.breakers.after(run, context.at, ended);
        let mut events = match &observed.outcome {
            Outcome::Completed { result_hash, .. } | Outcome::Reused { result_hash, .. } => {
                let event = Event::RunCompleted(RunCompleted {
                    run,
                    result_hash: *result_hash,
                });
                self.end_run(run, event, |tally| tally.completed += 1)
            }
            Outcome::Failed { code, .. } => {
                let event = Event::RunFailed(RunFailed {
                    run,
                    code: whose(code, callers).to_owned(),
                });
                self.end_run(run, event, |tally| tally.failed += 1)
            }
        };
        events.extend(changed.map(Event::BreakerChanged));
        events
    }

    fn decide_cancel(&self, context: &Context, request: &CancelRequested) -> Vec<Event> {
        let run = request.run;
        if !self.runs.contains_key(&run) {
            return Vec::new();
        }
        let event = Event::RunCancelled(RunCancelled { run });
        let changed = self
            .breakers
            .after(run, context.at, (&Ended::Ignored, None));
        let mut events = self.end_run(run, event, |tally| tally.cancelled += 1);
        events.extend(changed.map(Event::BreakerChanged));
        events
    }

    fn decide_deadlines(&self, context: &Context) -> Vec<Event> {
        let mut events = Vec::new();
        // What one of them does to a breaker counts for the next.
        let mut breakers = None;
        // Several runs of one experiment may expire together: only the last one completes it.
        let mut expired = std::collections::BTreeMap::<ExperimentId, u64>::new();
        let due = self
            .deadlines
            .iter()
            .take_while(|(at, _)| *at <= context.at);
        for (_, run) in due.take(TIMERS_MAX) {
            let code = match self.caller_deadline(*run) {
                true => CALLER_DEADLINE,
                false if self.passed_unserved(*run) => DEADLINE_UNSERVED,
                false => DEADLINE_EXCEEDED,
            };
            let changed = self.expire(&mut breakers, *run, (context.at, code));
            events.push(Event::RunFailed(RunFailed {
                run: *run,
                code: code.to_owned(),
            }));
            events.extend(changed.map(Event::BreakerChanged));
            if let Some(experiment) = self.runs.get(run).and_then(|open| open.experiment) {
                *expired.entry(experiment).or_default() += 1;
            }
        }
        for (id, count) in expired {
            let Some(open) = self.experiments.get(&id) else {
                continue;
            };
            if open.remaining == count {
                let tally = Tally {
                    failed: open.tally.failed + count,
                    ..open.tally
                };
                let completed = ExperimentCompleted {
                    experiment: id,
                    tally,
                };
                events.push(Event::ExperimentCompleted(completed));
            }
        }
        events
    }

    /// Whether the run's time passed after the last server before this one was gone.
    fn passed_unserved(&self, run: RunId) -> bool {
        let started = self.server().started_at;
        let open = self.runs.get(&run);
        open.is_some_and(|open| {
            open.requested.at < started && open.deadline.is_some_and(|deadline| deadline <= started)
        })
    }

    /// What the end of a run without an outcome does to its breaker.
    fn expire(
        &self,
        breakers: &mut Option<Breakers>,
        run: RunId,
        (at, code): (UnixMicros, &str),
    ) -> Option<BreakerChanged> {
        if self.breakers.is_empty() {
            return None;
        }
        let breakers = breakers.get_or_insert_with(|| self.breakers.clone());
        let ended = Ended::failed(code);
        let changed = breakers.after(run, at, (&ended, None));
        breakers.end(run, at, (&ended, None));
        if let Some(changed) = &changed {
            breakers.change(at, changed);
        }
        changed
    }

    /// `event` ends the run, and perhaps its experiment.
    fn end_run(&self, run: RunId, event: Event, count: Count) -> Vec<Event> {
        let mut events = vec![event];
        if let Some(experiment) = self.runs.get(&run).and_then(|open| open.experiment) {
            events.extend(self.completed_experiment(experiment, count));
        }
        events
    }

    fn completed_experiment(&self, experiment: ExperimentId, count: Count) -> Option<Event> {
        let open = self.experiments.get(&experiment)?;
        if open.remaining > 1 {
            return None;
        }
        let mut tally = open.tally;
        count(&mut tally);
        Some(Event::ExperimentCompleted(ExperimentCompleted {
            experiment,
            tally,
        }))
    }

    fn decide_dataset(&self, context: &Context, upload: &DatasetUploaded) -> Vec<Event> {
        let digest = upload.digest;
        let known = self.datasets.contains_key(&digest);
        let refusal = match self.repeat(context, upload.idempotency) {
            Repeat::Same(Subject::Dataset(original)) if original == digest => None,
            Repeat::Same(_) | Repeat::OtherBody => Some(Refusal::IdempotencyKeyReused),
            Repeat::No if known => None,
            Repeat::No if self.datasets.len() >= DATASETS_MAX => Some(Refusal::TooMany {
                what: "datasets".to_owned(),
                count: self.datasets.len() as u64 + 1,
                limit: DATASETS_MAX as u64,
            }),
            Repeat::No => self.refuse_for_disk(),
        };
        vec![match refusal {
            Some(refusal) => Event::DatasetRefused(DatasetRefused { digest, refusal }),
            None => Event::DatasetRegistered(DatasetRegistered { digest, known }),
        }]
    }

    fn decide_experiment(&self, context: &Context, request: &ExperimentRequested) -> Vec<Event> {
        let experiment = request.experiment;
        let repeats = |original| {
            let original = Some(original);
            vec![Event::ExperimentAdmitted(ExperimentAdmitted {
                experiment,
                original,
            })]
        };
        let refusal = match self.repeat(context, request.idempotency) {
            Repeat::Same(Subject::Experiment(original)) => return repeats(original),
            Repeat::Same(_) | Repeat::OtherBody => Some(Refusal::IdempotencyKeyReused),
            // Ids are minted for each request: the same id is the same request once more.
            Repeat::No if self.experiments.contains_key(&experiment) => return repeats(experiment),
            Repeat::No => self.refuse_experiment(request),
        };
        vec![match refusal {
            Some(refusal) => Event::ExperimentRefused(ExperimentRefused {
                experiment,
                refusal,
            }),
            None => Event::ExperimentAdmitted(ExperimentAdmitted {
                experiment,
                original: None,
            }),
        }]
    }

    fn refuse_experiment(&self, request: &ExperimentRequested) -> Option<Refusal> {
        let runs = request.runs.len();
        if runs == 0 || runs > EXPERIMENT_RUNS_MAX {
            let (count, limit) = (runs as u64, EXPERIMENT_RUNS_MAX as u64);
            return Some(Refusal::TooMany {
                what: "runs of an experiment".to_owned(),
                count,
                limit,
            });
        }
        if self.experiments.len() >= EXPERIMENTS_OPEN_MAX {
            let (count, limit) = (
                self.experiments.len() as u64 + 1,
                EXPERIMENTS_OPEN_MAX as u64,
            );
            return Some(Refusal::TooMany {
                what: "open experiments".to_owned(),
                count,
                limit,
            });
        }
        let limit = self.settings.runs_in_flight_max;
        if self.in_flight as usize + runs > limit as usize {
            return Some(Refusal::QueueFull {
                in_flight: self.in_flight,
                limit,
            });
        }
        self.refuse_for_disk()
    }

    fn decide_disk(&self, sample: &DiskSampled) -> Vec<Event> {
        let reserve_bytes = self.settings.disk_reserve_bytes;
        let free_bytes = sample.free_bytes;
        // Work resumes only well above the line, so that the intake does not flap.
        let enough = reserve_bytes.saturating_add(reserve_bytes / 4);
        match self.paused {
            None if free_bytes < reserve_bytes => {
                vec![Event::IntakePaused(IntakePaused {
                    free_bytes,
                    reserve_bytes,
                })]
            }
            Some(_) if free_bytes >= enough => vec![Event::IntakeResumed(IntakeResumed {})],
            None | Some(_) => Vec::new(),
        }
    }
}
