//! Folding: every event changes the state in one way, and none can be refused. An event that
//! does not fit the state (which only a foreign log could hold) changes nothing but the position.

use std::collections::BTreeSet;

use crate::breaker::Ended;
use crate::event::{
    BackupEnded, BackupRequested, ConfigurationLoaded, DamageFound, DatasetUploaded, Event,
    ExperimentRequested, Idempotency, OutcomeObserved, RunFailed, RunRequested, SegmentsPruned,
    ServerStarted, Tally,
};
use crate::ids::{Digest, ExperimentId, RunId, Seq};
use crate::limits::{BACKUP_TARGETS_MAX, BACKUPS_OPEN_MAX, DAMAGED_MAX};
use crate::state::{
    Context, Count, Damage, DatasetMeta, OpenBackup, OpenExperiment, OpenRun, Proposal, Proposed,
    Pruned, State, Subject, Totals, VerifiedBackup,
};
use crate::stream::{Stream, StreamKind};

impl State {
    /// The stream that `event` belongs to, given the state before it. What concerns a run that is
    /// not open goes to `system/unclaimed`, so that the stream of an ended run is complete;
    /// a dataset's stream begins when it is registered, and what came before is `system/datasets`.
    #[must_use]
    pub fn stream_of(&self, event: &Event) -> Stream {
        let open = |run: RunId| match self.runs.contains_key(&run) {
            true => Stream::run(run),
            false => Stream::system("unclaimed"),
        };
        let dataset = |digest: Digest| match self.datasets.contains_key(&digest) {
            true => Stream::dataset(digest),
            false => Stream::system("datasets"),
        };
        match event {
            Event::RunRequested(request) if self.runs.contains_key(&request.run) => {
                Stream::system("unclaimed")
            }
            Event::RunRequested(request) => Stream::run(request.run),
            Event::RunAdmitted(e) => Stream::run(e.run),
            Event::RunRefused(e) => self.proposed_stream(e.run),
            Event::RunDeduplicated(e) => self.proposed_stream(e.run),
            Event::FallbackTaken(e) => open(e.run),
            Event::BreakerCommanded(_) | Event::BreakerChanged(_) | Event::DependencyCalled(_) => {
                Stream::system("breakers")
            }
            Event::OutcomeObserved(e) => open(e.run),
            Event::CancelRequested(e) => open(e.run),
            Event::RunCompleted(e) => open(e.run),
            Event::RunFailed(e) => open(e.run),
            Event::RunCancelled(e) => open(e.run),
            Event::DatasetUploaded(e) => dataset(e.digest),
            Event::DatasetRegistered(e) => Stream::dataset(e.digest),
            Event::DatasetRefused(e) => dataset(e.digest),
            Event::ExperimentRequested(e) => Stream::experiment(e.experiment),
            Event::ExperimentAdmitted(e) => Stream::experiment(e.experiment),
            Event::ExperimentRefused(e) => Stream::experiment(e.experiment),
            Event::ExperimentCompleted(e) => Stream::experiment(e.experiment),
            Event::ServerStarted(_) | Event::ServerStopped(_) => Stream::system("server"),
            Event::ConfigurationLoaded(_) => Stream::system("configuration"),
            Event::ClockStepped(_) | Event::TimeReached(_) => Stream::system("clock"),
            Event::ActorRestarted(_) => Stream::system("actors"),
            Event::StoreRebuilt(_)
            | Event::TornTailCut(_)
            | Event::DamageFound(_)
            | Event::DamageGone(_)
            | Event::SegmentsPruned(_) => Stream::system("store"),
            Event::SubjectRedacted(_) => Stream::system("privacy"),
            Event::Audited(_) => Stream::system("audit"),
            Event::DiskSampled(_)
            | Event::IntakePaused(_)
            | Event::IntakeResumed(_)
            | Event::RequestsShed(_) => Stream::system("intake"),
            Event::WhatIfAsked(_) => Stream::system("whatif"),
            Event::MetricsSampled(_) => Stream::system("metrics"),
            Event::ObjectivesConfigured(_)
            | Event::SloBudgetChanged(_)
            | Event::SloBurnChanged(_) => Stream::system("slo"),
            Event::CacheCommanded(_) => Stream::system("cache"),
            Event::CapacityMeasured(_) => Stream::system("capacity"),
            Event::BackupEnded(_) | Event::Restored(_) | Event::BackupRequested(_) => {
                Stream::system("backups")
            }
            Event::DrillEnded(_) => Stream::system("drills"),
            Event::AnswerKept(_) => Stream::system("answers"),
        }
    }

