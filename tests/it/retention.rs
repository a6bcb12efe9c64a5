//! Retention: a real server removes its oldest segments, says so, and goes on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{Server, VALIDATE, finish, hindcast, pause, serve, temporary, validation};

const SMALL: &str = "log.segment_bytes=65536";

fn segments(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("archive"))
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect();
    names.sort();
    names
}

fn snapshots(dir: &Path) -> Vec<u64> {
    let entries = fs::read_dir(dir.join("snapshots")).expect("listed");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .filter_map(|name| name.to_str()?.strip_suffix(".snap")?.parse().ok())
        .collect()
}

fn offline(words: &[&str], dir: &Path) -> (Value, Value, Option<i32>) {
    let mut command = hindcast(words);
    command.arg("--json").arg("--data-dir").arg(dir);
    let (out, errors, code) = finish(command, &[]);
    let read = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    (read(&out), read(&errors), code)
}

/// A validation that is like no other.
fn validate(server: &Server, n: u32) -> String {
    let mut question = validation();
    question["graph"] = json!(format!("dag {{ z -> x; z -> y{n}; x -> y{n} }}"));
    question["outcome"] = json!(format!("y{n}"));
    let answer = server.post(VALIDATE, &question).expect(200);
    answer["run_id"].as_str().expect("an id").to_owned()
}

/// That it is answered with where the events are.
fn is_pruned(server: &Server, path: &str, headers: &[(&str, &str)], to: u64) {
    let reply = server.send(Method::GET, path, headers, &[]);
    let problem = reply.expect_problem(410, "");
    assert_eq!(problem["type"], "urn:hindcast:problem:pruned", "{path}");
    let hint = problem["hint"].as_str().expect("a hint");
    let restore = format!("hindcast restore --from TARGET --to {to}");
    assert!(hint.contains(&restore), "{path}: {hint}");
}

/// What is asked for after the events that hold it are gone.
struct Early {
    run: String,
    cursor: String,
}

/// A server runs until it has sealed some segments.
fn grow(dir: &Path) -> Early {
    let server = Server::start_with(serve(dir, &[SMALL]));
    let run = validate(&server, 0);
    let page = server.get("/api/v1/events?limit=2").expect(200);
    let cursor = page["next"].as_str().expect("a cursor").to_owned();
    for n in 1.. {
        validate(&server, n);
        if segments(dir).len() >= 3 {
            break;
        }
        assert!(n < 2_000, "no segment is ever sealed");
    }
    server.stop();
    Early { run, cursor }
}

/// Waits until everything that is sealed is removed, and says up to where that is.
fn removed(server: &Server, dir: &Path) -> u64 {
    let found = server.wait_until("/api/v1/events?type=segments_pruned", |page| {
        let items = page["items"].as_array();
        items.is_some_and(|items| !items.is_empty())
    });
    let told = &found["items"][0]["data"];
    assert_eq!((&told["first"], &told["backup"]), (&json!(1), &Value::Null));
    let last = told["last"].as_u64().expect("a sequence");
    server.wait_until("/api/v1/events?limit=1", |page| {
        page["items"][0]["seq"] == last + 1 && segments(dir).is_empty()
    });
    assert!(dir.join("base.bin").exists());
    for _ in 0..500 {
        if snapshots(dir).iter().all(|seq| *seq >= last) {
            return last;
        }
        pause(Duration::from_millis(10));
    }
    panic!("snapshots of what is gone stay: {:?}", snapshots(dir))
}

fn ask_for_what_is_gone(server: &Server, Early { run, cursor }: &Early, last: u64) {
    for path in [
        "events?from=1".to_owned(),
        format!("events/{last}"),
        format!("events?cursor={cursor}"),
        format!("events?stream=run/{run}"),
        format!("runs/{run}"),
        "state/all?at=1".to_owned(),
        "state/all?at=2020-01-01T00:00:00Z".to_owned(),
        format!("provenance/{run}"),
    ] {
        is_pruned(server, &format!("/api/v1/{path}"), &[], last);
    }
    let resume = [("accept", "text/event-stream"), ("last-event-id", cursor)];
    is_pruned(server, "/api/v1/events", &resume, last);
    // The list of runs ends with where the rest is.
    let mut next = String::new();
    let end = loop {
        let reply = server.get(&format!("/api/v1/runs?limit=500{next}"));
        if reply.status != 200 {
            break reply;
        }
        let page = reply.json();
        next = format!("&cursor={}", page["next"].as_str().expect("it goes on"));
    };
    let problem = end.expect_problem(410, "");
    assert_eq!(problem["type"], "urn:hindcast:problem:pruned");
}

