//! Circuit breakers: what is decided about calls, and that no order of things breaks their promises.

mod support;

use hindcast_model::breaker::{
    BreakerAction, BreakerCause, BreakerPlan, BreakerSettings, BreakerState, ConfiguredBreaker,
    Fallback, Phase,
};
use hindcast_model::event::{
    AlikeCalls, BackupEnded, BackupKind, BackupRequested, BreakerChanged, BreakerCommanded,
    ConfigurationLoaded, DependencyCalled, FallbackTaken, Instead, RunRefused, RunRequested,
    ServerStarted, Service, Settings,
};
use hindcast_model::{BackupId, Digest, Event, Payload, Refusal, Seq, State, UnixMicros};
use proptest::collection::vec;
use proptest::prelude::*;
use support::*;

const NOTEARS: &str = "notears_discovery";
const BOSS: &str = "discovery_boss";
const LOCAL: &str = "backup_local";
const COLLECTOR: &str = "otlp_collector";

/// Quick to open, and exact in time.
fn brisk() -> BreakerSettings {
    BreakerSettings {
        window_calls: 10,
        minimum_calls: 4,
        failure_percent: 50,
        consecutive_failures: 3,
        open_micros: 10 * SECOND,
        open_micros_max: 40 * SECOND,
        jitter_percent: 0,
        half_open_permits: 2,
        permit_micros: 5 * SECOND,
        ..BreakerSettings::default()
    }
}

fn plan(settings: BreakerSettings) -> Event {
    let of = |name: &str, fallbacks: Vec<Fallback>| ConfiguredBreaker {
        name: name.to_owned(),
        settings,
        fallbacks,
    };
    let boss = Fallback {
        to: "boss".to_owned(),
        breaker: BOSS.to_owned(),
    };
    Event::ConfigurationLoaded(ConfigurationLoaded {
        generation: 1,
        hash: Digest::default(),
        document: Payload::Inline("{}".to_owned()),
        settings: Settings::default(),
        breakers: Some(BreakerPlan {
            breakers: vec![
                of(NOTEARS, vec![boss]),
                of(BOSS, Vec::new()),
                of(LOCAL, Vec::new()),
                of(COLLECTOR, Vec::new()),
            ],
        }),
    })
}

fn story(settings: BreakerSettings) -> Story {
    Story::given([plan(settings)])
}

fn by(n: u32, breaker: &str, divert: bool) -> Event {
    Event::RunRequested(RunRequested {
        service: Some(Service {
            breaker: breaker.to_owned(),
            divert,
            cached: false,
            caller_deadline: false,
        }),
        ..plain(n)
    })
}

fn call(n: u32) -> Event {
    by(n, NOTEARS, false)
}

fn state(story: &Story, name: &str) -> BreakerState {
    story.state.breakers().get(name).expect("a breaker").state()
}

/// Runs `count` calls that fail, from number `first` on.
fn fail(story: &mut Story, first: u32, count: u32) -> Vec<Event> {
    let mut decided = Vec::new();
    for n in first..first + count {
        assert_eq!(names(&story.when(call(n))), ["run_admitted"]);
        decided = story.when(failed(n, "panicked"));
    }
    decided
}

fn wish(action: BreakerAction, ttl_micros: u64) -> Event {
    Event::BreakerCommanded(BreakerCommanded {
        name: NOTEARS.to_owned(),
        action,
        reason: "a test".to_owned(),
        ttl_micros,
    })
}

fn change(events: &[Event]) -> Option<&BreakerChanged> {
    events.iter().find_map(|event| {
        if let Event::BreakerChanged(changed) = event {
            return Some(changed);
        }
        None
    })
}

/// A call with a deadline, which is the caller's own or not.
fn timed(n: u32, caller_deadline: bool) -> Event {
    let Event::RunRequested(request) = call(n) else {
        panic!("a request");
    };
    let service = request.service.map(|service| Service {
        caller_deadline,
        ..service
    });
    Event::RunRequested(RunRequested {
        deadline_micros: SECOND,
        service,
        ..request
    })
}

