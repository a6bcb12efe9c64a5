//! What a repair believes in: whose log it is, and the lookup store if it opens.

use std::path::Path;

use hindcast_model::Seq;
use uuid::Uuid;

use crate::disk::Disk;
use crate::error::LogError;
use crate::segment::{self, Location};
use crate::store::{Copied, LOOKED_CACHE_BYTES, Store};

/// The log that most of the segments can tell: the first header that is whole.
pub(super) fn log_id(disk: &dyn Disk, locations: &[Location]) -> Option<Uuid> {
    let header = |location| segment::Segment::header_of(disk, location).ok();
    locations.iter().find_map(header).map(|header| header.log)
}

/// The lookup store. Opening it writes to its files: where nothing may be changed it is a copy.
pub(super) enum Lookup {
    Own(Store),
    Copied(Copied),
}

impl Lookup {
    pub(super) const fn store(&self) -> &Store {
        match self {
            Self::Own(store) => store,
            Self::Copied(copied) => &copied.store,
        }
    }
}

/// The lookup store of `log`, or why there is none to use. It may be written to with `apply`.
pub(super) fn open_store(
    data_dir: &Path,
    log: (Uuid, Seq),
    apply: bool,
) -> Result<(Option<Lookup>, Option<String>), LogError> {
    let dir = data_dir.join("sled");
    if !dir.exists() {
        return Ok((None, None));
    }
    let opened = match apply {
        true => Store::open(&dir, LOOKED_CACHE_BYTES, log).map(Lookup::Own),
        false => Copied::open(data_dir, log).map(Lookup::Copied),
    };
    match opened {
        Ok(lookup) => Ok((Some(lookup), None)),
        Err(error @ LogError::NotCopied { .. }) => Err(error),
        Err(error) => Ok((None, Some(error.to_string()))),
    }
}
