//! What an edit changes, and what it leaves.

use std::collections::BTreeSet;
use std::path::Path;

use hindcast_model::event::{CancelRequested, Idempotency, Outcome, RunCompleted};
use hindcast_model::{Event, Seq};
use hindcast_whatif::{Basis, Edits, List, Question};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{
    SECOND, Server, alone, digest, question, request, result_of, run_id, settings, worked,
};

fn kinds(list: &List) -> Vec<(&'static str, u64)> {
    list.types.iter().map(|(kind, n)| (*kind, *n)).collect()
}

fn dropping(seqs: impl IntoIterator<Item = Seq>) -> Edits {
    Edits {
        drop: seqs.into_iter().collect(),
        ..Edits::default()
    }
}

fn limited(max: u64) -> Edits {
    let mut edits = Edits::default();
    edits.settings.insert("runs.in_flight_max".to_owned(), max);
    edits
}

fn asks(n: u64) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::RunRequested(asked) if asked.run == run_id(n))
}

#[test]
fn a_dropped_request_takes_its_cone_with_it_and_nothing_else() {
    let mut server = Server::start(settings(10));
    server.pass(SECOND);
    for n in [1, 2, 3] {
        server.ask_run(request(n));
        server.pass(SECOND / 8);
    }
    server.pass(5 * SECOND);
    let at = server.find(asks(2));
    let answer = server.what_if(at, &dropping([at]));
    let found = answer.differences;
    let expected = [
        ("outcome_observed", 1),
        ("run_admitted", 1),
        ("run_completed", 1),
        ("run_requested", 1),
    ];
    assert_eq!(kinds(&found.vanished), expected);
    assert_eq!((found.appeared.total, found.changed.total), (0, 0));
    assert_eq!(found.divergence, Some(at));
    assert_eq!(found.runs_total, 1);
    let pair = &found.runs[&run_id(2)];
    assert_eq!(pair.operation.as_deref(), Some("causal.2"));
    assert_eq!(
        pair.baseline.as_ref().map(|end| end.kind),
        Some("run_completed")
    );
    assert_eq!(pair.fork, None);
}

#[test]
fn a_dropped_request_lets_another_in_whose_result_is_what_the_server_computes() {
    let mut server = Server::start(settings(1));
    server.ask_run(request(1));
    server.pass(SECOND / 16);
    server.ask_run(request(7));
    server.pass(5 * SECOND);
    server.ask_run(request(4));
    server.pass(20 * SECOND);
    let at = server.find(asks(1));
    let answer = server.what_if(at, &dropping([at]));
    let found = &answer.differences;
    assert_eq!(kinds(&found.changed), [("run_admitted", 1)]);
    assert_eq!(
        kinds(&found.appeared),
        [("outcome_observed", 1), ("run_completed", 1)]
    );
    let end = found.runs[&run_id(7)].fork.clone().expect("it ends");
    assert_eq!((end.kind, end.basis), ("run_completed", Basis::Recomputed));
    let asked = request(7);
    let Outcome::Completed { result_hash, .. } = result_of(asked.spec_hash, asked.seed) else {
        panic!("a result");
    };
    assert_eq!(end.result_hash, Some(result_hash));
    assert_eq!((answer.counts.recomputed, answer.counts.modelled), (1, 0));
}

#[test]
fn a_higher_limit_admits_what_was_refused_and_a_lower_one_refuses() {
    let mut server = Server::start(settings(2));
    for n in 1..=6 {
        server.ask_run(request(n));
    }
    server.pass(20 * SECOND);
    server.ask_run(request(9));
    server.pass(SECOND);
    let first = server.find(asks(1));
    let more = server.what_if(first, &limited(100));
    let found = &more.differences;
    assert_eq!(found.changed.types.get("run_admitted"), Some(&4));
    assert_eq!(more.fork.parts().totals["causal.0"].tally.refused, 0);
    assert_eq!(more.counts.recomputed, 4);
    for n in 3..=6 {
        let end = found.runs[&run_id(n)].fork.clone().expect("an end");
        let asked = request(n);
        let Outcome::Completed { result_hash, .. } = result_of(asked.spec_hash, asked.seed) else {
            panic!("a result");
        };
        assert_eq!(
            (end.kind, end.result_hash),
            ("run_completed", Some(result_hash))
        );
    }
    let less = server.what_if(first, &limited(1));
    // The refusals that were there say another limit.
    assert_eq!(less.differences.changed.types.get("run_refused"), Some(&5));
    assert_eq!(
        less.differences.vanished.types.get("run_completed"),
        Some(&1)
    );
    assert_eq!(less.counts.recomputed, 0);
    // Without anything that computes, the outcomes are drawn from the recorded ones.
    let edits = limited(100);
    let asked = alone(question(first, server.head(), &edits));
    let drawn = server.try_what_if(&asked).expect("an answer");
    assert_eq!(drawn.counts.recomputed, 0);
    assert!(
        drawn.counts.modelled + drawn.counts.unresolved >= 4,
        "{:?}",
        drawn.counts
    );
    let seeded = Question { seed: 99, ..asked };
    let again = server.try_what_if(&seeded).expect("an answer");
    assert_eq!(again.counts.modelled, drawn.counts.modelled);
}

