//! Circuit breakers and fallbacks of a real server: opened by real calls, held by wishes, kept over
//! restarts, tried with other settings.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    DISCOVER, ROOT, Reply, Server, VALIDATE, finish, hindcast, pause, serve, temporary, validation,
};

const BREAKERS: &str = "/api/v1/breakers";
const NOTEARS: &str = "/health/circuit-breakers/notears_discovery";

/// A call of NOTEARS counts as slow from a millisecond on, which it is, and one is enough.
const TOUCHY: [&str; 3] = [
    "breakers.own=[{ name = \"notears_discovery\", slow_ms = 1, slow_percent = 1, \
     minimum_calls = 1, half_open_permits = 1 }]",
    "breakers.open_ms=600000",
    "breakers.jitter_percent=0",
];

/// A discovery by NOTEARS that nobody has asked for before with this number.
fn notears(number: u32) -> Value {
    let mut state = 7_u64 + u64::from(number);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 33).expect("31 bits")) / f64::from(u32::MAX)
    };
    let rows: Vec<Vec<f64>> = (0..150)
        .map(|_| {
            let mut row: Vec<f64> = Vec::new();
            for column in 0..30_usize {
                let parent = if column == 0 { 0.0 } else { row[column - 1] };
                row.push(0.9 * parent + next());
            }
            row
        })
        .collect();
    json!({ "data": rows, "algorithm": "notears" })
}

fn ask(server: &Server, number: u32, fallback: &str) -> Reply {
    server.post_with(
        DISCOVER,
        &notears(number),
        &[("hindcast-fallback", fallback)],
    )
}

fn breaker(server: &Server) -> Value {
    server
        .get(&format!("{BREAKERS}/notears_discovery"))
        .expect(200)
}

/// What a verb says of the log in a directory.
pub(crate) fn of(arguments: &[&str], dir: &Path) -> Value {
    let mut command = hindcast(arguments);
    command.arg("--json").arg("--data-dir").arg(dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{arguments:?}: {errors}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

#[test]
fn slow_calls_open_a_breaker_and_what_is_answered_then_says_so() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &TOUCHY));
    let first = ask(&server, 1, "never");
    assert_eq!(first.expect(200)["quality"], "exact");
    assert_eq!(first.header("x-hindcast-quality"), "exact");
    let open = breaker(&server);
    assert_eq!(
        (&open["state"], &open["openings"]),
        (&json!("open"), &json!(1)),
        "{open}"
    );
    assert_eq!(open["totals"]["slow"], 1);
    assert!(open["next_probe_at"].is_string());

    // Another algorithm answers, and says that it does.
    let other = ask(&server, 2, "allow");
    let answer = other.expect(200);
    assert_eq!(answer["quality"], "approximate");
    assert_eq!(other.header("x-hindcast-quality"), "approx");
    assert_eq!(answer["result"]["algorithm"], "boss");
    let reason = answer["quality_reason"].as_str().expect("a reason");
    assert!(
        reason.contains("notears_discovery is open") && reason.contains("boss"),
        "{reason}"
    );
    let run = answer["run_id"].as_str().expect("an id");
    let shown = server.get(&format!("/api/v1/runs/{run}")).expect(200);
    assert_eq!(shown["request"]["algorithm"], "notears");
    assert_eq!(shown["fallback"]["computed"], "boss");
    // The approximate answer is never that of the exact request.
    let refused = ask(&server, 2, "never");
    let problem = refused.expect_problem(503, "");
    assert_eq!(problem["type"], "urn:hindcast:problem:breaker-open");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=600).contains(&wait), "{wait}");
    // The exact result that is at hand is.
    let cached = ask(&server, 1, "never");
    assert_eq!(cached.expect(200)["quality"], "cached");
    assert_eq!(cached.header("x-hindcast-quality"), "cached");
    assert_eq!(cached.json()["result_hash"], first.json()["result_hash"]);
    // The other services are as they were.
    assert_eq!(
        server.post(VALIDATE, &validation()).expect(200)["quality"],
        "exact"
    );

    health_says_so(&server);
    let stopped = server.stop();
    assert_eq!(stopped, Some(0));
    the_log_tells_it(dir.path());
    let server = Server::start_with(serve(dir.path(), &TOUCHY));
    assert_eq!(breaker(&server)["state"], "open");
    ask(&server, 3, "never").expect_problem(503, "");
    other_settings_would_not_have_opened_it(&server);
    let reset = json!({ "action": "reset", "reason": "tested" });
    assert_eq!(server.post(NOTEARS, &reset).expect(200)["state"], "closed");
    assert_eq!(ask(&server, 2, "never").expect(200)["quality"], "exact");
    let (verified, _, code) = finish(
        {
            let mut command = hindcast(&["verify", "--recompute", "--json", "--data-dir"]);
            command.arg(dir.path());
            command
        },
        &[],
    );
    assert_eq!(code, Some(0), "{verified}");
}

