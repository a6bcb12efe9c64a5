//! A segment put together anew from what there is of it, on both sides of what is lost.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hindcast_model::Seq;

use super::Pass;
use super::frames::{End, Found, Rebuilt, Source, advance, left_headers, next_of, records};
use super::holes::{Hole, reseal};
use crate::frame;
use crate::scan::Link;
use crate::segment;

/// A frame of the segment.
pub(super) struct Piece<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) source: Source,
    /// The place that it goes on from.
    before: Link,
    /// Where it stands in the damaged file, or should.
    at: usize,
}

impl Piece<'_> {
    pub(super) fn header(&self) -> frame::Header {
        frame::header(&self.bytes).expect("only whole frames are pieces")
    }
}

/// A stretch of the segment.
enum Part<'a> {
    Frame(Piece<'a>),
    Hole(Hole<'a>),
}

/// Frames by their first sequence.
type Gathered<'a> = BTreeMap<Seq, Vec<Found<'a>>>;

/// A segment while it is put together.
pub(super) struct Parts<'a> {
    damaged: &'a [u8],
    parts: Vec<Part<'a>>,
    /// After the last frame that goes on from the one before it.
    link: Link,
    /// Where the next frame stands in the damaged file, or should.
    at: usize,
}

impl<'a> Parts<'a> {
    fn at(link: &Link, damaged: &'a [u8]) -> Self {
        Self {
            damaged,
            parts: Vec::new(),
            link: *link,
            at: segment::HEADER_BYTES,
        }
    }

    /// What the damaged file has where the next frame should stand.
    fn rest(&self) -> &'a [u8] {
        self.damaged.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, bytes: Cow<'a, [u8]>, source: Source, link: Link) {
        let (before, at) = (self.link, self.at);
        self.link = link;
        self.at += bytes.len();
        self.parts.push(Part::Frame(Piece {
            bytes,
            source,
            before,
            at,
        }));
    }

    fn has_hole(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Hole(_)))
    }

    /// Notes that what is before this frame is lost.
    fn go_on(&mut self, beyond: Beyond<'a>) {
        let (header, at) = match &beyond {
            Beyond::Sealed(at, frame) => (frame::header(frame), Some(*at)),
            Beyond::Found(frame) if frame.spare => {
                let mut left = left_headers(self.damaged, self.at, self.link.log);
                let left = left.find(|(_, left)| *left == frame.header);
                (Some(frame.header), left.map(|(at, _)| at))
            }
            Beyond::Found(frame) => (Some(frame.header), Some(frame.offset)),
        };
        let header = header.expect("the frame is whole");
        let from = self.at;
        self.at = at.filter(|at| *at >= from).unwrap_or(from);
        let bytes = self.damaged.get(from..self.at).unwrap_or_default();
        let place = self.link;
        self.link = Link {
            epoch: header.epoch,
            next: header.first,
            chain: header.previous,
            ..place
        };
        self.hole(place.next, Some(header.first), bytes);
        // A frame that was found is followed from here.
        if let Beyond::Sealed(_, frame) = beyond {
            let after = after(&self.link, &header, &frame);
            self.push(Cow::Owned(frame), Source::Store, after);
        }
    }

    fn hole(&mut self, from: Seq, next: Option<Seq>, bytes: &'a [u8]) {
        if let Some(Part::Hole(hole)) = self.parts.last_mut() {
            hole.next = next;
            hole.bytes.push(bytes);
            return;
        }
        let bytes = vec![bytes];
        self.parts.push(Part::Hole(Hole { from, next, bytes }));
    }
}

impl Parts<'_> {
    /// The segment as it should be, which begins at `begin`.
    pub(super) fn rebuilt(self, begin: &Link, end: Option<End>) -> Rebuilt {
        let mut rebuilt = Rebuilt::at(begin);
        let mut ends_in_hole = false;
        for part in &self.parts {
            ends_in_hole = matches!(part, Part::Hole(_));
            match part {
                Part::Frame(piece) => rebuilt.frame(piece),
                Part::Hole(hole) => {
                    rebuilt.lost.push(hole.lost());
                    rebuilt.bytes.extend(hole.bytes.iter().copied().flatten());
                }
            }
        }
        rebuilt.end = match end.filter(|_| ends_in_hole) {
            None => Some(self.link),
            Some(end) => end.chain.map(|chain| Link {
                next: end.next,
                chain,
                ..self.link
            }),
        };
        rebuilt
    }
}

