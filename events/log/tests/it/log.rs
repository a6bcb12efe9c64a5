//! The log over the real disk and the real store: what is acknowledged is there after a restart,
//! and damage is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use crate::support::{TestClock, completed, open, options, request, run_id, submission};
use hindcast_log::{Body, CommitError, Log, LogError, Options, Recorded, replay, state_hash};
use hindcast_model::event::{CancelRequested, ServerStopped};
use hindcast_model::{Event, Expect, RunId, Seq, Stream, Submission};

fn segments(dir: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join(kind)).expect("a directory");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

fn fill(log: &Log, from: u128, to: u128) {
    let (send, receive) = mpsc::channel();
    for n in from..to {
        let send = send.clone();
        let pair = Submission {
            commands: [
                submission(n, request(n, None)),
                submission(n + (1 << 64), completed(n)),
            ]
            .into_iter()
            .flat_map(|submission| submission.commands)
            .collect(),
        };
        let reply = Box::new(move |result| send.send(result).expect("the test waits"));
        let mut pending = Some((pair, reply));
        while let Some((pair, reply)) = pending.take() {
            // The queue is short in some tests: wait for an answer and try again.
            if log.stats().queued >= 1_000 {
                std::thread::yield_now();
                pending = Some((pair, reply));
                continue;
            }
            log.submit(pair, reply).expect("queued");
        }
    }
    drop(send);
    assert_eq!(
        receive.iter().filter(Result::is_ok).count() as u128,
        to - from
    );
}

#[test]
fn acknowledged_events_are_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, recovery) = open(options(dir.path()));
    assert!(recovery.fresh && recovery.clean);
    log.submit_and_wait(submission(1 << 101, start()))
        .expect("recorded");
    fill(&log, 0, 500);
    let head = log.head();
    let hash = log.state(state_hash).expect("encodes");
    drop(log);

    let (log, recovery) = open(options(dir.path()));
    assert_eq!(recovery.events, 1 + 500 * 4);
    assert!(!recovery.clean && recovery.torn.is_none() && recovery.rebuilt.is_none());
    assert_eq!(log.head(), head);
    assert_eq!(log.state(state_hash).expect("encodes"), hash);
    let events = log.read_stream(Stream::run(run_id(250))).expect("read");
    let names: Vec<&str> = events
        .iter()
        .filter_map(|e| Some(e.event()?.kind().name))
        .collect();
    assert_eq!(
        names,
        [
            "run_requested",
            "run_admitted",
            "outcome_observed",
            "run_completed"
        ]
    );
    assert_eq!(
        events.iter().map(|event| event.version).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    log.close();
}

#[test]
fn ended_runs_leave_the_state_and_are_found_in_every_segment() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    fill(&log, 0, 4_000);
    assert_eq!(log.state(|state| state.runs().count()), 0);
    assert!(log.state(hindcast_model::State::dump).len() < 2_000);
    log.close();
    assert!(
        segments(dir.path(), "archive").len() >= 3,
        "several segments were sealed"
    );
    assert_eq!(segments(dir.path(), "wal").len(), 1);
    drop(log);

    let (log, recovery) = open(options(dir.path()));
    assert_eq!(recovery.rebuilt, None);
    for n in [0, 1, 1_234, 2_500, 3_999] {
        let events = log.read_stream(Stream::run(run_id(n))).expect("read");
        assert_eq!(events.len(), 4, "run {n}");
        let by_seq = log.read(events[0].seq(), 1).expect("read");
        assert_eq!(by_seq, events[..1]);
    }
    assert!(
        log.read_stream(Stream::run(RunId::default()))
            .expect("read")
            .is_empty()
    );
    let all = log.read(Seq(1), 100_000).expect("read");
    assert_eq!(all.len(), 16_000);
    assert!(
        all.iter()
            .zip(1..)
            .all(|(event, seq)| event.seq() == Seq(seq))
    );
    let back = log.read_back(Seq(9_000), 10).expect("read");
    assert_eq!(
        back.iter().map(|event| event.seq().0).collect::<Vec<_>>(),
        (8_990..9_000).rev().collect::<Vec<_>>()
    );
    log.close();
}

