//! What is kept for a subject: sealed from the first write, unreadable after a redaction, while the
//! log, its hashes and everybody else's data stay as they were.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{DISCOVER, Server, VALIDATE, finish, hindcast, temporary};

const ADA: [(&str, &str); 1] = [("hindcast-subject", "ada")];
/// Stands in every payload of the subject.
const SECRET: &str = "haemoglobin_of_ada";

fn question() -> Value {
    json!({ "graph": format!("dag {{ {SECRET} -> y }}"), "treatment": SECRET, "outcome": "y" })
}

fn table() -> Value {
    let rows: String = (0..40).map(|i| format!("{i},{}\n", i * i % 7)).collect();
    json!({ "name": "of ada", "csv": format!("{SECRET},y\n{rows}") })
}

/// Whether any file holds the text.
fn holds(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => holds(&path, text),
            false => {
                let bytes = fs::read(&path).unwrap_or_default();
                bytes
                    .windows(text.len())
                    .any(|piece| piece == text.as_bytes())
            }
        }
    })
}

fn verify(dir: &Path) -> Value {
    let mut command = hindcast(&["verify", "--recompute", "--json", "--data-dir"]);
    command.arg(dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&out).expect("JSON")
}

/// How many sealed datasets a check opened, and how many nobody can open any more.
fn datasets(report: &Value) -> [Option<u64>; 2] {
    ["sealed_datasets", "redacted_datasets"].map(|name| report[name].as_u64())
}

fn id(answer: &Value, name: &str) -> String {
    answer[name].as_str().expect("a text").to_owned()
}

#[test]
fn a_redacted_subject_is_unreadable_and_the_log_stays_whole() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let asked = server.post_with(VALIDATE, &question(), &ADA).expect(200);
    let run = id(&asked, "run_id");
    let stored = server
        .post_with("/api/v1/datasets", &table(), &ADA)
        .expect(201);
    let digest = id(&stored, "digest");
    assert_eq!(stored["name"], "sealed");
    assert_eq!(stored["profile"]["columns"][0]["name"], SECRET);
    let again = server
        .post_with("/api/v1/datasets", &table(), &ADA)
        .expect(200);
    assert_eq!(
        again["digest"], stored["digest"],
        "the same bytes are one dataset"
    );
    let other = server.post("/api/v1/datasets", &table()).expect(201);
    assert_ne!(
        other["digest"], stored["digest"],
        "nobody can guess what is kept"
    );
    // What is computed from it would leave its seal.
    let read = json!({ "dataset": digest, "seed": 1 });
    for other in [&[][..], &[("hindcast-subject", "bob")]] {
        let refused = server.post_with(DISCOVER, &read, other);
        refused.expect_problem(422, "header.hindcast-subject");
    }
    let graph = server.post_with(DISCOVER, &json!({ "dataset": digest, "seed": 1 }), &ADA);
    let discovered = id(&graph.expect(200), "run_id");
    // The same question of somebody else is another computation, and stays readable.
    let theirs = server.post(VALIDATE, &question()).expect(200);
    assert_eq!(theirs["cache"]["status"], "miss", "{theirs}");
    server.stop();
    let before = verify(dir.path());
    assert_eq!(before["recomputed"]["sealed"], 0, "{before}");
    assert_eq!(datasets(&before), [Some(1), Some(0)], "{before}");

    let server = Server::start(dir.path());
    let number: u32 = number_of(&only_key(dir.path())).parse().expect("a number");
    let redaction = json!({ "subject": "ada", "reason": "asked to be forgotten" });
    let redacted = server.post("/api/v1/redactions", &redaction).expect(200);
    assert_eq!(redacted["keys"], json!([number]));
    server
        .post("/api/v1/redactions", &redaction)
        .expect_problem(404, "subject");
    for run in [&run, &discovered] {
        let found = server.get(&format!("/api/v1/runs/{run}")).expect(200);
        assert_eq!(found["result"]["sealed"], true, "{found}");
        assert_eq!(found["status"], "completed");
    }
    assert_eq!(
        server.get(&format!("/api/v1/datasets/{digest}")).status,
        410
    );
    for named in [&[][..], &ADA] {
        let again = server.post_with(DISCOVER, &json!({ "dataset": digest, "seed": 2 }), named);
        assert!(
            again.status == 410 && !again.body.contains(SECRET),
            "{}",
            again.body
        );
    }
    let found = server.get(&format!("/api/v1/runs/{}", id(&theirs, "run_id")));
    assert!(found.body.contains(SECRET));
    // The subject may come back, under a new key.
    let later = server.post_with(VALIDATE, &question(), &ADA).expect(200);
    assert_eq!(later["cache"]["status"], "miss");
    server.stop();
    let after = verify(dir.path());
    let counts = ["sealed", "compared"].map(|name| after["recomputed"][name].as_u64());
    assert_eq!(counts, [Some(2), Some(2)], "{after}");
    assert_eq!(after["holds"], true);
    assert_eq!(datasets(&after), [Some(0), Some(1)], "{after}");
}

