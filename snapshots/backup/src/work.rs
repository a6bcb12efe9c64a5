//! What every long piece of work is given: a clock, and who hears of each step.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use hindcast_log::{Clock, Disk, LogError, Reader, RealDisk};

use crate::error::BackupError;

/// The steps of a backup, a restore and a pruning, in order. A process that is killed at any of
/// them leaves a target and a data directory with which the same can be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Step {
    /// Backup: the target is a repository of this log.
    RepositoryReady = 1,
    /// It is known what the target lacks.
    Compared = 2,
    /// The sealed segments are there, each after its blobs.
    SegmentsSent = 3,
    /// The frames of the open segment are there.
    TailSent = 4,
    /// The data keys are there.
    KeysSent = 5,
    /// The state was folded and its hash is known.
    StateHashed = 6,
    /// The manifest is there: the backup exists.
    ManifestSent = 7,
    /// Restore: it is known what is needed.
    Planned = 20,
    /// The directory beside the data directory was made.
    DirectoryMade = 21,
    /// The segments are written.
    LogWritten = 22,
    /// They were read again, checked and folded; the state hash is known.
    Replayed = 23,
    BlobsWritten = 24,
    KeysWritten = 25,
    /// A snapshot of the state is written.
    SnapshotTaken = 26,
    /// The event that begins the epoch is durable.
    EpochBegun = 27,
    /// Switch: nobody has the data directory open.
    Locked = 28,
    /// The data directory is the restored one.
    Switched = 29,
    /// The one before is kept under its own name.
    OldKept = 30,
    /// Its backups were moved over.
    BackupsMoved = 31,
    /// The mark of a restore at work is gone.
    Finished = 32,
    /// Prune: the manifests that are not kept are gone.
    ManifestsRemoved = 40,
    /// The objects that nothing needs are gone.
    ObjectsRemoved = 41,
}

impl Step {
    /// Every step of a backup.
    pub const BACKUP: &'static [Self] = &[
        Self::RepositoryReady,
        Self::Compared,
        Self::SegmentsSent,
        Self::TailSent,
        Self::KeysSent,
        Self::StateHashed,
        Self::ManifestSent,
    ];
    /// Every step of a restore and its switch.
    pub const RESTORE: &'static [Self] = &[
        Self::Planned,
        Self::DirectoryMade,
        Self::LogWritten,
        Self::Replayed,
        Self::BlobsWritten,
        Self::KeysWritten,
        Self::SnapshotTaken,
        Self::EpochBegun,
        Self::Locked,
        Self::Switched,
        Self::OldKept,
        Self::BackupsMoved,
        Self::Finished,
    ];
    /// Every step of a pruning.
    pub const PRUNE: &'static [Self] = &[Self::ManifestsRemoved, Self::ObjectsRemoved];
}

/// What a long piece of work is given.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub clock: &'a dyn Clock,
    /// Where the log is read and what is built is written.
    pub disk: &'a Arc<dyn Disk>,
    /// Hears of each step once it is done.
    pub done: &'a dyn Fn(Step),
    /// Whether the work is to end.
    pub stopped: &'a dyn Fn() -> bool,
}

impl<'a> Work<'a> {
    /// Work on this machine's disk that nobody watches or stops.
    #[must_use]
    pub fn new(clock: &'a dyn Clock) -> Self {
        static REAL: LazyLock<Arc<dyn Disk>> = LazyLock::new(|| Arc::new(RealDisk));
        Self {
            clock,
            disk: &REAL,
            done: &|_| {},
            stopped: &|| false,
        }
    }

    pub(crate) fn read(&self, data_dir: &Path) -> Result<Reader, LogError> {
        Reader::open_on(Arc::clone(self.disk), data_dir)
    }

    pub(crate) fn step(&self, step: Step) -> Result<(), BackupError> {
        (self.done)(step);
        self.check()
    }

    pub(crate) fn check(&self) -> Result<(), BackupError> {
        match (self.stopped)() {
            true => Err(BackupError::Stopped),
            false => Ok(()),
        }
    }
}
