//! The writer's half of the log, without threads: it decides submissions against a state that
//! holds what is decided but not yet durable, and writes them as one frame.
//!
//! The chaos tests drive this type over a simulated disk; the committer thread drives it over the
//! real one.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hindcast_model::event::TimeReached;
use hindcast_model::limits::{EVENT_BYTES_MAX, TIMERS_MAX};
use hindcast_model::state::Context;
use hindcast_model::{
    Command, Event, EventId, KeyId, Name16, Seq, State, Stream, Submission, UnixMicros,
};

use crate::codec;
use crate::error::{CommitError, LogError};
use crate::frame;
use crate::record::{self, Body, Recorded};
use crate::scan::Link;
use crate::time::TimeKeeper;
use crate::wal::{Wal, Written};

/// A frame is closed at this size unless one submission is larger.
const FRAME_BYTES: usize = 1 << 20;
/// Room kept for the events decided from one command.
const DECIDED_BYTES: usize = 2 * 1024;
/// Room kept for a `TimeReached` and what it decides.
const TIMER_BYTES: usize = TIMERS_MAX * 2 * (record::HEADER_BYTES + 96);

/// One durable frame.
#[derive(Debug)]
pub struct Batch {
    pub first: Seq,
    pub events: Vec<Recorded>,
    /// The records' bytes.
    pub(crate) records: Vec<u8>,
}

/// A submission was not staged.
#[derive(Debug)]
pub enum NotStaged {
    /// It goes into the next frame: write this one and stage it again.
    FrameFull(Submission),
    /// It is refused, and nothing of it is recorded.
    Refused(CommitError),
}

/// What `Journal::write` made durable.
pub(crate) struct Committed {
    pub(crate) batch: Arc<Batch>,
    pub(crate) written: Written,
    pub(crate) frame_bytes: usize,
}

/// The writer's half of the log.
pub struct Journal {
    wal: Wal,
    state: State,
    keeper: TimeKeeper,
    at: UnixMicros,
    frame: Vec<u8>,
    staged: Vec<Recorded>,
    scratch: Vec<u8>,
}

