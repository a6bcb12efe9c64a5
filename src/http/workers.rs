//! Whether the threads that answer requests still do. One that hangs takes its connections with it,
//! and no other notices.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock;

/// How often each of them says that it lives.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// Milliseconds after which one that says nothing is silent.
const BEAT_AGE_MS_MAX: u64 = 3_000;

/// The threads that answer requests.
#[derive(Debug, Default)]
pub struct Workers {
    /// When each said last that it lives, in microseconds; gone with the thread.
    beats: Mutex<Vec<Weak<AtomicU64>>>,
}

/// How they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct WorkersHealth {
    pub(crate) count: u64,
    /// Of these, those that say nothing.
    pub(crate) silent: u64,
    /// Milliseconds since the one that is silent for longest said that it lives.
    pub(crate) heartbeat_age_ms: u64,
}

impl Workers {
    /// Counts the thread that calls this, which has to run an actix system.
    pub fn join(&self) {
        let beat = Arc::new(AtomicU64::new(clock::monotonic_micros()));
        self.lock().push(Arc::downgrade(&beat));
        actix_web::rt::spawn(async move {
            let mut every = tokio::time::interval(BEAT_EVERY);
            loop {
                every.tick().await;
                beat.store(clock::monotonic_micros(), Ordering::Release);
            }
        });
    }

    /// How they are at this moment.
    pub(crate) fn look(&self, now_micros: u64) -> WorkersHealth {
        let mut beats = self.lock();
        beats.retain(|beat| beat.strong_count() > 0);
        let ages = beats.iter().filter_map(Weak::upgrade);
        let ages = ages.map(|beat| now_micros.saturating_sub(beat.load(Ordering::Acquire)) / 1_000);
        let mut health = WorkersHealth {
            count: 0,
            silent: 0,
            heartbeat_age_ms: 0,
        };
        for age_ms in ages {
            health.count += 1;
            health.silent += u64::from(age_ms > BEAT_AGE_MS_MAX);
            health.heartbeat_age_ms = health.heartbeat_age_ms.max(age_ms);
        }
        health
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<AtomicU64>>> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_thread_that_hangs_is_silent_and_one_that_ended_is_gone() {
        let workers = Arc::new(Workers::default());
        let now = clock::monotonic_micros();
        assert_eq!(workers.look(now).count, 0);
        workers.join();
        let later = now + 10_000_000;
        let health = workers.look(later);
        assert_eq!((health.count, health.silent), (1, 1));
        assert_eq!(workers.look(clock::monotonic_micros()).silent, 0);
        let others = Arc::clone(&workers);
        let other = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async { others.join() });
        });
        other.join().expect("it ends");
        assert_eq!(workers.look(later).count, 1);
    }
}
