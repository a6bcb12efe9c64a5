//! The three threads behind a log. A panic in the committer or the follower, or a failed fsync,
//! ends the process: what is in memory could no longer be trusted to be what is on the disk.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hindcast_model::{Command, Event, EventId, KeyId, Name16, Submission, UnixMicros};

use crate::applier::{Apply, apply_all};
use crate::error::CommitError;
use crate::frame::Chain;
use crate::journal::{Batch, Committed, Journal, NotStaged};
use crate::log::{Receipt, Reply};
use crate::record::Recorded;
use crate::shared::Shared;
use crate::store::Writer;
use crate::tail::OpenSegment;
use crate::time::Clock;
use crate::wal::Written;

/// What the committer is asked to do.
pub(crate) enum Job {
    Submit(Submission, Reply),
    Close,
}

/// Submissions taken into one frame at most.
const BATCH_MAX: usize = 2_048;
/// Durable frames that wait for the follower, at most.
const FRAMES_AHEAD: usize = 64;

/// A durable frame on its way to the follower.
struct Durable {
    committed: Committed,
    replies: Vec<(Reply, Range<usize>)>,
}

/// Ends the process when the thread that holds it panics.
struct AbortOnPanic(&'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            fatal(&format!("the {} panicked", self.0));
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the process ends before any log could be written"
)]
fn fatal(what: &str) -> ! {
    eprintln!("hindcast: fatal: {what}");
    std::process::abort()
}

type Started = (SyncSender<Job>, Vec<JoinHandle<()>>);

/// Starts the threads. `own` are events of the recovery to record first.
pub(crate) fn start(
    shared: &Arc<Shared>,
    journal: Journal,
    writer: Writer,
    (clock, own): (Arc<dyn Clock>, Vec<Event>),
) -> io::Result<Started> {
    let (jobs, job) = sync_channel(shared.options.queue_max.max(1));
    let (durable, follow) = sync_channel(FRAMES_AHEAD);
    let (apply, applied) = sync_channel(1 << 16);
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(format!("hindcast-{name}"))
            .spawn(body)
    };
    let committer = Committer {
        shared: Arc::clone(shared),
        journal,
        clock,
        follower: durable,
    };
    let following = Arc::clone(shared);
    let applying = Arc::clone(shared);
    let threads = vec![
        spawn(
            "committer",
            Box::new(move || {
                let _guard = AbortOnPanic("committer");
                committer.run(&job, own);
            }),
        )?,
        spawn(
            "follower",
            Box::new(move || {
                let _guard = AbortOnPanic("follower");
                follow_all(&following, &follow, &apply);
            }),
        )?,
        spawn(
            "applier",
            Box::new(move || {
                let _guard = AbortOnPanic("applier");
                if let Err(error) = apply_all(&applying, &applied, writer) {
                    fatal(&error.to_string());
                }
            }),
        )?,
    ];
    Ok((jobs, threads))
}

struct Committer {
    shared: Arc<Shared>,
    journal: Journal,
    clock: Arc<dyn Clock>,
    follower: SyncSender<Durable>,
}

