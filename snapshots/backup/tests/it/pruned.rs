//! Logs whose oldest segments are removed: a backup begins where the log does, and says so.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hindcast_backup::{
    BackupError, Create, Keep, Manifest, Repository, Wanted, Work, check_whole, create, plan,
    plan_local, prune, verify,
};
use hindcast_log::{Log, Prune, Reader, state_hash};
use hindcast_model::event::BackupKind;
use hindcast_model::{BackupId, Seq, UnixMicros};
use uuid::Uuid;

use crate::support::{World, files, hash_at, head, open, repository};

/// Works until one more segment is sealed.
fn grow(world: &World, log: &Log) {
    let sealed = log.sealed().len();
    while log.sealed().len() <= sealed {
        world.work(log, 10);
    }
}

/// Removes every sealed segment.
fn remove(log: &Log, backup: Option<&str>) -> Seq {
    let to = log.sealed().last().expect("sealed").last;
    let ask = Prune {
        to,
        backup: backup.map(str::to_owned),
        reason: "a test".to_owned(),
    };
    // Segments move to the archive behind the lookup store.
    for _ in 0..2_000 {
        log.prune(&ask, &mut |_| {}).expect("pruned");
        if log.oldest() == to.next() {
            return to;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    panic!("sequence {to} is never archived")
}

/// Works until one more segment is sealed, and removes every one that no backup holds.
fn lose(world: &World, log: &Log) -> Seq {
    grow(world, log);
    remove(log, None)
}

fn made(world: &World, repository: &Repository, kind: BackupKind) -> Manifest {
    let made = world.backup(repository, kind);
    world.verify(repository, made.id);
    made
}

fn gone(repository: &Repository, wanted: Wanted) -> (Seq, Seq) {
    match plan(repository, wanted).map(|plan| plan.last) {
        Err(error @ BackupError::Gone { from, to }) => {
            let told = error.to_string();
            let range = format!("sequences {from} to {to}");
            assert!(told.contains(&range), "{told}");
            assert!(told.contains(&to.next().to_string()), "{told}");
            (from, to)
        }
        other => panic!("{other:?}"),
    }
}

/// Restores into a directory of its own, where the log holds, begins with `first`, and has the state
/// of the log that it is of.
fn comes_back(world: &World, repository: &Repository, wanted: Wanted, first: Seq) -> Seq {
    let plan = plan(repository, wanted).expect("planned");
    assert_eq!(plan.first, first);
    let dir = world.root.path().join("restored");
    drop(std::fs::remove_dir_all(&dir));
    let restored = world.restore_to(&plan, &dir);
    assert_eq!(hash_at(&dir, restored.to_seq), restored.state_hash);
    let reader = Reader::open(&dir).expect("reads");
    assert_eq!(reader.oldest(), first);
    let report = hindcast_log::verify(&dir, &mut std::iter::empty(), &|_| {}).expect("read");
    assert!(report.holds(), "{:?}", report.problems);
    assert!(report.blobs > 0);
    // It goes on, and can be backed up in turn.
    let log = open(&dir, &world.clock);
    assert_eq!(log.oldest(), first);
    world.work(&log, 1);
    log.close();
    restored.to_seq
}

#[test]
fn a_log_whose_beginning_is_lost_is_backed_up_from_there_on() {
    let world = World::new();
    let log = world.open();
    let lost = lose(&world, &log);
    let repository = world.repository();
    let full = made(&world, &repository, BackupKind::Incremental);
    assert_eq!(
        (full.kind, full.first_seq()),
        (BackupKind::Full, lost.next())
    );
    assert_eq!(full.from_seq, lost.next());
    let verified = repository.find(full.id).expect("there").verified;
    let events = verified.expect("verified").events;
    assert_eq!(events, full.to_seq.0 - lost.0);
    let state = log.state(|state| state_hash(state).expect("hashes"));
    assert_eq!(full.state_hash, state);
    comes_back(&world, &repository, Wanted::Latest, lost.next());
    let middle = Seq(lost.0 + 7);
    let there = comes_back(&world, &repository, Wanted::Seq(middle), lost.next());
    let wanted = hash_at(&world.data_dir(), middle);
    let found = hash_at(&world.root.path().join("restored"), middle);
    assert_eq!((there, found), (middle, wanted));
    assert_eq!(gone(&repository, Wanted::Seq(Seq(1))), (Seq(1), lost));
    assert_eq!(gone(&repository, Wanted::Seq(lost)), (Seq(1), lost));
    let before = Wanted::Time(UnixMicros(1));
    assert_eq!(gone(&repository, before), (Seq(1), lost));

    // The next backup does not send the base again, and what it holds may go.
    grow(&world, &log);
    let next = made(&world, &repository, BackupKind::Incremental);
    assert_eq!(
        (next.kind, &next.base),
        (BackupKind::Incremental, &full.base)
    );
    let held = remove(&log, Some(&next.id.to_string()));
    let last = made(&world, &repository, BackupKind::Incremental);
    assert_eq!(last.first_seq(), lost.next());
    assert!(last.stretches.iter().any(|stretch| stretch.last == held));
    let to = comes_back(&world, &repository, Wanted::Latest, lost.next());
    assert_eq!(to, head(&world.data_dir()));

    // A clock that was ahead is set back: the newest backup by its time is an older one.
    world.clock.0.fetch_add(7_200_000_000, Ordering::SeqCst);
    let ahead = made(&world, &repository, BackupKind::Incremental);
    world.clock.0.fetch_sub(7_200_000_000, Ordering::SeqCst);
    grow(&world, &log);
    let all = made(&world, &repository, BackupKind::Incremental);
    assert!(all.created_at < ahead.created_at && all.to_seq > ahead.to_seq);
    remove(&log, Some(&all.id.to_string()));
    let next = made(&world, &repository, BackupKind::Incremental);
    assert_eq!((next.parent, next.first_seq()), (Some(all.id), lost.next()));
    log.close();
}

#[test]
fn what_an_older_backup_holds_can_be_had_and_the_rest_is_named() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 3);
    let repository = world.repository();
    let old = made(&world, &repository, BackupKind::Full);
    assert_eq!((old.first_seq(), &old.base), (Seq(1), &None));
    let lost = lose(&world, &log);
    assert!(lost > old.to_seq);
    let new = made(&world, &repository, BackupKind::Incremental);
    assert_eq!(new.first_seq(), lost.next());
    assert_eq!(new.from_seq, lost.next());
    comes_back(&world, &repository, Wanted::Seq(Seq(3)), Seq(1));
    comes_back(&world, &repository, Wanted::Seq(old.to_seq), Seq(1));
    comes_back(&world, &repository, Wanted::Latest, lost.next());
    let range = (old.to_seq.next(), lost);
    assert_eq!(gone(&repository, Wanted::Seq(old.to_seq.next())), range);
    assert_eq!(gone(&repository, Wanted::Seq(lost)), range);
    // At a moment of the old backup its last event is another than at one that is lost.
    let reader = Reader::open(&world.root.path().join("restored")).expect("reads");
    let first = reader.read(lost.next(), 1).expect("read")[0].context.at;
    let at = Wanted::Time(UnixMicros(first.0 - 1_500_000));
    assert_eq!(gone(&repository, at), range);
    let end = old.stretches.last().expect("frames").at;
    let within = Wanted::Time(UnixMicros(end.0 - 1));
    assert_eq!(plan(&repository, within).expect("planned").first, Seq(1));

    // A full backup sends the base again; when no backup names it any more, it goes.
    let again = lose(&world, &log);
    let newest = made(&world, &repository, BackupKind::Full);
    assert_eq!((newest.first_seq(), newest.parent), (again.next(), None));
    let bases = || files(&world.target().join("bases")).len();
    assert_eq!(bases(), 2);
    let none = Keep {
        daily: 0,
        weekly: 0,
        monthly: 0,
    };
    let work = Work::new(&*world.clock);
    let pruned = prune(&repository, none, false, &work).expect("pruned");
    assert_eq!((pruned.kept, bases()), (vec![newest.id], 1));
    comes_back(&world, &repository, Wanted::Latest, again.next());
    assert_eq!(gone(&repository, Wanted::Seq(Seq(1))), (Seq(1), again));
    log.close();
}

