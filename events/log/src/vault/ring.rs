//! The keys that are here, and the numbers that were given out.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_model::KeyId;

use super::VaultError;
use super::key::Key;

/// What a number is derived from a key for.
const NUMBER_CONTEXT: &str = "hindcast 2026 number of a data key";
/// Below are 0, which stands for no key, and those that were counted up before numbers were drawn.
const NUMBER_MIN: u32 = 1 << 16;

#[derive(Default)]
pub(super) struct Ring {
    pub(super) keys: BTreeMap<KeyId, Key>,
    /// The key that a subject's data are sealed under.
    pub(super) subjects: BTreeMap<String, KeyId>,
    /// The key of everything that is not one subject's.
    pub(super) common: Option<KeyId>,
    /// Numbers that were used, whether or not the key is still here.
    pub(super) used: BTreeSet<KeyId>,
    /// Keys whose files are there and cannot be read.
    pub(super) damaged: BTreeSet<KeyId>,
}

impl Ring {
    pub(super) fn insert(&mut self, number: KeyId, key: Key) {
        match &key.subject {
            Some(subject) => {
                self.subjects.insert(subject.clone(), number);
            }
            None => self.common = Some(self.common.map_or(number, |first| first.min(number))),
        }
        self.used.insert(number);
        self.keys.insert(number, key);
    }

    /// Why there is no such key to use.
    pub(super) fn missing(&self, key: KeyId) -> VaultError {
        match self.damaged.contains(&key) {
            true => VaultError::Damaged(key),
            false => VaultError::NoKey(key),
        }
    }

    pub(super) fn forget(&mut self, key: KeyId) {
        self.used.insert(key);
        self.keys.remove(&key);
        self.damaged.remove(&key);
        self.subjects.retain(|_, of| *of != key);
        self.common = self.common.filter(|of| *of != key);
    }

    /// A number for a key of these bytes. It follows from them and not from the keys that are here:
    /// the log may name others, which are kept elsewhere and may come back.
    pub(super) fn number(&self, bytes: &[u8; 32]) -> KeyId {
        let hash = blake3::derive_key(NUMBER_CONTEXT, bytes);
        let mut number = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
        while number < NUMBER_MIN || self.used.contains(&KeyId(number)) {
            number = number.wrapping_add(1);
        }
        KeyId(number)
    }
}
