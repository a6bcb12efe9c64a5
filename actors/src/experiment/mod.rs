//! The experiment actor: the one way from the outside world to the committer.
//!
//! It owns no state. It hands submissions to the log, and once a second it tells the log what was
//! turned away at the edge and whether the disk is running full. What follows from that is decided
//! by the core.

pub(crate) mod edge;
pub(crate) mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hindcast_log::{CommitError, Log, Receipt, SubmitError};
use hindcast_model::Submission;
use hindcast_model::event::{DiskSampled, Event, RequestsShed};
use tokio::sync::oneshot;

use crate::Environment;
use crate::component::Component;
use crate::handle::request::SubmitFailure;
use crate::lock::lock;
use crate::supervisor::system_command;
use crate::trace::{self, Open};
use edge::Edge;

/// Limits of the way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExperimentOptions {
    /// Requests waiting for the actor; further ones are turned away.
    pub mailbox_max: usize,
    /// How long a caller waits for the log before it is told that the outcome is not known.
    pub reply_wait_max: Duration,
    /// How long a cheap run may compute on the caller's thread before it takes the long way.
    pub cheap_budget: Duration,
    /// Uploads and large payloads written at the same time.
    pub blob_writers_max: usize,
    /// Watches of runs at the same time.
    pub watches_max: usize,
    /// Long runs that wait for a thread; further ones are turned away before they are recorded.
    pub heavy_runs_max: usize,
    /// What a caller that is turned away is told to wait.
    pub retry_after: Duration,
}

impl Default for ExperimentOptions {
    fn default() -> Self {
        Self {
            mailbox_max: 4_096,
            reply_wait_max: Duration::from_secs(10),
            cheap_budget: Duration::from_millis(20),
            blob_writers_max: 4,
            watches_max: 4_096,
            heavy_runs_max: 512,
            retry_after: Duration::from_secs(1),
        }
    }
}

/// One submission on its way, and where its answer goes.
pub(crate) struct Entry {
    pub(crate) submission: Submission,
    pub(crate) answer: oneshot::Sender<Result<Receipt, SubmitFailure>>,
}

pub(crate) enum Request {
    Submit(Box<Entry>),
}

/// The actor's body.
pub(crate) struct Experiment {
    log: Log,
    edge: Arc<Edge>,
    environment: Environment,
    retry_after: Duration,
    /// A disk sample is with the log; the next waits for its decision.
    sampling: Arc<AtomicBool>,
    /// What waits for room on the disk, as it was told last.
    wants_room: Option<&'static str>,
}

impl Experiment {
    pub(crate) fn new(
        log: Log,
        edge: Arc<Edge>,
        environment: Environment,
        options: &ExperimentOptions,
    ) -> Self {
        let sampling = Arc::default();
        Self {
            log,
            edge,
            environment,
            retry_after: options.retry_after,
            sampling,
            wants_room: None,
        }
    }

    fn submit(&self, entry: Entry) {
        let Entry { submission, answer } = entry;
        let mut span = trace::span("log.commit");
        if let Some(span) = &mut span {
            span.set("commands", submission.commands.len() as u64);
        }
        // The log keeps the reply when it takes the submission, and drops it otherwise.
        let answer = Arc::new(Mutex::new(Some(answer)));
        let kept = Arc::clone(&answer);
        let reply = Box::new(move |result: Result<Receipt, CommitError>| {
            if let Some(span) = &mut span {
                committed(span, &result);
            }
            drop(span);
            answer_once(&kept, result.map_err(SubmitFailure::from));
        });
        match self.log.submit(submission, reply) {
            Ok(()) => {}
            Err(SubmitError::Full { .. }) => {
                self.edge.count_overloaded();
                let failure = SubmitFailure::Busy {
                    retry_after: self.retry_after,
                    what: "the queue of the log",
                };
                answer_once(&answer, Err(failure));
            }
            Err(SubmitError::Closed) => {
                let failure = SubmitFailure::Unavailable("the log is closed".to_owned());
                answer_once(&answer, Err(failure));
            }
        }
    }

