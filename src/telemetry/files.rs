//! Log lines in a file that begins anew when it is large or old. What was written before lies
//! beside it, with the time of the change in its name, until it is too old or all of it together
//! is too large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hindcast_actors::views;
use hindcast_model::UnixMicros;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock;

/// When a file begins anew, and what is kept of those before.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    pub bytes_max: u64,
    pub age_max: Duration,
    pub keep: Duration,
    /// Of all older files together.
    pub keep_bytes_max: u64,
}

/// The file and those before it.
#[derive(Debug)]
pub struct Files(Mutex<Current>);

#[derive(Debug)]
struct Current {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    bytes: u64,
    began: UnixMicros,
    lost: Lost,
    /// The file that is written has not the name any more, and no other could be opened.
    astray: bool,
}

/// Lines that the file did not take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Since the process began.
    pub lines: u64,
    /// Of these, not told in the file yet.
    pub untold: u64,
    /// Whether the last one was not taken.
    pub lasts: bool,
}

/// As much as is written to see whether there is room.
const PROBE: [u8; 4_096] = [b' '; 4_096];

impl Files {
    /// Opens the file, to write at its end.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let file = append(&path)?;
        let found = file.metadata()?;
        // A file that was there is as old as its first line; where that is not known, as its name.
        let began = found.created().ok().map_or_else(clock::wall, micros_of);
        let current = Current {
            path,
            rotation,
            bytes: found.len(),
            file,
            began,
            lost: Lost::default(),
            astray: false,
        };
        current.prune(clock::wall());
        Ok(Self(Mutex::new(current)))
    }

    /// Begins a new file, and says where the lines before lie and how many bytes they take. `None`
    /// when none was written since the last time, or somebody else has moved them.
    ///
    /// # Errors
    /// The file cannot be renamed, or no other made.
    pub fn rotate(&self) -> io::Result<Option<(PathBuf, u64)>> {
        let current = &mut *self.current();
        if current.bytes == 0 {
            return Ok(None);
        }
        let bytes = current.bytes;
        let older = current.rotate(clock::wall())?;
        Ok(older.map(|older| (older, bytes)))
    }

    /// The lines that were lost. While they are, it is looked whether the file takes any again. What
    /// was moved away or removed is gone on from under its name.
    #[must_use]
    pub fn lost(&self) -> Lost {
        let current = &mut *self.current();
        current.astray = current.follow().is_err();
        if current.lost.lasts {
            current.lost.lasts = current.file.write_all(&PROBE).is_err();
            current.cut();
        }
        Lost {
            lasts: current.lost.lasts || current.astray,
            ..current.lost
        }
    }

    /// The lines that were lost and that nobody was told of, once the file takes lines again. They
    /// count as told from here on.
    #[must_use]
    pub fn to_tell(&self) -> Option<u64> {
        let Lost { untold, lasts, .. } = self.lost();
        if lasts || untold == 0 {
            return None;
        }
        self.current().lost.untold -= untold;
        Some(untold)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn micros_of(at: std::time::SystemTime) -> UnixMicros {
    let since = at.duration_since(std::time::UNIX_EPOCH);
    UnixMicros(since.map_or(0, |span| {
        u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
    }))
}

impl Current {
    fn write(&mut self, line: &[u8], now: UnixMicros) -> io::Result<usize> {
        let age = Duration::from_micros(now.since(self.began));
        let large = self.bytes + line.len() as u64 > self.rotation.bytes_max;
        if self.bytes > 0 && (large || age >= self.rotation.age_max) {
            // A line is worth more than the change of files.
            drop(self.rotate(now));
        }
        let written = self.file.write_all(line);
        self.lost.lasts = written.is_err();
        if let Err(error) = written {
            self.lost.lines += 1;
            self.lost.untold += 1;
            self.cut();
            return Err(error);
        }
        self.bytes += line.len() as u64;
        if self.astray {
            self.lost.lines += 1;
            self.lost.untold += 1;
        }
        Ok(line.len())
    }

    /// Sees to it that the file that is written is the one that has the name.
    fn follow(&mut self) -> io::Result<()> {
        let place = |found: fs::Metadata| (found.dev(), found.ino());
        let here = place(self.file.metadata()?);
        if fs::metadata(&self.path).is_ok_and(|there| place(there) == here) {
            return Ok(());
        }
        self.file = append(&self.path)?;
        self.bytes = self.file.metadata()?.len();
        self.began = clock::wall();
        Ok(())
    }

    /// Takes away what was written of a line that did not fit. What is no file cannot be cut.
    fn cut(&self) {
        drop(self.file.set_len(self.bytes));
    }

    fn rotate(&mut self, now: UnixMicros) -> io::Result<Option<PathBuf>> {
        let mut older = self.path.clone().into_os_string();
        older.push(format!(".{}", views::rfc3339(now).replace(':', "")));
        match fs::rename(&self.path, &older) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.follow()?;
                return Ok(None);
            }
            renamed => renamed?,
        }
        self.file = append(&self.path)?;
        self.bytes = 0;
        self.began = now;
        self.prune(now);
        Ok(Some(older.into()))
    }

    /// Removes older files: by age, then the oldest until the rest is small enough.
    fn prune(&self, now: UnixMicros) {
        let mut files = older(&self.path);
        // Names end with the time, so the newest is the last.
        files.sort();
        let mut bytes = 0;
        for path in files.into_iter().rev() {
            let Ok(found) = fs::metadata(&path) else {
                continue;
            };
            bytes += found.len();
            let written = found.modified().map_or(now, micros_of);
            let old = Duration::from_micros(now.since(written)) > self.rotation.keep;
            if old || bytes > self.rotation.keep_bytes_max {
                // What cannot be removed is tried again at the next change.
                drop(fs::remove_file(path));
            }
        }
    }
}

