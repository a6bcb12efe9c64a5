//! Figures of the server, as they are recorded once a tick: which series there are, and how a
//! tick's figures are packed into one column of bytes. A series has a number that is never used
//! for anything else, so that a batch says what it holds without a dictionary beside it, and
//! removing old events takes nothing from younger ones.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Figures in one batch.
pub const SAMPLES_MAX: usize = 1_024;

/// How a figure is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// What was added since the batch before; left out when that is nothing.
    Growth,
    /// What it was at the moment of the batch; left out when it is not known.
    Level,
}

/// One series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Series {
    pub number: u16,
    /// As in the metrics of the server, with the labels that are told apart.
    pub name: &'static str,
    pub reading: Reading,
    /// What one stored unit stands for, in the base unit of the name.
    pub step: f64,
}

/// Upper bounds in seconds of the buckets of histograms; the last bucket is above all of them.
pub const BUCKETS_SECONDS: [f64; 17] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0,
    10.0, 30.0,
];

/// Histograms: the number of the first bucket, family and label. Each bucket counts what fell into
/// it alone. The number after the last bucket is the sum, in microseconds.
pub const HISTOGRAMS: &[(u16, &str, &str)] = &[
    (100, "http_request_duration_seconds", "route=\"lab\""),
    (120, "http_request_duration_seconds", "route=\"api\""),
    (140, "http_request_duration_seconds", "route=\"other\""),
    (160, "causal_computation_duration_seconds", ""),
];

/// Numbers that a histogram takes: its buckets and its sum.
const HISTOGRAM_NUMBERS: u16 = 19;
const MICRO: f64 = 0.000_001;
const HUNDREDTH: f64 = 0.01;
const KIB: f64 = 1_024.0;
const MIB: f64 = 1_048_576.0;

/// Everything that is no part of a histogram. Rows are appended, never changed.
pub const SERIES: &[Series] = &[
    growth(1, "http_requests_total{class=\"2xx\"}", 1.0),
    growth(2, "http_requests_total{class=\"3xx\"}", 1.0),
    growth(3, "http_requests_total{class=\"4xx\"}", 1.0),
    growth(4, "http_requests_total{class=\"5xx\"}", 1.0),
    growth(5, "http_errors_total{type=\"client\"}", 1.0),
    growth(6, "http_errors_total{type=\"server\"}", 1.0),
    growth(7, "http_errors_total{type=\"timeout\"}", 1.0),
    growth(8, "http_errors_total{type=\"breaker_open\"}", 1.0),
    growth(9, "http_errors_total{type=\"overload\"}", 1.0),
    level(10, "active_requests", 1.0),
    level(11, "active_connections", 1.0),
    growth(12, "causal_computations_total{outcome=\"completed\"}", 1.0),
    growth(13, "causal_computations_total{outcome=\"failed\"}", 1.0),
    growth(14, "causal_computations_total{outcome=\"cancelled\"}", 1.0),
    growth(15, "causal_computations_total{outcome=\"refused\"}", 1.0),
    growth(
        16,
        "cache_requests_total{cache=\"results\",result=\"hit\"}",
        1.0,
    ),
    growth(
        17,
        "cache_requests_total{cache=\"results\",result=\"miss\"}",
        1.0,
    ),
    growth(
        18,
        "cache_requests_total{cache=\"datasets\",result=\"hit\"}",
        1.0,
    ),
    growth(
        19,
        "cache_requests_total{cache=\"datasets\",result=\"miss\"}",
        1.0,
    ),
    growth(20, "process_cpu_seconds_total", HUNDREDTH),
    level(21, "process_resident_memory_bytes", KIB),
    level(22, "process_open_fds", 1.0),
    growth(23, "node_cpu_seconds_total", HUNDREDTH),
    growth(24, "node_cpu_seconds_total{mode=\"idle\"}", HUNDREDTH),
    level(25, "node_memory_MemTotal_bytes", MIB),
    level(26, "node_memory_MemAvailable_bytes", MIB),
    level(27, "disk_size_bytes", MIB),
    level(28, "disk_free_bytes", MIB),
    level(29, "log_queue_depth", 1.0),
    level(30, "db_pending_writes", 1.0),
    level(31, "runs_in_flight", 1.0),
    growth(32, "log_frames_total", 1.0),
    growth(33, "log_sync_seconds_total", MICRO),
    growth(34, "component_restarts_total", 1.0),
    level(35, "actor_mailbox_depth", 1.0),
    level(36, "storage_damaged_files", 1.0),
    growth(37, "backup_failures_total", 1.0),
    growth(38, "http_errors_total{type=\"caller_deadline\"}", 1.0),
];

