use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{DISCOVER, Server, VALIDATE, temporary, validation};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn raw(server: &Server, path: &str, body: &str) -> crate::support::Reply {
    server.send(Method::POST, path, &JSON, body.as_bytes())
}

#[test]
fn what_is_no_json_is_refused_as_such() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "{",
        "nonsense",
        "{\"name\": NaN}",
        "{\"name\": Infinity}",
        "[1,2",
        &deep,
        "{} {}",
    ] {
        for path in [
            DISCOVER,
            VALIDATE,
            "/api/v1/datasets",
            "/api/v1/experiments",
        ] {
            raw(&server, path, body).expect_problem(400, "body");
        }
    }
    let text = server.send(
        Method::POST,
        VALIDATE,
        &[("content-type", "text/plain")],
        b"{}",
    );
    text.expect_problem(415, "header.content-type");
    let html = server.post_with(VALIDATE, &validation(), &[("accept", "text/html")]);
    html.expect_problem(406, "header.accept");
}

fn names_the_field(server: &Server, path: &str, body: &Value, field: &str) {
    let reply = server.post(path, body);
    assert_eq!(reply.status, 422, "{body}: {}", reply.body);
    let problem = reply.json();
    let named = problem["field"].as_str().unwrap_or("");
    assert!(
        named.starts_with(field),
        "{body}: {field} expected: {}",
        reply.body
    );
}

#[test]
fn a_wrong_field_is_named_by_its_path() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let graph = |edges: &Value| json!({ "graph": { "nodes": ["x", "y"], "directed": edges }, "treatment": "x", "outcome": "y" });
    for (path, body, field) in [
        (DISCOVER, json!({}), "data"),
        (DISCOVER, json!({ "data": 7 }), "data"),
        (DISCOVER, json!({ "data": [[1, "a"]] }), "data[0][1]"),
        (
            DISCOVER,
            json!({ "data": [[1, 2], [2, null], [3, 1]], "missing": "refuse" }),
            "data[1][1]",
        ),
        (DISCOVER, json!({ "data": [[1, null], [1, 2]] }), "data"),
        (
            DISCOVER,
            json!({ "data": [[1, true], [1, 2]] }),
            "data[0][1]",
        ),
        (DISCOVER, json!({ "data": [[1, 2], [3]] }), "data[1]"),
        (DISCOVER, json!({ "data": [] }), "data"),
        (
            DISCOVER,
            json!({ "data": [[1, 2], [2, 3], [3, 1]], "variable_names": ["a", "a"] }),
            "variable_names[1]",
        ),
        (
            DISCOVER,
            json!({ "data": [[1, 2], [2, 3], [3, 1]], "algorithm": "magic" }),
            "algorithm",
        ),
        (
            DISCOVER,
            json!({ "data": [[1, 2], [2, 3], [3, 1]], "seed": -1 }),
            "seed",
        ),
        (DISCOVER, json!({ "dataset": "not a digest" }), "dataset"),
        (DISCOVER, json!([]), "body"),
    ] {
        names_the_field(&server, path, &body, field);
    }
    for (path, body, field) in [
        (VALIDATE, json!({}), "graph"),
        (
            VALIDATE,
            graph(&json!([["x", "y"], ["y", "x"]])),
            "graph.directed",
        ),
        (
            VALIDATE,
            graph(&json!([["x", "q"]])),
            "graph.directed[0][1]",
        ),
        (VALIDATE, graph(&json!([["x"]])), "graph.directed[0]"),
        (
            VALIDATE,
            json!({ "graph": "dag { x -> y }", "treatment": "q", "outcome": "y" }),
            "treatment[0]",
        ),
        ("/api/v1/experiments", json!({ "name": "n" }), "operations"),
        (
            "/api/v1/experiments",
            json!({ "name": "n", "operations": [] }),
            "operations",
        ),
        ("/api/v1/datasets", json!({ "name": 3, "csv": "" }), "name"),
    ] {
        names_the_field(&server, path, &body, field);
    }
}

#[test]
fn a_misspelt_field_is_told_the_right_one_and_a_number_without_end_is_refused() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let misspelt = server.post(DISCOVER, &json!({ "algoritm": "boss" }));
    assert_eq!(
        misspelt.expect_problem(422, "algoritm")["hint"],
        "did you mean `algorithm`?"
    );
    let infinite = raw(&server, DISCOVER, r#"{"data": [[1, 1e999]]}"#);
    assert!((400..500).contains(&infinite.status), "{}", infinite.body);
}

