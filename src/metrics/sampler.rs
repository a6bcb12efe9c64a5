//! What of the metrics is recorded: a bounded choice, once a tick, as one event. Decisions that
//! rest on how the server fared read it from the log and from nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use hindcast_log::Log;
use hindcast_model::Event;
use hindcast_model::event::MetricsSampled;
use hindcast_model::samples::{HISTOGRAMS, Reading, SERIES, Samples, series};
use tokio::time::MissedTickBehavior;

use super::recorder::{Cell, Families, Family, Recorder};
use crate::clock;
use crate::startup::own_command;

/// Times of processors, which run before anybody looks: what they were when they are first seen has
/// grown in no span of ours.
const RUN_BEFORE: [u16; 3] = [20, 23, 24];

/// Records a batch each `every`, for as long as it is polled.
pub(crate) async fn sample(log: Log, recorder: &'static Recorder, every: Duration) {
    if every.is_zero() {
        return;
    }
    let mut sampler = Sampler::new(recorder, clock::monotonic_micros());
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once.
    tick.tick().await;
    loop {
        tick.tick().await;
        // What is left of the disk belongs to what has to be recorded.
        if log.read_only().is_some() || log.state(hindcast_model::State::intake_paused) {
            continue;
        }
        let (batch, taken) = sampler.take(recorder, clock::monotonic_micros());
        let command = own_command(Event::MetricsSampled(batch));
        let reply = Box::new(|result: Result<_, _>| {
            if let Err(error) = result {
                tracing::debug!(%error, "samples are not recorded");
            }
        });
        match log.submit(command.into(), reply) {
            Ok(()) => sampler.keep(taken),
            // What was added since then is in the next batch.
            Err(error) => tracing::debug!(%error, "samples are not taken"),
        }
    }
}

/// What was recorded last.
struct Sampler {
    totals: BTreeMap<u16, i64>,
    at_micros: u64,
}

impl Sampler {
    /// From here on, growth counts.
    fn new(recorder: &Recorder, at_micros: u64) -> Self {
        Self {
            totals: stored(recorder).into_iter().collect(),
            at_micros,
        }
    }

    fn take(&self, recorder: &Recorder, now: u64) -> (MetricsSampled, Self) {
        let figures = stored(recorder);
        let mut values = Samples::default();
        for (number, figure) in &figures {
            let value = match is_level(*number) {
                true => *figure,
                false => figure - self.totals.get(number).unwrap_or(&begun(*number, *figure)),
            };
            if value != 0 || is_level(*number) {
                // Numbers come in order, and there are fewer than a batch may hold.
                if values.push(*number, value).is_err() {
                    break;
                }
            }
        }
        let span_micros = now.saturating_sub(self.at_micros);
        let taken = Self {
            totals: figures,
            at_micros: now,
        };
        (
            MetricsSampled {
                span_micros,
                values,
            },
            taken,
        )
    }

    fn keep(&mut self, taken: Self) {
        *self = taken;
    }
}

/// What a figure was before it was there.
fn begun(number: u16, figure: i64) -> i64 {
    match RUN_BEFORE.contains(&number) {
        true => figure,
        false => 0,
    }
}

fn is_level(number: u16) -> bool {
    let found = SERIES.iter().find(|series| series.number == number);
    found.is_some_and(|series| series.reading == Reading::Level)
}

/// Every figure as it stands, in stored units.
fn stored(recorder: &Recorder) -> BTreeMap<u16, i64> {
    let families = recorder.families();
    let mut figures = BTreeMap::new();
    for row in SERIES {
        if let Some(value) = plain(&families, row.name) {
            #[expect(clippy::cast_possible_truncation, reason = "far below 2^63")]
            figures.insert(row.number, (value / row.step).floor() as i64);
        }
    }
    for (first, family, label) in HISTOGRAMS {
        if let Some(found) = families.get(*family) {
            histogram(&mut figures, *first, found, label);
        }
    }
    figures
}

/// The sum of the rows that a name with labels stands for; none when there is no such row.
fn plain(families: &Families, name: &str) -> Option<f64> {
    let (family, labels) = name.split_once('{').unwrap_or((name, ""));
    let wanted: Vec<(&str, &str)> = labels
        .trim_end_matches('}')
        .split(',')
        .filter_map(|label| label.split_once('='))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect();
    let rows = families.get(family)?.series();
    let rows = rows.filter(|(labels, _)| wanted.iter().all(|(n, v)| has(labels, n, v)));
    rows.map(|(_, row)| row.cell.value())
        .reduce(|sum, value| sum + value)
}

