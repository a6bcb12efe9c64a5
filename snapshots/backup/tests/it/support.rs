//! A log with work in it, and repositories in directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_backup::{
    Create, Directory, Entry, Key, Manifest, Plan, Repository, Restore, Restored, Target,
    TargetError, Work, create, restore, verify,
};
use hindcast_log::{Clock, Log, Options, Reader, Vault, state_hash};
use hindcast_model::event::{BackupKind, DatasetUploaded, RequestsShed, RunRequested};
use hindcast_model::{
    BackupId, Command, Digest, Event, EventId, KeyId, Name16, Payload, RunId, Seq, Submission,
    UnixMicros,
};
use uuid::Uuid;

/// A clock that goes on by a second at every look.
pub(crate) struct Ticks(pub(crate) AtomicU64);

pub(crate) const BEGUN: u64 = 1_800_000_000_000_000;

impl Default for Ticks {
    fn default() -> Self {
        Self(AtomicU64::new(BEGUN))
    }
}

impl Clock for Ticks {
    fn wall(&self) -> UnixMicros {
        UnixMicros(self.0.fetch_add(1_000_000, Ordering::SeqCst))
    }

    fn monotonic(&self) -> u64 {
        self.0.load(Ordering::SeqCst) - BEGUN
    }
}

pub(crate) fn ticks() -> Arc<Ticks> {
    Arc::new(Ticks::default())
}

/// A data directory and a clock.
pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) clock: Arc<Ticks>,
    count: AtomicU64,
}

pub(crate) const SEGMENT: u64 = 64 << 10;

impl World {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().expect("a directory"),
            clock: ticks(),
            count: AtomicU64::new(1),
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub(crate) fn open(&self) -> Log {
        open(&self.data_dir(), &self.clock)
    }

    /// Records `rounds` of work: every kind of frame, some with blobs, some of many records.
    pub(crate) fn work(&self, log: &Log, rounds: u64) {
        for _ in 0..rounds {
            let n = self.count.fetch_add(1, Ordering::SeqCst);
            let content = format!("a,b\n{n},{n}\n").repeat(400);
            let pinned = log.blobs().put(content.as_bytes()).expect("stored");
            let upload = Event::DatasetUploaded(DatasetUploaded {
                digest: pinned.digest(),
                name: format!("table {n}"),
                format: "csv".to_owned(),
                bytes: content.len() as u64,
                rows: 400,
                columns: 2,
                idempotency: None,
            });
            let run = |k: u64| {
                Event::RunRequested(RunRequested {
                    run: RunId::from_bytes(u128::from(n * 100 + k).to_be_bytes()),
                    operation: "causal.discover".to_owned(),
                    schema: 1,
                    spec: Payload::Inline("x".repeat(400)),
                    spec_hash: Digest::default(),
                    seed: k,
                    datasets: vec![pinned.digest()],
                    deadline_micros: 0,
                    immediate: false,
                    experiment: None,
                    idempotency: None,
                    service: None,
                })
            };
            let shed = Event::RequestsShed(RequestsShed {
                overloaded: n,
                malformed: 0,
                unauthenticated: 0,
            });
            let many = [shed.clone(), run(1), run(2), run(3)];
            self.submit(log, [upload].to_vec());
            self.submit(log, many.to_vec());
            self.submit(log, [shed].to_vec());
        }
    }

    fn submit(&self, log: &Log, events: Vec<Event>) {
        let commands = events.into_iter().map(|event| {
            let n = self.count.fetch_add(1, Ordering::SeqCst);
            let id = EventId::from_bytes((u128::from(n) << 20).to_be_bytes());
            Command {
                event_id: id,
                causation: id,
                correlation: id,
                principal: Name16::new("t"),
                tenant: Name16::default(),
                key: KeyId(0),
                expect: None,
                event,
            }
        });
        let commands = commands.collect();
        log.submit_and_wait(Submission { commands })
            .expect("recorded");
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.root.path().join("target")
    }

    pub(crate) fn repository(&self) -> Repository {
        repository(&self.target(), None)
    }

