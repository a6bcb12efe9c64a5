//! The past: states at any moment, what changed, what led to what, and streams of events that are
//! cut off and go on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{
    DISCOVER, Server, VALIDATE, finish, hindcast, sachs, serve, slow_discovery, temporary,
    validation,
};

/// What the program prints about a data directory, without a server.
fn offline(dir: &Path, arguments: &[&str]) -> Value {
    let mut command = hindcast(arguments);
    command.args(["--json", "--data-dir"]).arg(dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{arguments:?}: {errors}");
    serde_json::from_str(&out).expect("JSON")
}

fn head(server: &Server) -> u64 {
    let page = server.get("/api/v1/events?from=9007199254740991").json();
    let next = page["next"].as_str().expect("a cursor");
    next.rsplit('-')
        .next()
        .and_then(|seq| seq.parse().ok())
        .expect("a sequence")
}

fn upload(server: &Server) -> String {
    let headers = [("content-type", "text/csv")];
    let stored = server.send(Method::POST, "/api/v1/datasets", &headers, &sachs());
    stored.expect(201)["digest"]
        .as_str()
        .expect("a digest")
        .to_owned()
}

fn correlate(server: &Server, digest: &str, seed: u64) -> Value {
    let request = json!({ "dataset": digest, "algorithm": "correlation", "seed": seed });
    server.post(DISCOVER, &request).expect(200)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn any_moment_is_the_same_from_snapshots_from_files_and_from_the_beginning() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["log.snapshot_events=20"]));
    let digest = upload(&server);
    for seed in 0..20 {
        let request =
            json!({ "graph": "dag { x -> y }", "treatment": "x", "outcome": "y", "seed": seed });
        server.post(VALIDATE, &request).expect(200);
        if seed % 5 == 0 {
            crate::support::pause(std::time::Duration::from_millis(600));
        }
    }
    let head = head(&server);
    let mut stepped = 0;
    for at in [1, 2, 7, head / 2, head - 3, head] {
        let found = server
            .get(&format!("/api/v1/state/all?at={at}"))
            .expect(200);
        assert_eq!(
            (found["at_seq"].as_u64(), found["state"]["seq"].as_u64()),
            (Some(at), Some(at))
        );
        stepped += u64::from(found["from_snapshot"].is_u64());
        assert_eq!(
            offline(dir.path(), &["state", "--at", &at.to_string()]),
            found
        );
        // Of events that share a time, the last is the moment's.
        let by_time = server
            .get(&format!("/api/v1/state/all?at={}", text(&found, "at")))
            .expect(200);
        assert!(by_time["at_seq"].as_u64() >= Some(at));
        assert_eq!(text(&by_time, "at"), text(&found, "at"));
    }
    assert!(stepped >= 2, "no snapshot was used");
    let last = server.get("/api/v1/state/all").expect(200);
    assert_eq!(last["at_seq"], head);
    let meta = &last["state"]["datasets"][&digest];
    assert_eq!(meta["rows"], 853, "{last}");
    assert_eq!(
        offline(dir.path(), &["verify"])["state_hash"],
        last["state_hash"]
    );
    std::fs::remove_dir_all(dir.path().join("snapshots")).expect("removed");
    let again = server.get("/api/v1/state/all").expect(200);
    assert_eq!(
        (&again["from_snapshot"], &again["state"]),
        (&Value::Null, &last["state"])
    );
}