#[test]
fn store_that_does_not_open_is_moved_aside_and_rebuilt_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    fill(&log, 0, 3_000);
    let expected = log.read(Seq(1), 100_000).expect("read");
    log.close();
    drop(log);
    fs::remove_file(dir.path().join("sled/db")).expect("removed");
    fs::create_dir(dir.path().join("sled/db")).expect("damaged");

    let (log, recovery) = open(options(dir.path()));
    let rebuilt = recovery.rebuilt.expect("told");
    assert!(Path::new(&rebuilt.moved_to).exists());
    assert_eq!(rebuilt.events, 12_000);
    assert_eq!(log.read(Seq(1), 12_000).expect("read"), expected);
    // The event about it is recorded by the committer's thread: wait for the next commit.
    log.submit_and_wait(submission(1 << 100, stop()))
        .expect("recorded");
    let told = log.read(Seq(12_001), 1).expect("read");
    assert!(matches!(told[0].body, Body::Known(Event::StoreRebuilt(_))));
    log.close();
}

fn start() -> Event {
    Event::ServerStarted(hindcast_model::event::ServerStarted {
        binary_version: "test".to_owned(),
        decider_version: hindcast_model::DECIDER_VERSION,
        numeric_profile: "test".to_owned(),
        clean: true,
    })
}

fn stop() -> Event {
    Event::ServerStopped(ServerStopped {
        reason: "test".to_owned(),
    })
}

#[test]
fn store_overwritten_with_garbage_is_rebuilt_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    fill(&log, 0, 500);
    log.close();
    drop(log);
    fs::write(dir.path().join("sled/db"), b"no store at all").expect("damaged");
    let (log, recovery) = open(options(dir.path()));
    assert_eq!(recovery.rebuilt.expect("told").events, 2_000);
    assert_eq!(log.read(Seq(1), 2_000).expect("read").len(), 2_000);
    log.close();
}

#[test]
fn deleted_store_is_rebuilt_from_archive_and_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    fill(&log, 0, 2_000);
    log.close();
    drop(log);
    fs::remove_dir_all(dir.path().join("sled")).expect("removed");
    let (log, recovery) = open(options(dir.path()));
    assert_eq!(recovery.rebuilt.expect("told").events, 8_000);
    assert_eq!(
        log.read_stream(Stream::run(run_id(3))).expect("read").len(),
        4
    );
    log.close();
}

#[test]
fn torn_tail_is_cut_kept_and_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    fill(&log, 0, 10);
    let end = {
        log.close();
        drop(log);
        let path = &segments(dir.path(), "wal")[0];
        let mut bytes = fs::read(path).expect("read");
        let mut end = 128;
        while bytes[end..].starts_with(b"HCF1") {
            let body = bytes[end + 44..end + 48].try_into().expect("four bytes");
            end += 84 + u32::from_le_bytes(body) as usize;
        }
        // A frame whose middle never reached the disk.
        bytes[end..end + 300].fill(0x5a);
        bytes[end..end + 4].copy_from_slice(b"HCF1");
        fs::write(path, bytes).expect("written");
        end
    };
    let (log, recovery) = open(options(dir.path()));
    let torn = recovery.torn.expect("reported");
    assert_eq!((torn.offset, torn.bytes), (end as u64, 300));
    assert_eq!(fs::read(&torn.kept_in).expect("kept").len(), 300);
    log.submit_and_wait(submission(1 << 100, stop()))
        .expect("recorded");
    let told = log.read(Seq(41), 1).expect("read");
    assert!(matches!(told[0].body, Body::Known(Event::TornTailCut(_))));
    log.close();
    drop(log);
    let (log, recovery) = open(options(dir.path()));
    assert!(recovery.torn.is_none() && recovery.clean);
    log.close();
}

