//! The log as the rest of the system uses it. Three threads stand behind it: the committer decides
//! and makes durable, the follower folds what is durable, publishes and answers, and the applier
//! writes the lookup store behind them.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use uuid::Uuid;

use hindcast_model::{Digest, Event, Seq, State, Stream, Submission, UnixMicros};

use crate::blobs::Blobs;
use crate::disk::{Disk, RealDisk};
use crate::error::{CommitError, LogError, SubmitError};
use crate::journal::Batch;
use crate::lock::Held;
use crate::looking;
use crate::position::Position;
use crate::record::{self, Recorded, Records};
use crate::recovery::{self, Places, Recovered, Recovery};
use crate::replay::{Checkpoint, Progress};
use crate::segment;
use crate::shared::{Followed, Shared};
use crate::threads::{self, Job};
use crate::time::Clock;
use crate::wal::Spare;

/// How to open a log. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    /// Length of a segment of the write-ahead log.
    pub segment_bytes: u64,
    /// Submissions that wait for the committer, at most.
    pub queue_max: usize,
    /// Events that the lookup store may lag behind, at most; then writing waits for it.
    pub lag_events_max: u64,
    /// Cache of the lookup store.
    pub cache_bytes: u64,
    /// A state to fold onto instead of reading the log from its beginning. One that is not of this
    /// log is passed over.
    pub checkpoint: Option<Checkpoint>,
    /// Why nothing may be written, when it is the caller who wants that.
    pub read_only: Option<String>,
}

impl Options {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            segment_bytes: 16 << 20,
            queue_max: 4_096,
            lag_events_max: 100_000,
            cache_bytes: 16 << 20,
            checkpoint: None,
            read_only: None,
        }
    }
}

/// What became of a submission: it is durable, and readers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    pub first: Seq,
    pub last: Seq,
    pub at: UnixMicros,
    /// The events decided from it, in order.
    pub decided: Vec<Event>,
}

/// Called once, from the committer's or the follower's thread: it must not block.
pub type Reply = Box<dyn FnOnce(Result<Receipt, CommitError>) + Send>;

/// Sees every durable batch in order, from the follower's thread: it must not block. `false` ends
/// the subscription.
pub type Subscriber = Box<dyn FnMut(&Arc<Batch>) -> bool + Send>;

