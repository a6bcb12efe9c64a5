//! Taking a snapshot while writing goes on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hindcast_log::Checkpoint;
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
    take_watched(data_dir, checkpoint, bytes_max, &|_| {})
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

/// As [`take`]; `done` hears of each step.
pub fn take_watched(
    data_dir: &Path,
    checkpoint: &Checkpoint,
    bytes_max: u64,
    done: &dyn Fn(Step),
) -> io::Result<Taken> {
    let folder = folder(data_dir);
    fs::create_dir_all(&folder)?;
    let bytes = file::encode(checkpoint).map_err(io::Error::other)?;
    let seq = checkpoint.state.seq();
    let path = folder.join(file_name(seq));
    let half = path.with_extension("tmp");
    let mut file = File::create(&half)?;
    file.write_all(&bytes)?;
    done(Step::Written);
    file.sync_data()?;
    done(Step::Synced);
    fs::rename(&half, &path)?;
    done(Step::Named);
    File::open(&folder)?.sync_all()?;
    done(Step::NameSynced);
    thin(&folder, bytes_max)?;
    done(Step::Thinned);
    let bytes = bytes.len() as u64;
    Ok(Taken { seq, path, bytes })
}

/// Removes the snapshots of what was pruned: those before `oldest`, the first sequence that is left.
/// Returns how many.
pub fn forget(data_dir: &Path, oldest: Seq) -> io::Result<usize> {
    let paths = list(&folder(data_dir))?;
    let before = |path: &PathBuf| place_of(path).is_some_and(|seq| seq < Seq(oldest.0 - 1));
    let old: Vec<PathBuf> = paths.into_iter().filter(before).collect();
    old.iter().try_for_each(fs::remove_file)?;
    Ok(old.len())
}

fn thin(folder: &Path, bytes_max: u64) -> io::Result<()> {
    // One snapshot is taken at a time: whatever is half written was left by a process that ended.
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(path)?;
        }
    }
    let mut kept = Vec::new();
    for path in list(folder)? {
        if let Some(seq) = place_of(&path) {
            kept.push((seq, fs::metadata(&path)?.len()));
        }
    }
    for seq in surplus(kept, bytes_max) {
        fs::remove_file(folder.join(file_name(seq)))?;
    }
    Ok(())
}

/// The snapshots in a folder, oldest first.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "snap")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
