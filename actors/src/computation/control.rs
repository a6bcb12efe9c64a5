//! The reins of one running computation: stopped from outside, watched from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hindcast_causal::{Control, Stop};
use hindcast_log::Clock;
use hindcast_model::UnixMicros;

use crate::lock::lock;

/// How far a computation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    pub stage: &'static str,
    pub done: u64,
    /// 0 when it is not known.
    pub total: u64,
    #[serde(serialize_with = "as_text")]
    pub started_at: UnixMicros,
}

fn as_text<S: serde::Serializer>(at: &UnixMicros, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&crate::views::rfc3339(*at))
}

/// What the computing thread looks at and others reach for.
pub(crate) struct JobControl {
    clock: Arc<dyn Clock>,
    deadline: Option<UnixMicros>,
    stopped: AtomicBool,
    started_at: AtomicU64,
    progress: Mutex<(&'static str, u64, u64)>,
}

impl JobControl {
    pub(crate) fn new(clock: Arc<dyn Clock>, deadline: Option<UnixMicros>) -> Self {
        Self {
            clock,
            deadline,
            stopped: AtomicBool::new(false),
            started_at: AtomicU64::new(0),
            progress: Mutex::new(("starting", 0, 0)),
        }
    }

    /// The run has ended without its result: the computation is of no use any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn start(&self) {
        self.started_at
            .store(self.clock.wall().0.max(1), Ordering::Release);
    }

    /// `None` before the start.
    pub(crate) fn seen(&self) -> Option<Progress> {
        let started_at = UnixMicros(self.started_at.load(Ordering::Acquire));
        let (stage, done, total) = *lock(&self.progress);
        (started_at.0 > 0).then_some(Progress {
            stage,
            done,
            total,
            started_at,
        })
    }
}

impl Control for JobControl {
    fn check(&self) -> Result<(), Stop> {
        if self.is_stopped() {
            return Err(Stop::Cancelled);
        }
        match self.deadline {
            Some(deadline) if self.clock.wall() >= deadline => Err(Stop::DeadlineExceeded),
            Some(_) | None => Ok(()),
        }
    }

    fn progress(&self, stage: &'static str, done: u64, total: u64) {
        *lock(&self.progress) = (stage, done, total);
    }
}
