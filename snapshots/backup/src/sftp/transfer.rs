//! What is done over one connection: objects written, read, listed and removed. Many requests are
//! on their way at once, so that a long way costs little.

use std::collections::{BTreeMap, BTreeSet};

use super::session::{Fault, Session};
use super::wire::{self, CHUNK_BYTES, Code, Reply};
use crate::target::Entry;

/// Requests that are on their way at once: 2 MiB of data.
const WINDOW: usize = 64;
/// Bytes that wait to be sent.
const UNSENT_BYTES_MAX: usize = 256 << 10;
/// Bytes of one object that are read at most: a segment has at most 1 GiB.
const OBJECT_BYTES_MAX: u64 = 2 << 30;
/// Objects that are listed at most.
const ENTRIES_MAX: usize = 4_000_000;
/// Directories below directories.
const DEPTH_MAX: usize = 16;
/// The end of the names of files that are being written.
pub(super) const HALF: &str = ".tmp";

impl Session {
    /// Puts a whole file in place: written beside it, made durable, renamed.
    pub(super) fn put(&mut self, path: &str, half: &str, bytes: &[u8]) -> Result<(), Fault> {
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let handle = match self.open_for_writing(half) {
            Err(Fault::Refused(Code::NoSuchFile, _)) => {
                self.folder = None;
                let made = self.make(folder);
                match self.open_for_writing(half) {
                    // Why the directory cannot be made says more.
                    Err(Fault::Refused(..)) if made.is_err() => return made,
                    opened => opened?,
                }
            }
            opened => opened?,
        };
        let written = self.write_all(&handle, bytes);
        let written = written.and_then(|()| self.sync(&handle));
        let closed = self.close(&handle);
        let finished = written.and(closed).and_then(|()| self.rename(half, path));
        if let Err(fault) = finished {
            if matches!(fault, Fault::Refused(..)) {
                self.remove(half)?;
            }
            return Err(fault);
        }
        self.sync_folder(folder)
    }

    /// The bytes of a file; none when it is not there.
    pub(super) fn get(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        let opened = self.ask(wire::OPEN, |out| {
            wire::put_bytes(out, path.as_bytes());
            wire::put_u32(out, wire::FOR_READING);
            wire::put_u32(out, 0);
        })?;
        let handle = match self.handle(opened) {
            Err(Fault::Refused(Code::NoSuchFile, _)) => return Ok(None),
            handle => handle?,
        };
        let read = self
            .size(&handle)
            .and_then(|size| self.read_all(&handle, size));
        if let Err(fault @ Fault::Broken(_)) = read {
            return Err(fault);
        }
        self.close(&handle)?;
        read.map(Some)
    }

