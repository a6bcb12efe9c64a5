//! What is asked of the log: submissions of every kind, sensible and not, drawn from the seed.

use hindcast_log::Blobs;
use hindcast_model::command::Expect;
use hindcast_model::event::{
    AnswerKept, CancelRequested, ConfigurationLoaded, DatasetUploaded, DiskSampled,
    ExperimentRequested, Idempotency, Outcome, OutcomeObserved, RequestsShed, RunRequested,
    Settings,
};
use hindcast_model::{
    Command, Digest, Event, EventId, ExperimentId, KeyId, Name16, Payload, RunId, State, Stream,
    Submission,
};

use crate::world::Random;

/// Remembers which ids were given out.
#[derive(Debug, Default)]
pub struct Workload {
    events: u128,
    runs: u128,
    experiments: u128,
}

fn digest(n: u64) -> Digest {
    let mut bytes = [0xd5; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Digest(bytes)
}

/// Datasets that are uploaded now and then.
pub const DATASETS: u64 = 6;

/// The content of one; it is a blob from the beginning.
#[must_use]
pub fn dataset(n: u64) -> Vec<u8> {
    format!("x,y\n{n},{n}\n").into_bytes()
}

/// Specs of some bytes to some kilobytes: segments fill up at different speeds.
fn payload(random: &mut Random) -> Payload {
    let len = match random.below(20) {
        0 => random.below(30_000),
        1..4 => random.below(3_000),
        _ => random.below(100),
    };
    let fill = char::from(b'a' + u8::try_from(random.below(26)).unwrap_or(0));
    Payload::Inline(std::iter::repeat_n(fill, usize::try_from(len).unwrap_or(0)).collect())
}

fn idempotency(random: &mut Random) -> Option<Idempotency> {
    random.once_in(3).then(|| Idempotency {
        key: [u8::try_from(random.below(12)).unwrap_or(0); 16],
        body: digest(random.below(3)),
    })
}

fn outcome(random: &mut Random, run: RunId) -> Event {
    let outcome = match random.below(4) {
        0 => Outcome::Failed {
            code: "internal".to_owned(),
            field: random.once_in(2).then(|| "data[0]".to_owned()),
            message: "it did not work".to_owned(),
            hint: None,
        },
        1 => Outcome::Reused {
            original: RunId::from_bytes([9; 16]),
            result_hash: digest(random.number()),
            schema: 1,
            algorithm_version: "chaos 1".to_owned(),
        },
        _ => Outcome::Completed {
            result: payload(random),
            result_hash: digest(random.number()),
            schema: 1,
            algorithm_version: "chaos 1".to_owned(),
        },
    };
    Event::OutcomeObserved(OutcomeObserved {
        run,
        outcome,
        numeric_profile: "simulated".to_owned(),
        queued_micros: random.below(1_000),
        computed_micros: random.below(1_000),
    })
}

impl Workload {
    /// One event as a submission of its own.
    pub fn single(&mut self, event: Event) -> Submission {
        Submission::from(self.command(event))
    }

    /// The next submission, given what is open.
    pub fn next(&mut self, random: &mut Random, state: &State) -> Submission {
        let mut submission = match random.below(24) {
            0..7 => self.immediate(random),
            7..12 => {
                let request = self.request(random, None, false);
                self.single(request)
            }
            12..16 => self.end(random, state),
            16 => self.cancel(random, state),
            17 => self.upload(random),
            18 | 19 => self.experiment(random),
            20 => self.repeat(random, state),
            21 => self.single(configuration(random)),
            22 => self.single(Event::DiskSampled(DiskSampled {
                free_bytes: random.below(4_000),
            })),
            _ => self.oddity(random),
        };
        if random.once_in(12)
            && let Some(first) = submission.commands.first_mut()
        {
            let stream = Stream::system("configuration");
            let version = state.version(stream) + u64::from(random.once_in(2));
            first.expect = Some(Expect { stream, version });
        }
        submission
    }

    fn command(&mut self, event: Event) -> Command {
        self.events += 1;
        // Ids of decided events follow their observed one: leave room between two of these.
        let id = EventId::from_bytes(((1 << 120) | (self.events << 16)).to_be_bytes());
        Command {
            event_id: id,
            causation: id,
            correlation: id,
            principal: Name16::new(if self.events.is_multiple_of(5) {
                "grace"
            } else {
                "ada"
            }),
            tenant: Name16::new("chaos"),
            key: KeyId(0),
            expect: None,
            event,
        }
    }

    fn run_id(&mut self) -> RunId {
        self.runs += 1;
        RunId::from_bytes(((2 << 120) | self.runs).to_be_bytes())
    }

    fn request(
        &mut self,
        random: &mut Random,
        experiment: Option<ExperimentId>,
        immediate: bool,
    ) -> Event {
        let run = self.run_id();
        Event::RunRequested(request_of(random, run, experiment, immediate))
    }

    fn immediate(&mut self, random: &mut Random) -> Submission {
        let run = self.run_id();
        let request = Event::RunRequested(request_of(random, run, None, true));
        let outcome = outcome(random, run);
        Submission {
            commands: vec![self.command(request), self.command(outcome)],
        }
    }

    /// The outcome of an open run, or of one that has ended long ago.
    fn end(&mut self, random: &mut Random, state: &State) -> Submission {
        let run = match random.once_in(8) {
            true => self.known_run(random),
            false => open_run(random, state).unwrap_or_else(|| self.known_run(random)),
        };
        let event = outcome(random, run);
        self.single(event)
    }

    fn known_run(&self, random: &mut Random) -> RunId {
        let runs = u64::try_from(self.runs).unwrap_or(u64::MAX);
        let n = u128::from(1 + random.below(runs));
        RunId::from_bytes(((2 << 120) | n).to_be_bytes())
    }

    fn cancel(&mut self, random: &mut Random, state: &State) -> Submission {
        let run = open_run(random, state).unwrap_or_else(|| self.known_run(random));
        let reason = "no longer wanted".to_owned();
        self.single(Event::CancelRequested(CancelRequested { run, reason }))
    }

    fn upload(&mut self, random: &mut Random) -> Submission {
        let n = random.below(DATASETS);
        let upload = DatasetUploaded {
            digest: Blobs::digest(&dataset(n)),
            name: format!("data {n}"),
            format: "csv".to_owned(),
            bytes: 1_000,
            rows: 10,
            columns: 3,
            idempotency: idempotency(random),
        };
        self.single(Event::DatasetUploaded(upload))
    }

    /// An experiment with its runs, some of them with their outcomes.
    fn experiment(&mut self, random: &mut Random) -> Submission {
        self.experiments += 1;
        let id = ExperimentId::from_bytes(((3 << 120) | self.experiments).to_be_bytes());
        let count = random.below(8);
        let requests: Vec<RunRequested> = (0..count)
            .map(|_| {
                let run = self.run_id();
                let immediate = random.once_in(3);
                request_of(random, run, Some(id), immediate)
            })
            .collect();
        let first = Event::ExperimentRequested(ExperimentRequested {
            experiment: id,
            name: "chaos".to_owned(),
            spec: payload(random),
            runs: requests.iter().map(|request| request.run).collect(),
            idempotency: idempotency(random),
        });
        let mut commands = vec![self.command(first)];
        for request in requests {
            let (run, immediate) = (request.run, request.immediate);
            commands.push(self.command(Event::RunRequested(request)));
            if immediate {
                let outcome = outcome(random, run);
                commands.push(self.command(outcome));
            }
        }
        Submission { commands }
    }

    /// A second request for a run that is open.
    fn repeat(&mut self, random: &mut Random, state: &State) -> Submission {
        let run = open_run(random, state).unwrap_or_else(|| self.run_id());
        let immediate = random.once_in(2);
        let request = request_of(random, run, None, immediate);
        self.single(Event::RunRequested(request))
    }

    /// Something too large, or something that only counts.
    fn oddity(&mut self, random: &mut Random) -> Submission {
        if random.once_in(2) {
            let reason = "x".repeat(60_000);
            let run = self.known_run(random);
            return self.single(Event::CancelRequested(CancelRequested { run, reason }));
        }
        if let Some(idempotency) = idempotency(random) {
            return self.single(Event::AnswerKept(AnswerKept {
                idempotency,
                request: "POST /chaos".to_owned(),
                status: 200,
                media: "application/json".to_owned(),
                answer: random.once_in(2).then(|| payload(random)),
            }));
        }
        self.single(Event::RequestsShed(RequestsShed {
            overloaded: random.below(9),
            malformed: random.below(9),
            unauthenticated: 0,
        }))
    }
}

fn open_run(random: &mut Random, state: &State) -> Option<RunId> {
    let at = random.below(state.runs().count() as u64);
    let run = state.runs().nth(usize::try_from(at).unwrap_or(0));
    run.map(|(id, _)| id)
}

fn request_of(
    random: &mut Random,
    run: RunId,
    experiment: Option<ExperimentId>,
    immediate: bool,
) -> RunRequested {
    let deadline = random.once_in(3);
    RunRequested {
        run,
        operation: format!("operation.{}", random.below(4)),
        schema: 1,
        spec: payload(random),
        spec_hash: digest(random.number()),
        seed: random.number(),
        datasets: match random.below(5) {
            0 => vec![Blobs::digest(&dataset(random.below(DATASETS + 1)))],
            _ => Vec::new(),
        },
        deadline_micros: if deadline {
            1 + random.below(5_000_000)
        } else {
            0
        },
        immediate,
        experiment,
        idempotency: idempotency(random),
        service: None,
    }
}

fn configuration(random: &mut Random) -> Event {
    Event::ConfigurationLoaded(ConfigurationLoaded {
        generation: random.below(9),
        hash: digest(random.number()),
        document: Payload::Inline("{}".to_owned()),
        settings: Settings {
            runs_in_flight_max: u32::try_from(4 + random.below(60)).unwrap_or(4),
            idempotency_ttl_micros: random.below(120_000_000),
            idempotency_entries_max: random.below(40),
            disk_reserve_bytes: random.below(1_200),
        },
        breakers: None,
    })
}
