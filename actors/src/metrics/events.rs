//! What each event adds to the metrics. Every series is looked up once, when the first event of
//! its kind comes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hindcast_log::{Body, Recorded};
use hindcast_model::breaker::CALLER_DEADLINE;
use hindcast_model::event::{Audited, Event, Outcome, OutcomeObserved, RequestsShed};
use hindcast_model::{RunId, State};
use metrics::{Counter, Gauge, Histogram};

use super::backups::BackupMetrics;
use super::slos::SloMetrics;
use crate::supervisor::as_f64;

/// Operations with series of their own; further ones share the last.
const OPERATIONS_MAX: usize = 64;

struct Computations {
    completed: Counter,
    /// Answered with the result of an earlier one.
    cached: Counter,
    failed: Counter,
    /// Their callers' own deadlines passed.
    given_up: Counter,
    cancelled: Counter,
    refused: Counter,
    deduplicated: Counter,
    computed: Histogram,
    queued: Histogram,
}

impl Computations {
    fn new(kind: &str) -> Self {
        let kind = kind.to_owned();
        let ended = |outcome: &'static str| {
            metrics::counter!("causal_computations_total",
                "kind" => kind.clone(), "backend" => "cpu", "outcome" => outcome)
        };
        Self {
            completed: ended("completed"),
            cached: ended("cached"),
            failed: ended("failed"),
            given_up: ended(CALLER_DEADLINE),
            cancelled: ended("cancelled"),
            refused: ended("refused"),
            deduplicated: ended("deduplicated"),
            computed: metrics::histogram!("causal_computation_duration_seconds",
                "kind" => kind.clone(), "backend" => "cpu"),
            queued: metrics::histogram!("causal_computation_queued_seconds", "kind" => kind),
        }
    }
}

pub(super) struct EventMetrics {
    /// By the number of the event's kind.
    events: BTreeMap<u16, Counter>,
    unknown: Counter,
    skipped: Counter,
    operations: BTreeMap<String, usize>,
    computations: Vec<Computations>,
    /// Open runs and where their operation stands in `computations`.
    runs: BTreeMap<RunId, usize>,
    /// Open runs that are answered with an earlier result: they end in the same frame.
    reused: BTreeSet<RunId>,
    experiments: [Counter; 3],
    datasets_registered: Counter,
    backups: BackupMetrics,
    slos: SloMetrics,
    shed: [Counter; 3],
    configuration_generation: Gauge,
    configuration_loaded_at: Gauge,
    configuration_ok: Gauge,
    runs_open: Gauge,
    experiments_open: Gauge,
    datasets: Gauge,
    idempotency_keys: Gauge,
    intake_paused: Gauge,
    damaged: Gauge,
}

impl EventMetrics {
    pub(super) fn new() -> Self {
        let counter = |name: &'static str| metrics::counter!("events_total", "type" => name);
        let experiments =
            |outcome: &'static str| metrics::counter!("experiments_total", "outcome" => outcome);
        let shed =
            |reason: &'static str| metrics::counter!("requests_shed_total", "reason" => reason);
        Self {
            events: Event::KINDS
                .iter()
                .map(|kind| (kind.number, counter(kind.name)))
                .collect(),
            unknown: counter("unknown"),
            skipped: metrics::counter!("metrics_events_skipped_total"),
            operations: BTreeMap::new(),
            computations: Vec::new(),
            runs: BTreeMap::new(),
            reused: BTreeSet::new(),
            experiments: ["admitted", "refused", "completed"].map(experiments),
            datasets_registered: metrics::counter!("datasets_registered_total"),
            backups: BackupMetrics::default(),
            slos: SloMetrics::default(),
            shed: ["overloaded", "malformed", "unauthenticated"].map(shed),
            configuration_generation: metrics::gauge!("config_generation"),
            configuration_loaded_at: metrics::gauge!(
                "config_last_reload_success_timestamp_seconds"
            ),
            configuration_ok: metrics::gauge!("config_last_reload_successful"),
            runs_open: metrics::gauge!("runs_in_flight"),
            experiments_open: metrics::gauge!("experiments_open"),
            datasets: metrics::gauge!("datasets"),
            idempotency_keys: metrics::gauge!("idempotency_keys"),
            intake_paused: metrics::gauge!("intake_paused"),
            damaged: metrics::gauge!("storage_damaged_files"),
        }
    }

