//! What a question about provenance names, and where that stands in the log.

use std::str::FromStr;

use hindcast_log::{LogError, Recorded};
use hindcast_model::{EventId, ExperimentId, RunId, Seq, Stream, StreamKind, UnixMicros};
use uuid::Uuid;

use super::forward::SCAN_EVENTS_MAX;
use super::{HistoryError, Source};

/// An event is recorded so soon after its id was minted, whatever the queue and the clocks.
const MINTED_BEFORE_MICROS: u64 = 600 * 1_000_000;

/// What is asked about, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A run, an experiment or an event: ids look the same.
    Id(Uuid),
    Stream(Stream),
    Seq(Seq),
}

/// The text names nothing that could have a provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of a run, experiment or event, the digest of a dataset, or a sequence")]
pub struct BadAsked;

impl FromStr for Asked {
    type Err = BadAsked;

    fn from_str(text: &str) -> Result<Self, BadAsked> {
        let text = text.strip_prefix("event/").unwrap_or(text);
        if text.contains('/') {
            return text.parse().map(Self::Stream).map_err(|_| BadAsked);
        }
        match text.len() {
            36 => Uuid::parse_str(text).map(Self::Id).map_err(|_| BadAsked),
            32 | 64 => {
                let stream = format!("dataset/{text}").parse();
                stream.map(Self::Stream).map_err(|_| BadAsked)
            }
            1..=20 if text.bytes().all(|byte| byte.is_ascii_digit()) => text
                .parse()
                .map(|seq| Self::Seq(Seq(seq)))
                .map_err(|_| BadAsked),
            _ => Err(BadAsked),
        }
    }
}

/// The stream that is meant and its events; an event that stands for itself has no stream.
pub(super) fn find(
    source: &dyn Source,
    asked: Asked,
) -> Result<(Option<Stream>, Vec<Recorded>), HistoryError> {
    let unknown = |what: String| HistoryError::Unknown {
        message: format!("there is no {what}"),
        hint: "GET /api/v1/runs, /experiments, /datasets and /events list what there is".to_owned(),
    };
    match asked {
        Asked::Stream(stream) if stream.kind == StreamKind::System => Err(unknown(format!(
            "provenance of {stream}; ask for one of its events"
        ))),
        Asked::Stream(stream) => match source.stream(stream)? {
            events if events.is_empty() => Err(unknown(stream.to_string())),
            events => Ok((Some(stream), events)),
        },
        Asked::Seq(seq) => match event_at(source, seq)? {
            Some(event) => Ok((None, vec![event])),
            None => Err(unknown(format!("event {seq}"))),
        },
        Asked::Id(id) => {
            for stream in [Stream::run(RunId(id)), Stream::experiment(ExperimentId(id))] {
                let events = source.stream(stream)?;
                if !events.is_empty() {
                    return Ok((Some(stream), events));
                }
            }
            match event_of(source, EventId(id))? {
                Some(event) => Ok((None, vec![event])),
                None => Err(unknown(format!("run, experiment or event {id}"))),
            }
        }
    }
}

fn event_at(source: &dyn Source, seq: Seq) -> Result<Option<Recorded>, LogError> {
    match seq > Seq(0) && seq <= source.head() {
        true => Ok(source.read(seq, 1)?.into_iter().next()),
        false => Ok(None),
    }
}

/// The event with this id. Ids tell when they were minted, and an event is recorded soon after;
/// where that does not lead to it, a bounded part of the log's end is read.
fn event_of(source: &dyn Source, id: EventId) -> Result<Option<Recorded>, LogError> {
    let (reader, head) = (source.reader(), source.head());
    let mut pruned = None;
    if let Some(time) = id.0.get_timestamp() {
        let (seconds, nanos) = time.to_unix();
        let minted = UnixMicros(
            seconds
                .saturating_mul(1_000_000)
                .saturating_add(u64::from(nanos / 1_000)),
        );
        // The log's time may stand before the clock that minted the id.
        let early = UnixMicros(minted.0.saturating_sub(1_000_000));
        let cut = match source.cut(early) {
            // It may have been recorded after what is pruned.
            Err(LogError::Pruned(gap)) => {
                pruned = Some(gap);
                Seq(reader.oldest().0 - 1)
            }
            cut => cut?,
        };
        let first = cut.next();
        let last = source.cut(minted.plus(MINTED_BEFORE_MICROS))?;
        let last = last.min(Seq(first.0.saturating_add(SCAN_EVENTS_MAX)));
        if let Some(found) = reader.find_event((first, last), id)? {
            return Ok(Some(found));
        }
    }
    let first = Seq(head.0.saturating_sub(SCAN_EVENTS_MAX) + 1).max(reader.oldest());
    let found = reader.find_event((first, head), id)?;
    match (found, pruned) {
        (None, Some(gap)) => Err(LogError::Pruned(gap)),
        (found, _) => Ok(found),
    }
}

/// The event that a decided one follows from: the number in its id says how far before.
pub(super) fn cause(
    source: &dyn Source,
    recorded: &Recorded,
) -> Result<Option<Recorded>, LogError> {
    let number = |id: EventId| u128::from_be_bytes(id.bytes());
    let own = number(recorded.context.event_id);
    let distance = own.wrapping_sub(number(recorded.causation));
    let Some(seq) = u64::try_from(distance)
        .ok()
        .filter(|distance| *distance > 0)
        .and_then(|distance| recorded.seq().0.checked_sub(distance))
    else {
        return Ok(None);
    };
    let cause = event_at(source, Seq(seq))?;
    Ok(cause.filter(|cause| cause.context.event_id == recorded.causation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_kind_are_told_apart() {
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(
            uuid.parse(),
            Ok(Asked::Id(Uuid::parse_str(uuid).expect("an id")))
        );
        for text in ["17", "event/17"] {
            assert_eq!(text.parse(), Ok(Asked::Seq(Seq(17))));
        }
        let digest = "ab".repeat(32);
        let stream: Stream = format!("dataset/{digest}").parse().expect("a stream");
        for text in [&digest, &digest[..32], &stream.to_string()] {
            assert_eq!(text.parse(), Ok(Asked::Stream(stream)), "{text}");
        }
        for text in ["", "x", "-1", "run/7", &"g".repeat(64), &"9".repeat(21)] {
            assert_eq!(text.parse::<Asked>(), Err(BadAsked), "{text}");
        }
    }
}
