//! What the server used over the last minutes: points of its counters, a few of them, and what they
//! grew by since the first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics::buckets::LATENCY_SECONDS;
use crate::metrics::read::quantile;
use crate::metrics::recorder::{Cell, Recorder};

/// Microseconds between two points.
const POINT_MICROS: u64 = 10_000_000;
/// Points that are kept: five minutes.
const POINTS_MAX: usize = 31;
/// Requests for work have these paths.
const LAB_PATHS: &str = "/api/v1/causal/";

/// Counters at one moment.
#[derive(Debug, Clone, Default)]
struct Point {
    at_micros: u64,
    process_cpu_s: f64,
    all_s: f64,
    idle_s: f64,
    waiting_s: f64,
    sync_s: f64,
    network_bytes: f64,
    connections: f64,
    requests: f64,
    /// Of requests for work, by the bounds of their histogram, not cumulative.
    buckets: Vec<f64>,
}

/// What was used between two moments.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Usage {
    pub seconds: f64,
    /// Share of the machine's processors that was busy, without waiting for disks.
    pub cpu_share: Option<f64>,
    /// Processors that this process used.
    pub process_cores: f64,
    /// Share of the machine's processors that this process used.
    pub process_share: Option<f64>,
    /// Share of the processors' time in which they waited for disks.
    pub waiting_share: Option<f64>,
    /// Share of the time in which the log wrote and synced.
    pub sync_share: f64,
    pub network_bytes_per_s: f64,
    /// Mean of the open connections.
    pub connections: f64,
    pub requests_per_s: f64,
    /// Of requests for work, in seconds; none when there were none.
    pub p95_s: Option<f64>,
}

/// The points of the last minutes.
#[derive(Debug, Default)]
pub struct Watch(Mutex<VecDeque<Point>>);

impl Watch {
    /// Takes a point if one is due.
    pub fn look(&self, recorder: &Recorder, now_micros: u64) {
        let mut points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |last: &Point| now_micros.saturating_sub(last.at_micros) >= POINT_MICROS;
        if points.back().is_none_or(due) {
            if points.len() == POINTS_MAX {
                points.pop_front();
            }
            points.push_back(Point::take(recorder, now_micros));
        }
    }

    /// What was used since the first point; none before there is one.
    #[must_use]
    pub fn usage(&self, recorder: &Recorder, now_micros: u64) -> Option<Usage> {
        let now = Point::take(recorder, now_micros);
        let points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = points.front()?;
        let connections = points.iter().chain([&now]).map(|point| point.connections);
        let mean = connections.sum::<f64>() / (points.len() + 1) as f64;
        Usage::between(first, &now, mean)
    }
}

impl Point {
    fn take(recorder: &Recorder, at_micros: u64) -> Self {
        let sum = |family: &str, labels: &[(&str, &str)]| {
            recorder.sum(family, labels).unwrap_or_default()
        };
        let cpu = |mode: &str| sum("node_cpu_seconds_total", &[("mode", mode)]);
        Self {
            at_micros,
            process_cpu_s: sum("process_cpu_seconds_total", &[]),
            all_s: sum("node_cpu_seconds_total", &[]),
            idle_s: cpu("idle"),
            waiting_s: cpu("iowait"),
            sync_s: sum("log_sync_seconds_total", &[]),
            network_bytes: sum("network_io_bytes", &[]),
            connections: sum("active_connections", &[]),
            requests: sum("http_requests_total", &[]),
            buckets: buckets(recorder),
        }
    }
}

/// Requests for work by how long they took.
fn buckets(recorder: &Recorder) -> Vec<f64> {
    let mut counts = vec![0.0; LATENCY_SECONDS.len() + 1];
    let families = recorder.families();
    let rows = families.get("http_request_duration_seconds");
    for (labels, series) in rows.into_iter().flat_map(|family| family.series()) {
        let is_work =
            |(name, value): &(String, String)| name == "path" && value.starts_with(LAB_PATHS);
        if let (true, Cell::Histogram(cell)) = (labels.iter().any(is_work), &series.cell) {
            for (sum, count) in counts.iter_mut().zip(cell.counts()) {
                *sum += count as f64;
            }
        }
    }
    counts
}

