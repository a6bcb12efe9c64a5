//! What is measured and told, as those read it who collect it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::runbook::words;
use crate::support::{
    DISCOVER, ROOT, Server, VALIDATE, finish, hindcast, pause, serve, slow_discovery, temporary,
    validation,
};
use crate::tools::{busy, program, program_that};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A program that ends with the test.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// What a program answers to GET, once `good` says so.
fn wait_for(url: &str, good: impl Fn(&Value) -> bool) -> Value {
    let mut last = String::new();
    for _ in 0..400 {
        if let Ok(mut reply) = ureq::get(url).call() {
            last = reply.body_mut().read_to_string().expect("text");
            if let Ok(value) = serde_json::from_str::<Value>(&last)
                && good(&value)
            {
                return value;
            }
        }
        pause(Duration::from_millis(50));
    }
    panic!("{url} never answered what was waited for: {last}");
}

#[test]
fn the_format_of_metrics_is_negotiated() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let headers = [("traceparent", TRACEPARENT)];
    server
        .post_with(VALIDATE, &validation(), &headers)
        .expect(200);
    let text = server.get("/metrics");
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(text.header("content-type"), kind);
    assert!(!text.body.contains("trace_id"), "{}", text.body);

    let accept = [(
        "accept",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    )];
    let open = server.send(Method::GET, "/metrics", &accept, &[]);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), kind);
    assert!(open.body.ends_with("# EOF\n"));
    let start =
        "http_request_duration_seconds_bucket{method=\"POST\",path=\"/api/v1/causal/validate\"";
    let trace = format!("# {{trace_id=\"{TRACE}\"}} 0.");
    let traced = open.body.lines().filter(|line| line.starts_with(start));
    assert_eq!(traced.filter(|line| line.contains(&trace)).count(), 1);
    assert!(open.body.contains("# TYPE http_requests counter\n"));

    let address = server.url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).expect("a connection");
    let head =
        "GET /metrics HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer");
    let head = String::from_utf8_lossy(&answer[..answer.len().min(600)]).to_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(answer.len() < text.body.len() / 3, "{}", answer.len());

    let models = server.get("/model-metrics");
    let families = models
        .body
        .lines()
        .filter(|line| line.starts_with("# TYPE "));
    let mut families = families.map(|line| line.split(' ').nth(2).expect("a name"));
    assert!(families.all(|name| name.starts_with("causal_") || name.starts_with("model_")));
    assert!(
        models
            .body
            .contains("model_inference_duration_seconds_count")
    );
}

#[test]
fn a_family_does_not_grow_without_end() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["metrics.series_max=20"]));
    for n in 0..30 {
        server.get(&format!("/nowhere/{n}"));
    }
    server.post(VALIDATE, &validation()).expect(200);
    let text = server.get("/metrics").body;
    let paths = text.lines().filter(|line| line.contains("path=\"/nowhere"));
    assert_eq!(paths.count(), 0, "what has no route is counted together");
    let rows = |family: &str| {
        let start = format!("{family}{{");
        text.lines().filter(|line| line.starts_with(&start)).count()
    };
    assert!(rows("events_total") == 21, "{text}");
    let limited = "metric_cardinality_limited_total{metric=\"events_total\"}";
    assert!(text.contains("events_total{overflow=\"true\"}"), "{text}");
    assert!(text.contains(limited), "{text}");
}