#[test]
fn null_in_rows_is_a_missing_value() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let mut rows: Vec<Value> = (0..40)
        .map(|i| json!([i, i * i % 7, (3 * i + i * i) % 11]))
        .collect();
    let discover = |rows: &[Value], missing: &str| {
        let body = json!({ "data": rows, "algorithm": "ges", "missing": missing });
        server.post(DISCOVER, &body).expect(200)["result"].clone()
    };
    let whole = discover(&rows, "refuse");
    assert_eq!(whole["rows_dropped"], 0);
    rows.push(json!([null, 3, 4]));
    rows.push(json!([8, null, null]));
    let listwise = discover(&rows, "listwise");
    assert_eq!(listwise["rows_used"], 40);
    assert_eq!(listwise["rows_dropped"], 2);
    assert_eq!(listwise["graph"], whole["graph"]);
    let pairwise = discover(&rows, "pairwise");
    let warnings = pairwise["warnings"].to_string();
    assert!(warnings.contains("pairwise_deletion"), "{warnings}");

    let validate = json!({
        "graph": "dag { x -> y; y -> z }", "treatment": "x", "outcome": "y", "data": rows,
        "variable_names": ["x", "y", "z"],
    });
    let result = server.post(VALIDATE, &validate).expect(200)["result"].clone();
    assert_eq!(result["implications"][0]["test"]["n"], 40);
    let warnings = result["warnings"].to_string();
    assert!(warnings.contains("2 rows miss a value"), "{warnings}");
}

#[test]
fn a_problem_says_what_to_do_in_plain_words() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let data = json!([[1, 2], [2, 3], [3, 1]]);
    let with = |name: &str, value: Value| {
        let mut body = json!({ "data": data });
        body[name] = value;
        server.post(DISCOVER, &body).expect_problem(422, name)
    };
    assert_eq!(
        with("algorithm", json!("BOSS"))["hint"],
        "did you mean `boss`?"
    );
    let range = with("restarts", json!(1001))["hint"].clone();
    assert_eq!(range, "give a value that is from 0 to 1000");
    for (name, value, words) in [
        ("restarts", json!(1.5), "a whole number"),
        (
            "seed",
            json!(-1),
            "a whole number from 0 to 9007199254740991",
        ),
        ("penalty_discount", json!("a"), "a number"),
        ("algorithm", json!(7), "a text or an object"),
    ] {
        let detail = with(name, value)["detail"].clone();
        let detail = detail.as_str().expect("text");
        assert!(detail.ends_with(&format!("expected {words}")), "{detail}");
    }
    let hinted = |reply: crate::support::Reply, status, field: &str| {
        let problem = reply.expect_problem(status, field);
        assert!(problem["hint"].is_string(), "{problem}");
    };
    hinted(server.send(Method::DELETE, "/health", &[], &[]), 405, "");
    let html = server.post_with(VALIDATE, &validation(), &[("accept", "text/html")]);
    hinted(html, 406, "header.accept");
    let packed = server.post_with(VALIDATE, &validation(), &[("content-encoding", "gzip")]);
    hinted(packed, 415, "header.content-encoding");
    let plain = server.post_with(VALIDATE, &validation(), &[("content-encoding", "identity")]);
    plain.expect(200);
    let limit = server.get("/api/v1/runs?limit=abc");
    let detail = limit.expect_problem(400, "query.limit")["detail"].clone();
    assert_eq!(detail, "expected: a whole number from 1 to 500");
    let table = json!({ "name": "n", "csv": "a,a\n1,2\n" });
    let twice = server.post("/api/v1/datasets", &table);
    twice.expect_problem(422, "csv.header[1]");
}

#[test]
fn a_key_that_is_given_twice_is_named() {
    let dir = temporary();
    let server = Server::start(dir.path());
    for (path, body, field) in [
        (
            VALIDATE,
            r#"{"treatment": "x", "graph": "dag { x -> y }", "treatment": "y"}"#,
            "treatment",
        ),
        (
            VALIDATE,
            r#"{"graph": {"nodes": ["x"], "edges": [{"from": "x", "from": "y"}]}}"#,
            "graph.edges[0].from",
        ),
        (
            "/api/v1/experiments",
            r#"{"name": "n", "operations": [{"request": {"seed": 1, "seed": 2}}]}"#,
            "operations[0].request.seed",
        ),
        (
            "/api/v1/datasets",
            r#"{"name": "n", "name": "m", "csv": ""}"#,
            "name",
        ),
    ] {
        raw(&server, path, body).expect_problem(422, field);
    }
}

