//! What is done for a target between backups: shredded keys are taken out of it, the backup that
//! shipping goes on from is looked for, and what was shipped is folded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use hindcast_backup::{BackupError, Repository, Work, check_whole, fold, redact};
use hindcast_model::{BackupId, KeyId, Seq, State};

use super::desk::{Base, Desk, First, Place};
use super::options::TargetOptions;
use super::schedule::backoff;
use super::shipping::failed;
use crate::budget::micros;
use crate::component::panic_text;
use crate::lock::lock;

/// What shipping fails with while the target has no backup any more.
pub(super) const BASE_GONE: &str =
    "the backup that shipping goes on from is gone from the target: it begins anew";

/// Takes shredded keys out of the target, sees to it that there is a backup to go on from, and folds
/// what was shipped. Returns whether the target did what it was asked to.
pub(super) fn maintain(desk: &Desk, place: &Place) -> bool {
    if let Err(error) = redact_here(desk, place) {
        // It is tried again, and every backup does it as well.
        tracing::warn!(%error, target = place.name, "shredded keys are still in the target");
    }
    let mut targets = desk.options.targets.iter();
    let Some(target) = targets.find(|t| t.name == place.name && t.continuous) else {
        return true;
    };
    let told = |what: &str, tried: std::thread::Result<Result<(), BackupError>>| match tried {
        Ok(Ok(()) | Err(BackupError::Stopped)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(format!("{what} panicked: {}", panic_text(&*panic))),
    };
    let looked = catch_unwind(AssertUnwindSafe(|| look_for_base(desk, place, target)));
    if let Some(error) = told("looking for its backup", looked) {
        failed(desk, place, error);
        return false;
    }
    let folded = catch_unwind(AssertUnwindSafe(|| fold_shipped(desk, place, target)));
    if let Some(error) = told("folding", folded) {
        tracing::warn!(error, target = place.name, "folding failed");
        return false;
    }
    true
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

/// Whether the backup is still there that what is shipped follows. A disk that is not mounted or a
/// bucket that was emptied takes what is sent as before, and nothing could be restored from it.
fn look_for_base(desk: &Desk, place: &Place, target: &TargetOptions) -> Result<(), BackupError> {
    let repository = target.repository(&desk.environment)?;
    let (lost_to, known) = (lost_to(desk), lock(&place.shipping).base);
    let begun = desk.environment.clock.monotonic();
    let held = match known {
        Some(base) => repository.holds(desk.log.head().log, base.backup)?,
        None => false,
    };
    if held && known.is_some_and(|base| base.to >= lost_to) {
        lock(&place.shipping).seen_at = begun;
        return Ok(());
    }
    let there = base_there(desk, &repository)?;
    // Retention removes what a newer one takes the place of.
    let replaced = |base: Base| there.is_some_and(|there| there.to >= base.to);
    if known.is_some_and(|base| !held && !replaced(base)) {
        lose(desk, place);
    }
    // What was shipped cannot lead over events that are lost.
    let base = there.filter(|base| base.to >= lost_to);
    {
        let mut shipping = lock(&place.shipping);
        shipping.base = base.or(known.filter(|_| held));
        shipping.seen_at = begun;
    }
    if base.is_some() {
        *lock(&place.first) = First::default();
        return Ok(());
    }
    // What would be refused whenever it is asked for is told, and not asked for.
    let work = Work::new(&*desk.environment.clock);
    check_whole(&repository, desk.log.data_dir(), &work)?;
    ask_for_first(desk, place);
    Ok(())
}

/// Asks for the backup that shipping begins with: after one that failed with a wait that doubles,
/// and as the target's breaker lets it pass.
fn ask_for_first(desk: &Desk, place: &Place) {
    let clock = &desk.environment.clock;
    let First { asked, not_before } = *lock(&place.first);
    let due = clock.monotonic() >= not_before && desk.lets_pass(&place.name, clock.wall());
    if due && desk.ask(&place.name) {
        lock(&place.first).asked = asked.saturating_add(1);
        wait_for_first(desk, place);
    }
}

/// Begins the wait until the next one is asked for.
pub(super) fn wait_for_first(desk: &Desk, place: &Place) {
    let mut first = lock(&place.first);
    let wait = backoff(BackupId::default(), first.asked);
    first.not_before = desk
        .environment
        .clock
        .monotonic()
        .saturating_add(micros(wait));
}

/// How long until a first backup may be asked for, if one is wanted.
pub(super) fn until_first(desk: &Desk, place: &Place) -> Option<Duration> {
    let First { asked, not_before } = *lock(&place.first);
    let left = not_before.saturating_sub(desk.environment.clock.monotonic());
    // One that is overdue waits for something else.
    (asked > 0 && left > 0).then(|| Duration::from_micros(left))
}

/// Believes no more that the target has anything.
fn lose(desk: &Desk, place: &Place) {
    {
        let mut shipping = lock(&place.shipping);
        shipping.base = None;
        shipping.to = Seq(0);
        shipping.level_at = shipping.level_at.min(shipping.seen_at);
        shipping.times_lost += 1;
    }
    place.redacted.store(0, Ordering::Release);
    failed(desk, place, BASE_GONE.to_owned());
}

fn fold_shipped(desk: &Desk, place: &Place, target: &TargetOptions) -> Result<(), BackupError> {
    if lock(&place.shipping).base.is_none() {
        return Ok(());
    }
    let repository = target.repository(&desk.environment)?;
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

/// The newest backup and where it ends, if it is of this history.
fn base_there(desk: &Desk, repository: &Repository) -> Result<Option<Base>, BackupError> {
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
    Ok(newest.map(|manifest| Base {
        backup: manifest.id,
        to: manifest.to_seq,
    }))
}
