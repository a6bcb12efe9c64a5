//! Telemetry to a collector by OTLP (http/protobuf). What is to be sent waits in a queue with a
//! bound in bytes; what finds it full is dropped and counted. One plain thread sends, blocks, tries
//! again and gives up: a collector that is slow, gone or stuck costs requests nothing. What that
//! thread says itself is never sent.
//! <https://opentelemetry.io/docs/specs/otlp/>

mod encode;
mod guard;
mod layer;
mod send;
mod settings;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hindcast_actors::DependencyBreaker;
use hindcast_actors::trace::Finished;
use metrics::{Counter, Gauge, counter, gauge};

pub use layer::Export;
pub use settings::{BadSetting, Settings};

use encode::LogLine;
use guard::Guard;
use send::Sender;

/// The three kinds of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Logs,
    Metrics,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    /// As in paths, variables and labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// Why something is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    QueueFull,
    /// The collector did not take it.
    NotTaken,
    /// The breaker of the collector let no call pass.
    BreakerOpen,
}

impl Reason {
    const ALL: [Self; 3] = [Self::QueueFull, Self::NotTaken, Self::BreakerOpen];

    /// As in labels.
    const fn word(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::NotTaken => "not_taken",
            Self::BreakerOpen => "breaker_open",
        }
    }
}

thread_local! {
    static SENDING: Cell<bool> = const { Cell::new(false) };
}

/// Something that waits to be sent.
enum Item {
    Trace(Finished),
    Log(LogLine),
}

impl Item {
    const fn signal(&self) -> Signal {
        match self {
            Self::Trace(_) => Signal::Traces,
            Self::Log(_) => Signal::Logs,
        }
    }
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<(Item, usize)>,
    bytes: usize,
    /// Somebody waits for the queue to be empty.
    flushing: bool,
    /// A batch is being sent.
    busy: bool,
}

struct Queue {
    waiting: Mutex<Waiting>,
    moved: Condvar,
    bytes_max: usize,
    depth_bytes: Gauge,
    /// By signal, then by reason.
    dropped: [[Counter; 3]; 3],
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Item, bytes: usize) {
        let mut waiting = self.waiting();
        if waiting.bytes + bytes > self.bytes_max {
            drop(waiting);
            return self.dropped(item.signal(), Reason::QueueFull, 1);
        }
        waiting.bytes += bytes;
        waiting.items.push_back((item, bytes));
        self.depth_bytes.set(waiting.bytes as f64);
    }

    fn dropped(&self, signal: Signal, reason: Reason, items: u64) {
        self.dropped[signal as usize][reason as usize].increment(items);
    }
}

/// The way out.
pub struct Exporter {
    settings: Arc<Settings>,
    queue: Arc<Queue>,
    guard: Arc<Guard>,
}

impl Exporter {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(settings: Settings) -> std::io::Result<Self> {
        let dropped = |signal: Signal| {
            Reason::ALL.map(|reason| {
                counter!("telemetry_dropped_total",
                    "signal" => signal.word(), "reason" => reason.word())
            })
        };
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            moved: Condvar::new(),
            bytes_max: settings.queue_bytes_max,
            depth_bytes: gauge!("telemetry_queue_bytes"),
            dropped: Signal::ALL.map(dropped),
        });
        let settings = Arc::new(settings);
        let guard = Arc::new(Guard::default());
        let own = (Arc::clone(&queue), Arc::clone(&guard));
        let sender = Sender::new(Arc::clone(&settings), own);
        let thread = std::thread::Builder::new().name("telemetry".to_owned());
        thread.spawn(move || {
            SENDING.with(|cell| cell.set(true));
            sender.run();
        })?;
        Ok(Self {
            settings,
            queue,
            guard,
        })
    }

    /// A server is up: this breaker says whether the collector is called.
    pub(super) fn guard(&self, breaker: Arc<DependencyBreaker>) {
        self.guard.join(breaker);
    }

    /// The server stops.
    pub(super) fn unguard(&self) {
        self.guard.part();
    }

    /// The layer that takes log lines.
    #[must_use]
    pub fn layer(&self) -> Export {
        let queue = self.settings.wants(Signal::Logs);
        Export(queue.then(|| Arc::clone(&self.queue)))
    }

    /// Takes a trace, if its sampling says so.
    pub(super) fn trace(&self, trace: &Finished) {
        let wanted = self.settings.wants(Signal::Traces);
        if wanted && self.settings.samples(trace.trace, trace.sampled) {
            let bytes = encode::trace_bytes(trace);
            self.queue.push(Item::Trace(trace.clone()), bytes);
        }
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.queue.waiting().bytes
    }

    /// Sends what waits, for no longer than this.
    pub(super) fn flush(&self, patience: Duration) {
        let mut waiting = self.queue.waiting();
        waiting.flushing = true;
        self.queue.moved.notify_all();
        let busy = |waiting: &mut Waiting| waiting.busy || !waiting.items.is_empty();
        let waited = self.queue.moved.wait_timeout_while(waiting, patience, busy);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.flushing = false;
    }
}

/// Whether this thread is the one that sends.
fn is_sender() -> bool {
    SENDING.with(Cell::get)
}
