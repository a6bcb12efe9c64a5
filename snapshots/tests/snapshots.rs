//! Snapshots of a real log.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_log::{Clock, Log, LogError, Options, Reader, RealDisk, replay, walk};
use hindcast_model::event::{RequestsShed, TimeReached};
use hindcast_model::{Command, Event, EventId, KeyId, Name16, Seq, State, Submission, UnixMicros};
use hindcast_snapshots::{Bad, Step, at, newest, take, take_watched};
use uuid::Uuid;

/// Bytes that hold every snapshot of these tests.
const BUDGET: u64 = 1 << 20;

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
        take(dir.path(), &log.checkpoint(), BUDGET).expect("taken");
        record(&log, id + 1_000);
        let live = log.checkpoint();
        drop(log);
        let resumed = open(dir.path()).checkpoint();
        assert_eq!(resumed, live);
        fs::rename(dir.path().join("snapshots"), dir.path().join("away")).expect("moved");
        assert_eq!(open(dir.path()).checkpoint(), live);
        fs::rename(dir.path().join("away"), dir.path().join("snapshots")).expect("moved back");
    }
    let folder = dir.path().join("snapshots");
    let count = || fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(count(), 8);
    take(dir.path(), &open(dir.path()).checkpoint(), 0).expect("taken");
    assert_eq!(count(), 2, "the newest two stay whatever they take");
}

#[test]
fn snapshot_that_does_not_verify_is_set_aside_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path());
    record(&log, 2);
    let older = take(dir.path(), &log.checkpoint(), BUDGET).expect("taken");
    record(&log, 4);
    let newer = take(dir.path(), &log.checkpoint(), BUDGET).expect("taken");
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
    fs::copy(&older.path, &newer.path).expect("copied");
    let found = newest(dir.path()).expect("readable");
    assert_eq!(found.set_aside[0].why, Bad::OtherName(older.seq));
    fs::write(&newer.path, b"HC").expect("written");
    assert_eq!(
        newest(dir.path()).expect("readable").set_aside[0].why,
        Bad::NoSnapshot
    );
}

/// The states after each event, by a plain fold.
fn states(dir: &Path) -> Vec<State> {
    let mut state = State::default();
    let mut states = vec![state.clone()];
    walk(&RealDisk, dir, |recorded, _| {
        state.apply(&recorded.context, recorded.event().expect("known"));
        states.push(state.clone());
        Ok(())
    })
    .expect("whole");
    states
}

#[test]
fn any_moment_is_the_plain_fold_of_its_prefix() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path());
    for id in 1..60 {
        record(&log, id);
        if id % 7 == 0 {
            take(dir.path(), &log.checkpoint(), BUDGET).expect("taken");
        }
    }
    let reader = Reader::open(dir.path()).expect("readable");
    let states = states(dir.path());
    let mut steps = std::collections::BTreeSet::new();
    for (seq, state) in (0_u64..).zip(&states).skip(1) {
        let moment = at(&reader, Seq(seq)).expect("there");
        assert_eq!(&moment.state, state, "at {seq}");
        assert!(moment.folded <= 7 + 7, "at {seq}: {}", moment.folded);
        steps.extend(moment.from_snapshot);
        let cut = reader.cut(state.at()).expect("readable");
        assert_eq!(cut, Seq(seq), "every event here has a time of its own");
        assert_eq!(log.cut(state.at()).expect("readable"), cut);
    }
    assert_eq!(steps.len(), 8);
    assert_eq!(
        reader.cut(UnixMicros(0)).expect("readable"),
        log.cut(UnixMicros(0)).expect("readable")
    );
    let ahead = at(&reader, Seq(states.len() as u64));
    assert!(matches!(ahead, Err(LogError::Ends { .. })), "{ahead:?}");
    let whole = replay(&RealDisk, dir.path(), &|_| {}).expect("whole");
    assert_eq!(Some(&whole.state), states.last());
}

#[test]
fn snapshots_of_another_history_are_passed_over_and_left_in_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path());
    for id in 1..20 {
        record(&log, id);
    }
    let mut other = log.checkpoint();
    other.chain = hindcast_model::Digest([7; 32]);
    let foreign = take(dir.path(), &other, BUDGET).expect("taken").path;
    let damaged = dir.path().join("snapshots/00000000000000000003.snap");
    fs::write(&damaged, b"HCSN").expect("written");
    let reader = Reader::open(dir.path()).expect("readable");
    let moment = at(&reader, other.state.seq()).expect("folded");
    assert_eq!((moment.state, moment.from_snapshot), (other.state, None));
    assert!(foreign.exists() && damaged.exists());
}

/// What the child is to do: the directory, and the step at which it ends itself.
const TASK: &str = "HINDCAST_TEST_SNAPSHOT_KILL";

/// Runs only when a test starts it: takes a snapshot and kills itself at the step.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let (dir, last) = task.split_once('|').expect("two words");
    let log = open(Path::new(dir));
    let done = |step: Step| {
        if format!("{step:?}") == last {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("killed");
        }
    };
    take_watched(
        (&RealDisk, Path::new(dir)),
        &log.checkpoint(),
        BUDGET,
        &done,
    )
    .expect("taken");
    panic!("it was not killed");
}

#[test]
fn killed_at_any_step_it_is_whole_or_not_there_and_the_next_one_cleans_up() {
    use std::os::unix::process::ExitStatusExt;
    for step in Step::ALL {
        let dir = tempfile::tempdir().expect("a directory");
        let log = open(dir.path());
        for id in 1..20 {
            record(&log, id);
        }
        let live = log.checkpoint();
        log.close();
        drop(log);
        let child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child", "--nocapture"])
            .env(TASK, format!("{}|{step:?}", dir.path().display()))
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.signal(), Some(9), "{step:?}: {said}");
        let found = newest(dir.path()).expect("readable");
        assert_eq!(found.set_aside, [], "{step:?}");
        let there = found.checkpoint.is_some();
        assert_eq!(there, step >= Step::Named, "{step:?}");
        let log = open(dir.path());
        assert_eq!(log.checkpoint().state, live.state, "{step:?}");
        record(&log, 50);
        take(dir.path(), &log.checkpoint(), BUDGET).expect("taken");
        let folder = fs::read_dir(dir.path().join("snapshots")).expect("a folder");
        let half = folder.filter_map(|entry| entry.ok()?.path().extension().map(ToOwned::to_owned));
        assert!(half.into_iter().all(|end| end == "snap"), "{step:?}");
    }
}
