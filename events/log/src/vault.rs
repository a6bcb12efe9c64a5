//! Data keys: payloads sealed under a key are unreadable once the key is gone, though the log and
//! its hash chain stay whole. XChaCha20-Poly1305; the key's id is bound to what it seals. Payloads
//! go into the log and come out of it here, sealed or not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use chacha20poly1305::aead::{Aead, Payload as Sealing};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hindcast_model::limits::INLINE_BYTES_MAX;
use hindcast_model::{KeyId, Payload};

use crate::blobs::{BlobError, Blobs, Pinned};

/// What can be wrong with a sealed payload or its key.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The payload was redacted, or the key is kept elsewhere.
    #[error("there is no data key {}", .0.0)]
    NoKey(KeyId),
    #[error("the payload was not sealed under data key {}, or was changed", .0.0)]
    Refused(KeyId),
    #[error("data keys: {0}")]
    Io(#[from] io::Error),
}

/// Why a payload cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error(transparent)]
    Sealed(#[from] VaultError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("the payload is not UTF-8")]
    NotText,
}

/// The data keys of one data directory.
pub struct Vault {
    dir: PathBuf,
    keys: RwLock<BTreeMap<KeyId, XChaCha20Poly1305>>,
}

fn file_name(key: KeyId) -> String {
    format!("{:010}.key", key.0)
}

