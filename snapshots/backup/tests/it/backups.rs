//! What a backup sends, lists and leaves out, and what comes back.

use hindcast_backup::{
    BackupError, Keep, Restore, Source, Wanted, Work, create, plan, plan_local, prune, restore,
    verify,
};
use hindcast_log::{Log, Options, Position, Reader, verify as verify_log};
use hindcast_model::event::BackupKind;
use hindcast_model::{Event, Seq};
use uuid::Uuid;

use crate::support::{SEGMENT, World, add_key, files, hash_at, head, repository};

#[test]
fn incremental_sends_what_is_missing_and_both_restore_to_their_own_end() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 60);
    let repository = world.repository();
    let full = world.backup(&repository, BackupKind::Incremental);
    assert_eq!((full.kind, full.parent), (BackupKind::Full, None));
    assert_eq!(
        (full.from_seq, full.to_seq),
        (Seq(1), head(&world.data_dir()))
    );
    assert!(full.stretches.iter().filter(|s| s.sealed).count() > 2);
    assert_eq!(full.stored_bytes(), full.sent_bytes);
    world.work(&log, 10);
    let second = world.backup(&repository, BackupKind::Incremental);
    assert_eq!(
        (second.kind, second.parent),
        (BackupKind::Incremental, Some(full.id))
    );
    assert_eq!(second.from_seq, full.to_seq.next());
    assert!(second.sent_bytes * 2 < second.stored_bytes(), "{second:?}");
    assert_eq!(second.blobs.len(), 70);
    for manifest in [&full, &second] {
        world.verify(&repository, manifest.id);
    }
    log.close();
    let hashes = [full.to_seq, second.to_seq].map(|seq| hash_at(&world.data_dir(), seq));
    assert_eq!(hashes, [full.state_hash, second.state_hash]);
    for manifest in [&full, &second] {
        let plan = plan(&repository, Wanted::Backup(manifest.id)).expect("planned");
        let dir = world.root.path().join(format!("to-{}", manifest.to_seq));
        let restored = world.restore_to(&plan, &dir);
        assert!(restored.compared);
        assert_eq!(restored.state_hash, manifest.state_hash);
        assert_eq!(hash_at(&dir, manifest.to_seq), manifest.state_hash);
        let report = verify_log(&dir, &mut std::iter::empty(), &|_| {}).expect("reads");
        assert!(report.holds(), "{:?}", report.problems);
    }
}

#[test]
fn nothing_new_is_an_incremental_backup_that_sends_nothing() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 5);
    let repository = world.repository();
    world.backup(&repository, BackupKind::Full);
    let again = world.backup(&repository, BackupKind::Incremental);
    assert_eq!(again.sent_bytes, 0);
    assert_eq!(again.from_seq, again.to_seq.next());
    world.verify(&repository, again.id);
    let full = world.backup(&repository, BackupKind::Full);
    assert_eq!(full.sent_bytes, full.stored_bytes());
    // The first one's objects were written again, and it still holds.
    world.verify(&repository, again.id);
}

#[test]
fn restored_server_goes_on_and_refuses_cursors_of_before() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 20);
    let repository = world.repository();
    let backup = world.backup(&repository, BackupKind::Full);
    world.work(&log, 3);
    let cursor: Position = log.head();
    log.close();
    drop(log);
    let plan = plan(&repository, Wanted::Latest).expect("planned");
    let restored = world.restore(&plan);
    assert_eq!(restored.to_seq, backup.to_seq);
    assert!(restored.epoch > restored.previous_epoch);
    let kept = restored.kept.expect("the old one is kept");
    assert_eq!(head(&kept), cursor.seq);
    let log = world.open();
    assert_eq!(log.head().seq, backup.to_seq.next());
    assert!(log.resume(cursor).is_err(), "another history");
    let first = log.read(backup.to_seq.next(), 1).expect("reads");
    let Some(Event::Restored(event)) = first[0].event() else {
        panic!("{first:?}");
    };
    assert_eq!((event.cut, event.epoch), (backup.to_seq, restored.epoch));
    assert_eq!(event.state_hash, backup.state_hash);
    world.work(&log, 30);
    let next = world.backup(&repository, BackupKind::Incremental);
    assert_eq!((next.epoch, next.parent), (restored.epoch, Some(backup.id)));
    world.verify(&repository, next.id);
    log.close();
    let report = verify_log(&world.data_dir(), &mut std::iter::empty(), &|_| {});
    let report = report.expect("reads");
    assert!(report.holds(), "{:?}", report.problems);
}

#[test]
fn two_restores_of_one_backup_are_two_histories() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 4);
    log.close();
    let repository = world.repository();
    world.backup(&repository, BackupKind::Full);
    let plan = plan(&repository, Wanted::Latest).expect("planned");
    let epochs = ["one", "two"].map(|name| {
        let dir = world.root.path().join(name);
        world.restore_to(&plan, &dir).epoch
    });
    assert_ne!(epochs[0], epochs[1]);
}

