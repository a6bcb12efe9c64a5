use serde_json::json;

use crate::support::{DISCOVER, Reply, Server, VALIDATE, slow_discovery, temporary, validation};

#[test]
fn a_run_is_shown_with_request_result_timings_and_causation() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let reply = server.post(VALIDATE, &validation());
    let answer = reply.expect(200);
    let path = format!("/api/v1/runs/{}", answer["run_id"].as_str().expect("an id"));
    assert_eq!(reply.header("content-location"), path);
    let run = server.get(&path).expect(200);
    assert_eq!(run["result"], answer["result"]);
    assert_eq!(run["request"]["treatment"], json!(["x"]));
    assert_eq!(run["status"], "completed");
    assert_eq!(run["causation"].as_array().map(Vec::len), Some(4));
    for durations in [&run["durations"], &answer["durations"]] {
        let ms = |name: &str| durations[name].as_f64().expect("a number");
        assert!(ms("total_ms") >= ms("computed_ms"), "{durations}");
    }
    let text = |body: &str| body[body.find("\"result\":{").expect("a result")..].to_owned();
    let result = text(&reply.body);
    assert!(
        server
            .get(&path)
            .body
            .contains(result.trim_end_matches('}')),
        "the same bytes"
    );
    server
        .get("/api/v1/runs/01890a5d-ac96-774b-bcce-b302099a8057")
        .expect_problem(404, "path.id");
    server.get("/api/v1/runs/7").expect_problem(404, "path.id");
}

#[test]
fn runs_are_listed_newest_first_by_pages_and_filters() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let mut ids: Vec<String> = (0..5)
        .map(|_| {
            server.post(VALIDATE, &validation()).expect(200)["run_id"]
                .as_str()
                .expect("id")
                .to_owned()
        })
        .collect();
    ids.reverse();
    let mut found: Vec<String> = Vec::new();
    let mut path = "/api/v1/runs?limit=2&status=completed&operation=causal.validate".to_owned();
    loop {
        let page = server.get(&path).expect(200);
        found.extend(
            page["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|run| run["run_id"].as_str().expect("id").to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!(
            "/api/v1/runs?limit=2&status=completed&operation=causal.validate&cursor={next}"
        );
    }
    assert_eq!(found, ids);
    let none = server
        .get("/api/v1/runs?operation=causal.discover")
        .expect(200);
    assert_eq!(none["items"], json!([]));
    server
        .get("/api/v1/runs?status=done")
        .expect_problem(400, "query.status");
    let operation = server
        .get("/api/v1/runs?operation=discover")
        .expect_problem(400, "query.operation");
    let detail = operation["detail"].as_str().expect("text");
    assert!(detail.contains("causal.discover"), "{detail}");
    server
        .get("/api/v1/runs?limit=0")
        .expect_problem(400, "query.limit");
    let misspelt = server
        .get("/api/v1/runs?limt=3")
        .expect_problem(400, "query.limt");
    assert_eq!(misspelt["hint"], "did you mean `limit`?");
}

#[test]
fn who_does_not_wait_gets_202_then_progress_and_the_end() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let small = json!({ "data": [[1.0, 2.0], [2.0, 1.5], [3.0, 5.0], [4.0, 4.0]], "seed": 3 });
    let reply = server.post_with(DISCOVER, &small, &[("prefer", "respond-async")]);
    let accepted = reply.expect(202);
    assert_eq!(reply.header("preference-applied"), "respond-async");
    assert_eq!(
        reply.header("location"),
        accepted["status_url"].as_str().expect("a path")
    );
    let mut last = json!(null);
    server.stream(
        accepted["events_url"].as_str().expect("a path"),
        &[],
        |_, event, data| {
            last = data.clone();
            event == "end"
        },
    );
    assert_eq!(last["status"], "completed");
    assert_eq!(last["run_id"], accepted["run_id"]);
    let waited = server
        .post_with(DISCOVER, &small, &[("prefer", "wait=20")])
        .expect(200);
    assert_eq!(waited["result"], last["result"]);
}

