//! Restarts on their way into the log, with the evidence that was taken first.

use std::sync::{Arc, Mutex};

use hindcast_log::{CommitError, Log, SubmitError};
use hindcast_model::event::{ActorRestarted, Event};
use hindcast_model::limits::EVIDENCE_BYTES_MAX;

use crate::Environment;
use crate::lock::lock;
use crate::panics::Traced;
use crate::supervisor::system_command;

/// Restarts kept while the log takes none; the oldest goes first, and is told.
const KEPT_MAX: usize = 256;

/// A restart, and the calls that led to the panic behind it.
pub(crate) struct Restart {
    pub(crate) event: ActorRestarted,
    pub(crate) traced: Option<Traced>,
    /// Where the evidence is shown from then on.
    pub(crate) shown: Arc<Mutex<Arc<str>>>,
}

/// What the log was not told yet.
pub(crate) struct Restarts {
    log: Log,
    environment: Environment,
    waiting: Mutex<Vec<Restart>>,
}

impl Restarts {
    pub(crate) fn new(log: Log, environment: Environment) -> Arc<Self> {
        Arc::new(Self {
            log,
            environment,
            waiting: Mutex::default(),
        })
    }

    pub(crate) fn push(&self, restart: Restart) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= KEPT_MAX {
            let lost = waiting.remove(0).event;
            tracing::error!(
                actor = lost.actor,
                reason = lost.reason,
                "restart is not recorded"
            );
        }
        waiting.push(restart);
    }

    /// Hands them to the log; what it has no room for is offered again the next time. Looking up
    /// the names of calls reads the whole binary, so that is done on a thread of its own.
    pub(crate) fn record(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        if waiting.iter().all(|restart| restart.traced.is_none()) {
            waiting.into_iter().for_each(|restart| self.submit(restart));
            return;
        }
        let this = Arc::clone(self);
        let recording = std::thread::Builder::new()
            .name("restart-record".to_owned())
            .spawn(move || {
                for mut restart in waiting {
                    restart.look_up();
                    this.submit(restart);
                }
            });
        if let Err(error) = recording {
            tracing::error!(%error, "no thread: restarts are not recorded");
        }
    }

    fn submit(self: &Arc<Self>, restart: Restart) {
        let event = restart.event.clone();
        let again = event.actor.clone();
        let id = (self.environment.event_id)();
        let command = system_command(id, Event::ActorRestarted(event));
        let reply = Box::new(move |result: Result<_, CommitError>| {
            if let Err(error) = result {
                tracing::error!(actor = again, %error, "restart is not recorded");
            }
        });
        match self.log.submit(command.into(), reply) {
            Ok(()) => {}
            Err(SubmitError::Full { .. }) => self.push(restart),
            Err(SubmitError::Closed) => {
                tracing::warn!(actor = restart.event.actor, "the log is closed");
            }
        }
    }
}

/// At most as much as is recorded.
pub(crate) fn cut(mut evidence: String) -> String {
    let mut end = evidence.len().min(EVIDENCE_BYTES_MAX);
    while !evidence.is_char_boundary(end) {
        end -= 1;
    }
    evidence.truncate(end);
    evidence
}

impl Restart {
    fn look_up(&mut self) {
        if let Some(traced) = self.traced.take() {
            let calls = cut(traced.calls.to_string());
            tracing::error!(actor = self.event.actor, at = traced.at, calls, "panicked");
            *lock(&self.shown) = calls.as_str().into();
            self.event.evidence = calls;
        }
    }
}
