//! The event log: a write-ahead log that acknowledges, and a lookup store behind it.
//!
//! Submissions are decided by the pure core, written as one frame for each group commit, and
//! acknowledged once fdatasync has returned; then they are folded, published and answered. sled
//! holds what is looked up and can be rebuilt from the segments at any time.
//!
//! This crate knows no actor, no HTTP and no lab; it reads no clock but the one it is given.

mod applier;
mod background;
mod base;
mod blobs;
mod chunk;
mod codec;
mod copying;
mod disk;
mod error;
mod frame;
mod frames;
#[cfg(test)]
mod golden;
mod index;
mod journal;
mod lock;
mod log;
mod looking;
mod moment;
mod offline;
mod position;
mod prune;
mod rebuild;
mod record;
mod recovery;
mod repair;
mod replay;
mod room;
mod scan;
mod scrub;
mod segment;
mod shared;
mod shelf;
mod stats;
mod store;
mod tail;
mod threads;
mod time;
mod vault;
mod verify;
mod wal;

pub use background::background;
pub use base::{BaseFile, Gap};
pub use blobs::{BlobError, Blobs, Pinned};
pub use codec::{decode_state, encode_state, state_hash};
pub use copying::{FrameCursor, Place, SegmentAt, blobs_in, header_at};
pub use disk::{Disk, DiskFile, Fault, RealDisk, SimDisk};
pub use error::{CommitError, LogError, SubmitError};
pub use journal::{Batch, Journal, NotStaged};
pub use lock::is_open;
pub use log::{Log, Options, Receipt, Reply, Subscriber};
pub use moment::Folded;
pub use offline::Reader;
pub use position::{BadPosition, Position};
pub use prune::{Prune, Sealed};
pub use rebuild::{Cut, Rebuild, Rebuilt, begin_epoch};
pub use record::{Body, Recorded};
pub use recovery::{Recovery, open_journal};
pub use repair::{Lost, NoSpares, Remedy, Repair, Spares, repair};
pub use replay::{Checkpoint, Progress, Replayed, replay, replay_seen, walk};
pub use scrub::{Damaged, ScrubError, Scrubbed, scrub};
pub use shelf::{Pointer, Shelf, ShelfSize, Shelved};
pub use stats::{Stats, SyncObserver};
pub use time::{Clock, TimeKeeper};
pub use vault::{MasterKey, PayloadError, Vault, VaultError, key_file};
pub use verify::{FirstSealed, Problem, Report, StoreCheck, verify, verify_opening};
