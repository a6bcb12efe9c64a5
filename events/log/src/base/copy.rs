//! The base of a log as a file that is copied: to a backup, and from one.

use std::path::Path;

use hindcast_model::{State, UnixMicros};

use super::{File, damaged};
use crate::copying::Place;
use crate::error::LogError;

/// What a pruned log goes on from, for whoever copies the log.
#[derive(Clone)]
pub struct BaseFile(pub(super) File);

impl BaseFile {
    /// Reads the bytes of a base that comes from elsewhere.
    ///
    /// # Errors
    ///
    /// When they are no whole base.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, String> {
        File::decode(bytes).map(Self)
    }

    /// All of it, as it stands in its file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The place that the log goes on from.
    #[must_use]
    pub fn place(&self) -> Place {
        self.0.base.link().into()
    }

    /// The time of the last event that was removed.
    #[must_use]
    pub const fn at(&self) -> UnixMicros {
        self.0.base.at
    }

    /// The backup that held what was removed last; none when that is lost.
    #[must_use]
    pub fn backup(&self) -> Option<&str> {
        self.0.base.note.backup.as_deref()
    }

    /// The state there.
    pub fn state(&self) -> Result<State, LogError> {
        self.0.base.check_rules()?;
        let read = self.0.checkpoint();
        Ok(read
            .map_err(|what| damaged(Path::new(""), self.0.base.last, what))?
            .state)
    }
}
