//! One process at a time: the lock of a data directory.

use std::fs::File;
use std::path::Path;

use crate::error::LogError;

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
