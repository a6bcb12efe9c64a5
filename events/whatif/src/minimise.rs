//! The smallest set of events that still brings an outcome: delta debugging (Zeller and
//! Hildebrandt, 2002) over what happened from the fork on.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use hindcast_log::{LogError, Recorded};
use hindcast_model::{Digest, Event, EventId, Seq, State, Stream, StreamKind};

use crate::WhatIfError;
use crate::drive::{Drive, Question, Source, look_around};
use crate::edit::Edits;
use crate::samples::Samples;
use crate::slot::slots;
use crate::timeline::{Counts, Emission};

/// Recorded events held in memory for many drives over the same window.
pub(crate) const WINDOW_EVENTS_MAX: u64 = 200_000;
/// Events of the found set that are tried on their own.
const ALONE_MAX: usize = 64;

/// What is looked for: an event of this type in this stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The name of the type, such as `run_refused`.
    pub kind: String,
    pub stream: Stream,
    /// Which one; any if left out.
    pub event_id: Option<EventId>,
}

impl Outcome {
    /// The recorded event as an outcome. What is about a run or an experiment is the same
    /// whatever led to it.
    #[must_use]
    pub fn of(recorded: &Recorded) -> Option<Self> {
        let system = recorded.stream.kind == StreamKind::System;
        Some(Self {
            kind: recorded.event()?.kind().name.to_owned(),
            stream: recorded.stream,
            event_id: system.then_some(recorded.context.event_id),
        })
    }

    fn is(&self, kind: &str, stream: Stream, id: EventId) -> bool {
        self.kind == kind
            && self.stream == stream
            && self.event_id.is_none_or(|wanted| wanted == id)
    }

    pub(crate) fn in_record(&self, recorded: &Recorded) -> bool {
        let kind = recorded.event().map(|event| event.kind().name);
        kind.is_some_and(|kind| self.is(kind, recorded.stream, recorded.context.event_id))
    }

    pub(crate) fn in_fork(&self, emission: &Emission<'_>) -> bool {
        let kind = emission.event.kind().name;
        self.is(kind, emission.stream, emission.context.event_id)
    }
}

/// A set of events none of which can be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimal {
    /// Where the outcome is recorded.
    pub outcome: Seq,
    /// Without the other observed events from the fork to the outcome, it still occurs; without
    /// any one of these as well, it does not.
    pub events: Vec<Seq>,
    /// Those of them without which alone it does not occur, all else being as recorded.
    pub but_for: Vec<Seq>,
    /// Observed events that were candidates.
    pub candidates: u64,
    pub replays: u64,
    /// Whether the search came to its end; otherwise the set may be too large.
    pub complete: bool,
}

/// The recorded window in memory.
pub(crate) struct Window {
    frames: Vec<Vec<Recorded>>,
}

