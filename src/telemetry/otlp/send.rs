//! The thread that sends. It waits for a batch, sends it, tries again for a while when that fails,
//! and then gives the batch up. Between batches it sends the metrics when they are due.

use std::cell::{Cell, LazyCell};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use hindcast_actors::trace::Finished;
use hindcast_actors::{CallEnd, Dependency, Reached};
use metrics::{Counter, counter};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use ureq::Body;
use ureq::http::Response;
use ureq::tls::TlsConfig;

use super::encode::{self, LogLine};
use super::guard::Guard;
use super::{Item, Queue, Reason, Settings, Signal};
use crate::clock::{self, SystemClock};
use crate::metrics::process_metrics;

/// Items of one batch.
const BATCH_ITEMS_MAX: usize = 512;
/// Bytes of memory that the items of one batch take.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Attempts at a batch; the wait between them doubles from a second.
const ATTEMPTS_MAX: u32 = 4;
/// The longest wait that a collector may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Characters of a complaint that are told.
const WHY_CHARS_MAX: usize = 256;
/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

pub(super) struct Sender {
    settings: Arc<Settings>,
    queue: Arc<Queue>,
    guard: Arc<Guard>,
    /// By signal.
    agents: [ureq::Agent; 3],
    resource: Resource,
    sent: [Counter; 3],
    failed: [Counter; 3],
    started_micros: u64,
    /// Whether the last attempt failed.
    failing: Cell<bool>,
    /// Whether the collector rejected something of the last request that it took, by signal.
    complained: [Cell<bool>; 3],
    collector: Dependency,
}

/// What came of an attempt.
enum Attempt {
    /// It was taken, but for what is told.
    Done(Option<Rejected>),
    /// Another one may succeed, after as long as the collector asks for.
    Again(String, Option<Duration>),
    Refused(String),
    /// The breaker let no attempt pass.
    Shut,
}

/// What a collector says of a request that it took in part, or about which it has something to say.
#[derive(Debug, PartialEq, Eq)]
struct Rejected {
    /// Spans, log records or data points.
    items: u64,
    why: String,
}

impl Sender {
    pub(super) fn new(settings: Arc<Settings>, (queue, guard): (Arc<Queue>, Arc<Guard>)) -> Self {
        let agent = |signal: Signal| {
            let mut tls = TlsConfig::builder();
            if let Some(roots) = &settings.roots[signal as usize] {
                tls = tls.root_certs(roots.clone());
            }
            let config = ureq::Agent::config_builder()
                .http_status_as_error(false)
                // The header fields are for this collector and no other.
                .max_redirects(0)
                .tls_config(tls.build());
            config.build().into()
        };
        let sent = |signal: Signal| counter!("telemetry_sent_total", "signal" => signal.word());
        let failed =
            |signal: Signal| counter!("telemetry_send_failures_total", "signal" => signal.word());
        Self {
            resource: encode::resource(&settings.resource),
            agents: Signal::ALL.map(agent),
            sent: Signal::ALL.map(sent),
            failed: Signal::ALL.map(failed),
            started_micros: clock::wall().0,
            failing: Cell::new(false),
            complained: Default::default(),
            collector: Dependency::new("otlp", Arc::new(SystemClock)),
            settings,
            queue,
            guard,
        }
    }

    pub(super) fn run(self) {
        let mut metrics_due = clock::now() + self.settings.metrics_every;
        loop {
            let (batch, flushing) = self.batch(metrics_due);
            if !batch.is_empty() {
                self.send(batch);
            }
            let now = clock::now();
            if self.settings.wants(Signal::Metrics) && (now >= metrics_due || flushing) {
                metrics_due = now + self.settings.metrics_every;
                self.send_metrics();
            }
            let mut waiting = self.queue.waiting();
            waiting.busy = false;
            drop(waiting);
            self.queue.moved.notify_all();
        }
    }

