//! Specs and results under a data key: read back with it, and by nobody without.

use std::path::Path;

use hindcast_model::event::Event;
use hindcast_model::{ExperimentId, KeyId, Payload, RunId, Stream};
use serde_json::{Value, json};

use super::support::{World, fault, fresh_id, identity, in_system, options};
use super::{FaultRequest, What};
use crate::views::{self, RunStatus, RunView};
use crate::{Admission, ExperimentAnswer, ExperimentRequest, RunRequest};

const KEY: KeyId = KeyId(1);
const SPEC: &str = "patient_spec";
const SERIES: &str = "patient_series";
const RESULT: &str = "\"text\":\"answer\"";
const LARGE_RESULT: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Whether a file below `dir` holds `text`, and the number of bytes looked at.
fn holds(dir: &Path, text: &str) -> (bool, usize) {
    let (mut found, mut bytes) = (false, 0);
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let (inner, more) = if path.is_dir() {
            holds(&path, text)
        } else {
            let content = std::fs::read(&path).unwrap();
            let here = content.windows(text.len()).any(|w| w == text.as_bytes());
            (here, content.len())
        };
        found |= inner;
        bytes += more;
    }
    (found, bytes)
}

fn marked(what: What, bytes: usize) -> FaultRequest {
    FaultRequest {
        padding: format!("{SPEC}{}", "p".repeat(bytes)),
        ..FaultRequest::new(what)
    }
}

/// Both worlds ask with the same seeds.
fn asked(seed: u64, request: FaultRequest) -> RunRequest {
    RunRequest {
        seed,
        ..fault(request)
    }
}

/// A cheap run, one that is not, one with blobs, and one of an experiment.
async fn work(world: &World) -> (Vec<RunId>, ExperimentId) {
    let cheap = FaultRequest {
        cheap: true,
        ..marked(What::Answer, 0)
    };
    let cheap = asked(1, cheap);
    let mut runs = vec![cheap.run];
    let answer = world.actors.experiment.request_run(cheap).await.unwrap();
    let Admission::Completed {
        result: Ok(computed),
        ..
    } = answer
    else {
        panic!("{answer:?}");
    };
    assert!(computed.json.contains(RESULT), "{}", &*computed.json);
    runs.push(world.ask(asked(2, marked(What::Answer, 0))).await);
    runs.push(world.ask(asked(3, marked(What::LargeAnswer, 40_000))).await);
    let experiment = ExperimentId(fresh_id());
    let asked = ExperimentRequest {
        experiment,
        identity: identity(),
        name: "series".to_owned(),
        spec: json!({ "about": SERIES }),
        runs: vec![asked(4, marked(What::Answer, 0))],
        idempotency: None,
    };
    let answer = world.actors.experiment.request_experiment(asked).await;
    let ExperimentAnswer::Admitted { runs: more, .. } = answer.unwrap() else {
        panic!("not admitted");
    };
    runs.extend(more);
    for run in &runs {
        assert_eq!(world.end(*run).await.status, RunStatus::Completed);
    }
    (runs, experiment)
}

/// What is shown of the runs, but for what differs from run to run.
fn shown(world: &World, runs: &[RunId]) -> Vec<(Value, Option<Value>, String, Option<String>)> {
    let of = |view: RunView| (view.request, view.result, view.spec_hash, view.result_hash);
    runs.iter().map(|run| of(world.view(*run))).collect()
}

fn series(world: &World, experiment: ExperimentId) -> Value {
    let events = world.log.read_stream(Stream::experiment(experiment));
    let events = events.unwrap();
    let read = |key, payload: &_| world.read(key, payload);
    let view = |state: &_| views::experiment(&events, state, &read).unwrap();
    world.log.state(view).request
}

/// The data of all events, as far as they are shown with the keys of the world.
fn events(world: &World) -> Vec<Value> {
    let read = |key, payload: &_| world.read(key, payload);
    let events = world.events().into_iter();
    let data = |recorded| views::event(&recorded, String::new(), &read).data;
    events.map(data).collect()
}

fn is_sealed(value: &Value) -> bool {
    let fields = value.as_object().unwrap();
    let bytes = value["bytes"].as_u64().is_some_and(|bytes| bytes > 16);
    fields.len() == 3 && value["sealed"] == true && value["key"] == 1 && bytes
}