/// Files that were removed, and those that are left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    pub removed: u64,
    pub removed_bytes: u64,
    pub kept: u64,
    pub kept_bytes: u64,
}

/// Removes what a log file left behind and was last written longer than `age` ago.
///
/// # Errors
/// One of the files cannot be removed.
pub fn prune(path: &Path, age: Duration) -> io::Result<Pruned> {
    let now = clock::wall();
    let mut pruned = Pruned::default();
    for path in older(path) {
        let found = fs::metadata(&path)?;
        let written = found.modified().map_or(now, micros_of);
        if Duration::from_micros(now.since(written)) > age {
            fs::remove_file(path)?;
            pruned.removed += 1;
            pruned.removed_bytes += found.len();
        } else {
            pruned.kept += 1;
            pruned.kept_bytes += found.len();
        }
    }
    Ok(pruned)
}

/// The files that a log file left behind.
fn older(path: &Path) -> Vec<PathBuf> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let entries = fs::read_dir(folder).into_iter().flatten();
    let entries = entries.filter_map(Result::ok).map(|entry| entry.path());
    let is_older = |candidate: &PathBuf| {
        let other = candidate.file_name().unwrap_or_default().to_string_lossy();
        let time = other
            .strip_prefix(&*name)
            .and_then(|rest| rest.strip_prefix('.'));
        time.is_some_and(|time| time.len() == 25 && time.ends_with('Z'))
    };
    entries.filter(is_older).collect()
}

/// One line on its way.
#[derive(Debug)]
pub struct Pen<'a>(&'a Files);

impl Write for Pen<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.current().write(line, clock::wall())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Files {
    type Writer = Pen<'a>;

