//! The way of one request through threads, messages and the log, as spans of one trace. A request
//! makes a `Trace`; whoever works for it holds a [`Place`] in it and passes that on with each
//! message. When the last holder lets go, the whole trace is handed to where the binary wants it.
//!
//! Nothing follows from a trace: it is there to be looked at.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hindcast_model::RunId;

use crate::exemplar;
use crate::lock::lock;

/// Spans of one trace; further ones are counted.
pub const SPANS_MAX: usize = 128;
/// Spans of a request that is answered at once.
const SPANS_USUAL: usize = 8;
/// Runs whose trace waits for their computation; further ones are computed without.
const PARKED_MAX: usize = 4_096;

/// A piece of work with its beginning and end.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub id: u64,
    /// 0 stands for none.
    pub parent: u64,
    pub name: &'static str,
    /// Microseconds since 1970.
    pub start_micros: u64,
    pub end_micros: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Word(&'static str),
    Number(u64),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Word(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// Everything of a trace that happened here. The span that the others lie below ends it, unless
/// work goes on behind the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    pub trace: u128,
    /// The span that the request made here.
    pub root: u64,
    /// Whether the caller wants it recorded.
    pub sampled: bool,
    pub spans: Vec<Span>,
    /// Spans that there was no room for.
    pub dropped: u64,
}

/// Where a trace begins, and what it needs of its surroundings.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub trace: u128,
    /// The span that the request is.
    pub span: u64,
    pub sampled: bool,
    /// Microseconds since 1970.
    pub wall_micros: u64,
    /// Microseconds of a clock that never jumps.
    pub monotonic: fn() -> u64,
    /// Where it goes in the end. Called on whichever thread lets go last: it may not wait.
    pub sink: fn(Finished),
}

#[derive(Debug)]
struct Trace {
    origin: Origin,
    began: u64,
    count: AtomicU64,
    spans: Mutex<(Vec<Span>, u64)>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        let (spans, dropped) = std::mem::take(&mut *lock(&self.spans));
        let Origin {
            trace,
            span,
            sampled,
            sink,
            ..
        } = self.origin;
        sink(Finished {
            trace,
            root: span,
            sampled,
            spans,
            dropped,
        });
    }
}

/// A place in a trace: what is begun here has this span as its parent.
#[derive(Debug, Clone)]
pub struct Place {
    trace: Arc<Trace>,
    span: u64,
}

thread_local! {
    static CURRENT: RefCell<Option<Place>> = const { RefCell::new(None) };
    static ACTOR: Cell<&'static str> = const { Cell::new("") };
}

/// Traces that wait for the computation of a run.
static PARKED: Mutex<BTreeMap<RunId, Place>> = Mutex::new(BTreeMap::new());

impl Place {
    /// The beginning of a trace: the span of the request itself.
    #[must_use]
    pub fn begin(origin: Origin) -> Self {
        Self {
            span: origin.span,
            trace: Arc::new(Trace {
                began: (origin.monotonic)(),
                origin,
                count: AtomicU64::new(0),
                spans: Mutex::new((Vec::with_capacity(SPANS_USUAL), 0)),
            }),
        }
    }

    /// The trace's id.
    #[must_use]
    pub fn trace(&self) -> u128 {
        self.trace.origin.trace
    }

    /// The span's id.
    #[must_use]
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// Begins a span below this place.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Open {
        let count = self.trace.count.fetch_add(1, Ordering::Relaxed) + 1;
        // Distinct within the trace, and in all likelihood among the spans of other processes.
        let id = mixed(self.trace.origin.span ^ mixed(count)).max(1);
        self.open(id, self.span, name)
    }

    /// The span that this place is, which began when the trace did.
    #[must_use]
    pub fn whole(&self, parent: u64, name: &'static str) -> Open {
        let mut open = self.open(self.span, parent, name);
        open.started = self.trace.began;
        open
    }

    fn open(&self, id: u64, parent: u64, name: &'static str) -> Open {
        Open {
            place: Self {
                trace: Arc::clone(&self.trace),
                span: id,
            },
            parent,
            name,
            started: (self.trace.origin.monotonic)(),
            attributes: Vec::new(),
            error: None,
        }
    }

    /// Runs `work` here: what it begins, logs and measures belongs to this place.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = CURRENT.with(|cell| cell.replace(Some(self.clone())));
        let _restored = Restored(before);
        exemplar::within(self.trace(), work)
    }
}

struct Restored(Option<Place>);

impl Drop for Restored {
    fn drop(&mut self) {
        let before = self.0.take();
        let inner = CURRENT.with(|cell| cell.replace(before));
        // A trace may end here, which is not to happen inside of the cell.
        drop(inner);
    }
}

