//! How often an actor may be built anew, and how long to wait before it is. Pure: the caller says
//! what time it is.

use std::collections::VecDeque;
use std::time::Duration;

/// The rules for restarts of one actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts within `window` after which the actor is reported failed.
    pub restarts_max: u32,
    pub window: Duration,
    /// Wait before the first restart; it doubles with every further one in the window.
    pub backoff_first: Duration,
    pub backoff_max: Duration,
    /// How long a failed actor rests before it is tried again.
    pub failed_retry: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            window: Duration::from_secs(60),
            backoff_first: Duration::from_millis(10),
            backoff_max: Duration::from_secs(10),
            failed_retry: Duration::from_secs(30),
        }
    }
}

/// What to do after a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Restart {
        after_micros: u64,
    },
    /// The budget is spent: unhealthy until a late retry holds.
    Failed {
        after_micros: u64,
    },
}

/// The deaths that still count.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    deaths: VecDeque<u64>,
}

impl Budget {
    /// Counts a death at `now` (monotonic microseconds).
    pub(crate) fn spend(&mut self, now: u64, policy: &RestartPolicy) -> Verdict {
        let window = micros(policy.window);
        self.deaths
            .retain(|death| now.saturating_sub(*death) < window);
        // One more than the budget is enough to know that it is spent.
        if self.deaths.len() > policy.restarts_max as usize {
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
        let deaths = self.deaths.len();
        if deaths > policy.restarts_max as usize {
            return Verdict::Failed {
                after_micros: micros(policy.failed_retry),
            };
        }
        let doublings = u32::try_from(deaths.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(20);
        let wait = micros(policy.backoff_first).saturating_mul(1 << doublings);
        Verdict::Restart {
            after_micros: wait.min(micros(policy.backoff_max)),
        }
    }
}

/// Whole microseconds of a span.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        restarts_max: 3,
        window: Duration::from_micros(1_000),
        backoff_first: Duration::from_micros(10),
        backoff_max: Duration::from_micros(25),
        failed_retry: Duration::from_micros(500),
    };

    #[test]
    fn waits_double_up_to_a_limit_and_the_budget_ends() {
        let mut budget = Budget::default();
        let verdicts: Vec<Verdict> = (0..5).map(|i| budget.spend(i, &POLICY)).collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Restart { after_micros: 10 },
                Verdict::Restart { after_micros: 20 },
                Verdict::Restart { after_micros: 25 },
                Verdict::Failed { after_micros: 500 },
                Verdict::Failed { after_micros: 500 },
            ]
        );
    }

    #[test]
    fn old_deaths_are_forgiven() {
        let mut budget = Budget::default();
        for now in 0..4 {
            budget.spend(now, &POLICY);
        }
        assert_eq!(
            budget.spend(1_001, &POLICY),
            Verdict::Restart { after_micros: 25 }
        );
        assert_eq!(
            budget.spend(3_000, &POLICY),
            Verdict::Restart { after_micros: 10 }
        );
    }
}
