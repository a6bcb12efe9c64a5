//! Questions: operations that were read, with the text that they are recorded under.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hindcast_causal::LabError;
use hindcast_model::{Digest, KeyId};

use super::{Operation, digest};
use crate::lock::lock;
use crate::results::ResultKey;

/// Longer requests are not remembered.
const REMEMBERED_BYTES_MAX: usize = 4 * 1024;
/// Requests that are remembered.
const REMEMBERED_MAX: usize = 1_024;

#[derive(Debug)]
struct Inner {
    operation: Operation,
    spec: String,
    hash: Digest,
}

/// An operation, its spec and the hash of that. A clone is the same question, and costs nothing.
#[derive(Debug, Clone)]
pub struct Question(Arc<Inner>);

impl Question {
    /// # Errors
    /// The operation has no canonical text.
    pub fn new(operation: Operation) -> Result<Self, LabError> {
        let spec = operation.spec()?;
        let hash = digest(spec.as_bytes());
        Ok(Self(Arc::new(Inner {
            operation,
            spec,
            hash,
        })))
    }

    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.0.operation
    }

    /// The request without its seed, as canonical JSON.
    #[must_use]
    pub fn spec(&self) -> &str {
        &self.0.spec
    }

    /// The hash of [`Self::spec`].
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.0.hash
    }

    /// What the result is kept under, when it is sealed under `key`; `None` when it is random and
    /// the request names no seed.
    #[must_use]
    pub fn cache_key(&self, key: KeyId) -> Option<ResultKey> {
        let seed = self.0.operation.seed()?;
        Some(self.0.operation.key(self.0.hash, seed, key))
    }
}

/// The questions of the last requests, by name and bytes: who asks again is not read again.
#[derive(Debug, Default)]
pub struct Questions(Mutex<BTreeMap<Digest, Question>>);

impl Questions {
    /// What `body` asks of the operation `name`; `read` says so when it is not remembered.
    pub fn of<E>(
        &self,
        (name, body): (&str, &[u8]),
        read: impl FnOnce() -> Result<Question, E>,
    ) -> Result<Question, E> {
        if body.len() > REMEMBERED_BYTES_MAX {
            return read();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes()).update(body);
        let hash = Digest(*hasher.finalize().as_bytes());
        if let Some(known) = lock(&self.0).get(&hash) {
            return Ok(known.clone());
        }
        let question = read()?;
        let mut known = lock(&self.0);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(hash, question.clone());
        Ok(question)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GRAPH: &str = "dag { x -> y }";

    fn read(name: &str, body: &[u8]) -> Result<Question, LabError> {
        let body = serde_json::from_slice(body).expect("JSON");
        Operation::parse(name, body).and_then(Question::new)
    }

    fn of(questions: &Questions, name: &str, body: &[u8]) -> Result<Question, LabError> {
        questions.of((name, body), || read(name, body))
    }

    #[test]
    fn who_asks_again_is_not_read_again_and_who_asks_otherwise_is() {
        let questions = Questions::default();
        let body = json!({ "graph": GRAPH, "treatment": "x", "outcome": "y" });
        let body = body.to_string().into_bytes();
        let first = of(&questions, "causal.validate", &body).unwrap();
        let again = questions.of(("causal.validate", &body), || Err(()));
        assert!(Arc::ptr_eq(&first.0, &again.unwrap().0));
        // The same bytes mean something else to another operation.
        let paths = of(&questions, "causal.paths", &body).unwrap();
        assert_eq!(paths.operation().name(), "causal.paths");
        // What is refused is refused again.
        for _ in 0..2 {
            of(&questions, "causal.paths", br#"{ "graph": 1 }"#).unwrap_err();
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let questions = Questions::default();
        for n in 0..=REMEMBERED_MAX {
            let body = json!({ "graph": GRAPH, "treatment": "x", "outcome": "y", "seed": n });
            of(&questions, "causal.paths", body.to_string().as_bytes()).unwrap();
        }
        assert_eq!(lock(&questions.0).len(), 1);
        let long = format!("{}{GRAPH}", " ".repeat(REMEMBERED_BYTES_MAX));
        let body = json!({ "graph": long, "treatment": "x", "outcome": "y" });
        of(&questions, "causal.paths", body.to_string().as_bytes()).unwrap();
        assert_eq!(lock(&questions.0).len(), 1);
    }
}
