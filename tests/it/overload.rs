//! More than can be done: what is taken is kept, the rest is told at once, and health answers.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{
    DISCOVER, Server, VALIDATE, finish, hindcast, sachs, serve, slow_discovery, temporary,
    validation,
};

#[test]
fn a_deadline_of_the_request_ends_the_run() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let reply = server.post_with(DISCOVER, &slow_discovery(), &[("hindcast-deadline", "300")]);
    let problem = reply.expect_problem(504, "header.hindcast-deadline");
    assert_eq!(problem["type"], "urn:hindcast:problem:caller-deadline");
    let run = problem["run_id"].as_str().expect("it was recorded");
    let events = server
        .get(&format!("/api/v1/events?stream=run/{run}"))
        .expect(200);
    let items = events["items"].as_array().expect("items");
    let deadline = items[0]["data"]["deadline_micros"]
        .as_u64()
        .expect("a deadline");
    assert!((1..=300_000).contains(&deadline), "{deadline}");
    let last = items.last().expect("an end");
    assert_eq!(last["type"], "run_failed");
    assert_eq!(last["data"]["code"], "caller_deadline");
    // The thread is free again.
    server.wait_until("/health/ready", |health| {
        health["components"]["runs"]["in_flight"] == 0
    });
    server
        .post(
            DISCOVER,
            &json!({ "data": [[1, 2], [2, 1], [4, 3]], "seed": 1 }),
        )
        .expect(200);
    for wrong in ["0", "soon", "-1", "86400001"] {
        let reply = server.post_with(VALIDATE, &validation(), &[("hindcast-deadline", wrong)]);
        reply.expect_problem(400, "header.hindcast-deadline");
        let reply = server.post_with(
            VALIDATE,
            &validation(),
            &[("hindcast-retry-attempt", wrong)],
        );
        match wrong {
            "0" => assert_eq!(reply.status, 200, "the first time"),
            _ => drop(reply.expect_problem(400, "header.hindcast-retry-attempt")),
        }
    }
    server
        .post_with(VALIDATE, &validation(), &[("hindcast-deadline", "60000")])
        .expect(200);
}

#[test]
fn a_principal_that_sends_too_much_is_told_when_to_come_back() {
    let dir = temporary();
    let settings = [
        "overload.limited_on_loopback=true",
        "overload.requests_per_second=1",
        "overload.requests_burst=5",
    ];
    let server = Server::start_with(serve(dir.path(), &settings));
    let replies: Vec<_> = (0..7).map(|_| server.get("/api/v1/runs")).collect();
    assert_eq!(replies[0].status, 200);
    assert_eq!(
        replies[0].header("ratelimit-policy"),
        "\"principal\";q=5;w=5"
    );
    assert_eq!(replies[0].header("ratelimit"), "\"principal\";r=4;t=5");
    let refused = &replies[6];
    let problem = refused.expect_problem(429, "");
    assert_eq!(problem["limit"], 1);
    assert_ne!(refused.header("retry-after"), "");
    for probe in ["/health/live", "/health/ready", "/-/healthy", "/health"] {
        server.get(probe).expect(200);
    }
    // An operator looks all the same, and sees no overload.
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200, "{}", metrics.body);
    let errors =
        |kind: &str| format!("http_errors_total{{type=\"{kind}\",path=\"/api/v1/runs\"}} ");
    for (kind, count) in [("client", 2), ("overload", 0)] {
        let line = format!("{}{count}", errors(kind));
        assert!(
            metrics.body.lines().any(|shown| shown == line),
            "{line}: {}",
            metrics.body
        );
    }
}

#[test]
fn long_runs_leave_cheap_ones_their_thread_and_others_their_room() {
    let dir = temporary();
    let settings = ["runs.threads=1", "overload.heavy_runs_max=1"];
    let server = Server::start_with(serve(dir.path(), &settings));
    let csv = [("content-type", "text/csv")];
    let stored = server.send(Method::POST, "/api/v1/datasets", &csv, &sachs());
    let dataset = stored.expect(201)["digest"].clone();
    let background = [("prefer", "respond-async")];
    let slow = |seed: u64| {
        let mut body = slow_discovery();
        body["seed"] = json!(seed);
        server.post_with(DISCOVER, &body, &background)
    };
    let first = slow(1).expect(202)["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    server.wait_until(&format!("/api/v1/runs/{first}"), |run| {
        run["status"] == "running"
    });
    slow(2).expect(202);
    // The second waits, and a third would wait behind it.
    server.wait_until("/debug/memory", |_| {
        let refused = slow(3);
        refused.status == 503 && !refused.header("retry-after").is_empty()
    });
    // A validation that reads a stored table is computed where runs are computed.
    let question = json!({ "graph": "dag { praf -> pmek }", "treatment": "praf", "outcome": "pmek",
        "dataset": dataset });
    server.post(VALIDATE, &question).expect(200);
    let running = server.get(&format!("/api/v1/runs/{first}")).expect(200);
    assert_eq!(running["status"], "running");
}

/// One connection that sends the same kind of request again and again.
struct Caller {
    stream: BufReader<TcpStream>,
}

struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: String,
}

impl Caller {
    fn new(url: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(url.trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    fn ask(&mut self, path: &str, body: &str) -> std::io::Result<Answer> {
        let length = body.len();
        write!(
            self.stream.get_mut(),
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )?;
        let mut line = String::new();
        let mut answer = Answer {
            status: 0,
            retry_after: None,
            body: String::new(),
        };
        let mut bytes = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix("http/1.1 ") {
                answer.status = rest[..3].parse().expect("a status");
            } else if let Some(value) = text.strip_prefix("content-length: ") {
                bytes = value.parse().expect("a length");
            } else if let Some(value) = text.strip_prefix("retry-after: ") {
                answer.retry_after = value.parse().ok();
            }
        }
        let mut body = vec![0; bytes];
        self.stream.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).expect("UTF-8");
        Ok(answer)
    }
}

fn resident_peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a figure") >> 10
}

/// What many callers saw.
struct Seen {
    /// Ids of runs whose results were answered.
    acknowledged: Vec<String>,
    turned_away: usize,
    /// Rounds of probes that were all answered.
    probes: usize,
}

#[expect(clippy::disallowed_methods, reason = "a test that ends by the clock")]
fn moment() -> Instant {
    Instant::now()
}

/// Asks without a pause until the time is over.
fn call(url: &str, seeds: &AtomicUsize, until: Instant) -> (Vec<String>, usize) {
    let mut caller = Caller::new(url).expect("a connection");
    let (mut acknowledged, mut turned_away) = (Vec::new(), 0);
    while moment() < until {
        let mut question = validation();
        question["seed"] = json!(seeds.fetch_add(1, Ordering::Relaxed));
        let answer = caller
            .ask(VALIDATE, &question.to_string())
            .expect("an answer");
        match answer.status {
            200 => {
                let body: Value = serde_json::from_str(&answer.body).expect("JSON");
                acknowledged.push(body["run_id"].as_str().expect("an id").to_owned());
            }
            503 => {
                let wait = answer.retry_after.expect("when to come back");
                assert!((1..=3).contains(&wait), "{wait}");
                turned_away += 1;
            }
            other => panic!("{other}: {}", answer.body),
        }
    }
    (acknowledged, turned_away)
}

fn overload(server: &Server, callers: usize, time: Duration) -> Seen {
    let seeds = AtomicUsize::new(1);
    let until = moment() + time;
    let mut seen = Seen {
        acknowledged: Vec::new(),
        turned_away: 0,
        probes: 0,
    };
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..callers)
            .map(|_| scope.spawn(|| call(&server.url, &seeds, until)))
            .collect();
        while moment() < until {
            server.get("/health/live").expect(200);
            server.get("/health/ready").expect(200);
            server.get("/debug/actors").expect(200);
            seen.probes += 1;
        }
        for calls in calls {
            let (acknowledged, turned_away) = calls.join().expect("no panic");
            seen.acknowledged.extend(acknowledged);
            seen.turned_away += turned_away;
        }
    });
    seen
}

/// The runs that the log says are completed, read from its files.
fn completed(data_dir: &std::path::Path) -> BTreeSet<String> {
    let arguments = ["events", "export", "--type", "run_completed", "--data-dir"];
    let mut command = hindcast(&arguments);
    command.arg(data_dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let stream = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let stream = event["stream"].as_str().expect("a stream");
        stream.replace("run/", "")
    };
    out.lines().map(stream).collect()
}

/// Ten times as many callers as are taken at once, without a pause, for three seconds: as long as
/// it takes to see that nothing piles up.
#[test]
fn at_ten_times_what_can_be_done_nothing_acknowledged_is_lost() {
    let dir = temporary();
    let settings = [
        "overload.cheap_concurrency_max=8",
        "overload.cheap_waiting_max=8",
    ];
    let mut server = Server::start_with(serve(dir.path(), &settings));
    let Seen {
        acknowledged,
        turned_away,
        probes,
    } = overload(&server, 160, Duration::from_secs(3));
    assert!(probes > 0 && !acknowledged.is_empty());
    assert!(turned_away > 0, "{} were taken", acknowledged.len());
    let peak = resident_peak_mib(server.pid());
    assert!(peak < 400, "{peak} MiB");
    server.wait_until("/api/v1/experiments/stats", |stats| {
        let shed = stats["requests_shed"].as_u64();
        shed.is_some_and(|shed| shed >= turned_away as u64)
    });
    let metrics = server.get("/metrics").body;
    for line in [
        "overload_shed_total{lane=\"cheap\",reason=\"no_room\"}",
        "overload_concurrency_limit{lane=\"cheap\"}",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    // What was acknowledged is on the medium, whatever becomes of the process.
    server.kill();
    let kept = completed(dir.path());
    let taken = acknowledged.len();
    let lost = acknowledged
        .iter()
        .filter(|run| !kept.contains(*run))
        .count();
    assert_eq!(lost, 0, "of {taken}");
    println!("{taken} taken, {turned_away} turned away, {probes} rounds of probes, {peak} MiB");
}
