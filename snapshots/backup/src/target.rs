//! Where backups go: a place for whole objects by name. An object is there as a whole or not at
//! all, whatever happens while it is written.

use crate::error::TargetError;

/// An object that a target lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub bytes: u64,
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
