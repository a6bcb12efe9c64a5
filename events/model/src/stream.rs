//! Streams: the series of events about one thing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, ExperimentId, Name16, RunId};

/// What a stream is about. The number stands in every record and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u16)]
pub enum StreamKind {
    /// The server itself; the id is a name.
    System = 1,
    Run = 2,
    Dataset = 3,
    Experiment = 4,
}

impl StreamKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::System),
            2 => Some(Self::Run),
            3 => Some(Self::Dataset),
            4 => Some(Self::Experiment),
            _ => None,
        }
    }

    /// The number in the record.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::System => 1,
            Self::Run => 2,
            Self::Dataset => 3,
            Self::Experiment => 4,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Run => "run",
            Self::Dataset => "dataset",
            Self::Experiment => "experiment",
        }
    }
}

/// One stream, written `run/0198...`, `dataset/4be1...` or `system/server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stream {
    pub kind: StreamKind,
    pub id: [u8; 16],
}

impl Stream {
    /// The stream of a run.
    #[must_use]
    pub const fn run(run: RunId) -> Self {
        Self {
            kind: StreamKind::Run,
            id: run.bytes(),
        }
    }

    /// The stream of an experiment.
    #[must_use]
    pub const fn experiment(experiment: ExperimentId) -> Self {
        Self {
            kind: StreamKind::Experiment,
            id: experiment.bytes(),
        }
    }

    /// The stream of a dataset: the first half of its digest.
    #[must_use]
    pub fn dataset(digest: Digest) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&digest.0[..16]);
        Self {
            kind: StreamKind::Dataset,
            id,
        }
    }

    /// A stream of the server, such as `server`, `clock` or `unclaimed`.
    #[must_use]
    pub fn system(name: &str) -> Self {
        Self {
            kind: StreamKind::System,
            id: Name16::new(name).0,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.kind.word())?;
        match self.kind {
            StreamKind::System => Name16(self.id).fmt(f),
            StreamKind::Run | StreamKind::Experiment => uuid::Uuid::from_bytes(self.id).fmt(f),
            StreamKind::Dataset => self.id.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// The text names no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream is run/ID, experiment/ID, dataset/DIGEST or system/NAME")]
pub struct BadStream;

impl FromStr for Stream {
    type Err = BadStream;

    fn from_str(text: &str) -> Result<Self, BadStream> {
        let (kind, id) = text.split_once('/').ok_or(BadStream)?;
        match kind {
            "run" => id.parse().map(Self::run).map_err(|_| BadStream),
            "experiment" => id.parse().map(Self::experiment).map_err(|_| BadStream),
            "system" if !id.is_empty() && id.len() <= 16 => Ok(Self::system(id)),
            "dataset" => {
                let padded = if id.len() == 32 {
                    format!("{id}{id}")
                } else {
                    id.to_owned()
                };
                padded.parse().map(Self::dataset).map_err(|_| BadStream)
            }
            _ => Err(BadStream),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_read_what_they_write() {
        for text in [
            "run/01890a5d-ac96-774b-bcce-b302099a8057",
            "experiment/01890a5d-ac96-774b-bcce-b302099a8057",
            "dataset/000102030405060708090a0b0c0d0e0f",
            "system/server",
        ] {
            let stream: Stream = text.parse().expect("a stream");
            assert_eq!(stream.to_string(), text);
            assert_eq!(
                StreamKind::from_number(stream.kind.number()),
                Some(stream.kind)
            );
        }
        for text in ["run", "run/7", "system/", "cat/1"] {
            assert_eq!(text.parse::<Stream>(), Err(BadStream));
        }
    }
}
