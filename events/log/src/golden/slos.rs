//! Samples of what is recorded of service level objectives.

use hindcast_model::Event;
use hindcast_model::event::{ObjectivesConfigured, SloBudgetChanged, SloBurnChanged};
use hindcast_model::slo::{
    BurnPair, SloBound, SloCondition, SloMeasure, SloObjective, SloPer, SloPlan, SloPolicy,
};

const HOUR_MICROS: u64 = 3_600_000_000;

fn plan() -> SloPlan {
    let availability = SloObjective {
        name: "availability".to_owned(),
        measure: SloMeasure::Ratio {
            good: vec![1, 2, 3],
            valid: vec![1, 2, 3, 4],
        },
        target_ppm: 999_000,
        window_micros: 720 * HOUR_MICROS,
        freezes: true,
    };
    let cpu = SloObjective {
        name: "cpu".to_owned(),
        measure: SloMeasure::Bound(SloBound {
            value: vec![20],
            per: SloPer::Series(vec![23]),
            at_most: true,
            bound_millionths: 700_000,
            when: Some(SloCondition {
                series: vec![9],
                at_least_millionths: 1_000_000,
            }),
        }),
        target_ppm: 950_000,
        window_micros: 24 * HOUR_MICROS,
        freezes: false,
    };
    SloPlan {
        policy: SloPolicy {
            freeze_below_permille: 100,
            thaw_at_permille: 200,
            bad_minimum: 10,
        },
        objectives: vec![availability, cpu],
    }
}

fn configured() -> Event {
    Event::ObjectivesConfigured(ObjectivesConfigured { plan: plan() })
}

fn frozen() -> Event {
    Event::SloBudgetChanged(SloBudgetChanged {
        objective: "availability".to_owned(),
        frozen: true,
        good: 9_991,
        valid: 10_000,
        remaining_permille: Some(99),
    })
}

fn thawed() -> Event {
    Event::SloBudgetChanged(SloBudgetChanged {
        objective: "availability".to_owned(),
        frozen: false,
        good: 0,
        valid: 0,
        remaining_permille: None,
    })
}

fn burns() -> Event {
    Event::SloBurnChanged(SloBurnChanged {
        objective: "availability".to_owned(),
        pair: BurnPair::Medium,
        burning: true,
        long_milli: Some(6_001),
        short_milli: Some(7_500),
    })
}

pub(super) fn samples() -> Vec<(&'static str, Event)> {
    vec![
        ("record_60_1_objectives_configured.bin", configured()),
        ("record_116_1_slo_budget_changed.bin", frozen()),
        ("record_116_1_slo_budget_changed_thawed.bin", thawed()),
        ("record_117_1_slo_burn_changed.bin", burns()),
    ]
}

/// What fills every part of the state that is about objectives.
pub(super) fn story() -> Vec<Event> {
    let sampled = super::operating::sampled().1;
    vec![configured(), sampled, frozen(), burns()]
}
