//! Opening what is sealed, while a log is proved.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_model::{KeyId, Payload, Seq};

use super::report::{FirstSealed, PROBLEMS_MAX, Report};
use crate::blobs::Blobs;
use crate::vault::{PayloadError, Vault};

/// A payload in a blob, which is opened when the blobs are read.
struct Stored {
    key: KeyId,
    seq: Seq,
    payload: Payload,
}

/// What a key does not open.
#[derive(Default)]
struct Refused {
    /// Where, of the first hundred.
    at: Vec<(Seq, PayloadError)>,
    total: u64,
}

/// What was met that is sealed.
#[derive(Default)]
pub(super) struct Seals<'a> {
    /// The keys that are here; none when nothing is opened.
    vault: Option<&'a Vault>,
    /// What was met first under each key that is not here.
    first: BTreeMap<KeyId, FirstSealed>,
    stored: Vec<Stored>,
    /// How many payloads each key opens.
    opened: BTreeMap<KeyId, u64>,
    refused: BTreeMap<KeyId, Refused>,
}

impl<'a> Seals<'a> {
    pub(super) fn new(vault: Option<&'a Vault>) -> Self {
        let seals = Self::default();
        Self { vault, ..seals }
    }

    /// A payload was met that is sealed under `key`.
    pub(super) fn met(&mut self, key: KeyId, seq: Seq, payload: &Payload, blobs: &Blobs) {
        match self.vault.filter(|vault| vault.has(key)) {
            None => {
                self.first.entry(key).or_insert_with(|| FirstSealed {
                    key,
                    seq,
                    payload: payload.clone(),
                });
            }
            Some(_) if matches!(payload, Payload::Blob { .. }) => self.stored.push(Stored {
                key,
                seq,
                payload: payload.clone(),
            }),
            Some(vault) => {
                let opened = vault.text(blobs, key, payload).map(drop);
                self.opened(key, seq, opened);
            }
        }
    }

    fn opened(&mut self, key: KeyId, seq: Seq, opened: Result<(), PayloadError>) {
        match opened {
            Ok(()) => *self.opened.entry(key).or_default() += 1,
            // A blob that is missing or damaged is named for itself.
            Err(PayloadError::Blob(_)) => {}
            Err(error @ (PayloadError::Sealed(_) | PayloadError::NotText)) => {
                let refused = self.refused.entry(key).or_default();
                refused.total += 1;
                if refused.at.len() < PROBLEMS_MAX {
                    refused.at.push((seq, error));
                }
            }
        }
    }

    /// Opens what is in blobs, and tells what was found. What was sealed under a key of `shredded` is
    /// not meant to be readable.
    pub(super) fn finish(mut self, blobs: &Blobs, shredded: &BTreeSet<KeyId>, report: &mut Report) {
        let vault = self.vault;
        let gone = |key: KeyId| {
            shredded.contains(&key) || vault.is_some_and(|vault| vault.is_shredded(key))
        };
        if let Some(vault) = vault {
            self.stored.retain(|stored| !gone(stored.key));
            for Stored { key, seq, payload } in std::mem::take(&mut self.stored) {
                let opened = vault.text(blobs, key, &payload).map(drop);
                self.opened(key, seq, opened);
            }
        }
        let mut refused = self.refused;
        refused.retain(|key, _| !gone(*key));
        self.first.retain(|key, _| !shredded.contains(key));
        let total: u64 = refused.values().map(|refused| refused.total).sum();
        let mut named: Vec<_> = refused.into_values().flat_map(|it| it.at).collect();
        named.sort_by_key(|(seq, _)| *seq);
        let told = named.len() as u64;
        for (seq, error) in named {
            report.problem(seq, error.to_string());
        }
        report.problems_total += total - told;
        report.opened = self.opened;
        report.sealed = self.first.into_values().collect();
    }
}
