//! What the log's tests share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_log::{Clock, Log, Options, Recovery};
use hindcast_model::event::{Outcome, OutcomeObserved, RunRequested};
use hindcast_model::{
    Command, Digest, Event, EventId, KeyId, Name16, Payload, RunId, Submission, UnixMicros,
};
use uuid::Uuid;

pub(crate) const LOG: Uuid = Uuid::from_u128(0x00c0_ffee);

/// A clock that moves only when it is told to.
pub(crate) struct TestClock(AtomicU64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicU64::new(1_800_000_000_000_000))
    }
}

impl TestClock {
    pub(crate) fn advance(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> UnixMicros {
        UnixMicros(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Small segments, so that a test goes through several.
pub(crate) fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 1 << 20,
        lag_events_max: 5_000,
        ..Options::new(dir)
    }
}

pub(crate) fn open(options: Options) -> (Log, Recovery) {
    Log::open(options, Arc::new(TestClock::default()), LOG, &|_| {}).expect("opens")
}

pub(crate) fn run_id(n: u128) -> RunId {
    RunId::from_bytes((n + 1).to_be_bytes())
}

pub(crate) fn submission(id: u128, event: Event) -> Submission {
    let id = EventId::from_bytes((id + (1 << 120)).to_be_bytes());
    Submission::from(Command {
        event_id: id,
        causation: id,
        correlation: id,
        principal: Name16::new("tester"),
        tenant: Name16::default(),
        key: KeyId::default(),
        expect: None,
        event,
    })
}

pub(crate) fn request(n: u128, deadline_micros: Option<u64>) -> Event {
    Event::RunRequested(RunRequested {
        run: run_id(n),
        operation: "causal.validate".to_owned(),
        schema: 1,
        spec: Payload::Inline(format!("{{\"n\":{n}}}")),
        spec_hash: Digest::default(),
        seed: 7,
        datasets: Vec::new(),
        deadline_micros: deadline_micros.unwrap_or(0),
        immediate: deadline_micros.is_none(),
        experiment: None,
        idempotency: None,
        service: None,
    })
}

pub(crate) fn completed(n: u128) -> Event {
    Event::OutcomeObserved(OutcomeObserved {
        run: run_id(n),
        outcome: Outcome::Completed {
            result: Payload::Inline("{\"identifiable\":true}".to_owned()),
            result_hash: Digest::default(),
            schema: 1,
            algorithm_version: "test 1".to_owned(),
        },
        numeric_profile: "test".to_owned(),
        queued_micros: 0,
        computed_micros: 12,
    })
}
