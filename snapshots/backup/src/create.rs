//! Making a backup: what the repository lacks is sent, and then the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hindcast_log::{BaseFile, state_hash};
use hindcast_model::event::BackupKind;
use hindcast_model::{BackupId, DECIDER_VERSION, Digest, KeyId, Seq};

use crate::error::BackupError;
use crate::manifest::{Based, FORMAT, Manifest, Stored, Stretch};
use crate::repository::{Repository, segment_name};
use crate::send::{Sender, send_keys};
use crate::work::{Step, Work};

/// Parts of the open segment that a backup lists before they are sent again as one.
const PARTS_MAX: usize = 16;
/// Beyond every sequence.
pub(crate) const END: Seq = Seq(u64::MAX - 1);

/// What to back up.
pub struct Create<'a> {
    pub id: BackupId,
    /// Everything anew, or what the last backup does not have.
    pub kind: BackupKind,
    pub data_dir: &'a Path,
    /// The last event that is durable; without a server, the end of the files.
    pub to: Option<Seq>,
    pub binary_version: &'a str,
    /// Data keys go into a target although it is not encrypted.
    pub plain_keys: bool,
}

/// Makes a backup and returns its manifest. It only reads the data directory, beside a server or
/// without one.
pub fn create(
    repository: &Repository,
    request: &Create<'_>,
    work: &Work<'_>,
) -> Result<Manifest, BackupError> {
    let created_at = work.clock.wall();
    let reader = work.read(request.data_dir)?;
    let to = request.to.unwrap_or(END);
    let log = reader
        .head()?
        .ok_or_else(|| BackupError::NoLog(request.data_dir.to_owned()))?
        .log;
    repository.begin(log)?;
    work.step(Step::RepositoryReady)?;
    let log_base = reader.base();
    let parent = parent_of(repository, request, log_base.as_ref())?;
    let known = Known::new(repository, parent.as_ref())?;
    work.step(Step::Compared)?;
    let mut sender = Sender::new(repository, &reader, known.blobs);
    sender.send_found(work)?;
    let known_before = (known.base, &known.stretches[..]);
    let (base, before) = before_the_log(&mut sender, log_base, known_before, work)?;
    let (stretches, epoch) = send_log(&mut sender, before, (&known.stretches, to), work)?;
    let end = stretches
        .last()
        .ok_or_else(|| BackupError::NoLog(request.data_dir.to_owned()))?;
    let (to_seq, chain) = (end.last, end.chain);
    let (keys, sent) = match repository.is_encrypted() || request.plain_keys {
        true => send_keys(repository, request.data_dir, &known.keys)?,
        false => (Vec::new(), 0),
    };
    let (blobs, sent_bytes) = (sender.known, sender.sent_bytes + sent);
    work.step(Step::KeysSent)?;
    let state = hindcast_snapshots::at(&reader, to_seq)?.state;
    let state_hash = state_hash(&state)?;
    redact(repository, state.shredded())?;
    work.step(Step::StateHashed)?;
    let based = base.as_ref().map_or(Seq(0), |base| base.last);
    let shared = |parent: &Manifest| shared_to(parent, (&stretches, epoch)).max(based);
    let before = parent.as_ref().map_or(based, shared);
    let manifest = Manifest {
        format: FORMAT,
        id: request.id,
        log,
        kind: match parent {
            Some(_) => BackupKind::Incremental,
            None => BackupKind::Full,
        },
        parent: parent.map(|parent| parent.id),
        created_at,
        from_seq: before.min(to_seq).next(),
        to_seq,
        epoch,
        chain,
        state_hash,
        decider_version: DECIDER_VERSION,
        binary_version: request.binary_version.to_owned(),
        base,
        stretches,
        blobs: blobs.into_values().collect(),
        keys,
        sent_bytes,
    };
    repository.put_manifest(&manifest)?;
    work.step(Step::ManifestSent)?;
    Ok(manifest)
}

/// Up to where an earlier backup is of this history, which a restore may have left since.
fn shared_to(parent: &Manifest, (stretches, epoch): (&[Stretch], u32)) -> Seq {
    if parent.epoch == epoch {
        return parent.to_seq;
    }
    let place = |stretch: &Stretch| (stretch.last, stretch.chain);
    let there: BTreeSet<_> = parent.stretches.iter().map(place).collect();
    let shared = stretches
        .iter()
        .map(place)
        .filter(|end| there.contains(end));
    shared.map(|(last, _)| last).max().unwrap_or(Seq(0))
}

