//! Room on the disk, and who waits for it.

use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of room on the disk.
#[derive(Default)]
pub(crate) struct Room {
    /// The lookup store waits for it.
    pub(crate) store_waits: AtomicBool,
    /// There was none for the last frame.
    pub(crate) frame_refused: AtomicBool,
    /// The log is closed: nobody waits for it any more.
    pub(crate) closing: AtomicBool,
}

impl Room {
    /// What waits, if anything does.
    pub(crate) fn wanted(&self) -> Option<&'static str> {
        if self.frame_refused.load(Ordering::Acquire) {
            return Some("nothing can be recorded: there is no room for another segment");
        }
        let waits = self.store_waits.load(Ordering::Acquire);
        waits.then_some("the lookup store waits for room on the disk")
    }
}
