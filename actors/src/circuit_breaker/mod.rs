//! The circuit breaker actor: shows callers and metrics what the breakers of the state say.
//!
//! Whether a run is let through is decided by the core, and time moves a breaker by the log's own
//! timer. What is here is derived: a gate for each breaker, by which a caller is turned away before
//! it costs anything, and the figures. A gate follows what is durable, so that it may let a call
//! pass that is then refused; it never refuses one for longer than its breaker does.

mod dependency;
mod figures;
mod gate;
mod gates;
pub mod services;
pub mod simulate;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use hindcast_log::Log;

use crate::component::Component;
pub use dependency::{CallEnd, DependencyBreaker};
use figures::Figures;
pub(crate) use gate::{Refused, Ticket};
pub(crate) use gates::{Gates, Guarded};

/// Messages waiting for the actor; what a further one would tell is seen at the next tick.
pub(crate) const MAILBOX_MAX: usize = 64;

pub(crate) enum Request {
    /// A breaker changed, or all of them were configured.
    Changed,
}

/// The actor's body.
pub(crate) struct CircuitBreaker {
    log: Log,
    gates: Arc<Gates>,
    figures: Figures,
}

impl CircuitBreaker {
    pub(crate) fn new(log: Log, gates: Arc<Gates>) -> Self {
        Self {
            log,
            gates,
            figures: Figures::default(),
        }
    }

    fn show(&mut self) {
        let now = self.gates.now();
        let (figures, gates) = (&mut self.figures, &self.gates);
        gates.refresh();
        self.log
            .state(|state| figures.show(state.breakers(), now, gates));
    }
}

impl Component for CircuitBreaker {
    type Message = Request;
    const NAME: &'static str = "circuit_breaker";
    const KINDS: &'static [&'static str] = &["changed"];
    const TICK: Duration = Duration::from_secs(1);

    fn kind(message: &Request) -> usize {
        match message {
            Request::Changed => 0,
        }
    }

    fn started(&mut self) {
        self.show();
    }

    fn handle(&mut self, message: Request) {
        match message {
            Request::Changed => self.show(),
        }
    }

    fn tick(&mut self) {
        self.show();
    }
}
