//! Folds the log: the state, the position and what the lookup store lacks.

use std::fmt;

use hindcast_model::{Digest, Seq, State};
use uuid::Uuid;

use crate::base::Origin;
use crate::copying::Place;
use crate::disk::Disk;
use crate::error::LogError;
use crate::record::{self, Body, Recorded, Records};
use crate::scan::{self, Begin, Scanned, Stretch};
use crate::segment::Location;

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub events: u64,
    pub segments: usize,
    pub segments_total: usize,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            segments,
            segments_total,
        } = self;
        write!(
            f,
            "{events} events of {segments} of {segments_total} segments are read"
        )
    }
}

/// A state with the place in the chain that it was folded at.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub log: Uuid,
    pub epoch: u32,
    /// Hash of the frame that ends with `state.seq()`.
    pub chain: Digest,
    pub state: State,
}

/// What the log folds to.
pub struct Replayed {
    pub state: State,
    pub(crate) scanned: Option<Scanned>,
    /// The first event type that this version does not know and may not skip.
    pub unknown: Option<String>,
}

/// Folds what follows a state.
pub(crate) struct Folder {
    pub(crate) state: State,
    /// The state's place; records up to it are in the state.
    from: Seq,
    chain: Digest,
    /// Whether the log was seen to have the state's place in its chain.
    joined: bool,
    pub(crate) unknown: Option<String>,
}

impl Folder {
    pub(crate) fn new(start: Option<Checkpoint>) -> Self {
        let (state, chain) =
            start.map_or_else(Default::default, |start| (start.state, start.chain));
        let from = state.seq();
        Self {
            state,
            from,
            chain,
            joined: from == Seq(0),
            unknown: None,
        }
    }

    /// Looks for the place that the state was taken at.
    fn join(&mut self, stretch: &Stretch) {
        if self.joined {
            return;
        }
        let header = &stretch.segment.header;
        let before = stretch.begins && header.first == self.from.next();
        self.joined = before && header.previous == self.chain.0
            || stretch
                .frames
                .iter()
                .any(|frame| frame.last == self.from && frame.chain == self.chain.0);
    }

    /// Whether the state does not have this record yet.
    fn lacks(&self, seq: Seq) -> bool {
        seq > self.from
    }

    pub(crate) fn fold(&mut self, recorded: &Recorded) {
        if !self.lacks(recorded.seq()) {
            return;
        }
        match &recorded.body {
            Body::Known(event) => {
                let place = self.state.apply(&recorded.context, event);
                if place != (recorded.stream, recorded.version) {
                    // Only other rules than these place an event elsewhere. To write on would give
                    // a version of a stream twice.
                    let Recorded {
                        stream, version, ..
                    } = recorded;
                    let seq = recorded.seq();
                    self.unknown.get_or_insert_with(|| {
                        format!("sequence {seq} stands in {stream} at version {version} by rules that are not these")
                    });
                }
            }
            Body::Unknown { number, schema, .. } => {
                let place = (recorded.stream, recorded.version);
                self.state.carry(&recorded.context, place);
                if !recorded.ignorable {
                    self.unknown.get_or_insert_with(|| {
                        format!(
                            "sequence {} is of type {number} schema {schema}",
                            recorded.seq()
                        )
                    });
                }
            }
        }
    }
}

/// One record of a stretch, as it stands there.
pub(crate) struct Raw<'a> {
    pub(crate) seq: Seq,
    pub(crate) header: record::Header,
    pub(crate) bytes: &'a [u8],
    stretch: &'a Stretch,
    /// Where its frame is.
    offset: usize,
}

impl Raw<'_> {
    pub(crate) fn decode(&self) -> Result<Recorded, LogError> {
        record::decode(self.bytes, &self.header, self.seq)
            .map_err(|what| self.stretch.segment.corrupt(self.seq, self.offset, what))
    }
}

