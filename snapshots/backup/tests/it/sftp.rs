//! Against the real programs of OpenSSH: its SFTP server alone, and behind a real `sshd` on the
//! loopback interface.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use hindcast_backup::{
    Access, Address, BackupError, Keep, Key, Sftp, Shipper, SshOptions, Target, TargetError,
    Wanted, Work, plan, prune,
};
use hindcast_model::event::BackupKind;

use crate::sshd::{Sshd, key_pair, program};
use crate::support::{World, files, hash_at, with_target};

fn served(dir: &Path, arguments: &[&str]) -> Option<Sftp> {
    let server = program("sftp-server")?;
    let base = dir.display().to_string();
    Some(Sftp::through(&server, arguments, &base))
}

fn names(target: &dyn Target, prefix: &str) -> Vec<String> {
    let listed = target.list(prefix).expect("listed");
    listed.into_iter().map(|entry| entry.name).collect()
}

#[test]
fn objects_come_back_are_listed_and_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    for (count, arguments) in [&[][..], &["-P", "posix-rename,fsync"][..]]
        .iter()
        .enumerate()
    {
        let base = dir.path().join(format!("{count}/deep/er"));
        let Some(target) = served(&base, arguments) else {
            return;
        };
        assert_eq!(target.list("").expect("listed"), Vec::new());
        target.remove("nothing").expect("no error");
        let large: Vec<u8> = (0..3_000_001_u32)
            .map(|n| n.to_le_bytes()[n as usize % 4])
            .collect();
        for (name, bytes) in [
            ("a/b/1.zst", &b"one"[..]),
            ("a/b/1.zst", b"uno"),
            ("ab", b""),
            ("large", &large),
            ("a b+c/%.zst", b"odd"),
        ] {
            target.put(name, bytes).expect("written");
            assert_eq!(target.get(name).expect("there"), bytes, "{name}");
        }
        fs::write(base.join("a/b/7-0.tmp"), b"half").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", base.join("a/link")).expect("linked");
        assert_eq!(
            names(&target, ""),
            ["a b+c/%.zst", "a/b/1.zst", "ab", "large"]
        );
        assert_eq!(names(&target, "a/"), ["a/b/1.zst"]);
        assert_eq!(names(&target, "a/b/2"), Vec::<String>::new());
        assert_eq!(target.list("large").expect("listed")[0].bytes, 3_000_001);
        target.remove("a/b/1.zst").expect("removed");
        target.remove("a/b/1.zst").expect("no error");
        let gone = target.get("a/b/1.zst");
        assert!(matches!(gone, Err(TargetError::Missing { .. })), "{gone:?}");
        let halves = files(&base).into_keys();
        let halves = halves.filter(|path| path.extension().is_some_and(|end| end == "tmp"));
        assert_eq!(halves.count(), 1, "only the one that stood there before");
    }
}

#[test]
fn long_listings_and_many_directories_come_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(target) = served(dir.path(), &[]) else {
        return;
    };
    let mut wanted = Vec::new();
    for n in 0..2_000 {
        let name = format!("blobs/{:02x}/{n:05}.zst", n % 200);
        let path = dir.path().join(&name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, [0; 7]).expect("written");
        wanted.push(name);
    }
    wanted.sort();
    assert_eq!(names(&target, "blobs/"), wanted);
    assert_eq!(
        names(&target, "blobs/0f/0"),
        wanted
            .iter()
            .filter(|n| n.starts_with("blobs/0f/0"))
            .cloned()
            .collect::<Vec<_>>()
    );
}

#[test]
fn what_the_server_refuses_names_the_object_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(target) = served(dir.path(), &[]) else {
        return;
    };
    fs::write(dir.path().join("file"), "no directory").expect("written");
    fs::create_dir_all(dir.path().join("taken/by")).expect("made");
    let below = target.put("file/x", b"x").expect_err("below a file");
    assert!(below.to_string().starts_with("write file/x in "), "{below}");
    let taken = target
        .put("taken/by", b"x")
        .expect_err("a directory")
        .to_string();
    assert!(taken.contains("failure"), "{taken}");
    assert!(target.get("taken").is_err());
    // The connection is as good as before.
    target.put("fine", b"fine").expect("written");
    assert_eq!(target.get("fine").expect("there"), b"fine");
    let left = files(dir.path()).into_keys().count();
    assert_eq!(left, 2);
    let Some(readonly) = served(dir.path(), &["-R"]) else {
        return;
    };
    let refused = readonly.put("x", b"x").expect_err("read-only").to_string();
    assert!(refused.contains("permission denied"), "{refused}");
}

