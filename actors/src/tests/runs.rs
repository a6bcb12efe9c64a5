//! Runs from their request to their end.

use std::time::Duration;

use hindcast_model::event::{Event, Idempotency, Outcome, OutcomeObserved, RunRequested, Settings};
use hindcast_model::{Digest, ExperimentId, Payload, Refusal, Stream};
use serde_json::json;

use super::support::{
    World, fault, fresh_id, identity, in_system, options, request, until, validate,
};
use super::{FaultRequest, What};
use crate::supervisor::system_command;
use crate::views::RunStatus;
use crate::{
    Admission, CancelAnswer, DatasetAnswer, ExperimentAnswer, ExperimentRequest, Operation,
    RunRequest, SubmitFailure, Upload,
};

#[test]
fn a_cheap_run_costs_one_frame() {
    in_system(async {
        let world = World::new(options());
        let before = world.log.stats();
        let asked = validate();
        let run = asked.run;
        let admission = world.actors.experiment.request_run(asked).await.unwrap();
        let after = world.log.stats();
        assert_eq!(
            (after.frames - before.frames, after.events - before.events),
            (1, 4)
        );
        let Admission::Completed {
            result, original, ..
        } = admission
        else {
            panic!("{admission:?}");
        };
        let view = world.view(run);
        assert_eq!((view.status, view.immediate), (RunStatus::Completed, true));
        assert_eq!(view.result.as_ref().unwrap()["identifiable"], true);
        assert!(result.unwrap().json.contains(r#""identifiable":true"#));
        assert_eq!(original, None);
        world.stop().await;
    });
}

#[test]
fn a_wrong_cheap_request_is_told_and_not_recorded() {
    in_system(async {
        let world = World::new(options());
        let head = world.log.head();
        let body = json!({"graph": "dag { x -> y }", "treatment": "x", "outcome": "nowhere"});
        let operation = Operation::parse("causal.validate", body).unwrap();
        let failure = world
            .actors
            .experiment
            .request_run(request(operation))
            .await
            .unwrap_err();
        assert!(matches!(failure, SubmitFailure::Invalid(_)), "{failure:?}");
        assert_eq!(world.log.head(), head);
        world.stop().await;
    });
}

#[test]
fn a_cheap_run_that_takes_long_is_recorded_first() {
    in_system(async {
        let mut options = options();
        options.experiment.cheap_budget = Duration::from_millis(5);
        let world = World::new(options);
        let cheap = FaultRequest {
            cheap: true,
            ..FaultRequest::new(What::Wait)
        };
        let run = world.ask(fault(cheap)).await;
        world.running(run).await;
        assert!(!world.view(run).immediate);
        world.stop().await;
    });
}

#[test]
fn a_cheap_run_that_panics_is_a_recorded_failure() {
    in_system(async {
        let world = World::new(options());
        let cheap = FaultRequest {
            cheap: true,
            ..FaultRequest::new(What::Panic)
        };
        let asked = fault(cheap);
        let run = asked.run;
        let answer = world.actors.experiment.request_run(asked).await.unwrap();
        assert!(matches!(answer, Admission::Completed { .. }), "{answer:?}");
        let error = world.view(run).error.unwrap();
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("panicked", "the lab is broken")
        );
        world.stop().await;
    });
}

#[test]
fn an_expensive_run_is_recorded_before_it_is_computed() {
    in_system(async {
        let world = World::new(options());
        let rows: Vec<Vec<f64>> = (0..50_u32)
            .map(|i| {
                let x = f64::from(i % 7);
                vec![x, 2.0 * x + f64::from(i % 3), f64::from(i * i % 11)]
            })
            .collect();
        let operation = Operation::parse("causal.discover", json!({ "data": rows })).unwrap();
        let run = world.ask(request(operation)).await;
        let view = world.end(run).await;
        assert_eq!(
            (view.status, view.immediate, view.seed),
            (RunStatus::Completed, false, 42)
        );
        assert_eq!(view.request["seed"], 42);
        assert_eq!(view.numeric_profile.as_deref(), Some("test-profile"));
        let kinds: Vec<&str> = view
            .causation
            .iter()
            .map(|cause| cause.kind.as_str())
            .collect();
        assert_eq!(
            kinds,
            [
                "run_requested",
                "run_admitted",
                "outcome_observed",
                "run_completed"
            ]
        );
        assert_eq!(view.causation[2].causation, view.causation[0].event_id);
        assert!(view.durations.total_ms.unwrap() >= view.durations.computed_ms.unwrap());
        world.stop().await;
    });
}

#[test]
fn failures_of_the_lab_are_outcomes_and_others_go_on() {
    in_system(async {
        let world = World::new(options());
        let panics = world.ask(fault(FaultRequest::new(What::Panic))).await;
        let fails = world.ask(fault(FaultRequest::new(What::Internal))).await;
        let answers = world.ask(fault(FaultRequest::new(What::Answer))).await;
        let code = |view: crate::views::RunView| (view.status, view.error.map(|error| error.code));
        assert_eq!(
            code(world.end(panics).await),
            (RunStatus::Failed, Some("panicked".to_owned()))
        );
        assert_eq!(
            code(world.end(fails).await),
            (RunStatus::Failed, Some("internal".to_owned()))
        );
        assert_eq!(code(world.end(answers).await), (RunStatus::Completed, None));
        world.stop().await;
    });
}

#[test]
fn cancelling_stops_a_running_run_and_forgets_a_queued_one() {
    in_system(async {
        let mut options = options();
        options.computation.running_max = 1;
        let world = World::new(options);
        let running = world.ask(fault(FaultRequest::new(What::Wait))).await;
        world.running(running).await;
        assert_eq!(world.view(running).status, RunStatus::Running);
        let queued = world.ask(fault(FaultRequest::new(What::Wait))).await;
        until("it is queued", || {
            world.actors.computation.stats().queued == 1
        })
        .await;
        for run in [queued, running] {
            let cancel = world
                .actors
                .experiment
                .cancel(run, identity(), "enough".to_owned());
            let answer = cancel.await.unwrap();
            assert!(
                matches!(answer, CancelAnswer::Cancelled { .. }),
                "{answer:?}"
            );
            let view = world.end(run).await;
            assert_eq!((view.status, view.result), (RunStatus::Cancelled, None));
        }
        until("the thread is free", || {
            let stats = world.actors.computation.stats();
            (stats.queued, stats.running, stats.unrecorded) == (0, 0, 0)
        })
        .await;
        let again = world
            .actors
            .experiment
            .cancel(running, identity(), String::new())
            .await;
        assert_eq!(again, Ok(CancelAnswer::NotOpen { run: running }));
        let outcomes = world.count(|event| matches!(event, Event::OutcomeObserved(_)));
        assert_eq!(outcomes, 0);
        world.stop().await;
    });
}

#[test]
fn a_deadline_ends_running_and_queued_runs() {
    in_system(async {
        let mut options = options();
        options.computation.running_max = 1;
        let world = World::new(options);
        let with_deadline = |millis| RunRequest {
            deadline: Some(Duration::from_millis(millis)),
            ..fault(FaultRequest::new(What::Wait))
        };
        let running = world.ask(with_deadline(150)).await;
        let queued = world.ask(with_deadline(20)).await;
        for run in [queued, running] {
            let view = world.end(run).await;
            assert_eq!(view.status, RunStatus::Failed);
            assert_eq!(view.error.unwrap().code, "deadline_exceeded");
        }
        until("the thread is free", || {
            let stats = world.actors.computation.stats();
            (stats.queued, stats.running, stats.unrecorded) == (0, 0, 0)
        })
        .await;
        world.stop().await;
    });
}

#[test]
fn runs_over_the_limit_are_refused_and_those_over_the_queue_wait_in_the_log() {
    in_system(async {
        let mut options = options();
        options.computation.running_max = 1;
        options.computation.queue_max = 1;
        let world = World::new(options);
        world
            .configure(Settings {
                runs_in_flight_max: 5,
                ..Settings::default()
            })
            .await;
        let first = world.ask(fault(FaultRequest::new(What::Wait))).await;
        world.running(first).await;
        let mut waiting = Vec::new();
        for _ in 0..4 {
            waiting.push(world.ask(fault(FaultRequest::new(What::Answer))).await);
            assert!(world.actors.computation.stats().queued <= 1);
        }
        let over = fault(FaultRequest::new(What::Answer));
        let answer = world.actors.experiment.request_run(over).await.unwrap();
        let full = Refusal::QueueFull {
            in_flight: 5,
            limit: 5,
        };
        assert!(
            matches!(&answer, Admission::Refused { refusal, .. } if *refusal == full),
            "{answer:?}"
        );
        world
            .actors
            .experiment
            .cancel(first, identity(), String::new())
            .await
            .unwrap();
        for run in waiting {
            assert_eq!(world.end(run).await.status, RunStatus::Completed);
        }
        world.stop().await;
    });
}

#[test]
fn a_late_duplicate_outcome_changes_nothing() {
    in_system(async {
        let world = World::new(options());
        let run = world.ask(fault(FaultRequest::new(What::Answer))).await;
        let before = world.end(run).await;
        let outcome = Outcome::Failed {
            code: "internal".to_owned(),
            field: None,
            message: "late".to_owned(),
            hint: None,
        };
        let observed = Event::OutcomeObserved(OutcomeObserved {
            run,
            outcome,
            numeric_profile: String::new(),
            queued_micros: 0,
            computed_micros: 0,
        });
        let command = system_command(hindcast_model::EventId(fresh_id()), observed);
        let receipt = world
            .actors
            .experiment
            .submit(command.into())
            .await
            .unwrap();
        assert_eq!(receipt.decided, []);
        assert_eq!(world.view(run), before);
        world.stop().await;
    });
}

#[test]
fn large_specs_and_results_are_blobs() {
    in_system(async {
        let world = World::new(options());
        let padding = "p".repeat(40_000);
        let large = FaultRequest {
            padding,
            ..FaultRequest::new(What::LargeAnswer)
        };
        let run = world.ask(fault(large)).await;
        let view = world.end(run).await;
        assert_eq!(view.status, RunStatus::Completed);
        assert_eq!(
            view.result.unwrap()["text"].as_str().unwrap().len(),
            100_000
        );
        let stream = world.log.read_stream(Stream::run(run)).unwrap();
        let blobs = stream.iter().filter(|recorded| match recorded.event() {
            Some(Event::RunRequested(RunRequested {
                spec: Payload::Blob { .. },
                ..
            })) => true,
            Some(Event::OutcomeObserved(OutcomeObserved { outcome, .. })) => {
                matches!(
                    outcome,
                    Outcome::Completed {
                        result: Payload::Blob { .. },
                        ..
                    }
                )
            }
            _ => false,
        });
        assert_eq!(blobs.count(), 2);
        world.stop().await;
    });
}

#[test]
fn a_repeated_key_is_answered_by_the_first_run() {
    in_system(async {
        let world = World::new(options());
        let idempotency = Some(Idempotency {
            key: [7; 16],
            body: Digest([1; 32]),
        });
        let first = RunRequest {
            idempotency,
            ..validate()
        };
        let original = first.run;
        world.actors.experiment.request_run(first).await.unwrap();
        let second = RunRequest {
            idempotency,
            ..validate()
        };
        let run = second.run;
        let answer = world.actors.experiment.request_run(second).await.unwrap();
        assert_eq!(answer, Admission::Deduplicated { run, original });
        let other = Some(Idempotency {
            key: [7; 16],
            body: Digest([2; 32]),
        });
        let third = RunRequest {
            idempotency: other,
            ..validate()
        };
        let run = third.run;
        let answer = world.actors.experiment.request_run(third).await.unwrap();
        assert_eq!(
            answer,
            Admission::Refused {
                run,
                refusal: Refusal::IdempotencyKeyReused
            }
        );
        world.stop().await;
    });
}

#[test]
fn an_uploaded_dataset_is_read_once_for_several_runs() {
    in_system(async {
        let mut options = options();
        options.computation.running_max = 1;
        let world = World::new(options);
        let csv = "a,b,c\n1,2,3\n2,4.5,1\n3,5,9\n4,9,2\n5,9,9\n";
        let upload = || Upload {
            bytes: csv.as_bytes().to_vec(),
            name: "little".to_owned(),
            identity: identity(),
            idempotency: None,
        };
        let answer = world.actors.experiment.upload(upload()).await.unwrap();
        let DatasetAnswer::Registered {
            digest,
            known: false,
            profile,
            ..
        } = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!((profile.rows, profile.columns.len()), (5, 3));
        let again = world.actors.experiment.upload(upload()).await.unwrap();
        assert!(matches!(
            again,
            DatasetAnswer::Registered { known: true, .. }
        ));
        for seed in 0..3 {
            let body = json!({ "dataset": digest.to_string() });
            let operation = Operation::parse("causal.discover", body).unwrap();
            let asked = RunRequest {
                seed,
                ..request(operation)
            };
            let run = world.ask(asked).await;
            assert_eq!(world.end(run).await.status, RunStatus::Completed);
        }
        let cache = world.actors.computation.stats().cache;
        assert_eq!((cache.entries, cache.hits, cache.misses), (1, 2, 1));
        let bad = Upload {
            bytes: b"a,b\n1\n".to_vec(),
            ..upload()
        };
        let failure = world.actors.experiment.upload(bad).await.unwrap_err();
        assert!(matches!(failure, SubmitFailure::Invalid(_)), "{failure:?}");
        world.stop().await;
    });
}

#[test]
fn an_experiment_is_one_frame_and_ends_with_its_last_run() {
    in_system(async {
        let world = World::new(options());
        let experiment = ExperimentId(fresh_id());
        let ask = || ExperimentRequest {
            experiment,
            identity: identity(),
            name: "series".to_owned(),
            spec: json!({ "runs": 3 }),
            runs: (0..3)
                .map(|_| fault(FaultRequest::new(What::Answer)))
                .collect(),
            idempotency: None,
        };
        let before = world.log.stats().frames;
        let answer = world
            .actors
            .experiment
            .request_experiment(ask())
            .await
            .unwrap();
        let ExperimentAnswer::Admitted { runs, refused, .. } = answer else {
            panic!("{answer:?}");
        };
        assert!(world.log.stats().frames > before);
        assert_eq!((runs.len(), refused.len()), (3, 0));
        for run in runs {
            assert_eq!(world.end(run).await.status, RunStatus::Completed);
        }
        let events = world
            .log
            .read_stream(Stream::experiment(experiment))
            .unwrap();
        let view = world.log.state(|state| {
            crate::views::experiment(&events, state, &crate::views::unread).unwrap()
        });
        assert_eq!(
            (view.status, view.tally.completed, view.remaining),
            ("completed", 3, 0)
        );
        let stats = world.log.state(crate::views::stats);
        assert_eq!(stats.operations["test.fault"].tally.completed, 3);
        world.stop().await;
    });
}
