//! What snapshots cost the writers: the same closed-loop appends with and without a thread that
//! takes a snapshot whenever the server's policy would, in pairs. The state holds so many
//! remembered idempotency keys, since an empty one costs nothing.
//!
//! Arguments: `--seconds N` for each run (default 4), `--pairs N` (default 5), `--writers N`
//! (default 16), `--keys N` (default 100000).

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hindcast_benches::{
    Ask, Figures, RealClock, argument, drive, immediate_run, load, median, now,
};
use hindcast_log::{Log, Options, Reply, background};
use hindcast_model::event::{Event, Idempotency};
use hindcast_model::{Digest, Submission};
use serde_json::json;
use uuid::Uuid;

/// As in the server's default configuration.
const SNAPSHOT_EVENTS: u64 = 50_000;
const SHARE: f64 = 10.0;
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SNAPSHOTS_BYTES_MAX: u64 = 256 << 20;

/// A run that is remembered under a key of its own.
fn remembered(n: u64) -> Submission {
    let mut submission = immediate_run(n);
    if let Event::RunRequested(request) = &mut submission.commands[0].event {
        request.idempotency = Some(Idempotency {
            key: u128::from(n).to_le_bytes(),
            body: Digest::default(),
        });
    }
    submission
}

/// Snapshots taken, and the milliseconds of each.
fn snapshots(log: &Log, stop: &AtomicBool) -> Vec<f64> {
    let (mut took, mut bytes) = (Vec::new(), 0);
    let mut ended = now();
    let (mut taken, mut written) = (log.head().seq, log.frame_bytes());
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(LOOK_EVERY);
        let (head, grown) = (log.head().seq, log.frame_bytes() - written);
        let last = took.last().copied().unwrap_or(0.0) / 1e3;
        let rested = ended.elapsed().as_secs_f64() >= SHARE * last;
        if head.0 - taken.0 >= SNAPSHOT_EVENTS && grown >= bytes && rested {
            (taken, written) = (head, written + grown);
            let began = now();
            let kept =
                hindcast_snapshots::take(log.data_dir(), &log.checkpoint(), SNAPSHOTS_BYTES_MAX);
            bytes = kept.expect("taken").bytes;
            took.push(began.elapsed().as_secs_f64() * 1e3);
            ended = now();
        }
    }
    took
}

fn run(dir: &Path, (writers, keys): (u64, u64), seconds: f64, with: bool) -> (Figures, Vec<f64>) {
    let id = Uuid::from_u128(1);
    let (log, _) = Log::open(Options::new(dir), RealClock::start(), id, &|_| {}).expect("opens");
    load(&log, keys, remembered);
    let stop = Arc::new(AtomicBool::new(!with));
    let (taker, told) = (log.clone(), Arc::clone(&stop));
    let thread = background("snapshot", move || snapshots(&taker, &told)).expect("a thread");
    let (asked, next) = (log.clone(), AtomicU64::new(keys));
    let ask: Ask = Box::new(move |_, send| {
        let reply: Reply = Box::new(move |receipt| {
            receipt.expect("recorded");
            let _ = send.send(());
        });
        let n = next.fetch_add(1, Ordering::Relaxed);
        let submitted = asked.submit(immediate_run(n), reply);
        submitted.expect("the queue holds every writer");
    });
    let figures = drive(writers, seconds, 4, ask);
    stop.store(true, Ordering::Relaxed);
    thread.thread().unpark();
    let took = thread.join().expect("the taker ends");
    log.close();
    (figures, took)
}

fn number<T: FromStr>(name: &str, default: T) -> T {
    argument(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let seconds = number("--seconds", 4.0);
    let (pairs, writers, keys) = (
        number("--pairs", 5_u64),
        number("--writers", 16),
        number("--keys", 100_000),
    );
    let (mut p99, mut p50, mut rate) = (Vec::new(), Vec::new(), Vec::new());
    let (mut with_p99, mut without_p99, mut took) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        let measure = |with| {
            let dir = tempfile::tempdir_in(".").expect("a directory on the disk");
            run(dir.path(), (writers, keys), seconds, with)
        };
        let (without, _) = measure(false);
        let (with, taken) = measure(true);
        p99.push(with.p99_us / without.p99_us);
        p50.push(with.p50_us / without.p50_us);
        rate.push(with.events_per_s / without.events_per_s);
        with_p99.push(with.p99_us);
        without_p99.push(without.p99_us);
        took.extend(taken);
    }
    let figures = json!({
        "bench": "snapshot",
        "writers": writers,
        "remembered_keys": keys,
        "snapshots": took.len(),
        "snapshot_ms": median(took),
        "p99_us_with": median(with_p99),
        "p99_us_without": median(without_p99),
        "p99_ratio": median(p99),
        "p50_ratio": median(p50),
        "events_per_s_ratio": median(rate),
    });
    println!("{figures}");
}
