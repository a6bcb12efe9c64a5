//! The one reader of clocks. Everything else is told the time.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hindcast_log::Clock;
use hindcast_model::UnixMicros;

/// The wall clock, in microseconds since 1970; 0 for a clock set before that.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn wall() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixMicros(since.map_or(0, micros))
}

/// Microseconds of a clock that never jumps, counted from the first call in this process.
#[must_use]
pub fn monotonic_micros() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    micros(now().duration_since(*START.get_or_init(now)))
}

/// A moment to measure a span from.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the monotonic clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Both clocks, as the log takes them.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> UnixMicros {
        wall()
    }

    fn monotonic(&self) -> u64 {
        monotonic_micros()
    }
}

fn micros(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000) + u64::from(span.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_tell_microseconds() {
        assert!(wall() > UnixMicros(1_600_000_000_000_000));
        let first = monotonic_micros();
        assert!(monotonic_micros() >= first);
    }
}