#[test]
fn callers_that_do_not_wait_open_no_breaker_and_burn_no_budget() {
    let dir = temporary();
    let settings = ["slo.enabled=true", "metrics.sample_interval_ms=100"];
    let server = Server::start_with(serve(dir.path(), &settings));
    let wanted = "http_errors_total{type=\"caller_deadline\",path=\"/api/v1/causal/discover\"} 20";
    for number in 0..20 {
        let hurry = [("hindcast-deadline", "1"), ("hindcast-fallback", "never")];
        let reply = server.post_with(DISCOVER, &notears(number), &hurry);
        let problem = reply.expect_problem(504, "header.hindcast-deadline");
        assert_eq!(problem["type"], "urn:hindcast:problem:caller-deadline");
    }
    let found = breaker(&server);
    assert_eq!(
        (&found["state"], &found["totals"]["failure"]),
        (&json!("closed"), &json!(0))
    );
    let seen = server.wait_until("/api/v1/slo/availability", |slo| {
        slo["valid"].as_u64() >= Some(20)
    });
    assert_eq!(
        (&seen["good"], &seen["frozen"]),
        (&seen["valid"], &json!(false)),
        "{seen}"
    );
    let generated = server.get("/api/v1/slo/generation").expect(200);
    assert!(
        generated["valid"].as_u64().is_none_or(|valid| valid == 0),
        "{generated}"
    );
    let metrics = server.get("/metrics").body;
    assert!(metrics.lines().any(|line| line == wanted), "{metrics}");
    for kind in ["timeout", "server", "overload"] {
        let counted = format!("http_errors_total{{type=\"{kind}\"");
        let mut lines = metrics.lines().filter(|line| line.starts_with(&counted));
        assert!(lines.all(|line| line.ends_with(" 0")), "{kind}");
    }
}

fn health_says_so(server: &Server) {
    let services = server.get("/health/services").expect(200);
    assert_eq!(services["status"], "FAILING");
    assert_eq!(services["action_needed"], true);
    let all = services["services"].as_array().expect("services");
    let of = |name: &str| {
        let found = all.iter().find(|service| service["service"] == name);
        found.unwrap_or_else(|| panic!("{name}")).clone()
    };
    let notears = of("notears_discovery");
    assert_eq!(
        (&notears["status"], &notears["fallbacks"]),
        (&json!("FAILING"), &json!(2))
    );
    let calm = of("identification");
    assert_eq!(
        (&calm["status"], &calm["action_needed"]),
        (&json!("HEALTHY"), &json!(false))
    );
    assert_eq!(calm["success_rate_percent"], 100.0);
    let list = server.get("/health/circuit-breakers").expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(14));
    // Two were answered otherwise, and one may have been turned away before it was recorded.
    let rejected = breaker(server)["totals"]["rejected"]
        .as_u64()
        .expect("a number");
    assert!((2..=3).contains(&rejected), "{rejected}");
    let rejected = format!(
        "circuit_breaker_calls_total{{name=\"notears_discovery\",outcome=\"rejected\"}} {rejected}"
    );
    let wanted = [
        rejected.as_str(),
        "circuit_breaker_state{name=\"notears_discovery\"} 2",
        "isl_circuit_breaker_state{name=\"notears_discovery\"} 2",
        "service_health_status{service=\"notears_discovery\"} 0",
        "service_health_status{service=\"identification\"} 1",
        "fallback_triggered_total{service=\"notears_discovery\",reason=\"open\"} 2",
        "isl_fallback_triggered_total{service=\"notears_discovery\",reason=\"open\"} 2",
        "circuit_breaker_transitions_total{name=\"notears_discovery\",from=\"closed\",to=\"open\"} 1",
        "circuit_breaker_calls_total{name=\"notears_discovery\",outcome=\"slow\"} 1",
    ];
    let mut metrics = String::new();
    for _ in 0..200 {
        metrics = server.get("/metrics").body;
        if wanted
            .iter()
            .all(|line| metrics.lines().any(|found| found == *line))
        {
            return;
        }
        pause(Duration::from_millis(50));
    }
    let missing: Vec<_> = wanted
        .iter()
        .filter(|line| !metrics.lines().any(|found| found == **line))
        .collect();
    let breakers: Vec<_> = metrics
        .lines()
        .filter(|line| line.contains("breaker"))
        .collect();
    panic!("{missing:?}\n{}", breakers.join("\n"));
}

