//! Given events, when something is observed, then this is decided: one test for every decision.

mod support;

use hindcast_model::event::{
    ActorRestarted, DatasetRefused, DatasetRegistered, ExperimentAdmitted, ExperimentCompleted,
    ExperimentRefused, IntakePaused, IntakeResumed, RequestsShed, RunAdmitted, RunCancelled,
    RunCompleted, RunDeduplicated, RunFailed, RunRefused, RunRequested, ServerStarted,
    ServerStopped, Settings, Tally,
};
use hindcast_model::limits::{EXPERIMENT_RUNS_MAX, EXPERIMENTS_OPEN_MAX, TIMERS_MAX};
use hindcast_model::{Event, Name16, Refusal, Stream, UnixMicros};
use support::*;

fn admitted(n: u32) -> Vec<Event> {
    vec![Event::RunAdmitted(RunAdmitted { run: run(n) })]
}

fn refused(n: u32, refusal: Refusal) -> Event {
    let run = run(n);
    Event::RunRefused(RunRefused { run, refusal })
}

fn ran_out(n: u32) -> Event {
    let code = "deadline_exceeded".to_owned();
    Event::RunFailed(RunFailed { run: run(n), code })
}

fn ended(n: u32, tally: Tally) -> Event {
    let experiment = experiment(n);
    Event::ExperimentCompleted(ExperimentCompleted { experiment, tally })
}

fn few_runs(runs_in_flight_max: u32) -> Story {
    Story::with(Settings {
        runs_in_flight_max,
        ..Settings::default()
    })
}

fn reserve(disk_reserve_bytes: u64) -> Story {
    Story::with(Settings {
        disk_reserve_bytes,
        ..Settings::default()
    })
}

#[test]
fn request_is_admitted_and_waits() {
    let mut story = Story::default();
    assert_eq!(story.when(request(1)), admitted(1));
    assert_eq!(story.state.in_flight(), 1);
    assert_eq!(story.state.pending().count(), 1);
    assert_eq!(story.state.run(run(1)).map(|run| run.seed), Some(1));
}

#[test]
fn immediate_run_is_admitted_and_never_dispatched() {
    let mut story = few_runs(0);
    assert_eq!(story.when(immediate(1)), admitted(1));
    assert_eq!(story.state.in_flight(), 0);
    assert_eq!(story.state.pending().count(), 0);
    assert_eq!(names(&story.when(completed(1))), ["run_completed"]);
}

#[test]
fn run_that_is_open_is_refused_and_stays_as_it_is() {
    let mut story = Story::given([request(1)]);
    let before = story.state.run(run(1)).cloned();
    let second = Event::RunRequested(RunRequested {
        seed: 99,
        ..plain(1)
    });
    assert_eq!(story.when(second), [refused(1, Refusal::RunExists(run(1)))]);
    assert_eq!(story.state.run(run(1)).cloned(), before);
    assert_eq!(
        story.placed(2),
        [
            "run_requested system/unclaimed",
            "run_refused system/unclaimed"
        ]
    );
    assert_eq!(story.state.version(Stream::run(run(1))), 2);
}

#[test]
fn full_queue_refuses_with_its_limit_and_takes_work_again_after_an_end() {
    let mut story = few_runs(2);
    story.when(request(1));
    story.when(request(2));
    let full = Refusal::QueueFull {
        in_flight: 2,
        limit: 2,
    };
    assert_eq!(story.when(request(3)), [refused(3, full)]);
    story.when(completed(1));
    assert_eq!(story.when(request(4)), admitted(4));
}

#[test]
fn run_over_an_unknown_dataset_is_refused() {
    let mut story = Story::given([upload(1, None)]);
    let over = |n, datasets| {
        Event::RunRequested(RunRequested {
            datasets,
            ..plain(n)
        })
    };
    assert_eq!(story.when(over(1, vec![digest(1)])), admitted(1));
    assert_eq!(
        story.when(over(2, vec![digest(1), digest(2)])),
        [refused(2, Refusal::UnknownDataset(digest(2)))]
    );
}

