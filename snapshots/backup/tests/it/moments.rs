//! A restore to any event gives the state that the log folds to there.

use hindcast_backup::{BackupError, Restore, Wanted, Work, plan, plan_local, restore};
use hindcast_log::{Reader, verify as verify_log};
use hindcast_model::event::BackupKind;
use hindcast_model::{Seq, UnixMicros};
use proptest::prelude::*;

use crate::support::{SEGMENT, World, hash_at, head};

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restore_at_any_event_is_the_fold_of_the_original(
        rounds in prop::collection::vec(1..14_u64, 1..4),
        cuts in prop::collection::vec(0..1_000_u64, 4),
    ) {
        let world = World::new();
        let log = world.open();
        let repository = world.repository();
        for rounds in rounds {
            world.work(&log, rounds);
            world.backup(&repository, BackupKind::Incremental);
        }
        log.close();
        let dir = world.data_dir();
        let end = head(&dir);
        let reader = Reader::open(&dir).expect("reads");
        for (index, cut) in cuts.into_iter().enumerate() {
            let cut = Seq(1 + cut * (end.0 - 1) / 999);
            let plan = plan(&repository, Wanted::Seq(cut)).expect("planned");
            let to = world.root.path().join(format!("at-{index}"));
            let restored = world.restore_to(&plan, &to);
            prop_assert_eq!(restored.state_hash, hash_at(&dir, cut));
            prop_assert_eq!(restored.to_seq, cut);
            prop_assert_eq!(hash_at(&to, cut), restored.state_hash);
            // An event is never there without what was decided from it.
            let after = reader.read(cut.next(), 100).expect("reads");
            let decided = after.iter().take_while(|recorded| !recorded.observed).count();
            prop_assert_eq!(restored.decided_to, Seq(cut.0 + decided as u64));
            let kept = Reader::open(&to).expect("reads").read(cut.next(), decided.max(1));
            let kept = kept.expect("reads");
            prop_assert_eq!(&kept[..decided], &after[..decided]);
            let report = verify_log(&to, &mut std::iter::empty(), &|_| {}).expect("reads");
            prop_assert!(report.holds(), "{:?}", report.problems);
        }
    }
}

#[test]
fn restore_to_a_time_ends_with_the_last_event_that_is_not_later() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 10);
    let repository = world.repository();
    world.backup(&repository, BackupKind::Full);
    log.close();
    let reader = Reader::open(&world.data_dir()).expect("reads");
    let events = reader.read(Seq(1), 1_000).expect("reads");
    for pick in [0, 7, 20, events.len() - 1] {
        let at = UnixMicros(events[pick].context.at.0 + 3);
        let last = events.iter().filter(|e| e.context.at <= at).count() as u64;
        let plan = plan(&repository, Wanted::Time(at)).expect("planned");
        let to = world.root.path().join(format!("time-{pick}"));
        let restored = world.restore_to(&plan, &to);
        assert_eq!(restored.to_seq, Seq(last));
        assert_eq!(restored.state_hash, hash_at(&world.data_dir(), Seq(last)));
    }
}

#[test]
fn moments_that_are_not_there_are_refused_and_nothing_is_left() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 3);
    let repository = world.repository();
    let none = plan(&repository, Wanted::Latest).err();
    assert!(matches!(none, Some(BackupError::NoRepository(_))));
    world.backup(&repository, BackupKind::Full);
    let unverified = plan(&repository, Wanted::LatestVerified).err();
    assert!(matches!(unverified, Some(BackupError::NoBackup(_))));
    let data_dir = world.root.path().join("restored");
    let to = Restore {
        data_dir: &data_dir,
        segment_bytes: SEGMENT,
    };
    let work = Work::new(&*world.clock);
    let beyond = plan(&repository, Wanted::Seq(Seq(10_000))).err();
    assert!(matches!(beyond, Some(BackupError::BeyondEnd { .. })));
    let beyond = plan_local(&world.data_dir(), Wanted::Seq(Seq(10_000))).err();
    assert!(matches!(beyond, Some(BackupError::BeyondEnd { .. })));
    let early = plan(&repository, Wanted::Time(UnixMicros(5))).expect("planned");
    assert_eq!(early.last, Seq(0), "nothing is certain");
    let before = restore(&early, &to, &work).expect_err("refused");
    assert!(matches!(before, BackupError::Empty), "{before}");
    let left = std::fs::read_dir(world.root.path()).expect("lists");
    assert_eq!(left.count(), 2, "the data directory and the target");
}

#[test]
fn a_backup_after_a_restore_tells_what_it_adds_to_the_history_that_was_left() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 4);
    let repository = world.repository();
    let first = world.backup(&repository, BackupKind::Full);
    world.work(&log, 9);
    let left = world.backup(&repository, BackupKind::Incremental);
    log.close();
    drop(log);
    let restored = world.restore(&plan(&repository, Wanted::Seq(first.to_seq)).expect("planned"));
    let log = world.open();
    world.work(&log, 2);
    let next = world.backup(&repository, BackupKind::Incremental);
    log.close();
    drop(log);
    assert!(next.to_seq < left.to_seq, "{} {}", next.to_seq, left.to_seq);
    assert!(
        next.from_seq <= restored.decided_to.next(),
        "{}",
        next.from_seq
    );
    let latest = plan(&repository, Wanted::Latest).expect("planned");
    let to = world.root.path().join("latest");
    let latest = world.restore_to(&latest, &to);
    assert_eq!(
        (latest.to_seq, latest.state_hash),
        (next.to_seq, next.state_hash)
    );
}