fn the_log_tells_it(dir: &Path) {
    let list = of(&["breaker", "list"], dir);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(14));
    let history = of(&["breaker", "history", "notears_discovery"], dir);
    assert_eq!(history["items"][0]["cause"], "slow_rate");
    let same = of(&["breaker", "simulate", "notears_discovery"], dir);
    let shown = of(&["breaker", "show", "notears_discovery"], dir);
    assert_eq!(
        same["own"]["rejected"], shown["totals"]["rejected"],
        "{same}"
    );
    let mut beyond = hindcast(&[
        "breaker",
        "simulate",
        "notears_discovery",
        "--since",
        "999999",
    ]);
    beyond.arg("--data-dir").arg(dir);
    let (_, errors, code) = finish(beyond, &[]);
    assert!(
        code != Some(0) && errors.contains("no event after 999999"),
        "{errors}"
    );
    assert_eq!(
        (&same["agrees"], &same["recorded"]),
        (&json!(true), &json!(1)),
        "{same}"
    );
    let patient = [
        "breaker",
        "simulate",
        "notears_discovery",
        "--set",
        "slow_ms=0",
    ];
    let other = of(&patient, dir);
    let openings = |side: &str| other[side]["openings"].clone();
    assert_eq!(
        (openings("own"), openings("other")),
        (json!(1), json!(0)),
        "{other}"
    );
    let service = of(&["service", "show", "notears_discovery"], dir);
    assert_eq!(service["breaker_state"], "open");
}

/// What-if: without the threshold there is no opening, no fallback and no refusal.
fn other_settings_would_not_have_opened_it(server: &Server) {
    let from = server
        .get("/api/v1/events?type=run_requested&limit=1")
        .expect(200);
    let at = from["items"][0]["seq"].as_u64().expect("a sequence");
    let key = "breakers.notears_discovery.slow_ms";
    let question = json!({ "at": at, "edits": [{ "config": { key: 0 } }] });
    let answer = server.post("/api/v1/whatif", &question).expect(200);
    let vanished = answer["vanished"].to_string();
    assert!(vanished.contains("breaker_changed"), "{answer}");
    assert!(vanished.contains("fallback_taken"), "{answer}");
    let wrong = json!({ "at": at, "edits": [{ "config": { "breakers.nobody.slow_ms": 0 } }] });
    let refused = server.post("/api/v1/whatif", &wrong);
    let problem = refused.expect_problem(422, "edits[0].config[\"breakers.nobody.slow_ms\"]");
    assert!(
        problem["detail"].to_string().contains("no such breaker"),
        "{problem}"
    );
    let simulate = format!("{BREAKERS}/notears_discovery/simulate");
    let found = server
        .post(&simulate, &json!({ "set": { "slow_ms": 0 } }))
        .expect(200);
    assert_eq!(found["other"]["openings"], 0);
    let wrong = server.post(&simulate, &json!({ "set": { "colour": 0 } }));
    wrong.expect_problem(422, "set.colour");
    let wrong = server.post(&simulate, &json!({ "since": "999999" }));
    wrong.expect_problem(422, "since");
    let wrong = server.post(&simulate, &json!({ "since": "yesterday" }));
    wrong.expect_problem(422, "since");
}

