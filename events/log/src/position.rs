//! Cursors: a place in one log's history, as text.

use std::fmt;
use std::str::FromStr;

use hindcast_model::Seq;
use uuid::Uuid;

/// A place in the history of one log: what a reader resumes from. A restore begins another epoch,
/// so that a cursor from before it is refused instead of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub log: Uuid,
    pub epoch: u32,
    pub seq: Seq,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.log.simple(), self.epoch, self.seq)
    }
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is LOG-EPOCH-SEQUENCE")]
pub struct BadPosition;

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(BadPosition);
        let log = Uuid::try_parse(part()?).map_err(|_| BadPosition)?;
        let epoch = part()?.parse().map_err(|_| BadPosition)?;
        let seq = Seq(part()?.parse().map_err(|_| BadPosition)?);
        match parts.next() {
            None => Ok(Self { log, epoch, seq }),
            Some(_) => Err(BadPosition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_what_they_write() {
        let position = Position {
            log: Uuid::from_u128(7 << 90),
            epoch: 3,
            seq: Seq(18_000_000_000),
        };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in [
            "",
            "a-1-2",
            "7",
            "00000000000000000000000000000007-1",
            "x-1-2-3",
        ] {
            assert_eq!(text.parse::<Position>(), Err(BadPosition), "{text}");
        }
    }
}
