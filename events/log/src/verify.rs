//! Proves a log: the chain, every checksum, that deciding the observed events again gives the
//! decided ones byte for byte, that every blob is whole, and that the lookup store agrees.
//!
//! It reads the segments without the lock, so that a running server can be checked; the lookup
//! store is compared only when no process has it open.

mod report;
mod sealed;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use hindcast_model::{DECIDER_VERSION, Digest, Event, KeyId, Payload, Seq, State};
use uuid::Uuid;

use crate::base::{Base, Origin};
use crate::blobs::{BlobError, Blobs};
use crate::codec;
use crate::disk::{Disk, RealDisk};
use crate::error::LogError;
use crate::record::{self, Body, Recorded};
use crate::replay::{self, Checkpoint, Progress};
use crate::scan;
use crate::segment;
use crate::store::{Copied, Store};
use crate::vault::Vault;
pub use report::{FirstSealed, Problem, Report, StoreCheck};
use sealed::Seals;

/// Checks the log under `data_dir`, and that the log folds to each of the `checkpoints` at its
/// place; these are asked for one by one, in the order of their places. An error means that there
/// is no log or it could not be read; what is damaged is in the report.
pub fn verify(
    data_dir: &Path,
    checkpoints: &mut dyn Iterator<Item = Checkpoint>,
    progress: &dyn Fn(Progress),
) -> Result<Report, LogError> {
    check(data_dir, None, checkpoints, progress)
}

/// As [`verify`], and opens every payload that is sealed under a key of `vault`: one that is not opened by
/// its key is a problem. What is sealed under other keys is told and not opened.
pub fn verify_opening(
    data_dir: &Path,
    vault: &Vault,
    checkpoints: &mut dyn Iterator<Item = Checkpoint>,
    progress: &dyn Fn(Progress),
) -> Result<Report, LogError> {
    check(data_dir, Some(vault), checkpoints, progress)
}

fn check(
    data_dir: &Path,
    vault: Option<&Vault>,
    checkpoints: &mut dyn Iterator<Item = Checkpoint>,
    progress: &dyn Fn(Progress),
) -> Result<Report, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let wal = segment::wal_dir(data_dir);
    if !wal.is_dir() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(LogError::io("read", wal)(missing));
    }
    let origin = Origin::find(disk.as_ref(), data_dir)?;
    let locations = &origin.locations;
    let opened = open_store(data_dir, disk.as_ref(), &origin);
    // Opening removes half-written files, which a running server may be writing.
    let stored = Blobs::read_only(Arc::clone(&disk), data_dir);
    let seals = (Seals::new(vault), &stored);
    let mut check = Check::new(opened, checkpoints, origin.checkpoint()?, seals);
    let mut done = Progress {
        events: 0,
        segments: 0,
        segments_total: locations.len(),
    };
    let scanned = scan::scan(disk.as_ref(), locations, origin.begin(), |stretch| {
        replay::records(stretch, |raw| {
            check.record(raw.bytes, &raw.decode()?);
            done.events += 1;
            Ok(())
        })?;
        check.places(&stretch.frames);
        done.segments += usize::from(stretch.end.is_some());
        progress(done);
        Ok(())
    });
    if let Some(behind) = archived_to(locations) {
        check.behind(behind);
    }
    if scanned.is_ok() {
        check.ended();
    }
    let mut report = check.finish(data_dir)?;
    report.segments = locations.len() as u64;
    report.pruned = origin.base().map(Base::gaps).unwrap_or_default();
    match scanned {
        Ok(None) => {}
        Ok(Some(scanned)) => {
            report.log = Some(scanned.link.log);
            report.epoch = scanned.link.epoch;
            report.chain = Some(Digest(scanned.link.chain));
            report.torn_bytes = scanned.tail.map_or(0, |tail| tail.torn as u64);
        }
        Err(LogError::Corrupt {
            seq,
            file,
            offset,
            what,
        }) => {
            let what = format!("{file} at byte {offset}: {what}; what follows is not folded");
            report.problem(seq, what);
            examine_rest(disk.as_ref(), locations, (&file, offset), &mut report)?;
        }
        Err(error) => return Err(error),
    }
    Ok(report)
}

