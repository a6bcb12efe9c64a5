//! A disk that is full where the lookup store is written: nothing is lost, the server says so, and goes
//! on by itself when there is room.
//!
//! The room that runs out is the size that a file may have, which any user can set.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::support::{Server, hindcast, serve, temporary};

const PATHS: &str = "/api/v1/causal/paths";
/// As large as a segment of the log: these are not what runs out.
const SEGMENT_BYTES: u64 = 1 << 18;
/// Requests that fill any lookup store of that size.
const REQUESTS_MAX: usize = 20_000;

/// Starts a server that is told of a full disk by an error instead of a signal.
fn start(dir: &Path) -> Server {
    let plain = serve(dir, &[&format!("log.segment_bytes={SEGMENT_BYTES}")]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    command.arg(plain.get_program()).args(plain.get_args());
    command.env_clear().envs(std::env::vars_os());
    command.arg0("sh");
    Server::start_with(command)
}

/// Sets how large a file may become.
fn limit(server: &Server, bytes: Option<u64>) {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).expect("it may be set");
}

/// A question whose text hardly gets smaller by compression.
fn question(number: usize) -> Value {
    let name = |node: usize| {
        let text = format!("{number} {node}");
        format!("n{}", blake3::hash(text.as_bytes()).to_hex())
    };
    let names: Vec<String> = (0..40).map(name).collect();
    json!({
        "graph": format!("dag {{ {} }}", names.join(" -> ")),
        "treatment": names[0], "outcome": names[39], "seed": number,
    })
}

/// Asks until the lookup store waits for room. Gives the runs that were acknowledged.
fn fill(server: &Server) -> Vec<String> {
    let mut runs = Vec::new();
    for number in 0..REQUESTS_MAX {
        let reply = server.post(PATHS, &question(number));
        // What cannot be recorded is refused, whatever else it is.
        if reply.status == 200 {
            runs.push(reply.json()["run_id"].as_str().expect("an id").to_owned());
        }
        if number % 20 == 0 && wants_room(&server.get("/health").json()) {
            return runs;
        }
    }
    panic!("the lookup store never got so large");
}

fn wants_room(health: &Value) -> bool {
    health["components"]["log"]["wants_room"].is_string()
}

fn all_there(server: &Server, runs: &[String]) {
    println!("{} runs were acknowledged", runs.len());
    for run in runs {
        let run = server.get(&format!("/api/v1/runs/{run}")).expect(200);
        assert_eq!(run["status"], "completed");
    }
}

/// A server whose lookup store waits for room, and the runs that were acknowledged.
fn full(dir: &Path) -> (Server, Vec<String>) {
    let server = start(dir);
    let store = std::fs::metadata(dir.join("sled/db")).expect("it is there");
    limit(&server, Some(store.len().max(SEGMENT_BYTES)));
    let runs = fill(&server);
    let health = server.get("/health").expect(503);
    let reasons = health["reasons"].to_string();
    assert!(reasons.contains("the disk is full"), "{reasons}");
    (server, runs)
}

fn verify(dir: &Path) {
    let verified = hindcast(&["verify", "--data-dir"]).arg(dir).output();
    assert_eq!(verified.expect("it runs").status.code(), Some(0));
}

#[test]
fn a_full_disk_is_survived_and_room_is_all_it_takes() {
    let dir = temporary();
    let (server, runs) = full(dir.path());
    limit(&server, None);
    server.wait_until("/health", |health| !wants_room(health));
    server.get("/health").expect(200);
    all_there(&server, &runs);
    assert_eq!(server.stop(), Some(0));
    verify(dir.path());
}

#[test]
fn a_stop_on_a_full_disk_loses_nothing_that_was_acknowledged() {
    let dir = temporary();
    let (server, runs) = full(dir.path());
    assert_eq!(server.stop(), Some(0));
    let server = start(dir.path());
    all_there(&server, &runs);
    assert_eq!(server.stop(), Some(0));
    verify(dir.path());
}
