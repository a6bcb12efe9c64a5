//! Against a real S3 server: moto on the loopback interface.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use hindcast_backup::{
    Access, Address, BackupError, Keep, Key, S3Options, Shipper, Target, TargetError, Wanted, Work,
    plan, prune,
};
use hindcast_model::event::BackupKind;

use crate::support::{World, hash_at, with_target};

/// A server that ends with the test.
struct Moto {
    child: Child,
    endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Moto {
    /// Starts a server, if it is installed; the test command installs it.
    fn start() -> Option<Self> {
        let started = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            println!("skipped: moto_server is not installed; `cargo xtask tools` installs it");
            return None;
        };
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("Running on ") {
                    drop(tell.send(url.trim().to_owned()));
                }
            }
        });
        let endpoint = told.recv_timeout(Duration::from_secs(60));
        let endpoint = endpoint.expect("it says where it listens");
        Some(Self { child, endpoint })
    }

    fn bucket(&self, name: &str) {
        let url = format!("{}/{name}", self.endpoint);
        ureq::put(&url).send_empty().expect("made");
    }

    fn target(&self, url: &str) -> Arc<dyn Target> {
        let options = S3Options {
            endpoint: self.endpoint.clone(),
            region: "us-east-1".to_owned(),
            access_key: "test".to_owned(),
            secret_key: "test".to_owned(),
        };
        let address: Address = url.parse().expect("an address");
        let access = Access {
            s3: Some(options),
            ..Access::default()
        };
        address.open(&access).expect("opens")
    }
}

#[test]
fn objects_come_back_are_listed_over_pages_and_removed() {
    let Some(moto) = Moto::start() else { return };
    moto.bucket("store");
    let target = moto.target("s3://store/some/prefix");
    let other = moto.target("s3://store/some/prefix-2");
    other.put("x", b"other").expect("written");
    let names: Vec<String> = (0..1_030).map(|n| format!("tail/{n:05}.zst")).collect();
    for name in &names {
        target.put(name, name.as_bytes()).expect("written");
    }
    target.put("a b+c/%.zst", b"odd").expect("written");
    assert_eq!(target.get("a b+c/%.zst").expect("there"), b"odd");
    let listed = target.list("tail/").expect("listed");
    let found: Vec<&str> = listed.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(found, names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(listed[7].bytes, names[7].len() as u64);
    assert_eq!(target.list("").expect("listed").len(), names.len() + 1);
    target.remove(&names[3]).expect("removed");
    target.remove(&names[3]).expect("no error");
    let gone = target.get(&names[3]);
    assert!(matches!(gone, Err(TargetError::Missing { .. })), "{gone:?}");
    let nowhere = moto.target("s3://not-there").put("x", b"x");
    let refused = matches!(nowhere, Err(TargetError::Status { status: 404, .. }));
    assert!(refused, "{nowhere:?}");
}

#[test]
fn encrypted_backups_and_shipped_events_come_back_from_an_object_store() {
    let Some(moto) = Moto::start() else { return };
    moto.bucket("backups");
    let world = World::new();
    let log = world.open();
    world.work(&log, 20);
    let key = Key::new(&[4; 32]);
    let repository = with_target(moto.target("s3://backups/one"), Some(key));
    let full = world.backup(&repository, BackupKind::Full);
    world.verify(&repository, full.id);
    world.work(&log, 10);
    let second = world.backup(&repository, BackupKind::Incremental);
    assert!(second.sent_bytes < second.stored_bytes());
    world.work(&log, 2);
    let (head, work) = (log.head().seq, Work::new(&*world.clock));
    Shipper::default()
        .ship(&repository, &world.data_dir(), head, &work)
        .expect("shipped");
    log.close();
    drop(log);
    let wanted = hash_at(&world.data_dir(), head);
    std::fs::remove_dir_all(world.data_dir()).expect("the machine is lost");
    let restored = world.restore(&plan(&repository, Wanted::Latest).expect("planned"));
    assert_eq!((restored.to_seq, restored.state_hash), (head, wanted));
    let pruned = prune(&repository, Keep::default(), false, &work).expect("pruned");
    assert_eq!(
        pruned.kept.len(),
        2,
        "the newest, and the newest that was verified"
    );
    world.verify(&repository, second.id);
}

#[test]
fn a_server_that_is_gone_is_a_passing_error_that_names_the_target() {
    let Some(mut moto) = Moto::start() else {
        return;
    };
    moto.bucket("store");
    let repository = with_target(moto.target("s3://store/p"), None);
    moto.child.kill().expect("killed");
    moto.child.wait().expect("ended");
    let failed: BackupError = repository.log().expect_err("no answer");
    assert!(failed.is_passing(), "{failed}");
    assert!(failed.to_string().contains("s3://store/p"), "{failed}");
}
