//! Snapshots of a real log.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_log::{Clock, Log, Options};
use hindcast_model::event::{RequestsShed, TimeReached};
use hindcast_model::{Command, Event, EventId, KeyId, Name16, Submission, UnixMicros};
use hindcast_snapshots::{Bad, newest, take};
use uuid::Uuid;

#[derive(Default)]
struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn wall(&self) -> UnixMicros {
        UnixMicros(self.0.fetch_add(7, Ordering::SeqCst))
    }

    fn monotonic(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn open(dir: &Path) -> Log {
    let checkpoint = newest(dir).expect("readable").checkpoint;
    let options = Options {
        segment_bytes: 1 << 20,
        checkpoint,
        ..Options::new(dir)
    };
    let clock = Arc::new(Ticks::default());
    Log::open(options, clock, Uuid::from_u128(9), &|_| {})
        .expect("opens")
        .0
}

fn record(log: &Log, id: u128) {
    let event = match id % 2 {
        0 => Event::RequestsShed(RequestsShed {
            overloaded: 3,
            malformed: 1,
            unauthenticated: 0,
        }),
        _ => Event::TimeReached(TimeReached {}),
    };
    let id = EventId::from_bytes((id << 20).to_be_bytes());
    let (principal, tenant, key) = (Name16::new("t"), Name16::default(), KeyId(0));
    let command = Command {
        event_id: id,
        causation: id,
        correlation: id,
        principal,
        tenant,
        key,
        expect: None,
        event,
    };
    log.submit_and_wait(Submission::from(command))
        .expect("recorded");
}

#[test]
fn snapshot_at_any_event_plus_tail_is_the_full_replay() {
    let dir = tempfile::tempdir().expect("a directory");
    for id in 1..9 {
        let log = open(dir.path());
        record(&log, id);
        take(dir.path(), &log.checkpoint()).expect("taken");
        record(&log, id + 1_000);
        let live = log.checkpoint();
        drop(log);
        let resumed = open(dir.path()).checkpoint();
        assert_eq!(resumed, live);
        fs::rename(dir.path().join("snapshots"), dir.path().join("away")).expect("moved");
        assert_eq!(open(dir.path()).checkpoint(), live);
        fs::rename(dir.path().join("away"), dir.path().join("snapshots")).expect("moved back");
    }
    assert_eq!(
        fs::read_dir(dir.path().join("snapshots"))
            .expect("a folder")
            .count(),
        2
    );
}

#[test]
fn snapshot_that_does_not_verify_is_set_aside_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path());
    record(&log, 2);
    let older = take(dir.path(), &log.checkpoint()).expect("taken");
    record(&log, 4);
    let newer = take(dir.path(), &log.checkpoint()).expect("taken");
    drop(log);
    let bytes = fs::read(&newer.path).expect("read");
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 4;
        fs::write(&newer.path, bad).expect("written");
        let found = newest(dir.path()).expect("readable");
        assert_eq!(found.set_aside.len(), 1, "byte {at}");
        assert_eq!(
            found.checkpoint.expect("the older one").state.seq(),
            older.seq
        );
        fs::rename(&found.set_aside[0].path, &newer.path).expect("moved back");
    }
    fs::write(&newer.path, b"HC").expect("written");
    assert_eq!(
        newest(dir.path()).expect("readable").set_aside[0].why,
        Bad::NoSnapshot
    );
}
