//! Every format ever written is still read: each file in `tests/golden` is decoded, compared with
//! what it is to say, and encoded again to the same bytes. The files are never changed. A format
//! that is added gets a file of its own: run the tests with `HINDCAST_WRITE_GOLDEN=1`, which
//! writes the files that are missing and no other.

mod backups;
mod breakers;
mod older;
mod operating;
mod samples;
mod slos;

use std::collections::BTreeSet;
use std::path::PathBuf;

use hindcast_model::event::*;
use hindcast_model::{
    DECIDER_VERSION, Digest, Event, Payload, RunId, Seq, State, Stream, UnixMicros,
};
use uuid::Uuid;

use older::older_records;
use samples::{digest, experiment, inline, recorded, records, requested, run};

use crate::base::{self, Base};
use crate::frame;
use crate::index::{self, Filter, SegmentIndex};
use crate::position::Position;
use crate::record::{self, Recorded};
use crate::replay::Checkpoint;
use crate::segment;
use crate::{chunk, store};
use crate::{codec, decode_state, encode_state};

/// A state belongs to the rules that folded it: one of other rules is passed over and folded again,
/// so that only this version's has a file.
const STATE: &str = "state_2.bin";
/// The same with breakers, whose bytes follow those of the state.
const STATE_BREAKERS: &str = "state_2_breakers.bin";
/// The same with objectives, whose bytes follow those of breakers.
const STATE_SLOS: &str = "state_2_slos.bin";
/// The same with the runs whose deadline is their caller's, which follow objectives.
const STATE_DEADLINES: &str = "state_2_deadlines.bin";
/// The same with the key of an answer that is kept, which stands where the other keys do.
const STATE_ANSWERS: &str = "state_2_answers.bin";
/// As the state in it.
const BASE: &str = "base_1_2.bin";
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
fn records_of_older_schemas_still_decode() {
    for (name, event) in older_records() {
        let bytes = std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let header = record::header(&bytes).expect("a header");
        assert!(record::intact(&bytes), "{name}");
        let read = record::decode(&bytes, &header, Seq(41)).expect("decodes");
        let mut expected = recorded(event);
        // Schema 1 changed no state yet.
        expected.ignorable |= name.starts_with("record_50_1");
        assert_eq!(read, expected, "{name}");
    }
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
        STATE,
        STATE_BREAKERS,
        STATE_SLOS,
        STATE_DEADLINES,
        STATE_ANSWERS,
        "cursor_1.bin",
        BASE,
    ];
    let records = records().into_iter().chain(older_records());
    let names = records.map(|(name, _)| name).chain(others);
    let known: BTreeSet<String> = names.map(str::to_owned).collect();
    let entries = std::fs::read_dir(path("")).expect("a directory");
    let there: BTreeSet<String> = entries
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect();
    assert_eq!(there, known);
}

