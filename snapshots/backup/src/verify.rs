//! Proving a backup: it is restored into a scratch directory, replayed, and its state hash compared.
//! A hash over objects would say that they are what was sent, not that they can be restored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hindcast_log::{Cut, Disk};
use hindcast_model::{BackupId, DECIDER_VERSION};

use crate::build::{Shape, Source, build_blobs, build_keys, build_log};
use crate::error::BackupError;
use crate::manifest::Verified;
use crate::repository::Repository;
use crate::work::Work;

/// The scratch directories of a data directory.
const SCRATCH: &str = "scratch";

/// A directory that is removed when this is dropped.
pub(crate) struct Scratch<'a>(&'a dyn Disk, PathBuf);

impl<'a> Scratch<'a> {
    /// An empty one of this name, among those of a data directory.
    pub(crate) fn make(root: &Path, name: &str, work: &Work<'a>) -> Result<Self, BackupError> {
        let dir = root.join(SCRATCH).join(name);
        let disk = work.disk.as_ref();
        disk.remove_dir_all(&dir)
            .map_err(BackupError::io("remove", &dir))?;
        disk.create_dir_all(&dir)
            .map_err(BackupError::io("create", &dir))?;
        Ok(Self(disk, dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.1
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        // What cannot be removed is removed before the next one is made.
        drop(self.0.remove_dir_all(&self.1));
    }
}

/// Restores a backup into a directory of its own under `root`, which is removed afterwards, and
/// compares it with what its manifest says. The result is stored beside the manifest.
pub fn verify(
    repository: &Repository,
    id: BackupId,
    root: &Path,
    work: &Work<'_>,
) -> Result<Verified, BackupError> {
    let begun = work.clock.monotonic();
    let manifest = repository.find(id)?.manifest;
    if manifest.decider_version != DECIDER_VERSION {
        return Err(BackupError::OtherRules {
            there: manifest.decider_version,
            here: DECIDER_VERSION,
        });
    }
    let scratch = Scratch::make(root, &format!("verify-{id}"), work)?;
    let shape = Shape {
        cut: Cut::Seq(manifest.to_seq),
        epoch: manifest.epoch,
        segment_bytes: 64 << 20,
    };
    let (told, told_chain, first) = (manifest.state_hash, manifest.chain, manifest.first_seq());
    let source = Source::Repository {
        repository: repository.clone(),
        manifest: Box::new(manifest),
        onward: false,
    };
    let built = build_log(&source, scratch.path(), &shape, work)?;
    let place = built.rebuilt.place;
    if place.chain != told_chain || built.state_hash != told {
        return Err(BackupError::StateDiffers {
            seq: place.last(),
            told,
            found: built.state_hash,
        });
    }
    build_blobs(&source, scratch.path(), &built.blobs, work)?;
    build_keys(&source, BTreeSet::new(), scratch.path())?;
    let verified = Verified {
        backup: id,
        at: work.clock.wall(),
        state_hash: built.state_hash,
        events: place.next.0 - first.0,
        micros: work.clock.monotonic().saturating_sub(begun),
    };
    repository.put_verified(&verified)?;
    Ok(verified)
}
