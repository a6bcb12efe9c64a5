//! Where a log begins whose oldest segments were removed: the state at the end of the last of
//! them, in the file `base.bin` of the data directory. It is on the medium before any segment is
//! removed, so that a crash at any moment leaves a log that opens; segments before it are passed
//! over, and the next start removes them.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `HCBS` |
//! | 4 | 4 | version of this layout: 1 |
//! | 8 | 4 | version of the rules that folded the state |
//! | 12 | 4 | epoch |
//! | 16 | 16 | log id |
//! | 32 | 8 | last sequence that is removed |
//! | 40 | 32 | hash of the frame that ends with it |
//! | 72 | 8 | time of that event |
//! | 80 | 8 | first sequence that was removed together with it |
//! | 88 | 8 | last sequence that was removed without a backup; 0 for none |
//! | 96 | 8 | length of the note |
//! | 104 | 8 | length of the state's bytes |
//! | 112 | 32 | blake3 of bytes 0 to 112 and of what follows byte 144 |
//! | 144 | | note: id of the backup, reason and version of the binary, as a record's payload is |
//! | | | the state's bytes, compressed with lz4 |

use std::io;
use std::path::{Path, PathBuf};

use hindcast_model::event::SegmentsPruned;
use hindcast_model::{DECIDER_VERSION, Digest, Seq, UnixMicros};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{self, decode_state, encode_state};
use crate::disk::{Disk, read_from};
use crate::error::LogError;
use crate::frame::Chain;
use crate::replay::Checkpoint;
use crate::scan::{Begin, Link};
use crate::segment::{self, Location};

mod copy;

pub use copy::BaseFile;

const FILE: &str = "base.bin";
const MAGIC: [u8; 4] = *b"HCBS";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 144;
const HASHED_BYTES: usize = 112;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    backup: Option<String>,
    reason: String,
    binary_version: String,
}

/// The end of what was removed, without the state there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) log: Uuid,
    epoch: u32,
    pub(crate) last: Seq,
    pub(crate) chain: Chain,
    /// The time of the event at `last`.
    pub(crate) at: UnixMicros,
    first: Seq,
    lost_to: Seq,
    rules: u32,
    note: Note,
}

impl Base {
    /// The base at `checkpoint`, of which `pruned` is said, after an earlier one.
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        pruned: &SegmentsPruned,
        before: Option<&Self>,
    ) -> Self {
        let lost_to = before.map_or(Seq(0), |before| before.lost_to);
        Self {
            log: checkpoint.log,
            epoch: checkpoint.epoch,
            last: checkpoint.state.seq(),
            chain: checkpoint.chain.0,
            at: checkpoint.state.at(),
            first: pruned.first,
            lost_to: match pruned.backup {
                Some(_) => lost_to,
                None => pruned.last,
            },
            rules: DECIDER_VERSION,
            note: Note {
                backup: pruned.backup.clone(),
                reason: pruned.reason.clone(),
                binary_version: checkpoint.state.server().binary_version.clone(),
            },
        }
    }

    /// The first sequence that is there.
    pub(crate) const fn next(&self) -> Seq {
        self.last.next()
    }

    /// The place after what was removed.
    pub(crate) const fn link(&self) -> Link {
        Link {
            log: self.log,
            epoch: self.epoch,
            next: self.next(),
            chain: self.chain,
        }
    }

    /// The event that says what was removed.
    pub(crate) fn event(&self) -> SegmentsPruned {
        SegmentsPruned {
            first: self.first,
            last: self.last,
            chain: Digest(self.chain),
            backup: self.note.backup.clone(),
            reason: self.note.reason.clone(),
        }
    }

    /// Why `seq`, which was removed, cannot be read.
    pub(crate) fn gap(&self, seq: Seq) -> LogError {
        LogError::Pruned(self.range(seq))
    }

    fn range(&self, seq: Seq) -> Gap {
        let lost = seq <= self.lost_to;
        Gap {
            from: match lost {
                true => Seq(1),
                false => self.lost_to.next(),
            },
            to: match lost {
                true => self.lost_to,
                false => self.last,
            },
            backup: self.note.backup.clone().filter(|_| !lost),
            oldest: self.next(),
        }
    }

    /// Everything that was removed, in the order of the sequences.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let lost = (self.lost_to > Seq(0)).then(|| self.range(self.lost_to));
        let held = (self.lost_to < self.last).then(|| self.range(self.last));
        lost.into_iter().chain(held).collect()
    }

    /// An error when these rules cannot read the state.
    pub(crate) fn check_rules(&self) -> Result<(), LogError> {
        match self.rules == DECIDER_VERSION {
            true => Ok(()),
            false => Err(LogError::PrunedByOtherRules {
                to: self.last,
                rules: self.rules,
                here: DECIDER_VERSION,
                binary: self.note.binary_version.clone(),
                backup: self.note.backup.clone(),
            }),
        }
    }

    fn encode(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, LogError> {
        let state = encode_state(&checkpoint.state)?;
        let note = codec::encode(&self.note)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + note.len() + state.len() / 2);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.rules.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(self.log.as_bytes());
        bytes.extend_from_slice(&self.last.0.to_le_bytes());
        bytes.extend_from_slice(&self.chain);
        for number in [self.at.0, self.first.0, self.lost_to.0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(note.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(state.len() as u64).to_le_bytes());
        let body = [note, lz4_flex::block::compress(&state)].concat();
        let hash = hash(&bytes, &body);
        bytes.extend_from_slice(&hash);
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }
}

