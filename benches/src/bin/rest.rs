//! Requests per second and latency over HTTP, beside a bare actix-web JSON handler in the same run:
//! durable validations, questions about paths and discoveries (every run recorded and synced before
//! its answer), the same with requests that were never seen before, and a read that records nothing.
//! wrk drives all with the same connections.
//!
//! Arguments: `--seconds N` for each measurement (default 5), `--pairs N` (default 3). The server's
//! binary is the one beside this program: `cargo build --release` first.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use actix_web::{App, HttpServer, web};
use hindcast_benches::median;
use hindcast_benches::served::Served;
use serde_json::{Value, json};

const BODY: &str = r#"{"graph":"dag { x -> y ; z -> x ; z -> y ; y -> w }","treatment":["x"],"outcome":["y"],"seed":1}"#;

#[derive(Clone, Copy, Default)]
struct Figures {
    requests_per_s: f64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    errors: f64,
}

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments
        .nth(1)
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

const PATHS: &str = r#"{"graph":"dag { x -> y ; z -> x ; z -> y ; y -> w }","treatment":["x"],"outcome":["y"],"given":["z"],"seed":1}"#;

/// What is asked, and how.
struct Question {
    name: &'static str,
    path: &'static str,
    /// Empty for a GET.
    body: String,
    /// Another seed each time, so that nothing about the answer can be remembered.
    fresh: bool,
}

/// The questions; `dataset` is the digest of a stored table of 20 columns and 1,000 rows.
fn questions(dataset: &str) -> Vec<Question> {
    let ask = |name, path, body: &str, fresh| Question {
        name,
        path,
        body: body.to_owned(),
        fresh,
    };
    let (validate, paths) = ("/api/v1/causal/validate", "/api/v1/causal/paths");
    let discover = "/api/v1/causal/discover";
    let boss = json!({ "dataset": dataset, "algorithm": "boss", "seed": 1 }).to_string();
    vec![
        ask("validate", validate, BODY, false),
        ask("validate, another seed each time", validate, BODY, true),
        ask("paths", paths, PATHS, false),
        ask("paths, another seed each time", paths, PATHS, true),
        ask("discover, 20 variables", discover, &boss, false),
        ask(
            "discover, 20 variables, another seed each time",
            discover,
            &boss,
            true,
        ),
        ask("GET /health/live", "/health/live", "", false),
    ]
}

/// wrk prints its own report; the script adds one line of JSON at the end.
fn script(dir: &Path, name: &str, body: &str, fresh: bool) -> PathBuf {
    let path = dir.join(format!("{name}.lua"));
    let head = "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n";
    let request = match (body, fresh) {
        ("", _) => String::new(),
        (body, false) => format!("{head}wrk.body = '{body}'\n"),
        (body, true) => format!(
            "{head}local n = math.random(1, 2 ^ 30)\n\
             request = function()\n n = n + 1\n\
             return wrk.format(nil, nil, nil, ('{body}'):gsub('\"seed\":1', '\"seed\":' .. n))\nend\n"
        ),
    };
    let done = "done = function(summary, latency, requests)\n\
        local e = summary.errors\n\
        io.write(string.format('{\"requests\":%d,\"micros\":%d,\"p50\":%d,\"p95\":%d,\"p99\":%d,\"errors\":%d}\\n',\n\
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(95),\n\
        latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))\nend\n";
    fs::write(&path, format!("{request}{done}")).expect("the script is written");
    path
}

/// Stores the table that is discovered. Returns its digest.
fn store(binary: &Path, server: &str) -> String {
    let table = "tests/data/causal/sem/er2_gauss_d20_s0.csv";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(binary)
        .args(["data", "add", "--json", "--server", server])
        .arg(root.join(table))
        .output()
        .expect("the command line runs");
    let stored: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    stored["digest"].as_str().expect("a digest").to_owned()
}

