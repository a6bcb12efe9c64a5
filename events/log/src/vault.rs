//! Data keys: payloads sealed under a key are unreadable once the key is gone, though the log and
//! its hash chain stay whole. XChaCha20-Poly1305; the key's id is bound to what it seals. Payloads
//! and datasets go into the log and its blobs and come out of them here, sealed or not.
//!
//! A key is a file of `keys/`, named by its number, that holds `HCDK` and a version, eight bytes of
//! checksum, the 32 bytes, and then the subject whose data it seals, if it is one subject's; a file
//! of before there were checksums begins with the 32 bytes. With a master key, which lies elsewhere,
//! the file holds that sealed under it (wrapped), so that whoever has the directory alone has
//! nothing. A key that was shredded leaves a file `.gone`, so that its number is never used again.

mod key;
mod ring;

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, Payload as Sealing};
use hindcast_model::limits::INLINE_BYTES_MAX;
use hindcast_model::{Digest, KeyId, Payload};

use crate::blobs::{BlobError, Blobs, Pinned};
use key::{Key, WRAPPED, begins};
pub use key::{MasterKey, key_file};
use ring::Ring;

/// What can be wrong with a sealed payload or its key.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The payload was redacted, or the key is kept elsewhere.
    #[error("there is no data key {}", .0.0)]
    NoKey(KeyId),
    #[error(
        "data key {} is damaged: bring keys/{} back from a backup", .0.0, file_name(*.0)
    )]
    Damaged(KeyId),
    #[error("the payload was not sealed under data key {}, or was changed", .0.0)]
    Refused(KeyId),
    #[error("data key {} is wrapped: name the master key with privacy.master_key_file", .0.0)]
    Wrapped(KeyId),
    #[error("data key {} was wrapped under another master key, or was changed", .0.0)]
    WrongMaster(KeyId),
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
    master: Option<MasterKey>,
    ring: RwLock<Ring>,
}

/// What a sealed dataset begins with; no table does. Then come the key's number, 24 bytes of nonce
/// and the ciphertext.
const SEALED_DATASET: [u8; 5] = *b"HCSD\x01";
fn file_name(key: KeyId) -> String {
    format!("{:010}.key", key.0)
}

fn gone_name(key: KeyId) -> String {
    format!("{:010}.gone", key.0)
}

