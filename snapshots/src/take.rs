//! Taking a snapshot while writing goes on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hindcast_log::Checkpoint;
use hindcast_model::Seq;

use crate::file;

/// Snapshots that are kept: when the newest does not verify, the one before it is near.
const KEPT: usize = 2;

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

/// Writes the checkpoint to the snapshots of `data_dir` and returns once it is on the medium.
/// Older ones than the newest two are removed.
pub fn take(data_dir: &Path, checkpoint: &Checkpoint) -> io::Result<Taken> {
    let folder = folder(data_dir);
    fs::create_dir_all(&folder)?;
    let bytes = file::encode(checkpoint).map_err(io::Error::other)?;
    let seq = checkpoint.state.seq();
    let path = folder.join(file_name(seq));
    let half = path.with_extension("tmp");
    let mut file = File::create(&half)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    fs::rename(&half, &path)?;
    File::open(&folder)?.sync_all()?;
    for old in list(&folder)?.iter().rev().skip(KEPT) {
        fs::remove_file(old)?;
    }
    let bytes = bytes.len() as u64;
    Ok(Taken { seq, path, bytes })
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
