//! A state that is driven by observed events as the committer drives it, without a log.

#![expect(
    dead_code,
    reason = "each test binary uses its own part of what is here"
)]

use hindcast_model::event::{
    AnswerKept, CancelRequested, ConfigurationLoaded, DatasetUploaded, DiskSampled,
    ExperimentRequested, Idempotency, Outcome, OutcomeObserved, RunRequested, Settings,
    TimeReached,
};
use hindcast_model::state::Context;
use hindcast_model::{
    Digest, Event, EventId, ExperimentId, KeyId, Name16, Payload, RunId, Seq, State, Stream,
    UnixMicros,
};

pub(crate) const START: u64 = 1_800_000_000_000_000;
pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;

/// One event as it would stand in the log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) context: Context,
    pub(crate) event: Event,
    pub(crate) stream: Stream,
    pub(crate) version: u64,
}

/// A state and the events that made it.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) state: State,
    pub(crate) log: Vec<Entry>,
    pub(crate) now: u64,
    pub(crate) principal: Name16,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            state: State::default(),
            log: Vec::new(),
            now: START,
            principal: Name16::new("ada"),
        }
    }
}

impl Story {
    /// The state after these observed events.
    pub(crate) fn given(events: impl IntoIterator<Item = Event>) -> Self {
        let mut story = Self::default();
        for event in events {
            story.when(event);
        }
        story
    }

    /// A state whose settings are `settings`.
    pub(crate) fn with(settings: Settings) -> Self {
        Self::given([configuration(settings)])
    }

    pub(crate) fn later(&mut self, micros: u64) -> &mut Self {
        self.now += micros;
        self
    }

    /// Observes one event and returns what was decided.
    pub(crate) fn when(&mut self, observed: Event) -> Vec<Event> {
        let context = self.context(self.log.len() as u128);
        let decided = self.state.decide(&context, &observed);
        self.fold(context, observed);
        for event in &decided {
            let context = self.context(self.log.len() as u128);
            self.fold(context, event.clone());
        }
        decided
    }

    fn context(&self, id: u128) -> Context {
        let id = EventId::from_bytes(((id + 1) << 16).to_be_bytes());
        Context {
            seq: Seq(self.log.len() as u64 + 1),
            at: UnixMicros(self.now),
            event_id: id,
            correlation: id,
            principal: self.principal,
            tenant: Name16::default(),
            key: KeyId(0),
        }
    }

    fn fold(&mut self, context: Context, event: Event) {
        let (stream, version) = self.state.apply(&context, &event);
        self.log.push(Entry {
            context,
            event,
            stream,
            version,
        });
    }

    /// The names of the events from the `from`-th on with their streams' kinds.
    pub(crate) fn placed(&self, from: usize) -> Vec<String> {
        let entries = self.log[from..].iter();
        entries
            .map(|entry| format!("{} {}", entry.event.kind().name, entry.stream))
            .collect()
    }
}

/// The names of events.
pub(crate) fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind().name).collect()
}

pub(crate) fn run(n: u32) -> RunId {
    RunId::from_bytes((0x0190_0000_u128 << 96 | u128::from(n)).to_be_bytes())
}

pub(crate) fn experiment(n: u32) -> ExperimentId {
    ExperimentId::from_bytes((0x0191_0000_u128 << 96 | u128::from(n)).to_be_bytes())
}

pub(crate) fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

/// A request with nothing special about it.
pub(crate) fn plain(n: u32) -> RunRequested {
    RunRequested {
        run: run(n),
        operation: "causal.discover".to_owned(),
        schema: 1,
        spec: Payload::Inline("{}".to_owned()),
        spec_hash: digest(1),
        seed: u64::from(n),
        datasets: Vec::new(),
        deadline_micros: 0,
        immediate: false,
        experiment: None,
        idempotency: None,
        service: None,
    }
}

pub(crate) fn request(n: u32) -> Event {
    Event::RunRequested(plain(n))
}

