//! Healing of what `verify` finds. Nothing is believed that the hash chain does not bear out: a
//! frame is put back only when the frame or the segment after it, or what is left of its own
//! header, names exactly its bytes. Before what is lost nothing follows that could: there a frame of a
//! copy that goes on from the frame before it is also believed when the lookup store has its records.
//! What is replaced is kept beside it.
//!
//! Frames are looked for, in this order, anywhere in the damaged file, in a spare copy of the
//! segment, and in the lookup store, whose records are those of the log.

mod blobs;
mod evidence;
mod frames;
mod holes;
mod newest;
mod rebuild;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hindcast_model::{Digest, Seq};
use uuid::Uuid;

use crate::base::Origin;
use crate::disk::{Disk, RealDisk, read_from};
use crate::error::LogError;
use crate::lock;
use crate::recovery::move_aside;
use crate::scan::Link;
use crate::segment::{self, Location};
use crate::store::Store;
use crate::verify::archived_to;
use evidence::{Lookup, log_id, open_store};
use frames::{End, Rebuilt, advance, frames, gathered, next_of};
use holes::unread;

/// Copies of what is damaged, such as a backup.
pub trait Spares {
    /// Bytes in which the frames from `first` to before `next`, or to the end, stand somewhere, in
    /// any order and among others.
    fn frames(&self, first: Seq, next: Option<Seq>) -> Result<Option<Vec<u8>>, String>;

    /// The content of a blob.
    fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, String>;
}

/// No copies.
pub struct NoSpares;

impl Spares for NoSpares {
    fn frames(&self, _first: Seq, _next: Option<Seq>) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn blob(&self, _digest: Digest) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

/// One thing that is healed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A segment is written anew. The damaged file stays beside it.
    Segment {
        first: Seq,
        path: PathBuf,
        /// Sequences whose frames came from elsewhere, from and to.
        healed: Vec<(Seq, Seq)>,
        /// Frames by where they came from: out of place in the file, the spare copy, the store.
        moved: u64,
        spare: u64,
        store: u64,
        /// Bytes behind the last frame of a sealed segment, which are left out.
        stray: u64,
    },
    /// A blob is written from a spare copy.
    Blob { digest: Digest, seq: Seq },
    /// The lookup store is moved aside; the next start writes it again from the log.
    Store { why: String },
}

/// Something that nothing at hand can heal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The first event that is concerned, and the last.
    pub seq: Seq,
    pub to: Seq,
    pub what: String,
}

/// What can be healed, or was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    pub remedies: Vec<Remedy>,
    pub lost: Vec<Lost>,
    /// The last sequence before the first that is lost; the last of the log when none is. A blob that is
    /// lost does not count.
    pub whole_to: Seq,
}

/// Finds what is damaged under `data_dir` and, with `apply`, heals it; without, it writes nothing there.
/// Takes the lock of the data directory: no server may run. A second repair after a crash in the middle
/// of one goes on.
pub fn repair(data_dir: &Path, spares: &dyn Spares, apply: bool) -> Result<Repair, LogError> {
    let _held = match apply {
        true => Some(lock::lock(data_dir)?),
        false => lock::lock_to_look(data_dir)?.ok(),
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let origin = Origin::find(disk.as_ref(), data_dir)?;
    let locations = &origin.locations;
    let log = origin.base().map(|base| base.log);
    let log = log.or_else(|| log_id(disk.as_ref(), locations));
    let mut repair = Repair::default();
    let (lookup, why) = match log {
        Some(log) => open_store(data_dir, (log, origin.pruned_to()), apply)?,
        None => (None, None),
    };
    let store = lookup.as_ref().map(Lookup::store);
    let mut pass = Pass {
        disk: disk.as_ref(),
        data_dir,
        spares,
        store,
        store_differs: None,
        blobs: origin.checkpoint()?.map_or_else(BTreeMap::new, |base| {
            let named = base.state.blobs();
            named.map(|digest| (digest, base.state.seq())).collect()
        }),
        apply,
    };
    let begin = log.map(|log| match origin.base() {
        Some(base) => base.link(),
        None => Link {
            log,
            epoch: 1,
            next: Seq(1),
            chain: [0; 32],
        },
    });
    pass.segments(locations, begin, &mut repair)?;
    let Pass {
        store_differs,
        blobs: named,
        ..
    } = pass;
    blobs::heal(&disk, data_dir, (named, spares, apply), &mut repair)?;
    let behind = store.zip(archived_to(locations));
    let behind = behind.filter(|(store, archived)| store.applied() < *archived);
    let behind = behind.map(|(store, archived)| {
        let applied = store.applied();
        format!("it ends at sequence {applied}, and once held {archived}")
    });
    drop(lookup);
    let store_differs = store_differs.or(behind);
    if let Some(why) = why.or(store_differs) {
        if apply {
            move_aside(data_dir, &data_dir.join("sled"))?;
        }
        repair.remedies.push(Remedy::Store { why });
    }
    Ok(repair)
}

/// A segment that is whole, or was healed as far as it goes.
struct Looked {
    /// Where the log goes on behind it; None when nothing tells.
    end: Option<Link>,
    remedy: Option<Remedy>,
    /// What is missing from it.
    lost: Vec<Lost>,
}

struct Pass<'a> {
    disk: &'a dyn Disk,
    data_dir: &'a Path,
    spares: &'a dyn Spares,
    store: Option<&'a Store>,
    /// Where the lookup store holds something else than an intact frame.
    store_differs: Option<String>,
    /// The blobs that the log names, each with the first event that does.
    blobs: BTreeMap<Digest, Seq>,
    apply: bool,
}

