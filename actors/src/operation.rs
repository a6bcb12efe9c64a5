//! The operations of the labs: one code path for the server, the command line and recovery.
//!
//! An operation is what a request asks for, without its seed. Its spec is canonical JSON, so that
//! equal requests have equal hashes, and reading the spec back gives the same operation.

mod canonical;
mod key;
mod question;
mod words;

use std::borrow::Cow;

pub use hindcast_causal::data::{Dataset, Format, Limits, Profile, Table};
pub use hindcast_causal::discover::{DiscoverRequest, Discovery};
use hindcast_causal::discover::{discover_with, render};
use hindcast_causal::graph::GraphLimits;
use hindcast_causal::identify::{self, Prepared};
pub use hindcast_causal::identify::{ValidateRequest, Validation};
use hindcast_causal::paths::paths;
pub use hindcast_causal::paths::{PathsAnswer, PathsRequest};
pub use hindcast_causal::{Control, LabError, Stop, Uncontrolled};
use hindcast_model::{Digest, KeyId};
use serde::Serialize;
use serde::de::DeserializeOwned;
pub use words::plain;

use crate::circuit_breaker::services;
use crate::results::{self, ResultKey};

pub use canonical::Json;
pub(crate) use canonical::canonical;
pub use question::{Question, Questions};

/// The version of every spec that is written.
pub const SPEC_SCHEMA: u16 = 1;
/// The version of every result that is written.
pub const RESULT_SCHEMA: u16 = 1;
/// Specs up to this many bytes are computed before they are recorded, when the operation is one
/// of those that take microseconds.
pub const CHEAP_SPEC_BYTES_MAX: usize = 4 * 1024;

/// The largest seed, and the largest of any whole number: every reader of JSON takes it exactly.
pub const SEED_MAX: u64 = (1 << 53) - 1;

/// What a digest looks like.
pub const DIGEST_HINT: &str = "a digest has 64 lowercase hexadecimal digits";

/// What can be computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    Discover(Box<DiscoverRequest>),
    Validate(Box<ValidateRequest>),
    Paths(Box<PathsRequest>),
    #[cfg(test)]
    Fault(crate::tests::FaultRequest),
}

/// Which threads a run is computed on: what takes seconds must not keep what takes microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Cheap,
    Heavy,
}

impl Lane {
    /// The lane of the operation of this name.
    #[must_use]
    pub fn of(operation: &str) -> Self {
        match operation {
            "causal.validate" | "causal.paths" => Self::Cheap,
            _ => Self::Heavy,
        }
    }
}

/// A result as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    pub json: Json,
    /// Over `json`.
    pub hash: Digest,
    pub schema: u16,
    pub algorithm_version: String,
}

impl Operation {
    /// Reads a request's body. What is wrong with it is named by its JSON path.
    pub fn parse(name: &str, body: serde_json::Value) -> Result<Self, LabError> {
        let inexact = inexact(&body);
        let operation = Self::read(name, body)?;
        match inexact {
            Some((field, actual)) => Err(LabError::TooLarge {
                field,
                actual,
                limit: SEED_MAX,
            }),
            None => Ok(operation),
        }
    }

    fn read(name: &str, body: serde_json::Value) -> Result<Self, LabError> {
        match name {
            "causal.discover" => {
                let request: DiscoverRequest = read(body)?;
                request.options()?;
                request.handling()?;
                check_digest(request.data.is_some(), request.dataset.as_deref())?;
                request.inline_dataset(&Limits::default())?;
                Ok(Self::Discover(Box::new(request)))
            }
            "causal.validate" => {
                let request: ValidateRequest = read(body)?;
                check_digest(request.data.is_some(), request.dataset.as_deref())?;
                request.inline_dataset(&Limits::default())?;
                Ok(Self::Validate(Box::new(request)))
            }
            "causal.paths" => Ok(Self::Paths(Box::new(read(body)?))),
            #[cfg(test)]
            "test.fault" => Ok(Self::Fault(read(body)?)),
            other => Err(LabError::invalid_with_hint(
                "operation",
                format!("'{other}' is not an operation"),
                "one of causal.discover, causal.validate, causal.paths",
            )),
        }
    }

    /// The names of all of them.
    pub const NAMES: [&str; 3] = ["causal.discover", "causal.validate", "causal.paths"];

