//! Service level objectives of a real server: measured from real requests, frozen by real failures,
//! kept over a crash, looked at as they were, and otherwise in what-if.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{DISCOVER, Server, finish, hindcast, pause, serve, slow_discovery, temporary};

const SLO: &str = "/api/v1/slo";
const AVAILABILITY: &str = "/api/v1/slo/availability";

/// Batches come quickly, and no run may take longer than a millisecond.
const MEASURED: [&str; 3] = [
    "slo.enabled=true",
    "metrics.sample_interval_ms=100",
    "runs.deadline_ms=1",
];
/// Requests that fail, each within a millisecond.
const FAILURES: usize = 12;

/// What is asked for takes longer than the server allows: its fault as objectives see it.
fn fail(server: &Server) {
    for _ in 0..FAILURES {
        let reply = server.post(DISCOVER, &slow_discovery());
        assert!((500..=599).contains(&reply.status), "{}", reply.body);
    }
}

fn of(dir: &Path, words: &[&str]) -> (Value, Option<i32>) {
    let mut command = hindcast(words);
    command.arg("--json").arg("--data-dir").arg(dir);
    let (out, errors, code) = finish(command, &[]);
    let value = serde_json::from_str(&out);
    (
        value.unwrap_or_else(|_| panic!("{words:?}: {out}{errors}")),
        code,
    )
}

fn text(server: &Server, words: &[&str]) -> (String, String, Option<i32>) {
    let mut command = hindcast(words);
    command.args(["--server", &server.url]);
    finish(command, &[])
}

#[test]
fn nothing_is_told_without_data() {
    let dir = temporary();
    let quiet = Server::start_with(serve(dir.path(), &["slo.enabled=true"]));
    let list = quiet.get(SLO).expect(200);
    assert_eq!(
        (&list["frozen"], &list["sampled_at"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(list["items"].as_array().map(Vec::len), Some(11));
    let nothing = quiet.get(AVAILABILITY).expect(200);
    for path in [
        "/sli",
        "/met",
        "/budget/remaining_ratio",
        "/burn/0/rate",
        "/freeze",
    ] {
        assert_eq!(
            nothing.pointer(path),
            Some(&Value::Null),
            "{path}: {nothing}"
        );
    }
    assert_eq!(nothing["covered"], 0.0);
    quiet
        .get("/api/v1/slo/nobody")
        .expect_problem(404, "path.name");
    quiet
        .get("/api/v1/slo?when=now")
        .expect_problem(400, "query.when");
    quiet
        .get("/api/v1/slo?at=soon")
        .expect_problem(400, "query.at");
}

#[test]
fn objectives_are_measured_from_requests() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &MEASURED));
    for _ in 0..20 {
        server.get("/api/v1/runs").expect(200);
    }
    let found = server.wait_until(AVAILABILITY, |found| found["valid"].as_u64() >= Some(20));
    assert_eq!((&found["sli"], &found["met"]), (&json!(1.0), &json!(true)));
    assert_eq!(
        (&found["target"], &found["window"]),
        (&json!(0.999), &json!("30d"))
    );
    assert_eq!(found["budget"]["remaining_ratio"], 1.0);
    assert_eq!(
        found["budget"]["allowed_minutes"].as_f64().map(f64::round),
        Some(43.0)
    );
    let windows: Vec<&str> = found["burn"]
        .as_array()
        .expect("windows")
        .iter()
        .map(|burn| burn["window"].as_str().expect("a window"))
        .collect();
    assert_eq!(windows, ["5m", "30m", "1h", "6h", "3d", "30d"]);
    // The oldest bucket counts as a whole, and how much that was is said.
    for burn in found["burn"].as_array().expect("windows") {
        let counted = burn["counted_seconds"].as_f64().expect("seconds");
        let window = burn["window_seconds"].as_f64().expect("seconds");
        let share = burn["covered"].as_f64().expect("a share");
        assert!(
            counted > 0.0 && (share - counted / window).abs() < 1e-9,
            "{burn}"
        );
    }
    // A minute of thirty days is little, and said to be.
    let covered = found["covered"].as_f64().expect("a share");
    assert!(covered > 0.0 && covered < 0.001, "{covered}");
    // Requests for health are no requests under /api.
    let latency = server.get("/api/v1/slo/latency").expect(200);
    assert!(latency["valid"].as_u64() >= Some(20), "{latency}");
    let memory = server.get("/api/v1/slo/memory").expect(200);
    assert_eq!(
        (&memory["kind"], &memory["met"]),
        (&json!("bound"), &json!(true))
    );
    // Gauges follow once a second.
    let left = "slo_error_budget_remaining_ratio{slo=\"availability\"} 1";
    let mut metrics = server.get("/metrics").body;
    for _ in 0..200 {
        if metrics.lines().any(|line| line.starts_with(left)) {
            break;
        }
        pause(Duration::from_millis(50));
        metrics = server.get("/metrics").body;
    }
    for line in [
        left,
        "slo_burn_rate{slo=\"availability\",window=\"1h\"} 0",
        "slo_frozen{slo=\"availability\"} 0",
    ] {
        let found = metrics.lines().any(|found| found.starts_with(line));
        assert!(found, "{line} is missing in\n{metrics}");
    }
}

