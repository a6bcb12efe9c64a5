//! What comes in from outside: an observed event with the identity of who and what caused it.

use crate::event::Event;
use crate::ids::{EventId, KeyId, Name16};
use crate::stream::Stream;

/// The version that the caller believes a stream to be at; 0 means that it does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    pub stream: Stream,
    pub version: u64,
}

/// One observed event on its way into the log. Ids are minted by the caller; the time is stamped
/// by the committer.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The id that the observed event will have.
    pub event_id: EventId,
    /// The event that led to this one; its own id when it is a first cause.
    pub causation: EventId,
    /// Shared by everything that one request led to.
    pub correlation: EventId,
    /// Who asked.
    pub principal: Name16,
    /// On whose behalf.
    pub tenant: Name16,
    /// The data key that seals the event's payload; 0 when it is readable.
    pub key: KeyId,
    /// Refuse unless the stream is at this version.
    pub expect: Option<Expect>,
    /// What was observed.
    pub event: Event,
}

/// Commands that go into one frame: all or none. When the first is refused the others are not
/// recorded; a later one may be refused on its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Submission {
    pub commands: Vec<Command>,
}

impl From<Command> for Submission {
    fn from(command: Command) -> Self {
        Self {
            commands: vec![command],
        }
    }
}
