//! The lookup store, the only user of sled. It holds the event log in compressed chunks and an
//! index for each sealed segment, written behind the acknowledgement. Everything in it can be
//! rebuilt from the segments, and nothing in it permits a deletion.
//!
//! sled's own flush does not reach the medium on Linux, so `sync` follows it with an fdatasync of
//! its file. It writes a page as a blob file of its own, which it would not sync at all, when it is
//! over a quarter of a segment: values stay under 49 KiB, so that a page of 21 of them is not.
//! Segments are no longer than that needs, since opening fills the newest one and the free ones with
//! zeros.
//!
//! | key | value |
//! |---|---|
//! | `c` first sequence | chunk: records, compressed |
//! | `s` first sequence | descriptor of a sealed segment |
//! | `p` first sequence, piece | postings of a sealed segment |
//! | `f` first sequence, piece | filter of a sealed segment |
//! | `m` name | `log`, `durable`, `known` |

mod copied;
mod writer;

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use hindcast_model::{Seq, Stream, UnixMicros};

use crate::chunk::unpack;
use crate::codec;
use crate::error::LogError;
use crate::frame::Chain;
use crate::index::{self, Filter};
pub(crate) use copied::{Copied, LOOKED_CACHE_BYTES, copy_of};
pub(crate) use writer::Writer;

const FORMAT: u8 = 1;
const FILTER_PIECE_BYTES: usize = 44 * 1024;
const SLED_SEGMENT_BYTES: usize = 4 << 20;
const CHUNKS_CACHED: usize = 8;
/// sled looks for what to evict only when a shard of its cache (a 256th of the pages) has seen 64
/// accesses, whatever its capacity. A log writes each page once or a few times, so that without
/// further accesses about 5,000 values stay in memory; with these it is some hundreds.
const ACCESSES_FOR_EVICTION: usize = 16;

/// What the store knows of a sealed segment without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) first: Seq,
    pub(crate) count: u64,
    pub(crate) min_at: UnixMicros,
    pub(crate) max_at: UnixMicros,
    /// Hash of its last frame.
    pub(crate) chain: Chain,
    /// Bytes up to the end of the last frame.
    pub(crate) bytes: u64,
    /// The first stream of each piece of the postings.
    pub(crate) pieces: Vec<(u16, [u8; 16])>,
}

impl Descriptor {
    pub(crate) const fn next(&self) -> Seq {
        Seq(self.first.0 + self.count)
    }
}

struct Sealed {
    descriptor: Descriptor,
    filter: Filter,
}

type CachedChunk = (Seq, u64, Arc<Vec<u8>>);

/// The store, for readers.
pub(crate) struct Store {
    /// None while it waits to be opened again.
    db: RwLock<Option<sled::Db>>,
    dir: PathBuf,
    cache_bytes: u64,
    /// Nothing was in it when it was opened.
    fresh: bool,
    sealed: RwLock<Vec<Sealed>>,
    /// Every record up to here is in a chunk, but for those that are pruned.
    applied: AtomicU64,
    /// Every record up to here was taken: it is in a chunk, or gathered for the next one, which is
    /// written when it is full. Until then the segments are read.
    taken: AtomicU64,
    /// What stands up to here is pruned, and is read by nobody.
    pruned_to: AtomicU64,
    cache: Mutex<VecDeque<CachedChunk>>,
}

fn key(kind: u8, seq: Seq) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&seq.0.to_be_bytes());
    key
}

fn piece_key(kind: u8, seq: Seq, piece: usize) -> [u8; 13] {
    let mut bytes = [0; 13];
    bytes[..9].copy_from_slice(&key(kind, seq));
    let piece = u32::try_from(piece).expect("few pieces");
    bytes[9..].copy_from_slice(&piece.to_be_bytes());
    bytes
}

