//! Opening: checks the segments, folds the state, brings the lookup store up to the log, and
//! leaves the writer behind the last intact frame.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use hindcast_model::event::{StoreRebuilt, TornTailCut};
use hindcast_model::{Event, Seq};

use crate::base::Origin;
use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::journal::Journal;
use crate::replay::{self, Checkpoint, Progress, Raw, Replayed, Visit};
use crate::scan::{Begin, Link, Scanned, Stretch};
use crate::segment::{self, Location};
use crate::store::{Store, Writer};
use crate::tail::{OpenSegment, OpenSegments};
use crate::wal::{self, Spare, Wal};

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Events in the log.
    pub events: u64,
    /// The log was just begun.
    pub fresh: bool,
    /// The last process closed it in good order.
    pub clean: bool,
    /// The end that was cut.
    pub torn: Option<TornTailCut>,
    /// The lookup store that was rebuilt.
    pub rebuilt: Option<StoreRebuilt>,
    /// Why nothing can be written.
    pub read_only: Option<String>,
    /// Why the directory is not locked, where it is only looked at.
    pub unlocked: Option<String>,
}

/// Opens the writer's half of a log: what the simulated disk is tested with. The lookup store is
/// not touched.
pub fn open_journal(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    segment_bytes: u64,
    new_log: Uuid,
) -> Result<(Journal, Recovery), LogError> {
    let replayed = replay::replay(disk.as_ref(), data_dir, &|_| {})?;
    journal(
        disk,
        data_dir,
        (segment_bytes, new_log),
        (Spare::Inline, replayed),
    )
}

pub(crate) fn journal(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    (segment_bytes, new_log): (u64, Uuid),
    (spare, replayed): (Spare, Replayed),
) -> Result<(Journal, Recovery), LogError> {
    let mut recovery = Recovery {
        events: replayed.head().0,
        fresh: replayed.scanned.is_none(),
        clean: replayed.clean(),
        read_only: replayed.unknown.clone(),
        ..Recovery::default()
    };
    let disk = Arc::clone(disk);
    let wal = match replayed.scanned {
        Some(Scanned {
            link,
            tail: Some(tail),
        }) if !tail.location.archived => {
            if tail.torn > 0 {
                let kept = wal::keep_torn(disk.as_ref(), data_dir, &tail, link.next)?;
                recovery.torn = Some(TornTailCut {
                    segment: segment::file_name(tail.location.first),
                    offset: tail.offset as u64,
                    bytes: tail.torn as u64,
                    kept_in: kept.display().to_string(),
                });
            }
            Wal::resume(disk, data_dir, segment_bytes, (spare, link), &tail)?
        }
        Some(Scanned { link, .. }) => Wal::begin(disk, data_dir, segment_bytes, (spare, link))?,
        None => {
            let link = Link::beginning(new_log);
            Wal::begin(disk, data_dir, segment_bytes, (spare, link))?
        }
    };
    let journal = Journal::new(wal, replayed.state, replayed.unknown);
    Ok((journal, recovery))
}

/// Where a log and its lookup store are.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) store: &'a Path,
    /// No file of the data directory may change, and the store lies elsewhere.
    pub(crate) looks_only: bool,
}

/// The lookup store, its writer and the open segments, as a replay fills them.
pub(crate) struct Lookup {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    looks_only: bool,
    last: Option<Seq>,
    pub(crate) store: Arc<Store>,
    pub(crate) writer: Writer,
    pub(crate) open: Arc<OpenSegments>,
    /// Records that were written to the store again.
    pub(crate) written: u64,
}

impl Lookup {
    /// Opens the store of `log`, whose segments are at `locations` and were pruned to `pruned_to`.
    fn open(
        disk: &Arc<dyn Disk>,
        places: Places<'_>,
        (cache_bytes, log): (u64, Uuid),
        (locations, pruned_to): (&[Location], Seq),
    ) -> Result<Self, LogError> {
        let store = match Store::open(places.store, cache_bytes, (log, pruned_to)) {
            // A store alone is what a lost log leaves, or the first start if it was cut short.
            Err(LogError::StoreForeign { known }) if locations.is_empty() && known > Seq(0) => {
                return Err(tail_lost(Seq(0), known, STORE));
            }
            other => Arc::new(other?),
        };
        let next = store.sealed_to().next();
        if next > pruned_to.next() && !locations.iter().any(|location| location.first == next) {
            let known = store.known()?.max(next);
            let head = locations.last().map_or(0, |_| next.0 - 1);
            return Err(tail_lost(Seq(head), known, STORE));
        }
        let writer = Writer::new(Arc::clone(&store));
        let last = locations.last().map(|location| location.first);
        let (disk, data_dir) = (Arc::clone(disk), places.data_dir.to_owned());
        Ok(Self {
            disk,
            data_dir,
            looks_only: places.looks_only,
            last,
            store,
            writer,
            open: Arc::default(),
            written: 0,
        })
    }

