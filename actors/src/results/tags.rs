//! What a result can be found by when it is to go: the operation and algorithm that made it, the
//! dataset that it was made of, the experiment that asked for it, the beginning of its key.

use hindcast_log::Pointer;
use hindcast_model::{Digest, ExperimentId, RunId, UnixMicros};
use serde::{Deserialize, Serialize};

use super::ResultKey;
use crate::operation::Operation;

/// What is known of a result beside the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) operation: &'static str,
    /// Such as `boss/3`.
    pub(crate) algorithm: String,
    pub(crate) dataset: Option<Digest>,
    pub(crate) experiment: Option<ExperimentId>,
    /// It may be found on disk: it is sealed under no subject's own key, and takes longer to
    /// compute than to read.
    pub(crate) shelved: bool,
}

impl Tags {
    pub(crate) fn of(
        operation: &Operation,
        experiment: Option<ExperimentId>,
        shelved: bool,
    ) -> Self {
        Self {
            operation: operation.name(),
            algorithm: operation.algorithm_version(),
            dataset: operation.datasets().first().copied(),
            experiment,
            shelved,
        }
    }

    pub(super) fn pointer(&self, run: RunId, at: UnixMicros) -> Pointer {
        Pointer {
            at,
            run,
            operation: self.operation.to_owned(),
            algorithm: self.algorithm.clone(),
            dataset: self.dataset,
            experiment: self.experiment,
        }
    }
}

/// Which results are meant: those for which everything that is named here holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// Every result; nothing else may be named beside it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The first hexadecimal digits of keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schema(
            min_length = 1,
            max_length = 64,
            pattern = "^[0-9a-f]+$",
            nullable = false
        )
    )]
    pub prefix: Option<String>,
    /// Such as `causal.discover`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(max_length = 64, nullable = false))]
    pub operation: Option<String>,
    /// Such as `boss`, in every version, or `boss/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(max_length = 64, nullable = false))]
    pub algorithm: Option<String>,
    /// The digest of a stored dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schema(pattern = "^[0-9a-f]{64}$", nullable = false)
    )]
    pub dataset: Option<String>,
    /// The experiment that asked for the computation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "uuid", nullable = false))]
    pub experiment: Option<ExperimentId>,
}

/// Characters of a name in a selector.
const NAME_CHARS_MAX: usize = 64;

impl Selector {
    /// The field that makes no sense, and why.
    ///
    /// # Errors
    /// Nothing is named, or something beside `all`, or a text that cannot be meant.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let named = self.prefix.is_some()
            || self.operation.is_some()
            || self.algorithm.is_some()
            || self.dataset.is_some()
            || self.experiment.is_some();
        if self.all == named {
            let message = match named {
                true => "is named beside what it contains",
                false => {
                    "nothing is named: one of all, prefix, operation, algorithm, dataset, experiment"
                }
            };
            return Err(("all", message));
        }
        let is_hex = |text: &String| {
            (1..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if self.prefix.as_ref().is_some_and(|text| !is_hex(text)) {
            return Err(("prefix", "is not one to 64 lowercase hexadecimal digits"));
        }
        if self
            .dataset
            .as_ref()
            .is_some_and(|text| !is_hex(text) || text.len() != 64)
        {
            return Err(("dataset", "is not the digest of a dataset"));
        }
        for (field, name) in [
            ("operation", &self.operation),
            ("algorithm", &self.algorithm),
        ] {
            if let Some(name) = name
                && (name.is_empty() || name.chars().count() > NAME_CHARS_MAX)
            {
                return Err((field, "is empty or longer than 64 characters"));
            }
        }
        Ok(())
    }

    pub(super) fn holds(&self, key: ResultKey, tags: &Tags) -> bool {
        self.matches(
            key,
            (tags.operation, &tags.algorithm),
            (tags.dataset, tags.experiment),
        )
    }

    pub(super) fn points(&self, key: ResultKey, pointer: &Pointer) -> bool {
        self.matches(
            key,
            (&pointer.operation, &pointer.algorithm),
            (pointer.dataset, pointer.experiment),
        )
    }

    fn matches(
        &self,
        key: ResultKey,
        (operation, algorithm): (&str, &str),
        (dataset, experiment): (Option<Digest>, Option<ExperimentId>),
    ) -> bool {
        let prefix = |wanted: &String| key.to_string().starts_with(wanted);
        let digest = |wanted: &String| dataset.is_some_and(|known| known.to_string() == *wanted);
        let version = |wanted: &String| {
            let name = algorithm
                .split_once('/')
                .map_or(algorithm, |(name, _)| name);
            *wanted == algorithm || *wanted == name
        };
        self.prefix.as_ref().is_none_or(prefix)
            && self
                .operation
                .as_ref()
                .is_none_or(|wanted| wanted == operation)
            && self.algorithm.as_ref().is_none_or(version)
            && self.dataset.as_ref().is_none_or(digest)
            && self
                .experiment
                .is_none_or(|wanted| Some(wanted) == experiment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: &str) -> Selector {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn everything_that_is_named_has_to_hold() {
        let tags = Tags {
            operation: "causal.discover",
            algorithm: "boss/3".to_owned(),
            dataset: Some(Digest([1; 32])),
            experiment: None,
            shelved: true,
        };
        let key = Digest([0xab; 32]);
        let holds = |json: &str| selector(json).holds(key, &tags);
        assert!(holds(r#"{"all": true}"#));
        assert!(holds(r#"{"prefix": "abab"}"#) && !holds(r#"{"prefix": "ac"}"#));
        assert!(holds(r#"{"algorithm": "boss"}"#) && holds(r#"{"algorithm": "boss/3"}"#));
        assert!(!holds(r#"{"algorithm": "boss/2"}"#) && !holds(r#"{"algorithm": "bos"}"#));
        assert!(holds(
            r#"{"operation": "causal.discover", "algorithm": "boss"}"#
        ));
        assert!(!holds(
            r#"{"operation": "causal.validate", "algorithm": "boss"}"#
        ));
        let dataset = format!(r#"{{"dataset": "{}"}}"#, Digest([1; 32]));
        assert!(holds(&dataset));
        let experiment = r#"{"experiment": "01890a5d-ac96-774b-bcce-b302099a8057"}"#;
        assert!(!holds(experiment));
    }

    #[test]
    fn what_names_nothing_or_too_much_is_refused() {
        let field = |json: &str| selector(json).check().err().map(|(field, _)| field);
        assert_eq!(field("{}"), Some("all"));
        assert_eq!(field(r#"{"all": true, "prefix": "a"}"#), Some("all"));
        assert_eq!(field(r#"{"prefix": "X"}"#), Some("prefix"));
        assert_eq!(field(r#"{"operation": ""}"#), Some("operation"));
        assert_eq!(field(r#"{"prefix": "a", "algorithm": "boss"}"#), None);
    }
}