#[test]
fn prometheus_reads_everything_and_keeps_the_traces() {
    let Some(mut prometheus) = program("prometheus") else {
        return;
    };
    let dir = temporary();
    let server = busy(&dir.path().join("data"));
    let headers = [("traceparent", TRACEPARENT)];
    server
        .post_with(VALIDATE, &validation(), &headers)
        .expect(200);
    let target = server.url.trim_start_matches("http://");
    let jobs = ["/metrics", "/model-metrics"].map(|path| {
        format!(
            "- job_name: {}\n  metrics_path: {path}\n  static_configs: [{{targets: ['{target}']}}]\n",
            path.trim_start_matches('/')
        )
    });
    let global = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n";
    let config = dir.path().join("prometheus.yml");
    std::fs::write(&config, format!("{global}{}", jobs.concat())).expect("written");
    let port = free_port();
    prometheus
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.path().join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--enable-feature=exemplar-storage")
        .current_dir(dir.path());
    let _prometheus = Running::start(prometheus);
    let api = format!("http://127.0.0.1:{port}/api/v1");
    for (query, least) in [
        ("up{job='metrics'}==1", 1),
        ("up{job='model-metrics'}==1", 1),
        (
            "http_requests_total{path='/api/v1/causal/validate',status='200'}>=2",
            1,
        ),
        ("rate(http_request_duration_seconds_bucket[1m])", 10),
        (
            "100-avg(rate(node_cpu_seconds_total{mode='idle'}[5m]))*100",
            1,
        ),
        (
            "node_memory_MemAvailable_bytes/node_memory_MemTotal_bytes",
            1,
        ),
        ("isl_cache_size", 1),
        (
            "model_inference_duration_seconds_count{job='model-metrics'}",
            1,
        ),
    ] {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        wait_for(&format!("{api}/query?query={encoded}"), |reply| {
            let found = reply["data"]["result"].as_array();
            found.is_some_and(|found| found.len() >= least)
        });
    }
    let targets = wait_for(&format!("{api}/targets"), |_| true);
    for target in targets["data"]["activeTargets"]
        .as_array()
        .expect("targets")
    {
        assert_eq!(target["lastError"], "", "{target}");
    }
    let exemplars = format!(
        "{api}/query_exemplars?query=http_request_duration_seconds_bucket&start=0&end=99999999999"
    );
    wait_for(&exemplars, |reply| reply.to_string().contains(TRACE));
}

/// The bytes of each frame that holds one batch of figures, in order; see docs/events.md.
fn sampled_frames(data_dir: &Path) -> Vec<u64> {
    let segments = std::fs::read_dir(data_dir.join("wal")).expect("segments");
    let mut segments: Vec<_> = segments.map(|entry| entry.expect("one").path()).collect();
    segments.sort();
    let mut sizes = Vec::new();
    for bytes in segments
        .iter()
        .map(|path| std::fs::read(path).expect("a segment"))
    {
        let mut frame = &bytes[128..];
        while frame.starts_with(b"HCF1") {
            let length = u32::from_le_bytes(frame[44..48].try_into().expect("four"));
            if frame[90..92] == 50_u16.to_le_bytes() {
                sizes.push(84 + u64::from(length));
            }
            frame = &frame[84 + usize::try_from(length).expect("it fits")..];
        }
    }
    sizes
}

/// Seconds of a day over those between two batches.
const BATCHES_A_DAY: u64 = 86_400 / 15;

#[test]
fn figures_are_recorded_and_an_idle_day_is_little() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["metrics.sample_interval_ms=100"]));
    server.post(VALIDATE, &validation()).expect(200);
    let path = "/api/v1/events?type=metrics_sampled&limit=100";
    let reply = server.wait_until(path, |reply| {
        let items = reply["items"].as_array();
        items.is_some_and(|items| items.len() >= 8 && items[0]["stream"] == "system/metrics")
    });
    let items = reply["items"].as_array().expect("a list");
    let value = |item: &Value, name: &str| item["data"]["values"][name].as_f64();
    let name = "http_requests_total{class=\"2xx\"}";
    let requests: f64 = items.iter().filter_map(|item| value(item, name)).sum();
    assert!(requests >= 1.0, "{reply}");
    let last = items.last().expect("one");
    assert!(
        value(last, "process_resident_memory_bytes") > Some(1e6),
        "{last}"
    );
    assert!(value(last, "disk_free_bytes").is_some(), "{last}");

    // Nothing happens for a while, so that the last frames are those of an idle server.
    pause(Duration::from_secs(1));
    let sequence = last["seq"].to_string();
    server.stop();
    let frames = sampled_frames(dir.path());
    let idle = &frames[frames.len() - 5..];
    let a_day = idle.iter().sum::<u64>() / 5 * BATCHES_A_DAY;
    println!("{a_day} bytes of frames a day");
    assert!(a_day < 2_000_000, "{a_day}");

    let directory = dir.path().display().to_string();
    let show = hindcast(&["events", "show", &sequence, "--data-dir", &directory]);
    let (out, errors, code) = finish(show, &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("\"process_resident_memory_bytes\""), "{out}");
    let (_, errors, code) = finish(hindcast(&["verify", "--data-dir", &directory]), &[]);
    assert_eq!(code, Some(0), "{errors}");
}

