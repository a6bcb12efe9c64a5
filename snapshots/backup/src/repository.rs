//! A target as a repository of one log's backups: which objects there are and how they are called.
//!
//! | name | what |
//! |---|---|
//! | `hindcast.json` | format, log id, the tag of the key if the rest is encrypted, and the signer if it is signed |
//! | `bases/<last>-<digest>.zst` | the state that a pruned log goes on from, after its last removed event |
//! | `segments/<first>-<chain>.zst` | a sealed segment; the chain is the hash of its last frame |
//! | `tail/<first>-<last>-<chain>.zst` | frames of the open segment |
//! | `blobs/<2 digits>/<digest>.zst` | a blob |
//! | `lost/<digest>` | this blob was lost before it could be sent, unless it is there after all |
//! | `keys/<name>` | a data key |
//! | `redactions/<name>` | the data key of this name is gone for good |
//! | `backups/<id>.json` | the manifest of a backup |
//! | `backups/<id>.verified.json` | that it was restored and compared |
//!
//! Objects never change: a name stands for one content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use hindcast_model::{BackupId, Digest, Seq};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::crypt::{Key, NONCE_BYTES};
use crate::error::{BackupError, TargetError};
use crate::manifest::{self, About, FORMAT, Manifest, Stored, Verified};
use crate::pack::{self, Packed, Packer, Unpacking};
use crate::sign::{Signer, SigningKey};
use crate::target::Target;

const ABOUT: &str = "hindcast.json";
const VERIFIED: &str = ".verified.json";

/// Fresh random bytes at every call.
pub type Entropy = Arc<dyn Fn() -> [u8; NONCE_BYTES] + Send + Sync>;

/// The backups in a target.
#[derive(Clone)]
pub struct Repository {
    target: Arc<dyn Target>,
    key: Option<Key>,
    nonce: Entropy,
    signing: Option<SigningKey>,
    /// Who has to have signed it.
    trusted: Option<Signer>,
    /// Who signed it, as it says itself, once that was read.
    signed: Arc<OnceLock<Option<Signer>>>,
}

/// A backup that a target has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub manifest: Manifest,
    pub verified: Option<Verified>,
}

/// How what a target holds is protected against who can get at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Protection {
    pub encrypted: bool,
    pub signed_by: Option<Signer>,
}

/// The log whose backups are in this directory, as it says itself; none when it does not.
pub(crate) fn log_of_backups(dir: &Path) -> Option<Uuid> {
    let bytes = std::fs::read(dir.join(ABOUT)).ok()?;
    let about: About = manifest::decode(ABOUT, &bytes).ok()?;
    Some(about.log)
}

impl Repository {
    /// The repository in a target. With a key everything in it is encrypted.
    #[must_use]
    pub fn new(target: Arc<dyn Target>, key: Option<Key>, nonce: Entropy) -> Self {
        Self {
            target,
            key,
            nonce,
            signing: None,
            trusted: None,
            signed: Arc::default(),
        }
    }

    /// As it is, with everything in it signed. Objects are read only if `trusted` has signed them,
    /// which is the owner of the signing key if none is named; who has neither of the two trusts
    /// the signer that the target names.
    #[must_use]
    pub fn signed(mut self, signing: Option<SigningKey>, trusted: Option<Signer>) -> Self {
        self.trusted = trusted.or_else(|| signing.as_ref().map(SigningKey::signer));
        self.signing = signing;
        self
    }

