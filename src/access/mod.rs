//! Who may do what: roles, access keys and the file that holds their hashes. A key is shown once,
//! when it is made; what is kept of it is an argon2id hash, from which it cannot be got back.
//!
//! It knows no HTTP: who asks on which route is `http/guard.rs`.

mod failures;
mod hash;
mod proved;
mod store;
mod token;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use hindcast_model::{Name16, UnixMicros};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use failures::Attempts;
use proved::Proved;
pub use store::{AccessKey, KeyFileError, KeyRefusal, Keys};
pub use token::Token;

use crate::clock;
use crate::config::Config;

/// Keys that are hashed to prove them at the same time: each takes 19 MiB for some milliseconds.
const PROOFS_AT_ONCE_MAX: usize = 2;
/// Proofs that may wait for their turn.
const PROOFS_WAITING_MAX: usize = 1_024;
/// Names that the server signs its own events with, and that no key may have.
const RESERVED: &[&str] = &[
    ANONYMOUS,
    "computation",
    "hindcast",
    "scrub",
    "server",
    "system",
];
/// Who proves nothing where nobody has to.
pub const ANONYMOUS: &str = "anonymous";

/// What somebody may do; each includes what stands before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything but access keys.
    Viewer,
    /// Runs, uploads, backups, breakers.
    Operator,
    /// Keys, reload, quit, redactions, restores.
    Admin,
}

impl Role {
    /// The word for it, as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub name: Name16,
    pub role: Role,
    /// The public part of the key that proved it; none where nobody has to prove anything.
    pub key: Option<Arc<str>>,
    /// When the proof ends.
    pub expires_at: Option<UnixMicros>,
}

impl Principal {
    /// Whoever asks where nobody has to prove who they are.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            name: Name16::new(ANONYMOUS),
            role: Role::Admin,
            key: None,
            expires_at: None,
        }
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No key was given, and one is needed.
    Missing,
    /// What was given has not the form of a key.
    Malformed,
    /// There is no such key, or its secret is another one.
    Unknown,
    Revoked,
    Expired,
    /// This address has tried too many keys; it may try again after so many seconds.
    TooMany {
        retry_after_seconds: u64,
    },
    /// Too many keys are being proved.
    Busy,
}

impl Denied {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Missing,
        Self::Malformed,
        Self::Unknown,
        Self::Revoked,
        Self::Expired,
        Self::TooMany {
            retry_after_seconds: 0,
        },
        Self::Busy,
    ];

    /// The label in `auth_failures_total`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::TooMany { .. } => "too_many",
            Self::Busy => "busy",
        }
    }
}

/// The keys of a running server.
pub struct Access {
    file: PathBuf,
    keys: RwLock<Arc<Keys>>,
    proved: Proved,
    attempts: Attempts,
    proofs: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Nobody is let in without a key.
    needed: bool,
}

/// The file of access keys that a configuration means.
#[must_use]
pub fn file(config: &Config) -> PathBuf {
    if config.access.keys_file.as_os_str().is_empty() {
        return config.server.data_dir.join(store::FILE);
    }
    config.access.keys_file.clone()
}

/// Whether somebody can prove to be an admin at this moment.
pub fn has_admin(path: &Path) -> Result<bool, KeyFileError> {
    let now = clock::wall();
    Ok(Keys::read(path)?.has_admin(now))
}

impl Access {
    /// Reads the file of keys that the configuration means; none is no key.
    pub fn open(config: &Config) -> Result<Self, KeyFileError> {
        let file = file(config);
        let keys = Keys::read(&file)?;
        let open = match config.server.listen.ip().is_loopback() {
            true => !config.access.required_on_loopback,
            false => config.server.allow_unauthenticated,
        };
        Ok(Self {
            keys: RwLock::new(Arc::new(keys)),
            file,
            proved: Proved::new(),
            attempts: Attempts::new(config.access.attempts_per_minute_max),
            proofs: Arc::new(Semaphore::new(PROOFS_AT_ONCE_MAX)),
            waiting: Arc::new(Semaphore::new(PROOFS_WAITING_MAX)),
            needed: !open,
        })
    }