#[test]
fn a_run_is_shown_as_it_was_known_then() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let before = head(&server);
    let asked = server.post_with(DISCOVER, &slow_discovery(), &[("prefer", "respond-async")]);
    let run = text(&asked.expect(202), "run_id").to_owned();
    server
        .post(&format!("/api/v1/runs/{run}/cancel"), &json!({}))
        .expect(200);
    server.post(VALIDATE, &validation()).expect(200);
    let path = format!("/api/v1/state/run/{run}");
    let ended = server.get(&path).expect(200);
    let (first, last) = (ended["first_seq"].as_u64(), ended["last_seq"].as_u64());
    let (first, last) = (first.expect("a sequence"), last.expect("a sequence"));
    assert_eq!(ended["state"]["run"]["status"], "cancelled");
    let queued = server.get(&format!("{path}?at={}", last - 1)).expect(200);
    assert_eq!(queued["state"]["run"]["status"], "queued");
    assert_eq!(
        (&queued["state"]["open"], &ended["state"]["open"]),
        (&json!(true), &json!(false))
    );
    let stream = format!("run/{run}");
    let at = (last - 1).to_string();
    assert_eq!(
        offline(dir.path(), &["state", &stream, "--at", &at]),
        queued
    );

    let early = server
        .get(&format!("{path}?at={before}"))
        .expect_problem(404, "path.id");
    assert!(
        text(&early, "detail").contains(&format!("begins at sequence {first}")),
        "{early}"
    );
    for (path, field) in [
        (
            "/api/v1/state/run/01890a5d-ac96-774b-bcce-b302099a8057",
            "path.id",
        ),
        ("/api/v1/state/run/7", "path.id"),
        ("/api/v1/state/cat/7", "path.id"),
    ] {
        server.get(path).expect_problem(404, field);
    }
    let names = server
        .get("/api/v1/state/system/servr")
        .expect_problem(404, "path.id");
    assert!(text(&names, "hint").contains("system/server"), "{names}");
    for name in ["server", "configuration"] {
        let found = server
            .get(&format!("/api/v1/state/system/{name}"))
            .expect(200);
        assert!(found["version"].as_u64() >= Some(1), "{found}");
    }
}

#[test]
fn moments_that_are_not_there_are_refused_with_the_limit() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let head = head(&server);
    let beyond = (head + 1).to_string();
    for (at, limit) in [
        ("0", json!(1)),
        (&beyond, json!(head)),
        ("1999-01-01T00:00:00Z", json!(1)),
        ("2999-01-01T00:00:00Z", json!(head)),
        ("soon", Value::Null),
        ("", Value::Null),
    ] {
        let problem = server.get(&format!("/api/v1/state/all?at={at}"));
        assert_eq!(
            problem.expect_problem(400, "query.at")["limit"],
            limit,
            "{at}"
        );
        let diff = server.get(&format!("/api/v1/state/all/diff?from={at}&to=1"));
        diff.expect_problem(400, "query.from");
    }
    server
        .get("/api/v1/state/all/diff?to=1")
        .expect_problem(400, "query.from");
    server
        .get("/api/v1/state/all?to=1")
        .expect_problem(400, "query.to");
    let mut command = hindcast(&["state", "--at", &beyond, "--data-dir"]);
    command.arg(dir.path());
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(2));
    assert!(
        errors.contains(&format!("the log ends at sequence {head}")),
        "{errors}"
    );
    let (_, errors, code) = finish(hindcast(&["diff", "1", "now"]), &[]);
    assert_eq!(code, Some(2), "{errors}");
}

#[test]
fn differences_are_empty_of_the_same_and_turn_round() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let begin = head(&server);
    let digest = upload(&server);
    correlate(&server, &digest, 1);
    let end = head(&server);
    let diff = |from: u64, to: u64, about: &str| {
        server
            .get(&format!("/api/v1/state/{about}/diff?from={from}&to={to}"))
            .expect(200)
    };
    let same = diff(end, end, "all");
    for part in ["added", "removed", "changed"] {
        assert_eq!(same[part], json!([]), "{part}");
    }
    assert_eq!(
        (&same["events"]["count"], &same["events"]["first_seq"]),
        (&json!(0), &Value::Null)
    );
    let forth = diff(begin, end, "all");
    let back = diff(end, begin, "all");
    assert_eq!(forth["added"], back["removed"]);
    assert_eq!(forth["removed"], back["added"]);
    let turned: Vec<Value> = forth["changed"]
        .as_array()
        .expect("changes")
        .iter()
        .map(|change| json!({ "path": change["path"], "before": change["after"], "after": change["before"] }))
        .collect();
    assert_eq!(json!(turned), back["changed"]);
    assert_eq!(forth["events"], back["events"]);
    assert_eq!(forth["events"]["count"], end - begin);
    assert_eq!(forth["events"]["types"]["dataset_registered"], 1);
    let paths = forth["added"].as_array().expect("facts").iter();
    let path = format!("/datasets/{digest}");
    assert!(paths.clone().any(|fact| fact["path"] == path), "{forth}");
    let arguments = ["diff", &begin.to_string(), &end.to_string()];
    assert_eq!(offline(dir.path(), &arguments), forth);

    let stream = format!("dataset/{}", &digest[..32]);
    let added = diff(begin, end, &stream);
    assert_eq!(added["added"][0]["path"], "/dataset", "{added}");
    assert_eq!(added["events"]["types"], json!({ "dataset_registered": 1 }));
    let before = format!("/api/v1/state/{stream}/diff?from=1&to={begin}");
    server.get(&before).expect_problem(404, "path.id");
}

