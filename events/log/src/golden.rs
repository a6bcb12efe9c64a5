//! Every format ever written is still read: each file in `tests/golden` is decoded, compared with
//! what it is to say, and encoded again to the same bytes. The files are never changed. A format
//! that is added gets a file of its own: run the tests with `HINDCAST_WRITE_GOLDEN=1`, which
//! writes the files that are missing and no other.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hindcast_model::event::*;
use hindcast_model::state::Context;
use hindcast_model::{
    Digest, Event, EventId, ExperimentId, KeyId, Name16, Payload, Refusal, RunId, Seq, State,
    Stream, UnixMicros,
};
use uuid::Uuid;

use crate::frame;
use crate::index::{self, Filter, SegmentIndex};
use crate::position::Position;
use crate::record::{self, Body, Recorded};
use crate::segment;
use crate::store;
use crate::{codec, decode_state, encode_state};

const LOG: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_c0de);

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// The committed bytes of a format, which `bytes` are to be equal to.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = path(name);
    if std::env::var_os("HINDCAST_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, bytes).expect("writable");
    }
    let known = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(known == bytes, "{name} is encoded otherwise than before");
    known
}

fn digest(n: u8) -> Digest {
    Digest(std::array::from_fn(|i| n ^ u8::try_from(i).unwrap_or(0)))
}

fn run(n: u128) -> RunId {
    RunId::from_bytes((0x0190_0000_0000_7000_8000_u128 << 48 | n).to_be_bytes())
}

fn experiment() -> ExperimentId {
    ExperimentId::from_bytes([0xe1; 16])
}

fn inline() -> Payload {
    Payload::Inline("{\"algorithm\":\"boss\",\"seed\":7}".to_owned())
}

fn keyed() -> Option<Idempotency> {
    let (key, body) = ([0x4b; 16], digest(2));
    Some(Idempotency { key, body })
}

fn recorded(event: Event) -> Recorded {
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

fn requested(spec: Payload) -> Event {
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
    })
}

fn outcome(outcome: Outcome) -> Event {
    Event::OutcomeObserved(OutcomeObserved {
        run: run(1),
        outcome,
        numeric_profile: "x86_64 avx2".to_owned(),
        queued_micros: 12,
        computed_micros: 3_456,
    })
}

fn refused(refusal: Refusal) -> Event {
    let run = run(1);
    Event::RunRefused(RunRefused { run, refusal })
}

fn tally() -> Tally {
    Tally {
        completed: 1,
        failed: 2,
        cancelled: 3,
        refused: 4,
        deduplicated: 5,
    }
}

/// Requests and outcomes with every variant of what they hold.
fn requests_and_outcomes() -> Vec<(&'static str, Event)> {
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
    vec![
        ("record_6_1_run_requested.bin", requested(inline())),
        ("record_6_1_run_requested_plain.bin", plain),
        ("record_6_1_run_requested_blob.bin", requested(blob)),
        ("record_6_1_run_requested_sealed.bin", requested(sealed)),
        ("record_7_1_outcome_observed.bin", outcome(completed)),
        ("record_7_1_outcome_observed_failed.bin", outcome(failed)),
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
fn server_events() -> Vec<(&'static str, Event)> {
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
            "record_3_1_configuration_loaded.bin",
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
            "record_11_1_actor_restarted.bin",
            Event::ActorRestarted(ActorRestarted {
                actor: "computation".to_owned(),
                reason: "panicked".to_owned(),
                restarts: 2,
                backoff_micros: 200_000,
            }),
        ),
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
    ]
}

