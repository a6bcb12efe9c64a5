//! Who may do what: keys, roles, and the trail of what was done.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{
    DISCOVER, ROOT, Reply, Server, VALIDATE, finish, hindcast, serve, temporary, validation,
};

/// Makes a key and returns its text.
fn make(dir: &Path, name: &str, role: &str) -> String {
    let mut command = hindcast(&[
        "keys",
        "create",
        name,
        "--role",
        role,
        "--json",
        "--data-dir",
    ]);
    command.arg(dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let made: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(made["status"], "live");
    made["key"].as_str().expect("a key").to_owned()
}

fn guarded(dir: &Path) -> Server {
    Server::start_with(serve(dir, &["access.required_on_loopback=true"]))
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn get(server: &Server, path: &str, key: &str) -> Reply {
    server.send(Method::GET, path, &[("authorization", &bearer(key))], &[])
}

fn post(server: &Server, path: &str, body: &Value, key: &str) -> Reply {
    server.post_with(path, body, &[("authorization", &bearer(key))])
}

#[test]
fn a_role_does_what_it_may_and_no_more() {
    let dir = temporary();
    let keys = ["viewer", "operator", "admin"].map(|role| make(dir.path(), role, role));
    let [viewer, operator, admin] = &keys;
    let server = guarded(dir.path());

    let refused = server.post(VALIDATE, &validation());
    let problem = refused.expect_problem(401, "header.authorization");
    assert!(
        problem["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("docs/access.md"))
    );
    assert_eq!(
        refused.header("www-authenticate"),
        "Bearer realm=\"hindcast\""
    );

    // Probes ask for nothing, and tell no more than they have to.
    server.get("/health/live").expect(200);
    let told = json!({
        "status": "ok", "reasons": [], "version": null, "components": null, "recovery": null,
    });
    assert_eq!(server.get("/health/ready").expect(200), told);
    assert!(get(&server, "/health/ready", viewer).expect(200)["components"].is_object());
    server
        .get("/health")
        .expect_problem(401, "header.authorization");
    server
        .get("/metrics")
        .expect_problem(401, "header.authorization");

    get(&server, "/health", viewer).expect(200);
    let forbidden = post(&server, VALIDATE, &validation(), viewer);
    let problem = forbidden.expect_problem(403, "");
    assert_eq!(
        problem["detail"],
        "viewer is viewer, and this needs operator"
    );
    post(&server, VALIDATE, &validation(), operator).expect(200);
    let new = json!({ "name": "more", "role": "viewer" });
    post(&server, "/api/v1/keys", &new, operator).expect_problem(403, "");
    get(&server, "/api/v1/keys", operator).expect_problem(403, "");
    let listed = get(&server, "/api/v1/keys", admin);
    assert_eq!(
        listed.expect(200)["items"].as_array().map(Vec::len),
        Some(3)
    );
    for key in &keys {
        assert!(!listed.body.contains(&key[17..]), "a secret is listed");
    }

    // The run is the operator's, and what the viewer tried is told.
    let events = get(&server, "/api/v1/events?limit=500", viewer).expect(200);
    let of = |kind: &str, who: &str| {
        let items = events["items"].as_array().expect("items").iter();
        let found = items.filter(|event| event["type"] == kind && event["principal"] == who);
        found.cloned().collect::<Vec<Value>>()
    };
    assert_eq!(of("run_requested", "operator").len(), 1);
    let denied = of("audited", "viewer");
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0]["data"]["outcome"], "denied");
    assert_eq!(denied[0]["data"]["verb"], format!("POST {VALIDATE}"));
    assert_eq!(denied[0]["data"]["role"], "viewer");
    assert_eq!(denied[0]["data"]["key"], viewer[4..16]);
    // A call that is recorded by a verb of its own when it is done goes by it when it is denied.
    let denied = of("audited", "operator");
    assert_eq!(denied[0]["data"]["verb"], "keys.create");
}

#[test]
fn a_key_ends_when_it_is_revoked_or_expires() {
    let dir = temporary();
    let admin = make(dir.path(), "root", "admin");
    let server = guarded(dir.path());
    let create = |body: Value| post(&server, "/api/v1/keys", &body, &admin);
    let made = create(json!({ "name": "ci", "role": "operator" })).expect(201);
    let key = made["key"].as_str().expect("a key").to_owned();
    post(&server, VALIDATE, &validation(), &key).expect(200);
    create(json!({ "name": "ci", "role": "viewer" })).expect_problem(409, "name");

    let revoke = |name: &str| {
        post(
            &server,
            &format!("/api/v1/keys/{name}/revoke"),
            &json!({}),
            &admin,
        )
    };
    // What it has open ends with it.
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let (server, key) = (&server, bearer(&key));
        scope.spawn(move || {
            let headers = [("authorization", key.as_str())];
            server.stream("/api/v1/events?from=1", &headers, |_, _, _| {
                // Nobody listens any more after the first.
                let _told = tell.send(());
                false
            });
        });
        told.recv().expect("it is open");
        assert_eq!(revoke("ci").expect(200)["status"], "revoked");
    });
    assert_eq!(revoke("ci").expect(200)["status"], "revoked");
    let refused = post(&server, VALIDATE, &validation(), &key);
    refused.expect_problem(401, "header.authorization");
    assert!(refused.header("www-authenticate").contains("invalid_token"));
    revoke("nobody").expect_problem(404, "path.name");
    revoke("root").expect_problem(409, "path.name");

    for (wrong, field) in [
        (json!({ "name": "anonymous", "role": "viewer" }), "name"),
        (json!({ "name": "", "role": "viewer" }), "name"),
        (json!({ "name": "far/../off", "role": "viewer" }), "name"),
        (json!({ "name": "x", "role": "king" }), "role"),
        (
            json!({ "name": "x", "role": "viewer", "expires": "soon" }),
            "expires",
        ),
        (
            json!({ "name": "x", "role": "viewer", "expires": "2001-01-01T00:00:00Z" }),
            "expires",
        ),
    ] {
        create(wrong).expect_problem(422, field);
    }
    let short = create(json!({ "name": "x", "role": "viewer", "expires": "2999-01-01T00:00:00Z" }));
    assert_eq!(
        short.expect(201)["expires_at"],
        "2999-01-01T00:00:00.000000Z"
    );
}