/// How often, and how long each time, the lock of an earlier handle is waited for.
const LOCK_TRIES: u32 = 500;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Opens sled. Its own threads hold the file for a moment after the last handle is dropped, which
/// is no damage: it is waited for.
pub(crate) fn open_sled(
    dir: &Path,
    (cache_bytes, segment_bytes): (u64, usize),
) -> Result<sled::Db, LogError> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(segment_bytes)
        .cache_capacity(cache_bytes)
        .flush_every_ms(None)
        .print_profile_on_drop(false);
    for _ in 0..LOCK_TRIES {
        match config.open() {
            Err(error) if error.to_string().contains("could not acquire lock") => {
                std::thread::park_timeout(LOCK_WAIT);
            }
            other => return Ok(other?),
        }
    }
    Err(LogError::Locked(dir.to_owned()))
}

impl Store {
    /// Opens the store of `log`, which begins after `pruned_to`. An error says why it has to be
    /// rebuilt.
    pub(crate) fn open(
        dir: &Path,
        cache_bytes: u64,
        (log, pruned_to): (Uuid, Seq),
    ) -> Result<Self, LogError> {
        let db = open_sled(dir, (cache_bytes, SLED_SEGMENT_BYTES))?;
        let fresh = !db.contains_key(b"mlog")?;
        let store = Self {
            db: RwLock::new(Some(db)),
            dir: dir.to_owned(),
            cache_bytes,
            fresh,
            sealed: RwLock::new(Vec::new()),
            applied: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            pruned_to: AtomicU64::new(pruned_to.0),
            cache: Mutex::new(VecDeque::new()),
        };
        match store.db()?.get(b"mlog")? {
            None => {
                store
                    .db()?
                    .insert(b"mlog", [&[FORMAT][..], log.as_bytes()].concat())?;
            }
            Some(known) if known[..] == *[&[FORMAT][..], log.as_bytes()].concat() => {}
            Some(_) => {
                let known = store.newest_chunk()?;
                return Err(LogError::StoreForeign { known });
            }
        }
        store.load_sealed()?;
        store.forget_after_durable()?;
        Ok(store)
    }

    /// sled, unless it waits to be opened again.
    fn db(&self) -> Result<sled::Db, LogError> {
        let db = self.db.read().expect("no holder panics");
        db.clone().ok_or(LogError::StoreWaits)
    }

    /// Opens it again after sled has failed, which holds on to its failure for ever. What was not
    /// durable has to be written again.
    pub(crate) fn reopen(&self) -> Result<(), LogError> {
        let mut db = self.db.write().expect("no holder panics");
        drop(db.take());
        *db = Some(open_sled(
            &self.dir,
            (self.cache_bytes, SLED_SEGMENT_BYTES),
        )?);
        drop(db);
        self.load_sealed()?;
        self.forget_after_durable()
    }

    fn load_sealed(&self) -> Result<(), LogError> {
        let mut sealed: Vec<Sealed> = Vec::new();
        for entry in self.db()?.scan_prefix(b"s") {
            let (_, value) = entry?;
            let descriptor: Descriptor = codec::decode(&value)?;
            if descriptor.first <= self.pruned_to() {
                continue;
            }
            let expected = sealed
                .last()
                .map_or(self.pruned_to().next(), |last| last.descriptor.next());
            if descriptor.first != expected {
                return Err(damaged("sealed segments are missing"));
            }
            let mut filter = Vec::new();
            for piece in self.db()?.scan_prefix(key(b'f', descriptor.first)) {
                filter.extend_from_slice(&piece?.1);
            }
            if filter.is_empty() {
                return Err(damaged("the filter of a sealed segment is missing"));
            }
            sealed.push(Sealed {
                descriptor,
                filter: Filter::from_bytes(filter),
            });
        }
        *self.sealed.write().expect("no holder panics") = sealed;
        Ok(())
    }

    /// The last record that was ever written to it, as far as it knows: such a record was
    /// acknowledged before, so that a log that ends earlier has lost it.
    pub(crate) fn known(&self) -> Result<Seq, LogError> {
        match self.db()?.get(b"mknown")? {
            Some(value) if value.len() == 8 => {
                let bytes = value[..].try_into().expect("eight bytes");
                Ok(Seq(u64::from_be_bytes(bytes)))
            }
            Some(_) | None => Ok(Seq(0)),
        }
    }

