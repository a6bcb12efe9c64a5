//! Shipping the log as it grows: every part that became durable goes to the repository at once, and
//! what has piled up is folded into whole segments from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hindcast_log::{FrameCursor, Reader};
use hindcast_model::{Digest, Seq, UnixMicros};

use crate::error::BackupError;
use crate::manifest::Stored;
use crate::repository::{Repository, blob_name, part_range, segment_name};
use crate::send::{Sender, send_keys};
use crate::work::Work;

/// Parts of the open segment that are left before they are sent again as one.
const PARTS_MAX: usize = 64;

/// What was shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// The last event that the target has, and its time.
    pub to: Seq,
    pub at: UnixMicros,
    pub parts: usize,
    pub bytes: u64,
}

/// Ships the end of a log. What it knows is only a saving: a fresh one begins with the whole open
/// segment.
#[derive(Default)]
pub struct Shipper {
    cursor: Option<FrameCursor>,
    blobs: Option<BTreeMap<Digest, Stored>>,
    keys: BTreeMap<String, Stored>,
}

impl Shipper {
    /// Sends what became durable since the last call, up to `head`.
    pub fn ship(
        &mut self,
        repository: &Repository,
        data_dir: &Path,
        head: Seq,
        work: &Work<'_>,
    ) -> Result<Shipped, BackupError> {
        let reader = work.read(data_dir)?;
        let known = match self.blobs.take() {
            Some(known) => known,
            None => blobs_there(repository)?,
        };
        let mut sender = Sender::new(repository, &reader, known);
        let shipped = self.send(&mut sender, (data_dir, head), work);
        self.blobs = shipped.is_ok().then_some(sender.known);
        shipped
    }

    fn send(
        &mut self,
        sender: &mut Sender<'_>,
        (data_dir, head): (&Path, Seq),
        work: &Work<'_>,
    ) -> Result<Shipped, BackupError> {
        let no_log = || BackupError::NoLog(data_dir.to_owned());
        if sender.repository.is_encrypted() {
            // A key is there before what is sealed under it.
            let (keys, _) = send_keys(sender.repository, data_dir, &self.keys)?;
            self.keys = keys.into_iter().map(|k| (k.name.clone(), k)).collect();
        }
        let segments = sender.reader.segments();
        let newest = segments.last().ok_or_else(no_log)?.first;
        let mut cursor = match self.cursor {
            Some(cursor) => cursor,
            None => sender.reader.frames_of(newest)?,
        };
        let mut parts = 0;
        loop {
            // Kept at once: what is sent before a failure is not sent again.
            parts += usize::from(sender.send(&mut cursor, (head, false), work)?.is_some());
            self.cursor = Some(cursor);
            let next = cursor.place.next;
            if cursor.segment >= newest || next > head {
                break;
            }
            let at = cursor.at;
            cursor = sender.reader.frames_of(next)?;
            cursor.at = at;
        }
        Ok(Shipped {
            to: cursor.place.last(),
            at: cursor.at,
            parts,
            bytes: sender.sent_bytes,
        })
    }
}

/// What a folding did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fold {
    pub segments: usize,
    pub parts_removed: usize,
    pub bytes: u64,
}

/// Sends the sealed segments that the repository lacks, makes one part of many, and removes the
/// parts that neither a backup nor a restore needs any more. When there is nothing to do it costs
/// two listings.
pub fn fold(
    repository: &Repository,
    data_dir: &Path,
    head: Seq,
    work: &Work<'_>,
) -> Result<Fold, BackupError> {
    let reader = work.read(data_dir)?;
    let (missing, mut open) = missing_segments(repository, &reader, head)?;
    let names = repository.names("tail/")?.into_keys();
    let mut parts: Vec<(Seq, Seq, String)> = names
        .filter_map(|name| part_range(&name).map(|(first, last)| (first, last, name)))
        .collect();
    let of_open = parts.iter().filter(|(first, ..)| *first >= open).count();
    if missing.is_empty() && of_open <= PARTS_MAX && parts.iter().all(|part| part.1 >= open) {
        return Ok(Fold::default());
    }
    let mut needed: BTreeSet<String> = BTreeSet::new();
    for listed in repository.list()? {
        needed.extend(listed.manifest.names().map(str::to_owned));
    }
    parts.retain(|(.., name)| !needed.contains(name));
    let mut sender = Sender::new(repository, &reader, blobs_there(repository)?);
    for first in &missing {
        let mut cursor = reader.frames_of(*first)?;
        sender.send(&mut cursor, (head, true), work)?;
    }
    if parts.iter().filter(|(first, ..)| *first >= open).count() > PARTS_MAX {
        let mut cursor = reader.frames_of(open)?;
        if let Some(whole) = sender.send(&mut cursor, (head, false), work)? {
            parts.retain(|(.., name)| *name != whole.name);
            open = whole.last.next();
        }
    }
    // What ends before the open segment, or within the part that was just made.
    parts.retain(|(_, last, _)| *last < open);
    for (.., name) in &parts {
        work.check()?;
        repository.remove(name)?;
    }
    Ok(Fold {
        segments: missing.len(),
        parts_removed: parts.len(),
        bytes: sender.sent_bytes,
    })
}

/// The sealed segments that a repository lacks, and where the open one begins.
fn missing_segments(
    repository: &Repository,
    reader: &Reader,
    head: Seq,
) -> Result<(Vec<Seq>, Seq), BackupError> {
    let there = repository.names("segments/")?;
    let (mut missing, mut open) = (Vec::new(), Seq(1));
    for pair in reader.segments().windows(2) {
        let (first, next) = (pair[0].first, pair[1].first);
        if next > head.next() {
            break;
        }
        open = next;
        // The next segment's header tells how this one ends.
        let chain = reader.frames_of(next)?.place.chain;
        if !there.contains_key(&segment_name(first, chain)) {
            missing.push(first);
        }
    }
    Ok((missing, open))
}

/// The blobs that a repository has. An object is there as a whole or not at all.
fn blobs_there(repository: &Repository) -> Result<BTreeMap<Digest, Stored>, BackupError> {
    let mut known = BTreeMap::new();
    for (name, stored_bytes) in repository.names("blobs/")? {
        let stem = name.rsplit('/').next().and_then(|n| n.strip_suffix(".zst"));
        let Some(digest) = stem.and_then(|stem| stem.parse::<Digest>().ok()) else {
            continue;
        };
        let stored = Stored {
            name: blob_name(digest),
            bytes: 0,
            blake3: digest,
            stored_bytes,
        };
        known.insert(digest, stored);
    }
    Ok(known)
}
