//! Putting a restored directory in the place of a data directory: at every moment the place holds
//! all of the old one or all of the new one, and the old one is kept.
//!
//! The directory that is built stands beside the data directory as `NAME.restoring-N` and holds a
//! mark with its number until the switch is done. Without the mark, a directory of such a name is an old data
//! directory whose restore was cut short after the switch, and is given its name.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hindcast_log::Reader;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use crate::build::sync_dir;
use crate::error::BackupError;
use crate::repository::log_of_backups;
use crate::work::{Step, Work};

/// The mark of a directory that a restore is making.
const MARK: &str = "restoring";
/// The folder of local backups, which follows the data directory when it is of the same log.
const BACKUPS: &str = "backups";
/// Who may use the server: it is no part of the history, and follows the data directory as it is.
const ACCESS_KEYS: &str = "access-keys.json";

/// A data directory's place while it is restored.
pub(crate) struct Switch {
    /// Where it really is.
    pub(crate) data_dir: PathBuf,
    parent: PathBuf,
    /// Where an interrupted restore left the backups of another log.
    backups: Option<PathBuf>,
    number: u32,
    /// The directory that is being made.
    pub(crate) beside: PathBuf,
    /// Whether it may have taken the data directory's place: then what stands beside is the old one.
    switched: bool,
    /// Held while it is made.
    _mark: File,
}

/// Copies a file with its permissions, if it is there.
fn carry(from: &Path, to: &Path, name: &str) -> Result<(), BackupError> {
    let file = from.join(name);
    let copied = fs::copy(&file, to.join(name));
    match copied.and_then(|_| File::open(to.join(name))?.sync_all()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::io("copy", &file)(error)),
    }
}

impl Drop for Switch {
    /// A restore that failed leaves nothing beside the data directory.
    fn drop(&mut self) {
        if !self.switched {
            // What stays is cleared up by the next restore.
            drop(fs::remove_dir_all(&self.beside));
        }
    }
}

/// What became of the directory that was there before.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Where it is kept, if there was one.
    pub(crate) dir: Option<PathBuf>,
    /// Local backups in it that are of another log, and stay there.
    pub(crate) backups: Option<PathBuf>,
}

impl Switch {
    /// Settles what interrupted restores left, and makes the directory to build in.
    pub(crate) fn begin(data_dir: &Path) -> Result<Self, BackupError> {
        let data_dir = real(data_dir)?;
        let parent = data_dir.parent().unwrap_or(&data_dir).to_owned();
        fs::create_dir_all(&parent).map_err(BackupError::io("create", &parent))?;
        check_place(&data_dir)?;
        let backups = settle(&data_dir, &parent)?;
        let taken = |number: &u32| {
            numbered(&data_dir, "restoring", *number).exists()
                || numbered(&data_dir, "before", *number).exists()
        };
        let number = (1..).find(|number| !taken(number)).unwrap_or(u32::MAX);
        let beside = numbered(&data_dir, "restoring", number);
        fs::create_dir(&beside).map_err(BackupError::io("create", &beside))?;
        let mark = beside.join(MARK);
        let mut file = File::create_new(&mark).map_err(BackupError::io("create", &mark))?;
        let written = write!(file, "{number}").and_then(|()| file.sync_all());
        written.map_err(BackupError::io("write", &mark))?;
        lock(&file, &beside)?;
        sync_dir(&beside)?;
        sync_dir(&parent)?;
        Ok(Self {
            data_dir,
            parent,
            backups,
            number,
            beside,
            switched: false,
            _mark: file,
        })
    }

    /// Puts the directory in place. Returns where the one before is kept.
    pub(crate) fn finish(mut self, work: &Work<'_>) -> Result<Kept, BackupError> {
        carry(&self.data_dir, &self.beside, ACCESS_KEYS)?;
        sync_tree(&self.beside)?;
        let before = numbered(&self.data_dir, "before", self.number);
        let held = self.hold_old()?;
        work.step(Step::Locked)?;
        self.switched = true;
        let kept = match held.is_some() {
            true => {
                exchange(&self.beside, &self.data_dir)?;
                Some(before)
            }
            false => {
                let renamed = fs::rename(&self.beside, &self.data_dir);
                renamed.map_err(BackupError::io("rename", &self.beside))?;
                None
            }
        };
        sync_dir(&self.parent)?;
        // From here on the restore is done, whatever follows: nothing stops it any more.
        (work.done)(Step::Switched);
        if let Some(before) = &kept {
            let renamed = fs::rename(&self.beside, before);
            renamed.map_err(BackupError::io("rename", &self.beside))?;
            sync_dir(&self.parent)?;
        }
        (work.done)(Step::OldKept);
        let backups = match &kept {
            Some(before) => move_backups(before, &self.data_dir)?,
            None => None,
        };
        let backups = backups.or(self.backups.take());
        (work.done)(Step::BackupsMoved);
        unmark(&self.data_dir)?;
        (work.done)(Step::Finished);
        Ok(Kept { dir: kept, backups })
    }

    /// The old directory, held so that no server starts on it; none when there is none.
    fn hold_old(&self) -> Result<Option<File>, BackupError> {
        if !self.data_dir.exists() {
            return Ok(None);
        }
        check_place(&self.data_dir)?;
        let path = self.data_dir.join("LOCK");
        let mut options = File::options();
        let opened = options.create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(BackupError::io("open", &path))?;
        lock(&file, &self.data_dir)?;
        Ok(Some(file))
    }
}

