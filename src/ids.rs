//! The one source of entropy: ids, the seeds of requests that brought none, data keys and nonces.

use hindcast_model::{BackupId, EventId, ExperimentId, RunId};
use uuid::Uuid;

/// Seeds stay below this, so that every JSON reader holds them exactly.
pub const SEED_LIMIT: u64 = 1 << 53;

/// An id that sorts by the time of its making.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that mints ids")]
pub fn uuid() -> Uuid {
    Uuid::now_v7()
}

#[must_use]
pub fn run() -> RunId {
    RunId(uuid())
}

#[must_use]
pub fn experiment() -> ExperimentId {
    ExperimentId(uuid())
}

#[must_use]
pub fn backup() -> BackupId {
    BackupId(uuid())
}

#[must_use]
pub fn event() -> EventId {
    EventId(uuid())
}

/// A seed for a request that names none.
#[must_use]
pub fn seed() -> u64 {
    random() % SEED_LIMIT
}

/// Sixty-four random bits: half of a trace id, or a span id.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that draws random bits"
)]
pub fn random() -> u64 {
    // A version 4 id has 122 random bits; folding its halves leaves no fixed one.
    let (high, low) = Uuid::new_v4().as_u64_pair();
    high.rotate_left(32) ^ low
}

/// Random bytes of the operating system: a data key, or a nonce.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    for piece in bytes.chunks_mut(8) {
        piece.copy_from_slice(&random().to_le_bytes()[..piece.len()]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_seeds_are_exact_in_json() {
        let first = run();
        assert!(run() > first);
        let seeds: Vec<u64> = (0..64).map(|_| seed()).collect();
        assert!(seeds.iter().all(|seed| *seed < SEED_LIMIT));
        assert!(seeds.windows(2).any(|pair| pair[0] != pair[1]));
        let (one, two) = (bytes::<20>(), bytes::<20>());
        assert!(one != two && one[16..] != [0; 4]);
    }
}