fn code(events: &[Event]) -> &str {
    let found = events.iter().find_map(|event| {
        if let Event::RunFailed(failed) = event {
            return Some(failed.code.as_str());
        }
        None
    });
    found.expect("a failure")
}

#[test]
fn a_deadline_that_passed_while_no_server_ran_says_nothing_about_the_service() {
    let mut story = story(brisk());
    for n in 0..4 {
        story.when(timed(n, false));
    }
    story.later(2 * SECOND).when(server_started());
    let decided = story.when(tick());
    assert_eq!(names(&decided), ["run_failed"; 4]);
    assert_eq!(code(&decided), "deadline_unserved");
    let breaker = story.state.breakers().get(NOTEARS).expect("it");
    assert_eq!((breaker.totals().failure, breaker.totals().ignored), (0, 4));
    // What a server lets pass is its own, also when another one took the request.
    story.when(timed(10, false));
    story.later(SECOND / 2).when(server_started());
    let decided = story.later(SECOND).when(tick());
    assert_eq!(code(&decided), "deadline_exceeded");
}

fn server_started() -> Event {
    Event::ServerStarted(ServerStarted {
        binary_version: "test".to_owned(),
        decider_version: 1,
        numeric_profile: "test".to_owned(),
        clean: false,
    })
}

#[test]
fn a_deadline_of_the_callers_own_says_nothing_about_the_service() {
    let mut story = story(brisk());
    for n in 0..10 {
        story.when(timed(n, true));
        assert!(story.state.caller_deadline(run(n)));
        // By the timer, or by what the computation says.
        let decided = match n % 2 {
            0 => story.later(2 * SECOND).when(tick()),
            _ => story.when(failed(n, "deadline_exceeded")),
        };
        assert_eq!(names(&decided), ["run_failed"]);
        assert_eq!(code(&decided), "caller_deadline");
    }
    let breaker = story.state.breakers().get(NOTEARS).expect("it");
    assert_eq!(
        (breaker.totals().failure, breaker.totals().ignored),
        (0, 10)
    );
    // Another failure of such a run is the service's.
    story.when(timed(20, true));
    assert_eq!(code(&story.when(failed(20, "panicked"))), "panicked");
    assert!(story.state.caller_deadlines().is_empty());
    // And so is the time that the service allows.
    let mut last = Vec::new();
    for n in 21..23 {
        story.when(timed(n, false));
        last = story.later(2 * SECOND).when(tick());
        assert_eq!(code(&last), "deadline_exceeded");
    }
    assert_eq!(names(&last), ["run_failed", "breaker_changed"]);
    // What is refused leaves nothing behind.
    story.when(timed(30, true));
    assert!(!story.state.caller_deadline(run(30)));
}

#[test]
fn failures_in_a_row_open_it_and_calls_are_refused_until_it_is_tried() {
    let mut story = story(brisk());
    let decided = fail(&mut story, 1, 3);
    assert_eq!(names(&decided), ["run_failed", "breaker_changed"]);
    let until = UnixMicros(story.now + 10 * SECOND);
    assert_eq!(
        change(&decided),
        Some(&BreakerChanged {
            name: NOTEARS.to_owned(),
            from: BreakerState::Closed,
            to: BreakerState::Open,
            cause: BreakerCause::ConsecutiveFailures { failed: 3 },
            until: Some(until),
        })
    );
    story.later(SECOND);
    let refusal = Refusal::BreakerOpen {
        breaker: NOTEARS.to_owned(),
        state: BreakerState::Open,
        retry_micros: 9 * SECOND,
    };
    let refused = Event::RunRefused(RunRefused {
        run: run(9),
        refusal,
    });
    assert_eq!(story.when(call(9)), [refused]);
    // Another service is not touched.
    assert_eq!(names(&story.when(by(10, BOSS, false))), ["run_admitted"]);
    assert_eq!(story.state.next_timer(), Some(until));
    let totals = *story.state.breakers().get(NOTEARS).expect("it").totals();
    assert_eq!((totals.failure, totals.rejected), (3, 1));
}