    /// The names of what computes results, as in [`Self::algorithm_version`] before the version.
    pub fn algorithms() -> impl Iterator<Item = &'static str> {
        let discoveries = services::ALGORITHMS.iter().map(|known| known.name());
        discoveries.chain(["identify", "paths"])
    }

    /// Such as `causal.discover`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Discover(_) => "causal.discover",
            Self::Validate(_) => "causal.validate",
            Self::Paths(_) => "causal.paths",
            #[cfg(test)]
            Self::Fault(_) => "test.fault",
        }
    }

    /// The breaker that it goes by.
    #[must_use]
    pub fn breaker(&self) -> String {
        match self {
            Self::Discover(request) => services::discovery(request.algorithm),
            Self::Validate(_) => services::IDENTIFICATION.to_owned(),
            Self::Paths(_) => services::PATHS.to_owned(),
            #[cfg(test)]
            Self::Fault(request) => request.breaker.clone(),
        }
    }

    /// What is computed when `to` takes the place of what was asked for: the same data, knowledge
    /// and formats, and everything else by default. `None` when that means nothing here.
    #[must_use]
    pub fn instead(&self, to: &str) -> Option<Self> {
        match self {
            Self::Discover(request) => {
                let algorithm = services::algorithm(to)?;
                Some(Self::Discover(Box::new(DiscoverRequest {
                    algorithm,
                    required: request.required.clone(),
                    forbidden: request.forbidden.clone(),
                    tiers: request.tiers.clone(),
                    bootstrap: request.bootstrap,
                    missing: request.missing,
                    formats: request.formats.clone(),
                    data: request.data.clone(),
                    variable_names: request.variable_names.clone(),
                    dataset: request.dataset.clone(),
                    seed: request.seed,
                    ..DiscoverRequest::default()
                })))
            }
            Self::Validate(_) | Self::Paths(_) => None,
            #[cfg(test)]
            Self::Fault(request) => Some(Self::Fault(crate::tests::FaultRequest {
                what: crate::tests::What::Answer,
                ..request.clone()
            })),
        }
    }

    /// The version of the spec.
    #[must_use]
    pub const fn schema(&self) -> u16 {
        SPEC_SCHEMA
    }

    /// The seed that the request names, or 0 when the answer does not depend on it, so that equal
    /// requests have equal results. `None` asks the caller for a fresh one.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        match self {
            Self::Discover(request) if request.draws() => request.seed,
            Self::Discover(request) => Some(request.seed.unwrap_or(0)),
            Self::Validate(request) => Some(request.seed.unwrap_or(0)),
            Self::Paths(request) => Some(request.seed.unwrap_or(0)),
            #[cfg(test)]
            Self::Fault(request) => request.seed,
        }
    }

    /// The version of what computes it, as its result will say.
    #[must_use]
    pub fn algorithm_version(&self) -> String {
        match self {
            Self::Discover(request) => {
                let version = hindcast_causal::discover::ALGORITHM_VERSION;
                format!("{}/{version}", request.algorithm.name())
            }
            Self::Validate(_) => {
                format!("identify/{}", identify::ALGORITHM_VERSION)
            }
            Self::Paths(_) => format!("paths/{}", hindcast_causal::paths::ALGORITHM_VERSION),
            #[cfg(test)]
            Self::Fault(_) => "fault/1".to_owned(),
        }
    }

    /// The hash of everything that the result depends on. `spec` is that of [`Self::spec`]. Graphs
    /// that are written in different ways are one graph to a validation. What is sealed under
    /// different keys is kept apart: a result is readable as long as its own key is here.
    #[must_use]
    pub fn key(&self, spec: Digest, seed: u64, sealed: KeyId) -> ResultKey {
        let what = match self {
            Self::Validate(request) => key::validate(request, spec),
            Self::Discover(request) => key::discover(request, spec),
            Self::Paths(_) => spec,
            #[cfg(test)]
            Self::Fault(_) => spec,
        };
        // Nothing about paths is random.
        let seed = match self {
            Self::Paths(_) => 0,
            Self::Discover(_) | Self::Validate(_) => seed,
            #[cfg(test)]
            Self::Fault(_) => seed,
        };
        let by = (self.name(), &*self.algorithm_version());
        results::key(by, what, seed, sealed)
    }

    /// The request without its seed, as canonical JSON (RFC 8785).
    pub fn spec(&self) -> Result<String, LabError> {
        match self {
            Self::Discover(request) if request.seed.is_none() => canonical(request),
            Self::Discover(request) => canonical(&DiscoverRequest {
                seed: None,
                ..(**request).clone()
            }),
            Self::Validate(request) if request.seed.is_none() => canonical(request),
            Self::Validate(request) => canonical(&ValidateRequest {
                seed: None,
                ..(**request).clone()
            }),
            Self::Paths(request) if request.seed.is_none() => canonical(request),
            Self::Paths(request) => canonical(&PathsRequest {
                seed: None,
                ..(**request).clone()
            }),
            #[cfg(test)]
            Self::Fault(request) => canonical(request),
        }
    }

    /// Whether it is computed before it is recorded, given the length of its spec.
    #[must_use]
    pub const fn is_cheap(&self, spec_bytes: usize) -> bool {
        match self {
            Self::Discover(_) => false,
            // A stored dataset is at hand only where runs are computed.
            Self::Validate(request) => {
                spec_bytes <= CHEAP_SPEC_BYTES_MAX && request.dataset.is_none()
            }
            Self::Paths(_) => spec_bytes <= CHEAP_SPEC_BYTES_MAX,
            #[cfg(test)]
            Self::Fault(request) => request.cheap,
        }
    }

    /// The stored datasets that it reads.
    #[must_use]
    pub fn datasets(&self) -> Vec<Digest> {
        let named = match self {
            Self::Discover(request) => request.dataset.as_ref(),
            Self::Validate(request) => request.dataset.as_ref(),
            Self::Paths(_) => None,
            #[cfg(test)]
            Self::Fault(_) => None,
        };
        let digest = named.and_then(|text| text.parse().ok());
        digest.into_iter().collect()
    }

    /// Refuses what is refused before anything is computed, as far as it can be told without a stored
    /// dataset.
    ///
    /// # Errors
    /// The request makes no sense.
    pub fn check(&self) -> Result<(), LabError> {
        let control = &Uncontrolled;
        match self {
            Self::Discover(request) => match request.inline_dataset(&Limits::default())? {
                Some(data) => {
                    let how = (request.handling()?, control as &dyn Control);
                    hindcast_causal::discover::check(&data, &request.options()?, how)
                }
                None => Ok(()),
            },
            Self::Validate(request) => {
                Prepared::new(request, &identify::Limits::default(), control).map(|_| ())
            }
            Self::Paths(request) => {
                hindcast_causal::paths::check(request, &GraphLimits::default(), control)
            }
            #[cfg(test)]
            Self::Fault(_) => Ok(()),
        }
    }

    /// Computes it. `data` is the stored dataset, where the request names one.
    pub fn execute(
        &self,
        data: Option<&Dataset>,
        seed: u64,
        control: &dyn Control,
    ) -> Result<Computed, LabError> {
        match self {
            Self::Discover(request) => {
                let options = request.options()?;
                let inline = request.inline_dataset(&Limits::default())?;
                let data = inline.as_ref().or(data).ok_or_else(|| {
                    LabError::Internal("the stored dataset was not handed in".to_owned())
                })?;
                let handling = request.handling()?;
                let mut discovery = discover_with(data, &options, handling, (seed, control))?;
                discovery.formats = render(&discovery.graph, &request.formats, data, control)?;
                computed(&discovery, self.algorithm_version())
            }
            Self::Validate(request) => {
                let request = seeded(request, seed);
                let limits = identify::Limits::default();
                let prepared = Prepared::new(&request, &limits, control)?;
                let validation = prepared.validate(data, control)?;
                computed(&validation, self.algorithm_version())
            }
            Self::Paths(request) => {
                let answer = paths(request, &GraphLimits::default(), control)?;
                computed(&answer, self.algorithm_version())
            }
            #[cfg(test)]
            Self::Fault(request) => request.execute(seed, control),
        }
    }
}

