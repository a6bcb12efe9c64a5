//! What a repair believes in: whose log it is, and the lookup store if it opens.

use std::path::Path;

use hindcast_model::Seq;
use uuid::Uuid;

use crate::disk::Disk;
use crate::segment::{self, Location};
use crate::store::Store;

/// The log that most of the segments can tell: the first header that is whole.
pub(super) fn log_id(disk: &dyn Disk, locations: &[Location]) -> Option<Uuid> {
    let header = |location| segment::Segment::header_of(disk, location).ok();
    locations.iter().find_map(header).map(|header| header.log)
}

/// The lookup store, or why there is none to use.
pub(super) fn open_store(data_dir: &Path, log: (Uuid, Seq)) -> (Option<Store>, Option<String>) {
    let dir = data_dir.join("sled");
    if !dir.exists() {
        return (None, None);
    }
    match Store::open(&dir, 16 << 20, log) {
        Ok(store) => (Some(store), None),
        Err(error) => (None, Some(error.to_string())),
    }
}
