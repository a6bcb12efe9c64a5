//! The backup actor: sees to it that what was asked for is worked on, asks by the schedule, and
//! shows how far shipping is. The work itself is done on threads of its own, one for each target:
//! a target that is slow or gone costs nobody else anything.

mod desk;
mod drill;
mod handle;
mod maintain;
mod options;
mod schedule;
mod shipping;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use crate::component::Component;
pub(crate) use desk::Desk;
pub use handle::{BackupHandle, BackupRefusal, BackupRequest, Listing, Requested};
pub use options::{BackupOptions, LOCAL, TargetOptions};
pub use schedule::{BadSchedule, Schedule};

pub(crate) enum Request {
    /// Something about backups became durable.
    Look,
}

/// The actor's body.
pub(crate) struct Backup {
    desk: Arc<Desk>,
}

impl Backup {
    pub(crate) const fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

impl Component for Backup {
    type Message = Request;
    const NAME: &'static str = "backup";
    const KINDS: &'static [&'static str] = &["look"];
    const TICK: Duration = Duration::from_secs(1);

    fn kind(message: &Request) -> usize {
        match message {
            Request::Look => 0,
        }
    }

    fn started(&mut self) {
        self.desk.take_up();
    }

    fn handle(&mut self, message: Request) {
        match message {
            Request::Look => self.desk.take_up(),
        }
    }

    fn tick(&mut self) {
        self.desk.take_up();
        self.desk.ask_by_schedule();
        self.desk.drill_by_schedule();
        self.desk.show();
    }
}