/// Damages the file at `offset` and says how the log takes it.
fn damage(dir: &Path, path: &Path, offset: usize) -> Result<(), LogError> {
    let bytes = fs::read(path).expect("read");
    let mut bad = bytes.clone();
    bad[offset] ^= 0x10;
    fs::write(path, bad).expect("written");
    let opened = Log::open(
        options(dir),
        Arc::new(TestClock::default()),
        crate::support::LOG,
        &|_| {},
    );
    let opened = opened.map(|(log, _)| log.close());
    fs::write(path, bytes).expect("healed");
    opened
}

#[test]
fn damage_before_the_tail_stops_the_start_and_names_the_sequence() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    for n in 0..2_500_u128 {
        if n % 50 == 0 {
            fill(&log, n, n + 50);
        }
    }
    log.close();
    drop(log);
    let archived = &segments(dir.path(), "archive")[0];
    let active = &segments(dir.path(), "wal")[0];
    for (path, offset) in [
        (archived, 5_000),
        (archived, 90),
        (archived, 20),
        (active, 300),
    ] {
        match damage(dir.path(), path, offset) {
            Err(LogError::Corrupt { seq, file, .. }) => {
                assert!(seq.0 >= 1 && file.ends_with(".seg"), "{seq} {file}");
            }
            other => panic!("offset {offset} of {}: {other:?}", path.display()),
        }
    }
    let moved = archived.with_extension("away");
    fs::rename(archived, &moved).expect("moved");
    let missing = Log::open(
        options(dir.path()),
        Arc::new(TestClock::default()),
        crate::support::LOG,
        &|_| {},
    );
    assert!(missing.is_err_and(|error| error.to_string().contains("missing")));
    fs::rename(&moved, archived).expect("moved back");
    assert!(damage(dir.path(), archived, 5_000).is_err());
    let (log, recovery) = open(options(dir.path()));
    assert_eq!(recovery.rebuilt, None);
    log.close();
}

#[test]
fn expected_versions_and_sizes_are_checked_before_anything_is_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    let mut stale = submission(1, request(1, None));
    stale.commands[0].expect = Some(Expect {
        stream: Stream::run(run_id(1)),
        version: 3,
    });
    let conflict = log.submit_and_wait(stale);
    assert!(matches!(
        conflict,
        Err(CommitError::VersionConflict {
            expected: 3,
            actual: 0,
            ..
        })
    ));
    let reason = "x".repeat(60_000);
    let large = Event::CancelRequested(CancelRequested {
        run: run_id(1),
        reason,
    });
    let large = log.submit_and_wait(submission(2, large));
    assert!(matches!(large, Err(CommitError::TooLarge { .. })));
    assert_eq!(log.head().seq, Seq(0));
    log.close();
    let (send, receive) = mpsc::channel();
    let reply = Box::new(move |result| drop(send.send(result)));
    assert!(log.submit(submission(3, stop()), reply).is_err());
    assert!(
        receive.recv().is_err(),
        "a refused submission gets no answer beside its error"
    );
}

#[test]
fn second_process_is_told_that_the_directory_is_in_use() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    let second = Log::open(
        options(dir.path()),
        Arc::new(TestClock::default()),
        crate::support::LOG,
        &|_| {},
    );
    assert!(matches!(second, Err(LogError::Locked(_))));
    log.close();
}

#[test]
fn subscribers_see_every_event_once_and_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    let (send, receive) = mpsc::channel::<Seq>();
    let position = log.subscribe(Box::new(move |batch| {
        batch
            .events
            .iter()
            .map(Recorded::seq)
            .all(|seq| send.send(seq).is_ok())
    }));
    assert_eq!(position.seq, Seq(0));
    fill(&log, 0, 300);
    log.close();
    drop(log);
    assert_eq!(
        receive.iter().collect::<Vec<_>>(),
        (1..=1_200).map(Seq).collect::<Vec<_>>()
    );
}

