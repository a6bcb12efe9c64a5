//! All objectives with what was counted: the part of the state that is about them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::budget::{BURN_PAIRS, BurnPair, BurnWindow, SloReading};
use super::plan::{SloObjective, SloPlan, SloPolicy};
use super::rings::{Counted, Rings};
use crate::event::{Event, MetricsSampled, SloBudgetChanged, SloBurnChanged};
use crate::ids::UnixMicros;

/// A frozen budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloFreeze {
    pub since: UnixMicros,
    /// What was counted when it froze.
    pub good: u64,
    pub valid: u64,
    /// Thousandths of the budget that were left then.
    pub remaining_permille: i64,
}

/// An objective and what was counted for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slo {
    objective: SloObjective,
    rings: Rings,
    frozen: Option<SloFreeze>,
    /// Since when each pair of windows burns.
    burning: [Option<UnixMicros>; BURN_PAIRS.len()],
}

impl Slo {
    #[must_use]
    pub const fn objective(&self) -> &SloObjective {
        &self.objective
    }

    /// The freeze, while the budget is frozen.
    #[must_use]
    pub const fn frozen(&self) -> Option<SloFreeze> {
        self.frozen
    }

    /// The pairs of windows that burn, and since when.
    pub fn burning(&self) -> impl Iterator<Item = (BurnPair, UnixMicros)> {
        BURN_PAIRS
            .into_iter()
            .filter_map(|pair| Some((pair, self.burning[pair.index()]?)))
    }

    /// The pairs of windows that are looked at: those within the objective's window.
    pub fn pairs(&self) -> impl Iterator<Item = BurnPair> {
        let window = self.objective.window_micros;
        BURN_PAIRS
            .into_iter()
            .filter(move |pair| pair.windows_micros().0 <= window)
    }

    /// What was counted in the last `window_micros` before `at`.
    #[must_use]
    pub fn over(&self, at: UnixMicros, window_micros: u64) -> Counted {
        self.rings.over(at, window_micros)
    }

    /// What is known at `at`.
    #[must_use]
    pub fn reading(&self, at: UnixMicros) -> SloReading {
        let counted = self.over(at, self.objective.window_micros);
        let windows = self.pairs().flat_map(|pair| {
            let (long, short) = pair.windows_micros();
            [short, long]
        });
        let mut windows: Vec<u64> = windows.chain([self.objective.window_micros]).collect();
        windows.sort_unstable();
        windows.dedup();
        let burn = windows.into_iter().map(|window_micros| {
            let counted = self.over(at, window_micros);
            BurnWindow {
                window_micros,
                counted,
                rate_milli: self.objective.burn_milli(counted),
            }
        });
        SloReading {
            counted,
            remaining_permille: self.objective.remaining_permille(counted),
            burn: burn.collect(),
        }
    }

    fn new(objective: &SloObjective) -> Self {
        Self {
            objective: objective.clone(),
            rings: Rings::default(),
            frozen: None,
            burning: [None; BURN_PAIRS.len()],
        }
    }

    /// What follows from a batch that adds `added`.
    fn judge(&self, policy: &SloPolicy, at: UnixMicros, added: Counted) -> Vec<Event> {
        let objective = &self.objective;
        let mut events = Vec::new();
        let counted = self.over(at, objective.window_micros).plus(added);
        let changes = match self.frozen {
            None => objective.to_freeze(policy, counted),
            Some(_) => objective.to_thaw(policy, counted),
        };
        if changes {
            events.push(Event::SloBudgetChanged(SloBudgetChanged {
                objective: objective.name.clone(),
                frozen: self.frozen.is_none(),
                good: counted.good,
                valid: counted.valid,
                remaining_permille: objective.remaining_permille(counted),
            }));
        }
        for pair in self.pairs() {
            let (long, short) = pair.windows_micros();
            let [long, short] = [long, short].map(|window| self.over(at, window).plus(added));
            let rates = [long, short].map(|counted| objective.burn_milli(counted));
            let reach = |line: u64| rates.iter().all(|rate| rate.is_some_and(|it| it >= line));
            let burns = match self.burning[pair.index()] {
                None => reach(pair.rate_milli()) && long.bad() >= policy.bad_minimum.max(1),
                Some(_) => reach(pair.ceases_milli()),
            };
            if burns != self.burning[pair.index()].is_some() {
                events.push(Event::SloBurnChanged(SloBurnChanged {
                    objective: objective.name.clone(),
                    pair,
                    burning: burns,
                    long_milli: rates[0],
                    short_milli: rates[1],
                }));
            }
        }
        events
    }
}