/// Whether an edge of this relation leads to this node, and from where.
fn cause<'a>(found: &'a Value, relation: &str, to: &str) -> Vec<&'a str> {
    let edges = found["edges"].as_array().expect("edges").iter();
    edges
        .filter(|edge| edge["relation"] == relation && edge["to"] == to)
        .map(|edge| text(edge, "from"))
        .collect()
}

#[test]
fn a_result_is_traced_to_all_that_it_depends_on() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let digest = upload(&server);
    let first = correlate(&server, &digest, 7);
    let again = correlate(&server, &digest, 7);
    let (first, again) = (text(&first, "run_id"), text(&again, "run_id"));
    let found = server
        .get(&format!("/api/v1/provenance/{again}?direction=backward"))
        .expect(200);
    let (run, reused) = (format!("run/{first}"), format!("run/{again}"));
    assert_eq!(
        (text(&found, "id"), text(&found, "kind")),
        (&*reused, "run")
    );
    assert_eq!(cause(&found, "original", &reused), [run.as_str()]);
    let data = format!("dataset/{}", &digest[..32]);
    for node in [&run, &reused] {
        assert_eq!(cause(&found, "data", node), [data.as_str()]);
        assert_eq!(cause(&found, "seed", node), ["seed/7"]);
        assert_eq!(cause(&found, "configuration", node), ["configuration/1"]);
        for relation in ["request", "outcome", "end", "binary"] {
            assert_eq!(
                cause(&found, relation, node).len(),
                1,
                "{relation} of {node}"
            );
        }
    }
    for relation in ["algorithm", "numeric_profile"] {
        assert_eq!(cause(&found, relation, &run).len(), 1);
        assert_eq!(
            cause(&found, relation, &reused).len(),
            0,
            "it was not computed again"
        );
    }
    assert_eq!(cause(&found, "registration", &data).len(), 1);
    let request = cause(&found, "request", &run)[0];
    let outcome = cause(&found, "outcome", &run)[0];
    assert_eq!(cause(&found, "cause", outcome), [request]);
    let nodes = found["nodes"].as_array().expect("nodes");
    for edge in found["edges"].as_array().expect("edges") {
        for end in ["from", "to"] {
            assert!(nodes.iter().any(|node| node["id"] == edge[end]), "{edge}");
        }
    }
    let arguments = ["explain", again, "--direction", "backward"];
    assert_eq!(offline(dir.path(), &arguments), found);

    let seq = outcome.trim_start_matches("event/");
    let event = server.get(&format!("/api/v1/events/{seq}")).expect(200);
    for id in [seq, text(&event, "event_id"), text(&event, "causation")] {
        let found = server.get(&format!("/api/v1/provenance/{id}")).expect(200);
        assert_eq!(found["kind"], "event");
        assert_eq!(cause(&found, "data", &run), [data.as_str()], "{id}");
    }
    for id in [
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "x",
        "999999",
        &"0".repeat(64),
    ] {
        server
            .get(&format!("/api/v1/provenance/{id}"))
            .expect_problem(404, "path.id");
    }
}

