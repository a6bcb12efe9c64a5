//! Loads runs into a log as a server does, and then asks what would have been: without one of the
//! first runs, and with another limit of runs in flight. Both histories are driven through the whole
//! log, event by event, beside a plain fold of the same events in the same run.
//!
//! Arguments: `--runs N` (default 250000, four events each), `--repeat N` (default 5), `--dir DIR`
//! to keep the log.

use std::path::Path;

use hindcast_benches::{RealClock, argument, immediate_run, load, median, now, rss_mib};
use hindcast_log::{Log, Options, Reader};
use hindcast_model::state::Context;
use hindcast_model::{Event, Seq, State};
use hindcast_whatif::{Alone, Answer, Edits, Question, ask};
use serde_json::json;
use uuid::Uuid;

fn number(name: &str, default: u64) -> u64 {
    argument(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn fill(dir: &Path, runs: u64) {
    let id = Uuid::from_u128(1);
    let (log, _) = Log::open(Options::new(dir), RealClock::start(), id, &|_| {}).expect("opens");
    load(&log, runs, immediate_run);
    log.close();
}

fn decide(state: &State, context: &Context, event: &Event) -> Vec<Event> {
    state.decide(context, event)
}

fn what_if(reader: &Reader, (at, to): (Seq, Seq), edits: &Edits) -> Answer {
    let before = Seq(at.0 - 1);
    let start = match before {
        Seq(0) => State::default(),
        before => reader.fold(None, before).expect("folds").state,
    };
    let question = Question {
        at,
        to,
        edits,
        from: at,
        seed: 1,
        limit: 100,
        recompute_max: 0,
        decide: &decide,
        world: &Alone,
        stop: &|| false,
    };
    ask(reader, start, &question).expect("an answer")
}

/// The median seconds of some calls.
fn seconds(repeat: u64, mut work: impl FnMut()) -> f64 {
    let times = (0..repeat).map(|_| {
        let start = now();
        work();
        start.elapsed().as_secs_f64()
    });
    median(times.collect())
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let (runs, repeat) = (number("--runs", 250_000), number("--repeat", 5).max(1));
    let scratch = tempfile::tempdir_in(".").expect("a directory on the disk");
    let dir = argument("--dir").map_or_else(|| scratch.path().to_owned(), Into::into);
    fill(&dir, runs);
    let reader = Reader::open(&dir).expect("opens");
    let head = reader.head().expect("read").expect("something").seq;
    let fold = seconds(repeat, || {
        assert_eq!(reader.fold(None, head).expect("folds").state.seq(), head);
    });
    let (at, mut limited) = (Seq(17), Edits::default());
    let dropped = Edits {
        drop: [at].into(),
        ..Edits::default()
    };
    limited.settings.insert("runs.in_flight_max".to_owned(), 7);
    let before = rss_mib().0;
    let drop = seconds(repeat, || {
        let found = what_if(&reader, (at, head), &dropped).differences;
        assert_eq!((found.vanished.total, found.changed.total), (4, 0));
    });
    let configuration = seconds(repeat, || {
        let found = what_if(&reader, (at, head), &limited).differences;
        assert_eq!((found.appeared.total, found.vanished.total), (1, 0));
    });
    let events = head.0 as f64;
    println!(
        "{}",
        json!({
            "bench": "whatif",
            "events": head.0,
            "fold_events_per_s": events / fold,
            "drop_events_per_s": events / drop,
            "configuration_events_per_s": events / configuration,
            "drop_ratio_to_fold": drop / fold,
            "rss_mib_before": before,
            "rss_mib_most": rss_mib().1,
        })
    );
}