    fn proposed_stream(&self, run: RunId) -> Stream {
        match &self.proposed {
            Some(Proposed {
                what: Proposal::Run(proposed, _),
                ..
            }) if *proposed == run => Stream::run(run),
            Some(_) | None => Stream::system("unclaimed"),
        }
    }

    /// Folds one event in and returns the stream that it belongs to and its version there.
    pub fn apply(&mut self, context: &Context, event: &Event) -> (Stream, u64) {
        let stream = self.stream_of(event);
        let head = self.heads.entry(stream).or_default();
        *head += 1;
        let version = *head;
        self.seq = context.seq;
        self.at = self.at.max(context.at);
        self.forget_old_keys();
        self.fold(context, event);
        (stream, version)
    }

    /// Carries an event of a kind that this version does not know: it holds its place in the log,
    /// in time and in its stream, and changes nothing else.
    pub fn carry(&mut self, context: &Context, (stream, version): (Stream, u64)) {
        self.seq = context.seq;
        self.at = self.at.max(context.at);
        self.forget_old_keys();
        // A stream that has ended is not followed any more.
        if stream.kind == StreamKind::System || self.heads.contains_key(&stream) {
            self.heads.insert(stream, version);
        }
    }

    fn fold(&mut self, context: &Context, event: &Event) {
        match event {
            Event::RunRequested(request) => self.propose_run(context, request),
            Event::RunAdmitted(e) => self.admit_run(context, e.run),
            Event::RunRefused(e) => {
                self.breakers.drop_asked(Some(&e.refusal));
                self.drop_proposed(|tally| tally.refused += 1);
            }
            Event::RunDeduplicated(_) => {
                self.breakers.drop_asked(None);
                self.drop_proposed(|tally| tally.deduplicated += 1);
            }
            Event::OutcomeObserved(outcome) => self.fold_outcome(context, outcome),
            Event::RunCompleted(e) => self.close_run(e.run, |tally| tally.completed += 1),
            Event::RunFailed(e) => self.fail_run(context, e),
            Event::RunCancelled(e) => self.cancel_run(context, e.run),
            Event::BreakerCommanded(wish) => self.breakers.wish(wish, context.principal),
            Event::DependencyCalled(called) => self.breakers.end_dependency(context.at, called),
            Event::BreakerChanged(changed) => self.breakers.change(context.at, changed),
            Event::FallbackTaken(taken) => self.breakers.take_fallback(context.at, taken),
            Event::DatasetUploaded(upload) => self.propose_dataset(context, upload),
            Event::DatasetRegistered(_) => self.register_dataset(context),
            Event::ExperimentRequested(request) => self.propose_experiment(context, request),
            Event::ExperimentAdmitted(e) if e.original.is_none() => self.admit_experiment(context),
            Event::ExperimentAdmitted(e) => self.turn_experiment_away(e.experiment),
            Event::ExperimentRefused(e) => self.turn_experiment_away(e.experiment),
            Event::ExperimentCompleted(e) => self.close_experiment(e.experiment),
            Event::DatasetRefused(_) => self.proposed = None,
            Event::ServerStarted(started) => self.fold_start(context, started),
            Event::ServerStopped(_) => self.server.running = false,
            Event::ConfigurationLoaded(loaded) => self.fold_configuration(loaded),
            Event::ActorRestarted(e) => {
                *self.actor_restarts.entry(e.actor.clone()).or_default() += 1;
            }
            Event::IntakePaused(e) => self.paused = Some(e.free_bytes),
            Event::IntakeResumed(_) => self.paused = None,
            Event::RequestsShed(e) => {
                let counts = [e.overloaded, e.malformed, e.unauthenticated];
                self.shed = counts.into_iter().fold(self.shed, u64::saturating_add);
            }
            Event::BackupRequested(request) => self.open_backup(context, request),
            Event::BackupEnded(ended) => self.end_backup(context, ended),
            Event::DamageFound(e) => self.note_damage(context, e),
            Event::DamageGone(e) => {
                self.damaged.remove(&e.file);
            }
            Event::SubjectRedacted(e) => self.shredded.extend(&e.keys),
            Event::AnswerKept(e) => {
                let subject = Subject::Answer(context.seq);
                self.remember(context, Some(e.idempotency), subject);
            }
            Event::SegmentsPruned(e) => self.note_pruned(e),
            Event::MetricsSampled(batch) => self.slos.sample(context.at, batch),
            Event::ObjectivesConfigured(e) => self.slos.configure(&e.plan),
            Event::SloBudgetChanged(e) => self.slos.change_budget(context.at, e),
            Event::SloBurnChanged(e) => self.slos.change_burn(context.at, e),
            Event::CancelRequested(_)
            | Event::DrillEnded(_)
            | Event::Restored(_)
            | Event::ClockStepped(_)
            | Event::TimeReached(_)
            | Event::StoreRebuilt(_)
            | Event::TornTailCut(_)
            | Event::DiskSampled(_)
            | Event::Audited(_)
            | Event::WhatIfAsked(_)
            | Event::CacheCommanded(_)
            | Event::CapacityMeasured(_) => {}
        }
    }

