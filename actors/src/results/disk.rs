//! The results on disk: not a second copy of them, but which recorded run has the result of which
//! request. A result that is found by it is read from the log and proved there, so that what is
//! wrong here costs time and nothing else. Results of subjects are not found by it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use hindcast_log::{Log, LogError, Pointer, Shelf, ShelfSize, Shelved};
use hindcast_model::UnixMicros;
use metrics::{Counter, Gauge};
use serde::Serialize;

use super::gone::Invalidations;
use super::meters::{evictions, requests};
use super::recorded::{ReadBack, read_back};
use super::{ResultKey, Selector};
use crate::Environment;
use crate::budget::micros;
use crate::lock::{lock, read, write};
use crate::supervisor::as_f64;

/// Where it is, below the data directory.
const FOLDER: &str = "results";
/// Entries that one look at their age removes.
const EXPIRED_AT_ONCE_MAX: usize = 1_000;

/// What may be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskOptions {
    /// Bytes of entries; 0 keeps none.
    pub bytes_max: u64,
    /// From the computation on. Older results are not read back, by whatever way they are found.
    pub age_max: Duration,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            bytes_max: 16 << 20,
            age_max: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

/// How the results on disk do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DiskStatus {
    /// Its size is 0, or nothing can be recorded.
    Off,
    /// It is being read.
    Opening,
    Ready,
    /// It was damaged or could not be written; the next start begins it anew.
    Lost,
}

/// The results on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DiskStats {
    pub status: DiskStatus,
    /// Why it is lost, or was begun anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub reason: Option<String>,
    pub entries: u64,
    /// Of keys and entries; the results stand in the log.
    pub bytes: u64,
    pub bytes_max: u64,
    pub age_max_ms: u64,
    /// Of its files, which hold free room as well.
    pub file_bytes: u64,
    pub hits: u64,
    pub misses: u64,
    /// Entries that were damaged, or whose run could not be read or has another result.
    pub refuted: u64,
    pub evictions: u64,
    /// Entries that were not written, because too many waited.
    pub dropped: u64,
}

struct Counts {
    status: DiskStatus,
    reason: Option<String>,
    hits: u64,
    misses: u64,
    refuted: u64,
    evictions: u64,
    dropped: u64,
}

struct DiskMeters {
    hit: Counter,
    miss: Counter,
    refuted: Counter,
    by_size: Counter,
    by_age: Counter,
    bytes: Gauge,
    entries: Gauge,
    files: Gauge,
    ready: Gauge,
}

impl DiskMeters {
    fn new() -> Self {
        const CACHE: &str = "results_disk";
        Self {
            hit: requests(CACHE, "hit"),
            miss: requests(CACHE, "miss"),
            refuted: metrics::counter!("cache_refuted_total", "cache" => CACHE),
            by_size: evictions(CACHE, "size"),
            by_age: evictions(CACHE, "ttl"),
            bytes: metrics::gauge!("cache_size_bytes", "cache" => CACHE),
            entries: metrics::gauge!("cache_entries", "cache" => CACHE),
            files: metrics::gauge!("cache_file_bytes", "cache" => CACHE),
            ready: metrics::gauge!("cache_tier_ready", "cache" => CACHE),
        }
    }
}

/// What became of a look.
pub(super) enum Looked {
    Nothing,
    /// The entry is of no use: it should go.
    Refuted,
    Here(Box<ReadBack>),
}

pub(super) struct Disk {
    pub(super) log: Log,
    pub(super) environment: Environment,
    options: Mutex<DiskOptions>,
    shelf: RwLock<Option<Arc<Shelf>>>,
    gone: Mutex<Invalidations>,
    counts: Mutex<Counts>,
    meters: DiskMeters,
}

impl Disk {
    pub(super) fn new(log: Log, environment: Environment, options: DiskOptions) -> Self {
        let on = options.bytes_max > 0 && log.read_only().is_none();
        let disk = Self {
            log,
            environment,
            options: Mutex::new(options),
            shelf: RwLock::new(None),
            gone: Mutex::default(),
            counts: Mutex::new(Counts {
                status: if on {
                    DiskStatus::Opening
                } else {
                    DiskStatus::Off
                },
                reason: None,
                hits: 0,
                misses: 0,
                refuted: 0,
                evictions: 0,
                dropped: 0,
            }),
            meters: DiskMeters::new(),
        };
        disk.meters.ready.set(0.0);
        disk
    }