#[test]
fn a_slow_run_reports_progress_and_is_cancelled() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let accepted = server
        .post_with(DISCOVER, &slow_discovery(), &[("prefer", "respond-async")])
        .expect(202);
    let run = accepted["run_id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/runs/{run}");
    server.stream(&format!("{path}/events"), &[], |_, event, data| {
        assert!(
            event == "progress",
            "it takes longer than that: {event} {data}"
        );
        let started = data["started_at"].as_str().expect("a time");
        assert!(started.ends_with('Z'), "{started}");
        data["stage"].is_string()
    });
    assert_eq!(server.get(&path).expect(200)["status"], "running");
    let late = server.post_with(DISCOVER, &json!({ "data": [[1, 2], [2, 1], [3, 3]] }), &[]);
    assert_eq!(
        late.status, 200,
        "others are computed meanwhile: {}",
        late.body
    );
    let cancelled = server
        .post(&format!("{path}/cancel"), &json!({ "reason": "enough" }))
        .expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(server.get(&path).expect(200)["status"], "cancelled");
    let again = server.post(&format!("{path}/cancel"), &json!({}));
    assert_eq!(again.expect(200), cancelled);
    let ended = late.json()["run_id"].as_str().expect("an id").to_owned();
    let refused = server.post(&format!("/api/v1/runs/{ended}/cancel"), &json!({}));
    assert!(refused.expect_problem(409, "path.id")["hint"].is_string());
    server.wait_until("/health", |health| {
        health["components"]["runs"]["in_flight"] == 0
    });
}

#[test]
fn the_same_key_and_body_is_the_same_request() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let key = [("idempotency-key", "k-1")];
    let first = server.post_with(VALIDATE, &validation(), &key);
    let second = server.post_with(VALIDATE, &validation(), &key);
    assert_eq!(first.header("idempotency-replayed"), "");
    assert_eq!(second.header("idempotency-replayed"), "true");
    let (first, second) = (first.expect(200), second.expect(200));
    assert_eq!(first["run_id"], second["run_id"]);
    assert_eq!(first["result"], second["result"]);
    let mut other = validation();
    other["given"] = json!(["z"]);
    let refused = server.post_with(VALIDATE, &other, &key);
    refused.expect_problem(422, "header.idempotency-key");
    let elsewhere = server.post_with(DISCOVER, &json!({ "data": [[1, 2], [2, 1], [3, 3]] }), &key);
    elsewhere.expect_problem(422, "header.idempotency-key");
    // A refused request does not bind its key.
    let key = [("idempotency-key", "k-2")];
    let refused = server.post_with(VALIDATE, &json!({}), &key);
    refused.expect_problem(422, "graph");
    server.post_with(VALIDATE, &validation(), &key).expect(200);
    let long = "k".repeat(256);
    let refused = server.post_with(VALIDATE, &validation(), &[("idempotency-key", &long)]);
    assert_eq!(
        refused.expect_problem(400, "header.idempotency-key")["limit"],
        255
    );
}

#[test]
fn replays_of_uploads_and_failed_runs_are_marked() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let upload = |name: &str, key: &str| {
        let body = json!({ "name": name, "csv": "a,b\nx,1\ny,2\nz,3\n" });
        server.post_with("/api/v1/datasets", &body, &[("idempotency-key", key)])
    };
    let told = |reply: &Reply| (reply.status, reply.header("idempotency-replayed") == "true");
    let first = upload("n", "u-1");
    let again = upload("n", "u-1");
    assert_eq!((told(&first), told(&again)), ((201, false), (201, true)));
    assert_eq!(first.json(), again.json());
    let (second, again) = (upload("m", "u-2"), upload("m", "u-2"));
    assert_eq!((told(&second), told(&again)), ((200, false), (200, true)));
    assert_eq!(second.json()["name"], "n", "the first name stays");

    let failing = json!({ "dataset": first.json()["digest"], "seed": 1 });
    let run = || server.post_with(DISCOVER, &failing, &[("idempotency-key", "f-1")]);
    let (first, again) = (run(), run());
    assert_eq!((told(&first), told(&again)), ((422, false), (422, true)));
    assert_eq!(first.json()["run_id"], again.json()["run_id"]);
    assert_eq!(first.json()["field"], again.json()["field"]);
}

#[test]
fn a_seed_is_drawn_when_none_is_named_and_stays_exact() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let request = json!({ "data": [[1, 2], [2, 1], [3, 3], [4, 9]] });
    let seeds: Vec<u64> = (0..4)
        .map(|_| server.post(DISCOVER, &request).expect(200))
        .map(|answer| {
            assert_eq!(answer["seed"], answer["result"]["seed"]);
            answer["seed"].as_u64().expect("a number")
        })
        .collect();
    assert!(seeds.iter().all(|seed| *seed < 1 << 53));
    assert!(seeds.windows(2).any(|pair| pair[0] != pair[1]), "{seeds:?}");
}
