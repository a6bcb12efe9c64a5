//! A request for a run, as it is recorded, and as it was recorded before.

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, ExperimentId, RunId};
use crate::payload::Payload;

/// A key under which a repeated request is the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The first half of the blake3 hash of the key's text.
    pub key: [u8; 16],
    /// The hash of the request's body.
    pub body: Digest,
}

/// Somebody asked for a computation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequested {
    pub run: RunId,
    /// Such as `causal.discover`.
    pub operation: String,
    /// The version of the spec's schema.
    pub schema: u16,
    /// Canonical JSON of the request.
    pub spec: Payload,
    /// Over the canonical JSON.
    pub spec_hash: Digest,
    pub seed: u64,
    /// What the run reads.
    pub datasets: Vec<Digest>,
    /// Microseconds after which the run has failed; 0 means that it may take for ever.
    pub deadline_micros: u64,
    /// The result was computed before the request was recorded and stands in the same frame.
    pub immediate: bool,
    pub experiment: Option<ExperimentId>,
    pub idempotency: Option<Idempotency>,
    /// None in a log that was written before there were breakers.
    pub service: Option<Service>,
}

/// What computes a run, as far as breakers go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The breaker that the run goes by.
    pub breaker: String,
    /// Something else may be computed in its place.
    pub divert: bool,
    /// The result of an equal run is at hand, and nothing has to be computed.
    pub cached: bool,
    /// The deadline is the caller's own, and sooner than the service allows: when it passes, that
    /// says nothing about the service. Since schema 3 of `RunRequested`.
    pub caller_deadline: bool,
}

/// Before it was known whose deadline it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceV1 {
    pub breaker: String,
    pub divert: bool,
    pub cached: bool,
}

impl From<ServiceV1> for Service {
    fn from(old: ServiceV1) -> Self {
        Self {
            breaker: old.breaker,
            divert: old.divert,
            cached: old.cached,
            caller_deadline: false,
        }
    }
}

/// Before it was known whose deadline it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequestedV2 {
    pub run: RunId,
    pub operation: String,
    pub schema: u16,
    pub spec: Payload,
    pub spec_hash: Digest,
    pub seed: u64,
    pub datasets: Vec<Digest>,
    pub deadline_micros: u64,
    pub immediate: bool,
    pub experiment: Option<ExperimentId>,
    pub idempotency: Option<Idempotency>,
    pub service: Option<ServiceV1>,
}

impl From<RunRequestedV2> for RunRequested {
    fn from(old: RunRequestedV2) -> Self {
        Self {
            run: old.run,
            operation: old.operation,
            schema: old.schema,
            spec: old.spec,
            spec_hash: old.spec_hash,
            seed: old.seed,
            datasets: old.datasets,
            deadline_micros: old.deadline_micros,
            immediate: old.immediate,
            experiment: old.experiment,
            idempotency: old.idempotency,
            service: old.service.map(Service::from),
        }
    }
}

/// Before there were breakers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequestedV1 {
    pub run: RunId,
    pub operation: String,
    pub schema: u16,
    pub spec: Payload,
    pub spec_hash: Digest,
    pub seed: u64,
    pub datasets: Vec<Digest>,
    pub deadline_micros: u64,
    pub immediate: bool,
    pub experiment: Option<ExperimentId>,
    pub idempotency: Option<Idempotency>,
}

impl From<RunRequestedV1> for RunRequested {
    fn from(old: RunRequestedV1) -> Self {
        Self {
            run: old.run,
            operation: old.operation,
            schema: old.schema,
            spec: old.spec,
            spec_hash: old.spec_hash,
            seed: old.seed,
            datasets: old.datasets,
            deadline_micros: old.deadline_micros,
            immediate: old.immediate,
            experiment: old.experiment,
            idempotency: old.idempotency,
            service: None,
        }
    }
}