impl Vault {
    /// Reads the keys under `data_dir`; there may be none.
    pub fn open(data_dir: &Path) -> Result<Self, VaultError> {
        let dir = data_dir.join("keys");
        let mut keys = BTreeMap::new();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".key")?.parse().ok());
            let Some(number) = number else { continue };
            let bytes: [u8; 32] = fs::read(entry.path())?
                .try_into()
                .map_err(|_| io::Error::other(format!("key {number} has not 32 bytes")))?;
            keys.insert(KeyId(number), XChaCha20Poly1305::new(&bytes.into()));
        }
        Ok(Self {
            dir,
            keys: RwLock::new(keys),
        })
    }

    /// Whether the key is here.
    #[must_use]
    pub fn has(&self, key: KeyId) -> bool {
        self.keys
            .read()
            .expect("no holder panics")
            .contains_key(&key)
    }

    /// Adds a key of the caller's entropy and returns once it is on the medium, so that nothing is
    /// sealed under a key that a crash could lose. A key that is here already is kept.
    pub fn add(&self, key: KeyId, bytes: [u8; 32]) -> Result<(), VaultError> {
        let mut keys = self.keys.write().expect("no holder panics");
        if keys.contains_key(&key) {
            return Ok(());
        }
        fs::create_dir_all(&self.dir)?;
        let path = self.dir.join(file_name(key));
        let half = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&half)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&half, &path)?;
        File::open(&self.dir)?.sync_all()?;
        if let Some(parent) = self.dir.parent() {
            File::open(parent)?.sync_all()?;
        }
        keys.insert(key, XChaCha20Poly1305::new(&bytes.into()));
        Ok(())
    }

    /// Seals bytes under a key. A nonce must never be used twice with one key: twenty-four random
    /// bytes do.
    pub fn seal(&self, key: KeyId, nonce: [u8; 24], text: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.with(key, |cipher| {
            let sealing = Sealing {
                msg: text,
                aad: &key.0.to_le_bytes(),
            };
            cipher.encrypt(&nonce.into(), sealing)
        })
    }

    /// Reads what `seal` made.
    pub fn unseal(
        &self,
        key: KeyId,
        nonce: [u8; 24],
        sealed: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        self.with(key, |cipher| {
            let sealing = Sealing {
                msg: sealed,
                aad: &key.0.to_le_bytes(),
            };
            cipher.decrypt(&nonce.into(), sealing)
        })
    }

    /// Text as the log holds it: large text becomes a blob, on the medium when this returns. With
    /// a key and a nonce it is sealed, and the key belongs into the header of the record.
    pub fn keep(
        &self,
        blobs: &Blobs,
        seal: Option<(KeyId, [u8; 24])>,
        text: String,
    ) -> Result<(Payload, Option<Pinned>), PayloadError> {
        let inline = text.len() <= INLINE_BYTES_MAX;
        let content = match seal {
            None if inline => return Ok((Payload::Inline(text), None)),
            None => text.into_bytes(),
            Some((key, nonce)) => {
                let ciphertext = self.seal(key, nonce, text.as_bytes())?;
                if inline {
                    return Ok((Payload::Sealed { nonce, ciphertext }, None));
                }
                [&nonce[..], &ciphertext].concat()
            }
        };
        let pinned = blobs.put(&content)?;
        let payload = Payload::Blob {
            digest: pinned.digest(),
            bytes: content.len() as u64,
        };
        Ok((payload, Some(pinned)))
    }

    /// The text of a payload, wherever it stands. `key` is that of the record's header.
    pub fn text<'a>(
        &self,
        blobs: &Blobs,
        key: KeyId,
        payload: &'a Payload,
    ) -> Result<Cow<'a, str>, PayloadError> {
        let bytes = match payload {
            Payload::Inline(text) => return Ok(Cow::Borrowed(text)),
            Payload::Blob { digest, .. } if key == KeyId(0) => blobs.get(*digest)?,
            Payload::Blob { .. } if !self.has(key) => return Err(VaultError::NoKey(key).into()),
            Payload::Blob { digest, .. } => {
                let content = blobs.get(*digest)?;
                let parts = content.split_first_chunk();
                let (nonce, ciphertext) = parts.ok_or(VaultError::Refused(key))?;
                self.unseal(key, *nonce, ciphertext)?
            }
            Payload::Sealed { nonce, ciphertext } => self.unseal(key, *nonce, ciphertext)?,
        };
        String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| PayloadError::NotText)
    }

    fn with(
        &self,
        key: KeyId,
        act: impl FnOnce(&XChaCha20Poly1305) -> Result<Vec<u8>, chacha20poly1305::aead::Error>,
    ) -> Result<Vec<u8>, VaultError> {
        let keys = self.keys.read().expect("no holder panics");
        let cipher = keys.get(&key).ok_or(VaultError::NoKey(key))?;
        act(cipher).map_err(|_| VaultError::Refused(key))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn sealed_payload_needs_its_own_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::open(dir.path()).expect("opens");
        let (one, two) = (KeyId(1), KeyId(2));
        assert!(matches!(
            vault.seal(one, [0; 24], b"x"),
            Err(VaultError::NoKey(KeyId(1)))
        ));
        vault.add(one, [7; 32]).expect("added");
        vault.add(two, [8; 32]).expect("added");
        let nonce = [3; 24];
        let ciphertext = vault.seal(one, nonce, b"{\"x\":1}").expect("sealed");
        let again = Vault::open(dir.path()).expect("opens");
        let text = again.unseal(one, nonce, &ciphertext).expect("read");
        assert_eq!(text, b"{\"x\":1}");
        assert!(matches!(
            again.unseal(two, nonce, &ciphertext),
            Err(VaultError::Refused(_))
        ));
        assert!(again.unseal(one, nonce, &ciphertext[1..]).is_err());
        fs::remove_file(dir.path().join("keys").join(file_name(one))).expect("removed");
        let without = Vault::open(dir.path()).expect("opens");
        assert!(matches!(
            without.unseal(one, nonce, &ciphertext),
            Err(VaultError::NoKey(_))
        ));
        assert!(without.has(two) && !without.has(one));
    }

    #[test]
    fn kept_text_comes_back_from_the_log_and_from_blobs() {
        let dir = tempfile::tempdir().expect("a directory");
        let blobs = Blobs::open(Arc::new(RealDisk), dir.path()).expect("opens");
        let vault = Vault::open(dir.path()).expect("opens");
        let key = KeyId(1);
        vault.add(key, [7; 32]).expect("added");
        let nothing = tempfile::tempdir().expect("a directory");
        let without = Vault::open(nothing.path()).expect("opens");
        for bytes in [3, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1] {
            let text = "x".repeat(bytes);
            for (named, seal) in [(KeyId(0), None), (key, Some((key, [4; 24])))] {
                let kept = vault.keep(&blobs, seal, text.clone());
                let (payload, pinned) = kept.expect("kept");
                assert_eq!(payload.blob(), pinned.map(|pinned| pinned.digest()));
                let read = |vault: &Vault| {
                    let text = vault.text(&blobs, named, &payload);
                    text.map(Cow::into_owned)
                };
                assert_eq!(read(&vault).expect("read"), text);
                let refused = matches!(read(&without), Err(PayloadError::Sealed(_)));
                assert_eq!(refused, seal.is_some());
                if let (Some(digest), Some(_)) = (payload.blob(), seal) {
                    let content = blobs.get(digest).expect("there");
                    assert_eq!(content.len(), 24 + bytes + 16);
                    assert!(!content.windows(8).any(|piece| piece == b"xxxxxxxx"));
                }
            }
        }
    }

    #[test]
    fn key_that_is_here_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::open(dir.path()).expect("opens");
        vault.add(KeyId(1), [7; 32]).expect("added");
        let sealed = vault.seal(KeyId(1), [0; 24], b"text").expect("sealed");
        vault.add(KeyId(1), [9; 32]).expect("kept");
        let again = Vault::open(dir.path()).expect("opens");
        assert_eq!(
            again.unseal(KeyId(1), [0; 24], &sealed).expect("read"),
            b"text"
        );
    }
}
