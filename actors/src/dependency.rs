//! What the server depends on and does not run itself: object stores, other nodes, collectors. Of each
//! it is told whether it answers, how long that takes, and how often it asked for less.

use std::sync::Arc;
use std::time::Duration;

use hindcast_backup::{Entry, Target, TargetError};
use hindcast_log::Clock;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The figures of one dependency.
#[derive(Clone)]
pub struct Dependency {
    clock: Arc<dyn Clock>,
    up: Gauge,
    duration: Histogram,
    limited: Counter,
}

/// How a call to it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It answered, whatever it said.
    Answered,
    /// It asked for fewer calls.
    Limited,
    /// It did not answer, or said that it cannot.
    Failed,
}

impl Reached {
    /// What a status of HTTP says.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            429 | 503 => Self::Limited,
            500.. => Self::Failed,
            _ => Self::Answered,
        }
    }
}

impl Dependency {
    /// `name` is of the configuration, such as `backup_offsite`, so that there are few.
    #[must_use]
    pub fn new(name: &str, clock: Arc<dyn Clock>) -> Self {
        let name = name.to_owned();
        let limited = counter!("external_rate_limited_total", "dependency" => name.clone());
        limited.increment(0);
        Self {
            clock,
            up: gauge!("external_dependency_up", "dependency" => name.clone()),
            duration: histogram!("external_request_duration_seconds", "dependency" => name),
            limited,
        }
    }

    /// Makes one call, and counts how it ended.
    pub fn call<R>(&self, call: impl FnOnce() -> R, reached: impl FnOnce(&R) -> Reached) -> R {
        let before = self.clock.monotonic();
        let found = call();
        let micros = self.clock.monotonic().saturating_sub(before);
        self.duration
            .record(Duration::from_micros(micros).as_secs_f64());
        let reached = reached(&found);
        self.up.set(match reached {
            Reached::Answered | Reached::Limited => 1.0,
            Reached::Failed => 0.0,
        });
        if reached == Reached::Limited {
            self.limited.increment(1);
        }
        found
    }
}

/// A target that is measured.
pub(crate) struct Measured {
    target: Arc<dyn Target>,
    dependency: Dependency,
}

impl Measured {
    pub(crate) const fn new(target: Arc<dyn Target>, dependency: Dependency) -> Self {
        Self { target, dependency }
    }

    fn call<R>(&self, call: impl FnOnce() -> Result<R, TargetError>) -> Result<R, TargetError> {
        self.dependency.call(call, |found| match found {
            Ok(_) | Err(TargetError::Missing { .. } | TargetError::Url { .. }) => Reached::Answered,
            Err(TargetError::Status { status, .. }) => Reached::of(*status),
            Err(TargetError::Io { .. }) => Reached::Failed,
        })
    }
}

impl Target for Measured {
    fn title(&self) -> &str {
        self.target.title()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        self.call(|| self.target.put(name, bytes))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, TargetError> {
        self.call(|| self.target.get(name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, TargetError> {
        self.call(|| self.target.list(prefix))
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        self.call(|| self.target.remove(name))
    }
}

#[cfg(test)]
mod tests {
    use hindcast_model::UnixMicros;
    use metrics::with_local_recorder;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;

    struct Still;

    impl Clock for Still {
        fn wall(&self) -> UnixMicros {
            UnixMicros(0)
        }

        fn monotonic(&self) -> u64 {
            0
        }
    }

    struct Answers(u16);

    impl Target for Answers {
        fn title(&self) -> &str {
            "there"
        }

        fn put(&self, _: &str, _: &[u8]) -> Result<(), TargetError> {
            Ok(())
        }

        fn get(&self, name: &str) -> Result<Vec<u8>, TargetError> {
            Err(TargetError::Status {
                action: "read",
                target: self.title().to_owned(),
                name: name.to_owned(),
                status: self.0,
                message: String::new(),
            })
        }

        fn list(&self, _: &str) -> Result<Vec<Entry>, TargetError> {
            Ok(Vec::new())
        }

        fn remove(&self, name: &str) -> Result<(), TargetError> {
            Err(TargetError::Io {
                action: "remove",
                target: self.title().to_owned(),
                name: name.to_owned(),
                source: std::io::ErrorKind::ConnectionRefused.into(),
            })
        }
    }

    #[test]
    fn every_call_tells_whether_the_dependency_answers() {
        let recorder = DebuggingRecorder::new();
        let name = "backup_there";
        let dependency = with_local_recorder(&recorder, || Dependency::new(name, Arc::new(Still)));
        let measured = |status| Measured::new(Arc::new(Answers(status)), dependency.clone());
        let snapshotter = recorder.snapshotter();
        let found = |family: &str| {
            let all = snapshotter.snapshot().into_vec();
            let row = all.into_iter().find(|(key, ..)| key.key().name() == family);
            match row.expect("a series").3 {
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Counter(value) => value as f64,
                DebugValue::Histogram(values) => values.len() as f64,
            }
        };
        let up = || found("external_dependency_up") > 0.5;
        assert!(measured(200).put("a", b"b").is_ok() && up());
        assert!(measured(500).get("a").is_err() && !up());
        assert!(measured(429).get("a").is_err() && up());
        assert!(measured(503).get("a").is_err());
        assert!(measured(200).remove("a").is_err() && !up());
        assert!(measured(403).get("a").is_err() && up());
        assert!(measured(200).list("").is_ok() && up());
    }
}
