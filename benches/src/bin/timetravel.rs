//! Loads runs into a log as a server does, with a snapshot every some thousand events, and then asks
//! for the state at random moments: median and maximum, beside a full replay of the same log in the
//! same run, and the search through all of it that provenance makes forward.
//!
//! Arguments: `--runs N` (default 500000, four events each), `--every N` events between snapshots
//! (default 50000, as the server's), `--keys N` runs with an idempotency key (default 0), `--moments N` (default 50), `--dir DIR` to keep the log.

use std::ops::ControlFlow;
use std::path::Path;

use hindcast_benches::{RealClock, argument, cpu_seconds, immediate_run, load, median, now};
use hindcast_log::{Log, Options, Reader, RealDisk, replay, state_hash};
use hindcast_model::event::Idempotency;
use hindcast_model::{Digest, Event, Seq, Submission};
use serde_json::json;
use uuid::Uuid;

const SNAPSHOTS_BYTES_MAX: u64 = 256 << 20;

fn number(name: &str, default: u64) -> u64 {
    argument(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A run; the first `keys` have an idempotency key, which the state remembers.
fn run(n: u64, keys: u64) -> Submission {
    let mut submission = immediate_run(n);
    for command in submission.commands.iter_mut().filter(|_| n < keys) {
        if let Event::RunRequested(request) = &mut command.event {
            request.idempotency = Some(Idempotency {
                key: u128::from(n).to_be_bytes(),
                body: Digest([7; 32]),
            });
        }
    }
    submission
}

/// Loads the log and returns the seconds that all snapshots took.
fn fill(dir: &Path, (runs, keys): (u64, u64), every: u64) -> f64 {
    let id = Uuid::from_u128(1);
    let (log, _) = Log::open(Options::new(dir), RealClock::start(), id, &|_| {}).expect("opens");
    let (mut taken, mut seconds) = (0, 0.0);
    load(&log, runs, |n| {
        let head = log.head().seq.0;
        if head - taken >= every {
            let start = now();
            taken = head;
            hindcast_snapshots::take(dir, &log.checkpoint(), SNAPSHOTS_BYTES_MAX).expect("taken");
            seconds += start.elapsed().as_secs_f64();
        }
        run(n, keys)
    });
    log.close();
    seconds
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let keys = number("--keys", 0);
    let (runs, every) = (number("--runs", 250_000), number("--every", 50_000));
    let scratch = tempfile::tempdir_in(".").expect("a directory on the disk");
    let dir = argument("--dir").map_or_else(|| scratch.path().to_owned(), Into::into);
    let snapshots_s = fill(&dir, (runs, keys), every);
    let snapshots = hindcast_snapshots::all(&dir).expect("listed").count();

    let start = now();
    let whole = replay(&RealDisk, &dir, &|_| {}).expect("replays");
    let replay_ms = start.elapsed().as_secs_f64() * 1e3;
    let events = whole.head().0;

    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut times, mut folded, cpu) = (Vec::new(), Vec::new(), cpu_seconds());
    for _ in 0..number("--moments", 50) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let start = now();
        let reader = Reader::open(&dir).expect("opens");
        let moment = hindcast_snapshots::at(&reader, Seq(1 + state % events)).expect("folds");
        times.push(start.elapsed().as_secs_f64() * 1e3);
        folded.push(moment.folded as f64);
    }
    let cpu_ms = (cpu_seconds() - cpu) * 1e3 / times.len() as f64;
    let start = now();
    let reader = Reader::open(&dir).expect("opens");
    let cut = reader.cut(whole.state.at()).expect("cut");
    let cut_ms = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(cut, whole.head());
    let last = hindcast_snapshots::at(&reader, cut).expect("folds").state;
    assert_eq!(
        state_hash(&last).expect("encodes"),
        state_hash(&whole.state).expect("encodes")
    );
    let start = now();
    let mut requests = 0_u64;
    reader
        .select((Seq(1), whole.head()), &[6], |_| {
            requests += 1;
            ControlFlow::Continue(())
        })
        .expect("read");
    let search_ms = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(requests, runs, "every run has a request");
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    println!(
        "{}",
        json!({
            "bench": "timetravel",
            "events": events,
            "snapshot_every": every,
            "idempotency_keys": keys,
            "snapshots": snapshots,
            "snapshot_ms_mean": snapshots_s * 1e3 / snapshots.max(1) as f64,
            "moments": times.len(),
            "moment_ms_max": most(&times),
            "moment_cpu_ms_mean": cpu_ms,
            "events_folded_max": most(&folded),
            "moment_ms_median": median(times.clone()),
            "cut_ms": cut_ms,
            "search_forward_ms": search_ms,
            "full_replay_ms": replay_ms,
            "ratio_to_full_replay": median(times) / replay_ms,
        })
    );
}
