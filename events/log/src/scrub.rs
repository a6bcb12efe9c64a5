//! Reading every file now and then, so that damage is found while there is still a copy of what it
//! took. Checksums and hashes only: what it means is for `verify` to say.

use std::path::Path;
use std::sync::Arc;

use hindcast_model::Seq;

use crate::base::Origin;
use crate::blobs::{BlobError, Blobs};
use crate::disk::{Disk, RealDisk};
use crate::error::LogError;
use crate::scan::{self, DamagedAt};
use crate::segment::{self, Location};

/// A damaged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its path below the data directory.
    pub file: String,
    /// The first sequence that is concerned; 0 for a blob.
    pub seq: Seq,
    pub what: String,
}

/// What one reading saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    pub bytes: u64,
    pub segments: u64,
    pub blobs: u64,
    pub damaged: Vec<Damaged>,
}

/// Why a reading did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    #[error("it was told to stop")]
    Stopped,
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Reads all segments and blobs under `data_dir`, beside a server that is writing. `pace` is called
/// with the bytes read since its last call; it may wait, and `false` ends the reading.
pub fn scrub(data_dir: &Path, pace: &mut dyn FnMut(u64) -> bool) -> Result<Scrubbed, ScrubError> {
    loop {
        match read_all(data_dir, pace) {
            // Segments were removed since they were listed: what is left is read anew.
            Err(ScrubError::Log(LogError::Pruned(_))) => {}
            other => return other,
        }
    }
}

fn read_all(data_dir: &Path, pace: &mut dyn FnMut(u64) -> bool) -> Result<Scrubbed, ScrubError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut scrubbed = Scrubbed::default();
    let mut stopped = false;
    let mut damaged = Vec::new();
    let locations = locations(disk.as_ref(), data_dir, &mut damaged)?;
    let mut bytes = 0;
    let visit = |stretch: &scan::Stretch| {
        let read: usize = stretch.frames.iter().map(|frame| frame.len).sum();
        bytes += read as u64;
        if !stopped && !pace(read as u64) {
            stopped = true;
        }
        // Any error ends the scan; this one is never shown.
        match stopped {
            true => Err(LogError::StoreDamaged(String::new())),
            false => Ok(()),
        }
    };
    let result = scan::each_damage(disk.as_ref(), &locations, visit, |found| {
        damaged.push(below(data_dir, found));
    });
    if stopped {
        return Err(ScrubError::Stopped);
    }
    result?;
    scrubbed.segments = locations.len() as u64;
    scrubbed.bytes = bytes;
    scrubbed.damaged = damaged;
    let blobs = Blobs::read_only(Arc::clone(&disk), data_dir);
    let failed = |source| LogError::io("read", data_dir.join("blobs"))(source);
    for digest in blobs.list().map_err(failed)? {
        match blobs.get(digest) {
            Ok(content) => {
                scrubbed.blobs += 1;
                scrubbed.bytes += content.len() as u64;
                if !pace(content.len() as u64) {
                    return Err(ScrubError::Stopped);
                }
            }
            // It was swept since it was listed.
            Err(BlobError::Missing(_)) => {}
            Err(BlobError::Damaged(_)) => {
                let name = digest.to_string();
                scrubbed.damaged.push(Damaged {
                    file: format!("blobs/{}/{}", &name[..2], &name[2..]),
                    seq: Seq(0),
                    what: "its content has another hash".to_owned(),
                });
            }
            Err(BlobError::Io { source, .. }) => return Err(failed(source).into()),
        }
    }
    Ok(scrubbed)
}

/// The segments to read. What the log goes on from is read here.
fn locations(
    disk: &dyn Disk,
    data_dir: &Path,
    damaged: &mut Vec<Damaged>,
) -> Result<Vec<Location>, LogError> {
    let found = Origin::find(disk, data_dir).and_then(|origin| {
        origin.checkpoint()?;
        Ok(origin.locations)
    });
    match found {
        Err(LogError::Corrupt {
            seq,
            file,
            offset,
            what,
        }) => {
            let found = DamagedAt {
                seq,
                file,
                offset,
                what,
            };
            damaged.push(below(data_dir, found));
            segment::list(disk, data_dir)
        }
        other => other,
    }
}

fn below(data_dir: &Path, found: DamagedAt) -> Damaged {
    let DamagedAt {
        seq,
        file,
        offset,
        what,
    } = found;
    let path = Path::new(&file);
    let file = path.strip_prefix(data_dir).unwrap_or(path);
    Damaged {
        file: file.display().to_string(),
        seq,
        what: format!("at byte {offset}: {what}"),
    }
}