fn two_records() -> Vec<u8> {
    // As they were written when these formats were: a format holds records of every schema.
    let files = [
        "record_6_1_run_requested.bin",
        "record_101_1_run_admitted.bin",
    ];
    let read = |name: &str| std::fs::read(path(name)).expect("a golden file");
    files.map(read).concat()
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
    let packed = golden("chunk_1.bin", &chunk::pack(6, times, &repeated));
    assert_eq!(
        chunk::unpack(&packed, Seq(41)).expect("intact"),
        (6, repeated)
    );
    // What does not shrink stands as it is.
    let noise = blake3::hash(b"noise").as_bytes().to_vec();
    let plain = golden("chunk_1_plain.bin", &chunk::pack(1, times, &noise));
    assert_eq!(plain[1], 0);
    assert_eq!(chunk::unpack(&plain, Seq(41)).expect("intact"), (1, noise));
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
fn state_of_these_rules_decodes() {
    let mut state = State::default();
    let later = |event: &mut Recorded, seq: u64| event.context.seq = Seq(seq);
    // A list that does not grow with the kinds.
    let used = [
        "record_1_1_server_started.bin",
        "record_3_2_configuration_loaded.bin",
        "record_9_1_dataset_uploaded.bin",
        "record_11_2_actor_restarted.bin",
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
    assert_eq!(STATE, format!("state_{DECIDER_VERSION}.bin"));
    assert_eq!(state.runs().count(), 1);
    assert_eq!(state.experiments().len(), 1);
    for (seq, name) in (200..).zip([
        "record_19_1_backup_requested_full.bin",
        "record_17_1_backup_ended.bin",
        "record_19_1_backup_requested_verification.bin",
    ]) {
        let (_, event) = records()
            .into_iter()
            .find(|(n, _)| *n == name)
            .expect("a sample");
        let mut event = recorded(event);
        later(&mut event, seq);
        state.apply(&event.context, event.event().expect("known"));
    }
    assert_eq!((state.backups().len(), state.backups_open().len()), (1, 1));
    let known = golden(STATE, &encode_state(&state).expect("encodes"));
    let read = decode_state(&known).expect("decodes");
    assert_eq!(read.dump(), state.dump());
    bytes_of_breakers_follow(state);
}

fn bytes_of_breakers_follow(mut state: State) {
    for (seq, event) in (300..).zip(breakers::story()) {
        let mut event = recorded(event);
        event.context.seq = Seq(seq);
        state.apply(&event.context, event.event().expect("known"));
    }
    assert_eq!(state.breakers().all().len(), 2);
    let with = golden(STATE_BREAKERS, &encode_state(&state).expect("encodes"));
    let read = decode_state(&with).expect("decodes");
    assert_eq!(read, state);
    assert!(decode_state(&with[..with.len() - 1]).is_err());
    assert!(decode_state(&[&with[..], &[0]].concat()).is_err());
    bytes_of_objectives_follow(state);
}

fn bytes_of_objectives_follow(mut state: State) {
    for (seq, event) in (400..).zip(slos::story()) {
        let mut event = recorded(event);
        event.context.seq = Seq(seq);
        state.apply(&event.context, event.event().expect("known"));
    }
    assert_eq!(state.slos().all().len(), 2);
    let with = golden(STATE_SLOS, &encode_state(&state).expect("encodes"));
    assert_eq!(decode_state(&with).expect("decodes"), state);
    assert!(decode_state(&with[..with.len() - 1]).is_err());
    assert!(decode_state(&[&with[..], &[0]].concat()).is_err());
    // Without breakers, theirs are there and say so.
    let alone = State::default().with_slos(state.slos().clone());
    let bytes = encode_state(&alone).expect("encodes");
    assert_eq!(decode_state(&bytes).expect("decodes"), alone);
    bytes_of_callers_deadlines_follow(state);
}

fn bytes_of_callers_deadlines_follow(mut state: State) {
    let mut event = recorded(breakers::hurried());
    event.context.seq = Seq(500);
    state.apply(&event.context, event.event().expect("known"));
    assert_eq!(state.caller_deadlines().len(), 1);
    let with = golden(STATE_DEADLINES, &encode_state(&state).expect("encodes"));
    assert_eq!(decode_state(&with).expect("decodes"), state);
    assert!(decode_state(&with[..with.len() - 1]).is_err());
    assert!(decode_state(&[&with[..], &[0]].concat()).is_err());
    let callers = state.caller_deadlines().clone();
    let alone = State::default().with_caller_deadlines(callers);
    let bytes = encode_state(&alone).expect("encodes");
    assert_eq!(decode_state(&bytes).expect("decodes"), alone);
    bytes_of_answers_stand_among_keys(state);
}

fn bytes_of_answers_stand_among_keys(mut state: State) {
    let keys = state.idempotency_entries();
    let mut event = recorded(operating::answered().1);
    event.context.seq = Seq(600);
    event.context.principal = hindcast_model::Name16::new("grace");
    state.apply(&event.context, event.event().expect("known"));
    assert_eq!(state.idempotency_entries(), keys + 1);
    let with = golden(STATE_ANSWERS, &encode_state(&state).expect("encodes"));
    assert_eq!(decode_state(&with).expect("decodes"), state);
}

#[test]
fn format_1_base_decodes() {
    let mut loaded = recorded(Event::IntakePaused(IntakePaused {
        free_bytes: 5,
        reserve_bytes: 10,
    }));
    loaded.context.seq = Seq(4_000);
    let mut state = State::default();
    state.apply(&loaded.context, loaded.event().expect("known"));
    let checkpoint = Checkpoint {
        log: LOG,
        epoch: 2,
        chain: digest(9),
        state,
    };
    let pruned = SegmentsPruned {
        first: Seq(1),
        last: Seq(4_000),
        chain: digest(9),
        backup: Some("20270115T080000Z".to_owned()),
        reason: "older than 30 days".to_owned(),
    };
    let base = Base::new(&checkpoint, &pruned, None);
    assert_eq!(BASE, format!("base_1_{DECIDER_VERSION}.bin"));
    let known = golden(BASE, &base::encode(&base, &checkpoint).expect("encodes"));
    assert_eq!(base::decode(&known), Ok((base, checkpoint)));
    for at in [0, 8, 40, 111, 112, 150, known.len() - 1] {
        let mut bad = known.clone();
        bad[at] ^= 1;
        assert!(
            base::decode(&bad).is_err(),
            "a bit flipped at {at} goes unseen"
        );
    }
    assert!(base::decode(&known[..100]).is_err());
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
