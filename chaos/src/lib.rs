//! One seed is one history: it picks what is asked of the log, when the process ends and what the
//! disk does. After every start the log is compared with a small reference. The simulated disk
//! and clocks are the only things that are not real; nothing here starts a server or an actor.

pub mod copies;
pub mod faults;
pub mod flips;
pub mod reference;
pub mod workload;
pub mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_log::{
    Blobs, CommitError, Fault, Journal, LogError, NotStaged, Recovery, open_journal, state_hash,
};
use hindcast_model::event::{ServerStarted, ServerStopped};
use hindcast_model::{DECIDER_VERSION, Event, EventId, Submission};

use copies::{Copies, Counts};
use faults::{End, Plan};
use reference::{InFlight, Reference, ensure};
use workload::Workload;
use world::{World, data_dir};

/// What a seed came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub events: u64,
    pub frames: u64,
    pub lives: u64,
    /// Faults that struck, by how the life went on.
    pub faults: u64,
    pub torn_tails: u64,
    pub segments: u64,
    pub refused_for_room: u64,
    pub copies: Counts,
    pub flips_named: u64,
    pub flips_cut: u64,
    pub flips_harmless: u64,
    /// Over the bytes of every segment (FNV-1a).
    pub bytes_hash: u64,
}

/// What became of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub seed: u64,
    /// The error says which promise was broken.
    pub result: Result<Tally, String>,
}

impl Tally {
    /// Adds another seed's figures; the hash is a seed's own.
    pub const fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.frames += other.frames;
        self.lives += other.lives;
        self.faults += other.faults;
        self.torn_tails += other.torn_tails;
        self.segments += other.segments;
        self.refused_for_room += other.refused_for_room;
        self.copies.snapshots += other.copies.snapshots;
        self.copies.backups += other.copies.backups;
        self.copies.restores += other.copies.restores;
        self.copies.broken_off += other.copies.broken_off;
        self.flips_named += other.flips_named;
        self.flips_cut += other.flips_cut;
        self.flips_harmless += other.flips_harmless;
    }
}

/// Told what happens, for `--verbose`.
pub type Tell<'a> = &'a mut dyn FnMut(String);

/// Plays one seed. The error says which promise was broken.
pub fn play(seed: u64, tell: Tell<'_>) -> Result<Tally, String> {
    let mut game = Game::new(seed);
    game.store_datasets()?;
    let lives = 2 + game.world.random.below(4);
    for _ in 0..lives {
        game.live(tell)?;
    }
    game.world.sim.crash();
    let (journal, _) = game.open(None, tell)?;
    drop(journal);
    let segments = game.world.segments().map_err(|error| error.to_string())?;
    game.tally.segments = segments.len() as u64;
    game.tally.bytes_hash = fnv(segments.iter().flat_map(|(_, bytes)| bytes));
    game.tally.copies = game.copies.counts.clone();
    game.tally.events = game.reference.events().len() as u64;
    flips::check(&mut game.world, &game.reference, &mut game.tally, tell)?;
    Ok(game.tally)
}

/// Plays seeds on all cores, in any order, and gives the verdicts in theirs. A panic of the log is
/// a broken promise like any other.
#[must_use]
pub fn play_all(seeds: Range<u64>, tell: &(dyn Fn(String) + Sync)) -> Vec<Verdict> {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            let played = catch_unwind(AssertUnwindSafe(|| play(seed, &mut |line| tell(line))));
            let result = played.unwrap_or_else(|_| Err("it panicked".to_owned()));
            done.push(Verdict { seed, result });
        }
    };
    let mut verdicts: Vec<Verdict> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = handles.into_iter().map(std::thread::ScopedJoinHandle::join);
        done.flat_map(|done| done.expect("panics are caught"))
            .collect()
    });
    verdicts.sort_by_key(|verdict| verdict.seed);
    verdicts
}

struct Game {
    world: World,
    workload: Workload,
    reference: Reference,
    copies: Copies,
    tally: Tally,
    segment_bytes: u64,
}

/// Why a life is over.
#[derive(Debug, PartialEq, Eq)]
enum Over {
    AsPlanned,
    DiskFailed,
}