fn ask_for_what_is_left(server: &Server, last: u64) -> String {
    let first = format!("/api/v1/events/{}", last + 1);
    server.get(&first).expect(200);
    let at = format!("/api/v1/state/all?at={last}");
    assert_eq!(server.get(&at).expect(200)["at_seq"], last);
    let store = server.get("/api/v1/state/system/store").expect(200);
    assert_eq!(store["state"]["pruned"]["last"], last, "{store}");
    let late = validate(server, 100_000);
    server.get(&format!("/api/v1/runs/{late}")).expect(200);
    let provenance = format!("/api/v1/provenance/{late}");
    server.get(&provenance).expect(200);
    let never = "/api/v1/runs/01ffffff-ffff-7fff-bfff-ffffffffffff";
    server.get(never).expect_problem(404, "path.id");
    late
}

fn ask_offline(dir: &Path, early: &Early, last: u64) {
    let (report, errors, code) = offline(&["verify", "--recompute"], dir);
    assert_eq!(code, Some(0), "{errors} {report}");
    let gap = json!([{ "from": 1, "to": last, "backup": null }]);
    assert_eq!((&report["holds"], &report["pruned"]), (&json!(true), &gap));
    let (run, last_seq) = (format!("run/{}", early.run), last.to_string());
    for words in [
        &["events", "show", "1"][..],
        &["events", "list", "--from", "1"],
        &["events", "list", "--stream", &run],
        &["state", "all", "--at", "1"],
        &["explain", &early.run],
        &["restore", "--to", &last_seq],
    ] {
        let (_, error, code) = offline(words, dir);
        assert_eq!(code, Some(1), "{words:?}: {error}");
        let says =
            |name: &str, what: &str| error[name].as_str().is_some_and(|it| it.contains(what));
        assert!(says("error", "are pruned"), "{words:?}: {error}");
        assert!(says("hint", "hindcast restore"), "{words:?}: {error}");
    }
    let (listed, error, code) = offline(&["events", "list", "--limit", "1"], dir);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(listed["items"][0]["seq"], last + 1);
}

#[test]
fn segments_are_removed_and_whoever_asks_for_them_is_told() {
    let dir = temporary();
    let early = grow(dir.path());
    let before = segments(dir.path());
    let allowed = [
        SMALL,
        "retention.log_bytes=1",
        "runs.idempotency_ttl_ms=0",
        "cache.results_age_max_ms=0",
        "cache.results_disk_age_max_ms=0",
        "retention.without_backup=true",
    ];
    // Nothing goes that no backup holds, unless that is allowed.
    let server = Server::start_with(serve(dir.path(), &allowed[..5]));
    server.get("/api/v1/events/1").expect(200);
    server.stop();
    assert!(segments(dir.path()).starts_with(&before));

    let mut server = Server::start_with(serve(dir.path(), &allowed));
    let last = removed(&server, dir.path());
    ask_for_what_is_gone(&server, &early, last);
    let late = ask_for_what_is_left(&server, last);
    server.kill();
    ask_offline(dir.path(), &early, last);

    // It goes on, also without its lookup store.
    fs::remove_dir_all(dir.path().join("sled")).expect("removed");
    let server = Server::start_with(serve(dir.path(), &[SMALL]));
    is_pruned(&server, "/api/v1/events?from=1", &[], last);
    validate(&server, 100_001);
    server.get(&format!("/api/v1/runs/{late}")).expect(200);
    let made = server.post("/api/v1/backups", &json!({})).expect(201);
    assert_eq!(made["verified"], true, "{made}");
    let listed = server.get("/api/v1/backups").expect(200);
    assert_eq!(listed["items"][0]["first_seq"], last + 1, "{listed}");
    assert_eq!(server.stop(), Some(0));
    let (report, errors, code) = offline(&["verify"], dir.path());
    assert_eq!(code, Some(0), "{errors} {report}");
    restore_what_is_left(dir.path(), last, &made);
}

