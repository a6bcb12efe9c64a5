//! Who is next at a door. Up to its bound everybody waits and is served in order. Once that is not
//! enough, those who came last are served first, since their callers still wait, and those who came
//! first are turned away. When that lasts, so is who has waited for some milliseconds, until a
//! second has gone by without that. Pure: the caller says what time it is.
//!
//! After B. Maurer, "Fail at scale", ACM Queue 13(8), 2015: adaptive LIFO and controlled delay.

use std::collections::VecDeque;

/// Microseconds after somebody was turned away for want of room until the order is the usual one
/// again.
const LAST_FIRST_MICROS: u64 = 1_000_000;
/// When people are turned away for so many microseconds, it is more than a rush.
const LASTING_MICROS: u64 = 500_000;
/// Microseconds over which retries are counted.
const RETRY_WINDOW_MICROS: u64 = 1_000_000;
/// Retries that are always let in within that time.
const RETRIES_LEAST: u64 = 10;

/// Those who wait, `T` for each.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// Since when, and whether it was sent before.
    waiting: VecDeque<(u64, bool, T)>,
    waiting_max: usize,
    /// When somebody was last turned away for want of room.
    overflowed: Option<u64>,
    /// When that began.
    began: u64,
    /// Began, everybody taken, retries taken.
    window: (u64, u64, u64),
    retry_percent_max: u64,
}

/// What becomes of somebody who comes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined<T> {
    Waits,
    /// There was no room: this one, who came first, has to go.
    Evicted(T),
    /// It was sent again, and too many were sent again.
    NoRetry(T),
}