    fn fail_run(&mut self, context: &Context, failed: &RunFailed) {
        // Without an outcome: its time has passed.
        let ended = Ended::failed(&failed.code);
        self.breakers.end(failed.run, context.at, (&ended, None));
        self.close_run(failed.run, |tally| tally.failed += 1);
    }

    fn cancel_run(&mut self, context: &Context, run: RunId) {
        self.breakers.end(run, context.at, (&Ended::Ignored, None));
        self.close_run(run, |tally| tally.cancelled += 1);
    }

    fn note_pruned(&mut self, pruned: &SegmentsPruned) {
        let before = self.pruned.as_ref().map_or(Seq(0), |known| known.lost_to);
        self.pruned = Some(Pruned {
            last: pruned.last,
            chain: pruned.chain,
            lost_to: match pruned.backup {
                Some(_) => before,
                None => pruned.last,
            },
            backup: pruned.backup.clone(),
        });
    }

    /// Names that are over the bound are in the log alone.
    fn note_damage(&mut self, context: &Context, found: &DamageFound) {
        let known = self.damaged.contains_key(&found.file);
        if known || self.damaged.len() < DAMAGED_MAX {
            let damage = Damage {
                seq: found.seq,
                what: found.what.clone(),
                found_at: context.at,
            };
            self.damaged.insert(found.file.clone(), damage);
        }
    }