#[test]
fn sizes_over_the_limit_are_refused_before_they_cost_anything() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let mut giant =
        TcpStream::connect(server.url.trim_start_matches("http://")).expect("a connection");
    giant
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let head = "POST /api/v1/causal/discover HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 10000000000\r\n\r\n";
    giant.write_all(head.as_bytes()).expect("written");
    let mut answer = String::new();
    giant
        .read_to_string(&mut answer)
        .expect("an answer, and then the end");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("\"field\":\"body\",\"hint\""), "{answer}");

    let mut endless =
        TcpStream::connect(server.url.trim_start_matches("http://")).expect("a connection");
    endless
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let head = "POST /api/v1/causal/discover HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    endless.write_all(head.as_bytes()).expect("written");
    let piece = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    // The server stops reading at its limit; what is sent after that may fail.
    for _ in 0..200 {
        if endless.write_all(piece.as_bytes()).is_err() {
            break;
        }
    }
    let mut start = [0; 12];
    let answered = endless.read_exact(&mut start).is_ok();
    assert!(!answered || start.starts_with(b"HTTP/1.1 413"), "{start:?}");

    let wide: Vec<u32> = vec![1; 1_000_000];
    let columns = server.post(DISCOVER, &json!({ "data": [wide, [1]] }));
    assert!(
        columns.body.contains("columns"),
        "{}",
        &columns.body[..columns.body.len().min(300)]
    );
    assert!((400..500).contains(&columns.status));
    // More than a discovery takes, less than a table may have.
    let wide: Vec<Vec<u32>> = (0..3)
        .map(|row| (0..1_001).map(|c| c * row % 7).collect())
        .collect();
    let columns = server.post(DISCOVER, &json!({ "data": wide, "seed": 1 }));
    let problem = columns.expect_problem(422, "columns");
    assert_eq!(problem["limit"], 1_000, "{problem}");
    let header = format!("{}\n1\n", vec!["c"; 1_000_000].join(","));
    let csv = server.send(
        Method::POST,
        "/api/v1/datasets",
        &[("content-type", "text/csv")],
        header.as_bytes(),
    );
    assert!((400..500).contains(&csv.status));
    let long = "h".repeat(40_000);
    let headers = server.send(Method::GET, "/health", &[("x-long", &long)], &[]);
    assert_eq!(headers.status, 431, "{}", headers.body);
    server.get("/health").expect(200);
}

#[test]
fn what_is_malformed_is_counted_and_not_recorded() {
    let dir = temporary();
    let server = Server::start(dir.path());
    for _ in 0..5 {
        raw(&server, VALIDATE, "{").expect_problem(400, "body");
    }
    let stats = server.wait_until("/api/v1/experiments/stats", |stats| {
        stats["requests_shed"] == 5
    });
    assert_eq!(stats["operations"], json!({}));
    let events = server.get("/api/v1/events?type=requests_shed").expect(200);
    let counted: u64 = events["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|event| event["data"]["malformed"].as_u64().expect("a number"))
        .sum();
    assert_eq!(counted, 5);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("x"),
            Just("y"),
            Just("dag { x -> y }"),
            Just("causal.discover")
        ]
        .prop_map(Value::from),
    ];
    let key = prop_oneof![
        prop_oneof![
            Just("graph"),
            Just("nodes"),
            Just("directed"),
            Just("edges"),
            Just("data"),
            Just("seed"),
            Just("variable_names"),
            Just("treatment"),
            Just("outcome"),
            Just("name"),
            Just("csv"),
            Just("operations"),
            Just("operation"),
            Just("request"),
            Just("algorithm"),
            Just("reason"),
        ]
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn no_input_at_any_endpoint_is_our_fault() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let paths = [
        DISCOVER.to_owned(),
        VALIDATE.to_owned(),
        "/api/v1/datasets".to_owned(),
        "/api/v1/experiments".to_owned(),
        format!("/api/v1/runs/{id}/cancel"),
        format!("/api/v1/experiments/{id}/cancel"),
    ];
    let gets = [
        "runs",
        "events",
        "datasets",
        "experiments",
        "runs/",
        "events/",
        "datasets/",
        "experiments/",
    ];
    let input = (
        0..paths.len(),
        prop_oneof![
            any_json().prop_map(|json| json.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..200),
        ],
        0..gets.len(),
        "[!-~]{0,20}",
    );
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&input, |(path, body, get, tail)| {
            let reply = server.send(Method::POST, &paths[path], &JSON, &body);
            prop_assert!(
                reply.status < 500,
                "{} {}: {}",
                paths[path],
                String::from_utf8_lossy(&body),
                reply.body
            );
            if reply.status >= 400 {
                prop_assert_eq!(reply.header("content-type"), "application/problem+json");
            }
            let tail: String = tail.bytes().map(|byte| format!("%{byte:02X}")).collect();
            for path in [
                format!("/api/v1/{}{tail}", gets[get]),
                format!("/api/v1/runs?cursor={tail}"),
                format!("/api/v1/events?stream={tail}"),
            ] {
                let reply = server.get(&path);
                prop_assert!(reply.status < 500, "{}: {}", path, reply.body);
            }
            Ok(())
        })
        .expect("no input does harm");
    let health = server.get("/health").expect(200);
    let actors = health["components"]["actors"].as_array().expect("actors");
    assert!(
        actors.iter().all(|actor| actor["restarts"] == 0),
        "{actors:?}"
    );
}