#[test]
fn refused_run_leaves_nothing_but_its_count() {
    let mut story = few_runs(0);
    let before = story.state.dump().lines().count();
    story.when(request(1));
    assert_eq!(story.state.runs().count(), 0);
    assert_eq!(story.state.version(Stream::run(run(1))), 0);
    assert_eq!(story.state.dump().lines().count(), before + 1, "its totals");
    assert_eq!(
        story.placed(1),
        [
            format!("run_requested run/{}", run(1)),
            format!("run_refused run/{}", run(1))
        ]
    );
}

#[test]
fn same_key_and_body_is_answered_with_the_earlier_run() {
    let mut story = Story::given([keyed(1, key(1, 1))]);
    let repeats = |n| {
        let (run, original) = (run(n), run(1));
        [Event::RunDeduplicated(RunDeduplicated { run, original })]
    };
    assert_eq!(story.when(keyed(2, key(1, 1))), repeats(2));
    story.when(completed(1));
    assert_eq!(story.when(keyed(3, key(1, 1))), repeats(3));
    assert_eq!(story.state.runs().count(), 0);
    let (_, totals) = story.state.totals().next().expect("an operation");
    assert_eq!((totals.requested, totals.tally.deduplicated), (3, 2));
}

#[test]
fn request_that_repeats_itself_while_it_is_open_is_the_same_request() {
    let mut story = Story::given([keyed(1, key(1, 1))]);
    let decided = story.when(keyed(1, key(1, 1)));
    assert_eq!(names(&decided), ["run_deduplicated"]);
    assert_eq!(story.state.runs().count(), 1);
    assert_eq!(story.state.version(Stream::run(run(1))), 2);
}

#[test]
fn same_key_with_another_body_is_refused() {
    let mut story = Story::given([keyed(1, key(1, 1))]);
    let reused = Refusal::IdempotencyKeyReused;
    assert_eq!(story.when(keyed(2, key(1, 2))), [refused(2, reused)]);
}

#[test]
fn key_of_another_kind_of_request_is_refused() {
    let mut story = Story::given([keyed(1, key(1, 1)), upload(1, key(2, 1))]);
    let reused = Refusal::IdempotencyKeyReused;
    assert_eq!(
        story.when(keyed(2, key(2, 1))),
        [refused(2, reused.clone())]
    );
    assert_eq!(
        story.when(upload(2, key(1, 1))),
        [Event::DatasetRefused(DatasetRefused {
            digest: digest(2),
            refusal: reused.clone()
        })]
    );
    assert_eq!(
        story.when(series(1, [7], key(1, 1))),
        [Event::ExperimentRefused(ExperimentRefused {
            experiment: experiment(1),
            refusal: reused
        })]
    );
}

#[test]
fn keys_belong_to_who_used_them() {
    let mut story = Story::given([keyed(1, key(1, 1))]);
    story.principal = Name16::new("grace");
    assert_eq!(story.when(keyed(2, key(1, 2))), admitted(2));
}

#[test]
fn key_of_a_refused_request_is_not_remembered() {
    let mut story = few_runs(0);
    story.when(keyed(1, key(1, 1)));
    assert_eq!(story.state.idempotency_entries(), 0);
}

#[test]
fn key_is_forgotten_a_day_later_even_if_nothing_happened_in_between() {
    let mut story = Story::given([keyed(1, key(1, 1))]);
    story.later(24 * HOUR - 1);
    assert_eq!(
        names(&story.when(keyed(2, key(1, 1)))),
        ["run_deduplicated"]
    );
    story.later(1);
    assert_eq!(story.when(keyed(3, key(1, 2))), admitted(3));
    assert_eq!(story.state.idempotency_entries(), 1);
    let who = Name16::new("ada");
    assert!(!story.state.knows_key(who, [99; 16]), "nobody sent it");
}

#[test]
fn oldest_key_is_forgotten_when_there_are_too_many() {
    let mut story = Story::with(Settings {
        idempotency_entries_max: 2,
        ..Settings::default()
    });
    for n in 1..=3_u8 {
        story.when(keyed(u32::from(n), key(n, 1)));
    }
    assert_eq!(story.state.idempotency_entries(), 2);
    assert_eq!(
        names(&story.when(keyed(4, key(3, 1)))),
        ["run_deduplicated"]
    );
    assert_eq!(story.when(keyed(5, key(1, 9))), admitted(5));
}

