//! Service level objectives: what was measured, and what is left of the budgets.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_model::parts::Parts;
use hindcast_model::slo::{
    Counted, PPM, Slo, SloBound, SloCondition, SloMeasure, SloObjective, SloPer, SloPolicy, Slos,
};
use hindcast_model::{State, UnixMicros, samples};
use serde::Serialize;
use serde_json::{Value, json};

use super::facts::{Sink, entries};
use super::time::rfc3339;
use crate::supervisor::as_f64;

const SECOND_MICROS: u64 = 1_000_000;
const MINUTE_MICROS: u64 = 60 * SECOND_MICROS;
const HOUR_MICROS: u64 = 60 * MINUTE_MICROS;
const DAY_MICROS: u64 = 24 * HOUR_MICROS;

/// Every objective.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SloList {
    /// The last event that is counted, and its time.
    pub sequence: u64,
    pub at: String,
    /// Whether a budget is frozen.
    pub frozen: bool,
    /// Why, one sentence for each that is.
    pub reasons: Vec<String>,
    /// The time of the last figures that were counted; null when there were none.
    pub sampled_at: Option<String>,
    pub items: Vec<SloView>,
}

/// One objective.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SloView {
    pub name: String,
    /// `ratio`: what was counted of some series, of what was counted of others; `bound`: batches of
    /// figures that are within a bound, of those that were looked at.
    pub kind: &'static str,
    /// What is measured, in words.
    pub measure: String,
    /// The share that has to be good.
    pub target: f64,
    /// Such as `30d`.
    pub window: String,
    pub window_seconds: u64,
    /// Counted over the window.
    pub good: u64,
    pub bad: u64,
    pub valid: u64,
    /// The share that was good; null when nothing was counted.
    pub sli: Option<f64>,
    /// Whether the target is met; null when nothing was counted.
    pub met: Option<bool>,
    pub budget: SloBudget,
    /// From the shortest window to the longest.
    pub burn: Vec<SloBurn>,
    /// Pairs of windows over which the budget burns too fast.
    pub burning: Vec<SloBurning>,
    /// The share of the window that was measured.
    pub covered: f64,
    /// Seconds that were measured and counted: up to a bucket more than the window has, as in `burn`.
    pub counted_seconds: f64,
    /// Whether the budget freezes when little of it is left.
    pub freezes: bool,
    pub frozen: bool,
    /// Null while it is not frozen.
    pub freeze: Option<SloFrozen>,
}

/// What may be bad, and how much of that is left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SloBudget {
    /// Of one; below zero when it is overdrawn, null when nothing was counted.
    pub remaining_ratio: Option<f64>,
    /// Events that may be bad of those that were counted, and how many more may.
    pub allowed_events: f64,
    pub remaining_events: Option<f64>,
    /// Minutes of the window that everything may be bad, and how many more may.
    pub allowed_minutes: f64,
    pub remaining_minutes: Option<f64>,
}

/// How fast the budget goes: 1 is the rate at which it lasts for the window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SloBurn {
    /// Such as `5m`.
    pub window: String,
    pub window_seconds: u64,
    /// Null when nothing was counted.
    pub rate: Option<f64>,
    pub good: u64,
    pub valid: u64,
    /// The share of the window that was measured.
    pub covered: f64,
    /// Seconds that were measured and counted: up to a bucket more than the window has, which is a
    /// minute in windows of up to an hour, five minutes up to six hours, and an hour beyond.
    pub counted_seconds: f64,
}

/// A pair of windows over which the budget burns too fast.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SloBurning {
    /// `fast`, `medium` or `slow`.
    pub pair: &'static str,
    pub long: String,
    pub short: String,
    /// The rate from which on it burns too fast.
    pub rate: f64,
    pub since: String,
}

/// A frozen budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SloFrozen {
    pub since: String,
    pub reason: String,
}

/// Every objective of a state.
#[must_use]
pub fn slo_list(state: &State) -> SloList {
    let (slos, reasons) = (state.slos(), slo_freezes(state.slos()));
    SloList {
        sequence: state.seq().0,
        at: rfc3339(state.at()),
        frozen: !reasons.is_empty(),
        reasons,
        sampled_at: slos.sampled_at().map(rfc3339),
        items: all(slos, state.at()),
    }
}

