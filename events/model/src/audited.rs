//! The trail of who did what, where no other event tells it.

use serde::{Deserialize, Serialize};

/// What became of a call that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    Done,
    /// The caller may not do this.
    Denied,
    /// It was tried and did not come about.
    Failed,
}

impl AuditOutcome {
    /// The word for it, as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// Somebody did, or was not allowed to do, what no other event tells. Who it was stands in the
/// record's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// Such as `keys.create`; of a denied call without such a verb its method and route.
    pub verb: String,
    /// What it was done to; empty when there is only one.
    pub target: String,
    pub outcome: AuditOutcome,
    pub reason: String,
    /// The role under which the caller acted: `viewer`, `operator` or `admin`.
    pub role: String,
    /// The public part of the key that proved who it was; empty without one.
    pub key: String,
}
