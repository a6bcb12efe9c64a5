//! Backups of a real server, and the restore of a machine that was lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{
    BINARY, ROOT, Server, VALIDATE, finish, hindcast, pause, sachs, serve, temporary, validation,
};

const BACKUPS: &str = "/api/v1/backups";

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

#[expect(clippy::disallowed_methods, reason = "a test measures wall time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_backup_is_answered_verified_and_repeats_under_its_key() {
    let dir = temporary();
    let roots = dir.path().join("roots");
    std::fs::create_dir(&roots).expect("made");
    let setting = format!("backup.roots=[{:?}]", roots.display().to_string());
    let server = Server::start_with(serve(&dir.path().join("data"), &[&setting]));
    server.post(VALIDATE, &validation()).expect(200);
    let key = [
        ("content-type", "application/json"),
        ("idempotency-key", "b1"),
    ];
    let send = |body: &[u8]| server.send(Method::POST, BACKUPS, &key, body);
    let first = send(b"{}");
    let made = first.expect(201);
    for field in ["id", "target", "from_seq", "to_seq", "bytes", "verified"] {
        assert!(!made[field].is_null(), "{field}: {made}");
    }
    assert_eq!(
        (&made["target"], &made["verified"]),
        (&json!("local"), &json!(true))
    );
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!(first.header("location"), format!("{BACKUPS}/{id}"));
    let again = send(b"{}");
    assert_eq!(again.expect(201)["id"], made["id"]);
    assert_eq!(again.header("idempotency-replayed"), "true");
    send(br#"{"kind":"full"}"#).expect_problem(422, "header.idempotency-key");
    assert_eq!(server.get(&format!("{BACKUPS}/{id}")).expect(200), made);
    let listed = server.get(BACKUPS).expect(200);
    let ids: Vec<&Value> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|i| &i["id"])
        .collect();
    assert_eq!(ids, [&made["id"]]);
    assert_eq!(listed["items"][0]["state_hash"], made["state_hash"]);
    let again = server
        .post(&format!("{BACKUPS}/{id}/verify"), &json!({}))
        .expect(201);
    assert_eq!(
        (&again["verified"], &again["bytes"]),
        (&json!(true), &made["bytes"])
    );
    let unknown = "/api/v1/backups/01a214ff-083e-759f-9217-1c2433e2e42d";
    server.get(unknown).expect_problem(404, "path.id");

    targets_are_named_or_below_a_root(&server, &roots);
    plans_are_made(&server, &made);
    shows_what_was_last(&server);
    let state = server.get("/api/v1/state/all").expect(200);
    assert_eq!(state["state"]["backups"]["local"]["backup"], made["id"]);
    drop(server);
    // A new process knows what the last one did.
    let server = Server::start(&dir.path().join("data"));
    shows_what_was_last(&server);
}

fn shows_what_was_last(server: &Server) {
    let metrics = server.get("/metrics").body;
    for line in [
        "backup_last_success_timestamp_seconds{kind=\"full\",target=\"local\"}",
        "backup_last_verified_timestamp_seconds{target=\"local\"}",
        "backup_size_bytes{kind=\"full\",target=\"local\"}",
        "backup_duration_seconds{kind=\"full\",target=\"local\"}",
        "restore_test_duration_seconds{target=\"local\"}",
    ] {
        assert!(
            metrics.lines().any(|found| found.starts_with(line)),
            "{line}\n{metrics}"
        );
    }
}

fn targets_are_named_or_below_a_root(server: &Server, roots: &Path) {
    let named = |target: &str| server.post(BACKUPS, &json!({ "target": target }));
    named("nowhere").expect_problem(422, "target");
    named("/etc/backups").expect_problem(422, "target");
    named(&format!("{}/../x", roots.display())).expect_problem(422, "target");
    named("s3://bucket/x").expect_problem(422, "target");
    let below = named(&format!("{}/mine", roots.display())).expect(201);
    assert_eq!(below["verified"], json!(true));
    server
        .post(BACKUPS, &json!({ "kind": "half" }))
        .expect_problem(422, "kind");
}

