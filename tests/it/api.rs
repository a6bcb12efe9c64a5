use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{DISCOVER, Server, VALIDATE, finish, hindcast, sachs, temporary, validation};

fn upload(server: &Server) -> Value {
    let headers = [("content-type", "text/csv")];
    server
        .send(
            Method::POST,
            "/api/v1/datasets?name=sachs",
            &headers,
            &sachs(),
        )
        .expect(201)
}

#[test]
fn an_upload_is_discovered_and_the_graph_answers_a_question() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let stored = upload(&server);
    assert_eq!(
        (&stored["rows"], &stored["columns"]),
        (&json!(853), &json!(11))
    );
    let digest = stored["digest"].as_str().expect("a digest");

    let request = json!({ "dataset": digest, "algorithm": "boss", "seed": 7 });
    let answer = server.post(DISCOVER, &request).expect(200);
    assert_eq!(answer["status"], "completed");
    assert_eq!(answer["seed"], 7);
    let graph = &answer["result"]["graph"];
    assert_eq!(graph["nodes"].as_array().map(Vec::len), Some(11));
    let edges = graph["edges"].as_array().expect("edges");
    assert!(
        edges
            .iter()
            .any(|edge| edge["from"] == "raf" && edge["to"] == "mek"),
        "{edges:?}"
    );

    let found = edges
        .iter()
        .filter(|edge| edge["type"] == "directed")
        .collect::<Vec<_>>();
    let question = json!({
        "graph": { "nodes": graph["nodes"], "edges": found },
        "treatment": found[0]["from"], "outcome": found[0]["to"],
    });
    assert_eq!(
        server.post(VALIDATE, &question).expect(200)["result"]["identifiable"],
        true
    );
}

#[test]
fn datasets_come_as_csv_json_or_form_and_are_known_by_their_bytes() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let csv = "a,b\n1,2\n2,1\n3,5\n";
    let path = "/api/v1/datasets";
    let first = server
        .post(path, &json!({ "name": "n", "csv": csv }))
        .expect(201);
    assert_eq!(first["profile"]["columns"][0]["name"], "a");
    let again = server.send(
        Method::POST,
        "/api/v1/datasets?name=n",
        &[("content-type", "text/csv")],
        csv.as_bytes(),
    );
    assert_eq!(again.expect(200)["digest"], first["digest"]);
    let form = format!(
        "--B\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nn\r\n--B\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"t.csv\"\r\n\r\n{csv}\r\n--B--\r\n"
    );
    let headers = [("content-type", "multipart/form-data; boundary=B")];
    let formed = server.send(Method::POST, path, &headers, form.as_bytes());
    assert_eq!(formed.expect(200)["digest"], first["digest"]);

    let listed = server.get(path).expect(200);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    let one = format!("{path}/{}", first["digest"].as_str().expect("text"));
    assert_eq!(server.get(&one).expect(200)["profile"], first["profile"]);
    server
        .get(&format!("{path}/{}", "0".repeat(64)))
        .expect_problem(404, "path.digest");
}

#[test]
fn problems_of_a_table_name_row_and_column() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let headers = [("content-type", "text/csv")];
    for (csv, part) in [
        ("a,b\n1,2\n3\n", "row 2"),
        ("a,a\n1,2\n", "duplicate"),
        ("", "header"),
        ("a,b\n", "no row"),
    ] {
        let reply = server.send(Method::POST, "/api/v1/datasets", &headers, csv.as_bytes());
        assert_eq!(reply.status, 422, "{csv}: {}", reply.body);
        assert!(reply.body.contains(part), "{csv}: {}", reply.body);
    }
    let text = server.post(
        "/api/v1/datasets",
        &json!({ "name": "t", "csv": "a,b\nx,1\ny,2\nz,3\n" }),
    );
    let digest = text.expect(201)["digest"].clone();
    let reply = server.post(DISCOVER, &json!({ "dataset": digest }));
    assert_eq!(reply.status, 422, "{}", reply.body);
    assert!(reply.body.contains("column 'a'"), "{}", reply.body);
    let unknown = server.post(DISCOVER, &json!({ "dataset": "0".repeat(64) }));
    unknown.expect_problem(422, "dataset");
    let upper = "ABCDEF0123456789".repeat(4);
    let hint = "a digest has 64 lowercase hexadecimal digits";
    let request = json!({ "dataset": upper });
    let refused = server.post(DISCOVER, &request);
    assert_eq!(refused.expect_problem(422, "dataset")["hint"], hint);
    let step = json!({ "operation": "causal.discover", "request": request });
    let series = json!({ "name": "n", "operations": [step] });
    let refused = server.post("/api/v1/experiments", &series);
    let problem = refused.expect_problem(422, "operations[0].request.dataset");
    assert_eq!(problem["hint"], hint);
    let refused = server.get(&format!("/api/v1/datasets/{upper}"));
    assert_eq!(refused.expect_problem(404, "path.digest")["hint"], hint);
}

