//! The caches of a real server: hits after a restart, and what can be asked of them.

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{
    DISCOVER, Reply, Server, VALIDATE, finish, hindcast, serve, temporary, validation,
};

fn discovery(number: u32) -> Value {
    let rows: Vec<[f64; 2]> = (0..30)
        .map(|i| [f64::from(i), f64::from(i * (i + number) % 7)])
        .collect();
    json!({ "data": rows, "seed": 3 })
}

fn patch(server: &Server, path: &str, body: &Value) -> Reply {
    let headers = [("content-type", "application/json")];
    server.send(Method::PATCH, path, &headers, body.to_string().as_bytes())
}

fn disk_is_ready(server: &Server, entries: u64) -> Value {
    server.wait_until("/cache/stats", |found| {
        let disk = &found["results"]["disk"];
        disk["status"] == "ready" && disk["entries"] == entries
    })
}

/// A verb of the command line against a server.
fn verb(server: &Server, words: &[&str]) -> Value {
    let (out, errors, code) = finish(
        {
            let mut command = hindcast(&["cache"]);
            command
                .args(words)
                .args(["--json", "--server", &server.url]);
            command
        },
        &[],
    );
    assert_eq!(code, Some(0), "{words:?}: {errors}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}"))
}

#[test]
fn a_server_that_was_restarted_answers_from_its_log() {
    let dir = temporary();
    let server = Server::start(dir.path());
    disk_is_ready(&server, 0);
    let first = server.post(DISCOVER, &discovery(1)).expect(200);
    assert_eq!(first["cache"]["status"], "miss");
    disk_is_ready(&server, 1);
    assert_eq!(server.stop(), Some(0));

    let server = Server::start(dir.path());
    disk_is_ready(&server, 1);
    let again = server.post(DISCOVER, &discovery(1)).expect(200);
    assert_eq!(again["cache"]["status"], "hit");
    assert_eq!(again["cache"]["original"], first["run_id"]);
    assert_eq!(again["result_hash"], first["result_hash"]);
    let metrics = server.get("/metrics").body;
    for line in [
        "cache_requests_total{cache=\"results_disk\",result=\"hit\"} 1",
        "cache_requests_total{cache=\"results\",result=\"hit\"} 1",
        "cache_tier_ready{cache=\"results_disk\"} 1",
        "cache_entries{cache=\"results_disk\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in\n{metrics}"
        );
    }
    let stats = verb(&server, &["stats"]);
    assert_eq!(
        stats["results"]["operations"]["causal.discover"]["hits_on_disk"],
        1
    );

    // What the log cannot bear out is computed: the results on disk are gone.
    assert_eq!(server.stop(), Some(0));
    std::fs::remove_dir_all(dir.path().join("results")).expect("it is there");
    let server = Server::start(dir.path());
    disk_is_ready(&server, 0);
    let computed = server.post(DISCOVER, &discovery(1)).expect(200);
    assert_eq!(computed["cache"]["status"], "miss");
    assert_eq!(computed["result_hash"], first["result_hash"]);
}

#[test]
fn caches_are_emptied_warmed_and_resized_and_the_log_tells_by_whom() {
    let dir = temporary();
    let server = Server::start(dir.path());
    disk_is_ready(&server, 0);
    for number in 1..=3 {
        server.post(DISCOVER, &discovery(number)).expect(200);
    }
    server.post(VALIDATE, &validation()).expect(200);
    disk_is_ready(&server, 3);
    let begun = verb(
        &server,
        &[
            "invalidate",
            "--operation",
            "causal.discover",
            "--per-second",
            "1000",
            "--reason",
            "a drill",
        ],
    );
    assert_eq!((&begun["id"], &begun["selected"]), (&json!(1), &json!(3)));
    let gone = disk_is_ready(&server, 0);
    assert_eq!(gone["results"]["entries"], 1, "the validation stays");
    verb(&server, &["warm", "--runs-max", "10"]);
    let warm = server.wait_until("/cache/stats", |found| {
        found["results"]["warming"]["ended"] == true
    });
    // What somebody wanted gone does not come back by itself.
    assert_eq!(warm["results"]["entries"], 1);
    assert_eq!(warm["results"]["warming"]["warmed"], 0);
    for status in ["miss", "hit"] {
        let answer = server.post(DISCOVER, &discovery(2)).expect(200);
        assert_eq!(answer["cache"]["status"], status);
    }

    let resized = verb(
        &server,
        &["resize", "--bytes-max", "0", "--disk-age-max-ms", "1000"],
    );
    assert_eq!(resized["results"]["entries"], 0);
    assert_eq!(resized["results"]["resized"], true);
    // A reload leaves it as it is.
    server.post("/-/reload", &json!({})).expect(200);
    let stats = server.get("/cache/stats").expect(200);
    assert_eq!(stats["results"]["bytes_max"], 0);
    let sized = patch(
        &server,
        "/cache/datasets",
        &json!({ "bytes_max": 1_000_000 }),
    );
    assert_eq!(sized.expect(200)["datasets"]["bytes_max"], 1_000_000);
    let all = json!({ "select": { "all": true } });
    let forgotten = server.post("/cache/datasets/invalidate", &all).expect(200);
    assert_eq!(forgotten["per_second"], Value::Null);

    the_log_tells(&server);
    assert_eq!(server.stop(), Some(0));

    // A restart takes what the configuration says.
    let server = Server::start(dir.path());
    let stats = server.get("/cache/stats").expect(200);
    assert_eq!(stats["results"]["resized"], false);
    assert!(stats["results"]["bytes_max"].as_u64() > Some(0));
}