/// Checks what follows a damaged place: checksums and chain of each segment on its own word.
fn examine_rest(
    disk: &dyn Disk,
    locations: &[segment::Location],
    (file, offset): (&str, u64),
    report: &mut Report,
) -> Result<(), LogError> {
    let named = |location: &segment::Location| location.path.display().to_string() == file;
    let at = locations.iter().position(named);
    // A segment that does not join the one before it may itself be whole.
    let next = at.map_or(locations.len(), |at| at + usize::from(offset > 0));
    scan::each_damage(
        disk,
        &locations[next..],
        |_| Ok(()),
        |found| {
            let what = format!("{} at byte {}: {}", found.file, found.offset, found.what);
            report.problem(found.seq, what);
        },
    )
}

/// The last sequence of the archive: what is there was in the lookup store when it was moved.
pub(crate) fn archived_to(locations: &[segment::Location]) -> Option<Seq> {
    let after = locations.iter().rposition(|location| location.archived)? + 1;
    let next = locations.get(after)?;
    Some(Seq(next.first.0 - 1))
}

/// The lookup store: a copy of it, since nothing is written to the data directory.
enum Opened {
    Absent,
    InUse,
    NotCopied,
    Failed(LogError),
    Open(Compared),
}

/// What is compared, while no other process may write to what it was copied from.
struct Compared {
    copied: Copied,
    /// None where no process has ever held the data directory.
    _lock: Option<std::fs::File>,
}

fn open_store(data_dir: &Path, disk: &dyn Disk, origin: &Origin) -> Opened {
    if !data_dir.join("sled").exists() {
        return Opened::Absent;
    }
    let lock = match crate::lock::lock_to_look(data_dir) {
        Ok(Ok(lock)) => Some(lock),
        Ok(Err(_)) if !data_dir.join("LOCK").exists() => None,
        Ok(Err(_)) | Err(_) => return Opened::InUse,
    };
    let first = origin.locations.first();
    let header = first.map(|first| segment::Segment::header_of(disk, first));
    // Without a segment any store that holds something belongs to a log that is gone.
    let log = match header {
        Some(Ok(header)) => header.log,
        Some(Err(_)) => return Opened::Absent,
        None => Uuid::nil(),
    };
    match Copied::open(data_dir, (log, origin.pruned_to())) {
        Ok(copied) => Opened::Open(Compared {
            copied,
            _lock: lock,
        }),
        Err(LogError::NotCopied { .. }) => Opened::NotCopied,
        Err(error) => Opened::Failed(error),
    }
}

struct Check<'a> {
    state: State,
    /// What the last observed event decides and has not been seen yet.
    expected: VecDeque<Recorded>,
    blobs: BTreeMap<Digest, Seq>,
    seals: Seals<'a>,
    stored: &'a Blobs,
    store: Option<Compared>,
    /// The chunk at hand: where it ends, and how much of it has been compared.
    chunk: Option<(Seq, Arc<Vec<u8>>, usize)>,
    checkpoints: std::iter::Peekable<&'a mut dyn Iterator<Item = Checkpoint>>,
    /// Of the record at hand.
    epoch: u32,
    /// Checkpoints whose states were compared and whose places in the chain were not.
    unplaced: Vec<(Seq, Digest)>,
    report: Report,
}

impl<'a> Check<'a> {
    fn new(
        opened: Opened,
        checkpoints: &'a mut dyn Iterator<Item = Checkpoint>,
        base: Option<Checkpoint>,
        (seals, stored): (Seals<'a>, &'a Blobs),
    ) -> Self {
        let mut report = Report::default();
        let mut store = None;
        report.store = match opened {
            Opened::Absent => StoreCheck::Absent,
            Opened::InUse => StoreCheck::InUse,
            Opened::Failed(error) => {
                let what = format!("the lookup store does not open: {error}");
                report.problem(Seq(0), what);
                StoreCheck::Unreadable
            }
            Opened::NotCopied => StoreCheck::NotCopied,
            Opened::Open(opened) => {
                store = Some(opened);
                StoreCheck::Compared(0)
            }
        };
        let mut checkpoints = checkpoints.peekable();
        if let Some(base) = &base {
            // What was taken of the removed events cannot be compared.
            let before = |taken: &Checkpoint| taken.state.seq() < base.state.seq();
            while checkpoints.next_if(before).is_some() {}
            let at = |taken: &Checkpoint| taken.state.seq() == base.state.seq();
            while let Some(taken) = checkpoints.next_if(at) {
                report.checkpoint(taken.state.seq(), taken == *base);
            }
        }
        let epoch = base.as_ref().map_or(1, |base| base.epoch);
        let state = base.map_or_else(State::default, |base| base.state);
        Self {
            blobs: state.blobs().map(|digest| (digest, state.seq())).collect(),
            state,
            expected: VecDeque::new(),
            seals,
            stored,
            store,
            chunk: None,
            checkpoints,
            epoch,
            unplaced: Vec::new(),
            report,
        }
    }

