use std::time::Duration;

use serde_json::json;

use crate::support::{
    DISCOVER, Server, VALIDATE, finish, hindcast, pause, serve, slow_discovery, temporary,
    validation,
};

#[test]
fn sigterm_ends_in_good_order_and_the_log_says_so() {
    let dir = temporary();
    let server = Server::start(dir.path());
    server.post(VALIDATE, &validation()).expect(200);
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(dir.path());
    let stopped = server.get("/api/v1/events?type=server_stopped").expect(200);
    assert_eq!(stopped["items"][0]["data"]["reason"], "SIGTERM");
    let started = server.get("/api/v1/events?type=server_started").expect(200);
    assert_eq!(started["items"][1]["data"]["clean"], true);
    let loaded = server
        .get("/api/v1/events?type=configuration_loaded")
        .expect(200);
    assert_eq!(loaded["items"][1]["data"]["generation"], 2);
}

#[test]
fn a_snapshot_is_taken_when_it_is_asked_for() {
    let dir = temporary();
    let server = Server::start(dir.path());
    server.post(VALIDATE, &validation()).expect(200);
    let taken = server.post("/-/snapshot", &json!({})).expect(200);
    let file = |taken: &serde_json::Value| dir.path().join(taken["file"].as_str().expect("text"));
    let found = std::fs::metadata(file(&taken)).expect("a file");
    assert_eq!(taken["bytes"], found.len());
    let audited = server.get("/api/v1/events?type=audited").expect(200);
    assert_eq!(audited["items"][0]["data"]["verb"], "snapshots.take");
    let data_dir = dir.path().to_str().expect("text");
    let local = || {
        let words = ["snapshot", "--json", "--data-dir", data_dir];
        let out = hindcast(&words).output().expect("it runs");
        let said = if out.status.success() {
            out.stdout
        } else {
            out.stderr
        };
        let said = String::from_utf8(said).expect("text");
        (out.status.code(), said)
    };
    let (code, refused) = local();
    assert_eq!(code, Some(1), "{refused}");
    assert!(refused.contains("a server has"), "{refused}");
    drop(server);
    let (code, taken) = local();
    assert_eq!(code, Some(0), "{taken}");
    let taken = serde_json::from_str(&taken).expect("JSON");
    assert!(file(&taken).is_file(), "{taken}");
    // What is asked of that moment begins with it.
    let server = Server::start(dir.path());
    let at = format!("/api/v1/state/all?at={}", taken["seq"]);
    assert_eq!(server.get(&at).expect(200)["from_snapshot"], taken["seq"]);
}

#[test]
fn an_open_stream_does_not_hold_up_the_stop() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let url = server.url.clone();
    let (opened, wait) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut seen = 0;
        let response = ureq::get(format!("{url}/api/v1/events?from=1"))
            .header("accept", "text/event-stream")
            .call();
        let mut response = response.expect("a stream");
        let lines =
            std::io::BufRead::lines(std::io::BufReader::new(response.body_mut().as_reader()));
        for _ in lines.map_while(Result::ok) {
            seen += 1;
            let _heard = opened.send(());
        }
        seen
    });
    wait.recv().expect("the stream opens");
    assert_eq!(server.stop(), Some(0));
    assert!(reader.join().expect("the stream ends") > 0);
}

#[test]
fn a_pending_run_is_computed_after_a_kill_with_the_same_id_and_seed() {
    let dir = temporary();
    let mut server = Server::start_with(serve(dir.path(), &["runs.threads=1"]));
    let asynchronous = [("prefer", "respond-async")];
    server
        .post_with(DISCOVER, &slow_discovery(), &asynchronous)
        .expect(202);
    let request = json!({ "data": [[1, 2], [2, 1], [3, 3], [4, 9]] });
    let queued = server
        .post_with(DISCOVER, &request, &asynchronous)
        .expect(202);
    server.kill();
    let server = Server::start(dir.path());
    let path = format!("/api/v1/runs/{}", queued["run_id"].as_str().expect("an id"));
    let run = server.wait_until(&path, |run| run["status"] == "completed");
    assert_eq!(run["seed"], queued["seed"]);
    assert_eq!(run["result"]["seed"], queued["seed"]);
    let started = server.get("/api/v1/events?type=server_started").expect(200);
    assert_eq!(started["items"][1]["data"]["clean"], false);
}

