//! What one batch of figures says about an objective. Whole numbers only.

use super::plan::{SloBound, SloMeasure, SloPer};
use crate::event::MetricsSampled;
use crate::samples::{Reading, Samples, millionths, reading};

impl SloMeasure {
    /// What was good, and what was looked at; nothing of it when the batch does not tell.
    pub(super) fn of(&self, batch: &MetricsSampled) -> (u64, u64) {
        match self {
            Self::Ratio { good, valid } => {
                let valid = count(valid, &batch.values);
                (count(good, &batch.values).min(valid), valid)
            }
            Self::Bound(bound) => match bound.met(batch) {
                Some(met) => (u64::from(met), 1),
                None => (0, 0),
            },
        }
    }
}

impl SloBound {
    /// Whether the figure is within its bound; none when it is not known.
    fn met(&self, batch: &MetricsSampled) -> Option<bool> {
        if let Some(when) = &self.when
            && sum(&when.series, &batch.values)? < i128::from(when.at_least_millionths)
        {
            return None;
        }
        let value = sum(&self.value, &batch.values)?;
        let bound = i128::from(self.bound_millionths);
        // Both sides are multiplied by what the figure is divided by.
        let (value, bound) = match &self.per {
            SloPer::One => (value, bound),
            SloPer::Second if batch.span_micros == 0 => return None,
            SloPer::Second => {
                let span = i128::from(batch.span_micros);
                (value.saturating_mul(MILLION), bound.saturating_mul(span))
            }
            SloPer::Series(series) => match sum(series, &batch.values)? {
                ..=0 => return None,
                per => (value.saturating_mul(MILLION), bound.saturating_mul(per)),
            },
        };
        Some(match self.at_most {
            true => value <= bound,
            false => value >= bound,
        })
    }
}

const MILLION: i128 = 1_000_000;

/// What was added, in stored units; a figure never counts backwards.
fn count(series: &[u16], values: &Samples) -> u64 {
    let added = series.iter().filter_map(|number| values.stored(*number));
    let added = added.map(|value| u64::try_from(value).unwrap_or(0));
    added.fold(0, u64::saturating_add)
}

/// The sum in millionths of the base unit. What was not added to is not in the batch; of what is
/// not known there is no sum.
fn sum(series: &[u16], values: &Samples) -> Option<i128> {
    let mut sum = 0_i128;
    for number in series {
        match (values.stored(*number), reading(*number)) {
            (Some(value), _) => {
                sum = sum.saturating_add(i128::from(value) * millionths(*number));
            }
            (None, Reading::Growth) => {}
            (None, Reading::Level) => return None,
        }
    }
    Some(sum)
}
