//! What can go wrong with a backup or a restore. Every message names the object, file or place.

use std::io;
use std::path::{Path, PathBuf};

use hindcast_log::{BlobError, LogError};
use hindcast_model::{BackupId, Digest, Seq};
use uuid::Uuid;

use crate::crypt::KeyTag;
use crate::sign::Signer;

/// A target did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{target} has no object {name}")]
    Missing { target: String, name: String },
    #[error("{action} {name} in {target}: {source}")]
    Io {
        action: &'static str,
        target: String,
        name: String,
        source: io::Error,
    },
    #[error("`{url}` is no target: {why}")]
    Url { url: String, why: String },
    #[error("{action} {name} in {target}: answered with {status}: {message}")]
    Status {
        action: &'static str,
        target: String,
        name: String,
        status: u16,
        message: String,
    },
}

/// A backup, a verification or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("in the data directory, {0}")]
    Blob(#[from] BlobError),
    /// Its checksum, its seal or its place in the log does not hold.
    #[error("object {name} of the target is damaged: {what}")]
    Damaged { name: String, what: String },
    /// It is whole, and belongs to what a restore left behind.
    #[error("object {name} of the target is left out: {what}")]
    OtherHistory { name: String, what: String },
    #[error("the target is encrypted with key {wanted}, and no key was given")]
    KeyNeeded { wanted: KeyTag },
    #[error("the target is encrypted with key {wanted}, and the key that was given is {given}")]
    WrongKey { wanted: KeyTag, given: KeyTag },
    #[error(
        "the target is not encrypted, and a key was given: leave the key out, or take another target"
    )]
    NotEncrypted,
    #[error("the target is signed by {wanted}, and no signing key was given to write to it")]
    SigningKeyNeeded { wanted: Signer },
    #[error("the target is signed by {found}, and {wanted} was expected")]
    OtherSigner { found: Signer, wanted: Signer },
    #[error(
        "the target is not signed, and a key of its signer was given: leave the key out, or take \
         another target"
    )]
    NotSigned,
    #[error("the key file {}: {what}", path.display())]
    KeyFile { path: PathBuf, what: String },
    #[error("the target is of format {found} and this version reads {known}")]
    Format { found: u32, known: u32 },
    #[error("the target holds backups of log {there}, and this is log {here}")]
    OtherLog { there: Uuid, here: Uuid },
    #[error("{0} holds no backups: it has no hindcast.json")]
    NoRepository(String),
    #[error("there is no log in {}", .0.display())]
    NoLog(PathBuf),
    #[error("the target has no backup{0}")]
    NoBackup(&'static str),
    #[error("the target has no backup {0}")]
    UnknownBackup(BackupId),
    #[error("sequence {wanted} cannot be had: what there is ends with {last}")]
    BeyondEnd { wanted: Seq, last: Seq },
    #[error("nothing is left of the log before that moment")]
    Empty,
    #[error(
        "the events up to {to} were removed here, and this target has no backup of them: a backup \
         would not be the whole log, and backup {held_by} is; take the target that has it"
    )]
    Pruned { to: Seq, held_by: String },
    #[error(
        "sequences {from} to {to} are in no backup of this target: they had been removed from the \
         log before it was backed up; the first that a restore can end with is {}", to.next()
    )]
    Gone { from: Seq, to: Seq },
    #[error(
        "what was restored has the state {found} at sequence {seq}, and the backup says {told}"
    )]
    StateDiffers {
        seq: Seq,
        told: Digest,
        found: Digest,
    },
    #[error(
        "the backup was made by rules {there} and these are rules {here}: its state cannot be compared"
    )]
    OtherRules { there: u32, here: u32 },
    #[error("a server, or another restore, has {} open: stop it first", .0.display())]
    InUse(PathBuf),
    #[error(
        "{} is not empty and no data directory: it has neither wal/ nor archive/", .0.display()
    )]
    NotADataDir(PathBuf),
    #[error("{action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("not enough room to verify: {free} bytes are free and {wanted} are needed")]
    NoRoom { wanted: u64, free: u64 },
    #[error("the work was stopped")]
    Stopped,
}

impl BackupError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// What the log makes of an object: it is damaged, unless the disk under the log is what
    /// failed.
    pub(crate) fn of_object(name: &str, error: LogError) -> Self {
        if let LogError::OtherHistory(_) = error {
            return Self::OtherHistory {
                name: name.to_owned(),
                what: error.to_string(),
            };
        }
        match matches!(error, LogError::Io { .. }) {
            true => Self::Log(error),
            false => Self::damaged(name, error),
        }
    }

    pub(crate) fn damaged(name: &str, what: impl ToString) -> Self {
        Self::Damaged {
            name: name.to_owned(),
            what: what.to_string(),
        }
    }

    /// Whether trying again may help: the target did not answer as it should.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Target(TargetError::Io { .. } | TargetError::Status { .. }) | Self::Io { .. }
        )
    }
}
