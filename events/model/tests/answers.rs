//! What a key means whose request left no event that has it: its answer is kept.

mod support;

use hindcast_model::event::{
    DatasetRefused, ExperimentRefused, Idempotency, RunRefused, ServerStarted, Settings,
};
use hindcast_model::memory::FirstAnswer;
use hindcast_model::{BackupId, Event, Name16, Refusal, Seq, Stream, UnixMicros};
use support::*;

fn first(story: &Story, key: Option<Idempotency>) -> Option<FirstAnswer> {
    let key = key.expect("a key");
    let now = UnixMicros(story.now);
    story.state.first_answer(story.principal, &key, now)
}

#[test]
fn an_answer_is_found_by_key_and_body_of_who_asked() {
    let mut story = Story::given([request(1)]);
    let before = story.log.len() as u64;
    assert_eq!(first(&story, key(1, 1)), None);
    assert_eq!(story.when(answered(key(1, 1))), []);
    let seq = Seq(before + 1);
    assert_eq!(first(&story, key(1, 1)), Some(FirstAnswer::Same(seq)));
    assert_eq!(first(&story, key(1, 2)), Some(FirstAnswer::Other));
    assert_eq!(first(&story, key(2, 1)), None);
    assert_eq!(
        story.log.last().map(|e| e.stream),
        Some(Stream::system("answers"))
    );
    // One that was answered beside it, without waiting for its turn, does not replace it.
    story.when(answered(key(1, 2)));
    assert_eq!(first(&story, key(1, 1)), Some(FirstAnswer::Same(seq)));
    story.principal = Name16::new("grace");
    assert_eq!(first(&story, key(1, 1)), None);
}

#[test]
fn a_key_of_an_answer_is_refused_where_it_asks_for_something() {
    let mut story = Story::given([answered(key(1, 1))]);
    let refusal = Refusal::IdempotencyKeyReused;
    assert_eq!(
        story.when(keyed(1, key(1, 1))),
        [Event::RunRefused(RunRefused {
            run: run(1),
            refusal: refusal.clone()
        })]
    );
    assert_eq!(
        story.when(upload(1, key(1, 1))),
        [Event::DatasetRefused(DatasetRefused {
            digest: digest(1),
            refusal: refusal.clone()
        })]
    );
    assert_eq!(
        story.when(series(1, [7], key(1, 1))),
        [Event::ExperimentRefused(ExperimentRefused {
            experiment: experiment(1),
            refusal
        })]
    );
    let backup = key(1, 1).expect("a key");
    let before = |key: &Idempotency, later| {
        let now = UnixMicros(story.now + later);
        story.state.asked_before(story.principal, key, now)
    };
    assert_eq!(before(&backup, 0), Some(true));
    assert_eq!(before(&backup, 24 * HOUR), None);
    assert_eq!(before(&key(1, 2).expect("a key"), 0), Some(false));
    assert_eq!(before(&key(2, 1).expect("a key"), 0), None);
    let told = story.state.first_backup(story.principal, &backup);
    assert_eq!(told, Some((BackupId::default(), false)));
}

#[test]
fn a_key_that_asked_for_something_has_no_answer() {
    let story = Story::given([
        keyed(1, key(1, 1)),
        upload(1, key(2, 1)),
        series(1, [7], key(3, 1)),
    ]);
    for n in 1..=3 {
        assert_eq!(first(&story, key(n, 1)), Some(FirstAnswer::Other), "{n}");
    }
}

#[test]
fn answers_are_forgotten_by_age_and_number_as_every_key_is() {
    let mut story = Story::with(Settings {
        idempotency_ttl_micros: HOUR,
        idempotency_entries_max: 2,
        ..Settings::default()
    });
    story.when(answered(key(1, 1)));
    story.later(HOUR - 1);
    assert!(matches!(
        first(&story, key(1, 1)),
        Some(FirstAnswer::Same(_))
    ));
    // Nothing has happened since.
    story.later(1);
    assert_eq!(first(&story, key(1, 1)), None);
    assert_eq!(first(&story, key(1, 2)), None);
    for n in 2..=4 {
        story.when(answered(key(n, 1)));
    }
    assert_eq!(story.state.idempotency_entries(), 2);
    assert_eq!(first(&story, key(2, 1)), None);
    assert!(matches!(
        first(&story, key(4, 1)),
        Some(FirstAnswer::Same(_))
    ));
    assert!(story.state.remembers_keys());
    let none = Settings {
        idempotency_entries_max: 0,
        ..Settings::default()
    };
    let mut story = Story::with(none);
    story.when(answered(key(1, 1)));
    assert_eq!(first(&story, key(1, 1)), None);
    assert!(!story.state.remembers_keys());
}

#[test]
fn a_new_process_knows_what_was_answered() {
    let mut story = Story::given([answered(key(1, 1))]);
    story.when(Event::ServerStarted(ServerStarted {
        binary_version: "0.1.0".to_owned(),
        decider_version: 2,
        numeric_profile: "test".to_owned(),
        clean: false,
    }));
    assert_eq!(first(&story, key(1, 1)), Some(FirstAnswer::Same(Seq(1))));
}
