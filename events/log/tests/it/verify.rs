//! Proving a log, and reading it from its segments alone.

use std::fs;
use std::path::Path;

use crate::support::{completed, open, options, request, run_id, submission};
use hindcast_log::{
    Blobs, LogError, Reader, Report, StoreCheck, Vault, state_hash, verify, verify_opening,
};
use hindcast_model::{Event, KeyId, Payload, Seq, Stream, Submission};

pub(crate) fn filled(dir: &Path) -> String {
    written(dir, 0..1_500, 0)
}

/// A log that is as a filled one for so many frames, and then goes on otherwise.
pub(crate) fn parted(dir: &Path, frames: u128) {
    // A frame for the first request, and two for each other.
    written(dir, 0..(frames - 1) / 2 + 20, (frames - 1) / 2);
}

/// From the request numbered `parts_at` on, if it is not 0, other runs are requested.
fn written(dir: &Path, requests: std::ops::Range<u128>, parts_at: u128) -> String {
    let (log, _) = open(options(dir));
    let spec = log.blobs().put(b"a large spec").expect("stored");
    let mut event = request(9_999, None);
    if let Event::RunRequested(request) = &mut event {
        request.spec = Payload::Blob {
            digest: spec.digest(),
            bytes: 12,
        };
    }
    log.submit_and_wait(submission(9_999, event))
        .expect("recorded");
    for n in requests {
        let run = match parts_at > 0 && n >= parts_at {
            true => n + 5_000,
            false => n,
        };
        log.submit_and_wait(submission(n, request(run, None)))
            .expect("recorded");
        log.submit_and_wait(submission(n + (1 << 64), completed(run)))
            .expect("recorded");
    }
    let hash = log.state(state_hash).expect("encodes").to_string();
    log.close();
    hash
}

pub(crate) fn check(dir: &Path) -> Report {
    verify(dir, &mut std::iter::empty(), &|_| {}).expect("readable")
}

#[test]
fn whole_log_is_proved_and_its_state_hash_is_the_live_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let live = filled(dir.path());
    let report = check(dir.path());
    assert!(report.holds(), "{:?}", report.problems);
    assert_eq!(report.events, 6_002);
    assert_eq!(report.decided_again, 3_001);
    assert_eq!(report.blobs, 1);
    assert_eq!(report.store, StoreCheck::Compared(6_002));
    assert_eq!(report.state_hash.to_string(), live);
    assert!(report.segments >= 2);
}

#[test]
fn damage_is_named_wherever_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let archived = dir.path().join("archive/00000000000000000001.seg");
    let bytes = fs::read(&archived).expect("read");
    for offset in [3, 70, 127, 130, 200, 400, bytes.len() / 2, bytes.len() - 3] {
        let mut bad = bytes.clone();
        bad[offset] ^= 1;
        fs::write(&archived, bad).expect("written");
        let report = check(dir.path());
        assert!(!report.holds(), "a bit flipped at {offset} goes unseen");
    }
    fs::write(&archived, &bytes).expect("healed");
    assert!(check(dir.path()).holds());
}

#[test]
fn missing_and_damaged_blobs_are_named_with_their_event() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let name = Blobs::digest(b"a large spec").to_string();
    let path = dir.path().join("blobs").join(&name[..2]).join(&name[2..]);
    fs::write(&path, b"a large spek").expect("damaged");
    let report = check(dir.path());
    assert_eq!(report.problems_total, 1);
    assert_eq!(report.problems[0].seq, Seq(1));
    assert!(report.problems[0].what.contains("damaged"));
    fs::remove_file(&path).expect("removed");
    assert!(check(dir.path()).problems[0].what.contains("no blob"));
}

#[test]
fn reader_without_lock_sees_what_a_running_server_has_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    for n in 0..100 {
        log.submit_and_wait(submission(n, request(n, None)))
            .expect("recorded");
    }
    let reader = Reader::open(dir.path()).expect("opens");
    assert_eq!(reader.head().expect("read"), Some(log.head()));
    assert_eq!(
        reader.read(Seq(7), 5).expect("read"),
        log.read(Seq(7), 5).expect("read")
    );
    assert_eq!(
        reader.read_back(Seq(1_000), 5).expect("read"),
        log.read_back(Seq(1_000), 5).expect("read")
    );
    let stream = Stream::run(run_id(42));
    assert_eq!(
        reader.read_stream(stream).expect("read"),
        log.read_stream(stream).expect("read")
    );
    let folded = state_hash(&reader.state().expect("folds")).expect("encodes");
    assert_eq!(folded, log.state(state_hash).expect("encodes"));
    let report = check(dir.path());
    assert!(report.holds() && report.store == StoreCheck::InUse);
    log.close();
}

