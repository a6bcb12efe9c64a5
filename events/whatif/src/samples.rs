//! How long recorded runs took and how they ended, by kind: what an outcome is drawn from that was
//! never recorded.

use std::collections::{BTreeMap, VecDeque};

use hindcast_model::event::{Outcome, OutcomeObserved, RunRequested};
use hindcast_model::{RunId, State};

use crate::edit::draw;

/// Outcomes kept of one kind; the oldest goes first.
const SAMPLES_MAX: usize = 4_096;

/// One recorded outcome without its result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) queued_micros: u64,
    pub(crate) computed_micros: u64,
    /// How it failed, if it did.
    pub(crate) failed: Option<Outcome>,
}

impl Sample {
    const fn total(&self) -> u64 {
        self.queued_micros.saturating_add(self.computed_micros)
    }
}

/// Runs that take about as long as each other: of one operation, and of one breaker, which there
/// is for every algorithm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) operation: String,
    /// None where no breaker is known.
    pub(crate) breaker: Option<String>,
    /// The result of an equal run was at hand.
    pub(crate) cached: bool,
}

impl Kind {
    pub(crate) fn of(request: &RunRequested) -> Self {
        let service = request.service.as_ref();
        Self {
            operation: request.operation.clone(),
            breaker: service.map(|service| service.breaker.clone()),
            cached: service.is_some_and(|service| service.cached),
        }
    }

    /// Of a run that `state` holds as open, and that is computed.
    pub(crate) fn computed(state: &State, run: RunId, operation: &str) -> Self {
        Self {
            operation: operation.to_owned(),
            breaker: state.breakers().call(run).map(|call| call.breaker.clone()),
            cached: false,
        }
    }
}

/// Of one kind: runs that waited to be computed, and immediate ones.
#[derive(Debug, Clone, Default)]
struct Kept {
    waited: VecDeque<Sample>,
    immediate: VecDeque<Sample>,
}

/// What was recorded around the fork.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(BTreeMap<Kind, Kept>);

impl Samples {
    /// Keeps how a run of this kind ended.
    pub(crate) fn add(&mut self, kind: Kind, immediate: bool, observed: &OutcomeObserved) {
        let reused = matches!(observed.outcome, Outcome::Reused { .. });
        let cached = kind.cached || reused;
        let kept = self.0.entry(Kind { cached, ..kind }).or_default();
        let kept = match immediate {
            true => &mut kept.immediate,
            false => &mut kept.waited,
        };
        if kept.len() == SAMPLES_MAX {
            kept.pop_front();
        }
        let failed = matches!(observed.outcome, Outcome::Failed { .. });
        kept.push_back(Sample {
            queued_micros: observed.queued_micros,
            computed_micros: observed.computed_micros,
            failed: failed.then(|| observed.outcome.clone()),
        });
    }

    /// One of the outcomes of this kind, which took more than `longer` microseconds. Where there is
    /// none of the kind, those of the operation are drawn from; where none took so long, the longest.
    pub(crate) fn draw(
        &self,
        (kind, immediate): (&Kind, bool),
        (seed, run): (u64, RunId),
        longer: u64,
    ) -> Option<&Sample> {
        let same = |one: &Kind| one == kind;
        let alike = |one: &Kind| one.operation == kind.operation && one.cached == kind.cached;
        let akin = |one: &Kind| one.operation == kind.operation;
        let near: [&dyn Fn(&Kind) -> bool; 3] = [&same, &alike, &akin];
        let kept = near.iter().find_map(|near| self.kept(near, immediate))?;
        let fit: Vec<&Sample> = kept
            .iter()
            .copied()
            .filter(|sample| longer == 0 || sample.total() > longer)
            .collect();
        if fit.is_empty() {
            return kept.into_iter().max_by_key(|sample| sample.total());
        }
        let number = draw(seed, "outcome", run.bytes()) % fit.len() as u64;
        usize::try_from(number)
            .ok()
            .and_then(|index| fit.get(index).copied())
    }

    /// The outcomes of these kinds, those that did not wait apart where there are any.
    fn kept(&self, near: &dyn Fn(&Kind) -> bool, immediate: bool) -> Option<Vec<&Sample>> {
        let of = |immediate: bool| {
            let kinds = self.0.iter().filter(|(kind, _)| near(kind));
            let kept = kinds.flat_map(|(_, kept)| match immediate {
                true => &kept.immediate,
                false => &kept.waited,
            });
            let kept: Vec<&Sample> = kept.collect();
            (!kept.is_empty()).then_some(kept)
        };
        of(immediate).or_else(|| of(!immediate))
    }
}

#[cfg(test)]
mod tests {
    use hindcast_model::Digest;

    use super::*;

    fn kind(breaker: &str) -> Kind {
        Kind {
            operation: "causal.discover".to_owned(),
            breaker: Some(breaker.to_owned()),
            cached: false,
        }
    }

    fn took(micros: u64, reused: bool) -> OutcomeObserved {
        let outcome = match reused {
            true => Outcome::Reused {
                original: RunId::from_bytes([1; 16]),
                result_hash: Digest([0; 32]),
                schema: 1,
                algorithm_version: "1".to_owned(),
            },
            false => Outcome::Failed {
                code: "invalid".to_owned(),
                field: None,
                message: String::new(),
                hint: None,
            },
        };
        OutcomeObserved {
            run: RunId::from_bytes([2; 16]),
            outcome,
            numeric_profile: String::new(),
            queued_micros: 0,
            computed_micros: micros,
        }
    }

    #[test]
    fn a_run_takes_what_runs_of_its_algorithm_take() {
        let mut samples = Samples::default();
        for n in 0..50 {
            samples.add(kind("boss"), false, &took(3_000 + n, false));
            samples.add(kind("dagma"), false, &took(900_000 + n, false));
            samples.add(kind("dagma"), false, &took(20, true));
        }
        let drawn = |wanted: &str, n: u8, longer: u64| {
            let run = RunId::from_bytes([n; 16]);
            let kind = kind(wanted);
            let sample = samples.draw((&kind, false), (7, run), longer);
            sample.map(Sample::total).expect("there are samples")
        };
        for n in 0..30 {
            assert!(drawn("dagma", n, 0) >= 900_000);
            assert!((3_000..4_000).contains(&drawn("boss", n, 0)));
            // No run of it is recorded, so those of the operation that were computed count.
            assert!(drawn("ges", n, 0) >= 3_000);
            assert!(drawn("boss", n, 3_047) > 3_047);
        }
        assert_eq!(drawn("boss", 1, 5_000), 3_049);
    }
}