#[test]
fn sealed_payloads_read_like_others_and_stand_nowhere_readable() {
    in_system(async {
        let mut seen = Vec::new();
        for key in [KeyId(0), KEY] {
            let world = World::open(tempfile::tempdir().unwrap(), options(), key);
            let (runs, experiment) = work(&world).await;
            seen.push((shown(&world, &runs), series(&world, experiment)));
            for recorded in world.events() {
                let mut event = recorded.event().unwrap().clone();
                let held = event.payload_mut();
                let named = if held.is_some() { key } else { KeyId(0) };
                assert_eq!(recorded.context.key, named, "{event:?}");
                let inline = matches!(event.payload_mut(), Some(Payload::Inline(_)));
                assert!(!inline || key == KeyId(0), "{event:?}");
            }
            let told = Value::from(events(&world)).to_string();
            assert!(told.contains(SPEC) && told.contains(SERIES), "{told}");
            let dir = world.let_go().await;
            for text in [SPEC, SERIES, RESULT, LARGE_RESULT] {
                let (found, bytes) = holds(dir.path(), text);
                assert_eq!(found, key == KeyId(0), "{text} under {key:?}");
                assert!(bytes > 100_000, "{bytes}");
            }
        }
        assert_eq!(seen[0], seen[1]);
    });
}

#[test]
fn without_the_key_views_say_sealed_and_with_it_the_setting_does_not_matter() {
    in_system(async {
        let world = World::open(tempfile::tempdir().unwrap(), options(), KEY);
        let (runs, experiment) = work(&world).await;
        let before = shown(&world, &runs);
        let world = World::open(world.let_go().await, options(), KeyId(0));
        assert_eq!(shown(&world, &runs), before);
        let later = world.ask(fault(marked(What::Answer, 0))).await;
        world.end(later).await;
        let dir = world.let_go().await;
        assert!(holds(dir.path(), SPEC).0, "not sealed any more");
        std::fs::remove_dir_all(dir.path().join("keys")).unwrap();
        // The second time there is a key of the same name, and it is another one.
        let mut dir = Some(dir);
        for key in [KeyId(0), KEY] {
            let world = World::open(dir.take().unwrap(), options(), KeyId(0));
            if key == KEY {
                world.vault.add(KEY, [6; 32]).unwrap();
            }
            for run in &runs {
                let view = world.view(*run);
                assert_eq!(view.status, RunStatus::Completed);
                assert!(is_sealed(&view.request), "{}", view.request);
                assert!(is_sealed(&view.result.unwrap()));
            }
            assert!(is_sealed(&series(&world, experiment)));
            let sealed = events(&world).into_iter().filter(|data| {
                let place = data.get("spec");
                let place = place.or_else(|| data.pointer("/outcome/completed/result"));
                place.is_some_and(|place| place.get("sealed").is_some() && is_sealed(place))
            });
            // Three runs without blobs, twice, and the experiment.
            assert_eq!(sealed.count(), 7);
            assert_eq!(world.view(later).request["padding"], SPEC);
            dir = Some(world.let_go().await);
        }
    });
}

#[test]
fn a_pending_sealed_run_is_computed_with_its_key_and_fails_without() {
    in_system(async {
        for kept in [true, false] {
            let mut options = options();
            options.computation.running_max = 1;
            let world = World::open(tempfile::tempdir().unwrap(), options, KEY);
            let blocking = world.ask(fault(FaultRequest::new(What::Wait))).await;
            world.running(blocking).await;
            let small = world.ask(fault(marked(What::Answer, 0))).await;
            let large = world.ask(fault(marked(What::Answer, 40_000))).await;
            let dir = world.let_go().await;
            if !kept {
                std::fs::remove_dir_all(dir.path().join("keys")).unwrap();
            }
            let world = World::open(dir, options, KeyId(0));
            if kept {
                world.running(blocking).await;
                let cancel = world
                    .actors
                    .experiment
                    .cancel(blocking, identity(), String::new());
                cancel.await.unwrap();
            }
            for run in [small, large] {
                let view = world.end(run).await;
                let code = view.error.map(|error| error.code);
                match kept {
                    true => assert_eq!((view.status, code), (RunStatus::Completed, None)),
                    false => assert_eq!(code.as_deref(), Some("sealed")),
                }
            }
            // It was sealed when it was asked for, so its result is sealed as well.
            let dir = world.let_go().await;
            assert!(!holds(dir.path(), RESULT).0);
        }
    });
}

#[test]
fn what_a_lab_says_of_a_sealed_request_is_not_recorded() {
    in_system(async {
        let world = World::open(tempfile::tempdir().unwrap(), options(), KEY);
        for what in [What::Internal, What::Panic] {
            for cheap in [false, true] {
                let asked = fault(FaultRequest {
                    cheap,
                    ..FaultRequest::new(what)
                });
                let run = asked.run;
                world.actors.experiment.request_run(asked).await.unwrap();
                let error = world.end(run).await.error.unwrap();
                assert!(error.message.contains("not recorded"), "{error:?}");
            }
        }
        assert_eq!(world.count(|event| matches!(event, Event::RunFailed(_))), 4);
        let dir = world.let_go().await;
        for text in ["does not add up", "the lab is broken"] {
            assert!(!holds(dir.path(), text).0, "{text}");
        }
    });
}
