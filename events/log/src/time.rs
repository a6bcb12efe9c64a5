//! The log's time: the wall clock, but never backwards, and not at once after a great leap.

use hindcast_model::UnixMicros;
use hindcast_model::event::ClockStepped;

/// Reads the machine's clocks. The binary has the one real implementation.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970 by the wall clock, which may be set.
    fn wall(&self) -> UnixMicros;

    /// Microseconds since any fixed moment by a clock that only goes forward.
    fn monotonic(&self) -> u64;
}

/// A step of the wall clock against the monotonic one that is worth an event.
const STEP_MICROS: i64 = 1_000_000;
/// A step forward over this is not believed at once.
const LEAP_MICROS: i64 = 5 * 60 * 1_000_000;
/// How long a leap has to last before it is believed.
const LEAP_LASTS_MICROS: u64 = 60 * 1_000_000;

/// Turns clock readings into the log's time.
#[derive(Debug, Clone)]
pub struct TimeKeeper {
    last: UnixMicros,
    /// Readings of both clocks that were believed together.
    believed: Option<(UnixMicros, u64)>,
    /// When a leap was first seen, by the monotonic clock.
    leap_since: Option<u64>,
}

impl TimeKeeper {
    /// Goes on from the last time in the log.
    #[must_use]
    pub const fn new(last: UnixMicros) -> Self {
        Self {
            last,
            believed: None,
            leap_since: None,
        }
    }

    /// The log's time at these readings, and the step to record if there was one.
    pub fn stamp(
        &mut self,
        wall: UnixMicros,
        monotonic: u64,
    ) -> (UnixMicros, Option<ClockStepped>) {
        let (believed, stepped) = match self.believed {
            None => (wall, self.first_reading(wall)),
            Some(reference) => self.compare(reference, wall, monotonic),
        };
        if self.leap_since.is_none() {
            self.believed = Some((wall, monotonic));
        }
        self.last = self.last.max(believed);
        (self.last, stepped)
    }

    /// A wall clock ahead of the log is time that the server was down.
    fn first_reading(&self, wall: UnixMicros) -> Option<ClockStepped> {
        let step = difference(wall, self.last);
        (step < -STEP_MICROS).then_some(ClockStepped {
            step_micros: step,
            wall,
            adopted: true,
        })
    }

    fn compare(
        &mut self,
        (then, then_monotonic): (UnixMicros, u64),
        wall: UnixMicros,
        monotonic: u64,
    ) -> (UnixMicros, Option<ClockStepped>) {
        let expected = then.plus(monotonic.saturating_sub(then_monotonic));
        let step = difference(wall, expected);
        if step <= LEAP_MICROS {
            self.leap_since = None;
            let stepped = (step.abs() > STEP_MICROS).then_some(ClockStepped {
                step_micros: step,
                wall,
                adopted: true,
            });
            return (wall, stepped);
        }
        match self.leap_since {
            None => {
                self.leap_since = Some(monotonic);
                (
                    expected,
                    Some(ClockStepped {
                        step_micros: step,
                        wall,
                        adopted: false,
                    }),
                )
            }
            Some(since) if monotonic.saturating_sub(since) >= LEAP_LASTS_MICROS => {
                self.leap_since = None;
                (
                    wall,
                    Some(ClockStepped {
                        step_micros: step,
                        wall,
                        adopted: true,
                    }),
                )
            }
            Some(_) => (expected, None),
        }
    }
}

fn difference(a: UnixMicros, b: UnixMicros) -> i64 {
    let (a, b) = (i128::from(a.0), i128::from(b.0));
    i64::try_from(a - b).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn keeper() -> TimeKeeper {
        let mut keeper = TimeKeeper::new(UnixMicros(0));
        assert_eq!(
            keeper.stamp(UnixMicros(1_000 * SECOND), 0),
            (UnixMicros(1_000 * SECOND), None)
        );
        keeper
    }

    #[test]
    fn time_never_runs_backwards_and_the_step_is_told() {
        let mut keeper = keeper();
        let (at, stepped) = keeper.stamp(UnixMicros(900 * SECOND), SECOND);
        assert_eq!(at, UnixMicros(1_000 * SECOND));
        let stepped = stepped.expect("a step");
        assert_eq!((stepped.step_micros, stepped.adopted), (-101_000_000, true));
        assert_eq!(keeper.stamp(UnixMicros(901 * SECOND), 2 * SECOND).1, None);
    }

    #[test]
    fn a_small_step_forward_is_followed_at_once() {
        let mut keeper = keeper();
        let (at, stepped) = keeper.stamp(UnixMicros(1_100 * SECOND), SECOND);
        assert_eq!(at, UnixMicros(1_100 * SECOND));
        assert!(stepped.is_some_and(|stepped| stepped.adopted));
    }

    #[test]
    fn a_leap_is_followed_only_after_it_has_lasted_a_minute() {
        let mut keeper = keeper();
        let (at, stepped) = keeper.stamp(UnixMicros(9_001 * SECOND), SECOND);
        assert_eq!(at, UnixMicros(1_001 * SECOND));
        assert!(stepped.is_some_and(|stepped| !stepped.adopted));
        let (at, stepped) = keeper.stamp(UnixMicros(9_040 * SECOND), 40 * SECOND);
        assert_eq!((at, stepped), (UnixMicros(1_040 * SECOND), None));
        let (at, stepped) = keeper.stamp(UnixMicros(9_061 * SECOND), 61 * SECOND);
        assert_eq!(at, UnixMicros(9_061 * SECOND));
        assert!(stepped.is_some_and(|stepped| stepped.adopted));
        assert_eq!(
            keeper.stamp(UnixMicros(9_062 * SECOND), 62 * SECOND).1,
            None
        );
    }

    #[test]
    fn a_leap_that_goes_away_leaves_no_trace_in_the_time() {
        let mut keeper = keeper();
        keeper.stamp(UnixMicros(9_001 * SECOND), SECOND);
        let (at, stepped) = keeper.stamp(UnixMicros(1_002 * SECOND), 2 * SECOND);
        assert_eq!((at, stepped), (UnixMicros(1_002 * SECOND), None));
    }

    #[test]
    fn a_clock_behind_the_log_at_start_is_told() {
        let mut keeper = TimeKeeper::new(UnixMicros(50 * SECOND));
        let (at, stepped) = keeper.stamp(UnixMicros(20 * SECOND), 7);
        assert_eq!(at, UnixMicros(50 * SECOND));
        assert!(stepped.is_some_and(|stepped| stepped.step_micros == -30_000_000));
    }
}
