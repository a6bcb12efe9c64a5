//! What the log and the actors are started with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hindcast_actors::{ActorOptions, DiskOptions, Environment, ResultCacheOptions, ScrubOptions};
use hindcast_log::{Checkpoint, Vault, VaultError};
use hindcast_model::KeyId;

use super::{ServeError, numeric_profile};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::{disk, ids, privacy};

pub(super) fn log_options(config: &Config) -> hindcast_log::Options {
    hindcast_log::Options {
        data_dir: config.server.data_dir.clone(),
        segment_bytes: config.log.segment_bytes,
        queue_max: config.log.queue_max,
        lag_events_max: config.log.lag_events_max,
        cache_bytes: config.log.cache_bytes,
        checkpoint: None,
        read_only: Some(&config.server.safe_mode)
            .filter(|reason| !reason.is_empty())
            .map(|reason| format!("safe mode: {reason}")),
    }
}

/// What a start may skip reading. Without it the whole log is read, so no failure stops a start.
/// Where nothing may be written, a damaged one stays where it is.
pub(super) fn newest_snapshot(data_dir: &Path, looks_only: bool) -> Option<Checkpoint> {
    let found = match looks_only {
        true => hindcast_snapshots::newest_in_place(data_dir),
        false => hindcast_snapshots::newest(data_dir),
    };
    match found {
        Ok(found) => {
            for bad in &found.set_aside {
                tracing::warn!(path = %bad.path.display(), why = %bad.why, "snapshot set aside");
            }
            found.checkpoint
        }
        Err(error) => {
            tracing::warn!(%error, "the snapshots cannot be read");
            None
        }
    }
}

pub(super) fn actor_options(config: &Config) -> ActorOptions {
    let mut options = ActorOptions::default();
    let supervision = &config.supervision;
    options.supervision.restart.restarts_max = supervision.actor_restarts_max;
    options.supervision.restart.window =
        Duration::from_millis(supervision.actor_restarts_window_ms);
    if config.runs.threads > 0 {
        options.computation.threads = config.runs.threads;
    }
    options.experiment.heavy_runs_max = config.overload.heavy_runs_max;
    options.computation.cache_bytes_max = config.cache.datasets_bytes_max;
    options.results = ResultCacheOptions {
        bytes_max: config.cache.results_bytes_max,
        entries_max: config.cache.results_entries_max,
        age_max: Duration::from_millis(config.cache.results_age_max_ms),
        idle_max: Duration::from_millis(config.cache.results_idle_max_ms),
        disk: DiskOptions {
            bytes_max: config.cache.results_disk_bytes_max,
            age_max: Duration::from_millis(config.cache.results_disk_age_max_ms),
        },
    };
    options.scrub = ScrubOptions {
        pause: Duration::from_millis(config.scrub.pause_ms),
        bytes_per_second_max: config.scrub.bytes_per_second_max,
    };
    options
}

/// Time, ids and facts of this host, for the actors.
pub(super) fn environment(
    config: &Config,
    shredded: Vec<KeyId>,
) -> Result<Environment, ServeError> {
    let data_dir = config.server.data_dir.clone();
    let vault = Vault::open(&data_dir, privacy::master_key(config)?.as_ref())?;
    let looks_only = config.looks_only();
    let wrapped = if looks_only { 0 } else { vault.wrap()? };
    if wrapped > 0 {
        tracing::info!(wrapped, "data keys wrapped with the master key");
    }
    for key in vault.damaged() {
        let error = VaultError::Damaged(key).to_string();
        tracing::error!(key = key.0, error, "what is sealed under it cannot be read");
    }
    // A crash may have come between the record of a redaction and the end of the keys.
    for key in shredded {
        match looks_only {
            true => vault.withhold(key),
            false => vault.shred(key)?,
        }
    }
    let seal_key = match config.privacy.seal_payloads && !looks_only {
        true => vault.common(ids::bytes)?,
        false => KeyId(0),
    };
    Ok(Environment {
        clock: Arc::new(SystemClock),
        event_id: Arc::new(ids::event),
        free_bytes: Arc::new(move || disk::space(&data_dir).map(|(free, _)| free)),
        numeric_profile: numeric_profile().into(),
        vault: Arc::new(vault),
        seal_key,
        fresh_key: Arc::new(ids::bytes),
        nonce: Arc::new(ids::bytes),
    })
}
