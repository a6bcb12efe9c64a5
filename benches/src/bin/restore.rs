//! The drill of a lost machine: loads runs into a log, backs it up, loses the data directory and
//! restores it, with the time of each step. Beside it, in the same run, the same bytes compressed by
//! plain zstd and copied, and decompressed and copied back: the least that a backup and a restore
//! can cost. Then the log grows and is shipped as it does, and at every moment it is asked what
//! would be lost if the machine were lost right there.
//!
//! Arguments: `--runs N` (default 250000, four events each), `--seconds N` of shipping (default 10),
//! `--rate N` runs a second meanwhile (default 2000).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hindcast_backup::{
    Create, Directory, Key, Plan, Repository, Restore, Shipper, Wanted, Work, create, plan,
    restore, verify,
};
use hindcast_benches::{RealClock, argument, immediate_run, load, median, now};
use hindcast_log::{Clock, Log, Options};
use hindcast_model::BackupId;
use hindcast_model::event::BackupKind;
use serde_json::json;
use uuid::Uuid;

/// zstd's level, which is that of backups.
const LEVEL: i32 = 3;
const SHIP_EVERY: Duration = Duration::from_millis(500);

fn open(dir: &Path) -> Log {
    let id = Uuid::from_u128(1);
    let mut options = Options::new(dir);
    options.checkpoint = hindcast_snapshots::newest(dir)
        .ok()
        .and_then(|found| found.checkpoint);
    Log::open(options, RealClock::start(), id, &|_| {})
        .expect("opens")
        .0
}

fn repository(dir: &Path, key: Option<[u8; 32]>) -> Repository {
    let count = AtomicU64::new(0);
    let nonce = move || {
        let mut nonce = [0; 19];
        nonce[..8].copy_from_slice(&count.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        nonce
    };
    let key = key.map(|key| Key::new(&key));
    Repository::new(Arc::new(Directory::new(dir)), key, Arc::new(nonce))
}

fn write_durably(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).expect("created");
    file.write_all(bytes).expect("written");
    file.sync_all().expect("synced");
}

/// The segments of a log and their bytes; the open one without its zeros.
fn segments(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for kind in ["archive", "wal"] {
        for entry in fs::read_dir(dir.join(kind)).expect("a directory").flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "seg") {
                let mut bytes = fs::read(&path).expect("read");
                let used = bytes
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| last + 1);
                bytes.truncate(used);
                found.push((path, bytes));
            }
        }
    }
    found
}

/// Seconds to compress every segment and write it, and to read, decompress and write it again.
fn yardstick(dir: &Path, to: &Path) -> (f64, f64, u64) {
    fs::create_dir_all(to).expect("made");
    let segments = segments(dir);
    let bytes = segments.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let start = now();
    let mut packed = Vec::new();
    for (index, (path, _)) in segments.iter().enumerate() {
        let read = fs::read(path).expect("read");
        let used = segments[index].1.len();
        let small = zstd::encode_all(&read[..used], LEVEL).expect("compressed");
        let file = to.join(format!("{index}.zst"));
        write_durably(&file, &small);
        packed.push(file);
    }
    let copied = start.elapsed().as_secs_f64();
    let start = now();
    for (index, file) in packed.iter().enumerate() {
        let small = fs::read(file).expect("read");
        let whole = zstd::decode_all(&small[..]).expect("decompressed");
        write_durably(&to.join(format!("{index}.seg")), &whole);
    }
    (copied, start.elapsed().as_secs_f64(), bytes)
}

struct Drill<'a> {
    clock: &'a dyn Clock,
    data_dir: PathBuf,
    count: u64,
}

impl Drill<'_> {
    /// Seconds of a backup, and its id.
    fn back_up(&mut self, repository: &Repository, kind: BackupKind) -> (f64, BackupId, u64) {
        self.count += 1;
        let request = Create {
            id: BackupId(Uuid::from_u128(u128::from(self.count))),
            kind,
            data_dir: &self.data_dir,
            to: None,
            binary_version: "bench",
            plain_keys: false,
        };
        let start = now();
        let made = create(repository, &request, &Work::new(self.clock)).expect("backed up");
        (start.elapsed().as_secs_f64(), made.id, made.sent_bytes)
    }

    /// Seconds of a restore over the data directory, and until a log is open on it for work.
    fn restore(&self, plan: &Plan) -> (f64, f64) {
        let to = Restore {
            data_dir: &self.data_dir,
            segment_bytes: 64 << 20,
        };
        let start = now();
        let restored = restore(plan, &to, &Work::new(self.clock)).expect("restored");
        let seconds = start.elapsed().as_secs_f64();
        let log = open(&self.data_dir);
        let ready = start.elapsed().as_secs_f64();
        assert_eq!(log.head().seq, restored.to_seq.next());
        log.close();
        (seconds, ready)
    }
}

