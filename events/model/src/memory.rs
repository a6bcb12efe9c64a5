//! Which idempotency keys are remembered, and for how long.

use crate::event::Idempotency;
use crate::ids::{Name16, Seq, UnixMicros};
use crate::state::{Context, Remembered, State, Subject};

/// What a remembered key means for a request that was not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstAnswer {
    /// It was done, and its answer stands in the event at this sequence.
    Same(Seq),
    /// The key stands for another request.
    Other,
}

impl State {
    pub(crate) fn remember(
        &mut self,
        context: &Context,
        idempotency: Option<Idempotency>,
        subject: Subject,
    ) {
        let Some(Idempotency { key, body }) = idempotency else {
            return;
        };
        let key = (context.principal, key);
        if self.idempotency.contains_key(&key) {
            return;
        }
        let at = context.at;
        let remembered = Remembered { at, body, subject };
        self.idempotency.insert(key, remembered);
        self.idempotency_order.push_back((at, key));
        self.forget_old_keys();
    }

    /// What this key was first used for, if it is remembered, for a request whose answer would be
    /// kept as an event.
    #[must_use]
    pub fn first_answer(
        &self,
        principal: Name16,
        idempotency: &Idempotency,
        now: UnixMicros,
    ) -> Option<FirstAnswer> {
        let known = self.idempotency.get(&(principal, idempotency.key))?;
        let fresh = now.since(known.at) < self.settings.idempotency_ttl_micros;
        let first = match known.subject {
            Subject::Answer(seq) if known.body == idempotency.body => FirstAnswer::Same(seq),
            Subject::Answer(_)
            | Subject::Run(_)
            | Subject::Dataset(_)
            | Subject::Experiment(_)
            | Subject::Backup(_) => FirstAnswer::Other,
        };
        fresh.then_some(first)
    }

    /// Whether the request that was made under this key before was the same; none when the key is
    /// not remembered.
    #[must_use]
    pub fn asked_before(
        &self,
        principal: Name16,
        idempotency: &Idempotency,
        now: UnixMicros,
    ) -> Option<bool> {
        let known = self.idempotency.get(&(principal, idempotency.key))?;
        let fresh = now.since(known.at) < self.settings.idempotency_ttl_micros;
        fresh.then_some(known.body == idempotency.body)
    }

    /// Whether any key is remembered at all.
    #[must_use]
    pub const fn remembers_keys(&self) -> bool {
        self.settings.idempotency_ttl_micros > 0 && self.settings.idempotency_entries_max > 0
    }

    /// Keys go by age and then by number: a function of the log, not of when somebody looks.
    pub(crate) fn forget_old_keys(&mut self) {
        let ttl = self.settings.idempotency_ttl_micros;
        let max = self.settings.idempotency_entries_max;
        while let Some((at, key)) = self.idempotency_order.front() {
            if self.at.since(*at) < ttl && self.idempotency_order.len() as u64 <= max {
                break;
            }
            self.idempotency.remove(key);
            self.idempotency_order.pop_front();
        }
    }
}
