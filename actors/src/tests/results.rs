//! The cache of results, over a real log.

use hindcast_model::RunId;
use hindcast_model::event::{Event, Outcome};
use serde_json::json;

use super::support::{World, fault, in_system, options, request, until, validate};
use super::{FaultRequest, What};
use crate::views::RunStatus;
use crate::{Admission, Operation, RunRequest};

fn cheap(seed: u64) -> RunRequest {
    fault(FaultRequest {
        cheap: true,
        seed: Some(seed),
        ..FaultRequest::new(What::Answer)
    })
}

fn slow(seed: u64) -> RunRequest {
    fault(FaultRequest {
        seed: Some(seed),
        ..FaultRequest::new(What::Answer)
    })
}

/// The bytes of the answer, and the run that they were computed for.
async fn ask(world: &World, asked: RunRequest) -> (String, Option<RunId>) {
    let admission = world.actors.experiment.request_run(asked).await.unwrap();
    let Admission::Completed {
        result, original, ..
    } = admission
    else {
        panic!("{admission:?}");
    };
    (result.unwrap().json.to_string(), original)
}

#[test]
fn a_hit_is_a_recorded_run_that_points_to_the_first_one() {
    in_system(async {
        let world = World::new(options());
        let (first, second, third) = (validate(), validate(), validate());
        let (a, b, c) = (first.run, second.run, third.run);
        let (computed, none) = ask(&world, first).await;
        let before = world.log.stats();
        let hit = ask(&world, second).await;
        let after = world.log.stats();
        assert_eq!((none, &hit), (None, &(computed.clone(), Some(a))));
        assert_eq!(
            (after.frames - before.frames, after.events - before.events),
            (1, 4)
        );
        // A hit on what was a hit still names the run that was computed.
        assert_eq!(ask(&world, third).await, (computed, Some(a)));
        let (original, repeated) = (world.view(a), world.view(b));
        assert_eq!(repeated.status, RunStatus::Completed);
        assert_eq!(repeated.result_hash, original.result_hash);
        assert_eq!(repeated.original, Some(a.to_string()));
        assert_eq!(world.view(c).original, Some(a.to_string()));
        let stats = world.actors.experiment.results();
        let lookups = stats.operations["causal.validate"];
        assert_eq!((lookups.hits, lookups.misses), (2, 1));
        assert_eq!((stats.entries, stats.in_flight), (1, 0));
        assert_eq!(stats.top[0].original, Some(a.to_string()));
        world.stop().await;
    });
}

#[test]
fn spec_and_seed_both_count() {
    in_system(async {
        let world = World::new(options());
        ask(&world, cheap(1)).await;
        assert_eq!(ask(&world, cheap(2)).await.1, None);
        let other = fault(FaultRequest {
            cheap: true,
            seed: Some(1),
            padding: "other".to_owned(),
            ..FaultRequest::new(What::Answer)
        });
        assert_eq!(ask(&world, other).await.1, None);
        assert!(ask(&world, cheap(1)).await.1.is_some());
        world.stop().await;
    });
}

#[test]
fn a_random_request_without_a_seed_is_computed_each_time() {
    in_system(async {
        let world = World::new(options());
        let unseeded = || {
            fault(FaultRequest {
                cheap: true,
                ..FaultRequest::new(What::Answer)
            })
        };
        assert_eq!(ask(&world, unseeded()).await.1, None);
        assert_eq!(ask(&world, unseeded()).await.1, None);
        let lookups = world.actors.experiment.results().operations["test.fault"];
        assert_eq!((lookups.not_cacheable, lookups.hits), (2, 0));
        world.stop().await;
    });
}

#[test]
fn a_result_computed_after_the_request_answers_the_next_at_once() {
    in_system(async {
        let world = World::new(options());
        let first = slow(3);
        let run = first.run;
        let admission = world.actors.experiment.request_run(first).await.unwrap();
        assert!(
            matches!(admission, Admission::Admitted { .. }),
            "{admission:?}"
        );
        assert_eq!(world.end(run).await.status, RunStatus::Completed);
        until("it is kept", || {
            world.actors.experiment.results().entries == 1
        })
        .await;
        assert_eq!(ask(&world, slow(3)).await.1, Some(run));
        world.stop().await;
    });
}