/// See the module. Empty in a log that never had objectives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slos {
    policy: SloPolicy,
    all: BTreeMap<String, Slo>,
    /// The time of the last batch.
    sampled_at: Option<UnixMicros>,
}

impl Slos {
    /// Whether there is no objective and nothing is known of one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every objective, by name.
    pub fn all(&self) -> impl ExactSizeIterator<Item = (&str, &Slo)> {
        self.all.iter().map(|(name, slo)| (name.as_str(), slo))
    }

    /// The objective of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Slo> {
        self.all.get(name)
    }

    #[must_use]
    pub const fn policy(&self) -> SloPolicy {
        self.policy
    }

    /// The time of the last batch that was counted.
    #[must_use]
    pub const fn sampled_at(&self) -> Option<UnixMicros> {
        self.sampled_at
    }

    /// The objectives as they are configured, in the order of their names.
    #[must_use]
    pub fn plan(&self) -> SloPlan {
        SloPlan {
            policy: self.policy,
            objectives: self.all.values().map(|slo| slo.objective.clone()).collect(),
        }
    }

    /// What follows from a batch.
    pub(crate) fn after(&self, at: UnixMicros, batch: &MetricsSampled) -> Vec<Event> {
        let judged = self.all.values().map(|slo| {
            let added = self.counted(slo, at, batch);
            slo.judge(&self.policy, at, added)
        });
        judged.flatten().collect()
    }

    /// What a batch adds to an objective. Time that was counted already is not counted again.
    fn counted(&self, slo: &Slo, at: UnixMicros, batch: &MetricsSampled) -> Counted {
        let (good, valid) = slo.objective.measure.of(batch);
        let since = self.sampled_at.map_or(u64::MAX, |before| at.since(before));
        Counted {
            good,
            valid,
            micros: batch.span_micros.min(since),
        }
    }

    // What follows folds, and cannot refuse.

    /// Takes over other objectives. What was counted stays as long as the same is measured.
    pub(crate) fn configure(&mut self, plan: &SloPlan) {
        let mut before = std::mem::take(&mut self.all);
        self.policy = plan.policy;
        for objective in plan.bounded() {
            let known = before.remove(&objective.name);
            let known = known.filter(|slo| slo.objective.measure == objective.measure);
            let mut slo = known.unwrap_or_else(|| Slo::new(objective));
            slo.objective = objective.clone();
            slo.frozen = slo.frozen.filter(|_| objective.freezes);
            let looked_at: Vec<BurnPair> = slo.pairs().collect();
            for pair in BURN_PAIRS.into_iter().filter(|it| !looked_at.contains(it)) {
                slo.burning[pair.index()] = None;
            }
            self.all.insert(objective.name.clone(), slo);
        }
        if self.all.is_empty() {
            *self = Self::default();
        }
    }

    pub(crate) fn sample(&mut self, at: UnixMicros, batch: &MetricsSampled) {
        if self.all.is_empty() {
            return;
        }
        let added: Vec<Counted> = self
            .all
            .values()
            .map(|slo| self.counted(slo, at, batch))
            .collect();
        for (slo, added) in self.all.values_mut().zip(added) {
            slo.rings.add(at, added);
        }
        self.sampled_at = Some(at);
    }

    pub(crate) fn change_budget(&mut self, at: UnixMicros, changed: &SloBudgetChanged) {
        if let Some(slo) = self.all.get_mut(&changed.objective) {
            slo.frozen = changed.frozen.then_some(SloFreeze {
                since: at,
                good: changed.good,
                valid: changed.valid,
                remaining_permille: changed.remaining_permille.unwrap_or(0),
            });
        }
    }

    pub(crate) fn change_burn(&mut self, at: UnixMicros, changed: &SloBurnChanged) {
        if let Some(slo) = self.all.get_mut(&changed.objective) {
            slo.burning[changed.pair.index()] = changed.burning.then_some(at);
        }
    }

    /// A line for each fact.
    pub(crate) fn dump(&self, text: &mut String) {
        let Self {
            policy,
            all,
            sampled_at,
        } = self;
        if self.is_empty() {
            return;
        }
        let mut line = |fact: String| writeln!(text, "{fact}").expect("text takes any line");
        line(format!("slo policy {policy:?} sampled {sampled_at:?}"));
        all.iter()
            .for_each(|(name, slo)| line(format!("slo {name} {slo:?}")));
    }
}
