//! Actors that panic or stand still in the middle of a message.

use std::sync::Arc;
use std::time::Duration;

use hindcast_model::breaker::BreakerSettings;
use hindcast_model::event::{BackupKind, BackupRequested, Event};
use hindcast_model::{BackupId, EventId};

use super::support::{World, fault, in_system, options, until, validate};
use super::{Fault, FaultRequest, Gate, What};
use crate::lock::lock;
use crate::supervisor::system_command;
use crate::{Admission, Phase, SubmitFailure};

/// Does something that every actor gets to see.
async fn works(world: &World) {
    let cheap = world
        .actors
        .experiment
        .request_run(validate())
        .await
        .unwrap();
    assert!(matches!(cheap, Admission::Completed { .. }), "{cheap:?}");
    let asked = fault(FaultRequest::new(What::Answer));
    let seed = asked.seed;
    let run = world.ask(asked).await;
    assert_eq!(world.end(run).await.result.unwrap()["seed"], seed);
}

#[test]
fn the_gateway_survives_a_panic_in_every_message() {
    in_system(async {
        let world = World::new(options());
        for (restarts, kind) in (1..).zip(["submit", "tick", "submit"]) {
            world.inject("experiment", kind, Fault::Panic);
            if kind == "submit" {
                let failure = world
                    .actors
                    .experiment
                    .request_run(validate())
                    .await
                    .unwrap_err();
                assert!(
                    matches!(failure, SubmitFailure::Unavailable(_)),
                    "{failure:?}"
                );
            }
            world.rebuilt("experiment", restarts).await;
            works(&world).await;
        }
        world.stop().await;
    });
}

#[test]
fn the_computation_actor_survives_a_panic_in_every_message_and_loses_no_run() {
    in_system(async {
        let world = World::new(options());
        for (restarts, kind) in (1..).zip(["admitted", "tick", "rescan", "admitted"]) {
            world.inject("computation", kind, Fault::Panic);
            let run = world.ask(fault(FaultRequest::new(What::Answer))).await;
            if kind == "rescan" {
                lock(&world.actors.computation.engine().jobs).behind = true;
                world.ask(fault(FaultRequest::new(What::Answer))).await;
            }
            world.rebuilt("computation", restarts).await;
            assert_eq!(
                world.end(run).await.status,
                crate::views::RunStatus::Completed
            );
            works(&world).await;
        }
        world.stop().await;
    });
}

#[test]
fn the_metrics_actor_survives_a_panic_in_every_message() {
    in_system(async {
        let world = World::new(options());
        for (restarts, kind) in (1..).zip(["durable", "tick"]) {
            world.inject("metrics", kind, Fault::Panic);
            works(&world).await;
            world.rebuilt("metrics", restarts).await;
        }
        world.stop().await;
    });
}

#[test]
fn the_circuit_breaker_actor_survives_a_panic_in_every_message() {
    in_system(async {
        let world = World::new(options());
        for (restarts, kind) in (1..).zip(["changed", "tick", "changed"]) {
            world.inject("circuit_breaker", kind, Fault::Panic);
            // A configuration is something that it looks at.
            world.guard(BreakerSettings::default()).await;
            world.rebuilt("circuit_breaker", restarts).await;
            works(&world).await;
        }
        world.stop().await;
    });
}

#[test]
fn the_scrubber_survives_a_panic_in_every_message() {
    in_system(async {
        let world = World::new(options());
        for (restarts, kind) in (1..).zip(["begin", "tick"]) {
            world.inject("scrub", kind, Fault::Panic);
            assert!(world.actors.scrub.begin());
            world.rebuilt("scrub", restarts).await;
            works(&world).await;
        }
        world.stop().await;
    });
}

#[test]
fn the_backup_actor_survives_a_panic_in_every_message_and_forgets_no_backup() {
    in_system(async {
        let world = World::new(options());
        for (restarts, kind) in (1..).zip(["look", "tick"]) {
            world.inject("backup", kind, Fault::Panic);
            let id = EventId::from_bytes([0xb0 + u8::try_from(restarts).unwrap(); 16]);
            let backup = BackupId(id.0);
            let event = Event::BackupRequested(BackupRequested {
                backup,
                target: "nowhere".to_owned(),
                kind: BackupKind::Full,
                idempotency: None,
            });
            let asked = system_command(id, event).into();
            world.actors.experiment.submit(asked).await.unwrap();
            world.rebuilt("backup", restarts).await;
            let handle = world.actors.backup.clone();
            until("the backup ends", || {
                let view = handle.view(backup).unwrap().unwrap();
                view.status == "failed"
            })
            .await;
            let view = handle.view(backup).unwrap().unwrap();
            assert!(view.error.is_some_and(|error| error.contains("nowhere")));
            works(&world).await;
        }
        world.stop().await;
    });
}

