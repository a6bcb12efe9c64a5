//! One group commit as bytes: a header, then the records. Frames form a hash chain: each holds
//! the hash of the one before it.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `HCF1` |
//! | 4 | 1 | version of this layout: 1 |
//! | 5 | 1 | codec of the body: 0 as it is |
//! | 6 | 2 | zero |
//! | 8 | 16 | log id |
//! | 24 | 4 | epoch |
//! | 28 | 4 | number of records |
//! | 32 | 8 | sequence of the first record |
//! | 40 | 4 | length of the records |
//! | 44 | 4 | length of the body |
//! | 48 | 32 | blake3 hash of the frame before; zero in the first |
//! | 80 | 4 | crc32c of bytes 0 to 80 and the body |
//! | 84 | | body |
//!
//! A frame's hash is blake3 over log id, epoch, count, first sequence and length (bytes 8 to 44),
//! the previous hash, and the records uncompressed: it does not depend on the codec.

use uuid::Uuid;

use hindcast_model::Seq;

/// Bytes before the body.
pub(crate) const HEADER_BYTES: usize = 84;
const MAGIC: [u8; 4] = *b"HCF1";
const VERSION: u8 = 1;

/// A frame's hash.
pub(crate) type Chain = [u8; 32];

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log: Uuid,
    pub(crate) epoch: u32,
    pub(crate) count: u32,
    pub(crate) first: Seq,
    pub(crate) body: usize,
    pub(crate) previous: Chain,
    crc: u32,
}

impl Header {
    /// The sequence after the last record.
    pub(crate) fn next(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count))
    }

    /// Bytes of header and body.
    pub(crate) const fn len(&self) -> usize {
        HEADER_BYTES + self.body
    }
}

/// What the header of a frame to be written says.
pub(crate) struct Place {
    pub(crate) log: Uuid,
    pub(crate) epoch: u32,
    pub(crate) first: Seq,
    pub(crate) previous: Chain,
}

/// Fills in the header of `frame`, whose records follow `HEADER_BYTES` of anything. Returns the
/// frame's hash.
pub(crate) fn seal(frame: &mut [u8], count: u32, place: &Place) -> Chain {
    let body = u32::try_from(frame.len() - HEADER_BYTES).expect("a frame is far below 4 GiB");
    frame[0..4].copy_from_slice(&MAGIC);
    frame[4..8].copy_from_slice(&[VERSION, 0, 0, 0]);
    frame[8..24].copy_from_slice(place.log.as_bytes());
    frame[24..28].copy_from_slice(&place.epoch.to_le_bytes());
    frame[28..32].copy_from_slice(&count.to_le_bytes());
    frame[32..40].copy_from_slice(&place.first.0.to_le_bytes());
    frame[40..44].copy_from_slice(&body.to_le_bytes());
    frame[44..48].copy_from_slice(&body.to_le_bytes());
    frame[48..80].copy_from_slice(&place.previous);
    let crc = checksum(frame);
    frame[80..84].copy_from_slice(&crc.to_le_bytes());
    hash(frame)
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..80]), &frame[HEADER_BYTES..])
}

/// The hash of a whole frame.
pub(crate) fn hash(frame: &[u8]) -> Chain {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&frame[8..44]);
    hasher.update(&frame[48..80]);
    hasher.update(&frame[HEADER_BYTES..]);
    *hasher.finalize().as_bytes()
}

/// Reads the header at the start of `bytes`; `None` when there is no frame of this layout.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let header = bytes.get(..HEADER_BYTES)?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    if header[..4] != MAGIC || header[4..8] != [VERSION, 0, 0, 0] || word(40) != word(44) {
        return None;
    }
    Some(Header {
        log: Uuid::from_bytes(header[8..24].try_into().expect("sixteen bytes")),
        epoch: word(24),
        count: word(28),
        first: Seq(u64::from_le_bytes(
            header[32..40].try_into().expect("eight bytes"),
        )),
        body: word(44) as usize,
        previous: header[48..80].try_into().expect("thirty-two bytes"),
        crc: word(80),
    })
}

/// The whole frame at the start of `bytes`, if its checksum holds.
pub(crate) fn read(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let header = header(bytes)?;
    let frame = bytes.get(..header.len())?;
    (checksum(frame) == header.crc).then_some((header, frame))
}