fn plans_are_made(server: &Server, made: &Value) {
    let planned = json!({ "dry_run": true, "to": "latest-verified" });
    let plan = server.post("/api/v1/restore", &planned).expect(200);
    assert_eq!(plan["backup"], made["id"]);
    assert!(
        plan["command"]
            .as_str()
            .is_some_and(|c| c.starts_with("hindcast restore --from local"))
    );
    server
        .post("/api/v1/restore", &json!({ "dry_run": false }))
        .expect_problem(422, "dry_run");
    let to = json!({ "dry_run": true, "to": "yesterday" });
    server
        .post("/api/v1/restore", &to)
        .expect_problem(422, "to");
}

#[test]
fn a_target_that_fails_costs_the_server_nothing_and_is_told() {
    let dir = temporary();
    let blocked = dir.path().join("file");
    std::fs::write(&blocked, "no directory").expect("written");
    let target = format!(
        "backup.targets=[{{ name = \"gone\", url = {:?}, continuous = true }}]",
        blocked.join("x").display().to_string()
    );
    let settings = [target.as_str(), "backup.attempts_max=2"];
    let server = Server::start_with(serve(&dir.path().join("data"), &settings));
    let prefer = [("prefer", "wait=20")];
    let failed = server.post_with(BACKUPS, &json!({ "target": "gone" }), &prefer);
    let problem = failed.expect_problem(502, "");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|d| d.contains("/file/x")),
        "{problem}"
    );
    server.post(VALIDATE, &validation()).expect(200);
    assert_eq!(server.get("/health").status, 200);
    server.post(BACKUPS, &json!({})).expect(201);
    let failures = "backup_failures_total{kind=\"incremental\",target=\"gone\"}";
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.lines().any(|line| line.starts_with(failures)),
        "{metrics}"
    );
    let listed = server.get(BACKUPS).expect(200);
    assert_eq!(
        listed["unreachable"][0]["target"],
        json!("gone"),
        "{listed}"
    );
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    // It was never there, so that shipping fails as well, until it can begin.
    wait_for_metric(&server, "backup_ship_failing{target=\"gone\"} 1");
    std::fs::remove_file(&blocked).expect("removed");
    wait_for_metric(&server, "backup_ship_failing{target=\"gone\"} 0");
}

fn wait_for_metric(server: &Server, wanted: &str) {
    for _ in 0..1_500 {
        let metrics = server.get("/metrics").body;
        if metrics.lines().any(|line| line == wanted) {
            return;
        }
        pause(Duration::from_millis(20));
    }
    panic!("{wanted} does not come");
}

/// The target is lost after its first backup and before anything was shipped to it.
#[test]
fn a_target_that_is_lost_before_anything_was_shipped_is_told() {
    let dir = temporary();
    let (data, far) = (dir.path().join("data"), dir.path().join("far"));
    let target = format!(
        "backup.targets=[{{ name = \"far\", url = {:?}, continuous = true }}]",
        far.display().to_string()
    );
    let settings = [target.as_str(), "backup.ship_ms=50"];
    let server = Server::start_with(serve(&data, &settings));
    server.wait_until(BACKUPS, |page| {
        let items = page["items"].as_array().expect("items");
        items.iter().any(|item| item["verified"] == json!(true))
    });
    assert_eq!(server.stop(), Some(0));
    let kept = dir.path().join("kept");
    std::fs::rename(&far, &kept).expect("moved");
    std::fs::write(&far, "no directory").expect("written");
    let server = Server::start_with(serve(&data, &settings));
    wait_for_metric(&server, "backup_ship_failing{target=\"far\"} 1");
    let told = |page: &Value, error: bool| {
        let items = page["items"].as_array().expect("items");
        items.iter().any(|item| {
            item["data"]["kind"] == json!("shipping") && item["data"]["error"].is_string() == error
        })
    };
    let ended = "/api/v1/events?type=backup_ended&limit=100";
    server.wait_until(ended, |page| told(page, true));
    std::fs::remove_file(&far).expect("removed");
    std::fs::rename(&kept, &far).expect("back");
    wait_for_metric(&server, "backup_ship_failing{target=\"far\"} 0");
    server.wait_until(ended, |page| told(page, false));
    let level = "backup_ship_lag_seconds{target=\"far\"} 0";
    wait_for_metric(&server, level);
    assert_eq!(server.stop(), Some(0));
}

