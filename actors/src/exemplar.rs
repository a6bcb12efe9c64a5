//! The trace that this thread works for, so that a histogram can name one in its buckets. The
//! recorder of metrics reads it; everything else only says it.

use std::cell::Cell;

thread_local! {
    static TRACE: Cell<u128> = const { Cell::new(0) };
}

/// Runs `work` on behalf of this trace; 0 stands for none.
pub fn within<R>(trace: u128, work: impl FnOnce() -> R) -> R {
    let before = TRACE.with(|cell| cell.replace(trace));
    let _restored = Restored(before);
    work()
}

/// The trace that this thread works for; 0 when it is for none.
#[must_use]
pub fn trace() -> u128 {
    TRACE.with(Cell::get)
}

/// Puts the trace of before back, also when the work panics.
struct Restored(u128);

impl Drop for Restored {
    fn drop(&mut self) {
        TRACE.with(|cell| cell.set(self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_holds_for_the_work_alone() {
        let inner = within(7, || {
            let panicked = std::panic::catch_unwind(|| within(9, || panic!("work")));
            assert!(panicked.is_err());
            trace()
        });
        assert_eq!((inner, trace()), (7, 0));
    }
}
