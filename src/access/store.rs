//! The file of access keys: names, roles, times and hashes, as JSON that only its owner may read.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hindcast_model::{Name16, UnixMicros};
use serde::{Deserialize, Serialize};

use super::hash::SecretHash;
use super::{Principal, Role, Token};

/// In the data directory, unless `access.keys_file` names another place.
pub(super) const FILE: &str = "access-keys.json";
/// The layout of the file.
const VERSION: u32 = 1;
/// Keys in the file, those that are revoked or expired too.
pub(super) const KEYS_MAX: usize = 1_024;
/// Bytes of the file, at most.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// One key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessKey {
    /// The public part of its text.
    pub id: String,
    /// Who it stands for.
    pub name: String,
    pub role: Role,
    pub created_at: UnixMicros,
    pub expires_at: Option<UnixMicros>,
    pub revoked_at: Option<UnixMicros>,
    pub(super) hash: SecretHash,
}

impl AccessKey {
    /// A fresh key and its text.
    #[must_use]
    pub fn fresh(
        name: &str,
        role: Role,
        (created_at, expires_at): (UnixMicros, Option<UnixMicros>),
    ) -> (Self, Token) {
        let token = Token::fresh();
        let key = Self {
            id: token.id().to_owned(),
            name: name.to_owned(),
            role,
            created_at,
            expires_at,
            revoked_at: None,
            hash: SecretHash::of(token.secret()),
        };
        (key, token)
    }

    /// Whether it lets somebody in at this moment.
    #[must_use]
    pub fn is_live(&self, now: UnixMicros) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| at > now)
    }

    /// `live`, `revoked` or `expired`.
    #[must_use]
    pub fn status(&self, now: UnixMicros) -> &'static str {
        match (self.revoked_at, self.is_live(now)) {
            (Some(_), _) => "revoked",
            (None, true) => "live",
            (None, false) => "expired",
        }
    }

    pub(super) fn principal(&self) -> Principal {
        Principal {
            name: Name16::new(&self.name),
            role: self.role,
            key: Some(Arc::from(self.id.as_str())),
            expires_at: self.expires_at,
        }
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("access keys {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("access keys {}: others can read it; run chmod 600 on it", .0.display())]
    Readable(PathBuf),
    #[error("access keys {}: {message}", path.display())]
    Format { path: PathBuf, message: String },
}

/// Why the keys were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    #[error("there is a live key of the name '{0}'")]
    Exists(String),
    #[error("there is no key of the name '{0}'")]
    Unknown(String),
    #[error("there are {KEYS_MAX} keys, which is the most")]
    TooMany,
    #[error("it is the last key of an admin, and without one nobody can make another")]
    LastAdmin,
}

/// All keys, found by their public part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, AccessKey>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    keys: Vec<AccessKey>,
}

impl Keys {
    /// Whether somebody can prove to be an admin.
    #[must_use]
    pub fn has_admin(&self, now: UnixMicros) -> bool {
        let mut live = self.iter().filter(|key| key.is_live(now));
        live.any(|key| key.role == Role::Admin)
    }

