//! The cache of results beside its memory: what is read back from the log, and what can be asked of
//! it.

use std::sync::Arc;
use std::time::Duration;

use hindcast_log::{Pointer, Shelf};
use hindcast_model::event::{CacheCommanded, CacheVerb, Event};
use hindcast_model::{Digest, KeyId, Name16, RunId, UnixMicros};
use serde_json::json;

use super::support::{World, fault, identity, in_system, options, request, until};
use super::{FaultRequest, What};
use crate::results::{Kept, Start, Tags};
use crate::views::RunStatus;
use crate::{
    Admission, Computed, DiskStatus, Identity, Operation, Resize, ResultCacheStats, RunRequest,
    Selector, Verdict,
};

fn slow(seed: u64) -> RunRequest {
    fault(FaultRequest {
        seed: Some(seed),
        ..FaultRequest::new(What::Answer)
    })
}

fn all() -> Selector {
    Selector {
        all: true,
        ..Selector::default()
    }
}

fn stats(world: &World) -> ResultCacheStats {
    world.actors.experiment.results()
}

/// Computes this and waits until it is kept, in memory and on disk.
async fn compute(world: &World, asked: RunRequest) -> RunId {
    ready(world).await;
    let before = stats(world);
    let run = world.ask(asked).await;
    assert_eq!(world.end(run).await.status, RunStatus::Completed);
    until("it is kept", || {
        let now = stats(world);
        now.entries == before.entries + 1 && now.disk.entries == before.disk.entries + 1
    })
    .await;
    run
}

async fn ready(world: &World) {
    until("the disk is ready", || {
        stats(world).disk.status == DiskStatus::Ready
    })
    .await;
}

