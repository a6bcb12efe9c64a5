//! What load runs measured, from the log: the last of each build and scenario.

use std::collections::BTreeMap;

use hindcast_actors::views::rfc3339;
use hindcast_model::UnixMicros;
use hindcast_model::event::CapacityMeasured;
use serde::Serialize;
use utoipa::ToSchema;

use super::machine::{binary, short};

/// Measurements that are shown.
const SHOWN_MAX: usize = 48;

/// Where a server broke.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BreakingView {
    /// failures, latency, plateau, breaker_opened or memory_growth.
    pub rule: String,
    pub users: u32,
    pub after_s: f64,
}

/// One load run.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Measurement {
    pub at: String,
    /// Sequence of the event.
    pub seq: u64,
    pub scenario: String,
    pub mix: String,
    pub version: String,
    /// The beginning of the blake3 hash of the program's file.
    pub binary: Option<String>,
    /// It is of the program that runs.
    pub this_build: bool,
    pub cores: u32,
    pub memory_bytes: Option<u64>,
    /// The load came from the same machine, and took its share of it.
    pub beside: bool,
    pub users: u32,
    pub seconds: f64,
    pub requests: u64,
    pub failures: u64,
    pub turned_away: u64,
    pub rps: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// Null when it held.
    pub breaking_point: Option<BreakingView>,
}

/// The last run of each build, scenario, mix and machine.
#[derive(Debug, Default)]
pub struct Measurements {
    last: BTreeMap<Identity, Measurement>,
}

/// Scenario, mix, version, program and processors.
type Identity = (String, String, String, Option<String>, u32);

impl Measurements {
    /// Takes in an event; later ones take the place of earlier ones, and the oldest go when there are
    /// too many.
    pub fn add(&mut self, (seq, at): (u64, UnixMicros), event: &CapacityMeasured) {
        let measured = view((seq, at), event);
        let identity = (
            measured.scenario.clone(),
            measured.mix.clone(),
            measured.version.clone(),
            measured.binary.clone(),
            measured.cores,
        );
        self.last.insert(identity, measured);
        if self.last.len() > SHOWN_MAX {
            let oldest = self.last.iter().min_by_key(|(_, one)| one.seq);
            if let Some(identity) = oldest.map(|(identity, _)| identity.clone()) {
                self.last.remove(&identity);
            }
        }
    }

    /// Newest first.
    #[must_use]
    pub fn newest_first(self) -> Vec<Measurement> {
        let mut all: Vec<Measurement> = self.last.into_values().collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.seq));
        all
    }
}

fn view((seq, at): (u64, UnixMicros), event: &CapacityMeasured) -> Measurement {
    let ms = |micros: u64| micros as f64 / 1e3;
    let seconds = |micros: u64| micros as f64 / 1e6;
    Measurement {
        at: rfc3339(at),
        seq,
        scenario: event.scenario.clone(),
        mix: event.mix.clone(),
        version: event.binary_version.clone(),
        binary: event.binary.map(short),
        this_build: event.binary.is_some() && event.binary == binary(),
        cores: event.cores,
        memory_bytes: Some(event.memory_bytes).filter(|bytes| *bytes > 0),
        beside: event.beside,
        users: event.users,
        seconds: seconds(event.span_micros),
        requests: event.requests,
        failures: event.failures,
        turned_away: event.turned_away,
        rps: ms(event.rate_milli),
        p50_ms: ms(event.p50_micros),
        p95_ms: ms(event.p95_micros),
        p99_ms: ms(event.p99_micros),
        breaking_point: event.breaking.as_ref().map(|point| BreakingView {
            rule: point.rule.clone(),
            users: point.users,
            after_s: seconds(point.after_micros),
        }),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn event(scenario: &str, users: u32) -> CapacityMeasured {
        CapacityMeasured {
            scenario: scenario.to_owned(),
            mix: "cached".to_owned(),
            binary_version: "0.1.0".to_owned(),
            binary: binary(),
            cores: 2,
            memory_bytes: 1 << 30,
            beside: true,
            users,
            span_micros: 60_000_000,
            requests: 1_000,
            failures: 0,
            turned_away: 0,
            rate_milli: 16_667,
            p50_micros: 900,
            p95_micros: 4_000,
            p99_micros: 9_000,
            breaking: None,
        }
    }

    pub(in super::super) fn measurement(scenario: &str, users: u32) -> Measurement {
        view((1, UnixMicros(1)), &event(scenario, users))
    }

    #[test]
    fn the_last_of_each_is_kept_and_all_of_them_are_bounded() {
        let mut all = Measurements::default();
        let at = |n: u64| (n, UnixMicros(n));
        all.add(at(1), &event("sustained", 50));
        all.add(at(2), &event("spike", 200));
        all.add(at(3), &event("sustained", 60));
        for n in 0..100 {
            all.add(at(10 + n), &event(&format!("other{n}"), 1));
        }
        all.add(at(200), &event("sustained", 70));
        let shown = all.newest_first();
        assert_eq!(shown.len(), SHOWN_MAX);
        assert_eq!((shown[0].seq, shown[0].users), (200, 70));
        assert!(shown.iter().all(|one| one.scenario != "spike"));
        assert!(shown[0].this_build);
        assert!((shown[0].rps - 16.667).abs() < 1e-9);
    }
}
