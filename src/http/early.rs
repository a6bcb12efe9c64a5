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

/// Microseconds that somebody who is turned away is asked to wait. Any of them is as likely: were
/// they whole seconds, those who were turned away in one burst would come back in one.
const WAIT_MICROS: std::ops::Range<u64> = 1_000_000..3_000_000;

/// What is known of a connection: when it may come again, in microseconds of the monotonic clock.
#[derive(Debug, Default)]
pub struct ComesAgain(Cell<u64>);

/// Turns the request away. Those who are turned away together shall not come back together.
pub(crate) fn turn_away(request: &HttpRequest, detail: &str) -> Problem {
    let wait = WAIT_MICROS.start + ids::random() % (WAIT_MICROS.end - WAIT_MICROS.start);
    if let Some(comes) = request.conn_data::<ComesAgain>() {
        comes.0.set(clock::monotonic_micros() + wait);
    }
    Problem::new(&error::BUSY, detail).retry_after(wait.div_ceil(1_000_000))
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
    let left = comes.0.take().saturating_sub(clock::monotonic_micros());
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
