//! How long recorded runs took and how they ended, by operation: what an outcome is drawn from
//! that was never recorded.

use std::collections::{BTreeMap, VecDeque};

use hindcast_model::event::{Outcome, OutcomeObserved};
use hindcast_model::{RunId, State};

use crate::edit::draw;

/// Outcomes kept for one operation; the oldest goes first.
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

/// Of one operation: runs that waited to be computed, and immediate ones.
#[derive(Debug, Clone, Default)]
struct Kinds {
    waited: VecDeque<Sample>,
    immediate: VecDeque<Sample>,
}

/// What was recorded up to the moment that the drive is at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(BTreeMap<String, Kinds>);

impl Samples {
    /// Keeps how a run ended that `state` holds as open.
    pub(crate) fn see(&mut self, state: &State, observed: &OutcomeObserved) {
        if let Some(open) = state.run(observed.run) {
            self.add(&open.operation, open.spec.is_none(), observed);
        }
    }

    /// Keeps how a run of this operation ended.
    pub(crate) fn add(&mut self, operation: &str, immediate: bool, observed: &OutcomeObserved) {
        if !self.0.contains_key(operation) {
            self.0.insert(operation.to_owned(), Kinds::default());
        }
        let Some(kinds) = self.0.get_mut(operation) else {
            return;
        };
        let kept = match immediate {
            true => &mut kinds.immediate,
            false => &mut kinds.waited,
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

    /// One of the outcomes of this operation, which took more than `longer` microseconds. Where
    /// there is none of the kind, the other kind is drawn from; where none took so long, the
    /// longest.
    pub(crate) fn draw(
        &self,
        (operation, immediate): (&str, bool),
        (seed, run): (u64, RunId),
        longer: u64,
    ) -> Option<&Sample> {
        let kinds = self.0.get(operation)?;
        let (first, second) = match immediate {
            true => (&kinds.immediate, &kinds.waited),
            false => (&kinds.waited, &kinds.immediate),
        };
        let kept = if first.is_empty() { second } else { first };
        let fit: Vec<&Sample> = kept
            .iter()
            .filter(|sample| longer == 0 || sample.total() > longer)
            .collect();
        if fit.is_empty() {
            return kept.iter().max_by_key(|sample| sample.total());
        }
        let number = draw(seed, "outcome", run.bytes()) % fit.len() as u64;
        usize::try_from(number)
            .ok()
            .and_then(|index| fit.get(index).copied())
    }
}
