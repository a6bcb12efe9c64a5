//! What the benchmarks share: clocks, CPU time, percentiles. A benchmark prints one JSON line with
//! its figures and, where it compares, ratios from the same run.

pub mod served;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use hindcast_log::{Clock, Log, Reply};
use hindcast_model::event::{Outcome, OutcomeObserved, RunRequested};
use hindcast_model::{
    Command, Digest, Event, EventId, KeyId, Name16, Payload, RunId, Submission, UnixMicros,
};
use tokio::sync::oneshot;

/// The server's allocator, so that the figures are the server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The machine's clocks.
pub struct RealClock(Instant);

impl RealClock {
    /// A clock whose monotonic side begins here.
    #[must_use]
    pub fn start() -> Arc<Self> {
        Arc::new(Self(now()))
    }
}

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn wall(&self) -> UnixMicros {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros = since.map_or(0, |since| since.as_micros());
        UnixMicros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// This moment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// CPU seconds of this process so far, all threads, user and system. The kernel counts in
/// hundredths of a second.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory of this process in MiB: at present, and the most so far.
#[must_use]
pub fn rss_mib() -> (f64, f64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// The value that follows this name on the command line.
#[must_use]
pub fn argument(name: &str) -> Option<String> {
    std::env::args()
        .skip_while(|argument| argument != name)
        .nth(1)
}

/// Submits what `make` gives for each number and keeps up to 512 under way until all are
/// acknowledged.
///
/// # Panics
/// The log does not record one.
pub fn load(log: &Log, runs: u64, mut make: impl FnMut(u64) -> Submission) {
    let done = Arc::new(AtomicU64::new(0));
    for n in 0..runs {
        let submission = make(n);
        while n - done.load(Ordering::Acquire) >= 512 {
            std::thread::park_timeout(Duration::from_micros(50));
        }
        let count = Arc::clone(&done);
        let reply: Reply = Box::new(move |receipt| {
            receipt.expect("recorded");
            count.fetch_add(1, Ordering::Release);
        });
        log.submit(submission, reply)
            .expect("the queue is longer than that");
    }
    while done.load(Ordering::Acquire) < runs {
        std::thread::park_timeout(Duration::from_micros(50));
    }
}

/// What closed-loop writers saw.
#[derive(Clone, Copy, Default)]
pub struct Figures {
    pub events_per_s: f64,
    pub cpu_us_per_event: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Asks for the n-th write and is told once it is durable.
pub type Ask = Box<dyn Fn(u64, oneshot::Sender<()>) + Send + Sync>;

/// `writers` tasks that each wait for the answer before they ask again, for so many seconds.
///
/// # Panics
/// An answer does not come.
#[must_use]
pub fn drive(writers: u64, seconds: f64, events: u64, ask: Ask) -> Figures {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime starts");
    let ask = Arc::new(ask);
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let (cpu, start) = (cpu_seconds(), now());
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (ask, stop, count) = (Arc::clone(&ask), Arc::clone(&stop), Arc::clone(&count));
            runtime.spawn(async move {
                let mut micros = Vec::with_capacity(1 << 16);
                let mut n = writer << 40;
                while !stop.load(Ordering::Relaxed) {
                    let (send, receive) = oneshot::channel();
                    let asked = now();
                    ask(n, send);
                    receive.await.expect("an answer");
                    micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
                    n += 1;
                }
                count.fetch_add(micros.len() as u64, Ordering::Relaxed);
                micros
            })
        })
        .collect();
    let (_never, wait) = sync_channel::<()>(1);
    let _ = wait.recv_timeout(Duration::from_secs_f64(seconds));
    stop.store(true, Ordering::Relaxed);
    let mut micros: Vec<u32> = tasks
        .into_iter()
        .flat_map(|task| runtime.block_on(task).expect("a writer ends"))
        .collect();
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    micros.sort_unstable();
    let total = (micros.len() as u64 * events) as f64;
    Figures {
        events_per_s: total / wall,
        cpu_us_per_event: cpu * 1e6 / total,
        p50_us: f64::from(percentile(&micros, 50)),
        p99_us: f64::from(percentile(&micros, 99)),
    }
}

/// The median; 0 of nothing.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The `percent`-th percentile of sorted values, by the nearest rank.
#[must_use]
pub fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or(0)
}

/// A run id that follows from a number.
#[must_use]
pub fn run_id(n: u64) -> RunId {
    RunId::from_bytes((u128::from(n) + (0x0190_u128 << 112)).to_be_bytes())
}

/// A command of its own.
#[must_use]
pub fn command(id: u128, event: Event) -> Command {
    let id = EventId::from_bytes((id << 16).to_be_bytes());
    Command {
        event_id: id,
        causation: id,
        correlation: id,
        principal: Name16::new("bench"),
        tenant: Name16::new("default"),
        key: KeyId::default(),
        expect: None,
        event,
    }
}

/// A request whose result was computed before it was recorded, and the result: four events.
#[must_use]
pub fn immediate_run(n: u64) -> Submission {
    let run = run_id(n);
    let requested = Event::RunRequested(RunRequested {
        run,
        operation: "causal.validate".to_owned(),
        schema: 1,
        spec: Payload::Inline(
            "{\"graph\":\"dag { x -> y ; z -> x ; z -> y }\",\"outcome\":[\"y\"],\"treatment\":[\"x\"]}"
                .to_owned(),
        ),
        spec_hash: Digest::default(),
        seed: n,
        datasets: Vec::new(),
        deadline_micros: 0,
        immediate: true,
        experiment: None,
        idempotency: None, service: None, });
    let outcome = Event::OutcomeObserved(OutcomeObserved {
        run,
        outcome: Outcome::Completed {
            result: Payload::Inline("{\"estimand\":{\"of\":{\"given\":[\"x\",\"z\"],\"of\":[\"y\"],\"type\":\"p\"},\"over\":[\"z\"],\"type\":\"sum\"},\"identifiable\":true}".to_owned()),
            result_hash: Digest::default(),
            schema: 1,
            algorithm_version: "validate 1".to_owned(),
        },
        numeric_profile: "x86_64".to_owned(),
        queued_micros: 0,
        computed_micros: 9,
    });
    let id = u128::from(n) << 64;
    Submission {
        commands: vec![command(id, requested), command(id + (1 << 32), outcome)],
    }
}