impl Journal {
    pub(crate) fn new(wal: Wal, state: State) -> Self {
        let keeper = TimeKeeper::new(state.at());
        let at = state.at();
        let frame = vec![0; frame::HEADER_BYTES];
        Self {
            wal,
            state,
            keeper,
            at,
            frame,
            staged: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The state with everything that is decided, durable or not.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    pub(crate) const fn link(&self) -> &Link {
        self.wal.link()
    }

    /// Stamps the time of the frame that follows and stages what the clock itself has to say.
    pub fn begin(&mut self, wall: UnixMicros, monotonic: u64) {
        let (at, stepped) = self.keeper.stamp(wall, monotonic);
        self.at = at;
        if let Some(step) = stepped {
            self.stage_own(Event::ClockStepped(step), DECIDED_BYTES);
        }
        if self.state.next_timer().is_some_and(|due| due <= at) {
            self.stage_own(Event::TimeReached(TimeReached {}), TIMER_BYTES);
        }
    }

    /// Stages an event of the log's own. Its id follows from its place, so that no entropy is
    /// needed; when there is no room for it on the disk it is left for the next frame.
    fn stage_own(&mut self, event: Event, room: usize) {
        if self.make_room(room).is_err() {
            return;
        }
        let next = self.next_seq();
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(self.link().log.as_bytes())
            .update(&next.0.to_le_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let id = EventId::from_bytes(id);
        let command = Command {
            event_id: id,
            causation: id,
            correlation: id,
            principal: Name16::new("hindcast"),
            tenant: Name16::default(),
            key: KeyId::default(),
            expect: None,
            event,
        };
        // A decision that panics leaves nothing behind, and the timer is tried again.
        drop(self.stage_command(command));
    }

    /// The sequence that the next staged event will have.
    fn next_seq(&self) -> Seq {
        Seq(self.link().next.0 + self.staged.len() as u64)
    }

    /// Decides a submission and stages what follows from it. The range tells which of the frame's
    /// events are its own.
    pub fn stage(&mut self, submission: Submission) -> Result<Range<usize>, NotStaged> {
        let room = self.room_needed(&submission).map_err(NotStaged::Refused)?;
        let limit = self.wal.frame_bytes_max() - frame::HEADER_BYTES;
        if room > limit {
            let error = CommitError::TooLarge { bytes: room, limit };
            return Err(NotStaged::Refused(error));
        }
        let grown = self.frame.len() + room;
        let fits = grown <= FRAME_BYTES.min(limit) && self.wal.has_room(grown);
        if !self.staged.is_empty() && !fits {
            return Err(NotStaged::FrameFull(submission));
        }
        self.make_room(room).map_err(NotStaged::Refused)?;
        let start = self.staged.len();
        for command in submission.commands {
            let first = self.staged.len();
            self.stage_command(command).map_err(NotStaged::Refused)?;
            let ends = |recorded: &Recorded| recorded.event().is_some_and(Event::ends_submission);
            // Only the first command's refusal ends the submission.
            if first == start && self.staged[first..].iter().any(ends) {
                break;
            }
        }
        Ok(start..self.staged.len())
    }

    fn room_needed(&mut self, submission: &Submission) -> Result<usize, CommitError> {
        let mut room = 0;
        for command in &submission.commands {
            if let Some(expect) = command.expect {
                let actual = self.state.version(expect.stream);
                if actual != expect.version {
                    let (stream, expected) = (expect.stream, expect.version);
                    return Err(CommitError::VersionConflict {
                        stream,
                        expected,
                        actual,
                    });
                }
            }
            self.scratch.clear();
            codec::encode_event(&command.event, &mut self.scratch)
                .map_err(|error| CommitError::Panicked(error.to_string()))?;
            let bytes = self.scratch.len();
            if bytes > EVENT_BYTES_MAX {
                return Err(CommitError::TooLarge {
                    bytes,
                    limit: EVENT_BYTES_MAX,
                });
            }
            room += record::HEADER_BYTES + bytes + DECIDED_BYTES;
        }
        Ok(room)
    }

    /// Sees to it that the frame can grow by `bytes` within its segment. Nothing is staged when a
    /// new segment is begun, so that a full disk refuses work and breaks nothing.
    fn make_room(&mut self, bytes: usize) -> Result<(), CommitError> {
        let limit = self.wal.frame_bytes_max();
        if self.staged.is_empty() {
            let wanted = (self.frame.len() + bytes)
                .max(FRAME_BYTES.min(limit / 4))
                .min(limit);
            return self
                .wal
                .reserve(wanted)
                .map_err(|e| CommitError::NoRoom(e.to_string()));
        }
        match self.wal.has_room(self.frame.len() + bytes) {
            true => Ok(()),
            false => Err(CommitError::NoRoom(
                "the frame's segment is full".to_owned(),
            )),
        }
    }

    fn stage_command(&mut self, command: Command) -> Result<(), CommitError> {
        let context = Context {
            seq: self.next_seq(),
            at: self.at,
            event_id: command.event_id,
            correlation: command.correlation,
            principal: command.principal,
            tenant: command.tenant,
            key: command.key,
        };
        let state = &self.state;
        let decide = AssertUnwindSafe(|| state.decide(&context, &command.event));
        let decided = catch_unwind(decide).map_err(|panic| CommitError::Panicked(text(&*panic)))?;
        self.record(context, command.causation, command.event);
        for (index, event) in (0_u16..).zip(decided) {
            let event_id = command.event_id.decided(index);
            let context = Context {
                seq: self.next_seq(),
                event_id,
                key: KeyId(0),
                ..context
            };
            self.record(context, command.event_id, event);
        }
        Ok(())
    }

    fn record(&mut self, context: Context, causation: EventId, event: Event) {
        let (stream, version): (Stream, u64) = self.state.apply(&context, &event);
        let kind = event.kind();
        let payload = |into: &mut Vec<u8>| codec::encode_event(&event, into);
        let place = (stream, version);
        record::encode(&context, causation, place, (kind, payload), &mut self.frame)
            .expect("payloads are plain data, and their size was checked");
        self.staged.push(Recorded {
            context,
            causation,
            stream,
            version,
            observed: kind.observed,
            ignorable: kind.ignorable,
            body: Body::Known(event),
        });
    }

    /// Writes what is staged as one frame and returns once it is durable; `None` when nothing is
    /// staged. After an error the process must end.
    pub(crate) fn write(&mut self) -> Result<Option<Committed>, LogError> {
        if self.staged.is_empty() {
            return Ok(None);
        }
        let first = self.link().next;
        let count = u32::try_from(self.staged.len()).expect("a frame holds few records");
        let written = self.wal.append(&mut self.frame, count)?;
        let frame_bytes = self.frame.len();
        let records = self.frame[frame::HEADER_BYTES..].to_vec();
        self.frame.truncate(frame::HEADER_BYTES);
        let events = std::mem::take(&mut self.staged);
        let batch = Arc::new(Batch {
            first,
            events,
            records,
        });
        Ok(Some(Committed {
            batch,
            written,
            frame_bytes,
        }))
    }

    /// As `write`, for callers that only want the events.
    pub fn commit(&mut self) -> Result<Option<Arc<Batch>>, LogError> {
        Ok(self.write()?.map(|committed| committed.batch))
    }
}

/// What a panic said.
fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    said.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}
