//! Snapshots and backups of the log under test, on the same disk and under the same accidents.
//! What was promised of them is checked after every start: a snapshot folds to what the log folds
//! to, and a backup that exists is there and restores to the state that it was made of.

use std::path::Path;
use std::sync::Arc;

use hindcast_backup::{BackupError, Create, Directory, Repository, TargetError, Work};
use hindcast_backup::{create, verify};
use hindcast_log::{BlobError, Clock, Fault, Journal, LogError, Reader, state_hash};
use hindcast_model::event::BackupKind;
use hindcast_model::{BackupId, Digest, Seq, UnixMicros};

use crate::Tell;
use crate::reference::ensure;
use crate::world::{Clocks, World, data_dir};

/// Bytes of snapshots: few enough that some are thinned out.
const SNAPSHOTS_BYTES_MAX: u64 = 64 << 10;

/// What came of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub snapshots: u64,
    pub backups: u64,
    pub restores: u64,
    /// Snapshots, backups and restores that the disk ended.
    pub broken_off: u64,
}

/// The copies that were promised.
#[derive(Debug, Default)]
pub struct Copies {
    backups: Vec<(BackupId, Seq, Digest)>,
    asked: u128,
    pub counts: Counts,
}

/// The clocks of a world while something is done in it.
struct Still(Clocks);

impl Clock for Still {
    fn wall(&self) -> UnixMicros {
        UnixMicros(self.0.wall)
    }

    fn monotonic(&self) -> u64 {
        self.0.monotonic
    }
}

fn repository(world: &World) -> Repository {
    let target = Directory::on(Arc::clone(&world.disk), Path::new("/backups"));
    Repository::new(Arc::new(target), None, Arc::new(Default::default))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Copies {
    /// Now and then a snapshot or a backup of what is durable.
    pub fn take(
        &mut self,
        world: &mut World,
        journal: &Journal,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        if world.random.once_in(6) {
            let at = (world.disk.as_ref(), data_dir());
            let checkpoint = journal.checkpoint();
            match hindcast_snapshots::take_watched(at, &checkpoint, SNAPSHOTS_BYTES_MAX, &|_| {}) {
                Ok(_) => self.counts.snapshots += 1,
                Err(error) => {
                    tell(format!("no snapshot: {error}"));
                    self.counts.broken_off += 1;
                }
            }
        }
        if world.random.once_in(10) && !world.sim.is_down() {
            self.back_up(world, journal, tell)?;
        }
        Ok(())
    }

    fn back_up(
        &mut self,
        world: &mut World,
        journal: &Journal,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        self.asked += 1;
        let head = journal.state().seq();
        let request = Create {
            id: BackupId::from_bytes(((7 << 120) | self.asked).to_be_bytes()),
            kind: match world.random.once_in(4) {
                true => BackupKind::Full,
                false => BackupKind::Incremental,
            },
            data_dir: data_dir(),
            to: Some(head),
            binary_version: "chaos",
            plain_keys: false,
        };
        let clock = Still(world.clocks.clone());
        let work = Work {
            disk: &world.disk,
            ..Work::new(&clock)
        };
        match create(&repository(world), &request, &work) {
            Ok(manifest) => {
                let state = state_hash(journal.state()).map_err(text)?;
                ensure!(
                    manifest.to_seq == head && manifest.state_hash == state,
                    "the backup up to {head} is of another state"
                );
                self.backups.push((request.id, head, state));
                self.counts.backups += 1;
                Ok(())
            }
            Err(error) => self.broken(&error, "no backup", tell),
        }
    }

    /// A disk may end the work; nothing else may.
    fn broken(&mut self, error: &BackupError, what: &str, tell: Tell<'_>) -> Result<(), String> {
        tell(format!("{what}: {error}"));
        self.counts.broken_off += 1;
        let of_disk = matches!(
            error,
            BackupError::Io { .. }
                | BackupError::Log(LogError::Io { .. })
                | BackupError::Blob(BlobError::Io { .. })
                | BackupError::Target(TargetError::Io { .. })
        );
        ensure!(of_disk, "{what}: {error}");
        Ok(())
    }

    /// Checks every promise on what a start has recovered. Whether the power went meanwhile, so
    /// that what is open has to be opened again.
    pub fn check(&mut self, world: &mut World, tell: Tell<'_>) -> Result<bool, String> {
        // A fault that was to strike while the log was opened is none of what follows.
        world.sim.restart();
        let found = hindcast_snapshots::newest_on(world.disk.as_ref(), data_dir()).map_err(text)?;
        ensure!(
            found.set_aside.is_empty(),
            "a snapshot under its name is damaged: {:?}",
            found.set_aside
        );
        let reader = Reader::open_on(Arc::clone(&world.disk), data_dir()).map_err(text)?;
        let head = reader.head().map_err(text)?.map_or(Seq(0), |head| head.seq);
        if let Some(start) = found.checkpoint {
            let from = start.state.seq();
            ensure!(from <= head, "a snapshot of {from} is ahead of {head}");
            same_state(&reader, head)?;
            same_state(&reader, Seq(1 + world.random.below(head.0)))?;
        }
        self.check_backups(world, tell)
    }

    fn check_backups(&mut self, world: &mut World, tell: Tell<'_>) -> Result<bool, String> {
        let Some((id, to, state)) = world.random.pick(&self.backups).copied() else {
            return Ok(false);
        };
        let clock = Still(world.clocks.clone());
        let faulty = world.random.once_in(3);
        if faulty {
            let fault = match world.random.below(3) {
                0 => Fault::WriteError,
                1 => Fault::SyncError,
                _ => Fault::PowerCut,
            };
            let after = 1 + world.random.below(12);
            world.sim.schedule(fault, after);
        }
        let mut crashed = false;
        loop {
            let work = Work {
                disk: &world.disk,
                ..Work::new(&clock)
            };
            match verify(&repository(world), id, data_dir(), &work) {
                Ok(verified) => {
                    ensure!(
                        verified.state_hash == state && verified.events == to.0,
                        "the backup up to {to} restores to another state"
                    );
                    self.counts.restores += 1;
                    break;
                }
                Err(error) if faulty && !crashed => {
                    self.broken(&error, "no restore", tell)?;
                    world.sim.crash();
                    crashed = true;
                }
                Err(error) => return Err(format!("the backup up to {to}: {error}")),
            }
        }
        // A fault that did not strike is none of the life that follows.
        world.sim.restart();
        let listed = repository(world).list().map_err(text)?;
        for (id, to, state) in &self.backups {
            let there = listed.iter().find(|listed| listed.manifest.id == *id);
            ensure!(
                there.is_some_and(|l| (l.manifest.to_seq, l.manifest.state_hash) == (*to, *state)),
                "the backup up to {to} is gone"
            );
        }
        Ok(crashed)
    }
}

/// With the snapshots and without, the log folds to one state.
fn same_state(reader: &Reader, seq: Seq) -> Result<(), String> {
    let near = hindcast_snapshots::at(reader, seq).map_err(text)?;
    let whole = reader.fold(None, seq).map_err(text)?;
    ensure!(
        near.state == whole.state,
        "the snapshot at {:?} folds to another state at {seq}",
        near.from_snapshot
    );
    Ok(())
}