#[test]
fn an_experiment_runs_its_series_and_is_counted() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let digest = upload(&server)["digest"].clone();
    let series = json!({ "name": "two algorithms", "operations": [
        { "operation": "causal.discover", "request": { "dataset": digest }, "seeds": [1, 2] },
        { "operation": "causal.discover", "request": { "dataset": digest, "algorithm": "correlation" } },
        { "operation": "causal.validate", "request": validation() },
    ]});
    let headers = [("idempotency-key", "series")];
    let accepted = server.post_with("/api/v1/experiments", &series, &headers);
    let view = accepted.expect(202);
    let path = format!(
        "/api/v1/experiments/{}",
        view["experiment_id"].as_str().expect("an id")
    );
    assert_eq!(accepted.header("location"), path);
    let ended = server.wait_until(&path, |view| view["status"] == "completed");
    assert_eq!(ended["tally"]["completed"], 4);
    assert_eq!(ended["runs"].as_array().map(Vec::len), Some(4));
    let repeated = server.post_with("/api/v1/experiments", &series, &headers);
    assert_eq!(repeated.expect(202)["experiment_id"], view["experiment_id"]);
    assert_eq!(repeated.header("idempotency-replayed"), "true");

    let listed = server.get("/api/v1/experiments").expect(200);
    assert_eq!(listed["items"][0]["name"], "two algorithms");
    for path in ["/api/experiments/stats", "/api/v1/experiments/stats"] {
        let stats = server.get(path).expect(200);
        assert_eq!(stats["experiments_total"], 1);
        assert_eq!(stats["operations"]["causal.discover"]["completed"], 3);
    }
    let wrong = json!({ "name": "x", "operations": [{ "operation": "causal.discover", "request": { "data": [[1, "a"]] } }] });
    server
        .post("/api/v1/experiments", &wrong)
        .expect_problem(422, "operations[0].request.data[0][1]");
}

#[test]
fn health_metrics_pages_and_document_answer() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let health = server.wait_until("/health", |health| {
        let actors = health["components"]["actors"].as_array().expect("actors");
        actors.len() == 6 && actors.iter().all(|actor| actor["phase"] == "running")
    });
    assert_eq!(health["status"], "ok");
    for path in ["/health/live", "/health/ready", "/health/startup"] {
        assert_eq!(server.get(path).expect(200)["status"], "ok");
    }
    let actors = server.get("/debug/actors").expect(200);
    assert_eq!(actors["actors"].as_array().map(Vec::len), Some(6));
    let memory = server.get("/debug/memory").expect(200);
    assert!(
        memory["resident_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 1 << 20)
    );
    let config = server.get("/debug/config").expect(200);
    assert_eq!(config["http"]["page_items_default"], 50);
    let (out, errors, code) = finish(hindcast(&["status", "--server", &server.url]), &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        out.contains("status      ok") && out.contains("scrub"),
        "{out}"
    );
    let document = server.get("/openapi.json").expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    for path in [
        "/api/v1/causal/discover",
        "/api/v1/causal/validate",
        "/api/v1/datasets",
        "/api/v1/datasets/{digest}",
        "/api/v1/experiments",
        "/api/v1/experiments/{id}",
        "/api/v1/experiments/stats",
        "/api/experiments/stats",
        "/api/v1/runs",
        "/api/v1/runs/{id}",
        "/api/v1/events",
        "/health",
        "/metrics",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    for path in ["/", "/docs"] {
        let page = server.get(path);
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, "text/html; charset=utf-8")
        );
        assert!(
            !page.body.contains("https://") && !page.body.contains("src="),
            "{path} loads nothing"
        );
    }
    assert_eq!(server.send(Method::HEAD, "/health", &[], &[]).status, 200);
}

