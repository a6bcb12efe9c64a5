//! Loads runs into a log, closes it, and opens it again: loading, memory, bytes on disk, restart,
//! replay, and the lookup of single runs. Beside it, in the same run, the time to read the same
//! bytes from the page cache and hash them: the least that any verifying replay can do.
//!
//! Arguments: `--runs N` (default 250000, four events each), `--dir DIR` to keep the log,
//! `--cache-mib N` for the lookup store's cache.

use std::fs;
use std::path::Path;

use hindcast_benches::{
    RealClock, argument, cpu_seconds, immediate_run, load, median, now, rss_mib, run_id,
};
use hindcast_log::{Log, Options, RealDisk, replay};
use hindcast_model::Stream;
use serde_json::json;
use uuid::Uuid;

fn open(dir: &Path) -> Log {
    let mut options = Options::new(dir);
    if let Some(mib) = argument("--cache-mib").and_then(|mib| mib.parse::<u64>().ok()) {
        options.cache_bytes = mib << 20;
    }
    let id = Uuid::from_u128(1);
    Log::open(options, RealClock::start(), id, &|_| {})
        .expect("opens")
        .0
}

fn bytes_under(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes_under(&entry.path()),
            Ok(_) => entry.metadata().map_or(0, |metadata| metadata.len()),
            Err(_) => 0,
        })
        .sum()
}

/// Seconds to read and hash every segment.
fn floor(dir: &Path) -> f64 {
    let start = now();
    for kind in ["archive", "wal"] {
        let entries = fs::read_dir(dir.join(kind)).expect("a directory");
        for entry in entries.flatten() {
            let bytes = fs::read(entry.path()).expect("read");
            std::hint::black_box(hindcast_log::Blobs::digest(&bytes));
        }
    }
    start.elapsed().as_secs_f64()
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let runs: u64 = argument("--runs")
        .and_then(|n| n.parse().ok())
        .unwrap_or(250_000);
    let scratch = tempfile::tempdir_in(".").expect("a directory on the disk");
    let dir = argument("--dir").map_or_else(|| scratch.path().to_owned(), Into::into);
    let events = (runs * 4) as f64;

    let log = open(&dir);
    let (start, cpu) = (now(), cpu_seconds());
    let mut peak = 0.0_f64;
    load(&log, runs, |n| {
        if n % 10_000 == 0 {
            peak = peak.max(rss_mib().0);
        }
        immediate_run(n)
    });
    peak = peak.max(rss_mib().0);
    let (load_s, load_cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    log.close();
    drop(log);
    let wal = bytes_under(&dir.join("wal")) + bytes_under(&dir.join("archive"));
    let sled = bytes_under(&dir.join("sled"));

    let floors = (0..3).map(|_| floor(&dir)).collect();
    let replays = (0..3).map(|_| {
        let start = now();
        let replayed = replay(&RealDisk, &dir, &|_| {}).expect("replays");
        assert_eq!(replayed.head().0, runs * 4);
        start.elapsed().as_secs_f64()
    });
    let replay_s = median(replays.collect());
    let start = now();
    let log = open(&dir);
    let restart_s = start.elapsed().as_secs_f64();

    let lookups: Vec<f64> = (0..200)
        .map(|n| {
            let run = run_id(n * (runs / 200).max(1));
            let start = now();
            let found = log.read_stream(Stream::run(run)).expect("read");
            assert_eq!(found.len(), 4);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let rss_after = rss_mib().0;
    log.close();
    println!(
        "{}",
        json!({
            "bench": "replay",
            "events": events,
            "load_events_per_s": (events / load_s).round(),
            "load_cpu_us_per_event": load_cpu * 1e6 / events,
            "load_rss_mib_max": peak.round(),
            "log_bytes_per_event": wal as f64 / events,
            "store_bytes_per_event": sled as f64 / events,
            "replay_events_per_s": (events / replay_s).round(),
            "ratio_to_read_and_hash": median(floors) / replay_s,
            "restart_s": restart_s,
            "lookup_run_us_median": median(lookups),
            "rss_mib_after_restart": rss_after.round(),
        })
    );
}
