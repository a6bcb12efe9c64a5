//! Computing recorded results again. The law makes a result a function of its request, its data and
//! its seed; this is the proof, run by run.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use hindcast_causal::{LabError, Uncontrolled};
use hindcast_log::{Blobs, LogError, PayloadError, Reader, Recorded, Vault};
use hindcast_model::event::{Event, Instead, Outcome, OutcomeObserved, RunRequested};
use hindcast_model::{Digest, KeyId, RunId, Seq};
use rayon::prelude::*;

use crate::computation::cache::DatasetCache;
use crate::computation::outcome;
use crate::operation::{Computed, Operation, SPEC_SCHEMA};

/// Results that are computed side by side.
const BATCH: usize = 256;
/// Results remembered, so that an equal request is computed once.
const MEMORY: usize = 100_000;
/// Differences named before the rest is only counted.
const NAMED_MAX: usize = 100;
/// Bytes of parsed datasets that are kept between runs.
const DATASETS_BYTES_MAX: u64 = 256 << 20;

/// Where recorded requests and their data are read from.
#[derive(Clone, Copy)]
pub struct Archive<'a> {
    pub reader: &'a Reader,
    pub blobs: &'a Blobs,
    pub vault: &'a Vault,
}

/// A recorded outcome that the same request does not give here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// Of the outcome.
    pub seq: Seq,
    pub run: RunId,
    pub what: String,
}

/// What computing again showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recomputed {
    /// Outcomes that were compared.
    pub compared: u64,
    /// Distinct computations behind them.
    pub computations: u64,
    /// Outcomes of another algorithm version or numeric profile, which may differ in their bytes.
    pub elsewhere: u64,
    /// Outcomes whose request cannot be read any more: its data key is not here.
    pub sealed: u64,
    /// Failures that depend on more than the request: deadlines, faults.
    pub undetermined: u64,
    /// Those that differ, up to a limit.
    pub differing: Vec<Differing>,
    pub differing_total: u64,
}

/// Why a request has no result here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoResult {
    /// Its data key is not here.
    Sealed,
    /// The lab refuses it, with this code.
    Refused(String),
    /// It cannot be read or computed.
    Broken(String),
}

/// Computes recorded requests.
pub struct Recomputer<'a> {
    archive: Archive<'a>,
    datasets: DatasetCache,
}

impl<'a> Recomputer<'a> {
    /// Over the log and the blobs of `archive`.
    #[must_use]
    pub fn new(archive: Archive<'a>) -> Self {
        Self {
            archive,
            datasets: DatasetCache::new(DATASETS_BYTES_MAX),
        }
    }

    /// The operation of a request whose payload is sealed under `key`, or what a breaker had computed
    /// in its place.
    fn operation(
        &self,
        key: KeyId,
        (request, instead): (&RunRequested, Option<&str>),
    ) -> Result<Operation, NoResult> {
        let broken = |what: String| NoResult::Broken(what);
        if request.schema != SPEC_SCHEMA {
            let schema = request.schema;
            return Err(broken(format!("spec schema {schema} is not known here")));
        }
        let Archive { blobs, vault, .. } = self.archive;
        let text = vault.text(blobs, key, &request.spec);
        let text = text.map_err(|error| match error {
            PayloadError::Sealed(_) => NoResult::Sealed,
            PayloadError::Blob(_) | PayloadError::NotText => broken(error.to_string()),
        })?;
        let body = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let asked = Operation::parse(&request.operation, body).map_err(|error| refusal(&error))?;
        let Some(to) = instead else {
            return Ok(asked);
        };
        let diverted = asked.instead(to);
        diverted.ok_or_else(|| broken(format!("{to} cannot be computed in its place")))
    }