    fn lookup(&self) -> Option<&Store> {
        self.store.as_ref().map(|compared| &compared.copied.store)
    }

    /// Compares the checkpoints' places in the chain.
    fn places(&mut self, frames: &[scan::FrameAt]) {
        for (seq, chain) in std::mem::take(&mut self.unplaced) {
            let at = frames.partition_point(|frame| frame.last < seq);
            let frame = frames.get(at).filter(|frame| frame.first <= seq);
            if frame.is_some_and(|frame| frame.last != seq || frame.chain != chain.0) {
                let what = "a snapshot names another hash than the log has here";
                self.report.checkpoints_differing.push(seq);
                self.report.problem(seq, what);
            }
        }
    }

    /// Compares the checkpoints that were taken after `seq`.
    fn states(&mut self, seq: Seq) {
        while let Some(checkpoint) = self
            .checkpoints
            .next_if(|checkpoint| checkpoint.state.seq() <= seq)
        {
            let same = checkpoint.state == self.state;
            if !same && checkpoint.epoch != self.epoch {
                self.report.checkpoints_abandoned.push(seq);
                continue;
            }
            self.unplaced.push((seq, checkpoint.chain));
            self.report.checkpoint(seq, same);
        }
    }

    /// Whether the lookup store has lost what it once had.
    fn behind(&mut self, archived_to: Seq) {
        let applied = self.lookup().map(Store::applied);
        if let Some(applied) = applied.filter(|applied| *applied < archived_to) {
            let what = format!("the lookup store ends here, and once held event {archived_to}");
            self.report.problem(applied, what);
        }
    }

    /// The log was read to its end: nothing may be expected after it.
    fn ended(&mut self) {
        self.missing_decisions(self.state.seq().next());
        self.lost();
    }

    /// What knows of later events than the log has.
    fn lost(&mut self) {
        let head = self.state.seq();
        let epoch = self.epoch;
        let (ahead, abandoned): (Vec<_>, Vec<_>) = self
            .checkpoints
            .by_ref()
            .map(|checkpoint| (checkpoint.state.seq(), checkpoint.epoch))
            .partition(|(_, taken_in)| *taken_in >= epoch);
        let abandoned = abandoned.into_iter().map(|(seq, _)| seq);
        self.report.checkpoints_abandoned.extend(abandoned);
        let ahead = ahead.into_iter().map(|(seq, _)| seq);
        let stored = self.lookup().and_then(|store| store.known().ok());
        let known = ahead.chain(stored).max().unwrap_or(Seq(0));
        if known > head {
            let what = format!("the log ends here, but event {known} was acknowledged");
            self.report.problem(head, what);
        }
    }

    fn record(&mut self, bytes: &[u8], recorded: &Recorded) {
        let seq = recorded.seq();
        self.report.events += 1;
        if !record::intact(bytes) {
            self.report
                .problem(seq, "the record's checksum does not hold");
        }
        self.compare_store(seq, bytes);
        match &recorded.body {
            Body::Known(event) => {
                self.known(recorded, event);
            }
            Body::Unknown { number, schema, .. } => {
                let place = (recorded.stream, recorded.version);
                self.state.carry(&recorded.context, place);
                if !recorded.ignorable {
                    let what = format!("event type {number} schema {schema} is not known here");
                    self.report.problem(seq, what);
                }
            }
        }
        self.states(seq);
    }

