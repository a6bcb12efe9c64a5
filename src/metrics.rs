//! Everything that `/metrics` shows, with its help, unit and buckets. Counters of requests are
//! registered once for each route and status, so that a request costs no label lookup. What the
//! actors count, they count themselves; this is where it is described and rendered.

pub mod aliases;
pub mod buckets;
pub mod cells;
mod derived;
mod filesystems;
pub mod read;
pub mod recorder;
pub(crate) mod sampler;
pub mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hindcast_actors::exemplar;
use hindcast_model::UnixMicros;
use metrics::{
    Counter, Gauge, Histogram, Label, SetRecorderError, Unit, counter, gauge, histogram,
};

use derived::Derived;
use recorder::Recorder;
use text::Format;

/// The methods that are counted under their own name.
const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE",
];

/// The metrics of this process. There is one, however many servers it holds.
pub struct Metrics {
    recorder: &'static Recorder,
    derived: Mutex<Derived>,
    routes: Mutex<BTreeMap<String, &'static Route>>,
    active_requests: Gauge,
    active_connections: Gauge,
}

/// The metrics of one route: all its methods and statuses.
pub struct Route {
    /// As routes are written: with the names of what varies.
    pub path: String,
    methods: Vec<OnceLock<Method>>,
    errors: Mutex<BTreeMap<&'static str, Counter>>,
}

struct Method {
    name: &'static str,
    duration: Histogram,
    /// By status, and why an answer is told apart.
    statuses: Mutex<BTreeMap<(u16, Option<Apart>), Counter>>,
}

/// Answers with a status of 500 and more that are no failures of the server, and are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Apart {
    /// The time passed that the request gave itself.
    CallerDeadline,
    /// A probe was told the truth.
    Probe,
}

impl Apart {
    /// The value of the label `cause`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::CallerDeadline => "caller_deadline",
            Self::Probe => "probe",
        }
    }
}

/// There is a recorder already that is not ours.
pub type RecorderTaken = SetRecorderError<&'static Recorder>;

/// Families that `/model-metrics` shows, by the start of their names.
const MODEL_FAMILIES: &[&str] = &["causal_", "model_"];

/// The metrics of this process, made at the first call.
pub fn process_metrics() -> Result<&'static Metrics, RecorderTaken> {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = METRICS.get() {
        return Ok(made);
    }
    let recorder: &'static Recorder = Box::leak(Box::default());
    metrics::set_global_recorder(recorder)?;
    describe();
    Ok(METRICS.get_or_init(|| Metrics {
        recorder,
        derived: Mutex::new(Derived::new()),
        routes: Mutex::new(BTreeMap::new()),
        active_requests: gauge!("active_requests"),
        active_connections: gauge!("active_connections"),
    }))
}

impl Metrics {
    /// The metrics of the route with this template. Templates are few and fixed, so they stay.
    pub fn route(&self, template: &str) -> &'static Route {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.get(template) {
            return route;
        }
        // There with zero from the start, so that the first error is seen as a rise.
        for class in ["client", "server", "timeout", "overload", "breaker_open"] {
            counter!("http_errors_total", "type" => class, "path" => template.to_owned())
                .increment(0);
        }
        let route: &'static Route = Box::leak(Box::new(Route {
            path: template.to_owned(),
            methods: METHODS
                .iter()
                .map(|_| OnceLock::new())
                .chain([OnceLock::new()])
                .collect(),
            errors: Mutex::default(),
        }));
        routes.insert(template.to_owned(), route);
        route
    }

    /// Counts a request as active until the guard is dropped.
    pub fn request(&self) -> ActiveGuard {
        ActiveGuard::new(&self.active_requests)
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(&self) -> ActiveGuard {
        ActiveGuard::new(&self.active_connections)
    }

    /// All metrics as text.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        text::render(self.recorder, format, |_| true)
    }

    /// Those of computations and models alone.
    #[must_use]
    pub fn render_models(&self, format: Format) -> String {
        text::render(self.recorder, format, |name| {
            MODEL_FAMILIES.iter().any(|start| name.starts_with(start))
        })
    }

    /// Where all of them are kept.
    #[must_use]
    pub fn recorder(&self) -> &'static Recorder {
        self.recorder
    }

    /// Measures the file systems that matter to a server with this data directory.
    pub fn file_systems(&self, data_dir: &Path) {
        filesystems::show(data_dir);
    }

    /// Works out what follows from other metrics; called about once a second.
    pub fn derive(&self, monotonic_micros: u64) {
        let derived = self.derived.lock();
        derived
            .unwrap_or_else(PoisonError::into_inner)
            .derive(self.recorder, monotonic_micros);
    }
}

/// Something that is going on.
pub struct ActiveGuard(Gauge);

impl ActiveGuard {
    fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Route {
    /// Counts one answered request, which belongs to this trace.
    pub fn observe(
        &self,
        method: &str,
        (status, apart): (u16, Option<Apart>),
        took: Duration,
        trace: u128,
    ) {
        let index = METHODS.iter().position(|known| *known == method);
        let method = self.methods[index.unwrap_or(METHODS.len())].get_or_init(|| {
            let name = index.map_or("other", |index| METHODS[index]);
            let path = self.path.clone();
            Method {
                name,
                duration: histogram!("http_request_duration_seconds", "method" => name, "path" => path),
                statuses: Mutex::new(BTreeMap::new()),
            }
        });
        exemplar::within(trace, || method.duration.record(took.as_secs_f64()));
        let mut statuses = method
            .statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        statuses
            .entry((status, apart))
            .or_insert_with(|| {
                let mut labels = vec![
                    Label::new("method", method.name),
                    Label::new("path", self.path.clone()),
                    Label::new("status", status.to_string()),
                ];
                labels.extend(apart.map(|apart| Label::new("cause", apart.word())));
                counter!("http_requests_total", labels)
            })
            .increment(1);
    }

    /// Counts one failed request by its class.
    pub fn error(&self, class: &'static str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = errors.entry(class).or_insert_with(
            || counter!("http_errors_total", "type" => class, "path" => self.path.clone()),
        );
        counter.increment(1);
    }
}

