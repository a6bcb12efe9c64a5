//! Writes the segments of a data directory from frames that come from elsewhere, up to an exact
//! place, and begins an epoch behind them. Each frame's checksum and place in the hash chain is
//! checked on the way, so that what is written is a log or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hindcast_model::{Event, EventId, Seq, UnixMicros};

use crate::base::{self, BaseFile};
use crate::copying::{Place, time_of};
use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::frame;
use crate::journal::Journal;
use crate::record::Records;
use crate::replay::Replayed;
use crate::scan::Link;
use crate::segment;
use crate::wal::{Spare, Wal};

/// Where a log that is restored ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With this event and what was decided in one with it.
    Seq(Seq),
    /// With the last event whose time is not later.
    Time(UnixMicros),
    /// Where there is no more.
    End,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    pub place: Place,
    /// Time of the last event.
    pub at: UnixMicros,
    /// Epoch of the source at the cut.
    pub source_epoch: u32,
    /// Bytes of frames.
    pub bytes: u64,
}

struct Open {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    offset: u64,
    sealed: bool,
}

/// The writing of a log from frames.
pub struct Rebuild {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    dir: PathBuf,
    cut: Cut,
    /// The epoch of a frame that has to be made anew, because the cut is within it.
    epoch: u32,
    segment_bytes: u64,
    link: Option<Link>,
    source_epoch: u32,
    at: UnixMicros,
    open: Option<Open>,
    /// The source's next bytes, which are no whole frame yet.
    pending: Vec<u8>,
    in_header: bool,
    /// The next frame begins a segment.
    roll: bool,
    /// The file at hand becomes a segment of its own.
    sealed: bool,
    complete: bool,
    bytes: u64,
}

impl Rebuild {
    /// Begins to write under `data_dir`, which holds no log. `epoch` is that of the history that
    /// follows the cut; it is raised if the source has a later one.
    pub fn begin(
        (disk, data_dir): (&Arc<dyn Disk>, &Path),
        cut: Cut,
        epoch: u32,
        segment_bytes: u64,
    ) -> Result<Self, LogError> {
        let dir = segment::archive_dir(data_dir);
        for dir in [&dir, &segment::wal_dir(data_dir)] {
            disk.create_dir_all(dir)
                .map_err(LogError::io("create", dir))?;
        }
        Ok(Self {
            disk: Arc::clone(disk),
            data_dir: data_dir.to_owned(),
            dir,
            cut,
            epoch,
            segment_bytes,
            link: None,
            source_epoch: 0,
            at: UnixMicros(0),
            open: None,
            pending: Vec::new(),
            in_header: false,
            roll: false,
            sealed: false,
            complete: cut == Cut::Seq(Seq(0)),
            bytes: 0,
        })
    }

    /// The log that is written goes on from `base`, which is written first.
    pub fn go_on_from(&mut self, base: &BaseFile) -> Result<(), LogError> {
        assert!(self.link.is_none(), "a base stands before every frame");
        // Rules that cannot read the state cannot replay what follows.
        base.state()?;
        base::put(self.disk.as_ref(), &self.data_dir, base.bytes())?;
        self.at = base.at();
        self.link = Some(base.place().into());
        Ok(())
    }