/// Data keys that were shredded here go from the target as well, and stay away: no restore from it
/// brings them back, whichever backup it begins with. A target that is empty has nothing to lose.
pub fn redact(
    repository: &Repository,
    shredded: impl Iterator<Item = KeyId>,
) -> Result<(), BackupError> {
    if repository.log()?.is_none() {
        return Ok(());
    }
    let redacted = repository.redacted()?;
    for key in shredded {
        let name = format!("{:010}.key", key.0);
        if !redacted.contains(&name) {
            repository.record_redaction(&name)?;
        }
    }
    Ok(())
}

/// The backup to go on from; none for a full one. A log whose oldest events were removed because a
/// backup holds them cannot be sent anew: what the target has of them is gone on from.
fn parent_of(
    repository: &Repository,
    request: &Create<'_>,
    base: Option<&BaseFile>,
) -> Result<Option<Manifest>, BackupError> {
    let held = base.is_some_and(|base| base.backup().is_some());
    if request.kind == BackupKind::Full && !held {
        return Ok(None);
    }
    let listed = repository.list()?.into_iter().rev();
    // An attempt of this very backup is no parent of it.
    let others = listed.filter(|listed| listed.manifest.id != request.id);
    let mut before: Vec<Manifest> = others.map(|listed| listed.manifest).collect();
    // The newest by the clock, which may have been set back, need not reach up to where the log
    // begins.
    let reaches = |manifest: &Manifest| {
        let stretches = manifest.stretches.iter();
        base.is_none_or(|base| {
            let (last, chain) = (base.place().last(), base.place().chain);
            stretches
                .map(|s| (s.last, s.chain))
                .any(|end| end == (last, chain))
        })
    };
    let parent = before.iter().position(reaches).unwrap_or(0);
    Ok((!before.is_empty()).then(|| before.swap_remove(parent)))
}

/// What the repository has, by the last backup's word and its own listing: an object counts when
/// both say so and its length is the same.
struct Known {
    base: Option<Based>,
    stretches: Vec<Stretch>,
    blobs: BTreeMap<Digest, Stored>,
    keys: BTreeMap<String, Stored>,
}

impl Known {
    fn new(repository: &Repository, parent: Option<&Manifest>) -> Result<Self, BackupError> {
        let mut known = Self {
            base: None,
            stretches: Vec::new(),
            blobs: BTreeMap::new(),
            keys: BTreeMap::new(),
        };
        let Some(parent) = parent else {
            return Ok(known);
        };
        let listed = repository.names("")?;
        let there = |name: &str, bytes: u64| listed.get(name) == Some(&bytes);
        let base = parent.base.clone();
        known.base = base.filter(|base| there(&base.name, base.stored_bytes));
        let stretches = parent.stretches.iter();
        known.stretches.extend(
            stretches
                .filter(|s| there(&s.name, s.stored_bytes))
                .cloned(),
        );
        for stored in parent
            .blobs
            .iter()
            .filter(|s| there(&s.name, s.stored_bytes))
        {
            known.blobs.insert(stored.blake3, stored.clone());
        }
        for stored in parent
            .keys
            .iter()
            .filter(|s| there(&s.name, s.stored_bytes))
        {
            known.keys.insert(stored.name.clone(), stored.clone());
        }
        Ok(known)
    }
}

/// Sends the frames that are not known up to `to`. Returns the whole log's stretches, those that
/// stand before it included, and its epoch.
fn send_log(
    sender: &mut Sender<'_>,
    mut stretches: Vec<Stretch>,
    (known, to): (&[Stretch], Seq),
    work: &Work<'_>,
) -> Result<(Vec<Stretch>, u32), BackupError> {
    let segments = sender.reader.segments();
    let mut epoch = 1;
    for (index, segment) in segments.iter().enumerate() {
        let mut cursor = sender.reader.frames_of(segment.first)?;
        let next = segments.get(index + 1).map(|next| next.first);
        let Some(next) = next.filter(|next| *next <= to.next()) else {
            stretches.extend(send_tail(sender, &mut cursor, (known, to), work)?);
            epoch = cursor.place.epoch;
            break;
        };
        // The next segment's header tells how this one ends.
        let chain = sender.reader.frames_of(next)?.place.chain;
        let name = segment_name(segment.first, chain);
        match known.iter().find(|stretch| stretch.name == name) {
            Some(stretch) => stretches.push(stretch.clone()),
            None => stretches.extend(sender.send(&mut cursor, (to, true), work)?),
        }
    }
    work.step(Step::SegmentsSent)?;
    work.step(Step::TailSent)?;
    Ok((stretches, epoch))
}

