//! The actors: thin shells that take messages, hand observed events to the log, and act on what
//! became durable.
//!
//! No decision is made here and no state is owned that the log does not have: an actor that is
//! built anew reads the follower's state and goes on. HTTP, configuration files, clocks and
//! entropy are the binary's; it hands them in as an [`Environment`].

mod backup;
mod budget;
pub mod circuit_breaker;
mod component;
mod computation;
mod dependency;
mod experiment;
mod handle;
mod lock;
mod metrics;
mod panics;
mod restarts;
mod results;
mod scrub;
mod standing;
mod start;
mod supervisor;
mod threads;

pub mod disk;
pub mod exemplar;
pub mod history;
pub mod operation;
pub mod trace;
pub mod views;
pub mod whatif;

#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use hindcast_log::{Clock, Vault, VaultError};
use hindcast_model::{EventId, KeyId, Name16};

pub use backup::{
    BackupHandle, BackupOptions, BackupRefusal, BackupRequest, BadSchedule, LOCAL, Listing,
    Requested, Schedule, TargetOptions,
};
pub use budget::RestartPolicy;
pub use circuit_breaker::{CallEnd, DependencyBreaker};
pub use computation::cache::CacheStats;
pub use computation::control::Progress;
pub use computation::outcome::LIMIT_HINT;
pub use computation::{ComputationHandle, ComputationOptions, ComputationStats};
pub use dependency::{Dependency, Reached};
pub use experiment::ExperimentOptions;
pub use experiment::watch::RunWatch;
pub use handle::ExperimentHandle;
pub use handle::request::{
    Admission, CancelAnswer, DatasetAnswer, DoneAnswer, ExperimentAnswer, ExperimentRequest,
    Identity, Redacted, RunRequest, SubmitFailure, Upload,
};
pub use metrics::describe;
pub use operation::{Computed, Lane, Operation};
pub use results::report::{
    CacheableReport, CacheableRequest, OperationVerdicts, Verdict, VerdictCount,
    without_a_server as cacheable_without_a_server,
};
pub use results::{
    DiskOptions, DiskStats, DiskStatus, Invalidated, Lookups, Resize, ResultCacheOptions,
    ResultCacheStats, ResultKey, Selector, SweepStats, TopKey, WarmStats,
};
pub use scrub::{ScrubHandle, ScrubOptions};
pub use standing::{ActorStatus, Phase, SupervisionHandle};
pub use start::{ActorOptions, Actors};
pub use supervisor::SupervisionOptions;
pub use threads::table as thread_table;

/// Time, ids and facts of the host, as the binary hands them in.
#[derive(Clone)]
pub struct Environment {
    pub clock: Arc<dyn Clock>,
    /// A fresh event id at every call.
    pub event_id: Arc<dyn Fn() -> EventId + Send + Sync>,
    /// Free bytes where the log is; `None` when the system does not say.
    pub free_bytes: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
    /// Instruction set, maths library and algorithm versions, as in `ServerStarted`.
    pub numeric_profile: Arc<str>,
    /// The data keys; without its key a sealed spec cannot be computed.
    pub vault: Arc<Vault>,
    /// The data key that specs and results of nobody in particular are sealed under; 0 leaves them
    /// readable.
    pub seal_key: KeyId,
    /// Fresh random bytes at every call, to make a data key of.
    pub fresh_key: Arc<dyn Fn() -> [u8; 32] + Send + Sync>,
    /// Fresh random bytes at every call, to seal with.
    pub nonce: Arc<dyn Fn() -> [u8; 24] + Send + Sync>,
}

impl Environment {
    /// The data key for what is kept for a subject, made if there is none yet.
    fn key_for(&self, subject: Option<Name16>) -> Result<KeyId, VaultError> {
        match subject {
            None => Ok(self.seal_key),
            Some(subject) => {
                let fresh = || (self.fresh_key)();
                self.vault.of_subject(&subject.to_string(), fresh)
            }
        }
    }

    /// What a payload is sealed with under this key; nothing under key 0.
    fn seal(&self, key: KeyId) -> Option<(KeyId, [u8; 24])> {
        (key != KeyId(0)).then(|| (key, (self.nonce)()))
    }
}
