//! Segment files: a header, then frames, then zeros up to the preallocated length.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `HCSG` |
//! | 4 | 4 | version of the file format: 1 |
//! | 8 | 16 | log id |
//! | 24 | 8 | sequence of the first record |
//! | 32 | 32 | hash of the frame before the first one |
//! | 64 | 60 | zero |
//! | 124 | 4 | crc32c of bytes 0 to 124 |
//! | 128 | | frames |

use std::path::{Path, PathBuf};

use uuid::Uuid;

use hindcast_model::Seq;

use crate::base;
use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::frame::{self, Chain};

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: usize = 128;
const MAGIC: [u8; 4] = *b"HCSG";
/// The newest file format that this version reads.
pub(crate) const FORMAT: u32 = 1;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log: Uuid,
    pub(crate) first: Seq,
    pub(crate) previous: Chain,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[8..24].copy_from_slice(self.log.as_bytes());
        bytes[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.previous);
        let crc = crc32c::crc32c(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, LogError> {
        let Some(bytes) = bytes.get(..HEADER_BYTES) else {
            return Ok(None);
        };
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        if bytes[..4] != MAGIC || crc32c::crc32c(&bytes[..124]) != word(124) {
            return Ok(None);
        }
        if word(4) > FORMAT {
            return Err(LogError::Format {
                found: word(4),
                known: FORMAT,
            });
        }
        Ok(Some(Self {
            log: Uuid::from_bytes(bytes[8..24].try_into().expect("sixteen bytes")),
            first: Seq(u64::from_le_bytes(
                bytes[24..32].try_into().expect("eight bytes"),
            )),
            previous: bytes[32..64].try_into().expect("thirty-two bytes"),
        }))
    }
}

/// The name of the segment whose first record has this sequence.
pub(crate) fn file_name(first: Seq) -> String {
    format!("{:020}.seg", first.0)
}

/// Where a segment lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) first: Seq,
    pub(crate) path: PathBuf,
    pub(crate) archived: bool,
}

/// Every segment of the log in order: the archive and then the write-ahead log.
pub(crate) fn list(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<Location>, LogError> {
    let mut found: Vec<Location> = Vec::new();
    // What a running server moves in between is seen twice, and not never.
    for (dir, archived) in [(wal_dir(data_dir), false), (archive_dir(data_dir), true)] {
        for name in disk.list(&dir).map_err(LogError::io("list", &dir))? {
            let Some(number) = name.strip_suffix(".seg").and_then(|stem| stem.parse().ok()) else {
                continue;
            };
            found.push(Location {
                first: Seq(number),
                path: dir.join(&name),
                archived,
            });
        }
    }
    found.sort_by_key(|location| (location.first, !location.archived));
    // So may a crash between the copy's rename and the directory's sync show it.
    found.dedup_by_key(|location| location.first);
    Ok(found)
}

pub(crate) fn wal_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("wal")
}

pub(crate) fn archive_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("archive")
}

/// Makes the directories of a log. Gives that of the segments.
pub(crate) fn make_directories(disk: &dyn Disk, data_dir: &Path) -> Result<PathBuf, LogError> {
    let (wal, archive) = (wal_dir(data_dir), archive_dir(data_dir));
    for dir in [data_dir, &wal, &archive] {
        disk.create_dir_all(dir)
            .map_err(LogError::io("create", dir))?;
    }
    disk.sync_dir(data_dir)
        .map_err(LogError::io("sync", data_dir))?;
    Ok(wal)
}

/// Opens a segment, which a running server may have moved to the archive since it was listed, or
/// removed.
fn open_moved(disk: &dyn Disk, location: &Location) -> Result<Box<dyn DiskFile>, LogError> {
    let path = &location.path;
    let moved = || {
        let data_dir = path.parent()?.parent()?;
        let archived = archive_dir(data_dir).join(path.file_name()?);
        disk.open(&archived, false).ok()
    };
    match disk.open(path, false) {
        Ok(file) => Ok(file),
        Err(error) => moved().ok_or_else(|| {
            let data_dir = path.parent().and_then(Path::parent);
            let pruned = data_dir.and_then(|dir| base::gap_at(disk, dir, location.first));
            pruned.unwrap_or_else(|| LogError::io("open", path)(error))
        }),
    }
}

/// Bytes read at a time: few, so that a replay needs little memory whatever a segment's length.
const WINDOW_BYTES: usize = 2 << 20;

/// Bytes of an unused end looked at at a time: they stay in the processor's cache.
const REST_BYTES: usize = 256 << 10;

/// A segment that is open for reading, with its header checked.
pub(crate) struct Segment {
    pub(crate) location: Location,
    pub(crate) header: Header,
    file: Box<dyn DiskFile>,
}

/// Some bytes of a segment.
pub(crate) struct Window {
    log: Uuid,
    base: usize,
    bytes: Vec<u8>,
}

impl Segment {
    /// Reads the header of a segment alone.
    pub(crate) fn header_of(disk: &dyn Disk, location: &Location) -> Result<Header, LogError> {
        let file = open_moved(disk, location)?;
        read_header(file.as_ref(), location)
    }