/// What is true from the start of a server.
pub fn server_started(listen: &str, at: UnixMicros) {
    gauge!(
        "build_info",
        "version" => env!("CARGO_PKG_VERSION"),
        "decider_version" => hindcast_model::DECIDER_VERSION.to_string()
    )
    .set(1.0);
    gauge!("config_last_reload_successful").set(1.0);
    gauge!("config_last_reload_success_timestamp_seconds").set(at.0 as f64 / 1e6);
    gauge!("up", "job" => "hindcast", "instance" => listen.to_owned()).set(1.0);
}

/// A new configuration was read and not taken over; the old one holds. One that is taken over is
/// seen in the log.
pub fn reload_refused() {
    gauge!("config_last_reload_successful").set(0.0);
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    hindcast_actors::describe();
    describe_derived();
    describe_telemetry();
    describe_counter!(
        "http_requests_total",
        "Requests answered, by route and status; what is no failure of the server by its cause as well"
    );
    describe_counter!(
        "http_errors_total",
        "Requests that failed, by class: client, caller_deadline, server, timeout, breaker_open, overload"
    );
    describe_counter!(
        "data_validation_failures_total",
        "Requests whose form or data were refused, by the rule: the last part of the problem's type"
    );
    describe_histogram!(
        "http_request_duration_seconds",
        Unit::Seconds,
        "Time from the head of a request to its answer"
    );
    describe_gauge!("active_requests", "Requests that are being answered");
    describe_gauge!("active_connections", "Open TCP connections");
    describe_gauge!("build_info", "1, labelled with the version that runs");
    describe_gauge!(
        "log_head_sequence",
        "Sequence number of the last durable event"
    );
    describe_gauge!(
        "log_lag_events",
        "Durable events that the lookup store has not taken yet"
    );
    describe_gauge!("log_queue_depth", "Submissions that wait for the committer");
    describe_gauge!(
        "disk_free_bytes",
        Unit::Bytes,
        "Free bytes where the data directory is"
    );
    describe_gauge!(
        "disk_size_bytes",
        Unit::Bytes,
        "Size of the disk of the data directory"
    );
}

fn describe_derived() {
    use metrics::describe_gauge;
    describe_gauge!(
        "cache_hit_ratio",
        "Lookups of the last five minutes that a cache could answer, of all; not a number when there were none"
    );
    describe_gauge!(
        "cpu_usage_percent",
        "Time of the last minute that the processors of the machine were busy"
    );
    describe_gauge!(
        "memory_usage_percent",
        "Memory of the machine that is not available"
    );
    describe_gauge!(
        "disk_usage_percent",
        "Space that is used where the data directory is"
    );
    describe_gauge!(
        "disk_usage_ratio",
        "Space that is used where the data directory is, from 0 to 1"
    );
    describe_gauge!(
        "node_filesystem_size_bytes",
        Unit::Bytes,
        "Size of a file system: that of the data directory and the first one"
    );
    describe_gauge!(
        "node_filesystem_avail_bytes",
        Unit::Bytes,
        "Space of a file system that an ordinary user may fill"
    );
}

fn describe_telemetry() {
    use metrics::{describe_counter, describe_gauge};
    describe_counter!(
        "telemetry_dropped_total",
        "Traces, log lines and batches of metrics that were not sent, by signal and reason: queue_full, not_taken or breaker_open"
    );
    describe_counter!(
        "telemetry_sent_total",
        "Traces, log lines and batches of metrics that a collector took, by signal"
    );
    describe_counter!(
        "telemetry_send_failures_total",
        "Attempts to send that failed, by signal"
    );
    describe_counter!(
        "log_lines_lost_total",
        "Log lines that telemetry.log_file did not take, as when its disk is full"
    );
    describe_gauge!(
        "telemetry_queue_bytes",
        Unit::Bytes,
        "Memory of what waits to be sent"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = process_metrics().expect("the first recorder of this process");
        let route = metrics.route("/x/{id}");
        route.observe("GET", (200, None), Duration::from_millis(3), 1);
        route.observe(
            "GET",
            (504, Some(Apart::CallerDeadline)),
            Duration::from_millis(30),
            1,
        );
        route.observe("BREW", (418, None), Duration::from_millis(3), 1);
        route.error("client");
        let text = metrics.render(Format::Text);
        for line in [
            r#"http_requests_total{method="GET",path="/x/{id}",status="200"} 1"#,
            r#"http_requests_total{method="GET",path="/x/{id}",status="504",cause="caller_deadline"} 1"#,
            r#"http_requests_total{method="other",path="/x/{id}",status="418"} 1"#,
            r#"http_errors_total{type="client",path="/x/{id}"} 1"#,
            r#"http_request_duration_seconds_bucket{method="GET",path="/x/{id}",le="0.005"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
