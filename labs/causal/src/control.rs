//! How a caller stops a long computation and watches it. The lab reads no clock: whether a
//! deadline has passed is the caller's to say.

/// Why a computation has to end before its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The caller withdrew the request.
    Cancelled,
    /// The time allowed for the request has passed.
    DeadlineExceeded,
}

/// The caller's side of a running computation. Algorithms call `check` at least every 10 ms of
/// work, so an implementation has to be cheap (an atomic load, a clock read).
pub trait Control: Sync {
    /// `Err` tells the computation to return at once.
    fn check(&self) -> Result<(), Stop>;

    /// `done` of `total` units of `stage`; `total` is 0 when it is not known.
    fn progress(&self, stage: &'static str, done: u64, total: u64);
}

/// Runs to the end and reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Uncontrolled;

impl Control for Uncontrolled {
    fn check(&self) -> Result<(), Stop> {
        Ok(())
    }

    fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}
}