    /// Reads the file; one that is not there holds no key.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let wrong = |message: String| KeyFileError::Format {
            path: path.to_owned(),
            message,
        };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(KeyFileError::Readable(path.to_owned()));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(wrong(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let document: Document = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("line {}: it is not a key file", error.line())))?;
        if document.version != VERSION {
            return Err(wrong(format!("version {} is not known", document.version)));
        }
        if document.keys.len() > KEYS_MAX {
            return Err(wrong(format!("it has more than {KEYS_MAX} keys")));
        }
        let mut keys = BTreeMap::new();
        for key in document.keys {
            if let Some(complaint) = key.hash.complaint() {
                return Err(wrong(format!("key {}: {complaint}", key.id)));
            }
            if !super::may_be_named(&key.name) {
                return Err(wrong(format!("key {}: no key may be named so", key.id)));
            }
            keys.insert(key.id.clone(), key);
        }
        Ok(Self(keys))
    }

    /// Puts the file in place as a whole, on the medium before this returns.
    pub(super) fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let document = Document {
            version: VERSION,
            keys: self.0.values().cloned().collect(),
        };
        let text = serde_json::to_string_pretty(&document).map_err(|error| failed(error.into()))?;
        let beside = path.with_extension("json.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        folder.sync_all().map_err(failed)
    }

    /// The key with this public part.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&AccessKey> {
        self.0.get(id)
    }

    /// Every key, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &AccessKey> {
        let mut keys: Vec<&AccessKey> = self.0.values().collect();
        keys.sort_by_key(|key| (key.created_at, &key.id));
        keys.into_iter()
    }

    /// Adds a key. The name of a live key is not given twice; keys that are done make room.
    pub fn add(&mut self, key: AccessKey, now: UnixMicros) -> Result<(), KeyRefusal> {
        let same = |other: &AccessKey| other.name == key.name && other.is_live(now);
        if self.0.values().any(same) {
            return Err(KeyRefusal::Exists(key.name));
        }
        if self.0.len() >= KEYS_MAX {
            let done = self.iter().find(|other| !other.is_live(now));
            let done = done.map(|other| other.id.clone());
            self.0.remove(&done.ok_or(KeyRefusal::TooMany)?);
        }
        self.0.insert(key.id.clone(), key);
        Ok(())
    }

    /// Removes a key that nobody was told of.
    pub fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Ends the key of this name: the live one, or the newest if none is live. One that is revoked
    /// already stays as it is.
    pub fn revoke(&mut self, name: &str, now: UnixMicros) -> Result<AccessKey, KeyRefusal> {
        let named = self.0.values().filter(|key| key.name == name);
        let found = named.max_by_key(|key| (key.is_live(now), key.created_at));
        let id = found.map(|key| key.id.clone());
        let id = id.ok_or_else(|| KeyRefusal::Unknown(name.to_owned()))?;
        let is_admin = |key: &AccessKey| key.role == Role::Admin && key.is_live(now);
        let others = self.0.values().filter(|key| key.id != id).any(is_admin);
        let key = self.0.get_mut(&id).expect("it was found");
        if is_admin(key) && !others {
            return Err(KeyRefusal::LastAdmin);
        }
        key.revoked_at.get_or_insert(now);
        Ok(key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_000);

    fn key(name: &str, role: Role) -> AccessKey {
        AccessKey::fresh(name, role, (NOW, None)).0
    }

    #[test]
    fn the_file_reads_back_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE);
        assert_eq!(Keys::read(&path).expect("no file"), Keys::default());
        let mut keys = Keys::default();
        keys.add(key("ada", Role::Admin), NOW).expect("added");
        keys.write(&path).expect("written");
        assert_eq!(Keys::read(&path).expect("read"), keys);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode(&path) & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        let error = Keys::read(&path).expect_err("readable by all").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_wrong_file_is_told_and_not_quoted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE);
        for text in ["", "{}", "hck_secret", r#"{"version":9,"keys":[]}"#] {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&path).expect("opened");
            file.write_all(text.as_bytes()).expect("written");
            let error = Keys::read(&path).expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn names_are_taken_once_and_the_last_admin_stays() {
        let mut keys = Keys::default();
        keys.add(key("ada", Role::Admin), NOW).expect("added");
        let again = keys.add(key("ada", Role::Viewer), NOW);
        assert_eq!(again, Err(KeyRefusal::Exists("ada".to_owned())));
        assert_eq!(keys.revoke("ada", NOW), Err(KeyRefusal::LastAdmin));
        assert_eq!(
            keys.revoke("bob", NOW),
            Err(KeyRefusal::Unknown("bob".to_owned()))
        );
        keys.add(key("eve", Role::Admin), NOW).expect("added");
        let revoked = keys.revoke("ada", NOW).expect("revoked");
        assert_eq!(revoked.status(NOW), "revoked");
        assert_eq!(
            keys.revoke("ada", UnixMicros(2_000)),
            Ok(revoked),
            "twice is once"
        );
        keys.add(key("ada", Role::Viewer), NOW)
            .expect("the name is free");
        let expired = AccessKey {
            expires_at: Some(NOW),
            ..key("old", Role::Viewer)
        };
        assert_eq!(expired.status(NOW), "expired");
    }
}
