//! A directory as a target: a temporary file, fsync, rename, fsync of the directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::TargetError;
use crate::target::{Entry, Target};

/// The end of the names of files that are being written.
const HALF: &str = ".tmp";

/// A directory of this machine.
pub struct Directory {
    dir: PathBuf,
    title: String,
    temporary: AtomicU64,
}

impl Directory {
    /// The directory at this path, which is made with the first object.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            title: dir.display().to_string(),
            temporary: AtomicU64::new(0),
        }
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> TargetError {
        let (target, name) = (self.title.clone(), name.to_owned());
        move |source| match source.kind() == io::ErrorKind::NotFound && action == "read" {
            true => TargetError::Missing { target, name },
            false => TargetError::Io {
                action,
                target,
                name,
                source,
            },
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.join(name);
        let parent = path.parent().unwrap_or(&self.dir).to_owned();
        make_durably(&parent)?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        // Two processes may write the same object; each has a file of its own until the rename.
        let half = parent.join(format!("{}-{number}{HALF}", std::process::id()));
        let finish = || {
            let mut file = File::create(&half)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&half, &path)?;
            File::open(&parent)?.sync_all()
        };
        finish().inspect_err(|_| drop(fs::remove_file(&half)))
    }

    fn walk(&self, dir: &Path, found: &mut Vec<Entry>) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.walk(&path, found)?;
                continue;
            }
            let name = path.strip_prefix(&self.dir).ok().and_then(Path::to_str);
            let Some(name) = name.filter(|name| !name.ends_with(HALF)) else {
                continue;
            };
            // A file may be removed by another process while it is listed.
            let bytes = match entry.metadata() {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            found.push(Entry {
                name: name.to_owned(),
                bytes,
            });
        }
        Ok(())
    }
}

/// Makes a directory and those above it, each of them durable.
fn make_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_durably(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

impl Target for Directory {
    fn title(&self) -> &str {
        &self.title
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        self.write(name, bytes).map_err(self.failed("write", name))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, TargetError> {
        fs::read(self.dir.join(name)).map_err(self.failed("read", name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, TargetError> {
        let mut found = Vec::new();
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let listed = self.walk(&self.dir.join(folder), &mut found);
        listed.map_err(self.failed("list", prefix))?;
        found.retain(|entry| entry.name.starts_with(prefix));
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        match fs::remove_file(self.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", name)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_back_are_listed_by_prefix_and_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = Directory::new(&dir.path().join("deep/er"));
        assert_eq!(target.list("").expect("listed"), Vec::new());
        target.put("a/b/1.zst", b"one").expect("written");
        target.put("a/b/1.zst", b"uno").expect("replaced");
        target.put("ab", b"two").expect("written");
        fs::write(dir.path().join("deep/er/a/b/7-0.tmp"), b"half").expect("written");
        let names = |prefix| {
            let listed = target.list(prefix).expect("listed");
            listed.into_iter().map(|e| e.name).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["a/b/1.zst", "ab"]);
        assert_eq!(names("a/"), ["a/b/1.zst"]);
        assert_eq!(target.get("a/b/1.zst").expect("there"), b"uno");
        target.remove("a/b/1.zst").expect("removed");
        target.remove("a/b/1.zst").expect("no error");
        assert!(matches!(
            target.get("a/b/1.zst"),
            Err(TargetError::Missing { .. })
        ));
    }
}