    /// Whether a request without a key is refused.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        self.needed
    }

    /// Warns when who listens on the way could take the keys.
    pub fn warn_if_plain(&self, config: &Config) {
        let plain = config.server.tls_certificate_file.as_os_str().is_empty();
        if self.needed && plain && !config.server.listen.ip().is_loopback() {
            tracing::warn!(
                "keys come in unencrypted: set server.tls_certificate_file, or put https in front"
            );
        }
    }

    /// The keys, as they are at this moment.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }

    /// Whether the key of this public part still proves something.
    #[must_use]
    pub fn is_live(&self, id: &str) -> bool {
        let keys = self.keys();
        keys.find(id).is_some_and(|key| key.is_live(clock::wall()))
    }

    /// Reads the file again, and changes nothing here.
    pub fn read(&self) -> Result<Keys, KeyFileError> {
        Keys::read(&self.file)
    }

    /// Changes the keys: first in the file, then here. The file is read again before, since another
    /// process may have changed it. It may wait for the disk.
    pub fn change<R>(
        &self,
        change: impl FnOnce(&mut Keys) -> Result<R, KeyRefusal>,
    ) -> Result<Result<R, KeyRefusal>, KeyFileError> {
        let mut place = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut keys = Keys::read(&self.file)?;
        let done = match change(&mut keys) {
            Ok(done) => done,
            Err(refusal) => return Ok(Err(refusal)),
        };
        keys.write(&self.file)?;
        *place = Arc::new(keys);
        drop(place);
        self.proved.clear();
        Ok(Ok(done))
    }

    /// These are the keys from here on.
    pub fn replace(&self, keys: Keys) {
        let mut place = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(keys);
        drop(place);
        self.proved.clear();
    }

    /// Who sent this `Authorization` header from this address. Only the first request with a key
    /// computes a hash; it is not computed on the caller's thread.
    pub async fn prove(
        &self,
        authorization: Option<&[u8]>,
        from: Option<IpAddr>,
    ) -> Result<Principal, Denied> {
        let Some(value) = authorization else {
            return match self.needed {
                true => Err(Denied::Missing),
                false => Ok(Principal::anonymous()),
            };
        };
        if let Some(known) = self.known(value) {
            return known;
        }
        let waiting = Arc::clone(&self.waiting).try_acquire_owned();
        let waiting = waiting.map_err(|_| Denied::Busy)?;
        let proofs = Arc::clone(&self.proofs).acquire_owned().await;
        let proof = proofs.map_err(|_| Denied::Busy)?;
        drop(waiting);
        // Many requests with one key may have come at once: the first has proved it for all.
        if let Some(known) = self.known(value) {
            return known;
        }
        self.attempts.take(from)?;
        let now = clock::wall();
        let generation = self.proved.generation();
        let token = Token::of_header(value).ok_or(Denied::Malformed)?;
        let key = self.keys().find(token.id()).cloned();
        let key = key.ok_or(Denied::Unknown)?;
        if key.revoked_at.is_some() {
            return Err(Denied::Revoked);
        }
        if key.expires_at.is_some_and(|at| at <= now) {
            return Err(Denied::Expired);
        }
        let principal = key.principal();
        let proving = tokio::task::spawn_blocking(move || {
            let _proof = proof;
            key.hash.is_of(token.secret())
        });
        match proving.await.map_err(|_| Denied::Busy)? {
            true => {
                self.proved.keep(generation, value, principal.clone());
                Ok(principal)
            }
            false => Err(Denied::Unknown),
        }
    }

    /// Who sent this header, if it was proved before.
    fn known(&self, header: &[u8]) -> Option<Result<Principal, Denied>> {
        let principal = self.proved.find(header)?;
        let over = principal.expires_at.is_some_and(|at| at <= clock::wall());
        Some(match over {
            true => Err(Denied::Expired),
            false => Ok(principal),
        })
    }
}

/// Whether a key may have this name.
#[must_use]
pub fn may_be_named(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=16).contains(&name.len()) && name.bytes().all(fits) && !RESERVED.contains(&name)
}