    fn folder(&self) -> PathBuf {
        self.log.data_dir().join(FOLDER)
    }

    pub(super) fn options(&self) -> DiskOptions {
        *lock(&self.options)
    }

    /// Reads what an earlier process left. It may take a moment.
    pub(super) fn open(&self) {
        if lock(&self.counts).status != DiskStatus::Opening {
            return;
        }
        match self.opened() {
            Ok((shelf, why)) => {
                if let Some(why) = &why {
                    tracing::warn!(why, "the results on disk begin anew");
                }
                *write(&self.shelf) = Some(Arc::new(shelf));
                let mut counts = lock(&self.counts);
                counts.status = DiskStatus::Ready;
                counts.reason = why;
                drop(counts);
                self.meters.ready.set(1.0);
            }
            Err(error) => self.lose(&error.to_string()),
        }
        self.show();
    }

    /// What an earlier process left, less what was invalidated: that may have ended before everything
    /// had gone, or before that it had gone was on the medium.
    fn opened(&self) -> Result<(Shelf, Option<String>), LogError> {
        let log = self.log.head().log;
        let (shelf, why) = Shelf::open(&self.folder(), log, self.options().bytes_max)?;
        if lock(&self.gone).is_empty() {
            return Ok((shelf, why));
        }
        let mut gone = Vec::new();
        shelf.each(|key, pointer| {
            if self.is_invalidated(key, pointer) {
                gone.push(key);
            }
        })?;
        for key in gone {
            shelf.remove(key)?;
        }
        Ok((shelf, why))
    }

