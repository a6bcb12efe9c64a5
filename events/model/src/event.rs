//! Everything that can happen. Kinds and their numbers are appended, never changed.
//!
//! A kind is *observed* when it came from outside (a request, an outcome with its duration, a
//! sample) and *decided* when [`State::decide`](crate::State::decide) derived it. An *ignorable*
//! kind changes no state, so that a reader that does not know it may carry it along.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::answered::*;
pub use crate::audited::*;
pub use crate::cache::*;
pub use crate::called::*;
pub use crate::capacity::*;
pub use crate::decided::*;
use crate::ids::Digest;
pub use crate::observed::*;
use crate::payload::Payload;
pub use crate::requested::*;

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
/// implements `From` the older one. One that has only got further variants reads the older bytes
/// itself; its schema still rises, so that an older reader does not take it for what it knows.
macro_rules! events {
    ($visibility:vis enum $Event:ident { $(
        $(#[$doc:meta])*
        $number:literal:$schema:literal $Name:ident $text:literal $observed:ident $ignorable:ident
        $(from [$($old:literal => $Old:ty),*])?;
    )* }) => {
        /// One thing that happened.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
        3:2 ConfigurationLoaded "configuration_loaded" observed needed from [1 => ConfigurationLoadedV1];
        /// The wall clock jumped against the monotonic one.
        4:1 ClockStepped "clock_stepped" observed ignorable;
        /// A timer's moment has come.
        5:1 TimeReached "time_reached" observed needed;
        /// Somebody asked for a computation.
        6:3 RunRequested "run_requested" observed needed from [1 => RunRequestedV1, 2 => RunRequestedV2];
        /// A computation ended, in whatever way.
        7:2 OutcomeObserved "outcome_observed" observed needed from [1 => OutcomeObserved];
        /// Somebody withdrew a request.
        8:1 CancelRequested "cancel_requested" observed needed;
        /// Somebody sent data, and it is stored.
        9:1 DatasetUploaded "dataset_uploaded" observed needed;
        /// Somebody asked for a series of runs.
        10:1 ExperimentRequested "experiment_requested" observed needed;
        /// A supervised actor was built anew.
        11:2 ActorRestarted "actor_restarted" observed needed from [1 => ActorRestartedV1];
        /// The lookup store was moved aside and rebuilt from the log.
        12:1 StoreRebuilt "store_rebuilt" observed ignorable;
        /// An unacknowledged end of the log was cut at start.
        13:1 TornTailCut "torn_tail_cut" observed ignorable;
        /// Free disk space crossed the reserve, in either direction.
        14:1 DiskSampled "disk_sampled" observed needed;
        /// Requests turned away before they were recorded, summed over a second.
        15:1 RequestsShed "requests_shed" observed needed;
        /// Somebody asked what would have been.
        16:1 WhatIfAsked "what_if_asked" observed ignorable;
        /// An attempt at a backup ended, or the shipping of the log to a target began or ceased to fail.
        17:1 BackupEnded "backup_ended" observed needed;
        /// This log was restored; its epoch begins here.
        18:1 Restored "restored" observed ignorable;
        /// Somebody asked for a backup, or for a proof that one can be restored.
        19:1 BackupRequested "backup_requested" observed needed;
        /// The background reading of the files met one that is damaged.
        20:1 DamageFound "damage_found" observed needed;
        /// A file that was damaged is whole again, or gone.
        21:1 DamageGone "damage_gone" observed needed;
        /// Everything that was kept for a subject is to become unreadable.
        22:1 SubjectRedacted "subject_redacted" observed needed;
        /// The oldest segments of the log are removed.
        23:1 SegmentsPruned "segments_pruned" observed needed;
        /// Somebody has a wish about a breaker.
        30:1 BreakerCommanded "breaker_commanded" observed needed;
        /// Somebody did, or was not allowed to do, what no other event tells.
        40:1 Audited "audited" observed ignorable;
        /// Figures of the server at one tick.
        50:2 MetricsSampled "metrics_sampled" observed needed from [1 => MetricsSampled];
        /// The objectives that hold from here on.
        60:1 ObjectivesConfigured "objectives_configured" observed needed;
        /// A load run measured what the server bears.
        64:1 CapacityMeasured "capacity_measured" observed ignorable;
        /// Somebody had a cache invalidated, warmed or resized.
        66:1 CacheCommanded "cache_commanded" observed ignorable;
        /// A restore from a target was practised.
        68:1 DrillEnded "drill_ended" observed ignorable;
        /// A request with an idempotency key was done; this is its answer.
        70:1 AnswerKept "answer_kept" observed needed;
        /// Calls to something that is not run here ended.
        72:1 DependencyCalled "dependency_called" observed needed;

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
        /// A breaker does something else with calls from here on.
        114:1 BreakerChanged "breaker_changed" decided needed;
        /// Something is answered in place of what a breaker did not let pass.
        115:1 FallbackTaken "fallback_taken" decided needed;
        /// An error budget is frozen from here on, or is not any more.
        116:1 SloBudgetChanged "slo_budget_changed" decided needed;
        /// An error budget burns too fast from here on, or does not any more.
        117:1 SloBurnChanged "slo_burn_changed" decided needed;
    }
}

impl Event {
    /// The spec, result or answer in this event, which may be sealed.
    pub fn payload_mut(&mut self) -> Option<&mut Payload> {
        if let Self::RunRequested(e) = self {
            Some(&mut e.spec)
        } else if let Self::AnswerKept(e) = self {
            e.answer.as_mut()
        } else if let Self::ExperimentRequested(e) = self {
            Some(&mut e.spec)
        } else if let Self::OutcomeObserved(OutcomeObserved {
            outcome: Outcome::Completed { result, .. },
            ..
        }) = self
        {
            Some(result)
        } else {
            None
        }
    }

    /// The spec, result or answer in this event, which may be sealed.
    #[must_use]
    pub fn payload(&self) -> Option<&Payload> {
        if let Self::RunRequested(e) = self {
            Some(&e.spec)
        } else if let Self::AnswerKept(e) = self {
            e.answer.as_ref()
        } else if let Self::ExperimentRequested(e) = self {
            Some(&e.spec)
        } else if let Self::OutcomeObserved(OutcomeObserved {
            outcome: Outcome::Completed { result, .. },
            ..
        }) = self
        {
            Some(result)
        } else {
            None
        }
    }

    /// The blobs that this event names: they are kept as long as the event is.
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
            Self::AnswerKept(e) => (e.answer.as_ref().and_then(Payload::blob), None),
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
            | Self::WhatIfAsked(_)
            | Self::BackupEnded(_)
            | Self::Restored(_)
            | Self::BackupRequested(_)
            | Self::DrillEnded(_)
            | Self::DamageFound(_)
            | Self::DamageGone(_)
            | Self::SubjectRedacted(_)
            | Self::SegmentsPruned(_)
            | Self::BreakerCommanded(_)
            | Self::DependencyCalled(_)
            | Self::Audited(_)
            | Self::MetricsSampled(_)
            | Self::ObjectivesConfigured(_)
            | Self::CacheCommanded(_)
            | Self::CapacityMeasured(_)
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
            | Self::IntakeResumed(_)
            | Self::BreakerChanged(_)
            | Self::FallbackTaken(_)
            | Self::SloBudgetChanged(_)
            | Self::SloBurnChanged(_) => (None, None),
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
            | Self::WhatIfAsked(_)
            | Self::BackupEnded(_)
            | Self::Restored(_)
            | Self::BackupRequested(_)
            | Self::DrillEnded(_)
            | Self::AnswerKept(_)
            | Self::DamageFound(_)
            | Self::DamageGone(_)
            | Self::SubjectRedacted(_)
            | Self::SegmentsPruned(_)
            | Self::BreakerCommanded(_)
            | Self::DependencyCalled(_)
            | Self::Audited(_)
            | Self::MetricsSampled(_)
            | Self::ObjectivesConfigured(_)
            | Self::CacheCommanded(_)
            | Self::CapacityMeasured(_)
            | Self::RunAdmitted(_)
            | Self::RunCompleted(_)
            | Self::RunFailed(_)
            | Self::RunCancelled(_)
            | Self::DatasetRegistered(_)
            | Self::ExperimentAdmitted(_)
            | Self::ExperimentCompleted(_)
            | Self::IntakePaused(_)
            | Self::IntakeResumed(_)
            | Self::BreakerChanged(_)
            | Self::FallbackTaken(_)
            | Self::SloBudgetChanged(_)
            | Self::SloBurnChanged(_) => false,
        }
    }
}

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