#[test]
fn deadline_passes_in_log_time_and_fails_the_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let (log, _) = Log::open(
        options(dir.path()),
        Arc::clone(&clock) as _,
        crate::support::LOG,
        &|_| {},
    )
    .expect("opens");
    log.submit_and_wait(submission(1, request(1, Some(2_000_000))))
        .expect("recorded");
    assert_eq!(log.state(|state| state.pending().count()), 1);
    clock.advance(2_500_000);
    // Any commit stamps the time, and the committer wakes for the timer by itself as well.
    log.submit_and_wait(submission(2, stop()))
        .expect("recorded");
    let events = log.read_stream(Stream::run(run_id(1))).expect("read");
    let last = events.last().and_then(Recorded::event).expect("events");
    assert!(matches!(last, Event::RunFailed(failed) if failed.code == "deadline_exceeded"));
    assert_eq!(log.state(|state| state.pending().count()), 0);
    log.close();
}

#[test]
fn no_timer_goes_before_the_next_server_has_started() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let open = || {
        let opened = Log::open(
            options(dir.path()),
            Arc::clone(&clock) as _,
            crate::support::LOG,
            &|_| {},
        );
        opened.expect("opens").0
    };
    let log = open();
    log.submit_and_wait(submission(1, start()))
        .expect("recorded");
    log.submit_and_wait(submission(2, request(1, Some(2_000_000))))
        .expect("recorded");
    log.close();
    drop(log);
    clock.advance(2_500_000);
    let log = open();
    log.submit_and_wait(submission(3, stop()))
        .expect("recorded");
    assert_eq!(log.state(|state| state.pending().count()), 1);
    log.submit_and_wait(submission(4, start()))
        .expect("recorded");
    log.submit_and_wait(submission(5, stop()))
        .expect("recorded");
    let events = log.read_stream(Stream::run(run_id(1))).expect("read");
    let last = events.last().and_then(Recorded::event).expect("events");
    assert!(matches!(last, Event::RunFailed(failed) if failed.code == "deadline_unserved"));
    let stats = log.stats();
    assert_eq!((stats.unanswered, stats.answered), (0, 3));
    log.close();
}

#[test]
fn blobs_that_no_event_names_are_swept() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    let named = log.blobs().put(b"the spec").expect("stored");
    let mut event = request(1, None);
    if let Event::RunRequested(request) = &mut event {
        request.spec = hindcast_model::Payload::Blob {
            digest: named.digest(),
            bytes: 8,
        };
    }
    log.submit_and_wait(submission(1, event)).expect("recorded");
    let digest = named.digest();
    drop(named);
    drop(log.blobs().put(b"never named").expect("stored"));
    assert_eq!(log.sweep_blobs().expect("swept"), 1);
    assert_eq!(log.blobs().get(digest).expect("kept"), b"the spec");
    log.close();
}

#[test]
fn replay_twice_gives_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    fill(&log, 0, 700);
    let live = log.state(state_hash).expect("encodes");
    log.close();
    for _ in 0..2 {
        let replayed = replay(&hindcast_log::RealDisk, dir.path(), &|_| {}).expect("replays");
        assert_eq!(state_hash(&replayed.state).expect("encodes"), live);
        assert_eq!(replayed.head(), Seq(2_800));
    }
}

#[test]
fn default_options_name_sane_sizes() {
    let options = Options::new("x");
    assert!(options.segment_bytes >= 16 << 20 && options.queue_max >= 1_024);
}

#[test]
fn cut_at_a_time_is_the_last_event_not_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let (log, _) = Log::open(
        options(dir.path()),
        Arc::clone(&clock) as _,
        crate::support::LOG,
        &|_| {},
    )
    .expect("opens");
    for n in 0..200 {
        log.submit_and_wait(submission(n, request(n, None)))
            .expect("recorded");
        clock.advance(10);
    }
    let start = log.read(Seq(1), 1).expect("read")[0].context.at;
    let cut = |micros: u64| log.cut(start.plus(micros)).expect("cut");
    assert_eq!(log.cut(hindcast_model::UnixMicros(5)).expect("cut"), Seq(0));
    assert_eq!((cut(0), cut(9), cut(10)), (Seq(2), Seq(2), Seq(4)));
    assert_eq!((cut(1_985), cut(u64::MAX)), (Seq(398), Seq(400)));
    log.close();
}

