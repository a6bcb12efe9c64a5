//! Writing the store: records into chunks, and the index of a segment that is full.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hindcast_model::{Seq, UnixMicros};

use super::{Descriptor, FILTER_PIECE_BYTES, Sealed, Store, key, piece_key};
use crate::chunk::{CHUNK_BYTES, pack};
use crate::codec;
use crate::error::LogError;
use crate::frame::Chain;
use crate::index::SegmentIndex;

/// The writing end of the store.
pub(crate) struct Writer {
    store: Arc<Store>,
    records: Vec<u8>,
    first: Seq,
    count: u32,
    times: (UnixMicros, UnixMicros),
}

impl Writer {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let first = store.applied().next();
        let records = Vec::with_capacity(CHUNK_BYTES);
        Self {
            store,
            records,
            first,
            count: 0,
            times: (UnixMicros(0), UnixMicros(0)),
        }
    }

    /// The next record that is wanted.
    pub(crate) const fn next(&self) -> Seq {
        Seq(self.first.0 + self.count as u64)
    }

    /// Takes the next record.
    pub(crate) fn push(&mut self, at: UnixMicros, record: &[u8]) -> Result<(), LogError> {
        if self.records.len() + record.len() > CHUNK_BYTES {
            self.write_chunk()?;
        }
        if self.count == 0 {
            self.times.0 = at;
        }
        self.times.1 = at;
        self.records.extend_from_slice(record);
        self.count += 1;
        let taken = self.next().0 - 1;
        self.store.taken.store(taken, Ordering::Release);
        Ok(())
    }

    /// Writes what has been taken, so that a lack of room shows.
    pub(crate) fn write_now(&mut self) -> Result<(), LogError> {
        self.write_chunk()?;
        self.store.flush()
    }

    /// Writes what has been taken, however little.
    fn write_chunk(&mut self) -> Result<(), LogError> {
        if self.count == 0 {
            return Ok(());
        }
        let value = pack(self.count, self.times, &self.records);
        self.store.put(key(b'c', self.first), &value)?;
        let next = self.next();
        self.store.applied.store(next.0 - 1, Ordering::Release);
        self.first = next;
        self.count = 0;
        self.records.clear();
        Ok(())
    }

    /// Writes the index of a full segment, whose records have all been pushed, and syncs.
    pub(crate) fn seal(
        &mut self,
        index: &SegmentIndex,
        (chain, bytes): (Chain, u64),
    ) -> Result<(), LogError> {
        self.write_chunk()?;
        let first = index.first;
        let pieces = index.pieces();
        let starts = pieces
            .iter()
            .map(|(start, _)| (start.kind.number(), start.id))
            .collect();
        for (number, (_, piece)) in pieces.iter().enumerate() {
            self.store.put(piece_key(b'p', first, number), piece)?;
        }
        let filter = index.filter();
        for (number, piece) in filter.bytes().chunks(FILTER_PIECE_BYTES).enumerate() {
            self.store.put(piece_key(b'f', first, number), piece)?;
        }
        self.store.sync(Seq(self.first.0 - 1))?;
        let descriptor = Descriptor {
            first,
            count: index.count() as u64,
            min_at: index.min_at,
            max_at: index.max_at,
            chain,
            bytes,
            pieces: starts,
        };
        self.store
            .db()?
            .insert(key(b's', first), codec::encode(&descriptor)?)?;
        self.store.flush()?;
        self.store
            .sealed
            .write()
            .expect("no holder panics")
            .push(Sealed { descriptor, filter });
        Ok(())
    }

    /// Writes everything and syncs: nothing has to be written again at the next start.
    pub(crate) fn finish(&mut self) -> Result<(), LogError> {
        self.write_chunk()?;
        self.store.sync(Seq(self.first.0 - 1))
    }
}