#[test]
fn it_is_tried_without_traffic_and_closes_when_the_probes_succeed() {
    let mut story = story(brisk());
    fail(&mut story, 1, 3);
    assert_eq!(story.later(10 * SECOND).when(tick()).len(), 1);
    assert_eq!(state(&story, NOTEARS), BreakerState::HalfOpen);
    assert_eq!(names(&story.when(call(4))), ["run_admitted"]);
    assert_eq!(names(&story.when(call(5))), ["run_admitted"]);
    assert_eq!(names(&story.when(call(6))), ["run_refused"]);
    assert_eq!(names(&story.when(completed(4))), ["run_completed"]);
    let closed = story.when(completed(5));
    assert_eq!(names(&closed), ["run_completed", "breaker_changed"]);
    assert_eq!(state(&story, NOTEARS), BreakerState::Closed);
    assert_eq!(story.state.breakers().calls().len(), 0);
}

#[test]
fn a_failed_probe_opens_it_for_longer_up_to_a_limit() {
    let mut story = story(brisk());
    fail(&mut story, 1, 3);
    let mut spans = Vec::new();
    for n in 10..14 {
        let due = story.state.next_timer().expect("it is open").0;
        story.now = due;
        story.when(tick());
        story.when(call(n));
        story.when(failed(n, "internal"));
        spans.push((story.state.next_timer().expect("open again").0 - due) / SECOND);
    }
    assert_eq!(spans, [20, 40, 40, 40]);
}

#[test]
fn a_lost_cancelled_or_failed_probe_gives_its_permit_back() {
    let mut story = story(brisk());
    fail(&mut story, 1, 3);
    story.later(10 * SECOND).when(tick());
    story.when(call(4));
    story.when(call(5));
    assert_eq!(names(&story.when(call(6))), ["run_refused"]);
    // Cancelled.
    story.when(cancel(4));
    assert_eq!(names(&story.when(call(7))), ["run_admitted"]);
    assert_eq!(names(&story.when(call(8))), ["run_refused"]);
    // Lost: nothing is ever heard of 5 and 7.
    story.later(5 * SECOND);
    assert_eq!(names(&story.when(call(9))), ["run_admitted"]);
    assert_eq!(names(&story.when(call(10))), ["run_admitted"]);
    assert_eq!(names(&story.when(call(11))), ["run_refused"]);
}

#[test]
fn what_is_not_the_services_fault_is_no_failure() {
    let mut story = story(brisk());
    for (n, code) in (1..).zip(["invalid", "too_large", "sealed", "invalid", "invalid"]) {
        story.when(call(n));
        assert_eq!(names(&story.when(failed(n, code))), ["run_failed"]);
    }
    story.when(call(20));
    story.when(cancel(20));
    story.when(call(21));
    story.when(reused(21, 1));
    assert_eq!(state(&story, NOTEARS), BreakerState::Closed);
    let totals = *story.state.breakers().get(NOTEARS).expect("it").totals();
    assert_eq!((totals.ignored, totals.failure), (7, 0));
    // A late second outcome of a run that has ended is none of its calls.
    for _ in 0..3 {
        story.when(failed(1, "panicked"));
    }
    assert_eq!(state(&story, NOTEARS), BreakerState::Closed);
}

#[test]
fn passed_deadlines_open_it_within_one_timer() {
    let mut story = story(brisk());
    for n in 1..=5 {
        let Event::RunRequested(request) = call(n) else {
            panic!("a request");
        };
        let deadline_micros = SECOND;
        story.when(Event::RunRequested(RunRequested {
            deadline_micros,
            ..request
        }));
    }
    let decided = story.later(SECOND).when(tick());
    assert_eq!(
        names(&decided),
        [
            "run_failed",
            "run_failed",
            "run_failed",
            "breaker_changed",
            "run_failed",
            "run_failed"
        ]
    );
    assert_eq!(state(&story, NOTEARS), BreakerState::Open);
}

