//! Which backup a restore begins with, and what it will read. Nothing is written.

use hindcast_log::{Cut, LogError, Reader};
use hindcast_model::{BackupId, Seq, UnixMicros};

use crate::build::Source;
use crate::error::BackupError;
use crate::manifest::Manifest;
use crate::repository::{Listed, Repository, part_range};

/// Up to where a log is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// As far as there is anything.
    Latest,
    /// The newest backup that was verified, as it is.
    LatestVerified,
    /// This backup, as it is.
    Backup(BackupId),
    /// Up to this event.
    Seq(Seq),
    /// Up to the last event whose time is not later.
    Time(UnixMicros),
}

/// What a restore will do.
#[derive(Clone)]
pub struct Plan {
    pub source: Source,
    pub cut: Cut,
    /// The backup that is begun with, and when it was verified.
    pub backup: Option<(BackupId, Option<UnixMicros>)>,
    /// Objects of the log that are read, and their bytes.
    pub objects: usize,
    pub bytes: u64,
    /// Objects of the log behind the backup that are tried.
    pub onward: usize,
    /// Blobs that the backup lists; those of kept events are read.
    pub blobs: usize,
    pub keys: usize,
    /// The last event that is certain to be there.
    pub last: Seq,
    /// The target is not encrypted and holds no data keys: what is sealed stays unreadable.
    pub without_keys: bool,
}

/// Plans a restore from a repository.
pub fn plan(repository: &Repository, wanted: Wanted) -> Result<Plan, BackupError> {
    let mut listed = repository.list()?;
    let newest = listed.len().checked_sub(1);
    let reaches = |listed: &Listed, seq: Seq| listed.manifest.to_seq >= seq;
    let index = match wanted {
        Wanted::Latest | Wanted::Time(_) => newest,
        Wanted::LatestVerified => {
            let verified = listed.iter().rposition(|listed| listed.verified.is_some());
            Some(verified.ok_or(BackupError::NoBackup(" that was verified"))?)
        }
        Wanted::Backup(id) => {
            let found = listed.iter().rposition(|listed| listed.manifest.id == id);
            Some(found.ok_or(BackupError::UnknownBackup(id))?)
        }
        Wanted::Seq(seq) => listed.iter().rposition(|l| reaches(l, seq)).or(newest),
    };
    let index = index.ok_or(BackupError::NoBackup(""))?;
    let Listed { manifest, verified } = listed.swap_remove(index);
    let (cut, onward) = match wanted {
        Wanted::Latest => (Cut::End, true),
        Wanted::LatestVerified | Wanted::Backup(_) => (Cut::Seq(manifest.to_seq), false),
        Wanted::Seq(seq) => (Cut::Seq(seq), seq > manifest.to_seq),
        Wanted::Time(at) => {
            let end = manifest.stretches.last().map_or(UnixMicros(0), |s| s.at);
            (Cut::Time(at), end <= at)
        }
    };
    let behind = match onward {
        true => shipped_after(repository, manifest.to_seq)?,
        false => 0,
    };
    let read = needed(&manifest, cut);
    Ok(Plan {
        cut,
        backup: Some((manifest.id, verified.map(|verified| verified.at))),
        objects: read,
        bytes: manifest.stretches[..read]
            .iter()
            .map(|s| s.stored_bytes)
            .sum(),
        onward: behind,
        blobs: manifest.blobs.len(),
        keys: manifest.keys.len(),
        last: match cut {
            Cut::Seq(seq) => seq.min(manifest.to_seq),
            Cut::Time(_) | Cut::End => manifest.to_seq,
        },
        without_keys: !repository.is_encrypted() && manifest.keys.is_empty(),
        source: Source::Repository {
            repository: repository.clone(),
            manifest: Box::new(manifest),
            onward,
        },
    })
}

/// How many of the backup's stretches are read before the cut is reached.
fn needed(manifest: &Manifest, cut: Cut) -> usize {
    let enough = |stretch: &crate::manifest::Stretch| match cut {
        Cut::Seq(seq) => stretch.last >= seq,
        Cut::Time(at) => stretch.at > at,
        Cut::End => false,
    };
    let count = manifest.stretches.len();
    let reached = manifest.stretches.iter().position(enough);
    reached.map_or(count, |index| index + 1)
}

fn shipped_after(repository: &Repository, last: Seq) -> Result<usize, BackupError> {
    let parts = repository.names("tail/")?;
    let parts = parts.keys().filter_map(|name| part_range(name));
    Ok(parts.filter(|(_, to)| *to > last).count())
}

/// Plans a restore from the segments of a data directory.
pub fn plan_local(data_dir: &std::path::Path, wanted: Wanted) -> Result<Plan, BackupError> {
    let reader = Reader::open(data_dir)?;
    if let Some(gap) = reader.gaps().pop() {
        // What is left begins with a state that no frame here bears out.
        return Err(LogError::Pruned(gap).into());
    }
    let no_log = || BackupError::NoLog(data_dir.to_owned());
    let segments = reader.segments();
    let newest = segments.last().ok_or_else(no_log)?;
    let cut = match wanted {
        Wanted::Latest => Cut::End,
        Wanted::Seq(seq) => Cut::Seq(seq),
        Wanted::Time(at) => Cut::Time(at),
        Wanted::LatestVerified => return Err(BackupError::NoBackup(" that was verified")),
        Wanted::Backup(id) => return Err(BackupError::UnknownBackup(id)),
    };
    Ok(Plan {
        source: Source::DataDir(data_dir.to_owned()),
        cut,
        backup: None,
        objects: segments.len(),
        bytes: 0,
        onward: 0,
        blobs: 0,
        keys: crate::send::key_files(data_dir)?.len(),
        last: match cut {
            Cut::Seq(seq) => seq,
            Cut::Time(_) | Cut::End => Seq(newest.first.0.saturating_sub(1)),
        },
        without_keys: false,
    })
}
