//! What the log under test is compared against: the events it acknowledged, the frame that was in
//! flight when the process ended, and a few counts that are made here in the plainest way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hindcast_log::{Recorded, replay, state_hash, walk};
use hindcast_model::event::ExperimentAdmitted;
use hindcast_model::{Digest, Event, EventId, RunId, Seq, State, Stream, UnixMicros};

use crate::world::{World, data_dir};

/// A frame that was staged and not acknowledged.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// The last sequence that it would have had.
    pub head: Seq,
    /// The state with it.
    pub state: Digest,
    /// The first command of each submission in it.
    pub firsts: Vec<EventId>,
}

/// The events that were promised, and the state that they fold to.
#[derive(Debug, Default)]
pub struct Reference {
    acknowledged: Vec<Recorded>,
    in_flight: Option<InFlight>,
}

/// Fails with a sentence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(format!($($what)*));
        }
    };
}
pub(crate) use ensure;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Reference {
    /// The events of a frame were acknowledged.
    pub fn acknowledge(&mut self, events: &[Recorded]) {
        self.acknowledged.extend_from_slice(events);
        self.in_flight = None;
    }

    /// A frame is on its way, and may or may not be there after the process has ended.
    pub fn expect(&mut self, in_flight: InFlight) {
        self.in_flight = Some(in_flight);
    }

    /// Events that were acknowledged.
    #[must_use]
    pub fn events(&self) -> &[Recorded] {
        &self.acknowledged
    }

    /// Compares what was recovered with what was promised. What is there beyond it counts as
    /// promised from here on: readers have seen it.
    pub fn check_recovered(&mut self, world: &World, state: &State) -> Result<(), String> {
        let recovered = recovered(world)?;
        let known = self.acknowledged.len();
        ensure!(
            recovered.len() >= known,
            "{known} events were acknowledged and {} recovered",
            recovered.len()
        );
        for ((was, _), is) in recovered.iter().zip(&self.acknowledged) {
            ensure!(was == is, "acknowledged {is:?}, recovered {was:?}");
        }
        let hash = check_replays(world, state)?;
        self.check_rest(&recovered[known..], hash)?;
        check_order(&recovered)?;
        check_law(&recovered, hash)?;
        check_counts(&recovered, state)?;
        let rest = recovered.into_iter().skip(known);
        self.acknowledged.extend(rest.map(|(recorded, _)| recorded));
        self.in_flight = None;
        Ok(())
    }

    /// Beyond what was acknowledged there is nothing, or the whole frame that was in flight.
    fn check_rest(&self, rest: &[(Recorded, Vec<u8>)], hash: Digest) -> Result<(), String> {
        let Some((last, _)) = rest.last() else {
            return Ok(());
        };
        let Some(in_flight) = &self.in_flight else {
            return Err(format!("sequence {} was never written", last.seq()));
        };
        ensure!(
            last.seq() == in_flight.head,
            "a frame up to {} was in flight, and {} was recovered",
            in_flight.head,
            last.seq()
        );
        ensure!(
            hash == in_flight.state,
            "the state with the frame in flight is another one"
        );
        for first in &in_flight.firsts {
            let is_there = rest.iter().any(|(r, _)| r.context.event_id == *first);
            ensure!(is_there, "a submission of the frame in flight is missing");
        }
        Ok(())
    }
}

/// Every event in the log with its bytes, read by a scan of its own.
pub fn recovered(world: &World) -> Result<Vec<(Recorded, Vec<u8>)>, String> {
    let mut found = Vec::new();
    walk(world.disk.as_ref(), data_dir(), |recorded, bytes| {
        found.push((recorded.clone(), bytes.to_vec()));
        Ok(())
    })
    .map_err(text)?;
    Ok(found)
}

/// Two replays give the state that the writer goes on with.
fn check_replays(world: &World, state: &State) -> Result<Digest, String> {
    let expected = state_hash(state).map_err(text)?;
    for turn in 1..=2 {
        let replayed = replay(world.disk.as_ref(), data_dir(), &|_| {}).map_err(text)?;
        let hash = state_hash(&replayed.state).map_err(text)?;
        ensure!(hash == expected, "replay {turn} gives another state");
        ensure!(
            replayed.head() == state.seq(),
            "replay {turn} ends elsewhere"
        );
    }
    Ok(expected)
}

/// Gapless, unique, never back in time.
fn check_order(recovered: &[(Recorded, Vec<u8>)]) -> Result<(), String> {
    let mut places = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let mut last = UnixMicros(0);
    for ((recorded, _), seq) in recovered.iter().zip(1..) {
        ensure!(
            recorded.seq() == Seq(seq),
            "sequence {} stands at {seq}",
            recorded.seq()
        );
        let place = (recorded.stream, recorded.version);
        ensure!(places.insert(place), "two events are {place:?}");
        let id = recorded.context.event_id;
        ensure!(ids.insert(id), "two events have the id {id}");
        ensure!(
            recorded.context.at >= last,
            "time runs backwards at sequence {seq}"
        );
        last = recorded.context.at;
    }
    Ok(())
}