#[test]
fn every_restart_is_an_event_with_its_reason() {
    in_system(async {
        let world = World::new(options());
        world.inject("metrics", "tick", Fault::Panic);
        world.rebuilt("metrics", 1).await;
        let restarts: Vec<_> = world
            .events()
            .into_iter()
            .filter_map(|recorded| match recorded.event() {
                Some(Event::ActorRestarted(restart)) => Some(restart.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(restarts.len(), 1);
        assert_eq!(
            (restarts[0].actor.as_str(), restarts[0].restarts),
            ("metrics", 1)
        );
        assert_eq!(restarts[0].reason, "panicked in tick: struck");
        assert_eq!(restarts[0].backoff_micros, 1_000);
        world.stop().await;
    });
}

#[test]
fn a_panic_is_recorded_with_the_calls_that_led_to_it() {
    in_system(async {
        let mut options = options();
        options.supervision.trace_panics = true;
        let world = World::new(options);
        world.inject("metrics", "tick", Fault::Panic);
        // Names are looked up after the actor lives again.
        world.rebuilt("metrics", 1).await;
        let evidence = world.status("metrics").last_evidence;
        assert!(evidence.contains("::strike"), "{evidence}");
        assert!(evidence.len() <= hindcast_model::limits::EVIDENCE_BYTES_MAX);
        let recorded = world
            .count(|event| matches!(event, Event::ActorRestarted(e) if e.evidence == *evidence));
        assert_eq!(recorded, 1);
        world.stop().await;
    });
}

#[test]
fn a_silence_is_noticed_before_it_ends_the_actor_and_shows_every_thread() {
    in_system(async {
        let mut options = options();
        options.supervision.beat_age_noticed = Duration::from_millis(100);
        options.supervision.beat_age_max = Duration::from_millis(400);
        let world = World::new(options);
        let gate = Arc::new(Gate::default());
        world.inject("metrics", "tick", Fault::Stall(Arc::clone(&gate)));
        until("it is stuck", || {
            world
                .status("metrics")
                .handling
                .is_some_and(|(kind, micros)| kind == "tick" && micros > 50_000)
        })
        .await;
        world.rebuilt("metrics", 1).await;
        gate.open();
        let status = world.status("metrics");
        let reason = status.last_reason.unwrap();
        assert!(reason.ends_with(" in tick"), "{reason}");
        assert!(
            status.last_evidence.contains("supervisor"),
            "{}",
            status.last_evidence
        );
        world.stop().await;
    });
}

#[test]
fn other_callers_are_not_lost_when_one_message_panics() {
    in_system(async {
        let world = World::new(options());
        world.inject("experiment", "submit", Fault::Panic);
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let experiment = world.actors.experiment.clone();
            callers.spawn_local(async move { experiment.request_run(validate()).await });
        }
        let mut told = 0;
        while let Some(answer) = callers.join_next().await {
            match answer.unwrap() {
                Ok(Admission::Completed { .. }) | Err(SubmitFailure::Unavailable(_)) => told += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, 50);
        world.rebuilt("experiment", 1).await;
        works(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_spent_budget_is_reported_and_tried_again() {
    in_system(async {
        let mut options = options();
        options.supervision.restart.restarts_max = 2;
        options.supervision.restart.failed_retry = Duration::from_millis(400);
        let world = World::new(options);
        // Its first start is over: the faults are for those that follow.
        until("it runs", || {
            world.status("metrics").phase == Phase::Running
        })
        .await;
        for _ in 0..2 {
            world.inject("metrics", "start", Fault::Panic);
        }
        world.inject("metrics", "tick", Fault::Panic);
        until("the budget is spent", || {
            world.status("metrics").phase == Phase::Failed
        })
        .await;
        assert!(!world.actors.supervision.healthy());
        assert_eq!(
            world.actors.supervision.given_up().await,
            "actor metrics failed: panicked in start: struck"
        );
        let status = world.status("metrics");
        assert_eq!(
            (status.restarts, status.last_reason.as_deref()),
            (3, Some("panicked in start: struck"))
        );
        // The others go on, and the failed one is not gone.
        works(&world).await;
        world.rebuilt("metrics", 3).await;
        assert!(world.actors.supervision.healthy());
        world.stop().await;
    });
}

#[test]
fn a_stuck_actor_is_replaced_and_the_old_one_abandoned() {
    in_system(async {
        let mut options = options();
        options.supervision.beat_age_max = Duration::from_millis(300);
        options.experiment.reply_wait_max = Duration::from_secs(2);
        let world = World::new(options);
        let gate = Arc::new(Gate::default());
        world.inject("experiment", "submit", Fault::Stall(Arc::clone(&gate)));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let experiment = world.actors.experiment.clone();
            let asked = fault(FaultRequest {
                cheap: true,
                ..FaultRequest::new(What::Answer)
            });
            callers.spawn_local(async move { experiment.request_run(asked).await });
        }
        for failure in callers.join_all().await {
            assert!(
                matches!(failure, Err(SubmitFailure::Unavailable(_))),
                "{failure:?}"
            );
        }
        world.rebuilt("experiment", 1).await;
        let reason = world.status("experiment").last_reason.unwrap();
        assert!(reason.starts_with("no heartbeat for"), "{reason}");
        works(&world).await;
        gate.open();
        works(&world).await;
        assert_eq!(world.status("experiment").restarts, 1);
        world.stop().await;
    });
}