    /// Opens a segment.
    pub(crate) fn open(disk: &dyn Disk, location: &Location) -> Result<Self, LogError> {
        let file = open_moved(disk, location)?;
        let header = read_header(file.as_ref(), location)?;
        if header.first != location.first {
            let what = "the segment's header names another first sequence";
            return Err(corrupt(location, location.first, 0, what));
        }
        Ok(Self {
            location: location.clone(),
            header,
            file,
        })
    }

    /// The bytes from `offset` on: not many, but the whole frame that stands there, if one does.
    pub(crate) fn window(&self, offset: usize) -> Result<Window, LogError> {
        let window = self.read(offset, WINDOW_BYTES)?;
        let missing = |header: &frame::Header| header.len() > window.bytes.len();
        match frame::header(&window.bytes).filter(missing) {
            Some(header) => self.read(offset, header.len()),
            None => Ok(window),
        }
    }

    /// All bytes from `offset` on; `None` when they are all zero.
    pub(crate) fn rest(&self, offset: usize) -> Result<Option<Window>, LogError> {
        let failed = |error| LogError::io("read", &self.location.path)(error);
        let mut bytes = vec![0; REST_BYTES];
        let mut at = offset as u64;
        loop {
            let read = self.file.read_at(&mut bytes, at).map_err(failed)?;
            let Some(found) = bytes.get(..read).filter(|found| !found.is_empty()) else {
                return Ok(None);
            };
            // Folding whole blocks without leaving early is what the compiler turns into wide
            // instructions: a restart reads most of a preallocated segment here.
            let used = |block: &[u8]| block.iter().fold(0, |all, byte| all | byte) != 0;
            if found.chunks(4_096).any(used) {
                return self.read(offset, usize::MAX).map(Some);
            }
            at += read as u64;
        }
    }

    fn read(&self, offset: usize, max: usize) -> Result<Window, LogError> {
        let failed = |error| LogError::io("read", &self.location.path)(error);
        let len = self.file.len().map_err(failed)?;
        let there = len.saturating_sub(offset as u64);
        let mut bytes = vec![0; usize::try_from(there).map_or(max, |there| there.min(max))];
        let read = self.file.read_at(&mut bytes, offset as u64);
        bytes.truncate(read.map_err(failed)?);
        Ok(Window {
            log: self.header.log,
            base: offset,
            bytes,
        })
    }

    pub(crate) fn corrupt(&self, seq: Seq, offset: usize, what: impl Into<String>) -> LogError {
        corrupt(&self.location, seq, offset, what)
    }
}

impl Window {
    /// The frame at `offset` of the segment, if there is an intact one of this log.
    pub(crate) fn frame(&self, offset: usize) -> Option<(frame::Header, &[u8])> {
        let bytes = self.bytes.get(offset.checked_sub(self.base)?..)?;
        frame::read(bytes).filter(|(header, _)| header.log == self.log)
    }

    /// The header of the frame at `offset` of the segment, when the whole frame is in the window.
    /// The checksum is not looked at: for what is only stepped over.
    pub(crate) fn header(&self, offset: usize) -> Option<frame::Header> {
        let bytes = self.bytes.get(offset.checked_sub(self.base)?..)?;
        frame::header(bytes).filter(|header| header.log == self.log && header.len() <= bytes.len())
    }

    /// The bytes of the frame that begins at `offset` of the segment, which has been seen.
    pub(crate) fn slice(&self, offset: usize, len: usize) -> &[u8] {
        &self.bytes[offset - self.base..][..len]
    }

    /// An intact frame of this log anywhere after the window's beginning.
    pub(crate) fn later_frame(&self) -> Option<(usize, frame::Header)> {
        (1..self.bytes.len().saturating_sub(frame::HEADER_BYTES)).find_map(|at| {
            // Most bytes are no magic: look closer only where the first one fits.
            if self.bytes[at] != b'H' {
                return None;
            }
            let offset = self.base + at;
            self.frame(offset).map(|(header, _)| (offset, header))
        })
    }

    /// Bytes up to the last that is not zero.
    pub(crate) fn used(&self) -> usize {
        let last = self.bytes.iter().rposition(|byte| *byte != 0);
        last.map_or(0, |last| last + 1)
    }
}

fn read_header(file: &dyn DiskFile, location: &Location) -> Result<Header, LogError> {
    let mut bytes = [0; HEADER_BYTES];
    let read = file.read_at(&mut bytes, 0);
    let read = read.map_err(LogError::io("read", &location.path))?;
    Header::decode(&bytes[..read])?.ok_or_else(|| {
        corrupt(
            location,
            location.first,
            0,
            "the segment's header is damaged",
        )
    })
}

fn corrupt(location: &Location, seq: Seq, offset: usize, what: impl Into<String>) -> LogError {
    LogError::Corrupt {
        seq,
        file: location.path.display().to_string(),
        offset: offset as u64,
        what: what.into(),
    }
}
