//! The writer's half of the log, without threads: it decides submissions against a state that
//! holds what is decided but not yet durable, and writes them as one frame.
//!
//! The chaos tests drive this type over a simulated disk; the committer thread drives it over the
//! real one.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hindcast_model::event::{ClockStepped, Outcome, TimeReached};
use hindcast_model::limits::{BREAKER_TIMERS_MAX, EVENT_BYTES_MAX, TIMERS_MAX};
use hindcast_model::state::Context;
use hindcast_model::{
    Command, Digest, Event, EventId, KeyId, Name16, Seq, State, Stream, Submission, UnixMicros,
};

use crate::codec;
use crate::error::{CommitError, LogError};
use crate::frame;
use crate::record::{self, Body, Recorded};
use crate::replay::Checkpoint;
use crate::scan::Link;
use crate::time::TimeKeeper;
use crate::wal::{Wal, Written};

/// A frame is closed at this size unless one submission is larger.
const FRAME_BYTES: usize = 1 << 20;
/// Room kept for the events decided from one command.
const DECIDED_BYTES: usize = 2 * 1024;
/// Room kept for a `TimeReached` and what it decides.
const TIMER_BYTES: usize = TIMERS_MAX * 2 * (record::HEADER_BYTES + 96)
    + 2 * BREAKER_TIMERS_MAX * (record::HEADER_BYTES + 192);

/// One durable frame.
#[derive(Debug)]
pub struct Batch {
    pub first: Seq,
    pub events: Vec<Recorded>,
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
    /// Steps of the clock that there was no room to record yet.
    stepped: Vec<ClockStepped>,
    read_only: Option<String>,
    /// Starts of servers that the log knew when it was opened, if any. Until the next one is
    /// recorded no timer goes: what fell due while no server ran is to be told from what a server
    /// let fall due.
    starts_known: Option<u64>,
}

impl Journal {
    /// `read_only` says why nothing may be staged.
    pub(crate) fn new(wal: Wal, state: State, read_only: Option<String>) -> Self {
        let keeper = TimeKeeper::new(state.at());
        let at = state.at();
        let frame = vec![0; frame::HEADER_BYTES];
        let starts = state.server().starts;
        Self {
            wal,
            starts_known: (starts > 0).then_some(starts),
            state,
            keeper,
            at,
            frame,
            staged: Vec::new(),
            scratch: Vec::new(),
            stepped: Vec::new(),
            read_only,
        }
    }

    /// The state with everything that is decided, durable or not.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// When the next timer goes, if it may.
    pub(crate) fn next_timer(&self) -> Option<UnixMicros> {
        let waits = self.starts_known == Some(self.state.server().starts);
        self.state.next_timer().filter(|_| !waits)
    }

