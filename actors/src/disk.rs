//! Free space of the file system that the data directory is on.

use std::path::Path;

/// Bytes that this process may still write; `None` when the system does not say.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(path).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_directory_has_free_space_and_a_missing_one_has_no_answer() {
        let here = tempfile::tempdir().unwrap();
        assert!(super::free_bytes(here.path()).is_some());
        assert_eq!(super::free_bytes(&here.path().join("missing")), None);
    }
}
