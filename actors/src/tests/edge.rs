//! What is turned away, and what is said about it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hindcast_model::Refusal;
use hindcast_model::event::{Event, RequestsShed, Settings};

use super::support::{World, fault, in_system, options, until};
use super::{Fault, FaultRequest, Gate, What};
use crate::{Admission, SubmitFailure};

#[test]
fn a_full_mailbox_is_busy_and_counted_and_loses_nobody() {
    in_system(async {
        let mut options = options();
        options.experiment.mailbox_max = 4;
        let world = World::new(options);
        let gate = Arc::new(Gate::default());
        world.inject("experiment", "submit", Fault::Stall(Arc::clone(&gate)));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let experiment = world.actors.experiment.clone();
            // No two are equal: none waits for another.
            let asked = fault(FaultRequest {
                cheap: true,
                ..FaultRequest::new(What::Answer)
            });
            callers.spawn_local(async move { experiment.request_run(asked).await });
        }
        let (mut busy, mut done) = (0, 0);
        while let Some(answer) = callers.join_next().await {
            match answer.unwrap() {
                Ok(Admission::Completed { .. }) => done += 1,
                Err(SubmitFailure::Busy { retry_after, .. }) => {
                    assert_eq!(retry_after, options.experiment.retry_after);
                    busy += 1;
                    // Everybody was turned away or waits: the actor may go on.
                    gate.open();
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(
            busy > 0 && done > 0 && busy + done == 20,
            "{busy} busy, {done} done"
        );
        until("the shed requests are recorded", || {
            world.log.state(|s| s.shed()) == busy
        })
        .await;
        world.stop().await;
    });
}

#[test]
fn counts_of_a_second_are_one_event() {
    in_system(async {
        let world = World::new(options());
        (0..3).for_each(|_| world.actors.experiment.count_malformed());
        (0..2).for_each(|_| world.actors.experiment.count_unauthenticated());
        until("the counts are recorded", || {
            world.log.state(|s| s.shed()) == 5
        })
        .await;
        let expected = RequestsShed {
            overloaded: 0,
            malformed: 3,
            unauthenticated: 2,
        };
        let is_sum = |event: &Event| *event == Event::RequestsShed(expected.clone());
        assert_eq!(world.count(is_sum), 1);
        world.stop().await;
    });
}

#[test]
fn a_full_disk_pauses_the_intake_and_room_resumes_it() {
    in_system(async {
        let world = World::new(options());
        world
            .configure(Settings {
                disk_reserve_bytes: 1_000,
                ..Settings::default()
            })
            .await;
        world.free.store(999, Ordering::Relaxed);
        until("the intake pauses", || {
            world.log.state(|s| s.intake_paused())
        })
        .await;
        let refused = world
            .actors
            .experiment
            .request_run(fault(FaultRequest::new(What::Answer)))
            .await;
        let low = Refusal::DiskLow {
            free_bytes: 999,
            reserve_bytes: 1_000,
        };
        assert!(
            matches!(&refused, Err(SubmitFailure::Refused(refusal)) if *refusal == low),
            "{refused:?}"
        );
        world.free.store(1_250, Ordering::Relaxed);
        until("the intake resumes", || {
            !world.log.state(|s| s.intake_paused())
        })
        .await;
        let sampled = |event: &Event| matches!(event, Event::DiskSampled(_));
        assert_eq!(world.count(sampled), 2);
        world.stop().await;
    });
}

#[test]
fn too_many_watches_are_turned_away() {
    in_system(async {
        let mut options = options();
        options.experiment.watches_max = 1;
        let world = World::new(options);
        let run = world.ask(fault(FaultRequest::new(What::Wait))).await;
        let watch = world.actors.experiment.watch(run).unwrap();
        let second = world.actors.experiment.watch(run);
        assert!(matches!(second, Err(SubmitFailure::Busy { .. })));
        drop(watch);
        assert!(world.actors.experiment.watch(run).is_ok());
        world.stop().await;
    });
}
