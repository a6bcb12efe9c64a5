//! Retention: the oldest sealed segments are removed, in an order in which a crash at any moment
//! loses nothing that is not said: the base is on the medium, then the event that names the range,
//! and only then are the files removed. A start finishes what it finds half done.

use std::collections::BTreeSet;

use hindcast_model::event::SegmentsPruned;
use hindcast_model::{
    Command, Digest, Event, EventId, KeyId, Name16, Seq, State, Stream, StreamKind, Submission,
    UnixMicros,
};
use uuid::Uuid;

use crate::base::{self, Base, Gap, Origin};
use crate::error::LogError;
use crate::log::Log;
use crate::offline::Reader;
use crate::record::Recorded;
use crate::replay::Checkpoint;
use crate::segment::{self, Location, Segment};
use crate::shared::Shared;

/// What is to be removed, and why that may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// The last sequence that may be removed. Whole segments are.
    pub to: Seq,
    /// The verified backup that holds every event up to there; none says that they are lost.
    pub backup: Option<String>,
    pub reason: String,
}

/// A segment that is full and that the lookup store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub first: Seq,
    pub last: Seq,
    /// Bytes up to the end of its last frame.
    pub bytes: u64,
    /// The time of its newest event.
    pub newest_at: UnixMicros,
}

impl Log {
    /// The sealed segments, oldest first.
    #[must_use]
    pub fn sealed(&self) -> Vec<Sealed> {
        let descriptors = self.shared().store.descriptors().into_iter();
        let sealed = descriptors.map(|descriptor| Sealed {
            first: descriptor.first,
            last: Seq(descriptor.next().0 - 1),
            bytes: descriptor.bytes,
            newest_at: descriptor.max_at,
        });
        sealed.collect()
    }

    /// The first sequence that can be read: 1, unless the log was pruned.
    #[must_use]
    pub fn oldest(&self) -> Seq {
        self.shared().store.pruned_to().next()
    }

