//! The state at a moment of the past. It is folded from a checkpoint, or from the beginning, up to
//! one sequence, and no more of the segments is read than that takes. Nothing is written, and
//! whatever a running server holds in memory is left alone.

use hindcast_model::{Digest, Seq, State, UnixMicros};

use crate::error::LogError;
use crate::frame;
use crate::offline::Reader;
use crate::record::{self, Records};
use crate::replay::{Checkpoint, Folder};
use crate::scan::{self, Link};
use crate::segment::{self, Segment};

/// Where the time of a frame's first record stands: all records of a frame share it.
pub(crate) const AT_OFFSET: usize = frame::HEADER_BYTES + 120;

/// What a prefix of the log folds to.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    pub state: State,
    /// Events that were folded onto the checkpoint.
    pub events: u64,
    /// The first event type on the way that this version does not know and may not skip.
    pub unknown: Option<String>,
    /// Epoch and hash of the last frame that was folded.
    pub epoch: u32,
    pub chain: Digest,
}

/// A place between two frames.
struct Place {
    /// Which segment.
    index: usize,
    offset: usize,
    link: Link,
}

impl Reader {
    /// The state after the event at `to`, folded onto `start`, which may not be after it. A start
    /// whose place in the hash chain is not that of this log is refused; what is folded is checked
    /// as it is when the log is opened.
    pub fn fold(&self, start: Option<Checkpoint>, to: Seq) -> Result<Folded, LogError> {
        let (mut place, start) = match start {
            Some(start) => (self.place_of(&start)?, Some(start)),
            None => self.beginning(to)?,
        };
        let from = place.link.next;
        assert!(to.next() >= from, "a fold goes forward");
        let mut folder = Folder::new(start);
        while place.link.next <= to {
            let Some(location) = self.origin.locations.get(place.index) else {
                let head = Seq(place.link.next.0 - 1);
                return Err(LogError::Ends { head, wanted: to });
            };
            let segment = Segment::open(self.disk.as_ref(), location)?;
            if place.offset == segment::HEADER_BYTES {
                scan::check_header(&segment, &place.link)?;
            }
            fold_segment(&segment, &mut place, to, &mut folder)?;
            place.index += 1;
            place.offset = segment::HEADER_BYTES;
        }
        Ok(Folded {
            state: folder.state,
            events: to.next().0 - from.0,
            unknown: folder.unknown,
            epoch: place.link.epoch,
            chain: Digest(place.link.chain),
        })
    }

    /// Where the log begins, with what is folded onto there when it was pruned.
    fn beginning(&self, to: Seq) -> Result<(Place, Option<Checkpoint>), LogError> {
        if let Some(base) = self.origin.base() {
            if to < base.last {
                return Err(base.gap(to));
            }
            let place = Place {
                index: 0,
                offset: segment::HEADER_BYTES,
                link: base.link(),
            };
            return Ok((place, self.origin.checkpoint()?));
        }
        let Some(first) = self.origin.locations.first() else {
            let (head, wanted) = (Seq(0), Seq(1));
            return Err(LogError::Ends { head, wanted });
        };
        let header = Segment::open(self.disk.as_ref(), first)?.header;
        let place = Place {
            index: 0,
            offset: segment::HEADER_BYTES,
            link: Link {
                log: header.log,
                epoch: 1,
                next: Seq(1),
                chain: [0; 32],
            },
        };
        Ok((place, None))
    }