    /// Removes a file; one that is not there is no error.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), Fault> {
        let removed = self.order(wire::REMOVE, |out| wire::put_bytes(out, path.as_bytes()));
        match removed {
            Err(Fault::Refused(Code::NoSuchFile, _)) => Ok(()),
            other => other,
        }
    }

    /// Every file below `base/folder` whose name, from `base` on, begins with `prefix`.
    pub(super) fn list(&mut self, base: &str, prefix: &str) -> Result<Vec<Entry>, Fault> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut listing = Listing {
            base,
            prefix,
            waiting: BTreeMap::new(),
            folders: vec![folder.to_owned()],
            found: Vec::new(),
            failure: None,
        };
        listing.run(self)?;
        match listing.failure {
            Some(fault) => Err(fault),
            None => Ok(listing.found),
        }
    }

    fn open_for_writing(&mut self, path: &str) -> Result<Vec<u8>, Fault> {
        let reply = self.ask(wire::OPEN, |out| {
            wire::put_bytes(out, path.as_bytes());
            wire::put_u32(out, wire::FOR_WRITING);
            wire::put_u32(out, 0);
        })?;
        self.handle(reply)
    }

    fn handle(&self, reply: Reply) -> Result<Vec<u8>, Fault> {
        match reply {
            // The draft allows no longer ones.
            Reply::Handle(handle) if handle.len() <= 256 => Ok(handle),
            Reply::Status(code, message) if code != Code::Ok => Err(Fault::Refused(code, message)),
            Reply::Status(..)
            | Reply::Handle(_)
            | Reply::Data(_)
            | Reply::Names(_)
            | Reply::Attributes(_) => Err(self.nonsense()),
        }
    }

    fn close(&mut self, handle: &[u8]) -> Result<(), Fault> {
        self.order(wire::CLOSE, |out| wire::put_bytes(out, handle))
    }

    /// Makes a directory and those above it. One that is there already is refused by the server
    /// like any other, so only what the last one says counts, unless one above was denied.
    fn make(&mut self, folder: &str) -> Result<(), Fault> {
        let (mut made, mut denied) = (Ok(()), None);
        let ends = folder.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([folder.len()]) {
            let above = &folder[..end];
            if above.is_empty() || above == "." {
                continue;
            }
            made = self.order(wire::MKDIR, |out| {
                wire::put_bytes(out, above.as_bytes());
                wire::put_u32(out, 0);
            });
            if let Err(Fault::Broken(_)) = made {
                return made;
            }
            if let Err(Fault::Refused(Code::PermissionDenied, message)) = &made {
                denied = Some(Fault::Refused(Code::PermissionDenied, message.clone()));
            }
            if made.is_ok() {
                let parent = above.rsplit_once('/').map_or(".", |(parent, _)| parent);
                self.sync_folder(if parent.is_empty() { "/" } else { parent })?;
            }
        }
        match (made, denied) {
            (Err(_), Some(denied)) => Err(denied),
            (made, _) => made,
        }
    }

    fn write_all(&mut self, handle: &[u8], bytes: &[u8]) -> Result<(), Fault> {
        let mut chunks = bytes.chunks(CHUNK_BYTES);
        let (mut waiting, mut offset, mut failure) = (BTreeSet::new(), 0_u64, None);
        loop {
            while failure.is_none()
                && waiting.len() < WINDOW
                && self.unsent() < UNSENT_BYTES_MAX
                && let Some(chunk) = chunks.next()
            {
                waiting.insert(self.send(wire::WRITE, |out| {
                    wire::put_bytes(out, handle);
                    wire::put_u64(out, offset);
                    wire::put_bytes(out, chunk);
                }));
                offset += chunk.len() as u64;
            }
            if waiting.is_empty() {
                return failure.map_or(Ok(()), Err);
            }
            let (id, reply) = self.reply()?;
            if !waiting.remove(&id) {
                return Err(self.nonsense());
            }
            match self.done(reply) {
                Err(fault @ Fault::Broken(_)) => return Err(fault),
                Err(fault) => failure = failure.or(Some(fault)),
                Ok(()) => {}
            }
        }
    }

    fn size(&mut self, handle: &[u8]) -> Result<u64, Fault> {
        let reply = self.ask(wire::FSTAT, |out| wire::put_bytes(out, handle))?;
        let told = match reply {
            Reply::Attributes(told) => told,
            Reply::Status(code, message) => return Err(Fault::Refused(code, message)),
            Reply::Handle(_) | Reply::Data(_) | Reply::Names(_) => return Err(self.nonsense()),
        };
        match told.size {
            Some(size) if size <= OBJECT_BYTES_MAX => Ok(size),
            Some(size) => Err(refused(format!(
                "{size} bytes are over the limit of {OBJECT_BYTES_MAX}"
            ))),
            None => Err(refused(
                "the server does not tell how long it is".to_owned(),
            )),
        }
    }

    fn read_all(&mut self, handle: &[u8], size: u64) -> Result<Vec<u8>, Fault> {
        // It grows with what has come, not with what was told.
        let mut content: Vec<u8> = Vec::new();
        let (mut waiting, mut again, mut next) = (BTreeMap::new(), Vec::new(), 0_u64);
        let mut failure = None;
        loop {
            while failure.is_none() && waiting.len() < WINDOW {
                let piece = again.pop().or_else(|| {
                    let count = (size - next).min(CHUNK_BYTES as u64);
                    let piece = (next, u32::try_from(count).unwrap_or(0));
                    next += count;
                    (count > 0).then_some(piece)
                });
                let Some((offset, count)) = piece else { break };
                let id = self.send(wire::READ, |out| {
                    wire::put_bytes(out, handle);
                    wire::put_u64(out, offset);
                    wire::put_u32(out, count);
                });
                waiting.insert(id, (offset, count));
            }
            if waiting.is_empty() {
                return failure.map_or(Ok(content), Err);
            }
            let (id, reply) = self.reply()?;
            let Some((offset, count)) = waiting.remove(&id) else {
                return Err(self.nonsense());
            };
            match reply {
                Reply::Data(data) if (1..=count as usize).contains(&data.len()) => {
                    place(&mut content, offset, &data);
                    let came = u32::try_from(data.len()).unwrap_or(count);
                    if came < count {
                        again.push((offset + u64::from(came), count - came));
                    }
                }
                Reply::Status(Code::End, _) => {
                    failure = Some(refused(format!("it ends before its {size} bytes")));
                }
                Reply::Status(code, message) if code != Code::Ok => {
                    failure = Some(Fault::Refused(code, message));
                }
                Reply::Status(..)
                | Reply::Handle(_)
                | Reply::Data(_)
                | Reply::Names(_)
                | Reply::Attributes(_) => return Err(self.nonsense()),
            }
        }
    }

    /// Makes what was written durable, where the server offers that.
    fn sync(&mut self, handle: &[u8]) -> Result<(), Fault> {
        if !self.can_sync {
            return Ok(());
        }
        self.order(wire::EXTENDED, |out| {
            wire::put_bytes(out, b"fsync@openssh.com");
            wire::put_bytes(out, handle);
        })
    }

    /// Makes the names in a directory durable, where the server can: not every one opens a
    /// directory like a file.
    fn sync_folder(&mut self, folder: &str) -> Result<(), Fault> {
        if !self.can_sync {
            return Ok(());
        }
        let handle = match self.folder.take() {
            Some((known, handle)) if known == folder => handle,
            other => {
                if let Some((_, handle)) = other {
                    self.close(&handle)?;
                }
                let opened = self.ask(wire::OPEN, |out| {
                    wire::put_bytes(out, folder.as_bytes());
                    wire::put_u32(out, wire::FOR_READING);
                    wire::put_u32(out, 0);
                })?;
                match self.handle(opened) {
                    Err(Fault::Refused(..)) => return Ok(()),
                    handle => handle?,
                }
            }
        };
        match self.sync(&handle) {
            Err(Fault::Refused(..)) => self.close(&handle),
            Ok(()) => {
                self.folder = Some((folder.to_owned(), handle));
                Ok(())
            }
            broken => broken,
        }
    }

    /// Gives a file another name, in the place of one that has it.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        let names = |out: &mut Vec<u8>| {
            wire::put_bytes(out, from.as_bytes());
            wire::put_bytes(out, to.as_bytes());
        };
        if self.can_replace {
            return self.order(wire::EXTENDED, |out| {
                wire::put_bytes(out, b"posix-rename@openssh.com");
                names(out);
            });
        }
        match self.order(wire::RENAME, names) {
            // Without the extension nothing is replaced. What is there has the same content, or is
            // written anew because it was damaged.
            Err(Fault::Refused(..)) => {
                self.remove(to)?;
                self.order(wire::RENAME, names)
            }
            other => other,
        }
    }
}