#[test]
fn who_guesses_is_slowed_down_and_counted() {
    let dir = temporary();
    let admin = make(dir.path(), "root", "admin");
    let settings = [
        "access.required_on_loopback=true",
        "access.attempts_per_minute_max=4",
    ];
    let server = Server::start_with(serve(dir.path(), &settings));
    get(&server, "/health", &admin).expect(200);
    let mut wrong = admin.clone();
    let last = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(last);
    let statuses: Vec<u16> = (0..5)
        .map(|_| get(&server, "/health", &wrong).status)
        .collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    let slowed = get(&server, "/health", "hck_nothing");
    slowed.expect_problem(429, "");
    assert_ne!(slowed.header("retry-after"), "");
    // Who was proved before is not kept out by it.
    get(&server, "/health", &admin).expect(200);
    let metrics = get(&server, "/metrics", &admin).body;
    for line in [
        "auth_failures_total{reason=\"unknown\"} 3",
        "auth_failures_total{reason=\"too_many\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn a_reload_does_not_lock_everybody_out() {
    let dir = temporary();
    let admin = make(dir.path(), "root", "admin");
    let server = guarded(dir.path());
    let (keys, aside) = (
        dir.path().join("access-keys.json"),
        dir.path().join("aside"),
    );
    std::fs::rename(&keys, &aside).expect("it is there");
    post(&server, "/-/reload", &json!({}), &admin).expect_problem(422, "access.keys_file");
    get(&server, "/api/v1/runs", &admin).expect(200);
    std::fs::rename(&aside, &keys).expect("it is there");
    post(&server, "/-/reload", &json!({}), &admin).expect(200);
}

#[test]
fn many_requests_with_one_key_are_one_attempt() {
    let dir = temporary();
    let admin = make(dir.path(), "root", "admin");
    let settings = [
        "access.required_on_loopback=true",
        "access.attempts_per_minute_max=4",
    ];
    let server = Server::start_with(serve(dir.path(), &settings));
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| get(&server, "/api/v1/runs", &admin).expect(200));
        }
    });
}

#[test]
fn an_open_address_needs_a_key_of_an_admin() {
    let dir = temporary();
    let open = || {
        let mut command = serve(dir.path(), &[]);
        command.args(["--listen", "0.0.0.0:0"]);
        command
    };
    let (_, errors, code) = finish(open(), &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("hindcast keys create"), "{errors}");
    let admin = make(dir.path(), "root", "admin");
    let server = Server::start_with(open());
    server
        .get("/health")
        .expect_problem(401, "header.authorization");
    get(&server, "/health", &admin).expect(200);
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let headers = [("sec-fetch-site", "cross-site")];
    let refused = server.post_with(VALIDATE, &validation(), &headers);
    refused.expect_problem(403, "header.sec-fetch-site");
    let own = [("sec-fetch-site", "same-origin")];
    server.post_with(VALIDATE, &validation(), &own).expect(200);
    // Browsers that do not say so of plain HTTP elsewhere.
    let here = server.url.trim_start_matches("http://").to_owned();
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", ""] {
        let refused = server.post_with(VALIDATE, &validation(), &[("origin", origin)]);
        refused.expect_problem(403, "header.origin");
    }
    let own = format!("http://{here}");
    server
        .post_with(VALIDATE, &validation(), &[("origin", &own)])
        .expect(200);
    // A name of the internet that was made to lead here.
    let rebound = [
        ("host", "evil.example:8080"),
        ("origin", "http://evil.example:8080"),
        ("sec-fetch-site", "same-origin"),
    ];
    let refused = server.post_with(VALIDATE, &validation(), &rebound);
    refused.expect_problem(403, "header.host");
    let refused = server.send(Method::GET, "/api/v1/events", &rebound, &[]);
    refused.expect_problem(403, "header.host");
    server
        .send(Method::GET, "/health/live", &rebound, &[])
        .expect(200);
    let local = [("host", "localhost:8080")];
    server
        .send(Method::GET, "/api/v1/events", &local, &[])
        .expect(200);
}