    /// Knows the runs that are open already.
    pub(super) fn begin(&mut self, state: &State) {
        for (run, open) in state.runs() {
            let index = self.operation(&open.operation);
            self.runs.insert(run, index);
        }
        self.backups.begin(state);
        self.show(state);
    }

    /// What was recorded before this process and holds still.
    pub(super) fn remember(&mut self, before: &[Recorded]) {
        self.backups.remember(before);
    }

    /// Gauges that are the state's to say.
    pub(super) fn show(&mut self, state: &State) {
        self.runs_open.set(f64::from(state.in_flight()));
        self.experiments_open
            .set(as_f64(state.experiments().len() as u64));
        self.datasets.set(as_f64(state.datasets().len() as u64));
        self.idempotency_keys
            .set(as_f64(state.idempotency_entries() as u64));
        self.intake_paused
            .set(if state.intake_paused() { 1.0 } else { 0.0 });
        self.damaged.set(as_f64(state.damaged().len() as u64));
        self.configuration_generation
            .set(as_f64(state.server().configuration_generation));
        self.slos.show(state);
    }

    /// Events that nobody will look at.
    pub(super) fn skipped(&self, events: u64) {
        self.skipped.increment(events);
    }

    /// `operation` finds the operation of a run whose request was not observed here.
    pub(super) fn observe(
        &mut self,
        recorded: &Recorded,
        operation: &dyn Fn(RunId) -> Option<String>,
    ) {
        let event = match &recorded.body {
            Body::Known(event) => event,
            Body::Unknown { .. } => return self.unknown.increment(1),
        };
        if let Some(counter) = self.events.get(&event.kind().number) {
            counter.increment(1);
        }
        match event {
            Event::RunRequested(request) => {
                let index = self.operation(&request.operation);
                self.runs.insert(request.run, index);
            }
            Event::OutcomeObserved(outcome) => self.outcome(outcome, operation),
            Event::RunCompleted(e) => self.ended(e.run, operation, |c| &c.completed),
            Event::RunFailed(e) if e.code == CALLER_DEADLINE => {
                self.ended(e.run, operation, |c| &c.given_up);
            }
            Event::RunFailed(e) => self.ended(e.run, operation, |c| &c.failed),
            Event::RunCancelled(e) => self.ended(e.run, operation, |c| &c.cancelled),
            Event::RunRefused(e) => self.ended(e.run, operation, |c| &c.refused),
            Event::RunDeduplicated(e) => self.ended(e.run, operation, |c| &c.deduplicated),
            Event::DatasetRegistered(_) => self.datasets_registered.increment(1),
            Event::ExperimentAdmitted(_) => self.experiments[0].increment(1),
            Event::ExperimentRefused(_) => self.experiments[1].increment(1),
            Event::ExperimentCompleted(_) => self.experiments[2].increment(1),
            Event::RequestsShed(e) => self.shed(e),
            Event::ConfigurationLoaded(e) => self.configured(recorded.context.at.0, e.generation),
            Event::BackupEnded(e) => self.backups.ended(recorded.context.at, e),
            Event::DrillEnded(e) => self.backups.drilled(recorded.context.at, e),
            Event::Audited(e) => audited(e),
            Event::ServerStarted(_)
            | Event::ServerStopped(_)
            | Event::Restored(_)
            | Event::BackupRequested(_)
            | Event::ClockStepped(_)
            | Event::WhatIfAsked(_)
            | Event::TimeReached(_)
            | Event::CancelRequested(_)
            | Event::DatasetUploaded(_)
            | Event::ExperimentRequested(_)
            | Event::ActorRestarted(_)
            | Event::StoreRebuilt(_)
            | Event::TornTailCut(_)
            | Event::DiskSampled(_)
            | Event::DamageFound(_)
            | Event::DamageGone(_)
            | Event::SubjectRedacted(_)
            | Event::SegmentsPruned(_)
            | Event::BreakerCommanded(_)
            | Event::DependencyCalled(_)
            | Event::BreakerChanged(_)
            | Event::FallbackTaken(_)
            | Event::MetricsSampled(_)
            | Event::ObjectivesConfigured(_)
            | Event::SloBudgetChanged(_)
            | Event::SloBurnChanged(_)
            | Event::CacheCommanded(_)
            | Event::CapacityMeasured(_)
            | Event::AnswerKept(_)
            | Event::RunAdmitted(_)
            | Event::DatasetRefused(_)
            | Event::IntakePaused(_)
            | Event::IntakeResumed(_) => {}
        }
    }

