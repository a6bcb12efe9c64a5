//! What came from outside: the payloads of observed events. A released struct is never edited; a
//! new schema is a new struct, and the old one is read through `From`.

use serde::{Deserialize, Serialize};

use crate::breaker::{BreakerAction, BreakerPlan};
use crate::ids::{BackupId, Digest, ExperimentId, KeyId, Name16, RunId, Seq, UnixMicros};
use crate::payload::Payload;
use crate::requested::Idempotency;
use crate::samples::Samples;
use crate::slo::SloPlan;

/// A process opened the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStarted {
    pub binary_version: String,
    pub decider_version: u32,
    /// Instruction set, maths library and algorithm versions that results are computed with.
    pub numeric_profile: String,
    /// Whether the process before this one closed the log in good order.
    pub clean: bool,
}

/// A process closed the log in good order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStopped {
    pub reason: String,
}

/// The configuration: the whole of it as canonical JSON without secrets, and the part that
/// decisions read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationLoaded {
    pub generation: u64,
    pub hash: Digest,
    pub document: Payload,
    pub settings: Settings,
    /// None in a log that was written before there were breakers.
    pub breakers: Option<BreakerPlan>,
}

/// Before there were breakers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationLoadedV1 {
    pub generation: u64,
    pub hash: Digest,
    pub document: Payload,
    pub settings: Settings,
}

impl From<ConfigurationLoadedV1> for ConfigurationLoaded {
    fn from(old: ConfigurationLoadedV1) -> Self {
        Self {
            generation: old.generation,
            hash: old.hash,
            document: old.document,
            settings: old.settings,
            breakers: None,
        }
    }
}

/// What decisions read of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Runs admitted and not ended, at most.
    pub runs_in_flight_max: u32,
    /// Microseconds of log time that an idempotency key is remembered.
    pub idempotency_ttl_micros: u64,
    /// Idempotency keys remembered at most.
    pub idempotency_entries_max: u64,
    /// Free bytes below which work is refused.
    pub disk_reserve_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runs_in_flight_max: crate::limits::RUNS_IN_FLIGHT_MAX,
            idempotency_ttl_micros: crate::limits::IDEMPOTENCY_TTL_MICROS,
            idempotency_entries_max: crate::limits::IDEMPOTENCY_ENTRIES_MAX as u64,
            disk_reserve_bytes: 0,
        }
    }
}

/// The wall clock jumped against the monotonic one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStepped {
    /// The step in microseconds; negative when the clock went back.
    pub step_micros: i64,
    /// What the wall clock says after it.
    pub wall: UnixMicros,
    /// Whether the log's time follows at once. A large forward step is adopted later.
    pub adopted: bool,
}

/// A timer's moment has come; the record's time is the time reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeReached {}

/// Somebody has a wish about a breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerCommanded {
    pub name: String,
    pub action: BreakerAction,
    pub reason: String,
    /// Microseconds after which it ends by itself; 0 means that it lasts.
    pub ttl_micros: u64,
}

/// How a computation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Completed {
        /// Canonical JSON of the result: no ids, times or host facts.
        result: Payload,
        /// Over the canonical JSON.
        result_hash: Digest,
        /// The version of the result's schema.
        schema: u16,
        algorithm_version: String,
    },
    Failed {
        /// A stable word: `invalid`, `too_large`, `deadline_exceeded`, `sealed` (the spec's data
        /// key is not there), `panicked`, `internal`.
        code: String,
        /// The JSON path of the field at fault, where there is one.
        field: Option<String>,
        message: String,
        hint: Option<String>,
    },
    /// The result is that of an earlier run of the same operation, spec, algorithm version and
    /// seed, and stands there. Since schema 2 of `OutcomeObserved`.
    Reused {
        /// A run that was completed by a computation of its own.
        original: RunId,
        /// Over the canonical JSON.
        result_hash: Digest,
        /// The version of the result's schema.
        schema: u16,
        algorithm_version: String,
    },
}

/// A computation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeObserved {
    pub run: RunId,
    pub outcome: Outcome,
    /// What the result was computed with.
    pub numeric_profile: String,
    pub queued_micros: u64,
    pub computed_micros: u64,
}

/// Somebody withdrew a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequested {
    pub run: RunId,
    pub reason: String,
}

/// Somebody sent data, and its blob is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetUploaded {
    /// Of the file's bytes.
    pub digest: Digest,
    pub name: String,
    pub format: String,
    pub bytes: u64,
    pub rows: u64,
    pub columns: u32,
    pub idempotency: Option<Idempotency>,
}

/// Somebody asked for a series of runs, which follow in the same submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentRequested {
    pub experiment: ExperimentId,
    pub name: String,
    pub spec: Payload,
    pub runs: Vec<RunId>,
    pub idempotency: Option<Idempotency>,
}

/// A supervised actor was built anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorRestarted {
    pub actor: String,
    pub reason: String,
    /// Restarts of this actor in this process, with this one.
    pub restarts: u32,
    pub backoff_micros: u64,
    /// Of a panic the backtrace, of a silence what every thread did, at most
    /// `EVIDENCE_BYTES_MAX` bytes. Since schema 2.
    pub evidence: String,
}

