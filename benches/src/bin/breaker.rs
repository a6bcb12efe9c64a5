//! What a circuit breaker costs a caller: the hint's decision while closed, the decision with its count,
//! and the same with a ticket while half-open, in nanoseconds. Beside it in the same run: the
//! textbook breaker, a ring of the last calls behind a lock, and one reading of the clock. Further
//! the pure machine of the log: a decision, and the end of a call with the judgement about it.
//!
//! Arguments: `--calls N` for each round (default 100000), `--rounds N` (default 301; the median
//! counts).

use std::collections::VecDeque;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::Mutex;

use hindcast_benches::{argument, median, now};
use hindcast_model::UnixMicros;
use hindcast_model::breaker::{Breaker, BreakerSettings, Ended};
use serde_json::json;

mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
    pub(super) use std::sync::{Mutex, PoisonError};
}

/// The file of the actors, so that nothing else of them has to be built.
#[expect(dead_code, reason = "a benchmark uses its own part of it")]
#[path = "../../../actors/src/circuit_breaker/gate.rs"]
mod gate;

use gate::{Gate, Signal};

/// A ring of the last calls behind a lock.
#[derive(Default)]
struct Ring {
    calls: VecDeque<bool>,
    failed: usize,
}

impl Ring {
    fn allow(&self) -> bool {
        self.calls.len() < 50 || self.failed * 2 < self.calls.len()
    }

    fn record(&mut self, failed: bool) {
        self.calls.push_back(failed);
        self.failed += usize::from(failed);
        if self.calls.len() > 50 && self.calls.pop_front() == Some(true) {
            self.failed -= 1;
        }
    }
}

fn number<T: FromStr>(name: &str, default: T) -> T {
    argument(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} takes a number"))
    })
}

/// Nanoseconds of one call, the median over all rounds.
fn measure(calls: u64, rounds: usize, mut call: impl FnMut()) -> f64 {
    let round = |_| {
        let began = now();
        for _ in 0..calls {
            call();
        }
        began.elapsed().as_secs_f64() * 1e9 / calls as f64
    };
    median((0..rounds).map(round).collect())
}

#[expect(clippy::print_stdout, reason = "its output is its purpose")]
fn main() {
    let (calls, rounds) = (number("--calls", 100_000_u64), number("--rounds", 301));
    let clock = || 1;
    let closed = Gate::default();
    let probing = Gate::default();
    probing.publish(1, Signal::Probe(2));
    let open = Gate::default();
    open.publish(1, Signal::RefuseUntil(Some(9)));
    let decision = measure(calls, rounds, || {
        black_box(black_box(&closed).decide(clock).is_ok());
    });
    let counted = measure(calls, rounds, || {
        black_box(black_box(&closed).enter(clock).is_ok());
    });
    let probe = measure(calls, rounds, || {
        black_box(black_box(&probing).enter(clock).is_ok());
    });
    let refused = measure(calls, rounds, || {
        black_box(black_box(&open).enter(clock).is_err());
    });
    let ring = Mutex::new(Ring::default());
    let baseline = measure(calls, rounds, || {
        let allowed = ring.lock().is_ok_and(|ring| ring.allow());
        if black_box(allowed)
            && let Ok(mut ring) = ring.lock()
        {
            ring.record(black_box(false));
        }
    });
    let reading = measure(calls / 10, rounds, || {
        black_box(now());
    });
    let mut machine = Breaker::fresh(BreakerSettings::default());
    let at = UnixMicros(1);
    let admitted = measure(calls, rounds, || {
        black_box(black_box(&machine).admit(at));
    });
    let folded = measure(calls / 10, rounds, || {
        machine.record(at, (0, None), (&Ended::Success, 5));
        black_box(machine.judge("path_analysis", at));
    });
    let shown = |ns: f64| (ns * 100.0).round() / 100.0;
    let figures = json!({
        "bench": "breaker",
        "calls": calls,
        "rounds": rounds,
        "closed_ns": shown(decision),
        "closed_counted_ns": shown(counted),
        "half_open_counted_ns": shown(probe),
        "open_counted_ns": shown(refused),
        "mutex_ring_ns": shown(baseline),
        "clock_ns": shown(reading),
        "machine_admit_ns": shown(admitted),
        "machine_record_and_judge_ns": shown(folded),
    });
    println!("{figures}");
}
