//! Walks the segments in order and checks everything on the way: that no sequence is missing,
//! that each frame's checksum holds and that the hash chain is unbroken.
//!
//! One thread reads and checks, the caller's decodes: the two halves of a replay overlap.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use uuid::Uuid;

use hindcast_model::Seq;

use crate::disk::Disk;
use crate::error::LogError;
use crate::frame::{self, Chain};
use crate::segment::{self, Location, Segment};

/// A position in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) log: Uuid,
    pub(crate) epoch: u32,
    pub(crate) next: Seq,
    pub(crate) chain: Chain,
}

/// Where the last segment's intact frames end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) location: Location,
    pub(crate) offset: usize,
    /// Bytes after `offset` up to the last that is not zero: a frame that was never acknowledged.
    pub(crate) torn: usize,
}

/// One intact frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameAt {
    pub(crate) first: Seq,
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// The last record and the frame's hash.
    pub(crate) last: Seq,
    pub(crate) chain: Chain,
}

/// Frames of one segment, in order.
pub(crate) struct Stretch {
    pub(crate) segment: Arc<Segment>,
    /// No frame of the segment came before.
    pub(crate) begins: bool,
    pub(crate) frames: Vec<FrameAt>,
    /// No frame of the segment follows; the chain's hash after it.
    pub(crate) end: Option<Chain>,
}

/// What the whole scan found.
pub(crate) struct Scanned {
    pub(crate) link: Link,
    pub(crate) tail: Option<Tail>,
}

/// Frames handed over at a time: enough to keep both threads busy.
const STRETCH_FRAMES: usize = 512;

/// Reads `locations` and hands each stretch of
/// intact frames to `visit` on the calling thread. The log begins with sequence 1, unless it is
/// read from the middle: then the first segment's header is taken at its word.
pub(crate) fn scan(
    disk: &dyn Disk,
    locations: &[Location],
    from_middle: bool,
    mut visit: impl FnMut(&Stretch) -> Result<(), LogError>,
) -> Result<Option<Scanned>, LogError> {
    std::thread::scope(|scope| {
        let (send, receive): (SyncSender<Stretch>, Receiver<Stretch>) = sync_channel(4);
        let reader = scope.spawn(move || read_all(disk, locations, from_middle, &send));
        for stretch in receive {
            visit(&stretch)?;
        }
        reader
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn read_all(
    disk: &dyn Disk,
    locations: &[Location],
    from_middle: bool,
    send: &SyncSender<Stretch>,
) -> Result<Option<Scanned>, LogError> {
    let mut link = None;
    let mut tail = None;
    for (index, location) in locations.iter().enumerate() {
        let segment = Arc::new(Segment::read(disk, location)?);
        let is_last = index + 1 == locations.len();
        let from = link.unwrap_or_else(|| beginning(&segment, from_middle));
        check_header(&segment, &from)?;
        let (after, end) = read_segment(&segment, from, is_last, send)?;
        link = Some(after);
        tail = Some(end);
    }
    Ok(link.map(|link| Scanned { link, tail }))
}

fn beginning(segment: &Segment, from_middle: bool) -> Link {
    let (next, chain) = match from_middle {
        true => (segment.header.first, segment.header.previous),
        false => (Seq(1), [0; 32]),
    };
    Link {
        log: segment.header.log,
        epoch: 1,
        next,
        chain,
    }
}

fn check_header(segment: &Segment, link: &Link) -> Result<(), LogError> {
    let header = &segment.header;
    if header.log != link.log {
        return Err(segment.corrupt(link.next, 0, "the segment belongs to another log"));
    }
    if header.first != link.next {
        let what = format!(
            "sequences {} to {} are missing",
            link.next,
            header.first.0 - 1
        );
        return Err(segment.corrupt(link.next, 0, what));
    }
    if header.previous != link.chain {
        return Err(segment.corrupt(link.next, 0, "the hash chain is broken between segments"));
    }
    Ok(())
}

fn read_segment(
    segment: &Arc<Segment>,
    mut link: Link,
    is_last: bool,
    send: &SyncSender<Stretch>,
) -> Result<(Link, Tail), LogError> {
    let mut offset = segment::HEADER_BYTES;
    let mut frames = Vec::with_capacity(STRETCH_FRAMES);
    let mut begins = true;
    while let Some((header, bytes)) = segment.frame(offset) {
        check_frame(segment, &header, &link, offset)?;
        let chain = frame::hash(bytes);
        frames.push(FrameAt {
            first: header.first,
            offset,
            len: bytes.len(),
            last: Seq(header.next().0 - 1),
            chain,
        });
        link = Link {
            epoch: header.epoch,
            next: header.next(),
            chain,
            ..link
        };
        offset += bytes.len();
        if frames.len() == STRETCH_FRAMES {
            let full = std::mem::replace(&mut frames, Vec::with_capacity(STRETCH_FRAMES));
            let segment = Arc::clone(segment);
            deliver(
                send,
                Stretch {
                    segment,
                    begins,
                    frames: full,
                    end: None,
                },
            );
            begins = false;
        }
    }
    let torn = check_end(segment, &link, offset, is_last)?;
    let end = Some(link.chain);
    deliver(
        send,
        Stretch {
            segment: Arc::clone(segment),
            begins,
            frames,
            end,
        },
    );
    Ok((
        link,
        Tail {
            location: segment.location.clone(),
            offset,
            torn,
        },
    ))
}

/// The receiver is gone only when it has failed, and then its error counts.
fn deliver(send: &SyncSender<Stretch>, stretch: Stretch) {
    drop(send.send(stretch));
}

fn check_frame(
    segment: &Segment,
    header: &frame::Header,
    link: &Link,
    offset: usize,
) -> Result<(), LogError> {
    if header.first != link.next {
        let what = format!("a frame of sequence {} stands here", header.first);
        return Err(segment.corrupt(link.next, offset, what));
    }
    if header.previous != link.chain {
        return Err(segment.corrupt(link.next, offset, "the hash chain is broken"));
    }
    if header.epoch < link.epoch || header.count == 0 {
        return Err(segment.corrupt(
            link.next,
            offset,
            "the frame's epoch or count is impossible",
        ));
    }
    Ok(())
}

/// What follows the last intact frame: nothing, a torn end, or damage.
fn check_end(
    segment: &Segment,
    link: &Link,
    offset: usize,
    is_last: bool,
) -> Result<usize, LogError> {
    if segment.is_blank(offset) {
        return Ok(0);
    }
    if !is_last {
        return Err(segment.corrupt(link.next, offset, "the frame is damaged"));
    }
    if let Some((at, later)) = segment.later_frame(offset) {
        let what = format!(
            "the frame is damaged; sequence {} follows intact at byte {at}",
            later.first
        );
        return Err(segment.corrupt(link.next, offset, what));
    }
    let used = segment
        .bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(offset, |last| last + 1);
    Ok(used - offset)
}
