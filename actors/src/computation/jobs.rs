//! The table of runs that are queued, computed or waiting to be recorded. It is no state of its
//! own: whatever is lost of it is found again among the log's pending runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hindcast_log::{Clock, Pinned};
use hindcast_model::event::Outcome;
use hindcast_model::state::OpenRun;
use hindcast_model::{Command, KeyId, RunId};

use super::control::JobControl;
use crate::results::{Kept, Lead};
use crate::trace::{self, Place};

/// One run to compute.
pub(crate) struct Job {
    pub(crate) run: RunId,
    pub(crate) open: OpenRun,
    pub(crate) control: JobControl,
    /// The place of the request in its trace.
    pub(crate) place: Option<Place>,
}

impl Job {
    pub(crate) fn new(run: RunId, open: OpenRun, clock: Arc<dyn Clock>) -> Arc<Self> {
        let control = JobControl::new(clock, open.deadline);
        let place = trace::take(run);
        Arc::new(Self {
            run,
            open,
            control,
            place,
        })
    }
}

/// An outcome on its way into the log.
pub(crate) struct Finished {
    pub(crate) command: Command,
    pub(crate) pinned: Option<Arc<Pinned>>,
    /// Times it was offered in vain.
    pub(crate) attempts: u32,
    /// When to offer it again; `None` while the log has it.
    pub(crate) due: Option<u64>,
    /// The log refused the outcome itself, and this says so instead.
    pub(crate) replaced: bool,
    /// What others are answered with once it is durable.
    pub(crate) lead: Option<(Lead, Kept)>,
}

enum Stage {
    Queued,
    /// An equal run is being computed.
    Parked,
    Running,
    Finished(Box<Finished>),
}

struct Entry {
    job: Arc<Job>,
    stage: Stage,
}

/// Whether a run was taken into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Queued,
    Known,
    NoRoom,
}

/// The table.
pub(crate) struct Jobs {
    entries: BTreeMap<RunId, Entry>,
    queue: VecDeque<RunId>,
    running: usize,
    parked: usize,
    queue_max: usize,
    running_max: usize,
    /// Runs are left in the log for want of room here.
    pub(crate) behind: bool,
    /// Nothing is begun any more.
    pub(crate) closing: bool,
}