#[test]
fn checkpoint_and_tail_give_the_state_of_the_whole_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    let mut checkpoints = vec![log.checkpoint()];
    for n in (0..2_000).step_by(250) {
        fill(&log, n, n + 250);
        checkpoints.push(log.checkpoint());
    }
    log.submit_and_wait(submission(9_999, request(9_999, Some(1 << 50))))
        .expect("recorded");
    let whole = log.checkpoint();
    log.close();
    drop(log);
    for checkpoint in checkpoints.into_iter().chain([whole.clone()]) {
        let at = checkpoint.state.seq();
        let options = Options {
            checkpoint: Some(checkpoint),
            ..options(dir.path())
        };
        let (log, recovery) = open(options);
        assert_eq!(log.checkpoint(), whole, "from sequence {at}");
        assert_eq!((recovery.events, recovery.rebuilt), (8_002, None));
        assert_eq!(
            log.read_stream(Stream::run(run_id(7))).expect("read").len(),
            4
        );
        assert_eq!(
            log.read_stream(Stream::run(run_id(1_999)))
                .expect("read")
                .len(),
            4
        );
        log.close();
    }
    let mut foreign = whole.clone();
    foreign.chain = hindcast_model::Digest::default();
    let (log, _) = open(Options {
        checkpoint: Some(foreign),
        ..options(dir.path())
    });
    assert_eq!(log.checkpoint(), whole);
    log.close();
}

/// The sequence that the log is known to have had, if opening says that its end is gone.
fn lost(dir: &Path) -> Option<(Seq, Seq)> {
    let opened = Log::open(
        options(dir),
        Arc::new(TestClock::default()),
        crate::support::LOG,
        &|_| {},
    );
    match opened {
        Err(LogError::TailLost { head, known, .. }) => Some((head, known)),
        Err(other) => panic!("{other}"),
        Ok((log, _)) => {
            log.close();
            None
        }
    }
}

#[test]
fn log_that_has_lost_acknowledged_events_does_not_open_over_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    fill(&log, 0, 2_000);
    log.close();
    drop(log);
    let active = segments(dir.path(), "wal").remove(0);
    let kept = active.with_extension("kept");
    fs::rename(&active, &kept).expect("moved");
    for _ in 0..2 {
        let (head, known) = lost(dir.path()).expect("the end is gone");
        assert!(head < known && known == Seq(8_000), "{head} {known}");
    }
    fs::rename(dir.path().join("archive"), dir.path().join("away")).expect("moved");
    assert_eq!(lost(dir.path()), Some((Seq(0), Seq(8_000))));
    fs::remove_dir_all(dir.path().join("archive")).expect("removed");
    fs::rename(dir.path().join("away"), dir.path().join("archive")).expect("moved back");
    for path in segments(dir.path(), "wal") {
        fs::remove_file(path).expect("removed");
    }
    fs::rename(&kept, &active).expect("moved back");
    assert_eq!(lost(dir.path()), None);
}

#[test]
fn snapshot_ahead_of_the_log_is_told_as_loss() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    fill(&log, 0, 10);
    let ahead = log.checkpoint();
    log.close();
    drop(log);
    for gone in ["wal", "sled"] {
        fs::remove_dir_all(dir.path().join(gone)).expect("removed");
    }
    let options = Options {
        checkpoint: Some(ahead),
        ..options(dir.path())
    };
    let clock = Arc::new(TestClock::default());
    let opened = Log::open(options, clock, crate::support::LOG, &|_| {});
    assert!(matches!(
        opened,
        Err(LogError::TailLost { known: Seq(40), .. })
    ));
}
