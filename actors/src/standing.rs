//! How every actor stands, as the supervisor thread leaves it for whoever asks.

use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::{oneshot, watch};

use crate::Environment;
use crate::component::{Notice, Vitals};
use crate::lock::lock;

/// Where an actor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Built, and no heartbeat has come back yet.
    Starting,
    Running,
    /// Waits for its next incarnation.
    Restarting,
    /// The restart budget is spent; it is tried again, rarely.
    Failed,
    Stopped,
}

impl Phase {
    /// As health reports write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// One actor, as health reports show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorStatus {
    pub name: &'static str,
    pub phase: Phase,
    /// In this process.
    pub restarts: u32,
    pub last_reason: Option<String>,
    /// Of the last restart: the calls that led to the panic, or what every thread did during the
    /// silence.
    pub last_evidence: Arc<str>,
    /// The kind of message that it is handling, and for how long.
    pub handling: Option<(&'static str, u64)>,
    pub heartbeat_age_micros: u64,
    pub mailbox_depth: usize,
    pub mailbox_max: usize,
}

/// Where the supervisor thread leaves what it knows.
#[derive(Clone)]
pub struct SupervisionHandle {
    pub(crate) actors: Arc<Vec<Known>>,
    pub(crate) environment: Environment,
    pub(crate) notices: mpsc::Sender<Notice>,
    pub(crate) given_up: watch::Receiver<Option<String>>,
}

impl SupervisionHandle {
    /// Waits until the restart budget of an actor is spent, and says whose and why.
    pub async fn given_up(&self) -> String {
        let mut given_up = self.given_up.clone();
        match given_up.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The supervisor has ended in good order.
            Err(_) => std::future::pending().await,
        }
    }

    /// Every actor, in the order of their start.
    #[must_use]
    pub fn statuses(&self) -> Vec<ActorStatus> {
        let now = self.environment.clock.monotonic();
        let status = |(vitals, record): &Known| {
            let record = lock(record);
            ActorStatus {
                name: vitals.name,
                phase: record.phase,
                restarts: record.restarts,
                last_reason: record.last_reason.clone(),
                last_evidence: Arc::clone(&lock(&record.evidence)),
                handling: vitals.handling(now),
                heartbeat_age_micros: vitals.beat_age_micros(now),
                mailbox_depth: vitals.depth(),
                mailbox_max: vitals.mailbox_max,
            }
        };
        self.actors.iter().map(status).collect()
    }

    /// Whether every actor lives and beats.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.statuses().iter().all(|status| match status.phase {
            Phase::Starting | Phase::Running => true,
            Phase::Restarting | Phase::Failed | Phase::Stopped => false,
        })
    }

    /// Ends every actor in good order, last started first, and the thread.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.notices.send(Notice::Stop { done }).is_ok() && stopped.await.is_err() {
            tracing::error!("the supervisor thread ended without a word");
        }
    }

    /// The same without waiting.
    pub(crate) fn close(&self) {
        let (done, _) = oneshot::channel();
        // After `stop` the thread has gone.
        let _ = self.notices.send(Notice::Stop { done });
    }

    #[cfg(test)]
    pub(crate) fn vitals(&self, name: &str) -> Arc<Vitals> {
        let found = self.actors.iter().find(|(vitals, _)| vitals.name == name);
        Arc::clone(&found.expect("an actor of this name").0)
    }
}

pub(crate) type Known = (Arc<Vitals>, Arc<Mutex<Record>>);

/// What the supervisor thread tells of an actor.
pub(crate) struct Record {
    pub(crate) phase: Phase,
    pub(crate) restarts: u32,
    pub(crate) last_reason: Option<String>,
    pub(crate) evidence: Arc<Mutex<Arc<str>>>,
}
