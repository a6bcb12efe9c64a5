//! The state that the log folds to. It holds what is open: a run that has ended leaves it, and is
//! found again through the log, so that memory does not grow with the number of runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::breaker::Breakers;
use crate::event::{BackupKind, Idempotency, Settings, Tally};
use crate::ids::{BackupId, Digest, EventId, ExperimentId, KeyId, Name16, RunId, Seq, UnixMicros};
use crate::payload::Payload;
use crate::slo::Slos;
use crate::stream::Stream;

/// What an event's record says beside its payload, as far as the core reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    pub seq: Seq,
    pub at: UnixMicros,
    pub event_id: EventId,
    pub correlation: EventId,
    pub principal: Name16,
    pub tenant: Name16,
    pub key: KeyId,
}

/// A run that is admitted and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    pub operation: String,
    pub schema: u16,
    /// `None` for an immediate run, whose result stands in the same frame.
    pub spec: Option<Payload>,
    pub spec_hash: Digest,
    pub seed: u64,
    pub datasets: Vec<Digest>,
    pub deadline: Option<UnixMicros>,
    pub experiment: Option<ExperimentId>,
    /// Of the event that requested it.
    pub requested: Context,
}

/// What is known of a dataset without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetMeta {
    pub name: String,
    pub format: String,
    pub bytes: u64,
    pub rows: u64,
    pub columns: u32,
    pub registered_at: UnixMicros,
}

/// An experiment with runs that have not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenExperiment {
    pub name: String,
    pub runs: Vec<RunId>,
    pub remaining: u64,
    pub tally: Tally,
    pub requested_at: UnixMicros,
}

/// Totals of one operation since the log began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub requested: u64,
    pub tally: Tally,
    pub queued_micros: u64,
    pub computed_micros: u64,
}

/// Counts one run by how it ended.
pub(crate) type Count = fn(&mut Tally);

/// What an idempotency key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    Run(RunId),
    Dataset(Digest),
    Experiment(ExperimentId),
    Backup(BackupId),
    /// What was answered stands in the event at this sequence. Logs without such events have no such
    /// bytes in their states.
    Answer(Seq),
}

/// A backup or verification that was asked for and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBackup {
    pub target: String,
    pub kind: BackupKind,
    pub requested_at: UnixMicros,
}

/// A backup that was restored, replayed and found to be the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedBackup {
    pub backup: BackupId,
    pub from_seq: Seq,
    pub to_seq: Seq,
    pub verified_at: UnixMicros,
    /// The state after `to_seq`.
    pub state_hash: Digest,
}

/// A request between its observed event and the decision about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    pub what: Proposal,
    pub idempotency: Option<Idempotency>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proposal {
    Run(RunId, Box<OpenRun>),
    Dataset(Digest, DatasetMeta),
    Experiment(ExperimentId, OpenExperiment),
}

/// A remembered idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    pub at: UnixMicros,
    pub body: Digest,
    pub subject: Subject,
}

/// Who used a key, and the hash of its text.
pub type IdempotencyKey = (Name16, [u8; 16]);

/// A file that does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The first sequence that is concerned; 0 when the file holds no events.
    pub seq: Seq,
    pub what: String,
    pub found_at: UnixMicros,
}

/// The oldest events of the log, which were removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The last sequence that is removed.
    pub last: Seq,
    /// Hash of the frame that ends with it.
    pub chain: Digest,
    /// The last sequence that was removed without a backup that holds it; 0 for none.
    pub lost_to: Seq,
    /// The verified backup that holds what was removed last.
    pub backup: Option<String>,
}

/// The process that has the log open, or had it last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub starts: u64,
    pub started_at: UnixMicros,
    pub running: bool,
    pub binary_version: String,
    pub decider_version: u32,
    pub numeric_profile: String,
    pub configuration_hash: Digest,
    pub configuration_generation: u64,
}