/// Why budgets are frozen, one sentence for each that is.
#[must_use]
pub fn slo_freezes(slos: &Slos) -> Vec<String> {
    let frozen = slos.all().filter_map(|(_, it)| freeze(it, slos.policy()));
    frozen.map(|freeze| freeze.reason).collect()
}

fn all(slos: &Slos, at: UnixMicros) -> Vec<SloView> {
    let all = slos.all();
    all.map(|(_, it)| slo(it, slos.policy(), at)).collect()
}

fn freeze(it: &Slo, policy: SloPolicy) -> Option<SloFrozen> {
    let freeze = it.frozen()?;
    let since = rfc3339(freeze.since);
    let reason = format!(
        "the budget of {} is frozen since {since}: {} of {} were bad, {} % of it was left, less \
         than {} %",
        it.objective().name,
        freeze.valid.saturating_sub(freeze.good),
        freeze.valid,
        tenths(freeze.remaining_permille),
        tenths(i64::from(policy.freeze_below_permille)),
    );
    Some(SloFrozen { since, reason })
}

/// One objective at `at`.
#[must_use]
pub fn slo(it: &Slo, policy: SloPolicy, at: UnixMicros) -> SloView {
    let objective = it.objective();
    let reading = it.reading(at);
    let counted = reading.counted;
    let window_micros = objective.window_micros;
    let sli = (counted.valid > 0).then(|| as_f64(counted.good) / as_f64(counted.valid));
    let freeze = freeze(it, policy);
    SloView {
        name: objective.name.clone(),
        kind: match objective.measure {
            SloMeasure::Ratio { .. } => "ratio",
            SloMeasure::Bound(_) => "bound",
        },
        measure: measured(&objective.measure),
        target: f64::from(objective.target_ppm) / f64::from(PPM),
        window: span(window_micros),
        window_seconds: window_micros / SECOND_MICROS,
        good: counted.good,
        bad: counted.bad(),
        valid: counted.valid,
        sli,
        met: reading.remaining_permille.map(|left| left >= 0),
        budget: budget(objective, counted),
        burn: reading
            .burn
            .iter()
            .map(|burn| SloBurn {
                window: span(burn.window_micros),
                window_seconds: burn.window_micros / SECOND_MICROS,
                rate: burn.rate_milli.map(|rate| as_f64(rate) / 1_000.0),
                good: burn.counted.good,
                valid: burn.counted.valid,
                covered: covered(burn.counted, burn.window_micros),
                counted_seconds: seconds(burn.counted),
            })
            .collect(),
        burning: it
            .burning()
            .map(|(pair, since)| SloBurning {
                pair: pair.word(),
                long: span(pair.windows_micros().0),
                short: span(pair.windows_micros().1),
                rate: as_f64(pair.rate_milli()) / 1_000.0,
                since: rfc3339(since),
            })
            .collect(),
        covered: covered(counted, window_micros),
        counted_seconds: seconds(counted),
        freezes: objective.freezes,
        frozen: freeze.is_some(),
        freeze,
    }
}

fn budget(objective: &SloObjective, counted: Counted) -> SloBudget {
    let share = f64::from(objective.budget_ppm()) / f64::from(PPM);
    let allowed_events = as_f64(counted.valid) * share;
    let allowed_minutes = as_f64(objective.window_micros) / as_f64(MINUTE_MICROS) * share;
    let left = allowed_events - as_f64(counted.bad());
    let known = counted.valid > 0;
    SloBudget {
        remaining_ratio: known.then(|| left / allowed_events),
        allowed_events,
        remaining_events: known.then_some(left),
        allowed_minutes,
        remaining_minutes: known.then(|| left / allowed_events * allowed_minutes),
    }
}

/// The share of a window that was measured.
fn covered(counted: Counted, window_micros: u64) -> f64 {
    as_f64(counted.micros.min(window_micros)) / as_f64(window_micros)
}

/// Seconds that were measured.
fn seconds(counted: Counted) -> f64 {
    as_f64(counted.micros) / as_f64(SECOND_MICROS)
}

/// Per cent with one decimal.
fn tenths(permille: i64) -> String {
    format!(
        "{}{}.{}",
        if permille < 0 { "-" } else { "" },
        permille.unsigned_abs() / 10,
        permille.unsigned_abs() % 10
    )
}