#[test]
fn rates_count_from_the_minimum_on_and_old_calls_are_forgotten() {
    let settings = BreakerSettings {
        consecutive_failures: 0,
        window_micros: 60 * SECOND,
        slow_micros: SECOND,
        slow_percent: 75,
        ..brisk()
    };
    let mut story = story(settings);
    fail(&mut story, 1, 3);
    // They are too old to count with the next ones.
    story.later(60 * SECOND);
    fail(&mut story, 4, 1);
    assert_eq!(state(&story, NOTEARS), BreakerState::Closed);
    for n in 5..8 {
        story.when(call(n));
        let mut outcome = completed(n);
        if let Event::OutcomeObserved(observed) = &mut outcome {
            observed.computed_micros = 2 * SECOND;
        }
        let decided = story.when(outcome);
        if n == 7 {
            let changed = change(&decided).expect("it opens");
            assert_eq!(changed.cause, BreakerCause::SlowRate { slow: 3, of: 4 });
        }
    }
    assert_eq!(state(&story, NOTEARS), BreakerState::Open);
}

#[test]
fn a_wish_holds_until_its_end_and_is_known_by_name() {
    let mut story = story(brisk());
    let decided = story.when(wish(BreakerAction::ForceOpen, 7 * SECOND));
    assert_eq!(names(&decided), ["breaker_changed"]);
    assert_eq!(names(&story.when(call(1))), ["run_refused"]);
    let overlay = story
        .state
        .breakers()
        .get(NOTEARS)
        .and_then(|it| it.overlay());
    let overlay = overlay.expect("held");
    assert_eq!(
        (overlay.by.to_string(), &*overlay.reason),
        ("ada".to_owned(), "a test")
    );
    let ended = story.later(7 * SECOND).when(tick());
    assert_eq!(
        change(&ended).map(|it| it.cause),
        Some(BreakerCause::TtlEnded)
    );
    assert_eq!(names(&story.when(call(2))), ["run_admitted"]);
    // Disabled: nothing is counted. Metrics only: counted, and nothing follows.
    story.when(wish(BreakerAction::Disable, 0));
    fail(&mut story, 10, 4);
    story.when(wish(BreakerAction::MetricsOnly, 0));
    fail(&mut story, 20, 4);
    assert_eq!(state(&story, NOTEARS), BreakerState::MetricsOnly);
    let counts = |story: &Story| {
        let breaker = story.state.breakers().get(NOTEARS).expect("it");
        breaker.counts(UnixMicros(story.now))
    };
    assert_eq!(counts(&story), (4, 4, 0));
    story.when(wish(BreakerAction::Enable, 0));
    assert_eq!(state(&story, NOTEARS), BreakerState::Closed);
    story.when(wish(BreakerAction::Reset, 0));
    assert_eq!(counts(&story), (0, 0, 0));
    // A wish about nothing decides nothing.
    let nobody = Event::BreakerCommanded(BreakerCommanded {
        name: "nobody".to_owned(),
        action: BreakerAction::Reset,
        reason: String::new(),
        ttl_micros: 0,
    });
    assert_eq!(story.when(nobody), []);
}

