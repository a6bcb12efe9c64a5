//! Results that were never recorded, computed by the code path that the server computes with.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hindcast_causal::data::{Dataset, Limits, Table};
use hindcast_causal::{Control, LabError, Stop};
use hindcast_log::Recorded;
use hindcast_model::event::{ExperimentRequested, Outcome, RunRequested, Service};
use hindcast_model::limits::INLINE_BYTES_MAX;
use hindcast_model::{Digest, Event, KeyId, Payload, Seq, Stream};
use hindcast_whatif::{Computed, Task, World};

use super::{Means, Until};
use crate::component::panic_text;
use crate::computation::outcome::{completed, failed, internal, panicked, withheld};
use crate::history::Source;
use crate::operation::{Operation, SEED_MAX, SPEC_SCHEMA, digest};

/// Outcomes kept for one question, of at most 32 KiB each.
const OUTCOMES_KEPT_MAX: usize = 4_096;

/// What an outcome follows from. `text` is the spec.
fn identity(task: &Task<'_>, text: &str) -> Digest {
    let Task {
        run: _,
        operation,
        instead,
        schema,
        spec: _,
        key,
        seed,
        datasets,
    } = task;
    digest(
        format!(
            "{operation} {instead:?} {schema} {} {seed} {datasets:?}\n{text}",
            key.0
        )
        .as_bytes(),
    )
}

/// Computes what a question needs.
pub(super) struct Laboratory<'a> {
    source: &'a dyn Source,
    means: Means<'a>,
    until: Until<'a>,
    compute_max: Duration,
    at: Seq,
    /// The dataset that was read last.
    data: RefCell<Option<(Digest, Arc<Dataset>)>>,
    /// Outcomes that were computed: a search replays the same runs many times.
    known: RefCell<BTreeMap<Digest, Outcome>>,
    deadline_micros: OnceCell<u64>,
}

