//! What was invalidated, as the log tells it. It outlives the process, so that neither a crash before
//! an entry on disk was removed nor a warming brings back what somebody wanted gone.

use hindcast_log::{Log, LogError, Pointer};
use hindcast_model::event::{CacheVerb, Event};
use hindcast_model::{Stream, UnixMicros};
use serde::Deserialize;

use super::{ResultKey, Selector};

/// Invalidations that are told apart. When there are more, everything older is gone.
const KNOWN_MAX: usize = 256;
/// Wishes of the cache that are read when the process begins.
const READ_MAX: usize = 1_024;

/// What is recorded of an invalidation of results.
#[derive(Deserialize)]
struct Detail {
    select: Selector,
}

/// The invalidations that are known, oldest first, no two of the same results.
#[derive(Debug, Default)]
pub(super) struct Invalidations(Vec<(Selector, UnixMicros)>);

impl Invalidations {
    /// Those that the log holds.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn read(log: &Log) -> Result<Self, LogError> {
        let events = log.read_stream_newest(Stream::system("cache"), READ_MAX)?;
        let mut known = Self::default();
        if let Some(first) = events.first().filter(|_| events.len() == READ_MAX) {
            known.add(everything(), first.context.at);
        }
        for recorded in &events {
            if let Some(Event::CacheCommanded(wish)) = recorded.event()
                && (wish.verb, &*wish.cache) == (CacheVerb::Invalidate, "results")
            {
                // What an older server wrote and nobody understands here means the worst.
                let select = serde_json::from_str::<Detail>(&wish.detail);
                let select = select.map_or_else(|_| everything(), |detail| detail.select);
                known.add(select, recorded.context.at);
            }
        }
        Ok(known)
    }

    /// Whatever was computed by `until`.
    pub(super) fn everything(until: UnixMicros) -> Self {
        Self(vec![(everything(), until)])
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn extend(&mut self, others: Self) {
        for (selector, until) in others.0 {
            self.add(selector, until);
        }
    }

    /// What `selector` means is gone if it was computed by `until`.
    pub(super) fn add(&mut self, selector: Selector, until: UnixMicros) {
        self.0
            .retain(|(known, at)| *at > until || !(selector.all || *known == selector));
        self.0.push((selector, until));
        if self.0.len() > KNOWN_MAX {
            let at = self.0.drain(..2).map(|(_, at)| at).max();
            self.0.insert(0, (everything(), at.unwrap_or(until)));
        }
    }

    /// Whether a result was invalidated that is found by this pointer.
    pub(super) fn cover(&self, key: ResultKey, pointer: &Pointer) -> bool {
        let mut known = self.0.iter();
        known.any(|(selector, until)| pointer.at <= *until && selector.points(key, pointer))
    }
}

fn everything() -> Selector {
    Selector {
        all: true,
        ..Selector::default()
    }
}

#[cfg(test)]
mod tests {
    use hindcast_model::{Digest, RunId};

    use super::*;

    fn pointer(algorithm: &str, at: u64) -> Pointer {
        Pointer {
            at: UnixMicros(at),
            run: RunId(uuid::Uuid::nil()),
            operation: "causal.discover".to_owned(),
            algorithm: algorithm.to_owned(),
            dataset: None,
            experiment: None,
        }
    }

    fn of(algorithm: &str) -> Selector {
        Selector {
            algorithm: Some(algorithm.to_owned()),
            ..Selector::default()
        }
    }

    #[test]
    fn what_was_computed_later_stays_and_a_second_wish_takes_the_place_of_the_first() {
        let mut known = Invalidations::default();
        let gone = |known: &Invalidations, algorithm: &str, at| {
            known.cover(Digest([0; 32]), &pointer(algorithm, at))
        };
        known.add(of("boss"), UnixMicros(10));
        assert!(gone(&known, "boss/3", 10) && !gone(&known, "boss/3", 11));
        assert!(!gone(&known, "pc/1", 10));
        known.add(of("boss"), UnixMicros(20));
        assert!(gone(&known, "boss/3", 20) && known.0.len() == 1);
        known.add(everything(), UnixMicros(30));
        assert!(gone(&known, "pc/1", 30) && known.0.len() == 1);
    }

    #[test]
    fn they_are_bounded_and_what_is_forgotten_is_gone_whatever_it_was() {
        let mut known = Invalidations::default();
        for n in 0..1_000_u64 {
            known.add(of(&format!("a{n}")), UnixMicros(n));
        }
        assert!(known.0.len() <= KNOWN_MAX, "{}", known.0.len());
        for n in 0..1_000_u64 {
            let one = pointer(&format!("a{n}"), n);
            assert!(known.cover(Digest([0; 32]), &one), "{n}");
        }
        assert!(!known.cover(Digest([0; 32]), &pointer("b", 999)));
    }
}
