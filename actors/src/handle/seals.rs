//! Which datasets are kept for a subject. What is computed from one is sealed with it, so that it is
//! read for that subject alone and a redaction reaches the result as well.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hindcast_causal::LabError;
use hindcast_log::Vault;
use hindcast_model::{Digest, KeyId};

use super::Door;
use super::request::{Identity, SubmitFailure};
use crate::lock::lock;

/// Datasets whose key is remembered; it never changes.
const REMEMBERED_MAX: usize = 1_024;

/// The key that a dataset is sealed under, as far as it was asked for.
#[derive(Default)]
pub(super) struct Seals(Mutex<BTreeMap<Digest, Option<KeyId>>>);

impl Door {
    /// Refuses a request that reads a dataset of another subject, or of one that was redacted.
    pub(super) async fn check_datasets(
        &self,
        identity: &Identity,
        datasets: Vec<Digest>,
    ) -> Result<(), SubmitFailure> {
        let vault = &self.environment.vault;
        for digest in datasets {
            let Some(key) = self.seal_of(digest).await else {
                continue;
            };
            if let Some(error) = vault.lacks(key) {
                return Err(SubmitFailure::Sealed(error.to_string()));
            }
            let own = identity
                .subject
                .and_then(|subject| vault.find(&subject.to_string()));
            if own != Some(key) {
                return Err(SubmitFailure::Invalid(LabError::invalid_with_hint(
                    "header.hindcast-subject",
                    format!("dataset {digest} is kept for a subject, which is not the one named"),
                    "name the subject that it was stored for",
                )));
            }
        }
        Ok(())
    }

    /// The key of a dataset. One that is not there has none: that it is missing is told elsewhere.
    async fn seal_of(&self, digest: Digest) -> Option<KeyId> {
        let known = lock(&self.seals.0).get(&digest).copied();
        if let Some(known) = known {
            return known;
        }
        let blobs = self.log.blobs().clone();
        let looked = tokio::task::spawn_blocking(move || Vault::seals(&blobs, digest));
        let found = looked.await.ok()?.ok()?;
        let mut seals = lock(&self.seals.0);
        if seals.len() >= REMEMBERED_MAX {
            seals.clear();
        }
        seals.insert(digest, found);
        found
    }
}
