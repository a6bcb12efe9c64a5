//! What a server does with more than it can do. First validations from one connection at a time,
//! which is a server without load, and from enough connections to fill it, which is its capacity.
//! Then from ten times as many connections as find a place and a place in the line, none of which
//! pauses: what the answered ones took, beside those of the server without load, and how many were
//! turned away. Then validations beside a long discovery and without it.
//!
//! Arguments: `--seconds N` for each measurement (default 5), `--connections N` (default 2560). The
//! server's binary is the one beside this program: `cargo build --release` first. Each connection
//! takes a file descriptor here and in the server: raise `ulimit -n` above twice their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hindcast::load::wire::Connection;
use hindcast_benches::now;
use hindcast_benches::served::Served;
use serde_json::{Value, json};

const BODY: &str = r#"{"graph":"dag { x -> y ; z -> x ; z -> y ; y -> w }","treatment":["x"],"outcome":["y"],"seed":1}"#;
/// Before anything counts.
const SETTLING: Duration = Duration::from_secs(2);

async fn connect(address: &str) -> std::io::Result<Connection> {
    Connection::open(address.parse().expect("an address"), None).await
}

/// Sends a request and returns the status of its answer.
async fn ask(
    caller: &mut Connection,
    path: &str,
    body: &str,
    headers: &str,
) -> std::io::Result<u16> {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\
         content-length: {length}\r\n\r\n{body}"
    );
    caller.ask(request.as_bytes()).await
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
    // Some connections are held for longer than that.
    let elapsed = seconds as f64;
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
    let Ok(mut caller) = connect(&address).await else {
        return (took, away, 1);
    };
    while now() < until {
        let seed = seeds.fetch_add(1, Ordering::Relaxed);
        let body = BODY.replace("\"seed\":1", &format!("\"seed\":{seed}"));
        let asked = now();
        match ask(&mut caller, "/api/v1/causal/validate", &body, "").await {
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
    let server = Served::start(&dir.path().join("data"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let figures = runtime.block_on(async {
        let address = server.host();
        validate(address, 16, 1).await;
        let idle = validate(address, 1, seconds).await;
        let full = validate(address, connections / 10, seconds).await;
        let over = validate(address, connections, seconds).await;
        let alone = validate(address, 4, seconds).await;
        let mut caller = connect(address).await.expect("a connection");
        let discovery = long_discovery();
        let background = "prefer: respond-async\r\n";
        let asked = ask(
            &mut caller,
            "/api/v1/causal/discover",
            &discovery,
            background,
        );
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
            "peak_mib": server.status_mib("VmHWM:"),
        })
    });
    println!("{figures}");
}
