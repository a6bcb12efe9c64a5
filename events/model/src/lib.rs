//! The pure core of Hindcast: what can happen, what is decided about it, and the state that
//! follows.
//!
//! `State::decide` maps the state and one *observed* event to the *decided* events it causes;
//! `State::apply` folds any event into the state and cannot refuse. Neither reads a clock, draws a
//! random number or touches the outside: time and ids come in with the command.
//!
//! Nothing here knows how events are stored, sent or computed.

mod answered;
pub mod apply;
mod audited;
pub mod breaker;
mod cache;
mod called;
mod capacity;
pub mod command;
pub mod decide;
mod decided;
mod dump;
pub mod event;
pub mod ids;
pub mod limits;
pub mod memory;
mod observed;
pub mod parts;
pub mod payload;
pub mod refusal;
mod requested;
pub mod samples;
pub mod settings;
pub mod slo;
pub mod state;
pub mod stream;

pub use command::{Command, Expect, Submission};
pub use event::{Codec, Event, Kind, UnknownSchema};
pub use ids::{BackupId, Digest, EventId, ExperimentId, KeyId, Name16, RunId, Seq, UnixMicros};
pub use payload::Payload;
pub use refusal::Refusal;
pub use state::State;
pub use stream::{Stream, StreamKind};

/// The version of the rules in [`State::decide`] and [`State::apply`]. It goes up whenever the
/// same log would be decided differently, and stands in every `ServerStarted`.
pub const DECIDER_VERSION: u32 = 2;