#[test]
fn an_experiment_that_is_admitted_here_alone_gets_its_runs() {
    let mut server = Server::start(settings(2));
    let series = server.experiment(50, &[51, 52, 53], None);
    server.submit(vec![series]);
    server.ask_run(request(1));
    server.pass(20 * SECOND);
    server.ask_run(request(2));
    let at = server.find(|event| matches!(event, Event::ExperimentRequested(_)));
    let answer = server.what_if(at, &limited(10));
    let found = &answer.differences;
    assert_eq!(found.changed.types.get("experiment_admitted"), Some(&1));
    assert_eq!(found.appeared.types.get("run_requested"), Some(&3));
    assert_eq!(found.appeared.types.get("experiment_completed"), Some(&1));
    let refused = server.what_if(at, &limited(1));
    assert_eq!(refused.differences.appeared.total, 1, "the configuration");
}

#[test]
fn an_experiment_that_is_refused_here_takes_its_runs_with_it() {
    let mut server = Server::start(settings(5));
    let series = server.experiment(50, &[51, 52, 53], None);
    server.submit(vec![series]);
    server.pass(20 * SECOND);
    let at = server.find(|event| matches!(event, Event::ExperimentRequested(_)));
    let answer = server.what_if(at, &limited(2));
    let found = &answer.differences;
    assert_eq!(kinds(&found.changed), [("experiment_refused", 1)]);
    let vanished = [
        ("experiment_completed", 1),
        ("outcome_observed", 3),
        ("run_admitted", 3),
        ("run_completed", 3),
        ("run_requested", 3),
    ];
    assert_eq!(kinds(&found.vanished), vanished);
}

#[test]
fn a_deadline_passes_where_the_outcome_was_dropped() {
    let mut server = Server::start(settings(5));
    let mut asked = request(1);
    asked.deadline_micros = 5 * SECOND;
    server.ask_run(asked);
    server.pass(10 * SECOND);
    server.ask_run(request(2));
    let at = server.find(asks(1));
    let ended = server.find(|event| matches!(event, Event::OutcomeObserved(_)));
    let answer = server.what_if(at, &dropping([ended]));
    let found = &answer.differences;
    assert_eq!(kinds(&found.appeared), [("time_reached", 1)]);
    assert_eq!(kinds(&found.changed), [("run_failed", 1)]);
    assert_eq!(kinds(&found.vanished), [("outcome_observed", 1)]);
    let timer = found.appeared.first[0].fork.as_ref().expect("a timer");
    let asked_at = server.event(at).context.at;
    assert_eq!(timer.context.at, asked_at.plus(5 * SECOND));
}

#[test]
fn a_dropped_cancel_lets_the_run_end() {
    let mut server = Server::start(settings(5));
    server.ask_run(request(1));
    let reason = String::new();
    let run = run_id(1);
    server.tell(Event::CancelRequested(CancelRequested { run, reason }));
    server.pass(10 * SECOND);
    server.ask_run(request(4));
    server.pass(10 * SECOND);
    let at = server.find(|event| matches!(event, Event::CancelRequested(_)));
    let answer = server.what_if(at, &dropping([at]));
    assert_eq!(kinds(&answer.differences.changed), [("run_completed", 1)]);
    let end = answer.differences.runs[&run_id(1)]
        .fork
        .clone()
        .expect("an end");
    assert_eq!(end.basis, Basis::Recomputed);
}

#[test]
fn a_replaced_request_has_a_result_of_its_own() {
    let mut server = Server::start(settings(5));
    server.ask_run(request(1));
    server.pass(10 * SECOND);
    server.ask_run(request(2));
    let at = server.find(asks(1));
    let mut other = request(1);
    other.seed = 3;
    let mut edits = Edits::default();
    edits.replace.insert(at, Event::RunRequested(other.clone()));
    let answer = server.what_if(at, &edits);
    let found = &answer.differences;
    assert_eq!(found.divergence, Some(at));
    let changed = [
        ("outcome_observed", 1),
        ("run_completed", 1),
        ("run_requested", 1),
    ];
    assert_eq!(kinds(&found.changed), changed);
    let Outcome::Completed { result_hash, .. } = result_of(other.spec_hash, 3) else {
        panic!("a result");
    };
    let end = found.runs[&run_id(1)].fork.clone().expect("an end");
    assert_eq!(end.result_hash, Some(result_hash));
}

