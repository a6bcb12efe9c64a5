//! Where something comes from: from a run back to its request, data, algorithm, numeric profile,
//! seed, the configuration and binary that were in force, and the run whose result it repeats; and
//! on request what followed from it.

use std::collections::BTreeMap;

use hindcast_log::{LogError, Recorded};
use hindcast_model::event::{Event, ExperimentRequested, Outcome, RunRequested};
use hindcast_model::{Digest, EventId, RunId, Seq, Stream, StreamKind};
use serde::Serialize;
use serde_json::json;

use super::asked::{self, Asked};
use super::forward::{self, Forward, Roots};
use super::graph::{Graph, NodeKind, Relation};
use super::{HistoryError, Source};
use crate::views;

/// Originals that are followed, one from another; a run that computed has none.
const ORIGINALS_MAX: usize = 8;
/// Which way is looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// What led to it.
    Backward,
    /// What followed from it.
    Forward,
    #[default]
    Both,
}

/// What the answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Run,
    Experiment,
    Dataset,
    Event,
}

/// What led to something, and what followed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Provenance {
    /// The node that was asked for.
    pub id: String,
    pub kind: Subject,
    /// The last event that the answer knows of.
    pub head_seq: u64,
    #[serde(flatten)]
    pub graph: Graph,
    /// How what followed was searched for; absent when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub forward: Option<Forward>,
}

/// The node of a run.
pub(super) fn run_id(run: RunId) -> String {
    Stream::run(run).to_string()
}

/// The node of a dataset.
pub(super) fn dataset_id(stream: Stream) -> String {
    stream.to_string()
}

fn event_id(seq: Seq) -> String {
    format!("event/{seq}")
}

/// Looks for what led to `subject` and what followed from it: after `after` or where it came to be,
/// and not more than `limit` runs.
pub fn provenance(
    source: &dyn Source,
    subject: Asked,
    direction: Direction,
    (after, limit): (Option<Seq>, usize),
) -> Result<Provenance, HistoryError> {
    let mut tracer = Tracer::new(source);
    let (stream, events) = asked::find(source, subject)?;
    let kind = match stream {
        Some(stream) if stream.kind == StreamKind::Run => Subject::Run,
        Some(stream) if stream.kind == StreamKind::Experiment => Subject::Experiment,
        Some(stream) if stream.kind == StreamKind::Dataset => Subject::Dataset,
        Some(_) | None => Subject::Event,
    };
    let id = match (stream, kind) {
        (Some(stream), Subject::Run | Subject::Experiment | Subject::Dataset) => stream.to_string(),
        _ => event_id(events[0].seq()),
    };
    let backward = direction != Direction::Forward;
    let roots = tracer.trace(kind, &events, backward)?;
    let forward = match direction {
        Direction::Backward => None,
        Direction::Forward | Direction::Both if roots.is_empty() => {
            let nodes = tracer.graph.nodes.iter();
            let runs = nodes.filter(|node| node.kind == NodeKind::Run).count();
            Some(forward::told(events[0].seq(), source.head(), runs))
        }
        Direction::Forward | Direction::Both => {
            let begin = after.unwrap_or_else(|| events[0].seq());
            let begin = begin.min(source.head());
            Some(forward::follow(&mut tracer, roots, begin, limit)?)
        }
    };
    Ok(Provenance {
        id,
        kind,
        head_seq: source.head().0,
        graph: tracer.finish(),
        forward,
    })
}

/// Builds the graph.
pub(super) struct Tracer<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) graph: Graph,
    /// Events that are nodes.
    events: BTreeMap<EventId, Recorded>,
    configurations: Option<Vec<Recorded>>,
    starts: Option<Vec<Recorded>>,
}

