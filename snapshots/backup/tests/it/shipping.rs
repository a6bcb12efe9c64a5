//! The log as it grows: what was shipped is restored, up to the first gap.

use hindcast_backup::{Shipper, Wanted, Work, fold, plan};
use hindcast_log::verify;
use hindcast_model::event::BackupKind;

use crate::support::{World, hash_at, head};

#[test]
fn everything_that_was_shipped_comes_back() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 8);
    let repository = world.encrypted([9; 32]);
    world.backup(&repository, BackupKind::Full);
    let work = Work::new(&*world.clock);
    let mut shipper = Shipper::default();
    for round in 0..90 {
        world.work(&log, 1);
        let head = log.head().seq;
        let shipped = shipper.ship(&repository, &world.data_dir(), head, &work);
        assert_eq!(shipped.expect("shipped").to, head);
        if round % 30 == 29 {
            let folded = fold(&repository, &world.data_dir(), head, &work).expect("folded");
            assert!(
                folded.segments > 0 && folded.parts_removed > 0,
                "{folded:?}"
            );
        }
        if round == 40 {
            // A process that begins anew ships the open segment again.
            shipper = Shipper::default();
        }
    }
    let end = log.head().seq;
    log.close();
    drop(log);
    let wanted = hash_at(&world.data_dir(), end);
    std::fs::remove_dir_all(world.data_dir()).expect("the machine is lost");
    let plan = plan(&repository, Wanted::Latest).expect("planned");
    assert!(plan.onward > 0);
    let restored = world.restore(&plan);
    assert_eq!((restored.to_seq, restored.state_hash), (end, wanted));
    assert_eq!(restored.blobs, 98);
    let log = world.open();
    world.work(&log, 1);
}

#[test]
fn a_gap_ends_what_is_restored() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 2);
    let repository = world.repository();
    let backup = world.backup(&repository, BackupKind::Full);
    let work = Work::new(&*world.clock);
    let mut shipper = Shipper::default();
    let mut ends = Vec::new();
    for _ in 0..5 {
        world.work(&log, 1);
        let head = log.head().seq;
        shipper
            .ship(&repository, &world.data_dir(), head, &work)
            .expect("shipped");
        ends.push(head);
    }
    let part = std::fs::read_dir(world.target().join("tail")).expect("lists");
    let after = format!("-{:020}-", ends[2].0);
    let part = part
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.to_string_lossy().contains(&after))
        .expect("a part");
    let bytes = std::fs::read(&part).expect("there");
    std::fs::write(&part, &bytes[..bytes.len() / 2]).expect("written");
    let plan = plan(&repository, Wanted::Latest).expect("planned");
    let dir = world.root.path().join("restored");
    let restored = world.restore_to(&plan, &dir);
    assert!(restored.to_seq > backup.to_seq && restored.to_seq < ends[2]);
    assert_eq!(
        restored.state_hash,
        hash_at(&world.data_dir(), restored.to_seq)
    );
    assert_eq!(restored.passed_over.len(), 1, "{restored:?}");
}

#[test]
fn parts_of_a_history_that_was_left_are_passed_over() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 3);
    let repository = world.repository();
    let backup = world.backup(&repository, BackupKind::Full);
    let work = Work::new(&*world.clock);
    world.work(&log, 4);
    let mut shipper = Shipper::default();
    shipper
        .ship(&repository, &world.data_dir(), log.head().seq, &work)
        .expect("shipped");
    let left = log.checkpoint();
    log.close();
    drop(log);
    // Restored to the backup, and on from there: the shipped events are of the history before.
    world.restore(&plan(&repository, Wanted::Backup(backup.id)).expect("planned"));
    let log = world.open();
    world.work(&log, 2);
    let end = log.head().seq;
    world.backup(&repository, BackupKind::Incremental);
    world.work(&log, 1);
    let mut shipper = Shipper::default();
    shipper
        .ship(&repository, &world.data_dir(), log.head().seq, &work)
        .expect("shipped");
    log.close();
    assert!(log.head().seq > end);
    // A snapshot of then is no damage, and is told apart.
    let seq = left.state.seq();
    let report = verify(&world.data_dir(), &mut [left].into_iter(), &|_| {}).expect("a log");
    assert!(report.holds(), "{:?}", report.problems);
    assert_eq!(report.checkpoints_abandoned, [seq]);
    let dir = world.root.path().join("restored");
    let plan = plan(&repository, Wanted::Latest).expect("planned");
    let restored = world.restore_to(&plan, &dir);
    assert_eq!(restored.to_seq, head(&world.data_dir()));
    assert_eq!(
        restored.state_hash,
        hash_at(&world.data_dir(), restored.to_seq)
    );
    // What was shipped of it is whole, and is not called damaged.
    let told = restored.passed_over;
    let apart = |told: &String| told.contains("abandoned history") && !told.contains("damaged");
    assert!(!told.is_empty() && told.iter().all(apart), "{told:?}");
}