const fn growth(number: u16, name: &'static str, step: f64) -> Series {
    let reading = Reading::Growth;
    Series {
        number,
        name,
        reading,
        step,
    }
}

const fn level(number: u16, name: &'static str, step: f64) -> Series {
    let reading = Reading::Level;
    Series {
        number,
        name,
        reading,
        step,
    }
}

/// The name of a series and what one stored unit stands for. A number of a later version is named
/// by itself, in stored units.
#[must_use]
pub fn series(number: u16) -> (String, f64) {
    if let Some(found) = SERIES.iter().find(|series| series.number == number) {
        return (found.name.to_owned(), found.step);
    }
    for (first, family, label) in HISTOGRAMS {
        let Some(index) = number.checked_sub(*first) else {
            continue;
        };
        if index < HISTOGRAM_NUMBERS {
            return histogram_series(usize::from(index), family, label);
        }
    }
    (format!("series_{number}"), 1.0)
}

/// Every number that is in use.
pub fn numbers() -> impl Iterator<Item = u16> {
    let plain = SERIES.iter().map(|series| series.number);
    let buckets = HISTOGRAMS
        .iter()
        .flat_map(|(first, ..)| *first..*first + HISTOGRAM_NUMBERS);
    plain.chain(buckets)
}

/// How the figures of a series are to be read. Those of histograms grow, and so do those of a later
/// version, as far as is known here.
#[must_use]
pub fn reading(number: u16) -> Reading {
    let found = SERIES.iter().find(|series| series.number == number);
    found.map_or(Reading::Growth, |series| series.reading)
}

/// What one stored unit of a series stands for, in millionths of its base unit.
#[must_use]
pub fn millionths(number: u16) -> i128 {
    let found = SERIES.iter().find(|series| series.number == number);
    let sum = |(first, ..): &(u16, &str, &str)| first + HISTOGRAM_NUMBERS - 1 == number;
    let step = match found {
        Some(series) => series.step,
        None if HISTOGRAMS.iter().any(sum) => MICRO,
        None => 1.0,
    };
    #[expect(clippy::cast_possible_truncation, reason = "steps are small")]
    let whole = (step / MICRO).round() as i128;
    whole
}

fn histogram_series(index: usize, family: &str, label: &str) -> (String, f64) {
    let comma = if label.is_empty() { "" } else { "," };
    match BUCKETS_SECONDS.get(index) {
        Some(bound) => (
            format!("{family}_bucket{{{label}{comma}le=\"{bound}\"}}"),
            1.0,
        ),
        None if index == BUCKETS_SECONDS.len() => {
            (format!("{family}_bucket{{{label}{comma}le=\"+Inf\"}}"), 1.0)
        }
        None if label.is_empty() => (format!("{family}_sum"), MICRO),
        None => (format!("{family}_sum{{{label}}}"), MICRO),
    }
}

/// The number of a series of this name.
fn number(name: &str) -> Option<u16> {
    if let Some(text) = name.strip_prefix("series_") {
        return text.parse().ok();
    }
    let mut plain = SERIES.iter().map(|series| series.number);
    let buckets = HISTOGRAMS
        .iter()
        .flat_map(|(first, ..)| *first..*first + HISTOGRAM_NUMBERS);
    plain
        .find(|number| series(*number).0 == name)
        .or_else(|| buckets.into_iter().find(|number| series(*number).0 == name))
}