#[test]
fn a_run_is_diverted_where_it_may_be_and_goes_by_the_other_breaker() {
    let mut story = story(brisk());
    story.when(wish(BreakerAction::ForceOpen, 0));
    assert_eq!(names(&story.when(by(1, NOTEARS, false))), ["run_refused"]);
    let start = story.log.len();
    let decided = story.when(by(2, NOTEARS, true));
    let taken = Event::FallbackTaken(FallbackTaken {
        run: run(2),
        breaker: NOTEARS.to_owned(),
        state: BreakerState::ForcedOpen,
        instead: Instead::Computed {
            to: "boss".to_owned(),
            breaker: BOSS.to_owned(),
        },
    });
    assert_eq!(decided[1], taken);
    let own = format!("run/{}", run(2));
    assert_eq!(
        story.placed(start),
        [
            format!("run_requested {own}"),
            format!("run_admitted {own}"),
            format!("fallback_taken {own}")
        ]
    );
    let diversion = story.state.breakers().diversion(run(2)).expect("diverted");
    assert_eq!(diversion.to, "boss");
    story.when(failed(2, "panicked"));
    assert_eq!(story.state.breakers().diversion(run(2)), None);
    let totals = |name: &str| {
        story
            .state
            .breakers()
            .get(name)
            .expect("it")
            .totals()
            .failure
    };
    assert_eq!((totals(NOTEARS), totals(BOSS)), (0, 1));
    // A result that is at hand is told, whether or not something else may be computed.
    let Event::RunRequested(request) = by(3, NOTEARS, false) else {
        panic!("a request");
    };
    let cached = Event::RunRequested(RunRequested {
        immediate: true,
        service: request.service.clone().map(|service| Service {
            cached: true,
            ..service
        }),
        ..request
    });
    let decided = story.when(cached);
    assert_eq!(names(&decided), ["run_admitted", "fallback_taken"]);
    // With both of them shut there is nothing left.
    let shut = Event::BreakerCommanded(BreakerCommanded {
        name: BOSS.to_owned(),
        action: BreakerAction::ForceOpen,
        reason: String::new(),
        ttl_micros: 0,
    });
    story.when(shut);
    assert_eq!(names(&story.when(by(4, NOTEARS, true))), ["run_refused"]);
}

fn backup_ended(n: u8, error: Option<&str>) -> Event {
    Event::BackupEnded(BackupEnded {
        backup: BackupId::from_bytes([n; 16]),
        target: "local".to_owned(),
        kind: BackupKind::Incremental,
        attempt: 1,
        retried: false,
        from_seq: Seq(1),
        to_seq: Seq(2),
        bytes: 1,
        sent_bytes: 1,
        verified: false,
        state_hash: None,
        error: error.map(str::to_owned),
        copied_micros: 5,
        verified_micros: 0,
    })
}

#[test]
fn backups_that_fail_open_the_breaker_of_their_target() {
    let mut story = story(brisk());
    for n in 1..=2 {
        assert_eq!(story.when(backup_ended(n, Some("gone"))), []);
    }
    let decided = story.when(backup_ended(3, Some("gone")));
    assert_eq!(names(&decided), ["breaker_changed"]);
    assert_eq!(state(&story, LOCAL), BreakerState::Open);
    story.later(10 * SECOND).when(tick());
    for n in 4..=5 {
        story.when(Event::BackupRequested(BackupRequested {
            backup: BackupId::from_bytes([n; 16]),
            target: "local".to_owned(),
            kind: BackupKind::Incremental,
            idempotency: None,
        }));
        story.when(backup_ended(n, None));
    }
    assert_eq!(state(&story, LOCAL), BreakerState::Closed);
}

/// Calls that ended, alike in each part: how many, and whether they failed.
fn called(breaker: &str, parts: &[(u32, bool)]) -> Event {
    let calls = parts.iter().map(|(count, failed)| AlikeCalls {
        count: *count,
        error: failed.then(|| "unreachable".to_owned()),
        longest_micros: 5,
    });
    Event::DependencyCalled(DependencyCalled {
        breaker: breaker.to_owned(),
        calls: calls.collect(),
    })
}