#[test]
fn the_port_answers_from_the_first_moment() {
    let dir = temporary();
    let (server, mut lines) = Server::spawn(serve(dir.path(), &[]));
    // Whatever the stage is, health answers and work is either done or asked to come back.
    let early = server.post(VALIDATE, &validation());
    if early.status == 503 {
        assert_eq!(early.header("retry-after"), "1");
        assert_eq!(early.json()["type"], "urn:hindcast:problem:starting");
    }
    server.get("/health/live").expect(200);
    let startup = server.get("/health/startup");
    assert!(matches!(startup.status, 200 | 503), "{}", startup.body);
    assert!(lines.next().is_some_and(|line| line.contains("ready")));
    server.get("/health/startup").expect(200);
    server.post(VALIDATE, &validation()).expect(200);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let (out, errors, code) = finish(serve(dir.path(), &[]), &[]);
    assert_eq!(code, Some(1), "{out}{errors}");
    assert!(errors.contains("--server"), "{errors}");
    server.get("/health").expect(200);
}

#[test]
fn a_deadline_ends_a_run_with_a_clear_answer() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["runs.deadline_ms=300"]));
    let late = server.post(DISCOVER, &slow_discovery());
    let problem = late.expect_problem(504, "");
    let path = format!(
        "/api/v1/runs/{}",
        problem["run_id"].as_str().expect("an id")
    );
    assert_eq!(
        server.get(&path).expect(200)["error"]["code"],
        "deadline_exceeded"
    );
}

#[test]
fn deadlines_that_pass_while_no_server_runs_open_no_breaker() {
    let dir = temporary();
    let settings = [
        "runs.deadline_ms=3000",
        "runs.threads=1",
        "breakers.consecutive_failures=2",
        "breakers.minimum_calls=2",
    ];
    let mut server = Server::start_with(serve(dir.path(), &settings));
    let asynchronous = [("prefer", "respond-async")];
    let mut runs = Vec::new();
    for seed in 0..4 {
        let mut discovery = slow_discovery();
        discovery["seed"] = seed.into();
        let accepted = server.post_with(DISCOVER, &discovery, &asynchronous);
        let url = accepted.expect(202)["status_url"].clone();
        runs.push(url.as_str().expect("a URL").to_owned());
    }
    server.kill();
    drop(server);
    pause(Duration::from_millis(3_100));
    let server = Server::start_with(serve(dir.path(), &settings));
    for run in &runs {
        let ended = server.wait_until(run, |run| run["status"] == "failed");
        assert_eq!(ended["error"]["code"], "deadline_unserved", "{ended}");
    }
    let breaker = server.get("/api/v1/breakers/discovery_boss").expect(200);
    assert_eq!(breaker["state"], "closed", "{breaker}");
    assert_eq!(breaker["totals"]["failure"], 0, "{breaker}");
}

#[test]
fn who_has_no_room_for_work_is_not_ready() {
    let dir = temporary();
    let all = "disk.reserve_bytes=17592186044416";
    let server = Server::start_with(serve(dir.path(), &[all]));
    let ready = server.wait_until("/health/ready", |ready| ready["status"] == "degraded");
    assert_eq!(ready["components"]["runs"]["intake_paused"], true);
    server.get("/health/ready").expect(503);
    server.get("/-/ready").expect(503);
    server.get("/health/live").expect(200);
    server.post(VALIDATE, &validation()).expect(507);
}

#[test]
fn a_full_house_is_told_to_come_back() {
    let dir = temporary();
    let server = Server::start_with(serve(
        dir.path(),
        &["runs.in_flight_max=1", "runs.threads=1"],
    ));
    let asynchronous = [("prefer", "respond-async")];
    server
        .post_with(DISCOVER, &slow_discovery(), &asynchronous)
        .expect(202);
    let full = server.post_with(DISCOVER, &slow_discovery(), &asynchronous);
    assert_eq!(full.expect_problem(503, "")["limit"], 1);
    assert_eq!(full.header("retry-after"), "1");
    server.post(VALIDATE, &validation()).expect(200);
}
