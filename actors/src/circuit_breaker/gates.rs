//! All gates, by the name of their breaker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use hindcast_log::{Batch, Clock, Log};
use hindcast_model::breaker::{Breaker, BreakerState};
use hindcast_model::event::Event;
use hindcast_model::{State, UnixMicros};

use super::gate::{Gate, Signal};
use crate::lock::{read, write};

/// A breaker as the door of requests sees it.
#[derive(Clone)]
pub(crate) struct Guarded {
    pub(crate) gate: Arc<Gate>,
    /// Something can be answered in place of its service.
    pub(crate) has_fallback: bool,
    /// As it was published last.
    pub(crate) state: BreakerState,
}

/// See the module.
pub(crate) struct Gates {
    by_name: RwLock<BTreeMap<String, Guarded>>,
    /// Permits come and go without the breaker changing.
    half_open: AtomicBool,
    log: Log,
    clock: Arc<dyn Clock>,
}

impl Gates {
    pub(crate) fn new(log: Log, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            log,
            by_name: RwLock::default(),
            half_open: AtomicBool::new(false),
            clock,
        })
    }

    pub(crate) fn now(&self) -> UnixMicros {
        self.clock.wall()
    }

    /// The gate of this breaker; none when there is no such breaker.
    pub(crate) fn get(&self, name: &str) -> Option<Guarded> {
        read(&self.by_name).get(name).cloned()
    }

    /// Whether what became durable may have moved a gate.
    pub(crate) fn concerns(&self, batch: &Batch) -> bool {
        let moves = |event: &Event| {
            matches!(
                event,
                Event::BreakerChanged(_) | Event::ConfigurationLoaded(_)
            )
        };
        self.half_open.load(Ordering::Acquire)
            || batch
                .events
                .iter()
                .any(|recorded| recorded.event().is_some_and(moves))
    }

    /// Shows what the breakers of the durable state say.
    pub(crate) fn refresh(&self) {
        self.log.state(|state| self.publish(state));
    }

    fn publish(&self, state: &State) {
        let now = self.now();
        let mut half_open = false;
        let mut shown = BTreeMap::new();
        for (name, breaker) in state.breakers().all() {
            let known = self.get(name).map(|guarded| guarded.gate);
            let gate = known.unwrap_or_default();
            gate.publish(state.seq().0, signal(breaker, now));
            half_open |= breaker.state() == BreakerState::HalfOpen;
            let guarded = Guarded {
                gate,
                has_fallback: !breaker.fallbacks().is_empty(),
                state: breaker.state(),
            };
            shown.insert(name.to_owned(), guarded);
        }
        self.half_open.store(half_open, Ordering::Release);
        *write(&self.by_name) = shown;
    }
}

fn signal(breaker: &Breaker, now: UnixMicros) -> Signal {
    match breaker.state() {
        BreakerState::Closed | BreakerState::Disabled | BreakerState::MetricsOnly => Signal::Pass,
        BreakerState::HalfOpen => Signal::Probe(breaker.permits_free(now)),
        BreakerState::Open | BreakerState::ForcedOpen => {
            Signal::RefuseUntil(breaker.due().map(|until| until.0))
        }
    }
}
