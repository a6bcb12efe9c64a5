//! Compression: zstd, with the hash of what was compressed.

use std::io::{self, Read, Write};

use hindcast_model::Digest;

/// zstd's level: what is the default is the best ratio that keeps up with a disk.
const LEVEL: i32 = 3;
/// Bytes handed on at a time.
const STEP_BYTES: usize = 1 << 20;

/// Compresses what is written to it.
pub(crate) struct Packer {
    encoder: zstd::Encoder<'static, Vec<u8>>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// What was compressed.
pub(crate) struct Packed {
    pub(crate) packed: Vec<u8>,
    /// Bytes and hash before compression.
    pub(crate) bytes: u64,
    pub(crate) hash: Digest,
}

impl Packer {
    pub(crate) fn new() -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self {
            encoder,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.encoder.write_all(bytes)
    }

    pub(crate) fn finish(self) -> io::Result<Packed> {
        Ok(Packed {
            packed: self.encoder.finish()?,
            bytes: self.bytes,
            hash: Digest(*self.hasher.finalize().as_bytes()),
        })
    }
}

/// Why something was not unpacked.
pub(crate) enum Unpacking<E> {
    Broken(io::Error),
    Taken(E),
}

/// Hands what was compressed to `take`, piece by piece, and returns its length and hash.
pub(crate) fn unpack<E>(
    packed: &[u8],
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(u64, Digest), Unpacking<E>> {
    let mut decoder = zstd::Decoder::with_buffer(packed).map_err(Unpacking::Broken)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; STEP_BYTES];
    let mut bytes = 0;
    loop {
        let read = decoder.read(&mut buffer).map_err(Unpacking::Broken)?;
        if read == 0 {
            return Ok((bytes, Digest(*hasher.finalize().as_bytes())));
        }
        bytes += read as u64;
        hasher.update(&buffer[..read]);
        take(&buffer[..read]).map_err(Unpacking::Taken)?;
    }
}
