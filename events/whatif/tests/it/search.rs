//! What brought an outcome, and when it was too late.

use hindcast_model::{Event, Seq};
use hindcast_whatif::{Edits, Outcome, Question, WhatIfError, minimise, point_of_no_return};

use crate::support::{SECOND, Server, question, request, run_id, settings};

fn refused(server: &Server) -> (Seq, Outcome) {
    let seq = server.find(|event| matches!(event, Event::RunRefused(_)));
    let outcome = Outcome::of(&server.event(seq)).expect("known");
    (seq, outcome)
}

/// Three runs at once where two may be, among others that do not matter.
fn full() -> Server {
    let mut server = Server::start(settings(2));
    for n in 100..110 {
        server.ask_run(request(n));
        server.pass(10 * SECOND);
    }
    for n in [1, 2, 3] {
        server.ask_run(request(n));
    }
    server.pass(10 * SECOND);
    server
}

fn asked(server: &Server, n: u64) -> Seq {
    server.find(|event| matches!(event, Event::RunRequested(asked) if asked.run == run_id(n)))
}

#[test]
fn the_requests_that_filled_the_queue_are_what_refused_the_next() {
    let server = full();
    let (seq, outcome) = refused(&server);
    let at = asked(&server, 100);
    let edits = Edits::default();
    let told = question(at, server.head(), &edits);
    let found =
        minimise(&server.reader(), server.before(at), &told, &outcome, 1_000).expect("found");
    assert_eq!(found.outcome, seq);
    assert!(found.complete);
    let expected: Vec<Seq> = [1, 2, 3].map(|n| asked(&server, n)).to_vec();
    assert_eq!(found.events.len(), expected.len(), "{found:?}");
    // Any two runs that are still open do: the smallest set need not be the nearest one.
    assert!(found.events.contains(&expected[2]));
    for left_out in &found.events {
        let kept = found.events.iter().filter(|seq| *seq != left_out);
        let kept: Vec<Seq> = kept.copied().collect();
        let all = server.events();
        let drop = all.iter().filter(|recorded| {
            let may = recorded
                .event()
                .is_some_and(|event| Edits::may(event).is_ok());
            may && recorded.seq() >= at && recorded.seq() <= seq && !kept.contains(&recorded.seq())
        });
        let edits = Edits {
            drop: drop.map(hindcast_log::Recorded::seq).collect(),
            ..Edits::default()
        };
        let answer = server
            .try_what_if(&Question {
                to: seq,
                ..question(at, seq, &edits)
            })
            .expect("an answer");
        let totals = answer.fork.totals();
        assert_eq!(
            totals.map(|(_, t)| t.tally.refused).sum::<u64>(),
            0,
            "{left_out}"
        );
    }
    let few = minimise(&server.reader(), server.before(at), &told, &outcome, 2).expect("found");
    assert!(!few.complete);
}

#[test]
fn the_limit_could_be_raised_until_the_request_itself() {
    let server = full();
    let (seq, outcome) = refused(&server);
    let at = asked(&server, 100);
    let mut edits = Edits::default();
    edits.settings.insert("runs.in_flight_max".to_owned(), 3);
    let told = question(at, server.head(), &edits);
    let found =
        point_of_no_return(&server.reader(), server.before(at), &told, &outcome).expect("found");
    assert_eq!((found.outcome, found.last), (seq, Some(asked(&server, 3))));
    assert_eq!((found.too_late, found.exceptions.len()), (None, 0));
    assert!((found.share - 1.0).abs() < f64::EPSILON);
    edits.settings.insert("runs.in_flight_max".to_owned(), 2);
    let told = question(at, server.head(), &edits);
    let never =
        point_of_no_return(&server.reader(), server.before(at), &told, &outcome).expect("found");
    assert_eq!((never.last, never.too_late), (None, Some(at)));
}

#[test]
fn what_cannot_be_searched_is_refused_by_name() {
    let server = full();
    let (_, outcome) = refused(&server);
    let at = asked(&server, 100);
    let edits = Edits {
        drop: [at].into(),
        ..Edits::default()
    };
    let told = question(at, server.head(), &edits);
    let refusal = point_of_no_return(&server.reader(), server.before(at), &told, &outcome);
    assert!(matches!(refusal, Err(WhatIfError::Bad { field, .. }) if field == "edits"));
    let edits = Edits::default();
    let late = server.head();
    let told = question(late, late, &edits);
    let refusal = minimise(&server.reader(), server.before(late), &told, &outcome, 9);
    assert!(matches!(refusal, Err(WhatIfError::Bad { field, .. }) if field == "outcome"));
}
