//! Answers that are kept, so that a request that is sent again is not done again.

use hindcast_model::event::{AnswerKept, Event};
use hindcast_model::limits::{ANSWER_BYTES_MAX, ANSWER_REQUEST_CHARS_MAX};
use hindcast_model::{Command, KeyId, Seq};

use super::Door;
use super::request::{DoneAnswer, Identity, SubmitFailure};
use super::run::{Stored, keep};

/// Records an answer, sealed as a spec of the same identity is; where it stands.
pub(super) async fn record(
    door: &Door,
    identity: Identity,
    answer: DoneAnswer,
) -> Result<Seq, SubmitFailure> {
    let text = answer.text.filter(|text| text.len() <= ANSWER_BYTES_MAX);
    let (key, stored) = match text {
        None => (KeyId(0), None),
        Some(text) => {
            let key = door.key_for(&identity).await?;
            (key, Some(keep(door, key, text).await?))
        }
    };
    let (answered, pinned) = match stored {
        None => (None, None),
        Some(Stored { payload, pinned }) => (Some(payload), pinned),
    };
    let request = answer.request.chars().take(ANSWER_REQUEST_CHARS_MAX);
    let event = Event::AnswerKept(AnswerKept {
        idempotency: answer.idempotency,
        request: request.collect(),
        status: answer.status,
        media: answer.media,
        answer: answered,
    });
    let command = Command {
        key,
        ..identity.command(event)
    };
    let receipt = door.submit(command.into()).await;
    drop(pinned);
    Ok(receipt?.first)
}
