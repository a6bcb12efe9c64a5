//! Questions about the past: the state at a moment, what differs between two, and what led to what.
//! The one code path of server and command line: both hand in where they read from. Everything is
//! read from the files of the log and from what is durable, and nothing is changed.

mod asked;
mod difference;
mod forward;
mod graph;
mod provenance;
mod recompute;
mod slo;
mod state;

use std::str::FromStr;

use hindcast_log::{LogError, Reader, Recorded};
use hindcast_model::{KeyId, Payload, Seq, Stream, UnixMicros};

use crate::views;

pub use asked::{Asked, BadAsked};
pub use difference::{Difference, End, EventsBetween, difference};
pub use forward::{Forward, SCAN_EVENTS_MAX};
pub use graph::{Edge, Graph, Node, NodeKind, Relation};
pub use hindcast_causal::graph::GraphFormat;
pub use provenance::{Direction, Provenance, Subject, provenance};
pub use recompute::{Archive, Differing, NoResult, Recomputed, Recomputer, recompute};
pub use slo::slos;
pub use state::{StateAt, state};

/// Entries of collections in one answer.
pub const ENTRIES_MAX: usize = 10_000;

/// Where the past is read from.
pub trait Source {
    /// The segments and snapshots.
    fn reader(&self) -> &Reader;

    /// The last event that may be seen; 0 when there is none.
    fn head(&self) -> Seq;

    /// The present.
    fn now(&self) -> UnixMicros;

    /// Every event of a stream up to the head, ascending; of a system's stream, what is not pruned.
    fn stream(&self, stream: Stream) -> Result<Vec<Recorded>, LogError>;

    /// The text of a payload, if it can be read.
    fn text(&self, key: KeyId, payload: &Payload) -> Option<String>;

    /// Up to `max` events from `from` on.
    fn read(&self, from: Seq, max: usize) -> Result<Vec<Recorded>, LogError> {
        let mut events = self.reader().read(from, max)?;
        events.retain(|recorded| recorded.seq() <= self.head());
        Ok(events)
    }

    /// The last event whose time is not after `at`.
    fn cut(&self, at: UnixMicros) -> Result<Seq, LogError> {
        Ok(self.reader().cut(at)?.min(self.head()))
    }
}

/// A moment as it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum When {
    /// After the event with this sequence.
    Seq(Seq),
    /// After the last event whose time is not later.
    Time(UnixMicros),
    /// After the last event.
    #[default]
    Head,
}

/// The text names no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a moment is the sequence of an event, or a time such as 2026-11-22T13:52:46Z")]
pub struct BadMoment;

impl FromStr for When {
    type Err = BadMoment;

    fn from_str(text: &str) -> Result<Self, BadMoment> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text
                .parse()
                .map(|seq| Self::Seq(Seq(seq)))
                .map_err(|_| BadMoment);
        }
        views::moment(text).map(Self::Time).ok_or(BadMoment)
    }
}

/// What a question about the state is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The whole state.
    All,
    Stream(Stream),
}

/// The text names nothing that has a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected all, run/ID, experiment/ID, dataset/DIGEST or system/NAME")]
pub struct BadSubject;

impl FromStr for About {
    type Err = BadSubject;

    fn from_str(text: &str) -> Result<Self, BadSubject> {
        match text {
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Stream).map_err(|_| BadSubject),
        }
    }
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Stream(stream) => stream.fmt(f),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The moment is before the first event or has not come yet.
    #[error("{message}")]
    Moment {
        /// The parameter that named it.
        field: &'static str,
        message: String,
        /// The first or last sequence that there is.
        limit: Seq,
    },
    /// There is no such thing, or there was none at that moment.
    #[error("{message}")]
    Unknown { message: String, hint: String },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The sequence that a moment stands for. `field` is the parameter that named it.
fn place(source: &dyn Source, field: &'static str, when: When) -> Result<Seq, HistoryError> {
    let head = source.head();
    let refused = |message: String, limit| HistoryError::Moment {
        field,
        message,
        limit,
    };
    if head == Seq(0) {
        return Err(refused("nothing is recorded yet".to_owned(), head));
    }
    match when {
        When::Head => Ok(head),
        When::Seq(Seq(0)) => {
            let message = "the first event has sequence 1".to_owned();
            Err(refused(message, Seq(1)))
        }
        When::Seq(seq) if seq > head => {
            let message = format!("the log ends at sequence {head}, before {seq}");
            Err(refused(message, head))
        }
        When::Seq(seq) => Ok(seq),
        When::Time(at) if at > source.now() => {
            let at = views::rfc3339(at);
            let message = format!("{at} has not come yet; the log ends at sequence {head}");
            Err(refused(message, head))
        }
        When::Time(at) => match source.cut(at)? {
            Seq(0) => {
                let first = source.read(Seq(1), 1)?;
                let first = first
                    .first()
                    .map_or(UnixMicros(0), |first| first.context.at);
                let message = format!("the log begins at {}", views::rfc3339(first));
                Err(refused(message, Seq(1)))
            }
            cut => Ok(cut),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_sequences_or_times() {
        assert_eq!("17".parse(), Ok(When::Seq(Seq(17))));
        let at = UnixMicros(1_000_000);
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(When::Time(at)));
        for text in ["", "-1", "+1", "1.5", "99999999999999999999999", "now"] {
            assert_eq!(text.parse::<When>(), Err(BadMoment), "{text}");
        }
    }

    #[test]
    fn subjects_read_what_they_write() {
        for text in [
            "all",
            "system/server",
            "run/01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            let about: About = text.parse().expect("a subject");
            assert_eq!(about.to_string(), text);
        }
        assert_eq!("system".parse::<About>(), Err(BadSubject));
    }
}