    fn is_sealed(&self, location: &Location) -> bool {
        location.first <= self.store.sealed_to()
    }

    /// Indexes the segment that has ended and hands it to the store for good.
    fn seal(&mut self) -> Result<(), LogError> {
        let full = self.open.with_last(|last| last.map(|last| last.clone()));
        let full = full.expect("an index was begun for the segment");
        self.writer.seal(&full.index, (full.chain, full.end()))?;
        self.open.remove(full.first());
        Ok(())
    }
}

impl Visit for Lookup {
    fn begin(&mut self, location: &Location) -> Result<(), LogError> {
        if self.is_sealed(location) {
            return Ok(());
        }
        let path = &location.path;
        let file = self
            .disk
            .open(path, false)
            .map_err(LogError::io("open", path))?;
        let file: Arc<dyn DiskFile> = Arc::from(file);
        self.open
            .push(OpenSegment::new(location.first, path.clone(), file));
        Ok(())
    }

    fn record(&mut self, raw: &Raw<'_>) -> Result<(), LogError> {
        let header = &raw.header;
        if raw.seq == self.writer.next() {
            self.writer.push(header.at, raw.bytes)?;
            self.written += 1;
        }
        if raw.seq > self.store.sealed_to() {
            self.open.with_last(|last| {
                last.expect("the segment has begun")
                    .index
                    .push(header.stream, header.at);
            });
        }
        Ok(())
    }

    fn end(&mut self, stretch: &Stretch) -> Result<(), LogError> {
        let location = &stretch.segment.location;
        let sealed = self.is_sealed(location);
        if !sealed {
            self.open.with_last(|last| {
                let last = last.expect("the segment has begun");
                last.frames.extend(stretch.frames.iter().map(|frame| {
                    let len = u32::try_from(frame.len).expect("a frame is far below 4 GiB");
                    (frame.first, frame.offset as u64, len)
                }));
                last.chain = stretch.end.unwrap_or(last.chain);
            });
        }
        let Some(chain) = stretch.end else {
            return Ok(());
        };
        if Some(location.first) == self.last {
            return Ok(());
        }
        if !sealed {
            self.seal()?;
        }
        let known = self.store.descriptor(location.first);
        let known = known.filter(|known| known.chain == chain).ok_or_else(|| {
            LogError::StoreDamaged(format!("segment {} has another hash", location.first))
        })?;
        if !location.archived && !self.looks_only {
            archive(self.disk.as_ref(), &self.data_dir, location, known.bytes)?;
        }
        Ok(())
    }
}

/// A log that is folded and a lookup store that holds it.
pub(crate) struct Recovered {
    pub(crate) replayed: Replayed,
    pub(crate) lookup: Lookup,
    pub(crate) rebuilt: Option<StoreRebuilt>,
    pub(crate) origin: Origin,
}

/// Folds the log and brings the lookup store up to it. A store that does not open or does not
/// agree with the log is moved aside and written again.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    places: Places<'_>,
    (cache_bytes, new_log): (u64, Uuid),
    start: Option<Checkpoint>,
    progress: &dyn Fn(Progress),
) -> Result<Recovered, LogError> {
    let sizes = (cache_bytes, new_log);
    let attempt = |start| attempt(disk, places, sizes, start, progress);
    let snapshot = start.as_ref().map(|start| (start.log, start.state.seq()));
    // A checkpoint that does not fit the log is of no use: the log counts.
    let first = match attempt(start) {
        Err(LogError::ForeignCheckpoint(_)) => attempt(None),
        other => other,
    };
    if let (Some((log, seq)), Ok(Recovered { replayed, .. })) = (snapshot, &first) {
        let same = |scanned: &Scanned| scanned.link.log == log;
        if replayed.scanned.as_ref().is_none_or(same) && seq > replayed.head() {
            return Err(tail_lost(replayed.head(), seq, "a snapshot"));
        }
    }
    let reason = match first {
        Ok(mut recovered) => {
            // A store that was deleted or emptied has been written again, which is told as well.
            let lookup = &recovered.lookup;
            recovered.rebuilt =
                (lookup.store.is_fresh() && lookup.written > 0).then(|| StoreRebuilt {
                    reason: "the lookup store was empty".to_owned(),
                    moved_to: String::new(),
                    events: lookup.written,
                });
            return Ok(recovered);
        }
        Err(
            error @ (LogError::Store(_)
            | LogError::StoreDamaged(_)
            | LogError::StoreForeign { .. }
            | LogError::Codec(_)),
        ) => error.to_string(),
        Err(error) => return Err(error),
    };
    let moved_to = match places.looks_only {
        // It is a copy, and what it was copied from stays where it is.
        true => {
            let cleared = std::fs::remove_dir_all(places.store);
            cleared.map_err(LogError::io("remove", places.store))?;
            String::new()
        }
        false => {
            let moved_to = move_aside(places.data_dir, places.store)?;
            moved_to.display().to_string()
        }
    };
    let mut recovered = attempt(None)?;
    recovered.rebuilt = Some(StoreRebuilt {
        reason,
        moved_to,
        events: recovered.lookup.written,
    });
    Ok(recovered)
}

