//! Samples of what is recorded of circuit breakers.

use hindcast_model::breaker::{
    BreakerAction, BreakerCause, BreakerPlan, BreakerSettings, BreakerState, ConfiguredBreaker,
    Fallback,
};
use hindcast_model::event::*;
use hindcast_model::{Event, Refusal, UnixMicros};

use super::samples::{digest, inline, refused, requested, run};

fn plan() -> BreakerPlan {
    let breaker = |name: &str, fallbacks: Vec<Fallback>| ConfiguredBreaker {
        name: name.to_owned(),
        settings: BreakerSettings {
            // None of them as another.
            window_calls: 50,
            window_micros: 60_000_000,
            minimum_calls: 10,
            failure_percent: 55,
            slow_micros: 2_000_000,
            slow_percent: 80,
            consecutive_failures: 5,
            open_micros: 30_000_000,
            open_micros_max: 600_000_000,
            backoff_percent: 200,
            jitter_percent: 20,
            half_open_permits: 2,
            permit_micros: 61_000_000,
            half_open_micros_max: 300_000_000,
        },
        fallbacks,
    };
    let fallback = Fallback {
        to: "boss".to_owned(),
        breaker: "discovery_boss".to_owned(),
    };
    BreakerPlan {
        breakers: vec![
            breaker("notears_discovery", vec![fallback]),
            breaker("discovery_boss", Vec::new()),
        ],
    }
}

fn configured() -> Event {
    Event::ConfigurationLoaded(ConfigurationLoaded {
        generation: 2,
        hash: digest(8),
        document: inline(),
        settings: Settings::default(),
        breakers: Some(plan()),
    })
}

fn asked() -> Event {
    asked_by(false)
}

/// As a request of schema 2, which does not know whose deadline it is.
pub(super) fn older() -> (&'static str, Event) {
    ("record_6_2_run_requested_service.bin", asked())
}

fn asked_by(caller_deadline: bool) -> Event {
    let Event::RunRequested(request) = requested(inline()) else {
        panic!("it is a request");
    };
    Event::RunRequested(RunRequested {
        service: Some(Service {
            breaker: "notears_discovery".to_owned(),
            divert: true,
            cached: false,
            caller_deadline,
        }),
        ..request
    })
}

fn changed(from: BreakerState, to: BreakerState, cause: BreakerCause) -> Event {
    Event::BreakerChanged(BreakerChanged {
        name: "notears_discovery".to_owned(),
        from,
        to,
        cause,
        until: (to == BreakerState::Open).then_some(UnixMicros(1_800_000_030_123_456)),
    })
}

fn opened() -> Event {
    let cause = BreakerCause::FailureRate { failed: 6, of: 10 };
    changed(BreakerState::Closed, BreakerState::Open, cause)
}

fn wished() -> Event {
    Event::BreakerCommanded(BreakerCommanded {
        name: "notears_discovery".to_owned(),
        action: BreakerAction::MetricsOnly,
        reason: "a new library".to_owned(),
        ttl_micros: 60_000_000,
    })
}

fn called() -> Event {
    let alike = |count, error: Option<&str>, longest_micros| AlikeCalls {
        count,
        error: error.map(str::to_owned),
        longest_micros,
    };
    Event::DependencyCalled(DependencyCalled {
        breaker: "otlp_collector".to_owned(),
        calls: vec![alike(1_200, None, 4_321), alike(3, Some("unreachable"), 98)],
    })
}

fn followed() -> Event {
    let action = BreakerAction::MetricsOnly;
    let cause = BreakerCause::Asked { action };
    changed(BreakerState::HalfOpen, BreakerState::MetricsOnly, cause)
}

fn fallback(instead: Instead) -> Event {
    Event::FallbackTaken(FallbackTaken {
        run: run(1),
        breaker: "notears_discovery".to_owned(),
        state: BreakerState::Open,
        instead,
    })
}

pub(super) fn samples() -> Vec<(&'static str, Event)> {
    let computed = Instead::Computed {
        to: "boss".to_owned(),
        breaker: "discovery_boss".to_owned(),
    };
    vec![
        ("record_3_2_configuration_loaded_breakers.bin", configured()),
        ("record_6_3_run_requested_service.bin", asked()),
        ("record_6_3_run_requested_deadline.bin", asked_by(true)),
        ("record_30_1_breaker_commanded.bin", wished()),
        ("record_72_1_dependency_called.bin", called()),
        (
            "record_102_1_run_refused_breaker.bin",
            refused(Refusal::BreakerOpen {
                breaker: "notears_discovery".to_owned(),
                state: BreakerState::ForcedOpen,
                retry_micros: 12_000_000,
            }),
        ),
        ("record_114_1_breaker_changed.bin", opened()),
        ("record_114_1_breaker_changed_asked.bin", followed()),
        ("record_115_1_fallback_taken.bin", fallback(computed)),
        (
            "record_115_1_fallback_taken_cached.bin",
            fallback(Instead::Cached),
        ),
    ]
}

/// A run whose deadline is its caller's own: it is asked for, and nothing is decided yet.
pub(super) fn hurried() -> Event {
    let Event::RunRequested(request) = asked_by(true) else {
        panic!("it is a request");
    };
    let run = run(77);
    Event::RunRequested(RunRequested { run, ..request })
}

/// What fills every part of the state that is about breakers.
pub(super) fn story() -> Vec<Event> {
    let half_open = changed(
        BreakerState::Open,
        BreakerState::HalfOpen,
        BreakerCause::OpenLongEnough,
    );
    vec![
        configured(),
        opened(),
        half_open,
        asked(),
        wished(),
        followed(),
    ]
}