    /// The state with its place in the chain; everything in it is durable when nothing is staged.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let link = self.link();
        Checkpoint {
            log: link.log,
            epoch: link.epoch,
            chain: Digest(link.chain),
            state: self.state.clone(),
        }
    }

    pub(crate) const fn link(&self) -> &Link {
        self.wal.link()
    }

    /// Stamps the time of the frame that follows and stages what the clock itself has to say.
    pub fn begin(&mut self, wall: UnixMicros, monotonic: u64) {
        let (at, stepped) = self.keeper.stamp(wall, monotonic);
        self.at = at;
        if self.read_only.is_some() {
            return;
        }
        self.stepped.extend(stepped);
        while let Some(step) = self.stepped.first().cloned() {
            if !self.stage_own(Event::ClockStepped(step), DECIDED_BYTES) {
                break;
            }
            self.stepped.remove(0);
        }
        if self.next_timer().is_some_and(|due| due <= at) {
            self.stage_own(Event::TimeReached(TimeReached {}), TIMER_BYTES);
        }
    }

    /// Stages an event of the log's own. Its id follows from its place, so that no entropy is
    /// needed; when there is no room for it on the disk it is left for the next frame.
    fn stage_own(&mut self, event: Event, room: usize) -> bool {
        if self.make_room(room).is_err() {
            return false;
        }
        let next = self.next_seq();
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(self.link().log.as_bytes())
            .update(&next.0.to_le_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let command = own(event, EventId::from_bytes(id));
        // A decision that panics leaves nothing behind, and the timer is tried again.
        self.stage_command(command).is_ok()
    }

    /// Stages an event of the log's own without asking the clock or the timers: the frame's time is
    /// `at`, or the last time in the log if that is later.
    pub(crate) fn stage_alone(
        &mut self,
        event: Event,
        id: EventId,
        at: UnixMicros,
    ) -> Result<(), CommitError> {
        self.at = self.at.max(at);
        self.make_room(DECIDED_BYTES)?;
        self.stage_command(own(event, id))
    }

    /// The sequence that the next staged event will have.
    fn next_seq(&self) -> Seq {
        Seq(self.link().next.0 + self.staged.len() as u64)
    }

    /// Decides a submission and stages what follows from it. The range tells which of the frame's
    /// events are its own.
    pub fn stage(&mut self, submission: Submission) -> Result<Range<usize>, NotStaged> {
        if let Some(reason) = &self.read_only {
            return Err(NotStaged::Refused(CommitError::ReadOnly(reason.clone())));
        }
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
            room += record::HEADER_BYTES + bytes + DECIDED_BYTES + repeated(&command.event);
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
        self.frame.truncate(frame::HEADER_BYTES);
        let events = std::mem::take(&mut self.staged);
        Ok(Some(Committed {
            batch: Arc::new(Batch { first, events }),
            written,
            frame_bytes,
        }))
    }

    /// As `write`, for callers that only want the events.
    pub fn commit(&mut self) -> Result<Option<Arc<Batch>>, LogError> {
        Ok(self.write()?.map(|committed| committed.batch))
    }
}

/// A command of the log itself.
fn own(event: Event, id: EventId) -> Command {
    Command {
        event_id: id,
        causation: id,
        correlation: id,
        principal: Name16::new("hindcast"),
        tenant: Name16::default(),
        key: KeyId::default(),
        expect: None,
        event,
    }
}

/// Bytes of the event that what is decided from it repeats.
const fn repeated(event: &Event) -> usize {
    if let Event::OutcomeObserved(observed) = event
        && let Outcome::Failed { code, .. } = &observed.outcome
    {
        return code.len();
    }
    0
}