    /// What messages call it.
    #[must_use]
    pub fn title(&self) -> &str {
        self.target.title()
    }

    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.key.is_some()
    }

    /// How what is in it is protected, as far as [`Repository::log`] has told.
    #[must_use]
    pub fn protection(&self) -> Protection {
        Protection {
            encrypted: self.key.is_some(),
            signed_by: self.signed.get().copied().flatten(),
        }
    }

    /// The log whose backups it holds, after the keys were checked; none in an empty target.
    pub fn log(&self) -> Result<Option<Uuid>, BackupError> {
        let bytes = match self.target.get(ABOUT) {
            Ok(bytes) => bytes,
            Err(TargetError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let about: About = manifest::decode(ABOUT, &bytes)?;
        if about.format > FORMAT {
            return Err(BackupError::Format {
                found: about.format,
                known: FORMAT,
            });
        }
        match (about.key, self.key.as_ref().map(Key::tag)) {
            (Some(wanted), None) => Err(BackupError::KeyNeeded { wanted }),
            (Some(wanted), Some(given)) if wanted != given => {
                Err(BackupError::WrongKey { wanted, given })
            }
            (None, Some(_)) => Err(BackupError::NotEncrypted),
            (Some(_), Some(_)) | (None, None) => {
                self.check_signer(about.signer)?;
                Ok(Some(about.log))
            }
        }
    }

    fn check_signer(&self, found: Option<Signer>) -> Result<(), BackupError> {
        let given = self.signing.as_ref().map(SigningKey::signer);
        for wanted in [self.trusted, given].into_iter().flatten() {
            match found {
                Some(found) if found == wanted => {}
                Some(found) => return Err(BackupError::OtherSigner { found, wanted }),
                None => return Err(BackupError::NotSigned),
            }
        }
        let _same = self.signed.set(found);
        Ok(())
    }

    /// Whether it is still a repository, of this log, with this backup. Costs one small object and
    /// one listing of a single name.
    pub fn holds(&self, here: Uuid, id: BackupId) -> Result<bool, BackupError> {
        match self.log()? {
            Some(there) if there != here => Err(BackupError::OtherLog { there, here }),
            Some(_) => {
                let name = manifest_name(id);
                Ok(self.names(&name)?.contains_key(&name))
            }
            None => Ok(false),
        }
    }

    /// Who has to have signed what is read.
    fn expected(&self) -> Result<Option<Signer>, BackupError> {
        if self.trusted.is_none() && self.signed.get().is_none() {
            self.log()?;
        }
        Ok(self.trusted.or(self.protection().signed_by))
    }

    /// The log whose backups it holds; there have to be some.
    pub(crate) fn existing(&self) -> Result<Uuid, BackupError> {
        let empty = || BackupError::NoRepository(self.title().to_owned());
        self.log()?.ok_or_else(empty)
    }

    /// Begins the repository, or checks that it is of this log.
    pub(crate) fn begin(&self, here: Uuid) -> Result<(), BackupError> {
        match self.log()? {
            Some(there) if there != here => Err(BackupError::OtherLog { there, here }),
            Some(_) => Ok(()),
            None => {
                let about = About {
                    format: FORMAT,
                    log: here,
                    key: self.key.as_ref().map(Key::tag),
                    signer: self.signing.as_ref().map(SigningKey::signer),
                };
                self.check_signer(about.signer)?;
                Ok(self.target.put(ABOUT, &manifest::encode(&about))?)
            }
        }
    }

    /// Every object whose name begins so, with its bytes.
    pub(crate) fn names(&self, prefix: &str) -> Result<BTreeMap<String, u64>, BackupError> {
        let listed = self.target.list(prefix)?;
        Ok(listed.into_iter().map(|e| (e.name, e.bytes)).collect())
    }

    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<u64, BackupError> {
        let bytes = match &self.key {
            Some(key) => key.seal(name, (self.nonce)(), &bytes),
            None => bytes,
        };
        let bytes = match (&self.signing, self.expected()?) {
            (Some(signing), _) => signing.sign(name, bytes),
            (None, Some(wanted)) => return Err(BackupError::SigningKeyNeeded { wanted }),
            (None, None) => bytes,
        };
        self.target.put(name, &bytes)?;
        Ok(bytes.len() as u64)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BackupError> {
        let bytes = self.target.get(name)?;
        let bytes = match self.expected()? {
            Some(signer) => signer.check(name, bytes)?,
            None => bytes,
        };
        match &self.key {
            Some(key) => key.open(name, &bytes),
            None => Ok(bytes),
        }
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), BackupError> {
        Ok(self.target.remove(name)?)
    }

    /// Compresses what `write` writes and puts it in place.
    pub(crate) fn store_with(
        &self,
        name: impl FnOnce(&Packed) -> String,
        write: impl FnOnce(&mut Packer) -> Result<(), BackupError>,
    ) -> Result<Stored, BackupError> {
        let broken = |error: std::io::Error| BackupError::damaged("compression", error);
        let mut packer = Packer::new().map_err(broken)?;
        write(&mut packer)?;
        let mut packed = packer.finish().map_err(broken)?;
        let name = name(&packed);
        let stored_bytes = self.put(&name, std::mem::take(&mut packed.packed))?;
        Ok(Stored {
            name,
            bytes: packed.bytes,
            blake3: packed.hash,
            stored_bytes,
        })
    }

    pub(crate) fn store(&self, name: String, content: &[u8]) -> Result<Stored, BackupError> {
        self.store_with(
            |_| name,
            |packer| {
                let written = packer.write(content);
                written.map_err(|error| BackupError::damaged("compression", error))
            },
        )
    }

    /// Hands the content of an object to `take`, piece by piece. With `told`, its length and hash
    /// have to be these.
    pub(crate) fn load(
        &self,
        name: &str,
        told: Option<(u64, Digest)>,
        take: impl FnMut(&[u8]) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let packed = self.get(name)?;
        let found = pack::unpack(&packed, take).map_err(|error| match error {
            Unpacking::Broken(error) => BackupError::damaged(name, error),
            Unpacking::Taken(BackupError::Log(error)) => BackupError::of_object(name, error),
            Unpacking::Taken(error) => error,
        })?;
        match told.is_none_or(|told| told == found) {
            true => Ok(()),
            false => Err(BackupError::damaged(name, "its checksum does not hold")),
        }
    }

    /// The whole content of an object.
    pub(crate) fn content(&self, name: &str) -> Result<Vec<u8>, BackupError> {
        let mut content = Vec::new();
        self.load(name, None, |bytes| {
            content.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(content)
    }

    fn document<T: DeserializeOwned>(&self, name: &str) -> Result<T, BackupError> {
        manifest::decode(name, &self.get(name)?)
    }

    pub(crate) fn put_manifest(&self, manifest: &Manifest) -> Result<(), BackupError> {
        self.put(&manifest_name(manifest.id), manifest::encode(manifest))?;
        Ok(())
    }

    pub(crate) fn put_verified(&self, verified: &Verified) -> Result<(), BackupError> {
        let name = verified_name(verified.backup);
        self.put(&name, manifest::encode(verified))?;
        Ok(())
    }

    /// The backups that can be read, oldest first. One whose note of verification is damaged counts
    /// as not verified.
    pub fn list(&self) -> Result<Vec<Listed>, BackupError> {
        Ok(self.survey()?.0)
    }

    /// The backups that can be read, oldest first, and what is damaged of the others.
    pub fn survey(&self) -> Result<(Vec<Listed>, Vec<BackupError>), BackupError> {
        self.existing()?;
        let names = self.names("backups/")?;
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for id in names.keys().filter_map(|name| manifest_id(name)) {
            let Some(manifest) =
                whole(self.document::<Manifest>(&manifest_name(id)), &mut damaged)?
            else {
                continue;
            };
            let verified = match names.contains_key(&verified_name(id)) {
                true => whole(self.document(&verified_name(id)), &mut damaged)?,
                false => None,
            };
            found.push(Listed { manifest, verified });
        }
        found.sort_by_key(|listed| (listed.manifest.created_at, listed.manifest.id));
        Ok((found, damaged))
    }

    /// One backup.
    pub fn find(&self, id: BackupId) -> Result<Listed, BackupError> {
        self.existing()?;
        let names = self.names("backups/")?;
        if !names.contains_key(&manifest_name(id)) {
            return Err(BackupError::UnknownBackup(id));
        }
        let manifest = self.document(&manifest_name(id))?;
        let verified = match names.contains_key(&verified_name(id)) {
            true => whole(self.document(&verified_name(id)), &mut Vec::new())?,
            false => None,
        };
        Ok(Listed { manifest, verified })
    }

    pub(crate) fn remove_backup(&self, id: BackupId) -> Result<(), BackupError> {
        self.remove(&manifest_name(id))?;
        self.remove(&verified_name(id))
    }

    /// The blobs that were lost before they could be sent.
    pub fn lost(&self) -> Result<BTreeSet<Digest>, BackupError> {
        let names = self.names("lost/")?.into_keys();
        let digest = |name: String| name.strip_prefix("lost/")?.parse().ok();
        Ok(names.filter_map(digest).collect())
    }

    /// Whether the blob was lost before it could be sent, by the word of who wrote the rest.
    pub(crate) fn is_lost(&self, blob: Digest) -> Result<bool, BackupError> {
        match self.get(&lost_name(blob)) {
            Ok(_) => Ok(true),
            Err(BackupError::Target(TargetError::Missing { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says that this blob was lost before it could be sent: a restore goes on without it.
    pub(crate) fn record_lost(&self, blob: Digest) -> Result<(), BackupError> {
        self.put(&lost_name(blob), b"{}".to_vec())?;
        Ok(())
    }

    /// The blob is there after all.
    pub(crate) fn forget_lost(&self, blob: Digest) -> Result<(), BackupError> {
        self.remove(&lost_name(blob))
    }

    /// The data keys that are gone for good, by the names of their files.
    pub fn redacted(&self) -> Result<BTreeSet<String>, BackupError> {
        let names = self.names("redactions/")?.into_keys();
        Ok(names
            .filter_map(|name| name.strip_prefix("redactions/").map(str::to_owned))
            .collect())
    }

    /// Says that the data key of this file name is gone for good, and removes it. No restore from
    /// this target brings it back.
    pub fn record_redaction(&self, key: &str) -> Result<(), BackupError> {
        self.existing()?;
        self.put(&format!("redactions/{key}"), b"{}".to_vec())?;
        self.remove(&format!("keys/{key}"))
    }
}

/// What was read, unless it is damaged, which is told.
fn whole<T>(
    read: Result<T, BackupError>,
    damaged: &mut Vec<BackupError>,
) -> Result<Option<T>, BackupError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error @ BackupError::Damaged { .. }) => {
            damaged.push(error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn manifest_name(id: BackupId) -> String {
    format!("backups/{id}.json")
}

fn verified_name(id: BackupId) -> String {
    format!("backups/{id}{VERIFIED}")
}

fn manifest_id(name: &str) -> Option<BackupId> {
    name.strip_prefix("backups/")?
        .strip_suffix(".json")?
        .parse()
        .ok()
}

pub(crate) fn base_name(last: Seq, content: Digest) -> String {
    format!("bases/{:020}-{content}.zst", last.0)
}

pub(crate) fn segment_name(first: Seq, chain: Digest) -> String {
    format!("segments/{:020}-{chain}.zst", first.0)
}

pub(crate) fn segment_first(name: &str) -> Option<Seq> {
    let stem = name.strip_prefix("segments/")?.strip_suffix(".zst")?;
    stem.split_once('-')?.0.parse().ok().map(Seq)
}

pub(crate) fn part_name(first: Seq, last: Seq, chain: Digest) -> String {
    format!("tail/{:020}-{:020}-{chain}.zst", first.0, last.0)
}

/// First and last sequence of a part.
pub(crate) fn part_range(name: &str) -> Option<(Seq, Seq)> {
    let stem = name.strip_prefix("tail/")?.strip_suffix(".zst")?;
    let mut words = stem.split('-');
    let mut word = || words.next()?.parse().ok().map(Seq);
    Some((word()?, word()?))
}

fn lost_name(blob: Digest) -> String {
    format!("lost/{blob}")
}

pub(crate) fn blob_name(digest: Digest) -> String {
    let text = digest.to_string();
    format!("blobs/{}/{text}.zst", &text[..2])
}
