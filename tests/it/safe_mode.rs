//! Actors that cannot live: the process begins anew, and at last answers reads only.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Server, VALIDATE, finish, hindcast, listening, serve, temporary, validation};

#[test]
fn actor_that_cannot_live_leads_to_new_beginnings_and_then_to_safe_mode() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let run = server
        .post("/api/v1/causal/validate", &validation())
        .expect(200);
    let run = format!("/api/v1/runs/{}", run["run_id"].as_str().unwrap());
    assert_eq!(server.stop(), Some(0));

    let settings = ["actor_restarts_max=2", "process_restarts_max=1"];
    let settings = settings.map(|setting| format!("supervision.{setting}"));
    let mut command = serve(dir.path(), &[&settings[0], &settings[1]]);
    command.env("HINDCAST_PANIC_IN", "metrics/start");
    let (mut server, lines) = Server::spawn(command);
    let pid = server.pid();
    // Its first beginning told where it listens; one more follows, and the one in safe mode.
    let moves: Vec<String> = lines.filter_map(|line| listening(&line)).take(2).collect();
    server.moved(moves[1].clone());
    assert_eq!(server.pid(), pid);
    let health = server.wait_until("/health", |health| {
        health["components"]["log"]["read_only"].is_string()
    });
    let why = health["components"]["log"]["read_only"].as_str().unwrap();
    let told = "safe mode: actor metrics failed: panicked in start";
    assert!(why.starts_with(told), "{why}");
    assert_eq!(health["status"], "degraded");
    server.get("/health/live").expect(200);
    server.get("/health/ready").expect(503);
    // Who asked was answered: that is no failed request.
    let metrics = server.get("/metrics").body;
    let probed = "path=\"/health/ready\",status=\"503\",cause=\"probe\"}";
    assert!(metrics.contains(probed), "{metrics}");
    let overload = "http_errors_total{type=\"overload\",path=\"/health/ready\"} 0\n";
    assert!(metrics.contains(overload), "{metrics}");

    // What was recorded is there, and nothing can be added.
    server.get(&run).expect(200);
    let problem = server
        .post(
            "/api/v1/causal/validate",
            &json!({ "graph": "dag { a -> b }", "treatment": "a", "outcome": "b" }),
        )
        .expect(503);
    assert!(
        problem["detail"].as_str().unwrap().contains("safe mode"),
        "{problem}"
    );
    let actors = server.wait_until("/debug/actors", |actors| {
        actors["actors"][0]["last_evidence"].is_string()
    });
    assert_eq!(actors["actors"][0]["name"], "metrics");
    let evidence = actors["actors"][0]["last_evidence"].as_str().unwrap();
    assert!(evidence.contains("hindcast"), "{evidence}");
    assert_eq!(server.stop(), Some(0));

    // Two beginnings stand in the log with what ended them; the third has left nothing.
    let path = dir.path().to_str().unwrap();
    let listed = hindcast(&[
        "events",
        "list",
        "--data-dir",
        path,
        "--json",
        "--limit",
        "500",
    ])
    .output()
    .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(
        listed
            .matches("\"actor metrics failed: panicked in start")
            .count(),
        2
    );
    assert_eq!(listed.matches("server_started").count(), 3);
}

#[test]
fn safe_mode_can_be_asked_for_and_left() {
    let dir = temporary();
    Server::start(dir.path()).stop();
    let mut command = serve(dir.path(), &[]);
    command.arg("--safe-mode=looking around");
    let server = Server::start_with(command);
    server.get("/api/v1/runs").expect(200);
    let refused = server
        .post("/api/v1/causal/validate", &validation())
        .expect(503);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("looking around")
    );
    // Nothing is kept of what is refused, and a profile can be taken all the same.
    let files = || {
        let mut files: Vec<_> = walkdir(dir.path());
        files.sort();
        files
    };
    let before = files();
    server
        .post("/api/v1/datasets", &json!([[1, 2]]))
        .expect(503);
    server
        .post("/api/v1/keys", &json!({ "name": "ann", "role": "viewer" }))
        .expect(503);
    let late = server.post("/api/v1/drills", &json!({ "drill": "restore" }));
    assert_eq!((late.status, late.header("retry-after")), (503, "60"));
    assert_eq!(files(), before);
    let profile = server.post("/debug/profile?seconds=1&format=folded", &json!({}));
    assert_eq!(profile.status, 200, "{}", profile.body);
    // A backup by the server would be an event; one from the files is not.
    let problem = server.post("/api/v1/backups", &json!({})).expect(503);
    let hint = problem["hint"].as_str().expect("a hint");
    assert!(hint.contains("hindcast backup create --data-dir"), "{hint}");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("looking around")
    );
    let create = ["backup", "create", "--json"];
    let at = ["--server".to_owned(), server.url.clone()];
    let refused = hindcast(&create).args(&at).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("--data-dir"), "{told}");
    let beside = hindcast(&create)
        .arg("--data-dir")
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(beside.status.code(), Some(0), "{beside:?}");
    let made: Value = serde_json::from_slice(&beside.stdout).unwrap();
    assert_eq!(made["verified"], true, "{made}");
    let listed = server.get("/api/v1/backups").expect(200);
    assert_eq!(listed["items"][0]["id"], made["id"], "{listed}");
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(dir.path());
    server
        .post("/api/v1/causal/validate", &validation())
        .expect(200);
}