/// Every record of a stretch of frames.
pub(crate) fn records(
    stretch: &Stretch,
    mut visit: impl FnMut(&Raw<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let Some(window) = &stretch.window else {
        return Ok(());
    };
    for frame in &stretch.frames {
        let bytes = &window.slice(frame.offset, frame.len)[crate::frame::HEADER_BYTES..];
        let corrupt = |seq, what| stretch.segment.corrupt(seq, frame.offset, what);
        let mut next = frame.first;
        for entry in Records::new(bytes, frame.first) {
            let (seq, header, bytes) = entry.map_err(|(seq, what)| corrupt(seq, what))?;
            visit(&Raw {
                seq,
                header,
                bytes,
                stretch,
                offset: frame.offset,
            })?;
            next = seq.next();
        }
        if next != frame.last.next() {
            let what = format!(
                "the frame ends before {next}, and says {}",
                frame.last.next()
            );
            return Err(corrupt(next, what));
        }
    }
    Ok(())
}

/// What a replay shows to whoever follows it.
pub(crate) trait Visit {
    /// A segment begins.
    fn begin(&mut self, _location: &Location) -> Result<(), LogError> {
        Ok(())
    }

    /// A record, whether or not the state that the fold began with has it.
    fn record(&mut self, _raw: &Raw<'_>) -> Result<(), LogError> {
        Ok(())
    }

    /// A record that was folded.
    fn folded(&mut self, _recorded: &Recorded) {}

    /// A stretch of frames, after its records.
    fn end(&mut self, _stretch: &Stretch) -> Result<(), LogError> {
        Ok(())
    }
}

/// Follows nothing.
pub(crate) struct FoldOnly;

impl Visit for FoldOnly {}

/// Folds the whole log under `data_dir`.
pub fn replay(
    disk: &dyn Disk,
    data_dir: &std::path::Path,
    progress: &dyn Fn(Progress),
) -> Result<Replayed, LogError> {
    let origin = Origin::find(disk, data_dir)?;
    let start = origin.checkpoint()?;
    let from = (origin.begin(), start);
    replay_from(disk, &origin.locations, from, progress, &mut FoldOnly)
}

/// Folds the whole log under `data_dir` and shows every record on the way.
pub fn replay_seen(
    disk: &dyn Disk,
    data_dir: &std::path::Path,
    seen: &mut dyn FnMut(&Recorded),
) -> Result<Replayed, LogError> {
    struct Seen<'a>(&'a mut dyn FnMut(&Recorded));
    impl Visit for Seen<'_> {
        fn folded(&mut self, recorded: &Recorded) {
            (self.0)(recorded);
        }
    }
    let origin = Origin::find(disk, data_dir)?;
    let from = (origin.begin(), origin.checkpoint()?);
    replay_from(disk, &origin.locations, from, &|_| {}, &mut Seen(seen))
}

/// Shows every record of the log under `data_dir` that is not pruned, in order, decoded and as it
/// stands there.
pub fn walk(
    disk: &dyn Disk,
    data_dir: &std::path::Path,
    mut visit: impl FnMut(&Recorded, &[u8]) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let origin = Origin::find(disk, data_dir)?;
    scan::scan(disk, &origin.locations, origin.begin(), |stretch| {
        records(stretch, |raw| {
            let recorded = raw.decode()?;
            if !record::intact(raw.bytes) {
                let what = "the record's checksum does not hold";
                return Err(stretch.segment.corrupt(raw.seq, 0, what));
            }
            visit(&recorded, raw.bytes)
        })
    })?;
    Ok(())
}

/// Folds `locations`, which join `begin`, onto a state or from nothing.
pub(crate) fn replay_from(
    disk: &dyn Disk,
    locations: &[Location],
    (begin, start): (Begin, Option<Checkpoint>),
    progress: &dyn Fn(Progress),
    visitor: &mut dyn Visit,
) -> Result<Replayed, LogError> {
    let mut folder = Folder::new(start);
    let mut done = Progress {
        events: 0,
        segments: 0,
        segments_total: locations.len(),
    };
    let scanned = scan::scan(disk, locations, begin, |stretch| {
        if stretch.begins {
            visitor.begin(&stretch.segment.location)?;
        }
        folder.join(stretch);
        records(stretch, |raw| {
            if folder.lacks(raw.seq) {
                let recorded = raw.decode()?;
                folder.fold(&recorded);
                visitor.folded(&recorded);
            }
            done.events += 1;
            visitor.record(raw)
        })?;
        visitor.end(stretch)?;
        done.segments += usize::from(stretch.end.is_some());
        progress(done);
        Ok(())
    })?;
    if !folder.joined {
        return Err(LogError::ForeignCheckpoint(folder.from));
    }
    let Folder { state, unknown, .. } = folder;
    Ok(Replayed {
        state,
        scanned,
        unknown,
    })
}

impl Replayed {
    /// The end of the log, as a place to go on from; none when there is no log.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.scanned.as_ref().map(|scanned| scanned.link.into())
    }

    /// The first event type that this version does not know and may not skip.
    #[must_use]
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// Whether the last process closed the log in good order.
    #[must_use]
    pub const fn clean(&self) -> bool {
        !self.state.server().running
    }

    /// The last sequence in the log.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.scanned
            .as_ref()
            .map_or(Seq(0), |scanned| Seq(scanned.link.next.0 - 1))
    }
}
