//! The breaker of the collector, as the thread that sends sees it. It is a part of the log, so that
//! there is none before a server is up: what is sent until then is sent.

use std::sync::{Arc, Mutex, PoisonError};

use hindcast_actors::{CallEnd, DependencyBreaker};

/// Who says whether the collector is called.
#[derive(Clone, Default)]
enum Word {
    /// There is no server yet.
    #[default]
    Nobody,
    Breaker(Arc<DependencyBreaker>),
    /// What it said when the server stopped.
    Last {
        shut: bool,
    },
}

/// See the module.
#[derive(Default)]
pub(super) struct Guard(Mutex<Word>);

impl Guard {
    /// A server is up.
    pub(super) fn join(&self, breaker: Arc<DependencyBreaker>) {
        self.replace(Word::Breaker(breaker));
    }

    /// The server stops: its breaker is told nothing any more.
    pub(super) fn part(&self) {
        if let Word::Breaker(breaker) = self.word() {
            breaker.part();
            let shut = breaker.turns_away();
            self.replace(Word::Last { shut });
        }
    }

    /// Whether no call passes at this moment.
    pub(super) fn is_shut(&self) -> bool {
        match self.word() {
            Word::Nobody => false,
            Word::Breaker(breaker) => breaker.turns_away(),
            Word::Last { shut } => shut,
        }
    }

    /// Makes a call; none when the breaker does not let it pass.
    pub(super) fn call<R>(
        &self,
        call: impl FnOnce() -> R,
        end: impl FnOnce(&R) -> CallEnd,
    ) -> Option<R> {
        match self.word() {
            Word::Nobody => Some(call()),
            Word::Breaker(breaker) => breaker.call(call, end),
            Word::Last { shut } => (!shut).then(call),
        }
    }

    fn word(&self) -> Word {
        let word = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        word.clone()
    }

    fn replace(&self, word: Word) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = word;
    }
}