#[test]
fn a_connection_that_was_lost_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(server) = program("sftp-server") else {
        return;
    };
    // It serves a few requests, tells its number, and is killed.
    let pid = dir.path().join("pid");
    let script = format!("echo $$ > {}; exec {}", pid.display(), server.display());
    let base = dir.path().join("base").display().to_string();
    let target = Sftp::through(Path::new("sh"), &["-c", &script], &base);
    target.put("a", b"one").expect("written");
    for n in 0..3 {
        let number = fs::read_to_string(&pid).expect("told");
        let killed = Command::new("kill").args(["-9", number.trim()]).status();
        assert!(killed.expect("kill runs").success());
        let name = format!("b{n}");
        target
            .put(&name, b"two")
            .expect("written over another connection");
        assert_eq!(target.get(&name).expect("there"), b"two");
    }
}

fn target(sshd: &Sshd, folder: &str, (identity, known_hosts): (&Path, &Path)) -> Arc<dyn Target> {
    let address: Address = sshd.url(folder).parse().expect("an address");
    let ssh = SshOptions::new(Some(identity.to_owned()), Some(known_hosts.to_owned()));
    let access = Access {
        ssh,
        ..Access::default()
    };
    address.open(&access).expect("opens")
}

fn known(sshd: &Sshd, folder: &str) -> Arc<dyn Target> {
    let files = (sshd.file("id"), sshd.file("known hosts"));
    target(sshd, folder, (&files.0, &files.1))
}

#[test]
fn encrypted_backups_and_shipped_events_come_back_over_ssh() {
    let Some(sshd) = Sshd::start() else { return };
    let world = World::new();
    let log = world.open();
    world.work(&log, 20);
    let repository = with_target(known(&sshd, "backups/one"), Some(Key::new(&[4; 32])));
    let full = world.backup(&repository, BackupKind::Full);
    world.verify(&repository, full.id);
    world.work(&log, 10);
    let second = world.backup(&repository, BackupKind::Incremental);
    assert!(second.sent_bytes < second.stored_bytes());
    world.work(&log, 2);
    let (head, work) = (log.head().seq, Work::new(&*world.clock));
    let mut shipper = Shipper::default();
    shipper
        .ship(&repository, &world.data_dir(), head, &work)
        .expect("shipped");
    log.close();
    drop(log);
    let wanted = hash_at(&world.data_dir(), head);
    fs::remove_dir_all(world.data_dir()).expect("the machine is lost");
    let restored = world.restore(&plan(&repository, Wanted::Latest).expect("planned"));
    assert_eq!((restored.to_seq, restored.state_hash), (head, wanted));
    let pruned = prune(&repository, Keep::default(), false, &work).expect("pruned");
    assert_eq!(pruned.kept.len(), 2);
    world.verify(&repository, second.id);
}

#[test]
fn who_is_not_known_is_told_so_on_either_side() {
    let Some(sshd) = Sshd::start() else { return };
    let (id, hosts) = (sshd.file("id"), sshd.file("known hosts"));
    known(&sshd, "x").put("a", b"a").expect("written");
    let told = |identity: &Path, known_hosts: &Path| {
        let target = target(&sshd, "x", (identity, known_hosts));
        let error: BackupError = target.get("a").expect_err("refused").into();
        assert!(error.is_passing(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("read a in sftp://"), "{text}");
        text
    };
    let none = sshd.file("none");
    fs::write(&none, "").expect("written");
    let unknown = told(&id, &none);
    assert!(unknown.contains("the host's key is not known"), "{unknown}");
    let other = sshd.file("other");
    key_pair(&other);
    let wrong = sshd.file("wrong");
    let key = fs::read_to_string(sshd.file("other.pub")).expect("a key");
    fs::write(&wrong, format!("[127.0.0.1]:{} {key}", sshd.port)).expect("written");
    let changed = told(&id, &wrong);
    assert!(
        changed.contains("another key than the one that is known"),
        "{changed}"
    );
    let stranger = told(&other, &hosts);
    assert!(stranger.contains("does not let this user in"), "{stranger}");
    // Nothing of that harms the one that is right.
    assert_eq!(known(&sshd, "x").get("a").expect("there"), b"a");
}

#[test]
fn a_host_that_is_gone_is_a_passing_error_that_names_the_target() {
    let Some(mut sshd) = Sshd::start() else {
        return;
    };
    let target = known(&sshd, "x");
    target.put("a", b"a").expect("written");
    // The connection that is there would live on without its listener.
    sshd.stop();
    let fresh = known(&sshd, "x");
    let error = fresh.get("a").expect_err("nobody listens").to_string();
    assert!(error.contains("Connection refused"), "{error}");
}
