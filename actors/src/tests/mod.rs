//! The actors over a real log in a temporary directory, with faults put in where they hurt.

mod answers;
mod breakers;
mod caching;
mod edge;
mod injection;
mod recompute;
mod recovery;
mod results;
mod runs;
mod scrub;
mod sealed;
mod supervision;
mod support;
mod throughput;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hindcast_causal::{Control, LabError};
use serde::{Deserialize, Serialize};

use crate::lock::lock;
use crate::operation::{Computed, computed};

/// What strikes an actor in the middle of a message.
pub(crate) enum Fault {
    Panic,
    /// The thread stands still until the gate opens.
    Stall(Arc<Gate>),
}

impl Fault {
    pub(crate) fn strike(self) {
        match self {
            Self::Panic => panic!("struck"),
            Self::Stall(gate) => gate.pass(),
        }
    }
}

/// Holds threads up until it is opened.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *lock(&self.open) = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut open = lock(&self.open);
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }
}

/// An operation that does what a test needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    pub(crate) what: What,
    pub(crate) cheap: bool,
    /// Bytes of the spec beyond the rest.
    pub(crate) padding: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// The breaker that it goes by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) breaker: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Answer,
    LargeAnswer,
    Panic,
    /// Computes until it is told to stop.
    Wait,
    Internal,
}

#[derive(Serialize)]
struct Answer {
    seed: u64,
    text: String,
}

impl FaultRequest {
    pub(crate) fn new(what: What) -> Self {
        Self {
            what,
            cheap: false,
            padding: String::new(),
            seed: None,
            breaker: String::new(),
        }
    }

    pub(crate) fn execute(&self, seed: u64, control: &dyn Control) -> Result<Computed, LabError> {
        match self.what {
            What::Answer => computed(
                &Answer {
                    seed,
                    text: "answer".to_owned(),
                },
                "fault/1".to_owned(),
            ),
            What::LargeAnswer => computed(
                &Answer {
                    seed,
                    text: "x".repeat(100_000),
                },
                "fault/1".to_owned(),
            ),
            What::Panic => panic!("the lab is broken"),
            What::Internal => Err(LabError::Internal("it does not add up".to_owned())),
            What::Wait => {
                let mut done = 0;
                loop {
                    control.check()?;
                    done += 1;
                    control.progress("waiting", done, 0);
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        }
    }
}