/// The run that answers it at once; none when it is to be computed.
async fn original(world: &World, asked: RunRequest) -> Option<RunId> {
    let admission = world.actors.experiment.request_run(asked).await.unwrap();
    match admission {
        Admission::Completed { original, .. } => original,
        Admission::Admitted { run, .. } => {
            world.end(run).await;
            None
        }
        other @ (Admission::Deduplicated { .. } | Admission::Refused { .. }) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn a_restart_keeps_hits() {
    in_system(async {
        let world = World::new(options());
        let run = compute(&world, slow(3)).await;
        let before = world.view(run);
        let world = world.restart().await;
        ready(&world).await;
        assert_eq!(stats(&world).entries, 0);
        let hit = slow(3);
        let again = hit.run;
        assert_eq!(original(&world, hit).await, Some(run));
        let view = world.view(again);
        assert_eq!(
            (view.result_hash, view.result),
            (before.result_hash, before.result)
        );
        let now = stats(&world);
        let lookups = now.operations["test.fault"];
        assert_eq!(
            (lookups.hits, lookups.hits_on_disk, lookups.misses),
            (1, 1, 0)
        );
        assert_eq!((now.disk.hits, now.entries), (1, 1));
        // From here on it is in memory.
        assert_eq!(original(&world, slow(3)).await, Some(run));
        assert_eq!(stats(&world).disk.hits, 1);
        assert_eq!(original(&world, slow(4)).await, None);
        world.stop().await;
    });
}

#[test]
fn what_is_on_disk_is_proved_by_the_log_or_not_believed() {
    in_system(async {
        let world = World::new(options());
        let (right, wrong) = (slow(1), slow(2));
        let key = |asked: &RunRequest| asked.question.cache_key(KeyId(0)).unwrap();
        let key = key(&wrong);
        let run = compute(&world, right).await;
        let log = world.log.head().log;
        let dir = world.let_go().await;
        // Somebody says that the run has the result of another request, and of one that never was.
        let (shelf, _) = Shelf::open(&dir.path().join("results"), log, 1 << 20).unwrap();
        let pointer = Pointer {
            at: UnixMicros(u64::MAX),
            run,
            operation: "test.fault".to_owned(),
            algorithm: "fault/1".to_owned(),
            dataset: None,
            experiment: None,
        };
        shelf.put(key, &pointer).unwrap();
        shelf.sync().unwrap();
        drop(shelf);
        let world = World::open(dir, options(), KeyId(0));
        ready(&world).await;
        assert_eq!(stats(&world).disk.entries, 2);
        assert_eq!(original(&world, wrong).await, None);
        assert_eq!(stats(&world).disk.refuted, 1);
        assert_eq!(original(&world, slow(1)).await, Some(run));
        world.stop().await;
    });
}

#[test]
fn a_lost_disk_costs_time_alone() {
    in_system(async {
        let world = World::new(options());
        let run = compute(&world, slow(7)).await;
        let before = world.view(run);
        let dir = world.let_go().await;
        let file = dir.path().join("results/db");
        let mut bytes = std::fs::read(&file).unwrap();
        for byte in &mut bytes {
            *byte ^= 0x55;
        }
        std::fs::write(&file, bytes).unwrap();
        let world = World::open(dir, options(), KeyId(0));
        ready(&world).await;
        let disk = stats(&world).disk;
        assert_eq!(disk.entries, 0);
        let again = slow(7);
        let second = again.run;
        assert_eq!(original(&world, again).await, None);
        let view = world.view(second);
        assert_eq!(
            (view.result_hash, view.result),
            (before.result_hash, before.result)
        );
        world.stop().await;
    });
}

#[test]
fn nothing_of_a_subject_is_on_disk() {
    in_system(async {
        let world = World::new(options());
        ready(&world).await;
        let of_subject = |seed| RunRequest {
            identity: Identity {
                subject: Some(Name16::new("patient-7")),
                ..identity()
            },
            ..slow(seed)
        };
        let run = world.ask(of_subject(1)).await;
        assert_eq!(world.end(run).await.status, RunStatus::Completed);
        until("it is in memory", || stats(&world).entries == 1).await;
        // What comes after it has been written, so it would have been too.
        compute(&world, slow(2)).await;
        assert_eq!(stats(&world).disk.entries, 1);
        assert_eq!(original(&world, of_subject(1)).await, Some(run));
        let redacted = world
            .actors
            .experiment
            .redact(Name16::new("patient-7"), identity(), String::new())
            .await;
        assert!(redacted.unwrap().is_some());
        assert_eq!(stats(&world).entries, 0);
        let begun = world.actors.experiment.warm_results(100);
        assert!(begun.is_some());
        until("it has warmed", || {
            stats(&world).warming.is_some_and(|warming| warming.ended)
        })
        .await;
        let now = stats(&world);
        assert_eq!((now.entries, now.disk.entries), (1, 1));
        world.stop().await;
    });
}

#[test]
fn an_invalidation_goes_by_and_by_and_what_is_left_still_answers() {
    in_system(async {
        let world = World::new(options());
        for seed in 0..3 {
            compute(&world, slow(seed)).await;
        }
        let invalidate = |selector: Selector, per_second| {
            let begun = world
                .actors
                .experiment
                .invalidate_results(selector, per_second);
            begun.expect("there is room for it")
        };
        // Slowly enough to see it half done.
        let begun = invalidate(all(), 2);
        assert_eq!((begun.selected, begun.in_flight), (3, 0));
        assert!(
            original(&world, slow(2)).await.is_some(),
            "used last, it goes last"
        );
        until("all have gone", || {
            stats(&world).invalidations.iter().all(|sweep| sweep.ended)
        })
        .await;
        let now = stats(&world);
        assert_eq!((now.entries, now.disk.entries), (0, 0));
        assert_eq!((now.invalidations[0].done, now.evictions), (3, 3));
        // What is computed afterwards stays.
        let other = Selector {
            operation: Some("causal.discover".to_owned()),
            ..Selector::default()
        };
        compute(&world, slow(1)).await;
        assert_eq!(invalidate(other, 1).selected, 0);
        let prefix = Selector {
            prefix: Some(stats(&world).top[0].key[..8].to_owned()),
            ..Selector::default()
        };
        assert_eq!(invalidate(prefix, 1_000).selected, 1);
        until("that has gone", || {
            let now = stats(&world);
            now.entries == 0 && now.disk.entries == 0
        })
        .await;
        world.stop().await;
    });
}

#[test]
fn what_is_being_computed_while_it_is_invalidated_is_not_kept() {
    in_system(async {
        let world = World::new(options());
        ready(&world).await;
        let results = Arc::clone(&world.actors.results);
        let asked = slow(1);
        let tags = Tags::of(asked.operation(), None, true);
        let begin = |key| match results.begin(key, &tags) {
            Start::Lead(lead) => lead,
            Start::Known(_) | Start::Busy => panic!("nobody computes it"),
        };
        let kept = || Kept {
            original: RunId::default(),
            computed: Arc::new(Computed {
                json: crate::operation::Json::of("{}".to_owned()).unwrap(),
                hash: Digest::default(),
                schema: 1,
                algorithm_version: "fault/1".to_owned(),
            }),
        };
        let before = begin(Digest([1; 32]));
        let (woken, wakes) = std::sync::mpsc::channel();
        assert!(results.wait(Digest([1; 32]), move || woken.send(()).unwrap()));
        let begun = results
            .invalidate(all(), 100)
            .expect("there is room for it");
        assert_eq!((begun.selected, begun.in_flight), (0, 1));
        let after = begin(Digest([2; 32]));
        before.finish(kept());
        after.finish(kept());
        assert!(wakes.try_recv().is_ok(), "who waits looks again");
        let now = stats(&world);
        assert_eq!(
            (now.entries, now.top[0].key.as_str()),
            (1, &*"02".repeat(32))
        );
        // A redaction keeps nothing that is under way either.
        let during = begin(Digest([3; 32]));
        results.clear();
        during.finish(kept());
        assert_eq!(stats(&world).entries, 0);
        world.stop().await;
    });
}

#[test]
fn a_smaller_cache_holds_less_at_once_also_under_load() {
    in_system(async {
        let world = World::new(options());
        let cheap = |seed| {
            fault(FaultRequest {
                cheap: true,
                seed: Some(seed),
                ..FaultRequest::new(What::Answer)
            })
        };
        for seed in 0..20 {
            original(&world, cheap(seed)).await;
        }
        assert_eq!(stats(&world).entries, 20);
        let load = async {
            for seed in 20..120 {
                original(&world, cheap(seed)).await;
            }
        };
        let resize = async {
            for bytes_max in [8_000, 4_000, 2_000] {
                world.actors.experiment.resize_results(Resize {
                    bytes_max: Some(bytes_max),
                    ..Resize::default()
                });
                for _ in 0..50 {
                    let now = stats(&world);
                    assert!(now.bytes <= bytes_max && now.resized, "{now:?}");
                    tokio::task::yield_now().await;
                }
            }
        };
        futures_join(load, resize).await;
        let now = stats(&world);
        assert!(now.bytes <= 2_000 && now.entries == 3, "{now:?}");
        world.actors.experiment.resize_results(Resize {
            entries_max: Some(1),
            age_max: Some(Duration::from_secs(3_600)),
            disk_bytes_max: Some(0),
            ..Resize::default()
        });
        assert_eq!(stats(&world).entries, 1);
        world.stop().await;
    });
}

/// Both, side by side on one thread.
async fn futures_join(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut a_done, mut b_done) = (false, false);
    std::future::poll_fn(|context| {
        a_done = a_done || a.as_mut().poll(context).is_ready();
        b_done = b_done || b.as_mut().poll(context).is_ready();
        match a_done && b_done {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

#[test]
fn warming_reads_the_results_back_that_were_asked_for_most_often() {
    in_system(async {
        let world = World::new(options());
        let mut runs = Vec::new();
        for seed in 0..4 {
            runs.push(compute(&world, slow(seed)).await);
        }
        for _ in 0..3 {
            assert_eq!(original(&world, slow(2)).await, Some(runs[2]));
        }
        assert_eq!(original(&world, slow(1)).await, Some(runs[1]));
        let world = world.restart().await;
        ready(&world).await;
        assert_eq!(stats(&world).entries, 0);
        world.actors.experiment.warm_results(2).expect("it begins");
        until("it has warmed", || {
            stats(&world).warming.is_some_and(|warming| warming.ended)
        })
        .await;
        let now = stats(&world);
        let warming = now.warming.unwrap();
        assert_eq!(
            (warming.found, warming.warmed, warming.passed_over),
            (4, 2, 0)
        );
        assert_eq!((now.entries, now.disk.entries), (2, 4));
        for seed in [1, 2] {
            let place = usize::try_from(seed).unwrap();
            assert_eq!(original(&world, slow(seed)).await, Some(runs[place]));
        }
        assert_eq!(stats(&world).disk.hits, 0, "they were in memory");
        assert_eq!(original(&world, slow(0)).await, Some(runs[0]));
        assert_eq!(stats(&world).disk.hits, 1);
        world.stop().await;
    });
}

/// A process that ends before anything has gone: it is recorded, and nothing more.
#[test]
fn what_was_invalidated_is_gone_after_a_restart_and_no_warming_brings_it_back() {
    in_system(async {
        let world = World::new(options());
        for seed in 0..3 {
            compute(&world, slow(seed)).await;
        }
        let invalidate = |world: &World, select: &Selector| {
            let wish = Event::CacheCommanded(CacheCommanded {
                cache: "results".to_owned(),
                verb: CacheVerb::Invalidate,
                detail: json!({ "select": select, "per_second": 1 }).to_string(),
                reason: "a faulty memory module".to_owned(),
            });
            let command = identity().command(wish);
            let experiment = world.actors.experiment.clone();
            async move { experiment.submit(command.into()).await.unwrap() }
        };
        let other = Selector {
            operation: Some("causal.discover".to_owned()),
            ..Selector::default()
        };
        invalidate(&world, &other).await;
        let world = world.restart().await;
        ready(&world).await;
        assert_eq!(stats(&world).disk.entries, 3, "others were meant");
        invalidate(&world, &all()).await;
        let world = world.restart().await;
        ready(&world).await;
        assert_eq!(stats(&world).disk.entries, 0);
        world.actors.experiment.warm_results(10).expect("it begins");
        until("it has warmed", || {
            stats(&world).warming.is_some_and(|warming| warming.ended)
        })
        .await;
        let warming = stats(&world).warming.unwrap();
        assert_eq!((warming.warmed, warming.passed_over), (0, 3));
        // What is computed afterwards is kept, and found after a restart.
        let run = compute(&world, slow(1)).await;
        let world = world.restart().await;
        ready(&world).await;
        assert_eq!(original(&world, slow(1)).await, Some(run));
        assert_eq!(original(&world, slow(2)).await, None);
        world.stop().await;
    });
}

#[test]
fn a_report_says_why_requests_were_computed() {
    in_system(async {
        let world = World::new(options());
        compute(&world, slow(1)).await;
        original(&world, slow(1)).await;
        let unseeded = || fault(FaultRequest::new(What::Answer));
        original(&world, unseeded()).await;
        let failing = world.ask(fault(FaultRequest::new(What::Internal))).await;
        world.end(failing).await;
        // Computed a second time, because the first result had gone.
        let gone = world.actors.experiment.invalidate_results(all(), 10_000);
        assert!(gone.is_some());
        until("all have gone", || {
            let now = stats(&world);
            now.entries == 0 && now.disk.entries == 0
        })
        .await;
        assert_eq!(original(&world, slow(1)).await, None);
        let report = world.actors.experiment.cacheable_report(1_000).unwrap();
        let count = |verdict| {
            let found = report
                .verdicts
                .iter()
                .find(|count| count.verdict == verdict);
            found.map_or(0, |count| count.requests)
        };
        assert_eq!(report.requests, 5, "{report:?}");
        for verdict in [
            Verdict::Hit,
            Verdict::Kept,
            Verdict::Random,
            Verdict::Failed,
            Verdict::Repeated,
        ] {
            assert_eq!(count(verdict), 1, "{verdict:?} of {report:?}");
        }
        assert_eq!(report.operations[0].unseeded, 2);
        let shares: f64 = report.verdicts.iter().map(|count| count.share).sum();
        assert!((shares - 1.0).abs() < 1e-9);
        // The newest events alone.
        let short = world.actors.experiment.cacheable_report(2).unwrap();
        assert_eq!(short.from_sequence, short.to_sequence - 1);
        let body = json!({"graph": "dag { x -> y }", "treatment": "x", "outcome": "y"});
        let asked = request(Operation::parse("causal.validate", body).unwrap());
        let one = |subject| {
            world
                .actors
                .experiment
                .cacheable(asked.operation(), subject)
        };
        let found = one(false).unwrap();
        assert_eq!((found.cacheable, found.in_memory), (true, Some(false)));
        original(&world, asked.clone()).await;
        let held = one(false).unwrap();
        assert_eq!((held.key, held.in_memory), (found.key, Some(true)));
        let subject = one(true).unwrap();
        assert_eq!((subject.cacheable, subject.key), (true, None));
        world.stop().await;
    });
}