    fn newest_chunk(&self) -> Result<Seq, LogError> {
        let mut chunks = self
            .db()?
            .range(key(b'c', Seq(0))..=key(b'c', Seq(u64::MAX)));
        let Some(entry) = chunks.next_back() else {
            return Ok(Seq(0));
        };
        let (key, value) = entry?;
        let first = Seq(u64::from_be_bytes(
            key[1..9].try_into().expect("eight bytes"),
        ));
        let count = unpack(&value, first).map_or(1, |(count, _)| count.max(1));
        Ok(Seq(first.0 + count - 1))
    }

    /// What was written after the last sync may be there in part: it is written again. How far it
    /// went is kept, since it tells what was acknowledged.
    fn forget_after_durable(&self) -> Result<(), LogError> {
        let newest = self.newest_chunk()?;
        if newest > self.known()? {
            self.db()?.insert(b"mknown", &newest.0.to_be_bytes())?;
        }
        let durable = match self.db()?.get(b"mdurable")? {
            None => 0,
            Some(value) => u64::from_be_bytes(
                value[..]
                    .try_into()
                    .map_err(|_| damaged("the durable position"))?,
            ),
        };
        let durable = durable.max(self.pruned_to().0);
        let sealed = self.sealed.read().expect("no holder panics");
        if sealed
            .last()
            .is_some_and(|last| last.descriptor.next().0 > durable + 1)
        {
            return Err(damaged(
                "a sealed segment is newer than the durable position",
            ));
        }
        drop(sealed);
        let stale: Vec<sled::IVec> = self
            .db()?
            .range(key(b'c', Seq(durable + 1))..key(b'c', Seq(u64::MAX)))
            .keys()
            .collect::<Result<_, _>>()?;
        for key in stale {
            self.db()?.remove(key)?;
        }
        if durable > self.pruned_to().0 {
            let (first, count, _) = self
                .chunk(Seq(durable))?
                .ok_or_else(|| damaged("the newest chunk is missing"))?;
            if first.0 + count != durable + 1 {
                return Err(damaged("the newest chunk ends elsewhere"));
            }
        }
        self.applied.store(durable, Ordering::Release);
        self.taken.store(durable, Ordering::Release);
        Ok(())
    }

    /// Whether nothing was in it when it was opened.
    pub(crate) const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Every record up to here is in a chunk.
    pub(crate) fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// Every record up to here is in a chunk, or gathered for the next one.
    pub(crate) fn taken(&self) -> Seq {
        Seq(self.taken.load(Ordering::Acquire))
    }

    /// The last record that is pruned.
    pub(crate) fn pruned_to(&self) -> Seq {
        Seq(self.pruned_to.load(Ordering::Acquire))
    }

    /// The last record of the sealed segments.
    pub(crate) fn sealed_to(&self) -> Seq {
        let sealed = self.sealed.read().expect("no holder panics");
        let last = sealed.last().map(|last| last.descriptor.next().0 - 1);
        last.map_or(self.pruned_to(), Seq)
    }

    /// The sealed segments, oldest first.
    pub(crate) fn descriptors(&self) -> Vec<Descriptor> {
        let sealed = self.sealed.read().expect("no holder panics");
        sealed
            .iter()
            .map(|sealed| sealed.descriptor.clone())
            .collect()
    }

    /// Hides everything up to `to`, the end of a sealed segment, and then removes it. `false` when
    /// nothing of it was there.
    pub(crate) fn prune(&self, to: Seq) -> Result<bool, LogError> {
        self.pruned_to.fetch_max(to.0, Ordering::AcqRel);
        let mut sealed = self.sealed.write().expect("no holder panics");
        sealed.retain(|sealed| sealed.descriptor.first > to);
        drop(sealed);
        let mut cache = self.cache.lock().expect("no holder panics");
        cache.retain(|chunk| chunk.0 > to);
        drop(cache);
        // The descriptor goes first: what is left of a segment without one is found by nobody.
        let mut removed = false;
        for kind in [b's', b'p', b'f', b'c'] {
            let old = key(kind, Seq(0)).to_vec()..key(kind, to.next()).to_vec();
            for found in self.db()?.range(old).keys() {
                self.db()?.remove(found?)?;
                removed = true;
            }
        }
        if removed {
            self.flush()?;
        }
        Ok(removed)
    }

    /// How many segments are sealed.
    pub(crate) fn sealed_count(&self) -> u64 {
        self.sealed.read().expect("no holder panics").len() as u64
    }

