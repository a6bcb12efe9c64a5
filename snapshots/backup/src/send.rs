//! Sending frames of the log to a repository: first the blobs that their events name, then the
//! frames, so that what is there can always be restored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hindcast_log::{BaseFile, Blobs, FrameCursor, Reader, blobs_in};
use hindcast_model::{Digest, Seq};

use crate::error::{BackupError, TargetError};
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
    /// Blobs that are lost here and that the repository does not have either.
    lost: BTreeSet<Digest>,
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
            lost: BTreeSet::new(),
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

    /// Sends a blob that the repository lacks. One that is lost here must not keep all the others
    /// from being safe: the repository is told that it is lost, unless it has it.
    fn send_blob(&mut self, digest: Digest) -> Result<(), BackupError> {
        if self.known.contains_key(&digest) || self.lost.contains(&digest) {
            return Ok(());
        }
        let stored = match self.blobs.get(digest) {
            Ok(content) => self.repository.store(blob_name(digest), &content)?,
            Err(error) if error.is_lost() => match self.held(digest)? {
                Some(stored) => stored,
                None => {
                    self.repository.record_lost(digest)?;
                    self.lost.insert(digest);
                    return Ok(());
                }
            },
            Err(error) => return Err(error.into()),
        };
        self.sent_bytes += stored.stored_bytes;
        self.known.insert(digest, stored);
        Ok(())
    }

    /// The blob as the repository has it, if it is whole there; nothing was sent.
    fn held(&self, digest: Digest) -> Result<Option<Stored>, BackupError> {
        let name = blob_name(digest);
        let content = match self.repository.content(&name) {
            Ok(content) if Blobs::digest(&content) == digest => content,
            Ok(_)
            | Err(BackupError::Damaged { .. } | BackupError::Target(TargetError::Missing { .. })) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let listed = self.repository.names(&name)?;
        let stored = |stored_bytes: &u64| Stored {
            name: name.clone(),
            bytes: content.len() as u64,
            blake3: digest,
            stored_bytes: *stored_bytes,
        };
        Ok(listed.get(&name).map(stored))
    }

    /// Sends what was lost when an earlier backup was made, and has been healed since.
    pub(crate) fn send_found(&mut self, work: &Work<'_>) -> Result<(), BackupError> {
        for digest in self.repository.lost()? {
            work.check()?;
            self.send_blob(digest)?;
            if self.known.contains_key(&digest) {
                self.repository.forget_lost(digest)?;
            }
        }
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