    /// Where it is; none before the first frame.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.link.map(Place::from)
    }

    /// Whether the cut is reached: nothing more is taken.
    #[must_use]
    pub const fn complete(&self) -> bool {
        self.complete
    }

    /// A file of a segment's form begins: header, then frames. Frames that are there already are
    /// passed over. A `sealed` one becomes a segment of its own.
    pub fn begin_object(&mut self, sealed: bool) {
        self.pending.clear();
        self.in_header = true;
        self.roll = sealed || self.open.as_ref().is_some_and(|open| open.sealed);
        self.sealed = sealed;
    }

    /// The next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        if self.complete {
            return Ok(());
        }
        self.pending.extend_from_slice(bytes);
        let mut used = 0;
        if self.in_header {
            if self.pending.len() < segment::HEADER_BYTES {
                return Ok(());
            }
            let header = segment::Header::decode(&self.pending)?
                .ok_or_else(|| self.corrupt("the segment's header is damaged"))?;
            self.accept(&header)?;
            self.in_header = false;
            used = segment::HEADER_BYTES;
        }
        let pending = std::mem::take(&mut self.pending);
        while !self.complete {
            let rest = &pending[used..];
            let Some(header) = frame::header(rest) else {
                match rest.len() < frame::HEADER_BYTES {
                    true => break,
                    false => return Err(self.corrupt("there is no frame where one has to be")),
                }
            };
            if rest.len() < header.len() {
                break;
            }
            let (header, bytes) =
                frame::read(rest).ok_or_else(|| self.corrupt("the frame is damaged"))?;
            self.take(&header, bytes)?;
            used += bytes.len();
        }
        self.pending = pending;
        self.pending.drain(..used);
        Ok(())
    }

    /// The file has ended, which it may do between two frames only.
    pub fn end_object(&mut self) -> Result<(), LogError> {
        match self.complete || (self.pending.is_empty() && !self.in_header) {
            true => Ok(()),
            false => Err(self.corrupt("it ends within a frame")),
        }
    }

    fn accept(&mut self, header: &segment::Header) -> Result<(), LogError> {
        let Some(link) = &self.link else {
            if header.first != Seq(1) || header.previous != [0; 32] {
                return Err(self.corrupt("it does not begin with the log's first event"));
            }
            self.link = Some(Link {
                log: header.log,
                epoch: 1,
                next: Seq(1),
                chain: [0; 32],
            });
            return Ok(());
        };
        if header.log != link.log {
            return Err(self.corrupt("it belongs to another log"));
        }
        if header.first > link.next {
            let what = format!(
                "sequences {} to {} are missing",
                link.next,
                header.first.0 - 1
            );
            return Err(self.corrupt(what));
        }
        Ok(())
    }

    fn take(&mut self, header: &frame::Header, bytes: &[u8]) -> Result<(), LogError> {
        let link = self.link.expect("a header was accepted");
        if header.next() <= link.next {
            return Ok(());
        }
        // The frame is whole: where it joins otherwise, it was written to another history of the log.
        if header.log == link.log && header.first <= link.next && header.previous != link.chain {
            return Err(LogError::OtherHistory(link.next));
        }
        if (header.log, header.first, header.previous) != (link.log, link.next, link.chain) {
            return Err(self.corrupt("the hash chain is broken"));
        }
        let time = time_of(bytes).ok_or_else(|| self.corrupt("the frame has no record"))?;
        let wanted = match self.cut {
            Cut::Seq(cut) if cut < Seq(header.next().0 - 1) => self.decided(header, bytes, cut)?,
            Cut::Seq(_) => header.next(),
            Cut::Time(at) if time > at => header.first,
            Cut::Time(_) | Cut::End => header.next(),
        };
        if wanted == header.first {
            self.complete = true;
            return Ok(());
        }
        self.source_epoch = header.epoch;
        self.at = time;
        let (epoch, chain) = match wanted == header.next() {
            true => {
                self.write(bytes)?;
                (header.epoch, frame::hash(bytes))
            }
            false => self.write_part(header, bytes, wanted)?,
        };
        self.complete = matches!(self.cut, Cut::Seq(cut) if cut < wanted);
        self.link = Some(Link {
            epoch,
            next: wanted,
            chain,
            ..link
        });
        Ok(())
    }

    /// The sequence after `cut` and what was decided in one with it: an event is never there
    /// without its decisions, which nobody would make again.
    fn decided(&self, header: &frame::Header, bytes: &[u8], cut: Seq) -> Result<Seq, LogError> {
        let body = &bytes[frame::HEADER_BYTES..];
        for entry in Records::new(body, header.first) {
            let (seq, record, _) = entry.map_err(|(_, what)| self.corrupt(what))?;
            if seq > cut && record.is_observed() {
                return Ok(seq);
            }
        }
        Ok(header.next())
    }

    /// Writes the records of a frame before `wanted` as a frame of the epoch that follows.
    fn write_part(
        &mut self,
        header: &frame::Header,
        bytes: &[u8],
        wanted: Seq,
    ) -> Result<(u32, frame::Chain), LogError> {
        let body = &bytes[frame::HEADER_BYTES..];
        let mut part = vec![0; frame::HEADER_BYTES];
        for entry in Records::new(body, header.first) {
            let (seq, _, record) = entry.map_err(|(_, what)| self.corrupt(what))?;
            if seq == wanted {
                break;
            }
            part.extend_from_slice(record);
        }
        let epoch = self.epoch.max(header.epoch.saturating_add(1));
        let place = frame::Place {
            log: header.log,
            epoch,
            first: header.first,
            previous: header.previous,
        };
        let count = u32::try_from(wanted.0 - header.first.0).expect("fewer than the frame has");
        let chain = frame::seal(&mut part, count, &place);
        self.write(&part)?;
        Ok((epoch, chain))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let len = bytes.len() as u64;
        let full = self
            .open
            .as_ref()
            .is_none_or(|open| !open.sealed && open.offset + len > self.segment_bytes);
        if self.roll || full {
            self.begin_segment()?;
        }
        let open = self.open.as_mut().expect("one was begun");
        open.file
            .write_at(bytes, open.offset)
            .map_err(LogError::io("write", &open.path))?;
        open.offset += len;
        self.bytes += len;
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), LogError> {
        self.close_segment()?;
        let link = self.link.expect("a header was accepted");
        let path = self.dir.join(segment::file_name(link.next));
        let file = self
            .disk
            .create(&path)
            .map_err(LogError::io("create", &path))?;
        file.write_at(&Place::from(link).header(), 0)
            .map_err(LogError::io("write", &path))?;
        self.open = Some(Open {
            file,
            path,
            offset: segment::HEADER_BYTES as u64,
            sealed: self.sealed,
        });
        self.roll = false;
        Ok(())
    }

    fn close_segment(&mut self) -> Result<(), LogError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        open.file
            .sync_data()
            .map_err(LogError::io("fdatasync", &open.path))
    }

    /// Returns once everything is on the medium; none when there was no frame.
    pub fn finish(mut self) -> Result<Option<Rebuilt>, LogError> {
        self.close_segment()?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(LogError::io("sync", &self.dir))?;
        Ok(self.link.filter(|_| self.bytes > 0).map(|link| Rebuilt {
            place: link.into(),
            at: self.at,
            source_epoch: self.source_epoch,
            bytes: self.bytes,
        }))
    }

    fn corrupt(&self, what: impl Into<String>) -> LogError {
        LogError::Corrupt {
            seq: self.link.map_or(Seq(1), |link| link.next),
            file: "what is restored".to_owned(),
            offset: 0,
            what: what.into(),
        }
    }
}