#[test]
fn what_followed_from_data_and_from_a_result_is_found_page_by_page() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let digest = upload(&server);
    let runs: Vec<String> = [1, 2, 1]
        .map(|seed| text(&correlate(&server, &digest, seed), "run_id").to_owned())
        .to_vec();
    let forward = |id: &str, more: &str| {
        let path = format!("/api/v1/provenance/{id}?direction=forward{more}");
        server.get(&path).expect(200)
    };
    let used = forward(&digest, "");
    let data = text(&used, "id").to_owned();
    for run in &runs {
        assert_eq!(cause(&used, "data", &format!("run/{run}")), [data.as_str()]);
    }
    let (first, third) = (format!("run/{}", runs[0]), format!("run/{}", runs[2]));
    assert_eq!(cause(&used, "original", &third), [first.as_str()]);
    assert_eq!(
        (&used["forward"]["found"], &used["forward"]["complete"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(used["forward"]["how"], "scan");

    let reused = forward(&runs[0], "");
    assert_eq!(cause(&reused, "original", &third), [first.as_str()]);
    assert_eq!(reused["forward"]["found"], 1);

    let (mut more, mut pages) = (String::new(), Vec::new());
    for _ in 0..9 {
        let page = forward(&digest, &format!("&limit=1{more}"));
        pages.push(page["forward"]["found"].as_u64());
        match page["forward"]["next"].as_u64() {
            Some(next) => more = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(pages, [Some(1); 3]);

    for (format, begin) in [("dot", "digraph"), ("svg", "<svg")] {
        let drawn = server.get(&format!("/api/v1/provenance/{digest}?format={format}"));
        assert_eq!(drawn.status, 200);
        assert!(
            drawn.body.starts_with(begin) && drawn.body.contains("original"),
            "{}",
            drawn.body
        );
        let mut command = hindcast(&["explain", &digest, "--format", format, "--data-dir"]);
        let (out, errors, code) = finish(
            {
                command.arg(dir.path());
                command
            },
            &[],
        );
        assert_eq!(
            (out.trim_end(), code),
            (drawn.body.trim_end(), Some(0)),
            "{errors}"
        );
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("direction=up", "direction"),
        ("format=png", "format"),
        ("after=-1", "after"),
    ] {
        let path = format!("/api/v1/provenance/{digest}?{query}");
        server
            .get(&path)
            .expect_problem(400, &format!("query.{field}"));
    }
}

#[test]
fn a_range_of_events_has_an_end() {
    let dir = temporary();
    let server = Server::start(dir.path());
    for _ in 0..3 {
        server.post(VALIDATE, &validation()).expect(200);
    }
    let (mut path, mut seen) = ("/api/v1/events?from=2&to=7&limit=4".to_owned(), Vec::new());
    loop {
        let page = server.get(&path).expect(200);
        let items = page["items"].as_array().expect("items");
        seen.extend(items.iter().filter_map(|event| event["seq"].as_u64()));
        if page["more"] == false {
            break;
        }
        path = format!("/api/v1/events?to=7&limit=4&cursor={}", text(&page, "next"));
    }
    assert_eq!(seen, [2, 3, 4, 5, 6, 7]);
    let none = server.get("/api/v1/events?from=8&to=3").expect(200);
    assert_eq!((&none["items"], &none["more"]), (&json!([]), &json!(false)));
    server
        .get("/api/v1/events?to=0")
        .expect_problem(400, "query.to");
    let accept = [("accept", "text/event-stream")];
    let endless = server.send(Method::GET, "/api/v1/events?to=3", &accept, &[]);
    endless.expect_problem(400, "query.to");
}

/// Reads a stream of events until `bytes` have come, and cuts the connection wherever that is. The
/// sequences of the events that came whole are added, and the last cursor is kept.
fn read_some(url: &str, path: &str, bytes: u64, seen: &mut Vec<u64>, cursor: &mut Option<String>) {
    let address = url.trim_start_matches("http://");
    let Ok(mut stream) = TcpStream::connect(address) else {
        return;
    };
    // A stream that has nothing to say is left.
    let timeout = std::time::Duration::from_millis(300);
    stream.set_read_timeout(Some(timeout)).expect("a timeout");
    let resume = cursor
        .as_ref()
        .map(|cursor| format!("last-event-id: {cursor}\r\n"));
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n{}\r\n",
        resume.unwrap_or_default()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let (mut id, mut seq) = (None, None);
    for line in BufReader::new(stream.take(bytes))
        .lines()
        .map_while(Result::ok)
    {
        if let Some(text) = line.strip_prefix("id: ") {
            id = Some(text.to_owned());
        } else if let Some(text) = line.strip_prefix("data: ") {
            let event: Option<Value> = serde_json::from_str(text).ok();
            seq = event.and_then(|event| event["seq"].as_u64());
        } else if line.is_empty()
            && let (Some(id), Some(seq)) = (id.take(), seq.take())
        {
            *cursor = Some(id);
            seen.push(seq);
        }
    }
}

#[test]
fn a_stream_that_is_cut_off_goes_on_without_gap_or_double() {
    let dir = temporary();
    let server = Server::start(dir.path());
    for (filter, step) in [("", 1), ("&type=run_completed", 0)] {
        let from = head(&server) + 1;
        let path = format!("/api/v1/events?from={from}{filter}");
        let (mut seen, mut cursor) = (Vec::new(), None);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..60 {
                    server.post(VALIDATE, &validation()).expect(200);
                }
                over.store(true, Ordering::Release);
            });
            let mut bytes = 700_u64;
            while !over.load(Ordering::Acquire) {
                bytes = bytes * 7 % 9_001 + 900;
                read_some(&server.url, &path, bytes, &mut seen, &mut cursor);
            }
        });
        let all = events(&server, from, filter);
        for _ in 0..200 {
            if seen.len() >= all.len() {
                break;
            }
            read_some(&server.url, &path, 9_000, &mut seen, &mut cursor);
        }
        assert_eq!(seen, all);
        assert!(all.len() >= 60);
        assert!(step == 0 || all.windows(2).all(|pair| pair[1] == pair[0] + step));
    }
}

