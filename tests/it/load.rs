//! Load, profiles, capacity and the live view, with real servers.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::reload;
use crate::support::{Server, finish, hindcast, pause, serve, temporary};

const CAPACITY: &str = "/api/v1/capacity";
const MEASUREMENTS: &str = "/api/v1/capacity/measurements";

/// Users that are there at once, ask without a pause and are waited for.
const BRISK: [&str; 8] = [
    "--spawn-rate",
    "1000",
    "--wait",
    "0",
    "--interval",
    "250ms",
    "--timeout",
    "60s",
];

fn run(arguments: &[&str]) -> (String, String, Option<i32>) {
    finish(hindcast(arguments), &[])
}

fn load(server: &Server, arguments: &[&str]) -> (String, String, Option<i32>) {
    run(&[&["load"], arguments, &["--server", &server.url]].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

#[test]
fn a_run_says_what_came_back_and_how_the_server_fared() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let nowhere = dir.path().join("not/there.json");
    let nowhere = nowhere.to_str().expect("UTF-8");
    let (_, errors, code) = load(
        &server,
        &["sustained", "--duration", "1h", "--out", nowhere],
    );
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("cannot write"), "{errors}");
    let file = dir.path().join("report.json");
    let options = [
        "sustained",
        "--users",
        "8",
        "--duration",
        "1s",
        "--json",
        "--out",
    ];
    let file_name = file.to_str().expect("UTF-8");
    let (out, errors, code) = load(&server, &[&options[..], &[file_name], &BRISK].concat());
    assert_eq!(code, Some(0), "{errors}\n{out}");
    let report = json(&out);
    assert_eq!(
        json(&std::fs::read_to_string(&file).expect("written")),
        report
    );
    assert_eq!(report["report"], "load");
    assert_eq!(
        (&report["failures"], &report["turned_away"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(report["verdict"], "held", "{}", report["signals"]);
    assert_eq!(report["breaking_point"], Value::Null);
    assert_eq!(report["users_max"], 8);
    assert_eq!(report["answers"]["200"], report["requests"]);
    assert_eq!(report["settings"]["mix"], "mixed");
    assert_eq!(report["connections"], 8, "they are kept open");
    let endpoints = list(&report["endpoints"]);
    let names: Vec<&str> = endpoints
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["validate", "paths", "discover", "health"]);
    let counted: u64 = endpoints
        .iter()
        .filter_map(|one| one["requests"].as_u64())
        .sum();
    assert_eq!(json!(counted), report["requests"]);
    let times = &report["latency"];
    let rising = ["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|name| number(&times[name]));
    assert!(rising[0] > 0.0 && rising.is_sorted(), "{times}");
    let intervals = list(&report["intervals"]);
    assert!(intervals.len() >= 2, "{intervals:?}");
    let in_intervals: u64 = intervals
        .iter()
        .filter_map(|one| one["requests"].as_u64())
        .sum();
    assert_eq!(json!(in_intervals), report["requests"]);
    assert!(number(&report["server"]["memory_max_bytes"]) > 1e6);
    assert_eq!(report["server"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["notes"].to_string().contains("closed model"));
    // The server has seen as many.
    let page = server.get("/metrics").body;
    let validations: f64 = page
        .lines()
        .filter(|line| line.starts_with("http_requests_total{") && line.contains("causal/validate"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!((validations - number(&endpoints[0]["requests"])).abs() < 0.5);
}

#[test]
fn at_a_rate_as_many_come_as_are_due() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let options = [
        "sustained",
        "--rate",
        "60",
        "--users",
        "4",
        "--spawn-rate",
        "1000",
        "--duration",
        "1s",
        "--mix",
        "health",
        "--json",
    ];
    let (out, errors, code) = load(&server, &options);
    assert_eq!(code, Some(0), "{errors}\n{out}");
    let report = json(&out);
    let sent = number(&report["requests"]) + number(&report["unsent"]);
    assert!((sent - 60.0).abs() < 0.5, "{report}");
    assert_eq!(
        number(&report["settings"]["rate"]).to_bits(),
        60_f64.to_bits()
    );
    assert!(report["notes"].to_string().contains("open model"));
}

#[test]
fn other_machines_and_wrong_options_are_refused() {
    let refused = |options: &[&str], part: &str| {
        let (out, errors, code) = run(&[&["load", "spike"], options].concat());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{options:?}: {errors}");
        assert!(errors.contains(part), "{options:?}: {errors}");
    };
    refused(&["--server", "http://192.0.2.1:80"], "--allow-remote");
    refused(&["--server", "ftp://127.0.0.1:1"], "https://HOST:PORT");
    refused(&["--server", "http://127.0.0.1:1/x"], "http://HOST:PORT");
    for (options, part) in [
        (["--users", "0"], "1..=10000"),
        (["--duration", "2d"], "--duration"),
        (["--duration", "soon"], "--duration"),
        (["--wait", "3-1"], "--wait"),
        (["--rate", "0"], "--rate"),
        (["--spawn-rate", "-1"], "--spawn-rate"),
        (["--interval", "1ms"], "--interval"),
        (["--interval", "60ms"], "3600 rows"),
        (["--timeout", "1h"], "--timeout"),
        (["--mix", "all"], "mixed"),
    ] {
        let option = format!("{}={}", options[0], options[1]);
        refused(&[&option, "--server", "http://127.0.0.1:1"], part);
    }
    let (_, errors, code) = run(&["load", "ramp", "--server", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("no answer from http://127.0.0.1:1"),
        "{errors}"
    );
}

#[test]
fn a_server_of_little_room_breaks_and_a_ramp_looks_for_it() {
    let dir = temporary();
    let settings = [
        "overload.cheap_concurrency_max=4",
        "overload.cheap_waiting_max=1",
    ];
    let server = Server::start_with(serve(dir.path(), &settings));
    let options = ["--users", "60", "--duration", "1s", "--mix", "validate"];
    let options = [&options[..], &BRISK].concat();
    let (out, errors, code) = load(&server, &[&["sustained", "--json"], &options[..]].concat());
    assert_eq!(code, Some(1), "{errors}\n{out}");
    assert!(errors.contains("the server broke with"), "{errors}");
    let report = json(&out);
    assert_eq!(report["verdict"], "broke");
    assert_eq!(report["failures"], 0, "{}", report["answers"]);
    assert!(number(&report["turned_away"]) > 0.0);
    assert_eq!(report["answers"]["503"], report["turned_away"]);
    let point = &report["breaking_point"];
    assert_eq!(point["rule"], "failures");
    assert!(number(&point["users"]) >= 1.0 && number(&point["at_s"]) > 0.0);
    assert!(number(&report["success_rate"]) < 0.95);
    let (out, errors, code) = load(&server, &[&["ramp"], &options[..]].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("breaking point: "), "{out}");
    assert!(out.contains("were turned away"), "{out}");
}

#[test]
fn a_run_that_is_interrupted_still_reports() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let mut command = hindcast(&[
        "load",
        "spike",
        "--users",
        "5",
        "--spawn-rate",
        "1000",
        "--wait",
        "0.05",
        "--mix",
        "health",
        "--json",
        "--server",
        &server.url,
    ]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let seen = (0..600).any(|_| {
        pause(Duration::from_millis(20));
        let page = server.get("/metrics").body;
        let mut lines = page.lines();
        lines.any(|line| line.starts_with("http_requests_total{") && line.contains("/health/live"))
    });
    assert!(seen, "it never began");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let report = json(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(report["interrupted"], true);
    assert!(number(&report["requests"]) > 0.0);
}

#[test]
fn load_goes_to_a_server_at_https_that_is_trusted() {
    let dir = temporary();
    let made = reload::made();
    let settings = reload::put(dir.path(), &made.certificate, &made.key);
    let settings = settings.each_ref().map(String::as_str);
    let server = Server::start_with(serve(&dir.path().join("data"), &settings));
    let file = dir.path().join("server.crt");
    let file = file.to_str().expect("UTF-8");
    let options = [
        "sustained",
        "--users",
        "2",
        "--duration",
        "300ms",
        "--json",
        "--ca-file",
    ];
    let (out, errors, code) = load(&server, &[&options[..], &[file], &BRISK].concat());
    assert_eq!(code, Some(0), "{errors}\n{out}");
    let report = json(&out);
    assert_eq!(report["answers"]["200"], report["requests"]);
    assert!(number(&report["server"]["memory_max_bytes"]) > 1e6);
    let (_, errors, code) = load(&server, &["sustained", "--duration", "1s"]);
    assert_eq!(code, Some(1), "nobody vouches for it: {errors}");
}

/// A key of this role, in a file.
fn key(dir: &Path, role: &str) -> String {
    let data = dir.to_str().expect("UTF-8");
    let (out, errors, code) = run(&[
        "keys",
        "create",
        role,
        "--role",
        role,
        "--json",
        "--data-dir",
        data,
    ]);
    assert_eq!(code, Some(0), "{errors}");
    let file = dir.join(format!("{role}.key"));
    std::fs::write(&file, json(&out)["key"].as_str().expect("a key")).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_key_goes_with_every_request_and_a_viewer_may_not_record() {
    let dir = temporary();
    let (viewer, operator) = (key(dir.path(), "viewer"), key(dir.path(), "operator"));
    let server = Server::start_with(serve(dir.path(), &["access.required_on_loopback=true"]));
    let options = [
        "sustained",
        "--users",
        "2",
        "--duration",
        "300ms",
        "--mix",
        "cached",
    ];
    let options = [&options[..], &BRISK, &["--json", "--record"]].concat();
    let (_, errors, code) = load(&server, &options);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("a key is needed here"), "{errors}");
    let (out, errors, code) = load(
        &server,
        &[&options[..], &["--key-file", &operator]].concat(),
    );
    assert_eq!(code, Some(0), "{errors}\n{out}");
    assert_eq!(json(&out)["success_rate"], json!(1.0));
    let probes = [
        "sustained",
        "--users",
        "1",
        "--duration",
        "300ms",
        "--mix",
        "health",
    ];
    let probes = [
        &probes[..],
        &BRISK,
        &["--json", "--record", "--key-file", &viewer],
    ]
    .concat();
    let (_, errors, code) = load(&server, &probes);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("this needs operator"), "{errors}");
    let told = ["audit", "search", "--json", "--key-file", &viewer];
    let (out, errors, _) = run(&[&told[..], &["--server", &server.url]].concat());
    let told: Vec<String> = list(&json(&out)["items"])
        .iter()
        .map(|item| format!("{} {} {}", item["principal"], item["verb"], item["outcome"]))
        .collect();
    let row = "\"operator\" \"capacity.record\" \"done\"".to_owned();
    assert!(told.contains(&row), "{told:?} {errors}");
}

fn profile(server: &Server, options: &[&str]) -> (String, String, Option<i32>) {
    let all = [
        &["profile", "endpoints", "--json", "--server", &server.url],
        options,
    ];
    run(&all.concat())
}

#[test]
fn a_profile_of_endpoints_has_its_schema() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let file = dir.path().join("report.json");
    let file = file.to_str().expect("UTF-8");
    let options = ["--only", "validate", "--seconds", "1", "--users", "4"];
    let (out, errors, code) = profile(&server, &[&options[..], &["--out", file]].concat());
    assert_eq!(code, Some(0), "{errors}\n{out}");
    let report = json(&out);
    assert_eq!(
        json(&std::fs::read_to_string(file).expect("written")),
        report
    );
    let one = &list(&report["endpoints"])[0];
    for figure in ["mean_ms", "median_ms", "p95_ms", "p99_ms", "max_ms", "rps"] {
        assert!(number(&one[figure]) > 0.0, "{figure}: {one}");
    }
    assert_eq!(number(&one["success_rate"]).to_bits(), 1_f64.to_bits());
    let memory = &one["memory"];
    assert!(number(&memory["max_bytes"]) >= number(&memory["mean_bytes"]));
    let functions = list(&one["cpu_top"]);
    let notes = report["notes"].to_string();
    let told = !functions.is_empty() || notes.contains("no function was met at work");
    assert!(told && functions.len() <= 20, "{one} {notes}");
    let counts: Vec<u64> = functions
        .iter()
        .filter_map(|f| f["samples"].as_u64())
        .collect();
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
}

#[test]
fn a_profile_is_judged_by_limits_and_by_an_older_one() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let file = dir.path().join("older.json");
    let file = file.to_str().expect("UTF-8");
    let quick = [
        "--only",
        "live",
        "--seconds",
        "1",
        "--users",
        "2",
        "--no-cpu",
    ];
    let (out, errors, code) = profile(&server, &quick);
    assert_eq!(code, Some(0), "{errors}\n{out}");
    // A report in which all was a hundred times as fast, and limits that cannot be kept.
    let mut older = json(&out);
    for figure in ["mean_ms", "median_ms", "p95_ms", "p99_ms"] {
        let now = number(&older["endpoints"][0][figure]);
        older["endpoints"][0][figure] = json!(now / 100.0);
    }
    std::fs::write(file, older.to_string()).expect("written");
    let strict = ["--baseline", file, "--p50-ms", "0.000001"];
    let (out, errors, code) = profile(&server, &[&quick[..], &strict].concat());
    assert_eq!(code, Some(1), "{out}");
    assert!(errors.contains("an endpoint fails"), "{errors}");
    let report = json(&out);
    assert_eq!(report["verdict"], "FAIL");
    assert_eq!(report["baseline_at"], older["started_at"]);
    let reasons = report["endpoints"][0]["reasons"].to_string();
    for part in ["above that of the older report", "P50 is"] {
        assert!(reasons.contains(part), "{reasons}");
    }
    for (options, part) in [
        (["--only", "nothing"], "there are validate, paths"),
        (["--p95-ms", "0"], "not above 0"),
        (["--baseline", "/nowhere"], "/nowhere"),
    ] {
        let (_, errors, code) = profile(&server, &options);
        assert_ne!(code, Some(0));
        assert!(errors.contains(part), "{errors}");
    }
}

fn measurement() -> Value {
    json!({ "scenario": "ramp", "mix": "cached", "users": 700, "seconds": 60.5, "requests": 1000,
        "failures": 1, "turned_away": 2, "rps": 16.5, "p50_ms": 1.5, "p95_ms": 4.0,
        "p99_ms": 9.25, "breaking_point": { "rule": "latency", "users": 650, "after_s": 55.0 } })
}

#[test]
fn what_was_measured_is_kept_over_a_restart() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let empty = server.get(CAPACITY).expect(200);
    assert_eq!(empty["measurements"], json!([]));
    let made = server.post(MEASUREMENTS, &measurement()).expect(201);
    assert_eq!(made["breaking_point"]["users"], 650);
    let options = [
        "sustained",
        "--users",
        "3",
        "--duration",
        "400ms",
        "--mix",
        "cached",
    ];
    let (out, errors, code) = load(
        &server,
        &[&options[..], &BRISK, &["--record", "--json"]].concat(),
    );
    assert_eq!(code, Some(0), "{errors}\n{out}");
    assert!(errors.contains("recorded"), "{errors}");
    let measured = json(&out);
    server.post(MEASUREMENTS, &measurement()).expect(201);
    let before = server.get(CAPACITY).expect(200);
    assert_eq!(server.stop(), Some(0));

    let server = Server::start(dir.path());
    let found = server.get(CAPACITY).expect(200);
    assert_eq!(found["measurements"], before["measurements"]);
    let shown = list(&found["measurements"]);
    assert_eq!(shown.len(), 2, "the last of each: {shown:?}");
    assert_eq!(shown[0]["scenario"], "ramp");
    let own = &shown[1];
    assert_eq!((&own["users"], &own["beside"]), (&json!(3), &json!(true)));
    assert_eq!(own["this_build"], true);
    assert_eq!(own["requests"], measured["requests"]);
    assert!((number(&own["rps"]) - number(&measured["rps"])).abs() < 0.01);
    assert_eq!(found["build"]["cores"], own["cores"]);
    assert_eq!(found["build"]["binary"], own["binary"]);

    let event = server
        .get("/api/v1/events?type=capacity_measured")
        .expect(200);
    assert_eq!(list(&event["items"])[0]["stream"], "system/capacity");
    let (text, errors, code) = run(&["capacity", "report", "--server", &server.url]);
    assert_eq!(code, Some(0), "{errors}");
    for part in [
        "broke with 650 users (latency)",
        "resource ",
        "bottleneck  ",
        "scale up ",
        "not enough history",
        "notears",
        "O(d^3)",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let (out, ..) = run(&["capacity", "report", "--json", "--server", &server.url]);
    let shown = json(&out);
    assert_eq!(shown["measurements"], found["measurements"]);
    // Nothing is said of a day that has not passed.
    assert_eq!(shown["forecast"]["events_per_day"], Value::Null);
}

#[test]
fn resources_have_limits_and_what_is_left_of_them() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["http.connections_max=123"]));
    server
        .post(crate::support::VALIDATE, &crate::support::validation())
        .expect(200);
    let validated = |found: &Value| {
        let mut rows = list(&found["complexity"]).iter();
        let row = rows.find(|one| one["operation"] == "causal.validate");
        row.expect("a row")["measured_count"].clone()
    };
    // The actor of the metrics counts it a moment later.
    let found = server.wait_until(CAPACITY, |found| {
        found["usage"].is_object() && validated(found) == 1
    });
    let of = |name: &str| {
        let mut all = list(&found["resources"]).iter();
        let one = all.find(|one| one["name"] == name);
        one.unwrap_or_else(|| panic!("{name} is missing: {found}"))
    };
    assert_eq!(
        number(&of("connections")["limit"]).to_bits(),
        123_f64.to_bits()
    );
    for name in [
        "memory",
        "disk",
        "descriptors",
        "runs_in_flight",
        "cheap_waiting",
        "log_queue",
    ] {
        let one = of(name);
        let left = number(&one["limit"]) * 0.8 - number(&one["used"]);
        assert!(
            (number(&one["headroom"]) - left.max(0.0)).abs() < 1.0,
            "{one}"
        );
    }
    assert!(list(&found["bottleneck"]["evidence"]).len() >= 3, "{found}");
    assert!(found["forecast"]["not_enough_history"].is_string());
}

#[test]
fn measurements_that_make_no_sense_are_refused() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let refused = |field: &str, value: Value| {
        let mut body = measurement();
        let pointer = format!("/{}", field.replace('.', "/"));
        *body.pointer_mut(&pointer).expect("a field") = value;
        server.post(MEASUREMENTS, &body).expect_problem(422, field)
    };
    refused("scenario", json!("Ramp!"));
    assert_eq!(refused("mix", json!("m".repeat(33)))["limit"], 32);
    refused("users", json!(0));
    assert_eq!(refused("users", json!(1_000_001))["limit"], 1_000_000);
    refused("seconds", json!(-1.0));
    assert_eq!(refused("seconds", json!(604_801.0))["limit"], 604_800);
    refused("failures", json!(999));
    refused("p95_ms", json!(1.0));
    refused("p99_ms", json!(3.9));
    refused("breaking_point.rule", json!(""));
    refused("breaking_point.after_s", json!(-2));
    let mut extra = measurement();
    extra["colour"] = json!(3);
    server
        .post(MEASUREMENTS, &extra)
        .expect_problem(422, "colour");
    assert_eq!(server.get(CAPACITY).expect(200)["measurements"], json!([]));
}

