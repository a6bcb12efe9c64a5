//! The frame that every actor runs in: a bounded mailbox, a panic guard, a heartbeat, timings.
//!
//! A [`Component`] is the body of an actor: plain data and a handler. [`Shell`] is the actix actor
//! around it. A panic in the body is caught before it unwinds through actix (which would poll the
//! half-changed actor once more while dropping it), the body is dropped and the supervisor told.
//! A [`Slot`] is where handles find the living actor of a name, whichever that is.

use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, mpsc};
use std::time::Duration;

use actix::prelude::SendError;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use actix_rt::ArbiterHandle;
use hindcast_log::Clock;
use metrics::Histogram;

use crate::lock::{read, write};
use crate::panics::{self, Traced};
use crate::trace::{self, Open, Place};

/// The body of an actor.
pub(crate) trait Component: Sized + Unpin + 'static {
    type Message: Send + 'static;
    /// The actor's name in metrics, events and health.
    const NAME: &'static str;
    /// Names of the kinds of message; `kind` points into them.
    const KINDS: &'static [&'static str];
    /// How often `tick` is called.
    const TICK: Duration;

    fn kind(message: &Self::Message) -> usize;

    /// Before the first message.
    fn started(&mut self);

    fn handle(&mut self, message: Self::Message);

    fn tick(&mut self);
}

/// What the supervisor thread is told.
pub(crate) enum Notice {
    Died {
        actor: usize,
        generation: u64,
        death: Death,
    },
    Stop {
        done: tokio::sync::oneshot::Sender<()>,
    },
}

/// Why an incarnation has ended.
pub(crate) struct Death {
    pub(crate) reason: String,
    pub(crate) traced: Option<Traced>,
}

/// What is known of an actor from outside, whichever incarnation lives.
pub(crate) struct Vitals {
    pub(crate) index: usize,
    pub(crate) name: &'static str,
    pub(crate) mailbox_max: usize,
    pub(crate) clock: Arc<dyn Clock>,
    notices: mpsc::Sender<Notice>,
    generation: AtomicU64,
    depth: AtomicUsize,
    beat_at: AtomicU64,
    beat_sent: AtomicBool,
    beats: AtomicU64,
    kinds: &'static [&'static str],
    /// What it is handling: one more than a place in `kinds`, and behind them the tick; 0 is
    /// nothing.
    handling: AtomicUsize,
    handling_since: AtomicU64,
    durations: Vec<Histogram>,
    tick_duration: Histogram,
    #[cfg(test)]
    pub(crate) faults: std::sync::Mutex<Vec<(&'static str, crate::tests::Fault)>>,
}

impl Vitals {
    pub(crate) fn new<C: Component>(
        index: usize,
        mailbox_max: usize,
        clock: Arc<dyn Clock>,
        notices: mpsc::Sender<Notice>,
    ) -> Arc<Self> {
        let duration = |kind: &'static str| {
            metrics::histogram!("actor_message_duration_seconds",
                "actor" => C::NAME, "message" => kind)
        };
        Arc::new(Self {
            index,
            name: C::NAME,
            mailbox_max,
            clock,
            notices,
            generation: AtomicU64::new(0),
            depth: AtomicUsize::new(0),
            beat_at: AtomicU64::new(0),
            beat_sent: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            kinds: C::KINDS,
            handling: AtomicUsize::new(0),
            handling_since: AtomicU64::new(0),
            durations: C::KINDS.iter().map(|kind| duration(kind)).collect(),
            tick_duration: duration("tick"),
            #[cfg(test)]
            faults: std::sync::Mutex::default(),
        })
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Messages sent and not handled yet.
    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Beats answered by the living incarnation.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Acquire)
    }

    pub(crate) fn beat_age_micros(&self, now: u64) -> u64 {
        now.saturating_sub(self.beat_at.load(Ordering::Acquire))
    }

    /// The kind of message that the actor is in, and for how long in microseconds.
    pub(crate) fn handling(&self, now: u64) -> Option<(&'static str, u64)> {
        let place = self.handling.load(Ordering::Acquire).checked_sub(1)?;
        let since = self.handling_since.load(Ordering::Relaxed);
        let kind = self.kinds.get(place).copied().unwrap_or("tick");
        Some((kind, now.saturating_sub(since)))
    }

    fn enter(&self, place: usize, now: u64) {
        self.handling_since.store(now, Ordering::Relaxed);
        self.handling.store(place + 1, Ordering::Release);
    }

    fn leave(&self) {
        self.handling.store(0, Ordering::Release);
    }

    /// Starts the age anew, when nobody could have beaten in the meantime.
    pub(crate) fn forgive(&self, now: u64) {
        self.beat_at.store(now, Ordering::Release);
    }

    fn report(&self, generation: u64, death: Death) {
        let notice = Notice::Died {
            actor: self.index,
            generation,
            death,
        };
        if self.notices.send(notice).is_err() {
            tracing::debug!(actor = self.name, "died after supervision ended");
        }
    }

    #[cfg(test)]
    fn strike(&self, kind: &str) {
        let fault = {
            let mut faults = crate::lock::lock(&self.faults);
            let found = faults.iter().position(|(wanted, _)| *wanted == kind);
            found.map(|i| faults.remove(i).1)
        };
        if let Some(fault) = fault {
            fault.strike();
        }
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    Full,
    Restarting,
}

