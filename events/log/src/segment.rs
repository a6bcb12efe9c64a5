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

use crate::disk::{Disk, DiskFile, read_from};
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
    for (dir, archived) in [(archive_dir(data_dir), true), (wal_dir(data_dir), false)] {
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
    // A crash between the copy's rename and the directory's sync may show a segment twice.
    found.dedup_by_key(|location| location.first);
    Ok(found)
}

pub(crate) fn wal_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("wal")
}

pub(crate) fn archive_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("archive")
}

/// Opens a segment, which a running server may have moved to the archive since it was listed.
fn open_moved(disk: &dyn Disk, location: &Location) -> Result<Box<dyn DiskFile>, LogError> {
    let path = &location.path;
    let moved = || {
        let data_dir = path.parent()?.parent()?;
        let archived = archive_dir(data_dir).join(path.file_name()?);
        disk.open(&archived, false).ok()
    };
    match disk.open(path, false) {
        Ok(file) => Ok(file),
        Err(error) => moved().ok_or_else(|| LogError::io("open", path)(error)),
    }
}

/// The bytes of a segment that has been read, with its header checked.
pub(crate) struct Segment {
    pub(crate) location: Location,
    pub(crate) header: Header,
    pub(crate) bytes: Vec<u8>,
}

impl Segment {
    /// Reads the header of a segment alone.
    pub(crate) fn header_of(disk: &dyn Disk, location: &Location) -> Result<Header, LogError> {
        let path = &location.path;
        let file = disk.open(path, false).map_err(LogError::io("open", path))?;
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(&mut bytes, 0)
            .map_err(LogError::io("read", path))?;
        Header::decode(&bytes)?.ok_or_else(|| LogError::Corrupt {
            seq: location.first,
            file: path.display().to_string(),
            offset: 0,
            what: "the segment's header is damaged".to_owned(),
        })
    }

    /// Reads a whole segment.
    pub(crate) fn read(disk: &dyn Disk, location: &Location) -> Result<Self, LogError> {
        let path = &location.path;
        let file = open_moved(disk, location)?;
        let bytes = read_from(file.as_ref(), 0).map_err(LogError::io("read", path))?;
        let location = location.clone();
        let corrupt = |what: &str| LogError::Corrupt {
            seq: location.first,
            file: location.path.display().to_string(),
            offset: 0,
            what: what.to_owned(),
        };
        let header =
            Header::decode(&bytes)?.ok_or_else(|| corrupt("the segment's header is damaged"))?;
        if header.first != location.first {
            return Err(corrupt("the segment's header names another first sequence"));
        }
        Ok(Self {
            location,
            header,
            bytes,
        })
    }

    /// The frame at `offset`, if there is an intact one of this log.
    pub(crate) fn frame(&self, offset: usize) -> Option<(frame::Header, &[u8])> {
        frame::read(self.bytes.get(offset..)?).filter(|(header, _)| header.log == self.header.log)
    }

    /// Whether only zeros follow `offset`.
    pub(crate) fn is_blank(&self, offset: usize) -> bool {
        self.bytes
            .get(offset..)
            .unwrap_or_default()
            .iter()
            .all(|byte| *byte == 0)
    }

    /// An intact frame of this log anywhere after `offset`: damage lies before it, not a torn end.
    pub(crate) fn later_frame(&self, offset: usize) -> Option<(usize, frame::Header)> {
        (offset + 1..self.bytes.len().saturating_sub(frame::HEADER_BYTES)).find_map(|at| {
            // Most bytes are no magic: look closer only where the first one fits.
            if self.bytes[at] != b'H' {
                return None;
            }
            self.frame(at).map(|(header, _)| (at, header))
        })
    }

    pub(crate) fn corrupt(&self, seq: Seq, offset: usize, what: impl Into<String>) -> LogError {
        LogError::Corrupt {
            seq,
            file: self.location.path.display().to_string(),
            offset: offset as u64,
            what: what.into(),
        }
    }
}
