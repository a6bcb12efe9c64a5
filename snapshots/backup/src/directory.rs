//! A directory as a target: a temporary file, fsync, rename, fsync of the directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_log::{Disk, RealDisk};

use crate::error::TargetError;
use crate::target::{Entry, Target};

/// The end of the names of files that are being written.
const HALF: &str = ".tmp";

/// A directory.
pub struct Directory {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    title: String,
    temporary: AtomicU64,
}

impl Directory {
    /// The directory at this path of this machine, which is made with the first object.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self::on(Arc::new(RealDisk), dir)
    }

    /// As [`Directory::new`], on a disk.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk,
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
        let (disk, path) = (self.disk.as_ref(), self.dir.join(name));
        let parent = path.parent().unwrap_or(&self.dir).to_owned();
        disk.create_dir_all(&parent)?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let half = parent.join(format!("{}-{number}{HALF}", std::process::id()));
        // A process of this number that was killed may have left one.
        drop(disk.remove(&half));
        let finish = || {
            let file = disk.create(&half)?;
            file.write_at(bytes, 0)?;
            file.sync_data()?;
            disk.rename(&half, &path)?;
            disk.sync_dir(&parent)
        };
        finish().inspect_err(|_| drop(disk.remove(&half)))
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
        let read = self.disk.read(&self.dir.join(name));
        read.map_err(self.failed("read", name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, TargetError> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let listed = self.disk.tree(&self.dir.join(folder));
        let listed = listed.map_err(self.failed("list", prefix))?;
        let named = listed.into_iter().filter_map(|(path, bytes)| {
            let name = path.strip_prefix(&self.dir).ok()?.to_str()?.to_owned();
            let whole = name.starts_with(prefix) && !name.ends_with(HALF);
            whole.then_some(Entry { name, bytes })
        });
        let mut found: Vec<Entry> = named.collect();
        // By name, which is another order than by path.
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        match self.disk.remove(&self.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", name)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
