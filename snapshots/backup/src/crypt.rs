//! Sealing objects: XChaCha20-Poly1305 in the STREAM construction, so that a chunk can neither be
//! changed, moved, dropped nor cut off. The object's name is bound to what it holds.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `HCX1` |
//! | 4 | 8 | tag of the key: the first bytes of its blake3 hash |
//! | 12 | 19 | nonce; counter and last-chunk flag follow it in each chunk's nonce |
//! | 31 | | chunks: 1 MiB of text, the last one shorter, each with 16 bytes of authentication |

use std::fmt;
use std::path::Path;

use aead_stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::aead::Payload;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use serde::{Deserialize, Serialize};

use crate::error::BackupError;

const MAGIC: &[u8; 4] = b"HCX1";
const HEADER_BYTES: usize = 4 + 8 + NONCE_BYTES;
/// Random bytes of each object's nonce.
pub const NONCE_BYTES: usize = 19;
const CHUNK_BYTES: usize = 1 << 20;
const TAG_BYTES: usize = 16;

/// What tells keys apart without telling them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyTag(String);

impl fmt::Display for KeyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of an encrypted target.
#[derive(Clone)]
pub struct Key {
    cipher: XChaCha20Poly1305,
    tag: [u8; 8],
}

impl Key {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
        Self {
            cipher: XChaCha20Poly1305::new(bytes.into()),
            tag,
        }
    }

    /// Reads a key file: 32 bytes, or 64 hexadecimal digits.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let bytes = hindcast_log::key_file(path).map_err(|error| BackupError::KeyFile {
            path: path.to_owned(),
            what: error.to_string(),
        })?;
        Ok(Self::new(&bytes))
    }

    /// What it is called.
    #[must_use]
    pub fn tag(&self) -> KeyTag {
        tag_text(&self.tag)
    }

    /// Seals an object. A nonce must never be used twice with one key: random ones do.
    #[must_use]
    pub fn seal(&self, name: &str, nonce: [u8; NONCE_BYTES], text: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(
            HEADER_BYTES + text.len() + (text.len() / CHUNK_BYTES + 1) * TAG_BYTES,
        );
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&self.tag);
        sealed.extend_from_slice(&nonce);
        let mut stream = EncryptorBE32::from_aead(self.cipher.clone(), &nonce.into());
        let aad = name.as_bytes();
        let mut rest = text;
        while rest.len() > CHUNK_BYTES {
            let (msg, behind) = rest.split_at(CHUNK_BYTES);
            let chunk = stream.encrypt_next(Payload { msg, aad });
            sealed.extend(chunk.expect("fewer than 2^32 chunks"));
            rest = behind;
        }
        let chunk = stream.encrypt_last(Payload { msg: rest, aad });
        sealed.extend(chunk.expect("fewer than 2^32 chunks"));
        sealed
    }

    /// Reads what `seal` made.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, BackupError> {
        let damaged = |what: &str| BackupError::damaged(name, what);
        let header = sealed.get(..HEADER_BYTES);
        let header = header.filter(|header| header[..4] == *MAGIC);
        let header = header.ok_or_else(|| damaged("it is not sealed, or cut short"))?;
        if header[4..12] != self.tag {
            let mut wanted = [0; 8];
            wanted.copy_from_slice(&header[4..12]);
            return Err(BackupError::WrongKey {
                wanted: tag_text(&wanted),
                given: self.tag(),
            });
        }
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&header[12..]);
        let mut stream = DecryptorBE32::from_aead(self.cipher.clone(), &nonce.into());
        let aad = name.as_bytes();
        let mut text = Vec::with_capacity(sealed.len());
        let mut rest = &sealed[HEADER_BYTES..];
        let refused = |_| damaged("its seal does not hold");
        while rest.len() > CHUNK_BYTES + TAG_BYTES {
            let (msg, behind) = rest.split_at(CHUNK_BYTES + TAG_BYTES);
            text.extend(stream.decrypt_next(Payload { msg, aad }).map_err(refused)?);
            rest = behind;
        }
        text.extend(
            stream
                .decrypt_last(Payload { msg: rest, aad })
                .map_err(refused)?,
        );
        Ok(text)
    }
}

fn tag_text(tag: &[u8; 8]) -> KeyTag {
    KeyTag(tag.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_key_and_name_only() {
        let (key, other) = (Key::new(&[1; 32]), Key::new(&[2; 32]));
        for bytes in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7] {
            let text: Vec<u8> = (0..=250).cycle().take(bytes).collect();
            let sealed = key.seal("a/b", [9; NONCE_BYTES], &text);
            assert_eq!(key.open("a/b", &sealed).expect("opens"), text);
            assert!(matches!(
                key.open("a/c", &sealed),
                Err(BackupError::Damaged { .. })
            ));
            let refused = other.open("a/b", &sealed);
            assert!(matches!(refused, Err(BackupError::WrongKey { .. })));
            for cut in [1, 17, sealed.len() / 2] {
                let cut = &sealed[..sealed.len() - cut.min(sealed.len())];
                assert!(key.open("a/b", cut).is_err());
            }
            let mut flipped = sealed.clone();
            let last = flipped.len() - 1;
            flipped[last] ^= 1;
            assert!(key.open("a/b", &flipped).is_err());
        }
    }

    #[test]
    fn chunks_that_change_places_are_found() {
        let key = Key::new(&[1; 32]);
        let sealed = key.seal("a", [9; NONCE_BYTES], &vec![0; 3 * CHUNK_BYTES]);
        let chunk = CHUNK_BYTES + TAG_BYTES;
        let mut moved = sealed.clone();
        moved[HEADER_BYTES..][..chunk].copy_from_slice(&sealed[HEADER_BYTES + chunk..][..chunk]);
        assert!(key.open("a", &moved).is_err());
        assert!(key.open("a", &sealed[..HEADER_BYTES + 2 * chunk]).is_err());
    }

    #[test]
    fn key_files_are_bytes_or_digits() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        fs::write(&path, [7; 32]).expect("written");
        let tag = Key::read(&path).expect("a key").tag();
        fs::write(&path, format!("{}\n", "07".repeat(32))).expect("written");
        assert_eq!(Key::read(&path).expect("a key").tag(), tag);
        fs::write(&path, "short").expect("written");
        assert!(matches!(Key::read(&path), Err(BackupError::KeyFile { .. })));
    }
}
