//! A disk in memory that forgets what was not synced, in part and in any order, and fails when it
//! is told to. A seed decides everything, so that a failure can be played again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile};

/// What goes wrong, once, at the operation that is counted down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A write fails and may have written any part of its bytes.
    WriteError,
    /// A sync fails; what it covered may be lost, and no later sync covers it, though it can be
    /// read until the power goes (Linux marks the pages clean).
    SyncError,
    /// The growth of a file finds no room, and writes nothing.
    NoSpace,
    /// The sync of a directory fails once; its entries are synced later or lost.
    DirectorySyncError,
    /// The power goes at any operation that changes something: it and all after it fail.
    PowerCut,
}

/// One write that is not synced yet.
#[derive(Debug, Clone)]
enum Unsynced {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    cached: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

#[derive(Debug, Clone)]
enum Entry {
    Link(PathBuf, u64),
    Unlink(PathBuf),
}

#[derive(Debug, Default)]
struct World {
    inodes: BTreeMap<u64, Inode>,
    cached: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    unsynced: Vec<Entry>,
    inodes_made: u64,
    random: u64,
    fault: Option<(Fault, u64)>,
    down: bool,
    /// Listings until another process renames a file, and the file's names.
    moves: Option<(u64, PathBuf, PathBuf)>,
}

/// The simulated disk; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<World>>);

impl SimDisk {
    /// An empty disk whose accidents follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.world().random = seed;
        disk
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0
            .lock()
            .expect("no holder of the simulated disk panics")
    }

    /// `fault` strikes at the `after`-th operation of its kind from here on.
    pub fn schedule(&self, fault: Fault, after: u64) {
        self.world().fault = Some((fault, after));
    }

    /// Another process renames `from` to `to` right after the `after`-th listing of a directory from
    /// here on: what is listed next shows it.
    pub fn rename_after_listing(&self, after: u64, from: &Path, to: &Path) {
        self.world().moves = Some((after, from.to_owned(), to.to_owned()));
    }

    /// Whether the scheduled fault has struck: no operation succeeds until `crash`.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.world().down
    }

    /// The power goes and comes back: of what was not synced, any part may be there.
    pub fn crash(&self) {
        let mut world = self.world();
        let count = world.unsynced.len() as u64;
        let keep = world.below(count + 1);
        let entries: Vec<Entry> = world.unsynced.drain(..).collect();
        // The journal of a file system keeps the order of its entries: a prefix survives.
        for entry in entries.into_iter().take(usize::try_from(keep).unwrap_or(0)) {
            world.settle(entry);
        }
        let inodes: Vec<u64> = world.inodes.keys().copied().collect();
        for number in inodes {
            world.lose(number);
        }
        world.cached = world.durable.clone();
        world.fault = None;
        world.down = false;
    }

    /// The process ends and starts again, and the power stays: what was written can be read,
    /// whether it is on the medium or not.
    pub fn restart(&self) {
        let mut world = self.world();
        world.fault = None;
        world.down = false;
    }

    /// Flips one random bit of a file that holds data. Returns where, or `None` for an empty file.
    #[must_use]
    pub fn flip_bit(&self, path: &Path, within: u64) -> Option<u64> {
        let mut world = self.world();
        let number = *world.cached.get(path)?;
        let at = world.below(within);
        let bit = world.below(8);
        let inode = world.inodes.get_mut(&number)?;
        let index = usize::try_from(at).ok()?;
        *inode.durable.get_mut(index)? ^= 1 << bit;
        *inode.cached.get_mut(index)? ^= 1 << bit;
        Some(at)
    }
}

