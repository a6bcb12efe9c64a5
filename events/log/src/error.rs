//! What can go wrong with the log, by who has to act: the caller, the operator, or nobody.

use std::io;
use std::path::PathBuf;

use hindcast_model::{Seq, Stream};

use crate::base::Gap;

/// A fault of the log: the operator has to act.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Damage that no crash of ours can leave behind. The log does not open over it.
    #[error("the log is damaged at sequence {seq} ({file} at byte {offset}): {what}")]
    Corrupt {
        seq: Seq,
        file: String,
        offset: u64,
        what: String,
    },
    #[error("{action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("another process has {0} open; name it with --server, or stop it")]
    Locked(PathBuf),
    #[error("the log is of format {found} and this version reads up to {known}")]
    Format { found: u32, known: u32 },
    #[error("cursor {0} belongs to another log or epoch")]
    ForeignCursor(String),
    /// The segments end before events that were acknowledged: a file is gone or was replaced by an
    /// older one. Going on would give their sequences to other events.
    #[error(
        "the log ends at sequence {head}, but {evidence} has sequence {known}: the segments of \
         acknowledged events are gone from wal/ or archive/"
    )]
    TailLost {
        head: Seq,
        known: Seq,
        evidence: &'static str,
    },
    #[error("the lookup store belongs to another log and holds events up to {known}")]
    StoreForeign { known: Seq },
    /// Intact frames of the same log that do not go on from its end at hand: a restore cut it there.
    #[error(
        "it is of an abandoned history: since a restore the log goes on otherwise from sequence {0}"
    )]
    OtherHistory(Seq),
    #[error("the checkpoint at sequence {0} is not of this log")]
    ForeignCheckpoint(Seq),
    #[error("the log ends at sequence {head}, before {wanted}")]
    Ends { head: Seq, wanted: Seq },
    /// A query into what was removed.
    #[error("{0}")]
    Pruned(Gap),
    /// The state that the log goes on from was folded by other rules.
    #[error(
        "the log was pruned to sequence {to} by version {binary} with rules {rules}, and these are \
         rules {here}, which have to fold it from its beginning: put the segments from sequence 1 \
         on back into archive/ from {}",
        .backup.as_ref().map_or_else(|| "a backup".to_owned(), |id| format!("backup {id}"))
    )]
    PrunedByOtherRules {
        to: Seq,
        rules: u32,
        here: u32,
        binary: String,
        backup: Option<String>,
    },
    #[error("the log cannot be pruned: {0}")]
    NotPruned(String),
    #[error("the lookup store: {0}")]
    Store(#[from] sled::Error),
    #[error("the lookup store is damaged: {0}")]
    StoreDamaged(String),
    /// A log that is only looked at has its lookup store in another place.
    #[error(
        "without writing to the data directory a copy of its lookup store is needed, of {bytes} bytes, \
         in {}: {source}; TMPDIR names another place for it",
        into.display()
    )]
    NotCopied {
        bytes: u64,
        into: PathBuf,
        source: io::Error,
    },
    #[error("the lookup store waits for room on the disk")]
    StoreWaits,
    #[error("encoding: {0}")]
    Codec(String),
}

impl LogError {
    /// Whether it passes when there is room on the disk.
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        let full = |kind: io::ErrorKind| {
            matches!(
                kind,
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            )
        };
        if let Self::Store(sled::Error::Io(source)) | Self::Io { source, .. } = self {
            return full(source.kind());
        }
        // The handle that failed may still be held by a reader.
        matches!(self, Self::Locked(_) | Self::StoreWaits)
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Why a submission was not recorded. Refusals that the core decides are events instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("{stream} is at version {actual}, expected {expected}")]
    VersionConflict {
        stream: Stream,
        expected: u64,
        actual: u64,
    },
    #[error("an event of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// The decision panicked; nothing of the command is recorded.
    #[error("the decision failed: {0}")]
    Panicked(String),
    /// There is no room for another segment.
    #[error("no room for the log: {0}")]
    NoRoom(String),
    #[error("the log is read-only: {0}")]
    ReadOnly(String),
    #[error("the log is closed")]
    Closed,
}

/// Why a submission was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("{queued} submissions are queued, which is the limit")]
    Full { queued: usize },
    #[error("the log is closed")]
    Closed,
}