    fn shed(&self, shed: &RequestsShed) {
        let counts = [shed.overloaded, shed.malformed, shed.unauthenticated];
        let counters = self.shed.iter().zip(counts);
        counters.for_each(|(counter, n)| counter.increment(n));
    }

    fn configured(&self, at: u64, generation: u64) {
        self.configuration_generation.set(as_f64(generation));
        self.configuration_loaded_at.set(as_f64(at) / 1e6);
        self.configuration_ok.set(1.0);
    }

    fn outcome(&mut self, observed: &OutcomeObserved, operation: &dyn Fn(RunId) -> Option<String>) {
        let Some(index) = self.index(observed.run, operation) else {
            return;
        };
        let computations = &self.computations[index];
        if let Outcome::Reused { .. } = observed.outcome {
            // Nothing is computed: what completes it counts here, and no more.
            computations.cached.increment(1);
            self.runs.remove(&observed.run);
            self.reused.insert(observed.run);
            return;
        }
        computations.queued.record(seconds(observed.queued_micros));
        // What was turned down at once would make the computation look fast.
        if let Outcome::Completed { .. } = observed.outcome {
            computations
                .computed
                .record(seconds(observed.computed_micros));
        }
    }

    fn ended(
        &mut self,
        run: RunId,
        operation: &dyn Fn(RunId) -> Option<String>,
        count: fn(&Computations) -> &Counter,
    ) {
        if self.reused.remove(&run) {
            return;
        }
        if let Some(index) = self.index(run, operation) {
            self.runs.remove(&run);
            count(&self.computations[index]).increment(1);
        }
    }

    fn index(&mut self, run: RunId, operation: &dyn Fn(RunId) -> Option<String>) -> Option<usize> {
        if let Some(index) = self.runs.get(&run) {
            return Some(*index);
        }
        operation(run).map(|name| self.operation(&name))
    }

