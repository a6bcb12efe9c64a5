//! The results in memory: a map that never holds more than its bounds. Pure; the caller says what
//! time it is.

use std::collections::BTreeMap;

use hindcast_model::UnixMicros;

use super::tags::{Selector, Tags};
use super::{Kept, ResultKey};

/// What may be held. Times are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    /// 0 sets no limit.
    pub(super) entries_max: u64,
    /// Since it came in.
    pub(super) age_max: u64,
    /// Since it was used.
    pub(super) idle_max: u64,
}

pub(super) struct Entry {
    pub(super) kept: Kept,
    pub(super) tags: Tags,
    pub(super) bytes: u64,
    /// When the result was computed, by the wall clock.
    origin: UnixMicros,
    made: u64,
    used: u64,
    /// Its place in the order of use.
    place: i64,
    pub(super) hits: u64,
}

/// How many went, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) by_size: u64,
    pub(super) by_age: u64,
}

pub(super) enum Found {
    Nothing,
    /// It was too old, and went.
    Old,
    Here(Kept),
}

/// Held results, by key and by use.
#[derive(Default)]
pub(super) struct Memory {
    by_key: BTreeMap<ResultKey, Entry>,
    by_use: BTreeMap<i64, ResultKey>,
    /// The place of what was used last.
    newest: i64,
    /// The place of what goes first.
    oldest: i64,
    bytes: u64,
}

impl Memory {
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.by_key.len() as u64
    }

    pub(super) fn contains(&self, key: ResultKey) -> bool {
        self.by_key.contains_key(&key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&ResultKey, &Entry)> {
        self.by_key.iter()
    }

    pub(super) fn find(&mut self, key: ResultKey, now: u64, bounds: &Bounds) -> Found {
        let Some(entry) = self.by_key.get_mut(&key) else {
            return Found::Nothing;
        };
        if is_old(entry, now, bounds) {
            self.remove(key);
            return Found::Old;
        }
        self.by_use.remove(&entry.place);
        self.newest += 1;
        entry.place = self.newest;
        self.by_use.insert(entry.place, key);
        entry.used = now;
        entry.hits += 1;
        Found::Here(entry.kept.clone())
    }

    /// Takes a result in, as the one used last. What was used longest ago makes room.
    pub(super) fn insert(
        &mut self,
        key: ResultKey,
        (tags, kept, origin): (Tags, Kept, UnixMicros),
        now: u64,
        bounds: &Bounds,
    ) -> Gone {
        let bytes = kept.bytes();
        if bytes > bounds.bytes_max {
            return Gone::default();
        }
        self.remove(key);
        let gone = self.trim(bytes, now, bounds);
        self.newest += 1;
        self.put(self.newest, (key, bytes), (tags, kept, origin), now);
        gone
    }

    /// Takes a result in as the one that goes first, if there is room for it. `false` when there
    /// is none, or it is here.
    pub(super) fn add(
        &mut self,
        key: ResultKey,
        (tags, kept, origin): (Tags, Kept, UnixMicros),
        now: u64,
        bounds: &Bounds,
    ) -> bool {
        let bytes = kept.bytes();
        if self.contains(key) || !self.has_room(bytes, bounds) {
            return false;
        }
        self.oldest -= 1;
        self.put(self.oldest, (key, bytes), (tags, kept, origin), now);
        true
    }

    fn put(
        &mut self,
        place: i64,
        (key, bytes): (ResultKey, u64),
        (tags, kept, origin): (Tags, Kept, UnixMicros),
        now: u64,
    ) {
        self.by_use.insert(place, key);
        self.bytes += bytes;
        let entry = Entry {
            kept,
            tags,
            bytes,
            origin,
            made: now,
            used: now,
            place,
            hits: 0,
        };
        self.by_key.insert(key, entry);
    }

    /// Whether an entry of so many bytes fits beside what is here.
    pub(super) fn has_room(&self, bytes: u64, bounds: &Bounds) -> bool {
        let entries_max = match bounds.entries_max {
            0 => u64::MAX,
            limit => limit,
        };
        self.bytes.saturating_add(bytes) <= bounds.bytes_max
            && self.len() + u64::from(bytes > 0) <= entries_max
    }

    /// Removes from the end of the order of use what is old there, and whatever has to go so that
    /// an entry of `bytes` fits; with 0, so that the bounds hold.
    pub(super) fn trim(&mut self, bytes: u64, now: u64, bounds: &Bounds) -> Gone {
        let mut gone = Gone::default();
        while let Some((_, oldest)) = self.by_use.first_key_value() {
            let oldest = *oldest;
            let full = !self.has_room(bytes, bounds);
            let old = self
                .by_key
                .get(&oldest)
                .is_some_and(|entry| is_old(entry, now, bounds));
            if !full && !old {
                break;
            }
            self.remove(oldest);
            match old {
                true => gone.by_age += 1,
                false => gone.by_size += 1,
            }
        }
        gone
    }

    pub(super) fn remove(&mut self, key: ResultKey) -> bool {
        let Some(gone) = self.by_key.remove(&key) else {
            return false;
        };
        self.by_use.remove(&gone.place);
        self.bytes -= gone.bytes;
        true
    }

    /// Removes a result that was computed by `until`.
    pub(super) fn remove_until(&mut self, key: ResultKey, until: UnixMicros) -> bool {
        let old = |entry: &Entry| entry.origin <= until;
        self.by_key.get(&key).is_some_and(old) && self.remove(key)
    }

    /// Keys of what is meant, the one used longest ago first.
    pub(super) fn select(&self, selector: &Selector) -> Vec<ResultKey> {
        let keys = self.by_use.values().filter(|key| {
            let entry = self.by_key.get(key);
            entry.is_some_and(|entry| selector.holds(**key, &entry.tags))
        });
        keys.copied().collect()
    }

    /// Forgets everything, and says how much that was.
    pub(super) fn clear(&mut self) -> u64 {
        let gone = self.len();
        self.by_key.clear();
        self.by_use.clear();
        self.bytes = 0;
        gone
    }
}