/// A frozen budget is told wherever somebody looks, and is no reason to restart anything.
fn assert_told(server: &Server) {
    let list = server.get(SLO).expect(200);
    assert_eq!(list["frozen"], true);
    let health = server.wait_until("/health", |health| {
        health["components"]["slo"]["frozen"] == true
    });
    assert_eq!(health["status"], "ok");
    let (out, _, code) = text(server, &["status"]);
    assert!(
        out.contains("frozen      the budget of availability"),
        "{out}"
    );
    assert_eq!(code, Some(0));
    let (out, _, code) = text(server, &["slo", "status"]);
    assert!(out.contains("availability     frozen"), "{out}");
    assert_eq!(code, Some(0));
    let (_, errors, code) = text(server, &["slo", "status", "--check"]);
    assert!(errors.contains("an error budget is frozen"), "{errors}");
    assert_eq!(code, Some(1));
    let events = server
        .get("/api/v1/events?stream=system/slo&limit=100")
        .expect(200);
    let kinds: Vec<&str> = events["items"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(kinds[0], "objectives_configured");
    assert!(kinds.contains(&"slo_budget_changed") && kinds.contains(&"slo_burn_changed"));
}

#[test]
fn failures_freeze_the_budget_and_a_crash_does_not_thaw_it() {
    let dir = temporary();
    let mut server = Server::start_with(serve(dir.path(), &MEASURED));
    let before = server.wait_until(AVAILABILITY, |found| found["valid"].as_u64() >= Some(1));
    assert_eq!(before["frozen"], false);
    let calm = server.get(SLO).expect(200)["sequence"].clone();
    let (out, errors, code) = text(&server, &["slo", "status", "--check"]);
    assert_eq!(code, Some(0), "{out}{errors}");
    fail(&server);
    let frozen = server.wait_until(AVAILABILITY, |found| {
        found["frozen"] == true && found["bad"].as_u64() >= Some(FAILURES as u64)
    });
    let reason = frozen["freeze"]["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("the budget of availability is frozen since 2"),
        "{reason}"
    );
    assert!(
        frozen["budget"]["remaining_ratio"].as_f64() < Some(0.1),
        "{frozen}"
    );
    assert_eq!(frozen["burning"][0]["pair"], "fast", "{frozen}");
    assert_told(&server);

    // As it was before, from the server and from its files.
    let past = server.get(&format!("{SLO}?at={calm}")).expect(200);
    assert_eq!((&past["frozen"], &past["sequence"]), (&json!(false), &calm));
    let state = server
        .get(&format!("/api/v1/state/system/slo?at={calm}"))
        .expect(200);
    assert_eq!(state["state"]["slo"], past);
    let at = calm.to_string();
    let (files, code) = of(dir.path(), &["slo", "status", "--check", "--at", &at]);
    assert_eq!((files, code), (past, Some(0)));

    server.kill();
    let (files, code) = of(dir.path(), &["slo", "show", "availability"]);
    assert_eq!((&files["frozen"], code), (&json!(true), Some(0)));
    let server = Server::start_with(serve(dir.path(), &MEASURED));
    let again = server.get(AVAILABILITY).expect(200);
    assert_eq!(again["freeze"], frozen["freeze"]);
    assert!(again["bad"].as_u64() >= frozen["bad"].as_u64(), "{again}");
    let configured = server.get("/api/v1/events?type=objectives_configured&limit=10");
    let configured = configured.expect(200)["items"].clone();
    assert_eq!(
        configured.as_array().map(Vec::len),
        Some(1),
        "they are the same"
    );
    assert_eq!(server.stop(), Some(0));
    let (verified, code) = of(dir.path(), &["verify"]);
    assert_eq!(code, Some(0), "{verified}");
}

#[test]
fn without_the_failing_time_the_freeze_would_not_have_been() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &MEASURED));
    server.wait_until(AVAILABILITY, |found| found["valid"].as_u64() >= Some(1));
    fail(&server);
    server.wait_until(AVAILABILITY, |found| {
        found["frozen"] == true && found["bad"].as_u64() >= Some(FAILURES as u64)
    });
    let frozen = server
        .get("/api/v1/events?type=slo_budget_changed&limit=10")
        .expect(200);
    let frozen = frozen["items"][0]["seq"].clone();
    let batches = server
        .get("/api/v1/events?type=metrics_sampled&limit=500")
        .expect(200);
    let failing: Vec<&Value> = batches["items"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["data"]["values"]["http_requests_total{class=\"5xx\"}"].is_u64())
        .map(|event| &event["seq"])
        .collect();
    let edits: Vec<Value> = failing.iter().map(|seq| json!({ "drop": seq })).collect();
    let question = json!({ "at": failing[0], "edits": edits });
    let found = server.post("/api/v1/whatif", &question).expect(200);
    let vanished = found["vanished"]["first"].as_array().expect("events");
    let gone = vanished.iter().any(|event| event["position"] == frozen);
    assert!(gone, "{frozen} in {found}");
    assert_eq!(found["baseline_drift"], Value::Null);
    let state = found["state"]["changed"].as_array().expect("facts");
    let fact = state
        .iter()
        .find(|fact| fact["path"] == "/slo/availability/frozen");
    let fact = fact.expect("it is a fact");
    assert_eq!(
        (&fact["before"], &fact["after"]),
        (&json!(true), &json!(false))
    );
}