/// The first field with a whole number that not every reader of JSON takes exactly.
fn inexact(body: &serde_json::Value) -> Option<(String, u64)> {
    let fields = body.as_object()?.iter();
    let mut numbers = fields.filter_map(|(field, value)| Some((field, value.as_u64()?)));
    let found = numbers.find(|(_, number)| *number > SEED_MAX);
    found.map(|(field, number)| (field.clone(), number))
}

/// The request with the seed that counts.
fn seeded(request: &ValidateRequest, seed: u64) -> Cow<'_, ValidateRequest> {
    if request.seed == Some(seed) {
        return Cow::Borrowed(request);
    }
    Cow::Owned(ValidateRequest {
        seed: Some(seed),
        ..request.clone()
    })
}

/// A stored dataset is named by a digest that can be read: `datasets` tells the log of it.
fn check_digest(has_data: bool, dataset: Option<&str>) -> Result<(), LabError> {
    match (has_data, dataset) {
        (false, Some(text)) if text.parse::<Digest>().is_err() => Err(LabError::invalid_with_hint(
            "dataset",
            "is not the digest of a dataset",
            DIGEST_HINT,
        )),
        (_, _) => Ok(()),
    }
}

/// The blake3 hash of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

pub(crate) fn computed<T: Serialize>(result: &T, version: String) -> Result<Computed, LabError> {
    let json = canonical(result)?;
    let hash = digest(json.as_bytes());
    Ok(Computed {
        json: Json::of(json)?,
        hash,
        schema: RESULT_SCHEMA,
        algorithm_version: version,
    })
}