/// What was asked of the caches stands in the log, with its reason.
fn the_log_tells(server: &Server) {
    let told = server
        .get("/api/v1/events?type=cache_commanded")
        .expect(200);
    let told = told["items"].as_array().expect("items");
    let verbs: Vec<&str> = told
        .iter()
        .filter_map(|event| event["data"]["verb"].as_str())
        .collect();
    for verb in ["invalidate", "warm", "resize"] {
        assert!(verbs.contains(&verb), "{verbs:?}");
    }
    let first = told
        .iter()
        .find(|event| event["data"]["reason"] == "a drill");
    let first = first.expect("the invalidation");
    assert_eq!(first["stream"], "system/cache");
    let detail: Value =
        serde_json::from_str(first["data"]["detail"].as_str().expect("text")).expect("JSON");
    assert_eq!(detail["select"]["operation"], "causal.discover");
    let (out, errors, code) = finish(
        hindcast(&["audit", "search", "--json", "--server", &server.url]),
        &[],
    );
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        out.contains("cache_commanded") && out.contains("a drill"),
        "{out}"
    );
}

#[test]
fn names_that_nothing_has_are_refused() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let results = "/cache/results/invalidate";
    // A name that nothing has would select nothing, whoever mistyped it.
    for (field, given, known) in [
        ("operation", "discover", "causal.discover"),
        ("algorithm", "bos", "boss"),
    ] {
        let wrong = json!({ "select": { field: given } });
        let reply = server.post(results, &wrong);
        let problem = reply.expect_problem(422, &format!("select.{field}"));
        assert!(
            problem["hint"].as_str().expect("a hint").contains(known),
            "{problem}"
        );
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let refused = |path: &str, body: Value, status: u16, field: &str| {
        server.post(path, &body).expect_problem(status, field);
    };
    let results = "/cache/results/invalidate";
    refused(results, json!({ "select": {} }), 422, "select.all");
    refused(
        results,
        json!({ "select": { "all": true, "prefix": "a" } }),
        422,
        "select.all",
    );
    refused(
        results,
        json!({ "select": { "prefix": "xyz" } }),
        422,
        "select.prefix",
    );
    refused(
        results,
        json!({ "select": { "dataset": "ab" } }),
        422,
        "select.dataset",
    );
    let tagged = json!({ "select": { "tag": "a" } });
    refused(results, tagged, 422, "select.tag");
    let all = json!({ "all": true });
    refused(
        results,
        json!({ "select": all, "per_second": 0 }),
        422,
        "per_second",
    );
    refused(
        results,
        json!({ "select": all, "per_second": 1_000_000 }),
        422,
        "per_second",
    );
    refused(
        results,
        json!({ "select": all, "reason": "x".repeat(257) }),
        422,
        "reason",
    );
    let datasets = "/cache/datasets/invalidate";
    refused(
        datasets,
        json!({ "select": { "algorithm": "boss" } }),
        422,
        "select.algorithm",
    );
    refused(
        "/cache/pages/invalidate",
        json!({ "select": all }),
        404,
        "path.name",
    );
    refused("/cache/datasets/warm", json!({}), 404, "path.name");
    refused(
        "/cache/results/warm",
        json!({ "runs_max": 0 }),
        422,
        "runs_max",
    );
    nothing_is_told(&server);
}

