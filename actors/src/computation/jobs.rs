//! The table of runs that are queued, computed or waiting to be recorded. It is no state of its
//! own: whatever is lost of it is found again among the log's pending runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hindcast_log::{Clock, Pinned};
use hindcast_model::event::Outcome;
use hindcast_model::state::OpenRun;
use hindcast_model::{Command, KeyId, Name16, RunId};

use super::control::JobControl;
use crate::operation::Lane;
use crate::results::{Kept, Lead};
use crate::trace::{self, Place};

/// One run to compute.
pub(crate) struct Job {
    pub(crate) run: RunId,
    pub(crate) open: OpenRun,
    /// What is computed in place of what was asked for.
    pub(crate) instead: Option<String>,
    pub(crate) control: JobControl,
    /// The place of the request in its trace.
    pub(crate) place: Option<Place>,
}

impl Job {
    pub(crate) fn new(
        run: RunId,
        (open, instead): (OpenRun, Option<String>),
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let control = JobControl::new(clock, open.deadline);
        let place = trace::take(run);
        Arc::new(Self {
            run,
            open,
            instead,
            control,
            place,
        })
    }

    fn lane(&self) -> Lane {
        Lane::of(&self.open.operation)
    }
}

/// Runs computed at the same time on threads that are kept for cheap ones.
pub(crate) const CHEAP_RUNNING_MAX: usize = 1;

/// Runs that wait, taken from one principal after the other, so that who asks for many does not
/// keep others waiting.
#[derive(Default)]
struct Turns {
    by: BTreeMap<Name16, VecDeque<RunId>>,
    /// Whose turn it is; each principal that has runs stands here once.
    order: VecDeque<Name16>,
    len: usize,
}

impl Turns {
    fn queue(&mut self, whose: Name16) -> &mut VecDeque<RunId> {
        self.len += 1;
        let order = &mut self.order;
        self.by.entry(whose).or_insert_with(|| {
            order.push_back(whose);
            VecDeque::new()
        })
    }

    fn push_back(&mut self, whose: Name16, run: RunId) {
        self.queue(whose).push_back(run);
    }

    fn push_front(&mut self, whose: Name16, run: RunId) {
        self.queue(whose).push_front(run);
    }

    fn pop_front(&mut self) -> Option<RunId> {
        let whose = self.order.pop_front()?;
        let queue = self.by.get_mut(&whose)?;
        let run = queue.pop_front();
        match queue.is_empty() {
            true => drop(self.by.remove(&whose)),
            false => self.order.push_back(whose),
        }
        self.len -= usize::from(run.is_some());
        run
    }

