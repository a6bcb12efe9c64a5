//! What a check says.

use std::collections::BTreeMap;

use hindcast_model::{Digest, KeyId, Payload, Seq};
use uuid::Uuid;

use crate::base::Gap;

/// Problems named before the rest is only counted.
pub(super) const PROBLEMS_MAX: usize = 100;

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the log.
    pub seq: Seq,
    pub what: String,
}

/// The first thing in the log that is sealed under a data key which opens nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstSealed {
    pub key: KeyId,
    pub seq: Seq,
    pub payload: Payload,
}

/// How the lookup store was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StoreCheck {
    /// There is none; the next start writes it again.
    #[default]
    Absent,
    /// A process has the data directory open, or it cannot be told whether one has.
    InUse,
    /// There is no room for the copy of it that is compared.
    NotCopied,
    /// It does not open, which is a problem that is named.
    Unreadable,
    /// So many records were compared.
    Compared(u64),
}

/// What was proved, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub log: Option<Uuid>,
    pub epoch: u32,
    /// What was removed; the chain is checked from there on.
    pub pruned: Vec<Gap>,
    pub events: u64,
    pub segments: u64,
    /// Hash of the last frame: with it, nobody can change what came before. `None` when the log is
    /// damaged; what follows the damage is not folded.
    pub chain: Option<Digest>,
    /// Hash of the state that the log folds to, up to the damage if there is any.
    pub state_hash: Digest,
    /// Observed events that were decided again.
    pub decided_again: u64,
    /// Observed events of another decider version, which are not decided again.
    pub decided_elsewhere: u64,
    pub blobs: u64,
    pub store: StoreCheck,
    /// Positions of the checkpoints that agree with the log.
    pub checkpoints: Vec<Seq>,
    /// Positions of the checkpoints that do not.
    pub checkpoints_differing: Vec<Seq>,
    /// Positions of checkpoints of a history that a restore abandoned, which no start takes.
    pub checkpoints_abandoned: Vec<Seq>,
    /// Bytes after the last intact frame, which the next start cuts.
    pub torn_bytes: u64,
    /// How many payloads each data key opens that was at hand.
    pub opened: BTreeMap<KeyId, u64>,
    /// For each other data key that was not shredded what it has to open first.
    pub sealed: Vec<FirstSealed>,
    /// The stored datasets that are sealed and whole, with the first sequence that names each.
    pub sealed_datasets: Vec<(Digest, Seq)>,
    pub problems: Vec<Problem>,
    pub problems_total: u64,
}

impl Report {
    /// Whether everything holds.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.problems_total == 0
    }

    /// A checkpoint was compared.
    pub(super) fn checkpoint(&mut self, seq: Seq, same: bool) {
        if same {
            self.checkpoints.push(seq);
            return;
        }
        self.checkpoints_differing.push(seq);
        let what = "a snapshot holds another state than the log folds to";
        self.problem(seq, what);
    }

    /// Names something that does not hold; beyond a hundred they are only counted.
    pub fn problem(&mut self, seq: Seq, what: impl Into<String>) {
        self.problems_total += 1;
        if self.problems.len() < PROBLEMS_MAX {
            let what = what.into();
            self.problems.push(Problem { seq, what });
        }
    }
}