#[test]
fn outcome_ends_its_run_and_is_counted() {
    let mut story = Story::given([request(1), request(2)]);
    assert_eq!(
        story.when(completed(1)),
        [Event::RunCompleted(RunCompleted {
            run: run(1),
            result_hash: digest(2)
        })]
    );
    assert_eq!(
        story.when(failed(2, "panicked")),
        [Event::RunFailed(RunFailed {
            run: run(2),
            code: "panicked".to_owned()
        })]
    );
    let (name, totals) = story.state.totals().next().expect("an operation");
    assert_eq!(name, "causal.discover");
    assert_eq!((totals.tally.completed, totals.tally.failed), (1, 1));
    assert_eq!((totals.queued_micros, totals.computed_micros), (10, 140));
    assert_eq!(story.state.in_flight(), 0);
}

#[test]
fn second_outcome_changes_nothing_and_goes_unclaimed() {
    let mut story = Story::given([request(1), completed(1)]);
    let totals = |story: &Story| story.state.totals().next().map(|(_, totals)| *totals);
    let before = totals(&story);
    assert_eq!(story.when(completed(1)), []);
    assert_eq!(story.when(failed(1, "internal")), []);
    assert_eq!(totals(&story), before);
    assert_eq!(
        story.placed(4),
        ["outcome_observed system/unclaimed"; 2].map(str::to_owned)
    );
}

#[test]
fn cancel_ends_a_run_once() {
    let mut story = Story::given([until(1, SECOND)]);
    let cancelled = [Event::RunCancelled(RunCancelled { run: run(1) })];
    assert_eq!(story.when(cancel(1)), cancelled);
    assert_eq!(story.state.next_timer(), None);
    assert_eq!(story.when(cancel(1)), []);
    assert_eq!(story.when(completed(1)), [], "the late result");
    assert_eq!(
        story.placed(4),
        [
            "cancel_requested system/unclaimed",
            "outcome_observed system/unclaimed"
        ]
    );
}

#[test]
fn deadline_fails_the_run_when_its_moment_has_come_and_not_before() {
    let mut story = Story::given([until(1, SECOND), request(2)]);
    assert_eq!(story.state.next_timer(), Some(UnixMicros(START + SECOND)));
    story.later(SECOND - 1);
    assert_eq!(story.when(tick()), []);
    story.later(1);
    assert_eq!(story.when(tick()), [ran_out(1)]);
    assert_eq!(story.state.next_timer(), None);
    assert_eq!(story.state.runs().count(), 1);
}

#[test]
fn many_deadlines_are_met_in_turns_and_the_experiment_ends_with_the_last() {
    let count = u32::try_from(TIMERS_MAX).expect("small") + 10;
    let mut story = Story::given([series(1, 0..count, None)]);
    for n in 0..count {
        story.when(Event::RunRequested(RunRequested {
            deadline_micros: SECOND + u64::from(n),
            ..within(n, 1)
        }));
    }
    story.later(HOUR);
    let first = story.when(tick());
    assert_eq!(first, (0..128).map(ran_out).collect::<Vec<_>>());
    assert!(
        story
            .state
            .next_timer()
            .is_some_and(|due| due.0 < story.now)
    );
    let second = story.when(tick());
    let failed = u64::from(count);
    let tally = Tally {
        failed,
        ..Tally::default()
    };
    let expected = (128..count).map(ran_out).chain([ended(1, tally)]);
    assert_eq!(second, expected.collect::<Vec<_>>());
    assert_eq!(story.when(tick()), []);
    assert_eq!(story.state.experiments().len(), 0);
}

#[test]
fn deadlines_of_several_experiments_in_one_moment_complete_each_of_them() {
    let mut story = Story::given([series(1, [1, 2], None), series(2, [3], None)]);
    for (n, of) in [(1, 1), (2, 1), (3, 2)] {
        story.when(Event::RunRequested(RunRequested {
            deadline_micros: SECOND,
            ..within(n, of)
        }));
    }
    story.when(cancel(1));
    story.later(SECOND);
    let one = Tally {
        failed: 1,
        ..Tally::default()
    };
    let with_cancel = Tally {
        cancelled: 1,
        ..one
    };
    assert_eq!(
        story.when(tick()),
        [ran_out(2), ran_out(3), ended(1, with_cancel), ended(2, one)]
    );
}

