//! A question as it is written, and whether it fits the log.

use std::collections::BTreeMap;

use hindcast_model::breaker::BreakerPlan;
use hindcast_model::event::Settings;
use hindcast_model::{Event, EventId, KeyId, Payload, Seq, Stream};
use hindcast_whatif::{BadEdit, Edits, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    DIFFERENCES_DEFAULT, DIFFERENCES_MAX, EDITS_MAX, Prepared, SEED_DEFAULT, WhatIfFailure, event,
};
use crate::history::Source;
use crate::operation::{SEED_MAX, canonical, digest};

/// What would have been, had the log been otherwise from a sequence on?
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WhatIfRequest {
    /// The observed event before which the history is forked.
    #[cfg_attr(
        feature = "schema",
        schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)
    )]
    pub at: u64,
    /// What is otherwise from there on.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_items = 1000))]
    pub edits: Vec<Edit>,
    /// The last event to replay; the end of the log if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub to: Option<u64>,
    /// How many differences of each kind are listed; 100 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schema(nullable = false, minimum = 0, maximum = 1000)
    )]
    pub limit: Option<u32>,
    /// Look for the smallest set of events that still brings this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub minimise: Option<OutcomeSpec>,
    /// Look for the last place at which the edits would still prevent this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub point_of_no_return: Option<OutcomeSpec>,
}

/// One edit: exactly one of `drop`, `replace` with `event`, `inject`, `config`, `seed`, `clock`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// This observed event does not happen, nor what it caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub drop: Option<u64>,
    /// In place of this observed event, `event` happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub replace: Option<u64>,
    /// `type` and `data`, as `hindcast events show --json` prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Object))]
    pub event: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub inject: Option<Injection>,
    /// Keys of the configuration that decisions read, such as `runs.in_flight_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Object))]
    pub config: Option<BTreeMap<String, Value>>,
    /// Of everything that is drawn; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schema(nullable = false, maximum = 9_007_199_254_740_991_i64)
    )]
    pub seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub clock: Option<ClockEdit>,
}

/// An event that happens as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// It happens after this event and what was decided about it.
    pub after: u64,
    /// `type` and `data`.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub event: Value,
}

/// Everything happens later, or earlier: exactly one of both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ClockEdit {
    /// Such as `5m` or `-90s`: a whole number of ms, s, m, h or d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub shift: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub shift_ms: Option<i64>,
}

/// An event to look for: its sequence, its id, or the first of a type in a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum OutcomeSpec {
    Seq(u64),
    Id(String),
    First {
        #[serde(rename = "type")]
        kind: String,
        stream: String,
    },
}

impl std::str::FromStr for OutcomeSpec {
    type Err = std::convert::Infallible;

    /// A sequence, an id, or `TYPE@STREAM`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match (text.parse(), text.split_once('@')) {
            (Ok(seq), _) => Self::Seq(seq),
            (Err(_), Some((kind, stream))) => Self::First {
                kind: kind.to_owned(),
                stream: stream.to_owned(),
            },
            (Err(_), None) => Self::Id(text.to_owned()),
        })
    }
}

/// The most that the clock may be shifted: ten years.
const SHIFT_MS_MAX: i64 = 10 * 366 * 86_400_000;

/// Milliseconds of a span such as `5m`; `None` when it is none.
pub fn span_ms(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(unit)
}

