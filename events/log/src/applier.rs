//! The thread that writes durable frames to the lookup store. When the disk is full it waits for room
//! and writes again what the store lacks: the segments have everything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use hindcast_model::Seq;

use crate::error::LogError;
use crate::frame;
use crate::record::Records;
use crate::recovery;
use crate::segment::Location;
use crate::shared::Shared;
use crate::store::Writer;
use crate::wal::Written;

/// How long it waits before it looks whether there is room.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// A durable frame on its way to the lookup store, which reads it from the segment: what waits
/// takes no memory.
pub(crate) struct Apply {
    pub(crate) first: Seq,
    pub(crate) written: Written,
    pub(crate) frame_bytes: usize,
    pub(crate) segment_changed: bool,
}

/// Writes until the log is closed.
pub(crate) fn apply_all(
    shared: &Shared,
    batches: &Receiver<Apply>,
    mut writer: Writer,
) -> Result<(), LogError> {
    let mut frame = Vec::new();
    for batch in batches {
        // It was written with an earlier one that had to wait.
        if batch.first < writer.next() {
            continue;
        }
        match apply(shared, &batch, (&mut writer, &mut frame)) {
            Err(error) if error.is_for_want_of_room() => match catch_up(shared) {
                Some(caught_up) => writer = caught_up?,
                // The next start writes what is missing.
                None => return Ok(()),
            },
            applied => applied?,
        }
    }
    match writer.finish() {
        Err(error) if error.is_for_want_of_room() => Ok(()),
        finished => finished,
    }
}

fn apply(
    shared: &Shared,
    batch: &Apply,
    (writer, frame): (&mut Writer, &mut Vec<u8>),
) -> Result<(), LogError> {
    if batch.segment_changed {
        seal_oldest(shared, writer)?;
    }
    let written = &batch.written;
    frame.resize(batch.frame_bytes, 0);
    let read = written.file.read_at(frame, written.offset);
    read.map_err(LogError::io("read", &written.path))?;
    push_all(writer, &frame[frame::HEADER_BYTES..], batch.first)
}

/// Hands over the records of a frame that begins at `first`, but for those that are there.
fn push_all(writer: &mut Writer, records: &[u8], first: Seq) -> Result<(), LogError> {
    for entry in Records::new(records, first) {
        let (seq, header, record) = entry.map_err(|(_, what)| LogError::StoreDamaged(what))?;
        if seq >= writer.next() {
            writer.push(header.at, record)?;
        }
    }
    Ok(())
}

/// Waits for room, opens the store again and writes all that is durable by then. `None` when the log
/// is closed before.
fn catch_up(shared: &Shared) -> Option<Result<Writer, LogError>> {
    shared.room.store_waits.store(true, Ordering::Release);
    while !shared.room.closing.load(Ordering::Acquire) {
        std::thread::park_timeout(ROOM_WAIT);
        match write_again(shared) {
            Err(error) if error.is_for_want_of_room() => {}
            written => {
                shared.room.store_waits.store(false, Ordering::Release);
                return Some(written);
            }
        }
    }
    None
}

fn write_again(shared: &Shared) -> Result<Writer, LogError> {
    shared.store.reopen()?;
    let mut writer = Writer::new(Arc::clone(&shared.store));
    // Later frames come by the channel.
    let head = Seq(shared.head.load(Ordering::Acquire));
    while writer.next() <= head {
        let next = writer.next();
        if shared.open.begins_after_another(next) {
            seal_oldest(shared, &mut writer)?;
        }
        let missing = || LogError::StoreDamaged(format!("{next} is in no open segment"));
        let (first, records) = shared.open.read(next)?.ok_or_else(missing)?;
        push_all(&mut writer, &records, first)?;
    }
    writer.write_now()?;
    Ok(writer)
}

/// Hands the oldest full segment to the store for good and moves its file to the archive.
fn seal_oldest(shared: &Shared, writer: &mut Writer) -> Result<(), LogError> {
    let Some(full) = shared.open.oldest_full() else {
        return Ok(());
    };
    // It may have got so far before there was no room.
    if shared.store.sealed_to() < full.first() {
        writer.seal(&full.index, (full.chain, full.end()))?;
    }
    let location = Location {
        first: full.first(),
        path: full.path.clone(),
        archived: false,
    };
    recovery::archive(
        shared.disk.as_ref(),
        &shared.options.data_dir,
        &location,
        full.end(),
    )?;
    shared.open.remove(full.first());
    Ok(())
}