    /// What waits, once it has gathered for a while; nothing when metrics are due before.
    fn batch(&self, metrics_due: Instant) -> (Vec<Item>, bool) {
        let patience = metrics_due.saturating_duration_since(clock::now());
        let patience = match self.settings.wants(Signal::Metrics) {
            true => patience.min(self.settings.batch),
            false => self.settings.batch,
        };
        let waiting = self.queue.waiting();
        let idle = |waiting: &mut super::Waiting| !waiting.flushing;
        let waited = self.queue.moved.wait_timeout_while(waiting, patience, idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_ITEMS_MAX && bytes < BATCH_BYTES_MAX {
            let Some((item, size)) = waiting.items.pop_front() else {
                break;
            };
            bytes += size;
            batch.push(item);
        }
        waiting.bytes -= bytes;
        waiting.busy = true;
        self.queue.depth_bytes.set(waiting.bytes as f64);
        (batch, std::mem::take(&mut waiting.flushing))
    }

    fn send(&self, batch: Vec<Item>) {
        let mut traces: Vec<Finished> = Vec::new();
        let mut lines: Vec<LogLine> = Vec::new();
        for item in batch {
            match item {
                Item::Trace(trace) => traces.push(trace),
                Item::Log(line) => lines.push(line),
            }
        }
        if !traces.is_empty() {
            let count = traces.len();
            let encode = || {
                encode::traces(self.resource.clone(), &std::mem::take(&mut traces)).encode_to_vec()
            };
            self.deliver(Signal::Traces, encode, count);
        }
        if !lines.is_empty() {
            let count = lines.len();
            let encode = || encode::logs(self.resource.clone(), lines).encode_to_vec();
            self.deliver(Signal::Logs, encode, count);
        }
    }

    fn send_metrics(&self) {
        let Ok(all) = process_metrics() else {
            return;
        };
        let times = (self.started_micros, clock::wall().0);
        let resource = self.resource.clone();
        let encode = || encode::metrics(resource, all.recorder(), times).encode_to_vec();
        // They are sent again soon, so that one attempt is enough.
        match self.attempt(Signal::Metrics, &LazyCell::new(encode)) {
            Attempt::Done(rejected) => {
                self.arrived();
                self.rejected(Signal::Metrics, rejected.as_ref());
                self.sent[Signal::Metrics as usize].increment(1);
            }
            Attempt::Again(why, _) | Attempt::Refused(why) => {
                self.failed[Signal::Metrics as usize].increment(1);
                self.queue.dropped(Signal::Metrics, Reason::NotTaken, 1);
                self.lost(Signal::Metrics, &why);
            }
            Attempt::Shut => self.queue.dropped(Signal::Metrics, Reason::BreakerOpen, 1),
        }
    }

    /// What no attempt is made at is not encoded.
    fn deliver(&self, signal: Signal, encode: impl FnOnce() -> Vec<u8>, count: usize) {
        let body = LazyCell::new(encode);
        let dropped = |reason| self.queue.dropped(signal, reason, count as u64);
        for attempt in 0..ATTEMPTS_MAX {
            match self.attempt(signal, &body) {
                Attempt::Done(rejected) => {
                    self.arrived();
                    return self.taken(signal, count as u64, rejected.as_ref());
                }
                Attempt::Refused(why) => {
                    self.failed[signal as usize].increment(1);
                    tracing::warn!(signal = signal.word(), why, "telemetry is refused");
                    break;
                }
                Attempt::Again(why, asked) => {
                    self.failed[signal as usize].increment(1);
                    self.lost(signal, &why);
                    let last = attempt + 1 == ATTEMPTS_MAX || self.guard.is_shut();
                    if last || self.pause(attempt, asked) {
                        break;
                    }
                }
                Attempt::Shut => return dropped(Reason::BreakerOpen),
            }
        }
        dropped(Reason::NotTaken);
    }

    /// Counts a batch that was taken, as a whole or in part. A trace of several spans is one item, so
    /// that more may be rejected than were sent.
    fn taken(&self, signal: Signal, count: u64, rejected: Option<&Rejected>) {
        self.rejected(signal, rejected);
        let lost = rejected.map_or(0, |rejected| rejected.items).min(count);
        self.sent[signal as usize].increment(count - lost);
        if lost > 0 {
            self.queue.dropped(signal, Reason::NotTaken, lost);
        }
    }

    /// Told once for each signal, until something of it is taken as a whole: a line about rejected lines
    /// would be rejected as well.
    fn rejected(&self, signal: Signal, rejected: Option<&Rejected>) {
        let before = self.complained[signal as usize].replace(rejected.is_some());
        if let Some(Rejected { items, why }) = rejected {
            let signal = signal.word();
            match before {
                false => tracing::warn!(signal, rejected = items, why, "the collector complains"),
                true => tracing::debug!(signal, rejected = items, why, "the collector complains"),
            }
        }
    }

    /// Told once, until something arrives again: the rest is in the counters.
    fn lost(&self, signal: Signal, why: &str) {
        let signal = signal.word();
        match self.failing.replace(true) {
            false => tracing::warn!(signal, why, "the collector does not take telemetry"),
            true => tracing::debug!(signal, why, "telemetry is not sent"),
        }
    }

    fn arrived(&self) {
        if self.failing.replace(false) {
            tracing::info!("the collector takes telemetry again");
        }
    }

    /// Waits for the next attempt; true when the process ends and there is none.
    fn pause(&self, attempt: u32, asked: Option<Duration>) -> bool {
        let wait = Duration::from_secs(1 << attempt);
        let wait = asked.map_or(wait, |asked| asked.clamp(wait, PAUSE_MAX));
        let waiting = self.queue.waiting();
        let idle = |waiting: &mut super::Waiting| !waiting.flushing;
        let waited = self.queue.moved.wait_timeout_while(waiting, wait, idle);
        let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.flushing
    }

    fn attempt<F: FnOnce() -> Vec<u8>>(
        &self,
        signal: Signal,
        body: &LazyCell<Vec<u8>, F>,
    ) -> Attempt {
        let Some(url) = &self.settings.endpoints[signal as usize] else {
            return Attempt::Refused("there is no endpoint".to_owned());
        };
        let mut request = self.agents[signal as usize]
            .post(url)
            .header("content-type", "application/x-protobuf")
            .config()
            .timeout_global(Some(self.settings.timeouts[signal as usize]))
            .build();
        for (name, value) in &self.settings.headers[signal as usize] {
            request = request.header(name, value);
        }
        let call = || {
            let body: &[u8] = body;
            self.collector.call(|| request.send(body), reached)
        };
        let Some(sent) = self.guard.call(call, end) else {
            return Attempt::Shut;
        };
        match sent {
            Ok(answer) if answer.status().is_success() => Attempt::Done(rejection(answer)),
            Ok(answer) => {
                let status = answer.status().as_u16();
                let why = format!("the answer is {status}");
                match status {
                    429 | 502 | 503 | 504 => Attempt::Again(why, retry_after(&answer)),
                    _ => Attempt::Refused(why),
                }
            }
            Err(error) => Attempt::Again(error.to_string(), None),
        }
    }
}

/// What the collector complains of in an answer that says that it took the request. The answers of the
/// three signals have the same fields.
/// <https://opentelemetry.io/docs/specs/otlp/#partial-success>
fn rejection(answer: Response<Body>) -> Option<Rejected> {
    let body = answer.into_body().into_with_config();
    let bytes = body.limit(ANSWER_BYTES_MAX).read_to_vec().ok()?;
    let partial = ExportTraceServiceResponse::decode(&*bytes).ok()?;
    let partial = partial.partial_success?;
    let items = u64::try_from(partial.rejected_spans).unwrap_or(0);
    let why: String = partial.error_message.chars().take(WHY_CHARS_MAX).collect();
    (items > 0 || !why.is_empty()).then_some(Rejected { items, why })
}

/// The seconds that the collector asks to wait.
fn retry_after(answer: &Response<Body>) -> Option<Duration> {
    let text = answer.headers().get("retry-after")?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn reached(sent: &Result<Response<Body>, ureq::Error>) -> Reached {
    match sent {
        Ok(answer) => Reached::of(answer.status().as_u16()),
        Err(_) => Reached::Failed,
    }
}

/// What an attempt says of the collector. That it does not want a request says nothing.
fn end(sent: &Result<Response<Body>, ureq::Error>) -> CallEnd {
    let answer = match sent {
        Ok(answer) => answer.status(),
        Err(ureq::Error::Timeout(_)) => return CallEnd::Failure("timeout"),
        Err(_) => return CallEnd::Failure("unreachable"),
    };
    match answer.as_u16() {
        429 => CallEnd::Failure("rate_limited"),
        500.. => CallEnd::Failure("server_error"),
        _ if answer.is_success() => CallEnd::Success,
        _ => CallEnd::Ignored,
    }
}