impl WhatIfRequest {
    /// The question, checked against the log.
    pub fn prepare(&self, source: &dyn Source) -> Result<Prepared, WhatIfFailure> {
        let head = source.head();
        let (at, to) = (Seq(self.at), self.to.map_or(head, Seq));
        let within = |field: &str, seq: Seq, (first, last): (Seq, Seq)| {
            if (first..=last).contains(&seq) {
                return Ok(());
            }
            let message = format!("{seq} is not between {first} and {last}");
            Err(WhatIfFailure::bad(field, message).limit(last.0))
        };
        within("at", at, (Seq(1), head))?;
        within("to", to, (at, head))?;
        let to = decided(source, to)?;
        let (limit, most) = (self.limit.unwrap_or(DIFFERENCES_DEFAULT), DIFFERENCES_MAX);
        if limit > most {
            let message = format!("{limit} is over the limit of {most}");
            return Err(WhatIfFailure::bad("limit", message).limit(most.into()));
        }
        observed(source, "at", at)?;
        let mut prepared = Prepared {
            at,
            to,
            edits: Edits::default(),
            seed: SEED_DEFAULT,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            minimise: None,
            point: None,
            hash: digest(
                canonical(self)
                    .map_err(|e| WhatIfFailure::lab("", &e))?
                    .as_bytes(),
            ),
        };
        if self.edits.len() > EDITS_MAX {
            let message = format!("{} is over the limit of {EDITS_MAX}", self.edits.len());
            return Err(WhatIfFailure::bad("edits", message).limit(EDITS_MAX as u64));
        }
        for (index, edit) in self.edits.iter().enumerate() {
            let path = format!("edits[{index}]");
            edit.add(source, &path, &mut prepared)?;
        }
        let find = |field: &str, spec: &Option<OutcomeSpec>| {
            let found = spec.as_ref().map(|spec| spec.find(source, field, (at, to)));
            found.transpose()
        };
        prepared.minimise = find("minimise", &self.minimise)?;
        prepared.point = find("point_of_no_return", &self.point_of_no_return)?;
        Ok(prepared)
    }
}

/// The event at `to`, or the last that was decided in one with it.
fn decided(source: &dyn Source, to: Seq) -> Result<Seq, WhatIfFailure> {
    let mut last = to;
    loop {
        let after = source.read(last.next(), 256)?;
        let decided = after.iter().take_while(|event| !event.observed).count();
        last = Seq(last.0 + decided as u64);
        if decided == 0 || decided < after.len() {
            return Ok(last);
        }
    }
}

/// The event at this place, which may be edited.
fn observed(source: &dyn Source, field: &str, seq: Seq) -> Result<Event, WhatIfFailure> {
    let found = source.read(seq, 1)?.into_iter().next();
    let found =
        found.ok_or_else(|| WhatIfFailure::bad(field, format!("there is no event {seq}")))?;
    if !found.observed {
        let message = format!("event {seq} is decided: it follows from an observed event");
        let hint = format!("give the observed event before it: {}", cause(source, seq)?);
        return Err(WhatIfFailure::bad(field, message).hint(hint));
    }
    found.event().cloned().ok_or_else(|| {
        WhatIfFailure::bad(
            field,
            format!("event {seq} is of a type that this version does not know"),
        )
    })
}

/// The observed event that a decided one follows.
fn cause(source: &dyn Source, seq: Seq) -> Result<Seq, WhatIfFailure> {
    let from = Seq(seq.0.saturating_sub(256).max(1));
    let before = source.read(from, 256)?;
    let found = before
        .iter()
        .rfind(|event| event.observed && event.seq() < seq);
    Ok(found.map_or(from, hindcast_log::Recorded::seq))
}

impl Edit {
    fn add(&self, source: &dyn Source, path: &str, to: &mut Prepared) -> Result<(), WhatIfFailure> {
        let given = [
            self.drop.is_some(),
            self.replace.is_some(),
            self.inject.is_some(),
            self.config.is_some(),
            self.seed.is_some(),
            self.clock.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let message = "an edit is one of drop, replace, inject, config, seed and clock";
            return Err(WhatIfFailure::bad(path, message));
        }
        if self.event.is_some() != self.replace.is_some() {
            let message = "`replace` names a sequence, and `event` what happens in its place";
            return Err(WhatIfFailure::bad(format!("{path}.event"), message));
        }
        if let Some(seq) = self.drop {
            let field = format!("{path}.drop");
            editable(source, &field, Seq(seq), to)?;
            to.edits.drop.insert(Seq(seq));
        }
        if let (Some(seq), Some(value)) = (self.replace, &self.event) {
            editable(source, &format!("{path}.replace"), Seq(seq), to)?;
            let fetch = |payload: &Payload| source.text(KeyId(0), payload);
            let event = event::parse(&format!("{path}.event"), value, (seq, 0), &fetch)?;
            to.edits.replace.insert(Seq(seq), event);
        }
        if let Some(injection) = &self.inject {
            inject(source, injection, path, to)?;
        }
        if let Some(keys) = &self.config {
            configure(keys, &format!("{path}.config"), (source, to))?;
        }
        if let Some(seed) = self.seed {
            if seed > SEED_MAX {
                let message = format!("{seed} is over the limit of {SEED_MAX}");
                return Err(WhatIfFailure::bad(format!("{path}.seed"), message).limit(SEED_MAX));
            }
            to.seed = seed;
        }
        if let Some(clock) = &self.clock {
            to.edits.shift_micros = clock.micros(&format!("{path}.clock"))?;
        }
        Ok(())
    }
}

