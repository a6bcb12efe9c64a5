//! Taking a snapshot while writing goes on.

use std::io;
use std::path::{Path, PathBuf};

use hindcast_log::{Checkpoint, Disk, RealDisk};
use hindcast_model::Seq;

use crate::file;
use crate::ladder::surplus;

/// A snapshot that is on the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub seq: Seq,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The folder of the snapshots of a data directory.
pub(crate) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshots")
}

pub(crate) fn file_name(seq: Seq) -> String {
    format!("{:020}.snap", seq.0)
}

/// The sequence in a snapshot's name.
pub(crate) fn place_of(path: &Path) -> Option<Seq> {
    path.file_stem()?.to_str()?.parse().ok().map(Seq)
}

/// Writes the checkpoint to the snapshots of `data_dir` and returns once it is on the medium.
/// Older ones are thinned until all together take at most `bytes_max`; the newest two stay.
pub fn take(data_dir: &Path, checkpoint: &Checkpoint, bytes_max: u64) -> io::Result<Taken> {
    take_watched((&RealDisk, data_dir), checkpoint, bytes_max, &|_| {})
}

/// What taking a snapshot has done so far. A process may end after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The bytes are in a file of another name.
    Written,
    /// They are on the medium.
    Synced,
    /// The file has its name.
    Named,
    /// The name is on the medium.
    NameSynced,
    /// Older snapshots, and what earlier ends left half written, are gone.
    Thinned,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 5] = [
        Self::Written,
        Self::Synced,
        Self::Named,
        Self::NameSynced,
        Self::Thinned,
    ];
}

/// As [`take`], on a disk; `done` hears of each step.
pub fn take_watched(
    (disk, data_dir): (&dyn Disk, &Path),
    checkpoint: &Checkpoint,
    bytes_max: u64,
    done: &dyn Fn(Step),
) -> io::Result<Taken> {
    let folder = folder(data_dir);
    disk.create_dir_all(&folder)?;
    let bytes = file::encode(checkpoint).map_err(io::Error::other)?;
    let seq = checkpoint.state.seq();
    let path = folder.join(file_name(seq));
    let half = path.with_extension("tmp");
    match disk.remove(&half) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(&half)?;
    file.write_at(&bytes, 0)?;
    done(Step::Written);
    file.sync_data()?;
    done(Step::Synced);
    disk.rename(&half, &path)?;
    done(Step::Named);
    disk.sync_dir(&folder)?;
    done(Step::NameSynced);
    thin(disk, &folder, bytes_max)?;
    done(Step::Thinned);
    let bytes = bytes.len() as u64;
    Ok(Taken { seq, path, bytes })
}

/// Removes the snapshots of what was pruned: those before `oldest`, the first sequence that is left.
/// Returns how many.
pub fn forget(data_dir: &Path, oldest: Seq) -> io::Result<usize> {
    let paths = list(&RealDisk, &folder(data_dir))?;
    let before = |path: &PathBuf| place_of(path).is_some_and(|seq| seq < Seq(oldest.0 - 1));
    let old: Vec<PathBuf> = paths.into_iter().filter(before).collect();
    old.iter().try_for_each(|path| RealDisk.remove(path))?;
    Ok(old.len())
}

fn thin(disk: &dyn Disk, folder: &Path, bytes_max: u64) -> io::Result<()> {
    let mut kept = Vec::new();
    for (path, bytes) in disk.tree(folder)? {
        match (path.extension().and_then(|e| e.to_str()), place_of(&path)) {
            // One snapshot is taken at a time: whatever is half written was left by a process
            // that ended.
            (Some("tmp"), _) => disk.remove(&path)?,
            (Some("snap"), Some(seq)) => kept.push((seq, bytes)),
            (Some(_) | None, _) => {}
        }
    }
    for seq in surplus(kept, bytes_max) {
        disk.remove(&folder.join(file_name(seq)))?;
    }
    Ok(())
}

/// The snapshots in a folder, oldest first.
pub(crate) fn list(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let names = disk.list(folder)?.into_iter();
    let names = names.filter(|name| name.ends_with(".snap"));
    Ok(names.map(|name| folder.join(name)).collect())
}
