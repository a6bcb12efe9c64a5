//! The figures of breakers, read off the state: nothing is counted twice, whoever is built anew.

use std::collections::BTreeMap;

use hindcast_model::UnixMicros;
use hindcast_model::breaker::{Breaker, BreakerState, Breakers};
use metrics::{Counter, Gauge, counter, gauge};

use super::Gates;
use crate::views::{ServiceStatus, service};

/// Series of one breaker.
struct Series {
    state: Gauge,
    seed_state: Gauge,
    health: Gauge,
    seed_health: Gauge,
    /// Success, failure, slow, rejected, ignored.
    calls: [Counter; 5],
    refused_early: Counter,
    changes: BTreeMap<(BreakerState, BreakerState), Counter>,
    fallbacks: BTreeMap<BreakerState, [Counter; 2]>,
}

impl Series {
    fn new(name: &str) -> Self {
        let name = name.to_owned();
        let calls = |outcome: &'static str| counter!("circuit_breaker_calls_total", "name" => name.clone(), "outcome" => outcome);
        Self {
            state: gauge!("circuit_breaker_state", "name" => name.clone()),
            seed_state: gauge!("isl_circuit_breaker_state", "name" => name.clone()),
            health: gauge!("service_health_status", "service" => name.clone()),
            seed_health: gauge!("isl_service_health_status", "service" => name.clone()),
            calls: ["success", "failure", "slow", "rejected", "ignored"].map(calls),
            refused_early: counter!("circuit_breaker_refused_early_total", "name" => name.clone()),
            changes: USUAL.map(|way| (way, changes(&name, way))).into(),
            fallbacks: BTreeMap::new(),
        }
    }
}

/// Ways that breakers go by themselves, and those that operators ask for most. They are there with
/// zero from the start, so that the first time is seen as a rise.
const USUAL: [(BreakerState, BreakerState); 6] = [
    (BreakerState::Closed, BreakerState::Open),
    (BreakerState::Open, BreakerState::HalfOpen),
    (BreakerState::HalfOpen, BreakerState::Open),
    (BreakerState::HalfOpen, BreakerState::Closed),
    (BreakerState::Closed, BreakerState::ForcedOpen),
    (BreakerState::ForcedOpen, BreakerState::Closed),
];

fn changes(name: &str, (from, to): (BreakerState, BreakerState)) -> Counter {
    counter!("circuit_breaker_transitions_total",
        "name" => name.to_owned(), "from" => from.word(), "to" => to.word())
}

fn fallbacks(name: &str, state: BreakerState) -> [Counter; 2] {
    ["fallback_triggered_total", "isl_fallback_triggered_total"]
        .map(|metric| counter!(metric, "service" => name.to_owned(), "reason" => state.word()))
}

/// All series.
#[derive(Default)]
pub(super) struct Figures(BTreeMap<String, Series>);

impl Figures {
    pub(super) fn show(&mut self, breakers: &Breakers, now: UnixMicros, gates: &Gates) {
        for (name, breaker) in breakers.all() {
            if !self.0.contains_key(name) {
                self.0.insert(name.to_owned(), Series::new(name));
            }
            let Some(series) = self.0.get_mut(name) else {
                continue;
            };
            let state = breaker.state();
            series.state.set(number(state));
            series.seed_state.set(seed_number(state));
            let health = match service(name, breaker, now).status {
                ServiceStatus::Healthy => 1.0,
                ServiceStatus::Degraded => 0.5,
                ServiceStatus::Failing => 0.0,
            };
            series.health.set(health);
            series.seed_health.set(health);
            let early = gates.get(name).map_or(0, |guarded| guarded.gate.counts().1);
            let totals = breaker.totals();
            let counts = [
                totals.success,
                totals.failure,
                totals.slow,
                breaker.rejected(),
                totals.ignored,
            ];
            let calls = series.calls.iter().zip(counts);
            calls.for_each(|(counter, count)| counter.absolute(count));
            series.refused_early.absolute(early);
            moves(series, name, breaker);
        }
    }
}

fn moves(series: &mut Series, name: &str, breaker: &Breaker) {
    for (from, to, count) in breaker.changes() {
        let way = (from, to);
        let counter = series.changes.entry(way);
        counter
            .or_insert_with(|| changes(name, way))
            .absolute(count);
    }
    if !breaker.fallbacks().is_empty() {
        for state in [BreakerState::Open, BreakerState::HalfOpen] {
            let counters = series.fallbacks.entry(state);
            counters.or_insert_with(|| fallbacks(name, state));
        }
    }
    for (state, count) in breaker.fallbacks_taken() {
        let both = series.fallbacks.entry(state);
        let both = both.or_insert_with(|| fallbacks(name, state));
        both.iter().for_each(|counter| counter.absolute(count));
    }
}

/// 0 closed, 1 half-open, 2 open, 3 forced open, 4 disabled, 5 metrics only.
const fn number(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
        BreakerState::ForcedOpen => 3.0,
        BreakerState::Disabled => 4.0,
        BreakerState::MetricsOnly => 5.0,
    }
}

/// The name that dashboards of before know, limited to what they know.
const fn seed_number(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed | BreakerState::Disabled | BreakerState::MetricsOnly => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open | BreakerState::ForcedOpen => 2.0,
    }
}
