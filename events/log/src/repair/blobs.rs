//! Blobs that the log names and that are missing or damaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hindcast_model::{Digest, Seq};

use super::frames::Rebuilt;
use super::{Lost, Remedy, Repair, Spares};
use crate::blobs::{BlobError, Blobs};
use crate::disk::Disk;
use crate::error::LogError;
use crate::frame;
use crate::record::{self, Records};
use crate::segment;

/// Notes the blobs that the frames of a segment name, each with the first event that does.
pub(super) fn named(
    segment: &Rebuilt,
    first: Seq,
    blobs: &mut BTreeMap<Digest, Seq>,
) -> Result<(), LogError> {
    for offset in segment.frames.iter().copied() {
        let frame = frame::read(&segment.bytes[offset..]);
        let (header, bytes) = frame.expect("only whole frames are put together");
        for entry in Records::new(&bytes[frame::HEADER_BYTES..], header.first) {
            let corrupt = |(seq, what): (Seq, String)| LogError::Corrupt {
                seq,
                file: segment::file_name(first),
                offset: offset as u64,
                what,
            };
            let (seq, record_header, record) = entry.map_err(corrupt)?;
            let recorded = record::decode(record, &record_header, seq);
            let recorded = recorded.map_err(|what| corrupt((seq, what)))?;
            for digest in recorded.event().into_iter().flat_map(|event| event.blobs()) {
                blobs.entry(digest).or_insert(seq);
            }
        }
    }
    Ok(())
}

/// Writes the blobs among `wanted` that are missing or damaged from spare copies.
pub(super) fn heal(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    (wanted, spares, apply): (BTreeMap<Digest, Seq>, &dyn Spares, bool),
    repair: &mut Repair,
) -> Result<(), LogError> {
    let folder = data_dir.join("blobs");
    let failed = |source| LogError::io("read", &folder)(source);
    let blobs = Blobs::read_only(Arc::clone(disk), data_dir);
    for (digest, seq) in wanted {
        let fault = match blobs.get(digest) {
            Ok(_) => continue,
            Err(BlobError::Io { source, .. }) => return Err(failed(source)),
            Err(fault @ (BlobError::Missing(_) | BlobError::Damaged(_))) => fault,
        };
        let copy = match spares.blob(digest) {
            Ok(copy) => copy.filter(|content| Blobs::digest(content) == digest),
            Err(why) => {
                let what = format!("{fault}; the spare copy cannot be read: {why}");
                repair.lost.push(Lost { seq, to: seq, what });
                continue;
            }
        };
        let Some(content) = copy else {
            let what = format!("{fault}, and there is no spare copy of it");
            repair.lost.push(Lost { seq, to: seq, what });
            continue;
        };
        if apply {
            let put = blobs.put(&content).map(drop);
            put.map_err(|error| failed(std::io::Error::other(error)))?;
        }
        repair.remedies.push(Remedy::Blob { digest, seq });
    }
    Ok(())
}
