//! What a result is kept under: one digest for all requests that ask the same.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hindcast_causal::Uncontrolled;
use hindcast_causal::discover::DiscoverRequest;
use hindcast_causal::identify::{self, Prepared, ValidateRequest};
use hindcast_model::Digest;

use super::canonical::canonical;
use super::digest;
use crate::lock::lock;

/// Validations whose canonical digest is remembered.
const CANONICAL_SPECS_MAX: usize = 4_096;

/// One digest for all validations that ask the same, given that of the spec. Reading a graph takes
/// longer than answering from the cache, so the last ones are remembered.
pub(super) fn validate(request: &ValidateRequest, spec: Digest) -> Digest {
    static KNOWN: Mutex<BTreeMap<Digest, Digest>> = Mutex::new(BTreeMap::new());
    if let Some(known) = lock(&KNOWN).get(&spec) {
        return *known;
    }
    let limits = identify::Limits::default();
    let key = Prepared::new(request, &limits, &Uncontrolled)
        .and_then(|prepared| prepared.canonical_key(&Uncontrolled));
    // A request that cannot be read has a refusal of its own.
    let key = key.map_or(spec, Digest);
    let mut known = lock(&KNOWN);
    if known.len() >= CANONICAL_SPECS_MAX {
        known.clear();
    }
    known.insert(spec, key);
    key
}

/// One digest for all discoveries that ask the same, given that of the spec.
pub(super) fn discover(request: &DiscoverRequest, spec: Digest) -> Digest {
    let Some(mut shorter) = request.without_defaults() else {
        return spec;
    };
    shorter.seed = None;
    // A request that cannot be written has a refusal of its own.
    canonical(&shorter).map_or(spec, |text| digest(text.as_bytes()))
}
