//! What is done when more comes than can be done: doors with a bounded line before them, one for
//! each kind of work, so that none of them can take what the others need.
//!
//! Health, reads and operator routes go through no door.

mod adaptive;
mod line;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Gauge, Unit};
use tokio::sync::oneshot;

use adaptive::Adaptive;
use line::{Joined, Line};

use crate::access::Denied;
use crate::clock;

/// One kind of work: how much of it is done at once, and who waits for it.
pub struct Gate {
    name: &'static str,
    inner: Mutex<Inner>,
    wait_max: Duration,
    limit: Gauge,
    in_flight: Gauge,
    waiting: Gauge,
}

/// The bounds of a gate.
#[derive(Debug, Clone, Copy)]
pub struct GateOptions {
    pub concurrency_min: usize,
    pub concurrency_max: usize,
    pub waiting_max: usize,
    pub wait_max: Duration,
    pub retry_percent_max: u64,
}

struct Inner {
    adaptive: Adaptive,
    in_flight: usize,
    /// Who waits is told when its turn came.
    line: Line<oneshot::Sender<()>>,
}

impl Inner {
    /// How many are worked on at once: as many as the bound lets while nobody is turned away.
    fn limit(&self, now: u64) -> usize {
        match self.line.is_shedding(now) {
            true => self.adaptive.limit(),
            false => self.adaptive.most(),
        }
    }
}

/// The right to be worked on, until it is dropped.
pub struct Permit {
    gate: Arc<Gate>,
    /// When its holder came to the gate.
    since: u64,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Others came after it, and there was no room for all.
    NoRoom,
    /// It waited as long as it may.
    WaitedTooLong,
    /// It was sent again, as were too many.
    TooManyRetries,
}

impl Shed {
    /// The label in `overload_shed_total`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoRoom => "no_room",
            Self::WaitedTooLong => "waited_too_long",
            Self::TooManyRetries => "too_many_retries",
        }
    }
}

impl Gate {
    #[must_use]
    pub fn new(name: &'static str, options: &GateOptions) -> Arc<Self> {
        let gauge = |of: &'static str| metrics::gauge!(of, "lane" => name);
        // There with zero from the start, so that the first one is seen as a rise.
        for shed in [Shed::NoRoom, Shed::WaitedTooLong, Shed::TooManyRetries] {
            let labels = [("lane", name), ("reason", shed.word())];
            metrics::counter!("overload_shed_total", &labels).increment(0);
        }
        let adaptive = Adaptive::new(options.concurrency_min, options.concurrency_max);
        let limit = gauge("overload_concurrency_limit");
        limit.set(adaptive.most() as f64);
        Arc::new(Self {
            name,
            inner: Mutex::new(Inner {
                adaptive,
                in_flight: 0,
                line: Line::new(options.waiting_max, options.retry_percent_max),
            }),
            wait_max: options.wait_max,
            limit,
            in_flight: gauge("overload_in_flight"),
            waiting: gauge("overload_waiting"),
        })
    }

    /// Whether somebody was turned away within the last second.
    #[must_use]
    pub fn is_shedding(&self) -> bool {
        self.lock().line.is_shedding(clock::monotonic_micros())
    }

    /// Waits for the turn, at most `patience` and at most as long as the gate lets wait.
    pub async fn enter(
        self: &Arc<Self>,
        is_retry: bool,
        patience: Option<Duration>,
    ) -> Result<Permit, Shed> {
        let entered = self.try_enter(is_retry);
        let entered = match entered {
            Ok(Entry::Permit(permit)) => return Ok(permit),
            Ok(Entry::Turn { turn, since }) => self.wait((turn, since), patience).await,
            Err(shed) => Err(shed),
        };
        entered.inspect_err(|shed| {
            let labels = [("lane", self.name), ("reason", shed.word())];
            metrics::counter!("overload_shed_total", &labels).increment(1);
        })
    }

    fn try_enter(self: &Arc<Self>, is_retry: bool) -> Result<Entry, Shed> {
        let now = clock::monotonic_micros();
        let mut inner = self.lock();
        if inner.line.len() == 0 && inner.in_flight < inner.limit(now) {
            if !inner.line.fits(now, is_retry) {
                return Err(Shed::TooManyRetries);
            }
            inner.line.take(is_retry);
            inner.in_flight += 1;
            drop(inner);
            return Ok(Entry::Permit(self.permit(now)));
        }
        let (wake, turn) = oneshot::channel();
        match inner
            .line
            .join(wake, (now, is_retry), oneshot::Sender::is_closed)
        {
            Joined::NoRetry(_) => Err(Shed::TooManyRetries),
            // Dropping what it waits for tells it.
            Joined::Evicted(_) | Joined::Waits => Ok(Entry::Turn { turn, since: now }),
        }
    }

    async fn wait(
        self: &Arc<Self>,
        (turn, since): (oneshot::Receiver<()>, u64),
        patience: Option<Duration>,
    ) -> Result<Permit, Shed> {
        let wait_max = patience.map_or(self.wait_max, |patience| patience.min(self.wait_max));
        let mut turn = Turn {
            turn,
            gate: Arc::clone(self),
        };
        let waited = tokio::time::timeout(wait_max, &mut turn.turn).await;
        match waited {
            Ok(Ok(())) => Ok(self.permit(since)),
            Ok(Err(_)) => Err(Shed::NoRoom),
            // Its turn may come at this very moment: then dropping it passes it on.
            Err(_) => Err(Shed::WaitedTooLong),
        }
    }