#[test]
fn empty_directory_has_an_empty_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let reader = Reader::open(dir.path()).expect("opens");
    assert_eq!(reader.head().expect("read"), None);
    assert!(reader.read(Seq(1), 10).expect("read").is_empty());
    let verdict = verify(dir.path(), &mut std::iter::empty(), &|_| {});
    assert!(
        matches!(verdict, Err(LogError::Io { .. })),
        "there is no log to prove"
    );
}

#[test]
pub(crate) fn checkpoints_are_proved_and_lost_events_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(options(dir.path()));
    for n in 0..20 {
        log.submit_and_wait(submission(n, request(n, None)))
            .expect("recorded");
    }
    let good = log.checkpoint();
    log.submit_and_wait(submission(99, request(99, None)))
        .expect("recorded");
    let ahead = log.checkpoint();
    log.close();
    drop(log);
    let report = verify(
        dir.path(),
        &mut [good.clone(), ahead.clone()].into_iter(),
        &|_| {},
    )
    .expect("readable");
    assert!(report.holds(), "{:?}", report.problems);
    assert_eq!(report.checkpoints, [Seq(40), Seq(42)]);

    let mut other = ahead;
    other.state = good.state.clone();
    let report = verify(dir.path(), &mut [other].into_iter(), &|_| {}).expect("readable");
    assert!(report.problems[0].what.contains("another hash"));

    fs::remove_dir_all(dir.path().join("wal")).expect("removed");
    fs::create_dir(dir.path().join("wal")).expect("made");
    let report = verify(dir.path(), &mut [good].into_iter(), &|_| {}).expect("readable");
    assert!(
        report
            .problems
            .iter()
            .any(|problem| problem.what.contains("was acknowledged"))
    );
}

/// A request whose spec is sealed under `key` of this vault.
fn sealed(vault: &Vault, blobs: &Blobs, n: u128, key: KeyId, text: String) -> Submission {
    let mut event = request(n, None);
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(&n.to_le_bytes());
    let kept = vault.keep(blobs, Some((key, nonce)), text);
    if let Event::RunRequested(request) = &mut event {
        request.spec = kept.expect("sealed").0;
    }
    let mut submission = submission(n, event);
    submission.commands[0].key = key;
    submission
}

#[test]
fn every_sealed_payload_is_opened_and_one_of_another_key_of_that_number_is_named() {
    let (dir, elsewhere) = (tempfile::tempdir(), tempfile::tempdir());
    let (dir, elsewhere) = (dir.expect("a directory"), elsewhere.expect("a directory"));
    let (log, _) = open(options(dir.path()));
    let vault = Vault::open(dir.path(), None).expect("opens");
    let lost = Vault::open(elsewhere.path(), None).expect("opens");
    let (two, three, shredded) = (KeyId(2), KeyId(3), KeyId(4));
    for key in [two, three, shredded] {
        vault.add(key, [7; 32]).expect("added");
        lost.add(key, [9; 32]).expect("added");
    }
    let large = "x".repeat(100_000);
    let texts = |n: u128| {
        if n.is_multiple_of(3) {
            large.clone()
        } else {
            "x".to_owned()
        }
    };
    let mut foreign = Vec::new();
    for n in 0..12 {
        let (own, key) = match n {
            5 | 6 => (&lost, two),
            9 => (&lost, shredded),
            n if n % 2 == 0 => (&vault, three),
            _ => (&vault, two),
        };
        let receipt = log.submit_and_wait(sealed(own, log.blobs(), n, key, texts(n)));
        let first = receipt.expect("recorded").first;
        if matches!(n, 5 | 6) {
            foreign.push(first);
        }
    }
    log.close();
    vault.shred(shredded).expect("shredded");
    let proved = |vault: &Vault| {
        verify_opening(dir.path(), vault, &mut std::iter::empty(), &|_| {}).expect("readable")
    };
    let report = proved(&vault);
    let named: Vec<Seq> = report.problems.iter().map(|problem| problem.seq).collect();
    assert_eq!(named, foreign, "{:?}", report.problems);
    assert!(report.problems[0].what.contains("data key 2"));
    assert_eq!(
        report.opened.values().sum::<u64>(),
        9,
        "{:?}",
        report.opened
    );
    // The key is told and not tried where it is not here.
    let none = Vault::open(tempfile::tempdir().expect("a directory").path(), None);
    let report = proved(&none.expect("opens"));
    assert!(report.holds(), "{:?}", report.problems);
    let first: Vec<KeyId> = report.sealed.iter().map(|first| first.key).collect();
    assert_eq!(first, [two, three, shredded]);
    assert!(check(dir.path()).holds());
}