    pub(crate) fn encrypted(&self, key: [u8; 32]) -> Repository {
        repository(&self.target(), Some(Key::new(&key)))
    }

    pub(crate) fn backup(&self, repository: &Repository, kind: BackupKind) -> Manifest {
        let n = self.count.fetch_add(1, Ordering::SeqCst);
        let work = Work::new(&*self.clock);
        let request = Create {
            id: BackupId(Uuid::from_u128(u128::from(n))),
            kind,
            data_dir: &self.data_dir(),
            to: None,
            binary_version: "test",
            plain_keys: false,
        };
        create(repository, &request, &work).expect("backed up")
    }

    pub(crate) fn verify(&self, repository: &Repository, id: BackupId) {
        let work = Work::new(&*self.clock);
        verify(repository, id, self.root.path(), &work).expect("verified");
    }

    pub(crate) fn restore(&self, plan: &Plan) -> Restored {
        self.restore_to(plan, &self.data_dir())
    }

    pub(crate) fn restore_to(&self, plan: &Plan, data_dir: &Path) -> Restored {
        let to = Restore {
            data_dir,
            segment_bytes: SEGMENT,
        };
        restore(plan, &to, &Work::new(&*self.clock)).expect("restored")
    }
}

pub(crate) fn open(data_dir: &Path, clock: &Arc<Ticks>) -> Log {
    let checkpoint = hindcast_snapshots::newest(data_dir).ok();
    let options = Options {
        segment_bytes: SEGMENT,
        checkpoint: checkpoint.and_then(|found| found.checkpoint),
        ..Options::new(data_dir)
    };
    let clock = Arc::clone(clock);
    let log = Log::open(options, clock, Uuid::from_u128(9), &|_| {});
    log.expect("opens").0
}

pub(crate) fn repository(dir: &Path, key: Option<Key>) -> Repository {
    with_target(Arc::new(Directory::new(dir)), key)
}

pub(crate) fn with_target(target: Arc<dyn Target>, key: Option<Key>) -> Repository {
    let count = AtomicU64::new(0);
    let nonce = move || {
        let mut nonce = [0; 19];
        let n = count.fetch_add(1, Ordering::SeqCst);
        nonce[..8].copy_from_slice(&n.to_le_bytes());
        nonce
    };
    Repository::new(target, key, Arc::new(nonce))
}

/// The hash of the state after each event, by folding the log of a data directory.
pub(crate) fn hash_at(data_dir: &Path, seq: Seq) -> Digest {
    let reader = Reader::open(data_dir).expect("reads");
    let folded = reader.fold(None, seq).expect("folds");
    state_hash(&folded.state).expect("hashes")
}

pub(crate) fn head(data_dir: &Path) -> Seq {
    let reader = Reader::open(data_dir).expect("reads");
    reader.head().expect("reads").expect("events").seq
}

/// Every file under a directory with its bytes; none when it is not there.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).into_iter().flatten();
        for entry in entries {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let bytes = std::fs::read(&path).expect("a file");
                    found.insert(path, bytes);
                }
            }
        }
    }
    found
}

/// Sets a data key, so that there is one to back up.
pub(crate) fn add_key(data_dir: &Path, key: u32, byte: u8) {
    let vault = Vault::open(data_dir, None).expect("opens");
    vault.add(KeyId(key), [byte; 32]).expect("added");
}

/// A target that fails as often as it is told to.
pub(crate) struct Failing {
    pub(crate) inner: Directory,
    pub(crate) puts: AtomicU64,
    pub(crate) fail_at: AtomicU64,
}

impl Target for Failing {
    fn title(&self) -> &str {
        "failing"
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        if self.puts.fetch_add(1, Ordering::SeqCst) == self.fail_at.load(Ordering::SeqCst) {
            return Err(TargetError::Io {
                action: "write",
                target: "failing".to_owned(),
                name: name.to_owned(),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.inner.put(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, TargetError> {
        self.inner.get(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, TargetError> {
        self.inner.list(prefix)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        self.inner.remove(name)
    }
}
