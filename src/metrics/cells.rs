//! Where values live: plain atomics, of a size that is fixed when a series is registered. What
//! code holds is a handle to one of these, so that recording looks nothing up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use hindcast_actors::exemplar;
use metrics::{CounterFn, GaugeFn, HistogramFn};

use crate::clock;

/// A counter of whole things.
#[derive(Debug, Default)]
pub struct CounterCell(AtomicU64);

impl CounterCell {
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl CounterFn for CounterCell {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

/// A value that goes up and down; the bits of an f64.
#[derive(Debug, Default)]
pub struct GaugeCell(AtomicU64);

impl GaugeCell {
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        add(&self.0, value);
    }

    fn decrement(&self, value: f64) {
        add(&self.0, -value);
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Observations in buckets.
#[derive(Debug)]
pub struct HistogramCell {
    bounds: &'static [f64],
    /// One more than there are bounds: the last takes what is above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// One for each bucket, from the first observation on that belongs to a trace.
    exemplars: OnceLock<Box<[Mutex<Option<Exemplar>>]>>,
}

/// One observation and the trace that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    pub trace: u128,
    pub value: f64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

impl HistogramCell {
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            bounds,
            counts,
            sum: AtomicU64::default(),
            exemplars: OnceLock::new(),
        }
    }

    pub const fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    /// Observations in each bucket, not cumulative; the last is above all bounds.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
    }

    pub fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }

    /// The newest observation of a bucket that belongs to a trace.
    pub fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        let place = self.exemplars.get()?.get(bucket)?;
        *place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, value: f64, times: u64) {
        if value.is_nan() {
            // It belongs into no bucket, and would make the sum useless for ever.
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        add(&self.sum, value * times as f64);
        let trace = exemplar::trace();
        if trace != 0 {
            self.keep(bucket, trace, value);
        }
    }

    /// Nobody waits for the place: whoever holds it keeps a trace of the same moment there.
    fn keep(&self, bucket: usize, trace: u128, value: f64) {
        let places = self.exemplars.get_or_init(|| {
            let places = self.counts.iter().map(|_| Mutex::new(None));
            places.collect()
        });
        if let Ok(mut place) = places[bucket].try_lock() {
            let at_ms = clock::wall().0 / 1_000;
            *place = Some(Exemplar {
                trace,
                value,
                at_ms,
            });
        }
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        self.observe(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.observe(value, count as u64);
    }
}

/// Adds to the f64 whose bits these are.
fn add(bits: &AtomicU64, value: f64) {
    let mut old = bits.load(Ordering::Relaxed);
    loop {
        let new = (f64::from_bits(old) + value).to_bits();
        match bits.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(seen) => old = seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let cell = HistogramCell::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.000_1, 2.0, 3.0, f64::NAN] {
            cell.record(value);
        }
        cell.record_many(2.0, 3);
        assert_eq!(cell.counts().collect::<Vec<_>>(), [2, 5, 1]);
        assert!((cell.sum() - 13.500_1).abs() < 1e-9);
        assert_eq!(cell.exemplar(0), None);
    }

    #[test]
    fn a_bucket_names_the_last_trace_that_fell_into_it() {
        let cell = HistogramCell::new(&[1.0]);
        exemplar::within(5, || cell.record(0.1));
        exemplar::within(6, || cell.record(0.2));
        cell.record(0.3);
        let kept = cell.exemplar(0).expect("a trace");
        assert_eq!(kept.trace, 6);
        assert!(kept.at_ms > 1_600_000_000_000);
        assert_eq!(cell.exemplar(1), None);
    }

    #[test]
    fn gauges_add_and_counters_never_fall() {
        let gauge = GaugeCell::default();
        gauge.set(2.5);
        gauge.increment(1.0);
        gauge.decrement(0.5);
        assert!((gauge.value() - 3.0).abs() < 1e-12);
        let counter = CounterCell::default();
        counter.increment(7);
        counter.absolute(5);
        assert_eq!(counter.value(), 7);
        counter.absolute(9);
        assert_eq!(counter.value(), 9);
    }
}
