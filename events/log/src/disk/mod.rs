//! The disk as the log uses it: positioned reads and writes, fdatasync, rename, and directories
//! that have to be synced too. One implementation is the file system, the other simulates it with
//! faults.

mod real;
mod sim;

use std::io;
use std::path::{Path, PathBuf};

pub use real::RealDisk;
pub use sim::{Fault, SimDisk};

/// A directory tree. What is not synced may be lost, in part and in any order, by a crash.
pub trait Disk: Send + Sync {
    /// Makes a file that does not exist yet, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists.
    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn DiskFile>>;

    /// Replaces `to` by `from`; durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a directory, sorted; none when it does not exist.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Every file below a directory with its bytes, sorted; none when it does not exist.
    fn tree(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>>;

    /// Makes a directory and those above it; durable when it returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Removes a directory and everything in it; nothing of that is synced.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes the directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// All bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_from(self.open(path, false)?.as_ref(), 0)
    }
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads up to `into.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns once what was written is on the medium (fdatasync).
    fn sync_data(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// The whole file's bytes from `offset` to its end.
pub(crate) fn read_from(file: &dyn DiskFile, offset: u64) -> io::Result<Vec<u8>> {
    let len = file.len()?.saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}