/// Nothing but the first backup fails: the target answers, and takes no part of the log.
#[test]
fn a_first_backup_that_fails_is_asked_for_again_after_a_wait_that_doubles() {
    let dir = temporary();
    let far = dir.path().join("far");
    std::fs::create_dir(&far).expect("made");
    std::fs::write(far.join("tail"), "no directory").expect("written");
    let target = format!(
        "backup.targets=[{{ name = \"far\", url = {:?}, continuous = true }}]",
        far.display().to_string()
    );
    let settings = [target.as_str(), "backup.attempts_max=1"];
    let begun = now();
    let server = Server::start_with(serve(&dir.path().join("data"), &settings));
    wait_for_metric(&server, "backup_ship_failing{target=\"far\"} 1");
    let asked = "/api/v1/events?type=backup_requested&limit=100";
    let count = |page: &Value| page["items"].as_array().map_or(0, Vec::len);
    let page = server.wait_until(asked, |page| count(page) >= 3);
    // After waits of at least half a second, a second and two: so many fit in, and not hundreds.
    let seconds = begun.elapsed().as_secs();
    assert!(count(&page) as u64 <= 3 + seconds, "{page}");
    std::fs::remove_file(far.join("tail")).expect("removed");
    wait_for_metric(&server, "backup_ship_failing{target=\"far\"} 0");
    assert_eq!(server.stop(), Some(0));
}

