//! The thread of one target: makes and verifies the backups that were asked for, tries again what
//! failed, and folds what was shipped. Nothing that happens here reaches beyond this thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use hindcast_backup::{
    BackupError, Create, Manifest, Repository, Verified, Work, create, fold, prune, redact, verify,
};
use hindcast_model::event::{BackupEnded, BackupKind};
use hindcast_model::{BackupId, Event, KeyId, Seq, State};

use super::desk::{Desk, Job, Place, Task};
use super::options::TargetOptions;
use super::schedule::backoff;
use crate::component::panic_text;
use crate::lock::lock;

/// How often what was shipped is folded.
const FOLD_EVERY: Duration = Duration::from_secs(10);
/// Room that a verification leaves beside what it writes.
const ROOM_BYTES: u64 = 256 << 20;
/// Characters of an error that are recorded.
const ERROR_CHARS_MAX: usize = 500;

pub(super) fn run(desk: &Desk, place: &Place) {
    let mut failures = 0;
    while !desk.is_stopping() {
        let job = lock(&place.queue).pop_front();
        match job {
            Some(Task::Backup(job)) => work_on(desk, place, &job),
            Some(Task::Drill { target }) => super::drill::run(desk, &target),
            None => {
                failures = match maintain(desk, place) {
                    true => 0,
                    false => failures + 1,
                };
                let soon = || backoff(BackupId::default(), failures).min(FOLD_EVERY);
                let wait = if failures > 0 { soon() } else { FOLD_EVERY };
                desk.rest(place, wait, true);
            }
        }
    }
}

/// What an attempt came to.
#[derive(Default)]
struct Attempt {
    manifest: Option<Manifest>,
    verified: Option<Verified>,
    copied_micros: u64,
    failure: Option<Failure>,
}

struct Failure {
    message: String,
    passing: bool,
    stopped: bool,
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self {
            passing: error.is_passing(),
            stopped: matches!(error, BackupError::Stopped),
            message: error.to_string(),
        }
    }
}

fn work_on(desk: &Desk, place: &Place, job: &Job) {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let attempted = catch_unwind(AssertUnwindSafe(|| try_once(desk, job)));
        let done = attempted.unwrap_or_else(|panic| Attempt {
            failure: Some(Failure {
                message: format!("the backup panicked: {}", panic_text(&*panic)),
                passing: false,
                stopped: false,
            }),
            ..Attempt::default()
        });
        let again = match &done.failure {
            // It stays open in the log, and the next start takes it up.
            Some(failure) if failure.stopped => return,
            Some(failure) => failure.passing && attempt < desk.options.attempts_max,
            None => false,
        };
        tell(job, &done, again);
        if let Some(failure) = &done.failure {
            cannot_begin(desk, place, job, failure);
        }
        desk.record(ended(job, done, (attempt, again)));
        if !again {
            return;
        }
        desk.rest(place, backoff(job.backup, attempt), false);
        if desk.is_stopping() {
            return;
        }
    }
}

fn tell(job: &Job, done: &Attempt, again: bool) {
    let (backup, target, kind) = (job.backup, &job.target, job.kind.word());
    match &done.failure {
        Some(failure) => {
            let error = &failure.message;
            tracing::warn!(%backup, target, kind, error, again, "backup failed");
        }
        None => {
            let verified = done.verified.is_some();
            tracing::info!(%backup, target, kind, verified, "backup done");
        }
    }
}

fn ended(job: &Job, done: Attempt, (attempt, retried): (u32, bool)) -> Event {
    let manifest = done.manifest.as_ref();
    Event::BackupEnded(BackupEnded {
        backup: job.backup,
        target: job.target.clone(),
        kind: match (job.kind, manifest) {
            // What was asked for as incremental is full where there was nothing before.
            (BackupKind::Incremental, Some(manifest)) => manifest.kind,
            (kind, _) => kind,
        },
        attempt,
        retried,
        from_seq: manifest.map_or(Seq(0), |manifest| manifest.from_seq),
        to_seq: manifest.map_or(Seq(0), |manifest| manifest.to_seq),
        bytes: manifest.map_or(0, Manifest::stored_bytes),
        sent_bytes: manifest.map_or(0, |manifest| manifest.sent_bytes),
        verified: done.verified.is_some(),
        state_hash: manifest.map(|manifest| manifest.state_hash),
        error: done.failure.map(|failure| short(&failure.message)),
        copied_micros: done.copied_micros,
        verified_micros: done.verified.map_or(0, |verified| verified.micros),
    })
}

fn try_once(desk: &Desk, job: &Job) -> Attempt {
    let mut attempt = Attempt::default();
    let tried = desk
        .options
        .find(&job.target)
        .map_err(BackupError::from)
        .and_then(|target| attempt_on(desk, job, &target, &mut attempt));
    attempt.failure = tried.err().map(Failure::from);
    attempt
}

fn attempt_on(
    desk: &Desk,
    job: &Job,
    target: &TargetOptions,
    attempt: &mut Attempt,
) -> Result<(), BackupError> {
    let repository = target.repository(&desk.environment)?;
    let stopped = || desk.is_stopping();
    let clock = &*desk.environment.clock;
    let work = Work {
        stopped: &stopped,
        ..Work::new(clock)
    };
    let begun = clock.monotonic();
    let is_verification = job.kind == BackupKind::Verification;
    let manifest = match is_verification {
        true => repository.find(job.backup)?.manifest,
        false => {
            let request = Create {
                id: job.backup,
                kind: job.kind,
                data_dir: desk.log.data_dir(),
                to: Some(desk.log.head().seq),
                binary_version: env!("CARGO_PKG_VERSION"),
                plain_keys: target.plain_keys,
            };
            create(&repository, &request, &work)?
        }
    };
    if !is_verification {
        attempt.copied_micros = clock.monotonic().saturating_sub(begun);
    }
    let room = manifest.content_bytes();
    attempt.manifest = Some(manifest);
    if desk.options.verify || is_verification {
        check_room(desk, room)?;
        attempt.verified = Some(verify(&repository, job.backup, desk.log.data_dir(), &work)?);
    }
    if !is_verification
        && desk.options.targets.iter().any(|t| t.name == target.name)
        && let Err(error) = prune(&repository, desk.options.keep, false, &work)
    {
        tracing::warn!(%error, target = target.name, "old backups were not removed");
    }
    Ok(())
}

