//! Every POST is done once for each idempotency key: the same request is answered with what the
//! first was answered with, and another one is refused.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::audit::{Ids, guarded, measurement, prepared, request};
use crate::support::{DISCOVER, Reply, Server, VALIDATE, pause, serve, temporary, validation};

const WARM: &str = "/cache/results/warm";
const KEYS: &str = "/api/v1/keys";
const MEASUREMENTS: &str = "/api/v1/capacity/measurements";
/// Kinds of events of which each is something that was done.
const EFFECTS: [&str; 9] = [
    "answer_kept",
    "audited",
    "breaker_commanded",
    "cache_commanded",
    "cancel_requested",
    "capacity_measured",
    "configuration_loaded",
    "subject_redacted",
    "what_if_asked",
];
/// What is asked for here has the key in its own event.
const KEEP_THEIR_KEY: [&str; 7] = [
    "/api/v1/backups",
    "/api/v1/backups/{id}/verify",
    "/api/v1/causal/discover",
    "/api/v1/causal/paths",
    "/api/v1/causal/validate",
    "/api/v1/datasets",
    "/api/v1/experiments",
];

fn replayed(reply: &Reply) -> bool {
    match reply.header("idempotency-replayed") {
        "" => false,
        "true" => true,
        other => panic!("{other}"),
    }
}

fn post(server: &Server, (path, body): (&str, &str), headers: &[(&str, &str)]) -> Reply {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    server.send(Method::POST, path, &all, body.as_bytes())
}

fn keyed(server: &Server, path: &str, body: &Value, key: &str) -> Reply {
    server.post_with(path, body, &[("idempotency-key", key)])
}

fn is_reused(reply: &Reply) {
    let problem = reply.expect_problem(422, "header.idempotency-key");
    assert_eq!(
        problem["type"],
        "urn:hindcast:problem:idempotency-key-reused"
    );
}

/// Events of a kind.
fn events(server: &Server, kind: &str, headers: &[(&str, &str)]) -> Vec<Value> {
    let path = format!("/api/v1/events?type={kind}&limit=500");
    let page = server.send(Method::GET, &path, headers, &[]).expect(200);
    page["items"].as_array().expect("items").clone()
}

fn effects(server: &Server, headers: &[(&str, &str)]) -> Vec<(&'static str, usize)> {
    let count = |kind| (kind, events(server, kind, headers).len());
    EFFECTS.into_iter().map(count).collect()
}

/// Whether any file holds the text.
fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|piece| piece == text.as_bytes())
    })
}

/// One POST of the OpenAPI document, as it was answered.
struct Done {
    route: String,
    path: String,
    body: String,
    key: String,
    first: Reply,
}

/// Sends every POST of the document once, each with a key of its own; `/-/quit` is the last.
fn first_of_each((server, authorization): (&Server, &str), ids: &Ids) -> Vec<Done> {
    let document = server.get("/openapi.json").expect(200);
    let paths = document["paths"].as_object().expect("paths");
    let posts = paths
        .iter()
        .filter(|(_, methods)| methods.get("post").is_some());
    let mut routes: Vec<&String> = posts.map(|(route, _)| route).collect();
    // What is cancelled has to be open, and a new backup takes the place of the old.
    let late = |route: &str| {
        (
            route == "/-/quit",
            !route.ends_with("/cancel"),
            !route.ends_with("/verify"),
        )
    };
    routes.sort_by_key(|route| late(route));
    let sent = routes.into_iter().enumerate().map(|(n, route)| {
        let (path, body) = request(route, ids);
        let (key, body) = (format!("key-{n}"), body.to_string());
        let headers = [("authorization", authorization), ("idempotency-key", &key)];
        let first = post(server, (&path, &body), &headers);
        assert!((200..300).contains(&first.status), "{path}: {}", first.body);
        assert!(!replayed(&first), "{path}");
        Done {
            route: route.clone(),
            path,
            body,
            key,
            first,
        }
    });
    sent.collect()
}

impl Done {
    fn keeps_its_key(&self) -> bool {
        KEEP_THEIR_KEY.contains(&self.route.as_str())
    }

