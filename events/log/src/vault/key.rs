//! Data keys as files hold them.

use std::fs;
use std::io;
use std::path::Path;

use chacha20poly1305::aead::{Aead, Payload as Sealing};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hindcast_model::{Digest, KeyId};

use super::VaultError;

pub(super) struct Key {
    pub(super) bytes: [u8; 32],
    pub(super) cipher: XChaCha20Poly1305,
    /// What nonces of datasets are derived with.
    pub(super) derivation: [u8; 32],
    pub(super) subject: Option<String>,
}

impl Key {
    pub(super) fn new(bytes: [u8; 32], subject: Option<String>) -> Self {
        Self {
            bytes,
            cipher: XChaCha20Poly1305::new(&bytes.into()),
            derivation: blake3::derive_key("hindcast 2026-11 nonces of sealed datasets", &bytes),
            subject,
        }
    }

    /// Reads the 32 bytes and the subject.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (bytes, subject) = text.split_first_chunk::<32>()?;
        let subject = std::str::from_utf8(subject).ok()?;
        let subject = (!subject.is_empty()).then(|| subject.to_owned());
        Some(Self::new(*bytes, subject))
    }

    /// Reads the file of a key that is not wrapped.
    pub(super) fn parse_file(content: &[u8]) -> Option<Self> {
        let alike = content
            .iter()
            .zip(&PLAIN)
            .filter(|(one, other)| one == other);
        if alike.count() < PLAIN.len() - 1 {
            return Self::parse(content);
        }
        // What begins nearly so is such a file with a damaged beginning.
        let (sum, text) = content.strip_prefix(&PLAIN)?.split_first_chunk::<8>()?;
        (*sum == checksum(text)).then(|| Self::parse(text))?
    }

    /// The file of a key that is not wrapped.
    pub(super) fn file(&self) -> Vec<u8> {
        let text = self.text();
        [&PLAIN[..], &checksum(&text), &text].concat()
    }

    fn text(&self) -> Vec<u8> {
        let subject = self.subject.as_deref().unwrap_or_default();
        [&self.bytes[..], subject.as_bytes()].concat()
    }
}

/// What the data keys are wrapped with.
#[derive(Clone)]
pub struct MasterKey(std::sync::Arc<Key>);

impl MasterKey {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(std::sync::Arc::new(Key::new(bytes, None)))
    }

    pub(super) fn wrap(&self, number: KeyId, key: &Key) -> Result<Vec<u8>, VaultError> {
        let text = key.text();
        // A data key is wrapped to the same bytes each time, so that no entropy is needed.
        let mut nonce = [0; 24];
        let hash = blake3::keyed_hash(&self.0.derivation, &text);
        nonce.copy_from_slice(&hash.as_bytes()[..24]);
        let sealing = Sealing {
            msg: &text,
            aad: &number.0.to_le_bytes(),
        };
        let wrapped = self.0.cipher.encrypt(&nonce.into(), sealing);
        let wrapped = wrapped.map_err(|_| VaultError::Refused(number))?;
        Ok([&WRAPPED[..], &nonce, &wrapped].concat())
    }

    pub(super) fn unwrap(&self, number: KeyId, wrapped: &[u8]) -> Result<Vec<u8>, VaultError> {
        let refused = VaultError::WrongMaster(number);
        let Some((nonce, ciphertext)) = wrapped.split_first_chunk::<24>() else {
            return Err(refused);
        };
        let sealing = Sealing {
            msg: ciphertext,
            aad: &number.0.to_le_bytes(),
        };
        let text = self.0.cipher.decrypt(&(*nonce).into(), sealing);
        text.map_err(|_| refused)
    }
}

/// Reads a key file: 32 bytes, or 64 hexadecimal digits.
pub fn key_file(path: &Path) -> io::Result<[u8; 32]> {
    let bytes = fs::read(path)?;
    let spelt = || {
        let text = std::str::from_utf8(&bytes).ok()?.trim();
        text.parse::<Digest>().ok()
    };
    let whole = bytes.as_slice().try_into().ok();
    let wrong = "a key is 32 bytes, or 64 hexadecimal digits";
    whole
        .or_else(|| spelt().map(|digest| digest.0))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, wrong))
}

/// What the file of a wrapped key begins with; then come the nonce and the ciphertext.
pub(super) const WRAPPED: [u8; 5] = *b"HCWK\x01";
/// What the file of any other key begins with; then come the checksum, the key and the subject.
const PLAIN: [u8; 5] = *b"HCDK\x01";

fn checksum(text: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(text).as_bytes()[..8]);
    sum
}

/// What the file of a key begins with.
pub(super) const fn begins(wrapped: bool) -> [u8; 5] {
    match wrapped {
        true => WRAPPED,
        false => PLAIN,
    }
}
