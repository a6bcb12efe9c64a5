//! One event of every kind, with every variant of what it may hold, and the file that holds it.

use hindcast_model::event::*;
use hindcast_model::state::Context;
use hindcast_model::{
    Digest, Event, EventId, ExperimentId, KeyId, Name16, Payload, Refusal, RunId, Seq, Stream,
    UnixMicros,
};

use crate::record::{Body, Recorded};

pub(super) fn digest(n: u8) -> Digest {
    Digest(std::array::from_fn(|i| n ^ u8::try_from(i).unwrap_or(0)))
}

pub(super) fn run(n: u128) -> RunId {
    RunId::from_bytes((0x0190_0000_0000_7000_8000_u128 << 48 | n).to_be_bytes())
}

pub(super) fn experiment() -> ExperimentId {
    ExperimentId::from_bytes([0xe1; 16])
}

pub(super) fn inline() -> Payload {
    Payload::Inline("{\"algorithm\":\"boss\",\"seed\":7}".to_owned())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands for the optional field of a request"
)]
pub(super) fn keyed() -> Option<Idempotency> {
    let (key, body) = ([0x4b; 16], digest(2));
    Some(Idempotency { key, body })
}

pub(super) fn recorded(event: Event) -> Recorded {
    let kind = event.kind();
    Recorded {
        context: Context {
            seq: Seq(41),
            at: UnixMicros(1_800_000_000_123_456),
            event_id: EventId::from_bytes([0x11; 16]),
            correlation: EventId::from_bytes([0x33; 16]),
            principal: Name16::new("ada"),
            tenant: Name16::new("lab"),
            key: KeyId(5),
        },
        causation: EventId::from_bytes([0x22; 16]),
        stream: Stream::run(run(1)),
        version: 3,
        observed: kind.observed,
        ignorable: kind.ignorable,
        body: Body::Known(event),
    }
}

pub(super) fn requested(spec: Payload) -> Event {
    Event::RunRequested(RunRequested {
        run: run(1),
        operation: "causal.discover".to_owned(),
        schema: 1,
        spec,
        spec_hash: digest(1),
        seed: 0x5eed,
        datasets: vec![digest(3), digest(4)],
        deadline_micros: 30_000_000,
        immediate: true,
        experiment: Some(experiment()),
        idempotency: keyed(),
        service: None,
    })
}

pub(super) fn outcome(outcome: Outcome) -> Event {
    Event::OutcomeObserved(OutcomeObserved {
        run: run(1),
        outcome,
        numeric_profile: "x86_64 avx2".to_owned(),
        queued_micros: 12,
        computed_micros: 3_456,
    })
}

pub(super) fn refused(refusal: Refusal) -> Event {
    let run = run(1);
    Event::RunRefused(RunRefused { run, refusal })
}

pub(super) fn tally() -> Tally {
    Tally {
        completed: 1,
        failed: 2,
        cancelled: 3,
        refused: 4,
        deduplicated: 5,
    }
}

/// Requests and outcomes with every variant of what they hold.
pub(super) fn requests_and_outcomes() -> Vec<(&'static str, Event)> {
    let blob = Payload::Blob {
        digest: digest(6),
        bytes: 70_000,
    };
    let sealed = Payload::Sealed {
        nonce: [9; 24],
        ciphertext: vec![1, 2, 3],
    };
    let plain = Event::RunRequested(RunRequested {
        run: run(2),
        operation: "causal.validate".to_owned(),
        schema: 1,
        spec: inline(),
        spec_hash: digest(1),
        seed: 0,
        datasets: Vec::new(),
        deadline_micros: 0,
        immediate: false,
        experiment: None,
        idempotency: None,
        service: None,
    });
    let completed = Outcome::Completed {
        result: inline(),
        result_hash: digest(7),
        schema: 1,
        algorithm_version: "boss 1".to_owned(),
    };
    let failed = Outcome::Failed {
        code: "invalid".to_owned(),
        field: Some("data.values[3]".to_owned()),
        message: "the value is not a number".to_owned(),
        hint: None,
    };
    let reused = Outcome::Reused {
        original: run(2),
        result_hash: digest(7),
        schema: 1,
        algorithm_version: "boss 1".to_owned(),
    };
    vec![
        ("record_6_3_run_requested.bin", requested(inline())),
        ("record_6_3_run_requested_plain.bin", plain),
        ("record_6_3_run_requested_blob.bin", requested(blob)),
        ("record_6_3_run_requested_sealed.bin", requested(sealed)),
        ("record_7_2_outcome_observed.bin", outcome(completed)),
        ("record_7_2_outcome_observed_failed.bin", outcome(failed)),
        ("record_7_2_outcome_observed_reused.bin", outcome(reused)),
    ]
}

