//! Where backups go: a place for whole objects by name. An object is there as a whole or not at
//! all, whatever happens while it is written.

use crate::error::TargetError;

/// An object that a target lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub bytes: u64,
}

/// Bytes of the name of an object.
const NAME_BYTES_MAX: usize = 512;

/// Whether an object may be called so: parts of lower-case letters, digits, `-`, `_` and `.`
/// between `/`. No part is empty, begins with `.` or ends with `.tmp`.
#[must_use]
pub fn is_object_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".tmp");
    name.len() <= NAME_BYTES_MAX && is_object_prefix(name) && name.split('/').all(part)
}

/// Whether the name of an object may begin so.
#[must_use]
pub fn is_object_prefix(prefix: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_./".contains(&c);
    let (folders, last) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    let folder = |part: &str| !part.is_empty() && !part.starts_with('.');
    prefix.len() <= NAME_BYTES_MAX
        && prefix.bytes().all(plain)
        && !prefix.starts_with('/')
        && !last.starts_with('.')
        && (folders.is_empty() || folders.split('/').all(folder))
}

/// Objects by name. Names are of lower-case letters, digits, `-`, `_`, `.` and `/`.
pub trait Target: Send + Sync {
    /// What messages call it.
    fn title(&self) -> &str;

    /// Puts a whole object in place, durably, and replaces one that is there.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError>;

    /// The object's bytes.
    fn get(&self, name: &str) -> Result<Vec<u8>, TargetError>;

    /// Every object whose name begins with `prefix`, sorted by name.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, TargetError>;

    /// Removes an object; one that is not there is no error.
    fn remove(&self, name: &str) -> Result<(), TargetError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_their_directory() {
        for name in ["hindcast.json", "tail/0-1_2.zst", "a/b/c", "a..b"] {
            assert!(is_object_name(name) && is_object_prefix(name), "{name}");
        }
        for prefix in ["", "tail/", "blobs/0f/0"] {
            assert!(is_object_prefix(prefix), "{prefix}");
        }
        for name in [
            "", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", ".a", "a/.b", "A", "a b",
            "a%2f", "a\\b", "a\0b", "a.tmp", "a.tmp/b", "\u{e4}",
        ] {
            assert!(!is_object_name(name), "{name}");
        }
        for prefix in ["/", "/a", "a//", "../", "a/../", "..", "a/.", "A"] {
            assert!(!is_object_prefix(prefix), "{prefix}");
        }
        assert!(!is_object_name(&"a".repeat(513)));
    }
}
