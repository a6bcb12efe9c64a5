//! The parts of a state, all of them, for whoever shows or compares states. A field that is added
//! to the state has to be added here, and then wherever the parts are taken apart.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::breaker::Breakers;
use crate::event::Settings;
use crate::ids::{BackupId, Digest, ExperimentId, KeyId, RunId, Seq, UnixMicros};
use crate::slo::Slos;
use crate::state::{
    Damage, DatasetMeta, IdempotencyKey, OpenBackup, OpenExperiment, OpenRun, Proposed, Pruned,
    Remembered, Server, State, Totals, VerifiedBackup,
};
use crate::stream::Stream;

/// A state, taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub seq: Seq,
    pub at: UnixMicros,
    pub settings: &'a Settings,
    pub server: &'a Server,
    /// What the last event asks for; the decision about it is next.
    pub proposed: Option<&'a Proposed>,
    pub runs: &'a BTreeMap<RunId, OpenRun>,
    /// Admitted runs that are waited for, without the immediate ones.
    pub in_flight: u32,
    pub deadlines: &'a BTreeSet<(UnixMicros, RunId)>,
    pub datasets: &'a BTreeMap<Digest, DatasetMeta>,
    pub experiments: &'a BTreeMap<ExperimentId, OpenExperiment>,
    pub idempotency: &'a BTreeMap<IdempotencyKey, Remembered>,
    pub idempotency_order: &'a VecDeque<(UnixMicros, IdempotencyKey)>,
    pub totals: &'a BTreeMap<String, Totals>,
    pub experiments_total: u64,
    pub shed: u64,
    pub actor_restarts: &'a BTreeMap<String, u32>,
    /// Free bytes at the sample that paused the intake.
    pub paused: Option<u64>,
    /// Files that are damaged, by their path below the data directory.
    pub damaged: &'a BTreeMap<String, Damage>,
    /// Data keys that were shredded.
    pub shredded: &'a BTreeSet<KeyId>,
    /// The oldest events, which were removed.
    pub pruned: Option<&'a Pruned>,
    /// Versions of the streams that may still grow.
    pub heads: &'a BTreeMap<Stream, u64>,
    /// Backups that were asked for and have not ended.
    pub backups_open: &'a BTreeMap<BackupId, OpenBackup>,
    /// The last verified backup of each target.
    pub backups: &'a BTreeMap<String, VerifiedBackup>,
    pub breakers: &'a Breakers,
    pub slos: &'a Slos,
    /// Runs whose deadline is their caller's own.
    pub caller_deadlines: &'a BTreeSet<RunId>,
}

impl State {
    /// Takes the state apart. The destructuring is exhaustive.
    #[must_use]
    pub const fn parts(&self) -> Parts<'_> {
        let Self {
            seq,
            at,
            settings,
            server,
            proposed,
            runs,
            in_flight,
            deadlines,
            datasets,
            experiments,
            idempotency,
            idempotency_order,
            totals,
            experiments_total,
            shed,
            actor_restarts,
            paused,
            damaged,
            shredded,
            pruned,
            heads,
            backups_open,
            backups,
            breakers,
            slos,
            caller_deadlines,
        } = self;
        Parts {
            seq: *seq,
            at: *at,
            settings,
            server,
            proposed: proposed.as_ref(),
            runs,
            in_flight: *in_flight,
            deadlines,
            datasets,
            experiments,
            idempotency,
            idempotency_order,
            totals,
            experiments_total: *experiments_total,
            shed: *shed,
            actor_restarts,
            paused: *paused,
            damaged,
            shredded,
            pruned: pruned.as_ref(),
            heads,
            backups_open,
            backups,
            breakers,
            slos,
            caller_deadlines,
        }
    }
}