fn is_old(entry: &Entry, now: u64, bounds: &Bounds) -> bool {
    let since = |then: u64| now.saturating_sub(then);
    since(entry.made) > bounds.age_max || since(entry.used) > bounds.idle_max
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hindcast_model::{Digest, RunId};
    use uuid::Uuid;

    use super::*;
    use crate::operation::{Computed, Json};

    fn key(n: u8) -> ResultKey {
        Digest([n; 32])
    }

    fn what(n: u8, text: usize) -> (Tags, Kept, UnixMicros) {
        let computed = Computed {
            json: Json::of(format!("\"{}\"", "x".repeat(text))).unwrap(),
            hash: Digest::default(),
            schema: 1,
            algorithm_version: "fault/1".to_owned(),
        };
        let kept = Kept {
            original: RunId(Uuid::from_u128(u128::from(n))),
            computed: Arc::new(computed),
        };
        let tags = Tags {
            operation: "test.fault",
            algorithm: "fault/1".to_owned(),
            dataset: None,
            experiment: None,
            shelved: true,
        };
        (tags, kept, UnixMicros(u64::from(n)))
    }

    const BOUNDS: Bounds = Bounds {
        bytes_max: 5_000,
        entries_max: 6,
        age_max: 60,
        idle_max: 25,
    };

    /// What a map does that keeps its entries in a list, the one used longest ago first.
    #[derive(Default)]
    struct Naive(Vec<(u8, u64, u64, u64)>);

    impl Naive {
        fn bytes(&self) -> u64 {
            self.0.iter().map(|(_, bytes, ..)| bytes).sum()
        }

        fn find(&mut self, n: u8, now: u64) -> bool {
            let Some(at) = self.0.iter().position(|(key, ..)| *key == n) else {
                return false;
            };
            let (_, bytes, made, used) = self.0.remove(at);
            if now - made > BOUNDS.age_max || now - used > BOUNDS.idle_max {
                return false;
            }
            self.0.push((n, bytes, made, now));
            true
        }

        fn insert(&mut self, n: u8, bytes: u64, now: u64) {
            if bytes > BOUNDS.bytes_max {
                return;
            }
            self.0.retain(|(key, ..)| *key != n);
            while let Some((_, _, made, used)) = self.0.first() {
                let old = now - made > BOUNDS.age_max || now - used > BOUNDS.idle_max;
                let full = self.bytes() + bytes > BOUNDS.bytes_max
                    || self.0.len() as u64 + 1 > BOUNDS.entries_max;
                if !old && !full {
                    break;
                }
                self.0.remove(0);
            }
            self.0.push((n, bytes, now, now));
        }
    }

    #[test]
    fn it_does_what_a_naive_map_does_and_is_never_over_its_bounds() {
        for seed in 0..40_u64 {
            let (mut memory, mut naive) = (Memory::default(), Naive::default());
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
            let mut draw = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut now = 0;
            for _ in 0..400 {
                now += draw(4);
                let n = u8::try_from(draw(12)).unwrap();
                match draw(10) {
                    0..4 => {
                        let text = usize::try_from(draw(1_500)).unwrap();
                        memory.insert(key(n), what(n, text), now, &BOUNDS);
                        naive.insert(n, what(n, text).1.bytes(), now);
                    }
                    4..9 => {
                        let found = matches!(memory.find(key(n), now, &BOUNDS), Found::Here(_));
                        assert_eq!(found, naive.find(n, now), "seed {seed}");
                    }
                    _ => {
                        memory.remove(key(n));
                        naive.0.retain(|(known, ..)| *known != n);
                    }
                }
                assert!(memory.bytes() <= BOUNDS.bytes_max && memory.len() <= BOUNDS.entries_max);
                assert_eq!(memory.bytes(), naive.bytes(), "seed {seed}");
                assert_eq!(memory.len(), naive.0.len() as u64);
                assert_eq!(memory.by_use.len(), memory.by_key.len());
            }
        }
    }

    #[test]
    fn what_is_warmed_takes_no_room_from_others_and_goes_first() {
        let mut memory = Memory::default();
        let bounds = Bounds {
            entries_max: 3,
            ..BOUNDS
        };
        memory.insert(key(1), what(1, 10), 0, &bounds);
        assert!(memory.add(key(2), what(2, 10), 0, &bounds));
        assert!(memory.add(key(3), what(3, 10), 0, &bounds));
        assert!(!memory.add(key(4), what(4, 10), 0, &bounds));
        assert!(!memory.add(key(1), what(1, 10), 0, &bounds));
        // The last one that was warmed is the least of them.
        let gone = memory.insert(key(5), what(5, 10), 0, &bounds);
        assert_eq!((gone.by_size, gone.by_age), (1, 0));
        let held = |n| memory.contains(key(n));
        assert_eq!([1, 2, 3, 5].map(held), [true, true, false, true]);
    }

    #[test]
    fn what_was_computed_later_stays() {
        let mut memory = Memory::default();
        memory.insert(key(1), what(1, 10), 0, &BOUNDS);
        memory.insert(key(9), what(9, 10), 0, &BOUNDS);
        let all = Selector {
            all: true,
            ..Selector::default()
        };
        assert_eq!(memory.select(&all), [key(1), key(9)]);
        assert!(memory.remove_until(key(1), UnixMicros(5)));
        assert!(!memory.remove_until(key(9), UnixMicros(5)));
        assert_eq!(memory.clear(), 1);
        assert_eq!((memory.bytes(), memory.len()), (0, 0));
    }
}
