//! What operating a server leaves in the log: who did what, and figures.

use hindcast_model::Event;
use hindcast_model::event::{AuditOutcome, Audited, CacheCommanded, CacheVerb, MetricsSampled};
use hindcast_model::samples::Samples;

pub(super) fn samples() -> Vec<(&'static str, Event)> {
    vec![audited(), sampled(), commanded()]
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