/// Writes a key where `--key-file` finds it.
fn kept(dir: &Path, key: &str) -> PathBuf {
    let file = dir.join("key");
    std::fs::write(&file, format!("{key}\n")).expect("written");
    file
}

#[test]
fn the_command_line_proves_who_it_is() {
    let dir = temporary();
    let admin = make(dir.path(), "root", "admin");
    let server = guarded(dir.path());
    let elsewhere = temporary();
    let file = kept(elsewhere.path(), &admin);
    let run = |arguments: &[&str], with_key: bool| {
        let mut command = hindcast(arguments);
        command.args(["--server", &server.url]);
        if with_key {
            command.arg("--key-file").arg(&file);
        }
        finish(command, &[])
    };
    let (_, errors, code) = run(&["status"], false);
    assert_eq!(code, Some(1));
    assert!(errors.contains("a key is needed"), "{errors}");
    let (out, errors, code) = run(&["status"], true);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.starts_with("status      ok"), "{out}");
    let (key, _, code) = run(&["keys", "create", "ci", "--role", "operator"], true);
    assert_eq!(code, Some(0));
    post(&server, VALIDATE, &validation(), key.trim()).expect(200);
    let (out, _, _) = run(&["keys", "list"], true);
    assert!(out.contains("ci               operator live"), "{out}");
    assert!(!out.contains(&key.trim()[17..]), "{out}");
    let (out, _, code) = run(&["keys", "revoke", "ci"], true);
    assert_eq!(code, Some(0), "{out}");
    post(&server, VALIDATE, &validation(), key.trim()).expect_problem(401, "header.authorization");
    let (_, errors, code) = run(&["keys", "revoke", "../x"], true);
    assert_eq!(code, Some(2), "{errors}");

    let (out, _, _) = run(&["audit", "search", "--principal", "root", "--json"], true);
    let found: Value = serde_json::from_str(&out).expect("JSON");
    let verbs: Vec<&str> = found["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["verb"].as_str().expect("a verb"))
        .collect();
    assert_eq!(verbs, ["keys.create", "keys.revoke"]);
    let (out, _, _) = run(&["audit", "search", "--principal", "ci"], true);
    assert!(out.contains("run_requested"), "{out}");
    server.stop();
    // Without a server, from the files.
    let mut command = hindcast(&["audit", "search", "--data-dir"]);
    command.arg(dir.path());
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        out.contains("keys.create") && out.contains("anonymous"),
        "{out}"
    );
}

#[test]
fn a_restore_keeps_who_may_use_the_server() {
    let dir = temporary();
    let data = dir.path().join("data");
    let admin = make(&data, "root", "admin");
    let server = guarded(&data);
    let discovery = json!({ "data": [[1.0, 2.0], [2.0, 1.0], [3.0, 5.0]], "seed": 1 });
    post(&server, DISCOVER, &discovery, &admin).expect(200);
    post(&server, "/api/v1/backups", &json!({}), &admin).expect(201);
    server.stop();
    let mut command = hindcast(&["restore", "--to", "latest", "--data-dir"]);
    command.arg(&data);
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let server = guarded(&data);
    get(&server, "/health", &admin).expect(200);
}

#[test]
fn the_commands_of_the_page_on_access_work() {
    let dir = temporary();
    let page = std::fs::read_to_string(format!("{ROOT}/docs/access.md")).expect("a document");
    let mut ran = 0;
    for line in page
        .lines()
        .filter_map(|line| line.strip_prefix("hindcast "))
    {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = hindcast(&words);
        command.arg("--data-dir").arg(dir.path());
        let (out, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(0), "{line}: {errors}");
        assert!(!out.is_empty(), "{line}");
        ran += 1;
    }
    assert_eq!(ran, 7);
}
