//! The write-ahead log: segments that are preallocated off the commit path, one write and one
//! fdatasync for each frame. What `append` returned for is on the medium.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hindcast_model::Seq;

use crate::disk::{Disk, DiskFile, read_from};
use crate::error::LogError;
use crate::frame;
use crate::scan::{Link, Tail};
use crate::segment;

/// The segment that is written to.
struct Active {
    first: Seq,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    offset: u64,
}

/// The writing end of the log.
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    spare: Spare,
    /// The spare has been asked for and not been taken.
    asked: bool,
    active: Active,
    link: Link,
    /// The last attempt at a new segment failed: none may be written to before one succeeds, since
    /// the attempt may have left a segment of the next sequence behind.
    stuck: bool,
}

/// Where a frame was written.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) offset: u64,
    pub(crate) chain: frame::Chain,
    pub(crate) segment: Seq,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
}

/// Who fills the next segment with zeros.
pub(crate) enum Spare {
    /// The writer itself, for the simulated disk.
    Inline,
    /// A thread, asked ahead of time.
    Background {
        ask: SyncSender<()>,
        ready: Receiver<io::Result<Box<dyn DiskFile>>>,
    },
}

impl Spare {
    /// A thread that prepares one segment ahead.
    pub(crate) fn background(disk: Arc<dyn Disk>, dir: &Path, bytes: u64) -> io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let (done, ready) = sync_channel(1);
        let path = spare_path(dir);
        std::thread::Builder::new()
            .name("hindcast-spare".to_owned())
            .spawn(move || {
                while asked.recv().is_ok() {
                    if done.send(preallocate(disk.as_ref(), &path, bytes)).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self::Background { ask, ready })
    }

    fn ask(&self) {
        if let Self::Background { ask, .. } = self {
            // Full means that one is asked for already.
            let _ = ask.try_send(());
        }
    }
}

fn spare_path(dir: &Path) -> PathBuf {
    dir.join("spare.tmp")
}

/// A file of zeros that is on the medium, so that frames overwrite blocks that exist.
fn preallocate(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
    const STEP: u64 = 1 << 20;
    if let Err(error) = disk.remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let file = disk.create(path)?;
    let zeros = vec![0; usize::try_from(STEP.min(bytes)).map_err(io::Error::other)?];
    let mut offset = 0;
    while offset < bytes {
        let step = (bytes - offset).min(STEP);
        let step_len = usize::try_from(step).map_err(io::Error::other)?;
        file.write_at(&zeros[..step_len], offset)?;
        offset += step;
    }
    file.sync_data()?;
    Ok(file)
}

impl Wal {
    /// Begins a log that has no segment yet.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        segment_bytes: u64,
        (spare, link): (Spare, Link),
    ) -> Result<Self, LogError> {
        let dir = segment::wal_dir(data_dir);
        let active = new_segment(disk.as_ref(), &dir, segment_bytes, (&Spare::Inline, &link))?;
        Ok(Self {
            disk,
            dir,
            segment_bytes,
            spare,
            asked: false,
            active,
            link,
            stuck: false,
        })
    }

