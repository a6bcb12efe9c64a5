//! kill -9 at each numbered step of a backup, a restore with its switch, and a pruning: what is left
//! is wholly old or wholly new, and the same can be done again.

use std::path::{Path, PathBuf};
use std::process::Command;

use hindcast_backup::{Create, Keep, Restore, Step, Wanted, Work, create, plan, prune, restore};
use hindcast_model::event::BackupKind;
use hindcast_model::{BackupId, Seq};
use uuid::Uuid;

use crate::support::{SEGMENT, World, files, hash_at, head, open, repository, ticks};

/// What the child is to do: the directory, the work and the step at which it ends itself.
const TASK: &str = "HINDCAST_TEST_KILL_TASK";

fn killed_at(root: &Path, task: &str, step: Step) {
    let text = format!("{}|{task}|{}", root.display(), step as u8);
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "kill::child", "--nocapture"])
        .env(TASK, text)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&child.stderr);
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.status.signal(), Some(9), "{step:?}: {said}");
}

/// Runs only when a test starts it: does the work and kills itself at the step.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let words: Vec<&str> = task.split('|').collect();
    let (root, last): (PathBuf, u8) = (words[0].into(), words[2].parse().expect("a step"));
    let done = |step: Step| {
        if step as u8 == last {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("killed");
        }
    };
    let clock = ticks();
    clock
        .0
        .fetch_add(1 << 40, std::sync::atomic::Ordering::SeqCst);
    let work = Work {
        done: &done,
        ..Work::new(&*clock)
    };
    let repository = repository(&root.join("target"), None);
    match words[1] {
        "backup" => {
            let request = Create {
                id: BackupId(Uuid::from_u128(7_000)),
                kind: BackupKind::Incremental,
                data_dir: &root.join("data"),
                to: None,
                binary_version: "test",
                plain_keys: false,
            };
            create(&repository, &request, &work).expect("backed up");
        }
        "restore" => {
            let plan = plan(&repository, Wanted::LatestVerified).expect("planned");
            let to = Restore {
                data_dir: &root.join("data"),
                segment_bytes: SEGMENT,
            };
            restore(&plan, &to, &work).expect("restored");
        }
        _ => {
            let keep = Keep {
                daily: 0,
                weekly: 0,
                monthly: 0,
            };
            prune(&repository, keep, false, &work).expect("pruned");
        }
    }
    panic!("it was not killed");
}

#[test]
fn backup_killed_at_any_step_exists_as_a_whole_or_not_at_all() {
    let world = World::new();
    let log = world.open();
    world.work(&log, 9);
    let repository = world.repository();
    let first = world.backup(&repository, BackupKind::Full);
    for step in Step::BACKUP {
        world.work(&log, 9);
        killed_at(world.root.path(), "backup", *step);
        let listed = repository.list().expect("lists");
        let exists = *step == Step::ManifestSent;
        assert_eq!(listed.len(), 1 + usize::from(exists), "{step:?}");
        for listed in listed {
            world.verify(&repository, listed.manifest.id);
        }
    }
    let next = world.backup(&repository, BackupKind::Incremental);
    assert!(next.to_seq > first.to_seq);
    world.verify(&repository, next.id);
}

#[test]
fn restore_killed_at_any_step_leaves_the_old_or_the_new_and_can_be_done_again() {
    for step in Step::RESTORE {
        let world = World::new();
        let log = world.open();
        world.work(&log, 6);
        let inside = world.data_dir().join("backups/note");
        std::fs::create_dir_all(inside.parent().expect("a parent")).expect("made");
        std::fs::write(&inside, "x").expect("written");
        let repository = world.repository();
        let backup = world.backup(&repository, BackupKind::Full);
        world.verify(&repository, backup.id);
        world.work(&log, 2);
        log.close();
        drop(log);
        let dir = world.data_dir();
        let (old_end, old_wal) = (head(&dir), files(&dir.join("wal")));
        killed_at(world.root.path(), "restore", *step);
        let is_new = *step >= Step::Switched;
        match is_new {
            true => {
                assert_eq!(head(&dir), backup.to_seq.next(), "{step:?}");
                assert_eq!(hash_at(&dir, backup.to_seq), backup.state_hash);
            }
            false => assert_eq!(files(&dir.join("wal")), old_wal, "{step:?}"),
        }
        // Whichever it is, a server starts on it.
        let log = open(&dir, &world.clock);
        let end = log.head().seq;
        assert_eq!(end == old_end, !is_new, "{step:?}");
        log.close();
        drop(log);
        let plan = plan(&repository, Wanted::LatestVerified).expect("planned");
        let restored = world.restore(&plan);
        assert_eq!(restored.state_hash, backup.state_hash, "{step:?}");
        assert_eq!(head(&dir), backup.to_seq.next());
        assert!(inside.exists(), "{step:?}: local backups follow");
        let names: Vec<String> = std::fs::read_dir(world.root.path())
            .expect("lists")
            .map(|entry| entry.expect("an entry").file_name().display().to_string())
            .collect();
        assert!(
            !names.iter().any(|name| name.contains("restoring")),
            "{names:?}"
        );
        let olds = names.iter().filter(|name| name.contains("before"));
        let ends: Vec<Seq> = olds
            .map(|name| head(&world.root.path().join(name)))
            .collect();
        assert!(
            ends.contains(&old_end),
            "{step:?}: the old one is kept: {names:?}"
        );
    }
}

#[test]
fn pruning_killed_at_any_step_leaves_whole_backups() {
    for step in Step::PRUNE {
        let world = World::new();
        let log = world.open();
        let repository = world.repository();
        for _ in 0..3 {
            world.work(&log, 7);
            world.backup(&repository, BackupKind::Incremental);
        }
        killed_at(world.root.path(), "prune", *step);
        let listed = repository.list().expect("lists");
        assert_eq!(listed.len(), 1, "{step:?}");
        world.verify(&repository, listed[0].manifest.id);
        let keep = Keep::default();
        let again = prune(&repository, keep, false, &Work::new(&*world.clock)).expect("pruned");
        assert_eq!(again.removed.len(), 0);
    }
}
