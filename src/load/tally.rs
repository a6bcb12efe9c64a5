//! What came back: counts by kind of answer, and times in a histogram of constant relative
//! resolution, so that a percentile means the same at a millisecond and at ten seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Times up to an hour, in microseconds, are told apart.
const TIME_MICROS_MAX: u64 = 3_600_000_000;
/// Significant digits: a time is off by a thousandth of itself at most.
const DIGITS: u8 = 3;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was answered with this status.
    Status(u16),
    /// It was turned away because a circuit breaker is open.
    BreakerOpen,
    /// No answer within the time that was waited for one.
    Timeout,
    /// Nobody took the connection.
    NoConnection,
    /// The connection broke before the answer was there.
    Broken,
    /// What came is no answer.
    Garbled,
}

/// How an outcome counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Answered,
    /// Told to come back later: 429 and 503.
    TurnedAway,
    Failed,
}

impl Outcome {
    /// How it counts.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Status(200..=299) => Class::Answered,
            Self::Status(429 | 503) | Self::BreakerOpen => Class::TurnedAway,
            Self::Status(_) | Self::Timeout | Self::NoConnection | Self::Broken | Self::Garbled => {
                Class::Failed
            }
        }
    }

    /// The word in reports.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::BreakerOpen => "503 breaker_open".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::NoConnection => "no_connection".to_owned(),
            Self::Broken => "connection_broken".to_owned(),
            Self::Garbled => "no_http".to_owned(),
        }
    }
}

/// Times of requests, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Counts and times of some requests.
#[derive(Debug, Clone)]
pub struct Tally {
    outcomes: BTreeMap<Outcome, u64>,
    times: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let times = Histogram::new_with_bounds(1, TIME_MICROS_MAX, DIGITS);
        Self {
            outcomes: BTreeMap::new(),
            times: times.expect("the bounds are in order"),
        }
    }
}

impl Tally {
    /// Counts one request and the time until its outcome.
    pub fn record(&mut self, outcome: Outcome, took: Duration) {
        *self.outcomes.entry(outcome).or_default() += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.times.saturating_record(micros.max(1));
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.outcomes.clear();
        self.times.reset();
    }

    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Those that count so.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        let of = self.outcomes.iter().filter(|(o, _)| o.class() == class);
        of.map(|(_, count)| count).sum()
    }

    /// Requests by what became of them.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        let words = self.outcomes.iter();
        words.map(|(o, count)| (o.word(), *count)).collect()
    }

    /// The times of all requests, whatever became of them; zero when there were none.
    #[must_use]
    pub fn latency(&self) -> Latency {
        if self.times.is_empty() {
            return Latency::default();
        }
        let at = |quantile: f64| self.times.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            mean_ms: self.times.mean().round() / 1e3,
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: self.times.max() as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut tally = Tally::default();
        for ms in 1..=1_000 {
            tally.record(Outcome::Status(200), Duration::from_millis(ms));
        }
        let found = tally.latency();
        let near = |value: f64, wanted: f64| (value - wanted).abs() <= wanted * 0.002;
        assert!(near(found.p50_ms, 500.0), "{found:?}");
        assert!(near(found.p95_ms, 950.0), "{found:?}");
        assert!(near(found.p99_ms, 990.0), "{found:?}");
        assert!(near(found.max_ms, 1_000.0), "{found:?}");
        assert!(near(found.mean_ms, 500.5), "{found:?}");
        tally.record(Outcome::Timeout, Duration::from_secs(1 << 20));
        assert!(near(tally.latency().max_ms, 3_600_000.0));
        tally.reset();
        assert_eq!(tally.latency(), Latency::default());
    }

    #[test]
    fn who_is_told_to_come_back_did_not_fail() {
        let mut tally = Tally::default();
        for outcome in [
            Outcome::Status(200),
            Outcome::Status(202),
            Outcome::Status(429),
            Outcome::Status(503),
            Outcome::BreakerOpen,
            Outcome::Status(400),
            Outcome::Status(500),
            Outcome::Broken,
        ] {
            tally.record(outcome, Duration::from_millis(1));
        }
        let counts = [Class::Answered, Class::TurnedAway, Class::Failed];
        assert_eq!(counts.map(|class| tally.count(class)), [2, 3, 3]);
        assert_eq!(tally.outcomes()["503 breaker_open"], 1);
        assert_eq!(tally.requests(), 8);
    }
}
