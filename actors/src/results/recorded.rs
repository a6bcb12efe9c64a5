//! A result read back from the log, where every result stands. Whoever asks gives the run; what
//! the result is a function of is worked out from what is recorded there, so that nobody has to be
//! believed who says whose result it is.

use std::sync::Arc;

use hindcast_log::{Log, Pointer, Recorded};
use hindcast_model::event::{Event, Instead, Outcome, OutcomeObserved, RunRequested};
use hindcast_model::{KeyId, RunId, Stream, UnixMicros};

use super::tags::Tags;
use super::{Kept, ResultKey};
use crate::Environment;
use crate::operation::{Computed, Json, Operation, SPEC_SCHEMA, digest};

/// A result that an equal request may be answered with.
pub(super) struct ReadBack {
    pub(super) key: ResultKey,
    pub(super) tags: Tags,
    pub(super) kept: Kept,
    /// When it was recorded.
    pub(super) at: UnixMicros,
}

impl ReadBack {
    pub(super) fn pointer(&self) -> Pointer {
        self.tags.pointer(self.kept.original, self.at)
    }
}

/// The result of a run, if an equal request would be answered with it here and now: it was computed
/// by the algorithms and with the numeric profile of this server, can be read, and belongs to no
/// subject. `None` says nothing worse than that it has to be computed.
pub(super) fn read_back(log: &Log, environment: &Environment, run: RunId) -> Option<ReadBack> {
    // What was pruned is an error as well.
    let events = log.read_stream(Stream::run(run)).ok()?;
    let mut parts = Parts::default();
    for recorded in &events {
        parts.see(recorded);
    }
    let (request, asked_key) = parts.request?;
    let (ended, result_key, at) = parts.outcome.filter(|_| parts.completed)?;
    let Outcome::Completed {
        result,
        result_hash,
        schema,
        algorithm_version,
    } = &ended.outcome
    else {
        return None;
    };
    let own = |key: KeyId| key == KeyId(0) || key == environment.seal_key;
    if !own(asked_key)
        || request.schema != SPEC_SCHEMA
        || ended.numeric_profile != *environment.numeric_profile
    {
        return None;
    }
    let vault = &environment.vault;
    let spec = vault.text(log.blobs(), asked_key, &request.spec).ok()?;
    let body = serde_json::from_str(&spec).ok()?;
    let asked = Operation::parse(&request.operation, body).ok()?;
    let (operation, spec_hash) = match parts.instead {
        None => (asked, request.spec_hash),
        Some(to) => {
            let operation = asked.instead(to)?;
            let spec = operation.spec().ok()?;
            let hash = digest(spec.as_bytes());
            (operation, hash)
        }
    };
    if operation.algorithm_version() != *algorithm_version {
        return None;
    }
    let json = vault.text(log.blobs(), result_key, result).ok()?;
    if digest(json.as_bytes()) != *result_hash {
        return None;
    }
    let computed = Computed {
        json: Json::of(json.into_owned()).ok()?,
        hash: *result_hash,
        schema: *schema,
        algorithm_version: algorithm_version.clone(),
    };
    Some(ReadBack {
        key: operation.key(spec_hash, request.seed, asked_key),
        tags: Tags::of(&operation, request.experiment, true),
        kept: Kept {
            original: run,
            computed: Arc::new(computed),
        },
        at,
    })
}

/// What a run's stream holds of it.
#[derive(Default)]
struct Parts<'a> {
    request: Option<(&'a RunRequested, KeyId)>,
    instead: Option<&'a str>,
    outcome: Option<(&'a OutcomeObserved, KeyId, UnixMicros)>,
    /// The log took the outcome for the run's end.
    completed: bool,
}

impl<'a> Parts<'a> {
    fn see(&mut self, recorded: &'a Recorded) {
        let Some(event) = recorded.event() else {
            return;
        };
        let context = &recorded.context;
        if let Event::RunRequested(request) = event {
            self.request = Some((request, context.key));
        } else if let Event::OutcomeObserved(ended) = event {
            self.outcome = Some((ended, context.key, context.at));
        } else if let Event::RunCompleted(_) = event {
            self.completed = true;
        } else if let Event::FallbackTaken(taken) = event
            && let Instead::Computed { to, .. } = &taken.instead
        {
            self.instead = Some(to);
        }
    }
}