#[test]
fn nothing_of_a_subject_is_ever_written_readable() {
    let dir = temporary();
    let command = crate::support::serve(dir.path(), &["log.snapshot_events=1"]);
    let server = Server::start_with(command);
    server.post_with(VALIDATE, &question(), &ADA).expect(200);
    let stored = server
        .post_with("/api/v1/datasets", &table(), &ADA)
        .expect(201);
    let body = json!({ "dataset": stored["digest"], "seed": 1 });
    server.post_with(DISCOVER, &body, &ADA).expect(200);
    let series = json!({
        "name": SECRET,
        "operations": [{ "operation": "causal.validate", "request": question() }],
    });
    let series = server.post_with("/api/v1/experiments", &series, &ADA);
    let experiment = id(&series.expect(202), "experiment_id");
    server.wait_until(&format!("/api/v1/experiments/{experiment}"), |view| {
        view["status"] == "completed"
    });
    server.stop();
    assert!(!holds(dir.path(), SECRET), "a readable copy");
    let bad = Server::start(dir.path());
    let named = [("hindcast-subject", "not a name!")];
    bad.post_with(VALIDATE, &question(), &named)
        .expect_problem(400, "header.hindcast-subject");
    bad.post("/api/v1/redactions", &json!({ "subject": "" }))
        .expect_problem(422, "subject");
}

#[test]
fn a_redaction_that_a_crash_interrupted_is_done_by_the_next_start() {
    let dir = temporary();
    let server = Server::start(dir.path());
    server.post_with(VALIDATE, &question(), &ADA).expect(200);
    let key = only_key(dir.path());
    let kept = fs::read(&key).expect("a key");
    server
        .post("/api/v1/redactions", &json!({ "subject": "ada" }))
        .expect(200);
    server.stop();
    assert!(!key.exists());
    // As if the process had ended between the record and the shredding.
    fs::remove_file(key.with_extension("gone")).expect("removed");
    fs::write(&key, kept).expect("put back");
    let server = Server::start(dir.path());
    server.stop();
    assert!(!key.exists());
    let mut command = hindcast(&["redact", "ada", "--json", "--data-dir"]);
    command.arg(dir.path());
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("nothing readable is kept"), "{errors}");
}

/// The setting of an encrypted target beside the data.
fn far(dir: &Path) -> String {
    let key = dir.join("key");
    fs::write(&key, [7; 32]).expect("written");
    format!(
        "backup.targets=[{{ name = \"far\", url = {:?}, key_file = {:?} }}]",
        dir.join("far").display().to_string(),
        key.display().to_string()
    )
}

