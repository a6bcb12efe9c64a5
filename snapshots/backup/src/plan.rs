//! Which backup a restore begins with, and what it will read. Nothing is written.

use hindcast_log::{BaseFile, Cut, LogError, Reader};
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
    /// The first event that is restored: 1, unless the log had been pruned before the backup.
    pub first: Seq,
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
    /// What of other backups is damaged, and was passed over.
    pub passed_over: Vec<String>,
}

/// Plans a restore from a repository.
pub fn plan(repository: &Repository, wanted: Wanted) -> Result<Plan, BackupError> {
    let (mut listed, mut damaged) = repository.survey()?;
    if listed.is_empty() && !damaged.is_empty() {
        return Err(damaged.swap_remove(0));
    }
    let newest = listed.len().checked_sub(1);
    let index = match wanted {
        Wanted::Latest => newest,
        Wanted::Time(at) => holding_time(&listed, at)?,
        Wanted::LatestVerified => {
            let verified = listed.iter().rposition(|listed| listed.verified.is_some());
            Some(verified.ok_or(BackupError::NoBackup(" that was verified"))?)
        }
        Wanted::Backup(id) => {
            let found = listed.iter().rposition(|listed| listed.manifest.id == id);
            if found.is_none() {
                // It is damaged, or not there.
                repository.find(id)?;
            }
            Some(found.ok_or(BackupError::UnknownBackup(id))?)
        }
        Wanted::Seq(seq) => holding(&listed, seq)?,
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
    let (behind, last) = match onward {
        true => shipped_after(repository, manifest.to_seq)?,
        false => (0, manifest.to_seq),
    };
    within(cut, last)?;
    let read = needed(&manifest, cut);
    Ok(Plan {
        cut,
        first: manifest.first_seq(),
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
            Cut::Time(at) => certain_by(&manifest, at),
            Cut::End => manifest.to_seq,
        },
        without_keys: !repository.is_encrypted() && manifest.keys.is_empty(),
        passed_over: damaged.iter().map(ToString::to_string).collect(),
        source: Source::Repository {
            repository: repository.clone(),
            manifest: Box::new(manifest),
            onward,
        },
    })
}

/// The newest backup that holds the event, or that what was shipped since may lead there from.
fn holding(listed: &[Listed], seq: Seq) -> Result<Option<usize>, BackupError> {
    let reaches = |listed: &&Listed| listed.manifest.to_seq >= seq;
    let holds = |l: &Listed| l.manifest.first_seq() <= seq && l.manifest.to_seq >= seq;
    let Some(begins) = listed.iter().filter(reaches).map(first_seq).min() else {
        // Beyond every backup; what a newer one begins behind is in none.
        let newest = listed.len().checked_sub(1);
        return Ok(newest);
    };
    match listed.iter().rposition(holds) {
        Some(index) => Ok(Some(index)),
        None => Err(gap_before(listed, begins)),
    }
}

/// The newest backup in which the last event that is not later than `at` is known to be that: it
/// holds an event before that moment, and either nothing is missing behind it or one that is later.
fn holding_time(listed: &[Listed], at: UnixMicros) -> Result<Option<usize>, BackupError> {
    let Some(newest) = listed.last() else {
        return Ok(None);
    };
    let begun = |listed: &Listed| {
        let base = listed.manifest.base.as_ref();
        base.is_none_or(|base| base.at <= at)
    };
    if begun(newest) {
        return Ok(Some(listed.len() - 1));
    }
    let ended = |l: &Listed| l.manifest.stretches.last().is_some_and(|s| s.at > at);
    let found = listed
        .iter()
        .rposition(|listed| begun(listed) && ended(listed));
    match found {
        Some(index) => Ok(Some(index)),
        None => Err(gap_before(listed, first_seq(newest))),
    }
}

fn first_seq(listed: &Listed) -> Seq {
    listed.manifest.first_seq()
}

/// What no backup holds of the events before `begins`.
fn gap_before(listed: &[Listed], begins: Seq) -> BackupError {
    let ends = listed.iter().map(|listed| listed.manifest.to_seq);
    let before = ends.filter(|end| *end < begins).max();
    BackupError::Gone {
        from: before.unwrap_or(Seq(0)).next(),
        to: Seq(begins.0 - 1),
    }
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

/// How many parts were shipped of what comes after `last`, and the last event in one of them.
fn shipped_after(repository: &Repository, last: Seq) -> Result<(usize, Seq), BackupError> {
    let parts = repository.names("tail/")?;
    let ends = parts.keys().filter_map(|name| Some(part_range(name)?.1));
    let ends: Vec<Seq> = ends.filter(|to| *to > last).collect();
    Ok((ends.len(), ends.iter().copied().max().unwrap_or(last)))
}

/// Refuses to restore up to an event that comes after the `last` there is.
fn within(cut: Cut, last: Seq) -> Result<(), BackupError> {
    match cut {
        Cut::Seq(wanted) if wanted > last => Err(BackupError::BeyondEnd { wanted, last }),
        Cut::Seq(_) | Cut::Time(_) | Cut::End => Ok(()),
    }
}

/// The last event that is certain not to be later than `at`: what ends a stretch.
fn certain_by(manifest: &Manifest, at: UnixMicros) -> Seq {
    let before = manifest.stretches.iter().take_while(|s| s.at <= at);
    let last = before.last().map(|stretch| stretch.last);
    last.unwrap_or(Seq(manifest.first_seq().0 - 1))
}

/// Plans a restore from the segments of a data directory.
pub fn plan_local(data_dir: &std::path::Path, wanted: Wanted) -> Result<Plan, BackupError> {
    let reader = Reader::open(data_dir)?;
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
    // Where the newest segment is damaged the cut may be before that.
    let end = reader.head().ok().flatten().map(|head| head.seq);
    if let Some(end) = end {
        within(cut, end)?;
    }
    let base = reader.base();
    let before = |base: &BaseFile| match cut {
        Cut::Seq(seq) => seq <= base.place().last(),
        Cut::Time(at) => at < base.at(),
        Cut::End => false,
    };
    if base.as_ref().is_some_and(before)
        && let Some(gap) = reader.gaps().pop()
    {
        return Err(LogError::Pruned(gap).into());
    }
    let certain = end.unwrap_or(Seq(newest.first.0 - 1));
    Ok(Plan {
        source: Source::DataDir(data_dir.to_owned()),
        cut,
        first: base.map_or(Seq(1), |base| base.place().next),
        backup: None,
        objects: segments.len(),
        bytes: 0,
        onward: 0,
        blobs: 0,
        keys: crate::send::key_files(data_dir)?.len(),
        last: match cut {
            Cut::Seq(seq) => seq.min(certain),
            Cut::Time(_) => Seq(0),
            Cut::End => certain,
        },
        without_keys: false,
        passed_over: Vec::new(),
    })
}