#[test]
fn what_another_target_holds_is_not_left_out() {
    let world = World::new();
    let log = world.open();
    grow(&world, &log);
    let first = world.repository();
    let held = made(&world, &first, BackupKind::Full);
    let gone_to = remove(&log, Some("B1"));
    let other = repository(&world.root.path().join("other"), None);
    let request = Create {
        id: BackupId(Uuid::from_u128(7)),
        kind: BackupKind::Full,
        data_dir: &world.data_dir(),
        to: None,
        binary_version: "test",
        plain_keys: false,
    };
    let refused = create(&other, &request, &Work::new(&*world.clock));
    let error = refused.expect_err("it is refused");
    let BackupError::Pruned { to, held_by } = error else {
        panic!("{error}");
    };
    assert_eq!((to, &*held_by), (gone_to, "B1"));
    // It is known before anything is tried, also where the target is no repository yet.
    let nowhere = repository(&world.root.path().join("nowhere"), None);
    let work = Work::new(&*world.clock);
    for target in [&other, &nowhere] {
        let told = check_whole(target, &world.data_dir(), &work);
        assert!(matches!(told, Err(BackupError::Pruned { to, .. }) if to == gone_to));
    }
    check_whole(&first, &world.data_dir(), &work).expect("it has them");
    assert_eq!(held.first_seq(), Seq(1));
    log.close();
}