fn hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(header)
        .update(body)
        .finalize()
        .as_bytes()
}

/// A range of sequences that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub from: Seq,
    pub to: Seq,
    /// The verified backup that holds it; none when it is lost.
    pub backup: Option<String>,
    /// The first sequence that can be read.
    pub oldest: Seq,
}

impl Gap {
    /// How to get at what was removed.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { to, oldest, .. } = self;
        let left = format!("what is left begins with sequence {oldest}");
        match &self.backup {
            Some(id) => format!(
                "{left}; hindcast restore --from TARGET --to {to} makes a log of the rest in another \
                 data directory, and TARGET is where backup {id} is kept"
            ),
            None => format!(
                "{left}; hindcast restore --from TARGET --to {to} makes a log of the rest, should \
                 an older backup or copy hold it"
            ),
        }
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            from, to, backup, ..
        } = self;
        match backup {
            Some(id) => write!(
                f,
                "sequences {from} to {to} are pruned; backup {id} holds them"
            ),
            None => write!(
                f,
                "sequences {from} to {to} are pruned, and no backup holds them"
            ),
        }
    }
}

/// A base with the state there, as it stands in its file.
#[derive(Clone)]
struct File {
    base: Base,
    state_bytes: usize,
    /// The whole file, and where its state begins.
    bytes: Vec<u8>,
    state_at: usize,
}

impl File {
    fn decode(bytes: Vec<u8>) -> Result<Self, String> {
        let (header, body) = bytes
            .split_at_checked(HEADER_BYTES)
            .ok_or("it is cut short")?;
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        if header[..4] != MAGIC {
            return Err("it is no base of a log".to_owned());
        }
        if word(4) != FORMAT {
            return Err(format!(
                "its layout is version {}, which is not known",
                word(4)
            ));
        }
        if hash(&header[..HASHED_BYTES], body) != header[HASHED_BYTES..] {
            return Err("its checksum does not hold".to_owned());
        }
        let len = |at| usize::try_from(long(at)).map_err(|error| error.to_string());
        let (note, _) = body
            .split_at_checked(len(96)?)
            .ok_or("its note is cut short")?;
        let state_at = HEADER_BYTES + note.len();
        let base = Base {
            log: Uuid::from_bytes(header[16..32].try_into().expect("16 bytes")),
            epoch: word(12),
            last: Seq(long(32)),
            chain: header[40..72].try_into().expect("32 bytes"),
            at: UnixMicros(long(72)),
            first: Seq(long(80)),
            lost_to: Seq(long(88)),
            rules: word(8),
            note: codec::decode(note).map_err(|error| error.to_string())?,
        };
        Ok(Self {
            base,
            state_bytes: len(104)?,
            state_at,
            bytes,
        })
    }

