//! What operating a server leaves in the log: who did what, figures, and what it was measured to
//! bear.

use hindcast_model::event::{
    AnswerKept, AuditOutcome, Audited, BreakingPoint, CacheCommanded, CacheVerb, CapacityMeasured,
    MetricsSampled,
};
use hindcast_model::samples::Samples;
use hindcast_model::{Digest, Event, Payload};

use super::samples::{digest, keyed};

pub(super) fn samples() -> Vec<(&'static str, Event)> {
    vec![
        audited(),
        sampled(),
        measured(),
        measured_to_its_end(),
        commanded(),
        answered(),
        answered_at_length(),
    ]
}

fn figures() -> Samples {
    let mut samples = Samples::default();
    for (number, value) in [(1, 7), (21, 40_960), (28, -1), (118, 1_234_567)] {
        samples.push(number, value).expect("the numbers rise");
    }
    samples
}

/// Who did what.
fn audited() -> (&'static str, Event) {
    (
        "record_40_1_audited.bin",
        Event::Audited(Audited {
            verb: "keys.create".to_owned(),
            target: "ci".to_owned(),
            outcome: AuditOutcome::Done,
            reason: "operator, never expires".to_owned(),
            role: "admin".to_owned(),
            key: "0123456789ab".to_owned(),
        }),
    )
}

pub(super) fn sampled() -> (&'static str, Event) {
    let sampled = MetricsSampled {
        span_micros: 15_000_000,
        values: figures(),
    };
    (
        "record_50_2_metrics_sampled.bin",
        Event::MetricsSampled(sampled),
    )
}

/// A cache that was emptied by halves.
fn commanded() -> (&'static str, Event) {
    (
        "record_66_1_cache_commanded.bin",
        Event::CacheCommanded(CacheCommanded {
            cache: "results".to_owned(),
            verb: CacheVerb::Invalidate,
            detail: r#"{"operation":"causal.discover","per_second":100}"#.to_owned(),
            reason: "a faulty memory module".to_owned(),
        }),
    )
}

/// What a request was answered with.
pub(super) fn answered() -> (&'static str, Event) {
    let text = r#"{"cache":"results","runs_max":1000}"#.to_owned();
    (
        "record_70_1_answer_kept.bin",
        Event::AnswerKept(AnswerKept {
            idempotency: keyed().expect("a key"),
            request: "POST /cache/results/warm".to_owned(),
            status: 200,
            media: "application/json".to_owned(),
            answer: Some(Payload::Inline(text)),
        }),
    )
}

/// And what was too large to be kept.
fn answered_at_length() -> (&'static str, Event) {
    let mut idempotency = keyed().expect("a key");
    idempotency.body = digest(3);
    (
        "record_70_1_answer_kept_large.bin",
        Event::AnswerKept(AnswerKept {
            idempotency,
            request: "POST /debug/profile".to_owned(),
            status: 200,
            media: "image/svg+xml".to_owned(),
            answer: None,
        }),
    )
}

/// What a server bore.
fn measured() -> (&'static str, Event) {
    (
        "record_64_1_capacity_measured.bin",
        Event::CapacityMeasured(held()),
    )
}

/// And where one broke.
fn measured_to_its_end() -> (&'static str, Event) {
    let broken = CapacityMeasured {
        scenario: "ramp".to_owned(),
        binary: None,
        memory_bytes: 0,
        beside: false,
        failures: 17,
        turned_away: 4_000,
        breaking: Some(BreakingPoint {
            rule: "latency".to_owned(),
            users: 1_700,
            after_micros: 170_000_000,
        }),
        ..held()
    };
    (
        "record_64_1_capacity_measured_breaking.bin",
        Event::CapacityMeasured(broken),
    )
}

fn held() -> CapacityMeasured {
    CapacityMeasured {
        scenario: "sustained".to_owned(),
        mix: "cached".to_owned(),
        binary_version: "0.1.0".to_owned(),
        binary: Some(Digest([7; 32])),
        cores: 2,
        memory_bytes: 2 << 30,
        beside: true,
        users: 50,
        span_micros: 1_800_000_000,
        requests: 9_000_000,
        failures: 0,
        turned_away: 0,
        rate_milli: 5_000_000,
        p50_micros: 4_100,
        p95_micros: 8_900,
        p99_micros: 15_000,
        breaking: None,
    }
}