#[test]
fn calls_to_what_is_not_run_here_are_told_together_and_open_its_breaker() {
    let mut story = story(brisk());
    assert_eq!(story.when(called("nobody", &[(9, true)])), []);
    let told = [(u32::MAX, false), (2, true), (1, false), (2, true)];
    // Four of the last five have failed.
    assert_eq!(story.when(called(COLLECTOR, &told[..2])), []);
    let totals = |story: &Story| {
        let breaker = story.state.breakers().get(COLLECTOR).expect("it");
        (breaker.totals().success, breaker.totals().failure)
    };
    assert_eq!(totals(&story), (u64::from(u32::MAX), 2));
    // What worked comes before what failed: they are not three in a row.
    assert_eq!(story.when(called(COLLECTOR, &told[2..])), []);
    let decided = story.when(called(COLLECTOR, &[(1, true)]));
    assert_eq!(names(&decided), ["breaker_changed"]);
    assert_eq!(state(&story, COLLECTOR), BreakerState::Open);
    // What was under way then changes nothing.
    assert_eq!(story.when(called(COLLECTOR, &[(5, false)])), []);
    story.later(10 * SECOND).when(tick());
    assert_eq!(state(&story, COLLECTOR), BreakerState::HalfOpen);
    assert_eq!(
        names(&story.when(called(COLLECTOR, &[(1, true)]))),
        ["breaker_changed"]
    );
    assert_eq!(state(&story, COLLECTOR), BreakerState::Open);
    story.later(20 * SECOND).when(tick());
    assert_eq!(story.when(called(COLLECTOR, &[(1, false)])), []);
    assert_eq!(
        names(&story.when(called(COLLECTOR, &[(1, false)]))),
        ["breaker_changed"]
    );
    assert_eq!(state(&story, COLLECTOR), BreakerState::Closed);
}

#[test]
fn a_log_without_breakers_decides_as_before() {
    let mut story = Story::with(Settings::default());
    for n in 1..50 {
        assert_eq!(names(&story.when(call(n))), ["run_admitted"]);
        assert_eq!(names(&story.when(failed(n, "panicked"))), ["run_failed"]);
    }
    assert!(story.state.breakers().is_empty());
    assert!(!story.state.dump().contains("breaker "));
}

#[test]
fn another_configuration_keeps_what_breakers_know() {
    let mut story = story(brisk());
    fail(&mut story, 1, 3);
    story.when(plan(BreakerSettings {
        minimum_calls: 9,
        ..brisk()
    }));
    assert_eq!(state(&story, NOTEARS), BreakerState::Open);
    let none = Event::ConfigurationLoaded(ConfigurationLoaded {
        generation: 2,
        hash: Digest::default(),
        document: Payload::Inline("{}".to_owned()),
        settings: Settings::default(),
        breakers: Some(BreakerPlan::default()),
    });
    story.when(none);
    assert_eq!(story.state.breakers().all().len(), 0);
    assert_eq!(names(&story.when(call(9))), ["run_admitted"]);
}

#[test]
fn the_jitter_follows_from_the_name_and_the_openings() {
    let settings = BreakerSettings {
        jitter_percent: 20,
        ..brisk()
    };
    let span = |settings| {
        let mut story = story(settings);
        fail(&mut story, 1, 3);
        story.state.next_timer().expect("open").0 - story.now
    };
    let first = span(settings);
    assert_eq!(first, span(settings), "drawn twice alike");
    assert!((8 * SECOND..=12 * SECOND).contains(&first), "{first}");
    assert_ne!(first, 10 * SECOND);
}

