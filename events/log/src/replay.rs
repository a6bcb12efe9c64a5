//! Folds the log: the state, the position and what the lookup store lacks.

use hindcast_model::{Event, Seq, State};

use crate::disk::Disk;
use crate::error::LogError;
use crate::record::{self, Body, Recorded, Records};
use crate::scan::{self, Link, Scanned, Stretch};
use crate::segment::{self, Location};

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub events: u64,
    pub segments: usize,
    pub segments_total: usize,
}

/// What the log folds to.
pub struct Replayed {
    pub state: State,
    pub(crate) scanned: Option<Scanned>,
    /// The first event type that this version does not know and may not skip.
    pub unknown: Option<String>,
    /// Whether the last process closed the log in good order.
    pub clean: bool,
}

/// Folds one record that is known; carries one that may be ignored.
pub(crate) struct Folder {
    pub(crate) state: State,
    pub(crate) unknown: Option<String>,
    pub(crate) clean: bool,
}

impl Folder {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            unknown: None,
            clean: true,
        }
    }

    pub(crate) fn fold(&mut self, recorded: &Recorded) {
        match &recorded.body {
            Body::Known(event) => {
                self.clean = matches!(event, Event::ServerStopped(_));
                let place = self.state.apply(&recorded.context, event);
                // A foreign writer could have placed it elsewhere; the index follows the record.
                debug_assert_eq!(place, (recorded.stream, recorded.version));
            }
            Body::Unknown { number, schema, .. } if !recorded.ignorable => {
                self.unknown.get_or_insert_with(|| {
                    format!(
                        "sequence {} is of type {number} schema {schema}",
                        recorded.seq()
                    )
                });
            }
            Body::Unknown { .. } => {}
        }
    }
}

/// Decodes every record of a stretch of frames.
pub(crate) fn records(
    stretch: &Stretch,
    mut visit: impl FnMut(&record::Header, &[u8], Recorded) -> Result<(), LogError>,
) -> Result<(), LogError> {
    for frame in &stretch.frames {
        let body = frame.offset + crate::frame::HEADER_BYTES;
        let bytes = &stretch.segment.bytes[body..frame.offset + frame.len];
        for entry in Records::new(bytes, frame.first) {
            let corrupt = |seq, what| stretch.segment.corrupt(seq, frame.offset, what);
            let (seq, header, record) = entry.map_err(|(seq, what)| corrupt(seq, what))?;
            let recorded =
                record::decode(record, &header, seq).map_err(|what| corrupt(seq, what))?;
            visit(&header, record, recorded)?;
        }
    }
    Ok(())
}

/// What a replay shows to whoever follows it.
pub(crate) trait Visit {
    /// A segment begins.
    fn begin(&mut self, _location: &Location) -> Result<(), LogError> {
        Ok(())
    }

    /// A record, after it was folded.
    fn record(
        &mut self,
        _header: &record::Header,
        _bytes: &[u8],
        _recorded: &Recorded,
    ) -> Result<(), LogError> {
        Ok(())
    }

    /// A stretch of frames, after its records.
    fn end(&mut self, _stretch: &Stretch) -> Result<(), LogError> {
        Ok(())
    }
}

/// Follows nothing.
pub(crate) struct FoldOnly;

impl Visit for FoldOnly {}

/// Folds the whole log under `data_dir`.
pub fn replay(
    disk: &dyn Disk,
    data_dir: &std::path::Path,
    progress: &dyn Fn(Progress),
) -> Result<Replayed, LogError> {
    let locations = segment::list(disk, data_dir)?;
    replay_from(
        disk,
        &locations,
        (State::default(), None),
        progress,
        &mut FoldOnly,
    )
}

/// Folds `locations` onto a state that ends at `start`.
pub(crate) fn replay_from(
    disk: &dyn Disk,
    locations: &[Location],
    (state, start): (State, Option<Link>),
    progress: &dyn Fn(Progress),
    visitor: &mut dyn Visit,
) -> Result<Replayed, LogError> {
    let mut folder = Folder::new(state);
    let mut done = Progress {
        events: 0,
        segments: 0,
        segments_total: locations.len(),
    };
    let scanned = scan::scan(disk, locations, start, |stretch| {
        if stretch.begins {
            visitor.begin(&stretch.segment.location)?;
        }
        records(stretch, |header, record, recorded| {
            folder.fold(&recorded);
            done.events += 1;
            visitor.record(header, record, &recorded)
        })?;
        visitor.end(stretch)?;
        done.segments += usize::from(stretch.end.is_some());
        progress(done);
        Ok(())
    })?;
    let Folder {
        state,
        unknown,
        clean,
    } = folder;
    Ok(Replayed {
        state,
        scanned,
        unknown,
        clean,
    })
}

impl Replayed {
    /// The last sequence in the log.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.scanned
            .as_ref()
            .map_or(Seq(0), |scanned| Seq(scanned.link.next.0 - 1))
    }
}
