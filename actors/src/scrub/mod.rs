//! The scrubber: reads every segment, blob and snapshot again and again at a bounded rate, and
//! records what is damaged, and what no longer is, while there may still be a copy of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::Thread;
use std::time::Duration;

use hindcast_log::{Clock, Damaged, Log, ScrubError, background, scrub};
use hindcast_model::event::{DamageFound, DamageGone, Event};
use hindcast_model::{Command, KeyId, Name16, Seq};
use metrics::{Counter, Gauge, Histogram};

use crate::Environment;
use crate::component::{Component, Slot};

/// Messages that wait for the actor.
pub(crate) const MAILBOX_MAX: usize = 16;

/// How the files are read in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubOptions {
    /// From the end of one reading to the beginning of the next; zero turns it off.
    pub pause: Duration,
    /// Bytes read in a second, at most.
    pub bytes_per_second_max: u64,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(30),
            bytes_per_second_max: 64 << 20,
        }
    }
}

pub(crate) enum Request {
    /// Begin a reading now, unless one is going on.
    Begin,
}

/// Asks the scrubber.
#[derive(Clone)]
pub struct ScrubHandle(pub(crate) Arc<Slot<Scrubber>>);

impl ScrubHandle {
    /// Begins a reading now, unless one is going on. False when the actor is not there to do it.
    #[must_use]
    pub fn begin(&self) -> bool {
        self.0.send(Request::Begin).is_ok()
    }
}

/// A reading that is going on.
struct Reading {
    stop: Arc<AtomicBool>,
    thread: Thread,
    done: Receiver<Result<Vec<Damaged>, String>>,
    started: u64,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The actor's body.
pub(crate) struct Scrubber {
    log: Log,
    environment: Environment,
    options: ScrubOptions,
    reading: Option<Reading>,
    /// When the next reading begins.
    due: u64,
    bytes: Counter,
    readings: [Counter; 2],
    duration: Histogram,
    finished_at: Gauge,
}

impl Scrubber {
    pub(crate) fn new(log: Log, environment: Environment, options: ScrubOptions) -> Self {
        let readings =
            |outcome: &'static str| metrics::counter!("scrubs_total", "outcome" => outcome);
        let due = environment.clock.monotonic() + micros(options.pause);
        Self {
            log,
            environment,
            options,
            reading: None,
            due,
            bytes: metrics::counter!("scrub_bytes_total"),
            readings: ["completed", "failed"].map(readings),
            duration: metrics::histogram!("scrub_duration_seconds"),
            finished_at: metrics::gauge!("scrub_last_completed_timestamp_seconds"),
        }
    }