/// What stands before this log, whose oldest events were removed: the stretches of the repository
/// that hold them, behind the base that they begin with, if there is one. Where they do not lead up
/// to the log and no backup is said to hold them, they are lost, and the log's own base takes their
/// place.
fn before_the_log(
    sender: &mut Sender<'_>,
    log: Option<BaseFile>,
    (base, known): (Option<Based>, &[Stretch]),
    work: &Work<'_>,
) -> Result<(Option<Based>, Vec<Stretch>), BackupError> {
    let Some(log) = log else {
        return Ok((None, Vec::new()));
    };
    if let Some(found) = led_up_to(&log, base.as_ref(), known) {
        return Ok((base, found));
    }
    match log.backup() {
        Some(backup) => Err(held_elsewhere(&log, backup)),
        None => {
            let sent = sender.send_base(&log, base.as_ref(), work)?;
            Ok((Some(sent), Vec::new()))
        }
    }
}

fn held_elsewhere(log: &BaseFile, backup: &str) -> BackupError {
    BackupError::Pruned {
        to: log.place().last(),
        held_by: backup.to_owned(),
    }
}

/// Whether a backup of this data directory could be the whole log. Where its oldest events were
/// removed because a backup holds them, a repository that does not have them refuses every backup
/// ([`BackupError::Pruned`]); to look whether it has them costs a listing, and otherwise it is free.
pub fn check_whole(
    repository: &Repository,
    data_dir: &Path,
    work: &Work<'_>,
) -> Result<(), BackupError> {
    let Some(log) = work.read(data_dir)?.base() else {
        return Ok(());
    };
    let Some(backup) = log.backup() else {
        return Ok(());
    };
    let refused = || held_elsewhere(&log, backup);
    if repository.log()?.is_none() {
        return Err(refused());
    }
    let request = Create {
        id: BackupId::default(),
        kind: BackupKind::Incremental,
        data_dir,
        to: None,
        binary_version: "",
        plain_keys: false,
    };
    let parent = parent_of(repository, &request, Some(&log))?;
    let known = Known::new(repository, parent.as_ref())?;
    let found = led_up_to(&log, known.base.as_ref(), &known.stretches);
    found.map(drop).ok_or_else(refused)
}

/// The stretches that lead from the base up to the log, if they do.
fn led_up_to(log: &BaseFile, base: Option<&Based>, known: &[Stretch]) -> Option<Vec<Stretch>> {
    let wanted = (log.place().next, log.place().chain);
    let begins = base.map_or((Seq(1), Digest::default()), |base| {
        (base.last.next(), base.chain)
    });
    let (mut found, mut place): (Vec<Stretch>, (Seq, Digest)) = (Vec::new(), begins);
    while place.0 < wanted.0 {
        let fits = |stretch: &&Stretch| stretch.first == place.0 && stretch.last < wanted.0;
        let longest = known.iter().filter(fits).max_by_key(|stretch| stretch.last);
        let Some(stretch) = longest else { break };
        place = (stretch.last.next(), stretch.chain);
        found.push(stretch.clone());
    }
    (place == wanted && !found.is_empty()).then_some(found)
}

/// Sends the frames of the open segment: those after the parts that are known, or all of them as
/// one part when there are many or they are of another history.
fn send_tail(
    sender: &mut Sender<'_>,
    cursor: &mut hindcast_log::FrameCursor,
    (known, to): (&[Stretch], Seq),
    work: &Work<'_>,
) -> Result<Vec<Stretch>, BackupError> {
    let mut parts: Vec<Stretch> = Vec::new();
    let mut after = *cursor;
    for part in known.iter().filter(|stretch| !stretch.sealed) {
        if part.first != after.place.next || part.last > to {
            continue;
        }
        let mut end = after;
        let pass = |_: &[u8]| Ok::<_, BackupError>(());
        sender.reader.copy_frames(&mut end, part.last, pass)?;
        if end.place.last() == part.last && end.place.chain == part.chain {
            parts.push(part.clone());
            after = end;
        }
    }
    if parts.len() >= PARTS_MAX {
        parts.clear();
        after = *cursor;
    }
    *cursor = after;
    parts.extend(sender.send(cursor, (to, false), work)?);
    Ok(parts)
}
