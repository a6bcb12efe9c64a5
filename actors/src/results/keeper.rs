//! The thread of the cache: what takes files, and what is done a little at a time. Nobody who asks
//! for a result waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use hindcast_log::Pointer;

use super::sweep::Sweep;
use super::warming::Warming;
use super::{ResultCache, ResultKey};
use crate::budget::micros;
use crate::component::panic_text;
use crate::lock::lock;

/// Between two steps of what is done a little at a time.
const STEP: Duration = Duration::from_millis(50);
/// Between two looks when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// Microseconds after which what was written is brought to the medium, and old entries go.
const TIDY_MICROS: u64 = 5_000_000;
/// What may wait for the thread.
const WORK_MAX: usize = 4_096;
/// Invalidations that may wait; `Busy` is told beyond.
const SWEEPS_MAX: usize = 8;

pub(super) enum Work {
    Put(ResultKey, Box<Pointer>),
    /// The entry on disk is of no use.
    Forget(ResultKey),
    Sweep(Box<Sweep>),
    Warm(u64),
    /// The bounds have changed.
    Resized,
    Close,
}

/// The way to the thread.
pub(super) struct Keeper {
    send: SyncSender<Work>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub(super) fn start(cache: Weak<ResultCache>) -> std::io::Result<Self> {
        let (send, receive) = sync_channel(WORK_MAX);
        let thread = std::thread::Builder::new()
            .name("results".to_owned())
            .spawn(move || run(&cache, &receive))?;
        Ok(Self {
            send,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// `false` when too much waits.
    pub(super) fn send(&self, work: Work) -> bool {
        match self.send.try_send(work) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => true,
            Err(TrySendError::Full(_)) => false,
        }
    }

    /// Ends the thread, with everything on the medium.
    pub(super) fn close(&self) {
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        // A failed send means that the thread has ended before.
        drop(self.send.send(Work::Close));
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the thread of the cache of results panicked");
        }
    }
}

#[derive(Default)]
struct Tasks {
    sweeps: Vec<Sweep>,
    warming: Option<Warming>,
    /// Something was written that is not on the medium.
    dirty: bool,
    stepped: u64,
    tidied: u64,
}

impl Tasks {
    fn is_busy(&self) -> bool {
        !self.sweeps.is_empty() || self.warming.is_some()
    }

    fn take(&mut self, cache: &ResultCache, work: Work) {
        match work {
            Work::Put(key, pointer) => {
                cache.disk.put(key, &pointer);
                self.dirty = true;
            }
            Work::Forget(key) => {
                let until = cache.disk.environment.clock.wall();
                cache.disk.remove_until(key, until);
                self.dirty = true;
            }
            Work::Sweep(sweep) => {
                self.begin(cache);
                self.sweeps.push(*sweep);
            }
            // A further one takes the place of the one before.
            Work::Warm(runs_max) => {
                self.begin(cache);
                let head = cache.disk.log.head().seq;
                self.warming = Some(Warming::new(head, runs_max));
            }
            Work::Resized => {
                cache.disk.open();
                cache.disk.trim();
                self.dirty = true;
            }
            Work::Close => {}
        }
    }

    /// Time that passed while there was nothing to do is not made up for.
    fn begin(&mut self, cache: &ResultCache) {
        if !self.is_busy() {
            self.stepped = cache.disk.environment.clock.monotonic();
        }
    }

    fn step(&mut self, cache: &ResultCache) {
        let now = cache.disk.environment.clock.monotonic();
        let elapsed = now.saturating_sub(self.stepped);
        if self.is_busy() && elapsed >= micros(STEP) {
            let before = self.sweeps.len();
            self.sweeps.retain_mut(|sweep| !sweep.step(cache, elapsed));
            self.dirty |= before > 0;
            if self.warming.as_mut().is_some_and(|warming| {
                self.dirty = true;
                warming.step(cache)
            }) {
                self.warming = None;
            }
            self.stepped = now;
        }
        if now.saturating_sub(self.tidied) >= TIDY_MICROS {
            self.tidied = now;
            cache.disk.trim();
            if std::mem::take(&mut self.dirty) {
                cache.disk.sync();
            }
        }
    }
}

fn run(cache: &Weak<ResultCache>, receive: &Receiver<Work>) {
    let mut tasks = Tasks::default();
    with(cache, |cache| {
        cache.disk.recall();
        cache.disk.open();
    });
    loop {
        let wait = if tasks.is_busy() { STEP } else { IDLE };
        let work = match receive.recv_timeout(wait) {
            Ok(Work::Close) => {
                with(cache, |cache| cache.disk.close());
                return;
            }
            Ok(work) => Some(work),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match with(cache, |cache| {
            if let Some(work) = work {
                tasks.take(cache, work);
            }
            tasks.step(cache);
        }) {
            Worked::Done => {}
            Worked::Panicked => tasks = Tasks::default(),
            Worked::Gone => return,
        }
    }
}

enum Worked {
    Done,
    Panicked,
    /// There is no cache any more.
    Gone,
}

/// A panic gives up what is on disk, and the thread lives on.
fn with(cache: &Weak<ResultCache>, work: impl FnOnce(&Arc<ResultCache>)) -> Worked {
    let Some(cache) = cache.upgrade() else {
        return Worked::Gone;
    };
    match catch_unwind(AssertUnwindSafe(|| work(&cache))) {
        Ok(()) => Worked::Done,
        Err(panic) => {
            cache.disk.lose(&panic_text(&*panic));
            Worked::Panicked
        }
    }
}

pub(super) const fn sweeps_max() -> usize {
    SWEEPS_MAX
}
