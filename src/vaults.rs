//! What this server keeps for others: objects of the backups of other servers, each vault in a
//! directory of its own and within a bound.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hindcast_backup::{Directory, Entry, Target, TargetError, is_object_name, is_object_prefix};
use metrics::Gauge;

use crate::config::Config;
use crate::disk;

/// The end of the names of files that are being written.
const HALF: &str = ".tmp";

/// Why a vault does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("there is no vault `{0}`")]
    UnknownVault(String),
    #[error("no object is called so")]
    Name,
    #[error("no object begins so")]
    Prefix,
    #[error("the vault has no object {0}")]
    UnknownObject(String),
    #[error("the vault holds {used} bytes, and {more} more are over its bound")]
    Full { used: u64, more: u64, limit: u64 },
    #[error("{free} bytes are free on the disk of the vaults, and {reserve} are kept in reserve")]
    DiskLow { free: u64, reserve: u64 },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
}

/// One vault.
pub(crate) struct Vault {
    dir: PathBuf,
    objects: Directory,
    /// Bytes of all objects; none while that is not known. Held while something is changed, so that
    /// two writers do not take the same room.
    used: Mutex<Option<u64>>,
    bytes_max: u64,
    reserve_bytes: u64,
    bytes: Gauge,
}

/// The vaults of the configuration.
#[derive(Default)]
pub(crate) struct Vaults(BTreeMap<String, Arc<Vault>>);

impl Vaults {
    pub(crate) fn new(config: &Config) -> Self {
        let vaults = &config.vaults;
        let open = |name: &String| {
            let dir = vaults.dir.join(name);
            let vault = Vault {
                objects: Directory::new(&dir),
                dir,
                used: Mutex::default(),
                bytes_max: vaults.bytes_max,
                reserve_bytes: config.disk.reserve_bytes,
                bytes: metrics::gauge!("vault_bytes", "vault" => name.clone()),
            };
            (name.clone(), Arc::new(vault))
        };
        Self(vaults.names.iter().map(open).collect())
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<Vault>, VaultError> {
        let found = self.0.get(name).cloned();
        found.ok_or_else(|| VaultError::UnknownVault(name.to_owned()))
    }
}

impl Vault {
    /// Up to `limit` objects whose names begin with `prefix` and come after `after`, and whether
    /// there are more.
    pub(crate) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, bool), VaultError> {
        if !is_object_prefix(prefix) {
            return Err(VaultError::Prefix);
        }
        let mut found = self.objects.list(prefix)?;
        found.retain(|entry| {
            is_object_name(&entry.name) && after.is_none_or(|after| entry.name.as_str() > after)
        });
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// An object, open, and its bytes.
    pub(crate) fn open(&self, name: &str) -> Result<(File, u64), VaultError> {
        let path = self.path(name)?;
        let opened = File::open(&path).and_then(|file| {
            let told = file.metadata()?;
            Ok((file, told))
        });
        match opened {
            Ok((file, told)) if told.is_file() => Ok((file, told.len())),
            Ok(_) => Err(VaultError::UnknownObject(name.to_owned())),
            Err(error) if is_nothing(&error) => Err(VaultError::UnknownObject(name.to_owned())),
            Err(source) => Err(failed(&path)(source)),
        }
    }

    /// Puts a whole object in place; durable when this returns. Whether it was not there before.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<bool, VaultError> {
        let path = self.path(name)?;
        let mut known = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.used(&mut known)?;
        let old = size(&path)?;
        let after = used
            .saturating_sub(old.unwrap_or(0))
            .saturating_add(bytes.len() as u64);
        if after > self.bytes_max {
            return Err(VaultError::Full {
                used,
                more: bytes.len() as u64,
                limit: self.bytes_max,
            });
        }
        self.check_room(bytes.len() as u64)?;
        // What a failed writing leaves is counted anew.
        *known = None;
        self.objects.put(name, bytes)?;
        *known = Some(after);
        self.show(after);
        Ok(old.is_none())
    }

