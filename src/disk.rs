//! The file system that holds the data directory.

use std::path::Path;

/// Its free and total bytes, as an ordinary user may use them; `None` when the system does not
/// say.
#[must_use]
pub fn space(path: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // What is kept for the administrator is neither free nor used.
    let kept = found.f_bfree.saturating_sub(found.f_bavail);
    let size = found.f_blocks.saturating_sub(kept);
    Some((bytes(found.f_bavail), bytes(size)))
}

/// All bytes of the file system, also those that are kept for the administrator.
#[must_use]
pub fn whole(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_blocks.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_a_size() {
        let (free, total) = space(Path::new("/")).expect("a file system");
        assert!(free <= total && total > 0);
        assert!(whole(Path::new("/")).expect("a file system") >= total);
        assert_eq!(space(Path::new("/nowhere/at/all")), None);
    }
}