/// The figures of one tick, by number, in stored units. Numbers rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples(Vec<(u16, i64)>);

/// The bytes or names are no figures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSamples {
    #[error("samples end in the middle of a figure")]
    Short,
    #[error("a figure of a sample is too large")]
    Large,
    #[error("the numbers of samples do not rise")]
    Order,
    #[error("more than {SAMPLES_MAX} samples")]
    Many,
}

impl Samples {
    /// Adds a figure; its number has to be above that of the one before.
    ///
    /// # Errors
    /// It is not, or there are too many.
    pub fn push(&mut self, number: u16, value: i64) -> Result<(), BadSamples> {
        if self.0.last().is_some_and(|(last, _)| *last >= number) {
            return Err(BadSamples::Order);
        }
        if self.0.len() >= SAMPLES_MAX {
            return Err(BadSamples::Many);
        }
        self.0.push((number, value));
        Ok(())
    }

    /// Numbers and stored values.
    pub fn iter(&self) -> impl Iterator<Item = (u16, i64)> {
        self.0.iter().copied()
    }

    /// The figure of a series in its base unit; none when the batch does not hold it.
    #[must_use]
    pub fn value(&self, number: u16) -> Option<f64> {
        let index = self.0.binary_search_by_key(&number, |(known, _)| *known);
        let (_, value) = self.0.get(index.ok()?)?;
        Some(in_units(*value, series(number).1))
    }

    /// The figure of a series in stored units; none when the batch does not hold it.
    #[must_use]
    pub fn stored(&self, number: u16) -> Option<i64> {
        let index = self.0.binary_search_by_key(&number, |(known, _)| *known);
        self.0.get(index.ok()?).map(|(_, value)| *value)
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For each figure the distance of its number from the one before and its value, folded so
    /// that small negative values are small too; both as base-128 numbers, low digits first.
    #[must_use]
    pub fn packed(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 4);
        let mut last = 0;
        for (number, value) in &self.0 {
            write_number(&mut bytes, u64::from(number - last));
            write_number(&mut bytes, ((value << 1) ^ (value >> 63)).cast_unsigned());
            last = *number;
        }
        bytes
    }

    /// What [`packed`](Self::packed) wrote.
    ///
    /// # Errors
    /// It did not write these bytes.
    pub fn unpacked(mut bytes: &[u8]) -> Result<Self, BadSamples> {
        let mut samples = Self::default();
        let mut last = 0_u16;
        while !bytes.is_empty() {
            let distance =
                u16::try_from(read_number(&mut bytes)?).map_err(|_| BadSamples::Large)?;
            let folded = read_number(&mut bytes)?;
            last = last.checked_add(distance).ok_or(BadSamples::Large)?;
            let value = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
            samples.push(last, value)?;
        }
        Ok(samples)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures are shown as floating point"
)]
fn in_units(value: i64, step: f64) -> f64 {
    // A division gives the decimal fraction that was meant where a product is off by a bit.
    match step < 1.0 {
        true => value as f64 / (1.0 / step).round(),
        false => value as f64 * step,
    }
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
}

fn read_number(bytes: &mut &[u8]) -> Result<u64, BadSamples> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(BadSamples::Short)?;
        *bytes = rest;
        let digit = u64::from(byte & 0x7f);
        if shift == 63 && digit > 1 {
            return Err(BadSamples::Large);
        }
        number |= digit << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(BadSamples::Large)
}

