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
/// Places just before the outcome that are all looked at: an edit may help there and not earlier.
const NEAREST: usize = 32;
/// Drives with other seeds where something is drawn.
const SEEDS: u64 = 5;

/// When it was too late.
#[derive(Debug, Clone, PartialEq)]
pub struct PointOfNoReturn {
    /// Where the outcome is recorded.
    pub outcome: Seq,
    /// The last event before which the edit prevents it; `None` when it does so at none of the places
    /// that were looked at.
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
    let found = last_prevented(&mut probe, &places)?;
    let last = found.and_then(|index| places.get(index)).copied();
    let after = found.map_or(0, |index| index + 1);
    for index in spread(places.len()) {
        probe.prevents(places[index])?;
    }
    let fits = |place: &Seq, share: f64| (share > 0.5) == last.is_some_and(|last| *place <= last);
    let seen = probe.seen.iter();
    let exceptions = seen
        .filter(|(place, (share, _))| !fits(place, *share))
        .map(|(place, _)| *place)
        .collect();
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

/// Indices spread over all places, the first among them, in order.
fn spread(places: usize) -> impl Iterator<Item = usize> {
    let steps = PROBES.min(places);
    (0..steps).map(move |step| step * places / steps)
}

/// The index of the last place at which it is prevented. That it is so before and not after is not
/// taken for granted: looked at are the places nearest to the outcome, then ever further ones and
/// those that are spread over all, up to the first that prevents it; between it and the next that was
/// looked at the place is found by halves.
fn last_prevented(probe: &mut Probe<'_, '_>, places: &[Seq]) -> Result<Option<usize>, WhatIfError> {
    let end = places.len();
    let far = std::iter::successors(Some(2 * NEAREST), |distance| distance.checked_mul(2));
    let back = (1..=NEAREST)
        .chain(far)
        .take_while(|distance| *distance <= end);
    let mut looked: Vec<usize> = back
        .map(|distance| end - distance)
        .chain(spread(end))
        .collect();
    looked.sort_unstable();
    looked.dedup();
    let mut after = end;
    for index in looked.into_iter().rev() {
        if !probe.prevents(places[index])? {
            after = index;
            continue;
        }
        let mut before = index + 1;
        while before < after {
            let middle = before + (after - before) / 2;
            match probe.prevents(places[middle])? {
                true => before = middle + 1,
                false => after = middle,
            }
        }
        return Ok(Some(before - 1));
    }
    Ok(None)
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
