//! The state at a moment of the past: from the nearest snapshot before it, and what the log folds
//! from there on. A snapshot that does not verify, or whose place in the log's hash chain is
//! another, is passed over for an older one. Nothing is written and nothing is set aside, so that
//! this works beside a server.

use hindcast_log::{Folded, LogError, Reader};
use hindcast_model::{Digest, Seq, State};

use crate::file;
use crate::take::{folder, list, place_of};

/// A state of the past, and how it was come by.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    pub state: State,
    /// Where the snapshot stands that was begun with; none when the log was read from its beginning.
    pub from_snapshot: Option<Seq>,
    /// Events folded onto it.
    pub folded: u64,
    /// The first event type on the way that this version does not know and may not skip.
    pub unknown: Option<String>,
    /// Epoch and hash of the frame that ends there.
    pub epoch: u32,
    pub chain: Digest,
}

/// The state after the event at `seq`, which the log of `reader` holds. A moment that was pruned is
/// an error, though a snapshot of it may be left: the log does not bear it out any more.
pub fn at(reader: &Reader, seq: Seq) -> Result<Moment, LogError> {
    let folder = folder(reader.data_dir());
    let paths = list(reader.disk(), &folder).map_err(|source| LogError::Io {
        action: "list",
        path: folder,
        source,
    })?;
    let near = paths.into_iter().rev();
    for path in near.filter(|path| place_of(path).is_some_and(|place| place <= seq)) {
        // A snapshot may be removed at any time by a running server.
        let read = reader
            .disk()
            .read(&path)
            .ok()
            .and_then(|bytes| file::decode(&bytes).ok());
        let Some(start) = read.filter(|start| start.state.seq() <= seq) else {
            continue;
        };
        let from = start.state.seq();
        match reader.fold(Some(start), seq) {
            Ok(folded) => return Ok(moment(folded, Some(from))),
            Err(LogError::ForeignCheckpoint(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(moment(reader.fold(None, seq)?, None))
}

fn moment(folded: Folded, from_snapshot: Option<Seq>) -> Moment {
    let Folded {
        state,
        events,
        unknown,
        epoch,
        chain,
    } = folded;
    Moment {
        state,
        from_snapshot,
        folded: events,
        unknown,
        epoch,
        chain,
    }
}
