//! The thread of one target: makes and verifies the backups that were asked for, tries again what
//! failed, and keeps the target in order between them. Nothing that happens here reaches beyond this thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use hindcast_backup::{BackupError, Create, Manifest, Verified, Work, create, prune, verify};
use hindcast_model::event::{BackupEnded, BackupKind};
use hindcast_model::{BackupId, Event, Seq};

use super::desk::{Desk, Job, Place, Task};
use super::maintain::{maintain, until_first, wait_for_first};
use super::options::TargetOptions;
use super::schedule::backoff;
use crate::component::panic_text;
use crate::lock::lock;

/// How often the target is looked after.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);
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
            Some(Task::Drill { target, asked }) => super::drill::run(desk, &target, asked),
            None => {
                failures = match maintain(desk, place) {
                    true => 0,
                    false => failures + 1,
                };
                let soon = || backoff(BackupId::default(), failures).min(MAINTAIN_EVERY);
                let wait = match failures {
                    0 => until_first(desk, place).unwrap_or(MAINTAIN_EVERY),
                    _ => soon(),
                };
                let wait = wait.min(MAINTAIN_EVERY);
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
        let failed = done.failure.is_some();
        desk.record(ended(job, done, (attempt, again)));
        if failed && !again {
            wait_for_first(desk, place);
        }
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
            let manifest = create(&repository, &request, &work)?;
            let lost = repository.lost()?;
            if let Some(first) = lost.first() {
                let (count, target) = (lost.len(), &target.name);
                tracing::warn!(count, %first, target, "blobs are lost: the backup is without them");
            }
            manifest
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

/// What is shipped continuously begins with a backup: shipping to a target that cannot have one fails.
fn cannot_begin(desk: &Desk, place: &Place, job: &Job, failure: &Failure) {
    let mut targets = desk.options.targets.iter();
    let continuous = targets.any(|target| target.name == place.name && target.continuous);
    let begun = lock(&place.shipping).base.is_some();
    if continuous && !begun && job.target == place.name {
        super::shipping::failed(desk, place, failure.message.clone());
    }
}