    fn propose_run(&mut self, context: &Context, request: &RunRequested) {
        match self.totals.get_mut(&request.operation) {
            Some(totals) => totals.requested += 1,
            None => {
                let totals = Totals {
                    requested: 1,
                    ..Totals::default()
                };
                self.totals.insert(request.operation.clone(), totals);
            }
        }
        let deadline =
            (request.deadline_micros > 0).then(|| context.at.plus(request.deadline_micros));
        let open = OpenRun {
            operation: request.operation.clone(),
            schema: request.schema,
            spec: (!request.immediate).then(|| request.spec.clone()),
            spec_hash: request.spec_hash,
            seed: request.seed,
            datasets: request.datasets.clone(),
            deadline,
            experiment: self.membership(request),
            requested: *context,
        };
        self.breakers.propose(request.run, request.service.as_ref());
        // A request for a run that is open is refused next, and must not replace it.
        let callers = request.service.as_ref().is_some_and(|s| s.caller_deadline);
        if callers && !self.runs.contains_key(&request.run) {
            self.caller_deadlines.insert(request.run);
        }
        self.proposed = (!self.runs.contains_key(&request.run)).then(|| Proposed {
            what: Proposal::Run(request.run, Box::new(open)),
            idempotency: request.idempotency,
        });
    }

    fn admit_run(&mut self, context: &Context, run: RunId) {
        let Some(Proposed {
            what: Proposal::Run(proposed, open),
            idempotency,
        }) = self.proposed.take()
        else {
            return;
        };
        if proposed != run {
            return;
        }
        self.remember(context, idempotency, Subject::Run(run));
        self.breakers.begin(run, context.at);
        if let Some(deadline) = open.deadline {
            self.deadlines.insert((deadline, run));
        }
        if open.spec.is_some() {
            self.in_flight += 1;
        }
        self.runs.insert(run, *open);
    }

    fn drop_proposed(&mut self, count: Count) {
        let Some(Proposed {
            what: Proposal::Run(run, open),
            ..
        }) = self.proposed.take()
        else {
            return;
        };
        self.caller_deadlines.remove(&run);
        self.heads.remove(&Stream::run(run));
        self.count_end(&open, count);
    }

    fn count_end(&mut self, run: &OpenRun, count: Count) {
        if let Some(totals) = self.totals.get_mut(&run.operation) {
            count(&mut totals.tally);
        }
        let experiment = run.experiment.and_then(|id| self.experiments.get_mut(&id));
        if let Some(experiment) = experiment {
            count(&mut experiment.tally);
            experiment.remaining = experiment.remaining.saturating_sub(1);
        }
    }

    fn fold_outcome(&mut self, context: &Context, observed: &OutcomeObserved) {
        let Some(run) = self.runs.get(&observed.run) else {
            return;
        };
        let ended = Ended::of(observed, self.caller_deadline(observed.run));
        let ended = (&ended, Some(observed.computed_micros));
        self.breakers.end(observed.run, context.at, ended);
        if let Some(totals) = self.totals.get_mut(&run.operation) {
            let (queued, computed) = (observed.queued_micros, observed.computed_micros);
            totals.queued_micros = totals.queued_micros.saturating_add(queued);
            totals.computed_micros = totals.computed_micros.saturating_add(computed);
        }
    }

