//! Whole frames as they stand in segments, for whoever copies a log: in order, each with its
//! checksum and its place in the hash chain checked, without a lock and beside a server.

use hindcast_model::{Digest, Event, Seq, UnixMicros};
use uuid::Uuid;

use crate::error::LogError;
use crate::frame;
use crate::moment::AT_OFFSET;
use crate::offline::Reader;
use crate::record::{self, Records};
use crate::scan::{self, Link};
use crate::segment::{self, Segment, Window};

/// A place between two frames of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub log: Uuid,
    /// Of the frame before.
    pub epoch: u32,
    pub next: Seq,
    /// Hash of the frame before; zero at the beginning.
    pub chain: Digest,
}

impl Place {
    /// The last sequence before it; 0 at the beginning.
    #[must_use]
    pub const fn last(&self) -> Seq {
        Seq(self.next.0 - 1)
    }

    /// The header of a segment that begins here.
    #[must_use]
    pub fn header(&self) -> [u8; segment::HEADER_BYTES] {
        let (log, first, previous) = (self.log, self.next, self.chain.0);
        segment::Header {
            log,
            first,
            previous,
        }
        .encode()
    }
}

impl From<Link> for Place {
    fn from(link: Link) -> Self {
        Self {
            log: link.log,
            epoch: link.epoch,
            next: link.next,
            chain: Digest(link.chain),
        }
    }
}

impl From<Place> for Link {
    fn from(place: Place) -> Self {
        Self {
            log: place.log,
            epoch: place.epoch,
            next: place.next,
            chain: place.chain.0,
        }
    }
}

/// A segment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentAt {
    pub first: Seq,
    /// Another segment follows it: it does not grow any more.
    pub sealed: bool,
}

/// Where copying goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameCursor {
    /// The first sequence of the segment.
    pub segment: Seq,
    pub place: Place,
    /// Time of the last frame that was passed.
    pub at: UnixMicros,
    offset: usize,
}

impl FrameCursor {
    /// Bytes of the segment before it, the header included.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl Reader {
    /// The segments, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentAt> {
        let count = self.origin.locations.len();
        let locations = self.origin.locations.iter().enumerate();
        locations
            .map(|(index, location)| SegmentAt {
                first: location.first,
                sealed: index + 1 < count,
            })
            .collect()
    }

    /// The beginning of the segment whose first sequence is `first`. The epoch is that of its first
    /// frame.
    pub fn frames_of(&self, first: Seq) -> Result<FrameCursor, LogError> {
        let segment = self.segment_at(first)?;
        let window = segment.window(segment::HEADER_BYTES)?;
        let epoch = window.header(segment::HEADER_BYTES).map_or(1, |h| h.epoch);
        Ok(FrameCursor {
            segment: first,
            place: Place {
                log: segment.header.log,
                epoch,
                next: segment.header.first,
                chain: Digest(segment.header.previous),
            },
            at: UnixMicros(0),
            offset: segment::HEADER_BYTES,
        })
    }

    fn segment_at(&self, first: Seq) -> Result<Segment, LogError> {
        self.origin.check(first)?;
        let mut found = self.origin.locations.iter().filter(|l| l.first == first);
        let (head, wanted) = (Seq(first.0.saturating_sub(1)), first);
        let location = found.next().ok_or(LogError::Ends { head, wanted })?;
        Segment::open(self.disk.as_ref(), location)
    }

    /// Hands the frames of the cursor's segment that follow it and end at `to` or before to `take`,
    /// many at a time, and moves the cursor behind them. A segment that is sealed has to be whole.
    pub fn copy_frames<E: From<LogError>>(
        &self,
        cursor: &mut FrameCursor,
        to: Seq,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let segment = self.segment_at(cursor.segment)?;
        loop {
            let (window, begin) = (segment.window(cursor.offset)?, cursor.offset);
            let end = pass(&segment, &window, cursor, to)?;
            if end == begin {
                break;
            }
            take(window.slice(begin, end - begin))?;
        }
        let after = self
            .origin
            .locations
            .partition_point(|l| l.first <= cursor.segment);
        match self.origin.locations.get(after) {
            Some(next) if next.first != cursor.place.next && cursor.place.next <= to => {
                Err(segment
                    .corrupt(cursor.place.next, cursor.offset, "the frame is damaged")
                    .into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Moves the cursor over the whole frames of a window that end at `to` or before.
fn pass(
    segment: &Segment,
    window: &Window,
    cursor: &mut FrameCursor,
    to: Seq,
) -> Result<usize, LogError> {
    while let Some((header, bytes)) = window.frame(cursor.offset) {
        if header.next() > to.next() {
            break;
        }
        let link = Link::from(cursor.place);
        scan::check_frame(segment, &header, &link, cursor.offset)?;
        cursor.at = time_of(bytes).unwrap_or(cursor.at);
        cursor.place.epoch = header.epoch;
        cursor.place.next = header.next();
        cursor.place.chain = Digest(frame::hash(bytes));
        cursor.offset += bytes.len();
    }
    Ok(cursor.offset)
}

/// The time that all records of a frame share.
pub(crate) fn time_of(frame: &[u8]) -> Option<UnixMicros> {
    let time = frame.get(AT_OFFSET..AT_OFFSET + 8)?;
    Some(UnixMicros(u64::from_le_bytes(time.try_into().ok()?)))
}

/// The place that the segment header at the start of `bytes` names; its epoch is not known.
pub fn header_at(bytes: &[u8]) -> Result<Option<Place>, LogError> {
    let header = segment::Header::decode(bytes)?;
    Ok(header.map(|header| Place {
        log: header.log,
        epoch: 0,
        next: header.first,
        chain: Digest(header.previous),
    }))
}

/// Shows the blobs that the events in these whole frames name.
pub fn blobs_in(frames: &[u8], mut named: impl FnMut(Digest)) -> Result<(), LogError> {
    let mut rest = frames;
    while let Some((header, bytes)) = frame::read(rest) {
        for entry in Records::new(&bytes[frame::HEADER_BYTES..], header.first) {
            let corrupt = |(seq, what): (Seq, String)| LogError::Corrupt {
                seq,
                file: "frame".to_owned(),
                offset: 0,
                what,
            };
            let (seq, header, bytes) = entry.map_err(corrupt)?;
            let recorded = record::decode(bytes, &header, seq);
            let recorded = recorded.map_err(|what| corrupt((seq, what)))?;
            recorded
                .event()
                .into_iter()
                .flat_map(Event::blobs)
                .for_each(&mut named);
        }
        rest = &rest[bytes.len()..];
    }
    Ok(())
}
