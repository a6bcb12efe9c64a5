//! The recorder behind the `metrics` macros: families by name, series by labels, and a guard that
//! keeps a family from growing without end. Nothing is buffered, so nothing has to be emptied.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::formatting;

use super::buckets;
use super::cells::{CounterCell, GaugeCell, HistogramCell};

/// Series of one family, unless the configuration says otherwise.
pub const SERIES_MAX: usize = 1_000;
/// Counts what found its family full, by family.
pub const LIMITED: &str = "metric_cardinality_limited_total";

/// All metrics of a process, or of a test.
#[derive(Debug)]
pub struct Recorder {
    series_max: AtomicUsize,
    families: RwLock<Families>,
}

/// By name, which is also the order in which they are shown.
pub type Families = BTreeMap<String, Family>;

/// What all series of one name have in common.
#[derive(Debug)]
pub struct Family {
    pub kind: Kind,
    pub help: String,
    /// By their labels, sorted: two orders of the same labels are one series.
    series: BTreeMap<Labels, Series>,
    /// Takes what comes when the family is full. Counts add up, and levels do not: there is none of
    /// gauges.
    overflow: Option<Series>,
}

/// Names and values, made fit for Prometheus.
pub type Labels = Vec<(String, String)>;

/// What a family measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One row of a family.
#[derive(Debug, Clone)]
pub struct Series {
    /// As they are shown: `method="GET",path="/"`, in the order in which they were given.
    pub shown: String,
    pub cell: Cell,
}

/// Where the values of a series live.
#[derive(Debug, Clone)]
pub enum Cell {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Family {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            help: String::new(),
            series: BTreeMap::new(),
            overflow: None,
        }
    }

    /// Every series with its labels.
    pub fn series(&self) -> impl Iterator<Item = (&[(String, String)], &Series)> {
        let known = self.series.iter();
        let known = known.map(|(labels, series)| (labels.as_slice(), series));
        known.chain(self.overflow.iter().map(|series| (&[][..], series)))
    }
}

impl Cell {
    fn new(kind: Kind, family: &str) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Arc::default()),
            Kind::Gauge => Self::Gauge(Arc::default()),
            Kind::Histogram => Self::Histogram(Arc::new(HistogramCell::new(buckets::of(family)))),
        }
    }

    /// The value of a counter or gauge; the number of observations of a histogram.
    #[must_use]
    pub fn value(&self) -> f64 {
        match self {
            Self::Counter(cell) => cell.value() as f64,
            Self::Gauge(cell) => cell.value(),
            Self::Histogram(cell) => cell.counts().sum::<u64>() as f64,
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        let recorder = Self {
            series_max: AtomicUsize::new(SERIES_MAX),
            families: RwLock::default(),
        };
        let help = "Lookups of series that their family had no room for, by family";
        recorder.describe(LIMITED, Kind::Counter, help);
        recorder
    }
}

impl Recorder {
    /// How many series a family may have from here on. What there is stays.
    pub fn limit(&self, series_max: usize) {
        self.series_max.store(series_max, Ordering::Relaxed);
    }

    /// Everything there is. Registration waits while this is held; recording does not.
    pub fn families(&self) -> RwLockReadGuard<'_, Families> {
        self.families.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum over the series of a family that have these labels; none when it has none of them.
    #[must_use]
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let families = self.families();
        let rows = families.get(family)?.series();
        let has = |found: &[(String, String)], (name, value): &(&str, &str)| {
            found.iter().any(|(n, v)| n == name && v == value)
        };
        let rows = rows.filter(|(found, _)| labels.iter().all(|label| has(found, label)));
        rows.map(|(_, series)| series.cell.value())
            .reduce(|sum, value| sum + value)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Families> {
        self.families
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: &str, kind: Kind, help: &str) {
        let name = formatting::sanitize_metric_name(name);
        let mut families = self.change();
        let family = families.entry(name).or_insert_with(|| Family::new(kind));
        help.clone_into(&mut family.help);
    }

    /// The cell of these labels, made if there is none and room for one.
    fn cell(&self, key: &Key, kind: Kind) -> Option<Cell> {
        let name = formatting::sanitize_metric_name(key.name());
        let shown: Labels = key
            .labels()
            .map(|label| {
                let value = formatting::sanitize_label_value(label.value());
                (formatting::sanitize_label_key(label.key()), value)
            })
            .collect();
        let mut labels = shown.clone();
        labels.sort();
        if let Some(family) = self.families().get(&name)
            && let Some(series) = family.series.get(&labels)
        {
            return (family.kind == kind).then(|| series.cell.clone());
        }
        let mut families = self.change();
        let family = families
            .entry(name.clone())
            .or_insert_with(|| Family::new(kind));
        if family.kind != kind {
            let (kind, was) = (kind.word(), family.kind.word());
            tracing::error!(name, kind, was, "a metric is registered as two kinds");
            return None;
        }
        if let Some(series) = family.series.get(&labels) {
            return Some(series.cell.clone());
        }
        if family.series.len() < self.series_max.load(Ordering::Relaxed) {
            let shown = text_of(&shown);
            let cell = Cell::new(kind, &name);
            let series = Series { shown, cell };
            return Some(family.series.entry(labels).or_insert(series).cell.clone());
        }
        if kind == Kind::Gauge {
            limited(&mut families, name);
            return None;
        }
        let overflow = family.overflow.get_or_insert_with(|| Series {
            shown: "overflow=\"true\"".to_owned(),
            cell: Cell::new(kind, &name),
        });
        let cell = overflow.cell.clone();
        limited(&mut families, name);
        Some(cell)
    }
}

