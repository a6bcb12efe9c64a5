//! The segments whose records the lookup store does not hold for good: their frames, their index
//! and an open file to read them from.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use hindcast_model::{Seq, Stream};

use crate::disk::DiskFile;
use crate::error::LogError;
use crate::frame::{self, Chain};
use crate::index::SegmentIndex;

/// One segment that is not sealed in the store.
#[derive(Clone)]
pub(crate) struct OpenSegment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// First sequence, offset and length of each frame.
    pub(crate) frames: Vec<(Seq, u64, u32)>,
    pub(crate) index: SegmentIndex,
    pub(crate) chain: Chain,
}

impl OpenSegment {
    pub(crate) const fn new(first: Seq, path: PathBuf, file: Arc<dyn DiskFile>) -> Self {
        let index = SegmentIndex::new(first);
        Self {
            path,
            file,
            frames: Vec::new(),
            index,
            chain: [0; 32],
        }
    }

    pub(crate) const fn first(&self) -> Seq {
        self.index.first
    }

    /// Bytes up to the end of the last frame.
    pub(crate) fn end(&self) -> u64 {
        let header = crate::segment::HEADER_BYTES as u64;
        self.frames
            .last()
            .map_or(header, |(_, offset, len)| offset + u64::from(*len))
    }
}

/// The open segments in order.
#[derive(Default)]
pub(crate) struct OpenSegments(RwLock<Vec<OpenSegment>>);

impl OpenSegments {
    pub(crate) fn push(&self, segment: OpenSegment) {
        self.0.write().expect("no holder panics").push(segment);
    }

    /// Changes the last segment.
    pub(crate) fn with_last<R>(&self, act: impl FnOnce(Option<&mut OpenSegment>) -> R) -> R {
        act(self.0.write().expect("no holder panics").last_mut())
    }

    /// The first segment, if another follows it.
    pub(crate) fn oldest_full(&self) -> Option<OpenSegment> {
        let segments = self.0.read().expect("no holder panics");
        (segments.len() > 1).then(|| segments[0].clone())
    }

    /// Whether a segment begins at `seq`, and one that is full lies before it.
    pub(crate) fn begins_after_another(&self, seq: Seq) -> bool {
        let segments = self.0.read().expect("no holder panics");
        let mut later = segments.iter().skip(1);
        later.any(|segment| segment.first() == seq)
    }

    pub(crate) fn remove(&self, first: Seq) {
        self.0
            .write()
            .expect("no holder panics")
            .retain(|segment| segment.first() != first);
    }

    /// The positions of a stream's records in open segments, ascending.
    pub(crate) fn find(&self, stream: Stream) -> Vec<Seq> {
        let segments = self.0.read().expect("no holder panics");
        segments
            .iter()
            .flat_map(|segment| segment.index.find(stream))
            .collect()
    }

    /// The frame that holds `seq`: the records' bytes and the first one's sequence.
    pub(crate) fn read(&self, seq: Seq) -> Result<Option<(Seq, Vec<u8>)>, LogError> {
        let place = {
            let segments = self.0.read().expect("no holder panics");
            let after = segments.partition_point(|segment| segment.first() <= seq);
            let Some(segment) = after.checked_sub(1).map(|at| &segments[at]) else {
                return Ok(None);
            };
            let after = segment.frames.partition_point(|(first, ..)| *first <= seq);
            let Some(frame) = after.checked_sub(1).map(|at| segment.frames[at]) else {
                return Ok(None);
            };
            (Arc::clone(&segment.file), segment.path.clone(), frame)
        };
        let (file, path, (first, offset, len)) = place;
        let mut bytes = vec![0; len as usize];
        file.read_at(&mut bytes, offset)
            .map_err(LogError::io("read", &path))?;
        let damaged = || LogError::Corrupt {
            seq: first,
            file: path.display().to_string(),
            offset,
            what: "the frame's checksum does not hold".to_owned(),
        };
        let (header, _) = frame::read(&bytes).ok_or_else(damaged)?;
        if seq >= header.next() {
            return Ok(None);
        }
        bytes.drain(..frame::HEADER_BYTES);
        Ok(Some((first, bytes)))
    }
}