fn nothing_is_told(server: &Server) {
    let told = server
        .get("/api/v1/events?type=cache_commanded")
        .expect(200);
    assert_eq!(told["items"], json!([]));
}

#[test]
fn questions_and_sizes_that_mean_nothing_are_refused() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let report = "/cache/cacheable-report";
    let body = json!({ "operation": "causal.guess", "request": {} });
    server.post(report, &body).expect_problem(422, "operation");
    let body = json!({ "operation": "causal.discover", "request": { "data": [[1, "a"]] } });
    server
        .post(report, &body)
        .expect_problem(422, "request.data[0][1]");
    // What would be refused is refused here as well, with the same problem.
    let graph = "dag { a -> b }";
    let two = json!([[1, 2], [2, 1], [3, 5], [4, 4]]);
    for (operation, request) in [
        (
            "validate",
            json!({ "graph": graph, "treatment": "a", "outcome": "q" }),
        ),
        (
            "paths",
            json!({ "graph": graph, "treatment": "q", "outcome": "b" }),
        ),
        (
            "discover",
            json!({ "data": two, "required": [["x0", "q"]] }),
        ),
    ] {
        let path = format!("/api/v1/causal/{operation}");
        let refused = server.post(&path, &request).expect(422);
        let field = refused["field"].as_str().expect("a field");
        let operation = format!("causal.{operation}");
        let body = json!({ "operation": operation, "request": request });
        let told = server.post(report, &body);
        let told = told.expect_problem(422, &format!("request.{field}"));
        assert_eq!(told["detail"], refused["detail"]);
    }
    patch(&server, "/cache/results", &json!({})).expect_problem(422, "bytes_max");
    let many = json!({ "entries_max": 1_000_000_000_000_u64 });
    patch(&server, "/cache/results", &many).expect_problem(422, "entries_max");
    let strange = json!({ "idle_max_ms": 1 });
    patch(&server, "/cache/datasets", &strange).expect_problem(422, "idle_max_ms");
    server
        .get(&format!("{report}?events=0"))
        .expect_problem(400, "query.events");
    assert_eq!(server.get("/cache/results").status, 405);
    nothing_is_told(&server);
}

#[test]
fn the_report_tells_why_with_and_without_a_server() {
    let dir = temporary();
    let file = dir.path().join("request.json");
    std::fs::write(&file, discovery(1).to_string()).expect("written");
    let file = file.to_str().expect("UTF-8");
    let question = [
        "cacheable-report",
        "--operation",
        "discover",
        "--request",
        file,
    ];
    let alone = {
        let (out, errors, code) = finish(
            {
                let mut command = hindcast(&["cache"]);
                command.args(question).arg("--json");
                command
            },
            &[],
        );
        assert_eq!(code, Some(0), "{errors}");
        serde_json::from_str::<Value>(&out).expect("JSON")
    };
    assert_eq!(
        (&alone["cacheable"], &alone["in_memory"]),
        (&json!(true), &Value::Null)
    );
    let server = Server::start_with(serve(&dir.path().join("data"), &[]));
    disk_is_ready(&server, 0);
    let before = verb(&server, &question);
    assert_eq!(
        (&before["key"], &before["in_memory"]),
        (&alone["key"], &json!(false))
    );
    server.post(DISCOVER, &discovery(1)).expect(200);
    server.post(DISCOVER, &discovery(1)).expect(200);
    disk_is_ready(&server, 1);
    let after = verb(&server, &question);
    assert_eq!(
        (&after["in_memory"], &after["on_disk"]),
        (&json!(true), &json!(true))
    );
    let report = verb(&server, &["cacheable-report", "--events", "1000"]);
    assert_eq!(report["requests"], 2);
    let verdicts: Vec<&str> = report["verdicts"]
        .as_array()
        .expect("verdicts")
        .iter()
        .filter_map(|count| count["verdict"].as_str())
        .collect();
    assert!(verdicts.contains(&"hit"), "{report}");
    let (out, errors, code) = finish(
        hindcast(&["cache", "cacheable-report", "--server", &server.url]),
        &[],
    );
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("answered from the cache"), "{out}");
}
