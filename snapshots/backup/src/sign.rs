//! Signing objects: Ed25519 (RFC 8032) over the object's name and the blake3 hash of its bytes as
//! the target holds them. The signature is the object's last 64 bytes, so that an object and its
//! signature are there together or not at all. Whoever can write to the target but lacks the key
//! can take objects away, but can neither make nor change one.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use hindcast_model::Digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::error::BackupError;

/// What a signature of this crate is for; no other use of the key signs the same.
const CONTEXT: &[u8] = b"hindcast backup object 1\n";
const SIGNATURE_BYTES: usize = 64;

/// The public key of who signs the objects of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signer(Digest);

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Signer {
    type Err = <Digest as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Signer {
    /// Reads a file with the public key: 32 bytes, or 64 hexadecimal digits.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        Ok(Self(Digest(key_file(path)?)))
    }

    /// What was signed by it, without the signature.
    pub(crate) fn check(&self, name: &str, mut object: Vec<u8>) -> Result<Vec<u8>, BackupError> {
        let damaged = |what: &str| BackupError::damaged(name, what);
        let length = object.len().checked_sub(SIGNATURE_BYTES);
        let length = length.ok_or_else(|| damaged("it is too short to be signed"))?;
        let (content, signature) = object.split_at(length);
        let key = UnparsedPublicKey::new(&ED25519, self.0.0);
        key.verify(&message(name, content), signature)
            .map_err(|_| {
                damaged("it was not signed by the signer of this target, or was changed")
            })?;
        object.truncate(length);
        Ok(object)
    }
}

/// What signs objects.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {}", self.signer())
    }
}

impl SigningKey {
    /// Reads a file with the seed of the key: 32 random bytes, or 64 hexadecimal digits.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&key_file(path)?);
        let pair = pair.map_err(|error| BackupError::KeyFile {
            path: path.to_owned(),
            what: error.to_string(),
        })?;
        Ok(Self(Arc::new(pair)))
    }

    /// Its public key.
    #[must_use]
    pub fn signer(&self) -> Signer {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        Signer(Digest(bytes))
    }

    /// The object with its signature behind it.
    pub(crate) fn sign(&self, name: &str, mut object: Vec<u8>) -> Vec<u8> {
        let signature = self.0.sign(&message(name, &object));
        object.extend_from_slice(signature.as_ref());
        object
    }
}

fn key_file(path: &Path) -> Result<[u8; 32], BackupError> {
    hindcast_log::key_file(path).map_err(|error| BackupError::KeyFile {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

fn message(name: &str, content: &[u8]) -> Vec<u8> {
    let mut message = CONTEXT.to_vec();
    message.extend_from_slice(blake3::hash(content).as_bytes());
    message.extend_from_slice(name.as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]);
        SigningKey(Arc::new(pair.expect("32 bytes")))
    }

    #[test]
    fn what_was_signed_is_read_and_nothing_else() {
        let (mine, other) = (key(1), key(2));
        let object = mine.sign("a/b", b"content".to_vec());
        let read = |signer: Signer, name: &str, object: &[u8]| signer.check(name, object.to_vec());
        let found = read(mine.signer(), "a/b", &object).expect("it is signed");
        assert_eq!(found, b"content");
        assert!(read(other.signer(), "a/b", &object).is_err());
        assert!(read(mine.signer(), "a/c", &object).is_err());
        for at in 0..object.len() {
            let mut changed = object.clone();
            changed[at] ^= 1;
            assert!(read(mine.signer(), "a/b", &changed).is_err(), "{at}");
            assert!(read(mine.signer(), "a/b", &object[..at]).is_err(), "{at}");
        }
    }

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn the_public_key_is_that_of_the_seed() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("seed");
        std::fs::write(&file, seed).expect("written");
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let signer = SigningKey::read(&file).expect("read").signer();
        assert_eq!(signer.to_string(), public);
        assert_eq!(public.parse(), Ok(signer));
    }
}