impl Committer {
    fn run(mut self, jobs: &Receiver<Job>, own: Vec<Event>) {
        for event in own {
            let submission = own_submission(event, &self.journal);
            self.shared.unanswered.fetch_add(1, Ordering::Relaxed);
            self.commit_batch(vec![(submission, Box::new(drop))]);
        }
        loop {
            let first = match self.wait(jobs) {
                Ok(Job::Submit(submission, reply)) => vec![(submission, reply)],
                Ok(Job::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
            };
            let (batch, close) = self.drain(jobs, first);
            self.shared.queued.fetch_sub(batch.len(), Ordering::Relaxed);
            self.commit_batch(batch);
            if close {
                break;
            }
        }
        // What was queued behind the close is refused.
        while let Ok(job) = jobs.try_recv() {
            if let Job::Submit(_, reply) = job {
                self.shared.answer(reply, Err(CommitError::Closed));
            }
        }
    }

    fn wait(&self, jobs: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        // A log that is read-only has nothing to write when a timer is due.
        let timer = self.journal.next_timer();
        let Some(due) = timer.filter(|_| self.shared.read_only.is_none()) else {
            return jobs.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        let now = self.clock.wall();
        // The log's time may stand behind the wall clock: never spin on a timer.
        let micros = due.since(now).clamp(1_000, 60_000_000);
        jobs.recv_timeout(Duration::from_micros(micros))
    }

    fn drain(
        &self,
        jobs: &Receiver<Job>,
        mut batch: Vec<(Submission, Reply)>,
    ) -> (Vec<(Submission, Reply)>, bool) {
        while batch.len() < BATCH_MAX {
            match jobs.try_recv() {
                Ok(Job::Submit(submission, reply)) => batch.push((submission, reply)),
                Ok(Job::Close) => return (batch, true),
                Err(_) => break,
            }
        }
        (batch, false)
    }

    fn commit_batch(&mut self, batch: Vec<(Submission, Reply)>) {
        let mut replies = Vec::with_capacity(batch.len());
        self.journal
            .begin(self.clock.wall(), self.clock.monotonic());
        for (mut submission, reply) in batch {
            let staged = loop {
                match self.journal.stage(submission) {
                    Ok(range) => break Ok(range),
                    Err(NotStaged::Refused(error)) => break Err(error),
                    Err(NotStaged::FrameFull(back)) => {
                        submission = back;
                        self.write(std::mem::take(&mut replies));
                    }
                }
            };
            let no_room = matches!(staged, Err(CommitError::NoRoom(_)));
            self.shared
                .room
                .frame_refused
                .store(no_room, Ordering::Release);
            match staged {
                Ok(range) => replies.push((reply, range)),
                Err(error) => self.shared.answer(reply, Err(error)),
            }
        }
        self.write(replies);
    }

    fn write(&mut self, replies: Vec<(Reply, Range<usize>)>) {
        let before = self.clock.monotonic();
        let committed = match self.journal.write() {
            Ok(Some(committed)) => committed,
            Ok(None) => return,
            Err(error) => fatal(&error.to_string()),
        };
        let micros = self.clock.monotonic().saturating_sub(before);
        let counters = &self.shared.counters;
        counters.frames.fetch_add(1, Ordering::Relaxed);
        counters
            .events
            .fetch_add(committed.batch.events.len() as u64, Ordering::Relaxed);
        counters
            .frame_bytes
            .fetch_add(committed.frame_bytes as u64, Ordering::Relaxed);
        if let Some(observer) = counters.sync_observer.get() {
            observer(micros);
        }
        counters.sync_micros.fetch_add(micros, Ordering::Relaxed);
        counters
            .sync_micros_max
            .fetch_max(micros, Ordering::Relaxed);
        // The follower ends only after this thread has dropped its sender.
        drop(self.follower.send(Durable { committed, replies }));
    }
}

/// An event of the log's own, with an id that follows from its place.
fn own_submission(event: Event, journal: &Journal) -> Submission {
    let link = journal.link();
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"recovery")
        .update(link.log.as_bytes())
        .update(&link.next.0.to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    let id = EventId::from_bytes(id);
    Submission::from(Command {
        event_id: id,
        causation: id,
        correlation: id,
        principal: Name16::new("hindcast"),
        tenant: Name16::default(),
        key: KeyId::default(),
        expect: None,
        event,
    })
}

fn follow_all(shared: &Shared, durable: &Receiver<Durable>, apply: &SyncSender<Apply>) {
    for Durable { committed, replies } in durable {
        let Committed {
            batch,
            written,
            frame_bytes,
        } = committed;
        fold(shared, &batch.events, written.chain);
        let segment_changed = index(shared, &batch, &written, frame_bytes);
        shared.head.store(
            batch.first.0 + batch.events.len() as u64 - 1,
            Ordering::Release,
        );
        {
            let mut subscribers = shared.subscribers.lock().expect("no subscriber panics");
            subscribers.retain_mut(|subscriber| subscriber(&batch));
        }
        let first = batch.first;
        let answers: Vec<(Reply, Receipt)> = replies
            .into_iter()
            .map(|(reply, own)| (reply, receipt(&batch, own)))
            .collect();
        // Full means that the lookup store lags: writing waits for it here.
        drop(apply.send(Apply {
            first,
            written,
            frame_bytes,
            segment_changed,
        }));
        for (reply, receipt) in answers {
            shared.answer(reply, Ok(receipt));
        }
        let lags = || {
            let lag = first.0.saturating_sub(shared.store.applied().0);
            lag > shared.options.lag_events_max && !shared.room.closing.load(Ordering::Acquire)
        };
        while lags() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

fn fold(shared: &Shared, events: &[Recorded], chain: Chain) {
    let mut followed = shared
        .followed
        .write()
        .expect("a panic while folding ends the process");
    followed.chain = chain;
    for recorded in events {
        let event = recorded.event().expect("this process has just encoded it");
        let place = followed.state.apply(&recorded.context, event);
        assert_eq!(
            place,
            (recorded.stream, recorded.version),
            "two folds of one log differ"
        );
    }
}

/// Adds the batch to the open segments. `true` when it is the first of its segment.
fn index(shared: &Shared, batch: &Batch, written: &Written, frame_bytes: usize) -> bool {
    let known = shared.open.with_last(|last| last.map(|last| last.first()));
    let changed = known != Some(written.segment);
    if changed {
        let segment = OpenSegment::new(
            written.segment,
            written.path.clone(),
            Arc::clone(&written.file),
        );
        shared.open.push(segment);
    }
    shared.open.with_last(|last| {
        let last = last.expect("one was pushed");
        for recorded in &batch.events {
            last.index.push(recorded.stream, recorded.context.at);
        }
        let len = u32::try_from(frame_bytes).expect("a frame is far below 4 GiB");
        last.frames.push((batch.first, written.offset, len));
        last.chain = written.chain;
    });
    changed && known.is_some()
}

fn receipt(batch: &Batch, own: Range<usize>) -> Receipt {
    let events = &batch.events[own];
    let decided = events.iter().filter(|recorded| !recorded.observed);
    Receipt {
        first: events.first().map_or(batch.first, Recorded::seq),
        last: events.last().map_or(batch.first, Recorded::seq),
        at: events
            .first()
            .map_or(UnixMicros(0), |recorded| recorded.context.at),
        decided: decided.filter_map(Recorded::event).cloned().collect(),
    }
}
