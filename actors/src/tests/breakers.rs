//! Circuit breakers over a real log: refusals before and after the log, fallbacks, restarts.

use std::collections::BTreeMap;
use std::time::Duration;

use hindcast_log::{Blobs, Reader};
use hindcast_model::breaker::{BreakerAction, BreakerSettings, BreakerState};
use hindcast_model::event::{BreakerCommanded, Event, Instead};
use hindcast_model::{EventId, Refusal, Seq, Stream};

use super::support::{World, fault, fresh_id, in_system, options, until, validate};
use super::{FaultRequest, What};
use crate::circuit_breaker::simulate::simulate;
use crate::history::{Archive, recompute};
use crate::supervisor::system_command;
use crate::views::{self, RunStatus};
use crate::{Admission, RunRequest, SubmitFailure};

fn brisk() -> BreakerSettings {
    BreakerSettings {
        minimum_calls: 100,
        consecutive_failures: 2,
        open_micros: 60_000_000,
        half_open_permits: 1,
        jitter_percent: 0,
        ..BreakerSettings::default()
    }
}

fn fragile(what: What, divert: bool) -> RunRequest {
    RunRequest {
        divert,
        ..fault(FaultRequest {
            breaker: "fragile".to_owned(),
            ..FaultRequest::new(what)
        })
    }
}

fn state(world: &World) -> BreakerState {
    let found = |state: &hindcast_model::State| {
        state
            .breakers()
            .get("fragile")
            .map(|breaker| breaker.state())
    };
    world.log.state(found).expect("a breaker")
}

async fn trip(world: &World) {
    for _ in 0..2 {
        let run = world.ask(fragile(What::Panic, false)).await;
        assert_eq!(world.end(run).await.status, RunStatus::Failed);
    }
    assert_eq!(state(world), BreakerState::Open);
}

async fn command(world: &World, action: BreakerAction) {
    let event = Event::BreakerCommanded(BreakerCommanded {
        name: "fragile".to_owned(),
        action,
        reason: "a test".to_owned(),
        ttl_micros: 0,
    });
    let command = system_command(EventId(fresh_id()), event);
    world
        .actors
        .experiment
        .submit(command.into())
        .await
        .unwrap();
}

#[test]
fn an_open_breaker_turns_callers_away_before_the_log_and_survives_a_restart() {
    in_system(async {
        let world = World::new(options());
        world.guard(brisk()).await;
        trip(&world).await;
        // Callers are answered after the gates have followed.
        let experiment = &world.actors.experiment;
        experiment.request_run(validate()).await.unwrap();
        let head = world.log.head().seq;
        let refused = |world: &World| {
            let experiment = world.actors.experiment.clone();
            async move {
                let asked = fragile(What::Answer, false);
                experiment.request_run(asked).await.unwrap_err()
            }
        };
        let failure = refused(&world).await;
        let SubmitFailure::Refused(Refusal::BreakerOpen {
            breaker,
            state: was,
            retry_micros,
        }) = failure
        else {
            panic!("{failure:?}");
        };
        assert_eq!((breaker.as_str(), was), ("fragile", BreakerState::Open));
        assert!((1..=60_000_000).contains(&retry_micros), "{retry_micros}");
        assert_eq!(world.log.head().seq, head, "nothing was recorded");
        let world = world.restart().await;
        assert_eq!(state(&world), BreakerState::Open);
        let failure = refused(&world).await;
        assert!(matches!(failure, SubmitFailure::Refused(_)), "{failure:?}");
        command(&world, BreakerAction::Reset).await;
        let run = world.ask(fragile(What::Answer, false)).await;
        assert_eq!(world.end(run).await.status, RunStatus::Completed);
        world.stop().await;
    });
}

#[test]
fn the_log_tries_a_service_again_by_itself_and_a_probe_closes_it() {
    in_system(async {
        let world = World::new(options());
        world
            .guard(BreakerSettings {
                open_micros: 20_000,
                ..brisk()
            })
            .await;
        trip_quickly(&world).await;
        // Nobody asks for anything in between.
        until("it is half-open", || {
            state(&world) == BreakerState::HalfOpen
        })
        .await;
        let run = world.ask(fragile(What::Answer, false)).await;
        assert_eq!(world.end(run).await.status, RunStatus::Completed);
        assert_eq!(state(&world), BreakerState::Closed);
        world.stop().await;
    });
}

/// As `trip`, for a breaker that may be tried again before anybody looks.
async fn trip_quickly(world: &World) {
    for _ in 0..2 {
        let run = world.ask(fragile(What::Panic, false)).await;
        world.end(run).await;
    }
}

#[test]
fn a_probe_that_is_cancelled_gives_way_to_the_next() {
    in_system(async {
        let world = World::new(options());
        world
            .guard(BreakerSettings {
                open_micros: 20_000,
                ..brisk()
            })
            .await;
        trip_quickly(&world).await;
        until("it is half-open", || {
            state(&world) == BreakerState::HalfOpen
        })
        .await;
        let probe = world.ask(fragile(What::Wait, false)).await;
        let second = fragile(What::Answer, false);
        let failure = world.actors.experiment.request_run(second).await;
        assert!(
            matches!(
                failure,
                Err(SubmitFailure::Refused(_)) | Ok(Admission::Refused { .. })
            ),
            "{failure:?}"
        );
        world.cancel(probe).await;
        let run = world.ask(fragile(What::Answer, false)).await;
        assert_eq!(world.end(run).await.status, RunStatus::Completed);
        assert_eq!(state(&world), BreakerState::Closed);
        world.stop().await;
    });
}

