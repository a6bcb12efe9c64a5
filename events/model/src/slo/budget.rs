//! Budgets and how fast they burn: the arithmetic. Rates are in thousandths, and whole.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plan::{PPM, SloObjective, SloPolicy};
use super::rings::Counted;

const MINUTE_MICROS: u64 = 60_000_000;
const HOUR_MICROS: u64 = 60 * MINUTE_MICROS;

/// A long and a short window that have to burn both, as in the SRE workbook, chapter 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BurnPair {
    /// An hour and 5 minutes, at 14.4 times.
    Fast,
    /// 6 hours and 30 minutes, at 6 times.
    Medium,
    /// 3 days and 6 hours, at once the rate that the budget lasts for.
    Slow,
}

/// Every pair, in the order in which decisions look at them.
pub const BURN_PAIRS: [BurnPair; 3] = [BurnPair::Fast, BurnPair::Medium, BurnPair::Slow];

impl BurnPair {
    /// The word in JSON and in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Medium => "medium",
            Self::Slow => "slow",
        }
    }

    /// Microseconds of the long and of the short window.
    #[must_use]
    pub const fn windows_micros(self) -> (u64, u64) {
        match self {
            Self::Fast => (HOUR_MICROS, 5 * MINUTE_MICROS),
            Self::Medium => (6 * HOUR_MICROS, 30 * MINUTE_MICROS),
            Self::Slow => (72 * HOUR_MICROS, 6 * HOUR_MICROS),
        }
    }

    /// The rate from which on it burns, in thousandths of that at which the budget lasts.
    #[must_use]
    pub const fn rate_milli(self) -> u64 {
        match self {
            Self::Fast => 14_400,
            Self::Medium => 6_000,
            Self::Slow => 1_000,
        }
    }

    /// The rate below which it has ceased: somewhat lower, so that it does not flap.
    pub(super) const fn ceases_milli(self) -> u64 {
        self.rate_milli() * 9 / 10
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Fast => 0,
            Self::Medium => 1,
            Self::Slow => 2,
        }
    }
}

impl fmt::Display for BurnPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How fast a budget burns over one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BurnWindow {
    pub window_micros: u64,
    pub counted: Counted,
    /// Thousandths of the rate at which the budget lasts for its window; none without data.
    pub rate_milli: Option<u64>,
}

/// What is known of an objective at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SloReading {
    /// Over the objective's window.
    pub counted: Counted,
    /// Thousandths of the budget that are left, negative when it is overdrawn; none without data.
    pub remaining_permille: Option<i64>,
    /// From the shortest window to the longest.
    pub burn: Vec<BurnWindow>,
}

impl SloObjective {
    /// Thousandths of the budget that are left; none when nothing was counted.
    #[must_use]
    pub fn remaining_permille(&self, counted: Counted) -> Option<i64> {
        let allowed = self.allowed(counted);
        let spent = spent(counted) * 1_000;
        (allowed > 0).then(|| {
            // Rounded away from what is left, so that nothing is told that is not there.
            let left = 1_000 - spent.div_euclid(allowed) - i128::from(spent % allowed > 0);
            i64::try_from(left).unwrap_or(i64::MIN)
        })
    }

    /// Thousandths of the rate at which the budget would last for its window.
    #[must_use]
    pub fn burn_milli(&self, counted: Counted) -> Option<u64> {
        let allowed = self.allowed(counted);
        (allowed > 0).then(|| {
            let rate = spent(counted) * 1_000 / allowed;
            u64::try_from(rate).unwrap_or(u64::MAX)
        })
    }

    /// Whether a budget freezes that has not been frozen.
    pub(super) fn to_freeze(&self, policy: &SloPolicy, counted: Counted) -> bool {
        self.freezes
            && counted.bad() >= policy.bad_minimum.max(1)
            && !self.is_left(counted, policy.freeze_below_permille)
    }

    /// Whether a budget thaws that has been frozen.
    pub(super) fn to_thaw(&self, policy: &SloPolicy, counted: Counted) -> bool {
        let line = policy.thaw_at_permille.max(policy.freeze_below_permille);
        !self.freezes || counted.bad() < policy.bad_minimum.max(1) || self.is_left(counted, line)
    }

    /// Whether at least so much of the budget is left.
    fn is_left(&self, counted: Counted, permille: u32) -> bool {
        let allowed = self.allowed(counted);
        (allowed - spent(counted)) * 1_000 >= allowed * i128::from(permille)
    }

    /// Millionths of events that may be bad of those that were counted.
    fn allowed(&self, counted: Counted) -> i128 {
        i128::from(counted.valid) * i128::from(self.budget_ppm())
    }
}

/// Millionths of events that were bad.
fn spent(counted: Counted) -> i128 {
    i128::from(counted.bad()) * i128::from(PPM)
}
