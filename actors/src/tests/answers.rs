//! Answers that are kept: inline, as a blob, sealed, or not at all when they are too large.

use hindcast_model::event::{AnswerKept, Event, Idempotency};
use hindcast_model::limits::{ANSWER_BYTES_MAX, ANSWER_REQUEST_CHARS_MAX, INLINE_BYTES_MAX};
use hindcast_model::memory::FirstAnswer;
use hindcast_model::{Digest, KeyId, Name16, Payload};

use super::support::{World, identity, in_system, options};
use crate::{DoneAnswer, Identity};

const TEXT: &str = "what_ada_was_told";

fn answer(number: u8, text: Option<String>) -> DoneAnswer {
    DoneAnswer {
        idempotency: Idempotency {
            key: [number; 16],
            body: Digest([number; 32]),
        },
        request: format!("POST /{}", "x".repeat(ANSWER_REQUEST_CHARS_MAX)),
        status: 200,
        media: "text/plain".to_owned(),
        text,
    }
}

/// Keeps an answer, and reads it back as its event and its text.
async fn kept(
    world: &World,
    identity: Identity,
    answer: DoneAnswer,
) -> (KeyId, AnswerKept, Option<String>) {
    let key = answer.idempotency;
    let seq = world.actors.experiment.keep_answer(identity, answer).await;
    let seq = seq.expect("it is kept");
    let now = world.log.state(hindcast_model::State::at);
    let first = |state: &hindcast_model::State| state.first_answer(identity.principal, &key, now);
    assert_eq!(world.log.state(first), Some(FirstAnswer::Same(seq)));
    let recorded = world.log.read(seq, 1).unwrap().pop().unwrap();
    let Some(Event::AnswerKept(event)) = recorded.event().cloned() else {
        panic!("{recorded:?}");
    };
    let named = recorded.context.key;
    let text = event.answer.as_ref().map(|payload| {
        let text = world.vault.text(world.log.blobs(), named, payload);
        text.expect("readable").into_owned()
    });
    (named, event, text)
}

#[test]
fn answers_are_kept_up_to_a_size() {
    in_system(async {
        let world = World::new(options());
        let small = "{}".to_owned();
        let (key, event, text) = kept(&world, identity(), answer(1, Some(small.clone()))).await;
        assert_eq!((key, text), (KeyId(0), Some(small)));
        assert!(matches!(event.answer, Some(Payload::Inline(_))));
        assert_eq!(event.request.chars().count(), ANSWER_REQUEST_CHARS_MAX);
        for bytes in [INLINE_BYTES_MAX + 1, ANSWER_BYTES_MAX] {
            let number = u8::try_from(bytes % 100).unwrap();
            let large = "x".repeat(bytes);
            let told = answer(number, Some(large.clone()));
            let (_, event, text) = kept(&world, identity(), told).await;
            assert!(matches!(event.answer, Some(Payload::Blob { .. })));
            assert_eq!(text, Some(large));
        }
        for (number, text) in [(8, Some("x".repeat(ANSWER_BYTES_MAX + 1))), (9, None)] {
            let (key, event, _) = kept(&world, identity(), answer(number, text)).await;
            assert_eq!((key, event.answer), (KeyId(0), None));
        }
        world.stop().await;
    });
}

#[test]
fn answers_for_a_subject_are_sealed_for_it() {
    in_system(async {
        let world = World::new(options());
        let ada = Identity {
            subject: Some(Name16::new("ada")),
            ..identity()
        };
        for (number, bytes) in [(1, 0), (2, INLINE_BYTES_MAX)] {
            let told = format!("{TEXT}{}", "x".repeat(bytes));
            let told = answer(number, Some(told));
            let (key, event, text) = kept(&world, ada, told.clone()).await;
            assert_eq!(world.vault.find("ada"), Some(key));
            assert_eq!(text, told.text);
            assert!(!format!("{event:?}").contains(TEXT));
        }
        let redacted =
            world
                .actors
                .experiment
                .redact(Name16::new("ada"), identity(), String::new());
        let key = redacted.await.unwrap().expect("there was a key").keys[0];
        let events = world.events();
        let sealed = events.iter().filter(|recorded| recorded.context.key == key);
        for recorded in sealed {
            let payload = recorded.event().unwrap().payload().unwrap();
            assert!(world.vault.text(world.log.blobs(), key, payload).is_err());
        }
        world.stop().await;
    });
}
