//! Content-addressed files: datasets, and specs and results too large for the log. A blob is on
//! the medium before the event that names it is queued, and its content is checked on every read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hindcast_model::Digest;

use crate::disk::{Disk, read_from};

/// What can be wrong with a blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("there is no blob {0}")]
    Missing(Digest),
    #[error("blob {0} is damaged: its content has another hash")]
    Damaged(Digest),
    #[error("blob {digest}: {source}")]
    Io { digest: Digest, source: io::Error },
}

/// What a disk answers that cannot read a place (`EIO`).
const UNREADABLE: i32 = 5;

impl BlobError {
    /// Whether its content is gone from here: trying again does not bring it back.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Damaged(_) => true,
            Self::Io { source, .. } => source.raw_os_error() == Some(UNREADABLE),
        }
    }
}

#[derive(Default)]
struct Pins {
    held: BTreeMap<Digest, usize>,
    /// Digests pinned since the running sweep began.
    touched: Option<BTreeSet<Digest>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pins: Mutex<Pins>,
    temporary: AtomicU64,
    count: AtomicU64,
    bytes: AtomicU64,
}

/// The blobs of one data directory; clones share them.
#[derive(Clone)]
pub struct Blobs(Arc<Shared>);

/// A blob that no sweep removes while this is held.
pub struct Pinned {
    digest: Digest,
    blobs: Blobs,
}

impl Pinned {
    /// The blob's digest.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = self.blobs.0.pins.lock().expect("no holder panics");
        if let Some(count) = pins.held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                pins.held.remove(&self.digest);
            }
        }
    }
}

impl Blobs {
    /// Opens the blobs under `data_dir` and removes what an unclean stop left half written.
    pub fn open(disk: Arc<dyn Disk>, data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join("blobs");
        disk.create_dir_all(&dir)?;
        for name in disk.list(&dir)? {
            disk.remove(&dir.join(name))?;
        }
        Self::counted(disk, data_dir)
    }

    /// The blobs under `data_dir`, counted and for reading: nothing is removed.
    pub(crate) fn counted(disk: Arc<dyn Disk>, data_dir: &Path) -> io::Result<Self> {
        let blobs = Self::read_only(disk, data_dir);
        for digest in blobs.list()? {
            let len = blobs.0.disk.open(&blobs.path(digest), false)?.len()?;
            blobs.0.count.fetch_add(1, Ordering::Relaxed);
            blobs.0.bytes.fetch_add(len, Ordering::Relaxed);
        }
        Ok(blobs)
    }

    /// The blobs under `data_dir`, for reading: nothing is removed or counted.
    #[must_use]
    pub fn read_only(disk: Arc<dyn Disk>, data_dir: &Path) -> Self {
        Self(Arc::new(Shared {
            disk,
            dir: data_dir.join("blobs"),
            pins: Mutex::default(),
            temporary: AtomicU64::new(0),
            count: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }))
    }

    /// The digest that `content` has as a blob.
    #[must_use]
    pub fn digest(content: &[u8]) -> Digest {
        Digest(*blake3::hash(content).as_bytes())
    }