impl Vault {
    /// Reads the keys under `data_dir`; there may be none. Those that are wrapped need the master key.
    pub fn open(data_dir: &Path, master: Option<&MasterKey>) -> Result<Self, VaultError> {
        let dir = data_dir.join("keys");
        let mut ring = Ring::default();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let name = entry.file_name();
            let number = |end: &str| name.to_str()?.strip_suffix(end)?.parse().ok().map(KeyId);
            if let Some(gone) = number(".gone") {
                ring.used.insert(gone);
            }
            let Some(number) = number(".key") else {
                continue;
            };
            let content = fs::read(entry.path())?;
            let key = match (content.strip_prefix(&WRAPPED), master) {
                (None, _) => Key::parse_file(&content),
                (Some(wrapped), Some(master)) => Key::parse(&master.unwrap(number, wrapped)?),
                (Some(_), None) => return Err(VaultError::Wrapped(number)),
            };
            match key {
                Some(key) => ring.insert(number, key),
                None => {
                    ring.used.insert(number);
                    ring.damaged.insert(number);
                }
            }
        }
        // A crash in the middle of a shredding leaves both files: the key is gone.
        let there = ring.keys.keys().chain(&ring.damaged);
        let shredded: Vec<KeyId> = there.copied().collect();
        for key in shredded
            .into_iter()
            .filter(|key| dir.join(gone_name(*key)).exists())
        {
            ring.forget(key);
        }
        Ok(Self {
            dir,
            master: master.cloned(),
            ring: RwLock::new(ring),
        })
    }

    /// Wraps the keys that lie here readable, and returns how many. Without a master key those
    /// without a checksum get one.
    pub fn wrap(&self) -> Result<usize, VaultError> {
        let ring = self.ring.read().expect("no holder panics");
        let wraps = self.master.is_some();
        let mut wrapped = 0;
        for (number, key) in &ring.keys {
            let content = fs::read(self.dir.join(file_name(*number)))?;
            if !content.starts_with(&begins(wraps)) {
                self.put(*number, key)?;
                wrapped += usize::from(wraps);
            }
        }
        Ok(wrapped)
    }

    /// Keys whose files are there and cannot be read.
    #[must_use]
    pub fn damaged(&self) -> Vec<KeyId> {
        let ring = self.ring.read().expect("no holder panics");
        ring.damaged.iter().copied().collect()
    }

    /// Whether the key was here once and was shredded.
    #[must_use]
    pub fn is_shredded(&self, key: KeyId) -> bool {
        let ring = self.ring.read().expect("no holder panics");
        ring.used.contains(&key) && !ring.keys.contains_key(&key) && !ring.damaged.contains(&key)
    }

    /// Whether the key is here.
    #[must_use]
    pub fn has(&self, key: KeyId) -> bool {
        let ring = self.ring.read().expect("no holder panics");
        ring.keys.contains_key(&key)
    }

    /// The key of what is not one subject's, made of `fresh` bytes if there is none.
    pub fn common(&self, fresh: impl FnOnce() -> [u8; 32]) -> Result<KeyId, VaultError> {
        let mut ring = self.ring.write().expect("no holder panics");
        if let Some(common) = ring.common {
            return Ok(common);
        }
        self.make(&mut ring, fresh(), None)
    }

    /// The key that this subject's data are sealed under, if there is one.
    #[must_use]
    pub fn find(&self, subject: &str) -> Option<KeyId> {
        let ring = self.ring.read().expect("no holder panics");
        ring.subjects.get(subject).copied()
    }

    /// As `find`; a subject without a key gets one of `fresh` bytes, on the medium when this returns.
    pub fn of_subject(
        &self,
        subject: &str,
        fresh: impl FnOnce() -> [u8; 32],
    ) -> Result<KeyId, VaultError> {
        if let Some(key) = self.find(subject) {
            return Ok(key);
        }
        let mut ring = self.ring.write().expect("no holder panics");
        if let Some(key) = ring.subjects.get(subject) {
            return Ok(*key);
        }
        self.make(&mut ring, fresh(), Some(subject.to_owned()))
    }

    fn make(
        &self,
        ring: &mut Ring,
        bytes: [u8; 32],
        subject: Option<String>,
    ) -> Result<KeyId, VaultError> {
        let number = ring.number(&bytes);
        self.write(ring, number, (bytes, subject))?;
        Ok(number)
    }

    /// Makes a key unusable to this process, and touches no file.
    pub fn withhold(&self, key: KeyId) {
        let mut ring = self.ring.write().expect("no holder panics");
        ring.forget(key);
    }

    /// Makes a key unusable for ever: everything that was sealed under it is lost. Returns once
    /// that is on the medium. What was shredded before stays so.
    pub fn shred(&self, key: KeyId) -> Result<(), VaultError> {
        let mut ring = self.ring.write().expect("no holder panics");
        ring.forget(key);
        if self.dir.join(gone_name(key)).exists() && !self.dir.join(file_name(key)).exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.dir)?;
        File::create(self.dir.join(gone_name(key)))?.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        let path = self.dir.join(file_name(key));
        match OpenOptions::new().write(true).open(&path) {
            Ok(mut file) => {
                let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
                file.write_all(&vec![0; len])?;
                file.sync_all()?;
                fs::remove_file(&path)?;
                File::open(&self.dir)?.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// A dataset as a blob of one subject holds it. The same bytes give the same blob under one
    /// key, and nobody without the key can tell which bytes they are.
    pub fn seal_dataset(&self, key: KeyId, content: &[u8]) -> Result<Vec<u8>, VaultError> {
        let nonce = {
            let ring = self.ring.read().expect("no holder panics");
            let key = ring.keys.get(&key).ok_or_else(|| ring.missing(key))?;
            let hash = blake3::keyed_hash(&key.derivation, content);
            let mut nonce = [0; 24];
            nonce.copy_from_slice(&hash.as_bytes()[..24]);
            nonce
        };
        let ciphertext = self.seal(key, nonce, content)?;
        let number = key.0.to_le_bytes();
        Ok([&SEALED_DATASET[..], &number, &nonce, &ciphertext].concat())
    }

    /// Whether these bytes would be taken for a sealed dataset.
    #[must_use]
    pub fn looks_sealed(content: &[u8]) -> bool {
        content.starts_with(&SEALED_DATASET)
    }

    /// The key that a stored dataset is sealed under; none when it is readable.
    pub fn seals(blobs: &Blobs, digest: Digest) -> io::Result<Option<KeyId>> {
        let begin = blobs.begins(digest, SEALED_DATASET.len() + 4)?;
        let number = begin.strip_prefix(&SEALED_DATASET);
        let number = number.and_then(<[u8]>::first_chunk::<4>);
        Ok(number.map(|number| KeyId(u32::from_le_bytes(*number))))
    }

    /// Why a stored dataset cannot be read: the key that it is sealed under is not here.
    #[must_use]
    pub fn closes(&self, blobs: &Blobs, digest: Digest) -> Option<VaultError> {
        self.lacks(Self::seals(blobs, digest).ok()??)
    }

    /// As `closes`, of the first of these. One may still be in memory when its key is gone.
    #[must_use]
    pub fn closes_any(&self, blobs: &Blobs, datasets: &[Digest]) -> Option<VaultError> {
        let mut datasets = datasets.iter();
        datasets.find_map(|digest| self.closes(blobs, *digest))
    }

    /// Why a key cannot be used, if it is not here.
    #[must_use]
    pub fn lacks(&self, key: KeyId) -> Option<VaultError> {
        let ring = self.ring.read().expect("no holder panics");
        (!ring.keys.contains_key(&key)).then(|| ring.missing(key))
    }

    /// The bytes of a stored dataset, sealed or not.
    pub fn dataset(&self, blobs: &Blobs, digest: Digest) -> Result<Vec<u8>, PayloadError> {
        let content = blobs.get(digest)?;
        let Some(sealed) = content.strip_prefix(&SEALED_DATASET) else {
            return Ok(content);
        };
        let parts = sealed.split_first_chunk::<4>().and_then(|(number, rest)| {
            let (nonce, ciphertext) = rest.split_first_chunk::<24>()?;
            Some((KeyId(u32::from_le_bytes(*number)), *nonce, ciphertext))
        });
        let (key, nonce, ciphertext) = parts.ok_or(VaultError::Refused(KeyId(0)))?;
        Ok(self.unseal(key, nonce, ciphertext)?)
    }

    /// Adds a key of the caller's entropy and returns once it is on the medium, so that nothing is
    /// sealed under a key that a crash could lose. A key that is here already is kept.
    pub fn add(&self, key: KeyId, bytes: [u8; 32]) -> Result<(), VaultError> {
        let mut ring = self.ring.write().expect("no holder panics");
        if ring.keys.contains_key(&key) {
            return Ok(());
        }
        if ring.damaged.contains(&key) {
            return Err(VaultError::Damaged(key));
        }
        self.write(&mut ring, key, (bytes, None))
    }

    fn write(
        &self,
        ring: &mut Ring,
        key: KeyId,
        (bytes, subject): ([u8; 32], Option<String>),
    ) -> Result<(), VaultError> {
        let made = Key::new(bytes, subject);
        self.put(key, &made)?;
        ring.insert(key, made);
        Ok(())
    }

    fn put(&self, number: KeyId, key: &Key) -> Result<(), VaultError> {
        let content = match &self.master {
            Some(master) => master.wrap(number, key)?,
            None => key.file(),
        };
        fs::create_dir_all(&self.dir)?;
        let path = self.dir.join(file_name(number));
        let half = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&half)?;
        file.write_all(&content)?;
        file.sync_data()?;
        fs::rename(&half, &path)?;
        File::open(&self.dir)?.sync_all()?;
        if let Some(parent) = self.dir.parent() {
            File::open(parent)?.sync_all()?;
        }
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
            Payload::Blob { .. } if !self.has(key) => {
                let ring = self.ring.read().expect("no holder panics");
                return Err(ring.missing(key).into());
            }
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
        let ring = self.ring.read().expect("no holder panics");
        let found = ring.keys.get(&key).ok_or_else(|| ring.missing(key))?;
        act(&found.cipher).map_err(|_| VaultError::Refused(key))
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
        let vault = Vault::open(dir.path(), None).expect("opens");
        let (one, two) = (KeyId(1), KeyId(2));
        assert!(matches!(
            vault.seal(one, [0; 24], b"x"),
            Err(VaultError::NoKey(KeyId(1)))
        ));
        vault.add(one, [7; 32]).expect("added");
        vault.add(two, [8; 32]).expect("added");
        let nonce = [3; 24];
        let ciphertext = vault.seal(one, nonce, b"{\"x\":1}").expect("sealed");
        let again = Vault::open(dir.path(), None).expect("opens");
        let text = again.unseal(one, nonce, &ciphertext).expect("read");
        assert_eq!(text, b"{\"x\":1}");
        assert!(matches!(
            again.unseal(two, nonce, &ciphertext),
            Err(VaultError::Refused(_))
        ));
        assert!(again.unseal(one, nonce, &ciphertext[1..]).is_err());
        fs::remove_file(dir.path().join("keys").join(file_name(one))).expect("removed");
        let without = Vault::open(dir.path(), None).expect("opens");
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
        let vault = Vault::open(dir.path(), None).expect("opens");
        let key = KeyId(1);
        vault.add(key, [7; 32]).expect("added");
        let nothing = tempfile::tempdir().expect("a directory");
        let without = Vault::open(nothing.path(), None).expect("opens");
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
    fn shredded_subject_is_unreadable_for_ever_and_gets_a_new_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let blobs = Blobs::open(Arc::new(RealDisk), dir.path()).expect("opens");
        let vault = Vault::open(dir.path(), None).expect("opens");
        let fresh = |n: u8| move || [n; 32];
        let ada = vault.of_subject("ada", fresh(1)).expect("a key");
        let bob = vault.of_subject("bob", fresh(2)).expect("a key");
        // Where the keys were lost, numbers that the log names are not given out again.
        let elsewhere = tempfile::tempdir().expect("a directory");
        let without = Vault::open(elsewhere.path(), None).expect("opens");
        let other = without.of_subject("eve", fresh(7)).expect("a key");
        let common = without.common(fresh(8)).expect("a key");
        assert!(![ada, bob, common].contains(&other) && ada != bob);
        assert_eq!(without.common(fresh(9)).expect("the same"), common);
        assert_eq!(vault.of_subject("ada", fresh(9)).expect("a key"), ada);
        let table = b"x,y\n1,2\n";
        let sealed = vault.seal_dataset(ada, table).expect("sealed");
        assert_eq!(vault.seal_dataset(ada, table).expect("sealed"), sealed);
        assert_ne!(vault.seal_dataset(bob, table).expect("sealed"), sealed);
        assert!(Vault::looks_sealed(&sealed) && !Vault::looks_sealed(table));
        let digest = blobs.put(&sealed).expect("stored").digest();
        let again = Vault::open(dir.path(), None).expect("opens");
        assert_eq!(again.dataset(&blobs, digest).expect("read"), table);
        assert_eq!(again.find("ada"), Some(ada));
        again.shred(ada).expect("shredded");
        again.shred(ada).expect("shredded already");
        // A crash between the mark and the removal.
        let half = dir.path().join("keys").join(file_name(bob));
        fs::write(dir.path().join("keys").join(gone_name(bob)), b"").expect("marked");
        assert!(half.exists());
        for vault in [again, Vault::open(dir.path(), None).expect("opens")] {
            let refused = vault.dataset(&blobs, digest);
            assert!(matches!(
                refused,
                Err(PayloadError::Sealed(VaultError::NoKey(key))) if key == ada
            ));
            assert_eq!(vault.find("ada"), None);
        }
        let later = Vault::open(dir.path(), None).expect("opens");
        assert!(!later.has(bob));
        let new = later.of_subject("ada", fresh(3)).expect("a key");
        assert!(![ada, bob].contains(&new));
    }

    #[test]
    fn wrapped_keys_need_their_master_key_and_plain_ones_are_wrapped() {
        let dir = tempfile::tempdir().expect("a directory");
        let plain = Vault::open(dir.path(), None).expect("opens");
        let ada = plain.of_subject("ada", || [5; 32]).expect("a key");
        let sealed = plain.seal(ada, [0; 24], b"text").expect("sealed");
        let path = dir.path().join("keys").join(file_name(ada));
        let holds = |text: &[u8]| {
            let content = fs::read(&path).expect("read");
            content.windows(text.len()).any(|piece| piece == text)
        };
        assert!(holds(&[5; 32]) && holds(b"ada"));
        let (master, other) = (MasterKey::new([1; 32]), MasterKey::new([2; 32]));
        let vault = Vault::open(dir.path(), Some(&master)).expect("opens");
        assert_eq!(vault.wrap().expect("wrapped"), 1);
        assert_eq!(vault.wrap().expect("wrapped already"), 0);
        assert!(!holds(&[5; 32]) && !holds(b"ada"));
        let bob = vault.of_subject("bob", || [6; 32]).expect("a key");
        let again = Vault::open(dir.path(), Some(&master)).expect("opens");
        assert_eq!(
            (again.find("ada"), again.find("bob")),
            (Some(ada), Some(bob))
        );
        assert_eq!(again.unseal(ada, [0; 24], &sealed).expect("read"), b"text");
        let refused = |master| Vault::open(dir.path(), master).err();
        assert!(matches!(refused(None), Some(VaultError::Wrapped(_))));
        assert!(matches!(
            refused(Some(&other)),
            Some(VaultError::WrongMaster(_))
        ));
        again.shred(ada).expect("shredded");
        assert!(!path.exists());
    }

    #[test]
    fn key_that_is_here_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::open(dir.path(), None).expect("opens");
        vault.add(KeyId(1), [7; 32]).expect("added");
        let sealed = vault.seal(KeyId(1), [0; 24], b"text").expect("sealed");
        vault.add(KeyId(1), [9; 32]).expect("kept");
        let again = Vault::open(dir.path(), None).expect("opens");
        assert_eq!(
            again.unseal(KeyId(1), [0; 24], &sealed).expect("read"),
            b"text"
        );
    }
}
