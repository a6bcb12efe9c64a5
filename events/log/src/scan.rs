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
use crate::segment::{self, Location, Segment, Window};

/// A position in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) log: Uuid,
    pub(crate) epoch: u32,
    pub(crate) next: Seq,
    pub(crate) chain: Chain,
}

impl Link {
    /// Where a log begins.
    pub(crate) const fn beginning(log: Uuid) -> Self {
        Self {
            log,
            epoch: 1,
            next: Seq(1),
            chain: [0; 32],
        }
    }
}

/// Where the last segment's intact frames end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) location: Location,
    /// Where the last intact frame begins; `offset` when there is none.
    pub(crate) last: usize,
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
    /// Their bytes; none at the end of the segment.
    pub(crate) window: Option<Window>,
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

/// What the first segment has to join.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// The beginning of a log.
    Beginning,
    /// This place, the end of what was removed.
    After(Link),
    /// What its own header says.
    Header,
}

/// Stretches read ahead of the one that is folded.
const STRETCHES_AHEAD: usize = 4;

/// Reads `locations` and hands each stretch of intact frames to `visit` on the calling thread.
pub(crate) fn scan(
    disk: &dyn Disk,
    locations: &[Location],
    begin: Begin,
    mut visit: impl FnMut(&Stretch) -> Result<(), LogError>,
) -> Result<Option<Scanned>, LogError> {
    std::thread::scope(|scope| {
        let (send, receive): (SyncSender<Stretch>, Receiver<Stretch>) =
            sync_channel(STRETCHES_AHEAD);
        let reader = scope.spawn(move || read_all(disk, locations, begin, &send));
        for stretch in receive {
            visit(&stretch)?;
        }
        reader
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A damaged place.
pub(crate) struct DamagedAt {
    pub(crate) seq: Seq,
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) what: String,
}

/// Reads all of `locations`, whatever is damaged in them: after a damaged place the next segment
/// is taken at its header's word. One place is named for each segment.
pub(crate) fn each_damage(
    disk: &dyn Disk,
    locations: &[Location],
    mut visit: impl FnMut(&Stretch) -> Result<(), LogError>,
    mut named: impl FnMut(DamagedAt),
) -> Result<(), LogError> {
    let mut next = 0;
    while let Some(rest) = locations.get(next..).filter(|rest| !rest.is_empty()) {
        match scan(disk, rest, Begin::Header, &mut visit) {
            Ok(_) => return Ok(()),
            Err(LogError::Corrupt {
                seq,
                file,
                offset,
                what,
            }) => {
                let is_it = |location: &Location| location.path.display().to_string() == file;
                let at = locations.iter().position(is_it);
                let at = at.unwrap_or(locations.len());
                // A segment that does not join the one before it may itself be whole.
                let joins = offset == 0 && at > next;
                next = at + usize::from(!joins);
                named(DamagedAt {
                    seq,
                    file,
                    offset,
                    what,
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_all(
    disk: &dyn Disk,
    locations: &[Location],
    begin: Begin,
    send: &SyncSender<Stretch>,
) -> Result<Option<Scanned>, LogError> {
    let mut link = None;
    let mut tail = None;
    for (index, location) in locations.iter().enumerate() {
        let segment = Arc::new(Segment::open(disk, location)?);
        // A segment is archived only when another follows it: its end is never torn.
        let may_be_torn = index + 1 == locations.len() && !location.archived;
        let from = link.unwrap_or_else(|| beginning(&segment, begin));
        check_header(&segment, &from)?;
        let (after, end) = read_segment(&segment, from, may_be_torn, send)?;
        link = Some(after);
        tail = Some(end);
    }
    Ok(link.map(|link| Scanned { link, tail }))
}

fn beginning(segment: &Segment, begin: Begin) -> Link {
    let (next, chain) = match begin {
        Begin::Beginning => (Seq(1), [0; 32]),
        Begin::After(link) => return link,
        Begin::Header => (segment.header.first, segment.header.previous),
    };
    Link {
        log: segment.header.log,
        epoch: 1,
        next,
        chain,
    }
}

pub(crate) fn check_header(segment: &Segment, link: &Link) -> Result<(), LogError> {
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
    may_be_torn: bool,
    send: &SyncSender<Stretch>,
) -> Result<(Link, Tail), LogError> {
    let mut offset = segment::HEADER_BYTES;
    let mut last = offset;
    let mut begins = true;
    let torn = loop {
        let window = segment.window(offset)?;
        let mut frames = Vec::new();
        while let Some((header, bytes)) = window.frame(offset) {
            check_frame(segment, &header, &link, offset)?;
            let chain = frame::hash(bytes);
            frames.push(FrameAt {
                first: header.first,
                offset,
                len: bytes.len(),
                last: Seq(header.next().0 - 1),
                chain,
            });
            last = offset;
            link = Link {
                epoch: header.epoch,
                next: header.next(),
                chain,
                ..link
            };
            offset += bytes.len();
        }
        if frames.is_empty() {
            match check_end(segment, &link, offset, may_be_torn)? {
                End::At { torn } => break torn,
                End::Moved => continue,
            }
        }
        let stretch = Stretch {
            segment: Arc::clone(segment),
            window: Some(window),
            begins,
            frames,
            end: None,
        };
        deliver(send, stretch);
        begins = false;
    };
    let stretch = Stretch {
        segment: Arc::clone(segment),
        window: None,
        begins,
        frames: Vec::new(),
        end: Some(link.chain),
    };
    deliver(send, stretch);
    let tail = Tail {
        location: segment.location.clone(),
        last,
        offset,
        torn,
    };
    Ok((link, tail))
}

/// The receiver is gone only when it has failed, and then its error counts.
fn deliver(send: &SyncSender<Stretch>, stretch: Stretch) {
    drop(send.send(stretch));
}

pub(crate) fn check_frame(
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

/// What follows the last intact frame.
enum End {
    /// Nothing, or so many bytes of a torn end.
    At { torn: usize },
    /// A frame that was written since: a server is at work.
    Moved,
}

fn check_end(
    segment: &Segment,
    link: &Link,
    offset: usize,
    may_be_torn: bool,
) -> Result<End, LogError> {
    let Some(rest) = segment.rest(offset)? else {
        return Ok(End::At { torn: 0 });
    };
    if rest.frame(offset).is_some() {
        return Ok(End::Moved);
    }
    if !may_be_torn {
        return Err(segment.corrupt(link.next, offset, "the frame is damaged"));
    }
    if let Some((at, later)) = rest.later_frame() {
        let what = format!(
            "the frame is damaged; sequence {} follows intact at byte {at}",
            later.first
        );
        return Err(segment.corrupt(link.next, offset, what));
    }
    Ok(End::At { torn: rest.used() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::{DiskFile, SimDisk};
    use crate::{record, replay, walk};

    const LOG: Uuid = Uuid::from_u128(7);

    fn data_dir() -> &'static Path {
        Path::new("/data")
    }

    /// A disk with one segment of these bytes.
    fn disk_of(bytes: &[u8]) -> SimDisk {
        let sim = SimDisk::new(1);
        let path = segment::wal_dir(data_dir()).join(segment::file_name(Seq(1)));
        let file: Box<dyn DiskFile> = sim.create(&path).expect("created");
        file.write_at(bytes, 0).expect("written");
        sim
    }

    fn header() -> Vec<u8> {
        let header = segment::Header {
            log: LOG,
            first: Seq(1),
            previous: [0; 32],
        };
        header.encode().to_vec()
    }

    /// A segment of frames whose checksums hold, whatever their records are.
    fn sealed(bodies: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = header();
        let (mut first, mut previous) = (Seq(1), [0; 32]);
        for (count, body) in bodies {
            let mut frame = vec![0; frame::HEADER_BYTES];
            frame.extend(body);
            let place = frame::Place {
                log: LOG,
                epoch: 1,
                first,
                previous,
            };
            previous = frame::seal(&mut frame, *count, &place);
            first = Seq(first.0 + u64::from(*count));
            bytes.extend(frame);
        }
        bytes
    }

    /// Everything that reads the bytes of a segment; only a panic is a failure.
    fn read_in_every_way(bytes: &[u8]) {
        let sim = disk_of(bytes);
        let replayed = replay(&sim, data_dir(), &|_| {}).map(|replayed| replayed.head());
        let mut last = Seq(0);
        let walked = walk(&sim, data_dir(), |recorded, _| {
            last = recorded.seq();
            Ok(())
        });
        if walked.is_ok() && replayed.is_ok() {
            assert_eq!(replayed.ok(), Some(last));
        }
        drop(record::header(bytes));
    }

    /// The committed samples as records, so that mutations start from what is valid.
    fn sample() -> Vec<u8> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        std::fs::read(dir.join("record_14_1_disk_sampled.bin")).expect("a golden file")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            read_in_every_way(&bytes);
            read_in_every_way(&[header(), bytes.clone()].concat());
            read_in_every_way(&[header(), b"HCF1\x01\0\0\0".to_vec(), bytes].concat());
        }

        #[test]
        fn frames_of_arbitrary_records_are_no_panic(
            bodies in prop::collection::vec(
                (0..4_u32, prop::collection::vec(any::<u8>(), 0..300)), 1..4)
        ) {
            read_in_every_way(&sealed(&bodies));
        }

        #[test]
        fn mutated_records_in_sealed_frames_are_no_panic(
            changes in prop::collection::vec((0..144_usize, any::<u8>()), 0..6),
            cut in 0..144_usize,
        ) {
            let mut record = sample();
            for (at, byte) in changes {
                record[at] = byte;
            }
            read_in_every_way(&sealed(&[(1, record.clone())]));
            record.truncate(cut);
            read_in_every_way(&sealed(&[(1, record.clone()), (2, [record, sample()].concat())]));
        }

        #[test]
        fn mutated_segments_are_no_panic_and_no_other_data(
            at in 0..900_usize, bit in 0..8_u32, cut in 0..900_usize
        ) {
            let bytes = sealed(&vec![(1, sample()); 3]);
            let mut flipped = bytes.clone();
            let at = at % flipped.len();
            flipped[at] ^= 1 << bit;
            read_in_every_way(&flipped);
            let mut count = 0;
            let read = walk(&disk_of(&flipped), data_dir(), |_, _| {
                count += 1;
                Ok(())
            });
            // Only the last frame may be taken for a torn one.
            prop_assert!(read.is_err() || count == 2, "{count} records were read");
            read_in_every_way(&bytes[..cut.min(bytes.len())]);
        }
    }
}