/// The backup holds what is left, and names what is gone.
fn restore_what_is_left(dir: &Path, last: u64, made: &Value) {
    let elsewhere = temporary();
    let data = elsewhere.path().join("data");
    let from = dir.join("backups").display().to_string();
    let restore = ["restore", "--from", &from];
    let (seq, at) = (last.to_string(), "2020-01-01T00:00:00Z");
    for to in [&seq, at] {
        let (_, error, code) = offline(&[&restore[..], &["--to", to]].concat(), &data);
        assert_eq!(code, Some(1), "{error}");
        let told = error["error"].as_str().expect("an error");
        assert!(told.contains(&format!("sequences 1 to {last}")), "{told}");
        assert!(!data.exists());
    }
    let (plan, error, code) = offline(&[&restore[..], &["--dry-run"]].concat(), &data);
    assert_eq!(
        (code, &plan["first_seq"]),
        (Some(0), &json!(last + 1)),
        "{error}"
    );
    let id = made["id"].as_str().expect("an id");
    let (restored, error, code) = offline(&[&restore[..], &["--backup", id]].concat(), &data);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(restored["compared_with_backup"], true);
    let (there, error, code) = offline(&["state", "all", "--at", &made["to_seq"].to_string()], dir);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(there["state_hash"], restored["state_hash"]);
    let server = Server::start_with(serve(&data, &[SMALL]));
    is_pruned(&server, "/api/v1/events?from=1", &[], last);
    server
        .get(&format!("/api/v1/events/{}", last + 1))
        .expect(200);
    validate(&server, 100_002);
    assert_eq!(server.stop(), Some(0));
    let (report, error, code) = offline(&["verify"], &data);
    assert_eq!(code, Some(0), "{error} {report}");
}

#[test]
fn what_a_verified_backup_holds_may_go_and_comes_back_with_a_restore() {
    let dir = temporary();
    let (data, far) = (dir.path().join("data"), dir.path().join("far"));
    let early = grow(&data);
    let target = format!(
        "backup.targets=[{{ name = \"far\", url = {:?} }}]",
        far.display().to_string()
    );
    let pruning = [
        SMALL,
        &target,
        "retention.log_age_ms=1",
        "runs.idempotency_ttl_ms=0",
        "cache.results_age_max_ms=0",
        "cache.results_disk_age_max_ms=0",
    ];
    // Nothing goes before there is a backup.
    let server = Server::start_with(serve(&data, &pruning));
    let backup = json!({ "target": "far" });
    let made = server.post("/api/v1/backups", &backup).expect(201);
    assert_eq!(made["verified"], true);
    assert!(!data.join("base.bin").exists());
    server.stop();
    let server = Server::start_with(serve(&data, &pruning));
    let found = server.wait_until("/api/v1/events?type=segments_pruned", |page| {
        let items = page["items"].as_array();
        items.is_some_and(|items| !items.is_empty())
    });
    assert_eq!(found["items"][0]["data"]["backup"], made["id"], "{found}");
    let last = found["items"][0]["data"]["last"]
        .as_u64()
        .expect("a sequence");
    is_pruned(&server, "/api/v1/events/1", &[], last);
    // The next backup is of the whole log, and so is a full one.
    for kind in ["incremental", "full"] {
        let asked = json!({ "target": "far", "kind": kind });
        let again = server.post("/api/v1/backups", &asked).expect(201);
        assert_eq!(again["verified"], true, "{again}");
    }
    // Another target has no copy of what is gone, and says so.
    let (_, errors, code) = offline(&["backup", "create"], &data);
    assert_eq!(code, Some(1));
    let told = errors.to_string();
    assert!(told.contains("were removed here"), "{told}");
    assert!(told.contains(made["id"].as_str().expect("an id")), "{told}");
    server.stop();
    fs::rename(&data, dir.path().join("lost")).expect("lost");
    let from = far.display().to_string();
    let (restored, errors, code) = offline(&["restore", "--from", &from], &data);
    assert_eq!(code, Some(0), "{errors}");
    assert!(restored["to_seq"].as_u64().is_some_and(|seq| seq > last));
    let server = Server::start_with(serve(&data, &[SMALL]));
    server.get("/api/v1/events/1").expect(200);
    server
        .get(&format!("/api/v1/runs/{}", early.run))
        .expect(200);
    server.stop();
    let (report, errors, code) = offline(&["verify"], &data);
    assert_eq!(code, Some(0), "{errors} {report}");
}