    /// Removes the archived segments whose events all stand before `ask.to` or at it. Returns what
    /// was removed; none when there is no such segment. They are read once more and folded, so that
    /// the state that the log goes on from is that of whole segments. `step` is told each step that
    /// has become durable.
    pub fn prune(
        &self,
        ask: &Prune,
        step: &mut dyn FnMut(&'static str),
    ) -> Result<Option<SegmentsPruned>, LogError> {
        let shared = self.shared();
        if let Some(why) = &shared.read_only {
            return Err(LogError::NotPruned(why.clone()));
        }
        let _one_at_a_time = shared.pruning.lock().expect("no holder panics");
        let (disk, data_dir) = (shared.disk.as_ref(), &shared.options.data_dir);
        let origin = Origin::find(disk, data_dir)?;
        self.finish_earlier(&origin, step)?;
        let Some((last, next)) = end(&origin.locations, ask.to) else {
            return Ok(None);
        };
        let checkpoint = checkpoint(shared, last)?;
        let header = Segment::header_of(disk, next)?;
        if header.first != last.next() || header.previous != checkpoint.chain.0 {
            return Err(LogError::NotPruned(format!(
                "the segment after sequence {last} does not join it"
            )));
        }
        let pruned = SegmentsPruned {
            first: origin.pruned_to().next(),
            last,
            chain: checkpoint.chain,
            backup: ask.backup.clone(),
            reason: ask.reason.clone(),
        };
        let base = Base::new(&checkpoint, &pruned, origin.base());
        base::write(disk, data_dir, &base, &checkpoint)?;
        drop(checkpoint);
        step("base");
        self.finish(&base, step)?;
        Ok(Some(pruned))
    }

    /// Removes the blobs that neither an event nor the state names. Returns how many.
    pub fn sweep_blobs(&self) -> Result<usize, LogError> {
        let path = self.shared().options.data_dir.join("blobs");
        let swept = self.shared().blobs.sweep(|candidates| {
            self.state(|state| keep(candidates, state));
            // Where the log begins, a run may have been open that has ended since.
            let (disk, data_dir) = (self.shared().disk.as_ref(), self.data_dir());
            let base = Origin::find(disk, data_dir).and_then(|origin| origin.checkpoint());
            if let Some(base) = base.map_err(std::io::Error::other)? {
                keep(candidates, &base.state);
            }
            let mut next = self.oldest();
            while !candidates.is_empty() {
                let page = self.read(next, 1_024).map_err(std::io::Error::other)?;
                let Some(last) = page.last() else { break };
                next = last.seq().next();
                for digest in page
                    .iter()
                    .filter_map(Recorded::event)
                    .flat_map(Event::blobs)
                {
                    candidates.remove(&digest);
                }
            }
            Ok::<_, std::io::Error>(())
        });
        Ok(swept.map_err(LogError::io("sweep", path))?.len())
    }

    /// Finishes what a crash left half done.
    pub(crate) fn finish_prune(&self, origin: &Origin) -> Result<(), LogError> {
        match self.shared().read_only {
            Some(_) => Ok(()),
            None => self.finish_earlier(origin, &mut |_| {}),
        }
    }

    fn finish_earlier(
        &self,
        origin: &Origin,
        step: &mut dyn FnMut(&'static str),
    ) -> Result<(), LogError> {
        let Some(base) = origin.base() else {
            return Ok(());
        };
        if !self.is_told(base)
            && let Some(checkpoint) = origin.checkpoint()?
        {
            // What was read may be in the page cache only: a sync that failed is no base.
            let shared = self.shared();
            let (disk, data_dir) = (shared.disk.as_ref(), &shared.options.data_dir);
            base::write(disk, data_dir, base, &checkpoint)?;
        }
        self.finish(base, step)
    }

    /// Whether the event of this base is recorded.
    fn is_told(&self, base: &Base) -> bool {
        self.state(|state| {
            let pruned = state.pruned();
            pruned.is_some_and(|pruned| (pruned.last, pruned.chain.0) == (base.last, base.chain))
        })
    }

    /// Everything after the base is durable.
    fn finish(&self, base: &Base, step: &mut dyn FnMut(&'static str)) -> Result<(), LogError> {
        let shared = self.shared();
        if !self.is_told(base) {
            self.submit_and_wait(submission(base))
                .map_err(|error| LogError::NotPruned(error.to_string()))?;
            step("event");
        }
        // From here on readers are told.
        *shared.base.write().expect("no holder panics") = Some(base.clone());
        if shared.store.prune(base.last)? {
            step("store");
        }
        let (disk, data_dir) = (shared.disk.as_ref(), &shared.options.data_dir);
        let before = Origin::find(disk, data_dir)?.before;
        for location in &before {
            let path = &location.path;
            disk.remove(path).map_err(LogError::io("remove", path))?;
            step("segment");
        }
        if !before.is_empty() {
            for dir in [segment::archive_dir(data_dir), segment::wal_dir(data_dir)] {
                disk.sync_dir(&dir).map_err(LogError::io("sync", &dir))?;
            }
            step("removed");
        }
        Ok(())
    }

    /// What was removed, in the order of the sequences.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let base = self.shared().base.read().expect("no holder panics");
        base.as_ref().map(Base::gaps).unwrap_or_default()
    }

    /// An error when `seq` was removed.
    pub fn check_kept(&self, seq: Seq) -> Result<(), LogError> {
        match seq < self.oldest() {
            true => Err(self.gap(seq)),
            false => Ok(()),
        }
    }

    fn gap(&self, seq: Seq) -> LogError {
        let base = self.shared().base.read().expect("no holder panics");
        let base = base.as_ref();
        base.map_or_else(
            || LogError::StoreDamaged(format!("sequence {seq} is in no chunk")),
            |base| base.gap(seq),
        )
    }

    /// An error when `at` is before the moment that the log goes on from.
    pub(crate) fn check_moment(&self, at: UnixMicros) -> Result<(), LogError> {
        let base = self.shared().base.read().expect("no holder panics");
        match base.as_ref() {
            Some(base) if at < base.at => Err(base.gap(base.last)),
            Some(_) | None => Ok(()),
        }
    }

    /// An error when events of `stream` after `after` were removed, as far as can be told from the
    /// version of the first one that is there.
    pub(crate) fn check_stream(
        &self,
        (stream, after): (Stream, Seq),
        first: Option<u64>,
    ) -> Result<(), LogError> {
        let base = self.shared().base.read().expect("no holder panics");
        match base.as_ref() {
            Some(base) if after < base.last => {
                let grew = || self.state(|state| state.version(stream)) > 0;
                check_stream(base, stream, first, grew)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Takes away the blobs that a state names.
fn keep(candidates: &mut BTreeSet<Digest>, state: &State) {
    for digest in state.blobs() {
        candidates.remove(&digest);
    }
}

/// The end of the last segment that may be removed, and the segment after it.
fn end(locations: &[Location], to: Seq) -> Option<(Seq, &Location)> {
    let pairs = locations.windows(2).take_while(|pair| pair[0].archived);
    let ends = pairs.map(|pair| (Seq(pair[1].first.0 - 1), &pair[1]));
    ends.take_while(|(last, _)| *last <= to).last()
}

/// The state at `last`, folded from where the log begins.
fn checkpoint(shared: &Shared, last: Seq) -> Result<Checkpoint, LogError> {
    let folded = Reader::open(&shared.options.data_dir)?.fold(None, last)?;
    if let Some(unknown) = folded.unknown {
        return Err(LogError::NotPruned(unknown));
    }
    Ok(Checkpoint {
        log: shared.log,
        epoch: folded.epoch,
        chain: folded.chain,
        state: folded.state,
    })
}

/// The event, with an id that follows from its range: it is the same when it is told again after a
/// crash.
fn submission(base: &Base) -> Submission {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"pruned")
        .update(base.log.as_bytes())
        .update(&base.last.0.to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    let id = EventId::from_bytes(id);
    Submission::from(Command {
        event_id: id,
        causation: id,
        correlation: id,
        principal: Name16::new("hindcast"),
        tenant: Name16::default(),
        key: KeyId::default(),
        expect: None,
        event: Event::SegmentsPruned(base.event()),
    })
}

/// An error when the beginning of `stream` was removed. `first` is the version of the first event
/// that is there; `grew` says whether a stream that may still grow had events at the base or later.
pub(crate) fn check_stream(
    base: &Base,
    stream: Stream,
    first: Option<u64>,
    grew: impl FnOnce() -> bool,
) -> Result<(), LogError> {
    let removed = match first {
        // A system's stream never is complete: what is left of it is read.
        Some(version) => version > 1 && stream.kind != StreamKind::System,
        // A stream that has ended is not known any more; its id tells when it can have begun.
        None => grew() || may_be_before(stream, base.at),
    };
    match removed {
        true => Err(base.gap(base.last)),
        false => Ok(()),
    }
}

/// Whether a stream of which nothing is known may have begun and ended by `at`.
fn may_be_before(stream: Stream, at: UnixMicros) -> bool {
    if !matches!(stream.kind, StreamKind::Run | StreamKind::Experiment) {
        return false;
    }
    let minted = Uuid::from_bytes(stream.id).get_timestamp();
    minted.is_none_or(|minted| {
        let (seconds, nanos) = minted.to_unix();
        let micros = seconds.saturating_mul(1_000_000) + u64::from(nanos / 1_000);
        micros <= at.0
    })
}