/// What a panic said.
fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    said.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hindcast_model::event::{DiskSampled, OutcomeObserved, RunRequested};
    use hindcast_model::{Digest, Payload, RunId};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::disk::{Disk, SimDisk};
    use crate::recovery::{Recovery, open_journal};
    use crate::segment;
    use crate::{decode_state, encode_state, state_hash};

    const SEGMENT: u64 = 128 << 10;

    fn open(sim: &SimDisk) -> Result<(Journal, Recovery), LogError> {
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        open_journal(&disk, Path::new("/data"), SEGMENT, Uuid::from_u128(7))
    }

    fn submission(n: u64, event: Event) -> Submission {
        let id = EventId::from_bytes((u128::from(n + 1) << 16).to_be_bytes());
        Submission::from(Command {
            event_id: id,
            causation: id,
            correlation: id,
            principal: Name16::new("tester"),
            tenant: Name16::default(),
            key: KeyId::default(),
            expect: None,
            event,
        })
    }

    fn sample(free_bytes: u64) -> Event {
        Event::DiskSampled(DiskSampled { free_bytes })
    }

    fn run_id(n: u64) -> RunId {
        RunId::from_bytes(u128::from(n).to_be_bytes())
    }

    fn request(n: u64, bytes: usize) -> Event {
        Event::RunRequested(RunRequested {
            run: run_id(n),
            operation: "causal.discover".to_owned(),
            schema: 1,
            spec: Payload::Inline("x".repeat(bytes)),
            spec_hash: Digest::default(),
            seed: 7,
            datasets: Vec::new(),
            deadline_micros: 0,
            immediate: false,
            experiment: None,
            idempotency: None,
            service: None,
        })
    }

    fn failed(n: u64, code: String) -> Event {
        Event::OutcomeObserved(OutcomeObserved {
            run: run_id(n),
            outcome: Outcome::Failed {
                code,
                field: None,
                message: String::new(),
                hint: None,
            },
            numeric_profile: String::new(),
            queued_micros: 0,
            computed_micros: 0,
        })
    }

    fn commit(journal: &mut Journal, submission: Submission) -> Vec<Recorded> {
        journal.stage(submission).expect("staged");
        let batch = journal.commit().expect("written").expect("something");
        batch.events.clone()
    }

    /// Writes a record that this version could not have written.
    fn write_by_hand(journal: &mut Journal, at: UnixMicros, (number, ignorable): (u16, bool)) {
        let stream = Stream::system("intake");
        let id = EventId::from_bytes([0xbb; 16]);
        let recorded = Recorded {
            context: Context {
                seq: journal.next_seq(),
                at,
                event_id: id,
                correlation: id,
                principal: Name16::new("later"),
                tenant: Name16::default(),
                key: KeyId(0),
            },
            causation: id,
            stream,
            version: journal.state.version(stream) + 1,
            observed: true,
            ignorable,
            body: Body::Unknown {
                number,
                schema: 900,
                payload: b"not known here".to_vec(),
            },
        };
        let bytes = recorded.to_bytes().expect("encodes");
        let mut frame = vec![0; frame::HEADER_BYTES];
        frame.extend(bytes);
        journal.wal.append(&mut frame, 1).expect("written");
    }

    #[test]
    fn ignorable_record_of_an_unknown_kind_is_carried() {
        let sim = SimDisk::new(1);
        let (mut journal, _) = open(&sim).expect("opens");
        journal.begin(UnixMicros(1_000), 0);
        commit(&mut journal, submission(1, sample(5)));
        write_by_hand(&mut journal, UnixMicros(9_000), (99, true));

        let (mut journal, recovery) = open(&sim).expect("opens");
        assert_eq!((recovery.read_only, recovery.events), (None, 2));
        let intake = Stream::system("intake");
        assert_eq!(journal.state().version(intake), 2);
        assert_eq!(journal.state().seq(), Seq(2));
        // Neither time nor the stream goes back behind what is not understood.
        journal.begin(UnixMicros(2_000), 0);
        let events = commit(&mut journal, submission(2, sample(6)));
        let next = events.last().expect("an event");
        assert_eq!((next.stream, next.version), (intake, 3));
        assert_eq!(next.context.at, UnixMicros(9_000));
        drop(journal);
        let mut carried = None;
        let disk: &dyn Disk = &sim;
        crate::walk(disk, Path::new("/data"), |recorded, bytes| {
            if recorded.event().is_none() {
                carried = Some((recorded.clone(), bytes.to_vec()));
            }
            Ok(())
        })
        .expect("reads");
        let (recorded, bytes) = carried.expect("it is there");
        assert_eq!(recorded.to_bytes().expect("encodes"), bytes);
    }

    #[test]
    fn needed_record_of_an_unknown_kind_opens_the_log_read_only() {
        // A kind that is not known, and a newer schema of one that is.
        for number in [99, 6] {
            let sim = SimDisk::new(1);
            let (mut journal, _) = open(&sim).expect("opens");
            journal.begin(UnixMicros(1_000), 0);
            commit(&mut journal, submission(1, sample(5)));
            let mut due = request(1, 10);
            if let Event::RunRequested(request) = &mut due {
                request.deadline_micros = 1;
            }
            commit(&mut journal, submission(2, due));
            let kind = (number, false);
            write_by_hand(&mut journal, UnixMicros(1_000), kind);
            let (mut journal, recovery) = open(&sim).expect("opens");
            let why = recovery.read_only.expect("it says why");
            assert!(why.contains(&format!("type {number}")), "{why}");
            journal.begin(UnixMicros(5_000_000), 5_000_000);
            let refused = journal.stage(submission(3, sample(5)));
            assert!(matches!(
                refused,
                Err(NotStaged::Refused(CommitError::ReadOnly(_)))
            ));
            assert!(
                journal.commit().expect("fine").is_none(),
                "not even a timer"
            );
        }
    }

    #[test]
    fn record_placed_by_other_rules_opens_the_log_read_only() {
        let sim = SimDisk::new(1);
        let (mut journal, _) = open(&sim).expect("opens");
        journal.begin(UnixMicros(1_000), 0);
        journal.stage(submission(1, sample(5))).expect("staged");
        let elsewhere = Recorded {
            version: 7,
            ..journal.staged[0].clone()
        };
        let mut frame = vec![0; frame::HEADER_BYTES];
        frame.extend(elsewhere.to_bytes().expect("encodes"));
        journal.wal.append(&mut frame, 1).expect("written");
        let (_, recovery) = open(&sim).expect("opens");
        let why = recovery.read_only.expect("it says why");
        assert!(why.contains("system/intake at version 7"), "{why}");
    }

    #[test]
    fn decided_event_may_repeat_a_long_text_of_the_observed_one() {
        let sim = SimDisk::new(1);
        let (mut journal, _) = open(&sim).expect("opens");
        journal.begin(UnixMicros(1_000), 0);
        for n in 0..20 {
            let (one, two) = (2 * n, 2 * n + 1);
            let code = "c".repeat(40_000);
            for submission in [
                submission(one, request(n, 10)),
                submission(two, failed(n, code)),
            ] {
                let mut next = Some(submission);
                while let Some(submission) = next.take() {
                    match journal.stage(submission) {
                        Ok(_) => {}
                        Err(NotStaged::FrameFull(back)) => {
                            journal.commit().expect("written");
                            next = Some(back);
                        }
                        Err(NotStaged::Refused(error)) => panic!("{error}"),
                    }
                }
            }
        }
        journal.commit().expect("written");
        let hash = state_hash(journal.state()).expect("encodes");
        let (journal, recovery) = open(&sim).expect("opens");
        assert_eq!(recovery.events, 80);
        assert_eq!(state_hash(journal.state()).expect("encodes"), hash);
    }

    #[test]
    fn event_of_the_largest_size_is_read_back_and_a_larger_one_is_refused() {
        let sim = SimDisk::new(1);
        let (mut journal, _) = open(&sim).expect("opens");
        journal.begin(UnixMicros(1_000), 0);
        let mut empty = Vec::new();
        codec::encode_event(&request(1, 0), &mut empty).expect("encodes");
        let room = EVENT_BYTES_MAX - empty.len();
        commit(&mut journal, submission(1, request(1, room)));
        let over = journal.stage(submission(2, request(2, room + 1)));
        assert!(matches!(
            over,
            Err(NotStaged::Refused(CommitError::TooLarge { .. }))
        ));
        let (journal, _) = open(&sim).expect("opens");
        assert_eq!(journal.state().runs().count(), 1);
    }

    #[test]
    fn damaged_end_of_an_archived_segment_is_damage_and_no_torn_end() {
        let sim = SimDisk::new(1);
        let (mut journal, _) = open(&sim).expect("opens");
        journal.begin(UnixMicros(1_000), 0);
        commit(&mut journal, submission(1, sample(5)));
        drop(journal);
        let data_dir = Path::new("/data");
        let name = segment::file_name(Seq(1));
        let to = segment::archive_dir(data_dir).join(&name);
        sim.rename(&segment::wal_dir(data_dir).join(&name), &to)
            .expect("moved");
        open(&sim).expect("opens and begins another segment");
        sim.remove(&segment::wal_dir(data_dir).join(segment::file_name(Seq(2))))
            .expect("removed");
        let file = sim.open(&to, true).expect("opens");
        file.write_at(&[0xff], 200).expect("damaged");
        assert!(matches!(
            open(&sim).map(|_| ()),
            Err(LogError::Corrupt { seq: Seq(1), .. })
        ));
    }

    #[test]
    fn frame_with_another_number_of_records_than_it_says_is_damage() {
        let sim = SimDisk::new(1);
        let (mut journal, _) = open(&sim).expect("opens");
        journal.begin(UnixMicros(1_000), 0);
        journal.stage(submission(1, sample(5))).expect("staged");
        journal.wal.append(&mut journal.frame, 2).expect("written");
        assert!(matches!(
            open(&sim).map(|_| ()),
            Err(LogError::Corrupt { seq: Seq(2), .. })
        ));
    }

    /// What is acknowledged until the disk is gone; whether it stayed.
    fn live(sim: &SimDisk) -> (Vec<Recorded>, bool) {
        let mut acknowledged = Vec::new();
        let mut work = || -> Result<(), LogError> {
            let (mut journal, _) = open(sim)?;
            // Two segments are begun on the way.
            for n in 0..12 {
                journal.begin(UnixMicros(1_000 + n), n);
                let staged = journal.stage(submission(n, request(n, 24_000)));
                staged.map_err(|why| LogError::Codec(format!("{why:?}")))?;
                if let Some(batch) = journal.commit()? {
                    acknowledged.extend(batch.events.iter().cloned());
                }
            }
            Ok(())
        };
        let stayed = work().is_ok();
        (acknowledged, stayed)
    }

    #[test]
    fn a_power_cut_at_any_step_loses_nothing_that_was_acknowledged() {
        for step in 1.. {
            let sim = SimDisk::new(step);
            sim.schedule(crate::Fault::PowerCut, step);
            let (acknowledged, stayed) = live(&sim);
            sim.crash();
            let (journal, _) = open(&sim).unwrap_or_else(|error| panic!("step {step}: {error}"));
            let (mut found, mut state) = (Vec::new(), State::default());
            crate::walk(&sim, Path::new("/data"), |recorded, _| {
                state.apply(&recorded.context, recorded.event().expect("known"));
                found.push(recorded.clone());
                Ok(())
            })
            .expect("read");
            assert!(found.starts_with(&acknowledged), "step {step}");
            // One frame may have become durable whose caller was never told.
            assert!(found.len() <= acknowledged.len() + 2, "step {step}");
            assert_eq!(&state, journal.state(), "step {step}");
            if stayed {
                assert!(step > 30 && acknowledged.len() == 24, "{step} steps");
                break;
            }
        }
    }

    #[test]
    fn clock_step_without_room_is_told_when_there_is_room() {
        let sim = SimDisk::new(1);
        let (mut journal, _) = open(&sim).expect("opens");
        journal.begin(UnixMicros(1_000_000_000), 0);
        // The segment is filled to its last bytes.
        for (n, bytes) in [(1, 45_000), (2, 45_000), (3, 10_000)] {
            commit(&mut journal, submission(n, request(n, bytes)));
        }
        sim.schedule(crate::Fault::NoSpace, 1);
        journal.begin(UnixMicros(1_000_000), 1);
        assert!(journal.commit().expect("fine").is_none());
        journal.begin(UnixMicros(1_000_010), 11);
        let batch = journal.commit().expect("written").expect("the step");
        let event = batch.events[0].event();
        assert!(matches!(event, Some(Event::ClockStepped(step)) if step.step_micros < 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn state_is_read_as_it_was_written(
            steps in prop::collection::vec((0..4_u8, 0..6_u64, 0..200_usize), 0..60)
        ) {
            let sim = SimDisk::new(1);
            let (mut journal, _) = open(&sim).expect("opens");
            for (n, (what, run, bytes)) in (0_u64..).zip(steps) {
                journal.begin(UnixMicros(1_000 + n * 400_000), n * 400_000);
                let event = match what {
                    0 => sample(run),
                    1 => failed(run, "internal".to_owned()),
                    _ => request(n << 8 | run, bytes),
                };
                commit(&mut journal, submission(n, event));
                let bytes = encode_state(journal.state()).expect("encodes");
                let read = decode_state(&bytes).expect("decodes");
                prop_assert_eq!(&read, journal.state());
                prop_assert!(decode_state(&bytes[..bytes.len() - 1]).is_err());
            }
            let hash = state_hash(journal.state()).expect("encodes");
            drop(journal);
            let (journal, _) = open(&sim).expect("opens");
            prop_assert_eq!(state_hash(journal.state()).expect("encodes"), hash);
        }
    }
}
