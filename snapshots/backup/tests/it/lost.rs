//! A blob that is lost keeps nothing else from being safe: backups, shipping and restores go on
//! without it, say so, and take it up again once it was healed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hindcast_backup::{BackupError, Repository, Shipper, Wanted, Work, plan, plan_local, verify};
use hindcast_log::{Blobs, verify as verify_log};
use hindcast_model::event::BackupKind;
use hindcast_model::{Digest, Seq};

use crate::support::{World, files, hash_at, head};

/// The files of the blobs, by digest.
fn blobs(world: &World) -> Vec<(Digest, PathBuf, Vec<u8>)> {
    let found = files(&world.data_dir().join("blobs"));
    found
        .into_iter()
        .map(|(path, bytes)| (Blobs::digest(&bytes), path, bytes))
        .collect()
}

/// Damages one blob and removes another. Returns both.
fn lose(world: &World) -> Vec<(Digest, PathBuf, Vec<u8>)> {
    let lost: Vec<_> = blobs(world).into_iter().take(2).collect();
    std::fs::write(&lost[0].1, b"something else").expect("written");
    std::fs::remove_file(&lost[1].1).expect("removed");
    lost
}

/// Restores all of it; returns the blobs that are missed.
fn missed(world: &World, repository: &Repository) -> BTreeSet<Digest> {
    let plan = plan(repository, Wanted::Latest).expect("planned");
    let dir = world.root.path().join("restored");
    drop(std::fs::remove_dir_all(&dir));
    let restored = world.restore_to(&plan, &dir);
    assert_eq!(
        restored.state_hash,
        hash_at(&world.data_dir(), restored.to_seq)
    );
    assert_eq!(restored.to_seq, head(&world.data_dir()));
    let there = files(&dir.join("blobs")).len();
    assert_eq!(restored.blobs, there);
    assert_eq!(there + restored.lost_blobs.len(), blobs_named(world));
    let report = verify_log(&dir, &mut std::iter::empty(), &|_| {}).expect("read");
    assert_eq!(report.holds(), restored.lost_blobs.is_empty());
    restored.lost_blobs
}

/// Every round of work names one of its own.
fn blobs_named(world: &World) -> usize {
    let reader = hindcast_log::Reader::open(&world.data_dir()).expect("reads");
    let all = reader.read(Seq(1), usize::MAX).expect("read");
    let named = all.iter().flat_map(|recorded| recorded.event());
    let named: BTreeSet<Digest> = named.flat_map(hindcast_model::Event::blobs).collect();
    named.len()
}

#[test]
fn backups_go_on_without_it_and_have_it_once_it_is_healed() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 12);
    let lost = lose(&world);
    let digests: BTreeSet<Digest> = lost.iter().map(|lost| lost.0).collect();
    let repository = world.repository();
    let first = world.backup(&repository, BackupKind::Full);
    assert_eq!(repository.lost().expect("listed"), digests);
    assert_eq!(first.blobs.len(), 10);
    world.verify(&repository, first.id);
    assert_eq!(missed(&world, &repository), digests);

    // One comes back, and the next backup has it although its events were sent before.
    std::fs::write(&lost[0].1, &lost[0].2).expect("written");
    let next = world.backup(&repository, BackupKind::Incremental);
    assert_eq!((next.parent, next.blobs.len()), (Some(first.id), 11));
    let left = BTreeSet::from([lost[1].0]);
    assert_eq!(repository.lost().expect("listed"), left);
    world.verify(&repository, next.id);
    assert_eq!(missed(&world, &repository), left);

    // The other one is lost again after all: the target has it, and a full backup leaves it there.
    std::fs::write(&lost[1].1, &lost[1].2).expect("written");
    world.backup(&repository, BackupKind::Incremental);
    std::fs::remove_file(&lost[1].1).expect("removed");
    let full = world.backup(&repository, BackupKind::Full);
    assert_eq!(full.blobs.len(), 12);
    assert!(full.stored_bytes() > full.sent_bytes - 1);
    assert_eq!(repository.lost().expect("listed"), BTreeSet::new());
    world.verify(&repository, full.id);
    assert_eq!(missed(&world, &repository), BTreeSet::new());
    log.close();
}

#[test]
fn shipping_goes_on_without_it() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 3);
    let repository = world.repository();
    world.backup(&repository, BackupKind::Full);
    world.work(&log, 3);
    let sent: BTreeSet<PathBuf> = files(&world.target().join("blobs")).into_keys().collect();
    let unsent = blobs(&world).into_iter().find(|(digest, ..)| {
        let name = format!("{digest}.zst");
        !sent.iter().any(|path| path.ends_with(&name))
    });
    let (digest, path, _) = unsent.expect("one is new");
    std::fs::remove_file(path).expect("removed");
    let work = Work::new(&*world.clock);
    let mut shipper = Shipper::default();
    let end = head(&world.data_dir());
    let shipped = shipper.ship(&repository, &world.data_dir(), end, &work);
    assert_eq!(shipped.expect("shipped").to, end);
    assert_eq!(missed(&world, &repository), BTreeSet::from([digest]));
    log.close();
}

#[test]
fn a_log_goes_back_in_place_without_it() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 6);
    log.close();
    drop(log);
    let lost = lose(&world);
    let digests: BTreeSet<Digest> = lost.iter().map(|lost| lost.0).collect();
    let end = head(&world.data_dir());
    let wanted = hash_at(&world.data_dir(), end);
    let plan = plan_local(&world.data_dir(), Wanted::Seq(end)).expect("planned");
    let restored = world.restore(&plan);
    assert_eq!(
        (restored.state_hash, restored.lost_blobs),
        (wanted, digests)
    );
    assert_eq!(files(&world.data_dir().join("blobs")).len(), 4);
}

#[test]
fn what_a_target_had_and_lost_is_an_error() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 3);
    let repository = world.repository();
    let backup = world.backup(&repository, BackupKind::Full);
    let gone = files(&world.target().join("blobs")).pop_first();
    std::fs::remove_file(gone.expect("a blob").0).expect("removed");
    let work = Work::new(&*world.clock);
    let found = verify(&repository, backup.id, world.root.path(), &work);
    assert!(matches!(found, Err(BackupError::Target(_))), "{found:?}");
    log.close();
}
