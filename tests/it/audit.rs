//! Every call that changes something leaves an event with the name of who made it.

use serde_json::{Value, json};

use crate::support::{
    DISCOVER, Reply, Server, VALIDATE, finish, hindcast, sachs, serve, slow_discovery, temporary,
    validation,
};
use ureq::http::Method;

/// A right request to a route that changes something: its path and body, once `ids` are known.
pub(crate) fn request(route: &str, ids: &Ids) -> (String, Value) {
    let body = match route {
        DISCOVER => json!({ "dataset": ids.dataset, "algorithm": "correlation", "seed": 2 }),
        VALIDATE | "/api/v1/causal/paths" => validation(),
        "/api/v1/datasets" => json!({ "name": "t", "csv": "a,b\n1,2\n3,4\n5,7\n" }),
        "/api/v1/experiments" => json!({ "name": "e", "operations": [
            { "operation": "causal.discover", "seeds": [9], "request": { "dataset": ids.dataset } } ] }),
        "/api/v1/whatif" => json!({ "at": ids.request, "edits": [{ "drop": ids.request }] }),
        "/api/v1/restore" => json!({ "dry_run": true }),
        "/api/v1/redactions" => json!({ "subject": "patient-7", "reason": "asked" }),
        "/health/circuit-breakers/{name}" => json!({ "action": "reset", "reason": "a test" }),
        "/api/v1/keys" => json!({ "name": "new", "role": "viewer" }),
        "/cache/{name}/invalidate" => json!({ "select": { "all": true } }),
        "/cache/{name}" => json!({ "bytes_max": 1_000_000 }),
        "/api/v1/capacity/measurements" => measurement(),
        "/cache/cacheable-report" => {
            json!({ "operation": "causal.validate", "request": validation() })
        }
        "/api/v1/backups"
        | "/api/v1/drills"
        | "/api/v1/backups/{id}/verify"
        | "/api/v1/runs/{id}/cancel"
        | "/api/v1/experiments/{id}/cancel"
        | "/api/v1/keys/{name}/revoke"
        | "/debug/profile"
        | "/cache/{name}/warm"
        | "/api/v1/breakers/{name}/simulate"
        | "/-/logs/rotate"
        | "/-/snapshot"
        | "/-/reload"
        | "/-/quit" => json!({}),
        other => panic!("{other} changes something: say here how, and see that an event tells it"),
    };
    let id = match route {
        "/api/v1/backups/{id}/verify" => &ids.backup,
        "/api/v1/runs/{id}/cancel" => &ids.run,
        _ => &ids.experiment,
    };
    let name = match route {
        "/health/circuit-breakers/{name}" | "/api/v1/breakers/{name}/simulate" => "path_analysis",
        route if route.starts_with("/cache/") => "results",
        _ => "old",
    };
    let query = if route == "/debug/profile" {
        "?seconds=1"
    } else {
        ""
    };
    (
        route.replace("{id}", id).replace("{name}", name) + query,
        body,
    )
}

/// What a load run measured.
pub(crate) fn measurement() -> Value {
    json!({
        "scenario": "sustained", "mix": "cached", "users": 50, "seconds": 10, "requests": 1_000,
        "failures": 0, "turned_away": 0, "rps": 100, "p50_ms": 1, "p95_ms": 2, "p99_ms": 3,
    })
}

/// A POST because of its body; nothing is changed.
const READS: [&str; 2] = [
    "/api/v1/breakers/{name}/simulate",
    "/cache/cacheable-report",
];

pub(crate) struct Ids {
    dataset: String,
    run: String,
    experiment: String,
    backup: String,
    request: u64,
}

/// A server that asks for keys and writes its log lines into a file.
pub(crate) fn guarded(dir: &std::path::Path) -> Server {
    let log_file = format!("telemetry.log_file={}/logs/hindcast.log", dir.display());
    let settings = ["access.required_on_loopback=true", &log_file];
    Server::start_with(serve(dir, &settings))
}

