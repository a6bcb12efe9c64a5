//! Practised restores, and targets that are signed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Server, VALIDATE, finish, hindcast, serve, temporary, validation};

fn run(arguments: &[&str], dir: &Path) -> Value {
    let mut command = hindcast(arguments);
    command.arg("--json").current_dir(dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{arguments:?}: {errors}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

fn refused(arguments: &[&str], dir: &Path) -> String {
    let mut command = hindcast(arguments);
    command.current_dir(dir);
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(1), "{arguments:?}: {errors}");
    errors
}

#[test]
fn a_server_practises_a_restore_while_it_works() {
    let dir = temporary();
    let server = Server::start_with(serve(&dir.path().join("data"), &[]));
    server.post(VALIDATE, &validation()).expect(200);
    server
        .post("/api/v1/drills", &json!({ "target": "nowhere" }))
        .expect_problem(422, "target");
    let asked = ["drill", "run", "restore", "--server", &server.url];
    let message = refused(&asked, dir.path());
    assert!(message.contains("the target has no backup"), "{message}");
    server.post("/api/v1/backups", &json!({})).expect(201);
    // What comes behind the backup is what a loss would cost.
    server.post(VALIDATE, &validation()).expect(200);
    let report = run(&asked, dir.path());
    assert_eq!(report["passed"], true, "{report}");
    assert_eq!(report["state_equal"], true, "{report}");
    let number = |name: &str| report[name].as_f64().expect("a number");
    assert!(number("rpo_seconds") > 0.0 && number("rto_seconds") > 0.0);
    assert!(report["to_seq"].as_u64() < report["head_seq"].as_u64());
    let listed = run(&["drill", "list", "--server", &server.url], dir.path());
    assert_eq!(listed["schedule"], "every 168h");
    let items = listed["items"].as_array().expect("items");
    assert_eq!(items.len(), 2, "{listed}");
    assert_eq!(items[0]["state_hash"], report["state_hash"]);
    let metrics = server.get("/metrics").body;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("drill_ready_seconds{"));
    assert!(line.is_some(), "{metrics}");
    let left = std::fs::read_dir(dir.path().join("data/scratch")).expect("there");
    assert_eq!(left.count(), 0, "the scratch directory is empty again");
    // The same from the files, beside the server.
    let local = [
        "drill",
        "run",
        "restore",
        "--target",
        "local",
        "--data-dir",
        "data",
    ];
    let beside = run(&local, dir.path());
    assert_eq!(beside["state_hash"], report["state_hash"]);
    let message = refused(
        &[
            "drill",
            "run",
            "restore",
            "--target",
            "empty",
            "--data-dir",
            "data",
        ],
        dir.path(),
    );
    assert!(message.contains("holds no backups"), "{message}");
}

#[test]
fn a_signed_target_is_read_only_as_it_was_signed() {
    let dir = temporary();
    let here = dir.path();
    {
        let server = Server::start_with(serve(&here.join("data"), &[]));
        server.post(VALIDATE, &validation()).expect(200);
    }
    let signer = signing_key(here, "sign.key", 7);
    let other = signing_key(here, "other.key", 8);
    let create = |more: &[&str]| {
        let mut words = vec![
            "backup",
            "create",
            "--data-dir",
            "data",
            "--target",
            "./far",
        ];
        words.extend(more);
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let words = create(&["--signing-key", "sign.key"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let made = run(&words, here);
    assert_eq!(made["signed_by"], signer, "{made}");
    assert_eq!(made["verified"], true, "{made}");
    // Nobody else can add to it.
    for (more, why) in [
        (&["--signing-key", "other.key"][..], "was expected"),
        (&[][..], "no signing key was given"),
    ] {
        let words = create(more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let message = refused(&words, here);
        assert!(message.contains(why), "{message}");
    }
    let restore = |to: &str, signer: &str| {
        [
            "restore",
            "--from",
            "./far",
            "--signer",
            signer,
            "--data-dir",
            to,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let words = restore("back", &signer);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let back = run(&words, here);
    assert_eq!(back["state_hash"], made["state_hash"]);
    let words = restore("wrong", &other);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(refused(&words, here).contains("was expected"));
    change_the_log(here);
    let words = restore("again", &signer);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let message = refused(&words, here);
    assert!(message.contains("not signed by"), "{message}");
    assert!(!here.join("again").exists());
}

/// One object of the log in the target is another.
fn change_the_log(here: &Path) {
    let segment = objects(&here.join("far/tail"))
        .into_iter()
        .chain(objects(&here.join("far/segments")))
        .next()
        .expect("the log is there");
    let mut bytes = std::fs::read(&segment).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
}

/// Writes a signing key and tells its public key.
fn signing_key(dir: &Path, file: &str, seed: u8) -> String {
    std::fs::write(dir.join(file), [seed; 32]).expect("written");
    let signer = run(&["backup", "signer", file], dir);
    signer["signer"].as_str().expect("a key").to_owned()
}

fn objects(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}