pub(crate) fn immediate(n: u32) -> Event {
    Event::RunRequested(RunRequested {
        immediate: true,
        ..plain(n)
    })
}

pub(crate) fn until(n: u32, deadline_micros: u64) -> Event {
    Event::RunRequested(RunRequested {
        deadline_micros,
        ..plain(n)
    })
}

pub(crate) fn within(n: u32, of: u32) -> RunRequested {
    RunRequested {
        experiment: Some(experiment(of)),
        ..plain(n)
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands for the optional field of a request"
)]
pub(crate) fn key(key: u8, body: u8) -> Option<Idempotency> {
    Some(Idempotency {
        key: [key; 16],
        body: digest(body),
    })
}

pub(crate) fn keyed(n: u32, idempotency: Option<Idempotency>) -> Event {
    Event::RunRequested(RunRequested {
        idempotency,
        ..plain(n)
    })
}

/// The answer of some other request with this key.
pub(crate) fn answered(idempotency: Option<Idempotency>) -> Event {
    Event::AnswerKept(AnswerKept {
        idempotency: idempotency.expect("a key"),
        request: "POST /cache/results/warm".to_owned(),
        status: 200,
        media: "application/json".to_owned(),
        answer: Some(Payload::Inline("{}".to_owned())),
    })
}

pub(crate) fn completed(n: u32) -> Event {
    Event::OutcomeObserved(OutcomeObserved {
        run: run(n),
        outcome: Outcome::Completed {
            result: Payload::Inline("{\"edges\":[]}".to_owned()),
            result_hash: digest(2),
            schema: 1,
            algorithm_version: "boss 1".to_owned(),
        },
        numeric_profile: "test".to_owned(),
        queued_micros: 5,
        computed_micros: 70,
    })
}

pub(crate) fn reused(n: u32, original: u32) -> Event {
    Event::OutcomeObserved(OutcomeObserved {
        run: run(n),
        outcome: Outcome::Reused {
            original: run(original),
            result_hash: digest(2),
            schema: 1,
            algorithm_version: "boss 1".to_owned(),
        },
        numeric_profile: "test".to_owned(),
        queued_micros: 0,
        computed_micros: 0,
    })
}

pub(crate) fn failed(n: u32, code: &str) -> Event {
    Event::OutcomeObserved(OutcomeObserved {
        run: run(n),
        outcome: Outcome::Failed {
            code: code.to_owned(),
            field: None,
            message: "it did not work".to_owned(),
            hint: None,
        },
        numeric_profile: "test".to_owned(),
        queued_micros: 5,
        computed_micros: 70,
    })
}

pub(crate) fn cancel(n: u32) -> Event {
    Event::CancelRequested(CancelRequested {
        run: run(n),
        reason: "asked to".to_owned(),
    })
}

pub(crate) fn upload(n: u8, idempotency: Option<Idempotency>) -> Event {
    Event::DatasetUploaded(DatasetUploaded {
        digest: digest(n),
        name: format!("data {n}"),
        format: "csv".to_owned(),
        bytes: 100,
        rows: 10,
        columns: 2,
        idempotency,
    })
}

pub(crate) fn series(
    n: u32,
    runs: impl IntoIterator<Item = u32>,
    idempotency: Option<Idempotency>,
) -> Event {
    Event::ExperimentRequested(ExperimentRequested {
        experiment: experiment(n),
        name: format!("experiment {n}"),
        spec: Payload::Inline("{}".to_owned()),
        runs: runs.into_iter().map(run).collect(),
        idempotency,
    })
}

pub(crate) fn tick() -> Event {
    Event::TimeReached(TimeReached {})
}

pub(crate) fn disk(free_bytes: u64) -> Event {
    Event::DiskSampled(DiskSampled { free_bytes })
}

pub(crate) fn configuration(settings: Settings) -> Event {
    Event::ConfigurationLoaded(ConfigurationLoaded {
        generation: 1,
        hash: digest(9),
        document: Payload::Inline("{}".to_owned()),
        settings,
        breakers: None,
    })
}