    fn begin(&mut self) {
        if self.reading.is_some() {
            return;
        }
        let (send, done) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let clock = Arc::clone(&self.environment.clock);
        let pace = Pace {
            stop: Arc::clone(&stop),
            started: clock.monotonic(),
            clock,
            rate: self.options.bytes_per_second_max.max(1),
            read: 0,
            bytes: self.bytes.clone(),
        };
        let started = pace.started;
        let data_dir = self.log.data_dir().to_owned();
        let spawned = background("scrub", move || {
            // Nobody waits any more when the actor was stopped or built anew.
            drop(send.send(read(&data_dir, pace)));
        });
        match spawned {
            Ok(thread) => {
                let thread = thread.thread().clone();
                self.reading = Some(Reading {
                    stop,
                    thread,
                    done,
                    started,
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no thread to read the files with");
                self.readings[1].increment(1);
                self.pause();
            }
        }
    }

    fn pause(&mut self) {
        self.reading = None;
        self.due = self.environment.clock.monotonic() + micros(self.options.pause);
    }

    fn look(&mut self) {
        let Some(reading) = &self.reading else { return };
        let found = match reading.done.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(found) => found,
            Err(TryRecvError::Disconnected) => Err("it panicked".to_owned()),
        };
        let now = self.environment.clock.monotonic();
        let took = Duration::from_micros(now.saturating_sub(reading.started));
        self.pause();
        match found {
            Ok(damaged) => {
                self.readings[0].increment(1);
                self.duration.record(took.as_secs_f64());
                let wall = self.environment.clock.wall();
                self.finished_at.set(wall.0 as f64 / 1e6);
                self.tell(damaged);
            }
            Err(error) => {
                self.readings[1].increment(1);
                tracing::warn!(error, "the files could not be read through");
            }
        }
    }

    /// Records what is new and what is over.
    fn tell(&self, damaged: Vec<Damaged>) {
        let found: BTreeMap<String, Damaged> = damaged
            .into_iter()
            .map(|damaged| (damaged.file.clone(), damaged))
            .collect();
        let known: Vec<String> = self
            .log
            .state(|state| state.damaged().map(|(file, _)| file.to_owned()).collect());
        for file in known.iter().filter(|file| !found.contains_key(*file)) {
            tracing::info!(file, "damage is gone");
            let file = file.clone();
            self.record(Event::DamageGone(DamageGone { file }));
        }
        for (file, Damaged { seq, what, .. }) in found {
            if !known.contains(&file) {
                tracing::error!(
                    file,
                    seq = seq.0,
                    what,
                    "damage found: hindcast repair --plan"
                );
                self.record(Event::DamageFound(DamageFound { file, seq, what }));
            }
        }
    }

    fn record(&self, event: Event) {
        let id = (self.environment.event_id)();
        let command = Command {
            event_id: id,
            causation: id,
            correlation: id,
            principal: Name16::new("scrub"),
            tenant: Name16::new("system"),
            key: KeyId(0),
            expect: None,
            event,
        };
        let reply = Box::new(|result| {
            if let Err(error) = result {
                tracing::warn!(%error, "what the scrub found was not recorded");
            }
        });
        // What finds no room is found again by the next reading.
        if let Err(error) = self.log.submit(command.into(), reply) {
            tracing::warn!(%error, "what the scrub found was not recorded");
        }
    }
}

impl Component for Scrubber {
    type Message = Request;
    const NAME: &'static str = "scrub";
    const KINDS: &'static [&'static str] = &["begin"];
    const TICK: Duration = Duration::from_millis(250);

    fn kind(message: &Request) -> usize {
        match message {
            Request::Begin => 0,
        }
    }

    fn started(&mut self) {}

    fn handle(&mut self, message: Request) {
        match message {
            Request::Begin => self.begin(),
        }
    }

    fn tick(&mut self) {
        self.look();
        let off = self.options.pause.is_zero();
        if !off && self.reading.is_none() && self.environment.clock.monotonic() >= self.due {
            self.begin();
        }
    }
}

/// Keeps a reading at its rate.
struct Pace {
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    started: u64,
    rate: u64,
    read: u64,
    bytes: Counter,
}

impl Pace {
    /// Waits until so many more bytes were due. False when it is over.
    fn spend(&mut self, bytes: u64) -> bool {
        self.read += bytes;
        self.bytes.increment(bytes);
        let micros = u128::from(self.read) * 1_000_000 / u128::from(self.rate);
        let due = self.started + u64::try_from(micros).unwrap_or(u64::MAX / 2);
        loop {
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
            let now = self.clock.monotonic();
            if now >= due {
                return true;
            }
            std::thread::park_timeout(Duration::from_micros(due - now));
        }
    }
}

/// Reads everything once.
fn read(data_dir: &Path, mut pace: Pace) -> Result<Vec<Damaged>, String> {
    let scrubbed = match scrub(data_dir, &mut |bytes| pace.spend(bytes)) {
        Ok(scrubbed) => scrubbed,
        Err(ScrubError::Stopped) => return Err("it was told to stop".to_owned()),
        Err(ScrubError::Log(error)) => return Err(error.to_string()),
    };
    let mut damaged = scrubbed.damaged;
    let bad = hindcast_snapshots::damaged(data_dir, &mut |bytes| pace.spend(bytes));
    for (path, why) in bad.map_err(|error| error.to_string())? {
        let file = path.strip_prefix(data_dir).unwrap_or(&path);
        damaged.push(Damaged {
            file: file.display().to_string(),
            seq: Seq(0),
            what: why.to_string(),
        });
    }
    Ok(damaged)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}