impl Pass<'_> {
    /// The segment that begins at `link`, of the frames that are borne out: each goes on from the one
    /// before it, or what follows it or is left of its own header names it.
    pub(super) fn rebuild<'a>(
        &mut self,
        bytes: &'a [u8],
        found: &Gathered<'a>,
        link: &Link,
        end: Option<End>,
    ) -> Parts<'a> {
        let mut built = Parts::at(link, bytes);
        loop {
            self.follow(&mut built, found, end);
            let place = built.link;
            let followed = found.range(place.next.next()..).next().is_some();
            let acknowledged = self.known().is_some_and(|known| known >= place.next);
            let ended = match end {
                Some(end) => end.is_at(&place),
                // Whatever follows the end of the log was never acknowledged.
                None => !followed && !acknowledged,
            };
            if ended {
                self.close(&mut built, end);
                return built;
            }
            match self.beyond(&built, found, end) {
                Some(beyond) => {
                    self.take_back(&mut built);
                    built.go_on(beyond);
                }
                None => {
                    if end.is_some() || built.has_hole() {
                        self.take_back(&mut built);
                    }
                    self.ends_in_hole(&mut built, end);
                    return built;
                }
            }
        }
    }

    /// The end is there. Where nothing names the hash of the last frame, and what is before it is not
    /// all there either, it has to be borne out otherwise.
    fn close(&self, built: &mut Parts<'_>, end: Option<End>) {
        let named = end.is_some_and(|end| end.chain.is_some());
        if named || !built.has_hole() {
            return;
        }
        let next = built.link.next;
        self.take_back(built);
        if built.link.next < next {
            self.ends_in_hole(built, end);
        }
    }

    /// Nothing more of the segment can be had.
    fn ends_in_hole(&self, built: &mut Parts<'_>, end: Option<End>) {
        let next = end.map(|end| end.next);
        let next = next.or_else(|| self.known().map(Seq::next));
        let bytes = match end {
            Some(_) => built.rest(),
            // What the log ends with is cut.
            None => &[],
        };
        built.at += bytes.len();
        built.hole(built.link.next, next, bytes);
    }

    /// Goes on for as long as each frame is there or can be sealed anew.
    fn follow<'a>(&mut self, built: &mut Parts<'a>, found: &Gathered<'a>, end: Option<End>) {
        loop {
            let place = built.link;
            if end.is_some_and(|end| place.next >= end.next) {
                return;
            }
            if let Some(frame) = next_of(found, &place, end) {
                let source = match (frame.spare, frame.offset == built.at) {
                    (true, _) => Source::Spare,
                    (false, true) => Source::Here,
                    (false, false) => Source::Moved,
                };
                if source == Source::Here {
                    self.compare_store(frame.bytes, frame.header.first);
                }
                let after = advance(&place, frame);
                built.push(Cow::Borrowed(frame.bytes), source, after);
                continue;
            }
            let following = found.range(place.next.next()..).next();
            let following = following.and_then(|(_, frames)| frames.first());
            let Some(frame) = self.sealed_anew(&place, built.rest(), following, end) else {
                return;
            };
            let header = frame::header(&frame).expect("it was just sealed");
            let after = after(&place, &header, &frame);
            built.push(Cow::Owned(frame), Source::Store, after);
        }
    }

    /// Of a copy, frames before what is lost are borne out by nothing that follows them: they stay out,
    /// unless the damaged file still has the header, or the lookup store the records.
    fn take_back(&self, built: &mut Parts<'_>) {
        while let Some(Part::Frame(piece)) = built.parts.last() {
            let header = piece.header();
            let left = built.damaged.get(piece.at..).unwrap_or_default();
            let own = left.get(..frame::HEADER_BYTES) == piece.bytes.get(..frame::HEADER_BYTES);
            let held = || {
                let held = records(self.store?, header.first, header.count)?;
                Some(held == piece.bytes[frame::HEADER_BYTES..])
            };
            if piece.source != Source::Spare || own || held() == Some(true) {
                return;
            }
            (built.link, built.at) = (piece.before, piece.at);
            built.parts.pop();
        }
    }

    /// The first frame after the place that cannot be had.
    fn beyond<'a>(
        &self,
        built: &Parts<'a>,
        found: &Gathered<'a>,
        end: Option<End>,
    ) -> Option<Beyond<'a>> {
        let place = built.link;
        let before_end = |next: Seq| end.is_none_or(|end| next <= end.next);
        let there = found.range(place.next..).find_map(|(first, frames)| {
            // What stands at the place itself does not go on from it, and is there all the same.
            let here = |frame: &&Found<'_>| {
                let stands = !frame.spare || *first > place.next;
                stands && frame.header.count > 0 && before_end(frame.header.next())
            };
            frames.iter().find(here)
        });
        let until = there.map(|frame| frame.header.first);
        let sealed = self.store.and_then(|store| {
            let known = store.applied();
            let before = there.filter(|frame| !frame.spare && frame.offset >= built.at);
            let before = before.map_or(built.damaged.len(), |frame| frame.offset);
            let mut left = left_headers(&built.damaged[..before], built.at, place.log);
            left.find_map(|(at, left)| {
                let first = left.first;
                let next = Seq(first.0.checked_add(u64::from(left.count))?);
                let fits = first > place.next && next > first && next.0 - 1 <= known.0;
                let fits = fits && before_end(next) && until.is_none_or(|until| next <= until);
                // A record has some bytes, and all of them were in this file.
                let fits = fits && left.count as usize <= built.damaged.len();
                let frame = fits.then(|| reseal(store, &left, &built.damaged[at..]))??;
                Some((at, frame))
            })
        });
        match (sealed, there) {
            (Some((at, frame)), _) => Some(Beyond::Sealed(at, frame)),
            (None, Some(frame)) => Some(Beyond::Found(*frame)),
            (None, None) => None,
        }
    }

    /// The last event that was acknowledged, as far as the lookup store knows.
    fn known(&self) -> Option<Seq> {
        self.store.and_then(|store| store.known().ok())
    }
}

/// Where a segment goes on behind what is lost.
enum Beyond<'a> {
    Found(Found<'a>),
    /// Sealed anew, with where it stands in the damaged file.
    Sealed(usize, Vec<u8>),
}

fn after(before: &Link, header: &frame::Header, frame: &[u8]) -> Link {
    Link {
        epoch: header.epoch,
        next: header.next(),
        chain: frame::hash(frame),
        ..*before
    }
}
