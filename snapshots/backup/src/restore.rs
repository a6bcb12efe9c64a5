//! Restoring: a data directory is built beside the one that is there, replayed, given an epoch of
//! its own, and put in its place in one step. Without a state hash there is no success.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hindcast_log::{Checkpoint, Cut, LogError, Reader, begin_epoch, state_hash};
use hindcast_model::event::Restored as RestoredEvent;
use hindcast_model::{BackupId, DECIDER_VERSION, Digest, Event, Seq, UnixMicros};
use uuid::Uuid;

use crate::build::{Shape, Source, build_blobs, build_keys, build_log, shredded_in};
use crate::error::BackupError;
use crate::plan::Plan;
use crate::switch::Switch;
use crate::work::{Step, Work};

/// Where to and in which shape.
pub struct Restore<'a> {
    pub data_dir: &'a Path,
    /// Bytes of the segments that are begun.
    pub segment_bytes: u64,
}

/// A data directory that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The state after the event at `to_seq`.
    pub state_hash: Digest,
    /// Whether the state hash was compared with the backup's: it is when both end at the same event
    /// and the rules are the same.
    pub compared: bool,
    pub log: Uuid,
    /// The event that was asked for, or the last one there is, and its time.
    pub to_seq: Seq,
    pub at: UnixMicros,
    /// The last event that was restored: what was decided in one with that at `to_seq` comes with it.
    pub decided_to: Seq,
    pub epoch: u32,
    pub previous_epoch: u32,
    pub backup: Option<BackupId>,
    pub blobs: usize,
    pub keys: usize,
    /// Where the data directory really is: where a symbolic link of that name leads to.
    pub data_dir: PathBuf,
    /// Where the data directory is kept that was there before.
    pub kept: Option<PathBuf>,
    /// Local backups in it that are of another log, and did not move over.
    pub backups_kept: Option<PathBuf>,
    /// Objects that were no step onward, and why.
    pub passed_over: Vec<String>,
    /// Blobs that events name and that were lost before.
    pub lost_blobs: BTreeSet<Digest>,
    pub micros: u64,
}

/// Carries a plan out.
pub fn restore(plan: &Plan, to: &Restore<'_>, work: &Work<'_>) -> Result<Restored, BackupError> {
    let begun = work.clock.monotonic();
    work.step(Step::Planned)?;
    let switch = Switch::begin(to.data_dir)?;
    work.step(Step::DirectoryMade)?;
    let (dir, real) = (switch.beside.clone(), switch.data_dir.clone());
    let wall = work.clock.wall();
    // Two restores of one backup are two histories: the second that each began in tells them apart.
    let epoch = u32::try_from(wall.0 / 1_000_000).unwrap_or(u32::MAX);
    let shape = Shape {
        cut: plan.cut,
        epoch,
        segment_bytes: to.segment_bytes,
    };
    let built = build_log(&plan.source, &dir, &shape, work)?;
    let lost_blobs = build_blobs(&plan.source, &dir, &built.blobs, work)?;
    work.step(Step::BlobsWritten)?;
    let place = built.rebuilt.place;
    // A redaction in what is replaced may be later than the backup.
    let shredded = shredded_in(to.data_dir, place.log)?;
    let keys = build_keys(&plan.source, shredded, &dir)?;
    work.step(Step::KeysWritten)?;
    let checkpoint = Checkpoint {
        log: place.log,
        epoch: place.epoch,
        chain: place.chain,
        state: built.replayed.state.clone(),
    };
    hindcast_snapshots::take(&dir, &checkpoint, u64::MAX)
        .map_err(BackupError::io("write a snapshot in", &dir))?;
    work.step(Step::SnapshotTaken)?;
    let last = (place.last(), built.state_hash);
    let (to_seq, state_hash) = asked_for(plan.cut, last, || work.read(&dir))?;
    let previous_epoch = built.rebuilt.source_epoch;
    let epoch = epoch.max(previous_epoch.saturating_add(1)).max(place.epoch);
    let event = event(plan, last, (previous_epoch, epoch));
    let after = begin_epoch(
        (work.disk, &dir),
        to.segment_bytes,
        built.replayed,
        (epoch, wall, event),
    )?;
    work.step(Step::EpochBegun)?;
    let kept = switch.finish(work)?;
    Ok(Restored {
        state_hash,
        compared: compared(&plan.source, (place.last(), place.chain)),
        log: place.log,
        to_seq,
        decided_to: place.last(),
        at: built.rebuilt.at,
        epoch: after.epoch,
        previous_epoch,
        backup: plan.backup.map(|(id, _)| id),
        blobs: built.blobs.len() - lost_blobs.len(),
        keys,
        data_dir: real,
        kept: kept.dir,
        backups_kept: kept.backups,
        passed_over: built.passed_over,
        lost_blobs,
        micros: work.clock.monotonic().saturating_sub(begun),
    })
}

/// What the log says of its restore: the last event that was restored, with the state hash there.
fn event(
    plan: &Plan,
    (cut, state_hash): (Seq, Digest),
    (previous_epoch, epoch): (u32, u32),
) -> Event {
    Event::Restored(RestoredEvent {
        source: plan.source.title(),
        backup: plan.backup.map(|(id, _)| id),
        cut,
        previous_epoch,
        epoch,
        state_hash,
    })
}

/// The event that was asked for, which others may follow that were decided from it, and the state
/// hash there.
fn asked_for(
    cut: Cut,
    last: (Seq, Digest),
    restored: impl FnOnce() -> Result<Reader, LogError>,
) -> Result<(Seq, Digest), BackupError> {
    match cut {
        Cut::Seq(seq) if seq < last.0 => {
            let asked = restored()?.fold(None, seq)?;
            Ok((seq, state_hash(&asked.state)?))
        }
        Cut::Seq(_) | Cut::Time(_) | Cut::End => Ok(last),
    }
}

fn compared(source: &Source, place: (Seq, Digest)) -> bool {
    match source {
        Source::Repository { manifest, .. } => {
            (manifest.to_seq, manifest.chain) == place
                && manifest.decider_version == DECIDER_VERSION
        }
        Source::DataDir(_) => false,
    }
}