/// What an unmounted disk or an emptied bucket looks like: it takes what is sent as before. The drill
/// makes the server look after the target at once, which it does by itself every ten seconds.
#[test]
fn shipping_notices_that_its_target_was_emptied_and_begins_anew() {
    let dir = temporary();
    let far = dir.path().join("far");
    let target = format!(
        "backup.targets=[{{ name = \"far\", url = {:?}, continuous = true }}]",
        far.display().to_string()
    );
    let settings = [target.as_str(), "backup.ship_ms=50"];
    let server = Server::start_with(serve(&dir.path().join("data"), &settings));
    server.post(VALIDATE, &validation()).expect(200);
    let shipped = "backup_shipped_bytes_total{target=\"far\"}";
    for round in 0.. {
        let metrics = server.get("/metrics").body;
        if metrics.lines().any(|line| line.starts_with(shipped)) {
            break;
        }
        assert!(round < 1_500, "nothing is shipped");
        pause(Duration::from_millis(20));
    }
    std::fs::remove_dir_all(&far).expect("removed");
    server
        .post("/api/v1/drills", &json!({ "target": "far" }))
        .expect(202);
    let ended = "/api/v1/events?type=backup_ended&limit=100";
    let shipping = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items").iter();
        let of = items.filter(|item| item["data"]["kind"] == json!("shipping"));
        let error = |item: &Value| {
            item["data"]["error"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        of.map(error).collect()
    };
    let page = server.wait_until(ended, |page| shipping(page).len() >= 2);
    let told = shipping(&page);
    assert!(
        told.iter()
            .any(|error| error.contains("is gone from the target")),
        "{told:?}"
    );
    assert!(told.iter().any(String::is_empty), "{told:?}");
    wait_for_metric(&server, "backup_ship_failing{target=\"far\"} 0");
    wait_for_metric(&server, "backup_ship_lag_seconds{target=\"far\"} 0");
    let far = far.display().to_string();
    let words = [
        "restore",
        "--from",
        &far,
        "--to",
        "latest",
        "--data-dir",
        "again",
    ];
    let restored = run(&words, dir.path());
    let lost = page["items"].as_array().expect("items").iter();
    let lost = lost.filter_map(|item| item["seq"].as_u64()).min();
    assert!(restored["to_seq"].as_u64() > lost, "{restored}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_backup_that_a_stop_cut_short_is_taken_up_by_the_next_start() {
    let dir = temporary();
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    server.post(VALIDATE, &validation()).expect(200);
    let headers = [("prefer", "respond-async")];
    let asked = server.post_with(BACKUPS, &json!({}), &headers);
    server.kill();
    let id = asked.json()["id"].as_str().expect("an id").to_owned();
    let server = Server::start(&data);
    let done = server.wait_until(&format!("{BACKUPS}/{id}"), |view| {
        view["status"] == json!("completed")
    });
    assert_eq!(done["verified"], json!(true));
}

/// What was acknowledged, and when.
type Acknowledged = Mutex<BTreeMap<String, (Instant, Value)>>;

fn write(server: &Server, stop: &AtomicBool, counter: &AtomicU64, acknowledged: &Acknowledged) {
    while !stop.load(Ordering::Acquire) {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        let mut body = validation();
        body["seed"] = json!(number);
        let headers = [("content-type", "application/json")];
        let sent = server.try_send(
            Method::POST,
            VALIDATE,
            &headers,
            body.to_string().as_bytes(),
        );
        let Ok(reply) = sent else { return };
        if reply.status == 200 {
            let answer = reply.json();
            let run = answer["run_id"].as_str().expect("an id").to_owned();
            let mut all = acknowledged.lock().expect("no writer panics");
            all.insert(run, (now(), answer["result_hash"].clone()));
        }
    }
}

/// Writes until some parts of the tail were shipped, and kills the server in the middle of it.
fn write_until_killed(server: &Server, tail: &Path, acknowledged: &Acknowledged) -> Instant {
    let (stop, counter) = (AtomicBool::new(false), AtomicU64::new(1));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| write(server, &stop, &counter, acknowledged));
        }
        // The shipping begins with the first fold after the base is there.
        let parts = || std::fs::read_dir(tail).map_or(0, Iterator::count);
        let begun = parts();
        while parts() < begun + 8 {
            pause(Duration::from_millis(20));
        }
        let pid = server.pid().to_string();
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.expect("kill runs").success());
        stop.store(true, Ordering::Release);
        now()
    })
}

/// The longest that a lost run was acknowledged before the loss.
fn recovery_point(server: &Server, acknowledged: Acknowledged, lost_at: Instant) -> Duration {
    let mut lost = Vec::new();
    let acknowledged = acknowledged.into_inner().expect("no writer panics");
    for (run, (at, hash)) in &acknowledged {
        let found = server.get(&format!("/api/v1/runs/{run}"));
        match found.status {
            200 => assert_eq!(&found.json()["result_hash"], hash),
            _ => lost.push(lost_at.duration_since(*at)),
        }
    }
    let rpo = lost.iter().max().copied().unwrap_or_default();
    println!(
        "{} runs acknowledged, {} lost, the oldest {} ms before the loss",
        acknowledged.len(),
        lost.len(),
        rpo.as_millis()
    );
    rpo
}