/// Such as `5m`, `24h` or `30d`.
fn span(micros: u64) -> String {
    match micros {
        days if days % DAY_MICROS == 0 && days > DAY_MICROS => format!("{}d", days / DAY_MICROS),
        hours if hours % HOUR_MICROS == 0 => format!("{}h", hours / HOUR_MICROS),
        minutes => format!("{}m", minutes / MINUTE_MICROS),
    }
}

/// What is measured, in words.
fn measured(measure: &SloMeasure) -> String {
    match measure {
        SloMeasure::Ratio { good, valid } => {
            let (good, of) = (series(good), series(valid));
            format!("{good} of {of}")
        }
        SloMeasure::Bound(SloBound {
            value,
            per,
            at_most,
            bound_millionths,
            when,
        }) => {
            let per = match per {
                SloPer::One => String::new(),
                SloPer::Second => " a second".to_owned(),
                SloPer::Series(numbers) => format!(" by {}", series(numbers)),
            };
            let side = if *at_most { "at most" } else { "at least" };
            let bound = as_f64(*bound_millionths) / 1e6;
            let when = when.as_ref().map_or_else(String::new, |when| {
                let SloCondition {
                    series: numbers,
                    at_least_millionths,
                } = when;
                let least = as_f64(*at_least_millionths) / 1e6;
                format!(" where {} is at least {least}", series(numbers))
            });
            format!("{}{per} {side} {bound}{when}", series(value))
        }
    }
}

/// A few names; of many, their families and how many there are.
fn series(numbers: &[u16]) -> String {
    const NAMED_MAX: usize = 4;
    let names: Vec<String> = numbers.iter().map(|it| samples::series(*it).0).collect();
    if names.len() <= NAMED_MAX {
        return names.join(" + ");
    }
    let family = |name: &String| name.split('{').next().unwrap_or(name).to_owned();
    let families: BTreeSet<String> = names.iter().map(family).collect();
    let families: Vec<String> = families.into_iter().collect();
    format!("{} ({} series)", families.join(" + "), names.len())
}

/// What a state holds of objectives, as facts.
pub(super) fn facts(sink: &mut dyn Sink, b: Option<&Parts<'_>>, (it, at): (&Slos, UnixMicros)) {
    let policy = |it: &Slos| {
        let SloPolicy {
            freeze_below_permille,
            thaw_at_permille,
            bad_minimum,
        } = it.policy();
        json!({
            "freeze_below_permille": freeze_below_permille,
            "thaw_at_permille": thaw_at_permille,
            "bad_minimum": bad_minimum,
        })
    };
    sink.one("slo_policy", b.map(|b| policy(b.slos)), policy(it));
    let sampled = |it: &Slos| json!(it.sampled_at().map(rfc3339));
    sink.one("slo_sampled_at", b.map(|b| sampled(b.slos)), sampled(it));
    let facts = |it: &Slos, at: UnixMicros| -> BTreeMap<String, Value> {
        let views = all(it, at).into_iter();
        views
            .map(|view| {
                let value = serde_json::to_value(&view).unwrap_or_default();
                (view.name, value)
            })
            .collect()
    };
    let (was, is) = (b.map(|b| facts(b.slos, b.at)), facts(it, at));
    let pairs = (was.as_ref(), &is);
    entries(sink, "slo", pairs, Clone::clone, Clone::clone);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_shares_are_written_as_people_do() {
        let hours = [1, 24, 72, 720].map(|hours| span(hours * HOUR_MICROS));
        assert_eq!(hours, ["1h", "24h", "3d", "30d"]);
        assert_eq!(span(5 * MINUTE_MICROS), "5m");
        assert_eq!([99, -1_005, 0].map(tenths), ["9.9", "-100.5", "0.0"]);
    }

    #[test]
    fn what_is_measured_is_said() {
        let ratio = SloMeasure::Ratio {
            good: vec![1],
            valid: (1..=9).collect(),
        };
        let text = "http_requests_total{class=\"2xx\"} of http_errors_total + http_requests_total \
                    (9 series)";
        assert_eq!(measured(&ratio), text);
        let bound = SloMeasure::Bound(SloBound {
            value: vec![20],
            per: SloPer::Series(vec![23]),
            at_most: true,
            bound_millionths: 700_000,
            when: Some(SloCondition {
                series: vec![10],
                at_least_millionths: 2_000_000,
            }),
        });
        assert_eq!(
            measured(&bound),
            "process_cpu_seconds_total by node_cpu_seconds_total at most 0.7 where active_requests \
             is at least 2"
        );
    }
}
