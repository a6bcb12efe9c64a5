//! The shelf: which recorded run holds the result of which request. Small entries under the hash of
//! everything that a result depends on, in a sled directory of its own, so that damage to it costs
//! the lookup store nothing.
//!
//! It holds no result. That stands in the log, and whoever follows an entry proves it there: a
//! shelf that is lost, old or wrong costs time and nothing else. So it has no golden file either;
//! one of another format, of another log, or damaged is removed and begun anew.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hindcast_model::{Digest, ExperimentId, RunId, UnixMicros};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec;
use crate::error::LogError;
use crate::store::open_sled;

const FORMAT: u8 = 1;
/// Memory of its pages.
const CACHE_BYTES: u64 = 2 << 20;
/// Far above what an entry or a page of them takes: sled never makes a file for one.
const SEGMENT_BYTES: usize = 2 << 20;
/// Bytes of a key in the order of age: a time and a hash.
const ORDER_BYTES: usize = 8 + 32;
const CRC_BYTES: usize = 4;
const NOTHING: &[u8] = &[];
/// A file that says that the shelf was found damaged while it was open.
const DAMAGED: &str = "damaged";

/// Where a result stands, and what it can be invalidated by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// When the result was recorded.
    pub at: UnixMicros,
    /// The run that the result was computed for.
    pub run: RunId,
    /// Such as `causal.discover`.
    pub operation: String,
    /// Such as `boss/3`.
    pub algorithm: String,
    pub dataset: Option<Digest>,
    pub experiment: Option<ExperimentId>,
}

/// What is under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shelved {
    Nothing,
    /// Something whose checksum does not fit.
    Damaged,
    Held(Pointer),
}

/// How much is on the shelf.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShelfSize {
    pub entries: u64,
    /// Of keys and entries.
    pub bytes: u64,
    pub bytes_max: u64,
    /// Of sled's files, which hold free room as well.
    pub file_bytes: u64,
}

/// An open shelf.
pub struct Shelf {
    db: sled::Db,
    entries: sled::Tree,
    /// Keys by age: the oldest goes first.
    order: sled::Tree,
    dir: PathBuf,
    held: Mutex<Held>,
}