fn attempt(
    disk: &Arc<dyn Disk>,
    places: Places<'_>,
    (cache_bytes, new_log): (u64, Uuid),
    start: Option<Checkpoint>,
    progress: &dyn Fn(Progress),
) -> Result<Recovered, LogError> {
    let origin = Origin::find(disk.as_ref(), places.data_dir)?;
    if let Some(base) = origin.base() {
        base.check_rules()?;
    }
    let (locations, pruned_to) = (origin.locations.as_slice(), origin.pruned_to());
    let log = match locations.first() {
        Some(first) => segment::Segment::header_of(disk.as_ref(), first)?.log,
        None => new_log,
    };
    let place = (locations, pruned_to);
    let mut lookup = Lookup::open(disk, places, (cache_bytes, log), place)?;
    let usable = |start: &Checkpoint| start.log == log && start.state.seq() >= pruned_to;
    let start = match start.filter(usable) {
        Some(start) => Some(start),
        None => origin.checkpoint()?,
    };
    let wanted = start.as_ref().map_or(Seq(1), |start| {
        // What the state and the lookup store both have need not be read.
        start.state.seq().min(lookup.store.sealed_to()).next()
    });
    let skip = locations.partition_point(|location| location.first <= wanted);
    let skip = skip.saturating_sub(1);
    let begin = match skip {
        0 => origin.begin(),
        _ => Begin::Header,
    };
    let (rest, from) = (&locations[skip..], (begin, start));
    let replayed = replay::replay_from(disk.as_ref(), rest, from, progress, &mut lookup)?;
    let known = lookup.store.known()?;
    if known > replayed.head() {
        return Err(tail_lost(replayed.head(), known, STORE));
    }
    Ok(Recovered {
        replayed,
        lookup,
        rebuilt: None,
        origin,
    })
}

const STORE: &str = "the lookup store";

const fn tail_lost(head: Seq, known: Seq, evidence: &'static str) -> LogError {
    LogError::TailLost {
        head,
        known,
        evidence,
    }
}

pub(crate) fn move_aside(data_dir: &Path, dir: &Path) -> Result<PathBuf, LogError> {
    let free = (1_u32..)
        .map(|n| data_dir.join(format!("sled.bad-{n}")))
        .find(|p| !p.exists());
    let aside = free.expect("some number is free");
    std::fs::rename(dir, &aside).map_err(LogError::io("rename", dir))?;
    Ok(aside)
}

/// Moves a segment that the store has sealed into the archive, cut at its last frame.
pub(crate) fn archive(
    disk: &dyn Disk,
    data_dir: &Path,
    location: &Location,
    end: u64,
) -> Result<PathBuf, LogError> {
    let from = &location.path;
    let file = disk.open(from, true).map_err(LogError::io("open", from))?;
    file.set_len(end).map_err(LogError::io("cut", from))?;
    file.sync_data().map_err(LogError::io("fdatasync", from))?;
    let (wal_dir, dir) = (segment::wal_dir(data_dir), segment::archive_dir(data_dir));
    let to = dir.join(segment::file_name(location.first));
    disk.rename(from, &to)
        .map_err(LogError::io("rename", from))?;
    disk.sync_dir(&dir).map_err(LogError::io("sync", &dir))?;
    disk.sync_dir(&wal_dir)
        .map_err(LogError::io("sync", &wal_dir))?;
    Ok(to)
}

/// The events that a recovery has to say; none when nothing can be written.
pub(crate) fn events(recovery: &Recovery) -> Vec<Event> {
    if recovery.read_only.is_some() {
        return Vec::new();
    }
    let torn = recovery.torn.clone().map(Event::TornTailCut);
    let rebuilt = recovery.rebuilt.clone().map(Event::StoreRebuilt);
    torn.into_iter().chain(rebuilt).collect()
}
