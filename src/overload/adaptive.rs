//! How many requests are worked on at the same time while some are turned away: more while that
//! costs little time, fewer when each takes over twice as long as it does alone. As long as all can be taken,
//! nothing is held back: requests that arrive together are written to the disk together, and the
//! time each of them takes says nothing then. Pure: the caller says what time it is.

/// Microseconds of one look at the latencies.
const WINDOW_MICROS: u64 = 100_000;
/// Fewer samples say nothing.
const SAMPLES_MIN: usize = 20;
/// Further samples of a window change nothing.
const SAMPLES_MAX: usize = 512;
/// Of the latencies of a window the one that counts: this part of them is below it.
const QUANTILE: f64 = 0.95;
/// What is over so many times that of an idle server, less what is not seen here, is too slow: a
/// caller then sees at most three times that of an idle server.
const SLOW: f64 = 2.5;
/// Microseconds that a request waits for a processor before it comes here and after it has gone, when
/// there is much to do.
const UNSEEN_MICROS: f64 = 500.0;
/// But nothing is too slow below so many times that of an idle server.
const SLOW_LEAST: f64 = 1.5;
/// The part of the latency of an idle server that somebody may wait for a place.
const PATIENCE: f64 = 0.25;
/// What is quicker than this, in microseconds, is not told apart.
const FLOOR_MICROS: f64 = 100.0;
/// Nobody waits longer than so many microseconds while more comes than can be done.
const PATIENCE_MICROS_MAX: f64 = 20_000.0;
/// The limit is multiplied by this when requests are too slow.
const DECREASE: f64 = 0.9;
/// A window with more requests at once is none of an idle server.
const IDLE_PEAK: f64 = 2.0;
/// The weight of a new window in the latency of an idle server.
const WEIGHT: f64 = 0.1;

/// Additive increase, multiplicative decrease, by the latency.
#[derive(Debug)]
pub(super) struct Adaptive {
    limit: f64,
    least: f64,
    most: f64,
    /// The quantile of an idle server, in microseconds.
    idle: Option<f64>,
    samples: Vec<u64>,
    began: u64,
    /// The most requests at once in this window.
    peak: usize,
}

impl Adaptive {
    /// Between `least` and `most`, which are at least 1.
    #[must_use]
    pub(super) fn new(least: usize, most: usize) -> Self {
        let least = least.max(1);
        let most = most.max(least);
        Self {
            limit: (least as f64 * most as f64).sqrt(),
            least: least as f64,
            most: most as f64,
            idle: None,
            samples: Vec::new(),
            began: 0,
            peak: 0,
        }
    }