impl Source for Window {
    fn frames(
        &self,
        (from, to): (Seq, Seq),
        visit: &mut dyn FnMut(Vec<Recorded>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        for frame in &self.frames {
            let within = |recorded: &&Recorded| (from..=to).contains(&recorded.seq());
            let frame: Vec<Recorded> = frame.iter().filter(within).cloned().collect();
            if !frame.is_empty() && visit(frame).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A recorded outcome, and everything from the fork up to it.
pub(crate) struct Search<'q> {
    window: Window,
    start: State,
    samples: Samples,
    question: Question<'q>,
    wanted: &'q Outcome,
    pub(crate) at: Seq,
    pub(crate) replays: u64,
}

impl<'q> Search<'q> {
    pub(crate) fn new(
        source: &dyn Source,
        start: State,
        question: &Question<'q>,
        wanted: &'q Outcome,
    ) -> Result<Self, WhatIfError> {
        let (window, at) = read(source, question, wanted)?;
        Ok(Self {
            window,
            start,
            samples: look_around(source, question)?,
            question: Question {
                to: at,
                ..*question
            },
            wanted,
            at,
            replays: 0,
        })
    }

    /// The observed events up to the outcome that can be edited.
    pub(crate) fn observed(&self) -> impl Iterator<Item = &Recorded> {
        let frames = self.window.frames.iter();
        let slots = frames.flat_map(|frame| slots(frame).map(|slot| slot.observed));
        let may = |recorded: &&Recorded| recorded.event().is_some_and(|e| Edits::may(e).is_ok());
        slots.filter(may)
    }

    /// Whether the outcome occurs with these edits, by where it is recorded.
    pub(crate) fn occurs(
        &mut self,
        edits: &Edits,
        (from, seed): (Seq, u64),
    ) -> Result<(bool, Counts), WhatIfError> {
        self.replays += 1;
        let question = Question {
            edits,
            from,
            seed,
            limit: 0,
            ..self.question
        };
        let mut drive = Drive::new(self.start.clone(), self.samples.clone(), &question);
        let mut found = false;
        let wanted = self.wanted;
        drive.run(&self.window, &question, &mut |emission| {
            found |= wanted.in_fork(emission);
            match found {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok((found, drive.counts()))
    }

    fn occurs_with(&mut self, all: &[Seq], kept: &BTreeSet<Seq>) -> Result<bool, WhatIfError> {
        let drop = all.iter().filter(|seq| !kept.contains(seq)).copied();
        let edits = Edits {
            drop: drop.collect(),
            ..Edits::default()
        };
        let told = (self.question.at, self.question.seed);
        self.occurs(&edits, told).map(|(occurs, _)| occurs)
    }
}

/// Reads the window up to the frame of the outcome's first occurrence.
fn read(
    source: &dyn Source,
    question: &Question<'_>,
    wanted: &Outcome,
) -> Result<(Window, Seq), WhatIfError> {
    let (mut frames, mut events, mut at) = (Vec::new(), 0, None);
    source.frames((question.at, question.to), &mut |frame| {
        events += frame.len() as u64;
        let found = frame.iter().find(|recorded| wanted.in_record(recorded));
        at = found.map(Recorded::seq);
        frames.push(frame);
        match at.is_some() || events > WINDOW_EVENTS_MAX {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    if let Some(at) = at {
        return Ok((Window { frames }, at));
    }
    let (kind, stream) = (&wanted.kind, wanted.stream);
    if events > WINDOW_EVENTS_MAX {
        let message = format!(
            "{kind} of {stream} is not within {WINDOW_EVENTS_MAX} events of sequence {}",
            question.at
        );
        return Err(WhatIfError::bad("at", message).hint("fork nearer to the outcome"));
    }
    let message = format!(
        "no {kind} of {stream} is recorded from sequence {} on",
        question.at
    );
    Err(WhatIfError::bad("outcome", message))
}

/// Looks for the smallest set of events that brings `wanted`, with `replays_max` drives at most.
pub fn minimise(
    source: &dyn Source,
    start: State,
    question: &Question<'_>,
    wanted: &Outcome,
    replays_max: u64,
) -> Result<Minimal, WhatIfError> {
    let mut search = Search::new(source, start, question, wanted)?;
    let outcome = search.at;
    let all: Vec<Seq> = search
        .observed()
        .map(Recorded::seq)
        .filter(|seq| *seq <= outcome)
        .collect();
    let near = cone(&search, outcome);
    let mut complete = true;
    let mut kept: Vec<Seq> = match search.occurs_with(&all, &near)? {
        true => near.into_iter().collect(),
        false => all.clone(),
    };
    let mut parts = 2;
    while !kept.is_empty() {
        if search.replays >= replays_max {
            complete = false;
            break;
        }
        match smaller(&mut search, &all, &kept, parts)? {
            Some((fewer, finer)) => {
                kept = fewer;
                parts = finer.max(2);
            }
            None if parts >= kept.len() => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    let mut but_for = Vec::new();
    for seq in kept.iter().take(ALONE_MAX) {
        let without: BTreeSet<Seq> = all.iter().filter(|other| *other != seq).copied().collect();
        if !search.occurs_with(&all, &without)? {
            but_for.push(*seq);
        }
    }
    Ok(Minimal {
        outcome,
        events: kept,
        but_for,
        candidates: all.len() as u64,
        replays: search.replays,
        complete,
    })
}

/// One of the parts, or all but one of them, if the outcome still occurs with it.
fn smaller(
    search: &mut Search<'_>,
    all: &[Seq],
    kept: &[Seq],
    parts: usize,
) -> Result<Option<(Vec<Seq>, usize)>, WhatIfError> {
    let size = kept.len().div_ceil(parts).max(1);
    let chunks: Vec<&[Seq]> = kept.chunks(size).collect();
    if chunks.len() > 1 {
        for chunk in &chunks {
            let set: BTreeSet<Seq> = chunk.iter().copied().collect();
            if search.occurs_with(all, &set)? {
                return Ok(Some((chunk.to_vec(), 2)));
            }
        }
    }
    for left_out in (0..chunks.len()).filter(|_| chunks.len() != 2) {
        let rest = chunks.iter().enumerate();
        let rest = rest.filter(|(index, _)| *index != left_out);
        let set: BTreeSet<Seq> = rest.flat_map(|(_, chunk)| chunk.iter().copied()).collect();
        if search.occurs_with(all, &set)? {
            return Ok(Some((set.into_iter().collect(), chunks.len() - 1)));
        }
    }
    Ok(None)
}

/// What is likely to matter: what shares the outcome's stream or request, the data and experiment
/// that these name, and whatever set the server up.
fn cone(search: &Search<'_>, outcome: Seq) -> BTreeSet<Seq> {
    let mut streams = BTreeSet::from([search.wanted.stream]);
    let mut correlations = BTreeSet::new();
    let mut data: BTreeSet<Digest> = BTreeSet::new();
    for recorded in search.window.frames.iter().flatten() {
        if recorded.seq() == outcome {
            correlations.insert(recorded.context.correlation);
        }
        if let Some(Event::RunRequested(request)) = recorded.event()
            && streams.contains(&Stream::run(request.run))
        {
            data.extend(request.datasets.iter().copied());
            streams.extend(request.experiment.map(Stream::experiment));
        }
    }
    let sets_up = |event: &Event| {
        matches!(
            event,
            Event::ConfigurationLoaded(_) | Event::ServerStarted(_) | Event::DiskSampled(_)
        ) || matches!(event, Event::DatasetUploaded(e) if data.contains(&e.digest))
    };
    let near = search.observed().filter(|recorded| {
        streams.contains(&recorded.stream)
            || correlations.contains(&recorded.context.correlation)
            || recorded.event().is_some_and(sets_up)
    });
    near.map(Recorded::seq)
        .filter(|seq| *seq <= outcome)
        .collect()
}
