//! What would have been: over REST and on the command line, against what the server really does.

use std::path::Path;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{
    DISCOVER, Server, VALIDATE, finish, hindcast, sachs, serve, slow_discovery, temporary,
    validation,
};

const WHATIF: &str = "/api/v1/whatif";

/// A server that may have one run in flight, which was slow when another was asked for.
struct Busy {
    server: Server,
    dir: tempfile::TempDir,
    /// The request of the slow run, that of the refused one, and the refusal.
    slow: u64,
    asked: u64,
    refused: u64,
    /// The refused run.
    run: String,
    /// The hash of the result that the refused request got when it was made again.
    hash: Value,
}

fn seqs(server: &Server, kind: &str) -> Vec<(u64, Value)> {
    let page = server
        .get(&format!("/api/v1/events?type={kind}"))
        .expect(200);
    let items = page["items"].as_array().expect("events").iter();
    let mut found: Vec<(u64, Value)> = items
        .map(|item| (item["seq"].as_u64().expect("a sequence"), item.clone()))
        .collect();
    found.sort_by_key(|(seq, _)| *seq);
    found
}

fn busy(settings: &[&str]) -> Busy {
    let dir = temporary();
    let all = [&["runs.in_flight_max=1", "runs.threads=1"][..], settings].concat();
    let server = Server::start_with(serve(dir.path(), &all));
    let headers = [("content-type", "text/csv")];
    let stored = server.send(Method::POST, "/api/v1/datasets", &headers, &sachs());
    let digest = stored.expect(201)["digest"].clone();
    let slow = server.post_with(DISCOVER, &slow_discovery(), &[("prefer", "respond-async")]);
    let slow = slow.expect(202)["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let correlation = json!({ "dataset": digest, "algorithm": "correlation", "seed": 3 });
    server.post(DISCOVER, &correlation).expect_problem(503, "");
    let path = format!("/api/v1/runs/{slow}/cancel");
    server.post(&path, &json!({})).expect(200);
    let answer = server.post(DISCOVER, &correlation).expect(200);
    server.post(VALIDATE, &validation()).expect(200);
    let requests = seqs(&server, "run_requested");
    let refusals = seqs(&server, "run_refused");
    Busy {
        slow: requests[0].0,
        asked: requests[1].0,
        refused: refusals[0].0,
        run: refusals[0].1["data"]["run"]
            .as_str()
            .expect("an id")
            .to_owned(),
        hash: answer["result_hash"].clone(),
        server,
        dir,
    }
}

fn offline(dir: &Path, words: &[&str]) -> Value {
    let mut command = hindcast(words);
    command.args(["--json", "--data-dir"]).arg(dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{words:?}: {errors}");
    assert!(errors.contains("recorded by a server alone"), "{errors}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn a_refused_request_is_admitted_and_its_result_is_the_servers() {
    let busy = busy(&[]);
    let head = busy.server.get("/api/v1/state/all").expect(200)["at_seq"].clone();
    for edit in [
        json!({ "config": { "runs.in_flight_max": 2 } }),
        json!({ "drop": busy.slow }),
    ] {
        let question = json!({ "at": busy.slow, "to": head, "edits": [edit] });
        let found = busy.server.post(WHATIF, &question).expect(200);
        let changed = found["changed"]["first"].as_array().expect("events");
        let admitted = changed
            .iter()
            .find(|event| event["position"] == busy.refused);
        assert_eq!(
            admitted.expect("the decision")["fork"]["type"],
            "run_admitted"
        );
        let runs = found["runs"]["first"].as_array().expect("runs");
        let run = runs.iter().find(|run| run["run_id"] == busy.run.as_str());
        let run = run.expect("the run");
        assert_eq!(run["baseline"]["status"], "refused", "{run}");
        assert_eq!(run["fork"]["status"], "completed", "{run}");
        assert_eq!(run["fork"]["basis"], "recomputed");
        assert_eq!(run["fork"]["result_hash"], busy.hash);
        assert_eq!(found["basis"]["recomputed"], 1);
        assert_eq!(found["baseline_drift"], Value::Null);
        let appeared = found["appeared"]["first"].as_array().expect("events");
        let outcome = appeared
            .iter()
            .find(|event| event["fork"]["type"] == "outcome_observed");
        let data = &outcome.expect("an outcome")["fork"]["data"];
        assert!(data["outcome"]["completed"]["result"].is_object(), "{data}");
        // The state at the end: one refusal less, one result more.
        let facts = found["state"]["changed"].as_array().expect("facts");
        let fact = |path: &str| facts.iter().find(|fact| fact["path"] == path);
        let both = |path: &str| {
            let fact = fact(path).unwrap_or_else(|| panic!("{path}: {found}"));
            (fact["before"].clone(), fact["after"].clone())
        };
        match question["edits"][0]["drop"].is_null() {
            true => assert_eq!(
                both("/totals/causal.discover/tally/refused"),
                (json!(1), json!(0))
            ),
            // With one run at a time the same request, a moment later, may be the one too many.
            false => assert_eq!(
                both("/totals/causal.discover/requested"),
                (json!(3), json!(2))
            ),
        }
    }
}

#[test]
fn both_ways_give_the_same_and_only_the_question_is_recorded() {
    let busy = busy(&[]);
    let before = busy.server.get("/api/v1/state/all").expect(200);
    let head = before["at_seq"].as_u64().expect("a sequence");
    let question = json!({
        "at": busy.slow, "to": head,
        "edits": [{ "drop": busy.slow }, { "seed": 5 }],
        "minimise": busy.refused,
    });
    let found = busy.server.post(WHATIF, &question).expect(200);
    let (at, to, outcome) = (
        busy.slow.to_string(),
        head.to_string(),
        busy.refused.to_string(),
    );
    let words = [
        "whatif",
        "--at",
        &at,
        "--to",
        &to,
        "--drop",
        &at,
        "--seed",
        "5",
        "--minimise",
        &outcome,
    ];
    assert_eq!(offline(busy.dir.path(), &words), found);
    // Results that are computed again do not depend on the number of threads.
    for threads in ["1", "3"] {
        let mut command = hindcast(&words);
        command.env("RAYON_NUM_THREADS", threads);
        command.args(["--json", "--data-dir"]).arg(busy.dir.path());
        let (out, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(0), "{errors}");
        let again: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(again, found, "{threads} threads");
    }
    let mut remote = hindcast(&[&words[..], &["--json", "--server", &busy.server.url]].concat());
    remote.current_dir(busy.dir.path());
    let (out, errors, code) = finish(remote, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let again: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(again, found);
    let needed = &found["minimal"];
    assert_eq!(needed["events"], json!([busy.slow, busy.asked]), "{needed}");
    assert_eq!(needed["complete"], true);
    let after = busy.server.get("/api/v1/state/all").expect(200);
    assert_eq!(after["at_seq"], head + 2, "two questions were recorded");
    let asked = seqs(&busy.server, "what_if_asked");
    let (one, other) = (&asked[0].1, &asked[1].1);
    assert_eq!(one["stream"], "system/whatif");
    assert_eq!(
        (&one["data"]["at"], &one["data"]["edits"]),
        (&json!(busy.slow), &json!(1))
    );
    assert_eq!(one["data"]["hash"], other["data"]["hash"]);
    assert_ne!(one["correlation"], other["correlation"]);
    let verified = finish(
        hindcast(&[
            "verify",
            "--json",
            "--data-dir",
            &busy.dir.path().display().to_string(),
        ]),
        &[],
    );
    assert_eq!(verified.2, Some(0), "{}", verified.1);
}

#[test]
fn the_limit_could_be_raised_until_the_request() {
    let busy = busy(&[]);
    let question = json!({
        "at": busy.slow,
        "edits": [{ "config": { "runs.in_flight_max": 2 } }],
        "point_of_no_return": { "type": "run_refused", "stream": format!("run/{}", busy.run) },
    });
    let found = busy.server.post(WHATIF, &question).expect(200);
    let point = &found["point_of_no_return"];
    assert_eq!(point["outcome"], busy.refused, "{point}");
    assert_eq!(
        (&point["last"], &point["share"]),
        (&json!(busy.asked), &json!(1.0))
    );
    assert_eq!(point["exceptions"], json!([]));
    // The spelling of the command line is taken as well.
    let mut spelt = question;
    spelt["point_of_no_return"] = format!("run_refused@run/{}", busy.run).into();
    let again = busy.server.post(WHATIF, &spelt).expect(200);
    assert_eq!(&again["point_of_no_return"], point);
}

#[test]
fn a_question_ends_with_what_was_decided_and_one_more_request_is_another() {
    let busy = busy(&[]);
    let question = json!({ "at": busy.slow, "to": busy.asked });
    let found = busy.server.post(WHATIF, &question).expect(200);
    assert!(found["baseline_drift"].is_null(), "{found}");
    let shown = busy
        .server
        .get(&format!("/api/v1/events/{}", busy.asked))
        .expect(200);
    let event = json!({ "type": shown["type"], "data": shown["data"] });
    let inject = json!({ "inject": { "after": busy.asked, "event": event } });
    let question = json!({ "at": busy.slow, "edits": [inject] });
    let found = busy.server.post(WHATIF, &question).expect(200);
    let appeared = &found["appeared"]["types"];
    assert_eq!(appeared["run_requested"], 1, "{found}");
    assert_eq!(appeared["run_refused"], 1, "{found}");
    assert_eq!(found["vanished"]["total"], 0, "{found}");
}

#[test]
fn an_event_that_is_replaced_by_itself_changes_nothing() {
    let busy = busy(&[]);
    for seq in [busy.slow, busy.asked] {
        let shown = busy
            .server
            .get(&format!("/api/v1/events/{seq}"))
            .expect(200);
        let event = json!({ "type": shown["type"], "data": shown["data"] });
        let edit = json!({ "replace": seq, "event": event });
        let question = json!({ "at": busy.slow, "edits": [edit] });
        let found = busy.server.post(WHATIF, &question).expect(200);
        assert!(found["divergence"].is_null(), "{found}");
        assert_eq!(found["runs"]["total"], 0, "{found}");
        // Of the same computation, so that its recorded outcome is still its own.
        let mut event = event;
        event["data"]["deadline_micros"] = 3_600_000_000_u64.into();
        let edit = json!({ "replace": seq, "event": event });
        let question = json!({ "at": busy.slow, "edits": [edit] });
        let found = busy.server.post(WHATIF, &question).expect(200);
        assert_eq!(found["divergence"], seq, "{found}");
        assert_eq!(found["appeared"]["total"], 0, "{found}");
        assert_eq!(found["vanished"]["total"], 0, "{found}");
    }
}

#[test]
fn an_event_is_replaced_or_added_as_it_is_shown() {
    let busy = busy(&[]);
    let shown = busy
        .server
        .get(&format!("/api/v1/events/{}", busy.asked))
        .expect(200);
    let mut event = json!({ "type": shown["type"], "data": shown["data"] });
    event["data"]["spec"] = json!({ "dataset": shown["data"]["datasets"][0], "algorithm": "pc" });
    let graph = json!({ "type": "run_requested", "data": {
        "operation": "causal.validate", "spec": validation(),
    }});
    let question = json!({ "at": busy.slow, "edits": [
        { "drop": busy.slow },
        { "replace": busy.asked, "event": event },
        { "inject": { "after": busy.slow - 1, "event": graph } },
    ]});
    let found = busy.server.post(WHATIF, &question).expect(200);
    let runs = found["runs"]["first"].as_array().expect("runs");
    let fork = |operation: &str| {
        let run = runs
            .iter()
            .find(|run| run["operation"] == operation && run["baseline"].is_null());
        run.map(|run| run["fork"]["status"].clone())
    };
    assert_eq!(fork("causal.validate"), Some(json!("completed")), "{found}");
    let replaced = runs
        .iter()
        .find(|run| run["run_id"] == busy.run.as_str())
        .expect("the run");
    // Another algorithm has another result.
    assert_eq!(replaced["fork"]["status"], "completed", "{replaced}");
    assert_ne!(replaced["fork"]["result_hash"], busy.hash);
}

#[test]
fn questions_that_do_not_fit_are_refused_by_field() {
    let busy = busy(&[]);
    let refuse = |body: Value, field: &str, part: &str| {
        let problem = busy.server.post(WHATIF, &body).expect_problem(422, field);
        assert!(
            problem.to_string().contains(part),
            "{part} is not in {problem}"
        );
    };
    let at = busy.slow;
    refuse(json!({ "at": 0 }), "at", "between 1 and");
    refuse(json!({ "at": 999_999 }), "at", "limit");
    refuse(json!({ "at": at, "to": 1 }), "to", "between");
    refuse(json!({ "at": at, "limit": 5_000 }), "limit", "1000");
    refuse(json!({ "at": busy.refused }), "at", &busy.asked.to_string());
    let edit = |edit: Value| json!({ "at": at, "edits": [edit] });
    refuse(edit(json!({})), "edits[0]", "one of drop");
    refuse(
        edit(json!({ "drop": at, "seed": 1 })),
        "edits[0]",
        "one of drop",
    );
    refuse(
        edit(json!({ "drop": busy.refused })),
        "edits[0].drop",
        "decided",
    );
    refuse(edit(json!({ "drop": at - 1 })), "edits[0].drop", "between");
    refuse(
        edit(json!({ "replace": at })),
        "edits[0].event",
        "in its place",
    );
    let config = "edits[0].config[\"http.streams_max\"]";
    refuse(
        edit(json!({ "config": { "http.streams_max": 1 } })),
        config,
        "runs.in_flight_max",
    );
    let config = "edits[0].config[\"runs.in_flight_max\"]";
    // The bounds are those of the configuration's file.
    for (value, told) in [
        (0, "0 is below 1"),
        (1_000_001, "1000001 is over the limit of 1000000"),
        (-1, "-1 must not be negative"),
    ] {
        let keys = json!({ "config": { "runs.in_flight_max": value } });
        refuse(edit(keys), config, told);
    }
    refuse(
        edit(json!({ "config": { "runs.in_flight_max": "x" } })),
        config,
        "whole number",
    );
    refuse(
        edit(json!({ "clock": { "shift": "5 minutes" } })),
        "edits[0].clock.shift",
        "5m",
    );
    let nothing = json!({ "at": at, "point_of_no_return": busy.refused });
    refuse(nothing, "edits", "config, clock or inject");
    // Nothing of all this was recorded but what could be asked.
    assert_eq!(seqs(&busy.server, "what_if_asked").len(), 1);
    let body = json!({ "at": at, "edit": [] });
    assert_eq!(busy.server.post(WHATIF, &body).status, 422);
    let dir = busy.dir.path().display().to_string();
    let words = ["whatif", "--at", "1", "--drop", "999", "--data-dir", &dir];
    let (out, errors, code) = finish(hindcast(&words), &[]);
    assert_eq!((out.as_str(), code), ("", Some(2)), "{errors}");
    assert!(errors.contains("edits[0].drop"), "{errors}");
}

#[test]
fn events_that_do_not_fit_are_refused_by_field() {
    let busy = busy(&[]);
    let at = busy.slow;
    let refuse = |body: Value, field: &str, part: &str| {
        let problem = busy.server.post(WHATIF, &body).expect_problem(422, field);
        assert!(
            problem.to_string().contains(part),
            "{part} is not in {problem}"
        );
    };
    let edit = |edit: Value| json!({ "at": at, "edits": [edit] });
    let replace = |event: Value| edit(json!({ "replace": at, "event": event }));
    let field = "edits[0].event.type";
    refuse(
        replace(json!({ "type": "run_admitted", "data": {} })),
        field,
        "decided",
    );
    refuse(
        replace(json!({ "type": "nonsense" })),
        field,
        "run_requested",
    );
    let sample = json!({ "type": "disk_sampled", "data": { "free_bytes": "much" } });
    refuse(replace(sample), "edits[0].event.data.free_bytes", "u64");
    let wrong = json!({ "graph": "dag { x -> }", "treatment": "x", "outcome": "y" });
    let asked = json!({ "type": "run_requested", "data": {
        "operation": "causal.paths", "spec": { "nodes": 3 },
    }});
    refuse(replace(asked), "edits[0].event.data.spec.nodes", "nodes");
    let asked = json!({ "type": "run_requested", "data": {
        "operation": "causal.guess", "spec": wrong,
    }});
    refuse(
        replace(asked),
        "edits[0].event.data.operation",
        "causal.discover",
    );
    refuse(
        json!({ "at": at, "minimise": 1 }),
        "minimise",
        "no such event",
    );
    refuse(
        json!({ "at": at, "minimise": { "type": "x", "stream": "run/1" } }),
        "minimise.type",
        "x",
    );
}

#[test]
fn the_server_takes_no_more_than_it_may() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["whatif.at_once_max=0"]));
    let reply = server.post(WHATIF, &json!({ "at": 1 }));
    reply.expect_problem(503, "");
    assert_eq!(reply.header("retry-after"), "5");
    drop(server);
    let limits = ["runs.in_flight_max=1", "whatif.time_ms_max=300"];
    let server = Server::start_with(serve(dir.path(), &limits));
    let slow = |seed: u64| {
        let mut body = slow_discovery();
        body["seed"] = json!(seed);
        server.post_with(DISCOVER, &body, &[("prefer", "respond-async")])
    };
    let run = slow(1).expect(202)["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    slow(2).expect_problem(503, "");
    server
        .post(&format!("/api/v1/runs/{run}/cancel"), &json!({}))
        .expect(200);
    let at = seqs(&server, "run_requested")[0].0;
    let question = |edits: Value| server.post(WHATIF, &json!({ "at": at, "edits": edits }));
    // The refused run would have to be computed, which takes seconds.
    let late = question(json!([{ "config": { "runs.in_flight_max": 2 } }]));
    assert_eq!(late.expect_problem(504, "")["limit"], 300);
    question(json!([{ "drop": at + 1_000 }])).expect_problem(422, "edits[0].drop");
    question(json!([])).expect(200);
}

#[test]
fn the_commands_of_the_runbook_work() {
    let busy = busy(&[]);
    let document = std::fs::read_to_string(format!("{}/docs/runbook.md", crate::support::ROOT));
    let document = document.expect("a document");
    let (_, section) = document.split_once("## What if").expect("a section");
    let section = section.split("\n## ").next().expect("text");
    let section = section
        .replace("REFUSED", &busy.refused.to_string())
        .replace("AT", &busy.slow.to_string());
    let (work, mut ran) = (temporary(), 0);
    for line in section.lines() {
        if let Some(words) = line.strip_prefix("hindcast ") {
            let (words, into) = words.split_once(" > ").unwrap_or((words, ""));
            let words: Vec<&str> = words.split(' ').collect();
            let mut command = hindcast(&words);
            command
                .current_dir(work.path())
                .arg("--data-dir")
                .arg(busy.dir.path());
            let (out, errors, code) = finish(command, &[]);
            assert_eq!(code, Some(0), "{line}: {errors}");
            assert!(!out.is_empty(), "{line}");
            if !into.is_empty() {
                std::fs::write(work.path().join(into), &out).expect("written");
            }
            let mut command = hindcast(&words);
            command
                .current_dir(work.path())
                .args(["--server", &busy.server.url]);
            let (_, errors, code) = finish(command, &[]);
            assert_eq!(code, Some(0), "{line}: {errors}");
        } else if let Some(words) = line.strip_prefix("curl -s http://127.0.0.1:8080") {
            let (path, rest) = words.split_once(' ').expect("a path");
            let body = rest
                .split(" -d ")
                .nth(1)
                .expect("a body")
                .trim_matches('\'');
            let body: Value = serde_json::from_str(body).expect("JSON");
            busy.server.post(path, &body).expect(200);
        } else {
            continue;
        }
        ran += 1;
    }
    assert_eq!(ran, 11);
}

#[test]
fn people_are_told_in_words() {
    let busy = busy(&[]);
    let at = busy.slow.to_string();
    let told = |words: &[&str]| {
        let mut command = hindcast(&[&["whatif", "--at", &at][..], words].concat());
        command.arg("--data-dir").arg(busy.dir.path());
        let (out, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(0), "{errors}");
        out
    };
    let out = told(&["--drop", &at, "--minimise", &busy.refused.to_string()]);
    for part in [
        &format!("first difference at sequence {at}")[..],
        "run_admitted instead of run_refused",
        "[recomputed]",
        "completed",
        "instead of refused (1 runs are in flight and the limit is 1)",
        "computed again",
        &format!("needs no more than [{at},{}]", busy.asked),
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert!(told(&[]).contains("nothing would have been otherwise"));
    let limit = ["--setting", "runs.in_flight_max=1", "--point-of-no-return"];
    let out = told(&[&limit[..], &[&busy.refused.to_string()]].concat());
    assert!(out.contains("do not prevent"), "{out}");
}

#[test]
fn what_is_sealed_is_computed_and_not_shown() {
    let busy = busy(&["privacy.seal_payloads=true"]);
    let edits = json!([{ "config": { "runs.in_flight_max": 2 } }]);
    let question = json!({ "at": busy.slow, "edits": edits });
    let reply = busy.server.post(WHATIF, &question);
    let found = reply.expect(200);
    let runs = found["runs"]["first"].as_array().expect("runs");
    let run = runs.iter().find(|run| run["run_id"] == busy.run.as_str());
    assert_eq!(run.expect("the run")["fork"]["result_hash"], busy.hash);
    assert_eq!(found["basis"]["recomputed"], 1);
    for part in ["\"graph\"", "\"correlation\"", "\"nodes\""] {
        assert!(!reply.body.contains(part), "{part} is in {}", reply.body);
    }
    let event = busy
        .server
        .get(&format!("/api/v1/events/{}", busy.asked))
        .expect(200);
    let mut event = json!({ "type": event["type"], "data": event["data"] });
    event["data"]["spec"] = json!({ "sealed": true, "key": 1, "bytes": 9 });
    let edits = json!([{ "replace": busy.asked, "event": event }]);
    let problem = busy
        .server
        .post(WHATIF, &json!({ "at": busy.slow, "edits": edits }));
    problem.expect_problem(422, "edits[0].event.data.spec");
}

#[test]
fn a_client_that_goes_away_ends_the_work() {
    use std::io::Write;
    let dir = temporary();
    let limits = ["runs.in_flight_max=1", "whatif.compute_ms_max=600000"];
    let limits = [&limits[..], &["whatif.time_ms_max=600000"]].concat();
    let server = Server::start_with(serve(dir.path(), &limits));
    let slow = |seed: u64| {
        let mut body = slow_discovery();
        body["seed"] = json!(seed);
        server.post_with(DISCOVER, &body, &[("prefer", "respond-async")])
    };
    let run = slow(1).expect(202)["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for seed in 2..8 {
        slow(seed).expect_problem(503, "");
    }
    server
        .post(&format!("/api/v1/runs/{run}/cancel"), &json!({}))
        .expect(200);
    server.post(VALIDATE, &validation()).expect(200);
    let at = seqs(&server, "run_requested")[0].0;
    // Six refused runs are computed, one after the other, each for some seconds.
    let body =
        json!({ "at": at, "edits": [{ "config": { "runs.in_flight_max": 9 } }] }).to_string();
    let address = server.url.strip_prefix("http://").expect("an address");
    let mut client = std::net::TcpStream::connect(address).expect("it listens");
    let head = format!(
        "POST {WHATIF} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).expect("sent");
    server.wait_until("/api/v1/events?type=what_if_asked", |page| {
        page["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty())
    });
    let empty = json!({ "at": at });
    let busy = server.post(WHATIF, &empty);
    assert_eq!(busy.expect_problem(503, "")["limit"], 1);
    assert_eq!(busy.header("retry-after"), "5");
    drop(client);
    for _ in 0..200 {
        if server.post(WHATIF, &empty).status == 200 {
            return;
        }
        crate::support::pause(std::time::Duration::from_millis(10));
    }
    panic!("the work goes on although nobody waits for it");
}