/// The law: deciding the observed events again gives the decided ones, byte for byte.
fn check_law(recovered: &[(Recorded, Vec<u8>)], hash: Digest) -> Result<(), String> {
    let mut state = State::default();
    let mut due: VecDeque<Recorded> = VecDeque::new();
    for (recorded, bytes) in recovered {
        let seq = recorded.seq();
        let event = recorded.event().ok_or("an event of no known kind")?;
        if recorded.observed {
            ensure!(
                due.is_empty(),
                "decisions are missing before sequence {seq}"
            );
            due = decide(&state, recorded, event);
        } else {
            let expected = due.pop_front().ok_or("a decision that nobody made")?;
            let expected = Recorded {
                stream: state.stream_of(event),
                version: state.version(recorded.stream) + 1,
                ..expected
            };
            let again = expected.to_bytes().map_err(text)?;
            ensure!(again == *bytes, "sequence {seq} is decided otherwise");
        }
        let place = state.apply(&recorded.context, event);
        ensure!(
            place == (recorded.stream, recorded.version),
            "sequence {seq} folds elsewhere"
        );
    }
    ensure!(due.is_empty(), "the last decisions are missing");
    let again = state_hash(&state).map_err(text)?;
    ensure!(again == hash, "the fold of the events is another state");
    Ok(())
}

fn decide(state: &State, observed: &Recorded, event: &Event) -> VecDeque<Recorded> {
    let context = observed.context;
    let decided = state.decide(&context, event);
    let recorded = (0_u16..).zip(decided).map(|(index, event)| {
        let mut context = context;
        context.event_id = observed.context.event_id.decided(index);
        Recorded {
            context,
            causation: observed.context.event_id,
            stream: Stream::system(""),
            version: 0,
            observed: false,
            ignorable: event.kind().ignorable,
            body: hindcast_log::Body::Known(event),
        }
    });
    recorded.collect()
}

/// Counts by name, made without the core.
fn check_counts(recovered: &[(Recorded, Vec<u8>)], state: &State) -> Result<(), String> {
    let mut open: BTreeSet<RunId> = BTreeSet::new();
    let mut datasets = BTreeSet::new();
    let mut experiments = BTreeSet::new();
    let mut immediate = BTreeSet::new();
    let mut requested: BTreeMap<&str, u64> = BTreeMap::new();
    for event in recovered
        .iter()
        .filter_map(|(recorded, _)| recorded.event())
    {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the reference counts a few kinds only"
        )]
        match event {
            Event::RunRequested(e) => {
                *requested.entry(&e.operation).or_default() += 1;
                if e.immediate && !open.contains(&e.run) {
                    immediate.insert(e.run);
                }
            }
            Event::RunAdmitted(e) => {
                ensure!(open.insert(e.run), "run {} is admitted twice", e.run);
            }
            Event::RunCompleted(e) => ensure!(open.remove(&e.run), "{} ends twice", e.run),
            Event::RunFailed(e) => ensure!(open.remove(&e.run), "{} ends twice", e.run),
            Event::RunCancelled(e) => ensure!(open.remove(&e.run), "{} ends twice", e.run),
            Event::DatasetRegistered(e) => {
                let known = !datasets.insert(e.digest);
                ensure!(known == e.known, "dataset {} is known twice", e.digest);
            }
            Event::ExperimentAdmitted(ExperimentAdmitted {
                experiment,
                original: None,
            }) => {
                experiments.insert(*experiment);
            }
            Event::ExperimentCompleted(e) => {
                let id = e.experiment;
                ensure!(experiments.remove(&id), "experiment {id} ends twice");
            }
            _ => {}
        }
    }
    let waiting = open.difference(&immediate).count();
    ensure!(
        state.runs().map(|(id, _)| id).eq(open.iter().copied()),
        "the open runs are not {open:?}"
    );
    ensure!(
        state.in_flight() as usize == waiting && state.pending().count() == waiting,
        "{waiting} runs are in flight, not {}",
        state.in_flight()
    );
    let known = state.datasets().map(|(digest, _)| digest);
    ensure!(known.eq(datasets), "the datasets differ");
    let known = state.experiments().map(|(id, _)| id);
    ensure!(known.eq(experiments), "the open experiments differ");
    let totals = state
        .totals()
        .map(|(name, totals)| (name, totals.requested));
    ensure!(totals.eq(requested), "the requests by operation differ");
    Ok(())
}