#[test]
fn one_live_view_is_printed_as_json_and_as_text() {
    let dir = temporary();
    let server = Server::start(dir.path());
    server.post("/api/v1/backups", &json!({})).expect(201);
    let top = [
        "top",
        "--once",
        "--interval",
        "300ms",
        "--server",
        &server.url,
    ];
    let (out, errors, code) = run(&[&top[..], &["--json"]].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(out.lines().count(), 1);
    let view = json(&out);
    assert!(number(&view["seconds"]) >= 0.3);
    assert!(
        number(&view["requests_per_s"]) > 0.0,
        "its own looks count: {view}"
    );
    let actors: Vec<&str> = list(&view["actors"])
        .iter()
        .filter_map(|actor| actor["name"].as_str())
        .collect();
    assert!(actors.contains(&"experiment"), "{actors:?}");
    assert!(
        list(&view["actors"])
            .iter()
            .all(|actor| number(&actor["mailbox_max"]) >= 1.0)
    );
    let lanes: Vec<&Value> = list(&view["lanes"])
        .iter()
        .map(|lane| &lane["lane"])
        .collect();
    assert_eq!(lanes, ["cheap", "heavy"]);
    assert!(list(&view["breakers"]).len() > 5);
    assert!(number(&view["process"]["resident_bytes"]) > 1e6);
    // It is refreshed every second.
    assert!(number(&view["log"]["sequence"]) >= 1.0);
    assert_eq!(view["backups"][0]["target"], "local");
    assert!(number(&view["backups"][0]["age_s"]) < 3_600.0);
    let (text, errors, code) = run(&top);
    assert_eq!(code, Some(0), "{errors}");
    assert!(!text.contains('\x1b'), "no colours into a pipe");
    for part in [
        "requests ",
        "lane ",
        "experiment ",
        "breakers ",
        "backup local",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let slow = ["top", "slow", "--server", &server.url];
    let (out, errors, code) = run(&[&slow[..], &["--json"]].concat());
    assert_eq!(code, Some(0), "{errors}");
    let found = json(&out);
    assert_eq!(found["seconds"], Value::Null);
    let shares = list(&found["routes"])
        .iter()
        .map(|route| number(&route["share"]));
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9, "{found}");
    let (text, errors, code) = run(&[&slow[..], &["--by", "total"]].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.contains("POST /api/v1/backups"), "{text}");
    let (_, errors, code) = run(&["top", "--interval", "0s", "--server", &server.url]);
    assert_eq!(code, Some(2), "{errors}");
}