fn refusals() -> Vec<(&'static str, Event)> {
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

fn decisions() -> Vec<(&'static str, Event)> {
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

fn records() -> Vec<(&'static str, Event)> {
    [
        server_events(),
        requests_and_outcomes(),
        decisions(),
        refusals(),
    ]
    .concat()
}

#[test]
fn every_kind_of_event_has_a_record_that_still_decodes() {
    let mut kinds = BTreeSet::new();
    for (name, event) in records() {
        let expected = recorded(event);
        let bytes = golden(name, &expected.to_bytes().expect("encodes"));
        let header = record::header(&bytes).expect("a header");
        assert!(record::intact(&bytes), "{name}");
        let read = record::decode(&bytes, &header, Seq(41)).expect("decodes");
        assert_eq!(read, expected, "{name}");
        let kind = expected.event().expect("known").kind();
        let start = format!("record_{}_{}_{}", kind.number, kind.schema, kind.name);
        assert!(name.starts_with(&start), "{name} holds {start}");
        kinds.insert((kind.number, kind.schema));
    }
    let all = Event::KINDS.iter().map(|kind| (kind.number, kind.schema));
    assert!(all.eq(kinds), "a kind of event has no golden file");
}

#[test]
fn every_golden_file_is_read_by_a_test() {
    let others = [
        "frame_1.bin",
        "segment_header_1.bin",
        "chunk_1.bin",
        "chunk_1_plain.bin",
        "index_piece_1.bin",
        "filter_1.bin",
        "descriptor_1.bin",
        "state_1.bin",
        "cursor_1.bin",
    ];
    let names = records().into_iter().map(|(name, _)| name).chain(others);
    let known: BTreeSet<String> = names.map(str::to_owned).collect();
    let entries = std::fs::read_dir(path("")).expect("a directory");
    let there: BTreeSet<String> = entries
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect();
    assert_eq!(there, known);
}

fn two_records() -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in [
        requested(inline()),
        Event::RunAdmitted(RunAdmitted { run: run(1) }),
    ] {
        bytes.extend(recorded(event).to_bytes().expect("encodes"));
    }
    bytes
}

#[test]
fn format_1_frame_decodes() {
    let mut bytes = vec![0; frame::HEADER_BYTES];
    bytes.extend(two_records());
    let place = frame::Place {
        log: LOG,
        epoch: 3,
        first: Seq(41),
        previous: [7; 32],
    };
    let chain = frame::seal(&mut bytes, 2, &place);
    let known = golden("frame_1.bin", &bytes);
    let (header, whole) = frame::read(&known).expect("a frame");
    assert_eq!(whole.len(), known.len());
    assert_eq!((header.log, header.epoch, header.count), (LOG, 3, 2));
    assert_eq!((header.first, header.next()), (Seq(41), Seq(43)));
    assert_eq!((header.previous, frame::hash(whole)), ([7; 32], chain));
    assert_eq!(
        Digest(chain).to_string(),
        "6c6aa9055db7f88197860dd4779d0eda39e60db2a17c63b64baa480293528e5c",
        "the hash that chains frames"
    );
}

#[test]
fn format_1_segment_header_decodes() {
    let header = segment::Header {
        log: LOG,
        first: Seq(41),
        previous: [7; 32],
    };
    let known = golden("segment_header_1.bin", &header.encode());
    let read = segment::Header::decode(&known).expect("known format");
    assert_eq!(read, Some(header));
}

#[test]
fn format_1_chunk_decodes() {
    let times = (UnixMicros(5), UnixMicros(9));
    let repeated = two_records().repeat(3);
    let packed = golden("chunk_1.bin", &store::pack(6, times, &repeated));
    assert_eq!(
        store::unpack(&packed, Seq(41)).expect("intact"),
        (6, repeated)
    );
    // What does not shrink stands as it is.
    let noise = blake3::hash(b"noise").as_bytes().to_vec();
    let plain = golden("chunk_1_plain.bin", &store::pack(1, times, &noise));
    assert_eq!(plain[1], 0);
    assert_eq!(store::unpack(&plain, Seq(41)).expect("intact"), (1, noise));
}

fn sample_index() -> SegmentIndex {
    let mut index = SegmentIndex::new(Seq(41));
    for (n, stream) in [
        Stream::run(run(1)),
        Stream::system("clock"),
        Stream::run(run(1)),
        Stream::dataset(digest(3)),
        Stream::experiment(experiment()),
    ]
    .into_iter()
    .enumerate()
    {
        index.push(stream, UnixMicros(n as u64));
    }
    index
}

#[test]
fn format_1_index_and_filter_decode() {
    let index = sample_index();
    let pieces = index.pieces();
    let piece = golden("index_piece_1.bin", &pieces[0].1);
    let filter = golden("filter_1.bin", index.filter().bytes());
    let filter = Filter::from_bytes(filter);
    for (stream, seqs) in [
        (Stream::run(run(1)), vec![Seq(41), Seq(43)]),
        (Stream::system("clock"), vec![Seq(42)]),
        (Stream::dataset(digest(3)), vec![Seq(44)]),
        (Stream::experiment(experiment()), vec![Seq(45)]),
    ] {
        let found = index::find_in_piece(&piece, Seq(41), stream).expect("intact");
        assert_eq!(found, seqs, "{stream}");
        assert!(filter.may_hold(stream));
    }
}

#[test]
fn format_1_descriptor_decodes() {
    let descriptor = store::Descriptor {
        first: Seq(41),
        count: 5,
        min_at: UnixMicros(1),
        max_at: UnixMicros(9),
        chain: [7; 32],
        bytes: 4_096,
        pieces: vec![(1, *b"clock\0\0\0\0\0\0\0\0\0\0\0")],
    };
    let known = golden(
        "descriptor_1.bin",
        &codec::encode(&descriptor).expect("encodes"),
    );
    let read: store::Descriptor = codec::decode(&known).expect("decodes");
    assert_eq!(read, descriptor);
}

#[test]
fn format_1_state_decodes() {
    let mut state = State::default();
    let later = |event: &mut Recorded, seq: u64| event.context.seq = Seq(seq);
    // A list that does not grow with the kinds.
    let used = [
        "record_1_1_server_started.bin",
        "record_3_1_configuration_loaded.bin",
        "record_9_1_dataset_uploaded.bin",
        "record_11_1_actor_restarted.bin",
        "record_15_1_requests_shed.bin",
        "record_107_1_dataset_registered.bin",
    ];
    let used = records()
        .into_iter()
        .filter(|(name, _)| used.contains(name));
    for (seq, (_, event)) in (1..).zip(used) {
        let mut event = recorded(event);
        later(&mut event, seq);
        state.apply(&event.context, event.event().expect("known"));
    }
    for (seq, event) in (100..).zip([
        Event::IntakePaused(IntakePaused {
            free_bytes: 5,
            reserve_bytes: 10,
        }),
        Event::ExperimentRequested(ExperimentRequested {
            experiment: experiment(),
            name: "bootstrap".to_owned(),
            spec: inline(),
            runs: vec![run(1), run(2)],
            idempotency: None,
        }),
        Event::ExperimentAdmitted(ExperimentAdmitted {
            experiment: experiment(),
            original: None,
        }),
        requested(inline()),
        Event::RunAdmitted(RunAdmitted { run: run(1) }),
    ]) {
        let mut event = recorded(event);
        later(&mut event, seq);
        state.apply(&event.context, event.event().expect("known"));
    }
    assert_eq!(state.runs().count(), 1);
    assert_eq!(state.experiments().len(), 1);
    let known = golden("state_1.bin", &encode_state(&state).expect("encodes"));
    let read = decode_state(&known).expect("decodes");
    assert_eq!(read.dump(), state.dump());
}

#[test]
fn format_1_cursor_reads() {
    let position = Position {
        log: LOG,
        epoch: 3,
        seq: Seq(41),
    };
    let known = golden("cursor_1.bin", position.to_string().as_bytes());
    let text = String::from_utf8(known).expect("text");
    assert_eq!(text, "0190000000007000800000000000c0de-3-41");
    assert_eq!(text.parse(), Ok(position));
}

#[test]
fn bytes_of_the_payload_codec_are_frozen() {
    let event = Event::RunFailed(RunFailed {
        run: RunId::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap_or(0))),
        code: "oops".to_owned(),
    });
    let mut bytes = Vec::new();
    codec::encode_event(&event, &mut bytes).expect("encodes");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // An id is its sixteen bytes; numbers are little-endian and of fixed size.
    assert_eq!(
        hex,
        "000102030405060708090a0b0c0d0e0f\
         04000000000000006f6f7073"
    );
    let stepped = Event::ClockStepped(ClockStepped {
        step_micros: -2,
        wall: UnixMicros(1),
        adopted: true,
    });
    bytes.clear();
    codec::encode_event(&stepped, &mut bytes).expect("encodes");
    assert_eq!(bytes[..8], [0xfe, 255, 255, 255, 255, 255, 255, 255]);
    assert_eq!(bytes[8..], [1, 0, 0, 0, 0, 0, 0, 0, 1]);
    let sealed = Payload::Sealed {
        nonce: [0; 24],
        ciphertext: vec![5],
    };
    // A variant is its position in four bytes, a length eight bytes.
    let bytes = codec::encode(&sealed).expect("encodes");
    assert_eq!(bytes[..4], [2, 0, 0, 0]);
    assert_eq!(bytes[28..], [1, 0, 0, 0, 0, 0, 0, 0, 5]);
}
