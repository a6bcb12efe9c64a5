//! The one source of entropy: ids, the seeds of requests that brought none, data keys and nonces.

use std::cell::RefCell;

use hindcast_model::{BackupId, EventId, ExperimentId, RunId};
use uuid::Uuid;

/// Random words that a thread draws at once.
const POOLED: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

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
/// They are drawn from the operating system, many at once: a system call for each would be felt.
#[must_use]
pub fn random() -> u64 {
    POOL.with_borrow_mut(|pool| {
        if pool.is_empty() {
            let drawn = bytes::<{ POOLED * 8 }>();
            let (words, _) = drawn.as_chunks::<8>();
            pool.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        }
        pool.pop().expect("it was filled")
    })
}

/// Random bytes of the operating system: a data key, or a nonce.
///
/// # Panics
/// The operating system has none, which is no system to make keys on.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
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
