//! The state at a moment: the whole of it, or what was known of one stream. Of a run that has ended
//! the state knows nothing any more, so that a stream is shown by its events up to the moment too.

use std::collections::BTreeMap;

use hindcast_log::{LogError, Recorded, state_hash};
use hindcast_model::event::Event;
use hindcast_model::{Seq, State, Stream, StreamKind};
use hindcast_snapshots::Moment;
use serde::Serialize;
use serde_json::{Value, json};

use super::{About, ENTRIES_MAX, HistoryError, Source, When, place};
use crate::views;

/// A state of the past.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StateAt {
    /// `all`, or the stream that was asked for.
    pub stream: String,
    /// The last event that is in the state.
    pub at_seq: u64,
    /// Its time.
    pub at: String,
    /// The blake3 hash of the bytes of the whole state.
    pub state_hash: String,
    /// The snapshot that was begun with; null when the log was read from its beginning.
    pub from_snapshot: Option<u64>,
    /// Events folded onto it.
    pub folded_events: u64,
    /// Events of the stream so far; of the whole log for `all`.
    pub version: u64,
    /// The first and last event of the stream so far.
    pub first_seq: u64,
    pub last_seq: u64,
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub state: Value,
    /// Entries of large collections that are not shown, by the path of the collection.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub omitted: BTreeMap<String, u64>,
    /// An event type on the way that this version does not know: what it changed is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub unknown: Option<String>,
}

/// The state of `about` at a moment.
pub fn state(source: &dyn Source, about: About, when: When) -> Result<StateAt, HistoryError> {
    let seq = place(source, "at", when)?;
    let moment = moment(source, seq)?;
    let (shown, (version, first, last)) = match about {
        About::All => (views::state(&moment.state, ENTRIES_MAX), (seq.0, 1, seq.0)),
        About::Stream(stream) => {
            let events = source.stream(stream)?;
            let Some(shown) = of_stream(source, stream, &events, &moment.state) else {
                if moment.state.version(stream) > 0 {
                    // It had begun: where that is pruned, it is said.
                    source.read(Seq(1), 1)?;
                }
                return Err(unknown(stream, seq, &events, &moment.state));
            };
            let so_far = until(&events, seq);
            let place = |recorded: Option<&Recorded>| recorded.map_or(0, |it| it.seq().0);
            let version = so_far.last().map_or(0, |last| last.version);
            let ends = (version, place(so_far.first()), place(so_far.last()));
            ((shown, BTreeMap::new()), ends)
        }
    };
    Ok(StateAt {
        stream: about.to_string(),
        at_seq: seq.0,
        at: views::rfc3339(moment.state.at()),
        state_hash: state_hash(&moment.state)?.to_string(),
        from_snapshot: moment.from_snapshot.map(|seq| seq.0),
        folded_events: moment.folded,
        version,
        first_seq: first,
        last_seq: last,
        state: shown.0,
        omitted: shown.1,
        unknown: moment.unknown,
    })
}

pub(super) fn moment(source: &dyn Source, seq: Seq) -> Result<Moment, LogError> {
    hindcast_snapshots::at(source.reader(), seq)
}

/// The events up to `seq`.
pub(super) fn until(events: &[Recorded], seq: Seq) -> &[Recorded] {
    &events[..events.partition_point(|recorded| recorded.seq() <= seq)]
}

