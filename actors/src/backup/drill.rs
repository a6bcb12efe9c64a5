//! Practising a restore from a target while the log goes on, on the thread that works on the target.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hindcast_backup::{BackupError, Drilled, Work, drill};
use hindcast_model::Event;
use hindcast_model::event::DrillEnded;

use super::desk::Desk;
use super::worker::check_room;
use crate::component::panic_text;

/// Runs the drill and records what it came to. A target without a backup is passed over, unless
/// somebody `asked` for it.
pub(super) fn run(desk: &Desk, target: &str, asked: bool) {
    let tried = catch_unwind(AssertUnwindSafe(|| practise(desk, target)));
    let blank = DrillEnded {
        target: target.to_owned(),
        head: desk.log.head().seq,
        to_seq: hindcast_model::Seq(0),
        lost_micros: 0,
        ready_micros: 0,
        state_hash: None,
        state_equal: false,
        error: None,
    };
    let ended = match tried {
        Ok(Err(BackupError::Stopped)) => return,
        Ok(Ok(None)) if !asked => return,
        Ok(Ok(None)) => DrillEnded {
            error: Some(super::worker::short(&BackupError::NoBackup("").to_string())),
            ..blank
        },
        Ok(Ok(Some(drilled))) => DrillEnded {
            head: drilled.head,
            to_seq: drilled.to_seq,
            lost_micros: drilled.lost_micros,
            ready_micros: drilled.ready_micros,
            state_hash: Some(drilled.state_hash),
            state_equal: drilled.state_equal,
            ..blank
        },
        Ok(Err(error)) => DrillEnded {
            error: Some(super::worker::short(&error.to_string())),
            ..blank
        },
        Err(panic) => DrillEnded {
            error: Some(format!("the drill panicked: {}", panic_text(&*panic))),
            ..blank
        },
    };
    match &ended.error {
        Some(error) => tracing::warn!(error, target, "a restore could not be practised"),
        None if ended.state_equal => tracing::info!(target, "a restore was practised"),
        None => tracing::error!(target, "what a restore would bring back is not this log"),
    }
    desk.record(Event::DrillEnded(ended));
}

fn practise(desk: &Desk, target: &str) -> Result<Option<Drilled>, BackupError> {
    let target = desk.options.find(target)?;
    let repository = target.repository(&desk.environment)?;
    let newest = match repository.log()? {
        Some(_) => repository.list()?.pop(),
        None => None,
    };
    let Some(newest) = newest else {
        return Ok(None);
    };
    // What is restored is written, and its state once more as a snapshot.
    check_room(desk, newest.manifest.content_bytes().saturating_mul(2))?;
    let stopped = || desk.is_stopping();
    let work = Work {
        stopped: &stopped,
        ..Work::new(&*desk.environment.clock)
    };
    let fresh = (desk.environment.event_id)().0;
    let clock = (&desk.environment.clock, fresh);
    drill(&repository, desk.log.data_dir(), clock, &work).map(Some)
}