/// Where the living actor of a name is found.
pub(crate) struct Slot<C: Component> {
    address: RwLock<Option<Addr<Shell<C>>>>,
    pub(crate) vitals: Arc<Vitals>,
}

impl<C: Component> Slot<C> {
    pub(crate) fn new(vitals: Arc<Vitals>) -> Arc<Self> {
        Arc::new(Self {
            address: RwLock::new(None),
            vitals,
        })
    }

    /// Hands a message to the living actor, without waiting.
    pub(crate) fn send(&self, message: C::Message) -> Result<(), Rejected> {
        let address = read(&self.address);
        let Some(address) = &*address else {
            return Err(Rejected::Restarting);
        };
        if self.vitals.depth.fetch_add(1, Ordering::Relaxed) >= self.vitals.mailbox_max {
            self.vitals.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(Rejected::Full);
        }
        let letter = Letter {
            message,
            place: trace::current(),
            _waiting: Waiting(Arc::clone(&self.vitals)),
        };
        match address.try_send(letter) {
            Ok(()) => Ok(()),
            // The limit is the one above. A mailbox has actix' own small one until its arbiter has
            // built the actor.
            Err(SendError::Full(letter)) => {
                address.do_send(letter);
                Ok(())
            }
            Err(SendError::Closed(_)) => Err(Rejected::Restarting),
        }
    }

    /// One heartbeat at a time travels through the mailbox; it is let in even when that is full.
    pub(crate) fn beat(&self) {
        if let Some(address) = &*read(&self.address)
            && !self.vitals.beat_sent.swap(true, Ordering::AcqRel)
        {
            address.do_send(Beat);
        }
    }

    pub(crate) fn halt(&self) {
        if let Some(address) = write(&self.address).take() {
            address.do_send(Halt);
        }
    }

    /// Senders are turned away until the next `build`; what the old incarnation still does is
    /// not its business any more.
    pub(crate) fn close(&self) {
        self.vitals.generation.fetch_add(1, Ordering::AcqRel);
        *write(&self.address) = None;
    }

    /// Builds a fresh actor on the arbiter.
    pub(crate) fn build(&self, arbiter: &ArbiterHandle, factory: Arc<dyn Fn() -> C + Send + Sync>) {
        let vitals = Arc::clone(&self.vitals);
        let generation = vitals.generation.fetch_add(1, Ordering::AcqRel) + 1;
        vitals.forgive(vitals.clock.monotonic());
        vitals.beat_sent.store(false, Ordering::Release);
        vitals.beats.store(0, Ordering::Release);
        vitals.leave();
        let address = Shell::start_in_arbiter(arbiter, move |context| {
            context.set_mailbox_capacity(vitals.mailbox_max);
            Shell::new(vitals, generation, &*factory)
        });
        *write(&self.address) = Some(address);
        self.beat();
    }
}