fn lock(file: &File, dir: &Path) -> Result<(), BackupError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(BackupError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(BackupError::io("lock", dir)(error)),
    }
}

/// Refuses to take the place of something that is no data directory, or that a server has open.
fn check_place(data_dir: &Path) -> Result<(), BackupError> {
    let mut entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::io("list", data_dir)(error)),
    };
    let known = |name: &str| data_dir.join(name).is_dir();
    let only_backups = |name: &Path| name.file_name().is_some_and(|name| name == BACKUPS);
    let empty = entries.all(|entry| entry.is_ok_and(|entry| only_backups(&entry.path())));
    if !empty && !known("wal") && !known("archive") {
        return Err(BackupError::NotADataDir(data_dir.to_owned()));
    }
    let path = data_dir.join("LOCK");
    match File::options().write(true).open(&path) {
        Ok(file) => lock(&file, data_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::io("open", &path)(error)),
    }
}

fn numbered(data_dir: &Path, word: &str, number: u32) -> PathBuf {
    let mut name = data_dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{word}-{number}"));
    data_dir.with_file_name(name)
}

/// Clears up after restores that were cut short. Returns where local backups of another log stayed.
fn settle(data_dir: &Path, parent: &Path) -> Result<Option<PathBuf>, BackupError> {
    // What stands in the place is no half-made directory. Its mark says that its restore was cut
    // short after the switch, and which one it was.
    let marked = fs::read_to_string(data_dir.join(MARK)).ok();
    unmark(data_dir)?;
    let mut name = data_dir.file_name().unwrap_or_default().to_owned();
    name.push(".restoring-");
    let name = name.to_string_lossy().into_owned();
    let entries = fs::read_dir(parent).map_err(BackupError::io("list", parent))?;
    for entry in entries {
        let path = entry.map_err(BackupError::io("list", parent))?.path();
        let file = path.file_name().map(|f| f.to_string_lossy().into_owned());
        let number = file.and_then(|file| file.strip_prefix(&name)?.parse::<u32>().ok());
        let Some(number) = number.filter(|_| path.is_dir()) else {
            continue;
        };
        match File::options().write(true).open(path.join(MARK)) {
            Ok(mark) => {
                lock(&mark, &path)?;
                fs::remove_dir_all(&path).map_err(BackupError::io("remove", &path))?;
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::io("open", &path)(error));
            }
            // Made, and cut short before its mark; or an old data directory.
            Err(_) if fs::remove_dir(&path).is_ok() => {}
            Err(_) => {
                let mut free = (number..).map(|n| numbered(data_dir, "before", n));
                let before = free.find(|path| !path.exists());
                let before = before.unwrap_or_else(|| path.clone());
                fs::rename(&path, &before).map_err(BackupError::io("rename", &path))?;
            }
        }
    }
    let number = marked.and_then(|number| number.trim().parse().ok());
    let stayed = match number {
        Some(number) => move_backups(&numbered(data_dir, "before", number), data_dir)?,
        None => None,
    };
    sync_dir(parent)?;
    Ok(stayed)
}

/// Local backups follow the data directory, so that the next one goes on from them. Those of another log
/// stay where they are, which is returned: no backup of this one could be made into them.
fn move_backups(from: &Path, to: &Path) -> Result<Option<PathBuf>, BackupError> {
    let (old, new) = (from.join(BACKUPS), to.join(BACKUPS));
    if !old.is_dir() || new.exists() {
        return Ok(None);
    }
    if let (Some(of), Some(log)) = (log_of_backups(&old), log_under(to))
        && of != log
    {
        return Ok(Some(old));
    }
    fs::rename(&old, &new).map_err(BackupError::io("rename", &old))?;
    sync_dir(from)?;
    sync_dir(to)?;
    Ok(None)
}

/// The log under a data directory, if it can be told.
fn log_under(data_dir: &Path) -> Option<Uuid> {
    let head = Reader::open(data_dir).and_then(|reader| reader.head());
    head.ok().flatten().map(|head| head.log)
}

/// The data directory itself where its name is that of a symbolic link to it: the link stays, and what is
/// restored is on the disk that it leads to.
fn real(data_dir: &Path) -> Result<PathBuf, BackupError> {
    let failed = || BackupError::io("find", data_dir);
    let absolute = std::path::absolute(data_dir).map_err(failed())?;
    // A slash at its end would stand for the directory itself.
    let absolute: PathBuf = absolute.components().collect();
    if !absolute.is_symlink() {
        return Ok(absolute);
    }
    match fs::canonicalize(&absolute) {
        // What it leads to is made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let to = fs::read_link(&absolute).map_err(failed())?;
            let beside = absolute.parent().unwrap_or(&absolute);
            std::path::absolute(beside.join(to)).map_err(failed())
        }
        found => found.map_err(failed()),
    }
}

fn unmark(dir: &Path) -> Result<(), BackupError> {
    let mark = dir.join(MARK);
    match fs::remove_file(&mark) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::io("remove", &mark)(error)),
    }
}

/// Lets two directories change places in one step.
fn exchange(one: &Path, other: &Path) -> Result<(), BackupError> {
    let exchanged = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    exchanged.map_err(|error| BackupError::io("exchange", one)(error.into()))
}

/// Makes every directory's entries durable; files were synced as they were written.
fn sync_tree(dir: &Path) -> Result<(), BackupError> {
    let entries = fs::read_dir(dir).map_err(BackupError::io("list", dir))?;
    for entry in entries {
        let path = entry.map_err(BackupError::io("list", dir))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    sync_dir(dir)
}
