//! Logs that a real journal wrote into a directory, by a workload that follows from a seed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hindcast_log::{Disk, Journal, Reader, RealDisk, Recorded, open_journal};
use hindcast_model::event::{
    CancelRequested, ConfigurationLoaded, DatasetUploaded, DiskSampled, ExperimentRequested,
    Idempotency, Outcome, OutcomeObserved, RunRequested, ServerStarted, ServerStopped, Settings,
};
use hindcast_model::state::Context;
use hindcast_model::{
    Command, Digest, Event, EventId, ExperimentId, KeyId, Name16, Payload, RunId, Seq, State,
    Submission, UnixMicros,
};
use hindcast_whatif::{Alone, Answer, Computed, Edits, Question, Task, WhatIfError, World, ask};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const SECOND: u64 = 1_000_000;
const SEGMENT: u64 = 256 << 10;

/// A generator of numbers that follow from a seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) % limit.max(1)
    }
}

pub(crate) fn run_id(n: u64) -> RunId {
    RunId::from_bytes((u128::from(n) | 1 << 100).to_be_bytes())
}

pub(crate) fn digest(n: u64) -> Digest {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Digest(bytes)
}

/// The result of a run is a function of its spec and seed, as a computation's is.
pub(crate) fn result_of(spec: Digest, seed: u64) -> Outcome {
    Outcome::Completed {
        result: Payload::Inline(format!("{{\"seed\":{seed}}}")),
        result_hash: digest(u64::from(spec.0[7]) * 1_000 + seed),
        schema: 1,
        algorithm_version: "test/1".to_owned(),
    }
}

pub(crate) fn request(n: u64) -> RunRequested {
    RunRequested {
        run: run_id(n),
        operation: format!("causal.{}", n % 3),
        schema: 1,
        spec: Payload::Inline(format!("{}", n % 5)),
        spec_hash: digest(n % 5),
        seed: n % 4,
        datasets: Vec::new(),
        deadline_micros: 0,
        immediate: false,
        experiment: None,
        idempotency: None,
        service: None,
    }
}

pub(crate) fn outcome(run: RunId, outcome: Outcome, computed_micros: u64) -> Event {
    Event::OutcomeObserved(OutcomeObserved {
        run,
        outcome,
        numeric_profile: "test".to_owned(),
        queued_micros: computed_micros / 3,
        computed_micros,
    })
}

/// Computes what the workload records.
pub(crate) struct Lab;

impl World for Lab {
    fn compute(&self, task: &Task<'_>) -> Computed {
        let Payload::Inline(text) = task.spec else {
            return Computed::Not;
        };
        let spec = digest(text.parse().expect("a number"));
        Computed::Outcome(result_of(spec, task.seed))
    }

    fn series(
        &self,
        request: &ExperimentRequested,
        _key: KeyId,
        _seed: u64,
    ) -> Option<Vec<RunRequested>> {
        let number = |run: &RunId| u64::from_be_bytes(run.bytes()[8..].try_into().expect("eight"));
        let runs = request.runs.iter();
        Some(
            runs.map(|run| in_series(number(run), request.experiment))
                .collect(),
        )
    }

    fn numeric_profile(&self) -> &str {
        "test"
    }
}

pub(crate) fn in_series(n: u64, experiment: ExperimentId) -> RunRequested {
    RunRequested {
        experiment: Some(experiment),
        ..request(n)
    }
}

/// A journal over a directory, and the clock of its world.
pub(crate) struct Server {
    pub(crate) dir: TempDir,
    journal: Option<Journal>,
    pub(crate) now: u64,
    ids: u64,
    /// Runs that were admitted.
    admitted: BTreeSet<RunId>,
    /// Runs in flight at most, whatever the workload says.
    pub(crate) limit: Option<u32>,
    /// The runs that are being computed, and when they end.
    computing: Vec<(u64, RunId, EventId)>,
}