    fn operation(&mut self, name: &str) -> usize {
        if let Some(index) = self.operations.get(name) {
            return *index;
        }
        if self.computations.len() >= OPERATIONS_MAX {
            return self.computations.len() - 1;
        }
        let kind = name.strip_prefix("causal.").unwrap_or(name);
        self.computations.push(Computations::new(kind));
        self.operations
            .insert(name.to_owned(), self.computations.len() - 1);
        self.computations.len() - 1
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

fn audited(event: &Audited) {
    let (verb, outcome) = (event.verb.clone(), event.outcome.word());
    metrics::counter!("audit_events_total", "verb" => verb, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use hindcast_model::event::{RunCompleted, RunRequested};
    use hindcast_model::state::Context;
    use hindcast_model::{Digest, EventId, KeyId, Name16, Payload, Seq, Stream, UnixMicros};
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;

    fn recorded(event: Event) -> Recorded {
        Recorded {
            context: Context {
                seq: Seq(1),
                at: UnixMicros(1),
                event_id: EventId::default(),
                correlation: EventId::default(),
                principal: Name16::default(),
                tenant: Name16::default(),
                key: KeyId(0),
            },
            causation: EventId::default(),
            stream: Stream::run(RunId::default()),
            version: 1,
            observed: true,
            ignorable: false,
            body: Body::Known(event),
        }
    }

    fn requested() -> Event {
        Event::RunRequested(RunRequested {
            run: RunId::default(),
            operation: "causal.discover".to_owned(),
            schema: 1,
            spec: Payload::Inline(String::new()),
            spec_hash: Digest::default(),
            seed: 0,
            datasets: Vec::new(),
            deadline_micros: 0,
            immediate: false,
            experiment: None,
            idempotency: None,
            service: None,
        })
    }

    fn completed() -> Event {
        let (run, result_hash) = (RunId::default(), Digest::default());
        Event::RunCompleted(RunCompleted { run, result_hash })
    }

    fn observed() -> Event {
        Event::OutcomeObserved(OutcomeObserved {
            run: RunId::default(),
            outcome: Outcome::Completed {
                result: Payload::Inline(String::new()),
                result_hash: Digest::default(),
                schema: 1,
                algorithm_version: String::new(),
            },
            numeric_profile: String::new(),
            queued_micros: 1_000_000,
            computed_micros: 2_500_000,
        })
    }

    fn reused() -> Event {
        Event::OutcomeObserved(OutcomeObserved {
            run: RunId::default(),
            outcome: Outcome::Reused {
                original: RunId::default(),
                result_hash: Digest::default(),
                schema: 1,
                algorithm_version: String::new(),
            },
            numeric_profile: String::new(),
            queued_micros: 0,
            computed_micros: 0,
        })
    }

    /// Every series that has moved: name, labels and value. Reading empties the histograms.
    fn series(recorder: &DebuggingRecorder) -> Vec<(String, String, String)> {
        let snapshot = recorder.snapshotter().snapshot().into_vec();
        let shown = snapshot.into_iter().filter_map(|(key, _, _, value)| {
            let value = match value {
                DebugValue::Counter(0) => return None,
                DebugValue::Counter(count) => count.to_string(),
                DebugValue::Gauge(gauge) => gauge.to_string(),
                DebugValue::Histogram(samples) => format!("{samples:?}"),
            };
            let labels: Vec<&str> = key.key().labels().map(metrics::Label::value).collect();
            Some((key.key().name().to_owned(), labels.join(" "), value))
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }

    #[test]
    fn a_run_is_counted_by_kind_backend_and_outcome() {
        let recorder = DebuggingRecorder::new();
        metrics::with_local_recorder(&recorder, || {
            let mut metrics = EventMetrics::new();
            for event in [requested(), reused(), completed()] {
                metrics.observe(&recorded(event), &|_| None);
            }
            for event in [requested(), observed(), completed()] {
                metrics.observe(&recorded(event), &|_| None);
            }
            // Nobody saw the request of this one.
            metrics.observe(&recorded(completed()), &|_| None);
            // The request of this one was seen by another incarnation.
            metrics.observe(&recorded(completed()), &|_| {
                Some("causal.validate".to_owned())
            });
        });
        let all = series(&recorder);
        let of = |wanted: &str| {
            let found = all.iter().filter(|(name, _, _)| name == wanted);
            let shown = found.map(|(_, labels, value)| format!("{labels}: {value}"));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(
            of("causal_computations_total"),
            [
                "discover cpu cached: 1",
                "discover cpu completed: 1",
                "validate cpu completed: 1"
            ]
        );
        assert_eq!(
            of("causal_computation_duration_seconds"),
            ["discover cpu: [2.5]", "validate cpu: []"]
        );
        assert_eq!(
            of("events_total"),
            [
                "outcome_observed: 2",
                "run_completed: 4",
                "run_requested: 2"
            ]
        );
    }
}