    /// The result of a request, or of what a breaker had computed in its place.
    pub fn compute(
        &self,
        key: KeyId,
        (request, instead): (&RunRequested, Option<&str>),
    ) -> Result<Computed, NoResult> {
        let operation = self.operation(key, (request, instead))?;
        let Archive { blobs, vault, .. } = self.archive;
        let digest = request.datasets.first();
        if digest.is_some_and(|digest| vault.closes(blobs, *digest).is_some()) {
            return Err(NoResult::Sealed);
        }
        let dataset = digest.map(|digest| self.datasets.get((blobs, vault), *digest));
        let dataset = dataset.transpose().map_err(|error| refusal(&error))?;
        let computed = operation.execute(dataset.as_deref(), request.seed, &Uncontrolled);
        computed.map_err(|error| refusal(&error))
    }
}

fn refusal(error: &LabError) -> NoResult {
    match error {
        LabError::Internal(what) => NoResult::Broken(what.clone()),
        LabError::Invalid { .. }
        | LabError::TooLarge { .. }
        | LabError::Stopped(_)
        | LabError::FailedVerification { .. } => NoResult::Refused(outcome::code(error).to_owned()),
    }
}

/// What has to come out again.
#[derive(Clone)]
enum Wanted {
    Result(Digest),
    /// A refusal with this code.
    Refusal(String),
}

/// An outcome with its request.
struct Pair {
    seq: Seq,
    key: KeyId,
    asked: Asked,
    wanted: Wanted,
}

/// A request, and what a breaker had computed in its place.
#[derive(Clone)]
struct Asked {
    request: Arc<RunRequested>,
    instead: Option<String>,
}

impl Asked {
    fn parts(&self) -> (&RunRequested, Option<&str>) {
        (&self.request, self.instead.as_deref())
    }
}

/// Everything that a result depends on, and whether its request can be read.
type Identity = (String, Option<String>, Digest, u64, KeyId);

fn identity(pair: &Pair) -> Identity {
    let RunRequested {
        operation,
        spec_hash,
        seed,
        ..
    } = &*pair.asked.request;
    let instead = pair.asked.instead.clone();
    (operation.clone(), instead, *spec_hash, *seed, pair.key)
}

struct Pass<'a> {
    recomputer: Recomputer<'a>,
    numeric_profile: &'a str,
    /// Requests whose outcome has not come yet.
    open: BTreeMap<RunId, (KeyId, Asked)>,
    batch: Vec<Pair>,
    known: BTreeMap<Identity, Result<Digest, NoResult>>,
    report: Recomputed,
}

/// Computes every deterministic outcome of the log again and compares the hashes of the results.
/// `progress` is called with the last sequence looked at. A result of another algorithm version or
/// numeric profile than these is counted and not compared.
pub fn recompute(
    archive: Archive<'_>,
    numeric_profile: &str,
    progress: &dyn Fn(Seq),
) -> Result<Recomputed, LogError> {
    let kind = |name: &str| Event::KINDS.iter().find(|kind| kind.name == name);
    let numbers: Vec<u16> = ["run_requested", "fallback_taken", "outcome_observed"]
        .iter()
        .filter_map(|name| kind(name).map(|kind| kind.number))
        .collect();
    let mut pass = Pass {
        recomputer: Recomputer::new(archive),
        numeric_profile,
        open: BTreeMap::new(),
        batch: Vec::new(),
        known: BTreeMap::new(),
        report: Recomputed::default(),
    };
    let range = (archive.reader.oldest(), Seq(u64::MAX));
    archive.reader.select(range, &numbers, |recorded| {
        pass.see(&recorded);
        if pass.batch.len() >= BATCH {
            pass.settle();
            progress(recorded.seq());
        }
        ControlFlow::Continue(())
    })?;
    pass.settle();
    Ok(pass.report)
}