    /// The checkpoint that the log goes on from.
    fn checkpoint(&self) -> Result<Checkpoint, String> {
        let compressed = &self.bytes[self.state_at..];
        let state = lz4_flex::block::decompress(compressed, self.state_bytes);
        let state = decode_state(&state.map_err(|error| error.to_string())?);
        let state = state.map_err(|error| error.to_string())?;
        if state.seq() != self.base.last {
            return Err("its state ends at another sequence than its header says".to_owned());
        }
        Ok(Checkpoint {
            log: self.base.log,
            epoch: self.base.epoch,
            chain: Digest(self.base.chain),
            state,
        })
    }
}

/// Where the base of the log under `data_dir` is, if it has one.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Result<File, String>>, LogError> {
    let path = path(data_dir);
    let file = match disk.open(&path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("open", path)(error)),
    };
    let bytes = read_from(file.as_ref(), 0).map_err(LogError::io("read", &path))?;
    Ok(Some(File::decode(bytes)))
}

/// The gap that `seq` lies in, if the log under `data_dir` was pruned past it.
pub(crate) fn gap_at(disk: &dyn Disk, data_dir: &Path, seq: Seq) -> Option<LogError> {
    let file = read(disk, data_dir).ok()??.ok()?;
    (seq <= file.base.last).then(|| file.base.gap(seq))
}

/// Writes the base and returns once it is on the medium.
pub(crate) fn write(
    disk: &dyn Disk,
    data_dir: &Path,
    base: &Base,
    checkpoint: &Checkpoint,
) -> Result<(), LogError> {
    put(disk, data_dir, &base.encode(checkpoint)?)
}

/// Writes the bytes of a base and returns once they are on the medium.
pub(crate) fn put(disk: &dyn Disk, data_dir: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let (path, half) = (path(data_dir), data_dir.join("base.tmp"));
    let failed = |action| LogError::io(action, &half);
    match disk.remove(&half) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove")(error));
        }
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(&half).map_err(failed("create"))?;
    file.write_at(bytes, 0).map_err(failed("write"))?;
    file.sync_data().map_err(failed("fdatasync"))?;
    disk.rename(&half, &path).map_err(failed("rename"))?;
    disk.sync_dir(data_dir)
        .map_err(LogError::io("sync", data_dir))
}

/// Where a log begins, and its segments from there on.
pub(crate) struct Origin {
    file: Option<File>,
    pub(crate) locations: Vec<Location>,
    /// Segments before the base, which are still to be removed.
    pub(crate) before: Vec<Location>,
    data_dir: PathBuf,
}

impl Origin {
    /// Looks for the base and the segments under `data_dir`.
    pub(crate) fn find(disk: &dyn Disk, data_dir: &Path) -> Result<Self, LogError> {
        // The segments first: those that a server removes meanwhile are then before the base.
        let mut locations = segment::list(disk, data_dir)?;
        let whole = locations
            .first()
            .is_some_and(|location| location.first == Seq(1));
        let file = match read(disk, data_dir)? {
            // Nothing was removed, or all of it was put back: such a base is not needed.
            Some(Ok(file)) if whole && file.base.check_rules().is_err() => None,
            Some(Err(_)) if whole => None,
            Some(Ok(file)) => Some(file),
            Some(Err(what)) => return Err(damaged(data_dir, Seq(0), what)),
            None => None,
        };
        let mut before = Vec::new();
        if let Some(File { base, .. }) = &file {
            let at = locations.partition_point(|location| location.first <= base.last);
            before = locations;
            locations = before.split_off(at);
            if locations.is_empty() {
                return Err(LogError::TailLost {
                    head: base.last,
                    known: base.next(),
                    evidence: FILE,
                });
            }
        }
        Ok(Self {
            file,
            locations,
            before,
            data_dir: data_dir.to_owned(),
        })
    }

    /// What was removed; none when the log is there from its beginning.
    pub(crate) fn base(&self) -> Option<&Base> {
        self.file.as_ref().map(|file| &file.base)
    }

    /// The base as it stands in its file.
    pub(crate) fn base_file(&self) -> Option<BaseFile> {
        self.file.clone().map(BaseFile)
    }

    /// The last sequence that was removed; 0 for none.
    pub(crate) fn pruned_to(&self) -> Seq {
        self.base().map_or(Seq(0), |base| base.last)
    }

