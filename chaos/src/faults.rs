//! What goes wrong in one life of the process, and how the life ends.

use hindcast_log::Fault;

use crate::world::Random;

/// How a life of the process ends when no fault has ended it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The power goes: what was not synced is lost in part.
    PowerCut,
    /// The process is killed and the power stays.
    Killed,
    /// The process says that it stops.
    Stopped,
}

/// The accidents of one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What the disk does, and at which of its operations.
    pub fault: Option<(Fault, u64)>,
    /// Whether the fault may strike while the log is being opened.
    pub while_opening: bool,
    /// Group commits, if the life lasts so long.
    pub frames: u64,
    pub end: End,
    /// Whether the power goes after a fault; if not, the process starts again on a disk that
    /// remembers what it failed to write.
    pub power_cut_after_fault: bool,
}

impl Plan {
    /// Draws the accidents of one life.
    pub fn draw(random: &mut Random) -> Self {
        let while_opening = random.once_in(4);
        let reach = if while_opening { 12 } else { 60 };
        let after = 1 + random.below(reach);
        let fault = match random.below(8) {
            0 | 1 => Some(Fault::PowerCut),
            2 => Some(Fault::WriteError),
            3 => Some(Fault::SyncError),
            // A segment is one growing write for each mebibyte: the next rotation finds no room.
            4 => Some(Fault::NoSpace),
            _ => None,
        };
        let after = if fault == Some(Fault::NoSpace) {
            1
        } else {
            after
        };
        let frames = 1 + random.below(24);
        // A new segment that was not begun well must not be written around, whatever the reason.
        let fault = match fault {
            Some(Fault::NoSpace) if frames.is_multiple_of(2) => Some(Fault::DirectorySyncError),
            fault => fault,
        };
        Self {
            fault: fault.map(|fault| (fault, after)),
            while_opening,
            frames,
            end: match random.below(4) {
                0 | 1 => End::PowerCut,
                2 => End::Killed,
                _ => End::Stopped,
            },
            power_cut_after_fault: !random.once_in(3),
        }
    }
}
