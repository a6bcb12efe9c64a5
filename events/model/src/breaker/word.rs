//! The words of circuit breakers in events, metrics and requests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a breaker does with calls. Variants are appended only: the log holds their position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass and are counted.
    Closed,
    /// A few calls pass, to find out whether the service works again.
    HalfOpen,
    /// No call passes until a moment.
    Open,
    /// No call passes until somebody says otherwise, or a span has passed.
    ForcedOpen,
    /// Every call passes and none is counted.
    Disabled,
    /// Every call passes; calls are counted and nothing follows.
    MetricsOnly,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Closed,
        Self::HalfOpen,
        Self::Open,
        Self::ForcedOpen,
        Self::Disabled,
        Self::MetricsOnly,
    ];

    /// The word in JSON and in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What somebody asks of a breaker. Variants are appended only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerAction {
    /// Close it and forget the calls that it has counted.
    Reset,
    ForceOpen,
    Disable,
    /// Take back `ForceOpen`, `Disable` and `MetricsOnly`.
    Enable,
    MetricsOnly,
}

impl BreakerAction {
    /// Every action.
    pub const ALL: [Self; 5] = [
        Self::Reset,
        Self::ForceOpen,
        Self::Disable,
        Self::Enable,
        Self::MetricsOnly,
    ];

    /// The word in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::ForceOpen => "force_open",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::MetricsOnly => "metrics_only",
        }
    }

    /// Whether it can end by itself after a span.
    #[must_use]
    pub const fn takes_ttl(self) -> bool {
        match self {
            Self::ForceOpen | Self::Disable | Self::MetricsOnly => true,
            Self::Reset | Self::Enable => false,
        }
    }
}

/// The text names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected reset, force_open, disable, enable or metrics_only")]
pub struct BadAction;

impl FromStr for BreakerAction {
    type Err = BadAction;

    fn from_str(text: &str) -> Result<Self, BadAction> {
        let known = Self::ALL.into_iter().find(|action| action.word() == text);
        known.ok_or(BadAction)
    }
}

/// Why a breaker changed. Variants are appended only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerCause {
    /// So many of the calls looked at had failed.
    FailureRate { failed: u32, of: u32 },
    /// So many of the calls looked at were slow.
    SlowRate { slow: u32, of: u32 },
    /// So many calls in a row had failed.
    ConsecutiveFailures { failed: u32 },
    /// A call that was let through to try the service failed, or was slow.
    ProbeFailed,
    /// So many calls that were let through worked.
    ProbesSucceeded { succeeded: u32 },
    /// It was open for as long as it should be.
    OpenLongEnough,
    /// It was half-open for too long.
    HalfOpenTooLong,
    /// Somebody asked for it.
    Asked { action: BreakerAction },
    /// What somebody asked for has ended.
    TtlEnded,
}

impl BreakerCause {
    /// The word in metrics and lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::FailureRate { .. } => "failure_rate",
            Self::SlowRate { .. } => "slow_rate",
            Self::ConsecutiveFailures { .. } => "consecutive_failures",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded { .. } => "probes_succeeded",
            Self::OpenLongEnough => "open_long_enough",
            Self::HalfOpenTooLong => "half_open_too_long",
            Self::Asked { .. } => "asked",
            Self::TtlEnded => "ttl_ended",
        }
    }

    /// Whether it opens a breaker for a while.
    #[must_use]
    pub const fn opens(self) -> bool {
        match self {
            Self::FailureRate { .. }
            | Self::SlowRate { .. }
            | Self::ConsecutiveFailures { .. }
            | Self::ProbeFailed
            | Self::HalfOpenTooLong => true,
            Self::ProbesSucceeded { .. }
            | Self::OpenLongEnough
            | Self::Asked { .. }
            | Self::TtlEnded => false,
        }
    }
}

impl fmt::Display for BreakerCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureRate { failed, of } => write!(f, "{failed} of {of} calls failed"),
            Self::SlowRate { slow, of } => write!(f, "{slow} of {of} calls were slow"),
            Self::ConsecutiveFailures { failed } => write!(f, "{failed} calls failed in a row"),
            Self::ProbeFailed => f.write_str("a probe failed or was slow"),
            Self::ProbesSucceeded { succeeded } => write!(f, "{succeeded} probes succeeded"),
            Self::OpenLongEnough => f.write_str("it was open for long enough"),
            Self::HalfOpenTooLong => f.write_str("it was half-open for too long"),
            Self::Asked { action } => write!(f, "somebody asked for {}", action.word()),
            Self::TtlEnded => f.write_str("what was asked for has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_read_what_they_write() {
        for action in BreakerAction::ALL {
            assert_eq!(action.word().parse(), Ok(action));
        }
        assert_eq!("open".parse::<BreakerAction>(), Err(BadAction));
    }
}