fn events(server: &Server, from: u64, filter: &str) -> Vec<u64> {
    let page = server
        .get(&format!("/api/v1/events?from={from}&limit=500{filter}"))
        .expect(200);
    assert_eq!(page["more"], false);
    let items = page["items"].as_array().expect("items");
    items
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .collect()
}

#[test]
fn a_stream_goes_on_after_the_server_was_killed() {
    let dir = temporary();
    let mut server = Server::start(dir.path());
    let (mut seen, mut cursor) = (Vec::new(), None);
    // One event is the whole configuration, which is read again from its beginning when it is cut.
    let path = "/api/v1/events?from=1";
    for _ in 0..3 {
        for _ in 0..5 {
            server.post(VALIDATE, &validation()).expect(200);
        }
        read_some(&server.url, path, 20_000, &mut seen, &mut cursor);
        server.kill();
        server = Server::start(dir.path());
    }
    let all = events(&server, 1, "");
    for _ in 0..200 {
        if seen.len() >= all.len() {
            break;
        }
        read_some(&server.url, path, 40_000, &mut seen, &mut cursor);
    }
    assert_eq!(seen, all);
}

#[test]
fn sealed_requests_stay_sealed_in_states_of_the_past() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["privacy.seal_payloads=true"]));
    let asked = server.post_with(DISCOVER, &slow_discovery(), &[("prefer", "respond-async")]);
    let run = text(&asked.expect(202), "run_id").to_owned();
    let found = server.get("/api/v1/state/all").expect(200);
    let spec = &found["state"]["runs"][&run]["spec"];
    assert_eq!(spec["sealed"], true, "{spec}");
    assert!(spec["key"].as_u64().is_some_and(|key| key > 0), "{spec}");
}

#[test]
fn the_examples_of_the_document_work() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let digest = upload(&server);
    let run = text(&correlate(&server, &digest, 7), "run_id").to_owned();
    let document = std::fs::read_to_string(format!("{}/docs/history.md", crate::support::ROOT));
    let document = document
        .expect("a document")
        .replace("RUN", &run)
        .replace("DIGEST", &digest);
    // A moment of the past that this log has.
    let event = server.get("/api/v1/state/all").expect(200);
    let document = document
        .replace("2026-11-22T13:52:46Z", text(&event, "at"))
        .replace("2026-11-22T00:00:00Z", text(&event, "at"));
    let mut run_here = 0;
    for line in document.lines() {
        if let Some(words) = line.strip_prefix("hindcast ") {
            let words: Vec<&str> = words.split(' ').collect();
            let words = match words.iter().position(|word| *word == "--data-dir") {
                Some(at) => &words[..at],
                None => &words[..],
            };
            let mut command = hindcast(words);
            command.arg("--data-dir").arg(dir.path());
            let (out, errors, code) = finish(command, &[]);
            assert_eq!(code, Some(0), "{line}: {errors}");
            assert!(!out.is_empty());
            let mut command = hindcast(words);
            command.args(["--server", &server.url]);
            let (remote, errors, code) = finish(command, &[]);
            assert_eq!((remote, code), (out, Some(0)), "{line}: {errors}");
        } else if let Some(path) = line.strip_prefix("curl -s http://127.0.0.1:8080") {
            server.get(path).expect(200);
        } else {
            continue;
        }
        run_here += 1;
    }
    assert_eq!(run_here, 14);
}