#[test]
fn bare_directory_needs_only_the_target_and_the_key() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 20);
    add_key(&world.data_dir(), 1, 7);
    let key = [3; 32];
    let manifest = world.backup(&world.encrypted(key), BackupKind::Full);
    assert_eq!(manifest.keys.len(), 1);
    log.close();
    drop(log);
    for (path, bytes) in files(&world.target()) {
        let readable = bytes.windows(15).any(|w| w == b"causal.discover");
        assert!(!readable, "{} is readable", path.display());
    }
    std::fs::remove_dir_all(world.data_dir()).expect("removed");
    let plan = plan(&world.encrypted(key), Wanted::Latest).expect("planned");
    let restored = world.restore(&plan);
    assert_eq!(restored.state_hash, manifest.state_hash);
    assert_eq!(
        (restored.blobs, restored.keys, restored.kept),
        (20, 1, None)
    );
    let key_file = world.data_dir().join("keys/0000000001.key");
    assert!(std::fs::read(key_file).expect("there").ends_with(&[7; 32]));
    let log = world.open();
    world.work(&log, 1);
}

#[test]
fn redacted_key_is_never_brought_back() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 2);
    add_key(&world.data_dir(), 1, 7);
    add_key(&world.data_dir(), 2, 8);
    let repository = world.encrypted([3; 32]);
    let first = world.backup(&repository, BackupKind::Full);
    assert_eq!(first.keys.len(), 2);
    repository
        .record_redaction("0000000001.key")
        .expect("recorded");
    let second = world.backup(&repository, BackupKind::Full);
    assert_eq!(second.keys.len(), 1);
    for id in [first.id, second.id] {
        world.verify(&repository, id);
        let plan = plan(&repository, Wanted::Backup(id)).expect("planned");
        let dir = world.root.path().join(id.to_string());
        assert_eq!(world.restore_to(&plan, &dir).keys, 1);
        assert!(!dir.join("keys/0000000001.key").exists());
        assert!(dir.join("keys/0000000002.key").exists());
    }
}

#[test]
fn keys_stay_out_of_a_target_that_is_not_encrypted() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 2);
    add_key(&world.data_dir(), 1, 7);
    let repository = world.repository();
    let manifest = world.backup(&repository, BackupKind::Full);
    assert!(manifest.keys.is_empty());
    assert!(
        plan(&repository, Wanted::Latest)
            .expect("planned")
            .without_keys
    );
    let holds_key = files(&world.target())
        .values()
        .any(|b| b.contains(&7) && b.len() == 32);
    assert!(!holds_key);
}

#[test]
fn local_archive_alone_restores_to_an_event_and_leaves_the_old_beside() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 40);
    log.close();
    drop(log);
    let dir = world.data_dir();
    let (end, cut) = (head(&dir), Seq(77));
    let wanted = hash_at(&dir, cut);
    let plan = plan_local(&dir, Wanted::Seq(cut)).expect("planned");
    assert!(matches!(plan.source, Source::DataDir(_)));
    let restored = world.restore(&plan);
    assert_eq!((restored.state_hash, restored.to_seq), (wanted, cut));
    assert_eq!(head(&restored.kept.expect("kept")), end);
    assert_eq!(head(&dir), restored.decided_to.next());
}

#[test]
fn a_directory_in_use_or_of_somebody_else_is_left_alone() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 3);
    let repository = world.repository();
    world.backup(&repository, BackupKind::Full);
    let plan = plan(&repository, Wanted::Latest).expect("planned");
    let attempt = |dir: &std::path::Path| {
        let to = Restore {
            data_dir: dir,
            segment_bytes: SEGMENT,
        };
        restore(&plan, &to, &Work::new(&*world.clock))
    };
    let refused = attempt(&world.data_dir());
    assert!(matches!(refused, Err(BackupError::InUse(_))), "{refused:?}");
    let photos = world.root.path().join("photos");
    std::fs::create_dir(&photos).expect("made");
    std::fs::write(photos.join("one.jpg"), "x").expect("written");
    let refused = attempt(&photos);
    assert!(matches!(refused, Err(BackupError::NotADataDir(_))));
    let left: Vec<_> = std::fs::read_dir(world.root.path())
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    let restoring = |name: &std::ffi::OsString| name.to_string_lossy().contains("restoring");
    assert!(!left.iter().any(restoring), "{left:?}");
}

#[test]
fn local_backups_follow_the_data_directory() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 5);
    let inside = repository(&world.data_dir().join("backups"), None);
    let backup = world.backup(&inside, BackupKind::Full);
    log.close();
    drop(log);
    let first = plan(&inside, Wanted::Latest).expect("planned");
    world.restore(&first);
    let again = plan(&inside, Wanted::Backup(backup.id)).expect("still there");
    world.restore(&again);
}

