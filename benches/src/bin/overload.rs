//! What a server does with more than it can do. First validations from one connection at a time,
//! which is a server without load, and from enough connections to fill it, which is its capacity.
//! Then from ten times as many connections as find a place and a place in the line, none of which
//! pauses: what the answered ones took, beside those of the server without load, and how many were
//! turned away. Then validations beside a long discovery and without it.
//!
//! Arguments: `--seconds N` for each measurement (default 5), `--connections N` (default 2560). The
//! server's binary is the one beside this program: `cargo build --release` first. Each connection
//! takes a file descriptor here and in the server: raise `ulimit -n` above twice their number.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hindcast_benches::now;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BODY: &str = r#"{"graph":"dag { x -> y ; z -> x ; z -> y ; y -> w }","treatment":["x"],"outcome":["y"],"seed":1}"#;
/// Before anything counts.
const SETTLING: Duration = Duration::from_secs(2);
/// Bytes of an answer's head and body together, at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

struct Server(Child, String);

impl Server {
    fn start(data_dir: &std::path::Path) -> Self {
        let own = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(own.with_file_name("hindcast"))
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let out = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        let first = lines.next().expect("it says where it listens");
        lines.by_ref().take(1).for_each(drop);
        std::thread::spawn(move || lines.for_each(drop));
        let line: Value = serde_json::from_str(&first).expect("JSON");
        let url = line["listening"].as_str().expect("an address");
        Self(child, url.trim_start_matches("http://").to_owned())
    }

    fn peak_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) >> 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One connection, kept open.
struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    async fn new(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(4_096);
        Ok(Self { stream, buffer })
    }

    /// Sends a request and returns the status of its answer.
    async fn ask(&mut self, path: &str, body: &str, headers: &str) -> std::io::Result<u16> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0
                || self.buffer.len() > ANSWER_BYTES_MAX
            {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let text = String::from_utf8_lossy(&self.buffer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let status = head.get(9..12).and_then(|status| status.parse().ok());
                return Ok(status.unwrap_or(0));
            }
        }
    }
}

/// What a number of connections saw.
#[derive(Debug, Default, Clone)]
struct Seen {
    answered_per_s: f64,
    turned_away_per_s: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    errors: u64,
}

/// `connections` ask for validations without a pause for so many seconds. No two questions are
/// equal, so that nothing can be remembered.
async fn validate(address: &str, connections: u64, seconds: u64) -> Seen {
    let seeds = Arc::new(AtomicU64::new(now_seed()));
    // What counts begins when every connection is there and the first rush is over.
    let started = now() + SETTLING;
    let until = started + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (address, seeds) = (address.to_owned(), Arc::clone(&seeds));
        tasks.push(tokio::spawn(calls(address, seeds, (started, until))));
    }
    let (mut took, mut turned_away, mut errors) = (Vec::new(), 0_u64, 0);
    for task in tasks {
        match task.await {
            Ok((own, away, failed)) => {
                took.extend(own);
                turned_away += away;
                errors += failed;
            }
            Err(_) => errors += 1,
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: usize| {
        let index = (took.len() * share / 1_000).min(took.len().saturating_sub(1));
        took.get(index).map_or(0.0, |micros| *micros as f64 / 1e3)
    };
    Seen {
        answered_per_s: (took.len() as f64 / elapsed).round(),
        turned_away_per_s: (turned_away as f64 / elapsed).round(),
        p50_ms: at(500),
        p95_ms: at(950),
        p99_ms: at(990),
        errors,
    }
}

fn now_seed() -> u64 {
    static SEED: AtomicU64 = AtomicU64::new(1);
    SEED.fetch_add(1 << 32, Ordering::Relaxed)
}

async fn calls(
    address: String,
    seeds: Arc<AtomicU64>,
    (from, until): (Instant, Instant),
) -> (Vec<u64>, u64, u64) {
    let (mut took, mut away, mut errors) = (Vec::new(), 0, 0);
    let Ok(mut caller) = Caller::new(&address).await else {
        return (took, away, 1);
    };
    while now() < until {
        let seed = seeds.fetch_add(1, Ordering::Relaxed);
        let body = BODY.replace("\"seed\":1", &format!("\"seed\":{seed}"));
        let asked = now();
        match caller.ask("/api/v1/causal/validate", &body, "").await {
            Ok(200 | 503) if asked < from => {}
            Ok(200) => took.push(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Ok(503) => away += 1,
            Ok(_) => errors += 1,
            Err(_) => {
                errors += 1;
                break;
            }
        }
    }
    (took, away, errors)
}

/// Wide random data and more restarts than there is time for.
fn long_discovery() -> String {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let rows: Vec<Vec<f64>> = (0..400)
        .map(|_| (0..90).map(|_| next() + next()).collect())
        .collect();
    json!({ "data": rows, "algorithm": "boss", "restarts": 1000, "seed": 1 }).to_string()
}

fn row(seen: &Seen) -> Value {
    json!({
        "answered_per_s": seen.answered_per_s,
        "turned_away_per_s": seen.turned_away_per_s,
        "p50_ms": seen.p50_ms,
        "p95_ms": seen.p95_ms,
        "p99_ms": seen.p99_ms,
        "errors": seen.errors,
    })
}

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    let value = arguments.nth(1).and_then(|value| value.parse().ok());
    value.unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let (seconds, connections) = (argument("--seconds", 5), argument("--connections", 2_560));
    let dir = tempfile::tempdir_in(".").expect("a directory on the disk");
    let server = Server::start(&dir.path().join("data"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let figures = runtime.block_on(async {
        let address = server.1.as_str();
        validate(address, 16, 1).await;
        let idle = validate(address, 1, seconds).await;
        let full = validate(address, connections / 10, seconds).await;
        let over = validate(address, connections, seconds).await;
        let alone = validate(address, 4, seconds).await;
        let mut caller = Caller::new(address).await.expect("a connection");
        let discovery = long_discovery();
        let background = "prefer: respond-async\r\n";
        let asked = caller.ask("/api/v1/causal/discover", &discovery, background);
        let accepted = asked.await.expect("an answer");
        let beside = validate(address, 4, seconds).await;
        json!({
            "bench": "overload",
            "seconds": seconds,
            "connections": connections,
            "without_load": row(&idle),
            "at_capacity": row(&full),
            "at_ten_times": row(&over),
            "p95_over_without_load": over.p95_ms / idle.p95_ms,
            "p95_over_capacity": over.p95_ms / full.p95_ms,
            "validations_alone": row(&alone),
            "validations_beside_a_discovery": row(&beside),
            "discovery_status": accepted,
            "p95_beside_over_alone": beside.p95_ms / alone.p95_ms,
            "peak_mib": server.peak_mib(),
        })
    });
    println!("{figures}");
}
