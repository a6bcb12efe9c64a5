//! A gate under loom: every interleaving of callers and publishers is tried. The file of the gate is
//! compiled once more with loom's words and locks in place of the real ones.

mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use loom::sync::Mutex;
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[expect(
    dead_code,
    reason = "it is the file of the actors, of which a test uses its own part"
)]
#[path = "../src/circuit_breaker/gate.rs"]
mod gate;

use gate::{Gate, Refused, Signal};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// Two callers, one permit: never both at once, and it is back when both have gone.
#[test]
fn a_permit_is_held_by_one_caller_at_a_time_and_comes_back() {
    loom::model(|| {
        let gate = Arc::new(Gate::default());
        gate.publish(1, Signal::Probe(1));
        let inside = Arc::new(AtomicU64::new(0));
        let caller = |gate: Arc<Gate>, inside: Arc<AtomicU64>| {
            move || {
                let Ok(ticket) = gate.decide(|| 0) else {
                    return 0;
                };
                let others = inside.fetch_add(1, Ordering::AcqRel);
                assert_eq!(others, 0, "two callers hold the one permit");
                inside.fetch_sub(1, Ordering::AcqRel);
                drop(ticket);
                1
            }
        };
        let other = thread::spawn(caller(Arc::clone(&gate), Arc::clone(&inside)));
        let here = caller(Arc::clone(&gate), Arc::clone(&inside))();
        let there = other.join().expect("it ends");
        assert!(here + there >= 1, "a free permit was refused to everybody");
        let ticket = gate.decide(|| 0);
        assert!(ticket.is_ok(), "the permit is lost");
        assert_eq!(gate.decide(|| 0).err(), Some(Refused(None)));
    });
}

/// Whoever publishes last in time, what the newest event says is what holds.
#[test]
fn an_older_state_never_replaces_a_newer_one() {
    loom::model(|| {
        let gate = Arc::new(Gate::default());
        let older = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.publish(1, Signal::Pass))
        };
        let reader = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                let first = gate.decide(|| 0).is_ok();
                let second = gate.decide(|| 0).is_ok();
                assert!(first || !second, "it opened again by an older state");
            })
        };
        gate.publish(2, Signal::RefuseUntil(Some(9)));
        older.join().expect("it ends");
        reader.join().expect("it ends");
        assert_eq!(gate.decide(|| 0).err(), Some(Refused(Some(9))));
        assert!(gate.decide(|| 9).is_ok(), "its time has come");
    });
}

/// A probe that is under way while the breaker changes still gives its own ticket back, once.
#[test]
fn a_change_in_between_loses_no_ticket() {
    loom::model(|| {
        let gate = Arc::new(Gate::default());
        gate.publish(1, Signal::Probe(1));
        let caller = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || drop(gate.decide(|| 0)))
        };
        gate.publish(2, Signal::Probe(2));
        caller.join().expect("it ends");
        let (one, two) = (gate.decide(|| 0), gate.decide(|| 0));
        assert!(one.is_ok() && two.is_ok(), "a ticket is lost");
        assert!(gate.decide(|| 0).is_err(), "a ticket was given back twice");
    });
}
