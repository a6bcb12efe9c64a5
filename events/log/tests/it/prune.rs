//! Retention: what is left of a log whose oldest segments are removed is the same log.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hindcast_log::{
    Clock, Log, LogError, Options, Prune, Reader, Recorded, StoreCheck, scrub, state_hash, verify,
};
use hindcast_model::event::{DatasetUploaded, SegmentsPruned};
use hindcast_model::{Digest, Event, Payload, Seq, Stream, UnixMicros};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::{LOG, TestClock, completed, request, run_id, submission};
use crate::verify::check;

/// Some hundred events.
const SEGMENT_BYTES: u64 = 48 << 10;

fn open(dir: &Path, clock: &Arc<TestClock>) -> Log {
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::new(dir)
    };
    let clock: Arc<dyn Clock> = clock.clone();
    Log::open(options, clock, LOG, &|_| {}).expect("opens").0
}

/// Records a run that is asked for and ends, some time after the one before.
fn record(log: &Log, clock: &TestClock, n: u128) {
    clock.advance(1_000);
    log.submit_and_wait(submission(n, request(n, None)))
        .expect("recorded");
    clock.advance(1_000);
    log.submit_and_wait(submission(n + (1 << 64), completed(n)))
        .expect("recorded");
}

/// Waits until the archive has caught up with what is written.
fn settle(log: &Log, segments: usize) {
    for _ in 0..2_000 {
        let archive = log.data_dir().join("archive");
        if fs::read_dir(archive).expect("listed").count() >= segments {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(2));
    }
    panic!("there are never {segments} archived segments");
}

fn prune(log: &Log, to: Seq, backup: Option<&str>) -> Option<SegmentsPruned> {
    let ask = Prune {
        to,
        backup: backup.map(str::to_owned),
        reason: "a test".to_owned(),
    };
    log.prune(&ask, &mut |_| {}).expect("pruned")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            // What another thread moves or removes meanwhile is not in the copy.
            false => drop(fs::copy(entry.path(), target)),
        }
    }
}

fn is_gap<T: std::fmt::Debug>(result: Result<T, LogError>, last: Seq, backup: Option<&str>) {
    let error = result.expect_err("it is pruned");
    let LogError::Pruned(gap) = error else {
        panic!("{error}");
    };
    assert_eq!((gap.to, gap.backup.as_deref()), (last, backup));
}

/// What both logs say of the same event: the events of a pruning have other ids.
fn comparable(recorded: Recorded) -> Recorded {
    match recorded.event() {
        Some(Event::SegmentsPruned(_)) => {
            let mut same = recorded;
            same.context.event_id = hindcast_model::EventId::from_bytes([0; 16]);
            same.context.correlation = same.context.event_id;
            same.context.principal = hindcast_model::Name16::default();
            same.causation = same.context.event_id;
            same
        }
        _ => recorded,
    }
}

