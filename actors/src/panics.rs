//! What a panic leaves behind: where it was and the calls that led there, kept by a hook until
//! the guard that caught the panic asks for it.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<Traced>> = const { RefCell::new(None) };
}

/// Where a panic was. The names of the calls are looked up when it is shown, which takes long.
pub(crate) struct Traced {
    /// File and line.
    pub(crate) at: String,
    pub(crate) calls: Backtrace,
}

/// Installs the hook, once for the process; the hook that was there runs after it.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let traced = Traced {
                at: panic
                    .location()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                calls: Backtrace::force_capture(),
            };
            // A thread that ends has no place for it any more.
            let _ = LAST.try_with(|last| last.replace(Some(traced)));
            before(panic);
        }));
    });
}

/// The last panic of this thread, if nobody has asked before.
pub(crate) fn last() -> Option<Traced> {
    LAST.try_with(RefCell::take).ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_caught_panic_is_told_once_with_its_place_and_its_calls() {
        watch();
        assert!(catch_unwind(|| panic!("told")).is_err());
        let traced = last().expect("a panic");
        assert!(traced.at.contains("panics.rs:"), "{}", traced.at);
        let calls = traced.calls.to_string();
        assert!(calls.contains("a_caught_panic_is_told_once"), "{calls}");
        assert!(last().is_none());
    }
}