#[test]
fn dataset_is_registered_and_known_the_second_time() {
    let mut story = Story::default();
    let registered = |known| {
        let digest = digest(1);
        [Event::DatasetRegistered(DatasetRegistered {
            digest,
            known,
        })]
    };
    assert_eq!(story.when(upload(1, None)), registered(false));
    let meta = story.state.dataset(digest(1)).cloned();
    story.later(HOUR);
    assert_eq!(story.when(upload(1, key(1, 1))), registered(true));
    assert_eq!(story.when(upload(1, key(1, 1))), registered(true));
    assert_eq!(story.state.dataset(digest(1)).cloned(), meta);
    assert_eq!(story.state.version(Stream::dataset(digest(1))), 5);
    assert_eq!(story.log[0].stream, Stream::system("datasets"));
}

#[test]
fn dataset_under_a_key_of_another_one_is_refused_and_leaves_nothing() {
    let mut story = Story::given([upload(1, key(1, 1))]);
    let decided = story.when(upload(2, key(1, 1)));
    assert_eq!(names(&decided), ["dataset_refused"]);
    assert_eq!(story.state.datasets().len(), 1);
    assert_eq!(story.state.version(Stream::dataset(digest(2))), 0);
    // Its own stream begins when it is taken after all, so that no version stands there twice.
    story.when(upload(2, None));
    assert_eq!(
        story.placed(2),
        [
            "dataset_uploaded system/datasets".to_owned(),
            "dataset_refused system/datasets".to_owned(),
            "dataset_uploaded system/datasets".to_owned(),
            format!("dataset_registered {}", Stream::dataset(digest(2))),
        ]
    );
}

#[test]
fn experiment_completes_with_its_last_run_however_the_runs_end() {
    let mut story = Story::given([upload(1, None)]);
    let decided = story.when(series(1, 1..=4, None));
    assert_eq!(
        decided,
        [Event::ExperimentAdmitted(ExperimentAdmitted {
            experiment: experiment(1),
            original: None
        })]
    );
    for n in 1..=3 {
        assert_eq!(story.when(Event::RunRequested(within(n, 1))), admitted(n));
    }
    let unknown = Event::RunRequested(RunRequested {
        datasets: vec![digest(2)],
        ..within(4, 1)
    });
    assert_eq!(names(&story.when(unknown)), ["run_refused"]);
    assert_eq!(names(&story.when(completed(1))), ["run_completed"]);
    assert_eq!(names(&story.when(failed(2, "invalid"))), ["run_failed"]);
    let tally = Tally {
        completed: 1,
        failed: 1,
        cancelled: 1,
        refused: 1,
        deduplicated: 0,
    };
    let last = [
        Event::RunCancelled(RunCancelled { run: run(3) }),
        ended(1, tally),
    ];
    assert_eq!(story.when(cancel(3)), last);
    assert_eq!(story.state.experiments().len(), 0);
    assert_eq!(story.state.experiments_total(), 1);
    assert_eq!(story.state.version(Stream::experiment(experiment(1))), 0);
}

#[test]
fn experiment_whose_last_run_is_refused_completes_at_once() {
    let mut story = Story::given([series(1, [1], None)]);
    let unknown = Event::RunRequested(RunRequested {
        datasets: vec![digest(2)],
        ..within(1, 1)
    });
    let decided = story.when(unknown);
    assert_eq!(names(&decided), ["run_refused", "experiment_completed"]);
    assert_eq!(story.state.experiments().len(), 0);
}

#[test]
fn experiment_whose_last_run_repeats_an_earlier_one_completes_at_once() {
    let mut story = Story::given([keyed(9, key(1, 1)), series(1, [1, 2], None)]);
    let repeated = |n, body| {
        Event::RunRequested(RunRequested {
            idempotency: key(1, body),
            ..within(n, 1)
        })
    };
    assert_eq!(names(&story.when(repeated(1, 1))), ["run_deduplicated"]);
    let tally = Tally {
        refused: 1,
        deduplicated: 1,
        ..Tally::default()
    };
    assert_eq!(
        story.when(repeated(2, 2)),
        [refused(2, Refusal::IdempotencyKeyReused), ended(1, tally)]
    );
    assert_eq!(story.state.experiments().len(), 0);
}

