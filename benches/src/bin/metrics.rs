//! Our recorder of metrics beside metrics-exporter-prometheus in the same run: the text of 5,000
//! lines, an observation through a handle and by a lookup of labels, and the memory that ten
//! million observations leave behind when nothing empties it.
//!
//! Arguments: `--series N` lines (default 5000), `--rounds N` (default 200), `--observations N`
//! (default 10000000).

use std::hint::black_box;

use hindcast::metrics::recorder::Recorder;
use hindcast::metrics::text::{Format, render};
use hindcast_benches::{argument, median, now, rss_mib};
use metrics::{counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use serde_json::json;

fn number(name: &str, default: u64) -> u64 {
    argument(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// As a server has them: half of the lines are buckets of histograms, the rest counters and
/// gauges with two labels.
fn fill(series: u64) {
    for n in 0..series / 40 {
        let path = format!("/api/v1/path/{n}");
        let histogram =
            histogram!("http_request_duration_seconds", "method" => "GET", "path" => path.clone());
        histogram.record(n as f64 / 1_000.0);
        for status in 0..10 {
            let labels = [("path", path.clone()), ("status", status.to_string())];
            counter!("http_requests_total", &labels).increment(n * 37);
            gauge!("value_ratio", &labels).set(n as f64 / 7.0);
        }
    }
}

fn theirs() -> PrometheusRecorder {
    let bounds = hindcast::metrics::buckets::LATENCY_SECONDS;
    let suffix = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(suffix, bounds);
    builder.expect("bounds").build_recorder()
}

/// The median of milliseconds.
fn timed(rounds: u64, mut work: impl FnMut()) -> f64 {
    let times = (0..rounds).map(|_| {
        let start = now();
        work();
        start.elapsed().as_secs_f64() * 1e3
    });
    median(times.collect())
}

/// Nanoseconds of one of many.
fn each(times: u64, mut work: impl FnMut(u64)) -> f64 {
    let start = now();
    (0..times).for_each(&mut work);
    start.elapsed().as_secs_f64() * 1e9 / times as f64
}

/// Through handles and by labels, and the memory that is left.
fn record(recorder: &dyn metrics::Recorder, observations: u64) -> serde_json::Value {
    with_local_recorder(&recorder, || {
        let counter = counter!("handle_total", "a" => "b");
        let histogram = histogram!("handle_seconds", "a" => "b");
        let counter_ns = each(observations / 10, |_| counter.increment(1));
        let labels_ns = each(observations / 100, |_| {
            counter!("handle_total", "a" => "b").increment(1);
        });
        let (before, _) = rss_mib();
        let histogram_ns = each(observations, |n| {
            histogram.record(black_box((n & 1_023) as f64 / 1_000.0));
        });
        let (after, _) = rss_mib();
        json!({
            "counter_handle_ns": counter_ns,
            "counter_labels_ns": labels_ns,
            "histogram_handle_ns": histogram_ns,
            "rss_before_mib": before,
            "rss_after_mib": after,
        })
    })
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let (series, rounds) = (number("--series", 5_000), number("--rounds", 200));
    let observations = number("--observations", 10_000_000);
    let ours = Recorder::default();
    ours.limit(usize::MAX);
    with_local_recorder(&ours, || fill(series));
    let text = render(&ours, Format::Text, |_| true);
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    let text_ms = timed(rounds, || {
        black_box(render(&ours, Format::Text, |_| true));
    });
    let open_ms = timed(rounds, || {
        black_box(render(&ours, Format::OpenMetrics, |_| true));
    });
    let peer = theirs();
    with_local_recorder(&peer, || fill(series));
    let handle = peer.handle();
    let peer_text = handle.render();
    let peer_lines = peer_text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let peer_lines = peer_lines.count();
    let peer_ms = timed(rounds, || {
        black_box(handle.render());
    });
    let ours_recording = record(&Recorder::default(), observations);
    let peer_recording = record(&theirs(), observations);
    let report = json!({
        "series": lines,
        "bytes": text.len(),
        "render_ms": text_ms,
        "render_open_metrics_ms": open_ms,
        "recording": ours_recording,
        "peer": {
            "name": "metrics-exporter-prometheus 0.18",
            "series": peer_lines,
            "render_ms": peer_ms,
            "recording": peer_recording,
        },
        "render_ratio": peer_ms / text_ms,
    });
    println!("{report}");
}
