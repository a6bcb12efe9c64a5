//! Opening a log to look at it: no file of its directory is made, changed or removed, so that it may be
//! on a disk that takes no writes. What an ordinary start would mend is left as it is.
//!
//! sled writes to its files when it opens them. It is given a copy in a temporary directory, which costs
//! as many bytes as the store has, and what the copy lacks is written there from the segments.

use std::fs::{self, File};
use std::sync::Arc;

use tempfile::TempDir;
use uuid::Uuid;

use crate::blobs::Blobs;
use crate::disk::{Disk, RealDisk};
use crate::error::LogError;
use crate::lock::{self, Held};
use crate::log::{Log, Options};
use crate::recovery::{self, Places, Recovered, Recovery};
use crate::replay::Progress;
use crate::scan::Link;
use crate::shared::Shared;
use crate::store;

/// What a log that is looked at lives on.
pub(crate) struct Looking {
    /// None where there can be no lock.
    _lock: Option<File>,
    /// Holds the copy of the lookup store, and is removed with it.
    _copy: TempDir,
}

/// Opens the log under `options.data_dir`, into which nothing is written because of `reason`.
pub(crate) fn open(
    mut options: Options,
    new_log: Uuid,
    reason: String,
    progress: &dyn Fn(Progress),
) -> Result<(Log, Recovery), LogError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let data_dir = options.data_dir.clone();
    fs::read_dir(&data_dir).map_err(LogError::io("read", &data_dir))?;
    let held = lock::lock_to_look(&data_dir)?;
    let blobs = Blobs::counted(Arc::clone(&disk), &data_dir)
        .map_err(LogError::io("read", data_dir.join("blobs")))?;
    let copy = store::copy_of(&data_dir)?;
    let store = copy.path().join("sled");
    let places = Places {
        data_dir: &data_dir,
        store: &store,
        looks_only: true,
    };
    let sizes = (options.cache_bytes, new_log);
    let start = options.checkpoint.take();
    let Recovered {
        replayed,
        lookup,
        rebuilt,
        origin,
    } = recovery::recover(&disk, places, sizes, start, progress)?;
    let recovery = Recovery {
        events: replayed.head().0,
        fresh: replayed.place().is_none(),
        clean: replayed.clean(),
        torn: None,
        rebuilt,
        read_only: Some(replayed.unknown.clone().unwrap_or(reason)),
        unlocked: held.as_ref().err().cloned(),
    };
    let link = replayed.scanned.map(|scanned| scanned.link);
    let link = link.unwrap_or(Link::beginning(new_log));
    let reading = (lookup.open, lookup.store, origin.base().cloned());
    let held = Held::Looking(Looking {
        _lock: held.ok(),
        _copy: copy,
    });
    let shared = Shared::new(
        (disk, options, blobs),
        (link, replayed.state, recovery.read_only.clone()),
        (reading, held),
    );
    Ok((Log::at_rest(shared), recovery))
}