/// As much of a message as is recorded.
pub(super) fn short(message: &str) -> String {
    message.chars().take(ERROR_CHARS_MAX).collect()
}

/// A verification never fills the disk that the log needs.
pub(super) fn check_room(desk: &Desk, needed: u64) -> Result<(), BackupError> {
    let Some(free) = (desk.environment.free_bytes)() else {
        return Ok(());
    };
    let reserve = desk.log.state(|state| state.settings().disk_reserve_bytes);
    let wanted = needed.saturating_add(reserve).saturating_add(ROOM_BYTES);
    match free >= wanted {
        true => Ok(()),
        false => Err(BackupError::NoRoom { wanted, free }),
    }
}

/// What is shipped continuously begins with a backup: a target that is gone before that fails.
fn cannot_begin(desk: &Desk, place: &Place, job: &Job, failure: &Failure) {
    let mut targets = desk.options.targets.iter();
    let continuous = targets.any(|target| target.name == place.name && target.continuous);
    let begun = lock(&place.shipping).base.is_some();
    if continuous && !begun && job.target == place.name && failure.passing {
        super::shipping::failed(desk, place, failure.message.clone());
    }
}

/// Takes shredded keys out of the target, sees to it that there is a backup to go on from, and folds
/// what was shipped. Returns whether the target did what it was asked to.
fn maintain(desk: &Desk, place: &Place) -> bool {
    if let Err(error) = redact_here(desk, place) {
        // It is tried again, and every backup does it as well.
        tracing::warn!(%error, target = place.name, "shredded keys are still in the target");
    }
    let mut targets = desk.options.targets.iter();
    let Some(target) = targets.find(|t| t.name == place.name && t.continuous) else {
        return true;
    };
    let maintained = catch_unwind(AssertUnwindSafe(|| fold_shipped(desk, place, target)));
    let error = match maintained {
        Ok(Ok(())) | Ok(Err(BackupError::Stopped)) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("folding panicked: {}", panic_text(&*panic)),
    };
    tracing::warn!(error, target = place.name, "folding failed");
    // Until it is known that there is a backup to go on from, nothing is shipped that could fail.
    let idle = lock(&place.shipping).base.is_none();
    if idle {
        super::shipping::failed(desk, place, error);
    }
    false
}

fn redact_here(desk: &Desk, place: &Place) -> Result<(), BackupError> {
    let shredded: Vec<KeyId> = desk.log.state(|state| state.shredded().collect());
    if shredded.len() <= place.redacted.load(Ordering::Acquire) {
        return Ok(());
    }
    let mut targets = desk.options.targets.iter();
    let Some(target) = targets.find(|target| target.name == place.name) else {
        return Ok(());
    };
    let count = shredded.len();
    redact(&target.repository(&desk.environment)?, shredded.into_iter())?;
    place.redacted.store(count, Ordering::Release);
    Ok(())
}

fn fold_shipped(desk: &Desk, place: &Place, target: &TargetOptions) -> Result<(), BackupError> {
    let repository = target.repository(&desk.environment)?;
    let (lost_to, known) = (lost_to(desk), lock(&place.shipping).base);
    if known.is_none_or(|base| base < lost_to) {
        // What was shipped cannot lead over events that are lost.
        let base = base_there(desk, &repository)?.filter(|base| *base >= lost_to);
        lock(&place.shipping).base = base.or(known);
        if base.is_none() {
            desk.ask(&place.name);
        }
        if known.or(base).is_none() {
            return Ok(());
        }
    }
    let stopped = || desk.is_stopping();
    let work = Work {
        stopped: &stopped,
        ..Work::new(&*desk.environment.clock)
    };
    let head = desk.log.head().seq;
    let folded = fold(&repository, desk.log.data_dir(), head, &work)?;
    if folded.segments > 0 {
        let (segments, parts) = (folded.segments, folded.parts_removed);
        tracing::debug!(segments, parts, target = place.name, "shipped parts folded");
    }
    Ok(())
}

/// The last event that was removed without a backup, where a backup can still go on from there.
fn lost_to(desk: &Desk) -> Seq {
    let lost = |state: &State| {
        let pruned = state.pruned()?;
        (pruned.lost_to == pruned.last).then_some(pruned.last)
    };
    desk.log.state(|state| lost(state).unwrap_or(Seq(0)))
}

/// Where the newest backup ends, if it is of this history.
fn base_there(desk: &Desk, repository: &Repository) -> Result<Option<Seq>, BackupError> {
    let head = desk.log.head();
    match repository.log()? {
        None => return Ok(None),
        Some(there) if there != head.log => {
            let here = head.log;
            return Err(BackupError::OtherLog { there, here });
        }
        Some(_) => {}
    }
    let newest = repository.list()?.pop().map(|newest| newest.manifest);
    let newest = newest.filter(|manifest| manifest.epoch == head.epoch);
    Ok(newest.map(|manifest| manifest.to_seq))
}