    fn close_run(&mut self, run: RunId, count: Count) {
        let Some(open) = self.runs.remove(&run) else {
            return;
        };
        self.breakers.forget(run);
        self.caller_deadlines.remove(&run);
        if let Some(deadline) = open.deadline {
            self.deadlines.remove(&(deadline, run));
        }
        if open.spec.is_some() {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        self.heads.remove(&Stream::run(run));
        self.count_end(&open, count);
    }

    fn propose_dataset(&mut self, context: &Context, upload: &DatasetUploaded) {
        let meta = DatasetMeta {
            name: upload.name.clone(),
            format: upload.format.clone(),
            bytes: upload.bytes,
            rows: upload.rows,
            columns: upload.columns,
            registered_at: context.at,
        };
        let what = Proposal::Dataset(upload.digest, meta);
        self.proposed = Some(Proposed {
            what,
            idempotency: upload.idempotency,
        });
    }

    fn register_dataset(&mut self, context: &Context) {
        let Some(Proposed {
            what: Proposal::Dataset(digest, meta),
            idempotency,
        }) = self.proposed.take()
        else {
            return;
        };
        self.remember(context, idempotency, Subject::Dataset(digest));
        self.datasets.entry(digest).or_insert(meta);
    }

    fn propose_experiment(&mut self, context: &Context, request: &ExperimentRequested) {
        let open = OpenExperiment {
            name: request.name.clone(),
            runs: request.runs.clone(),
            remaining: request.runs.iter().collect::<BTreeSet<_>>().len() as u64,
            tally: Tally::default(),
            requested_at: context.at,
        };
        let what = Proposal::Experiment(request.experiment, open);
        self.proposed = Some(Proposed {
            what,
            idempotency: request.idempotency,
        });
    }

    fn admit_experiment(&mut self, context: &Context) {
        let Some(Proposed {
            what: Proposal::Experiment(id, open),
            idempotency,
        }) = self.proposed.take()
        else {
            return;
        };
        self.remember(context, idempotency, Subject::Experiment(id));
        self.experiments_total += 1;
        self.experiments.insert(id, open);
    }

    /// The request is not admitted; an open experiment of the same id stays as it is.
    fn turn_experiment_away(&mut self, experiment: ExperimentId) {
        self.proposed = None;
        if !self.experiments.contains_key(&experiment) {
            self.heads.remove(&Stream::experiment(experiment));
        }
    }

    fn close_experiment(&mut self, experiment: ExperimentId) {
        self.experiments.remove(&experiment);
        self.heads.remove(&Stream::experiment(experiment));
    }

    fn fold_start(&mut self, context: &Context, started: &ServerStarted) {
        self.server.starts += 1;
        self.server.started_at = context.at;
        self.server.running = true;
        self.server
            .binary_version
            .clone_from(&started.binary_version);
        self.server.decider_version = started.decider_version;
        self.server
            .numeric_profile
            .clone_from(&started.numeric_profile);
    }

    fn fold_configuration(&mut self, loaded: &ConfigurationLoaded) {
        self.settings = loaded.settings;
        self.server.configuration_hash = loaded.hash;
        self.server.configuration_generation = loaded.generation;
        if let Some(plan) = &loaded.breakers {
            self.breakers.configure(plan);
        }
    }

    /// The first request of an idempotency key counts, and only while there is room.
    fn open_backup(&mut self, context: &Context, request: &BackupRequested) {
        let key = |i: Idempotency| (context.principal, i.key);
        let repeated = request
            .idempotency
            .is_some_and(|i| self.idempotency.contains_key(&key(i)));
        if repeated || self.backups_open.len() >= BACKUPS_OPEN_MAX {
            return;
        }
        let open = OpenBackup {
            target: request.target.clone(),
            kind: request.kind,
            requested_at: context.at,
        };
        self.breakers.begin_backup(context.at, request);
        self.backups_open.insert(request.backup, open);
        let subject = Subject::Backup(request.backup);
        self.remember(context, request.idempotency, subject);
    }

    fn end_backup(&mut self, context: &Context, ended: &BackupEnded) {
        self.breakers.end_backup(context.at, ended);
        if !ended.retried {
            self.backups_open.remove(&ended.backup);
        }
        let Some(state_hash) = ended.state_hash.filter(|_| ended.verified) else {
            return;
        };
        let newer = |known: &VerifiedBackup| known.to_seq > ended.to_seq;
        if self.backups.get(&ended.target).is_some_and(newer) {
            return;
        }
        let verified = VerifiedBackup {
            backup: ended.backup,
            from_seq: ended.from_seq,
            to_seq: ended.to_seq,
            verified_at: context.at,
            state_hash,
        };
        self.backups.insert(ended.target.clone(), verified);
        if self.backups.len() > BACKUP_TARGETS_MAX {
            let oldest = self
                .backups
                .iter()
                .min_by_key(|(_, known)| known.verified_at);
            if let Some(oldest) = oldest.map(|(target, _)| target.clone()) {
                self.backups.remove(&oldest);
            }
        }
    }
}
