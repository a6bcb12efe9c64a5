//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02): written into a buffer, and read
//! from bytes that nobody vouches for.

/// Bytes of one packet that are read. A server answers with at most 256 KiB.
pub(super) const PACKET_BYTES_MAX: usize = 256 << 10;
/// Bytes of data in one packet; every server takes this many.
pub(super) const CHUNK_BYTES: usize = 32 << 10;
/// The version that is spoken here.
pub(super) const VERSION: u32 = 3;

pub(super) const INIT: u8 = 1;
const ANSWER_VERSION: u8 = 2;
pub(super) const OPEN: u8 = 3;
pub(super) const CLOSE: u8 = 4;
pub(super) const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
pub(super) const FSTAT: u8 = 8;
pub(super) const OPENDIR: u8 = 11;
pub(super) const READDIR: u8 = 12;
pub(super) const REMOVE: u8 = 13;
pub(super) const MKDIR: u8 = 14;
pub(super) const RENAME: u8 = 18;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRIBUTES: u8 = 105;
pub(super) const EXTENDED: u8 = 200;

pub(super) const FOR_READING: u32 = 0x01;
/// For writing; made if it is not there, emptied if it is.
pub(super) const FOR_WRITING: u32 = 0x02 | 0x08 | 0x10;

const HAS_SIZE: u32 = 0x01;
const HAS_OWNER: u32 = 0x02;
const HAS_MODE: u32 = 0x04;
const HAS_TIMES: u32 = 0x08;
const HAS_MORE: u32 = 0x8000_0000;

const KIND_BITS: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Ok,
    End,
    NoSuchFile,
    PermissionDenied,
    Failure,
    Unsupported,
    Other(u32),
}

impl Code {
    fn of(number: u32) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::End,
            2 => Self::NoSuchFile,
            3 => Self::PermissionDenied,
            4 => Self::Failure,
            8 => Self::Unsupported,
            other => Self::Other(other),
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::Ok => "done".to_owned(),
            Self::End => "end of file".to_owned(),
            Self::NoSuchFile => "no such file".to_owned(),
            Self::PermissionDenied => "permission denied".to_owned(),
            Self::Failure => "failure".to_owned(),
            Self::Unsupported => "not supported".to_owned(),
            Self::Other(number) => format!("status {number}"),
        }
    }
}

/// What is told of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    mode: Option<u32>,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: Vec<u8>,
    /// A line as `ls -l` gives it.
    long: Vec<u8>,
    pub(super) attributes: Attributes,
}

impl Named {
    pub(super) fn is_directory(&self) -> bool {
        match self.attributes.mode {
            Some(mode) => mode & KIND_BITS == DIRECTORY,
            None => self.long.first() == Some(&b'd'),
        }
    }

    pub(super) fn is_file(&self) -> bool {
        match self.attributes.mode {
            Some(mode) => mode & KIND_BITS == FILE,
            None => self.long.first() == Some(&b'-'),
        }
    }
}

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Status(Code, String),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Named>),
    Attributes(Attributes),
}

/// What a server says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: u32,
    /// Names of extensions and their versions.
    pub(super) extensions: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Bytes that are no packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends a packet: its length, its kind, and what `body` writes.
pub(super) fn packet(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    body(out);
    let length = u32::try_from(out.len() - at - 4).expect("a packet is a chunk and a name");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(
        out,
        u32::try_from(bytes.len()).expect("a chunk, a handle or a name"),
    );
    out.extend_from_slice(bytes);
}

/// The length of the packet that begins so; none while that is not known.
pub(super) fn length(bytes: &[u8]) -> Option<Result<usize, Malformed>> {
    let head: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    Some(match length {
        1..=PACKET_BYTES_MAX => Ok(length),
        _ => Err(Malformed),
    })
}

