//! What a restart of the whole process finds again.

use hindcast_model::event::{Event, Settings};

use super::support::{World, fault, in_system, options, until};
use super::{FaultRequest, What};
use crate::views::RunStatus;

#[test]
fn pending_runs_are_computed_after_a_restart_with_the_same_id_and_seed() {
    in_system(async {
        let mut options = options();
        options.computation.running_max = 1;
        let world = World::new(options);
        let blocking = world.ask(fault(FaultRequest::new(What::Wait))).await;
        world.running(blocking).await;
        let asked = crate::RunRequest {
            seed: 7_001,
            ..fault(FaultRequest::new(What::Answer))
        };
        let run = world.ask(asked).await;
        let requested = world.view(run);
        let world = world.restart().await;
        // The one that blocks is pending again as well, and runs first.
        world.running(blocking).await;
        let cancel = world.actors.experiment.cancel(
            blocking,
            super::support::identity(),
            "in the way".to_owned(),
        );
        cancel.await.unwrap();
        let view = world.end(run).await;
        assert_eq!(view.status, RunStatus::Completed);
        assert_eq!(view.seed, 7_001);
        assert_eq!(view.result.unwrap()["seed"], 7_001);
        assert_eq!(view.first_seq, requested.first_seq);
        let outcomes = world.count(|event| matches!(event, Event::OutcomeObserved(_)));
        assert_eq!(outcomes, 1);
        world.stop().await;
    });
}

#[test]
fn more_pending_runs_than_the_queue_holds_are_all_computed() {
    in_system(async {
        let mut options = options();
        options.computation.running_max = 1;
        options.computation.queue_max = 2;
        let world = World::new(options);
        world
            .configure(Settings {
                runs_in_flight_max: 100,
                ..Settings::default()
            })
            .await;
        let blocking = world.ask(fault(FaultRequest::new(What::Wait))).await;
        let mut runs = Vec::new();
        for _ in 0..20 {
            runs.push(world.ask(fault(FaultRequest::new(What::Answer))).await);
        }
        let world = world.restart().await;
        world.running(blocking).await;
        let who = super::support::identity();
        world
            .actors
            .experiment
            .cancel(blocking, who, String::new())
            .await
            .unwrap();
        for run in runs {
            assert_eq!(world.end(run).await.status, RunStatus::Completed);
        }
        until("nothing is left", || {
            world.log.state(|state| state.in_flight()) == 0
        })
        .await;
        world.stop().await;
    });
}

#[test]
fn a_run_that_ended_before_the_watch_is_over_at_once() {
    in_system(async {
        let world = World::new(options());
        let run = world.ask(fault(FaultRequest::new(What::Answer))).await;
        world.end(run).await;
        let watch = world.actors.experiment.watch(run).unwrap();
        assert!(watch.is_over());
        assert_eq!(watch.progress(), None);
        world.stop().await;
    });
}