/// Counts a message as waiting until it is handled or dropped.
struct Waiting(Arc<Vitals>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Letter<M> {
    message: M,
    /// The sender's place in its trace.
    place: Option<Place>,
    _waiting: Waiting,
}

impl<M> Message for Letter<M> {
    type Result = ();
}

struct Beat;

impl Message for Beat {
    type Result = ();
}

struct Halt;

impl Message for Halt {
    type Result = ();
}

/// The actix actor around a component.
pub(crate) struct Shell<C: Component> {
    /// `None` after a panic.
    body: Option<C>,
    vitals: Arc<Vitals>,
    generation: u64,
    /// The supervisor knows that this incarnation has ended, or asked for it.
    reported: bool,
}

impl<C: Component> Shell<C> {
    fn new(vitals: Arc<Vitals>, generation: u64, factory: &dyn Fn() -> C) -> Self {
        let mut shell = Self {
            body: None,
            vitals,
            generation,
            reported: false,
        };
        match catch_unwind(AssertUnwindSafe(factory)) {
            Ok(body) => shell.body = Some(body),
            Err(panic) => shell.report("building", &*panic),
        }
        shell
    }

    fn report(&mut self, during: &str, panic: &(dyn std::any::Any + Send)) {
        let traced = panics::last();
        let at = traced.as_ref().map_or("", |traced| traced.at.as_str());
        let reason = format!("panicked in {during}: {}", panic_text(panic));
        tracing::error!(
            actor = C::NAME,
            generation = self.generation,
            at,
            reason,
            "actor panicked"
        );
        self.reported = true;
        self.vitals
            .report(self.generation, Death { reason, traced });
    }

    /// Runs `work` on the body, unless this incarnation is over.
    fn guarded(&mut self, context: &mut Context<Self>, kind: &str, work: impl FnOnce(&mut C)) {
        if self.generation != self.vitals.generation() {
            self.reported = true;
            self.body = None;
        }
        let Some(body) = self.body.as_mut() else {
            context.terminate();
            return;
        };
        #[cfg(test)]
        let vitals = Arc::clone(&self.vitals);
        let result = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            vitals.strike(kind);
            #[cfg(debug_assertions)]
            assert!(
                asked_to_panic() != Some((C::NAME, kind)),
                "asked for by {PANIC_IN}"
            );
            trace::as_actor(C::NAME, || work(body));
        }));
        if let Err(panic) = result {
            let body = self.body.take();
            if catch_unwind(AssertUnwindSafe(|| drop(body))).is_err() {
                tracing::error!(actor = C::NAME, "dropping the actor's state panicked too");
            }
            self.report(kind, &*panic);
            context.terminate();
        }
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let started = self.vitals.clock.monotonic();
        self.vitals.enter(C::KINDS.len(), started);
        self.guarded(context, "tick", C::tick);
        self.vitals.leave();
        record(&self.vitals.tick_duration, &*self.vitals.clock, started);
    }
}

/// Lets the table of threads say whose this one is. The system keeps 15 bytes.
fn name_thread(actor: &str) {
    let name = format!("actor-{actor}");
    let name = name.get(..THREAD_NAME_BYTES).unwrap_or(&name);
    if let Some(name) = CString::new(name).ok()
        && let Err(error) = rustix::thread::set_name(&name)
    {
        tracing::debug!(%error, "the thread has no name");
    }
}

/// Bytes of a thread's name.
const THREAD_NAME_BYTES: usize = 15;

impl<C: Component> Actor for Shell<C> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        name_thread(C::NAME);
        self.guarded(context, "start", C::started);
        context.run_interval(C::TICK, Self::tick);
    }
}

impl<C: Component> Handler<Letter<C::Message>> for Shell<C> {
    type Result = ();

    fn handle(&mut self, letter: Letter<C::Message>, context: &mut Self::Context) {
        let kind = C::kind(&letter.message);
        let started = self.vitals.clock.monotonic();
        self.vitals.enter(kind, started);
        let Letter { message, place, .. } = letter;
        let span = place.map(|place| {
            let mut span = place.child("actor.message");
            span.set("actor", C::NAME);
            span.set("message", C::KINDS[kind]);
            span
        });
        trace::within(span.as_ref().map(Open::place), || {
            self.guarded(context, C::KINDS[kind], move |body| body.handle(message));
        });
        drop(span);
        self.vitals.leave();
        record(&self.vitals.durations[kind], &*self.vitals.clock, started);
    }
}

impl<C: Component> Handler<Beat> for Shell<C> {
    type Result = ();

    fn handle(&mut self, _: Beat, _: &mut Self::Context) {
        if self.body.is_some() && self.generation == self.vitals.generation() {
            self.vitals.forgive(self.vitals.clock.monotonic());
            self.vitals.beats.fetch_add(1, Ordering::AcqRel);
            self.vitals.beat_sent.store(false, Ordering::Release);
        }
    }
}

impl<C: Component> Handler<Halt> for Shell<C> {
    type Result = ();

    fn handle(&mut self, _: Halt, context: &mut Self::Context) {
        self.reported = true;
        context.stop();
    }
}

impl<C: Component> Drop for Shell<C> {
    fn drop(&mut self) {
        if !self.reported {
            let death = Death {
                reason: "stopped unasked".to_owned(),
                traced: None,
            };
            self.vitals.report(self.generation, death);
        }
    }
}

fn record(histogram: &Histogram, clock: &dyn Clock, started: u64) {
    let micros = clock.monotonic().saturating_sub(started);
    histogram.record(Duration::from_micros(micros).as_secs_f64());
}

/// `actor/kind`: builds for tests panic in every message of this kind.
#[cfg(debug_assertions)]
const PANIC_IN: &str = "HINDCAST_PANIC_IN";

#[cfg(debug_assertions)]
fn asked_to_panic() -> Option<(&'static str, &'static str)> {
    static ASKED: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var(PANIC_IN).ok());
    ASKED.as_deref()?.split_once('/')
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