    fn known(&mut self, recorded: &Recorded, event: &Event) {
        let seq = recorded.seq();
        if let Event::Restored(restored) = event {
            self.epoch = restored.epoch;
            // A restore may cut between an event and what was decided from it.
            self.expected.clear();
        }
        if recorded.observed {
            self.missing_decisions(seq);
            self.decide(recorded, event);
        } else if self.same_rules() {
            match self.expected.pop_front() {
                Some(expected) if same(&expected, recorded) => {}
                Some(expected) => {
                    let name = expected.event().map_or("?", |event| event.kind().name);
                    self.expected.clear();
                    let what = format!("the rules decide {name} here, with other content");
                    self.report.problem(seq, what);
                }
                None => self
                    .report
                    .problem(seq, "the rules do not decide this event"),
            }
        }
        for digest in event.blobs() {
            self.blobs.entry(digest).or_insert(seq);
        }
        let key = recorded.context.key;
        if key != KeyId(0)
            && let Some(payload @ (Payload::Sealed { .. } | Payload::Blob { .. })) = event.payload()
        {
            self.seals.met(key, seq, payload, self.stored);
        }
        let place = self.state.apply(&recorded.context, event);
        if place != (recorded.stream, recorded.version) {
            self.report.problem(
                seq,
                "the record names another stream or version than its fold",
            );
        }
    }

    /// Whether the events at hand were decided by this version's rules.
    fn same_rules(&self) -> bool {
        let server = self.state.server();
        server.starts == 0 || server.decider_version == DECIDER_VERSION
    }

    fn decide(&mut self, recorded: &Recorded, event: &Event) {
        if !self.same_rules() {
            self.report.decided_elsewhere += 1;
            return;
        }
        self.report.decided_again += 1;
        let observed = recorded.context;
        let decided = self.state.decide(&observed, event);
        for (index, event) in (0_u16..).zip(decided) {
            let mut context = observed;
            context.event_id = observed.event_id.decided(index);
            context.key = KeyId(0);
            self.expected.push_back(Recorded {
                context,
                causation: observed.event_id,
                body: Body::Known(event),
                observed: false,
                ..recorded.clone()
            });
        }
    }

    fn missing_decisions(&mut self, seq: Seq) {
        if let Some(expected) = self.expected.pop_front() {
            let name = expected.event().map_or("?", |event| event.kind().name);
            self.report
                .problem(seq, format!("the rules decide {name} before this event"));
            self.expected.clear();
        }
    }

    fn compare_store(&mut self, seq: Seq, record: &[u8]) {
        let Some(store) = self.store.as_ref().map(|it| &it.copied.store) else {
            return;
        };
        if seq > store.applied() {
            return;
        }
        let current = self.chunk.take().filter(|(end, ..)| seq < *end);
        let (end, bytes, at) = match current {
            Some(current) => current,
            None => match store.chunk(seq) {
                Ok(Some((first, count, bytes))) if first == seq => (Seq(first.0 + count), bytes, 0),
                Ok(_) => {
                    self.report
                        .problem(seq, "the lookup store has no chunk that begins here");
                    return;
                }
                Err(error) => {
                    self.report.problem(seq, error.to_string());
                    return;
                }
            },
        };
        if bytes.get(at..at + record.len()) != Some(record) {
            self.report
                .problem(seq, "the lookup store holds another record");
        }
        if let StoreCheck::Compared(records) = &mut self.report.store {
            *records += 1;
        }
        self.chunk = Some((end, bytes, at + record.len()));
    }

    fn finish(mut self, data_dir: &Path) -> Result<Report, LogError> {
        let dir = data_dir.join("blobs");
        let blobs = self.stored;
        for (digest, seq) in std::mem::take(&mut self.blobs) {
            self.report.blobs += 1;
            match blobs.get(digest) {
                Ok(content) if Vault::looks_sealed(&content) => {
                    self.report.sealed_datasets.push((digest, seq));
                }
                Ok(_) => {}
                Err(error @ (BlobError::Missing(_) | BlobError::Damaged(_))) => {
                    self.report.problem(seq, error.to_string());
                }
                Err(BlobError::Io { source, .. }) => {
                    return Err(LogError::io("read", dir)(source));
                }
            }
        }
        let shredded = self.state.shredded().collect();
        self.seals.finish(blobs, &shredded, &mut self.report);
        self.report.state_hash = codec::state_hash(&self.state)?;
        Ok(self.report)
    }
}

/// Compares by identity and content.
fn same(expected: &Recorded, recorded: &Recorded) -> bool {
    let mut context = expected.context;
    context.seq = recorded.context.seq;
    context == recorded.context
        && expected.causation == recorded.causation
        && expected.body == recorded.body
}