/// An open log; clones share it. It is closed by `close`, or when the last clone is dropped.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Handle {
    fn close(&self) {
        self.shared.room.closing.store(true, Ordering::Release);
        // A failed send means that the committer has ended before.
        drop(self.jobs.send(Job::Close));
        let threads = std::mem::take(&mut *self.threads.lock().expect("no holder panics"));
        // A subscriber or a reply may hold the last clone: a thread cannot wait for itself.
        let own = std::thread::current().id();
        for thread in threads
            .into_iter()
            .filter(|thread| thread.thread().id() != own)
        {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Log {
    /// Opens the log under `options.data_dir`, or begins one with the id `new_log`. With a reason why
    /// nothing may be written, no file there is made or changed.
    pub fn open(
        mut options: Options,
        clock: Arc<dyn Clock>,
        new_log: Uuid,
        progress: &dyn Fn(Progress),
    ) -> Result<(Self, Recovery), LogError> {
        if let Some(reason) = options.read_only.take() {
            return looking::open(options, new_log, reason, progress);
        }
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let data_dir = options.data_dir.clone();
        let wal = segment::make_directories(disk.as_ref(), &data_dir)?;
        let held = crate::lock::lock(&data_dir)?;
        let blobs = Blobs::open(Arc::clone(&disk), &data_dir)
            .map_err(LogError::io("open", data_dir.join("blobs")))?;
        let sizes = (options.cache_bytes, new_log);
        let start = options.checkpoint.take();
        let store = data_dir.join("sled");
        let places = Places {
            data_dir: &data_dir,
            store: &store,
            looks_only: false,
        };
        let Recovered {
            replayed,
            lookup,
            rebuilt,
            origin,
        } = recovery::recover(&disk, places, sizes, start, progress)?;
        let state = replayed.state.clone();
        let spare = Spare::background(Arc::clone(&disk), &wal, options.segment_bytes)
            .map_err(LogError::io("start", &wal))?;
        let sizes = (options.segment_bytes, new_log);
        let (journal, mut recovery) =
            recovery::journal(&disk, &data_dir, sizes, (spare, replayed))?;
        recovery.rebuilt = rebuilt;
        let link = *journal.link();
        let reading = (lookup.open, lookup.store, origin.base().cloned());
        let shared = Shared::new(
            (disk, options, blobs),
            (link, state, recovery.read_only.clone()),
            (reading, Held::Directory(held)),
        );
        let shared = Arc::new(shared);
        let (jobs, threads) = threads::start(
            &shared,
            journal,
            lookup.writer,
            (clock, recovery::events(&recovery)),
        )
        .map_err(LogError::io("start", &data_dir))?;
        let threads = Mutex::new(threads);
        let handle = Handle {
            shared,
            jobs,
            threads,
        };
        let log = Self(Arc::new(handle));
        log.finish_prune(&origin)?;
        Ok((log, recovery))
    }

    /// A log behind which no thread stands.
    pub(crate) fn at_rest(shared: Shared) -> Self {
        let (jobs, _) = sync_channel(0);
        Self(Arc::new(Handle {
            shared: Arc::new(shared),
            jobs,
            threads: Mutex::default(),
        }))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Queues a submission. Never blocks: a full queue is an error. `reply` is called once it is
    /// durable and folded, or with the reason why it is not recorded.
    pub fn submit(&self, submission: Submission, reply: Reply) -> Result<(), SubmitError> {
        if let Some(reason) = &self.0.shared.read_only {
            reply(Err(CommitError::ReadOnly(reason.clone())));
            return Ok(());
        }
        let shared = &self.0.shared;
        shared.taken();
        self.0
            .jobs
            .try_send(Job::Submit(submission, reply))
            .map_err(|error| {
                let queued = shared.queued.fetch_sub(1, Ordering::Relaxed);
                shared.unanswered.fetch_sub(1, Ordering::Relaxed);
                match error {
                    TrySendError::Full(_) => SubmitError::Full { queued: queued - 1 },
                    TrySendError::Disconnected(_) => SubmitError::Closed,
                }
            })
    }

    /// Queues a submission and waits for its receipt; for callers with a thread of their own.
    pub fn submit_and_wait(&self, submission: Submission) -> Result<Receipt, CommitError> {
        if let Some(reason) = &self.0.shared.read_only {
            return Err(CommitError::ReadOnly(reason.clone()));
        }
        let (send, receive) = sync_channel(1);
        let reply: Reply = Box::new(move |result| drop(send.send(result)));
        self.0.shared.taken();
        self.0
            .jobs
            .send(Job::Submit(submission, reply))
            .map_err(|_| CommitError::Closed)?;
        receive.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Reads the state that durable events fold to.
    pub fn state<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        self.followed(|followed| read(&followed.state))
    }

    fn followed<R>(&self, read: impl FnOnce(&Followed) -> R) -> R {
        let followed = self.0.shared.followed.read();
        read(&followed.expect("a panic while folding ends the process"))
    }

    /// The state with its place in the chain, for a snapshot. Copies the state; writing goes on.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        self.followed(|followed| Checkpoint {
            log: self.0.shared.log,
            epoch: self.0.shared.epoch,
            chain: Digest(followed.chain),
            state: followed.state.clone(),
        })
    }

    /// The newest position that readers see.
    #[must_use]
    pub fn head(&self) -> Position {
        self.position(Seq(self.0.shared.head.load(Ordering::Acquire)))
    }

    /// The cursor of a sequence in this log and epoch.
    #[must_use]
    pub fn position(&self, seq: Seq) -> Position {
        Position {
            log: self.0.shared.log,
            epoch: self.0.shared.epoch,
            seq,
        }
    }

    /// The sequence that a cursor stands for, if it is of this log and epoch.
    pub fn resume(&self, cursor: Position) -> Result<Seq, LogError> {
        match (cursor.log, cursor.epoch) == (self.0.shared.log, self.0.shared.epoch) {
            true => Ok(cursor.seq),
            false => Err(LogError::ForeignCursor(cursor.to_string())),
        }
    }

    /// Adds a subscriber, which sees every batch after the position that is returned.
    pub fn subscribe(&self, subscriber: Subscriber) -> Position {
        let mut subscribers = self
            .0
            .shared
            .subscribers
            .lock()
            .expect("no subscriber panics");
        subscribers.push(subscriber);
        self.head()
    }

    /// Up to `max` events from `from` on, ascending. An error when they are pruned.
    pub fn read(&self, from: Seq, max: usize) -> Result<Vec<Recorded>, LogError> {
        let head = self.0.shared.head.load(Ordering::Acquire);
        let mut found = Vec::new();
        let mut next = from.max(Seq(1));
        self.check_kept(next)?;
        while next.0 <= head && found.len() < max {
            let last = Seq(head.min(next.0 + (max - found.len()) as u64 - 1));
            let before = next;
            self.visit(next, last, |recorded| {
                next = recorded.seq().next();
                found.push(recorded);
            })?;
            assert!(next > before, "the log has no sequence {before}");
        }
        Ok(found)
    }

    /// The last sequence whose time is not after `at`: where the log is cut to see that moment.
    /// Events of one frame share their time, and the later ones count. An error when the moment is
    /// before what is pruned ends.
    pub fn cut(&self, at: UnixMicros) -> Result<Seq, LogError> {
        self.check_moment(at)?;
        let pruned_to = self.oldest().0 - 1;
        let (mut before, mut after) = (pruned_to, self.0.shared.head.load(Ordering::Acquire) + 1);
        // Times never fall, so that halving finds the place.
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            let recorded = self.read(Seq(middle), 1)?;
            match recorded
                .first()
                .is_some_and(|recorded| recorded.context.at <= at)
            {
                true => before = middle,
                false => after = middle,
            }
        }
        Ok(Seq(before))
    }

    /// Up to `max` events before `before`, descending. It ends where the log was pruned, and is an
    /// error when everything that is asked for was.
    pub fn read_back(&self, before: Seq, max: usize) -> Result<Vec<Recorded>, LogError> {
        let head = self.0.shared.head.load(Ordering::Acquire);
        let end = before.0.min(head + 1);
        let oldest = self.oldest();
        if end > 1 && max > 0 {
            self.check_kept(Seq(end - 1))?;
        }
        let from = end.saturating_sub(max as u64).max(oldest.0);
        let mut found = self.read(
            Seq(from),
            usize::try_from(end.saturating_sub(from)).unwrap_or(0),
        )?;
        found.reverse();
        Ok(found)
    }

    /// Every event of a stream, ascending. An error when some of them are pruned; of a system's
    /// stream, what is left is read.
    pub fn read_stream(&self, stream: Stream) -> Result<Vec<Recorded>, LogError> {
        self.read_stream_after(stream, Seq(0), usize::MAX)
    }

    /// Up to `max` events of a stream after `after`, ascending. An error when some of them are
    /// pruned.
    pub fn read_stream_after(
        &self,
        stream: Stream,
        after: Seq,
        max: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        let seqs = self.find(stream)?;
        let first = seqs.partition_point(|seq| *seq <= after);
        let end = seqs.len().min(first.saturating_add(max));
        let found = self.read_each(&seqs[first..end])?;
        let first = found.first();
        self.check_stream((stream, after), first.map(|first| first.version))?;
        Ok(found)
    }

    /// The newest events of a stream that are left, at most `max`, ascending.
    pub fn read_stream_newest(
        &self,
        stream: Stream,
        max: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        let seqs = self.find(stream)?;
        self.read_each(&seqs[seqs.len().saturating_sub(max)..])
    }

    /// The durable events of a stream, ascending.
    fn find(&self, stream: Stream) -> Result<Vec<Seq>, LogError> {
        // The open ones first: a segment that is sealed meanwhile is then found twice, not never.
        let open = self.0.shared.open.find(stream);
        let mut seqs = self.0.shared.store.find(stream)?;
        seqs.extend(open);
        seqs.sort_unstable();
        seqs.dedup();
        let head = self.0.shared.head.load(Ordering::Acquire);
        seqs.truncate(seqs.partition_point(|seq| seq.0 <= head));
        Ok(seqs)
    }

    fn read_each(&self, seqs: &[Seq]) -> Result<Vec<Recorded>, LogError> {
        let mut found = Vec::new();
        for &seq in seqs {
            self.visit(seq, seq, |recorded| found.push(recorded))?;
        }
        Ok(found)
    }

    /// Decodes the records from `from` to `last` that lie in one chunk or frame.
    fn visit(&self, from: Seq, last: Seq, mut each: impl FnMut(Recorded)) -> Result<(), LogError> {
        // It may have been pruned since it was found.
        let missing = || match self.check_kept(from) {
            Err(gap) => gap,
            Ok(()) => LogError::StoreDamaged(format!("sequence {from} is in no chunk")),
        };
        let open = match from > self.0.shared.store.applied() {
            true => self.0.shared.open.read(from)?,
            false => None,
        };
        let (first, bytes) = match open {
            Some((first, bytes)) => (first, Arc::new(bytes)),
            None => {
                let (first, _, bytes) = self.0.shared.store.chunk(from)?.ok_or_else(missing)?;
                (first, bytes)
            }
        };
        for entry in Records::new(&bytes, first) {
            let corrupt = |(seq, what): (Seq, String)| LogError::Corrupt {
                seq,
                file: "chunk or frame".to_owned(),
                offset: 0,
                what,
            };
            let (seq, header, record) = entry.map_err(corrupt)?;
            if seq > last {
                break;
            }
            if seq >= from {
                each(record::decode(record, &header, seq).map_err(|what| corrupt((seq, what)))?);
            }
        }
        Ok(())
    }

    /// Bytes of frames written by this process.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.0.shared.counters.frame_bytes.load(Ordering::Relaxed)
    }

    /// Where the log is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.0.shared.options.data_dir
    }

    /// The content-addressed files.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.0.shared.blobs
    }

    /// Why nothing can be written, if so.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        self.0.shared.read_only.as_deref()
    }

    /// What waits for room on the disk, if anything does. It goes on by itself when there is room.
    #[must_use]
    pub fn wants_room(&self) -> Option<&'static str> {
        self.0.shared.room.wanted()
    }

    /// Finishes what is queued, syncs the lookup store and ends the threads. Submissions after it
    /// fail with `Closed`.
    pub fn close(&self) {
        self.0.close();
    }
}