#[test]
fn a_wish_ends_by_itself_and_a_service_is_tried_without_traffic() {
    let dir = temporary();
    let settings = [
        TOUCHY[0],
        "breakers.open_ms=100",
        "breakers.open_ms_max=100",
    ];
    let server = Server::start_with(serve(dir.path(), &settings));
    let held = json!({ "action": "force_open", "reason": "a test", "ttl": "250ms" });
    let shown = server.post(NOTEARS, &held).expect(200);
    assert_eq!(
        (&shown["state"], &shown["forced"]["by"]),
        (&json!("forced_open"), &json!("anonymous"))
    );
    assert_eq!(shown["forced"]["reason"], "a test");
    ask(&server, 1, "never").expect_problem(503, "");
    let path = format!("{BREAKERS}/notears_discovery");
    server.wait_until(&path, |breaker| breaker["state"] == "closed");
    // Slow once: open, and then half-open although nobody asks for anything.
    ask(&server, 1, "never").expect(200);
    server.wait_until(&path, |breaker| breaker["state"] == "half_open");
    let history = server.get(&format!("{path}/history")).expect(200);
    let causes: Vec<&str> = history["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| item["cause"].as_str())
        .collect();
    assert_eq!(
        causes,
        ["asked", "ttl_ended", "slow_rate", "open_long_enough"]
    );
    assert_eq!(history["items"][0]["by"], "anonymous");
    for state in ["disable", "metrics_only"] {
        let shown = server
            .post(NOTEARS, &json!({ "action": state }))
            .expect(200);
        assert_eq!(shown["forced"]["until"], Value::Null, "{shown}");
        assert_eq!(ask(&server, 9, "never").expect(200)["quality"], "exact");
    }
    let shown = server
        .post(NOTEARS, &json!({ "action": "enable" }))
        .expect(200);
    assert_eq!(shown["forced"], Value::Null);
}

#[test]
fn wrong_wishes_are_named() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let wish = |body: Value| server.post(NOTEARS, &body);
    wish(json!({ "action": "open" })).expect_problem(422, "action");
    wish(json!({ "action": "reset", "ttl": "5m" })).expect_problem(422, "ttl");
    wish(json!({ "action": "disable", "ttl": "soon" })).expect_problem(422, "ttl");
    wish(json!({ "action": "disable", "ttl": "31d" })).expect_problem(422, "ttl");
    // The audit trail has a line for each.
    for wrong in [
        "x".repeat(257),
        "a\n 90 revoked".to_owned(),
        "\u{1b}[31m".to_owned(),
    ] {
        wish(json!({ "action": "disable", "reason": wrong })).expect_problem(422, "reason");
    }
    wish(json!({})).expect_problem(422, "action");
    let nobody = "/health/circuit-breakers/nobody";
    let problem = server.post(nobody, &json!({ "action": "reset" }));
    let problem = problem.expect_problem(404, "path.name");
    assert!(
        problem["hint"].to_string().contains("path_analysis"),
        "{problem}"
    );
    server
        .get(&format!("{BREAKERS}/nobody"))
        .expect_problem(404, "path.name");
    let reply = ask(&server, 1, "perhaps");
    reply.expect_problem(400, "header.hindcast-fallback");
    for (setting, part) in [
        ("breakers.fallbacks=[\"notears=fci\"]", "breakers.fallbacks"),
        (
            "breakers.own=[{ name = \"nobody\" }]",
            "breakers.own[0].name",
        ),
        ("breakers.open_ms=0", "breakers.open_ms"),
    ] {
        let (_, errors, code) = finish(hindcast(&["serve", "--set", setting]), &[]);
        assert_ne!(code, Some(0), "{setting}");
        assert!(errors.contains(part), "{setting}: {errors}");
    }
}

#[test]
fn the_commands_of_the_document_work() {
    let dir = temporary();
    let server = Server::start(dir.path());
    server.post(VALIDATE, &validation()).expect(200);
    server.stop();
    let document = std::fs::read_to_string(format!("{ROOT}/docs/breakers.md")).expect("a page");
    let mut run = 0;
    for line in document
        .lines()
        .filter_map(|line| line.strip_prefix("hindcast "))
    {
        let words = crate::runbook::words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = hindcast(&words);
        command.arg("--data-dir").arg(dir.path());
        let (out, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(0), "{line}: {errors}");
        assert!(!out.is_empty(), "{line}");
        run += 1;
    }
    assert_eq!(run, 11);
}

/// Where the first event of a type that has this in its text stands.
fn seq_of(server: &Server, kind: &str, text: &str) -> u64 {
    let page = server.get(&format!("/api/v1/events?type={kind}&limit=100"));
    let page = page.expect(200);
    let items = page["items"].as_array().expect("events");
    let found = items.iter().filter(|item| item.to_string().contains(text));
    let seqs = found.filter_map(|item| item["seq"].as_u64());
    seqs.min().expect("there is one")
}

/// The changes of breakers in one list of an answer.
fn transitions(answer: &Value, list: &str) -> Vec<Value> {
    let all = answer[list]["first"].as_array().expect("events").iter();
    let side = |event: &Value| match event["fork"].is_null() {
        true => event["baseline"]["type"].clone(),
        false => event["fork"]["type"].clone(),
    };
    all.filter(|event| side(event) == "breaker_changed")
        .cloned()
        .collect()
}

/// The run of an answer that was refused without the edit.
fn refused_run(answer: &Value) -> Value {
    let runs = answer["runs"]["first"].as_array().expect("runs");
    let mut found = runs
        .iter()
        .filter(|run| run["baseline"]["status"] == "refused");
    found.next().expect("the refused run").clone()
}