fn refused(message: String) -> Fault {
    Fault::Refused(Code::Failure, message)
}

fn place(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let at = usize::try_from(offset).expect("within the limit of an object");
    let end = at + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(data);
}

/// What a request of a listing is about: a directory that is opened, read or closed.
enum Step {
    Open(String),
    Read(String, Vec<u8>),
    Close,
}

/// Many directories are read at once.
struct Listing<'a> {
    base: &'a str,
    prefix: &'a str,
    waiting: BTreeMap<u32, Step>,
    folders: Vec<String>,
    found: Vec<Entry>,
    failure: Option<Fault>,
}

impl Listing<'_> {
    fn run(&mut self, session: &mut Session) -> Result<(), Fault> {
        loop {
            while self.failure.is_none()
                && self.waiting.len() < WINDOW
                && let Some(folder) = self.folders.pop()
            {
                let path = join(self.base, &folder);
                let id = session.send(wire::OPENDIR, |out| wire::put_bytes(out, path.as_bytes()));
                self.waiting.insert(id, Step::Open(folder));
            }
            if self.waiting.is_empty() {
                return Ok(());
            }
            let (id, reply) = session.reply()?;
            let step = self.waiting.remove(&id);
            match (step, reply) {
                (Some(Step::Open(_)), Reply::Status(Code::NoSuchFile, _)) => {}
                (Some(Step::Open(folder)), Reply::Handle(handle)) => {
                    self.read(session, folder, handle);
                }
                (Some(Step::Read(folder, handle)), Reply::Names(names)) if !names.is_empty() => {
                    for named in &names {
                        self.take(&folder, named);
                    }
                    match self.failure {
                        Some(_) => self.close(session, &handle),
                        None => self.read(session, folder, handle),
                    }
                }
                (Some(Step::Read(_, handle)), Reply::Status(code, message)) => {
                    if code != Code::End {
                        self.failure = Some(Fault::Refused(code, message));
                    }
                    self.close(session, &handle);
                }
                (Some(Step::Open(_)), Reply::Status(code, message)) if code != Code::Ok => {
                    self.failure = Some(Fault::Refused(code, message));
                }
                (Some(Step::Close), Reply::Status(..)) => {}
                _ => return Err(session.nonsense()),
            }
        }
    }

    fn read(&mut self, session: &mut Session, folder: String, handle: Vec<u8>) {
        let id = session.send(wire::READDIR, |out| wire::put_bytes(out, &handle));
        self.waiting.insert(id, Step::Read(folder, handle));
    }

    fn close(&mut self, session: &mut Session, handle: &[u8]) {
        let id = session.send(wire::CLOSE, |out| wire::put_bytes(out, handle));
        self.waiting.insert(id, Step::Close);
    }

    /// Takes a name in a directory, unless it is none that this program gives.
    fn take(&mut self, folder: &str, named: &wire::Named) {
        let Ok(name) = std::str::from_utf8(&named.name) else {
            return;
        };
        if matches!(name, "" | "." | "..") || name.contains('/') || name.contains('\0') {
            return;
        }
        let name = join(folder, name);
        if named.is_directory() {
            let deep = name.split('/').count() > DEPTH_MAX;
            if !deep && name.starts_with(self.prefix) {
                self.folders.push(name);
            }
        } else if named.is_file() && name.starts_with(self.prefix) && !name.ends_with(HALF) {
            let bytes = named.attributes.size.unwrap_or(0);
            self.found.push(Entry { name, bytes });
        }
        if self.found.len() + self.folders.len() > ENTRIES_MAX {
            let message = format!("more than {ENTRIES_MAX} names are there");
            self.failure = Some(refused(message));
        }
    }
}

/// A name in a directory; the empty one is the directory that everything begins at.
pub(super) fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}