    /// Requests that may be worked on at once while some are turned away.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between two numbers that are a usize"
    )]
    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Requests that may be worked on at once while all are taken.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was a usize"
    )]
    pub(super) fn most(&self) -> usize {
        self.most as usize
    }

    /// How long somebody may wait for a place while more comes than can be done, in microseconds: a
    /// part of what a request takes alone. Longer would be told by the latency as well, and then
    /// fewer are worked on for nothing but their waiting.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between two positive bounds"
    )]
    pub(super) fn patience_micros(&self) -> u64 {
        let patience = self
            .idle
            .map_or(PATIENCE_MICROS_MAX, |idle| idle * PATIENCE);
        patience.clamp(FLOOR_MICROS, PATIENCE_MICROS_MAX) as u64
    }

    /// One request took `latency_micros` from when it came to the door, with `in_flight` at once when
    /// it ended, itself included.
    pub(super) fn sample(&mut self, now_micros: u64, latency_micros: u64, in_flight: usize) {
        if self.samples.is_empty() {
            self.began = now_micros;
        }
        self.peak = self.peak.max(in_flight);
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(latency_micros);
        }
        let whole = now_micros.saturating_sub(self.began) >= WINDOW_MICROS;
        if whole && self.samples.len() >= SAMPLES_MIN {
            self.look();
        }
    }

    fn look(&mut self) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below the number of samples"
        )]
        let place = (self.samples.len() as f64 * QUANTILE) as usize;
        let (_, slow, _) = self.samples.select_nth_unstable(place);
        let slow = *slow as f64;
        let peak = self.peak as f64;
        // A server with much to do says nothing about an idle one, unless it is quicker. Where no
        // more are let in, few at once are no sign of an idle one.
        let is_idle = peak <= IDLE_PEAK && peak < self.limit.floor();
        let idle = match self.idle {
            None => slow,
            Some(idle) if is_idle => idle + WEIGHT * (slow - idle),
            Some(idle) => idle.min(slow),
        };
        self.idle = Some(idle);
        let most = (SLOW * idle - UNSEEN_MICROS).max(SLOW_LEAST * idle);
        if slow > most.max(FLOOR_MICROS) {
            self.limit = (self.limit * DECREASE).max(self.least);
        } else if peak >= self.limit.floor() {
            self.limit = (self.limit + 1.0).min(self.most);
        }
        self.samples.clear();
        self.peak = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that works on `width` requests without slowing down, and then shares its time.
    struct Plant {
        alone_micros: u64,
        width: usize,
    }

    impl Plant {
        fn latency(&self, in_flight: usize) -> u64 {
            let share = in_flight.max(self.width) as u64;
            self.alone_micros * share / self.width as u64
        }
    }

    /// Keeps `offered` requests at the door for so many windows.
    fn drive(
        adaptive: &mut Adaptive,
        plant: &Plant,
        (from, windows): (u64, u64),
        offered: usize,
    ) -> u64 {
        let mut now = from;
        for _ in 0..windows * 100 {
            now += 1_000;
            let in_flight = offered.min(adaptive.limit());
            adaptive.sample(now, plant.latency(in_flight), in_flight);
        }
        now
    }

    #[test]
    fn the_limit_settles_where_each_takes_more_than_twice_as_long() {
        let mut adaptive = Adaptive::new(4, 256);
        let plant = Plant {
            alone_micros: 2_000,
            width: 10,
        };
        let now = drive(&mut adaptive, &plant, (0, 20), 2);
        drive(&mut adaptive, &plant, (now, 400), 10_000);
        let limit = adaptive.limit();
        assert!((19..=23).contains(&limit), "2.25 times: {limit}");
    }

    #[test]
    fn what_is_quick_has_less_room_since_more_of_it_is_not_seen() {
        let mut adaptive = Adaptive::new(4, 256);
        let plant = Plant {
            alone_micros: 400,
            width: 10,
        };
        let now = drive(&mut adaptive, &plant, (0, 20), 2);
        assert_eq!(adaptive.patience_micros(), 100);
        drive(&mut adaptive, &plant, (now, 400), 10_000);
        let limit = adaptive.limit();
        assert!((13..=16).contains(&limit), "1.5 times: {limit}");
    }

    #[test]
    fn few_at_once_because_no_more_are_let_in_are_no_idle_server() {
        let mut adaptive = Adaptive::new(2, 256);
        let quick = Plant {
            alone_micros: 2_000,
            width: 10,
        };
        let now = drive(&mut adaptive, &quick, (0, 50), 1);
        let slow = Plant {
            alone_micros: 20_000,
            width: 1,
        };
        let now = drive(&mut adaptive, &slow, (now, 400), 10_000);
        assert_eq!((adaptive.limit(), adaptive.patience_micros()), (2, 500));
        drive(&mut adaptive, &slow, (now, 100), 1);
        assert!(adaptive.patience_micros() > 4_000, "a slower disk");
    }

    #[test]
    fn a_server_that_gets_slower_takes_less_and_then_more_again() {
        let mut adaptive = Adaptive::new(4, 256);
        let quick = Plant {
            alone_micros: 2_000,
            width: 40,
        };
        let slow = Plant {
            alone_micros: 6_000,
            width: 10,
        };
        let now = drive(&mut adaptive, &quick, (0, 20), 2);
        let now = drive(&mut adaptive, &quick, (now, 400), 10_000);
        let before = adaptive.limit();
        let now = drive(&mut adaptive, &slow, (now, 400), 10_000);
        let during = adaptive.limit();
        drive(&mut adaptive, &quick, (now, 800), 10_000);
        let after = adaptive.limit();
        assert!(during * 4 < before, "{before} {during}");
        assert!(after.abs_diff(before) <= 4, "{before} {after}");
    }

    #[test]
    fn little_to_do_changes_nothing_and_the_bounds_hold() {
        let mut adaptive = Adaptive::new(4, 8);
        let plant = Plant {
            alone_micros: 100,
            width: 1_000,
        };
        let first = adaptive.limit();
        let now = drive(&mut adaptive, &plant, (0, 50), 1);
        assert_eq!(adaptive.limit(), first);
        let now = drive(&mut adaptive, &plant, (now, 50), 10_000);
        assert_eq!(adaptive.limit(), 8);
        let stuck = Plant {
            alone_micros: 10_000_000,
            width: 1,
        };
        drive(&mut adaptive, &stuck, (now, 200), 10_000);
        assert_eq!(adaptive.limit(), 4);
    }
}