#[test]
fn a_diverted_run_says_so_and_its_result_is_never_that_of_the_exact_request() {
    in_system(async {
        let world = World::new(options());
        world.guard(brisk()).await;
        trip(&world).await;
        // The same request, once diverted and once exact.
        let request = || RunRequest {
            seed: 7,
            ..fault(FaultRequest {
                breaker: "fragile".to_owned(),
                seed: Some(7),
                ..FaultRequest::new(What::LargeAnswer)
            })
        };
        let run = world.ask(request()).await;
        let approximate = world.end(run).await;
        let fallback = approximate.fallback.clone().expect("told");
        assert_eq!(
            (fallback.quality.as_str(), fallback.computed.as_deref()),
            ("approximate", Some("answer"))
        );
        assert!(fallback.reason.contains("fragile is open"), "{fallback:?}");
        assert_eq!(approximate.result.as_ref().unwrap()["text"], "answer");
        command(&world, BreakerAction::Reset).await;
        let run = world.ask(request()).await;
        let exact = world.end(run).await;
        assert_eq!(exact.fallback, None);
        assert_ne!(exact.result_hash, approximate.result_hash);
        assert_ne!(exact.original, Some(approximate.run_id.clone()));
        // With the exact result at hand, an open breaker is answered with it.
        command(&world, BreakerAction::ForceOpen).await;
        let answer = world
            .actors
            .experiment
            .request_run(request())
            .await
            .unwrap();
        let Admission::Completed {
            run,
            fallback,
            original,
            ..
        } = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!(fallback.map(|taken| taken.instead), Some(Instead::Cached));
        assert_eq!(original.map(|run| run.to_string()), Some(exact.run_id));
        let cached = world.view(run);
        assert_eq!(
            cached.fallback.map(|it| it.quality),
            Some("cached".to_owned())
        );
        assert_eq!(cached.result_hash, exact.result_hash);
        // Computing everything again finds each result where it was.
        let (vault, dir) = (world.vault.clone(), world.log.data_dir().to_owned());
        let reader = Reader::open(&dir).unwrap();
        let blobs: Blobs = reader.blobs();
        let archive = Archive {
            reader: &reader,
            blobs: &blobs,
            vault: &vault,
        };
        let report = recompute(archive, "test-profile", &|_| {}).unwrap();
        assert_eq!(report.differing, []);
        assert!(report.compared >= 3, "{report:?}");
        world.stop().await;
    });
}

#[test]
fn a_simulation_with_the_settings_that_held_is_the_history() {
    in_system(async {
        let world = World::new(options());
        world.guard(brisk()).await;
        trip(&world).await;
        command(&world, BreakerAction::Reset).await;
        for _ in 0..3 {
            let run = world.ask(fragile(What::Answer, false)).await;
            world.end(run).await;
        }
        trip(&world).await;
        let reader = Reader::open(world.log.data_dir()).unwrap();
        let head = world.log.head().seq;
        let with = |set: &[(&str, u64)]| {
            let set: BTreeMap<String, u64> = set
                .iter()
                .map(|(key, value)| ((*key).to_owned(), *value))
                .collect();
            simulate(&reader, ("fragile", &set), (Seq(0), head)).unwrap()
        };
        let same = with(&[]);
        assert!(same.agrees, "{same:?}");
        assert_eq!(
            (same.recorded, same.own.openings, same.own.calls),
            (3, 2, 7)
        );
        assert_eq!(same.own, same.other);
        let patient = with(&[("consecutive_failures", 3)]);
        assert!(patient.agrees);
        assert_eq!((patient.own.openings, patient.other.openings), (2, 0));
        let events = world.log.read_stream(Stream::system("breakers")).unwrap();
        let history = views::breaker_history("fragile", &events);
        let own: Vec<_> = same
            .own
            .transitions
            .iter()
            .map(|it| (it.from, it.to))
            .collect();
        let told: Vec<_> = history.iter().map(|it| (it.from, it.to)).collect();
        assert_eq!(own, told);
        let unknown = simulate(&reader, ("nobody", &BTreeMap::new()), (Seq(0), head));
        assert!(unknown.unwrap_err().to_string().contains("fragile"));
        world.stop().await;
    });
}

#[test]
fn figures_and_services_are_read_off_the_state() {
    in_system(async {
        let world = World::new(options());
        world.guard(brisk()).await;
        let status = |world: &World| {
            let now = hindcast_model::UnixMicros(u64::MAX / 2);
            let services = world.log.state(|state| views::services(state, now));
            let found = services.into_iter().find(|it| it.service == "fragile");
            found.expect("it")
        };
        let before = status(&world);
        assert_eq!(
            (before.status, before.action_needed),
            (views::ServiceStatus::Healthy, false)
        );
        trip(&world).await;
        let after = status(&world);
        assert_eq!(
            (after.status, after.action_needed),
            (views::ServiceStatus::Failing, true)
        );
        assert_eq!(
            after.last_error.map(|error| error.code),
            Some("panicked".to_owned())
        );
        assert!(after.reason.contains("open"), "{}", after.reason);
        tokio::time::sleep(Duration::from_millis(1)).await;
        world.stop().await;
    });
}