pub(super) fn other_requests() -> Vec<(&'static str, Event)> {
    vec![
        (
            "record_8_1_cancel_requested.bin",
            Event::CancelRequested(CancelRequested {
                run: run(1),
                reason: "asked to".to_owned(),
            }),
        ),
        (
            "record_9_1_dataset_uploaded.bin",
            Event::DatasetUploaded(DatasetUploaded {
                digest: digest(3),
                name: "sachs".to_owned(),
                format: "csv".to_owned(),
                bytes: 123_456,
                rows: 853,
                columns: 11,
                idempotency: keyed(),
            }),
        ),
        (
            "record_10_1_experiment_requested.bin",
            Event::ExperimentRequested(ExperimentRequested {
                experiment: experiment(),
                name: "bootstrap".to_owned(),
                spec: inline(),
                runs: vec![run(1), run(2)],
                idempotency: keyed(),
            }),
        ),
    ]
}

/// What the server says of itself.
pub(super) fn server_events() -> Vec<(&'static str, Event)> {
    vec![
        (
            "record_1_1_server_started.bin",
            Event::ServerStarted(ServerStarted {
                binary_version: "0.1.0".to_owned(),
                decider_version: 1,
                numeric_profile: "x86_64 avx2".to_owned(),
                clean: true,
            }),
        ),
        (
            "record_2_1_server_stopped.bin",
            Event::ServerStopped(ServerStopped {
                reason: "SIGTERM".to_owned(),
            }),
        ),
        (
            "record_3_2_configuration_loaded.bin",
            Event::ConfigurationLoaded(ConfigurationLoaded {
                generation: 2,
                hash: digest(8),
                document: inline(),
                settings: Settings {
                    runs_in_flight_max: 64,
                    idempotency_ttl_micros: 86_400_000_000,
                    idempotency_entries_max: 1_000_000,
                    disk_reserve_bytes: 1 << 30,
                },
                breakers: None,
            }),
        ),
        (
            "record_4_1_clock_stepped.bin",
            Event::ClockStepped(ClockStepped {
                step_micros: -2_500_000,
                wall: UnixMicros(1_800_000_000_000_000),
                adopted: true,
            }),
        ),
        (
            "record_5_1_time_reached.bin",
            Event::TimeReached(TimeReached {}),
        ),
        (
            "record_11_2_actor_restarted.bin",
            restarted("0: hindcast_actors::metrics::tick"),
        ),
    ]
}

pub(super) fn restarted(evidence: &str) -> Event {
    Event::ActorRestarted(ActorRestarted {
        actor: "computation".to_owned(),
        reason: "panicked".to_owned(),
        restarts: 2,
        backoff_micros: 200_000,
        evidence: evidence.to_owned(),
    })
}

/// Repairs, samples and sums.
fn pruned() -> (&'static str, Event) {
    (
        "record_23_1_segments_pruned.bin",
        Event::SegmentsPruned(SegmentsPruned {
            first: Seq(1),
            last: Seq(4_000),
            chain: digest(9),
            backup: Some("20270115T080000Z".to_owned()),
            reason: "older than 30 days".to_owned(),
        }),
    )
}

