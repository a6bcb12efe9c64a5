//! Durable appends through decide and group commit, beside a plain segmented file: as many
//! closed-loop writers, as many bytes, the same batching, the same fdatasync, nothing else.
//!
//! Arguments: `--seconds N` for each run (default 2), `--pairs N` (default 5), `--writers N` for one
//! number of writers instead of 1, 16 and 256.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hindcast_benches::{Ask, Figures, RealClock, command, drive, immediate_run, median, run_id};
use hindcast_log::{Log, Options, Reply};
use hindcast_model::event::CancelRequested;
use hindcast_model::{Event, Submission};
use serde_json::json;
use tokio::sync::oneshot;
use uuid::Uuid;

/// What one request writes.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    events: u64,
    /// Bytes of its records in the log.
    bytes: usize,
}

const WORKLOADS: [Workload; 2] = [
    // One observed event of 256 bytes from which nothing follows.
    Workload {
        name: "event",
        events: 1,
        bytes: 256,
    },
    // A whole run: request, admission, outcome, completion.
    Workload {
        name: "run",
        events: 4,
        bytes: 4 * 136 + 602,
    },
];

impl Workload {
    fn submission(self, n: u64) -> Submission {
        if self.events == 4 {
            return immediate_run(n);
        }
        let event = Event::CancelRequested(CancelRequested {
            run: run_id(n),
            reason: "x".repeat(96),
        });
        command(u128::from(n) << 64, event).into()
    }
}

fn hindcast(dir: &Path, workload: Workload, writers: u64, seconds: f64) -> Figures {
    let id = Uuid::from_u128(1);
    let (log, _) = Log::open(Options::new(dir), RealClock::start(), id, &|_| {}).expect("opens");
    let asked = log.clone();
    let ask: Ask = Box::new(move |n, send| {
        let reply: Reply = Box::new(move |receipt| {
            receipt.expect("recorded");
            let _ = send.send(());
        });
        asked
            .submit(workload.submission(n), reply)
            .expect("the queue holds every writer");
    });
    let figures = drive(writers, seconds, workload.events, ask);
    log.close();
    figures
}

/// The yardstick: 64 MiB segments that grow as they are written, one write and one fdatasync for
/// all that is waiting.
fn plain_file(dir: PathBuf, workload: Workload, writers: u64, seconds: f64) -> Figures {
    type Waiting = (Vec<u8>, oneshot::Sender<()>);
    let (jobs, receive): (SyncSender<Waiting>, Receiver<Waiting>) = sync_channel(4_096);
    let committer = std::thread::spawn(move || {
        let segment = |n: u32| File::create(dir.join(n.to_string())).expect("a file");
        let (mut file, mut number, mut written) = (segment(0), 0, 0);
        let mut buffer = Vec::new();
        while let Ok(first) = receive.recv() {
            buffer.clear();
            let mut answers = Vec::new();
            let mut next = Some(first);
            while let Some((bytes, answer)) = next {
                buffer.extend_from_slice(&bytes);
                answers.push(answer);
                next = receive.try_recv().ok();
            }
            file.write_all(&buffer).expect("written");
            file.sync_data().expect("synced");
            written += buffer.len();
            if written > 64 << 20 {
                number += 1;
                (file, written) = (segment(number), 0);
            }
            for answer in answers {
                let _ = answer.send(());
            }
        }
    });
    let ask: Ask = Box::new(move |_, send| {
        jobs.send((vec![0x5a; workload.bytes], send))
            .expect("the committer runs");
    });
    let figures = drive(writers, seconds, workload.events, ask);
    committer.join().expect("the committer ends");
    figures
}

fn compare(workload: Workload, writers: u64, pairs: u64, seconds: f64) -> serde_json::Value {
    let mut ours = Vec::new();
    let mut plain = Vec::new();
    for _ in 0..pairs {
        let dir = tempfile::tempdir_in(".").expect("a directory on the disk");
        plain.push(plain_file(
            dir.path().to_owned(),
            workload,
            writers,
            seconds,
        ));
        let dir = tempfile::tempdir_in(".").expect("a directory on the disk");
        ours.push(hindcast(dir.path(), workload, writers, seconds));
    }
    let of =
        |runs: &[Figures], field: fn(&Figures) -> f64| median(runs.iter().map(field).collect());
    let ratios = ours
        .iter()
        .zip(&plain)
        .map(|(a, b)| a.events_per_s / b.events_per_s)
        .collect();
    json!({
        "workload": workload.name,
        "writers": writers,
        "events_per_s": of(&ours, |f| f.events_per_s).round(),
        "plain_file_events_per_s": of(&plain, |f| f.events_per_s).round(),
        "ratio_to_plain_file": median(ratios),
        "cpu_us_per_event": of(&ours, |f| f.cpu_us_per_event),
        "plain_file_cpu_us_per_event": of(&plain, |f| f.cpu_us_per_event),
        "p50_us": of(&ours, |f| f.p50_us),
        "p99_us": of(&ours, |f| f.p99_us),
        "plain_file_p99_us": of(&plain, |f| f.p99_us),
    })
}

fn argument<T: FromStr>(name: &str, default: T) -> T {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments
        .nth(1)
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let seconds = argument("--seconds", 2.0);
    let pairs = argument("--pairs", 5).clamp(1, 100);
    let writers = match argument("--writers", 0) {
        0 => vec![1, 16, 256],
        one => vec![one],
    };
    let rows: Vec<serde_json::Value> = WORKLOADS
        .into_iter()
        .flat_map(|workload| writers.iter().map(move |writers| (workload, *writers)))
        .map(|(workload, writers)| compare(workload, writers, pairs, seconds))
        .collect();
    println!(
        "{}",
        json!({ "bench": "append", "pairs": pairs, "seconds": seconds, "rows": rows })
    );
}
