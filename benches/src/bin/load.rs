//! What users see that ask without a pause: 50 and 500 of them, the mix that the cache of results
//! answers, and 50 with the mix that it partly answers. The generator is that of `hindcast load`, on one
//! thread beside the server.
//!
//! Arguments: `--seconds N` for each measurement (default 10). The server's binary is the one
//! beside this program: `cargo build --release` first.

use std::future::pending;
use std::time::Duration;

use hindcast::load::mix::{Mix, MixName};
use hindcast::load::{Plan, Report, Settings, Target, run};
use hindcast_benches::argument;
use hindcast_benches::served::Served;
use serde_json::{Value, json};

fn measure(server: &Served, name: MixName, users: u32, seconds: u64) -> Value {
    let host = server.host().to_owned();
    let plan = Plan {
        target: Target {
            address: host.parse().expect("an address"),
            host,
            tls: None,
            authorization: None,
        },
        mix: Mix::new(name, 1),
        users,
        spawn_per_second: f64::from(users),
        duration: Duration::from_secs(seconds),
        wait: (Duration::ZERO, Duration::ZERO),
        rate: None,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(30),
        seed: 1,
    };
    let settings = Settings::of(&plan, "sustained");
    let measured = run(plan, pending(), |_| {}).expect("it runs");
    let report = Report::new(settings, String::new(), "", &measured);
    json!({
        "mix": name.word(),
        "users": users,
        "requests_per_s": report.rps,
        "p50_ms": report.latency.p50_ms,
        "p95_ms": report.latency.p95_ms,
        "p99_ms": report.latency.p99_ms,
        "max_ms": report.latency.max_ms,
        "failures": report.failures,
        "turned_away": report.turned_away,
        "server_cpu_percent": report.server.cpu_mean_percent,
        "server_mib": report.server.memory_max_bytes.map(|bytes| bytes >> 20),
        "signals": report.signals.iter().map(|signal| signal.rule.word()).collect::<Vec<_>>(),
    })
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let seconds = argument("--seconds").and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.unwrap_or(10);
    let dir = tempfile::tempdir_in(".").expect("a directory on the disk");
    let server = Served::start(&dir.path().join("data"));
    measure(&server, MixName::Cached, 50, 2);
    let rows = [
        measure(&server, MixName::Cached, 50, seconds),
        measure(&server, MixName::Cached, 500, seconds),
        measure(&server, MixName::Mixed, 50, seconds),
        measure(&server, MixName::Health, 50, seconds),
    ];
    println!(
        "{}",
        json!({ "bench": "load", "seconds": seconds, "rows": rows })
    );
}