#[test]
fn equal_runs_at_the_same_time_are_computed_once() {
    in_system(async {
        let world = World::new(options());
        let gate = fault(FaultRequest::new(What::Wait));
        let blocking = [
            gate.run,
            world.ask(fault(FaultRequest::new(What::Wait))).await,
        ];
        world.ask(gate).await;
        for run in blocking {
            world.running(run).await;
        }
        // Both threads are taken: these wait together.
        let equal: Vec<RunRequest> = (0..4).map(|_| slow(9)).collect();
        let runs: Vec<RunId> = equal.iter().map(|asked| asked.run).collect();
        for asked in equal {
            world.ask(asked).await;
        }
        for run in blocking {
            world.cancel(run).await;
        }
        for run in &runs {
            assert_eq!(world.end(*run).await.status, RunStatus::Completed);
        }
        let computed = world.events().into_iter().filter(|recorded| {
            let Some(Event::OutcomeObserved(observed)) = recorded.event() else {
                return false;
            };
            runs.contains(&observed.run) && matches!(observed.outcome, Outcome::Completed { .. })
        });
        assert_eq!(computed.count(), 1);
        // The lead goes a moment after its run has ended.
        until("no lead is left", || {
            let stats = world.actors.experiment.results();
            (stats.entries, stats.in_flight) == (1, 0)
        })
        .await;
        world.stop().await;
    });
}

#[test]
fn who_waits_for_a_run_that_is_cancelled_computes_it() {
    in_system(async {
        let world = World::new(options());
        let waiting = |seed| {
            fault(FaultRequest {
                seed: Some(seed),
                ..FaultRequest::new(What::Wait)
            })
        };
        let (first, second) = (waiting(5), waiting(5));
        let (leads, waits) = (first.run, second.run);
        world.ask(first).await;
        world.running(leads).await;
        world.ask(second).await;
        until("the second waits for the first", || {
            let looked = world.actors.experiment.results().operations;
            looked
                .get("test.fault")
                .is_some_and(|looked| looked.waited == 1)
        })
        .await;
        assert_eq!(world.actors.computation.stats().queued, 1);
        world.cancel(leads).await;
        world.running(waits).await;
        world.cancel(waits).await;
        assert_eq!(world.end(waits).await.status, RunStatus::Cancelled);
        until("no lead is left", || {
            world.actors.experiment.results().in_flight == 0
        })
        .await;
        world.stop().await;
    });
}

#[test]
fn what_a_lab_refuses_is_found_out_again() {
    in_system(async {
        let world = World::new(options());
        // Two equal columns: notears and boss take them, eqvar does not.
        let rows: Vec<[f64; 2]> = (0..20).map(|i| [f64::from(i), f64::from(i)]).collect();
        let body = json!({ "data": rows, "algorithm": "eqvar" });
        let ask = || RunRequest {
            seed: 0,
            ..request(Operation::parse("causal.discover", body.clone()).unwrap())
        };
        let first = ask();
        let run = first.run;
        world.ask(first).await;
        let view = world.end(run).await;
        assert_eq!(view.status, RunStatus::Failed);
        // A hit points to the run that was computed first, which a refusal could not.
        let second = ask();
        let again = second.run;
        world.ask(second).await;
        assert_eq!(world.end(again).await.error, view.error);
        let results = world.actors.experiment.results();
        assert_eq!((results.entries, results.hit_ratio), (0, None));
        world.stop().await;
    });
}

#[test]
fn memory_is_bounded_and_old_results_go() {
    in_system(async {
        let mut few = options();
        few.results.bytes_max = 1_800;
        let world = World::new(few);
        for seed in 0..5 {
            ask(&world, cheap(seed)).await;
        }
        let stats = world.actors.experiment.results();
        assert!(stats.bytes <= 1_800 && stats.entries == 3, "{stats:?}");
        assert_eq!(stats.evictions, 2);
        assert_eq!(ask(&world, cheap(0)).await.1, None, "the oldest is gone");
        assert!(ask(&world, cheap(4)).await.1.is_some());
        world.stop().await;

        let mut short = options();
        short.results.age_max = std::time::Duration::ZERO;
        let world = World::new(short);
        ask(&world, cheap(0)).await;
        assert_eq!(ask(&world, cheap(0)).await.1, None, "it is too old at once");
        world.stop().await;
    });
}