    fn make_writer(&'a self) -> Pen<'a> {
        Pen(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000;

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted_and_told_once_there_is_room() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("hindcast.log");
        let rotation = Rotation {
            bytes_max: 1 << 20,
            age_max: Duration::from_secs(86_400),
            keep: Duration::from_secs(86_400),
            keep_bytes_max: 1 << 20,
        };
        let files = Files::open(path.clone(), rotation).expect("a file");
        let write = || files.current().write(b"line\n", clock::wall());
        assert!(write().is_ok());
        assert_eq!((files.lost(), files.to_tell()), (Lost::default(), None));
        let aside = folder.path().join("aside");
        fs::rename(&path, &aside).expect("renamed");
        std::os::unix::fs::symlink("/dev/full", &path).expect("a file that is always full");
        assert_eq!(files.lost(), Lost::default());
        assert!(write().is_err() && write().is_err());
        let lost = Lost {
            lines: 2,
            untold: 2,
            lasts: true,
        };
        assert_eq!((files.lost(), files.to_tell()), (lost, None));
        fs::rename(&aside, &path).expect("renamed");
        assert!(!files.lost().lasts, "there is room again");
        assert_eq!((files.to_tell(), files.to_tell()), (Some(2), None));
        assert_eq!(files.lost().lines, 2);
        assert!(write().is_ok());
        assert_eq!(fs::read(&path).expect("the file"), b"line\nline\n");
    }

    #[test]
    fn a_file_that_was_moved_away_or_removed_is_gone_on_from_under_its_name() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("logs/hindcast.log");
        let rotation = Rotation {
            bytes_max: 100,
            age_max: Duration::from_secs(86_400),
            keep: Duration::from_secs(86_400),
            keep_bytes_max: 1 << 20,
        };
        let files = Files::open(path.clone(), rotation).expect("a file");
        let write = |line: &[u8]| {
            let written = files.current().write(line, clock::wall());
            assert_eq!(written.expect("written"), line.len());
        };
        write(b"before\n");
        let moved = folder.path().join("logs/moved.1");
        fs::rename(&path, &moved).expect("moved");
        write(b"meanwhile\n");
        assert_eq!(files.lost(), Lost::default());
        write(b"after\n");
        assert_eq!(fs::read(&path).expect("the file"), b"after\n");
        assert_eq!(fs::read(&moved).expect("the other"), b"before\nmeanwhile\n");
        // Removed, and asked for a new file; then it is large.
        fs::remove_file(&path).expect("removed");
        assert!(files.rotate().expect("opened").is_none());
        write(&[b'x'; 60]);
        fs::remove_file(&path).expect("removed");
        write(&[b'x'; 60]);
        assert_eq!(fs::read(&path).expect("the file"), [b'x'; 60]);
        // With the folder, in whose place there is something else.
        fs::remove_dir_all(folder.path().join("logs")).expect("removed");
        fs::write(folder.path().join("logs"), "").expect("written");
        assert!(files.lost().lasts);
        write(b"nowhere\n");
        fs::remove_file(folder.path().join("logs")).expect("removed");
        assert_eq!((files.lost().lasts, files.to_tell()), (false, Some(1)));
        write(b"again\n");
        assert_eq!(fs::read(&path).expect("the file"), b"again\n");
    }

    #[test]
    fn files_begin_anew_and_old_ones_go() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("logs/hindcast.log");
        let rotation = Rotation {
            bytes_max: 100,
            age_max: Duration::from_secs(86_400),
            keep: Duration::from_secs(30 * 86_400),
            keep_bytes_max: 250,
        };
        let files = Files::open(path.clone(), rotation).expect("a file");
        let start = clock::wall();
        let line = [b'x'; 60];
        let write = |at: u64| {
            let written = files.current().write(&line, UnixMicros(start.0 + at));
            assert_eq!(written.expect("written"), 60);
        };
        write(0);
        assert_eq!(older(&path).len(), 0);
        // Too large, then too old.
        write(1);
        assert_eq!(older(&path).len(), 1);
        write(DAY + 2);
        assert_eq!(older(&path).len(), 2);
        // All of them together are bounded, and the oldest goes first.
        for n in 0..5 {
            write(DAY + 10 + n);
        }
        assert_eq!(older(&path).len(), 4);
        assert_eq!(fs::read(&path).expect("the file").len(), 60);
        // By age: their times are those of the real clock, so all are old in the far future.
        write(40 * DAY);
        assert_eq!(older(&path).len(), 0);
        write(40 * DAY + 1);
        assert_eq!(
            files.rotate().expect("rotated").map(|(_, bytes)| bytes),
            Some(60)
        );
        assert!(files.rotate().expect("nothing to do").is_none());
        let old = prune(&path, Duration::from_secs(7 * 86_400)).expect("looked at");
        assert_eq!((old.removed, old.kept), (0, older(&path).len() as u64));
        let all = prune(&path, Duration::ZERO).expect("removed");
        assert_eq!((all.removed, all.removed_bytes), (old.kept, old.kept_bytes));
        assert_eq!(older(&path).len(), 0);
        let other = folder.path().join("logs/hindcast.log.backup");
        fs::write(&other, "mine").expect("written");
        write(90 * DAY);
        assert!(other.exists(), "only what was rotated is removed");
    }
}
