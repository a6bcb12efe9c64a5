//! Panics at random, in every actor and every kind of message, while work goes on.

use std::time::Duration;

use hindcast_log::{Reader, state_hash};

use super::support::{World, fault, fresh_id, options, until, validate};
use super::{Fault, FaultRequest, What};
use crate::views::RunStatus;
use crate::{Admission, Phase, RestartPolicy};

/// Every actor with every kind of message, and what is handled without one.
const PLACES: [(&str, &[&str]); 5] = [
    ("metrics", &["start", "tick", "durable"]),
    ("computation", &["start", "tick", "admitted", "rescan"]),
    ("experiment", &["start", "tick", "submit"]),
    ("scrub", &["start", "tick", "begin"]),
    ("backup", &["start", "tick", "look"]),
];

/// Panics that one run of the test sees; `HINDCAST_INJECTIONS=10000` for a long one.
fn injections() -> u32 {
    let asked = std::env::var("HINDCAST_INJECTIONS").ok();
    asked.map_or(200, |text| text.parse().expect("a number"))
}

fn struck(world: &World) -> u32 {
    let statuses = world.actors.supervision.statuses();
    statuses.iter().map(|status| status.restarts).sum()
}

#[test]
fn random_panics_lose_nothing_that_was_acknowledged() {
    let wanted = injections();
    let mut options = options();
    options.supervision.restart = RestartPolicy {
        restarts_max: u32::MAX,
        backoff_first: Duration::ZERO,
        backoff_max: Duration::ZERO,
        ..RestartPolicy::default()
    };
    actix_rt::System::new().block_on(async {
        let world = World::new(options);
        let mut random = fresh_id().as_u128() | 1;
        let mut below = |n: usize| {
            random ^= random << 23;
            random ^= random >> 61;
            usize::try_from(random >> 96).expect("32 bits") % n
        };
        let mut acknowledged = Vec::new();
        while struck(&world) < wanted {
            let before = struck(&world);
            for _ in 0..=below(3) {
                let (actor, kinds) = PLACES[below(PLACES.len())];
                world.inject(actor, kinds[below(kinds.len())], Fault::Panic);
            }
            // One that is being rebuilt takes none.
            let _ = world.actors.scrub.begin();
            let experiment = world.actors.experiment.clone();
            let heavy = fault(FaultRequest::new(What::Answer));
            let (heavy_run, cheap) = (heavy.run, validate());
            let cheap_run = cheap.run;
            let runs = [
                (heavy_run, experiment.request_run(heavy).await),
                (cheap_run, experiment.request_run(cheap).await),
            ];
            acknowledged.extend(runs.into_iter().filter_map(|(run, answer)| match answer {
                Ok(Admission::Admitted { .. } | Admission::Completed { .. }) => Some(run),
                // Nothing was promised.
                _ => None,
            }));
            let mut waits = 0..20;
            while struck(&world) == before && waits.next().is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        until("every actor runs", || {
            let statuses = world.actors.supervision.statuses();
            statuses.iter().all(|status| status.phase == Phase::Running)
        })
        .await;
        assert!(acknowledged.len() > 10, "{}", acknowledged.len());
        for run in &acknowledged {
            assert_eq!(world.end(*run).await.status, RunStatus::Completed);
        }
        let log = world.log.clone();
        let dir = world.stop().await;
        let live = log.state(|state| (state.seq(), state_hash(state).unwrap()));
        drop(log);
        let folded = Reader::open(dir.path())
            .unwrap()
            .fold(None, live.0)
            .unwrap();
        assert_eq!(state_hash(&folded.state).unwrap(), live.1);
    });
}
