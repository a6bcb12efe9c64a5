//! What is known of this server: its measurements from the log, its resources, its past.

use std::time::Duration;

use hindcast_log::{Log, LogError};
use hindcast_model::event::Event;
use hindcast_model::{Seq, Stream, UnixMicros};

use super::super::error::Problem;
use super::super::{App, Running};
use super::Capacity;
use crate::capacity::{
    Build, History, Level, Measurement, Measurements, Resource, Timed, Usage, advice, bottleneck,
    complexities, forecast, machine,
};
use crate::clock;
use crate::metrics::recorder::{Cell, Recorder};

/// Events of the stream of measurements that are read at once.
const PAGE: usize = 256;
const DAY: Duration = Duration::from_secs(86_400);

/// Everything that there is to say, from what was measured and what the log tells.
pub(super) fn gather(app: &App, running: &Running) -> Result<Capacity, Problem> {
    let recorder = app.metrics.recorder();
    let usage = app.capacity.usage(recorder, clock::monotonic_micros());
    let build = Build::this(recorder);
    let measurements = measurements(&running.log)?;
    let disk = crate::disk::space(&app.config.server.data_dir);
    let resources = resources(app, running, (usage.as_ref(), disk));
    let share = |name: &str| {
        let found = resources.iter().find(|resource| resource.name == name);
        found.and_then(|resource| resource.share)
    };
    let line = machine::line_bytes_per_s();
    let line = line.and_then(|line| Some(usage.as_ref()?.network_bytes_per_s / line));
    let network = (share("connections"), line);
    let bottleneck = bottleneck(usage.as_ref(), share("memory"), network);
    let binds = (bottleneck.kind, build.cores);
    let advice = advice(usage.as_ref(), share("memory"), binds, &measurements);
    let used = disk.map(|(free, size)| (size.saturating_sub(free), size));
    let operations = timed(recorder);
    Ok(Capacity {
        forecast: forecast(&history(&running.log)?, used),
        warnings: warnings(&resources, &operations),
        build,
        measurements,
        resources,
        usage,
        bottleneck,
        advice,
        complexity: complexities(&operations),
        operations,
    })
}