/// Holds the breaker of BOSS open; its status and whether that needs a hand.
fn hold_open(server: &Server, ttl: Option<&str>) -> (Value, Value) {
    let wish = json!({ "action": "force_open", "reason": "a test", "ttl": ttl });
    server
        .post("/health/circuit-breakers/discovery_boss", &wish)
        .expect(200);
    let services = server.get("/health/services").expect(200);
    let mut all = services["services"].as_array().expect("services").iter();
    let found = all.find(|service| service["service"] == "discovery_boss");
    let found = found.expect("a service");
    let reason = found["reason"].as_str().expect("text");
    let (by, act) = (
        "by the wish of anonymous (a test)",
        "`hindcast breaker enable` lets calls pass again",
    );
    assert!(reason.contains(by) && reason.ends_with(act), "{reason}");
    let (out, errors, code) = finish(hindcast(&["status", "--server", &server.url]), &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("discovery_boss FAILING: "), "{out}");
    (found["status"].clone(), found["action_needed"].clone())
}

/// Two slow calls open the breaker, and its only substitute is held open: the third run is refused.
/// Without one of the calls it is not.
#[test]
fn what_if_a_call_had_not_been_made_tells_the_opening_and_the_run_that_it_refused() {
    let dir = temporary();
    let settings = [
        "breakers.own=[{ name = \"notears_discovery\", slow_ms = 1, slow_percent = 1, \
         minimum_calls = 2, half_open_permits = 1 }]",
        TOUCHY[1],
        TOUCHY[2],
        "breakers.fallbacks=[\"notears=boss\"]",
    ];
    let server = Server::start_with(serve(dir.path(), &settings));
    // Who says until when has acted.
    assert_eq!(
        hold_open(&server, Some("1h")),
        (json!("FAILING"), json!(false))
    );
    assert_eq!(hold_open(&server, None), (json!("FAILING"), json!(true)));
    let asked = |number| ask(&server, number, "never").expect(200)["run_id"].clone();
    let calls = [asked(1), asked(2)];
    assert_eq!(breaker(&server)["state"], "open");
    ask(&server, 3, "allow").expect_problem(503, "");
    let requests = calls.map(|run| seq_of(&server, "run_requested", run.as_str().expect("an id")));
    let opened = seq_of(&server, "breaker_changed", "slow_rate");
    let refused = seq_of(&server, "run_refused", "breaker");
    let question = |edits: Value, to: Option<u64>| {
        let body = json!({ "at": requests[0], "to": to, "edits": edits });
        server.post("/api/v1/whatif", &body).expect(200)
    };
    for drop in requests {
        let edits = json!([{ "drop": drop }]);
        let answer = question(edits.clone(), Some(refused));
        let vanished = transitions(&answer, "vanished");
        assert_eq!(vanished.len(), 1, "{answer}");
        assert_eq!(vanished[0]["position"], opened);
        assert_eq!(vanished[0]["baseline"]["data"]["name"], "notears_discovery");
        assert_eq!(answer["vanished"]["types"]["breaker_changed"], 1);
        let changed = answer["changed"]["first"].as_array().expect("events");
        let admitted = changed.iter().find(|event| event["position"] == refused);
        let admitted = admitted.expect("the decision");
        assert_eq!(admitted["baseline"]["type"], "run_refused");
        assert_eq!(admitted["fork"]["type"], "run_admitted");
        assert_eq!(refused_run(&answer)["fork"]["status"], "open");
        // Once it has ended it is the second call, and as slow as the others.
        let mut tries = 0..400;
        let answer = loop {
            let answer = question(edits.clone(), None);
            if refused_run(&answer)["fork"]["status"] == "completed" {
                break answer;
            }
            assert!(tries.next().is_some(), "it never ends: {answer}");
            pause(Duration::from_millis(50));
        };
        assert_eq!(refused_run(&answer)["fork"]["basis"], "recomputed");
        assert_eq!(transitions(&answer, "appeared").len(), 1, "{answer}");
    }
    // Without both there is no opening at all.
    let both = json!([{ "drop": requests[0] }, { "drop": requests[1] }]);
    let answer = question(both, Some(refused));
    assert_eq!(transitions(&answer, "vanished").len(), 1);
    assert_eq!(transitions(&answer, "appeared"), Vec::<Value>::new());
    let facts = answer["state"].to_string();
    assert!(facts.contains("notears_discovery"), "{facts}");
    assert_eq!(answer["baseline_drift"], Value::Null);
}
