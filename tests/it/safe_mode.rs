//! Actors that cannot live: the process begins anew, and at last answers reads only.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Server, hindcast, listening, serve, temporary, validation};

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
