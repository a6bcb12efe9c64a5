//! Counts over time, in rings of buckets: short ones for the last hour, long ones for a month. The
//! memory of an objective does not grow with the number of batches.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::ids::UnixMicros;

const MINUTE_MICROS: u64 = 60_000_000;

/// Microseconds of a bucket, and buckets of the ring.
const LEVELS: [(u64, u64); 3] = [
    (MINUTE_MICROS, 62),
    (5 * MINUTE_MICROS, 74),
    (60 * MINUTE_MICROS, 722),
];

/// What was counted over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub good: u64,
    pub valid: u64,
    /// Microseconds of it that were measured.
    pub micros: u64,
}

impl Counted {
    #[must_use]
    pub const fn bad(&self) -> u64 {
        self.valid.saturating_sub(self.good)
    }

    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            good: self.good.saturating_add(other.good),
            valid: self.valid.saturating_add(other.valid),
            micros: self.micros.saturating_add(other.micros),
        }
    }
}

/// A bucket that is not empty; its number is the time divided by its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    number: u64,
    counted: Counted,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rings([VecDeque<Bucket>; LEVELS.len()]);

impl Rings {
    /// Adds what was counted up to `at`, which is never before what was added last.
    pub(super) fn add(&mut self, at: UnixMicros, counted: Counted) {
        for (ring, (length, most)) in self.0.iter_mut().zip(LEVELS) {
            let number = at.0 / length;
            match ring.back_mut() {
                Some(last) if last.number >= number => {
                    last.counted = last.counted.plus(counted);
                }
                Some(_) | None => ring.push_back(Bucket { number, counted }),
            }
            let oldest = number.saturating_sub(most - 1);
            while ring.front().is_some_and(|first| first.number < oldest) {
                ring.pop_front();
            }
        }
    }

    /// What was counted in the last `window_micros` before `at`. The oldest bucket counts as a whole.
    pub(super) fn over(&self, at: UnixMicros, window_micros: u64) -> Counted {
        let level = LEVELS
            .iter()
            .position(|(length, most)| length * (most - 2) >= window_micros);
        let level = level.unwrap_or(LEVELS.len() - 1);
        let from = at.0.saturating_sub(window_micros) / LEVELS[level].0;
        let buckets = self.0[level].iter().rev();
        let within = buckets.take_while(|bucket| bucket.number >= from);
        within.fold(Counted::default(), |sum, bucket| sum.plus(bucket.counted))
    }

    /// Buckets that are kept.
    #[cfg(test)]
    pub(super) fn buckets(&self) -> usize {
        self.0.iter().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn one(good: u64) -> Counted {
        Counted {
            good,
            valid: 1,
            micros: 1,
        }
    }

    #[test]
    fn memory_is_bounded_and_old_buckets_go() {
        let mut rings = Rings::default();
        for minute in 0..60 * 24 * 40 {
            rings.add(UnixMicros(minute * MINUTE_MICROS), one(1));
        }
        assert!(rings.buckets() <= 62 + 74 + 722);
        let at = UnixMicros(60 * 24 * 40 * MINUTE_MICROS - 1);
        assert_eq!(rings.over(at, 5 * MINUTE_MICROS).valid, 6);
        assert_eq!(rings.over(at, 30 * 24 * 60 * MINUTE_MICROS).valid, 721 * 60);
    }

    #[test]
    fn a_jump_of_the_clock_leaves_nothing_of_before() {
        let mut rings = Rings::default();
        rings.add(UnixMicros(1), one(0));
        let later = UnixMicros(60 * 24 * 60 * MINUTE_MICROS);
        assert_eq!(rings.over(later, 60 * MINUTE_MICROS), Counted::default());
        rings.add(later, one(1));
        assert_eq!(rings.buckets(), LEVELS.len());
        // What comes with an earlier time counts for the newest bucket.
        rings.add(UnixMicros(1), one(0));
        assert_eq!(rings.over(later, 60 * MINUTE_MICROS).valid, 2);
    }
}