struct Held {
    entries: u64,
    bytes: u64,
    bytes_max: u64,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl Shelf {
    /// Opens the shelf of `log` in `dir`, which takes up to `bytes_max` bytes of entries. The text
    /// says why it was begun anew, if it was.
    ///
    /// # Errors
    /// It is open elsewhere, or the disk does not let it be made.
    pub fn open(dir: &Path, log: Uuid, bytes_max: u64) -> Result<(Self, Option<String>), LogError> {
        let marked = dir.join(DAMAGED).exists();
        let why = match marked {
            true => "it was found damaged before".to_owned(),
            false => match catch_unwind(AssertUnwindSafe(|| Self::read(dir, log, bytes_max))) {
                Ok(Ok(shelf)) => return Ok((shelf, None)),
                Ok(Err(error @ (LogError::Locked(_) | LogError::Io { .. }))) => return Err(error),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "reading it panicked".to_owned(),
            },
        };
        fs::remove_dir_all(dir).map_err(LogError::io("remove", dir))?;
        Ok((Self::read(dir, log, bytes_max)?, Some(why)))
    }

    fn read(dir: &Path, log: Uuid, bytes_max: u64) -> Result<Self, LogError> {
        let db = open_sled(dir, (CACHE_BYTES, SEGMENT_BYTES))?;
        let name = [&[FORMAT][..], log.as_bytes()].concat();
        match db.get(b"shelf")? {
            Some(known) if known[..] == *name => {}
            Some(_) => return Err(damaged("it is of another log or format")),
            None if db.was_recovered() && !db.open_tree(b"entries")?.is_empty() => {
                return Err(damaged("it does not say whose it is"));
            }
            None => drop(db.insert(b"shelf", name)?),
        }
        let shelf = Self {
            entries: db.open_tree(b"entries")?,
            order: db.open_tree(b"order")?,
            db,
            dir: dir.to_owned(),
            held: Mutex::new(Held {
                entries: 0,
                bytes: 0,
                bytes_max,
            }),
        };
        shelf.count()?;
        shelf.set_bytes_max(bytes_max)?;
        Ok(shelf)
    }

    /// Counts what is there, drops entries that cannot be read, and puts the order of age in order.
    fn count(&self) -> Result<(), LogError> {
        let mut held = self.held();
        let mut unread = Vec::new();
        for entry in &self.entries {
            let (key, value) = entry?;
            match digest(&key).and_then(|digest| Some((digest, decoded(digest, &value)?))) {
                Some((digest, pointer)) => {
                    self.order.insert(order_key(pointer.at, digest), NOTHING)?;
                    held.entries += 1;
                    held.bytes += size(&value);
                }
                None => unread.push(key),
            }
        }
        for key in unread {
            self.entries.remove(key)?;
        }
        let mut stray = Vec::new();
        for key in self.order.iter().keys() {
            let key = key?;
            let known = key.get(8..).and_then(digest);
            if !matches!(known, Some(digest) if self.entries.contains_key(digest.0)?) {
                stray.push(key);
            }
        }
        for key in stray {
            self.order.remove(key)?;
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is under a key.
    ///
    /// # Errors
    /// sled cannot read its files.
    pub fn get(&self, key: Digest) -> Result<Shelved, LogError> {
        Ok(match self.entries.get(key.0)? {
            None => Shelved::Nothing,
            Some(value) => decoded(key, &value).map_or(Shelved::Damaged, Shelved::Held),
        })
    }

    /// Puts an entry there, in the place of one with the same key. The oldest go when there is no
    /// room; how many is returned.
    ///
    /// # Errors
    /// sled cannot write its files.
    pub fn put(&self, key: Digest, pointer: &Pointer) -> Result<u64, LogError> {
        let value = encoded(key, pointer)?;
        let held = &mut *self.held();
        if size(&value) > held.bytes_max {
            return Ok(0);
        }
        self.take(held, key)?;
        held.entries += 1;
        held.bytes += size(&value);
        self.order.insert(order_key(pointer.at, key), NOTHING)?;
        self.entries.insert(key.0, value)?;
        self.trim(held)
    }

    /// Removes an entry. `false` when there was none.
    ///
    /// # Errors
    /// sled cannot write its files.
    pub fn remove(&self, key: Digest) -> Result<bool, LogError> {
        self.take(&mut self.held(), key)
    }

    fn take(&self, held: &mut Held, key: Digest) -> Result<bool, LogError> {
        let Some(value) = self.entries.remove(key.0)? else {
            return Ok(false);
        };
        held.entries = held.entries.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(size(&value));
        if let Some(pointer) = decoded(key, &value) {
            self.order.remove(order_key(pointer.at, key))?;
        }
        Ok(true)
    }

    /// Removes up to `max` entries that were recorded before `before`, and says how many.
    ///
    /// # Errors
    /// sled cannot write its files.
    pub fn expire(&self, before: UnixMicros, max: usize) -> Result<u64, LogError> {
        let held = &mut *self.held();
        let mut gone = 0;
        let old = self.order.range(..order_key(before, Digest([0; 32])));
        for key in old.keys().take(max) {
            gone += u64::from(self.drop_ordered(held, &key?)?);
        }
        Ok(gone)
    }

    /// Takes up to `bytes_max` bytes from here on, and says how many of the oldest went.
    ///
    /// # Errors
    /// sled cannot write its files.
    pub fn set_bytes_max(&self, bytes_max: u64) -> Result<u64, LogError> {
        let held = &mut *self.held();
        held.bytes_max = bytes_max;
        self.trim(held)
    }

    fn trim(&self, held: &mut Held) -> Result<u64, LogError> {
        let mut gone = 0;
        while held.bytes > held.bytes_max {
            let Some(oldest) = self.order.iter().keys().next() else {
                break;
            };
            gone += u64::from(self.drop_ordered(held, &oldest?)?);
        }
        Ok(gone)
    }

    fn drop_ordered(&self, held: &mut Held, key: &[u8]) -> Result<bool, LogError> {
        self.order.remove(key)?;
        match key.get(8..).and_then(digest) {
            Some(digest) => self.take(held, digest),
            None => Ok(false),
        }
    }

    /// Shows every entry that can be read.
    ///
    /// # Errors
    /// sled cannot read its files.
    pub fn each(&self, mut see: impl FnMut(Digest, &Pointer)) -> Result<(), LogError> {
        for entry in &self.entries {
            let (key, value) = entry?;
            if let Some(key) = digest(&key)
                && let Some(pointer) = decoded(key, &value)
            {
                see(key, &pointer);
            }
        }
        Ok(())
    }

    /// How much is there.
    #[must_use]
    pub fn size(&self) -> ShelfSize {
        let held = self.held();
        ShelfSize {
            entries: held.entries,
            bytes: held.bytes,
            bytes_max: held.bytes_max,
            file_bytes: self.db.size_on_disk().unwrap_or(0),
        }
    }

    /// Brings everything to the medium.
    ///
    /// # Errors
    /// The disk does not take it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the fdatasync that flush lacks follows it"
    )]
    pub fn sync(&self) -> Result<(), LogError> {
        self.db.flush()?;
        let path = self.dir.join("db");
        let file = File::open(&path).map_err(LogError::io("open", &path))?;
        file.sync_data().map_err(LogError::io("fdatasync", &path))
    }

    /// Has the next start begin it anew.
    pub fn give_up(dir: &Path) {
        // Without the mark the next start meets the same damage.
        drop(fs::write(dir.join(DAMAGED), b""));
    }
}

fn damaged(what: &str) -> LogError {
    LogError::StoreDamaged(what.to_owned())
}

fn digest(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest)
}

