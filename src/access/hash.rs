//! What is kept of a key's secret: an argon2id hash with its salt and cost.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use super::token::{from_hex, hex};
use crate::ids;

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The most that a file may ask for: a wrong one must not take the machine's memory.
const MEMORY_KIB_MAX: u32 = 262_144;
const PASSES_MAX: u32 = 16;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// The hash of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretHash {
    algorithm: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    hash: String,
}

impl SecretHash {
    /// Hashes a secret with a fresh salt. Takes tens of milliseconds and 19 MiB.
    #[must_use]
    pub(super) fn of(secret: &str) -> Self {
        let salt: [u8; SALT_BYTES] = ids::bytes();
        let hash = derive((MEMORY_KIB, PASSES, LANES), secret, &salt);
        Self {
            algorithm: "argon2id".to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: hex(&salt),
            hash: hex(hash
                .expect("the cost is within what argon2 takes")
                .as_bytes()),
        }
    }

    /// Whether it is the hash of this secret. The comparison takes the same time whatever differs.
    pub(super) fn is_of(&self, secret: &str) -> bool {
        let salt = from_hex::<SALT_BYTES>(&self.salt);
        let kept = from_hex::<HASH_BYTES>(&self.hash).map(blake3::Hash::from_bytes);
        let (Some(salt), Some(kept)) = (salt, kept) else {
            return false;
        };
        let cost = (self.memory_kib, self.passes, self.lanes);
        // Equality of blake3's hashes is constant in time.
        derive(cost, secret, &salt) == Some(kept)
    }

    /// What is wrong with it, if it cannot have come from here.
    pub(super) fn complaint(&self) -> Option<String> {
        if self.algorithm != "argon2id" {
            return Some(format!("the algorithm {} is not argon2id", self.algorithm));
        }
        if self.memory_kib > MEMORY_KIB_MAX || self.passes > PASSES_MAX || self.lanes != LANES {
            return Some("the cost of the hash is out of range".to_owned());
        }
        let whole = from_hex::<SALT_BYTES>(&self.salt).is_some()
            && from_hex::<HASH_BYTES>(&self.hash).is_some();
        (!whole).then(|| "the salt or the hash is not hexadecimal".to_owned())
    }
}

fn derive(
    (memory, passes, lanes): (u32, u32, u32),
    secret: &str,
    salt: &[u8],
) -> Option<blake3::Hash> {
    let params = Params::new(memory, passes, lanes, Some(HASH_BYTES)).ok()?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut out = [0; HASH_BYTES];
    argon
        .hash_password_into(secret.as_bytes(), salt, &mut out)
        .ok()?;
    Some(blake3::Hash::from_bytes(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_itself_fits() {
        let hash = SecretHash::of("secret");
        assert!(hash.is_of("secret"));
        assert!(!hash.is_of("Secret"));
        assert_ne!(hash, SecretHash::of("secret"), "salted");
        assert_eq!(hash.complaint(), None);
        let greedy = SecretHash {
            memory_kib: 1 << 30,
            ..hash.clone()
        };
        assert!(greedy.complaint().is_some());
        let cut = SecretHash {
            salt: "00".to_owned(),
            ..hash
        };
        assert!(cut.complaint().is_some() && !cut.is_of("secret"));
    }
}
