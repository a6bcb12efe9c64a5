//! Everything that `/metrics` shows, with its help, unit and buckets. Counters of requests are
//! registered once for each route and status, so that a request costs no label lookup. What the
//! actors count, they count themselves; this is where it is described and rendered.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hindcast_model::UnixMicros;
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds in seconds for what takes microseconds to minutes.
const LATENCY_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 300.0,
];

/// The methods that are counted under their own name.
const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE",
];

/// The metrics of this process. There is one, however many servers it holds.
pub struct Metrics {
    handle: PrometheusHandle,
    routes: Mutex<BTreeMap<String, &'static Route>>,
    active_requests: Gauge,
    active_connections: Gauge,
}

/// The metrics of one route: all its methods and statuses.
pub struct Route {
    path: String,
    methods: Vec<OnceLock<Method>>,
}

struct Method {
    name: &'static str,
    duration: Histogram,
    /// By status; 0 stands for every status outside of 100 to 599.
    statuses: Mutex<BTreeMap<u16, Counter>>,
}

/// The metrics of this process, made at the first call.
pub fn process_metrics() -> Result<&'static Metrics, BuildError> {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = METRICS.get() {
        return Ok(made);
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS)?
        .install_recorder()?;
    describe();
    Ok(METRICS.get_or_init(|| Metrics {
        handle,
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
        let route: &'static Route = Box::leak(Box::new(Route {
            path: template.to_owned(),
            methods: METHODS
                .iter()
                .map(|_| OnceLock::new())
                .chain([OnceLock::new()])
                .collect(),
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

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        counters_of_seconds(&self.handle.render())
    }

    /// Folds what histograms have buffered; without it they grow without bound.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// The recorder's counters are whole numbers, so totals of seconds are kept as gauges. They are
/// counters all the same: they never go down.
fn counters_of_seconds(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        match line.strip_suffix("_total gauge") {
            Some(head) if line.starts_with("# TYPE ") => {
                out.push_str(head);
                out.push_str("_total counter");
            }
            Some(_) | None => out.push_str(line),
        }
        out.push('\n');
    }
    out
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
    /// Counts one answered request.
    pub fn observe(&self, method: &str, status: u16, took: Duration) {
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
        method.duration.record(took.as_secs_f64());
        let mut statuses = method
            .statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        statuses
            .entry(status)
            .or_insert_with(|| {
                let path = self.path.clone();
                let status = status.to_string();
                counter!(
                    "http_requests_total", "method" => method.name, "path" => path, "status" => status
                )
            })
            .increment(1);
    }

    /// Counts one failed request by its class.
    pub fn error(&self, class: &'static str) {
        counter!("http_errors_total", "type" => class, "path" => self.path.clone()).increment(1);
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

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    hindcast_actors::describe();
    describe_counter!(
        "http_requests_total",
        "Requests answered, by route and status"
    );
    describe_counter!(
        "http_errors_total",
        "Requests that failed, by class: client, server, timeout, overload"
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
        "Durable events that the lookup store does not hold yet"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_counters() {
        let text = "# TYPE a_seconds_total gauge\na_seconds_total 1.5\n# TYPE b gauge\nb 1\n";
        let expected = "# TYPE a_seconds_total counter\na_seconds_total 1.5\n# TYPE b gauge\nb 1\n";
        assert_eq!(counters_of_seconds(text), expected);
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = process_metrics().expect("the first recorder of this process");
        let route = metrics.route("/x/{id}");
        route.observe("GET", 200, Duration::from_millis(3));
        route.observe("BREW", 418, Duration::from_millis(3));
        route.error("client");
        let text = metrics.render();
        for line in [
            r#"http_requests_total{method="GET",path="/x/{id}",status="200"} 1"#,
            r#"http_requests_total{method="other",path="/x/{id}",status="418"} 1"#,
            r#"http_errors_total{type="client",path="/x/{id}"} 1"#,
            r#"http_request_duration_seconds_bucket{method="GET",path="/x/{id}",le="0.005"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