/// The tables of docs/api.md, against the schemas that the server makes from the code.
#[test]
fn documented_fields_are_those_of_the_requests() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let document = server.get("/openapi.json").expect(200);
    let text = std::fs::read_to_string("docs/api.md").expect("the page is there");
    for (heading, schema) in [
        ("Discover", "DiscoverRequest"),
        ("Validate", "ValidateRequest"),
        ("Paths", "PathsRequest"),
    ] {
        let start = text.find(&format!("### {heading}\n")).expect("a heading");
        let part = &text[start + 4..];
        let part = &part[..part.find("\n#").unwrap_or(part.len())];
        let first_cells = part.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut listed: Vec<&str> = first_cells
            .flat_map(|line| line.split(" | ").next().unwrap_or("").split(", "))
            .map(|name| name.trim_matches('`'))
            .collect();
        listed.sort_unstable();
        let fields = &document["components"]["schemas"][schema]["properties"];
        let fields: Vec<&String> = fields.as_object().expect("fields").keys().collect();
        assert_eq!(listed, fields, "{heading}");
    }
}

#[test]
fn every_route_of_the_document_is_served() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let document = server.get("/openapi.json").expect(200);
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path
            .replace("{id}", id)
            .replace("{digest}", &"0".repeat(64))
            .replace("{sequence}", "1")
            .replace("{name}", "nobody");
        if item["get"].is_object() && !path.ends_with("/events") {
            // Only a difference cannot do without parameters.
            let between = if path.ends_with("/diff") {
                "?from=1&to=1"
            } else {
                ""
            };
            let reply = server.get(&format!("{path}{between}"));
            assert!(
                reply.status == 200 || reply.body.contains("there is no"),
                "{path}: {}",
                reply.body
            );
        }
        if item["delete"].is_object() {
            continue;
        }
        let refused = server.send(Method::DELETE, &path, &[], &[]);
        refused.expect_problem(405, "");
        assert_ne!(refused.header("allow"), "", "{path}");
    }
    server.get("/nowhere").expect_problem(404, "");
}

#[test]
fn a_trace_goes_in_and_out_and_into_the_log() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let reply = server.post_with(VALIDATE, &validation(), &[("traceparent", &parent)]);
    assert!(
        reply
            .header("traceparent")
            .starts_with(&format!("00-{trace}-"))
    );
    assert!(reply.header("traceparent").ends_with("-01"));
    let run = reply.expect(200)["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let events = server
        .get(&format!("/api/v1/events?stream=run/{run}"))
        .expect(200);
    let items = events["items"].as_array().expect("events");
    assert_eq!(items.len(), 4);
    for event in items {
        assert_eq!(
            event["correlation"]
                .as_str()
                .expect("text")
                .replace('-', ""),
            trace
        );
    }
    let fresh = server.get("/health");
    assert_eq!(fresh.header("traceparent").len(), 55);
    let problem = server.get("/nowhere").expect_problem(404, "");
    assert_eq!(problem["trace_id"].as_str().map(str::len), Some(32));
}

