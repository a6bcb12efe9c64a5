//! A series of runs as people write it, in JSON or TOML, for the server and the command line.

use hindcast_actors::Operation;
use hindcast_actors::operation::LabError;
use hindcast_actors::operation::Question;
use hindcast_model::limits::{EXPERIMENT_RUNS_MAX, NAME_CHARS_MAX};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::ids;

/// A named series of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// What to call it, in at most 128 characters.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    #[schema(min_items = 1, max_items = 256)]
    pub operations: Vec<Step>,
}

/// One operation of a series, once or with several seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Such as `causal.discover`.
    pub operation: String,
    /// The request as the operation's own endpoint takes it.
    #[schema(value_type = Object)]
    pub request: Value,
    /// How often to run it, each time with a fresh seed; not together with `seeds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 256)]
    pub repeat: Option<u32>,
    /// Run it once with each of these seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_items = 1, max_items = 256)]
    pub seeds: Option<Vec<u64>>,
}

impl Series {
    /// The operations with their seeds, in order.
    ///
    /// # Errors
    /// A field is wrong, or there are too many runs.
    pub fn runs(&self) -> Result<Vec<(Question, u64)>, LabError> {
        self.runs_with(&mut ids::seed)
    }

    /// The same; seeds that it does not name come from `draw`.
    ///
    /// # Errors
    /// A field is wrong, or there are too many runs.
    pub fn runs_with(
        &self,
        draw: &mut dyn FnMut() -> u64,
    ) -> Result<Vec<(Question, u64)>, LabError> {
        let characters = self.name.chars().count();
        if self.name.trim().is_empty() {
            return Err(LabError::invalid("name", "a series has a name"));
        }
        if characters > NAME_CHARS_MAX {
            return Err(too_many("name", characters, NAME_CHARS_MAX));
        }
        if self.operations.is_empty() {
            return Err(LabError::invalid("operations", "there is no operation"));
        }
        let mut runs = Vec::new();
        for (index, step) in self.operations.iter().enumerate() {
            let at = format!("operations[{index}]");
            let operation = Operation::parse(&step.operation, step.request.clone())
                .map_err(|error| below(&at, error))?;
            let seeds = step.seeds_of(&operation, &at, draw)?;
            let question = Question::new(operation)?;
            if runs.len() + seeds.len() > EXPERIMENT_RUNS_MAX {
                let count = runs.len() + seeds.len();
                return Err(too_many("operations", count, EXPERIMENT_RUNS_MAX));
            }
            runs.extend(seeds.into_iter().map(|seed| (question.clone(), seed)));
        }
        Ok(runs)
    }
}

impl Step {
    fn seeds_of(
        &self,
        operation: &Operation,
        at: &str,
        draw: &mut dyn FnMut() -> u64,
    ) -> Result<Vec<u64>, LabError> {
        match (&self.seeds, self.repeat) {
            (Some(_), Some(_)) => Err(LabError::invalid(
                format!("{at}.repeat"),
                "give either `repeat` or `seeds`",
            )),
            (Some(seeds), None) if seeds.is_empty() => {
                Err(LabError::invalid(format!("{at}.seeds"), "there is no seed"))
            }
            (Some(seeds), None) => {
                let beyond = seeds.iter().position(|seed| *seed >= ids::SEED_LIMIT);
                match beyond {
                    Some(which) => Err(LabError::invalid(
                        format!("{at}.seeds[{which}]"),
                        "a seed is below 2^53",
                    )),
                    None => Ok(seeds.clone()),
                }
            }
            (None, Some(0)) => Err(LabError::invalid(format!("{at}.repeat"), "at least 1")),
            (None, Some(count)) if count as usize > EXPERIMENT_RUNS_MAX => Err(too_many(
                format!("{at}.repeat"),
                count as usize,
                EXPERIMENT_RUNS_MAX,
            )),
            (None, Some(count)) => Ok((0..count).map(|_| draw()).collect()),
            (None, None) => Ok(vec![operation.seed().unwrap_or_else(draw)]),
        }
    }
}

fn too_many(field: impl Into<String>, actual: usize, limit: usize) -> LabError {
    LabError::TooLarge {
        field: field.into(),
        actual: actual as u64,
        limit: limit as u64,
    }
}

/// The error of a request inside of a series, with the path to it. An unknown operation is the
/// step's own field.
fn below(at: &str, error: LabError) -> LabError {
    let placed = |field: String| match field.as_str() {
        "operation" => format!("{at}.operation"),
        "body" => format!("{at}.request"),
        _ => format!("{at}.request.{field}"),
    };
    match error {
        LabError::Invalid {
            field,
            message,
            hint,
        } => LabError::Invalid {
            field: placed(field),
            message,
            hint,
        },
        LabError::TooLarge {
            field,
            actual,
            limit,
        } => LabError::TooLarge {
            field: placed(field),
            actual,
            limit,
        },
        other @ (LabError::Stopped(_)
        | LabError::FailedVerification { .. }
        | LabError::Internal(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn series(step: &Value) -> Series {
        let mut steps = vec![json!({"operation": "causal.validate", "request": {
            "graph": "dag { x -> y }", "treatment": "x", "outcome": "y"
        }})];
        steps.push(step.clone());
        serde_json::from_value(json!({"name": "n", "operations": steps})).expect("a series")
    }

    fn field(step: &Value) -> String {
        match series(step).runs() {
            Err(LabError::Invalid { field, .. } | LabError::TooLarge { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn seeds_and_repeats_are_unrolled() {
        let request = json!({"data": [[1.0, 2.0], [2.0, 1.0], [3.0, 5.0]]});
        let step = json!({"operation": "causal.discover", "request": request, "seeds": [4, 4, 5]});
        let seeds: Vec<u64> = series(&step)
            .runs()
            .expect("right")
            .iter()
            .map(|r| r.1)
            .collect();
        assert_eq!(seeds, [0, 4, 4, 5]);
        let step = json!({"operation": "causal.discover", "request": request, "repeat": 7});
        assert_eq!(series(&step).runs().expect("right").len(), 8);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let discover = |request: Value| json!({"operation": "causal.discover", "request": request});
        let data = json!([[1.0, 2.0], [2.0, 1.0], [3.0, 5.0]]);
        assert_eq!(
            field(&json!({"operation": "x", "request": {}})),
            "operations[1].operation"
        );
        assert_eq!(field(&discover(json!(7))), "operations[1].request");
        assert_eq!(
            field(&discover(json!({"data": [["a"]]}))),
            "operations[1].request.data[0][0]"
        );
        let with = |key: &str, value: Value| {
            let mut step = discover(json!({"data": data}));
            step[key] = value;
            step
        };
        assert_eq!(field(&with("repeat", json!(0))), "operations[1].repeat");
        assert_eq!(field(&with("repeat", json!(257))), "operations[1].repeat");
        assert_eq!(field(&with("repeat", json!(256))), "operations");
        assert_eq!(field(&with("seeds", json!([]))), "operations[1].seeds");
        let exact = 1_u64 << 53;
        assert_eq!(
            field(&with("seeds", json!([1, exact]))),
            "operations[1].seeds[1]"
        );
    }
}