    fn permit(self: &Arc<Self>, since: u64) -> Permit {
        Permit {
            gate: Arc::clone(self),
            since,
        }
    }

    /// Somebody is done; whose turn it is may begin.
    fn leave(&self, since: Option<u64>) {
        let now = clock::monotonic_micros();
        let mut inner = self.lock();
        if let Some(since) = since {
            let in_flight = inner.in_flight;
            inner
                .adaptive
                .sample(now, now.saturating_sub(since), in_flight);
        }
        inner.in_flight -= 1;
        let patience = inner.adaptive.patience_micros();
        while inner.in_flight < inner.limit(now) {
            let Some(next) = inner.line.next(now, patience) else {
                break;
            };
            // Who does not wait any more is passed over.
            if next.send(()).is_ok() {
                inner.in_flight += 1;
            }
        }
    }

    /// Shows what the gate is at.
    pub fn show(&self) {
        let inner = self.lock();
        self.limit
            .set(inner.limit(clock::monotonic_micros()) as f64);
        self.in_flight.set(inner.in_flight as f64);
        self.waiting.set(inner.line.len() as f64);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entry {
    Permit(Permit),
    Turn {
        turn: oneshot::Receiver<()>,
        since: u64,
    },
}

/// A turn that is waited for. One that came and is not taken is given back.
struct Turn {
    turn: oneshot::Receiver<()>,
    gate: Arc<Gate>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turn.close();
        if self.turn.try_recv().is_ok() {
            self.gate.leave(None);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave(Some(self.since));
    }
}

/// Tells the recorder what the metrics of access and overload mean.
pub fn describe() {
    use metrics::{describe_counter, describe_gauge};
    describe_counter!(
        "auth_failures_total",
        "Requests that did not prove who sent them, or that their sender may not make, by reason"
    );
    // There from the start, so that the first one is seen as a rise.
    for reason in Denied::ALL.map(Denied::word).into_iter().chain(["role"]) {
        metrics::counter!("auth_failures_total", "reason" => reason).increment(0);
    }
    describe_gauge!(
        "tls_certificate_expiry_timestamp_seconds",
        Unit::Seconds,
        "When the certificate that is shown ends"
    );
    describe_gauge!(
        "overload_concurrency_limit",
        "Requests of the lane that may be worked on at once"
    );
    describe_gauge!(
        "overload_in_flight",
        "Requests of the lane that are worked on"
    );
    describe_gauge!("overload_waiting", "Requests of the lane that wait for it");
    describe_counter!(
        "overload_shed_total",
        "Requests of the lane that were turned away, by reason"
    );
    describe_counter!(
        "overload_held_total",
        "Requests that came before the time they were told, and were held until then"
    );
    describe_counter!(
        "rate_limited_total",
        "Requests turned away because their principal sent too many"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(concurrency: usize, waiting_max: usize) -> Arc<Gate> {
        let options = GateOptions {
            concurrency_min: concurrency,
            concurrency_max: concurrency,
            waiting_max,
            wait_max: Duration::from_secs(60),
            retry_percent_max: 20,
        };
        Gate::new("test", &options)
    }

    #[actix_web::test]
    async fn who_waits_is_let_in_when_another_leaves() {
        let gate = gate(1, 4);
        let first = gate.enter(false, None).await.expect("free");
        let waiting = actix_web::rt::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(false, None).await.is_ok() }
        });
        let short = gate.enter(false, Some(Duration::from_millis(1))).await;
        assert_eq!(short.err(), Some(Shed::WaitedTooLong));
        drop(first);
        assert!(waiting.await.expect("it ends"));
        assert!(gate.enter(false, None).await.is_ok(), "nothing is lost");
        assert_eq!(gate.lock().in_flight, 0);
    }

    #[actix_web::test]
    async fn a_turn_that_nobody_takes_is_passed_on() {
        let gate = gate(1, 4);
        let first = gate.enter(false, None).await.expect("free");
        let Ok(Entry::Turn { turn, .. }) = gate.try_enter(false) else {
            panic!("it has to wait");
        };
        let turn = Turn {
            turn,
            gate: Arc::clone(&gate),
        };
        drop(first);
        assert_eq!(gate.lock().in_flight, 1, "it is its turn");
        drop(turn);
        assert_eq!(gate.lock().in_flight, 0);
    }

    #[actix_web::test]
    async fn over_the_bound_who_came_first_is_told() {
        let gate = gate(1, 1);
        let _first = gate.enter(false, None).await.expect("free");
        let second = actix_web::rt::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(false, None).await.err() }
        });
        while gate.lock().line.len() == 0 {
            tokio::task::yield_now().await;
        }
        let third = gate.enter(false, Some(Duration::from_millis(1))).await;
        assert_eq!(third.err(), Some(Shed::WaitedTooLong));
        assert_eq!(second.await.expect("it ends"), Some(Shed::NoRoom));
    }
}
