//! A server to talk to: the real binary in a directory of its own, on a free port.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::{Method, Request};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_hindcast");
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) struct Server {
    pub(crate) url: String,
    child: Child,
    agent: ureq::Agent,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The body as a problem with this status, whose field is `field`.
    pub(crate) fn expect_problem(&self, status: u16, field: &str) -> Value {
        let body = self.json();
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["field"].as_str().unwrap_or(""), field, "{}", self.body);
        assert!(
            body["type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("urn:hindcast:problem:"))
        );
        body
    }

    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.json()
    }
}

/// A command of the program with a clean environment.
pub(crate) fn hindcast(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HINDCAST__") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn serve(data_dir: &Path, settings: &[&str]) -> Command {
    let config = format!("{ROOT}/config/test.toml");
    let mut command = hindcast(&["serve", "--json", "--config", &config, "--data-dir"]);
    command.arg(data_dir);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

pub(crate) fn temporary() -> TempDir {
    tempfile::Builder::new()
        .prefix("hindcast-it-")
        .tempdir()
        .expect("a directory")
}

impl Server {
    /// A server that is ready.
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_with(serve(data_dir, &[]))
    }

    pub(crate) fn start_with(command: Command) -> Self {
        let (server, mut lines) = Self::spawn(command);
        let ready = lines.next().expect("a ready line");
        assert!(ready.contains("ready"), "{ready}");
        server
    }

    /// A server whose port is bound, and the lines that it prints from then on.
    pub(crate) fn spawn(command: Command) -> (Self, impl Iterator<Item = String>) {
        Self::spawn_logging(command, Stdio::null())
    }

    /// The same, with its log written somewhere.
    pub(crate) fn spawn_logging(
        mut command: Command,
        log: Stdio,
    ) -> (Self, impl Iterator<Item = String>) {
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the server starts");
        let out = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        let first = lines.next().expect("the server says where it listens");
        let url = listening(&first).expect("an address");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        let server = Self {
            url,
            child,
            agent: config.into(),
        };
        (server, lines)
    }

    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, ureq::Error> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let with_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        let mut response = if with_body {
            self.agent.run(request.body(body)?)?
        } else {
            self.agent.run(request.body(())?)?
        };
        let body = response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_string()?;
        Ok(Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
        })
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], &[])
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_with(path, body, &[])
    }

    pub(crate) fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.send(Method::POST, path, &all, body.to_string().as_bytes())
    }

    /// The events of an event stream until `enough` has seen what it wants.
    pub(crate) fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        mut enough: impl FnMut(&str, &str, &Value) -> bool,
    ) {
        let mut request =
            Request::get(format!("{}{path}", self.url)).header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self
            .agent
            .run(request.body(()).expect("a request"))
            .expect("an answer");
        assert_eq!(response.status(), 200);
        let reader = BufReader::new(response.body_mut().as_reader());
        let (mut id, mut event) = (String::new(), String::new());
        for line in reader.lines() {
            let line = line.expect("the stream goes on");
            if let Some(text) = line.strip_prefix("id: ") {
                text.clone_into(&mut id);
            } else if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut event);
            } else if let Some(text) = line.strip_prefix("data: ")
                && enough(&id, &event, &serde_json::from_str(text).expect("JSON"))
            {
                return;
            }
        }
    }

    /// Polls until `condition` holds for what `path` answers.
    pub(crate) fn wait_until(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..600 {
            let reply = self.get(path).json();
            if condition(&reply) {
                return reply;
            }
            pause(Duration::from_millis(20));
        }
        panic!("{path} never answered what was waited for");
    }

    /// Where the process says that it listens now.
    pub(crate) fn moved(&mut self, url: String) {
        self.url = url;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// The exit code of a server that ends by itself.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

/// The address in a line that a server prints, if it tells one.
pub(crate) fn listening(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).expect("JSON");
    line["starting"].as_str().map(str::to_owned)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Tests that stopped it themselves leave nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits without `sleep`: only for polling a condition.
pub(crate) fn pause(time: Duration) {
    let (_nobody, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(time).is_err());
}

/// A question that is answered in microseconds.
pub(crate) fn validation() -> Value {
    json!({ "graph": "dag { z -> x; z -> y; x -> y }", "treatment": "x", "outcome": "y" })
}

pub(crate) const DISCOVER: &str = "/api/v1/causal/discover";
pub(crate) const VALIDATE: &str = "/api/v1/causal/validate";

pub(crate) fn sachs_path() -> PathBuf {
    Path::new(ROOT).join("tests/data/causal/sachs/sachs_obs853.csv")
}

pub(crate) fn sachs() -> Vec<u8> {
    std::fs::read(sachs_path()).expect("test data")
}

/// A discovery that takes seconds: wide random data and many restarts.
pub(crate) fn slow_discovery() -> Value {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 33).expect("31 bits")) / f64::from(u32::MAX)
    };
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for _ in 0..400 {
        let mut row: Vec<f64> = Vec::new();
        for column in 0..120_usize {
            let parents: f64 = (1..=4)
                .filter(|back| column >= *back)
                .map(|back| row[column - back])
                .sum();
            row.push(0.6 * parents + next());
        }
        rows.push(row);
    }
    json!({ "data": rows, "algorithm": "boss", "restarts": 1000, "seed": 1 })
}

/// Runs a command to its end; standard output, standard error, exit code.
pub(crate) fn finish(mut command: Command, input: &[u8]) -> (String, String, Option<i32>) {
    use std::io::Write;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let mut errors = child.stderr.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).expect("UTF-8");
        text
    });
    let mut out = String::new();
    child
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut out)
        .expect("UTF-8");
    writer.join().expect("the writer ends");
    let code = child.wait().expect("it ends").code();
    (out, reader.join().expect("the reader ends"), code)
}