/// Compares everything that can be asked of the pruned log with what its whole twin says.
fn compare(pruned: &Log, whole: &Log, runs: u128) {
    let (oldest, head) = (pruned.oldest(), pruned.head().seq);
    assert_eq!(whole.head().seq, head);
    let hash = |log: &Log| log.state(|state| state_hash(state).expect("encodes"));
    assert_eq!(hash(pruned), hash(whole));
    let (files, files_whole) = (
        Reader::open(pruned.data_dir()).expect("opens"),
        Reader::open(whole.data_dir()).expect("opens"),
    );
    assert_eq!(files.oldest(), oldest);
    let expected: Vec<Recorded> = whole
        .read(oldest, usize::MAX >> 1)
        .expect("read")
        .into_iter()
        .map(comparable)
        .collect();
    let plain = |events: Vec<Recorded>| events.into_iter().map(comparable).collect::<Vec<_>>();
    assert_eq!(
        plain(pruned.read(oldest, expected.len()).expect("read")),
        expected
    );
    assert_eq!(
        plain(files.read(oldest, expected.len()).expect("read")),
        expected
    );
    let last = Seq(oldest.0 - 1);
    for n in 0..runs {
        let stream = Stream::run(run_id(n));
        let there = whole.read_stream(stream).expect("read");
        let (live, offline) = (pruned.read_stream(stream), files.read_stream(stream));
        match there.first().is_none_or(|first| first.seq() < oldest) && last > Seq(0) {
            true => {
                is_gap(live, last, None);
                is_gap(offline, last, None);
            }
            false => {
                assert_eq!(live.expect("read"), there);
                assert_eq!(offline.expect("read"), there);
            }
        }
    }
    for seq in (1..=head.0)
        .step_by(97)
        .chain([last.0.max(1), head.0])
        .map(Seq)
    {
        let at = whole.read(seq, 1).expect("read")[0].context.at;
        if seq <= last {
            is_gap(pruned.read(seq, 1), last, None);
            is_gap(files.read(seq, 1), last, None);
        }
        if seq < last {
            is_gap(files.fold(None, seq), last, None);
        } else {
            let (a, b) = (files.fold(None, seq), files_whole.fold(None, seq));
            assert_eq!(a.expect("folds").state, b.expect("folds").state);
            assert_eq!(pruned.cut(at).expect("read"), whole.cut(at).expect("read"));
            assert_eq!(files.cut(at).expect("read"), whole.cut(at).expect("read"));
        }
    }
    if last > Seq(0) {
        is_gap(pruned.cut(UnixMicros(1)), last, None);
        is_gap(files.cut(UnixMicros(1)), last, None);
        is_gap(pruned.read_back(oldest, 10), last, None);
        is_gap(files.read_back(oldest, 10), last, None);
        assert_eq!(pruned.read_back(oldest.next(), 10).expect("read").len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pruned_log_answers_as_its_whole_twin_does(
        work in prop::collection::vec((10..150_u128, prop::option::of(0.0..1.0_f64)), 3..7)
    ) {
        let (dir, twin_dir) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (clock, twin_clock) = (Arc::new(TestClock::default()), Arc::new(TestClock::default()));
        let (log, twin) = (open(dir.path(), &clock), open(twin_dir.path(), &twin_clock));
        let mut runs = 0;
        for (count, share) in work {
            for n in runs..runs + count {
                record(&log, &clock, n);
                record(&twin, &twin_clock, n);
            }
            runs += count;
            let sealed = log.sealed();
            let Some(share) = share.filter(|_| !sealed.is_empty()) else { continue };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of few segments")]
            let to = sealed[(share * sealed.len() as f64) as usize].last;
            if let Some(pruned) = prune(&log, to, None) {
                assert!(pruned.last <= to);
                assert_eq!(log.oldest(), pruned.last.next());
                let told = Event::SegmentsPruned(pruned);
                twin.submit_and_wait(submission((1 << 90) + runs, told)).expect("recorded");
            }
            compare(&log, &twin, runs);
        }
        let head = log.head().seq;
        let oldest = log.oldest();
        log.close();
        drop(log);
        let report = check(dir.path());
        prop_assert!(report.holds(), "{:?}", report.problems);
        prop_assert_eq!(report.store, StoreCheck::Compared(head.0 - (oldest.0 - 1)));
        prop_assert_eq!(report.pruned.is_empty(), oldest == Seq(1));
        // Again, with the store there, and written again from the base.
        let log = open(dir.path(), &clock);
        compare(&log, &twin, runs);
        log.close();
        drop(log);
        fs::remove_dir_all(dir.path().join("sled")).expect("removed");
        let log = open(dir.path(), &clock);
        let state = Reader::open(dir.path()).expect("opens").fold(None, head).expect("folds").state;
        prop_assert_eq!(&state, &twin.state(Clone::clone));
        prop_assert_eq!(log.oldest(), oldest);
        prop_assert_eq!(log.read(oldest, 1).expect("read")[0].seq(), oldest);
        log.close();
        drop(log);
        prop_assert!(check(dir.path()).holds());
    }
}

#[test]
fn a_crash_at_any_step_leaves_a_log_that_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let log = open(dir.path(), &clock);
    (0..600).for_each(|n| record(&log, &clock, n));
    settle(&log, 4);
    let first = log.sealed()[0].last;
    let second = log.sealed()[2].last;
    // The second pruning follows one that is done.
    prune(&log, first, Some("B1")).expect("something to remove");
    let copies = tempfile::tempdir().expect("a directory");
    let mut steps: Vec<String> = Vec::new();
    let ask = Prune {
        to: second,
        backup: Some("B2".to_owned()),
        reason: "older".to_owned(),
    };
    let mut keep = |step: &str| {
        let name = format!("{}-{step}", steps.len());
        copy(dir.path(), &copies.path().join(&name));
        steps.push(name);
    };
    keep("nothing");
    let head = log.head().seq;
    let whole = log.state(Clone::clone);
    log.prune(&ask, &mut keep).expect("pruned");
    log.close();
    drop(log);
    let kinds: Vec<&str> = steps.iter().map(|name| &name[2..]).collect();
    assert_eq!(
        kinds,
        [
            "nothing", "base", "event", "store", "segment", "segment", "removed"
        ]
    );
    for (at, name) in steps.iter().enumerate() {
        let dir = copies.path().join(name);
        fs::write(dir.join("base.tmp"), b"half").expect("written");
        let before = check(&dir);
        assert!(before.holds(), "{name}: {:?}", before.problems);
        let log = open(&dir, &clock);
        let oldest = match at {
            0 => first.next(),
            _ => second.next(),
        };
        assert_eq!(log.oldest(), oldest, "{name}");
        let told = log.state(|state| state.pruned().cloned().expect("pruned"));
        let backup = if at == 0 { "B1" } else { "B2" };
        assert_eq!(
            (told.last.next(), told.backup.as_deref()),
            (oldest, Some(backup))
        );
        is_gap(log.read(first, 1), Seq(oldest.0 - 1), Some(backup));
        let files = fs::read_dir(dir.join("archive")).expect("listed");
        let least = files.filter_map(|file| {
            let name = file.expect("an entry").file_name();
            name.to_string_lossy().strip_suffix(".seg")?.parse().ok()
        });
        assert_eq!(least.min().map(Seq), Some(oldest), "{name}");
        // What was there is there, and it goes on.
        let after = Reader::open(&dir).expect("opens");
        let state = after.fold(None, head).expect("folds").state;
        assert_eq!(state.dump(), whole.dump(), "{name}");
        record(&log, &clock, 9_000);
        log.close();
        drop(log);
        assert!(check(&dir).holds(), "{name}");
    }
}

#[test]
fn blobs_of_removed_events_are_swept_and_those_of_the_state_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let log = open(dir.path(), &clock);
    let put = |bytes: &[u8]| log.blobs().put(bytes).expect("stored").digest();
    let (spec, open_spec, table) = (put(b"a spec"), put(b"an open spec"), put(b"x,y\n1,2\n"));
    let blob = |digest: Digest| Payload::Blob { digest, bytes: 6 };
    let mut ended = request(5_000, None);
    let mut waiting = request(5_001, Some(0));
    for (event, digest) in [(&mut ended, spec), (&mut waiting, open_spec)] {
        if let Event::RunRequested(request) = event {
            request.spec = blob(digest);
        }
    }
    let upload = Event::DatasetUploaded(DatasetUploaded {
        digest: table,
        name: "table".to_owned(),
        format: "csv".to_owned(),
        bytes: 8,
        rows: 1,
        columns: 2,
        idempotency: None,
    });
    for (n, event) in (5_000..).zip([ended, waiting, upload, completed(5_000)]) {
        log.submit_and_wait(submission(n, event)).expect("recorded");
    }
    assert_eq!(log.sweep_blobs().expect("swept"), 0);
    (0..200).for_each(|n| record(&log, &clock, n));
    settle(&log, 1);
    prune(&log, log.sealed()[0].last, None).expect("something to remove");
    assert_eq!(log.sweep_blobs().expect("swept"), 1);
    assert!(log.blobs().get(spec).is_err());
    assert!(log.blobs().get(open_spec).is_ok() && log.blobs().get(table).is_ok());
    is_gap(
        log.read_stream(Stream::dataset(table)),
        Seq(log.oldest().0 - 1),
        None,
    );
    // The state that the log begins with names the spec of a run that has ended since.
    log.submit_and_wait(submission(5_004, completed(5_001)))
        .expect("recorded");
    assert_eq!(log.sweep_blobs().expect("swept"), 0);
    assert!(log.blobs().get(open_spec).is_ok());
    log.close();
    drop(log);
    let report = check(dir.path());
    assert!(report.holds(), "{:?}", report.problems);
    assert_eq!(report.blobs, 2);
}