/// What was known of a stream when the state was `state`; `None` when it had not begun.
pub(super) fn of_stream(
    source: &dyn Source,
    stream: Stream,
    events: &[Recorded],
    state: &State,
) -> Option<Value> {
    let events = until(events, state.seq());
    let last = events.last()?;
    let read = |key, payload: &_| source.text(key, payload);
    let value = |view| serde_json::to_value(view).unwrap_or_default();
    let mut known = match stream.kind {
        StreamKind::Run => {
            let open = state.runs().any(|(run, _)| Stream::run(run) == stream);
            let view = views::run(events, None, &read);
            json!({ "run": view, "open": open })
        }
        StreamKind::Experiment => {
            let view = views::experiment(events, state, &read);
            json!({ "experiment": view })
        }
        StreamKind::Dataset => {
            let mut all = state.datasets();
            let found = all.find(|(digest, _)| Stream::dataset(*digest) == stream);
            let view = found.map(|(digest, meta)| value(views::dataset(digest, meta)));
            json!({ "dataset": view })
        }
        StreamKind::System => of_system(stream, events, state, &read),
    };
    let kind = |recorded: &Recorded| views::event(recorded, String::new(), &views::unread).kind;
    known["last_event"] = json!({
        "seq": last.seq().0,
        "at": views::rfc3339(last.context.at),
        "type": kind(last),
    });
    Some(known)
}

fn of_system(stream: Stream, events: &[Recorded], state: &State, read: &views::Read<'_>) -> Value {
    let parts = state.parts();
    match stream {
        it if it == Stream::system("server") => json!({ "server": views::process(parts.server) }),
        it if it == Stream::system("configuration") => {
            let loaded = events
                .iter()
                .rev()
                .find_map(|recorded| match recorded.event() {
                    Some(Event::ConfigurationLoaded(loaded)) => {
                        Some(views::payload(recorded.context.key, &loaded.document, read))
                    }
                    Some(_) | None => None,
                });
            json!({
                "generation": parts.server.configuration_generation,
                "hash": parts.server.configuration_hash.to_string(),
                "settings": views::set(parts.settings),
                "document": loaded,
            })
        }
        it if it == Stream::system("clock") => json!({
            "at": views::rfc3339(parts.at),
            "next_timer": state.next_timer().map(views::rfc3339),
            "deadlines": parts.deadlines.len(),
        }),
        it if it == Stream::system("actors") => json!({ "restarts": parts.actor_restarts }),
        it if it == Stream::system("intake") => json!({
            "paused": parts.paused,
            "shed": parts.shed,
            "in_flight": parts.in_flight,
        }),
        it if it == Stream::system("store") => json!({
            "damaged": parts.damaged.iter()
                .map(|(file, damage)| (file.clone(), views::damage(damage)))
                .collect::<serde_json::Map<_, _>>(),
            "pruned": views::pruned_range(parts.pruned),
        }),
        it if it == Stream::system("privacy") => json!({
            "shredded": parts.shredded.iter().map(|key| key.0).collect::<Vec<_>>(),
        }),
        it if it == Stream::system("breakers") => json!({
            "breakers": views::breakers(parts.breakers, parts.at),
        }),
        it if it == Stream::system("slo") => json!({ "slo": views::slo_list(state) }),
        it if it == Stream::system("datasets") => json!({ "datasets": parts.datasets.len() }),
        // What stands in the others changes no state.
        _ => json!({}),
    }
}

/// The problem of a stream that had no event at `seq`.
pub(super) fn unknown(
    stream: Stream,
    seq: Seq,
    events: &[Recorded],
    state: &State,
) -> HistoryError {
    if let Some(first) = events.first() {
        let at = views::rfc3339(first.context.at);
        return HistoryError::Unknown {
            message: format!("{stream} begins at sequence {}, after {seq}", first.seq()),
            hint: format!("ask for sequence {} or {at} and later", first.seq()),
        };
    }
    let hint = match stream.kind {
        StreamKind::Run => "GET /api/v1/runs lists the runs".to_owned(),
        StreamKind::Experiment => "GET /api/v1/experiments lists the experiments".to_owned(),
        StreamKind::Dataset => "GET /api/v1/datasets lists the datasets".to_owned(),
        StreamKind::System => {
            let heads = state.parts().heads.keys();
            let system = heads.filter(|stream| stream.kind == StreamKind::System);
            let names: Vec<String> = system.map(ToString::to_string).collect();
            format!("there are: {}", names.join(", "))
        }
    };
    HistoryError::Unknown {
        message: format!("there is no {stream}"),
        hint,
    }
}
