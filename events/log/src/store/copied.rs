//! A copy of the lookup store, for whoever only looks: sled writes to its files when it opens them.

use std::fs::{self, File};
use std::path::Path;

use hindcast_model::Seq;
use tempfile::TempDir;
use uuid::Uuid;

use super::Store;
use crate::disk::{Disk, RealDisk};
use crate::error::LogError;

/// What is cached of a store that is looked at.
pub(crate) const LOOKED_CACHE_BYTES: u64 = 16 << 20;

/// A directory that only this user can read, with a copy of the store under `data_dir` if there is one.
/// It takes as many bytes as the store, and is removed when it is dropped.
pub(crate) fn copy_of(data_dir: &Path) -> Result<TempDir, LogError> {
    let store = &data_dir.join("sled");
    let files = RealDisk.tree(store).map_err(LogError::io("read", store))?;
    let bytes = files.iter().map(|(_, bytes)| bytes).sum();
    let into = std::env::temp_dir();
    let failed = |source| LogError::NotCopied {
        bytes,
        into: into.clone(),
        source,
    };
    let made = tempfile::Builder::new()
        .prefix("hindcast-looking-")
        .tempdir();
    let copy = made.map_err(failed)?;
    for (file, _) in &files {
        let name = file.strip_prefix(store).expect("it was found there");
        let to = copy.path().join("sled").join(name);
        let folder = to.parent().expect("it is below the copy");
        fs::create_dir_all(folder).map_err(failed)?;
        // The bytes alone: the file may be one that nobody can write to.
        let copied = File::open(file).and_then(|mut from| {
            let mut to = File::create(&to)?;
            std::io::copy(&mut from, &mut to)
        });
        copied.map_err(failed)?;
    }
    Ok(copy)
}

/// A copy of the store that is open.
pub(crate) struct Copied {
    // Dropped before the files that it has open are removed.
    pub(crate) store: Store,
    _copy: TempDir,
}

impl Copied {
    /// Copies the store of `log` under `data_dir`, which begins after `pruned_to`, and opens the copy. An
    /// error other than `NotCopied` says why the store has to be rebuilt.
    pub(crate) fn open(data_dir: &Path, log: (Uuid, Seq)) -> Result<Self, LogError> {
        let copy = copy_of(data_dir)?;
        Ok(Self {
            store: Store::open(&copy.path().join("sled"), LOOKED_CACHE_BYTES, log)?,
            _copy: copy,
        })
    }
}
