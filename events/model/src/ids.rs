//! Identifiers and units. Text in JSON, fixed-size bytes in the log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Position of an event in the log; the first is 1 and 0 is the position before it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Microseconds since 1970-01-01T00:00:00Z, as stamped by the committer: it never runs backwards
/// within a log.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// This moment plus a span in microseconds, without overflow.
    #[must_use]
    pub const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds since `earlier`, 0 when it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The sixteen bytes that stand in the log.
            #[must_use]
            pub const fn bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }

            /// The id that these bytes spell.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    u128::from_le_bytes(self.bytes()).serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    u128::deserialize(deserializer).map(|n| Self::from_bytes(n.to_le_bytes()))
                }
            }
        }
    };
}

uuid_id!(
    /// One requested computation; a UUIDv7 minted at the door.
    RunId
);
uuid_id!(
    /// A named series of runs.
    ExperimentId
);
uuid_id!(
    /// One backup; a UUIDv7 minted at the door.
    BackupId
);
uuid_id!(
    /// One event, the same in every fork and copy of the log.
    EventId
);

impl EventId {
    /// The id of the `index`-th event decided from this observed one. A function of the observed
    /// id alone, so that deciding the log again gives the same ids.
    #[must_use]
    pub const fn decided(self, index: u16) -> Self {
        let observed = u128::from_be_bytes(self.bytes());
        Self::from_bytes(observed.wrapping_add(1 + index as u128).to_be_bytes())
    }
}

/// Which data key seals a payload; 0 means none.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct KeyId(pub u32);

/// A blake3 hash of some content; sixty-four hexadecimal digits in text.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |at: usize| {
            let byte = self.0[at / 2];
            let half = if at.is_multiple_of(2) {
                byte >> 4
            } else {
                byte & 15
            };
            DIGITS[usize::from(half)]
        };
        let text: [u8; 64] = std::array::from_fn(digit);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not sixty-four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct BadDigest;

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(BadDigest);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (hex(pair[0])?, hex(pair[1])?);
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

const fn hex(digit: u8) -> Result<u8, BadDigest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(BadDigest),
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            // Two numbers of sixteen bytes are read at once; thirty-two bytes one by one.
            let half = |at| u128::from_le_bytes(std::array::from_fn(|i| self.0[at + i]));
            (half(0), half(16)).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(de::Error::custom)
        } else {
            let (first, second) = <(u128, u128)>::deserialize(deserializer)?;
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(&first.to_le_bytes());
            bytes[16..].copy_from_slice(&second.to_le_bytes());
            Ok(Self(bytes))
        }
    }
}

/// A short name in sixteen bytes, padded with zeros: principals, tenants, system streams.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name16(pub [u8; 16]);

impl Name16 {
    /// The name, cut at sixteen bytes on a character boundary.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut end = name.len().min(16);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; 16];
        bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
        Self(bytes)
    }
}

impl fmt::Display for Name16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(16);
        f.write_str(&String::from_utf8_lossy(&self.0[..end]))
    }
}

impl fmt::Debug for Name16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Name16 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            u128::from_le_bytes(self.0).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Name16 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer).map(|name| Self::new(&name))
        } else {
            u128::deserialize(deserializer).map(|n| Self(n.to_le_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_reads_what_it_writes_and_refuses_the_rest() {
        let digest = Digest(std::array::from_fn(|i| u8::try_from(i * 7).unwrap_or(9)));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("ab".parse::<Digest>(), Err(BadDigest));
        assert_eq!("g".repeat(64).parse::<Digest>(), Err(BadDigest));
    }

    #[test]
    fn decided_ids_follow_from_the_observed_one() {
        let observed = EventId::from_bytes([0xff; 16]);
        assert_eq!(observed.decided(0).bytes(), [0; 16]);
        assert_ne!(observed.decided(0), observed.decided(1));
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(Name16::new("anonymous").to_string(), "anonymous");
        assert_eq!(
            Name16::new("aaaaaaaaaaaaaaa\u{e9}").to_string(),
            "aaaaaaaaaaaaaaa"
        );
    }
}