impl World {
    /// Splitmix64: the next number of the disk's own sequence.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn settle(&mut self, entry: Entry) {
        match entry {
            Entry::Link(path, inode) => {
                self.durable.insert(path, inode);
            }
            Entry::Unlink(path) => {
                self.durable.remove(&path);
            }
        }
    }

    /// What can be read of inode `number` is what is on the medium.
    fn lose(&mut self, number: u64) {
        self.settle_part(number);
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.cached.clone_from(&inode.durable);
        }
    }

    /// A random part of what inode `number` has not synced reaches the medium, each write torn at
    /// any byte; the rest never will.
    fn settle_part(&mut self, number: u64) {
        let Some(mut inode) = self.inodes.remove(&number) else {
            return;
        };
        let mut unsynced = std::mem::take(&mut inode.unsynced);
        while !unsynced.is_empty() {
            let pick = usize::try_from(self.below(unsynced.len() as u64)).unwrap_or(0);
            let write = unsynced.swap_remove(pick);
            match (write, self.below(3)) {
                (_, 0) => {}
                (Unsynced::Length(len), _) => inode.durable.resize(len, 0),
                (Unsynced::Write { offset, bytes }, 1) => put(&mut inode.durable, offset, &bytes),
                (Unsynced::Write { offset, bytes }, _) => {
                    // Torn: a stretch of the middle is missing, as when sectors go out of order.
                    let from = usize::try_from(self.below(bytes.len() as u64)).unwrap_or(0);
                    let to = from + usize::try_from(self.below(bytes.len() as u64)).unwrap_or(0);
                    put(&mut inode.durable, offset, &bytes[..from]);
                    if to < bytes.len() {
                        put(&mut inode.durable, offset + to, &bytes[to..]);
                    }
                }
            }
        }
        self.inodes.insert(number, inode);
    }

    /// A directory was listed: another process may rename a file now.
    fn listed(&mut self) -> io::Result<()> {
        match self.moves.take() {
            Some((0..=1, from, to)) => self.rename(&from, &to),
            Some((left, from, to)) => {
                self.moves = Some((left - 1, from, to));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.cached.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.cached.insert(to.to_owned(), inode);
        self.unsynced.push(Entry::Link(to.to_owned(), inode));
        self.unsynced.push(Entry::Unlink(from.to_owned()));
        Ok(())
    }

    /// Counts down to the scheduled fault; `Some` when it strikes here.
    fn strikes(&mut self, kinds: &[Fault]) -> Option<Fault> {
        let (fault, left) = self.fault?;
        if !kinds.contains(&fault) {
            return None;
        }
        if left > 1 {
            self.fault = Some((fault, left - 1));
            return None;
        }
        self.fault = None;
        // These pass; a disk that fails otherwise is not to be trusted again.
        self.down = !matches!(fault, Fault::NoSpace | Fault::DirectorySyncError);
        Some(fault)
    }

    /// Begins an operation that changes something.
    fn check(&mut self) -> io::Result<()> {
        if self.down || self.strikes(&[Fault::PowerCut]).is_some() {
            return Err(io::Error::other("simulated: the disk has failed"));
        }
        Ok(())
    }
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}

fn no_space() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "simulated: no space left")
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        world.check()?;
        if world.cached.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.inodes_made += 1;
        let inode = world.inodes_made;
        world.inodes.insert(inode, Inode::default());
        world.cached.insert(path.to_owned(), inode);
        world.unsynced.push(Entry::Link(path.to_owned(), inode));
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn open(&self, path: &Path, _writable: bool) -> io::Result<Box<dyn DiskFile>> {
        let world = self.world();
        let inode = *world.cached.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.check()?;
        world.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.check()?;
        world.cached.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.unsynced.push(Entry::Unlink(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut world = self.world();
        let names = world
            .cached
            .keys()
            .filter(|path| path.parent() == Some(dir));
        let names = names
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        world.listed()?;
        Ok(names)
    }

    fn tree(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let world = self.world();
        let below = world
            .cached
            .iter()
            .filter(|(path, _)| path.starts_with(dir));
        let sized = below.map(|(path, inode)| {
            let bytes = world.inodes.get(inode).map_or(0, |i| i.cached.len());
            (path.clone(), bytes as u64)
        });
        Ok(sized.collect())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        for (path, _) in self.tree(dir)? {
            self.remove(&path)?;
        }
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.check()?;
        if world.strikes(&[Fault::DirectorySyncError]).is_some() {
            return Err(io::Error::other("simulated: directory sync error"));
        }
        for entry in std::mem::take(&mut world.unsynced) {
            world.settle(entry);
        }
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
}

impl SimFile {
    fn with<R>(&self, act: impl FnOnce(&mut Inode) -> R) -> io::Result<R> {
        let mut world = self.disk.world();
        world
            .inodes
            .get_mut(&self.inode)
            .map(act)
            .ok_or(io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let (struck, bytes) = {
            let mut world = self.disk.world();
            world.check()?;
            let len = world.inodes.get(&self.inode).map_or(0, |i| i.cached.len());
            let kinds: &[Fault] = match offset + bytes.len() > len {
                true => &[Fault::WriteError, Fault::NoSpace],
                false => &[Fault::WriteError],
            };
            match world.strikes(kinds) {
                Some(Fault::NoSpace) => return Err(no_space()),
                None => (None, bytes),
                struck => {
                    let len = world.below(bytes.len() as u64 + 1);
                    let part = &bytes[..usize::try_from(len).map_err(io::Error::other)?];
                    (struck, part)
                }
            }
        };
        self.with(|inode| {
            put(&mut inode.cached, offset, bytes);
            inode.unsynced.push(Unsynced::Write {
                offset,
                bytes: bytes.to_vec(),
            });
        })?;
        match struck {
            Some(_) => Err(io::Error::other("simulated: write error")),
            None => Ok(()),
        }
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|inode| {
            let rest = inode.cached.get(offset..).unwrap_or_default();
            let len = rest.len().min(into.len());
            into[..len].copy_from_slice(&rest[..len]);
            len
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        {
            let mut world = self.disk.world();
            world.check()?;
            if world.strikes(&[Fault::SyncError]).is_some() {
                world.settle_part(self.inode);
                return Err(io::Error::other("simulated: sync error"));
            }
        }
        self.with(|inode| {
            for write in std::mem::take(&mut inode.unsynced) {
                match write {
                    Unsynced::Length(len) => inode.durable.resize(len, 0),
                    Unsynced::Write { offset, bytes } => put(&mut inode.durable, offset, &bytes),
                }
            }
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|inode| inode.cached.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        {
            let mut world = self.disk.world();
            world.check()?;
            if world.strikes(&[Fault::NoSpace]).is_some() {
                return Err(no_space());
            }
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|inode| {
            inode.cached.resize(len, 0);
            inode.unsynced.push(Unsynced::Length(len));
        })
    }
}