#[test]
fn an_injected_request_is_decided_and_computed() {
    let mut server = Server::start(settings(1));
    server.ask_run(request(4));
    server.pass(10 * SECOND);
    server.ask_run(request(1));
    server.pass(10 * SECOND);
    server.ask_run(request(10));
    server.pass(SECOND);
    let at = server.find(asks(1));
    let mut edits = Edits::default();
    edits
        .inject
        .insert(Seq(at.0 - 1), vec![Event::RunRequested(request(7))]);
    let answer = server.what_if(at, &edits);
    let found = &answer.differences;
    // It takes the only place, from the moment that the one before ended.
    assert_eq!(found.appeared.types.get("run_requested"), Some(&1));
    let end = found.runs[&run_id(7)].fork.clone().expect("an end");
    assert_eq!((end.kind, end.basis), ("run_completed", Basis::Recomputed));
    assert_eq!(found.appeared.first[0].basis, Basis::Edited);
}

#[test]
fn a_shorter_memory_of_keys_admits_the_repeated_request() {
    let mut server = Server::start(settings(5));
    let key = Some(Idempotency {
        key: [1; 16],
        body: digest(3),
    });
    for n in [1, 4] {
        let mut asked = request(n);
        asked.idempotency = key;
        server.ask_run(asked);
        server.pass(10 * SECOND);
    }
    server.ask_run(request(7));
    server.pass(10 * SECOND);
    let at = server.find(asks(1));
    let mut edits = Edits::default();
    edits
        .settings
        .insert("runs.idempotency_ttl_ms".to_owned(), 2_000);
    let answer = server.what_if(at, &edits);
    assert_eq!(kinds(&answer.differences.changed), [("run_admitted", 1)]);
    let was = answer.differences.runs[&run_id(4)]
        .baseline
        .clone()
        .expect("an end");
    assert_eq!(was.kind, "run_deduplicated");
}

#[test]
fn a_shifted_clock_alone_is_no_difference_but_moves_what_depends_on_it() {
    let mut server = Server::start(settings(5));
    let mut asked = request(1);
    asked.deadline_micros = 30 * SECOND;
    server.ask_run(asked.clone());
    let at = server.find(asks(1)).next().next();
    server.ask_run(request(4));
    let shifted = |micros: i64| Edits {
        shift_micros: micros,
        ..Edits::default()
    };
    server.pass(10 * SECOND);
    let little = server.what_if(at, &shifted(1_000_000));
    assert_eq!(little.differences.divergence, None);
    assert_eq!(little.fork.at(), server.state().at().plus(SECOND));
    // The deadline of a run that was asked for before stays where it is.
    let much = server.what_if(at, &shifted(60_000_000));
    let end = much.differences.runs[&run_id(1)]
        .fork
        .clone()
        .expect("an end");
    assert_eq!(end.kind, "run_failed");
    // Earlier than the last event, time stands.
    let back = server.what_if(at, &shifted(-3_600_000_000));
    assert_eq!(back.differences.divergence, None);
}

fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(tree(&path)),
            false => found.push((
                path.display().to_string(),
                std::fs::read(&path).expect("a file"),
            )),
        }
    }
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_question_has_the_same_answer_and_nothing_is_written(
        seed in any::<u64>(), picks in prop::collection::vec(any::<Index>(), 1..4), max in 1..9_u64
    ) {
        let server = worked(seed, 50);
        let before = tree(server.dir.path());
        let events = server.events();
        let may = |event: &Event| Edits::may(event).is_ok();
        let observed: Vec<Seq> =
            events.iter().filter(|e| e.event().is_some_and(may)).map(|e| e.seq()).collect();
        let pick = |index: &Index| *index.get(&observed);
        let mut edits = limited(max);
        edits.drop = picks.iter().map(pick).collect();
        let at = *edits.drop.first().expect("one");
        let (one, other) = (server.what_if(at, &edits), server.what_if(at, &edits));
        prop_assert_eq!(&one.differences, &other.differences);
        prop_assert_eq!(one.fork.dump(), other.fork.dump());
        prop_assert_eq!(&one.operations, &other.operations);
        prop_assert!(tree(server.dir.path()) == before, "something was written");
        // What is open in the fork is counted as open.
        let waiting = one.fork.runs().filter(|(_, run)| run.spec.is_some()).count();
        prop_assert_eq!(one.fork.in_flight() as usize, waiting);
    }

    #[test]
    fn without_anything_that_is_observed_the_state_stays(seed in any::<u64>(), start in any::<Index>()) {
        let server = worked(seed, 40);
        let events = server.events();
        let may = |event: &Event| Edits::may(event).is_ok();
        let observed: Vec<Seq> =
            events.iter().filter(|e| e.event().is_some_and(may)).map(|e| e.seq()).collect();
        let index = start.index(observed.len());
        let at = observed[index];
        let edits = dropping(observed[index..].iter().copied());
        let asked = question(at, server.head(), &edits);
        let answer = server.try_what_if(&alone(asked)).expect("an answer");
        let before = server.before(at);
        // What was open and was cancelled ends by itself now. An outcome that came behind the
        // cancellation was nobody's.
        let cancelled: BTreeSet<_> = events
            .iter()
            .filter_map(|recorded| match recorded.event() {
                Some(Event::RunCancelled(cancelled)) => Some(cancelled.run),
                Some(_) | None => None,
            })
            .collect();
        // Deadlines pass all the same; nothing else is left that could happen.
        let open: BTreeSet<_> = before.runs().map(|(run, _)| run).collect();
        for (run, open_still) in answer.fork.runs() {
            prop_assert!(open.contains(&run));
            prop_assert_eq!(Some(open_still), before.run(run));
        }
        for run in open {
            let deadline = before.run(run).and_then(|open| open.deadline);
            let passed = deadline.is_some_and(|at| at <= answer.fork.at());
            let stays = answer.fork.run(run).is_some();
            prop_assert!(stays != passed || deadline.is_some() || cancelled.contains(&run));
        }
        prop_assert_eq!(answer.fork.settings(), before.settings());
        prop_assert_eq!(answer.fork.datasets().len(), before.datasets().len());
        let completed = |state: &hindcast_model::State| -> u64 {
            state.totals().map(|(_, totals)| totals.tally.completed).sum()
        };
        let ends_anew = before.runs().filter(|(run, _)| cancelled.contains(run)).count() as u64;
        let ended = completed(&before)..=completed(&before) + ends_anew;
        prop_assert!(ended.contains(&completed(&answer.fork)));
    }
}

#[test]
fn a_run_whose_cancellation_is_dropped_ends_by_itself() {
    // Found by the property above: the cancelled run is open at the fork and has no outcome.
    let server = worked(6_793_509_504_906_834_000, 40);
    let at = Seq(39);
    let events = server.events();
    let cancelled = |event: &Event| matches!(event, Event::CancelRequested(_));
    let asked = events.iter().find(|recorded| recorded.seq() == at);
    assert!(
        asked
            .and_then(|recorded| recorded.event())
            .is_some_and(cancelled)
    );
    let answer = server.what_if(at, &dropping([at]));
    let found = &answer.differences;
    assert_eq!(kinds(&found.vanished), [("cancel_requested", 1)]);
    assert_eq!(kinds(&found.appeared), [("outcome_observed", 1)]);
    // It ends all the same, otherwise.
    assert_eq!(kinds(&found.changed), [("run_completed", 1)]);
    assert_eq!((answer.counts.recomputed, answer.counts.modelled), (1, 0));
}

#[test]
fn a_result_that_was_taken_over_is_computed_where_its_origin_is_gone() {
    let mut server = Server::start(settings(5));
    let origin = server.immediate(request(1), None);
    server.submit(vec![origin]);
    let at = server.find(asks(1));
    let asked = request(1);
    let Outcome::Completed { result_hash, .. } = result_of(asked.spec_hash, asked.seed) else {
        panic!("a result");
    };
    let mut repeated = request(21);
    (repeated.spec, repeated.spec_hash, repeated.seed) = (asked.spec, asked.spec_hash, asked.seed);
    server.ask_run(repeated);
    let reused = Outcome::Reused {
        original: run_id(1),
        result_hash,
        schema: 1,
        algorithm_version: "test/1".to_owned(),
    };
    server.tell(crate::support::outcome(run_id(21), reused, 5));
    let answer = server.what_if(at, &dropping([at]));
    let changed = &answer.differences.changed;
    assert_eq!(kinds(changed), [("outcome_observed", 1)]);
    assert_eq!(changed.first[0].basis, Basis::Recomputed);
    let completed = |event: &Event| matches!(event, Event::RunCompleted(RunCompleted { run, .. }) if *run == run_id(21));
    assert!(server.find(completed) > at);
}