#[test]
fn local_backups_of_another_log_stay_with_it() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 5);
    let repository = world.repository();
    world.backup(&repository, BackupKind::Full);
    log.close();
    drop(log);
    // The place of another log, which has been backed up in it.
    let other = World::new();
    let log = log_of(&other.data_dir(), &other, Uuid::from_u128(10));
    other.work(&log, 3);
    let inside = crate::support::repository(&other.data_dir().join("backups"), None);
    let theirs = other.backup(&inside, BackupKind::Full);
    log.close();
    drop(log);
    let latest = plan(&repository, Wanted::Latest).expect("planned");
    let restored = world.restore_to(&latest, &other.data_dir());
    let kept = restored.kept.expect("the old one is kept");
    assert_eq!(restored.backups_kept, Some(kept.join("backups")));
    assert!(!other.data_dir().join("backups").exists());
    let stayed = crate::support::repository(&kept.join("backups"), None);
    plan(&stayed, Wanted::Backup(theirs.id)).expect("it is whole");
    other.backup(&inside, BackupKind::Full);
    // Those of the log itself move over.
    let again = world.restore_to(&latest, &other.data_dir());
    assert_eq!(again.backups_kept, None);
    plan(&inside, Wanted::Latest).expect("they are in place");
}

fn log_of(data_dir: &std::path::Path, world: &World, id: Uuid) -> Log {
    let options = Options {
        segment_bytes: SEGMENT,
        ..Options::new(data_dir)
    };
    let clock = std::sync::Arc::clone(&world.clock);
    Log::open(options, clock, id, &|_| {}).expect("opens").0
}

#[test]
fn a_data_directory_that_is_a_link_stays_one() {
    let world = World::new();
    let disk = tempfile::tempdir().expect("a directory");
    let real = disk.path().canonicalize().expect("a path").join("real");
    std::os::unix::fs::symlink(&real, world.data_dir()).expect("linked");
    let repository = world.repository();
    let before = World::new();
    let log = before.open();
    before.work(&log, 9);
    let end = before.backup(&repository, BackupKind::Full);
    log.close();
    drop(log);
    // What the link leads to comes into being, and is then replaced where it is.
    let latest = plan(&repository, Wanted::Latest).expect("planned");
    let made = world.restore(&latest);
    assert_eq!((&made.data_dir, &made.kept), (&real, &None));
    assert_eq!(head(&real), end.to_seq.next());
    let cut = plan_local(&world.data_dir(), Wanted::Seq(Seq(9))).expect("planned");
    let slash = world.root.path().join("data/");
    let restored = world.restore_to(&cut, &slash);
    let kept = real.with_file_name("real.before-1");
    assert_eq!(
        (restored.data_dir, restored.kept),
        (real.clone(), Some(kept.clone()))
    );
    assert!(world.data_dir().is_symlink());
    assert_eq!(std::fs::read_link(world.data_dir()).expect("a link"), real);
    assert_eq!(head(&world.data_dir()), restored.decided_to.next());
    assert_eq!(head(&kept), end.to_seq.next());
    let beside = std::fs::read_dir(world.root.path()).expect("lists");
    assert_eq!(beside.count(), 2, "the link and the target");
}

#[test]
fn pruning_removes_what_no_kept_backup_needs_and_leaves_what_is_needed() {
    let world = World::new();
    let log = world.open();
    let repository = world.repository();
    let mut backups = Vec::new();
    for _ in 0..6 {
        world.work(&log, 12);
        backups.push(world.backup(&repository, BackupKind::Incremental));
        let day = 24 * 3_600 * 1_000_000;
        world
            .clock
            .0
            .fetch_add(day, std::sync::atomic::Ordering::SeqCst);
    }
    let keep = Keep {
        daily: 2,
        weekly: 0,
        monthly: 0,
    };
    let work = Work::new(&*world.clock);
    let before = files(&world.target());
    let told = prune(&repository, keep, true, &work).expect("told");
    assert_eq!(files(&world.target()), before);
    let done = prune(&repository, keep, false, &work).expect("pruned");
    assert_eq!(done, told);
    assert_eq!((done.kept.len(), done.removed.len()), (2, 4));
    assert!(done.objects > 0 && done.bytes > 0);
    for id in &done.kept {
        world.verify(&repository, *id);
    }
    let gone = verify(&repository, backups[0].id, world.root.path(), &work);
    assert!(matches!(gone, Err(BackupError::UnknownBackup(_))));
    let again = prune(&repository, keep, false, &work).expect("pruned");
    assert_eq!((again.removed.len(), again.objects), (0, 0));
}

#[test]
fn another_log_is_refused() {
    let (world, other) = (World::new(), World::new());
    let log = world.open();
    world.work(&log, 1);
    let options = Options::new(other.data_dir());
    let id = Uuid::from_u128(10);
    let foreign = Log::open(options, other.clock.clone(), id, &|_| {});
    other.work(&foreign.expect("opens").0, 1);
    let repository = world.repository();
    world.backup(&repository, BackupKind::Full);
    let request = hindcast_backup::Create {
        id: hindcast_model::BackupId::default(),
        kind: BackupKind::Full,
        data_dir: &other.data_dir(),
        to: None,
        binary_version: "test",
        plain_keys: false,
    };
    let refused = create(&repository, &request, &Work::new(&*world.clock));
    assert!(matches!(refused, Err(BackupError::OtherLog { .. })));
    assert!(Reader::open(&other.data_dir()).is_ok());
}