/// A discovery that takes the way over the computation actor.
fn small_discovery() -> Value {
    let rows = [[1.0, 2.0], [2.0, 3.0], [3.0, 5.0], [4.0, 4.0], [5.0, 6.0]];
    json!({ "data": rows, "algorithm": "correlation" })
}

/// The lines of a file that are JSON.
fn json_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(serde_json::from_str::<Value>);
    lines.filter_map(Result::ok).collect()
}

/// oteltap, which writes what it is sent to the file, and its port.
fn collector(told: &Path) -> Option<(Running, u16)> {
    let mut oteltap = program_that("oteltap", "--help")?;
    let port = free_port();
    oteltap
        .args(["--port", &port.to_string()])
        .env("PYTHONUNBUFFERED", "1")
        .stdout(std::fs::File::create(told).expect("a file"))
        .stderr(Stdio::null());
    let running = Running(oteltap.spawn().expect("it starts"));
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        pause(Duration::from_millis(50));
    }
    Some((running, port))
}

/// Waits until the collector was told something.
fn wait_told(told: &Path, what: &str, found: &dyn Fn(&Value) -> bool) -> Value {
    for _ in 0..400 {
        if let Some(line) = json_lines(told).into_iter().find(found) {
            return line;
        }
        pause(Duration::from_millis(50));
    }
    panic!("{what} did not come");
}

/// The spans of the request, which ends with `http.request`: one trace from the caller's on.
fn assert_one_trace(told: &Path, run: &Value) {
    let of_request =
        |line: &Value| line["traceId"] == TRACE && line["startTimeUnixNano"].is_string();
    let request = wait_told(told, "the request", &|line| {
        of_request(line) && line["name"] == "http.request"
    });
    let mut spans = json_lines(told);
    spans.retain(of_request);
    let named =
        |name: &str| -> Vec<&Value> { spans.iter().filter(|span| span["name"] == name).collect() };
    assert_eq!(request["parentSpanId"], "00f067aa0ba902b7");
    for name in ["actor.message", "computation", "answer"] {
        let found = named(name);
        assert_eq!(found.len(), 1, "{name} in {spans:?}");
        assert_eq!(found[0]["parentSpanId"], request["spanId"], "{name}");
    }
    // One for the request, one for the outcome.
    let commits = named("log.commit");
    let parents: Vec<&Value> = commits.iter().map(|span| &span["parentSpanId"]).collect();
    assert_eq!(parents.len(), 2);
    let message = &named("actor.message")[0]["spanId"];
    assert!(parents.contains(&message) && parents.contains(&&request["spanId"]));
    let id = run["run_id"].as_str().expect("an id");
    assert!(named("computation")[0].to_string().contains(id));
}

#[test]
fn one_trace_reaches_a_collector_with_logs_and_metrics() {
    let dir = temporary();
    let told = dir.path().join("told");
    let Some((_collector, port)) = collector(&told) else {
        return;
    };
    let settings = [
        "otlp.batch_ms=50",
        "otlp.metrics_interval_ms=200",
        "telemetry.filter=debug",
    ];
    let mut command = serve(&dir.path().join("data"), &settings);
    let endpoint = format!("http://127.0.0.1:{port}");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    command.env("OTEL_SERVICE_NAME", "edge");
    let server = Server::start_with(command);
    let headers = [("traceparent", TRACEPARENT)];
    let run = server.post_with(DISCOVER, &small_discovery(), &headers);
    assert_one_trace(&told, &run.expect(200));
    wait_told(&told, "the log line of the commit", &|line| {
        line["body"]["stringValue"] == "recorded"
            && line["traceId"] == TRACE
            && line["spanId"] != ""
            && line.to_string().contains("seq")
    });
    wait_told(&told, "a histogram", &|line| {
        line["name"] == "http_request_duration_seconds" && line["histogram"].is_object()
    });
    let own = json_lines(&told);
    let own = own
        .iter()
        .filter(|line| line.to_string().contains("telemetry::otlp"));
    assert_eq!(own.count(), 0, "what sends tells nothing of itself");
    assert_eq!(server.stop(), Some(0));
}

