//! How many durable validations a second two caller threads get through. Run it with
//! `cargo test --release -p hindcast-actors throughput -- --ignored --nocapture`.

use hindcast_log::Clock;

use super::support::{RealClock, World, in_system, options, validate};
use crate::Admission;

const THREADS: usize = 2;
const CALLERS: usize = 128;
const RUNS_EACH: usize = 300;

#[test]
#[ignore = "measures; proves nothing"]
fn throughput_of_cheap_runs() {
    in_system(async {
        let world = World::new(options());
        let clock = RealClock::new();
        let (began, before) = (clock.monotonic(), world.log.stats());
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let experiment = world.actors.experiment.clone();
                std::thread::spawn(move || {
                    in_system(async {
                        let mut callers = tokio::task::JoinSet::new();
                        for _ in 0..CALLERS {
                            let experiment = experiment.clone();
                            callers.spawn_local(async move {
                                for _ in 0..RUNS_EACH {
                                    let answer = experiment.request_run(validate()).await.unwrap();
                                    assert!(matches!(answer, Admission::Completed { .. }));
                                }
                            });
                        }
                        callers.join_all().await;
                    });
                })
            })
            .collect();
        let wait =
            tokio::task::spawn_blocking(|| threads.into_iter().for_each(|t| t.join().unwrap()));
        wait.await.unwrap();
        let micros = clock.monotonic() - began;
        let after = world.log.stats();
        let runs = (THREADS * CALLERS * RUNS_EACH) as u64;
        let frames = after.frames - before.frames;
        println!(
            "{} runs/s, {frames} frames of {} runs, {} us a sync",
            runs * 1_000_000 / micros,
            runs / frames.max(1),
            (after.sync_micros - before.sync_micros) / frames.max(1)
        );
        // What one call costs its caller's thread before it is sent.
        let began = clock.monotonic();
        for _ in 0..2_000 {
            let asked = validate();
            let control = hindcast_causal::Uncontrolled;
            asked.operation().execute(None, 0, &control).unwrap();
        }
        println!(
            "{} us to parse and compute",
            (clock.monotonic() - began) / 2_000
        );
        world.stop().await;
    });
}
