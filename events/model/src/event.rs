//! Everything that can happen. Kinds and their numbers are appended, never changed.
//!
//! A kind is *observed* when it came from outside (a request, an outcome with its duration, a
//! sample) and *decided* when [`State::decide`](crate::State::decide) derived it. An *ignorable*
//! kind changes no state, so that a reader that does not know it may carry it along.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::{Digest, ExperimentId, RunId, UnixMicros};
use crate::payload::Payload;
use crate::refusal::Refusal;

/// What the record's header says of a kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The number in the record.
    pub number: u16,
    /// The schema that is written; older ones are read through an upcaster.
    pub schema: u16,
    /// The name in JSON.
    pub name: &'static str,
    pub observed: bool,
    pub ignorable: bool,
}

/// How payloads become bytes. The log has the one implementation.
pub trait Codec {
    type Error;

    /// Appends the encoding of `payload`.
    fn encode<T: Serialize>(&mut self, payload: &T) -> Result<(), Self::Error>;

    /// Reads one payload, which must be the whole input.
    fn decode<T: DeserializeOwned>(&mut self) -> Result<T, Self::Error>;
}

/// The number or the schema is not known to this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event type {number} schema {schema} is not known to this version")]
pub struct UnknownSchema {
    pub number: u16,
    pub schema: u16,
}