    /// Whatever the log does not take is counted on.
    fn report_shed(&self) {
        let shed = self.edge.take();
        if shed == edge::NOTHING {
            return;
        }
        let edge = Arc::clone(&self.edge);
        let counts = shed.clone();
        let reply = Box::new(move |result: Result<Receipt, CommitError>| {
            if result.is_err() {
                edge.give_back(&counts);
            }
        });
        let id = (self.environment.event_id)();
        let command = system_command(id, Event::RequestsShed(shed.clone()));
        if self.log.submit(command.into(), reply).is_err() {
            self.edge.give_back(&shed);
        }
    }

    /// A full disk is told when it begins and when it ends.
    fn tell_of_room(&mut self) {
        if let Some((count, why)) = self.edge.take_unstored() {
            tracing::error!(count, why, "payloads could not be stored");
        }
        let wants = self.log.wants_room();
        match (std::mem::replace(&mut self.wants_room, wants), wants) {
            (None, Some(what)) => tracing::error!("the disk is full: {what}"),
            (Some(_), None) => tracing::info!("there is room on the disk again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Free space is an event when it would change what is admitted.
    fn sample_disk(&self) {
        let Some(free_bytes) = (self.environment.free_bytes)() else {
            return;
        };
        let sample = Event::DiskSampled(DiskSampled { free_bytes });
        let matters = self.log.state(|state| {
            let reserve = state.settings().disk_reserve_bytes;
            if state.intake_paused() {
                free_bytes >= reserve.saturating_add(reserve / 4)
            } else {
                free_bytes < reserve
            }
        });
        if !matters || self.sampling.swap(true, Ordering::AcqRel) {
            return;
        }
        let sampling = Arc::clone(&self.sampling);
        let reply = Box::new(move |_: Result<Receipt, CommitError>| {
            sampling.store(false, Ordering::Release);
        });
        let command = system_command((self.environment.event_id)(), sample);
        if self.log.submit(command.into(), reply).is_err() {
            self.sampling.store(false, Ordering::Release);
        }
    }
}

/// What came of a submission, for its span and the log lines of its trace.
fn committed(span: &mut Open, result: &Result<Receipt, CommitError>) {
    match result {
        Ok(receipt) => {
            span.set("seq", receipt.first.0);
            span.set("decided", receipt.decided.len() as u64);
            let place = span.place().clone();
            place.enter(|| tracing::debug!(seq = receipt.first.0, "recorded"));
        }
        Err(error) => span.fail(error.to_string()),
    }
}

type Answer = Mutex<Option<oneshot::Sender<Result<Receipt, SubmitFailure>>>>;

fn answer_once(answer: &Answer, result: Result<Receipt, SubmitFailure>) {
    if let Some(answer) = lock(answer).take() {
        // The caller may have gone.
        let _ = answer.send(result);
    }
}

impl From<CommitError> for SubmitFailure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoRoom(_) | CommitError::ReadOnly(_) | CommitError::Closed => {
                Self::Unavailable(error.to_string())
            }
            CommitError::VersionConflict { .. }
            | CommitError::Panicked(_)
            | CommitError::TooLarge { .. } => Self::Log(error),
        }
    }
}

impl Component for Experiment {
    type Message = Request;
    const NAME: &'static str = "experiment";
    const KINDS: &'static [&'static str] = &["submit"];
    const TICK: Duration = Duration::from_secs(1);

    fn kind(message: &Request) -> usize {
        match message {
            Request::Submit(_) => 0,
        }
    }

    fn started(&mut self) {
        self.sample_disk();
    }

    fn handle(&mut self, message: Request) {
        match message {
            Request::Submit(entry) => self.submit(*entry),
        }
    }

    fn tick(&mut self) {
        self.report_shed();
        self.sample_disk();
        self.tell_of_room();
    }
}

/// Counts of what was turned away, as an event.
pub(crate) type Shed = RequestsShed;
