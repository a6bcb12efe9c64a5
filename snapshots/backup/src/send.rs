//! Sending frames of the log to a repository: first the blobs that their events name, then the
//! frames, so that what is there can always be restored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hindcast_log::{BaseFile, Blobs, FrameCursor, Reader, blobs_in};
use hindcast_model::{Digest, Seq};

use crate::error::BackupError;
use crate::manifest::{Based, Stored, Stretch};
use crate::repository::{Repository, base_name, blob_name, part_name, segment_name};
use crate::work::Work;

/// What of a log a repository is sent.
pub(crate) struct Sender<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) reader: &'a Reader,
    blobs: Blobs,
    /// Blobs that the repository has for certain.
    pub(crate) known: BTreeMap<Digest, Stored>,
    pub(crate) sent_bytes: u64,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(
        repository: &'a Repository,
        reader: &'a Reader,
        known: BTreeMap<Digest, Stored>,
    ) -> Self {
        Self {
            repository,
            reader,
            blobs: reader.blobs(),
            known,
            sent_bytes: 0,
        }
    }

    /// Sends the frames from the cursor to the end of its segment, or to `to` if that is before, as
    /// one object and moves the cursor behind them; none when there are none.
    pub(crate) fn send(
        &mut self,
        cursor: &mut FrameCursor,
        (to, sealed): (Seq, bool),
        work: &Work<'_>,
    ) -> Result<Option<Stretch>, BackupError> {
        let first = cursor.place.next;
        let mut named = BTreeSet::new();
        let mut end = *cursor;
        self.reader.copy_frames(&mut end, to, |frames| {
            work.check()?;
            Ok::<_, BackupError>(blobs_in(frames, |digest| {
                named.insert(digest);
            })?)
        })?;
        if end.place.next == first {
            return Ok(None);
        }
        for digest in named {
            work.check()?;
            self.send_blob(digest)?;
        }
        let (last, chain) = (end.place.last(), end.place.chain);
        let name = match sealed {
            true => segment_name(first, chain),
            false => part_name(first, last, chain),
        };
        let header = cursor.place.header();
        let stored = self.repository.store_with(
            |_| name,
            |packer| {
                let failed = |error| BackupError::damaged("compression", error);
                packer.write(&header).map_err(failed)?;
                // To the place that was read before: the segment may have grown since.
                self.reader.copy_frames(cursor, last, |frames| {
                    work.check()?;
                    packer.write(frames).map_err(failed)
                })
            },
        )?;
        self.sent_bytes += stored.stored_bytes;
        Ok(Some(Stretch {
            name: stored.name,
            first,
            last,
            chain,
            at: cursor.at,
            sealed,
            bytes: stored.bytes,
            blake3: stored.blake3,
            stored_bytes: stored.stored_bytes,
        }))
    }

    /// Sends what a pruned log goes on from, with the blobs that the state there names; `known` is
    /// what the repository has.
    pub(crate) fn send_base(
        &mut self,
        base: &BaseFile,
        known: Option<&Based>,
        work: &Work<'_>,
    ) -> Result<Based, BackupError> {
        for digest in base.state()?.blobs() {
            work.check()?;
            self.send_blob(digest)?;
        }
        let place = base.place();
        let name = base_name(place.last(), Blobs::digest(base.bytes()));
        if let Some(known) = known.filter(|known| known.name == name) {
            return Ok(known.clone());
        }
        let stored = self.repository.store(name, base.bytes())?;
        self.sent_bytes += stored.stored_bytes;
        Ok(Based {
            name: stored.name,
            last: place.last(),
            chain: place.chain,
            at: base.at(),
            bytes: stored.bytes,
            blake3: stored.blake3,
            stored_bytes: stored.stored_bytes,
        })
    }

    fn send_blob(&mut self, digest: Digest) -> Result<(), BackupError> {
        if self.known.contains_key(&digest) {
            return Ok(());
        }
        let content = self.blobs.get(digest)?;
        let stored = self.repository.store(blob_name(digest), &content)?;
        self.sent_bytes += stored.stored_bytes;
        self.known.insert(digest, stored);
        Ok(())
    }
}

/// Sends the data keys of a data directory that the repository lacks and that are not redacted.
pub(crate) fn send_keys(
    repository: &Repository,
    data_dir: &Path,
    known: &BTreeMap<String, Stored>,
) -> Result<(Vec<Stored>, u64), BackupError> {
    let redacted = repository.redacted()?;
    let (mut keys, mut sent_bytes) = (Vec::new(), 0);
    for (name, path) in key_files(data_dir)? {
        if redacted.contains(&name) {
            continue;
        }
        let name = format!("keys/{name}");
        if let Some(stored) = known.get(&name) {
            keys.push(stored.clone());
            continue;
        }
        let content = std::fs::read(&path).map_err(BackupError::io("read", &path))?;
        let stored = repository.store(name, &content)?;
        sent_bytes += stored.stored_bytes;
        keys.push(stored);
    }
    Ok((keys, sent_bytes))
}

/// The files of the data keys under a data directory, by name.
pub(crate) fn key_files(
    data_dir: &Path,
) -> Result<BTreeMap<String, std::path::PathBuf>, BackupError> {
    let dir = data_dir.join("keys");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(BackupError::io("list", &dir)(error)),
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(BackupError::io("list", &dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| name.ends_with(".key")) {
            found.insert(name.to_owned(), path);
        }
    }
    Ok(found)
}
