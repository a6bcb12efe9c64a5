//! The thread that ships the log to one target as it grows. It looks several times a second, and
//! what it finds is on its way at once; a target that fails is tried again after a while.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hindcast_backup::{BackupError, Repository, Shipped, Shipper, Work};
use hindcast_model::event::{BackupEnded, BackupKind};
use hindcast_model::{BackupId, Event, Seq};

use super::desk::{Desk, Place};
use super::maintain::BASE_GONE;
use super::schedule::backoff;
use crate::component::panic_text;
use crate::lock::lock;

pub(super) fn run(desk: &Desk, place: &Place) {
    let mut shipper = Shipper::default();
    let mut failures = 0;
    let mut repository = None;
    let mut times_lost = 0;
    while !desk.is_stopping() {
        let wait = match failures {
            0 => desk.options.ship_every,
            failures => backoff(BackupId::default(), failures),
        };
        desk.rest(place, wait, false);
        let shipping = lock(&place.shipping).clone();
        if desk.is_stopping() || shipping.base.is_none() {
            continue;
        }
        if shipping.times_lost != times_lost {
            (shipper, repository) = (Shipper::default(), None);
            times_lost = shipping.times_lost;
        }
        let tried = catch_unwind(AssertUnwindSafe(|| {
            ship(desk, place, (&mut shipper, &mut repository), times_lost)
        }));
        let tried = tried.unwrap_or_else(|panic| {
            shipper = Shipper::default();
            Err(panic_text(&*panic))
        });
        match tried {
            Ok(None) => {}
            Ok(Some(shipped)) => {
                failures = 0;
                let mended = {
                    let mut shipping = lock(&place.shipping);
                    let same = shipping.times_lost == times_lost;
                    same && shipping.error.take().is_some()
                };
                if mended {
                    desk.record(change(place, shipped.to, None));
                }
            }
            Err(error) => {
                failures += 1;
                repository = None;
                failed(desk, place, error);
            }
        }
    }
}

/// The target does not do what shipping needs. Only the beginning and the end of that are recorded.
pub(super) fn failed(desk: &Desk, place: &Place, error: String) {
    let (known, to) = {
        let mut shipping = lock(&place.shipping);
        (shipping.error.replace(error.clone()), shipping.to)
    };
    if known.is_none() {
        tracing::warn!(error, target = place.name, "shipping fails");
        desk.record(change(place, to, Some(error)));
    }
}

/// Ships what is there; none when there is nothing new.
fn ship(
    desk: &Desk,
    place: &Place,
    (shipper, repository): (&mut Shipper, &mut Option<Repository>),
    times_lost: u64,
) -> Result<Option<Shipped>, String> {
    let (begun, head) = (desk.environment.clock.monotonic(), desk.log.head().seq);
    let (failing, base) = {
        let mut shipping = lock(&place.shipping);
        if shipping.to >= head {
            shipping.level_at = begun;
        }
        if shipping.to >= head && shipping.error.is_none() {
            return Ok(None);
        }
        (shipping.error.is_some(), shipping.base)
    };
    let text = |error: BackupError| error.to_string();
    if repository.is_none() {
        let target = desk.options.find(&place.name);
        let target = target.map_err(|error| error.to_string())?;
        *repository = Some(target.repository(&desk.environment).map_err(text)?);
    }
    let Some(repository) = repository else {
        return Ok(None);
    };
    if failing && let Some(base) = base {
        // Nothing may be new, and the target gone all the same.
        let log = desk.log.head().log;
        if !repository.holds(log, base.backup).map_err(text)? {
            return Err(BASE_GONE.to_owned());
        }
    }
    let stopped = || desk.is_stopping();
    let work = Work {
        stopped: &stopped,
        ..Work::new(&*desk.environment.clock)
    };
    match shipper.ship(repository, desk.log.data_dir(), head, &work) {
        Ok(shipped) => {
            let mut shipping = lock(&place.shipping);
            if shipping.times_lost != times_lost {
                // It went into what has no backup any more.
                return Ok(None);
            }
            shipping.to = shipped.to;
            if shipped.to >= head {
                shipping.level_at = begun;
            }
            metrics::counter!("backup_shipped_bytes_total", "target" => place.name.clone())
                .increment(shipped.bytes);
            Ok(Some(shipped))
        }
        Err(BackupError::Stopped) => Ok(None),
        Err(error) => Err(text(error)),
    }
}

fn change(place: &Place, to_seq: Seq, error: Option<String>) -> Event {
    Event::BackupEnded(BackupEnded {
        backup: BackupId::default(),
        target: place.name.clone(),
        kind: BackupKind::Shipping,
        attempt: 1,
        retried: error.is_some(),
        from_seq: Seq(0),
        to_seq,
        bytes: 0,
        sent_bytes: 0,
        verified: false,
        state_hash: None,
        error,
        copied_micros: 0,
        verified_micros: 0,
    })
}