pub(super) fn reports() -> Vec<(&'static str, Event)> {
    vec![
        (
            "record_12_1_store_rebuilt.bin",
            Event::StoreRebuilt(StoreRebuilt {
                reason: "it did not open".to_owned(),
                moved_to: "sled.bad-1".to_owned(),
                events: 12_000,
            }),
        ),
        (
            "record_13_1_torn_tail_cut.bin",
            Event::TornTailCut(TornTailCut {
                segment: "00000000000000000001.seg".to_owned(),
                offset: 128,
                bytes: 300,
                kept_in: "torn-00000000000000000041.bin".to_owned(),
            }),
        ),
        (
            "record_14_1_disk_sampled.bin",
            Event::DiskSampled(DiskSampled { free_bytes: 1_234 }),
        ),
        (
            "record_15_1_requests_shed.bin",
            Event::RequestsShed(RequestsShed {
                overloaded: 1,
                malformed: 2,
                unauthenticated: 3,
            }),
        ),
        (
            "record_16_1_what_if_asked.bin",
            Event::WhatIfAsked(WhatIfAsked {
                at: Seq(17),
                edits: 2,
                hash: digest(16),
            }),
        ),
        (
            "record_20_1_damage_found.bin",
            Event::DamageFound(DamageFound {
                file: "archive/00000000000000000001.seg".to_owned(),
                seq: Seq(17),
                what: "the frame is damaged".to_owned(),
            }),
        ),
        (
            "record_22_1_subject_redacted.bin",
            Event::SubjectRedacted(SubjectRedacted {
                subject: Name16::new("ada"),
                keys: vec![KeyId(2), KeyId(7)],
                reason: "asked to be forgotten".to_owned(),
            }),
        ),
        (
            "record_21_1_damage_gone.bin",
            Event::DamageGone(DamageGone {
                file: "archive/00000000000000000001.seg".to_owned(),
            }),
        ),
        pruned(),
    ]
}

pub(super) fn refusals() -> Vec<(&'static str, Event)> {
    let full = Refusal::QueueFull {
        in_flight: 64,
        limit: 64,
    };
    let low = Refusal::DiskLow {
        free_bytes: 5,
        reserve_bytes: 10,
    };
    let many = Refusal::TooMany {
        what: "datasets".to_owned(),
        count: 100_001,
        limit: 100_000,
    };
    let exists = Refusal::RunExists(run(1));
    let unknown = Refusal::UnknownDataset(digest(3));
    vec![
        ("record_102_1_run_refused.bin", refused(full)),
        ("record_102_1_run_refused_exists.bin", refused(exists)),
        (
            "record_102_1_run_refused_key.bin",
            refused(Refusal::IdempotencyKeyReused),
        ),
        ("record_102_1_run_refused_dataset.bin", refused(unknown)),
        (
            "record_108_1_dataset_refused.bin",
            Event::DatasetRefused(DatasetRefused {
                digest: digest(3),
                refusal: low,
            }),
        ),
        (
            "record_110_1_experiment_refused.bin",
            Event::ExperimentRefused(ExperimentRefused {
                experiment: experiment(),
                refusal: many,
            }),
        ),
    ]
}

pub(super) fn decisions() -> Vec<(&'static str, Event)> {
    let (one, two) = (run(1), run(2));
    vec![
        (
            "record_101_1_run_admitted.bin",
            Event::RunAdmitted(RunAdmitted { run: one }),
        ),
        (
            "record_103_1_run_deduplicated.bin",
            Event::RunDeduplicated(RunDeduplicated {
                run: two,
                original: one,
            }),
        ),
        (
            "record_104_1_run_completed.bin",
            Event::RunCompleted(RunCompleted {
                run: one,
                result_hash: digest(7),
            }),
        ),
        (
            "record_105_1_run_failed.bin",
            Event::RunFailed(RunFailed {
                run: one,
                code: "deadline_exceeded".to_owned(),
            }),
        ),
        (
            "record_106_1_run_cancelled.bin",
            Event::RunCancelled(RunCancelled { run: one }),
        ),
        (
            "record_107_1_dataset_registered.bin",
            Event::DatasetRegistered(DatasetRegistered {
                digest: digest(3),
                known: true,
            }),
        ),
        (
            "record_109_1_experiment_admitted.bin",
            Event::ExperimentAdmitted(ExperimentAdmitted {
                experiment: experiment(),
                original: Some(ExperimentId::from_bytes([0xe2; 16])),
            }),
        ),
        (
            "record_111_1_experiment_completed.bin",
            Event::ExperimentCompleted(ExperimentCompleted {
                experiment: experiment(),
                tally: tally(),
            }),
        ),
        (
            "record_112_1_intake_paused.bin",
            Event::IntakePaused(IntakePaused {
                free_bytes: 5,
                reserve_bytes: 10,
            }),
        ),
        (
            "record_113_1_intake_resumed.bin",
            Event::IntakeResumed(IntakeResumed {}),
        ),
    ]
}

pub(super) fn records() -> Vec<(&'static str, Event)> {
    [
        super::operating::samples(),
        server_events(),
        reports(),
        super::backups::samples(),
        super::breakers::samples(),
        super::slos::samples(),
        requests_and_outcomes(),
        other_requests(),
        decisions(),
        refusals(),
    ]
    .concat()
}