/// Schema 1 of `ActorRestarted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorRestartedV1 {
    pub actor: String,
    pub reason: String,
    pub restarts: u32,
    pub backoff_micros: u64,
}

impl From<ActorRestartedV1> for ActorRestarted {
    fn from(old: ActorRestartedV1) -> Self {
        Self {
            actor: old.actor,
            reason: old.reason,
            restarts: old.restarts,
            backoff_micros: old.backoff_micros,
            evidence: String::new(),
        }
    }
}

/// The lookup store was moved aside and rebuilt from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRebuilt {
    pub reason: String,
    pub moved_to: String,
    pub events: u64,
}

/// An unacknowledged end of the log was cut at start; its bytes are kept in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TornTailCut {
    pub segment: String,
    pub offset: u64,
    pub bytes: u64,
    pub kept_in: String,
}

/// Free disk space crossed the reserve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSampled {
    pub free_bytes: u64,
}

/// Somebody asked what would have been. Nothing of the answer is recorded, and no decision reads
/// this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIfAsked {
    /// The first event that the other history has not in common with this one.
    pub at: Seq,
    pub edits: u32,
    /// Over the canonical JSON of the question.
    pub hash: Digest,
}

/// Requests turned away before they were recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsShed {
    pub overloaded: u64,
    pub malformed: u64,
    pub unauthenticated: u64,
}

/// A file of the data directory does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageFound {
    /// Its path below the data directory.
    pub file: String,
    /// The first sequence that is concerned; 0 when the file holds no events.
    pub seq: Seq,
    pub what: String,
}

/// A file that was damaged is whole again, or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageGone {
    /// As in [`DamageFound`].
    pub file: String,
}

/// Everything that was kept for a subject is to become unreadable: its data keys are shredded, here
/// and in every copy that is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectRedacted {
    pub subject: Name16,
    pub keys: Vec<KeyId>,
    pub reason: String,
}

/// What is asked of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupKind {
    /// Everything, whatever the target holds.
    Full,
    /// What the target lacks.
    Incremental,
    /// A backup that is there is restored into a scratch directory and compared.
    Verification,
    /// The log as it grows.
    Shipping,
}

impl BackupKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::Full,
        Self::Incremental,
        Self::Verification,
        Self::Shipping,
    ];

    /// The word in JSON and in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Verification => "verification",
            Self::Shipping => "shipping",
        }
    }
}

/// Somebody, or the schedule, asked for a backup or a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRequested {
    pub backup: BackupId,
    /// The target's name, or its URL when it was named for this once.
    pub target: String,
    pub kind: BackupKind,
    pub idempotency: Option<Idempotency>,
}

/// An attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupEnded {
    pub backup: BackupId,
    pub target: String,
    pub kind: BackupKind,
    /// From 1.
    pub attempt: u32,
    /// Another attempt follows.
    pub retried: bool,
    /// The first event that no backup of this target had before.
    pub from_seq: Seq,
    pub to_seq: Seq,
    /// Of everything that a restore needs, as the target holds it.
    pub bytes: u64,
    /// Of what was sent for this backup.
    pub sent_bytes: u64,
    /// It was restored, replayed, and its state hash is that of the log.
    pub verified: bool,
    /// The state after `to_seq`.
    pub state_hash: Option<Digest>,
    pub error: Option<String>,
    pub copied_micros: u64,
    /// Restoring and replaying, when it was verified.
    pub verified_micros: u64,
}

/// What a target holds was restored into a scratch directory and opened, as if the machine was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillEnded {
    pub target: String,
    /// The last event when the loss was assumed.
    pub head: Seq,
    /// The last event that came back.
    pub to_seq: Seq,
    /// Work that would be lost: from the oldest event that did not come back to the loss.
    pub lost_micros: u64,
    /// Until the restored log took work.
    pub ready_micros: u64,
    /// The state after `to_seq`, as it was restored; none when nothing was.
    pub state_hash: Option<Digest>,
    /// The log that is not lost has that state there.
    pub state_equal: bool,
    pub error: Option<String>,
}

/// The log up to here was written by a restore, and what follows is another history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The target, or the data directory that it was read from.
    pub source: String,
    /// The backup that was begun with; none when a data directory was read.
    pub backup: Option<BackupId>,
    /// The last event that was restored.
    pub cut: Seq,
    pub previous_epoch: u32,
    pub epoch: u32,
    /// The state after `cut`.
    pub state_hash: Digest,
}

/// The oldest segments of the log are removed. What they fold to is kept in `base.bin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentsPruned {
    /// The first and the last sequence that is removed.
    pub first: Seq,
    pub last: Seq,
    /// Hash of the frame that ends with `last`: the chain goes on from it.
    pub chain: Digest,
    /// The verified backup that holds them; none when they are lost.
    pub backup: Option<String>,
    pub reason: String,
}

/// Figures of the server since the batch before; when is the record's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsSampled {
    /// Microseconds since the batch before, or since the start of the process.
    pub span_micros: u64,
    pub values: Samples,
}

/// The objectives that hold from here on; those before are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectivesConfigured {
    pub plan: SloPlan,
}