    /// The place after the frame that the checkpoint was taken at.
    fn place_of(&self, start: &Checkpoint) -> Result<Place, LogError> {
        let seq = start.state.seq();
        let foreign = || LogError::ForeignCheckpoint(seq);
        let after = self
            .origin
            .locations
            .partition_point(|location| location.first <= seq);
        let index = after.checked_sub(1).ok_or_else(foreign)?;
        let segment = Segment::open(self.disk.as_ref(), &self.origin.locations[index])?;
        let mut offset = segment::HEADER_BYTES;
        loop {
            let (window, begin) = (segment.window(offset)?, offset);
            while let Some(header) = window.header(offset) {
                if header.next() <= seq {
                    offset += header.len();
                    continue;
                }
                let (header, bytes) = window.frame(offset).ok_or_else(foreign)?;
                let fits = header.log == start.log
                    && header.next() == seq.next()
                    && frame::hash(bytes) == start.chain.0;
                return fits
                    .then(|| Place {
                        index,
                        offset: offset + bytes.len(),
                        link: Link {
                            log: header.log,
                            epoch: header.epoch,
                            next: header.next(),
                            chain: start.chain.0,
                        },
                    })
                    .ok_or_else(foreign);
            }
            if offset == begin {
                return Err(foreign());
            }
        }
    }

    /// The last sequence whose time is not after `at`; 0 when every event is later. Reads the times
    /// of the segments' beginnings, and then of one segment's frames. An error when the moment is
    /// before what is pruned ends.
    pub fn cut(&self, at: UnixMicros) -> Result<Seq, LogError> {
        let pruned_to = self.origin.pruned_to();
        if let Some(base) = self.origin.base().filter(|base| at < base.at) {
            return Err(base.gap(base.last));
        }
        let (mut before, mut after) = (0, self.origin.locations.len());
        while before < after {
            let middle = before + (after - before) / 2;
            let segment = Segment::open(self.disk.as_ref(), &self.origin.locations[middle])?;
            match cut_of(&segment, at, true)? {
                Some(_) => before = middle + 1,
                None => after = middle,
            }
        }
        let Some(index) = before.checked_sub(1) else {
            return Ok(pruned_to);
        };
        let segment = Segment::open(self.disk.as_ref(), &self.origin.locations[index])?;
        Ok(cut_of(&segment, at, false)?.unwrap_or(pruned_to))
    }
}

/// The same within one segment, or within its first frame; `None` when it begins later.
fn cut_of(segment: &Segment, at: UnixMicros, first_only: bool) -> Result<Option<Seq>, LogError> {
    let mut offset = segment::HEADER_BYTES;
    let mut found = None;
    loop {
        let (window, begin) = (segment.window(offset)?, offset);
        while let Some(header) = window.header(offset) {
            let bytes = window.slice(offset, header.len());
            let time = bytes.get(AT_OFFSET..AT_OFFSET + 8);
            let time = time.and_then(|time| time.try_into().ok());
            if time.is_none_or(|time| u64::from_le_bytes(time) > at.0) {
                return Ok(found);
            }
            found = Some(Seq(header.next().0 - 1));
            if first_only {
                return Ok(found);
            }
            offset += header.len();
        }
        if offset == begin {
            return Ok(found);
        }
    }
}

/// Folds a segment's frames from `place` on until `to`.
fn fold_segment(
    segment: &Segment,
    place: &mut Place,
    to: Seq,
    folder: &mut Folder,
) -> Result<(), LogError> {
    loop {
        let (window, begin) = (segment.window(place.offset)?, place.offset);
        while let Some((header, bytes)) = window.frame(place.offset) {
            scan::check_frame(segment, &header, &place.link, place.offset)?;
            let corrupt = |(seq, what): (Seq, String)| segment.corrupt(seq, place.offset, what);
            let mut next = header.first;
            for entry in Records::new(&bytes[frame::HEADER_BYTES..], header.first) {
                let (seq, record_header, record) = entry.map_err(corrupt)?;
                if seq > to {
                    break;
                }
                let recorded = record::decode(record, &record_header, seq);
                folder.fold(&recorded.map_err(|what| corrupt((seq, what)))?);
                next = seq.next();
            }
            if next != header.next().min(to.next()) {
                let what = "the frame ends before its last record".to_owned();
                return Err(corrupt((next, what)));
            }
            place.link = Link {
                epoch: header.epoch,
                next: header.next(),
                chain: frame::hash(bytes),
                ..place.link
            };
            place.offset += bytes.len();
            if place.link.next > to {
                return Ok(());
            }
        }
        if place.offset == begin {
            return Ok(());
        }
    }
}