#[test]
fn objectives_change_with_a_reload_and_wrong_ones_are_named() {
    let dir = temporary();
    let file = dir.path().join("server.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("[metrics]\nsample_interval_ms = 100\n");
    let mut command = hindcast(&["serve", "--json", "--listen", "127.0.0.1:0", "--config"]);
    command
        .arg(&file)
        .arg("--data-dir")
        .arg(dir.path().join("data"));
    let server = Server::start_with(command);
    server.wait_until(AVAILABILITY, |found| found["valid"].as_u64() >= Some(1));
    write(
        "[metrics]\nsample_interval_ms = 100\n[[slo.objectives]]\nname = 'availability'\n\
         target = '99%'\n[[slo.objectives]]\nname = 'frames'\ntarget = '50%'\nwindow_hours = 2\n\
         value = ['log_frames_total']\nper = ['second']\nat_most = '100'\n",
    );
    let reloaded = server.post("/-/reload", &json!({})).expect(200);
    assert_eq!(reloaded["changed"], json!(["slo.objectives"]));
    let kept = server.get(AVAILABILITY).expect(200);
    assert_eq!(kept["target"], 0.99);
    assert!(
        kept["valid"].as_u64() >= Some(1),
        "what was counted stays: {kept}"
    );
    let frames = server.wait_until("/api/v1/slo/frames", |found| {
        found["valid"].as_u64() >= Some(1)
    });
    assert_eq!(frames["measure"], "log_frames_total a second at most 100");
    // The same again is no event.
    server.post("/-/reload", &json!({})).expect(200);
    let events = server
        .get("/api/v1/events?type=objectives_configured&limit=10")
        .expect(200);
    assert_eq!(events["items"].as_array().map(Vec::len), Some(2));
    write("[[slo.objectives]]\nname = 'x'\ntarget = '99%'\ngood = ['nothing']\nvalid = ['x']\n");
    let problem = server.post("/-/reload", &json!({}));
    problem.expect_problem(422, "slo.objectives[0].good");
    let (list, code) = of(&dir.path().join("data"), &["slo", "list"]);
    assert_eq!(
        (list["items"].as_array().map(Vec::len), code),
        (Some(12), Some(0))
    );
}