fn wrk(script: &Path, url: &str, connections: u64, seconds: u64) -> Figures {
    let output = Command::new("wrk")
        .args([
            "-t",
            "2",
            "-c",
            &connections.to_string(),
            "-d",
            &format!("{seconds}s"),
        ])
        .arg("-s")
        .arg(script)
        .arg(url)
        .output()
        .expect("wrk runs: it is a Debian package");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    let report: Value = line
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| {
            panic!(
                "wrk said: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
    let number = |name: &str| report[name].as_f64().unwrap_or(0.0);
    Figures {
        requests_per_s: number("requests") / (number("micros") / 1e6),
        p50_us: number("p50"),
        p95_us: number("p95"),
        p99_us: number("p99"),
        errors: number("errors"),
    }
}

async fn bare(body: web::Json<Value>) -> web::Json<Value> {
    web::Json(json!({ "identifiable": true, "treatment": body["treatment"] }))
}

/// The bare handler in a process of its own: this program with `--bare`.
fn serve_bare() {
    let system = actix_web::rt::System::new();
    system.block_on(async {
        let server = HttpServer::new(|| App::new().route("/", web::post().to(bare)))
            .workers(2)
            .bind(("127.0.0.1", 0))
            .expect("a port");
        let port = server.addrs()[0].port();
        let mut out = std::io::stdout();
        writeln!(
            out,
            "{}",
            json!({ "listening": format!("http://127.0.0.1:{port}") })
        )
        .expect("the parent listens");
        server.run().await.expect("it serves");
    });
}

fn row(name: &str, connections: u64, ours: &[Figures], bare: &[Figures]) -> Value {
    let of = |runs: &[Figures], field: fn(&Figures) -> f64| {
        median(runs.iter().map(field).collect()).round()
    };
    let ratios = ours
        .iter()
        .zip(bare)
        .map(|(a, b)| a.requests_per_s / b.requests_per_s)
        .collect();
    json!({
        "endpoint": name,
        "connections": connections,
        "requests_per_s": of(ours, |f| f.requests_per_s),
        "bare_requests_per_s": of(bare, |f| f.requests_per_s),
        "ratio_to_bare": median(ratios),
        "p50_us": of(ours, |f| f.p50_us),
        "p95_us": of(ours, |f| f.p95_us),
        "p99_us": of(ours, |f| f.p99_us),
        "bare_p99_us": of(bare, |f| f.p99_us),
        "errors": ours.iter().map(|f| f.errors).sum::<f64>(),
    })
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    if std::env::args().any(|argument| argument == "--bare") {
        serve_bare();
        return;
    }
    let (seconds, pairs) = (argument("--seconds", 5), argument("--pairs", 3));
    let own = std::env::current_exe().expect("this program has a path");
    let binary = own.with_file_name("hindcast");
    let dir = tempfile::tempdir_in(".").expect("a directory on the disk");
    let server = Served::start(&dir.path().join("data"));
    let mut command = Command::new(&own);
    command.arg("--bare");
    let yardstick = Served::run(command, 0);
    let questions = questions(&store(&binary, &server.url));
    let plain = script(dir.path(), "bare", BODY, false);
    let scripts: Vec<PathBuf> = (0..)
        .zip(&questions)
        .map(|(n, asked)| script(dir.path(), &format!("q{n}"), &asked.body, asked.fresh))
        .collect();
    let idle = server.status_mib("VmRSS:");
    let mut rows = Vec::new();
    for connections in [50, 500] {
        let mut bare = Vec::new();
        let mut ours: Vec<Vec<Figures>> = questions.iter().map(|_| Vec::new()).collect();
        for _ in 0..pairs {
            bare.push(wrk(&plain, &yardstick.url, connections, seconds));
            for ((asked, script), figures) in questions.iter().zip(&scripts).zip(&mut ours) {
                let url = format!("{}{}", server.url, asked.path);
                figures.push(wrk(script, &url, connections, seconds));
            }
        }
        let measured = questions.iter().zip(&ours);
        rows.extend(measured.map(|(asked, ours)| row(asked.name, connections, ours, &bare)));
    }
    println!(
        "{}",
        json!({
            "bench": "rest",
            "seconds": seconds,
            "pairs": pairs,
            "rows": rows,
            "rss_idle_mib": idle,
            "rss_loaded_mib": server.status_mib("VmRSS:"),
            "binary_mib": fs::metadata(&binary).map_or(0.0, |file| (file.len() as f64 / 1_048_576.0).round()),
        })
    );
}
