//! Finding the newest snapshot that verifies.

use std::io;
use std::path::{Path, PathBuf};

use hindcast_log::{Checkpoint, Disk, RealDisk};
use hindcast_model::Seq;

use crate::file::{self, Bad};
use crate::take::{file_name, folder, list};

/// A snapshot that does not verify: it is renamed, so that it is neither tried again nor lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    pub path: PathBuf,
    pub why: Bad,
}

/// What the snapshots of a data directory offer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// The newest that verifies. The log still checks its place in the chain.
    pub checkpoint: Option<Checkpoint>,
    pub set_aside: Vec<SetAside>,
}

/// Reads the newest snapshot under `data_dir` that verifies and sets aside those that do not.
pub fn newest(data_dir: &Path) -> io::Result<Found> {
    newest_on(&RealDisk, data_dir)
}

/// As [`newest`], on a disk.
pub fn newest_on(disk: &dyn Disk, data_dir: &Path) -> io::Result<Found> {
    find(disk, data_dir, |path| aside(disk, path))
}

/// As [`newest`], but snapshots that cannot be used stay where they are.
pub fn newest_in_place(data_dir: &Path) -> io::Result<Found> {
    find(&RealDisk, data_dir, |path| Ok(path.to_owned()))
}

fn find(
    disk: &dyn Disk,
    data_dir: &Path,
    set_aside: impl Fn(&Path) -> io::Result<PathBuf>,
) -> io::Result<Found> {
    let mut found = Found::default();
    for path in list(disk, &folder(data_dir))?.into_iter().rev() {
        match decode(&path, &disk.read(&path)?) {
            Ok(checkpoint) => {
                found.checkpoint = Some(checkpoint);
                break;
            }
            Err(why) => {
                let path = set_aside(&path)?;
                found.set_aside.push(SetAside { path, why });
            }
        }
    }
    Ok(found)
}

/// Reads a snapshot, which is named after its place.
fn decode(path: &Path, bytes: &[u8]) -> Result<Checkpoint, Bad> {
    let checkpoint = file::decode(bytes)?;
    let seq = checkpoint.state.seq();
    match path
        .file_name()
        .is_some_and(|name| name == file_name(seq).as_str())
    {
        true => Ok(checkpoint),
        false => Err(Bad::OtherName(seq)),
    }
}

/// Renames a snapshot, so that it is neither used nor lost. Returns its new path.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    aside(&RealDisk, path)
}

fn aside(disk: &dyn Disk, path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension("bad");
    disk.rename(path, &aside)?;
    Ok(aside)
}

/// Where the snapshot at `seq` is, if there is one.
#[must_use]
pub fn path(data_dir: &Path, seq: Seq) -> PathBuf {
    folder(data_dir).join(file_name(seq))
}

/// The snapshots whose checksums do not hold, each with what is wrong. `pace` is called with the
/// bytes of each file; `false` ends the reading early.
pub fn damaged(
    data_dir: &Path,
    pace: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Vec<(PathBuf, Bad)>> {
    let mut found = Vec::new();
    for path in list(&RealDisk, &folder(data_dir))? {
        let bytes = match RealDisk.read(&path) {
            Ok(bytes) => bytes,
            // It was thinned out since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Err(why) = file::whole(&bytes) {
            found.push((path, why));
        }
        if !pace(bytes.len() as u64) {
            break;
        }
    }
    Ok(found)
}

/// A snapshot's file and what it holds.
pub type Checked = (PathBuf, Result<Checkpoint, Bad>);

/// Reads every snapshot under `data_dir`, oldest first and one at a time, and changes nothing. One
/// that a running server has removed meanwhile is left out.
pub fn all(data_dir: &Path) -> io::Result<impl Iterator<Item = io::Result<Checked>>> {
    let paths = list(&RealDisk, &folder(data_dir))?.into_iter();
    Ok(paths.filter_map(|path| match RealDisk.read(&path) {
        Ok(bytes) => {
            let read = decode(&path, &bytes);
            Some(Ok((path, read)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error)),
    }))
}
