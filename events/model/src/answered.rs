//! The answer of a request that is not to be done twice.

use serde::{Deserialize, Serialize};

use crate::payload::Payload;
use crate::requested::Idempotency;

/// A request with an idempotency key was done and is being answered. Runs, datasets, experiments and
/// backups have the key in the event that asks for them; every other request leaves this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerKept {
    pub idempotency: Idempotency,
    /// Method and path, such as `POST /cache/results/warm`.
    pub request: String,
    /// Of the answer.
    pub status: u16,
    /// The media type of the answer.
    pub media: String,
    /// The body of the answer, without secrets; none when it is larger than what is kept.
    pub answer: Option<Payload>,
}