fn some_event() -> impl Strategy<Value = Event> {
    let names = prop_oneof![Just(NOTEARS), Just(BOSS)];
    let codes = prop_oneof![Just("panicked"), Just("invalid"), Just("deadline_exceeded")];
    let actions = prop_oneof![
        Just(BreakerAction::Reset),
        Just(BreakerAction::ForceOpen),
        Just(BreakerAction::Disable),
        Just(BreakerAction::Enable),
        Just(BreakerAction::MetricsOnly),
    ];
    let percent = prop_oneof![Just(0_u32), Just(50), Just(100)];
    prop_oneof![
        8 => (0..30_u32, names, any::<bool>(), 0..4 * SECOND).prop_map(|(n, name, divert, due)| {
            let Event::RunRequested(mut request) = by(n, name, divert) else {
                panic!("a request");
            };
            if let Some(service) = &mut request.service {
                service.caller_deadline = due % 2 == 0;
            }
            let deadline_micros = if due < SECOND { 0 } else { due };
            Event::RunRequested(RunRequested { deadline_micros, ..request })
        }),
        4 => (0..30_u32).prop_map(completed),
        6 => (0..30_u32, codes).prop_map(|(n, code)| failed(n, code)),
        2 => (0..30_u32).prop_map(cancel),
        4 => Just(tick()),
        1 => (actions, 0..5 * SECOND).prop_map(|(action, ttl)| wish(action, ttl)),
        1 => (1..4_u32, 1..4_u32, percent).prop_map(|(permits, minimum, failure_percent)| {
            plan(BreakerSettings {
                half_open_permits: permits,
                minimum_calls: minimum,
                failure_percent,
                half_open_micros_max: 30 * SECOND,
                open_micros: 2 * SECOND,
                permit_micros: 3 * SECOND,
                ..brisk()
            })
        }),
        2 => (1..9_u8, any::<bool>())
            .prop_map(|(n, good)| backup_ended(n, (!good).then_some("gone"))),
        2 => vec((0..20_u32, any::<bool>()), 0..4).prop_map(|parts| called(COLLECTOR, &parts)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn permits_are_never_too_many_and_replay_agrees(
        steps in vec((prop_oneof![Just(0), 0..4 * SECOND], some_event()), 0..160)
    ) {
        let mut story = story(brisk());
        let mut replayed = State::default();
        let mut done = 0;
        for (micros, event) in steps {
            let before = story.state.clone();
            let twice = story.clone().later(micros).when(event.clone());
            let decided = story.later(micros).when(event);
            prop_assert_eq!(&twice, &decided);
            let now = UnixMicros(story.now);
            for (name, breaker) in story.state.breakers().all() {
                let permits = breaker.settings().half_open_permits;
                let was = before.breakers().get(name).map_or(permits, |was| {
                    was.settings().half_open_permits
                });
                prop_assert!(breaker.permits_out(now) <= permits.max(was).max(3), "{name}");
                if let Phase::HalfOpen { permits: lent, .. } = breaker.phase() {
                    // What has ended is cleared away whenever another one is lent.
                    prop_assert!(lent.len() <= 2 * 3, "{}", lent.len());
                }
                prop_assert!(breaker.window().len() <= 10);
            }
            for entry in &story.log[done..] {
                let place = replayed.apply(&entry.context, &entry.event);
                prop_assert_eq!(place, (entry.stream, entry.version));
            }
            done = story.log.len();
            prop_assert_eq!(&replayed, &story.state);
            for (run, _) in story.state.breakers().calls() {
                prop_assert!(story.state.run(run).is_some(), "a call without a run");
            }
            for (run, _) in story.state.breakers().diversions() {
                prop_assert!(story.state.run(run).is_some(), "a diversion without a run");
            }
        }
    }

    #[test]
    fn with_one_configuration_the_permits_are_exact(
        permits in 1..4_u32,
        steps in vec((0..3_u8, 0..12_u32, 0..2 * SECOND), 0..120)
    ) {
        let mut story = story(BreakerSettings { half_open_permits: permits, ..brisk() });
        fail(&mut story, 100, 3);
        story.later(10 * SECOND).when(tick());
        for (what, n, micros) in steps {
            story.later(micros);
            match what {
                0 => story.when(call(n)),
                1 => story.when(cancel(n)),
                _ => story.when(completed(n)),
            };
            let breaker = story.state.breakers().get(NOTEARS).expect("it");
            prop_assert!(breaker.permits_out(UnixMicros(story.now)) <= permits);
        }
    }
}