/// Counts a lookup that found its family full.
fn limited(families: &mut Families, name: String) {
    let family = families
        .entry(LIMITED.to_owned())
        .or_insert_with(|| Family::new(Kind::Counter));
    let labels = vec![("metric".to_owned(), name)];
    let series = family
        .series
        .entry(labels)
        .or_insert_with_key(|labels| Series {
            shown: text_of(labels),
            cell: Cell::new(Kind::Counter, LIMITED),
        });
    if let Cell::Counter(counter) = &series.cell {
        counter.increment(1);
    }
}

/// Labels as they stand between braces.
pub(super) fn text_of(labels: &[(String, String)]) -> String {
    let pairs = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""));
    pairs.collect::<Vec<_>>().join(",")
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(key.as_str(), Kind::Counter, &description);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(key.as_str(), Kind::Gauge, &description);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(key.as_str(), Kind::Histogram, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.cell(key, Kind::Counter) {
            Some(Cell::Counter(cell)) => Counter::from_arc(cell),
            Some(Cell::Gauge(_) | Cell::Histogram(_)) | None => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.cell(key, Kind::Gauge) {
            Some(Cell::Gauge(cell)) => Gauge::from_arc(cell),
            Some(Cell::Counter(_) | Cell::Histogram(_)) | None => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.cell(key, Kind::Histogram) {
            Some(Cell::Histogram(cell)) => Histogram::from_arc(cell),
            Some(Cell::Counter(_) | Cell::Gauge(_)) | None => Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, histogram, with_local_recorder};

    use super::super::text::{Format, render};
    use super::*;

    #[test]
    fn labels_in_another_order_are_the_same_series() {
        let recorder = Recorder::default();
        with_local_recorder(&recorder, || {
            counter!("a_total", "x" => "1", "y" => "2").increment(1);
            counter!("a_total", "y" => "2", "x" => "1").increment(1);
        });
        assert_eq!(recorder.sum("a_total", &[("x", "1")]), Some(2.0));
        assert_eq!(recorder.families()["a_total"].series.len(), 1);
        assert_eq!(recorder.sum("a_total", &[("x", "3")]), None);
    }

    #[test]
    fn a_family_that_is_full_takes_the_rest_together() {
        let recorder = Recorder::default();
        recorder.limit(10);
        with_local_recorder(&recorder, || {
            for n in 0..25 {
                counter!("a_total", "n" => n.to_string()).increment(1);
                histogram!("b_seconds", "n" => n.to_string()).record(1.0);
                gauge!("c", "n" => n.to_string()).set(1.0);
            }
            // One that was there before is found as ever.
            counter!("a_total", "n" => "3").increment(1);
        });
        let text = render(&recorder, Format::Text, |_| true);
        for line in [
            "a_total{n=\"3\"} 2",
            "a_total{overflow=\"true\"} 15",
            "b_seconds_count{overflow=\"true\"} 15",
            "metric_cardinality_limited_total{metric=\"a_total\"} 15",
            "metric_cardinality_limited_total{metric=\"b_seconds\"} 15",
            "metric_cardinality_limited_total{metric=\"c\"} 15",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert_eq!(recorder.families()["a_total"].series().count(), 11);
        // The last of many levels stands for none of them.
        assert_eq!(recorder.families()["c"].series().count(), 10);
        assert_eq!(recorder.sum("a_total", &[]), Some(26.0));
    }

    #[test]
    fn a_name_has_one_kind() {
        let recorder = Recorder::default();
        with_local_recorder(&recorder, || {
            gauge!("a").set(1.0);
            counter!("a").increment(5);
            counter!("a", "x" => "y").increment(5);
        });
        assert_eq!(recorder.sum("a", &[]), Some(1.0));
    }

    /// Resident memory of this process in bytes.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("a number") << 10
    }

    #[test]
    fn ten_million_observations_take_no_memory() {
        let recorder = Recorder::default();
        let histogram = with_local_recorder(&recorder, || histogram!("a_seconds"));
        histogram.record(0.1);
        let before = resident();
        for n in 0..10_000_000_u32 {
            histogram.record(f64::from(n % 1_024) / 1_000.0);
        }
        let grown = resident().saturating_sub(before);
        assert_eq!(recorder.sum("a_seconds", &[]), Some(10_000_001.0));
        // The samples themselves would be 80 MB. Other tests of the process may take some.
        assert!(grown < 16 << 20, "{grown} bytes");
    }
}
