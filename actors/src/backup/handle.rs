//! What the outside world may ask of backups.

use std::sync::Arc;
use std::time::Duration;

use hindcast_backup::{BackupError, Listed, Plan, Protection, TargetError, Wanted, plan};
use hindcast_log::LogError;
use hindcast_model::event::{BackupKind, BackupRequested, Idempotency};
use hindcast_model::limits::BACKUPS_OPEN_MAX;
use hindcast_model::{BackupId, Event, Stream};

use super::desk::Desk;
use super::options::LOCAL;
use crate::handle::ExperimentHandle;
use crate::handle::request::{Identity, SubmitFailure};
use crate::views::{self, BackupView};

/// The backup actor and its threads.
#[derive(Clone)]
pub struct BackupHandle {
    desk: Arc<Desk>,
}

/// A backup or a verification to ask for.
pub struct BackupRequest {
    pub backup: BackupId,
    pub identity: Identity,
    /// A target's name or URL; the local one if left out.
    pub target: Option<String>,
    pub kind: BackupKind,
    pub idempotency: Option<Idempotency>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// It is recorded and will be worked on.
    Admitted(BackupId),
    /// It repeats an earlier request.
    Repeated(BackupId),
}

/// Why a backup was not asked for.
#[derive(Debug, thiserror::Error)]
pub enum BackupRefusal {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// A backup is an event, and this server writes none.
    #[error("nothing is written here, and a backup is recorded as an event: {0}")]
    ReadOnly(String),
    #[error("{limit} backups are asked for and not ended, which is the limit")]
    TooMany { limit: u64 },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Submit(#[from] SubmitFailure),
}

/// The backups of one target, or why they cannot be listed.
pub struct Listing {
    pub target: String,
    pub protection: Protection,
    pub listed: Result<Vec<Listed>, BackupError>,
}

impl BackupHandle {
    pub(crate) const fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    /// Asks for a backup; it is durable when this returns.
    pub async fn request(
        &self,
        experiment: &ExperimentHandle,
        request: BackupRequest,
    ) -> Result<Requested, BackupRefusal> {
        let target = request.target.unwrap_or_else(|| LOCAL.to_owned());
        self.desk.options.find(&target)?;
        if let Some(why) = self.desk.log.read_only() {
            return Err(BackupRefusal::ReadOnly(why.to_owned()));
        }
        // A second event of a verification, which has its backup's id, would look as one not ended.
        let principal = request.identity.principal;
        let now = self.desk.environment.clock.wall();
        let before = self.desk.log.state(|state| {
            let key = request.idempotency?;
            state.asked_before(principal, &key, now)?;
            state.first_backup(principal, &key)
        });
        match before {
            None => {}
            Some((first, true)) => return Ok(Requested::Repeated(first)),
            Some((_, false)) => return Err(BackupRefusal::KeyReused),
        }
        let limit = BACKUPS_OPEN_MAX as u64;
        if self.open() >= limit {
            return Err(BackupRefusal::TooMany { limit });
        }
        let BackupRequest {
            backup,
            identity,
            kind,
            idempotency,
            ..
        } = request;
        // A backup that has ended is let go of, or a verification of it would count as taken up.
        self.desk.take_up();
        let event = Event::BackupRequested(BackupRequested {
            backup,
            target,
            kind,
            idempotency,
        });
        experiment.submit(identity.command(event).into()).await?;
        self.desk.take_up();
        let (first, open) = self.desk.log.state(|state| {
            let first = idempotency.and_then(|key| state.first_backup(identity.principal, &key));
            (first, state.backups_open().any(|(open, _)| open == backup))
        });
        match first {
            Some((first, true)) if first != backup => Ok(Requested::Repeated(first)),
            Some((_, false)) => Err(BackupRefusal::KeyReused),
            Some(_) | None if open => Ok(Requested::Admitted(backup)),
            // It has ended by now, or many were asked for at the same moment.
            Some(_) | None => match self.view(backup)? {
                Some(view) if view.status != "pending" => Ok(Requested::Admitted(backup)),
                Some(_) | None => Err(BackupRefusal::TooMany { limit }),
            },
        }
    }

    /// Backups and verifications that have not ended.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.desk
            .log
            .state(|state| state.backups_open().len() as u64)
    }

    /// Waits until a backup has ended, but no longer than this.
    pub async fn wait(&self, backup: BackupId, patience: Duration) {
        let ended = self.desk.watch(backup);
        // An end, a stop of the server and the end of patience are told apart by looking.
        drop(tokio::time::timeout(patience, ended).await);
    }

    /// What the log says of a backup; none when nobody asked for it here.
    pub fn view(&self, backup: BackupId) -> Result<Option<BackupView>, LogError> {
        let events = self.desk.log.read_stream(Stream::system("backups"))?;
        Ok(views::backup(&events, backup))
    }

    /// The backups of a target, or of all that are configured.
    pub fn list(&self, target: Option<&str>) -> Result<Vec<Listing>, TargetError> {
        let targets = match target {
            Some(name) => vec![self.desk.options.find(name)?],
            None => self.desk.options.targets.clone(),
        };
        let list = |target: super::TargetOptions| {
            let mut protection = Protection::default();
            let listed = target
                .repository(&self.desk.environment)
                .and_then(|repository| {
                    let listed = match repository.log()? {
                        Some(_) => repository.list()?,
                        None => Vec::new(),
                    };
                    protection = repository.protection();
                    Ok(listed)
                });
            Listing {
                target: target.name,
                protection,
                listed,
            }
        };
        Ok(targets.into_iter().map(list).collect())
    }

    /// Whether a request may name this target.
    pub fn check_target(&self, target: &str) -> Result<(), TargetError> {
        self.desk.options.find(target).map(drop)
    }

    /// Has a restore from this target practised; how it ends is an event of `system/drills`.
    pub fn drill(&self, target: &str) -> Result<(), TargetError> {
        self.check_target(target)?;
        self.desk.drill(target, true);
        Ok(())
    }

    /// What a restore from a target would do.
    pub fn plan(&self, target: &str, wanted: Wanted) -> Result<Plan, BackupError> {
        let target = self.desk.options.find(target)?;
        plan(&target.repository(&self.desk.environment)?, wanted)
    }
}
