//! Building a data directory from a repository or from another data directory: the log up to an
//! exact place, replayed, and the blobs and keys that belong to it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hindcast_log::{
    BaseFile, Blobs, Cut, Place, Reader, Rebuild, Rebuilt, Replayed, replay_seen, state_hash,
};
use hindcast_model::{Digest, Event, Seq};
use uuid::Uuid;

use crate::create::END;
use crate::error::{BackupError, TargetError};
use crate::manifest::{Based, Manifest, Stretch};
use crate::repository::{Repository, blob_name, part_range, segment_first};
use crate::send::key_files;
use crate::work::{Step, Work};

/// Where a log is restored from.
#[derive(Clone)]
pub enum Source {
    /// A backup, and with `onward` what the repository holds of the log after it.
    Repository {
        repository: Repository,
        manifest: Box<Manifest>,
        onward: bool,
    },
    /// The segments, blobs and keys of a data directory.
    DataDir(PathBuf),
}

impl Source {
    /// What messages and the event call it.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Repository { repository, .. } => repository.title().to_owned(),
            Self::DataDir(path) => path.display().to_string(),
        }
    }
}

/// A log that was built and replayed.
pub(crate) struct Built {
    pub(crate) rebuilt: Rebuilt,
    pub(crate) replayed: Replayed,
    pub(crate) state_hash: Digest,
    pub(crate) blobs: BTreeSet<Digest>,
    /// Objects behind the backup that are no step onward, and why.
    pub(crate) passed_over: Vec<String>,
}

/// How to build.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) cut: Cut,
    /// The epoch that follows the cut, at least.
    pub(crate) epoch: u32,
    pub(crate) segment_bytes: u64,
}

/// Writes the log of `source` up to the cut under `dir` and replays it.
pub(crate) fn build_log(
    source: &Source,
    dir: &Path,
    shape: &Shape,
    work: &Work<'_>,
) -> Result<Built, BackupError> {
    let mut rebuild = Rebuild::begin(
        (work.disk, dir),
        shape.cut,
        shape.epoch,
        shape.segment_bytes,
    )?;
    let (mut passed_over, mut blobs) = (Vec::new(), BTreeSet::new());
    match source {
        Source::Repository {
            repository,
            manifest,
            onward,
        } => {
            if let Some(base) = &manifest.base {
                blobs = begin_after(repository, &mut rebuild, base, shape.cut)?;
            }
            for stretch in &manifest.stretches {
                if rebuild.complete() {
                    break;
                }
                work.check()?;
                feed(repository, &mut rebuild, stretch)?;
            }
            if *onward && !rebuild.complete() {
                passed_over = follow((repository, manifest), &mut rebuild, work)?;
            }
        }
        Source::DataDir(data_dir) => {
            let reader = work.read(data_dir)?;
            if let Some(base) = reader.base() {
                rebuild.go_on_from(&base)?;
                blobs.extend(base.state()?.blobs());
            }
            copy(&reader, &mut rebuild, work)?;
        }
    }
    let complete = rebuild.complete();
    let rebuilt = rebuild.finish()?.ok_or_else(|| nothing_left(source))?;
    if let (Cut::Seq(wanted), false) = (shape.cut, complete) {
        let last = rebuilt.place.last();
        return Err(BackupError::BeyondEnd { wanted, last });
    }
    work.step(Step::LogWritten)?;
    let replayed = replay_seen(work.disk.as_ref(), dir, &mut |recorded| {
        blobs.extend(recorded.event().into_iter().flat_map(Event::blobs));
    })?;
    if replayed.place() != Some(rebuilt.place) {
        let what = "what was written is not what is read";
        return Err(BackupError::damaged(&dir.display().to_string(), what));
    }
    let state_hash = state_hash(&replayed.state)?;
    compare(source, rebuilt.place, state_hash)?;
    work.step(Step::Replayed)?;
    Ok(Built {
        rebuilt,
        replayed,
        state_hash,
        blobs,
        passed_over,
    })
}