    /// Goes on after the last intact frame. What stands behind it is cut: the caller has kept it.
    pub(crate) fn resume(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        segment_bytes: u64,
        (spare, link): (Spare, Link),
        tail: &Tail,
    ) -> Result<Self, LogError> {
        let dir = segment::wal_dir(data_dir);
        let path = tail.location.path.clone();
        let file = disk
            .open(&path, true)
            .map_err(LogError::io("open", &path))?;
        if tail.torn > 0 {
            let zeros = vec![0; tail.torn];
            file.write_at(&zeros, tail.offset as u64)
                .map_err(LogError::io("cut", &path))?;
        }
        // What was read may be in the page cache only, and after a failed sync the cache holds it as
        // clean: the last frame is written again, so that the sync below covers it.
        let mut frame = vec![0; tail.offset - tail.last];
        file.read_at(&mut frame, tail.last as u64)
            .map_err(LogError::io("read", &path))?;
        file.write_at(&frame, tail.last as u64)
            .map_err(LogError::io("write", &path))?;
        file.sync_data().map_err(LogError::io("sync", &path))?;
        disk.sync_dir(&dir).map_err(LogError::io("sync", &dir))?;
        let active = Active {
            first: tail.location.first,
            path,
            file: Arc::from(file),
            offset: tail.offset as u64,
        };
        Ok(Self {
            disk,
            dir,
            segment_bytes,
            spare,
            asked: false,
            active,
            link,
            stuck: false,
        })
    }

    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    /// The largest frame that any segment takes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        usize::try_from(self.segment_bytes).unwrap_or(usize::MAX) - segment::HEADER_BYTES
    }

    /// Makes room for a frame of `bytes`, with a new segment if it has to.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), LogError> {
        if self.has_room(bytes) {
            return Ok(());
        }
        self.stuck = true;
        self.ask();
        let place = (&self.spare, &self.link);
        let made = new_segment(self.disk.as_ref(), &self.dir, self.segment_bytes, place);
        self.asked = false;
        self.active = made?;
        self.stuck = false;
        Ok(())
    }

    /// Asks for the spare, once for each segment.
    fn ask(&mut self) {
        if !self.asked {
            self.asked = true;
            self.spare.ask();
        }
    }

    /// Whether a frame of `bytes` fits the segment that is written to.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        !self.stuck && self.active.offset + bytes as u64 <= self.segment_bytes
    }

    /// Writes one frame, whose records follow `frame::HEADER_BYTES` of anything, and returns once
    /// it is on the medium. After an error the process must end: what the disk holds is unknown.
    pub(crate) fn append(&mut self, frame: &mut [u8], count: u32) -> Result<Written, LogError> {
        assert!(
            self.active.offset + frame.len() as u64 <= self.segment_bytes,
            "no room was reserved for the frame"
        );
        let place = frame::Place {
            log: self.link.log,
            epoch: self.link.epoch,
            first: self.link.next,
            previous: self.link.chain,
        };
        let chain = frame::seal(frame, count, &place);
        let Active {
            first,
            path,
            file,
            offset,
        } = &mut self.active;
        file.write_at(frame, *offset)
            .map_err(LogError::io("write", &*path))?;
        file.sync_data()
            .map_err(LogError::io("fdatasync", &*path))?;
        let written = Written {
            offset: *offset,
            chain,
            segment: *first,
            file: Arc::clone(file),
            path: path.clone(),
        };
        *offset += frame.len() as u64;
        // Not before: filling a spare keeps the medium busy, which a start must not wait for.
        let half = *offset >= self.segment_bytes / 2;
        self.link.next = Seq(self.link.next.0 + u64::from(count));
        self.link.chain = chain;
        if half {
            self.ask();
        }
        Ok(written)
    }
}

/// Turns the spare into the segment that begins at `link`.
fn new_segment(
    disk: &dyn Disk,
    dir: &Path,
    bytes: u64,
    (spare, link): (&Spare, &Link),
) -> Result<Active, LogError> {
    let from = spare_path(dir);
    let prepared = match spare {
        Spare::Inline => None,
        Spare::Background { ready, .. } => ready.recv().ok().and_then(Result::ok),
    };
    let file = match prepared {
        Some(file) => file,
        None => preallocate(disk, &from, bytes).map_err(LogError::io("preallocate", &from))?,
    };
    let header = segment::Header {
        log: link.log,
        first: link.next,
        previous: link.chain,
    }
    .encode();
    file.write_at(&header, 0)
        .map_err(LogError::io("write", &from))?;
    file.sync_data().map_err(LogError::io("fdatasync", &from))?;
    let path = dir.join(segment::file_name(link.next));
    disk.rename(&from, &path)
        .map_err(LogError::io("rename", &from))?;
    disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
    let offset = segment::HEADER_BYTES as u64;
    Ok(Active {
        first: link.next,
        path,
        file: Arc::from(file),
        offset,
    })
}

/// Keeps the bytes of a torn end in a file of its own before they are cut.
pub(crate) fn keep_torn(
    disk: &dyn Disk,
    data_dir: &Path,
    tail: &Tail,
    next: Seq,
) -> Result<PathBuf, LogError> {
    let dir = segment::wal_dir(data_dir);
    let path = &tail.location.path;
    let file = disk.open(path, false).map_err(LogError::io("open", path))?;
    let mut bytes =
        read_from(file.as_ref(), tail.offset as u64).map_err(LogError::io("read", path))?;
    bytes.truncate(tail.torn);
    let kept = dir.join(format!("torn-{:020}.bin", next.0));
    if let Err(error) = disk.remove(&kept)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(LogError::io("remove", &kept)(error));
    }
    let copy = disk.create(&kept).map_err(LogError::io("create", &kept))?;
    copy.write_at(&bytes, 0)
        .map_err(LogError::io("write", &kept))?;
    copy.sync_data().map_err(LogError::io("fdatasync", &kept))?;
    disk.sync_dir(&dir).map_err(LogError::io("sync", &dir))?;
    Ok(kept)
}
