//! Edges between variables whose correlation is large: no causal method, but a floor that any
//! causal method has to beat.

use super::options::CorrelationOptions;
use super::result::{Convergence, IndexedEdge, Outcome};
use crate::data::Dataset;
use crate::graph::EdgeType;

pub(super) fn run(data: &Dataset, options: &CorrelationOptions) -> Outcome {
    let correlation = data.covariance().correlation();
    let mut edges = Vec::new();
    for from in 0..data.width() {
        for to in from + 1..data.width() {
            let weight = correlation[(from, to)];
            if weight.abs() >= options.threshold {
                edges.push(IndexedEdge {
                    from,
                    to,
                    kind: EdgeType::Undirected,
                    weight,
                });
            }
        }
    }
    let convergence = Convergence {
        converged: true,
        reason: "closed form".into(),
        ..Convergence::default()
    };
    Outcome {
        edges,
        iterations: 1,
        convergence,
        ..Outcome::default()
    }
}
