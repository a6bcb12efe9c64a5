//! The metrics actor: turns durable events into metrics. It reads only; nothing waits for it and
//! nothing follows from it. Frames that its mailbox had no room for are read from the log, so that
//! counters stay whole.

mod backups;
mod events;
mod host;
mod log;
mod names;
mod node;
mod slos;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hindcast_log::{Batch, Log, Recorded};
use hindcast_model::event::Event;
use hindcast_model::{RunId, Seq, Stream};

use crate::component::Component;
use crate::exemplar;
use events::EventMetrics;
use host::HostMetrics;
use log::LogFigures;
pub(crate) use log::observe_syncs;
pub use names::describe;
use node::NodeMetrics;

/// Frames waiting for the actor; further ones are read from the log.
pub(crate) const MAILBOX_MAX: usize = 1_024;
/// Events read from the log at a time.
const READ_EVENTS_MAX: usize = 1_024;
/// Events caught up with for one message; what is older is counted as skipped.
const CATCH_UP_EVENTS_MAX: u64 = 262_144;
/// Ticks between two looks at the log's figures, which ask the file system.
const LOG_EVERY_TICKS: u64 = 5;
/// Events of backups, and of drills, that are looked at for what was last before this process.
const REMEMBERED_MAX: usize = 512;

pub(crate) enum Request {
    Durable(Arc<Batch>),
}

/// The actor's body.
pub(crate) struct Metrics {
    log: Log,
    events: EventMetrics,
    host: HostMetrics,
    node: NodeMetrics,
    /// The last event that was looked at, by whichever incarnation.
    seen: Arc<AtomicU64>,
    figures: LogFigures,
    ticks: u64,
}

impl Metrics {
    pub(crate) fn new(log: Log, seen: Arc<AtomicU64>) -> Self {
        let host = HostMetrics::new();
        Self {
            log,
            events: EventMetrics::new(),
            node: NodeMetrics::new(host.ticks_per_second()),
            host,
            seen,
            figures: LogFigures::new(),
            ticks: 0,
        }
    }

    /// Shows what the last backups and drills came to, also where that was before this process.
    fn remember(&mut self) {
        for name in ["backups", "drills"] {
            let newest = self
                .log
                .read_stream_newest(Stream::system(name), REMEMBERED_MAX);
            match newest {
                Ok(before) => self.events.remember(&before),
                Err(error) => tracing::warn!(%error, name, "what was recorded is not shown"),
            }
        }
    }

    fn durable(&mut self, batch: &Batch) {
        let Some(last) = batch.events.last() else {
            return;
        };
        let seen = self.seen.load(Ordering::Acquire);
        if last.seq().0 <= seen {
            return;
        }
        if batch.first.0 > seen + 1 {
            self.catch_up(Seq(seen + 1), batch.first);
        }
        self.observe(&batch.events);
    }

    fn catch_up(&mut self, from: Seq, until: Seq) {
        let mut next = from.0.max(until.0.saturating_sub(CATCH_UP_EVENTS_MAX));
        self.events.skipped(next - from.0);
        while next < until.0 {
            match self.log.read(Seq(next), READ_EVENTS_MAX) {
                Ok(events) if !events.is_empty() => {
                    let missed = events
                        .iter()
                        .take_while(|recorded| recorded.seq() < until)
                        .count();
                    self.observe(&events[..missed]);
                    next += events.len() as u64;
                }
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, from = next, "missed events could not be read");
                    self.events.skipped(until.0 - next);
                    return;
                }
            }
        }
    }

    fn measure(&self) {
        self.figures.show(&self.log.stats());
        self.node.sample();
    }

    fn measure_time(&mut self) {
        self.host.sample();
        self.node.processors();
    }

    fn observe(&mut self, events: &[Recorded]) {
        for recorded in events {
            // Moved before the event is looked at: one that makes this panic is not met again.
            self.seen.store(recorded.seq().0, Ordering::Release);
            let log = &self.log;
            let trace = u128::from_be_bytes(recorded.context.correlation.bytes());
            exemplar::within(trace, || {
                self.events.observe(recorded, &|run| operation_of(log, run));
            });
        }
    }
}

/// The operation of a run that this incarnation has not seen the request of.
fn operation_of(log: &Log, run: RunId) -> Option<String> {
    let stream = log.read_stream(Stream::run(run)).ok()?;
    stream.iter().find_map(|recorded| {
        if let Some(Event::RunRequested(request)) = recorded.event() {
            Some(request.operation.clone())
        } else {
            None
        }
    })
}

impl Component for Metrics {
    type Message = Request;
    const NAME: &'static str = "metrics";
    const KINDS: &'static [&'static str] = &["durable"];
    const TICK: Duration = Duration::from_secs(1);

    fn kind(message: &Request) -> usize {
        match message {
            Request::Durable(_) => 0,
        }
    }

    fn started(&mut self) {
        self.log.state(|state| self.events.begin(state));
        self.remember();
        // No figure is shown before it was measured.
        self.measure();
        self.measure_time();
    }

    fn handle(&mut self, message: Request) {
        match message {
            Request::Durable(batch) => self.durable(&batch),
        }
    }

    fn tick(&mut self) {
        self.log.state(|state| self.events.show(state));
        self.measure_time();
        self.ticks += 1;
        if self.ticks % LOG_EVERY_TICKS == 1 {
            self.measure();
        }
    }
}
