//! Chunks: stretches of records as the lookup store holds them.

use hindcast_model::{Seq, UnixMicros};

use crate::error::LogError;

const FORMAT: u8 = 1;
/// Records of a chunk before compression; a longer record is alone in its chunk.
pub(crate) const CHUNK_BYTES: usize = 44 * 1024;
const CHUNK_HEADER_BYTES: usize = 60;

/// A chunk's bytes: version, codec, two zeros, count, length of the records, first and last time,
/// blake3 of the records, and the records as lz4 or as they are.
pub(crate) fn pack(
    count: u32,
    (first_at, last_at): (UnixMicros, UnixMicros),
    records: &[u8],
) -> Vec<u8> {
    let compressed = lz4_flex::block::compress(records);
    let (codec, body) = match compressed.len() < records.len() {
        true => (1, compressed.as_slice()),
        false => (0, records),
    };
    let mut value = Vec::with_capacity(CHUNK_HEADER_BYTES + body.len());
    value.extend_from_slice(&[FORMAT, codec, 0, 0]);
    value.extend_from_slice(&count.to_le_bytes());
    let len = u32::try_from(records.len()).expect("a chunk is small");
    value.extend_from_slice(&len.to_le_bytes());
    value.extend_from_slice(&first_at.0.to_le_bytes());
    value.extend_from_slice(&last_at.0.to_le_bytes());
    value.extend_from_slice(blake3::hash(records).as_bytes());
    value.extend_from_slice(body);
    value
}

pub(crate) fn unpack(value: &[u8], first: Seq) -> Result<(u64, Vec<u8>), LogError> {
    let bad = |what: &str| LogError::StoreDamaged(format!("chunk {first}: {what}"));
    let (header, body) = value
        .split_at_checked(CHUNK_HEADER_BYTES)
        .ok_or_else(|| bad("it is cut short"))?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    if header[0] != FORMAT {
        return Err(bad("its format is not known"));
    }
    let len = word(8) as usize;
    let records = match header[1] {
        0 => body.to_vec(),
        1 if len <= 4 * CHUNK_BYTES => {
            lz4_flex::block::decompress(body, len).map_err(|error| bad(&error.to_string()))?
        }
        _ => return Err(bad("its codec or length is not known")),
    };
    if blake3::hash(&records).as_bytes()[..] != header[28..60] {
        return Err(bad("its hash does not hold"));
    }
    Ok((u64::from(word(4)), records))
}
