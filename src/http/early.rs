//! Who was turned away and comes again before the time that it was told. Its connection waits for
//! the rest of that time, and is turned away once more without a look at the body; what it sends
//! then is as welcome as anything. So callers that do not pause cannot take the processors from
//! those who are served, however many they are. Others of the same lane are not held, and a client
//! that waits as it was told never is.

use std::cell::Cell;
use std::time::Duration;

use actix_web::HttpRequest;

use super::error::{self, Problem};
use crate::overload::Gate;
use crate::{clock, ids};

/// Seconds that somebody who is turned away for the first time is asked to wait, at most.
const WAIT_SECONDS_MAX: u64 = 3;
/// How often that is doubled for who is turned away again and again.
const DOUBLINGS_MAX: u32 = 2;
/// Who comes later than this after the time that it was told, in microseconds, begins anew.
const FORGOTTEN_AFTER_MICROS: u64 = 10_000_000;

/// What is known of a connection.
#[derive(Debug, Default)]
pub struct ComesAgain {
    /// Until when a request is held, in microseconds of the monotonic clock.
    held_until: Cell<u64>,
    /// The time that it was told, and how often it was turned away in a row.
    told: Cell<(u64, u32)>,
}

impl ComesAgain {
    /// It is turned away: how many seconds it is asked to wait, by a random number.
    fn refuse(&self, now: u64, random: u64) -> u64 {
        let (told, times) = self.told.get();
        let times = match now.saturating_sub(told) < FORGOTTEN_AFTER_MICROS {
            true => times,
            false => 0,
        };
        let seconds = (1 + random % WAIT_SECONDS_MAX) << times.min(DOUBLINGS_MAX);
        let until = now + seconds * 1_000_000;
        self.held_until.set(until);
        self.told.set((until, times + 1));
        seconds
    }

    /// It was let in.
    fn forget(&self) {
        self.told.set((0, 0));
    }
}

/// Turns the request away. Those who are turned away together shall not come back together.
pub(crate) fn turn_away(request: &HttpRequest, detail: &str) -> Problem {
    let random = ids::random();
    let seconds = match request.conn_data::<ComesAgain>() {
        Some(comes) => comes.refuse(clock::monotonic_micros(), random),
        None => 1 + random % WAIT_SECONDS_MAX,
    };
    Problem::new(&error::BUSY, detail).retry_after(seconds)
}

/// The request has its place.
pub(crate) fn let_in(request: &HttpRequest) {
    if let Some(comes) = request.conn_data::<ComesAgain>() {
        comes.forget();
    }
}

/// Holds a request that comes too early, no longer than its caller has use for an answer, and turns
/// it away then.
pub(crate) async fn hold(
    request: &HttpRequest,
    gate: &Gate,
    patience: Option<Duration>,
) -> Result<(), Problem> {
    let Some(comes) = request.conn_data::<ComesAgain>() else {
        return Ok(());
    };
    let left = comes
        .held_until
        .take()
        .saturating_sub(clock::monotonic_micros());
    if left == 0 || !gate.is_shedding() {
        return Ok(());
    }
    metrics::counter!("overload_held_total").increment(1);
    let left = Duration::from_micros(left);
    // Apart, so that those who are not held take less room.
    Box::pin(tokio::time::sleep(
        patience.map_or(left, |patience| patience.min(left)),
    ))
    .await;
    Err(Problem::new(&error::BUSY, "it came before the time that it was told").retry_after(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_again_and_again_is_asked_to_wait_longer() {
        let comes = ComesAgain::default();
        let mut now = 100_000_000;
        let mut told = Vec::new();
        for _ in 0..4 {
            let seconds = comes.refuse(now, 2);
            told.push(seconds);
            now += seconds * 1_000_000;
        }
        assert_eq!(told, [3, 6, 12, 12]);
        comes.forget();
        assert_eq!(comes.refuse(now, 2), 3, "it was let in between");
        assert_eq!(comes.refuse(now + 3_000_000, 0), 2);
        let late = now + 3_000_000 + 2_000_000 + FORGOTTEN_AFTER_MICROS;
        assert_eq!(comes.refuse(late, 0), 1, "that was long ago");
    }
}
