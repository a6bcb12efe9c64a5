//! What is measured and told, as those read it who collect it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Method;

use crate::support::{Server, VALIDATE, finish, hindcast, pause, serve, temporary, validation};
use crate::tools::{busy, program};

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

    // Each in a frame of its own, as it is when nothing else happens.
    let figures = || {
        let metrics = server.get("/metrics").body;
        let total = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|text| text.trim().parse::<u64>().ok())
        };
        (total("log_frames_total "), total("log_frame_bytes_total "))
    };
    let grown = |since: (Option<u64>, Option<u64>)| {
        let now = figures();
        let frames = now.0.zip(since.0).map_or(0, |(now, then)| now - then);
        (
            frames,
            now.1.zip(since.1).map_or(0, |(now, then)| now - then),
        )
    };
    while figures().0.is_none_or(|frames| frames == 0) {
        pause(Duration::from_millis(100));
    }
    let since = figures();
    while grown(since).0 < 10 {
        pause(Duration::from_millis(100));
    }
    let (frames, bytes) = grown(since);
    let a_day = bytes / frames * BATCHES_A_DAY;
    println!("{a_day} bytes of frames a day");
    assert!(a_day < 2_000_000, "{a_day}");

    let sequence = last["seq"].to_string();
    server.stop();
    let directory = dir.path().display().to_string();
    let show = hindcast(&["events", "show", &sequence, "--data-dir", &directory]);
    let (out, errors, code) = finish(show, &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("\"process_resident_memory_bytes\""), "{out}");
    let (_, errors, code) = finish(hindcast(&["verify", "--data-dir", &directory]), &[]);
    assert_eq!(code, Some(0), "{errors}");
}