impl<T> Line<T> {
    pub(super) fn new(waiting_max: usize, retry_percent_max: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_max: waiting_max.max(1),
            overflowed: None,
            began: 0,
            window: (0, 0, 0),
            retry_percent_max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether somebody was turned away within the last second.
    pub(super) fn is_shedding(&self, now: u64) -> bool {
        self.overflowed
            .is_some_and(|at| now.saturating_sub(at) < LAST_FIRST_MICROS)
    }

    /// Somebody comes, perhaps not for the first time. `gone` says who does not wait any more.
    pub(super) fn join(
        &mut self,
        who: T,
        (now, is_retry): (u64, bool),
        gone: impl Fn(&T) -> bool,
    ) -> Joined<T> {
        if !self.fits(now, is_retry) {
            return Joined::NoRetry(who);
        }
        if self.waiting.len() >= self.waiting_max {
            self.waiting.retain(|(.., waiting)| !gone(waiting));
        }
        self.waiting.push_back((now, is_retry, who));
        if self.waiting.len() <= self.waiting_max {
            return Joined::Waits;
        }
        if !self.is_shedding(now) {
            self.began = now;
        }
        self.overflowed = Some(now);
        self.waiting
            .pop_front()
            .map_or(Joined::Waits, |(.., first)| Joined::Evicted(first))
    }

    /// Whether somebody may be taken: of retries, while others are turned away, so many per cent
    /// of all that are.
    pub(super) fn fits(&mut self, now: u64, is_retry: bool) -> bool {
        if now.saturating_sub(self.window.0) >= RETRY_WINDOW_MICROS {
            self.window = (now, 0, 0);
        }
        let (_, all, retries) = self.window;
        !is_retry
            || !self.is_shedding(now)
            || retries < RETRIES_LEAST
            || (retries + 1) * 100 <= (all + 1) * self.retry_percent_max
    }

    /// Somebody is taken.
    pub(super) const fn take(&mut self, is_retry: bool) {
        self.window.1 += 1;
        self.window.2 += is_retry as u64;
    }

    /// Who is next. When it has been too much for a while, those are dropped who have waited for
    /// more than `patience` microseconds.
    pub(super) fn next(&mut self, now: u64, patience: u64) -> Option<T> {
        let shedding = self.is_shedding(now);
        if shedding {
            self.turn_away_the_patient(now, patience);
        }
        loop {
            let (_, is_retry, who) = match shedding {
                true => self.waiting.pop_back()?,
                false => self.waiting.pop_front()?,
            };
            if self.fits(now, is_retry) {
                self.take(is_retry);
                return Some(who);
            }
        }
    }

    fn turn_away_the_patient(&mut self, now: u64, patience: u64) {
        if now.saturating_sub(self.began) < LASTING_MICROS {
            return;
        }
        let over = |since: u64| now.saturating_sub(since) > patience;
        while self.waiting.front().is_some_and(|(since, ..)| over(*since)) {
            self.waiting.pop_front();
            self.overflowed = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE_MICROS: u64 = 20_000;

    fn nobody(_: &u32) -> bool {
        false
    }

    #[test]
    fn within_its_bound_the_line_is_served_in_order() {
        let mut line = Line::new(3, 20);
        for n in 1..=3 {
            assert_eq!(line.join(n, (0, false), nobody), Joined::Waits);
        }
        let order: Vec<u32> =
            std::iter::from_fn(|| line.next(5_000_000, PATIENCE_MICROS)).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn over_it_the_first_go_and_the_last_are_served() {
        let mut line = Line::new(3, 20);
        for n in 1..=3 {
            line.join(n, (0, false), nobody);
        }
        assert_eq!(line.join(4, (0, false), nobody), Joined::Evicted(1));
        assert_eq!(line.next(10, PATIENCE_MICROS), Some(4));
        assert_eq!(line.len(), 2);
        // A second later it is as before.
        assert_eq!(line.next(LAST_FIRST_MICROS, PATIENCE_MICROS), Some(2));
    }

    #[test]
    fn when_that_lasts_nobody_waits_for_long() {
        let mut line = Line::new(3, 20);
        let late = PATIENCE_MICROS + 1;
        for n in 1..=4 {
            line.join(n, (0, false), nobody);
        }
        assert_eq!(line.next(late, PATIENCE_MICROS), Some(4), "a rush");
        for n in 5..=6 {
            line.join(n, (LASTING_MICROS, false), nobody);
        }
        assert_eq!(
            line.next(LASTING_MICROS + late, PATIENCE_MICROS),
            None,
            "all have waited for too long"
        );
        // As long as that goes on the last are first.
        let later = LASTING_MICROS + LAST_FIRST_MICROS;
        line.join(7, (later, false), nobody);
        line.join(8, (later, false), nobody);
        assert_eq!(line.next(later, PATIENCE_MICROS), Some(8));
        assert_eq!(line.next(later, PATIENCE_MICROS), Some(7));
        // Without it everybody waits as before.
        let after = later + LAST_FIRST_MICROS;
        line.join(9, (after, false), nobody);
        line.join(10, (after, false), nobody);
        assert_eq!(line.next(after + LASTING_MICROS, PATIENCE_MICROS), Some(9));
    }

    #[test]
    fn who_has_gone_makes_room() {
        let mut line = Line::new(2, 20);
        line.join(1, (0, false), nobody);
        line.join(2, (0, false), nobody);
        assert_eq!(line.join(3, (0, false), |n| *n == 1), Joined::Waits);
        assert_eq!(line.len(), 2);
    }

    #[test]
    fn retries_have_a_share_while_others_are_turned_away() {
        let mut line = Line::new(4, 20);
        let mut retries = 0;
        // Of ten that come, nine were sent before, and one is taken.
        for n in 0..10_000 {
            let is_retry = n % 10 > 0;
            line.join(n, (u64::from(n) / 100, is_retry), nobody);
            if n % 10 == 9 {
                let taken = line.next(u64::from(n) / 100, PATIENCE_MICROS);
                retries += usize::from(taken.is_some_and(|n| n % 10 > 0));
            }
        }
        assert!((190..=210).contains(&retries), "a fifth of all: {retries}");
        // Without others, and when nobody is turned away, they are as welcome as everybody.
        let mut line = Line::new(10_000, 20);
        let all = (0..1_000).all(|n| line.join(n, (0, true), nobody) == Joined::Waits);
        assert!(all);
    }
}