/// What load runs measured, as far as the log tells of it.
fn measurements(log: &Log) -> Result<Vec<Measurement>, LogError> {
    let mut found = Measurements::default();
    let mut after = Seq(log.oldest().0.saturating_sub(1));
    loop {
        let page = log.read_stream_after(Stream::system("capacity"), after, PAGE);
        let page = match page {
            // The measurements went with the oldest events.
            Err(LogError::Pruned(_)) => return Ok(found.newest_first()),
            page => page?,
        };
        for recorded in &page {
            if let Some(Event::CapacityMeasured(event)) = recorded.event() {
                found.add((recorded.seq().0, recorded.context.at), event);
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.seq(),
            Some(_) | None => return Ok(found.newest_first()),
        }
    }
}

fn resources(
    app: &App,
    running: &Running,
    (usage, disk): (Option<&Usage>, Option<(u64, u64)>),
) -> Vec<Resource> {
    let recorder = app.metrics.recorder();
    let sum = |family: &str| recorder.sum(family, &[]).unwrap_or_default();
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let mut all = Vec::new();
    if let Some(share) = usage.and_then(|used| used.cpu_share) {
        all.push(Resource::new("cpu", "percent", share * 100.0, Some(100.0)));
    }
    all.push(memory(recorder));
    all.push(Resource::new(
        "resident_memory",
        "bytes",
        sum("process_resident_memory_bytes"),
        machine::memory(recorder).map(|bytes| bytes as f64),
    ));
    if let Some((free, size)) = disk {
        let used = size.saturating_sub(free) as f64;
        all.push(Resource::new("disk", "bytes", used, Some(size as f64)));
    }
    all.push(Resource::new(
        "descriptors",
        "descriptors",
        sum("process_open_fds"),
        descriptors.map(|limit| limit as f64),
    ));
    all.extend(configured(app, running));
    all
}

/// What the configuration bounds.
fn configured(app: &App, running: &Running) -> Vec<Resource> {
    let (config, recorder) = (&app.config, app.metrics.recorder());
    let (results, datasets) = (
        running.experiment.results(),
        running.computation.stats().cache,
    );
    let (in_flight, settings) = running
        .log
        .state(|state| (state.in_flight(), state.settings()));
    let connections = recorder.sum("active_connections", &[]);
    let waiting = |lane: &str| recorder.sum("overload_waiting", &[("lane", lane)]);
    let bounded = |name, unit, used: f64, limit: f64| Resource::new(name, unit, used, Some(limit));
    let count = |name, unit, used: Option<f64>, limit: usize| {
        bounded(name, unit, used.unwrap_or_default(), limit as f64)
    };
    // A full cache is what it is for: the entry used longest ago goes.
    let cache =
        |name, used: u64, limit: u64| bounded(name, "bytes", used as f64, limit as f64).harmless();
    let overload = &config.overload;
    vec![
        count(
            "connections",
            "connections",
            connections,
            config.http.connections_max,
        ),
        bounded(
            "runs_in_flight",
            "runs",
            f64::from(in_flight),
            f64::from(settings.runs_in_flight_max),
        ),
        count(
            "cheap_waiting",
            "requests",
            waiting("cheap"),
            overload.cheap_waiting_max,
        ),
        count(
            "heavy_waiting",
            "requests",
            waiting("heavy"),
            overload.heavy_waiting_max,
        ),
        count(
            "log_queue",
            "submissions",
            Some(running.log.stats().queued as f64),
            config.log.queue_max,
        ),
        cache("results_cache", results.bytes, results.bytes_max),
        cache("datasets_cache", datasets.bytes, datasets.bytes_max),
    ]
}

/// That of the control group where there is a limit, of the machine otherwise.
fn memory(recorder: &Recorder) -> Resource {
    let sum = |family: &str| recorder.sum(family, &[]);
    let total = sum("node_memory_MemTotal_bytes");
    let group = sum("container_spec_memory_limit_bytes")
        .filter(|limit| total.is_none_or(|total| *limit < total));
    let (used, limit) = match (group, sum("container_memory_usage_bytes")) {
        (Some(limit), Some(used)) => (used, Some(limit)),
        _ => {
            let available = sum("node_memory_MemAvailable_bytes").unwrap_or_default();
            (total.unwrap_or_default() - available, total)
        }
    };
    Resource::new("memory", "bytes", used.max(0.0), limit)
}

fn warnings(resources: &[Resource], operations: &[Timed]) -> Vec<String> {
    let near = resources.iter().filter(|one| one.level > Level::Ok);
    let mut all: Vec<String> = near
        .map(|one| {
            let share = one.share.unwrap_or_default() * 100.0;
            format!("{share:.0} % of {} is used; 80 % is too much", one.name)
        })
        .collect();
    for one in operations.iter().filter(|one| one.slow()) {
        let (operation, mean) = (&one.operation, one.mean_s);
        all.push(format!(
            "{operation} takes {mean:.1} s in the mean: see how it grows under complexity"
        ));
    }
    all
}

/// What computations took since the start of the process.
fn timed(recorder: &Recorder) -> Vec<Timed> {
    let families = recorder.families();
    let rows = families.get("causal_computation_duration_seconds");
    let mut all: Vec<Timed> = Vec::new();
    for (labels, series) in rows.into_iter().flat_map(|family| family.series()) {
        let kind = labels.iter().find(|(name, _)| name == "kind");
        if let (Some((_, kind)), Cell::Histogram(cell)) = (kind, &series.cell) {
            let count: u64 = cell.counts().sum();
            if count > 0 {
                all.push(Timed {
                    // The metric leaves the lab out of the name.
                    operation: format!("causal.{kind}"),
                    count,
                    mean_s: cell.sum() / count as f64,
                });
            }
        }
    }
    all
}

/// What the log tells of the past.
fn history(log: &Log) -> Result<History, LogError> {
    let (head, now) = (log.head().seq.0, clock::wall());
    let oldest = log.oldest();
    let first = log.read(oldest, 1)?;
    let begin = first.first().map_or(now, |recorded| recorded.context.at);
    let micros = now.0.saturating_sub(begin.0);
    let before = oldest.0.saturating_sub(1);
    // The last sequence at a moment so long ago; that before the oldest if it is longer.
    let at = |ago: Duration| {
        let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
        let moment = UnixMicros(now.0.saturating_sub(ago));
        match moment < begin {
            true => Ok(before),
            false => log.cut(moment).map(|seq| seq.0.max(before)),
        }
    };
    let month = DAY.mul_f64(30.44);
    let (day, week) = (at(DAY)?, at(DAY * 7)?);
    let (last, earlier) = (at(month)?, at(month * 2)?);
    Ok(History {
        days: micros as f64 / 1e6 / DAY.as_secs_f64(),
        events: head.saturating_sub(before),
        events_last_day: head.saturating_sub(day),
        events_last_week: head.saturating_sub(week),
        events_by_month: (last > before).then(|| {
            let months = head.saturating_sub(last);
            (months, last.saturating_sub(earlier))
        }),
        bytes_per_event: bytes_per_event(log, head.saturating_sub(before)),
    })
}

/// Bytes that an event takes on the disk: in the log, the lookup store and blobs.
fn bytes_per_event(log: &Log, events: u64) -> f64 {
    let (stats, sealed) = (log.stats(), log.sealed());
    let counted: u64 = sealed.iter().map(|one| one.last.0 + 1 - one.first.0).sum();
    let in_log = match counted {
        // Segments are of full size from the start: what was written tells more of young ones.
        0 => stats.frame_bytes as f64 / stats.events.max(1) as f64,
        counted => {
            let bytes: u64 = sealed.iter().map(|one| one.bytes).sum();
            bytes as f64 / counted as f64
        }
    };
    let beside = stats.store_bytes.saturating_add(stats.blob_bytes);
    in_log + beside as f64 / events.max(1) as f64
}