/// Who owns the files of a test that may be run by root, whom no permission keeps from writing.
const NOBODY: u32 = 65_534;

/// Gives everything below a directory to nobody in particular, and the right to change it or not.
fn set_writable(dir: &Path, writable: bool) {
    let root = rustix::process::getuid().is_root();
    let mode = |is_dir| match (writable, is_dir) {
        (true, true) => 0o700,
        (true, false) => 0o600,
        (false, true) => 0o500,
        (false, false) => 0o400,
    };
    let set = |path: &Path, is_dir| {
        if root {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("its own directory");
        }
        let permissions = std::fs::Permissions::from_mode(mode(is_dir));
        std::fs::set_permissions(path, permissions).expect("its own directory");
    };
    if writable {
        set(dir, true);
    }
    for entry in std::fs::read_dir(dir).expect("its own directory") {
        let path = entry.expect("its own directory").path();
        match path.is_dir() {
            true => set_writable(&path, writable),
            false => set(&path, false),
        }
    }
    set(dir, true);
}

#[test]
fn safe_mode_works_where_nothing_can_be_written_and_changes_no_file() {
    let dir = temporary();
    let mut server = Server::start(dir.path());
    let run = server.post(VALIDATE, &validation()).expect(200);
    server.post("/api/v1/datasets", &json!([[1, 2], [2, 3]]));
    server.kill();
    // What an ordinary start would tidy: a snapshot and a lookup store that are no good, and scratch.
    let spoilt = ["snapshots/00000000000000000001.snap", "scratch/x"];
    for path in spoilt.map(|path| dir.path().join(path)) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"no good").unwrap();
    }
    let contents = || {
        let mut files: Vec<_> = walkdir(dir.path());
        files.sort();
        let content = |path: &PathBuf| std::fs::read(path).expect("a file");
        let all = files.iter().map(|path| (path.clone(), content(path)));
        all.collect::<Vec<_>>()
    };
    for store_is_there in [true, false] {
        if !store_is_there {
            std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
            std::fs::remove_file(dir.path().join("LOCK")).unwrap();
        }
        let before = contents();
        set_writable(dir.path(), false);
        let log = format!("telemetry.log_file={}/log", dir.path().display());
        let mut command = serve(dir.path(), &[&log]);
        command.arg("--safe-mode=the disk takes no writes");
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let server = Server::start_with(command);
        let path = format!("/api/v1/runs/{}", run["run_id"].as_str().unwrap());
        let read = server.get(&path).expect(200);
        assert_eq!(read["result"], run["result"]);
        let events = server.get("/api/v1/events?limit=100").expect(200);
        let kinds = events["items"].as_array().unwrap().iter();
        let completed = kinds.filter(|event| event["type"] == "run_completed");
        assert_eq!(completed.count(), 1);
        if store_is_there {
            let second = serve(dir.path(), &["server.safe_mode=another"]);
            let (out, errors, code) = finish(second, &[]);
            assert_eq!(code, Some(1), "{out}{errors}");
            assert!(errors.contains("another process"), "{errors}");
            assert!(!out.contains("ready"), "{out}");
        }
        assert_eq!(server.stop(), Some(0));
        set_writable(dir.path(), true);
        let after = contents();
        assert!(
            before == after,
            "a file is there, gone or other than before"
        );
    }
}

/// Every file below a directory.
fn walkdir(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => walkdir(&path),
            false => vec![path],
        })
        .collect()
}
