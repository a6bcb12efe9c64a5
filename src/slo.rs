//! The service level objectives that a configuration gives: the built-in ones of
//! `config/objectives.toml` with what the configuration changes of them, and further ones.

mod number;
mod selector;

use std::collections::BTreeMap;

use hindcast_log::Log;
use hindcast_model::Event;
use hindcast_model::event::ObjectivesConfigured;
use hindcast_model::limits::{SLO_NAME_CHARS_MAX, SLO_OBJECTIVES_MAX};
use hindcast_model::samples::{Reading, millionths, reading};
use hindcast_model::slo::{
    PPM, SloBound, SloCondition, SloMeasure, SloObjective, SloPer, SloPlan, SloPolicy,
};
use serde::Deserialize;

use crate::config::{Config, ObjectiveConfig, SloConfig};

const BUILT_IN: &str = include_str!("../config/objectives.toml");

/// Hours of an objective's window.
const WINDOW_HOURS_MAX: u64 = 720;
const HOUR_MICROS: u64 = 3_600_000_000;

/// What is wrong with the objectives: the key below `[slo]`, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadObjective {
    pub(crate) key: String,
    pub(crate) message: String,
}

/// What is wrong with a field of an objective.
type Wrong = (&'static str, String);

#[derive(Deserialize)]
struct File {
    slo: Section,
}

#[derive(Deserialize)]
struct Section {
    objectives: Vec<ObjectiveConfig>,
}

/// The objectives as decisions know them, in the order of their names.
pub(crate) fn plan(config: &SloConfig) -> Result<SloPlan, BadObjective> {
    if !config.enabled {
        return Ok(SloPlan::default());
    }
    let mut objectives = Vec::new();
    for (key, objective) in merged(&config.objectives)? {
        if objective.enabled == Some(false) {
            continue;
        }
        objectives.push(
            resolved(&objective).map_err(|(field, message)| BadObjective {
                key: format!("{key}.{field}"),
                message,
            })?,
        );
    }
    if objectives.len() > SLO_OBJECTIVES_MAX {
        let count = objectives.len();
        return Err(BadObjective {
            key: "objectives".to_owned(),
            message: format!("{count} objectives are over the limit of {SLO_OBJECTIVES_MAX}"),
        });
    }
    let permille = |percent: u64| u32::try_from(percent * 10).unwrap_or(u32::MAX);
    let policy = SloPolicy {
        freeze_below_permille: permille(config.freeze_below_percent),
        thaw_at_permille: permille(config.thaw_at_percent),
        bad_minimum: config.bad_minimum,
    };
    let policy = match objectives.is_empty() {
        true => SloPolicy::default(),
        false => policy,
    };
    Ok(SloPlan { policy, objectives })
}

/// The event that other objectives hold from here on; none when they are those that hold.
pub(crate) fn event(log: &Log, config: &Config) -> Result<Option<Event>, String> {
    let plan =
        plan(&config.slo).map_err(|wrong| format!("slo.{}: {}", wrong.key, wrong.message))?;
    let same = log.state(|state| state.slos().plan() == plan);
    Ok((!same).then_some(Event::ObjectivesConfigured(ObjectivesConfigured { plan })))
}

/// Every objective by its name, with the key that it is told under.
fn merged(
    given: &[ObjectiveConfig],
) -> Result<impl Iterator<Item = (String, ObjectiveConfig)>, BadObjective> {
    let file: File = toml::from_str(BUILT_IN).map_err(|error| BadObjective {
        key: "objectives".to_owned(),
        message: format!("the built-in ones: {error}"),
    })?;
    let built_in = file.slo.objectives.into_iter();
    let mut all: BTreeMap<String, (String, ObjectiveConfig)> = built_in
        .map(|it| (it.name.clone(), ("objectives".to_owned(), it)))
        .collect();
    let mut seen = Vec::new();
    for (index, own) in given.iter().enumerate() {
        let key = format!("objectives[{index}]");
        let refused = |message: String| BadObjective {
            key: format!("{key}.name"),
            message,
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let name = own.name.as_str();
        if name.is_empty() || name.len() > SLO_NAME_CHARS_MAX || !name.chars().all(plain) {
            let message =
                format!("is 1 to {SLO_NAME_CHARS_MAX} lower-case letters, digits, `-` or `_`");
            return Err(refused(message));
        }
        if seen.contains(&name) {
            return Err(refused(format!("`{name}` is given more than once")));
        }
        seen.push(name);
        let known = all.remove(name).map(|(_, known)| known);
        let merged = own.over(known.unwrap_or_default());
        all.insert(name.to_owned(), (key, merged));
    }
    Ok(all.into_values())
}

fn resolved(it: &ObjectiveConfig) -> Result<SloObjective, Wrong> {
    let target = it.target.as_deref().ok_or_else(|| missing("target"))?;
    let target = number::millionths(target).map_err(|message| ("target", message))?;
    let target_ppm = u32::try_from(target)
        .ok()
        .filter(|ppm| (1..PPM).contains(ppm));
    let target_ppm = target_ppm.ok_or_else(|| {
        let message = "is above 0 and below 100%, so that there is a budget";
        ("target", message.to_owned())
    })?;
    let window_hours = it.window_hours.unwrap_or(WINDOW_HOURS_MAX);
    if !(1..=WINDOW_HOURS_MAX).contains(&window_hours) {
        let message = format!("{window_hours} is not between 1 and {WINDOW_HOURS_MAX}");
        return Err(("window_hours", message));
    }
    Ok(SloObjective {
        name: it.name.clone(),
        measure: measure(it)?,
        target_ppm,
        window_micros: window_hours * HOUR_MICROS,
        freezes: it.freeze.unwrap_or(false),
    })
}

fn missing(field: &'static str) -> Wrong {
    (field, "is missing".to_owned())
}

fn measure(it: &ObjectiveConfig) -> Result<SloMeasure, Wrong> {
    if it.value.is_none() {
        for (field, given) in [
            ("per", it.per.is_some()),
            ("at_most", it.at_most.is_some()),
            ("at_least", it.at_least.is_some()),
            ("when", it.when.is_some()),
            ("when_at_least", it.when_at_least.is_some()),
        ] {
            if given {
                let message = "belongs to an objective with `value`";
                return Err((field, message.to_owned()));
            }
        }
        let good = counted("good", it.good.as_ref())?;
        let valid = counted("valid", it.valid.as_ref())?;
        return Ok(SloMeasure::Ratio { good, valid });
    }
    for (field, given) in [("good", it.good.is_some()), ("valid", it.valid.is_some())] {
        if given {
            let message = "an objective has either `good` and `valid`, or `value`";
            return Err((field, message.to_owned()));
        }
    }
    Ok(SloMeasure::Bound(bound(it)?))
}

fn bound(it: &ObjectiveConfig) -> Result<SloBound, Wrong> {
    let per = match it.per.as_deref() {
        None => SloPer::One,
        Some([second]) if second == "second" => SloPer::Second,
        Some(_) => SloPer::Series(series("per", it.per.as_ref())?),
    };
    let (field, text, at_most) = match (&it.at_most, &it.at_least) {
        (Some(text), None) => ("at_most", text, true),
        (None, Some(text)) => ("at_least", text, false),
        (Some(_), Some(_)) | (None, None) => {
            let message = "exactly one of `at_most` and `at_least` is given";
            return Err(("at_most", message.to_owned()));
        }
    };
    let bound_millionths = number::millionths(text).map_err(|message| (field, message))?;
    let when = match (&it.when, &it.when_at_least) {
        (None, None) => None,
        (Some(_), Some(least)) => Some(SloCondition {
            series: series("when", it.when.as_ref())?,
            at_least_millionths: number::millionths(least)
                .map_err(|message| ("when_at_least", message))?,
        }),
        (Some(_), None) => return Err(missing("when_at_least")),
        (None, Some(_)) => return Err(missing("when")),
    };
    Ok(SloBound {
        value: series("value", it.value.as_ref())?,
        per,
        at_most,
        bound_millionths,
        when,
    })
}

/// Series that only grow, and all in the same unit: what is added to them can be counted.
fn counted(field: &'static str, selectors: Option<&Vec<String>>) -> Result<Vec<u16>, Wrong> {
    let found = series(field, selectors)?;
    let level = found
        .iter()
        .find(|number| reading(**number) == Reading::Level);
    if let Some(level) = level {
        let name = hindcast_model::samples::series(*level).0;
        return Err((
            field,
            format!("{name} is no counter; a bound takes it as `value`"),
        ));
    }
    if found
        .iter()
        .any(|it| millionths(*it) != millionths(found[0]))
    {
        return Err((field, "these series have different units".to_owned()));
    }
    Ok(found)
}

fn series(field: &'static str, selectors: Option<&Vec<String>>) -> Result<Vec<u16>, Wrong> {
    let selectors = selectors.ok_or_else(|| missing(field))?;
    selector::numbers(selectors).map_err(|message| (field, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<SloPlan, String> {
        let section: Section = toml::from_str(text).map_err(|error| error.to_string())?;
        let config = SloConfig {
            objectives: section.objectives,
            ..SloConfig::default()
        };
        plan(&config).map_err(|wrong| format!("{}: {}", wrong.key, wrong.message))
    }

    fn find<'p>(plan: &'p SloPlan, name: &str) -> &'p SloObjective {
        let found = plan.objectives.iter().find(|it| it.name == name);
        found.expect("an objective")
    }

    #[test]
    fn built_in_objectives_are_within_the_limits_of_decisions() {
        let plan = with("objectives = []").expect("right");
        assert_eq!(plan.bounded().count(), plan.objectives.len());
        assert_eq!(plan.objectives.len(), 11);
        let availability = find(&plan, "availability");
        assert_eq!(
            (availability.target_ppm, availability.freezes),
            (999_000, true)
        );
        let expected = SloMeasure::Ratio {
            good: vec![1, 2, 3],
            valid: vec![1, 2, 3, 4],
        };
        assert_eq!(availability.measure, expected);
        let SloMeasure::Ratio { good, valid } = &find(&plan, "latency").measure else {
            panic!("a ratio");
        };
        // Two routes with 13 bounds up to two seconds, of 17 and what is above.
        assert_eq!((good.len(), valid.len()), (26, 36));
        let sorted = plan.objectives.is_sorted_by_key(|it| &it.name);
        assert!(sorted, "as the state gives them");
    }

    #[test]
    fn what_is_given_changes_a_built_in_one_or_adds_another() {
        let plan = with(
            r#"objectives = [
                { name = "availability", target = "99.95%" },
                { name = "cpu", enabled = false },
                { name = "lab", good = ['http_request_duration_seconds_bucket{route="lab",le="5"}'],
                  valid = ['http_request_duration_seconds_count{route="lab"}'], target = "0.9" },
                { name = "memory", good = ["log_frames_total"], valid = ["log_frames_total"] },
            ]"#,
        );
        let plan = plan.expect("right");
        assert_eq!(find(&plan, "availability").target_ppm, 999_500);
        assert!(find(&plan, "availability").freezes, "as it was");
        assert!(plan.objectives.iter().all(|it| it.name != "cpu"));
        let lab = find(&plan, "lab");
        assert_eq!(
            (lab.target_ppm, lab.window_micros),
            (900_000, 720 * HOUR_MICROS)
        );
        assert_eq!(
            find(&plan, "memory").measure,
            SloMeasure::Ratio {
                good: vec![32],
                valid: vec![32]
            }
        );
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (objective, field, part) in [
            ("name = 'A'", "name", "lower-case"),
            ("name = 'x'", "target", "missing"),
            ("name = 'x', target = '100%'", "target", "below 100%"),
            ("name = 'x', target = 'most'", "target", "no number"),
            (
                "name = 'x', target = '9%', window_hours = 721",
                "window_hours",
                "721",
            ),
            ("name = 'x', target = '9%'", "good", "missing"),
            ("name = 'cpu', at_least = '1'", "at_most", "exactly one"),
            (
                "name = 'cpu', per = ['nothing']",
                "per",
                "no recorded series",
            ),
            (
                "name = 'cpu', when = ['log_frames_total']",
                "when_at_least",
                "missing",
            ),
            (
                "name = 'errors', good = ['active_requests']",
                "good",
                "no counter",
            ),
            (
                "name = 'errors', good = ['x'], value = ['y']",
                "good",
                "either",
            ),
            ("name = 'errors', at_most = '1'", "at_most", "with `value`"),
            (
                "name = 'errors', valid = ['log_frames_total', 'log_sync_seconds_total']",
                "valid",
                "different units",
            ),
        ] {
            let refused = with(&format!("objectives = [{{ {objective} }}]"));
            let message = refused.expect_err(objective);
            let start = format!("objectives[0].{field}: ");
            assert!(message.starts_with(&start), "{objective}: {message}");
            assert!(message.contains(part), "{objective}: {message}");
        }
        let twice = with("objectives = [{ name = 'cpu' }, { name = 'cpu' }]");
        assert!(twice.is_err_and(|message| message.contains("more than once")));
    }
}