    /// Number of blobs and their bytes.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        (
            self.0.count.load(Ordering::Relaxed),
            self.0.bytes.load(Ordering::Relaxed),
        )
    }

    /// Stores `content` and returns once it is on the medium. Content that is there already is
    /// read and, if it is damaged, replaced.
    pub fn put(&self, content: &[u8]) -> Result<Pinned, BlobError> {
        let digest = Self::digest(content);
        let pinned = self.pin(digest);
        match self.get(digest) {
            Ok(_) => return Ok(pinned),
            Err(BlobError::Missing(_)) => {
                self.0.count.fetch_add(1, Ordering::Relaxed);
                self.0
                    .bytes
                    .fetch_add(content.len() as u64, Ordering::Relaxed);
            }
            Err(BlobError::Damaged(_)) => {}
            Err(error @ BlobError::Io { .. }) => return Err(error),
        }
        self.write(digest, content)
            .map_err(|source| BlobError::Io { digest, source })?;
        Ok(pinned)
    }

    /// Keeps a blob from being swept, whether or not it is there yet.
    #[must_use]
    pub fn pin(&self, digest: Digest) -> Pinned {
        let mut pins = self.0.pins.lock().expect("no holder panics");
        *pins.held.entry(digest).or_default() += 1;
        if let Some(touched) = &mut pins.touched {
            touched.insert(digest);
        }
        Pinned {
            digest,
            blobs: self.clone(),
        }
    }

    fn write(&self, digest: Digest, content: &[u8]) -> io::Result<()> {
        let Shared {
            disk,
            dir,
            temporary,
            ..
        } = &*self.0;
        let number = temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.path(digest);
        let parent = path.parent().unwrap_or(dir);
        disk.create_dir_all(parent)?;
        disk.sync_dir(dir)?;
        let written = dir.join(format!("{number}.tmp"));
        let file = disk.create(&written)?;
        let finish = || {
            file.write_at(content, 0)?;
            file.sync_data()?;
            disk.rename(&written, &path)?;
            disk.sync_dir(parent)
        };
        finish().inspect_err(|_| drop(disk.remove(&written)))
    }

    /// Reads a blob and checks it.
    pub fn get(&self, digest: Digest) -> Result<Vec<u8>, BlobError> {
        let io = |source: io::Error| match source.kind() == io::ErrorKind::NotFound {
            true => BlobError::Missing(digest),
            false => BlobError::Io { digest, source },
        };
        let file = self.0.disk.open(&self.path(digest), false).map_err(io)?;
        let content = read_from(file.as_ref(), 0).map_err(io)?;
        match Self::digest(&content) == digest {
            true => Ok(content),
            false => Err(BlobError::Damaged(digest)),
        }
    }

    /// The first bytes of a blob, unchecked; fewer when it is shorter.
    pub(crate) fn begins(&self, digest: Digest, bytes: usize) -> io::Result<Vec<u8>> {
        let file = self.0.disk.open(&self.path(digest), false)?;
        let mut begin = vec![0; bytes];
        let read = file.read_at(&mut begin, 0)?;
        begin.truncate(read);
        Ok(begin)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.0.dir.join(&name[..2]).join(&name[2..])
    }

    /// Every blob on the disk.
    pub fn list(&self) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for byte in 0..=u8::MAX {
            let prefix = format!("{byte:02x}");
            for name in self.0.disk.list(&self.0.dir.join(&prefix))? {
                found.extend(format!("{prefix}{name}").parse::<Digest>());
            }
        }
        Ok(found)
    }

    /// Removes the blobs that nothing names. `referenced` is called once, after the candidates
    /// are listed, and takes from them what the log names; a blob that is pinned, or was pinned
    /// while the sweep ran, stays. Returns what was removed.
    pub fn sweep<E: From<io::Error>>(
        &self,
        referenced: impl FnOnce(&mut BTreeSet<Digest>) -> Result<(), E>,
    ) -> Result<Vec<Digest>, E> {
        self.0.pins.lock().expect("no holder panics").touched = Some(BTreeSet::new());
        let swept = self.sweep_candidates(referenced);
        self.0.pins.lock().expect("no holder panics").touched = None;
        swept
    }

    fn sweep_candidates<E: From<io::Error>>(
        &self,
        referenced: impl FnOnce(&mut BTreeSet<Digest>) -> Result<(), E>,
    ) -> Result<Vec<Digest>, E> {
        let mut candidates: BTreeSet<Digest> = self.list()?.into_iter().collect();
        referenced(&mut candidates)?;
        let mut removed = Vec::new();
        for digest in candidates {
            let pins = self.0.pins.lock().expect("no holder panics");
            let touched = pins
                .touched
                .as_ref()
                .is_some_and(|touched| touched.contains(&digest));
            if touched || pins.held.contains_key(&digest) {
                continue;
            }
            let path = self.path(digest);
            let len = self.0.disk.open(&path, false)?.len()?;
            self.0.disk.remove(&path)?;
            self.0.count.fetch_sub(1, Ordering::Relaxed);
            self.0.bytes.fetch_sub(len, Ordering::Relaxed);
            drop(pins);
            removed.push(digest);
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn blobs(dir: &Path) -> Blobs {
        Blobs::open(Arc::new(RealDisk), dir).expect("opens")
    }

    #[test]
    fn content_comes_back_and_damage_is_named_and_healed() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = blobs(dir.path());
        let digest = store.put(b"abc").expect("stored").digest();
        assert_eq!(store.get(digest).expect("there"), b"abc");
        std::fs::write(store.path(digest), b"abd").expect("damaged");
        assert!(matches!(store.get(digest), Err(BlobError::Damaged(d)) if d == digest));
        drop(store.put(b"abc").expect("healed"));
        assert_eq!(store.get(digest).expect("there"), b"abc");
        assert_eq!(store.size(), (1, 3));
        let missing = Blobs::digest(b"x");
        assert!(matches!(store.get(missing), Err(BlobError::Missing(d)) if d == missing));
    }

    #[test]
    fn leftovers_of_an_unclean_stop_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(blobs(dir.path()));
        std::fs::write(dir.path().join("blobs/7.tmp"), b"half").expect("written");
        let store = blobs(dir.path());
        assert!(!dir.path().join("blobs/7.tmp").exists());
        assert_eq!(store.size(), (0, 0));
    }

    #[test]
    fn sweep_spares_what_is_named_pinned_or_touched_meanwhile() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = blobs(dir.path());
        let named = store.put(b"named").expect("stored").digest();
        let held = store.put(b"held").expect("stored");
        let touched = store.put(b"touched").expect("stored").digest();
        let orphan = store.put(b"orphan").expect("stored").digest();
        let removed = store.sweep(|candidates: &mut BTreeSet<Digest>| {
            assert_eq!(candidates.len(), 4);
            candidates.remove(&named);
            drop(store.put(b"touched").expect("stored again"));
            Ok::<_, io::Error>(())
        });
        assert_eq!(removed.expect("swept"), vec![orphan]);
        assert!(store.get(touched).is_ok() && store.get(held.digest()).is_ok());
    }
}