/// Everything that decisions and live views read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub(crate) seq: Seq,
    pub(crate) at: UnixMicros,
    pub(crate) settings: Settings,
    pub(crate) server: Server,
    /// What the observed event just folded asks for; the decision about it is next.
    pub(crate) proposed: Option<Proposed>,
    pub(crate) runs: BTreeMap<RunId, OpenRun>,
    /// Admitted runs that are waited for, without the immediate ones.
    pub(crate) in_flight: u32,
    pub(crate) deadlines: BTreeSet<(UnixMicros, RunId)>,
    pub(crate) datasets: BTreeMap<Digest, DatasetMeta>,
    pub(crate) experiments: BTreeMap<ExperimentId, OpenExperiment>,
    pub(crate) idempotency: BTreeMap<IdempotencyKey, Remembered>,
    pub(crate) idempotency_order: VecDeque<(UnixMicros, IdempotencyKey)>,
    pub(crate) totals: BTreeMap<String, Totals>,
    pub(crate) experiments_total: u64,
    pub(crate) shed: u64,
    pub(crate) actor_restarts: BTreeMap<String, u32>,
    /// Free bytes at the sample that paused the intake.
    pub(crate) paused: Option<u64>,
    /// Files that are damaged, by their path below the data directory.
    pub(crate) damaged: BTreeMap<String, Damage>,
    /// Data keys that were shredded, and must not come back.
    pub(crate) shredded: BTreeSet<KeyId>,
    /// The oldest events, which were removed.
    pub(crate) pruned: Option<Pruned>,
    /// Versions of the streams that may still grow.
    pub(crate) heads: BTreeMap<Stream, u64>,
    pub(crate) backups_open: BTreeMap<BackupId, OpenBackup>,
    /// The last backup of each target that was verified.
    pub(crate) backups: BTreeMap<String, VerifiedBackup>,
    /// Stands behind the other bytes of the state, and only when there are breakers: the bytes of a
    /// log that never had one stay what they were.
    #[serde(skip)]
    pub(crate) breakers: Breakers,
    /// Stands behind the breakers, and only when there are objectives.
    #[serde(skip)]
    pub(crate) slos: Slos,
    /// Runs, asked for or open, whose deadline is their caller's own. Stands behind the objectives,
    /// and only when there are any.
    #[serde(skip)]
    pub(crate) caller_deadlines: BTreeSet<RunId>,
}

impl State {
    /// The position of the last event folded in.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// The time of the last event folded in.
    #[must_use]
    pub const fn at(&self) -> UnixMicros {
        self.at
    }

    /// The settings that decisions read.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// The process that has the log open.
    #[must_use]
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// The version of a stream that may still grow; 0 when there is none.
    #[must_use]
    pub fn version(&self, stream: Stream) -> u64 {
        self.heads.get(&stream).copied().unwrap_or(0)
    }

    /// A run that has not ended.
    #[must_use]
    pub fn run(&self, run: RunId) -> Option<&OpenRun> {
        self.runs.get(&run)
    }

    /// Runs that have not ended, oldest id first.
    pub fn runs(&self) -> impl Iterator<Item = (RunId, &OpenRun)> {
        self.runs.iter().map(|(id, run)| (*id, run))
    }

    /// The runs to dispatch after a restart, with the same ids and seeds as before.
    pub fn pending(&self) -> impl Iterator<Item = (RunId, &OpenRun)> {
        self.runs().filter(|(_, run)| run.spec.is_some())
    }

    /// Runs that are queued or computed, without immediate ones.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The dataset with this digest.
    #[must_use]
    pub fn dataset(&self, digest: Digest) -> Option<&DatasetMeta> {
        self.datasets.get(&digest)
    }

    /// Every dataset, by digest.
    pub fn datasets(&self) -> impl ExactSizeIterator<Item = (Digest, &DatasetMeta)> {
        self.datasets.iter().map(|(digest, meta)| (*digest, meta))
    }

    /// An experiment with runs that have not ended.
    #[must_use]
    pub fn experiment(&self, experiment: ExperimentId) -> Option<&OpenExperiment> {
        self.experiments.get(&experiment)
    }

    /// Experiments with runs that have not ended.
    pub fn experiments(&self) -> impl ExactSizeIterator<Item = (ExperimentId, &OpenExperiment)> {
        self.experiments
            .iter()
            .map(|(id, experiment)| (*id, experiment))
    }

    /// Experiments ever admitted.
    #[must_use]
    pub const fn experiments_total(&self) -> u64 {
        self.experiments_total
    }

    /// Totals by operation.
    pub fn totals(&self) -> impl Iterator<Item = (&str, &Totals)> {
        self.totals
            .iter()
            .map(|(operation, totals)| (operation.as_str(), totals))
    }

    /// Requests turned away before they were recorded.
    #[must_use]
    pub const fn shed(&self) -> u64 {
        self.shed
    }

    /// Restarts by actor since the log began.
    pub fn actor_restarts(&self) -> impl Iterator<Item = (&str, u32)> {
        self.actor_restarts
            .iter()
            .map(|(actor, restarts)| (actor.as_str(), *restarts))
    }