#[test]
fn events_are_paged_filtered_and_streamed_from_where_a_client_was() {
    let dir = temporary();
    let server = Server::start(dir.path());
    for _ in 0..3 {
        server.post(VALIDATE, &validation()).expect(200);
    }
    let first = server.get("/api/v1/events?limit=5").expect(200);
    let seqs = |page: &Value| -> Vec<u64> {
        page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|e| e["seq"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(seqs(&first), [1, 2, 3, 4, 5]);
    let next = first["next"].as_str().expect("a cursor");
    let second = server
        .get(&format!("/api/v1/events?limit=5&cursor={next}"))
        .expect(200);
    assert_eq!(seqs(&second), [6, 7, 8, 9, 10]);
    let completed = server.get("/api/v1/events?type=run_completed").expect(200);
    assert_eq!(completed["items"].as_array().map(Vec::len), Some(3));
    let beyond = server.get("/api/v1/events?from=9000000").expect(200);
    assert_eq!(beyond["items"], json!([]));
    let at_end = format!(
        "/api/v1/events?cursor={}",
        beyond["next"].as_str().expect("text")
    );
    assert_eq!(server.get(&at_end).expect(200)["more"], false);
    let asked = server.get("/api/v1/events?type=run_requested").expect(200);
    assert_eq!(asked["items"][0]["data"]["spec"]["treatment"], json!(["x"]));
    let observed = server
        .get("/api/v1/events?type=outcome_observed")
        .expect(200);
    let result = &observed["items"][0]["data"]["outcome"]["completed"]["result"];
    assert_eq!(result["identifiable"], true);
    server
        .get("/api/v1/events?type=run_complete")
        .expect_problem(400, "query.type");

    let mut seen = Vec::new();
    server.stream(
        "/api/v1/events?from=3",
        &[("last-event-id", next)],
        |id, event, data| {
            assert_eq!(
                (id, event),
                (
                    data["cursor"].as_str().expect("text"),
                    data["type"].as_str().expect("text")
                )
            );
            seen.push(data["seq"].as_u64().expect("a number"));
            seen.len() == 4
        },
    );
    assert_eq!(seen, [6, 7, 8, 9]);

    let foreign = next.replacen(&next[..1], if next.starts_with('0') { "1" } else { "0" }, 1);
    let refused = server.get(&format!("/api/v1/events?cursor={foreign}"));
    refused.expect_problem(409, "query.cursor");
    let other_epoch = next.replacen("-1-", "-7-", 1);
    server
        .get(&format!("/api/v1/events?cursor={other_epoch}"))
        .expect_problem(410, "query.cursor");
    server
        .get("/api/v1/events?cursor=x")
        .expect_problem(400, "query.cursor");
}

#[test]
fn a_stream_shows_what_happens_while_it_is_open() {
    let dir = temporary();
    let server = Server::start(dir.path());
    std::thread::scope(|scope| {
        let (opened, wait) = std::sync::mpsc::channel();
        let server = &server;
        let reader = scope.spawn(move || {
            let mut types = Vec::new();
            server.stream("/api/v1/events?from=1", &[], |_, event, _| {
                if types.is_empty() {
                    opened.send(()).expect("it is waited for");
                }
                types.push(event.to_owned());
                event == "run_completed"
            });
            types
        });
        wait.recv().expect("the stream opens");
        server.post(VALIDATE, &validation()).expect(200);
        let types = reader.join().expect("the reader ends");
        assert_eq!(
            types,
            [
                "server_started",
                "configuration_loaded",
                "run_requested",
                "run_admitted",
                "outcome_observed",
                "run_completed",
            ]
        );
    });
}

#[test]
fn equal_requests_are_answered_from_the_cache_and_recorded_all_the_same() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let first = server.post(VALIDATE, &validation()).expect(200);
    assert_eq!(first["cache"], json!({ "status": "miss" }));
    let again = server.post(VALIDATE, &validation()).expect(200);
    let hit = json!({ "status": "hit", "original": first["run_id"] });
    assert_eq!(again["cache"], hit);
    assert_ne!(again["run_id"], first["run_id"]);
    assert_eq!(
        (&again["result"], &again["result_hash"]),
        (&first["result"], &first["result_hash"])
    );
    let run = format!("/api/v1/runs/{}", again["run_id"].as_str().expect("an id"));
    let shown = server.get(&run).json();
    assert_eq!(shown["original"], first["run_id"]);
    assert_eq!(shown["result"], first["result"]);

    // A random search without a seed says that it is computed each time, and with one it is kept.
    let data = json!([[1, 2.5], [2, 1], [3, 7], [4, 4], [5, 9]]);
    let unseeded = server.post(DISCOVER, &json!({ "data": data })).expect(200);
    assert_eq!(unseeded["cache"]["status"], "not_cacheable");
    let reason = unseeded["cache"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("seed"), "{reason}");
    let seeded = json!({ "data": data, "seed": 3 });
    let computed = server.post(DISCOVER, &seeded).expect(200);
    assert_eq!(computed["cache"]["status"], "miss");
    let known = server.wait_until("/cache/stats", |stats| stats["results"]["entries"] == 3);
    assert_eq!(
        known["results"]["operations"]["causal.discover"]["not_cacheable"],
        1
    );
    let again = server.post(DISCOVER, &seeded).expect(200);
    assert_eq!(again["cache"]["original"], computed["run_id"]);
    assert_eq!(again["result"], computed["result"]);
    let stats = server.get("/cache/stats").json();
    assert_eq!(stats["results"]["operations"]["causal.validate"]["hits"], 1);
    assert!(stats["results"]["bytes"].as_u64() <= stats["results"]["bytes_max"].as_u64());
    assert!(stats["datasets"]["bytes_max"].is_u64());
}

#[test]
fn a_graph_written_otherwise_is_the_same_question() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let first = server.post(VALIDATE, &validation()).expect(200);
    for graph in [
        json!("digraph { x -> y; z -> y; z -> x }"),
        json!({ "nodes": ["y", "x", "z"], "directed": [["z", "y"], ["x", "y"], ["z", "x"]] }),
    ] {
        let question = json!({ "graph": graph, "treatment": ["x"], "outcome": ["y"] });
        let again = server.post(VALIDATE, &question).expect(200);
        assert_eq!(again["cache"]["original"], first["run_id"], "{question}");
        assert_eq!(again["result"], first["result"]);
    }
}