    /// Reads from the log what was invalidated. When that cannot be read, everything was.
    pub(super) fn recall(&self) {
        let now = self.environment.clock.wall();
        let mut known = Invalidations::read(&self.log).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was invalidated cannot be read: no older result is used again");
            Invalidations::everything(now)
        });
        let gone = &mut *lock(&self.gone);
        // Somebody may have asked for more meanwhile.
        known.extend(std::mem::take(gone));
        *gone = known;
    }

    /// What is selected is not to be found any more if it was computed by `until`.
    pub(super) fn invalidated(&self, selector: Selector, until: UnixMicros) {
        lock(&self.gone).add(selector, until);
    }

    /// Whether somebody wanted a result gone that is found by this pointer.
    pub(super) fn is_invalidated(&self, key: ResultKey, pointer: &Pointer) -> bool {
        lock(&self.gone).cover(key, pointer)
    }

    /// It is of no use any more: results are computed that it might have had.
    pub(super) fn lose(&self, why: &str) {
        tracing::error!(
            why,
            "the results on disk are lost; the next start begins them anew"
        );
        *write(&self.shelf) = None;
        Shelf::give_up(&self.folder());
        let mut counts = lock(&self.counts);
        counts.status = DiskStatus::Lost;
        counts.reason = Some(why.to_owned());
        drop(counts);
        self.meters.ready.set(0.0);
    }

    pub(super) fn shelf(&self) -> Option<Arc<Shelf>> {
        read(&self.shelf).clone()
    }

    pub(super) fn is_ready(&self) -> bool {
        read(&self.shelf).is_some()
    }

    /// What sled gives, or nothing when it fails: then the whole of it is given up.
    pub(super) fn try_on<T>(&self, work: impl FnOnce(&Shelf) -> Result<T, LogError>) -> Option<T> {
        let shelf = self.shelf()?;
        match work(&shelf) {
            Ok(value) => Some(value),
            Err(error) => {
                self.lose(&error.to_string());
                None
            }
        }
    }

    /// The result under a key, read from the log and proved. It reads files.
    pub(super) fn find(&self, key: ResultKey) -> Looked {
        let looked = match self.try_on(|shelf| shelf.get(key)) {
            None => return Looked::Nothing,
            Some(Shelved::Nothing) => Looked::Nothing,
            Some(Shelved::Damaged) => Looked::Refuted,
            Some(Shelved::Held(pointer)) if self.is_old(pointer.at) => Looked::Nothing,
            Some(Shelved::Held(pointer)) => self.prove(key, &pointer),
        };
        let mut counts = lock(&self.counts);
        match &looked {
            Looked::Here(_) => {
                counts.hits += 1;
                self.meters.hit.increment(1);
            }
            Looked::Nothing => {
                counts.misses += 1;
                self.meters.miss.increment(1);
            }
            Looked::Refuted => {
                counts.misses += 1;
                counts.refuted += 1;
                self.meters.miss.increment(1);
                self.meters.refuted.increment(1);
            }
        }
        looked
    }

    /// Whether there is an entry that is not too old. Nothing is counted, and nothing proved.
    pub(super) fn holds(&self, key: ResultKey) -> bool {
        let found = self.try_on(|shelf| shelf.get(key));
        matches!(found, Some(Shelved::Held(pointer)) if !self.is_old(pointer.at))
    }

    fn prove(&self, key: ResultKey, pointer: &Pointer) -> Looked {
        match read_back(&self.log, &self.environment, pointer.run) {
            Some(found) if found.key == key => Looked::Here(Box::new(found)),
            Some(_) | None => Looked::Refuted,
        }
    }

    /// Whether a result is too old to be read back.
    pub(super) fn is_old(&self, at: UnixMicros) -> bool {
        self.environment.clock.wall().since(at) > micros(self.options().age_max)
    }

    pub(super) fn put(&self, key: ResultKey, pointer: &Pointer) {
        if let Some(gone) = self.try_on(|shelf| shelf.put(key, pointer)) {
            lock(&self.counts).evictions += gone;
            self.meters.by_size.increment(gone);
            self.show();
        }
    }

    /// Removes an entry that was made by `until`, and says whether there was one.
    pub(super) fn remove_until(&self, key: ResultKey, until: UnixMicros) -> bool {
        let removed = self.try_on(|shelf| match shelf.get(key)? {
            Shelved::Held(pointer) if pointer.at > until => Ok(false),
            Shelved::Held(_) | Shelved::Damaged => shelf.remove(key),
            Shelved::Nothing => Ok(false),
        });
        let removed = removed.unwrap_or(false);
        lock(&self.counts).evictions += u64::from(removed);
        removed
    }

    pub(super) fn count_dropped(&self) {
        lock(&self.counts).dropped += 1;
    }

    /// Other bounds from here on. One that was off is opened by whoever calls `open` next.
    pub(super) fn resize(&self, options: DiskOptions) {
        *lock(&self.options) = options;
        let mut counts = lock(&self.counts);
        let may = options.bytes_max > 0 && self.log.read_only().is_none();
        if counts.status == DiskStatus::Off && may {
            counts.status = DiskStatus::Opening;
        }
    }

    /// Brings what is held within the bounds.
    pub(super) fn trim(&self) {
        let DiskOptions { bytes_max, age_max } = self.options();
        let now = self.environment.clock.wall();
        let before = UnixMicros(now.0.saturating_sub(micros(age_max)));
        let gone = self.try_on(|shelf| {
            let by_age = shelf.expire(before, EXPIRED_AT_ONCE_MAX)?;
            Ok((by_age, shelf.set_bytes_max(bytes_max)?))
        });
        if let Some((by_age, by_size)) = gone {
            lock(&self.counts).evictions += by_age + by_size;
            self.meters.by_age.increment(by_age);
            self.meters.by_size.increment(by_size);
            self.show();
        }
    }

    pub(super) fn sync(&self) {
        self.try_on(Shelf::sync);
    }

    /// Closes it, with everything on the medium.
    pub(super) fn close(&self) {
        self.sync();
        *write(&self.shelf) = None;
        let mut counts = lock(&self.counts);
        if counts.status == DiskStatus::Ready {
            counts.status = DiskStatus::Off;
        }
    }

    fn size(&self) -> ShelfSize {
        self.shelf().map(|shelf| shelf.size()).unwrap_or_default()
    }

    fn show(&self) {
        let size = self.size();
        self.meters.bytes.set(as_f64(size.bytes));
        self.meters.entries.set(as_f64(size.entries));
        self.meters.files.set(as_f64(size.file_bytes));
    }

    pub(super) fn stats(&self) -> DiskStats {
        let size = self.size();
        let options = self.options();
        let counts = lock(&self.counts);
        DiskStats {
            status: counts.status,
            reason: counts.reason.clone(),
            entries: size.entries,
            bytes: size.bytes,
            bytes_max: options.bytes_max,
            age_max_ms: micros(options.age_max) / 1_000,
            file_bytes: size.file_bytes,
            hits: counts.hits,
            misses: counts.misses,
            refuted: counts.refuted,
            evictions: counts.evictions,
            dropped: counts.dropped,
        }
    }
}