/// Reads a greeting.
pub(super) fn greeting(packet: &[u8]) -> Result<Greeting, Malformed> {
    let mut fields = Fields(packet);
    if fields.byte()? != ANSWER_VERSION {
        return Err(Malformed);
    }
    let version = fields.u32()?;
    let mut extensions = Vec::new();
    while !fields.0.is_empty() {
        extensions.push((fields.bytes()?.to_owned(), fields.bytes()?.to_owned()));
    }
    Ok(Greeting {
        version,
        extensions,
    })
}

/// Reads an answer and the number of the request that it belongs to.
pub(super) fn reply(packet: &[u8]) -> Result<(u32, Reply), Malformed> {
    let mut fields = Fields(packet);
    let kind = fields.byte()?;
    let id = fields.u32()?;
    let reply = match kind {
        STATUS => {
            let code = Code::of(fields.u32()?);
            // Servers of earlier drafts give no message.
            let message = fields.bytes().unwrap_or_default();
            Reply::Status(code, String::from_utf8_lossy(message).into_owned())
        }
        HANDLE => Reply::Handle(fields.bytes()?.to_owned()),
        DATA => Reply::Data(fields.bytes()?.to_owned()),
        NAME => {
            let count = fields.u32()?;
            // Nothing is set aside for a number that somebody told.
            let mut names = Vec::new();
            for _ in 0..count {
                names.push(Named {
                    name: fields.bytes()?.to_owned(),
                    long: fields.bytes()?.iter().take(1).copied().collect(),
                    attributes: fields.attributes()?,
                });
            }
            Reply::Names(names)
        }
        ATTRIBUTES => Reply::Attributes(fields.attributes()?),
        _ => return Err(Malformed),
    };
    Ok((id, reply))
}

/// What is left of a packet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        self.take(count)
    }

    fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let flags = self.u32()?;
        let has = |flag: u32| flags & flag != 0;
        let mut found = Attributes::default();
        if has(HAS_SIZE) {
            found.size = Some(self.u64()?);
        }
        if has(HAS_OWNER) {
            self.take(8)?;
        }
        if has(HAS_MODE) {
            found.mode = Some(self.u32()?);
        }
        if has(HAS_TIMES) {
            self.take(8)?;
        }
        if has(HAS_MORE) {
            for _ in 0..self.u32()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        packet(&mut out, kind, body);
        assert_eq!(length(&out), Some(Ok(out.len() - 4)));
        out.split_off(4)
    }

    #[test]
    fn answers_are_read_with_their_numbers() {
        let status = whole(STATUS, |out| {
            put_u32(out, 7);
            put_u32(out, 3);
            put_bytes(out, b"no");
            put_bytes(out, b"en");
        });
        let denied = Reply::Status(Code::PermissionDenied, "no".to_owned());
        assert_eq!(reply(&status), Ok((7, denied)));
        let names = whole(NAME, |out| {
            put_u32(out, 8);
            put_u32(out, 1);
            put_bytes(out, b"tail");
            put_bytes(out, b"drwx tail");
            put_u32(out, HAS_SIZE | HAS_OWNER | HAS_TIMES | HAS_MORE);
            put_u64(out, 4096);
            put_u64(out, 0);
            put_u64(out, 0);
            put_u32(out, 1);
            put_bytes(out, b"a");
            put_bytes(out, b"b");
        });
        let (_, Reply::Names(found)) = reply(&names).expect("names") else {
            panic!("names are expected");
        };
        assert!(found[0].is_directory() && !found[0].is_file());
        assert_eq!(found[0].attributes.size, Some(4096));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_anything_is_set_aside() {
        assert_eq!(length(&[0, 0, 0]), None);
        assert_eq!(length(&[0; 4]), Some(Err(Malformed)));
        assert_eq!(length(b"Welcome to this host"), Some(Err(Malformed)));
        let endless = whole(NAME, |out| {
            put_u32(out, 1);
            put_u32(out, u32::MAX);
        });
        assert_eq!(reply(&endless), Err(Malformed));
        let long = whole(DATA, |out| {
            put_u32(out, 1);
            put_u32(out, u32::MAX);
        });
        assert_eq!(reply(&long), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(reply(&bytes));
            drop(greeting(&bytes));
            let _ = length(&bytes);
        }
    }
}
