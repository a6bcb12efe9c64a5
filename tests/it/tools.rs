//! Programs of others that read what we say.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{
    DISCOVER, ROOT, Server, VALIDATE, finish, pause, sachs, serve, temporary, validation,
};
use serde_json::json;
use ureq::http::Method;

/// The program, if it is installed; the test command installs it.
pub(crate) fn program(name: &str) -> Option<Command> {
    program_that(name, "--version")
}

/// The same for a program that says yes to another flag.
pub(crate) fn program_that(name: &str, flag: &str) -> Option<Command> {
    let probe = Command::new(name)
        .arg(flag)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if probe.is_ok_and(|status| status.success()) {
        return Some(Command::new(name));
    }
    println!("skipped: {name} is not installed; `cargo xtask tools` installs it");
    None
}

/// A server that has done something of each kind.
pub(crate) fn busy(dir: &std::path::Path) -> Server {
    // A tool that asks for a hundred backups at once waits for each no longer than this.
    let waits = ["http.wait_default_ms=3000", "http.wait_max_ms=10000"];
    let server = Server::start_with(serve(dir, &waits));
    fill(&server);
    server
}

/// Does something of each kind.
pub(crate) fn fill(server: &Server) {
    let headers = [("content-type", "text/csv")];
    let stored = server
        .send(Method::POST, "/api/v1/datasets", &headers, &sachs())
        .expect(201);
    server
        .post(
            DISCOVER,
            &json!({ "dataset": stored["digest"], "algorithm": "correlation" }),
        )
        .expect(200);
    server.post(VALIDATE, &validation()).expect(200);
    server
        .post(VALIDATE, &json!({}))
        .expect_problem(422, "graph");
}

#[test]
fn metrics_are_what_prometheus_expects() {
    let dir = temporary();
    let server = busy(dir.path());
    // Some figures are worked out once a second.
    let text = loop {
        let text = server.get("/metrics");
        assert_eq!(text.status, 200);
        let derived = [
            "disk_usage_ratio ",
            "cache_hit_ratio{",
            "node_cpu_seconds_total{",
        ];
        if derived.iter().all(|start| text.body.contains(start)) {
            break text;
        }
        pause(Duration::from_millis(100));
    };
    let described = text.body.lines().filter(|line| line.starts_with("# HELP "));
    let described = described.filter(|line| line.split(' ').count() > 3).count();
    let families = text.body.lines().filter(|line| line.starts_with("# TYPE "));
    assert_eq!(described, families.count(), "every family says what it is");
    for line in [
        "http_requests_total{method=\"POST\",path=\"/api/v1/causal/validate\",status=\"200\"} 1",
        "http_errors_total{type=\"client\",path=\"/api/v1/causal/validate\"} 1",
        "data_validation_failures_total{rule=\"invalid\"} 1",
        "missing_data_percentage{dataset=\"",
        "missing_data_ratio{dataset=\"",
        "http_request_duration_seconds_bucket{method=\"POST\",path=\"/api/v1/causal/discover\"",
        "active_requests",
        "active_connections",
        "up{",
        "build_info{",
        "config_generation 1",
        "causal_computations_total{",
        "causal_computation_duration_seconds_count{",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
        "process_open_fds ",
        "process_start_time_seconds ",
        "actor_mailbox_depth{",
        "actor_message_duration_seconds_count{",
        "actor_heartbeat_age_seconds{",
        "config_last_reload_successful 1",
        "config_last_reload_success_timestamp_seconds ",
        "up{job=\"hindcast\",instance=\"log\"} 1",
        "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} ",
        "node_memory_MemTotal_bytes ",
        "node_filesystem_size_bytes{",
        "disk_usage_ratio ",
        "cache_hit_ratio{cache=\"results\"} ",
        "cache_hit_rate{cache=\"results\"} ",
        "isl_cache_size{cache=\"results\"} ",
        "container_restarts{",
        "model_inference_duration_seconds_bucket{backend=\"cpu\",model=\"discover\",",
    ] {
        let found = text.body.lines().any(|found| found.starts_with(line));
        assert!(found, "{line} is missing in\n{}", text.body);
    }
    let Some(mut promtool) = program("promtool") else {
        return;
    };
    promtool.args(["check", "metrics"]);
    let (out, errors, _) = finish(promtool, text.body.as_bytes());
    let complaints: Vec<&str> = out
        .lines()
        .chain(errors.lines())
        .filter(|line| !line.starts_with("node_"))
        .collect();
    assert_eq!(complaints, Vec::<&str>::new());
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(mut schemathesis) = program("schemathesis") else {
        return;
    };
    let dir = temporary();
    let server = busy(dir.path());
    schemathesis
        .current_dir(dir.path())
        .arg("run")
        .arg(format!("{}/openapi.json", server.url));
    // A graph may have a cycle and still be well-formed JSON of the right shape, so refusing what
    // the schema allows is no finding.
    schemathesis.args([
        "--exclude-checks",
        "positive_data_acceptance",
        "--max-examples",
        "20",
        // A profile takes as long as it is asked to.
        "--exclude-path",
        "/debug/profile",
    ]);
    // The server would be gone.
    schemathesis.args(["--exclude-path", "/-/quit"]);
    // A deadline of a millisecond passes before anything can be answered, and 504 says so.
    schemathesis.args(["--header", "Hindcast-Deadline: 60000"]);
    schemathesis.args([
        "--request-timeout",
        "20",
        "--workers",
        "1",
        "--no-color",
        "--seed",
        "1",
    ]);
    let (out, errors, code) = finish(schemathesis, &[]);
    assert_eq!(code, Some(0), "{out}{errors}");
    server.get("/health").expect(200);
}

#[test]
fn commands_of_the_readme_are_verbs_of_the_program() {
    let readme = std::fs::read_to_string(format!("{ROOT}/README.md")).expect("a README");
    assert!(readme.lines().count() < 150);
    let commands: Vec<&str> = readme
        .lines()
        .filter_map(|line| {
            line.strip_prefix("hindcast ")
                .or_else(|| line.strip_prefix("cargo run --release -- "))
        })
        .collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command
            .split_whitespace()
            .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
            .collect();
        let mut arguments = words.clone();
        arguments.push("--help");
        let (out, errors, code) = finish(crate::support::hindcast(&arguments), &[]);
        assert_eq!(code, Some(0), "{command}: {errors}");
        for flag in command
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            assert!(out.contains(flag), "{command}: {flag} is not in its help");
        }
    }
}