/// Another collector, of another make: what it prints is what it understood.
#[test]
fn rotel_understands_all_three_signals() {
    let Some(mut rotel) = program("rotel-agent") else {
        return;
    };
    let dir = temporary();
    let told = dir.path().join("told");
    let (port, unused) = (free_port(), free_port());
    rotel.args(["start", "--exporter", "blackhole"]);
    for signal in ["traces", "metrics", "logs"] {
        rotel.args(["--debug-log", signal]);
    }
    rotel.args(["--debug-log-verbosity", "detailed"]);
    rotel.args(["--otlp-http-endpoint", &format!("127.0.0.1:{port}")]);
    rotel.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{unused}")]);
    rotel
        .stdout(std::fs::File::create(&told).expect("a file"))
        .stderr(Stdio::null());
    let _collector = Running(rotel.spawn().expect("it starts"));
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        pause(Duration::from_millis(50));
    }
    let endpoint = format!("otlp.endpoint=http://127.0.0.1:{port}");
    let settings = [
        endpoint.as_str(),
        "otlp.batch_ms=50",
        "otlp.metrics_interval_ms=200",
        "telemetry.filter=debug",
    ];
    let server = Server::start_with(serve(&dir.path().join("data"), &settings));
    let headers = [("traceparent", TRACEPARENT)];
    server
        .post_with(VALIDATE, &validation(), &headers)
        .expect(200);
    let text = || std::fs::read_to_string(&told).expect("a file");
    let mut left = 400;
    loop {
        let text = text();
        let all = [
            TRACE,
            "http.request",
            "log.commit",
            "http_requests_total",
            "LogRecord",
        ];
        let missing: Vec<&&str> = all.iter().filter(|part| !text.contains(**part)).collect();
        if missing.is_empty() {
            break;
        }
        left -= 1;
        assert!(left > 0, "{missing:?} did not come in\n{text}");
        pause(Duration::from_millis(50));
    }
    let metrics = server.get("/metrics").body;
    for signal in ["traces", "metrics", "logs"] {
        for reason in ["queue_full", "not_taken", "breaker_open"] {
            let labels = format!("signal=\"{signal}\",reason=\"{reason}\"");
            let dropped = format!("telemetry_dropped_total{{{labels}}} 0");
            assert!(metrics.contains(&dropped), "{metrics}");
        }
    }
    let collector = "external_dependency_up{dependency=\"otlp\"} 1\n";
    assert!(metrics.contains(collector), "{metrics}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_collector_that_never_answers_costs_no_request_and_little_memory() {
    const QUEUE_BYTES: u64 = 20_000;
    let dir = temporary();
    let stuck = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", stuck.local_addr().expect("an address"));
    let settings = [
        format!("otlp.endpoint={endpoint}"),
        "otlp.batch_ms=10".to_owned(),
        "otlp.metrics_interval_ms=100".to_owned(),
        format!("otlp.queue_bytes_max={QUEUE_BYTES}"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start_with(serve(dir.path(), &settings));
    for n in 0..300 {
        let question = json!({
            "graph": "dag { x -> y }", "treatment": "x", "outcome": "y", "seed": n,
        });
        server.post(VALIDATE, &question).expect(200);
    }
    let metrics = server.get("/metrics").body;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|text| text.trim().parse::<u64>().ok());
        value.unwrap_or_else(|| panic!("{name} in\n{metrics}"))
    };
    assert!(value("telemetry_dropped_total{signal=\"traces\",reason=\"queue_full\"}") > 100);
    assert_eq!(value("telemetry_sent_total{signal=\"traces\"}"), 0);
    assert!(value("telemetry_queue_bytes") <= QUEUE_BYTES);
    // The stop waits for what is not sent only so long.
    assert_eq!(server.stop(), Some(0));
    drop(stuck);
}

#[test]
fn settings_of_telemetry_that_make_no_sense_stop_the_start() {
    let dir = temporary();
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
    ] {
        let mut command = serve(dir.path(), &["otlp.endpoint=http://127.0.0.1:1"]);
        command.env(name, value);
        let (_, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains(name), "{errors}");
    }
    let unwritable = format!("telemetry.log_file={ROOT}/Cargo.toml/log");
    let (_, errors, code) = finish(serve(dir.path(), &[&unwritable]), &[]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("telemetry.log_file"), "{errors}");
}