impl Pass<'_> {
    fn see(&mut self, recorded: &Recorded) {
        if let Some(Event::RunRequested(request)) = recorded.event() {
            let asked = Asked {
                request: Arc::new(request.clone()),
                instead: None,
            };
            self.open.insert(request.run, (recorded.context.key, asked));
        } else if let Some(Event::FallbackTaken(taken)) = recorded.event() {
            if let (Some((_, asked)), Instead::Computed { to, .. }) =
                (self.open.get_mut(&taken.run), &taken.instead)
            {
                asked.instead = Some(to.clone());
            }
        } else if let Some(Event::OutcomeObserved(observed)) = recorded.event() {
            // A late second outcome has no request here, and no meaning.
            if let Some((key, asked)) = self.open.remove(&observed.run) {
                self.pair(recorded.seq(), key, asked, observed);
            }
        }
    }

    fn pair(&mut self, seq: Seq, key: KeyId, asked: Asked, observed: &OutcomeObserved) {
        let wanted = match &observed.outcome {
            Outcome::Completed {
                result_hash,
                algorithm_version,
                ..
            }
            | Outcome::Reused {
                result_hash,
                algorithm_version,
                ..
            } => {
                let same = observed.numeric_profile == self.numeric_profile
                    && self.same_version(key, &asked, algorithm_version);
                if !same {
                    self.report.elsewhere += 1;
                    return;
                }
                Wanted::Result(*result_hash)
            }
            Outcome::Failed { code, .. } if code == "invalid" || code == "too_large" => {
                Wanted::Refusal(code.clone())
            }
            Outcome::Failed { .. } => {
                self.report.undetermined += 1;
                return;
            }
        };
        self.batch.push(Pair {
            seq,
            key,
            asked,
            wanted,
        });
    }

    /// Whether this program computes the request by the recorded version. One that cannot be read
    /// is told when it is computed.
    fn same_version(&self, key: KeyId, asked: &Asked, version: &str) -> bool {
        match self.recomputer.operation(key, asked.parts()) {
            Ok(operation) => operation.algorithm_version() == version,
            Err(_) => true,
        }
    }

    /// Computes what is waiting and compares it.
    fn settle(&mut self) {
        let mut wanted: BTreeMap<Identity, &Pair> = BTreeMap::new();
        for pair in &self.batch {
            let identity = identity(pair);
            if !self.known.contains_key(&identity) {
                wanted.entry(identity).or_insert(pair);
            }
        }
        self.report.computations += wanted.len() as u64;
        let recomputer = &self.recomputer;
        let wanted: Vec<(Identity, &Pair)> = wanted.into_iter().collect();
        let computed: Vec<(Identity, Result<Digest, NoResult>)> = wanted
            .into_par_iter()
            .map(|(identity, pair)| {
                let computed = recomputer.compute(pair.key, pair.asked.parts());
                (identity, computed.map(|computed| computed.hash))
            })
            .collect();
        self.known.extend(computed);
        for pair in std::mem::take(&mut self.batch) {
            if let Some(found) = self.known.get(&identity(&pair)).cloned() {
                self.compare(&pair, &found);
            }
        }
        if self.known.len() > MEMORY {
            self.known.clear();
        }
    }

    fn compare(&mut self, pair: &Pair, found: &Result<Digest, NoResult>) {
        let what = match (&pair.wanted, found) {
            (_, Err(NoResult::Sealed)) => {
                self.report.sealed += 1;
                return;
            }
            (Wanted::Result(hash), Ok(found)) if hash == found => None,
            (Wanted::Refusal(code), Err(NoResult::Refused(found))) if code == found => None,
            (Wanted::Result(hash), Ok(found)) => {
                Some(format!("the result is {hash}, and computed again {found}"))
            }
            (Wanted::Refusal(code), Ok(found)) => Some(format!(
                "the request was refused as {code}, and computed again gives {found}"
            )),
            (_, Err(NoResult::Refused(code))) => {
                Some(format!("computed again, the request is refused as {code}"))
            }
            (_, Err(NoResult::Broken(why))) => Some(format!("it cannot be computed again: {why}")),
        };
        self.report.compared += 1;
        if let Some(what) = what {
            self.report.differing_total += 1;
            if self.report.differing.len() < NAMED_MAX {
                self.report.differing.push(Differing {
                    seq: pair.seq,
                    run: pair.asked.request.run,
                    what,
                });
            }
        }
    }
}
