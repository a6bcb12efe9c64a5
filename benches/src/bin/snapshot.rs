//! What snapshots cost the writers: the same closed-loop appends to one log, in blocks with and
//! without a thread that takes a snapshot whenever the server's policy would. Two blocks make a
//! pair, every other pair the other way round, since a disk and its neighbours have moods. The state
//! holds so many remembered idempotency keys, since an empty one costs nothing. Ratios are medians
//! over the pairs, with the interval that holds the median of all pairs in nine of ten measurements
//! (order statistics, binomial).
//!
//! Arguments: `--seconds N` for each block (default 5), `--pairs N` (default 12), `--writers N`
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

/// When snapshots are taken, and when no more.
#[derive(Default)]
struct Switch {
    on: AtomicBool,
    ended: AtomicBool,
}

/// Takes snapshots while they are wanted, and returns the milliseconds of each.
fn snapshots(log: &Log, switch: &Switch) -> Vec<f64> {
    let (mut took, mut bytes) = (Vec::new(), 0);
    let mut ended = now();
    let (mut taken, mut written) = (log.head().seq, log.frame_bytes());
    while !switch.ended.load(Ordering::Relaxed) {
        std::thread::park_timeout(LOOK_EVERY);
        let (head, grown) = (log.head().seq, log.frame_bytes() - written);
        let last = took.last().copied().unwrap_or(0.0) / 1e3;
        let rested = ended.elapsed().as_secs_f64() >= SHARE * last;
        let due = head.0 - taken.0 >= SNAPSHOT_EVENTS && grown >= bytes && rested;
        if due && switch.on.load(Ordering::Relaxed) {
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

/// The log, and the number of the next run.
struct Bench {
    log: Log,
    next: Arc<AtomicU64>,
}

impl Bench {
    fn begin(dir: &Path, keys: u64) -> Self {
        let id = Uuid::from_u128(1);
        let (log, _) =
            Log::open(Options::new(dir), RealClock::start(), id, &|_| {}).expect("opens");
        load(&log, keys, remembered);
        Self {
            log,
            next: Arc::new(AtomicU64::new(keys)),
        }
    }

    fn block(&self, writers: u64, seconds: f64) -> Figures {
        let (asked, next) = (self.log.clone(), Arc::clone(&self.next));
        let ask: Ask = Box::new(move |_, send| {
            let reply: Reply = Box::new(move |receipt| {
                receipt.expect("recorded");
                let _ = send.send(());
            });
            let n = next.fetch_add(1, Ordering::Relaxed);
            let submitted = asked.submit(immediate_run(n), reply);
            submitted.expect("the queue holds every writer");
        });
        drive(writers, seconds, 4, ask)
    }
}

/// The median, and the order statistics around it that hold the true one with probability 0.9.
fn median_within(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let (n, mut below, mut rank) = (values.len(), 0.0, 0);
    // Ranks whose binomial tail is at most 1 in 20.
    let mut term = 0.5_f64.powi(i32::try_from(n).expect("few pairs"));
    while rank < n / 2 && below + term <= 0.05 {
        below += term;
        term *= (n - rank) as f64 / (rank + 1) as f64;
        rank += 1;
    }
    let low = rank.saturating_sub(1);
    [values[low], median(values.clone()), values[n - 1 - low]]
}

fn number<T: FromStr>(name: &str, default: T) -> T {
    argument(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let seconds = number("--seconds", 5.0);
    let (pairs, writers, keys) = (
        number("--pairs", 12_u64).max(1),
        number("--writers", 16),
        number("--keys", 100_000),
    );
    let dir = tempfile::tempdir_in(".").expect("a directory on the disk");
    let bench = Bench::begin(dir.path(), keys);
    let switch = Arc::new(Switch::default());
    let (taker, told) = (bench.log.clone(), Arc::clone(&switch));
    let thread = background("snapshot", move || snapshots(&taker, &told)).expect("a thread");
    let (mut p99, mut p50, mut rate) = (Vec::new(), Vec::new(), Vec::new());
    let (mut with_p99, mut without_p99) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let measure = |with| {
            switch.on.store(with, Ordering::Relaxed);
            bench.block(writers, seconds)
        };
        let (with, without) = match pair % 2 {
            0 => (measure(true), measure(false)),
            _ => {
                let without = measure(false);
                (measure(true), without)
            }
        };
        p99.push(with.p99_us / without.p99_us);
        p50.push(with.p50_us / without.p50_us);
        rate.push(with.events_per_s / without.events_per_s);
        with_p99.push(with.p99_us);
        without_p99.push(without.p99_us);
    }
    switch.ended.store(true, Ordering::Relaxed);
    thread.thread().unpark();
    let took = thread.join().expect("the taker ends");
    bench.log.close();
    let figures = json!({
        "bench": "snapshot",
        "writers": writers,
        "remembered_keys": keys,
        "pairs": pairs,
        "snapshots": took.len(),
        "snapshot_ms": median(took),
        "p99_us_with": median(with_p99),
        "p99_us_without": median(without_p99),
        "p99_ratio": median_within(p99),
        "p50_ratio": median_within(p50),
        "events_per_s_ratio": median_within(rate),
    });
    println!("{figures}");
}