/// What would be lost if the machine were lost, asked all the while: seconds, worst and median.
fn lose_at_every_moment(
    data_dir: &Path,
    repository: &Repository,
    clock: &dyn Clock,
) -> (f64, f64, u64) {
    let number = |name: &str, default| {
        let given = argument(name).and_then(|text| text.parse::<u64>().ok());
        given.unwrap_or(default)
    };
    let (seconds, rate) = (number("--seconds", 10), number("--rate", 2_000));
    let log = open(data_dir);
    let (shipped, stop) = (AtomicU64::new(log.head().seq.0), AtomicBool::new(false));
    // Sequence and time of what was acknowledged, as it was acknowledged.
    let acknowledged = std::sync::Mutex::new(Vec::<(u64, f64)>::new());
    let start = now();
    let mut lost = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut shipper, work) = (Shipper::default(), Work::new(clock));
            while !stop.load(Ordering::Acquire) {
                let head = log.head().seq;
                let sent = shipper.ship(repository, data_dir, head, &work);
                shipped.store(sent.expect("shipped").to.0, Ordering::Release);
                std::thread::park_timeout(SHIP_EVERY);
            }
        });
        scope.spawn(|| {
            let mut n = 1 << 40;
            while !stop.load(Ordering::Acquire) {
                let begun = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                let wanted = begun.saturating_mul(rate) / 1_000_000;
                if n - (1 << 40) >= wanted {
                    std::thread::park_timeout(Duration::from_micros(200));
                    continue;
                }
                let receipt = log.submit_and_wait(immediate_run(n)).expect("recorded");
                n += 1;
                let at = start.elapsed().as_secs_f64();
                acknowledged
                    .lock()
                    .expect("no panic")
                    .push((receipt.last.0, at));
            }
        });
        while start.elapsed().as_secs_f64() < seconds as f64 {
            std::thread::park_timeout(Duration::from_millis(5));
            let (at, there) = (
                start.elapsed().as_secs_f64(),
                shipped.load(Ordering::Acquire),
            );
            let known = acknowledged.lock().expect("no panic");
            let first = known.partition_point(|(seq, _)| *seq <= there);
            lost.push(known.get(first).map_or(0.0, |(_, then)| at - then));
        }
        stop.store(true, Ordering::Release);
    });
    let runs = acknowledged.lock().expect("no panic").len() as u64;
    log.close();
    let worst = lost.iter().copied().fold(0.0, f64::max);
    (worst, median(lost), runs / seconds.max(1))
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() {
    let runs: u64 = argument("--runs")
        .and_then(|n| n.parse().ok())
        .unwrap_or(250_000);
    let scratch = tempfile::tempdir_in(".").expect("a directory on the disk");
    let clock = RealClock::start();
    let mut drill = Drill {
        clock: &*clock,
        data_dir: scratch.path().join("data"),
        count: 0,
    };
    let events = (runs * 4) as f64;
    let log = open(&drill.data_dir);
    load(&log, runs, immediate_run);
    log.close();
    drop(log);
    let (zstd_s, unzstd_s, bytes) = yardstick(&drill.data_dir, &scratch.path().join("plain"));
    let plain = repository(&scratch.path().join("target"), None);
    let sealed = repository(&scratch.path().join("sealed"), Some([7; 32]));
    let (full_s, full, _) = drill.back_up(&plain, BackupKind::Full);
    let (again_s, _, again_bytes) = drill.back_up(&plain, BackupKind::Incremental);
    let (sealed_s, ..) = drill.back_up(&sealed, BackupKind::Full);
    let start = now();
    verify(&plain, full, scratch.path(), &Work::new(&*clock)).expect("verified");
    let verify_s = start.elapsed().as_secs_f64();
    let wanted = Wanted::Latest;
    let restores: Vec<(f64, f64)> = (0..3)
        .map(|_| {
            fs::remove_dir_all(&drill.data_dir).expect("the machine is lost");
            drill.restore(&plan(&plain, wanted).expect("planned"))
        })
        .collect();
    let sealed_restore_s = drill.restore(&plan(&sealed, wanted).expect("planned")).0;
    let restore_s = median(restores.iter().map(|(seconds, _)| *seconds).collect());
    let ready_s = median(restores.iter().map(|(_, ready)| *ready).collect());
    let shipping = repository(&scratch.path().join("shipped"), None);
    drill.back_up(&shipping, BackupKind::Full);
    let (rpo_worst, rpo_median, rate) = lose_at_every_moment(&drill.data_dir, &shipping, &*clock);
    println!(
        "{}",
        json!({
            "bench": "restore",
            "events": events,
            "log_bytes": bytes,
            "backup_mb_per_s": (bytes as f64 / full_s / 1e6).round(),
            "backup_encrypted_mb_per_s": (bytes as f64 / sealed_s / 1e6).round(),
            "zstd_and_copy_mb_per_s": (bytes as f64 / zstd_s / 1e6).round(),
            "backup_ratio_to_zstd_and_copy": zstd_s / full_s,
            "incremental_without_news_s": again_s,
            "incremental_without_news_bytes": again_bytes,
            "verify_s": verify_s,
            "restore_events_per_s": (events / restore_s).round(),
            "restore_s": restore_s,
            "restore_encrypted_s": sealed_restore_s,
            "rto_s": ready_s,
            "unzstd_and_copy_s": unzstd_s,
            "rpo_worst_s": rpo_worst,
            "rpo_median_s": rpo_median,
            "rpo_runs_per_s": rate,
        })
    );
}
