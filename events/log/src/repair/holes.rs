//! What is missing from a segment: sealed anew from the lookup store, or told.

use hindcast_model::Seq;

use super::frames::{End, Found, records};
use super::{Lost, Pass};
use crate::frame;
use crate::scan::Link;
use crate::segment::Location;
use crate::store::Store;

impl Pass<'_> {
    /// The frame at `place`, sealed anew from the records of the lookup store.
    pub(super) fn sealed_anew(
        &self,
        place: &Link,
        damaged: &[u8],
        following: Option<&Found<'_>>,
        end: Option<End>,
    ) -> Option<Vec<u8>> {
        let store = self.store?;
        let left = frame::header(damaged);
        let left_fits = left.filter(|header| header.first == place.next && header.count > 0);
        let until = |seq: Seq| u32::try_from(seq.0.checked_sub(place.next.0)?).ok();
        let counts = [
            left_fits.map(|header| header.count),
            following.and_then(|next| until(next.header.first)),
            end.and_then(|end| until(end.next)),
        ];
        let epochs = [
            Some(place.epoch),
            left_fits.map(|header| header.epoch),
            following.map(|next| next.header.epoch),
        ];
        for count in counts.into_iter().flatten() {
            let Some(records) = records(store, place.next, count) else {
                continue;
            };
            for epoch in epochs.into_iter().flatten() {
                let mut frame = vec![0; frame::HEADER_BYTES];
                frame.extend_from_slice(&records);
                let sealed = frame::Place {
                    log: place.log,
                    epoch,
                    first: place.next,
                    previous: place.chain,
                };
                let chain = frame::seal(&mut frame, count, &sealed);
                let next = Seq(place.next.0 + u64::from(count));
                let followed = following.is_some_and(|after| {
                    after.header.first == next && after.header.previous == chain
                });
                let ends = end.is_some_and(|end| (end.next, end.chain) == (next, Some(chain)));
                // Its own header, which the damage left: it holds the checksum of all its bytes.
                let own = damaged.get(..frame::HEADER_BYTES) == frame.get(..frame::HEADER_BYTES);
                if followed || ends || own {
                    return Some(frame);
                }
            }
        }
        None
    }

    pub(super) fn compare_store(&mut self, frame: &[u8], first: Seq) {
        let Some(store) = self.store else { return };
        let Some(header) = frame::header(frame) else {
            return;
        };
        let last = Seq(header.next().0 - 1);
        if last > store.applied() || self.store_differs.is_some() {
            return;
        }
        let held = records(store, first, header.count);
        if held.as_deref() != frame.get(frame::HEADER_BYTES..) {
            let what = format!("it holds other records than the log from sequence {first} on");
            self.store_differs = Some(what);
        }
    }
}

/// Events of which no frame is borne out.
pub(super) struct Hole<'a> {
    pub(super) from: Seq,
    /// The next event that is there, if it is known which one is.
    pub(super) next: Option<Seq>,
    /// What the damaged file has in their place.
    pub(super) bytes: Vec<&'a [u8]>,
}

impl Hole<'_> {
    pub(super) fn lost(&self) -> Lost {
        let Some(next) = self.next else {
            let what = "from here on nothing bears out what follows".to_owned();
            let (seq, to) = (self.from, self.from);
            return Lost { seq, to, what };
        };
        let to = Seq(next.0 - 1);
        if next <= self.from {
            let what = "what follows names another hash".to_owned();
            let seq = to;
            return Lost { seq, to, what };
        }
        let events = match to > self.from {
            true => format!("events {} to {to}: ", self.from),
            false => String::new(),
        };
        Lost {
            seq: self.from,
            to,
            what: format!("{events}the frame is damaged, and no copy bears out its hash"),
        }
    }
}

/// The frame of this header, of which `left` is left, sealed anew from the records of the lookup store.
/// Its own header bears it out, which holds the checksum of all its bytes.
pub(super) fn reseal(store: &Store, header: &frame::Header, left: &[u8]) -> Option<Vec<u8>> {
    let records = records(store, header.first, header.count)?;
    let mut frame = vec![0; frame::HEADER_BYTES];
    frame.extend_from_slice(&records);
    let place = frame::Place {
        log: header.log,
        epoch: header.epoch,
        first: header.first,
        previous: header.previous,
    };
    frame::seal(&mut frame, header.count, &place);
    let same = left.get(..frame::HEADER_BYTES) == frame.get(..frame::HEADER_BYTES);
    same.then_some(frame)
}

/// The segments that are passed over, since neither their headers nor what is before them tell what they
/// go on from. The one behind them begins with `next`.
pub(super) fn unread(passed: &[Location], next: Seq) -> Option<Lost> {
    let first = passed.first()?;
    let what = "nothing tells what these segments go on from".to_owned();
    let (seq, to) = (first.first, Seq(next.0 - 1));
    Some(Lost { seq, to, what })
}
