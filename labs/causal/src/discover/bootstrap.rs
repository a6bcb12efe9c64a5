//! How stable a graph is when the rows are drawn again: the nonparametric bootstrap (Friedman,
//! Goldszmidt and Wyner, UAI 1999).
//!
//! A replicate draws as many rows as there are, with replacement; the draw is a function of the
//! seed and the number of the replicate alone. Methods that read moments get weighted ones, from
//! one pass over the rows in blocks; methods that read rows get the rows. How often an edge is
//! found says how much it hangs on single rows; it is no probability that it is there.

use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_stats::Philox;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::result::{Edge, IndexedEdge};
use crate::control::{Control, Stop};
use crate::data::Dataset;
use crate::error::LabError;
use crate::graph::EdgeType;

/// Streams of replicates start here, away from those of the searches.
const FIRST_STREAM: u64 = 1 << 32;

/// How often the replicates agree, for every pair that is adjacent in one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Stability {
    /// Replicates that gave a graph; what the parts below are parts of.
    pub replicates: u64,
    /// Replicates that the algorithm refused, such as those with a constant column.
    pub failed: u64,
    /// Sorted by the columns of a and then b.
    pub pairs: Vec<PairStability>,
}

/// Parts of the replicates, from 0 to 1. `a` is the earlier column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PairStability {
    pub a: String,
    pub b: String,
    /// With any edge.
    pub adjacent: f64,
    /// `a -> b`.
    pub forward: f64,
    /// `b -> a`.
    pub backward: f64,
    /// `a --- b`.
    pub undirected: f64,
    /// `a <-> b`.
    pub bidirected: f64,
    /// `a o-> b`.
    pub partially_forward: f64,
    /// `b o-> a`.
    pub partially_backward: f64,
    /// `a o-o b`.
    pub nondirected: f64,
}

/// Of an edge of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EdgeStability {
    /// Part of the replicates with any edge between the two.
    pub edge: f64,
    /// Part of the replicates with this edge, ends included.
    pub orientation: f64,
}

/// Asks the caller whether to stop and reports nothing: the searches of replicates run at once.
struct Quiet<'a>(&'a dyn Control);

impl Control for Quiet<'_> {
    fn check(&self) -> Result<(), Stop> {
        self.0.check()
    }

    fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}
}

/// Counts of each kind of edge between two variables, in the order of `PairStability`.
type Counts = [u64; 7];

pub(super) struct Bootstrap<'a> {
    pub data: &'a Dataset,
    pub replicates: u32,
    pub seed: u64,
    /// Whether replicates need rows and not only moments.
    pub rows: bool,
}

impl Bootstrap<'_> {
    /// Runs `search` on every replicate.
    pub(super) fn run<S>(&self, search: S, control: &dyn Control) -> Result<Stability, LabError>
    where
        S: Fn(&Dataset, &dyn Control) -> Result<Vec<IndexedEdge>, LabError> + Sync,
    {
        let done = AtomicU64::new(0);
        let total = u64::from(self.replicates);
        let found = (0..total)
            .into_par_iter()
            .map(|replicate| {
                let quiet = Quiet(control);
                let edges = self.replicate(replicate, &quiet)?;
                let edges = match edges {
                    Some(data) => search(&data, &quiet),
                    None => Err(LabError::invalid("data", "a column is constant")),
                };
                let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                control.progress("bootstrap replicates", count, total);
                match edges {
                    Ok(edges) => Ok(Some(edges)),
                    Err(LabError::Stopped(stop)) => Err(LabError::Stopped(stop)),
                    Err(_) => Ok(None),
                }
            })
            .collect::<Result<Vec<_>, LabError>>()?;
        Ok(self.tally(&found))
    }

    /// `None` when a column of it is constant.
    fn replicate(
        &self,
        replicate: u64,
        control: &dyn Control,
    ) -> Result<Option<Dataset>, LabError> {
        let rows = self.data.rows();
        let mut rng = Philox::new(self.seed, FIRST_STREAM + replicate);
        let mut counts = vec![0_u32; rows];
        for draw in 0..rows {
            if draw % (1 << 16) == 0 {
                control.check()?;
            }
            counts[rng.index_below(rows)] += 1;
        }
        let data = if self.rows {
            self.data.drawn(&counts, control)?
        } else {
            self.data.reweighted(&counts, control)?
        };
        if self.data.require_numbers().is_err() {
            return Ok(Some(data));
        }
        let moments = data.covariance_within(control)?;
        let constant = (0..data.width()).any(|j| moments.is_constant(j));
        Ok((!constant).then_some(data))
    }

    fn tally(&self, found: &[Option<Vec<IndexedEdge>>]) -> Stability {
        let d = self.data.width();
        let mut counts: Vec<Counts> = vec![[0; 7]; d * d];
        for edge in found.iter().flatten().flatten() {
            let (a, b) = (edge.from.min(edge.to), edge.from.max(edge.to));
            counts[a * d + b][slot(edge.kind, edge.from > edge.to)] += 1;
        }
        let replicates = found.iter().flatten().count() as u64;
        let part = |count: u64| count as f64 / replicates.max(1) as f64;
        let names = self.data.names();
        let pairs = counts.iter().enumerate().filter_map(|(at, counts)| {
            let all = counts.iter().sum::<u64>();
            (all > 0).then(|| PairStability {
                a: names[at / d].clone(),
                b: names[at % d].clone(),
                adjacent: part(all),
                forward: part(counts[0]),
                backward: part(counts[1]),
                undirected: part(counts[2]),
                bidirected: part(counts[3]),
                partially_forward: part(counts[4]),
                partially_backward: part(counts[5]),
                nondirected: part(counts[6]),
            })
        });
        Stability {
            replicates,
            failed: found.len() as u64 - replicates,
            pairs: pairs.collect(),
        }
    }
}

fn slot(kind: EdgeType, reversed: bool) -> usize {
    match (kind, reversed) {
        (EdgeType::Directed, false) => 0,
        (EdgeType::Directed, true) => 1,
        (EdgeType::Undirected, _) => 2,
        (EdgeType::Bidirected, _) => 3,
        (EdgeType::PartiallyDirected, false) => 4,
        (EdgeType::PartiallyDirected, true) => 5,
        (EdgeType::Nondirected, _) => 6,
    }
}

impl Stability {
    /// Of an edge of the answer.
    pub(super) fn of(&self, edge: &Edge) -> EdgeStability {
        let pair = self
            .pairs
            .iter()
            .find(|p| (p.a == edge.from && p.b == edge.to) || (p.a == edge.to && p.b == edge.from));
        let Some(pair) = pair else {
            return EdgeStability {
                edge: 0.0,
                orientation: 0.0,
            };
        };
        let orientation = match slot(edge.kind, pair.a != edge.from) {
            0 => pair.forward,
            1 => pair.backward,
            2 => pair.undirected,
            3 => pair.bidirected,
            4 => pair.partially_forward,
            5 => pair.partially_backward,
            _ => pair.nondirected,
        };
        EdgeStability {
            edge: pair.adjacent,
            orientation,
        }
    }
}
