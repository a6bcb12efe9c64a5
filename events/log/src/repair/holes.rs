//! What is missing from a segment: sealed anew from the lookup store, or told.

use hindcast_model::Seq;

use super::frames::{End, Found, records};
use super::{Lost, Pass};
use crate::frame;
use crate::scan::Link;

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
        let epochs = [Some(place.epoch), following.map(|next| next.header.epoch)];
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

/// What is said of the events from `place` up to the next that is there.
pub(super) fn hole(place: &Link, following: Option<&Found<'_>>, end: Option<End>) -> Lost {
    let beyond = following.map(|frame| frame.header.first);
    let beyond = beyond.or_else(|| end.map(|end| end.next));
    let events = match beyond.filter(|beyond| *beyond > place.next.next()) {
        Some(beyond) => format!("events {} to {}: ", place.next, beyond.0 - 1),
        None => String::new(),
    };
    Lost {
        seq: place.next,
        what: format!("{events}the frame is damaged, and no copy bears out its hash"),
    }
}
