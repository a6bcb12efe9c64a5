//! The log frame by frame, decoded: what was decided together, at one time.

use std::ops::ControlFlow;

use hindcast_model::Seq;

use crate::error::LogError;
use crate::offline::Reader;
use crate::record::{self, Recorded, Records};
use crate::segment::{self, Segment};

impl Reader {
    /// Calls `visit` with the events of each frame from `from` to `to`, until it breaks. The first
    /// and the last frame may be cut by these bounds. Checksums are checked, the hash chain is not:
    /// that is done where the state before `from` is folded, and by `verify`. An error when they are
    /// pruned.
    pub fn frames(
        &self,
        (from, to): (Seq, Seq),
        visit: &mut dyn FnMut(Vec<Recorded>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        self.origin.check(from)?;
        let locations = &self.origin.locations;
        let start = locations.partition_point(|location| location.first <= from);
        for location in &locations[start.saturating_sub(1)..] {
            if location.first > to {
                break;
            }
            let segment = Segment::open(self.disk.as_ref(), location)?;
            if frames_of(&segment, (from, to), visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn frames_of(
    segment: &Segment,
    (from, to): (Seq, Seq),
    visit: &mut dyn FnMut(Vec<Recorded>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, LogError> {
    let mut offset = segment::HEADER_BYTES;
    loop {
        let (window, begin) = (segment.window(offset)?, offset);
        while let Some((header, bytes)) = window.frame(offset) {
            if header.first > to {
                return Ok(ControlFlow::Break(()));
            }
            if header.next() > from {
                let corrupt = |(seq, what): (Seq, String)| segment.corrupt(seq, offset, what);
                let mut events = Vec::new();
                for entry in Records::new(&bytes[crate::frame::HEADER_BYTES..], header.first) {
                    let (seq, record_header, record) = entry.map_err(corrupt)?;
                    if seq < from {
                        continue;
                    }
                    if seq > to {
                        break;
                    }
                    let recorded = record::decode(record, &record_header, seq);
                    events.push(recorded.map_err(|what| corrupt((seq, what)))?);
                }
                if visit(events).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            offset += bytes.len();
        }
        if offset == begin {
            return Ok(ControlFlow::Continue(()));
        }
    }
}