#[test]
fn paths_are_counted_explained_and_listed_page_by_page() {
    const PATHS: &str = "/api/v1/causal/paths";
    let dir = temporary();
    let server = Server::start(dir.path());
    // A ladder of forty diamonds: 2^40 directed paths.
    let mut graph = String::from("dag { ");
    for i in 0..40 {
        graph += &format!("n{i} -> a{i} -> n{0}; n{i} -> b{i} -> n{0}; ", i + 1);
    }
    graph += "}";
    let mut request = json!({
        "graph": graph, "treatment": "n0", "outcome": "n40", "kind": "directed", "limit": 3,
        "seed": 1,
    });
    let first = server.post(PATHS, &request).expect(200);
    let result = &first["result"];
    let count = json!({ "value": "1099511627776", "exact": true });
    assert_eq!(
        (&result["count"], &result["separated"]),
        (&count, &json!(false))
    );
    request["cursor"] = result["next_cursor"].clone();
    let second = server.post(PATHS, &request).expect(200);
    let texts = |answer: &Value| -> Vec<String> {
        let paths = answer["result"]["paths"].as_array().expect("paths");
        let text = |path: &Value| path["text"].as_str().expect("a text").to_owned();
        paths.iter().map(text).collect()
    };
    let (page, next) = (texts(&first), texts(&second));
    assert_eq!((page.len(), next.len()), (3, 3));
    assert!(page.iter().all(|path| !next.contains(path)));

    let blocked = json!({
        "graph": "dag { z -> x; z -> y }", "treatment": "x", "outcome": "y", "given": ["z"],
    });
    let answer = server.post(PATHS, &blocked).expect(200);
    assert_eq!(answer["result"]["separated"], true);
    assert_eq!(answer["result"]["paths"][0]["blocked_by"][0]["node"], "z");
    let wrong = json!({ "graph": "dag { x -> y }", "treatment": "x", "outcome": "q" });
    let problem = server.post(PATHS, &wrong).expect(422);
    assert_eq!(problem["field"], "outcome[0]");
}

#[test]
fn implications_of_a_graph_are_tested_on_data() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let stored = upload(&server);
    let question = json!({
        "graph": "dag { raf -> mek -> erk; akt }", "treatment": "raf", "outcome": "erk",
        "dataset": stored["digest"], "include": ["implications"],
    });
    let answer = server.post(VALIDATE, &question).expect(200);
    let implications = answer["result"]["implications"]
        .as_array()
        .expect("implications");
    assert!(!implications.is_empty());
    for implication in implications {
        let p = implication["test"]["p_value"].as_f64().expect("a p value");
        assert!((0.0..=1.0).contains(&p), "{implication}");
        assert_eq!(implication["test"]["n"], 853);
    }
}