#[test]
fn second_request_for_a_run_of_an_experiment_does_not_end_the_experiment() {
    let mut story = Story::given([series(1, [1], None), Event::RunRequested(within(1, 1))]);
    let again = story.when(Event::RunRequested(within(1, 1)));
    assert_eq!(names(&again), ["run_refused"]);
    assert_eq!(story.state.experiments().len(), 1);
    let decided = story.when(completed(1));
    assert_eq!(names(&decided), ["run_completed", "experiment_completed"]);
}

#[test]
fn run_that_an_experiment_does_not_list_is_no_part_of_it() {
    let mut story = few_runs(1);
    story.when(series(1, [1], None));
    story.when(Event::RunRequested(within(1, 1)));
    let full = Refusal::QueueFull {
        in_flight: 1,
        limit: 1,
    };
    let stranger = story.when(Event::RunRequested(within(2, 1)));
    assert_eq!(stranger, [refused(2, full)]);
    assert_eq!(story.state.experiments().len(), 1);
}

#[test]
fn run_listed_twice_counts_once() {
    let mut story = Story::given([series(1, [1, 1], None), Event::RunRequested(within(1, 1))]);
    story.when(Event::RunRequested(within(1, 1)));
    let decided = story.when(completed(1));
    assert_eq!(names(&decided), ["run_completed", "experiment_completed"]);
}

#[test]
fn experiment_of_no_run_or_too_many_is_refused() {
    let mut story = Story::default();
    let over = u32::try_from(EXPERIMENT_RUNS_MAX).expect("small") + 1;
    for runs in [0, over] {
        let decided = story.when(series(1, 0..runs, None));
        let refusal = Refusal::TooMany {
            what: "runs of an experiment".to_owned(),
            count: u64::from(runs),
            limit: 256,
        };
        let experiment = experiment(1);
        let refused = ExperimentRefused {
            experiment,
            refusal,
        };
        assert_eq!(decided, [Event::ExperimentRefused(refused)]);
    }
    assert_eq!(story.state.experiments_total(), 0);
    assert_eq!(story.state.version(Stream::experiment(experiment(1))), 0);
}

#[test]
fn experiment_over_the_queue_or_the_open_ones_is_refused_as_a_whole() {
    let mut story = few_runs(3);
    story.when(request(1));
    let decided = story.when(series(1, 2..=4, None));
    assert_eq!(names(&decided), ["experiment_refused"]);
    assert_eq!(
        names(&story.when(series(2, 2..=3, None))),
        ["experiment_admitted"]
    );

    let mut story = Story::default();
    for n in 0..u32::try_from(EXPERIMENTS_OPEN_MAX).expect("small") {
        story.when(series(n, [n], None));
    }
    let decided = story.when(series(999, [999], None));
    let refusal = Refusal::TooMany {
        what: "open experiments".to_owned(),
        count: 257,
        limit: 256,
    };
    let experiment = experiment(999);
    let refused = ExperimentRefused {
        experiment,
        refusal,
    };
    assert_eq!(decided, [Event::ExperimentRefused(refused)]);
}

#[test]
fn experiment_under_a_known_key_is_the_earlier_one() {
    let mut story = Story::given([series(1, [1], key(1, 1))]);
    let same = |n| {
        [Event::ExperimentAdmitted(ExperimentAdmitted {
            experiment: experiment(n),
            original: Some(experiment(1)),
        })]
    };
    let decided = story.when(series(2, [2], key(1, 1)));
    assert_eq!(decided, same(2));
    assert!(decided[0].ends_submission());
    assert_eq!(story.state.experiments().len(), 1);
    assert_eq!(story.when(series(1, [1], key(1, 1))), same(1));
    assert_eq!(story.when(series(1, [1], None)), same(1));
    assert_eq!(
        names(&story.when(series(1, [1], key(1, 2)))),
        ["experiment_refused"]
    );
    let open = story.state.experiment(experiment(1));
    assert_eq!(open.map(|open| open.remaining), Some(1));
    assert_eq!(story.state.version(Stream::experiment(experiment(1))), 8);
    assert!(story.state.dump().contains("proposed None"));
}

