//! One process at a time: the lock of a data directory.

use std::fs::File;
use std::path::Path;

use crate::error::LogError;
use crate::looking::Looking;

/// What is let go when the log is closed.
pub(crate) enum Held {
    Directory(#[expect(dead_code, reason = "it is a lock while it is open")] File),
    /// A log that is only looked at.
    Looking(#[expect(dead_code, reason = "it lives as long as the log")] Looking),
}

/// Whether a process has the data directory open.
#[must_use]
pub fn is_open(data_dir: &Path) -> bool {
    data_dir.join("LOCK").exists() && matches!(lock(data_dir), Err(LogError::Locked(_)))
}

/// Takes the data directory for this process, until the file is dropped.
pub(crate) fn lock(data_dir: &Path) -> Result<File, LogError> {
    let path = data_dir.join("LOCK");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(LogError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::Locked(data_dir.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(LogError::io("lock", &path)(error)),
    }
}

/// As `lock`, where nothing may be written: a lock file that is there is opened for reading alone. The
/// text says why there is no lock, where there can be none.
pub(crate) fn lock_to_look(data_dir: &Path) -> Result<Result<File, String>, LogError> {
    let path = data_dir.join("LOCK");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(format!("{}: {error}", path.display()))),
    };
    match file.try_lock() {
        Ok(()) => Ok(Ok(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::Locked(data_dir.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Ok(Err(format!("{}: {error}", path.display()))),
    }
}