fn inject(
    source: &dyn Source,
    injection: &Injection,
    path: &str,
    to: &mut Prepared,
) -> Result<(), WhatIfFailure> {
    let (after, first) = (injection.after, to.at.0 - 1);
    if after < first || after > to.to.0 {
        let message = format!("{after} is not between {first} and {}", to.to);
        let field = format!("{path}.inject.after");
        return Err(WhatIfFailure::bad(field, message).limit(to.to.0));
    }
    let events = to.edits.inject.entry(Seq(after)).or_default();
    let field = format!("{path}.inject.event");
    let place = (after, events.len() as u64 + 1);
    let fetch = |payload: &Payload| source.text(KeyId(0), payload);
    let mut added = injection.event.clone();
    event::renew(&mut added, place, &|stream| {
        Ok(!source.stream(stream)?.is_empty())
    })?;
    events.push(event::parse(&field, &added, place, &fetch)?);
    Ok(())
}

/// Refuses what cannot be dropped or replaced, and what is outside of the question.
fn editable(
    source: &dyn Source,
    field: &str,
    seq: Seq,
    to: &Prepared,
) -> Result<(), WhatIfFailure> {
    if seq < to.at || seq > to.to {
        let message = format!("{seq} is not between {} and {}", to.at, to.to);
        return Err(WhatIfFailure::bad(field, message).limit(to.to.0));
    }
    let event = observed(source, field, seq)?;
    Edits::may(&event).map_err(|error| refused(field, &error))
}

pub(super) fn refused(field: &str, error: &BadEdit) -> WhatIfFailure {
    let hint = match error {
        BadEdit::Decided { .. } => "give the observed event that it follows from",
        BadEdit::Timer => "change the request that set the deadline, or the clock",
        BadEdit::Setting { .. } => "hindcast config show lists every key",
    };
    WhatIfFailure::bad(field, error.to_string()).hint(hint)
}

fn configure(
    keys: &BTreeMap<String, Value>,
    path: &str,
    (source, to): (&dyn Source, &mut Prepared),
) -> Result<(), WhatIfFailure> {
    if keys.is_empty() {
        return Err(WhatIfFailure::bad(path, "there is no key"));
    }
    let plan = match keys.keys().any(|key| BreakerPlan::is_about(key)) {
        true => breakers_at(source, to.at)?,
        false => BreakerPlan::default(),
    };
    for (key, value) in keys {
        let field = format!("{path}[\"{key}\"]");
        let Some(value) = value.as_u64() else {
            // A key that nobody reads is told first: its value does not matter.
            let known =
                Settings::KEYS.iter().any(|known| known.name == key) || BreakerPlan::is_about(key);
            let message = match known {
                true if value.is_i64() => format!("{value} must not be negative"),
                true => "expected a whole number that is not negative".to_owned(),
                false => hindcast_model::settings::BadSetting::NotRead.to_string(),
            };
            return Err(WhatIfFailure::bad(field, message));
        };
        to.edits.settings.insert(key.clone(), value);
        let checked = to.edits.over(Settings::default());
        checked.map_err(|error| refused(&field, &error))?;
        let checked = to.edits.over_breakers(plan.clone());
        checked.map_err(|error| refused(&field, &error))?;
    }
    Ok(())
}