    fn remove(&mut self, whose: Name16, run: RunId) {
        let Some(queue) = self.by.get_mut(&whose) else {
            return;
        };
        let before = queue.len();
        queue.retain(|queued| *queued != run);
        self.len -= before - queue.len();
        if queue.is_empty() {
            self.by.remove(&whose);
            self.order.retain(|waiting| *waiting != whose);
        }
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
    /// On the threads of this lane.
    Running(Lane),
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
    cheap: VecDeque<RunId>,
    heavy: Turns,
    /// On the threads that are kept for cheap runs, and on all others.
    running_cheap: usize,
    running_heavy: usize,
    parked: usize,
    /// Of each lane.
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
            cheap: VecDeque::new(),
            heavy: Turns::default(),
            running_cheap: 0,
            running_heavy: 0,
            parked: 0,
            queue_max: queue_max.max(1),
            running_max: running_max.max(1),
            behind: false,
            closing: false,
        }
    }

    /// Runs that are queued, running, and computed but not recorded.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let queued = self.cheap.len() + self.heavy.len + self.parked;
        let running = self.running_cheap + self.running_heavy;
        (
            queued,
            running,
            self.entries.len().saturating_sub(queued + running),
        )
    }

    /// Runs of the heavy lane that wait for a thread.
    pub(crate) fn heavy_queued(&self) -> usize {
        self.heavy.len
    }

    /// Outcomes that wait for the log take room too, so that the table stays bounded.
    pub(crate) fn has_room(&self, lane: Lane) -> bool {
        let queued = match lane {
            Lane::Cheap => self.cheap.len(),
            Lane::Heavy => self.heavy.len,
        };
        let entries_max = 2 * self.queue_max + self.running_max + CHEAP_RUNNING_MAX;
        queued < self.queue_max && self.entries.len() < entries_max
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
        let lane = job.lane();
        if !self.has_room(lane) {
            self.behind = true;
            return Taken::NoRoom;
        }
        match lane {
            Lane::Cheap => self.cheap.push_back(job.run),
            Lane::Heavy => self.heavy.push_back(job.open.requested.principal, job.run),
        }
        self.entries.insert(
            job.run,
            Entry {
                job,
                stage: Stage::Queued,
            },
        );
        Taken::Queued
    }

    /// The next run to compute, and the threads that are free for it. Threads that are kept for
    /// cheap runs take no other; the others take cheap ones when there is nothing else.
    pub(crate) fn begin(&mut self) -> Option<(Arc<Job>, Lane)> {
        if self.closing {
            return None;
        }
        let cheap_is_free = self.running_cheap < CHEAP_RUNNING_MAX;
        let heavy_is_free = self.running_heavy < self.running_max;
        let (run, threads) = if cheap_is_free && !self.cheap.is_empty() {
            (self.cheap.pop_front()?, Lane::Cheap)
        } else if heavy_is_free {
            let run = self.heavy.pop_front().or_else(|| self.cheap.pop_front());
            (run?, Lane::Heavy)
        } else {
            return None;
        };
        let entry = self.entries.get_mut(&run)?;
        entry.stage = Stage::Running(threads);
        match threads {
            Lane::Cheap => self.running_cheap += 1,
            Lane::Heavy => self.running_heavy += 1,
        }
        Some((Arc::clone(&entry.job), threads))
    }

    /// A thread is free again.
    fn free(&mut self, run: RunId) {
        match self.entries.get(&run).map(|entry| &entry.stage) {
            Some(Stage::Running(Lane::Cheap)) => self.running_cheap -= 1,
            Some(Stage::Running(Lane::Heavy)) => self.running_heavy -= 1,
            Some(Stage::Queued | Stage::Parked | Stage::Finished(_)) | None => {}
        }
    }

    /// A run that was begun waits for an equal one, and leaves its thread.
    pub(crate) fn park(&mut self, run: RunId) {
        self.free(run);
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
            match entry.job.lane() {
                Lane::Cheap => self.cheap.push_front(run),
                Lane::Heavy => {
                    let principal = entry.job.open.requested.principal;
                    self.heavy.push_front(principal, run);
                }
            }
        }
    }

    /// The computation ended; without an outcome the run is forgotten.
    pub(crate) fn end(&mut self, run: RunId, finished: Option<Finished>) {
        self.free(run);
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
                match entry.job.lane() {
                    Lane::Cheap => self.cheap.retain(|queued| *queued != run),
                    Lane::Heavy => self.heavy.remove(entry.job.open.requested.principal, run),
                }
                self.entries.remove(&run);
            }
            Stage::Parked => {
                self.parked -= 1;
                self.entries.remove(&run);
            }
            Stage::Running(_) => entry.job.control.stop(),
            // It is recorded as a late duplicate, which changes nothing.
            Stage::Finished(_) => {}
        }
    }

    /// Begins nothing more and stops what runs.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.cheap.clear();
        self.heavy = Turns::default();
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
            Stage::Queued | Stage::Parked | Stage::Running(_) => false,
        });
        due.map(|(run, _)| *run).collect()
    }

    pub(crate) fn remove(&mut self, run: RunId) {
        self.entries.remove(&run);
    }

    /// The job of a run that is being computed.
    pub(crate) fn running(&self, run: RunId) -> Option<&Arc<Job>> {
        let entry = self.entries.get(&run)?;
        matches!(entry.stage, Stage::Running(_)).then_some(&entry.job)
    }

    fn finished(&mut self, run: RunId) -> Option<&mut Finished> {
        match &mut self.entries.get_mut(&run)?.stage {
            Stage::Finished(finished) => Some(finished),
            Stage::Queued | Stage::Parked | Stage::Running(_) => None,
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
        job_of(n, "test", "ada")
    }

    fn job_of(n: u128, operation: &str, principal: &str) -> Arc<Job> {
        let requested = Context {
            seq: Seq(1),
            at: UnixMicros(1),
            event_id: EventId::default(),
            correlation: EventId::default(),
            principal: Name16::new(principal),
            tenant: Name16::default(),
            key: KeyId(0),
        };
        let open = OpenRun {
            operation: operation.to_owned(),
            schema: 1,
            spec: Some(Payload::Inline(String::new())),
            spec_hash: Digest::default(),
            seed: 0,
            datasets: Vec::new(),
            deadline: None,
            experiment: None,
            requested,
        };
        Job::new(id(n), (open, None), Arc::new(Stopped))
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
        assert_eq!(jobs.begin().map(|(job, _)| job.run), Some(id(1)));
        assert!(jobs.begin().is_none(), "one at a time");
        assert_eq!(jobs.counts(), (1, 1, 0));
    }

    #[test]
    fn cheap_runs_have_a_thread_that_no_other_run_takes() {
        let mut jobs = Jobs::new(4, 1);
        for n in 1..=3 {
            jobs.insert(job(n));
        }
        jobs.insert(job_of(4, "causal.validate", "bob"));
        jobs.insert(job_of(5, "causal.paths", "bob"));
        let begun: Vec<(RunId, Lane)> = std::iter::from_fn(|| jobs.begin())
            .map(|(job, threads)| (job.run, threads))
            .collect();
        assert_eq!(begun, [(id(4), Lane::Cheap), (id(1), Lane::Heavy)]);
        jobs.end(id(4), None);
        let next = jobs.begin().map(|(job, threads)| (job.run, threads));
        assert_eq!(next, Some((id(5), Lane::Cheap)));
        assert_eq!(jobs.heavy_queued(), 2);
        // A full lane leaves room in the other.
        jobs.insert(job(6));
        jobs.insert(job(7));
        assert_eq!(jobs.insert(job(8)), Taken::NoRoom);
        let cheap = job_of(9, "causal.validate", "bob");
        assert_eq!(jobs.insert(cheap), Taken::Queued);
    }

    #[test]
    fn principals_take_turns() {
        let mut jobs = Jobs::new(16, 1);
        for n in 1..=4 {
            jobs.insert(job_of(n, "causal.discover", "ada"));
        }
        jobs.insert(job_of(5, "causal.discover", "bob"));
        jobs.insert(job_of(6, "causal.discover", "eve"));
        jobs.insert(job_of(7, "causal.discover", "eve"));
        jobs.stop(id(7));
        let mut order = Vec::new();
        while let Some((job, _)) = jobs.begin() {
            order.push(job.run);
            jobs.end(job.run, None);
        }
        assert_eq!(order, [1, 5, 6, 2, 3, 4].map(id));
        assert_eq!(jobs.counts(), (0, 0, 0));
    }

    #[test]
    fn stopping_forgets_a_queued_run_and_tells_a_running_one() {
        let mut jobs = Jobs::new(4, 1);
        jobs.insert(job(1));
        jobs.insert(job(2));
        let (running, _) = jobs.begin().unwrap();
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
        let (running, _) = jobs.begin().unwrap();
        jobs.close();
        assert!(running.control.is_stopped());
        assert!(jobs.begin().is_none());
        assert_eq!(jobs.counts(), (0, 1, 0));
    }
}
