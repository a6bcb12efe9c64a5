//! Looking back into the log for one page of a list.

use hindcast_log::{Log, Recorded};
use hindcast_model::Seq;

use super::error::Problem;

/// Events looked at for one page; a page may be short, and its cursor goes on.
const SCAN_EVENTS_MAX: usize = 20_000;
const SCAN_PIECE: usize = 1_000;

/// What a look back into the log found.
pub(crate) struct Found<T> {
    pub(crate) items: Vec<T>,
    /// The position to go on before; none at the beginning of the log. Where the log was pruned there
    /// is one, and to go on before it is answered with where the rest is.
    pub(crate) next: Option<Seq>,
}

/// Looks back from `before` until `limit` items are found or enough was read.
pub(crate) fn back<T>(
    log: &Log,
    before: Option<Seq>,
    limit: usize,
    mut item: impl FnMut(&Recorded) -> Result<Option<T>, Problem>,
) -> Result<Found<T>, Problem> {
    let oldest = log.oldest();
    let mut before = before.unwrap_or(Seq(u64::MAX));
    let mut items = Vec::new();
    for _ in 0..SCAN_EVENTS_MAX / SCAN_PIECE {
        let events = log.read_back(before, SCAN_PIECE)?;
        for recorded in &events {
            before = recorded.seq();
            items.extend(item(recorded)?);
            if items.len() == limit {
                let next = (before > Seq(1)).then_some(before);
                return Ok(Found { items, next });
            }
        }
        if events.len() < SCAN_PIECE || before <= oldest {
            let next = (oldest > Seq(1)).then_some(oldest);
            return Ok(Found { items, next });
        }
    }
    let next = (before > Seq(1)).then_some(before);
    Ok(Found { items, next })
}