/// The breakers that a fork at this place has: those of the last configuration before it, or of the
/// first one after it.
fn breakers_at(source: &dyn Source, at: Seq) -> Result<BreakerPlan, WhatIfFailure> {
    let events = source.stream(Stream::system("configuration"))?;
    let mut found = BreakerPlan::default();
    for recorded in &events {
        if let Some(Event::ConfigurationLoaded(loaded)) = recorded.event()
            && let Some(plan) = &loaded.breakers
        {
            found = plan.clone();
            if recorded.seq() >= at {
                break;
            }
        }
    }
    Ok(found)
}

impl ClockEdit {
    fn micros(&self, path: &str) -> Result<i64, WhatIfFailure> {
        let (ms, field) = match (&self.shift, self.shift_ms) {
            (Some(text), None) => {
                let field = format!("{path}.shift");
                let ms = span_ms(text).ok_or_else(|| {
                    WhatIfFailure::bad(&field, format!("`{text}` is no span"))
                        .hint("a whole number of ms, s, m, h or d, such as 5m or -90s")
                })?;
                (ms, field)
            }
            (None, Some(ms)) => (ms, format!("{path}.shift_ms")),
            (Some(_), Some(_)) | (None, None) => {
                let message = "give either `shift` or `shift_ms`";
                return Err(WhatIfFailure::bad(path, message));
            }
        };
        if ms.unsigned_abs() > SHIFT_MS_MAX.unsigned_abs() {
            let message = format!("{ms} ms is over the limit of {SHIFT_MS_MAX}");
            return Err(WhatIfFailure::bad(field, message).limit(SHIFT_MS_MAX.unsigned_abs()));
        }
        Ok(ms * 1_000)
    }
}

impl OutcomeSpec {
    fn find(
        &self,
        source: &dyn Source,
        field: &str,
        (at, to): (Seq, Seq),
    ) -> Result<Outcome, WhatIfFailure> {
        let recorded = match self {
            Self::First { kind, stream } => {
                if !Event::KINDS.iter().any(|known| known.name == kind) {
                    let message = format!("`{kind}` is no type of event");
                    return Err(WhatIfFailure::bad(format!("{field}.type"), message));
                }
                let bad = |e: hindcast_model::stream::BadStream| {
                    WhatIfFailure::bad(format!("{field}.stream"), e.to_string())
                };
                return Ok(Outcome {
                    kind: kind.clone(),
                    stream: stream.parse::<Stream>().map_err(bad)?,
                    event_id: None,
                });
            }
            Self::Seq(seq) => source.read(Seq(*seq), 1)?.into_iter().next(),
            // Over REST the spelling of the command line is a text like any other.
            Self::Id(text) if text.contains('@') => {
                let Ok(spelt) = text.parse::<Self>();
                return spelt.find(source, field, (at, to));
            }
            Self::Id(text) => {
                let id: EventId = text.parse().map_err(|_| {
                    let message = format!("`{text}` is no sequence and no event's id");
                    WhatIfFailure::bad(field, message)
                })?;
                source.reader().find_event((at, to), id)?
            }
        };
        let recorded = recorded.filter(|recorded| (at..=to).contains(&recorded.seq()));
        recorded.as_ref().and_then(Outcome::of).ok_or_else(|| {
            let message = format!("there is no such event from {at} to {to}");
            WhatIfFailure::bad(field, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span_ms("5m"), Some(300_000));
        assert_eq!(span_ms("-90s"), Some(-90_000));
        assert_eq!(span_ms("250ms"), Some(250));
        for text in ["5", "m", "5 m", "1.5h", "5w", "", "9223372036854775807d"] {
            assert_eq!(span_ms(text), None, "{text}");
        }
    }

    #[test]
    fn outcomes_are_named_in_three_ways() {
        let read = |text: &str| text.parse::<OutcomeSpec>();
        assert_eq!(read("17"), Ok(OutcomeSpec::Seq(17)));
        assert_eq!(read("abc"), Ok(OutcomeSpec::Id("abc".to_owned())));
        let first = OutcomeSpec::First {
            kind: "run_refused".to_owned(),
            stream: "run/x".to_owned(),
        };
        assert_eq!(read("run_refused@run/x"), Ok(first));
        let seq: OutcomeSpec = serde_json::from_str("17").expect("a sequence");
        assert_eq!(seq, OutcomeSpec::Seq(17));
    }
}