#[test]
fn what_was_removed_from_the_log_stays_in_the_backups_that_are_kept() {
    let world = World::new();
    let log = world.open();
    grow(&world, &log);
    let repository = world.repository();
    let held = made(&world, &repository, BackupKind::Full);
    remove(&log, Some("B1"));
    let none = Keep {
        daily: 0,
        weekly: 0,
        monthly: 0,
    };
    let work = Work::new(&*world.clock);
    grow(&world, &log);
    let newest = world.backup(&repository, BackupKind::Incremental);
    let pruned = prune(&repository, none, false, &work).expect("pruned");
    assert_eq!(pruned.kept, [held.id, newest.id]);
    comes_back(&world, &repository, Wanted::LatestVerified, Seq(1));
    grow(&world, &log);
    let verified = made(&world, &repository, BackupKind::Incremental);
    let pruned = prune(&repository, none, false, &work).expect("pruned");
    assert_eq!(pruned.kept, [verified.id]);
    comes_back(&world, &repository, Wanted::Latest, Seq(1));
    comes_back(&world, &repository, Wanted::Seq(held.to_seq), Seq(1));
    log.close();
}

#[test]
fn a_base_that_is_damaged_in_the_target_is_named() {
    let world = World::new();
    let log = world.open();
    lose(&world, &log);
    let repository = world.repository();
    let backup = made(&world, &repository, BackupKind::Full);
    let (path, bytes) = files(&world.target().join("bases"))
        .pop_first()
        .expect("a base");
    let mut bad = bytes.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&path, bad).expect("written");
    let work = Work::new(&*world.clock);
    let found = verify(&repository, backup.id, world.root.path(), &work);
    let error = found.expect_err("it is damaged");
    let BackupError::Damaged { name, .. } = error else {
        panic!("{error}");
    };
    assert!(name.starts_with("bases/"), "{name}");
    // A full backup sends it anew.
    let again = made(&world, &repository, BackupKind::Full);
    assert_eq!(again.base, backup.base);
    log.close();
}

#[test]
fn a_pruned_log_goes_back_in_place_to_what_is_left() {
    let world = World::new();
    let log = world.open();
    grow(&world, &log);
    let repository = world.repository();
    let held = made(&world, &repository, BackupKind::Full);
    let first = remove(&log, Some(&held.id.to_string())).next();
    world.work(&log, 4);
    let told = log.state(|state| state.pruned().map(|pruned| pruned.last));
    assert_eq!(told.map(Seq::next), Some(first));
    log.close();
    drop(log);
    let end = head(&world.data_dir());
    let middle = Seq(end.0 - 5);
    for (wanted, cut) in [(Wanted::Latest, end), (Wanted::Seq(middle), middle)] {
        let hash = state_at(&world, cut);
        let plan = plan_local(&world.data_dir(), wanted).expect("planned");
        assert_eq!((plan.first, plan.last), (first, cut));
        let restored = world.restore(&plan);
        assert_eq!((restored.to_seq, restored.state_hash), (cut, hash));
        let report = hindcast_log::verify(&world.data_dir(), &mut std::iter::empty(), &|_| {});
        let report = report.expect("read");
        assert!(report.holds(), "{:?}", report.problems);
    }
    // Before the event that says what was removed, which the next start then says again.
    let plan = plan_local(&world.data_dir(), Wanted::Seq(first)).expect("planned");
    world.restore(&plan);
    let log = world.open();
    let told = log.state(|state| state.pruned().map(|pruned| pruned.last));
    assert_eq!(told.map(Seq::next), Some(first));
    world.work(&log, 2);
    // The backup that holds the rest is gone on from.
    let next = made(&world, &repository, BackupKind::Incremental);
    assert_eq!(next.first_seq(), Seq(1));
    log.close();
    for wanted in [Wanted::Seq(Seq(first.0 - 1)), Wanted::Time(UnixMicros(1))] {
        let refused = plan_local(&world.data_dir(), wanted).map(|plan| plan.last);
        let error = refused.expect_err("it was removed").to_string();
        assert!(
            error.contains(&format!("to {} are pruned", first.0 - 1)),
            "{error}"
        );
    }
}

/// The hash of the state there, from what is left of the log.
fn state_at(world: &World, seq: Seq) -> hindcast_model::Digest {
    let reader = Reader::open(&world.data_dir()).expect("reads");
    let moment = hindcast_snapshots::at(&reader, seq).expect("folded");
    state_hash(&moment.state).expect("hashes")
}
