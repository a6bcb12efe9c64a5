//! Whatever is observed, in whatever order: the core answers, agrees with itself and stays small.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use hindcast_model::event::{
    ClockStepped, MetricsSampled, ObjectivesConfigured, RequestsShed, RunRequested, ServerStarted,
    ServerStopped, Settings,
};
use hindcast_model::limits::TIMERS_MAX;
use hindcast_model::samples::Samples;
use hindcast_model::slo::{SloMeasure, SloObjective, SloPlan, SloPolicy};
use hindcast_model::{Event, State, StreamKind};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use support::*;

/// What happens next: time passes, then something is observed.
type Step = (u64, Event);

fn some_key() -> impl Strategy<Value = Option<hindcast_model::event::Idempotency>> {
    option::weighted(0.4, (0..4_u8, 0..2_u8)).prop_map(|pair| pair.and_then(|(k, b)| key(k, b)))
}

fn some_request() -> impl Strategy<Value = Event> {
    let of = option::weighted(0.5, 0..4_u32);
    let deadline = prop_oneof![Just(0), 1..5 * SECOND, Just(u64::MAX)];
    let datasets = vec(0..4_u8, 0..2);
    (0..24_u32, of, deadline, datasets, any::<bool>(), some_key()).prop_map(
        |(n, of, deadline_micros, datasets, immediate, idempotency)| {
            Event::RunRequested(RunRequested {
                experiment: of.map(experiment),
                deadline_micros,
                datasets: datasets.into_iter().map(digest).collect(),
                immediate,
                idempotency,
                operation: format!("operation {}", n % 3),
                ..plain(n)
            })
        },
    )
}

fn some_outcome() -> impl Strategy<Value = Event> {
    (0..24_u32, any::<bool>(), any::<u64>()).prop_map(|(n, good, micros)| {
        let mut event = if good {
            completed(n)
        } else {
            failed(n, "internal")
        };
        if let Event::OutcomeObserved(outcome) = &mut event {
            outcome.computed_micros = micros;
        }
        event
    })
}

fn some_settings() -> impl Strategy<Value = Event> {
    (0..8_u32, 0..20 * SECOND, 0..4_u64, 0..1_000_u64).prop_map(|(runs, ttl, keys, reserve)| {
        configuration(Settings {
            runs_in_flight_max: runs,
            idempotency_ttl_micros: ttl,
            idempotency_entries_max: keys,
            disk_reserve_bytes: reserve,
        })
    })
}

fn some_server_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<bool>().prop_map(|clean| Event::ServerStarted(ServerStarted {
            binary_version: "0.1.0".to_owned(),
            decider_version: 1,
            numeric_profile: "test".to_owned(),
            clean,
        })),
        Just(Event::ServerStopped(ServerStopped {
            reason: "asked to".to_owned()
        })),
        any::<i64>().prop_map(|step_micros| Event::ClockStepped(ClockStepped {
            step_micros,
            wall: hindcast_model::UnixMicros(START),
            adopted: false,
        })),
        any::<(u64, u64)>().prop_map(|(overloaded, malformed)| Event::RequestsShed(RequestsShed {
            overloaded,
            malformed,
            unauthenticated: 1,
        })),
    ]
}

fn some_figures() -> impl Strategy<Value = Event> {
    (0..300_i64, 0..300_i64, 0..60 * SECOND).prop_map(|(good, bad, span_micros)| {
        let mut values = Samples::default();
        for (number, value) in [(1, good), (4, bad)] {
            values.push(number, value).expect("numbers rise");
        }
        Event::MetricsSampled(MetricsSampled {
            span_micros,
            values,
        })
    })
}

fn some_objectives() -> impl Strategy<Value = Event> {
    (0..3_u32, 1..1_000_000_u32, 1..720_u64).prop_map(|(count, target_ppm, hours)| {
        let objective = |n: u32| SloObjective {
            name: format!("objective {n}"),
            measure: SloMeasure::Ratio {
                good: vec![1],
                valid: vec![1, 4],
            },
            target_ppm,
            window_micros: hours * HOUR,
            freezes: n > 0,
        };
        let plan = SloPlan {
            policy: SloPolicy {
                freeze_below_permille: 100,
                thaw_at_permille: 200,
                bad_minimum: 10,
            },
            objectives: (0..count).map(objective).collect(),
        };
        Event::ObjectivesConfigured(ObjectivesConfigured { plan })
    })
}

fn some_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => some_request(),
        5 => some_outcome(),
        1 => (0..24_u32).prop_map(cancel),
        1 => (0..4_u8, some_key()).prop_map(|(n, key)| upload(n, key)),
        2 => (0..4_u32, vec(0..24_u32, 0..6), some_key())
            .prop_map(|(n, runs, key)| series(n, runs, key)),
        2 => Just(tick()),
        1 => (0..2_000_u64).prop_map(disk),
        1 => some_settings(),
        1 => some_server_event(),
        2 => some_figures(),
        1 => some_objectives(),
        1 => some_key().prop_map(|some| answered(some.or_else(|| key(0, 0)))),
    ]
}

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(
        (prop_oneof![Just(0), 0..3 * SECOND], some_event()),
        0..count,
    )
}