fn read<T: DeserializeOwned>(body: serde_json::Value) -> Result<T, LabError> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        // An unknown or missing field is named by the message, not by the path to its parent.
        let named = message
            .strip_prefix("unknown field `")
            .or_else(|| message.strip_prefix("missing field `"))
            .and_then(|rest| rest.split_once('`'));
        let field = match (path.as_str(), named) {
            (".", Some((name, _))) => name.to_owned(),
            (".", None) => "body".to_owned(),
            (_, Some((name, _))) if path.ends_with(name) => path,
            (_, Some((name, _))) => format!("{path}.{name}"),
            (_, None) => path,
        };
        LabError::invalid(field, plain(&message))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph() -> serde_json::Value {
        json!("dag { x -> y; z -> x; z -> y }")
    }

    #[test]
    fn spec_is_canonical_without_the_seed_and_reads_back() {
        let body = json!({"treatment": "x", "outcome": ["y"], "graph": graph(), "seed": 9});
        let operation = Operation::parse("causal.validate", body).unwrap();
        assert_eq!(operation.seed(), Some(9));
        let spec = operation.spec().unwrap();
        let again =
            Operation::parse("causal.validate", serde_json::from_str(&spec).unwrap()).unwrap();
        assert_eq!(again.spec().unwrap(), spec);
        assert_eq!(again.seed(), Some(0));
        assert!(operation.is_cheap(spec.len()));
        assert!(!operation.is_cheap(CHEAP_SPEC_BYTES_MAX + 1));
    }

    #[test]
    fn same_operation_and_seed_give_the_same_bytes() {
        let body = json!({"data": [[1.0, 2.0], [2.0, 3.5], [3.0, 7.0], [4.0, 7.5]]});
        let operation = Operation::parse("causal.discover", body).unwrap();
        let run = || operation.execute(None, 5, &Uncontrolled).unwrap();
        assert_eq!(run(), run());
        assert_eq!(run().hash, digest(run().json.as_bytes()));
        assert_eq!(run().algorithm_version, "boss/7");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let field = |name: &str, body: serde_json::Value| match Operation::parse(name, body) {
            Err(LabError::Invalid { field, .. } | LabError::TooLarge { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field("causal.discover", json!({"treshold": 1})), "treshold");
        assert_eq!(
            field("causal.discover", json!({"data": [[1, "a"]]})),
            "data[0][1]"
        );
        assert_eq!(
            field("causal.discover", json!({"restarts": -1})),
            "restarts"
        );
        assert_eq!(field("causal.discover", json!({})), "data");
        for digest in [
            "A".repeat(64),
            "a".repeat(63),
            "g".repeat(64),
            String::new(),
        ] {
            let body = json!({ "dataset": digest });
            assert_eq!(field("causal.discover", body), "dataset", "{digest}");
        }
        assert_eq!(field("causal.validate", json!({})), "graph");
        let wide =
            json!({"graph": graph(), "treatment": "x", "outcome": "y", "shortest": 1_u64 << 60});
        assert_eq!(field("causal.paths", wide), "shortest");
        let wide =
            json!({"graph": graph(), "treatment": "x", "outcome": "y", "limit": 1_u64 << 60});
        assert_eq!(field("causal.validate", wide), "limit");
        assert_eq!(field("causal.discover", json!(7)), "body");
        assert_eq!(field("causal.guess", json!({})), "operation");
    }
}