#[test]
fn low_disk_pauses_the_intake_and_only_clearly_more_space_resumes_it() {
    let mut story = reserve(1_000);
    story.when(request(1));
    assert_eq!(story.when(disk(1_000)), []);
    let (free_bytes, reserve_bytes) = (999, 1_000);
    let paused = IntakePaused {
        free_bytes,
        reserve_bytes,
    };
    assert_eq!(story.when(disk(999)), [Event::IntakePaused(paused)]);
    assert_eq!(story.when(disk(500)), [], "it is paused already");
    assert_eq!(story.when(disk(1_249)), [], "not enough to resume");
    let low = Refusal::DiskLow {
        free_bytes,
        reserve_bytes,
    };
    assert_eq!(story.when(request(2)), [refused(2, low)]);
    assert_eq!(names(&story.when(upload(1, None))), ["dataset_refused"]);
    assert_eq!(
        names(&story.when(series(1, [5], None))),
        ["experiment_refused"]
    );
    assert_eq!(names(&story.when(completed(1))), ["run_completed"]);
    assert_eq!(
        story.when(disk(1_250)),
        [Event::IntakeResumed(IntakeResumed {})]
    );
    assert_eq!(story.when(request(3)), admitted(3));
}

#[test]
fn dataset_that_is_known_is_known_on_a_full_disk_too() {
    let mut story = reserve(1_000);
    story.when(upload(1, None));
    story.when(disk(0));
    assert_eq!(names(&story.when(upload(1, None))), ["dataset_registered"]);
}

#[test]
fn counts_from_outside_never_overflow() {
    let shed = Event::RequestsShed(RequestsShed {
        overloaded: u64::MAX,
        malformed: u64::MAX,
        unauthenticated: 1,
    });
    let mut story = Story::given([shed, request(1)]);
    let mut slow = completed(1);
    if let Event::OutcomeObserved(outcome) = &mut slow {
        outcome.queued_micros = u64::MAX;
    }
    story.when(slow);
    story.when(request(2));
    story.when(completed(2));
    assert_eq!(story.state.shed(), u64::MAX);
}

#[test]
fn events_of_the_server_are_told_in_its_streams_and_decide_nothing() {
    let mut story = Story::default();
    let started = Event::ServerStarted(ServerStarted {
        binary_version: "0.1.0".to_owned(),
        decider_version: 1,
        numeric_profile: "test".to_owned(),
        clean: true,
    });
    let restarted = Event::ActorRestarted(ActorRestarted {
        actor: "computation".to_owned(),
        reason: "panicked".to_owned(),
        restarts: 1,
        backoff_micros: 5,
        evidence: String::new(),
    });
    let stopped = Event::ServerStopped(ServerStopped {
        reason: "asked to".to_owned(),
    });
    for event in [started, restarted, stopped] {
        assert_eq!(story.when(event), []);
    }
    assert_eq!(
        story.placed(0),
        [
            "server_started system/server",
            "actor_restarted system/actors",
            "server_stopped system/server"
        ]
    );
    assert!(!story.state.server().running);
    assert_eq!(story.state.server().starts, 1);
    assert_eq!(
        story.state.actor_restarts().collect::<Vec<_>>(),
        [("computation", 1)]
    );
}

#[test]
fn whole_state_as_text() {
    let mut story = Story::with(Settings {
        disk_reserve_bytes: 10,
        ..Settings::default()
    });
    story.when(upload(1, key(2, 2)));
    story.when(series(1, [1, 2], None));
    story.when(Event::RunRequested(RunRequested {
        deadline_micros: SECOND,
        datasets: vec![digest(1)],
        idempotency: key(1, 1),
        ..within(1, 1)
    }));
    story.when(Event::RunRequested(within(2, 1)));
    story.later(500).when(completed(2));
    story.when(disk(3));
    let expected = include_str!("state.txt");
    assert_eq!(
        story.state.dump(),
        expected,
        "tests/state.txt holds the dump"
    );
}
