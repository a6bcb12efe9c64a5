//! The last moment at which an edit would still have kept an outcome from happening.

use std::collections::BTreeMap;

use hindcast_log::Recorded;
use hindcast_model::{Seq, State};

use crate::WhatIfError;
use crate::drive::{Question, Source};
use crate::edit::Edits;
use crate::minimise::{Outcome, Search};

/// Places at which is looked whether the answer is as simple as it is told.
const PROBES: usize = 8;
/// Drives with other seeds where something is drawn.
const SEEDS: u64 = 5;

/// When it was too late.
#[derive(Debug, Clone, PartialEq)]
pub struct PointOfNoReturn {
    /// Where the outcome is recorded.
    pub outcome: Seq,
    /// The last event before which the edit prevents it; `None` when it does so nowhere.
    pub last: Option<Seq>,
    /// The event before which it no longer does; `None` when it always does.
    pub too_late: Option<Seq>,
    /// Of the drives at `last`, with different seeds where something is drawn, the share that
    /// prevent it, and their number.
    pub share: f64,
    pub seeds: u64,
    /// Places that were looked at and do not fit: the edit prevents it after `last`, or not before.
    pub exceptions: Vec<Seq>,
    pub replays: u64,
}

/// Looks for the last place at which the question's edits prevent `wanted`. The edits are moved
/// there as a whole, so that they may change configuration and clock and add events.
pub fn point_of_no_return(
    source: &dyn Source,
    start: State,
    question: &Question<'_>,
    wanted: &Outcome,
) -> Result<PointOfNoReturn, WhatIfError> {
    let edits = question.edits;
    if edits.is_empty() || !edits.drop.is_empty() || !edits.replace.is_empty() {
        let message = "a point of no return is that of an edit that can be made earlier or later";
        return Err(WhatIfError::bad("edits", message)
            .hint("give config, clock or inject; what is dropped or replaced has its own place"));
    }
    let mut search = Search::new(source, start, question, wanted)?;
    let outcome = search.at;
    let places: Vec<Seq> = search
        .observed()
        .map(Recorded::seq)
        .filter(|seq| *seq <= outcome)
        .collect();
    let mut probe = Probe {
        search: &mut search,
        question,
        seen: BTreeMap::new(),
    };
    let found = bisect(&mut probe, &places)?;
    let last = found.and_then(|index| places.get(index)).copied();
    let after = found.map_or(0, |index| index + 1);
    let mut exceptions = Vec::new();
    for step in 0..PROBES {
        let index = step * places.len() / PROBES;
        if let Some(place) = places.get(index)
            && probe.prevents(*place)? != (index < after)
        {
            exceptions.push(*place);
        }
    }
    let (share, seeds) = last
        .and_then(|last| probe.seen.get(&last))
        .copied()
        .unwrap_or((0.0, 0));
    Ok(PointOfNoReturn {
        outcome,
        last,
        too_late: places.get(after).copied(),
        share,
        seeds,
        exceptions,
        replays: search.replays,
    })
}

/// The index of the last place at which it is prevented, if that is so before it and not after.
fn bisect(probe: &mut Probe<'_, '_>, places: &[Seq]) -> Result<Option<usize>, WhatIfError> {
    let (mut before, mut after) = (0, places.len());
    while before < after {
        let middle = before + (after - before) / 2;
        match probe.prevents(places[middle])? {
            true => before = middle + 1,
            false => after = middle,
        }
    }
    Ok(before.checked_sub(1))
}

struct Probe<'s, 'q> {
    search: &'s mut Search<'q>,
    question: &'s Question<'q>,
    /// The share of drives that prevent it, and their number, by place.
    seen: BTreeMap<Seq, (f64, u64)>,
}

impl Probe<'_, '_> {
    /// Whether most drives with the edits at this place do without the outcome.
    fn prevents(&mut self, place: Seq) -> Result<bool, WhatIfError> {
        if let Some((share, _)) = self.seen.get(&place) {
            return Ok(*share > 0.5);
        }
        let edits = moved(self.question.edits, self.question.at, place);
        let (mut prevented, mut drives) = (0_u32, 0_u32);
        for number in 0..SEEDS {
            let seed = self.question.seed.wrapping_add(number);
            let (occurs, counts) = self.search.occurs(&edits, (place, seed))?;
            prevented += u32::from(!occurs);
            drives += 1;
            if counts.modelled + counts.recomputed == 0 {
                break;
            }
        }
        let share = f64::from(prevented) / f64::from(drives);
        self.seen.insert(place, (share, u64::from(drives)));
        Ok(share > 0.5)
    }
}

/// The same edits, made at another place.
fn moved(edits: &Edits, at: Seq, place: Seq) -> Edits {
    let by = place.0 - at.0;
    Edits {
        inject: edits
            .inject
            .iter()
            .map(|(after, events)| (Seq(after.0 + by), events.clone()))
            .collect(),
        ..edits.clone()
    }
}