impl Jobs {
    pub(crate) fn new(queue_max: usize, running_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            queue: VecDeque::new(),
            running: 0,
            parked: 0,
            queue_max: queue_max.max(1),
            running_max: running_max.max(1),
            behind: false,
            closing: false,
        }
    }

    /// Runs that are queued, running, and computed but not recorded.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let (queued, running) = (self.queue.len() + self.parked, self.running);
        (
            queued,
            running,
            self.entries.len().saturating_sub(queued + running),
        )
    }

    /// Outcomes that wait for the log take room too, so that the table stays bounded.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < self.queue_max && self.entries.len() < self.queue_max + self.running_max
    }

    pub(crate) fn contains(&self, run: RunId) -> bool {
        self.entries.contains_key(&run)
    }

    /// Where a run belongs in its trace.
    pub(crate) fn place(&self, run: RunId) -> Option<Place> {
        self.entries.get(&run)?.job.place.clone()
    }

    pub(crate) fn insert(&mut self, job: Arc<Job>) -> Taken {
        if self.contains(job.run) {
            return Taken::Known;
        }
        if !self.has_room() {
            self.behind = true;
            return Taken::NoRoom;
        }
        self.queue.push_back(job.run);
        self.entries.insert(
            job.run,
            Entry {
                job,
                stage: Stage::Queued,
            },
        );
        Taken::Queued
    }

    /// The next run to compute, if a thread is free for it.
    pub(crate) fn begin(&mut self) -> Option<Arc<Job>> {
        if self.closing || self.running >= self.running_max {
            return None;
        }
        let run = self.queue.pop_front()?;
        let entry = self.entries.get_mut(&run)?;
        entry.stage = Stage::Running;
        self.running += 1;
        Some(Arc::clone(&entry.job))
    }

    /// A run that was begun waits for an equal one, and leaves its thread.
    pub(crate) fn park(&mut self, run: RunId) {
        self.running -= 1;
        if let Some(entry) = self.entries.get_mut(&run) {
            entry.stage = Stage::Parked;
            self.parked += 1;
        }
    }

    /// What a parked run waited for has ended: it is the next to be begun.
    pub(crate) fn unpark(&mut self, run: RunId) {
        if let Some(entry) = self.entries.get_mut(&run)
            && let Stage::Parked = entry.stage
        {
            entry.stage = Stage::Queued;
            self.parked -= 1;
            self.queue.push_front(run);
        }
    }

    /// The computation ended; without an outcome the run is forgotten.
    pub(crate) fn end(&mut self, run: RunId, finished: Option<Finished>) {
        self.running -= 1;
        match (self.entries.get_mut(&run), finished) {
            (Some(entry), Some(finished)) => entry.stage = Stage::Finished(Box::new(finished)),
            (Some(_), None) => {
                self.entries.remove(&run);
            }
            (None, _) => {}
        }
    }

    /// The run has ended in the log: a queued one is forgotten, a running one is told.
    pub(crate) fn stop(&mut self, run: RunId) {
        let Some(entry) = self.entries.get(&run) else {
            return;
        };
        match entry.stage {
            Stage::Queued => {
                self.queue.retain(|queued| *queued != run);
                self.entries.remove(&run);
            }
            Stage::Parked => {
                self.parked -= 1;
                self.entries.remove(&run);
            }
            Stage::Running => entry.job.control.stop(),
            // It is recorded as a late duplicate, which changes nothing.
            Stage::Finished(_) => {}
        }
    }

    /// Begins nothing more and stops what runs.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.queue.clear();
        self.parked = 0;
        self.entries
            .retain(|_, entry| !matches!(entry.stage, Stage::Queued | Stage::Parked));
        for entry in self.entries.values() {
            entry.job.control.stop();
        }
    }

    /// The outcome to offer to the log, which has it until it is told otherwise.
    pub(crate) fn offer(&mut self, run: RunId) -> Option<Command> {
        let finished = self.finished(run)?;
        finished.due.take()?;
        finished.attempts += 1;
        Some(finished.command.clone())
    }

    /// The log took no outcome; it is offered again `backoff(attempts)` after `now`.
    pub(crate) fn offer_again(&mut self, run: RunId, now: u64, backoff: impl Fn(u32) -> u64) {
        if let Some(finished) = self.finished(run) {
            finished.due = Some(now.saturating_add(backoff(finished.attempts)));
        }
    }

    /// The log will never take this outcome: `outcome` says so in its place. `false` when that was
    /// done before.
    pub(crate) fn replace(&mut self, run: RunId, now: u64, outcome: Outcome) -> bool {
        use hindcast_model::event::{Event, OutcomeObserved};
        let Some(finished) = self.finished(run) else {
            return false;
        };
        let Event::OutcomeObserved(observed) = &finished.command.event else {
            return false;
        };
        if finished.replaced {
            return false;
        }
        let instead = OutcomeObserved {
            outcome,
            ..observed.clone()
        };
        finished.command.event = Event::OutcomeObserved(instead);
        finished.command.key = KeyId(0);
        finished.replaced = true;
        finished.pinned = None;
        finished.due = Some(now);
        true
    }

    /// The lead of a run whose outcome the log has taken or will never take. Dropping it calls
    /// whoever waits for the same result, who looks at this table: not while it is locked.
    pub(crate) fn take_lead(&mut self, run: RunId) -> Option<(Lead, Kept)> {
        self.finished(run)?.lead.take()
    }

    /// Outcomes to offer by `now`.
    pub(crate) fn due(&self, now: u64) -> Vec<RunId> {
        let due = self.entries.iter().filter(|(_, entry)| match &entry.stage {
            Stage::Finished(finished) => finished.due.is_some_and(|due| due <= now),
            Stage::Queued | Stage::Parked | Stage::Running => false,
        });
        due.map(|(run, _)| *run).collect()
    }

    pub(crate) fn remove(&mut self, run: RunId) {
        self.entries.remove(&run);
    }

    /// The job of a run that is being computed.
    pub(crate) fn running(&self, run: RunId) -> Option<&Arc<Job>> {
        let entry = self.entries.get(&run)?;
        matches!(entry.stage, Stage::Running).then_some(&entry.job)
    }

    fn finished(&mut self, run: RunId) -> Option<&mut Finished> {
        match &mut self.entries.get_mut(&run)?.stage {
            Stage::Finished(finished) => Some(finished),
            Stage::Queued | Stage::Parked | Stage::Running => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use hindcast_model::event::{Event, OutcomeObserved};
    use hindcast_model::state::Context;
    use hindcast_model::{Digest, EventId, KeyId, Name16, Payload, Seq, UnixMicros};
    use uuid::Uuid;

    use super::*;
    use crate::computation::outcome::panicked;

    struct Stopped;

    impl Clock for Stopped {
        fn wall(&self) -> UnixMicros {
            UnixMicros(1)
        }

        fn monotonic(&self) -> u64 {
            1
        }
    }

    fn id(n: u128) -> RunId {
        RunId(Uuid::from_u128(n))
    }

    fn job(n: u128) -> Arc<Job> {
        let requested = Context {
            seq: Seq(1),
            at: UnixMicros(1),
            event_id: EventId::default(),
            correlation: EventId::default(),
            principal: Name16::default(),
            tenant: Name16::default(),
            key: KeyId(0),
        };
        let open = OpenRun {
            operation: "test".to_owned(),
            schema: 1,
            spec: Some(Payload::Inline(String::new())),
            spec_hash: Digest::default(),
            seed: 0,
            datasets: Vec::new(),
            deadline: None,
            experiment: None,
            requested,
        };
        Job::new(id(n), open, Arc::new(Stopped))
    }

    fn finished(run: RunId) -> Finished {
        let observed = OutcomeObserved {
            run,
            outcome: panicked("first"),
            numeric_profile: String::new(),
            queued_micros: 0,
            computed_micros: 0,
        };
        let event = Event::OutcomeObserved(observed);
        let command = crate::supervisor::system_command(EventId::default(), event);
        Finished {
            command,
            pinned: None,
            attempts: 0,
            due: Some(0),
            replaced: false,
            lead: None,
        }
    }

    #[test]
    fn room_is_bounded_and_runs_are_taken_once() {
        let mut jobs = Jobs::new(2, 1);
        let taken: Vec<Taken> = [1, 1, 2, 3].map(|n| jobs.insert(job(n))).to_vec();
        assert_eq!(
            taken,
            [Taken::Queued, Taken::Known, Taken::Queued, Taken::NoRoom]
        );
        assert!(jobs.behind);
        assert_eq!(jobs.begin().map(|job| job.run), Some(id(1)));
        assert!(jobs.begin().is_none(), "one at a time");
        assert_eq!(jobs.counts(), (1, 1, 0));
    }

    #[test]
    fn stopping_forgets_a_queued_run_and_tells_a_running_one() {
        let mut jobs = Jobs::new(4, 1);
        jobs.insert(job(1));
        jobs.insert(job(2));
        let running = jobs.begin().unwrap();
        jobs.stop(id(1));
        jobs.stop(id(2));
        assert!(running.control.is_stopped());
        assert_eq!(jobs.counts(), (0, 1, 0));
        jobs.end(id(1), None);
        assert_eq!(jobs.counts(), (0, 0, 0));
    }

    #[test]
    fn an_outcome_is_offered_until_the_log_has_it() {
        let mut jobs = Jobs::new(4, 1);
        jobs.insert(job(1));
        jobs.begin().unwrap();
        jobs.end(id(1), Some(finished(id(1))));
        assert!(jobs.offer(id(1)).is_some());
        assert!(jobs.offer(id(1)).is_none(), "the log has it");
        jobs.offer_again(id(1), 100, |attempts| u64::from(attempts) * 10);
        assert_eq!(jobs.due(109), []);
        assert_eq!(jobs.due(110), [id(1)]);
        assert!(jobs.offer(id(1)).is_some());
        assert_eq!(jobs.counts(), (0, 0, 1));
        jobs.remove(id(1));
        assert_eq!(jobs.counts(), (0, 0, 0));
    }

    #[test]
    fn an_outcome_that_the_log_refuses_is_replaced_once() {
        let mut jobs = Jobs::new(4, 1);
        jobs.insert(job(1));
        jobs.begin().unwrap();
        jobs.end(id(1), Some(finished(id(1))));
        jobs.offer(id(1));
        assert!(jobs.replace(id(1), 5, panicked("second")));
        let offered = jobs.offer(id(1)).unwrap();
        let Event::OutcomeObserved(observed) = offered.event else {
            panic!("{offered:?}");
        };
        assert_eq!(observed.outcome, panicked("second"));
        assert!(!jobs.replace(id(1), 6, panicked("third")));
    }

    #[test]
    fn closing_begins_nothing_and_stops_what_runs() {
        let mut jobs = Jobs::new(4, 1);
        jobs.insert(job(1));
        jobs.insert(job(2));
        let running = jobs.begin().unwrap();
        jobs.close();
        assert!(running.control.is_stopped());
        assert!(jobs.begin().is_none());
        assert_eq!(jobs.counts(), (0, 1, 0));
    }
}
