//! The breaker of the collector that telemetry is sent to: what it costs while the collector is gone,
//! and that it is sent to again once it is back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::breakers::of;
use crate::reload::made;
use crate::support::{Server, VALIDATE, finish, hindcast, pause, serve, temporary, validation};

const BREAKER: &str = "/api/v1/breakers/otlp_collector";
const HOLD: &str = "/health/circuit-breakers/otlp_collector";

/// A collector that can be gone: it hangs up on who calls it then, and counts them.
struct Collector {
    port: u16,
    up: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    /// The paths of what it took.
    took: Arc<Mutex<Vec<String>>>,
    /// What it answers.
    says: Arc<Mutex<Vec<u8>>>,
}

/// It took everything.
const ALL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

impl Collector {
    fn start(up: bool) -> Self {
        Self::start_at(up, None)
    }

    /// One that shows a certificate, if it is given one.
    fn start_at(up: bool, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let collector = Self {
            port: listener.local_addr().expect("an address").port(),
            up: Arc::new(AtomicBool::new(up)),
            connections: Arc::default(),
            took: Arc::default(),
            says: Arc::new(Mutex::new(ALL.to_vec())),
        };
        let (up, connections) = (
            Arc::clone(&collector.up),
            Arc::clone(&collector.connections),
        );
        let (took, says) = (Arc::clone(&collector.took), Arc::clone(&collector.says));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (up, took) = (Arc::clone(&up), Arc::clone(&took));
                let (says, tls) = (Arc::clone(&says), tls.clone());
                std::thread::spawn(move || match tls {
                    None => answer(socket, &up, (&took, &says)),
                    Some(tls) => {
                        let shown = ServerConnection::new(tls).expect("a connection");
                        answer(StreamOwned::new(shown, socket), &up, (&took, &says));
                    }
                });
            }
        });
        collector
    }

    fn set(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }

    fn says(&self, answer: &[u8]) {
        answer.clone_into(&mut self.says.lock().expect("no panic"));
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How much it took at this path.
    fn took(&self, path: &str) -> usize {
        let took = self.took.lock().expect("no panic");
        took.iter().filter(|taken| *taken == path).count()
    }

    /// Has spans made until one arrives.
    fn wait_for_spans(&self, server: &Server) {
        let before = self.took("/v1/traces");
        for _ in 0..200 {
            server.post(VALIDATE, &validation()).expect(200);
            if self.took("/v1/traces") > before {
                return;
            }
            pause(Duration::from_millis(50));
        }
        panic!("no span arrived");
    }

    fn serve(&self, dir: &Path, own: &str) -> Command {
        let settings = [
            format!("otlp.endpoint=http://127.0.0.1:{}", self.port),
            format!("breakers.own=[{{ name = \"otlp_collector\", {own} }}]"),
            "otlp.batch_ms=20".to_owned(),
            "otlp.metrics_interval_ms=100".to_owned(),
            "breakers.jitter_percent=0".to_owned(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        serve(dir, &settings)
    }
}

/// Takes what comes in on one connection, for as long as the collector is up.
fn answer(
    socket: impl Read + Write,
    up: &AtomicBool,
    (took, says): (&Mutex<Vec<String>>, &Mutex<Vec<u8>>),
) {
    let mut reader = BufReader::new(socket);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_lowercase();
            if let Some(rest) = line.strip_prefix("post ") {
                rest.split(' ').next().unwrap_or("").clone_into(&mut path);
            } else if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().expect("a number");
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() || !up.load(Ordering::SeqCst) {
            return;
        }
        took.lock().expect("no panic").push(path);
        let answer = says.lock().expect("no panic").clone();
        if reader.get_mut().write_all(&answer).is_err() || reader.get_mut().flush().is_err() {
            return;
        }
    }
}

fn wait_for_state(server: &Server, state: &str) -> Value {
    server.wait_until(BREAKER, |breaker| breaker["state"] == state)
}

/// Events of this type.
fn events(server: &Server, kind: &str) -> Vec<Value> {
    let path = format!("/api/v1/events?limit=100&type={kind}");
    let found = server.get(&path).expect(200);
    found["items"].as_array().expect("a list").clone()
}

/// Work is done and nobody calls the collector.
fn assert_left_alone(server: &Server, collector: &Collector) {
    let calls = || {
        (
            collector.connections(),
            collector.took.lock().expect("no panic").len(),
        )
    };
    let before = calls();
    for _ in 0..10 {
        server.post(VALIDATE, &validation()).expect(200);
        pause(Duration::from_millis(40));
    }
    assert_eq!(calls(), before, "it is left alone");
}

/// What was dropped because the breaker was open, by signal.
fn dropped(server: &Server, signal: &str) -> u64 {
    dropped_for(server, signal, "breaker_open")
}

fn dropped_for(server: &Server, signal: &str, reason: &str) -> u64 {
    let start = format!("telemetry_dropped_total{{signal=\"{signal}\",reason=\"{reason}\"}} ");
    let metrics = server.get("/metrics").body;
    let mut lines = metrics.lines();
    let found = lines.find_map(|line| line.strip_prefix(&start));
    let found = found.and_then(|count| count.parse().ok());
    found.unwrap_or_else(|| panic!("{start} in\n{metrics}"))
}

#[test]
fn a_collector_that_is_gone_is_left_alone_also_over_a_restart() {
    const OWN: &str = "consecutive_failures = 2, open_ms = 600000";
    let dir = temporary();
    let collector = Collector::start(true);
    let server = Server::start_with(collector.serve(dir.path(), OWN));
    collector.wait_for_spans(&server);
    let healthy = server.get("/health").expect(200)["status"].clone();
    assert_eq!(server.get(BREAKER).expect(200)["state"], "closed");
    let told = "dependency_called";
    assert_eq!(events(&server, told), [] as [Value; 0], "all is well");

    collector.set(false);
    let open = wait_for_state(&server, "open");
    assert_eq!(open["last_failure"]["code"], "unreachable", "{open}");
    assert_eq!(open["consecutive_failures"], 0, "{open}");
    assert_left_alone(&server, &collector);
    assert!(dropped(&server, "traces") > 0);
    server.wait_until(BREAKER, |_| dropped(&server, "metrics") > 0);
    // The first failure is told at once, and then the one that opens it.
    assert_eq!(events(&server, told).len(), 2);
    assert_eq!(server.get("/health").expect(200)["status"], healthy);
    let services = server.get("/health/services").expect(200);
    assert!(
        services.to_string().contains("otlp_collector"),
        "{services}"
    );
    server.wait_until(BREAKER, |_| {
        let metrics = server.get("/metrics").body;
        metrics.contains("circuit_breaker_state{name=\"otlp_collector\"} 2\n")
            && metrics.contains(
                "circuit_breaker_calls_total{name=\"otlp_collector\",outcome=\"failure\"} 2\n",
            )
    });
    assert_eq!(server.stop(), Some(0));

    let list = of(&["breaker", "list"], dir.path());
    assert!(list.to_string().contains("otlp_collector"), "{list}");
    let same = of(&["breaker", "simulate", "otlp_collector"], dir.path());
    assert_eq!(
        (&same["agrees"], &same["recorded"]),
        (&json!(true), &json!(1)),
        "{same}"
    );
    let patient = [
        "breaker",
        "simulate",
        "otlp_collector",
        "--set",
        "consecutive_failures=9",
    ];
    let other = of(&patient, dir.path());
    assert_eq!(other["other"]["openings"], 0, "{other}");

    let server = Server::start_with(collector.serve(dir.path(), OWN));
    assert_eq!(server.get(BREAKER).expect(200)["state"], "open");
    assert_left_alone(&server, &collector);
    assert_eq!(events(&server, told).len(), 2);
    collector.set(true);
    let reset = json!({ "action": "reset", "reason": "it is back" });
    assert_eq!(server.post(HOLD, &reset).expect(200)["state"], "closed");
    collector.wait_for_spans(&server);

    let held = json!({ "action": "force_open", "reason": "it is being moved" });
    assert_eq!(server.post(HOLD, &held).expect(200)["state"], "forced_open");
    // What was under way ends first.
    pause(Duration::from_millis(200));
    assert_left_alone(&server, &collector);
    let enable = json!({ "action": "enable", "reason": "it was moved" });
    assert_eq!(server.post(HOLD, &enable).expect(200)["state"], "closed");
    collector.wait_for_spans(&server);
    assert_eq!(events(&server, told).len(), 2);
    assert_eq!(server.stop(), Some(0));
    let (_, errors, code) = finish(
        hindcast(&["verify", "--data-dir", &dir.path().display().to_string()]),
        &[],
    );
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn a_collector_that_comes_back_is_tried_and_then_sent_to() {
    const OWN: &str =
        "consecutive_failures = 2, open_ms = 150, open_ms_max = 150, half_open_permits = 2";
    let dir = temporary();
    let collector = Collector::start(false);
    let server = Server::start_with(collector.serve(dir.path(), OWN));
    let found = server.wait_until(BREAKER, |breaker| breaker["openings"].as_u64() >= Some(4));
    assert_eq!(found["totals"]["success"], 0);
    // One for each opening, and one more for the first failure: never one for each batch.
    let openings = || {
        let changed = events(&server, "breaker_changed");
        changed
            .iter()
            .filter(|event| event["data"]["to"] == "open")
            .count()
    };
    let told = events(&server, "dependency_called").len();
    assert!(told <= openings() + 1, "{told}");
    assert_eq!(server.stop(), Some(0));

    // It was gone when the server stopped: the next one tries it before it trusts it.
    collector.set(true);
    let server = Server::start_with(collector.serve(dir.path(), OWN));
    wait_for_state(&server, "closed");
    collector.wait_for_spans(&server);
    assert_eq!(server.stop(), Some(0));
    let history = of(&["breaker", "history", "otlp_collector"], dir.path());
    let items = history["items"].as_array().expect("a list");
    let causes: Vec<&str> = items
        .iter()
        .map(|item| item["cause"].as_str().expect("a word"))
        .collect();
    assert_eq!(causes[0], "consecutive_failures");
    assert!(causes.contains(&"probe_failed"), "{causes:?}");
    let last = causes.len() - 2;
    assert_eq!(causes[last..], ["open_long_enough", "probes_succeeded"]);
    let same = of(&["breaker", "simulate", "otlp_collector"], dir.path());
    assert_eq!(same["agrees"], true, "{same}");
}

/// Has spans made until one of them is told as dropped because the collector did not take it.
fn wait_for_loss(server: &Server) {
    let before = dropped_for(server, "traces", "not_taken");
    for _ in 0..200 {
        server.post(VALIDATE, &validation()).expect(200);
        if dropped_for(server, "traces", "not_taken") > before {
            return;
        }
        pause(Duration::from_millis(50));
    }
    panic!("nothing was dropped");
}

#[test]
fn what_a_collector_rejects_or_sends_elsewhere_is_told_as_lost() {
    let dir = temporary();
    let (collector, other) = (Collector::start(true), Collector::start(true));
    let mut command = collector.serve(dir.path(), "open_ms = 1000");
    let headers = dir.path().join("headers");
    std::fs::write(&headers, "x-api-key=secret").expect("written");
    let log = dir.path().join("log.jsonl");
    for setting in [
        format!("otlp.headers_file={}", headers.display()),
        format!("telemetry.log_file={}", log.display()),
    ] {
        command.args(["--set", &setting]);
    }
    let server = Server::start_with(command);
    collector.wait_for_spans(&server);
    assert_eq!(dropped_for(&server, "traces", "not_taken"), 0);
    // partial_success { rejected_spans: 1, error_message: "too old" }
    let mut partly = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n".to_vec();
    partly.extend_from_slice(b"\x0a\x0b\x08\x01\x12\x07too old");
    collector.says(&partly);
    wait_for_loss(&server);
    let lines = std::fs::read_to_string(&log).expect("a log");
    assert!(lines.contains("too old"), "{lines}");
    // Whoever else it names gets neither the spans nor the key.
    let elsewhere = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/land\r\ncontent-length: 0\r\n\r\n",
        other.port
    );
    collector.says(elsewhere.as_bytes());
    wait_for_loss(&server);
    assert_eq!(other.connections(), 0);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_collector_at_https_is_believed_by_the_authority_that_is_named() {
    let dir = temporary();
    let own = made();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).expect("PEM")],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM"),
        );
    let collector = Collector::start_at(true, Some(Arc::new(config.expect("a pair"))));
    let trusted = dir.path().join("collector.pem");
    std::fs::write(&trusted, &own.certificate).expect("written");
    let mut command = collector.serve(dir.path(), "open_ms = 1000");
    let endpoint = format!("https://localhost:{}", collector.port);
    command.args(["--set", &format!("otlp.endpoint={endpoint}")]);
    command.args(["--set", &format!("otlp.ca_file={}", trusted.display())]);
    let server = Server::start_with(command);
    collector.wait_for_spans(&server);
    assert_eq!(server.stop(), Some(0));
    // The public authorities know nothing of it.
    let before = collector.took("/v1/traces");
    let mut command = collector.serve(dir.path(), "open_ms = 1000");
    command.args(["--set", &format!("otlp.endpoint={endpoint}")]);
    let server = Server::start_with(command);
    server.wait_until(BREAKER, |breaker| breaker["state"] == "open");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(collector.took("/v1/traces"), before);
}

#[test]
fn without_an_endpoint_there_is_no_breaker_of_a_collector() {
    let dir = temporary();
    // Its settings may stand in a configuration that other servers share.
    let own = "breakers.own=[{ name = \"otlp_collector\", open_ms = 1000 }]";
    let server = Server::start_with(serve(dir.path(), &[own]));
    server.get(BREAKER).expect_problem(404, "path.name");
    assert_eq!(server.stop(), Some(0));
}