#[test]
fn damage_around_the_base_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let log = open(dir.path(), &clock);
    (0..300).for_each(|n| record(&log, &clock, n));
    settle(&log, 2);
    let kept = copy_of(dir.path(), "archive");
    prune(&log, log.sealed()[0].last, Some("B1")).expect("something to remove");
    let oldest = log.oldest();
    log.close();
    drop(log);
    let scrubbed = || scrub(dir.path(), &mut |_| true).expect("read").damaged;
    assert_eq!(scrubbed(), []);

    // The first segment belongs to another chain than the base.
    let path = dir.path().join(format!("archive/{:020}.seg", oldest.0));
    let bytes = fs::read(&path).expect("read");
    let mut other = bytes.clone();
    other[40] ^= 1;
    let crc = crc32c::crc32c(&other[..124]);
    other[124..128].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, other).expect("written");
    let report = check(dir.path());
    assert!(
        report.problems[0].what.contains("hash chain is broken"),
        "{:?}",
        report.problems
    );
    fs::write(&path, bytes).expect("healed");
    assert!(check(dir.path()).holds());

    let base = dir.path().join("base.bin");
    let bytes = fs::read(&base).expect("read");
    let mut bad = bytes.clone();
    bad[200] ^= 1;
    fs::write(&base, &bad).expect("damaged");
    let damaged = scrubbed();
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert_eq!(damaged[0].file, "base.bin");
    let error = verify(dir.path(), &mut std::iter::empty(), &|_| {}).expect_err("damaged");
    assert!(error.to_string().contains("base.bin"), "{error}");

    // A base of other rules stops the start, until the segments are back.
    let mut foreign = bytes.clone();
    foreign[8..12].copy_from_slice(&7_u32.to_le_bytes());
    let hash = blake3::Hasher::new()
        .update(&foreign[..112])
        .update(&foreign[144..])
        .finalize();
    foreign[112..144].copy_from_slice(hash.as_bytes());
    fs::write(&base, &foreign).expect("written");
    let options = || Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::new(dir.path())
    };
    let opened = Log::open(options(), clock.clone(), Uuid::nil(), &|_| {});
    let error = opened.err().expect("it is refused").to_string();
    assert!(
        error.contains("rules 7") && error.contains("backup B1"),
        "{error}"
    );
    copy(kept.path(), &dir.path().join("archive"));
    let log = open(dir.path(), &clock);
    assert_eq!(log.oldest(), Seq(1));
    assert_eq!(log.read(Seq(1), 1).expect("read").len(), 1);
    // It can be pruned again, and that is told again.
    let second = log.sealed()[1].last;
    prune(&log, second, Some("B2")).expect("something to remove");
    assert_eq!(log.oldest(), second.next());
    log.close();
    drop(log);
    assert!(check(dir.path()).holds());
}

fn copy_of(dir: &Path, name: &str) -> tempfile::TempDir {
    let kept = tempfile::tempdir().expect("a directory");
    copy(&dir.join(name), kept.path());
    kept
}