#[test]
fn a_lost_machine_loses_at_most_the_last_second() {
    let dir = temporary();
    let (data, far) = (dir.path().join("data"), dir.path().join("far"));
    std::fs::write(dir.path().join("key"), [9; 32]).expect("written");
    let target = format!(
        "backup.targets=[{{ name = \"far\", url = {:?}, key_file = {:?}, continuous = true }}]",
        far.display().to_string(),
        dir.path().join("key").display().to_string()
    );
    let settings = [
        target.as_str(),
        "backup.ship_ms=250",
        "privacy.seal_payloads=true",
    ];
    let mut server = Server::start_with(serve(&data, &settings));
    let csv = [("content-type", "text/csv")];
    let digest = server
        .send(Method::POST, "/api/v1/datasets", &csv, &sachs())
        .expect(201);
    server.wait_until(BACKUPS, |page| {
        let items = page["items"].as_array().expect("items");
        items
            .iter()
            .any(|item| item["target"] == json!("far") && item["verified"] == json!(true))
    });
    let acknowledged = Acknowledged::default();
    let lost_at = write_until_killed(&server, &far.join("tail"), &acknowledged);
    server.kill();
    let before = dir.path().join("before-the-loss");
    std::fs::rename(&data, &before).expect("the machine is lost");

    let restore = "restore --from far --key-file key --data-dir data";
    let restore: Vec<&str> = restore.split(' ').collect();
    let dry = run(&[&restore[..], &["--dry-run"]].concat(), dir.path());
    assert!(
        dry["onward"].as_u64().is_some_and(|onward| onward > 0),
        "{dry}"
    );
    assert!(!data.exists());
    let restored = run(&restore, dir.path());
    let seq = restored["to_seq"].as_u64().expect("a sequence").to_string();
    let state = |data: &str| {
        run(
            &["state", "all", "--at", &seq, "--data-dir", data],
            dir.path(),
        )
    };
    let (old, new) = (state("before-the-loss"), state("data"));
    assert_eq!(old["state_hash"], restored["state_hash"]);
    assert_eq!(
        (&old["state_hash"], &old["state"]),
        (&new["state_hash"], &new["state"])
    );

    let server = Server::start_with(serve(&data, &settings));
    let rpo = recovery_point(&server, acknowledged, lost_at);
    assert!(rpo <= Duration::from_secs(1), "{rpo:?}");
    // It takes work, and has its data.
    server.post(VALIDATE, &validation()).expect(200);
    let digest = digest["digest"].as_str().expect("a digest");
    server
        .get(&format!("/api/v1/datasets/{digest}"))
        .expect(200);
    let log = restored["log"].as_str().expect("a log").replace('-', "");
    let old_cursor = format!("/api/v1/events?cursor={log}-1-5");
    let gone = server.get(&old_cursor);
    assert_eq!(gone.status, 410, "{}", gone.body);
    drop(server);
    let report = run(&["verify", "--data-dir", "data"], dir.path());
    assert_eq!(report["holds"], json!(true));
}