impl Server {
    pub(crate) fn start(settings: Settings) -> Self {
        let mut server = Self {
            dir: tempfile::tempdir().expect("a directory"),
            journal: None,
            now: 1_700_000_000 * SECOND,
            ids: 0,
            admitted: BTreeSet::new(),
            limit: None,
            computing: Vec::new(),
        };
        server.open(settings);
        server
    }

    pub(crate) fn open(&mut self, settings: Settings) {
        std::fs::create_dir_all(self.dir.path().join("wal")).expect("a folder");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let (journal, recovery) =
            open_journal(&disk, self.dir.path(), SEGMENT, Uuid::from_u128(7)).expect("opens");
        self.journal = Some(journal);
        if let Some(torn) = recovery.torn {
            self.tell(Event::TornTailCut(torn));
        }
        let started = Event::ServerStarted(ServerStarted {
            binary_version: "test".to_owned(),
            decider_version: 1,
            numeric_profile: "test".to_owned(),
            clean: true,
        });
        self.tell_all(vec![started, configuration(settings)]);
        // What is pending is computed again.
        let pending: Vec<_> = self
            .state()
            .pending()
            .map(|(run, open)| (run, open.requested.event_id))
            .collect();
        self.computing = pending
            .into_iter()
            .map(|(run, id)| (self.now + SECOND, run, id))
            .collect();
    }

    pub(crate) fn close(&mut self, clean: bool) {
        if clean {
            let reason = "test".to_owned();
            self.tell(Event::ServerStopped(ServerStopped { reason }));
        }
        self.journal = None;
        self.computing.clear();
    }

    pub(crate) fn state(&self) -> &State {
        self.journal.as_ref().expect("open").state()
    }

    pub(crate) fn id(&mut self) -> EventId {
        self.ids += 1;
        EventId::from_bytes((u128::from(self.ids) << 16).to_be_bytes())
    }

    pub(crate) fn command(&mut self, event: Event, causation: Option<EventId>) -> Command {
        let id = self.id();
        Command {
            event_id: id,
            causation: causation.unwrap_or(id),
            correlation: causation.unwrap_or(id),
            principal: Name16::new("tester"),
            tenant: Name16::default(),
            key: KeyId(0),
            expect: None,
            event,
        }
    }

    pub(crate) fn tell(&mut self, event: Event) -> EventId {
        let command = self.command(event, None);
        let id = command.event_id;
        self.submit(vec![Submission::from(command)]);
        id
    }

    pub(crate) fn tell_all(&mut self, events: Vec<Event>) {
        let commands = events.into_iter().map(|e| self.command(e, None)).collect();
        self.submit(vec![Submission { commands }]);
    }

    /// One frame.
    pub(crate) fn submit(&mut self, submissions: Vec<Submission>) {
        let journal = self.journal.as_mut().expect("open");
        journal.begin(UnixMicros(self.now), self.now);
        for submission in submissions {
            journal.stage(submission).expect("staged");
        }
        if let Some(batch) = journal.commit().expect("written") {
            for recorded in &batch.events {
                if let Some(Event::RunAdmitted(admitted)) = recorded.event() {
                    self.admitted.insert(admitted.run);
                }
                if let Some(Event::RunRequested(asked)) = recorded.event()
                    && !asked.immediate
                    && self
                        .journal
                        .as_ref()
                        .expect("open")
                        .state()
                        .run(asked.run)
                        .is_some()
                    && !self.computing.iter().any(|(_, run, _)| *run == asked.run)
                {
                    let takes = SECOND / 4 + (u64::from(asked.run.bytes()[15]) % 7) * SECOND / 3;
                    let id = recorded.context.event_id;
                    self.computing.push((self.now + takes, asked.run, id));
                }
            }
        }
    }