    /// The descriptor of the sealed segment that begins at `first`.
    pub(crate) fn descriptor(&self, first: Seq) -> Option<Descriptor> {
        let sealed = self.sealed.read().expect("no holder panics");
        let at = sealed.partition_point(|sealed| sealed.descriptor.first < first);
        let found = sealed
            .get(at)
            .filter(|sealed| sealed.descriptor.first == first);
        found.map(|sealed| sealed.descriptor.clone())
    }

    /// The chunk that holds `seq`: first sequence, count, records.
    pub(crate) fn chunk(&self, seq: Seq) -> Result<Option<CachedChunk>, LogError> {
        let holds = |chunk: &CachedChunk| chunk.0 <= seq && seq.0 < chunk.0.0 + chunk.1;
        let mut cache = self.cache.lock().expect("no holder panics");
        if let Some(found) = cache.iter().find(|chunk| holds(chunk)) {
            return Ok(Some(found.clone()));
        }
        drop(cache);
        let Some(entry) = self
            .db()?
            .range(key(b'c', Seq(0))..=key(b'c', seq))
            .next_back()
        else {
            return Ok(None);
        };
        let (key, value) = entry?;
        let first = Seq(u64::from_be_bytes(
            key[1..9].try_into().expect("eight bytes"),
        ));
        let (count, records) = unpack(&value, first)?;
        let chunk = (first, count, Arc::new(records));
        if !holds(&chunk) {
            return Ok(None);
        }
        cache = self.cache.lock().expect("no holder panics");
        if cache.len() == CHUNKS_CACHED {
            cache.pop_front();
        }
        cache.push_back(chunk.clone());
        Ok(Some(chunk))
    }

    /// The positions of a stream's records in sealed segments, ascending.
    pub(crate) fn find(&self, stream: Stream) -> Result<Vec<Seq>, LogError> {
        let mut found = Vec::new();
        let sealed = self.sealed.read().expect("no holder panics");
        for Sealed { descriptor, filter } in &*sealed {
            if !filter.may_hold(stream) {
                continue;
            }
            let wanted = (stream.kind.number(), stream.id);
            let after = descriptor.pieces.partition_point(|first| *first <= wanted);
            let from = descriptor
                .pieces
                .partition_point(|first| *first < wanted)
                .max(1)
                - 1;
            for piece in from..after {
                let value = self
                    .db()?
                    .get(piece_key(b'p', descriptor.first, piece))?
                    .ok_or_else(|| damaged("a piece of an index is missing"))?;
                let seqs = index::find_in_piece(&value, descriptor.first, stream)
                    .ok_or_else(|| damaged("a piece of an index cannot be read"))?;
                found.extend(seqs);
            }
        }
        Ok(found)
    }

    /// Bytes that the store takes on disk, and the files that sled should not have made.
    pub(crate) fn size(&self) -> (u64, usize) {
        let bytes = self.db().and_then(|db| Ok(db.size_on_disk()?)).unwrap_or(0);
        let blobs = std::fs::read_dir(self.dir.join("blobs")).map_or(0, Iterator::count);
        (bytes, blobs)
    }

    /// Writes a value that is not read soon.
    fn put(&self, key: impl AsRef<[u8]>, value: &[u8]) -> Result<(), LogError> {
        let db = self.db()?;
        db.insert(&key, value)?;
        for _ in 0..ACCESSES_FOR_EVICTION {
            db.get(&key)?;
        }
        Ok(())
    }

    /// Records that everything up to `to` is on the medium.
    fn sync(&self, to: Seq) -> Result<(), LogError> {
        self.flush()?;
        self.db()?.insert(b"mdurable", &to.0.to_be_bytes())?;
        self.flush()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the fdatasync that flush lacks follows it"
    )]
    fn flush(&self) -> Result<(), LogError> {
        self.db()?.flush()?;
        let path = self.dir.join("db");
        let file = File::open(&path).map_err(LogError::io("open", &path))?;
        file.sync_data().map_err(LogError::io("fdatasync", &path))
    }
}

fn damaged(what: &str) -> LogError {
    LogError::StoreDamaged(what.to_owned())
}
