//! Where whole frames are looked for (in bytes, wherever they stand there, and in the lookup store),
//! and what they are put together to.

use std::collections::BTreeMap;

use hindcast_model::Seq;
use uuid::Uuid;

use super::Lost;
use super::rebuild::Piece;
use crate::frame::{self, Chain};
use crate::record::Records;
use crate::scan::Link;
use crate::segment;
use crate::store::Store;

/// Where a segment has to end: the sequence that the next one begins with, and the hash, where it
/// can be read.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) next: Seq,
    pub(super) chain: Option<Chain>,
}

impl End {
    pub(super) fn is_at(&self, link: &Link) -> bool {
        self.next == link.next && self.chain.is_none_or(|chain| chain == link.chain)
    }
}

/// An intact frame in some bytes.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) header: frame::Header,
    pub(super) bytes: &'a [u8],
    pub(super) offset: usize,
    pub(super) spare: bool,
}

/// Where a frame comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The damaged file, in its place.
    Here,
    /// The damaged file, out of place.
    Moved,
    Spare,
    Store,
}

/// A segment as it should be, but for what is lost.
pub(super) struct Rebuilt {
    pub(super) bytes: Vec<u8>,
    /// Where the frames stand in `bytes`.
    pub(super) frames: Vec<usize>,
    pub(super) healed: Vec<(Seq, Seq)>,
    pub(super) moved: u64,
    pub(super) spare: u64,
    pub(super) store: u64,
    /// What is missing, in order. What is left of it stays where it is.
    pub(super) lost: Vec<Lost>,
    /// Where the log goes on behind it; None when nothing tells.
    pub(super) end: Option<Link>,
}

impl Rebuilt {
    pub(super) fn at(link: &Link) -> Self {
        let header = segment::Header {
            log: link.log,
            first: link.next,
            previous: link.chain,
        };
        Self {
            bytes: header.encode().to_vec(),
            frames: Vec::new(),
            healed: Vec::new(),
            moved: 0,
            spare: 0,
            store: 0,
            lost: Vec::new(),
            end: None,
        }
    }

    pub(super) fn frame(&mut self, piece: &Piece<'_>) {
        let header = piece.header();
        match piece.source {
            Source::Here => {}
            Source::Moved => self.moved += 1,
            Source::Spare => self.spare += 1,
            Source::Store => self.store += 1,
        }
        if matches!(piece.source, Source::Spare | Source::Store) {
            self.heal(header.first, header.next());
        }
        self.frames.push(self.bytes.len());
        self.bytes.extend_from_slice(&piece.bytes);
    }

    /// Sequences from `first` to before `next` were put back.
    fn heal(&mut self, first: Seq, next: Seq) {
        let last = Seq(next.0 - 1);
        match self.healed.last_mut() {
            Some((_, end)) if end.next() == first => *end = last,
            Some(_) | None => self.healed.push((first, last)),
        }
    }
}

/// The frames of a damaged file and of a spare copy.
pub(super) fn gathered<'a>(
    bytes: &'a [u8],
    spare: Option<&'a [u8]>,
    log: Uuid,
) -> BTreeMap<Seq, Vec<Found<'a>>> {
    let mut found = frames(bytes, log, false);
    let copies = spare.map(|spare| frames(spare, log, true));
    for (seq, frames) in copies.unwrap_or_default() {
        found.entry(seq).or_default().extend(frames);
    }
    found
}

/// Every intact frame of the log in `bytes`, wherever it stands, by its first sequence.
pub(super) fn frames(bytes: &[u8], log: Uuid, spare: bool) -> BTreeMap<Seq, Vec<Found<'_>>> {
    let mut found: BTreeMap<Seq, Vec<Found<'_>>> = BTreeMap::new();
    let mut offset = segment::HEADER_BYTES;
    while offset + frame::HEADER_BYTES <= bytes.len() {
        let here = (bytes[offset] == b'H').then(|| frame::read(&bytes[offset..]));
        match here.flatten().filter(|(header, _)| header.log == log) {
            Some((header, frame)) => {
                found.entry(header.first).or_default().push(Found {
                    header,
                    bytes: frame,
                    offset,
                    spare,
                });
                offset += frame.len();
            }
            None => offset += 1,
        }
    }
    found
}

/// What can be read as headers of frames of the log in `bytes` from `from` on, with where they stand.
/// The frames may be damaged, and the headers too.
pub(super) fn left_headers(
    bytes: &[u8],
    from: usize,
    log: Uuid,
) -> impl Iterator<Item = (usize, frame::Header)> {
    let at = (from..bytes.len()).filter(|at| bytes[*at] == b'H');
    let header = |at| Some((at, frame::header(&bytes[at..])?));
    at.filter_map(header)
        .filter(move |(_, header)| header.log == log)
}

/// The frame that goes on from `place` and is over before `end`.
pub(super) fn next_of<'a>(
    found: &BTreeMap<Seq, Vec<Found<'a>>>,
    place: &Link,
    end: Option<End>,
) -> Option<Found<'a>> {
    let here = found.get(&place.next)?;
    let fits = |frame: &&Found<'_>| {
        let header = &frame.header;
        let before_end = end.is_none_or(|end| header.next() <= end.next);
        let goes_on = header.previous == place.chain && header.epoch >= place.epoch;
        goes_on && before_end && header.count > 0
    };
    here.iter().find(fits).copied()
}

pub(super) fn advance(place: &Link, frame: Found<'_>) -> Link {
    Link {
        epoch: frame.header.epoch,
        next: frame.header.next(),
        chain: frame::hash(frame.bytes),
        ..*place
    }
}

/// The bytes of `count` records from `first` on, as the lookup store has them.
pub(super) fn records(store: &Store, first: Seq, count: u32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut next = first;
    let end = Seq(first.0 + u64::from(count));
    while next < end {
        let (chunk_first, _, chunk) = store.chunk(next).ok()??;
        let before = next;
        for entry in Records::new(&chunk, chunk_first) {
            let (seq, _, record) = entry.ok()?;
            if seq == next && next < end {
                bytes.extend_from_slice(record);
                next = next.next();
            }
        }
        if next == before {
            return None;
        }
    }
    Some(bytes)
}