    /// Lets time pass; timers fire and outcomes come in when they are due.
    pub(crate) fn pass(&mut self, micros: u64) {
        let until = self.now + micros;
        loop {
            self.computing.sort_unstable();
            let timer = self.state().next_timer().map(|at| at.0);
            let ready = self.computing.first().map(|(at, ..)| *at);
            let next = timer
                .into_iter()
                .chain(ready)
                .min()
                .filter(|at| *at <= until);
            let Some(at) = next else {
                break;
            };
            self.now = self.now.max(at);
            if ready == Some(at) && timer != Some(at) {
                let (_, run, cause) = self.computing.remove(0);
                self.end(run, cause);
            } else {
                self.submit(Vec::new());
            }
        }
        self.now = until;
    }

    fn end(&mut self, run: RunId, cause: EventId) {
        let Some(open) = self.state().run(run) else {
            // It was stopped.
            return;
        };
        let (spec, seed, asked) = (open.spec_hash, open.seed, open.requested.at.0);
        let event = outcome(run, result_of(spec, seed), self.now - asked);
        let mut command = self.command(event, Some(cause));
        // The same in every world, whatever else happens there.
        self.ids -= 1;
        let number = u128::from_be_bytes(cause.bytes()) | 1 << 120;
        command.event_id = EventId::from_bytes(number.to_be_bytes());
        self.submit(vec![command.into()]);
    }

    pub(crate) fn ask_run(&mut self, request: RunRequested) -> EventId {
        self.tell(Event::RunRequested(request))
    }

    /// A cheap run: request and outcome in one frame.
    pub(crate) fn immediate(
        &mut self,
        mut request: RunRequested,
        ended: Option<Outcome>,
    ) -> Submission {
        request.immediate = true;
        let (run, spec, seed) = (request.run, request.spec_hash, request.seed);
        let ask = self.command(Event::RunRequested(request), None);
        let ended = ended.unwrap_or_else(|| result_of(spec, seed));
        let cause = ask.event_id;
        let told = self.command(outcome(run, ended, 120), Some(cause));
        Submission {
            commands: vec![ask, told],
        }
    }

    pub(crate) fn experiment(
        &mut self,
        n: u64,
        runs: &[u64],
        key: Option<Idempotency>,
    ) -> Submission {
        let id = experiment_id(n);
        let event = Event::ExperimentRequested(ExperimentRequested {
            experiment: id,
            name: format!("series {n}"),
            spec: Payload::Inline("{}".to_owned()),
            runs: runs.iter().map(|n| run_id(*n)).collect(),
            idempotency: key,
        });
        let mut commands = vec![self.command(event, None)];
        let cause = commands[0].event_id;
        for run in runs {
            let event = Event::RunRequested(in_series(*run, id));
            commands.push(self.command(event, Some(cause)));
        }
        Submission { commands }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::open(self.dir.path()).expect("opens")
    }

    pub(crate) fn head(&self) -> Seq {
        self.reader().head().expect("read").expect("something").seq
    }

    /// The state before an event.
    pub(crate) fn before(&self, at: Seq) -> State {
        match at.0 {
            1 => State::default(),
            _ => {
                self.reader()
                    .fold(None, Seq(at.0 - 1))
                    .expect("folds")
                    .state
            }
        }
    }

    pub(crate) fn events(&self) -> Vec<Recorded> {
        self.reader().read(Seq(1), usize::MAX).expect("read")
    }

    pub(crate) fn event(&self, at: Seq) -> Recorded {
        self.reader().read(at, 1).expect("read").remove(0)
    }

    pub(crate) fn find(&self, is: impl Fn(&Event) -> bool) -> Seq {
        let events = self.events();
        let found = events.iter().find(|r| r.event().is_some_and(&is));
        found.expect("recorded").seq()
    }

    /// What would have been from `at` on.
    pub(crate) fn what_if(&self, at: Seq, edits: &Edits) -> Answer {
        self.try_what_if(&question(at, self.head(), edits))
            .expect("an answer")
    }

