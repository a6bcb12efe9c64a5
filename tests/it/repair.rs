//! `verify --recompute` and `repair` over the directory of a real server.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{
    DISCOVER, Server, VALIDATE, finish, hindcast, pause, sachs, temporary, validation,
};

fn here(words: &[&str], dir: &Path) -> (Value, String, Option<i32>) {
    let mut command = hindcast(words);
    command.arg("--json").arg("--data-dir").arg(dir);
    let (out, errors, code) = finish(command, &[]);
    let parsed = serde_json::from_str(&out).unwrap_or(Value::Null);
    (parsed, errors, code)
}

/// A server has run here, and was stopped.
fn lived(dir: &Path) -> (String, String) {
    let server = Server::start(dir);
    let rows: Vec<[f64; 2]> = (0..30)
        .map(|i| [f64::from(i), f64::from(i * i % 7)])
        .collect();
    let body = json!({ "data": rows, "seed": 3, "bootstrap": 2 });
    let answer = server.post(DISCOVER, &body).expect(200);
    for _ in 0..40 {
        server.post(VALIDATE, &validation()).expect(200);
    }
    server.stop();
    let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
    (text("run_id"), text("result_hash"))
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("wal").join("00000000000000000001.seg")
}

#[test]
fn results_are_computed_again_and_a_flipped_bit_is_named_and_healed() {
    let dir = temporary();
    let (run, hash) = lived(dir.path());
    let (whole, errors, code) = here(&["verify", "--recompute"], dir.path());
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(whole["recomputed"]["differing"], 0, "{whole}");
    assert_eq!(whole["recomputed"]["compared"], 41, "{whole}");
    assert_eq!(whole["recomputed"]["computations"], 2, "{whole}");

    let path = segment(dir.path());
    let mut bytes = fs::read(&path).expect("read");
    // Behind the first frame, which holds the whole configuration.
    bytes[9_000] ^= 16;
    fs::write(&path, bytes).expect("damaged");
    let (damaged, errors, code) = here(&["verify"], dir.path());
    assert_eq!((code, &damaged["holds"]), (Some(1), &json!(false)));
    assert!(
        damaged["problems"][0]["seq"]
            .as_u64()
            .is_some_and(|seq| seq > 1)
    );
    assert!(errors.contains("repair --plan"), "{errors}");

    let (plan, errors, code) = here(&["repair", "--plan"], dir.path());
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(
        (&plan["applied"], &plan["remedies"][0]["kind"]),
        (&json!(false), &json!("segment"))
    );
    assert_eq!(
        here(&["verify"], dir.path()).2,
        Some(1),
        "the plan changes nothing"
    );
    let (done, errors, code) = here(&["repair"], dir.path());
    assert_eq!((code, &done["holds"]), (Some(0), &json!(true)), "{errors}");
    let (healed, ..) = here(&["verify"], dir.path());
    assert_eq!(healed["chain"], whole["chain"]);
    assert_eq!(healed["state_hash"], whole["state_hash"]);

    let server = Server::start(dir.path());
    let found = server.get(&format!("/api/v1/runs/{run}")).expect(200);
    assert_eq!(found["result_hash"], hash);
    let (_, errors, code) = here(&["repair"], dir.path());
    assert_eq!(code, Some(1), "a running server keeps the directory");
    assert!(errors.contains("another process"), "{errors}");
}

/// Every file below `dir`, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(path).expect("read"))),
        }
    }
    found
}

#[test]
fn verify_and_a_plan_write_nothing_also_after_a_kill() {
    let dir = temporary();
    lived(dir.path());
    let mut server = Server::start(dir.path());
    for _ in 0..10 {
        server.post(VALIDATE, &validation()).expect(200);
    }
    server.kill();
    let before = files(dir.path());
    for words in [
        &["verify", "--recompute"][..],
        &["repair", "--plan"],
        &["verify"],
    ] {
        let (told, errors, code) = here(words, dir.path());
        assert_eq!(code, Some(0), "{words:?}: {errors}{told}");
        let after = files(dir.path());
        let changed = after
            .iter()
            .filter(|(path, bytes)| before.get(*path) != Some(bytes));
        let changed: Vec<&PathBuf> = changed.map(|(path, _)| path).collect();
        assert_eq!(changed, [] as [&PathBuf; 0], "{words:?} changed files");
        assert_eq!(after.len(), before.len(), "{words:?} removed files");
    }
}

#[test]
fn damaged_snapshots_are_set_aside() {
    let dir = temporary();
    let server = Server::start_with(crate::support::serve(
        dir.path(),
        &["log.snapshot_events=100"],
    ));
    for _ in 0..60 {
        server.post(VALIDATE, &validation()).expect(200);
    }
    let folder = dir.path().join("snapshots");
    let snapshots = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "snap"))
            .collect()
    };
    let mut waits = 0..1_000;
    while snapshots().is_empty() {
        assert!(waits.next().is_some(), "no snapshot was taken");
        pause(Duration::from_millis(20));
    }
    server.stop();
    let path = snapshots().remove(0);
    let mut bytes = fs::read(&path).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).expect("damaged");
    assert_eq!(here(&["verify"], dir.path()).2, Some(1));
    let (done, errors, code) = here(&["repair"], dir.path());
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(done["remedies"][0]["kind"], "snapshot", "{done}");
    assert!(path.with_extension("bad").exists());
}

#[test]
fn what_is_gone_comes_back_from_a_backup() {
    let dir = temporary();
    let command = crate::support::serve(dir.path(), &["log.segment_bytes=65536"]);
    let server = Server::start_with(command);
    let csv = [("content-type", "text/csv")];
    let stored = server.send(Method::POST, "/api/v1/datasets", &csv, &sachs());
    let digest = stored.expect(201)["digest"]
        .as_str()
        .expect("a text")
        .to_owned();
    for _ in 0..200 {
        server.post(VALIDATE, &validation()).expect(200);
    }
    server.stop();
    let (made, errors, code) = here(&["backup", "create"], dir.path());
    assert_eq!(
        (code, &made["verified"]),
        (Some(0), &json!(true)),
        "{errors}"
    );
    let (whole, ..) = here(&["verify"], dir.path());
    let archive = dir.path().join("archive");
    let mut segments: Vec<PathBuf> = fs::read_dir(&archive)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    segments.sort();
    assert!(segments.len() >= 3, "{segments:?}");
    for gone in &segments[..2] {
        fs::remove_file(gone).expect("removed");
    }
    let blob = dir
        .path()
        .join("blobs")
        .join(&digest[..2])
        .join(&digest[2..]);
    fs::remove_file(blob).expect("removed");
    assert_eq!(here(&["verify"], dir.path()).2, Some(1));
    let (lost, errors, code) = here(&["repair", "--plan"], dir.path());
    assert_eq!(code, Some(1), "{lost}");
    assert!(errors.contains("--from"), "{errors}");
    let (done, errors, code) = here(&["repair", "--from", "local"], dir.path());
    assert_eq!(
        (code, &done["holds"]),
        (Some(0), &json!(true)),
        "{errors}: {done}"
    );
    let (healed, ..) = here(&["verify"], dir.path());
    assert_eq!(healed["chain"], whole["chain"]);
    let server = Server::start(dir.path());
    server
        .get(&format!("/api/v1/datasets/{digest}"))
        .expect(200);
}