/// Begins an epoch behind a log that was rebuilt: `event` is its first event, recorded at `at` or
/// at the log's last time, whichever is later. Returns the place after it, once it is durable.
pub fn begin_epoch(
    (disk, data_dir): (&Arc<dyn Disk>, &Path),
    segment_bytes: u64,
    replayed: Replayed,
    (epoch, at, event): (u32, UnixMicros, Event),
) -> Result<Place, LogError> {
    if let Some(what) = replayed.unknown {
        return Err(LogError::Codec(what));
    }
    let Some(scanned) = replayed.scanned else {
        let (head, wanted) = (Seq(0), Seq(1));
        return Err(LogError::Ends { head, wanted });
    };
    let link = Link {
        epoch: epoch.max(scanned.link.epoch),
        ..scanned.link
    };
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"epoch")
        .update(link.log.as_bytes())
        .update(&link.epoch.to_le_bytes())
        .update(&link.next.0.to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    let wal = Wal::begin(
        Arc::clone(disk),
        data_dir,
        segment_bytes,
        (Spare::Inline, link),
    )?;
    let mut journal = Journal::new(wal, replayed.state, None);
    journal
        .stage_alone(event, EventId::from_bytes(id), at)
        .map_err(|error| LogError::Codec(error.to_string()))?;
    journal.commit()?;
    Ok((*journal.link()).into())
}
