//! Reads a log from its segments alone: without the lock, the lookup store or a server, and
//! beside a server that is writing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hindcast_model::{EventId, Seq, State, Stream};
use uuid::Uuid;

use crate::base::{Base, BaseFile, Gap, Origin};
use crate::blobs::Blobs;
use crate::disk::{Disk, RealDisk};
use crate::error::LogError;
use crate::frame;
use crate::position::Position;
use crate::prune;
use crate::record::{self, Recorded, Records};
use crate::replay::replay;
use crate::segment::{self, Segment};

/// The log under a data directory, for reading.
pub struct Reader {
    pub(crate) disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    pub(crate) origin: Origin,
}

impl Reader {
    /// Finds the segments under `data_dir`; there may be none.
    pub fn open(data_dir: &Path) -> Result<Self, LogError> {
        Self::open_on(Arc::new(RealDisk), data_dir)
    }

    /// As [`Reader::open`], on this disk.
    pub fn open_on(disk: Arc<dyn Disk>, data_dir: &Path) -> Result<Self, LogError> {
        let origin = Origin::find(disk.as_ref(), data_dir)?;
        Ok(Self {
            disk,
            data_dir: data_dir.to_owned(),
            origin,
        })
    }

    /// Calls `visit` with every event from `from` on until it breaks. An error when they are pruned.
    fn each(
        &self,
        from: Seq,
        mut visit: impl FnMut(
            &record::Header,
            &mut dyn FnMut() -> Result<Recorded, String>,
            Seq,
        ) -> Result<ControlFlow<()>, String>,
    ) -> Result<Option<(Uuid, u32, Seq)>, LogError> {
        if from > Seq(0) {
            self.origin.check(from)?;
        }
        let locations = &self.origin.locations;
        let start = locations.partition_point(|location| location.first <= from);
        let mut last = None;
        for location in &locations[start.saturating_sub(1)..] {
            let segment = Segment::open(self.disk.as_ref(), location)?;
            let mut offset = segment::HEADER_BYTES;
            loop {
                let (window, start) = (segment.window(offset)?, offset);
                while let Some((header, bytes)) = window.frame(offset) {
                    last = Some((header.log, header.epoch, Seq(header.next().0 - 1)));
                    let corrupt = |(seq, what): (Seq, String)| segment.corrupt(seq, offset, what);
                    let wanted = if header.next() > from {
                        bytes
                    } else {
                        &bytes[..frame::HEADER_BYTES]
                    };
                    for entry in Records::new(&wanted[frame::HEADER_BYTES..], header.first) {
                        let (seq, record_header, record) = entry.map_err(corrupt)?;
                        if seq < from {
                            continue;
                        }
                        let mut decode = || record::decode(record, &record_header, seq);
                        let flow = visit(&record_header, &mut decode, seq)
                            .map_err(|what| corrupt((seq, what)))?;
                        if flow.is_break() {
                            return Ok(last);
                        }
                    }
                    offset += bytes.len();
                }
                if offset == start {
                    break;
                }
            }
        }
        Ok(last)
    }

    /// The first sequence that can be read: 1, unless the log was pruned.
    #[must_use]
    pub fn oldest(&self) -> Seq {
        self.origin.pruned_to().next()
    }

    /// What was removed, in the order of the sequences.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.origin.base().map(Base::gaps).unwrap_or_default()
    }

    /// What a pruned log goes on from; none when it is there from its beginning.
    #[must_use]
    pub fn base(&self) -> Option<BaseFile> {
        self.origin.base_file()
    }

    /// The disk that it reads.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }

    /// Where the log is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Calls `visit` with the events from `from` to `last` whose type is among `numbers`, until it
    /// breaks. Of the others the headers are read.
    pub fn select(
        &self,
        (from, last): (Seq, Seq),
        numbers: &[u16],
        mut visit: impl FnMut(Recorded) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        self.each(from, |header, decode, seq| {
            if seq > last {
                return Ok(ControlFlow::Break(()));
            }
            match numbers.contains(&header.number) {
                true => Ok(visit(decode()?)),
                false => Ok(ControlFlow::Continue(())),
            }
        })?;
        Ok(())
    }

    /// The event with this id between two places, if it stands there. Reads headers.
    pub fn find_event(
        &self,
        (from, last): (Seq, Seq),
        id: EventId,
    ) -> Result<Option<Recorded>, LogError> {
        let mut found = None;
        self.each(from, |header, decode, seq| {
            if seq > last {
                return Ok(ControlFlow::Break(()));
            }
            if header.event_id != id {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(decode()?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// How many events of each type stand from `from` to `last`, by the number of the type. Reads
    /// headers.
    pub fn tally(&self, from: Seq, last: Seq) -> Result<BTreeMap<u16, u64>, LogError> {
        let mut tally = BTreeMap::new();
        self.each(from, |header, _, seq| {
            if seq > last {
                return Ok(ControlFlow::Break(()));
            }
            *tally.entry(header.number).or_default() += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(tally)
    }

    /// The newest position; `None` when nothing is recorded.
    pub fn head(&self) -> Result<Option<Position>, LogError> {
        let Some(from) = self.origin.locations.last() else {
            return Ok(None);
        };
        // The last segment may hold nothing yet.
        let from = Seq(from.first.0 - 1).max(self.oldest());
        let last = self.each(from, |_, _, _| Ok(ControlFlow::Continue(())))?;
        Ok(last.map(|(log, epoch, seq)| Position { log, epoch, seq }))
    }

    /// Up to `max` events from `from` on, ascending.
    pub fn read(&self, from: Seq, max: usize) -> Result<Vec<Recorded>, LogError> {
        let mut found = Vec::new();
        self.each(from, |_, decode, _| {
            if found.len() < max {
                found.push(decode()?);
            }
            Ok(if found.len() < max {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        Ok(found)
    }

    /// Up to `max` events before `before`, descending. It ends where the log was pruned, and is an
    /// error when everything that is asked for was.
    pub fn read_back(&self, before: Seq, max: usize) -> Result<Vec<Recorded>, LogError> {
        let head = self.head()?.map_or(Seq(0), |head| head.seq);
        let end = before.0.min(head.0 + 1);
        if end > 1 && max > 0 {
            self.origin.check(Seq(end - 1))?;
        }
        let from = end.saturating_sub(max as u64).max(self.oldest().0);
        let wanted = usize::try_from(end.saturating_sub(from)).unwrap_or(0);
        let mut found = self.read(Seq(from), wanted)?;
        found.reverse();
        Ok(found)
    }

    /// Every event of a stream, ascending. Reads the headers of the whole log. An error when some of
    /// them are pruned.
    pub fn read_stream(&self, stream: Stream) -> Result<Vec<Recorded>, LogError> {
        let mut found = Vec::new();
        self.each(self.oldest(), |header, decode, _| {
            if header.stream == stream {
                found.push(decode()?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(base) = self.origin.base() {
            let checkpoint = self.origin.checkpoint()?;
            let grew = || checkpoint.is_some_and(|base| base.state.version(stream) > 0);
            let first: Option<&Recorded> = found.first();
            prune::check_stream(base, stream, first.map(|first| first.version), grew)?;
        }
        Ok(found)
    }

    /// The state that the log folds to.
    pub fn state(&self) -> Result<State, LogError> {
        Ok(replay(self.disk.as_ref(), &self.data_dir, &|_| {})?.state)
    }

    /// The content-addressed files.
    #[must_use]
    pub fn blobs(&self) -> Blobs {
        Blobs::read_only(Arc::clone(&self.disk), &self.data_dir)
    }
}