impl Pass<'_> {
    fn segments(
        &mut self,
        locations: &[Location],
        begin: Option<Link>,
        repair: &mut Repair,
    ) -> Result<(), LogError> {
        let Some(mut link) = begin else {
            if !locations.is_empty() {
                let what = "no segment has a header that can be read".to_owned();
                let (seq, to) = (Seq(1), Seq(1));
                repair.lost.push(Lost { seq, to, what });
            }
            return Ok(());
        };
        repair.whole_to = Seq(link.next.0 - 1);
        let mut index = 0;
        while index < locations.len() {
            let location = &locations[index];
            let missing = location.first > link.next;
            let place = match missing {
                true => Location {
                    first: link.next,
                    path: segment::archive_dir(self.data_dir).join(segment::file_name(link.next)),
                    archived: true,
                },
                false => location.clone(),
            };
            let after = &locations[index + usize::from(!missing)..];
            index += usize::from(!missing);
            let looked = self.segment(&place, after, &link)?;
            repair.remedies.extend(looked.remedy);
            repair.lost.extend(looked.lost);
            let Some(end) = looked.end else {
                // The chain is looked at again from the next header that is whole.
                let Some((passed, next)) = self.resume(&locations[index..], &link) else {
                    return Ok(());
                };
                let between = &locations[index..index + passed];
                repair.lost.extend(unread(between, next.next));
                (index, link) = (index + passed, next);
                continue;
            };
            link = end;
            if repair.lost.is_empty() {
                repair.whole_to = Seq(link.next.0 - 1);
            }
        }
        if let Some(lost) = repair.lost.first() {
            repair.whole_to = Seq(lost.seq.0.saturating_sub(1));
        }
        let last = locations.last();
        if last.is_some_and(|last| last.archived && last.first < link.next) {
            self.newest(&link, repair)?;
        }
        Ok(())
    }

    /// The next segment whose header is whole, with the link that it names.
    fn resume(&self, rest: &[Location], link: &Link) -> Option<(usize, Link)> {
        rest.iter().enumerate().find_map(|(at, location)| {
            let header = segment::Segment::header_of(self.disk, location).ok();
            let header = header.filter(|header| header.first == location.first)?;
            let link = Link {
                next: header.first,
                chain: header.previous,
                ..*link
            };
            Some((at, link))
        })
    }

    /// Looks at one segment, and heals it when it has to be healed.
    fn segment(
        &mut self,
        location: &Location,
        after: &[Location],
        link: &Link,
    ) -> Result<Looked, LogError> {
        let path = &location.path;
        let bytes = match self.disk.open(path, false) {
            Ok(file) => read_from(file.as_ref(), 0).map_err(LogError::io("read", path))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(LogError::io("open", path)(error)),
        };
        let end = match after.first() {
            Some(next) => Some(self.end_before(next, link.log)?),
            None => None,
        };
        let spare = match self.needs_spare(&bytes, link, end) {
            true => self.spares.frames(location.first, end.map(|end| end.next)),
            false => Ok(None),
        };
        let (spare, unreadable) = match spare {
            Ok(spare) => (spare, None),
            Err(why) => (None, Some(why)),
        };
        let found = gathered(&bytes, spare.as_deref(), link.log);
        let mut rebuilt = self.rebuild(&bytes, &found, link, end).rebuilt(link, end);
        for lost in &mut rebuilt.lost {
            if let Some(why) = &unreadable {
                let told = format!("; the spare copy of this segment cannot be read: {why}");
                lost.what.push_str(&told);
            }
        }
        blobs::named(&rebuilt, location.first, &mut self.blobs)?;
        let remedy = self.remedy(location, &bytes, &rebuilt, end.is_some());
        if self.apply && remedy.is_some() {
            self.replace(location, &bytes, &rebuilt.bytes)?;
        }
        let Rebuilt { end, lost, .. } = rebuilt;
        Ok(Looked { end, remedy, lost })
    }

    /// What is done about a segment, if there is something to do.
    fn remedy(
        &self,
        location: &Location,
        bytes: &[u8],
        rebuilt: &Rebuilt,
        sealed: bool,
    ) -> Option<Remedy> {
        // A sealed segment ends with its last frame; behind the end of the log the next start cuts.
        let behind = bytes.get(rebuilt.bytes.len()..).unwrap_or_default();
        let stray = match sealed && behind.iter().any(|byte| *byte != 0) {
            true => behind.len() as u64,
            false => 0,
        };
        let header = bytes.get(..segment::HEADER_BYTES);
        let same_header = header == rebuilt.bytes.get(..segment::HEADER_BYTES);
        let whole = rebuilt.healed.is_empty() && rebuilt.moved == 0 && same_header;
        // A header alone is no segment.
        if (whole && stray == 0) || rebuilt.frames.is_empty() {
            return None;
        }
        Some(Remedy::Segment {
            first: location.first,
            path: location.path.clone(),
            healed: rebuilt.healed.clone(),
            moved: rebuilt.moved,
            spare: rebuilt.spare,
            store: rebuilt.store,
            // Of a segment with other damage they may be of the frames that were damaged.
            stray: if whole { stray } else { 0 },
        })
    }

    /// What the beginning of the next segment says of the end of the one before it.
    fn end_before(&self, next: &Location, log: Uuid) -> Result<End, LogError> {
        let header = segment::Segment::header_of(self.disk, next).ok();
        let header = header.filter(|header| header.first == next.first);
        if let Some(header) = header {
            return Ok(End {
                next: header.first,
                chain: Some(header.previous),
            });
        }
        let failed = LogError::io("read", &next.path);
        let file = self.disk.open(&next.path, false);
        let bytes = file.and_then(|file| read_from(file.as_ref(), 0));
        let bytes = bytes.map_err(failed)?;
        let found = frames(&bytes, log, false);
        let first = found.get(&next.first).and_then(|frames| frames.first());
        Ok(End {
            next: next.first,
            chain: first.map(|frame| frame.header.previous),
        })
    }

    /// Whether the file alone does not hold every frame of the segment.
    fn needs_spare(&self, bytes: &[u8], link: &Link, end: Option<End>) -> bool {
        let found = frames(bytes, link.log, false);
        let (mut place, mut place_offset) = (*link, segment::HEADER_BYTES);
        while let Some(frame) = next_of(&found, &place, end) {
            place = advance(&place, frame);
            place_offset = frame.offset + frame.bytes.len();
        }
        match end {
            Some(end) => !end.is_at(&place),
            None => {
                let rest = bytes.get(place_offset..).unwrap_or_default();
                let known = self
                    .store
                    .is_some_and(|store| store.applied() >= place.next);
                known || bytes.is_empty() || rest.iter().any(|byte| *byte != 0)
            }
        }
    }

    /// Puts the healed segment in the place of the damaged one, which is kept.
    fn replace(&self, location: &Location, old: &[u8], new: &[u8]) -> Result<(), LogError> {
        let path = &location.path;
        let dir = path.parent().unwrap_or(self.data_dir);
        let half = path.with_extension("healed");
        let failed = |action| LogError::io(action, &half);
        match self.disk.remove(&half) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove")(error));
            }
            Ok(()) | Err(_) => {}
        }
        let file = self.disk.create(&half).map_err(failed("create"))?;
        file.write_at(new, 0).map_err(failed("write"))?;
        if !location.archived && old.len() > new.len() {
            // The segment that is written to keeps its preallocated length.
            file.set_len(old.len() as u64).map_err(failed("extend"))?;
        }
        file.sync_data().map_err(failed("fdatasync"))?;
        if !old.is_empty() {
            let kept = (1_u32..).map(|n| path.with_extension(format!("damaged-{n}")));
            let kept = kept.into_iter().find(|path| !path.exists());
            let kept = kept.expect("some number is free");
            std::fs::hard_link(path, &kept).map_err(LogError::io("keep", &kept))?;
        }
        self.disk
            .rename(&half, path)
            .map_err(LogError::io("rename", path))?;
        self.disk.sync_dir(dir).map_err(LogError::io("sync", dir))
    }
}