/// A server with an admin, and what its routes can be asked about.
pub(crate) fn prepared(dir: &std::path::Path) -> (Server, String, Ids) {
    let mut command = hindcast(&["keys", "create", "root", "--role", "admin", "--data-dir"]);
    command.arg(dir);
    let (key, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let authorization = format!("Bearer {}", key.trim());
    let server = guarded(dir);
    let headers = [("authorization", authorization.as_str())];
    let post = |path: &str, body: &Value| server.post_with(path, body, &headers);
    let csv = [headers[0], ("content-type", "text/csv")];
    let stored = server.send(Method::POST, "/api/v1/datasets", &csv, &sachs());
    let stored = stored.expect(201);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    post("/api/v1/keys", &json!({ "name": "old", "role": "viewer" })).expect(201);
    let backup = post("/api/v1/backups", &json!({})).expect(201);
    let subject = [headers[0], ("hindcast-subject", "patient-7")];
    server
        .post_with(VALIDATE, &validation(), &subject)
        .expect(200);
    let mut series = slow_discovery();
    let seed = series
        .as_object_mut()
        .and_then(|series| series.remove("seed"));
    assert!(seed.is_some());
    let series = json!({ "name": "e", "operations": [
        { "operation": "causal.discover", "seeds": [1], "request": series } ] });
    let experiment = post("/api/v1/experiments", &series).expect(202);
    let background = [headers[0], ("prefer", "respond-async")];
    let run = server.post_with(DISCOVER, &slow_discovery(), &background);
    let run = text(&run.expect(202)["run_id"]);
    let stream = format!("/api/v1/events?stream=run/{run}");
    let events = server.send(Method::GET, &stream, &headers, &[]).expect(200);
    let ids = Ids {
        dataset: text(&stored["digest"]),
        experiment: text(&experiment["experiment_id"]),
        backup: text(&backup["id"]),
        request: events["items"][0]["seq"].as_u64().expect("a sequence"),
        run,
    };
    (server, authorization, ids)
}

#[test]
fn every_call_that_changes_something_names_who_made_it() {
    let dir = temporary();
    let (server, authorization, ids) = prepared(dir.path());
    let document = server.get("/openapi.json").expect(200);
    let mut routes: Vec<(&String, Method)> = Vec::new();
    for (route, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            match method.as_str() {
                "get" => {}
                "post" if READS.contains(&route.as_str()) => {}
                "post" => routes.push((route, Method::POST)),
                "patch" => routes.push((route, Method::PATCH)),
                // A shipper changes a vault twice a second: one event an hour tells it, which the
                // tests of targets see.
                "put" | "delete" if route.starts_with("/api/v1/vaults/") => {}
                other => panic!("{other} {route}: a method that this test does not know"),
            }
        }
    }
    // The server is gone after the last one, and a new backup takes the place of the old.
    // What is cancelled has to be open.
    routes.sort_by_key(|(route, _)| {
        let cancels = route.ends_with("/cancel");
        (*route == "/-/quit", !cancels, !route.ends_with("/verify"))
    });
    let mut traces = Vec::new();
    for (n, (route, method)) in routes.iter().enumerate() {
        let (path, body) = request(route, &ids);
        let trace = format!("{:032x}", n + 1);
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        let headers = [
            ("authorization", authorization.as_str()),
            ("traceparent", &parent),
            ("content-type", "application/json"),
        ];
        let body = body.to_string();
        let reply: Reply = server.send(method.clone(), &path, &headers, body.as_bytes());
        assert!((200..300).contains(&reply.status), "{path}: {}", reply.body);
        traces.push(trace);
    }
    assert!(routes.len() >= 16, "{routes:?}");
    assert_eq!(server.ended(), Some(0));
    let mut command = hindcast(&["audit", "search", "--principal", "root", "--json"]);
    command.arg("--data-dir").arg(dir.path());
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    let told: Vec<String> = found["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            item["correlation"]
                .as_str()
                .expect("a trace")
                .replace('-', "")
        })
        .collect();
    for ((route, _), trace) in routes.iter().zip(&traces) {
        assert!(
            told.contains(trace),
            "{route} leaves no event with its principal: {out}"
        );
    }
}