    /// Sends it again, and compares the answers.
    fn again(&self, server: &Server, authorization: &str) {
        let headers = [
            ("authorization", authorization),
            ("idempotency-key", &self.key),
        ];
        let again = post(server, (&self.path, &self.body), &headers);
        assert!(replayed(&again), "{}: {}", self.path, again.body);
        assert_eq!(
            again.status, self.first.status,
            "{}: {}",
            self.path, again.body
        );
        assert_eq!(
            again.header("content-type"),
            self.first.header("content-type")
        );
        match self.route.as_str() {
            // Durations are those of the log, and states those of now.
            _ if self.keeps_its_key() => {}
            // What proves a key is shown once.
            KEYS => {
                let mut first = self.first.json();
                let shown = first["key"].as_str().expect("a key");
                assert!(shown.starts_with("hck_"), "{shown}");
                first["key"] = Value::Null;
                assert_eq!(again.json(), first);
            }
            _ => assert_eq!(again.body, self.first.body, "{}", self.path),
        }
    }

    /// Another request does not get its answer, and it does not get that of another.
    fn is_told_apart(&self, server: &Server, authorization: &str) {
        let own = [
            ("authorization", authorization),
            ("idempotency-key", &self.key),
        ];
        is_reused(&post(server, (WARM, r#"{"runs_max":7}"#), &own));
        let taken = [
            ("authorization", authorization),
            ("idempotency-key", "taken"),
        ];
        is_reused(&post(server, (&self.path, &self.body), &taken));
        if !self.keeps_its_key() {
            is_reused(&post(
                server,
                (&self.path, &format!("{} ", self.body)),
                &own,
            ));
            let query = format!(
                "{}{}x=1",
                self.path,
                if self.path.contains('?') { '&' } else { '?' }
            );
            is_reused(&post(server, (&query, &self.body), &own));
        }
    }
}

#[test]
fn every_post_is_done_once_also_over_a_restart() {
    let dir = temporary();
    let (server, authorization, ids) = prepared(dir.path());
    let admin = [("authorization", authorization.as_str())];
    let taken = [admin[0], ("idempotency-key", "taken")];
    post(&server, (WARM, r#"{"runs_max":9}"#), &taken).expect(200);
    let mut done = first_of_each((&server, &authorization), &ids);
    assert!(done.len() >= 24, "{}", done.len());
    let quit = done.pop().expect("the last");
    assert_eq!(quit.route, "/-/quit");
    assert_eq!(server.ended(), Some(0));

    let server = guarded(dir.path());
    let before = effects(&server, &admin);
    let kept = done.iter().filter(|one| !one.keeps_its_key()).count();
    // And the two that are not among them: the key that is taken, and to quit.
    assert_eq!(before[0], ("answer_kept", kept + 2), "{before:?}");
    for one in done.iter().chain([&quit]) {
        one.again(&server, &authorization);
        one.is_told_apart(&server, &authorization);
    }
    assert_eq!(effects(&server, &admin), before);
    // To quit was asked for once.
    server.get("/health/live").expect(200);
    let made = done.iter().find(|one| one.route == KEYS).expect("a key");
    let secret = made.first.json()["key"].as_str().expect("a key").to_owned();
    assert_eq!(server.stop(), Some(0));
    assert!(!holds(dir.path(), &secret));

    // From the snapshot that the stop left.
    let server = guarded(dir.path());
    done.iter()
        .for_each(|one| one.again(&server, &authorization));
    // What was there to be revoked by then is found again, and the key is another's.
    let theirs = format!("Bearer {secret}");
    let headers = [
        ("authorization", theirs.as_str()),
        ("idempotency-key", "taken"),
    ];
    let refused = post(&server, (WARM, "{}"), &headers);
    assert_eq!(refused.status, 403, "a viewer may not: {}", refused.body);
}

#[test]
fn twelve_at_once_make_one_key_and_measure_once() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let all = |path: &str, body: &Value| -> Vec<Reply> {
        std::thread::scope(|scope| {
            let one = || keyed(&server, path, body, path);
            let sent: Vec<_> = (0..12).map(|_| scope.spawn(one)).collect();
            sent.into_iter()
                .map(|sent| sent.join().expect("an answer"))
                .collect()
        })
    };
    let made = all(KEYS, &json!({ "name": "ci", "role": "viewer" }));
    let shown = made
        .iter()
        .filter(|reply| reply.expect(201)["key"].is_string());
    assert_eq!(shown.count(), 1);
    assert_eq!(made.iter().filter(|reply| replayed(reply)).count(), 11);
    let listed = server.get(KEYS).expect(200);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));

    let measured = all(MEASUREMENTS, &measurement());
    assert_eq!(measured.iter().filter(|reply| replayed(reply)).count(), 11);
    assert!(
        measured
            .iter()
            .all(|reply| reply.status == 201 && reply.body == measured[0].body)
    );
    assert_eq!(events(&server, "capacity_measured", &[]).len(), 1);
    assert_eq!(events(&server, "answer_kept", &[]).len(), 2);
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = temporary();
    let mut server = Server::start(dir.path());
    let answers: Vec<Reply> = (0..20)
        .map(|n| keyed(&server, MEASUREMENTS, &measurement(), &format!("k{n}")))
        .collect();
    server.kill();
    let server = Server::start(dir.path());
    for (n, first) in answers.iter().enumerate() {
        first.expect(201);
        let again = keyed(&server, MEASUREMENTS, &measurement(), &format!("k{n}"));
        assert!(replayed(&again));
        assert_eq!((again.status, &again.body), (201, &first.body));
    }
    assert_eq!(events(&server, "capacity_measured", &[]).len(), 20);
    let kept = &events(&server, "answer_kept", &[])[0];
    assert_eq!(kept["stream"], "system/answers");
    assert_eq!(
        kept["data"]["request"],
        "POST /api/v1/capacity/measurements"
    );
    assert_eq!(kept["data"]["answer"], answers[0].json());
    let named = kept["data"]["idempotency"].to_string();
    assert!(!named.contains("k0"), "the key is a hash: {named}");
}

#[test]
fn keys_are_forgotten_by_age_and_number() {
    let dir = temporary();
    let warm = |server: &Server, key: &str| replayed(&keyed(server, WARM, &json!({}), key));
    let server = Server::start_with(serve(dir.path(), &["runs.idempotency_ttl_ms=200"]));
    warm(&server, "a");
    pause(Duration::from_millis(250));
    assert!(!warm(&server, "a"));
    pause(Duration::from_millis(250));
    keyed(&server, WARM, &json!({ "runs_max": 5 }), "a").expect(200);
    assert_eq!(server.stop(), Some(0));
    let server = Server::start_with(serve(dir.path(), &["runs.idempotency_entries_max=2"]));
    for key in ["b", "c", "d"] {
        assert!(!warm(&server, key));
    }
    assert!(warm(&server, "d") && warm(&server, "c") && !warm(&server, "b"));
    assert_eq!(server.stop(), Some(0));
    let server = Server::start_with(serve(dir.path(), &["runs.idempotency_ttl_ms=0"]));
    let before = events(&server, "answer_kept", &[]).len();
    assert!(!warm(&server, "e") && !warm(&server, "e"));
    assert_eq!(events(&server, "answer_kept", &[]).len(), before);
}

#[test]
fn what_is_refused_binds_no_key_and_a_bad_key_is_refused() {
    let dir = temporary();
    let server = Server::start(dir.path());
    for _ in 0..2 {
        let refused = keyed(&server, WARM, &json!({ "runs_max": 0 }), "k");
        refused.expect_problem(422, "runs_max");
        assert!(!replayed(&refused));
    }
    assert_eq!(events(&server, "answer_kept", &[]).len(), 0);
    let good = keyed(&server, WARM, &json!({ "runs_max": 1 }), "k");
    good.expect(200);
    let unread = [("idempotency-key", "k"), ("accept", "text/html")];
    let refused = server.post_with(WARM, &json!({ "runs_max": 1 }), &unread);
    refused.expect_problem(406, "header.accept");
    let missing = "/api/v1/runs/01890a5d-ac96-774b-bcce-b302099a8057/cancel";
    keyed(&server, missing, &json!({}), "m").expect_problem(404, "path.id");
    for path in [WARM, "/-/reload", "/debug/profile", KEYS] {
        let long = "k".repeat(256);
        let refused = keyed(&server, path, &json!({}), &long);
        assert_eq!(
            refused.expect_problem(400, "header.idempotency-key")["limit"],
            255
        );
        let two = [("idempotency-key", "a"), ("idempotency-key", "b")];
        let refused = server.post_with(path, &json!({}), &two);
        refused.expect_problem(400, "header.idempotency-key");
    }
    let large = vec![b' '; 5_000_000];
    let headers = [
        ("idempotency-key", "l"),
        ("content-type", "application/json"),
    ];
    let refused = server.send(Method::POST, WARM, &headers, &large);
    refused.expect_problem(413, "body");
}

#[test]
fn an_answer_for_a_subject_is_sealed_and_goes_with_it() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let ada = ("hindcast-subject", "ada");
    server
        .post_with(VALIDATE, &validation(), &[ada])
        .expect(200);
    let asked = json!({ "operation": "causal.validate", "request": validation() });
    let ask =
        |headers: &[(&str, &str)]| server.post_with("/cache/cacheable-report", &asked, headers);
    let key = ("idempotency-key", "q");
    let first = ask(&[ada, key]);
    first.expect(200);
    let again = ask(&[ada, key]);
    assert!(replayed(&again) && again.body == first.body);
    // Whose data it is belongs to what was asked.
    is_reused(&ask(&[key]));
    let redaction = json!({ "subject": "ada" });
    let redact = || {
        server.post_with(
            "/api/v1/redactions",
            &redaction,
            &[ada, ("idempotency-key", "r")],
        )
    };
    let redacted = redact();
    redacted.expect(200);
    let gone = ask(&[ada, key]);
    assert_eq!(gone.status, 410, "{}", gone.body);
    let kept = events(&server, "answer_kept", &[]);
    assert_eq!(kept[0]["data"]["answer"]["sealed"], true, "{}", kept[0]);
    // That it was redacted is told again, and nothing is there to be redacted.
    let again = redact();
    assert!(replayed(&again) && again.body == redacted.body);
    let nothing = server.post("/api/v1/redactions", &redaction);
    nothing.expect_problem(404, "subject");
}

#[test]
fn who_leaves_before_the_answer_finds_it_kept() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let address = server.url.trim_start_matches("http://");
    let mut gone = TcpStream::connect(address).expect("a connection");
    let path = "/debug/profile?seconds=2&format=folded";
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nidempotency-key: p\r\ncontent-length: 0\r\n\r\n"
    );
    gone.write_all(head.as_bytes()).expect("it is sent");
    // Until the server is at it: the other request that is being answered is this one.
    let begun = || {
        server
            .get("/metrics")
            .body
            .contains("\nactive_requests 2\n")
    };
    while !begun() && events(&server, "audited", &[]).is_empty() {
        pause(Duration::from_millis(10));
    }
    drop(gone);
    let again = server.send(Method::POST, path, &[("idempotency-key", "p")], &[]);
    assert_eq!(again.status, 200, "{}", again.body);
    assert!(replayed(&again));
    assert_eq!(again.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(events(&server, "audited", &[]).len(), 1);
}

#[test]
fn a_kept_answer_can_be_edited_in_another_history() {
    let dir = temporary();
    let server = Server::start(dir.path());
    keyed(&server, WARM, &json!({}), "w").expect(200);
    let kept = events(&server, "answer_kept", &[])[0].clone();
    let event = json!({ "type": "answer_kept", "data": kept["data"] });
    let ask = |edit: &Value| {
        let question = json!({ "at": kept["seq"], "edits": [edit] });
        server.post("/api/v1/whatif", &question).expect(200)
    };
    let same = ask(&json!({ "replace": kept["seq"], "event": event }));
    let hashes = &same["state_hash"];
    assert_eq!(hashes["fork"], hashes["baseline"], "{same}");
    let without = ask(&json!({ "drop": kept["seq"] }));
    assert_eq!(without["vanished"]["types"]["answer_kept"], 1, "{without}");
    let facts = without["state"].to_string();
    assert!(
        facts.contains(&format!("answer/{}", kept["seq"])),
        "{facts}"
    );
    // A key that stands for an answer stands for no run.
    is_reused(&keyed(
        &server,
        DISCOVER,
        &json!({ "data": [[1, 2], [2, 1], [3, 3]] }),
        "w",
    ));
}