#[test]
fn log_files_are_json_begin_anew_and_name_the_trace() {
    let dir = temporary();
    let file = dir.path().join("logs/server.log");
    let settings = [
        format!("telemetry.log_file={}", file.display()),
        "telemetry.log_file_bytes_max=4096".to_owned(),
        "telemetry.log_keep_bytes_max=12000".to_owned(),
        "telemetry.filter=debug".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start_with(serve(&dir.path().join("data"), &settings));
    let headers = [("traceparent", TRACEPARENT)];
    for _ in 0..60 {
        server.get("/api/v1/runs").expect(200);
    }
    server
        .post_with(VALIDATE, &validation(), &headers)
        .expect(200);
    server.stop();
    let folder = std::fs::read_dir(file.parent().expect("a folder")).expect("files");
    let files: Vec<_> = folder
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!((2..=4).contains(&files.len()), "{files:?}");
    let lines: Vec<Value> = files.iter().flat_map(|path| json_lines(path)).collect();
    let written: u64 = files
        .iter()
        .map(|path| path.metadata().expect("a file").len())
        .sum();
    assert!(written <= 12_000 + 4_096, "{written}");
    for line in &lines {
        for name in ["timestamp", "level", "target", "message"] {
            assert!(line[name].is_string(), "{line}");
        }
    }
    let recorded = lines
        .iter()
        .find(|line| line["message"] == "recorded" && line["trace_id"] == TRACE);
    let recorded = recorded.expect("a line of the commit");
    assert!(
        recorded["seq"].is_u64() && recorded["span_id"].is_string(),
        "{recorded}"
    );
}

#[test]
fn slow_and_failed_requests_are_kept_to_be_looked_at() {
    let dir = temporary();
    let settings = ["telemetry.slow_ms=0", "telemetry.traces_max=20"];
    let server = Server::start_with(serve(dir.path(), &settings));
    let headers = [("traceparent", TRACEPARENT)];
    server
        .post_with(DISCOVER, &small_discovery(), &headers)
        .expect(200);
    let found = server.wait_until("/debug/traces?limit=50", |found| {
        found.to_string().contains(TRACE)
    });
    let items = found["items"].as_array().expect("a list");
    let trace = items
        .iter()
        .find(|item| item["trace_id"] == TRACE)
        .expect("ours");
    let names: Vec<&str> = trace["spans"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|span| span["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names[0], "http.request");
    for name in ["actor.message", "log.commit", "computation", "answer"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(trace["failed"], false);
    for _ in 0..30 {
        server.get("/api/v1/runs").expect(200);
    }
    let found = server.get("/debug/traces?limit=500").expect(200);
    assert_eq!(found["kept"], 20);
    assert!(found["displaced"].as_u64() > Some(0), "{found}");
    let found = server.get("/debug/traces?slow=100000").expect(200);
    assert_eq!(found["items"], json!([]));
    server
        .get("/debug/traces?slow=much")
        .expect_problem(400, "query.slow");
    server
        .get("/debug/traces?fast=1")
        .expect_problem(400, "query.fast");
    let slow = hindcast(&["trace", "slow", "--limit", "2", "--server", &server.url]);
    let (out, errors, code) = finish(slow, &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        out.contains("http.request") && out.contains("http.route=/"),
        "{out}"
    );
}

#[test]
fn the_commands_of_the_operations_document_work() {
    let dir = temporary();
    let logs = dir.path().join("logs");
    let log_file = format!("telemetry.log_file={}/hindcast.log", logs.display());
    let settings = [
        "metrics.sample_interval_ms=100",
        &log_file,
        "slo.enabled=true",
    ];
    let server = Server::start_with(serve(dir.path(), &settings));
    server.wait_until("/api/v1/events?type=metrics_sampled", |found| {
        found["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty())
    });
    let document = std::fs::read_to_string(format!("{ROOT}/docs/operations.md"));
    let document = document.expect("a document");
    let mut run = 0;
    for line in document
        .lines()
        .filter_map(|line| line.strip_prefix("hindcast "))
    {
        let line = line.replace("http://127.0.0.1:8080", &server.url);
        let line = line.replace("/var/log/hindcast", &logs.display().to_string());
        let words = words(&line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = hindcast(&words);
        // Reports are written where it runs.
        command.current_dir(dir.path());
        let (out, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(0), "{line}: {errors}");
        assert!(!out.is_empty(), "{line}");
        run += 1;
    }
    assert!(run >= 12, "{run}");
    let audited = server.get("/api/v1/events?type=audited").expect(200);
    assert_eq!(audited["items"][0]["data"]["verb"], "logs.rotate");
    // Without a file there is nothing to begin anew.
    let other = Server::start(&dir.path().join("other"));
    let refused = other.post("/-/logs/rotate", &json!({}));
    refused.expect_problem(409, "telemetry.log_file");
}

#[test]
fn the_runs_of_an_experiment_belong_to_the_trace_of_its_request() {
    let dir = temporary();
    let settings = ["telemetry.slow_ms=0", "telemetry.traces_max=50"];
    let server = Server::start_with(serve(dir.path(), &settings));
    let question = |outcome: &str| {
        json!({ "operation": "causal.validate", "request": {
            "graph": "dag { z -> x; z -> y; x -> y }", "treatment": "x", "outcome": outcome
        } })
    };
    let series = json!({ "name": "traced", "operations": [question("y"), question("z")] });
    let headers = [("traceparent", TRACEPARENT)];
    server
        .post_with("/api/v1/experiments", &series, &headers)
        .expect(202);
    let found = server.wait_until("/debug/traces?limit=50", |found| {
        found.to_string().contains(TRACE)
    });
    let items = found["items"].as_array().expect("a list");
    let trace = items.iter().find(|item| item["trace_id"] == TRACE);
    let spans = trace.expect("ours")["spans"].as_array().expect("a list");
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).count();
    assert_eq!((named("http.request"), named("computation")), (1, 2));
    // The experiment with its runs is one; each outcome is another.
    assert_eq!(named("log.commit"), 3);
}

#[test]
fn a_profile_shows_where_the_time_goes_and_is_taken_alone() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let post = |path: &str| server.send(Method::POST, path, &[], &[]);
    post("/debug/profile?seconds=0").expect_problem(400, "query.seconds");
    let problem = post("/debug/profile?seconds=61").expect_problem(400, "query.seconds");
    assert_eq!(problem["limit"], 60);
    post("/debug/profile?format=png").expect_problem(400, "query.format");
    let run = server.post_with(DISCOVER, &slow_discovery(), &[("prefer", "respond-async")]);
    let run = run.expect(202)["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let (taken, busy) = std::thread::scope(|scope| {
        let taken = scope.spawn(|| post("/debug/profile?seconds=2"));
        pause(Duration::from_millis(500));
        let busy = post("/debug/profile?seconds=1&format=folded");
        (taken.join().expect("an answer"), busy)
    });
    busy.expect_problem(409, "");
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert_eq!(taken.header("content-type"), "image/svg+xml");
    assert!(taken.body.starts_with("<svg"));
    for part in ["<title>compute: ", "hindcast_causal::"] {
        assert!(taken.body.contains(part), "{part} in {}", taken.body);
    }
    server.post(&format!("/api/v1/runs/{run}/cancel"), &json!({}));
}

#[test]
fn lines_that_the_log_file_does_not_take_are_counted_and_told() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["telemetry.log_file=/dev/full"]));
    let health = server.wait_until("/health", |health| {
        health["components"]["log_lines_lost"] == true
    });
    assert_eq!(health["status"], "degraded");
    assert!(
        health["reasons"].to_string().contains("telemetry.log_file"),
        "{health}"
    );
    let metrics = server.get("/metrics").body;
    let mut lines = metrics.lines();
    let lost = lines.find_map(|line| line.strip_prefix("log_lines_lost_total "));
    assert!(lost.is_some_and(|lost| lost != "0"), "{metrics}");
    server.post(VALIDATE, &validation()).expect(200);
}

#[test]
fn an_idle_server_lags_behind_nothing() {
    let dir = temporary();
    let server = Server::start(dir.path());
    for _ in 0..3 {
        server.post(VALIDATE, &validation()).expect(200);
    }
    // Far too little for a chunk: what is gathered for the next one has been taken.
    let health = server.wait_until("/health", |health| {
        let store = &health["components"]["store"];
        health["components"]["log"]["sequence"].as_u64() > Some(10) && store["lag_events"] == 0
    });
    assert_eq!(health["components"]["store"]["applied_sequence"], 0);
    server.get("/api/v1/events?limit=100").expect(200);
}