/// Declares the event kinds: number, schema, payload type, name, flags. A payload that has
/// changed lists its older schemas as `from [1 => RunRequestedV1]`, where the newer type
/// implements `From` the older one.
macro_rules! events {
    ($visibility:vis enum $Event:ident { $(
        $(#[$doc:meta])*
        $number:literal:$schema:literal $Name:ident $text:literal $observed:ident $ignorable:ident
        $(from [$($old:literal => $Old:ty),*])?;
    )* }) => {
        /// One thing that happened.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(tag = "type", content = "data")]
        $visibility enum $Event { $( $(#[$doc])* #[serde(rename = $text)] $Name($Name), )* }

        impl $Event {
            /// Every kind, in the order of their numbers.
            $visibility const KINDS: &'static [Kind] = &[$( Kind {
                number: $number, schema: $schema, name: $text,
                observed: events!(@flag $observed), ignorable: events!(@flag $ignorable),
            }, )*];

            /// What the header of this event says.
            #[must_use]
            $visibility const fn kind(&self) -> Kind {
                match self { $( Self::$Name(_) => Kind {
                    number: $number, schema: $schema, name: $text,
                    observed: events!(@flag $observed), ignorable: events!(@flag $ignorable),
                }, )* }
            }

            /// Appends the payload's encoding.
            $visibility fn encode<C: Codec>(&self, codec: &mut C) -> Result<(), C::Error> {
                match self { $( Self::$Name(payload) => codec.encode(payload), )* }
            }

            /// Reads the payload of the kind and schema that a record's header names.
            $visibility fn decode<C: Codec>(
                number: u16,
                schema: u16,
                codec: &mut C,
            ) -> Result<Result<Self, C::Error>, UnknownSchema> {
                match (number, schema) {
                    $( ($number, $schema) => Ok(codec.decode::<$Name>().map(Self::$Name)),
                       $($( ($number, $old) => Ok(codec
                            .decode::<$Old>()
                            .map(|old| Self::$Name($Name::from(old)))), )*)? )*
                    _ => Err(UnknownSchema { number, schema }),
                }
            }
        }
    };
    (@flag observed) => { true };
    (@flag decided) => { false };
    (@flag ignorable) => { true };
    (@flag needed) => { false };
}

events! {
    pub enum Event {
        /// A process opened the log.
        1:1 ServerStarted "server_started" observed needed;
        /// A process closed the log in good order.
        2:1 ServerStopped "server_stopped" observed needed;
        /// The configuration that holds from here on.
        3:1 ConfigurationLoaded "configuration_loaded" observed needed;
        /// The wall clock jumped against the monotonic one.
        4:1 ClockStepped "clock_stepped" observed ignorable;
        /// A timer's moment has come.
        5:1 TimeReached "time_reached" observed needed;
        /// Somebody asked for a computation.
        6:1 RunRequested "run_requested" observed needed;
        /// A computation ended, in whatever way.
        7:1 OutcomeObserved "outcome_observed" observed needed;
        /// Somebody withdrew a request.
        8:1 CancelRequested "cancel_requested" observed needed;
        /// Somebody sent data, and it is stored.
        9:1 DatasetUploaded "dataset_uploaded" observed needed;
        /// Somebody asked for a series of runs.
        10:1 ExperimentRequested "experiment_requested" observed needed;
        /// A supervised actor was built anew.
        11:1 ActorRestarted "actor_restarted" observed needed;
        /// The lookup store was moved aside and rebuilt from the log.
        12:1 StoreRebuilt "store_rebuilt" observed ignorable;
        /// An unacknowledged end of the log was cut at start.
        13:1 TornTailCut "torn_tail_cut" observed ignorable;
        /// Free disk space crossed the reserve, in either direction.
        14:1 DiskSampled "disk_sampled" observed needed;
        /// Requests turned away before they were recorded, summed over a second.
        15:1 RequestsShed "requests_shed" observed needed;

        /// The run will be computed.
        101:1 RunAdmitted "run_admitted" decided needed;
        /// The run will not be computed.
        102:1 RunRefused "run_refused" decided needed;
        /// The request repeats an earlier one; the answer is that one's.
        103:1 RunDeduplicated "run_deduplicated" decided needed;
        104:1 RunCompleted "run_completed" decided needed;
        105:1 RunFailed "run_failed" decided needed;
        106:1 RunCancelled "run_cancelled" decided needed;
        107:1 DatasetRegistered "dataset_registered" decided needed;
        108:1 DatasetRefused "dataset_refused" decided needed;
        109:1 ExperimentAdmitted "experiment_admitted" decided needed;
        110:1 ExperimentRefused "experiment_refused" decided needed;
        111:1 ExperimentCompleted "experiment_completed" decided needed;
        /// No work is admitted until `IntakeResumed`.
        112:1 IntakePaused "intake_paused" decided needed;
        113:1 IntakeResumed "intake_resumed" decided needed;
    }
}

impl Event {
    /// The blobs that this event names: they are kept as long as the log.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> + use<> {
        let (payload, dataset) = match self {
            Self::RunRequested(e) => (e.spec.blob(), None),
            Self::OutcomeObserved(OutcomeObserved {
                outcome: Outcome::Completed { result, .. },
                ..
            }) => (result.blob(), None),
            Self::ConfigurationLoaded(e) => (e.document.blob(), None),
            Self::ExperimentRequested(e) => (e.spec.blob(), None),
            Self::DatasetUploaded(e) => (None, Some(e.digest)),
            Self::OutcomeObserved(_)
            | Self::ServerStarted(_)
            | Self::ServerStopped(_)
            | Self::ClockStepped(_)
            | Self::TimeReached(_)
            | Self::CancelRequested(_)
            | Self::ActorRestarted(_)
            | Self::StoreRebuilt(_)
            | Self::TornTailCut(_)
            | Self::DiskSampled(_)
            | Self::RequestsShed(_)
            | Self::RunAdmitted(_)
            | Self::RunRefused(_)
            | Self::RunDeduplicated(_)
            | Self::RunCompleted(_)
            | Self::RunFailed(_)
            | Self::RunCancelled(_)
            | Self::DatasetRegistered(_)
            | Self::DatasetRefused(_)
            | Self::ExperimentAdmitted(_)
            | Self::ExperimentRefused(_)
            | Self::ExperimentCompleted(_)
            | Self::IntakePaused(_)
            | Self::IntakeResumed(_) => (None, None),
        };
        payload.into_iter().chain(dataset)
    }

    /// Whether this decision ends its submission: what follows in it is not recorded.
    #[must_use]
    pub const fn ends_submission(&self) -> bool {
        match self {
            Self::RunRefused(_)
            | Self::RunDeduplicated(_)
            | Self::DatasetRefused(_)
            | Self::ExperimentRefused(_)
            | Self::ExperimentAdmitted(ExperimentAdmitted {
                original: Some(_), ..
            }) => true,
            Self::ServerStarted(_)
            | Self::ServerStopped(_)
            | Self::ConfigurationLoaded(_)
            | Self::ClockStepped(_)
            | Self::TimeReached(_)
            | Self::RunRequested(_)
            | Self::OutcomeObserved(_)
            | Self::CancelRequested(_)
            | Self::DatasetUploaded(_)
            | Self::ExperimentRequested(_)
            | Self::ActorRestarted(_)
            | Self::StoreRebuilt(_)
            | Self::TornTailCut(_)
            | Self::DiskSampled(_)
            | Self::RequestsShed(_)
            | Self::RunAdmitted(_)
            | Self::RunCompleted(_)
            | Self::RunFailed(_)
            | Self::RunCancelled(_)
            | Self::DatasetRegistered(_)
            | Self::ExperimentAdmitted(_)
            | Self::ExperimentCompleted(_)
            | Self::IntakePaused(_)
            | Self::IntakeResumed(_) => false,
        }
    }
}

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

