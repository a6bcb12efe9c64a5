//! A snapshot as bytes.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `HCSN` |
//! | 4 | 4 | version of this layout: 1 |
//! | 8 | 4 | version of the rules that folded the state |
//! | 12 | 4 | epoch |
//! | 16 | 16 | log id |
//! | 32 | 8 | sequence of the last event in the state |
//! | 40 | 32 | hash of the frame that ends with it |
//! | 72 | 8 | length of the state's bytes |
//! | 80 | 32 | blake3 of bytes 0 to 80 and of what follows byte 112 |
//! | 112 | | the state's bytes, compressed with lz4 |

use hindcast_log::{Checkpoint, decode_state, encode_state};
use hindcast_model::{DECIDER_VERSION, Digest, Seq};
use uuid::Uuid;

/// The layout that is written.
pub const FORMAT: u32 = 1;
const MAGIC: [u8; 4] = *b"HCSN";
const HEADER_BYTES: usize = 112;

/// Why a file is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    #[error("it is no snapshot, or cut short")]
    NoSnapshot,
    #[error("its layout is version {0}, which is not known here")]
    Format(u32),
    #[error("its state was folded by rules {found}, and these are rules {here}")]
    OtherRules { found: u32, here: u32 },
    #[error("its checksum does not hold")]
    Checksum,
    #[error("it is the snapshot of sequence {0}, under another name")]
    OtherName(Seq),
    #[error("its state cannot be read: {0}")]
    State(String),
}

pub(crate) fn encode(checkpoint: &Checkpoint) -> Result<Vec<u8>, Bad> {
    let state = encode_state(&checkpoint.state).map_err(|error| Bad::State(error.to_string()))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + state.len() / 2);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&DECIDER_VERSION.to_le_bytes());
    bytes.extend_from_slice(&checkpoint.epoch.to_le_bytes());
    bytes.extend_from_slice(checkpoint.log.as_bytes());
    bytes.extend_from_slice(&checkpoint.state.seq().0.to_le_bytes());
    bytes.extend_from_slice(&checkpoint.chain.0);
    bytes.extend_from_slice(&(state.len() as u64).to_le_bytes());
    let body = lz4_flex::block::compress(&state);
    let hash = hash(&bytes, &body);
    bytes.extend_from_slice(&hash);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(header)
        .update(body)
        .finalize()
        .as_bytes()
}

/// The header and the body of a snapshot whose checksum holds.
pub(crate) fn whole(bytes: &[u8]) -> Result<(&[u8], &[u8]), Bad> {
    let (header, body) = bytes
        .split_at_checked(HEADER_BYTES)
        .ok_or(Bad::NoSnapshot)?;
    if header[..4] != MAGIC {
        return Err(Bad::NoSnapshot);
    }
    let format = u32::from_le_bytes(header[4..8].try_into().expect("4 bytes"));
    if format != FORMAT {
        return Err(Bad::Format(format));
    }
    match hash(&header[..80], body) == header[80..] {
        true => Ok((header, body)),
        false => Err(Bad::Checksum),
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Checkpoint, Bad> {
    let (header, body) = whole(bytes)?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
    if word(8) != DECIDER_VERSION {
        let (found, here) = (word(8), DECIDER_VERSION);
        return Err(Bad::OtherRules { found, here });
    }
    let bytes = usize::try_from(long(72)).map_err(|error| Bad::State(error.to_string()))?;
    let state =
        lz4_flex::block::decompress(body, bytes).map_err(|error| Bad::State(error.to_string()))?;
    let state = decode_state(&state).map_err(|error| Bad::State(error.to_string()))?;
    if state.seq() != Seq(long(32)) {
        return Err(Bad::State(
            "it ends at another sequence than its header says".to_owned(),
        ));
    }
    Ok(Checkpoint {
        log: Uuid::from_bytes(header[16..32].try_into().expect("16 bytes")),
        epoch: word(12),
        chain: Digest(header[40..72].try_into().expect("32 bytes")),
        state,
    })
}