impl<'a> Laboratory<'a> {
    pub(super) fn new(
        source: &'a dyn Source,
        means: Means<'a>,
        (until, compute_max): (Until<'a>, Duration),
        at: Seq,
    ) -> Self {
        Self {
            source,
            means,
            until,
            compute_max,
            at,
            data: RefCell::default(),
            known: RefCell::default(),
            deadline_micros: OnceCell::new(),
        }
    }

    fn dataset(&self, digest: Digest) -> Result<Arc<Dataset>, LabError> {
        if let Some((known, dataset)) = &*self.data.borrow()
            && *known == digest
        {
            return Ok(Arc::clone(dataset));
        }
        let bytes = self.source.reader().blobs().get(digest);
        let bytes = bytes.map_err(|e| LabError::Internal(format!("dataset {digest}: {e}")))?;
        let dataset = Arc::new(Table::parse(&bytes, &Limits::default())?.dataset()?);
        *self.data.borrow_mut() = Some((digest, Arc::clone(&dataset)));
        Ok(dataset)
    }

    /// `None` when it takes too long.
    fn run(&self, operation: &Operation, task: &Task<'_>) -> Option<Outcome> {
        let control = self.until.within(self.compute_max);
        let execute = || {
            let data = task.datasets.first().map(|digest| self.dataset(*digest));
            let data = data.transpose()?;
            operation.execute(data.as_deref(), task.seed, &control)
        };
        match catch_unwind(AssertUnwindSafe(execute)) {
            Ok(Ok(computed)) => {
                let bytes = computed.json.len() as u64;
                let readable = task.key == KeyId(0) && computed.json.len() <= INLINE_BYTES_MAX;
                let result = match readable {
                    true => Payload::Inline(computed.json.to_string()),
                    // What a blob would be called; none is written. Nor is the result of a sealed
                    // request shown where its spec is not.
                    false => Payload::Blob {
                        digest: computed.hash,
                        bytes,
                    },
                };
                Some(completed(result, &computed))
            }
            Ok(Err(LabError::Stopped(_))) => None,
            Ok(Err(error)) => Some(failed(&error)),
            Err(panic) => Some(panicked(&panic_text(&*panic))),
        }
    }

    /// The deadline that the configuration in force gave to runs.
    fn deadline_micros(&self) -> u64 {
        let read = || {
            let events = self.source.stream(Stream::system("configuration")).ok()?;
            let before = |recorded: &&Recorded| recorded.seq() < self.at;
            let last = events.iter().rfind(before)?;
            let Some(Event::ConfigurationLoaded(loaded)) = last.event() else {
                return None;
            };
            let text = self.source.text(last.context.key, &loaded.document)?;
            let document: serde_json::Value = serde_json::from_str(&text).ok()?;
            let ms = document.pointer("/runs/deadline_ms")?.as_u64()?;
            Some(ms.saturating_mul(1_000))
        };
        *self.deadline_micros.get_or_init(|| read().unwrap_or(0))
    }
}

impl World for Laboratory<'_> {
    fn compute(&self, task: &Task<'_>) -> Computed {
        if self.until.over() {
            return Computed::Not;
        }
        let Some(text) = self.source.text(task.key, task.spec) else {
            return Computed::Not;
        };
        if task.schema != SPEC_SCHEMA {
            let schema = task.schema;
            let message = format!("spec schema {schema} is not known to this version");
            return Computed::Outcome(internal(message));
        }
        let identity = identity(task, &text);
        if let Some(known) = self.known.borrow().get(&identity) {
            return Computed::Outcome(known.clone());
        }
        let Ok(body) = serde_json::from_str(&text) else {
            return Computed::Not;
        };
        let outcome = match Operation::parse(task.operation, body) {
            Ok(asked) => {
                let operation = match task.instead {
                    None => Some(asked),
                    Some(to) => asked.instead(to),
                };
                match operation {
                    Some(operation) => self.run(&operation, task),
                    None => return Computed::Not,
                }
            }
            Err(error) => Some(failed(&error)),
        };
        let Some(outcome) = outcome.map(|outcome| withheld(outcome, task.key)) else {
            return Computed::Not;
        };
        let mut known = self.known.borrow_mut();
        if known.len() < OUTCOMES_KEPT_MAX {
            known.insert(identity, outcome.clone());
        }
        Computed::Outcome(outcome)
    }

    fn series(
        &self,
        request: &ExperimentRequested,
        key: KeyId,
        seed: u64,
    ) -> Option<Vec<RunRequested>> {
        let text = self.source.text(key, &request.spec)?;
        let mut number = 0_u64;
        let mut draw = || {
            number += 1;
            let drawn = digest(format!("seed {seed} {number}").as_bytes());
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&drawn.0[..8]);
            u64::from_le_bytes(bytes) & SEED_MAX
        };
        let questions = (self.means.series)(&text, &mut draw)?;
        if questions.len() != request.runs.len() {
            return None;
        }
        let runs = request.runs.iter().zip(questions);
        let requests = runs.map(|(run, (question, seed))| {
            let operation = question.operation();
            RunRequested {
                run: *run,
                operation: operation.name().to_owned(),
                schema: operation.schema(),
                spec_hash: question.hash(),
                spec: Payload::Inline(question.spec().to_owned()),
                seed,
                datasets: operation.datasets(),
                deadline_micros: self.deadline_micros(),
                immediate: false,
                experiment: Some(request.experiment),
                idempotency: None,
                service: Some(Service {
                    breaker: operation.breaker(),
                    divert: true,
                    cached: false,
                    caller_deadline: false,
                }),
            }
        });
        Some(requests.collect())
    }

    fn numeric_profile(&self) -> &str {
        self.means.numeric_profile
    }
}

/// Ends a computation that takes too long.
impl Control for Until<'_> {
    fn check(&self) -> Result<(), Stop> {
        match self.over() {
            true => Err(Stop::DeadlineExceeded),
            false => Ok(()),
        }
    }

    fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}
}