fn check(state: &State) {
    let waiting = state.runs().filter(|(_, run)| run.spec.is_some()).count();
    assert_eq!(state.in_flight() as usize, waiting);
    assert_eq!(state.pending().count(), waiting);
    let first = state.runs().filter_map(|(_, run)| run.deadline).min();
    assert_eq!(state.next_timer(), first);
    check_dump(state);
    for (id, open) in state.experiments() {
        let left: BTreeSet<_> = open.runs.iter().collect();
        assert!(open.remaining <= left.len() as u64);
        assert!(state.version(hindcast_model::Stream::experiment(id)) > 0);
    }
    for (operation, totals) in state.totals() {
        let tally = totals.tally;
        let ended = tally.completed + tally.failed + tally.cancelled;
        let turned_away = tally.refused + tally.deduplicated;
        let open = state.runs().filter(|(_, run)| run.operation == operation);
        assert!(ended + turned_away + open.count() as u64 <= totals.requested);
    }
}

/// What only the dump shows: deadlines and heads stand for open things only.
fn check_dump(state: &State) {
    let dump = state.dump();
    let count = |prefix: &str| dump.lines().filter(|line| line.starts_with(prefix)).count();
    let with_deadline = state.runs().filter(|(_, run)| run.deadline.is_some());
    assert_eq!(count("deadline "), with_deadline.count());
    assert_eq!(count("head run/"), state.runs().count());
    assert_eq!(count("head experiment/"), state.experiments().len());
    assert_eq!(count("head dataset/"), state.datasets().len());
    assert!(count("head system/") <= 10);
    assert_eq!(count("key "), count("order "));
    assert!(
        count("proposed None") == 1,
        "a proposal is answered at once"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_prefix_of_the_log_replays(steps in steps(120)) {
        let mut story = Story::default();
        let mut replayed = State::default();
        let mut done = 0;
        for (micros, event) in steps {
            story.later(micros).when(event);
            for entry in &story.log[done..] {
                let place = replayed.apply(&entry.context, &entry.event);
                prop_assert_eq!(place, (entry.stream, entry.version));
            }
            done = story.log.len();
            prop_assert_eq!(&replayed, &story.state);
            prop_assert_eq!(replayed.seq().0, done as u64);
            check(&story.state);
        }
    }

    #[test]
    fn decisions_are_the_same_twice_and_leave_the_state_alone(steps in steps(60)) {
        let mut story = Story::default();
        for (micros, event) in steps {
            let before = story.state.clone();
            let first = story.clone().later(micros).when(event.clone());
            prop_assert_eq!(&story.state, &before);
            let second = story.later(micros).when(event);
            prop_assert_eq!(&first, &second);
            prop_assert!(first.len() <= 2 * TIMERS_MAX);
            for decided in &first {
                prop_assert!(!decided.kind().observed);
            }
        }
    }

    #[test]
    fn ignorable_kinds_change_nothing_but_the_position(steps in steps(40), micros in 0..SECOND) {
        let mut story = Story::default();
        for (micros, event) in steps {
            story.later(micros).when(event);
        }
        let stepped = Event::ClockStepped(ClockStepped {
            step_micros: 1,
            wall: hindcast_model::UnixMicros(START),
            adopted: true,
        });
        let mut carried = story.clone();
        prop_assert_eq!(story.later(micros).when(stepped), []);
        let entry = story.log.last().expect("just observed");
        carried.state.carry(&entry.context, (entry.stream, entry.version));
        prop_assert_eq!(carried.state, story.state);
    }

    #[test]
    fn nothing_is_left_of_runs_that_have_ended(steps in steps(120)) {
        let mut story = Story::default();
        for (micros, event) in steps {
            story.later(micros).when(event);
        }
        let open: Vec<_> = story.state.runs().map(|(id, _)| id).collect();
        for run in open {
            let mut outcome = failed(0, "internal");
            if let Event::OutcomeObserved(outcome) = &mut outcome {
                outcome.run = run;
            }
            story.when(outcome);
        }
        check(&story.state);
        prop_assert_eq!(story.state.runs().count(), 0);
        prop_assert_eq!(story.state.in_flight(), 0);
        prop_assert_eq!(story.state.next_timer(), None);
        // An experiment stays open only while it waits for runs that were never requested.
        let open = story.state.experiments().filter(|(_, open)| open.remaining == 0);
        prop_assert_eq!(open.count(), 0);
    }
}

#[test]
fn memory_does_not_grow_with_the_number_of_runs() {
    let mut story = Story::given([upload(1, None)]);
    let mut sizes = BTreeMap::new();
    for n in 0..3_000_u32 {
        story.when(until(n, HOUR));
        story.when(if n % 2 == 0 { completed(n) } else { cancel(n) });
        story.log.clear();
        if n % 1_000 == 999 {
            sizes.insert(n, story.state.dump().lines().count());
        }
    }
    let sizes: BTreeSet<usize> = sizes.into_values().collect();
    assert_eq!(sizes.len(), 1, "lines after each thousand runs: {sizes:?}");
}

#[test]
fn every_stream_kind_has_a_number_that_reads_back() {
    for kind in [
        StreamKind::System,
        StreamKind::Run,
        StreamKind::Dataset,
        StreamKind::Experiment,
    ] {
        assert_eq!(StreamKind::from_number(kind.number()), Some(kind));
    }
}