    /// Removes an object; one that is not there is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<(), VaultError> {
        let path = self.path(name)?;
        let mut known = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.used(&mut known)?;
        let Some(old) = size(&path)? else {
            return Ok(());
        };
        *known = None;
        self.objects.remove(name)?;
        let after = used.saturating_sub(old);
        *known = Some(after);
        self.show(after);
        Ok(())
    }

    fn path(&self, name: &str) -> Result<PathBuf, VaultError> {
        match is_object_name(name) {
            true => Ok(self.dir.join(name)),
            false => Err(VaultError::Name),
        }
    }

    fn used(&self, known: &mut Option<u64>) -> Result<u64, VaultError> {
        let used = match *known {
            Some(used) => used,
            None => survey(&self.dir)?,
        };
        *known = Some(used);
        self.show(used);
        Ok(used)
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    fn show(&self, used: u64) {
        self.bytes.set(used as f64);
    }

    /// A vault never fills the disk: the log may be on it.
    fn check_room(&self, more: u64) -> Result<(), VaultError> {
        let existing = self.dir.ancestors().find(|dir| dir.is_dir());
        let Some((free, _)) = existing.and_then(disk::space) else {
            return Ok(());
        };
        match free.saturating_sub(more) >= self.reserve_bytes {
            true => Ok(()),
            false => Err(VaultError::DiskLow {
                free,
                reserve: self.reserve_bytes,
            }),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> VaultError {
    let path = path.display().to_string();
    move |source| VaultError::Io { path, source }
}

/// Nothing has this name: no file, or a file where a directory would have to be.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn size(path: &Path) -> Result<Option<u64>, VaultError> {
    match fs::symlink_metadata(path) {
        Ok(told) if told.is_file() => Ok(Some(told.len())),
        Ok(_) => Ok(None),
        Err(error) if is_nothing(&error) => Ok(None),
        Err(source) => Err(failed(path)(source)),
    }
}

/// The bytes of all files below a directory, without those that a stop cut short, which are removed:
/// nobody else writes here.
fn survey(dir: &Path) -> Result<u64, VaultError> {
    let (mut bytes, mut open) = (0_u64, vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if is_nothing(&error) => continue,
            Err(source) => return Err(failed(&dir)(source)),
        };
        for entry in entries {
            let entry = entry.map_err(failed(&dir))?;
            let (path, told) = (entry.path(), entry.metadata().map_err(failed(&dir))?);
            if told.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(HALF) {
                fs::remove_file(&path).map_err(failed(&path))?;
            } else {
                bytes = bytes.saturating_add(told.len());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vaults(dir: &Path) -> Vaults {
        let mut config = Config::default();
        config.vaults.dir = dir.to_owned();
        config.vaults.names = vec!["one".to_owned()];
        config.vaults.bytes_max = 100;
        config.disk.reserve_bytes = 0;
        Vaults::new(&config)
    }

    #[test]
    fn the_bound_holds_over_replacing_removing_and_opening_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = vaults(dir.path()).find("one").expect("configured");
        assert!(vault.put("a/b", &[0; 60]).expect("room"));
        assert!(!vault.put("a/b", &[0; 90]).expect("in its place"));
        let full = vault.put("c", &[0; 11]).expect_err("full");
        assert!(matches!(
            full,
            VaultError::Full {
                used: 90,
                more: 11,
                limit: 100
            }
        ));
        fs::write(dir.path().join("one/a/7-0.tmp"), [0; 50]).expect("cut short");
        let again = vaults(dir.path()).find("one").expect("configured");
        assert!(again.put("c", &[0; 11]).is_err());
        assert!(again.put("c", &[0; 10]).expect("room"));
        again.remove("a/b").expect("removed");
        again.remove("a/b").expect("no error");
        again.put("d", &[0; 90]).expect("room");
        let (listed, more) = again.list("", None, 1).expect("listed");
        assert_eq!((listed[0].name.as_str(), more), ("c", true));
        let (listed, more) = again.list("", Some("c"), 1).expect("listed");
        assert_eq!((listed[0].name.as_str(), more), ("d", false));
        assert!(!dir.path().join("one/a/7-0.tmp").exists());
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_cannot_be() {
        let dir = tempfile::tempdir().expect("a directory");
        let vaults = vaults(dir.path());
        assert!(matches!(
            vaults.find("two"),
            Err(VaultError::UnknownVault(_))
        ));
        let vault = vaults.find("one").expect("configured");
        vault.put("a", b"a").expect("room");
        for name in ["b", "a/b"] {
            assert!(
                matches!(vault.open(name), Err(VaultError::UnknownObject(_))),
                "{name}"
            );
        }
        for name in ["../one/a", "", "/etc/passwd"] {
            assert!(matches!(vault.open(name), Err(VaultError::Name)), "{name}");
        }
        assert!(matches!(
            vault.list("../", None, 9),
            Err(VaultError::Prefix)
        ));
        let blocked = vault.put("a/b", b"x").expect_err("below a file");
        assert!(matches!(blocked, VaultError::Target(_)), "{blocked}");
        vault.put("c", b"c").expect("counted anew");
    }
}
