//! Which idempotency keys are remembered, and for how long.

use crate::event::Idempotency;
use crate::state::{Context, Remembered, State, Subject};

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