    pub(crate) fn try_what_if(&self, question: &Question<'_>) -> Result<Answer, WhatIfError> {
        ask(&self.reader(), self.before(question.at), question)
    }
}

pub(crate) fn experiment_id(n: u64) -> ExperimentId {
    ExperimentId::from_bytes((u128::from(n) | 1 << 101).to_be_bytes())
}

pub(crate) fn configuration(settings: Settings) -> Event {
    Event::ConfigurationLoaded(ConfigurationLoaded {
        generation: 1,
        hash: digest(1),
        document: Payload::Inline("{}".to_owned()),
        settings,
        breakers: None,
    })
}

pub(crate) fn decide(state: &State, context: &Context, event: &Event) -> Vec<Event> {
    state.decide(context, event)
}

pub(crate) fn question(at: Seq, to: Seq, edits: &Edits) -> Question<'_> {
    Question {
        at,
        to,
        edits,
        from: at,
        seed: 1,
        limit: 1_000,
        recompute_max: 1_000,
        decide: &decide,
        world: &Lab,
        stop: &|| false,
    }
}

pub(crate) fn alone<'a>(question: Question<'a>) -> Question<'a> {
    Question {
        world: &Alone,
        ..question
    }
}

pub(crate) fn settings(runs_in_flight_max: u32) -> Settings {
    Settings {
        runs_in_flight_max,
        idempotency_ttl_micros: 20 * SECOND,
        idempotency_entries_max: 3,
        disk_reserve_bytes: 1_000,
    }
}

fn key(numbers: &mut Numbers) -> Option<Idempotency> {
    (numbers.below(3) == 0).then(|| Idempotency {
        key: [u8::try_from(numbers.below(5)).expect("small"); 16],
        body: digest(numbers.below(2)),
    })
}

/// The same workload in another world: without one of its steps, or with another limit of runs in
/// flight. Every step draws for itself, so that the others are the same.
pub(crate) fn world(seed: u64, steps: u64, skip: Option<u64>, limit: Option<u32>) -> Server {
    let mut server = Server::start(settings(limit.unwrap_or(4)));
    server.limit = limit;
    for step in 0..steps {
        server.ids = (step + 1) * 1_000;
        let mut numbers = Numbers(seed.wrapping_add(step * 0x9e37_79b9) | 1);
        for _ in 0..4 {
            numbers.below(2);
        }
        server.pass(numbers.below(4) * SECOND / 4);
        if skip != Some(step) {
            do_something(&mut server, &mut numbers, (10 + step * 10, true));
        }
    }
    server.pass(2 * SECOND);
    server.ids = 1_000_000;
    server.tell(Event::DiskSampled(DiskSampled { free_bytes: 5_000 }));
    server
}

/// A server that did whatever follows from `seed`, in so many steps.
pub(crate) fn worked(seed: u64, steps: u64) -> Server {
    let mut numbers = Numbers(seed | 1);
    let mut server = Server::start(settings(4));
    for step in 0..steps {
        let pass = numbers.below(4) * SECOND / 4;
        server.pass(pass);
        do_something(&mut server, &mut numbers, (10 + step * 10, false));
    }
    server.pass(2 * SECOND);
    server.tell(Event::DiskSampled(DiskSampled { free_bytes: 5_000 }));
    server
}