/// Whether a row has this label; a class stands for all statuses that begin with its digit, but for
/// what is told apart: a request that did not give itself the time is its caller's doing, and what a
/// probe was told is in no class.
fn has(labels: &[(String, String)], name: &str, value: &str) -> bool {
    let found = |wanted: &str| labels.iter().find(|(name, _)| name == wanted);
    match name {
        "class" => match found("cause").map(|(_, cause)| cause.as_str()) {
            Some("caller_deadline") => value == "4xx",
            Some(_) => false,
            None => found("status").is_some_and(|(_, status)| status.get(..1) == value.get(..1)),
        },
        name => found(name).is_some_and(|(_, found)| found == value),
    }
}

/// Which of the three classes of routes a row belongs to.
fn route(labels: &[(String, String)]) -> &'static str {
    let path = labels.iter().find(|(name, _)| name == "path");
    match path.map_or("", |(_, path)| path.as_str()) {
        path if path.starts_with("/api/v1/causal/") => "route=\"lab\"",
        path if path.starts_with("/api/") => "route=\"api\"",
        _ => "route=\"other\"",
    }
}

fn histogram(figures: &mut BTreeMap<u16, i64>, first: u16, family: &Family, label: &str) {
    let mut sum = 0.0;
    let mut buckets: Vec<u64> = Vec::new();
    for (labels, row) in family.series() {
        let Cell::Histogram(cell) = &row.cell else {
            continue;
        };
        if !label.is_empty() && route(labels) != label {
            continue;
        }
        buckets.resize(cell.bounds().len() + 1, 0);
        buckets
            .iter_mut()
            .zip(cell.counts())
            .for_each(|(bucket, count)| *bucket += count);
        sum += cell.sum();
    }
    for (number, count) in (first..).zip(&buckets) {
        figures.insert(number, i64::try_from(*count).unwrap_or(i64::MAX));
    }
    if let Ok(length) = u16::try_from(buckets.len())
        && length > 0
    {
        let number = first + length;
        #[expect(clippy::cast_possible_truncation, reason = "far below 2^63")]
        figures.insert(number, (sum / series(number).1).floor() as i64);
    }
}

#[cfg(test)]
mod tests {
    use hindcast_model::samples::BUCKETS_SECONDS;
    use metrics::{counter, gauge, histogram, with_local_recorder};

    use super::super::buckets;
    use super::*;

    #[test]
    fn recorded_buckets_are_those_of_the_metrics() {
        for (_, family, _) in HISTOGRAMS {
            assert_eq!(buckets::of(family), BUCKETS_SECONDS);
        }
    }

    #[test]
    fn a_batch_holds_what_was_added_and_what_is() {
        let recorder = Recorder::default();
        with_local_recorder(&recorder, || {
            let requests = |status: &'static str| counter!("http_requests_total", "path" => "/", "status" => status);
            requests("200").increment(5);
            gauge!("process_cpu_seconds_total").set(1.0);
            let mut sampler = Sampler::new(&recorder, 0);
            requests("201").increment(2);
            requests("503").increment(1);
            let apart = |status: &'static str, cause: &'static str| counter!("http_requests_total", "path" => "/", "status" => status, "cause" => cause);
            apart("504", "caller_deadline").increment(3);
            apart("503", "probe").increment(2);
            gauge!("process_resident_memory_bytes").set(4_097.0);
            gauge!("active_requests").set(0.0);
            gauge!("process_cpu_seconds_total").set(2.239);
            gauge!("node_cpu_seconds_total", "mode" => "idle").set(900.0);
            let labels = [("method", "POST"), ("path", "/api/v1/causal/discover")];
            histogram!("http_request_duration_seconds", &labels).record(0.7);
            let (batch, taken) = sampler.take(&recorder, 15_000_000);
            assert_eq!(batch.span_micros, 15_000_000);
            let figures: Vec<(u16, i64)> = batch.values.iter().collect();
            let expected = [
                (1, 2),
                (3, 3),
                (4, 1),
                (10, 0),
                (20, 123),
                (21, 4),
                (110, 1),
                (118, 700_000),
            ];
            assert_eq!(figures, expected);
            // What could not be recorded is in the next batch.
            requests("503").increment(1);
            let (again, _) = sampler.take(&recorder, 16_000_000);
            assert_eq!(again.values.value(4), Some(2.0));
            sampler.keep(taken);
            let (last, _) = sampler.take(&recorder, 16_000_000);
            assert_eq!(
                last.values.iter().collect::<Vec<_>>(),
                [(4, 1), (10, 0), (21, 4)]
            );
        });
    }
}
