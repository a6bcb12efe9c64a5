//! Keys that were proved already, so that a request costs no hash. What is kept is a keyed hash of
//! the header under a secret of this process, never the key.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::Principal;
use crate::ids;

/// Headers remembered at once; the one remembered longest goes first.
const PROVED_MAX: usize = 1_024;
/// Longer headers are no key.
const HEADER_BYTES_MAX: usize = 256;

pub(super) struct Proved {
    secret: [u8; 32],
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    principals: BTreeMap<[u8; 32], Principal>,
    order: VecDeque<[u8; 32]>,
    /// Rises when everything is forgotten: a proof that began before is not remembered.
    generation: u64,
}

impl Proved {
    pub(super) fn new() -> Self {
        Self {
            secret: ids::bytes(),
            known: Mutex::default(),
        }
    }

    fn mac(&self, header: &[u8]) -> Option<[u8; 32]> {
        (header.len() <= HEADER_BYTES_MAX)
            .then(|| *blake3::keyed_hash(&self.secret, header).as_bytes())
    }

    pub(super) fn find(&self, header: &[u8]) -> Option<Principal> {
        let mac = self.mac(header)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.principals.get(&mac).cloned()
    }

    pub(super) fn generation(&self) -> u64 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.generation
    }

    pub(super) fn keep(&self, generation: u64, header: &[u8], principal: Principal) {
        let Some(mac) = self.mac(header) else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation != generation || known.principals.insert(mac, principal).is_some() {
            return;
        }
        known.order.push_back(mac);
        if known.order.len() > PROVED_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.principals.remove(&oldest);
        }
    }

    pub(super) fn clear(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.principals.clear();
        known.order.clear();
        known.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proved_is_bounded_and_forgotten_as_a_whole() {
        let proved = Proved::new();
        for n in 0..=PROVED_MAX {
            let generation = proved.generation();
            proved.keep(generation, &n.to_le_bytes(), Principal::anonymous());
        }
        assert_eq!(proved.find(&0_usize.to_le_bytes()), None);
        assert!(proved.find(&PROVED_MAX.to_le_bytes()).is_some());
        let before = proved.generation();
        proved.clear();
        assert_eq!(proved.find(&PROVED_MAX.to_le_bytes()), None);
        proved.keep(before, b"late", Principal::anonymous());
        assert_eq!(proved.find(b"late"), None, "its key may be revoked since");
    }
}