#[test]
fn a_restore_refuses_what_a_server_has_open_and_what_is_wrong() {
    let dir = temporary();
    let server = Server::start(&dir.path().join("data"));
    server.post(VALIDATE, &validation()).expect(200);
    server.post(BACKUPS, &json!({})).expect(201);
    let from = ["restore", "--from", "data/backups", "--data-dir", "data"];
    let errors = refused(&from, dir.path());
    assert!(errors.contains("has"), "{errors}");
    assert!(errors.contains("stop it first"), "{errors}");
    drop(server);
    let beyond = [&from[..], &["--to", "100000"]].concat();
    assert!(refused(&beyond, dir.path()).contains("sequence 100000 cannot be had"));
    std::fs::write(dir.path().join("key"), [9; 32]).expect("written");
    let needless = [&from[..], &["--key-file", "key"]].concat();
    assert!(refused(&needless, dir.path()).contains("not encrypted"));
    let nowhere = ["restore", "--from", "nowhere", "--data-dir", "data"];
    assert!(refused(&nowhere, dir.path()).contains("holds no backups"));
    let names: Vec<_> = std::fs::read_dir(dir.path()).expect("lists").collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_restore_says_where_the_backups_of_another_log_stay_and_where_a_link_leads() {
    let dir = temporary();
    for name in ["one", "real"] {
        let server = Server::start(&dir.path().join(name));
        server.post(VALIDATE, &validation()).expect(200);
        server.stop();
    }
    std::os::unix::fs::symlink("real", dir.path().join("two")).expect("linked");
    let create = ["backup", "create", "--data-dir"];
    run(
        &[&create[..], &["one", "--target", "far"]].concat(),
        dir.path(),
    );
    run(&[&create[..], &["two"]].concat(), dir.path());
    let restore = ["restore", "--from", "far", "--data-dir", "two"];
    let mut command = hindcast(&restore);
    command.current_dir(dir.path());
    let (told, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let real = dir.path().canonicalize().expect("a path").join("real");
    let kept = real.with_file_name("real.before-1");
    let stay = format!(
        "of another log, and stay in {}",
        kept.join("backups").display()
    );
    assert!(errors.contains(&format!(
        "warning: the local backups that were here are {stay}"
    )));
    assert!(
        told.contains(&format!("backups  those that were here are {stay}")),
        "{told}"
    );
    assert!(
        told.contains(&format!("in       {}", real.display())),
        "{told}"
    );
    assert!(dir.path().join("two").is_symlink());
    // Backups can be made again, and follow their own log.
    run(&[&create[..], &["two"]].concat(), dir.path());
    let again = run(&restore, dir.path());
    assert_eq!(again["backups_kept"], Value::Null, "{again}");
    assert_eq!(
        again["kept"],
        real.with_file_name("real.before-2").display().to_string()
    );
    assert_eq!(again["data_dir"], real.display().to_string());
    assert!(real.join("backups").is_dir());
}

#[test]
fn every_command_of_the_runbook_works() {
    let dir = temporary();
    let server = Server::start(&dir.path().join("data"));
    server.post(VALIDATE, &validation()).expect(200);
    let document = std::fs::read_to_string(format!("{ROOT}/docs/backups.md")).expect("a document");
    let binaries = Path::new(BINARY)
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    let path = format!("{binaries}:{}", std::env::var("PATH").expect("a path"));
    let (mut server, mut inside, mut id, mut ran) = (Some(server), false, String::new(), 0);
    let url = server
        .as_ref()
        .map(|server| server.url.clone())
        .expect("a server");
    let time = "2100-01-01T00:00:00Z";
    for line in document.lines() {
        if line == "## Restore" {
            drop(server.take());
        }
        if line.starts_with("```") {
            inside = !inside;
            continue;
        }
        if !inside || line.starts_with("cargo ") {
            continue;
        }
        let line = line
            .replace("http://127.0.0.1:8080", &url)
            .replace("TIME", time);
        let line = line.replace(" ID ", &format!(" {id} "));
        let mut command = Command::new("sh");
        command
            .args(["-ec", &line])
            .current_dir(dir.path())
            .env("PATH", &path);
        let (out, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(0), "{line}: {errors}");
        let failed = out.contains("urn:hindcast:problem");
        assert!(!failed, "{line}: {out}");
        if line.contains("--no-verify") {
            let made: Value = serde_json::from_str(&out).expect("JSON");
            id = made["id"].as_str().expect("an id").to_owned();
        }
        ran += 1;
    }
    assert_eq!(ran, 27);
}

#[test]
fn the_restore_drill_brings_back_the_log_and_tells_what_it_cost() {
    let drill = [
        "drill",
        "run",
        "restore",
        "--runs",
        "25000",
        "--seconds",
        "2",
        "--json",
    ];
    let (out, errors, code) = finish(hindcast(&drill), &[]);
    println!("{out}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["state_equal"], true, "{errors}: {out}");
    // Whether the goals are met depends on what else the machine does.
    let passed = report["passed"].as_bool().expect("a verdict");
    assert_eq!(code, Some(i32::from(!passed)), "{errors}: {out}");
    assert!(
        report["head_seq"]
            .as_u64()
            .is_some_and(|events| events > 100_000)
    );
    let unknown = hindcast(&["drill", "run", "fire"]);
    assert_eq!(finish(unknown, &[]).2, Some(2));
}
