//! Specs and results as the log holds them. The core never looks inside.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// Canonical JSON of a request or a result, in one of three places.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// The text itself, up to `INLINE_BYTES_MAX`.
    Inline(String),
    /// A content-addressed blob of `bytes` bytes, the digest being over what is stored: the text,
    /// or, when the record's header names a data key, 24 bytes of nonce and the ciphertext.
    Blob { digest: Digest, bytes: u64 },
    /// Sealed under the data key that the record's header names: without it, unreadable.
    Sealed {
        nonce: [u8; 24],
        ciphertext: Vec<u8>,
    },
}

impl Payload {
    /// The blob that this payload needs, if any.
    #[must_use]
    pub const fn blob(&self) -> Option<Digest> {
        match self {
            Self::Blob { digest, .. } => Some(*digest),
            Self::Inline(_) | Self::Sealed { .. } => None,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(text) => f.write_str(text),
            Self::Blob { digest, bytes } => write!(f, "blob {digest} ({bytes} bytes)"),
            Self::Sealed { ciphertext, .. } => write!(f, "sealed ({} bytes)", ciphertext.len()),
        }
    }
}