impl Usage {
    fn between(first: &Point, last: &Point, connections: f64) -> Option<Self> {
        let seconds = last.at_micros.saturating_sub(first.at_micros) as f64 / 1e6;
        if seconds <= 0.0 {
            return None;
        }
        let grown = |of: fn(&Point) -> f64| (of(last) - of(first)).max(0.0);
        let all = grown(|point| point.all_s);
        let share = |part: f64| (all > 0.0).then(|| (part / all).clamp(0.0, 1.0));
        let (idle, waiting) = (grown(|point| point.idle_s), grown(|point| point.waiting_s));
        let mut counted = 0.0;
        let bounds = LATENCY_SECONDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, f64)> = bounds
            .zip(last.buckets.iter().zip(&first.buckets))
            .map(|(bound, (last, first))| {
                counted += (last - first).max(0.0);
                (bound, counted)
            })
            .collect();
        Some(Self {
            seconds,
            cpu_share: share(all - idle - waiting),
            process_cores: grown(|point| point.process_cpu_s) / seconds,
            process_share: share(grown(|point| point.process_cpu_s)),
            waiting_share: share(waiting),
            sync_share: grown(|point| point.sync_s) / seconds,
            network_bytes_per_s: grown(|point| point.network_bytes) / seconds,
            connections,
            requests_per_s: grown(|point| point.requests) / seconds,
            p95_s: quantile(&buckets, 0.95),
        })
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, histogram, with_local_recorder};

    use super::*;

    #[test]
    fn usage_is_what_counters_grew_by() {
        let recorder = Recorder::default();
        with_local_recorder(&recorder, || {
            let cpu = |mode: &'static str, seconds: f64| {
                gauge!("node_cpu_seconds_total", "cpu" => "0", "mode" => mode).set(seconds);
            };
            let watch = Watch::default();
            assert_eq!(watch.usage(&recorder, 5), None);
            cpu("user", 10.0);
            cpu("idle", 10.0);
            cpu("iowait", 1.0);
            gauge!("active_connections").set(10.0);
            watch.look(&recorder, 1_000_000);
            cpu("user", 16.0);
            cpu("idle", 13.0);
            cpu("iowait", 2.0);
            gauge!("process_cpu_seconds_total").set(5.0);
            gauge!("log_sync_seconds_total").set(2.5);
            gauge!("active_connections").set(30.0);
            counter!("http_requests_total", "path" => "/x", "status" => "200").increment(40);
            let times = histogram!("http_request_duration_seconds", "method" => "POST",
                "path" => "/api/v1/causal/validate");
            for _ in 0..100 {
                times.record(1.2);
            }
            histogram!("http_request_duration_seconds", "method" => "GET", "path" => "/health")
                .record(0.1);
            let used = watch.usage(&recorder, 11_000_000).expect("ten seconds");
            let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-6;
            assert!(near(used.seconds, 10.0));
            assert!(near(used.cpu_share.expect("cpu"), 0.6));
            assert!(near(used.waiting_share.expect("cpu"), 0.1));
            assert!(near(used.process_cores, 0.5));
            assert!(near(used.process_share.expect("cpu"), 0.5));
            assert!(near(used.sync_share, 0.25));
            assert!(near(used.connections, 20.0));
            assert!(near(used.requests_per_s, 4.0));
            let p95 = used.p95_s.expect("requests");
            assert!((1.0..=1.5).contains(&p95), "{p95}");
            for second in 1..1_000 {
                watch.look(&recorder, second * 1_000_000);
            }
            let points = watch.0.lock().expect("nobody panics").len();
            assert_eq!(points, POINTS_MAX);
        });
    }
}