/// One step. A world that is `real` does not speak of what is not there.
fn do_something(server: &mut Server, numbers: &mut Numbers, (n, real): (u64, bool)) {
    let mut asked = request(n);
    asked.idempotency = key(numbers);
    if numbers.below(3) == 0 {
        asked.deadline_micros = 1 + numbers.below(2 * SECOND);
    }
    if numbers.below(6) == 0 {
        asked.datasets = vec![digest(900 + numbers.below(3))];
    }
    match numbers.below(14) {
        0..=4 => {
            server.ask_run(asked);
        }
        5..=7 => cheap(server, numbers, asked),
        8 => {
            let runs: Vec<u64> = (1..=1 + numbers.below(3)).map(|k| n + k).collect();
            let key = key(numbers);
            let series = server.experiment(n, &runs, key);
            server.submit(vec![series]);
        }
        9 => {
            let back = n.saturating_sub(10 * numbers.below(4));
            let reason = String::new();
            let run = run_id(back);
            if real && server.state().run(run).is_none() {
                return;
            }
            server.tell(Event::CancelRequested(CancelRequested { run, reason }));
        }
        10 => {
            // A late second outcome.
            let run = run_id(n.saturating_sub(10 * numbers.below(6)));
            if real && (!server.admitted.contains(&run) || server.state().run(run).is_some()) {
                return;
            }
            server.tell(outcome(run, result_of(digest(1), 1), 7));
        }
        11 => {
            let free_bytes = numbers.below(3) * 800;
            server.tell(Event::DiskSampled(DiskSampled { free_bytes }));
        }
        12 => {
            let upload = DatasetUploaded {
                digest: digest(900 + numbers.below(3)),
                name: "x".to_owned(),
                format: "csv".to_owned(),
                bytes: 1,
                rows: 1,
                columns: 1,
                idempotency: key(numbers),
            };
            server.tell(Event::DatasetUploaded(upload));
        }
        _ => restart(server, numbers, real),
    }
}

/// A cheap run, whose result is sometimes that of an earlier one, beside another request.
fn cheap(server: &mut Server, numbers: &mut Numbers, asked: RunRequested) {
    let n = u64::from_be_bytes(asked.run.bytes()[8..].try_into().expect("eight bytes"));
    let failed = Outcome::Failed {
        code: "invalid".to_owned(),
        field: None,
        message: "wrong".to_owned(),
        hint: None,
    };
    let reused = Outcome::Reused {
        original: run_id(n.saturating_sub(10)),
        result_hash: digest(numbers.below(9)),
        schema: 1,
        algorithm_version: "test/1".to_owned(),
    };
    let ended = match numbers.below(4) {
        0 => Some(failed),
        1 => Some(reused),
        _ => None,
    };
    let cheap = server.immediate(asked, ended);
    let other = server.command(Event::RunRequested(request(n + 1)), None);
    server.submit(vec![cheap, other.into()]);
}

fn restart(server: &mut Server, numbers: &mut Numbers, whole: bool) {
    let clean = numbers.below(2) == 0;
    server.close(clean);
    if !clean && !whole {
        tear(server.dir.path(), numbers.below(100));
    }
    server.now += numbers.below(4) * SECOND;
    let max = u32::try_from(1 + numbers.below(6)).expect("small");
    server.open(settings(server.limit.unwrap_or(max)));
}

/// Leaves half a frame behind the last one, as a crash does.
fn tear(dir: &Path, bytes: u64) {
    let wal = dir.join("wal");
    let entries = std::fs::read_dir(&wal).expect("segments");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let path = paths.last().expect("a segment");
    let mut content = std::fs::read(path).expect("read");
    let end = content
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let torn = end + usize::try_from(bytes).expect("small");
    if torn + 1 < content.len() {
        content[end + 1..torn + 1].fill(0xee);
        std::fs::write(path, content).expect("written");
    }
}

/// The state, line by line, without what counts events that are in one history alone.
pub(crate) fn facts(state: &State) -> Vec<String> {
    let dump = state.dump();
    // The idle event counts in the sequence and in the stream of the clock.
    let lines = dump
        .lines()
        .filter(|line| !line.starts_with("head system/clock"));
    let facts: Vec<String> = lines.skip(1).map(without_seq).collect();
    facts
}

/// Contexts of open runs hold their sequence, which is later by one.
fn without_seq(line: &str) -> String {
    let mut text = line.to_owned();
    while let Some(at) = text.find("seq: Seq(") {
        let end = text[at..].find(')').map_or(text.len(), |end| at + end + 1);
        text.replace_range(at..end, "");
    }
    text
}
