//! Results that are computed again.

use hindcast_log::Reader;
use hindcast_model::event::{Event, Outcome, RunRequested};
use hindcast_model::{Command, Digest, EventId, KeyId, Name16, RunId, Submission};
use serde_json::json;

use super::support::{World, fresh_id, in_system, options, request, until, validate};
use crate::history::{Archive, recompute};
use crate::{Operation, RunRequest};

fn discover(seed: u64) -> RunRequest {
    let rows: Vec<[f64; 3]> = (0..40_u32)
        .map(|i| {
            let x = f64::from(i * 7 % 13);
            [x, x + f64::from(i % 3), f64::from(i * 5 % 11)]
        })
        .collect();
    let body = json!({ "data": rows, "seed": seed, "bootstrap": 3 });
    RunRequest {
        seed,
        ..request(Operation::parse("causal.discover", body).unwrap())
    }
}

fn command(event: Event) -> Command {
    let id = EventId(fresh_id());
    Command {
        event_id: id,
        causation: id,
        correlation: id,
        principal: Name16::new("tester"),
        tenant: Name16::default(),
        key: KeyId(0),
        expect: None,
        event,
    }
}

#[test]
fn recorded_results_come_out_again_and_others_are_named() {
    in_system(async {
        let world = World::new(options());
        for asked in [
            validate(),
            validate(),
            discover(1),
            discover(2),
            discover(1),
        ] {
            let run = asked.run;
            world.actors.experiment.request_run(asked).await.unwrap();
            until("the run has ended", || {
                world.log.state(|state| state.run(run).is_none())
            })
            .await;
        }
        let profile = "test-profile";
        let again = |profile: &str| {
            let reader = Reader::open(world.log.data_dir()).unwrap();
            let (blobs, vault) = (reader.blobs(), &*world.vault);
            let archive = Archive {
                reader: &reader,
                blobs: &blobs,
                vault,
            };
            recompute(archive, profile, &|_| {}).unwrap()
        };
        let report = again(profile);
        assert_eq!((report.compared, report.computations), (5, 3), "{report:?}");
        assert_eq!(report.differing, []);
        assert_eq!(again("another machine").elsewhere, 5);

        // A result that its request does not have.
        let run = RunId(fresh_id());
        let forged = |event: &Event| {
            if let Event::RunRequested(request) = event.clone() {
                return Some(Event::RunRequested(RunRequested { run, ..request }));
            }
            let Event::OutcomeObserved(mut observed) = event.clone() else {
                return None;
            };
            observed.run = run;
            if let Outcome::Completed { result_hash, .. } = &mut observed.outcome {
                *result_hash = Digest([7; 32]);
            }
            Some(Event::OutcomeObserved(observed))
        };
        let events = world.events();
        let pair = events.iter().filter_map(|recorded| {
            let event = forged(recorded.event()?)?;
            Some(command(event))
        });
        let commands = pair.take(2).collect();
        world.log.submit_and_wait(Submission { commands }).unwrap();
        let report = again(profile);
        assert_eq!(report.differing_total, 1);
        assert_eq!(report.differing[0].run, run);
        world.stop().await;
    });
}