#[test]
fn no_restore_brings_a_redacted_subject_back() {
    let dir = temporary();
    let data = dir.path().join("data");
    let target = far(dir.path());
    let serve = || crate::support::serve(&data, &[&target]);
    let server = Server::start_with(serve());
    let asked = server.post_with(VALIDATE, &question(), &ADA).expect(200);
    let run = id(&asked, "run_id");
    let backup = json!({ "target": "far" });
    let first = server.post("/api/v1/backups", &backup).expect(201);
    let key = only_key(&data);
    server
        .post("/api/v1/redactions", &json!({ "subject": "ada" }))
        .expect(200);
    // Without another backup: the target hears of it within seconds.
    let marked = dir
        .path()
        .join("far")
        .join("redactions")
        .join(key.file_name().expect("a name"));
    let mut waits = 0..1_500;
    while !marked.exists() {
        assert!(waits.next().is_some(), "the target still has the key");
        crate::support::pause(std::time::Duration::from_millis(20));
    }
    server.stop();
    fs::rename(&data, dir.path().join("lost")).expect("lost");
    let first = id(&first, "id");
    let mut restore = hindcast(&["restore", "--from", "far", "--backup", &first, "--json"]);
    restore.args(["--set", &target, "--data-dir"]).arg(&data);
    let (out, errors, code) = finish(restore, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let restored: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(restored["keys"], 0, "{restored}");
    let server = Server::start_with(serve());
    let found = server.get(&format!("/api/v1/runs/{run}")).expect(200);
    assert_eq!(found["result"]["sealed"], true, "{found}");
    // The number of the key that is gone is not used again.
    server.post_with(VALIDATE, &question(), &ADA).expect(200);
    assert_ne!(only_key(&data).file_name(), key.file_name());
}

#[test]
fn a_restore_in_place_keeps_what_was_redacted_there() {
    let dir = temporary();
    let data = dir.path().join("data");
    let target = far(dir.path());
    let server = Server::start_with(crate::support::serve(&data, &[&target]));
    let asked = server.post_with(VALIDATE, &question(), &ADA).expect(200);
    let backup = json!({ "target": "far" });
    server.post("/api/v1/backups", &backup).expect(201);
    server.stop();
    // The target is not there to hear of it.
    let mut redact = hindcast(&["redact", "ada", "--json", "--data-dir"]);
    redact.arg(&data);
    let (_, errors, code) = finish(redact, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let restored = |data: &Path| -> Value {
        let mut restore = hindcast(&["restore", "--from", "far", "--to", "latest", "--json"]);
        restore.args(["--set", &target, "--data-dir"]).arg(data);
        let (out, errors, code) = finish(restore, &[]);
        assert_eq!(code, Some(0), "{errors}");
        serde_json::from_str(&out).expect("JSON")
    };
    assert_eq!(restored(&data)["keys"], 0);
    let server = Server::start(&data);
    let run = id(&asked, "run_id");
    let found = server.get(&format!("/api/v1/runs/{run}")).expect(200);
    assert_eq!(found["result"]["sealed"], true, "{found}");
    server.stop();
    // Nobody has told the machine beside it.
    assert_eq!(restored(&dir.path().join("beside"))["keys"], 1);
}

#[test]
fn with_a_master_key_the_directory_alone_gives_nothing_away() {
    let dir = temporary();
    let (data, master) = (dir.path().join("data"), dir.path().join("master"));
    fs::write(&master, "07".repeat(32)).expect("written");
    let setting = format!("privacy.master_key_file={}", master.display());
    let plain = Server::start(&data);
    let asked = plain.post_with(VALIDATE, &question(), &ADA).expect(200);
    let run = id(&asked, "run_id");
    plain.stop();
    let keys = data.join("keys");
    assert!(holds(&keys, "ada"), "a plain key names its subject");
    let server = Server::start_with(crate::support::serve(&data, &[&setting]));
    assert!(!holds(&keys, "ada"), "the key is wrapped by the start");
    let found = server.get(&format!("/api/v1/runs/{run}")).expect(200);
    assert_eq!(found["result"]["identifiable"], true, "{found}");
    server.stop();
    // Without it no server starts over it, and nothing sealed is shown.
    let bare = crate::support::serve(&data, &[]);
    let (_, errors, code) = finish(bare, &[]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("privacy.master_key_file"), "{errors}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// The file of the only data key.
fn only_key(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data.join("keys")).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut keys = paths.filter(|path| path.extension().is_some_and(|end| end == "key"));
    let key = keys.next().expect("a key");
    assert_eq!(keys.next(), None, "one key alone");
    key
}

/// The number in the name of a key's file.
fn number_of(key: &Path) -> &str {
    let name = key.file_stem().and_then(|name| name.to_str());
    name.expect("a name").trim_start_matches('0')
}

/// Checks a damaged copy of a data directory; gives what `verify` says on standard output.
fn named(data: &Path, damage: impl FnOnce(&Path)) -> Value {
    let beside = temporary();
    let dir = beside.path().join("data");
    copy(data, &dir);
    damage(&only_key(&dir));
    let mut command = hindcast(&["verify", "--json", "--data-dir"]);
    command.arg(&dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(1), "{out}{errors}");
    let report: Value = serde_json::from_str(out.lines().next().expect("a line")).expect("JSON");
    let words = ["redact", "ada", "--json", "--data-dir"];
    let mut redact = hindcast(&words);
    redact.arg(&dir);
    let (_, errors, code) = finish(redact, &[]);
    assert_eq!(code, Some(1), "{errors}");
    report
}

#[test]
fn a_data_key_that_is_damaged_or_lost_is_named() {
    let dir = temporary();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let asked = server.post_with(VALIDATE, &question(), &ADA).expect(200);
    server.stop();
    assert_eq!(verify(&data)["data_keys"], 1);
    let flip = |at: usize| {
        move |key: &Path| {
            let mut bytes = fs::read(key).expect("a key");
            let last = bytes.len() - 1;
            bytes[at.min(last)] ^= 1;
            fs::write(key, bytes).expect("written");
        }
    };
    let key = only_key(&data);
    let number = number_of(&key);
    // The key, and the last letter of the subject's name.
    for at in [20, usize::MAX] {
        let report = named(&data, flip(at));
        let problem = &report["problems"][0];
        let what = problem["what"].as_str().expect("a text");
        assert!(
            what.contains(&format!("data key {number} is damaged")),
            "{report}"
        );
        assert!(
            problem["seq"].as_u64().is_some_and(|seq| seq > 0),
            "{report}"
        );
    }
    let report = named(&data, |key| fs::remove_file(key).expect("removed"));
    let what = report["problems"][0]["what"].as_str().expect("a text");
    assert!(
        what.contains(&format!("there is no data key {number}")),
        "{report}"
    );
    // A server over it starts, says so, and takes no other key for it.
    flip(20)(&key);
    let server = Server::start(&data);
    let run = id(&asked, "run_id");
    let view = server.get(&format!("/api/v1/runs/{run}")).expect(200);
    assert_eq!(view["result"]["sealed"], true, "{view}");
    let refused = server.post("/api/v1/redactions", &json!({ "subject": "ada" }));
    let problem = refused.expect_problem(404, "subject");
    let hint = problem["hint"].as_str().expect("a hint");
    let file = key.file_name().and_then(|name| name.to_str());
    let named = format!("keys/{}", file.expect("a name"));
    assert!(hint.contains(&named), "{hint}");
    server.stop();
}

#[test]
fn a_key_of_before_there_were_checksums_is_read_and_gets_one() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let asked = server.post_with(VALIDATE, &question(), &ADA).expect(200);
    server.stop();
    let key = only_key(dir.path());
    let framed = fs::read(&key).expect("a key");
    fs::write(&key, &framed[13..]).expect("written");
    let server = Server::start(dir.path());
    let run = id(&asked, "run_id");
    let view = server.get(&format!("/api/v1/runs/{run}")).expect(200);
    assert_eq!(view["result"]["identifiable"], true, "{view}");
    server.stop();
    assert_eq!(fs::read(&key).expect("a key"), framed);
}
