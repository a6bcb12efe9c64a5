//! Views of events written down by hand.

use hindcast_log::{Body, Recorded};
use hindcast_model::event::{Event, RunFailed, RunRequested};
use hindcast_model::state::Context;
use hindcast_model::{Digest, EventId, KeyId, Name16, Payload, RunId, Seq, Stream, UnixMicros};
use serde_json::json;
use uuid::Uuid;

use super::*;

fn recorded(seq: u64, event: Event) -> Recorded {
    let id = |n: u64| EventId(Uuid::from_u128(u128::from(n)));
    Recorded {
        context: Context {
            seq: Seq(seq),
            at: UnixMicros(1_700_000_000_000_000 + seq * 1_500),
            event_id: id(seq),
            correlation: id(9),
            principal: Name16::new("ann"),
            tenant: Name16::default(),
            key: KeyId(0),
        },
        causation: id(seq.max(2) - 1),
        stream: Stream::run(RunId::default()),
        version: seq,
        observed: seq == 1,
        ignorable: false,
        body: Body::Known(event),
    }
}

fn requested() -> Event {
    Event::RunRequested(RunRequested {
        run: RunId::default(),
        operation: "causal.discover".to_owned(),
        schema: 1,
        spec: Payload::Inline(r#"{"restarts":3}"#.to_owned()),
        spec_hash: Digest::default(),
        seed: 5,
        datasets: Vec::new(),
        deadline_micros: 0,
        immediate: false,
        experiment: None,
        idempotency: None,
        service: None,
    })
}

#[test]
fn a_run_past_its_deadline_has_an_error_without_an_outcome() {
    let failed = RunFailed {
        run: RunId::default(),
        code: "deadline_exceeded".to_owned(),
    };
    let events = [
        recorded(1, requested()),
        recorded(3, Event::RunFailed(failed)),
    ];
    let view = run(&events, None, &unread).unwrap();
    let shown = serde_json::to_value(&view).unwrap();
    assert_eq!(shown["status"], "failed");
    assert_eq!(shown["request"], json!({ "restarts": 3, "seed": 5 }));
    assert_eq!(
        shown["error"],
        json!({ "code": "deadline_exceeded", "message": "the deadline has passed" })
    );
    assert_eq!(shown["durations"], json!({ "total_ms": 3.0 }));
    assert_eq!(shown["requested_at"], "2023-11-14T22:13:20.001500Z");
    assert_eq!(
        (shown["first_seq"].as_u64(), shown["last_seq"].as_u64()),
        (Some(1), Some(3))
    );
    assert_eq!(shown["causation"][1]["type"], "run_failed");
    assert_eq!(run(&events[1..], None, &unread), None);
}

#[test]
fn an_event_is_shown_flat_and_as_a_cloud_event() {
    let recorded = recorded(4, requested());
    let shown = serde_json::to_value(event(&recorded, "log-1-4".to_owned(), &unread)).unwrap();
    assert_eq!(
        (shown["type"].as_str(), shown["seq"].as_u64()),
        (Some("run_requested"), Some(4))
    );
    assert_eq!(shown["data"]["operation"], "causal.discover");
    assert_eq!(shown["data"]["spec"], json!({ "restarts": 3 }));
    assert!(shown.get("tenant").is_none());
    let cloud = serde_json::to_value(cloud_event(&recorded, "/hindcast/x", &unread)).unwrap();
    assert_eq!(cloud["specversion"], "1.0");
    assert_eq!(cloud["type"], "hindcast.run_requested");
    assert_eq!(cloud["sequence"], "00000000000000000004");
    assert_eq!(cloud["data"], shown["data"]);
}

#[test]
fn payloads_that_are_elsewhere_are_references() {
    let elsewhere = Payload::Blob {
        digest: Digest::default(),
        bytes: 7,
    };
    let (plain, key) = (KeyId(0), KeyId(1));
    assert_eq!(payload(plain, &elsewhere, &unread)["bytes"], 7);
    let found = |_, _: &_| Some("[1]".to_owned());
    assert_eq!(payload(plain, &elsewhere, &found), json!([1]));
    let sealed = Payload::Sealed {
        nonce: [0; 24],
        ciphertext: vec![1, 2],
    };
    assert_eq!(payload(key, &sealed, &found), json!([1]));
    for (payload_, bytes) in [(&sealed, 2), (&elsewhere, 7)] {
        assert_eq!(
            payload(key, payload_, &unread),
            json!({ "sealed": true, "key": 1, "bytes": bytes })
        );
    }
}
