//! The thread that ships the log to one target as it grows. It looks several times a second, and
//! what it finds is on its way at once; a target that fails is tried again after a while.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hindcast_backup::{BackupError, Repository, Shipped, Shipper, Work};
use hindcast_model::event::{BackupEnded, BackupKind};
use hindcast_model::{BackupId, Event, Seq};

use super::desk::{Desk, Place};
use super::schedule::backoff;
use crate::component::panic_text;
use crate::lock::lock;

pub(super) fn run(desk: &Desk, place: &Place) {
    let mut shipper = Shipper::default();
    let mut failures = 0;
    let mut repository = None;
    while !desk.is_stopping() {
        let wait = match failures {
            0 => desk.options.ship_every,
            failures => backoff(BackupId::default(), failures),
        };
        desk.rest(place, wait, false);
        if desk.is_stopping() || lock(&place.shipping).base.is_none() {
            continue;
        }
        let tried = catch_unwind(AssertUnwindSafe(|| {
            ship(desk, place, (&mut shipper, &mut repository))
        }));
        let tried = tried.unwrap_or_else(|panic| {
            shipper = Shipper::default();
            Err(panic_text(&*panic))
        });
        match tried {
            Ok(None) => {}
            Ok(Some(shipped)) => {
                failures = 0;
                if lock(&place.shipping).error.take().is_some() {
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
) -> Result<Option<Shipped>, String> {
    let (begun, head) = (desk.environment.clock.monotonic(), desk.log.head().seq);
    let failing = {
        let mut shipping = lock(&place.shipping);
        if shipping.to >= head {
            shipping.level_at = begun;
        }
        if shipping.to >= head && shipping.error.is_none() {
            return Ok(None);
        }
        shipping.error.is_some()
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
    if failing {
        // Nothing may be new, and the target gone all the same.
        repository.log().map_err(text)?;
    }
    let stopped = || desk.is_stopping();
    let work = Work {
        stopped: &stopped,
        ..Work::new(&*desk.environment.clock)
    };
    match shipper.ship(repository, desk.log.data_dir(), head, &work) {
        Ok(shipped) => {
            let mut shipping = lock(&place.shipping);
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