/// In JSON an object of names and figures in their base units, in the log the packed column.
impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.packed().serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (number, value) in &self.0 {
            let (name, step) = series(*number);
            if step.fract() == 0.0 {
                #[expect(clippy::cast_possible_truncation, reason = "a whole number")]
                map.serialize_entry(&name, &value.saturating_mul(step as i64))?;
            } else {
                map.serialize_entry(&name, &in_units(*value, step))?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_map(Names);
        }
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        Self::unpacked(&bytes).map_err(D::Error::custom)
    }
}

/// Reads the form that JSON has.
struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Samples;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of series and figures")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Samples, A::Error> {
        let mut found: Vec<(u16, i64)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, f64>()? {
            let known = number(&name);
            let number = known.ok_or_else(|| A::Error::custom(format!("no series {name}")))?;
            let stored = (value / series(number).1).round();
            if stored.is_nan() || stored.abs() > 9e18 {
                return Err(A::Error::custom(BadSamples::Large));
            }
            #[expect(clippy::cast_possible_truncation, reason = "below 2^63")]
            found.push((number, stored as i64));
        }
        found.sort_unstable();
        let mut samples = Samples::default();
        for (number, value) in found {
            samples.push(number, value).map_err(A::Error::custom)?;
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_used_once() {
        let plain = SERIES.iter().map(|series| series.number);
        let buckets = HISTOGRAMS
            .iter()
            .flat_map(|(first, ..)| *first..*first + HISTOGRAM_NUMBERS);
        let numbers: Vec<u16> = plain.chain(buckets).collect();
        let names: BTreeSet<String> = numbers.iter().map(|number| series(*number).0).collect();
        let distinct: BTreeSet<&u16> = numbers.iter().collect();
        assert_eq!(
            (distinct.len(), names.len()),
            (numbers.len(), numbers.len())
        );
        for known in &numbers {
            assert_eq!(number(&series(*known).0), Some(*known));
        }
        assert_eq!(series(60_000).0, "series_60000");
        assert_eq!(number("series_60000"), Some(60_000));
        assert_eq!(number("nothing"), None);
    }

    #[test]
    fn what_is_packed_is_unpacked_and_little() {
        let mut samples = Samples::default();
        for (number, value) in [
            (1, 0),
            (2, -1),
            (7, i64::MAX),
            (118, i64::MIN),
            (u16::MAX, 64),
        ] {
            samples.push(number, value).expect("it rises");
        }
        assert_eq!(samples.push(4, 1), Err(BadSamples::Order));
        let bytes = samples.packed();
        assert_eq!(Samples::unpacked(&bytes), Ok(samples));
        assert_eq!(&bytes[..4], [1, 0, 1, 1]);
        for cut in 1..bytes.len() {
            // Ends of figures are places where a shorter batch ends as well.
            if let Ok(shorter) = Samples::unpacked(&bytes[..cut]) {
                assert!(shorter.0.len() < 5);
            }
        }
        assert_eq!(Samples::unpacked(&[0x80]), Err(BadSamples::Short));
        assert_eq!(Samples::unpacked(&[1, 0, 0, 0]), Err(BadSamples::Order));
        assert_eq!(Samples::unpacked(&[0xff; 30]), Err(BadSamples::Large));
        let many: Vec<u8> = [1, 0].repeat(SAMPLES_MAX + 1);
        assert_eq!(Samples::unpacked(&many), Err(BadSamples::Many));
    }

    #[test]
    fn figures_are_read_in_base_units() {
        let mut samples = Samples::default();
        samples.push(20, 15).expect("it rises");
        samples.push(21, 3).expect("it rises");
        samples.push(118, 1_500).expect("it rises");
        assert_eq!(samples.value(20), Some(0.15));
        assert_eq!(samples.value(21), Some(3_072.0));
        assert_eq!(samples.value(118), Some(0.001_5));
        assert_eq!(samples.value(22), None);
        let name = "http_request_duration_seconds_sum{route=\"lab\"}";
        assert_eq!(series(118).0, name);
        let last = "causal_computation_duration_seconds_bucket{le=\"+Inf\"}";
        assert_eq!(series(177).0, last);
    }
}
