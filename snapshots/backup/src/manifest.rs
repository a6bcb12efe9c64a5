//! What a backup consists of, as JSON with a checksum. It is written last: without its manifest a
//! backup does not exist.

use hindcast_model::event::BackupKind;
use hindcast_model::{BackupId, Digest, Seq, UnixMicros};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::BackupError;

/// The layout that is written.
pub(crate) const FORMAT: u32 = 1;

/// Frames of the log in one object: a sealed segment, or a part of the open one. Its content has
/// the form of a segment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    pub name: String,
    pub first: Seq,
    pub last: Seq,
    /// Hash of the last frame.
    pub chain: Digest,
    /// Time of the last event.
    pub at: UnixMicros,
    pub sealed: bool,
    /// Bytes and blake3 of the content, and bytes of the object.
    pub bytes: u64,
    pub blake3: Digest,
    pub stored_bytes: u64,
}

/// A file in one object: a blob or a data key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    pub name: String,
    pub bytes: u64,
    pub blake3: Digest,
    pub stored_bytes: u64,
}

/// What the log went on from when its oldest events had been removed and no backup held them: the
/// state there, in one object, whose content is the log's own file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Based {
    pub name: String,
    /// The last event that was removed, the hash of its frame, and its time.
    pub last: Seq,
    pub chain: Digest,
    pub at: UnixMicros,
    /// Bytes and blake3 of the content, and bytes of the object.
    pub bytes: u64,
    pub blake3: Digest,
    pub stored_bytes: u64,
}

/// One backup: everything that a restore needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub id: BackupId,
    pub log: Uuid,
    pub kind: BackupKind,
    /// The backup whose objects were not sent again.
    pub parent: Option<BackupId>,
    pub created_at: UnixMicros,
    /// The first event that `parent` does not have; without one, the first that it holds.
    pub from_seq: Seq,
    pub to_seq: Seq,
    pub epoch: u32,
    /// Hash of the frame that ends with `to_seq`.
    pub chain: Digest,
    /// The state after `to_seq`, as these rules fold it.
    pub state_hash: Digest,
    pub decider_version: u32,
    pub binary_version: String,
    /// What the log goes on from; none when it is there from its first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Based>,
    /// The whole log from there on, in order.
    pub stretches: Vec<Stretch>,
    pub blobs: Vec<Stored>,
    /// Data keys; none when they are left out of a target that is not encrypted.
    pub keys: Vec<Stored>,
    /// Bytes of the objects that were sent for this backup.
    pub sent_bytes: u64,
}

impl Manifest {
    /// The first event that it holds: 1, unless the log had been pruned before.
    #[must_use]
    pub fn first_seq(&self) -> Seq {
        self.base.as_ref().map_or(Seq(1), |base| base.last.next())
    }

    /// Bytes of everything that it consists of, as the target holds it.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let stretches = self.stretches.iter().map(|s| s.stored_bytes);
        let files = self.blobs.iter().chain(&self.keys).map(|s| s.stored_bytes);
        let base = self.base.iter().map(|base| base.stored_bytes);
        stretches.chain(files).chain(base).sum()
    }

    /// Bytes of the log and the blobs in it, as a restore writes them.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        let stretches = self.stretches.iter().map(|stretch| stretch.bytes);
        stretches
            .chain(self.blobs.iter().map(|blob| blob.bytes))
            .chain(self.base.iter().map(|base| base.bytes))
            .sum()
    }

    /// Names of its objects.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let stretches = self.stretches.iter().map(|s| s.name.as_str());
        let files = self.blobs.iter().chain(&self.keys);
        let base = self.base.iter().map(|base| base.name.as_str());
        base.chain(stretches).chain(files.map(|s| s.name.as_str()))
    }
}

/// That a backup was restored, replayed and found to be the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    pub backup: BackupId,
    pub at: UnixMicros,
    pub state_hash: Digest,
    pub events: u64,
    pub micros: u64,
}

/// What a target says of itself; never encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    pub(crate) format: u32,
    pub(crate) log: Uuid,
    /// The tag of the key that everything else is encrypted with.
    pub(crate) key: Option<crate::crypt::KeyTag>,
    /// Who signs everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signer: Option<crate::sign::Signer>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    /// Of the text of `content`.
    blake3: Digest,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// A document with its checksum.
pub(crate) fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    let content = serde_json::value::to_raw_value(content).expect("plain data");
    let blake3 = Digest(*blake3::hash(content.get().as_bytes()).as_bytes());
    let envelope = Envelope {
        blake3,
        content: &content,
    };
    serde_json::to_vec(&envelope).expect("plain data")
}

/// Reads what `encode` wrote.
pub(crate) fn decode<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, BackupError> {
    let damaged = |error: serde_json::Error| BackupError::damaged(name, error);
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
    let text = envelope.content.get();
    if Digest(*blake3::hash(text.as_bytes()).as_bytes()) != envelope.blake3 {
        return Err(BackupError::damaged(name, "its checksum does not hold"));
    }
    serde_json::from_str(text).map_err(damaged)
}