fn mixed(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A span that has begun. It ends when it is dropped.
#[derive(Debug)]
pub struct Open {
    place: Place,
    parent: u64,
    name: &'static str,
    started: u64,
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
}

impl Open {
    /// This span as a place, for what lies below it.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Adds a fact.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    /// Says that it failed, and why.
    pub fn fail(&mut self, error: impl Into<String>) {
        self.error = Some(error.into());
    }

    /// Lets it begin so many microseconds earlier.
    pub fn began_before(&mut self, micros: u64) {
        self.started = self.started.saturating_sub(micros);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Trace {
            origin,
            began,
            spans,
            ..
        } = &*self.place.trace;
        let ended = (origin.monotonic)();
        let wall = |monotonic: u64| {
            let wall = i128::from(origin.wall_micros) + i128::from(monotonic) - i128::from(*began);
            u64::try_from(wall).unwrap_or(0)
        };
        let mut spans = lock(spans);
        // The request itself always finds room: it ends last.
        if spans.0.len() >= SPANS_MAX && self.place.span != origin.span {
            spans.1 += 1;
            return;
        }
        let (start_micros, end_micros) = (wall(self.started), wall(ended));
        spans.0.push(Span {
            id: self.place.span,
            parent: self.parent,
            name: self.name,
            start_micros,
            end_micros,
            attributes: std::mem::take(&mut self.attributes),
            error: self.error.take(),
        });
    }
}

/// Where this thread is, if it works for a trace.
#[must_use]
pub fn current() -> Option<Place> {
    CURRENT.with(|cell| cell.borrow().clone())
}

/// The ids of the trace and the span that this thread works for.
#[must_use]
pub fn ids() -> Option<(u128, u64)> {
    CURRENT.with(|cell| {
        let place = cell.borrow();
        place.as_ref().map(|place| (place.trace(), place.span))
    })
}

/// Runs `work` at a place, or without one.
pub fn within<R>(place: Option<&Place>, work: impl FnOnce() -> R) -> R {
    match place {
        Some(place) => place.enter(work),
        None => work(),
    }
}

/// Begins a span where this thread is.
#[must_use]
pub fn span(name: &'static str) -> Option<Open> {
    current().map(|place| place.child(name))
}

/// The actor whose message this thread handles; empty outside of one.
#[must_use]
pub fn actor() -> &'static str {
    ACTOR.with(Cell::get)
}

/// Runs `work` as the handler of this actor.
pub(crate) fn as_actor<R>(name: &'static str, work: impl FnOnce() -> R) -> R {
    ACTOR.with(|cell| cell.set(name));
    let _left = Left;
    work()
}

/// Leaves the actor, also when the work panics.
struct Left;

impl Drop for Left {
    fn drop(&mut self) {
        ACTOR.with(|cell| cell.set(""));
    }
}

/// Keeps the place for the computation of a run, which comes by the log and not by a message.
pub(crate) fn park(run: RunId) {
    if let Some(place) = current() {
        let mut parked = lock(&PARKED);
        if parked.len() < PARKED_MAX {
            parked.insert(run, place);
        }
    }
}

/// The place that was kept for a run.
pub(crate) fn take(run: RunId) -> Option<Place> {
    lock(&PARKED).remove(&run)
}

#[cfg(test)]
mod tests {
    use super::*;

    static DONE: Mutex<Vec<Finished>> = Mutex::new(Vec::new());
    static NOW: AtomicU64 = AtomicU64::new(0);

    fn origin(trace: u128) -> Origin {
        Origin {
            trace,
            span: 9,
            sampled: true,
            wall_micros: 1_000_000,
            monotonic: || NOW.fetch_add(10, Ordering::Relaxed),
            sink: |finished| lock(&DONE).push(finished),
        }
    }

    fn done(trace: u128) -> Option<Finished> {
        let done = lock(&DONE);
        done.iter()
            .find(|finished| finished.trace == trace)
            .cloned()
    }

    #[test]
    fn a_trace_ends_when_the_last_holder_lets_go() {
        let place = Place::begin(origin(1));
        let kept = place.enter(|| {
            let mut span = span("inner").expect("in a trace");
            span.set("rows", 5);
            span.fail("why");
            assert_eq!(ids(), Some((1, 9)));
            span.place().enter(|| {
                assert_eq!(exemplar::trace(), 1);
                park(RunId::default());
            });
            assert!(done(1).is_none());
            take(RunId::default())
        });
        assert_eq!(ids(), None);
        drop(place.whole(4, "request"));
        drop(place);
        assert!(done(1).is_none(), "a computation still holds it");
        drop(kept);
        let finished = done(1).expect("ended");
        assert_eq!((finished.root, finished.dropped), (9, 0));
        let [inner, request] = &finished.spans[..] else {
            panic!("{finished:?}");
        };
        assert_eq!((inner.parent, inner.name), (9, "inner"));
        assert_eq!(inner.error.as_deref(), Some("why"));
        assert_eq!(inner.attributes, [("rows", Value::Number(5))]);
        assert_eq!((request.id, request.parent), (9, 4));
        assert_eq!(request.start_micros, 1_000_000);
        assert!(request.start_micros <= inner.start_micros);
        assert!(inner.start_micros < inner.end_micros && inner.end_micros <= request.end_micros);
    }

    #[test]
    fn spans_are_bounded_but_the_request_is_there() {
        let place = Place::begin(origin(2));
        for _ in 0..SPANS_MAX + 5 {
            drop(place.child("many"));
        }
        drop(place.whole(0, "request"));
        drop(place);
        let finished = done(2).expect("ended");
        assert_eq!((finished.spans.len(), finished.dropped), (SPANS_MAX + 1, 5));
    }
}
