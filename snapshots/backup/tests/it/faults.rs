//! Every fault of a target is found and named: by the verification, and by a restore.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_backup::{
    BackupError, Create, Directory, Keep, Key, Restore, Wanted, Work, create, plan, prune, restore,
    verify,
};
use hindcast_model::BackupId;
use hindcast_model::event::BackupKind;
use uuid::Uuid;

use crate::support::{Failing, SEGMENT, World, add_key, files, repository, with_target};

/// What is done to an object.
type Harm = fn(&PathBuf, &[u8]);

const HARMS: &[(&str, Harm)] = &[
    ("missing", |path, _| {
        std::fs::remove_file(path).expect("removed");
    }),
    ("truncated", |path, bytes| {
        std::fs::write(path, &bytes[..bytes.len() * 2 / 3]).expect("written");
    }),
    ("flipped", |path, bytes| {
        let mut bytes = bytes.to_vec();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        std::fs::write(path, bytes).expect("written");
    }),
    ("emptied", |path, _| {
        std::fs::write(path, b"").expect("written");
    }),
];

fn each_fault_is_named(key: Option<[u8; 32]>) {
    let world = World::new();
    let log = world.open();
    world.work(&log, 16);
    add_key(&world.data_dir(), 1, 7);
    let whole = repository(&world.target(), key.as_ref().map(Key::new));
    let manifest = world.backup(&whole, BackupKind::Full);
    let names: Vec<String> = manifest.names().map(str::to_owned).collect();
    let work = Work::new(&*world.clock);
    let restored = world.root.path().join("restored");
    let documents = [
        "hindcast.json".to_owned(),
        format!("backups/{}.json", manifest.id),
    ];
    for name in names.iter().chain(&documents) {
        let path = world.target().join(name);
        let bytes = std::fs::read(&path).expect("there");
        for (harm, harmed) in HARMS {
            harmed(&path, &bytes);
            let failed = verify(&whole, manifest.id, world.root.path(), &work);
            let message = failed.expect_err("found").to_string();
            let gone = *harm == "missing" && documents.contains(name);
            assert!(
                gone || message.contains(name.as_str()),
                "{harm} {name}: {message}"
            );
            let planned = plan(&whole, Wanted::Backup(manifest.id));
            let to = Restore {
                data_dir: &restored,
                segment_bytes: SEGMENT,
            };
            match planned.and_then(|plan| restore(&plan, &to, &work)) {
                Ok(_) => panic!("{harm} {name} was restored"),
                Err(error) => {
                    let message = error.to_string();
                    assert!(
                        gone || message.contains(name.as_str()),
                        "{harm} {name}: {message}"
                    );
                    assert!(!restored.exists());
                }
            }
            std::fs::write(&path, &bytes).expect("written");
        }
    }
    world.verify(&whole, manifest.id);
}

#[test]
fn every_harm_to_every_object_of_a_plain_target_is_named() {
    each_fault_is_named(None);
}

#[test]
fn every_harm_to_every_object_of_an_encrypted_target_is_named() {
    each_fault_is_named(Some([5; 32]));
}

#[test]
fn wrong_missing_and_needless_keys_are_told_apart() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 2);
    world.backup(&world.encrypted([5; 32]), BackupKind::Full);
    let wrong = world.encrypted([6; 32]).list();
    assert!(
        matches!(wrong, Err(BackupError::WrongKey { .. })),
        "{wrong:?}"
    );
    let missing = world.repository().list();
    assert!(matches!(missing, Err(BackupError::KeyNeeded { .. })));
    let plain = world.root.path().join("plain");
    world.backup(&repository(&plain, None), BackupKind::Full);
    let needless = repository(&plain, Some(Key::new(&[5; 32]))).list();
    assert!(matches!(needless, Err(BackupError::NotEncrypted)));
}

#[test]
fn objects_that_change_places_are_found() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 2);
    let repository = world.encrypted([5; 32]);
    let manifest = world.backup(&repository, BackupKind::Full);
    let blobs: Vec<PathBuf> = manifest
        .blobs
        .iter()
        .map(|b| world.target().join(&b.name))
        .collect();
    let one = std::fs::read(&blobs[0]).expect("there");
    std::fs::copy(&blobs[1], &blobs[0]).expect("copied");
    let work = Work::new(&*world.clock);
    let found = verify(&repository, manifest.id, world.root.path(), &work);
    assert!(matches!(found, Err(BackupError::Damaged { .. })));
    std::fs::write(&blobs[0], one).expect("written");
    world.verify(&repository, manifest.id);
}

#[test]
fn a_backup_that_fails_at_any_object_does_not_exist_and_the_next_one_does() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 8);
    let failing = Arc::new(Failing {
        inner: Directory::new(&world.target()),
        puts: AtomicU64::new(0),
        fail_at: AtomicU64::new(0),
    });
    let repository = with_target(failing.clone(), None);
    let work = Work::new(&*world.clock);
    let mut failures = 0;
    for n in 0.. {
        failing.puts.store(0, Ordering::SeqCst);
        failing.fail_at.store(n, Ordering::SeqCst);
        let request = Create {
            id: BackupId(Uuid::from_u128(u128::from(n))),
            kind: BackupKind::Full,
            data_dir: &world.data_dir(),
            to: None,
            binary_version: "test",
            plain_keys: false,
        };
        match create(&repository, &request, &work) {
            Ok(manifest) => {
                world.verify(&world.repository(), manifest.id);
                break;
            }
            Err(error) => {
                assert!(error.is_passing(), "{error}");
                failures += 1;
                let manifests = files(&world.target()).into_keys();
                assert_eq!(
                    manifests
                        .filter(|p| p.to_string_lossy().contains("/backups/"))
                        .count(),
                    0
                );
            }
        }
    }
    assert!(failures >= 8, "{failures}");
}

#[test]
fn a_damaged_backup_stops_no_other() {
    let world = World::new();
    let log = world.open();
    let repository = world.repository();
    world.work(&log, 3);
    let older = world.backup(&repository, BackupKind::Full);
    world.verify(&repository, older.id);
    world.work(&log, 3);
    let newer = world.backup(&repository, BackupKind::Incremental);
    log.close();
    drop(log);
    for name in [
        format!("{}.verified.json", older.id),
        format!("{}.json", older.id),
    ] {
        let path = world.target().join("backups").join(name);
        let mut bytes = std::fs::read(&path).expect("an object");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        let (listed, damaged) = repository.survey().expect("lists");
        assert!(!damaged.is_empty());
        assert_eq!(listed.last().expect("the newer").manifest.id, newer.id);
        let plan = plan(&repository, Wanted::Latest).expect("planned");
        assert_eq!(plan.passed_over.len(), damaged.len());
        let keep = Keep {
            daily: 0,
            weekly: 0,
            monthly: 1,
        };
        let refused = prune(&repository, keep, false, &Work::new(&*world.clock));
        assert!(
            matches!(refused, Err(BackupError::Damaged { .. })),
            "{refused:?}"
        );
    }
    let restored = world.restore(&plan(&repository, Wanted::Latest).expect("planned"));
    assert_eq!(restored.state_hash, newer.state_hash);
}