fn order_key(at: UnixMicros, key: Digest) -> [u8; ORDER_BYTES] {
    let mut bytes = [0; ORDER_BYTES];
    bytes[..8].copy_from_slice(&at.0.to_be_bytes());
    bytes[8..].copy_from_slice(&key.0);
    bytes
}

/// What an entry takes.
const fn size(value: &[u8]) -> u64 {
    (32 + ORDER_BYTES + value.len()) as u64
}

fn checksum(key: Digest, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&key.0), body)
}

fn encoded(key: Digest, pointer: &Pointer) -> Result<Vec<u8>, LogError> {
    let body = codec::encode(pointer)?;
    let mut value = checksum(key, &body).to_le_bytes().to_vec();
    value.extend_from_slice(&body);
    Ok(value)
}

fn decoded(key: Digest, value: &[u8]) -> Option<Pointer> {
    let (crc, body) = value.split_at_checked(CRC_BYTES)?;
    let crc = u32::from_le_bytes(crc.try_into().ok()?);
    if checksum(key, body) != crc {
        return None;
    }
    codec::decode(body).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LOG: Uuid = Uuid::from_u128(7);

    fn key(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn pointer(n: u8, at: u64) -> Pointer {
        Pointer {
            at: UnixMicros(at),
            run: RunId(Uuid::from_u128(u128::from(n))),
            operation: "causal.discover".to_owned(),
            algorithm: "boss/3".to_owned(),
            dataset: None,
            experiment: None,
        }
    }

    fn one() -> u64 {
        size(&encoded(key(0), &pointer(0, 0)).unwrap())
    }

    fn open(dir: &Path, bytes_max: u64) -> (Shelf, Option<String>) {
        Shelf::open(dir, LOG, bytes_max).expect("it opens")
    }

    #[test]
    fn entries_survive_and_the_oldest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("results");
        let (shelf, why) = open(&dir, 3 * one());
        assert_eq!(why, None);
        for n in 0..5 {
            shelf.put(key(n), &pointer(n, 100 + u64::from(n))).unwrap();
        }
        assert_eq!(shelf.get(key(1)).unwrap(), Shelved::Nothing);
        shelf.sync().unwrap();
        drop(shelf);
        let (shelf, why) = open(&dir, 3 * one());
        assert_eq!((why, shelf.size().entries), (None, 3));
        assert_eq!(shelf.get(key(4)).unwrap(), Shelved::Held(pointer(4, 104)));
        assert_eq!(shelf.expire(UnixMicros(104), 10).unwrap(), 2);
        assert_eq!(shelf.size().bytes, one());
        assert_eq!(shelf.set_bytes_max(0).unwrap(), 1);
        assert_eq!(shelf.put(key(9), &pointer(9, 1)).unwrap(), 0);
        assert_eq!(shelf.size().entries, 0);
    }

    #[test]
    fn an_entry_that_was_changed_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("results");
        let (shelf, _) = open(&dir, 1 << 20);
        for n in 0..2 {
            shelf.put(key(n), &pointer(n, 1)).unwrap();
        }
        let mut value = shelf.entries.get(key(1).0).unwrap().unwrap().to_vec();
        value[20] ^= 1;
        shelf.entries.insert(key(1).0, value).unwrap();
        assert_eq!(shelf.get(key(1)).unwrap(), Shelved::Damaged);
        let mut seen = 0;
        shelf.each(|_, _| seen += 1).unwrap();
        assert_eq!(seen, 1);
        shelf.sync().unwrap();
        drop(shelf);
        // The next start drops it, and keeps the rest.
        let (shelf, _) = open(&dir, 1 << 20);
        assert_eq!(shelf.get(key(1)).unwrap(), Shelved::Nothing);
        assert_eq!((shelf.size().entries, shelf.order.len()), (1, 1));
    }

    #[test]
    fn what_cannot_be_read_or_is_of_another_log_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("results");
        let (shelf, _) = open(&dir, 1 << 20);
        for n in 0..200 {
            shelf.put(key(n), &pointer(n, 1)).unwrap();
        }
        shelf.sync().unwrap();
        drop(shelf);
        let (other, why) = Shelf::open(&dir, Uuid::from_u128(8), 1 << 20).unwrap();
        assert!(why.is_some_and(|why| why.contains("another log")));
        assert_eq!(other.size().entries, 0);
        drop(other);
        Shelf::give_up(&dir);
        let (shelf, why) = Shelf::open(&dir, Uuid::from_u128(8), 1 << 20).unwrap();
        assert!(why.is_some_and(|why| why.contains("damaged")));
        assert_eq!(shelf.size().entries, 0);
    }

    #[test]
    fn a_flipped_bit_of_the_file_gives_no_other_entry() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("results");
        for at in [40_000_usize, 9_000, 100, 3_000] {
            let (shelf, _) = open(&dir, 1 << 20);
            for n in 0..200 {
                shelf.put(key(n), &pointer(n, u64::from(n))).unwrap();
            }
            shelf.sync().unwrap();
            drop(shelf);
            let file = dir.join("db");
            let mut bytes = fs::read(&file).unwrap();
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 0x10;
            fs::write(&file, bytes).unwrap();
            let (shelf, _) = open(&dir, 1 << 20);
            for n in 0..200 {
                match shelf.get(key(n)).unwrap() {
                    Shelved::Held(found) => assert_eq!(found, pointer(n, u64::from(n))),
                    Shelved::Nothing | Shelved::Damaged => {}
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn it_is_a_map_that_forgets_the_oldest(
            steps in proptest::collection::vec((0_u8..12, 0_u64..50, any::<bool>()), 1..60),
            room in 1_u64..8,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (shelf, _) = open(&dir.path().join("results"), room * one());
            let mut model: BTreeMap<u8, u64> = BTreeMap::new();
            for (n, at, puts) in steps {
                match puts {
                    true => {
                        shelf.put(key(n), &pointer(n, at)).unwrap();
                        model.insert(n, at);
                        while model.len() as u64 > room {
                            let oldest = *model.iter().min_by_key(|(n, at)| (**at, **n)).unwrap().0;
                            model.remove(&oldest);
                        }
                    }
                    false => {
                        let known = model.remove(&n).is_some();
                        prop_assert_eq!(shelf.remove(key(n)).unwrap(), known);
                    }
                }
                let size = shelf.size();
                prop_assert!(size.bytes <= size.bytes_max);
                prop_assert_eq!(size.entries, model.len() as u64);
                for n in 0..12 {
                    let wanted = model.get(&n).map_or(Shelved::Nothing, |at| {
                        Shelved::Held(pointer(n, *at))
                    });
                    prop_assert_eq!(shelf.get(key(n)).unwrap(), wanted);
                }
            }
        }
    }
}