impl<'a> Tracer<'a> {
    fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            graph: Graph::default(),
            events: BTreeMap::new(),
            configurations: None,
            starts: None,
        }
    }

    /// Adds what led to the subject and returns what is to be followed.
    fn trace(
        &mut self,
        kind: Subject,
        events: &[Recorded],
        backward: bool,
    ) -> Result<Roots, HistoryError> {
        let stream = events[0].stream;
        let mut roots = Roots::default();
        match kind {
            Subject::Run => self.run(events, backward, ORIGINALS_MAX)?,
            Subject::Dataset => {
                self.dataset(stream, events)?;
            }
            Subject::Experiment => self.experiment(events),
            Subject::Event => {
                self.event(&events[0])?;
                self.consequences(&events[0])?;
                if stream.kind != StreamKind::System {
                    let all = self.source.stream(stream)?;
                    let about = match stream.kind {
                        StreamKind::Run => Subject::Run,
                        StreamKind::Experiment => Subject::Experiment,
                        StreamKind::Dataset | StreamKind::System => Subject::Dataset,
                    };
                    return self.trace(about, &all, backward);
                }
            }
        }
        match stream.kind {
            StreamKind::Run => {
                roots.runs.insert(RunId::from_bytes(stream.id));
            }
            StreamKind::Dataset => roots.dataset = Some(stream),
            StreamKind::System | StreamKind::Experiment => {}
        }
        Ok(roots)
    }

    /// A node of its own for an event, and those that led to it.
    fn event(&mut self, recorded: &Recorded) -> Result<String, LogError> {
        let id = self.event_node(recorded);
        if let Some(cause) = asked::cause(self.source, recorded)? {
            self.event_node(&cause);
        }
        Ok(id)
    }

    fn event_node(&mut self, recorded: &Recorded) -> String {
        let view = views::event(recorded, String::new(), &views::unread);
        let label = format!("{} {}", recorded.seq(), view.kind);
        let facts = [
            ("seq", json!(view.seq)),
            ("type", json!(view.kind)),
            ("at", json!(view.at)),
            ("event_id", json!(view.event_id)),
            ("causation", json!(view.causation)),
            ("correlation", json!(view.correlation)),
            ("principal", json!(view.principal)),
            ("observed", json!(view.observed)),
            ("stream", json!(view.stream)),
        ];
        let id = event_id(recorded.seq());
        self.events
            .insert(recorded.context.event_id, recorded.clone());
        self.graph.node(NodeKind::Event, (id, label), facts)
    }

    /// The events that were decided from one.
    fn consequences(&mut self, recorded: &Recorded) -> Result<(), LogError> {
        let after = self
            .source
            .read(recorded.seq().next(), usize::from(u8::MAX))?;
        let own = recorded.context.event_id;
        for next in after
            .iter()
            .take_while(|next| !next.observed && next.causation == own)
        {
            self.event_node(next);
        }
        Ok(())
    }

    /// A run with everything that its stream tells.
    fn run(
        &mut self,
        events: &[Recorded],
        backward: bool,
        originals: usize,
    ) -> Result<(), HistoryError> {
        let Some(view) = views::run(events, None, &views::unread) else {
            return Ok(());
        };
        let facts = [
            ("operation", json!(view.operation)),
            ("status", json!(view.status)),
            ("seed", json!(view.seed)),
            ("spec_hash", json!(view.spec_hash)),
            ("result_hash", json!(view.result_hash)),
            ("requested_at", json!(view.requested_at)),
            ("finished_at", json!(view.finished_at)),
            ("first_seq", json!(view.first_seq)),
            ("last_seq", json!(view.last_seq)),
        ];
        let run = format!("run/{}", view.run_id);
        let named = (run.clone(), run_label(&view.run_id));
        self.graph.node(NodeKind::Run, named, facts);
        if !backward {
            return Ok(());
        }
        for recorded in events {
            let event = self.event(recorded)?;
            match recorded.event() {
                Some(Event::RunRequested(request)) => {
                    self.graph.edge(&event, Relation::Request, &run);
                    self.inputs(&run, request)?;
                }
                Some(Event::OutcomeObserved(observed)) => {
                    self.graph.edge(&event, Relation::Outcome, &run);
                    self.computed_with(&run, &observed.outcome, &observed.numeric_profile);
                }
                Some(Event::RunAdmitted(_) | Event::CancelRequested(_)) | None => {}
                Some(_) => self.graph.edge(&event, Relation::End, &run),
            }
        }
        self.in_force(&run, Seq(view.last_seq))?;
        let original = view.original.and_then(|original| original.parse().ok());
        if let Some(original) = original.filter(|_| originals > 0) {
            let there = self.source.stream(Stream::run(original))?;
            self.run(&there, backward, originals - 1)?;
            self.graph.edge(&run_id(original), Relation::Original, &run);
        }
        Ok(())
    }

    /// What a request names.
    fn inputs(&mut self, run: &str, request: &RunRequested) -> Result<(), HistoryError> {
        let id = format!("seed/{}", request.seed);
        let label = format!("seed {}", request.seed);
        let facts = [("seed", json!(request.seed))];
        let seed = self.graph.node(NodeKind::Seed, (id, label), facts);
        self.graph.edge(&seed, Relation::Seed, run);
        for digest in &request.datasets {
            let stream = Stream::dataset(*digest);
            if !self.graph.has(&dataset_id(stream)) {
                let events = self.source.stream(stream)?;
                self.dataset(stream, &events)?;
            }
            self.graph.edge(&dataset_id(stream), Relation::Data, run);
        }
        if let Some(experiment) = request.experiment {
            let events = self.source.stream(Stream::experiment(experiment))?;
            let requested = events.iter().find_map(|recorded| match recorded.event() {
                Some(Event::ExperimentRequested(request)) => Some((recorded, request)),
                Some(_) | None => None,
            });
            if let Some((recorded, requested)) = requested {
                let id = self.experiment_node(recorded, requested);
                self.graph.edge(&id, Relation::Experiment, run);
            }
        }
        Ok(())
    }

    /// The algorithm and the numbers behind an outcome that was computed for this run.
    fn computed_with(&mut self, run: &str, outcome: &Outcome, profile: &str) {
        let Outcome::Completed {
            algorithm_version, ..
        } = outcome
        else {
            return;
        };
        let id = format!("algorithm/{algorithm_version}");
        let facts = [("version", json!(algorithm_version))];
        let named = (id, algorithm_version.clone());
        let algorithm = self.graph.node(NodeKind::Algorithm, named, facts);
        self.graph.edge(&algorithm, Relation::Algorithm, run);
        let id = format!("numeric-profile/{profile}");
        let facts = [("numeric_profile", json!(profile))];
        let named = (id, profile.to_owned());
        let profile = self.graph.node(NodeKind::NumericProfile, named, facts);
        self.graph.edge(&profile, Relation::NumericProfile, run);
    }

    /// The configuration and the binary that were in force at `seq`.
    fn in_force(&mut self, run: &str, seq: Seq) -> Result<(), LogError> {
        let source = self.source;
        let load = |name| source.stream(Stream::system(name));
        if self.configurations.is_none() {
            self.configurations = Some(load("configuration")?);
            self.starts = Some(load("server")?);
        }
        let before = |events: &Option<Vec<Recorded>>, wanted: fn(&Event) -> bool| {
            let mut events = events.iter().flatten().rev();
            events
                .find(|it| it.seq() <= seq && it.event().is_some_and(wanted))
                .cloned()
        };
        let loaded = before(&self.configurations, |event| {
            matches!(event, Event::ConfigurationLoaded(_))
        });
        let started = before(&self.starts, |event| {
            matches!(event, Event::ServerStarted(_))
        });
        if loaded.is_none() || started.is_none() {
            // Where they are pruned, that is said.
            source.read(Seq(1), 1)?;
        }
        if let Some(recorded) = &loaded
            && let Some(Event::ConfigurationLoaded(loaded)) = recorded.event()
        {
            let facts = [
                ("generation", json!(loaded.generation)),
                ("hash", json!(loaded.hash.to_string())),
                ("seq", json!(recorded.seq().0)),
                ("at", json!(views::rfc3339(recorded.context.at))),
            ];
            let id = format!("configuration/{}", loaded.generation);
            let label = format!("configuration {}", loaded.generation);
            let id = self.graph.node(NodeKind::Configuration, (id, label), facts);
            self.graph.edge(&id, Relation::Configuration, run);
        }
        if let Some(recorded) = &started
            && let Some(Event::ServerStarted(started)) = recorded.event()
        {
            let facts = [
                ("binary_version", json!(started.binary_version)),
                ("decider_version", json!(started.decider_version)),
                ("numeric_profile", json!(started.numeric_profile)),
                ("seq", json!(recorded.seq().0)),
                ("at", json!(views::rfc3339(recorded.context.at))),
            ];
            let id = format!("binary/{}", recorded.seq());
            let label = format!("hindcast {}", started.binary_version);
            let id = self.graph.node(NodeKind::Binary, (id, label), facts);
            self.graph.edge(&id, Relation::Binary, run);
        }
        Ok(())
    }

    /// A dataset with its first registration and the upload that it followed from.
    fn dataset(&mut self, stream: Stream, events: &[Recorded]) -> Result<(), LogError> {
        let registered = events.iter().find_map(|recorded| match recorded.event() {
            Some(Event::DatasetRegistered(registered)) => Some((recorded, registered.digest)),
            Some(_) | None => None,
        });
        let upload = match registered {
            Some((recorded, _)) => asked::cause(self.source, recorded)?,
            None => None,
        };
        let digest = registered.map(|(_, digest)| digest);
        let id = self.dataset_node(stream, digest, upload.as_ref());
        if let Some((recorded, _)) = registered {
            let event = self.event(recorded)?;
            self.graph.edge(&event, Relation::Registration, &id);
        }
        Ok(())
    }

    fn dataset_node(
        &mut self,
        stream: Stream,
        digest: Option<Digest>,
        upload: Option<&Recorded>,
    ) -> String {
        let mut facts = vec![("digest", json!(digest.map(|digest| digest.to_string())))];
        if let Some(Event::DatasetUploaded(upload)) = upload.and_then(Recorded::event) {
            facts.extend([
                ("name", json!(upload.name)),
                ("format", json!(upload.format)),
                ("bytes", json!(upload.bytes)),
                ("rows", json!(upload.rows)),
                ("columns", json!(upload.columns)),
            ]);
        }
        let id = dataset_id(stream);
        let short: String = id.trim_start_matches("dataset/").chars().take(12).collect();
        let named = (id, format!("data {short}"));
        self.graph.node(NodeKind::Dataset, named, facts)
    }

    /// An experiment with its events and its runs.
    fn experiment(&mut self, events: &[Recorded]) {
        let mut id = None;
        for recorded in events {
            let event = self.event_node(recorded);
            match (recorded.event(), &id) {
                (Some(Event::ExperimentRequested(request)), _) => {
                    let node = self.experiment_node(recorded, request);
                    for run in &request.runs {
                        let run = self.named_run(*run);
                        self.graph.edge(&node, Relation::Experiment, &run);
                    }
                    id = Some(node);
                }
                (Some(Event::ExperimentAdmitted(_)) | None, _) | (_, None) => {}
                (Some(_), Some(id)) => self.graph.edge(&event, Relation::End, id),
            }
        }
    }

    fn experiment_node(&mut self, recorded: &Recorded, request: &ExperimentRequested) -> String {
        let facts = [
            ("name", json!(request.name)),
            ("runs", json!(request.runs.len())),
            ("requested_at", json!(views::rfc3339(recorded.context.at))),
        ];
        let id = Stream::experiment(request.experiment).to_string();
        let label = format!("experiment {}", request.name);
        let node = self.graph.node(NodeKind::Experiment, (id, label), facts);
        let event = self.event_node(recorded);
        self.graph.edge(&event, Relation::Request, &node);
        node
    }

    /// A run of which only the id is told.
    pub(super) fn named_run(&mut self, run: RunId) -> String {
        let label = run_label(&run.to_string());
        self.graph.node(NodeKind::Run, (run_id(run), label), [])
    }

    /// A run of which its request is told.
    pub(super) fn asked_run(&mut self, recorded: &Recorded, request: &RunRequested) -> String {
        let named = (run_id(request.run), run_label(&request.run.to_string()));
        let facts = forward::request_facts(recorded, request);
        self.graph.node(NodeKind::Run, named, facts)
    }

    /// Joins the events by their causes.
    fn finish(mut self) -> Graph {
        let pairs: Vec<(String, String)> = self
            .events
            .values()
            .filter_map(|effect| {
                let cause = self.events.get(&effect.causation)?;
                Some((event_id(cause.seq()), event_id(effect.seq())))
            })
            .collect();
        for (cause, effect) in pairs {
            self.graph.edge(&cause, Relation::Cause, &effect);
        }
        self.graph
    }
}

/// The end of an id tells runs apart; its beginning is the time.
fn run_label(id: &str) -> String {
    let end = id.rsplit('-').next().unwrap_or(id);
    format!("run {end}")
}
