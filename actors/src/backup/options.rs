//! What the backup actor is told: its targets, and how often and how carefully it works.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hindcast_backup::{
    Access, Address, BackupError, Keep, Key, NONCE_BYTES, Repository, Signer, SigningKey, Target,
    TargetError,
};

use super::schedule::Schedule;
use crate::Environment;
use crate::dependency::{Dependency, Measured};

/// The name of the target that is always there: `backups/` in the data directory.
pub const LOCAL: &str = "local";

/// A target by name.
#[derive(Clone)]
pub struct TargetOptions {
    pub name: String,
    pub address: Address,
    pub access: Access,
    pub key: Option<Key>,
    /// What signs the objects that are sent to it.
    pub signing: Option<SigningKey>,
    /// Who has to have signed what is read from it.
    pub signer: Option<Signer>,
    /// The log is shipped to it as it grows.
    pub continuous: bool,
    /// Data keys go into it although it is not encrypted.
    pub plain_keys: bool,
}

/// Every setting of the backup actor.
#[derive(Clone)]
pub struct BackupOptions {
    pub targets: Vec<TargetOptions>,
    /// Where directories may lie that a request names.
    pub roots: Vec<PathBuf>,
    pub schedule: Schedule,
    /// When a restore from each target is practised.
    pub drill_schedule: Schedule,
    /// Every backup is restored and compared.
    pub verify: bool,
    pub keep: Keep,
    pub attempts_max: u32,
    /// How often what became durable is shipped.
    pub ship_every: Duration,
    pub mailbox_max: usize,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            roots: Vec::new(),
            schedule: Schedule::Never,
            drill_schedule: Schedule::Never,
            verify: true,
            keep: Keep::default(),
            attempts_max: 5,
            ship_every: Duration::from_millis(500),
            mailbox_max: 1_024,
        }
    }
}

impl BackupOptions {
    /// The target of a name, or the directory that a request names below a root.
    pub(crate) fn find(&self, name: &str) -> Result<TargetOptions, TargetError> {
        if let Some(target) = self.targets.iter().find(|target| target.name == name) {
            return Ok(target.clone());
        }
        let refuse = |why: String| TargetError::Url {
            url: name.to_owned(),
            why,
        };
        if !name.contains('/') {
            let names: Vec<&str> = self.targets.iter().map(|t| t.name.as_str()).collect();
            return Err(refuse(format!("targets are {}", names.join(", "))));
        }
        let address: Address = name.parse()?;
        if !matches!(address, Address::Directory(_)) {
            let why =
                "a place beyond this machine is named in the configuration, with its credentials";
            return Err(refuse(why.to_owned()));
        }
        address.below(&self.roots)?;
        Ok(TargetOptions {
            name: name.to_owned(),
            address,
            access: Access::default(),
            key: None,
            signing: None,
            signer: None,
            continuous: false,
            plain_keys: false,
        })
    }
}

impl TargetOptions {
    /// The repository in it.
    pub(crate) fn repository(&self, environment: &Environment) -> Result<Repository, BackupError> {
        let target = self.address.open(&self.access)?;
        let target: Arc<dyn Target> = match &self.address {
            Address::Directory(_) => target,
            Address::S3 { .. } | Address::Sftp(_) | Address::Node(_) => {
                let name = format!("backup_{}", self.name);
                let measured = Dependency::new(&name, Arc::clone(&environment.clock));
                Arc::new(Measured::new(target, measured))
            }
        };
        let fresh = Arc::clone(&environment.nonce);
        let nonce = move || {
            let mut nonce = [0; NONCE_BYTES];
            nonce.copy_from_slice(&fresh()[..NONCE_BYTES]);
            nonce
        };
        let repository = Repository::new(target, self.key.clone(), Arc::new(nonce));
        Ok(repository.signed(self.signing.clone(), self.signer))
    }
}
