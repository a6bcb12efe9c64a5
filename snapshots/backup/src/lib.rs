//! Backups of a log and the restoring of one: what a target holds, how it comes there while the log
//! grows, how it is proved, and how a data directory is made of it.
//!
//! This crate knows no actor, no HTTP server and no clock but the one it is given.

mod address;
mod build;
mod create;
mod crypt;
mod directory;
mod drill;
mod error;
mod manifest;
mod node;
mod pack;
mod plan;
mod repository;
mod restore;
mod retention;
mod s3;
mod send;
mod sftp;
mod ship;
mod sign;
mod spares;
mod switch;
mod target;
mod verify;
mod work;

pub use address::{Access, Address};
pub use build::Source;
pub use create::{Create, check_whole, create, redact};
pub use crypt::{Key, KeyTag, NONCE_BYTES};
pub use directory::Directory;
pub use drill::{Drilled, drill};
pub use error::{BackupError, TargetError};
pub use manifest::{Based, Manifest, Stored, Stretch, Verified};
pub use node::{Node, NodeOptions, NodePlace, OBJECT_FIELD, certificates, is_vault_name};
pub use plan::{Plan, Wanted, plan, plan_local};
pub use repository::{Entropy, Listed, Protection, Repository};
pub use restore::{Restore, Restored, restore};
pub use retention::{Keep, Pruned, prune};
pub use s3::{S3, S3Options};
pub use sftp::{Sftp, SshOptions, SshPlace};
pub use ship::{Fold, Shipped, Shipper, fold};
pub use sign::{Signer, SigningKey};
pub use spares::Copies;
pub use target::{Entry, Target, is_object_name, is_object_prefix};
pub use verify::verify;
pub use work::{Step, Work};