/// Puts in place what a pruned log goes on from. Returns the blobs that the state there names.
fn begin_after(
    repository: &Repository,
    rebuild: &mut Rebuild,
    told: &Based,
    cut: Cut,
) -> Result<BTreeSet<Digest>, BackupError> {
    if let Cut::Seq(seq) = cut
        && seq <= told.last
    {
        return Err(gone(told));
    }
    let mut bytes = Vec::new();
    repository.load(&told.name, Some((told.bytes, told.blake3)), |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    let damaged = |what: String| BackupError::damaged(&told.name, what);
    let base = BaseFile::decode(bytes).map_err(damaged)?;
    if (base.place().last(), base.place().chain) != (told.last, told.chain) {
        return Err(damaged(
            "it ends elsewhere than the manifest says".to_owned(),
        ));
    }
    rebuild.go_on_from(&base)?;
    Ok(base.state()?.blobs().collect())
}

fn gone(base: &Based) -> BackupError {
    BackupError::Gone {
        from: Seq(1),
        to: base.last,
    }
}

/// No event is at or before the cut.
fn nothing_left(source: &Source) -> BackupError {
    match source {
        Source::Repository { manifest, .. } => {
            manifest.base.as_ref().map_or(BackupError::Empty, gone)
        }
        Source::DataDir(_) => BackupError::Empty,
    }
}

/// The state hash has to be the backup's where both stand at the same place and were folded by the
/// same rules.
fn compare(source: &Source, place: Place, found: Digest) -> Result<(), BackupError> {
    let Source::Repository { manifest, .. } = source else {
        return Ok(());
    };
    let same_place = place.last() == manifest.to_seq && place.chain == manifest.chain;
    let same_rules = manifest.decider_version == hindcast_model::DECIDER_VERSION;
    match same_place && same_rules && found != manifest.state_hash {
        true => Err(BackupError::StateDiffers {
            seq: manifest.to_seq,
            told: manifest.state_hash,
            found,
        }),
        false => Ok(()),
    }
}

fn feed(
    repository: &Repository,
    rebuild: &mut Rebuild,
    stretch: &Stretch,
) -> Result<(), BackupError> {
    rebuild.begin_object(stretch.sealed);
    let told = Some((stretch.bytes, stretch.blake3));
    repository.load(&stretch.name, told, |bytes| Ok(rebuild.feed(bytes)?))?;
    let ended = rebuild.end_object();
    ended.map_err(|error| BackupError::of_object(&stretch.name, error))?;
    let place = rebuild.place();
    let last = |place: Place| (place.last(), place.chain);
    match rebuild.complete() || place.map(last) == Some((stretch.last, stretch.chain)) {
        true => Ok(()),
        false => {
            let what = "it ends elsewhere than the manifest says";
            Err(BackupError::damaged(&stretch.name, what))
        }
    }
}

/// Goes on with the segments and parts that were shipped after the backup, as far as they follow
/// one another without a gap. An object of another history, or one that is damaged, is passed over
/// and told; what was written before it stays.
fn follow(
    (repository, manifest): (&Repository, &Manifest),
    rebuild: &mut Rebuild,
    work: &Work<'_>,
) -> Result<Vec<String>, BackupError> {
    let known: BTreeSet<&str> = manifest.names().collect();
    let mut names: Vec<(Seq, Seq, String)> = Vec::new();
    for name in repository.names("segments/")?.into_keys() {
        names.extend(segment_first(&name).map(|first| (END, first, name)));
    }
    for name in repository.names("tail/")?.into_keys() {
        names.extend(part_range(&name).map(|(first, last)| (last, first, name)));
    }
    names.retain(|(.., name)| !known.contains(name.as_str()));
    // What brings the most is tried first.
    names.sort_unstable_by(|a, b| b.cmp(a));
    let mut passed_over = Vec::new();
    while !rebuild.complete() {
        work.check()?;
        let next = rebuild.place().map_or(Seq(1), |place| place.next);
        let fits = |(last, first, _): &(Seq, Seq, String)| *first <= next && *last >= next;
        let Some(index) = names.iter().position(fits) else {
            break;
        };
        let (last, _, name) = names.remove(index);
        rebuild.begin_object(last == END);
        match repository.load(&name, None, |bytes| Ok(rebuild.feed(bytes)?)) {
            Ok(()) => {}
            // Of another history, damaged, or folded into a segment since it was listed.
            Err(
                error @ (BackupError::Damaged { .. }
                | BackupError::OtherHistory { .. }
                | BackupError::Target(TargetError::Missing { .. })),
            ) => passed_over.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(passed_over)
}

/// Copies the frames of a data directory.
fn copy(reader: &Reader, rebuild: &mut Rebuild, work: &Work<'_>) -> Result<(), BackupError> {
    let segments = reader.segments();
    if segments.is_empty() {
        return Err(BackupError::NoLog(reader.data_dir().to_owned()));
    }
    for segment in segments {
        let mut cursor = reader.frames_of(segment.first)?;
        rebuild.begin_object(segment.sealed);
        rebuild.feed(&cursor.place.header())?;
        let copied = reader.copy_frames(&mut cursor, END, |frames| {
            work.check()?;
            rebuild.feed(frames)?;
            Ok::<_, BackupError>(())
        });
        if rebuild.complete() {
            // Damage behind the cut is no business of this restore.
            return Ok(());
        }
        copied?;
    }
    Ok(())
}

/// Writes the blobs under `dir`, each checked against its digest. Returns those that are lost: a
/// target says so of what it never had, and a data directory has nothing else to say.
pub(crate) fn build_blobs(
    source: &Source,
    dir: &Path,
    wanted: &BTreeSet<Digest>,
    work: &Work<'_>,
) -> Result<BTreeSet<Digest>, BackupError> {
    let mut lost = BTreeSet::new();
    let blobs = Blobs::open(Arc::clone(work.disk), dir)
        .map_err(BackupError::io("create", &dir.join("blobs")))?;
    for digest in wanted {
        work.check()?;
        let content = match source {
            Source::Repository { repository, .. } => {
                let name = blob_name(*digest);
                match repository.content(&name) {
                    Ok(content) if Blobs::digest(&content) == *digest => Some(content),
                    Ok(_) => {
                        return Err(BackupError::damaged(&name, "its content has another hash"));
                    }
                    Err(BackupError::Target(TargetError::Missing { .. }))
                        if repository.is_lost(*digest)? =>
                    {
                        None
                    }
                    Err(error) => return Err(error),
                }
            }
            Source::DataDir(data_dir) => {
                match Blobs::read_only(Arc::clone(work.disk), data_dir).get(*digest) {
                    Ok(content) => Some(content),
                    Err(error) if error.is_lost() => None,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        match content {
            Some(content) => drop(blobs.put(&content)?),
            None => drop(lost.insert(*digest)),
        }
    }
    Ok(lost)
}

/// The files of data keys that were shredded in the log under `data_dir`, if it is the log `of`.
pub(crate) fn shredded_in(data_dir: &Path, of: Uuid) -> Result<BTreeSet<String>, BackupError> {
    let dir = data_dir.join("keys");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(BackupError::io("list", &dir)(error)),
    };
    // A log that cannot be read may be the one: what was redacted stays so.
    let head = Reader::open(data_dir).and_then(|reader| reader.head());
    if head.is_ok_and(|head| head.is_some_and(|head| head.log != of)) {
        return Ok(BTreeSet::new());
    }
    let mut shredded = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(BackupError::io("list", &dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".gone"));
        shredded.extend(number.map(|number| format!("{number}.key")));
    }
    Ok(shredded)
}

/// Writes the data keys under `dir`, without those that are redacted in the source or are among
/// `shredded`. Returns how many.
pub(crate) fn build_keys(
    source: &Source,
    shredded: BTreeSet<String>,
    dir: &Path,
) -> Result<usize, BackupError> {
    let mut keys = Vec::new();
    let mut redacted = shredded;
    match source {
        Source::Repository {
            repository,
            manifest,
            ..
        } => {
            redacted.extend(repository.redacted()?);
            let listed = manifest.keys.iter().map(|key| key.name.clone());
            let mut names: BTreeSet<String> = listed.collect();
            // Keys that were shipped after the backup.
            names.extend(repository.names("keys/")?.into_keys());
            for name in names {
                let file = name.trim_start_matches("keys/").to_owned();
                if !redacted.contains(&file) {
                    keys.push((file, repository.content(&name)?));
                }
            }
        }
        Source::DataDir(data_dir) => {
            for (file, path) in key_files(data_dir)? {
                if redacted.contains(&file) {
                    continue;
                }
                let content = fs::read(&path).map_err(BackupError::io("read", &path))?;
                keys.push((file, content));
            }
        }
    }
    // Their numbers stay used.
    let gone = redacted.iter().filter_map(|file| file.strip_suffix(".key"));
    keys.extend(gone.map(|number| (format!("{number}.gone"), Vec::new())));
    if keys.is_empty() {
        return Ok(0);
    }
    let folder = dir.join("keys");
    fs::create_dir_all(&folder).map_err(BackupError::io("create", &folder))?;
    for (file, content) in &keys {
        let path = folder.join(file);
        write_secret(&path, content).map_err(BackupError::io("write", &path))?;
    }
    sync_dir(&folder)?;
    Ok(keys
        .iter()
        .filter(|(file, _)| file.ends_with(".key"))
        .count())
}

fn write_secret(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_data()
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(BackupError::io("sync", dir))
}