    /// Whether work is refused because the disk is nearly full.
    #[must_use]
    pub const fn intake_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Files that are damaged, by their path below the data directory.
    pub fn damaged(&self) -> impl ExactSizeIterator<Item = (&str, &Damage)> {
        self.damaged
            .iter()
            .map(|(file, damage)| (file.as_str(), damage))
    }

    /// Data keys that were shredded.
    pub fn shredded(&self) -> impl Iterator<Item = KeyId> {
        self.shredded.iter().copied()
    }

    /// The oldest events, if they were removed.
    #[must_use]
    pub const fn pruned(&self) -> Option<&Pruned> {
        self.pruned.as_ref()
    }

    /// The blobs that the state names: they are kept though the events that named them are not.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        let specs = self
            .runs
            .values()
            .filter_map(|run| run.spec.as_ref()?.blob());
        specs.chain(self.datasets.keys().copied())
    }

    /// When the next `TimeReached` is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<UnixMicros> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        deadline.into_iter().chain(self.breakers.due()).min()
    }

    /// The circuit breakers and the calls that are under way.
    #[must_use]
    pub const fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// The state with these breakers, which its bytes hold apart.
    #[must_use]
    pub fn with_breakers(self, breakers: Breakers) -> Self {
        Self { breakers, ..self }
    }

    /// The service level objectives and what was counted for them.
    #[must_use]
    pub const fn slos(&self) -> &Slos {
        &self.slos
    }

    /// The state with these objectives, which its bytes hold apart.
    #[must_use]
    pub fn with_slos(self, slos: Slos) -> Self {
        Self { slos, ..self }
    }

    /// Whether this run, asked for or open, has a deadline of its caller's own, which is sooner than
    /// the service allows: when it passes, that says nothing about the service.
    #[must_use]
    pub fn caller_deadline(&self, run: RunId) -> bool {
        self.caller_deadlines.contains(&run)
    }

    /// The runs of [`Self::caller_deadline`].
    #[must_use]
    pub const fn caller_deadlines(&self) -> &BTreeSet<RunId> {
        &self.caller_deadlines
    }

    /// The state with these runs, which its bytes hold apart.
    #[must_use]
    pub fn with_caller_deadlines(self, caller_deadlines: BTreeSet<RunId>) -> Self {
        Self {
            caller_deadlines,
            ..self
        }
    }

    /// Idempotency keys remembered.
    #[must_use]
    pub fn idempotency_entries(&self) -> usize {
        self.idempotency.len()
    }

    /// Whether a request with this idempotency key is remembered, whatever it asked for.
    #[must_use]
    pub fn knows_key(&self, principal: Name16, key: [u8; 16]) -> bool {
        self.idempotency.contains_key(&(principal, key))
    }

    /// When this upload was first made under its idempotency key, if the key is remembered.
    #[must_use]
    pub fn first_upload(
        &self,
        principal: Name16,
        idempotency: &Idempotency,
        digest: Digest,
        now: UnixMicros,
    ) -> Option<UnixMicros> {
        let known = self.idempotency.get(&(principal, idempotency.key))?;
        let same = known.body == idempotency.body && known.subject == Subject::Dataset(digest);
        let fresh = now.since(known.at) < self.settings.idempotency_ttl_micros;
        (same && fresh).then_some(known.at)
    }

    /// Backups and verifications that were asked for and have not ended.
    pub fn backups_open(&self) -> impl ExactSizeIterator<Item = (BackupId, &OpenBackup)> {
        self.backups_open.iter().map(|(id, open)| (*id, open))
    }

    /// The last verified backup of each target, by the target's name.
    pub fn backups(&self) -> impl ExactSizeIterator<Item = (&str, &VerifiedBackup)> {
        self.backups
            .iter()
            .map(|(target, known)| (target.as_str(), known))
    }

    /// The backup that this key was first used for, and whether the request was the same.
    #[must_use]
    pub fn first_backup(&self, principal: Name16, key: &Idempotency) -> Option<(BackupId, bool)> {
        let known = self.idempotency.get(&(principal, key.key))?;
        match known.subject {
            Subject::Backup(backup) => Some((backup, known.body == key.body)),
            Subject::Run(_) | Subject::Dataset(_) | Subject::Experiment(_) | Subject::Answer(_) => {
                Some((BackupId::default(), false))
            }
        }
    }
}