impl Game {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let sizes = [80 << 10, 128 << 10, 256 << 10];
        let segment_bytes = *world.random.pick(&sizes).expect("there are sizes");
        Self {
            world,
            workload: Workload::default(),
            reference: Reference::default(),
            copies: Copies::default(),
            tally: Tally::default(),
            segment_bytes,
        }
    }

    fn store_datasets(&self) -> Result<(), String> {
        let blobs = Blobs::open(Arc::clone(&self.world.disk), data_dir());
        let blobs = blobs.map_err(|error| error.to_string())?;
        for n in 0..workload::DATASETS {
            let stored = blobs.put(&workload::dataset(n));
            drop(stored.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    /// From one start of the process to its end, expected or not.
    fn live(&mut self, tell: Tell<'_>) -> Result<(), String> {
        let plan = Plan::draw(&mut self.world.random);
        tell(format!("life {}: {plan:?}", self.tally.lives + 1));
        self.tally.lives += 1;
        let opening = plan.fault.filter(|_| plan.while_opening);
        let (mut journal, recovery) = self.open(opening, tell)?;
        if let Some((fault, after)) = plan.fault.filter(|_| !plan.while_opening) {
            self.world.sim.schedule(fault, after);
        }
        let over = self.work(&mut journal, &recovery, &plan, tell)?;
        drop(journal);
        if over == Over::DiskFailed {
            self.tally.faults += 1;
            tell("the disk has failed".to_owned());
        }
        let power_cut = match over {
            Over::AsPlanned => plan.end == End::PowerCut,
            Over::DiskFailed => {
                let cut = plan
                    .fault
                    .is_some_and(|(fault, _)| fault == Fault::PowerCut);
                cut || plan.power_cut_after_fault
            }
        };
        match power_cut {
            true => self.world.sim.crash(),
            false => self.world.sim.restart(),
        }
        Ok(())
    }

    /// Opens the log and checks what it recovered. A fault while it is opened means another try.
    fn open(
        &mut self,
        mut fault: Option<(Fault, u64)>,
        tell: Tell<'_>,
    ) -> Result<(Journal, Recovery), String> {
        loop {
            if let Some((fault, after)) = fault {
                self.world.sim.schedule(fault, after);
            }
            let (bytes, log) = (self.segment_bytes, self.world.log_id());
            match open_journal(&self.world.disk, data_dir(), bytes, log) {
                Ok((journal, recovery)) => {
                    tell(format!("opened: {recovery:?}"));
                    self.tally.torn_tails += u64::from(recovery.torn.is_some());
                    ensure!(recovery.read_only.is_none(), "read-only: {recovery:?}");
                    self.reference
                        .check_recovered(&self.world, journal.state())?;
                    if self.copies.check(&mut self.world, tell)? {
                        tell("the power went during a restore".to_owned());
                        fault = None;
                        continue;
                    }
                    return Ok((journal, recovery));
                }
                Err(LogError::Io { action, source, .. }) if fault.is_some() => {
                    tell(format!("not opened: {action}: {source}"));
                    self.tally.faults += 1;
                    fault = None;
                    match self.world.random.once_in(2) {
                        true => self.world.sim.crash(),
                        false => self.world.sim.restart(),
                    }
                }
                Err(error) => return Err(format!("the log does not open: {error}")),
            }
        }
    }

    fn work(
        &mut self,
        journal: &mut Journal,
        recovery: &Recovery,
        plan: &Plan,
        tell: Tell<'_>,
    ) -> Result<Over, String> {
        let mut first = vec![started(recovery)];
        first.extend(recovery.torn.clone().map(Event::TornTailCut));
        for frame in 0..plan.frames {
            let mut submissions = Vec::new();
            for event in std::mem::take(&mut first) {
                submissions.push(self.workload.single(event));
            }
            let more = self.world.random.below(8);
            if let Over::DiskFailed = self.frame(journal, submissions, more, tell)? {
                return Ok(Over::DiskFailed);
            }
            tell(format!("frame {frame}: up to {}", journal.state().seq()));
            self.copies.take(&mut self.world, journal, tell)?;
            if self.world.sim.is_down() {
                return Ok(Over::DiskFailed);
            }
        }
        if plan.end == End::Stopped {
            let reason = "asked to".to_owned();
            let stop = Event::ServerStopped(ServerStopped { reason });
            let stop = self.workload.single(stop);
            return self.frame(journal, vec![stop], 0, tell);
        }
        // What is staged when the process ends was promised to nobody.
        self.world.clocks.pass(&mut self.world.random);
        journal.begin(self.world.wall(), self.world.clocks.monotonic);
        let submission = self.workload.next(&mut self.world.random, journal.state());
        drop(journal.stage(submission));
        Ok(Over::AsPlanned)
    }

    /// One group commit, or more when what is staged does not fit one frame.
    fn frame(
        &mut self,
        journal: &mut Journal,
        given: Vec<Submission>,
        more: u64,
        tell: Tell<'_>,
    ) -> Result<Over, String> {
        self.world.clocks.pass(&mut self.world.random);
        journal.begin(self.world.wall(), self.world.clocks.monotonic);
        let mut given = given.into_iter();
        let mut firsts = Vec::new();
        let mut left = more;
        loop {
            let mut submission = match given.next() {
                Some(submission) => submission,
                None if left > 0 => {
                    left -= 1;
                    self.workload.next(&mut self.world.random, journal.state())
                }
                None => break,
            };
            loop {
                let first = submission.commands.first().map(|command| command.event_id);
                match journal.stage(submission) {
                    Ok(range) => {
                        firsts.extend(first.map(|first| (range.start, first)));
                        break;
                    }
                    Err(NotStaged::Refused(error)) => {
                        self.refused(&error, tell)?;
                        break;
                    }
                    Err(NotStaged::FrameFull(back)) => {
                        submission = back;
                        let full = std::mem::take(&mut firsts);
                        if let Over::DiskFailed = self.commit(journal, full, tell)? {
                            return Ok(Over::DiskFailed);
                        }
                    }
                }
            }
        }
        self.commit(journal, firsts, tell)
    }

    fn refused(&mut self, error: &CommitError, tell: Tell<'_>) -> Result<(), String> {
        tell(format!("refused: {error}"));
        match error {
            CommitError::NoRoom(_) => {
                self.tally.refused_for_room += 1;
                Ok(())
            }
            CommitError::VersionConflict { .. } | CommitError::TooLarge { .. } => Ok(()),
            CommitError::Panicked(_) | CommitError::ReadOnly(_) | CommitError::Closed => {
                Err(format!("a submission was refused: {error}"))
            }
        }
    }

    fn commit(
        &mut self,
        journal: &mut Journal,
        firsts: Vec<(usize, EventId)>,
        tell: Tell<'_>,
    ) -> Result<Over, String> {
        self.reference.expect(InFlight {
            head: journal.state().seq(),
            state: state_hash(journal.state()).map_err(|error| error.to_string())?,
            firsts: firsts.iter().map(|(_, first)| *first).collect(),
        });
        match journal.commit() {
            Ok(Some(batch)) => {
                for (place, first) in firsts {
                    let staged = batch.events.get(place);
                    ensure!(
                        staged.is_some_and(|recorded| recorded.context.event_id == first),
                        "the receipt's range names another event"
                    );
                }
                self.reference.acknowledge(&batch.events);
                self.tally.frames += 1;
            }
            Ok(None) => ensure!(firsts.is_empty(), "what was staged was not written"),
            Err(error) => {
                tell(format!("not committed: {error}"));
                return Ok(Over::DiskFailed);
            }
        }
        // A disk that failed while there was nothing to write: the next operation would tell.
        match self.world.sim.is_down() {
            true => Ok(Over::DiskFailed),
            false => Ok(Over::AsPlanned),
        }
    }
}

fn started(recovery: &Recovery) -> Event {
    Event::ServerStarted(ServerStarted {
        binary_version: "chaos".to_owned(),
        decider_version: DECIDER_VERSION,
        numeric_profile: "simulated".to_owned(),
        clean: recovery.clean,
    })
}

fn fnv<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