    /// What the log is folded onto; none when it is there from its beginning.
    pub(crate) fn checkpoint(&self) -> Result<Option<Checkpoint>, LogError> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        file.base.check_rules()?;
        let read = file.checkpoint();
        read.map(Some)
            .map_err(|what| damaged(&self.data_dir, file.base.last, what))
    }

    /// The place that the first segment has to join.
    pub(crate) fn begin(&self) -> Begin {
        self.base()
            .map_or(Begin::Beginning, |base| Begin::After(base.link()))
    }

    /// An error when `seq` was removed.
    pub(crate) fn check(&self, seq: Seq) -> Result<(), LogError> {
        match self.base() {
            Some(base) if seq <= base.last => Err(base.gap(seq)),
            Some(_) | None => Ok(()),
        }
    }
}

fn damaged(data_dir: &Path, seq: Seq, what: String) -> LogError {
    LogError::Corrupt {
        seq,
        file: path(data_dir).display().to_string(),
        offset: 0,
        what: format!("{what}; the events before it are in the backup that holds this file"),
    }
}

/// The file's bytes.
#[cfg(test)]
pub(crate) fn encode(base: &Base, checkpoint: &Checkpoint) -> Result<Vec<u8>, LogError> {
    base.encode(checkpoint)
}

/// Reads what `encode` wrote.
#[cfg(test)]
pub(crate) fn decode(bytes: &[u8]) -> Result<(Base, Checkpoint), String> {
    let file = File::decode(bytes.to_vec())?;
    let checkpoint = file.checkpoint()?;
    Ok((file.base, checkpoint))
}

#[cfg(test)]
mod tests {
    use hindcast_model::State;

    use super::*;
    use crate::disk::{Fault, SimDisk};

    fn based(last: u64) -> (Base, Checkpoint) {
        let mut state = State::default();
        let event = hindcast_model::Event::TimeReached(hindcast_model::event::TimeReached {});
        let id = hindcast_model::EventId::from_bytes([7; 16]);
        for seq in 1..=last {
            let context = hindcast_model::state::Context {
                seq: Seq(seq),
                at: UnixMicros(seq),
                event_id: id,
                correlation: id,
                principal: hindcast_model::Name16::default(),
                tenant: hindcast_model::Name16::default(),
                key: hindcast_model::KeyId::default(),
            };
            state.apply(&context, &event);
        }
        let checkpoint = Checkpoint {
            log: Uuid::from_u128(7),
            epoch: 1,
            chain: Digest([9; 32]),
            state,
        };
        let pruned = SegmentsPruned {
            first: Seq(1),
            last: Seq(last),
            chain: checkpoint.chain,
            backup: None,
            reason: "a test".to_owned(),
        };
        (Base::new(&checkpoint, &pruned, None), checkpoint)
    }

    fn written(disk: &SimDisk) -> Option<Base> {
        let file = read(disk, Path::new("/data")).expect("readable");
        file.map(|file| file.expect("whole").base)
    }

    const FAULTS: [Fault; 5] = [
        Fault::PowerCut,
        Fault::NoSpace,
        Fault::WriteError,
        Fault::SyncError,
        Fault::DirectorySyncError,
    ];

    #[test]
    fn a_fault_at_any_step_leaves_the_old_base_or_the_new_one() {
        let (old, new) = (based(3), based(5));
        let dir = Path::new("/data");
        for fault in FAULTS {
            for step in 1.. {
                let sim = SimDisk::new(step);
                sim.create_dir_all(dir).expect("created");
                write(&sim, dir, &old.0, &old.1).expect("written");
                sim.schedule(fault, step);
                let done = write(&sim, dir, &new.0, &new.1);
                sim.crash();
                let found = written(&sim);
                match &done {
                    Ok(()) => assert_eq!(found.as_ref(), Some(&new.0), "{fault:?} {step}"),
                    Err(_) => assert!(
                        found.as_ref() == Some(&old.0) || found.as_ref() == Some(&new.0),
                        "{fault:?} {step}: {found:?}"
                    ),
                }
                // What is left of the attempt is in nobody's way.
                write(&sim, dir, &new.0, &new.1).expect("written");
                assert_eq!(written(&sim).as_ref(), Some(&new.0));
                if done.is_ok() {
                    assert!(step > 1, "{fault:?} meets nothing");
                    break;
                }
            }
        }
    }
}
