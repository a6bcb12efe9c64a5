//! What changed between two moments: the facts that differ, and the events between.

use std::collections::BTreeMap;

use hindcast_log::state_hash;
use hindcast_model::{Event, Seq, State};
use hindcast_snapshots::Moment;
use serde::Serialize;

use super::state::{moment, of_stream, unknown};
use super::{About, ENTRIES_MAX, HistoryError, Source, When, place};
use crate::views::{self, Changes};

/// Events that are counted by type for one answer.
const TALLY_EVENTS_MAX: u64 = 1_000_000;

/// One of the two moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct End {
    pub seq: u64,
    /// The time of that event.
    pub at: String,
    /// The blake3 hash of the bytes of the whole state.
    pub state_hash: String,
    /// The snapshot that was begun with; null when the log was read from its beginning.
    pub from_snapshot: Option<u64>,
    pub folded_events: u64,
}

/// What happened in between, whichever of both is the earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventsBetween {
    pub count: u64,
    /// The first and last of them; null when there is none.
    pub first_seq: Option<u64>,
    pub last_seq: Option<u64>,
    /// How many of each type.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub types: BTreeMap<String, u64>,
    /// Whether all of them are counted by type. Of the whole log, a million are at most.
    pub types_complete: bool,
}

/// What changed between two moments.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Difference {
    /// `all`, or the stream that was asked for.
    pub stream: String,
    pub from: End,
    pub to: End,
    #[serde(flatten)]
    pub changes: Changes,
    pub events: EventsBetween,
}

/// What of `about` changed from one moment to another, in either direction of time.
pub fn difference(
    source: &dyn Source,
    about: About,
    (from, to): (When, When),
) -> Result<Difference, HistoryError> {
    let (from, to) = (place(source, "from", from)?, place(source, "to", to)?);
    let before = moment(source, from)?;
    let after = match to == from {
        true => before.clone(),
        false => moment(source, to)?,
    };
    let (earlier, later) = (from.min(to), from.max(to));
    let (changes, events) = match about {
        About::All => (
            views::states(&before.state, &after.state, ENTRIES_MAX),
            between(source, earlier, later)?,
        ),
        About::Stream(stream) => {
            let events = source.stream(stream)?;
            let shown = |state: &State| of_stream(source, stream, &events, state);
            let (was, is) = (shown(&before.state), shown(&after.state));
            if was.is_none() && is.is_none() {
                let state = [&before, &after].map(|moment| &moment.state);
                let latest = state[usize::from(to > from)];
                return Err(unknown(stream, later, &events, latest));
            }
            let mut found = empty();
            for recorded in &events {
                if recorded.seq() > earlier && recorded.seq() <= later {
                    let name = views::event(recorded, String::new(), &views::unread).kind;
                    *found.types.entry(name).or_default() += 1;
                    found.count += 1;
                    found.first_seq.get_or_insert(recorded.seq().0);
                    found.last_seq = Some(recorded.seq().0);
                }
            }
            (views::documents(was.as_ref(), is.as_ref()), found)
        }
    };
    Ok(Difference {
        stream: about.to_string(),
        from: end(&before)?,
        to: end(&after)?,
        changes,
        events,
    })
}

fn end(moment: &Moment) -> Result<End, HistoryError> {
    Ok(End {
        seq: moment.state.seq().0,
        at: views::rfc3339(moment.state.at()),
        state_hash: state_hash(&moment.state)?.to_string(),
        from_snapshot: moment.from_snapshot.map(|seq| seq.0),
        folded_events: moment.folded,
    })
}

const fn empty() -> EventsBetween {
    EventsBetween {
        count: 0,
        first_seq: None,
        last_seq: None,
        types: BTreeMap::new(),
        types_complete: true,
    }
}

/// The events after `earlier` up to `later`.
fn between(source: &dyn Source, earlier: Seq, later: Seq) -> Result<EventsBetween, HistoryError> {
    if earlier == later {
        return Ok(empty());
    }
    let count = later.0 - earlier.0;
    let counted = Seq(later.0.min(earlier.0 + TALLY_EVENTS_MAX));
    let tally = source.reader().tally(earlier.next(), counted)?;
    let name = |number: u16| {
        let known = Event::KINDS.iter().find(|kind| kind.number == number);
        known.map_or_else(|| format!("unknown_{number}"), |kind| kind.name.to_owned())
    };
    Ok(EventsBetween {
        count,
        first_seq: Some(earlier.0 + 1),
        last_seq: Some(later.0),
        types: tally
            .into_iter()
            .map(|(number, n)| (name(number), n))
            .collect(),
        types_complete: counted == later,
    })
}
