//! Without an edit the other history is the recorded one.

use hindcast_model::event::{ClockStepped, RunRefused};
use hindcast_model::{Event, Refusal, Seq, State, UnixMicros};
use hindcast_whatif::{Edits, history};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{alone, decide, facts, question, worked};

/// An edit that changes no state.
fn idle(after: Seq) -> Edits {
    let step = Event::ClockStepped(ClockStepped {
        step_micros: 0,
        wall: UnixMicros(0),
        adopted: false,
    });
    let mut edits = Edits::default();
    edits.inject.insert(after, vec![step]);
    edits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_empty_edit_is_the_record_byte_for_byte(seed in any::<u64>(), start in any::<Index>()) {
        let server = worked(seed, 60);
        let events = server.events();
        let observed: Vec<Seq> = events.iter().filter(|e| e.observed).map(|e| e.seq()).collect();
        let at = *start.get(&observed);
        let edits = Edits::default();
        let asked = question(at, server.head(), &edits);
        let mut told = Vec::new();
        history(&server.reader(), server.before(at), &asked, &mut |event| told.push(event))
            .expect("an answer");
        let recorded: Vec<_> = events.iter().filter(|event| event.seq() >= at).collect();
        prop_assert_eq!(told.len(), recorded.len());
        for (one, other) in told.iter().zip(recorded) {
            prop_assert_eq!(one.to_bytes().expect("encodes"), other.to_bytes().expect("encodes"));
        }
        let answer = server.what_if(at, &edits);
        prop_assert!(answer.drift.is_none());
        prop_assert_eq!(answer.differences.divergence, None);
        prop_assert_eq!(answer.fork, server.state().clone());
    }

    /// The rules of what happens are asked about every event, and say what is recorded.
    #[test]
    fn an_idle_edit_changes_nothing_else(seed in any::<u64>(), start in any::<Index>()) {
        let server = worked(seed, 60);
        let events = server.events();
        let observed: Vec<Seq> = events.iter().filter(|e| e.observed).map(|e| e.seq()).collect();
        let at = *start.get(&observed);
        let edits = idle(Seq(at.0 - 1));
        let asked = question(at, server.head(), &edits);
        let answer = server.try_what_if(&alone(asked)).expect("an answer");
        let found = &answer.differences;
        prop_assert_eq!(found.appeared.total, 1, "{:?}", found.appeared);
        prop_assert_eq!(found.vanished.total, 0, "{:?}", found.vanished);
        prop_assert_eq!(found.changed.total, 0, "{:?}", found.changed);
        prop_assert_eq!(found.divergence, Some(at));
        prop_assert_eq!(facts(&answer.fork), facts(server.state()));
    }
}

#[test]
fn rules_that_decide_otherwise_are_told_as_drift() {
    let server = worked(11, 40);
    let wrong = |state: &State, context: &_, event: &Event| {
        let Event::RunRequested(request) = event else {
            return decide(state, context, event);
        };
        vec![Event::RunRefused(RunRefused {
            run: request.run,
            refusal: Refusal::RunExists(request.run),
        })]
    };
    let edits = Edits::default();
    let asked = question(Seq(1), server.head(), &edits);
    let asked = hindcast_whatif::Question {
        decide: &wrong,
        ..asked
    };
    let answer = server.try_what_if(&asked).expect("an answer");
    let drift = answer.drift.expect("it drifts");
    let first = server.find(|event| matches!(event, Event::RunRequested(_)));
    assert_eq!(drift.first, first);
    assert!(drift.events > 3 && drift.examples.len() > 1, "{drift:?}");
    // Both histories are driven by the same rules: there is no other difference.
    assert_eq!(answer.differences.divergence, None);
}