/// A key under which a repeated request is the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The first half of the blake3 hash of the key's text.
    pub key: [u8; 16],
    /// The hash of the request's body.
    pub body: Digest,
}

/// Somebody asked for a computation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequested {
    pub run: RunId,
    /// Such as `causal.discover`.
    pub operation: String,
    /// The version of the spec's schema.
    pub schema: u16,
    /// Canonical JSON of the request.
    pub spec: Payload,
    /// Over the canonical JSON.
    pub spec_hash: Digest,
    pub seed: u64,
    /// What the run reads.
    pub datasets: Vec<Digest>,
    /// Microseconds after which the run has failed; 0 means that it may take for ever.
    pub deadline_micros: u64,
    /// The result was computed before the request was recorded and stands in the same frame.
    pub immediate: bool,
    pub experiment: Option<ExperimentId>,
    pub idempotency: Option<Idempotency>,
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
        /// A stable word: `invalid`, `too_large`, `deadline_exceeded`, `panicked`, `internal`.
        code: String,
        /// The JSON path of the field at fault, where there is one.
        field: Option<String>,
        message: String,
        hint: Option<String>,
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

/// Requests turned away before they were recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsShed {
    pub overloaded: u64,
    pub malformed: u64,
    pub unauthenticated: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAdmitted {
    pub run: RunId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRefused {
    pub run: RunId,
    pub refusal: Refusal,
}

/// The request repeats an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDeduplicated {
    pub run: RunId,
    pub original: RunId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCompleted {
    pub run: RunId,
    pub result_hash: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailed {
    pub run: RunId,
    pub code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCancelled {
    pub run: RunId,
}

/// The dataset can be used; `known` when it could be before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRegistered {
    pub digest: Digest,
    pub known: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRefused {
    pub digest: Digest,
    pub refusal: Refusal,
}

/// The experiment's runs may follow; `original` names the earlier experiment that an idempotency
/// key stands for, and then nothing follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentAdmitted {
    pub experiment: ExperimentId,
    pub original: Option<ExperimentId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentRefused {
    pub experiment: ExperimentId,
    pub refusal: Refusal,
}

/// The last run of the experiment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentCompleted {
    pub experiment: ExperimentId,
    pub tally: Tally,
}

/// How runs ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub refused: u64,
    pub deduplicated: u64,
}

/// No work is admitted until `IntakeResumed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakePaused {
    pub free_bytes: u64,
    pub reserve_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeResumed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_tell_observed_from_decided() {
        for pair in Event::KINDS.windows(2) {
            assert!(pair[0].number < pair[1].number);
        }
        for kind in Event::KINDS {
            assert_eq!(kind.observed, kind.number < 100, "{}", kind.name);
        }
    }

    /// A codec whose bytes are one number, to show the upcasting path.
    struct OneNumber(u32);

    impl Codec for OneNumber {
        type Error = serde::de::value::Error;

        fn encode<T: Serialize>(&mut self, _payload: &T) -> Result<(), Self::Error> {
            self.0 += 1;
            Ok(())
        }

        fn decode<T: DeserializeOwned>(&mut self) -> Result<T, Self::Error> {
            let one = std::iter::once(self.0);
            T::deserialize(serde::de::value::SeqDeserializer::<_, Self::Error>::new(
                one,
            ))
        }
    }

    mod renamed {
        use super::*;

        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub(super) struct MeasuredV1(pub(super) u32);

        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub(super) struct Measured(pub(super) u32);

        impl From<MeasuredV1> for Measured {
            fn from(old: MeasuredV1) -> Self {
                Self(old.0 * 1_000)
            }
        }

        events! {
            pub(super) enum Renamed {
                1:2 Measured "measured" observed needed from [1 => MeasuredV1];
            }
        }
    }

    #[test]
    fn old_schemas_are_upcast_and_unknown_ones_named() {
        use renamed::{Measured, Renamed};
        let read = |schema| Renamed::decode(1, schema, &mut OneNumber(7)).map(Result::ok);
        assert_eq!(read(2), Ok(Some(Renamed::Measured(Measured(7)))));
        assert_eq!(read(1), Ok(Some(Renamed::Measured(Measured(7_000)))));
        assert_eq!(
            read(3),
            Err(UnknownSchema {
                number: 1,
                schema: 3
            })
        );
        let mut codec = OneNumber(0);
        assert!(Renamed::Measured(Measured(1)).encode(&mut codec).is_ok());
        assert_eq!((codec.0, Renamed::KINDS.len()), (1, 1));
        assert_eq!(Renamed::Measured(Measured(1)).kind().schema, 2);
    }
}
